"""The core of a forecast: the centre and the half widths of a series of order one, at any length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from finops_lab.forecasting.members import run_member, stl_structural
from finops_lab.forecasting.panel import Floats
from finops_lab.forecasting.smoothing import holt_winters
from finops_lab.forecasting.structural import YEAR, structural
from finops_lab.forecasting.waiting import shown
from finops_lab.forecasting.widths import WIDTHS

_SHORT = 8  # months: under it, flat
_RECENT = 3  # months: the level of a flat forecast
_LONG = 4 * YEAR  # months from which Holt-Winters joins; on less it knows too little of the season
# The share of each other member; the structural mean, itself one of hundreds, has the rest.
_STL, _SMOOTHING = 0.1, 0.2
# Economic series grow: at 24, 36 and 60 months the median of what came lies .1 to .3 standard deviations
# above the mean of the members on M4, .1 to .2 on M3. The centre leans by what helps both.
_LEAN = 0.15
# A series never seen to move is not certain: part of its level joins its spread.
_FLOOR_SHORT, _FLOOR = 0.02, 0.002
_GROWTH = 0.3  # where no member gives a spread the half width grows with sqrt(1 + 0.3 (h - 1))


@dataclass(frozen=True)
class Centre:
    """A projection of one series: model, point per month ahead, and half widths below and above it.

    `halves` has a row each for the lower and upper 80 %, the lower and upper 95 %, and the lower and
    upper 50 % bound.
    """

    model: str
    point: Floats
    halves: Floats


def centres(histories: Sequence[Floats], months: int) -> list[Centre]:
    """Project series without holes, each of mean size one, `months` ahead."""
    import scipy.linalg  # noqa: F401  (threadpoolctl limits only what is loaded)
    from threadpoolctl import threadpool_limits

    found: dict[int, Centre] = {}
    # On matrices this small a second thread costs more than it brings, and changes no digit.
    with threadpool_limits(limits=1, user_api="blas"):
        # What depends on the length alone is kept from one series to the next, so equal lengths
        # follow each other.
        order = sorted(range(len(histories)), key=lambda i: len(histories[i]))
        for i in shown(order, f"forecasting {len(order):,} series"):
            model, point, spread = _centre(histories[i], months)
            found[i] = Centre(model, point, np.array(WIDTHS[_row(len(histories[i]))])[:, None] * spread)
    return [found[i] for i in range(len(histories))]


def _centre(x: Floats, months: int) -> tuple[str, Floats, Floats]:
    """Return model, point forecast and spread per month ahead."""
    n, level = len(x), float(np.abs(x[-_RECENT:].mean()))
    ahead = np.sqrt(1 + _GROWTH * np.arange(months))
    flat = np.full(months, x[-_RECENT:].mean())
    calm = (_rms(np.diff(x)) + _FLOOR_SHORT * level) * ahead
    if n < _SHORT:
        return "flat", flat, calm
    seasonal = n >= 2 * YEAR
    model = "combination" if seasonal else "combination_no_season"
    floor = (_FLOOR if seasonal else _FLOOR_SHORT) * level * ahead
    if np.ptp(x) == 0:
        return model, flat, floor
    point, spread = structural(x, months, seasonal=seasonal)
    centre = point
    for member, share, least in ((stl_structural, _STL, 2 * YEAR), (holt_winters, _SMOOTHING, _LONG)):
        other = run_member(member, x, months) if n >= least else None
        if other is not None:
            centre = centre + share * (other - point)
    return model, centre + _LEAN * spread if seasonal else point, spread + floor


def _row(n: int) -> int:
    return max(start for start in WIDTHS if start <= n)


def _rms(errors: Floats) -> float:
    return float(np.sqrt(np.mean(np.square(errors)))) if errors.size else 0.0
