"""The members beside the structural mean, and the rule that a bad one never spoils a series.

Each takes a series of order one and returns its forecast.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np

from finops_lab.forecasting.panel import Floats
from finops_lab.forecasting.structural import YEAR, structural

_BLOWN_UP = 10.0

Member = Callable[[Floats, int], Floats]


def stl_structural(x: Floats, months: int) -> Floats:
    """STL (Cleveland et al. 1990): trend on the adjusted series, last year's season added back."""
    from statsmodels.tsa.seasonal import STL

    season = np.asarray(STL(x, period=YEAR).fit().seasonal, dtype=np.float64)
    point, _ = structural(x - season, months, seasonal=False)
    return point + np.resize(season[-YEAR:], months)


def run_member(member: Member, x: Floats, months: int) -> Floats | None:
    """Run a member and return its forecast if that is sound.

    A member that raises, or whose forecast is not finite or beyond ten times the largest month of
    the history (exponential smoothing can diverge), is left out; the others stand.
    """
    # statsmodels warns about every hard series; numpy's warnings come from divergence, judged below.
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            point = member(x, months)
        except (ArithmeticError, LookupError, RuntimeError, ValueError):
            return None
    sound = np.isfinite(point).all() and np.abs(point).max() <= _BLOWN_UP * float(np.abs(x).max())
    return point if sound else None
