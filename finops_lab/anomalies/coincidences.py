"""What happened just before an event, in its slice: candidates to look at, never proven causes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from finops_lab.anomalies.attribution import span_of
from finops_lab.wording import plural

__all__ = ["CAUSES", "KINDS", "coincidences"]

CAUSES: dict[str, pl.DataType | type[pl.DataType]] = {
    "kind": pl.String,
    "ts": pl.Datetime("us", "UTC"),
    "what": pl.String,
    "matched": pl.String,
    "hours_before": pl.Float64,
    "match": pl.Float64,
    "score": pl.Float64,
}
KINDS = ("deploy", "job", "scale events", "evictions", "price change")
_UNKNOWN = 0.2  # of a happening that says nothing, or nothing telling, that the slice says too
_HALF_LIFE = timedelta(hours=24)
# Where a name that differs proves nothing: telemetry and bill call regions and machines differently.
_LOOSE = ("provider", "environment", "region", "machine type", "resource")
_PRICED = ("provider", "model", "unit", "tier_above_tokens", "context", "tod_start")
_Frame = pl.LazyFrame | pl.DataFrame
_Row = tuple[datetime, str, dict[str, str | None]]
_Scope = Mapping[str, Mapping[str, float]]


def coincidences(
    event: Mapping[str, Any],
    scope: _Scope,
    *,
    deploys: _Frame | None = None,
    jobs: _Frame | None = None,
    scale_events: _Frame | None = None,
    evictions: _Frame | None = None,
    prices: _Frame | None = None,
    before: timedelta = timedelta(days=2),
    most: int = 10,
) -> pl.DataFrame:
    """List what began shortly before an event and touches its slice, the likeliest first.

    Parameters
    ----------
    event : mapping
        A row of the events frame.
    scope : mapping
        What the slice is: dimension to value to the share (0 to 1) of the slice's change in it, such
        as ``{"team": {"growth": 1.0}}``.
    deploys, jobs, scale_events, evictions, prices : polars.LazyFrame or polars.DataFrame, optional
        The `deploys`, `training_jobs`, `scale_events`, `spot_evictions` and `prices` contracts.
    before : datetime.timedelta
        How long before the event's first moment a candidate may have begun.
    most : int
        Candidates that are told.

    Returns
    -------
    polars.DataFrame
        `CAUSES`: ``what`` in words, ``matched`` the dimensions that fit, ``hours_before`` (below zero
        inside the event's first day, hour or five minutes: a day's bill does not say when in it),
        ``match`` the share of the slice that fits, 0.2 where no more than a provider, region, environment
        or machine type can be compared, ``score`` that
        times a half for each day between. What belongs to other slices is left out.

    Notes
    -----
    Attempts of a job, scale events of a pool, and evictions of a job or machine type are one
    candidate each, which says how many there were.

    Examples
    --------
    >>> day = datetime(2026, 9, 19)
    >>> deploys = pl.DataFrame({"ts": [datetime(2026, 9, 18, 12), datetime(2026, 9, 18, 13)], "kind": "deploy",
    ...     "service": ["chat", "search"]})
    >>> event = {"first": day, "last": day, "grain": "day"}
    >>> found = coincidences(event, {"feature": {"chat": 1.0}}, deploys=deploys)
    >>> found.select("what", "hours_before", pl.col("score").round(2)).rows()
    [('deploy of chat', 12.0, 0.71)]
    """
    begin, over = span_of(event)
    end = span_of({**event, "last": event["first"]})[1]
    readers: tuple[
        tuple[str, _Frame | None, Callable[[pl.LazyFrame, datetime, datetime], list[_Row]]], ...
    ] = (
        ("deploy", deploys, _deploys),
        ("job", jobs, _jobs),
        ("scale events", scale_events, _scale_events),
        ("evictions", evictions, _evictions),
        ("price change", prices, _prices),
    )
    rows = []
    for kind, frame, read in readers:
        if frame is None:
            continue
        for ts, what, said in read(frame.lazy(), begin - before, over):
            if ts >= end or (kind == "job" and said["resource"] == event.get("value")):
                continue  # a job is no cause of itself
            match, matched = _match(said, scope)
            if match <= 0:
                continue
            away = max((begin - ts) / _HALF_LIFE, 0.0)
            score = match * 0.5**away
            rows.append((kind, ts, what, matched, (begin - ts) / timedelta(hours=1), match, score))
    rows.sort(key=lambda row: (-round(row[6], 9), row[4], row[0], row[2]))
    schema = {**CAUSES, "ts": pl.Datetime("us")}
    return pl.DataFrame(rows[:most], schema=schema, orient="row").with_columns(
        pl.col("ts").dt.replace_time_zone("UTC")
    )


def _match(said: Mapping[str, str | None], scope: _Scope) -> tuple[float, str]:
    """Return how much of the slice a happening is of, and by which dimensions."""
    shares = {}
    for name, value in said.items():
        known = scope.get(name)
        if name == "pool" and not known:
            known = scope.get("resource")  # bills call a pool's machines by its name
        if value is None or not known:
            continue
        # A job's machines carry its name and a number.
        prefix = name in ("resource", "pool")
        alike = [share for one, share in known.items() if one == value or (prefix and one.startswith(value))]
        if alike or name not in _LOOSE:
            shares[name] = min(max(sum(alike), 0.0), 1.0)
    firm = [share for name, share in shares.items() if name not in _LOOSE]
    found = max(min(firm, default=0.0), shares.get("resource", 0.0))
    if not firm and not found:
        found = _UNKNOWN
    return found, ", ".join(name for name, share in shares.items() if share > 0)


def _within(frame: pl.LazyFrame, moment: str, begin: datetime, end: datetime) -> pl.LazyFrame:
    """Keep the rows between two moments, as `_ts`; texts that a frame does not have are null."""
    schema = frame.collect_schema()
    kind = schema[moment]
    ts = pl.col(moment).cast(pl.Datetime("us", kind.time_zone if isinstance(kind, pl.Datetime) else None))
    told = "service pool_id environment model model_version team kind status state unit job_id instance_type"
    texts = [*told.split(), "region", "provider"]
    return frame.with_columns(
        ts.dt.replace_time_zone(None).alias("_ts"),
        *[pl.lit(None, pl.String).alias(name) for name in texts if name not in schema],
    ).filter(pl.col("_ts") >= begin, pl.col("_ts") < end)


def _deploys(frame: pl.LazyFrame, begin: datetime, end: datetime) -> list[_Row]:
    rows = _within(frame, "ts", begin, end)
    names = ("_ts", "kind", "service", "model_version", "status", "model", "pool_id", "environment")
    found: list[_Row] = []
    for ts, kind, service, version, status, model, pool, environment in (
        rows.select(names).collect().iter_rows()
    ):
        what = "change of configuration" if kind == "config" else str(kind)
        what += f" of {service}" + (f" ({version})" if version else "")
        what += (
            f", which {'failed' if status == 'failed' else 'still ran'}"
            if status in ("failed", "running")
            else ""
        )
        found.append(
            (ts, what, {"feature": service, "model": model, "pool": pool, "environment": environment})
        )
    return found


def _jobs(frame: pl.LazyFrame, begin: datetime, end: datetime) -> list[_Row]:
    rows = (
        _within(frame, "ts_start", begin, end)
        .sort("_ts", "job_id")
        .group_by("job_id", maintain_order=True)
        .agg(
            pl.col("_ts", "kind", "team", "model", "instance_type").first(),
            pl.len().alias("attempts"),
        )
    )
    # Attempts outside of the time looked at tell what became of the job, too.
    ever = _within(frame, "ts_start", datetime.min, datetime.max)
    went_on = ever.filter(pl.col("state").is_in(["completed", "running"]))
    rows = rows.join(
        went_on.select("job_id", pl.lit(True).alias("done")).unique(),
        on="job_id",
        how="left",
        maintain_order="left",
    )
    found: list[_Row] = []
    for job, ts, kind, team, model, machine, attempts, done in rows.collect().iter_rows():
        what = f"{kind} {job}" if kind and not str(job).startswith(str(kind)) else str(job)
        what = f"job {what} started"
        what += f" {attempts} times" if attempts > 1 else ""
        what += "" if done else ", never completed"
        found.append((ts, what, {"team": team, "model": model, "machine type": machine, "resource": job}))
    return found


def _scale_events(frame: pl.LazyFrame, begin: datetime, end: datetime) -> list[_Row]:
    rows = (
        _within(frame, "ts_decision", begin, end)
        .sort("_ts")
        .group_by("pool_id", maintain_order=True)
        .agg(
            pl.col("_ts", "from_units", "unit").first(),
            pl.col("to_units").max().alias("most"),
            pl.len().alias("times"),
        )
        .sort("pool_id")
    )
    found: list[_Row] = []
    for pool, ts, first, unit, most, times in rows.collect().iter_rows():
        what = f"{plural(times, 'scale event')} of {pool}"
        what += f", {first:g} to at most {most:g} {unit}s" if first is not None and most is not None else ""
        found.append((ts, what, {"pool": pool}))
    return found


def _evictions(frame: pl.LazyFrame, begin: datetime, end: datetime) -> list[_Row]:
    rows = (
        _within(frame, "ts_lost", begin, end)
        .sort("_ts")
        .group_by("job_id", "instance_type", "region", "provider", maintain_order=True)
        .agg(pl.col("_ts").first(), pl.len().alias("times"))
    )
    found: list[_Row] = []
    for job, machine, region, provider, ts, times in rows.collect().iter_rows():
        what = f"{plural(times, 'eviction')} of {machine or 'spot capacity'}"
        what += f" under {job}" if job else ""
        said = {"provider": provider, "region": region, "machine type": machine, "resource": job}
        found.append((ts, what, said))
    return found


def _prices(frame: pl.LazyFrame, begin: datetime, end: datetime) -> list[_Row]:
    keys = [name for name in _PRICED if name in frame.collect_schema()]
    rate = pl.col("rate_usd_per_unit")
    ordered = frame.sort(*keys, "valid_from", nulls_last=False).with_columns(
        rate.shift().over(keys).alias("_before")
    )
    rows = _within(ordered.filter(pl.col("_before") != rate), "valid_from", begin, end)
    names = ("_ts", "model", "unit", "_before", "rate_usd_per_unit", "provider")
    found: list[_Row] = []
    for ts, model, unit, before, now, provider in rows.select(names).sort(names).collect().iter_rows():
        what = f"price of {model}, {unit}, from {before.normalize():f} to {now.normalize():f} USD"
        found.append((ts, what, {"model": model, "provider": provider}))
    return found
