"""Requests out of OpenAI's organization usage pages: ``/v1/organization/usage/...``.

Source: ``types/admin/organization/usage_completions_response.py`` of openai-python 3.54.
``input_tokens`` includes what was read from and written to the cache; ``input_uncached_tokens``,
where it is there, excludes both. Dimensions are null unless the report was grouped by them.
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

FORMAT = "OpenAI usage"
SOURCE = "usage_completions_response.py of openai-python 3.54; from documentation"
TABLE = _calls.TABLE

_OBJECT = re.compile(r'"object"\s*:\s*"organization\.usage\.\w+\.result"')
# Per result: the operation, the count of calls, the count that is billed, its unit, the tool's name.
_RESULTS: Mapping[str, tuple[str, str, str | None, str | None, str | None]] = {
    "completions": ("chat", "num_model_requests", None, None, None),
    "embeddings": ("embedding", "num_model_requests", None, None, None),
    "moderations": ("other", "num_model_requests", None, None, None),
    "images": ("image", "num_model_requests", "images", "images", None),
    "audio_speeches": ("audio", "num_model_requests", "characters", "characters", None),
    "audio_transcriptions": ("audio", "num_model_requests", "seconds", "seconds", None),
    "web_searches": ("tool", "num_requests", "num_requests", "searches", "web_search"),
    "file_searches": ("tool", "num_requests", "num_requests", "searches", "file_search"),
    "code_interpreter_sessions": ("tool", "num_sessions", "num_sessions", "sessions", "code_interpreter"),
}
_MODALITIES = (
    "input_audio_tokens",
    "input_image_tokens",
    "input_cached_audio_tokens",
    "input_cached_image_tokens",
    "output_audio_tokens",
    "output_image_tokens",
)


def matches(sample: Sample) -> bool:
    """Tell whether a file holds OpenAI usage pages."""
    return sample.kind == "jsonl" and bool(_OBJECT.search(_json.beginning(sample.path)))


def read(path: Path, settings: ReadSettings) -> pl.LazyFrame:
    """Read usage pages as rows of the `inference_requests` contract.

    A row stands for ``n_requests`` calls of one bucket, all of them successful: the report counts
    no failed calls. A row without a model is refused, unless it counts calls of a tool of OpenAI's,
    whose name is then the model. ``batch`` is the service tier "batch". Context is looked up in the
    result by the names of ``settings.attributes`` (such as ``project_id``); ``user_id`` is a member
    of the organization, never a customer.

    Parameters
    ----------
    path : pathlib.Path
        One page, an array of pages, or a page per line; plain or gzip.
    settings : ReadSettings
        Names of context columns.

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
    return _rows.frame(TABLE, lambda: _usage_pages.rows(path, "start_time", "end_time", request))


def _request(
    settings: ReadSettings, result: Mapping[str, Any], faults: list[str], notes: list[str]
) -> dict[str, Any]:
    own = result.get
    kind = (_json.text(own("object")) or "").removeprefix("organization.usage.").removesuffix(".result")
    if kind not in _RESULTS:
        faults.append(f"object: '{_json.short(own('object'))}' counts no calls")
        return {}
    operation, counted, billed, unit, tool = _RESULTS[kind]
    model = _records.lookup([result], settings.attributes.get("model", ())) or _json.text(own("model"))
    if model is None and tool is not None and "model" not in result:
        model = tool
    if model is None:
        faults.append("model: missing, export the usage with group_by=model")
    if any(_json.count(own(name), name, []) for name in _MODALITIES):
        notes.append("tokens: audio and image tokens are among the input and output, at prices of their own")
    units = None if billed is None else _json.count(own(billed), "other_units", faults)
    return {
        **_records.context([result], settings.attributes, {}),
        "project_id": _json.text(own("project_id")),
        "api_key_id": _json.text(own("api_key_id")),
        "provider": "openai",
        "model": model,
        "operation": operation,
        "hosting": "api",
        "n_requests": _json.count(own(counted), "n_requests", faults),
        "sample_weight": 1.0,
        **_tokens(result, faults),
        "other_units": None if units is None else float(units),
        "other_unit": unit,
        "service_tier": "batch" if own("batch") is True else _calls.tier(own("service_tier")),
        "status": "ok",
    }


def _tokens(result: Mapping[str, Any], faults: list[str]) -> dict[str, int | None]:
    own = result.get
    read, written = own("input_cached_tokens"), own("input_cache_write_tokens")
    found = _calls.token_buckets(own("input_tokens"), read, written, own("output_tokens"), None, faults)
    said = _json.count(own("input_uncached_tokens"), "input_uncached_tokens", faults)
    left = found["input_uncached_tokens"]
    if said is not None and left is not None and said != left:
        faults.append(
            f"input_uncached_tokens: the report says {said}, the input without its cached tokens is {left}"
        )
    return found
