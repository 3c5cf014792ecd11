"""Spend of one month against another: exact, with nothing that is not known taken for nothing."""

from __future__ import annotations

from datetime import date
from decimal import Decimal, localcontext

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finops_lab.allocation import changes
from finops_lab.errors import InputError
from finops_lab.money import MONEY
from finops_lab.reporting.section import change_words

AMOUNT = st.integers(-(10**36), 10**36).map(lambda n: Decimal(n).scaleb(-18))


def spend(*rows: tuple[str, str | None, Decimal]) -> pl.DataFrame:
    columns = ["x_ChargeMonth", "x_team", "EffectiveCost"]
    return pl.DataFrame(rows, schema=columns, orient="row", schema_overrides={"EffectiveCost": MONEY})


def test_what_is_new_what_is_gone_and_what_names_nobody() -> None:
    frame = spend(
        ("2026-09", "ads", Decimal(5)),
        ("2026-09", "gone", Decimal(3)),
        ("2026-10", "ads", Decimal("4.5")),
        ("2026-10", "ads", Decimal("2.5")),
        ("2026-10", None, Decimal(1)),
        ("2026-08", "ads", Decimal(99)),
    )
    assert changes(frame, "2026-10", "2026-09", by=["x_team"]).rows() == [
        ("ads", 7, 5, 2),
        (None, 1, 0, 1),
        ("gone", 0, 3, -3),
    ]


def test_a_month_without_any_charge_is_not_known() -> None:
    frame = spend(("2026-10", "ads", Decimal(7)))
    assert changes(frame, "2026-10", "2026-09", by=["x_team"]).rows() == [("ads", 7, None, None)]
    assert changes(frame, "2026-11", "2026-12", by=["x_team"]).is_empty()
    with pytest.raises(InputError, match="x_model"):
        changes(frame, "2026-10", "2026-09", by=["x_model"])


def test_a_panel_is_compared_as_a_ledger_is() -> None:
    panel = pl.DataFrame(
        {"unique_id": ["a", "a"], "ds": [date(2026, 9, 1), date(2026, 10, 1)], "y": [Decimal(2), Decimal(5)]}
    )
    found = changes(panel, date(2026, 10, 1), date(2026, 9, 1), by=["unique_id"], month="ds", amount="y")
    assert found.rows() == [("a", 5, 2, 3)]


@given(AMOUNT, AMOUNT)
def test_changes_are_exact_to_the_last_decimal(now: Decimal, before: Decimal) -> None:
    found = changes(spend(("b", "t", before), ("n", "t", now)), "n", "b", by=["x_team"])
    with localcontext(prec=100):
        assert found["change"].item() == now - before


def test_words_of_a_change_do_not_round_before_they_subtract() -> None:
    large = Decimal("12345678901234567890.000000000000000002")
    assert change_words(large, large, "USD") == "no more and no less"
    nearly = Decimal("12345678901234567890.000000000000000001")
    assert change_words(large, nearly, "USD").endswith("more")
