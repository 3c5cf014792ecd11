"""OpenAI usage pages become requests: cached tokens taken out, calls counted, gaps told."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finops_lab import contracts
from finops_lab.errors import InputError
from finops_lab.ingestion import registry
from finops_lab.ingestion.registry import NOTES, RAW, REASONS, ReadSettings
from finops_lab.ingestion.requests import openai_usage

EXAMPLE = Path(__file__).parent / "formats" / "openai_usage.json"
COSTS = Path(__file__).parents[2] / "shared" / "data" / "billing" / "llm_vendor" / "openai_costs.json"
KIND = "organization.usage.completions.result"
BASE: dict[str, Any] = {
    "object": KIND,
    "input_tokens": 100,
    "input_cached_tokens": 30,
    "output_tokens": 7,
    "num_model_requests": 2,
    "project_id": None,
    "model": "m",
}


def page(*results: dict[str, Any], **more: Any) -> str:
    bucket = {"object": "bucket", "start_time": 1793491200, "end_time": 1793577600, "results": list(results)}
    return json.dumps({"object": "page", "data": [bucket], "has_more": False, **more})


def rows(tmp_path: Path, *pages: str, **settings: Any) -> list[dict[str, Any]]:
    path = tmp_path / "u.json"
    path.write_text("\n".join(pages))
    return openai_usage.read(path, ReadSettings(**settings)).collect().rows(named=True)


def one(tmp_path: Path, changes: dict[str, Any], **settings: Any) -> dict[str, Any]:
    (row,) = rows(tmp_path, page({**BASE, **changes}), **settings)
    return row


def test_golden_example() -> None:
    frame = openai_usage.read(EXAMPLE, ReadSettings()).collect()
    wanted = {n: t for n, t in contracts.dtypes("inference_requests").items() if n != "source_file"}
    assert list(frame.columns) == [*wanted, RAW, REASONS, NOTES]
    # Result 6 counts nothing and is left out.
    assert frame["source_row"].to_list() == [1, 2, 3, 4, 5, 7, 8, 9, 10, 11]
    good = frame.filter(pl.col(REASONS).is_null())
    tokens = ("input_uncached_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")
    assert [good[name].sum() for name in tokens] == [31896, 10448, 1000, 3700]
    assert good["n_requests"].sum() == 42 + 4 + 3 + 10 + 5 + 2 + 6
    assert good["operation"].to_list() == ["chat", "chat", "chat", "embedding", "image", "audio", "tool"]
    units = good.filter(pl.col("other_unit").is_not_null()).select("other_units", "other_unit").rows()
    assert units == [(7.0, "images"), (95.0, "seconds"), (6.0, "searches")]
    first = frame.row(0, named=True)
    expected = {
        "ts_start": datetime(2026, 11, 1, tzinfo=UTC),
        "ts_end": datetime(2026, 11, 2, tzinfo=UTC),
        "day": date(2026, 11, 1),
        "project_id": "proj_example_search",
        "api_key_id": "key_example_1",
        "provider": "openai",
        "model": "gpt-5-2025-08-07",
        "service_tier": "standard",
        "status": "ok",
        # user_id is a member of the organization.
        "customer": None,
        "cost_reported_usd": None,
    }
    assert {name: first[name] for name in expected} == expected


def test_accepted_rows_keep_the_contract() -> None:
    frame = openai_usage.read(EXAMPLE, ReadSettings()).with_columns(pl.lit("f").alias("source_file"))
    good = frame.filter(pl.col(REASONS).is_null()).select(contracts.reasons("inference_requests").alias("r"))
    assert good.collect()["r"].null_count() == 7


def test_trap_null_dimensions_unless_grouped(tmp_path: Path) -> None:
    row = one(tmp_path, {"model": None})
    assert row["model"] is None
    assert row[REASONS] == ["model: missing, export the usage with group_by=model"]


def test_trap_input_tokens_include_cached_and_written_ones(tmp_path: Path) -> None:
    row = one(tmp_path, {"input_cache_write_tokens": 20, "input_uncached_tokens": 50})
    assert (row["input_uncached_tokens"], row["cache_read_tokens"], row["cache_write_tokens"]) == (50, 30, 20)
    assert row[REASONS] is None


def test_trap_uncached_tokens_that_contradict_the_rest_are_refused(tmp_path: Path) -> None:
    (reason,) = one(tmp_path, {"input_uncached_tokens": 100})[REASONS]
    assert reason == "input_uncached_tokens: the report says 100, the input without its cached tokens is 70"


def test_trap_more_cached_than_input_is_refused_never_clamped(tmp_path: Path) -> None:
    row = one(tmp_path, {"input_cached_tokens": 101})
    assert row["input_uncached_tokens"] is None
    assert row[REASONS] is not None


def test_trap_blank_is_not_zero(tmp_path: Path) -> None:
    row = one(tmp_path, {"input_cached_tokens": None})
    assert (row["cache_read_tokens"], row["input_uncached_tokens"]) == (None, 100)
    assert one(tmp_path, {"input_cached_tokens": 0})["cache_read_tokens"] == 0


@pytest.mark.parametrize(
    ("batch", "tier", "expected"),
    [
        (True, None, "batch"),
        (False, "default", "standard"),
        (None, None, None),
        (False, "priority", "priority"),
    ],
)
def test_service_tier(tmp_path: Path, batch: Any, tier: Any, expected: str | None) -> None:
    assert one(tmp_path, {"batch": batch, "service_tier": tier})["service_tier"] == expected


def test_trap_a_report_cut_off_after_a_page_says_so(tmp_path: Path) -> None:
    first, last = rows(tmp_path, page(BASE, BASE, has_more=True))
    assert first[NOTES] is None
    assert last[NOTES] == ["has_more: further pages of the report are not in this file"]
    # The next page is there, and is the last one.
    assert [r[NOTES] for r in rows(tmp_path, page(BASE, has_more=True), page(BASE))] == [None, None]
    (row,) = rows(tmp_path, page(has_more=True))
    assert row[REASONS] == ["has_more: further pages of the report are not in this file"]


def test_audio_tokens_are_noted(tmp_path: Path) -> None:
    row = one(tmp_path, {"input_audio_tokens": 10})
    assert row["input_uncached_tokens"] == 70
    assert row[NOTES] is not None


def test_tokens_without_requests_are_one_request_with_a_note(tmp_path: Path) -> None:
    row = one(tmp_path, {"num_model_requests": 0})
    assert row["n_requests"] == 1
    assert row[NOTES] == ["n_requests: the result counts tokens but no requests, taken as one"]


def test_web_searches_need_a_model_only_where_the_report_could_tell(tmp_path: Path) -> None:
    searches = {
        "object": "organization.usage.web_searches.result",
        "num_requests": 3,
        "num_model_requests": 2,
    }
    (known,) = rows(tmp_path, page({**searches, "model": "gpt-5"}))
    (unknown,) = rows(tmp_path, page({**searches, "model": None}))
    assert (known["model"], known["operation"], known["n_requests"]) == ("gpt-5", "tool", 3)
    assert unknown[REASONS] is not None


def test_context_of_settings(tmp_path: Path) -> None:
    row = one(tmp_path, {"project_id": "proj_a"}, attributes={"team": ("project_id",)})
    assert row["team"] == "proj_a"


@pytest.mark.parametrize(
    "page_text",
    [
        '{"data": 5}',
        '{"data": [{"start_time": 1, "results": [7]}]}',
        '{"data": [null]}',
        "7",
        '{"data": [{}]}',
    ],
)
def test_what_is_no_page_is_told(tmp_path: Path, page_text: str) -> None:
    found = rows(tmp_path, page(BASE), page_text)
    assert [row[REASONS] is None for row in found] == [True, False]


def test_a_cut_page_is_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "u.json"
    path.write_text(EXAMPLE.read_text()[:900])
    with pytest.raises(InputError, match="deliver the file again"):
        openai_usage.read(path, ReadSettings()).collect()


def test_detected_by_no_other_reader() -> None:
    sample = registry.inspect(EXAMPLE)
    assert [r.FORMAT for r in registry.readers() if r.matches(sample)] == ["OpenAI usage"]


def test_costs_pages_are_not_usage() -> None:
    if not COSTS.exists():
        pytest.skip("the shared vendor fixtures are not at hand")
    assert not openai_usage.matches(registry.inspect(COSTS))


COUNT = st.integers(min_value=0, max_value=10**12)


@given(results=st.lists(st.tuples(COUNT, COUNT, COUNT, COUNT), min_size=1, max_size=5))
def test_tokens_are_conserved(
    tmp_path_factory: pytest.TempPathFactory, results: list[tuple[int, ...]]
) -> None:
    told = [
        {
            **BASE,
            "input_tokens": fresh + read + written,
            "input_cached_tokens": read,
            "input_cache_write_tokens": written,
            "output_tokens": out,
        }
        for fresh, read, written, out in results
    ]
    found = rows(tmp_path_factory.mktemp("usage"), page(*told))
    names = ("input_uncached_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")
    assert [tuple(row[n] for n in names) for row in found] == results
