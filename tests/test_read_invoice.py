"""Invoice lines become bill rows: cash in the invoice's month, prepayments spread over their own."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers import csv_text, decimal_sum, ingest_lab, write_lab
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finops_lab import contracts
from finops_lab.errors import InputError
from finops_lab.ingestion import registry
from finops_lab.ingestion.bills import invoice
from finops_lab.ingestion.registry import NOTES, RAW, REASONS, ReadSettings

EXAMPLE = Path(__file__).parent / "formats" / "invoice.csv"
BASE: dict[str, Any] = {
    "vendor": "Example",
    "invoice_id": "I-1",
    "invoice_date": "2026-10-31",
    "period_start": "2026-10-01",
    "period_end": "2026-10-31",
    "description": "Line",
    "amount": "10.00",
    "currency": "USD",
}


def read(path: Path, **options: Any) -> pl.DataFrame:
    return invoice.read(path, ReadSettings(**options)).collect()


def rows(tmp_path: Path, *changes: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    path = tmp_path / "t.csv"
    path.write_text(csv_text([{**BASE, **change} for change in changes]))
    return read(path, **options).rows(named=True)


def one(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    (row,) = rows(tmp_path, changes)
    return row


def good(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter(pl.col(REASONS).is_null())


def shown(found: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    names = ("ChargeCategory", "BilledCost", "EffectiveCost")
    return [(*(row[n] for n in names), f"{row['ChargePeriodStart']:%Y-%m-%d}") for row in found]


def test_frame_has_the_contract_in_order_and_in_its_dtypes() -> None:
    schema = dict(invoice.read(EXAMPLE, ReadSettings(tag_keys=("team",))).collect_schema())
    wanted = {n: t for n, t in contracts.dtypes("costs").items() if n != "x_SourceFile"}
    assert list(schema) == [*wanted, "x_Amortization", "x_note", "x_tag_team", RAW, REASONS, NOTES]
    assert {name: schema[name] for name in wanted} == wanted


def test_only_this_reader_knows_the_file() -> None:
    for path in sorted(EXAMPLE.parent.iterdir()):
        sample = registry.inspect(path)
        if path == EXAMPLE:
            assert [r.FORMAT for r in registry.readers() if r.matches(sample)] == ["Invoice CSV"]
        else:
            assert not invoice.matches(sample), path.name


def test_golden_totals_of_the_example() -> None:
    """By hand, billed: 1250 + 87.5 - 50 + 365 + 0; 10000 + 75.5. Depreciation is effective only."""
    frame = good(read(EXAMPLE))
    dollars, euros = (frame.filter(pl.col("BillingCurrency") == code) for code in ("USD", "EUR"))
    assert decimal_sum(dollars["BilledCost"]) == Decimal("1652.5")
    assert decimal_sum(dollars["EffectiveCost"]) == Decimal("1652.5") + Decimal("4166.67")
    assert decimal_sum(euros["BilledCost"]) == decimal_sum(euros["EffectiveCost"]) == Decimal("10075.5")
    assert decimal_sum(read(EXAMPLE).filter(pl.col(REASONS).is_not_null())["BilledCost"]) == Decimal("24.99")
    broken = frame.with_columns(pl.lit("f").alias("x_SourceFile")).select(contracts.reasons("costs"))
    assert broken.to_series().null_count() == broken.height == 23


def test_golden_prepaid_quarter() -> None:
    """31, 30 and 31 of 92 days: 3369.5652, 3260.8696, 3369.5652; the last cent goes to the earlier tie."""
    quarter = read(EXAMPLE).filter(pl.col("x_SourceRow") == 4)
    zero = Decimal(0)
    assert shown(quarter.rows(named=True)) == [
        ("Purchase", Decimal(10000), zero, "2026-10-01"),
        ("Usage", zero, Decimal("3369.57"), "2026-10-01"),
        ("Usage", zero, Decimal("3260.87"), "2026-11-01"),
        ("Usage", zero, Decimal("3369.56"), "2026-12-01"),
    ]
    assert quarter["x_Amortization"].to_list() == ["billed", *["amortized"] * 3]
    assert quarter["x_BillingMonth"].unique().to_list() == ["2026-10"]
    assert quarter["ConsumedQuantity"].to_list() == [Decimal(1), None, None, None]
    assert quarter["BillingAccountId"].unique().to_list() == ["Example Colocation (synthetic)"]


def test_golden_year_from_the_middle_of_a_month() -> None:
    year = read(EXAMPLE).filter((pl.col("x_SourceRow") == 6) & (pl.col("x_Amortization") == "amortized"))
    days = [17, 30, 31, 31, 28, 31, 30, 31, 30, 31, 31, 30, 14]
    assert year["EffectiveCost"].to_list() == [Decimal(n) for n in days]
    assert year["ChargePeriodEnd"][-1] == datetime(2027, 10, 15, tzinfo=UTC)


def test_golden_rows() -> None:
    frame = read(EXAMPLE, tag_keys=("team",))
    first = frame.row(0, named=True)
    expected = {
        "BilledCost": Decimal(1250),
        "EffectiveCost": Decimal(1250),
        "ListCost": None,
        "BillingAccountId": "ACC-1",
        "BillingPeriodStart": datetime(2026, 10, 1, tzinfo=UTC),
        "BillingPeriodEnd": datetime(2026, 11, 1, tzinfo=UTC),
        "ChargePeriodEnd": datetime(2026, 11, 1, tzinfo=UTC),
        "ChargeCategory": "Purchase",
        "InvoiceId": "INV-001",
        "ProviderName": "Example SaaS (synthetic)",
        "ServiceName": "Evaluation platform",
        "ConsumedQuantity": Decimal(25),
        "ConsumedUnit": "Seats",
        "x_tag_team": "search",
        "x_note": "monthly plan",
    }
    assert {name: first[name] for name in expected} == expected
    categories = frame.group_by("x_SourceRow", maintain_order=True).first()["ChargeCategory"].to_list()
    assert categories == ["Purchase", "Tax", "Credit", "Purchase", "Usage", "Purchase", *["Usage"] * 3]


def test_trap_5_billed_and_effective_of_a_prepayment_are_never_in_one_row() -> None:
    spread = good(read(EXAMPLE)).filter(pl.col("x_Amortization").is_not_null())
    assert spread.height == 4 + 14
    assert spread.select(((pl.col("BilledCost") == 0) != (pl.col("EffectiveCost") == 0)).all()).item()


def test_trap_3_thousands_and_parentheses_are_read_not_lost(tmp_path: Path) -> None:
    given = ["1,234.50", " 12 ", "(3.00)", "$5", "1.81E-8"]
    found = [row["BilledCost"] for row in rows(tmp_path, *({"amount": text} for text in given))]
    assert found == [Decimal(text) for text in ("1234.5", "12", "-3", "5", "1.81E-8")]


def test_trap_19_a_missing_currency_is_a_reason_never_an_assumption(tmp_path: Path) -> None:
    row = one(tmp_path, currency="")
    assert "currency: missing, write the ISO 4217 code of every amount" in row[REASONS]
    assert (row["BilledCost"], row["BillingCurrency"]) == (Decimal(10), None)
    path = tmp_path / "none.csv"
    path.write_text(csv_text([{k: v for k, v in BASE.items() if k != "currency"}]))
    assert invoice.matches(registry.inspect(path))
    assert read(path)[REASONS].null_count() == 0


def test_trap_11_an_invoice_in_arrears_bills_now_what_was_used_before(tmp_path: Path) -> None:
    row = one(tmp_path, invoice_date="2026-11-03")
    assert (row["x_BillingMonth"], f"{row['ChargePeriodStart']:%Y-%m}") == ("2026-11", "2026-10")


def test_headers_are_recognised_by_their_aliases(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "Supplier;Invoice No.;Issue Date;Service Period Start;Service Period End;Line Total;Currency Code;"
        "Cost Center;Charge Type;Extra Note\n"
        "Example;7;2026-10-02;2026-10-01;2026-10-31;5,000.25;eur;cc-1;TAX;hello\n"
    )
    row = read(path, tag_keys=("cost_center",)).row(0, named=True)
    assert row["BilledCost"] == Decimal("5000.25")
    assert (row["BillingCurrency"], row["ChargeCategory"], row["InvoiceId"]) == ("EUR", "Tax", "7")
    assert (row["x_tag_cost_center"], row["x_Extra_Note"]) == ("cc-1", "hello")
    assert [r.FORMAT for r in registry.readers() if r.matches(registry.inspect(path))] == ["Invoice CSV"]


def test_tags_come_from_json_and_from_columns(tmp_path: Path) -> None:
    both, unread = rows(
        tmp_path,
        {"tags": '{"Team":"a","env":"prod"}', "team": "b"},
        {"tags": "team=a", "team": "b"},
        tag_keys=("team", "env"),
    )
    assert (both["x_tag_team"], both["x_tag_env"]) == ("b", "prod")
    assert (unread["x_tag_team"], unread["x_tag_env"]) == ("b", None)
    assert unread[NOTES] == ["Tags: not JSON, left unread"]


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    row = one(tmp_path, description='=cmd|"/c calc"!A1', team="<script>alert(1)</script>")
    assert row["ChargeDescription"] == '=cmd|"/c calc"!A1'
    assert row["Tags"] == '{"team":"<script>alert(1)</script>"}'


@pytest.mark.parametrize(
    ("start", "end", "until", "noted"),
    [
        ("2026-10-01", "2026-10-31", "2026-11-01", False),  # the last day counts
        ("2026-10-05", "2026-10-05", "2026-10-06", False),  # one day
        ("2026-10-01T00:00:00Z", "2026-10-31T12:00:00Z", "2026-10-31", False),  # a moment is a moment
        ("2026-09-30T22:00:00-02:00", "2026-10-31T20:00:00-04:00", "2026-11-01", False),
        ("2026-10-01", "2026-11-01", "2026-11-01", True),  # a month, not 32 days
    ],
)
def test_the_end_of_a_period(tmp_path: Path, start: str, end: str, until: str, noted: bool) -> None:
    row = one(tmp_path, period_start=start, period_end=end)
    assert row[REASONS] is None
    assert f"{row['ChargePeriodEnd']:%Y-%m-%d}" == until
    assert bool(row[NOTES]) == noted


def test_what_is_not_dated_is_charged_on_the_invoice_day_or_billed_at_the_start(tmp_path: Path) -> None:
    day = one(tmp_path, period_start="", period_end="")
    assert (day["ChargePeriodStart"], day["ChargePeriodEnd"]) == (
        datetime(2026, 10, 31, tzinfo=UTC),
        datetime(2026, 11, 1, tzinfo=UTC),
    )
    assert day[NOTES] == ["period_start: missing, charged on the invoice's day"]
    start = one(tmp_path, invoice_date="")
    assert start["x_BillingMonth"] == "2026-10"
    assert start[NOTES] == ["invoice_date: missing, billed in the month the period starts in"]


def test_taxes_credits_and_adjustments_keep_their_category_when_spread(tmp_path: Path) -> None:
    for category in ("tax", "credit", "adjustment"):
        found = rows(tmp_path, {"category": category, "amount": "-1.00", "period_end": "2026-12-31"})
        assert {row["ChargeCategory"] for row in found} == {category.capitalize()}
        assert decimal_sum(row["EffectiveCost"] for row in found) == Decimal(-1)


def test_an_effective_amount_is_spread_in_place_of_the_amount(tmp_path: Path) -> None:
    found = rows(tmp_path, {"amount": "0", "effective_amount": "92", "period_end": "2026-12-31"})
    assert [row["EffectiveCost"] for row in found] == [0, 31, 30, 31]
    assert {row["BilledCost"] for row in found} == {Decimal(0)}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"amount": "12,5"}, "BilledCost: '12,5' is not a number"),
        ({"amount": "€5"}, "BilledCost: '€5' is not a number"),
        ({"effective_amount": "x"}, "effective_amount: 'x' is not a number"),
        ({"category": "Software"}, "category: 'Software' is not usage, purchase, tax, credit, adjustment"),
        ({"invoice_date": "10/31/2026"}, "invoice_date: '10/31/2026' is not a date like 2026-10-31"),
        ({"invoice_date": "20261031"}, "invoice_date: '20261031' is not a date like 2026-10-31"),
        ({"period_end": "45961"}, "period_end: '45961' is not a date like 2026-10-31"),
        ({"period_end": ""}, "period_end: missing"),
        ({"period_start": ""}, "period_start: missing"),
        ({"period_end": "2026-09-01"}, "period_end: is before period_start"),
        ({"period_end": "2099-01-15"}, "period_end: more than 600 months after period_start"),
        ({"period_end": "9999-12-31"}, "period_end: '9999-12-31' has no day after it"),
        (
            {"period_start": "", "period_end": "", "invoice_date": ""},
            "period_start: missing, as are period_end and invoice_date",
        ),
    ],
)
def test_what_cannot_be_read_is_a_reason(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    row = one(tmp_path, **changes)
    assert reason in row[REASONS]
    assert row["BilledCost"] == (None if "amount" in changes else Decimal(10))
    assert row["BillingCurrency"] == "USD"


def test_quantities_that_are_no_numbers_are_reasons(tmp_path: Path) -> None:
    assert "ConsumedQuantity: 'many' is not a number" in one(tmp_path, quantity="many", unit="u")[REASONS]


def test_gzip_and_parquet_read_the_same(tmp_path: Path) -> None:
    wanted = read(EXAMPLE).drop(RAW)
    packed = tmp_path / "a.csv.gz"
    packed.write_bytes(gzip.compress(EXAMPLE.read_bytes()))
    table = tmp_path / "b"
    typed = pl.read_csv(EXAMPLE, infer_schema=False).with_columns(
        pl.col("period_start", "period_end").str.to_date(), pl.col("quantity").cast(pl.Float64)
    )
    typed.write_parquet(table)
    for path in (packed, table):
        assert read(path).drop(RAW).equals(wanted), path.name


def test_a_table_without_amounts_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("vendor,invoice_id\nExample,1\n")
    with pytest.raises(InputError, match="has no column amount"):
        read(path)
    assert not invoice.matches(registry.inspect(path))


def test_broken_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(gzip.compress(EXAMPLE.read_bytes())[:-40])
    with pytest.raises(InputError, match="cannot be read"):
        read(path)
    path.write_text(csv_text([BASE]) + "a,b,c,d,e,f,1,USD,too,many\n")
    with pytest.raises(InputError, match="more fields than the header"):
        read(path)


def test_a_lab_takes_it_in(tmp_path: Path) -> None:
    lab = write_lab(tmp_path, {"invoices/2026-10.csv": EXAMPLE.read_text()})
    done = ingest_lab(lab).files
    known = done.filter(pl.col("currency") == "USD").row(0, named=True)
    assert known["BilledCost_accepted"] == Decimal("1652.5")
    assert known["BilledCost_quarantined"] == Decimal(5)
    assert done["rows_quarantined"].sum() == 2


DATES = st.dates(date(2020, 1, 1), date(2032, 12, 31))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.decimals(-(10**7), 10**7, places=3), DATES, st.integers(0, 1500))
def test_spreading_neither_makes_nor_loses_money(
    tmp_path: Path, amount: Decimal, first: date, days: int
) -> None:
    last = first + timedelta(days=days)
    found = rows(tmp_path, {"amount": str(amount), "period_start": str(first), "period_end": str(last)})
    assert decimal_sum(row["BilledCost"] for row in found) == amount
    assert decimal_sum(row["EffectiveCost"] for row in found) == amount
    parts = [row for row in found if row["x_Amortization"] != "billed"]
    assert all(a["ChargePeriodEnd"] == b["ChargePeriodStart"] for a, b in pairwise(parts))
    assert len(parts) == len({f"{row['ChargePeriodStart']:%Y-%m}" for row in parts})
