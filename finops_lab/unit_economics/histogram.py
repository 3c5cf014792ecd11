"""Durations in buckets that merge: quantiles within 1 %, of any parts in any order.

Buckets grow by a constant factor, so that a bucket's middle is within 1 % of every value in it
(DDSketch: Masson, Rim and Lee, "DDSketch: a fast and fully-mergeable quantile sketch with
relative-error guarantees", VLDB 2019). Unlike a sketch that is bounded in size, no bucket is ever
collapsed into another: merging is adding, and adding decimals is exact in any order.

A quantile is the "equiprobable" one throughout: the least value that at least the share q of the
calls does not exceed (the inverse of the distribution function, SQL's ``percentile_disc``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import polars as pl

from finops_lab.errors import InputError, each_name
from finops_lab.unit_economics.schemas import COUNTED

__all__ = [
    "ACCURACY",
    "GAMMA",
    "INFINITE",
    "QUANTILES",
    "ZERO",
    "bounds",
    "bucket",
    "build",
    "from_cumulative",
    "from_ends",
    "merge",
    "merged",
    "quantiles",
    "share",
]

ACCURACY = 0.01
GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
QUANTILES = (0.5, 0.95, 0.99)
# Buckets of what has no logarithm: zero (and what is below the least normal float), and infinity.
ZERO, INFINITE = -(2**31), 2**31 - 1

_LOG = math.log(GAMMA)
_TINY = 2.2250738585072014e-308
# A value at the edge of two buckets may fall into either, since logarithms are rounded.
_EDGE = 1e-12
_MOST = 2**62
_AT_ONCE = 2**20  # rows


def bucket(value: pl.Expr) -> pl.Expr:
    """Return the bucket of each value.

    Parameters
    ----------
    value : polars.Expr
        Durations or other amounts that are not negative.

    Returns
    -------
    polars.Expr
        Int32. Bucket i holds the values above ``GAMMA ** (i - 1)`` up to ``GAMMA ** i``; `ZERO` and
        `INFINITE` hold those two values. Null where the value is null, negative or no number.

    Examples
    --------
    >>> pl.DataFrame({"ms": [0.0, 1.0, 100.0, None]}).select(bucket(pl.col("ms"))).to_series().to_list()
    [-2147483648, 0, 231, None]
    """
    value = value.cast(pl.Float64)
    number = (value.log() / _LOG).ceil()
    return (
        pl.when(value < _TINY)
        .then(pl.when(value >= 0).then(pl.lit(ZERO, pl.Int32)))
        .when(value.is_infinite())
        .then(pl.lit(INFINITE, pl.Int32))
        .when(value.is_not_nan())
        .then(number.cast(pl.Int32, strict=False))
    )


def bounds(bucket: pl.Expr) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """Return what stands for a bucket's values (within 1 % of each), and the bucket's two ends.

    Examples
    --------
    >>> ends = pl.DataFrame({"bucket": [231]}).select(*bounds(pl.col("bucket")))
    >>> [round(value, 2) for value in ends.row(0)]
    [100.49, 99.5, 101.51]
    """
    number = bucket.cast(pl.Float64)

    def at(power: pl.Expr, name: str) -> pl.Expr:
        special = pl.when(bucket == ZERO).then(0.0).when(bucket == INFINITE).then(math.inf)
        return special.otherwise(power.exp()).alias(name)

    return (
        at(number * _LOG + math.log(2 / (GAMMA + 1)), "value"),
        at((number - 1) * _LOG - _EDGE, "lower"),
        at(number * _LOG + _EDGE, "upper"),
    )


def build(
    rows: pl.LazyFrame, value: str | pl.Expr, by: str | Sequence[str] = (), weight: pl.Expr | None = None
) -> pl.LazyFrame:
    """Count values in buckets.

    Parameters
    ----------
    rows : polars.LazyFrame
        The values, and the columns of `by`.
    value : str or polars.Expr
        What is counted; null, negative and NaN are not.
    by : str or sequence of str
        Columns that tell histograms apart.
    weight : polars.Expr, optional
        How many calls a row stands for; 1 without it. Rounded to thousandths, row by row.

    Returns
    -------
    polars.LazyFrame
        The columns of `by`, ``bucket`` (Int32), ``calls`` (Decimal), sorted.

    Examples
    --------
    >>> rows = pl.LazyFrame({"ms": [100.0, 101.0, 0.0]})
    >>> build(rows, "ms").collect().rows()
    [(-2147483648, Decimal('1.000')), (231, Decimal('2.000'))]
    """
    values = pl.col(value) if isinstance(value, str) else value
    calls = pl.lit(1.0) if weight is None else weight.cast(pl.Float64)
    thousandths = (calls * 1000).round(0).cast(pl.Int128)
    by = each_name(by)
    found = rows.select(*by, bucket(values).alias("bucket"), thousandths.alias("calls"))
    found = found.filter(pl.col("bucket").is_not_null(), pl.col("calls") > 0)
    counted = pl.col("calls").sum().reinterpret(dtype=COUNTED)
    return found.group_by(*by, "bucket").agg(counted).sort(*by, "bucket", nulls_last=True)


def merge(parts: Sequence[pl.LazyFrame]) -> pl.LazyFrame:
    """Add histograms up; the order of parts does not matter.

    Parameters
    ----------
    parts : sequence of polars.LazyFrame
        Frames of the same columns: what tells histograms apart, ``bucket`` and ``calls``.

    Returns
    -------
    polars.LazyFrame
        The same columns, sorted.

    Examples
    --------
    >>> parts = [build(pl.LazyFrame({"ms": [ms]}), "ms") for ms in (5.0, 100.0, 100.5)]
    >>> merge(parts).collect().rows()
    [(81, Decimal('1.000')), (231, Decimal('2.000'))]
    """
    if not parts:
        raise InputError("there are no histograms to merge")
    everything = pl.concat(parts)
    keys = [name for name in everything.collect_schema() if name != "calls"]
    return everything.group_by(keys).agg(pl.col("calls").sum()).sort(keys, nulls_last=True)


def merged(parts: Sequence[pl.LazyFrame]) -> pl.DataFrame:
    """Add histograms up as `merge` does, some buckets at a time.

    Adding up holds all rows until the last: of a month of days there are ten times those that come of it.

    Examples
    --------
    >>> merged([pl.LazyFrame({"bucket": [3, 2, 3], "calls": [1, 1, 1]})]).rows()
    [(2, 1), (3, 2)]
    """
    if not parts:
        raise InputError("there are no histograms to merge")
    rows = int(pl.concat([part.select(pl.len()) for part in parts]).sum().collect().item())
    slices = rows // _AT_ONCE + 1
    of = pl.col("bucket").fill_null(0) % slices
    found = [merge([part.filter(of == n) for part in parts]).collect() for n in range(slices)]
    keys = [name for name in found[0].columns if name != "calls"]
    return found[0] if slices == 1 else pl.concat(found).sort(keys, nulls_last=True)


def quantiles(
    histograms: pl.LazyFrame, by: str | Sequence[str] = (), at: Sequence[float] = QUANTILES
) -> pl.LazyFrame:
    """Read quantiles from buckets, with the bounds that the exact ones lie within.

    Parameters
    ----------
    histograms : polars.LazyFrame
        ``bucket`` and ``calls``, and the columns of `by`; the same bucket may come several times.
    by : str or sequence of str
        Columns that tell histograms apart.
    at : sequence of float
        Quantiles between 0 and 1, such as 0.95.

    Returns
    -------
    polars.LazyFrame
        The columns of `by`, ``quantile`` (Float64), ``value`` (within 1 % of the exact
        "equiprobable" quantile), ``lower`` and ``upper`` (it lies between them), ``calls``
        (Decimal, all that were counted); sorted. No row where nothing was counted.

    Raises
    ------
    InputError
        When a quantile is not between 0 and 1.

    Examples
    --------
    >>> rows = pl.LazyFrame({"ms": [float(n) for n in range(1, 101)]})
    >>> found = quantiles(build(rows, "ms"), at=[0.5, 1]).collect()
    >>> found.select(pl.col("quantile", "value", "lower", "upper").round(2)).rows()
    [(0.5, 49.9, 49.41, 50.41), (1.0, 100.49, 99.5, 101.51)]
    """
    keys = list(each_name(by))
    shares = [(float(q), *share(q)) for q in at]
    kinds = histograms.collect_schema()
    told: dict[str, pl.DataType | type[pl.DataType]] = {
        **{name: kinds[name] for name in keys},
        "quantile": pl.Float64,
        "bucket": kinds["bucket"],
        "calls": COUNTED,
    }
    # Of no group at all a column of one value is one.
    groups = histograms.filter(pl.col("calls") > 0).with_columns(pl.lit(0).alias("_one"))
    each = groups.group_by("_one", *keys).agg("bucket", pl.col("calls").to_physical().cast(pl.Int128))
    found = each.map_batches(
        lambda frame: _read(frame, shares).select(*told),
        schema=told,
        predicate_pushdown=False,
        projection_pushdown=False,
        slice_pushdown=False,
    )
    return found.select(*keys, "quantile", *bounds(pl.col("bucket")), "calls").sort(
        *keys, "quantile", nulls_last=True
    )


def _read(groups: pl.DataFrame, shares: Sequence[tuple[float, int, int]]) -> pl.DataFrame:
    """Return the bucket of each group (lists of buckets and calls) in which each share is reached."""
    import numpy as np

    calls, buckets = groups["calls"].explode(), groups["bucket"].explode()
    sizes = groups["bucket"].list.len().to_numpy()
    order = np.lexsort((buckets.to_numpy(), np.repeat(np.arange(groups.height), sizes)))
    # Whole numbers, of Python where those of the machine do not hold them: nothing is rounded.
    fits = groups.is_empty() or calls.sum() <= _MOST
    numbers = calls.cast(pl.Int64).to_numpy() if fits else np.array(calls.to_list(), dtype=object)
    reached = np.cumsum(numbers[order])
    ends = [0, *(int(n) for n in reached[np.cumsum(sizes) - 1])]
    totals = [after - before for before, after in pairwise(ends)]
    every = pl.Series("calls", totals, pl.Int128).reinterpret(dtype=COUNTED)
    keys = groups.drop("bucket", "calls").with_columns(every)
    found = []
    for quantile, part, whole in shares:
        # At 0 any would do: the first that holds anything is the least value.
        wanted = [
            before + max(-(-total * part // whole), 1) for before, total in zip(ends, totals, strict=False)
        ]
        places = order[np.searchsorted(reached, np.array(wanted, dtype=reached.dtype))]
        at = pl.Series("bucket", buckets.to_numpy()[places], buckets.dtype)
        found.append(keys.with_columns(at, pl.lit(quantile).alias("quantile")))
    return pl.concat(found)


def share(quantile: float) -> tuple[int, int]:
    """Return a quantile as the fraction that is meant: 0.95 is 19/20, not the float beside it.

    Raises
    ------
    InputError
        When it is not between 0 and 1.

    Examples
    --------
    >>> share(0.95)
    (19, 20)
    """
    if not 0 <= quantile <= 1:
        raise InputError(f"a quantile lies between 0 and 1, not at {quantile}")
    return Fraction(Decimal(str(quantile))).limit_denominator(10**6).as_integer_ratio()


def from_cumulative(
    rows: pl.LazyFrame, by: str | Sequence[str] = (), at: Sequence[float] = QUANTILES
) -> pl.LazyFrame:
    """Read quantiles from the buckets that a serving engine counted.

    Windows, pods and models of a group are added up. Where their buckets have the same ends this is
    Prometheus' ``histogram_quantile``: linear between the ends of the bucket that the quantile falls
    into. Where ends differ, the bounds are those that hold whatever is true within the buckets:
    the quantile of all lower ends, and that of all upper ends.

    Parameters
    ----------
    rows : polars.LazyFrame
        Rows of `latency_histograms`.
    by : str or sequence of str
        Columns that tell histograms apart, beside ``metric``.
    at : sequence of float
        Quantiles between 0 and 1.

    Returns
    -------
    polars.LazyFrame
        ``metric``, the columns of `by`, ``quantile``, ``value``, ``lower``, ``upper`` (Float64),
        ``calls`` (Decimal); sorted. In the bucket without an upper end ``value`` and ``upper`` are
        null: it is known only that the quantile is above ``lower``.

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> rows = pl.LazyFrame({"ts": [datetime(2026, 10, 1, tzinfo=UTC)] * 3, "metric": ["latency"] * 3,
    ...     "le_ms": [100.0, 200.0, float("inf")], "cumulative_count": [80, 100, 101]})
    >>> found = from_cumulative(rows, at=[0.9, 1])
    >>> found.select("quantile", pl.col("value").round(1), "lower", "upper").collect().rows()
    [(0.9, 154.5, 100.0, 200.0), (1.0, None, 200.0, None)]
    """
    keys = list(dict.fromkeys(["metric", *each_name(by)]))
    known = rows.collect_schema()
    apart = ["source_metric", "model", "pool_id", "cluster", "namespace", "pod", "window_s", "source_file"]
    series = list(dict.fromkeys([*keys, "ts", *(name for name in apart if name in known)]))
    # A count that falls from one bucket to the next is a broken scrape: what was counted stays counted.
    count = pl.col("cumulative_count").cast(pl.Int64).cum_max().over(series, order_by="le_ms")
    each = rows.select(*series, "le_ms", count.alias("_count")).with_columns(
        calls=pl.col("_count") - pl.col("_count").shift(1, fill_value=0).over(series, order_by="le_ms"),
        from_ms=pl.col("le_ms").shift(1, fill_value=0.0).over(series, order_by="le_ms"),
    )
    return from_ends(each, keys, at)


def from_ends(
    counted: pl.LazyFrame, by: str | Sequence[str] = (), at: Sequence[float] = QUANTILES
) -> pl.LazyFrame:
    """Read quantiles from buckets whose two ends are known, as `from_cumulative` does.

    Parameters
    ----------
    counted : polars.LazyFrame
        ``metric``, the columns of `by`, ``from_ms`` and ``le_ms`` (the bucket's ends), ``calls``
        between them (Int64); the same bucket may come several times.
    by, at
        As for `from_cumulative`.

    Returns
    -------
    polars.LazyFrame
        What `from_cumulative` returns.

    Examples
    --------
    >>> rows = pl.LazyFrame({"metric": ["ttft"] * 2, "from_ms": [0.0, 100.0], "le_ms": [100.0, 200.0],
    ...     "calls": [60, 40]})
    >>> from_ends(rows, at=[0.8]).drop("metric", "quantile").collect().rows()
    [(150.0, 100.0, 200.0, Decimal('100.000'))]
    """
    keys = list(dict.fromkeys(["metric", *each_name(by)]))
    calls, total = pl.col("calls"), pl.col("_total")
    thousandths, before = calls.sum().cast(pl.Int128) * 1000, calls.cum_sum() - calls
    each = counted.filter(calls > 0).group_by(*keys, "from_ms", "le_ms").agg(thousandths)
    each = each.with_columns(
        _total=calls.sum().over(keys),
        _below=before.over(keys, order_by=["from_ms", "le_ms"]),
        _before=before.over(keys, order_by=["le_ms", "from_ms"]),
    )
    lows, highs, finite = [], [], pl.when(pl.col("le_ms").is_finite())
    for q in at:
        part, whole = share(q)
        # At 0 any would do: the first that holds anything is the least value.
        wanted = pl.max_horizontal(total * part, 1)
        low, high = (
            each.filter(pl.col(name) * whole < wanted, (pl.col(name) + calls) * whole >= wanted)
            for name in ("_below", "_before")
        )
        within = (total * part / whole - pl.col("_before")) / calls
        inside = pl.col("from_ms") + (pl.col("le_ms") - pl.col("from_ms")) * within.clip(0, 1)
        lows.append(low.select(*keys, quantile=pl.lit(float(q)), lower="from_ms"))
        highs.append(
            high.select(
                *keys,
                quantile=pl.lit(float(q)),
                value=finite.then(inside),
                upper=finite.then("le_ms"),
                calls=total.reinterpret(dtype=COUNTED),
            )
        )
    on = [*keys, "quantile"]
    both = pl.concat(highs).join(pl.concat(lows), on=on, nulls_equal=True)
    value = pl.when(pl.col("value").is_not_null()).then(pl.max_horizontal("value", "lower")).alias("value")
    return both.select(*on, value, "lower", "upper", "calls").sort(on, nulls_last=True)
