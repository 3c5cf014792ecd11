"""Service levels of a month in one go: budgets, alerts, what they coincide with, what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from finops_lab.calendar import add_months, format_month
from finops_lab.errors import InputError
from finops_lab.service_levels._chance import MOST_CHANCE
from finops_lab.service_levels._parts import by_promise
from finops_lab.service_levels._sliding import whole_slots
from finops_lab.service_levels.actions import actions
from finops_lab.service_levels.alerts import alerts_of
from finops_lab.service_levels.budgets import budgets_of, calendar_of
from finops_lab.service_levels.burn import LEAST_ROWS, WORKBOOK, BurnWindow, burns_of, peaks_of, told
from finops_lab.service_levels.coincidences import coincidences
from finops_lab.service_levels.promises import promised
from finops_lab.service_levels.schemas import SLOT_S
from finops_lab.service_levels.spending import spent_of

__all__ = ["ServiceLevels", "judge"]


@dataclass(frozen=True)
class ServiceLevels:
    """How the objectives of a month were kept.

    Attributes
    ----------
    month : datetime.date
        Its first day.
    budgets : polars.DataFrame
        Error budgets of the calendar month.
    rolling : polars.DataFrame
        Error budgets of the last ``window_days`` of each objective.
    calendar : polars.DataFrame
        What each day spent of the month's budget.
    spent : polars.DataFrame
        Share of the month's budget spent, at the end of every hour: ``slo``, ``at``, ``spent``.
    burn : polars.DataFrame
        Highest burn rates of every hour.
    alerts, coincidences, actions : polars.DataFrame
        Pages and tickets, what they coincide with, what to do.
    """

    month: date
    budgets: pl.DataFrame
    rolling: pl.DataFrame
    calendar: pl.DataFrame
    spent: pl.DataFrame
    burn: pl.DataFrame
    alerts: pl.DataFrame
    coincidences: pl.DataFrame
    actions: pl.DataFrame


def judge(
    events: pl.LazyFrame | pl.DataFrame,
    slos: pl.DataFrame | pl.LazyFrame,
    month: date,
    *,
    at: datetime | None = None,
    deploys: pl.LazyFrame | pl.DataFrame | None = None,
    training_jobs: pl.LazyFrame | pl.DataFrame | None = None,
    scale_events: pl.LazyFrame | pl.DataFrame | None = None,
    served_by: pl.DataFrame | None = None,
    windows: Sequence[BurnWindow] = WORKBOOK,
    least_rows: int = LEAST_ROWS,
    most_chance: float = MOST_CHANCE,
    hours: float = 6,
    words: Mapping[tuple[str, str, str], str] | None = None,
) -> ServiceLevels:
    """Judge the objectives in a calendar month (UTC).

    Parameters
    ----------
    events : polars.LazyFrame or polars.DataFrame
        `finops_lab.service_levels.schemas.EVENTS` of the month and of what the longest window needs
        before it.
    slos : polars.DataFrame or polars.LazyFrame
        The `slos` contract.
    month : datetime.date
        Any day of the month.
    at : datetime.datetime, optional
        How far the month has run; its end by default.
    deploys, training_jobs, scale_events, served_by, hours
        As in `finops_lab.service_levels.coincidences.coincidences`.
    windows, least_rows, most_chance
        As in `finops_lab.service_levels.burn.burn_series`.
    words
        As in `finops_lab.service_levels.actions.actions`.

    Returns
    -------
    ServiceLevels

    Raises
    ------
    InputError
        When `at` is before the month or has no time zone, or an event's objective is not known.
    """
    seen = events.lazy().collect()
    first = month.replace(day=1)
    begin, end = (datetime(day.year, day.month, 1, tzinfo=UTC) for day in (first, add_months(first, 1)))
    if at is not None and whole_slots(at) <= begin:
        raise InputError(f"{format_month(first)} has not begun at {at:%Y-%m-%d %H:%M}")
    end = min(end, at) if at is not None else end
    after = begin + timedelta(seconds=SLOT_S)
    promises = promised(slos)
    parts = by_promise(seen, promises)
    # Alerts are of the moments that exceed a rate: no other needs a row.
    high, peaks = [], []
    for burning in burns_of(parts, promises, after, end, windows, least_rows):
        high.append(burning.rows(burning.exceeds, most_chance))
        peaks.append(burning.peaks())
    series = told(high, promises, windows, least_rows)
    spent = spent_of(parts, promises, after, end, least_rows=least_rows, most_chance=most_chance)
    found = alerts_of(series, spent, slos, end, windows=windows)
    near = coincidences(
        found,
        deploys=deploys,
        training_jobs=training_jobs,
        scale_events=scale_events,
        served_by=served_by,
        hours=hours,
    )
    asked: dict[str, Any] = {"least_rows": least_rows, "most_chance": most_chance}
    state = budgets_of(parts, promises, end, calendar=True, **asked)
    return ServiceLevels(
        month=first,
        budgets=state,
        rolling=budgets_of(parts, promises, end, **asked),
        calendar=calendar_of(seen, state, first, end),
        spent=spent.filter(pl.col("at") == pl.col("at").dt.truncate("1h")).select("slo", "at", "spent"),
        burn=peaks_of(peaks, windows),
        alerts=found,
        coincidences=near,
        actions=actions(found, near, words=words),
    )
