"""Divisions in whole numbers say what exact division of each row says."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from finops_lab.money import MONEY, divided
from finops_lab.unit_economics import _dividing
from finops_lab.unit_economics._dividing import quotients

AMOUNT = st.one_of(
    st.none(),
    st.just(Decimal(0)),
    st.integers(-(10**37), 10**37).map(lambda n: Decimal(n).scaleb(-18)),
    st.integers(-(10**22), 10**22).map(lambda n: Decimal(n).scaleb(-18)),
    st.integers(-(10**6), 10**6).map(Decimal),
)


@settings(max_examples=60)
@given(st.lists(st.tuples(AMOUNT, AMOUNT), min_size=1, max_size=6), st.sampled_from([1, 1000, 1_000_000]))
def test_rows_are_divided_as_one_by_one(
    pairs: list[tuple[Decimal | None, Decimal | None]], times: int
) -> None:
    # What does not fit 38 digits is refused by both: such results are left out.
    kept = [
        (n, d)
        for n, d in pairs
        if n is None or not d or abs(Fraction(n) * times / Fraction(d)) < Fraction(10) ** 19
    ] or [(Decimal(1), Decimal(3))]
    tops, belows = (pl.Series(side, dtype=MONEY) for side in zip(*kept, strict=True))
    expected = [divided(n, d, times) for n, d in kept]
    assert quotients(tops, belows, times).to_list() == expected
    many = _dividing._FEW  # enough rows to be divided in whole numbers
    wide = quotients(pl.concat([tops] * many), pl.concat([belows] * many), times)
    assert wide.to_list() == expected * many


def test_halves_go_to_the_even_digit_on_both_sides() -> None:
    tops = pl.Series([Decimal(n).scaleb(-18) for n in (1, 3, -1, -3, 5)], dtype=MONEY)
    many = pl.concat([tops] * _dividing._FEW)
    found = quotients(many, pl.repeat(2, many.len(), eager=True)).to_list()[:5]
    assert [int(q.scaleb(18)) for q in found] == [0, 2, 0, -2, 2]


def test_amounts_that_128_bits_have_no_room_for() -> None:
    large = Decimal("99999999999999999999.999999999999999999")
    pairs = [
        (large, large),
        (large, Decimal(7)),
        (Decimal(1), large),
        (large.copy_negate(), Decimal(3)),
        (Decimal(5), Decimal(2)),
    ]
    pairs *= _dividing._FEW
    tops, belows = (pl.Series(side, dtype=MONEY) for side in zip(*pairs, strict=True))
    assert quotients(tops, belows).to_list() == [divided(n, d) for n, d in pairs]


def test_nothing_at_all_is_divided() -> None:
    assert quotients(pl.Series([], dtype=MONEY), pl.Series([], dtype=pl.Int64)).dtype == MONEY
    assert quotients(pl.Series([1]), pl.Series([None])).to_list() == [None]
