"""LiteLLM spend logs become requests: tokens out of metadata, money to the last digit."""

from __future__ import annotations

import gzip
import json
import shutil
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finops_lab import contracts
from finops_lab.ingestion import _fast_json, _fast_values, registry
from finops_lab.ingestion.registry import NOTES, RAW, REASONS, ReadSettings
from finops_lab.ingestion.requests import _litellm_fast, litellm

EXAMPLE = Path(__file__).parent / "data" / "telemetry" / "spend_logs.jsonl"
TRAPS = Path(__file__).parent / "formats" / "litellm_spend_logs.jsonl"
FIXTURE = Path(__file__).parents[2] / "shared" / "data" / "billing" / "llm_vendor" / "litellm_spend.json"
BASE: dict[str, Any] = {
    "request_id": "r",
    "call_type": "completion",
    "startTime": "2026-08-03T11:00:00Z",
    "endTime": "2026-08-03T11:00:02Z",
    "model": "m",
    "custom_llm_provider": "openai",
    "spend": 0.5,
    "prompt_tokens": 10,
    "completion_tokens": 5,
    "status": "success",
}


def rows(tmp_path: Path, *lines: str, **settings: Any) -> list[dict[str, Any]]:
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return litellm.read(path, ReadSettings(**settings)).collect().rows(named=True)


def one(tmp_path: Path, changes: dict[str, Any], **settings: Any) -> dict[str, Any]:
    record = {k: v for k, v in {**BASE, **changes}.items() if v != "ABSENT"}
    (row,) = rows(tmp_path, json.dumps(record), **settings)
    return row


def test_frame_has_the_contract_in_order_and_in_its_dtypes() -> None:
    schema = dict(litellm.read(EXAMPLE, ReadSettings()).collect_schema())
    wanted = {n: t for n, t in contracts.dtypes("inference_requests").items() if n != "source_file"}
    assert list(schema) == [*wanted, RAW, REASONS, NOTES]
    assert {name: schema[name] for name in wanted} == wanted


def test_golden_example_keeps_every_contract_rule() -> None:
    frame = litellm.read(EXAMPLE, ReadSettings()).with_columns(pl.lit("f").alias("source_file")).collect()
    broken = frame.select(contracts.reasons("inference_requests").alias("r"))["r"]
    assert broken.null_count() == frame[REASONS].null_count() == 4
    first, anthropic, failed, cached = frame.rows(named=True)
    expected = {
        "ts_start": datetime(2026, 8, 3, 11, 2, 11, tzinfo=UTC),
        "ts_end": datetime(2026, 8, 3, 11, 2, 13, 500000, tzinfo=UTC),
        "day": date(2026, 8, 3),
        "request_id": "chatcmpl-1",
        "session_id": "s-1",
        "provider": "azure",
        "model": "gpt-4o",
        "response_model": "azure/gpt-4o-eu",
        "operation": "chat",
        "hosting": "api",
        "team": "search",
        "customer": "c-7",
        "feature": "rerank",
        "environment": "prod",
        "variant": "full",
        "input_uncached_tokens": 600,
        "cache_read_tokens": 400,
        "cache_write_tokens": None,
        "output_tokens": 200,
        "reasoning_tokens": 50,
        "latency_ms": 2500.0,
        "ttft_ms": 250.0,
        "status": "ok",
        "served_from_cache": False,
        "cost_reported_usd": Decimal("0.000012345"),
        "n_requests": 1,
        "sample_weight": 1.0,
        "source_row": 1,
    }
    assert {name: first[name] for name in expected} == expected
    # Without streaming the first token is no moment of its own; the logged duration wins.
    assert (anthropic["ttft_ms"], anthropic["latency_ms"]) == (None, 3900.0)
    tokens = ("input_uncached_tokens", "cache_read_tokens", "cache_write_tokens")
    assert [anthropic[n] for n in tokens] == [500, 2000, 500]
    assert [anthropic[n] for n in ("team", "customer", "feature", "response_model")] == [None] * 4
    assert anthropic["cost_reported_usd"] == Decimal("0.0105")
    named = ("status", "error_type", "hosting", "served_from_cache", "operation")
    assert [failed[n] for n in named] == ["timeout", "Timeout", "self_hosted", None, "chat"]
    assert (cached["served_from_cache"], cached["operation"]) == (True, "embedding")
    assert cached["ts_start"] == datetime(2026, 8, 3, 9, 6, tzinfo=UTC)
    assert (cached["latency_ms"], cached["cost_reported_usd"]) == (10.0, Decimal(0))


def test_money_keeps_the_literal_and_says_when_it_had_to_round(tmp_path: Path) -> None:
    exact, long = rows(
        tmp_path,
        json.dumps({**BASE, "spend": "@"}).replace('"@"', "0.123456789012345678"),
        json.dumps({**BASE, "spend": "@"}).replace('"@"', "1.3500000000000001e-05"),
    )
    assert (exact["cost_reported_usd"], exact[NOTES]) == (Decimal("0.123456789012345678"), None)
    assert long["cost_reported_usd"] == Decimal("0.000013500000000000")
    assert long[NOTES] == ["cost_reported_usd: more than 18 decimals, rounded to 18"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"spend": "5 USD"}, "cost_reported_usd: '5 USD' is not a number"),
        ({"prompt_tokens": 1.5}, "input_uncached_tokens: '1.5' is not a whole number"),
        ({"prompt_tokens": -1}, "input_uncached_tokens: -1 is negative"),
        ({"completion_tokens": True}, "output_tokens: 'true' is not a whole number"),
        ({"startTime": "yesterday"}, "ts_start: 'yesterday' is not a date and time"),
        ({"startTime": 1e300}, "ts_start: '1E+300' is not a date and time"),
        ({"startTime": "0001-01-01T00:00:00+05:00"}, "ts_start: '0001-01-01T00:00:00+05:00' is not a date"),
        ({"request_duration_ms": [1]}, "latency_ms: '[1]' is not a number"),
        ({"metadata": "{'a': 1}"}, "metadata: is not JSON"),
        ({"metadata": '{"a": "\\ud800"}'}, "metadata: is not JSON (half of a surrogate pair)"),
        ({"request_tags": "[feature"}, "request_tags: is not JSON"),
        ({"status": "perhaps"}, "status: 'perhaps' is not success or failure"),
        ({"metadata": {"usage_object": {"prompt_tokens_details": {"cached_tokens": 11}}}}, "input_uncached_"),
    ],
)
def test_bad_values_are_null_with_a_reason(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    row = one(tmp_path, changes)
    assert len(row[REASONS]) == 1
    assert row[REASONS][0].startswith(reason)
    column = reason.partition(":")[0]
    assert row.get(column) is None


def test_blank_money_is_unknown_not_zero(tmp_path: Path) -> None:
    for blank in (None, "", "NULL", "ABSENT"):
        row = one(tmp_path, {"spend": blank})
        assert (row["cost_reported_usd"], row[REASONS]) == (None, None)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"status": "ABSENT"}, "ok"),
        ({"status": None, "metadata": {"status": "failure"}}, "error"),
        ({"status": "failure"}, "error"),
        (
            {"status": "failure", "metadata": {"error_information": {"error_class": "RateLimitError"}}},
            "error",
        ),
        ({"status": None, "metadata": {"error_information": {"error_class": "ReadTimeout"}}}, "timeout"),
    ],
)
def test_status(tmp_path: Path, changes: dict[str, Any], status: str) -> None:
    assert one(tmp_path, changes)["status"] == status


@pytest.mark.parametrize(
    ("call", "operation"),
    [("atext_completion", "completion"), ("arerank", "rerank"), ("aspeech", "audio"),
     ("aimage_generation", "image"), ("aresponses", "chat"), ("moderation", "other"), (None, "other")],
)  # fmt: skip
def test_operations(tmp_path: Path, call: str | None, operation: str) -> None:
    assert one(tmp_path, {"call_type": call})["operation"] == operation


def test_context_names_of_the_lab_come_before_litellms_own(tmp_path: Path) -> None:
    record = {
        "team_id": "late",
        "end_user": "late",
        "request_tags": ["owner:payments", "owner:second", "plain", "url:https://x"],
        "metadata": {"requester_metadata": {"tenant": "c-9"}, "feature": "chat", "route": "router-v2"},
        "model_group": "group",
    }
    attributes = {"team": ("owner",), "customer": ("tenant",), "model": ("route",), "variant": ("url",)}
    row = one(tmp_path, record, attributes=attributes, sample_rate=0.25)
    context = [row[n] for n in ("team", "customer", "feature", "model", "response_model", "variant")]
    assert context == ["payments", "c-9", "chat", "router-v2", "m", "https://x"]
    assert row["sample_weight"] == 4.0


def test_epoch_seconds_are_moments(tmp_path: Path) -> None:
    row = one(tmp_path, {"startTime": 1790000000.25, "endTime": 1790000001})
    assert row["ts_start"] == datetime(2026, 9, 21, 14, 13, 20, 250000, tzinfo=UTC)
    assert row["latency_ms"] == 750.0


def test_broken_lines_become_rows(tmp_path: Path) -> None:
    good = json.dumps(BASE)
    found = rows(tmp_path, good[:30], good, "7", '{"spend": 1e99999999999999999999}', "[" * 100_000)
    told = [r[REASONS] and r[REASONS][0].split(" (")[0] for r in found]
    no_json, no_record = "line: is not JSON", "line: is not a spend log record"
    assert told == [no_json, None, no_record, no_json, no_json]
    assert [r["source_row"] for r in found] == [1, 2, 3, 4, 5]
    assert found[0][RAW] == {"line": good[:30]}


def test_array_wrapper_pretty_and_gzip_read_the_same(tmp_path: Path) -> None:
    plain = litellm.read(EXAMPLE, ReadSettings()).collect().drop(RAW)
    # The text of the numbers must not change on the way.
    texts = EXAMPLE.read_text().splitlines()
    array = "[" + ", ".join(texts) + "]"
    for name, content in {
        "array": array,
        "wrapped": '{"data": ' + array + "}",
        "broken over lines": '{\n  "data": [\n' + ",\n".join(texts) + "\n]}\n",
    }.items():
        path = tmp_path / f"{name}.csv"
        path.write_bytes(gzip.compress(content.encode()))
        assert registry.detect(path)[0].FORMAT == litellm.FORMAT
        assert litellm.read(path, ReadSettings()).collect().drop(RAW).equals(plain)


def test_detected_by_content_under_a_misleading_name(tmp_path: Path) -> None:
    copy = tmp_path / "traces.parquet"
    shutil.copy(EXAMPLE, copy)
    assert registry.detect(copy)[0].FORMAT == litellm.FORMAT


def test_spend_summed_by_day_is_not_taken_for_requests(tmp_path: Path) -> None:
    path = tmp_path / "by_day.json"
    path.write_text('[{"startTime": "2026-08-03", "spend": 1.5, "models": {"m": 1.5}, "users": {}}]')
    assert not litellm.matches(registry.inspect(path))


@pytest.mark.skipif(not FIXTURE.exists(), reason="the shared vendor fixture is not here")
def test_gateway_fixture_of_another_project() -> None:
    assert registry.detect(FIXTURE)[0].FORMAT == litellm.FORMAT
    frame = litellm.read(FIXTURE, ReadSettings()).with_columns(pl.lit("f").alias("source_file")).collect()
    assert frame["cost_reported_usd"].sum() == Decimal("11444.27")
    assert frame["team"].to_list() == ["search", "platform", None, None]
    assert frame["feature"].to_list() == ["rerank", "agent-loop", None, None]
    assert frame["served_from_cache"].to_list() == [False, True, False, False]
    assert frame["latency_ms"].to_list() == [3000.0, 6000.0, 2000.0, 22000.0]
    assert frame[REASONS].null_count() == 4
    assert frame.select(contracts.reasons("inference_requests").alias("r"))["r"].null_count() == 4


@given(
    total=st.integers(0, 50),
    read=st.none() | st.integers(0, 50),
    write=st.none() | st.integers(0, 50),
    nested=st.booleans(),
    as_text=st.booleans(),
)
def test_accepted_buckets_add_up_to_the_prompt(
    tmp_path_factory: pytest.TempPathFactory,
    total: int,
    read: int | None,
    write: int | None,
    nested: bool,
    as_text: bool,
) -> None:
    usage: dict[str, Any] = (
        {"usage_object": {"prompt_tokens_details": {"cached_tokens": read, "cache_creation_tokens": write}}}
        if nested
        else {
            "additional_usage_values": {"cache_read_input_tokens": read, "cache_creation_input_tokens": write}
        }
    )
    metadata = json.dumps(usage) if as_text else usage
    row = one(tmp_path_factory.mktemp("t"), {"prompt_tokens": total, "metadata": metadata})
    assert (row[REASONS] is None) == ((read or 0) + (write or 0) <= total)
    if row[REASONS] is None:
        assert row["cache_read_tokens"] == read
        assert row["input_uncached_tokens"] + (read or 0) + (write or 0) == total


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=50)
@given(field=st.sampled_from([*BASE, "metadata", "request_tags", "cache_hit", "team_id"]), value=ANYTHING)
def test_no_field_stops_the_file(tmp_path_factory: pytest.TempPathFactory, field: str, value: object) -> None:
    broken, good = rows(tmp_path_factory.mktemp("t"), json.dumps({**BASE, field: value}), json.dumps(BASE))
    assert (broken["source_row"], good["source_row"], good[REASONS]) == (1, 2, None)


def test_example_of_traps() -> None:
    frame = litellm.read(TRAPS, ReadSettings()).collect()
    columns = ["input_uncached_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "status"]
    assert frame.select(columns).rows() == [
        (600, 400, None, 200, "ok"),
        (500, 2000, 500, 100, "ok"),
        (0, None, None, 0, "timeout"),
        (12, None, None, 0, "ok"),
        (10, None, None, 1, "ok"),
        (None, 11, None, 1, "ok"),
        (None, None, None, None, None),
    ]
    exact = ["0.1234567890123456", "0.000012345", "0", "0", "0.0000135", "0.25"]
    assert frame["cost_reported_usd"].to_list() == [*map(Decimal, exact), None]
    assert frame["api_key_id"].to_list()[0] == "example-key-hash"
    context = frame.select("team", "feature", "customer", "environment", "variant").rows()[:2]
    assert context == [("search", "rerank", "c-1", "prod", None), (None, None, None, None, "b")]
    assert [reasons and reasons[0].partition(":")[0] for reasons in frame[REASONS].to_list()] == [
        *[None] * 5,
        "input_uncached_tokens",
        "line",
    ]
    assert frame[NOTES].drop_nulls().to_list() == [
        ["cost_reported_usd: more than 18 decimals, rounded to 18"]
    ]
    known = registry.inspect(TRAPS)
    assert [reader.FORMAT for reader in registry.readers() if reader.matches(known)] == [litellm.FORMAT]


@pytest.mark.skipif(_fast_json.library() is None, reason="msgspec is not installed: there is no fast road")
def test_regular_records_take_the_fast_road() -> None:
    road = _litellm_fast.road(ReadSettings())
    assert road is not None
    assert road.take(EXAMPLE.read_bytes().splitlines(), True) == 4
    regular = road.rows()
    # A moment with an offset from UTC is left to the slow road.
    assert (regular.rows.height, regular.irregular) == (3, {3: None})
    # A name of the lab that is a field of its own in a record has no fast road.
    assert _litellm_fast.road(ReadSettings(attributes={"team": ("status",)})) is None


def test_a_lab_may_name_where_the_service_tier_stands(tmp_path: Path) -> None:
    named = ReadSettings(attributes={"service_tier": ("variant", "tier")})
    said = {"cost_breakdown": {"service_tier": "flex"}}
    records = [
        {**BASE, "request_tags": ["variant:Batch"], "metadata": said},
        {**BASE, "request_tags": [], "metadata": {**said, "requester_metadata": {"tier": "default"}}},
        {**BASE, "request_tags": [], "metadata": said},
        {**BASE, "request_tags": [], "metadata": {}},
    ]
    texts = [json.dumps(record) for record in records]
    (tmp_path / "lines").write_text("\n".join(texts))
    (tmp_path / "one").write_text("[\n" + ",\n".join(texts) + "\n]")  # one document: the slow road
    fast, slow = (litellm.read(tmp_path / name, named).collect() for name in ("lines", "one"))
    assert fast["service_tier"].to_list() == ["batch", "standard", "flex", None]
    assert fast.drop(RAW).equals(slow.drop(RAW))


def test_blanks_are_those_of_python() -> None:
    assert "".join(c for c in map(chr, range(0x110000)) if c.isspace()) == _fast_values.WHITE


@pytest.mark.parametrize(
    "text",
    [
        "2026-08-03T11:00:00Z",
        "2026-08-03 11:00:00.5",
        "2026-08-03T11:00:00.123456+00:00",
        "2026-08-03T11:00:00.12",
    ],
)
def test_moments_of_a_column_are_those_of_one_value(text: str) -> None:
    other = ["2026-02-31T00:00:00Z", None, "2026-08-03T11:00:60Z", "x", "2026-08-03T24:00:00Z"]
    read = _fast_values.moments(pl.Series([*other, text, "2026-08-03T11:00:00.000Z"]))
    expected = datetime.fromisoformat(text).replace(tzinfo=UTC)
    assert read.cast(pl.Datetime("us", "UTC")).to_list() == [
        *[None] * 5,
        expected,
        datetime(2026, 8, 3, 11, tzinfo=UTC),
    ]


VALUES = st.sampled_from(
    [None, True, False, 0, 5, -1, 1.5, 1e300, 2**63, "", "  ", " x ", "\x1c", "null", "5", "success", "Failure ",
     "2026-08-03T11:00:01Z", "2026-08-03 10:59:59.5", "2026-08-03T13:00:01+02:00", "2026-02-31T00:00:00Z", "é",
     "\ud83d\ude00", [], {}, ["team:t", "plain"], '["team:t"]', "[broken", {"team": "d"}, "{}", "{broken",
     '{"customer": "c", "usage_object": {"prompt_tokens_details": {"cached_tokens": 2}}}', {"cached_tokens": 3},
     {"prompt_tokens_details": {"cached_tokens": 4}}, {"error_class": "Timeout"}, {"service_tier": "Default"}]
)  # fmt: skip
HELD = ["spend_logs_metadata", "requester_metadata", "usage_object", "additional_usage_values", "status", "team",
        "error_information", "cost_breakdown", "pool", "finops.feature"]  # fmt: skip
SPENDS = st.sampled_from(
    ["0.5", "0", "-0", "1e-05", "1.2345E-7", "0.1234567890123456789", "1e400", "1.10", "1e-30"]
)


@settings(max_examples=150)
@given(data=st.data())
def test_both_roads_read_the_same(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    texts = []
    for _ in range(3):
        metadata: Any = {"team": "m", "requester_metadata": {"customer": "r"}}
        record = {**BASE, "spend": "@", "metadata": metadata, "completionStartTime": "2026-08-03T11:00:01Z"}
        for _ in range(data.draw(st.integers(0, 3))):
            if data.draw(st.booleans()):
                fields = [*BASE, "metadata", "request_tags", "cache_hit", "team_id", "request_duration_ms"]
                record[data.draw(st.sampled_from(fields))] = data.draw(VALUES)
            else:
                metadata[data.draw(st.sampled_from(HELD))] = data.draw(VALUES)
        texts.append(json.dumps(record).replace('"@"', data.draw(SPENDS)))
    folder = tmp_path_factory.mktemp("t")
    (folder / "lines").write_text("\n".join(texts))
    (folder / "one").write_text("[\n" + ",\n".join(texts) + "\n]")  # one document: the slow road
    fast, slow = (litellm.read(folder / name, ReadSettings()).collect() for name in ("lines", "one"))
    unreadable = [row for row in fast[REASONS].to_list() if row and "out of range" in row[0]]
    if not unreadable:
        assert fast.drop(RAW).equals(slow.drop(RAW))
    refused = fast.filter(fast[REASONS].is_not_null())[RAW].struct.field("line")
    assert refused.null_count() == 0
