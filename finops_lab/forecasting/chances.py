"""From bounds to chances: quantiles, the chance to pass an amount, and bounds of sums.

A forecast is read as a continuous distribution whose 2.5, 10, 25, 50, 75, 90 and 97.5 % quantiles are
its bounds and its centre; the 50 % bounds may be missing. Between and beyond them it is normal by
pieces: the quantile is linear in the normal score, so both sides keep their own spread.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from finops_lab.errors import InputError, each_name
from finops_lab.forecasting.panel import VALUES, Floats

__all__ = ["MONTHS_TOGETHER", "added", "exceedance", "over_months", "over_series", "quantile_at"]

# The normal score of each bound.
_SCORES = {
    "lo_95": -1.959963984540054,
    "lo_80": -1.2815515655446004,
    "lo_50": -0.6744897501960817,
    "yhat": 0.0,
    "hi_50": 0.6744897501960817,
    "hi_80": 1.2815515655446004,
    "hi_95": 1.959963984540054,
}
# The correlation of a forecast's errors from month to month. At 24, 36 and 60 months the yearly totals of
# M4 and M3 pass the 80 and 90 % quantile with it in .175 to .21 and .08 to .11 of series; with 1 in
# .135 to .18 and .05 to .08 (`benchmarks/forecast_accuracy.py`).
MONTHS_TOGETHER = 0.7
_OPTIONAL = {"lo_50", "hi_50"}


def quantile_at(forecast: pl.DataFrame, p: float, name: str = "amount") -> pl.DataFrame:
    """Add the amount that the actual stays below with probability `p`.

    Parameters
    ----------
    forecast : polars.DataFrame
        As `forecast` gives: ``yhat, lo_80, hi_80, lo_95, hi_95`` and, where they are there, ``lo_50,
        hi_50`` (Float64).
    p : float
        A probability between 0 and 1, both exclusive.
    name : str
        The column to add: Float64, units of `yhat`, null where a bound is.

    Raises
    ------
    InputError
        `p` is not between 0 and 1, or a bound's column is missing.

    Examples
    --------
    >>> ahead = pl.DataFrame({"yhat": 100.0, "lo_80": 90.0, "hi_80": 120.0, "lo_95": 80.0, "hi_95": 140.0})
    >>> quantile_at(ahead, 0.9)["amount"].round(6).to_list()
    [120.0]
    """
    from statistics import NormalDist

    if not 0 < p < 1:
        raise InputError(f"a probability lies between 0 and 1, not at {p!r}", hint="write 0.8 for 80 %")
    (knots, scores), z = _knots(forecast), NormalDist().inv_cdf(p)
    left = int(np.clip(np.searchsorted(scores, z) - 1, 0, len(scores) - 2))
    share = (z - scores[left]) / (scores[left + 1] - scores[left])
    amounts = knots[:, left] + share * (knots[:, left + 1] - knots[:, left])
    return forecast.with_columns(pl.Series(name, amounts).fill_nan(None))


def exceedance(forecast: pl.DataFrame, limit: str, name: str = "probability") -> pl.DataFrame:
    """Add the probability that the actual is above an amount given per row.

    Parameters
    ----------
    forecast : polars.DataFrame
        As `forecast` gives, with a column of amounts to hold against it.
    limit : str
        The column of amounts: any number, cast to Float64.
    name : str
        The column to add: Float64 from 0 to 1, null where a bound or the limit is. Where all bounds
        are one amount it is 1 above the limit and 0 at or below it.

    Raises
    ------
    InputError
        A column is missing.

    Examples
    --------
    >>> ahead = pl.DataFrame({"yhat": 100.0, "lo_80": 90.0, "hi_80": 120.0, "lo_95": 80.0, "hi_95": 140.0})
    >>> exceedance(ahead.with_columns(budget=120.0), "budget")["probability"].round(6).to_list()
    [0.1]
    """
    from statistics import NormalDist

    knots, scores = _knots(forecast)
    if limit not in forecast.columns:
        raise InputError("the forecast has no such column", column=limit)
    limits = forecast[limit].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    normal, found = NormalDist(), np.full(len(limits), np.nan)
    for row, (bounds, at) in enumerate(zip(knots, limits, strict=True)):
        if np.isnan(at) or np.isnan(bounds).any():
            continue
        if bounds[-1] <= bounds[0]:
            found[row] = float(bounds[-1] > at)
        else:
            found[row] = 1 - normal.cdf(_score(bounds, scores, float(at)))
    return forecast.with_columns(pl.Series(name, found).fill_nan(None))


def over_months(
    forecast: pl.DataFrame, by: str | Sequence[str] = ("unique_id",), *, together: float = MONTHS_TOGETHER
) -> pl.DataFrame:
    """Add up months of the same series, whose errors mostly stay together: see `added`.

    Parameters
    ----------
    forecast : polars.DataFrame
        As `forecast` gives.
    by : str or sequence of str
        What the sums are for.
    together : float
        The correlation of the errors of any two months, 0 to 1. At `MONTHS_TOGETHER` a sum passes its
        quantiles as often as they say; at 1 half widths are added, which is cautious.

    Returns
    -------
    polars.DataFrame
        `by`, and centre and bounds of the sum in the order of `forecast` (null where a month's is), sorted.

    Raises
    ------
    InputError
        A column is missing, or `together` is not between 0 and 1.

    Examples
    --------
    >>> two = pl.DataFrame({"unique_id": ["a", "a"], "yhat": 10.0, "lo_80": 9.0, "hi_80": 12.0,
    ...     "lo_95": 8.0, "hi_95": 14.0})
    >>> over_months(two).select(pl.col(pl.Float64).round(2)).row(0)
    (20.0, 18.16, 23.69, 16.31, 27.38)
    >>> over_months(two, together=1.0).row(0)
    ('a', 20.0, 18.0, 24.0, 16.0, 28.0)
    """
    by = each_name(by)
    names = _values(forecast, by)
    if not 0 <= together <= 1:
        raise InputError(f"together is a correlation between 0 and 1, not {together!r}")
    added = [pl.when(pl.col(n).null_count() == 0).then(pl.col(n).sum()).alias(n) for n in names]
    if together == 1:
        return forecast.group_by(by).agg(added).sort(by)
    return _spread(forecast, by, names, together)


def added(widths: Sequence[float], together: float = MONTHS_TOGETHER) -> float:
    """Return the half width of a sum: the root of the variance of errors with one correlation.

    Parameters
    ----------
    widths : sequence of float
        Half widths of the parts, at one probability.
    together : float
        The correlation of any two errors, as for `over_months`.

    Examples
    --------
    >>> added([3.0, 4.0], 0.0), added([3.0, 4.0], 1.0)
    (5.0, 7.0)
    """
    return float(((1 - together) * sum(w * w for w in widths) + together * sum(widths) ** 2) ** 0.5)


def over_series(forecast: pl.DataFrame, by: str | Sequence[str] = ("ds",)) -> pl.DataFrame:
    """Add up several series: half widths add as roots of sums of squares, for errors of their own.

    Parameters
    ----------
    forecast : polars.DataFrame
        As `forecast` gives.
    by : str or sequence of str
        What the sums are for.

    Returns
    -------
    polars.DataFrame
        `by`, and centre and bounds of the sum in the order of `forecast` (null where a series' is), sorted.

    Raises
    ------
    InputError
        A column is missing.

    Examples
    --------
    >>> from datetime import date
    >>> two = pl.DataFrame({"unique_id": ["a", "b"], "ds": date(2026, 1, 1), "yhat": 10.0,
    ...     "lo_80": [7.0, 6.0], "hi_80": 12.0, "lo_95": 4.0, "hi_95": 14.0})
    >>> over_series(two)["lo_80"].to_list()
    [15.0]
    """
    by = each_name(by)
    return _spread(forecast, by, _values(forecast, by), 0.0)


def _spread(forecast: pl.DataFrame, by: Sequence[str], names: list[str], together: float) -> pl.DataFrame:
    """Add up rows whose errors have one correlation: the variance of a sum, for each bound by itself."""
    bounds = [name for name in names if name != "yhat"]
    sums = [pl.when(pl.col("yhat").null_count() == 0).then(pl.col("yhat").sum()).alias("yhat")]
    for n in bounds:
        width = (pl.col(n) - pl.col("yhat")).abs()
        square = together * width.sum().pow(2) + (1 - together) * width.pow(2).sum()
        half = square.sqrt() * (-1 if n.startswith("lo") else 1)
        sums.append(pl.when(pl.col(n).null_count() == 0).then(half).alias(n))
    return (
        forecast.group_by(by)
        .agg(sums)
        .with_columns((pl.col("yhat") + pl.col(n)).alias(n) for n in bounds)
        .sort(by)
    )


def _score(bounds: Floats, scores: Floats, at: float) -> float:
    """Return the normal score of an amount; bounds that coincide give the score nearest to the centre."""
    inner, middle = range(len(scores) - 1), len(scores) // 2
    if at >= bounds[middle]:
        pieces = [i for i in inner if i >= middle and bounds[i + 1] > bounds[i]]
        piece = next((i for i in pieces if at <= bounds[i + 1]), pieces[-1] if pieces else None)
        if piece is None:
            return 0.0 if at == bounds[middle] else float("inf")
    else:
        pieces = [i for i in reversed(inner) if i < middle and bounds[i + 1] > bounds[i]]
        piece = next((i for i in pieces if at >= bounds[i]), pieces[-1] if pieces else None)
        if piece is None:
            return float("-inf")
    share = (at - bounds[piece]) / (bounds[piece + 1] - bounds[piece])
    return float(scores[piece] + share * (scores[piece + 1] - scores[piece]))


def _knots(forecast: pl.DataFrame) -> tuple[Floats, Floats]:
    """Return the bounds that are there, from the lowest to the highest, and their normal scores."""
    there = _values(forecast)
    names = [name for name in _SCORES if name in there]
    knots = forecast.select(pl.col(n).cast(pl.Float64).fill_null(float("nan")) for n in names).to_numpy()
    return knots, np.array([_SCORES[name] for name in names])


def _values(frame: pl.DataFrame, by: Sequence[str] = ()) -> list[str]:
    there = set(frame.columns) >= _OPTIONAL
    names = [name for name in VALUES if there or name not in _OPTIONAL]
    for name in (*by, *names):
        if name not in frame.columns:
            raise InputError("the forecast has no such column", column=name, hint="pass what `forecast` gave")
    return names
