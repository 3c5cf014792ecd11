"""Shared costs: one tier after the other, moved to the teams that carry them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import lcm

import polars as pl

from finops_lab import contracts
from finops_lab.allocation.pooling import UNALLOCATED
from finops_lab.allocation.splitting import split_amounts
from finops_lab.allocation.usage import MONTHLY, measures
from finops_lab.calendar import format_month
from finops_lab.config import Shared, Split, holds
from finops_lab.contracts import AMOUNTS
from finops_lab.errors import ConfigError

__all__ = ["Moved", "cluster_idle", "share"]

_KEYS = ("x_BillingMonth", "BillingCurrency")
# Weights are money in millionths: 9.2e12 of a currency a month is room enough.
_MICRO = 1_000_000


@dataclass(frozen=True)
class Moved:
    """Entries after a step, and the entries that it gave another owner."""

    entries: pl.DataFrame
    moved: pl.DataFrame


def share(entries: pl.DataFrame, tier: Shared, usage: pl.DataFrame | None = None) -> Moved:
    """Move shared costs to the teams that carry them, a billing month at a time.

    Parameters
    ----------
    entries : polars.DataFrame
        Rows of the `ledger` contract, as the tiers before left them; columns that no tier looks at
        may be missing, and others stay with their rows.
    tier : Shared
        What is shared, among whom, by what.
    usage : polars.DataFrame, optional
        For tiers by a measure of use: ``x_BillingMonth`` (of the use), ``x_team`` and the measures.

    Returns
    -------
    Moved
        The entries, whose amounts add up to those before in every billing month, day and bill
        attribute; costs that nobody is there to carry stay where they were.

    Raises
    ------
    ConfigError
        When `where` or `within` names a column that the ledger does not have.
    """
    known = contracts.dtypes("ledger")
    for name in (*tier.where, *tier.within):
        if name not in known:
            raise ConfigError(
                f"shared {tier.name!r} looks at column {name!r}, which the ledger does not have",
                hint=f"columns: {', '.join(known)}",
            )
    month = pl.col("x_BillingMonth")
    taken = holds(tier.where)
    taken &= month >= format_month(tier.first) if tier.first else True
    taken &= month <= format_month(tier.last) if tier.last else True
    pot, others = entries.filter(taken), entries.filter(~taken)
    if pot.is_empty():
        return Moved(entries, pot)
    weights = _weights(others, pot, tier, usage)
    return _carried(pot, others, weights, list(dict.fromkeys([*_KEYS, *tier.within])), tier.name, "shared")


def cluster_idle(entries: pl.DataFrame, splits: Sequence[Split]) -> Moved:
    """Share the idle cost of each cluster among all who used its pools, by what their use cost.

    Only pools with ``idle = "cluster"`` give their idle cost away. Parameters and result are those
    of `share`; the method stays ``idle``.
    """
    moved = [entries.clear()]
    for cluster in sorted({s.cluster for s in splits if s.idle == "cluster" and s.cluster}):
        pools = [s.name for s in splits if s.cluster == cluster]
        giving = [s.name for s in splits if s.cluster == cluster and s.idle == "cluster"]
        idle = (pl.col("x_AllocationMethod") == "idle") & pl.col("x_PoolId").is_in(giving)
        used = (pl.col("x_AllocationMethod") == "telemetry") & pl.col("x_PoolId").is_in(pools)
        weights = _direct(entries.filter(used), _KEYS)
        done = _carried(
            entries.filter(idle), entries.filter(~idle), weights, _KEYS, f"cluster {cluster}", "idle"
        )
        entries = done.entries
        moved.append(done.moved)
    return Moved(entries, pl.concat(moved))


def _carried(
    pot: pl.DataFrame,
    others: pl.DataFrame,
    weights: pl.DataFrame,
    keys: Sequence[str],
    name: str,
    method: str,
) -> Moved:
    # Parts are many: they carry what is divided, and find the texts of their entry by its place.
    teams = weights.select("_team").unique().sort("_team").with_row_index("_place")
    shares = weights.lazy().join(teams.lazy(), on="_team").select(*keys, "_place", "_weight")
    numbered = pot.lazy().select(*keys, *AMOUNTS).with_row_index("_entry").join(shares, on=list(keys))
    parts = numbered.select("_entry", "_place", "_weight", *AMOUNTS).collect().lazy()
    divided = split_amounts(parts, ["_entry"], weight="_weight", order=["_place"])
    # In memory: on the streaming engine windows cost half as much again.
    done = divided.select("_entry", "_place", *AMOUNTS).collect(engine="in-memory")
    whose = pot.select(pl.exclude(AMOUNTS))[done["_entry"]]
    moved = whose.with_columns(
        teams["_team"].gather(done["_place"]).alias("x_team"),
        # A business unit is the owner's, not the charge's: `business_units` fills it in.
        pl.lit(None, dtype=pl.String).alias("x_business_unit"),
        pl.lit(method).alias("x_AllocationMethod"),
        pl.concat_str("x_AllocationRule", pl.lit(name), separator=" > ", ignore_nulls=True).alias(
            "x_AllocationRule"
        ),
        # The parts are sorted: an entry's first counts its rows.
        pl.when(done["_entry"].ne_missing(done["_entry"].shift()))
        .then("x_Rows")
        .otherwise(0)
        .alias("x_Rows"),
        *done.select(AMOUNTS),
    ).select(pot.columns)
    left = pot.join(weights, on=list(keys), how="anti")
    return Moved(pl.concat([others, moved, left]), moved)


def _weights(
    others: pl.DataFrame, pot: pl.DataFrame, tier: Shared, usage: pl.DataFrame | None
) -> pl.DataFrame:
    """Return ``_team`` and ``_weight`` for each billing month, currency and key of `within`."""
    keys = list(dict.fromkeys([*_KEYS, *tier.within]))
    # Whose costs are shared by name does not carry them.
    giving = holds({"x_team": tier.where["x_team"]}) if "x_team" in tier.where else pl.lit(False)
    own = others.filter(
        ~giving
        & ~pl.col("x_team").is_in([UNALLOCATED, *tier.without])
        & (pl.col("x_team").is_in(tier.among) if tier.among else pl.lit(True))
    )
    if tier.by == "direct":
        return _direct(own, keys)
    named: Mapping[str, int] = {team: 1 for team in tier.among if team not in tier.without}
    if tier.by == "fixed":
        scale = lcm(*(share.as_integer_ratio()[1] for share in tier.shares.values()))
        named = {team: int(share * scale) for team, share in tier.shares.items() if share}
    if named and tier.by in ("fixed", "even"):
        teams = pl.DataFrame(
            list(named.items()), schema={"_team": pl.String, "_weight": pl.Int128}, orient="row"
        )
        return pot.select(keys).unique().join(teams, how="cross")
    # An entry of nothing, such as the idle part of a pool that was all busy, makes nobody a carrier.
    costs = own.group_by(*keys, pl.col("x_team").alias("_team")).agg(pl.col(AMOUNTS).sum())
    present = costs.filter(pl.any_horizontal(pl.col(AMOUNTS) != 0)).drop(AMOUNTS)
    if named:
        present = pot.select(keys).unique().join(pl.DataFrame({"_team": list(named)}), how="cross")
    if tier.by == "even" or tier.by == "fixed":
        return present.with_columns(pl.lit(1, dtype=pl.Int64).alias("_weight"))
    if usage is None:
        usage = pl.DataFrame(
            schema={"x_BillingMonth": pl.String, "x_team": pl.String, **dict.fromkeys(MONTHLY, pl.Int64)}
        )
    measure = measures(tier.by, tier.weights).alias("_weight")
    used = usage.select("x_BillingMonth", pl.col("x_team").alias("_team"), measure)
    return present.join(used.filter(pl.col("_weight") > 0), on=["x_BillingMonth", "_team"])


def _direct(own: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    charged = own.filter(~pl.col("ChargeCategory").is_in(["Tax", "Credit"]))
    units = pl.col("EffectiveCost").sum().to_physical() // (10**18 // _MICRO)
    sums = charged.group_by(*keys, pl.col("x_team").alias("_team")).agg(units.alias("_weight"))
    return sums.filter(pl.col("_weight") > 0)


def business_units(entries: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Give entries that changed their owner the owner's business unit, where it has only one.

    Parameters
    ----------
    entries : polars.DataFrame
        Rows of the `ledger` contract.
    known : polars.DataFrame
        ``x_team`` and ``x_business_unit`` as the rules gave them.
    """
    only = (
        known.drop_nulls()
        .group_by("x_team")
        .agg(pl.col("x_business_unit").unique().alias("_units"))
        .filter(pl.col("_units").list.len() == 1)
        .select("x_team", pl.col("_units").list.first().alias("_unit"))
    )
    return (
        entries.join(only, on="x_team", how="left")
        .with_columns(pl.coalesce("x_business_unit", "_unit").alias("x_business_unit"))
        .select(entries.columns)
    )
