"""Isolated outliers of a series: months far off their surroundings, once, with the old level after them."""

from __future__ import annotations

import numpy as np

from finops_lab.forecasting.panel import Floats
from finops_lab.forecasting.structural import YEAR

__all__ = ["expected"]

_LEAST = 8  # known months; less shows no usual level
_SIDE = 3  # months on each side whose median is the level there
_CLEAR = 6.0  # how many robust standard deviations off, against the level and against the season
# Next to nothing, in a series that is never low otherwise, says more than a distance does.
_CLEAR_GONE, _GONE, _LOW = 3.0, 0.02, 0.25
_CLEAR_RATIO = 4.0  # the same for the logarithm of what is above the level
_ROBUST = 1.4826  # makes a median absolute deviation a standard deviation (normal errors)
# The least distance from the level, as shares of it: upwards, downwards. Without the same month of
# another year nothing tells a yearly peak from an outlier, so it takes more.
_FAR, _FAR_SHORT = (0.6, 0.5), (2.0, 0.8)
_BACK = 0.35  # the levels before and after may differ by this share of the distance
_RECURS = 0.4  # a distance of this share in the same month of another year is a season
_MOST = 1 / 18  # share of months that can be exceptions; with more the series is like that


def expected(rates: Floats) -> Floats:
    """Say what outliers of a series would have been; NaN for every month that is none.

    A month is replaced where all of this holds: it is far from the median of three months before it and
    of three after it, on the same side, and these two levels agree (so a new level stays); it is far
    from what the same months of other years were against their levels (so a yearly peak stays); and
    both distances are six times the series' own robust spread (three times for a month of next to
    nothing in a series that never is that low). Two months in a row may be an exception,
    three are none. The last month is never replaced: nothing
    shows whether it stays. Where more than one month, and more than one in eighteen, looks like that, none is replaced.

    Parameters
    ----------
    rates : numpy.ndarray
        Daily rates of consecutive months, NaN where unknown.

    Returns
    -------
    numpy.ndarray
        The level around the month, times the season where the history holds one.

    Examples
    --------
    >>> expected(np.array([5.0, 5, 5, 5, 50, 5, 5, 5, 5, 5])).tolist()[3:6]
    [nan, 5.0, nan]
    """
    n = len(rates)
    nothing = np.full(n, np.nan)
    if (~np.isnan(rates)).sum() < _LEAST:
        return nothing
    before, after = _levels(rates)
    level = np.where(np.isnan(before), after, np.where(np.isnan(after), before, (before + after) / 2))
    off = rates - level
    seen = _season(off, level)
    season = np.nan_to_num(seen)
    unusual = off - season
    up, down = np.where(np.isnan(seen), np.array(_FAR_SHORT)[:, None], np.array(_FAR)[:, None])
    with np.errstate(invalid="ignore", divide="ignore"):
        # What is below its level cannot be further off than the level; what is above it can, and more
        # so where the series moves by factors.
        ratio = np.where((rates > 0) & (level > 0), np.log(rates / level), np.nan)
        odd = np.where(off > 0, ratio > _CLEAR_RATIO * _spread(ratio), True)
        far = np.where(off > 0, off > up * level, -off > down * level) & (level > 0)
        isolated = np.abs(after - before) <= _BACK * np.abs(off)
        low = (rates < _LOW * level) & (level > 0)
        gone = low & (rates <= _GONE * level) & (low.sum() <= max(1.0, _MOST * n))
        least = np.where(gone, _CLEAR_GONE, _CLEAR)
        clear = (np.abs(off) > least * _spread(off)) & (np.abs(unusual) > least * _spread(unusual))
        new = (np.abs(season) < _RECURS * np.abs(off)) | (season * off < 0)
        found = far & isolated & clear & odd & new
    for i in np.flatnonzero(found):
        beside = [j for j in (i - 1, i + 1) if 0 <= j < n and not found[j]]
        # A month beside it that is as far off makes it one of three or more.
        if any((rates[j] - level[i]) / off[i] > 0.5 for j in beside):
            found[i] = False
    if found.sum() > max(1.0, _MOST * n):
        return nothing
    return np.where(found, np.maximum(level + season, 0.0), np.nan)


def _levels(rates: Floats) -> tuple[Floats, Floats]:
    """Return the medians of the months before and after each, NaN where there are none."""
    padded = np.concatenate([np.full(_SIDE, np.nan), rates, np.full(_SIDE, np.nan)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, _SIDE)
    return _medians(windows[: len(rates)]), _medians(windows[_SIDE + 1 :])


def _medians(rows: Floats) -> Floats:
    """Return the medians of rows without their NaN; NaN for a row of nothing else."""
    ordered, count = np.sort(rows, axis=1), (~np.isnan(rows)).sum(axis=1)
    pick = np.arange(len(rows))
    low, high = np.maximum(count - 1, 0) // 2, count // 2
    middle = (ordered[pick, low] + ordered[pick, np.minimum(high, rows.shape[1] - 1)]) / 2
    return np.where(count > 0, middle, np.nan)


def _season(off: Floats, level: Floats) -> Floats:
    """Return how far the same months of other years were off, at this level; NaN without such a month."""
    n, years = len(off), -(-len(off) // YEAR)
    season = np.full(n, np.nan)
    if n <= YEAR:
        return season
    share = np.full(years * YEAR, np.nan)
    np.divide(off, level, out=share[:n], where=level > 0)
    grid = share.reshape(years, YEAR)
    for year in range(years):
        others = _medians(np.delete(grid, year, axis=0).T)
        at = slice(year * YEAR, min((year + 1) * YEAR, n))
        season[at] = others[: at.stop - at.start] * level[at]
    return season


def _spread(off: Floats) -> float:
    there = off[~np.isnan(off)]
    return float(_ROBUST * np.median(np.abs(there - np.median(there)))) if there.size else 0.0
