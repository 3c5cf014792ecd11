"""Buckets that serving engines count, added up once for all dimensions."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

__all__ = ["counted_buckets"]

# What tells one engine's histogram of a window from another.
_SERIES = (
    "metric",
    "ts",
    "window_s",
    "source_metric",
    "model",
    "pool_id",
    "cluster",
    "namespace",
    "pod",
    "source_file",
)


def counted_buckets(rows: pl.LazyFrame, by: Sequence[str]) -> pl.DataFrame:
    """Count the durations between the ends of each bucket, once for all dimensions.

    Parameters
    ----------
    rows : polars.LazyFrame
        `latency_histograms`.
    by : sequence of str
        Dimensions to keep apart.

    Returns
    -------
    polars.DataFrame
        ``month``, `by`, ``metric``, ``from_ms`` and ``le_ms`` (the bucket's ends), ``calls``, ``rows``.

    Examples
    --------
    >>> from datetime import datetime
    >>> window = pl.LazyFrame({"ts": [datetime(2026, 10, 1)] * 2, "metric": ["latency"] * 2,
    ...     "le_ms": [100.0, 200.0], "cumulative_count": [80, 98]})
    >>> counted_buckets(window, []).sort("le_ms").select("from_ms", "le_ms", "calls").rows()
    [(0.0, 100.0, 80), (100.0, 200.0, 18)]
    """
    known = rows.collect_schema()
    series = [name for name in _SERIES if name in known]
    # A count that falls from one bucket to the next is a broken scrape: what was counted stays counted.
    count = pl.col("cumulative_count").cast(pl.Int64).cum_max().over(series, order_by="le_ms")
    month = pl.col("ts").dt.date().dt.month_start().alias("month")
    each = rows.select(*dict.fromkeys([*series, *by]), "le_ms", month, count.alias("_count"))
    each = each.with_columns(
        pl.col("_count").shift(1, fill_value=0).over(series, order_by="le_ms").alias("_below"),
        pl.col("le_ms").shift(1, fill_value=0.0).over(series, order_by="le_ms").alias("from_ms"),
    )
    return (
        each.group_by(*dict.fromkeys(["month", *by, "metric", "from_ms", "le_ms"]))
        .agg(
            (pl.col("_count") - pl.col("_below")).sum().alias("calls"), pl.len().cast(pl.Int64).alias("rows")
        )
        .collect()
    )
