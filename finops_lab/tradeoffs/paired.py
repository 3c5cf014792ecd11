"""Right and wrong answers of two variants on the same items: intervals and tests of the difference.

Only items on which the two disagree tell them apart, so everything here is said in three counts: items
that only the candidate gets right (`gained`), items that only the baseline gets right (`lost`), and all
items. ``candidate - baseline`` is estimated by ``(gained - lost) / items``.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from finops_lab.errors import InputError

__all__ = [
    "Interval",
    "check_counts",
    "mcnemar",
    "paired_difference",
    "tango_limits",
    "two_sided",
    "worse_by",
]

_Floats = npt.NDArray[np.float64]
# Halving a range of 2 this often leaves less than any count can tell.
_HALVINGS = 52


class Interval(NamedTuple):
    """An estimate and the two ends of its confidence interval.

    Parameters
    ----------
    estimate, low, high : float
        ``low <= estimate <= high``, in the unit of what was estimated.
    """

    estimate: float
    low: float
    high: float


def paired_difference(gained: int, lost: int, items: int, *, coverage: float = 0.90) -> Interval:
    """Estimate by how much the candidate's share of right answers is above the baseline's.

    Parameters
    ----------
    gained, lost, items : int
        Items only the candidate, and only the baseline, gets right; all items both were given.
    coverage : float
        How often the interval should hold the truth. 0.90 leaves 5 % on each side.

    Returns
    -------
    Interval
        Difference of two shares, -1 to 1; negative: the candidate is worse.

    Raises
    ------
    InputError
        Counts that cannot be, or a coverage outside 0 to 1.

    Notes
    -----
    T. Tango, "Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design", Statistics in Medicine 17, 1998: the values that the score test does not
    reject. Unlike the interval from the standard error it does not shrink to nothing when no item
    tells the two apart: 0 of n gives +- z^2 / (n + z^2).

    Examples
    --------
    Tango's own example, 44 patients of whom one did better without the treatment:

    >>> [round(end, 3) for end in paired_difference(0, 1, 44)]
    [-0.023, -0.096, 0.037]
    """
    check_counts(gained, lost, items)
    low, high = tango_limits(gained, lost, items, coverage=coverage)
    return Interval((gained - lost) / items, float(low), float(high))


def tango_limits(
    gained: npt.ArrayLike, lost: npt.ArrayLike, items: npt.ArrayLike, *, coverage: float = 0.90
) -> tuple[_Floats, _Floats]:
    """Return the ends of many intervals of `paired_difference` at once.

    Parameters
    ----------
    gained, lost, items : array_like of numbers
        Counts as in `paired_difference`, of shapes that broadcast.
    coverage : float
        How often an interval should hold the truth.

    Returns
    -------
    tuple of numpy.ndarray
        Low and high ends, Float64.

    Examples
    --------
    >>> low, high = tango_limits([1, 0], [7, 0], [21, 20], coverage=0.95)
    >>> low.round(3).tolist(), high.round(3).tolist()
    ([-0.517, -0.161], [-0.026, 0.161])
    """
    up, down, n = (np.asarray(counts, dtype=np.float64) for counts in (gained, lost, items))
    z = two_sided(coverage)
    # Swapping the two variants turns the interval around, so one end is enough to know how to find.
    return -_upper(down, up, n, z), _upper(up, down, n, z)


def worse_by(gained: int, lost: int, items: int, *, margin: float) -> float:
    """Test whether the candidate is worse by the margin or more (non-inferiority, score test).

    Parameters
    ----------
    gained, lost, items : int
        Counts as in `paired_difference`.
    margin : float
        Loss that is too much, from 0 up to below 1: 0.005 is half a percentage point.

    Returns
    -------
    float
        One-sided p-value of "worse by the margin or more". Small: the loss is proven to be less. It is
        below (1 - coverage) / 2 exactly when the interval of `paired_difference` is above -margin.

    Raises
    ------
    InputError
        Counts that cannot be, or a margin outside its range.

    Examples
    --------
    >>> round(worse_by(20, 30, 5000, margin=0.005), 4)
    0.0229
    """
    check_counts(gained, lost, items)
    if not 0 <= margin < 1:
        raise InputError(f"a margin lies from 0 up to below 1, not {margin}")
    up, down, n, limit = (np.asarray(number, dtype=np.float64) for number in (gained, lost, items, -margin))
    return NormalDist().cdf(-float(_score(up, down, n, limit)))


def mcnemar(gained: int, lost: int, *, mid: bool = False) -> float:
    """Test whether two variants are right equally often (McNemar's exact test).

    Parameters
    ----------
    gained, lost : int
        Items that only one of the two gets right.
    mid : bool
        The mid-p variant, which is less cautious (Fagerland, Lydersen and Laake, BMC Medical Research
        Methodology 13:91, 2013).

    Returns
    -------
    float
        Two-sided p-value. A large one proves nothing: ask `worse_by`.

    Examples
    --------
    Seven items lost and one gained is 18 of 256 ways that eight coins fall:

    >>> mcnemar(1, 7) == 18 / 256
    True
    """
    from scipy.special import bdtr

    check_counts(gained, lost, max(gained + lost, 1))
    few, both = min(gained, lost), gained + lost
    tail = 2 * float(bdtr(few, both, 0.5))
    if mid:
        tail -= float(bdtr(few, both, 0.5) - (bdtr(few - 1, both, 0.5) if few else 0.0))
    return min(tail, 1.0)


def two_sided(coverage: float) -> float:
    """Return the normal quantile that leaves half of ``1 - coverage`` on each side.

    Parameters
    ----------
    coverage : float
        Between 0 and 1.

    Returns
    -------
    float
        Standard deviations.

    Raises
    ------
    InputError
        No share between 0 and 1.

    Examples
    --------
    >>> round(two_sided(0.90), 3)
    1.645
    """
    if not 0 < coverage < 1:
        raise InputError(f"coverage lies between 0 and 1, not {coverage}", hint="0.90 is 90 %")
    return NormalDist().inv_cdf((1 + coverage) / 2)


def check_counts(gained: int, lost: int, items: int) -> None:
    """Refuse counts that no evaluation gives.

    Parameters
    ----------
    gained, lost, items : int
        Counts as in `paired_difference`.

    Raises
    ------
    InputError
        A count below zero, no items, or more items that differ than items.
    """
    if min(gained, lost) < 0 or items <= 0 or gained + lost > items:
        raise InputError(f"{gained} gained and {lost} lost of {items} items cannot be")


def _score(gained: _Floats, lost: _Floats, items: _Floats, difference: _Floats) -> _Floats:
    """Return Tango's statistic: how far the counts are above what `difference` would give."""
    # At a difference below zero the two variants swap, so that no small number comes from two large.
    turned = difference < 0
    d = np.abs(difference)
    up, down = np.where(turned, lost, gained), np.where(turned, gained, lost)
    # The likeliest share of `down` items, were the difference d: the root of 2 n q^2 + b q = down d (1 - d).
    b = (2 * items - up + down) * d - up - down
    root = np.sqrt(b * b + 8 * items * down * d * (1 - d))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(b > 0, 2 * down * d * (1 - d) / (b + root), (root - b) / (4 * items))
        variance = np.maximum(items * (2 * share + d * (1 - d)), 0)
        above = up - down - items * d
        score = np.where(above == 0, 0.0, above / np.sqrt(variance))
    return np.where(turned, -score, score)


def _upper(gained: _Floats, lost: _Floats, items: _Floats, z: float) -> _Floats:
    """Return the largest difference that the score test does not reject, by halving."""
    low, high = np.broadcast_arrays((gained - lost) / items, np.float64(1))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        kept = _score(gained, lost, items, middle) > -z
        low, high = np.where(kept, middle, low), np.where(kept, high, middle)
    return np.asarray(high, dtype=np.float64)
