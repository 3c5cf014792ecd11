"""From distances to one score per day, in false alarms per month, and from a budget to a threshold.

How often a distance is passed on days when nothing happened is counted, not assumed: bills have heavier
tails than any textbook. A score of 1 says that a day like this comes once in ten months of a clean slice,
a score of 2 once in a hundred. The four distances share the false alarms, and the score is the rarest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from finops_lab.anomalies.expected import START, Expected
from finops_lab.anomalies.panel import Bools, Floats
from finops_lab.errors import InputError

__all__ = ["GAP", "JUDGED", "SHIPPED", "Calibration", "learn", "onsets", "reach", "scores", "threshold"]

MONTH = 30.4375  # days
GAP = 2  # days without an alarm inside one event, at most
JUDGED = START + 7  # days of history before a slice is judged
# False alarms per slice and month at which distances are known; beyond them the last line is extended.
RATES = np.geomspace(1.5, 0.02, 10)
_SHARES = np.array([0.25, 0.35, 0.1, 0.3])  # of the false alarms: the day, then the windows of `trend`
# With more false alarms than this, events that run hide new ones: recall falls again (benchmarks/
# anomaly_accuracy.py), so a larger budget is not spent.
MOST = 0.4
# Of a budget that is spent: slices are never quite those that distances were learned on, and a stated
# budget has to hold on them too.
_SPENT = 0.85
_PRIOR = 12.0  # months that the pool counts for, against a slice's own months
_USUAL = 0.25  # false alarms per month of the pool at which a slice's own are counted
_OWN = (1.0, 10.0)  # times the pool's at which a slice is held to be odd


@dataclass(frozen=True)
class Calibration:
    """What is passed on clean days how often: ascending distances at the falling `RATES`.

    Attributes
    ----------
    parts : numpy.ndarray
        Distances x rates, per distance of `Expected.scores`.
    whole : numpy.ndarray
        Rates: the same of the rarest of the parts.
    own : numpy.ndarray
        Rates: the same after the correction for how odd the slice itself was before.
    """

    parts: Floats
    whole: Floats
    own: Floats


# Learned on the clean development bases of benchmarks/anomaly_accuracy.py, seeds 101 to 106.
SHIPPED = Calibration(
    np.array(
        [
            [1.789, 2.139, 2.499, 2.927, 3.342, 3.89, 4.591, 5.533, 6.719, 10.406],
            [1.303, 1.586, 1.831, 2.065, 2.292, 2.606, 2.875, 3.176, 3.437, 3.649],
            [1.199, 1.468, 1.711, 1.977, 2.195, 2.492, 2.941, 3.353, 3.567, 3.833],
            [0.954, 1.252, 1.518, 1.74, 1.975, 2.169, 2.34, 2.543, 2.734, 2.885],
        ]
    ),
    np.array([-0.467, -0.22, 0.021, 0.244, 0.459, 0.684, 0.922, 1.176, 1.527, 1.719]),
    np.array([-0.244, -0.02, 0.194, 0.38, 0.6, 0.775, 0.945, 1.166, 1.384, 1.648]),
)


def learn(clean: Sequence[Expected], first: int = 0) -> Calibration:
    """Count how often distances are passed on days when nothing happened.

    Parameters
    ----------
    clean : sequence of Expected
        Expectations of slices without anomalies. Fees, growth and new levels that were meant belong in.
    first : int
        Day of the arrays from which they are counted.

    Returns
    -------
    Calibration
        What `scores` and `threshold` take.

    Raises
    ------
    InputError
        Fewer than 20 slice-months, from which nothing rare can be told.
    """
    judged = [_judged(one)[:, first:] for one in clean]
    months = sum(float(rows.sum()) for rows in judged) / MONTH
    if months < 20:
        raise InputError(
            f"{months:.0f} months of slices are too few to learn thresholds from",
            hint="20 are needed; without, the shipped calibration is used",
        )
    parts = []
    for i in range(len(_SHARES)):
        distances = [np.abs(one.scores[i])[:, first:] for one in clean]
        parts.append(_levels(distances, judged, months))
    found = np.array(parts)
    rarest = [_rarest(one, found) for one in clean]
    whole = _levels([one[:, first:] for one in rarest], judged, months)
    corrected = [_corrected(_rate(r, whole), _judged(one)) for r, one in zip(rarest, clean, strict=True)]
    return Calibration(found, whole, _levels([one[:, first:] for one in corrected], judged, months))


def scores(expected: Expected, calibration: Calibration = SHIPPED) -> tuple[Floats, Floats]:
    """Return the score of each slice and day, and the sign of what made it.

    Parameters
    ----------
    expected : Expected
        Of the slices to judge.
    calibration : Calibration
        From `learn`, or what is shipped.

    Returns
    -------
    tuple of numpy.ndarray
        The score: minus the log (base 10) of false alarms per slice and month at this threshold; NaN
        where the slice is not judged. It is corrected by how often the slice itself was odd before the
        day. Then 1 where spend is up, -1 where it is down.
    """
    score = _rate(_rarest(expected, calibration.parts), calibration.whole)
    score = _rate(_corrected(score, _judged(expected)), calibration.own)
    distances = np.nan_to_num(expected.scores)
    which = np.argmax(_parts(expected, calibration.parts), 0)
    side = np.sign(np.take_along_axis(distances, which[None], 0)[0])
    return score, np.where(side == 0, 1.0, side)


def threshold(false_alarms_per_month: float) -> float:
    """Return the score from which a day is an alarm.

    Parameters
    ----------
    false_alarms_per_month : float
        The budget, per slice. Of it 85 % is spent, so that it holds on slices that are odder than those
        that distances were learned on; and 0.4 at the most: events that run would hide new ones.

    Raises
    ------
    InputError
        A budget that is not above zero.

    Examples
    --------
    >>> round(threshold(0.25), 3), threshold(1.0) == threshold(0.6)
    (0.673, True)
    """
    if not false_alarms_per_month > 0:
        raise InputError(
            f"a budget of {false_alarms_per_month} false alarms",
            hint="say how many are bearable, such as 0.25",
        )
    return float(-np.log10(min(_SPENT * false_alarms_per_month, MOST)))


def reach(limit: float, calibration: Calibration = SHIPPED) -> float:
    """Return by how many standard deviations a single day may be off under a threshold.

    Parameters
    ----------
    limit : float
        From `threshold`.
    calibration : Calibration
        The one that made the scores.
    """
    distances = np.linspace(0.0, 40.0, 4001)
    rarest = _rate(distances, calibration.parts[0]) + np.log10(_SHARES[0])
    score = _rate(_rate(rarest, calibration.whole), calibration.own)
    passed = np.flatnonzero(score > limit)
    return float(distances[passed[0]] if passed.size else distances[-1])


def onsets(alarm: Bools) -> Bools:
    """Return the alarm days that begin an event: no alarm on the three days before.

    Examples
    --------
    >>> onsets(np.array([[True, False, False, True, False, False, False, True]])).tolist()[0]
    [True, False, False, False, False, False, False, True]
    """
    running = np.zeros_like(alarm)
    for lag in range(1, GAP + 2):
        running[:, lag:] |= alarm[:, :-lag]
    return alarm & ~running


def _judged(expected: Expected) -> Bools:
    there: Bools = np.isfinite(expected.scores[0]) & (expected.age > JUDGED)
    return there


def _levels(distances: list[Floats], judged: list[Bools], months: float) -> Floats:
    """Return the least distance per rate whose passing begins no more events than that."""
    rows = [np.where(ok, np.nan_to_num(d), -np.inf) for d, ok in zip(distances, judged, strict=True)]
    known = np.unique(np.concatenate([r[np.isfinite(r)] for r in rows]))
    out = []
    for rate in RATES:
        low, high = 0, len(known) - 1
        while low < high:
            middle = (low + high) // 2
            if sum(float(onsets(r > known[middle]).sum()) for r in rows) <= rate * months:
                high = middle
            else:
                low = middle + 1
        out.append(known[low])
    # Ascending, with steps that an interpolation can divide by.
    levels: Floats = np.maximum.accumulate(np.array(out)) + 1e-6 * np.arange(len(out))
    return levels


def _rate(distance: Floats, levels: Floats) -> Floats:
    """Return minus the log of the rate at which distances are passed."""
    at = -np.log10(RATES)
    inside = np.interp(distance, levels, at)
    # Further out the tail falls as over its last third: never faster than it was seen to.
    slope = (at[-1] - at[-5]) / (levels[-1] - levels[-5])
    below = (at[4] - at[0]) / (levels[4] - levels[0])
    far = at[-1] + slope * (distance - levels[-1])
    near = at[0] - below * (levels[0] - distance)
    out: Floats = np.where(distance > levels[-1], far, np.where(distance < levels[0], near, inside))
    return out


def _parts(expected: Expected, levels: Floats) -> Floats:
    distances = np.nan_to_num(np.abs(expected.scores))
    return np.array(
        [_rate(d, one) + np.log10(s) for d, one, s in zip(distances, levels, _SHARES, strict=True)]
    )


def _rarest(expected: Expected, levels: Floats) -> Floats:
    rarest: Floats = _parts(expected, levels).max(0)
    return rarest


def _corrected(score: Floats, judged: Bools) -> Floats:
    """Return the score less the log of how much more often than the pool a slice was odd before the day."""
    score = np.where(judged, score, np.nan)
    odd = onsets(np.nan_to_num(score, nan=-np.inf) > -np.log10(_USUAL))
    months = np.cumsum(judged, 1) / MONTH
    factor = (_PRIOR * _USUAL + np.cumsum(odd, 1)) / (_PRIOR * _USUAL + months * _USUAL)
    score[:, 1:] -= np.log10(np.clip(factor, *_OWN))[:, :-1]
    return score
