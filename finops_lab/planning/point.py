"""The point estimate: every driver at one value, in fractions, rounded once to money."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from finops_lab.money import exact_sum
from finops_lab.planning.formula import COMPONENTS, Basis, by_month, rounded

__all__ = ["Point", "point", "total"]


@dataclass(frozen=True)
class Point:
    """A month's exact amounts by component, with their sum, and the calls and sessions behind them."""

    amounts: dict[str, Decimal]
    calls: Fraction
    sessions: Fraction | None

    @property
    def total(self) -> Decimal:
        """The sum of the components."""
        return exact_sum(self.amounts.values())


def point(fixed: Basis, values: Mapping[str, Decimal], adoption: Sequence[Decimal]) -> list[Point]:
    """Work out the months with every driver at a value."""
    exact = {key: Fraction(value) for key, value in values.items()}
    curve = [Fraction(share) for share in adoption]
    return [
        Point({name: rounded(month.amounts[name]) for name in COMPONENTS}, month.calls, month.sessions)
        for month in by_month(fixed, exact, curve, Fraction)
    ]


def total(fixed: Basis, values: Mapping[str, Decimal], adoption: Sequence[Decimal]) -> Decimal:
    """Return the total of the whole horizon."""
    return exact_sum(month.total for month in point(fixed, values, adoption))
