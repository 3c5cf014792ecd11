"""The peers that a forecast is held against, each with its CPU seconds per series."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
from _forecast_data import Floats, run

from finops_lab.calendar import add_months

FOLDER = Path(__file__).parent / "peers"


def ours(history: Floats, months: int) -> tuple[Floats, float]:
    """Forecast by the room's core. What depends on the length alone is part of the time."""
    run(history[:1, :8], months)  # imports
    return _timed(lambda: run(history, months)[0], len(history))


def trend(history: Floats, months: int) -> tuple[Floats, float]:
    """Extend the least-squares line through all the history."""
    t, ahead = np.arange(history.shape[1]), history.shape[1] + np.arange(months)

    def fit() -> Floats:
        slope, start = np.polyfit(t, history.T, 1)
        return start[:, None] + slope[:, None] * ahead

    return _timed(fit, len(history))


def prophet(history: Floats, months: int) -> tuple[Floats, float]:
    """Forecast by Prophet with LBFGS, as the room's option does."""
    from finops_lab.forecasting import prophet_forecast

    first = add_months(date(2024, 12, 1), 1 - history.shape[1])
    ds = [add_months(first, i) for i in range(history.shape[1])]

    def panel(rows: Floats) -> pl.DataFrame:
        return pl.concat(pl.DataFrame({"unique_id": f"{i:05}", "ds": ds, "y": y}) for i, y in enumerate(rows))

    prophet_forecast(panel(history[:1]), 1)
    return _timed(
        lambda: prophet_forecast(panel(history), months)["yhat"].to_numpy().reshape(len(history), months),
        len(history),
    )


def statsforecast(python: Path, model: str, history: Floats, months: int) -> tuple[Floats, float]:
    """Forecast by a model of statsforecast in its own environment."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        series, answer = Path(folder, "series.npz"), Path(folder, "answer.npz")
        np.savez(series, y=history)
        command = [python, FOLDER / "run_statsforecast.py", model, str(months), series, answer]
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        subprocess.run(command, check=True, env={**os.environ, **threads})
        said = np.load(answer)
        return said["point"], float(said["seconds"])


def _timed(work: Callable[[], Floats], series: int) -> tuple[Floats, float]:
    start = time.process_time()
    found = work()
    return found, (time.process_time() - start) / series
