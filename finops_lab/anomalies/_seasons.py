"""What a window of the week usually holds: by hour of the week, leaning on the hour of the day."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from finops_lab.anomalies._tails import nanmedian
from finops_lab.anomalies.panel import Floats

__all__ = ["WEEK", "centre", "expectations", "hours_of", "level", "steps", "week_profile"]

# A mean of so many alike hours counts as much as all that it leans on.
_LEAN = 2.0
WEEK = 7


def hours_of(values: Floats, per_hour: int) -> Floats:
    """Average days x windows to days x hours; an hour less than half known is not known.

    Examples
    --------
    >>> hours_of(np.array([[[1.0, 3.0] + [np.nan] * 46]]), 2)[0, 0, :2].tolist()
    [2.0, nan]
    """
    cells = values.reshape(*values.shape[:-1], -1, per_hour)
    known = np.isfinite(cells).sum(axis=-1)
    sums = np.where(np.isfinite(cells), cells, 0.0).sum(axis=-1)
    return np.where(known * 2 >= per_hour, sums / np.maximum(known, 1), np.nan)


def centre(values: Floats, axis: int = 1) -> tuple[Floats, Floats]:
    """Average what is left without the lowest and the highest fifth, and count what is known.

    A median of counts is 0 where most hours are empty; this mean is not, and a week of an anomaly in
    five does not move it far.

    Examples
    --------
    >>> mean, count = centre(np.array([[0.0, 1.0, 2.0, 3.0, 500.0, np.nan]]))
    >>> mean.tolist(), count.tolist()
    ([2.0], [5.0])
    """
    ordered = np.sort(np.moveaxis(values, axis, 1), axis=1)  # NaN comes last
    count = np.isfinite(ordered).sum(axis=1)
    cut = count // 5
    place = np.arange(ordered.shape[1]).reshape(1, -1, *([1] * (ordered.ndim - 2)))
    kept = (place >= cut[:, None]) & (place < (count - cut)[:, None])
    sums = np.where(kept, ordered, 0.0).sum(axis=1)
    left = kept.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.where(left > 0, sums / np.maximum(left, 1), np.nan), count.astype(float)


def week_profile(hours: Floats, weekdays: Sequence[int], weekday: int) -> Floats:
    """Say what each hour of a weekday holds, from the days before it.

    Three means, from the surest to the closest: the hour on all days, on days of its kind (weekend or
    not), on its weekday. Each leans on the one before it as much as two of its own days weigh.

    Parameters
    ----------
    hours : numpy.ndarray
        Series x days x 24.
    weekdays : sequence of int
        Weekday of each day, Monday is 0.
    weekday : int
        The one to tell of.

    Returns
    -------
    numpy.ndarray
        Series x 24; NaN where no day knows the hour.

    Examples
    --------
    A week of 10 an hour on working days and 2 on others; the next Sunday.

    >>> hours = np.array([[[10.0] * 24] * 5 + [[2.0] * 24] * 2])
    >>> week_profile(hours, range(7), 6)[0, 0].round(1).item()
    4.1
    """
    days = np.asarray(weekdays)
    found, _ = centre(hours)
    for alike in ((days >= 5) == (weekday >= 5), days == weekday):
        if alike.any():
            near, count = centre(hours[:, alike])
            leaning = (count * near + _LEAN * found) / (count + _LEAN)
            found = np.where(np.isfinite(near), leaning, found)
    return found


def steps(hours: Floats, per_hour: int) -> Floats:
    """Draw lines between the middles of hours: series x 24 to series x windows of a day.

    Examples
    --------
    >>> steps(np.arange(24.0)[None], 2)[0, 2:6].tolist()
    [0.75, 1.25, 1.75, 2.25]
    """
    if per_hour == 1:
        return hours
    at = (np.arange(24 * per_hour) + 0.5) / per_hour - 0.5
    low = np.floor(at).astype(int)
    part = at - low
    return np.asarray(hours[:, low % 24] * (1 - part) + hours[:, (low + 1) % 24] * part)


def level(ratios: Floats) -> Floats:
    """Return the usual ratio of what was seen to what the profile said, over days; 1 where unknown.

    Examples
    --------
    >>> level(np.array([[1.1, 1.2, 9.0], [np.nan] * 3])).tolist()
    [1.2, 1.0]
    """
    middle = nanmedian(ratios) if ratios.shape[1] else np.full(len(ratios), np.nan)
    return np.where(np.isfinite(middle), np.clip(middle, 0.25, 4.0), 1.0)


def expectations(
    values: Floats, evidence: Floats, kind: str, weekdays: Sequence[int], reach: int, history: int
) -> Floats:
    """Say what each window of each day should hold, from the days before it.

    Parameters
    ----------
    values, evidence : numpy.ndarray
        Series x days x windows, as in `finops_lab.anomalies.series.Series`, all of one kind.
    kind : str
        ``count``, ``ratio`` or ``level``.
    weekdays : sequence of int
        Weekday of each day, Monday is 0.
    reach : int
        First day that is asked for.
    history : int
        Days that are looked back.

    Returns
    -------
    numpy.ndarray
        Like `values`, in their unit. NaN of the first week, where nothing is known of an hour, and of
        days more than a week before `reach`.

    Examples
    --------
    >>> calls = np.full((1, 9, 24), 5.0)
    >>> expectations(calls, np.ones_like(calls), "count", [0, 1, 2, 3, 4, 5, 6, 0, 1], 8, 56)[0, 8, 0].item()
    5.0
    """
    per_hour = values.shape[2] // 24
    base = np.full(values.shape, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        sizes = np.log(values) if kind == "level" else values * (evidence if kind == "ratio" else 1.0)
    sizes = np.where(np.isfinite(sizes), sizes, np.nan)
    hours = hours_of(sizes, per_hour)
    calls = hours_of(np.where(np.isfinite(sizes), evidence, np.nan), per_hour) if kind == "ratio" else hours
    ratios = np.full(values.shape[:2], np.nan)
    for day in range(WEEK, values.shape[1]):
        if day < reach - WEEK:
            continue
        past = slice(max(0, day - history), day)
        if kind == "ratio":
            share = _share(hours[:, past] * per_hour, calls[:, past] * per_hour)
            base[:, day] = steps(share, per_hour) * evidence[:, day]
        else:
            base[:, day] = steps(week_profile(hours[:, past], weekdays[past], weekdays[day]), per_hour)
        seen = np.isfinite(sizes[:, day]) & np.isfinite(base[:, day])
        shift = level(ratios[:, max(0, day - WEEK) : day])
        whole, told = (np.where(seen, one, 0.0).sum(axis=1) for one in (base[:, day], sizes[:, day]))
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.exp((told - whole) / seen.sum(axis=1)) if kind == "level" else told / whole
        ratios[:, day] = np.where(np.isfinite(ratio) & (ratio > 0), ratio, np.nan)
        if kind == "level":
            base[:, day] += np.log(shift)[:, None]
        else:
            base[:, day] *= shift[:, None]
    if kind == "level":
        return np.asarray(np.exp(base))
    return base / evidence if kind == "ratio" else base


def _share(part: Floats, whole: Floats) -> Floats:
    """Return a share by hour of the day, leaning on that of all hours as much as 20 such calls weigh."""
    by_day = np.stack([np.nansum(part, axis=2), np.nansum(whole, axis=2)])
    mean = centre(by_day[0])[0] / np.maximum(centre(by_day[1])[0], 1e-9)
    # Nobody is sure of no failure at all: half a call more.
    mean = np.maximum(mean, 0.5 / np.maximum(by_day[1].sum(axis=1), 1.0))
    hits, count = centre(part)
    calls, _ = centre(whole)
    hits, calls = np.nan_to_num(hits) * count, np.nan_to_num(calls) * count
    share: Floats = mean[:, None] * (hits + 20.0) / (mean[:, None] * calls + 20.0)
    return np.minimum(share, 1.0)
