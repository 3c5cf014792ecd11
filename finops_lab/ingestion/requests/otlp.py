"""Model calls out of OpenTelemetry traces: OTLP/JSON lines, as the collector's file exporter writes them.

Sources: the JSON encoding of ``opentelemetry-proto`` (``docs/specification.md``,
``examples/trace.json``): 64-bit integers are decimal strings, ids are hex, unknown fields are
ignored; the GenAI semantic conventions (``docs/gen-ai/gen-ai-spans.md``, semantic-conventions
1.41), whose input tokens include cached ones; "TraceState: Probability Sampling" of the
OpenTelemetry specification for sample weights. Dialects (older names, OpenInference, OpenLLMetry)
are in `_otlp_names`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import polars as pl

from finops_lab.errors import InputError
from finops_lab.ingestion import _fast_json, _json, _rows
from finops_lab.ingestion.registry import ReadSettings, Sample
from finops_lab.ingestion.requests import _calls, _otlp_fast, _otlp_names, _otlp_spans

__all__ = ["FORMAT", "TABLE", "matches", "read"]

FORMAT = "OTLP/JSON"
SOURCE = (
    "OTLP 1.x, the GenAI semantic conventions 1.41, OpenInference 0.1.46 and OpenLLMetry; from documentation"
)
TABLE = _calls.TABLE

_SIGNALS = ("resourceSpans", *_otlp_spans.OTHER_SIGNALS)
_START = re.compile(r'\s*\[?\s*\{\s*"(' + "|".join(_SIGNALS) + r')"\s*:')


def matches(sample: Sample) -> bool:
    """Tell whether a file holds OTLP. One without traces is refused by `read`, with its reason."""
    if sample.kind != "jsonl":
        return False
    # A line of thousands of spans is longer than any probe: its beginning has to do.
    return any(key in record for record in _json.beginnings(sample) for key in _SIGNALS) or bool(
        _START.match(_json.beginning(sample.path))
    )


def read(path: Path, settings: ReadSettings) -> pl.LazyFrame:
    """Read the model calls of a trace file as rows of the `inference_requests` contract.

    Spans of agents, tools and servers are no requests and are left out. Context is looked up by
    name, in the span and then in its resource: the names of ``settings.attributes``, then
    ``finops.<column>``, then OpenLLMetry's association properties and OpenTelemetry's own. A request
    stands for ``1 / p`` requests, where p is the sampling probability in the span's trace state, or
    else ``settings.sample_rate``. Where only a total of tokens is given, the input is what the
    output leaves of it. ``cost_reported_usd`` is ``llm.cost.total``, as written.

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
        When the file cannot be read, or holds metrics, logs or profiles and no trace.
    """
    lookups = _otlp_names.lookups(settings)
    weight = 1 / settings.sample_rate if settings.sample_rate else 1.0
    others: set[str] = set()

    def slow(document: _fast_json.Document, only: set[int] | None) -> tuple[int, list[dict[str, Any]]]:
        texts = document.value if isinstance(document.value, list) else [document.value]
        others.update(key for text in texts if isinstance(text, dict) for key in text)
        try:
            spans = _otlp_spans.spans(document)
        except ValueError as fault:
            return 1, [_rows.broken(1, document.text, str(fault))]
        rows: list[dict[str, Any]] = []
        for row, (resource, span) in enumerate(spans, 1):
            if only is not None and row not in only:
                continue
            line = document.text if len(spans) == 1 else None
            try:
                own = _otlp_spans.attributes(span)
            except ValueError as fault:
                rows.append(_rows.broken(row, line or _json.compact(span), str(fault)))
                continue
            if _otlp_spans.is_call(own):
                found = _otlp_spans.request(span, own, resource, lookups, weight)
                rows.append({**found, "source_row": row, "line": line or _json.compact(span)})
        return len(spans), rows

    def nothing() -> None:
        for key, signal in _otlp_spans.OTHER_SIGNALS.items():
            if key in others and "resourceSpans" not in others:
                raise InputError(
                    f"holds OTLP {signal} ({key}) and no traces: there are no requests to read",
                    file=path,
                    hint="export traces; metrics count the same calls again and are never added to them",
                )

    return _fast_json.frame(TABLE, path, lambda: _otlp_fast.road(settings), slow, nothing)
