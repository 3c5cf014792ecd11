"""Efficiency of capacity: idle money of pools, packing, money per useful GPU-hour."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import polars as pl

from finops_lab.errors import columns_of
from finops_lab.money import MONEY, divided, product
from finops_lab.unit_economics._by_dimension import PLACE, added_up, engine_for
from finops_lab.unit_economics._grouping import grouped, known_sum, monthly, share_of
from finops_lab.unit_economics.activity import currency_of, month_of
from finops_lab.unit_economics.figures import Asked, Definition, together, whole_and_by
from finops_lab.unit_economics.schemas import FIGURES

__all__ = [
    "DEFINITIONS",
    "PACKING",
    "idle_pools",
    "packing",
    "pool_money",
    "useful_hours",
]

_HOUR = Decimal(3600)
_IDLE = Definition(
    "M2", "idle_share_billed", "Idle money of pools by the bill", "ratio", "{currency}", "{currency}",
    "money of the pool that kept capacity nobody used / all money of the pool, as the ledger splits it",
    ("ledger",), "lower", "the ledger splits no pool's cost by use",
)  # fmt: skip
_DARK = Definition(
    "M2", "dark_share_billed", "Money of pools that no telemetry explains", "ratio", "{currency}",
    "{currency}",
    "money of the pool that was paid for time no sample tells of / all money of the pool",
    ("ledger",), "lower", "the ledger splits no pool's cost by use",
)  # fmt: skip
_USEFUL = Definition(
    "M2", "money_per_useful_gpu_hour", "Money per useful GPU-hour", "USD per GPU-hour in use", "USD",
    "GPU-hours in use",
    "sampled GPU time at the samples' own rates / GPU time in use, of time whose rate is known",
    ("gpu_samples",), "lower", "no GPU time in use has a known rate",
)  # fmt: skip
_USEFUL_BILLED = Definition(
    "M2", "billed_per_useful_gpu_hour", "Billed money per useful GPU-hour", "{currency} per GPU-hour in use",
    "{currency}", "GPU-hours in use",
    "money of the pool / (GPU-hours paid for x share of the sampled time that was in use)",
    ("ledger", "gpu_samples"), "lower", "the GPU-hours that were paid for, or their use, are not known",
)  # fmt: skip
DEFINITIONS: tuple[Definition, ...] = (_IDLE, _DARK, _USEFUL, _USEFUL_BILLED)

# Shares are of the GPU-hours that samples tell of. One kind of utilization a row.
PACKING: dict[str, pl.DataType | type[pl.DataType]] = {
    "month": pl.Date,
    "pool_id": pl.String,
    "util_kind": pl.String,
    "gpu_hours": MONEY,
    "requested_gpu_hours": MONEY,
    "allocated_gpu_hours": MONEY,
    "active_gpu_hours": MONEY,
    "requested_share": MONEY,
    "allocated_share": MONEY,
    "active_share": MONEY,
    "active_of_allocated": MONEY,
    "reason": pl.String,
}


def pool_money(entries: pl.DataFrame | pl.LazyFrame, *, metric: str = "EffectiveCost") -> pl.DataFrame:
    """Add up the money of pools whose cost the ledger splits.

    Parameters
    ----------
    entries : polars.DataFrame or polars.LazyFrame
        The `ledger` contract, in one currency.
    metric : str
        The amount.

    Returns
    -------
    polars.DataFrame
        ``month``, ``pool_id``, ``money``, ``idle``, ``dark`` (Decimal), ``rows`` (entries); sorted.
    """
    spent = pl.col(metric)
    method = pl.col("x_AllocationMethod")
    return (
        entries.lazy()
        .filter(pl.col("x_PoolId").is_not_null())
        .group_by(month_of().alias("month"), pl.col("x_PoolId").alias("pool_id"))
        .agg(
            spent.sum().alias("money"),
            spent.filter(method == "idle").sum().alias("idle"),
            spent.filter(method == "dark").sum().alias("dark"),
            pl.len().cast(pl.Int64).alias("rows"),
        )
        .sort("month", "pool_id")
        .collect()
    )


def idle_pools(entries: pl.DataFrame | pl.LazyFrame, *, metric: str = "EffectiveCost") -> pl.DataFrame:
    """Tell which share of the pools' money kept capacity that nobody used.

    Parameters
    ----------
    entries, metric
        As for `pool_money`.

    Returns
    -------
    polars.DataFrame
        FIGURES: ``idle_share_billed`` and ``dark_share_billed`` (time that no sample tells of), for
        all pools and by ``pool_id``; numerators are the money. Empty without pools.

    Raises
    ------
    CurrencyError
        When the entries are in several currencies.

    Examples
    --------
    >>> ledger = pl.DataFrame({"x_ChargeMonth": ["2026-10"] * 2, "x_PoolId": ["chat"] * 2, "EffectiveCost": [30, 10],
    ...     "x_AllocationMethod": ["telemetry", "idle"], "BillingCurrency": ["USD"] * 2})
    >>> idle_pools(ledger).filter(pl.col("measure") == "idle_share_billed")["value"].cast(pl.Float64).to_list()
    [0.25, 0.25]
    """
    currency = currency_of(entries)
    rows, dimensions = pool_money(entries, metric=metric), whole_and_by(["pool_id"])
    if rows.is_empty():
        return pl.DataFrame(schema=FIGURES)
    sums = added_up(rows, dimensions, pl.col("money", "idle", "dark", "rows").sum())
    parts = [
        Asked(
            sums.select(
                *PLACE, "rows", pl.col(name).alias("numerator"), pl.col("money").alias("denominator")
            ),
            definition,
            currency=currency,
        )
        for name, definition in (("idle", _IDLE), ("dark", _DARK))
    ]
    return together(parts, dimensions)


def packing(
    days: pl.DataFrame | pl.LazyFrame, requested: pl.DataFrame | pl.LazyFrame | None = None
) -> pl.DataFrame:
    """Tell how many of a pool's GPUs were asked for, held, and in use.

    Parameters
    ----------
    days : polars.DataFrame or polars.LazyFrame
        `finops_lab.unit_economics.schemas.GPU_DAYS`.
    requested : polars.DataFrame or polars.LazyFrame, optional
        `capacity_series`: what was wanted, of pools counted in GPUs. Others are unknown.

    Returns
    -------
    polars.DataFrame
        `PACKING`, sorted by month, pool and kind. ``requested_gpu_hours`` are wanted GPUs x time,
        and can exceed what was there. ``active_of_allocated`` is the use of what was held.

    Examples
    --------
    >>> from datetime import date
    >>> days = pl.DataFrame({"day": [date(2026, 10, 1)], "pool_id": ["chat"], "util_kind": ["gpu_util"],
    ...     "sampled_s": [86400], "busy_s": [43200], "allocated_s": [64800], "allocated_busy_s": [43200]})
    >>> packing(days).select(pl.col("gpu_hours", "allocated_share", "active_share").cast(pl.Float64)).row(0)
    (24.0, 0.75, 0.5)
    """
    names = ("sampled_s", "busy_s", "allocated_s", "allocated_busy_s")
    keys = ["month", "pool_id", "util_kind"]
    sums = (
        monthly(days)
        .group_by(keys)
        .agg(pl.col(*names).sum().cast(MONEY))
        .sort(keys, nulls_last=True)
        .collect()
    )
    wanted = _requested(requested)
    sums = sums.join(wanted, on=keys[:2], how="left", nulls_equal=True, maintain_order="left")
    rows = []
    for month, pool, kind, sampled, busy, held, held_busy, asked in sums.select(
        *keys, *names, "requested_s"
    ).iter_rows():
        rows.append(
            (
                month,
                pool,
                kind,
                *(divided(seconds, _HOUR) for seconds in (sampled, asked, held, busy)),
                *(divided(seconds, sampled) for seconds in (asked, held, busy)),
                divided(held_busy, held),
                None if sampled else "no GPU time was sampled",
            )
        )
    return pl.DataFrame(rows, schema=PACKING, orient="row")


def _requested(series: pl.DataFrame | pl.LazyFrame | None) -> pl.DataFrame:
    if series is None:
        return pl.DataFrame(schema={"month": pl.Date, "pool_id": pl.String, "requested_s": MONEY})
    wanted = (pl.col("desired") * pl.col("interval_s")).round(3).cast(pl.Decimal(38, 3)).cast(MONEY)
    return (
        series.lazy()
        .filter(pl.col("unit") == "gpu", pl.col("desired").is_not_null())
        .group_by(pl.col("ts").dt.date().dt.month_start().alias("month"), "pool_id")
        .agg(wanted.sum().alias("requested_s"))
        .collect()
    )


def useful_hours(
    days: pl.DataFrame | pl.LazyFrame,
    *,
    kind: str = "gpu_util",
    money: pl.DataFrame | pl.LazyFrame | None = None,
    currency: str = "USD",
    by: str | Sequence[str] = ("pool_id", "cluster", "team"),
) -> pl.DataFrame:
    """Tell what an hour of a GPU costs that was in use.

    Parameters
    ----------
    days : polars.DataFrame or polars.LazyFrame
        `finops_lab.unit_economics.schemas.GPU_DAYS`.
    kind : str
        The kind of utilization that says what is in use.
    money : polars.DataFrame or polars.LazyFrame, optional
        ``month``, ``pool_id``, ``money`` (Decimal, in `currency`) and ``gpu_hours`` paid for, of
        pools by the bill: adds ``billed_per_useful_gpu_hour``.
    currency : str
        ISO 4217 code of `money`.
    by : str or sequence of str
        Dimensions beside the whole, of ``money_per_useful_gpu_hour``.

    Returns
    -------
    polars.DataFrame
        FIGURES: ``money_per_useful_gpu_hour``, at the samples' own rates (USD), and with `money`
        ``billed_per_useful_gpu_hour`` for pools whose use is known and by ``pool_id``.

    Examples
    --------
    >>> from datetime import date
    >>> days = pl.DataFrame({"day": [date(2026, 10, 1)], "pool_id": ["chat"], "util_kind": ["gpu_util"],
    ...     "rows": [24], "sampled_s": [86400], "busy_s": [43200], "priced_s": [86400], "sampled_usd": [48],
    ...     "idle_usd": [24]})
    >>> useful_hours(days, by=())["value"].cast(pl.Float64).to_list()
    [4.0]
    """
    by = columns_of(by, days, "GPU days")
    dimensions = whole_and_by(by)
    rows = monthly(days).filter(pl.col("util_kind") == kind).collect(engine=engine_for(days))
    useful = [_useful_hours(rows, dimensions)] if rows.height else []
    billed = [] if money is None else _billed_hours(rows, money, currency)
    found = together(useful, dimensions)
    return pl.concat([found, together(billed)]) if billed else found


def _useful_hours(rows: pl.DataFrame, dimensions: Sequence[str | None]) -> Asked:
    # Where only a part of a day's time has a rate, that part was in use as the rest of it.
    priced = rows.filter(pl.col("priced_s") > 0).with_columns(
        (pl.col("busy_s").cast(pl.Float64) * pl.col("priced_s") / pl.col("sampled_s"))
        .round(3)
        .cast(pl.Decimal(38, 3))
        .alias("busy_priced_s")
    )
    whole = added_up(rows, dimensions, pl.col("sampled_s").sum().alias("all_s"))
    sums = added_up(
        priced, dimensions, pl.col("rows", "priced_s", "busy_priced_s").sum(), known_sum("sampled_usd")
    )
    told = whole.join(sums, on=PLACE, how="left", nulls_equal=True).select(
        *PLACE,
        "rows",
        pl.col("sampled_usd").alias("numerator"),
        pl.col("busy_priced_s").cast(MONEY).alias("denominator"),
        share_of(pl.col("priced_s"), pl.col("all_s")).alias("coverage"),
    )
    hours = [divided(seconds, _HOUR) for seconds in told["denominator"].to_list()]
    return Asked(told.with_columns(pl.Series("denominator", hours, MONEY)), _USEFUL)


def _billed_hours(rows: pl.DataFrame, money: pl.DataFrame | pl.LazyFrame, currency: str) -> list[Asked]:
    use = grouped(rows, "pool_id", pl.col("sampled_s", "busy_s").sum().cast(MONEY), pl.col("rows").sum())
    paid = money.lazy().select(
        "month", pl.col("pool_id").alias("key"), pl.col("money").cast(MONEY), pl.col("gpu_hours").cast(MONEY)
    )
    told = paid.join(use.lazy(), on=["month", "key"], how="left", nulls_equal=True).collect()
    shares = [divided(busy, sampled) for busy, sampled in told.select("busy_s", "sampled_s").iter_rows()]
    hours = [product(share, paid_for) for share, paid_for in zip(shares, told["gpu_hours"], strict=True)]
    told = told.select("month", "key", "rows", pl.col("money").alias("numerator")).with_columns(
        pl.Series("denominator", hours, MONEY)
    )
    known = told.filter(pl.col("denominator").is_not_null())
    whole = known.group_by("month").agg(pl.col("numerator", "denominator", "rows").sum())
    return [
        Asked(whole, _USEFUL_BILLED, currency=currency),
        Asked(told, _USEFUL_BILLED, "pool_id", currency=currency),
    ]
