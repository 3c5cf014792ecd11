"""Scores of two variants on the same items that are more than right or wrong: F1, log loss, similarity."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from finops_lab.errors import InputError
from finops_lab.tradeoffs.paired import Interval, tango_limits, two_sided, worse_by
from finops_lab.tradeoffs.ratios import total_ratio

__all__ = ["FEW_DIFFER", "paired_mean", "paired_mean_ratio", "paired_mean_worse_by", "widest_difference"]

_Floats = npt.NDArray[np.float64]
# Fewer items that differ say little of how far others might.
FEW_DIFFER = 10


def paired_mean(candidate: npt.ArrayLike, baseline: npt.ArrayLike, *, coverage: float = 0.90) -> Interval:
    """Estimate how far the candidate's mean score is above the baseline's.

    Parameters
    ----------
    candidate, baseline : array_like of float
        One score an item; position pairs them.
    coverage : float
        How often the interval should hold the truth.

    Returns
    -------
    Interval
        Difference of means, in the metric's unit.

    Raises
    ------
    InputError
        Fewer than two items, items that do not pair, or a score that is no number.

    Notes
    -----
    Student's interval of the paired differences. Where fewer than 10 items differ it would be far too
    sure (of none at all it would be a point). Then Tango's interval of how many items can be lost, or gained, is
    taken, times the widest difference of two scores: 1 for scores from 0 to 1, else what was seen.

    Examples
    --------
    >>> scores = [0.5, 0.75, 1.0, 0.8] * 250
    >>> [round(end, 4) for end in paired_mean([s - 0.01 * (i % 3) for i, s in enumerate(scores)], scores)]
    [-0.01, -0.0104, -0.0096]
    >>> [round(end, 4) for end in paired_mean(scores, scores)]
    [0.0, -0.0027, 0.0027]
    """
    y, x = _scores(candidate, baseline)
    z = two_sided(coverage)
    above = y - x
    estimate = float(above.mean())
    up, down = np.count_nonzero(above > 0), np.count_nonzero(above < 0)
    if up + down < FEW_DIFFER:
        span = widest_difference(y, x)
        low, _ = tango_limits(0, down, above.size, coverage=coverage)
        _, high = tango_limits(up, 0, above.size, coverage=coverage)
        return Interval(estimate, span * float(low), span * float(high))
    from scipy.special import ndtr, stdtrit

    reach = float(stdtrit(above.size - 1, ndtr(z)) * above.std(ddof=1) / math.sqrt(above.size))
    return Interval(estimate, estimate - reach, estimate + reach)


def paired_mean_ratio(
    candidate: npt.ArrayLike, baseline: npt.ArrayLike, *, coverage: float = 0.90
) -> Interval:
    """Estimate the candidate's mean score over the baseline's.

    Parameters
    ----------
    candidate, baseline, coverage
        As in `paired_mean`; no score is negative.

    Returns
    -------
    Interval
        A ratio of means: 0.995 is a relative change of half a percent.

    Raises
    ------
    InputError
        As `paired_mean`, a negative score, or a baseline that is zero everywhere.

    Examples
    --------
    >>> [round(end, 3) for end in paired_mean_ratio([0.4, 0.5, 0.9] * 9, [0.5, 0.5, 1.0] * 9)]
    [0.9, 0.879, 0.921]
    """
    y, x = _scores(candidate, baseline)
    if np.count_nonzero(y != x) >= FEW_DIFFER:
        return total_ratio(y, x, coverage=coverage)
    ratio = total_ratio(y, x, coverage=coverage).estimate
    apart, mean = paired_mean(y, x, coverage=coverage), float(x.mean())
    return Interval(ratio, max(1 + apart.low / mean, 0.0), 1 + apart.high / mean)


def paired_mean_worse_by(
    candidate: npt.ArrayLike,
    baseline: npt.ArrayLike,
    *,
    margin: float,
    higher_is_better: bool = True,
    relative: bool = False,
) -> float:
    """Test whether the candidate's mean score is worse by the margin or more.

    Parameters
    ----------
    candidate, baseline : array_like of float
        As in `paired_mean`.
    margin : float
        Loss that is too much, in the metric's unit, or as a share of the baseline's mean; not negative.
    higher_is_better : bool
        Whether a higher score is better.
    relative : bool
        The margin is a share.

    Returns
    -------
    float
        One-sided p-value; small: the loss is proven to be less. It agrees with the intervals.

    Raises
    ------
    InputError
        As `paired_mean`, or a negative margin.

    Examples
    --------
    >>> scores = [0.5, 0.75, 1.0, 0.8] * 250
    >>> paired_mean_worse_by([s - 0.01 * (i % 3) for i, s in enumerate(scores)], scores, margin=0.02) < 1e-9
    True
    """
    from scipy.special import stdtr

    y, x = _scores(candidate, baseline)
    if not 0 <= margin < math.inf:
        raise InputError(f"a margin is a number from 0 up, not {margin}")
    sign = 1.0 if higher_is_better else -1.0
    if np.count_nonzero(y != x) < FEW_DIFFER:
        allowed = margin * abs(float(x.mean())) if relative else margin
        return _few_worse_by(sign * y, sign * x, allowed)
    inside = sign * (y - x) + (margin * np.abs(x) if relative else margin)
    spread = float(inside.std(ddof=1))
    if spread == 0:
        return float(inside.mean() <= 0)
    return float(stdtr(inside.size - 1, -inside.mean() / spread * math.sqrt(inside.size)))


def widest_difference(candidate: npt.ArrayLike, baseline: npt.ArrayLike) -> float:
    """Return how far two scores can be apart.

    Parameters
    ----------
    candidate, baseline : array_like of float
        As in `paired_mean`; signs may be turned.

    Returns
    -------
    float
        1 for scores from 0 to 1, else the range that was seen; infinite where all scores are one.

    Examples
    --------
    >>> widest_difference([0.4, 0.5], [0.4, 0.6]), widest_difference([31.0, 35.5], [30.0, 35.0])
    (1.0, 5.5)
    """
    scores = np.concatenate([np.asarray(side, dtype=np.float64) for side in (candidate, baseline)])
    least, most = float(scores.min()), float(scores.max())
    if 0 <= least <= most <= 1 or -1 <= least <= most <= 0:
        return 1.0
    return most - least or math.inf


def _few_worse_by(y: _Floats, x: _Floats, margin: float) -> float:
    """Test as `paired_mean` estimates: how many items can be lost, times the most that one can lose."""
    share = margin / widest_difference(y, x)
    return worse_by(0, int(np.count_nonzero(y < x)), y.size, margin=share) if share < 1 else 0.0


def _scores(candidate: npt.ArrayLike, baseline: npt.ArrayLike) -> tuple[_Floats, _Floats]:
    y, x = np.asarray(candidate, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if y.ndim != 1 or y.shape != x.shape or y.size < 2:
        raise InputError(f"{y.size} scores of the candidate do not pair with {x.size} of the baseline")
    if not (np.isfinite(y).all() and np.isfinite(x).all()):
        raise InputError("a score is no number", hint="leave out items that were not scored")
    return y, x
