"""A measurement as points: seconds per inference, percentiles of rounds, means of outcomes."""

from __future__ import annotations

import polars as pl

from finops_lab.errors import InputError
from finops_lab.tradeoffs.measurement import Clock, Measurement, clock_of
from finops_lab.tradeoffs.points import as_points
from finops_lab.tradeoffs.ratios import quantile_floor
from finops_lab.tradeoffs.senses import one_metric

__all__ = ["LEAST_P95", "LEAST_P99", "measured_points"]

_KEYS = ["model", "variant"]
# So many rounds until the slowest is above the percentile with that confidence.
LEAST_P95, LEAST_P99 = quantile_floor(0.95), quantile_floor(0.99)


def measured_points(
    measurement: Measurement, *, quality: str | None = None, clock: Clock | None = None
) -> tuple[pl.DataFrame, pl.DataFrame, Clock]:
    """Turn a measurement into points.

    Parameters
    ----------
    measurement : Measurement
        What was measured.
    quality : str, optional
        The metric of the points; without it the only one, or ``accuracy`` among several.
    clock : {"cpu_ms", "gpu_ms", "wall_ms"}, optional
        The time that costs money; without it the first of GPU, CPU and wall that all rounds have.

    Returns
    -------
    tuple of (polars.DataFrame, polars.DataFrame, str)
        `POINTS`, one row per variant and workload: seconds of the clock per 1,000 inferences and per
        million tokens (``cost_basis`` measured), percentiles of a round's wall time (inverse CDF;
        null below `LEAST_P95` and `LEAST_P99` rounds), inferences per wall second, joules per
        inference, the plain mean of the data sets' mean outcomes and their items. Then `QUALITIES`,
        and the clock.

    Raises
    ------
    InputError
        An unknown metric, several of which none is accuracy, or a clock that was not read.

    Examples
    --------
    >>> variants = pl.DataFrame({"model": ["m"], "variant": ["int8"]})
    >>> timings = pl.DataFrame({"model": ["m"] * 2, "variant": ["int8"] * 2, "workload": ["short"] * 2,
    ...     "round": [1, 2], "items": [10, 10], "wall_ms": [30.0, 50.0], "cpu_ms": [20.0, 20.0]})
    >>> points, _, clock = measured_points(Measurement(variants, timings))
    >>> clock, points.select("per_1000_inferences", "throughput_per_s", "p95_ms").row(0)
    ('cpu_ms', (2.0, 250.0, None))
    """
    timings = measurement.timings
    used = clock if clock is not None else clock_of(timings)
    if clock is not None and timings[clock].has_nulls():
        raise InputError("not all rounds were measured with this clock", column=clock)
    told = _outcomes(measurement)
    metric = one_metric(told["metric"], quality)
    points = (
        measurement.variants.join(_timed(timings, used), on=_KEYS, how="left", nulls_equal=True)
        .join(_graded(told, metric), on=_KEYS, how="left", nulls_equal=True)
        .with_columns(pl.lit("measured").alias("cost_basis"), _note())
        .sort(*_KEYS, "workload")
    )
    return as_points(points.drop("rounds", "sets_differ")), told, used


def _total(name: str) -> pl.Expr:
    """Add up in the order of the rounds; what is unknown in one round is unknown in all."""
    return pl.when(~pl.col(name).has_nulls()).then(pl.col(name).cum_sum().last())


def _timed(timings: pl.DataFrame, clock: str) -> pl.DataFrame:
    wall, count = pl.col("wall_ms"), pl.len()
    percentiles = (("p50_ms", 0.5, 1), ("p95_ms", 0.95, LEAST_P95), ("p99_ms", 0.99, LEAST_P99))
    return (
        timings.sort(*_KEYS, "workload", "round")
        .group_by(*_KEYS, "workload", maintain_order=True)
        .agg(
            (_total(clock) / _total("items")).alias("per_1000_inferences"),
            (_total(clock) / _total("tokens") * 1000).alias("per_1m_tokens"),
            (_total("items") / _total("wall_ms") * 1000).alias("throughput_per_s"),
            (_total("energy_j") / _total("items")).alias("energy_j"),
            *[
                pl.when(count >= least, ~wall.has_nulls())
                .then(wall.quantile(share, "equiprobable"))
                .alias(name)
                for name, share, least in percentiles
            ],
            count.alias("rounds"),
        )
        # Zero items or tokens divide into infinity, which is no cost.
        .with_columns(pl.when(pl.selectors.float().is_finite()).then(pl.selectors.float()))
    )


def _outcomes(measurement: Measurement) -> pl.DataFrame:
    return (
        measurement.outcomes.drop_nulls("value")
        .sort(*_KEYS, "metric", "dataset", "item")
        .group_by(*_KEYS, "dataset", "metric", maintain_order=True)
        .agg(
            (pl.col("value").cum_sum().last() / pl.len()).alias("quality"),
            pl.len().cast(pl.Int64).alias("n"),
            pl.col("higher_is_better").first(),
        )
    )


def _graded(told: pl.DataFrame, metric: str | None) -> pl.DataFrame:
    return (
        told.filter(pl.col("metric") == pl.lit(metric, dtype=pl.String))
        .group_by(_KEYS, maintain_order=True)
        .agg(
            pl.col("metric").first().alias("quality_metric"),
            pl.col("quality").mean(),
            pl.col("higher_is_better").first(),
            pl.col("n").sum().alias("quality_n"),
            pl.col("dataset").sort(),
        )
        .with_columns((pl.col("dataset").n_unique().over("model") > 1).alias("sets_differ"))
        .drop("dataset")
    )


def _note() -> pl.Expr:
    rounds = pl.col("rounds")
    findings = [
        (rounds.is_null(), pl.lit("not timed")),
        (rounds < LEAST_P95, pl.format("no P95: {} rounds of {} needed", rounds, LEAST_P95)),
        (
            rounds.is_between(LEAST_P95, LEAST_P99 - 1),
            pl.format("no P99: {} rounds of {} needed", rounds, LEAST_P99),
        ),
        (pl.col("quality").is_null(), pl.lit("not evaluated")),
        (pl.col("sets_differ"), pl.lit("evaluated on other data sets than other variants of the model")),
    ]
    texts = [pl.when(found).then(text) for found, text in findings]
    joined = pl.concat_str(texts, separator="; ", ignore_nulls=True)
    return pl.when(joined != "").then(joined).alias("note")
