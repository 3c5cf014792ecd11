"""Kubernetes Jobs as attempts of training jobs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from finops_lab.ingestion import _json
from finops_lab.ingestion._json import count, moment
from finops_lab.ingestion.platform import _records
from finops_lab.ingestion.platform._records import inside
from finops_lab.ingestion.registry import ReadSettings

__all__ = ["jobs"]

_WHOLE_GPUS = ("nvidia.com/gpu", "amd.com/gpu", "gpu.intel.com/i915", "gpu.intel.com/xe", "habana.ai/gaudi")
# A slice of a GPU, or a turn on a shared one.
_PARTS = re.compile(r"nvidia\.com/(mig-[0-9a-z.+-]+|gpu\.shared)")
_GPU_MODEL = (
    "nvidia.com/gpu.product",
    "cloud.google.com/gke-accelerator",
    "karpenter.k8s.aws/instance-gpu-name",
)
_INSTANCE = ("node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type")
_CAPACITY = (
    "karpenter.sh/capacity-type",
    "eks.amazonaws.com/capacityType",
    "kubernetes.azure.com/scalesetpriority",
)
_PURCHASE = {
    "spot": "spot",
    "on-demand": "on_demand",
    "on_demand": "on_demand",
    "regular": "on_demand",
    "reserved": "reserved",
    "capacity_block": "capacity_block",
}
_CONTEXT = {
    "team": ("team", "finops.team"),
    "model": ("model", "finops.model", "model-name"),
    "model_version": ("model_version", "model-version", "finops.model_version"),
}

Row = dict[str, Any]


def jobs(objects: Iterator[Row], settings: ReadSettings) -> Iterator[Row]:
    """Return a row for each Job that has started."""
    waiting = 0

    def rows() -> Iterator[Row]:
        nonlocal waiting
        for found in objects:
            job = found["object"]
            faults: list[str] = []
            state, end = _end(job, faults)
            if state is None:
                waiting += 1
                continue
            row = _row(job, state, end, settings, faults)
            yield {**row, "source_row": found["source_row"], "line": found["line"]}

    def tell() -> Iterator[str]:
        if waiting:
            yield f"Jobs that had not started, left out: {waiting}"

    yield from _records.told_at_the_end(rows(), tell)


def _row(
    job: Mapping[str, Any], state: str, end: int | None, settings: ReadSettings, faults: list[str]
) -> Row:
    notes: list[str] = []
    meta, spec, status = (inside(job, part) for part in ("metadata", "spec", "status"))
    space, name = _json.text(meta.get("namespace")), _json.text(meta.get("name"))
    start = moment(status.get("startTime"), "ts_start", faults)
    parallel = count(spec.get("parallelism"), "gpu_count", faults)
    wanted = count(spec.get("completions"), "gpu_count", faults)
    pods = 1 if parallel is None else parallel
    pods = pods if wanted is None else min(pods, wanted)
    failed = count(status.get("failed"), "attempt", faults) or 0
    attempt = 1
    if pods == 1 and failed:
        attempt = failed if state in ("failed", "timeout") else failed + 1
    if failed and attempt > 1:
        notes.append("wall_s: spans all attempts, a Job keeps no times of its failed pods")
    elif failed and pods > 1:
        notes.append("attempt: failed pods of a Job that runs several at a time are not told apart")
    pod = inside(spec, "template", "spec")
    each = _gpus(pod, faults, notes)
    asked = _asked(pod)
    machine = _records.lookup([asked], _INSTANCE)
    holders = [
        inside(owner, part)
        for owner in (meta, inside(spec, "template", "metadata"))
        for part in ("labels", "annotations")
    ]
    said = {
        column: _records.lookup(holders, (*settings.attributes.get(column, ()), *names))
        for column, names in _CONTEXT.items()
    }
    capacity = (_records.lookup([asked], _CAPACITY) or "").lower()
    if (_records.lookup([asked], ("cloud.google.com/gke-spot",)) or "").lower() == "true":
        capacity = "spot"
    return {
        **said,
        "job_id": f"{space}/{name}" if space and name else name,
        "attempt": attempt,
        "kind": _records.kind_of(name),
        "ts_submit": moment(meta.get("creationTimestamp"), "ts_submit", faults),
        "ts_start": start,
        "ts_end": end,
        "state": state,
        "gpu_model": _records.lookup([asked], _GPU_MODEL) or (_records.gpus_of(machine)[0] if each else None),
        "gpu_count": None if each is None else float(each * pods),
        "instance_type": machine,
        "purchase": _PURCHASE.get(capacity),
        "wall_s": (end - start) / 1e6 if start is not None and end is not None and end >= start else None,
        "reasons": faults,
        "notes": notes,
    }


def _end(job: Mapping[str, Any], faults: list[str]) -> tuple[str | None, int | None]:
    """Return the state of a Job and when it ended; no state for one that has not started."""
    status = inside(job, "status")
    conditions = status.get("conditions")
    true = {
        str(c.get("type")): c
        for c in (conditions if isinstance(conditions, list) else ())
        if isinstance(c, dict) and str(c.get("status")).lower() == "true"
    }
    if done := true.get("Complete"):
        told = status.get("completionTime") or done.get("lastTransitionTime")
        return "completed", moment(told, "ts_end", faults)
    if failed := true.get("Failed"):
        state = "timeout" if failed.get("reason") == "DeadlineExceeded" else "failed"
        return state, moment(failed.get("lastTransitionTime"), "ts_end", faults)
    if status.get("startTime") is None:
        return None, None
    if deleted := inside(job, "metadata").get("deletionTimestamp"):
        return "cancelled", moment(deleted, "ts_end", faults)
    return "running", None


def _gpus(pod: Mapping[str, Any], faults: list[str], notes: list[str]) -> int | None:
    """Return the whole GPUs of a pod: those of its containers together, or of one that prepares it."""
    most = {"containers": 0, "initContainers": 0}
    containers = 0
    for part in most:
        listed = pod.get(part)
        for container in listed if isinstance(listed, list) else ():
            containers += part == "containers"
            asked = {**inside(container, "resources", "requests"), **inside(container, "resources", "limits")}
            own = 0
            for name, number in asked.items():
                if _PARTS.fullmatch(name):
                    notes.append(f"gpu_count: asks for {name}, which are no whole GPUs")
                    return None
                own += (count(number, "gpu_count", faults) or 0) if name in _WHOLE_GPUS else 0
            most[part] = most[part] + own if part == "containers" else max(most[part], own)
    return max(most.values()) if containers else None


def _asked(pod: Mapping[str, Any]) -> dict[str, Any]:
    """Return the labels a node must have: the selector's, and those an affinity allows one value."""
    found = dict(inside(pod, "nodeSelector"))
    terms = inside(pod, "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution").get(
        "nodeSelectorTerms"
    )
    only = terms[0] if isinstance(terms, list) and len(terms) == 1 else None
    rules = inside(only).get("matchExpressions")
    for rule in rules if isinstance(rules, list) else ():
        values = inside(rule).get("values")
        if inside(rule).get("operator") == "In" and isinstance(values, list) and len(values) == 1:
            found.setdefault(str(rule.get("key")), values[0])
    return found
