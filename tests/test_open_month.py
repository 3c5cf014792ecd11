"""The running month: golden cases, fees of the first days, holes, bounds, and a real daily bill."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from finops_lab.errors import InputError
from finops_lab.forecasting.open_month import SCHEMA, estimate

FIRST, LAST = date(2026, 6, 1), date(2026, 10, 31)
BOUNDS = ("lo_95", "lo_80", "yhat", "hi_80", "hi_95")


def daily(
    amount: Callable[[date], float | None], first: date = FIRST, last: date = LAST, uid: str = "a"
) -> pl.DataFrame:
    days = pl.date_range(first, last, eager=True)
    return pl.DataFrame(
        {"unique_id": uid, "day": days, "y": [amount(day) for day in days]},
        schema_overrides={"y": pl.Float64},
    )


def usual(day: date) -> float:
    """Ten on a weekday, four on a day of the weekend: 274 in October 2026 (22 and 9 days)."""
    return 4.0 if day.weekday() >= 5 else 10.0


def one(frame: pl.DataFrame, through: date, **options: object) -> dict[str, float]:
    return estimate(frame, through, **options).row(0, named=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("day", [1, 4, 10, 17, 30])
def test_a_month_of_weekdays_and_weekends_is_known_from_its_first_days(day: int) -> None:
    found = one(daily(usual), date(2026, 10, day))
    october = 22 * 10 + 9 * 4
    assert found["ds"] == date(2026, 10, 1) and found["through"] == date(2026, 10, day)
    assert found["yhat"] == pytest.approx(october)
    assert found["to_date"] == sum(usual(date(2026, 10, n)) for n in range(1, day + 1))
    assert found["run_rate"] == pytest.approx(found["to_date"] / day * 31)
    # What never missed before has no width.
    assert [found[name] for name in BOUNDS] == pytest.approx([october] * 5)
    assert found["fees"] == pytest.approx(0.0)


def test_later_rows_are_not_looked_at() -> None:
    frame = daily(usual)
    spoiled = frame.with_columns(y=pl.when(pl.col("day") > date(2026, 10, 10)).then(1e9).otherwise("y"))
    assert_frame_equal(estimate(frame, date(2026, 10, 10)), estimate(spoiled, date(2026, 10, 10)))


def test_the_level_of_the_last_days_counts_not_that_of_the_month() -> None:
    # From the 4th on everything costs twice as much.
    doubled = daily(lambda day: 20.0 if day >= date(2026, 10, 4) else 10.0)
    found = one(doubled, date(2026, 10, 20))
    assert found["yhat"] == pytest.approx(3 * 10 + 28 * 20, rel=0.01)
    assert found["run_rate"] < 0.98 * found["yhat"]


@pytest.mark.parametrize("on", [1, 2, 3])
@pytest.mark.parametrize("through", [3, 5, 12, 25])
def test_a_fee_of_the_first_days_is_charged_once(on: int, through: int) -> None:
    fees = daily(lambda day: usual(day) + (300.0 if day.day == on else 0.0))
    found = one(fees, date(2026, 10, through))
    assert found["yhat"] == pytest.approx(256 + 300, rel=0.02)
    assert found["fees"] == pytest.approx(300, rel=0.05)
    assert found["run_rate"] > 1.5 * found["yhat"] or through > 12


def test_a_fee_that_has_not_come_yet_is_expected_in_the_first_days_only() -> None:
    fees = daily(lambda day: usual(day) + (300.0 if day.day == 3 and day.month < 10 else 0.0))
    early, late = one(fees, date(2026, 10, 2)), one(fees, date(2026, 10, 3))
    assert early["yhat"] == pytest.approx(256 + 300, rel=0.02) and early["to_date"] == 20.0
    assert late["yhat"] == pytest.approx(256, rel=0.02)


def test_a_single_large_day_is_charged_once_and_is_no_level() -> None:
    spike = daily(lambda day: usual(day) + (500.0 if day == date(2026, 10, 14) else 0.0))
    assert one(spike, date(2026, 10, 16))["yhat"] == pytest.approx(256 + 500, rel=0.02)


def test_one_large_first_day_is_no_fee() -> None:
    once = daily(lambda day: usual(day) + (300.0 if day == date(2026, 10, 1) else 0.0))
    assert one(once, date(2026, 10, 20))["fees"] == pytest.approx(0.0)


def test_unknown_days_are_estimated_and_zero_days_are_not() -> None:
    gone = {date(2026, 10, 6), date(2026, 10, 7)}
    holed = daily(lambda day: None if day in gone else usual(day))
    found = one(holed, date(2026, 10, 20))
    assert found["yhat"] == pytest.approx(256, rel=0.01)
    assert found["to_date"] == pytest.approx(sum(usual(date(2026, 10, n)) for n in range(1, 21)) - 20)
    absent = holed.filter(pl.col("y").is_not_null())
    assert_frame_equal(estimate(absent, date(2026, 10, 20)), estimate(holed, date(2026, 10, 20)))
    zero = daily(lambda day: 0.0 if day in gone else usual(day))
    assert one(zero, date(2026, 10, 20))["yhat"] == pytest.approx(236, rel=0.02)


def test_bounds_come_from_what_past_months_missed() -> None:
    # 10 a day, and from the 21st on 8, 10, 12, 10 in turn over months: errors of -.2, 0, .2, 0.
    after = {6: 8.0, 7: 10.0, 8: 12.0, 9: 10.0}
    moved = daily(lambda day: after.get(day.month, 10.0) if day.day > 20 else 10.0)
    found = one(moved, date(2026, 10, 20))
    assert found["judged"] == 3  # June knew nothing of weekdays
    short = one(moved.filter(pl.col("day") >= date(2026, 8, 1)), date(2026, 10, 20))
    assert short["judged"] == 2
    # t of 2 at 90 % is 1.886: on 110 to come, errors of .2 and 0 give 110 * 1.886 * root(.02).
    assert short["hi_80"] - short["yhat"] == pytest.approx(110 * 1.8856 * 0.02**0.5, rel=0.15)
    assert short["lo_95"] < short["lo_80"] < short["yhat"] < short["hi_80"] < short["hi_95"]
    assert short["lo_95"] >= short["to_date"]  # nothing was ever negative


def test_a_series_without_a_past_month_has_no_bounds() -> None:
    found = one(daily(usual, first=date(2026, 10, 1)), date(2026, 10, 20))
    assert found["judged"] == 0 and found["lo_80"] is None and found["yhat"] == pytest.approx(256, rel=0.02)


def test_a_month_that_is_over_is_its_sum() -> None:
    found = one(daily(lambda day: float(day.day)), date(2026, 10, 31))
    assert [found[name] for name in ("to_date", *BOUNDS)] == [496.0] * 6


def test_bills_that_were_restated_widen_the_bounds() -> None:
    curve = pl.DataFrame(
        {"age_days": [0, 1, 5], "share_median": [0.5, 0.9, 1.0], "share_min": [0.4, 0.8, 1.0],
         "share_max": [0.6, 1.0, 1.0]}
    )  # fmt: skip
    plain = one(daily(usual), date(2026, 10, 20))
    wide = one(daily(usual), date(2026, 10, 20), completeness=curve, age_days=3)
    rest = 256 - plain["to_date"]
    # Of an age of 3 days the curve tells what it was after 1: 90 % in the middle, 80 to 100 %.
    assert wide["yhat"] == pytest.approx(plain["to_date"] / 0.9 + rest)
    assert wide["lo_80"] == pytest.approx(plain["to_date"] + rest)
    assert wide["hi_95"] == pytest.approx(plain["to_date"] / 0.8 + rest)
    assert one(daily(usual), date(2026, 10, 20), completeness=curve, age_days=9) == plain
    with pytest.raises(InputError, match="share_min"):
        estimate(daily(usual), completeness=curve.drop("share_min"))
    with pytest.raises(InputError, match="an age is 0 days or more"):
        estimate(daily(usual), completeness=curve, age_days=-1)
    with pytest.raises(InputError, match="a share of 0"):
        estimate(daily(usual), completeness=curve.with_columns(share_min=0.0))


def test_series_do_not_see_each_other_and_order_does_not_matter() -> None:
    both = pl.concat([daily(usual, uid="b"), daily(lambda day: 3.0, uid="a")])
    found = estimate(both.sample(fraction=1, shuffle=True, seed=2).lazy(), date(2026, 10, 9))
    assert found["unique_id"].to_list() == ["a", "b"] and dict(found.schema) == SCHEMA
    assert_frame_equal(found.filter(unique_id="b"), estimate(daily(usual, uid="b"), date(2026, 10, 9)))
    assert found["yhat"][0] == pytest.approx(93.0)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.none() | st.floats(0, 1e6), min_size=1, max_size=95), st.integers(1, 6))
def test_any_days_give_bounds_in_order_and_scaling_scales(amounts: list[float | None], factor: int) -> None:
    last = date(2026, 10, 17)
    days = [last - timedelta(days=n) for n in reversed(range(len(amounts)))]
    frame = pl.DataFrame({"unique_id": "a", "day": days, "y": amounts}, schema_overrides={"y": pl.Float64})
    found = estimate(frame).row(0, named=True)
    if all(amount is None for amount in amounts[-17:]):
        assert found["yhat"] is None
        return
    if found["lo_80"] is not None:
        order = [found[name] for name in BOUNDS]
        assert all(low <= high + 1e-6 * (1 + abs(high)) for low, high in pairwise(order))
    scaled = estimate(frame.with_columns(pl.col("y") * 2.0**factor)).row(0, named=True)
    assert scaled["yhat"] == pytest.approx(found["yhat"] * 2.0**factor, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (daily(usual).drop("y"), "column y: the daily frame has no such column"),
        (daily(usual).with_columns(y=pl.lit("3")), "column y: String where a number"),
        (daily(usual).with_columns(pl.col("day").cast(pl.String)), "column day: String where Date"),
        (pl.concat([daily(usual), daily(usual)[:1]]), "series 'a': day 2026-06-01 comes twice"),
    ],
)
def test_a_bad_frame_is_refused(frame: pl.DataFrame, message: str) -> None:
    with pytest.raises(InputError, match=message):
        estimate(frame)


def test_no_rows_give_no_rows() -> None:
    assert dict(estimate(daily(usual).clear()).schema) == SCHEMA


def test_mybinders_real_bill_at_day_15_is_nearer_than_the_run_rate(shared_data: Path) -> None:
    path = shared_data / "forecast" / "cloud_spend" / "mybinder_daily_by_project.csv"
    rows = pl.read_csv(path, try_parse_dates=True).group_by(day="date").agg(y=pl.col("cost").sum())
    frame = rows.with_columns(unique_id=pl.lit("mybinder"))
    ours, naive = 0.0, 0.0
    for n in range(7):  # September 2018 to September 2019, every second month
        month = date(2018 + (8 + 2 * n) // 12, (8 + 2 * n) % 12 + 1, 1)
        actual = frame.filter(pl.col("day").dt.month_start() == month)["y"].sum()
        found = one(frame, month.replace(day=15))
        ours += abs(found["yhat"] / actual - 1)
        naive += abs(found["run_rate"] / actual - 1)
    assert ours < 0.9 * naive
