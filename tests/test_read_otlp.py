"""OTLP/JSON traces become requests: which spans, which tokens, which context, what is refused."""

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
from finops_lab.errors import InputError
from finops_lab.ingestion import _fast_json, registry
from finops_lab.ingestion.registry import NOTES, RAW, REASONS, ReadSettings
from finops_lab.ingestion.requests import _otlp_fast, otlp

EXAMPLE = Path(__file__).parent / "data" / "telemetry" / "traces.otlp.jsonl"
DIALECTS = Path(__file__).parent / "formats" / "otlp_traces.jsonl"
START = 1_790_000_000_000_000_000


def attribute(key: str, value: object) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"key": key, "value": {"boolValue": value}}
    if isinstance(value, int):
        return {"key": key, "value": {"intValue": str(value)}}
    return {"key": key, "value": {"doubleValue" if isinstance(value, float) else "stringValue": value}}


def line(attributes: dict[str, object], /, resource: dict[str, object] | None = None, **span: Any) -> str:
    base = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "m"}
    merged = {k: v for k, v in {**base, **attributes}.items() if v is not None}
    body = {
        "traceId": "AB",
        "spanId": "CD",
        "startTimeUnixNano": str(START),
        "endTimeUnixNano": str(START + 1_000_000_000),
        "attributes": [attribute(k, v) for k, v in merged.items()],
        **span,
    }
    held = {"attributes": [attribute(k, v) for k, v in (resource or {}).items()]}
    return json.dumps({"resourceSpans": [{"resource": held, "scopeSpans": [{"spans": [body]}]}]})


def rows(tmp_path: Path, *lines: str, **settings: Any) -> list[dict[str, Any]]:
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return otlp.read(path, ReadSettings(**settings)).collect().rows(named=True)


def one(tmp_path: Path, attributes: dict[str, object], **more: Any) -> dict[str, Any]:
    settings = more.pop("settings", {})
    (row,) = rows(tmp_path, line(attributes, **more), **settings)
    return row


def test_frame_has_the_contract_in_order_and_in_its_dtypes() -> None:
    frame = otlp.read(EXAMPLE, ReadSettings())
    schema = dict(frame.collect_schema())
    wanted = {n: t for n, t in contracts.dtypes("inference_requests").items() if n != "source_file"}
    text_list = pl.List(pl.String)
    extra = {RAW: pl.Struct({"line": pl.String}), REASONS: text_list, NOTES: text_list}
    assert schema == {**wanted, **extra}
    assert list(schema) == [*wanted, RAW, REASONS, NOTES]


def test_golden_example() -> None:
    frame = otlp.read(EXAMPLE, ReadSettings()).collect()
    first, timeout, served = frame.rows(named=True)
    assert frame[REASONS].null_count() == 3
    # Spans 2 (an agent that repeats the tokens) and 4 (a web server) are counted, not read.
    assert frame["source_row"].to_list() == [1, 3, 5]
    expected = {
        "ts_start": datetime(2026, 9, 21, 14, 13, 20, tzinfo=UTC),
        "ts_end": datetime(2026, 9, 21, 14, 13, 22, 500000, tzinfo=UTC),
        "day": date(2026, 9, 21),
        "request_id": "chatcmpl-1",
        "trace_id": "5b8efff798038103d269b633813fc60c",
        "parent_id": "eee19b7ec3c1b173",
        "session_id": "conv-1",
        "provider": "openai",
        "model": "gpt-5",
        "response_model": "gpt-5-2025-08-07",
        "operation": "chat",
        "hosting": "api",
        "input_uncached_tokens": 300,
        "cache_read_tokens": 600,
        "cache_write_tokens": 100,
        "output_tokens": 200,
        "reasoning_tokens": 150,
        "latency_ms": 2500.0,
        "ttft_ms": 250.0,
        "service_tier": "standard",
        "status": "ok",
        "error_type": None,
        "team": "search",
        "feature": "rerank",
        "customer": "c-7",
        "variant": "full",
        "environment": "production",
        "region": "eu-west-1",
        # th:c rejects 12 of 16: a quarter is kept.
        "sample_weight": 4.0,
        "n_requests": 1,
        # The deployment is the caller's: OpenAI runs in no pool of ours.
        "pool_id": None,
        "cost_reported_usd": None,
    }
    assert {name: first[name] for name in expected} == expected
    assert (timeout["status"], timeout["error_type"]) == ("timeout", "openai.APITimeoutError")
    assert timeout["input_uncached_tokens"] is None
    assert timeout["request_id"] == "eee19b7ec3c1b103"
    legacy = (
        "provider",
        "hosting",
        "pool_id",
        "operation",
        "input_uncached_tokens",
        "output_tokens",
        "ttft_ms",
    )
    assert [served[n] for n in legacy] == ["vllm", "self_hosted", "llama-pool", "other", 128, 512, 45.0]
    assert served["cache_read_tokens"] is None


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("chat", "chat"),
        ("generate_content", "chat"),
        ("text_completion", "completion"),
        ("embeddings", "embedding"),
        ("something_new", "other"),
    ],
)
def test_operations(tmp_path: Path, operation: str, expected: str) -> None:
    row = one(tmp_path, {"gen_ai.operation.name": operation, "gen_ai.usage.input_tokens": 1})
    assert row["operation"] == expected


@pytest.mark.parametrize("operation", ["invoke_agent", "execute_tool", "create_agent", "retrieval"])
def test_spans_around_calls_are_no_requests(tmp_path: Path, operation: str) -> None:
    span = line({"gen_ai.operation.name": operation, "gen_ai.usage.input_tokens": 1})
    found = rows(tmp_path, span, line({}))
    assert [row["source_row"] for row in found] == [2]


def test_a_model_without_operation_and_tokens_is_no_request(tmp_path: Path) -> None:
    assert rows(tmp_path, line({"gen_ai.operation.name": None})) == []


@pytest.mark.parametrize(
    ("state", "rate", "weight"),
    [
        ("ot=th:0", None, 1.0),
        ("ot=th:8", 0.5, 2.0),
        ("ot=th:fd7", None, 4096 / (4096 - 0xFD7)),
        ("ot=rv:00000000000000;th:e,w=th:0", None, 8.0),
        ("ot=th:ffffffffffffff", None, 2.0**56),
        ("other=th:8", None, 1.0),
        (None, 0.1, 10.0),
        (None, None, 1.0),
    ],
)
def test_sample_weight(tmp_path: Path, state: str | None, rate: float | None, weight: float) -> None:
    row = one(tmp_path, {}, traceState=state, settings={"sample_rate": rate})
    assert row["sample_weight"] == pytest.approx(weight, rel=1e-12)
    assert row[REASONS] is None


def test_malformed_threshold_is_refused_not_weighted_one(tmp_path: Path) -> None:
    row = one(tmp_path, {}, traceState="ot=th:XYZ")
    assert row["sample_weight"] is None
    assert row[REASONS] == ["sample_weight: 'XYZ' in the trace state is not a sampling threshold"]


@pytest.mark.parametrize(
    ("error", "code", "expected"),
    [
        (None, None, "ok"),
        (None, 1, "ok"),
        (None, 2, "error"),
        (None, "STATUS_CODE_ERROR", "error"),
        ("RateLimitError", 2, "error"),
        ("504", 2, "timeout"),
        ("asyncio.TimeoutError", None, "timeout"),
        ("CancelledError", None, "cancelled"),
    ],
)
def test_status(tmp_path: Path, error: str | None, code: object, expected: str) -> None:
    status = {} if code is None else {"code": code}
    assert one(tmp_path, {"error.type": error}, status=status)["status"] == expected


@pytest.mark.parametrize(
    ("provider", "said", "expected"),
    [
        ("anthropic", None, "api"),
        ("sglang", None, "self_hosted"),
        ("openai", "self_hosted", "self_hosted"),
        (None, None, None),
    ],
)
def test_hosting(tmp_path: Path, provider: str | None, said: str | None, expected: str | None) -> None:
    row = one(tmp_path, {"gen_ai.provider.name": provider, "finops.hosting": said})
    assert row["hosting"] == expected


def test_context_names_of_the_lab_come_first_then_span_before_resource(tmp_path: Path) -> None:
    settings = {"attributes": {"team": ("app.owner",), "model": ("app.route",), "region": ("none",)}}
    row = one(
        tmp_path,
        {"finops.team": "late", "app.route": "router-v2", "finops.feature": "span", "finops.pool": "p1"},
        resource={"app.owner": "payments", "finops.feature": "resource", "cloud.region": "us-east-1"},
        settings=settings,
    )
    context = [row[n] for n in ("team", "model", "feature", "region", "customer", "pool_id")]
    assert context == ["payments", "router-v2", "span", "us-east-1", None, "p1"]


def test_model_falls_back_to_the_one_that_answered(tmp_path: Path) -> None:
    row = one(tmp_path, {"gen_ai.request.model": None, "gen_ai.response.model": "m-2026"})
    assert row["model"] == "m-2026"


def test_more_cached_than_input_tokens_is_refused_not_clamped(tmp_path: Path) -> None:
    row = one(tmp_path, {"gen_ai.usage.input_tokens": 100, "gen_ai.usage.cache_read.input_tokens": 900})
    assert row["input_uncached_tokens"] is None
    (reason,) = row[REASONS]
    assert reason.startswith("input_uncached_tokens: 900 tokens read from and 0 written")


def test_reasoning_outside_output_is_refused(tmp_path: Path) -> None:
    usage = {"gen_ai.usage.output_tokens": 10, "gen_ai.usage.reasoning.output_tokens": 50}
    assert one(tmp_path, usage)[REASONS] == [
        "reasoning_tokens: 50 are more than the 10 output tokens they are part of"
    ]


def test_bad_values_are_null_with_a_reason_and_do_not_stop_the_file(tmp_path: Path) -> None:
    bad, good = rows(
        tmp_path,
        line(
            {"gen_ai.usage.input_tokens": "abc", "gen_ai.response.time_to_first_chunk": "soon"},
            endTimeUnixNano="later",
        ),
        line({"gen_ai.usage.input_tokens": 5}),
    )
    assert bad[REASONS] == [
        "ts_end: 'later' is not a whole number",
        "ttft_ms: 'soon' is not a number",
        "input_uncached_tokens: 'abc' is not a whole number",
    ]
    assert (bad["ts_end"], bad["ttft_ms"], bad["latency_ms"]) == (None, None, None)
    assert good["input_uncached_tokens"] == 5
    assert good[REASONS] is None


def test_a_span_that_ends_before_it_starts_breaks_the_contract_once(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(line({}, endTimeUnixNano=str(START - 1_000_000)))
    frame = otlp.read(path, ReadSettings()).with_columns(pl.lit("t").alias("source_file"))
    told = frame.select(contracts.reasons("inference_requests").alias("r")).collect()["r"].to_list()
    assert told == [["ts end before ts start"]]


def test_broken_lines_become_rows_with_the_text_as_delivered(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    broken = b'{"resourceSpans": [\xff]}'
    lines = [
        line({}).encode(),
        line({}).encode()[:60],
        b"",
        b"[1]",
        broken,
        b'{"resourceSpans": 7}',
        b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"attributes":["x"]}]}]}]}',
        line({"finops.team": "\ud800"}).encode(),
        b'{"other": 1}',
        b'{"resourceMetrics": []}',
        line({}).encode(),
    ]
    path.write_bytes(b"\n".join(lines))
    frame = otlp.read(path, ReadSettings()).collect()
    told = [None if r is None else r[0] for r in frame[REASONS].to_list()]
    assert [None if t is None else t.split(" (")[0] for t in told] == [
        None,
        "line: is not JSON",
        "line: is not an OTLP object",
        "line: is not UTF-8 text",
        "line: resourceSpans is not a list of objects",
        "line: attributes are not a list of keys and values",
        "line: is not JSON",
        "line: has no resourceSpans",
        None,
    ]
    assert frame["source_row"].to_list() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert frame[RAW].struct.field("line")[1] == line({})[:60]


def test_a_refused_span_among_several_keeps_its_own_record(tmp_path: Path) -> None:
    document = json.loads(line({}))
    bad = json.loads(line({"gen_ai.usage.input_tokens": -1}, spanId="EE"))
    spans = document["resourceSpans"][0]["scopeSpans"][0]["spans"]
    spans.extend(bad["resourceSpans"][0]["scopeSpans"][0]["spans"])
    _, refused = rows(tmp_path, json.dumps(document))
    assert json.loads(refused[RAW]["line"])["spanId"] == "EE"
    assert (refused["source_row"], refused[REASONS]) == (2, ["input_uncached_tokens: -1 is negative"])


def test_gzip_and_one_pretty_document_read_the_same(tmp_path: Path) -> None:
    plain = otlp.read(EXAMPLE, ReadSettings()).collect().drop(RAW)
    zipped = tmp_path / "traces"
    zipped.write_bytes(gzip.compress(EXAMPLE.read_bytes()))
    assert otlp.read(zipped, ReadSettings()).collect().drop(RAW).equals(plain)
    pretty = tmp_path / "pretty.json"
    pretty.write_text(json.dumps([json.loads(t) for t in EXAMPLE.read_text().splitlines()], indent=2))
    assert registry.detect(pretty)[0].FORMAT == otlp.FORMAT
    assert otlp.read(pretty, ReadSettings()).collect().drop(RAW).equals(plain)


@pytest.mark.parametrize("damage", ["gzip", "pretty"])
def test_a_truncated_file_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "cut.json"
    if damage == "gzip":
        path.write_bytes(gzip.compress(EXAMPLE.read_bytes())[:-40])
    else:
        path.write_text(json.dumps(json.loads(EXAMPLE.read_text().splitlines()[0]), indent=2)[:-30])
    with pytest.raises(InputError, match=r"cut\.json"):
        otlp.read(path, ReadSettings()).collect()


def test_an_empty_file_has_the_columns_and_no_rows(tmp_path: Path) -> None:
    assert rows(tmp_path, "") == []


def test_detected_by_content_under_a_misleading_name(tmp_path: Path) -> None:
    copy = tmp_path / "focus_bill.csv"
    shutil.copy(EXAMPLE, copy)
    assert registry.detect(copy)[0].FORMAT == otlp.FORMAT


def test_detected_when_one_line_is_longer_than_the_probe(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text(line({"finops.note": "n" * 2_000_000}))
    assert registry.detect(path)[0].FORMAT == otlp.FORMAT


@given(
    st.tuples(*[st.none() | st.integers(-2, 40) for _ in range(5)]),
)
def test_accepted_buckets_add_up_to_the_input(
    tmp_path_factory: pytest.TempPathFactory, counts: tuple[int | None, ...]
) -> None:
    total, read, write, output, reasoning = counts
    row = one(
        tmp_path_factory.mktemp("t"),
        {
            "gen_ai.usage.input_tokens": total,
            "gen_ai.usage.cache_read.input_tokens": read,
            "gen_ai.usage.cache_creation.input_tokens": write,
            "gen_ai.usage.output_tokens": output,
            "gen_ai.usage.reasoning.output_tokens": reasoning,
        },
    )
    valid = all(c is None or c >= 0 for c in counts)
    fits = total is None or (read or 0) + (write or 0) <= total
    inside = output is None or reasoning is None or reasoning <= output
    assert (row[REASONS] is None) == (valid and fits and inside)
    if row[REASONS] is None:
        buckets = [row[f"{n}_tokens"] for n in ("input_uncached", "cache_read", "cache_write")]
        assert total is None or sum(b or 0 for b in buckets) == total
        assert (buckets[0] is None) == (total is None)
        assert row["output_tokens"] == output


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ["traceId", "parentSpanId", "traceState", "status", "attributes", "startTimeUnixNano", "kind"]


@settings(max_examples=50)
@given(field=st.sampled_from(FIELDS), value=ANYTHING)
def test_no_field_stops_the_file(tmp_path_factory: pytest.TempPathFactory, field: str, value: object) -> None:
    found = rows(tmp_path_factory.mktemp("t"), line({}, **{field: value}), line({}))
    assert [row["source_row"] for row in found][-1] == 2
    # Only without its attributes a span may stop being a request.
    assert len(found) == 2 or field == "attributes"


def test_example_of_every_dialect() -> None:
    frame = otlp.read(DIALECTS, ReadSettings()).collect()
    columns = ["source_row", "provider", "model", "operation", "status", "input_uncached_tokens"]
    columns += ["cache_read_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens"]
    assert frame.select(columns).rows() == [
        (1, "anthropic", "example-large", "chat", "ok", 300, 600, 100, 50, 20),
        (2, "openai", "example-embed", "embedding", "ok", 12, None, None, None, None),
        (4, "anthropic", "example-large", "chat", "timeout", None, None, None, None, None),
        (5, "azure", "example-mini", "chat", "ok", 136, 64, None, 30, 10),
        (6, "openai", "example-embed", "embedding", "ok", 9, None, None, None, None),
        (9, "OpenAI", "example-mini", "chat", "ok", 64, 16, None, 20, None),
        (10, "OpenAI", "example-mini", "chat", "error", None, None, None, None, None),
        (12, "OpenAI", "example-mini", "chat", "ok", None, None, None, None, None),
        (13, None, "example-large", "chat", "ok", None, 40, None, None, None),
    ]
    assert frame["cost_reported_usd"].drop_nulls().to_list() == [Decimal("0.0001234567890123")]
    assert frame["ttft_ms"].drop_nulls().to_list() == [125.0]
    assert frame["project_id"].to_list()[3:5] == ["example-project"] * 2
    assert frame.filter(pl.col("source_row") == 9).select("feature", "customer").row(0) == ("answer", "c-7")
    assert frame[REASONS].null_count() == 8
    assert frame[NOTES].drop_nulls().to_list() == [
        ["input_uncached_tokens: only a total of tokens is given, not the input and the output"]
    ]
    known = registry.inspect(DIALECTS)
    assert [reader.FORMAT for reader in registry.readers() if reader.matches(known)] == [otlp.FORMAT]


OPENINFERENCE: dict[str, object] = {
    "gen_ai.operation.name": None,
    "gen_ai.provider.name": None,
    "gen_ai.request.model": None,
    "openinference.span.kind": "LLM",
    "llm.provider": "azure",
    "llm.system": "openai",
    "llm.model_name": "m",
}


def test_openinference_counts_and_cost(tmp_path: Path) -> None:
    counts = {
        "llm.token_count.prompt": 100,
        "llm.token_count.completion": 20,
        "llm.token_count.total": 120,
        "llm.token_count.prompt_details.cache_read": 30,
        "llm.token_count.prompt_details.cache_write": 10,
        "llm.token_count.completion_details.reasoning": 5,
        "llm.request.model_name": "asked",
        "llm.response.model_name": "answered",
    }
    row = one(tmp_path, {**OPENINFERENCE, **counts})
    buckets = ("input_uncached", "cache_read", "cache_write", "output", "reasoning")
    assert [row[f"{name}_tokens"] for name in buckets] == [60, 30, 10, 20, 5]
    assert [row[n] for n in ("provider", "model", "response_model")] == ["azure", "asked", "answered"]


@pytest.mark.parametrize(
    ("literal", "cost"),
    [("0.123456789012345678", "0.123456789012345678"), ("1.2345E-7", "0.00000012345"), ("3", "3")],
)
def test_reported_cost_keeps_its_literal(tmp_path: Path, literal: str, cost: str) -> None:
    text = line({**OPENINFERENCE, "llm.cost.total": 77.5}).replace("77.5", literal)
    assert rows(tmp_path, text)[0]["cost_reported_usd"] == Decimal(cost)
    assert rows(tmp_path, text.replace("llm.cost.total", "gen_ai.usage.cost"))[0][
        "cost_reported_usd"
    ] == Decimal(cost)


@pytest.mark.parametrize("kind", ["AGENT", "CHAIN", "TOOL", "RETRIEVER", "GUARDRAIL"])
def test_openinference_spans_around_calls_are_no_requests(tmp_path: Path, kind: str) -> None:
    around = {**OPENINFERENCE, "openinference.span.kind": kind, "llm.token_count.prompt": 5}
    assert rows(tmp_path, line(around)) == []


def test_openllmetry_workflows_are_no_requests_and_their_names_are_features(tmp_path: Path) -> None:
    names = {"gen_ai.operation.name": None, "traceloop.workflow.name": "answer"}
    usage = {"gen_ai.usage.prompt_tokens": 9, "gen_ai.usage.cache_read_input_tokens": 4}
    found = rows(
        tmp_path,
        line({**names, **usage, "traceloop.span.kind": "workflow"}),
        line({**names, **usage, "llm.request.type": "chat", "traceloop.association.properties.team": "t"}),
    )
    read = ("feature", "team", "operation", "input_uncached_tokens", "cache_read_tokens")
    assert [tuple(row[name] for name in read) for row in found] == [("answer", "t", "chat", 5, 4)]


@pytest.mark.parametrize(
    ("changes", "tokens"),
    [
        ({"llm.usage.total_tokens": 10, "gen_ai.usage.output_tokens": 4}, (6, 4)),
        ({"llm.usage.total_tokens": 10, "gen_ai.usage.input_tokens": 3}, (3, None)),
        ({"llm.usage.total_tokens": 10, "gen_ai.operation.name": "embeddings"}, (10, None)),
        ({"gen_ai.usage.total_tokens": 10}, (None, None)),
        ({"gen_ai.usage.total_tokens": 10, "gen_ai.usage.output_tokens": 11}, (None, 11)),
    ],
)
def test_a_total_gives_the_input_only_beside_the_output(
    tmp_path: Path, changes: dict[str, object], tokens: tuple[int | None, int | None]
) -> None:
    row = one(tmp_path, changes)
    assert (row["input_uncached_tokens"], row["output_tokens"]) == tokens
    assert row[REASONS] is None
    assert (row[NOTES] is None) == (tokens[0] is not None)


@pytest.mark.parametrize(
    ("key", "signal"),
    [("resourceMetrics", "metrics"), ("resourceLogs", "logs"), ("resourceProfiles", "profiles")],
)
def test_metrics_are_another_signal_and_are_refused_by_name(tmp_path: Path, key: str, signal: str) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(f'{{"{key}":[{{}}]}}\n' * 3)
    assert registry.detect(path)[0].FORMAT == otlp.FORMAT
    with pytest.raises(InputError, match=f"holds OTLP {signal} \\({key}\\) and no traces") as told:
        otlp.read(path, ReadSettings()).collect()
    assert "never added" in str(told.value)
    # Beside traces they are left out.
    path.write_text(f'{{"{key}":[{{}}]}}\n' + line({}))
    assert otlp.read(path, ReadSettings()).collect().height == 1


@pytest.mark.skipif(_fast_json.library() is None, reason="msgspec is not installed: there is no fast road")
def test_regular_spans_take_the_fast_road() -> None:
    road = _otlp_fast.road(ReadSettings())
    assert road is not None
    assert road.take(EXAMPLE.read_bytes().splitlines(), True) == 5
    regular = road.rows()
    assert (regular.rows.height, regular.widths, regular.irregular) == (3, [3, 1, 1], {})
    assert regular.rows.select(RAW).unnest(RAW)["line"].null_count() == 3


VALUES = st.sampled_from(
    [None, True, 0, 5, -3, 1.5, "", " x ", "\x1c", "null", "5", "x", "\ud83d\ude00", 2**63, 10**25, [], {}, "0",
     1_790_000_000_000_000_000, "ot=th:8", "ot=th:zz", {"code": 2}, {"code": True}, {"stringValue": "v"},
     {"intValue": "4"}, {"intValue": 4}, {"intValue": "-4"}, {"intValue": "x"}, {"boolValue": True},
     {"doubleValue": 0.5}, {"doubleValue": -1.0}, {"doubleValue": "NaN"}, {"doubleValue": None},
     {"stringValue": None}, {"stringValue": " "}, {"stringValue": "a", "intValue": "5"}, {"new": 1},
     {"arrayValue": {"values": [{"stringValue": "a"}]}}, {"stringValue": "self_hosted"}]
)  # fmt: skip
FULL: dict[str, object] = {
    "gen_ai.response.id": "r",
    "gen_ai.usage.input_tokens": 100,
    "gen_ai.usage.prompt_tokens": 90,
    "gen_ai.usage.cache_read.input_tokens": 10,
    "gen_ai.usage.output_tokens": 5,
    "gen_ai.usage.reasoning.output_tokens": 1,
    "gen_ai.response.time_to_first_chunk": 0.1,
    "openai.response.service_tier": "default",
    "llm.cost.total": 0.25,
    "gen_ai.latency.time_in_queue": 0.02,
    "gen_ai.latency.time_in_model_prefill": 0.08,
    "gen_ai.latency.time_in_model_decode": 0.9,
    "http.request.body.size": 4321,
    "http.response.body.size": 765,
    "http.request.resend_count": 1,
    "finops.team": "t",
}


def test_sizes_of_bodies_and_times_in_the_engine(tmp_path: Path) -> None:
    columns = ("request_bytes", "response_bytes", "ttft_ms", "queue_ms", "prefill_ms", "decode_ms")
    assert [one(tmp_path, FULL)[name] for name in columns] == [4321, 765, 100.0, 20.0, 80.0, 900.0]
    assert [one(tmp_path, {})[name] for name in columns] == [None] * 6
    wrong = one(tmp_path, {"http.request.body.size": -1, "gen_ai.latency.time_in_queue": "soon"})
    assert wrong[REASONS] == ["queue_ms: 'soon' is not a number", "request_bytes: -1 is negative"]


def test_a_lab_may_name_where_the_service_tier_stands(tmp_path: Path) -> None:
    named = {"settings": {"attributes": {"service_tier": ("app.tier",)}}}
    said = {"openai.response.service_tier": "flex"}
    assert one(tmp_path, {**said, "app.tier": "Batch"}, **named)["service_tier"] == "batch"
    assert one(tmp_path, said, resource={"app.tier": "default"}, **named)["service_tier"] == "standard"
    assert one(tmp_path, said, **named)["service_tier"] == "flex"


@settings(max_examples=80)
@given(data=st.data())
def test_both_roads_read_the_same(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    document = json.loads(line(FULL, {"finops.hosting": "self_hosted", "finops.team": "r"}))
    spans = document["resourceSpans"][0]["scopeSpans"][0]["spans"]
    spans.extend(json.loads(line({}))["resourceSpans"][0]["scopeSpans"][0]["spans"])
    for _ in range(data.draw(st.integers(0, 3))):
        span = data.draw(st.sampled_from(spans))
        if data.draw(st.booleans()):
            span[data.draw(st.sampled_from([*FIELDS, "endTimeUnixNano", "spanId"]))] = data.draw(VALUES)
        elif isinstance(span.get("attributes"), list) and span["attributes"]:
            item = data.draw(st.sampled_from(span["attributes"]))
            if isinstance(item, dict):
                item[data.draw(st.sampled_from(["key", "value", "value"]))] = data.draw(VALUES)
    text = json.dumps(document)
    folder = tmp_path_factory.mktemp("t")
    (folder / "one").write_text("[\n" + text + "\n]")  # one document: the slow road
    slow = otlp.read(folder / "one", ReadSettings()).collect()
    (folder / "lines").write_text(f"{text}\n{text}\n")
    fast = otlp.read(folder / "lines", ReadSettings()).collect()
    assert fast.head(slow.height).drop(RAW).equals(slow.drop(RAW))
    assert fast.tail(slow.height).drop(RAW, "source_row").equals(slow.drop(RAW, "source_row"))
    refused = fast.filter(fast[REASONS].is_not_null())[RAW].struct.field("line")
    assert refused.null_count() == 0
