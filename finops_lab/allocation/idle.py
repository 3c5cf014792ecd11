"""What a pool of GPUs cost while nobody used it."""

from __future__ import annotations

import polars as pl

from finops_lab.allocation.periods import PERIOD, shared_within, within
from finops_lab.allocation.usage import busy_time
from finops_lab.config import Split
from finops_lab.contracts import AMOUNTS
from finops_lab.money import MONEY

__all__ = ["idle_apart", "paid_gpu_us", "paid_time"]

_HOURS = r"^(instance[- ])?h(ou)?rs?$"
_GPU_HOURS = r"^gpu[-_ ]?h(ou)?rs?$"


def paid_gpu_us(known: list[str]) -> pl.Expr:
    """Return the GPU time that bill rows paid for, in microseconds; null where they do not say it."""
    if not {"ConsumedQuantity", "ConsumedUnit"} <= set(known):
        return pl.lit(None, dtype=pl.Int64)
    unit = pl.col("ConsumedUnit").str.to_lowercase()
    count = pl.col("x_GpuCount") if "x_GpuCount" in known else pl.lit(None, dtype=pl.Int64)
    # A unit that names the GPU counts GPUs already; hours of a machine are those of all its GPUs.
    gpus = pl.when(unit.str.contains(_GPU_HOURS)).then(1).when(unit.str.contains(_HOURS)).then(count)
    # A refund gives money back, no time; the fee of a commitment is for the time of the rows it covers.
    timed = pl.col("EffectiveCost") >= 0
    if "ChargeCategory" in known:
        timed &= pl.col("ChargeCategory").ne_missing("Purchase")
    if {"ChargeFrequency", "CommitmentDiscountId"} <= set(known):
        fee = pl.col("ChargeFrequency").eq_missing("Recurring") & pl.col("CommitmentDiscountId").is_not_null()
        timed &= ~fee
    hours = pl.when(timed).then(pl.col("ConsumedQuantity").cast(pl.Float64))
    return (hours * gpus * 3_600_000_000).round(0).cast(pl.Int64)


def paid_time(cases: pl.DataFrame) -> pl.DataFrame:
    """Add up the time that cases paid for in each period (``_paid``); null where none says it."""
    return cases.group_by(PERIOD).agg(
        pl.when(pl.col("_paid_us").count() > 0).then(pl.col("_paid_us").sum()).alias("_paid")
    )


def idle_apart(
    cases: pl.LazyFrame,
    paid: pl.DataFrame,
    overlap: pl.DataFrame | None,
    split: Split,
    gpu: pl.LazyFrame | None,
) -> tuple[pl.LazyFrame, pl.LazyFrame, pl.LazyFrame]:
    """Take apart what was paid for busy time, for idle time, and for time that no sample tells of.

    Per charge period of the pool: busy time is the GPU time in use, idle time the other sampled
    time, both as a share of the time the bill paid for (of the sampled time where the bill does not
    say it). What is left is dark. Where more was sampled than paid for, the dark part is negative:
    it is shown, not clamped. Periods that overlap, such as hours and their day, share what was
    sampled by the time that each paid for in every hour.

    Parameters
    ----------
    cases : polars.LazyFrame
        ``_case``, ``_start``, ``_end``, ``_paid_us`` and the amounts.
    paid : polars.DataFrame
        `paid_time` of the whole pool.
    overlap : polars.DataFrame or None
        Its `overlapping` periods.
    split : Split
        `idle_pool` names the pool of the samples; without it all is busy.
    gpu : polars.LazyFrame or None
        `gpu_samples`.

    Returns
    -------
    (polars.LazyFrame, polars.LazyFrame, polars.LazyFrame)
        Busy, idle and dark: the columns of `cases`, whose amounts add up to theirs exactly. A
        period without any sample is all busy: nothing tells how much of it was idle.

    Notes
    -----
    The two bases of OpenCost's inference costs: with idle, costs are `allocated` and reconcile to
    the bill; without it they are `usage` costs and do not.
    """
    if split.idle_pool is None or gpu is None:
        return cases, cases.clear(), cases.clear()
    samples = gpu.filter(pl.col("pool_id") == split.idle_pool)
    periods = cases.select(*PERIOD).unique()
    busy_hours = busy_time(samples, [])
    sampled = within(periods, busy_hours, [])
    if overlap is not None:
        # A period's time that is all sampled but for roundings is all sampled.
        close = (pl.col("sampled_us") - pl.col("_paid")).abs() <= pl.col("_pieces")
        shared = shared_within(overlap, busy_hours).select(
            *PERIOD, "gpu_us", pl.when(close).then("_paid").otherwise("sampled_us").alias("sampled_us")
        )
        alone = sampled.join(shared, on=list(PERIOD), how="anti")
        sampled = pl.concat([alone, shared.select(alone.collect_schema().names())])
    known = cases.join(sampled, on=list(PERIOD), how="left")
    known = known.join(paid.lazy(), on=list(PERIOD), how="left")
    known = known.with_columns(pl.coalesce("_paid", "sampled_us").alias("_all")).collect().lazy()
    has = pl.col("sampled_us").is_not_null() & (pl.col("_all").fill_null(0) > 0)
    names = cases.collect_schema().names()
    busy = [
        pl.when(has).then(_share(name, pl.col("gpu_us"), pl.col("_all"))).otherwise(name).alias(name)
        for name in AMOUNTS
    ]
    unused = pl.col("sampled_us") - pl.col("gpu_us")
    idle = [_share(name, unused, pl.col("_all")).alias(name) for name in AMOUNTS]
    rest = [
        (pl.col(name) - _share(name, pl.col("gpu_us"), pl.col("_all")) - _share(name, unused, pl.col("_all")))
        .cast(MONEY)
        .alias(name)
        for name in AMOUNTS
    ]
    # A sliver of rounding is nobody's darkness: the parts of a period that was paid and sampled
    # alike are busy and idle only, and idle takes what rounding left.
    alike = has & (pl.col("_all") == pl.col("sampled_us"))
    whole = [
        pl.when(alike)
        .then((pl.col(name) - _share(name, pl.col("gpu_us"), pl.col("_all"))).cast(MONEY))
        .otherwise(expr)
        .alias(name)
        for name, expr in zip(AMOUNTS, idle, strict=True)
    ]
    return (
        known.with_columns(busy).select(names),
        known.filter(has).with_columns(whole).select(names),
        known.filter(has & ~alike).with_columns(rest).select(names),
    )


def _share(name: str, part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    """Return amount x part / whole, rounded towards zero, without leaving 128 bits."""
    units = pl.col(name).to_physical()
    size, p, w = units.abs(), part.cast(pl.Int128), whole.cast(pl.Int128)
    shared = (size // w) * p + ((size % w) * p) // w
    return (shared * units.sign()).reinterpret(dtype=MONEY)
