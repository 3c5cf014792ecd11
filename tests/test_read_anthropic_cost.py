"""Anthropic's cost report becomes bill rows: cents into dollars exactly, final after 30 days."""

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
from finops_lab.ingestion.bills import anthropic_cost
from finops_lab.ingestion.registry import NOTES, RAW, REASONS, ReadSettings

EXAMPLE = Path(__file__).parent / "formats" / "anthropic_cost_report.json"
CUT = "has_more: the report is cut, more pages exist than this file holds"
NO_ACCOUNT = "BillingAccountId: the report names no organization"


def read(path: Path, **options: Any) -> pl.DataFrame:
    return anthropic_cost.read(path, ReadSettings(**options)).collect()


def page(*results: Any, **more: Any) -> dict[str, Any]:
    bucket = {
        "starting_at": "2026-10-01T00:00:00Z",
        "ending_at": "2026-10-02T00:00:00Z",
        "results": list(results),
    }
    return {"data": [bucket], "has_more": False, **more}


def result(amount: Any = "100", **more: Any) -> dict[str, Any]:
    return {"amount": amount, "currency": "USD", "workspace_id": None, **more}


def rows(tmp_path: Path, *results: Any, **more: Any) -> list[dict[str, Any]]:
    path = tmp_path / "t.json"
    path.write_text(json.dumps(page(*results, **more)))
    return read(path).rows(named=True)


def good(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter(pl.col(REASONS).is_null())


def test_frame_has_the_contract_in_order_and_in_its_dtypes() -> None:
    schema = dict(anthropic_cost.read(EXAMPLE, ReadSettings(tag_keys=("team",))).collect_schema())
    wanted = {n: t for n, t in contracts.dtypes("costs").items() if n != "x_SourceFile"}
    assert {name: schema[name] for name in list(schema)[: len(wanted)]} == wanted
    assert list(schema)[-5:] == ["x_tag_team", "x_FinalAfter", RAW, REASONS, NOTES]


def test_only_this_reader_knows_the_file() -> None:
    found = [r.FORMAT for r in registry.readers() if r.matches(registry.inspect(EXAMPLE))]
    assert found == ["Anthropic cost report"]
    usage = EXAMPLE.parent / "anthropic_usage.json"
    assert not anthropic_cost.matches(registry.inspect(usage))


def test_golden_totals_of_the_example() -> None:
    """By hand, in dollars: 0.410218 + 0.125 + 3.75 + 0.00000001 + 10 + 0.0777."""
    frame = good(read(EXAMPLE))
    assert decimal_sum(frame["BilledCost"]) == Decimal("14.36291801")
    assert decimal_sum(frame["EffectiveCost"]) == Decimal("14.36291801")
    broken = frame.with_columns(pl.lit("f").alias("x_SourceFile")).select(contracts.reasons("costs"))
    assert broken.to_series().null_count() == broken.height == 6


def test_golden_rows() -> None:
    frame = read(EXAMPLE)
    shown = frame.select("x_TokenDirection", "x_TokenCacheAction", "x_CostType", "x_ServiceTier")
    assert shown.rows() == [
        ("Input", None, "tokens", "standard"),
        ("Input", "Read", "tokens", "standard"),
        ("Input", "Write", "tokens", "batch"),
        ("Output", None, "tokens", "standard"),
        (None, None, "web_search", None),
        (None, None, None, None),
        (None, None, None, None),
    ]
    third = frame.row(2, named=True)
    expected = {
        "BilledCost": Decimal("3.75"),
        "BillingCurrency": "USD",
        "BillingAccountId": "unknown organization",
        "SubAccountId": "wrkspc_example_search",
        "BillingPeriodStart": datetime(2026, 10, 1, tzinfo=UTC),
        "BillingPeriodEnd": datetime(2026, 11, 1, tzinfo=UTC),
        "ChargePeriodStart": datetime(2026, 10, 1, tzinfo=UTC),
        "ChargePeriodEnd": datetime(2026, 10, 2, tzinfo=UTC),
        "ProviderName": "Anthropic",
        "ServiceCategory": "AI and Machine Learning",
        "x_ModelId": "claude-sonnet-4-5-20250929",
        "x_ContextWindow": "200k-1M",
        "x_TokenType": "cache_creation.ephemeral_1h_input_tokens",
        "ConsumedQuantity": None,
    }
    assert {name: third[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("amount", "dollars"),
    [
        ("123.45", "1.2345"),
        ("5", "0.05"),
        ("-0.5", "-0.005"),
        ("1E+2", "1"),
        ("410218", "4102.18"),
        (123.45, "1.2345"),
        (7, "0.07"),
        ("12345678901234567890.12345678", "123456789012345678.9012345678"),
    ],
)
def test_trap_21_amounts_are_cents(tmp_path: Path, amount: Any, dollars: str) -> None:
    (row,) = rows(tmp_path, result(amount))
    assert row["BilledCost"] == Decimal(dollars) and row[REASONS] is None


def test_trap_21_the_smallest_unit_follows_the_currency(tmp_path: Path) -> None:
    yen, dinar = rows(tmp_path, result("250", currency="JPY"), result("250", currency="KWD"))
    assert (yen["BilledCost"], dinar["BilledCost"]) == (Decimal(250), Decimal("0.25"))


def test_trap_12_an_amount_is_final_after_30_days(tmp_path: Path) -> None:
    frame = read(EXAMPLE)
    assert frame["x_FinalAfter"][0] == datetime(2026, 11, 1, tzinfo=UTC)
    assert frame["x_FinalAfter"][-1] == datetime(2026, 12, 1, tzinfo=UTC)
    late = page(result())
    late["data"][0] |= {"starting_at": "9999-12-31T00:00:00Z", "ending_at": "9999-12-31T12:00:00Z"}
    path = tmp_path / "late.json"
    path.write_text(json.dumps(late))
    assert read(path)["x_FinalAfter"].to_list() == [None]


def test_trap_12_a_report_cut_before_its_last_page_is_told(tmp_path: Path) -> None:
    assert all(CUT not in (note or []) for note in read(EXAMPLE)[NOTES].to_list())
    first, last = rows(tmp_path, result(), result(), has_more=True)
    assert (first[NOTES], last[NOTES]) == ([NO_ACCOUNT], [NO_ACCOUNT, CUT])
    (alone,) = rows(tmp_path, has_more=True)
    assert alone[REASONS][0] == CUT


def test_trap_23_unknown_token_types_stay_without_a_direction(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, result(token_type="thinking_tokens"))
    assert row["x_TokenDirection"] is row["x_TokenCacheAction"] is None
    assert row["x_TokenType"] == "thinking_tokens"
    assert "token_type: 'thinking_tokens' is not known, kept without a direction" in row[NOTES]


def test_ungrouped_reports_have_no_dimensions() -> None:
    last = read(EXAMPLE).row(-1, named=True)
    names = ("SubAccountId", "x_ModelId", "x_TokenDirection", "ChargeDescription", "x_ServiceTier")
    assert {last[name] for name in names} == {None}
    assert last["BilledCost"] == Decimal("0.0777") and last[REASONS] is None


def test_pages_saved_in_any_way_read_the_same(tmp_path: Path) -> None:
    lines = EXAMPLE.read_text().splitlines()
    pages = [json.loads(line) for line in lines]
    wanted = read(EXAMPLE).drop(RAW)
    kinds = {
        "gzip": "\n".join(lines),
        "array": json.dumps(pages, indent=1),
        "appended": "".join(lines),
        "pretty appended": "".join(json.dumps(p, indent=2) for p in pages),
    }
    for name, text in kinds.items():
        path = tmp_path / name
        path.write_bytes(gzip.compress(text.encode()) if name == "gzip" else text.encode())
        assert read(path).drop(RAW).equals(wanted), name
        assert anthropic_cost.matches(registry.inspect(path)), name


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (result("12,5"), "amount: '12,5' is not a number"),
        (result("$5"), "amount: '$5' is not a number"),
        (result("1_000"), "amount: '1_000' is not a number"),
        (result("NaN"), "amount: 'NaN' is not a number"),
        (result(None), "amount: missing"),
        (result(False), "amount: 'false' is not a number"),
        (result({"value": 1}), "amount: '{\"value\":1}' is not a number"),
        (result("1E+90000"), "BilledCost: '1E+89998' is not a number"),
        (9, "line: is not a page of buckets with results"),
    ],
)
def test_what_cannot_be_read_is_a_reason(tmp_path: Path, broken: Any, reason: str) -> None:
    bad, fine = rows(tmp_path, broken, result("200"))
    assert reason in bad[REASONS]
    assert fine[REASONS] is None and fine["BilledCost"] == 2


def test_a_missing_currency_is_no_assumption(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, result(currency=None))
    assert row["BillingCurrency"] is None and row["BilledCost"] == 1


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text(json.dumps(page(result()), indent=1)[:-5])
    with pytest.raises(InputError):
        read(path)
    path.write_bytes(gzip.compress(EXAMPLE.read_bytes())[:-40])
    with pytest.raises(InputError, match="cannot be read"):
        read(path)


def test_a_lab_takes_it_in(tmp_path: Path) -> None:
    lab = write_lab(tmp_path, {"anthropic/cost.json": EXAMPLE.read_text()})
    done = ingest_lab(lab).files
    known = done.filter(pl.col("currency") == "USD")
    assert known["BilledCost_accepted"].to_list() == [Decimal("14.36291801")]
    assert done["rows_quarantined"].sum() == 1


def test_third_party_fixture_is_read_as_the_api_means_it(shared_data: Path) -> None:
    """The fixture's authors took cents for dollars; the API's documentation decides."""
    frame = read(shared_data / "billing" / "llm_vendor" / "anthropic_cost_report.json")
    assert decimal_sum(frame["BilledCost"]) == Decimal("87.3703")
    assert frame[REASONS].null_count() == 3


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.lists(st.decimals(-(10**9), 10**9, places=10), min_size=1, max_size=6))
def test_billed_is_a_hundredth_of_the_amounts(tmp_path: Path, amounts: list[Decimal]) -> None:
    found = rows(tmp_path, *[result(str(a)) for a in amounts])
    assert decimal_sum(row["BilledCost"] for row in found) * 100 == decimal_sum(amounts)
