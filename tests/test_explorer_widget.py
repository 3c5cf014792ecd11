"""The explorer without a browser: set its controls, see what it shows."""

from __future__ import annotations

import base64
import html
import io
import json
import re
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers import PLAIN_TOML, cost_row, decimal_sum, write_lab

import finops_lab as fl
from finops_lab.errors import CurrencyError, InputError
from finops_lab.exploring import spend
from finops_lab.widgets import Explorer

pytest.importorskip("ipywidgets")

TOML = (
    PLAIN_TOML
    + """
[[dimensions.team]]
name = "team tag"
tag = "team"
[[dimensions.model]]
name = "model tag"
tag = "model"
[[shared]]
name = "platform tier"
where = { x_team = ["platform"] }
by = "direct"
"""
)
MONTHS = ["2026-07", "2026-08", "2026-09", "2026-10"]
MODEL = 'mo<b>del "x" & $1$'


def charge(
    amount: str, month: str, team: str | None, model: str | None = None, **fields: Any
) -> dict[str, Any]:
    tags = {name: value for name, value in (("team", team), ("model", model)) if value}
    return cost_row(amount, month=month, Tags=json.dumps(tags), ListCost=None, **fields)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> fl.Lab:
    rows = []
    for n, month in enumerate(MONTHS):
        rows += [
            charge(f"{100 + n}.000000000000000001", month, "search", MODEL),
            charge("0.25", month, "search", MODEL),
            charge(f"{40 - n}", month, "support", "small", ServiceName="Storage"),
            charge("-5", month, "support", None, ChargeCategory="Credit", ServiceName="Storage"),
            charge("12", month, None, None, ProviderName="CloudTwo", ServiceName="Network"),
        ]
    rows.append(charge("9", "2026-10", "platform"))
    rows.append(charge("3", "2026-10", "new team"))
    folder = tmp_path_factory.mktemp("lab")
    return fl.open_lab(write_lab(folder, {"bill.csv": rows}, TOML), progress=False)


@pytest.fixture
def explorer(lab: fl.Lab) -> Explorer:
    return fl.explore(lab)


def text(explorer: Explorer, part: str) -> str:
    """Return what a part says, without its marks."""
    found = re.sub(r"<style.*?</style>", " ", explorer.parts[part].value, flags=re.DOTALL)
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", found).split()))


def alt(explorer: Explorer) -> str:
    found = re.search(r'role="img" aria-label="([^"]*)"', explorer.parts["chart"].value)
    assert found, text(explorer, "chart")
    return html.unescape(found[1])


def pick(explorer: Explorer, **controls: object) -> None:
    for name, value in controls.items():
        explorer.controls[name].value = value


def test_it_begins_with_the_last_month_compared_with_the_one_before(explorer: Explorer) -> None:
    view = explorer.view
    assert (view.first, view.last, view.metric, view.by) == ("2026-10", "2026-10", "effective", "team")
    assert view.against == ("2026-09", "2026-09") and view.where == {}
    assert text(explorer, "said") == (
        "Effective (amortised) cost of 2026-10 by team; $159.25 in 4 lines of 7 bill rows; compared with 2026-09."
    )
    # 103.25 and its part of the platform's 9; before it was 102.25.
    assert alt(explorer).startswith("Bars of effective cost, largest first: search")
    assert "search" in text(explorer, "table") and "Change, %" in text(explorer, "table")
    assert repr(explorer).startswith("Explorer(View(first='2026-10'")


def test_every_control_changes_what_is_shown(explorer: Explorer) -> None:
    for name, value, words in (
        ("by", "service", "cost of 2026-10 by service"),
        ("metric", "billed", "Billed (invoiced) cost"),
        ("against", "nothing", "bill rows."),
        ("first", "2026-08", "cost of 2026-08 to 2026-10"),
        ("last", "2026-09", "cost of 2026-08 to 2026-09"),
    ):
        before = {part: w.value for part, w in explorer.parts.items()}
        pick(explorer, **{name: value})
        changed = {part for part, w in explorer.parts.items() if w.value != before[part]}
        assert {"said", "code", "export"} <= changed
        assert words in text(explorer, "said")
    assert alt(explorer).startswith("Stacked bars")
    assert explorer.table.equals(
        spend(fl.entries(fl.open_lab(explorer._folder, progress=False)), explorer.view)
    )


def test_the_ends_of_the_period_follow_each_other(explorer: Explorer) -> None:
    pick(explorer, last="2026-08")
    assert (explorer.view.first, explorer.view.last) == ("2026-08", "2026-08")
    pick(explorer, first="2026-10")
    assert (explorer.view.first, explorer.view.last) == ("2026-10", "2026-10")
    pick(explorer, first="2026-07")
    assert (explorer.view.first, explorer.view.last) == ("2026-07", "2026-10")


def test_a_period_is_compared_with_one_as_long_and_only_if_the_ledger_has_all_of_it(
    explorer: Explorer,
) -> None:
    pick(explorer, first="2026-09")
    assert explorer.view.against == ("2026-07", "2026-08")
    pick(explorer, first="2026-08")
    assert explorer.view.against is None
    assert "nothing to compare with: the ledger begins later or has a gap there" in text(explorer, "said")
    assert "Bill rows" in text(explorer, "table") and "Change" not in text(explorer, "table")
    pick(explorer, first="2026-10", against="a year before")
    assert explorer.view.against is None
    pick(explorer, against="nothing")
    assert "compare" not in text(explorer, "said")


def test_a_gap_in_the_months_does_not_move_the_comparison(lab: fl.Lab) -> None:
    kept = fl.entries(lab).filter(pl.col("x_ChargeMonth") != "2026-09")
    explorer = Explorer(kept, "USD", ["2026-07", "2026-08", "2026-10"], lambda entry: pl.DataFrame())
    # Not August either, and no zeros: nobody knows what September cost.
    assert explorer.view.against is None
    assert explorer.table.columns == ["x_team", "amount", "share", "rows"]
    assert "the ledger begins later or has a gap there" in text(explorer, "said")
    pick(explorer, first="2026-08", last="2026-10")
    assert explorer.view.against is None  # it begins in July, and May is before


def test_months_that_a_ledger_does_not_have_are_no_zeros(lab: fl.Lab) -> None:
    unknown = fl.spend(lab, "2026-10", against=("2026-05", "2026-06"))
    assert unknown.select(pl.col("before", "change", "change_share").null_count()).row(0) == (4, 4, 4)
    known = fl.spend(lab, "2026-10", against=("2026-06", "2026-07"))
    assert known["before"].null_count() == 0 and known.schema == unknown.schema


def test_filters_are_kept_per_dimension_and_cleared(explorer: Explorer) -> None:
    whole = explorer.parts["table"].value
    pick(explorer, filter="team")
    assert explorer.controls["values"].options == ("new team", "search", "support", "unallocated")
    assert explorer.parts["table"].value == whole
    pick(explorer, values=("search", "support"))
    pick(explorer, filter="model")
    assert explorer.controls["values"].options == (MODEL, "small", "(unknown)")
    assert explorer.controls["values"].value == ()
    pick(explorer, values=("(unknown)",))
    assert explorer.view.where == {"team": ("search", "support"), "model": (None,)}
    assert "only team search, support; only model (unknown)" in text(explorer, "said")
    lines = {row[0]: row[1] for row in explorer.table.rows()}
    assert lines.keys() == {"search", "support"}
    pick(explorer, filter="team")
    assert explorer.controls["values"].value == ("search", "support")
    pick(explorer, values=())
    assert explorer.view.where == {"model": (None,)}
    explorer.controls["clear"].click()
    assert explorer.view.where == {} and explorer.controls["values"].options == ()
    assert explorer.controls["filter"].value == "(nothing)"
    assert explorer.parts["table"].value == whole


def test_an_empty_result_says_so_and_comes_back(explorer: Explorer) -> None:
    pick(explorer, filter="team", values=("new team",), first="2026-08", last="2026-08", against="nothing")
    assert text(explorer, "chart") == "There are no such charges in these months."
    assert explorer.parts["table"].value == ""
    assert explorer.controls["drill"].options == ()
    assert explorer.table.is_empty()
    pick(explorer, last="2026-10")
    assert "the largest is new team" in alt(explorer)
    explorer.controls["clear"].click()
    pick(explorer, metric="list")
    assert text(explorer, "chart") == "Nobody knows this cost of these charges."
    assert "search" in text(explorer, "table")


def test_what_was_there_only_before_is_shown_as_gone(lab: fl.Lab) -> None:
    gone = fl.entries(lab).filter((pl.col("x_team") != "support") | (pl.col("x_ChargeMonth") < "2026-09"))
    explorer = Explorer(gone, "USD", MONTHS, lambda entry: pl.DataFrame())
    pick(explorer, first="2026-09", filter="team", values=("support",))
    assert text(explorer, "chart") == "There are no such charges in these months, only in those before."
    assert explorer.table.select("amount", "before", "change").row(0) == (
        Decimal(0),
        Decimal(69),
        Decimal(-69),
    )


def test_from_a_line_to_entries_to_bill_rows_that_add_up(explorer: Explorer) -> None:
    pick(explorer, by="model")
    assert explorer.controls["drill"].options[0][0] == f"{MODEL}: $103.25"
    assert text(explorer, "entries") == "Choose a line under “Look behind”."
    pick(explorer, drill=MODEL)
    assert explorer._tabs.selected_index == 0
    said = text(explorer, "entries")
    assert said.startswith(f"{MODEL}: 1 entry.") and "103.250000000000000001" in said
    ((label, place),) = explorer.controls["entry"].options
    assert label == "2026-10-03, Model API: $103.25"
    pick(explorer, entry=place)
    assert explorer._tabs.selected_index == 1
    told = text(explorer, "bill")
    assert told.startswith(
        "Owner search, by team tag (tag). These 2 bill rows add up to the entry, $103.25, exactly."
    )
    assert "103.000000000000000001" in told and "0.25" in told and "bill.csv" in told
    # Another view of the same line keeps it; a view without it lets it go.
    pick(explorer, metric="billed")
    assert explorer.controls["drill"].value == MODEL and explorer.controls["entry"].value is None
    pick(explorer, by="team")
    assert explorer.controls["drill"].value is None
    assert text(explorer, "bill") == "Choose an entry under “Bill rows of”."


def test_the_unknown_can_be_looked_behind(explorer: Explorer) -> None:
    pick(explorer, by="model", drill="(unknown)")
    assert explorer.controls["entry"].options
    assert decimal_sum(row["EffectiveCost"] for row in explorer._listed) == next(
        row[1] for row in explorer.table.rows() if row[0] is None
    )


def test_a_shared_entry_is_told_to_be_a_part(explorer: Explorer) -> None:
    pick(explorer, drill="support")
    told = {row["x_AllocationMethod"]: n for n, row in enumerate(explorer._listed)}
    pick(explorer, entry=told["shared"])
    assert re.search(
        r"is a part of \$9\.00: this 1 bill row of shared platform tier\.", text(explorer, "bill")
    )


def test_the_export_is_the_table_exactly(explorer: Explorer) -> None:
    found = re.search(
        r'download="([^"]+)" href="data:text/csv;charset=utf-8;base64,([^"]+)"',
        explorer.parts["export"].value,
    )
    assert found and found[1] == "effective-by-team-2026-10.csv"
    csv = base64.b64decode(found[2])
    assert csv == explorer.table.write_csv().encode()
    back = pl.read_csv(io.BytesIO(csv), infer_schema=False)
    assert [Decimal(amount) for amount in back["amount"]] == explorer.table["amount"].to_list()


def test_the_code_shown_is_the_code_and_gives_the_table(explorer: Explorer) -> None:
    pick(explorer, by="model", filter="model", values=(MODEL, "(unknown)"))
    (shown,) = re.findall(r"<pre[^>]*>(.*)</pre>", explorer.parts["code"].value, flags=re.DOTALL)
    assert html.unescape(shown) == explorer.code
    told: dict[str, Any] = {}
    exec(explorer.code, told)
    assert told["table"].equals(explorer.table)


def test_names_from_bills_are_text_and_never_marks(explorer: Explorer) -> None:
    pick(explorer, by="model", filter="model", values=(MODEL,), drill=MODEL, entry=0)
    for part, widget in explorer.parts.items():
        assert "<b>del" not in widget.value, part


def test_every_control_has_a_name_and_every_picture_a_text(explorer: Explorer) -> None:
    assert [name for name, control in explorer.controls.items() if not control.description] == []
    assert len(alt(explorer)) > 40


def test_many_values_are_cut_and_told(tmp_path: Path) -> None:
    toml = PLAIN_TOML + '[[dimensions.customer]]\nname = "name"\ncolumn = "ResourceName"\n'
    rows = [cost_row(f"{n + 1}", month="2026-10", ResourceName=f"customer {n:03}") for n in range(520)]
    explorer = fl.explore(
        fl.open_lab(write_lab(tmp_path, {"b.csv": rows}, toml), progress=False), by="customer"
    )
    assert "The first 25 of 520; Export has all" in text(explorer, "table")
    assert "the largest 500 can be looked behind" in text(explorer, "said")
    assert len(explorer.controls["drill"].options) == 500
    assert "Save 520 lines" in text(explorer, "export")
    pick(explorer, by="provider", drill="CloudOne")
    assert "the 100 largest entries; there are more." in text(explorer, "entries")
    assert len(explorer.controls["entry"].options) == 100


def test_two_currencies_are_refused_and_one_is_named(tmp_path: Path) -> None:
    rows = [cost_row("1", month="2026-10", BillingCurrency="EUR")]
    euros = fl.explore(fl.open_lab(write_lab(tmp_path / "one", {"b.csv": rows}), progress=False))
    assert "€1.00" in text(euros, "said") and "EUR" in text(euros, "table")
    rows.append(cost_row("1", month="2026-10"))
    lab = fl.open_lab(write_lab(tmp_path / "two", {"b.csv": rows}), progress=False)
    with pytest.raises(CurrencyError, match="EUR, USD"):
        fl.explore(lab)


def test_what_goes_wrong_while_exploring_is_said_in_place(lab: fl.Lab) -> None:
    mixed = fl.entries(lab).with_columns(
        BillingCurrency=pl.col("x_ChargeMonth").replace_strict({"2026-07": "EUR"}, default="USD")
    )
    explorer = Explorer(mixed, "USD", MONTHS, lambda entry: pl.DataFrame())
    pick(explorer, first="2026-07")
    assert "never added" in text(explorer, "said") and 'role="alert"' in explorer.parts["said"].value
    pick(explorer, first="2026-08")
    assert "cost of 2026-08 to 2026-10" in text(explorer, "said")


def test_it_begins_only_with_what_charges_can_be_told_by(lab: fl.Lab) -> None:
    with pytest.raises(InputError, match="cannot begin with 'teams'"):
        fl.explore(lab, by="teams")


def test_a_ledger_that_changed_meanwhile_asks_for_the_cell_to_be_run_again(tmp_path: Path) -> None:
    rows = [cost_row("1", month=month) for month in ("2026-09", "2026-10")]
    explorer = fl.explore(fl.open_lab(write_lab(tmp_path, {"b.csv": rows}), progress=False))
    shutil.rmtree(tmp_path / "lake" / "ledger")  # as another run does with months it replaced
    pick(explorer, by="service")
    assert "run this cell again" in text(explorer, "said")
