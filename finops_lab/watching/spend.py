"""Daily spend of a lab, judged: what its ledger tells by provider, service, team, model and feature."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import polars as pl

from finops_lab import bookkeeping
from finops_lab.anomalies.daily import detect
from finops_lab.anomalies.event import EVENTS, SCOPES
from finops_lab.anomalies.failure_modes.spikes import billing_spikes
from finops_lab.anomalies.grouping import events_of
from finops_lab.anomalies.panel import BY, daily_panel
from finops_lab.errors import NoDataError, each_name
from finops_lab.lab import Lab
from finops_lab.money import MONEY
from finops_lab.watching.store import keep, kept, place_of

__all__ = ["DAYS", "INCOMPLETE", "STATISTIC", "closed_before", "spend"]

# Detectors, as events call them.
STATISTIC, INCOMPLETE = "daily spend", "incomplete export"

DAYS: dict[str, pl.DataType] = {
    "slice": pl.Int64(),
    "dimension": pl.String(),
    "value": pl.String(),
    "BillingCurrency": pl.String(),
    **dict.fromkeys(SCOPES.values(), pl.String()),
    "metric": pl.String(),
    "day": pl.Date(),
    "state": pl.String(),
    "amount": MONEY,
    **dict.fromkeys(
        ("actual", "expected", "low", "high", "level", "spread", "score", "threshold"), pl.Float64()
    ),
    "direction": pl.String(),
    "alarm": pl.Boolean(),
}
_SCHEMAS = {"events": EVENTS, "days": DAYS}


def spend(
    lab: Lab,
    *,
    budget: float = 1.0,
    by: str | Sequence[str] = BY,
    metric: str = "EffectiveCost",
    min_amount: Decimal | int = 0,
    at: datetime | date | None = None,
    store: bool = True,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Judge every closed day of a lab's ledger; what was found in unchanged data is read from the lake.

    Parameters
    ----------
    lab : Lab
        An opened lab.
    budget : float
        False alarms per slice and month.
    by : str or sequence of str
        ``total`` and names of `finops_lab.anomalies.panel.DIMENSIONS`.
    metric : str
        The cost column. Amounts are in the currencies of the bills: an exchange rate is no anomaly.
    min_amount : decimal.Decimal or int
        Least money at stake of an event, in its own currency.
    at : datetime.datetime or datetime.date, optional
        Its day and later ones are not closed. By default the lab's `as_of`, else every day with charges is.
    store : bool
        Keep what was found below ``lake/anomalies``, and use what is kept. A lab that was opened as of
        a date keeps nothing.

    Returns
    -------
    tuple of polars.DataFrame
        `EVENTS` and `DAYS`. Both are empty where the lab holds no charges.

    Raises
    ------
    InputError
        An unknown dimension or cost column, or a budget of no false alarm at all.
    """
    by = each_name(by)
    empty = pl.DataFrame(schema=EVENTS), pl.DataFrame(schema=DAYS)
    try:
        books = bookkeeping.ledger(lab, store=store)
    except NoDataError:
        return empty
    last = books.entries["x_ChargeDate"].max()
    if not isinstance(last, date):
        return empty
    today = min(closed_before(lab, at) or date.max, last + timedelta(days=1))
    holidays = sorted(lab.config.anomalies.holidays)
    place = place_of(
        lab,
        "spend",
        [budget, list(by), metric, min_amount, repr(holidays), repr(EVENTS), repr(DAYS)],
        [books.inputs_sha256, today.isoformat()],
    )
    keeps = store and lab.as_of is None and books.inputs_sha256 is not None
    if keeps and (found := kept(place, _SCHEMAS)) is not None:
        return found["events"], found["days"]
    try:
        panel = daily_panel(books.entries, by, metric, today=today)
    except NoDataError:
        return empty
    days = detect(panel, false_alarms_per_month=budget, holidays=holidays)
    days = days.select(pl.col(name).cast(kind) for name, kind in DAYS.items())
    events = billing_spikes(events_of(days, panel=panel, min_amount=min_amount))
    if keeps:
        keep(place, {"events": events, "days": days})
    return events, days


def closed_before(lab: Lab, at: datetime | date | None) -> date | None:
    """Return the first day that is not closed; None where nobody says."""
    if at is None:
        return lab.as_of
    if isinstance(at, datetime):
        return (at.astimezone(UTC) if at.tzinfo else at).date()
    return at
