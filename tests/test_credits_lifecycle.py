"""Credits that end, and what a model version costs from its training to its end."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers import PLAIN_TOML, cost_row, write_lab
from hypothesis import given, settings
from hypothesis import strategies as st

import finops_lab as fl
from finops_lab.charts.commitments import cliff_bars, commitment_cost
from finops_lab.config import Credit
from finops_lab.contracts import dtypes
from finops_lab.errors import ConfigError, CurrencyError, InputError, NoDataError
from finops_lab.money import exact_sum
from finops_lab.planning.credits import cliff, credits_of, monthly_bill
from finops_lab.planning.lifecycle import Assumptions, lifecycle, served_money, trained_money

VALUES = ("yhat", "lo_80", "hi_80", "lo_95", "hi_95")


def credit(month: int, amount: str, **more: str | None) -> dict[str, str | None]:
    usual = {"ChargeCategory": "Credit", "ChargeDescription": "Promo", "SkuId": None}
    return cost_row(amount, month=f"2026-{month:02}", **{**usual, **more})


def lab_of(folder: Path, rows: list[dict[str, str | None]], toml: str = PLAIN_TOML) -> fl.Lab:
    write_lab(folder, {"aws/bill.csv": rows}, toml)
    return fl.open_lab(folder, progress=False)


def ahead(first: date, months: int, gross: float) -> pl.DataFrame:
    days = [
        date(first.year + (first.month - 1 + n) // 12, (first.month - 1 + n) % 12 + 1, 1)
        for n in range(months)
    ]
    return pl.DataFrame({"ds": days, **dict.fromkeys(VALUES, gross)})


def test_the_planted_credits_end_when_they_do(sample_copy: Path) -> None:
    lab = fl.open_lab(sample_copy, progress=False)
    truth = json.loads((sample_copy / "truth.json").read_text(encoding="utf-8"))["credits_that_end"]
    after = fl.credits_cliff(lab, "2026-10", months=2, credits=[])
    row = after.credits.row(0, named=True)
    assert row["ProviderName"] == truth["provider"]
    assert row["a_month"] == Decimal(truth["monthly_amount"])
    assert (f"{row['ends']:%Y-%m}", row["basis"], row["ended"]) == (truth["last_month"], "stopped", True)
    assert f"{after.ends['month'][0]:%Y-%m}" == truth["first_month_without"]
    assert after.ends.select("a_month", "passed").row(0) == (-Decimal(truth["monthly_amount"]), True)
    before = fl.credits_cliff(lab, "2026-04", months=4)
    assert before.ends.select("credit", "passed").row(0) == ("promotional credit", False)
    coming = before.months.filter(pl.col("kind") == "forecast")
    assert coming["credits"].to_list() == [-12_000, -12_000, 0, 0]
    assert (coming["net"] - coming["gross"]).to_list() == [-12_000.0, -12_000.0, 0.0, 0.0]
    known = before.months.filter(pl.col("kind") == "billed")
    bill = lab.costs().filter(pl.col("ChargePeriodStart") < datetime(2026, 5, 1, tzinfo=UTC))
    assert abs(known["net"].sum() - float(bill.select(pl.col("BilledCost").sum()).collect().item())) < 0.01
    # What was bought once, the commitment of July 2025, is billed and never forecast.
    assert known.filter(pl.col("month") == date(2025, 7, 1))["one_time"][0] == 254_040
    assert max(coming["gross"]) < 400_000
    drawn = cliff_bars(before.months, before.ends, title="Credits").to_dict()
    assert "from July 2026 on the bill of a month is $12.0k higher" in drawn["description"]


def test_a_grant_is_used_up_at_its_pace_and_never_beyond(tmp_path: Path) -> None:
    rows = [cost_row("100", month=f"2026-{month:02}") for month in (8, 9, 10)]
    rows += [credit(8, "-20"), credit(9, "-30"), credit(10, "-40")]
    costs = lab_of(tmp_path / "lab", rows).costs()
    rule = Credit(name="promo", where={"ChargeDescription": ("Promo",)}, grant=Decimal(160))
    told = credits_of(costs, [rule], month=date(2026, 10, 1))
    # 90 of 160 are used, 30 a month: 70 last until January, with 10 in it.
    assert told.select("credited", "a_month", "left", "ends", "basis").row(0) == (
        -90, -30, 70, date(2027, 1, 1), "grant used up",
    )  # fmt: skip
    found = cliff(monthly_bill(costs, month=date(2026, 10, 1)), told, ahead(date(2026, 11, 1), 5, 100.0))
    assert found.months["credits"].to_list()[3:] == [-30, -30, -10, 0, 0]
    assert exact_sum(found.months["credits"]) == -160
    assert found.months["net"].to_list()[3:] == [70.0, 70.0, 90.0, 100.0, 100.0]
    assert found.ends.select("month", "a_month", "passed").row(0) == (date(2027, 2, 1), 30, False)


def test_the_first_end_counts_and_an_unknown_one_is_said(tmp_path: Path) -> None:
    rows = [cost_row("100", month="2026-10"), credit(10, "-10"), credit(10, "-5", ChargeDescription="Other")]
    costs = lab_of(tmp_path / "lab", rows).costs()
    soon = Credit(name="promo", where={"ChargeDescription": ("Promo",)}, grant=Decimal(1000), last="2026-11")
    told = credits_of(costs, [soon], month=date(2026, 10, 1))
    assert told.select("credit", "ends", "basis").rows() == [
        ("Other", None, "unknown"),
        ("promo", date(2026, 11, 1), "configured"),
    ]
    found = cliff(monthly_bill(costs, month=date(2026, 10, 1)), told, ahead(date(2026, 11, 1), 2, 50.0))
    assert found.months["credits"].to_list() == [-15, -15, -5]
    assert found.ends["credit"].to_list() == ["promo"]


def test_a_bill_without_credits_has_no_cliff(tmp_path: Path) -> None:
    lab = lab_of(tmp_path / "lab", [cost_row("100", month="2026-10")])
    found = fl.credits_cliff(lab, "2026-10", months=1)
    assert (found.credits.height, found.ends.height, found.months["credits"].to_list()) == (0, 0, [0, 0])
    with pytest.raises(NoDataError, match="no bill of 2026-11"):
        fl.credits_cliff(lab, "2026-11")
    with pytest.raises(InputError, match="does not begin after 2026-10"):
        cliff(
            monthly_bill(lab.costs(), month=date(2026, 10, 1)),
            found.credits,
            ahead(date(2026, 12, 1), 1, 1.0),
        )


def test_currencies_are_never_added(tmp_path: Path) -> None:
    rows = [cost_row("1", month="2026-10"), cost_row("1", month="2026-10", BillingCurrency="EUR")]
    with pytest.raises(CurrencyError, match="EUR, USD"):
        fl.credits_cliff(lab_of(tmp_path / "lab", rows), "2026-10")


def test_a_credit_in_the_configuration_says_its_end(tmp_path: Path) -> None:
    text = PLAIN_TOML + '[[credits]]\nname = "c"\nwhere = { ChargeDescription = "x" }\n'
    with pytest.raises(ConfigError, match="write the grant"):
        lab_of(tmp_path / "lab", [], text)


# The life of a version


def deploys(*rows: tuple[datetime, str]) -> pl.DataFrame:
    told = [
        {"ts": ts, "service": "chat", "environment": "prod", "model": "m", "model_version": version,
         "status": "succeeded", "kind": "deploy"}
        for ts, version in rows
    ]  # fmt: skip
    return pl.DataFrame(told, schema=dtypes("deploys"))


def days(name: str, amounts: dict[int, Any]) -> pl.DataFrame:
    rows = [("m", date(2026, 10, day), Decimal(str(amount))) for day, amount in amounts.items()]
    return pl.DataFrame(
        rows, schema={"model": pl.String, "day": pl.Date, name: pl.Decimal(38, 18)}, orient="row"
    )


NOON = datetime(2026, 10, 3, 12, tzinfo=UTC)
TWO = deploys((datetime(2026, 10, 2, tzinfo=UTC), "m-1"), (NOON, "m-2"))


def test_a_day_of_two_versions_is_divided_and_one_of_none_is_nobodys() -> None:
    money = days("amount", {1: 5, 2: 7, 3: 10, 4: 1})
    found = served_money(money, TWO, days("calls", {2: 70, 3: 11}), last=date(2026, 10, 31))
    told = {row["model_version"]: row for row in found.to_dicts()}
    assert [told[v]["amount"] for v in (None, "m-1", "m-2")] == [5, 12, 6]
    assert [told[v]["days"] for v in (None, "m-1", "m-2")] == [1, 2, 2]
    assert told["m-1"]["inferences"] == Decimal("75.5")
    assert told[None]["inferences"] is None


@settings(max_examples=25)
@given(
    amounts=st.dictionaries(st.integers(1, 31), st.decimals("-99", "9999", places=7), max_size=12),
    cuts=st.lists(st.integers(1, 31), max_size=4),
)
def test_versions_add_up_to_their_model(amounts: dict[int, Decimal], cuts: list[int]) -> None:
    money = days("amount", amounts)
    events = deploys(
        *((datetime(2026, 10, day, 6, tzinfo=UTC), f"m-{n}") for n, day in enumerate(sorted(cuts)))
    )
    found = served_money(money, events, days("calls", {}), last=date(2026, 10, 31))
    assert exact_sum(found["amount"]) == exact_sum(amounts.values())


def jobs(*rows: tuple[str, str, str, str | None]) -> pl.DataFrame:
    told = [
        {"model": "m", "model_version": version, "kind": kind, "state": state, "ts_start": NOON,
         "cost_usd": None if cost is None else Decimal(cost)}
        for version, kind, state, cost in rows
    ]  # fmt: skip
    return pl.DataFrame(told, schema=dtypes("training_jobs"))


MADE = jobs(
    ("m-1", "retrain", "failed", "30"), ("m-1", "retrain", "completed", "70"), ("m-1", "eval", "completed", "3"),
    ("m-2", "train", "completed", None),
)  # fmt: skip


def test_a_life_by_hand() -> None:
    served = served_money(
        days("amount", {2: 7, 3: 10}), TWO, days("calls", {2: 900, 3: 200}), last=date(2026, 10, 31)
    )
    found = lifecycle(
        trained_money(MADE), served, model="m", version="m-1", last=date(2026, 10, 1), months=6,
        assumptions=Assumptions(retrain_every_months=2, retrain_amount=Decimal(40), retire_amount=Decimal(9)),
    )  # fmt: skip
    # October is known: 100 of training with the failed attempt, 3 of evaluation, 12 of serving on 2 days.
    assert found.phases.rows() == [
        ("train", 100, 0, 100),
        ("evaluate", 3, 0, 3),
        ("serve", 12, 151 * 6, 12 + 151 * 6),  # November to March: 151 days at 6
        ("retrain", 0, 80, 80),  # December and February
        ("retire", 0, 9, 9),
    ]
    assert found.total == exact_sum(found.months["amount"]) == 100 + 3 + 12 + 906 + 80 + 9
    assert found.inferences == 1000 + 151 * 500
    assert found.per_1000 == pytest.approx(Decimal(1110) * 1000 / 76_500)
    assert set(found.months.filter(pl.col("month") > date(2026, 10, 1))["basis"]) == {"assumption"}
    bare = lifecycle(trained_money(MADE), served, model="m", version="m-1", last=date(2026, 10, 1), months=1)
    assert (bare.total, bare.phases["assumed"].sum()) == (115, 0)


def test_a_life_that_is_not_known_says_what_is_missing() -> None:
    served = served_money(days("amount", {2: 7}), TWO, days("calls", {}), last=date(2026, 10, 31))
    trained = trained_money(MADE)
    told = {"model": "m", "last": date(2026, 10, 1)}
    assert lifecycle(trained, served, version="m-1", **told).per_1000 is None
    with pytest.raises(InputError, match="an attempt to make m-2 has no cost_usd"):
        lifecycle(trained, served, version="m-2", **told)
    with pytest.raises(InputError, match="versions that served: m-1"):
        lifecycle(trained, served, version="m-9", **told)
    with pytest.raises(InputError, match="every month or less often"):
        Assumptions(retrain_every_months=0)


def test_a_samples_versions_cost_what_ledger_and_jobs_say(sample_copy: Path) -> None:
    lab = fl.open_lab(sample_copy, progress=False)
    found = fl.model_lifecycle(lab, "larch-7b", "larch-7b-20260803", "2026-10")
    made = lab.table("training_jobs").filter(pl.col("model_version") == "larch-7b-20260803").collect()
    known = found.phases.filter(pl.col("phase").is_in(["train", "evaluate"]))["known"]
    assert exact_sum(known) == exact_sum(made["cost_usd"])
    assert found.months["month"].n_unique() == 12
    assert found.per_1000 is not None
    assert found.total == exact_sum(found.phases["amount"])
    # Of an old version the first months are told whole, also where few are asked for.
    few, many = (
        fl.model_lifecycle(lab, "larch-7b", "larch-7b-20251103", "2026-10", months=n).months for n in (1, 12)
    )
    assert few.equals(many.filter(pl.col("month") == date(2025, 11, 1)))
    assert "serve" in few["phase"]


def test_charts_say_what_they_show() -> None:
    curve = pl.DataFrame({"level": [0, 5, 10], "cost": [100, 80, 120], "hindsight": [90, 85, 70]})
    told = commitment_cost(curve, title="Units", level_title="Units").to_dict()
    assert told["description"].endswith("Of the last months it is lowest at 10: $70.00.")
    with pytest.raises(InputError, match="not found: hindsight"):
        commitment_cost(curve.drop("hindsight"), title="Units")
    with pytest.raises(InputError, match="not found: kind, gross"):
        cliff_bars(pl.DataFrame(schema={"month": pl.Date}), title="Bill")
