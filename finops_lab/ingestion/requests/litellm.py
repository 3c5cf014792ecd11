"""Requests out of LiteLLM's spend logs: the table ``LiteLLM_SpendLogs`` as JSON.

Source: ``litellm/proxy/schema.prisma`` of LiteLLM 1.109. Cached tokens are no columns of that
table: they sit in ``metadata``, in ``usage_object`` or ``additional_usage_values``.
``prompt_tokens`` includes them, ``completion_tokens`` includes reasoning. An answer served from
LiteLLM's own cache keeps its tokens and has no spend.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from finops_lab.ingestion import _json, _rows
from finops_lab.ingestion.registry import ReadSettings, Sample
from finops_lab.ingestion.requests import _calls

__all__ = ["FORMAT", "TABLE", "matches", "read"]

FORMAT = "LiteLLM spend log"
SOURCE = "litellm/proxy/schema.prisma of LiteLLM 1.109; from documentation"
TABLE = _calls.TABLE

_TELLING = frozenset({"request_id", "startTime", "model"})
_BESIDE = frozenset({"spend", "call_type", "prompt_tokens", "total_tokens"})
_CALLS = {
    "completion": "chat",
    "responses": "chat",
    "anthropic_messages": "chat",
    "generate_content": "chat",
    "generate_content_stream": "chat",
    "text_completion": "completion",
    "embedding": "embedding",
    "image_generation": "image",
    "image_edit": "image",
    "transcription": "audio",
    "speech": "audio",
    "rerank": "rerank",
    "call_mcp_tool": "tool",
}
_CONTEXT = ("team", "feature", "customer", "environment", "region", "variant")
_FIELDS = {"team": "team_id", "customer": "end_user"}
# Where LiteLLM keeps what callers sent along, beside its own metadata keys.
_NESTED = ("spend_logs_metadata", "requester_metadata")


def matches(sample: Sample) -> bool:
    """Tell whether a file holds LiteLLM spend logs."""
    return any(record.keys() >= _TELLING and _BESIDE & record.keys() for record in _json.beginnings(sample))


def read(path: Path, settings: ReadSettings) -> pl.LazyFrame:
    """Read spend logs as rows of the `inference_requests` contract.

    ``model`` is the model group that callers ask for, where there is one; the deployment that
    answered is then ``response_model``. ``cost_reported_usd`` is ``spend``, in USD. Context is
    looked up in ``metadata`` and in ``request_tags`` written ``key:value``: the names of
    ``settings.attributes`` first, then ``team_id`` and ``end_user``, then the column's own name.

    Parameters
    ----------
    path : pathlib.Path
        JSON lines, plain or gzip, or one JSON array (also inside ``{"data": [...]}``).
    settings : ReadSettings
        Names of context columns and ``model``; the share of requests that was exported.

    Returns
    -------
    polars.LazyFrame
        The contract without ``source_file``, and `RAW`, `REASONS`, `NOTES`. ``source_row`` counts
        the records of the file, and every line that is no JSON, from 1.

    Raises
    ------
    InputError
        When the file cannot be read.
    """
    return _rows.frame(TABLE, lambda: _read(path, settings))


def _read(path: Path, settings: ReadSettings) -> Iterator[dict[str, Any]]:
    weight = 1 / settings.sample_rate if settings.sample_rate else 1.0
    row = 0
    for document in _json.documents(path):
        if document.fault is not None:
            row += 1
            yield _rows.broken(row, document.text, document.fault)
            continue
        value = document.value
        if isinstance(value, dict) and isinstance(value.get("data"), list):
            value = value["data"]
        alone = not isinstance(value, list)
        for record in [value] if alone else value:
            row += 1
            line = document.text if alone else _json.compact(record)
            if isinstance(record, dict):
                yield {**_request(record, settings, weight), "source_row": row, "line": line}
            else:
                yield _rows.broken(row, line, "line: is not a spend log record")


def _request(record: Mapping[str, Any], settings: ReadSettings, weight: float) -> dict[str, Any]:
    faults: list[str] = []
    own = record.get
    metadata = _embedded(own("metadata"), "metadata", faults)
    metadata = metadata if isinstance(metadata, dict) else {}
    holders = [_tags(own("request_tags"), faults), metadata, *(_inside(metadata, key) for key in _NESTED)]
    context: dict[str, str | None] = {}
    for column in _CONTEXT:
        context[column] = (
            _lookup(holders, settings.attributes.get(column, ()))
            or (_json.text(own(_FIELDS[column])) if column in _FIELDS else None)
            or _lookup(holders, (column, f"finops.{column}"))
        )
    group, deployed = _json.text(own("model_group")), _json.text(own("model"))
    provider = _json.text(own("custom_llm_provider"))
    start = _json.moment(own("startTime"), "ts_start", faults)
    end = _json.moment(own("endTime"), "ts_end", faults)
    first = _json.moment(own("completionStartTime"), "ttft_ms", faults)
    latency = _json.number(own("request_duration_ms"), "latency_ms", faults)
    logged = _json.text(own("request_duration_ms")) is not None
    if not logged and start is not None and end is not None and end >= start:
        latency = (end - start) / 1000
    # Without streaming LiteLLM writes the end as the moment of the first token.
    streamed = start is not None and first is not None and end is not None and start <= first < end
    status, error = _status(record, metadata, faults)
    return {
        **context,
        "ts_start": start,
        "ts_end": end,
        "request_id": _json.text(own("request_id")),
        "session_id": _json.text(own("session_id")),
        "provider": provider,
        "model": _lookup(holders, settings.attributes.get("model", ())) or group or deployed,
        "response_model": deployed if group else None,
        "operation": _operation(_json.text(own("call_type")) or ""),
        "hosting": _calls.hosting(provider),
        "n_requests": 1,
        "sample_weight": weight,
        **_tokens(record, metadata, faults),
        "service_tier": _calls.tier(_inside(metadata, "cost_breakdown").get("service_tier")),
        "latency_ms": latency,
        "ttft_ms": (first - start) / 1000 if streamed and first is not None and start is not None else None,
        "status": status,
        "error_type": error,
        "served_from_cache": _served_from_cache(own("cache_hit")),
        "pool_id": _lookup(holders, ("pool", "finops.pool")),
        "cost_reported_usd": _json.text(own("spend")),
        "reasons": faults,
    }


def _embedded(value: Any, column: str, faults: list[str]) -> Any:
    """Return a JSON column, which some exports deliver as text."""
    if not isinstance(value, str) or not value.strip():
        return value
    try:
        return _json.decode(value)
    except ValueError as error:
        faults.append(f"{column}: is not JSON ({error})")
        return None


def _inside(holder: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = holder.get(key)
    return found if isinstance(found, dict) else {}


def _tags(value: Any, faults: list[str]) -> Mapping[str, Any]:
    found = _embedded(value, "request_tags", faults)
    if isinstance(found, dict):
        return found
    tags: dict[str, str] = {}
    for tag in found if isinstance(found, list) else ():
        key, colon, said = str(tag).partition(":")
        if colon:
            tags.setdefault(key.strip(), said)
    return tags


def _lookup(holders: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str | None:
    for name in names:
        for holder in holders:
            if (found := _json.text(holder.get(name))) is not None:
                return found
    return None


def _tokens(
    record: Mapping[str, Any], metadata: Mapping[str, Any], faults: list[str]
) -> dict[str, int | None]:
    usages = [_inside(metadata, "additional_usage_values"), _inside(metadata, "usage_object")]
    prompts = [_inside(usage, "prompt_tokens_details") for usage in usages]
    outputs = [_inside(usage, "completion_tokens_details") for usage in usages]

    def first(*places: tuple[Sequence[Mapping[str, Any]], str]) -> Any:
        found = (holder.get(key) for holders, key in places for holder in holders)
        return next((value for value in found if value is not None), None)

    return _calls.token_buckets(
        record.get("prompt_tokens"),
        first((prompts, "cached_tokens"), (usages, "cache_read_input_tokens")),
        first((usages, "cache_creation_input_tokens"), (prompts, "cache_creation_tokens")),
        record.get("completion_tokens"),
        first((outputs, "reasoning_tokens")),
        faults,
    )


def _operation(call_type: str) -> str:
    # Most calls have an asynchronous twin: completion, acompletion.
    return _CALLS.get(call_type) or _CALLS.get(call_type.removeprefix("a")) or "other"


def _status(
    record: Mapping[str, Any], metadata: Mapping[str, Any], faults: list[str]
) -> tuple[str | None, str | None]:
    information = _inside(metadata, "error_information")
    error = _json.text(information.get("error_class"))
    said = _json.text(record.get("status")) or _json.text(metadata.get("status"))
    if said is None:
        # Older versions write no status; their own log viewer shows such rows as successes.
        said = "failure" if error else "success"
    if said.lower() == "success":
        return "ok", None
    if said.lower() == "failure":
        return _calls.failure(error), error
    faults.append(f"status: '{said}' is not success or failure")
    return None, error


def _served_from_cache(value: Any) -> bool | None:
    said = (_json.text(value) or "").lower()
    return True if said in ("true", "hit") else False if said in ("false", "miss") else None
