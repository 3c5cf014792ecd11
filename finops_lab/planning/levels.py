"""The best level of a commitment: what is paid whether used or not, against what is paid on demand.

The newsvendor's problem (Arrow, Harris and Marschak 1951): another unit is worth committing to
while demand is above the level for a larger share of the time than the unit's price is of what
use costs on demand. The cost is a convex line by pieces, so that optimum is also the lowest of all
levels. All sums are of whole numbers and fractions: nothing is rounded until the result.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import accumulate
from math import lcm

import polars as pl

from finops_lab.errors import InputError
from finops_lab.money import MONEY, SCALE, divided, exact_sum

__all__ = ["Level", "Terms", "best_level", "cost_curve"]

_CURVE: dict[str, pl.DataType | type[pl.DataType]] = {
    "level": MONEY,
    "committed": MONEY,
    "on_demand": MONEY,
    "cost": MONEY,
    "saving": MONEY,
    "utilization": pl.Float64,
    "coverage": pl.Float64,
}


@dataclass(frozen=True)
class Terms:
    """The prices of a commitment.

    Attributes
    ----------
    committed : Fraction
        Money for a unit of the level and an hour, used or not.
    on_demand : Fraction
        Money for a unit of demand in an hour without it.
    covers : Fraction
        Units of demand that a unit of the level covers.
    """

    committed: Fraction
    on_demand: Fraction
    covers: Fraction = Fraction(1)

    def __post_init__(self) -> None:
        if self.committed <= 0 or self.on_demand <= 0 or self.covers <= 0:
            raise InputError("the prices of a commitment are above zero")

    @classmethod
    def savings_plan(cls, discount: Decimal) -> Terms:
        """Return the terms of money an hour, which pays for 1 / (1 - discount) of use at its price."""
        return cls(Fraction(1), Fraction(1), 1 / (1 - Fraction(discount)))

    @classmethod
    def units(
        cls, on_demand: Decimal, *, discount: Decimal | None = None, rate: Decimal | None = None
    ) -> Terms:
        """Return the terms of units at a discount on their price on demand, or at a rate of their own."""
        price = Fraction(on_demand)
        paid = Fraction(rate) if rate is not None else price * (1 - Fraction(discount or 0))
        return cls(paid, price)

    @property
    def critical(self) -> Fraction:
        """The share of time that demand must be above the level, for the level to pay: break-even use."""
        return self.committed / (self.on_demand * self.covers)


@dataclass(frozen=True)
class Level:
    """A level of commitment and what it costs.

    Attributes
    ----------
    level : Decimal
        Units committed to; on a tie the lowest.
    up_to : Decimal
        The highest level that costs exactly as much.
    break_even : Decimal
        Share of what is committed that must be used for it to cost no more than on demand.
    committed, on_demand, cost : Decimal
        Money for the level, for demand above it, and for both.
    cost_without, saving : Decimal
        Money for all demand on demand, and what the level saves of it.
    utilization, coverage : float or None
        Share of the level that is used, share of demand that it covers; None over nothing.
    """

    level: Decimal
    up_to: Decimal
    break_even: Decimal
    committed: Decimal
    on_demand: Decimal
    cost: Decimal
    cost_without: Decimal
    saving: Decimal
    utilization: float | None
    coverage: float | None


def best_level(
    demand: pl.DataFrame,
    terms: Terms,
    *,
    hours: int | None = None,
    step: Decimal | None = None,
    most: Decimal | None = None,
    at: Decimal | None = None,
) -> Level:
    """Find the level of commitment that costs least.

    Parameters
    ----------
    demand : polars.DataFrame
        ``demand`` (Decimal or whole number, not negative) and ``weight`` (whole number: hours, or
        anything in proportion to their likelihood). Each row's demand counts as often as it weighs.
        In the place of ``demand`` may stand ``quantity``, that of the whole weight, which keeps the
        amounts exact where it does not divide.
    terms : Terms
        The prices.
    hours : int, optional
        What the amounts are of: the mean hour times so many. Default: the sum of the weights.
    step : Decimal, optional
        Levels are multiples of it. Without it any level can be had.
    most : Decimal, optional
        No level above it.
    at : Decimal, optional
        Tell the costs of this level, whatever the best one is.

    Returns
    -------
    Level

    Raises
    ------
    InputError
        No demand, a negative or unknown one, or a column is missing.

    Notes
    -----
    Without a step the level is the lowest demand that is exceeded for no more than
    `Terms.critical` of the weight. With one it is the cheaper of the two multiples around it.

    Examples
    --------
    Two machines always run, ten for a quarter of the time; a committed one costs half.

    >>> hours = pl.DataFrame({"demand": [2, 10], "weight": [75, 25]})
    >>> found = best_level(hours, Terms.units(Decimal(4), discount=Decimal("0.5")))
    >>> int(found.level), int(found.cost), int(found.saving), found.utilization
    (2, 1200, 400, 1.0)
    """
    known = _Demand.of(demand)
    size = Fraction(hours if hours is not None else known.total, known.total)
    if at is not None:
        chosen = last = Fraction(at)
    else:
        chosen, last = known.best(terms, step, most)
    return known.told(terms, chosen, last, size)


def cost_curve(
    demand: pl.DataFrame, terms: Terms, levels: Iterable[Decimal], *, hours: int | None = None
) -> pl.DataFrame:
    """Tell what levels of commitment cost.

    Parameters
    ----------
    demand, terms, hours
        As for `best_level`.
    levels : iterable of Decimal
        The levels.

    Returns
    -------
    polars.DataFrame
        Per ``level``: ``committed``, ``on_demand``, ``cost``, ``saving`` (Decimal), ``utilization``
        and ``coverage`` (Float64, 0 to 1), in the order given.

    Raises
    ------
    InputError
        As for `best_level`.

    Examples
    --------
    >>> hours = pl.DataFrame({"demand": [2, 10], "weight": [75, 25]})
    >>> terms = Terms.units(Decimal(4), discount=Decimal("0.5"))
    >>> cost_curve(hours, terms, [Decimal(0), Decimal(10)])["cost"].cast(pl.Int64).to_list()
    [1600, 2000]
    """
    known = _Demand.of(demand)
    size = Fraction(hours if hours is not None else known.total, known.total)
    rows = [known.told(terms, Fraction(level), Fraction(level), size) for level in levels]
    return pl.DataFrame(
        [[getattr(row, name) for name in _CURVE] for row in rows], schema=_CURVE, orient="row"
    )


@dataclass(frozen=True)
class _Demand:
    """Demands in order, in whole parts of a unit, and the sums from each one on."""

    unit: int  # parts of a unit
    values: list[int]
    above: list[int]  # weight of values[i:], one more for none
    amounts: list[int]  # weight x value of values[i:]

    @classmethod
    def of(cls, frame: pl.DataFrame) -> _Demand:
        name = "quantity" if "quantity" in frame.columns else "demand"
        for column in (name, "weight"):
            if column not in frame.columns:
                raise InputError(
                    "the demand has no such column", column=column, hint="it needs demand and weight"
                )
            if frame[column].null_count() or (frame[column] < 0).any():
                raise InputError("is unknown or negative in some row of the demand", column=column)
        exact = frame.schema[name].is_decimal() or frame.schema[name].is_integer()
        if not exact or not frame.schema["weight"].is_integer():
            raise InputError("demand is decimal and its weight whole: floats are not exact", column=name)
        some = frame.filter(pl.col("weight") > 0).select(
            pl.col(name).cast(MONEY), pl.col("weight").cast(pl.Int64)
        )
        if some.is_empty():
            raise InputError("there is no demand to commit to: no row has a weight")
        each = lcm(*some["weight"].unique()) if name == "quantity" else 1
        sums: dict[int, int] = defaultdict(int)
        for amount, weight in some.iter_rows():
            sums[int(amount.scaleb(SCALE)) * (each // weight if name == "quantity" else 1)] += weight
        values = sorted(sums)
        weights = [sums[value] for value in values]
        above = [*accumulate(reversed(weights), initial=0)][::-1]
        sized = [value * weight for value, weight in zip(values, weights, strict=True)]
        return cls(10**SCALE * each, values, above, [*accumulate(reversed(sized), initial=0)][::-1])

    @property
    def total(self) -> int:
        return self.above[0]

    def cost(self, terms: Terms, level: Fraction) -> tuple[Fraction, Fraction]:
        """Return the money for the level and for demand above it, of all weights."""
        covered = level * terms.covers * self.unit
        after = bisect_right(self.values, covered)
        rest = (self.amounts[after] - covered * self.above[after]) / self.unit
        return terms.committed * level * self.total, terms.on_demand * rest

    def best(self, terms: Terms, step: Decimal | None, most: Decimal | None) -> tuple[Fraction, Fraction]:
        """Return the lowest and the highest of the levels that cost least."""
        needed = terms.critical * self.total
        # Weight above nothing, then above each demand: it falls, so the first that is small enough counts.
        places = [0, *self.values]
        above = self.above
        if self.values[0] == 0:
            places, above = self.values, self.above[1:]
        first = next(i for i, weight in enumerate(above) if weight <= needed)
        low = Fraction(places[first], self.unit) / terms.covers
        tie = above[first] == needed and first + 1 < len(places)
        high = Fraction(places[first + 1], self.unit) / terms.covers if tie else low
        if step is None:
            options = {low, high}
        else:
            size = Fraction(step)
            options = {edge // size * size + more for edge in (low, high) for more in (0, size)}
        if most is not None:
            top = Fraction(most) if step is None else Fraction(most) // Fraction(step) * Fraction(step)
            options = {min(option, top) for option in options}
        costs = {option: sum(self.cost(terms, option)) for option in options}
        least = min(costs.values())
        same = sorted(option for option, cost in costs.items() if cost == least)
        return same[0], same[-1]

    def told(self, terms: Terms, level: Fraction, last: Fraction, size: Fraction) -> Level:
        if level < 0:
            raise InputError("a level of commitment is not below zero")
        committed, on_demand = self.cost(terms, level)
        whole = terms.on_demand * self.amounts[0] / self.unit
        used = (whole - on_demand) / terms.on_demand
        room = level * terms.covers * self.total
        paid, extra = _rounded(committed * size), _rounded(on_demand * size)
        cost, without = exact_sum([paid, extra]), _rounded(whole * size)
        return Level(
            _rounded(level),
            _rounded(last),
            _rounded(terms.critical),
            paid,
            extra,
            cost,
            without,
            exact_sum([without, -cost]),
            float(used / room) if room else None,
            float(used * terms.on_demand / whole) if whole else None,
        )


def _rounded(value: Fraction) -> Decimal:
    done = divided(Decimal(value.numerator), value.denominator)
    assert done is not None
    return done
