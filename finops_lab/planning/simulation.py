"""Monte Carlo of a planned feature: what the ranges of its drivers make of each month."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from finops_lab.config.feature_plan import AmountRange
from finops_lab.planning.drivers import ADOPTION, Driver, stream, triangular
from finops_lab.planning.formula import COMPONENTS, Basis, by_month

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Draws = NDArray[np.float64]

__all__ = ["PERCENTS", "Simulated", "adoption_of", "draws_of", "percentile", "simulate", "told", "totals"]

PERCENTS = (10, 50, 90)
# What a month, and the whole horizon, is told by: the components, their sum, and costs of a unit.
Figures = dict[str, "Draws"]


@dataclass(frozen=True)
class Simulated:
    """Draws of the whole horizon, and the statistics of each month.

    Attributes
    ----------
    months : list of dict
        Per month: by component, ``total`` and unit (``per call``, ``per session``, ``per
        customer``) the 10th, 50th and 90th percentile and the mean.
    whole : dict
        The same of the whole horizon.
    covered : list of float or None
        Share of draws in which a unit's revenue covers its cost, by month; the whole horizon last.
    total : numpy.ndarray
        The whole horizon's total, by draw.
    """

    months: list[dict[str, tuple[float, ...]]]
    whole: dict[str, tuple[float, ...]]
    covered: list[float | None]
    total: Draws


def draws_of(drivers: Sequence[Driver], seed: int, count: int) -> dict[str, Any]:
    """Draw each driver from its range; one without a range is a plain number."""
    import numpy as np

    found: dict[str, Any] = {}
    for one in drivers:
        low, likely, high = float(one.low), float(one.likely), float(one.high)
        if one.ranged:
            u = np.random.Generator(stream(seed, one.key)).random(count)
            found[one.key] = triangular(u, low, likely, high)
        else:
            found[one.key] = likely
    return found


def adoption_of(curve: Sequence[AmountRange], seed: int, count: int) -> list[Any]:
    """Draw the curve of adoption: its months move together, so that a slow start is slow throughout."""
    import numpy as np

    if all(one.low == one.high for one in curve):
        return [float(one.likely) for one in curve]
    u = np.random.Generator(stream(seed, ADOPTION)).random(count)
    return [triangular(u, float(one.low), float(one.likely), float(one.high)) for one in curve]


def percentile(draws: Draws, percent: int) -> float:
    """Return a quantile by the inverse of the empirical distribution: one of the draws, never between two.

    Examples
    --------
    >>> import numpy as np
    >>> percentile(np.array([4.0, 1.0, 3.0, 2.0]), 50)
    2.0
    """
    import numpy as np

    place = max(-(-draws.size * percent // 100) - 1, 0)
    return float(np.partition(draws, place)[place])


def told(draws: Draws) -> tuple[float, ...]:
    """Return the 10th, 50th and 90th percentile and the mean."""
    import numpy as np

    # One after the other, which gives the same digits everywhere; sum() goes by the machine's vectors.
    added = float(np.add.accumulate(draws)[-1])
    return (*(percentile(draws, percent) for percent in PERCENTS), added / draws.size)


def simulate(
    fixed: Basis,
    drivers: Sequence[Driver],
    adoption: Sequence[AmountRange],
    *,
    seed: int,
    draws: int,
    revenue: Mapping[str, Any] | None = None,
) -> Simulated:
    """Draw every driver `draws` times and work the formula out for all draws at once.

    Parameters
    ----------
    fixed : Basis
        What is no driver.
    drivers : sequence of Driver
        From `finops_lab.planning.drivers.drivers`.
    adoption : sequence of AmountRange
        By month.
    seed, draws : int
        The same seed gives the same draws on every platform.
    revenue : mapping, optional
        What a unit (``call``, ``session``, ``customer``) brings, in USD.
    """
    import numpy as np

    values = draws_of(drivers, seed, draws)
    curve = adoption_of(adoption, seed, draws)
    zero = np.zeros(draws)
    sums: Figures = dict.fromkeys((*COMPONENTS, "total"), zero)
    calls, sessions = zero, zero
    months, covered = [], []
    for month in by_month(fixed, values, curve, float):
        amounts = {name: np.broadcast_to(month.amounts[name], draws) for name in COMPONENTS}
        amounts["total"] = _added(list(amounts.values()))
        units = _units(amounts["total"], month.calls, month.sessions, values)
        months.append({name: told(several) for name, several in (amounts | units).items()})
        covered.append(_covered(units, revenue))
        sums = {name: sums[name] + amounts[name] for name in sums}
        calls = calls + month.calls
        sessions = sessions + (0.0 if month.sessions is None else month.sessions)
    units = _units(sums["total"], calls, None if "calls_per_second" in values else sessions, values)
    whole = {name: told(several) for name, several in (sums | units).items()}
    return Simulated(months, whole, [*covered, _covered(units, revenue)], sums["total"])


def totals(fixed: Basis, values: Mapping[str, Any], adoption: Sequence[Any]) -> Any:
    """Return the total of the whole horizon, of numbers or of arrays of draws."""
    total: Any = 0.0
    for month in by_month(fixed, values, adoption, float):
        total = total + _added([month.amounts[name] for name in COMPONENTS])
    return total


def _added(amounts: list[Any]) -> Any:
    # One after the other: sum() of an array would add in an order of its own.
    total = amounts[0]
    for amount in amounts[1:]:
        total = total + amount
    return total


def _units(total: Any, calls: Any, sessions: Any, values: Mapping[str, Any]) -> Figures:
    """Return what a call, a session and a customer's month cost, where there are any in every draw."""
    import numpy as np

    counts = {"per call": calls}
    if sessions is not None:
        counts["per session"] = sessions
        if "sessions_per_customer" in values:
            counts["per customer"] = sessions / values["sessions_per_customer"]
    return {
        name: np.broadcast_to(total / count, total.shape)
        for name, count in counts.items()
        if np.min(count) > 0
    }


def _covered(units: Figures, revenue: Mapping[str, Any] | None) -> float | None:
    import numpy as np

    for unit, amount in (revenue or {}).items():
        if f"per {unit}" in units:
            return float(np.mean(units[f"per {unit}"] <= float(amount)))
    return None
