"""Whether capacity followed the load, pool by pool."""

from __future__ import annotations

from decimal import Decimal

import polars as pl

from finops_lab.reporting.dashboards.board import Board
from finops_lab.reporting.section import Section, percent
from finops_lab.tables import money_table

__all__ = ["autoscaling"]

_POOLS = 25
_SCALING = {
    "efficiency": "Needed of ready",
    "over_provisioned_hours": "Hours beyond need",
    "under_provisioned_share": "Time too short",
    "scale_events_per_day": "Changes a day",
    "thrash_share": "Taken back",
    "ready_p95": "Ready, P95, s",
    "money_per_qps": "Billed per QPS",
    "money_per_qps_by_samples": "Sampled money per QPS",
}
_MONEY = ("money_per_qps", "money_per_qps_by_samples")
_SHARES = ("efficiency", "under_provisioned_share", "thrash_share")
# More changes taken back than this are to and fro, not following a load.
_TO_AND_FRO = 0.5


def autoscaling(board: Board) -> Section:
    """Show by pool whether capacity followed the load: too much, too little, to and fro."""
    figures = board.review.kpis.figures.filter(pl.col("month") == board.month, kpi="M11")
    pools = figures.filter(pl.col("dimension") == "pool_id", pl.col("measure").is_in(list(_SCALING)))
    # Of a pool that only calls name there is nothing to show.
    known = pl.col("value").is_not_null()
    pools = pools.filter(known.any().over("key"))
    pools = pools.filter(known.any().over("measure") | ~pl.col("measure").is_in(_MONEY))
    if pools.is_empty():
        return board.nothing(
            "autoscaling",
            "**No capacity is known**: put `capacity_series` and `scale_events` files into `exports/`.",
        )
    # Null where pools count in different units, which are not added.
    all_hours = figures.filter(pl.col("dimension").is_null(), measure="over_provisioned_hours")["value"]
    wide = pools.pivot(on="measure", index="key", values="value", maintain_order=True)
    columns = [name for name in _SCALING if name in wide.columns]
    over = [name for name in columns if name == "over_provisioned_hours"]
    shown = wide.sort([*over, "key"], descending=[*[True] * len(over), False], nulls_last=True)
    table = money_table(
        shown.select(pl.col("key").fill_null("unknown"), *columns).head(_POOLS),
        title=f"Autoscaling by pool, {board.review.month_name}",
        subtitle="Capacity counts in each pool's own unit, such as replicas; a change is taken back when the "
        "next one within 30 minutes goes the other way; QPS are calls a second within the target latency",
        id="autoscaling",
        currency=board.review.currency,
        money_columns={n: 0 for n in columns if n in _MONEY},
        percent_columns=[n for n in columns if n in _SHARES],
        number_columns={
            n: 1 if n == "scale_events_per_day" else 0 for n in columns if n not in (*_SHARES, *_MONEY)
        },
        labels={"key": "Pool"} | {name: _SCALING[name] for name in columns},
        unknown="not known for this pool",
    )
    return Section(
        "autoscaling",
        _followed(shown, all_hours[0] if len(all_hours) else None),
        (table,),
        {"pools": pools.to_dicts()},
    )


def _followed(pools: pl.DataFrame, whole: Decimal | None) -> str:
    """Say which pool has most capacity beyond need, and which changes to and fro."""
    said = []
    if "over_provisioned_hours" in pools.columns and pools["over_provisioned_hours"].drop_nulls().len():
        top = pools.row(0, named=True)
        hours = top["over_provisioned_hours"]
        if hours > 0:
            share = f", {percent(hours, whole)} of all" if whole is not None and pools.height > 1 else ""
            said.append(f"**{top['key'] or 'unknown'} had {hours:,.0f} capacity-hours beyond need**{share}")
    if "thrash_share" in pools.columns:
        restless = pools.filter(pl.col("thrash_share") > _TO_AND_FRO).sort(
            "thrash_share", "key", descending=[True, False]
        )
        said += [
            f"{key or 'unknown'} takes {float(share):.0%} of its changes of capacity back within 30 minutes"
            for key, share in restless.select("key", "thrash_share").iter_rows()
        ]
    return "; ".join(said) + "." if said else "**Capacity followed the load** in every pool."
