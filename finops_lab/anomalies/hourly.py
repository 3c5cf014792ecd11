"""Telemetry against the hour of the week: surges, falls and failures within minutes, without a bill."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from finops_lab.anomalies._seasons import WEEK, expectations
from finops_lab.anomalies._windows import NOISE_DAYS, TAIL_DAYS, Judged, alarms, judged
from finops_lab.anomalies.event import EVENTS, SCOPES, as_events
from finops_lab.anomalies.panel import Bools, Floats
from finops_lab.anomalies.series import GRAIN, METRICS, Series
from finops_lab.errors import InputError

__all__ = ["Scored", "hourly_events", "score_series"]

DETECTOR = "hour of week"
READY = 21  # days before the first alarm: weeks to expect something of, to know its noise, and its scores
# Windows between two alarms of one series that make them two events.
_APART = {"5m": 6, "hour": 3}


@dataclass(frozen=True)
class Scored:
    """Series beside what was expected of them; arrays are series x windows.

    Attributes
    ----------
    series : Series
        What was scored, windows up to whole days.
    expected, low, high : numpy.ndarray
        In the unit of the series; NaN where nothing is expected yet. An alarm lies outside.
    score, threshold : numpy.ndarray
        Normal score of the most unlikely test of the window, and where its alarm begins.
    alarm : numpy.ndarray
        True in windows that are an alarm.
    up : numpy.ndarray
        Whether the most unlikely test is that of more.
    """

    series: Series
    expected: Floats
    low: Floats
    high: Floats
    score: Floats
    threshold: Floats
    alarm: Bools
    up: Bools


def score_series(
    series: Series,
    *,
    since: datetime | date | None = None,
    false_alarms_per_month: float = 0.1,
    smallest_change: float = 0.25,
    history_days: int = 56,
) -> Scored:
    """Compare each window with the same hour of the weeks before, all series at once.

    What is expected of a day comes from days before it alone: the hour of the week, leaning on the hour
    of the day where few weeks are known, at the level of the last seven days. Counts and ratios are
    tested by exact negative binomial tails (Poisson times the noise of the last 14 days, with the third
    moment of rows that are uneven, such as tokens), sizes by the spread of their logarithms; each window
    alone, and the last six together. A test's threshold is the normal score of its share of the false
    alarms, and more where the tail of its scores of the last 28 days is heavier.

    Parameters
    ----------
    series : Series
        Of `finops_lab.anomalies.metering`, or `finops_lab.anomalies.series.series_of`.
    since : datetime.datetime or datetime.date, optional
        First day to look for alarms on; by default the first with 21 days before it. Only the 42 days
        before it, and their history, are read.
    false_alarms_per_month : float
        Windows that may be wrongly an alarm, per series and month of 30.4 days.
    smallest_change : float
        A change of a smaller share of what was expected is no alarm, however sure.
    history_days : int
        Days that an expectation looks back.

    Returns
    -------
    Scored

    Raises
    ------
    InputError
        A budget or change that is not above 0, or a history below a week.

    Examples
    --------
    Three weeks of about 60 calls in 5 minutes, and ten times as many from 12:00 of the last day.

    >>> from finops_lab.anomalies.series import series_of
    >>> calls = np.random.default_rng(1).poisson(60.0, (1, 22 * 288)).astype(float)
    >>> calls[0, 21 * 288 + 144 :] *= 10
    >>> found = score_series(series_of(calls, datetime(2026, 10, 5, tzinfo=UTC)))
    >>> found.series.moment(int(np.argmax(found.alarm[0]))).isoformat()
    '2026-10-26T12:00:00+00:00'
    """
    if false_alarms_per_month <= 0 or smallest_change <= 0 or history_days < WEEK:
        raise InputError("the budget and the change must be above 0, the history a week or more")
    windows = timedelta(days=1) // GRAIN[series.grain]
    days = -(-series.values.shape[1] // windows)
    whole = Series(
        series.start,
        series.grain,
        series.names,
        _padded(series.values, days * windows),
        _padded(series.evidence, days * windows),
        None if series.largest is None else _padded(series.largest, days * windows),
    )
    begin = READY if since is None else max((_day(since) - series.start.date()).days, READY)
    first = max(begin - TAIL_DAYS, 2 * WEEK)
    reach = max(first - NOISE_DAYS, WEEK)
    weekdays = [(series.start + timedelta(days=day)).weekday() for day in range(days)]
    shape = (len(series), days, windows)
    values, evidence = whole.values.reshape(shape), whole.evidence.reshape(shape)
    floats = [np.full(whole.values.shape, np.nan) for _ in range(5)]
    expected, low, high, score, threshold = floats
    alarm, up = np.zeros(expected.shape, np.bool_), np.ones(expected.shape, np.bool_)
    metrics = np.array(series.names["metric"].to_list(), dtype=object)
    for name in dict.fromkeys(metrics):
        one, rows = METRICS[name], np.flatnonzero(metrics == name)
        base = expectations(values[rows], evidence[rows], one.kind, weekdays, reach, history_days)
        largest = (
            whole.largest[rows].reshape(base.shape) if one.uneven and whole.largest is not None else None
        )
        what = judged(values[rows], evidence[rows], base, one.kind, reach, largest)
        sides = [way for way, wanted in ((True, one.up), (False, one.down)) if wanted]
        found = alarms(
            what,
            sides,
            first=first,
            begin=begin,
            windows=windows,
            budget=false_alarms_per_month,
            smallest=smallest_change,
            lasting=one.lasting,
        )
        expected[rows] = base.reshape(len(rows), -1)
        low[rows], high[rows] = _bounds(what, found.threshold)
        score[rows], threshold[rows], alarm[rows], up[rows] = (
            found.score,
            found.threshold,
            found.alarm,
            found.up,
        )
    return Scored(whole, expected, low, high, score, threshold, alarm, up)


def hourly_events(scored: Scored) -> pl.DataFrame:
    """Put alarms of a series that lie close together into events.

    Parameters
    ----------
    scored : Scored
        What `score_series` returns.

    Returns
    -------
    polars.DataFrame
        `EVENTS` of the kind ``telemetry``. Counts are added up over the span; ratios and levels are
        averages over its windows. ``detected`` is the end of the first window that was an alarm. The
        money of an event in dollars is what lies above what was expected.

    Examples
    --------
    >>> from finops_lab.anomalies.series import series_of
    >>> calls = np.full((1, 22 * 24), 100.0)
    >>> calls[0, -3:] = 900.0
    >>> made = series_of(calls, datetime(2026, 10, 5, tzinfo=UTC), grain="hour")
    >>> hourly_events(score_series(made)).select("first", "last", "direction", "actual").row(0)[2:]
    ('up', 2700.0)
    """
    series, apart = scored.series, _APART[scored.series.grain]
    names = series.names.rows(named=True)
    found = []
    for row in np.flatnonzero(scored.alarm.any(axis=1)):
        at = np.flatnonzero(scored.alarm[row])
        breaks = np.flatnonzero(np.diff(at) > apart) + 1
        found += [_event(scored, names[row], int(row), run) for run in np.split(at, breaks)]
    return (
        as_events(pl.DataFrame(found, schema_overrides=EVENTS, infer_schema_length=None))
        if found
        else pl.DataFrame(schema=EVENTS)
    )


def _event(scored: Scored, name: dict[str, Any], row: int, run: np.ndarray[Any, Any]) -> dict[str, Any]:
    series, metric = scored.series, METRICS[name["metric"]]
    first, last = int(run[0]), int(run[-1])
    peak = run[np.argmax(scored.score[row, run] - scored.threshold[row, run])]
    inside = slice(first, last + 1)
    told = {}
    for column, array in (
        ("actual", series.values),
        ("expected", scored.expected),
        ("low", scored.low),
        ("high", scored.high),
    ):
        part = array[row, inside]
        part = part[np.isfinite(part)]
        told[column] = float(part.sum() if metric.kind == "count" else part.mean()) if part.size else None
    excess = None
    if metric.unit == "USD" and told["actual"] is not None and told["expected"] is not None:
        excess = round(Decimal(repr(told["actual"])) - Decimal(repr(told["expected"])), 6)
    return {
        "kind": "telemetry",
        "detector": DETECTOR,
        **{column: name[column] for column in ("metric", "unit", "dimension", "value", *SCOPES.values())},
        "first": series.moment(first),
        "last": series.moment(last),
        "grain": series.grain,
        "direction": "up" if scored.up[row, peak] else "down",
        **told,
        "excess_amount": excess,
        "BillingCurrency": "USD" if metric.unit == "USD" else None,
        "score": float(scored.score[row, peak]),
        "threshold": float(scored.threshold[row, peak]),
        "detected": series.moment(first + 1),
    }


def _bounds(what: Judged, threshold: Floats) -> tuple[Floats, Floats]:
    """Return where an alarm of one window begins, in the unit of the series."""
    if what.kind == "level":
        wide = np.exp(threshold * what.noise)
        return what.expected / wide, what.expected * wide
    wide = threshold * what.spread()
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = what.expected + what.sure
        return np.maximum(whole - wide, 0.0) / what.events, (whole + wide) / what.events


def _day(moment: datetime | date) -> date:
    if not isinstance(moment, datetime):
        return moment
    return (moment.astimezone(UTC) if moment.tzinfo else moment).date()


def _padded(values: Floats, length: int) -> Floats:
    return np.pad(values, ((0, 0), (0, length - values.shape[1])), constant_values=np.nan)
