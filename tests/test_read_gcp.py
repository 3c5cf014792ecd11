"""Google Cloud's export becomes bill rows: every cost and credit once, tokens and GPUs named."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
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
from finops_lab.ingestion.bills import gcp
from finops_lab.ingestion.bills._gcp_skus import sku_of
from finops_lab.ingestion.registry import NOTES, RAW, REASONS, ReadSettings

EXAMPLE = Path(__file__).parent / "formats" / "gcp_detailed.jsonl"
BASE: dict[str, Any] = {
    "billing_account_id": "EXAMPL-000000-SYNTH0",
    "service": {"id": "6F81-5844-456A", "description": "Compute Engine"},
    "sku": {"id": "s", "description": "N2 Instance Core running in Americas"},
    "usage_start_time": "2026-10-03 07:00:00 UTC",
    "usage_end_time": "2026-10-03 08:00:00 UTC",
    "cost": 2,
    "currency": "USD",
    "credits": [],
    "invoice": {"month": "202610"},
    "cost_type": "regular",
}


def read(path: Path, **options: Any) -> pl.DataFrame:
    return gcp.read(path, ReadSettings(**options)).collect()


def rows(tmp_path: Path, *records: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(json.dumps({**BASE, **record}) for record in records) + "\n")
    return read(path, **options).rows(named=True)


def one(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    (row,) = rows(tmp_path, changes)
    return row


def good(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter(pl.col(REASONS).is_null())


def total(frame: pl.DataFrame, column: str = "BilledCost") -> dict[str, Decimal]:
    codes = frame["BillingCurrency"].unique().to_list()
    return {c: decimal_sum(frame.filter(pl.col("BillingCurrency") == c)[column]) for c in codes}


def test_frame_has_the_contract_in_order_and_in_its_dtypes() -> None:
    schema = dict(gcp.read(EXAMPLE, ReadSettings(tag_keys=("team",))).collect_schema())
    wanted = {n: t for n, t in contracts.dtypes("costs").items() if n != "x_SourceFile"}
    assert {name: schema[name] for name in list(schema)[: len(wanted)]} == wanted
    assert list(schema)[-4:] == ["x_tag_team", RAW, REASONS, NOTES]


def test_only_this_reader_knows_the_file(tmp_path: Path) -> None:
    parquet = tmp_path / "p"
    read_nested(EXAMPLE).write_parquet(parquet)
    for path in (EXAMPLE, parquet):
        found = [r.FORMAT for r in registry.readers() if r.matches(registry.inspect(path))]
        assert found == ["GCP billing export"]


def read_nested(path: Path) -> pl.DataFrame:
    """Return the example as BigQuery writes it to Parquet: nested, floats, moments in UTC."""
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for record in records:
        record["cost"] = float(record["cost"])
        record["usage_start_time"] = datetime.fromisoformat(record["usage_start_time"].removesuffix(" UTC"))
        record["usage_end_time"] = datetime.fromisoformat(record["usage_end_time"].removesuffix(" UTC"))
        usage = record.get("usage") or {}
        record["usage"] = {k: float(v) if k.startswith("amount") else v for k, v in usage.items()}
    frame = pl.DataFrame(records, infer_schema_length=None)
    return frame.with_columns(pl.col("usage_start_time", "usage_end_time").dt.replace_time_zone("UTC"))


def test_golden_totals_of_the_example() -> None:
    """By hand: 0.6 + 1 - 0.25 + 0.3 + (23.471264 - 8.5) + 3 + 8.5 + 1.81E-8 + 1.23 - 0.004 - 5 + 0.5 + 3."""
    frame = read(EXAMPLE)
    assert total(good(frame)) == {"USD": Decimal("27.8472640181"), "EUR": Decimal(0)}
    assert total(good(frame), "EffectiveCost") == total(good(frame))
    # Row 14 waits in quarantine with its cost and its credit.
    assert total(frame.filter(pl.col(REASONS).is_not_null())) == {"USD": Decimal("6.5")}
    broken = good(frame).with_columns(pl.lit("f").alias("x_SourceFile")).select(contracts.reasons("costs"))
    assert broken.to_series().null_count() == broken.height == 14


def test_golden_rows() -> None:
    frame = good(read(EXAMPLE, tag_keys=("team", "environment")))
    usage = {row["x_SourceRow"]: row for row in frame.rows(named=True) if row["ChargeCategory"] != "Credit"}
    expected: dict[int, dict[str, Any]] = {
        1: {
            "BillingAccountId": "EXAMPL-000000-SYNTH0",
            "SubAccountId": "example-search",
            "SubAccountName": "Example search",
            "BillingPeriodStart": datetime(2026, 10, 1, 7, tzinfo=UTC),
            "BillingPeriodEnd": datetime(2026, 11, 1, 7, tzinfo=UTC),
            "ChargePeriodStart": datetime(2026, 10, 1, 7, tzinfo=UTC),
            "ListCost": Decimal("0.75"),
            "ContractedCost": Decimal("0.6"),
            "x_BillingMonth": "2026-10",
            "ServiceName": "Vertex AI",
            "ServiceCategory": "AI and Machine Learning",
            "ServiceSubcategory": "Generative AI",
            "x_ModelId": "gemini-2.5-flash",
            "x_TokenDirection": "Input",
            "x_TokenCacheAction": None,
            "ConsumedQuantity": Decimal(2_000_000),
            "ConsumedUnit": "Tokens",
            "PricingQuantity": Decimal(2),
            "PricingUnit": "1000000 Tokens",
            "ContractedUnitPrice": Decimal("0.3"),
            "x_tag_team": "search",
            "x_tag_environment": "prod",
            "RegionId": "us-central1",
            "PublisherName": "Google Cloud",
            "ChargeFrequency": "Usage-Based",
        },
        2: {"x_TokenDirection": "Output", "PricingQuantity": Decimal("0.4"), "BilledCost": Decimal(1)},
        3: {"x_TokenDirection": "Input", "x_TokenCacheAction": "Read", "ListCost": None},
        4: {
            "BilledCost": Decimal("14.971264"),
            "ContractedCost": Decimal("23.471264"),
            "ServiceCategory": "Compute",
            "x_InstanceType": "a2-highgpu-8g",
            "x_GpuModel": "NVIDIA A100 40GB",
            "x_GpuCount": 8.0,
            "ConsumedQuantity": Decimal(8),
            "ConsumedUnit": "GPU-Hours",
            "PricingCategory": "Committed",
            "CommitmentDiscountCategory": "Usage",
            "ResourceType": "instances",
            "AvailabilityZone": "us-central1-a",
        },
        5: {"ConsumedUnit": "vCPU-Hours", "x_GpuModel": "NVIDIA A100 40GB", "BilledCost": Decimal(3)},
        6: {
            "PricingCategory": "Committed",
            "ChargeFrequency": "Recurring",
            "CommitmentDiscountId": "commitment-example-1",
        },
        7: {"BilledCost": Decimal("1.81E-8"), "ConsumedUnit": "GiB-Months", "ServiceCategory": "Storage"},
        8: {"ChargeCategory": "Tax", "ConsumedQuantity": None, "PricingCategory": None},
        9: {"ChargeCategory": "Adjustment", "ChargeClass": None, "BilledCost": Decimal("-0.004")},
        10: {"ChargeCategory": "Adjustment", "ChargeClass": "Correction", "x_BillingMonth": "2026-10"},
        11: {"x_ModelId": "gemini-2.5-flash", "x_TokenCacheAction": "Read", "BilledCost": Decimal("0.5")},
        12: {"x_ModelId": "claude-sonnet-4-5", "x_TokenCacheAction": "Write", "PublisherName": "Anthropic"},
        13: {"BillingCurrency": "EUR", "BilledCost": Decimal(0), "ContractedCost": Decimal("0.02")},
    }
    assert set(usage) == set(expected)
    for number, wanted in expected.items():
        assert {name: usage[number][name] for name in wanted} == wanted, number


def test_trap_10_promotions_are_rows_of_their_own_and_discounts_lower_the_row() -> None:
    frame = good(read(EXAMPLE))
    (credit,) = frame.filter(pl.col("ChargeCategory") == "Credit").rows(named=True)
    costs = ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost")
    assert {credit[name] for name in costs} == {Decimal("-0.25")}
    assert credit["x_SourceRow"] == 2
    assert credit["ChargeDescription"] == "Example promotional credit 2026"
    assert credit["ConsumedQuantity"] is credit["PricingCategory"] is credit["x_TokenDirection"] is None
    assert credit["x_ModelId"] == "gemini-2.5-flash"  # whose spend it lowers


def test_trap_11_a_correction_has_the_new_invoice_and_the_old_usage(tmp_path: Path) -> None:
    told = {"id": "a", "type": "PRICE_CORRECTION"}
    old = {"usage_start_time": "2026-09-30 00:00:00 UTC", "usage_end_time": "2026-09-30 01:00:00 UTC"}
    late = one(tmp_path, adjustment_info=told, **old)
    assert late["ChargeClass"] == "Correction"
    assert late["x_BillingMonth"] == "2026-10"
    assert late["ChargePeriodStart"] == datetime(2026, 9, 30, tzinfo=UTC)
    # FOCUS: what is corrected before it is invoiced is no correction; Parquet fills objects with nulls.
    assert one(tmp_path, adjustment_info=told)["ChargeClass"] is None
    assert one(tmp_path, adjustment_info={"id": None, "type": None}, **old)["ChargeClass"] is None


def test_trap_13_invoice_months_begin_in_los_angeles() -> None:
    row = good(read(EXAMPLE)).filter(pl.col("x_SourceRow") == 11).row(0, named=True)
    assert row["x_BillingMonth"] == "2026-10"
    assert row["BillingPeriodStart"] <= row["ChargePeriodStart"] < row["BillingPeriodEnd"]
    assert row["ChargePeriodStart"].month == 11


def test_winter_month_ends_are_in_standard_time(tmp_path: Path) -> None:
    row = one(tmp_path, invoice={"month": 202612})
    assert row["BillingPeriodStart"] == datetime(2026, 12, 1, 8, tzinfo=UTC)
    assert row["BillingPeriodEnd"] == datetime(2027, 1, 1, 8, tzinfo=UTC)


def test_trap_22_the_price_block_is_not_part_of_the_quantity(tmp_path: Path) -> None:
    usage = {"amount": 34356, "unit": "count", "amount_in_pricing_units": 34356, "pricing_unit": "count"}
    sku = {"id": "s", "description": "Generate content output token count gemini 3.1 flash lite text"}
    price = {"effective_price": 1.5, "pricing_unit_quantity": 1000000}
    service = {"id": "AEFD-7695-64FA", "description": "Gemini API"}
    row = one(tmp_path, usage=usage, sku=sku, price=price, service=service)
    assert (row["ConsumedQuantity"], row["ConsumedUnit"]) == (Decimal(34356), "Tokens")
    assert (row["PricingQuantity"], row["PricingUnit"]) == (Decimal("0.034356"), "1000000 Tokens")
    # A block that does not divide exactly: the quantity stays, the price per block would mislead.
    odd = one(tmp_path, usage=usage, sku=sku, price={**price, "pricing_unit_quantity": 3}, service=service)
    assert (odd["PricingQuantity"], odd["ContractedUnitPrice"]) == (Decimal(34356), None)


def test_trap_25_a_gpu_machine_is_compute_and_its_parts_count_no_machine_hours() -> None:
    parts = good(read(EXAMPLE)).filter(pl.col("x_InstanceType") == "a2-highgpu-8g")
    assert parts["ServiceCategory"].unique().to_list() == ["Compute"]
    assert sorted(parts["ConsumedUnit"]) == ["GPU-Hours", "vCPU-Hours"]


def test_trap_26_taxes_have_no_quantity_and_no_category_of_usage() -> None:
    (tax,) = good(read(EXAMPLE)).filter(pl.col("ChargeCategory") == "Tax").rows(named=True)
    assert tax["ConsumedQuantity"] is tax["PricingQuantity"] is tax["SubAccountId"] is None


def test_trap_31_rounding_rows_are_kept_as_adjustments() -> None:
    rounding = good(read(EXAMPLE)).filter(pl.col("x_CostType") == "rounding_error")
    assert rounding["BilledCost"].to_list() == [Decimal("-0.004")]


@pytest.mark.parametrize(
    ("description", "model", "direction", "cache"),
    [
        ("Gemini 2.5 Flash GA Text Input - Predictions", "gemini-2.5-flash", "Input", None),
        ("Gemini 2.5 Flash GA Thinking Text Output - Predictions", "gemini-2.5-flash", "Output", None),
        ("Gemini 2.5 Flash Lite Text Output - Predictions", "gemini-2.5-flash-lite", "Output", None),
        (" Gemini 2.5 Flash GA Input Text Caching", "gemini-2.5-flash", "Input", "Read"),
        (
            "Generate content output token count gemini 2.5 flash short input text",
            "gemini-2.5-flash",
            "Output",
            None,
        ),
        (
            "Generate content cached input token count gemini 3 pro text",
            "gemini-3-pro",
            "Input",
            "Read",
        ),
        ("EmbedContent input token count for gemini-embedding-2 text", "gemini-embedding-2", "Input", None),
        ("Cached content storage token hours gemini 2.5 pro", "gemini-2.5-pro", None, None),
        ("Claude 3.5 Haiku Output Tokens", "claude-3-5-haiku", "Output", None),
        ("Vertex AI: Custom training on n1-standard-4", None, None, None),
    ],
)
def test_trap_23_token_skus(
    description: str, model: str | None, direction: str | None, cache: str | None
) -> None:
    found = sku_of("C7E2-9256-1C43", "Vertex AI", description)
    assert (found.model, found.direction, found.cache) == (model, direction, cache)


@pytest.mark.parametrize(
    ("description", "gpu", "pricing"),
    [
        ("Nvidia Tesla T4 GPU attached to Spot Preemptible VMs running in Americas", "NVIDIA T4", "Dynamic"),
        ("Nvidia Tesla A100 80GB GPU running in Americas", "NVIDIA A100 80GB", "Standard"),
        ("Nvidia H100 80GB Plus GPU running in Netherlands", "NVIDIA H100", "Standard"),
        ("Nvidia L4 GPU running in Americas", "NVIDIA L4", "Standard"),
        ("Commitment v1: Nvidia Tesla V100 GPU running in Iowa for 1 Year", "NVIDIA V100 16GB", "Committed"),
        ("Cloud TPU v5e running in Americas", "Google TPU v5e", "Standard"),
        ("Storage PD Capacity", None, "Standard"),
    ],
)
def test_gpu_skus(description: str, gpu: str | None, pricing: str) -> None:
    found = sku_of("6F81-5844-456A", "Compute Engine", description)
    assert (found.gpu, found.pricing) == (gpu, pricing)
    assert found.category == ("Storage" if gpu is None else "Compute")


def test_parquet_reads_as_json_lines_do(tmp_path: Path) -> None:
    nested = tmp_path / "export"
    read_nested(EXAMPLE).write_parquet(nested)
    kept = [n for n in contracts.dtypes("costs") if n not in ("x_SourceFile",)]
    ours, theirs = (read(path).select(*kept, REASONS) for path in (EXAMPLE, nested))
    assert ours.equals(theirs)


def test_parquet_lists_without_list_types_are_unwrapped(tmp_path: Path) -> None:
    wrapped = {"list": [{"element": {"type": "FREE_TIER", "amount": -0.5, "name": "f"}}]}
    start = datetime(2026, 10, 3, 7, tzinfo=UTC)
    record = {**BASE, "credits": wrapped, "usage_start_time": start, "usage_end_time": start}
    path = tmp_path / "p"
    pl.DataFrame([record]).write_parquet(path)
    assert read(path)["BilledCost"].to_list() == [Decimal("1.5")]


def test_array_and_gzip_read_the_same(tmp_path: Path) -> None:
    lines = EXAMPLE.read_text().splitlines()
    wanted = read(EXAMPLE).drop(RAW)
    packed = tmp_path / "a.json.gz"
    packed.write_bytes(gzip.compress("\n".join(lines).encode()))
    array = tmp_path / "b.json"
    array.write_text("[" + ",\n".join(lines) + "]")
    for path in (packed, array):
        assert read(path).drop(RAW).equals(wanted)
        assert gcp.matches(registry.inspect(path))


def test_money_keeps_every_digit_of_the_literal(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    credit = '{"type":"DISCOUNT","amount":-0.000000000000000001,"name":"d"}'
    line = json.dumps({**BASE, "cost": 0, "credits": "C"}).replace('"C"', f"[{credit}]")
    path.write_text(line.replace('"cost": 0', '"cost": 12345678901234567.1'))
    assert read(path)["BilledCost"].to_list() == [Decimal("12345678901234567.099999999999999999")]


def test_digits_beyond_eighteen_are_told(tmp_path: Path) -> None:
    row = one(tmp_path, cost="0.1234567890123456789")
    assert row["BilledCost"] == Decimal("0.123456789012345679")
    assert "BilledCost: more than 18 decimals, rounded to 18" in row[NOTES]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cost": "abc"}, "BilledCost: 'abc' is not a number"),
        ({"cost": True}, "BilledCost: 'true' is not a number"),
        ({"invoice": None}, "invoice.month: missing"),
        ({"invoice": {"month": "202613"}}, "invoice.month: '202613' is not a month like 202610"),
        ({"usage_start_time": "soon"}, "usage_start_time: 'soon' is not a date and time"),
        ({"cost_type": "gift"}, "cost_type: 'gift' is not regular, tax, adjustment, rounding_error"),
        ({"credits": "many"}, "credits: 'many' is not a list"),
        ({"credits": [5]}, "credits: '5' is not an object"),
        ({"credits": [{"type": "DISCOUNT", "amount": "x"}]}, "credits: amount 'x' is not a number"),
        ({"credits": [{"type": "DISCOUNT", "amount": "sNaN"}]}, "credits: amount 'sNaN' is not a number"),
        ({"credits": [{"type": "DISCOUNT"}]}, "credits: amount 'null' is not a number"),
    ],
)
def test_what_cannot_be_read_is_a_reason_and_keeps_its_money(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    row = one(tmp_path, **changes)
    assert reason in row[REASONS]
    assert row["BillingCurrency"] == "USD"
    assert row["BilledCost"] == (None if "cost" in changes else Decimal(2))


def test_lines_that_are_no_rows_wait_in_quarantine(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(BASE) + '\n{"cost": 1\n[1]\nnull\n')
    reasons = read(path)[REASONS].to_list()
    assert reasons[0] is None
    assert all(reasons[1:]) and len(reasons) == 4


def test_parquet_without_a_needed_column_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p"
    read_nested(EXAMPLE).drop("currency").write_parquet(path)
    with pytest.raises(InputError, match="has no column currency"):
        read(path)


def test_cut_files_are_refused(tmp_path: Path) -> None:
    packed = tmp_path / "a.gz"
    packed.write_bytes(gzip.compress(EXAMPLE.read_bytes())[:-40])
    with pytest.raises(InputError, match="cannot be read"):
        read(packed)
    nested = tmp_path / "p"
    read_nested(EXAMPLE).write_parquet(nested)
    nested.write_bytes(nested.read_bytes()[:900])
    with pytest.raises(InputError, match="cannot be read"):
        read(nested)


def test_a_lab_takes_it_in(tmp_path: Path) -> None:
    lab = write_lab(tmp_path, {"gcp/export.jsonl": EXAMPLE.read_text()})
    done = ingest_lab(lab).files.sort("currency")
    assert done["format"].unique().to_list() == ["GCP billing export"]
    assert done["BilledCost_accepted"].to_list() == [Decimal(0), Decimal("27.8472640181")]
    assert done["BilledCost_quarantined"].to_list() == [None, Decimal("6.5")]


AMOUNTS = st.decimals(-1000, 1000, places=9)
TYPES = st.sampled_from(["PROMOTION", "DISCOUNT", "FREE_TIER", "COMMITTED_USAGE_DISCOUNT", "NEW", None])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.lists(st.tuples(AMOUNTS, st.lists(st.tuples(AMOUNTS, TYPES), max_size=3)), min_size=1, max_size=5))
def test_billed_is_cost_and_credits_whatever_their_types(
    tmp_path: Path, charges: Sequence[tuple[Decimal, list[tuple[Decimal, str | None]]]]
) -> None:
    records = [
        {"cost": str(cost), "credits": [{"amount": str(a), "type": t, "name": "n"} for a, t in credits]}
        for cost, credits in charges
    ]
    found = decimal_sum(row["BilledCost"] for row in rows(tmp_path, *records))
    assert found == decimal_sum(a for cost, credits in charges for a in (cost, *(c for c, _ in credits)))
