"""Telemetry of a lab, looked at hour by hour, job by job and ratio by ratio: no bill is waited for."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from finops_lab import bookkeeping, measuring
from finops_lab.anomalies.drifts import drifts
from finops_lab.anomalies.event import EVENTS, SCOPES, as_events
from finops_lab.anomalies.hourly import hourly_events, score_series
from finops_lab.anomalies.metering import gpu_series, job_series, request_series
from finops_lab.anomalies.ratios import coverage_ratios, idle_ratios, request_ratios
from finops_lab.anomalies.runaway import runaways
from finops_lab.anomalies.series import METRICS, Series
from finops_lab.errors import NoDataError
from finops_lab.ingestion import lake
from finops_lab.lab import Lab
from finops_lab.watching.failures import MOMENTS, failures
from finops_lab.watching.spend import closed_before
from finops_lab.watching.store import keep, kept, place_of

__all__ = ["BUDGETS", "telemetry"]

# False alarms of one series and month, by detector.
BUDGETS = {"hour of week": 0.1, "cusum of ratio": 0.5 / 12}
_TABLES = (*MOMENTS, "gpu_samples")
# Reported money is tokens times prices: it would say the same once more.
_HOURLY = ("requests", "tokens", "error_rate", "retry_share", "p95_ms")
# Kinds of utilization sample the same time of a GPU: one of them counts, this one where there is a choice.
_BUSY = "gpu_util"
_NARROW = ("total", "team", "kind", "pool", "model", "feature")
_PART = (0.75, 1.33)  # of a broader event's excess that makes a narrower one its root
_FOLLOWS = {"tokens": "requests", "training_usd": "training_gpu_hours"}
_SCHEMAS = {"events": EVENTS}


def telemetry(
    lab: Lab,
    *,
    budgets: Mapping[str, float] | None = None,
    at: datetime | date | None = None,
    store: bool = True,
) -> pl.DataFrame:
    """Look for surges, runaway jobs, drifts and failure modes in a lab's telemetry.

    Parameters
    ----------
    lab : Lab
        An opened lab.
    budgets : mapping, optional
        False alarms per series and month by detector, in place of `BUDGETS`.
    at : datetime.datetime or datetime.date, optional
        What came later is not known yet; a moment without a zone is in UTC. By default the lab's
        `as_of`, else the midnight after the last day that telemetry tells of.
    store : bool
        As in `finops_lab.watching.spend.spend`.

    Returns
    -------
    polars.DataFrame
        `EVENTS`, empty where the lab has no telemetry: calls, tokens, errors, retries, P95, GPU-hours and
        training accrual by the hour of the week; training jobs that run away; drifts of cost per inference,
        tokens per request, cache hits, idle share and coverage; failure modes F2 to F7.
    """
    allowed = BUDGETS | {name: one for name, one in (budgets or {}).items() if name in BUDGETS}
    until = _until(lab, at)
    if until is None:
        return pl.DataFrame(schema=EVENTS)
    settings = [sorted(allowed.items()), sorted(lab.config.anomalies.holidays), repr(EVENTS)]
    place = place_of(lab, "telemetry", settings, _inputs(lab, until))
    keeps = store and lab.as_of is None
    if keeps and (found := kept(place, _SCHEMAS)) is not None:
        return found["events"]
    parts = [
        _hours(lab, until, allowed["hour of week"]),
        runaways(lab.table("training_jobs"), until=until, grain="5m"),
        _drifts(lab, until, allowed["cusum of ratio"], store),
        failures(lab, until),
    ]
    events = as_events(pl.concat(parts))
    if keeps:
        keep(place, {"events": events})
    return events


def _until(lab: Lab, at: datetime | date | None) -> datetime | None:
    """Return the moment that telemetry is looked at, None where there is none."""
    if isinstance(at, datetime):
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    if (day := closed_before(lab, at)) is not None:
        return datetime(day.year, day.month, day.day, tzinfo=UTC)
    jobs = lab.table("training_jobs").select(
        pl.max_horizontal(pl.col("ts_start").max(), pl.col("ts_end").max())
    )
    days = [
        frame.select(pl.col("day").max()) for frame in (measuring.request_days(lab), measuring.gpu_days(lab))
    ]
    found = [one.item() for one in pl.collect_all([jobs.select(pl.all().dt.date()), *days])]
    last = max((day for day in found if day is not None), default=None)
    return None if last is None else datetime(last.year, last.month, last.day, tzinfo=UTC) + timedelta(days=1)


def _inputs(lab: Lab, until: datetime) -> list[object]:
    """Return what the events are made of, beside settings and release."""
    home, versions = lab.folder / "lake", lab.versions()
    tables = [(name, versions.get(name), lake.identity(home, name)) for name in _TABLES]
    try:
        books = bookkeeping.ledger(lab).inputs_sha256
    except NoDataError:
        books = None
    rules = [repr(lab.config.dimensions), repr(lab.config.accounts), repr(lab.config.coverage)]
    return [tables, books, rules, until.isoformat()]


def _hours(lab: Lab, until: datetime, budget: float) -> pl.DataFrame:
    # An hour that is not over has fewer calls than others, and is no fall.
    until = until.replace(minute=0, second=0, microsecond=0)

    def read(table: str, moment: str) -> pl.LazyFrame:
        return lab.table(table).filter(pl.col(moment) < until)

    def calls() -> Series:
        return request_series(read("inference_requests", "ts_start"), grain="hour").only(_HOURLY)

    def jobs() -> Series:
        by = ("total", "team", "model", "kind")
        return job_series(read("training_jobs", "ts_start"), now=until, grain="hour", by=by)

    def gpus() -> Series:
        return gpu_series(_one_kind(read("gpu_samples", "ts")), grain="hour")

    found = []
    for series in (calls, jobs, gpus):
        with suppress(NoDataError):
            known = series().without(lab.config.anomalies.holidays)
            found.append(hourly_events(score_series(known, false_alarms_per_month=budget)))
    return pl.concat([_as_parts(one) for one in found]) if found else pl.DataFrame(schema=EVENTS)


def _one_kind(samples: pl.LazyFrame) -> pl.LazyFrame:
    """Keep one kind of utilization of each GPU: machines without `_BUSY` (TPUs) are busy, too."""
    kind = pl.when(pl.col("util_kind") == _BUSY).then(pl.lit("")).otherwise("util_kind")
    return samples.filter(kind == kind.min().over("gpu_uuid"))


def _as_parts(events: pl.DataFrame) -> pl.DataFrame:
    """Say which counts are the same as a narrower one's, and which follow from another of their slice.

    Three quarters of the calls that are too many are one feature's: then the total's are part of them. Tokens
    follow from calls, and dollars from GPU-hours.
    """
    rows = events.rows(named=True)
    counts = [row for row in rows if METRICS[row["metric"]].kind == "count" and row["expected"] is not None]
    # Only what moved the same way in the same hours can be a part of it: most pairs never meet.
    roots, order = _Spans(), dict[str, int]()
    causes: dict[str, str] = {}
    for row in sorted(counts, key=lambda r: (r["expected"], -_NARROW.index(r["dimension"]), r["id"])):
        key = (row["metric"], row["direction"])
        met = [one for one in roots.meeting(key, row) if _is_part(row, one)]
        if met:
            causes[row["id"]] = min(met, key=lambda one: order[one["id"]])["id"]
        else:
            order[row["id"]] = len(order)
            roots.add(key, row)
    slices, place = _Spans(), dict[str, int]()
    for number, row in enumerate(rows):
        place[row["id"]] = number
        slices.add((row["metric"], row["dimension"], row["value"], row["direction"]), row)
    for row in rows:
        of = (_FOLLOWS.get(row["metric"]), row["dimension"], row["value"], row["direction"])
        if same := slices.meeting(of, row):
            first = min(same, key=lambda one: place[one["id"]])["id"]
            causes[row["id"]] = causes.get(first, first)
    # What is part of one that follows is part of what that follows from.
    told = [causes.get(causes.get(row["id"], ""), causes.get(row["id"])) for row in rows]
    return events.with_columns(pl.Series("cause_of", told, pl.String))


class _Spans:
    """Events by a key and by the days they touch, so that those of the same time are found without all others."""

    def __init__(self) -> None:
        self._on = dict[tuple[tuple[Any, ...], date], list[Mapping[str, Any]]]()

    def add(self, key: tuple[Any, ...], row: Mapping[str, Any]) -> None:
        for day in _days(row):
            self._on.setdefault((key, day), []).append(row)

    def meeting(self, key: tuple[Any, ...], row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        found = {one["id"]: one for day in _days(row) for one in self._on.get((key, day), ())}
        return [one for one in found.values() if one["first"] <= row["last"] and row["first"] <= one["last"]]


def _days(row: Mapping[str, Any]) -> list[date]:
    first, last = row["first"].date(), row["last"].date()
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def _is_part(row: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    if row["dimension"] == root["dimension"]:
        return False
    if any(None not in (row[name], root[name]) and row[name] != root[name] for name in SCOPES.values()):
        return False
    off, of_root = row["actual"] - row["expected"], root["actual"] - root["expected"]
    return bool(off and _PART[0] <= of_root / off <= _PART[1])


def _drifts(lab: Lab, until: datetime, budget: float, store: bool) -> pl.DataFrame:
    before = pl.col("day") < until.date()
    ratios = [
        request_ratios(measuring.request_days(lab, store=store).filter(before)),
        idle_ratios(measuring.gpu_days(lab, store=store).filter(before)),
    ]
    try:
        entries = bookkeeping.ledger(lab, store=store).entries
    except NoDataError:
        pass
    else:
        if entries["BillingCurrency"].n_unique() == 1:  # shares of money in two currencies are none
            ratios.append(coverage_ratios(entries.filter(pl.col("x_ChargeDate") < until.date())))
    holidays = list(lab.config.anomalies.holidays)
    known = pl.concat(ratios).filter(~pl.col("day").is_in(holidays))
    return drifts(known, false_alarms_per_year=12 * budget)
