"""Rolling-origin backtest: what the forecast would have said, against what came."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from finops_lab.forecasting.combination import at_least_one, project, project_naive
from finops_lab.forecasting.members import YEAR
from finops_lab.forecasting.panel import VALUES, Floats, Series, read_panel

_JUDGED = 5  # of VALUES: the centre, 80 and 95 % bounds
_LEAST_HISTORY = 3  # months before an origin; less is a guess, not a forecast to judge
_SCHEMA: dict[str, pl.DataType] = {
    "unique_id": pl.String(),
    "model": pl.String(),
    "origins": pl.Int64(),
    "n": pl.Int64(),
    **{name: pl.Float64() for name in ("mase", "smape", "bias", "coverage_80", "coverage_95")},
    "note": pl.String(),
}


def _last_month_flat(series: Series, months: int) -> tuple[str, Floats]:
    values = np.full((len(VALUES), months), np.nan)
    values[0] = series.amounts[-1]
    return "last_month_flat", values


_MODELS: dict[str, Callable[[Series, int], tuple[str, Floats]]] = {
    "combination": project,
    "seasonal_naive": project_naive,
    "last_month_flat": _last_month_flat,
}


def backtest(panel: pl.DataFrame | pl.LazyFrame, months: int = 6, origins: int = 3) -> pl.DataFrame:
    """Judge the forecast and its baselines on months that have already come.

    The newest origin stands `months` before the end of a series and each earlier one a month before
    that: the last `origins` monthly reviews whose forecasts can be checked in full. A model sees only
    what was known at its origin, missing months filled from that alone. Months that were never known
    are not judged.

    Parameters
    ----------
    panel : polars.DataFrame or polars.LazyFrame
        As for `forecast`.
    months : int
        Months held out after each origin.
    origins : int
        Origins per series; one needs 3 months before it.

    Returns
    -------
    polars.DataFrame
        One row per series and model (``combination``, ``seasonal_naive``, ``last_month_flat``), in
        that order within the sorted series. ``origins``, ``n`` (Int64): origins run, months judged.
        ``mase``: mean absolute error over the mean absolute year-on-year change before the origin
        (Hyndman and Koehler 2006); origins without 13 months or any such change do not count.
        ``smape``: 0 to 200 (M4). ``bias``: sum of forecast less actual over sum of actual, positive
        when too high. ``coverage_80``, ``coverage_95``: share of judged months inside the bounds.
        ``note``: why something is null or restricted, and which fallback stood in.

    Raises
    ------
    InputError
        The panel breaks its contract, or `months` or `origins` is below 1.

    Examples
    --------
    >>> from datetime import date
    >>> ds = [date(2026, m, 1) for m in range(1, 9)]
    >>> backtest(pl.DataFrame({"unique_id": "a", "ds": ds, "y": 1.0}))["note"][0]
    'no origin: 8 months known, 9 needed'
    """
    at_least_one(months=months, origins=origins)
    rows = [
        _judge(series, name, run, months, origins)
        for series in read_panel(panel)
        for name, run in _MODELS.items()
    ]
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")


def _judge(
    series: Series,
    name: str,
    run: Callable[[Series, int], tuple[str, Floats]],
    months: int,
    origins: int,
) -> dict[str, Any]:
    cuts = [n for i in range(origins) if (n := len(series) - months - i) >= _LEAST_HISTORY]
    row: dict[str, Any] = {column: None for column in _SCHEMA}
    row |= {"unique_id": series.unique_id, "model": name, "origins": len(cuts), "n": 0}
    if not cuts:
        row["note"] = f"no origin: {len(series)} months known, {months + _LEAST_HISTORY} needed"
        return row
    notes = [f"{len(cuts)} of {origins} origins: history too short"] if len(cuts) < origins else []
    used: set[str] = set()
    parts: list[Floats] = []
    for cut in cuts:
        history = series.head(cut)
        # Where the last months before the origin are unknown the forecast starts earlier.
        model, values = run(history, cut + months - len(history))
        used.add(model)
        held = slice(cut, cut + months)
        actual = np.where(series.known[held], series.amounts[held], np.nan)
        # The 50 % bounds come last and are not judged.
        judged = values[:_JUDGED, -months:]
        parts.append(np.vstack([actual, judged, np.full(months, _yearly_change(history))]))
    table = np.hstack(parts)
    table = table[:, ~np.isnan(table[0])]
    row["n"] = table.shape[1]
    row |= _scores(*table)
    if used != {name}:
        notes.append("forecast by " + ", ".join(sorted(used)))
    if not row["n"]:
        notes.append("no held-out month is known")
    elif row["mase"] is None:
        notes.append("no mase: no origin with 13 months and a year-on-year change before it")
    if row["n"] and row["bias"] is None:
        notes.append("no bias: what came adds up to zero")
    row["note"] = "; ".join(notes) or None
    return row


def _yearly_change(history: Series) -> float:
    """Return the mean absolute year-on-year change, NaN where there is none to scale by."""
    change = np.abs(history.amounts[YEAR:] - history.amounts[:-YEAR])
    # Below this a change is float noise of a filled-in month, and no scale.
    tiny = 1e-9 * np.abs(history.amounts).mean()
    return float(change.mean()) if change.size and change.mean() > tiny else float("nan")


def _scores(
    y: Floats, yhat: Floats, lo_80: Floats, hi_80: Floats, lo_95: Floats, hi_95: Floats, change: Floats
) -> dict[str, float | None]:
    def mean(values: Floats) -> float | None:
        values = values[~np.isnan(values)]
        return float(values.mean()) if values.size else None

    def inside(low: Floats, high: Floats) -> float | None:
        there = ~np.isnan(low)
        # A bound equal to the amount up to the last float digit still covers it.
        slack = 1e-9 * np.abs(y[there])
        covered = (low[there] - slack <= y[there]) & (y[there] <= high[there] + slack)
        return mean(covered.astype(np.float64))

    error, size = yhat - y, np.abs(y) + np.abs(yhat)
    total = float(y.sum())
    return {
        "mase": mean(np.abs(error) / change),
        "smape": mean(200 * np.abs(error) / np.where(size > 0, size, 1.0)),
        "bias": float(error.sum()) / total if total else None,
        "coverage_80": inside(lo_80, hi_80),
        "coverage_95": inside(lo_95, hi_95),
    }
