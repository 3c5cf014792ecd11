"""Oracle Cloud cost reports: times without seconds, blocks of units, corrections, tag columns."""

from __future__ import annotations

import csv
import gzip
import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers import csv_rows, csv_text, decimal_sum, put
from hypothesis import given, settings
from hypothesis import strategies as st

from finops_lab import contracts
from finops_lab.errors import InputError
from finops_lab.ingestion import registry
from finops_lab.ingestion.bills import oci
from finops_lab.ingestion.registry import NOTES, RAW, REASONS, ReadSettings, detect, unreadable

EXAMPLE = Path(__file__).parent / "formats" / "oci_cost.csv"
TEAM = ReadSettings(tag_keys=("example_team",))


def read(path: Path, tags: ReadSettings = TEAM) -> pl.DataFrame:
    """Detect and read a file as ingestion does."""
    (reader,) = detect(path)
    assert (reader.FORMAT, reader.TABLE) == ("OCI cost report", "costs")
    return reader.read(path, tags).collect()


def one(folder: Path, row: int = 0, **overrides: str) -> dict[str, Any]:
    """Read one row of the example with some columns replaced (``cost__myCost`` for cost/myCost)."""
    values = {name.replace("__", "/"): value for name, value in overrides.items()}
    return read(put(folder / "b.csv", [{**csv_rows(EXAMPLE)[row], **values}])).row(0, named=True)


# --- golden ----------------------------------------------------------------------------------------


def test_golden_totals() -> None:
    frame = read(EXAMPLE)
    assert frame.height == 11
    assert frame[REASONS].null_count() == frame[NOTES].null_count() == 11
    # 2.32376E-9 + 80 + 16 + 7.5 + 0.75 + 6 + 6.26609E-12 + 0.00136084 + 0.5; 0.01225 is taken back.
    assert frame["BilledCost"].sum() == Decimal("110.75136084233002609")
    assert frame["EffectiveCost"].sum() == Decimal("110.75136084233002609")
    assert frame["BillingCurrency"].unique().to_list() == ["USD"]
    assert frame["ProviderName"].unique().to_list() == ["Oracle"]
    wanted = {name: dtype for name, dtype in contracts.dtypes("costs").items() if name != "x_SourceFile"}
    assert dict(list(frame.schema.items())[: len(wanted)]) == wanted


def test_the_rows_hold_the_contract() -> None:
    frame = read(EXAMPLE).with_columns(pl.lit("oci_cost.csv").alias("x_SourceFile"))
    assert frame.select(contracts.reasons("costs").alias("r"))["r"].null_count() == 11


def test_raw_is_the_row_as_delivered() -> None:
    raw = read(EXAMPLE)[RAW].struct.unnest()
    assert [{k: v or "" for k, v in row.items()} for row in raw.to_dicts()] == csv_rows(EXAMPLE)


def test_accounts_resources_and_kept_columns() -> None:
    row = read(EXAMPLE).row(1, named=True)
    assert row["BillingAccountId"] == "ocid1.organizationssubscription.oc1..example"
    assert (row["SubAccountId"], row["SubAccountType"]) == ("ocid1.tenancy.oc1..exampletenancy", "Tenancy")
    assert (row["ResourceType"], row["RegionId"]) == ("autonomousdatabase", "us-sanjose-1")
    assert (row["ServiceName"], row["ServiceCategory"]) == ("DATABASE", "Databases")
    assert (row["SkuId"], row["ChargeDescription"]) == ("B92911", "Oracle APEX Application Development")
    assert row["ContractedUnitPrice"] == Decimal("0.147")
    assert row["ListCost"] is None
    assert row["x_lineItem_referenceNo"] == "ref0002"
    assert row["x_cost_attributedCost"] == "0.012250000000000000"
    assert not [name for name in row if name.startswith("x_tags")]


def test_an_account_without_subscription_is_the_tenancy(tmp_path: Path) -> None:
    row = one(tmp_path, cost__subscriptionId="")
    assert row["BillingAccountId"] == "ocid1.tenancy.oc1..exampletenancy"


def test_service_categories_are_focus_s() -> None:
    assert read(EXAMPLE)["ServiceCategory"].to_list() == [
        "Management and Governance",
        "Databases",
        "Compute",
        "Compute",
        *["AI and Machine Learning"] * 3,
        "Databases",
        "Storage",
        "Compute",
        "Networking",
    ]


# --- traps -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("2.323760000E-9", "0.00000000232376"),
        ("0.012264277499950943", "0.012264277499950943"),
        ("-1E-18", "-1E-18"),
    ],
)
def test_trap_3_scientific_notation_and_18_decimals(tmp_path: Path, text: str, amount: str) -> None:
    row = one(tmp_path, cost__myCost=text)
    assert row["BilledCost"] == Decimal(amount)
    assert row[NOTES] is None


def test_trap_3_an_amount_that_is_none_is_told_by_its_own_column(tmp_path: Path) -> None:
    row = one(tmp_path, cost__myCost="free")
    assert row[REASONS] == ["cost/myCost: 'free' is not a number"]
    assert (row["BilledCost"], row["BillingCurrency"]) == (None, "USD")


def test_times_without_seconds() -> None:
    row = read(EXAMPLE).row(0, named=True)
    assert row["ChargePeriodStart"] == datetime(2026, 9, 13, 10, tzinfo=UTC)
    assert row["ChargePeriodEnd"] == datetime(2026, 9, 13, 11, tzinfo=UTC)
    assert row["BillingPeriodStart"] == datetime(2026, 9, 1, tzinfo=UTC)
    assert row["BillingPeriodEnd"] == datetime(2026, 10, 1, tzinfo=UTC)


def test_trap_13_late_rows_keep_the_month_of_their_usage() -> None:
    row = read(EXAMPLE).row(10, named=True)
    assert row["ChargePeriodStart"] == datetime(2026, 8, 31, 23, tzinfo=UTC)
    assert row["x_BillingMonth"] == "2026-08"


def test_trap_11_a_correction_is_one_and_names_what_it_corrects() -> None:
    frame = read(EXAMPLE)
    assert frame["ChargeClass"].to_list() == [None] * 7 + ["Correction"] + [None] * 3
    row = frame.row(7, named=True)
    assert (row["ChargeCategory"], row["x_lineItem_backreferenceNo"]) == ("Usage", "ref0002")
    assert row["BilledCost"] + frame.row(1, named=True)["BilledCost"] == 0


def test_trap_15_equal_rows_are_all_kept(tmp_path: Path) -> None:
    rows = csv_rows(EXAMPLE)[:1] * 3
    assert read(put(tmp_path / "b.csv", rows)).height == 3


def test_trap_22_quantities_count_blocks() -> None:
    frame = read(EXAMPLE)
    first = frame.row(0, named=True)
    assert (first["PricingQuantity"], first["PricingUnit"]) == (Decimal("0.000002"), "1000000 Datapoints")
    assert (first["ConsumedQuantity"], first["ConsumedUnit"]) == (Decimal(2), "Datapoints")
    tokens = frame.slice(4, 3)
    assert tokens["ConsumedQuantity"].to_list() == [Decimal(2_500_000), Decimal(1_000_000), Decimal(400_000)]
    assert tokens["ConsumedUnit"].to_list() == ["Tokens"] * 3
    assert tokens["PricingUnit"].to_list() == ["1000000 Tokens"] * 3


def test_trap_23_cached_input_is_a_direction_of_its_own() -> None:
    tokens = read(EXAMPLE).slice(4, 3)
    assert tokens.select("x_ModelId", "x_TokenDirection", "x_TokenCacheAction").rows() == [
        ("grok-4", "Input", None),
        ("grok-4", "Input", "Read"),
        ("grok-4", "Output", None),
    ]
    assert read(EXAMPLE)["x_ModelId"].null_count() == 8


@pytest.mark.parametrize(
    ("about", "found"),
    [
        ("OCI Generative AI - xAI - Grok 4 Code Cached Input Tokens", ("grok-4-code", "Input", "Read")),
        ("OCI  Generative AI - xAI - Grok 4.3 - Output Tokens", ("grok-4.3", "Output", None)),
        (
            "Oracle Cloud Infrastructure Generative AI - Tokens",
            ("oracle-cloud-infrastructure-generative-ai", None, None),
        ),
        ("OCI Generative AI - Large Cohere", (None, None, None)),
        ("Vault - Tokens", (None, None, None)),
    ],
)
def test_names_of_generative_ai_products(
    tmp_path: Path, about: str, found: tuple[str | None, str | None, str | None]
) -> None:
    row = one(tmp_path, product__Description=about)
    assert (row["x_ModelId"], row["x_TokenDirection"], row["x_TokenCacheAction"]) == found


def test_trap_25_gpus_are_compute_and_known_by_product_or_shape(tmp_path: Path) -> None:
    frame = read(EXAMPLE).slice(2, 2)
    assert frame["x_GpuModel"].to_list() == ["NVIDIA H100", "NVIDIA A100 80GB"]
    # Priced per GPU and hour: the quantity counts GPUs; how many one machine has is not said.
    assert frame["ConsumedUnit"].to_list() == ["GPU-Hours"] * 2
    assert frame["ConsumedQuantity"].to_list() == [Decimal(8), Decimal(4)]
    assert frame["x_GpuCount"].null_count() == 2
    assert frame["ServiceCategory"].unique().to_list() == ["Compute"]
    shape = one(tmp_path, 2, product__Description="Compute - BM.GPU.H100.8", cost__skuUnitDescription="Hours")
    assert (shape["x_InstanceType"], shape["x_GpuModel"], shape["x_GpuCount"]) == (
        "BM.GPU.H100.8",
        "NVIDIA H100",
        8.0,
    )
    assert shape["ConsumedUnit"] == "Hours"


@pytest.mark.parametrize(
    ("about", "model"),
    [
        ("Compute - GPU - A10", "NVIDIA A10"),
        ("OCI - Compute - GPU - E4", "NVIDIA A100 40GB"),
        ("Oracle Cloud Infrastructure - Compute - GPU - MI300X", "AMD MI300X"),
        ("OCI - Compute - GPU - L40S", "NVIDIA L40S"),
        ("OCI - Compute - GPU - Z9000", None),
        ("Standard - E4 - Memory", None),
    ],
)
def test_gpu_products(tmp_path: Path, about: str, model: str | None) -> None:
    assert one(tmp_path, 2, product__Description=about)["x_GpuModel"] == model


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1000000 NONE NONE DATAPOINTS", (1_000_000, "Datapoints")),
        ("ONE GiB MONTH DATA_TRANSFERRED", (1, "GiB")),
        ("1 GiB MONTHS STORAGE_SIZE", (1, "GiB-Months")),
        ("1 NONE HOURS INSTANCE", (1, "Hours")),
        ("1 NONE HOURS OCPU", (1, "OCPU-Hours")),
        ("1 NONE MILLIS FUNCTION_CALLS", (1, "Function calls-Milliseconds")),
        ("10000 NONE NONE REQUESTS", (10_000, "Requests")),
        ("0 NONE NONE REQUESTS", (1, "Requests")),
        ("Hours", (1, "Hours")),
        ("", (1, "")),
    ],
)
def test_billing_units(text: str, found: tuple[int, str]) -> None:
    assert oci.unit_of(text) == found


def test_a_quantity_too_large_for_its_block_is_unknown_and_fails_nothing(tmp_path: Path) -> None:
    row = one(tmp_path, usage__billedQuantity="99999999999999999999")
    assert row["ConsumedQuantity"] is None
    assert row["PricingQuantity"] == Decimal("99999999999999999999")


# --- tags ------------------------------------------------------------------------------------------


def test_tag_columns_become_json_and_a_backslash_stays() -> None:
    frame = read(EXAMPLE, ReadSettings(tag_keys=("example_team", "devrel_example_lab_release")))
    assert json.loads(frame["Tags"][1]) == {
        "Example.Team": "platform",
        r"DevRel\example-lab.release": "2026.1",
    }
    assert frame["Tags"][0] is None
    assert frame["x_tag_example_team"].to_list() == [
        None,
        "platform",
        "training",
        "training",
        "search",
        "search",
        "search",
        "platform",
        None,
        None,
        None,
    ]
    assert frame["x_tag_devrel_example_lab_release"].to_list()[:2] == [None, "2026.1"]


@pytest.mark.parametrize(
    "value", ["=cmd|' /C calc'!A0", "<script>alert(1)</script>", 'a"b\\', "検索", "a\nb"]
)
def test_hostile_tags_stay_text(tmp_path: Path, value: str) -> None:
    row = one(tmp_path, 1, **{"tags/Example.Team": value})
    assert row["x_tag_example_team"] == value
    assert json.loads(row["Tags"])["Example.Team"] == value


def test_a_report_without_tags(tmp_path: Path) -> None:
    rows = [{k: v for k, v in row.items() if not k.startswith("tags/")} for row in csv_rows(EXAMPLE)]
    frame = read(put(tmp_path / "b.csv", rows))
    assert frame["Tags"].null_count() == frame["x_tag_example_team"].null_count() == 11


# --- containers, detection, faults -----------------------------------------------------------------


def test_every_container_reads_the_same(tmp_path: Path) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    wanted = read(EXAMPLE).drop(RAW)
    for path in (
        put(tmp_path / "bom.csv", b"\xef\xbb\xbf" + csv_text(rows, quote_all=True).encode()),
        put(tmp_path / "crlf.csv", text.replace("\n", "\r\n").encode()),
        put(tmp_path / "z.csv.gz", gzip.compress(text.encode())),
        put(tmp_path / "p.parquet", pl.DataFrame(rows)),
    ):
        assert read(path).drop(RAW).equals(wanted)


def test_headers_in_another_case_are_the_same(tmp_path: Path) -> None:
    rows = [{k if k.startswith("tags/") else k.lower(): v for k, v in r.items()} for r in csv_rows(EXAMPLE)]
    assert read(put(tmp_path / "b.csv", rows))["BilledCost"].sum() == Decimal("110.75136084233002609")


def test_detection_is_exclusive() -> None:
    sample = registry.inspect(EXAMPLE)
    assert [r.FORMAT for r in registry.readers() if r.matches(sample)] == ["OCI cost report"]
    assert (oci.FORMAT, oci.TABLE) == ("OCI cost report", "costs")


@pytest.mark.parametrize("name", ["cost/myCost", "cost/currencyCode", "lineItem/intervalUsageStart"])
def test_a_needed_column_that_is_missing_is_named(tmp_path: Path, name: str) -> None:
    rows = [{k: v for k, v in row.items() if k != name} for row in csv_rows(EXAMPLE)]
    with pytest.raises(InputError, match=f"the Oracle report has no column {name}"):
        read(put(tmp_path / "b.csv", rows))


def test_a_usage_report_is_not_taken_for_a_bill(tmp_path: Path) -> None:
    keep = ("lineItem/", "product/")
    rows = [
        {**{k: v for k, v in row.items() if k.startswith(keep)}, "usage/consumedQuantity": "1"}
        for row in csv_rows(EXAMPLE)
    ]
    with pytest.raises(InputError, match="holds no money; deliver the cost report"):
        read(put(tmp_path / "b.csv", [{**row, "usage/billedQuantity": "1"} for row in rows]))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.decimals(-(10**9), 10**9, places=18), min_size=1, max_size=6))
def test_money_read_is_money_delivered(
    tmp_path_factory: pytest.TempPathFactory, amounts: list[Decimal]
) -> None:
    row = csv_rows(EXAMPLE)[0]
    texts = [f"{amount:E}" if n % 2 else f"{amount:f}" for n, amount in enumerate(amounts)]
    path = put(tmp_path_factory.mktemp("oci") / "b.csv", [{**row, "cost/myCost": text} for text in texts])
    assert read(path)["BilledCost"].sum() == decimal_sum(amounts)


@settings(max_examples=25, deadline=None)
@given(st.binary(max_size=200), st.integers(0, EXAMPLE.stat().st_size))
def test_garbage_is_read_or_refused_in_the_house_s_words(
    tmp_path_factory: pytest.TempPathFactory, garbage: bytes, place: int
) -> None:
    whole = EXAMPLE.read_bytes()
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
