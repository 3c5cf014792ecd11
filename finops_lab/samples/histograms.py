"""Durations as the serving engines of the watched pools count them, in buckets of Prometheus."""

from __future__ import annotations

import numpy as np
import polars as pl

from finops_lab.samples.company import FEATURES, FIRST_DAY, SERVING, TELEMETRY_FIRST_DAY
from finops_lab.samples.compute import pool_name
from finops_lab.samples.demand import ERROR_RATE, Demand
from finops_lab.samples.seeds import Floats, index_of, stream
from finops_lab.samples.telemetry import WATCHED, canonical
from finops_lab.samples.traffic import day_share, durations

__all__ = ["histograms"]

_WINDOW_H = 6
_DRAWS = 12_000
# Bounds of vLLM 0.11, in seconds: `vllm:e2e_request_latency_seconds` and
# `vllm:time_to_first_token_seconds`. Those above hold nothing more and are left out.
_METRICS = {
    "latency": (
        "vllm:e2e_request_latency_seconds",
        (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0),
    ),
    "ttft": (
        "vllm:time_to_first_token_seconds",
        (0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    ),
}


def histograms(seed: int, demand: Demand) -> pl.DataFrame:
    """Return `latency_histograms` of the watched pools: windows of six hours, latency and first token.

    Durations are distributed as those of the sampled calls; counts are of all calls that ended well.
    """
    frames = []
    first = index_of(TELEMETRY_FIRST_DAY, FIRST_DAY)
    for route, _ in WATCHED:
        rng = stream(seed, f"histograms/{pool_name(route)}")
        calls = demand.calls[route][first:]
        names = [
            pl.lit(route.model).alias("model"),
            pl.lit(pool_name(route)).alias("pool_id"),
            pl.lit(f"{SERVING[route.model].cloud}-serving").alias("cluster"),
            pl.lit(FEATURES[route.feature].team).alias("namespace"),
            pl.lit(float(_WINDOW_H * 3600)).alias("window_s"),
        ]
        for begin in range(0, 24, _WINDOW_H):
            share = day_share(begin, begin + _WINDOW_H)
            hour = rng.integers(begin, begin + _WINDOW_H, _DRAWS)
            counts = rng.poisson(calls * share * (1 - ERROR_RATE))
            starts = demand.days[first:] + np.timedelta64(begin, "h")
            ttft, latency = durations(rng, route, hour)
            for metric, drawn in (("latency", latency), ("ttft", ttft)):
                source, bounds = _METRICS[metric]
                frames.append(
                    _windows(rng, drawn, np.array(bounds) * 1000, counts, starts).with_columns(
                        *names, pl.lit(metric).alias("metric"), pl.lit(source).alias("source_metric")
                    )
                )
    return canonical("latency_histograms", pl.concat(frames).sort("pool_id", "metric", "ts", "le_ms"))


def _windows(
    rng: np.random.Generator, drawn: Floats, bounds_ms: Floats, counts: np.ndarray, starts: np.ndarray
) -> pl.DataFrame:
    bucket = np.searchsorted(bounds_ms, drawn)
    buckets = len(bounds_ms) + 1
    size = np.bincount(bucket, minlength=buckets)
    mean = np.bincount(bucket, weights=drawn, minlength=buckets) / np.maximum(size, 1)
    found = rng.multinomial(counts, size / size.sum())
    sums = np.rint(found @ mean)
    ends = np.append(bounds_ms, np.inf)
    return pl.DataFrame(
        {
            "ts": np.repeat(starts.astype("datetime64[us]"), buckets),
            "le_ms": np.tile(ends, len(counts)),
            "cumulative_count": np.cumsum(found, axis=1).ravel(),
            "sum": np.repeat(sums, buckets),
        }
    ).select(
        pl.col("ts").dt.replace_time_zone("UTC"),
        "le_ms",
        "cumulative_count",
        pl.when(pl.col("le_ms").is_infinite()).then("sum").alias("sum_ms"),
    )
