"""A lab's budgets against its ledger: where they stand, what to do, what changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

import polars as pl

from finops_lab.calendar import add_months, days_in_month, first_of
from finops_lab.errors import CurrencyError, InputError
from finops_lab.foreseeing import Panels, expected, ledger_of, panels
from finops_lab.lab import Lab
from finops_lab.money import MONEY, one_currency
from finops_lab.planning import budgets as plans
from finops_lab.planning.budget_alerts import alerts, checks
from finops_lab.planning.budget_status import status
from finops_lab.planning.burn_down import burn_down

__all__ = ["LEAST_MONTHS", "METRICS", "Budgets", "budgets", "called", "judge", "running_until"]

LEAST_MONTHS = 3  # with charges; on less a forecast of everything says little
MONTHS = 12

METRICS = ("EffectiveCost", "BilledCost")
_VALUES = ["yhat", "lo_80", "hi_80", "lo_95", "hi_95"]
_FORECAST = {"unique_id": pl.String, "ds": pl.Date, **dict.fromkeys(_VALUES, pl.Float64)}


@dataclass(frozen=True)
class Budgets:
    """What became of a lab's budgets.

    Attributes
    ----------
    month : datetime.date
        First day of the month in question.
    at : datetime.date
        The first day that is not over: spend before it is known.
    currency : str
        ISO 4217 code of all amounts.
    status : polars.DataFrame
        Each budget in the month, its quarter and its year:
        `finops_lab.planning.budget_status.status`.
    alerts : polars.DataFrame
        What somebody should know now: `finops_lab.planning.budget_alerts.alerts`.
    checks : polars.DataFrame
        Budgets of parts against that of all: `finops_lab.planning.budget_alerts.checks`.
    changes : polars.DataFrame
        What approvals changed in the month's year: `finops_lab.planning.budgets.changes`.
    forecast : polars.DataFrame
        Whole months from `at` on: ``unique_id`` (the budget's name), ``ds``, ``yhat`` and its bounds.
    """

    month: date
    at: date
    currency: str
    status: pl.DataFrame
    alerts: pl.DataFrame
    checks: pl.DataFrame
    changes: pl.DataFrame
    forecast: pl.DataFrame
    _spend: pl.DataFrame = field(repr=False)
    _plans: pl.DataFrame = field(repr=False)

    def burn_down(
        self, dimension: str | None = None, key: str | None = None, period: str = "year"
    ) -> pl.DataFrame:
        """Return one budget day by day: see `finops_lab.planning.burn_down.burn_down`."""
        mine = self.forecast.filter(pl.col("unique_id") == plans.name_of(dimension, key))
        return burn_down(
            self._spend,
            self._plans,
            mine,
            dimension=dimension,
            key=key,
            period=period,
            month=self.month,
            at=self.at,
        )

    def over(self, states: Sequence[str] = ("over",), period: str = "month") -> list[str]:
        """Return the names of budgets in such a state."""
        found = self.status.filter(pl.col("state").is_in(states), pl.col("period") == period)
        return found["name"].to_list()


def budgets(
    lab: Lab,
    month: str | date,
    *,
    at: date | None = None,
    metric: str = "EffectiveCost",
    forecast: pl.DataFrame | None = None,
) -> Budgets:
    """Hold the lab's spend and its forecast against ``[[budgets]]`` of `finops.toml`.

    Parameters
    ----------
    lab : Lab
        An opened lab.
    month : str or datetime.date
        Month of use, such as ``2026-10``; its quarter and its calendar year are judged, too.
    at : datetime.date, optional
        The first day that is not over. Default: the month is over, or, where charges come every day and
        stop before its end, the day after the last. Of a month that is not over, what is spent counts up
        to the last day with charges.
    metric : str
        ``EffectiveCost`` (amortised) or ``BilledCost`` (invoiced).
    forecast : polars.DataFrame, optional
        Whole months from `at` on, as from `finops_lab.forecasting.forecast`, with the budgets' names as
        ``unique_id``. Default: for everything, teams and models what `finops_lab.foreseeing.foresee`
        expects. What is not in it is forecast on its own, from the months that are over.

    Returns
    -------
    Budgets

    Raises
    ------
    CurrencyError
        When charges or budgets are in several currencies and ``[[rates]]`` lack one.
    InputError
        When the month or the metric is none, or `at` lies before the month.
    NoDataError
        When the lab holds no bills.

    Examples
    --------
    >>> from finops_lab.lab import open_lab
    >>> found = budgets(open_lab(progress=False), "2026-10")
    >>> found.status.filter(name="all spend", period="month").select("state").item()
    'over'
    """
    first = first_of(month)
    end = add_months(first, 1)
    if lab.budgets().filter(pl.col("month").str.head(4) == f"{first:%Y}").is_empty():
        return judge(lab, ledger_of(lab).entries, first, at=at, metric=metric, forecast=forecast)
    ledger = ledger_of(lab)
    known = replace(ledger, entries=ledger.entries.filter(pl.col("x_ChargeDate") < (at or end)))
    if (known.entries["x_ChargeMonth"] <= f"{first:%Y-%m}").any():
        made = panels(known, first, metric=metric)
        at = at or running_until(made, first)
        enough = known.entries["x_ChargeMonth"].n_unique() >= LEAST_MONTHS
        # Bills by the month do not tell how far the running one is.
        if forecast is None and enough and (at is None or at >= end) == (made.running != first):
            forecast = called(expected(lab, made, MONTHS))
    return judge(lab, ledger.entries, first, at=at, metric=metric, forecast=forecast)


def running_until(made: Panels, month: date) -> date | None:
    """Return the first day of a month without charges yet; None of a month that is over."""
    return made.through + timedelta(days=1) if made.running == month else None


def called(expected: pl.DataFrame) -> pl.DataFrame:
    """Call a lab's forecast, as `finops_lab.foreseeing.months_of` gives it, by the names of budgets."""
    whole = pl.col("level") == "total"
    name = pl.when(whole).then(pl.lit("all spend")).otherwise(pl.format("{} {}", "level", "unique_id"))
    return expected.select(name.alias("unique_id"), *list(_FORECAST)[1:])


def judge(
    lab: Lab,
    entries: pl.DataFrame | pl.LazyFrame,
    month: str | date,
    *,
    at: date | None = None,
    metric: str = "EffectiveCost",
    forecast: pl.DataFrame | None = None,
) -> Budgets:
    """Judge the lab's budgets by ledger entries at hand: see `budgets`.

    Parameters
    ----------
    lab : Lab
        An opened lab.
    entries : polars.DataFrame or polars.LazyFrame
        Rows of the `ledger` contract, in the lab's currency.
    month, at, metric, forecast
        As for `budgets`.
    """
    first = first_of(month)
    if metric not in METRICS:
        raise InputError(f"metric must be one of {', '.join(METRICS)}, not {metric!r}")
    end = add_months(first, 1)
    when = end if at is None else min(at, end)
    if when < first:
        raise InputError(f"{when} lies before the month {first:%Y-%m}", hint="ask for a month that has begun")
    of_the_year = lab.budgets().filter(pl.col("month").str.head(4) == f"{first:%Y}")
    told = plans.in_currency(of_the_year, lab.config.rates, lab.currency)
    planned = plans.in_force(told, lab.as_of)
    spend = _spend(lab, entries, planned["dimension"].drop_nulls().unique().sort().to_list(), metric)
    if when < end:
        # Bills come late: a day without any charge yet is not a day without cost.
        seen = spend.filter(pl.col("day") >= first, pl.col("day") < when)["day"].unique().sort()
        when = seen[-1] + timedelta(days=1) if len(seen) else first
    spend = spend.filter(pl.col("day") < when)
    given = pl.DataFrame(schema=_FORECAST) if forecast is None else forecast.select(list(_FORECAST))
    names = pl.concat_str([pl.col("dimension"), pl.col("key")], separator=" ").fill_null("all spend")
    own = planned.filter(~names.is_in(given["unique_id"].unique().implode()))
    this_year = pl.col("ds").is_between(when.replace(day=1), date(first.year, 12, 1))
    ahead = pl.concat([given.filter(this_year), _ahead(spend, own, first, when)])
    found = status(spend, planned, ahead, month=first, at=when)
    return Budgets(
        month=first,
        at=when,
        currency=lab.currency,
        status=found,
        alerts=alerts(found),
        checks=checks(found),
        changes=plans.changes(told, lab.as_of),
        forecast=ahead,
        _spend=spend,
        _plans=planned,
    )


def _spend(
    lab: Lab, entries: pl.DataFrame | pl.LazyFrame, dimensions: list[str], metric: str
) -> pl.DataFrame:
    """Add spend up by day: all of it, and by the values of each dimension that has budgets."""
    keys = [f"x_{name}" for name in dimensions]
    days = (
        entries.lazy()
        .group_by("BillingCurrency", pl.col("x_ChargeDate").alias("day"), *keys)
        .agg(pl.col(metric).sum().alias("amount"))
        .collect(engine="streaming")
    )
    found = one_currency(days["BillingCurrency"].unique())
    if found not in (None, lab.currency):
        raise CurrencyError(
            f"the bills are in {found}, the lab in {lab.currency}",
            file=lab.folder / "finops.toml",
            hint=f'set currency = "{found}" under [lab], or add [[rates]]',
        )
    none = pl.lit(None, pl.String)
    parts = [days.with_columns(dimension=none, key=none)]
    parts += [
        days.with_columns(dimension=pl.lit(name), key=pl.col(f"x_{name}").cast(pl.String))
        for name in dimensions
    ]
    return (
        pl.concat(part.select("dimension", "key", "day", "amount") for part in parts)
        .group_by("dimension", "key", "day")
        .agg(pl.col("amount").sum().cast(MONEY))
        .sort("dimension", "key", "day")
    )


def _ahead(spend: pl.DataFrame, planned: pl.DataFrame, month: date, at: date) -> pl.DataFrame:
    """Forecast what has a budget, from the months that are over to the end of the year.

    A month that is not over is what was spent so far and the forecast's daily rate for its other days.
    """
    from finops_lab.forecasting import forecast

    open_month = at.replace(day=1)
    months = 12 - month.month + (1 if open_month == month else 0)
    panel = _panel(spend, planned, open_month)
    if months == 0 or panel.is_empty():
        return pl.DataFrame(schema=_FORECAST)
    never_below = (pl.col("y").min().over("unique_id") >= 0).fill_null(False)
    parts = [(panel.filter(never_below), True), (panel.filter(~never_below), False)]
    found = pl.concat(
        forecast(part, months=months, nonnegative=floor) for part, floor in parts if part.height
    ).select(list(_FORECAST))
    if at == open_month:
        return found
    left = 1 - (at - open_month).days / days_in_month(open_month)
    so_far = (
        _named(spend.filter(pl.col("day") >= open_month))
        .group_by("unique_id")
        .agg(pl.col("amount").sum().cast(pl.Float64).alias("so_far"))
    )
    is_open = pl.col("ds") == open_month
    return (
        found.join(so_far, on="unique_id", how="left")
        .with_columns(
            pl.when(is_open).then(pl.col(n) * left + pl.col("so_far").fill_null(0.0)).otherwise(n).alias(n)
            for n in _VALUES
        )
        .drop("so_far")
        .sort("unique_id", "ds")
    )


def _panel(spend: pl.DataFrame, planned: pl.DataFrame, before: date) -> pl.DataFrame:
    """Return the history of what has a budget; a month with charges of others only cost it nothing."""
    monthly = (
        _named(spend.filter(pl.col("day") < before))
        .group_by("unique_id", pl.col("day").dt.month_start().alias("ds"))
        .agg(pl.col("amount").sum().alias("y"))
    )
    names = [plans.name_of(*who) for who in planned.select("dimension", "key").unique().iter_rows()]
    whole = monthly.filter(unique_id="all spend").select("ds")
    first = monthly.group_by("unique_id").agg(pl.col("ds").min().alias("first"))
    grid = first.join(whole, how="cross").filter(
        pl.col("ds") >= pl.col("first"), pl.col("unique_id").is_in(names)
    )
    return (
        grid.join(monthly, on=["unique_id", "ds"], how="left")
        .select("unique_id", "ds", pl.col("y").fill_null(pl.lit(0).cast(MONEY)))
        .sort("unique_id", "ds")
    )


def _named(spend: pl.DataFrame) -> pl.DataFrame:
    """Call spend what its budget is called; what is of no known value has none."""
    whole = pl.when(pl.col("dimension").is_null()).then(pl.lit("all spend"))
    name = whole.otherwise(pl.format("{} {}", "dimension", "key"))
    return spend.with_columns(name.alias("unique_id")).filter(pl.col("unique_id").is_not_null())
