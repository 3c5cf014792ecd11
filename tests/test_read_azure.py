"""Azure cost exports: both datasets, both agreements, headers in another language, and their traps."""

from __future__ import annotations

import csv
import gzip
import io
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers import DATA, csv_rows, csv_text, decimal_sum, put
from hypothesis import given, settings
from hypothesis import strategies as st

from finops_lab import contracts
from finops_lab.errors import InputError
from finops_lab.ingestion import registry
from finops_lab.ingestion.bills import azure
from finops_lab.ingestion.bills._azure_columns import find, plain, schema_of
from finops_lab.ingestion.bills._azure_meters import token_meter, unit_of
from finops_lab.ingestion.bills._azure_services import PROVIDERS
from finops_lab.ingestion.registry import NOTES, RAW, REASONS, ReadSettings, detect, unreadable

FORMATS = Path(__file__).parent / "formats"
ACTUAL = FORMATS / "azure_ea_actual.csv"
AMORTIZED = FORMATS / "azure_mca_amortized.csv"
GERMAN = FORMATS / "azure_ea_german.csv"
EXAMPLES = (ACTUAL, AMORTIZED, GERMAN)
REAL = DATA / "billing" / "raw_azure" / "sample-anonymous-ea-export-dataset.csv"
SPRUCE = DATA / "billing" / "raw_azure" / "spruce_native_openai.csv"
SPRUCE_FOCUS = DATA / "billing" / "raw_azure" / "spruce_focus_openai.csv"
UNITS = DATA / "billing" / "ms_toolkit" / "PricingUnits.csv"
SERVICES = DATA / "billing" / "ms_toolkit" / "Services.csv"
TEAM = ReadSettings(tag_keys=("team",))


def read(path: Path, tags: ReadSettings = TEAM) -> pl.DataFrame:
    """Detect and read a file as ingestion does."""
    (reader,) = detect(path)
    assert (reader.FORMAT, reader.TABLE) == ("Azure cost export", "costs")
    return reader.read(path, tags).collect()


def row_of(**overrides: str) -> dict[str, str]:
    """Return one on-demand usage row of an EA export."""
    return {**csv_rows(ACTUAL)[11], "Tags": '"team": "a"', **overrides}


def one(folder: Path, **overrides: str) -> dict[str, Any]:
    return read(put(folder / "b.csv", [row_of(**overrides)])).row(0, named=True)


def numbers(frame: pl.DataFrame, column: str) -> list[Decimal | None]:
    return frame[column].to_list()


# --- golden ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "rows", "billed", "effective", "currency", "dataset", "agreement"),
    [
        (ACTUAL, 14, "11266.920244877", "261.920244877", "USD", "actual", "EA"),
        (AMORTIZED, 7, "165.55706425", "678.55706425", "EUR", "amortized", "MCA"),
        (GERMAN, 3, "75.947221", "75.947221", "EUR", None, "EA"),
    ],
    ids=["actual", "amortized", "german"],
)
def test_golden_totals(
    path: Path, rows: int, billed: str, effective: str, currency: str, dataset: str | None, agreement: str
) -> None:
    frame = read(path)
    assert frame.height == rows
    assert frame[REASONS].null_count() == rows
    assert frame["BilledCost"].sum() == Decimal(billed)
    assert frame["EffectiveCost"].sum() == Decimal(effective)
    assert frame["BillingCurrency"].unique().to_list() == [currency]
    assert frame["ProviderName"].unique().to_list() == ["Microsoft"]
    assert frame["x_AzureDataset"].unique().to_list() == [dataset]
    assert frame["x_AzureSchema"].unique().to_list() == [agreement]
    wanted = {name: dtype for name, dtype in contracts.dtypes("costs").items() if name != "x_SourceFile"}
    assert dict(list(frame.schema.items())[: len(wanted)]) == wanted


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_the_rows_of_the_examples_hold_the_contract(path: Path) -> None:
    frame = read(path).with_columns(pl.lit(path.name).alias("x_SourceFile"))
    broken = frame.select(contracts.reasons("costs").alias("r"))["r"].drop_nulls().to_list()
    assert broken == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_raw_is_the_row_as_delivered(path: Path) -> None:
    raw = read(path)[RAW].struct.unnest()
    delivered = csv_rows(path)
    assert raw.columns == list(delivered[0])
    assert [{k: v or "" for k, v in row.items()} for row in raw.to_dicts()] == delivered


def test_the_actual_export_row_by_row() -> None:
    frame = read(ACTUAL)
    assert frame["ChargeCategory"].to_list() == (
        ["Usage"] * 6
        + ["Purchase", "Usage", "Purchase", "Purchase", "Adjustment", "Usage", "Usage", "Purchase"]
    )
    assert numbers(frame, "BilledCost")[6:10] == [Decimal(n) for n in ("12000", "0", "5", "-1000")]
    assert numbers(frame, "EffectiveCost")[6:10] == [Decimal(0)] * 4
    assert frame["ChargeClass"].to_list() == [None] * 9 + ["Correction"] + [None] * 4
    assert frame["ChargeFrequency"].unique().sort().to_list() == ["One-Time", "Recurring", "Usage-Based"]
    assert frame["PricingCategory"].to_list()[4:9] == [
        "Standard",
        "Dynamic",
        "Committed",
        "Committed",
        "Committed",
    ]
    assert frame["CommitmentDiscountType"].to_list()[6:10] == [
        "Reservation",
        "Reservation",
        "Savings Plan",
        "Reservation",
    ]
    assert frame["CommitmentDiscountCategory"].to_list()[6:10] == ["Usage", "Usage", "Spend", "Usage"]
    assert frame["CommitmentDiscountStatus"].to_list() == [None] * 7 + ["Used"] + [None] * 6
    assert frame["CommitmentDiscountName"].to_list()[6:9] == ["rsv-h100", "rsv-h100", "plan-example"]
    assert frame["BillingAccountId"].unique().to_list() == ["10012345"]
    assert frame["BillingAccountName"].unique().to_list() == ["Example Ltd. (synthetic)"]
    first = frame.row(0, named=True)
    assert first["SubAccountName"] == "sub-example"
    assert first["RegionId"] == "eastus2"
    assert first["ResourceType"] == "microsoft.cognitiveservices/accounts"
    assert first["ServiceName"] == "Azure OpenAI"
    assert (first["ServiceCategory"], first["ServiceSubcategory"]) == (
        "AI and Machine Learning",
        "Generative AI",
    )
    assert first["PublisherName"] == "Microsoft"
    assert frame["PublisherName"].to_list()[13] == "Example Vendor"
    assert first["x_CostCenter"] == "CC-100"
    assert first["x_ChargeType"] == "Usage"


def test_the_amortized_export_row_by_row() -> None:
    frame = read(AMORTIZED)
    assert numbers(frame, "BilledCost") == [
        Decimal(n) for n in ("162.22706325", "0", "0", "0", "0", "0.000001", "3.33")
    ]
    assert numbers(frame, "EffectiveCost") == [
        Decimal(n) for n in ("162.22706325", "400.5", "100.25", "10.75", "1.5", "0.000001", "3.33")
    ]
    assert frame["CommitmentDiscountStatus"].to_list() == [
        None,
        "Used",
        "Unused",
        "Used",
        "Unused",
        None,
        None,
    ]
    assert frame["ChargeCategory"].to_list() == ["Usage"] * 5 + ["Adjustment", "Usage"]
    # The invoice of a Microsoft Customer Agreement is of the billing profile.
    assert frame["BillingAccountId"].unique().to_list() == ["AAAA-BBBB-CCC-PGB"]
    assert frame["InvoiceId"].unique().to_list() == ["G000000001"]
    assert numbers(frame, "ListCost")[:2] == [Decimal("162.22706325"), Decimal("2123.712")]
    # Unused commitments were consumed by nobody.
    assert numbers(frame, "ConsumedQuantity")[2] is None


# --- traps -----------------------------------------------------------------------------------------


def test_trap_5_billed_and_effective_are_different_sums() -> None:
    actual, amortized = read(ACTUAL), read(AMORTIZED)
    commitments = pl.col("CommitmentDiscountId").is_not_null()
    # A purchase is billed and not effective; what it covers is effective and not billed.
    assert actual.filter(commitments)["BilledCost"].sum() == Decimal(11005)
    assert actual.filter(commitments)["EffectiveCost"].sum() == 0
    assert amortized.filter(commitments)["BilledCost"].sum() == 0
    assert amortized.filter(commitments)["EffectiveCost"].sum() == Decimal(513)


def test_covered_usage_of_an_actual_export_says_that_its_effective_cost_is_not_there() -> None:
    notes = read(ACTUAL)[NOTES].to_list()
    assert notes[7] == [
        "EffectiveCost: an actual export holds no amortised cost of covered usage, 0 is read; "
        "deliver the amortized export"
    ]
    assert read(AMORTIZED)[NOTES].null_count() == 7


def test_actual_and_amortized_of_one_month_tell_themselves_apart(tmp_path: Path) -> None:
    actual = csv_rows(ACTUAL)
    covered = {**actual[7], "CostInBillingCurrency": "400"}
    ordinary = actual[:6]
    files = {
        "actual": actual,
        "amortized": [*ordinary, covered],
        "actual and amortized": [*ordinary, covered, actual[6]],
        None: ordinary,
    }
    for dataset, rows in files.items():
        frame = read(put(tmp_path / f"{dataset}.csv", rows))
        assert frame["x_AzureDataset"].unique().to_list() == [dataset]
    # The two datasets share their ordinary rows: delivered both, those would count twice.
    both = read(put(tmp_path / "both.csv", [*ordinary, covered, actual[6]]))
    assert both["BilledCost"].sum() == decimal_sum(r["CostInBillingCurrency"] for r in ordinary) + 12000
    assert both["EffectiveCost"].sum() == decimal_sum(r["CostInBillingCurrency"] for r in ordinary) + 400


def test_trap_3_money_is_read_or_refused_never_lost(tmp_path: Path) -> None:
    assert one(tmp_path, CostInBillingCurrency="8E-7")["BilledCost"] == Decimal("0.0000008")
    assert one(tmp_path, CostInBillingCurrency="1,234.50")["BilledCost"] == Decimal("1234.5")
    wrong = one(tmp_path, CostInBillingCurrency="12,5")
    assert wrong["BilledCost"] is None
    assert wrong[REASONS] == ["CostInBillingCurrency: '12,5' is not a number"]


def test_trap_11_a_refund_is_a_correction_in_its_own_billing_month() -> None:
    refund = read(ACTUAL).row(9, named=True)
    assert (refund["ChargeClass"], refund["ChargeCategory"]) == ("Correction", "Purchase")
    assert refund["BilledCost"] == Decimal(-1000)
    assert refund["x_BillingMonth"] == "2026-09"


def test_trap_19_the_currency_is_the_billing_currency_not_the_pricing_currency(tmp_path: Path) -> None:
    frame = read(AMORTIZED)
    first = frame.row(0, named=True)
    assert (first["BillingCurrency"], first["PricingCurrency"]) == ("EUR", "USD")
    assert first["BilledCost"] == Decimal("162.22706325")
    assert first["PricingCurrencyEffectiveCost"] == Decimal("180.2522925")
    # Prices of this agreement are in the pricing currency.
    assert first["PricingCurrencyListUnitPrice"] == Decimal("2.5")
    assert first["ListUnitPrice"] is None
    assert one(tmp_path, PayGPrice="0.05")["ListUnitPrice"] == Decimal("0.05")
    assert one(tmp_path, BillingCurrencyCode="usd")["BillingCurrency"] == "USD"


def test_trap_22_a_price_block_does_not_multiply_tokens() -> None:
    frame = read(ACTUAL).head(4)
    # Counted in blocks of a million, in blocks although whole, in tokens, and unknown: as documented.
    assert numbers(frame, "ConsumedQuantity") == [
        Decimal(1_250_000),
        Decimal(8_000_000),
        Decimal(2000),
        Decimal(500),
    ]
    assert numbers(frame, "PricingQuantity") == [Decimal("1.25"), Decimal(8), Decimal(2), Decimal("0.5")]
    assert frame["PricingUnit"].to_list() == ["1000000 Tokens"] * 2 + ["1000 Tokens"] * 2
    assert frame["ConsumedUnit"].unique().to_list() == ["Tokens"]
    assert frame[NOTES].to_list() == [
        None,
        None,
        None,
        ["Quantity: nothing tells tokens from blocks of '1K', read as tokens"],
    ]


@pytest.mark.parametrize(
    ("quantity", "paid", "listed", "cost", "tokens"),
    [
        ("72.100917", "2.5", "2.5", "180.2522925", "72100917"),  # a real row's figures
        ("72.100917", "", "", "180.2522925", "72100917"),  # no token is a fraction
        ("72100917", "0.0000025", "2.5", "180.2522925", "72100917"),
        ("72100917", "", "2.5", "180.2522925", "72100917"),
        ("72", "0.25", "2.5", "18", "72000000"),  # a discount of 90 % is no block
        ("72", "", "", "180", "72000000"),  # no token costs 2.50
        ("72100917", "", "", "180.2522925", "72100917"),
        ("1000000", "", "", "22", "1000000"),
        ("0", "2.5", "2.5", "0", "0"),
        ("-72.5", "2.5", "2.5", "-181.25", "-72500000"),
    ],
)
def test_trap_22_a_row_s_prices_tell_what_its_quantity_counts(
    tmp_path: Path, quantity: str, paid: str, listed: str, cost: str, tokens: str
) -> None:
    row = one(
        tmp_path,
        MeterName="5.4 inp Gl 1M Tokens",
        UnitOfMeasure="1M",
        Quantity=quantity,
        EffectivePrice=paid,
        PayGPrice=listed,
        UnitPrice=listed,
        CostInBillingCurrency=cost,
    )
    assert row["ConsumedQuantity"] == Decimal(tokens)
    assert row["PricingQuantity"] == Decimal(tokens) / 10**6
    assert row["BilledCost"] == Decimal(cost)


def test_blocks_of_operations_and_hours() -> None:
    frame = read(ACTUAL).slice(11, 2)
    assert numbers(frame, "ConsumedQuantity") == [Decimal(129), Decimal(24)]
    assert numbers(frame, "PricingQuantity") == [Decimal("0.0129"), Decimal("0.24")]
    assert frame["PricingUnit"].to_list() == ["10000 Units", "100 Hours"]
    assert frame["ConsumedUnit"].to_list() == ["Units", "Hours"]


def test_a_quantity_too_large_for_its_block_is_unknown_and_fails_nothing(tmp_path: Path) -> None:
    row = one(tmp_path, UnitOfMeasure="100000000000", Quantity="99999999999.5", PayGPrice="", UnitPrice="")
    assert row["ConsumedQuantity"] is None
    assert row["BilledCost"] == Decimal("0.000645")


def test_trap_23_cached_input_is_a_direction_of_its_own() -> None:
    frame = read(ACTUAL).head(4)
    assert frame["x_ModelId"].to_list() == ["gpt-5", "gpt-5", "gpt-4.1", "text-embedding-3-small"]
    assert frame["x_TokenDirection"].to_list() == ["Output", "Input", "Output", "Input"]
    assert frame["x_TokenCacheAction"].to_list() == [None, "Read", None, None]
    assert read(AMORTIZED)["x_ModelId"].to_list()[0] == "gpt-5.4"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("GPT 5 outpt Glbl 1M Tokens", (True, "gpt-5", "Output", None)),
        ("5 mini pp Inp Gl 1M Tokens", (True, "5-mini", "Input", None)),
        ("gpt 4.1 Outp regnl Tokens", (True, "gpt-4.1", "Output", None)),
        ("gpt 4.1 mini cached Inp DZone Tokens", (True, "gpt-4.1-mini", "Input", "Read")),
        ("GPT 5 Chat cchd Inpt Glbl 1M Tokens - Preview", (True, "gpt-5-chat", "Input", "Read")),
        ("5.4 cd inp Gl 1M Tokens", (True, "5.4", "Input", "Read")),
        ("gpt-4o-0806-cached-FT-inp-glbl Tokens", (True, "gpt-4o-0806-ft", "Input", "Read")),
        ("gpt-image-1-inp-cached-img-glbl Tokens", (True, "gpt-image-1", "Input", "Read")),
        ("o1 preview output glbl Tokens", (True, "o1", "Output", None)),
        ("V4 Flash 0731 cached glbl Tokens", (True, "v4-flash-0731", "Input", "Read")),
        ("text-embedding-3-small-glbl Tokens", (True, "text-embedding-3-small", "Input", None)),
        ("babbage-002-base-glbl Tokens", (True, "babbage-002-base", None, None)),
        ("Code-Interpreter-global Session", (False, None, None, None)),
        ("Tokens", (True, None, None, None)),
        ("", (False, None, None, None)),
    ],
)
def test_token_meters(name: str, found: tuple[object, ...]) -> None:
    assert token_meter(name) == found


@pytest.mark.parametrize(
    ("subcategory", "meter", "model"),
    [
        ("Azure OpenAI GPT5", "5 mini pp Inp Gl 1M Tokens", "gpt-5-mini"),
        ("Azure Deepseek Models", "V3.1 Inp glbl Tokens", "deepseek-v3.1"),
        ("Azure Grok Models", "4 Fast Inp glbl Tokens", "4-fast"),
    ],
)
def test_a_meter_without_its_family_takes_it_from_the_subcategory(
    tmp_path: Path, subcategory: str, meter: str, model: str
) -> None:
    row = one(tmp_path, MeterCategory="Foundry Models", MeterSubCategory=subcategory, MeterName=meter)
    assert row["x_ModelId"] == model


def test_trap_25_a_gpu_machine_is_compute_and_known_by_its_size() -> None:
    frame = read(ACTUAL).filter(pl.col("x_GpuModel").is_not_null())
    assert frame.select("x_InstanceType", "x_GpuModel", "x_GpuCount").rows() == [
        ("Standard_NC24ads_A100_v4", "NVIDIA A100 80GB", 1.0),
        ("Standard_ND96isr_H100_v5", "NVIDIA H100", 8.0),
        ("Standard_ND96isr_H100_v5", "NVIDIA H100", 8.0),
    ]
    assert frame["ServiceCategory"].unique().to_list() == ["Compute"]
    assert frame["ConsumedUnit"].unique().to_list() == ["Hours"]


def test_a_meter_of_two_sizes_names_no_machine(tmp_path: Path) -> None:
    machine = {"MeterCategory": "Virtual Machines", "MeterName": "D3 v2/DS3 v2", "AdditionalInfo": ""}
    assert one(tmp_path, **machine)["x_InstanceType"] is None
    told = one(
        tmp_path, **{**machine, "AdditionalInfo": '"UsageType":"x", "ServiceType" : "Standard_DS3_v2"'}
    )
    assert told["x_InstanceType"] == "Standard_DS3_v2"


def test_trap_26_taxes_are_their_own_category(tmp_path: Path) -> None:
    assert one(tmp_path, ChargeType="Tax")["ChargeCategory"] == "Tax"
    assert one(tmp_path, ChargeType="Credit")["ChargeCategory"] == "Credit"


def test_trap_29_null_and_case_spellings(tmp_path: Path) -> None:
    row = one(
        tmp_path,
        ChargeType="usage",
        PricingModel="ONDEMAND",
        Quantity="NULL",
        ResourceName="(null)",
        Frequency="Usage-based",
        SubscriptionName=" ",
    )
    assert (row["ChargeCategory"], row["PricingCategory"]) == ("Usage", "Standard")
    assert (row["ConsumedQuantity"], row["SubAccountName"]) == (None, None)
    assert row["ChargeFrequency"] == "Usage-Based"
    assert row["ResourceName"] == "exampledata"
    assert row[REASONS] is None


def test_trap_31_rounding_adjustments_are_kept_as_adjustments() -> None:
    for path, amount in ((ACTUAL, "-0.000000123"), (AMORTIZED, "0.000001")):
        (row,) = read(path).filter(pl.col("x_ChargeType") == "RoundingAdjustment").to_dicts()
        assert row["ChargeCategory"] == "Adjustment"
        assert row["BilledCost"] == row["EffectiveCost"] == Decimal(amount)
        assert row["ChargeClass"] is None


def test_an_unknown_charge_type_is_an_adjustment_and_told(tmp_path: Path) -> None:
    row = one(tmp_path, ChargeType="Somethin{}g")
    assert row["ChargeCategory"] == "Adjustment"
    assert row[NOTES] == ["ChargeType: 'somethin{}g' is not known, read as Adjustment"]
    assert one(tmp_path, ChargeType="")["ChargeCategory"] is None


# --- dates, tags, headers --------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["9/2/2026", "09/02/2026", "2026-09-02", "2026-09-02T00:00:00Z"])
def test_dates_american_and_iso(tmp_path: Path, text: str) -> None:
    row = one(tmp_path, Date=text)
    assert row["ChargePeriodStart"] == datetime(2026, 9, 2, tzinfo=UTC)
    assert row["ChargePeriodEnd"] == datetime(2026, 9, 3, tzinfo=UTC)
    assert row["BillingPeriodStart"] == datetime(2026, 9, 1, tzinfo=UTC)
    assert row["BillingPeriodEnd"] == datetime(2026, 10, 1, tzinfo=UTC)


def test_a_date_that_is_none_costs_its_row_and_keeps_its_money(tmp_path: Path) -> None:
    row = one(tmp_path, Date="31.12.2026")
    assert row[REASONS] == ["Date: '31.12.2026' is not a date"]
    assert (row["BilledCost"], row["BillingCurrency"]) == (Decimal("0.000645"), "USD")
    assert one(tmp_path, Date="9999-12-31", BillingPeriodEndDate="9999-12-31")["ChargePeriodEnd"] is None


@pytest.mark.parametrize(
    ("tags", "team", "kept"),
    [
        ('"team": "a","env": "b"', "a", '{"team": "a","env": "b"}'),
        ('{"team":"a"}', "a", '{"team":"a"}'),
        ('"Team" : " a "', "a", '{"Team" : " a "}'),
        ("", None, None),
        ("=cmd|' /C calc'!A0", None, "=cmd|' /C calc'!A0"),
        ('"team": "<script>"', "<script>", '{"team": "<script>"}'),
    ],
)
def test_tags_without_braces(tmp_path: Path, tags: str, team: str | None, kept: str | None) -> None:
    row = one(tmp_path, Tags=tags)
    assert (row["x_tag_team"], row["Tags"]) == (team, kept)
    assert (row[NOTES] is None) == (tags[:1] != "=")


def test_headers_in_another_language_name_the_field_in_brackets() -> None:
    frame = read(GERMAN)
    assert frame["x_tag_team"].to_list() == ["Forschung", None, None]
    assert frame["BillingAccountId"].unique().to_list() == ["55555555-0000-0000-0000-000000000001"]
    assert frame["SubAccountName"].unique().to_list() == ["Beispiel (synthetisch)"]
    assert frame["x_GpuCount"].to_list() == [2.0, None, None]
    assert numbers(frame, "ConsumedQuantity") == [Decimal(10), Decimal("12.5"), Decimal(77469)]
    # No billing period in the file: the calendar month, and said so.
    assert frame["x_BillingMonth"].to_list() == ["2026-09", "2026-08", "2026-09"]
    assert (
        frame[NOTES].to_list()
        == [["BillingPeriodStart: not in the export, the date's calendar month is taken"]] * 3
    )
    assert plain("Catégorie du compteur (MeterCategory)") == "metercategory"
    assert plain("単価 ( UnitPrice )") == "unitprice"


def test_headers_of_an_unknown_language_are_refused_naming_the_columns(tmp_path: Path) -> None:
    german = "Datum,Kosten,Verbrauchseinheit,Kategorie\n2026-09-01,1,x,y\n"
    with pytest.raises(InputError, match=r"no reader knows this csv file .*Datum, Kosten"):
        detect(put(tmp_path / "b.csv", german))
    half = "Datum,Kosten,MeterCategory,MeterName,UnitOfMeasure,ChargeType\n2026-09-01,1,x,y,1,Usage\n"
    with pytest.raises(InputError, match=r"no column CostInBillingCurrency .* its columns are Datum, Kosten"):
        read(put(tmp_path / "h.csv", half))


@pytest.mark.parametrize("name", ["CostInBillingCurrency", "BillingCurrencyCode", "Date"])
def test_a_needed_column_that_is_missing_is_named(tmp_path: Path, name: str) -> None:
    rows = [{key: value for key, value in row_of().items() if key != name}]
    with pytest.raises(InputError, match="the Azure export has no column") as caught:
        read(put(tmp_path / "b.csv", rows))
    assert str(caught.value).count("\n") == 0


def test_the_newest_spelling_of_a_column_wins() -> None:
    names = ["PreTaxCost", "costInBillingCurrency", "COSTINBILLINGCURRENCY", "currency", "BillingCurrency"]
    assert find(names) == {"cost": "costInBillingCurrency", "currency": "BillingCurrency"}


def test_kept_columns_are_spelled_alike_in_every_agreement() -> None:
    kept = [set(read(path).columns) for path in EXAMPLES]
    assert {"x_MeterCategory", "x_MeterSubCategory", "x_CostCenter", "x_MeterId"} <= kept[0] & kept[1] & kept[
        2
    ]
    every = set.union(*kept)
    assert len({name.lower() for name in every}) == len(every)


def test_agreements_are_told_apart_by_their_columns() -> None:
    # Headers of a real partner export (focus_converters issue 253) and of the pay-as-you-go schema.
    partner = ["billingAccountName", "partnerName", "costInUsd", "exchangeRatePricingToBilling", "quantity"]
    old = [
        "SubscriptionGuid",
        "ResourceGroup",
        "UsageDateTime",
        "MeterCategory",
        "UsageQuantity",
        "PreTaxCost",
    ]
    assert (schema_of(partner), schema_of(old), schema_of(["a"])) == ("MCA", "pay-as-you-go", "unknown")


# --- containers and detection ----------------------------------------------------------------------


def test_every_container_reads_the_same(tmp_path: Path) -> None:
    text = ACTUAL.read_text(encoding="utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text)))
    wanted = read(ACTUAL)
    frames = [
        read(put(tmp_path / "plain.csv", text)),
        read(put(tmp_path / "bom.csv", b"\xef\xbb\xbf" + csv_text(rows, quote_all=True).encode())),
        read(put(tmp_path / "crlf.csv", text.replace("\n", "\r\n").encode())),
        read(put(tmp_path / "z.csv.gz", gzip.compress(ACTUAL.read_bytes()))),
        read(put(tmp_path / "p.parquet", pl.DataFrame(rows))),
    ]
    for frame in frames:
        assert frame.drop(RAW).equals(wanted.drop(RAW))


def test_parquet_with_numbers_and_dates(tmp_path: Path) -> None:
    rows = pl.DataFrame([row_of(), row_of(CostInBillingCurrency="1.5")]).with_columns(
        pl.col("CostInBillingCurrency").cast(pl.Decimal(20, 10)),
        pl.col("Quantity", "PayGPrice", "EffectivePrice").cast(pl.Float64),
        pl.lit(datetime(2026, 9, 2)).alias("Date"),
    )
    frame = read(put(tmp_path / "b.parquet", rows))
    assert numbers(frame, "BilledCost") == [Decimal("0.000645"), Decimal("1.5")]
    assert numbers(frame, "ConsumedQuantity") == [Decimal(129)] * 2
    assert frame[REASONS].null_count() == 2


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_detection_is_exclusive(path: Path) -> None:
    sample = registry.inspect(path)
    assert [r.FORMAT for r in registry.readers() if r.matches(sample)] == ["Azure cost export"]


def test_the_module_is_a_reader() -> None:
    assert (azure.FORMAT, azure.TABLE) == ("Azure cost export", "costs")


# --- real files ------------------------------------------------------------------------------------


def test_the_real_ea_export() -> None:
    if not REAL.is_file():
        pytest.skip("no real Azure export beside this checkout")
    frame, rows = read(REAL), csv_rows(REAL)
    assert frame.height == len(rows) == 27
    assert frame[REASONS].null_count() == 27
    assert frame["BilledCost"].sum() == decimal_sum(r["CostInBillingCurrency"] for r in rows)
    assert frame["BilledCost"].sum() == frame["EffectiveCost"].sum() == Decimal("1.26136926505726")
    assert frame["BillingCurrency"].unique().to_list() == ["CAD"]
    assert frame["ServiceCategory"].null_count() == 0
    assert frame["x_BillingMonth"].unique().to_list() == ["2023-09"]
    # Quantity times effective price is the cost, so "10K" of these rows counts ten thousands.
    operations = frame.filter(pl.col("PricingUnit") == "10000 Units", pl.col("PricingQuantity") != 0)
    assert operations["SkuMeter"].to_list().count("All Other Operations") == 3
    assert operations["ConsumedQuantity"].sort().to_list() == [
        Decimal(n) for n in ("79", "83", "123", "129", "7974")
    ]
    assert frame["PricingCategory"].value_counts().sort("PricingCategory").rows() == [
        ("Dynamic", 3),
        ("Standard", 24),
    ]
    tags = ReadSettings(tag_keys=("taga", "tagc"))
    assert read(REAL, tags).select("x_tag_taga", "x_tag_tagc").unique().rows() == [("valueA", "valueC")]


def test_the_openai_rows_of_a_public_test_file(tmp_path: Path) -> None:
    if not SPRUCE.is_file():
        pytest.skip("no Azure OpenAI rows beside this checkout")
    with pytest.raises(InputError, match="no column BillingCurrency"):
        read(SPRUCE)
    rows = [{**row, "BillingCurrency": "USD"} for row in csv_rows(SPRUCE)]
    frame = read(put(tmp_path / "b.csv", rows))
    assert frame["BilledCost"].sum() == Decimal("97.67")
    assert frame["x_ModelId"].to_list() == ["gpt-5", "gpt-5-mini", "gpt-img-1.5", None, "gpt-4.1", "gpt-5"]
    assert frame["x_TokenDirection"].to_list() == ["Output", "Input", "Output", None, "Output", "Output"]
    # Without list prices the documented reading stands: whole numbers are tokens.
    assert [int(n or 0) for n in numbers(frame, "ConsumedQuantity")] == [
        1_000_000,
        3_000_000,
        2_000_000,
        5,
        2000,
        0,
    ]
    assert frame["ConsumedUnit"].to_list() == ["Tokens"] * 3 + ["Units", "Tokens", None]


def test_a_focus_file_of_microsoft_is_left_to_the_focus_reader() -> None:
    if not SPRUCE_FOCUS.is_file():
        pytest.skip("no FOCUS rows of Azure beside this checkout")
    assert not azure.matches(registry.inspect(SPRUCE_FOCUS))


def test_block_sizes_of_all_known_units_of_measure() -> None:
    if not UNITS.is_file():
        pytest.skip("no list of Azure's units beside this checkout")
    rows = csv_rows(UNITS)
    wrong = [r["UnitOfMeasure"] for r in rows if unit_of(r["UnitOfMeasure"])[0] != int(r["PricingBlockSize"])]
    assert wrong == []
    named = [r["UnitOfMeasure"] for r in rows if unit_of(r["UnitOfMeasure"])[1] == r["DistinctUnits"]]
    # The rest differ in words alone ("API Calls" for "Requests").
    assert len(named) >= 0.8 * len(rows) > 300


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1M Tokens", (1_000_000, "Tokens")),
        ("1 Hour", (1, "Hours")),
        ("1 1 Hour", (1, "Hours")),
        ("1/10 Days", (1, "Units/10 Days")),
        ("10,000 GB Second", (10_000, "GB Seconds")),
        ("Hours", (1, "Hours")),
        ("0", (1, "0")),
        ("9" * 40, (1, "9" * 40)),
        ("", (1, "Units")),
    ],
)
def test_units_of_measure(text: str, found: tuple[int, str]) -> None:
    assert unit_of(text) == found


def test_service_categories_are_those_of_microsoft_s_own_list() -> None:
    if not SERVICES.is_file():
        pytest.skip("no list of Azure's services beside this checkout")
    theirs: dict[str, set[str]] = {}
    for row in csv_rows(SERVICES):
        provider = row["ConsumedService"].lower().removeprefix("microsoft.")
        theirs.setdefault(provider, set()).add(row["ServiceCategory"])
    assert {p: c for p, c in PROVIDERS.items() if c not in theirs[p]} == {}


# --- faults ----------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.decimals(-(10**12), 10**12, places=9),
            st.sampled_from(
                ["Usage", "Purchase", "Refund", "UnusedReservation", "RoundingAdjustment", "Tax"]
            ),
            st.sampled_from(["OnDemand", "Reservation", "SavingsPlan", "Spot", ""]),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_every_amount_lands_in_one_of_the_two_costs(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[Decimal, str, str]]
) -> None:
    path = tmp_path_factory.mktemp("azure") / "b.csv"
    given_rows = [
        row_of(CostInBillingCurrency=f"{amount:f}", ChargeType=kind, PricingModel=model)
        for amount, kind, model in rows
    ]
    frame = read(put(path, given_rows))
    for (amount, _, _), billed, effective in zip(
        rows, numbers(frame, "BilledCost"), numbers(frame, "EffectiveCost"), strict=True
    ):
        assert {billed, effective} <= {amount, Decimal(0)}
        assert amount in (billed, effective)


@settings(max_examples=25, deadline=None)
@given(st.binary(max_size=200), st.integers(0, ACTUAL.stat().st_size))
def test_garbage_is_read_or_refused_in_the_house_s_words(
    tmp_path_factory: pytest.TempPathFactory, garbage: bytes, place: int
) -> None:
    whole = ACTUAL.read_bytes()
    path = put(tmp_path_factory.mktemp("fuzz") / "b.csv", whole[:place] + garbage + whole[place:])
    try:
        frame = read(path)
    except InputError as error:
        assert "b.csv" in str(error)
    except pl.exceptions.PolarsError as error:
        assert "b.csv" in str(unreadable(path, error))
    else:
        # A quote that is never closed swallows what follows.
        assert frame.height > 0 or b'"' in garbage


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_dropped_and_shuffled_columns(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    rows = csv_rows(ACTUAL)
    names = data.draw(st.permutations(list(rows[0])))
    names = names[: data.draw(st.integers(1, len(names)))]
    path = put(tmp_path_factory.mktemp("columns") / "b.csv", [{n: r[n] for n in names} for r in rows])
    try:
        frame = read(path)
    except InputError as error:
        assert "b.csv" in str(error)
    else:
        # Whatever is missing, what was charged is there, billed or (a commitment's share) effective.
        charged = [Decimal(r["CostInBillingCurrency"]) for r in rows]
        costs = zip(numbers(frame, "BilledCost"), numbers(frame, "EffectiveCost"), charged, strict=True)
        assert all(amount in (billed, effective) for billed, effective, amount in costs)
