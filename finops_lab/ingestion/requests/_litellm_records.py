"""One record of a LiteLLM spend log as a row: every field looked at, every fault told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from finops_lab.ingestion import _json
from finops_lab.ingestion.registry import ReadSettings
from finops_lab.ingestion.requests import _calls

__all__ = ["CONTEXT", "FIELDS", "NESTED", "POOL", "operation", "request", "served_from_cache", "tags"]

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
CONTEXT = ("team", "feature", "customer", "environment", "region", "variant")
FIELDS = {"team": "team_id", "customer": "end_user"}
# Where LiteLLM keeps what callers sent along, beside its own metadata keys.
NESTED = ("spend_logs_metadata", "requester_metadata")
POOL = ("pool", "finops.pool")


def request(record: Mapping[str, Any], settings: ReadSettings, weight: float) -> dict[str, Any]:
    """Return one record as a row of the `inference_requests` contract, with its faults."""
    faults: list[str] = []
    own = record.get
    metadata = _embedded(own("metadata"), "metadata", faults)
    metadata = metadata if isinstance(metadata, dict) else {}
    holders = [tags(own("request_tags"), faults), metadata, *(_inside(metadata, key) for key in NESTED)]
    context: dict[str, str | None] = {}
    for column in CONTEXT:
        context[column] = (
            _lookup(holders, settings.attributes.get(column, ()))
            or (_json.text(own(FIELDS[column])) if column in FIELDS else None)
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
        "api_key_id": _json.text(own("api_key")),
        "provider": provider,
        "model": _lookup(holders, settings.attributes.get("model", ())) or group or deployed,
        "response_model": deployed if group else None,
        "operation": operation(_json.text(own("call_type")) or ""),
        "hosting": _calls.hosting(provider),
        "n_requests": 1,
        "sample_weight": weight,
        **_tokens(record, metadata, faults),
        "service_tier": _calls.tier(
            _lookup(holders, settings.attributes.get("service_tier", ()))
            or _inside(metadata, "cost_breakdown").get("service_tier")
        ),
        "latency_ms": latency,
        "ttft_ms": (first - start) / 1000 if streamed and first is not None and start is not None else None,
        "status": status,
        "error_type": error,
        "served_from_cache": served_from_cache(own("cache_hit")),
        "pool_id": _lookup(holders, POOL),
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


def tags(value: Any, faults: list[str]) -> Mapping[str, Any]:
    """Return ``request_tags`` written ``key:value`` as a mapping."""
    found = _embedded(value, "request_tags", faults)
    if isinstance(found, dict):
        return found
    said_first: dict[str, str] = {}
    for tag in found if isinstance(found, list) else ():
        key, colon, said = str(tag).partition(":")
        if colon:
            said_first.setdefault(key.strip(), said)
    return said_first


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


def operation(call_type: str) -> str:
    """Return what a call type does, in the contract's words."""
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


def served_from_cache(value: Any) -> bool | None:
    """Tell whether the gateway answered from its own cache; null where it does not say."""
    said = (_json.text(value) or "").lower()
    return True if said in ("true", "hit") else False if said in ("false", "miss") else None
