"""M4, latency: P95 and its neighbours, exactly from requests or within bounds from histograms."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from finops_lab.calendar import days_in_month
from finops_lab.errors import columns_of
from finops_lab.unit_economics._by_dimension import added_up, engine_for, in_full, named
from finops_lab.unit_economics._dividing import quotients
from finops_lab.unit_economics._engine_buckets import counted_buckets
from finops_lab.unit_economics._exact_quantile import exactly, thousandths
from finops_lab.unit_economics._grouping import as_written, monthly, share_of
from finops_lab.unit_economics.figures import Asked, Definition, together, whole_and_by
from finops_lab.unit_economics.histogram import QUANTILES, bounds, from_ends, quantiles, share
from finops_lab.unit_economics.schemas import BY, BY_ENGINE, FIGURES

__all__ = [
    "BATCH",
    "DEFINITIONS",
    "calls_within",
    "engine_latency",
    "exact_latency",
    "interactive",
    "latency",
]

# Service tiers and variants whose callers do not wait for the answer.
BATCH = ("batch",)
_WITHIN = (
    "the least time that {share} of the calls did not exceed, of calls that succeeded; batch calls"
    " (service tier or variant batch), which nobody waits for, left out; sampled calls stand for the"
    " real ones"
)
_BOUNDS = "; from histograms within 1 %, bounds are given; coverage is the share of such calls that tell it"
_NO_CALLS = "no call that succeeded, batch calls left out, tells how long it took"
_ENGINE = (
    "the time that {share} of the engine's calls did not exceed: interpolated in the bucket of the"
    " engine's own histogram that it falls into, whose ends are the bounds"
)
_OPEN = "it falls into the bucket without an upper end: only the lower bound is known"
_DDSKETCH = "Masson, Rim and Lee, DDSketch, VLDB 2019"
_PROMETHEUS = "Prometheus, histogram_quantile"
_KEYS = ("dimension", "month", "key")
_WANTED = {
    "metric": pl.String,
    "quantile": pl.Float64,
    "number": pl.Int64,
    "part": pl.Int64,
    "whole": pl.Int64,
}


def _defined(measure: str, title: str, words: str, table: str, source: str) -> Definition:
    return Definition(
        "M4", measure, title, "ms", "calls within it", "calls", words, (table,), "lower", _NO_CALLS, source
    )


# Metric and quantile of each measure, and its definition from requests and from engines.
_MEASURES = tuple(
    (
        metric,
        at,
        _defined(name, title, _WITHIN.format(share=f"{at:.0%}") + _BOUNDS, "inference_requests", _DDSKETCH),
        _defined(
            f"engine_{name}",
            f"{title}, as engines count it",
            _ENGINE.format(share=f"{at:.0%}"),
            "latency_histograms",
            _PROMETHEUS,
        ),
    )
    for name, title, metric, at in (
        ("p95", "Latency, P95", "latency", 0.95),
        ("p50", "Latency, P50", "latency", 0.5),
        ("p99", "Latency, P99", "latency", 0.99),
        ("ttft_p95", "Time to first token, P95", "ttft", 0.95),
    )
)
DEFINITIONS: tuple[Definition, ...] = (
    *(definition for _, _, definition, _ in _MEASURES),
    *(definition for _, _, _, definition in _MEASURES),
)


def interactive(rows: pl.DataFrame | pl.LazyFrame, batch: Sequence[str] = BATCH) -> pl.LazyFrame:
    """Leave out batch calls: by ``service_tier`` where there is one, and by ``variant``.

    Examples
    --------
    >>> calls = pl.DataFrame({"service_tier": ["standard", "batch", None], "variant": ["batch", None, None]})
    >>> interactive(calls).collect().rows()
    [(None, None)]
    """
    says = _of_batch(rows, batch)
    return rows.lazy().filter(~pl.any_horizontal(says)) if says else rows.lazy()


def _of_batch(rows: pl.DataFrame | pl.LazyFrame, batch: Sequence[str]) -> list[pl.Expr]:
    """Return what tells batch calls, any of it; nothing where there are none."""
    says = []
    for name in ("service_tier", "variant") if batch else ():
        if name not in rows.collect_schema():
            continue
        told = pl.col(name).cast(pl.String).str.to_lowercase().is_in(list(batch))
        if isinstance(rows, pl.DataFrame):
            # Names are few, whatever the rows: only they are compared letter by letter.
            names = rows.select(pl.col(name).unique()).filter(told)
            if names.is_empty():
                continue
            told = pl.col(name).is_in(names[name].implode())
        says.append(told.fill_null(False))
    return says


def latency(
    histograms: pl.DataFrame | pl.LazyFrame,
    *,
    requests: pl.DataFrame | pl.LazyFrame | None = None,
    by: str | Sequence[str] = (*BY, "pool_id"),
    batch: Sequence[str] = BATCH,
) -> pl.DataFrame:
    """Tell how long callers waited, for any month and key, within 1 %.

    Parameters
    ----------
    histograms : polars.DataFrame or polars.LazyFrame
        `finops_lab.unit_economics.schemas.HISTOGRAMS`, with ``service_tier`` where it is kept.
    requests : polars.DataFrame or polars.LazyFrame, optional
        ``REQUEST_MONTHS`` of the same calls: gives `coverage`, the share of the successful calls
        that tell how long they took.
    by : str or sequence of str
        Dimensions beside the whole.
    batch : sequence of str
        Service tiers and variants to leave out; ``()`` leaves none out.

    Returns
    -------
    polars.DataFrame
        FIGURES of M4 in milliseconds: ``p95``, ``p50``, ``p99``, ``ttft_p95``. The exact value lies
        between ``lower`` and ``upper``. A key of nothing but batch calls is undefined.

    Raises
    ------
    InputError
        When the histograms have neither ``day`` nor ``month``, or they or the requests no column of `by`.

    Examples
    --------
    >>> from datetime import date
    >>> from finops_lab.unit_economics.schemas import COUNTED
    >>> waits = pl.DataFrame({"month": [date(2026, 10, 1)] * 2, "metric": ["latency"] * 2,
    ...     "bucket": [231, 300], "calls": [90, 10]}).with_columns(pl.col("calls").cast(COUNTED))
    >>> found = latency(waits, by=()).filter(pl.col("measure") != "ttft_p95")
    >>> found.select("measure", pl.col("value", "lower", "upper").cast(pl.Float64).round(1)).rows()
    [('p95', 399.5, 395.5, 403.5), ('p50', 100.5, 99.5, 101.5), ('p99', 399.5, 395.5, 403.5)]
    """
    by = columns_of(by, frame := monthly(histograms), "durations")
    dimensions, batch_calls = whole_and_by(by), _of_batch(histograms, batch)
    # Batch calls count nowhere, but a key of nothing else is told too.
    calls = pl.when(~pl.any_horizontal(batch_calls)).then("calls") if batch_calls else pl.col("calls")
    wanted = frame.select("month", *dict.fromkeys(by), "metric", "bucket", calls)
    rows = wanted.collect(engine=engine_for(histograms))
    if rows.is_empty():
        return pl.DataFrame(schema=FIGURES)
    sums = added_up(rows, dimensions, pl.col("calls").sum(), also=("metric", "bucket"))
    found = quantiles(sums.lazy(), [*_KEYS, "metric"], QUANTILES).collect(engine=engine_for(sums))
    every = pl.concat([found.select(_KEYS), sums.filter(pl.col("calls") <= 0).select(_KEYS)]).unique()
    if requests is None:
        return together(_told(found, every), dimensions)
    columns_of(by, requests, "calls", "calls_ok")
    ended = monthly(interactive(requests, batch)).select("month", *dict.fromkeys(by), "calls_ok")
    all_calls = added_up(ended.collect(engine=engine_for(requests)), dimensions, pl.col("calls_ok").sum())
    return together(_told(found, every, all_calls), dimensions)


def exact_latency(
    requests: pl.DataFrame | pl.LazyFrame, *, by: str | Sequence[str] = BY, batch: Sequence[str] = BATCH
) -> pl.DataFrame:
    """Tell how long callers waited, exactly, from the requests of some time.

    Parameters
    ----------
    requests : polars.DataFrame or polars.LazyFrame
        `inference_requests`, such as those of one month: every value is sorted.
    by, batch
        As for `latency`.

    Returns
    -------
    polars.DataFrame
        FIGURES of M4, as `latency`, without bounds: the values are exact, each call weighted by the
        real calls that it stands for.

    Raises
    ------
    InputError
        When the calls have neither ``day`` nor ``month``, or no column of `by`.

    Examples
    --------
    >>> from datetime import date
    >>> calls = pl.DataFrame({"day": [date(2026, 10, 1)] * 2, "status": ["ok"] * 2, "n_requests": [1, 1],
    ...     "sample_weight": [1.0, 99.0], "latency_ms": [900.0, 100.0], "ttft_ms": [None, 20.0]})
    >>> exact_latency(calls, by=()).select("measure", pl.col("value").cast(pl.Float64)).rows()
    [('p95', 100.0), ('p50', 100.0), ('p99', 100.0), ('ttft_p95', 20.0)]
    """
    by = columns_of(by, requests, "calls")
    kept = interactive(requests, batch).filter(pl.col("status") == "ok")
    weight = (pl.col("n_requests") * pl.col("sample_weight") * 1000).round(0).cast(pl.Int64)
    rows = (
        monthly(kept)
        .select("month", *dict.fromkeys(by), "latency_ms", "ttft_ms", weight.alias("weight"))
        .filter(pl.col("weight") > 0)
        .collect()
    )
    every = monthly(requests).select("month", *dict.fromkeys(by)).unique().collect()
    if every.is_empty():
        return pl.DataFrame(schema=FIGURES)
    dimensions = whole_and_by(by)
    total = thousandths(pl.col("weight").sum()).alias("calls_ok")
    wanted = dict.fromkeys((metric, at) for metric, at, _, _ in _MEASURES)
    found = pl.concat(
        exactly(keyed, f"{metric}_ms", at).select(
            pl.lit(dimension, pl.String).alias("dimension"),
            pl.lit(metric).alias("metric"),
            pl.lit(at).alias("quantile"),
            pl.all(),
        )
        for dimension in dimensions
        for keyed in [rows.with_columns(named(dimension))]
        for metric, at in wanted
    )
    keys = added_up(every, dimensions).select(_KEYS)
    return together(_told(found, keys, added_up(rows, dimensions, total)), dimensions)


def engine_latency(
    buckets: pl.DataFrame | pl.LazyFrame, *, by: str | Sequence[str] = BY_ENGINE
) -> pl.DataFrame:
    """Tell how long calls took by the histograms that serving engines count themselves.

    Parameters
    ----------
    buckets : polars.DataFrame or polars.LazyFrame
        `latency_histograms`, where a window counts for the month it begins in; or what they add up
        to, `finops_lab.unit_economics.schemas.ENGINE_BUCKETS`.
    by : str or sequence of str
        Dimensions beside the whole.

    Returns
    -------
    polars.DataFrame
        FIGURES of M4: ``engine_p95``, ``engine_p50``, ``engine_p99``, ``engine_ttft_p95``, in
        milliseconds, interpolated, between the bounds. A quantile in the bucket without an upper end
        is null, with a reason, and only ``lower`` is known. An engine does not tell batch calls
        from others, nor calls that failed from those that succeeded.

    Raises
    ------
    InputError
        When the buckets have no column of `by`.

    Examples
    --------
    >>> from datetime import datetime
    >>> rows = pl.DataFrame({"ts": [datetime(2026, 10, 1)] * 3, "metric": ["latency"] * 3,
    ...     "le_ms": [100.0, 200.0, float("inf")], "cumulative_count": [80, 98, 100]})
    >>> found = engine_latency(rows, by=()).select("measure", "reason", pl.col("value", "lower").cast(pl.Float64))
    >>> found.filter(pl.col("measure") == "engine_p99").rows()
    [('engine_p99', 'it falls into the bucket without an upper end: only the lower bound is known', None, 200.0)]
    """
    by = columns_of(by, buckets, "buckets")
    rows = buckets.lazy()
    done = "from_ms" in rows.collect_schema()
    counted = rows.collect() if done else counted_buckets(rows, by)
    if counted.is_empty():
        return pl.DataFrame(schema=FIGURES)
    ends = ("from_ms", "le_ms")
    sums = added_up(counted, whole_and_by(by), pl.col("calls", "rows").sum(), also=("metric", *ends))
    on = [*_KEYS, "metric"]
    found = from_ends(sums.lazy(), _KEYS, QUANTILES).collect(engine=engine_for(sums))
    found = found.join(sums.group_by(on).agg(pl.col("rows").sum()), on=on, how="left", nulls_equal=True)
    return together(_told(found), whole_and_by(by))


def calls_within(
    histograms: pl.DataFrame | pl.LazyFrame,
    target_ms: float,
    *,
    days: pl.DataFrame | pl.LazyFrame | None = None,
    requests: pl.DataFrame | pl.LazyFrame | None = None,
    by: str = "pool_id",
    batch: Sequence[str] = BATCH,
) -> pl.DataFrame:
    """Count the calls that were answered within a target latency.

    Parameters
    ----------
    histograms : polars.DataFrame or polars.LazyFrame
        `finops_lab.unit_economics.schemas.HISTOGRAMS`.
    target_ms : float
        A call up to this long is within the target.
    days : polars.DataFrame or polars.LazyFrame, optional
        ``REQUEST_DAYS``: the days of which there are calls are the time counted over; without them
        it is the whole month.
    requests : polars.DataFrame or polars.LazyFrame, optional
        ``REQUEST_MONTHS`` of the same calls: tells how far counts of a sampled log may be off.
    by : str
        Column that tells groups apart.
    batch : sequence of str
        Service tiers and variants to leave out.

    Returns
    -------
    polars.DataFrame
        ``month``, `by`, ``calls`` within the target (Decimal; of the bucket that the target lies in,
        all or none, by its middle), ``lower`` and ``upper`` (they lie between), ``all_calls``,
        ``seconds`` that they were counted over (Int64); sorted. Groups without a name are left out.
        With `requests` also ``variance`` by sampling (Decimal): that of all successful calls of the
        group, which is no less than that of the ones within the target.

    Examples
    --------
    >>> from datetime import date
    >>> waits = pl.DataFrame({"month": [date(2026, 10, 1)] * 2, "pool_id": ["chat"] * 2,
    ...     "metric": ["latency"] * 2, "bucket": [231, 300], "calls": [90, 10]})
    >>> calls_within(waits, 101.0).select("calls", "lower", "upper", "all_calls", "seconds").row(0)
    (90, 0, 90, 100, 2678400)
    """
    value, lower, upper = bounds(pl.col("bucket"))

    def counted(condition: pl.Expr) -> pl.Expr:
        return pl.when(condition).then("calls").otherwise(0).sum()

    kept = interactive(monthly(histograms), batch).filter(
        pl.col("metric") == "latency", pl.col(by).is_not_null()
    )
    found = (
        kept.group_by("month", by)
        .agg(
            counted(value <= target_ms).alias("calls"),
            counted(upper <= target_ms).alias("lower"),
            counted(lower <= target_ms).alias("upper"),
            pl.col("calls").sum().alias("all_calls"),
        )
        .sort("month", by)
        .collect()
    )
    if requests is not None:
        off = pl.col("variance_ok").sum().alias("variance")
        spread = interactive(monthly(requests), batch).group_by("month", by).agg(off).collect()
        found = found.join(spread, on=["month", by], how="left", maintain_order="left")
    if days is None:
        seconds = [days_in_month(month) * 86_400 for month in found["month"]]
        return found.with_columns(pl.Series("seconds", seconds, pl.Int64))
    watched = days.lazy().select(pl.col("day").dt.month_start().alias("month"), "day").unique()
    spans = watched.group_by("month").agg((pl.len().cast(pl.Int64) * 86_400).alias("seconds")).collect()
    return found.join(spans, on="month", how="left", maintain_order="left")


def _told(
    found: pl.DataFrame, keys: pl.DataFrame | None = None, all_calls: pl.DataFrame | None = None
) -> list[Asked]:
    """Return figures of all quantiles: of `keys` undefined ones too, where nothing was counted.

    Without them what was found is what engines counted.
    """
    shares = [(metric, at, number, *share(at)) for number, (metric, at, _, _) in enumerate(_MEASURES)]
    wanted = pl.DataFrame(shares, schema=_WANTED, orient="row")
    if keys is None:
        told = found.join(wanted, on=["metric", "quantile"])
    else:
        on = [*_KEYS, "metric", "quantile"]
        told = keys.join(wanted, how="cross").join(found, on=on, how="left", nulls_equal=True)
    if all_calls is not None:
        told = in_full(told.join(all_calls, on=_KEYS, how="left", nulls_equal=True))
        told = told.with_columns(share_of(pl.col("calls"), pl.col("calls_ok")).alias("coverage"))
    given = [name for name in ("value", "lower", "upper") if name in told.columns]
    # Ends of buckets are ends of many: each is written once.
    written = as_written(pl.concat([told[name].alias("ms") for name in given]))
    open_end = pl.col("value").is_null() & pl.col("calls").is_not_null()
    told = told.with_columns(
        pl.when(open_end).then(pl.lit(_OPEN)).alias("reason"),
        *(written.slice(n * told.height, told.height).alias(name) for n, name in enumerate(given)),
        quotients(told.select(pl.col("calls") * pl.col("part")).to_series(), told["whole"]).alias(
            "numerator"
        ),
        pl.col("calls").alias("denominator"),
    )
    parts = told.partition_by("number", as_dict=True)
    return [
        Asked(parts[number,], by_requests if keys is not None else by_engine)
        for number, (_, _, by_requests, by_engine) in enumerate(_MEASURES)
        if (number,) in parts
    ]
