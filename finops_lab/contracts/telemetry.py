"""Telemetry tables: what ran, how long, how well. Units stand in the names, unknown is null."""

from __future__ import annotations

from typing import Any

import dataframely as dy
import polars as pl

from finops_lab.contracts.costs import moment, money

OPERATIONS = ("chat", "completion", "embedding", "image", "audio", "rerank", "tool", "other")
REQUEST_STATES = ("ok", "error", "cancelled", "timeout", "pending")
UTIL_KINDS = ("gpu_util", "gr_engine_active", "sm_active", "tensor_active", "duty_cycle")
JOB_KINDS = ("train", "retrain", "finetune", "tune", "eval")
JOB_STATES = ("completed", "failed", "cancelled", "timeout", "preempted", "running")
PURCHASES = ("on_demand", "spot", "reserved", "capacity_block", "owned")
DURATIONS = ("latency", "ttft", "time_per_output_token", "queue", "prefill", "decode")
SCALERS = ("hpa", "keda", "karpenter", "cluster_autoscaler", "manual", "inferred")
CAPACITY_UNITS = ("replica", "node", "gpu")
EVICTION_KINDS = ("interruption", "rebalance", "capacity", "maintenance")


def _text(*, nullable: bool = True, allowed: tuple[str, ...] | None = None) -> dy.String:
    check = (lambda c: c.is_in(allowed)) if allowed else None
    return dy.String(nullable=nullable, check=check)


def _number(*, nullable: bool = True, **kwargs: Any) -> dy.Float64:
    return dy.Float64(nullable=nullable, allow_inf=False, allow_nan=False, **kwargs)


def _count(*, nullable: bool = True, **kwargs: Any) -> dy.Int64:
    return dy.Int64(nullable=nullable, min=0, **kwargs)


class InferenceRequests(dy.Schema):
    """Calls to a model, one row each (or ``n_requests`` alike rows in one).

    Token buckets are exclusive: ``input_uncached_tokens`` excludes both cache buckets.
    ``cache_write_1h_tokens`` is a part of ``cache_write_tokens``, ``reasoning_tokens`` a part of
    ``output_tokens``. ``other_units`` counts what is not billed in tokens, in ``other_unit``
    (images, seconds, searches). ``sample_weight`` is the number of real calls a sampled row stands
    for. ``project_id`` and ``api_key_id`` are the vendor's, for rows that carry no team. Follows the
    OpenTelemetry GenAI semantic conventions, with inclusive token counts of the sources turned
    exclusive at ingestion. Partitioned by ``day``.
    """

    ts_start = moment(nullable=False)
    ts_end = moment()
    request_id = _text()
    trace_id = _text()
    parent_id = _text()
    session_id = _text()
    project_id = _text()
    api_key_id = _text()
    provider = _text()
    model = _text(nullable=False)
    variant = _text()
    response_model = _text()
    operation = _text(nullable=False, allowed=OPERATIONS)
    hosting = _text(allowed=("api", "self_hosted"))
    team = _text()
    feature = _text()
    customer = _text()
    environment = _text()
    region = _text()
    n_requests = dy.Int64(nullable=False, min=1)
    sample_weight = _number(nullable=False, min=0)
    input_uncached_tokens = _count()
    cache_read_tokens = _count()
    cache_write_tokens = _count()
    cache_write_1h_tokens = _count()
    output_tokens = _count()
    reasoning_tokens = _count()
    other_units = _number(min=0)
    other_unit = _text()
    service_tier = _text()
    latency_ms = _number(min=0)
    ttft_ms = _number(min=0)
    queue_ms = _number(min=0)
    prefill_ms = _number(min=0)
    decode_ms = _number(min=0)
    status = _text(nullable=False, allowed=REQUEST_STATES)
    error_type = _text()
    served_from_cache = dy.Bool(nullable=True)
    is_retry = dy.Bool(nullable=True)
    pool_id = _text()
    cost_reported_usd = money()
    day = dy.Date(nullable=False)
    source_file = _text(nullable=False)
    source_row = dy.Int64(nullable=False)

    @dy.rule()
    def ts_end_before_ts_start(cls) -> pl.Expr:
        return pl.col("ts_end") >= pl.col("ts_start")

    @dy.rule()
    def cache_write_1h_tokens_above_cache_write_tokens(cls) -> pl.Expr:
        return pl.col("cache_write_1h_tokens") <= pl.col("cache_write_tokens")


class LatencyHistograms(dy.Schema):
    """Durations that a serving engine counted in buckets: one bucket of one window per row.

    ``cumulative_count`` is the number of observations of the window (``ts`` to ``ts`` +
    ``window_s``) that took ``le_ms`` or less; the bucket without an upper end has ``le_ms``
    infinite and the ``sum_ms`` of all observations. A quantile read from buckets is an
    interpolation, and no more than a lower bound when it falls into the last bucket. Partitioned
    by ``day``.
    """

    ts = moment(nullable=False)
    window_s = _number(nullable=False, min=0)
    metric = _text(nullable=False, allowed=DURATIONS)
    source_metric = _text()
    model = _text()
    pool_id = _text()
    cluster = _text()
    namespace = _text()
    pod = _text()
    le_ms = dy.Float64(nullable=False, min=0, allow_inf=True, allow_nan=False)
    cumulative_count = _count(nullable=False)
    sum_ms = _number(min=0)
    day = dy.Date(nullable=False)
    source_file = _text(nullable=False)
    source_row = dy.Int64(nullable=False)


class GpuSamples(dy.Schema):
    """Utilization of one GPU over one interval, one kind of utilization per row.

    ``util`` is a ratio 0 to 1 of the kind named in ``util_kind``; kinds are never mixed in one
    figure. ``allocated`` is false for a GPU no workload holds. Partitioned by ``day``.
    """

    ts = moment(nullable=False)
    interval_s = _number(nullable=False, min=0)
    cluster = _text()
    node = _text()
    gpu_uuid = _text(nullable=False)
    mig_id = _text()
    gpu_model = _text()
    pool_id = _text()
    namespace = _text()
    pod = _text()
    team = _text()
    util_kind = _text(nullable=False, allowed=UTIL_KINDS)
    util = _number(min=0, max=1)
    mem_used_bytes = _count()
    mem_total_bytes = _count()
    power_w = _number(min=0)
    allocated = dy.Bool(nullable=True)
    rate_usd_per_gpu_hour = money()
    day = dy.Date(nullable=False)
    source_file = _text(nullable=False)
    source_row = dy.Int64(nullable=False)


class TrainingJobs(dy.Schema):
    """Attempts of training jobs, failed and cancelled ones included."""

    job_id = _text(nullable=False)
    attempt = dy.Int64(nullable=False, min=1)
    model = _text()
    model_version = _text()
    kind = _text(nullable=False, allowed=JOB_KINDS)
    team = _text()
    ts_submit = moment()
    ts_start = moment()
    ts_end = moment()
    state = _text(nullable=False, allowed=JOB_STATES)
    gpu_model = _text()
    gpu_count = _number(min=0)
    node_count = _count()
    instance_type = _text()
    purchase = _text(allowed=PURCHASES)
    wall_s = _number(min=0)
    billable_s = _number(min=0)
    lost_work_s = _number(min=0)
    cost_usd = money()
    source_file = _text(nullable=False)
    source_row = dy.Int64(nullable=False)

    @dy.rule()
    def ts_end_before_ts_start(cls) -> pl.Expr:
        return pl.col("ts_end") >= pl.col("ts_start")


class SpotEvictions(dy.Schema):
    """Interruptions of spot capacity."""

    ts_lost = moment(nullable=False)
    ts_notice = moment()
    ts_recovered = moment()
    provider = _text()
    region = _text()
    zone = _text()
    instance_type = _text()
    instance_id = _text()
    gpu_count = _number(min=0)
    kind = _text(nullable=False, allowed=EVICTION_KINDS)
    job_id = _text()
    lost_work_s = _number(min=0)
    restart_s = _number(min=0)
    price_usd_per_hour = money()
    fallback_price_usd_per_hour = money()
    requests_affected = _count()
    source_file = _text(nullable=False)
    source_row = dy.Int64(nullable=False)


class AccuracySamples(dy.Schema):
    """Evaluations of a model variant on a data set.

    ``value`` is in the metric's own unit (a ratio 0 to 1 for accuracy), from ``n`` items.
    """

    ts = moment(nullable=False)
    model = _text(nullable=False)
    variant = _text()
    model_version = _text()
    dataset = _text(nullable=False)
    metric = _text(nullable=False)
    value = _number(nullable=False)
    n = _count()
    split = _text()
    higher_is_better = dy.Bool(nullable=False)
    source_file = _text(nullable=False)
    source_row = dy.Int64(nullable=False)


class ScaleEvents(dy.Schema):
    """Changes of the wanted capacity of a pool: when it was decided and when it was there.

    ``scaler`` is ``inferred`` where the change was read off a series of replicas.
    """

    ts_decision = moment(nullable=False)
    ts_ready = moment()
    pool_id = _text(nullable=False)
    cluster = _text()
    namespace = _text()
    scaler = _text(nullable=False, allowed=SCALERS)
    from_units = _number(min=0)
    to_units = _number(min=0)
    unit = _text(nullable=False, allowed=CAPACITY_UNITS)
    reason = _text()
    source_file = _text(nullable=False)
    source_row = dy.Int64(nullable=False)

    @dy.rule()
    def ts_ready_before_ts_decision(cls) -> pl.Expr:
        return pl.col("ts_ready") >= pl.col("ts_decision")


class CapacitySeries(dy.Schema):
    """Capacity of a pool over one interval: wanted, ready and needed, in ``unit``.

    ``needed`` is what the load of the interval needed, unknown where nothing measured it;
    ``least`` and ``most`` are the scaler's limits. Partitioned by ``day``.
    """

    ts = moment(nullable=False)
    interval_s = _number(nullable=False, min=0)
    pool_id = _text(nullable=False)
    cluster = _text()
    namespace = _text()
    unit = _text(nullable=False, allowed=CAPACITY_UNITS)
    desired = _number(min=0)
    ready = _number(min=0)
    needed = _number(min=0)
    least = _number(min=0)
    most = _number(min=0)
    day = dy.Date(nullable=False)
    source_file = _text(nullable=False)
    source_row = dy.Int64(nullable=False)


class Deploys(dy.Schema):
    """Deployments, rollbacks and changes of configuration of a service."""

    ts = moment(nullable=False)
    service = _text(nullable=False)
    pool_id = _text()
    environment = _text()
    model = _text()
    model_version = _text()
    commit = _text()
    kind = _text(nullable=False, allowed=("deploy", "rollback", "config"))
    status = _text(allowed=("succeeded", "failed", "running"))
    source_file = _text(nullable=False)
    source_row = dy.Int64(nullable=False)
