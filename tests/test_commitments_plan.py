"""Commitments: the best level against brute force, golden amounts, what is held, ladders, burn-down."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import polars as pl
import pytest
from helpers import PLAIN_TOML, cost_row, write_lab
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import finops_lab as fl
from finops_lab.cli import app
from finops_lab.config import Commitment
from finops_lab.errors import ConfigError, CurrencyError, InputError, NoDataError
from finops_lab.money import MONEY
from finops_lab.planning import demand
from finops_lab.planning.commitments import Plan, plan, regret, terms_of
from finops_lab.planning.confidence import Rule, checks, verdict
from finops_lab.planning.holdings import burn_down, coverage, held
from finops_lab.planning.ladder import held_by_month, ladder
from finops_lab.planning.levels import Terms, best_level, cost_curve

GPU = {"SkuId": ("gpu",)}
START = datetime(2025, 1, 1, tzinfo=UTC)


def demanded(pairs: list[tuple[int, int]]) -> pl.DataFrame:
    return pl.DataFrame(pairs, schema={"demand": pl.Int64, "weight": pl.Int64}, orient="row")


def paid(pairs: list[tuple[int, int]], terms: Terms, level: Fraction) -> Fraction:
    """Work the cost of a level out by hand, hour by hour."""
    above = sum(max(Fraction(d) - level * terms.covers, Fraction(0)) * w for d, w in pairs)
    return terms.committed * level * sum(w for _, w in pairs) + terms.on_demand * above


PAIRS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 4)), min_size=1, max_size=8).filter(
    lambda pairs: any(weight for _, weight in pairs)
)
TERMS = st.builds(
    lambda discount, price, covers: Terms(price * (1 - discount) * covers, Fraction(price), covers),
    st.fractions(0, Fraction(11, 12), max_denominator=12),
    st.integers(1, 9),
    st.fractions(Fraction(1, 3), 3, max_denominator=3),
)


@given(pairs=PAIRS, terms=TERMS)
def test_the_best_level_is_the_cheapest_of_all_and_the_lowest_of_those(
    pairs: list[tuple[int, int]], terms: Terms
) -> None:
    found = best_level(demanded(pairs), terms)
    # The cost is straight between two demands: one of them, or none, is the cheapest.
    options = sorted({Fraction(0), *(Fraction(d) / terms.covers for d, w in pairs if w)})
    costs = {option: paid(pairs, terms, option) for option in options}
    cheapest = [option for option in options if costs[option] == min(costs.values())]
    near = Fraction(1, 10**17)
    assert abs(Fraction(found.cost) - min(costs.values())) < near
    assert abs(Fraction(found.level) - cheapest[0]) < near
    assert abs(Fraction(found.up_to) - cheapest[-1]) < near
    assert abs(Fraction(found.saving) - (costs[Fraction(0)] - min(costs.values()))) < near


@given(pairs=PAIRS, terms=TERMS, step=st.integers(1, 5), most=st.none() | st.integers(0, 9))
def test_with_steps_it_is_the_cheapest_multiple(
    pairs: list[tuple[int, int]], terms: Terms, step: int, most: int | None
) -> None:
    found = best_level(
        demanded(pairs), terms, step=Decimal(step), most=None if most is None else Decimal(most)
    )
    top = most if most is not None else 12 * 3 + step
    options = [Fraction(level) for level in range(0, top + 1, step)]
    costs = {option: paid(pairs, terms, option) for option in options}
    cheapest = [option for option in options if costs[option] == min(costs.values())]
    assert found.level == cheapest[0]
    assert Fraction(found.up_to) <= cheapest[-1]
    assert abs(Fraction(found.cost) - min(costs.values())) < Fraction(1, 10**17)


def test_a_tie_names_the_lowest_level_and_how_far_it_goes() -> None:
    # Half the time 2, half the time 6; a unit breaks even at half: any level from 2 to 6 costs the same.
    found = best_level(demanded([(2, 5), (6, 5)]), Terms.units(Decimal(4), discount=Decimal("0.5")))
    assert (found.level, found.up_to, found.break_even) == (2, 6, Decimal("0.5"))
    assert (
        found.cost
        == cost_curve(demanded([(2, 5), (6, 5)]), Terms(Fraction(2), Fraction(4)), [Decimal(5)])["cost"][0]
    )


def test_amounts_by_hand_of_a_savings_plan() -> None:
    # 20 % off: 8 committed an hour pay for 10 of use. 100 hours of 10, 20 of 30.
    found = best_level(demanded([(10, 100), (30, 20)]), Terms.savings_plan(Decimal("0.2")))
    assert (found.level, found.committed, found.on_demand) == (8, 960, 400)
    assert (found.cost, found.cost_without, found.saving) == (1360, 1600, 240)
    assert (found.utilization, found.coverage) == (1.0, 0.75)
    assert found.break_even == Decimal("0.8")


def test_the_mean_hour_times_hours_keeps_the_level() -> None:
    whole = best_level(demanded([(10, 100), (30, 20)]), Terms.savings_plan(Decimal("0.2")))
    part = best_level(demanded([(10, 100), (30, 20)]), Terms.savings_plan(Decimal("0.2")), hours=12)
    assert part.level == whole.level
    assert part.cost == whole.cost / 10


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (pl.DataFrame({"demand": [1]}), "weight"),
        (demanded([(-1, 1)]), "negative"),
        (demanded([(1, 0)]), "no row has a weight"),
        (pl.DataFrame({"demand": [0.5], "weight": [1]}), "floats are not exact"),
    ],
)
def test_demand_that_is_none_is_refused(frame: pl.DataFrame, said: str) -> None:
    with pytest.raises(InputError, match=said):
        best_level(frame, Terms.units(Decimal(1), discount=Decimal("0.1")))


def test_prices_below_zero_are_refused() -> None:
    with pytest.raises(InputError, match="above zero"):
        Terms.units(Decimal(0), discount=Decimal("0.1"))


# Demand from the bill


def hour(start: datetime, quantity: str, hours: int = 24, **more: str | None) -> dict[str, str | None]:
    end = start + timedelta(hours=hours)
    usual: dict[str, str | None] = {"ConsumedUnit": "Hours", "ConsumedQuantity": quantity, "SkuId": "gpu"}
    usual |= {
        "BillingPeriodStart": f"{start:%Y-%m}-01T00:00:00Z",
        "BillingPeriodEnd": None,
        "ChargePeriodStart": f"{start:%Y-%m-%dT%H:%M:%SZ}",
        "ChargePeriodEnd": f"{end:%Y-%m-%dT%H:%M:%SZ}",
    }
    return cost_row(quantity, **{**usual, **more})


def bill(folder: Path, rows: list[dict[str, str | None]], toml: str = PLAIN_TOML) -> fl.Lab:
    write_lab(folder, {"aws/bill.csv": rows}, toml)
    return fl.open_lab(folder, progress=False)


def test_slots_are_hours_or_days_and_lose_nothing(tmp_path: Path) -> None:
    hourly = [hour(datetime(2026, 9, 1, h, tzinfo=UTC), f"{h}", hours=1) for h in range(24)]
    long = hour(datetime(2026, 9, 1, tzinfo=UTC), "30", hours=720)
    spare = hour(
        datetime(2026, 9, 2, tzinfo=UTC), "9", CommitmentDiscountStatus="Unused", CommitmentDiscountId="c"
    )
    late = hour(datetime(2026, 9, 3, tzinfo=UTC), "9", ChargeClass="Correction")
    lab = bill(tmp_path / "hours", [*hourly, spare, late])
    found = demand.slots(lab.costs(), GPU)
    assert (found.height, found["hours"].unique().to_list()) == (720, [1])
    assert found["quantity"].sum() == 276
    lab = bill(tmp_path / "days", [*hourly, long])
    days = demand.slots(lab.costs(), GPU)
    assert (days.height, days["hours"].unique().to_list()) == (30, [24])
    assert days["quantity"].sum() == 306
    assert days["quantity"][:2].to_list() == [277, 1]
    assert demand.price_of(days) == 1


@pytest.mark.parametrize(
    ("rows", "of", "error", "said"),
    [
        ([hour(START, "1", SkuId="cpu")], "quantity", NoDataError, "no use on the bill fits SkuId = gpu"),
        (
            [hour(START, "1"), hour(START, "1", ConsumedUnit="Minutes")],
            "quantity",
            InputError,
            "Hours, Minutes",
        ),
        ([hour(START, "1", ContractedCost=None)], "money", InputError, "ContractedCost"),
        ([hour(START, "1"), hour(START, "1", BillingCurrency="EUR")], "money", CurrencyError, "EUR"),
        ([hour(START, "1")], "hours", InputError, "quantity or money"),
    ],
)
def test_use_that_cannot_be_counted_says_why(
    tmp_path: Path, rows: list[dict[str, str | None]], of: str, error: type[Exception], said: str
) -> None:
    lab = bill(tmp_path / "lab", rows)
    with pytest.raises(error, match=said):
        demand.slots(lab.costs(), GPU, of=of)


# Offers


def use(months: int, level: int = 10, swing: int = 0) -> pl.DataFrame:
    """Return hours of use at 2 a unit: `level` all day, and `swing` more in every second month."""
    days = []
    start, month = START, 0
    while month < months:
        amount = Decimal(level + swing * (month % 2)) * 24
        days.append((start, 24, amount, amount * 2))
        start += timedelta(days=1)
        month = (start.year - START.year) * 12 + start.month - 1
    return pl.DataFrame(days, schema=demand.SLOTS, orient="row")


def sure(panel: pl.DataFrame, months: int) -> pl.DataFrame:
    """Forecast the mean day of the panel exactly, with bounds a tenth around it."""
    days = panel.select(pl.col("ds").dt.month_end().dt.day())["ds"]
    rate = panel["y"].sum() / days.sum()
    last = max(panel["ds"])
    rows = []
    for _ in range(months):
        last = (last.replace(day=28) + timedelta(days=4)).replace(day=1)
        y = rate * ((last.replace(day=28) + timedelta(days=4)).replace(day=1) - last).days
        rows.append(("demand", last, y, 0.9 * y, 1.1 * y, 0.85 * y, 1.15 * y, "sure"))
    names = ("yhat", "lo_80", "hi_80", "lo_95", "hi_95")
    schema = {"unique_id": pl.String, "ds": pl.Date, **dict.fromkeys(names, pl.Float64), "model": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def offer(**more: object) -> Commitment:
    given: dict[str, object] = {"name": "o", "kind": "reserved", "where": GPU, "discount": Decimal("0.5")}
    return Commitment.model_validate({**given, **more})


def test_an_offer_on_steady_use_is_taken_and_costs_what_it_must() -> None:
    found = plan(use(24), offer(step=Decimal(1)), forecast=sure)
    # A unit breaks even at half: of the ten forecasts, half are above 10 and half below.
    assert (found.best.level, found.recommended) == (10, True)
    assert found.best.committed == 10 * 8760
    assert found.hindsight.level == 10
    assert found.hindsight.saving == 10 * 8760
    assert found.saving_lo == 2 * 9 * 8760 - 10 * 8760
    assert found.saving_hi == 10 * 8760
    assert found.backtest["regret"].to_list() == [0, 0, 0]
    assert found.backtest["months"].to_list() == [10, 10, 10]
    assert found.curve.filter(pl.col("cost") == pl.col("cost").min())["level"][0] == 10


def test_expected_cost_is_the_mean_of_the_costs_of_its_forecasts() -> None:
    slots, terms = use(24, swing=4), Terms.units(Decimal(2), discount=Decimal("0.4"))
    ahead = sure(demand.monthly_panel(slots), 12)
    one = best_level(demand.ahead(slots, ahead), terms, hours=8760)
    parts = [
        best_level(demand.ahead(slots, ahead, p=(i + 0.5) / 10), terms, hours=8760, at=one.level).cost
        for i in range(10)
    ]
    assert abs(one.cost - sum(parts) / 10) < Decimal("0.000001")


def test_what_is_held_comes_off_the_demand() -> None:
    mine = pl.DataFrame({"covers": [Decimal(6)], "last": [None]}, schema={"covers": MONEY, "last": pl.Date})
    alone, beside = (plan(use(24), offer(step=Decimal(1)), held=rows, forecast=sure) for rows in (None, mine))
    assert (alone.best.level, beside.best.level) == (10, 4)
    assert (alone.hindsight.level, beside.hindsight.level) == (10, 4)


def test_regret_is_never_below_zero_and_decides_on_the_past_alone() -> None:
    slots = use(26, swing=6)
    terms = Terms.units(Decimal(2), discount=Decimal("0.3"))
    seen: list[date] = []

    def noted(panel: pl.DataFrame, months: int) -> pl.DataFrame:
        seen.append(max(panel["ds"]))
        return sure(panel, months)

    found = regret(slots, offer(discount=Decimal("0.3")), terms, forecast=noted)
    assert (found["regret"] >= 0).all()
    assert [last < decided for last, decided in zip(seen, found["decided"], strict=True)] == [True] * 3
    assert (
        found.select((pl.col("cost_without") - pl.col("cost")).cast(MONEY) == pl.col("saving"))
        .to_series()
        .all()
    )
    assert regret(use(12), offer(), terms, forecast=sure).is_empty()


def test_prepaid_units_are_bought_for_the_whole_term() -> None:
    found = plan(use(24), offer(kind="prepaid", term_months=3, step=Decimal(100)), forecast=sure)
    # January to March 2027 have 2,160 hours of 10; half of the forecasts need no more.
    assert found.best.level == 21_600
    assert found.hindsight.level == 22_100  # 92 days of 240, and a step of 100 beats 80 on demand
    assert found.best.committed == 21_600


def test_throughput_has_a_rate_of_its_own() -> None:
    terms = terms_of(
        offer(kind="provisioned", discount=None, rate=Decimal(3), tokens_per_hour=Decimal(1000)),
        Decimal("0.01"),
    )
    assert terms.critical == Fraction(3, 10)
    with pytest.raises(InputError, match="does not say what this use costs"):
        terms_of(offer(), None)


def test_an_offer_is_recommended_only_where_everything_holds() -> None:
    short = plan(use(6), offer(step=Decimal(1)), forecast=sure)
    assert not short.recommended
    assert "6 months of history, 12 needed" in short.reason
    assert "worst saving of the backtest is not known" in short.reason
    panel, ahead = demand.monthly_panel(use(24)), sure(demand.monthly_panel(use(24)), 12)
    given = {"term_months": 12, "saving_lo": 5.0, "worst_backtest": 4.0}
    usual = checks(panel, ahead, **given, rule=Rule(most_mase=9.0))
    assert usual["holds"].all()  # a constant has no change to scale its errors by, and none to miss
    assert verdict(usual) == (True, "recommended")
    for change, name in (
        ({"rule": Rule(most_width=0.1)}, "width of the 80 % interval"),
        ({"rule": Rule(least_months=25)}, "months of history"),
        ({"saving_lo": 0.0}, "saving at the lower bound"),
        ({"worst_backtest": -1.0}, "worst saving of the backtest"),
        ({"rule": Rule(least_coverage=1.1)}, "coverage of the 80 % interval"),
    ):
        strict = checks(panel, ahead, **{**given, **change})
        assert name in set(strict.filter(~pl.col("holds"))["check"])
        assert not verdict(strict)[0]


# What is held


def test_what_is_held_adds_up_to_what_was_planted(sample_copy: Path) -> None:
    lab = fl.open_lab(sample_copy, progress=False)
    truth = json.loads((sample_copy / "truth.json").read_text(encoding="utf-8"))["commitments"]
    found = held(lab.costs()).group_by("commitment").agg(pl.col("used", "unused", "paid", "saving").sum())
    told = {row["commitment"]: row for row in found.to_dicts()}
    assert set(told) == {one["id"] for one in truth}
    for one in truth:
        row = told[one["id"]]
        assert (row["used"], row["unused"]) == (Decimal(one["used"]), Decimal(one["unused"]))
        assert row["paid"] == Decimal(one["purchased"])
    share = coverage(lab.costs())
    assert share.filter(pl.col("month") < date(2025, 7, 1))["covered"].sum() == 0
    assert share.filter(pl.col("month") == date(2026, 10, 1)).select(
        pl.col("covered") == Decimal("29132.319744"), pl.col("coverage").round(3) == 0.286
    ).row(0) == (True, True)  # fmt: skip


def test_covered_use_without_a_price_has_no_saving(tmp_path: Path) -> None:
    mine = {"CommitmentDiscountId": "c", "CommitmentDiscountStatus": "Used"}
    lab = bill(tmp_path / "lab", [hour(START, "5", ContractedCost=None, **mine)])
    assert held(lab.costs()).select("used", "contracted", "saving").row(0) == (5, None, None)
    assert coverage(lab.costs()).select("covered", "eligible", "coverage").row(0) == (None, None, None)


# Ladder


@settings(max_examples=60)
@given(
    units=st.integers(4, 60),
    step=st.sampled_from(["1", "0.5", "10"]),
    percent=st.integers(25, 100),
    parts=st.dictionaries(st.sampled_from([12, 24, 36]), st.integers(1, 5), min_size=1),
)
def test_a_ladder_is_whole_and_never_ends_at_once(
    units: int, step: str, percent: int, parts: Mapping[int, int]
) -> None:
    size, most = Decimal(step), Decimal(percent) / 100
    terms = {term: Decimal(part) for term, part in parts.items()}
    if int(units * most) < 1:
        with pytest.raises(InputError, match="one step of"):
            ladder(units * size, terms, start=date(2026, 11, 1), most_ending=most, step=size)
        return
    rungs = ladder(units * size, terms, start=date(2026, 11, 1), most_ending=most, step=size)
    assert rungs["level"].sum() == units * size
    assert (rungs.group_by("ends").agg(pl.col("level").sum())["level"] <= units * size * most).all()
    assert all(level % size == 0 for level in rungs["level"])
    assert max(held_by_month(rungs)["level"]) <= units * size


def test_a_ladder_stays_clear_of_what_ends_anyhow() -> None:
    free = ladder(Decimal(8), {12: Decimal(1)}, start=date(2026, 11, 1))
    busy = ladder(Decimal(8), {12: Decimal(1)}, start=date(2026, 11, 1), held={date(2027, 10, 1): Decimal(2)})
    assert free["ends"][0] == date(2027, 10, 1)
    assert date(2027, 10, 1) not in busy["ends"].to_list()
    with pytest.raises(InputError, match="no multiple"):
        ladder(Decimal("8.5"), {12: Decimal(1)}, start=date(2026, 11, 1))
    with pytest.raises(InputError, match="cannot end in different months"):
        ladder(Decimal(10), {1: Decimal(1)}, start=date(2026, 11, 1))


# Burn-down


@given(
    balance=st.integers(0, 5000),
    needs=st.lists(st.integers(0, 900), min_size=4, max_size=4),
    day=st.integers(1, 28),
)
def test_prepaid_units_are_used_or_forfeited_and_never_both_gone_and_left(
    balance: int, needs: list[int], day: int
) -> None:
    months = [(date(2026, 11, 1), needs[0]), (date(2026, 12, 1), needs[1]), (date(2027, 1, 1), needs[2])]
    months += [(date(2027, 2, 1), needs[3])]
    found = burn_down(
        Decimal(balance), [(m, Decimal(n)) for m, n in months],
        first=date(2026, 11, 10), expires=date(2027, 2, day), price=Decimal("0.5"),
    )  # fmt: skip
    assert found.months["used"].sum() + found.forfeited == balance
    assert abs(2 * found.forfeited_amount - found.forfeited) <= Decimal("1E-18")
    assert found.ends <= found.expires
    if found.exhausted is not None:
        assert found.forfeited == 0
    if found.short:
        assert found.exhausted is not None


def test_burn_down_names_the_day_and_the_money() -> None:
    months = [(date(2026, 11, 1), Decimal(300)), (date(2026, 12, 1), Decimal(310))]
    soon = burn_down(Decimal(305), months, first=date(2026, 11, 1), expires=date(2026, 12, 31))
    assert soon.exhausted == date(2026, 12, 1)
    late = burn_down(
        Decimal(500), months, first=date(2026, 11, 1), expires=date(2026, 12, 10), price=Decimal(2)
    )
    assert (late.exhausted, late.forfeited, late.forfeited_amount) == (None, 100, 200)
    for first, expires, needed, said in (
        (date(2026, 12, 1), date(2026, 11, 1), months, "expired on"),
        (date(2026, 11, 1), date(2027, 1, 1), months, "2027-01 is not known"),
        (date(2026, 11, 1), date(2026, 11, 9), [(date(2026, 11, 1), Decimal(-1))], "not below zero"),
    ):
        with pytest.raises(InputError, match=said):
            burn_down(Decimal(5), needed, first=first, expires=expires)


# A lab's


TOKENS = """
[[commitments]]
name = "bought"
kind = "prepaid"
status = "held"
where = { SkuId = "gpu" }
discount = "0.5"
level = "1000"
from = 2026-08-01
to = 2026-11-30

[[commitments]]
name = "plan"
kind = "savings_plan"
where = { SkuId = "gpu" }
discount = "0.5"
"""


def test_a_labs_commitments_and_what_is_unknown_of_them(tmp_path: Path) -> None:
    covered = {"CommitmentDiscountId": "c-1", "CommitmentDiscountStatus": "Used"}
    rows = [
        hour(datetime(2026, month, 1, tzinfo=UTC), "48", **(covered if month == 9 else {}))
        for month in (7, 8, 9)
    ]
    lab = bill(tmp_path / "lab", rows, PLAIN_TOML + TOKENS)
    found = fl.commitments(lab, "2026-09")
    assert found.notes[0].startswith("c-1 is on the bill and not in [[commitments]] as held")
    assert found.offers["recommended"].to_list() == [False]
    assert found.burn_downs["bought"]["expected"].months["opening"][0] == 904
    assert (
        found.burn_downs["bought"]["expected"].forfeited_amount
        == found.burn_downs["bought"]["expected"].forfeited / 2
    )
    assert isinstance(found.plans["plan"], Plan)
    with pytest.raises(NoDataError, match="'plan': no use fits in 2026-10"):
        fl.commitments(lab, "2026-10")


def test_the_sample_has_one_offer_to_take_and_one_to_leave(sample_copy: Path) -> None:
    done = CliRunner().invoke(app, ["commitments", "--lab", str(sample_copy), "--month", "2026-10", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    one, three = told["offers"]
    assert (one["recommended"], three["recommended"]) == (True, False)
    assert three["reason"] == "not recommended: 30 months of history, 36 needed"
    assert Decimal(one["saving_lo"]) < Decimal(one["saving"]) < Decimal(one["saving_hi"])
    rungs = told["ladders"][one["commitment"]]
    assert sum(Decimal(rung["level"]) for rung in rungs) == Decimal(one["level"])
    assert told["ends"][0]["month"] == "2026-07-01"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('kind = "savings_plan"', "a discount or a rate, one of them"),
        ('kind = "savings_plan"\nrate = "1"', "write its discount"),
        ('kind = "provisioned"\nrate = "1"', "tokens_per_hour"),
        ('kind = "provisioned"\ndiscount = "0.1"\ntokens_per_hour = "5"', "no discount"),
        ('kind = "reserved"\ndiscount = "0.1"\nstatus = "held"', "says its level"),
        ('kind = "reserved"\ndiscount = "1.1"', "less than 1"),
    ],
)
def test_a_commitment_in_the_configuration_says_what_is_wrong(tmp_path: Path, lines: str, said: str) -> None:
    text = f'{PLAIN_TOML}\n[[commitments]]\nname = "c"\nwhere = {{ SkuId = "gpu" }}\n{lines}\n'
    write_lab(tmp_path / "lab", {}, text)
    with pytest.raises(ConfigError, match=said):
        fl.open_lab(tmp_path / "lab", progress=False)
