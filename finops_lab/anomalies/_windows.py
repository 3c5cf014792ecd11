"""Tests of windows against what was expected of them, and thresholds that keep the false-alarm budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from finops_lab.anomalies._seasons import WEEK
from finops_lab.anomalies._tails import count_scores, level_scores, robust_spread, thresholds
from finops_lab.anomalies.panel import Bools, Floats

__all__ = ["Found", "Judged", "alarms", "judged"]

NOISE_DAYS, TAIL_DAYS, _RARE_DAYS = 14, 28, 56
LONG = 6  # windows that the slower test adds up
_DAYS_PER_MONTH = 30.4375
# Of the budget: noise and thresholds that are learned from few weeks are off, more often too low.
_SPENT = 0.5
# Relative noise that no series is credited with being below, and that of one not known yet.
_LEAST_NOISE, _USUAL_NOISE = 0.05, 0.2


@dataclass(frozen=True)
class Judged:
    """What series of one kind are tested on; arrays are series x windows.

    Attributes
    ----------
    kind : str
        ``count``, ``ratio`` or ``level``.
    seen, expected : numpy.ndarray
        Independent events; of a level the level itself.
    events : numpy.ndarray
        How many events one of the series' unit is.
    noise : numpy.ndarray
        Relative spread beyond that of counting.
    sure : numpy.ndarray
        Events that come without chance, beside those; 0 but for uneven rows.
    """

    kind: str
    seen: Floats
    expected: Floats
    events: Floats
    noise: Floats
    sure: Floats

    def spread(self) -> Floats:
        """Return the spread of an event count around its expectation."""
        poisson = 0.0 if self.kind == "level" else self.expected
        return np.asarray(np.sqrt(poisson + (self.noise * self.expected) ** 2))


@dataclass(frozen=True)
class Found:
    """The most unlikely test of each window; arrays are series x windows."""

    score: Floats
    threshold: Floats
    alarm: Bools
    up: Bools


def judged(
    values: Floats, evidence: Floats, base: Floats, kind: str, reach: int, largest: Floats | None = None
) -> Judged:
    """Turn values into independent events, and learn their noise from the days before each.

    Parameters
    ----------
    values, evidence, base : numpy.ndarray
        Series x days x windows: `Series.values`, `Series.evidence`, and what was expected.
    kind : str
        ``count``, ``ratio`` or ``level``.
    reach : int
        First day that is asked for.
    largest : numpy.ndarray, optional
        Of a count of uneven rows: `Series.largest`.

    Returns
    -------
    Judged

    Notes
    -----
    A sum of many rows that differ in size has a longer tail than as many rows of one size: three times
    the tokens are more often one long call than three times the calls. A sum of uneven rows is taken for a
    part without chance, and Poisson many rows of the size of the largest: mean, variance and third moment
    are those of the sum itself (of a compound Poisson sum: the rows' number times the moments of a row).
    """
    rows, days, windows = values.shape
    events = np.ones_like(values)
    if kind == "ratio":
        events = evidence
    elif kind == "count":
        events = np.repeat(1 / _each(values, evidence)[:, :, None], windows, axis=2)
    seen, wanted = values * events, base * events
    if kind == "count":
        wanted = np.maximum(wanted, (_rare(values) * events[:, :, 0])[:, :, None])
    noise = np.full((rows, days), _USUAL_NOISE)
    with np.errstate(divide="ignore", invalid="ignore"):
        off = np.log(seen / wanted) if kind == "level" else seen / wanted - 1
        poisson = np.zeros_like(off) if kind == "level" else 1 / wanted
    many = np.isfinite(off) & ((wanted >= 5) | (kind == "level"))
    for day in range(reach, days):
        lately = slice(max(0, day - NOISE_DAYS), day)
        kept = many[:, lately].reshape(rows, -1)
        count = kept.sum(axis=1)
        spread = robust_spread(np.where(kept, off[:, lately].reshape(rows, -1), np.nan))
        chance = np.where(kept, poisson[:, lately].reshape(rows, -1), 0.0).sum(axis=1) / np.maximum(count, 1)
        own = np.sqrt(np.maximum(spread**2 - chance, _LEAST_NOISE**2))
        noise[:, day] = np.where(count >= 100, own, _USUAL_NOISE)
    flat = (rows, days * windows)
    seen, wanted, events = (one.reshape(flat) for one in (seen, wanted, events))
    noise, sure = np.repeat(noise, windows, axis=1), np.zeros(flat)
    if largest is not None:
        alike = np.repeat(_alike(values, evidence, largest), windows, axis=1)
        sure = (1 - alike) * alike * wanted
        seen, wanted, events, noise = alike * seen - sure, alike**2 * wanted, alike * events, noise / alike
    return Judged(kind, seen, wanted, events, noise, sure)


def _each(values: Floats, evidence: Floats) -> Floats:
    """Return what one independent row adds, by the rows of four weeks before each day: sum v^2 / sum v."""
    told = np.isfinite(values) & np.isfinite(evidence) & (values > 0)
    squares = _before(np.where(told, values * evidence, 0.0).sum(axis=2), TAIL_DAYS)
    sums = _before(np.where(told, values, 0.0).sum(axis=2), TAIL_DAYS)
    return np.where(sums > 0, squares / np.maximum(sums, 1e-300), 1.0)


def _alike(values: Floats, evidence: Floats, largest: Floats) -> Floats:
    """Return what a row usually adds over what the largest add, 1 where all are alike, by four weeks before."""
    told = np.isfinite(largest) & np.isfinite(evidence) & (values > 0)
    sums, squares, cubes = (
        _before(np.where(told, one, 0.0).sum(axis=2), TAIL_DAYS)
        for one in (values, values * evidence, values * evidence * largest)
    )
    known = (sums > 0) & (cubes > 0)
    return np.where(known, np.minimum(squares**2 / np.where(known, sums * cubes, 1.0), 1.0), 1.0)


def _rare(values: Floats) -> Floats:
    """Return the least to expect of any window: the mean of eight weeks, by how often a window is empty.

    What happens once a month has no usual hour; it is not impossible in any. A series that is never empty
    keeps its quiet nights.
    """
    known = np.isfinite(values)
    count = np.maximum(_before(known.sum(axis=2).astype(float), _RARE_DAYS), 1.0)
    empty = _before((known & (values == 0)).sum(axis=2).astype(float), _RARE_DAYS) / count
    mean = _before(np.where(known, values, 0.0).sum(axis=2), _RARE_DAYS) / count
    return empty * mean


def _before(by_day: Floats, days: int) -> Floats:
    """Add up the days before each, at most so many."""
    total = np.cumsum(np.pad(by_day, ((0, 0), (1, 0))), axis=1)
    at = np.arange(by_day.shape[1])
    return np.asarray(total[:, at] - total[:, np.maximum(at - days, 0)])


def alarms(
    what: Judged,
    sides: Sequence[bool],
    *,
    first: int,
    begin: int,
    windows: int,
    budget: float,
    smallest: float,
    lasting: bool = False,
) -> Found:
    """Score each window by each test, and compare with thresholds learned on the days before.

    Parameters
    ----------
    what : Judged
        The series.
    sides : sequence of bool
        True for more, False for less: what may be an alarm.
    first, begin : int
        First day to score, and first to say alarms of.
    windows : int
        Windows of a day.
    budget : float
        False alarms per series and month.
    smallest : float
        Smallest relative change that may be an alarm.
    lasting : bool
        Whether one row is in many windows in a row, so that windows together tell no more than one.

    Returns
    -------
    Found
    """
    lengths = (1,) if lasting or what.kind == "level" else (1, LONG)
    tests = [(length, up) for length in lengths for up in sides]
    chance = _SPENT * budget / (_DAYS_PER_MONTH * windows * len(tests))
    shape = what.seen.shape
    found = Found(
        np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape, np.bool_), np.ones(shape, np.bool_)
    )
    for length, up in tests:
        seen, wanted, sure = (trailing(one, length) for one in (what.seen, what.expected, what.sure))
        score = np.full(shape, np.nan)
        at = slice(first * windows, None)
        score[:, at] = _scores(what.kind, seen[:, at], wanted[:, at], what.noise[:, at], up=up)
        most = (wanted + sure) * (1 + smallest if up else 1 - smallest)
        changed = seen + sure >= most if up else seen + sure <= most
        if length > 1:  # what is over is no alarm any more
            changed &= what.seen > what.expected if up else what.seen < what.expected
        limit = _limits(score, changed, chance, first, begin, windows)
        over = (score > limit) & changed
        over[:, : begin * windows] = False
        found.alarm[:] |= over
        margin, held = score - limit, found.score - found.threshold
        better = np.isfinite(margin) & ~(held >= margin)
        found.score[better], found.threshold[better], found.up[better] = score[better], limit[better], up
    return found


def _scores(kind: str, seen: Floats, wanted: Floats, noise: Floats, *, up: bool) -> Floats:
    """Score windows; exactly only those that are off by more than a spread, for others are no alarm."""
    if kind == "level":
        return level_scores(seen, wanted, noise, up=up)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = (seen - wanted) / np.sqrt(wanted + (noise * wanted) ** 2) * (1.0 if up else -1.0)
    odd = found > 1
    found[odd] = count_scores(seen[odd], wanted[odd], noise[odd], up=up)
    return found


def _limits(score: Floats, changed: Bools, chance: float, first: int, begin: int, windows: int) -> Floats:
    """Learn a threshold each week, from the scores of the four weeks before that were no alarm."""
    limits = np.full(score.shape, np.nan)
    over = np.zeros(score.shape, dtype=np.bool_)
    limit = np.full(len(score), np.nan)
    for day in range(first, score.shape[1] // windows):
        now = slice(day * windows, (day + 1) * windows)
        if day == first or (day - begin) % WEEK == 0:
            past = slice(max(first, day - TAIL_DAYS) * windows, day * windows)
            limit = thresholds(score[:, past], ~over[:, past], chance)
        limits[:, now] = limit[:, None]
        over[:, now] = (score[:, now] > limits[:, now]) & changed[:, now]
    return limits


def trailing(values: Floats, length: int) -> Floats:
    """Add up each window and those before it; NaN where one of them is not known.

    Examples
    --------
    >>> trailing(np.array([[1.0, 2.0, 3.0]]), 2).tolist()
    [[nan, 3.0, 5.0]]
    """
    if length == 1:
        return values
    sums = np.full(values.shape, np.nan)
    parts = np.lib.stride_tricks.sliding_window_view(values, length, axis=1)
    sums[:, length - 1 :] = parts.sum(axis=2)
    return sums
