"""Budgets: what is in force, where it stands, when it is used up, what is told of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from statistics import NormalDist
from typing import Any

import polars as pl
import pytest
from helpers import PLAIN_TOML, cost_row, write_lab
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cli import refused, run

import finops_lab as fl
from finops_lab import contracts
from finops_lab.calendar import add_months
from finops_lab.charts import burn_down_chart
from finops_lab.config import Rate
from finops_lab.errors import CurrencyError, InputError
from finops_lab.money import MONEY
from finops_lab.planning.budget_alerts import alerts, checks
from finops_lab.planning.budget_spans import Span
from finops_lab.planning.budget_status import STATUS, status
from finops_lab.planning.budgets import changes, in_currency, in_force
from finops_lab.planning.burn_down import burn_down

VALUES = ("yhat", "lo_80", "hi_80", "lo_95", "hi_95")
WHO = {"dimension": pl.String, "key": pl.String}
OCTOBER = date(2026, 10, 1)


def planned(*rows: Mapping[str, Any]) -> pl.DataFrame:
    """Return rows of the budgets contract; a row says month and amount, and what differs."""
    whole = [{"currency": "USD", **row, "amount": Decimal(row["amount"])} for row in rows]
    return pl.DataFrame(whole, schema=contracts.dtypes("budgets"))


def year_of(amount: int, dimension: str | None = None, key: str | None = None) -> list[dict[str, Any]]:
    return [
        {"month": f"2026-{m:02d}", "amount": amount, "dimension": dimension, "key": key} for m in range(1, 13)
    ]


def spending(*rows: tuple[str | None, str | None, date, int | str]) -> pl.DataFrame:
    values = [(d, k, day, Decimal(amount)) for d, k, day, amount in rows]
    return pl.DataFrame(values, schema={**WHO, "day": pl.Date, "amount": MONEY}, orient="row")


def ahead(*rows: tuple[str, date, float, float, float, float, float]) -> pl.DataFrame:
    return pl.DataFrame(
        rows,
        schema={"unique_id": pl.String, "ds": pl.Date, **dict.fromkeys(VALUES, pl.Float64)},
        orient="row",
    )


def one(frame: pl.DataFrame, **where: Any) -> dict[str, Any]:
    return frame.filter(**where).row(0, named=True)


# What is in force


def test_a_later_approval_takes_the_place_of_all_earlier_ones_in_its_months_only() -> None:
    rows = planned(
        {"month": "2026-10", "amount": 100},
        {"month": "2026-11", "amount": 100},
        {"month": "2026-11", "amount": 150, "approved": date(2026, 9, 1)},
        {"month": "2026-11", "amount": 130, "approved": date(2026, 10, 20)},
    )
    now = in_force(rows).select("month", "amount", "approved").rows()
    assert now == [
        (date(2026, 10, 1), Decimal(100), None),
        (date(2026, 11, 1), Decimal(130), date(2026, 10, 20)),
    ]
    assert in_force(rows, date(2026, 10, 19))["amount"].to_list() == [100, 150]
    assert in_force(rows, date(2026, 8, 31))["amount"].to_list() == [100, 100]


def test_lines_of_one_approval_add_up_and_those_of_other_things_do_not_touch_them() -> None:
    rows = planned(
        {"month": "2026-10", "amount": 100, "dimension": "team", "key": "a", "approved": date(2026, 1, 1)},
        {"month": "2026-10", "amount": 20, "dimension": "team", "key": "a", "approved": date(2026, 1, 1)},
        {"month": "2026-10", "amount": 7, "dimension": "model", "key": "a", "approved": date(2026, 2, 1)},
        {"month": "2026-10", "amount": 500, "approved": date(2026, 3, 1)},
    )
    assert in_force(rows).select("dimension", "key", "amount").rows() == [
        (None, None, 500),
        ("model", "a", 7),
        ("team", "a", 120),
    ]


def test_changes_say_before_and_after_when_and_by_whom_and_not_the_first_budget() -> None:
    search = {"dimension": "team", "key": "search"}
    rows = planned(
        *[{**search, "month": f"2026-{m:02d}", "amount": 100} for m in (9, 10, 11)],
        *[
            {**search, "month": f"2026-{m:02d}", "amount": 130, "approved": date(2026, 9, 20),
             "approved_by": "cfo", "reason": "launch"}
            for m in (10, 11, 12)
        ],
        {"month": "2026-10", "amount": 9, "approved": date(2026, 1, 1)},  # its first: no change
    )  # fmt: skip
    found = changes(rows)
    assert found["name"].to_list() == ["team search"] * 2
    grown, new = found.drop("name", "dimension", "key", "approved_by", "reason").rows()
    assert grown == (date(2026, 10, 1), date(2026, 11, 1), 100, 130, 30, 60, date(2026, 9, 20))
    assert new == (date(2026, 12, 1), date(2026, 12, 1), None, 130, None, None, date(2026, 9, 20))
    assert set(found.select("approved_by", "reason").rows()) == {("cfo", "launch")}
    assert changes(rows, date(2026, 9, 19)).is_empty()


def test_an_approval_of_the_same_amount_is_no_change() -> None:
    rows = planned(
        {"month": "2026-10", "amount": 100}, {"month": "2026-10", "amount": 100, "approved": date(2026, 9, 1)}
    )
    assert changes(rows).is_empty()


def test_budgets_in_other_currencies_are_converted_by_the_rate_of_their_month_or_refused() -> None:
    rows = planned(
        {"month": "2026-10", "amount": 100, "currency": "EUR"},
        {"month": "2026-11", "amount": 100, "currency": "EUR"},
    )
    rates = [
        Rate.model_validate({"month": month, "from": "EUR", "to": "USD", "rate": rate})
        for month, rate in (("2026-10", "1.10"), ("2026-11", "1.25"))
    ]
    found = in_currency(rows, rates, "USD")
    assert found["amount"].to_list() == [Decimal(110), Decimal(125)]
    assert set(found["currency"]) == {"USD"}
    with pytest.raises(
        CurrencyError, match=r'the budget of all spend is in EUR.*no rate for 2026-11.*month = "2026-11"'
    ):
        in_currency(rows, rates[:1], "USD")
    mixed = planned({"month": "2026-10", "amount": 1}, {"month": "2026-10", "amount": 1, "currency": "EUR"})
    with pytest.raises(CurrencyError, match="all spend for 2026-10 is in several currencies"):
        in_force(mixed)


def test_a_budget_needs_a_month_and_both_parts_of_what_it_is_for() -> None:
    with pytest.raises(InputError, match="2026-13"):
        in_force(planned({"month": "2026-13", "amount": 1}))
    with pytest.raises(InputError, match="a dimension without a key"):
        in_force(planned({"month": "2026-10", "amount": 1, "dimension": "team"}))


# Where it stands


def test_the_status_of_a_year_is_what_was_spent_and_the_forecast_with_its_chance() -> None:
    # Ten months at 90, and two ahead of 100. Two half widths w of a correlation of 0.7 make one of
    # w sqrt(0.3 x 2 + 0.7 x 4) = 1.8439 w. Budget 1,140.
    plan = in_force(planned(*year_of(95)))
    spend = spending(*[(None, None, date(2026, m, 15), 90) for m in range(1, 11)])
    coming = ahead(*[("all spend", date(2026, m, 1), 100, 90, 120, 80, 140) for m in (11, 12)])
    found = status(spend, plan, coming, month=OCTOBER, at=date(2026, 11, 1))
    year = one(found, period="year")
    assert (year["budget"], year["actual"], year["planned_to_date"]) == (1140, 900, 950)
    assert [year[n] for n in ("expected", "lo_80", "hi_80", "lo_95", "hi_95")] == pytest.approx(
        [1100, 1081.5609, 1136.8782, 1063.1218, 1173.7564]
    )
    # 40 above the centre: 1.2816 + 3.1218 / 36.8782 x 0.6784 normal scores.
    assert year["probability"] == pytest.approx(1 - NormalDist().cdf(1.33898), rel=1e-4)
    assert year["expected_above"] == -40
    assert (year["share_spent"], year["share_planned"]) == (
        pytest.approx(900 / 1140),
        pytest.approx(950 / 1140),
    )
    assert year["pace"] == pytest.approx(900 / 950)
    assert (year["state"], year["used_up"], year["ahead_since"]) == ("on track", None, None)
    month = one(found, period="month")
    assert (month["state"], month["probability"], month["actual"]) == ("kept", 0.0, 90)
    quarter = one(found, period="quarter")
    assert (quarter["budget"], quarter["expected"], quarter["first"], quarter["last"]) == (
        285, 290, OCTOBER, date(2026, 12, 1),
    )  # fmt: skip
    assert quarter["probability"] > 0.2  # 290 of 285 expected


@pytest.mark.parametrize(
    ("budget", "state"), [(300, "on track"), (207, "watch"), (195, "at risk"), (99, "over")]
)
def test_states_follow_the_chance_to_go_over(budget: int, state: str) -> None:
    # 100 are spent in October; November is expected at 100, normal with a deviation of 10.
    plan = in_force(planned(*[{"month": m, "amount": Decimal(budget) / 2} for m in ("2026-10", "2026-11")]))
    spend = spending((None, None, date(2026, 10, 31), 100))
    coming = ahead(("all spend", date(2026, 11, 1), 100, 87.184, 112.816, 80.4, 119.6))
    found = status(spend, plan, coming, month=OCTOBER, at=date(2026, 11, 1))
    row = one(found, period="year")
    assert row["state"] == state
    if state != "over":
        from statistics import NormalDist

        assert row["probability"] == pytest.approx(1 - NormalDist(200, 10).cdf(budget), abs=2e-4)


def test_months_without_a_budget_are_no_budget_and_never_zero() -> None:
    plan = in_force(planned({"month": "2026-11", "amount": 100}))
    spend = spending((None, None, date(2026, 10, 9), 70), (None, None, date(2026, 9, 9), 30))
    found = status(spend, plan, ahead(), month=OCTOBER, at=date(2026, 11, 1))
    month = one(found, period="month")
    assert (month["budget"], month["actual"], month["state"], month["months"]) == (None, 70, "no budget", 0)
    assert month["probability"] is None and month["share_spent"] is None
    # The quarter has a budget of November alone: October's spend does not burn it.
    quarter = one(found, period="quarter")
    assert (quarter["budget"], quarter["actual"], quarter["months"]) == (100, 0, 1)
    assert quarter["state"] == "unknown"  # nothing is said of November


def test_what_nobody_owns_and_what_has_no_budget_stand_apart_and_all_adds_up() -> None:
    plan = in_force(planned({"month": "2026-10", "amount": 50, "dimension": "team", "key": "a"}))
    day = date(2026, 10, 9)
    spend = spending(
        (None, None, day, 100), ("team", "a", day, 40), ("team", "b", day, 25), ("team", "c", day, 5),
        ("team", "unallocated", day, 30),
    )  # fmt: skip
    found = status(spend, plan, ahead(), month=OCTOBER, at=date(2026, 11, 1)).filter(period="month")
    assert found.select("name", "actual", "budget", "state").rows() == [
        ("team a", 40, 50, "kept"),
        ("team unallocated", 30, None, "no budget"),
        ("team: the rest", 30, None, "no budget"),
    ]
    assert one(checks(found))["unbudgeted"] == one(checks(found))["unallocated"] == 30


def test_a_closed_month_without_any_charges_is_unknown_and_one_without_this_teams_is_zero() -> None:
    plan = in_force(planned(*year_of(10, "team", "a")))
    spend = spending((None, None, date(2026, 9, 1), 5), ("team", "a", date(2026, 8, 31), 5))
    september = one(
        status(spend, plan, ahead(), month=date(2026, 9, 1), at=date(2026, 10, 1)), period="month", key="a"
    )
    assert (september["actual"], september["state"]) == (0, "kept")
    october = one(status(spend, plan, ahead(), month=OCTOBER, at=date(2026, 11, 1)), period="month", key="a")
    assert (october["actual"], october["state"], october["probability"]) == (None, "unknown", None)


def test_a_budget_of_zero_is_over_with_the_first_cent() -> None:
    plan = in_force(planned({"month": "2026-10", "amount": 0}))
    spend = spending((None, None, date(2026, 10, 2), "0.01"))
    row = one(status(spend, plan, ahead(), month=OCTOBER, at=date(2026, 11, 1)), period="month")
    assert (row["state"], row["share_spent"], row["used_up"]) == ("over", None, date(2026, 10, 2))


def test_the_budget_is_used_up_on_the_day_that_passes_it_known_or_expected() -> None:
    plan = {OCTOBER: Decimal(310), date(2026, 11, 1): Decimal(300)}
    spent = {date(2026, 10, d): Decimal(20) for d in range(1, 32)}  # 620 by the end, 610 planned
    span = Span(plan, spent, date(2026, 11, 1))
    assert span.used_up(span.cumulated(), {}) == date(2026, 10, 31)
    half = Span(plan, {d: Decimal(10) for d in spent}, date(2026, 11, 1))  # 300 left
    # At 20 a day 300 last for 15 days: the sixteenth is the first of too much.
    assert half.used_up(half.cumulated(), {date(2026, 11, 1): 600.0}) == date(2026, 11, 16)
    assert half.used_up(half.cumulated(), {date(2026, 11, 1): 300.0}) is None
    # In the open month only the days left take what is left of its forecast: 100 of 200 in 20 days.
    begun = Span({date(2026, 11, 1): Decimal(150)}, {date(2026, 11, 1): Decimal(100)}, date(2026, 11, 11))
    assert begun.used_up(begun.cumulated(), {date(2026, 11, 1): 200.0}) == date(2026, 11, 21)


def test_thresholds_count_where_they_are_passed_ahead_of_pace_and_spending_still_is() -> None:
    plan = {OCTOBER: Decimal(310)}
    early = {date(2026, 10, 5): Decimal(160), date(2026, 10, 8): Decimal(90)}
    span = Span(plan, early, date(2026, 10, 11))
    days = span.cumulated()
    assert span.threshold(days) == (0.8, date(2026, 10, 8))
    assert span.ahead_since(days) == date(2026, 10, 5)
    # By the 28th 250 of 280 planned are spent: nothing to tell any more.
    later = Span(plan, early, date(2026, 10, 29))
    assert later.threshold(later.cumulated()) == (None, None)
    assert later.ahead_since(later.cumulated()) is None
    even = Span(plan, {OCTOBER + timedelta(days=i): Decimal(10) for i in range(20)}, date(2026, 10, 21))
    assert even.threshold(even.cumulated()) == (None, None)


@given(
    days=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 50)), max_size=30),
    budget=st.integers(1, 800),
    gone=st.integers(0, 61),
)
@settings(max_examples=60)
def test_a_span_equals_a_plain_walk_over_its_days(
    days: list[tuple[int, int]], budget: int, gone: int
) -> None:
    months = [OCTOBER, date(2026, 11, 1)]
    at = OCTOBER + timedelta(days=gone)
    spent: dict[date, Decimal] = {}
    for offset, amount in days:
        day = OCTOBER + timedelta(days=offset)
        if day < at:
            spent[day] = spent.get(day, Decimal(0)) + amount
    span = Span(dict.fromkeys(months, Decimal(budget)), spent, at)
    walk = span.cumulated()
    assert len(walk) == gone
    total, passed, since = Decimal(0), None, None
    for i in range(gone):
        day = OCTOBER + timedelta(days=i)
        total += spent.get(day, Decimal(0))
        plan = budget * min(i + 1, 31) / 31 + budget * max(i + 1 - 31, 0) / 30
        assert (walk[i][0], walk[i][1]) == (day, total)
        assert float(walk[i][2]) == pytest.approx(plan)
        passed = passed or (day if total > 2 * budget else None)
        since = None if total <= walk[i][2] else since or day
    assert span.used_up(walk, {}) == passed
    assert span.ahead_since(walk) == since
    assert span.actual == total
    assert float(span.planned_to(at)) == pytest.approx(float(walk[-1][2]) if walk else 0)


@given(
    spent=st.lists(st.integers(0, 200), min_size=10, max_size=10),
    more=st.integers(0, 300),
    budget=st.integers(50, 200),
    spread=st.integers(0, 60),
)
@settings(max_examples=40)
def test_more_spend_never_lowers_the_chance_to_go_over_and_parts_add_up(
    spent: list[int], more: int, budget: int, spread: int
) -> None:
    plan = in_force(planned(*year_of(budget), *year_of(budget // 2, "team", "a")))
    coming = ahead(
        *[
            (name, date(2026, m, 1), 90, 90 - spread / 2, 90 + spread, 90 - spread, 90 + 2 * spread)
            for m in (11, 12)
            for name in ("all spend", "team a")
        ]
    )
    chances = []
    for extra in (0, more):
        days = [(date(2026, m, 10), amount + (extra if m == 10 else 0)) for m, amount in enumerate(spent, 1)]
        spend = spending(
            *[(None, None, day, amount) for day, amount in days],
            *[("team", "a", day, amount - amount // 3) for day, amount in days],
            *[("team", "unallocated", day, amount // 3) for day, amount in days],
        )
        found = status(spend, plan, coming, month=OCTOBER, at=date(2026, 11, 1))
        chances.append([row["probability"] for row in found.filter(period="year").iter_rows(named=True)])
        for period in ("month", "quarter", "year"):
            here = found.filter(period=period)
            teams = here.filter(pl.col("dimension") == "team")["actual"].sum()
            assert teams == here.filter(pl.col("dimension").is_null())["actual"][0]
    assert all(late >= early for early, late in zip(*chances, strict=True) if early is not None)


def test_a_frame_without_a_column_is_refused_by_name() -> None:
    plan = in_force(planned(*year_of(10)))
    with pytest.raises(InputError, match=r"yhat: the frame of the forecast"):
        status(
            spending(), plan, pl.DataFrame({"unique_id": [], "ds": []}), month=OCTOBER, at=date(2026, 11, 1)
        )
    with pytest.raises(InputError, match="threshold"):
        alerts(pl.DataFrame(schema={"name": pl.String, "state": pl.String, "probability": pl.Float64}))


# What is told


def test_alerts_are_the_worst_first_with_since_when_and_the_money_above() -> None:
    day = date(2026, 10, 9)
    rows = [
        {"name": "a", "state": "on track", "probability": 0.1},
        {"name": "b", "state": "watch", "probability": 0.3, "threshold": 0.5, "threshold_on": day},
        {"name": "c", "state": "watch", "probability": 0.3, "threshold": 0.8, "threshold_on": day},
        {"name": "d", "state": "at risk", "probability": 0.7, "expected_above": 5.0, "ahead_since": day},
        {"name": "e", "state": "at risk", "probability": 0.997, "expected_above": 7.0},
        {"name": "f", "state": "over", "probability": 1.0, "expected_above": 9.0, "used_up": day},
        {"name": "g", "state": "kept", "probability": 0.0, "threshold": 0.5, "threshold_on": day},
        {"name": "h", "state": "no budget"},
    ]
    found = alerts(pl.DataFrame(rows, schema=STATUS))
    assert found.select("severity", "name", "what", "since", "above").rows() == [
        ("page", "f", "over budget", day, 9.0),
        ("page", "e", "over 99% likely to go over", None, 7.0),
        ("ticket", "d", "70% likely to go over", day, 5.0),
        ("ticket", "c", "80% spent ahead of pace", day, None),
        ("note", "b", "50% spent ahead of pace", day, None),
    ]


def test_budgets_of_parts_are_held_against_the_whole_with_roots_of_squares() -> None:
    rows = [
        {"name": "all spend", "period": "month", "budget": Decimal(100)},
        *[
            {"name": f"team {k}", "dimension": "team", "key": k, "period": "month", "budget": Decimal(60),
             "expected": 60.0, "lo_80": 60.0 - half, "hi_80": 60.0 + half, "lo_95": 50.0, "hi_95": 70.0}
            for k, half in (("a", 3.0), ("b", 4.0))
        ],
        {"name": "team unallocated", "dimension": "team", "key": "unallocated", "period": "month",
         "actual": Decimal(7)},
    ]  # fmt: skip
    found = one(checks(pl.DataFrame(rows, schema=STATUS)))
    assert (found["parts"], found["whole"], found["left"], found["fits"]) == (120, 100, -20, False)
    assert (found["unallocated"], found["unbudgeted"], found["expected"]) == (7, 0, 120.0)
    assert found["probability"] == pytest.approx(0.5)


def test_a_burn_down_goes_on_from_what_was_spent_to_the_forecast() -> None:
    plan = in_force(planned(*year_of(100)))
    spend = spending(*[(None, None, date(2026, m, 15), 90) for m in range(1, 11)])
    coming = ahead(*[("all spend", date(2026, m, 1), 200, 180, 240, 160, 280) for m in (11, 12)])
    found = burn_down(spend, plan, coming, month=OCTOBER, at=date(2026, 11, 1))
    assert found["day"].to_list()[:2] == [date(2025, 12, 31), date(2026, 1, 1)]
    assert found.height == 1 + 304 + 2
    last = one(found, day=date(2026, 10, 31))
    assert (last["spent"], last["planned"], last["yhat"], last["hi_95"]) == (900, 1000, 900, 900)
    end = found.row(-1, named=True)
    assert (end["day"], end["spent"], end["planned"], end["yhat"], end["hi_80"]) == (
        date(2026, 12, 31), None, 1200, 1300, pytest.approx(1300 + 40 * 3.4**0.5),
    )  # fmt: skip
    assert burn_down(spend, plan, coming, dimension="team", key="x", month=OCTOBER, at=OCTOBER).is_empty()
    with pytest.raises(InputError, match="no period 'week'"):
        burn_down(spend, plan, coming, period="week", month=OCTOBER, at=OCTOBER)
    spec = burn_down_chart(found, title="Budget", used_up=date(2026, 12, 15)).to_dict()
    assert spec["description"] == (
        "Cumulated spend up to 2026-10-31: $900 of a budget of $1.2k, 75%; planned up to then were $1.0k. "
        "Expected by 2026-12-31: $1.3k, with 80% between $1.3k and $1.4k. The budget is used up on 2026-12-15."
    )
    with pytest.raises(InputError, match="neither spend nor a budget"):
        burn_down_chart(found.with_columns(spent=pl.lit(None, MONEY)), title="Budget")


# A lab's

MODELS = (
    '[[dimensions.team]]\nname = "t"\ntag = ["team"]\n[[dimensions.model]]\nname = "m"\ntag = ["model"]\n'
)
BUDGETS = """
[[budgets]]
from = "2026-01"
to = "2026-12"
amount = "100"
[[budgets]]
model = "m1"
from = "2026-10"
to = "2026-12"
amount = "60"
approved = 2026-09-01
[[budgets]]
model = "m1"
from = "2026-11"
to = "2026-12"
amount = "70"
approved = 2026-10-05
approved_by = "cfo"
"""


def bill() -> list[dict[str, str | None]]:
    """Return three months; each costs 110, of which 50 are of model m1."""
    return [
        cost_row(amount, month=month, Tags=json.dumps({"team": "a", "model": model} if model else {}))
        for month in ("2026-08", "2026-09", "2026-10")
        for amount, model in (("50", "m1"), ("40", "m2"), ("20", None))
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lab(
        tmp_path_factory.mktemp("budgets") / "lab", {"bill.csv": bill()}, PLAIN_TOML + MODELS + BUDGETS
    )


def test_a_running_month_is_none_that_was_kept_also_in_a_young_lab(tmp_path: Path) -> None:
    days = [date(2026, 9, 1) + timedelta(days=n) for n in range(40)]  # September, and ten days of October
    rows = [
        cost_row(
            "10",
            month=f"{day:%Y-%m}",
            ChargePeriodStart=f"{day}T00:00:00Z",
            ChargePeriodEnd=f"{day + timedelta(days=1)}T00:00:00Z",
        )
        for day in days
    ]
    budget = '[[budgets]]\nfrom = "2026-10"\nto = "2026-10"\namount = "200"\n'
    lab = fl.open_lab(write_lab(tmp_path / "lab", {"bill.csv": rows}, PLAIN_TOML + budget), progress=False)
    for review in (fl.budgets(lab, "2026-10"), fl.review(lab, "2026-10").budgets):
        row = one(review.status, period="month")
        assert (review.at, row["actual"], row["expected"]) == (date(2026, 10, 11), 100, pytest.approx(310))
        assert row["state"] not in ("kept", "over")


def test_a_labs_budgets_are_judged_by_its_ledger_and_its_forecast(folder: Path) -> None:
    found = fl.budgets(fl.open_lab(folder, progress=False), "2026-10")
    whole, model, rest = found.status.filter(period="month").iter_rows(named=True)
    assert (whole["name"], whole["actual"], whole["state"], whole["used_up"]) == (
        "all spend", 110, "over", date(2026, 10, 3),
    )  # fmt: skip
    assert (model["name"], model["budget"], model["actual"], model["state"]) == ("model m1", 60, 50, "kept")
    assert (rest["name"], rest["actual"], rest["budget"]) == ("model: the rest", 60, None)
    year = one(found.status, period="year", key="m1")
    assert (year["budget"], year["months"]) == (200, 3)
    assert year["expected"] == pytest.approx(50 + sum(found.forecast.filter(unique_id="model m1")["yhat"]))
    # January to July are not known: the year's budget cannot be judged.
    assert one(found.status, period="year", name="all spend")["state"] == "unknown"
    assert found.changes.select("name", "before", "after", "approved_by").rows() == [
        ("model m1", 60, 70, "cfo")
    ]
    assert found.over() == ["all spend"]
    assert found.burn_down("model", "m1").row(-1, named=True)["planned"] == 200


def test_of_an_open_month_the_days_left_cost_what_the_forecast_says(folder: Path) -> None:
    lab = fl.open_lab(folder, progress=False)
    found = fl.budgets(lab, "2026-10", at=date(2026, 10, 20))
    # Charges are known up to the third, whatever day it is.
    assert found.at == date(2026, 10, 4)
    row = one(found.status, period="month", name="all spend")
    assert row["expected"] == pytest.approx(110 + 110 * 28 / 31)
    assert (row["actual"], row["state"]) == (110, "over")
    assert one(fl.budgets(lab, "2026-10", at=OCTOBER).status, period="month", key="m1")["actual"] == 0
    with pytest.raises(InputError, match="lies before the month"):
        fl.budgets(lab, "2026-10", at=date(2026, 9, 30))
    with pytest.raises(InputError, match="metric must be one of"):
        fl.budgets(lab, "2026-10", metric="ListCost")


def test_a_forecast_of_ones_own_takes_the_place_of_the_librarys(folder: Path) -> None:
    own = ahead(*[("model m1", add_months(OCTOBER, n), 80, 80, 80, 80, 80) for n in (1, 2)])
    found = fl.budgets(fl.open_lab(folder, progress=False), "2026-10", forecast=own)
    row = one(found.status, period="year", key="m1")
    assert (row["expected"], row["probability"], row["state"]) == (210.0, 1.0, "at risk")


def test_a_budget_in_another_currency_is_converted_in_the_lab_or_refused(tmp_path: Path) -> None:
    euro = '[[budgets]]\nfrom = "2026-10"\nto = "2026-10"\namount = "100"\ncurrency = "EUR"\n'
    rate = '[[rates]]\nmonth = "2026-10"\nfrom = "EUR"\nto = "USD"\nrate = "1.2"\n'
    rows = [cost_row("110", month="2026-10")]
    lab = fl.open_lab(write_lab(tmp_path / "a", {"bill.csv": rows}, PLAIN_TOML + euro), progress=False)
    with pytest.raises(CurrencyError, match="no rate for 2026-10"):
        fl.budgets(lab, "2026-10")
    lab = fl.open_lab(write_lab(tmp_path / "b", {"bill.csv": rows}, PLAIN_TOML + euro + rate), progress=False)
    row = one(fl.budgets(lab, "2026-10").status, period="month")
    assert (row["budget"], row["state"]) == (120, "kept")
    # A budget of another year asks for no rate.
    (tmp_path / "a" / "finops.toml").write_text(PLAIN_TOML + euro.replace("2026", "2025"))
    assert fl.budgets(fl.open_lab(tmp_path / "a", progress=False), "2026-10").status.is_empty()
    rows = [cost_row("1", month="2026-10", BillingCurrency="EUR")]
    lab = fl.open_lab(write_lab(tmp_path / "c", {"bill.csv": rows}, PLAIN_TOML), progress=False)
    with pytest.raises(CurrencyError, match="the bills are in EUR, the lab in USD"):
        fl.budgets(lab, "2026-10")


def test_the_command_prints_writes_and_fails_only_when_asked(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "budgets.csv"
    options = ("budgets", "--lab", folder, "--month", "2026-10", "--today", "2026-11-05")
    done = run(*options, "--out", out, "--fail-on", "over-budget")
    assert done.returncode == 3, done.stderr
    assert "over in the month of 2026-10: all spend\n" in done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("│ all spend")]
    assert [cell.strip() for cell in line.strip("│").split("│")][1:] == [
        "$100", "$110", "$110", "100%", "1.10", "2026-10-03", "over",
    ]  # fmt: skip
    assert "changed 2026-10-05 by cfo: model m1, 2026-11 to 2026-12: $60 to $70 a month" in done.stdout
    assert pl.read_csv(out).height == 9
    done = run(*options, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["month"], told["at"], told["currency"]) == ("2026-10", "2026-11-01", "USD")
    assert [row["actual"] for row in told["status"] if row["period"] == "month"] == ["110", "50", "60"]


def test_the_command_refuses_in_one_line(folder: Path, tmp_path: Path) -> None:
    plain = write_lab(tmp_path / "lab", {"bill.csv": bill()}, PLAIN_TOML)
    asked = ("--month", "2026-10", "--today")
    refused(
        run("budgets", "--lab", plain, *asked, "2026-11-05"),
        "no budget for the year of 2026-10",
        "[[budgets]]",
    )
    refused(run("budgets", "--lab", folder, *asked, "2026-09-30"), "2026-10 is in the future")
