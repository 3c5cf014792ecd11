"""A test that may be looked at after every value, and a range of the mean that holds at every look."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from finops_lab.errors import InputError
from finops_lab.tradeoffs.betting import bets, expected_items, log_wealth

__all__ = ["Sequential", "sequential"]

_LOOKS, _FEW_LOOKS, _MANY = 40, 16, 200
_LEAST, _CLOSE = 1e-9, 1e-9
_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sequential:
    """What a sequential test says, however often it was looked at.

    Attributes
    ----------
    n : int
        Values seen.
    mean, low, high : float
        Mean, and a range for the true mean that held at every look so far: each end is right with a
        chance of 1 - alpha.
    reference : float
        What the mean is compared with.
    above, below : int or None
        After how many values it was proven that the true mean is above, or below, the reference.
    decided : str or None
        ``above`` or ``below``, whichever was proven first.
    expected_n : int or None
        Values in all after which it should be decided, were mean and spread to stay as they are; null
        where it is decided, or nothing is to be expected.
    path : polars.DataFrame
        By look, sorted: ``n`` (Int64), ``mean``, ``low``, ``high``, ``wealth_above``,
        ``wealth_below`` (Float64; natural logarithms of the wealth won so far at most).
    """

    n: int
    mean: float
    low: float
    high: float
    reference: float
    above: int | None
    below: int | None
    decided: str | None
    expected_n: int | None
    path: pl.DataFrame


def sequential(
    values: Sequence[float] | pl.Series | npt.NDArray[np.float64],
    *,
    reference: float,
    bounds: tuple[float, float] = (-1.0, 1.0),
    alpha: float | tuple[float, float] = 0.05,
    planned: tuple[str, float] | None = None,
    looks: int = _LOOKS,
) -> Sequential:
    """Test whether a mean is above or below a reference, valid at every look.

    Parameters
    ----------
    values : sequence of float
        In the order in which they came, between the bounds: such as canary minus baseline, item by
        item. Given those before it, each must have the mean that is asked about.
    reference : float
        Such as minus the margin of non-inferiority.
    bounds : tuple of float
        Least and largest value there can be.
    alpha : float or tuple of float
        Chance of a wrong decision over all looks together: of ``above`` and of ``below``, one for both
        or one for each.
    planned : tuple, optional
        Direction (``above`` or ``below``) and bet that half of the wealth is put on:
        `finops_lab.tradeoffs.betting.planned_bet`.
    looks : int
        Rows of the path at most, spread evenly over the values; the moment of a decision is one more.

    Returns
    -------
    Sequential

    Raises
    ------
    InputError
        A value that is null, NaN or beyond the bounds; a reference that is not between them.

    Examples
    --------
    >>> found = sequential([1, 0, 0, 1, 0] * 40, reference=-0.05)
    >>> found.decided, found.above, found.low > -0.05
    ('above', 14, True)
    """
    low_end, high_end = bounds
    alphas = alpha if isinstance(alpha, tuple) else (alpha, alpha)
    if not low_end < reference < high_end or not all(0 < each < 1 for each in alphas):
        raise InputError(
            f"the reference {reference:g} must be between {low_end:g} and {high_end:g}, alpha between 0 and 1"
        )
    array = _checked(values, bounds)
    n, width = array.size, high_end - low_end
    if not n:
        nothing = pl.DataFrame(schema=_PATH)
        return Sequential(0, math.nan, low_end, high_end, reference, None, None, None, None, nothing)
    units, at = (array - low_end) / width, (reference - low_end) / width
    plans = {name: planned[1] if planned and planned[0] == name else None for name in ("above", "below")}
    limits = {name: math.log(1 / each) for name, each in zip(plans, alphas, strict=True)}
    ways = {"above": (units, at, plans["above"]), "below": (1 - units, 1 - at, plans["below"])}
    won = {name: np.maximum.accumulate(log_wealth(*way)) for name, way in ways.items()}
    first = {
        name: int(np.argmax(w >= limits[name])) + 1 if w[-1] >= limits[name] else None
        for name, w in won.items()
    }
    if np.unique(array).size > _MANY:  # every look works through every value that there is
        looks = min(looks, _FEW_LOOKS)
    seen = {n, *(k for k in first.values() if k), *np.linspace(1, n, min(looks, n)).round().astype(int)}
    at_looks = np.array(sorted(seen))
    ends = {
        name: _bounds(way[0], at_looks, way[2], limits[name], way[1], first[name])
        for name, way in ways.items()
    }
    means = np.cumsum(array)[at_looks - 1] / at_looks
    path = pl.DataFrame(
        {
            "n": at_looks,
            "mean": means,
            "low": low_end + width * ends["above"],
            "high": high_end - width * ends["below"],
            "wealth_above": won["above"][at_looks - 1],
            "wealth_below": won["below"][at_looks - 1],
        },
        schema=_PATH,
    )
    proven = sorted((k, name) for name, k in first.items() if k is not None)
    mean = float(means[-1])
    below = mean < reference
    reach = high_end - reference if below else reference - low_end
    expected = None
    if not proven:
        expected = expected_items(
            mean - reference, float(array.var()), alpha=alphas[below], weight=0.1, reach=reach
        )
    return Sequential(
        n=n,
        mean=mean,
        low=float(path["low"][-1]),
        high=float(path["high"][-1]),
        reference=reference,
        above=first["above"],
        below=first["below"],
        decided=proven[0][1] if proven else None,
        expected_n=None if expected is None else max(expected, n + 1),
        path=path,
    )


_PATH = {"n": pl.Int64} | dict.fromkeys(("mean", "low", "high", "wealth_above", "wealth_below"), pl.Float64)


def _bounds(
    units: _Floats, looks: _Floats, planned: float | None, limit: float, at: float, first: int | None
) -> _Floats:
    """Return the largest mean that is refuted as too small by each look; 0 where none is."""
    from scipy.optimize import brentq

    parts, weights = (np.array(side) for side in zip(*bets(planned), strict=True))
    found, best = np.zeros(len(looks)), 0.0
    for place, look in enumerate(looks):
        seen, counts = np.unique(units[:look], return_counts=True)

        def over(mean: float, seen: _Floats = seen, counts: npt.NDArray[np.intp] = counts) -> float:
            with np.errstate(divide="ignore"):
                grown = np.log(weights) + np.log1p(parts[:, None] * (seen / mean - 1)) @ counts
            return float(np.logaddexp.reduce(grown) - limit)

        # No bet wins against the mean of the values themselves: the bound lies below it.
        middle = float(units[:look].mean())
        if middle > best and over(max(best, _LEAST)) > 0:
            best = max(best, float(brentq(over, max(best, _LEAST), middle, xtol=_CLOSE)) - _CLOSE)
        if first is not None and look >= first:
            best = max(best, at)
        found[place] = best
    return found


def _checked(values: Sequence[float] | pl.Series | _Floats, bounds: tuple[float, float]) -> _Floats:
    series = pl.Series("value", values).cast(pl.Float64)
    wrong = ~series.is_between(*bounds).fill_null(False) | series.is_nan().fill_null(True)
    if wrong.any():
        row = int(wrong.arg_true()[0])
        raise InputError(
            f"{series[row]} is not between {bounds[0]:g} and {bounds[1]:g}",
            row=row + 1,
            hint="leave out items without an outcome, and scale values to their bounds",
        )
    return series.to_numpy()
