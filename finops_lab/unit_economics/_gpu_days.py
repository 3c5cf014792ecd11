"""On how many of a month's days each pool of GPUs was sampled: what stands behind a utilization."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import polars as pl

from finops_lab.unit_economics._by_dimension import engine_for, named
from finops_lab.unit_economics._grouping import share_of

__all__ = ["covered_days", "sampled_days"]

_POOL = ("cluster", "pool_id", "gpu_model")


def sampled_days(days: pl.DataFrame | pl.LazyFrame, until: date | None = None) -> pl.DataFrame:
    """Count by month the days on which a pool was sampled, and those on which it should have been.

    Parameters
    ----------
    days : polars.DataFrame or polars.LazyFrame
        ``day``, ``util_kind``, ``cluster``, ``pool_id``, ``gpu_model`` and ``sampled_s``.
    until : datetime.date, optional
        The day after the last one that is known.

    Returns
    -------
    polars.DataFrame
        ``util_kind``, the pool's columns, ``month``, ``sampled`` and ``due`` (Int64). A pool is due
        from its first sample on: nobody knows whether it was there before. A month without any
        sample of a pool has no row of it.

    Examples
    --------
    >>> days = pl.DataFrame({"day": [date(2026, 10, 22), date(2026, 10, 31)], "util_kind": "gpu_util",
    ...     "cluster": "eu", "pool_id": "chat", "gpu_model": "H100", "sampled_s": 60})
    >>> sampled_days(days).select("sampled", "due").rows()
    [(2, 10)]
    """
    pool = ("util_kind", *_POOL)
    day, month = pl.col("day"), pl.col("day").dt.month_start()
    begun = pl.max_horizontal("first", "month")
    end = pl.col("month").dt.offset_by("1mo")
    known = end if until is None else pl.min_horizontal(end, pl.max_horizontal(pl.lit(until), "beyond"))
    return (
        days.lazy()
        .filter(pl.col("sampled_s") > 0)
        .with_columns(day.min().over(pool).alias("first"), month.alias("month"))
        .group_by(*pool, "month", "first")
        .agg(day.n_unique().cast(pl.Int64).alias("sampled"), day.max().dt.offset_by("1d").alias("beyond"))
        .with_columns((known - begun).dt.total_days().alias("due"))
        .select(*pool, "month", "sampled", "due")
        .collect(engine=engine_for(days))
    )


def covered_days(sampled: pl.DataFrame, rows: pl.DataFrame, dimensions: Sequence[str | None]) -> pl.DataFrame:
    """Return which share of the days that were due was sampled, of the pools of each key.

    Parameters
    ----------
    sampled : polars.DataFrame
        What `sampled_days` returned.
    rows : polars.DataFrame
        Rows with ``month``, ``util_kind``, the pool's columns and those of the dimensions: which
        pools a key used.
    dimensions : sequence of str or None
        None is the whole.

    Returns
    -------
    polars.DataFrame
        ``dimension``, ``month``, ``key``, ``util_kind`` and ``coverage``.
    """
    names = ["month", "util_kind", *_POOL]
    known = [name for name in dimensions if name is not None]
    used = rows.select(*dict.fromkeys([*names, *known])).unique()
    told = used.join(sampled, on=names, nulls_equal=True).lazy()
    # A pool counts once for each key that used it, whatever else tells its rows apart.
    each = pl.concat(
        told.select(
            pl.lit(dimension, pl.String).alias("dimension"), named(dimension), *names, "sampled", "due"
        ).unique()
        for dimension in dimensions
    )
    sums = each.group_by("dimension", "month", "key", "util_kind").agg(pl.col("sampled", "due").sum())
    covered = share_of(pl.col("sampled"), pl.col("due")).alias("coverage")
    return sums.select("dimension", "month", "key", "util_kind", covered).collect(engine="in-memory")
