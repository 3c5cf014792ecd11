"""From telemetry tables to series: what a bill will say in a day or two, known in minutes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from finops_lab.anomalies.event import SCOPES
from finops_lab.anomalies.panel import Bools, Floats
from finops_lab.anomalies.series import FEWEST_CALLS, GRAIN, METRICS, Series, check_grain
from finops_lab.errors import InputError, NoDataError, each_name
from finops_lab.unit_economics.latency import interactive

__all__ = ["gpu_series", "job_series", "request_series"]

_US = 1_000_000
_LONGEST = timedelta(days=3_653)
_COLUMNS = {name: name for name in ("team", "model", "feature", "customer", "region", "provider", "kind")}
_COLUMNS["pool"] = "pool_id"


def request_series(
    requests: pl.LazyFrame | pl.DataFrame,
    *,
    grain: str = "5m",
    by: str | Sequence[str] = ("total", "team", "model", "feature"),
    batch: bool = False,
) -> Series:
    """Count calls, tokens, reported cost, errors, retries and waiting per window.

    Parameters
    ----------
    requests : polars.LazyFrame or polars.DataFrame
        `inference_requests`. Sampled rows stand for the calls that they say.
    grain : str
        Key of `GRAIN`.
    by : str or sequence of str
        ``total`` and dimensions: team, model, feature, customer, region, provider, pool.
    batch : bool
        Whether P95 counts batch calls, too.

    Returns
    -------
    Series
        ``requests``, ``tokens``, ``reported_usd``, ``error_rate``, ``retry_share``, ``p95_ms`` of each
        slice that has any. A window without a row is 0 calls between the first and the last row of
        the slice's log; a ratio or P95 of too few calls is unknown.

    Raises
    ------
    NoDataError
        There is no row.

    Examples
    --------
    >>> from datetime import UTC
    >>> calls = pl.DataFrame({"ts_start": [datetime(2026, 10, 5, 0, m, tzinfo=UTC) for m in (1, 2, 12)],
    ...     "model": "m", "status": ["ok", "error", "ok"], "n_requests": 1, "sample_weight": 1.0,
    ...     "input_uncached_tokens": 10, "output_tokens": 5})
    >>> found = request_series(calls, by=["total"])
    >>> found.names["metric"].to_list(), found.values[0, :3].tolist(), found.values[2, 0].item()
    (['requests', 'tokens', 'error_rate'], [2.0, 0.0, 1.0], 0.5)
    """
    by = each_name(by)
    frame, known = requests.lazy(), requests.lazy().collect_schema()

    def has(name: str, dtype: pl.DataType) -> pl.Expr:
        return pl.col(name) if name in known else pl.lit(None, dtype).alias(name)

    stands = pl.col("n_requests") * pl.col("sample_weight")
    tokens = ("input_uncached_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")
    finished = pl.col("status").is_in(("ok", "error", "timeout"))
    money = has("cost_reported_usd", pl.Float64()).cast(pl.Float64)
    rows = frame.select(
        pl.col("ts_start").dt.truncate(_every(grain)).alias("at"),
        *_dimensions(known, by),
        stands.alias("calls"),
        (pl.sum_horizontal(has(name, pl.Int64()) for name in tokens) * pl.col("sample_weight")).alias(
            "tokens"
        ),
        (money * pl.col("sample_weight")).alias("usd"),
        pl.when(finished).then(stands).alias("finished"),
        pl.when(finished).then(stands * (pl.col("status") != "ok")).alias("failed"),
        pl.when(has("is_retry", pl.Boolean()).is_not_null()).then(stands).alias("told"),
        (stands * has("is_retry", pl.Boolean())).alias("retried"),
    )
    waited = (frame if batch else interactive(frame)).filter(pl.col("status") == "ok")
    waits = waited.select(
        pl.col("ts_start").dt.truncate(_every(grain)).alias("at"),
        *_dimensions(known, by),
        has("latency_ms", pl.Float64()),
    ).filter(pl.col("latency_ms").is_not_null())
    parts: list[_Part] = []
    for name, column in (("requests", "calls"), ("tokens", "tokens"), ("reported_usd", "usd")):
        parts.append((name, "count", column, pl.col(column).sum(), _squares(column), rows))
    for name, part, whole in (("error_rate", "failed", "finished"), ("retry_share", "retried", "told")):
        share = pl.col(part).sum() / pl.col(whole).sum()
        parts.append((name, "ratio", whole, share, pl.col(whole).sum() ** 2 / _squares(whole), rows))
    p95 = pl.when(pl.len() >= FEWEST_CALLS).then(pl.col("latency_ms").quantile(0.95, "equiprobable"))
    parts.append(("p95_ms", "level", "latency_ms", p95, pl.lit(1.0), waits))
    return _built(parts, grain, by)


def job_series(
    jobs: pl.LazyFrame | pl.DataFrame,
    *,
    now: datetime,
    grain: str = "5m",
    by: str | Sequence[str] = ("total", "team", "model", "kind"),
) -> Series:
    """Accrue GPU-hours and reported cost of training over the time that attempts ran.

    Parameters
    ----------
    jobs : polars.LazyFrame or polars.DataFrame
        `training_jobs`. Attempts without an end run until `now`.
    now : datetime.datetime
        Windows that end later are not told. Without a zone it is in UTC.
    grain, by
        As in `request_series`, with the dimension ``kind``.

    Returns
    -------
    Series
        ``training_gpu_hours`` and ``training_usd`` (what the attempt cost, spread over its time; an attempt whose
        cost is not known yet adds nothing).

    Examples
    --------
    >>> from datetime import UTC
    >>> jobs = pl.DataFrame({"ts_start": [datetime(2026, 10, 5, 0, 0, tzinfo=UTC)], "ts_end": [None],
    ...     "gpu_count": [8.0], "cost_usd": [None]}, schema_overrides={"ts_end": pl.Datetime("us", "UTC")})
    >>> job_series(jobs, now=datetime(2026, 10, 5, 0, 15, tzinfo=UTC), by=["total"]).values[0, :3].round(3).tolist()
    [0.667, 0.667, 0.667]
    """
    by = each_name(by)
    now = now.astimezone(UTC) if now.tzinfo else now.replace(tzinfo=UTC)
    frame, known = jobs.lazy().filter(pl.col("ts_start") < now), jobs.lazy().collect_schema()
    newest = (
        frame.select(pl.max_horizontal(pl.col("ts_start").max(), pl.col("ts_end").max())).collect().item()
    )
    if newest is not None and now - newest > _LONGEST:
        raise InputError(
            f"telemetry ends at {newest}, years before {now}", hint="look at a moment nearer to it"
        )
    until = pl.min_horizontal(pl.col("ts_end").fill_null(now), pl.lit(now, pl.Datetime("us", "UTC")))
    lasts = (pl.col("ts_end") - pl.col("ts_start")).dt.total_microseconds() / _US
    rows = frame.select(
        pl.col("ts_start").alias("begin"),
        until.alias("end"),
        *_dimensions(known, by),
        (pl.col("gpu_count") / 3600).alias("hours"),
        (pl.col("cost_usd").cast(pl.Float64) / pl.when(lasts > 0).then(lasts)).alias("usd"),
    )
    spread = _spread(rows, grain, ("hours", "usd"))
    parts = [
        (name, "count", column, pl.col(column).sum(), _squares(column), spread)
        for name, column in (("training_gpu_hours", "hours"), ("training_usd", "usd"))
    ]
    return _built(parts, grain, by, until=now)


def gpu_series(
    samples: pl.LazyFrame | pl.DataFrame,
    *,
    grain: str = "5m",
    by: str | Sequence[str] = ("total", "team", "pool"),
) -> Series:
    """Add up the GPU-hours that samples tell of.

    Parameters
    ----------
    samples : polars.LazyFrame or polars.DataFrame
        `gpu_samples`, one kind of utilization. Samples of a GPU and moment (slices of it, the same
        sample exported twice) share its time, where ``gpu_uuid`` is known.
    grain, by
        As in `request_series`. A sample longer than the grain is spread over its windows.

    Returns
    -------
    Series
        ``gpu_hours``.

    Examples
    --------
    >>> from datetime import UTC
    >>> one = pl.DataFrame({"ts": [datetime(2026, 10, 5, tzinfo=UTC)], "interval_s": [7200.0]})
    >>> gpu_series(one, grain="hour", by=["total"]).values[0, :2].tolist()
    [1.0, 1.0]
    """
    by = each_name(by)
    frame, known = samples.lazy(), samples.lazy().collect_schema()
    lasts = pl.duration(microseconds=(pl.col("interval_s") * _US).round(0).cast(pl.Int64))
    alike = pl.len().over("gpu_uuid", "ts") if "gpu_uuid" in known else pl.lit(1)
    rows = frame.select(
        pl.col("ts").alias("begin"),
        (pl.col("ts") + lasts).alias("end"),
        *_dimensions(known, by),
        (1 / (3600 * alike)).alias("hours"),
    )
    spread = _spread(rows, grain, ("hours",))
    return _built(
        [("gpu_hours", "count", "hours", pl.col("hours").sum(), _squares("hours"), spread)], grain, by
    )


def _every(grain: str) -> str:
    check_grain(grain)
    return "5m" if grain == "5m" else "1h"


def _squares(column: str) -> pl.Expr:
    return (pl.col(column) ** 2).sum()


def _largest(column: str, uneven: bool) -> pl.Expr:
    if not uneven:
        return pl.lit(None, pl.Float64)
    return (pl.col(column).cast(pl.Float64) ** 3).sum() / (pl.col(column).cast(pl.Float64) ** 2).sum()


def _dimensions(known: pl.Schema, by: Sequence[str]) -> list[pl.Expr]:
    wanted = [name for name in by if name != "total"]
    if unknown := [name for name in wanted if name not in _COLUMNS]:
        raise InputError(f"unknown dimension {unknown[0]!r}", hint=f"total, {', '.join(_COLUMNS)}")
    return [
        (
            pl.col(_COLUMNS[name]).cast(pl.String) if _COLUMNS[name] in known else pl.lit(None, pl.String)
        ).alias(f"_{name}")
        for name in wanted
    ]


def _spread(rows: pl.LazyFrame, grain: str, rates: Sequence[str]) -> pl.LazyFrame:
    """Give each window its part of a span: a rate per second times the seconds in the window."""
    every = GRAIN[grain]
    first = pl.col("begin").dt.truncate(_every(grain))
    windows = pl.datetime_ranges(first, "end", interval=every, closed="left", time_unit="us", time_zone="UTC")
    inside = pl.min_horizontal("end", pl.col("at") + every) - pl.max_horizontal("begin", "at")
    seconds = inside.dt.total_microseconds() / _US
    return (
        rows.filter(pl.col("end") > pl.col("begin"))
        .with_columns(windows.alias("at"))
        .explode("at")
        .with_columns(*((pl.col(name) * seconds).alias(name) for name in rates))
    )


_Part = tuple[str, str, str, pl.Expr, pl.Expr, pl.LazyFrame]


def _built(parts: Sequence[_Part], grain: str, by: Sequence[str], until: datetime | None = None) -> Series:
    every = GRAIN[grain]
    cells = []
    for metric, kind, column, value, evidence, rows in parts:
        told = rows.filter(pl.col(column).is_not_null())
        for dimension in by:
            key = pl.lit(None, pl.String) if dimension == "total" else pl.col(f"_{dimension}")
            kept = told if dimension == "total" else told.filter(key.is_not_null())
            cells.append(
                kept.group_by("at", key.alias("value"))
                .agg(
                    value.cast(pl.Float64).alias("amount"),
                    evidence.cast(pl.Float64).alias("evidence"),
                    _largest(column, METRICS[metric].uneven).alias("largest"),
                )
                .with_columns(pl.lit(metric).alias("metric"), pl.lit(dimension).alias("dimension"))
                .with_columns(pl.lit(kind).alias("kind"))
            )
    found = pl.concat(pl.collect_all(cells)).drop_nulls(["amount", "at"])
    if found.is_empty():
        raise NoDataError("telemetry has no row", hint="look at the time asked for")
    newest = found["at"].max()
    assert isinstance(newest, datetime)
    # A moment of another century is a fault of a clock: no window is kept for all the time since.
    found = found.filter(pl.col("at") >= newest - _LONGEST)
    begin = found["at"].min()
    assert isinstance(begin, datetime)
    order = {name: number for number, name in enumerate([*METRICS, *by])}
    keys = ["metric", "dimension", "value"]
    names = found.select(*keys, "kind").unique()
    rank = [pl.col(name).replace_strict(order, return_dtype=pl.Int64) for name in keys[:2]]
    names = names.sort(*rank, "value").with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias("series"))
    found = found.join(names.drop("kind"), on=keys, nulls_equal=True).sort("series", "at")
    start = begin.replace(hour=0, minute=0)
    windows = (newest - start) // every + 1 if until is None else (until - start) // every
    at = ((found["at"] - start).dt.total_microseconds() // (every // timedelta(microseconds=1))).to_numpy()
    seen = at < windows
    series, at = found["series"].to_numpy()[seen], at[seen]
    values, evidence_of = np.full((names.height, windows), np.nan), np.ones((names.height, windows))
    largest = np.full(values.shape, np.nan)
    values[series, at] = found["amount"].to_numpy()[seen]
    evidence_of[series, at] = found["evidence"].to_numpy()[seen]
    largest[series, at] = found["largest"].to_numpy()[seen]
    counts = (names["kind"] == "count").to_numpy()
    _fill(values, evidence_of, counts)
    scopes = [
        (pl.when(pl.col("dimension") == name).then("value") if name in by else pl.lit(None, pl.String)).alias(
            x
        )
        for name, x in SCOPES.items()
    ]
    unit = pl.col("metric").replace_strict({name: one.unit for name, one in METRICS.items()})
    return Series(
        start,
        grain,
        names.select("series", "metric", unit.alias("unit"), *keys[1:], *scopes),
        values,
        evidence_of,
        largest,
    )


def _fill(values: Floats, evidence: Floats, counts: Bools) -> None:
    """Fill windows without a row: 0 of a count since its first row; and say what one row of it is worth."""
    for row in np.flatnonzero(counts):
        seen = np.isfinite(values[row])
        first = int(np.argmax(seen))
        some = seen & (values[row] > 0)
        evidence[row] = np.where(some, evidence[row] / np.where(some, values[row], 1.0), np.nan)
        values[row, first:] = np.where(seen[first:], values[row, first:], 0.0)
