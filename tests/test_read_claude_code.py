"""Claude Code's sessions become requests: one per answer, however often it was written."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from finops_lab import contracts
from finops_lab.ingestion import registry
from finops_lab.ingestion.registry import NOTES, REASONS, ReadSettings
from finops_lab.ingestion.requests import claude_code

EXAMPLE = Path(__file__).parent / "formats" / "claude_code.jsonl"


def answer(output: int, moment: str, **message: Any) -> dict[str, Any]:
    usage = {"input_tokens": 3, "cache_read_input_tokens": 22137, "output_tokens": output}
    said = {"id": "msg_1", "model": "claude-opus-5", "usage": usage, **message}
    return {"type": "assistant", "timestamp": moment, "sessionId": "s", "message": said}


def rows(tmp_path: Path, *records: dict[str, Any], **settings: Any) -> list[dict[str, Any]]:
    path = tmp_path / "c.jsonl"
    path.write_text("\n".join(json.dumps(r) for r in records))
    return claude_code.read(path, ReadSettings(**settings)).collect().rows(named=True)


def test_golden_example() -> None:
    frame = claude_code.read(EXAMPLE, ReadSettings()).with_columns(pl.lit("f").alias("source_file")).collect()
    assert frame["source_row"].to_list() == [4, 6]
    assert frame[REASONS].null_count() == 2
    assert frame.select(contracts.reasons("inference_requests").alias("r"))["r"].null_count() == 2
    assert frame["cost_reported_usd"].to_list() == [None, Decimal("0.00008")]
    expected = {
        "ts_start": datetime(2026, 11, 1, 10, 0, 2, tzinfo=UTC),
        "request_id": "msg_example_1",
        "session_id": "session-example",
        "provider": "anthropic",
        "model": "claude-opus-5",
        "input_uncached_tokens": 3,
        "cache_read_tokens": 22137,
        "cache_write_tokens": 2285,
        "cache_write_1h_tokens": 2000,
        "output_tokens": 159,
        "service_tier": "standard",
        "latency_ms": None,
    }
    first = frame.row(0, named=True)
    assert {name: first[name] for name in expected} == expected


def test_trap_streamed_answers_are_written_several_times_and_the_last_counts(tmp_path: Path) -> None:
    (row,) = rows(
        tmp_path,
        {**answer(9, "2026-11-01T10:00:00Z"), "requestId": "req_1"},
        answer(9, "2026-11-01T10:00:01Z"),
        answer(159, "2026-11-01T10:00:02Z"),
    )
    assert (row["output_tokens"], row["cache_read_tokens"], row["source_row"]) == (159, 22137, 3)
    assert row["ts_start"] == datetime(2026, 11, 1, 10, tzinfo=UTC)
    assert row[NOTES] == ["request_id: written more than once while the answer streamed, the last counts"]


def test_answers_without_an_id_are_all_kept(tmp_path: Path) -> None:
    found = rows(tmp_path, *(answer(n, "2026-11-01T10:00:00Z", id=None) for n in (1, 1)))
    assert [row["output_tokens"] for row in found] == [1, 1]


def test_messages_the_client_made_up_are_no_calls(tmp_path: Path) -> None:
    made_up = answer(0, "2026-11-01T10:00:00Z", id="x", model="<synthetic>")
    (row,) = rows(tmp_path, answer(1, "2026-11-01T10:00:00Z"), made_up)
    assert row["model"] == "claude-opus-5"
    assert row[NOTES] == ["model: messages that the client made up itself are no calls, left out"]


def test_other_models_have_no_known_provider(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, answer(1, "2026-11-01T10:00:00Z", model="kimi-k2.5"))
    assert (row["provider"], row["hosting"]) == (None, None)


def test_context_of_settings(tmp_path: Path) -> None:
    record = {**answer(1, "2026-11-01T10:00:00Z"), "cwd": "/work/search"}
    (row,) = rows(tmp_path, record, attributes={"team": ("cwd",)})
    assert row["team"] == "/work/search"


def test_counts_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, answer(-5, "yesterday"))
    assert row[REASONS] == ["ts_start: 'yesterday' is not a date and time", "output_tokens: -5 is negative"]


def test_detected_by_no_other_reader() -> None:
    sample = registry.inspect(EXAMPLE)
    assert [r.FORMAT for r in registry.readers() if r.matches(sample)] == ["Claude Code session"]
