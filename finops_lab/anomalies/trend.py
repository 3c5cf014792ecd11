"""Slow changes: the mean of the last days against the weeks before them, all slices at once.

A rise of a third of a day's usual noise is no alarm on any one day, and a mean of seven days shows it.
The weeks before are a line, whose slope is held near zero as far as noise and length demand (a normal
prior, so ridge regression); its forecast of the last days is compared with their mean. The distance is
scaled by what theory says and, more the longer the history, by what the slice's own past distances were.
"""

from __future__ import annotations

import numpy as np

from finops_lab.anomalies.panel import Bools, Floats

__all__ = ["WINDOWS", "Trend"]

WINDOWS = (2, 3, 7)  # days
_BEFORE, _FEWEST = 84, 14  # days before a window: at most, at least
_CLIP = 3.0  # standard deviations that one day adds at most, so that a spike is no trend
_SLOPE = 0.0015  # prior standard deviation of the slope of log spend, per day: about 5 % a month
_CORRELATED = 2.0  # how much more the mean of days varies than of independent ones
_TRUST = 40.0  # days that theory counts for, against the slice's own past
_MEMORY = 0.99  # what a day later is left of that past
_KNOWN, _AFTER = 2.5, 3  # so many standard deviations, so many days in a row: the new level is known


class Trend:
    """Days without their weekdays and fees, and what the past distances of each window were."""

    def __init__(self, slices: int, columns: int) -> None:
        self.flat = np.full((slices, columns), np.nan)
        self.since = np.full(slices, columns, dtype=np.int64)
        self.squares = np.zeros((len(WINDOWS), slices))
        self.counts = np.zeros((len(WINDOWS), slices))
        self.running = np.zeros((len(WINDOWS), slices), dtype=np.int64)

    def begin(self, rows: Bools, past: slice, flat: Floats, level: Floats) -> None:
        """Take the first weeks of slices; an unknown day is at the level."""
        self.flat[rows, past] = np.where(np.isfinite(flat), flat, level[:, None])
        self.since[rows] = past.start

    def shift(self, first: int, t: int, jump: Floats, level: Floats) -> None:
        """Take a new level as known: all before its first day is lifted to it, its days so far are at it."""
        moved = jump != 0
        self.flat[moved, :first] += jump[moved, None]
        self.flat[moved, first : t + 1] = level[moved, None]

    def step(self, t: int, level: Floats, error: Floats, sd: Floats, live: Bools) -> Floats:
        """Take in a day and return the distance of every window in standard deviations."""
        self.flat[:, t] = np.where(live, level + np.clip(error, -_CLIP * sd, _CLIP * sd), np.nan)
        out = np.zeros((len(WINDOWS), len(level)))
        noise = np.square(sd) * _CORRELATED
        for i, window in enumerate(WINDOWS):
            stop = t + 1 - window
            far = np.minimum(stop - self.since, _BEFORE)
            ready = live & (far >= _FEWEST)
            # Slices of one age are one group; most are as old as the window is long.
            for length in np.unique(far[ready]):
                rows = np.flatnonzero(ready & (far == length))
                start = stop - int(length)
                distance, variance = _distance(self.flat[rows, start : t + 1], window, noise[rows])
                squares, counts = self.squares[i, rows], self.counts[i, rows]
                scale = np.sqrt((_TRUST * variance + squares) / (_TRUST + counts))
                score = distance / scale
                out[i, rows] = score
                kept = np.minimum(np.square(distance), np.square(2.5 * scale)) * 1.1
                self.squares[i, rows] = _MEMORY * squares + kept
                self.counts[i, rows] = _MEMORY * counts + 1
                running = np.where(np.abs(score) > _KNOWN, self.running[i, rows] + 1, 0)
                stays = running >= _AFTER
                self.running[i, rows] = np.where(stays, 0, running)
                if stays.any():
                    self.running[:, rows[stays]] = 0
                    self.flat[rows[stays], :stop] += distance[stays, None]
        return out


def _distance(flat: Floats, window: int, noise: Floats) -> tuple[Floats, Floats]:
    """Return how far the mean of the last days is off the line through the days before, and its variance."""
    length = flat.shape[1] - window
    before, recent = flat[:, :length], flat[:, length:].mean(1)
    at = np.arange(length) - (length - 1) / 2
    precision = np.square(at).sum() / noise + 1 / _SLOPE**2
    slope = (before @ at) / noise / precision
    ahead = (length - 1) / 2 + (window + 1) / 2
    distance = recent - before.mean(1) - slope * ahead
    return distance, noise * (1 / window + 1 / length) + ahead**2 / precision
