"""The monthly review: everything its sections need, computed once from a lab."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from functools import cached_property
from typing import Any

import polars as pl

from finops_lab import allocation, bookkeeping, foreseeing, valuing
from finops_lab.allocation import Ledger
from finops_lab.budgeting.budgets import LEAST_MONTHS, Budgets, called, judge, running_until
from finops_lab.calendar import add_months, format_month, moment_of, month_name, parse_month
from finops_lab.contracts import AMOUNTS
from finops_lab.errors import CurrencyError, InputError, NoDataError
from finops_lab.lab import Lab, open_lab
from finops_lab.money import MONEY, exact_sum, one_currency
from finops_lab.planning.budgets import in_currency, in_force, name_of
from finops_lab.reporting.days import Days
from finops_lab.reporting.section import Section, prose
from finops_lab.unit_economics.bridge import Bridge
from finops_lab.unit_economics.kpis import Kpis
from finops_lab.valuing.frames import Frames

__all__ = ["METRICS", "Review", "check_month", "check_parameters", "prepare", "review"]

METRICS = {"EffectiveCost": "effective cost", "BilledCost": "billed cost"}
_LARGE = 10_000
_PARAMETERS = ("lab", "month", "metric", "at")


@dataclass(frozen=True)
class Review:
    """A monthly review of a lab; each method builds one section.

    Attributes
    ----------
    lab : Lab
        The opened lab.
    month : datetime.date
        First day of the month under review (charges by `ChargePeriodStart`).
    metric : str
        ``EffectiveCost`` or ``BilledCost``.
    ledger : Ledger
        All charges of the lab, in one currency.
    at : datetime.datetime, optional
        How far the month has run (UTC), where it is not over; without it, as far as the lab tells.
    """

    lab: Lab
    month: date
    metric: str
    ledger: Ledger
    at: datetime | None = None

    @property
    def currency(self) -> str:
        """ISO 4217 code of all amounts."""
        return self.lab.currency

    @property
    def month_name(self) -> str:
        """The month in words."""
        return month_name(self.month)

    @property
    def metric_name(self) -> str:
        """The metric in words."""
        return METRICS[self.metric]

    @property
    def decimals(self) -> int | None:
        """Decimals of amounts in tables: none for a large bill, the currency's own for a small one."""
        return 0 if abs(self.total(self.month) or Decimal(0)) >= _LARGE else None

    def __repr__(self) -> str:
        return f"Review({self.lab.name!r}, {format_month(self.month)}, {self.metric})"

    def _repr_html_(self) -> str:
        note = f"  \n{self.lab.config.lab.note}" if self.lab.config.lab.note else ""
        month = f"{self.month_name}{self.days.after}"
        return prose(f"**{self.lab.name}** · {month} · {self.metric_name} in {self.currency}{note}")

    @cached_property
    def past(self) -> pl.DataFrame:
        """Ledger entries up to and including the month."""
        return self.ledger.entries.filter(pl.col("x_ChargeMonth") <= format_month(self.month))

    @cached_property
    def entries(self) -> pl.DataFrame:
        """Ledger entries of the month."""
        return self.of(self.month)

    def of(self, month: date) -> pl.DataFrame:
        """Return the ledger entries of a month."""
        return self.past.filter(pl.col("x_ChargeMonth") == format_month(month))

    def panel(self, by: str | None) -> pl.DataFrame:
        """Return the history up to the month per value of a dimension, as forecasting takes it."""
        return allocation.monthly(self.past, by, self.metric)

    def total(self, month: date) -> Decimal | None:
        """Return the spend of a month, None when the lab has no charges for it."""
        found = self.panel(None).filter(pl.col("ds") == month)["y"]
        return found[0] if found.len() else None

    @cached_property
    def days(self) -> Days:
        """The days of the month that are known, where it is not over."""
        return Days(self.month, Frames(self.lab, self.month, self.month, self.at).days_known)

    def so_far(self, month: date) -> Decimal | None:
        """Return the spend of as many days of a month as are known of the one under review."""
        return self.days.total(self.past, month, self.metric)

    def billed(self, month: date, sign: str = ", ") -> str:
        """Say, behind a sign, how many days of a month are billed where most are missing; else nothing."""
        said = self.days.billed(self.past, month)
        return f"{sign}{said}" if said else ""

    @property
    def previous(self) -> date:
        """The month before."""
        return add_months(self.month, -1)

    def budget(self, team: str | None) -> Decimal | None:
        """Return the month's budget of a team, or of all teams together; None when none was set."""
        mine = [
            amount
            for dimension, key, amount in self._planned.iter_rows()
            if key == team and (dimension == "team" or team is None)
        ]
        return exact_sum(mine) if mine else None

    @cached_property
    def _planned(self) -> pl.DataFrame:
        """The month's budgets in force: dimension, key, amount."""
        month = self.lab.budgets().filter(pl.col("month") == format_month(self.month))
        told = in_currency(month, self.lab.config.rates, self.currency)
        return in_force(told, self.lab.as_of).select("dimension", "key", "amount")

    @cached_property
    def budgets(self) -> Budgets:
        """Every budget of the month, its quarter and its year, with forecast and chances."""
        known = self.panel(None).height
        if known < LEAST_MONTHS:
            few = foreseeing.panels(self.ledger, self.month, metric=self.metric) if known else None
            at = running_until(few, self.month) if few is not None else None
            return judge(self.lab, self.past, self.month, at=at, metric=self.metric)
        made = self.outlook
        return judge(
            self.lab,
            self.past,
            self.month,
            at=running_until(made.panels, self.month),
            metric=self.metric,
            forecast=called(foreseeing.months_of(made.panels, made.nodes, made.open_month)),
        )

    def over_budget(self) -> list[str]:
        """Return whose budget the month went over: ``all teams`` for the total, teams by name, then others."""
        over = []
        for dimension, planned in self._planned.group_by("dimension", maintain_order=True):
            spent = dict(
                self.panel(dimension[0])
                .filter(pl.col("ds") == self.month)
                .select("unique_id", "y")
                .iter_rows()
            )
            for _, key, amount in planned.iter_rows():
                if (spent.get(key or "total") or Decimal(0)) > amount:
                    over.append((dimension[0], key))
        others = [name_of(*who) for who in over if who[0] not in (None, "team")]
        teams = [key for dimension, key in over if dimension == "team"]
        return [*(["all teams"] if (None, None) in over else []), *teams, *others]

    def headline(self) -> Section:
        """Spend, change, budget, forecast and coverage at a glance."""
        from finops_lab.reporting.sections import headline

        return headline.build(self)

    @cached_property
    def kpis(self) -> Kpis:
        """The month's KPIs."""
        return valuing.kpis(self.lab, self.month, metric=self.metric, at=self.at)

    @cached_property
    def bridge(self) -> Bridge:
        """Why spend changed since the month before."""
        return valuing.bridge(self.lab, self.previous, self.month, metric=self.metric, at=self.at)

    @cached_property
    def outlook(self) -> foreseeing.Outlook:
        """The next six months, or the rest of the year, in total, per team and per model, adding up."""
        months = max(foreseeing.MONTHS, 12 - self.month.month + 1)
        return foreseeing.of_ledger(self.ledger, self.month, months, metric=self.metric, lab=self.lab)

    def scorecard(self) -> Section:
        """Show the twelve KPIs, with targets, status and trend."""
        from finops_lab.reporting.sections import scorecard

        return scorecard.build(self)

    def causes(self) -> Section:
        """Why spend changed since the month before."""
        from finops_lab.reporting.sections import causes

        return causes.build(self)

    def owners(self) -> Section:
        """Spend by team, model and provider, and where budgets stand."""
        from finops_lab.reporting.sections import owners

        return owners.build(self)

    def receipt(self) -> Section:
        """Proof that the ledger adds up to the bill, and what each rule caught."""
        from finops_lab.reporting.sections import receipt

        return receipt.build(self)

    def allocation(self) -> Section:
        """How much has an owner, how it came to each team, and what to label first."""
        from finops_lab.reporting.sections import ownership

        return ownership.build(self)

    def reconciliation(self) -> Section:
        """Telemetry at list price against the bill, and what later deliveries changed."""
        from finops_lab.reporting.sections import reconciled

        return reconciled.build(self)

    def forecast(self) -> Section:
        """Next six months per team and in total, with intervals and a backtest."""
        from finops_lab.reporting.sections import outlook

        return outlook.build(self)

    def tradeoffs(self) -> Section:
        """Cost, accuracy and latency of model variants."""
        from finops_lab.reporting.sections import variants

        return variants.build(self)

    def data_quality(self) -> Section:
        """Show what was read, mended and rejected, and what is missing."""
        from finops_lab.reporting.sections import quality

        return quality.build(self)

    def doctor(self) -> Section:
        """Show what the data doctor found in the whole lab."""
        from finops_lab.reporting.sections import doctor

        return doctor.build(self)

    def provenance(self) -> Section:
        """Name inputs, versions and parameters that reproduce this report."""
        from finops_lab.reporting.sections import provenance

        return provenance.build(self)


def check_parameters(namespace: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return a report's parameters from a notebook's namespace, refusing unknown ones.

    papermill injects a misspelt parameter as a variable of its own and runs on with the default,
    so any other variable in the first cell is a mistake.

    Parameters
    ----------
    namespace : mapping
        The notebook's ``globals()`` right after the parameters cell.
    *names : str
        The report's parameters; by default ``lab``, ``month``, ``metric`` and, where a notebook has it, ``at``.

    Returns
    -------
    dict
        The parameters as given, not yet checked for their values.

    Raises
    ------
    InputError
        When there is a variable that is no parameter.

    Examples
    --------
    >>> check_parameters({"lab": "", "montth": "2026-09", "month": "2026-10", "metric": "BilledCost"})
    Traceback (most recent call last):
    finops_lab.errors.InputError: unknown parameter 'montth'. Hint: parameters are lab, month, metric, at
    """
    # The cell binds its report to one of these names: where that is set, it is run again, beside
    # whatever the analyst made since.
    bound = (namespace.get(name) for name in ("review", "board", "week", "mortem"))
    again = any(type(value).__module__.startswith("finops_lab.reporting") for value in bound)
    known = names or _PARAMETERS
    shell = {"In", "Out", "get_ipython", "exit", "quit", "open", "fl"}
    for name in () if again else namespace:
        if not name.startswith("_") and name not in shell and name not in known:
            raise InputError(f"unknown parameter {name!r}", hint=f"parameters are {', '.join(known)}")
    return {name: namespace[name] for name in known if name in namespace or name != "at"}


def review(
    lab: str | Lab = "", month: str = "", metric: str = "EffectiveCost", *, at: str | date | None = None
) -> Review:
    """Prepare the monthly review of a lab.

    Parameters
    ----------
    lab : str or Lab
        The lab or its folder; the packaged sample lab when empty.
    month : str
        The month under review, such as ``2026-10``.
    metric : str
        ``EffectiveCost`` (amortised) or ``BilledCost`` (invoiced).
    at : str, datetime.date or datetime.datetime, optional
        How far the month has run (UTC), where it is not over. Without it, it has run to the end of
        the lab's `as_of`, or of the latest day that bills, requests or GPU samples tell of. What was
        spent so far is then held against as many days of other months.

    Returns
    -------
    Review

    Raises
    ------
    InputError
        When a parameter is wrong or the lab has no data for the month.
    CurrencyError
        When the bills are in several currencies and `finops.toml` has no rates.
    """
    opened, start = prepare(lab, month, metric, at)
    ledger = bookkeeping.ledger(opened)
    entries = allocation.convert(ledger.entries, opened.config.rates, opened.currency)
    return Review(opened, start, metric, replace(ledger, entries=entries), moment_of(at))


def prepare(lab: str | Lab, month: str, metric: str, at: str | date | None = None) -> tuple[Lab, date]:
    """Open the lab and check the review's parameters against it, before any work.

    Raises
    ------
    InputError, CurrencyError, NoDataError
        As `review`.
    """
    if metric not in METRICS:
        raise InputError(f"metric must be one of {', '.join(METRICS)}, not {metric!r}")
    start = parse_month(month)
    if not isinstance(lab, str | Lab):
        raise InputError(f"lab must be the path of a folder, not {lab!r}")
    opened = lab if isinstance(lab, Lab) else open_lab(lab, progress=False)
    check_month(opened, start)
    Frames(opened, start, start, moment_of(at))  # refuses a moment at which it has not begun
    allocation.assign(opened.costs(), opened.config.dimensions)  # refuses rules on unknown columns
    _check_currencies(opened)
    return opened, start


def _check_currencies(lab: Lab) -> None:
    """Refuse bills that cannot be shown in the lab's currency."""
    month = pl.col("ChargePeriodStart").dt.strftime("%Y-%m").alias("x_ChargeMonth")
    zero = [pl.lit(0).cast(MONEY).alias(name) for name in AMOUNTS]
    cases = lab.costs().select("BillingCurrency", month).unique().with_columns(zero).collect()
    if lab.config.rates:
        allocation.convert(cases, lab.config.rates, lab.currency)
        return
    found = one_currency(cases["BillingCurrency"])
    if found != lab.currency:
        raise CurrencyError(
            f"the bills are in {found}, the lab in {lab.currency}",
            file=lab.folder / "finops.toml",
            hint=f'set currency = "{found}" under [lab], or add [[rates]]',
        )


def check_month(lab: Lab, month: date) -> None:
    """Refuse a month for which the lab has no charges.

    Raises
    ------
    NoDataError
        Naming the months that there are.
    """
    months = lab.months()
    if not months:
        raise NoDataError("the lab holds no bill rows", file=lab.folder, hint="put bills into exports/")
    if month not in months:
        raise NoDataError(
            f"the lab has no charges for {format_month(month)}",
            file=lab.folder,
            hint=f"it has charges from {format_month(months[0])} to {format_month(months[-1])}",
        )
