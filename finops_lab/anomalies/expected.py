"""What each slice was expected to spend, day by day, from the days before alone: all slices at once.

The log of spend is a level plus a weekday plus noise (exponential smoothing of type A,N,A with a season
of seven days, Hyndman et al. 2008). How fast level and weekdays change differs by slice, so a small grid
of speeds runs side by side and the expectation is their mean, weighted by how well each foretold the
last weeks under a Student distribution. Errors are clipped before they move anything (Huber 1964), so
that a spike leaves no trace; days that stay off move the level at once. What recurs on the same day of
the month, such as fees, is learned from the months before.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from itertools import product

import numpy as np

from finops_lab.anomalies.panel import Bools, Floats
from finops_lab.anomalies.trend import WINDOWS, Trend

__all__ = ["START", "Expected", "expect"]

START = 28  # days of a slice from which its first level, weekdays and spread are taken
_LEVEL, _WEEKDAY = (0.03, 0.1, 0.3), (0.03, 0.1)  # the grid of speeds
_ECHO = (0.0, 0.4)  # share of a day's error that comes again the day after
_CLIP = 2.0  # standard deviations of an error that a form learns from at most
_MEMORY = 0.97  # what a day later is left of the evidence for a form
_FREEDOM = 5.0  # degrees of the Student distribution
_SPREAD = 0.04  # speed of the spread; it is fed by errors of up to three standard deviations
_UNBIASED = 1.08  # what that clipping takes from the mean square of Student errors
_LEAST = 0.004  # no slice is foretold better than to 0.4 %
_STAYS, _OFF = 3, 1.7  # days in a row, all on one side by so many standard deviations: a new level
# What is over keeps the mean of the last days off; only a day that is off itself goes on with it.
_GOES_ON = 0.3  # standard deviations
_FLOOR = 0.01  # share of the slice's usual level below which amounts are not told apart
_SILENT = 3.0  # times that share: no more was due
_FADE = 0.98  # of that usual level, per day without spend
_MONTHS = 6  # of the same day that are remembered
_ROUGH = 0.1  # no fee is foretold better than to this share of it
_RECURS = 2.0  # standard deviations by which the last of them were all off: it is due to the day


@dataclass(frozen=True)
class Expected:
    """The expectation of each slice and day, and how far the day was off; NaN where nothing is expected.

    Attributes
    ----------
    log : numpy.ndarray
        Slices x days: log of the expected amount.
    level : numpy.ndarray
        Slices x days: the part of it that is neither weekday nor day of the month.
    spread : numpy.ndarray
        Slices x days: standard deviation of that log.
    scores : numpy.ndarray
        (1 + windows) x slices x days: the day's error in standard deviations, then the same of the mean
        of the last days of each of `finops_lab.anomalies.trend.WINDOWS` against the weeks before; 0
        where the day itself is not off to the same side.
    age : numpy.ndarray
        Slices x days: days since the first known one.
    """

    log: Floats
    level: Floats
    spread: Floats
    scores: Floats
    age: Floats


class _Forms:
    """Levels, weekdays, spreads and evidence of all forms (rows) and slices (columns)."""

    def __init__(self, slices: int) -> None:
        speeds = np.array(list(product(_LEVEL, _WEEKDAY, _ECHO)))
        self.alpha, self.gamma, self.echo = speeds[:, :1], speeds[:, 1:2], speeds[:, 2:]
        shape = (len(speeds), slices)
        self.level, self.variance, self.evidence = np.zeros(shape), np.ones(shape), np.zeros(shape)
        self.weekdays, self.off = np.zeros((7, *shape)), np.zeros(shape)
        self.top = np.zeros(slices)

    def begin(self, rows: Bools, x: Floats, weekday: Floats) -> Floats:
        """Start slices from their first weeks; return these without the weekdays."""
        level = np.nanmedian(x, 1)
        season = np.zeros((7, len(x)))
        for day in range(7):
            of_day = x[:, weekday == day] - level[:, None]
            known = np.isfinite(of_day).any(1)
            season[day, known] = np.nanmedian(of_day[known], 1)
        flat: Floats = x - season[weekday.astype(int)].T
        level = np.nanmedian(flat, 1)
        off = np.abs(flat - level[:, None])
        # The mean speaks for slices that charge on few of the days, whose median is nought.
        spread = np.maximum(1.7 * np.nanmedian(off, 1), 1.2 * np.nanmean(off, 1)) + _LEAST
        self.level[:, rows] = level
        self.weekdays[:, :, rows] = season[:, None, :]
        self.variance[:, rows] = np.square(spread)
        self.evidence[:, rows] = 0.0
        self.off[:, rows] = 0.0
        self.top[rows] = level
        return flat

    def weights(self) -> Floats:
        weight: Floats = np.exp(self.evidence - self.evidence.max(0))
        weight /= weight.sum(0)
        return weight

    def learn(self, weekday: int, off: Floats, known: Bools) -> None:
        """Move every form by its own clipped error, which is how far off the day was without the echo."""
        error = np.where(known, off - self.echo * self.off, 0.0)
        square, spread = np.square(error), np.sqrt(self.variance)
        ratio = np.minimum(square / self.variance, 36.0)
        fit = -np.log(spread) - (_FREEDOM + 1) / 2 * np.log1p(ratio / _FREEDOM)
        self.evidence = np.where(known, _MEMORY * self.evidence + fit, self.evidence)
        kept = np.minimum(square, 9 * self.variance) * _UNBIASED
        moved = (1 - _SPREAD) * self.variance + _SPREAD * kept
        self.variance = np.where(known, np.maximum(moved, _LEAST**2), self.variance)
        clipped = np.clip(error, -_CLIP * spread, _CLIP * spread)
        self.off = np.where(known, np.clip(off, -_CLIP * spread, _CLIP * spread), self.echo * self.off)
        self.level += self.alpha * clipped
        self.weekdays[weekday] += self.gamma * clipped


def expect(values: Floats, missing: Bools, days: list[date]) -> Expected:
    """Foretell each day of each slice from the days before it.

    Parameters
    ----------
    values : numpy.ndarray
        Slices x days, Float64. Below one per cent of the usual level, and below zero, amounts count as
        that one per cent.
    missing : numpy.ndarray
        Slices x days: where nobody knows. Such a day teaches nothing.
    days : list of datetime.date
        The days, consecutive.

    Returns
    -------
    Expected
        NaN before a slice has 28 days.

    Examples
    --------
    >>> flat = np.full((1, 60), 100.0)
    >>> flat[0, 50] = 300
    >>> found = expect(flat, np.zeros((1, 60), bool), [date.fromordinal(739000 + i) for i in range(60)])
    >>> round(float(np.exp(found.log[0, 50])), 6), bool(found.scores[0, 0, 50] > 50)
    (100.0, True)
    """
    slices, columns = values.shape
    known = ~missing & np.isfinite(values)
    age = np.cumsum(np.cumsum(known, 1) > 0, 1).astype(np.float64)
    weekday = np.array([day.weekday() for day in days])
    nothing = np.full((slices, columns), np.nan)
    log, levels, spread = nothing.copy(), nothing.copy(), nothing.copy()
    scores = np.full((1 + len(WINDOWS), slices, columns), np.nan)
    forms, trend = _Forms(slices), Trend(slices, columns)
    dates = np.full((32, _MONTHS, slices), np.nan)
    last = np.zeros((_STAYS, slices))
    for t, day in enumerate(days):
        new = age[:, t] == START + 1
        if new.any():
            past = slice(t - START, t)
            x, top = _logs(values[new, past], known[new, past])
            flat = forms.begin(new, x, weekday[past])
            forms.top[new] = top
            trend.begin(new, past, flat, forms.level[0, new])
        live = age[:, t] > START
        if not live.any():
            continue
        here = known[:, t] & live
        flat = forms.level + forms.weekdays[weekday[t]]
        each = flat + forms.echo * forms.off
        weight = forms.weights()
        mean = (weight * each).sum(0)
        sd = np.sqrt((weight * (forms.variance + np.square(each - mean))).sum(0))
        base = np.exp(mean)
        due, width = _due(dates[day.day], base, sd)
        total = np.maximum(base + due, base * _FLOOR)
        sd = np.where(width > 0, np.sqrt(np.square(base * sd) + np.square(width)) / total, sd)
        added = np.log(total) - mean
        forms.top = np.maximum(mean, forms.top + np.log(_FADE))
        floor = np.exp(forms.top + np.log(_FLOOR))
        amount = np.where(here, values[:, t], 1.0)
        x = np.log(np.maximum(amount, floor))
        # Nothing was due and nothing came: that says nothing of how far off such a slice can be.
        silent = here & (amount <= floor) & (total <= _SILENT * floor)
        heard = here & ~silent
        forms.level[:, silent] += np.log(_FADE)
        error = np.where(heard, x - mean - added, 0.0)
        log[live, t], spread[live, t] = (mean + added)[live], sd[live]
        scores[0, here, t] = (error / sd)[here]
        dates[day.day, 1:], dates[day.day, 0] = (
            dates[day.day, :-1].copy(),
            np.where(here, np.exp(x) - base, np.nan),
        )
        level = (weight * forms.level).sum(0)
        levels[live, t] = level[live]
        windows = trend.step(t, level, error, sd, live)
        goes_on = np.sign(windows) * error > _GOES_ON * sd
        scores[1:, here, t] = np.where(goes_on & ~silent, windows, 0.0)[:, here]
        forms.learn(int(weekday[t]), x - flat - added, heard)
        last[:-1], last[-1] = last[1:].copy(), error
        stays = np.all(last > _OFF * sd, 0) | np.all(last < -_OFF * sd, 0)
        if stays.any():
            jump = np.where(stays, np.median(last, 0), 0.0)
            forms.level = np.where(stays, level + jump, forms.level)
            forms.off[:, stays] = 0.0
            trend.shift(t - _STAYS + 1, t, jump, level + jump)
            last[:, stays] = 0.0
    return Expected(log, levels, spread, scores, age)


def _logs(values: Floats, known: Bools) -> tuple[Floats, Floats]:
    """Return the logs of first weeks, floored, and the log of the usual level."""
    amounts = np.where(known, values, np.nan)
    positive = np.where(amounts > 0, amounts, np.nan)
    some = np.isfinite(positive).any(1)
    usual = np.ones(len(values))
    usual[some] = np.nanmedian(positive[some], 1)
    x = np.where(known, np.log(np.maximum(np.where(known, values, 1.0), _FLOOR * usual[:, None])), np.nan)
    return x, np.log(usual)


def _due(past: Floats, base: Floats, sd: Floats) -> tuple[Floats, Floats]:
    """Return what the day of the month adds, and its standard deviation: both in the currency.

    It is the median of the months before, where the last of them were all off alike.
    """
    three = past[:3]
    count, close = np.isfinite(past).sum(0), np.isfinite(three)
    least = np.where(close, np.abs(three), np.inf).min(0)
    side = np.abs(np.where(close, np.sign(three), 0.0).sum(0))
    alike = (count >= 2) & (side == np.minimum(count, 3)) & (least > base * np.expm1(_RECURS * sd))
    due, width = np.zeros(len(base)), np.zeros(len(base))
    if alike.any():
        amounts = past[:, alike]
        due[alike] = np.nanmedian(amounts, 0)
        around = 1.5 * np.nanmedian(np.abs(amounts - due[alike]), 0)
        width[alike] = np.maximum(around, _ROUGH * np.abs(due[alike]))
    return due, width
