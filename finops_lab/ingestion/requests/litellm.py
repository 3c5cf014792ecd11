"""Requests out of LiteLLM's spend logs: the table ``LiteLLM_SpendLogs`` as JSON.

Source: ``litellm/proxy/schema.prisma`` of LiteLLM 1.109. Cached tokens are no columns of that
table: they sit in ``metadata``, in ``usage_object`` or ``additional_usage_values``.
``prompt_tokens`` includes them, ``completion_tokens`` includes reasoning. An answer served from
LiteLLM's own cache keeps its tokens and has no spend.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from finops_lab.ingestion import _fast_json, _json, _rows
from finops_lab.ingestion.registry import ReadSettings, Sample
from finops_lab.ingestion.requests import _calls, _litellm_fast, _litellm_records

__all__ = ["FORMAT", "TABLE", "matches", "read"]

FORMAT = "LiteLLM spend log"
SOURCE = "litellm/proxy/schema.prisma of LiteLLM 1.109; from documentation"
TABLE = _calls.TABLE

_TELLING = frozenset({"request_id", "startTime", "model"})
_BESIDE = frozenset({"spend", "call_type", "prompt_tokens", "total_tokens"})


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
    weight = 1 / settings.sample_rate if settings.sample_rate else 1.0

    def slow(document: _fast_json.Document, _only: set[int] | None) -> tuple[int, list[dict[str, Any]]]:
        return _read(document, settings, weight)

    return _fast_json.frame(TABLE, path, lambda: _litellm_fast.road(settings), slow)


def _read(
    document: _fast_json.Document, settings: ReadSettings, weight: float
) -> tuple[int, list[dict[str, Any]]]:
    if document.fault is not None:
        return 1, [_rows.broken(1, document.text, document.fault)]
    value = document.value
    if isinstance(value, dict) and isinstance(value.get("data"), list):
        value = value["data"]
    alone = not isinstance(value, list)
    rows: list[dict[str, Any]] = []
    for row, record in enumerate([value] if alone else value, 1):
        line = document.text if alone else _json.compact(record)
        if isinstance(record, dict):
            rows.append(
                {**_litellm_records.request(record, settings, weight), "source_row": row, "line": line}
            )
        else:
            rows.append(_rows.broken(row, line, "line: is not a spend log record"))
    return len(rows), rows
