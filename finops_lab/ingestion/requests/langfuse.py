"""Requests out of Langfuse: exported observations that are generations or embeddings.

Sources: Langfuse's "Blob storage export field reference", its observations API v2 (camelCase), and
``packages/shared/src/server/ingestion/types.ts``, which takes cached and reasoning tokens out of
``input`` and ``output``: the keys of ``usage_details`` are buckets beside each other, and
``total`` is their sum. Counts that contradict this come from an instrumentation that counts
tokens twice (issues 12306 and 10592) and are refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from finops_lab.ingestion import _json, _rows
from finops_lab.ingestion.registry import ReadSettings, Sample, inspect
from finops_lab.ingestion.requests import _calls, _langfuse_usage, _records

__all__ = ["FORMAT", "TABLE", "matches", "read"]

FORMAT = "Langfuse observations"
SOURCE = "Blob storage export field reference and observations API v2 of Langfuse; from documentation"
TABLE = _calls.TABLE

_CALLS = {"GENERATION": "chat", "EMBEDDING": "embedding"}
_TELLING = frozenset({"id", "trace_id", "type", "start_time"})
_BESIDE = frozenset({"usage_details", "provided_model_name", "parent_observation_id"})
_CAMEL = {
    "traceId": "trace_id",
    "projectId": "project_id",
    "parentObservationId": "parent_observation_id",
    "startTime": "start_time",
    "endTime": "end_time",
    "statusMessage": "status_message",
    "providedModelName": "provided_model_name",
    "model": "provided_model_name",
    "modelParameters": "model_parameters",
    "usageDetails": "usage_details",
    "costDetails": "cost_details",
    "completionStartTime": "completion_start_time",
    "totalCost": "total_cost",
    "calculatedTotalCost": "total_cost",
    "timeToFirstToken": "time_to_first_token",
    "userId": "user_id",
    "sessionId": "session_id",
}
_OF_TRACE = ("user_id", "session_id", "tags", "metadata", "environment")
_OK = frozenset({"DEFAULT", "DEBUG", "WARNING"})
_NO_TRACE = "session_id: user, session and tags stand in the traces file; export enriched observations"
_REPEATED = "usage_details: observations other than generations and embeddings repeat tokens, left out"

Observation = Mapping[str, Any]


def matches(sample: Sample) -> bool:
    """Tell whether a file holds Langfuse observations."""
    return any(_is_observation(record) for record in _records.beginnings(sample))


def read(path: Path, settings: ReadSettings) -> pl.LazyFrame:
    """Read observations as rows of the `inference_requests` contract.

    Only generations and embeddings are calls; that other observations repeated tokens is noted on
    the last row. Where traces stand in the same JSON file, their user, session and tags are joined
    by ``trace_id``. Context is looked up in tags written ``key:value`` and in metadata: the names
    of ``settings.attributes`` first, then the user as ``customer``, then the column's own name. A
    call without an end is pending. ``cost_reported_usd`` is ``total_cost``; a zero without cost
    details means that Langfuse knew no price and is unknown.

    Parameters
    ----------
    path : pathlib.Path
        CSV, Parquet, JSON lines, a JSON array or a page of the API; CSV and JSON also gzip.
    settings : ReadSettings
        Names of context columns and ``model``; the share of requests that was exported.

    Returns
    -------
    polars.LazyFrame
        The contract without ``source_file``, and `RAW`, `REASONS`, `NOTES`. ``source_row`` counts
        the records of the file from 1. Durations are read off the moments, since older exports
        give them in milliseconds and newer ones in seconds.

    Raises
    ------
    InputError
        When the file cannot be read.
    """
    return _rows.frame(TABLE, lambda: _read(path, settings))


def _is_observation(record: Mapping[str, Any]) -> bool:
    keys = {_CAMEL.get(name, name) for name in record}
    return keys >= _TELLING and bool(keys & _BESIDE)


def _read(path: Path, settings: ReadSettings) -> Iterator[dict[str, Any]]:
    weight = 1 / settings.sample_rate if settings.sample_rate else 1.0
    # A table has columns of one kind only; in JSON a trace may come after its observations.
    traces = _traces(path) if inspect(path).kind == "jsonl" else {}
    held: dict[str, Any] | None = None
    repeated: Counter[str] = Counter()
    bare = False
    for record in _records.records(path):
        if record.fault is not None:
            found = _rows.broken(record.row, record.line, record.fault)
        else:
            observation = _snake(record.values)
            kind = (_json.text(observation.get("type")) or "").upper()
            if kind not in _CALLS:
                if _is_trace(observation):
                    continue
                if kind and _records.mapping(observation.get("usage_details"), "usage_details", []):
                    repeated[kind] += 1
                if kind:
                    continue
                found = _rows.broken(record.row, record.line, "type: missing, so it is no observation")
            else:
                trace = traces.get(_json.text(observation.get("trace_id")) or "")
                found = _request(observation, trace or {}, kind, settings)
                found |= {"sample_weight": weight, "source_row": record.row, "line": record.line}
                if not bare and trace is None and "user_id" not in observation:
                    bare = True
                    found["notes"].append(_NO_TRACE)
        if held is not None:
            yield held
        held = found
    if held is not None:
        if repeated:
            held["notes"] = [*(held.get("notes") or ()), _REPEATED]
        yield held


def _snake(record: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in record.items():
        key = _CAMEL.get(name, name)
        if found.get(key) is None:
            found[key] = value
    return found


def _is_trace(record: Observation) -> bool:
    return "type" not in record and "trace_id" not in record and "timestamp" in record


def _traces(path: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for record in _records.records(path):
        trace = _snake(record.values)
        if _is_trace(trace) and (name := _json.text(trace.get("id"))):
            found[name] = {key: trace.get(key) for key in _OF_TRACE}
    return found


def _request(
    observation: Observation, trace: Mapping[str, Any], kind: str, settings: ReadSettings
) -> dict[str, Any]:
    own = observation.get
    faults: list[str] = []
    notes: list[str] = []
    metadata = _records.mapping(own("metadata"), "metadata", faults)
    spoken = _records.mapping(metadata.get("attributes"), "metadata", [])
    parameters = _records.mapping(own("model_parameters"), "model_parameters", [])
    holders = [
        _records.tags(own("tags")),
        metadata,
        spoken,
        _records.tags(trace.get("tags")),
        _records.mapping(trace.get("metadata"), "metadata", []),
    ]
    customer = _json.text(own("user_id")) or trace.get("user_id")
    environment = _json.text(own("environment")) or trace.get("environment")
    model = _records.lookup(holders, settings.attributes.get("model", ())) or _json.text(
        own("provided_model_name")
    )
    if model is None:
        faults.append("model: missing, export the field group 'model'")
    provider = _records.lookup([spoken], ("gen_ai.provider.name", "gen_ai.system")) or _records.lookup(
        [metadata, parameters], ("ls_provider", "provider")
    )
    start = _json.moment(own("start_time"), "ts_start", faults)
    end = _json.moment(own("end_time"), "ts_end", faults)
    status, error = _status(observation, faults, notes)
    usage = _langfuse_usage.usage(observation, spoken, faults, notes)
    return {
        **_records.context(holders, settings.attributes, {"customer": customer, "environment": environment}),
        "ts_start": start,
        "ts_end": end,
        "request_id": _json.text(own("id")),
        "trace_id": _json.text(own("trace_id")),
        "parent_id": _json.text(own("parent_observation_id")),
        "session_id": _json.text(own("session_id")) or _json.text(trace.get("session_id")),
        "project_id": _json.text(own("project_id")),
        "provider": provider,
        "model": model,
        "operation": _CALLS[kind],
        "hosting": _calls.hosting(provider),
        "n_requests": 1,
        **usage,
        "service_tier": _calls.tier(
            _records.lookup(holders, settings.attributes.get("service_tier", ()))
            or parameters.get("service_tier")
        ),
        **_durations(observation, start, end, faults),
        "status": status,
        "error_type": error,
        "cost_reported_usd": _langfuse_usage.cost(observation, faults, notes),
        "reasons": faults,
        "notes": notes,
    }


def _status(observation: Observation, faults: list[str], notes: list[str]) -> tuple[str | None, str | None]:
    level = (_json.text(observation.get("level")) or "").upper()
    if level == "ERROR":
        message = _json.text(observation.get("status_message")) or ""
        # "RateLimitError: too many requests" names its type, a sentence does not.
        named = message.split(":", 1)[0].strip()
        told = named if named.replace(".", "").replace("_", "").isalnum() else None
        return _calls.failure(message), told
    if level and level not in _OK:
        faults.append(f"status: level '{_json.short(level)}' is unknown")
        return None, None
    if _json.text(observation.get("end_time")) is None:
        return "pending", None
    if not level:
        notes.append("status: the level was not exported, taken as ok")
    return "ok", None


def _durations(
    observation: Observation, start: int | None, end: int | None, faults: list[str]
) -> dict[str, float | None]:
    own = observation.get
    told = _json.number(own("latency"), "latency_ms", faults)
    waited = _json.number(own("time_to_first_token"), "ttft_ms", faults)
    first = _json.moment(own("completion_start_time"), "ttft_ms", faults)
    latency = (end - start) / 1000 if start is not None and end is not None and end >= start else None
    # Integrations set up before April 2026 export milliseconds: the moments tell which it is.
    in_ms = latency is not None and told is not None and abs(told - latency) < abs(told * 1000 - latency)
    scale = 1.0 if in_ms else 1000.0
    if latency is None and told is not None and end is None:
        latency = told * scale
    measured = (first - start) / 1000 if first is not None and start is not None and first >= start else None
    return {
        "latency_ms": latency,
        "ttft_ms": measured if measured is not None else None if waited is None else waited * scale,
    }
