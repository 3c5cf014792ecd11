"""Model calls out of OpenTelemetry traces: OTLP/JSON lines, as the collector's file exporter writes them.

Sources: the JSON encoding of ``opentelemetry-proto`` (``docs/specification.md``,
``examples/trace.json``): 64-bit integers are decimal strings, ids are hex, unknown fields are
ignored; the GenAI semantic conventions (``docs/gen-ai/gen-ai-spans.md``, semantic-conventions
1.41), whose input tokens include cached ones; "TraceState: Probability Sampling" of the
OpenTelemetry specification for sample weights. Older attribute names (``gen_ai.system``,
``gen_ai.usage.prompt_tokens``, vLLM's ``gen_ai.latency.time_to_first_token``) are read as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from finops_lab.ingestion import _json, _rows
from finops_lab.ingestion.registry import ReadSettings, Sample
from finops_lab.ingestion.requests import _calls

__all__ = ["FORMAT", "TABLE", "matches", "read"]

FORMAT = "OTLP/JSON"
SOURCE = "OTLP 1.x and the GenAI semantic conventions 1.41; from documentation"
TABLE = _calls.TABLE

_OPERATIONS = {
    "chat": "chat",
    "generate_content": "chat",
    "text_completion": "completion",
    "completion": "completion",
    "embeddings": "embedding",
    "image_generation": "image",
    "rerank": "rerank",
}
# Spans around model calls. An agent's span may repeat the tokens of the calls inside it.
_AROUND = frozenset(
    {"create_agent", "invoke_agent", "execute_tool", "invoke_workflow", "retrieval", "plan", "agent", "tool"}
)
_CALLS = frozenset({"chat", "generate_content", "text_completion", "embeddings"})
_INPUT = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
_OUTPUT = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")
_CACHE_READ = ("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens")
_CACHE_WRITE = ("gen_ai.usage.cache_creation.input_tokens", "gen_ai.usage.cache_creation_input_tokens")
_REASONING = ("gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens")
_FIRST_CHUNK = ("gen_ai.response.time_to_first_chunk", "gen_ai.latency.time_to_first_token")
_TIER = (
    "openai.response.service_tier",
    "gen_ai.openai.response.service_tier",
    "openai.request.service_tier",
    "gen_ai.openai.request.service_tier",
)
_STANDARD = {
    "environment": ("deployment.environment.name", "deployment.environment"),
    "region": ("cloud.region",),
}
_CONTEXT = ("team", "feature", "customer", "environment", "region", "variant")
_SCALARS = frozenset({"stringValue", "intValue", "doubleValue", "boolValue", "bytesValue"})
_OTHER_SIGNALS = ("resourceMetrics", "resourceLogs", "resourceProfiles")
_THRESHOLD = re.compile(r"[0-9a-f]{1,14}")

Attributes = Mapping[str, Any]


def matches(sample: Sample) -> bool:
    """Tell whether a file holds OTLP traces."""
    if sample.kind != "jsonl":
        return False
    # A line of thousands of spans is longer than any probe: its beginning has to do.
    return any("resourceSpans" in record for record in _json.beginnings(sample)) or bool(
        re.match(r'\s*\[?\s*\{\s*"resourceSpans"\s*:', _json.beginning(sample.path))
    )


def read(path: Path, settings: ReadSettings) -> pl.LazyFrame:
    """Read the model calls of a trace file as rows of the `inference_requests` contract.

    Spans of agents, tools and servers are no requests and are left out. Context is looked up by
    name, in the span and then in its resource: the names of ``settings.attributes``, then
    ``finops.<column>``, then OpenTelemetry's own. A request stands for ``1 / p`` requests, where p is
    the sampling probability in the span's trace state, or else ``settings.sample_rate``.

    Parameters
    ----------
    path : pathlib.Path
        JSON lines, plain or gzip; or one JSON document.
    settings : ReadSettings
        Attribute names of context columns and ``model``; the share of requests that was exported.

    Returns
    -------
    polars.LazyFrame
        The contract without ``source_file``, and `RAW`, `REASONS`, `NOTES`. ``source_row`` counts
        every span of the file, and every line that is no JSON, from 1. ``request_id`` is the
        provider's response id, or the span id.

    Raises
    ------
    InputError
        When the file cannot be read.
    """
    return _rows.frame(TABLE, lambda: _read(path, settings))


def _read(path: Path, settings: ReadSettings) -> Iterator[dict[str, Any]]:
    names = {
        column: (*settings.attributes.get(column, ()), f"finops.{column}", *_STANDARD.get(column, ()))
        for column in _CONTEXT
    }
    names["model"] = (*settings.attributes.get("model", ()), "gen_ai.request.model", "gen_ai.response.model")
    weight = 1 / settings.sample_rate if settings.sample_rate else 1.0
    row = 0
    for document in _json.documents(path):
        try:
            spans = _spans(document)
        except ValueError as fault:
            row += 1
            yield _rows.broken(row, document.text, str(fault))
            continue
        for resource, span in spans:
            row += 1
            line = document.text if len(spans) == 1 else None
            try:
                attributes = _attributes(span)
            except ValueError as fault:
                yield _rows.broken(row, line or _json.compact(span), str(fault))
                continue
            if _is_call(attributes):
                found = _request(span, attributes, resource, names, weight)
                yield {**found, "source_row": row, "line": line or _json.compact(span)}


def _spans(document: _json.Document) -> list[tuple[Attributes, Mapping[str, Any]]]:
    if document.fault is not None:
        raise ValueError(document.fault)
    texts = document.value if isinstance(document.value, list) else [document.value]
    found: list[tuple[Attributes, Mapping[str, Any]]] = []
    for text in texts:
        if not isinstance(text, dict):
            raise ValueError("line: is not an OTLP object")
        if "resourceSpans" not in text and not any(key in text for key in _OTHER_SIGNALS):
            raise ValueError("line: has no resourceSpans")
        for group in _objects(text, "resourceSpans"):
            resource = _attributes(group.get("resource") or {})
            for scope in _objects(group, "scopeSpans"):
                found.extend((resource, span) for span in _objects(scope, "spans"))
    return found


def _objects(holder: Mapping[str, Any], key: str) -> Sequence[Mapping[str, Any]]:
    found = holder.get(key) or []
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise ValueError(f"line: {key} is not a list of objects")
    return found


def _attributes(holder: Any) -> Attributes:
    if not isinstance(holder, dict):
        raise ValueError("line: resource is not an object")
    found: dict[str, Any] = {}
    try:
        for item in holder.get("attributes") or ():
            # One kind of value per attribute; lists and maps are kept whole.
            for kind, value in (item.get("value") or {}).items():
                found[item["key"]] = value if kind in _SCALARS else {kind: value}
    except (AttributeError, KeyError, TypeError):
        raise ValueError("line: attributes are not a list of keys and values") from None
    return found


def _is_call(attributes: Attributes) -> bool:
    operation = _json.text(attributes.get("gen_ai.operation.name"))
    if operation in _CALLS:
        return True
    used = any(attributes.get(name) is not None for name in (*_INPUT, *_OUTPUT))
    return operation not in _AROUND and used and bool(attributes.get("gen_ai.request.model"))


def _request(
    span: Mapping[str, Any],
    attributes: Attributes,
    resource: Attributes,
    names: Mapping[str, tuple[str, ...]],
    weight: float,
) -> dict[str, Any]:
    faults: list[str] = []
    own = attributes.get
    start = _nanoseconds(span.get("startTimeUnixNano"), "ts_start", faults)
    end = _nanoseconds(span.get("endTimeUnixNano"), "ts_end", faults)
    provider = _json.text(own("gen_ai.provider.name")) or _json.text(own("gen_ai.system"))
    host = _json.text(own("finops.hosting")) or _json.text(resource.get("finops.hosting"))
    host = host or _calls.hosting(provider)
    pools = ["finops.pool"]
    if host == "self_hosted":
        # On a call to an outside API this is the deployment of the caller, not a pool of GPUs.
        pools.append("k8s.deployment.name")
    error = _json.text(own("error.type"))
    status = span.get("status")
    code = status.get("code") if isinstance(status, dict) else None
    failed = error is not None or code in (2, "STATUS_CODE_ERROR")
    first_chunk = _json.number(_first(attributes, _FIRST_CHUNK), "ttft_ms", faults)
    operation = _json.text(own("gen_ai.operation.name")) or _json.text(own("llm.request.type"))
    context = {column: _lookup(attributes, resource, keys) for column, keys in names.items()}
    resent = _json.count(own("http.request.resend_count"), "is_retry", faults)
    return {
        **context,
        "ts_start": None if start is None else start // 1000,
        "ts_end": None if end is None else end // 1000,
        "request_id": _json.text(own("gen_ai.response.id")) or _hex(span.get("spanId")),
        "trace_id": _hex(span.get("traceId")),
        "parent_id": _hex(span.get("parentSpanId")),
        "session_id": _json.text(own("gen_ai.conversation.id")) or _json.text(own("session.id")),
        "provider": provider,
        "response_model": _json.text(own("gen_ai.response.model")),
        "operation": _OPERATIONS.get(operation or "", "other"),
        "hosting": host,
        "n_requests": 1,
        "sample_weight": _weight(span.get("traceState"), weight, faults),
        **_calls.token_buckets(
            _first(attributes, _INPUT),
            _first(attributes, _CACHE_READ),
            _first(attributes, _CACHE_WRITE),
            _first(attributes, _OUTPUT),
            _first(attributes, _REASONING),
            faults,
        ),
        "service_tier": _calls.tier(_first(attributes, _TIER)),
        # A negative span breaks the contract's rule on ts_end, once is enough.
        "latency_ms": (end - start) / 1e6 if start is not None and end is not None and end >= start else None,
        "ttft_ms": None if first_chunk is None else first_chunk * 1000,
        "status": _calls.failure(error) if failed else "ok",
        "error_type": error,
        "is_retry": None if resent is None else resent > 0,
        "pool_id": _lookup(attributes, resource, pools),
        "reasons": faults,
    }


def _first(attributes: Attributes, names: Sequence[str]) -> Any:
    return next((attributes[name] for name in names if attributes.get(name) is not None), None)


def _lookup(attributes: Attributes, resource: Attributes, names: Sequence[str]) -> str | None:
    for name in names:
        for holder in (attributes, resource):
            if (found := _json.text(holder.get(name))) is not None:
                return found
    return None


def _hex(value: Any) -> str | None:
    found = _json.text(value)
    return found and found.lower()


def _nanoseconds(value: Any, column: str, faults: list[str]) -> int | None:
    found = _json.count(value, column, faults)
    return found or None  # the specification writes "unknown" as 0


def _weight(state: Any, default: float, faults: list[str]) -> float | None:
    """Return the number of requests a sampled span stands for, from ``ot=th:<hex>``.

    The threshold T is 56 bits with trailing zeros left out; the probability is 1 - T / 2^56.
    """
    for member in (_json.text(state) or "").split(","):
        vendor, _, fields = member.strip().partition("=")
        if vendor != "ot":
            continue
        for field in fields.split(";"):
            key, _, threshold = field.partition(":")
            if key != "th":
                continue
            if not _THRESHOLD.fullmatch(threshold):
                faults.append(f"sample_weight: '{threshold}' in the trace state is not a sampling threshold")
                return None
            return 2**56 / (2**56 - int(threshold.ljust(14, "0"), 16))
    return default
