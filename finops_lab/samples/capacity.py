"""How large the watched pools were, hour by hour, and every decision of their autoscaler.

A replica holds one GPU. Each five minutes the scaler wants as many as the load needs at the target
utilization, rounded up, and takes replicas away only when the last half hour did without them, as
the Horizontal Pod Autoscaler of Kubernetes does with a stabilization window.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import polars as pl

from finops_lab.samples.company import (
    FEATURES,
    FIRST_DAY,
    LAST_DAY,
    SERVING,
    SERVING_VARIANTS,
    TELEMETRY_FIRST_DAY,
    UTILIZATION,
)
from finops_lab.samples.compute import pool_name
from finops_lab.samples.demand import Demand, Route
from finops_lab.samples.plants import OVER_PROVISIONED, THRASHING, Plants
from finops_lab.samples.seeds import Floats, Ints, index_of, stream
from finops_lab.samples.telemetry import WATCHED, canonical
from finops_lab.samples.traffic import day_share

__all__ = ["capacity"]

_TICK_S, _HOUR_S = 300, 3600
_TICKS = 86_400 // _TICK_S
_WINDOW = 6  # ticks that a scale-down waits for
_LIMIT = 1.25  # the upper limit, against the highest need of usual days


@dataclass(frozen=True)
class _Pool:
    route: Route
    needed: Floats  # per tick
    least: int
    most: int
    window: Ints  # ticks of patience before replicas are taken away


def capacity(seed: int, demand: Demand, plants: Plants) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return `capacity_series` of every hour and the `scale_events` that made them.

    An hour's ``desired`` and ``ready`` are means over the hour, exactly those that the events give.
    """
    series, events = [], []
    for route, _ in WATCHED:
        pool = _pool(seed, route, demand, plants)
        rng = stream(seed, f"scaling/{pool_name(route)}")
        desired = _desired(pool)
        at = np.flatnonzero(np.diff(desired)) + 1
        before, after = desired[at - 1], desired[at]
        # New replicas are there within the five minutes to the next decision; old ones go at once.
        lag = np.where(after > before, rng.integers(140, 291, len(at)), 20 + rng.integers(0, 20, len(at)))
        decided = at * _TICK_S + rng.integers(0, 4, len(at))
        start = int(desired[0])
        names = [
            pl.lit(pool_name(route)).alias("pool_id"),
            pl.lit(f"{SERVING[route.model].cloud}-serving").alias("cluster"),
            pl.lit(FEATURES[route.feature].team).alias("namespace"),
            pl.lit("replica").alias("unit"),
        ]
        change = after - before
        hours = len(desired) * _TICK_S // _HOUR_S
        series.append(
            pl.DataFrame(
                {
                    "ts": _moments(np.arange(hours) * _HOUR_S),
                    "desired": _means(start, decided, change, hours),
                    "ready": _means(start, decided + lag, change, hours),
                    "needed": np.round(pool.needed.reshape(hours, -1).mean(axis=1), 2),
                }
            ).with_columns(
                *names,
                pl.lit(float(_HOUR_S)).alias("interval_s"),
                pl.lit(float(pool.least)).alias("least"),
                pl.lit(float(pool.most)).alias("most"),
            )
        )
        events.append(
            pl.DataFrame(
                {
                    "ts_decision": _moments(decided),
                    "ts_ready": _moments(decided + lag),
                    "from_units": before.astype(np.float64),
                    "to_units": after.astype(np.float64),
                }
            ).with_columns(
                *names,
                pl.lit("hpa").alias("scaler"),
                pl.when(pl.col("to_units") > pl.col("from_units"))
                .then(
                    pl.format(
                        "New size: {}; reason: gpu_busy above target", pl.col("to_units").cast(pl.Int64)
                    )
                )
                .otherwise(
                    pl.format(
                        "New size: {}; reason: All metrics below target", pl.col("to_units").cast(pl.Int64)
                    )
                )
                .alias("reason"),
            )
        )
    return (
        canonical("capacity_series", pl.concat(series).sort("pool_id", "ts")),
        canonical("scale_events", pl.concat(events).sort("pool_id", "ts_decision")),
    )


def _pool(seed: int, route: Route, demand: Demand, plants: Plants) -> _Pool:
    rng = stream(seed, f"load/{pool_name(route)}")
    first = index_of(TELEMETRY_FIRST_DAY, FIRST_DAY)
    calls = demand.calls[route][first:].astype(np.float64)
    shape = np.array([day_share(hour, hour + 1) for hour in range(24)])
    seconds = SERVING[route.model].gpu_seconds[SERVING_VARIANTS.index(route.variant)]
    hourly = np.outer(calls, shape).ravel() * seconds / _HOUR_S / UTILIZATION
    middles = (np.arange(len(hourly)) + 0.5) * _HOUR_S
    ticks = (np.arange(len(calls) * _TICKS) + 0.5) * _TICK_S
    usual = np.interp(ticks, middles, hourly)
    noise = rng.normal(0, 0.05, len(ticks))
    # Load of one five minutes carries over to the next.
    noise = (noise + np.roll(noise, 1) + np.roll(noise, 2)) / math.sqrt(3)
    window = np.full(len(ticks), _WINDOW)
    least = 1
    key = (route.feature, route.model, route.variant)
    if plants.on and key == THRASHING[0]:
        flapping = slice(*((index_of(day, TELEMETRY_FIRST_DAY) + late) * _TICKS
                           for day, late in zip(THRASHING[1:], (0, 1), strict=True)))  # fmt: skip
        noise[flapping] = rng.normal(0, 0.16, flapping.stop - flapping.start)
        window[flapping] = 1
    if plants.on and key == OVER_PROVISIONED[0]:
        least = OVER_PROVISIONED[1]
    most = max(math.ceil(float(usual.max()) * _LIMIT), least + 2)
    return _Pool(route, usual * np.exp(noise), least, most, window)


def _desired(pool: _Pool) -> Ints:
    wanted = np.clip(np.ceil(pool.needed), pool.least, pool.most).astype(np.int64)
    highest = wanted.copy()
    for back in range(1, _WINDOW):
        earlier = np.concatenate([wanted[:1].repeat(back), wanted[:-back]])
        highest = np.where(back < pool.window, np.maximum(highest, earlier), highest)
    return highest


def _means(start: int, moments: Ints, change: Ints, hours: int) -> Floats:
    """Return the mean of each hour of a number that changes at some seconds."""
    total = start * np.full(hours, _HOUR_S, dtype=np.int64)
    hour = moments // _HOUR_S
    inside = hour < hours
    # From its moment on, and in every later hour in full.
    np.add.at(total, hour[inside], change[inside] * (_HOUR_S - moments[inside] % _HOUR_S))
    steps = np.zeros(hours + 1, dtype=np.int64)
    np.add.at(steps, np.minimum(hour + 1, hours), change)
    total += np.cumsum(steps)[:hours] * _HOUR_S
    return np.asarray(total / _HOUR_S, dtype=np.float64)


def _moments(seconds: Ints) -> pl.Series:
    start = np.datetime64(TELEMETRY_FIRST_DAY, "us")
    assert len(seconds) == 0 or start + np.timedelta64(int(seconds[-1]), "s") < np.datetime64(LAST_DAY) + 2
    moments = start + np.asarray(seconds).astype("timedelta64[s]").astype("timedelta64[us]")
    return pl.Series(moments).dt.replace_time_zone("UTC")
