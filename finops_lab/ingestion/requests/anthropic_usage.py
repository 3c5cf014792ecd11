"""Requests out of Anthropic's usage report: ``/v1/organizations/usage_report/messages``.

Source: the Admin API reference, "Get Messages Usage Report". ``uncached_input_tokens`` excludes
what was read from and written to the cache. The report counts tokens and web searches, no
requests: every row is taken as one request, and says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from finops_lab.ingestion import _json, _rows
from finops_lab.ingestion.registry import ReadSettings, Sample
from finops_lab.ingestion.requests import _calls, _records, _usage_pages

__all__ = ["FORMAT", "TABLE", "matches", "read"]

FORMAT = "Anthropic usage report"
SOURCE = "Admin API reference, Get Messages Usage Report; from documentation"
TABLE = _calls.TABLE

_TELLING = re.compile(r'"uncached_input_tokens"\s*:')
_BUCKET = re.compile(r'"starting_at"\s*:')
_NO_REQUESTS = "n_requests: the report counts tokens, not requests"


def matches(sample: Sample) -> bool:
    """Tell whether a file holds pages of Anthropic's messages usage report."""
    if sample.kind != "jsonl":
        return False
    text = _json.beginning(sample.path)
    return bool(_TELLING.search(text) and _BUCKET.search(text))


def read(path: Path, settings: ReadSettings) -> pl.LazyFrame:
    """Read usage report pages as rows of the `inference_requests` contract.

    ``n_requests`` is 1 in every row, with a note: rates per request make no sense on these rows,
    sums of tokens do. A row without a model is refused. ``other_units`` are web searches. A ``speed``
    of fast is the service tier "fast"; ``inference_geo`` is the region where it names one.

    Parameters
    ----------
    path : pathlib.Path
        One page, an array of pages, or a page per line; plain or gzip.
    settings : ReadSettings
        Names of context columns, looked up in the result (such as ``workspace_id``).

    Returns
    -------
    polars.LazyFrame
        The contract without ``source_file``, and `RAW`, `REASONS`, `NOTES`. ``source_row`` counts
        the results of the file from 1.

    Raises
    ------
    InputError
        When the file cannot be read.
    """
    request = partial(_request, settings)
    return _rows.frame(TABLE, lambda: _usage_pages.rows(path, "starting_at", "ending_at", request))


def _request(
    settings: ReadSettings, result: Mapping[str, Any], faults: list[str], notes: list[str]
) -> dict[str, Any]:
    own = result.get
    model = _records.lookup([result], settings.attributes.get("model", ())) or _json.text(own("model"))
    if model is None:
        faults.append("model: missing, export the usage with group_by[]=model")
    geo = _json.text(own("inference_geo"))
    tools = _records.mapping(own("server_tool_use"), "server_tool_use", faults)
    searches = _json.count(tools.get("web_search_requests"), "other_units", faults)
    tokens = _tokens(result, faults)
    empty = not any((*tokens.values(), searches))
    if not empty:
        notes.append(_NO_REQUESTS)
    fast = _json.text(own("speed")) == "fast"
    return {
        **_records.context(
            [result], settings.attributes, {"region": None if geo == "not_available" else geo}
        ),
        "project_id": _json.text(own("workspace_id")),
        "api_key_id": _json.text(own("api_key_id")),
        "provider": "anthropic",
        "model": model,
        "operation": "chat",
        "hosting": "api",
        "n_requests": 0 if empty else 1,
        "sample_weight": 1.0,
        **tokens,
        "other_units": None if searches is None else float(searches),
        "other_unit": None if searches is None else "searches",
        "service_tier": "fast" if fast else _calls.tier(own("service_tier")),
        "status": "ok",
    }


def _tokens(result: Mapping[str, Any], faults: list[str]) -> dict[str, int | None]:
    own = result.get
    creation = _records.mapping(own("cache_creation"), "cache_creation", faults)
    parts = [
        _json.count(creation.get(f"ephemeral_{life}_input_tokens"), "cache_write_tokens", faults)
        for life in ("5m", "1h")
    ]
    written = None if parts == [None, None] else sum(part or 0 for part in parts)
    return _calls.exclusive_buckets(
        own("uncached_input_tokens"),
        own("cache_read_input_tokens"),
        written,
        own("output_tokens"),
        None,
        faults,
        write_1h=parts[1],
    )
