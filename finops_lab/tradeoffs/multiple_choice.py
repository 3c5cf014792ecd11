"""The linear multiple-choice knapsack: one option per query, most value within a limit of what it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Climb", "Solved", "climb", "reach", "spend", "total", "under_both"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
# 30 x 0.1 is above 3 in binary: sums this close to a limit are at it.
_SLACK = 1e-12


# Rounds of the outer search; each takes an intersection of two lines, and a few dozen do.
_ROUNDS = 500


@dataclass(frozen=True)
class Solved:
    """The optimum of a linear relaxation.

    Attributes
    ----------
    mix : tuple of (float, numpy.ndarray)
        Shares that add up to 1, each with the option of every query.
    worth : float or None
        What a unit more of what is limited would gain; None where nothing more can be had.
    """

    mix: tuple[tuple[float, Ints], ...]
    worth: float | None


@dataclass(frozen=True)
class Climb:
    """The cheapest option of every query, and the steps up from there, the most worthwhile first.

    Attributes
    ----------
    base : numpy.ndarray
        Option of each query that takes least (the best of equals).
    query, option : numpy.ndarray
        The steps: whose, and up to which option. Steps of one query come in their order.
    takes, gains : numpy.ndarray
        What each step takes more and gains.
    worth : numpy.ndarray
        Gain for each unit taken, never rising.
    least, low : float
        What the base takes in all, and its value.
    """

    base: Ints
    query: Ints
    option: Ints
    takes: Floats
    gains: Floats
    worth: Floats
    least: float
    low: float


def climb(takes: Floats, value: Floats) -> Climb:
    """Order every query's worthwhile steps, from its cheapest option up its concave hull.

    Parameters
    ----------
    takes, value : numpy.ndarray
        Queries x options; an option whose `takes` is NaN is not offered. Each query has one at least.

    Returns
    -------
    Climb

    Notes
    -----
    Sinha and Zoltners, "The Multiple-Choice Knapsack Problem", Operations Research 27(3), 1979: the
    linear relaxation takes steps along each class's hull in order of gain per unit (Kellerer, Pferschy
    and Pisinger, "Knapsack Problems", 2004, section 11.2). The hull is walked for all queries at once,
    each time to the option of the steepest rise, the farthest of equals.

    Examples
    --------
    >>> found = climb(np.array([[1.0, 2.0, 4.0]]), np.array([[0.0, 3.0, 4.0]]))
    >>> found.option.tolist(), found.worth.tolist()
    ([1, 2], [3.0, 0.5])
    """
    offered = ~np.isnan(takes)
    # A row per option: loops over few options run through many queries at once.
    take, high = np.where(offered, takes, np.inf).T.copy(), np.where(offered, value, -np.inf).T.copy()
    here, there, base = take[0].copy(), high[0].copy(), np.zeros(take.shape[1], dtype=np.int64)
    for option in range(1, len(take)):
        better = (take[option] < here) | ((take[option] == here) & (high[option] > there))
        here[better], there[better], base[better] = take[option][better], high[option][better], option
    least, low = float(here.sum()), float(there.sum())
    left, steep = np.arange(len(base)), np.full(len(base), np.inf)
    parts: list[tuple[Ints, Ints, Floats, Floats, Floats]] = []
    while left.size:
        to, more, gain, slope = _steepest(take, high, left, here, there)
        goes = np.flatnonzero(to >= 0)
        left, to = left[goes], to[goes]
        # Rounding may make a later step a hair steeper than the one it has to wait for.
        steep = np.minimum(steep[goes], slope[goes])
        parts.append((left, to, more[goes], gain[goes], steep))
        here, there = take[to, left], high[to, left]
    query, reached, takes_more, gains, worth = (np.concatenate(part) for part in zip(*parts, strict=True))
    # Stable: of equally worthwhile steps of a query the first stays first.
    order = np.argsort(-worth, kind="stable")
    return Climb(
        base, query[order], reached[order], takes_more[order], gains[order], worth[order], least, low
    )


def _steepest(
    take: Floats, high: Floats, left: Ints, here: Floats, there: Floats
) -> tuple[Ints, Floats, Floats, Floats]:
    """Return by query the option of the steepest rise, the farthest of equals, -1 where none rises."""
    to = np.full(left.size, -1)
    more, gain, best = np.zeros(left.size), np.zeros(left.size), np.zeros(left.size)
    for option in range(len(take)):
        rise = (high[option] if left.size == high.shape[1] else high[option][left]) - there
        up = np.flatnonzero(rise > 0)
        far, rise = take[option][left[up]] - here[up], rise[up]
        dearer = far > 0
        up, far, rise = up[dearer], far[dearer], rise[dearer]
        with np.errstate(over="ignore"):
            slope = rise / far
        wins = (slope > best[up]) | ((slope == best[up]) & (far > more[up]))
        at = up[wins]
        to[at], more[at], gain[at], best[at] = option, far[wins], rise[wins], slope[wins]
    return to, more, gain, best


def spend(steps: Climb, limit: float) -> Solved | None:
    """Take the most worthwhile steps that the limit pays for; the last one in part.

    Parameters
    ----------
    steps : Climb
        From `climb`.
    limit : float
        What may be taken in all.

    Returns
    -------
    Solved or None
        The first of its mix is within the limit. None where even the base is not.

    Examples
    --------
    >>> steps = climb(np.array([[1.0, 3.0]]), np.array([[0.0, 1.0]]))
    >>> [(share, option.tolist()) for share, option in spend(steps, 2.0).mix]
    [(0.5, [0]), (0.5, [1])]
    """
    slack = _SLACK * abs(limit)
    if steps.least > limit + slack:
        return None
    return _until(steps, steps.takes, limit - steps.least, slack)


def reach(steps: Climb, goal: float) -> Solved | None:
    """Take the most worthwhile steps until their value is reached; the last one in part.

    Parameters
    ----------
    steps : Climb
        From `climb`.
    goal : float
        The value wanted in all.

    Returns
    -------
    Solved or None
        The last of its mix reaches the goal. None where all steps together do not.

    Examples
    --------
    >>> steps = climb(np.array([[1.0, 3.0]]), np.array([[0.0, 1.0]]))
    >>> [(share, option.tolist()) for share, option in reach(steps, 0.25).mix]
    [(0.75, [0]), (0.25, [1])]
    """
    slack = _SLACK * abs(goal)
    if steps.low + float(steps.gains.sum()) < goal - slack:
        return None
    return _until(steps, steps.gains, goal - steps.low, slack)


def _until(steps: Climb, amounts: Floats, room: float, slack: float) -> Solved:
    done = np.cumsum(amounts)
    count = int(np.searchsorted(done, room + slack, side="right"))
    option = steps.base.copy()
    # Of several steps of a query the last one written stays, and that is its highest.
    option[steps.query[:count]] = steps.option[:count]
    worth = float(steps.worth[count]) if count < len(done) else None
    rest = room - (float(done[count - 1]) if count else 0.0)
    if count == len(done) or rest <= slack:
        return Solved(((1.0, option),), worth)
    share = rest / float(amounts[count])
    upper = option.copy()
    upper[steps.query[count]] = steps.option[count]
    return Solved(((1.0 - share, option), (share, upper)), worth)


def total(mix: tuple[tuple[float, Ints], ...], of: Floats) -> float:
    """Add up what the options of a mix take, gain or last.

    Examples
    --------
    >>> total(((0.5, np.array([0])), (0.5, np.array([1]))), np.array([[1.0, 3.0]]))
    2.0
    """
    rows = np.arange(len(of))
    return float(sum(share * of[rows, option].sum() for share, option in mix))


def under_both(
    solve: Callable[[float], Solved],
    objective: Floats,
    load: Floats,
    limit: float,
    feasible: Solved,
) -> Solved:
    """Minimise under a second limit, by searching the price of what it limits.

    Parameters
    ----------
    solve : callable
        Minimises objective + price x load under the first limit, for a price from 0 up.
    objective, load : numpy.ndarray
        Queries x options.
    limit : float
        What the load may be in all.
    feasible : Solved
        Any solution within both limits.

    Returns
    -------
    Solved
        The optimum of the linear relaxation with both limits.

    Notes
    -----
    The dual is concave and piecewise linear in the price: two solutions, one above the limit and one
    within it, give two lines above it, and their intersection is either its top or a price at which a
    better solution is found (Dantzig and Wolfe, "Decomposition Principle for Linear Programs",
    Operations Research 8(1), 1960, for one price). At the top the two are mixed so that the limit is met.

    Examples
    --------
    >>> takes, slow = np.array([[1.0, 3.0]]), np.array([[1.0, 0.0]])
    >>> quickest = Solved(((1.0, np.array([1])),), None)
    >>> found = under_both(lambda price: reach(climb(takes + price * slow, 0 * takes), 0.0), takes, slow, 0.5,
    ...     quickest)
    >>> total(found.mix, takes)
    2.0
    """
    over, within = solve(0.0), feasible
    if total(over.mix, load) <= limit + _SLACK * abs(limit):
        return over
    worth = over.worth
    for _ in range(_ROUNDS):
        above, below = total(over.mix, load) - limit, limit - total(within.mix, load)
        low, high = total(over.mix, objective), total(within.mix, objective)
        price = max(high - low, 0.0) / (above + below)
        found = solve(price)
        worth = found.worth
        excess = total(found.mix, load) - limit
        top = low + price * above
        if total(found.mix, objective) + price * excess >= top - _SLACK * max(abs(top), abs(high)):
            break
        if excess > 0:
            over = found
        else:
            within = found
    share = below / (above + below)
    parts = [(share * part, option) for part, option in over.mix]
    parts += [((1.0 - share) * part, option) for part, option in within.mix]
    return Solved(tuple((part, option) for part, option in parts if part > 0), worth)
