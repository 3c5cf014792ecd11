"""Service levels: events, error budgets, burn rates, alerts, coincidences, M10."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, get_args

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from finops_lab.charts.service_levels import budget_burn_down, budget_heat_map, burn_rate_lines
from finops_lab.config import Slo
from finops_lab.contracts import dtypes
from finops_lab.errors import CurrencyError, InputError
from finops_lab.money import MONEY, divided
from finops_lab.service_levels._chance import by_chance
from finops_lab.service_levels.actions import ACTIONS, actions
from finops_lab.service_levels.alerts import alerts
from finops_lab.service_levels.budgets import budget_calendar, budgets
from finops_lab.service_levels.burn import WORKBOOK, BurnWindow, burn_peaks, burn_rates, burn_series
from finops_lab.service_levels.coincidences import coincidences, served_by
from finops_lab.service_levels.daily import MOMENTS, accuracy_events, cost_events, freshness_events
from finops_lab.service_levels.events import added, events
from finops_lab.service_levels.judging import judge
from finops_lab.service_levels.kpi import DEFINITIONS, error_budget_figures
from finops_lab.service_levels.promises import allowance, promised
from finops_lab.service_levels.schemas import ALERTS, BUDGETS, BURNS, CALENDAR, EVENTS
from finops_lab.service_levels.spending import spent_series
from finops_lab.unit_economics.schemas import FIGURES

SLOT = timedelta(minutes=5)
CHAT = "chat: availability"


def at(day: int, hour: int = 0, minute: int = 0, month: int = 10, second: int = 0) -> datetime:
    return datetime(2026, month, day, hour, minute, second, tzinfo=UTC)


def slos(*rows: dict[str, Any]) -> pl.DataFrame:
    given = [{"service": "chat", "objective": "availability", "target": 0.999, **row} for row in rows or [{}]]
    whole = {name: None for name in dtypes("slos")} | {"window_days": 30, "dimension": "feature"}
    return pl.DataFrame([whole | row for row in given], schema=dtypes("slos"))


def counted(
    moments: list[datetime],
    bad: int | Callable[[datetime], int],
    total: int = 10_000,
    rows: int | None = None,
    **other: Any,
) -> pl.DataFrame:
    """Events of one objective, by default chat's availability: so many calls in every slot."""
    found = []
    each = 1 if rows is None else Fraction(total, rows)
    for moment in moments:
        failed = bad(moment) if callable(bad) else bad
        found.append(
            {"slo": CHAT, "dimension": "feature", "service": "chat", "objective": "availability"}
            | {"slot": moment, "slot_s": 300, "good": total - failed, "bad": failed, "total": total}
            | {"unknown": 0, "rows": total if rows is None else rows, "bad_usd": 0, "bad_unpriced": failed}
            | {"bad_rows": failed if rows is None else round(failed * rows / total)}
            | {"squares": total * each, "bad_squares": failed * each}
            | other
        )
    return pl.DataFrame(found, schema=EVENTS)


def slots(begin: datetime, end: datetime) -> list[datetime]:
    return [begin + i * SLOT for i in range((end - begin) // SLOT)]


def call(moment: datetime, **other: Any) -> dict[str, Any]:
    return {
        "ts_start": moment,
        "feature": "chat",
        "model": "m",
        "pool_id": None,
        "n_requests": 1,
        "sample_weight": 1.0,
        "status": "ok",
        "latency_ms": 100.0,
        "service_tier": None,
        "cost_reported_usd": None,
    } | other


def requests(*rows: dict[str, Any]) -> pl.LazyFrame:
    names = list(call(at(1)))
    return pl.LazyFrame(list(rows), schema={n: dtypes("inference_requests")[n] for n in names})


# --- events ------------------------------------------------------------------


def test_calls_are_counted_by_hand() -> None:
    log = requests(
        call(at(1, 9, 0)),
        call(at(1, 9, 4, second=59), status="error", cost_reported_usd=Decimal("0.25"), sample_weight=20.0),
        call(at(1, 9, 5), status="timeout", n_requests=3),
        call(at(1, 9, 6), status="cancelled"),
        call(at(1, 9, 6), status="pending"),
        call(at(1, 9, 6), service_tier="batch", status="error"),
        call(at(1, 9, 6), service_tier="standard", latency_ms=300.0, cost_reported_usd=Decimal(1)),
        call(at(1, 9, 7), latency_ms=None),
        call(at(1, 9, 7), latency_ms=200.0),
        call(at(1, 9, 7), feature="search", status="error"),
        call(at(1, 9, 7), feature=None, status="error"),
    )
    promises = slos({}, {"objective": "latency", "target": 0.9, "threshold_ms": 200.0})
    found = events(log, promises).collect()
    assert found.schema == pl.Schema(EVENTS)
    told = found.select(
        "objective", "slot", "good", "bad", "total", "unknown", "rows", "bad_usd", "bad_unpriced"
    )
    assert told.rows() == [
        ("availability", at(1, 9), 1, 20, 21, 0, 2, Decimal(5), 0),
        ("availability", at(1, 9, 5), 3, 3, 6, 0, 6, 0, 3),
        ("latency", at(1, 9), 1, 0, 1, 0, 1, 0, 0),
        ("latency", at(1, 9, 5), 1, 1, 2, 1, 2, Decimal(1), 0),
    ]
    with_batch = events(log, slos(), without_tiers=()).collect()
    assert with_batch["bad"].to_list() == [20, 4]


def test_services_may_be_models_and_pools() -> None:
    log = requests(call(at(1), pool_id="p", status="error"), call(at(1), pool_id="q"))
    promises = slos(
        {"service": "m", "dimension": "model"},
        {"service": "p", "dimension": "pool"},
        {"objective": "error_rate"},
    )
    found = events(log, promises).collect()
    assert found.select("slo", "dimension", "bad", "total").rows() == [
        ("chat: error_rate", "feature", 1, 2),
        ("m: availability", "model", 1, 2),
        ("p: availability", "pool", 1, 1),
    ]


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_events_of_parts_add_up_in_any_order(seed: int) -> None:
    rng = random.Random(seed)
    rows = [
        call(
            at(1) + timedelta(seconds=rng.randrange(7200)),
            sample_weight=rng.choice([1.0, 1 / 3, 4096.0]),
            status=rng.choice(["ok", "error", "cancelled"]),
            cost_reported_usd=rng.choice([None, Decimal("0.000123456789012345")]),
        )
        for _ in range(40)
    ]
    promises = slos({}, {"objective": "latency", "threshold_ms": 50.0})
    whole = events(requests(*rows), promises).collect()
    rng.shuffle(rows)
    cut = rng.randrange(len(rows))
    parts = [events(requests(*part), promises).collect() for part in (rows[cut:], rows[:cut])]
    assert_frame_equal(added(*parts).collect(), whole)


def test_objectives_and_requests_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="no column 'cost_computed_usd'"):
        events(requests(), slos(), cost="cost_computed_usd")
    with pytest.raises(InputError, match="no column 'pool_id'"):
        events(requests().drop("pool_id"), slos({"dimension": "pool"}))
    with pytest.raises(InputError, match=r"two objectives are called 'chat: availability'.*name"):
        promised(slos({}, {"target": 0.9}))
    assert promised(slos({}, {"target": 0.9, "name": "loose"}))["slo"].to_list() == [CHAT, "loose"]
    with pytest.raises(InputError, match="need the columns target"):
        promised(pl.DataFrame({"service": ["a"], "objective": ["latency"]}))
    with pytest.raises(InputError, match="between 0 and 1"):
        promised(slos({"target": 1.0}))
    with pytest.raises(InputError, match="no such objective"):
        burn_rates(counted([at(1)], 1), slos({"service": "search"}), at(2))
    assert events(requests(call(at(1))), slos({"objective": "accuracy"})).collect().is_empty()


@given(st.integers(1, 99_999))
def test_the_allowance_is_exact(thousandths: int) -> None:
    assert allowance(1 - thousandths / 100_000) == 1 - Fraction(str(1 - thousandths / 100_000))
    assert allowance(0.985) == Fraction(15, 1000)


def test_a_day_is_good_at_the_threshold_and_bad_above() -> None:
    ledger = pl.LazyFrame(
        [
            (date(2026, 10, 1), "chat", "inference", Decimal("0.2"), "USD"),
            (date(2026, 10, 1), "chat", "inference", Decimal("0.1"), "USD"),
            (date(2026, 10, 1), "chat", "training", Decimal(900), "USD"),
            (date(2026, 10, 2), "chat", "inference", Decimal("0.300000000000000001"), "USD"),
            (date(2026, 10, 3), "chat", "inference", Decimal(1), "USD"),
            (date(2026, 10, 2), "search", "inference", Decimal(7), "USD"),
        ],
        orient="row",
        schema={
            "x_ChargeDate": pl.Date,
            "x_feature": pl.String,
            "x_Activity": pl.String,
            "EffectiveCost": MONEY,
            "BillingCurrency": pl.String,
        },
    )
    calls = pl.LazyFrame(
        {"day": [date(2026, 10, d) for d in (1, 2, 2, 4)], "feature": ["chat"] * 4, "calls_ok": [3, 1, 2, 5]},
        schema_overrides={"calls_ok": pl.Decimal(38, 3)},
    )
    promises = slos({"objective": "cost_per_inference", "threshold_usd": Decimal("0.1"), "target": 0.5})
    found = cost_events(ledger, calls, promises).collect()
    assert found.schema == pl.Schema(EVENTS)
    assert found.select("slot", "slot_s", "good", "bad", "unknown", "bad_usd", "bad_unpriced").rows() == [
        (at(1), 86_400, 1, 0, 0, 0, 0),
        (at(2), 86_400, 0, 1, 0, Decimal("0.000000000000000001"), 0),
        (at(3), 86_400, 0, 0, 1, 0, 0),  # cost without calls
        (at(4), 86_400, 0, 0, 1, 0, 0),  # calls without cost
    ]
    with pytest.raises(InputError, match=r"costs are in EUR.*\[\[rates\]\]"):
        cost_events(ledger.with_columns(BillingCurrency=pl.lit("EUR")), calls, promises)
    two = pl.concat([ledger, ledger.with_columns(BillingCurrency=pl.lit("EUR"))])
    with pytest.raises(CurrencyError):
        cost_events(two, calls, promises)


def test_evaluations_are_judged_the_way_their_metric_goes() -> None:
    samples = pl.LazyFrame(
        {
            "ts": [at(1, 4), at(1, 20), at(2), at(2), at(2)],
            "model": ["m", "m", "m", "m", "n"],
            "metric": ["accuracy", "accuracy", "accuracy", "wer", "accuracy"],
            "value": [0.92, 0.919, 0.95, 0.11, 0.1],
            "higher_is_better": [True, True, True, False, True],
        }
    )
    m = {"service": "m", "dimension": "model", "objective": "accuracy", "target": 0.5}
    promises = slos(
        m | {"metric": "accuracy", "threshold": 0.92, "name": "right"},
        m | {"metric": "wer", "threshold": 0.1, "name": "words"},
    )
    found = accuracy_events(samples, promises).collect()
    assert found.schema == pl.Schema(EVENTS)
    assert found.select("slo", "slot", "good", "bad", "total", "rows").rows() == [
        ("right", at(1), 1, 1, 2, 2),
        ("right", at(2), 1, 0, 1, 1),
        ("words", at(2), 0, 1, 1, 1),
    ]


def test_freshness_looks_at_the_end_of_every_day() -> None:
    costs = pl.LazyFrame(
        {"ChargePeriodEnd": [at(2), at(2, 6), at(9)]}, schema={"ChargePeriodEnd": pl.Datetime("us", "UTC")}
    )
    promises = slos({"objective": "freshness", "table": "costs", "threshold_hours": 24.0, "target": 0.9})
    found = freshness_events(
        {"costs": costs}, promises, first=date(2026, 9, 30), last=date(2026, 10, 3)
    ).collect()
    assert found.select("slot", "good", "bad", "unknown").rows() == [
        (at(30, month=9), 0, 0, 1),  # before the first row
        (at(1), 1, 0, 0),  # midnight sharp is that day's
        (at(2), 1, 0, 0),
        (at(3), 0, 1, 0),  # 42 hours; what comes on the 9th is not there yet
    ]
    ledger = pl.LazyFrame({"x_ChargeDate": [date(2026, 10, 1)]})
    of_ledger = promises.with_columns(table=pl.lit("ledger"))
    days = freshness_events(
        {"ledger": ledger}, of_ledger, first=date(2026, 10, 1), last=date(2026, 10, 3)
    ).collect()
    assert days["good"].to_list() == [1, 1, 0], "a day of the ledger counts to its end"
    with pytest.raises(InputError, match="freshness of 'costs' was promised"):
        freshness_events({}, promises, first=date(2026, 10, 1), last=date(2026, 10, 1))


def test_every_table_that_may_be_fresh_has_a_moment() -> None:
    literal = get_args(Slo.model_fields["table"].annotation)[0]
    assert set(get_args(literal)) == set(MOMENTS)
    assert all(column in dtypes(table) for table, column in MOMENTS.items())


# --- the workbook's numbers ----------------------------------------------------


@pytest.mark.parametrize(("hours", "rate", "consumed"), [(1, 14.4, "0.02"), (6, 6, "0.05"), (72, 1, "0.10")])
def test_the_budget_that_the_workbook_says_is_consumed(hours: int, rate: float, consumed: str) -> None:
    """Table 5-8: 2 %, 5 % and 10 % of the budget of 30 days, at 99.9 %."""
    end = at(31)
    bad = counted(slots(at(1), end), lambda m: round(rate * 10) if m >= end - timedelta(hours=hours) else 0)
    (budget,) = budgets(bad, slos(), end).to_dicts()
    assert (budget["spent"], budget["estimated"], budget["period"]) == (Decimal(consumed), False, "30 days")


def test_rates_must_be_exceeded_not_reached() -> None:
    end = at(31)
    for extra, status in ((0, "calm"), (1, "burning")):
        seen = counted(slots(at(27), end), 144).with_columns(
            pl.when(pl.col("slot") == end - SLOT).then(pl.col("bad") + extra).otherwise("bad").alias("bad")
        )
        (hour, *_) = burn_rates(seen, slos(), end).to_dicts()
        assert (hour["window"], hour["status"]) == ("1 h / 5 m", status)
        assert hour["long_rate"] == pytest.approx(14.4, abs=0.01)
    assert burn_rates(seen, slos(), end)["status"].to_list() == ["burning"] * 3


def test_an_outage_spends_the_budget_of_30_days_in_43_minutes() -> None:
    """Table 5-4: at 99.9 %, an error rate of 100 % exhausts the budget in 43 minutes."""
    begin = at(20, 9)
    seen = counted(
        slots(at(1, month=9), at(1, month=11)), lambda m: 10_000 if begin <= m < begin + SLOT * 12 else 0
    )
    (budget,) = budgets(seen, slos(), begin + SLOT * 12).to_dicts()
    assert (budget["exhausted"], budget["exhaustion"]) == (begin + timedelta(minutes=45), "spent")
    (month,) = budgets(seen, slos(), at(1, month=11), calendar=True).to_dicts()
    # 31 days: 44.64 minutes.
    assert month["exhausted"] == begin + timedelta(minutes=45)
    assert month["spent"] == divided(Decimal(120_000), Decimal(89_280))
    assert month["severity"] == "page"


def test_the_short_window_ends_an_alert() -> None:
    """Long windows still burn an hour later; the short ones say that it is over."""
    begin = at(20, 9)
    seen = counted(slots(at(15), at(22)), lambda m: 1000 if begin <= m < begin + SLOT * 12 else 0)
    now, later = (burn_rates(seen, slos(), begin + timedelta(minutes=m)) for m in (60, 90))
    assert now.row(0, named=True)["status"] == "burning"
    assert later.row(0, named=True)["long_rate"] > 14.4
    assert later.row(0, named=True)["short_rate"] == 0
    assert later["status"].to_list() == ["calm", "calm", "burning"]


# --- brute force ---------------------------------------------------------------


def random_log(seed: int, days: int = 5) -> pl.DataFrame:
    rng = random.Random(seed)
    rows = [
        call(
            at(29, month=9) + timedelta(seconds=rng.randrange(days * 86_400)),
            feature=rng.choice(["chat", "search"]),
            sample_weight=rng.choice([1.0, 0.5, 20.0]),
            status=rng.choices(["ok", "error"], [0.9, 0.1])[0],
            cost_reported_usd=rng.choice([None, Decimal("0.01")]),
        )
        for _ in range(400)
    ]
    return requests(*rows).collect()


def chance_of(bad: list[float], every: list[float], share: float) -> float:
    """As likely as so many bad rows are, of so many calls of one weight."""
    from scipy.special import betainc

    squares = sum(w * w for w in bad), sum(w * w for w in every) - sum(w * w for w in bad)
    sums = sum(bad), sum(every) - sum(bad)
    parts = (1 - share) ** 2, share**2
    weight = sum(a * b for a, b in zip(parts, squares, strict=True)) / sum(
        a * b for a, b in zip(parts, sums, strict=True)
    )
    return float(betainc(sums[0] / weight, (sum(every) - sums[0]) / weight + 1, share))


TWO = slos({"target": 0.9}, {"service": "search", "target": 0.95, "budget_usd": Decimal(2)})


@pytest.mark.parametrize("seed", range(4))
def test_burn_rates_equal_brute_force(seed: int) -> None:
    log = random_log(seed)
    seen = events(log, TWO).collect()
    first, last = at(1), at(3)
    series = burn_series(seen, TWO, first, last, least_rows=3)
    assert series.schema == pl.Schema(BURNS)
    assert series.height == 2 * 3 * (2 * 288 + 1)
    rng = random.Random(seed)
    weight = dict(enumerate(log["sample_weight"]))
    calls = [(r["feature"], r["ts_start"], r["status"], weight[i]) for i, r in enumerate(log.to_dicts())]
    for row in rng.sample(series.to_dicts(), 150):
        (window,) = (w for w in WORKBOOK if w.name == row["window"])
        room = Fraction(1, 10) if row["service"] == "chat" else Fraction(1, 20)
        rates, counts, over, seen_bad = [], [], [], []
        for seconds in (window.long_s, window.short_s):
            begin = row["at"] - timedelta(seconds=seconds)
            inside = [c for c in calls if c[0] == row["service"] and begin <= c[1] < row["at"]]
            total = sum(Fraction(c[3]) for c in inside)
            bad = sum(Fraction(c[3]) for c in inside if c[2] == "error")
            rates.append(bad / total / room if total else None)
            counts.append(len(inside))
            seen_bad.append([c[3] for c in inside if c[2] == "error"])
            if seconds == window.long_s:
                weights = [c[3] for c in inside]
            over.append(bool(total) and bad / total / room > Fraction(window.rate))
        for name, rate in zip(("long_rate", "short_rate"), rates, strict=True):
            assert row[name] == (None if rate is None else pytest.approx(float(rate), rel=1e-12))
        assert (row["long_rows"], row["short_rows"]) == tuple(counts)
        assert row["exceeds"] == all(over)
        assert row["long_bad_rows"] == len(seen_bad[0])
        chance = None
        if all(over) and min(counts) >= 3:
            # Sampled where rows stand for more calls than there are rows.
            share = float(room * (Fraction(window.rate) if sum(w * w - w for w in weights) > 0 else 1))
            chance = chance_of(seen_bad[0], weights, share)
        assert row["chance"] == (None if chance is None else pytest.approx(chance, rel=1e-6))
        expected = (
            "no events"
            if rates[0] is None
            else "too few rows"
            if min(counts) < 3
            else "calm"
            if chance is None
            else "burning"
            if chance <= 0.001
            else "within chance"
        )
        assert row["status"] == expected


@pytest.mark.parametrize("seed", range(3))
def test_a_budget_spent_so_far_is_the_budget_at_that_moment(seed: int) -> None:
    seen = events(random_log(seed), TWO).collect()
    series = spent_series(seen, TWO, at(29, month=9), at(4), least_rows=3)
    rng = random.Random(seed)
    for row in rng.sample(series.to_dicts(), 40):
        budget = (
            budgets(seen, TWO, row["at"], calendar=True, least_rows=3).filter(slo=row["slo"]).to_dicts()[0]
        )
        assert row["rows"] == budget["rows"]
        if budget["spent"] is None:
            assert row["spent"] is None
        else:
            assert row["spent"] == pytest.approx(float(budget["spent"]), rel=1e-12)
        assert row["severity"] == budget["severity"]


@pytest.mark.parametrize("seed", range(3))
def test_the_days_of_a_calendar_add_up_to_the_budget(seed: int) -> None:
    seen = events(random_log(seed), TWO).collect()
    for month in (date(2026, 9, 15), date(2026, 10, 1)):
        days = budget_calendar(seen, TWO, month)
        assert days.schema == pl.Schema(CALENDAR)
        end = at(1, month=month.month + 1)
        state = budgets(seen, TWO, end, calendar=True)
        sums = days.group_by("slo").agg(pl.col("spent").sum()).sort("slo")
        assert sums["spent"].to_list() == state["spent"].to_list()
        assert days.group_by("slo").len()["len"].unique().to_list() == [30 if month.month == 9 else 31]


# --- budgets -------------------------------------------------------------------


def test_the_last_slot_of_a_month_is_the_months_own() -> None:
    seen = counted([at(30, 23, 55, month=9), at(1)], 5, total=100)
    september, october = (
        budgets(seen, slos({"target": 0.9}), end, calendar=True).to_dicts()[0] for end in (at(1), at(1, 0, 5))
    )
    assert (september["period"], september["bad"], september["total"]) == ("2026-09", 5, 100)
    assert (october["period"], october["bad"], october["until"]) == ("2026-10", 5, at(1, 0, 5))
    assert october["estimated"]
    # 5 minutes of 31 days: the month is taken to go on like that.
    assert october["allowed_bad"] == 100 * Decimal("0.1") * 31 * 288
    (rolling,) = budgets(seen, slos({"target": 0.9, "window_days": 1}), at(1, 23, 56)).to_dicts()
    assert (rolling["begin"], rolling["bad"]) == (at(30, 23, 55, month=9), 10)


def test_no_traffic_is_unknown_not_kept() -> None:
    seen = counted([at(1, month=8)], 5, total=100)
    (budget,) = budgets(seen, slos(), at(31)).to_dicts()
    assert (budget["spent"], budget["allowed_bad"], budget["reason"]) == (
        None,
        None,
        "no events in the period",
    )
    (none,) = budgets(pl.DataFrame(schema=EVENTS), slos(), at(31)).to_dicts()
    assert none["spent"] is None
    rates = burn_rates(pl.DataFrame(schema=EVENTS), slos(), at(31))
    assert rates["status"].to_list() == ["no events"] * 3
    assert rates["long_rate"].null_count() == 3
    days = budget_calendar(seen, slos(), date(2026, 10, 1))
    assert days["spent"].null_count() == days["cumulated"].null_count() == 31
    figures = error_budget_figures(seen, slos(), months=[date(2026, 10, 1)])
    assert figures["value"].null_count() == figures.height == 6
    assert set(figures["reason"]) == {
        "no events in the period",
        "too few calls were seen in every window to tell",
        "too few calls were seen in every hour to tell",
    }


def test_the_budget_is_spent_by_money_where_that_is_more() -> None:
    promise = slos({"target": 0.9, "budget_usd": Decimal(50)})
    days = slots(at(1), at(31))
    cheap = counted(days, 5, total=100, bad_usd=Decimal("0.001"), bad_unpriced=0)
    dear = counted(days, 5, total=100, bad_usd=Decimal("0.005"), bad_unpriced=0)
    (less,), (more,) = (budgets(seen, promise, at(31)).to_dicts() for seen in (cheap, dear))
    assert (less["spent"], less["spent_by"], less["spent_money"]) == (
        Decimal("0.5"),
        "events",
        Decimal("0.1728"),
    )
    assert (more["spent"], more["spent_by"], more["bad_usd"]) == (Decimal("0.864"), "money", Decimal("43.2"))
    assert (less["severity"], more["severity"]) == ("ticket", "page")
    # 6.8 USD are left, and three days cost 4.32.
    assert more["exhausted"] == at(31) + timedelta(seconds=int(Fraction("6.8") / Fraction("1.44") * 86_400))
    assert more["exhaustion"] == "projected"
    unpriced = counted(days, 5, total=100)
    (unknown,) = budgets(unpriced, promise, at(31)).to_dicts()
    assert (unknown["spent_money"], unknown["bad_usd"]) == (None, None)
    assert unknown["reason"] == "no bad event has a known cost"
    part = pl.concat([dear.with_columns(bad_unpriced=pl.lit(2, pl.Decimal(38, 3)))])
    (bound,) = budgets(part, promise, at(31)).to_dicts()
    assert bound["reason"] == "17280 bad events have no known cost: money is a lower bound"
    figures = error_budget_figures(dear, promise, months=[date(2026, 10, 1)], at=at(31)).filter(
        measure="budget_spent"
    )
    assert figures["numerator_unit"].unique().to_list() == ["USD"]
    assert figures["value"].to_list() == [Decimal("0.864")] * 2


def test_objectives_judged_by_day() -> None:
    promise = slos({"objective": "freshness", "target": 0.9, "table": "costs", "threshold_hours": 24.0})
    days = [at(d) for d in range(1, 31)]
    seen = counted(
        days,
        lambda m: int(m.day in (5, 6)),
        total=1,
        rows=1,
        slot_s=86_400,
        objective="freshness",
        slo="chat: freshness",
    )
    (budget,) = budgets(seen, promise, at(31, 15)).to_dicts()
    assert (budget["until"], budget["allowed_bad"]) == (at(31), 3)
    assert budget["spent"] == divided(Decimal(2), Decimal(3))
    assert budget["severity"] == "ticket", "a day is a fact, whatever the number of rows"
    assert burn_rates(seen, promise, at(31)).is_empty()
    found = alerts(seen, promise, at(1), at(31))
    # The second bad day of 3.1 that are allowed in October is over at the end of the 6th.
    assert found.select("severity", "kind", "begin", "end").rows() == [
        ("ticket", "budget spent", at(7), None)
    ]


def test_moments_need_a_time_zone() -> None:
    with pytest.raises(InputError, match="has no time zone"):
        budgets(counted([at(1)], 1), slos(), datetime(2026, 10, 2))
    with pytest.raises(InputError, match="whole slots"):
        BurnWindow("1 m", 60, 60, Decimal(1), "page")


# --- alerts, coincidences, actions ----------------------------------------------


def incident(rows: int | None = None) -> pl.DataFrame:
    """A deploy at 9:00 lets a quarter of the calls fail, until it is rolled back at 15:00."""
    return counted(
        slots(at(1), at(1, month=11)),
        lambda m: 2500 if at(21, 9) <= m < at(21, 15) else 20,
        rows=rows,
    )


PROMISE = slos({"target": 0.985})
DEPLOYS = pl.DataFrame(
    [
        {"ts": at(21, 8, 55), "service": "chat", "kind": "deploy", "model_version": "m-4"},
        {"ts": at(21, 9, 1), "service": "search", "kind": "config", "commit": "f00"},
        {"ts": at(21, 15), "service": "chat", "kind": "rollback", "model_version": "m-3"},
        {"ts": at(20, 9), "service": "chat", "kind": "deploy", "model_version": "m-2"},
    ],
    schema=dtypes("deploys"),
)


def test_an_incident_pages_and_ends() -> None:
    found = alerts(incident(), PROMISE, at(1), at(1, month=11))
    assert found.schema == pl.Schema(ALERTS)
    (page,) = found.filter(severity="page", kind="burn rate").to_dicts()
    # In an hour: 20 of 10,000 until 9:00, 2,500 since. 14.4 x 1.5 % is passed after 9 or 10 of 12 slots.
    rate = next(n for n in range(13) if Fraction(2500 * n + 20 * (12 - n), 120_000) > Fraction("0.216"))
    assert page["begin"] == at(21, 9) + rate * SLOT
    # Six hours and the last half an hour burn above 6 times until few of the bad slots are in it.
    recent = next(n for n in range(7) if Fraction(2500 * (6 - n) + 20 * n, 60_000) <= Fraction("0.09"))
    assert page["end"] == at(21, 15) + (recent - 1) * SLOT
    assert page["window"] == "1 h / 5 m, 6 h / 30 m"
    assert page["status"] == "proved"
    assert page["long_rate"] == pytest.approx(0.25 / 0.015)
    assert 0 < page["spent_before"] < page["spent_after"] < 1
    (ticket,) = found.filter(severity="ticket", kind="burn rate").to_dicts()
    assert ticket["window"] == "3 d / 6 h"
    assert page["begin"] < ticket["begin"] < page["end"] < ticket["end"]
    assert found.filter(kind="budget spent").is_empty()


def test_a_log_of_few_rows_proves_no_page() -> None:
    found = alerts(incident(rows=3), PROMISE, at(1), at(1, month=11))
    (page,) = found.filter(severity="page").to_dicts()
    assert page["status"] == "proved", "six hours of the log hold 18 rows in half an hour"
    assert page["window"] == "6 h / 30 m"
    thin = incident(rows=1)
    one = alerts(thin, PROMISE, at(1), at(1, month=11), least_rows=10)
    (unproven,) = one.filter(severity="page").to_dicts()
    assert unproven["status"] == "too few rows"
    assert unproven["reason"].endswith("it takes 10 to tell")
    assert actions(one).filter(severity="page").is_empty()


def test_a_row_that_adds_up_calls_proves_what_each_of_them_would() -> None:
    """An hour of failures, of 30 calls in five minutes: in one row, in 30, or in one that was sampled."""
    begin, end = at(1, 0), at(1, 7)
    moments = [(m, "error" if m >= at(1, 6) else "ok") for m in slots(begin, end)]
    added_up = events(requests(*(call(m, status=s, n_requests=30) for m, s in moments)), PROMISE)
    single = events(requests(*(call(m, status=s) for m, s in moments for _ in range(30))), PROMISE)
    assert_frame_equal(added_up.collect(), single.collect())
    fast = burn_rates(added_up, PROMISE, end).row(0, named=True)
    assert (fast["window"], fast["status"], fast["short_rows"]) == ("1 h / 5 m", "burning", 30)
    sampled = events(requests(*(call(m, status=s, sample_weight=30.0) for m, s in moments)), PROMISE)
    doubted = burn_rates(sampled, PROMISE, end).row(0, named=True)
    assert (doubted["long_rate"], doubted["status"]) == (fast["long_rate"], "too few rows")
    assert doubted["reason"].startswith("12 calls seen in the long window and 1 in the short one")


# --- more than chance ------------------------------------------------------------


@settings(max_examples=25)
@given(rows=st.integers(1, 400), part=st.floats(0.01, 1), share=st.floats(0.001, 0.999))
def test_rows_alike_are_a_binomial_test(rows: int, part: float, share: float) -> None:
    from scipy.stats import binom

    bad = max(1, round(rows * part))
    counts = {"bad": bad, "total": rows, "bad_squares": bad, "squares": rows}
    for each in (1, 4096):
        weights = {"bad": each, "total": each, "bad_squares": each**2, "squares": each**2}
        frame = pl.DataFrame(
            [{name: count * weights[name] for name, count in counts.items()} | {"share": share}]
        )
        found = by_chance(frame).row(0, named=True)
        assert (found["worth_bad"], found["worth"]) == (pytest.approx(bad), pytest.approx(rows))
        assert found["chance"] == pytest.approx(binom.sf(bad - 1, rows, share), rel=1e-6, abs=1e-300)


def test_one_row_that_stands_for_much_is_one_row() -> None:
    """A thousand good rows of one call, one bad row of a hundred: Kish's number would be ten bad ones."""
    frame = pl.DataFrame(
        {"bad": [100], "total": [1100], "bad_squares": [10_000], "squares": [11_000], "share": [0.0144]}
    )
    found = by_chance(frame).row(0, named=True)
    assert found["worth_bad"] == pytest.approx(1, abs=0.01)
    assert found["chance"] > 0.1
    # Where bad calls are all kept and good ones are sampled, bad ones count one by one.
    kept = pl.DataFrame(
        {
            "bad": [200],
            "total": [10_200],
            "bad_squares": [200],
            "squares": [200 + 100 * 100**2],
            "share": [0.0144],
        }
    )
    assert 90 < by_chance(kept)["worth_bad"].item() < 200


def outage(rows: int, each: int = 1) -> pl.DataFrame:
    """Every call fails from 9:00 for an hour; of others one in 500, as near as rows allow."""
    every = max(1, 500 // rows)
    return counted(
        slots(at(1), at(3)),
        lambda m: (
            rows * each
            if at(2, 9) <= m < at(2, 10)
            else each * max(1, rows // 500) * (((m - at(1)) // SLOT) % every == 0)
        ),
        total=rows * each,
        rows=None if each == 1 else rows,
    )


@pytest.mark.parametrize("target", [0.999, 0.985, 0.95])
@pytest.mark.parametrize("rows", [5, 10, 200, 10_000])
def test_an_outage_of_an_unsampled_log_pages_as_soon_as_without_proof(rows: int, target: float) -> None:
    rules = [{}, {"most_chance": 1}, *([{"most_chance": 1, "least_rows": 10}] if rows >= 10 else [])]
    found = [
        alerts(outage(rows), slos({"target": target}), at(2, 8), at(2, 12), **rule).filter(
            severity="page", kind="burn rate", status="proved"
        )
        for rule in rules
    ]
    assert found[0].height == 1
    for other in found[1:]:
        assert other["begin"].to_list() == found[0]["begin"].to_list()


def test_two_calls_in_five_minutes_take_one_slot_longer_to_page() -> None:
    begins = [
        alerts(outage(2), slos(), at(2, 8), at(2, 12), most_chance=most)
        .filter(severity="page", kind="burn rate", status="proved")["begin"]
        .to_list()
        for most in (1, 0.001)
    ]
    assert begins == [[at(2, 9, 5)], [at(2, 9, 10)]]


def test_a_row_or_two_are_within_chance() -> None:
    """Once in three hours one call of twelve fails, of 12 calls in an hour."""
    seen = counted(slots(at(1), at(5)), lambda m: int(m.minute == 0 and m.hour % 3 == 0), total=1)
    promise = slos({"target": 0.985})
    pair = BurnWindow("1 h / 1 h", 3600, 3600, Decimal(3), "page")
    found = alerts(seen, promise, at(4), at(5), windows=[pair], gap=timedelta(0))
    assert set(found.filter(kind="burn rate")["status"]) == {"within chance"}
    assert set(found["reason"].drop_nulls()) == {
        "1 of 12 calls seen are bad, 0.2 expected where the promise is kept"
    }
    assert actions(found.filter(kind="burn rate")).is_empty()
    sampled = seen.with_columns(squares=pl.col("total") * 4096, bad_squares=pl.col("bad") * 4096)
    sampled = sampled.with_columns(pl.col("good", "bad", "total", "squares", "bad_squares") * 4096)
    sampled = sampled.select(pl.col(name).cast(kind) for name, kind in EVENTS.items())
    thin = alerts(sampled, promise, at(4), at(5), windows=[pair], gap=timedelta(0))
    assert "1 of 12 calls seen are bad, 0.5 expected at the threshold" in thin["reason"].to_list()
    loose = alerts(seen, promise, at(4), at(5), windows=[pair], gap=timedelta(0), most_chance=1)
    assert set(loose.filter(kind="burn rate")["status"]) == {"proved"}
    figures = error_budget_figures(sampled, promise, windows=[pair]).filter(dimension="feature")
    peak, pages = (figures.filter(measure=m).to_dicts()[0] for m in ("burn_rate_peak", "fast_burn_pages"))
    assert (peak["value"], peak["reason"]) == (None, "no hour is above the allowed rate by more than chance")
    assert pages["value"] == 0


def test_a_budget_of_a_sampled_log_is_spent_when_that_is_more_than_chance() -> None:
    """1 bad row of 40 a day: 2.5 % where 2 % may be bad, and 80 % of that is 1.6 %."""
    promise = slos({"target": 0.98, "budget_usd": Decimal(1000)})
    days = [at(d, h) for d in range(1, 32) for h in range(10)]

    def log(each: int, **other: Any) -> pl.DataFrame:
        rows = counted(days, lambda m: each * (m.hour == 0), total=4 * each, rows=None if each == 1 else 4)
        return rows.with_columns(**other)

    whole, part = (
        budgets(log(each), promise, at(1, month=11), calendar=True).to_dicts()[0] for each in (1, 4096)
    )
    assert whole["spent"] == part["spent"] == Decimal("1.25")
    assert (whole["severity"], part["severity"]) == ("page", "ticket"), "every call was seen, or some"
    assert part["reason"].startswith(
        "31 of 1240 calls seen are bad, 19.8 expected at 80 % spent: within chance; "
    )
    for each, statuses in ((1, ["proved", "proved"]), (4096, ["proved", "within chance"])):
        found = alerts(log(each), promise, at(1), at(1, month=11)).filter(kind="budget spent")
        assert found.sort("severity", descending=True)["status"].to_list() == statuses
    (page,) = found.filter(severity="page").to_dicts()
    assert page["reason"] == "31 of 1240 calls seen are bad, 19.8 expected at 80 % spent: within chance"
    # Money of 31 bad rows: 900 of 1,000 USD is 1.1 times the level, and that proves nothing.
    dear = log(4096, bad_unpriced=pl.lit(0, EVENTS["bad_unpriced"])).with_columns(
        bad_usd=pl.when(pl.col("bad") > 0)
        .then(pl.lit(Decimal(900) / 31))
        .otherwise(pl.lit(Decimal(0)))
        .cast(MONEY)
    )
    (money,) = budgets(
        dear, slos({"target": 0.9, "budget_usd": Decimal(1000)}), at(1, month=11), calendar=True
    ).to_dicts()
    assert (money["spent_by"], money["severity"]) == ("money", "ticket")
    assert money["reason"] == "what 31 bad calls seen cost is 1.12 times 80 % spent: within chance"


def proved_by_chance(services: int, target: float = 0.985, hourly: float = 3.5, **options: Any) -> float:
    """Proved alerts of burn rates in 30 days of a service whose calls are bad just as often as they may.

    Rows stand for 4,096, 8,192 or 16,384 calls.
    """
    rng = random.Random(7)
    rows = [
        {
            "who": who,
            "slot": at(28, month=9) + SLOT * rng.randrange(33 * 288),
            "bad": rng.random() < 1 - target,
        }
        | {"total": rng.choice([4096, 8192, 16384])}
        for who in range(services)
        for _ in range(round(33 * 24 * hourly))
    ]
    rows = [
        {"slo": f"{row['who']}: availability", "dimension": "feature", "service": str(row["who"])}
        | {
            "objective": "availability",
            "slot": row["slot"],
            "slot_s": 300,
            "rows": 1,
            "bad_rows": int(row["bad"]),
        }
        | {"total": row["total"], "good": row["total"] * (not row["bad"]), "bad": row["total"] * row["bad"]}
        | {"squares": row["total"] ** 2, "bad_squares": row["total"] ** 2 * row["bad"]}
        | {"unknown": 0, "bad_usd": 0, "bad_unpriced": 0}
        for row in rows
    ]
    promises = slos(*({"service": str(who), "target": target} for who in range(services)))
    seen = added(pl.DataFrame(rows, schema=EVENTS))
    found = alerts(seen, promises, at(1), at(31), **options)
    return found.filter(kind="burn rate", status="proved").height / services


def test_chance_proves_less_than_one_alert_a_month_in_ten_objectives() -> None:
    """The documentation has the figures of 200 services; of ten, chance proves two alerts at most."""
    before = proved_by_chance(10, least_rows=10, most_chance=1)
    assert before > 10
    assert proved_by_chance(10) <= 0.2


def test_an_alert_that_lasts_has_no_end() -> None:
    found = alerts(incident(), PROMISE, at(1), at(21, 12))
    (page,) = found.filter(severity="page", kind="burn rate").to_dicts()
    assert page["end"] is None


def test_levels_of_the_budget_are_told_once_a_month() -> None:
    seen = counted(slots(at(1, month=9), at(1, month=11)), lambda m: 120 if m >= at(11) else 0)
    promise = slos({"target": 0.99})
    found = alerts(seen, promise, at(1), at(1, month=11)).filter(kind="budget spent")
    # 100 x 31 x 288 bad calls are allowed: 40 % are reached, exactly, after 2,976 slots from the 11th.
    assert found.select("severity", "window", "begin", "end").rows() == [
        ("ticket", "40 % of the month's budget", at(21, 8), at(31, 15, 55)),
        ("page", "80 % of the month's budget", at(31, 16), None),
    ]
    assert budgets(seen, promise, at(21, 8), calendar=True)["spent"].item() == Decimal("0.4")
    assert budgets(seen, promise, at(21, 7, 55), calendar=True)["severity"].item() is None


def test_what_coincides_is_told_nearest_first_and_never_as_a_cause() -> None:
    found = alerts(incident(), PROMISE, at(1), at(1, month=11)).filter(severity="page")
    scale = pl.DataFrame(
        {
            "ts_decision": [at(21, 9, 30)],
            "pool_id": ["p"],
            "from_units": [4.0],
            "to_units": [2.5],
            "unit": ["replica"],
        },
        schema_overrides={"ts_decision": pl.Datetime("us", "UTC")},
    )
    jobs = pl.DataFrame(
        [
            {
                "job_id": "1",
                "model": "m",
                "model_version": "m-4",
                "kind": "retrain",
                "state": "completed",
                "ts_end": at(21, 6),
            },
            {"job_id": "2", "model": "m", "kind": "retrain", "state": "failed", "ts_end": at(21, 7)},
            {"job_id": "3", "model": "m", "kind": "eval", "state": "completed", "ts_end": at(21, 8)},
        ],
        schema=dtypes("training_jobs"),
    )
    serving = served_by(requests(call(at(1), pool_id="p")), PROMISE)
    assert serving.rows() == [(CHAT, "p", "m")]
    near = coincidences(found, deploys=DEPLOYS, training_jobs=jobs, scale_events=scale, served_by=serving)
    begin = found["begin"][0]
    ago = int((begin - at(21, 8, 55)).total_seconds()) // 60
    assert near.select("rank", "what", "match").rows() == [
        (1, "deploy", "service"),
        (2, "scale", "pool"),
        (3, "training", "model"),
        (4, "retrain", "model"),
        (5, "config", None),
    ]
    assert near["words"][0] == f"coincides with a deploy of chat to m-4, {ago} min before"
    assert near["words"][1].startswith("coincides with scaling of p from 4 to 2.5 replicas, ")
    assert near["words"][4].startswith("coincides with a change of configuration of search to f00, ")
    assert not near["words"].str.contains("cause").any()
    assert coincidences(found, deploys=DEPLOYS, hours=0.1).is_empty()
    # What is judged by day has its alert when the day is over: what happened in it counts, and shortly before.
    over = found.head(1).with_columns(pl.lit("cost_per_inference").alias("objective"), begin=at(22))
    assert coincidences(over, deploys=DEPLOYS)["ts"].to_list() == [at(21, 15), at(21, 8, 55), at(21, 9, 1)]
    assert coincidences(over, deploys=DEPLOYS, hours=16).height == 4
    assert coincidences(found, deploys=DEPLOYS, most=1).height == 1
    with pytest.raises(InputError, match="above 0"):
        coincidences(found, hours=0)
    assert coincidences(found).is_empty()


def test_actions_follow_severity_and_coincidence() -> None:
    found = alerts(incident(), PROMISE, at(1), at(1, month=11))
    near = coincidences(found, deploys=DEPLOYS)
    page = pl.col("severity") == "page"
    (done,) = actions(found, near).filter(page).to_dicts()
    assert done["action"] == "Roll back the coinciding deploy"
    assert done["coincides"].startswith("coincides with a deploy of chat to m-4")
    (alone,) = actions(found).filter(page).to_dicts()
    assert alone["action"] == ACTIONS["availability", "page", ""]
    assert alone["coincides"] is None
    words = {("availability", "page", "deploy"): "Call the release manager"}
    assert actions(found, near, words=words).filter(page)["action"].to_list() == ["Call the release manager"]
    assert {(o, s) for o, s, _ in ACTIONS} == {
        (o, s) for o in get_args(Slo.model_fields["objective"].annotation) for s in ("page", "ticket")
    }


def test_a_month_is_judged_in_one_go() -> None:
    told = judge(incident(), PROMISE, date(2026, 10, 31), deploys=DEPLOYS)
    assert told.month == date(2026, 10, 1)
    assert_frame_equal(told.alerts, alerts(incident(), PROMISE, at(1), at(1, month=11)))
    assert told.budgets.schema == told.rolling.schema == pl.Schema(BUDGETS)
    assert told.calendar.height == 31
    assert told.spent.height == 31 * 24
    assert told.burn.height == 31 * 24 * 3
    assert told.coincidences["what"].to_list()[0] == "deploy"
    running = judge(incident(), PROMISE, date(2026, 10, 1), at=at(21, 12))
    assert running.budgets["until"][0] == at(21, 12)
    assert running.calendar["spent"].null_count() == 10
    assert_frame_equal(
        told.alerts,
        judge(incident().sample(fraction=1, shuffle=True, seed=1), PROMISE, date(2026, 10, 1)).alerts,
    )


def test_a_month_without_objectives_events_or_a_begin() -> None:
    nothing = pl.DataFrame(schema=EVENTS)
    told = judge(nothing, slos().clear(), date(2026, 10, 1))
    names = ("budgets", "rolling", "calendar", "spent", "burn", "alerts", "coincidences", "actions")
    assert [getattr(told, name).height for name in names] == [0] * 8
    quiet = judge(nothing, slos(), date(2026, 10, 1))
    assert (quiet.alerts.height, quiet.calendar.height, quiet.budgets["spent"].item()) == (0, 31, None)
    with pytest.raises(InputError, match="2026-10 has not begun"):
        judge(nothing, slos(), date(2026, 10, 1), at=at(1))


# --- M10 -----------------------------------------------------------------------


def test_the_figures_of_an_incident() -> None:
    both = pl.concat(
        [incident(), counted(slots(at(1), at(2)), 1, slo="search: availability", service="search")]
    )
    promises = slos({"target": 0.985}, {"service": "search", "target": 0.9})
    found = error_budget_figures(both, promises)
    assert found.schema == pl.Schema(FIGURES)
    assert {d.measure for d in DEFINITIONS} == set(found["measure"])
    bad = 72 * 2500 + (31 * 288 - 72) * 20
    room = Fraction(15, 1000) * 10_000 * 31 * 288
    whole = found.filter(pl.col("dimension").is_null())
    assert whole["numerator"].to_list() == [bad, 1, 12 * 2500]
    assert whole["denominator"].to_list() == [room, 1, 12 * 10_000 * Decimal("0.015")]
    assert [float(v) for v in whole["value"]] == pytest.approx([float(bad / room), 1, 2500 / 150])
    by = found.filter(dimension="feature")
    assert by.filter(measure="fast_burn_pages").select("key", "value").rows() == [("chat", 1), ("search", 0)]
    assert found["coverage"].drop_nulls().unique().to_list() == [1.0]
    for row in found.drop_nulls("value").iter_rows(named=True):
        assert float(row["value"]) == pytest.approx(float(row["numerator"] / row["denominator"]))


def test_months_of_figures_and_the_share_that_could_be_judged() -> None:
    seen = counted([at(1, month=8), at(1)], 1, total=100, rows=20, unknown=25)
    found = error_budget_figures(seen, slos({"service": "chat", "target": 0.9}))
    months = found.filter(pl.col("dimension").is_null(), measure="budget_spent")
    assert months["month"].to_list() == [date(2026, m, 1) for m in (8, 9, 10)]
    assert months["coverage"].to_list() == [0.8, None, 0.8]
    assert months["value"].is_null().to_list() == [False, True, False]
    assert error_budget_figures(pl.DataFrame(schema=EVENTS), slos()).is_empty()


# --- charts --------------------------------------------------------------------


def test_charts_of_service_levels() -> None:
    told = judge(incident(), PROMISE, date(2026, 10, 1), deploys=DEPLOYS)
    heat = budget_heat_map(told.calendar, title="October")
    assert "The day that spent most is 21 October" in heat.to_dict()["description"]
    down = budget_burn_down(told.spent, told.alerts, DEPLOYS.filter(service="chat"), title="chat")
    said = down.to_dict()["description"]
    assert "Alerts: 1 page" in said
    assert said.endswith("deploys: 3.")
    lines = burn_rate_lines(told.burn, title="chat")
    assert "1 h / 5 m: at most 16.7, threshold 14.4" in lines.to_dict()["description"]
    plain = budget_burn_down(told.spent, title="chat").to_dict()
    assert "Alerts: none; deploys: 0" in plain["description"]
    with pytest.raises(InputError, match="nothing to draw"):
        budget_heat_map(told.calendar.clear(), title="t")
    with pytest.raises(InputError, match="at most 6"):
        many = pl.concat([told.burn.with_columns(window=pl.lit(str(i))) for i in range(2)] * 4).head(4000)
        burn_rate_lines(many.with_columns(window=pl.int_range(pl.len()).mod(7).cast(pl.String)), title="t")
    with pytest.raises(InputError, match="no severity 'loud'"):
        budget_burn_down(told.spent, told.alerts.with_columns(severity=pl.lit("loud")), title="t")


def test_peaks_of_an_hour_hold_the_moments_that_end_in_it() -> None:
    series = burn_series(incident(), PROMISE, at(21, 9), at(21, 12))
    peaks = burn_peaks(series).filter(window="1 h / 5 m")
    assert peaks["at"].to_list() == [at(21, h) for h in (8, 9, 10, 11)]
    hour = series.filter(pl.col("at").is_between(at(21, 9), at(21, 10), closed="right"), window="1 h / 5 m")
    assert peaks["long_rate"][1] == hour["long_rate"].max()
