"""A month that is not over: figures say up to when, and compare days that are known with as many."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers import cost_row, write_lab
from polars.testing import assert_frame_equal

import finops_lab as fl
from finops_lab import measuring, valuing
from finops_lab.errors import InputError
from finops_lab.reporting.days import Days
from finops_lab.unit_economics.scaling import money_per_qps
from finops_lab.valuing.frames import Frames

OCT = date(2026, 10, 1)
TOML = """[lab]
name = "Running month (synthetic)"
currency = "USD"
[[dimensions.model]]
name = "model"
tag = ["model"]
[[dimensions.feature]]
name = "feature"
tag = ["feature"]
[[slos]]
service = "chat"
objective = "availability"
target = 0.9
"""
CALLS = "ts_start,model,operation,status,feature,pool_id,input_uncached_tokens,output_tokens,latency_ms,sample_weight\n"


def bill(day: date, amount: int, **more: str) -> dict[str, str | None]:
    span = {
        "ChargePeriodStart": f"{day}T00:00:00Z",
        "ChargePeriodEnd": f"{day + timedelta(days=1)}T00:00:00Z",
        "Tags": '{"model": "m", "feature": "chat"}',
    }
    return cost_row(str(amount), month=f"{day:%Y-%m}", **span | more)


def calls(day: date, n: int = 10, bad: int = 0) -> str:
    rows = (
        f"{day}T{10 + i % 10}:00:00Z,m,chat,{'error' if i < bad else 'ok'},chat,p,100,50,120,1\n"
        for i in range(n)
    )
    return "".join(rows)


def days(first: date, n: int) -> list[date]:
    return [first + timedelta(days=i) for i in range(n)]


def opened(folder: Path, september: list[date], october: list[date], **more: Any) -> fl.Lab:
    """Return a lab: 10 USD and 10 calls a day in September, 12 USD and one failed call more in October."""
    exports = {
        "bill.csv": [bill(day, 10) for day in september] + [bill(day, 12) for day in october],
        "calls.csv": CALLS
        + "".join(calls(day) for day in september)
        + "".join(calls(day, bad=1) for day in october),
    }
    return fl.open_lab(write_lab(folder / "lab", exports | more, TOML), progress=False)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> fl.Lab:
    """October is known up to the 10th."""
    return opened(tmp_path_factory.mktemp("open"), days(date(2026, 9, 1), 30), days(OCT, 10))


def m10(found: Any, column: str) -> Any:
    return found.table.filter(kpi="M10")[column].item()


def test_a_bridge_of_a_running_month_compares_the_same_days(running: fl.Lab) -> None:
    found = fl.bridge(running, "2026-09", "2026-10")
    assert (found.up_to, found.start, found.end) == (10, 100, 120)
    terms = {name: amount for name, amount in found.terms.select("term", "amount").iter_rows() if amount}
    assert terms == {"price": 20}  # as many days, as many calls, no volume that has not come yet
    assert "days 1 to 10" in repr(found)
    # The other way round the same days count.
    back = fl.bridge(running, "2026-10", "2026-09")
    assert (back.up_to, back.start, back.end) == (10, 120, 100)
    # Told that the month is over, it has lost two thirds of its calls.
    whole = fl.bridge(running, "2026-09", "2026-10", at=datetime(2026, 11, 1, tzinfo=UTC))
    assert (whole.up_to, whole.start, whole.end) == (None, 300, 120)


def test_a_moment_cuts_a_bridge_at_whole_days(running: fl.Lab) -> None:
    found = fl.bridge(running, "2026-09", "2026-10", at=datetime(2026, 10, 5, 12, tzinfo=UTC))
    assert (found.up_to, found.start, found.end) == (4, 40, 48)
    with pytest.raises(InputError, match="no day of 2026-10 is over"):
        fl.bridge(running, "2026-09", "2026-10", at=datetime(2026, 10, 1, 9, tzinfo=UTC))
    with pytest.raises(InputError, match="2026-10 has not begun"):
        fl.bridge(running, "2026-09", "2026-10", at=datetime(2026, 9, 30, tzinfo=UTC))


def test_days_that_are_not_billed_yet_are_no_fall_of_prices(tmp_path: Path) -> None:
    lab = opened(tmp_path, days(date(2026, 9, 1), 30), days(OCT, 10), **{
        "late.csv": CALLS + "".join(calls(day) for day in days(date(2026, 10, 11), 3)),
    })  # fmt: skip
    found = fl.bridge(lab, "2026-09", "2026-10")
    assert (found.up_to, found.start, found.end) == (10, 100, 120)
    assert fl.kpis(lab, "2026-10").up_to == date(2026, 10, 13)


def test_february_lends_a_running_march_the_days_it_has(tmp_path: Path) -> None:
    lab = opened(tmp_path, days(date(2026, 2, 1), 28), days(date(2026, 3, 1), 30))
    found = fl.bridge(lab, "2026-02", "2026-03")
    assert (found.up_to, found.start, found.end) == (30, 280, 360)
    terms = {name: amount for name, amount in found.terms.select("term", "amount").iter_rows() if amount}
    assert terms == {"days": 20, "price": 60}


def test_the_budget_of_a_running_month_is_of_the_days_known(running: fl.Lab) -> None:
    """Ten of a hundred calls failed: all that ten days may, and a third of what the month may."""
    found = fl.kpis(running, "2026-10")
    assert found.up_to == date(2026, 10, 10)
    assert (m10(found, "numerator"), m10(found, "denominator")) == (10, 31)
    assert "up to 2026-10-10" in repr(found)
    assert dict(found.explain("M10").iter_rows())["known up to"] == "2026-10-10"
    over = fl.kpis(running, "2026-10", at=datetime(2026, 11, 1, tzinfo=UTC))
    assert over.up_to is None
    assert (m10(over, "numerator"), m10(over, "denominator")) == (10, 10)
    (budget,) = fl.levels(running, "2026-10").budgets.to_dicts()
    assert (budget["bad"], budget["allowed_bad"], budget["estimated"]) == (10, 31, True)


def test_what_is_told_after_the_moment_does_not_count(tmp_path: Path, running: fl.Lab) -> None:
    """October as of the end of its fourth day is what a lab tells that knows no more than four days."""
    early = opened(tmp_path, days(date(2026, 9, 1), 30), days(OCT, 4))
    told, known = fl.kpis(running, "2026-10", at="2026-10-05"), fl.kpis(early, "2026-10")
    assert (told.up_to, known.up_to) == (date(2026, 10, 4), date(2026, 10, 4))
    assert told.table.filter(kpi="M1")["denominator"].item() == 36  # of ten calls a day one failed
    # The anomalies of days are judged by those around them, so by later ones too.
    same = [pl.col("kpi") != "M6"]
    keys = ["kpi", "measure", "dimension", "month", "key"]
    assert_frame_equal(told.figures.filter(same).sort(keys), known.figures.filter(same).sort(keys))


@pytest.mark.parametrize(
    "at", ["2026-10-05", date(2026, 10, 5), datetime(2026, 10, 5), datetime(2026, 10, 5, tzinfo=UTC)]
)
def test_a_moment_may_be_a_text_a_day_or_without_a_zone(running: fl.Lab, at: Any) -> None:
    assert fl.bridge(running, "2026-09", "2026-10", at=at).up_to == 4
    (budget,) = fl.levels(running, "2026-10", at=at).budgets.to_dicts()
    assert budget["bad"] == 4


def test_what_is_kept_of_a_running_month_is_of_its_moment(running: fl.Lab) -> None:
    moments = [datetime(2026, 10, day, tzinfo=UTC) for day in (3, 6, 11)]

    def spent(at: datetime, *, store: bool) -> list[tuple[Any, ...]]:
        found = measuring.burned_months(running, at=at, store=store).filter(measure="budget_spent").collect()
        return found.sort("month").select("month", "numerator", "denominator").rows()

    for at in moments:
        bad = at.day - 1
        assert spent(at, store=True)[-1] == (OCT, bad, Decimal(31))
        assert spent(at, store=True) == spent(at, store=False)
    # September does not depend on it, and nothing of October is known before it began.
    assert spent(moments[0], store=True)[0] == spent(moments[1], store=True)[0]
    before = spent(datetime(2026, 10, 1, tzinfo=UTC), store=True)
    assert [month for month, *_ in before] == [date(2026, 9, 1)]


def test_money_of_part_of_a_month_is_no_money_per_rate(running: fl.Lab) -> None:
    money = pl.DataFrame({"month": [date(2026, 9, 1), OCT], "pool_id": ["p"] * 2, "money": [300, 120]})
    rate = pl.DataFrame(
        {"month": [date(2026, 9, 1), OCT], "pool_id": ["p"] * 2, "calls": [300, 100], "seconds": [100, 50]}
    )
    found = money_per_qps(money, rate, up_to=date(2026, 10, 10)).sort("dimension", "month", nulls_last=False)
    assert found["value"].to_list() == [100, None] * 2
    assert found.filter(month=OCT)["reason"].str.contains("known up to 2026-10-10 only").all()
    assert found.filter(month=OCT)["numerator"].to_list() == [120] * 2  # what is known is told
    assert money_per_qps(money, rate)["value"].null_count() == 0


def test_a_month_is_over_where_the_lab_goes_on(tmp_path: Path) -> None:
    """Nothing was bought or called on its last days: data of a later month tells that they are over."""
    november = [bill(date(2026, 11, 2), 1)]
    lab = opened(tmp_path, days(date(2026, 9, 1), 30), days(OCT, 10), **{"next.csv": november})
    assert fl.kpis(lab, "2026-10").up_to is None
    assert fl.bridge(lab, "2026-09", "2026-10").up_to is None


def test_a_lab_of_an_earlier_date_knows_its_days(running: fl.Lab) -> None:
    dated = {"2026-10-05/first.csv": [bill(day, 12) for day in days(OCT, 4)]}
    lab = fl.open_lab(
        write_lab(running.folder.parent / "dated", dated, TOML), progress=False, as_of="2026-10-05"
    )
    assert Frames(lab, OCT, OCT).up_to == date(2026, 10, 5)


def test_monthly_bills_alone_are_of_whole_months(tmp_path: Path) -> None:
    monthly = {
        "bill.csv": [
            bill(date(2026, month, 1), 10, ChargePeriodEnd=f"2026-{month + 1:02}-01T00:00:00Z")
            for month in (9, 10)
        ]
    }
    lab = fl.open_lab(write_lab(tmp_path / "lab", monthly, TOML), progress=False)
    assert fl.kpis(lab, "2026-10").up_to is None
    assert fl.bridge(lab, "2026-09", "2026-10").up_to is None


def test_a_month_of_which_nothing_is_known_has_no_end(running: fl.Lab) -> None:
    assert valuing.kpis(running, "2026-12").up_to is None
    assert valuing.kpis(running, "2026-08").up_to is None


def test_the_review_says_up_to_when(running: fl.Lab) -> None:
    from finops_lab.reporting.monthly import review

    month = review(running, "2026-10")
    scorecard, causes = month.scorecard(), month.causes()
    assert "up to 2026-10-10" in scorecard.parts[0]._repr_html_()
    assert "days 1 to 10 of both" in causes.finding


def test_the_headline_of_a_running_month_is_held_against_the_same_days(
    running: fl.Lab, tmp_path: Path
) -> None:
    """120 USD in ten days of October, 100 in ten of September: 20 % more, not 60 % less."""
    from finops_lab.reporting.monthly import review

    month = review(running, "2026-10")
    told = month.headline()
    assert "October 2026 cost $120.00 so far**, days 1 to 10 of 31" in told.finding
    assert "$20.00 (20.0%) more than September 2026, days 1 to 10" in told.finding
    assert (told.values["spend_previous_month"], told.values["days_known"]) == (100, 10)
    table = told.parts[0]._repr_html_()
    assert "Spend (effective cost), days 1 to 10 of 31" in table
    assert "$12.00" in table and "$2.00 (20.0%) more than the same days of last month" in table
    assert "needs at least 3 earlier months" in table and "80% interval" not in table
    longer = opened(tmp_path, days(date(2026, 7, 1), 92), days(OCT, 10))
    table = review(longer, "2026-10").headline().parts[0]._repr_html_()
    assert "of the whole month, 80% interval" in table  # no verdict on a forecast of 31 days
    assert "days 1 to 10 of 31" in month._repr_html_()
    teams = month.owners()
    assert teams.values["team"][0]["before"] == 100
    assert "days 1 to 10 of 31" in teams.parts[1]._repr_html_()


def test_a_month_that_others_are_held_against_says_how_much_of_it_is_billed() -> None:
    def billed(known: int | None, *dates: date) -> list[str]:
        frame = pl.DataFrame({"x_ChargeDate": dates}).with_columns(
            x_ChargeMonth=pl.col("x_ChargeDate").dt.strftime("%Y-%m")
        )
        of = Days(OCT, known)
        return [of.billed(frame, date(2026, month, 1)) for month in (7, 8, 9, 10)]

    august, september, october = days(date(2026, 8, 1), 31), days(date(2026, 9, 1), 30), days(OCT, 31)
    assert billed(None, *august, *september, *october) == [""] * 4
    assert billed(None, *august, *september, OCT) == ["", "", "", "1 of 31 days billed"]
    assert billed(None, *august, *september[-3:], *october) == ["", "", "3 of 30 days billed", ""]
    # Of a month that runs, as many days of each count.
    assert billed(10, *august, *september[7:], *october[:10]) == ["", "", "3 of 10 days billed", ""]
    # On working days alone, or once a month: no day is missing.
    assert billed(None, *(d for d in (*august, *september, *october) if d.weekday() < 5)) == [""] * 4
    assert billed(None, august[0], september[0], OCT) == [""] * 4


def test_a_moment_is_passed_through_to_every_part(running: fl.Lab) -> None:
    from finops_lab.reporting.monthly import review

    month = review(running, "2026-10", at=datetime(2026, 10, 5, 12, tzinfo=UTC))
    assert (month.days.known, month.so_far(OCT), month.so_far(date(2026, 9, 1))) == (4, 48, 40)
    assert (month.bridge.up_to, month.kpis.up_to) == (4, date(2026, 10, 5))
    # Told that the month is over, its ten days are all there is of it.
    over = review(running, "2026-10", at=datetime(2026, 11, 1, tzinfo=UTC))
    assert (over.days.known, over.so_far(OCT), over.days.after) == (None, 120, "")
    told = over.headline()
    assert told.values["spend_previous_month"] == 300
    # Most of it is missing: that it cost less says nothing yet.
    assert told.finding.startswith(
        "**October 2026 cost $120.00**, 10 of 31 days billed (effective cost), $180.00"
    )
    table = told.parts[0]._repr_html_()
    assert "Spend (effective cost), 10 of 31 days billed" in table
    # 120 USD in ten days are 12 a day, not 4: days that no bill tells of cost something too.
    assert re.search(r"Spend per billed day</th>\s*<td[^>]*>\$12\.00</td>", table)
    assert "$2.00 (20.0%) more than last month" in table
    assert "than September 2026; October 2026 has 10 of 31 days billed; most" in over.causes().finding


def test_the_executive_dashboard_compares_the_same_days(running: fl.Lab) -> None:
    board = fl.dashboard("executive", running, "2026-10")
    changes = board.changes()
    assert "$20.00 (20.0%) more than in September 2026, days 1 to 10." in changes.finding
    assert "October 2026 has days 1 to 10 of 31" in str(board.spend().parts[-1].to_json())
    board = fl.dashboard("executive", running, "2026-10", at=datetime(2026, 10, 3, tzinfo=UTC))
    assert board.here.up_to == board.frames.up_to == date(2026, 10, 2)
    assert "$4.00 (20.0%) more" in board.changes().finding


def test_a_bill_by_the_month_lends_no_days(tmp_path: Path) -> None:
    """September came in one charge: ten days of October are held against nothing, not against all of it."""
    from finops_lab.reporting.monthly import review

    whole = bill(date(2026, 9, 1), 300, ChargePeriodEnd="2026-10-01T00:00:00Z")
    exports = {"bill.csv": [whole, *(bill(day, 12) for day in days(OCT, 10))]}
    lab = fl.open_lab(write_lab(tmp_path / "lab", exports, TOML), progress=False)
    month = review(lab, "2026-10")
    assert (month.so_far(OCT), month.so_far(date(2026, 9, 1))) == (120, None)
    assert "there is no month before to compare to" in month.headline().finding


def test_a_month_billed_on_its_fifth_like_all_others_is_no_month_that_runs(tmp_path: Path) -> None:
    from finops_lab.reporting.monthly import review

    def known(*last: date) -> int | None:
        bills = [bill(day, 10) for day in (date(2026, 8, 5), date(2026, 9, 5), *last)]
        place = write_lab(tmp_path / f"lab-{last[-1]}", {"bill.csv": bills}, TOML)
        return review(fl.open_lab(place, progress=False), "2026-10").days.known

    assert known(date(2026, 10, 5)) is None
    # A day earlier than the months before: the rest may come. A day later: that is no such bill.
    assert (known(date(2026, 10, 4)), known(date(2026, 10, 5), date(2026, 10, 6))) == (4, 6)


def test_revenue_of_days_that_are_not_over_is_left_out(tmp_path: Path) -> None:
    """310 USD for October, ten days of it: 100 USD of revenue against 120 of cost."""
    value = (
        "period_start,period_end,feature,revenue_usd\n2026-10-01T00:00:00Z,2026-11-01T00:00:00Z,chat,310\n"
    )
    lab = opened(tmp_path, days(date(2026, 9, 1), 30), days(OCT, 10), **{"value.csv": value})
    found = fl.kpis(lab, "2026-10")
    told = found.figures.filter(kpi="M12", month=OCT, dimension="feature", key="chat")
    by_measure = {row["measure"]: row for row in told.rows(named=True)}
    assert (by_measure["revenue"]["value"], by_measure["margin_money"]["value"]) == (100, -20)
    assert by_measure["revenue"]["coverage"] == 1
    over = fl.kpis(lab, "2026-10", at=datetime(2026, 11, 1, tzinfo=UTC)).figures
    whole = over.filter(kpi="M12", month=OCT, dimension="feature", key="chat", measure="revenue")
    assert whole["value"].item() == 310
