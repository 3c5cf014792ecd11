"""Series of telemetry at one grain: values of many slices over the same windows, and what they stand on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl

from finops_lab.anomalies.event import SCOPES
from finops_lab.anomalies.panel import Floats
from finops_lab.errors import InputError

__all__ = ["FEWEST_CALLS", "GRAIN", "METRICS", "Metric", "Series", "check_grain", "series_of"]

GRAIN = {"5m": timedelta(minutes=5), "hour": timedelta(hours=1)}
# Fewer calls do not tell a P95: the chance that none of 59 is above it is 5 %.
FEWEST_CALLS = 59


@dataclass(frozen=True)
class Metric:
    """How a metric varies, and which way an alarm may point.

    Attributes
    ----------
    unit : str
        Its unit.
    kind : str
        ``count``: a sum over independent rows. ``ratio``: a share of calls. ``level``: a size of its own.
    up, down : bool
        Whether more, or less, than expected is an alarm.
    lasting : bool
        Whether one row, such as a job, is in many windows in a row.
    uneven : bool
        Whether rows differ so much in size that the largest make the tail.
    """

    unit: str
    kind: str
    up: bool = True
    down: bool = False
    lasting: bool = False
    uneven: bool = False


METRICS = {
    "requests": Metric("calls", "count", down=True),
    "tokens": Metric("tokens", "count", uneven=True),
    "reported_usd": Metric("USD", "count", uneven=True),
    "error_rate": Metric("ratio", "ratio"),
    "retry_share": Metric("ratio", "ratio"),
    "p95_ms": Metric("ms", "level"),
    "gpu_hours": Metric("hours", "count", lasting=True),
    "training_gpu_hours": Metric("hours", "count", lasting=True),
    "training_usd": Metric("USD", "count", lasting=True),
}


@dataclass(frozen=True)
class Series:
    """Many series over the same moments.

    Attributes
    ----------
    start : datetime.datetime
        Begin of the first window, a midnight of UTC.
    grain : str
        Key of `GRAIN`.
    names : polars.DataFrame
        One row per series: ``series`` (Int64, its row in the arrays), ``metric``, ``unit``,
        ``dimension``, ``value`` (null for the total), and ``x_provider``, ``x_service``, ``x_team``,
        ``x_model``, ``x_feature``.
    values : numpy.ndarray
        Series x windows, Float64; NaN where nobody knows.
    evidence : numpy.ndarray
        Series x windows. Of a count: how much of its unit one independent row adds, NaN in windows
        without a row. Of a ratio: the number of independent calls that it is of. Of a level: 1.
    largest : numpy.ndarray, optional
        Series x windows. Of a count of uneven rows: how much one of its largest rows adds, sum v^3 / sum v^2.
        Read where the metric is uneven; by default rows are alike.
    """

    start: datetime
    grain: str
    names: pl.DataFrame
    values: Floats
    evidence: Floats
    largest: Floats | None = None

    def __len__(self) -> int:
        return len(self.values)

    def only(self, metrics: Collection[str]) -> Series:
        """Return the series of some metrics, numbered anew."""
        kept = self.names["metric"].is_in(list(metrics))
        rows = kept.to_numpy()
        names = self.names.filter(kept).with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias("series"))
        largest = None if self.largest is None else self.largest[rows]
        return replace(
            self, names=names, values=self.values[rows], evidence=self.evidence[rows], largest=largest
        )

    def without(self, days: Collection[date]) -> Series:
        """Return the series with nothing known of some days (UTC): these are not judged, and teach nothing."""
        values, windows = self.values.copy(), timedelta(days=1) // GRAIN[self.grain]
        for day in days:
            at = (day - self.start.date()).days * windows
            values[:, max(at, 0) : max(at + windows, 0)] = np.nan
        return replace(self, values=values)

    def moment(self, window: int) -> datetime:
        """Return the begin of a window."""
        return self.start + window * GRAIN[self.grain]


def series_of(
    values: Floats,
    start: datetime,
    *,
    grain: str = "5m",
    metric: str = "requests",
    evidence: Floats | float = 1.0,
    names: Sequence[str] | None = None,
) -> Series:
    """Make series of an array: a row per series, NaN where nobody knows.

    Parameters
    ----------
    values : numpy.ndarray
        Series x windows, Float64.
    start : datetime.datetime
        Begin of the first window, a midnight of UTC.
    grain : str
        Key of `GRAIN`.
    metric : str
        Key of `METRICS`.
    evidence : numpy.ndarray or float
        As in `Series`.
    names : sequence of str, optional
        Names of the series, by default their numbers.

    Returns
    -------
    Series
        Of the dimension ``series``.

    Raises
    ------
    InputError
        An unknown grain or metric, or a start that is no midnight.

    Examples
    --------
    >>> from datetime import UTC
    >>> made = series_of(np.ones((1, 288)), datetime(2026, 10, 5, tzinfo=UTC))
    >>> made.moment(12).hour, made.names["unit"][0]
    (1, 'calls')
    """
    check_grain(grain)
    if metric not in METRICS:
        raise InputError(f"unknown metric {metric!r}", hint=f"one of {', '.join(METRICS)}")
    if (start.hour, start.minute, start.second, start.microsecond) != (0, 0, 0, 0):
        raise InputError("series start at a midnight of UTC", hint="put NaN before what is known")
    named = [f"{row:05}" for row in range(len(values))] if names is None else list(names)
    frame = pl.DataFrame({"value": named}, schema={"value": pl.String}).select(
        pl.int_range(pl.len(), dtype=pl.Int64).alias("series"),
        pl.lit(metric).alias("metric"),
        pl.lit(METRICS[metric].unit).alias("unit"),
        pl.lit("series").alias("dimension"),
        "value",
        *(pl.lit(None, pl.String).alias(column) for column in SCOPES.values()),
    )
    return Series(start, grain, frame, values, np.broadcast_to(np.asarray(evidence, float), values.shape))


def check_grain(grain: str) -> None:
    """Refuse a grain that is none of `GRAIN`."""
    if grain not in GRAIN:
        raise InputError(f"unknown grain {grain!r}", hint=f"one of {', '.join(GRAIN)}")
