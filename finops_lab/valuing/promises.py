"""How a lab kept its service level objectives."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl

from finops_lab import measuring
from finops_lab.calendar import add_months, first_of, moment_of
from finops_lab.lab import Lab
from finops_lab.service_levels import daily
from finops_lab.service_levels.coincidences import served_by
from finops_lab.service_levels.events import BY_CALL, added
from finops_lab.service_levels.judging import ServiceLevels, judge
from finops_lab.service_levels.kpi import burned_months
from finops_lab.service_levels.schemas import EVENTS
from finops_lab.unit_economics.activity import activity, currency_of
from finops_lab.valuing.frames import Frames

__all__ = ["burned", "level_events", "levels"]


def levels(lab: Lab, month: str | date, *, at: str | date | None = None) -> ServiceLevels:
    """Judge the lab's objectives in a calendar month: budgets, burn rates, alerts, actions.

    Parameters
    ----------
    lab : Lab
        An opened lab, with ``[[slos]]`` in `finops.toml`.
    month : str or datetime.date
        Month of use, such as ``2026-10``.
    at : str, datetime.date or datetime.datetime, optional
        How far the month has run, where it is not over. Without it, it has run to the end of the
        lab's `as_of`, or of the latest day that bills, requests or GPU samples tell of.

    Returns
    -------
    finops_lab.service_levels.judging.ServiceLevels

    Raises
    ------
    InputError
        When the month is none, or an objective cannot be judged as it is written.
    """
    first = first_of(month)
    slos = lab.slos()
    longest = max((int(days) for days in slos["window_days"]), default=1)
    begin = (first - timedelta(days=max(longest, 3))).replace(day=1)
    frames = Frames(lab, begin, first, moment_of(at))
    until = frames.open_at
    end = datetime.combine(add_months(first, 1), datetime.min.time(), UTC)
    hours = pl.col("ts") < (until or end)
    return judge(
        level_events(frames, slos),
        slos,
        first,
        at=until,
        deploys=lab.table("deploys").filter(hours),
        training_jobs=lab.table("training_jobs"),
        scale_events=frames.table("scale_events", "ts_decision"),
        served_by=served_by(frames.request_days, slos),
    )


def level_events(frames: Frames, slos: pl.DataFrame) -> pl.DataFrame:
    """Return the good and bad events of objectives in some months, of calls and of days."""
    if slos.is_empty():
        return pl.DataFrame(schema=EVENTS)
    calls = measuring.call_events(frames.lab).filter(frames.within("slot"))
    return added(calls, *_by_day(frames, slos)).collect()


def burned(frames: Frames) -> pl.DataFrame:
    """Return how the lab's error budgets burned: `finops_lab.service_levels.kpi.BURNED`."""
    slos, at = frames.lab.slos(), frames.open_at
    calls = measuring.burned_months(frames.lab, at=at).filter(frames.within("month")).collect()
    others = slos.filter(~pl.col("objective").is_in(BY_CALL))
    parts = _by_day(frames, others)
    return pl.concat([calls, burned_months(added(*parts), others, at=at)]) if parts else calls


def _by_day(frames: Frames, slos: pl.DataFrame) -> list[pl.LazyFrame]:
    """Return the events of objectives that are judged by day."""
    lab, objectives = frames.lab, set(slos["objective"])
    parts: list[pl.LazyFrame] = []
    if "cost_per_inference" in objectives:
        entries = activity(frames.entries, frames.rules).with_columns(frames.pool)
        if currency_of(frames.entries) != "USD":  # thresholds are in USD: such days cannot be judged
            entries = entries.clear()
        parts.append(daily.cost_events(entries, frames.request_days, slos))
    if "accuracy" in objectives:
        parts.append(daily.accuracy_events(frames.table("accuracy_samples", "ts"), slos))
    if "freshness" in objectives:
        named = set(slos.filter(pl.col("objective") == "freshness")["table"].drop_nulls())
        tables = {
            name: frames.entries.lazy() if name == "ledger" else lab.table(name) for name in sorted(named)
        }
        last = min(frames.end, frames.until) - timedelta(days=1)
        parts.append(daily.freshness_events(tables, slos, first=frames.first, last=last))
    return parts
