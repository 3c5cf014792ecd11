"""Betting against a hypothesis: what a gambler wins, and how soon.

A gambler with a wealth of 1 bets on every value against the hypothesis. While the hypothesis holds no
way of betting is expected to win, so a wealth of 1 / alpha is ever reached with a chance of at most
alpha (Ville): look as often as you like, stop when you like. Waudby-Smith and Ramdas, "Estimating means
of bounded random variables by betting", Journal of the Royal Statistical Society B 86 (2024).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

__all__ = ["bets", "expected_items", "log_wealth", "planned_bet"]

# Bets as parts of the wealth: several orders of size, since what wins most depends on the unknown truth.
_PARTS = (1.0, 0.9, 0.6, 0.4, 0.25, 0.15, 0.1, 0.06, 0.04, 0.02, 0.01)


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


def log_wealth(values: npt.ArrayLike, mean: float, planned: float | None = None) -> npt.NDArray[np.float64]:
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
    for part, weight in bets(planned):
        with np.errstate(divide="ignore"):  # who bets everything may lose it: -inf
            grown = np.log1p(part * (array / mean - 1))
        np.logaddexp(total, math.log(weight) + np.cumsum(grown, axis=-1), out=total)
    return total


def bets(planned: float | None) -> list[tuple[float, float]]:
    """Return the bets as parts of the wealth, with the share of the first wealth on each.

    Parameters
    ----------
    planned : float, optional
        From `planned_bet`: half of the wealth is on it.

    Returns
    -------
    list of tuple of (float, float)
        Part and share; the shares add up to 1.
    """
    if not planned:
        return [(part, 1 / len(_PARTS)) for part in _PARTS]
    return [(planned, 0.5), *((part, 0.5 / len(_PARTS)) for part in _PARTS)]
