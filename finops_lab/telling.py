"""A lab's alerts: what was found, what burns and what endangers a budget, and who is told of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import polars as pl

from finops_lab.alerting import alerts as routed
from finops_lab.alerting import rules_of
from finops_lab.calendar import months_from, parse_day, parse_moment
from finops_lab.errors import InputError, NoDataError
from finops_lab.lab import Lab
from finops_lab.planning.budgets import in_force
from finops_lab.valuing import levels
from finops_lab.watching import Watched, anomalies

__all__ = ["Told", "alerts"]


@dataclass(frozen=True)
class Told:
    """Who is told of what.

    Attributes
    ----------
    alerts : polars.DataFrame
        `finops_lab.alerting.ALERTS`: pages and tickets, and what is held back and why.
    found : Watched
        The anomalies behind them.
    at : datetime.datetime
        When it was looked.
    """

    alerts: pl.DataFrame
    found: Watched = field(repr=False)
    at: datetime

    def __repr__(self) -> str:
        send = self.alerts.filter(state="send")
        pages = send.filter(severity="page").height
        return f"Told({pages} pages, {send.height - pages} tickets, {self.alerts.height - send.height} held back)"


def alerts(lab: Lab, since: date | str, *, at: datetime | date | str | None = None) -> Told:
    """Say who is to be told of what since a day: one alert for each cause.

    Parameters
    ----------
    lab : Lab
        An opened lab; its ``[[alerts]]`` and ``[[quiet]]`` are the rules, built-in ones after them.
    since : datetime.date or str
        The first day, such as ``2026-10-01``.
    at : datetime.datetime, datetime.date or str, optional
        When it is looked (UTC): its day is not closed yet. No clock is asked: by default the midnight after
        the last day with charges.

    Returns
    -------
    Told
        Nothing is sent: `finops_lab.alerting.write_alerts` does.

    Raises
    ------
    InputError
        A day that is none, or `since` after `at`.

    Examples
    --------
    >>> fl.alerts(lab, "2026-10-01", at="2026-10-17")  # doctest: +SKIP
    """
    first = parse_day(since, "since")
    moment = _moment(at, lab)
    if moment.date() < first:
        raise InputError(f"since {first} lies after {moment:%Y-%m-%d}, when it is looked")
    found = anomalies(lab, since=first, at=moment)
    rules = rules_of(lab.config)
    burn, budgets = _burn(lab, first, moment), _budgets(lab, moment)
    made = routed(found.events, rules, now=moment, burn=burn, budgets=budgets)
    # Only what is told is explained: that takes its time.
    told = made.filter(state="send")["event"].to_list()
    sentences = found.sentences(found.events.filter(pl.col("id").is_in(told)))
    made = routed(found.events, rules, now=moment, burn=burn, budgets=budgets, sentences=sentences)
    return Told(made, found, moment)


def _budgets(lab: Lab, at: datetime) -> pl.DataFrame:
    """Return the budgets that were in force at a moment, by month as alerts look them up."""
    return in_force(lab.budgets(), at.date()).with_columns(pl.col("month").dt.strftime("%Y-%m"))


def _burn(lab: Lab, first: date, at: datetime) -> pl.DataFrame | None:
    """Return the burn rates of the months that are looked at; None where nothing was promised."""
    if lab.slos().is_empty():
        return None
    parts = []
    for month in months_from(first.replace(day=1), at.date().replace(day=1)):
        try:
            parts.append(levels(lab, month, at=at if month == at.date().replace(day=1) else None).alerts)
        except (InputError, NoDataError):
            continue  # nothing was measured in it
    return pl.concat(parts) if parts else None


def _moment(at: datetime | date | str | None, lab: Lab) -> datetime:
    if at is None:
        last = lab.costs().select(pl.col("ChargePeriodStart").max()).collect().item()
        if last is None:
            raise NoDataError("the lab has no charges to look at")
        at = last.date() + timedelta(days=1)
    return parse_moment(at, "at")
