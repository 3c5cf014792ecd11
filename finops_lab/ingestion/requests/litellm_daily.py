"""Requests out of LiteLLM's daily tables: ``LiteLLM_DailyUserSpend``, ``...TeamSpend`` and their like.

Source: ``litellm/proxy/schema.prisma`` of LiteLLM 1.109. ``prompt_tokens`` includes cached tokens.
Each table sums up the same calls by another key: one of them is enough, two of them count twice.
The tag table counts a call once per tag and cannot be added up at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from finops_lab.errors import InputError
from finops_lab.ingestion import _json, _rows
from finops_lab.ingestion.registry import ReadSettings, Sample
from finops_lab.ingestion.requests import _calls, _records

__all__ = ["FORMAT", "TABLE", "matches", "read"]

FORMAT = "LiteLLM daily spend"
SOURCE = "litellm/proxy/schema.prisma of LiteLLM 1.109; from documentation"
TABLE = _calls.TABLE

_TELLING = frozenset({"date", "api_key", "prompt_tokens", "spend", "api_requests"})
_DAY = 86_400_000_000
_LAST_DAY = 253_402_214_400_000_000 - _DAY  # a day that the year 9999 still ends after
_MONEY_AND_TOKENS = (
    "input_uncached_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_reported_usd",
)


def matches(sample: Sample) -> bool:
    """Tell whether a file holds a daily table of LiteLLM."""
    return any(record.keys() >= _TELLING for record in _records.beginnings(sample))


def read(path: Path, settings: ReadSettings) -> pl.LazyFrame:
    """Read a daily table as rows of the `inference_requests` contract.

    A record becomes a row for its successful requests, which carries the tokens and the spend, and
    one for its failed requests, which knows of neither; both have the record's ``source_row``.
    ``team`` is ``team_id`` and ``customer`` is ``end_user_id``, where the table has them;
    ``user_id`` is a user of the gateway, no customer. Response times are known as a sum only, so
    there is no latency.

    Parameters
    ----------
    path : pathlib.Path
        CSV, Parquet, JSON lines or JSON, plain or gzip.
    settings : ReadSettings
        Names of context columns (columns of the table, such as ``organization_id``).

    Returns
    -------
    polars.LazyFrame
        The contract without ``source_file``, and `RAW`, `REASONS`, `NOTES`. Records without
        requests, tokens and spend are left out.

    Raises
    ------
    InputError
        When the file cannot be read, or is the tag table.
    """
    return _rows.frame(TABLE, lambda: _read(path, settings))


def _read(path: Path, settings: ReadSettings) -> Iterator[dict[str, Any]]:
    for record in _records.records(path):
        if record.fault is not None:
            yield _rows.broken(record.row, record.line, record.fault)
            continue
        if "tag" in record.values:
            raise InputError(
                "rows per tag count a request once per tag",
                file=path,
                column="tag",
                hint="export LiteLLM_DailyTeamSpend or LiteLLM_DailyUserSpend",
            )
        for found in _requests(record.values, settings):
            yield {**found, "source_row": record.row, "line": record.line}


def _requests(record: Mapping[str, Any], settings: ReadSettings) -> Iterator[dict[str, Any]]:
    own = record.get
    faults: list[str] = []
    notes: list[str] = []
    provider = _json.text(own("custom_llm_provider"))
    tool = _json.text(own("mcp_namespaced_tool_name"))
    group, deployed = _json.text(own("model_group")), _json.text(own("model"))
    named = _records.lookup([record], settings.attributes.get("model", ()))
    start = _json.moment(own("date"), "ts_start", faults, epoch="ms")
    spend = _json.text(own("spend"))
    whole: dict[str, Any] = {
        **_records.context(
            [record], settings.attributes, {"team": own("team_id"), "customer": own("end_user_id")}
        ),
        "ts_start": start,
        "ts_end": None if start is None or start > _LAST_DAY else start + _DAY,
        "api_key_id": _json.text(own("api_key")),
        "provider": provider,
        "model": named or group or deployed or tool,
        "response_model": deployed if group else None,
        "operation": "tool" if tool else _calls.operation(_json.text(own("endpoint"))),
        "hosting": _calls.hosting(provider),
        "sample_weight": 1.0,
        "service_tier": _calls.tier(_records.lookup([record], settings.attributes.get("service_tier", ()))),
        **_calls.token_buckets(
            own("prompt_tokens"),
            own("cache_read_input_tokens"),
            own("cache_creation_input_tokens"),
            own("completion_tokens"),
            None,
            faults,
        ),
        "cost_reported_usd": spend,
        "reasons": faults,
        "notes": notes,
    }
    counts = {
        name: _json.count(own(name), "n_requests", faults)
        for name in ("successful_requests", "failed_requests", "api_requests")
    }
    good, bad = counts["successful_requests"] or 0, counts["failed_requests"] or 0
    every = counts["api_requests"] or 0
    if not good and not bad:
        paid = spend is not None and not _records.is_zero(spend)
        worth = paid or any(whole[name] for name in _MONEY_AND_TOKENS[:-1])
        if not every and not worth and not faults:
            return
        notes.append("status: the table counts neither successful nor failed requests, taken as successful")
        yield {**whole, "status": "ok", "n_requests": max(every, 1)}
        return
    if every and every != good + bad:
        notes.append("n_requests: api_requests is not the sum of successful and failed requests")
    if good:
        yield {**whole, "status": "ok", "n_requests": good}
    if bad:
        bare = {**whole, **dict.fromkeys(_MONEY_AND_TOKENS)} if good else whole
        # What is wrong with the record is told once.
        yield {**bare, "status": "error", "n_requests": bad, "notes": [] if good else notes}
