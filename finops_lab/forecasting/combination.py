"""The forecast: a fixed equal-weight combination on daily rates, with calibrated bounds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from finops_lab.calendar import add_months
from finops_lab.errors import InputError
from finops_lab.forecasting.core import centres
from finops_lab.forecasting.knowledge import NOTHING, Knowledge, read_knowledge
from finops_lab.forecasting.panel import (
    VALUES,
    Floats,
    Series,
    forecast_frame,
    read_panel,
)
from finops_lab.forecasting.preparing import prepare
from finops_lab.forecasting.structural import YEAR

_SIDES = np.array([-1.0, 1.0, -1.0, 1.0, -1.0, 1.0])[:, None]
_CLEANED: dict[str, pl.DataType] = {
    "unique_id": pl.String(),
    "ds": pl.Date(),
    "y": pl.Float64(),
    "y_used": pl.Float64(),
    "reason": pl.String(),
}
_NORMAL = np.array([1.2816, 1.2816, 1.9600, 1.9600, 0.6745, 0.6745])[:, None]


def forecast(
    panel: pl.DataFrame | pl.LazyFrame,
    months: int = 6,
    *,
    nonnegative: bool = False,
    events: pl.DataFrame | pl.LazyFrame | None = None,
    price_index: pl.DataFrame | pl.LazyFrame | None = None,
    clean: bool = True,
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

    What is known beside the amounts goes before them: `events` and `price_index` are taken out of the
    history and put back on the months ahead. Isolated outliers are replaced. `cleaned` shows every month
    that was not taken as billed.

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
    events : polars.DataFrame or polars.LazyFrame, optional
        Labelled events: see `finops_lab.forecasting.events.read_events`. Those of series that the panel
        does not hold change nothing.
    price_index : polars.DataFrame or polars.LazyFrame, optional
        ``unique_id`` (null: every series without rows of its own), ``ds: Date``, ``index`` (1.0 is
        today's list price), for every month of the history; months ahead without one keep the last.
        Use, amount over index, is forecast and multiplied by the index ahead.
    clean : bool
        Replace isolated outliers: see `finops_lab.forecasting.cleaning.expected`.

    Returns
    -------
    polars.DataFrame
        ``unique_id, ds, yhat, lo_80, hi_80, lo_95, hi_95, lo_50, hi_50`` (Float64, units of `y`) and ``model``,
        sorted by `unique_id`, `ds`. Nulls with model ``no_history`` where no month is known.

    Raises
    ------
    InputError
        The panel, the events or the price index breaks its contract, the index lacks a month of a
        series' history, or `months` is below 1.

    Examples
    --------
    >>> from datetime import date
    >>> fee = pl.DataFrame({"unique_id": "fee", "ds": [date(2026, m, 1) for m in (1, 2, 3)], "y": 5.0})
    >>> forecast(fee, months=2).select("unique_id", "ds", "yhat", "model").rows()
    [('fee', datetime.date(2026, 4, 1), 5.0, 'flat'), ('fee', datetime.date(2026, 5, 1), 5.0, 'flat')]
    """
    at_least_one(months=months)
    many = read_panel(panel)
    known = read_knowledge(events, price_index, len(many))
    found = project_all(many, months, known, clean=clean)
    result = forecast_frame((series, *one) for series, one in zip(many, found, strict=True))
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


def cleaned(
    panel: pl.DataFrame | pl.LazyFrame,
    *,
    events: pl.DataFrame | pl.LazyFrame | None = None,
    price_index: pl.DataFrame | pl.LazyFrame | None = None,
    clean: bool = True,
) -> pl.DataFrame:
    """Show every month that the forecast does not take as billed, and what it takes in its place.

    Parameters
    ----------
    panel, events, price_index, clean
        As for `forecast`.

    Returns
    -------
    polars.DataFrame
        ``unique_id``, ``ds``; ``y`` (Float64) as billed, null where missing; ``y_used`` (Float64), null
        where the month is left out; ``reason``: ``missing``, ``outlier``, the events of the month, or
        the change of level after it. Only months between the first and last known one that differ,
        sorted. Prices and days are no reason: they are divided out and put back.

    Raises
    ------
    InputError
        As for `forecast`.

    Examples
    --------
    >>> from datetime import date
    >>> ds = [date(2026, m, 1) for m in range(1, 13)]
    >>> run = pl.DataFrame({"unique_id": "a", "ds": ds, "y": [10.0] * 6 + [90.0] + [10.0] * 5})
    >>> cleaned(run).select("ds", "y", pl.col("y_used").round(6), "reason").row(0)
    (datetime.date(2026, 7, 1), 90.0, 10.0, 'outlier')
    """
    many = read_panel(panel)
    known = read_knowledge(events, price_index, len(many))
    rows = [
        (
            series.unique_id,
            add_months(series.first, i),
            float(series.amounts[i]) if series.known[i] else None,
            None if np.isnan(one.used[i]) else float(one.used[i]),
            reason,
        )
        for series in many
        for one in [prepare(series, 1, known, clean=clean)]
        for i, reason in enumerate(one.reasons)
        if reason
    ]
    return pl.DataFrame(rows, schema=_CLEANED, orient="row")


def project(
    series: Series, months: int, known: Knowledge = NOTHING, *, clean: bool = True
) -> tuple[str, Floats]:
    """Forecast one series: the model's name and one row per name in `VALUES`."""
    return project_all([series], months, known, clean=clean)[0]


def project_all(
    many: Sequence[Series], months: int, known: Knowledge = NOTHING, *, clean: bool = True
) -> list[tuple[str, Floats]]:
    """Forecast series in one call of the core, each as `project` would alone, in the order given."""
    prepared = [prepare(series, months, known, clean=clean) for series in many]
    there = [one for one in prepared if len(one.array)]
    horizon = months + max((one.skip for one in there), default=0)
    found = iter(centres([one.array for one in there], horizon) if there else ())
    nothing = np.full((len(VALUES), months), np.nan)
    return [one.restore(next(found)) if len(one.array) else ("no_history", nothing) for one in prepared]


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
