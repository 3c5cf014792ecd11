"""How many times as dear or as slow: intervals of ratios from rounds that ran both variants.

Money is the ratio of totals (`total_ratio`): a machine is billed for all the time it is busy, so a slow
round costs what it costs. The ratio of medians says what a typical request feels and the ratio of P95 what
an unlucky one feels (`quantile_ratio`); neither is the bill. Both are found by inverting a test, not by
resampling: no seed, and at few or uneven rounds the bootstrap's intervals are too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from finops_lab.errors import InputError
from finops_lab.tradeoffs.paired import Interval, two_sided

__all__ = ["quantile_at_least", "quantile_floor", "quantile_ratio", "total_at_least", "total_ratio"]

_Floats = npt.NDArray[np.float64]
# Halving a range of ratios of 1e9 this often leaves less than a double can tell.
_HALVINGS = 60


def total_ratio(candidate: npt.ArrayLike, baseline: npt.ArrayLike, *, coverage: float = 0.90) -> Interval:
    """Estimate the candidate's total over the baseline's, from paired rounds.

    Parameters
    ----------
    candidate, baseline : array_like of float
        One amount a round (CPU time, energy, money), none negative, in one unit. Position pairs them:
        both ran the same input in one round.
    coverage : float
        How often the interval should hold the truth.

    Returns
    -------
    Interval
        A ratio: 0.7 is 30 % cheaper. Where the baseline's own noise could hide anything, the interval is
        0 to infinity.

    Raises
    ------
    InputError
        Fewer than two rounds, rounds that do not pair, a negative amount, or a baseline of zero.

    Notes
    -----
    E. C. Fieller, "Some problems in interval estimation", JRSS B 16, 1954, for pairs: the ratios r that a
    t test of ``candidate - r * baseline`` does not reject.

    Examples
    --------
    >>> [round(end, 3) for end in total_ratio([5.0, 5.2, 6.1, 4.9], [10.0, 10.1, 11.9, 10.2])]
    [0.502, 0.483, 0.52]
    """
    y, x = _amounts(candidate, baseline)
    t = _t_quantile(coverage, y.size - 1)
    mean = np.array([x.mean(), y.mean()])
    square = np.outer(mean, mean) - t * t / y.size * np.cov(x, y)
    above, middle, below = float(square[0, 0]), float(square[0, 1]), float(square[1, 1])
    estimate = float(y.sum() / x.sum())
    if above <= 0:
        return Interval(estimate, 0.0, math.inf)
    reach = math.sqrt(max(middle * middle - above * below, 0.0))
    low, high = max((middle - reach) / above, 0.0), (middle + reach) / above
    return Interval(estimate, min(low, estimate), max(high, estimate))


def total_at_least(candidate: npt.ArrayLike, baseline: npt.ArrayLike, *, limit: float) -> float:
    """Test whether the candidate's total is `limit` times the baseline's or more.

    Parameters
    ----------
    candidate, baseline : array_like of float
        As in `total_ratio`.
    limit : float
        A ratio above zero.

    Returns
    -------
    float
        One-sided p-value (paired t test). Small: the ratio is proven to be below the limit.

    Raises
    ------
    InputError
        As `total_ratio`, or a limit that is not above zero.

    Examples
    --------
    >>> round(total_at_least([5.0, 5.2, 6.1, 4.9], [10.0, 10.1, 11.9, 10.2], limit=0.55), 4)
    0.0034
    """
    from scipy.special import stdtr

    y, x = _amounts(candidate, baseline)
    _check_limit(limit)
    over = y - limit * x
    spread = over.std(ddof=1)
    if spread == 0:
        return float(over.mean() >= 0)
    return float(stdtr(y.size - 1, over.mean() / spread * math.sqrt(y.size)))


def quantile_ratio(
    candidate: npt.ArrayLike, baseline: npt.ArrayLike, *, q: float = 0.95, coverage: float = 0.90
) -> Interval:
    """Estimate the candidate's quantile over the baseline's, from paired rounds.

    Parameters
    ----------
    candidate, baseline : array_like of float
        One latency a round, above zero; position pairs them.
    q : float
        0.5 compares medians, 0.95 P95; from 0.5 up, below 1.
    coverage : float
        How often the interval should hold the truth. With few rounds in the tail it holds more often.

    Returns
    -------
    Interval
        A ratio of quantiles (the smallest value that reaches the share `q`).

    Raises
    ------
    InputError
        Fewer rounds than `quantile_floor` asks for, rounds that do not pair, or latencies not above zero.

    Notes
    -----
    If the quantiles' ratio is r, then the candidate and r times the baseline exceed their common
    quantile equally often: McNemar's test on who exceeds it. The interval holds the ratios that the test
    does not reject. It assumes no shape of the latencies and needs no density.

    Examples
    --------
    >>> slow, quick = [10 + i * 37 % 101 / 10 for i in range(100)], [6 + i * 53 % 101 / 16 for i in range(100)]
    >>> [round(end, 2) for end in quantile_ratio(quick, slow)]
    [0.61, 0.6, 0.63]
    """
    y, x = _latencies(candidate, baseline, q)
    z = two_sided(coverage)
    estimate = _quantile(y, q) / _quantile(x, q)
    reach = (estimate, 2 * float(max(y.max() / x.min(), x.max() / y.min(), estimate, 1 / estimate)))
    high = _crossing(lambda ratio: _exceeding(y, x, q, ratio) > z, *reach)
    low = 1 / _crossing(lambda ratio: _exceeding(x, y, q, ratio) > z, 1 / estimate, reach[1])
    return Interval(estimate, min(low, estimate), max(high, estimate))


def quantile_at_least(
    candidate: npt.ArrayLike, baseline: npt.ArrayLike, *, limit: float, q: float = 0.95
) -> float:
    """Test whether the candidate's quantile is `limit` times the baseline's or more.

    Parameters
    ----------
    candidate, baseline, q
        As in `quantile_ratio`.
    limit : float
        A ratio above zero.

    Returns
    -------
    float
        One-sided p-value. Small: the ratio is proven to be below the limit.

    Raises
    ------
    InputError
        As `quantile_ratio`, or a limit that is not above zero.

    Examples
    --------
    >>> slow, quick = [10 + i * 37 % 101 / 10 for i in range(100)], [6 + i * 53 % 101 / 16 for i in range(100)]
    >>> quantile_at_least(quick, slow, limit=0.7) < 0.01
    True
    """
    y, x = _latencies(candidate, baseline, q)
    _check_limit(limit)
    return NormalDist().cdf(-_exceeding(y, x, q, limit))


def quantile_floor(q: float) -> int:
    """Return how many observations a quantile needs, whatever their distribution.

    Parameters
    ----------
    q : float
        From 0.5 up, below 1.

    Returns
    -------
    int
        The fewest observations of which the largest is above the quantile with confidence `q`:
        ``ln(1 - q) / ln(q)``, rounded up.

    Raises
    ------
    InputError
        A `q` outside its range.

    Examples
    --------
    >>> quantile_floor(0.95), quantile_floor(0.99)
    (59, 459)
    """
    if not 0.5 <= q < 1:
        raise InputError(f"a quantile of latency lies from 0.5 up to below 1, not at {q}")
    return math.ceil(math.log1p(-q) / math.log(q))


def _pairs(candidate: npt.ArrayLike, baseline: npt.ArrayLike) -> tuple[_Floats, _Floats]:
    y, x = np.asarray(candidate, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if y.ndim != 1 or y.shape != x.shape:
        raise InputError(f"{y.size} rounds of the candidate do not pair with {x.size} of the baseline")
    if y.size < 2:
        raise InputError(f"{y.size} paired rounds are too few to tell noise from difference")
    if not (np.isfinite(y).all() and np.isfinite(x).all()):
        raise InputError("a round has no amount", hint="leave out rounds that failed")
    return y, x


def _amounts(candidate: npt.ArrayLike, baseline: npt.ArrayLike) -> tuple[_Floats, _Floats]:
    y, x = _pairs(candidate, baseline)
    if min(y.min(), x.min()) < 0 or x.sum() == 0:
        raise InputError("an amount is negative, or all of the baseline's are zero")
    return y, x


def _latencies(candidate: npt.ArrayLike, baseline: npt.ArrayLike, q: float) -> tuple[_Floats, _Floats]:
    y, x = _pairs(candidate, baseline)
    if min(y.min(), x.min()) <= 0:
        raise InputError("a latency is not above zero")
    floor = quantile_floor(q)
    if y.size < floor:
        raise InputError(f"P{100 * q:g} needs {floor} rounds or more, not {y.size}")
    return y, x


def _check_limit(limit: float) -> None:
    if not 0 < limit < math.inf:
        raise InputError(f"a ratio's limit is a number above zero, not {limit}")


def _t_quantile(coverage: float, freedom: int) -> float:
    from scipy.special import ndtr, stdtrit

    return float(stdtrit(freedom, ndtr(two_sided(coverage))))


def _quantile(values: _Floats, q: float) -> float:
    # 0.95 * 60 is 57.0 in decimals, and a little less or more in binary.
    return float(np.partition(values, k := math.ceil(values.size * q - 1e-9) - 1)[k])


def _exceeding(y: _Floats, x: _Floats, q: float, ratio: float) -> float:
    """Return McNemar's statistic at the common quantile: above 0 when ratio * x exceeds it more often."""
    scaled = ratio * x
    common = _quantile(np.concatenate([y, scaled]), q)
    y_over, x_over = y > common, scaled > common
    # Of coarse clocks many rounds may tie at the quantile: they count where that is nearer to 1 - q.
    wanted, y_tied, x_tied = 2 * y.size * (1 - q), y >= common, scaled >= common
    over = y_over.sum() + x_over.sum()
    # Where nobody is above it, only who reaches it can tell the two apart.
    if over == 0 or abs(y_tied.sum() + x_tied.sum() - wanted) < abs(over - wanted):
        y_over, x_over = y_tied, x_tied
    only_x = int(np.count_nonzero(x_over & ~y_over))
    only_y = int(np.count_nonzero(y_over & ~x_over))
    return (only_x - only_y) / math.sqrt(max(only_x + only_y, 1))


def _crossing(rejected: Callable[[float], bool], inside: float, outside: float) -> float:
    """Return where a test begins to reject, between a value that it keeps and one far off."""
    if not rejected(outside):
        return math.inf
    for _ in range(_HALVINGS):
        middle = math.sqrt(inside * outside)
        inside, outside = (inside, middle) if rejected(middle) else (middle, outside)
    return outside
