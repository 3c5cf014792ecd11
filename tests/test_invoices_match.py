"""Bills against invoices: read strictly, matched per currency, nothing lost."""

from __future__ import annotations

import gzip
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers import cost_row, csv_rows, csv_text, decimal_sum, put, write_lab
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from finops_lab import contracts
from finops_lab.cli import app
from finops_lab.errors import CurrencyError, InputError, ReconciliationError
from finops_lab.lab import open_lab, sample_lab
from finops_lab.reconciliation import invoices as room
from finops_lab.reconciliation.invoices import match_invoices, read_invoices

MONEY = contracts.dtypes("costs")["BilledCost"]
DEFAULTS: dict[str, Any] = {
    "BilledCost": Decimal(1),
    "BillingCurrency": "USD",
    "ChargeCategory": "Usage",
    "InvoiceIssuerName": "Cloud One Inc.",
    "x_BillingMonth": "2026-09",
    "ChargePeriodStart": datetime(2026, 9, 3, tzinfo=UTC),
}
PLAIN = (
    "Invoice number,Currency,Amount,Vendor,Invoice date\n"
    'A-1,usd,"1,234.50",Cloud One Inc.,2026-10-03\nA-2,EUR,-7,,\n'
)


def bill(*rows: dict[str, Any]) -> pl.LazyFrame:
    schema = contracts.dtypes("costs")
    return pl.DataFrame([{**dict.fromkeys(schema), **DEFAULTS, **row} for row in rows], schema=schema).lazy()


def listed(*rows: tuple[str, str, str] | tuple[str, str, str, str]) -> pl.DataFrame:
    found = [
        {"InvoiceId": r[0], "BillingCurrency": r[1], "BilledCost": Decimal(r[2]), "InvoiceIssuerName": (*r, None)[3]}
        for r in rows
    ]  # fmt: skip
    names = {
        "InvoiceId": pl.String,
        "BillingCurrency": pl.String,
        "BilledCost": MONEY,
        "InvoiceIssuerName": pl.String,
    }
    return pl.DataFrame(found, schema=names)


def detail(**fields: str | None) -> dict[str, str | None]:
    """Return a row of a FOCUS 1.4 Invoice Detail, with its mandatory columns."""
    return {
        "BilledCost": "1.00",
        "BillingAccountId": "acct-1",
        "BillingCurrency": "USD",
        "ChargeCategory": "Usage",
        "BillingPeriodStart": "2026-09-01T00:00:00Z",
        "BillingPeriodEnd": "2026-10-01T00:00:00Z",
        "InvoiceDetailCreated": "2026-10-03T00:00:00Z",
        "InvoiceDetailDescription": None,
        "InvoiceDetailGrain": "{}",
        "InvoiceDetailId": "D-1",
        "InvoiceDetailLastUpdated": "2026-10-03T00:00:00Z",
        "InvoiceId": "A-1",
        "InvoiceIssueDate": "2026-10-03T00:00:00Z",
        "InvoiceIssueStatus": "Issued",
        "InvoiceIssuerName": "Cloud One Inc.",
        "PaymentCurrency": "EUR",
        "PaymentCurrencyBilledCost": "0.92",
        "PaymentDueDate": None,
        "PaymentTerms": "Net 30",
        "ReferenceInvoiceId": "A-1",
        **fields,
    }


DETAILS = [
    detail(BilledCost="10.10"),
    detail(BilledCost="5.05", InvoiceDetailId="D-2"),
    detail(BilledCost="3.00", InvoiceDetailId="D-3", ChargeCategory="Tax"),
    detail(BilledCost="-2", InvoiceId="A-2", InvoiceIssueStatus="Open", InvoiceIssueDate=None),
]


# --- reading ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("i.csv", PLAIN.encode()),
        ("bom.csv", b"\xef\xbb\xbf" + PLAIN.encode()),
        ("i.csv.gz", gzip.compress(PLAIN.encode(), mtime=0)),
        ("tabs.txt", PLAIN.replace(",", "\t").replace("1\t234", "1,234").encode()),
    ],
)
def test_a_plain_list_of_invoices(tmp_path: Path, name: str, content: bytes) -> None:
    assert read_invoices(put(tmp_path / name, content)).collect().rows() == [
        ("A-1", "USD", "Cloud One Inc.", date(2026, 10, 3), None, Decimal("1234.5"), None, 1, None),
        ("A-2", "EUR", None, None, None, Decimal(-7), None, 1, None),
    ]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_details_of_an_invoice_are_added_up(tmp_path: Path, kind: str) -> None:
    rows = (
        pl.DataFrame(DETAILS).with_columns(pl.col("BilledCost").cast(MONEY)) if kind == "parquet" else DETAILS
    )
    assert read_invoices(put(tmp_path / f"d.{kind}", rows)).collect().rows() == [
        (
            "A-1",
            "USD",
            "Cloud One Inc.",
            date(2026, 10, 3),
            "Issued",
            Decimal("18.15"),
            Decimal(3),
            3,
            Decimal(0),
        ),
        ("A-2", "USD", "Cloud One Inc.", None, "Open", Decimal(-2), Decimal(0), 1, Decimal(0)),
    ]


def test_a_detail_that_stands_twice_in_its_invoice_is_added_and_told(tmp_path: Path) -> None:
    # FOCUS 1.4: unique within an invoice; D-1 of another invoice is another detail.
    twice = [*DETAILS, detail(BilledCost="10.10")]
    given = read_invoices(put(tmp_path / "d.csv", twice))
    told = given.select("BilledCost", "x_Details", "x_RepeatedBilledCost").collect().rows()
    assert told == [(Decimal("28.25"), 4, Decimal("10.10")), (Decimal(-2), 1, Decimal(0))]
    found = match_invoices(bill({"InvoiceId": "A-1", "BilledCost": Decimal("18.15")}), given)
    assert found.select("InvoiceId", "gap", "invoice_repeated").rows() == [
        ("A-1", Decimal("-10.10"), Decimal("10.10")),
        ("A-2", Decimal(2), Decimal(0)),
    ]


def test_numbers_of_a_parquet_file_keep_their_digits(tmp_path: Path) -> None:
    rows = pl.DataFrame({"InvoiceId": [1001, 1002], "Currency": "USD", "Amount": [0.1, 1234567.89]})
    found = read_invoices(put(tmp_path / "i.parquet", rows)).collect()
    assert found["InvoiceId"].to_list() == ["1001", "1002"]
    assert found["BilledCost"].to_list() == [Decimal("0.1"), Decimal("1234567.89")]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("InvoiceId,Currency\nA-1,USD\n", r"i\.csv, column BilledCost: .*no column BilledCost.*amount"),
        ("Amount,Currency\n1,USD\n", "no column InvoiceId.*invoicenumber"),
        ("Invoice,Currency,Total,Amount\nA-1,USD,1,2\n", "both 'Total' and 'Amount' could be BilledCost"),
        ("Invoice,Currency,Amount\nA-1,USD,1\nA-2,USD,\"12,5\"\n", "row 2, column BilledCost: amount '12,5'"),
        ("Invoice,Currency,Amount\nA-1,USD,\n", "row 1, column BilledCost: is missing"),
        ("Invoice,Currency,Amount\n,USD,1\n", "row 1, column InvoiceId: is missing"),
        ("Invoice,Currency,Amount\nA-1,,1\n", "row 1, column BillingCurrency: is missing"),
        ("Invoice,Currency,Amount\nA-1,Dollar,1\n", "'DOLLAR' is no ISO 4217 code"),
        ("Invoice,Currency,Amount\nA-1,EUR,$1\n", "row 1, column BilledCost: amount"),
        ("Invoice,Currency,Amount\nA-1,USD,1\nA-1,USD,1\n", "row 2, column InvoiceId: 'A-1' stands twice"),
        ("Invoice,Currency,Amount,Issue date\nA-1,USD,1,3/10/26\n", "'3/10/26' is no date"),
        ("Invoice,Currency,Amount\nA-1,USD,1,2,3\n", "cannot be read"),
        ("", "cannot be read"),
    ],
)  # fmt: skip
def test_a_wrong_list_is_refused(tmp_path: Path, content: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_invoices(put(tmp_path / "i.csv", content))


def test_a_list_in_an_old_encoding_is_told_what_to_do(tmp_path: Path) -> None:
    path = put(tmp_path / "i.csv", "Invoice,Currency,Amount,Vendor\nA,USD,1,Böhm\n".encode("latin-1"))
    with pytest.raises(InputError, match="Hint: save it as UTF-8"):
        read_invoices(path)


def test_focus_names_win_over_usual_ones(tmp_path: Path) -> None:
    path = put(tmp_path / "i.csv", "InvoiceId,Invoice,BillingCurrency,BilledCost,Total\nA-1,x,USD,1,2\n")
    assert read_invoices(path).collect().row(0)[5] == Decimal(1)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv: the invoices cannot be read"):
        read_invoices(tmp_path / "none.csv")


def test_one_invoice_has_one_status(tmp_path: Path) -> None:
    rows = [detail(), detail(InvoiceDetailId="D-2", InvoiceIssueStatus="Voided")]
    with pytest.raises(InputError, match="'A-1' has several statuses: Issued, Voided"):
        read_invoices(put(tmp_path / "d.csv", rows))


# --- matching --------------------------------------------------------------------------------------


def test_each_status() -> None:
    costs = bill(
        {"InvoiceId": "A-1", "BilledCost": Decimal("10.01")},
        {"InvoiceId": "A-1", "BilledCost": Decimal("-0.01"), "x_BillingMonth": "2026-10"},
        {"InvoiceId": "A-2", "BilledCost": Decimal("5.000000000000000001")},
        {"InvoiceId": "A-3", "BilledCost": Decimal(3)},
        {"InvoiceId": "A-1", "BilledCost": Decimal(8), "BillingCurrency": "EUR"},
        {"BilledCost": Decimal(2), "x_BillingMonth": "2026-10"},
        {"BilledCost": Decimal(4), "x_BillingMonth": "2026-10"},
        {"BilledCost": Decimal(1), "x_BillingMonth": "2026-08"},
    )
    given = listed(("A-1", "USD", "10"), ("A-2", "USD", "7.5"), ("A-4", "USD", "9"), ("A-1", "EUR", "8"))
    shown = ("status", "BillingCurrency", "InvoiceId", "rows", "bill_billed", "invoice_billed", "gap")
    found = match_invoices(costs, given)
    tiny = Decimal("5.000000000000000001")
    assert found.select(shown).rows() == [
        ("matched", "EUR", "A-1", 1, Decimal(8), Decimal(8), Decimal(0)),
        ("matched", "USD", "A-1", 2, Decimal(10), Decimal(10), Decimal(0)),
        ("differs", "USD", "A-2", 1, tiny, Decimal("7.5"), Decimal("-2.499999999999999999")),
        ("not on an invoice", "USD", "A-3", 1, Decimal(3), None, Decimal(3)),
        ("invoice without rows", "USD", "A-4", 0, None, Decimal(9), Decimal(-9)),
        ("no invoice id", "USD", None, 1, Decimal(1), None, Decimal(1)),
        ("no invoice id", "USD", None, 2, Decimal(6), None, Decimal(6)),
    ]
    assert found.row(1, named=True)["first_billing_month"] == "2026-09"
    assert found.row(1, named=True)["last_billing_month"] == "2026-10"
    assert found["first_billing_month"].to_list()[-2:] == ["2026-08", "2026-10"]
    assert found["within_tolerance"].to_list() == [True, True, False, None, None, None, None]


@pytest.mark.parametrize(
    ("rows", "billed", "invoiced", "tolerance", "within"),
    [
        (5, "12.50", "12.52", "1", True),
        (5, "10", "15", "1", False),
        (1_000_000, "5000000", "5000004.50", "5", True),
        (1_000_000, "5000000", "5000015", "5", False),
    ],
)
def test_the_rounding_that_focus_allows(
    rows: int, billed: str, invoiced: str, tolerance: str, within: bool
) -> None:
    # The four scenarios of the appendix Rounding Variance Tolerance of FOCUS 1.4.
    needed = (
        "InvoiceId",
        "BillingCurrency",
        "InvoiceIssuerName",
        "x_BillingMonth",
        "ChargeCategory",
        "BilledCost",
    )
    one = bill({"InvoiceId": "A-1", "BilledCost": Decimal(billed)}).select(needed)
    nothing = one.with_columns(pl.lit(0).cast(MONEY).alias("BilledCost"))
    costs = pl.concat([one, nothing.select(pl.all().repeat_by(rows - 1)).explode(pl.all())])
    found = match_invoices(costs, listed(("A-1", "USD", invoiced))).row(0, named=True)
    assert found["rows"] == rows
    assert (found["tolerance"], found["within_tolerance"]) == (Decimal(tolerance), within)
    assert found["status"] == "differs"


def test_the_tolerance_follows_the_currency() -> None:
    costs = bill({"InvoiceId": "A-1", "BilledCost": Decimal(1000), "BillingCurrency": "JPY"})
    found = match_invoices(costs, listed(("A-1", "JPY", "1100"))).row(0, named=True)
    assert (found["tolerance"], found["within_tolerance"]) == (Decimal(100), True)


def test_tax_that_only_one_side_knows_is_set_apart(tmp_path: Path) -> None:
    given = read_invoices(put(tmp_path / "d.csv", DETAILS))
    costs = bill(
        {"InvoiceId": "A-1", "BilledCost": Decimal("15.149")},
        {"InvoiceId": "A-2", "BilledCost": Decimal("-2"), "ChargeCategory": "Tax"},
    )
    first, second = match_invoices(costs, given).rows(named=True)
    assert (first["gap"], first["gap_before_tax"]) == (Decimal("-3.001"), Decimal("-0.001"))
    assert (first["bill_tax"], first["invoice_tax"]) == (Decimal(0), Decimal(3))
    assert (first["status"], first["within_tolerance"]) == ("differs", True)
    assert (second["status"], second["gap_before_tax"]) == ("matched", Decimal(2))


def test_one_id_of_two_issuers_is_told_apart_by_issuer() -> None:
    costs = bill(
        {"InvoiceId": "1001", "BilledCost": Decimal(1), "InvoiceIssuerName": "Cloud One Inc."},
        {"InvoiceId": "1001", "BilledCost": Decimal(2), "InvoiceIssuerName": "Cloud Two Inc."},
    )
    given = listed(("1001", "USD", "2", "Cloud Two Inc."), ("1001", "USD", "1", "Cloud One Inc."))
    found = (
        match_invoices(costs, given).select("status", "bill_issuer", "invoice_issuer", "bill_billed").rows()
    )
    assert found == [
        ("matched", "Cloud One Inc.", "Cloud One Inc.", Decimal(1)),
        ("matched", "Cloud Two Inc.", "Cloud Two Inc.", Decimal(2)),
    ]
    with pytest.raises(InputError, match="several issuers have an invoice '1001'"):
        match_invoices(costs, listed(("1001", "USD", "3")))


def test_an_issuer_spelled_in_two_ways_is_shown_in_both() -> None:
    found = match_invoices(bill({"InvoiceId": "A-1"}), listed(("A-1", "USD", "1", "cloud one"))).row(
        0, named=True
    )
    assert (found["status"], found["bill_issuer"], found["invoice_issuer"]) == (
        "matched",
        "Cloud One Inc.",
        "cloud one",
    )


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        (listed(("A-1", "USD", "1"), ("A-1", "USD", "2")), InputError, "'A-1' is given twice"),
        (listed(("A-1", "USD", "1"), ("A-1", "USD", "2", "Cloud One Inc.")), InputError, "'A-1' is given twice"),
        (listed(("A-1", "USD", "1")).drop("BilledCost"), InputError, "no column BilledCost"),
        (listed(("A-1", "USD", "1")).cast({"BilledCost": pl.Float64}), InputError, "not Decimal"),
        (listed(("A-1", "USD", "1")).with_columns(InvoiceId=pl.lit(None)), InputError, "no InvoiceId"),
        (listed(("A-1", "USD", "1")).with_columns(BillingCurrency=pl.lit(None)), CurrencyError, "BillingCurrency"),
    ],
)  # fmt: skip
def test_wrong_invoices_are_refused(given: pl.DataFrame, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        match_invoices(bill({"InvoiceId": "A-1"}), given)


def test_lines_that_lost_money_are_refused() -> None:
    costs, given = bill({"InvoiceId": "A-1"}), listed(("A-1", "USD", "1"))
    lines, summed = match_invoices(costs, given), room._bill(costs)
    room._prove(lines, summed, given)
    two = pl.lit(2).cast(MONEY)
    for fault in (two.alias("bill_billed"), two.alias("invoice_billed"), pl.lit(2).alias("rows")):
        with pytest.raises(ReconciliationError, match="USD"):
            room._prove(lines.with_columns(fault), summed, given)
    with pytest.raises(ReconciliationError, match="USD"):
        room._prove(lines.head(0), summed, given)


CURRENCIES = st.sampled_from(["USD", "EUR", "JPY"])
AMOUNTS = st.decimals(-1000, 1000, places=4)
CHARGES = st.fixed_dictionaries(
    {
        "InvoiceId": st.sampled_from(["A-1", "A-2", "A-3", None]),
        "BillingCurrency": CURRENCIES,
        "BilledCost": AMOUNTS,
        "ChargeCategory": st.sampled_from(["Usage", "Tax", "Credit"]),
        "x_BillingMonth": st.sampled_from(["2026-09", "2026-10"]),
    }
)
INVOICES = st.dictionaries(st.tuples(st.sampled_from(["A-1", "A-2", "A-9"]), CURRENCIES), AMOUNTS)


@settings(max_examples=60)
@given(st.lists(CHARGES, max_size=12), INVOICES, st.randoms(use_true_random=False))
def test_nothing_is_lost_and_a_plain_reference_agrees(
    charges: list[dict[str, Any]], invoices: dict[tuple[str, str], Decimal], random: Any
) -> None:
    costs = bill(*charges) if charges else bill({}).head(0)
    given = listed(*[(name, currency, str(amount)) for (name, currency), amount in invoices.items()])
    found = match_invoices(costs, given)
    for currency in ("USD", "EUR", "JPY"):
        here = found.filter(pl.col("BillingCurrency") == currency)
        billed = decimal_sum(c["BilledCost"] for c in charges if c["BillingCurrency"] == currency)
        invoiced = decimal_sum(amount for (_, code), amount in invoices.items() if code == currency)
        assert here["bill_billed"].sum() == billed
        assert here["invoice_billed"].sum() == invoiced
        assert here["gap"].sum() == billed - invoiced
    expected: dict[tuple[str, str], str] = {}
    for key in {(c["InvoiceId"], c["BillingCurrency"]) for c in charges if c["InvoiceId"]} | set(invoices):
        mine = [c["BilledCost"] for c in charges if (c["InvoiceId"], c["BillingCurrency"]) == key]
        if not mine:
            expected[key] = "invoice without rows"
        elif key not in invoices:
            expected[key] = "not on an invoice"
        else:
            expected[key] = "matched" if decimal_sum(mine) == invoices[key] else "differs"
    named = found.filter(pl.col("InvoiceId").is_not_null())
    assert {
        (name, code): s for name, code, s in named["InvoiceId", "BillingCurrency", "status"].rows()
    } == expected
    assert named.height == len(expected)
    random.shuffle(charges)
    again = bill(*charges) if charges else bill({}).head(0)
    assert match_invoices(again.collect(), given.sample(fraction=1, shuffle=True, seed=1)).equals(found)


# --- a lab -----------------------------------------------------------------------------------------


def test_an_ingested_bill_against_its_invoices(tmp_path: Path) -> None:
    rows = [cost_row("0.125", InvoiceId="A-1"), cost_row("0.875", InvoiceId="A-1"), cost_row("2")]
    lab = open_lab(write_lab(tmp_path / "lab", {"b.csv": rows}), progress=False)
    path = put(tmp_path / "i.csv", [{"Invoice": "A-1", "Currency": "USD", "Amount": "1.00"}])
    found = match_invoices(lab.costs(), read_invoices(path))
    assert found["status"].to_list() == ["matched", "no invoice id"]
    assert found["bill_billed"].to_list() == [Decimal(1), Decimal(2)]


def test_the_command_shows_each_gap_and_fails_when_asked(tmp_path: Path) -> None:
    billed = (("40.004", "10", "A-1"), ("7", "10", "A-2"), ("2", "10", None), ("5", "09", "A-0"))
    rows = [cost_row(amount, month=f"2026-{month}", InvoiceId=name) for amount, month, name in billed]
    lab = write_lab(tmp_path / "lab", {"b.csv": rows})
    sent = [{"Invoice": n, "Currency": "USD", "Amount": a} for n, a in (("A-1", "40"), ("A-2", "9"))]
    path, out = put(tmp_path / "i.csv", sent), tmp_path / "gaps.csv"

    def run(*asked: str) -> Result:
        return CliRunner().invoke(app, ["invoices", str(path), "--lab", str(lab), *asked])

    told = run("--month", "2026-10", "--out", str(out), "--fail-on-gap")
    assert told.exit_code == 3, "2 USD are no rounding"
    assert "3 lines: 2 differs, 1 no invoice id" in told.stdout
    lines = [[cell.strip() for cell in line.split("│")] for line in told.stdout.splitlines()]
    by_id = {line[2]: (line[1], *line[6:10]) for line in lines if len(line) > 9}
    assert by_id["A-1"] == ("differs", "40.004", "40", "0.004", "yes")
    assert by_id["A-2"] == ("differs", "7", "9", "-2", "no")
    (whole,) = (line[5:9] for line in lines if len(line) > 9 and line[1] == "all")
    assert whole == ["3", "49.004", "49", "0.004"]
    assert pl.read_csv(out).select(pl.col("gap").sum()).item() == pytest.approx(0.004 - 2 + 2)
    # Of all months, one more: its invoice is in no list. Rounding alone fails nothing.
    put(path, sent[:1])
    assert "4 lines: 2 not on an invoice, 1 differs, 1 no invoice id" in run().stdout
    assert run("--month", "2026-10", "--fail-on-gap").exit_code == 0
    for asked, says in ((["--month", "2026-11"], "no bill of 2026-11"), (["--out", "x.txt"], "must end in")):
        assert says in str(run(*asked).exception)


def test_the_sample_s_bills_add_up_to_invoices_made_of_them(tmp_path: Path) -> None:
    costs = open_lab(sample_lab(), progress=False).costs()
    numbered = costs.with_columns(
        pl.concat_str("ProviderName", pl.lit(" "), "x_BillingMonth").alias("InvoiceId")
    )
    sums: dict[tuple[str, str], list[Decimal]] = {}
    columns = numbered.select("InvoiceId", "BillingCurrency", "BilledCost").collect()
    for name, currency, amount in columns.iter_rows():
        sums.setdefault((name, currency), []).append(amount)
    lines = [{"InvoiceId": n, "Currency": c, "Amount": str(decimal_sum(a))} for (n, c), a in sums.items()]
    path = put(tmp_path / "i.csv", csv_text(lines))
    assert len(csv_rows(path)) == len(lines) > 50
    found = match_invoices(numbered, read_invoices(path))
    assert found["status"].unique().to_list() == ["matched"]
    assert found.height == len(lines)
    assert match_invoices(costs, read_invoices(path)).filter(pl.col("status") == "matched").height == 0
