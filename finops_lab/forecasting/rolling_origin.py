"""Rolling-origin backtest: what the forecast would have said, against what came."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl

from finops_lab.calendar import add_months
from finops_lab.forecasting.combination import at_least_one, project_all, project_naive
from finops_lab.forecasting.knowledge import Knowledge, read_knowledge
from finops_lab.forecasting.panel import VALUES, Floats, Series, month_lengths, read_panel
from finops_lab.forecasting.structural import YEAR

_LEAST_HISTORY = 3  # months before an origin; less is a guess, not a forecast to judge
_BOUNDED = ("80", "95")
_SCHEMA: dict[str, pl.DataType] = {
    "unique_id": pl.String(),
    "model": pl.String(),
    "origins": pl.Int64(),
    "n": pl.Int64(),
    **{name: pl.Float64() for name in ("mase", "smape", "bias", *(f"coverage_{p}" for p in _BOUNDED))},
    "note": pl.String(),
}
_Projection = tuple[str, Floats]
_Run = Callable[[Sequence[Series], int, Knowledge], list[_Projection]]


def _point_only(model: str, point: Floats) -> _Projection:
    values = np.full((len(VALUES), len(point)), np.nan)
    values[VALUES.index("yhat")] = point
    return model, values


def _last_month_flat(many: Sequence[Series], months: int, _: Knowledge) -> list[_Projection]:
    return [_point_only("last_month_flat", np.full(months, series.amounts[-1])) for series in many]


def _run_rate(many: Sequence[Series], months: int, _: Knowledge) -> list[_Projection]:
    """Repeat the daily rate of the last month: what a dashboard's run-rate says."""
    found = []
    for series in many:
        ahead = month_lengths(add_months(series.first, len(series)), months)
        rate = series.amounts[-1] / month_lengths(add_months(series.first, len(series) - 1), 1)[0]
        found.append(_point_only("run_rate", rate * ahead))
    return found


def _seasonal_naive(many: Sequence[Series], months: int, _: Knowledge) -> list[_Projection]:
    return [project_naive(series, months) for series in many]


_MODELS: dict[str, _Run] = {
    "combination": project_all,
    "seasonal_naive": _seasonal_naive,
    "last_month_flat": _last_month_flat,
    "run_rate": _run_rate,
}


def backtest(
    panel: pl.DataFrame | pl.LazyFrame,
    months: int = 6,
    origins: int = 3,
    *,
    events: pl.DataFrame | pl.LazyFrame | None = None,
    price_index: pl.DataFrame | pl.LazyFrame | None = None,
) -> pl.DataFrame:
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
    events, price_index
        As for `forecast`; of those that begin after its origin a forecast knows nothing.

    Returns
    -------
    polars.DataFrame
        One row per series and model (``combination``, ``seasonal_naive``, ``last_month_flat``,
        ``run_rate``: the last month's daily rate), in that order within the sorted series.
        ``origins``, ``n`` (Int64): origins run, months judged.
        ``mase``: mean absolute error over the mean absolute year-on-year change before the origin
        (Hyndman and Koehler 2006); origins without 13 months or any such change do not count.
        ``smape``: 0 to 200 (M4). ``bias``: sum of forecast less actual over sum of actual, positive
        when too high. ``coverage_80``, ``coverage_95``: share of judged months inside the bounds.
        ``note``: why something is null or restricted, and which fallback stood in.

    Raises
    ------
    InputError
        The panel, the events or the price index breaks its contract, or `months` or `origins` is
        below 1.

    Examples
    --------
    >>> from datetime import date
    >>> ds = [date(2026, m, 1) for m in range(1, 9)]
    >>> backtest(pl.DataFrame({"unique_id": "a", "ds": ds, "y": 1.0}))["note"][0]
    'no origin: 8 months known, 9 needed'
    """
    at_least_one(months=months, origins=origins)
    many = read_panel(panel)
    known = read_knowledge(events, price_index, len(many), foresees=False)
    cuts = [_cuts(series, months, origins) for series in many]
    histories = [series.head(cut) for series, some in zip(many, cuts, strict=True) for cut in some]
    # Where the last months before an origin are unknown the forecast starts earlier.
    ahead = [
        cut + months - len(series.head(cut)) for series, some in zip(many, cuts, strict=True) for cut in some
    ]
    made = {name: _projected(run, histories, ahead, known) for name, run in _MODELS.items()}
    rows, start = [], 0
    for series, some in zip(many, cuts, strict=True):
        here = slice(start, start + len(some))
        start += len(some)
        for name in _MODELS:
            rows.append(_judge(series, name, some, histories[here], made[name][here], months, origins))
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")


def _cuts(series: Series, months: int, origins: int) -> list[int]:
    return [n for i in range(origins) if (n := len(series) - months - i) >= _LEAST_HISTORY]


def _projected(
    run: _Run, histories: Sequence[Series], ahead: Sequence[int], known: Knowledge
) -> list[_Projection]:
    """Project all at once, as far as the farthest needs, and cut each to its own months."""
    if not histories:
        return []
    found = run(histories, max(ahead), known)
    return [(model, values[:, :n]) for (model, values), n in zip(found, ahead, strict=True)]


def _judge(
    series: Series,
    name: str,
    cuts: Sequence[int],
    histories: Sequence[Series],
    made: Sequence[_Projection],
    months: int,
    origins: int,
) -> dict[str, Any]:
    row: dict[str, Any] = {column: None for column in _SCHEMA}
    row |= {"unique_id": series.unique_id, "model": name, "origins": len(cuts), "n": 0}
    if not cuts:
        row["note"] = f"no origin: {len(series)} months known, {months + _LEAST_HISTORY} needed"
        return row
    notes = [f"{len(cuts)} of {origins} origins: history too short"] if len(cuts) < origins else []
    parts: list[Floats] = []
    for cut, history, (_, values) in zip(cuts, histories, made, strict=True):
        held = slice(cut, cut + months)
        actual = np.where(series.known[held], series.amounts[held], np.nan)
        parts.append(np.vstack([actual, values[:, -months:], np.full(months, _yearly_change(history))]))
    judged = np.hstack(parts)
    judged = judged[:, ~np.isnan(judged[0])]
    row["n"] = judged.shape[1]
    row |= _scores(judged[0], dict(zip(VALUES, judged[1:-1], strict=True)), judged[-1])
    used = {model for model, _ in made}
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


def _scores(y: Floats, values: dict[str, Floats], change: Floats) -> dict[str, float | None]:
    def mean(values: Floats) -> float | None:
        values = values[~np.isnan(values)]
        return float(values.mean()) if values.size else None

    def inside(low: Floats, high: Floats) -> float | None:
        there = ~np.isnan(low)
        # A bound equal to the amount up to the last float digit still covers it.
        slack = 1e-9 * np.abs(y[there])
        covered = (low[there] - slack <= y[there]) & (y[there] <= high[there] + slack)
        return mean(covered.astype(np.float64))

    error, size = values["yhat"] - y, np.abs(y) + np.abs(values["yhat"])
    total = float(y.sum())
    return {
        "mase": mean(np.abs(error) / change),
        "smape": mean(200 * np.abs(error) / np.where(size > 0, size, 1.0)),
        "bias": float(error.sum()) / total if total else None,
        **{f"coverage_{p}": inside(values[f"lo_{p}"], values[f"hi_{p}"]) for p in _BOUNDED},
    }
