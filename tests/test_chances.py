"""From bounds to chances and back: by hand, and for any bounds."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from finops_lab.errors import InputError
from finops_lab.forecasting.chances import exceedance, over_months, over_series, quantile_at
from finops_lab.forecasting.panel import VALUES

# Bounds that are knots whatever else a forecast carries: beyond 80 and 95 % only 50 % may be there.
_INNER = [name for name in VALUES if name.endswith("50")]


def made(lo_95: float, lo_80: float, yhat: float, hi_80: float, hi_95: float) -> pl.DataFrame:
    """Return one row; 50 % bounds, where there are such, on the straight line of the normal score."""
    share = 0.6744897501960817 / 1.2815515655446004
    inner = {n: yhat + share * ((lo_80 if n.startswith("lo") else hi_80) - yhat) for n in _INNER}
    row = {"yhat": yhat, "lo_80": lo_80, "hi_80": hi_80, "lo_95": lo_95, "hi_95": hi_95, **inner}
    return pl.DataFrame(row).cast(pl.Float64)


AHEAD = made(80, 90, 100, 120, 140)


@pytest.mark.parametrize(
    ("p", "amount"), [(0.025, 80), (0.1, 90), (0.5, 100), (0.9, 120), (0.975, 140), (0.8, 113.1344)]
)
def test_a_bound_is_its_own_quantile(p: float, amount: float) -> None:
    # 80 %: a normal score of 0.8416 of 1.2816 of the way from 100 to 120.
    assert quantile_at(AHEAD, p)["amount"][0] == pytest.approx(amount, abs=1e-3)


@pytest.mark.parametrize(("limit", "p"), [(80, 0.975), (90, 0.9), (100, 0.5), (120, 0.1), (140, 0.025)])
def test_the_chance_to_pass_a_bound(limit: float, p: float) -> None:
    found = exceedance(AHEAD.with_columns(budget=pl.lit(limit)), "budget")
    assert found["probability"][0] == pytest.approx(p)


def test_beyond_the_bounds_the_outer_piece_goes_on() -> None:
    # 20 for 0.6784 of the normal score: 160 is another 0.6784 above 1.96.
    found = exceedance(AHEAD.with_columns(budget=160.0), "budget")["probability"][0]
    assert found == pytest.approx(0.00417, abs=1e-4)


def test_where_all_is_certain_the_chance_is_none_or_all() -> None:
    sure = pl.concat([made(5, 5, 5, 5, 5)] * 3).with_columns(budget=pl.Series([4.9, 5.0, 5.1]))
    assert exceedance(sure, "budget")["probability"].to_list() == [1.0, 0.0, 0.0]
    assert quantile_at(sure, 0.99)["amount"].to_list() == [5.0] * 3


def test_unknown_stays_unknown() -> None:
    unknown = pl.concat([AHEAD, AHEAD]).with_columns(
        budget=pl.Series([None, 100.0]), lo_80=pl.Series([90.0, None])
    )
    assert exceedance(unknown, "budget")["probability"].to_list() == [None, None]
    assert quantile_at(unknown.drop("budget"), 0.1)["amount"].null_count() == 1


steps = st.floats(0.01, 1e4)


@settings(max_examples=100, deadline=None)
@given(st.floats(-1e5, 1e5), steps, steps, steps, steps, st.floats(0.001, 0.999))
def test_quantile_and_chance_undo_each_other(
    yhat: float, a: float, b: float, c: float, d: float, p: float
) -> None:
    ahead = made(yhat - a - b, yhat - a, yhat, yhat + c, yhat + c + d)
    at = quantile_at(ahead, p, "limit")
    assert exceedance(at, "limit")["probability"][0] == pytest.approx(1 - p, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.floats(-1e5, 1e5), steps, steps, steps, steps, st.floats(0.001, 0.999), st.floats(0.001, 0.999))
def test_both_are_monotone(yhat: float, a: float, b: float, c: float, d: float, p: float, q: float) -> None:
    assume(p < q)
    ahead = made(yhat - a - b, yhat - a, yhat, yhat + c, yhat + c + d)
    low, high = (quantile_at(ahead, level)["amount"][0] for level in (p, q))
    assert low <= high
    limits = pl.concat([ahead, ahead]).with_columns(limit=pl.Series([low, high]))
    more, less = exceedance(limits, "limit")["probability"].to_list()
    assert more >= less - 1e-9


def test_sums_over_months_add_and_over_series_take_the_root() -> None:
    rows = pl.concat([AHEAD, made(96, 97, 100, 104, 108)]).with_columns(
        unique_id=pl.Series(["a", "b"]), ds=date(2026, 1, 1), quarter=pl.lit("one")
    )
    added = over_months(rows, ["quarter"], together=1).row(0, named=True)
    assert (added["yhat"], added["lo_80"], added["hi_95"]) == (200, 187, 248)
    rooted = over_series(rows).row(0, named=True)
    assert rooted["lo_80"] == pytest.approx(200 - (10**2 + 3**2) ** 0.5)
    assert rooted["hi_95"] == pytest.approx(200 + (40**2 + 8**2) ** 0.5)
    holed = rows.with_columns(hi_80=pl.Series([120.0, None]))
    assert over_months(holed, ["quarter"])["hi_80"][0] is None and over_series(holed)["hi_80"][0] is None


def test_months_that_go_together_in_part_lie_between() -> None:
    rows = pl.concat([AHEAD, made(96, 97, 100, 104, 108)]).with_columns(unique_id=pl.lit("a"))
    # Half widths 20 and 4 above at 80 %: root of .7 times 24 squared and .3 times 20 and 4 squared.
    part = over_months(rows, together=0.7).row(0, named=True)
    assert part["hi_80"] == pytest.approx(200 + (0.7 * 24**2 + 0.3 * (20**2 + 4**2)) ** 0.5)
    assert (
        over_months(rows, together=0)
        .drop("unique_id")
        .equals(over_series(rows, ["unique_id"]).drop("unique_id"))
    )
    one = over_months(AHEAD.with_columns(unique_id=pl.lit("a")), together=0.7)
    assert one["lo_95"][0] == pytest.approx(AHEAD["lo_95"][0])
    with pytest.raises(InputError, match="together is a correlation between 0 and 1"):
        over_months(rows, together=1.5)


def test_half_bounds_are_used_where_they_are_there() -> None:
    halves = AHEAD.with_columns(lo_50=99.0, hi_50=105.0)
    assert quantile_at(halves, 0.75)["amount"][0] == pytest.approx(105.0)
    assert quantile_at(halves, 0.9)["amount"][0] == quantile_at(AHEAD, 0.9)["amount"][0]
    chance = exceedance(halves.with_columns(limit=105.0), "limit")["probability"][0]
    assert chance == pytest.approx(0.25)


@pytest.mark.parametrize("p", [0, 1, -0.1, 2])
def test_a_probability_lies_between_0_and_1(p: float) -> None:
    with pytest.raises(InputError, match="a probability lies between 0 and 1"):
        quantile_at(AHEAD, p)


def test_a_missing_column_is_named() -> None:
    for call in (
        lambda: exceedance(AHEAD, "budget"),
        lambda: over_months(AHEAD),
        lambda: over_series(AHEAD),
        lambda: quantile_at(AHEAD.drop("lo_80"), 0.5),
    ):
        with pytest.raises(InputError, match="the forecast has no such column"):
            call()
