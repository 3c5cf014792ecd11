"""Requests out of Helicone: what ``npx @helicone/export`` writes, and rows of its request table.

Sources: ``examples/export/typescript`` of Helicone, its type ``HeliconeRequest`` and the query
behind ``/v1/request/query-clickhouse``; ``packages/cost`` for what is counted: prompt tokens
exclude cached and audio tokens, cache writes are the sum of both lifetimes, ``cost`` is in USD in
an export and in billionths of a USD in the table ``request_response_rmt``. A negative status is
Helicone's own (its ``statusBadge.tsx``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from finops_lab.ingestion import _json, _rows
from finops_lab.ingestion.registry import ReadSettings, Sample
from finops_lab.ingestion.requests import _calls, _records

__all__ = ["FORMAT", "TABLE", "matches", "read"]

FORMAT = "Helicone requests"
SOURCE = "examples/export/typescript and packages/cost of Helicone; from documentation"
TABLE = _calls.TABLE

_TELLING = frozenset({"request_created_at", "response_created_at", "prompt_tokens", "completion_tokens"})
_OWN_STATUS = {-1: "timeout", -2: "pending", -3: "cancelled", -4: "error"}
_OWN_ERROR = {-1: "timeout", -4: "threat"}
_TIMEOUTS, _CANCELLED = frozenset({408, 504, 524}), 499
_NO_REQUEST = "00000000-0000-0000-0000-000000000000"
_SESSION = "Helicone-Session-Id"
_BILLIONTHS = re.compile(r"[0-9]{1,18}")


def matches(sample: Sample) -> bool:
    """Tell whether a file holds Helicone requests."""
    return any(record.keys() >= _TELLING for record in _records.beginnings(sample))


def read(path: Path, settings: ReadSettings) -> pl.LazyFrame:
    """Read Helicone requests as rows of the `inference_requests` contract.

    Context is looked up in the request's properties, without regard to case where need be: the
    names of ``settings.attributes`` first, then the user as ``customer``, then the column's own
    name. An answer out of Helicone's cache keeps its tokens.

    Parameters
    ----------
    path : pathlib.Path
        CSV, Parquet, JSON lines or a JSON array, plain or gzip. The exporter's CSV leaves the
        model blank unless bodies were exported with it: such rows are refused.
    settings : ReadSettings
        Names of context columns and ``model``; the share of requests that was exported.

    Returns
    -------
    polars.LazyFrame
        The contract without ``source_file``, and `RAW`, `REASONS`, `NOTES`. ``source_row`` counts
        the records of the file from 1.

    Raises
    ------
    InputError
        When the file cannot be read.
    """
    return _rows.frame(TABLE, lambda: _read(path, settings))


def _read(path: Path, settings: ReadSettings) -> Iterator[dict[str, Any]]:
    weight = 1 / settings.sample_rate if settings.sample_rate else 1.0
    for record in _records.records(path):
        if record.fault is not None:
            yield _rows.broken(record.row, record.line, record.fault)
            continue
        found = _request(record.values, settings)
        yield {**found, "sample_weight": weight, "source_row": record.row, "line": record.line}


def _request(record: Mapping[str, Any], settings: ReadSettings) -> dict[str, Any]:
    faults: list[str] = []
    notes: list[str] = []
    own = record.get
    properties = _records.mapping(
        own("request_properties") or own("properties"), "request_properties", faults
    )
    user = own("request_user_id") or own("user_id") or own("helicone_user")
    status, error = _status(own("response_status") if "response_status" in record else own("status"), faults)
    provider = _json.text(own("provider"))
    path = _json.text(own("request_path")) or _json.text(own("target_url"))
    said = _first(record, "model_override", "model", "request_model") or _body_model(own("request_body"))
    model = _records.lookup([properties], settings.attributes.get("model", ())) or said
    if model is None:
        faults.append("model: missing, export as JSON lines (the CSV export leaves the model blank)")
    return {
        **_records.context([properties], settings.attributes, {"customer": user}),
        "ts_start": _json.moment(own("request_created_at"), "ts_start", faults),
        "ts_end": None if status == "pending" else _json.moment(own("response_created_at"), "ts_end", faults),
        "request_id": _first(record, "request_id", "response_id"),
        "session_id": _records.lookup([properties], (_SESSION,)),
        "provider": provider and provider.lower(),
        "model": model,
        "response_model": _json.text(own("response_model")),
        "operation": _calls.operation(path),
        "hosting": _calls.hosting(provider),
        "n_requests": 1,
        **_tokens(record, faults, notes),
        "service_tier": _calls.tier(
            _records.lookup([properties], settings.attributes.get("service_tier", ()))
        ),
        "latency_ms": _json.number(_first(record, "delay_ms", "latency"), "latency_ms", faults),
        "ttft_ms": _json.number(own("time_to_first_token"), "ttft_ms", faults),
        "status": status,
        "error_type": error,
        "served_from_cache": _served_from_cache(record),
        "cost_reported_usd": _cost(record, notes),
        "reasons": faults,
        "notes": notes,
    }


def _first(record: Mapping[str, Any], *names: str) -> str | None:
    return next((found for name in names if (found := _json.text(record.get(name))) is not None), None)


def _body_model(body: Any) -> str | None:
    found = _records.mapping(body, "request_body", [])
    return _json.text(found.get("model"))


def _status(value: Any, faults: list[str]) -> tuple[str | None, str | None]:
    said = _json.text(value)
    if said is None:
        faults.append("status: missing")
        return None, None
    try:
        code = int(said)
    except ValueError:
        faults.append(f"status: '{_json.short(said)}' is no HTTP status")
        return None, None
    if code in _OWN_STATUS:
        return _OWN_STATUS[code], _OWN_ERROR.get(code)
    if 200 <= code < 300:
        return "ok", None
    if code in _TIMEOUTS:
        return "timeout", said
    if code == _CANCELLED:
        return "cancelled", said
    if 300 <= code < 600:
        return "error", said
    faults.append(f"status: {_json.short(said)} is no HTTP status")
    return None, None


def _tokens(record: Mapping[str, Any], faults: list[str], notes: list[str]) -> dict[str, int | None]:
    own = record.get
    found = _calls.exclusive_buckets(
        own("prompt_tokens"),
        own("prompt_cache_read_tokens"),
        own("prompt_cache_write_tokens"),
        own("completion_tokens"),
        None,
        faults,
    )
    for name, bucket in (
        ("prompt_audio_tokens", "input_uncached_tokens"),
        ("completion_audio_tokens", "output_tokens"),
    ):
        spoken, text = _json.count(own(name), name, faults), found[bucket]
        if spoken and text is not None:
            found[bucket] = _json.count(text + spoken, bucket, faults)
            notes.append(f"{name}: added to {bucket}, at prices of their own")
    return found


def _served_from_cache(record: Mapping[str, Any]) -> bool | None:
    if (origin := _json.text(record.get("cache_reference_id"))) is not None:
        return origin != _NO_REQUEST
    said = (_json.text(record.get("cached")) or "").lower()
    return True if said in ("true", "1") else False if said in ("false", "0") else None


def _cost(record: Mapping[str, Any], notes: list[str]) -> str | None:
    said = _first(record, "cost", "costUSD")
    if said is None or "response_status" in record or not _BILLIONTHS.fullmatch(said) or not int(said):
        return said
    # The request table itself keeps whole billionths.
    notes.append("cost_reported_usd: kept in billionths of a USD, divided by 1000000000")
    return format(Decimal(said).scaleb(-9), "f")
