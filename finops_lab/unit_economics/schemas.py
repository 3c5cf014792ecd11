"""The frames of the unit economics: what telemetry is rolled up to, and how a figure is told.

Calls and tokens are sums over real calls: a sampled row stands for ``n_requests`` x
``sample_weight`` of them, rounded by itself to thousandths, so that the order of rows does not
matter. Decimals never wrap and never depend on the order of adding.
"""

from __future__ import annotations

import polars as pl

from finops_lab.money import MONEY

__all__ = [
    "BY",
    "BY_ENGINE",
    "ENGINE_BUCKETS",
    "FIGURES",
    "GPU_DAYS",
    "HISTOGRAMS",
    "LATENCIES",
    "REQUEST_DAYS",
    "REQUEST_KEYS",
    "REQUEST_MONTHS",
    "SUMS",
    "VARIANCES",
]

_Schema = dict[str, pl.DataType | type[pl.DataType]]
COUNTED = pl.Decimal(38, 3)

# Dimensions that a figure is told by, beside the whole.
BY = ("team", "model", "variant", "feature", "customer", "environment")

# What tells calls apart in a roll-up, beside their day or month. All may be null.
REQUEST_KEYS = (*BY, "region", "provider", "hosting", "operation", "service_tier", "pool_id")

# How far counts may be off because calls were sampled, and the sums that they are of: a row of weight w is
# taken as kept by itself with probability 1 / w (Horvitz and Thompson 1952, Poisson sampling). They add
# up as the counts do, and are 0 where every call has its row.
VARIANCES = {
    "variance_ok": "calls_ok",
    "variance_failed": "calls_failed",
    "variance_cancelled": "calls_cancelled",
    "variance_retried": "calls_retried",
    "variance_retry_told": "calls_retry_told",
    "variance_input_tokens": "input_tokens",  # cached ones included
    "variance_output_tokens": "output_tokens",
}

# Sums over the calls of a group; tokens are null where no row of the group knows them.
SUMS: _Schema = {
    "rows": pl.Int64,  # rows of inference_requests
    "rows_without_tokens": pl.Int64,  # among them, rows that know neither input nor output
    "calls": COUNTED,
    "calls_ok": COUNTED,
    "calls_failed": COUNTED,  # error and timeout; finished calls are these and the successful ones
    "calls_cancelled": COUNTED,
    "calls_pending": COUNTED,
    "calls_retried": COUNTED,  # calls that repeat a failed one
    "calls_retry_told": COUNTED,  # calls whose source says whether they do
    "calls_cached": COUNTED,  # among the successful ones: answered from a gateway's own cache, without a model
    "input_uncached_tokens": COUNTED,
    "cache_read_tokens": COUNTED,
    "cache_write_tokens": COUNTED,
    "output_tokens": COUNTED,
    "reasoning_tokens": COUNTED,
    "latency_ms": COUNTED,  # of all calls together whose latency is known,
    "calls_timed": COUNTED,  # which are these
    "cost_reported_usd": MONEY,
    **dict.fromkeys(VARIANCES, COUNTED),
}
_KEYS: _Schema = dict.fromkeys(REQUEST_KEYS, pl.String)

# Exact percentiles hold within a day and group; they are never combined.
REQUEST_DAYS: _Schema = {
    "day": pl.Date,
    **_KEYS,
    **SUMS,
    **dict.fromkeys(("latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "ttft_p95_ms"), pl.Float64),
}
REQUEST_MONTHS: _Schema = {"month": pl.Date, **_KEYS, **SUMS}

# Durations of finished calls that succeeded, in buckets that merge: see `histogram`.
LATENCIES = ("latency", "ttft")
HISTOGRAMS: _Schema = {
    "month": pl.Date,
    **dict.fromkeys((*BY, "pool_id", "service_tier"), pl.String),
    "metric": pl.String,
    "bucket": pl.Int32,
    "calls": COUNTED,
}

# Durations that serving engines count themselves, between the two ends of each of their buckets.
BY_ENGINE = ("model", "pool_id", "cluster")
ENGINE_BUCKETS: _Schema = {
    "month": pl.Date,
    **dict.fromkeys(BY_ENGINE, pl.String),
    "metric": pl.String,
    "from_ms": pl.Float64,
    "le_ms": pl.Float64,
    "calls": pl.Int64,
    "rows": pl.Int64,
}

# GPU time per day. One kind of utilization a row: kinds are never mixed. `sampled_s` is GPU time that
# samples tell of, `busy_s` its part in use, `allocated_s` the part that a workload held,
# `allocated_busy_s` the part both held and in use; `peak_util` is the busiest hour of the group.
GPU_DAYS: _Schema = {
    "day": pl.Date,
    **dict.fromkeys(("cluster", "pool_id", "team", "gpu_model", "util_kind"), pl.String),
    "rows": pl.Int64,
    "gpus": pl.Int64,
    "sampled_s": COUNTED,
    "busy_s": COUNTED,
    "allocated_s": COUNTED,
    "allocated_busy_s": COUNTED,
    "peak_util": pl.Float64,
    "priced_s": COUNTED,  # the part of `sampled_s` whose rate is known, which the money is of
    "sampled_usd": MONEY,  # what that time cost at the samples' own rates; null where none is known
    "idle_usd": MONEY,  # the part of it that was not in use
}

# One figure of a KPI. `dimension` null is the whole lab; `key` null is what names no value of it.
FIGURES: _Schema = {
    "kpi": pl.String,  # M1 to M12
    "measure": pl.String,  # which of the KPI's definitions
    "month": pl.Date,
    "dimension": pl.String,
    "key": pl.String,
    "value": MONEY,
    "unit": pl.String,
    "numerator": MONEY,
    "numerator_unit": pl.String,
    "denominator": MONEY,
    "denominator_unit": pl.String,
    "lower": MONEY,  # bounds of the value where it is not exact
    "upper": MONEY,
    "rows": pl.Int64,  # rows of the tables behind it
    "coverage": pl.Float64,  # share of the data that should be behind it that is, 0 to 1
    "reason": pl.String,  # why the value is null
}
