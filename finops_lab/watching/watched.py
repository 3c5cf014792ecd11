"""The anomalies of a lab: events of spend and telemetry, what people said, and why they happened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from typing import Any

import polars as pl

from finops_lab import bookkeeping, measuring
from finops_lab.alerting.feedback import anomaly_rows, judged, read_feedback
from finops_lab.allocation import assign
from finops_lab.anomalies.explain import Explanation, explain
from finops_lab.anomalies.failure_modes import MODES
from finops_lab.calendar import parse_day
from finops_lab.errors import FinopsError, InputError, NoDataError, each_name
from finops_lab.lab import Lab
from finops_lab.watching.spend import INCOMPLETE, STATISTIC, spend
from finops_lab.watching.telemetry import telemetry

__all__ = ["FEEDBACK_FILE", "Watched", "anomalies", "anomaly_counts"]

FEEDBACK_FILE = "feedback.csv"
_WEEKS = 8  # before an event, that explain it
_SAME = 0.01  # of an event's money: bill rows that differ more are not what was split between teams


@dataclass(frozen=True)
class Watched:
    """What was found in a lab.

    Attributes
    ----------
    lab : Lab
        The opened lab.
    events : polars.DataFrame
        `finops_lab.anomalies.event.EVENTS` that touch the days asked for; ``status`` as ``feedback.csv`` says.
    days : polars.DataFrame
        `finops_lab.watching.spend.DAYS` asked for: every slice and day with what was expected.
    every : polars.DataFrame
        Events of all days, for what came before.
    """

    lab: Lab
    events: pl.DataFrame
    days: pl.DataFrame
    every: pl.DataFrame = field(repr=False)
    _explained: dict[str, Explanation] = field(default_factory=dict, repr=False, compare=False)

    def __repr__(self) -> str:
        days = self.days["day"].unique().sort().to_list()
        span = f"{days[0]} to {days[-1]}, " if days else ""
        return f"Watched({span}{self.events.height} events, {self.roots.height} of them roots)"

    @property
    def roots(self) -> pl.DataFrame:
        """The events that are no part of another one, the most money at stake first."""
        part = pl.col("cause_of").is_in(self.events["id"].to_list()).fill_null(False)
        return self.events.filter(~part).sort(
            pl.col("excess_amount").abs(), "first", "id", descending=[True, True, False], nulls_last=True
        )

    @property
    def looked_at(self) -> list[date]:
        """First days of the months in which spend was judged, from the first day that could be."""
        judged_days = self.days.filter(pl.col("state") == "judged")["day"]
        first = judged_days.min()
        if not isinstance(first, date):
            return []
        whole = judged_days.filter(judged_days >= _month_after(first))
        return whole.dt.month_start().unique().sort().to_list()

    def between(self, since: date | None = None, until: date | None = None) -> Watched:
        """Return the days from one to another, both included, and the events that touch them.

        Parameters
        ----------
        since, until : datetime.date, optional
            By default all.
        """
        touched = [pl.col("last").dt.date() >= since] if since else []
        touched += [pl.col("first").dt.date() <= until] if until else []
        within = [pl.col("day") >= since] if since else []
        within += [pl.col("day") <= until] if until else []
        events = self.every.filter(*touched) if touched else self.every
        days = self.days.filter(*within) if within else self.days
        return replace(self, events=events, days=days)

    def explain(self, event: str | Mapping[str, Any]) -> Explanation:
        """Say why an event happened: which slice, volume or price, what coincides, what was like it.

        Parameters
        ----------
        event : str or mapping
            Its id, or its row.

        Raises
        ------
        InputError
            No event has this id.
        """
        name = event if isinstance(event, str) else str(event["id"])
        if name not in self._explained:
            found = self.every.filter(pl.col("id") == name)
            if found.is_empty():
                raise InputError(f"there is no event {name!r}", hint="ids are in the column id of events")
            self._explained[name] = self._explain(found.row(0, named=True))
        return self._explained[name]

    def explain_row(self, row: Mapping[str, Any]) -> Explanation:
        """Say why something happened that is no event of the lab: a row as of `EVENTS`."""
        return self._explain(row)

    def sentences(self, events: pl.DataFrame | None = None) -> dict[str, str]:
        """Return a sentence per id: of these events, by default of the roots."""
        shown = self.roots if events is None else events
        return {str(row["id"]): self._sentence(row) for row in shown.rows(named=True)}

    def _sentence(self, row: Mapping[str, Any]) -> str:
        # What gave a failure mode away says more than that its figure is off.
        if row["kind"] == "failure_mode" and row["note"] and row["failure_mode"] in MODES:
            return f"{MODES[row['failure_mode']].name}, {row['dimension']} {row['value']}: {row['note']}."
        return self.explain(row).sentence

    def _explain(self, row: Mapping[str, Any]) -> Explanation:
        beside: dict[str, Any] = {**self._beside, "past": self.every}
        if row["kind"] != "spend":
            return explain(row, None, **beside)
        begin = (row["first"] - timedelta(weeks=_WEEKS)).date()
        end = row["last"].date()
        rows = self._bills_from(begin).filter(
            pl.col("ChargePeriodStart").dt.date().is_between(begin, end),
            pl.col("BillingCurrency") == row["BillingCurrency"],
        )
        try:
            # Bill rows know accounts, resources and quantities; what was split between teams they do not.
            found = explain(row, rows, **beside)
            if found.actual is not None and _near(float(found.actual), row["actual"]):
                return found
        except (InputError, NoDataError):
            pass
        entries = self._entries.filter(
            pl.col("x_ChargeDate").is_between(begin, end), pl.col("BillingCurrency") == row["BillingCurrency"]
        )
        try:
            return explain(row, entries, **beside)
        except FinopsError:
            return explain(row, None, **beside)  # such as first charges: nothing before to hold it against

    def _bills_from(self, begin: date) -> pl.DataFrame:
        """Return bill rows of a day and later ones; those of events are read once."""
        first = self.events["first"].min()
        kept = (first - timedelta(weeks=_WEEKS)).date() if isinstance(first, datetime) else None
        # What is no event of the lab may lie before all of them, or there are none.
        return self._bills(begin) if kept is None or begin < kept else self._bills_of_events

    @cached_property
    def _bills_of_events(self) -> pl.DataFrame:
        first = self.events["first"].min()
        assert isinstance(first, datetime)
        return self._bills((first - timedelta(weeks=_WEEKS)).date())

    def _bills(self, begin: date) -> pl.DataFrame:
        rows = self.lab.costs().filter(pl.col("ChargePeriodStart") >= datetime.combine(begin, time(), UTC))
        return assign(rows, bookkeeping.policy(self.lab).dimensions).collect()

    @cached_property
    def _entries(self) -> pl.DataFrame:
        return bookkeeping.ledger(self.lab).entries

    @cached_property
    def _beside(self) -> dict[str, pl.DataFrame]:
        tables = {
            "deploys": "deploys",
            "jobs": "training_jobs",
            "scale_events": "scale_events",
            "evictions": "spot_evictions",
            "prices": "prices",
        }
        frames = [self.lab.table(name) for name in tables.values()]
        found = dict(zip(tables, pl.collect_all(frames), strict=True))
        # What a lab has no files of was not looked at.
        told = {name: frame for name, frame in found.items() if frame.height}
        calls = measuring.request_days(self.lab).collect()
        return told | ({"requests": calls} if calls.height else {})


def anomalies(
    lab: Lab,
    *,
    since: date | str | None = None,
    until: date | str | None = None,
    at: datetime | date | None = None,
    budget: float | None = None,
    by: str | Sequence[str] | None = None,
    metric: str = "EffectiveCost",
    with_telemetry: bool = True,
    store: bool = True,
) -> Watched:
    """Find the anomalies of a lab: in its daily spend, and in its telemetry.

    Parameters
    ----------
    lab : Lab
        An opened lab.
    since, until : datetime.date or str, optional
        First and last day, such as ``2026-10-01``; events that touch them are told. By default all.
    at : datetime.datetime or datetime.date, optional
        When it is looked: its day and later ones are not closed. No clock is asked: by default every
        day with charges is closed, and a last day that is charged in part looks like a fall.
    budget : float, optional
        False alarms per slice and month of daily spend. By default as ``[anomalies]`` of `finops.toml` says,
        else 1; its ``budgets`` speak of single detectors.
    by : str or sequence of str, optional
        What daily spend is cut by: ``total`` and names of `finops_lab.anomalies.panel.DIMENSIONS`. By
        default as ``[anomalies]`` says, beside the total.
    metric : str
        The cost column.
    with_telemetry : bool
        Look at telemetry, too.
    store : bool
        Keep what was found below ``lake/anomalies``, and read it while the data stays as it is.

    Returns
    -------
    Watched
        Nothing is explained yet: `Watched.explain` does.

    Raises
    ------
    InputError
        A day that is none, an unknown dimension or cost column, a budget that is not above 0, or a
        ``feedback.csv`` that cannot be read.

    Examples
    --------
    >>> found = anomalies(lab, since="2026-10-01")  # doctest: +SKIP
    >>> found.explain(found.roots["id"][0]).sentence  # doctest: +SKIP
    """
    by = None if by is None else each_name(by)
    first = None if since is None else parse_day(since, "since")
    last = None if until is None else parse_day(until, "until")
    if first is not None and last is not None and last < first:
        raise InputError(f"until {last} lies before since {first}")
    asked = lab.config.anomalies
    if budget is None:
        budget = asked.budgets.get(STATISTIC, asked.false_alarms_per_month)
    cuts = ("total", *asked.by) if by is None else by
    events, days = spend(
        lab, budget=budget, by=cuts, metric=metric, min_amount=asked.least_amount, at=at, store=store
    )
    if with_telemetry:
        found = telemetry(lab, budgets=asked.budgets, at=at, store=store)
        events = pl.concat([events, found]).sort("first", "dimension", "value", "metric", "kind", "id")
    events = judged(events, read_feedback(lab.folder / FEEDBACK_FILE))
    return Watched(lab, events, days, events).between(first, last)


def anomaly_counts(found: Watched) -> pl.DataFrame:
    """Return the anomalies of spend as the cost anomaly rate counts them: roots, by their first day.

    Parameters
    ----------
    found : Watched
        Of a lab, of all days. What an export lacks is no anomaly of cost, and is left out.

    Returns
    -------
    polars.DataFrame
        As `finops_lab.alerting.anomaly_rows`, and ``month`` (Date, its first day).
    """
    spent = found.every.filter(pl.col("kind") == "spend", pl.col("detector") != INCOMPLETE)
    return anomaly_rows(spent).with_columns(pl.col("ts").dt.date().dt.month_start().alias("month"))


def _month_after(day: date) -> date:
    return day if day.day == 1 else (day.replace(day=1) + timedelta(days=32)).replace(day=1)


def _near(one: float, other: float | None) -> bool:
    return other is not None and abs(one - other) <= _SAME * max(abs(other), 1.0)
