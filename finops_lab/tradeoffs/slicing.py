"""Traffic in slices: customers, features, regions, sizes of input, hours of the day."""

from __future__ import annotations

import math
from collections.abc import Sequence

import polars as pl

__all__ = ["UNKNOWN", "sliced", "slices", "token_edges"]

UNKNOWN = "(unknown)"
_BINS = 5


def sliced(requests: pl.DataFrame | pl.LazyFrame, *, edges: Sequence[float] | None = None) -> pl.DataFrame:
    """Add what traffic is sliced by: size of the input and hour of the day.

    Parameters
    ----------
    requests : polars.DataFrame or polars.LazyFrame
        The `inference_requests` contract, or some of its columns with ``ts_start``.
    edges : sequence of float, optional
        Limits between sizes of input, in tokens. By default the fifths of these requests: give the
        traffic's to slice a canary alike.

    Returns
    -------
    polars.DataFrame
        With ``input_tokens`` (String, such as ``101 to 400``; all input, from a cache or not) and
        ``hour`` (String, UTC), null where unknown.

    Examples
    --------
    >>> from datetime import datetime
    >>> calls = pl.DataFrame({"ts_start": [datetime(2026, 10, 1, 9)] * 2, "input_uncached_tokens": [10, 500]})
    >>> sliced(calls, edges=[100.0]).select("input_tokens", "hour").rows()
    [('0 to 100', '09'), ('101 and more', '09')]
    """
    frame = requests.lazy().collect()
    buckets = [
        n for n in ("input_uncached_tokens", "cache_read_tokens", "cache_write_tokens") if n in frame.columns
    ]
    if buckets:
        known = pl.any_horizontal(pl.col(buckets).is_not_null())
        frame = frame.with_columns(pl.when(known).then(pl.sum_horizontal(buckets)).alias("_tokens"))
        edges = token_edges(frame["_tokens"]) if edges is None else edges
        limits = [math.floor(edge) for edge in sorted(set(edges))]
        lows = [0, *(limit + 1 for limit in limits)]
        labels = [f"{low} to {limit}" for low, limit in zip(lows, limits, strict=False)] + [
            f"{lows[-1]} and more"
        ]
        size = pl.lit(labels[0])
        for limit, label in zip(limits, labels[1:], strict=True):
            size = pl.when(pl.col("_tokens") > limit).then(pl.lit(label)).otherwise(size)
        named = pl.when(pl.col("_tokens").is_not_null()).then(size)
        frame = frame.with_columns(named.alias("input_tokens")).drop("_tokens")
    return frame.with_columns(pl.col("ts_start").dt.strftime("%H").alias("hour"))


def token_edges(requests_tokens: pl.Series) -> list[float]:
    """Return limits that divide sizes into fifths."""
    known = requests_tokens.drop_nulls()
    if known.is_empty():
        return []
    fifths = [known.quantile(k / _BINS, "equiprobable") for k in range(1, _BINS)]
    return sorted({float(edge) for edge in fifths if edge is not None})


def slices(
    canary: pl.DataFrame, traffic: pl.DataFrame, dimension: str, *, unit: str | None = None
) -> pl.DataFrame:
    """Count the slices of one dimension in the canary and in the whole traffic.

    Parameters
    ----------
    canary, traffic : polars.DataFrame
        Calls with the dimension's column; the traffic includes the canary's calls or not.
    dimension : str
        A column; null is a slice of its own.
    unit : str, optional
        Column whose values tell what is independent, such as a session: one with a hundred calls proves
        as much as one with two, so that only its first call counts.

    Returns
    -------
    polars.DataFrame
        ``slice`` (String), ``canary``, ``traffic`` (Int64), ``canary_share``, ``traffic_share``
        (Float64), largest of the traffic first.

    Examples
    --------
    >>> whole = pl.DataFrame({"region": ["eu", "eu", "us", None]})
    >>> slices(whole.head(2), whole, "region").rows()[0]
    ('eu', 2, 2, 1.0, 0.5)
    """
    counted = [
        _units(frame, unit)
        .select(pl.col(dimension).cast(pl.String).fill_null(UNKNOWN).alias("slice"))
        .group_by("slice")
        .agg(pl.len().cast(pl.Int64).alias(name))
        for name, frame in (("canary", canary), ("traffic", traffic))
    ]
    both = counted[1].join(counted[0], on="slice", how="full", coalesce=True)
    return (
        both.select("slice", pl.col("canary", "traffic").fill_null(0))
        .with_columns(
            (pl.col(name) / pl.col(name).sum()).fill_nan(0.0).alias(f"{name}_share")
            for name in ("canary", "traffic")
        )
        .sort("traffic", "slice", descending=[True, False])
    )


def _units(frame: pl.DataFrame, unit: str | None) -> pl.DataFrame:
    if unit is None or unit not in frame.columns:
        return frame
    # Calls whose unit is not known are units of their own.
    return frame.filter(pl.col(unit).is_first_distinct() | pl.col(unit).is_null())
