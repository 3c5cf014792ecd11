"""Helicone requests become requests: its own status codes, exclusive tokens, money to the last digit."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from finops_lab import contracts
from finops_lab.errors import InputError
from finops_lab.ingestion import registry
from finops_lab.ingestion.registry import NOTES, REASONS, ReadSettings
from finops_lab.ingestion.requests import helicone

EXAMPLE = Path(__file__).parent / "formats" / "helicone.jsonl"
BASE: dict[str, Any] = {
    "request_id": "r",
    "request_created_at": "2026-11-01T10:00:00Z",
    "response_created_at": "2026-11-01T10:00:01Z",
    "response_status": 200,
    "provider": "OPENAI",
    "request_model": "gpt-4o",
    "request_properties": {},
    "delay_ms": 1000,
    "prompt_tokens": 10,
    "completion_tokens": 5,
    "cost": 0.001,
}
# The columns of the exporter's CSV: it knows a model and a latency that the API does not give.
CSV_COLUMNS = (
    "response_id,response_created_at,response_status,request_created_at,request_body,request_properties,"
    "request_user_id,model,prompt_tokens,completion_tokens,latency,cost"
)


def one(tmp_path: Path, changes: dict[str, Any], **settings: Any) -> dict[str, Any]:
    path = tmp_path / "h.jsonl"
    path.write_text(json.dumps({k: v for k, v in {**BASE, **changes}.items() if v != "ABSENT"}))
    (row,) = helicone.read(path, ReadSettings(**settings)).collect().rows(named=True)
    return row


def test_golden_example() -> None:
    frame = helicone.read(EXAMPLE, ReadSettings()).collect()
    states = ["ok", "ok", "error", "timeout", "pending", "cancelled", "ok"]
    assert frame["status"].to_list() == states
    # 0.0035301 + 0 + 0 + 0.000225 + 0.1
    assert frame["cost_reported_usd"].sum() == Decimal("0.1037551")
    assert frame["input_uncached_tokens"].sum() == 100 + 100 + 0 + 15 + 10
    assert frame["cache_read_tokens"].sum() == 1024
    assert frame["output_tokens"].sum() == 440
    first = frame.row(0, named=True)
    expected = {
        "ts_start": datetime(2026, 11, 1, 10, tzinfo=UTC),
        "ts_end": datetime(2026, 11, 1, 10, 0, 2, 500000, tzinfo=UTC),
        "request_id": "req-example-1",
        "session_id": "session-1",
        "provider": "openai",
        "model": "gpt-4o",
        "response_model": "gpt-4o-2024-08-06",
        "operation": "chat",
        "hosting": "api",
        "team": "search",
        "customer": "customer-7",
        # The property is spelled "Environment".
        "environment": "production",
        "feature": None,
        "latency_ms": 2500.0,
        "ttft_ms": 310.0,
        "served_from_cache": False,
    }
    assert {name: first[name] for name in expected} == expected
    good = frame.filter(pl.col(REASONS).is_null()).with_columns(pl.lit("f").alias("source_file"))
    assert good.select(contracts.reasons("inference_requests").alias("r"))["r"].null_count() == 6


def test_trap_prompt_tokens_exclude_cached_ones(tmp_path: Path) -> None:
    row = one(
        tmp_path, {"prompt_tokens": 5, "prompt_cache_read_tokens": 900, "prompt_cache_write_tokens": 80}
    )
    assert (row["input_uncached_tokens"], row["cache_read_tokens"], row["cache_write_tokens"]) == (5, 900, 80)
    assert row[REASONS] is None


def test_trap_answers_from_the_cache_keep_tokens_and_cost_nothing(tmp_path: Path) -> None:
    hit = one(tmp_path, {"cache_reference_id": "11111111-1111-4111-8111-111111111111", "cost": 0})
    assert (hit["served_from_cache"], hit["input_uncached_tokens"]) == (True, 10)
    assert hit["cost_reported_usd"] == 0
    assert one(tmp_path, {"cached": True})["served_from_cache"] is True
    assert one(tmp_path, {})["served_from_cache"] is None


@pytest.mark.parametrize(
    ("status", "expected", "error"),
    [
        (200, "ok", None),
        ("201", "ok", None),
        (429, "error", "429"),
        (408, "timeout", "408"),
        (504, "timeout", "504"),
        (499, "cancelled", "499"),
        (-1, "timeout", "timeout"),
        (-2, "pending", None),
        (-3, "cancelled", None),
        (-4, "error", "threat"),
    ],
)
def test_status(tmp_path: Path, status: Any, expected: str, error: str | None) -> None:
    row = one(tmp_path, {"response_status": status})
    assert (row["status"], row["error_type"], row[REASONS]) == (expected, error, None)


@pytest.mark.parametrize("status", ["fine", 42, None, "", 10**30])
def test_what_is_no_status_is_told(tmp_path: Path, status: Any) -> None:
    (reason,) = one(tmp_path, {"response_status": status})[REASONS]
    assert reason.startswith("status:")


def test_trap_pending_requests_have_no_end(tmp_path: Path) -> None:
    row = one(tmp_path, {"response_status": -2, "response_created_at": "1970-01-01 00:00:00"})
    assert (row["status"], row["ts_end"], row[REASONS]) == ("pending", None, None)


def test_trap_cost_of_the_request_table_is_in_billionths(tmp_path: Path) -> None:
    table = {"response_status": "ABSENT", "status": 200, "cost": 3530100, "delay_ms": "ABSENT", "latency": 7}
    row = one(tmp_path, table)
    assert row["cost_reported_usd"] == Decimal("0.0035301")
    assert row[NOTES] == ["cost_reported_usd: kept in billionths of a USD, divided by 1000000000"]
    assert row["latency_ms"] == 7.0
    # An export speaks of USD, whole or not.
    assert one(tmp_path, {"cost": 2})["cost_reported_usd"] == 2


def test_trap_blank_cost_is_not_zero(tmp_path: Path) -> None:
    assert one(tmp_path, {"cost": None})["cost_reported_usd"] is None


def test_money_never_passes_through_floats(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    path.write_text(json.dumps(BASE).replace('"cost": 0.001', '"cost": 0.123456789012345678'))
    assert helicone.read(path, ReadSettings()).collect()["cost_reported_usd"][0] == Decimal(
        "0.123456789012345678"
    )


def test_audio_tokens_stand_beside_the_text_and_are_added(tmp_path: Path) -> None:
    row = one(tmp_path, {"prompt_audio_tokens": 3, "completion_audio_tokens": 2})
    assert (row["input_uncached_tokens"], row["output_tokens"], len(row[NOTES])) == (13, 7, 2)


def test_context_of_settings_comes_first(tmp_path: Path) -> None:
    changes = {"request_properties": {"team": "b", "squad": "a", "tenant": "t"}, "request_user_id": "u"}
    attributes = {"team": ("squad",), "customer": ("tenant",)}
    row = one(tmp_path, changes, attributes=attributes, sample_rate=0.5)
    assert (row["team"], row["customer"], row["sample_weight"]) == ("a", "t", 2.0)


def test_trap_the_exporters_csv_doubles_quotes_and_leaves_the_model_blank(tmp_path: Path) -> None:
    path = tmp_path / "h.csv"
    body = '"{""""model"""":""""gpt-4o""""}"'
    properties = '"{""""team"""":""""search"""",""""note"""":""""""""}"'
    line = (
        f'"resp","2026-11-01 10:00:01","200","2026-11-01 10:00:00",{body},{properties},"c-7",,"10","5",,"0.5"'
    )
    path.write_text(f"{CSV_COLUMNS}\n{line}\n{line.replace(body, '')}\n")
    assert [r.FORMAT for r in registry.readers() if r.matches(registry.inspect(path))] == [
        "Helicone requests"
    ]
    known, unknown = helicone.read(path, ReadSettings()).collect().rows(named=True)
    assert (known["model"], known["team"], known["customer"]) == ("gpt-4o", "search", "c-7")
    assert (known["cost_reported_usd"], known[REASONS]) == (Decimal("0.5"), None)
    assert unknown[REASONS] == [
        "model: missing, export as JSON lines (the CSV export leaves the model blank)"
    ]


def test_a_json_array_reads_like_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "h.json"
    path.write_text("[\n" + ",\n".join(EXAMPLE.read_text().splitlines()) + "\n]\n")
    assert [r.FORMAT for r in registry.readers() if r.matches(registry.inspect(path))] == [
        "Helicone requests"
    ]
    columns = pl.exclude("_raw")
    read = helicone.read(path, ReadSettings()).select(columns).collect()
    assert read.equals(helicone.read(EXAMPLE, ReadSettings()).select(columns).collect())


def test_an_empty_file_is_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    path.write_text("")
    with pytest.raises(InputError, match="is empty"):
        helicone.read(path, ReadSettings()).collect()


def test_detected_by_no_other_reader() -> None:
    sample = registry.inspect(EXAMPLE)
    assert [r.FORMAT for r in registry.readers() if r.matches(sample)] == ["Helicone requests"]
