"""Requests out of Claude Code's session files, which ccusage reads too: JSON lines.

Sources: ccusage's ``docs/guide/cost-modes.md`` and its issues 888, 901 and 976; Anthropic's
``usage`` object, whose input excludes cached tokens. An answer is written several times while it
streams, with the same message id and growing counts: only the last one is the call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from finops_lab.ingestion import _json, _rows
from finops_lab.ingestion.registry import ReadSettings, Sample
from finops_lab.ingestion.requests import _calls, _records

__all__ = ["FORMAT", "TABLE", "matches", "read"]

FORMAT = "Claude Code session"
SOURCE = "docs/guide/cost-modes.md and issues of ccusage; from documentation"
TABLE = _calls.TABLE

_SYNTHETIC = "<synthetic>"
_STREAMED = "request_id: written more than once while the answer streamed, the last counts"
_NO_CALL = "model: messages that the client made up itself are no calls, left out"


def matches(sample: Sample) -> bool:
    """Tell whether a file holds a session of Claude Code."""
    return any(_is_session(record) for record in _json.beginnings(sample))


def read(path: Path, settings: ReadSettings) -> pl.LazyFrame:
    """Read the answers of a session as rows of the `inference_requests` contract.

    ``ts_start`` is the moment the answer was first written; when the call began is not known, and
    so no latency. Lines without usage (questions, summaries, tool results) are left out. A session
    that was resumed repeats its history in the next file: ingest one of the two.

    Parameters
    ----------
    path : pathlib.Path
        JSON lines, plain or gzip.
    settings : ReadSettings
        Names of context columns, looked up in the line (such as ``cwd`` or ``gitBranch``).

    Returns
    -------
    polars.LazyFrame
        The contract without ``source_file``, and `RAW`, `REASONS`, `NOTES`. ``source_row`` counts
        the lines of the file from 1.

    Raises
    ------
    InputError
        When the file cannot be read.
    """
    return _rows.frame(TABLE, lambda: _read(path, settings))


def _is_session(record: Mapping[str, Any]) -> bool:
    message = _message(record)
    usage = message.get("usage")
    if not isinstance(usage, dict) or not {"input_tokens", "output_tokens"} <= usage.keys():
        return False
    return "timestamp" in record and "model" in message and ("sessionId" in record or "costUSD" in record)


def _message(record: Mapping[str, Any]) -> Mapping[str, Any]:
    found = record.get("message")
    return found if isinstance(found, dict) else record


def _read(path: Path, settings: ReadSettings) -> Iterator[dict[str, Any]]:
    spans: dict[str, tuple[Any, int, int]] = {}  # per message: first moment, last row, times written
    for record in _records.records(path):
        if name := _name(record.values):
            first, _, times = spans.get(name, (record.values.get("timestamp"), 0, 0))
            spans[name] = (first, record.row, times + 1)
    held: dict[str, Any] | None = None
    made_up = False
    for record in _records.records(path):
        if record.fault is not None:
            found = _rows.broken(record.row, record.line, record.fault)
        else:
            message = _message(record.values)
            if not isinstance(message.get("usage"), dict):
                continue
            if message.get("model") == _SYNTHETIC:
                made_up = True
                continue
            first, last, times = spans.get(_name(record.values) or "", (None, record.row, 1))
            if last != record.row:
                continue
            notes = [_STREAMED] if times > 1 else []
            moment = first if times > 1 else record.values.get("timestamp")
            found = _request(record.values, message, moment, settings)
            found |= {"source_row": record.row, "line": record.line, "notes": notes}
        if held is not None:
            yield held
        held = found
    if held is not None:
        if made_up:
            held["notes"] = [*(held.get("notes") or ()), _NO_CALL]
        yield held


def _name(record: Mapping[str, Any]) -> str | None:
    message = record.get("message")
    if not isinstance(message, dict) or not isinstance(message.get("usage"), dict):
        return None
    return _json.text(message.get("id"))


def _request(
    record: Mapping[str, Any], message: Mapping[str, Any], moment: Any, settings: ReadSettings
) -> dict[str, Any]:
    faults: list[str] = []
    usage = message["usage"]
    creation = _records.mapping(usage.get("cache_creation"), "cache_creation", faults)
    tools = _records.mapping(usage.get("server_tool_use"), "server_tool_use", faults)
    searches = _json.count(tools.get("web_search_requests"), "other_units", faults)
    model = _json.text(message.get("model"))
    provider = "anthropic" if model and model.startswith("claude") else None
    fast = _json.text(usage.get("speed")) == "fast"
    return {
        **_records.context([record], settings.attributes, {}),
        "ts_start": _json.moment(moment, "ts_start", faults, epoch="ms"),
        "request_id": _json.text(message.get("id")) or _json.text(record.get("requestId")),
        "session_id": _json.text(record.get("sessionId")),
        "provider": provider,
        "model": _records.lookup([record], settings.attributes.get("model", ())) or model,
        "operation": "chat",
        "hosting": _calls.hosting(provider),
        "n_requests": 1,
        "sample_weight": 1.0,
        **_calls.exclusive_buckets(
            usage.get("input_tokens"),
            usage.get("cache_read_input_tokens"),
            usage.get("cache_creation_input_tokens"),
            usage.get("output_tokens"),
            None,
            faults,
            write_1h=creation.get("ephemeral_1h_input_tokens"),
        ),
        "other_units": None if searches is None else float(searches),
        "other_unit": None if searches is None else "searches",
        "service_tier": "fast" if fast else _calls.tier(usage.get("service_tier")),
        "status": "ok",
        "cost_reported_usd": _json.text(record.get("costUSD")),
        "reasons": faults,
    }
