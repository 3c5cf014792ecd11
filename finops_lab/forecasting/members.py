"""The members of the combination, and the rule that a bad one never spoils a series.

Each takes a series of order one and returns its forecast with its in-sample one-step errors.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np

from finops_lab.forecasting.panel import Floats

YEAR = 12
_BLOWN_UP = 10.0

Member = Callable[[Floats, int], tuple[Floats, Floats]]


def theta(x: Floats, months: int) -> tuple[Floats, Floats]:
    """Theta (Assimakopoulos and Nikolopoulos 2000); tests for a yearly season from 24 months on."""
    from statsmodels.tsa.forecasting.theta import ThetaModel

    seasonal = len(x) >= 2 * YEAR
    fit = ThetaModel(x, period=YEAR if seasonal else None, deseasonalize=seasonal).fit()
    # Theta's own error needs an ARIMA fit that costs more than the other members together.
    return np.asarray(fit.forecast(months), dtype=np.float64), np.zeros(0)


def damped_trend(x: Floats, months: int, season: str | None = None) -> tuple[Floats, Floats]:
    """Holt's exponential smoothing with a damped trend (Gardner and McKenzie 1985)."""
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    fit = ExponentialSmoothing(
        x,
        trend="add",
        damped_trend=True,
        seasonal=season,
        seasonal_periods=YEAR if season else None,
        initialization_method="estimated",
    ).fit()
    return np.asarray(fit.forecast(months), dtype=np.float64), np.asarray(fit.resid, dtype=np.float64)


def holt_winters(x: Floats, months: int) -> tuple[Floats, Floats]:
    """Damped Holt-Winters; the season is multiplicative where every month is positive, else additive."""
    return damped_trend(x, months, "mul" if x.min() > 0 else "add")


def stl_holt(x: Floats, months: int) -> tuple[Floats, Floats]:
    """STL (Cleveland et al. 1990): damped trend on the adjusted series, last year's season added back."""
    from statsmodels.tsa.seasonal import STL

    season = np.asarray(STL(x, period=YEAR).fit().seasonal, dtype=np.float64)
    point, errors = damped_trend(x - season, months)
    return point + np.resize(season[-YEAR:], months), errors


def run_members(x: Floats, months: int, members: tuple[Member, ...]) -> list[tuple[Floats, Floats]]:
    """Run the members and keep the sound results.

    A member that raises, or whose forecast is not finite or beyond ten times the largest month of
    the history (exponential smoothing can diverge), is left out; the others stand.
    """
    import scipy.linalg  # noqa: F401  (threadpoolctl limits only what is loaded)
    from threadpoolctl import threadpool_limits

    limit = _BLOWN_UP * float(np.abs(x).max())
    sound = []
    # The optimisers call BLAS on matrices of ten rows, where two threads cost seven times the CPU of
    # one and change no digit.
    with threadpool_limits(limits=1, user_api="blas"):
        for member in members:
            # statsmodels warns about every hard series; numpy's warnings come from divergence, judged below.
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                try:
                    point, errors = member(x, months)
                except (ArithmeticError, LookupError, RuntimeError, ValueError):
                    continue
                if np.isfinite(point).all() and np.abs(point).max() <= limit:
                    sound.append((point, errors[np.isfinite(errors)]))
    return sound
