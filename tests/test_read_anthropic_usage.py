"""Anthropic usage reports become requests: exclusive tokens, two cache lifetimes, no request count."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from finops_lab import contracts
from finops_lab.errors import InputError
from finops_lab.ingestion import registry
from finops_lab.ingestion.registry import NOTES, REASONS, ReadSettings
from finops_lab.ingestion.requests import anthropic_usage

EXAMPLE = Path(__file__).parent / "formats" / "anthropic_usage.json"
COSTS = EXAMPLE.parents[3] / "shared" / "data" / "billing" / "llm_vendor" / "anthropic_cost_report.json"
BASE: dict[str, Any] = {
    "uncached_input_tokens": 10,
    "cache_creation": {"ephemeral_1h_input_tokens": 3, "ephemeral_5m_input_tokens": 4},
    "cache_read_input_tokens": 1000,
    "output_tokens": 5,
    "server_tool_use": {"web_search_requests": 0},
    "model": "claude-opus-5",
    "service_tier": "standard",
}


def one(tmp_path: Path, changes: dict[str, Any], **settings: Any) -> dict[str, Any]:
    path = tmp_path / "u.json"
    bucket = {"starting_at": "2026-11-01T00:00:00Z", "ending_at": "2026-11-02T00:00:00Z"}
    data = [{**bucket, "results": [{**BASE, **changes}]}]
    path.write_text(json.dumps({"data": data, "has_more": False, "next_page": None}))
    (row,) = anthropic_usage.read(path, ReadSettings(**settings)).collect().rows(named=True)
    return row


def test_golden_example() -> None:
    frame = anthropic_usage.read(EXAMPLE, ReadSettings()).collect()
    # Result 5 counts nothing and is left out.
    assert frame["source_row"].to_list() == [1, 2, 3, 4]
    sums = {
        "input_uncached_tokens": 70317,
        "cache_read_tokens": 128985,
        "cache_write_tokens": 1273,
        "cache_write_1h_tokens": 1000,
        "output_tokens": 9854,
        "other_units": 4.0,
    }
    assert {name: frame[name].sum() for name in sums} == sums
    assert frame["service_tier"].to_list() == ["standard", "batch", None, "fast"]
    assert frame["region"].to_list() == ["us", None, None, "global"]
    first = frame.row(0, named=True)
    expected = {
        "ts_start": datetime(2026, 11, 1, tzinfo=UTC),
        "ts_end": datetime(2026, 11, 2, tzinfo=UTC),
        "project_id": "wrkspc_example_search",
        "api_key_id": "apikey_example_1",
        "provider": "anthropic",
        "model": "claude-sonnet-4-6",
        "other_unit": "searches",
        "status": "ok",
    }
    assert {name: first[name] for name in expected} == expected
    good = frame.filter(pl.col(REASONS).is_null()).with_columns(pl.lit("f").alias("source_file"))
    assert good.select(contracts.reasons("inference_requests").alias("r"))["r"].null_count() == 3


def test_trap_usage_report_is_exclusive(tmp_path: Path) -> None:
    row = one(tmp_path, {})
    assert (row["input_uncached_tokens"], row["cache_read_tokens"]) == (10, 1000)
    assert row[REASONS] is None


def test_trap_cache_writes_are_both_lifetimes_and_the_hour_is_a_part(tmp_path: Path) -> None:
    row = one(tmp_path, {})
    assert (row["cache_write_tokens"], row["cache_write_1h_tokens"]) == (7, 3)


def test_trap_blank_is_not_zero(tmp_path: Path) -> None:
    row = one(tmp_path, {"cache_creation": None, "server_tool_use": None, "cache_read_input_tokens": None})
    names = ("cache_write_tokens", "cache_write_1h_tokens", "other_units", "other_unit", "cache_read_tokens")
    assert [row[name] for name in names] == [None] * 5


def test_trap_the_report_counts_no_requests(tmp_path: Path) -> None:
    row = one(tmp_path, {})
    assert (row["n_requests"], row[NOTES]) == (1, ["n_requests: the report counts tokens, not requests"])


def test_trap_null_model_unless_grouped(tmp_path: Path) -> None:
    assert one(tmp_path, {"model": None})[REASONS] == [
        "model: missing, export the usage with group_by[]=model"
    ]


def test_context_of_settings(tmp_path: Path) -> None:
    row = one(tmp_path, {"workspace_id": "wrkspc_a"}, attributes={"team": ("workspace_id",)})
    assert (row["team"], row["project_id"]) == ("wrkspc_a", "wrkspc_a")


@pytest.mark.parametrize(
    ("changes", "column"),
    [
        ({"output_tokens": -1}, "output_tokens"),
        ({"uncached_input_tokens": 1.5}, "input_uncached_tokens"),
        ({"cache_creation": 7}, "cache_creation"),
        (
            {
                "cache_creation": dict.fromkeys(
                    ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"), 2**62
                )
            },
            "cache_write_tokens",
        ),
    ],
)
def test_counts_that_cannot_be_read_are_told(tmp_path: Path, changes: dict[str, Any], column: str) -> None:
    (reason,) = one(tmp_path, changes)[REASONS]
    assert reason.startswith(f"{column}:")


def test_a_cut_report_is_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "u.json"
    path.write_text(EXAMPLE.read_text()[:700])
    with pytest.raises(InputError, match="deliver the file again"):
        anthropic_usage.read(path, ReadSettings()).collect()


def test_detected_by_no_other_reader() -> None:
    sample = registry.inspect(EXAMPLE)
    assert [r.FORMAT for r in registry.readers() if r.matches(sample)] == ["Anthropic usage report"]


def test_cost_reports_are_not_usage() -> None:
    if not COSTS.exists():
        pytest.skip("the shared vendor fixtures are not at hand")
    assert not anthropic_usage.matches(registry.inspect(COSTS))
