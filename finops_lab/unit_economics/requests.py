"""Calls rolled up: sums and exact percentiles of a day, buckets that merge over days.

A day is rolled up by itself (`partial`), parts are put together (`combine`), and months are sums of
days (`months`): memory follows the largest day, a refresh costs the days that changed, and the same
functions run wherever a day's rows are.

``ok`` calls succeeded; ``error`` and ``timeout`` failed; these are the finished ones. ``cancelled``
and ``pending`` calls are counted apart. A row stands for ``n_requests`` x ``sample_weight`` calls,
its tokens for those of all ``n_requests``, its durations for one call.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

import polars as pl

from finops_lab.errors import InputError
from finops_lab.money import MONEY
from finops_lab.unit_economics import histogram
from finops_lab.unit_economics._codes import CHECK, NUMBER, numbers, varying
from finops_lab.unit_economics._ranked import ranked
from finops_lab.unit_economics._weighed import OK, TOKENS, Weighed, finished, sums, weighed
from finops_lab.unit_economics.histogram import share
from finops_lab.unit_economics.schemas import (
    BY,
    COUNTED,
    HISTOGRAMS,
    LATENCIES,
    REQUEST_DAYS,
    REQUEST_KEYS,
    REQUEST_MONTHS,
    SUMS,
)

__all__ = ["Rolled", "combine", "months", "partial", "roll_up"]

_NEEDED: dict[str, pl.DataType | type[pl.DataType]] = {
    "day": pl.Date,
    "status": pl.String,
    "n_requests": pl.Int64,
    "sample_weight": pl.Float64,
}
_READ: dict[str, pl.DataType | type[pl.DataType]] = {
    **dict.fromkeys(REQUEST_KEYS, pl.String),
    **dict.fromkeys(TOKENS, pl.Int64),
    **dict.fromkeys((f"{name}_ms" for name in LATENCIES), pl.Float64),
    **dict.fromkeys(("served_from_cache", "is_retry"), pl.Boolean),
    "cost_reported_usd": MONEY,
}
_HELD = (*BY, "pool_id", "service_tier")
_EXACT = {
    "latency_p50_ms": ("latency_ms", 0.5),
    "latency_p95_ms": ("latency_ms", 0.95),
    "latency_p99_ms": ("latency_ms", 0.99),
    "ttft_p95_ms": ("ttft_ms", 0.95),
}
# No bucket of a number lies as far out; the two special ones do.
_EDGE = 65_535
_PLACE = "_place"


@dataclass(frozen=True)
class Rolled:
    """Calls of some days, rolled up.

    Attributes
    ----------
    days : polars.DataFrame
        `finops_lab.unit_economics.schemas.REQUEST_DAYS`, sorted.
    histograms : polars.DataFrame
        `finops_lab.unit_economics.schemas.HISTOGRAMS`, sorted: calls that succeeded, by month.
    """

    days: pl.DataFrame
    histograms: pl.DataFrame


def roll_up(requests: pl.LazyFrame) -> Rolled:
    """Roll up calls, a day at a time.

    Parameters
    ----------
    requests : polars.LazyFrame
        Rows of `inference_requests`. Columns that are not there are unknown; ``day``, ``status``,
        ``n_requests`` and ``sample_weight`` must be.

    Returns
    -------
    Rolled
        Tokens, latency and cost are null where no row of a group knows them. Percentiles are exact,
        of the calls that succeeded: the least latency that the share is at or below.

    Raises
    ------
    InputError
        When a needed column is missing.

    Examples
    --------
    >>> from datetime import date
    >>> calls = pl.LazyFrame({"day": [date(2026, 10, 1)] * 4, "status": ["ok", "ok", "error", "pending"],
    ...     "n_requests": [1, 1, 1, 1], "sample_weight": [2.0, 2.0, 1.0, 1.0], "model": ["m"] * 4,
    ...     "latency_ms": [100.0, 300.0, 5.0, None]})
    >>> done = roll_up(calls)
    >>> done.days.select("model", "rows", "calls_ok", "calls_failed", "latency_p50_ms").rows()
    [('m', 4, Decimal('4.000'), Decimal('1.000'), 100.0)]
    >>> done.histograms.select("metric", "bucket", "calls").rows()
    [('latency', 231, Decimal('2.000')), ('latency', 286, Decimal('2.000'))]
    """
    rows = _read(requests)
    days = rows.select(pl.col("day").unique().sort()).collect().to_series()
    return combine(partial(rows.filter(pl.col("day") == day)) for day in days)


def partial(requests: pl.LazyFrame, *, buckets: bool = True) -> Rolled:
    """Roll up the calls of one day; see `roll_up`.

    Parameters
    ----------
    requests : polars.LazyFrame
        Rows of `inference_requests`, all of one day.
    buckets : bool
        Also count durations in buckets; else the histograms are empty.

    Raises
    ------
    InputError
        When a needed column is missing, or when the rows are of several days.
    """
    rows = _read(requests).collect(engine="in-memory")
    if not rows.height:
        return combine([])
    day = rows["day"][0]
    if rows["day"].min() != rows["day"].max() or day is None:
        raise InputError("a part holds the calls of one day")
    stands = weighed(rows)
    keys = varying(rows, REQUEST_KEYS)
    calls, summed = _summed(stands, keys)
    held = _buckets(calls, stands, summed, day) if buckets else pl.DataFrame(schema=HISTOGRAMS)
    return Rolled(_days(calls, stands, summed, day), held)


def combine(parts: Iterable[Rolled]) -> Rolled:
    """Put rolled up days together, in any order; each day must be in one part only."""
    found = [part for part in parts if part.days.height]
    if not found:
        return Rolled(pl.DataFrame(schema=REQUEST_DAYS), pl.DataFrame(schema=HISTOGRAMS))
    days = pl.concat(part.days for part in sorted(found, key=lambda part: part.days["day"][0]))
    if not days["day"].is_sorted():  # parts are sorted: only those of several days can lie across each other
        days = days.sort("day", *REQUEST_KEYS, nulls_last=True)
    held = histogram.merged([part.histograms.lazy() for part in found])
    return Rolled(days, held.select(list(HISTOGRAMS)))


def months(days: pl.LazyFrame) -> pl.LazyFrame:
    """Add days up to months; percentiles do not add up and are left out.

    Parameters
    ----------
    days : polars.LazyFrame
        `finops_lab.unit_economics.schemas.REQUEST_DAYS`.

    Returns
    -------
    polars.LazyFrame
        `finops_lab.unit_economics.schemas.REQUEST_MONTHS`, sorted.
    """
    keys = ["month", *REQUEST_KEYS]
    # The sum of nothing but nulls is unknown, not zero.
    sums = [pl.when(pl.col(name).count() > 0).then(pl.col(name).sum()).alias(name) for name in SUMS]
    found = days.with_columns(pl.col("day").dt.month_start().alias("month")).group_by(keys).agg(sums)
    return found.select(list(REQUEST_MONTHS)).sort(keys, nulls_last=True)


def _read(requests: pl.LazyFrame) -> pl.LazyFrame:
    known = requests.collect_schema()
    if missing := [name for name in _NEEDED if name not in known]:
        raise InputError(f"requests need the columns {', '.join(missing)}")
    return requests.select(
        pl.col(name) if name in known else pl.lit(None, dtype).alias(name)
        for name, dtype in {**_NEEDED, **_READ}.items()
    )


def _summed(stands: Weighed, keys: list[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows with the number of their group, and the groups with their sums, in order."""
    texts = stands.frame.select(REQUEST_KEYS)
    for number, check in numbers(keys):
        calls = stands.frame.with_columns(number, check)
        found = (
            calls.lazy()
            .with_row_index("_row")
            .group_by(NUMBER)
            .agg(*sums(stands), pl.col("_row").max(), _least=pl.col(CHECK).min(), _most=pl.col(CHECK).max())
            .collect()
        )
        if found["_least"].equals(found["_most"]):
            break
    # Any row of a group has its keys.
    found = found.hstack(texts[found["_row"]]).drop("_row", "_least", "_most")
    return calls, found.sort(keys, nulls_last=True) if keys else found


def _days(calls: pl.DataFrame, stands: Weighed, summed: pl.DataFrame, day: date) -> pl.DataFrame:
    exact = _ranked(calls, summed[NUMBER]) if stands.alike else None
    if exact:
        done = summed.hstack(exact)
    else:
        done = summed.join(_exact(calls, stands), on=NUMBER, how="left", maintain_order="left")
    columns = {"day": pl.lit(day), **finished(stands)}
    return done.with_columns(**columns).select(pl.col(name).cast(kind) for name, kind in REQUEST_DAYS.items())


def _ranked(calls: pl.DataFrame, groups: pl.Series) -> list[pl.Series] | None:
    """Return percentiles of groups."""
    counts = calls.lazy().filter(OK, pl.col("_calls") > 0)
    rows = counts.select("latency_ms", "ttft_ms", NUMBER).collect(engine="in-memory")
    found: list[pl.Series] = []
    for value in dict.fromkeys(value for value, _ in _EXACT.values()):
        names = {name: q for name, (of, q) in _EXACT.items() if of == value}
        least = ranked(rows[NUMBER], rows[value], groups, list(names.values()))
        if least is None:
            return None
        found += [series.rename(name) for name, series in zip(names, least, strict=True)]
    return found


def _exact(calls: pl.DataFrame, stands: Weighed) -> pl.DataFrame:
    counts = calls.lazy().filter(OK, pl.col("_calls") > 0)
    # Quantiles of many groups are the in-memory engine's strength, sums the streaming engine's.
    return (
        counts.select(NUMBER, "latency_ms", "ttft_ms", "_calls")
        .group_by(NUMBER)
        .agg(
            (_plain(value, q) if stands.alike else _weighted(value, "_calls", q)).alias(name)
            for name, (value, q) in _EXACT.items()
        )
        .collect(engine="in-memory")
    )


def _plain(value: str, quantile: float) -> pl.Expr:
    return pl.col(value).quantile(quantile, "equiprobable")


def _weighted(value: str, calls: str, quantile: float) -> pl.Expr:
    """Return the least value that the share of the calls, not of the rows, is at or below."""
    part, whole = share(quantile)
    known = pl.col(value).is_not_null()
    values, weights = pl.col(value).filter(known), pl.col(calls).filter(known).cast(pl.Int128)
    up_to = weights.sort_by(values).cum_sum()
    return values.sort().filter(up_to * whole >= weights.sum() * part).first()


def _buckets(calls: pl.DataFrame, stands: Weighed, summed: pl.DataFrame, day: date) -> pl.DataFrame:
    held = summed.select(_HELD).unique().sort(_HELD, nulls_last=True).with_row_index(_PLACE)
    groups = summed.select(NUMBER, *_HELD).join(held, on=_HELD, nulls_equal=True).select(NUMBER, _PLACE)
    counts = calls.lazy().filter(OK, pl.col("_calls") > 0)
    durations = {metric: histogram.bucket(pl.col(f"{metric}_ms")) for metric in LATENCIES}
    rows = counts.select(NUMBER, _calls=pl.col("_calls").cast(stands.whole), **durations)
    rows = rows.join(groups.lazy(), on=NUMBER)
    # Group, metric and bucket in one number, which sorts as they do: runs of it are what is counted.
    span, several = 2 * _EDGE + 1, len(LATENCIES)
    spot = {
        metric: (pl.col(_PLACE).cast(pl.Int64) * several + number) * span
        + (pl.col(metric).cast(pl.Int64).clip(-_EDGE, _EDGE) + _EDGE)
        for number, metric in enumerate(LATENCIES)
    }
    spots = rows.select("_calls", **spot).collect()
    found = []
    for metric in LATENCIES:
        known = spots.select("_calls", spot=metric).drop_nulls()
        if stands.ones:
            counted = known["spot"].sort().rle().struct.unnest().select(spot="value", calls="len")
        else:
            counted = known.group_by("spot").agg(pl.col("_calls").sum().alias("calls"))
        found.append(counted.with_columns(pl.col("calls").cast(pl.Int128)))
    done = pl.concat(found).sort("spot")
    place, bucket = pl.col("spot") // span, pl.col("spot") % span - _EDGE
    columns = {
        "month": pl.lit(day.replace(day=1)),
        "metric": pl.lit(pl.Series(LATENCIES)).gather(place % several),
        "bucket": bucket.replace({-_EDGE: histogram.ZERO, _EDGE: histogram.INFINITE}),
        "calls": (pl.col("calls") * stands.unit).reinterpret(dtype=COUNTED),
    }
    counted, group = done.select(**columns), done["spot"] // (span * several)
    done = held[group].hstack(counted)
    return done.select(pl.col(name).cast(kind) for name, kind in HISTOGRAMS.items())
