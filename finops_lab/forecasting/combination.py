"""The forecast: a fixed equal-weight combination on daily rates, with calibrated bounds."""

from __future__ import annotations

import numpy as np
import polars as pl

from finops_lab.calendar import add_months
from finops_lab.errors import InputError
from finops_lab.forecasting.core import centres
from finops_lab.forecasting.members import YEAR
from finops_lab.forecasting.panel import (
    VALUES,
    Floats,
    Series,
    forecast_frame,
    month_lengths,
    read_panel,
)

_SMOOTHER = 0.8  # how much calmer than its daily rate a monthly amount must be to count as a fixed fee
_SIDES = np.array([-1.0, 1.0, -1.0, 1.0, -1.0, 1.0])[:, None]
_NORMAL = np.array([1.2816, 1.2816, 1.9600, 1.9600, 0.6745, 0.6745])[:, None]


def forecast(
    panel: pl.DataFrame | pl.LazyFrame, months: int = 6, *, nonnegative: bool = False
) -> pl.DataFrame:
    """Forecast every series `months` ahead, with 50, 80 and 95 % bounds.

    A fixed combination on the daily rate, brought back to months: the mean of hundreds of structural
    time series, STL with a trend, and from 48 months on damped Holt-Winters. A mean of all beats the
    pick of a best one per series.
    Fewer than 24 months of history carry no yearly season (``combination_no_season``), fewer than 8
    give the mean daily rate of the last three (``flat``). A series whose monthly amounts are clearly
    calmer than its daily rates (a fixed monthly fee) is forecast in months instead, so both a constant
    daily rate and a constant monthly amount come back as what they are. Bounds are the pooled errors
    of the same method on public series of the same length, scaled by the series' own spread.

    Parameters
    ----------
    panel : polars.DataFrame or polars.LazyFrame
        ``unique_id: String``, ``ds: Date`` (first of month), ``y``: Float64 or Decimal amounts per
        month. An absent, null or NaN month inside is interpolated on the daily rate; one before the
        first or after the last known month is not there. A month without spend must be 0, not absent.
    months : int
        Horizon, counted per series from the month after its last known one.
    nonnegative : bool
        Clip forecast and bounds at 0.

    Returns
    -------
    polars.DataFrame
        ``unique_id, ds, yhat, lo_80, hi_80, lo_95, hi_95, lo_50, hi_50`` (Float64, units of `y`) and ``model``,
        sorted by `unique_id`, `ds`. Nulls with model ``no_history`` where no month is known.

    Raises
    ------
    InputError
        The panel breaks its contract, or `months` is below 1.

    Examples
    --------
    >>> from datetime import date
    >>> fee = pl.DataFrame({"unique_id": "fee", "ds": [date(2026, m, 1) for m in (1, 2, 3)], "y": 5.0})
    >>> forecast(fee, months=2).select("unique_id", "ds", "yhat", "model").rows()
    [('fee', datetime.date(2026, 4, 1), 5.0, 'flat'), ('fee', datetime.date(2026, 5, 1), 5.0, 'flat')]
    """
    at_least_one(months=months)
    rows = [(series, *project(series, months)) for series in read_panel(panel)]
    result = forecast_frame(rows)
    return result.with_columns(pl.col(VALUES).clip(lower_bound=0.0)) if nonnegative else result


def seasonal_naive(panel: pl.DataFrame | pl.LazyFrame, months: int = 6) -> pl.DataFrame:
    """Repeat last year's months: the baseline that a forecast has to beat.

    Bounds are normal with the root mean square of the year-on-year changes, times the root of the
    number of yearly cycles ahead. Under 12 months the last amount is repeated (model ``last_value``;
    bounds from month-on-month changes and the root of the months ahead). Bounds are null where the
    history holds no such change. Amounts are as billed, not normalised by days.

    Parameters
    ----------
    panel, months
        As for `forecast`.

    Returns
    -------
    polars.DataFrame
        As from `forecast`; `model` is ``seasonal_naive``, ``last_value`` or ``no_history``.

    Raises
    ------
    InputError
        As for `forecast`.

    Examples
    --------
    >>> from datetime import date
    >>> ds = [date(2025, m, 1) for m in range(1, 13)]
    >>> bill = pl.DataFrame({"unique_id": "a", "ds": ds, "y": [float(m) for m in range(1, 13)]})
    >>> seasonal_naive(bill, months=2).select("ds", "yhat", "lo_80").rows()
    [(datetime.date(2026, 1, 1), 1.0, None), (datetime.date(2026, 2, 1), 2.0, None)]
    """
    at_least_one(months=months)
    return forecast_frame([(series, *project_naive(series, months)) for series in read_panel(panel)])


def at_least_one(**counts: int) -> None:
    """Refuse a count that is no integer of 1 or more."""
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise InputError(f"{name} must be a whole number of at least 1, not {count!r}")


def project(series: Series, months: int) -> tuple[str, Floats]:
    """Forecast one series: the model's name and one row per name in `VALUES`."""
    n, amounts = len(series), series.amounts
    if not n:
        return "no_history", np.full((len(VALUES), months), np.nan)
    days = month_lengths(series.first, n)
    ahead = month_lengths(add_months(series.first, n), months)
    if _is_monthly(amounts, amounts / days):
        days, ahead = np.ones(n), np.ones(months)
    rates = amounts / days
    # Members see a series of mean 1, rounded beyond any digit that matters: so the unit of the amounts
    # cannot change an optimiser's path, and a bill of credits is the mirror of a bill of charges.
    size = float(np.abs(rates).mean()) * (-1.0 if rates.sum() < 0 else 1.0) or 1.0
    (centre,) = centres([np.round(rates / size, 10)], months)
    values = np.vstack([centre.point, centre.point + _SIDES * centre.halves]) * size * ahead
    return centre.model, values[[0, 2, 1, 4, 3, 6, 5]] if size < 0 else values


def project_naive(series: Series, months: int) -> tuple[str, Floats]:
    """Forecast one series by last year's months, or by its last one."""
    x, ahead = series.amounts, np.arange(months)
    if not len(x):
        return "no_history", np.full((len(VALUES), months), np.nan)
    if len(x) >= YEAR:
        model, point, errors = "seasonal_naive", np.resize(x[-YEAR:], months), x[YEAR:] - x[:-YEAR]
        steps = ahead // YEAR + 1
    else:
        model, point, errors, steps = "last_value", np.full(months, x[-1]), np.diff(x), ahead + 1
    spread = float(np.sqrt(np.mean(np.square(errors)))) if errors.size else np.nan
    return model, np.vstack([point, point + _SIDES * _NORMAL * spread * np.sqrt(steps)])


def _is_monthly(amounts: Floats, rates: Floats) -> bool:
    """Tell a fixed monthly fee from usage: its amounts move less than its rates, relative to their size."""
    size = np.abs(rates).mean()
    if len(amounts) < 2 or size == 0:
        return False
    as_months = np.abs(np.diff(amounts)).sum() / np.abs(amounts).mean()
    as_rates = np.abs(np.diff(rates)).sum() / size
    return bool(as_months < _SMOOTHER * as_rates)
