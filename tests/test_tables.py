"""Tables write exact amounts once, escape what comes from data, and are the same HTML each time."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finops_lab.errors import InputError
from finops_lab.tables import Table, money_table, readable

MONEY = pl.Decimal(38, 18)


def frame(**columns: Any) -> pl.DataFrame:
    base = pl.DataFrame(
        {
            "x_Team": ["search", "chat", "credits"],
            "EffectiveCost": pl.Series(
                [Decimal("312345.675"), Decimal("0"), Decimal("-9000.5")], dtype=MONEY
            ),
            "share": [0.7541, None, -0.00001],
            "requests": [1234567, 0, None],
        }
    )
    return base.with_columns(**columns)


def table(data: pl.DataFrame | None = None, **options: Any) -> Table:
    given = {
        "title": "Spend by team",
        "id": "by-team",
        "currency": "USD",
        "money_columns": ["EffectiveCost"],
        "percent_columns": ["share"],
        "number_columns": ["requests"],
    } | options
    return money_table(frame() if data is None else data, **given)  # type: ignore[arg-type]


def cells(done: Table) -> list[list[str]]:
    """Return the text of the body, row by row."""
    body = done.html[done.html.index("<tbody") : done.html.index("</tbody>")]
    return [
        re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, flags=re.S)
        for row in re.findall(r"<tr>(.*?)</tr>", body, flags=re.S)
    ]


def test_amounts_shares_and_counts_read_as_a_reader_expects() -> None:
    assert cells(table()) == [
        ["search", "$312,345.68", "75.4%", "1,234,567"],
        ["chat", "$0.00", "—", "0"],
        ["credits", "-$9,000.50", "0.0%", "—"],
    ]


def test_unknown_is_a_dash_with_a_footnote_and_never_zero() -> None:
    assert "— unknown: the data does not say" in table().html
    whole = table(frame(share=pl.lit(0.5), requests=pl.lit(1)))
    assert "unknown" not in whole.html


def test_total_row_is_set_apart_and_only_holds_what_was_given() -> None:
    done = table(total_row={"EffectiveCost": Decimal("303345.175")})
    assert cells(done)[-1] == ["Total", "$303,345.18", "", ""]
    assert "font-weight: bold; border-top: 2px" in done.html


def test_decimals_and_currency_can_be_chosen() -> None:
    unit_costs = pl.DataFrame(
        {"model": ["small"], "cost": pl.Series([Decimal("0.04565")], dtype=MONEY), "gpus": [2.5]}
    )
    done = money_table(
        unit_costs,
        title="Unit costs",
        id="unit",
        currency="EUR",
        money_columns={"cost": 4},
        number_columns={"gpus": 1},
        labels={"cost": "Cost per 1,000 inferences"},
    )
    assert cells(done) == [["small", "€0.0456", "2.5"]]
    assert ">Cost per 1,000 inferences</th>" in done.html


def test_other_values_are_written_plainly() -> None:
    data = pl.DataFrame({"a": ["x"], "day": [date(2026, 10, 1)], "ok": [True]})
    assert cells(money_table(data, title="t", id="t", currency="USD", money_columns=[])) == [
        ["x", "2026-10-01", "yes"]
    ]


def test_data_cannot_become_markup() -> None:
    evil = frame(x_Team=pl.lit("<script>alert(1)</script>"))
    done = table(evil, title="<i>t</i>", note="<b>n</b>", subtitle="<u>s</u>", labels={"share": "<em>h</em>"})
    for tag in ("<script", "<i>", "<b>", "<u>", "<em>"):
        assert tag not in done.html


def test_headings_have_scope_and_text_and_rows_are_named() -> None:
    html = table().html
    headings = re.findall(r'<th [^>]*scope="col"[^>]*>(.*?)</th>', html)
    assert headings == ["Team", "Effective cost", "Share", "Requests"]
    assert len(re.findall(r'<th [^>]*scope="row"', html)) == 3
    assert 'aria-labelledby="by-team-title"' in html


def test_numbers_are_right_aligned_and_text_left() -> None:
    html = table().html
    assert re.search(r'class="gt_col_heading[^"]*gt_right"[^>]*>Effective cost', html)
    assert re.search(r'class="gt_col_heading[^"]*gt_left"[^>]*>Team', html)


def test_same_frame_same_html() -> None:
    assert table().html == table().html == table()._repr_html_()
    assert repr(table()) == "Table(title='Spend by team')"


def test_styles_are_scoped_to_the_table() -> None:
    style = table().html.split("<style>")[1].split("</style>")[0]
    unscoped = [rule for rule in re.findall(r"^\s*([^{}#\n]+)\{", style, flags=re.M) if rule.strip()]
    assert unscoped == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"id": "1 bad"}, "table id"),
        ({"money_columns": ["nope"]}, "nope"),
        ({"total_row": {"nope": 1}}, "nope"),
        ({"money_columns": ["share"], "percent_columns": []}, "money is Decimal"),
        ({"data": frame().clear()}, "no rows"),
        ({"data": pl.concat([frame()] * 200)}, "at most 500"),
        ({"data": frame(share=pl.lit(float("nan")))}, "cannot be shown"),
    ],
)
def test_what_cannot_be_a_table_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        table(options.pop("data", None), **options)


@given(st.decimals(min_value=-(10**15), max_value=10**15, places=18))
@settings(max_examples=15, deadline=None)
def test_amounts_are_rounded_once_from_the_exact_value(amount: Decimal) -> None:
    data = pl.DataFrame({"a": ["x"], "m": pl.Series([amount], dtype=MONEY)})
    text = cells(money_table(data, title="t", id="t", currency="USD", money_columns=["m"]))[0][1]
    shown = Decimal(text.replace("$", "").replace(",", ""))
    assert abs(shown - amount) <= Decimal("0.005")


def test_readable_headings() -> None:
    assert readable("ServiceProviderName") == "Service provider name"
    assert readable("x_BusinessUnit") == "Business unit"
