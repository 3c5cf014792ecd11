"""The core of a forecast: the centre and the half widths of a series of order one, at any length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from finops_lab.forecasting.members import YEAR, damped_trend, holt_winters, run_members, stl_holt, theta
from finops_lab.forecasting.panel import Floats

_SHORT = 8  # months: under it, flat
_RECENT = 3  # months: the level of a flat forecast
# A series never seen to move is not certain: part of its level joins its spread.
_FLOOR_SHORT, _FLOOR = 0.02, 0.002
_GROWTH = 0.3  # the half width grows with sqrt(1 + 0.3 (h - 1)), the best of 0 to 1 on M4

# Half widths in units of the spread (see `_centre`) for lo_80, hi_80, lo_95, hi_95, by months of
# history (a row holds until the next). Pooled 10/90 and 2.5/97.5 % quantiles of the scaled errors over
# horizons 1 to 12, values taken as mean daily rates: `benchmarks/forecast_coverage.py --learn` on the
# 400 M4 monthly dev series; under 8 months on these and 400 M3 series, because M4 alone is too calm
# there (80 % bounds learned on it cover 61 % of M3 after one month).
_WIDTHS: dict[int, tuple[float, float, float, float]] = {
    1: (6.12, 4.60, 14.34, 13.33),
    2: (1.33, 1.67, 3.54, 3.48),
    3: (1.08, 1.32, 2.35, 2.68),
    8: (1.04, 1.39, 2.34, 2.55),
    12: (0.86, 1.16, 1.92, 2.07),
    18: (0.79, 1.02, 1.59, 1.94),
    24: (1.36, 1.87, 2.24, 3.19),
    36: (1.01, 1.35, 1.73, 2.21),
    60: (0.80, 1.14, 1.39, 1.87),
}


@dataclass(frozen=True)
class Centre:
    """A projection of one series: model, point per month ahead, and half widths below and above it.

    `halves` has a row each for the lower and upper 80 % and the lower and upper 95 % bound.
    """

    model: str
    point: Floats
    halves: Floats


def centres(histories: Sequence[Floats], months: int) -> list[Centre]:
    """Project series without holes, each of mean size one, `months` ahead."""
    ahead = np.sqrt(1 + _GROWTH * np.arange(months))
    found = []
    for x in histories:
        model, point, spread, row = _centre(x, months)
        found.append(Centre(model, point, spread * np.array(_WIDTHS[row])[:, None] * ahead))
    return found


def _centre(x: Floats, months: int) -> tuple[str, Floats, float, int]:
    """Return model, point forecast, spread, and which row of `_WIDTHS` calibrates that spread.

    Spread with a season: the mean of the root mean squares of the members' one-step errors and of the
    year-on-year changes (members fit two years too well, the changes do not). Without: the root mean
    square of the month-on-month changes.
    """
    n, level = len(x), float(np.abs(x[-_RECENT:].mean()))
    calm = _rms(np.diff(x)) + _FLOOR_SHORT * level
    flat = np.full(months, x[-_RECENT:].mean())
    if n < _SHORT:
        return "flat", flat, calm, _row(n)
    seasonal = n >= 2 * YEAR
    model = "combination" if seasonal else "combination_no_season"
    if np.ptp(x) == 0:
        return model, flat, (_FLOOR if seasonal else _FLOOR_SHORT) * level, _row(n)
    results = run_members(x, months, (theta, holt_winters, stl_holt) if seasonal else (theta, damped_trend))
    if not results:
        return "flat", flat, calm, _row(_SHORT - 1)
    point = np.mean([point for point, _ in results], axis=0)
    if not seasonal:
        return model, point, calm, _row(n)
    errors = [_rms(errors) for _, errors in results if errors.size]
    spread = float(np.mean([*errors, _rms(x[YEAR:] - x[:-YEAR])])) + _FLOOR * level
    return model, point, spread, _row(n)


def _row(n: int) -> int:
    return max(start for start in _WIDTHS if start <= n)


def _rms(errors: Floats) -> float:
    return float(np.sqrt(np.mean(np.square(errors)))) if errors.size else 0.0
