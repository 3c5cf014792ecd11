"""What a month of a planned feature costs: one formula for exact fractions and for arrays of chance.

The HTML page computes with the same operations in the same order, so that both say the same amounts.
"""

from __future__ import annotations

import decimal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

from finops_lab.calendar import add_months, days_in_month
from finops_lab.config.feature_plan import FeaturePlan, PlannedModel
from finops_lab.errors import InputError
from finops_lab.money import SCALE
from finops_lab.planning.drivers import for_model
from finops_lab.pricing.ahead import TokenRates

__all__ = ["COMPONENTS", "Basis", "MonthOf", "basis", "by_month", "rounded"]

COMPONENTS = ("input", "cached_input", "output", "calls", "training", "capacity")
# Fraction for what is exact, float for arrays: makes a constant of the formula.
Number = Callable[[Any], Any]


@dataclass(frozen=True)
class Basis:
    """What of a plan and a model is no driver.

    Attributes
    ----------
    months : list of datetime.date
        First days of the months.
    rates : list of TokenRates
        Prices of each month, before the assumed yearly change.
    factors : tuple of Decimal
        Tokens of this model for each of the plan's: input, output.
    training : list of tuple
        Name and runs at launch.
    capacity : list of tuple
        Name and hours per day.
    """

    months: list[date]
    rates: list[TokenRates]
    factors: tuple[Decimal, Decimal]
    training: list[tuple[str, Decimal]]
    capacity: list[tuple[str, Decimal]]


@dataclass(frozen=True)
class MonthOf:
    """A month's amounts by component, and the calls and sessions behind them."""

    amounts: dict[str, Any]
    calls: Any
    sessions: Any


def basis(plan: FeaturePlan, model: PlannedModel, rates: list[TokenRates]) -> Basis:
    """Gather what is the same in every draw."""
    trainings, capacities = for_model(plan, model)
    return Basis(
        months_of(plan),
        rates,
        (model.input_tokens_factor, model.output_tokens_factor),
        [(one.name, one.runs_at_launch) for one in trainings],
        [(one.name, one.hours_per_day) for one in capacities],
    )


def months_of(plan: FeaturePlan) -> list[date]:
    """Return the first days of a plan's months."""
    return [add_months(plan.first, n) for n in range(plan.months)]


def by_month(
    fixed: Basis, values: Mapping[str, Any], adoption: Sequence[Any], number: Number
) -> Iterator[MonthOf]:
    """Yield what each month costs.

    Calls are sessions per day x days x adoption x growth so far x calls per session (or calls per
    second x 86,400 x days ...). Input read from cache, written to it, and the rest have prices of
    their own. A yearly price change c makes the prices of month m, counted from the first, (1 +
    c) ^ whole years x (1 + c x months of the year under way / 12) of the book's: exact, and the
    compound rate at each anniversary.

    Parameters
    ----------
    fixed : Basis
        From `basis`.
    values : mapping
        By key of a driver; numbers, or arrays of draws.
    adoption : sequence
        The share of the full use, by month.
    number : callable
        `fractions.Fraction` or `float`.
    """
    one, million, year = number(1), number(1_000_000), number(12)
    growth = whole_years = one
    change = values["price_change_per_year"]
    factor_in, factor_out = (number(factor) for factor in fixed.factors)
    for n, (month, rates) in enumerate(zip(fixed.months, fixed.rates, strict=True)):
        if n and n % 12 == 0:
            whole_years = whole_years * (one + change)
        prices = whole_years * (one + change * (number(n % 12) / year))
        days = number(days_in_month(month))
        if "sessions_per_day" in values:
            sessions = values["sessions_per_day"] * days * adoption[n] * growth
            calls = sessions * values["calls_per_session"]
        else:
            sessions = None
            calls = values["calls_per_second"] * number(86_400) * days * adoption[n] * growth
        tokens = calls * (values["input_tokens"] * factor_in)
        cached = tokens * values["cache_hit_share"]
        written = (tokens - cached) * values["cache_write_share"]
        plain = tokens - cached - written
        made = calls * (values["output_tokens"] * factor_out)
        fresh = plain * number(rates.input) + written * number(rates.cache_write)
        yield MonthOf(
            {
                "input": fresh / million * prices,
                "cached_input": cached * number(rates.cached_input) / million * prices,
                "output": made * number(rates.output) / million * prices,
                "calls": calls * number(rates.call) * prices,
                "training": _training(fixed, values, number, n == 0),
                "capacity": _capacity(fixed, values, number, days),
            },
            calls,
            sessions,
        )
        growth = growth * (one + values["growth_per_month"])


def _training(fixed: Basis, values: Mapping[str, Any], number: Number, launch: bool) -> Any:
    total = number(0)
    for name, at_launch in fixed.training:
        runs = values[f"training.{name}.runs_per_month"]
        runs = runs + number(at_launch) if launch else runs
        total = total + runs * values[f"training.{name}.usd_per_run"]
    return total


def _capacity(fixed: Basis, values: Mapping[str, Any], number: Number, days: Any) -> Any:
    total = number(0)
    for name, hours in fixed.capacity:
        gpu_hours = values[f"capacity.{name}.gpu_count"] * number(hours) * days
        total = total + gpu_hours * values[f"capacity.{name}.rate_usd_per_gpu_hour"]
    return total


def rounded(exact: Fraction) -> Decimal:
    """Round a fraction once, half to even, to 18 decimals.

    Examples
    --------
    >>> rounded(Fraction(2, 3))
    Decimal('0.666666666666666667')
    """
    units = round(exact * 10**SCALE)
    if abs(units) >= 10**38:
        raise InputError(f"a month of {float(exact):.3g} USD cannot be right", hint="look at the drivers")
    with decimal.localcontext(prec=60):
        return Decimal(units).scaleb(-SCALE)
