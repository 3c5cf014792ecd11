"""Prophet, for comparison beside the forecast; never the default."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import polars as pl

from finops_lab.calendar import add_months, months_from
from finops_lab.forecasting.combination import at_least_one
from finops_lab.forecasting.panel import VALUES, Floats, Series, forecast_frame, read_panel

_PERCENTS = (10.0, 90.0, 2.5, 97.5, 25.0, 75.0)  # as VALUES after yhat
_LEAST = 2  # known months that Prophet needs


def prophet_forecast(panel: pl.DataFrame | pl.LazyFrame, months: int = 6, *, seed: int = 0) -> pl.DataFrame:
    """Forecast every series by Prophet, in the frame that `forecast` gives.

    Fitted by LBFGS: on monthly data Prophet's own choice, Newton, takes 25 times as long for a larger
    error. A series never below 0 is floored at 0. Prophet's bounds cover far less than they say on
    short histories (Prophet's documentation warns of it): read them as such.

    Parameters
    ----------
    panel : polars.DataFrame or polars.LazyFrame
        As for `forecast`. Missing months stay missing.
    months : int
        Horizon, counted per series from the month after its last known one.
    seed : int
        Of the draws that the bounds are made from.

    Returns
    -------
    polars.DataFrame
        As from `forecast`; `model` is ``prophet``, ``last_value`` (one known month, no bounds) or
        ``no_history``.

    Raises
    ------
    InputError
        The panel breaks its contract, or `months` is below 1.

    Examples
    --------
    >>> prophet_forecast(pl.DataFrame(schema={"unique_id": pl.String, "ds": pl.Date, "y": pl.Float64})).shape
    (0, 10)
    """
    at_least_one(months=months)
    series = read_panel(panel)
    with _silence():
        return forecast_frame([(one, *_project(one, months, seed)) for one in series])


def _project(series: Series, months: int, seed: int) -> tuple[str, Floats]:
    values = np.full((len(VALUES), months), np.nan)
    if not len(series):
        return "no_history", values
    floor = 0.0 if series.amounts.min() >= 0 else -np.inf
    if series.known.sum() < _LEAST:
        values[0] = series.amounts[-1]
        return "last_value", values
    import pandas as pd
    from prophet import Prophet

    ds = months_from(series.first, add_months(series.first, len(series) - 1 + months))
    past = pd.DataFrame({"ds": pd.to_datetime(ds[: len(series)]), "y": series.amounts})[series.known]
    model = Prophet(weekly_seasonality=False, daily_seasonality=False)
    model.fit(past, algorithm="LBFGS", seed=seed)
    ahead = pd.DataFrame({"ds": pd.to_datetime(ds[len(series) :])})
    state = np.random.get_state()
    try:
        # Prophet draws from numpy's global generator.
        np.random.seed(seed)
        values[0] = model.predict(ahead)["yhat"].to_numpy()
        draws = model.predictive_samples(ahead)["yhat"]
    finally:
        np.random.set_state(state)
    values[1:] = np.percentile(draws, _PERCENTS, axis=1)
    # The draws are noisy: a bound never crosses the centre.
    values[1::2] = np.minimum(values[1::2], values[0])
    values[2::2] = np.maximum(values[2::2], values[0])
    return "prophet", np.maximum(values, floor)


@contextmanager
def _silence() -> Iterator[None]:
    """Keep Prophet's and cmdstanpy's lines off the screen."""
    loggers = [logging.getLogger(name) for name in ("cmdstanpy", "prophet", "prophet.plot")]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, was in zip(loggers, before, strict=True):
            logger.disabled = was
