"""Slow drifts and steps of daily ratios: a sum that grows while they stay off their usual level."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from math import exp, log
from typing import Any

import numpy as np
import polars as pl

from finops_lab.anomalies._tails import nanmedian, robust_spread
from finops_lab.anomalies.event import EVENTS, as_events
from finops_lab.anomalies.panel import Bools, Floats
from finops_lab.anomalies.ratios import RATIOS, scopes
from finops_lab.errors import InputError

__all__ = ["drifts", "limit_of_rate"]

DETECTOR = "cusum of ratio"
# The usual level is that of five weeks, which end a week before the day: a drift must not be its own usual.
_FROM, _TO, _FEWEST = 42, 7, 21
_SLACK = 1.0  # standard deviations that a day may be off without counting: finds shifts of two best
_CLIP = 3.0  # that one day counts for at most: a spike is not a drift
_ABOVE = 3.0  # the sum stops growing so far above its limit, so that an event ends
_EDGE = 1e-4  # shares are kept so far from 0 and 1
_LEAST_SPREAD = 0.005
_SPANS = 4  # of five weeks each, that tell how correlated days are
_TOLD = 0.85  # of a correlation, which days tell that level and weekdays were taken from


def limit_of_rate(false_alarms_per_year: float) -> float:
    """Return the limit of the sums that a series without a change passes so often.

    Counted, not derived: the level, weekdays and spread are learned from five weeks, so sums are passed
    more often than textbooks say. On 240 simulated series-years of normal noise the rate was at most 2.5 a
    year at a limit of 4 and fell by a factor of 1.77 per unit, whether days were independent or correlated
    by up to 0.5; in the first three months, when the correlation is known least, it was up to 1.3 times that.

    Parameters
    ----------
    false_alarms_per_year : float
        Of one series, up and down together.

    Raises
    ------
    InputError
        A rate that is not above 0.

    Examples
    --------
    >>> round(limit_of_rate(0.5), 2)
    6.82
    """
    if false_alarms_per_year <= 0:
        raise InputError("a rate of false alarms must be above 0", column="false_alarms_per_year")
    return max(4.0 + log(2.5 / false_alarms_per_year) / log(1.77), 1.0)


@dataclass(frozen=True)
class _Panel:
    """Ratios as arrays, series x days: the ratio made flat (log or logit), and its variance by counting."""

    days: list[date]
    names: list[dict[str, Any]]
    numerator: Floats
    denominator: Floats
    flat: Floats
    counted: Floats
    share: Bools


def drifts(
    ratios: pl.DataFrame,
    *,
    since: date | None = None,
    false_alarms_per_year: float = 0.5,
    smallest_change: float = 0.05,
) -> pl.DataFrame:
    """Find ratios that left their level slowly or for good.

    Each day is compared with the median of five weeks that end a week before it, on its weekday, in units
    of its spread: what counting leaves open (the observations behind the day), the noise of those
    weeks, how correlated it is from day to day, and how well the level is known. A CUSUM per side adds up
    what lies beyond one spread (Page, "Continuous inspection schemes", Biometrika 41, 1954).

    Parameters
    ----------
    ratios : polars.DataFrame
        `finops_lab.anomalies.ratios.RATIOS`, a row per series and day.
    since : datetime.date, optional
        Events that were detected before this day are left out.
    false_alarms_per_year : float
        Per series: see `limit_of_rate`.
    smallest_change : float
        Relative change since the change point below which there is no event.

    Returns
    -------
    polars.DataFrame
        `EVENTS` of the kind ``drift``. ``first`` is the day that the sum began to grow on, ``last`` the
        last day still off the level. ``expected`` is the level, ``low`` and ``high`` lie three spreads
        of its mean around it. ``excess_amount`` where the unit is USD: the change times what was divided by.

    Raises
    ------
    InputError
        A missing column, two rows of a series for one day, or a rate or change that is not above 0.

    Examples
    --------
    Eight weeks of 2 dollars per thousand calls, then 3.

    >>> day = date(2026, 8, 3)
    >>> usd = [2.0 + 0.02 * (i % 5) for i in range(56)] + [3.0] * 7
    >>> rows = pl.DataFrame({"metric": "cost_per_inference", "unit": "USD", "dimension": "model", "value": "m",
    ...     "day": [day + timedelta(days=i) for i in range(63)], "numerator": usd, "denominator": 1000.0,
    ...     "evidence": 1000.0, "share": False})
    >>> drifts(rows).select(pl.col("first").dt.date(), pl.col("detected").dt.date(), "direction").row(0)
    (datetime.date(2026, 9, 28), datetime.date(2026, 10, 2), 'up')
    """
    if smallest_change <= 0:
        raise InputError("a change must be above 0", column="smallest_change")
    limit = limit_of_rate(false_alarms_per_year)
    if ratios.is_empty():
        return pl.DataFrame(schema=EVENTS)
    panel = _panel(ratios)
    score, level, spread = _scores(panel)
    found = []
    for way in (1.0, -1.0):
        sums = _cusum(way * score, limit)
        for row, first, alarm, last in _runs(sums, limit):
            event = _event(panel, row, slice(first, last + 1), alarm, level, spread, smallest_change, way > 0)
            if event is not None:
                peak = float(sums[row, first : last + 1].max())
                found.append(event | {"score": peak, "threshold": limit})
    if not found:
        return pl.DataFrame(schema=EVENTS)
    events = as_events(pl.DataFrame(found, schema_overrides=EVENTS, infer_schema_length=None))
    return events if since is None else events.filter(pl.col("detected").dt.date() >= since)


def _panel(ratios: pl.DataFrame) -> _Panel:
    for column in RATIOS:
        if column not in ratios.columns:
            raise InputError("ratios need it", column=column, hint="see finops_lab.anomalies.ratios.RATIOS")
    keys = ["metric", "unit", "dimension", "value", "share"]
    rows = ratios.filter(pl.col("denominator") > 0)
    twice = rows.filter(pl.struct(*keys, "day").is_duplicated())
    if twice.height:
        raise InputError(f"two rows of one series on {twice['day'][0]}", column="day")
    names = rows.select(keys).unique().sort(keys).with_row_index("row")
    rows = rows.join(names, on=keys, nulls_equal=True)
    start, end = rows["day"].min(), rows["day"].max()
    assert isinstance(start, date) and isinstance(end, date)
    shape = (names.height, (end - start).days + 1)
    at = (rows["row"].to_numpy(), (rows["day"] - start).dt.total_days().to_numpy())

    def dense(column: str) -> Floats:
        filled = np.full(shape, np.nan)
        filled[at] = rows[column].cast(pl.Float64).to_numpy()
        return filled

    above, below, count = dense("numerator"), dense("denominator"), dense("evidence")
    share = names["share"].to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = above / below
        part = np.clip(ratio, _EDGE, 1 - _EDGE)
        flat = np.where(share[:, None], np.log(part / (1 - part)), np.log(ratio))
        counted = np.where(share[:, None], 1 / (count * part * (1 - part)), 1 / count)
    flat = np.where(np.isfinite(flat), flat, np.nan)
    days = [start + timedelta(days=i) for i in range(shape[1])]
    counted = np.where(np.isfinite(counted), counted, 0.0)
    return _Panel(days, names.rows(named=True), above, below, flat, counted, share)


def _scores(panel: _Panel) -> tuple[Floats, Floats, Floats]:
    """Return how many spreads each day is off its level, the level, and the spread."""
    flat = panel.flat
    score, level, spread, alike = (np.full(flat.shape, np.nan) for _ in range(4))
    for day in range(_FEWEST + _TO, flat.shape[1]):
        past = slice(max(0, day - _FROM), day - _TO)
        before = flat[:, past]
        known = np.isfinite(before).sum(axis=1)
        middle = nanmedian(before)
        off = before - middle[:, None]
        weekdays = np.arange(past.start, past.stop) % 7
        for weekday in range(7):
            same = weekdays == weekday
            count = np.isfinite(off[:, same]).sum(axis=1)
            # A weekday is known from five days: it leans on all days as much as three of its own weigh.
            shift = np.nan_to_num(nanmedian(off[:, same])) * count / (count + 3.0)
            off[:, same] -= shift[:, None]
            if day % 7 == weekday:
                middle = middle + shift
        counted = np.nan_to_num(nanmedian(np.where(np.isfinite(before), panel.counted[:, past], np.nan)))
        own = np.maximum(robust_spread(off) ** 2 - counted, _LEAST_SPREAD**2)
        whole = own + panel.counted[:, day]
        # The mean of days that hang together varies more; and the level itself is a median of so many.
        alike[:, day] = np.where(known >= _FEWEST, _alike(off), np.nan)
        wide = _together(alike[:, day :: -(_FROM - _TO)][:, :_SPANS])
        unsure = 1.57 * (own + counted) / np.maximum(known, 1)
        deviation = np.sqrt((whole + unsure) * wide)
        ready = known >= _FEWEST
        score[:, day] = np.where(ready, (flat[:, day] - middle) / deviation, np.nan)
        level[:, day], spread[:, day] = np.where(ready, middle, np.nan), deviation
    return score, level, spread


def _alike(off: Floats) -> Floats:
    """Return how correlated days are with the day before."""
    scale = np.maximum(robust_spread(off), 1e-9)[:, None]
    z = np.nan_to_num(np.clip(off / scale, -2.0, 2.0))
    found = (z[:, 1:] * z[:, :-1]).sum(axis=1) / np.maximum((z**2).sum(axis=1), 1e-9)
    return np.asarray(found / _TOLD)


def _together(alike: Floats) -> Floats:
    """Return how much more the mean of correlated days varies than that of independent ones.

    Five weeks tell a correlation to 0.2, so that of up to four such spans is averaged; and where there are few
    days, they lean on a usual 0.3 as much as ten of them weigh.
    """
    spans = np.isfinite(alike).sum(axis=1)
    days = (_FROM - _TO) * spans
    mean = np.nansum(alike, axis=1) / np.maximum(spans, 1)
    correlation = np.clip((days * mean + 10 * 0.3) / (days + 10), 0.0, 0.8)
    return np.asarray((1 + correlation) / (1 - correlation))


def _cusum(score: Floats, limit: float) -> Floats:
    sums = np.zeros(score.shape)
    run = np.zeros(len(score))
    for day in range(score.shape[1]):
        step = np.nan_to_num(np.clip(score[:, day], -_CLIP, _CLIP) - _SLACK)
        run = np.clip(run + step, 0.0, limit + _ABOVE)
        sums[:, day] = run
    return sums


def _runs(sums: Floats, limit: float) -> list[tuple[int, int, int, int]]:
    """Return series, first day, day of the alarm and last day of each time that the limit is passed."""
    found = []
    for row in np.flatnonzero((sums > limit).any(axis=1)):
        above = np.concatenate([[False], sums[row] > 0, [False]]).astype(np.int8)
        starts, stops = np.flatnonzero(np.diff(above) == 1), np.flatnonzero(np.diff(above) == -1)
        for first, stop in zip(starts, stops, strict=True):
            over = np.flatnonzero(sums[row, first:stop] > limit)
            if over.size:
                found.append((int(row), int(first), int(first + over[0]), int(first + over[-1])))
    return found


def _event(
    panel: _Panel,
    row: int,
    span: slice,
    alarm: int,
    level: Floats,
    spread: Floats,
    smallest: float,
    up: bool,
) -> dict[str, Any] | None:
    name, share = panel.names[row], bool(panel.share[row])
    above, below = np.nansum(panel.numerator[row, span]), np.nansum(panel.denominator[row, span])
    usual = float(np.nanmean(level[row, span]))
    error = 3 * float(np.nanmean(spread[row, span])) / max(np.isfinite(panel.flat[row, span]).sum(), 1) ** 0.5
    actual = float(above / below)
    expected, low, high = (_back(one, share) for one in (usual, usual - error, usual + error))
    # Of a share near 1, what matters is how much is left: 99 to 97 % is three times as much idle.
    change = abs(actual - expected) / min(expected, 1 - expected if share else expected)
    if change < smallest:
        return None
    excess = None
    if name["unit"] == "USD":
        excess = round((Decimal(repr(actual)) - Decimal(repr(expected))) * Decimal(repr(float(below))), 6)
    return {
        "kind": "drift",
        "detector": DETECTOR,
        "metric": name["metric"],
        "unit": name["unit"],
        "dimension": name["dimension"],
        "value": name["value"],
        **scopes(name["dimension"], name["value"]),
        "first": _midnight(panel.days[span.start]),
        "last": _midnight(panel.days[span.stop - 1]),
        "grain": "day",
        "direction": "up" if up else "down",
        "actual": actual,
        "expected": expected,
        "low": low,
        "high": high,
        "excess_amount": excess,
        "BillingCurrency": None if excess is None else "USD",
        "detected": _midnight(panel.days[alarm] + timedelta(days=1)),
    }


def _back(flat: float, share: bool) -> float:
    return 1 / (1 + exp(-flat)) if share else exp(flat)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
