"""Structural time series, averaged over hundreds of forms at once.

A series is a level that wanders, a slope that wanders and fades, a yearly season that may change, and
noise (Harvey 1989). How strong each part is differs by series and cannot be told well from two or three
years, so nothing is picked: every form of a fixed grid forecasts, and the forecasts are averaged with
the forms' marginal likelihoods as weights (Bayesian model averaging, Hoeting et al. 1999). Given its
form the model is linear and Gaussian, so all that depends on the length alone is solved once and a
series costs three matrix products.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np

from finops_lab.forecasting.panel import Floats

YEAR = 12
LONGEST = 84  # months: what lies further back tells nothing about the next year
# The grid: variances in units of the noise's, with the log of the prior weight of each value. The
# weights are few and close to even; learned on months before the official tests of M4 and M3
_LEVEL = {0.0: 0.49, 0.1: 0.47, 0.3: 0.34, 1.0: -0.02, 10.0: -1.00, 100.0: -0.27}
_SLOPE = {0.0: 1.14, 0.001: 0.49, 0.01: -0.36, 0.1: -1.27}
_FADES = {0.8: -0.85, 0.95: -0.29}  # what is left of a slope after a month
_SEASON = {0.0: 0.23, 1.0: -0.18, 10.0: 0.56, 100.0: -0.61}
_SMOOTH = {1.0: -0.08, 3.0: -0.14}  # the variance of the k-th harmonic falls with k to this power
_MEMORY = {60.0: -0.10, float("inf"): -0.13}  # months over which a season is forgotten
_TRUST = 0.71  # the power of the likelihood: months are not as independent as the model has it
_TINY = 1e-8  # the least mean square error of a series of order one


@dataclass(frozen=True)
class _Forms:
    """What a length and a horizon fix, per form: whitening, log weight, projection and its variance."""

    whiten: Floats
    weight: Floats
    project: Floats
    variance: Floats


def structural(x: Floats, months: int, *, seasonal: bool) -> tuple[Floats, Floats]:
    """Forecast one series of order one: the mean and the standard deviation per month ahead."""
    x = x[-LONGEST:]
    n = len(x)
    forms = _forms(n, months, seasonal)
    # One series at a time: a matrix product of many might round by how many there are.
    errors = forms.whiten @ x
    square = np.einsum("ct,ct->c", errors, errors) + _TINY * n
    log = forms.weight - _TRUST * (n - 1) / 2 * np.log(square)
    weight = np.exp(log - log.max())
    weight /= weight.sum()
    points = forms.project @ x
    point = weight @ points
    variance = weight @ (forms.variance * (square / (n - 1))[:, None] + np.square(points - point))
    return point, np.sqrt(variance)


@lru_cache(maxsize=4)
def _forms(n: int, months: int, seasonal: bool) -> _Forms:
    total = n + months
    steps = np.tril(np.ones((total, total)))
    lags = np.subtract.outer(np.arange(total), np.arange(total))
    level = steps @ steps.T
    slopes = {}
    for kept in _FADES:
        slope = steps @ np.where(lags >= 0, kept ** np.maximum(lags, 0), 0.0)
        slopes[kept] = slope @ slope.T
    seasons = {key: _season(np.abs(lags), *key) for key in product(_SMOOTH, _MEMORY)}
    parts: list[tuple[float, Floats]] = []
    # A part of variance zero has no shape to vary.
    for (q, a), (r, b), (s, c) in product(
        _LEVEL.items(), _SLOPE.items(), _SEASON.items() if seasonal else [(0.0, 0.0)]
    ):
        fades: list[float | None] = list(_FADES) if r else [None]
        for fade, key in product(fades, seasons if s else [None]):
            log, covariance = a + b + c, np.eye(total) + q * level
            if fade is not None:
                log, covariance = log + _FADES[fade], covariance + r * slopes[fade]
            if key is not None:
                log, covariance = log + _SMOOTH[key[0]] + _MEMORY[key[1]], covariance + s * seasons[key]
            parts.append((log, covariance))
    prior = np.array([log for log, _ in parts])
    whole = np.array([covariance for _, covariance in parts])
    root = np.linalg.inv(np.linalg.cholesky(whole[:, :n, :n]))
    # The mean is unknown, with a flat prior: it is projected out.
    ones = root.sum(2)
    size = np.square(ones).sum(1)
    mean = np.einsum("ci,cij->cj", ones, root) / size[:, None]
    whiten = root - ones[:, :, None] * mean[:, None, :]
    gain = np.matmul(np.matmul(whole[:, n:, :n], root.transpose(0, 2, 1)), root)
    left = 1 - gain.sum(2)
    variance = (
        np.diagonal(whole[:, n:, n:], axis1=1, axis2=2)
        - np.einsum("chj,chj->ch", gain, whole[:, n:, :n])
        + np.square(left) / size[:, None]
    )
    determinant = np.log(np.diagonal(root, axis1=1, axis2=2)).sum(1) - np.log(size) / 2
    return _Forms(whiten, prior + _TRUST * determinant, gain + left[:, :, None] * mean[:, None, :], variance)


def _season(lags: Floats, smooth: float, memory: float) -> Floats:
    harmonics = np.arange(1, YEAR // 2 + 1)
    weights = 1 / harmonics**smooth
    waves = np.cos(2 * np.pi * harmonics * lags[..., None] / YEAR)
    shape: Floats = (waves * (weights / weights.sum())).sum(-1) * np.exp(-lags / memory)
    return shape
