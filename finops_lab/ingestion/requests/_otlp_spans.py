"""One span as a row: every attribute looked at, every fault told."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from finops_lab.ingestion import _json
from finops_lab.ingestion.requests import _calls
from finops_lab.ingestion.requests import _otlp_names as names

__all__ = ["OTHER_SIGNALS", "Attributes", "attributes", "is_call", "request", "spans", "weight"]

OTHER_SIGNALS = {
    "resourceMetrics": "metrics",
    "resourceLogs": "logs",
    "resourceProfiles": "profiles",
}
_SCALARS = frozenset({"stringValue", "intValue", "doubleValue", "boolValue", "bytesValue"})
_NESTED = frozenset({"arrayValue", "kvlistValue"})
_THRESHOLD = re.compile(r"[0-9a-f]{1,14}")
_UNSPLIT = "input_uncached_tokens: only a total of tokens is given, not the input and the output"

Attributes = Mapping[str, Any]


def spans(document: _json.Document) -> list[tuple[Attributes, Mapping[str, Any]]]:
    """Return the spans of a document, each with the attributes of its resource.

    Raises
    ------
    ValueError
        When the document is no OTLP; the message is the row's reason.
    """
    if document.fault is not None:
        raise ValueError(document.fault)
    texts = document.value if isinstance(document.value, list) else [document.value]
    found: list[tuple[Attributes, Mapping[str, Any]]] = []
    for text in texts:
        if not isinstance(text, dict):
            raise ValueError("line: is not an OTLP object")
        if "resourceSpans" not in text and not any(key in text for key in OTHER_SIGNALS):
            raise ValueError("line: has no resourceSpans")
        for group in _objects(text, "resourceSpans"):
            resource = attributes(group.get("resource") or {})
            for scope in _objects(group, "scopeSpans"):
                found.extend((resource, span) for span in _objects(scope, "spans"))
    return found


def _objects(holder: Mapping[str, Any], key: str) -> Sequence[Mapping[str, Any]]:
    found = holder.get(key) or []
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise ValueError(f"line: {key} is not a list of objects")
    return found


def attributes(holder: Any) -> Attributes:
    """Return the attributes of a span or resource by name.

    Raises
    ------
    ValueError
        When they are no list of keys and values.
    """
    if not isinstance(holder, dict):
        raise ValueError("line: resource is not an object")
    found: dict[str, Any] = {}
    try:
        for item in holder.get("attributes") or ():
            # One kind of value per attribute; lists and maps are kept whole.
            for kind, value in (item.get("value") or {}).items():
                if kind in _SCALARS:
                    found[item["key"]] = value
                elif kind in _NESTED:
                    found[item["key"]] = {kind: value}
    except (AttributeError, KeyError, TypeError):
        raise ValueError("line: attributes are not a list of keys and values") from None
    return found


def is_call(own: Attributes) -> bool:
    """Tell whether a span is a call to a model, in any dialect."""
    operation = _json.text(own.get(names.OPERATION))
    if operation in names.CALLS:
        return True
    if operation in names.AROUND:
        return False
    if (kind := _json.text(own.get(names.KIND))) is not None:
        return kind.upper() in names.CALL_KINDS
    if _json.text(own.get(names.TASK)) is not None:
        return False  # a workflow, task, agent or tool
    if _json.text(own.get(names.REQUEST_TYPE)) in names.CALL_TYPES:
        return True
    used = any(own.get(name) is not None for name in (*names.INPUT, *names.OUTPUT, *names.TOTAL))
    return used and any(own.get(name) for name in names.MODEL)


def request(
    span: Mapping[str, Any],
    own: Attributes,
    resource: Attributes,
    lookups: Mapping[str, Sequence[str]],
    default: float,
) -> dict[str, Any]:
    """Return a call as a row; `default` is the weight of a span without a sampling threshold."""
    faults: list[str] = []
    notes: list[str] = []
    start = _nanoseconds(span.get("startTimeUnixNano"), "ts_start", faults)
    end = _nanoseconds(span.get("endTimeUnixNano"), "ts_end", faults)
    provider = _text(own, names.PROVIDER)
    host = _json.text(own.get(names.HOSTING)) or _json.text(resource.get(names.HOSTING))
    host = host or _calls.hosting(provider)
    pools = (names.POOL, names.SERVER_POOL) if host == "self_hosted" else (names.POOL,)
    error = _text(own, names.ERROR)
    status = span.get("status")
    code = status.get("code") if isinstance(status, dict) else None
    failed = error is not None or code in (2, "STATUS_CODE_ERROR")
    seconds = {
        column: _json.number(_first(own, several), column, faults)
        for column, several in names.SECONDS.items()
    }
    kind = (_json.text(own.get(names.KIND)) or "").upper()
    said = _text(own, (names.OPERATION, names.REQUEST_TYPE)) or kind
    operation = names.OPERATIONS.get(said, "other")
    context = {column: _lookup(own, resource, keys) for column, keys in lookups.items()}
    resent = _json.count(own.get(names.RETRIES), "is_retry", faults)
    weighs, fault = weight(span.get("traceState"), default)
    faults.extend([fault] if fault else [])
    return {
        **context,
        "ts_start": None if start is None else start // 1000,
        "ts_end": None if end is None else end // 1000,
        "request_id": _text(own, names.RESPONSE_ID) or _hex(span.get("spanId")),
        "trace_id": _hex(span.get("traceId")),
        "parent_id": _hex(span.get("parentSpanId")),
        "session_id": _text(own, names.SESSION),
        "provider": provider,
        "response_model": _text(own, names.RESPONSE_MODEL),
        "operation": operation,
        "hosting": host,
        "n_requests": 1,
        "sample_weight": weighs,
        **_calls.token_buckets(
            _input(own, operation, faults, notes),
            _first(own, names.CACHE_READ),
            _first(own, names.CACHE_WRITE),
            _first(own, names.OUTPUT),
            _first(own, names.REASONING),
            faults,
        ),
        "service_tier": _calls.tier(context["service_tier"] or _first(own, names.TIER)),
        # A negative span breaks the contract's rule on ts_end, once is enough.
        "latency_ms": (end - start) / 1e6 if start is not None and end is not None and end >= start else None,
        **{column: None if taken is None else taken * 1000 for column, taken in seconds.items()},
        "request_bytes": _json.count(_first(own, names.REQUEST_BYTES), "request_bytes", faults),
        "response_bytes": _json.count(_first(own, names.RESPONSE_BYTES), "response_bytes", faults),
        "status": _calls.failure(error) if failed else "ok",
        "error_type": error,
        "is_retry": None if resent is None else resent > 0,
        "pool_id": _lookup(own, resource, pools),
        "cost_reported_usd": _json.text(_first(own, names.COST)),
        "reasons": faults,
        "notes": notes,
    }


def _input(own: Attributes, operation: str, faults: list[str], notes: list[str]) -> Any:
    """Return the input tokens: as given, or the total less the output."""
    given, total = _first(own, names.INPUT), _first(own, names.TOTAL)
    if given is not None or total is None:
        return given
    whole, output = _json.count(total, "input_uncached_tokens", faults), _first(own, names.OUTPUT)
    if output is None and operation in ("embedding", "rerank"):
        return whole  # there is no output
    written = _json.count(output, "output_tokens", [])
    if whole is None or written is None or written > whole:
        notes.extend([_UNSPLIT] if whole is not None else [])
        return None
    return whole - written


def _first(own: Attributes, keys: Sequence[str]) -> Any:
    return next((own[name] for name in keys if own.get(name) is not None), None)


def _text(own: Attributes, keys: Sequence[str]) -> str | None:
    return _lookup(own, {}, keys)


def _lookup(own: Attributes, resource: Attributes, keys: Sequence[str]) -> str | None:
    for name in keys:
        for holder in (own, resource):
            if (found := _json.text(holder.get(name))) is not None:
                return found
    return None


def _hex(value: Any) -> str | None:
    found = _json.text(value)
    return found and found.lower()


def _nanoseconds(value: Any, column: str, faults: list[str]) -> int | None:
    found = _json.count(value, column, faults)
    return found or None  # the specification writes "unknown" as 0


def weight(state: Any, default: float) -> tuple[float | None, str | None]:
    """Return the number of requests a sampled span stands for, from ``ot=th:<hex>``, or a fault.

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
                return None, f"sample_weight: '{threshold}' in the trace state is not a sampling threshold"
            return 2**56 / (2**56 - int(threshold.ljust(14, "0"), 16)), None
    return default, None
