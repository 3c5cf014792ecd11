"""Tests that may be looked at after every item: betting martingales and the intervals they give.

A gambler with a wealth of 1 bets on every value against the hypothesis. While the hypothesis holds no
way of betting is expected to win, so a wealth of 1 / alpha is ever reached with a chance of at most
alpha (Ville): look as often as you like, stop when you like. Waudby-Smith and Ramdas, "Estimating means
of bounded random variables by betting", Journal of the Royal Statistical Society B 86 (2024).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from finops_lab.errors import InputError

__all__ = ["Sequential", "expected_items", "log_wealth", "planned_bet", "sequential"]

# Bets as parts of the wealth: several orders of size, since what wins most depends on the unknown truth.
_PARTS = (1.0, 0.9, 0.6, 0.4, 0.25, 0.15, 0.1, 0.06, 0.04, 0.02, 0.01)
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


def planned_bet(effect: float, spread: float, reference: float, bounds: tuple[float, float]) -> float:
    """Return the part of the wealth to bet on an effect that is planned for.

    Parameters
    ----------
    effect : float
        How far above the reference the true mean is taken to be.
    spread : float
        Variance of the values, for small differences of yes or no their share of disagreement.
    reference : float
        The mean under the hypothesis.
    bounds : tuple of float
        Least and largest value there can be.

    Returns
    -------
    float
        Between 0 and 0.95: about what makes the wealth grow fastest (Kelly), effect / (spread + effect^2)
        in units of what a value can lose.

    Examples
    --------
    >>> round(planned_bet(0.005, 0.0093, -0.005, (-1, 1)), 2)
    0.53
    """
    return min(max(effect / (spread + effect**2) * (reference - bounds[0]), 0.0), 0.95)


def expected_items(
    effect: float, spread: float, *, alpha: float = 0.05, weight: float = 0.5, reach: float = 1.0
) -> int | None:
    """Return after about how many values a sequential test decides.

    Parameters
    ----------
    effect : float
        Distance of the true mean from the reference.
    spread : float
        Variance of the values.
    alpha : float
        Chance of a wrong decision.
    weight : float
        Part of the wealth on the right bet: 0.5 where the effect was planned for.
    reach : float
        How far the reference is from the bound that lies on the other side of it than the true mean: what
        a bet can lose, so that a value wins effect / reach at most.

    Returns
    -------
    int or None
        2 x spread x log(1 / (alpha x weight)) / effect^2: the logarithm of the wealth of the best bet
        grows by effect^2 / (2 x spread) a value. About the median. Never fewer than where every value
        wins all that it can. None where the effect is 0.

    Examples
    --------
    >>> expected_items(0.005, 0.0093)
    2745
    """
    if effect == 0:
        return None
    goal, effect = math.log(1 / (alpha * weight)), abs(effect)
    return math.ceil(max(2 * spread * goal / effect**2, goal / math.log1p(effect / reach)))


def log_wealth(values: npt.ArrayLike, mean: float, planned: float | None = None) -> _Floats:
    """Return the logarithm of the wealth won against "the mean is at most so much", after each value.

    The wealth is shared among bets of several sizes, each a fixed part f of what it has grown to; a
    value x multiplies it by 1 - f + f x / mean, which is expected to be at most 1 while the hypothesis
    holds. Half of the wealth is on the planned bet, if there is one. Fixed parts make the wealth fall
    with the mean that is bet against, so that the means not yet refuted are one interval.

    Parameters
    ----------
    values : array-like
        Between 0 and 1; in the last axis in the order in which they came. Other axes are other runs.
    mean : float
        Above 0 and at most 1.
    planned : float, optional
        From `planned_bet`.

    Returns
    -------
    numpy.ndarray
        Of the shape of `values`.

    Examples
    --------
    Twenty values of 1 against a mean of at most 0.5.

    >>> bool(log_wealth([1.0] * 20, 0.5)[-1] > math.log(1 / 0.05))
    True
    """
    array = np.asarray(values, dtype=np.float64)
    total = np.full(array.shape, -np.inf)
    for part, weight in _bets(planned):
        with np.errstate(divide="ignore"):  # who bets everything may lose it: -inf
            grown = np.log1p(part * (array / mean - 1))
        np.logaddexp(total, math.log(weight) + np.cumsum(grown, axis=-1), out=total)
    return total


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
        Direction (``above`` or ``below``) and bet (`planned_bet`) that half of the wealth is put on.
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
    bets = {name: planned[1] if planned and planned[0] == name else None for name in ("above", "below")}
    limits = {name: math.log(1 / each) for name, each in zip(bets, alphas, strict=True)}
    ways = {"above": (units, at, bets["above"]), "below": (1 - units, 1 - at, bets["below"])}
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


def _bets(planned: float | None) -> list[tuple[float, float]]:
    """Return parts and the share of the first wealth on each."""
    if not planned:
        return [(part, 1 / len(_PARTS)) for part in _PARTS]
    return [(planned, 0.5), *((part, 0.5 / len(_PARTS)) for part in _PARTS)]


def _bounds(
    units: _Floats, looks: _Floats, planned: float | None, limit: float, at: float, first: int | None
) -> _Floats:
    """Return the largest mean that is refuted as too small by each look; 0 where none is."""
    from scipy.optimize import brentq

    parts, weights = (np.array(side) for side in zip(*_bets(planned), strict=True))
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
