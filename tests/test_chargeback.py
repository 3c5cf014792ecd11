"""Chargeback: statements that add up to the ledger, in files that are whole, alive and inert."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import re
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import openpyxl
import polars as pl
import pytest
from helpers import FOCUS_SAMPLE, csv_rows, decimal_sum, write_lab
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finops_lab import contracts
from finops_lab.chargeback import (
    KINDS,
    WORDING,
    Statements,
    cost_to_serve,
    focus_allocated,
    statements,
    write_csv,
    write_focus_allocated,
    write_xlsx,
)
from finops_lab.chargeback._files import inert
from finops_lab.chargeback._sheets import cell_text, sheet_names
from finops_lab.chargeback.statements import _prove
from finops_lab.contracts import AMOUNTS, DIMENSIONS
from finops_lab.contracts.ledger import METHODS
from finops_lab.errors import CurrencyError, InputError, NoDataError, ReconciliationError
from finops_lab.money import MONEY

MONTH = "2026-10"
LEDGER = contracts.dtypes("ledger")
VALUE = contracts.dtypes("feature_value")
DEFAULTS: dict[str, Any] = {
    "x_BillingMonth": MONTH,
    "x_ChargeMonth": MONTH,
    "x_ChargeDate": date(2026, 10, 5),
    "BillingCurrency": "USD",
    "ProviderName": "CloudOne",
    "ServiceName": "Model API",
    "ChargeCategory": "Usage",
    "x_Rows": 1,
}
HOSTILE = [
    "=cmd|' /C calc'!A0",
    "<script>alert(1)</script>",
    "<r><t>&amp;</t></r>",
    "a team with a very long name indeed, one",
    "a team with a very long name indeed, two",
    "A TEAM WITH A VERY LONG NAME INDEED, ONE",
    "history",
    "Summary",
    "[x]:*?/\\",
    "'quoted'",
    "FILTER(A1:A3)",
    "+1",
    "-1+1",
    "@SUM(A1)",
    "\t=1+1",
    "\r=1+1",
    "http://example.org",
    "1.5",
    "_x0041_",
    "\x00\x1f\uffff",
    "\u202egnp",
    "🦊" * 20,
    "''",
    " ",
]


def entry(team: str, method: str, amount: str | None, **fields: Any) -> dict[str, Any]:
    value = None if amount is None else Decimal(amount)
    blank = dict.fromkeys(LEDGER)
    return {
        **blank, **DEFAULTS, **dict.fromkeys(AMOUNTS, value), "x_team": team, "x_AllocationMethod": method, **fields,
    }  # fmt: skip


def ledger(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=LEDGER)


GOLDEN = ledger(
    entry("search", "tag", "10.01", x_feature="chat", x_AllocationRule="team tag", x_Rows=2),
    entry("search", "tag", "0.02", x_feature="chat", x_AllocationRule="team tag", x_ChargeDate=date(2026, 10, 9)),
    entry("search", "telemetry", "6", x_PoolId="gpu", x_AllocationRule="gpu", x_feature="chat", x_model="m-1"),
    entry("search", "shared", "1.000000000000000001", x_AllocationRule="team tag > support"),
    entry("search", "idle", "-0.5", x_PoolId="gpu", x_AllocationRule="gpu", x_Rows=0),
    entry("ads", "rule", "5", x_AllocationRule="account", x_customer="c-1"),
    entry("ads", "telemetry", "3", x_PoolId="gpu", x_AllocationRule="gpu", x_Rows=0),
    entry("ads", "amortized", "2.5", x_AllocationRule="training"),
    entry("ads", "override", "-1", x_AllocationRule="account > override of 2026-10-20 by A. Person"),
    entry("unallocated", "dark", "1.5", x_PoolId="gpu", x_AllocationRule="gpu", x_Rows=0),
    entry("unallocated", "unallocated", "-2.25", ChargeCategory="Credit"),
    entry("search", "tag", "4", x_BillingMonth="2026-11", ChargeClass="Correction"),
    entry("search", "tag", "99", x_ChargeMonth="2026-09", x_BillingMonth="2026-09", x_ChargeDate=date(2026, 9, 1)),
)  # fmt: skip


def amounts_of(frame: pl.DataFrame, team: str) -> dict[str, str]:
    row = frame.filter(pl.col("x_team") == team).row(0, named=True)
    return {k: str(v.normalize()) for k, v in row.items() if isinstance(v, Decimal) and v}


# --- statements ------------------------------------------------------------------------------------


def test_golden_summary_and_lines() -> None:
    found = statements(GOLDEN, MONTH)
    assert found.teams == ["ads", "search", "unallocated"]
    assert amounts_of(found.summary, "ads") == {
        "direct": "5", "usage": "3", "amortized": "2.5", "override": "-1", "total": "9.5",
    }  # fmt: skip
    assert amounts_of(found.summary, "search") == {
        "direct": "14.03",
        "usage": "6",
        "shared": "1.000000000000000001",
        "idle": "-0.5",
        "total": "20.530000000000000001",
    }
    assert amounts_of(found.summary, "unallocated") == {
        "dark": "1.5",
        "unallocated": "-2.25",
        "total": "-0.75",
    }
    assert found.total == Decimal("29.280000000000000001")
    assert (found.currency, found.month, found.basis) == ("USD", MONTH, "accrual")
    direct = found.lines.filter(pl.col("x_team") == "search", pl.col("x_AllocationRule") == "team tag")
    # The two days of one thing are one line; what differs in nothing shown is not told apart.
    assert direct.select("x_feature", "kind", "EffectiveCost", "x_Rows").rows() == [
        ("chat", "direct", Decimal("10.03"), 3)
    ]


def test_cash_goes_by_the_invoice() -> None:
    cash = statements(GOLDEN, MONTH, basis="cash")
    assert cash.total == Decimal("25.280000000000000001")
    november = statements(GOLDEN, "2026-11", basis="cash")
    assert november.summary.select("x_team", "total").rows() == [("search", Decimal(4))]


def test_unknown_is_neither_zero_nor_lost() -> None:
    rows = ledger(
        entry("ads", "tag", "1"),
        entry("ads", "tag", None, BilledCost=Decimal(7), EffectiveCost=Decimal(7), x_model="m"),
        entry("ads", "shared", None, BilledCost=Decimal(2), EffectiveCost=Decimal(2)),
    )
    found = statements(rows, MONTH, metric="ListCost")
    row = found.summary.row(0, named=True)
    assert (row["direct"], row["shared"], row["usage"], row["total"]) == (1, None, 0, 1)
    assert row["unknown_entries"] == 2
    assert found.lines["ListCost"].to_list().count(None) == 2
    nothing = statements(rows.tail(1), MONTH, metric="ListCost")
    assert nothing.total is None and nothing.summary["total"].to_list() == [None]


def test_what_cannot_be_stated_is_refused() -> None:
    both = pl.concat([GOLDEN, ledger(entry("ads", "tag", "1", BillingCurrency="EUR"))])
    with pytest.raises(CurrencyError, match="EUR, USD"):
        statements(both, MONTH)
    with pytest.raises(NoDataError, match=f"2025-01.*Hint: months: .* to {MONTH}"):
        statements(GOLDEN, "2025-01")
    with pytest.raises(InputError, match="Profit"):
        statements(GOLDEN, MONTH, metric="Profit")
    with pytest.raises(InputError, match="basis"):
        statements(GOLDEN, MONTH, basis="both")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="2026-10"):
        statements(GOLDEN, "10/2026")


@pytest.mark.parametrize("column", ["total", "direct"])
def test_a_lost_cent_is_a_defect(column: str) -> None:
    good = statements(GOLDEN, MONTH)
    _prove(good)
    cent = (pl.col(column) + pl.lit(Decimal("1E-18"), MONEY)).cast(MONEY)
    with pytest.raises(ReconciliationError, match="do not add up"):
        _prove(dataclasses.replace(good, summary=good.summary.with_columns(cent)))
    with pytest.raises(ReconciliationError, match="search"):
        _prove(dataclasses.replace(good, lines=good.lines.filter(pl.col("kind") != "idle")))
    # A team that is gone from summary and lines alike is missed by the ledger's own sum.
    gone = {n: getattr(good, n).filter(pl.col("x_team") != "unallocated") for n in ("summary", "lines")}
    with pytest.raises(ReconciliationError, match="ledger's month"):
        _prove(dataclasses.replace(good, **gone))


def test_every_method_has_words_and_every_kind_a_meaning() -> None:
    assert set(WORDING) == set(METHODS)
    assert {word.kind for word in WORDING.values()} == set(KINDS)
    page = (Path(__file__).parents[1] / "docs" / "chargeback.md").read_text(encoding="utf-8")
    assert [k.meaning for k in KINDS.values() if f"| {k.title} | {k.meaning} |" not in page] == []
    assert [w.label for w in WORDING.values() if f"| {w.label} | {w.meaning} |" not in page] == []


TEAMS = st.one_of(st.sampled_from(["ads", "search", "unallocated"]), st.text(max_size=8))
MONEYS = st.integers(-(10**30), 10**30).map(lambda n: Decimal(n).scaleb(-18))


@st.composite
def ledgers(draw: st.DrawFn) -> pl.DataFrame:
    rows = []
    for _ in range(draw(st.integers(1, 12))):
        method = draw(st.sampled_from(METHODS))
        rows.append(
            entry(
                "unallocated" if method == "unallocated" else draw(TEAMS),
                method,
                None,
                **{name: draw(MONEYS) for name in AMOUNTS[:2]},
                ListCost=draw(st.none() | MONEYS),
                x_ChargeMonth=draw(st.sampled_from([MONTH, MONTH, "2026-09"])),
                x_PoolId=draw(st.sampled_from([None, "p", "q"])),
                x_AllocationRule=draw(st.sampled_from([None, "a", "a > b"])),
                x_Rows=draw(st.integers(0, 3)),
            )
        )
    rows.append(entry("ads", "tag", "1"))
    return ledger(*rows)


@settings(max_examples=40, deadline=None)
@given(ledgers(), st.sampled_from(["EffectiveCost", "ListCost"]), st.randoms(use_true_random=False))
def test_statements_equal_a_reference_in_any_order(entries: pl.DataFrame, metric: str, shuffle: Any) -> None:
    rows = list(entries.iter_rows(named=True))
    shuffle.shuffle(rows)
    found = statements(ledger(*rows).lazy(), MONTH, metric=metric)
    again = statements(entries, MONTH, metric=metric)
    assert found.summary.equals(again.summary) and found.lines.equals(again.lines)
    parts: dict[tuple[str, str], list[Decimal | None]] = defaultdict(list)
    for row in rows:
        if row["x_ChargeMonth"] == MONTH:
            parts[row["x_team"], WORDING[row["x_AllocationMethod"]].kind].append(row[metric])
    for row in found.summary.iter_rows(named=True):
        for kind in KINDS:
            theirs = parts.get((row["x_team"], kind), [])
            unknown = bool(theirs) and all(v is None for v in theirs)
            assert row[kind] == (None if unknown else decimal_sum(theirs))
    month = [r for r in rows if r["x_ChargeMonth"] == MONTH]
    assert found.total == decimal_sum(r[metric] for r in month)
    assert decimal_sum(found.summary["total"]) == decimal_sum(found.lines[metric]) == found.total
    assert found.lines["x_Rows"].sum() == sum(r["x_Rows"] for r in month) == found.summary["x_Rows"].sum()


def test_the_real_focus_sample_is_stated_in_full(tmp_path: Path) -> None:
    if not FOCUS_SAMPLE.is_file():
        pytest.skip("no real FOCUS sample beside this checkout")
    from finops_lab.allocation import allocate
    from finops_lab.lab import open_lab

    toml = '[lab]\nname = "x"\n[[dimensions.team]]\nname = "unit"\ntag = "business_unit"\n'
    lab = open_lab(write_lab(tmp_path, {"s.csv": FOCUS_SAMPLE.read_bytes()}, toml), progress=False)
    entries = allocate(lab.costs(), lab.config.dimensions).entries
    months = entries["x_ChargeMonth"].unique().sort().to_list()
    stated = [statements(entries, month, metric="BilledCost") for month in months]
    assert decimal_sum(s.total for s in stated) == Decimal("20.52022672899")
    raw = csv_rows(FOCUS_SAMPLE)
    for one in stated:
        mine = [r["BilledCost"] for r in raw if r["ChargePeriodStart"].startswith(one.month)]
        assert one.total == decimal_sum(mine)
        rows = focus_allocated(entries, one.month).collect()
        assert rows["BilledCost"].sum() == one.total
    write_xlsx(stated[0], tmp_path / "s.xlsx")
    check_formulas(tmp_path / "s.xlsx")


# --- the workbook ----------------------------------------------------------------------------------


def hostile() -> Statements:
    rows = [entry(team, "tag", f"{n}.01", x_product=team, x_model=team) for n, team in enumerate(HOSTILE, 1)]
    return statements(ledger(*rows, entry("unallocated", "unallocated", "-3.5")), MONTH)


def formulas(book: Any) -> Iterator[tuple[str, str, str]]:
    for sheet in book:
        for row in sheet.iter_rows():
            for cell in row:
                if cell.data_type == "f":
                    yield sheet.title, cell.coordinate, cell.value


def check_formulas(path: Path) -> int:
    """Compute every formula by hand, from the numbers in the cells, and compare with its cache."""
    live, cached = openpyxl.load_workbook(path), openpyxl.load_workbook(path, data_only=True)

    def numbers(sheet: str, area: str) -> list[Any]:
        return [value(sheet, cell.coordinate) for row in live[sheet][area] for cell in row]

    def value(sheet: str, place: str) -> Any:
        cell = live[sheet][place]
        if cell.data_type != "f":
            return cell.value
        text = cell.value
        if found := re.fullmatch(r"=SUM\((\w+:\w+)\)", text):
            return math.fsum(v for v in numbers(sheet, found[1]) if isinstance(v, int | float))
        if found := re.fullmatch(r'=SUMIFS\((\w+:\w+),(\w+:\w+),"([A-Z][a-z ]+)"\)', text):
            pairs = zip(numbers(sheet, found[1]), numbers(sheet, found[2]), strict=True)
            return math.fsum(v for v, kind in pairs if kind == found[3] and isinstance(v, int | float))
        if found := re.fullmatch(r"='(.*)'!\$([A-Z])\$(\d+)", text, re.DOTALL):
            return value(found[1].replace("''", "'"), found[2] + found[3])
        raise AssertionError(f"an unknown formula: {text}")

    count = 0
    for sheet, place, _ in formulas(live):
        told = cached[sheet][place].value
        count += 1
        if isinstance(told, str):
            assert told == value(sheet, place) == "unknown"
        else:
            assert math.isclose(told, value(sheet, place), rel_tol=1e-12, abs_tol=1e-9), (sheet, place)
    return count


def test_golden_workbook(tmp_path: Path) -> None:
    path = write_xlsx(statements(GOLDEN, MONTH), tmp_path / "new" / "c.xlsx")
    book = openpyxl.load_workbook(path)
    assert book.sheetnames == ["Summary", "ads", "search", "unallocated"]
    for sheet in book:
        assert "October 2026 (2026-10), month of the use" in sheet["A2"].value
        assert "EffectiveCost in USD" in sheet["A2"].value
        words = {row[0].value: row[1].value for row in sheet.iter_rows(max_col=2)}
        assert all(words[kind.title] == kind.meaning for kind in KINDS.values())
        assert sheet.freeze_panes in ("B5", "A8")
    search = book["search"]
    assert search["A1"].value == "Chargeback statement: search"
    assert search["J4"].value == "=SUM(K8:K12)"
    assert search["B4"].value == '=SUMIFS(K8:K12,I8:I12,"Direct")'
    assert search["J5"].value == "20.530000000000000001"
    lines = [[cell.value for cell in row] for row in search["A8:L12"]]
    assert lines[2][:4] == ["CloudOne", "Model API", "Usage", None]
    shared = next(line for line in lines if line[8] == "Shared")
    assert shared[9:] == ["team tag > support", 1, "1.000000000000000001"]
    assert search["K8"].number_format == "#,##0.00"
    summary = book["Summary"]
    assert [cell.value for cell in summary["A"][4:8]] == ["ads", "search", "unallocated", "All teams"]
    assert summary["J6"].value == "='search'!$J$4" and summary["B6"].value == "='search'!$B$4"
    assert summary["J8"].value == "=SUM(J5:J7)" and summary["K8"].value == "29.280000000000000001"
    shown = openpyxl.load_workbook(path, data_only=True)
    assert shown["Summary"]["J8"].value == 29.28 and shown["search"]["E4"].value == -0.5
    assert check_formulas(path) == 3 * 9 + 4 * 9


def test_decimals_are_those_of_the_currency(tmp_path: Path) -> None:
    yen = statements(ledger(entry("ads", "tag", "1200", BillingCurrency="JPY")), MONTH)
    book = openpyxl.load_workbook(write_xlsx(yen, tmp_path / "c.xlsx"))
    assert book["ads"]["K8"].number_format == "#,##0"
    assert book["ads"]["K7"].value == "EffectiveCost (JPY)"


def test_unknown_amounts_read_unknown_in_a_workbook(tmp_path: Path) -> None:
    blank = {"ListCost": None, "x_model": "m"}
    rows = ledger(
        entry("ads", "tag", "1"), entry("ads", "tag", "2", **blank), entry("b", "shared", "3", **blank)
    )
    path = write_xlsx(statements(rows, MONTH, metric="ListCost"), tmp_path / "c.xlsx")
    shown = openpyxl.load_workbook(path, data_only=True)
    assert [shown["ads"][p].value for p in ("J4", "B4", "D4")] == [1, 1, 0]
    assert [shown["b"][p].value for p in ("J4", "J5", "D4", "B4")] == ["unknown", "unknown", "unknown", 0]
    assert [shown["Summary"][p].value for p in ("J5", "J6", "J7")] == [1, "unknown", 1]
    assert "1 ledger entries have no ListCost" in shown["ads"]["A6"].value
    check_formulas(path)


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    found = hostile()
    path = write_xlsx(found, tmp_path / "c.xlsx")
    with zipfile.ZipFile(path) as archive:
        parts = archive.namelist()
        for name in parts:
            ElementTree.fromstring(archive.read(name))  # every part is well-formed XML
    assert [n for n in parts if "external" in n.lower() or "vba" in n.lower() or "_rels/sheet" in n] == []
    book = openpyxl.load_workbook(path)
    assert len(book.sheetnames) == len(found.teams) + 1
    assert len({name.casefold() for name in book.sheetnames}) == len(book.sheetnames)
    for name in book.sheetnames:
        assert 0 < len(name.encode("utf-16-le")) // 2 <= 31
        assert not set(name) & set("[]:*?/\\") and name.strip("'") == name
        assert name.casefold() != "history"
    ours = re.compile(
        r"=SUM\(\w+:\w+\)|=SUMIFS\(\w+:\w+,\w+:\w+,\"[A-Z][a-z ]+\"\)|='.*'!\$[B-J]\$4", re.DOTALL
    )
    assert [text for _, _, text in formulas(book) if not ours.fullmatch(text)] == []
    assert check_formulas(path) == 9 * (2 * len(found.teams) + 1)
    assert all(cell.hyperlink is None for sheet in book for row in sheet.iter_rows() for cell in row)
    # The full name is in the sheet, and what the workbook shows is what the ledger says.
    for team, name in zip(found.teams, book.sheetnames[1:], strict=True):
        title = book[name]["A1"].value
        told = book[name]["D8"]
        if team in ("\x00\x1f\uffff", "\r=1+1"):  # neither XML nor a workbook can carry these
            continue
        assert title.rstrip() == f"Chargeback statement: {team}".rstrip()
        if team != "unallocated":
            assert told.data_type == "s" and told.value.rstrip() == team.rstrip()


def test_the_same_statements_give_the_same_bytes(tmp_path: Path) -> None:
    found = hostile()
    one, two = write_xlsx(found, tmp_path / "a.xlsx"), write_xlsx(found, tmp_path / "b.xlsx")
    assert one.read_bytes() == two.read_bytes()
    shuffled = statements(GOLDEN.sample(fraction=1, shuffle=True, seed=3), MONTH)
    write_xlsx(statements(GOLDEN, MONTH), one)
    assert one.read_bytes() == write_xlsx(shuffled, two).read_bytes()
    with zipfile.ZipFile(one) as archive:
        assert {info.date_time[:3] for info in archive.infolist()} == {(1980, 1, 1)}
        assert b"2026-10-01T00:00:00Z" in archive.read("docProps/core.xml")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    good = statements(GOLDEN, MONTH)
    path = write_xlsx(good, tmp_path / "c.xlsx")
    before = path.read_bytes()
    broken = dataclasses.replace(good, lines=good.lines.drop("x_model"))
    with pytest.raises(pl.exceptions.ColumnNotFoundError):
        write_xlsx(broken, path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["c.xlsx"]
    (tmp_path / "d.xlsx").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        write_xlsx(good, tmp_path / "d.xlsx")
    with pytest.raises(InputError, match="cannot be written"):
        write_xlsx(good, path / "below" / "c.xlsx")
    with pytest.raises(InputError, match=r"ends in \.xlsx"):
        write_xlsx(good, tmp_path / "c.xls")


def test_more_lines_than_a_sheet_has_rows_are_refused(tmp_path: Path) -> None:
    good = statements(GOLDEN, MONTH)
    line = good.lines.head(1)
    many = line.select(pl.all().repeat_by(1_048_576).explode())
    with pytest.raises(InputError, match="write CSV instead"):
        write_xlsx(dataclasses.replace(good, lines=many), tmp_path / "c.xlsx")
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(max_size=45), unique=True, max_size=12))
def test_sheet_names_are_always_accepted(titles: list[str]) -> None:
    import xlsxwriter

    names = sheet_names(titles)
    assert list(names) == titles
    book = xlsxwriter.Workbook(io.BytesIO(), {"in_memory": True})
    for name in ["Summary", *names.values()]:
        book.add_worksheet(name)  # raises where Excel would refuse
        assert name.isprintable() and name.casefold() != "history"
    book.close()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(max_size=20), unique=True, min_size=1, max_size=4))
def test_any_text_survives_the_workbook(tmp_path: Path, texts: list[str]) -> None:
    rows = [entry(team, "tag", "1", x_product=team) for team in texts]
    found = statements(ledger(*rows), MONTH)
    book = openpyxl.load_workbook(write_xlsx(found, tmp_path / "c.xlsx"))
    for team, sheet in zip(found.teams, book.worksheets[1:], strict=True):
        # XML reads a carriage return as a line feed.
        wanted = cell_text(team).replace("\r\n", "\n").replace("\r", "\n")
        told = sheet["D8"].value or ""
        assert told.replace("_x000D_", "\n").replace("\r", "\n").replace("\n\n", "\n") == wanted.replace(
            "\n\n", "\n"
        )


# --- CSV -------------------------------------------------------------------------------------------


def test_csv_is_exact_and_inert(tmp_path: Path) -> None:
    found = hostile()
    summary, lines = write_csv(found, tmp_path / "new")
    assert [p.name for p in sorted((tmp_path / "new").iterdir())] == ["lines.csv", "summary.csv"]
    read = csv_rows(summary)
    assert decimal_sum(r["total"] for r in read) == found.total
    assert [Decimal(r["total"]) for r in read] == found.summary["total"].to_list()
    for row, team in zip(read, found.teams, strict=True):
        assert row["x_team"] in (team, f"'{team}")
        assert not re.match(r"[\s\x00-\x1f]*[=+\-@\t\r\n]", row["x_team"])
    assert next(r["x_team"] for r in read if "cmd" in r["x_team"]) == "'=cmd|' /C calc'!A0"
    details = csv_rows(lines)
    assert decimal_sum(r["EffectiveCost"] for r in details) == found.total
    assert {(r["month"], r["basis"], r["BillingCurrency"], r["metric"]) for r in details} == {
        (MONTH, "accrual", "USD", "EffectiveCost")
    }
    # A negative amount is a number, not a formula: it stays one.
    assert [r["EffectiveCost"] for r in details if r["x_team"] == "unallocated"] == ["-3.5"]
    before = summary.read_bytes(), lines.read_bytes()
    write_csv(found, tmp_path / "new")
    assert (summary.read_bytes(), lines.read_bytes()) == before


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.sampled_from("=+-@'a \t\r\n\x00\u200b\uff1d"), max_size=5))
def test_apostrophes_stop_formulas_and_can_be_taken_away(text: str) -> None:
    told = pl.select(inert(pl.lit(text))).item()
    assert not re.match(r"[\s\x00-\x1f\u200b]*[=+\-@\uff1d]|[\x00-\x1f]", told)
    assert told == text or told == "'" + text
    # Two different texts never become the same.
    other = pl.select(inert(pl.lit("'" + text))).item()
    assert other != told


def test_csv_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    good = statements(GOLDEN, MONTH)
    summary, lines = write_csv(good, tmp_path)
    before = summary.read_bytes()
    lines.unlink()
    lines.mkdir()
    with pytest.raises(InputError, match="is a folder"):
        write_csv(statements(GOLDEN, "2026-09"), tmp_path)
    assert summary.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lines.csv", "summary.csv"]


# --- FOCUS -----------------------------------------------------------------------------------------


def test_golden_focus_rows() -> None:
    rows = focus_allocated(GOLDEN, MONTH).collect()
    for name in AMOUNTS:
        assert rows[name].sum() == GOLDEN.filter(pl.col("x_ChargeMonth") == MONTH)[name].sum()
    assert rows.height == 12 and rows["x_Rows"].sum() == 10
    direct = rows.filter(pl.col("x_AllocationMethod").is_in(["tag", "rule", "override", "unallocated"]))
    allocated = [n for n in rows.columns if n.startswith("Allocated")]
    assert len(allocated) == 5
    assert direct.select(pl.col(allocated).is_null().all()).row(0) == (True,) * 5
    used = rows.filter(pl.col("x_model") == "m-1").row(0, named=True)
    assert used["AllocatedMethodId"] == "finops_lab/telemetry"
    assert json.loads(used["AllocatedMethodDetails"]) == {"Elements": [{"AllocatedRatio": 0.6}]}
    assert used["AllocatedResourceId"] == used["AllocatedResourceName"] == "search"
    assert json.loads(used["AllocatedTags"]) == {
        "finops_lab/team": "search", "finops_lab/model": "m-1", "finops_lab/feature": "chat",
    }  # fmt: skip
    assert used["ChargePeriodStart"] == datetime(2026, 10, 5, tzinfo=UTC)
    assert used["ChargePeriodEnd"] == datetime(2026, 10, 6, tzinfo=UTC)
    assert used["BillingPeriodEnd"] == datetime(2026, 11, 1, tzinfo=UTC)
    # What nobody owns after a split names its method and its share, and no resource.
    dark = rows.filter(pl.col("x_AllocationMethod") == "dark").row(0, named=True)
    assert (dark["AllocatedMethodId"], dark["AllocatedResourceId"], dark["AllocatedTags"]) == (
        "finops_lab/dark", None, None,
    )  # fmt: skip
    assert ratio(dark["AllocatedMethodDetails"]) == Decimal("0.15")
    idle = rows.filter(pl.col("x_AllocationMethod") == "idle")
    assert ratio(idle["AllocatedMethodDetails"][0]) == Decimal("-0.05")


def ratio(details: str) -> Decimal:
    (element,) = json.loads(details, parse_float=Decimal, parse_int=Decimal)["Elements"]
    return element["AllocatedRatio"]


def test_the_use_behind_a_split_is_named_where_known() -> None:
    quantities = pl.Series([Decimal("2.5"), Decimal(1), None]).cast(MONEY)
    rows = ledger(*[entry(t, "telemetry", "1", x_PoolId="p") for t in ("a", "b", "c")]).with_columns(
        quantities.alias("x_UsageQuantity"), pl.Series("x_UsageUnit", ["GPU-Seconds", None, "Tokens"])
    )
    details = [
        json.loads(d)["Elements"][0] for d in focus_allocated(rows, MONTH).collect()["AllocatedMethodDetails"]
    ]
    assert [d.get("UsageUnit") for d in details] == ["GPU-Seconds", None, "Tokens"]
    assert [d.get("UsageQuantity") for d in details] == [2.5, None, None]


def test_ratios_are_rounded_by_largest_remainder_and_fall_back_to_billed() -> None:
    def found(*rows: dict[str, Any]) -> list[str | None]:
        return focus_allocated(ledger(*rows), MONTH).collect()["AllocatedMethodDetails"].to_list()

    thirds = [ratio(d or "") for d in found(*[entry(t, "shared", "-7", x_AllocationRule="k") for t in "abc"])]
    assert thirds == [Decimal("0.333333333333333334"), *[Decimal("0.333333333333333333")] * 2]
    # A prepaid purchase: nothing effective yet, so what was billed tells the shares.
    prepaid = [
        entry(t, "shared", "0", BilledCost=Decimal(n), ChargeCategory="Purchase")
        for t, n in (("a", 1), ("b", 3))
    ]
    assert [ratio(d or "") for d in found(*prepaid)] == [Decimal("0.25"), Decimal("0.75")]
    assert found(entry("a", "shared", "0")) == [None]
    # Days, pools and rules are origins of their own; later tiers of one chain are not.
    apart = [
        entry("a", "shared", "1", x_AllocationRule="r > t1"),
        entry("b", "shared", "3", x_AllocationRule="r > t1 > t2"),
        entry("c", "shared", "1", x_AllocationRule="s > t1"),
        entry("d", "idle", "1", x_PoolId="r"),
        entry("e", "shared", "1", x_AllocationRule="r > t1", x_ChargeDate=date(2026, 10, 6)),
    ]
    rows = focus_allocated(ledger(*apart), MONTH).collect()
    ratios = dict(zip(rows["x_team"], [ratio(d) for d in rows["AllocatedMethodDetails"]], strict=True))
    assert ratios == {"a": Decimal("0.25"), "b": Decimal("0.75"), "c": 1, "d": 1, "e": 1}


def test_entries_that_differ_in_their_rows_alone_keep_one_order() -> None:
    twins = ledger(*[entry("a", "idle", "1", x_PoolId="p", x_Rows=n) for n in (2, 0, 1)])
    assert focus_allocated(twins, MONTH).collect()["x_Rows"].to_list() == [0, 1, 2]


@settings(max_examples=40, deadline=None)
@given(ledgers())
def test_focus_ratios_of_an_origin_add_up_to_one(entries: pl.DataFrame) -> None:
    rows = focus_allocated(entries.lazy(), MONTH).collect()
    month = entries.filter(pl.col("x_ChargeMonth") == MONTH)
    for name in AMOUNTS:
        assert decimal_sum(rows[name]) == decimal_sum(month[name])
    assert rows.equals(focus_allocated(entries.reverse(), MONTH).collect())
    sums: dict[str, list[tuple[Decimal, Decimal]]] = defaultdict(list)
    for row in rows.iter_rows(named=True):
        if row["AllocatedMethodDetails"] is not None:
            rule = (row["x_AllocationRule"] or "").split(" > ")[0]
            origin = f"pool {row['x_PoolId']}" if row["x_PoolId"] else f"rule {rule}"
            sums[origin].append((ratio(row["AllocatedMethodDetails"]), row["EffectiveCost"]))
        assert (row["AllocatedResourceId"] is None) == (row["AllocatedResourceName"] is None)
    for parts in sums.values():
        assert decimal_sum(r for r, _ in parts) == 1
        whole = decimal_sum(cost for _, cost in parts)
        if whole:
            with localcontext(prec=80):
                assert all(abs(r - cost / whole) <= Decimal("1E-18") for r, cost in parts)


def test_focus_files_hold_the_same_rows(tmp_path: Path) -> None:
    hostile_rows = ledger(
        *[entry(t, "telemetry", "0.1", x_PoolId="p", x_product=t) for t in HOSTILE], entry("a", "tag", "-2")
    )
    frame = focus_allocated(hostile_rows, MONTH)
    rows = frame.collect()
    parquet = write_focus_allocated(frame, tmp_path / "f.parquet")
    assert pl.read_parquet(parquet).equals(rows)
    text = csv_rows(write_focus_allocated(frame, tmp_path / "f.csv"))
    assert [r["AllocatedTags"] or None for r in text] == rows["AllocatedTags"].to_list()
    assert [Decimal(r["EffectiveCost"]) for r in text] == rows["EffectiveCost"].to_list()
    assert text[0]["ChargePeriodStart"] == "2026-10-05T00:00:00Z"
    for row in rows.filter(pl.col("AllocatedTags").is_not_null()).iter_rows(named=True):
        assert json.loads(row["AllocatedTags"])["finops_lab/product"] == row["x_product"]
    ids = {name: row for name, row in zip(rows["x_team"], rows["AllocatedResourceId"], strict=True)}
    assert all(name == found for name, found in ids.items() if name != "a")
    with pytest.raises(InputError, match="format"):
        write_focus_allocated(frame, tmp_path / "f.txt")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.csv", "f.parquet"]


def test_focus_columns_are_those_of_the_contract() -> None:
    costs = contracts.dtypes("costs")
    schema = focus_allocated(GOLDEN, MONTH).collect_schema()
    for name, dtype in schema.items():
        if not name.startswith("x_"):
            assert costs[name] == dtype, name
    assert {f"x_{name}" for name in DIMENSIONS} <= set(schema)


# --- cost to serve ---------------------------------------------------------------------------------


def value(
    feature: str, revenue: str | None, units: str | None, unit: str | None = "answers", **more: Any
) -> dict[str, Any]:
    return {
        **dict.fromkeys(VALUE),
        "period_start": datetime(2026, 10, 1, tzinfo=UTC),
        "period_end": datetime(2026, 11, 1, tzinfo=UTC),
        "feature": feature,
        "revenue_usd": None if revenue is None else Decimal(revenue),
        "units": None if units is None else Decimal(units),
        "unit_name": unit,
        "source_file": "v.csv",
        "source_row": 1,
        **more,
    }  # fmt: skip


def values(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=VALUE)


def served(frame: pl.DataFrame, by: str = "feature") -> dict[str | None, dict[str, Any]]:
    assert frame.select("month", by).is_duplicated().sum() == 0
    return {row[by]: row for row in frame.iter_rows(named=True)}


def test_golden_cost_to_serve() -> None:
    entries = ledger(
        entry("a", "tag", "10", x_feature="chat"),
        entry("b", "idle", "-0.1", x_feature="chat"),
        entry("a", "tag", "4", x_feature="index"),
        entry("a", "tag", "3", x_feature="draft"),
        entry("a", "tag", "2"),
    )
    rows = values(
        value("chat", "12", "3", period_end=datetime(2026, 10, 16, tzinfo=UTC)),
        value("chat", "0.5", "4", period_start=datetime(2026, 10, 16, tzinfo=UTC)),
        value("index", None, "7"),
        value("draft", "0", "0"),
        value("gone", "5", "1"),
    )
    found = served(cost_to_serve(entries, rows.lazy()))
    chat = found["chat"]
    assert (chat["EffectiveCost"], chat["revenue_usd"], chat["margin_usd"]) == (
        Decimal("9.9"), Decimal("12.5"), Decimal("2.6"),
    )  # fmt: skip
    assert chat["margin_share"] == pytest.approx(0.208, rel=1e-15)
    assert chat["per_unit"] == Decimal("1.414285714285714286") and chat["note"] is None
    index = found["index"]
    assert (index["revenue_usd"], index["margin_usd"], index["margin_share"]) == (None, None, None)
    assert index["per_unit"] == Decimal("0.571428571428571429")
    assert index["note"] == "revenue unknown in 1 of 1 periods"
    draft = found["draft"]
    assert (draft["margin_usd"], draft["margin_share"], draft["per_unit"]) == (Decimal(-3), None, None)
    assert found["gone"]["EffectiveCost"] is None and found["gone"]["margin_usd"] is None
    assert found["gone"]["note"] == "no cost is allocated to it"
    assert found[None]["EffectiveCost"] == 2 and found[None]["note"] == "names no feature: not compared"


def test_a_part_unknown_is_unknown() -> None:
    entries = ledger(
        entry("a", "tag", "1", x_feature="f"), entry("a", "tag", "1", x_feature="f", ListCost=None)
    )
    rows = values(value("f", "1", "1"), value("f", None, "2", unit="clicks"))
    one = served(cost_to_serve(entries, rows, metric="ListCost"))["f"]
    assert [one[n] for n in ("ListCost", "revenue_usd", "units", "unit_name", "per_unit")] == [None] * 5
    assert one["note"] == (
        "ListCost unknown in part; revenue unknown in 1 of 2 periods; units of several kinds are not added"
    )


def test_cost_to_serve_a_customer_and_by_month() -> None:
    entries = ledger(
        entry("a", "tag", "6", x_customer="c-1"),
        entry("a", "tag", "1"),
        entry("a", "tag", "8", x_customer="c-1", x_ChargeMonth="2026-09"),
    )
    rows = values(value("chat", "9", None, customer="c-1"), value("chat", "50", "5"))
    found = cost_to_serve(entries, rows, by="customer")
    assert found.select("month", "customer", "EffectiveCost", "revenue_usd", "margin_usd").rows() == [
        ("2026-09", "c-1", Decimal(8), None, None),
        (MONTH, "c-1", Decimal(6), Decimal(9), Decimal(3)),
        # Revenue of no customer says nothing about costs of no customer.
        (MONTH, None, Decimal(1), Decimal(50), None),
    ]
    assert cost_to_serve(entries, rows, by="customer", month=MONTH).equals(
        found.filter(pl.col("month") == MONTH)
    )
    assert cost_to_serve(entries, values(), month="2026-09")["note"].to_list() == [
        "names no feature: not compared"
    ]


def test_cost_to_serve_refuses_what_it_would_have_to_guess() -> None:
    entries = ledger(entry("a", "tag", "1", x_feature="f", BillingCurrency="EUR"))
    with pytest.raises(CurrencyError, match="EUR"):
        cost_to_serve(entries, values(value("f", "1", "1")))
    no_revenue = cost_to_serve(entries, values(value("f", None, "4")))
    assert no_revenue.select("BillingCurrency", "per_unit").row(0) == ("EUR", Decimal("0.25"))
    with pytest.raises(CurrencyError):
        cost_to_serve(pl.concat([entries, GOLDEN]), values())
    quarter = value("f", "1", "1", period_start=datetime(2026, 8, 1, tzinfo=UTC), source_row=7)
    with pytest.raises(InputError, match=r"v\.csv, row 7.*2026-08-01 to 2026-11-01"):
        cost_to_serve(GOLDEN, values(quarter))
    with pytest.raises(InputError, match="2026-08-01"):
        cost_to_serve(GOLDEN, values(quarter), month=MONTH)
    assert cost_to_serve(GOLDEN, values(quarter), month="2026-07").height == 0
    with pytest.raises(InputError, match="team"):
        cost_to_serve(GOLDEN, values(), by="team")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="cost"):
        cost_to_serve(GOLDEN, values(), metric="cost")


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([None, "f", "g"]), MONEYS), min_size=1, max_size=8),
    st.lists(
        st.tuples(st.sampled_from(["f", "g", "h"]), st.none() | MONEYS, st.none() | st.integers(0, 10**9)),
        max_size=6,
    ),
)
def test_cost_to_serve_equals_a_reference(
    costs: list[tuple[str | None, Decimal]], brought: list[tuple[str, Decimal | None, int | None]]
) -> None:
    entries = ledger(*[entry("a", "tag", str(cost), x_feature=f) for f, cost in costs])
    rows = values(*[value(f, r and str(r), None if u is None else str(u)) for f, r, u in brought])
    found = served(cost_to_serve(entries, rows))
    assert set(found) == {f for f, _ in costs} | {f for f, _, _ in brought}
    assert decimal_sum(row["EffectiveCost"] for row in found.values()) == decimal_sum(c for _, c in costs)
    for feature, row in found.items():
        cost = [c for f, c in costs if f == feature]
        revenue = [r for f, r, _ in brought if f == feature]
        units = [u for f, _, u in brought if f == feature]
        with localcontext(prec=80):
            spent = sum(cost, Decimal(0)) if cost else None
            earned = sum(revenue, Decimal(0)) if revenue and None not in revenue else None
            assert (row["EffectiveCost"], row["revenue_usd"]) == (spent, earned)
            known = feature is not None and spent is not None and earned is not None
            assert row["margin_usd"] == (earned - spent if known else None)
            if known and earned:
                assert row["margin_share"] == float((earned - spent) / earned)
            total = sum(units) if units and None not in units else 0
            each = spent / total if feature is not None and spent is not None and total else None
            assert row["per_unit"] == (
                None if each is None else each.quantize(Decimal("1E-18"), rounding=ROUND_HALF_EVEN)
            )
