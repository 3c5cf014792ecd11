"""OpenAI's costs pages become bill rows: dollars exactly, models and directions off line items."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers import decimal_sum, ingest_lab, write_lab
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finops_lab import contracts
from finops_lab.errors import InputError
from finops_lab.ingestion import registry
from finops_lab.ingestion.bills import openai_costs
from finops_lab.ingestion.registry import NOTES, RAW, REASONS, ReadSettings

EXAMPLE = Path(__file__).parent / "formats" / "openai_costs.json"
CUT = "has_more: the report is cut, more pages exist than this file holds"
NO_ACCOUNT = "BillingAccountId: the report names no organization"


def read(path: Path, **options: Any) -> pl.DataFrame:
    return openai_costs.read(path, ReadSettings(**options)).collect()


def page(*results: Any, **more: Any) -> dict[str, Any]:
    bucket = {"object": "bucket", "start_time": 1790812800, "end_time": 1790899200, "results": list(results)}
    return {"object": "page", "data": [bucket], "has_more": False, **more}


def result(value: Any = 1, **more: Any) -> dict[str, Any]:
    amount = {"value": value, "currency": "usd"}
    said = {"object": "organization.costs.result", "amount": amount, "organization_id": "org-example"}
    return {**said, **more}


def rows(tmp_path: Path, *results: Any, **more: Any) -> list[dict[str, Any]]:
    path = tmp_path / "t.json"
    path.write_text(json.dumps(page(*results, **more)))
    return read(path).rows(named=True)


def good(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter(pl.col(REASONS).is_null())


def test_frame_has_the_contract_in_order_and_in_its_dtypes() -> None:
    schema = dict(openai_costs.read(EXAMPLE, ReadSettings(tag_keys=("team",))).collect_schema())
    wanted = {n: t for n, t in contracts.dtypes("costs").items() if n != "x_SourceFile"}
    kept = ["x_LineItem", "x_ServiceTier", "x_ApiKeyId", "x_tag_team"]
    assert list(schema) == [*wanted, *kept, RAW, REASONS, NOTES]
    assert {name: schema[name] for name in wanted} == wanted


def test_only_this_reader_knows_the_file() -> None:
    found = [r.FORMAT for r in registry.readers() if r.matches(registry.inspect(EXAMPLE))]
    assert found == ["OpenAI costs page"]


def test_golden_totals_of_the_example() -> None:
    """By hand: 0.895874 + 1.5 + 0.0125 + 2 + 0.0000005 - 0.25 + 0.1."""
    frame = good(read(EXAMPLE))
    assert decimal_sum(frame["BilledCost"]) == Decimal("4.2583745")
    assert decimal_sum(frame["EffectiveCost"]) == Decimal("4.2583745")
    broken = frame.with_columns(pl.lit("f").alias("x_SourceFile")).select(contracts.reasons("costs"))
    assert broken.to_series().null_count() == broken.height == 7


def test_golden_rows() -> None:
    frame = read(EXAMPLE)
    assert frame["x_SourceRow"].to_list() == [1, 2, 3, 4, 5, 6, 7, 8]
    shown = frame.select(
        "x_ModelId", "x_TokenDirection", "x_TokenCacheAction", "ConsumedQuantity", "ConsumedUnit", "x_ServiceTier"
    )  # fmt: skip
    gpt = "gpt-5-2025-08-07"
    assert shown.rows() == [
        (gpt, "Input", None, Decimal(700000), "Tokens", None),
        (gpt, "Output", None, Decimal(150000), "Tokens", None),
        (gpt, "Input", "Read", Decimal(100000), "Tokens", None),
        (None, None, None, Decimal(200), "calls", None),
        (gpt, "Output", None, None, None, "priority"),
        ("gpt-image-1", "Input", "Read", None, None, None),
        (None, None, None, None, None, None),
        (None, None, None, None, None, None),
    ]
    first = frame.row(0, named=True)
    expected = {
        "BilledCost": Decimal("0.895874"),
        "BillingCurrency": "USD",
        "BillingAccountId": "org-example",
        "BillingAccountName": "Example (synthetic)",
        "SubAccountId": "proj_example_search",
        "SubAccountName": "Example search",
        "BillingPeriodStart": datetime(2026, 10, 1, tzinfo=UTC),
        "BillingPeriodEnd": datetime(2026, 11, 1, tzinfo=UTC),
        "ChargePeriodStart": datetime(2026, 10, 1, tzinfo=UTC),
        "ChargePeriodEnd": datetime(2026, 10, 2, tzinfo=UTC),
        "ChargeCategory": "Usage",
        "ProviderName": "OpenAI",
        "ServiceCategory": "AI and Machine Learning",
        "ListCost": None,
        "x_ApiKeyId": "key_example_1",
        "x_BillingMonth": "2026-10",
    }
    assert {name: first[name] for name in expected} == expected
    assert frame["x_BillingMonth"].unique().to_list() == ["2026-10"]


def test_trap_21_amounts_are_dollars_as_number_or_text(tmp_path: Path) -> None:
    values = [2210.44, "2210.44", "2210.4400000000000", 221044e-2]
    assert {row["BilledCost"] for row in rows(tmp_path, *map(result, values))} == {Decimal("2210.44")}


def test_trap_12_a_report_cut_before_its_last_page_is_told(tmp_path: Path) -> None:
    notes = read(EXAMPLE)[NOTES].to_list()
    assert [note and CUT in note for note in notes] == [None] * 7 + [True]
    (alone,) = rows(tmp_path, has_more=True)
    assert alone[REASONS][0] == CUT
    assert all(row[NOTES] is None for row in rows(tmp_path, result(), result()))


def test_ungrouped_reports_have_no_dimensions(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, result(3, line_item=None, project_id=None, api_key_id=None))
    names = ("SubAccountId", "x_ModelId", "x_TokenDirection", "ChargeDescription", "x_ApiKeyId")
    assert {row[name] for name in names} == {None}
    assert row["BilledCost"] == 3 and row[REASONS] is None


def test_an_unnamed_organization_is_said_to_be_unknown(tmp_path: Path) -> None:
    nameless = {k: v for k, v in result().items() if k != "organization_id"}
    (row,) = rows(tmp_path, nameless)
    assert (row["BillingAccountId"], row[NOTES]) == ("unknown organization", [NO_ACCOUNT])
    (row,) = rows(tmp_path, nameless, organization_id="org-of-the-page")
    assert (row["BillingAccountId"], row[NOTES]) == ("org-of-the-page", None)


@pytest.mark.parametrize(
    ("item", "wanted"),
    [
        ("gpt-4o", ("gpt-4o", None, None)),
        ("text-embedding-3-large", ("text-embedding-3-large", None, None)),
        ("ft:gpt-4o-2024-08-06:example, input", ("ft:gpt-4o-2024-08-06:example", "Input", None)),
        ("gpt-audio-mini-2025-12-15 audio, input", ("gpt-audio-mini-2025-12-15", "Input", None)),
        ("whisper-1, audio", ("whisper-1", None, None)),
        ("assistants api | file search", (None, None, None)),
        ("Vector storage", (None, None, None)),
        ("o3, output", ("o3", "Output", None)),
        (", input", (None, None, None)),
    ],
)
def test_trap_23_line_items(tmp_path: Path, item: str, wanted: tuple[str | None, ...]) -> None:
    (row,) = rows(tmp_path, result(line_item=item))
    assert (row["x_ModelId"], row["x_TokenDirection"], row["x_TokenCacheAction"]) == wanted
    assert row["ChargeDescription"] == item


def test_pages_saved_in_any_way_read_the_same(tmp_path: Path) -> None:
    pages = json.loads(EXAMPLE.read_text(), parse_float=str)
    lines = [json.dumps(p) for p in pages]
    pretty = [json.dumps(p, indent=2) for p in pages]
    wanted = read(EXAMPLE).drop(RAW)
    kinds = {
        "lines": "\n".join(lines) + "\n",
        "array": json.dumps(pages),
        "appended": "".join(lines),
        "pretty appended": "\n".join(pretty),
        "bom": "\ufeff" + "\r\n".join(lines),
    }
    for name, text in kinds.items():
        path = tmp_path / name
        path.write_bytes(gzip.compress(text.encode()) if name == "lines" else text.encode())
        assert read(path).drop(RAW).equals(wanted), name
        assert openai_costs.matches(registry.inspect(path)), name


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (result("free"), "BilledCost: 'free' is not a number"),
        (result(None), "amount.value: missing"),
        (result(True), "BilledCost: 'true' is not a number"),
        (result([1]), "BilledCost: '[1]' is not a number"),
        ({**result(), "amount": 5}, "amount: '5' is not an object with value and currency"),
        ("text", "line: is not a page of buckets with results"),
    ],
)
def test_what_cannot_be_read_is_a_reason(tmp_path: Path, broken: Any, reason: str) -> None:
    bad, fine = rows(tmp_path, broken, result(2))
    assert reason in bad[REASONS]
    assert fine[REASONS] is None and fine["BilledCost"] == 2


def test_buckets_and_pages_of_another_shape_are_reasons(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text(json.dumps([page(result(4)), {"data": 3}, {"data": [{"start_time": 1}]}, 7]))
    frame = read(path)
    assert [bool(r) for r in frame[REASONS].to_list()] == [False, True, True, True]


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text(EXAMPLE.read_text()[:-30])
    with pytest.raises(InputError):
        read(path)
    path.write_bytes(gzip.compress(EXAMPLE.read_bytes())[:-40])
    with pytest.raises(InputError, match="cannot be read"):
        read(path)


def test_a_lab_takes_it_in(tmp_path: Path) -> None:
    lab = write_lab(tmp_path, {"openai/costs.json": EXAMPLE.read_text()})
    done = ingest_lab(lab).files
    assert done.filter(pl.col("currency") == "USD")["BilledCost_accepted"].to_list() == [Decimal("4.2583745")]
    assert done["rows_quarantined"].sum() == 1


def test_synthetic_fixture_of_a_third_party(shared_data: Path) -> None:
    frame = read(shared_data / "billing" / "llm_vendor" / "openai_costs.json")
    assert decimal_sum(frame["BilledCost"]) == Decimal("2210.44") + Decimal("1180.02") + Decimal("640.9")
    assert frame["x_ModelId"].to_list() == ["gpt-4o", "gpt-4o-mini", "text-embedding-3-large"]
    assert frame[REASONS].null_count() == 3


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.lists(st.decimals(-(10**6), 10**6, places=12), min_size=1, max_size=6), st.booleans())
def test_billed_is_the_sum_of_the_amounts(tmp_path: Path, amounts: list[Decimal], text: bool) -> None:
    results = [result(str(a) if text else f"@{a}@") for a in amounts]
    path = tmp_path / "h.json"
    path.write_text(json.dumps(page(*results)).replace('"@', "").replace('@"', ""))
    assert decimal_sum(read(path)["BilledCost"]) == decimal_sum(amounts)
