"""The metrics that are known: what each one measures, in which unit, and for which tables."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["KNOWN", "TABLES", "Meaning", "asked_for", "canonical", "meaning", "tables_of"]

# The order in which the tables of one file are named; the first of them tells what concerns all.
TABLES = ("gpu_samples", "latency_histograms", "inference_requests", "capacity_series", "scale_events")

_MIB = 1024.0 * 1024.0
_PARTS = ("_bucket", "_sum", "_count")


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a metric measures.

    `subject` is ``duration``, ``request``, ``gpu`` or ``capacity``; `role` says which figure of
    it; `scale` turns its values into the contract's unit. Of several metrics that say the same
    the one of lowest `rank` is taken. `engine` exports it, or stands for its unit of capacity.
    `part` is ``bucket``, ``sum`` or ``count`` of a histogram.
    """

    subject: str
    role: str
    scale: float = 1.0
    rank: int = 0
    engine: str = ""
    part: str = ""


def _durations(engine: str, scale: float, *named: tuple[str, str, int]) -> dict[str, Meaning]:
    return {name: Meaning("duration", role, scale, rank, engine) for name, role, rank in named}


def _requests(engine: str, **named: str) -> dict[str, Meaning]:
    prefix = {"vllm": "vllm:", "sglang": "sglang:"}.get(engine, "")
    return {prefix + name: Meaning("request", role, engine=engine) for name, role in named.items()}


def _capacity(*named: tuple[str, str, int, str]) -> dict[str, Meaning]:
    return {name: Meaning("capacity", role, rank=rank, engine=unit) for name, role, rank, unit in named}


# Histograms by their name without _bucket, _sum and _count. A mean per request is the time per
# output token proper; the time between tokens stands in for it where there is nothing else.
_DURATIONS: dict[str, Meaning] = {
    **_durations(
        "vllm",
        1000.0,
        ("vllm:e2e_request_latency_seconds", "latency", 0),
        ("vllm:time_to_first_token_seconds", "ttft", 0),
        ("vllm:request_time_per_output_token_seconds", "time_per_output_token", 0),
        ("vllm:time_per_output_token_seconds", "time_per_output_token", 1),
        ("vllm:inter_token_latency_seconds", "time_per_output_token", 2),
        ("vllm:request_queue_time_seconds", "queue", 0),
        ("vllm:request_prefill_time_seconds", "prefill", 0),
        ("vllm:request_decode_time_seconds", "decode", 0),
    ),
    **_durations(
        "sglang",
        1000.0,
        ("sglang:e2e_request_latency_seconds", "latency", 0),
        ("sglang:time_to_first_token_seconds", "ttft", 0),
        ("sglang:time_per_output_token_seconds", "time_per_output_token", 0),
        ("sglang:inter_token_latency_seconds", "time_per_output_token", 1),
        ("sglang:queue_time_seconds", "queue", 0),
    ),
    **_durations(
        "tgi",
        1000.0,
        ("tgi_request_duration", "latency", 0),
        ("tgi_request_mean_time_per_token_duration", "time_per_output_token", 0),
        ("tgi_request_queue_duration", "queue", 0),
    ),
    **_durations("triton", 1.0, ("nv_inference_first_response_histogram_ms", "ttft", 0)),
}

# Everything else by its name without _total.
_OTHERS: dict[str, Meaning] = {
    **_requests(
        "vllm",
        prompt_tokens="input",
        prompt_tokens_cached="cached",
        generation_tokens="output",
        request_success="finished",
    ),
    **_requests(
        "sglang",
        prompt_tokens="input",
        cached_tokens="cached",
        generation_tokens="output",
        num_requests="ok",
        num_aborted_requests="cancelled",
    ),
    **_requests(
        "tgi",
        tgi_request_input_length_sum="input",
        tgi_request_generated_tokens_sum="output",
        tgi_request_success="ok",
        tgi_request_failure="failed",
    ),
    **_requests("triton", nv_inference_request_success="ok", nv_inference_request_failure="failed"),
    # Per cent and ratio are told apart by name: the exporter's list of counters gives the units.
    "DCGM_FI_DEV_GPU_UTIL": Meaning("gpu", "gpu_util", 0.01),
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE": Meaning("gpu", "gr_engine_active"),
    "DCGM_FI_PROF_SM_ACTIVE": Meaning("gpu", "sm_active"),
    "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": Meaning("gpu", "tensor_active"),
    "DCGM_FI_DEV_POWER_USAGE": Meaning("gpu", "power"),
    "DCGM_FI_DEV_FB_USED": Meaning("gpu", "used", _MIB),
    "DCGM_FI_DEV_FB_FREE": Meaning("gpu", "free", _MIB),
    "DCGM_FI_DEV_FB_RESERVED": Meaning("gpu", "reserved", _MIB),
    "DCGM_FI_DEV_FB_TOTAL": Meaning("gpu", "total", _MIB),
    "nv_gpu_utilization": Meaning("gpu", "gpu_util", engine="triton"),
    "nv_gpu_power_usage": Meaning("gpu", "power", engine="triton"),
    "nv_gpu_memory_used_bytes": Meaning("gpu", "used", engine="triton"),
    "nv_gpu_memory_total_bytes": Meaning("gpu", "total", engine="triton"),
    # An autoscaler's wish comes before the specification it is written into a moment later. What
    # Karpenter made and ended is counted without saying how many are left: a pool's nodes tell.
    **_capacity(
        ("kube_horizontalpodautoscaler_status_desired_replicas", "desired", 0, "replica"),
        ("kube_deployment_spec_replicas", "desired", 1, "replica"),
        ("kube_statefulset_replicas", "desired", 1, "replica"),
        ("kube_deployment_status_replicas_ready", "ready", 0, "replica"),
        ("kube_statefulset_status_replicas_ready", "ready", 0, "replica"),
        ("kube_deployment_status_replicas_available", "ready", 1, "replica"),
        ("kube_statefulset_status_replicas_available", "ready", 1, "replica"),
        ("kube_horizontalpodautoscaler_spec_min_replicas", "least", 0, "replica"),
        ("kube_horizontalpodautoscaler_spec_max_replicas", "most", 0, "replica"),
        ("kube_horizontalpodautoscaler_info", "info", 0, "replica"),
        ("karpenter_nodepools_usage", "desired", 0, "node"),
        ("karpenter_nodepools_limit", "most", 0, "node"),
    ),
}

KNOWN: Mapping[str, Meaning] = MappingProxyType({**_DURATIONS, **_OTHERS})

_ENGINE = re.compile(r"(?:kserve[_:])?(vllm|sglang)[:_](?=.)")


def canonical(name: str) -> str:
    """Return a metric's name as its engine's source spells it, without ``_total``.

    KServe puts its own name before an engine's, and exporters that know no colon write ``_``.

    Examples
    --------
    >>> canonical("kserve_vllm:prompt_tokens_total"), canonical("vllm_prompt_tokens_total")
    ('vllm:prompt_tokens', 'vllm:prompt_tokens')
    """
    return _ENGINE.sub(r"\1:", name, count=1).removesuffix("_total")


def meaning(name: str, labels: Mapping[str, str]) -> Meaning | None:
    """Return what a series measures, or nothing when it is of no table here.

    Examples
    --------
    >>> meaning("vllm:time_to_first_token_seconds_bucket", {}).part
    'bucket'
    """
    spelled = canonical(name)
    if (found := _OTHERS.get(spelled)) is not None:
        # Karpenter counts a node pool's CPUs and memory beside its nodes.
        other = found.engine == "node" and labels.get("resource_type") != "nodes"
        return None if other else found
    for part in _PARTS:
        if spelled.endswith(part) and (kind := _DURATIONS.get(spelled.removesuffix(part))) is not None:
            return Meaning("duration", kind.role, kind.scale, kind.rank, kind.engine, part[1:])
    return None


def tables_of(known: Meaning) -> tuple[str, ...]:
    """Return the tables that a metric has figures for."""
    if known.subject == "capacity":
        events = ("scale_events",) if known.role == "desired" else ()
        return () if known.role == "info" else ("capacity_series", *events)
    one = {"duration": "latency_histograms", "request": "inference_requests", "gpu": "gpu_samples"}
    return (one[known.subject],)


def asked_for(name: str) -> tuple[str, str] | None:
    """Return in which group of metrics to ask a server for one, and by which selector.

    A group holds the metrics that rows are made of together; unknown metrics are in none.

    Examples
    --------
    >>> asked_for("DCGM_FI_DEV_GPU_UTIL"), asked_for("up")
    (('gpus', '{__name__="DCGM_FI_DEV_GPU_UTIL"}'), None)
    """
    known = meaning(name, {"resource_type": "nodes"})
    if known is None:
        return None
    group = {"gpu": "gpus", "capacity": "capacity"}.get(known.subject, known.engine)
    limit = ',resource_type="nodes"' if known.engine == "node" else ""
    return group, f"{{__name__={json.dumps(name)}{limit}}}"
