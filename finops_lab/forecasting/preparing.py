"""Before and after the core: from a series to daily rates of mean size one, and back to months."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from finops_lab.calendar import add_months
from finops_lab.forecasting.core import Centre
from finops_lab.forecasting.panel import VALUES, Floats, Series, month_lengths

__all__ = ["Prepared", "prepare"]

_SMOOTHER = 0.8  # how much calmer than its daily rate a monthly amount must be to count as a fixed fee


@dataclass(frozen=True)
class Prepared:
    """What the core sees of one series, and the way back.

    `array` has no holes and a mean size of one; it is empty where nothing is known. `skip` months lie
    between its end and the first month asked for. A value of the core times `scale` (per month asked
    for: size, days and price) plus `added` is an amount of that month.
    """

    array: Floats
    skip: int
    scale: Floats
    added: Floats

    def restore(self, centre: Centre) -> tuple[str, Floats]:
        """Return the model and one row of monthly amounts per name in `VALUES`."""
        months = slice(self.skip, self.skip + len(self.scale))
        values = {"yhat": centre.point}
        for name, side in zip(VALUES[1:], centre.halves, strict=True):
            values[name] = centre.point + (-side if name.startswith("lo") else side)
        if len(self.scale) and self.scale[0] < 0:  # a bill of credits mirrors a bill of charges
            values = {_mirror(name): line for name, line in values.items()}
        rows = np.vstack([values[name] for name in VALUES])[:, months]
        return centre.model, rows * self.scale + self.added


def prepare(series: Series, months: int) -> Prepared:
    """Turn a series into what the core forecasts."""
    n, amounts = len(series), series.amounts
    if not n:
        return Prepared(amounts, 0, np.full(months, np.nan), np.zeros(months))
    days = month_lengths(series.first, n)
    ahead = month_lengths(add_months(series.first, n), months)
    if _is_monthly(amounts, amounts / days):
        days, ahead = np.ones(n), np.ones(months)
    rates = amounts / days
    # Members see a series of mean 1, rounded beyond any digit that matters: so the unit of the amounts
    # cannot change an optimiser's path, and a bill of credits is the mirror of a bill of charges.
    size = float(np.abs(rates).mean()) * (-1.0 if rates.sum() < 0 else 1.0) or 1.0
    return Prepared(np.round(rates / size, 10), 0, size * ahead, np.zeros(months))


def _mirror(name: str) -> str:
    return {"lo": "hi", "hi": "lo"}.get(name[:2], name[:2]) + name[2:]


def _is_monthly(amounts: Floats, rates: Floats) -> bool:
    """Tell a fixed monthly fee from usage: its amounts move less than its rates, relative to their size."""
    size = np.abs(rates).mean()
    if len(amounts) < 2 or size == 0:
        return False
    as_months = np.abs(np.diff(amounts)).sum() / np.abs(amounts).mean()
    as_rates = np.abs(np.diff(rates)).sum() / size
    return bool(as_months < _SMOOTHER * as_rates)
