"""What daily spend is watched with elsewhere: two rules of policy templates, and Prophet refitted weekly."""

from __future__ import annotations

import logging
import time
from datetime import date, timedelta

import numpy as np
from _anomaly_data import DAYS, WARM, Bases, Floats, Injected

REFIT = 7  # days between two fits of Prophet
NEVER = 1e9  # score of what is infinitely far off


def bollinger(values: Floats) -> Floats:
    """Return the distance from the mean of the 30 days before, in their standard deviations."""
    out = np.zeros_like(values)
    for t in range(30, values.shape[1]):
        before = values[:, t - 30 : t]
        out[:, t] = np.abs(values[:, t] - np.nanmean(before, 1)) / np.nanstd(before, 1)
    return np.nan_to_num(out, posinf=NEVER)


def trailing_week(values: Floats) -> Floats:
    """Return the change against the mean of the 7 days before, as a share of it."""
    out = np.zeros_like(values)
    for t in range(7, values.shape[1]):
        out[:, t] = np.abs(values[:, t] / np.nanmean(values[:, t - 7 : t], 1) - 1)
    return np.nan_to_num(out, posinf=NEVER)


class Prophet:
    """Scores of Prophet on the log of spend: distance from the forecast in its own standard deviations.

    Fitted every seventh day to all days before. A series with something put in is the same as its base
    before that, so are its fits; they are made once.
    """

    def __init__(self) -> None:
        for name in ("cmdstanpy", "prophet", "prophet.plot", "prophet.models"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        logging.getLogger("cmdstanpy").disabled = True
        self.seconds, self.days = 0.0, 0

    def clean(self, bases: Bases) -> tuple[Floats, Floats, Floats]:
        """Return scores, forecasts and their standard deviations of clean series."""
        shape = bases.values.shape
        mean, sd = np.full(shape, np.nan), np.ones(shape)
        for i, (y, first) in enumerate(zip(bases.values, bases.first, strict=True)):
            for t in range(WARM, DAYS, REFIT):
                mean[i, t : t + REFIT], sd[i, t : t + REFIT] = self._fit(y, first, t)
        return self._score(bases.values, mean, sd), mean, sd

    def injected(self, put: Injected, first: list[date], mean: Floats, sd: Floats) -> Floats:
        """Return the scores of series with something put in, given the forecasts of their bases."""
        means, sds = mean[put.base].copy(), sd[put.base].copy()
        for i, (y, start, end) in enumerate(zip(put.values, put.start, put.end, strict=True)):
            for t in range(WARM, DAYS, REFIT):
                if start < t <= end:
                    means[i, t : t + REFIT], sds[i, t : t + REFIT] = self._fit(y, first[put.base[i]], t)
        return self._score(put.values, means, sds)

    def _fit(self, y: Floats, first: date, t: int) -> tuple[Floats, Floats]:
        import pandas as pd
        import prophet

        days = [first + timedelta(days=i) for i in range(min(t + REFIT, DAYS))]
        log = self._log(y)[:t]
        start = time.process_time()
        model = prophet.Prophet(
            weekly_seasonality=True,
            yearly_seasonality=False,
            daily_seasonality=False,
            uncertainty_samples=200,
        )
        np.random.seed(1)  # Prophet draws its bounds from the global state
        model.fit(pd.DataFrame({"ds": pd.to_datetime(days[:t]), "y": log}), seed=1)
        ahead = model.predict(pd.DataFrame({"ds": pd.to_datetime(days[t:])}))
        self.seconds += time.process_time() - start
        self.days += len(days) - t
        width = (ahead["yhat_upper"] - ahead["yhat_lower"]).to_numpy() / 2 / 1.2816
        return ahead["yhat"].to_numpy(), np.maximum(width, 1e-6)

    @staticmethod
    def _log(y: Floats) -> Floats:
        return np.log(np.maximum(y, 0.01 * np.nanmedian(y)))

    def _score(self, values: Floats, mean: Floats, sd: Floats) -> Floats:
        log = np.array([self._log(y) for y in values])
        return np.nan_to_num(np.abs(log - mean) / sd)
