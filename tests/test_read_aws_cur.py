"""AWS Cost and Usage Reports: amortised, split rows once, tokens counted, both versions alike."""

from __future__ import annotations

import csv
import gzip
import json
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from helpers import PLAIN_TOML, csv_rows, csv_text, decimal_sum, ingest_lab, put, write_lab
from hypothesis import given, settings
from hypothesis import strategies as st

from finops_lab import contracts
from finops_lab.errors import InputError
from finops_lab.ingestion import lake, registry
from finops_lab.ingestion.bills._aws_columns import snake
from finops_lab.ingestion.registry import NOTES, RAW, REASONS, ReadSettings

FORMATS = Path(__file__).parent / "formats"
LEGACY, NEW = FORMATS / "aws_cur_legacy.csv", FORMATS / "aws_cur_2.csv"
TEAM = ReadSettings(tag_keys=("team",))
D = Decimal


def formats(path: Path) -> list[str]:
    return [r.FORMAT for r in registry.readers() if r.matches(registry.inspect(path))]


def read(path: Path) -> pl.DataFrame:
    """Detect and read a report; the two examples are read once."""
    return _read(path, path.stat().st_mtime_ns)


@cache
def _read(path: Path, _written: int) -> pl.DataFrame:
    reader = registry.detect(path)[0]
    assert reader.TABLE == "costs"
    return reader.read(path, TEAM).collect()


def rows_of(path: Path, line_type: str) -> list[dict[str, Any]]:
    """Return the read rows of one line item type, as dicts."""
    frame = read(path).filter(pl.col("x_line_item_line_item_type") == line_type)
    return frame.drop(RAW).to_dicts()


def row(number: int, path: Path = LEGACY) -> dict[str, Any]:
    """Return the only row made of one line item."""
    found = read(path).filter(pl.col("x_SourceRow") == number).drop(RAW).to_dicts()
    assert len(found) == 1
    return found[0]


def changed(folder: Path, number: int, path: Path = LEGACY, **values: str) -> dict[str, Any]:
    """Return the row read from one line item of an example with other values, alone in a report."""
    (found,) = variants(folder, number, [values], path)
    return found


def variants(
    folder: Path, number: int, changes: list[dict[str, str]], path: Path = LEGACY
) -> list[dict[str, Any]]:
    """Return the rows read from as many versions of one line item."""
    line = csv_rows(path)[number - 1]
    named = {snake(name): name for name in line}
    lines = [{**line, **{named[name]: value for name, value in values.items()}} for values in changes]
    found = read(put(folder / "lines.csv", lines)).drop(RAW).to_dicts()
    assert [row["x_SourceRow"] for row in found] == list(range(1, len(changes) + 1))
    return found


# --- golden values ---------------------------------------------------------------------------------


def test_the_legacy_example_adds_up() -> None:
    """By hand: on demand 29.088 + 19.6644 + 113.0646 + 4.608 + 0.97, tokens 22.6144, fees 664.4,
    credit -5, refund -2.5, discount -1.25, two requests of 1.81E-8; covered usage and negations cancel."""
    frame = read(LEGACY)
    assert formats(LEGACY) == ["AWS CUR (legacy)"]
    assert frame[REASONS].to_list() == [None] * 34
    assert frame["BilledCost"].sum() == D("845.6594000362")
    assert frame["BilledCost"].sum() == decimal_sum(r["lineItem/UnblendedCost"] for r in csv_rows(LEGACY))
    # Without fees (664.4); with reserved 3.2, covered 38.528 + 10, unused 0.8 + 1.472.
    assert frame["EffectiveCost"].sum() == D("845.6594000362") - D("664.4") + D("54.000")
    assert set(frame["BillingCurrency"]) == {"USD"}
    assert frame["x_SourceRow"].n_unique() == 32


def test_the_example_of_version_2_adds_up() -> None:
    frame = read(NEW)
    assert formats(NEW) == ["AWS CUR 2.0"]
    assert frame[REASONS].to_list() == [None] * 13
    sums = frame.group_by("BillingCurrency").agg(pl.col("BilledCost", "EffectiveCost").sum())
    assert sorted(sums.rows()) == [("EUR", D("9.2"), D("9.2")), ("USD", D("113.8886"), D("113.8886"))]
    assert set(frame["BillingAccountName"]) == {"Example Corp (synthetic)"}
    assert set(frame["SubAccountName"]) == {"Example ML (synthetic)"}
    assert set(frame["BillingPeriodEnd"]) == {datetime(2026, 10, 1, tzinfo=UTC)}


def test_a_read_report_has_the_contract_s_columns_and_dtypes() -> None:
    for path in (LEGACY, NEW):
        frame = read(path)
        wanted = {n: t for n, t in contracts.dtypes("costs").items() if n != "x_SourceFile"}
        assert dict(list(frame.schema.items())[: len(wanted)]) == wanted
        others = frame.columns[len(wanted) : -3]
        assert all(name.startswith("x_") for name in others)
        assert frame.columns[-4:] == ["x_tag_team", RAW, REASONS, NOTES]
        assert frame["x_split_line_item_split_cost"].dtype == wanted["BilledCost"]


def test_the_row_as_delivered_has_the_report_s_columns_and_no_others() -> None:
    frame = read(LEGACY)
    assert frame[RAW].to_list()[0] == {k: v or None for k, v in csv_rows(LEGACY)[0].items()}


def test_the_real_report_of_1281_rows_is_read_to_the_last_digit(shared_data: Path) -> None:
    path = shared_data / "billing" / "raw_aws_cur" / "sample-anonymous-aws-export-dataset.csv"
    frame = read(path)
    lines = csv_rows(path)
    assert formats(path) == ["AWS CUR (legacy)"]
    assert frame.height == 1281
    assert frame[REASONS].null_count() == 1281
    assert frame["BilledCost"].sum() == D("1.6823086974")
    assert frame["BilledCost"].sum() == decimal_sum(line["lineItem/UnblendedCost"] for line in lines)
    assert frame["EffectiveCost"].sum() == frame["BilledCost"].sum()
    assert frame["ListCost"].sum() == decimal_sum(line["pricing/publicOnDemandCost"] for line in lines)
    assert dict(frame.group_by("ChargeCategory").len().iter_rows()) == {"Usage": 1269, "Tax": 12}
    assert frame["ServiceCategory"].null_count() == 0


# --- what a line costs amortised -------------------------------------------------------------------


def test_covered_usage_costs_its_savings_plan_rate_and_the_negation_nothing() -> None:
    covered, sagemaker = rows_of(LEGACY, "SavingsPlanCoveredUsage")
    negation = rows_of(LEGACY, "SavingsPlanNegation")[0]
    assert (covered["BilledCost"], covered["EffectiveCost"]) == (D("55.04"), D("38.528"))
    assert (negation["BilledCost"], negation["EffectiveCost"]) == (D("-55.04"), D(0))
    assert (covered["CommitmentDiscountStatus"], covered["PricingCategory"]) == ("Used", "Committed")
    assert (covered["CommitmentDiscountCategory"], covered["CommitmentDiscountType"]) == (
        "Spend",
        "Savings Plan",
    )
    assert sagemaker["EffectiveCost"] == D("10")


def test_a_negation_is_neither_usage_nor_list_cost_once_more() -> None:
    negation = rows_of(LEGACY, "SavingsPlanNegation")[0]
    assert negation["ListCost"] == 0
    assert negation["ConsumedQuantity"] is None
    assert negation["PricingQuantity"] is None


def test_the_fee_of_a_commitment_is_a_purchase_and_what_nobody_used() -> None:
    purchase, unused = rows_of(LEGACY, "RIFee")
    assert (purchase["ChargeCategory"], purchase["BilledCost"], purchase["EffectiveCost"]) == (
        "Purchase",
        D("14.4"),
        D(0),
    )
    assert (unused["ChargeCategory"], unused["BilledCost"], unused["EffectiveCost"]) == (
        "Usage",
        D(0),
        D("0.8"),
    )
    assert (unused["CommitmentDiscountStatus"], purchase["CommitmentDiscountStatus"]) == ("Unused", None)
    assert (unused["x_SourceRow"], purchase["x_SourceRow"]) == (5, 5)
    assert unused["CommitmentDiscountId"] == purchase["CommitmentDiscountId"]
    assert unused["ConsumedQuantity"] is None


def test_a_commitment_used_up_leaves_no_unused_row() -> None:
    fees = rows_of(LEGACY, "SavingsPlanRecurringFee")
    assert [(f["x_SourceRow"], f["BilledCost"], f["EffectiveCost"]) for f in fees] == [
        (9, D(40), D(0)),
        (9, D(0), D("1.472")),
        (13, D(10), D(0)),
    ]


def test_commitment_identity_used_and_unused_equal_the_fee() -> None:
    """FOCUS: of one commitment, effective cost of usage equals billed cost of its purchases."""
    for path, plan in ((LEGACY, "example-sagemaker"), (NEW, "example-compute")):
        rows = read(path).filter(pl.col("CommitmentDiscountId").str.ends_with(plan))
        purchases = rows.filter(pl.col("ChargeCategory") == "Purchase")["BilledCost"].sum()
        assert rows["EffectiveCost"].sum() == purchases > 0


def test_upfront_fees_cost_nothing_amortised() -> None:
    (upfront,) = rows_of(LEGACY, "SavingsPlanUpfrontFee")
    (fee,) = rows_of(LEGACY, "Fee")
    assert (upfront["BilledCost"], upfront["EffectiveCost"]) == (D(500), D(0))
    assert (fee["BilledCost"], fee["EffectiveCost"], fee["ChargeFrequency"]) == (D(100), D(0), "One-Time")


def test_a_fee_without_reservation_is_no_commitment(tmp_path: Path) -> None:
    fee = changed(tmp_path, 6, reservation_reservation_a_r_n="")
    assert (fee["ChargeCategory"], fee["EffectiveCost"], fee["CommitmentDiscountId"]) == (
        "Purchase",
        D(100),
        None,
    )


def test_reserved_usage_costs_its_share_of_the_reservation() -> None:
    (usage,) = rows_of(LEGACY, "DiscountedUsage")
    assert (usage["BilledCost"], usage["EffectiveCost"], usage["ListCost"]) == (D(0), D("3.2"), D("4.208"))
    assert usage["CommitmentDiscountType"] == "Reserved"


def test_an_unknown_amortised_cost_is_quarantined_not_guessed(tmp_path: Path) -> None:
    usage = changed(tmp_path, 7, savings_plan_savings_plan_effective_cost="")
    assert usage["BilledCost"] == D("55.04")
    assert usage["EffectiveCost"] is None
    assert usage[REASONS] == [
        "EffectiveCost: the report does not say what this SavingsPlanCoveredUsage line costs amortised"
    ]


def test_discounts_are_rows_of_their_own_and_net_costs_are_contracted() -> None:
    usage, discount = row(1, NEW), row(2, NEW)
    assert usage["BilledCost"] + discount["BilledCost"] == usage["ContractedCost"] == D("88.488")
    assert (discount["ChargeCategory"], discount["ContractedCost"]) == ("Usage", None)


def test_spot_is_dynamic_and_on_demand_standard() -> None:
    assert [row(n)["PricingCategory"] for n in (1, 2)] == ["Standard", "Dynamic"]


def test_an_unknown_line_item_type_stays_in_the_bill_and_is_told() -> None:
    subscription = row(11, NEW)
    assert (subscription["ChargeCategory"], subscription["BilledCost"]) == ("Adjustment", D(15))
    (note,) = subscription[NOTES]
    assert "'FlatRateSubscription' is not a known type" in note


def test_a_line_without_type_is_quarantined(tmp_path: Path) -> None:
    assert changed(tmp_path, 1, line_item_line_item_type="")["ChargeCategory"] is None


# --- traps of the fact sheet -----------------------------------------------------------------------


def test_trap_08_what_nobody_used_has_no_owner() -> None:
    unused = read(LEGACY).filter(pl.col("CommitmentDiscountStatus") == "Unused")
    assert unused["x_tag_team"].to_list() == [None, None]
    assert unused["x_InstanceType"].to_list() == ["g4dn.xlarge", None]


def test_trap_10_credits_are_credits() -> None:
    (credit,) = rows_of(LEGACY, "Credit")
    assert (credit["ChargeCategory"], credit["EffectiveCost"]) == ("Credit", D(-5))


def test_trap_11_a_refund_of_an_earlier_month_is_a_correction_of_that_month(tmp_path: Path) -> None:
    (refund,) = rows_of(LEGACY, "Refund")
    assert (refund["ChargeCategory"], refund["ChargeClass"]) == ("Adjustment", "Correction")
    assert (refund["x_BillingMonth"], refund["ChargePeriodStart"].month) == ("2026-09", 8)
    same = changed(tmp_path, 25, line_item_usage_start_date="2026-09-02T00:00:00Z",
                   line_item_usage_end_date="2026-09-03T00:00:00Z")  # fmt: skip
    assert same["ChargeClass"] is None


def test_trap_13_a_row_of_the_next_month_keeps_its_billing_period(tmp_path: Path) -> None:
    plan = changed(
        tmp_path,
        10,
        bill_invoice_id="",
        bill_billing_period_start_date="2026-10-01T00:00:00.000Z",
        bill_billing_period_end_date="2026-11-01T00:00:00.000Z",
    )
    assert (plan["x_BillingMonth"], plan["InvoiceId"], plan[REASONS]) == ("2026-10", None, None)


def test_trap_15_identical_rows_are_legal_and_the_line_item_id_is_no_key() -> None:
    twins = read(LEGACY).filter(pl.col("x_identity_line_item_id") == "exampletwin")
    assert twins["BilledCost"].to_list() == [D("1.81E-8")] * 2


def test_trap_17_split_rows_are_not_counted_with_their_parents() -> None:
    frame = read(LEGACY)
    split = frame.filter(pl.col("x_split_line_item_parent_resource_id") == "i-0example0005")
    parent = frame.filter(pl.col("ResourceId") == "i-0example0005")
    shares = split.select(pl.col("x_split_line_item_split_cost", "x_split_line_item_unused_cost").sum()).row(
        0
    )
    assert split.select(pl.col("BilledCost", "EffectiveCost", "ListCost").sum()).row(0) == (0, 0, 0)
    assert sum(shares, D(0)) == parent["EffectiveCost"].item() == D("4.608")
    assert split["ConsumedQuantity"].to_list() == [None, None]
    assert split["x_tag_team"].to_list() == ["search", "search"]


def test_trap_17_a_split_row_that_repeats_a_cost_is_not_added_and_told(tmp_path: Path) -> None:
    pod = changed(tmp_path, 28, line_item_unblended_cost="3.608")
    assert (pod["BilledCost"], pod["EffectiveCost"]) == (0, 0)
    assert pod[NOTES] == ["lineItem/UnblendedCost: not added, the row divides the cost of its parent's row"]


def test_trap_17_fargate_tasks_have_no_parent_and_are_billed_themselves() -> None:
    task = row(30)
    assert (task["BilledCost"], task["EffectiveCost"]) == (D("0.97"), D("0.97"))
    assert task["x_split_line_item_split_cost"] == D("0.9")


def test_trap_19_currencies_stay_apart_and_foreign_list_prices_unknown() -> None:
    hosting = row(10, NEW)
    assert (hosting["BillingCurrency"], hosting["PricingCurrency"]) == ("EUR", "USD")
    assert (hosting["ListCost"], hosting["ListUnitPrice"]) == (None, None)
    assert hosting["PricingCurrencyListUnitPrice"] == D("14.4")
    assert hosting[NOTES] == ["ListCost: list prices are in another currency than the bill, left unknown"]


def test_trap_22_blocks_of_1k_and_1m_tokens_become_tokens() -> None:
    nova, claude, opus = row(15), row(18), row(9, NEW)
    assert (nova["PricingQuantity"], nova["PricingUnit"]) == (D("1500.5"), "1000 Tokens")
    assert (nova["ConsumedQuantity"], nova["ConsumedUnit"]) == (D(1_500_500), "Tokens")
    assert (claude["PricingQuantity"], claude["PricingUnit"]) == (D("2.5"), "1000000 Tokens")
    assert claude["ConsumedQuantity"] == D(2_500_000)
    assert (opus["ConsumedQuantity"], opus["x_line_item_usage_type"]) == (
        D(1_000_000),
        "USE1_cache_read_tokens_global_standard-Units",
    )


def test_trap_22_units_of_unknown_size_are_left_unknown() -> None:
    claude = row(21)
    assert (claude["ConsumedQuantity"], claude["ConsumedUnit"]) == (None, None)
    assert (claude["PricingQuantity"], claude["PricingUnit"]) == (D("0.1"), "Units")
    assert claude[NOTES] == [
        "ConsumedQuantity: the row does not say of how many tokens a unit is, left unknown"
    ]


def test_trap_22_the_block_is_read_off_the_row(tmp_path: Path) -> None:
    marketplace = "AWS Marketplace software usage|us-east-1|Million Cache Read Input Tokens Global"
    cases: list[tuple[str, str, int | None]] = [
        ("1K tokens", "", 1_000),
        ("1000 tokens", "", 1_000),
        ("1M tokens", "", 1_000_000),
        ("Tokens", "", 1),
        ("Units", marketplace, 1_000_000),
        ("Units", "$0.003 per 1K input tokens", 1_000),
        ("Units", "$3.00 per 1,000,000 tokens", 1_000_000),
        ("5K tokens", "Million Input Tokens", None),
        ("Units", "Million requests|Input Tokens", None),
        ("", "", None),
    ]
    lines = variants(
        tmp_path,
        18,
        [
            {
                "pricing_unit": unit,
                "line_item_line_item_description": words,
                "line_item_usage_amount": "1.0E0",
            }
            for unit, words, _ in cases
        ],
    )
    assert [line["ConsumedQuantity"] for line in lines] == [tokens for _, _, tokens in cases]


def usage_types(folder: Path, number: int, names: list[str]) -> dict[str, tuple[str | None, ...]]:
    lines = variants(folder, number, [{"line_item_usage_type": name} for name in names])
    wanted = ("x_ModelId", "x_TokenDirection", "x_TokenCacheAction")
    return {line["x_line_item_usage_type"]: tuple(line[key] for key in wanted) for line in lines}


def test_usage_types_of_amazon_s_own_models(tmp_path: Path) -> None:
    expected: dict[str, tuple[str | None, ...]] = {
        "USE1-NovaPro-input-tokens": ("NovaPro", "Input", None),
        "EU-NovaLite-output-tokens-flex": ("NovaLite", "Output", None),
        "USE1-NovaPro-cache-read-input-token-count": ("NovaPro", "Input", "Read"),
        "USE1-NovaPro-cache-write-input-token-count": ("NovaPro", "Input", "Write"),
        "USE1-Claude4.6Opus-output-tokens-cross-region-global": ("Claude4.6Opus", "Output", None),
        "APN1-Nova2.0Lite-text-input-tokens": ("Nova2.0Lite", "Input", None),
        "NovaMicro-input-tokens": ("NovaMicro", "Input", None),
        "USE1-NovaPro-ProvisionedThroughput-ModelUnits": (None, None, None),
        "USE1-DataAutomation-Pages": (None, None, None),
    }
    assert usage_types(tmp_path, 15, list(expected)) == expected


def test_trap_23_cached_tokens_are_told_apart(tmp_path: Path) -> None:
    name = "Claude Sonnet 4.6"
    expected: dict[str, tuple[str | None, ...]] = {
        "USE1-MP:USE1_InputTokenCount-Units": (name, "Input", None),
        "USE1-MP:USE1_OutputTokenCount_Batch-Units": (name, "Output", None),
        "USE1-MP:USE1_CacheReadInputTokenCount-Units": (name, "Input", "Read"),
        "USE1-MP:USE1_CacheWrite1hInputTokenCount_Global-Units": (name, "Input", "Write"),
        "USE1_input_tokens_standard-Units": (name, "Input", None),
        "USE1_cache_write_tokens_30m_standard-Units": (name, "Input", "Write"),
        "USE1-MP:USE1_Reserved_1Month_InputTPM_Geo-Units": (name, None, None),
    }
    assert usage_types(tmp_path, 18, list(expected)) == expected


def test_trap_24_bedrock_on_the_marketplace_is_bedrock() -> None:
    frame = read(LEGACY)
    bedrock = frame.filter(pl.col("ServiceName") == "Amazon Bedrock")
    assert bedrock.height == 8
    assert bedrock.filter(pl.col("x_line_item_product_code") == "AmazonBedrock").height == 3
    assert bedrock["BilledCost"].sum() == D("22.6144")
    assert set(bedrock["ServiceCategory"]) == {"AI and Machine Learning"}
    assert row(18)["PublisherName"] == "Example Seller, Inc."
    assert row(18)["ProviderName"] == "AWS"


def test_trap_25_a_gpu_machine_stays_compute_and_names_its_gpus() -> None:
    found = [row(n) for n in (1, 2, 14)]
    assert [r["ServiceCategory"] for r in found] == ["Compute", "Compute", "AI and Machine Learning"]
    assert [(r["x_InstanceType"], r["x_GpuModel"], r["x_GpuCount"]) for r in found] == [
        ("g5.2xlarge", "NVIDIA A10G", 1.0),
        ("p4d.24xlarge", "NVIDIA A100 40GB", 8.0),
        ("ml.p4d.24xlarge", "NVIDIA A100 40GB", 8.0),
    ]
    assert rows_of(LEGACY, "SavingsPlanCoveredUsage")[1]["x_InstanceType"] == "ml.g5.2xlarge"


def test_an_extra_of_a_machine_is_no_machine_hour() -> None:
    extra = row(3)
    assert extra["SkuMeter"] == "EBSOptimized:p4d.24xlarge"
    assert (extra["x_InstanceType"], extra["x_GpuCount"]) == (None, None)


def test_trap_26_tax_rows_of_zero_are_kept_and_are_no_usage() -> None:
    (tax,) = rows_of(LEGACY, "Tax")
    assert (tax["ChargeCategory"], tax["BilledCost"], tax["EffectiveCost"]) == ("Tax", D(0), D(0))
    assert (tax["PricingQuantity"], tax["ConsumedQuantity"]) == (None, None)


def test_scientific_notation_is_exact() -> None:
    assert row(31)["BilledCost"] == D("0.0000000181")
    assert row(17)["ListUnitPrice"] == D("0.0002")


# --- tags ------------------------------------------------------------------------------------------


def test_tags_lose_the_user_prefix_and_keep_aws() -> None:
    assert json.loads(row(1)["Tags"]) == {
        "aws:createdBy": "IAMUser:EXAMPLE",
        "team": "search",
        "Cost Center": "4711",
    }
    assert json.loads(row(1, NEW)["Tags"]) == {
        "team": "research",
        "cost_center": "4711",
        "aws:created_by": "IAMUser:EXAMPLE",
    }
    assert [row(1)["x_tag_team"], row(1, NEW)["x_tag_team"]] == ["search", "research"]
    assert row(23)["Tags"] is None


def test_tags_of_the_caller_are_kept_beside_those_of_the_resource() -> None:
    assert json.loads(row(7, NEW)["Tags"]) == {"team": "search", "iamPrincipal/app": "bot"}


def test_cost_categories_are_json() -> None:
    assert [json.loads(row(1)["x_CostCategories"]), json.loads(row(1, NEW)["x_CostCategories"])] == [
        {"Line": "Core"},
        {"line": "Core"},
    ]


def test_hostile_tags_are_data(tmp_path: Path) -> None:
    values = ['=cmd|"/c calc"!A1', "<script>alert(1)</script>", '{"a":"b"}', "\\ud83d", "日本"]
    lines = variants(tmp_path, 1, [{"resource_tags_user_team": value} for value in values])
    assert [line["x_tag_team"] for line in lines] == values
    assert {line[REASONS] or line[NOTES] for line in lines} == {None}


def test_tags_that_differ_in_case_only_are_both_kept(tmp_path: Path) -> None:
    line = {**csv_rows(LEGACY)[0], "resourceTags/user:Team": "Other"}
    tags = json.loads(read(put(tmp_path / "b.csv", [line]))["Tags"].to_list()[0])
    assert (tags["team"], tags["Team"]) == ("search", "Other")


def test_a_map_that_is_no_json_is_told_and_the_money_kept(tmp_path: Path) -> None:
    line = changed(tmp_path, 1, NEW, resource_tags="{user_team=search}")
    assert line[NOTES] == ["Tags: not JSON, left unread"]
    assert (line["BilledCost"], line["x_tag_team"], line[REASONS]) == (D("98.32"), None, None)


# --- containers and versions -----------------------------------------------------------------------


def athena(path: Path) -> list[dict[str, str]]:
    """Return a legacy report with the columns Athena gives it."""
    return [{snake(name): value for name, value in line.items()} for line in csv_rows(path)]


def test_athena_s_names_of_the_legacy_report_read_the_same(tmp_path: Path) -> None:
    path = put(tmp_path / "athena.csv", athena(LEGACY))
    assert formats(path) == ["AWS CUR (legacy)"]
    apart = ["Tags", "x_CostCategories", RAW]  # Athena spells keys in lower case
    assert read(path).drop(apart).equals(read(LEGACY).drop(apart))
    assert json.loads(read(path)["Tags"].to_list()[0])["cost_center"] == "4711"


def test_compressed_and_with_a_byte_order_mark_it_reads_the_same(tmp_path: Path) -> None:
    data = LEGACY.read_bytes()
    for name, content in (("bom.csv", b"\xef\xbb\xbf" + data), ("z.csv.gz", gzip.compress(data))):
        path = tmp_path / name
        path.write_bytes(content)
        assert formats(path) == ["AWS CUR (legacy)"]
        assert read(path).equals(read(LEGACY))


def test_parquet_with_maps_reads_like_the_csv(tmp_path: Path) -> None:
    """Data Exports writes maps, doubles and timestamps."""
    path = tmp_path / "cur.parquet"
    maps = ("product", "resource_tags", "cost_category", "discount", "tags")
    typed = [f"({name}::JSON::MAP(VARCHAR, VARCHAR)) AS {name}" for name in maps]
    doubles = [
        "line_item_unblended_cost",
        "line_item_usage_amount",
        "savings_plan_savings_plan_effective_cost",
        "savings_plan_total_commitment_to_date",
        "savings_plan_used_commitment",
        "split_line_item_split_cost",
    ]
    typed += [f"{name}::DOUBLE AS {name}" for name in doubles]
    typed += [
        f"line_item_usage_{end}_date::TIMESTAMP AS line_item_usage_{end}_date" for end in ("start", "end")
    ]
    source = f"read_csv('{NEW}', all_varchar=true)"
    duckdb.sql(f"COPY (SELECT * REPLACE ({', '.join(typed)}) FROM {source}) TO '{path}' (FORMAT parquet)")
    assert "Map" in str(pl.read_parquet_schema(path)["resource_tags"])
    assert formats(path) == ["AWS CUR 2.0"]
    apart = ["x_discount", RAW]
    assert read(path).drop(apart).equals(read(NEW).drop(apart))


def test_a_header_without_rows_is_an_empty_bill(tmp_path: Path) -> None:
    for path in (LEGACY, NEW):
        assert read(put(tmp_path / path.name, path.read_text().splitlines()[0] + "\n")).height == 0


# --- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "column"),
    [
        (LEGACY, "lineItem/UnblendedCost"),
        (LEGACY, "bill/PayerAccountId"),
        (NEW, "line_item_currency_code"),
        (NEW, "bill_billing_period_start_date"),
    ],
)
def test_a_report_without_a_needed_column_is_refused_by_name(tmp_path: Path, path: Path, column: str) -> None:
    rows = [{k: v for k, v in line.items() if k != column} for line in csv_rows(path)]
    bad = put(tmp_path / "bad.csv", rows)
    with pytest.raises(InputError) as failure:
        read(bad)
    assert failure.value.column == column
    assert "standard columns" in str(failure.value)


def test_a_value_that_cannot_be_read_is_named_as_the_report_spells_it(tmp_path: Path) -> None:
    lines = variants(
        tmp_path,
        1,
        [
            {"line_item_unblended_cost": "12,5"},
            {"line_item_usage_amount": "many"},
            {"line_item_usage_start_date": "soon"},
        ],
    )
    assert [line[REASONS][0] for line in lines] == [
        "lineItem/UnblendedCost: '12,5' is not a number",
        "lineItem/UsageAmount: 'many' is not a number",
        "lineItem/UsageStartDate: 'soon' is not a date",
    ]
    assert [line["BilledCost"] for line in lines] == [None, D("29.088"), D("29.088")]


def test_optional_columns_may_be_absent(tmp_path: Path) -> None:
    needed = (
        "bill/PayerAccountId",
        "bill/BillingPeriodStartDate",
        "lineItem/LineItemType",
        "lineItem/UsageStartDate",
        "lineItem/CurrencyCode",
        "lineItem/UnblendedCost",
    )
    lines = [{name: line[name] for name in needed} for line in csv_rows(LEGACY)]
    frame = read(put(tmp_path / "few.csv", lines))
    assert frame["BilledCost"].sum() == D("845.6594000362")
    unknown = frame.filter(pl.col(REASONS).is_not_null())
    kinds = {"DiscountedUsage", "RIFee", "SavingsPlanCoveredUsage", "SavingsPlanRecurringFee"}
    assert set(unknown["x_line_item_line_item_type"]) == kinds


def test_the_lake_takes_both_versions_and_no_cent_is_lost(tmp_path: Path) -> None:
    lab = write_lab(
        tmp_path / "lab",
        {"legacy.csv": LEGACY.read_text(), "new.csv.gz": NEW.read_text()},
        PLAIN_TOML + '[[dimensions.team]]\nname = "tag"\ntag = "team"\n',
    )
    summary = ingest_lab(lab)
    assert set(summary.files["format"]) == {"AWS CUR (legacy)", "AWS CUR 2.0"}
    assert summary.files["rows_quarantined"].sum() == 0
    costs = lake.scan(lab / "lake", "costs").collect()
    sums = dict(costs.group_by("BillingCurrency").agg(pl.col("BilledCost").sum()).iter_rows())
    assert sums == {"USD": D("845.6594000362") + D("113.8886"), "EUR": D("9.2")}
    assert costs["x_split_line_item_split_cost"].sum() == D("6.0")


TYPES = sorted(
    {line["lineItem/LineItemType"] for line in csv_rows(LEGACY)} | {"Other", "PrivateRateDiscount"}
)
AMOUNTS = st.decimals(-10_000, 10_000, places=12, allow_nan=False).map(lambda d: f"{d:E}")


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from(TYPES), AMOUNTS, AMOUNTS), min_size=1, max_size=20))
def test_billed_cost_is_the_unblended_cost_of_every_line_whatever_its_type(
    tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[str, str, str]]
) -> None:
    blank = csv_rows(LEGACY)[0]
    rows = [
        {**blank, "lineItem/LineItemType": t, "lineItem/UnblendedCost": a, "savingsPlan/TotalCommitmentToDate": b,
         "savingsPlan/UsedCommitment": "1", "reservation/EffectiveCost": b}
        for t, a, b in lines
    ]  # fmt: skip
    frame = read(put(tmp_path_factory.mktemp("cur") / "b.csv", csv_text(rows)))
    assert frame["BilledCost"].sum() == decimal_sum(a for _, a, _ in lines)
    assert set(frame["x_SourceRow"]) == set(range(1, len(lines) + 1))
    purchases = frame.filter(pl.col("ChargeCategory") == "Purchase")
    of_commitments = purchases.filter(pl.col("CommitmentDiscountCategory").is_not_null())
    assert of_commitments["EffectiveCost"].sum() == 0


def test_the_examples_are_small_and_say_that_they_are_synthetic() -> None:
    for path in (LEGACY, NEW):
        with path.open(newline="") as stream:
            assert 5 < sum(1 for _ in csv.reader(stream)) < 35
        assert "(synthetic)" in path.read_text()
