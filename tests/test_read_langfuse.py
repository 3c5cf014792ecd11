"""Langfuse observations become requests: calls only, exclusive buckets, doubled tokens refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finops_lab import contracts
from finops_lab.errors import InputError
from finops_lab.ingestion import registry
from finops_lab.ingestion.registry import NOTES, REASONS, ReadSettings
from finops_lab.ingestion.requests import langfuse

FORMATS = Path(__file__).parent / "formats"
EXAMPLE = FORMATS / "langfuse_observations.jsonl"
EXAMPLE_CSV = FORMATS / "langfuse_observations.csv"
BASE: dict[str, Any] = {
    "id": "o",
    "trace_id": "t",
    "type": "GENERATION",
    "parent_observation_id": "",
    "start_time": "2026-11-01 10:00:00.000000",
    "end_time": "2026-11-01 10:00:02.000000",
    "level": "DEFAULT",
    "status_message": "",
    "provided_model_name": "m",
    "metadata": {},
    "usage_details": {"input": 10, "output": 5, "total": 15},
    "cost_details": {"total": 0.5},
    "total_cost": 0.5,
    "user_id": "",
}


def rows(tmp_path: Path, *records: dict[str, Any], **settings: Any) -> list[dict[str, Any]]:
    path = tmp_path / "l.jsonl"
    path.write_text("\n".join(json.dumps(r) for r in records))
    return langfuse.read(path, ReadSettings(**settings)).collect().rows(named=True)


def one(tmp_path: Path, changes: dict[str, Any], **settings: Any) -> dict[str, Any]:
    (row,) = rows(tmp_path, {k: v for k, v in {**BASE, **changes}.items() if v != "ABSENT"}, **settings)
    return row


def test_golden_example() -> None:
    frame = langfuse.read(EXAMPLE, ReadSettings()).collect()
    # Record 1 is a trace, record 2 an agent that repeats the tokens of its calls.
    assert frame["source_row"].to_list() == [3, 4, 5, 6, 7, 8]
    assert frame["operation"].to_list() == ["chat"] * 5 + ["embedding"]
    assert frame["status"].to_list() == ["ok", "ok", "timeout", "pending", "ok", "ok"]
    assert frame.filter(pl.col(REASONS).is_not_null())["request_id"].to_list() == ["gen-2", "gen-5"]
    # 0.005253 + 0.4 + 0.3 + 0.000001; the failed call's zero had no price.
    assert frame["cost_reported_usd"].sum() == Decimal("0.705254")
    first = frame.row(0, named=True)
    expected = {
        "ts_start": datetime(2026, 11, 1, 10, 0, 0, 500000, tzinfo=UTC),
        "ts_end": datetime(2026, 11, 1, 10, 0, 3, tzinfo=UTC),
        "request_id": "gen-1",
        "trace_id": "trace-1",
        "parent_id": "agent-1",
        "session_id": "session-1",
        "provider": "openai",
        "model": "gpt-5",
        "hosting": "api",
        "team": "search",
        "feature": "chat",
        "customer": "customer-7",
        "environment": "production",
        "input_uncached_tokens": 100,
        "cache_read_tokens": 1024,
        "cache_write_tokens": None,
        "output_tokens": 500,
        "reasoning_tokens": 450,
        "service_tier": "standard",
        "latency_ms": 2500.0,
        "ttft_ms": 400.0,
        "cost_reported_usd": Decimal("0.005253"),
    }
    assert {name: first[name] for name in expected} == expected
    good = frame.filter(pl.col(REASONS).is_null()).with_columns(pl.lit("f").alias("source_file"))
    assert good.select(contracts.reasons("inference_requests").alias("r"))["r"].null_count() == 4


def test_golden_csv_example() -> None:
    frame = langfuse.read(EXAMPLE_CSV, ReadSettings()).collect()
    assert frame["source_row"].to_list() == [1, 3]
    expected = {
        "team": "ads",
        "feature": "summary",
        "customer": "customer-8",
        "session_id": "session-2",
        "input_uncached_tokens": 5,
        "cache_read_tokens": 128955,
        "cache_write_tokens": 1253,
        "cache_write_1h_tokens": 1000,
        "output_tokens": 810,
        "cost_reported_usd": Decimal("0.06"),
        REASONS: None,
    }
    first, second = frame.rows(named=True)
    assert {name: first[name] for name in expected} == expected
    assert (second["cost_reported_usd"], second["parent_id"]) == (None, None)


def test_parquet_reads_like_csv(tmp_path: Path) -> None:
    path = tmp_path / "l.parquet"
    table = pl.read_csv(EXAMPLE_CSV, infer_schema=False)
    usage = [{"key": "input", "value": 5}, {"key": "output", "value": 6}]
    table.with_columns(
        pl.col("start_time", "end_time", "completion_start_time").str.to_datetime(time_unit="us"),
        pl.Series("usage_details", [usage, [], usage]),
        pl.col("tags").str.json_decode(pl.List(pl.String)),
    ).write_parquet(path)
    assert [r.FORMAT for r in registry.readers() if r.matches(registry.inspect(path))] == [
        "Langfuse observations"
    ]
    first, second = langfuse.read(path, ReadSettings()).collect().rows(named=True)
    assert (first["input_uncached_tokens"], first["output_tokens"], first["team"]) == (5, 6, "ads")
    assert first["ts_start"] == datetime(2026, 11, 2, 9, tzinfo=UTC)
    assert (first["latency_ms"], first["ttft_ms"]) == (1500.0, 250.0)
    assert (first[REASONS], second[REASONS]) == (None, None)


def test_api_page_in_camel_case(tmp_path: Path) -> None:
    observation = {
        "id": "o",
        "traceId": "t",
        "type": "GENERATION",
        "startTime": "2026-11-01T10:00:00.000Z",
        "endTime": "2026-11-01T10:00:02.000Z",
        "completionStartTime": "2026-11-01T10:00:00.500Z",
        "parentObservationId": "p",
        "level": "DEFAULT",
        "providedModelName": "gpt-5",
        "usageDetails": {"input": 10, "output": 5, "total": 15},
        "costDetails": {"total": 0.25},
        "totalCost": 0.25,
        "userId": "c-7",
        "sessionId": "s",
        "tags": ["team:search"],
    }
    path = tmp_path / "l.json"
    path.write_text(json.dumps({"data": [observation], "meta": {"cursor": None}}))
    assert [r.FORMAT for r in registry.readers() if r.matches(registry.inspect(path))] == [
        "Langfuse observations"
    ]
    (row,) = langfuse.read(path, ReadSettings()).collect().rows(named=True)
    expected = {
        "trace_id": "t",
        "parent_id": "p",
        "model": "gpt-5",
        "customer": "c-7",
        "session_id": "s",
        "team": "search",
        "input_uncached_tokens": 10,
        "ttft_ms": 500.0,
        "cost_reported_usd": Decimal("0.25"),
        NOTES: None,
    }
    assert {name: row[name] for name in expected} == expected


@pytest.mark.parametrize("kind", ["SPAN", "EVENT", "AGENT", "TOOL", "CHAIN", "RETRIEVER"])
def test_trap_observations_around_calls_are_no_calls(tmp_path: Path, kind: str) -> None:
    found = rows(tmp_path, {**BASE, "type": kind}, BASE)
    assert [row["source_row"] for row in found] == [2]
    assert found[0][NOTES] == [
        "usage_details: observations other than generations and embeddings repeat tokens, left out"
    ]
    (quiet,) = rows(tmp_path, BASE, {**BASE, "type": kind, "usage_details": {}})
    assert quiet[NOTES] is None


def test_trap_usage_details_are_exclusive_buckets(tmp_path: Path) -> None:
    usage = {
        "input": 5,
        "cache_read_input_tokens": 900,
        "cache_creation_input_tokens": 80,
        "output": 7,
        "total": 992,
    }
    row = one(tmp_path, {"usage_details": usage})
    assert (row["input_uncached_tokens"], row["cache_read_tokens"], row["cache_write_tokens"]) == (5, 900, 80)
    assert row[REASONS] is None


def test_trap_reasoning_stands_beside_the_output_in_langfuse(tmp_path: Path) -> None:
    row = one(
        tmp_path, {"usage_details": {"input": 1, "output": 50, "output_reasoning_tokens": 450, "total": 501}}
    )
    assert (row["output_tokens"], row["reasoning_tokens"], row[REASONS]) == (500, 450, None)


def test_trap_reasoning_already_in_the_output_is_refused(tmp_path: Path) -> None:
    (reason,) = one(
        tmp_path, {"usage_details": {"input": 1, "output": 500, "output_reasoning_tokens": 450, "total": 501}}
    )[REASONS]
    assert "add up to 951, their total is 501" in reason


def test_trap_issue_12306_cached_tokens_counted_twice(tmp_path: Path) -> None:
    usage = {
        "input": 130213,
        "input_cache_read": 128955,
        "input_cache_creation": 1253,
        "output": 10,
        "total": 260431,
    }
    span = {"attributes": {"gen_ai.usage.input_tokens": "130213"}}
    (reason,) = one(tmp_path, {"usage_details": usage, "metadata": span})[REASONS]
    assert reason.endswith("counted twice")
    # What later versions of Langfuse make of the same span.
    right = {**usage, "input": 5, "total": 130223}
    assert one(tmp_path, {"usage_details": right, "metadata": span})[REASONS] is None


def test_trap_a_total_smaller_than_its_buckets_is_refused_never_clamped(tmp_path: Path) -> None:
    usage = {"input": 117231, "cache_read_input_tokens": 115584, "output": 225, "total": 117456}
    row = one(tmp_path, {"usage_details": usage})
    assert row["input_uncached_tokens"] == 117231
    assert row[REASONS] == [
        "input_uncached_tokens: the buckets add up to 233040, their total is 117456:"
        " cached or reasoning tokens are counted twice"
    ]


def test_trap_older_exports_give_durations_in_milliseconds(tmp_path: Path) -> None:
    for latency, first in ((2000, 250), (2, 0.25)):
        row = one(tmp_path, {"latency": latency, "time_to_first_token": first})
        assert (row["latency_ms"], row["ttft_ms"]) == (2000.0, 250.0)


def test_trap_calls_in_progress_are_pending(tmp_path: Path) -> None:
    assert one(tmp_path, {"end_time": None})["status"] == "pending"


@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({"level": "ERROR", "status_message": "RateLimitError: slow down"}, "error", "RateLimitError"),
        ({"level": "ERROR", "status_message": "The request timed out."}, "timeout", None),
        ({"level": "ERROR"}, "error", None),
        ({"level": "WARNING"}, "ok", None),
    ],
)
def test_level_error_is_the_error_flag(
    tmp_path: Path, changes: dict[str, Any], status: str, error: str | None
) -> None:
    row = one(tmp_path, changes)
    assert (row["status"], row["error_type"], row[REASONS]) == (status, error, None)


def test_an_unknown_level_is_told_and_a_missing_one_noted(tmp_path: Path) -> None:
    assert one(tmp_path, {"level": "FATAL"})[REASONS] == ["status: level 'FATAL' is unknown"]
    assert one(tmp_path, {"level": "ABSENT"})[NOTES] == ["status: the level was not exported, taken as ok"]


def test_trap_zero_cost_without_details_is_unknown(tmp_path: Path) -> None:
    unknown = one(tmp_path, {"total_cost": 0, "cost_details": {}})
    assert (unknown["cost_reported_usd"], len(unknown[NOTES])) == (None, 1)
    assert one(tmp_path, {"total_cost": 0, "cost_details": {"input": 0}})["cost_reported_usd"] == 0
    assert one(tmp_path, {"total_cost": None})["cost_reported_usd"] == Decimal("0.5")


def test_money_never_passes_through_floats(tmp_path: Path) -> None:
    path = tmp_path / "l.jsonl"
    path.write_text(json.dumps(BASE).replace('"total_cost": 0.5', '"total_cost": 0.123456789012345678'))
    assert langfuse.read(path, ReadSettings()).collect()["cost_reported_usd"][0] == Decimal(
        "0.123456789012345678"
    )


def test_traces_of_the_same_file_are_joined_wherever_they_stand(tmp_path: Path) -> None:
    bare = {k: v for k, v in BASE.items() if k != "user_id"}
    trace = {
        "id": "t",
        "timestamp": "2026-11-01",
        "user_id": "c-7",
        "session_id": "s",
        "tags": ["team:search"],
    }
    joined, alone = rows(tmp_path, bare, {**bare, "trace_id": "other"}, trace)
    assert (joined["customer"], joined["session_id"], joined["team"]) == ("c-7", "s", "search")
    assert (alone["customer"], joined[NOTES]) == (None, None)
    assert alone[NOTES] == [
        "session_id: user, session and tags stand in the traces file; export enriched observations"
    ]


def test_older_usage_in_tokens_and_in_other_units(tmp_path: Path) -> None:
    tokens = one(tmp_path, {"usage_details": "ABSENT", "usage": {"input": 3, "output": 4, "unit": "TOKENS"}})
    assert (tokens["input_uncached_tokens"], tokens["output_tokens"]) == (3, 4)
    images = one(tmp_path, {"usage_details": "ABSENT", "usage": {"total": 2, "unit": "IMAGES"}})
    assert (images["other_units"], images["other_unit"], images["output_tokens"]) == (2.0, "images", None)


def test_keys_without_a_column_and_with_a_price_of_their_own_are_noted(tmp_path: Path) -> None:
    row = one(
        tmp_path,
        {"usage_details": {"input": 1, "input_audio_tokens": 9, "gizmos": 2, "web_search_requests": 3}},
    )
    assert (row["input_uncached_tokens"], row["other_units"], row["other_unit"]) == (10, 3.0, "searches")
    assert row[NOTES] == [
        "usage_details: 'input_audio_tokens' has a price of its own, counted as input",
        "usage_details: no column for 'gizmos', left out",
    ]


def test_context_of_settings_comes_first(tmp_path: Path) -> None:
    changes = {"metadata": {"squad": "a", "team": "b", "deployment": "gpt-x"}, "user_id": "u"}
    attributes = {"team": ("squad",), "model": ("deployment",)}
    row = one(tmp_path, changes, attributes=attributes, sample_rate=0.1)
    assert (row["team"], row["model"], row["customer"], row["sample_weight"]) == ("a", "gpt-x", "u", 10.0)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"provided_model_name": ""}, "model: missing, export the field group 'model'"),
        ({"usage_details": '{"input":'}, "usage_details: is not JSON (Expecting value at character 10)"),
        ({"usage_details": {"input": -1}}, "usage_details.input: -1 is negative"),
        ({"type": None}, "type: missing, so it is no observation"),
        ({"start_time": "soon"}, "ts_start: 'soon' is not a date and time"),
        ({"total_cost": "=cmd|'/c calc'!A1"}, "cost_reported_usd: '=cmd|'/c calc'!A1' is not a number"),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    assert one(tmp_path, changes)[REASONS] == [reason]


def test_a_broken_line_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "l.jsonl"
    path.write_text(json.dumps(BASE) + '\n{"id": \n')
    frame = langfuse.read(path, ReadSettings()).collect()
    assert frame[REASONS].null_count() == 1
    assert frame["source_row"].to_list() == [1, 2]


def test_a_ragged_csv_is_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    path.write_text(EXAMPLE_CSV.read_text().replace(",DEFAULT,,", ",DEFAULT,a,b,c,", 1))
    with pytest.raises(InputError, match=r"row 1: the row has more fields"):
        langfuse.read(path, ReadSettings()).collect()


@pytest.mark.parametrize("path", [EXAMPLE, EXAMPLE_CSV])
def test_detected_by_no_other_reader(path: Path) -> None:
    sample = registry.inspect(path)
    assert [r.FORMAT for r in registry.readers() if r.matches(sample)] == ["Langfuse observations"]


COUNT = st.integers(min_value=0, max_value=10**12)


@given(counts=st.tuples(COUNT, COUNT, COUNT, COUNT, COUNT))
def test_tokens_are_conserved(tmp_path_factory: pytest.TempPathFactory, counts: tuple[int, ...]) -> None:
    keys = ("input", "input_cached_tokens", "input_cache_creation", "output", "output_reasoning_tokens")
    usage = {**dict(zip(keys, counts, strict=True)), "total": sum(counts)}
    row = one(tmp_path_factory.mktemp("usage"), {"usage_details": usage})
    buckets = ("input_uncached_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")
    assert row[REASONS] is None
    assert sum(row[name] for name in buckets) == sum(counts)
