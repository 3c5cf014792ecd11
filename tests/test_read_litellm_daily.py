"""LiteLLM's daily tables become requests: successes with tokens and money, failures beside them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers import csv_text

from finops_lab import contracts
from finops_lab.errors import InputError
from finops_lab.ingestion import registry
from finops_lab.ingestion.registry import NOTES, REASONS, ReadSettings
from finops_lab.ingestion.requests import litellm_daily

EXAMPLE = Path(__file__).parent / "formats" / "litellm_daily.json"
BASE: dict[str, Any] = {
    "team_id": "search",
    "date": "2026-11-01",
    "api_key": "hash",
    "model": "m",
    "custom_llm_provider": "openai",
    "endpoint": "/chat/completions",
    "prompt_tokens": 100,
    "completion_tokens": 10,
    "cache_read_input_tokens": 30,
    "cache_creation_input_tokens": 0,
    "spend": 0.5,
    "api_requests": 3,
    "successful_requests": 2,
    "failed_requests": 1,
}


def rows(tmp_path: Path, *records: dict[str, Any], **settings: Any) -> list[dict[str, Any]]:
    path = tmp_path / "d.jsonl"
    path.write_text("\n".join(json.dumps(r) for r in records))
    return litellm_daily.read(path, ReadSettings(**settings)).collect().rows(named=True)


def test_golden_example() -> None:
    frame = litellm_daily.read(EXAMPLE, ReadSettings()).collect()
    # Record 6 counts nothing and is left out.
    assert frame["source_row"].to_list() == [1, 1, 2, 3, 4, 5, 7]
    assert frame["status"].to_list() == ["ok", "error", "ok", "error", "ok", "ok", "ok"]
    assert frame["n_requests"].to_list() == [20, 5, 8, 3, 1, 2, 4]
    # 0.1234567890123 + 0.000104 + 0.05 + 0.002 + 0.00001
    assert frame["cost_reported_usd"].sum() == Decimal("0.1755707890123")
    assert frame["operation"].to_list() == ["chat", "chat", "embedding", "chat", "chat", "tool", "other"]
    refused = frame.filter(pl.col(REASONS).is_not_null())
    assert refused["source_row"].to_list() == [4]
    first = frame.row(0, named=True)
    expected = {
        "ts_start": datetime(2026, 11, 1, tzinfo=UTC),
        "ts_end": datetime(2026, 11, 2, tzinfo=UTC),
        "api_key_id": "hash-example-1",
        "team": "search",
        "model": "gpt-4o",
        "response_model": "azure/gpt-4o-eu",
        "input_uncached_tokens": 5000,
        "cache_read_tokens": 4000,
        "cache_write_tokens": 1000,
        "output_tokens": 2000,
        "latency_ms": None,
        "cost_reported_usd": Decimal("0.1234567890123"),
    }
    assert {name: first[name] for name in expected} == expected
    good = frame.filter(pl.col(REASONS).is_null()).with_columns(pl.lit("f").alias("source_file"))
    assert good.select(contracts.reasons("inference_requests").alias("r"))["r"].null_count() == 6


def test_trap_tag_rows_count_a_request_once_per_tag(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"once per tag.*export LiteLLM_DailyTeamSpend"):
        rows(tmp_path, {**BASE, "tag": "a"}, {**BASE, "tag": "b"})


def test_tokens_and_money_stay_on_the_successes(tmp_path: Path) -> None:
    good, bad = rows(tmp_path, BASE)
    assert (good["n_requests"], good["input_uncached_tokens"], good["cost_reported_usd"]) == (
        2,
        70,
        Decimal("0.5"),
    )
    assert (bad["n_requests"], bad["input_uncached_tokens"], bad["cost_reported_usd"]) == (1, None, None)


def test_money_of_failures_alone_is_kept(tmp_path: Path) -> None:
    (bad,) = rows(tmp_path, {**BASE, "successful_requests": 0, "failed_requests": 3})
    assert (bad["status"], bad["cost_reported_usd"]) == ("error", Decimal("0.5"))


def test_trap_more_cached_than_prompt_is_refused_never_clamped(tmp_path: Path) -> None:
    found = rows(tmp_path, {**BASE, "cache_read_input_tokens": 101, "failed_requests": 0, "api_requests": 2})
    assert found[0]["input_uncached_tokens"] is None
    assert found[0][REASONS] is not None


def test_counts_that_do_not_add_up_are_noted(tmp_path: Path) -> None:
    good, bad = rows(tmp_path, {**BASE, "api_requests": 9})
    assert good[NOTES] == ["n_requests: api_requests is not the sum of successful and failed requests"]
    assert bad[NOTES] is None


def test_a_record_without_requests_keeps_its_money(tmp_path: Path) -> None:
    counts = dict.fromkeys(("api_requests", "successful_requests", "failed_requests"), 0)
    tokens = dict.fromkeys(("prompt_tokens", "completion_tokens", "cache_read_input_tokens"), 0)
    (row,) = rows(tmp_path, {**BASE, **counts, **tokens}, {**BASE, **counts, **tokens, "spend": "0E-18"})
    assert (row["n_requests"], row["cost_reported_usd"]) == (1, Decimal("0.5"))
    assert row[NOTES] is not None


def test_end_users_are_customers_and_users_are_not(tmp_path: Path) -> None:
    found = rows(tmp_path, {**BASE, "end_user_id": "c-7"}, {**BASE, "user_id": "u-1"})
    assert [row["customer"] for row in found] == ["c-7", "c-7", None, None]


def test_context_of_settings(tmp_path: Path) -> None:
    found = rows(tmp_path, {**BASE, "organization_id": "org"}, attributes={"team": ("organization_id",)})
    assert {row["team"] for row in found} == {"org"}


def test_csv_reads_like_json(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text(csv_text([BASE]))
    assert [r.FORMAT for r in registry.readers() if r.matches(registry.inspect(path))] == [
        "LiteLLM daily spend"
    ]
    read = litellm_daily.read(path, ReadSettings()).drop("_raw").collect().rows()
    path.write_text(json.dumps([BASE]))
    assert read == litellm_daily.read(path, ReadSettings()).drop("_raw").collect().rows()


def test_amounts_that_are_no_numbers_are_told(tmp_path: Path) -> None:
    found = rows(tmp_path, {**BASE, "spend": "=1+1", "date": "yesterday"})
    assert found[0][REASONS] == [
        "ts_start: 'yesterday' is not a date and time",
        "cost_reported_usd: '=1+1' is not a number",
    ]


def test_detected_by_no_other_reader() -> None:
    sample = registry.inspect(EXAMPLE)
    assert [r.FORMAT for r in registry.readers() if r.matches(sample)] == ["LiteLLM daily spend"]
