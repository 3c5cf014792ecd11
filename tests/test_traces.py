"""Traces: which were slowest, the phases of their calls, and the charts that draw them."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finops_lab.charts.lines import day_lines
from finops_lab.charts.timing import duration_steps, trace_waterfall
from finops_lab.errors import InputError
from finops_lab.unit_economics.traces import PHASES, slowest_traces, trace_spans

AT = datetime(2026, 10, 21, 9, tzinfo=UTC)
SCHEMA = {
    "trace_id": pl.String, "ts_start": pl.Datetime("us", "UTC"), "latency_ms": pl.Float64, "status": pl.String,
    "operation": pl.String, "model": pl.String, "queue_ms": pl.Float64, "prefill_ms": pl.Float64,
    "decode_ms": pl.Float64, "ttft_ms": pl.Float64, "output_tokens": pl.Int64,
}  # fmt: skip


def call(trace: str | None, after_ms: float, latency: float | None, **other: Any) -> dict[str, Any]:
    plain = {"status": "ok", "operation": "chat", "model": "m"}
    return {"trace_id": trace, "ts_start": AT + timedelta(milliseconds=after_ms), "latency_ms": latency} | (
        plain | other
    )


def calls(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=SCHEMA)


def test_a_trace_lasts_from_its_first_call_to_its_last_answer() -> None:
    rows = calls(
        call("long first", 0, 900.0, model="b"),
        call("long first", 100, 50.0, status="timeout", model="a"),
        call("gap", 0, 10.0),
        call("gap", 990, 10.5, status="error"),
        call("gap", 500, None),  # a call that never answered has no end
        call(None, 0, 99_999.0),
    )
    found = slowest_traces(rows)
    assert found.drop("begin").rows() == [("gap", 1000.5, 2, 1, "m"), ("long first", 900.0, 2, 1, "a, b")]
    assert found["begin"].to_list() == [AT, AT]
    assert slowest_traces(rows, 1)["trace_id"].to_list() == ["gap"]
    assert slowest_traces(calls()).is_empty()


def test_phases_follow_each_other_and_what_is_left_is_other() -> None:
    rows = calls(
        call("t", 200, 30.0, model="later"),
        call("t", 0, 100.0, queue_ms=5.0, prefill_ms=15.0, decode_ms=70.0, output_tokens=7),
        call("t", 300, 20.0, ttft_ms=50.0),  # a first token after the end ends with it
        call("t", 400, None),
        call("another", 0, 1.0),
    )
    found = trace_spans(rows, "t")
    assert found.select("call", "phase", "start_ms", "end_ms").rows() == [
        (1, "queue", 0.0, 5.0),
        (1, "prefill", 5.0, 20.0),
        (1, "decode", 20.0, 90.0),
        (1, "other", 90.0, 100.0),
        (2, "whole", 200.0, 230.0),
        (3, "first token", 300.0, 320.0),
        (3, "rest", 320.0, 320.0),
    ]
    assert found["label"].unique(maintain_order=True).to_list() == ["1 chat m", "2 chat later", "3 chat m"]
    assert found["tokens"].to_list() == [7, 7, 7, 7, None, None, None]


phase = st.none() | st.integers(0, 10**6).map(float)


@given(queue=phase, prefill=phase, decode=phase, ttft=phase, latency=st.integers(0, 10**6).map(float))
def test_phases_are_in_order_and_leave_nothing_out(
    queue: float | None, prefill: float | None, decode: float | None, ttft: float | None, latency: float
) -> None:
    row = call("t", 0, latency, queue_ms=queue, prefill_ms=prefill, decode_ms=decode, ttft_ms=ttft)
    found = trace_spans(calls(row), "t")
    assert found["start_ms"].to_list()[1:] == found["end_ms"].to_list()[:-1]
    assert (found["start_ms"] <= found["end_ms"]).all()
    order = [PHASES.index(name) for name in found["phase"]]
    assert order == sorted(order)
    known = sum(length or 0.0 for length in (queue, prefill, decode))
    assert found["end_ms"][-1] == max(latency, known)


def test_a_trace_that_is_not_there_or_without_durations_is_refused() -> None:
    with pytest.raises(InputError, match="no trace 'x'"):
        trace_spans(calls(call("t", 0, 1.0)), "x")
    with pytest.raises(InputError, match="no call of the trace 't' has a latency"):
        trace_spans(calls(call("t", 0, None)), "t")


def test_columns_that_a_source_lacks_are_unknown() -> None:
    bare = calls(call("t", 0, 10.0)).drop("queue_ms", "prefill_ms", "decode_ms", "ttft_ms", "output_tokens")
    assert trace_spans(bare, "t").select("phase", "end_ms", "tokens").rows() == [("whole", 10.0, None)]


SPANS = trace_spans(
    calls(
        call("t", 0, 100.0, queue_ms=5.0, prefill_ms=15.0, decode_ms=80.0),
        call("t", 150, 1900.0, status="timeout", model="other"),
    ),
    "t",
)
DAYS = pl.DataFrame(
    [(date(2026, 10, day), f"g{n}", float(n * day)) for day in (1, 2) for n in range(1, 10)],
    schema=["day", "group", "value"],
    orient="row",
)
STEPS = pl.DataFrame({"group": ["a", "a", "b"], "from_ms": [10.0, 100.0, 0.0], "share": [0.25, 0.75, 1.0]})


def test_the_waterfall_names_calls_ends_and_status() -> None:
    spec = trace_waterfall(SPANS, title="Trace t").to_dict()
    assert spec["description"] == (
        "A trace of 2 calls, 2,050 ms from begin to end. 1 chat m: 0 to 100 ms, ok; "
        "2 chat other: 150 to 2,050 ms, timeout."
    )
    bars, ends = (layer["data"]["values"] for layer in spec["layer"])
    assert [bar["took"] for bar in bars] == ["5 ms", "15 ms", "80 ms", "1,900 ms"]
    assert [(end["end_ms"], end["status"]) for end in ends] == [(100.0, "ok"), (2050.0, "timeout")]
    assert spec["layer"][0]["encoding"]["color"]["scale"]["domain"] == ["queue", "prefill", "decode", "whole"]
    many = pl.concat(SPANS.with_columns(label=pl.lit(f"{n}"), call=pl.lit(n)) for n in range(41))
    with pytest.raises(InputError, match="at most 40 calls, it has 41"):
        trace_waterfall(many, title="t")


def test_lines_of_many_groups_leave_the_smallest_out_and_say_so() -> None:
    chart = day_lines(DAYS, title="Money", value_title="Cost", threshold=(None, 12.5)).to_dict()
    kept = chart["layer"][0]["encoding"]["color"]["scale"]
    assert kept["domain"] == [f"g{n}" for n in range(9, 2, -1)]
    assert len(set(kept["range"])) == 7  # a colour of its own for each
    assert "2 smaller groups not drawn" in chart["title"]["subtitle"]
    assert chart["description"].startswith("Lines of cost by day from 2026-10-01 to 2026-10-02, 7 groups.")
    assert chart["description"].endswith("2 smaller groups not drawn.")
    (rule,) = [layer for layer in chart["layer"] if layer["mark"]["type"] == "rule"]
    assert rule["data"]["values"] == [{"value": 12.5, "text": "$12.50"}]
    share = DAYS.with_columns(pl.col("value") / 100)
    ratio = day_lines(share, title="Busy", unit="ratio", value_title="In use").to_dict()
    assert "g9 18%" in ratio["description"]
    with pytest.raises(InputError):
        day_lines(DAYS.drop("group"), title="t")


def test_durations_of_zero_have_no_place_on_a_logarithmic_axis() -> None:
    spec = duration_steps(STEPS, title="Durations").to_dict()
    assert spec["description"] == "Share of calls by duration, 1 group. Most often: a from 100 ms."
    with pytest.raises(InputError, match="no duration is above 0"):
        duration_steps(STEPS.filter(pl.col("from_ms") == 0), title="t")


def test_row_order_does_not_matter() -> None:
    import vl_convert

    for draw, frame in ((day_lines, DAYS), (duration_steps, STEPS), (trace_waterfall, SPANS)):
        one = draw(frame, title="t").to_dict()
        assert json.dumps(one) == json.dumps(draw(frame, title="t").to_dict())
        assert vl_convert.vegalite_to_svg(one).count("<path") > 3
        if draw is not trace_waterfall:  # phases of a call come in their own order
            assert json.dumps(one) == json.dumps(draw(frame.reverse(), title="t").to_dict())
