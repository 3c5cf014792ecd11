"""Telemetry tables: what ran, how long, how well. Units stand in the names, unknown is null."""

from __future__ import annotations

import dataframely as dy
import polars as pl

from finops_lab.contracts.columns import DAY, FILE, ROW, count, flag, moment, money, number, text, whole

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


# Far above what any log tells of; below it, weighted sums and their squares fit decimals.
_MOST_WEIGHT = 1_000_000
_MOST_CALLS = 10**12
_MOST_TOKENS = 10**15


class InferenceRequests(dy.Schema):
    """Calls to a model, one row each (or ``n_requests`` alike rows in one).

    Tokens and other units are those of all calls of the row, durations those of one call. Token
    buckets are exclusive: ``input_uncached_tokens`` excludes both cache buckets.
    ``cache_write_1h_tokens`` is a part of ``cache_write_tokens``, ``reasoning_tokens`` a part of
    ``output_tokens``. ``other_units`` counts what is not billed in tokens, in ``other_unit``
    (images, seconds, searches). ``sample_weight`` is the number of real calls a sampled row stands
    for. ``project_id`` and ``api_key_id`` are the vendor's, for rows that carry no team. Follows the
    OpenTelemetry GenAI semantic conventions, with inclusive token counts of the sources turned
    exclusive at ingestion. Partitioned by ``day``.
    """

    ts_start = moment("begin of the call", nullable=False)
    ts_end = moment("end of the call")
    request_id = text("the source's id of the call")
    trace_id = text("trace that the call is part of")
    parent_id = text("call or span that made it")
    session_id = text("conversation or session")
    project_id = text("the vendor's project or workspace")
    api_key_id = text("the vendor's id of the key, never the key")
    provider = text("who served it, as the source says")
    model = text("model asked for", nullable=False)
    variant = text("variant of it, such as a quantization")
    response_model = text("model that answered, where it says")
    operation = text("kind of call", nullable=False, allowed=OPERATIONS)
    hosting = text("a vendor's API, or an engine of one's own", allowed=("api", "self_hosted"))
    team = text("owner, where the call says")
    feature = text("feature it was for")
    customer = text("customer it was for")
    environment = text("such as production")
    region = text("region it was served in")
    n_requests = whole(
        "calls in the row; 1 where every call has a row", nullable=False, min=1, max=_MOST_CALLS
    )
    sample_weight = number(
        "real calls that one sampled call stands for; a log of less than one in a million tells nothing",
        nullable=False,
        min=0,
        max=_MOST_WEIGHT,
    )
    input_uncached_tokens = count("input that no cache was used for")
    cache_read_tokens = count("input read from a prompt cache")
    cache_write_tokens = count("input written to a prompt cache")
    cache_write_1h_tokens = count("the part of it kept an hour")
    output_tokens = count("output, reasoning included")
    reasoning_tokens = count("the part of it spent on reasoning")
    other_units = number("what is not counted in tokens", min=0)
    other_unit = text("its unit: images, seconds, searches")
    service_tier = text("such as standard, batch, flex, priority")
    latency_ms = number("from call to last token", min=0)
    ttft_ms = number("from call to first token", min=0)
    queue_ms = number("waiting in the engine", min=0)
    prefill_ms = number("reading the input", min=0)
    decode_ms = number("writing the output", min=0)
    request_bytes = count("size of the body that was sent")
    response_bytes = count("size of the body that came back")
    status = text("how it ended", nullable=False, allowed=REQUEST_STATES)
    error_type = text("kind of error, as the source names it")
    served_from_cache = flag("answered from a gateway's own cache, without a model")
    is_retry = flag("repeats a call that failed")
    pool_id = text("pool of GPUs that served it")
    cost_reported_usd = money("what the source says it cost")
    day = dy.Date(nullable=False, description=DAY)
    source_file = text(FILE, nullable=False)
    source_row = whole(ROW, nullable=False)

    @dy.rule()
    def ts_end_before_ts_start(cls) -> pl.Expr:
        return pl.col("ts_end") >= pl.col("ts_start")

    @dy.rule()
    def cache_write_1h_tokens_above_cache_write_tokens(cls) -> pl.Expr:
        return pl.col("cache_write_1h_tokens") <= pl.col("cache_write_tokens")

    @dy.rule()
    def sample_weight_times_tokens_above_a_quadrillion(cls) -> pl.Expr:
        tokens = pl.max_horizontal(
            "input_uncached_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens"
        )
        return tokens.cast(pl.Float64) * pl.col("sample_weight") <= _MOST_TOKENS


class LatencyHistograms(dy.Schema):
    """Durations that a serving engine counted in buckets: one bucket of one window per row.

    ``cumulative_count`` is the number of observations of the window (``ts`` to ``ts`` +
    ``window_s``) that took ``le_ms`` or less; the bucket without an upper end has ``le_ms``
    infinite and the ``sum_ms`` of all observations. A quantile read from buckets is an
    interpolation, and no more than a lower bound when it falls into the last bucket. Partitioned
    by ``day``.
    """

    ts = moment("begin of the window", nullable=False)
    window_s = number("length of the window", nullable=False, min=0)
    metric = text("duration that was counted", nullable=False, allowed=DURATIONS)
    source_metric = text("name of the metric at its source")
    model = text("model served")
    pool_id = text("pool of GPUs that served it")
    cluster = text("Kubernetes cluster")
    namespace = text("Kubernetes namespace")
    pod = text("pod of the engine")
    le_ms = dy.Float64(
        nullable=False,
        min=0,
        allow_inf=True,
        allow_nan=False,
        description="upper end of the bucket; infinite for the last",
    )
    cumulative_count = count("durations of the window up to that end", nullable=False)
    sum_ms = number("sum of all durations, on the last bucket", min=0)
    day = dy.Date(nullable=False, description=DAY)
    source_file = text(FILE, nullable=False)
    source_row = whole(ROW, nullable=False)


class GpuSamples(dy.Schema):
    """Utilization of one GPU over one interval, one kind of utilization per row.

    ``util`` is a ratio 0 to 1 of the kind named in ``util_kind``; kinds are never mixed in one
    figure. ``allocated`` is false for a GPU no workload holds. Partitioned by ``day``.
    """

    ts = moment("begin of the interval", nullable=False)
    interval_s = number("length of the interval", nullable=False, min=0)
    cluster = text("Kubernetes cluster")
    node = text("machine")
    gpu_uuid = text("the GPU's own id", nullable=False)
    mig_id = text("slice of a divided GPU")
    gpu_model = text("such as NVIDIA H100 80GB HBM3")
    pool_id = text("pool that the GPU is part of")
    namespace = text("namespace of the workload on it")
    pod = text("pod of the workload on it")
    team = text("owner of the workload, where known")
    util_kind = text("what `util` measures", nullable=False, allowed=UTIL_KINDS)
    util = number("share of the interval, 0 to 1", min=0, max=1)
    mem_used_bytes = count("GPU memory in use")
    mem_total_bytes = count("GPU memory")
    power_w = number("power drawn", min=0)
    allocated = flag("a workload holds the GPU")
    rate_usd_per_gpu_hour = money("what an hour of the GPU costs, where known")
    day = dy.Date(nullable=False, description=DAY)
    source_file = text(FILE, nullable=False)
    source_row = whole(ROW, nullable=False)


class TrainingJobs(dy.Schema):
    """Attempts of training jobs, failed and cancelled ones included."""

    job_id = text("the platform's id of the job", nullable=False)
    attempt = whole("1 for the first attempt", nullable=False, min=1)
    model = text("model that was trained")
    model_version = text("version that came of it")
    kind = text("kind of job", nullable=False, allowed=JOB_KINDS)
    team = text("owner, where the job says")
    ts_submit = moment("when it was submitted")
    ts_start = moment("when the attempt began")
    ts_end = moment("when the attempt ended")
    state = text("how the attempt ended", nullable=False, allowed=JOB_STATES)
    gpu_model = text("such as NVIDIA H100 80GB HBM3")
    gpu_count = number("GPUs of all machines together", min=0)
    node_count = count("machines")
    instance_type = text("machine type, as its provider names it")
    purchase = text("how the machines are paid for", allowed=PURCHASES)
    wall_s = number("wall clock of the attempt", min=0)
    billable_s = number("wall clock that is billed", min=0)
    lost_work_s = number("work since the last checkpoint, lost", min=0)
    cost_usd = money("what the platform says it cost")
    source_file = text(FILE, nullable=False)
    source_row = whole(ROW, nullable=False)

    @dy.rule()
    def ts_end_before_ts_start(cls) -> pl.Expr:
        return pl.col("ts_end") >= pl.col("ts_start")


class SpotEvictions(dy.Schema):
    """Interruptions of spot capacity."""

    ts_lost = moment("when the machine was taken", nullable=False)
    ts_notice = moment("when it was announced")
    ts_recovered = moment("when the work went on")
    provider = text("cloud provider")
    region = text("region")
    zone = text("availability zone")
    instance_type = text("machine type")
    instance_id = text("the machine")
    gpu_count = number("GPUs that were lost", min=0)
    kind = text("why", nullable=False, allowed=EVICTION_KINDS)
    job_id = text("job that ran on it")
    lost_work_s = number("work since the last checkpoint, lost", min=0)
    restart_s = number("time to get the work going again", min=0)
    price_usd_per_hour = money("spot price of the machine")
    fallback_price_usd_per_hour = money("price of the machine that took its place")
    requests_affected = count("calls that failed or waited")
    source_file = text(FILE, nullable=False)
    source_row = whole(ROW, nullable=False)


class AccuracySamples(dy.Schema):
    """Evaluations of a model variant on a data set.

    ``value`` is in the metric's own unit (a ratio 0 to 1 for accuracy), from ``n`` items.
    """

    ts = moment("when it was evaluated", nullable=False)
    model = text("model", nullable=False)
    variant = text("variant of it")
    model_version = text("version of it")
    dataset = text("data set it was evaluated on", nullable=False)
    metric = text("such as accuracy", nullable=False)
    value = number("in the metric's own unit", nullable=False)
    n = count("items evaluated")
    split = text("part of the data set, such as test")
    higher_is_better = dy.Bool(nullable=False, description="false for errors and losses")
    source_file = text(FILE, nullable=False)
    source_row = whole(ROW, nullable=False)


class ScaleEvents(dy.Schema):
    """Changes of the wanted capacity of a pool: when it was decided and when it was there.

    ``scaler`` is ``inferred`` where the change was read off a series of replicas.
    """

    ts_decision = moment("when the scaler decided", nullable=False)
    ts_ready = moment("when the capacity was there")
    pool_id = text("pool that was scaled", nullable=False)
    cluster = text("Kubernetes cluster")
    namespace = text("Kubernetes namespace")
    scaler = text("what decided", nullable=False, allowed=SCALERS)
    from_units = number("capacity before", min=0)
    to_units = number("capacity wanted", min=0)
    unit = text("unit of both", nullable=False, allowed=CAPACITY_UNITS)
    reason = text("the scaler's own words")
    source_file = text(FILE, nullable=False)
    source_row = whole(ROW, nullable=False)

    @dy.rule()
    def ts_ready_before_ts_decision(cls) -> pl.Expr:
        return pl.col("ts_ready") >= pl.col("ts_decision")


class CapacitySeries(dy.Schema):
    """Capacity of a pool over one interval: wanted, ready and needed, in ``unit``.

    ``needed`` is what the load of the interval needed, unknown where nothing measured it;
    ``least`` and ``most`` are the scaler's limits. Partitioned by ``day``.
    """

    ts = moment("begin of the interval", nullable=False)
    interval_s = number("length of the interval", nullable=False, min=0)
    pool_id = text("the pool", nullable=False)
    cluster = text("Kubernetes cluster")
    namespace = text("Kubernetes namespace")
    unit = text("unit of the capacities", nullable=False, allowed=CAPACITY_UNITS)
    desired = number("capacity wanted", min=0)
    ready = number("capacity ready", min=0)
    needed = number("capacity that the load needed", min=0)
    least = number("the scaler's lower limit", min=0)
    most = number("the scaler's upper limit", min=0)
    day = dy.Date(nullable=False, description=DAY)
    source_file = text(FILE, nullable=False)
    source_row = whole(ROW, nullable=False)


class Deploys(dy.Schema):
    """Deployments, rollbacks and changes of configuration of a service."""

    ts = moment("when", nullable=False)
    service = text("service that changed", nullable=False)
    pool_id = text("pool it runs on")
    environment = text("such as production")
    model = text("model it serves")
    model_version = text("version of the model")
    commit = text("commit of the code or configuration")
    kind = text("what happened", nullable=False, allowed=("deploy", "rollback", "config"))
    status = text("how it ended", allowed=("succeeded", "failed", "running"))
    source_file = text(FILE, nullable=False)
    source_row = whole(ROW, nullable=False)
