"""Damped Holt-Winters with an additive season, averaged over a grid of smoothing weights.

An optimiser per series would cost a hundred times as much and pick one set of weights where several
fit alike (Gardner and McKenzie 1985 for the recursion).
"""

from __future__ import annotations

from itertools import product

import numpy as np

from finops_lab.forecasting.panel import Floats
from finops_lab.forecasting.structural import YEAR

_LEVEL = (0.05, 0.2, 0.4, 0.6, 0.8, 0.95)
_TREND = (0.0, 0.05, 0.2)  # of the level's weight
_SEASON = (0.02, 0.1, 0.3, 0.6)  # of what the level leaves over
_FADES = (0.8, 0.9, 0.97)
_TRUST = 0.7  # as in `structural`
_START = 3 * YEAR  # months that the first season is taken from
_TINY = 1e-8


def holt_winters(x: Floats, months: int) -> Floats:
    """Forecast a series of order one and at least 24 months."""
    n = len(x)
    alpha, beta, gamma, fade = np.array(list(product(_LEVEL, _TREND, _SEASON, _FADES))).T
    beta, gamma = alpha * beta, (1 - alpha) * gamma
    start, slope, first = _start(x)
    level, trend = np.full(alpha.shape, start), np.full(alpha.shape, slope)
    season = [np.full(alpha.shape, value) for value in first]
    square = np.zeros(alpha.shape)
    for i in range(n):
        before, at = level + fade * trend, i % YEAR
        error = x[i] - (before + season[at])
        square += np.square(error)
        level, trend, season[at] = (
            before + alpha * error,
            fade * trend + beta * error,
            season[at] + gamma * error,
        )
    log = -_TRUST * n / 2 * np.log(square + _TINY * n)
    weight = np.exp(log - log.max())
    weight /= weight.sum()
    faded = np.cumsum(fade[:, None] ** np.arange(1, months + 1), axis=1)
    seasons = np.array([season[(n + h) % YEAR] for h in range(months)]).T
    point: Floats = weight @ (level[:, None] + faded * trend[:, None] + seasons)
    return point


def _start(x: Floats) -> tuple[float, float, Floats]:
    """Return level before the first month, slope, and season: deviations from a centred yearly mean."""
    n = len(x)
    span = min(_START, n // YEAR * YEAR)
    window = np.full(YEAR + 1, 1 / YEAR)
    window[[0, -1]] /= 2
    centred = np.convolve(x[:span], window, "valid")
    where = np.arange(YEAR // 2, YEAR // 2 + len(centred))
    apart = x[where] - centred
    season = np.array([apart[where % YEAR == month].mean() for month in range(YEAR)])
    season -= season.mean()
    t = np.arange(2 * YEAR) - (2 * YEAR - 1) / 2
    adjusted = (x[:span] - season[np.arange(span) % YEAR])[: 2 * YEAR]
    slope = float((t * adjusted).sum() / (t * t).sum())
    return float(adjusted.mean()) - slope * YEAR, slope, season
