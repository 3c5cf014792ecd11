"""Right and wrong answers of two variants on the same items: the ratio of their shares of right answers.

"Less than 0.5 % accuracy loss" may mean half a percentage point (`paired.paired_difference`) or half a
percent of the baseline's accuracy: that is the ratio here.
"""

from __future__ import annotations

import math
from statistics import NormalDist

from finops_lab.errors import InputError
from finops_lab.tradeoffs.paired import Interval, check_counts, two_sided

__all__ = ["paired_ratio", "relatively_worse_by"]

# A double has 53 bits: halving the range this often leaves nothing to halve.
_HALVINGS = 60


def paired_ratio(both: int, gained: int, lost: int, items: int, *, coverage: float = 0.90) -> Interval:
    """Estimate the candidate's share of right answers over the baseline's.

    Parameters
    ----------
    both, gained, lost, items : int
        Items both get right, only the candidate, only the baseline; all items.
    coverage : float
        How often the interval should hold the truth.

    Returns
    -------
    Interval
        A ratio: 0.995 is a relative loss of half a percent.

    Raises
    ------
    InputError
        Counts that cannot be, or a baseline that is never right.

    Notes
    -----
    The score interval of Nam and Blackwelder, "Analysis of the ratio of marginal probabilities in a
    matched-pair setting", Statistics in Medicine 21, 2002.

    Examples
    --------
    The screening example of Tang, Tang and Chan (2003):

    >>> [round(end, 3) for end in paired_ratio(446, 5, 16, 1157)]
    [0.976, 0.958, 0.992]
    """
    _check(both, gained, lost, items)
    z = two_sided(coverage)
    estimate = (both + gained) / (both + lost)
    # Were the two swapped, the ratio would be one over itself, and so would the ends.
    high = _upper(both, gained, lost, items, z)
    low = 1 / _upper(both, lost, gained, items, z) if both + gained else 0.0
    return Interval(estimate, low, high)


def relatively_worse_by(both: int, gained: int, lost: int, items: int, *, margin: float) -> float:
    """Test whether the candidate is worse by the margin, a share of the baseline's, or more.

    Parameters
    ----------
    both, gained, lost, items : int
        Counts as in `paired_ratio`.
    margin : float
        Relative loss that is too much, from 0 up to below 1.

    Returns
    -------
    float
        One-sided p-value; small: the loss is proven to be less. It is below (1 - coverage) / 2 exactly
        when the interval of `paired_ratio` is above 1 - margin.

    Raises
    ------
    InputError
        Counts that cannot be, a baseline that is never right, or a margin outside its range.

    Examples
    --------
    >>> round(relatively_worse_by(3950, 20, 30, 5000, margin=0.005), 3)
    0.088
    """
    _check(both, gained, lost, items)
    if not 0 <= margin < 1:
        raise InputError(f"a margin lies from 0 up to below 1, not {margin}")
    return NormalDist().cdf(-_score(both, gained, lost, items, 1 - margin))


def _check(both: int, gained: int, lost: int, items: int) -> None:
    check_counts(gained, lost, items)
    if both < 0 or both + gained + lost > items:
        raise InputError(f"{both} + {gained} + {lost} right answers of {items} items cannot be")
    if both + lost == 0:
        raise InputError("the baseline is never right, so there is nothing to compare with")


def _score(both: int, gained: int, lost: int, items: int, ratio: float) -> float:
    """Return the statistic: how far the counts are above what `ratio` would give."""
    right = both + gained + lost
    # The likeliest share of `lost` items, were the ratio so: the root of a q^2 + b q + c = 0.
    a = items * (1 + ratio)
    b = (both + lost) * ratio * ratio - (both + gained + 2 * lost)
    c = lost * (1 - ratio) * right / items
    root = math.sqrt(max(b * b - 4 * a * c, 0.0))
    share = (root - b) / (2 * a) if b < 0 else -2 * c / (b + root or 1.0)
    baseline = (right / items - share) / ratio
    variance = ratio * ((ratio - 1) * baseline + 2 * share)
    above = both + gained - ratio * (both + lost)
    if above == 0:
        return 0.0
    return above / math.sqrt(items * variance) if variance > 0 else math.copysign(math.inf, above)


def _upper(both: int, gained: int, lost: int, items: int, z: float) -> float:
    """Return the largest ratio that the score test does not reject."""
    low = (both + gained) / (both + lost)
    high = max(2 * low, 2.0)
    while _score(both, gained, lost, items, high) > -z:
        low, high = high, 2 * high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _score(both, gained, lost, items, middle) > -z:
            low = middle
        else:
            high = middle
    return high
