"""M2, GPU utilization: one kind a measure, weighted by time, with what idle time cost."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import polars as pl

from finops_lab.allocation.idle import paid_gpu_us
from finops_lab.contracts.telemetry import UTIL_KINDS
from finops_lab.errors import InputError, columns_of, each_name
from finops_lab.unit_economics._by_dimension import added_up, engine_for, in_full
from finops_lab.unit_economics._gpu_days import covered_days, sampled_days
from finops_lab.unit_economics._grouping import as_written, known_sum, monthly, share_of
from finops_lab.unit_economics.figures import Asked, Definition, together, whole_and_by

__all__ = ["BY_GPU", "DEFINITIONS", "gpu_utilization", "paid_gpu_hours", "pool_models"]

BY_GPU = ("team", "pool_id", "cluster", "gpu_model", "model")
_TITLES = {
    "gpu_util": "GPU utilization",
    "gr_engine_active": "Graphics engine active",
    "sm_active": "SM active",
    "tensor_active": "Tensor cores active",
    "duty_cycle": "Duty cycle",
}
_TABLES = ("gpu_samples",)
_SUMMED = ("rows", "sampled_s", "busy_s", "allocated_s", "allocated_busy_s", "priced_s")
# "GPU utilization" is near 100 % on machines whose multiprocessors are half idle.
_KINDS = "DCGM field identifiers; Hu et al., NSDI 2024 (Acme): GPU_UTIL 99 % where SM_ACTIVE is 50 %"


def _defined(kind: str) -> tuple[Definition, ...]:
    title, seconds = _TITLES[kind], "GPU-seconds"
    mean = Definition(
        "M2", kind, f"{title}, mean", "ratio", seconds, seconds,
        f"GPU time in use, as {kind} tells it, / GPU time that samples tell of; weighted by time; coverage is"
        " the share of GPU-hours paid for that was sampled or, where the bill does not tell these, of the days"
        " since its first sample on which each pool was",
        _TABLES, "within", "no GPU time was sampled", _KINDS,
    )  # fmt: skip
    held = Definition(
        "M2", f"{kind}_while_held", f"{title} while a workload held the GPU", "ratio", seconds, seconds,
        f"GPU time in use while held, as {kind} tells it, / GPU time that a workload held",
        _TABLES, "within", "no workload is known to have held a GPU", _KINDS,
    )  # fmt: skip
    peak = Definition(
        "M2", f"{kind}_peak", f"{title}, busiest hour", "ratio", "", "",
        f"highest mean {kind} of an hour in any group of cluster, pool, team and GPU model",
        _TABLES, "none", "no hour was measured", _KINDS,
    )  # fmt: skip
    hours = Definition(
        "M2", f"{kind}_idle_gpu_hours", f"Idle GPU-hours by {title}", "GPU-hours", seconds,
        "seconds per hour", f"(GPU time sampled - GPU time in use as {kind} tells it) / 3600",
        _TABLES, "lower", "no GPU time was sampled",
    )  # fmt: skip
    money = Definition(
        "M2", f"{kind}_idle_money", f"Money of idle GPU time by {title}", "USD", "USD", "",
        "sampled GPU time not in use x the samples' own hourly rates; coverage is the share of sampled"
        " time whose rate is known",
        _TABLES, "lower", "no sample says what an hour of the GPU costs",
        bounds="what time without a rate cost comes on top",
    )  # fmt: skip
    return mean, held, peak, hours, money


_BY_KIND = {kind: _defined(kind) for kind in UTIL_KINDS}
DEFINITIONS: tuple[Definition, ...] = tuple(one for several in _BY_KIND.values() for one in several)


def gpu_utilization(
    days: pl.DataFrame | pl.LazyFrame,
    *,
    pools: pl.DataFrame | pl.LazyFrame | None = None,
    paid: pl.DataFrame | pl.LazyFrame | None = None,
    by: str | Sequence[str] = BY_GPU,
    until: date | None = None,
) -> pl.DataFrame:
    """Tell how much of the GPUs' time was in use, for every kind of utilization that was measured.

    Parameters
    ----------
    days : polars.DataFrame or polars.LazyFrame
        `finops_lab.unit_economics.schemas.GPU_DAYS`.
    pools : polars.DataFrame or polars.LazyFrame, optional
        ``pool_id`` and ``model``, such as `pool_models`: needed for figures by model.
    paid : polars.DataFrame or polars.LazyFrame, optional
        GPU-hours that the bill paid for: ``month``, ``gpu_hours`` and any dimensions of `by`, such
        as `paid_gpu_hours`. Gives `coverage` of the means: the share of that time that was sampled.
        For months that it does not tell of, coverage is the share of the days since a pool's first
        sample on which it was sampled, of all pools together.
    by : str or sequence of str
        Dimensions beside the whole.
    until : datetime.date, optional
        The day after the last one that is known, where the last month is not over.

    Returns
    -------
    polars.DataFrame
        FIGURES of M2. For each kind: the mean (named after the kind), ``_while_held``, ``_peak``,
        ``_idle_gpu_hours``, ``_idle_money`` (USD, ``lower`` as well where part of the time has no
        rate). Time without a workload has no team.

    Examples
    --------
    >>> from datetime import date
    >>> days = pl.DataFrame({"day": [date(2026, 10, 1)], "cluster": ["eu"], "pool_id": ["chat"],
    ...     "team": ["search"], "gpu_model": ["H100"], "util_kind": ["gpu_util"], "rows": [24], "gpus": [1],
    ...     "sampled_s": [86400], "busy_s": [43200], "allocated_s": [64800], "allocated_busy_s": [43200],
    ...     "peak_util": [0.9], "priced_s": [86400], "sampled_usd": [48], "idle_usd": [24]})
    >>> found = gpu_utilization(days, by=())
    >>> found.select("measure", pl.col("value").round(2).cast(pl.Float64)).rows()
    ... # doctest: +NORMALIZE_WHITESPACE
    [('gpu_util', 0.5), ('gpu_util_while_held', 0.67), ('gpu_util_peak', 0.9),
     ('gpu_util_idle_gpu_hours', 12.0), ('gpu_util_idle_money', 24.0)]
    """
    by = each_name(by)
    frame = monthly(days)
    if pools is not None:
        named = pools.lazy().select("pool_id", "model").drop_nulls().unique("pool_id", keep="none")
        frame = frame.join(named, on="pool_id", how="left")
    rows = frame.filter(pl.col("util_kind").is_in(UTIL_KINDS)).collect(engine=engine_for(days))
    by = [name for name in dict.fromkeys(by) if name != "model" or pools is not None]
    columns_of(by, rows, "GPU days")
    dimensions = whole_and_by(by)
    sums = added_up(
        rows,
        dimensions,
        pl.col(_SUMMED).sum(),
        pl.col("peak_util").max(),
        known_sum("idle_usd"),
        also=("util_kind",),
    )
    sampled = sampled_days(days, until) if "day" in days.lazy().collect_schema() else None
    idle = pl.when(pl.col("sampled_s") > 0).then(pl.col("sampled_s") - pl.col("busy_s"))
    # Samples that tell a rate and no use are of no time: their money is nothing known, not 0.
    money, part = pl.col("priced_s") > 0, pl.col("priced_s") < pl.col("sampled_s")
    sums = _with_coverage(sums, rows, dimensions, paid, sampled).with_columns(
        as_written(sums["peak_util"]),
        idle.alias("idle_s"),
        pl.when(money).then("idle_usd").alias("idle_usd"),
        pl.when(money & part).then("idle_usd").alias("least_usd"),
        share_of(pl.col("priced_s"), pl.col("sampled_s")).alias("priced"),
    )
    of_kinds = sums.partition_by("util_kind", as_dict=True)
    parts = (part for (kind,), mine in of_kinds.items() for part in _asked(mine, str(kind)))
    found = together(parts, dimensions)
    measures = ([one.measure for one in several] for several in _BY_KIND.values())
    return pl.concat(found.filter(pl.col("measure").is_in(names)) for names in measures)


def _with_coverage(
    sums: pl.DataFrame,
    rows: pl.DataFrame,
    dimensions: Sequence[str | None],
    paid: pl.DataFrame | pl.LazyFrame | None,
    sampled: pl.DataFrame | None,
) -> pl.DataFrame:
    """Tell which share of the time paid for was sampled; of months without it, of the days."""
    on = ["dimension", "month", "key"]
    told, covered = pl.Series(dtype=pl.Date), pl.lit(None, pl.Float64)
    if paid is not None:
        bill = paid.lazy().collect(engine=engine_for(paid))
        of_bill = [name for name in dimensions if name is None or name in bill.columns]
        hours = added_up(bill, of_bill, known_sum("gpu_hours"))
        sums = in_full(sums.join(hours, on=on, how="left", nulls_equal=True, maintain_order="left"))
        told, covered = bill["month"], share_of(pl.col("sampled_s"), pl.col("gpu_hours") * 3600)
    if sampled is not None:
        # Hours and days are two measures of it: a month has one of them.
        of_days = covered_days(sampled.filter(~pl.col("month").is_in(told.implode())), rows, dimensions)
        on.append("util_kind")
        sums = sums.join(of_days, on=on, how="left", nulls_equal=True, maintain_order="left")
        covered = pl.coalesce(covered, "coverage")
    return sums.with_columns(covered.alias("coverage"))


def _asked(sums: pl.DataFrame, kind: str) -> list[Asked]:
    nothing = pl.lit(None, pl.Int64)
    measures: tuple[dict[str, str | pl.Expr], ...] = (
        {"numerator": "busy_s", "denominator": "sampled_s"},
        {"numerator": "allocated_busy_s", "denominator": "allocated_s"},
        {"value": "peak_util", "numerator": nothing, "denominator": nothing},
        {"numerator": "idle_s", "denominator": pl.lit(3600)},
        {
            "value": "idle_usd",
            "numerator": "idle_usd",
            "denominator": nothing,
            "lower": "least_usd",
            "coverage": "priced",
        },
    )
    return [
        Asked(
            sums.select("dimension", "month", "key", "rows", **{"coverage": "coverage", **columns}),
            definition,
        )
        for definition, columns in zip(_BY_KIND[kind], measures, strict=True)
    ]


def paid_gpu_hours(costs: pl.DataFrame | pl.LazyFrame, keys: Sequence[str] = ()) -> pl.DataFrame:
    """Add up the GPU-hours that bill rows paid for.

    Parameters
    ----------
    costs : polars.DataFrame or polars.LazyFrame
        The `costs` contract, with any further columns to group by.
    keys : sequence of str
        Columns to keep apart, such as ``team`` or ``pool_id`` where rules added them.

    Returns
    -------
    polars.DataFrame
        ``month`` (of use), `keys`, ``gpu_hours`` (Float64) and ``rows``, of bill rows that say the
        hours and the GPUs of their machine; sorted. Empty where no row does.

    Examples
    --------
    >>> from datetime import datetime
    >>> bill = pl.DataFrame({"ChargePeriodStart": [datetime(2026, 10, 3)], "EffectiveCost": [98.0],
    ...     "ConsumedQuantity": [2.0], "ConsumedUnit": ["Hours"], "x_GpuCount": [8.0]})
    >>> paid_gpu_hours(bill).rows()
    [(datetime.date(2026, 10, 1), 16.0, 1)]
    """
    frame = costs.lazy()
    if missing := [name for name in keys if name not in frame.collect_schema()]:
        raise InputError(f"the bill rows have no column {', '.join(missing)}")
    hours = paid_gpu_us(frame.collect_schema().names())
    month = pl.col("ChargePeriodStart").dt.date().dt.month_start().alias("month")
    return (
        frame.with_columns(month, hours.alias("_us"))
        .filter(pl.col("_us") > 0)
        .group_by("month", *keys)
        # Microseconds are whole: the sum does not depend on the order of rows.
        .agg((pl.col("_us").sum() / 3_600_000_000).alias("gpu_hours"), pl.len().cast(pl.Int64).alias("rows"))
        .sort("month", *keys, nulls_last=True)
        .collect()
    )


def pool_models(
    pools: pl.DataFrame | pl.LazyFrame | None = None, requests: pl.DataFrame | pl.LazyFrame | None = None
) -> pl.DataFrame:
    """Tell which model each pool serves.

    Parameters
    ----------
    pools : polars.DataFrame or polars.LazyFrame, optional
        The `pools` contract: what `finops.toml` says counts first.
    requests : polars.DataFrame or polars.LazyFrame, optional
        ``pool_id`` and ``model``, such as a roll-up of requests: a pool whose calls all name one
        model serves it. A pool of several models has none.

    Returns
    -------
    polars.DataFrame
        ``pool_id``, ``model``, each pool once, sorted.

    Examples
    --------
    >>> calls = pl.DataFrame({"pool_id": ["a", "a", "b", "b"], "model": ["m", "m", "m", "n"]})
    >>> pool_models(requests=calls).rows()
    [('a', 'm')]
    """
    texts = {"pool_id": pl.String, "model": pl.String}
    found = pl.DataFrame(schema=texts)
    for source in (pools, requests):
        if source is not None:
            pairs = source.lazy().select(pl.col(name).cast(kind) for name, kind in texts.items())
            pairs = pairs.drop_nulls().unique().unique("pool_id", keep="none")
            more = pairs.join(found.lazy(), on="pool_id", how="anti").collect()
            found = pl.concat([found, more])
    return found.sort("pool_id")
