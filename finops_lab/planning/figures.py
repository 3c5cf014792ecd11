"""What a plan comes to with one of its models: months, the whole horizon, and costs of a unit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import polars as pl

from finops_lab.config.feature_plan import FeaturePlan, PlannedModel
from finops_lab.errors import InputError
from finops_lab.money import MONEY, exact_sum
from finops_lab.planning.drivers import Driver, adoption
from finops_lab.planning.formula import COMPONENTS, Basis, rounded
from finops_lab.planning.point import Point, point
from finops_lab.planning.simulation import Simulated, simulate

__all__ = ["Figures", "Served", "figures"]

_STATISTICS: dict[str, pl.DataType | type[pl.DataType]] = {
    "p10": pl.Float64,
    "p50": pl.Float64,
    "p90": pl.Float64,
    "mean": pl.Float64,
}
_MONTHS: dict[str, pl.DataType | type[pl.DataType]] = {
    "month": pl.Date,
    "component": pl.String,
    "amount": MONEY,
    **_STATISTICS,
}
_UNITS: dict[str, pl.DataType | type[pl.DataType]] = {
    "month": pl.Date,
    "unit": pl.String,
    "amount": MONEY,
    **_STATISTICS,
    "revenue": MONEY,
    "chance_covered": pl.Float64,
}


@dataclass(frozen=True)
class Served:
    """A plan served by one of its models: what its formula needs.

    Attributes
    ----------
    model : PlannedModel
        The model.
    basis : Basis
        What is no driver; its prices among it.
    drivers : list of Driver
        What is.
    """

    model: PlannedModel
    basis: Basis
    drivers: list[Driver]

    @property
    def likely(self) -> dict[str, Decimal]:
        """Every driver at its likely value."""
        return {one.key: one.likely for one in self.drivers}


@dataclass(frozen=True)
class Figures:
    """What a plan comes to. Amounts are USD.

    Attributes
    ----------
    months, horizon, units : polars.DataFrame
        As of `finops_lab.planning.feature_budget.FeatureBudget`.
    chance_above : float
        Share of draws in which the whole horizon costs more than its point estimate.
    """

    months: pl.DataFrame
    horizon: pl.DataFrame
    units: pl.DataFrame
    chance_above: float

    @property
    def total(self) -> dict[str, Any]:
        """The whole horizon's total: ``amount``, ``p10``, ``p50``, ``p90``, ``mean``."""
        return self.horizon.filter(component="total").row(0, named=True)


def figures(plan: FeaturePlan, one: Served, values: Mapping[str, Decimal] | None = None) -> Figures:
    """Work out what a plan comes to.

    Parameters
    ----------
    plan : FeaturePlan
        The plan.
    one : Served
        With which model.
    values : mapping, optional
        Drivers to hold at a value, by key; the others keep their ranges and their draws.

    Raises
    ------
    InputError
        When a key is none of the drivers.
    """
    held = dict(values or {})
    if unknown := sorted(set(held) - {driver.key for driver in one.drivers}):
        raise InputError(
            f"{unknown[0]!r} is no driver of this plan",
            hint=f"drivers are {', '.join(driver.key for driver in one.drivers)}",
        )
    several = [
        replace(d, low=held[d.key], likely=held[d.key], high=held[d.key]) if d.key in held else d
        for d in one.drivers
    ]
    curve = adoption(plan)
    values = {driver.key: driver.likely for driver in several}
    exact = point(one.basis, values, [share.likely for share in curve])
    revenue = plan.revenue.per if plan.revenue else {}
    drawn = simulate(one.basis, several, curve, seed=plan.seed, draws=plan.draws, revenue=revenue)
    customers = values.get("sessions_per_customer")
    months = pl.DataFrame(list(_months(one, exact, drawn)), schema=_MONTHS, orient="row")
    horizon = pl.DataFrame(list(_horizon(exact, drawn)), schema=_MONTHS, orient="row").drop("month")
    used = horizon.filter((pl.col("amount") != 0) | (pl.col("mean") != 0))["component"]
    kept = pl.col("component").is_in([*used, "total"])
    units = list(_units(one, exact, drawn, customers, revenue))
    # Doubles of the same amount may differ in their last digit: that is not above.
    above = drawn.total > float(exact_sum(month.total for month in exact)) * (1 + 1e-9)
    return Figures(
        months.filter(kept),
        horizon.filter(kept),
        pl.DataFrame(units, schema=_UNITS, orient="row"),
        float(above.mean()),
    )


def _months(one: Served, exact: list[Point], drawn: Simulated) -> Iterator[tuple[Any, ...]]:
    for month, amounts, figures in zip(one.basis.months, exact, drawn.months, strict=True):
        for name in COMPONENTS:
            yield month, name, amounts.amounts[name], *figures[name]
        yield month, "total", amounts.total, *figures["total"]


def _horizon(exact: list[Point], drawn: Simulated) -> Iterator[tuple[Any, ...]]:
    for name in COMPONENTS:
        yield None, name, exact_sum(month.amounts[name] for month in exact), *drawn.whole[name]
    yield None, "total", exact_sum(month.total for month in exact), *drawn.whole["total"]


def _units(
    one: Served,
    exact: list[Point],
    drawn: Simulated,
    customers: Decimal | None,
    revenue: Mapping[str, Decimal],
) -> Iterator[tuple[Any, ...]]:
    calls = sum((month.calls for month in exact), Fraction(0))
    sessions = (
        None if exact[0].sessions is None else sum((m.sessions or Fraction(0) for m in exact), Fraction(0))
    )
    whole = exact_sum(month.total for month in exact)
    told = [
        (month, amounts.total, amounts.calls, amounts.sessions, figures)
        for month, amounts, figures in zip(one.basis.months, exact, drawn.months, strict=True)
    ]
    for (month, total, made, held, figures), covered in zip(
        [*told, (None, whole, calls, sessions, drawn.whole)], drawn.covered, strict=True
    ):
        counts = {"call": made, "session": held}
        if customers is not None and held is not None:
            counts["customer"] = held / Fraction(customers)
        for unit, count in counts.items():
            if count is None:
                continue
            amount = rounded(Fraction(total) / count) if count else None
            statistics = figures.get(f"per {unit}", (None,) * len(_STATISTICS))
            chance = covered if unit in revenue else None
            yield month, unit, amount, *statistics, revenue.get(unit), chance
