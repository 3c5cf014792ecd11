"""Before and after the core: from a series to daily rates of mean size one, and back to months."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from finops_lab.forecasting.cleaning import expected
from finops_lab.forecasting.core import Centre
from finops_lab.forecasting.events import Event
from finops_lab.forecasting.knowledge import NOTHING, Knowledge
from finops_lab.forecasting.panel import VALUES, Floats, Series, month_lengths

__all__ = ["Prepared", "prepare"]

_SMOOTHER = 0.8  # how much calmer than its daily rate a monthly amount must be to count as a fixed fee
_AFTER = 3  # months of a new level to measure it
_WINDOW = 6  # months on each side of a change of level that measure it
_LIMIT = 4.0  # beyond this ratio of levels the months before say nothing about those after


@dataclass(frozen=True)
class Prepared:
    """What the core sees of one series, and the way back.

    `array` has no holes and a mean size of one; it is empty where nothing is known. `skip` months lie
    between its end and the first month asked for. A value of the core times `scale` (per month asked
    for: size, days and price) plus `added` is an amount of that month. `used` and `reasons` say for
    each month of the series which amount stands for it (NaN: none) and why it is not the billed one.
    """

    array: Floats
    skip: int
    scale: Floats
    added: Floats
    used: Floats
    reasons: tuple[str | None, ...]

    def restore(self, centre: Centre) -> tuple[str, Floats]:
        """Return the model and one row of monthly amounts per name in `VALUES`."""
        months = slice(self.skip, self.skip + len(self.scale))
        values = {"yhat": centre.point}
        for name, side in zip(VALUES[1:], centre.halves, strict=True):
            values[name] = centre.point + (-side if name.startswith("lo") else side)
        if self.scale[0] < 0:  # a bill of credits mirrors a bill of charges
            values = {_mirror(name): line for name, line in values.items()}
        rows = np.vstack([values[name] for name in VALUES])[:, months]
        return centre.model, rows * self.scale + self.added


def prepare(series: Series, months: int, known: Knowledge = NOTHING, *, clean: bool = True) -> Prepared:
    """Turn a series into what the core forecasts.

    In this order: known amounts are taken out, months that say nothing are left out, amounts are
    divided by the price and by the days of the month, months before a change of level are rescaled to
    it, a fixed monthly fee goes back to months, isolated outliers are replaced (`clean`), holes are
    interpolated.

    Parameters
    ----------
    series : Series
        One of `read_panel`.
    months : int
        Months to forecast after it.
    known : Knowledge
        Events and prices.
    clean : bool
        Whether to replace isolated outliers.

    Returns
    -------
    Prepared
    """
    n = len(series)
    given = known.of(series, months)
    days = month_lengths(series.first, n + months)
    price, added = given.price, given.added
    kept = np.where(series.known & ~given.masked, series.amounts - added[:n], np.nan)
    if not (~np.isnan(kept)).any():
        return Prepared(
            kept[:0], 0, np.full(months, np.nan), added[n:], kept, _reasons(series, given.names, {})
        )
    rates = kept / price[:n] / days[:n]
    size = _size(rates)
    x, changed = _levelled(rates / size, series, given.levels)
    usual = expected(np.round(x, 10)) if clean else np.full(n, np.nan)
    usable = np.where(np.isnan(usual), x, np.nan)
    if _is_monthly(usable * days[:n], usable):
        x, days = x * days[:n], np.ones(n + months)
        usual = expected(np.round(x, 10)) if clean else usual
    changed |= {i: "outlier" for i in np.flatnonzero(~np.isnan(usual)).tolist()}
    x = np.where(np.isnan(usual), x, usual)
    there = np.flatnonzero(~np.isnan(x))
    start, end = int(there[0]), int(there[-1]) + 1
    filled = np.interp(np.arange(n), there, x[there])
    used = np.where(np.arange(n) < end, filled * size * price[:n] * days[:n], np.nan)
    used[:start] = np.nan
    # Members see a series of mean 1, rounded beyond any digit that matters: so the unit of the amounts
    # cannot change an optimiser's path, and a bill of credits is the mirror of a bill of charges.
    again = _size(filled[start:end])
    array = np.round(filled[start:end] / again, 10)
    scale = size * again * days[n:] * price[n:]
    return Prepared(array, n - end, scale, added[n:], used, _reasons(series, given.names, changed))


def _size(rates: Floats) -> float:
    """Return the mean size of rates, negative for a bill of credits."""
    return float(np.nanmean(np.abs(rates))) * (-1.0 if np.nansum(rates) < 0 else 1.0) or 1.0


def _levelled(x: Floats, series: Series, levels: tuple[Event, ...]) -> tuple[Floats, dict[int, str]]:
    """Rescale the months before each change of level; where it is too large, leave them out."""
    changed: dict[int, str] = {}
    starts = [_months(series, event) for event in levels]
    for at, end, event in zip(starts, [*starts, len(x)][1:], levels, strict=True):
        ratio = _ratio(x, at, max(end, at), event, series)
        if ratio is None or ratio == 1.0:
            continue
        fits = 1 / _LIMIT <= ratio <= _LIMIT
        x = np.where(np.arange(len(x)) < at, x * ratio if fits else np.nan, x)
        said = f"{event.kind.replace('_', ' ')} {event.name!r}: " + (
            f"level before it times {ratio:.2f}" if fits else "another level before it"
        )
        changed |= {i: "; ".join(filter(None, (changed.get(i), said))) for i in range(at)}
    return x, changed


def _months(series: Series, event: Event) -> int:
    return (event.first.year - series.first.year) * 12 + event.first.month - series.first.month


def _ratio(x: Floats, at: int, end: int, event: Event, series: Series) -> float | None:
    """Measure the level after month `at` over that before it; None where neither shows nor is said.

    With a year before it, from year-on-year growth after and before (so that a season or trend is none
    of it), else from the amounts themselves.
    """
    after, before = x[at : min(at + _WINDOW, end)], x[max(at - _WINDOW, 0) : at]
    base = _median(before[-_AFTER:])
    if (~np.isnan(after)).sum() < _AFTER:
        if event.factor is not None:
            return event.factor
        if event.amount is None or not (base and base > 0):
            return None
        billed = series.amounts[max(at - _AFTER, 0) : at]
        return 1 + event.amount / float(np.mean(np.abs(billed))) if billed.any() else None
    if not np.isnan(before).all() and at >= 12 + _AFTER:
        with np.errstate(divide="ignore", invalid="ignore"):
            growth = x[12:] / x[:-12]
        growth = np.where(np.isfinite(growth) & (growth > 0), growth, np.nan)
        now, then = (
            _median(growth[at - 12 : at - 12 + len(after)]),
            _median(growth[max(at - 12 - _WINDOW, 0) : at - 12]),
        )
        if now and then:
            return now / then
    level = _median(after[:_AFTER])
    return level / base if level and base and level * base > 0 else np.inf if level else None


def _median(values: Floats) -> float | None:
    values = values[~np.isnan(values)]
    return float(np.median(values)) if values.size else None


def _reasons(
    series: Series, names: tuple[tuple[str, ...], ...], changed: dict[int, str]
) -> tuple[str | None, ...]:
    """Say per month why the amount used is not the billed one; None where it is."""
    out: list[str | None] = []
    for i, here in enumerate(series.known):
        why = [] if here else ["missing"]
        why += [f"event {name!r}" for name in names[i]]
        why += [changed[i]] if i in changed else []
        out.append("; ".join(why) or None)
    return tuple(out)


def _mirror(name: str) -> str:
    return {"lo": "hi", "hi": "lo"}.get(name[:2], name[:2]) + name[2:]


def _is_monthly(amounts: Floats, rates: Floats) -> bool:
    """Tell a fixed monthly fee from usage: its amounts move less than its rates, relative to their size."""
    size = np.nanmean(np.abs(rates))
    moves = np.abs(np.diff(amounts)), np.abs(np.diff(rates))
    if size == 0 or np.isnan(moves[0]).all():
        return False
    as_months, as_rates = (np.nansum(move) for move in moves)
    return bool(as_months / np.nanmean(np.abs(amounts)) < _SMOOTHER * as_rates / size)
