"""How unlikely what was seen is, as a normal score, and where an alarm begins."""

from __future__ import annotations

import numpy as np

from finops_lab.anomalies.panel import Bools, Floats

__all__ = ["count_scores", "level_scores", "robust_spread", "score_of_chance", "thresholds"]

_CAP = 38.0  # what the smallest number is as a normal score
_FEWEST = 100  # scores that tell a tail


def count_scores(seen: Floats, expected: Floats, noise: Floats, *, up: bool) -> Floats:
    """Score counts against what is expected: the chance of as many (or as few), as a normal score.

    Counts are taken for negative binomial: Poisson, times a gamma of relative spread `noise`. At few
    events the exact tail matters: a normal score would cry wolf at 3 where 0.3 are expected.

    Parameters
    ----------
    seen, expected : numpy.ndarray
        Numbers of independent events, whole or not.
    noise : numpy.ndarray
        Relative spread beyond Poisson, above 0.
    up : bool
        Whether more is unlikely, or fewer.

    Returns
    -------
    numpy.ndarray
        Scores, NaN where either is; 38 at the most.

    Examples
    --------
    >>> count_scores(np.array([3.0, 30.0]), np.array([0.3, 10.0]), np.array([0.1, 0.1]), up=True).round(1).tolist()
    [2.7, 4.7]
    """
    from scipy.special import betainc

    mean = np.maximum(expected, 1e-9)
    size = 1 / noise**2
    share = mean / (mean + size)
    x = np.maximum(seen, 0.0)
    as_many = np.where(x > 0, betainc(np.maximum(x, 1e-12), size, share), 1.0)
    chance = as_many if up else betainc(size, x + 1, 1 - share)
    return np.where(np.isfinite(seen) & np.isfinite(expected), score_of_chance(chance), np.nan)


def level_scores(seen: Floats, expected: Floats, noise: Floats, *, up: bool) -> Floats:
    """Score sizes against what is expected, by their logarithms.

    Examples
    --------
    >>> level_scores(np.array([200.0]), np.array([100.0]), np.array([0.1]), up=True).round(2).tolist()
    [6.93]
    """
    way = 1.0 if up else -1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        off = np.log(seen) - np.log(expected)
    return np.clip(way * off / noise, -_CAP, _CAP)


def score_of_chance(chance: Floats) -> Floats:
    """Return the normal score that is exceeded by such a chance.

    Examples
    --------
    >>> score_of_chance(np.array([0.16, 0.00135, 0.0])).round(2).tolist()
    [0.99, 3.0, 38.0]
    """
    from scipy.special import ndtri

    with np.errstate(divide="ignore"):
        return np.asarray(np.clip(-ndtri(chance), -_CAP, _CAP))


def robust_spread(values: Floats) -> Floats:
    """Return the spread of rows that a fifth of wild values does not move: scaled median of deviations.

    Examples
    --------
    >>> robust_spread(np.array([[1.0, 2.0, 3.0, 4.0, 1000.0, np.nan]])).round(2).tolist()
    [1.48]
    """
    middle = nanmedian(values)
    return 1.4826 * nanmedian(np.abs(values - middle[:, None]))


def nanmedian(values: Floats) -> Floats:
    """Return the median of each row; NaN of a row that knows nothing, without a warning."""
    counts = np.isfinite(values).sum(axis=1)
    ordered = np.sort(values, axis=1)  # NaN comes last
    rows = np.arange(len(values))
    low, high = np.maximum(counts - 1, 0) // 2, counts // 2
    return np.asarray((ordered[rows, low] + ordered[rows, np.minimum(high, values.shape[1] - 1)]) / 2)


def thresholds(past: Floats, clean: Bools, chance: float) -> Floats:
    """Return the score that each row exceeds by such a chance: at least the normal one.

    The tail of the past's scores is taken for exponential beyond its highest fiftieth (at least 20
    scores), by the median of what lies beyond (peaks over threshold, Pickands 1975): scores of noise
    with heavier tails than normal get a higher threshold.

    Parameters
    ----------
    past : numpy.ndarray
        Rows x windows, scores of windows gone by.
    clean : numpy.ndarray
        Which of them count: not those that were alarms.
    chance : float
        Per window.

    Returns
    -------
    numpy.ndarray
        One per row.

    Examples
    --------
    >>> noise = np.random.default_rng(1).standard_normal((1, 8000))
    >>> thresholds(noise, np.isfinite(noise), 1e-5).round(1).tolist()
    [5.1]
    """
    normal = float(score_of_chance(np.array(chance)))
    if past.shape[1] < _FEWEST:
        return np.full(len(past), normal)
    told = np.where(clean, past, np.nan)
    counts = np.isfinite(told).sum(axis=1)
    beyond = np.maximum(counts // 50, np.minimum(counts, 20))
    ordered = np.sort(np.where(np.isfinite(told), told, -np.inf), axis=1)
    rows, last = np.arange(len(told)), told.shape[1] - 1
    edge = ordered[rows, np.clip(last - beyond, 0, last)]
    middle = ordered[rows, np.clip(last - beyond // 2, 0, last)]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_excess = (middle - edge) / np.log(2)
        share = beyond / np.maximum(counts, 1)
        found = edge + mean_excess * np.log(np.maximum(share / chance, 1.0))
    return np.where(np.isfinite(found) & (counts >= _FEWEST), np.maximum(found, normal), normal)
