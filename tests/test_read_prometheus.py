"""Answers of Prometheus become GPU samples, histograms, requests and capacity; its traps are seen."""

from __future__ import annotations

import gzip
import json
import math
import shutil
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers import ingest_lab, write_lab
from hypothesis import given
from hypothesis import strategies as st

from finops_lab import contracts
from finops_lab.errors import FinopsError, InputError
from finops_lab.ingestion import lake, registry
from finops_lab.ingestion.platform import prometheus
from finops_lab.ingestion.registry import NOTES, RAW, REASONS, ReadSettings

FORMATS = Path(__file__).parent / "formats"
DCGM, KUBE, VLLM = (FORMATS / f"prometheus_{name}.json" for name in ("dcgm", "kube", "vllm"))
EXAMPLES = {
    DCGM: {"gpu_samples"},
    KUBE: {"capacity_series", "scale_events"},
    VLLM: {"latency_histograms", "inference_requests"},
}
T0 = 1_790_000_000
START = datetime(2026, 9, 21, 14, 13, 20, tzinfo=UTC)
GPU = {"UUID": "GPU-a", "Hostname": "node-1", "modelName": "Example"}
TOKENS = ("input_uncached_tokens", "cache_read_tokens", "output_tokens")
ENGINE = {"model_name": "m", "pod": "p-0", "engine": "0"}


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def series(name: str, labels: dict[str, str], values: Sequence[Any], step: float = 60) -> dict[str, Any]:
    """Return one series; None is a moment without sample."""
    pairs = [
        [T0 + step * n, v if isinstance(v, str) else str(v)] for n, v in enumerate(values) if v is not None
    ]
    return {"metric": {"__name__": name, **labels}, "values": pairs}


def answer(*result: dict[str, Any], **more: Any) -> str:
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": list(result)}, **more})


def put(folder: Path, *answers: str) -> Path:
    path = folder / "answer.json"
    path.write_text("\n".join(answers) + "\n")
    return path


def tables(path: Path) -> list[str]:
    """Return the tables whose readers match, all of one format."""
    matching = [r for r in registry.readers() if r.matches(registry.inspect(path))]
    assert {r.FORMAT for r in matching} <= {prometheus.READERS[0].FORMAT}
    return [r.TABLE for r in matching]


def read(path: Path, table: str, **settings: Any) -> pl.DataFrame:
    """Read one table, which the file must have been recognised to hold."""
    assert table in tables(path)
    return prometheus.PrometheusReader(table).read(path, ReadSettings(**settings)).collect()


def rows(folder: Path, table: str, *result: dict[str, Any], **settings: Any) -> list[dict[str, Any]]:
    return read(put(folder, answer(*result)), table, **settings).rows(named=True)


def said(frame: pl.DataFrame, column: str) -> list[str]:
    return [text for texts in frame[column].drop_nulls() for text in texts]


def broken_rules(frame: pl.DataFrame, table: str) -> list[str]:
    """Return what the contract has against rows that the reader accepts."""
    good = frame.filter(pl.col(REASONS).is_null()).with_columns(source_file=pl.lit("f"))
    return said(good.select(contracts.reasons(table).alias("r")), "r")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_detection_is_exclusive_and_by_the_metrics_held(path: Path) -> None:
    assert set(tables(path)) == EXAMPLES[path]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_frames_have_the_contract_and_its_dtypes(path: Path) -> None:
    for table in EXAMPLES[path]:
        frame = read(path, table)
        wanted = {n: t for n, t in contracts.dtypes(table).items() if n != "source_file"}
        assert {n: frame.schema[n] for n in wanted} == wanted
        assert [*wanted, RAW, REASONS, NOTES] == frame.columns
        assert broken_rules(frame, table) == []


# --- serving engines


def test_golden_vllm_requests() -> None:
    frame = read(VLLM, "inference_requests")
    assert frame[REASONS].null_count() == frame.height
    columns = ("ts_start", "ts_end", "status", "n_requests", *TOKENS)
    assert frame.select(columns).rows() == [
        (at(0), at(60), "ok", 4, 400, 200, 300),
        (at(0), at(60), "cancelled", 1, None, None, None),
        # The 50 tokens of the second minute, in which nothing finished, and the reset third.
        (at(60), at(180), "ok", 2, 200, 100, 90),
        (at(180), at(240), "ok", 3, 200, 400, 300),
        (at(180), at(240), "cancelled", 1, None, None, None),
        (at(180), at(240), "error", 1, None, None, None),
    ]
    first = frame.row(0, named=True)
    told = {"provider": "vllm", "hosting": "self_hosted", "model": "llama-example", "pool_id": "chat"}
    assert {
        **told,
        "team": "search",
        "operation": "completion",
        "sample_weight": 1.0,
    }.items() <= first.items()
    assert any(note.startswith("tokens are those of all requests") for note in first[NOTES])
    assert frame[2, NOTES].to_list() == [
        "counter was reset: counted from zero",
        "tokens of windows without a finished request are with this one",
    ]


def test_golden_vllm_histograms() -> None:
    frame = read(VLLM, "latency_histograms")
    assert frame[REASONS].null_count() == frame.height
    latency = frame.filter(metric="latency").select("ts", "window_s", "le_ms", "cumulative_count", "sum_ms")
    assert latency.rows() == [
        (at(0), 60.0, 300.0, 2, None),
        (at(0), 60.0, 1000.0, 3, None),
        (at(0), 60.0, math.inf, 5, 3500.0),
        (at(120), 60.0, 300.0, 1, None),
        (at(120), 60.0, 1000.0, 2, None),
        (at(120), 60.0, math.inf, 2, 1250.0),
        (at(180), 60.0, 300.0, 3, None),
        (at(180), 60.0, 1000.0, 4, None),
        (at(180), 60.0, math.inf, 5, 4000.0),
    ]
    place = {"source_metric": "vllm:e2e_request_latency_seconds", "namespace": "serving", "pod": "chat-0"}
    assert place.items() <= frame.row(0, named=True).items()
    tokens = frame.filter(metric="time_per_output_token")
    assert set(tokens["source_metric"]) == {"vllm:request_time_per_output_token_seconds"}
    notes = said(frame, NOTES)
    assert "vllm:inter_token_latency_seconds: left out beside the direct time_per_output_token" in notes
    # Told once, by the first table of the file; a series in two answers is one.
    assert "metrics that no table holds, left out: vllm:num_requests_running (1 series)" in notes
    assert not any("num_requests" in note for note in said(read(VLLM, "inference_requests"), NOTES))


@pytest.mark.parametrize("end", ["generation_tokens", "generation_tokens_total"])
@pytest.mark.parametrize("prefix", ["vllm:", "vllm_", "kserve_vllm:", "kserve_vllm_"])
def test_trap_vllm_names_with_kserve_prefix_or_underscores(tmp_path: Path, prefix: str, end: str) -> None:
    name = prefix + end
    found = rows(
        tmp_path, "inference_requests",
        series(name, ENGINE, [0, 7]),
        series(name.replace("generation_tokens", "request_success"), {**ENGINE, "finished_reason": "stop"}, [0, 1]),
    )  # fmt: skip
    assert [(r["output_tokens"], r["n_requests"], r["provider"]) for r in found] == [(7, 1, "vllm")]


def test_trap_request_success_counts_errors_and_aborts_too(tmp_path: Path) -> None:
    reasons = {"stop": 5, "length": 2, "repetition": 1, "abort": 3, "error": 4, "novel": 6}
    found = rows(
        tmp_path, "inference_requests",
        *[series("vllm:request_success_total", {**ENGINE, "finished_reason": r}, [0, n]) for r, n in reasons.items()],
    )  # fmt: skip
    good = {r["status"]: r["n_requests"] for r in found if r[REASONS] is None}
    assert good == {"ok": 8, "cancelled": 3, "error": 4}
    assert [(r["n_requests"], r[REASONS]) for r in found if r[REASONS]] == [
        (6, ["status: its finished_reason is not known"])
    ]


def test_trap_counters_of_one_process_are_reset_together(tmp_path: Path) -> None:
    # After its restart the engine has written more tokens than before, yet finished fewer requests.
    (row,) = rows(
        tmp_path, "inference_requests",
        series("vllm:generation_tokens_total", ENGINE, [100, 130]),
        series("vllm:request_success_total", {**ENGINE, "finished_reason": "stop"}, [9, 2]),
    )  # fmt: skip
    assert (row["output_tokens"], row["n_requests"]) == (130, 2)


def test_trap_a_reset_histogram_stays_cumulative(tmp_path: Path) -> None:
    name = "vllm:e2e_request_latency_seconds_bucket"
    found = rows(
        tmp_path, "latency_histograms",
        *[series(name, {**ENGINE, "le": le}, v) for le, v in (("0.1", [2, 3]), ("0.5", [3, 3]), ("+Inf", [10, 4]))],
    )  # fmt: skip
    assert [r["cumulative_count"] for r in found] == [3, 3, 4]


def test_trap_infinite_bucket_carries_the_sum_and_count_stands_in_for_it(tmp_path: Path) -> None:
    base = "tgi_request_duration"
    found = rows(
        tmp_path, "latency_histograms",
        series(f"{base}_bucket", {"model": "m", "le": "0.001"}, [0, 1]),
        series(f"{base}_sum", {"model": "m"}, [0, 2.5]),
        series(f"{base}_count", {"model": "m"}, [0, 4]),
    )  # fmt: skip
    assert [(r["le_ms"], r["cumulative_count"], r["sum_ms"]) for r in found] == [
        (1.0, 1, None),
        (math.inf, 4, 2500.0),
    ]


def test_trap_bucket_ends_are_seconds_or_milliseconds_by_metric(tmp_path: Path) -> None:
    triton = "nv_inference_first_response_histogram_ms_bucket"
    found = rows(
        tmp_path, "latency_histograms",
        series(triton, {"model": "m", "version": "1", "le": "100"}, [0, 1]),
        series("sglang:time_to_first_token_seconds_bucket", {"model_name": "m", "le": "0.3"}, [0, 1]),
    )  # fmt: skip
    assert {(r["source_metric"], r["le_ms"], r["metric"]) for r in found} == {
        (triton.removesuffix("_bucket"), 100.0, "ttft"),
        ("sglang:time_to_first_token_seconds", 300.0, "ttft"),
    }


def test_trap_counter_that_is_nan_or_negative(tmp_path: Path) -> None:
    found = read(
        put(
            tmp_path,
            answer(
                series("vllm:generation_tokens_total", ENGINE, [0, "NaN", 5, "-3", "+Inf"]),
                series("vllm:request_success_total", {**ENGINE, "finished_reason": "stop"}, [0, 1, 2, 2, 2]),
            ),
        ),
        "inference_requests",
    )
    assert found["output_tokens"].sum() == 5
    assert found["n_requests"].sum() == 2
    assert sorted(said(found, REASONS)) == ["value: '+Inf' is no count", "value: '-3' is no count"]
    assert "samples of counters that are NaN, left out" in said(found, NOTES)


def test_trap_gap_in_a_counter_is_one_window_that_spans_it(tmp_path: Path) -> None:
    found = rows(
        tmp_path, "inference_requests",
        series("vllm:request_success_total", {**ENGINE, "finished_reason": "stop"}, [0, 1, 2, None, None, None, 9]),
    )  # fmt: skip
    assert [(r["ts_start"], r["ts_end"], r["n_requests"]) for r in found] == [
        (at(0), at(60), 1),
        (at(60), at(120), 1),
        (at(120), at(360), 7),
    ]
    assert found[-1][NOTES] == ["samples are missing: the row spans the gap"]


def test_trap_histogram_bucket_without_a_sample_of_the_window(tmp_path: Path) -> None:
    name = "vllm:e2e_request_latency_seconds_bucket"
    found = rows(
        tmp_path, "latency_histograms",
        series(name, {**ENGINE, "le": "0.1"}, [0, None, 2]),
        series(name, {**ENGINE, "le": "+Inf"}, [0, 3, 5]),
    )  # fmt: skip
    assert [(r["le_ms"], r[REASONS]) for r in found] == [
        (math.inf, None),
        (100.0, ["le_ms: the bucket lacks a sample of its window"]),
        (math.inf, None),
    ]


def test_trap_more_cached_than_input_tokens_is_refused_not_clamped(tmp_path: Path) -> None:
    (row,) = rows(
        tmp_path, "inference_requests",
        series("vllm:prompt_tokens_total", ENGINE, [0, 10]),
        series("vllm:prompt_tokens_cached_total", ENGINE, [0, 11]),
        series("vllm:request_success_total", {**ENGINE, "finished_reason": "stop"}, [0, 1]),
    )  # fmt: skip
    assert row["input_uncached_tokens"] is None
    assert row[REASONS] == [
        "input_uncached_tokens: 11.0 tokens read from the cache are more than the 10.0 input tokens"
    ]


def test_tokens_without_any_finished_request_are_refused_with_their_number(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, "inference_requests", series("vllm:generation_tokens_total", ENGINE, [5, 9, 30]))
    assert (row["output_tokens"], row["n_requests"]) == (25, None)
    assert row[REASONS] == ["n_requests: 25 tokens and no finished request in the file"]


def test_tokens_after_the_last_finished_request_are_with_it(tmp_path: Path) -> None:
    (row,) = rows(
        tmp_path, "inference_requests",
        series("vllm:generation_tokens_total", ENGINE, [0, 10, 15]),
        series("vllm:request_success_total", {**ENGINE, "finished_reason": "stop"}, [0, 1, 1]),
    )  # fmt: skip
    assert (row["output_tokens"], row["n_requests"], row["ts_end"]) == (15, 1, at(120))


def test_replicas_of_a_model_are_summed_after_their_increase(tmp_path: Path) -> None:
    # One replica restarts: the sum of the two counters never falls.
    success = "vllm:request_success_total"
    (row,) = rows(
        tmp_path, "inference_requests",
        series(success, {**ENGINE, "finished_reason": "stop"}, [100, 3]),
        series(success, {**ENGINE, "pod": "p-1", "finished_reason": "stop"}, [100, 400]),
    )  # fmt: skip
    assert row["n_requests"] == 303


def test_sglang_tgi_and_triton_requests(tmp_path: Path) -> None:
    sglang, triton, tgi = {"model_name": "s"}, {"model": "t", "version": "1"}, {"model_id": "g"}
    found = rows(
        tmp_path, "inference_requests",
        series("sglang:prompt_tokens_total", sglang, [0, 100]),
        series("sglang:cached_tokens_total", {**sglang, "cache_source": "device"}, [0, 30]),
        series("sglang:cached_tokens_total", {**sglang, "cache_source": "host"}, [0, 10]),
        series("sglang:generation_tokens_total", sglang, [0, 50]),
        series("sglang:num_requests_total", sglang, [0, 4]),
        series("sglang:num_aborted_requests_total", sglang, [0, 1]),
        series("tgi_request_input_length_sum", tgi, [0, 70]),
        series("tgi_request_generated_tokens_sum", tgi, [0, 20]),
        series("tgi_request_success", tgi, [0, 2]),
        series("tgi_request_failure", {**tgi, "err": "overloaded"}, [0, 3]),
        series("tgi_request_failure", {**tgi, "err": "dropped"}, [0, 1]),
        series("nv_inference_request_success", triton, [0, 6]),
        series("nv_inference_request_failure", {**triton, "reason": "CANCELED"}, [0, 1]),
        series("nv_inference_request_failure", {**triton, "reason": "BACKEND"}, [0, 2]),
    )  # fmt: skip
    assert {
        (*(r[c] for c in ("model", "status", "error_type", "n_requests")), *(r[c] for c in TOKENS))
        for r in found
    } == {
        ("s", "ok", None, 4, 60, 40, 50),
        ("s", "cancelled", None, 1, None, None, None),
        ("g", "ok", None, 2, 70, None, 20),
        ("g", "error", "overloaded", 3, None, None, None),
        ("g", "cancelled", "dropped", 1, None, None, None),
        ("t", "ok", None, 6, None, None, None),
        ("t", "cancelled", "CANCELED", 1, None, None, None),
        ("t", "error", "BACKEND", 2, None, None, None),
    }  # fmt: skip
    assert {r["operation"] for r in found if r["model"] == "t"} == {"other"}
    assert all(r[REASONS] is None for r in found)


def test_context_is_looked_up_in_the_labels_of_the_settings_first(tmp_path: Path) -> None:
    labels = {**ENGINE, "app_team": "ads", "team": "platform", "feature": "chat", "finished_reason": "stop"}
    (row,) = rows(
        tmp_path, "inference_requests",
        series("vllm:request_success_total", labels, [0, 1]),
        attributes={"team": ("app.team",), "model": ("nothing",)},
    )  # fmt: skip
    assert (row["team"], row["feature"], row["model"]) == ("ads", "chat", "m")


def test_series_without_a_model_are_refused(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, "inference_requests", series("tgi_request_success", {}, [0, 1]))
    assert row[REASONS] == ["model: no label of the series names it"]


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 50), st.integers(0, 3), st.booleans()), min_size=1, max_size=12),
        min_size=1,
        max_size=3,
    )
)
def test_every_counted_token_and_request_is_on_a_row(pods: list[list[tuple[int, int, bool]]]) -> None:
    """Tokens and requests written after the first scrape are on rows, resets and idle windows or not."""
    result, tokens, requests = [], 0, 0
    for number, minutes in enumerate(pods):
        written, finished = [1000], [1000]
        for more, done, told in minutes:
            # A restart shows by a counter that fell; one that no counter shows cannot be seen.
            restarted = told and (more < written[-1] or done < finished[-1])
            written.append(more if restarted else written[-1] + more)
            finished.append(done if restarted else finished[-1] + done)
            tokens, requests = tokens + more, requests + done
        labels = {**ENGINE, "pod": f"p-{number}"}
        result.append(series("vllm:generation_tokens_total", labels, written))
        result.append(series("vllm:request_success_total", {**labels, "finished_reason": "stop"}, finished))
    with tempfile.TemporaryDirectory() as folder:
        path = put(Path(folder), answer(*result))
        frame = prometheus.PrometheusReader("inference_requests").read(path, ReadSettings()).collect()
    assert (frame["output_tokens"].sum(), frame["n_requests"].sum()) == (tokens, requests)
    refused = frame.filter(pl.col(REASONS).is_not_null())
    assert refused.height == (1 if tokens and not requests else 0)


# --- GPUs


def test_golden_dcgm() -> None:
    frame = read(DCGM, "gpu_samples")
    first = frame.filter(pl.col("gpu_uuid").str.ends_with("a"))
    columns = ("ts", "interval_s", "util_kind", "util", "power_w", "mem_used_bytes", "mem_total_bytes")
    mib = 1024 * 1024
    assert first.select(columns).rows() == [
        (at(0), 30.0, "gpu_util", 0.87, 650.5, 70000 * mib, 81559 * mib),
        (at(0), 30.0, "gr_engine_active", 0.875, 650.5, 70000 * mib, 81559 * mib),
        (at(30), 30.0, "gpu_util", None, None, 70000 * mib, None),
        (at(30), 30.0, "gr_engine_active", None, None, 70000 * mib, None),
        (at(60), 30.0, "gpu_util", 1.0, 700.0, 70000 * mib, 81559 * mib),
        (at(60), 30.0, "gr_engine_active", 0.5, 700.0, 70000 * mib, 81559 * mib),
        (at(180), 30.0, "gpu_util", 0.4, 300.0, 70000 * mib, 81559 * mib),
        (at(180), 30.0, "gr_engine_active", 0.25, 300.0, 70000 * mib, 81559 * mib),
    ]
    place = {
        "cluster": "example",
        "node": "node-1",
        "namespace": "serving",
        "pod": "chat-0",
        "allocated": True,
    }
    assert place.items() <= first.row(0, named=True).items()
    assert first["gpu_model"].unique().to_list() == ["NVIDIA H100 80GB HBM3"]
    assert sorted(said(frame, REASONS)) == [
        "util: '1.5' is not a ratio from 0 to 1",
        "util: '150' is not a percentage",
    ]
    assert "metrics that no table holds, left out: DCGM_FI_DEV_XID_ERRORS (1 series)" in said(frame, NOTES)


def test_trap_per_cent_and_ratio_are_told_apart_by_name_never_by_size(tmp_path: Path) -> None:
    found = rows(
        tmp_path, "gpu_samples",
        series("DCGM_FI_DEV_GPU_UTIL", GPU, ["1", "0.5"]),
        series("DCGM_FI_PROF_SM_ACTIVE", GPU, ["1", "85"]),
        series("nv_gpu_utilization", {"gpu_uuid": "GPU-t"}, ["0.73", "40"]),
    )  # fmt: skip
    assert [(r["gpu_uuid"], r["util_kind"], r["util"]) for r in found if r[REASONS] is None] == [
        ("GPU-a", "gpu_util", 0.01),
        ("GPU-a", "sm_active", 1.0),
        ("GPU-t", "gpu_util", 0.73),
        ("GPU-a", "gpu_util", 0.005),
    ]
    assert [r[REASONS] for r in found if r[REASONS]] == [
        ["util: '85' is not a ratio from 0 to 1"],
        ["util: '40' is not a percentage"],
    ]


@pytest.mark.parametrize(
    "blank",
    [
        "2147483632",
        "2147483635",
        "9223372036854775792",
        "9223372036854775794",
        "9.223372036854776e+18",
        "140737488355328",
        "140737488355331",
    ],
)
def test_trap_dcgm_blank_sentinels_are_unknown(tmp_path: Path, blank: str) -> None:
    first, _ = rows(
        tmp_path, "gpu_samples",
        series("DCGM_FI_DEV_GPU_UTIL", GPU, [blank, "5"]),
        series("DCGM_FI_DEV_POWER_USAGE", GPU, [blank, "5"]),
        series("DCGM_FI_DEV_FB_USED", GPU, [blank, "5"]),
    )  # fmt: skip
    assert (first["util"], first["power_w"], first["mem_used_bytes"], first[REASONS]) == (
        None,
        None,
        None,
        None,
    )
    assert first[NOTES] == [
        "util: DCGM has no value (blank)",
        "memory or power: DCGM has no value (blank), or NaN",
    ]


def test_trap_nan_is_unknown_and_infinity_is_refused(tmp_path: Path) -> None:
    found = rows(tmp_path, "gpu_samples", series("DCGM_FI_PROF_SM_ACTIVE", GPU, ["NaN", "+Inf", "0.5"]))
    assert [r["util"] for r in found] == [None, math.inf, 0.5]
    assert (found[0][NOTES], found[0][REASONS]) == (["util: NaN, not known"], None)
    assert found[1][REASONS] == ["util: '+Inf' is not a ratio from 0 to 1"]


def test_trap_a_gap_of_more_than_two_and_a_half_steps_invents_no_interval(tmp_path: Path) -> None:
    values = [1, 2, 3, None, 4, 5, None, None, 6]
    found = rows(tmp_path, "gpu_samples", series("DCGM_FI_DEV_GPU_UTIL", GPU, values, step=30))
    assert [r["interval_s"] for r in found] == [30.0, 30.0, 60.0, 30.0, 30.0, 30.0]
    assert [r[NOTES] is not None for r in found] == [False, False, False, False, True, False]


def test_trap_empty_pod_is_an_unallocated_gpu(tmp_path: Path) -> None:
    free = {**GPU, "UUID": "GPU-free"}
    name = "DCGM_FI_DEV_GPU_UTIL"
    spelled = rows(tmp_path, "gpu_samples", series(name, {**free, "pod": "", "namespace": ""}, [0, 0]))
    assert {(r["pod"], r["allocated"]) for r in spelled} == {(None, False)}
    # Prometheus drops blank labels: then another GPU's pod tells that pods are named at all.
    beside = rows(
        tmp_path, "gpu_samples", series(name, free, [0, 0]), series(name, {**GPU, "pod": "p"}, [0, 0])
    )
    assert {(r["gpu_uuid"], r["allocated"]) for r in beside} == {("GPU-a", True), ("GPU-free", False)}
    alone = rows(tmp_path, "gpu_samples", series(name, free, [0, 0]))
    assert {r["allocated"] for r in alone} == {None}


def test_trap_the_pod_of_the_exporter_holds_no_gpu(tmp_path: Path) -> None:
    own = {**GPU, "pod": "nvidia-dcgm-exporter-x2x4z", "namespace": "gpu-operator"}
    held = {**own, "UUID": "GPU-b", "exported_pod": "train-0", "exported_namespace": "research"}
    name = "DCGM_FI_DEV_GPU_UTIL"
    found = rows(tmp_path, "gpu_samples", series(name, own, [0, 0]), series(name, held, [9, 9]))
    assert {(r["gpu_uuid"], r["namespace"], r["pod"], r["allocated"]) for r in found} == {
        ("GPU-a", None, None, False),
        ("GPU-b", "research", "train-0", True),
    }


def test_trap_a_gpu_shared_by_pods_is_counted_once(tmp_path: Path) -> None:
    name = "DCGM_FI_DEV_GPU_UTIL"
    shared = [series(name, {**GPU, "pod": pod, "namespace": "tenants"}, [60, 60]) for pod in ("a", "b")]
    found = rows(tmp_path, "gpu_samples", *shared)
    assert [(r["util"], r["pod"], r["namespace"], r["allocated"]) for r in found] == [
        (0.6, None, "tenants", True)
    ] * 2
    assert found[0][NOTES] == ["pod: several pods share the GPU, none is named"]


def test_mig_slices_are_apart(tmp_path: Path) -> None:
    name = "DCGM_FI_PROF_GR_ENGINE_ACTIVE"
    slices = [{**GPU, "GPU_I_ID": str(n), "GPU_I_PROFILE": "1g.10gb"} for n in (7, 8)]
    found = rows(tmp_path, "gpu_samples", *[series(name, labels, [0.5, 0.5]) for labels in slices])
    assert {r["mig_id"] for r in found} == {"7/1g.10gb", "8/1g.10gb"}
    assert len(found) == 4


def test_a_gpu_without_utilization_is_kept_with_its_power(tmp_path: Path) -> None:
    found = rows(tmp_path, "gpu_samples", series("DCGM_FI_DEV_POWER_USAGE", GPU, [55, 56]))
    assert [(r["util_kind"], r["util"], r["power_w"], r[REASONS]) for r in found] == [
        ("gpu_util", None, 55.0, None),
        ("gpu_util", None, 56.0, None),
    ]


def test_a_series_without_gpu_and_a_single_sample_are_refused(tmp_path: Path) -> None:
    vector = {"metric": {"__name__": "DCGM_FI_DEV_GPU_UTIL"}, "value": [T0, "5"]}
    text = json.dumps({"status": "success", "data": {"resultType": "vector", "result": [vector]}})
    (row,) = read(put(tmp_path, text), "gpu_samples").rows(named=True)
    assert row[REASONS] == [
        "gpu_uuid: no label of the series names the GPU",
        "interval_s: one sample only, how long it stands is not known",
    ]


# --- capacity


def test_golden_kube_capacity() -> None:
    frame = read(KUBE, "capacity_series")
    assert frame[REASONS].null_count() == frame.height == 22 - 1
    chat = frame.filter(pool_id="chat")
    assert chat.select("desired", "ready", "least", "most").rows() == [
        (2, 2, 1, 8), (2, 2, 1, 8), (4, 2, 1, 8), (4, 3, 1, 8), (4, 4, 1, 8), (2, 4, 1, 8), (2, 4, 1, 8), (2, 2, 1, 8),
    ]  # fmt: skip
    assert set(chat["interval_s"]) == {60.0}
    assert set(chat["namespace"]) == {"serving"}
    cache = frame.filter(pool_id="cache")
    assert cache.select("ts", "interval_s", "desired", "ready").rows() == [
        (at(0), 60, 3, 3), (at(60), 60, 3, 3), (at(120), 60, 3, 3), (at(360), 60, 5, 4), (at(420), 60, None, 4),
    ]  # fmt: skip
    nodes = frame.filter(unit="node")
    assert nodes.select("pool_id", "desired", "ready", "most").unique().sort("desired").rows() == [
        ("gpu", 1, None, 10),
        ("gpu", 2, None, 10),
    ]
    (left,) = [note for note in said(frame, NOTES) if note.startswith("metrics")]
    held = "kube_horizontalpodautoscaler_status_current_replicas"
    for name in ("karpenter_nodepools_usage", "kube_deployment_status_replicas", held):
        assert f"{name} (1 series)" in left


def test_golden_kube_scale_events() -> None:
    frame = read(KUBE, "scale_events")
    assert frame[REASONS].null_count() == frame.height
    columns = ("ts_decision", "ts_ready", "pool_id", "scaler", "from_units", "to_units", "unit")
    assert frame.select(columns).rows() == [
        (at(120), at(240), "chat", "hpa", 2, 4, "replica"),
        (at(240), None, "gpu", "karpenter", 1, 2, "node"),
        (at(300), at(420), "chat", "hpa", 4, 2, "replica"),
        (at(360), None, "cache", "inferred", 3, 5, "replica"),
        (at(420), None, "gpu", "karpenter", 2, 1, "node"),
    ]
    assert frame.row(3, named=True)[NOTES] == ["ts_decision: samples are missing before this one"]


def test_a_decision_taken_back_before_it_was_there_is_never_ready(tmp_path: Path) -> None:
    labels = {"namespace": "n", "deployment": "d"}
    found = rows(
        tmp_path, "scale_events",
        series("kube_deployment_spec_replicas", labels, [1, 3, 2, 2, 2]),
        series("kube_deployment_status_replicas_ready", labels, [1, 1, 1, 2, 3]),
    )  # fmt: skip
    assert [(r["from_units"], r["to_units"], r["ts_ready"]) for r in found] == [(1, 3, None), (3, 2, at(120))]


def test_keda_names_its_autoscaler_after_the_scaled_object(tmp_path: Path) -> None:
    labels = {"namespace": "n", "horizontalpodautoscaler": "keda-hpa-chat"}
    (row,) = rows(
        tmp_path, "scale_events",
        series("kube_horizontalpodautoscaler_status_desired_replicas", labels, [0, 1]),
    )  # fmt: skip
    assert (row["pool_id"], row["scaler"]) == ("chat", "keda")


def test_trap_replicas_of_an_autoscaler_are_not_ready_ones(tmp_path: Path) -> None:
    labels = {"namespace": "n", "horizontalpodautoscaler": "d"}
    found = rows(
        tmp_path, "capacity_series",
        series("kube_horizontalpodautoscaler_status_desired_replicas", labels, [2, 2]),
        series("kube_horizontalpodautoscaler_status_current_replicas", labels, [2, 2]),
    )  # fmt: skip
    assert [(r["desired"], r["ready"]) for r in found] == [(2, None)] * 2


def test_negative_and_infinite_replicas_are_refused(tmp_path: Path) -> None:
    labels = {"namespace": "n", "deployment": "d"}
    found = rows(
        tmp_path, "capacity_series", series("kube_deployment_spec_replicas", labels, [-1, "+Inf", 1])
    )
    assert [r[REASONS] for r in found] == [
        ["desired: '-1.0' is no number of replicas"],
        ["desired: 'inf' is no number of replicas"],
        None,
    ]


# --- files


def test_a_series_that_several_answers_continue_is_one(tmp_path: Path) -> None:
    name, labels = "vllm:request_success_total", {**ENGINE, "finished_reason": "stop"}
    whole = series(name, labels, [0, 1, 3, 6, 10])
    parts = [{**whole, "values": whole["values"][a:b]} for a, b in ((0, 2), (1, 3), (3, 5))]
    frame = read(put(tmp_path, *map(answer, parts)), "inference_requests")
    assert frame["n_requests"].to_list() == [1, 2, 3, 4]
    assert said(frame, NOTES) == ["samples given twice in the file: the first was kept"]


def test_same_rows_from_gzip_pretty_bare_and_key_sorted_answers(tmp_path: Path) -> None:
    wanted = read(DCGM, "gpu_samples")
    document = json.loads(DCGM.read_text())
    path = tmp_path / "answer.json"
    texts = [
        json.dumps(document, indent=2),
        json.dumps(document, sort_keys=True),
        json.dumps(document["data"]),
        json.dumps(document["data"]["result"]),  # as promtool prints it
    ]
    for text in texts:
        path.write_text(text)
        assert read(path, "gpu_samples").equals(wanted)
    path.write_bytes(gzip.compress(DCGM.read_bytes()))
    assert read(path, "gpu_samples").equals(wanted)


def test_a_metric_behind_the_first_megabyte_is_found(tmp_path: Path) -> None:
    long = series("DCGM_FI_DEV_GPU_UTIL", GPU, [50] * 60_000, step=15)
    behind = series("kube_deployment_spec_replicas", {"namespace": "n", "deployment": "d"}, [1, 2])
    path = put(tmp_path, answer(long, behind))
    assert path.stat().st_size > 1 << 20
    for content in (path.read_bytes(), gzip.compress(path.read_bytes())):
        path.write_bytes(content)
        sample = registry.inspect(path)
        held = [reader.TABLE for reader in prometheus.READERS if reader.matches(sample)]
        assert held == ["gpu_samples", "capacity_series", "scale_events"]


def test_files_without_known_metrics_are_refused_by_name_of_no_reader(tmp_path: Path) -> None:
    for path in (put(tmp_path, answer(series("up", {}, [1]))), put(tmp_path, answer())):
        assert tables(path) == []


def test_steps_of_each_answer_are_its_own(tmp_path: Path) -> None:
    fast = answer(series("DCGM_FI_DEV_GPU_UTIL", GPU, [1, 2, 3], step=15))
    slow = answer(series("DCGM_FI_DEV_GPU_UTIL", {**GPU, "UUID": "GPU-b"}, [1, 2, 3], step=120))
    frame = read(put(tmp_path, fast, slow), "gpu_samples")
    assert frame.group_by("gpu_uuid").agg(pl.col("interval_s").unique()).sort("gpu_uuid").rows() == [
        ("GPU-a", [15.0]),
        ("GPU-b", [120.0]),
    ]


def test_timestamps_with_milliseconds_and_warnings_of_the_server(tmp_path: Path) -> None:
    one = {
        "metric": {"__name__": "DCGM_FI_DEV_GPU_UTIL", **GPU},
        "values": [[T0 + 0.125, "1"], [T0 + 30.125, "2"]],
    }
    frame = read(put(tmp_path, answer(one, warnings=["results may be partial"])), "gpu_samples")
    assert frame["ts"].to_list() == [at(0.125), at(30.125)]
    assert "Prometheus warned: results may be partial" in said(frame, NOTES)


def test_what_cannot_be_read_becomes_a_row_with_its_reason(tmp_path: Path) -> None:
    good = series("DCGM_FI_DEV_GPU_UTIL", GPU, [1, 2, "abc"])
    good["values"] += [[T0, 1, 2], "x", [1e18, "1"], [True, "1"], [T0 + 180, None]]
    odd = {"metric": {"__name__": "DCGM_FI_DEV_GPU_UTIL", **GPU, "gpu": "9"}, "values": 5}
    native = {"metric": {"__name__": "DCGM_FI_DEV_GPU_UTIL", **GPU, "gpu": "8"}, "histograms": []}
    error = json.dumps({"status": "error", "errorType": "timeout", "error": "query timed out"})
    frame = read(
        put(tmp_path, answer(good, odd, native, {"metric": 1}), error, '{"status": "succ', "[1]"),
        "gpu_samples",
    )
    assert frame.filter(pl.col(REASONS).is_null())["util"].to_list() == [0.01, 0.02]
    assert sorted(reason.partition(" (Unterminated")[0] for reason in said(frame, REASONS)) == [
        "line: histograms are not read",
        "line: is not JSON",
        "line: is not a series of Prometheus",
        "line: is not a series of Prometheus",
        "line: the server answered with an error (query timed out)",
        "line: values is no list",
        "value: 'abc' is not a number",
        *["value: is not a pair of time and value"] * 5,
    ]


def test_broken_lines_are_told_with_one_table_only(tmp_path: Path) -> None:
    path = put(tmp_path, *VLLM.read_text().splitlines(), "{broken")
    told = {table: said(read(path, table), REASONS) for table in EXAMPLES[VLLM]}
    assert [len(reasons) for reasons in told.values()].count(1) == 1
    assert told["inference_requests"] == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_cut_and_mangled_files_are_told_never_a_traceback(tmp_path: Path, path: Path) -> None:
    data = path.read_bytes()
    mangled = [data[: len(data) * n // 7] for n in range(1, 7)]
    mangled += [gzip.compress(data)[:-9], data.replace(b'"', b"\0"), data.replace(b":", b": ", 40)]
    mangled += [b"\xef\xbb\xbf" + data, data.replace(b"\n", b"\r\n"), data.replace(b'"1', b'"1e999')]
    mangled += [
        data.replace(b"179", b"1" * 400),
        data.replace(b"values", b"value"),
        data.replace(b"[[", b"[[[["),
    ]
    mangled += [
        data.replace(b'"le"', b'"lE"'),
        data.replace(b'"GPU', b'"<script>=cmd|'),
        data.replace(b"[", b"{"),
    ]
    target = tmp_path / "mangled.json"
    for content in mangled:
        target.write_bytes(content)
        for reader in prometheus.READERS:
            try:
                if reader.matches(registry.inspect(target)):
                    frame = reader.read(target, ReadSettings()).collect()
                    assert frame.filter(pl.col("source_row").is_null()).height == 0
            except InputError as error:
                assert len(str(error)) < 1000


def test_an_unreadable_file_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "cut.json.gz"
    path.write_bytes(gzip.compress(VLLM.read_bytes())[:-20])
    with pytest.raises(InputError, match=r"cut\.json\.gz: cannot be read: .*Hint: deliver the file again"):
        prometheus.PrometheusReader("latency_histograms").read(path, ReadSettings())


def test_a_lab_takes_every_table_of_the_examples(tmp_path: Path) -> None:
    lab = write_lab(tmp_path / "lab", {})
    for path in EXAMPLES:
        shutil.copy(path, lab / "exports" / path.name)
    try:
        ingest_lab(lab)
    except FinopsError as error:
        pytest.fail(str(error))
    heights = {
        table: lake.scan(lab / "lake", table).select(pl.len()).collect().item()
        for held in EXAMPLES.values()
        for table in held
    }
    assert heights == {
        "gpu_samples": 15,
        "capacity_series": 21,
        "scale_events": 5,
        "latency_histograms": 15,
        "inference_requests": 6,
    }
