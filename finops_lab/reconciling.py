"""A lab's telemetry, earlier deliveries and invoices set against its bills."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import polars as pl

from finops_lab import pricing
from finops_lab.allocation import convert
from finops_lab.calendar import add_months, format_month, parse_month
from finops_lab.contracts import AMOUNTS
from finops_lab.errors import InputError
from finops_lab.ingestion import lake
from finops_lab.lab import Lab
from finops_lab.reconciliation._bill import token_line
from finops_lab.reconciliation._telemetry import around
from finops_lab.reconciliation.calculated import Reconciliation, calculated_against_billed
from finops_lab.reconciliation.maturity import maturity
from finops_lab.reconciliation.restatement import Bridge, restatement

__all__ = ["delivery_days", "first_delivered", "matured", "reconcile", "restated", "restated_months"]


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
        The cost to explain. Charges in other currencies are converted by ``[[rates]]``.

    Raises
    ------
    CurrencyError
        When token charges are in another currency than USD and there is no rate for them.
    """
    book = pricing.price_book(lab.table("prices"))
    start = month if isinstance(month, date) else parse_month(month)
    costs = _in_dollars(lab, start) if lab.config.rates else lab.costs()
    return calculated_against_billed(lab.table("inference_requests"), book, costs, metric=metric, month=start)


def _in_dollars(lab: Lab, month: date) -> pl.LazyFrame:
    """Convert the month's token charges in other currencies, unit prices too: prices of tokens are in USD."""
    costs = lab.costs()
    mine, _ = token_line(costs.collect_schema().names())
    days = around((month, add_months(month, 1) - timedelta(days=1)))
    start = pl.col("ChargePeriodStart")
    foreign = pl.col("BillingCurrency") != "USD"
    # Rates are of the month of use; those of the days beside it are needed to see lag.
    there = mine & foreign & start.dt.date().is_between(*days)
    rows = costs.filter(there).with_columns(start.dt.strftime("%Y-%m").alias("x_ChargeMonth")).collect()
    prices = ("ListUnitPrice", "ContractedUnitPrice")
    done = convert(rows, lab.config.rates, "USD", amounts=(*AMOUNTS, *prices)).drop("x_ChargeMonth")
    return pl.concat([costs.filter(~there.fill_null(False)), done.lazy()])


def restated_months(lab: Lab) -> dict[str, date]:
    """Return the billing months that were delivered again once they were over.

    Returns
    -------
    dict of str to datetime.date
        Per month, the day of the first delivery after its end, of those that another one of the same
        export and provider followed. Files without a date of delivery tell nothing, nor do deliveries
        after the day that the lab was opened as of.
    """
    found: dict[str, date] = {}
    for (month, _, _), days in _deliveries(lab).items():
        if len(days) > 1:
            found[month] = min(*days, found.get(month, date.max))
    return dict(sorted(found.items()))


def first_delivered(lab: Lab, month: str) -> dict[str, date]:
    """Return the day on which each provider first delivered a billing month once it was over.

    Parameters
    ----------
    lab : Lab
        An opened lab.
    month : str
        Billing month, such as ``2026-09``.
    """
    found: dict[str, date] = {}
    for (name, _, provider), days in sorted(_deliveries(lab).items()):
        if name == month:
            found[provider] = min(*days, found.get(provider, date.max))
    return found


def _deliveries(lab: Lab) -> dict[tuple[str, str, str], set[date]]:
    """Return the days after a billing month's end on which each stream of files brought a provider's."""
    days: dict[tuple[str, str, str], set[date]] = {}
    for entry, day in _dated(lab):
        for unit in entry.units:
            if day >= add_months(parse_month(unit.month), 1):
                days.setdefault((unit.month, entry.stream, unit.provider), set()).add(day)
    return days


def delivery_days(lab: Lab) -> list[date]:
    """Return the days on which bills with a date of delivery came, none after the lab's own date."""
    return sorted({day for _, day in _dated(lab)})


def _dated(lab: Lab) -> list[tuple[lake.FileEntry, date]]:
    """Return the files of bills with a date of delivery, none after the lab's own date."""
    every = [entry for _, entries in lake.history(lab.folder / "lake", "costs") for entry in entries]
    dated = [(one, date.fromisoformat(one.delivered_on[:10])) for one in every if one.delivered_on]
    return [(one, day) for one, day in dated if lab.as_of is None or day <= lab.as_of]


def restated(lab: Lab, month: str | date, then: date | str | None = None) -> Bridge:
    """Tell what later deliveries changed of a billing month.

    Parameters
    ----------
    lab : Lab
        An opened lab.
    month : str or datetime.date
        Billing month, such as ``2026-09``.
    then : datetime.date or str, optional
        Compare with what was known at the end of this day. Default: what each provider first
        delivered after the month's end, so that a bill that came days after another adds nothing.

    Returns
    -------
    Bridge
        From then to now; a month that was delivered once has changed nothing.

    Raises
    ------
    InputError
        When `then` is not given and nothing was delivered twice, with dates, after the month's end.
    """
    name = format_month(month) if isinstance(month, date) else format_month(parse_month(month))
    here = pl.col("x_BillingMonth") == name
    if then is not None:
        return restatement(lab.table("costs", as_of=then).filter(here), lab.costs().filter(here))
    if name not in restated_months(lab):
        raise InputError(
            f"{name} was not delivered twice with a date of delivery",
            hint="put deliveries into folders such as delivered=2026-10-03, or give `then`",
        )
    return restatement(_first_known(lab, name).filter(here), lab.costs().filter(here))


def _first_known(lab: Lab, month: str) -> pl.LazyFrame:
    """Return a month's rows as each stream first brought them after its end; those without dates as ever."""
    firsts = {key[1:]: min(days) for key, days in _deliveries(lab).items() if key[0] == month}
    files = [
        (entry.path, provider, firsts[entry.stream, provider])
        for entry, _ in _dated(lab)
        for provider in {unit.provider for unit in entry.units if unit.month == month}
        if (entry.stream, provider) in firsts
    ]
    source = ["x_SourceFile", "ProviderName"]
    schema = {**dict.fromkeys(source, pl.String), "_first": pl.Date}
    known = pl.LazyFrame(files, schema=schema, orient="row").unique()
    parts = [
        lab.table("costs", as_of=day).join(known.filter(pl.col("_first") == day), on=source, how="semi")
        for day in sorted(set(firsts.values()))
    ]
    others = lab.table("costs", as_of=min(firsts.values())).join(known, on=source, how="anti")
    return pl.concat([others, *parts], how="diagonal")


def matured(lab: Lab, months: Sequence[str], *, metric: str = "EffectiveCost") -> pl.DataFrame:
    """Tell how much of some months' final amounts was known so many days after their end.

    See `finops_lab.reconciliation.maturity.maturity`. Only files with a date of delivery are looked
    at: nobody knows when the others came. Of a lab opened as of a day, later deliveries tell nothing.

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
    days = delivery_days(lab)
    if not days:
        raise InputError(
            "no bill of the lab has a date of delivery",
            hint="put deliveries into folders such as delivered=2026-10-03",
        )
    known = pl.col("x_SourceFile").is_in([entry.path for entry, _ in _dated(lab)])
    versions = {day: lab.table("costs", as_of=day).filter(known) for day in days}
    return maturity(versions, months, metric=metric)
