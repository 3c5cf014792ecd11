"""The curve of a model: cost, quality and latency of its variants, from wherever they are known."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import polars as pl

from finops_lab.errors import InputError
from finops_lab.tradeoffs.measurement import OUTCOMES, TIMINGS, Clock, Measurement, read_measurement
from finops_lab.tradeoffs.points import as_points
from finops_lab.tradeoffs.senses import one_metric
from finops_lab.tradeoffs.timed import measured_points

__all__ = ["QUALITIES", "Curve", "curve"]

_Schema = dict[str, pl.DataType | type[pl.DataType]]
QUALITIES: _Schema = {
    "model": pl.String,
    "variant": pl.String,
    "dataset": pl.String,
    "metric": pl.String,
    "quality": pl.Float64,
    "n": pl.Int64,
    "higher_is_better": pl.Boolean,
}


@dataclass(frozen=True)
class Curve:
    """What is known of some variants.

    Attributes
    ----------
    points : polars.DataFrame
        `POINTS`: one row per variant (and workload, where there are several), one quality metric.
    qualities : polars.DataFrame
        `QUALITIES`: every metric on every data set. Metrics keep their own directions.
    outcomes, timings : polars.DataFrame
        `OUTCOMES` paired by item and `TIMINGS` paired by round, for tests and intervals; empty
        where only sums are known.
    clock : str
        The column of `timings` that costs money.
    """

    points: pl.DataFrame
    qualities: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=QUALITIES))
    outcomes: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=OUTCOMES))
    timings: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=TIMINGS))
    clock: Clock = "cpu_ms"


def curve(
    source: pl.DataFrame | pl.LazyFrame | Measurement | Curve | str | Path,
    *,
    workload: str | None = None,
    quality: str | None = None,
    rate_usd_per_hour: float | Decimal | None = None,
    clock: Clock | None = None,
) -> Curve:
    """Put variants side by side, from a table, a measurement or a file of either.

    Parameters
    ----------
    source : polars.DataFrame, polars.LazyFrame, Measurement, Curve, str or pathlib.Path
        A frame of `POINTS` such as `variants` returns, what `finops-lab profile` measured, or a
        file: ``*.measurement.json``, or points as ``.csv``, ``.parquet`` or ``.json`` (a list of rows).
    workload : str, optional
        Only this workload. A choice needs one, where there are several.
    quality : str, optional
        The metric of the points. Without it the only one, or ``accuracy`` among several.
    rate_usd_per_hour : float or Decimal, optional
        What an hour of the measured machine costs: seconds become US dollars.
    clock : {"cpu_ms", "gpu_ms", "wall_ms"}, optional
        Of a measurement: the time that costs money. Without it the GPU's where it was measured,
        else the CPU's, else the wall's.

    Returns
    -------
    Curve
        Money of a measurement is seconds per 1,000 inferences (``cost_basis`` measured, no
        currency) until there is a rate.

    Raises
    ------
    InputError
        No such file, a format or table that cannot be read (with row and column), an unknown workload
        or metric, several metrics of which none is accuracy, or a rate without measured seconds.

    Examples
    --------
    >>> points = pl.DataFrame({"variant": ["fp32", "int8"], "workload": ["short", "short"],
    ...     "cost_basis": ["measured", "measured"], "per_1000_inferences": [3.6, 1.8]})
    >>> curve(points, rate_usd_per_hour=2).points.select("per_1000_inferences", "BillingCurrency").rows()
    [(0.002, 'USD'), (0.001, 'USD')]
    """
    file = Path(source) if isinstance(source, str | Path) else None
    held = source if file is None else _read(file)
    if isinstance(held, Measurement):
        points, qualities, used = measured_points(held, quality=quality, clock=clock)
        found = Curve(points, qualities, held.outcomes, held.timings, used)
    elif isinstance(held, Curve):
        found = held
    else:
        assert isinstance(held, pl.DataFrame | pl.LazyFrame)
        points = as_points(held, file=str(file) if file else None)
        found = Curve(points, _told(points))
    points = _of_workload(found.points, workload)
    points = _of_metric(points, quality)
    if rate_usd_per_hour is not None:
        points = _priced(points, float(rate_usd_per_hour))
    timings = found.timings if workload is None else found.timings.filter(workload=workload)
    return Curve(points, found.qualities, found.outcomes, timings, found.clock)


def _read(file: Path) -> pl.DataFrame | Measurement:
    try:
        if file.suffix == ".csv":
            return pl.read_csv(file, infer_schema_length=None)
        if file.suffix == ".parquet":
            return pl.read_parquet(file)
        if file.suffix == ".json":
            if isinstance(json.loads(file.read_text(encoding="utf-8")), dict):
                return read_measurement(file)
            return pl.read_json(file, infer_schema_length=None)
    except FileNotFoundError:
        raise InputError(
            "no such file", file=file, hint="`finops-lab profile` makes measurement files"
        ) from None
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        raise InputError(f"cannot be read as {file.suffix[1:]}: {error}", file=file) from error
    raise InputError(
        f"nothing reads {file.suffix or 'a file without an ending'}",
        file=file,
        hint="points are .csv, .parquet or .json, measurements .measurement.json",
    )


def _told(points: pl.DataFrame) -> pl.DataFrame:
    """Return the qualities that a points frame tells; it knows no data sets."""
    return (
        points.filter(pl.col("quality").is_not_null())
        .select(
            *("model", "variant"),
            pl.lit(None, dtype=pl.String).alias("dataset"),
            pl.col("quality_metric").alias("metric"),
            "quality",
            pl.col("quality_n").alias("n"),
            "higher_is_better",
        )
        .unique(maintain_order=True)
    )


def _of_workload(points: pl.DataFrame, workload: str | None) -> pl.DataFrame:
    if workload is None:
        return points
    known = points["workload"].drop_nulls().unique().sort().to_list()
    if workload not in known:
        raise InputError(f"no workload {workload!r}", hint=f"known: {', '.join(known) or 'none'}")
    return points.filter(workload=workload)


def _of_metric(points: pl.DataFrame, quality: str | None) -> pl.DataFrame:
    metric = one_metric(points["quality_metric"], quality)
    named = pl.col("quality_metric") == pl.lit(metric, dtype=pl.String)
    return points.filter(pl.col("quality_metric").is_null() | named)


def _priced(points: pl.DataFrame, rate: float) -> pl.DataFrame:
    if not 0 <= rate < float("inf"):
        raise InputError(f"rate_usd_per_hour must be a number from 0 up, not {rate}")
    seconds = (pl.col("cost_basis") == "measured") & pl.col("BillingCurrency").is_null()
    seconds = seconds.fill_null(False)
    if not points.select(seconds.any()).item():
        raise InputError("rate_usd_per_hour prices measured seconds, and there are none", column="cost_basis")
    return points.with_columns(
        *[
            pl.when(seconds).then(pl.col(name) * rate / 3600).otherwise(name).alias(name)
            for name in ("per_1000_inferences", "per_1m_tokens")
        ],
        pl.when(seconds).then(pl.lit("USD")).otherwise("BillingCurrency").alias("BillingCurrency"),
    )
