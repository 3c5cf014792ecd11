"""A lab's telemetry, earlier deliveries and invoices set against its bills."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import polars as pl

from finops_lab import pricing
from finops_lab.calendar import add_months, format_month, parse_month
from finops_lab.errors import InputError
from finops_lab.ingestion import lake
from finops_lab.lab import Lab
from finops_lab.reconciliation.calculated import Reconciliation, calculated_against_billed
from finops_lab.reconciliation.maturity import maturity
from finops_lab.reconciliation.restatement import Bridge, restatement

__all__ = ["matured", "reconcile", "restated", "restated_months"]


def reconcile(lab: Lab, month: str | date, *, metric: str = "BilledCost") -> Reconciliation:
    """Price the lab's telemetry of a month and explain the gap to its bills.

    See `finops_lab.reconciliation.calculated_against_billed`.

    Parameters
    ----------
    lab : Lab
        An opened lab.
    month : str or datetime.date
        Month of use, such as ``2026-10``.
    metric : str
        The cost to explain.
    """
    book = pricing.price_book(lab.table("prices"))
    start = month if isinstance(month, date) else parse_month(month)
    return calculated_against_billed(
        lab.table("inference_requests"), book, lab.costs(), metric=metric, month=start
    )


def restated_months(lab: Lab) -> dict[str, date]:
    """Return the billing months that were delivered again once they were over.

    Returns
    -------
    dict of str to datetime.date
        Per month, the day of the first delivery after its end. Files without a date of delivery
        tell nothing.
    """
    days: dict[str, set[date]] = {}
    for _, entries in lake.history(lab.folder / "lake", "costs"):
        for entry in entries:
            day = date.fromisoformat(entry.delivered_on[:10]) if entry.delivered_on else None
            for month in {unit.month for unit in entry.units} if day else ():
                if day and day >= add_months(parse_month(month), 1):
                    days.setdefault(month, set()).add(day)
    return {month: min(found) for month, found in sorted(days.items()) if len(found) > 1}


def restated(lab: Lab, month: str | date, then: date | str | None = None) -> Bridge:
    """Tell what later deliveries changed of a billing month.

    Parameters
    ----------
    lab : Lab
        An opened lab.
    month : str or datetime.date
        Billing month, such as ``2026-09``.
    then : datetime.date or str, optional
        Compare with what was known at the end of this day. Default: the first delivery after the
        month's end.

    Returns
    -------
    Bridge
        From then to now; a month that was delivered once has changed nothing.

    Raises
    ------
    InputError
        When `then` is not given and no dated delivery came after the month's end.
    """
    name = format_month(month) if isinstance(month, date) else format_month(parse_month(month))
    first = then if then is not None else restated_months(lab).get(name)
    if first is None:
        raise InputError(
            f"{name} was not delivered twice with a date of delivery",
            hint="put deliveries into folders such as delivered=2026-10-03, or give `then`",
        )
    here = pl.col("x_BillingMonth") == name
    return restatement(lab.table("costs", as_of=first).filter(here), lab.costs().filter(here))


def matured(lab: Lab, months: Sequence[str], *, metric: str = "EffectiveCost") -> pl.DataFrame:
    """Tell how much of some months' final amounts was known so many days after their end.

    See `finops_lab.reconciliation.maturity.maturity`. Only files with a date of delivery are looked
    at: nobody knows when the others came.

    Parameters
    ----------
    lab : Lab
        An opened lab.
    months : sequence of str
        Months of use, such as ``["2026-08", "2026-09"]``.
    metric : str
        ``EffectiveCost`` or ``BilledCost``.

    Raises
    ------
    InputError
        When no file of the lab has a date of delivery.
    """
    dated = {
        entry.path: entry.delivered_on[:10]
        for _, entries in lake.history(lab.folder / "lake", "costs")
        for entry in entries
        if entry.delivered_on
    }
    if not dated:
        raise InputError(
            "no bill of the lab has a date of delivery",
            hint="put deliveries into folders such as delivered=2026-10-03",
        )
    known = pl.col("x_SourceFile").is_in(list(dated))
    days = sorted({date.fromisoformat(day) for day in dated.values()})
    versions = {day: lab.table("costs", as_of=day).filter(known) for day in days}
    return maturity(versions, months, metric=metric)
