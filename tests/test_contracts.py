"""Contracts: the rules that decide between lake and quarantine."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import dataframely as dy
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finops_lab import contracts
from finops_lab.contracts import DIMENSIONS, TABLES, Costs, dtypes, listed, reasons, required
from finops_lab.money import MONEY

GOOD: dict[str, object] = {
    "BilledCost": Decimal("1.5"),
    "EffectiveCost": Decimal("1.5"),
    "BillingCurrency": "USD",
    "BillingAccountId": "a",
    "BillingPeriodStart": datetime(2026, 9, 1, tzinfo=UTC),
    "BillingPeriodEnd": datetime(2026, 10, 1, tzinfo=UTC),
    "ChargePeriodStart": datetime(2026, 9, 3, tzinfo=UTC),
    "ChargePeriodEnd": datetime(2026, 9, 4, tzinfo=UTC),
    "ChargeCategory": "Usage",
    "ProviderName": "CloudOne",
    "x_BillingMonth": "2026-09",
    "x_SourceFile": "b.csv",
    "x_SourceRow": 1,
}


def costs(*rows: dict[str, object]) -> pl.DataFrame:
    return pl.DataFrame(
        [{**dict.fromkeys(dtypes("costs")), **GOOD, **row} for row in rows], schema=dtypes("costs")
    )


def why(*rows: dict[str, object]) -> list[list[str] | None]:
    return costs(*rows).lazy().select(reasons("costs").alias("r")).collect()["r"].to_list()


@pytest.mark.parametrize("table", sorted(TABLES))
def test_every_contract_is_named_typed_and_required_columns_exist(table: str) -> None:
    columns = dtypes(table)
    assert columns
    assert set(required(table)) <= set(columns)
    assert required(table)
    assert TABLES[table].__doc__
    # Delta has no place for these.
    assert not {pl.Categorical, pl.Enum, pl.UInt64, pl.Duration} & {
        dtype.base_type() for dtype in columns.values()
    }


def test_money_is_exact_everywhere() -> None:
    endings = ("Cost", "Price", "amount", "_usd", "_usd_per_hour", "_usd_per_gpu_hour", "Quantity")
    for table in TABLES:
        for column, dtype in dtypes(table).items():
            if column.endswith(endings) or dtype.is_decimal():
                assert dtype == MONEY, f"{table}.{column}"


def test_costs_have_focus_s_mandatory_columns() -> None:
    # FOCUS 1.0 to 1.2, Cost and Usage: the 21 mandatory columns (billing facts, 3.1).
    mandatory = """BilledCost BillingAccountId BillingAccountName BillingCurrency BillingPeriodEnd
        BillingPeriodStart ChargeCategory ChargeClass ChargeDescription ChargePeriodEnd ChargePeriodStart
        ContractedCost EffectiveCost InvoiceIssuerName ListCost PricingQuantity PricingUnit ProviderName
        PublisherName ServiceCategory ServiceName"""
    assert set(mandatory.split()) <= set(dtypes("costs"))


def test_the_ledger_has_a_column_per_dimension() -> None:
    assert {f"x_{name}" for name in DIMENSIONS} <= set(dtypes("ledger"))
    assert "x_team" in required("ledger")


def test_a_good_row_has_no_reasons() -> None:
    assert why({}, {"ChargeClass": "Correction"}, {"BilledCost": Decimal("-3")}) == [None, None, None]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"BilledCost": None}, "BilledCost: missing or not readable"),
        ({"EffectiveCost": None}, "EffectiveCost: missing or not readable"),
        ({"BillingCurrency": "usd"}, "BillingCurrency: not in the expected form"),
        ({"BillingCurrency": "USDX"}, "BillingCurrency: not in the expected form"),
        ({"BillingCurrency": None}, "BillingCurrency: missing or not readable"),
        ({"ChargeCategory": "Usages"}, "ChargeCategory: value not allowed"),
        ({"ChargeClass": "Fix"}, "ChargeClass: value not allowed"),
        (
            {"ChargePeriodEnd": datetime(2026, 9, 2, tzinfo=UTC)},
            "ChargePeriodEnd before ChargePeriodStart",
        ),
        (
            {"BillingPeriodEnd": datetime(2026, 8, 2, tzinfo=UTC)},
            "BillingPeriodEnd before BillingPeriodStart",
        ),
    ],
)
def test_a_bad_row_says_why(row: dict[str, object], reason: str) -> None:
    assert why({}, row, {}) == [None, [reason], None]


def test_a_row_with_two_faults_lists_both() -> None:
    assert why({"BilledCost": None, "ChargeCategory": "x"}) == [
        ["BilledCost: missing or not readable", "ChargeCategory: value not allowed"]
    ]


def test_no_rows_have_no_reasons() -> None:
    empty = costs().lazy().with_columns(reasons("costs").alias("r")).collect()
    assert empty.height == 0
    assert empty.schema["r"] == pl.List(pl.String)


FAULTS = st.fixed_dictionaries(
    {},
    optional={
        "BilledCost": st.sampled_from([None, Decimal(-1)]),
        "BillingCurrency": st.sampled_from([None, "", "usd", "EUR"]),
        "ChargeCategory": st.sampled_from([None, "Tax", "tax"]),
        "ChargeClass": st.sampled_from([None, "Correction", "correction"]),
        "ChargePeriodEnd": st.sampled_from([None, datetime(2020, 1, 1, tzinfo=UTC)]),
        "x_BillingMonth": st.none(),
    },
)


@settings(max_examples=40)
@given(st.lists(FAULTS, min_size=1, max_size=8))
def test_reasons_judge_as_dataframely_does(rows: list[dict[str, object]]) -> None:
    frame = costs(*rows)
    good, failures = Costs.filter(frame)
    judged = frame.with_columns(reasons("costs").alias("r"))
    assert judged.filter(pl.col("r").is_null()).drop("r").equals(pl.DataFrame(good))
    listed_reasons = judged["r"].drop_nulls().explode(empty_as_null=False)
    assert listed_reasons.len() == sum(failures.counts().values())


def test_listed_keeps_the_order_of_findings_and_ignores_unknown() -> None:
    frame = pl.DataFrame({"a": [True, None, True], "b": [True, False, False], "t": ["x", "y", "z"]})
    found = frame.select(listed([(pl.col("a"), pl.lit("first")), (pl.col("b"), pl.col("t"))]).alias("r"))
    assert found["r"].to_list() == [["first", "x"], None, ["first"]]
    assert frame.select(listed([]).alias("r"))["r"].to_list() == [None]


def test_every_public_name_of_the_room_exists() -> None:
    assert all(hasattr(contracts, name) for name in contracts.__all__)
    assert all(issubclass(schema, dy.Schema) for schema in TABLES.values())
