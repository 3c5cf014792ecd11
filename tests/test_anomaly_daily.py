"""Daily spend, judged: panels, expectations, scores, rules, events, and the planted truths of the sample."""

from __future__ import annotations

import importlib
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import decimal_sum
from hypothesis import given, settings
from hypothesis import strategies as st

import finops_lab as fl
from finops_lab.anomalies import calibrate
from finops_lab.anomalies.daily import detect
from finops_lab.anomalies.event import EVENTS, as_events, event_id
from finops_lab.anomalies.expected import START, expect
from finops_lab.anomalies.grouping import events_of, with_roots
from finops_lab.anomalies.panel import BY, Floats, Panel, daily_panel, panel_of
from finops_lab.anomalies.recurring import recurs
from finops_lab.anomalies.rules import incomplete_days, new_slices
from finops_lab.errors import InputError, NoDataError

FIRST = date(2026, 1, 5)  # a Monday
BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def ledger(rows: list[tuple[date, str, str, str, str]], currency: str = "USD") -> pl.DataFrame:
    """Entries of (day, provider, service, team, amount), the rest unknown."""
    return pl.DataFrame(
        {
            "x_ChargeDate": [row[0] for row in rows],
            "BillingCurrency": [currency] * len(rows),
            "ProviderName": [row[1] for row in rows],
            "ServiceName": [row[2] for row in rows],
            "ChargeCategory": ["Usage"] * len(rows),
            "ChargeClass": [None] * len(rows),
            "x_team": [row[3] for row in rows],
            "x_model": [None] * len(rows),
            "x_feature": [None] * len(rows),
            "EffectiveCost": [Decimal(row[4]) for row in rows],
        },
        schema_overrides={
            "ChargeClass": pl.String,
            "x_model": pl.String,
            "x_feature": pl.String,
            "EffectiveCost": pl.Decimal(38, 18),
        },
    )


def spend(days: int, slices: int = 1, *, seed: int = 1, noise: float = 0.03) -> Floats:
    """Weekdays at 100, weekends at 60, with noise."""
    week = np.where(np.arange(days) % 7 >= 5, 60.0, 100.0)
    return week * np.exp(np.random.default_rng(seed).normal(0, noise, (slices, days)))


def alarms(values: Floats, **options: Any) -> list[tuple[int, int, str]]:
    """Slice, day and direction of every alarm."""
    found = detect(panel_of(values, FIRST), **options).filter("alarm")
    return [((row[0]), (row[1] - FIRST).days, row[2]) for row in found["slice", "day", "direction"].rows()]


# --- panels


@given(
    st.lists(
        st.tuples(
            st.integers(0, 9),
            st.sampled_from(["A", "B"]),
            st.sampled_from(["x", "y"]),
            st.sampled_from(["search", "growth"]),
            st.decimals(min_value=-5, max_value=500, places=6),
        ),
        min_size=1,
        max_size=25,
    )
)
@settings(max_examples=25)
def test_every_cut_of_a_panel_adds_up_to_the_ledger(rows: list[tuple[int, str, str, str, Decimal]]) -> None:
    entries = ledger([(FIRST + timedelta(days=d), p, s, t, str(a)) for d, p, s, t, a in rows])
    panel = daily_panel(entries.lazy(), ["total", "provider", "service", "team", ("provider", "team")])
    whole = decimal_sum(row[4] for row in rows)
    amounts = panel.amounts.join(panel.names, on="slice")
    for _, cut in amounts.group_by("dimension"):
        assert cut["amount"].sum() == whole
    for at, day, amount in panel.amounts.rows():
        assert panel.values[at, (day - panel.days[0]).days] == pytest.approx(float(amount))
        assert not panel.missing[at, (day - panel.days[0]).days]
    assert panel.leaf_values.sum() == pytest.approx(float(whole))


def test_a_day_without_charges_is_zero_only_where_the_provider_charged_others() -> None:
    day = [FIRST + timedelta(days=i) for i in range(4)]
    rows = [
        (day[0], "A", "x", "search", "1"),
        (day[1], "B", "y", "search", "2"),
        (day[3], "A", "x", "growth", "3"),
    ]
    panel = daily_panel(ledger(rows), ["provider", "team"])
    known = {name: (~panel.missing[i]).tolist() for i, name in enumerate(panel.names["value"])}
    # A: nothing on days 1 and 2, and nobody else of A charged. Day 2 is unknown to all.
    assert known["A"] == [True, False, False, True]
    assert known["B"] == [False, True, False, False]
    assert known["search"] == [True, True, False, True]  # zero on day 3: the bill came, for another team
    assert known["growth"] == [False, False, False, True]


def test_a_panel_takes_closed_days_and_usage_alone_and_keeps_currencies_apart() -> None:
    rows = [(FIRST + timedelta(days=i), "A", "x", "search", "1") for i in range(5)]
    entries = pl.concat([ledger(rows), ledger(rows, "EUR")])
    tax = entries.with_columns(pl.lit("Tax").alias("ChargeCategory"))
    corrected = entries.with_columns(pl.lit("Correction").alias("ChargeClass"))
    panel = daily_panel(pl.concat([entries, tax, corrected]), ["total"], today=FIRST + timedelta(days=3))
    assert panel.names["BillingCurrency"].to_list() == ["EUR", "USD"]
    assert panel.values.tolist() == [[1.0, 1.0, 1.0]] * 2
    # The day asked for holds nothing yet: it is missing, not absent.
    asked = daily_panel(entries, ["total"], last=FIRST + timedelta(days=6))
    assert asked.missing[0].tolist() == [False] * 5 + [True] * 2


def test_a_panel_says_what_is_wrong() -> None:
    entries = ledger([(FIRST, "A", "x", "search", "1")])
    with pytest.raises(InputError, match="unknown dimension 'tem'"):
        daily_panel(entries, ["tem"])
    with pytest.raises(InputError, match="ListCost"):
        daily_panel(entries, ["total"], metric="ListCost")
    with pytest.raises(NoDataError):
        daily_panel(entries, ["total"], first=FIRST + timedelta(days=1))


# --- expectations


def test_slices_do_not_know_each_other_nor_the_future() -> None:
    values = spend(120, 4)
    values[2, :30] = np.nan  # a slice that begins later
    days = [FIRST + timedelta(days=i) for i in range(120)]
    together = expect(values, ~np.isfinite(values), days)
    for i in range(4):
        alone = expect(values[i : i + 1], ~np.isfinite(values[i : i + 1]), days)
        np.testing.assert_allclose(alone.scores[:, 0], together.scores[:, i], rtol=1e-9, atol=1e-9)
    early = expect(values[:, :90], ~np.isfinite(values[:, :90]), days[:90])
    np.testing.assert_array_equal(early.scores, together.scores[:, :, :90])
    assert np.isnan(together.log[2, : 30 + START]).all() and np.isfinite(together.log[2, 30 + START :]).all()


def test_a_spike_moves_nothing_and_a_lasting_step_is_learned_within_days() -> None:
    values = spend(150)
    days = [FIRST + timedelta(days=i) for i in range(150)]
    known = np.zeros(values.shape, bool)
    spiked, stepped = values.copy(), values.copy()
    spiked[0, 100] *= 20
    stepped[0, 100:] *= 1.5
    plain, spike, step = (np.exp(expect(v, known, days).log[0]) for v in (values, spiked, stepped))
    assert np.abs(spike[101:] / plain[101:] - 1).max() < 0.03
    assert step[101] / plain[101] < 1.2  # one day teaches little
    assert step[108:] / plain[108:] == pytest.approx(np.full(42, 1.5), rel=0.06)


def test_a_missing_day_teaches_nothing_and_a_fee_on_the_first_is_learned() -> None:
    values = spend(240)
    days = [FIRST + timedelta(days=i) for i in range(240)]
    missing = np.zeros(values.shape, bool)
    missing[0, 100] = True
    found = expect(np.where(missing, 0.0, values), missing, days)
    assert np.isnan(found.scores[:, 0, 100]).all() and np.isfinite(found.log[0, 100])
    assert np.nanmax(np.abs(found.scores[0, 0, 101:])) < 6
    firsts = np.array([day.day == 1 for day in days])
    with_fee = values + 150 * firsts
    judged = expect(with_fee, np.zeros(values.shape, bool), days)
    late = np.flatnonzero(firsts)[4:]
    assert np.exp(judged.log[0, late]) == pytest.approx(with_fee[0, late], rel=0.15)
    assert [day for _, day, _ in alarms(with_fee) if day > 120 and firsts[day]] == []


# --- scores and thresholds


def test_what_is_put_in_is_found_and_what_is_usual_is_not() -> None:
    values = spend(150, 6)
    assert len(alarms(values, false_alarms_per_month=0.1)) <= 2
    values[0, 120] *= 3
    values[1, 120] = 0
    values[2, 120:] *= 1.3
    values[3, 118:120] = 100  # days 117 and 118 of a Monday start are a weekend: 60 is usual
    saturday = next(i for i in range(118, 130) if i % 7 == 5)
    values[4, saturday : saturday + 2] = 100
    values[5, 120:] *= 1.01 ** np.arange(1, 31)
    found = alarms(values, false_alarms_per_month=0.25)
    assert (0, 120, "up") in found and (1, 120, "down") in found and (2, 120, "up") in found
    assert (4, saturday, "up") in found
    assert any(row[0] == 5 and 120 < row[1] < 145 and row[2] == "up" for row in found)


def test_thresholds_learned_on_clean_days_keep_their_budget_on_others() -> None:
    days = [FIRST + timedelta(days=i) for i in range(200)]
    known = np.zeros((150, 200), bool)
    clean = expect(spend(200, 150, seed=3, noise=0.05), known, days)
    learned = calibrate.learn([clean])
    assert (np.diff(learned.parts, axis=1) > 0).all() and (np.diff(learned.whole) > 0).all()
    score, _ = calibrate.scores(expect(spend(200, 150, seed=4, noise=0.05), known, days), learned)
    months = np.isfinite(score).sum() / calibrate.MONTH
    for budget in (0.4, 0.1):
        found = calibrate.onsets(np.nan_to_num(score, nan=-9) > calibrate.threshold(budget)).sum() / months
        assert 0.4 * budget < found < 1.4 * budget
    with pytest.raises(InputError, match="too few"):
        calibrate.learn([expect(spend(60), known[:1, :60], days[:60])])
    with pytest.raises(InputError, match="false alarms"):
        calibrate.threshold(0)


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_an_onset_has_no_alarm_in_the_three_days_before(row: list[bool]) -> None:
    found = calibrate.onsets(np.array([row]))[0].tolist()
    assert found == [on and not any(row[max(0, i - 3) : i]) for i, on in enumerate(row)]


def test_a_slice_that_was_odd_all_along_has_to_be_odder_to_be_an_alarm() -> None:
    values = spend(400, 2)
    odd = np.arange(60, 390, 9)
    values[1, odd] *= np.where(np.arange(len(odd)) % 2, 1.25, 0.8)
    values[:, 395] *= 1.25
    days = detect(panel_of(values, FIRST)).filter(pl.col("day") == FIRST + timedelta(days=395))
    calm, used = days["score"]
    assert calm > used


def test_little_history_is_unknown_not_clean() -> None:
    values = spend(100, 2)
    values[1, :80] = np.nan
    days = detect(panel_of(values, FIRST))
    states = days.filter(pl.col("slice") == 1).group_by("state", maintain_order=True).len()
    assert states.rows() == [("no charges yet", 80), ("not enough history", 20)]
    unjudged = days.filter(pl.col("state") != "judged")
    assert unjudged["alarm"].null_count() == unjudged.height == unjudged["score"].null_count()
    assert days.filter(pl.col("state") == "judged")["alarm"].null_count() == 0


# --- rules


def exported(days: int = 60, *, seed: int = 2) -> list[tuple[date, str, str, str, str]]:
    rng = np.random.default_rng(seed)
    return [
        (FIRST + timedelta(days=i), provider, service, team, f"{100 * np.exp(rng.normal(0, 0.05)):.6f}")
        for i in range(days)
        for provider, services in (("A", ("x", "y")), ("B", ("z",)))
        for service in services
        for team in ("search", "growth", "support")
    ]


def test_a_part_of_an_export_is_told_as_that_and_no_slice_is_blamed() -> None:
    cut = FIRST + timedelta(days=50)
    rows = [(d, p, s, t, str(Decimal(a) / 3) if (d, p) == (cut, "A") else a) for d, p, s, t, a in exported()]
    panel = daily_panel(ledger(rows))
    assert incomplete_days(panel).select("x_provider", "day").rows() == [("A", cut)]
    days = detect(panel)
    of_day = days.filter(pl.col("day") == cut)
    assert of_day.filter(pl.col("x_provider") == "B")["state"].unique().to_list() == ["judged"]
    assert set(of_day.filter(pl.col("x_provider").is_null() | (pl.col("x_provider") == "A"))["state"]) == {
        "export incomplete"
    }
    events = events_of(days, panel=panel)
    told = events.filter(pl.col("detector") == "incomplete export").row(0, named=True)
    assert (told["dimension"], told["value"], told["excess_amount"]) == ("provider", "A", None)
    assert told["first"] == datetime(cut.year, cut.month, cut.day, tzinfo=UTC)
    assert "export incomplete" in told["note"]
    assert events.filter((pl.col("first") == told["first"]) & (pl.col("id") != told["id"])).is_empty()


def test_no_rows_at_all_are_a_missing_export_too() -> None:
    gone = FIRST + timedelta(days=50)
    panel = daily_panel(ledger([row for row in exported() if row[0] != gone or row[1] != "A"]))
    assert incomplete_days(panel).select("x_provider", "day").rows() == [("A", gone)]
    a = panel.names.filter((pl.col("dimension") == "provider") & (pl.col("value") == "A"))["slice"][0]
    assert panel.missing[a].sum() == 1


def test_one_service_that_stops_is_spend_not_an_export() -> None:
    stop = FIRST + timedelta(days=50)
    rows = [row for row in exported() if row[0] < stop or row[2] != "x"]
    panel = daily_panel(ledger(rows))
    assert incomplete_days(panel).is_empty()
    events = events_of(detect(panel), panel=panel)
    fell = events.filter((pl.col("dimension") == "service") & (pl.col("value") == "x")).row(0, named=True)
    assert fell["direction"] == "down" and fell["excess_amount"] < -2000


def test_on_a_holiday_all_may_fall_and_the_export_is_whole() -> None:
    values = spend(90)[0]
    rows = [
        (FIRST + timedelta(days=n), "p", f"s{k}", "t", f"{amount * (0.4 if n in (70, 71, 72) else 1):.6f}")
        for n, amount in enumerate(values)
        for k in range(4)
    ]
    panel = daily_panel(ledger(rows), ("total", "service"))
    holidays = [FIRST + timedelta(days=n) for n in (70, 71, 72)]
    assert set(events_of(detect(panel), panel=panel)["detector"]) == {"incomplete export"}
    days = detect(panel, holidays=holidays)
    assert events_of(days, panel=panel).is_empty()
    assert set(days.filter(state="holiday")["day"]) == set(holidays)


def test_a_new_service_is_told_with_its_money() -> None:
    start = FIRST + timedelta(days=40)
    new = [(start + timedelta(days=i), "A", "w", "search", "70.5") for i in range(20)]
    panel = daily_panel(ledger(exported() + new))
    names = panel.names.filter(pl.col("value") == "w")
    found = new_slices(panel).row(0)
    assert found == (names["slice"][0], start, start + timedelta(days=6), Decimal("493.5"))
    events = events_of(detect(panel), panel=panel)
    first = events.filter(pl.col("detector") == "first charges").row(0, named=True)
    assert (first["value"], first["excess_amount"], first["expected"]) == ("w", Decimal("493.5"), None)
    assert events.filter((pl.col("value") == "w") & (pl.col("detector") == "daily spend")).is_empty()
    assert events_of(detect(panel), panel=panel, min_amount=1000).filter(pl.col("value") == "w").is_empty()


# --- events


def test_alarm_days_become_one_event_with_its_money_and_its_end_is_no_second_one() -> None:
    values = spend(150)
    usual = values[0, 120:125].sum()
    values[0, 120:125] *= 3
    events = events_of(detect(panel_of(values, FIRST)), min_share=0)
    event = events.filter(pl.col("first").dt.date() >= FIRST + timedelta(days=115)).row(0, named=True)
    assert (event["first"].date() - FIRST).days == 120 and (event["last"].date() - FIRST).days == 124
    assert event["actual"] == pytest.approx(3 * usual) and event["expected"] == pytest.approx(usual, rel=0.1)
    assert float(event["excess_amount"]) == pytest.approx(event["actual"] - event["expected"], abs=1e-4)
    assert event["low"] < event["expected"] < event["high"] < event["actual"]
    assert event["score"] > event["threshold"] and event["kind"] == "spend" and event["status"] == "open"
    assert events.filter(pl.col("first").dt.date() > FIRST + timedelta(days=120)).is_empty()


def test_what_is_worse_by_far_is_an_event_of_its_own_while_a_mild_one_runs() -> None:
    values = 100 * np.exp(np.random.default_rng(3).normal(0, 0.01, (1, 100)))
    values[0, 80:86] *= 1.12
    values[0, 86:89] *= 7
    mild, large = events_of(detect(panel_of(values, FIRST)), min_share=0).rows(named=True)[:2]
    assert [mild["first"].date(), mild["last"].date()] == [FIRST + timedelta(days=n) for n in (80, 85)]
    assert [large["first"].date(), large["last"].date()] == [FIRST + timedelta(days=n) for n in (86, 88)]
    assert abs(float(mild["excess_amount"]) - 72) < 15
    assert abs(float(large["excess_amount"]) - 3 * 600) < 60


def test_little_money_is_no_event() -> None:
    values = spend(150)
    values[0, 120] *= 3
    days = detect(panel_of(values, FIRST))
    excess = events_of(days).filter(pl.col("first").dt.date() == FIRST + timedelta(days=120))[
        "excess_amount"
    ][0]
    assert events_of(days, min_amount=excess)["excess_amount"].max() == excess
    assert excess not in events_of(days, min_amount=excess + Decimal("0.01"))["excess_amount"].to_list()


def test_runs_that_come_again_and_again_are_judged_by_their_size() -> None:
    """A retrain of one to three days, each 9 to 20 days at random, on machines that run all along."""
    rng, days = np.random.default_rng(1), 400
    values = 100 * np.exp(rng.normal(0, 0.03, (10, days)))
    for row in values:
        begin = int(rng.integers(0, 20))
        while begin < days - 30:
            lasts = int(rng.integers(1, 4))
            row[begin : begin + lasts] += 1000 * rng.lognormal(0, 0.15) * rng.dirichlet(np.full(lasts, 5.0))
            begin += int(rng.integers(9, 21))
        row[days - 15] += 4000
    found = detect(panel_of(values, FIRST))
    events = events_of(found)
    large = events.filter(pl.col("first").dt.date() == FIRST + timedelta(days=days - 15))
    assert large["value"].n_unique() == 10 and large["actual"].min() > 4000  # type: ignore[operator]
    usual = events.filter(pl.col("first").dt.date() < FIRST + timedelta(days=days - 30))
    months = found.filter(state="judged").height / 30.4375
    # About two runs a month: fewer than one in four is told, where one a month is bearable.
    assert usual.height <= 0.5 * months
    # What recurs has to have come at least four times, of about one size, to be that.
    assert recurs(1100.0, [1000.0] * 4) and not recurs(1100.0, [1000.0] * 3)
    assert not recurs(2000.0, [1000.0] * 8) and not recurs(1000.0, [10.0, 100.0, 1000.0, 10000.0])


def test_an_event_of_the_total_is_part_of_the_service_that_made_it() -> None:
    rows = exported(80)
    high = [FIRST + timedelta(days=60), FIRST + timedelta(days=61)]
    rows = [
        (d, p, s, t, str(Decimal(a) * 9) if (s, t) == ("x", "growth") and d in high else a)
        for d, p, s, t, a in rows
    ]
    panel = daily_panel(ledger(rows))
    events = events_of(detect(panel), panel=panel).filter(pl.col("first").dt.date() == high[0])
    by = {(row["dimension"], row["value"]): row for row in events.iter_rows(named=True)}
    root = by["service", "x"]
    assert root["cause_of"] is None and root["x_provider"] == "A"
    assert by["total", None]["cause_of"] == by["provider", "A"]["cause_of"] == root["id"]
    assert by["team", "growth"]["cause_of"] == root["id"]
    # Another provider's event on the same day has a cause of its own.
    stranger = {**root, "id": "other", "x_provider": "B", "x_service": "z", "value": "z", "cause_of": None}
    both = with_roots(pl.concat([events, pl.DataFrame([stranger], schema=EVENTS)]))
    assert both.filter(pl.col("id") == "other")["cause_of"][0] is None


def test_events_are_named_by_what_they_are_about_and_checked() -> None:
    moment = datetime(2026, 10, 5, tzinfo=UTC)
    one = event_id("spend", "EffectiveCost", "team", "search", moment)
    assert one == event_id("spend", "EffectiveCost", "team", "search", date(2026, 10, 5))
    others = {
        event_id("spend", "EffectiveCost", "team", "search", date(2026, 10, 6)),
        event_id("spend", "EffectiveCost", "team", "growth", moment),
        event_id("spend", "EffectiveCost", "team", None, moment),
        event_id("drift", "EffectiveCost", "team", "search", moment),
        event_id("spend", "EffectiveCost", "team", "search", moment, "EUR"),
    }
    assert len({one, *others}) == 6
    row = {
        "kind": "spend",
        "metric": "EffectiveCost",
        "dimension": "team",
        "value": "search",
        "first": moment,
    }
    assert as_events(pl.DataFrame([row])).schema == EVENTS
    for wrong, match in (
        ({**row, "colour": "red"}, "no such column"),
        ({**row, "kind": "odd"}, "'odd' is not allowed"),
        ({**row, "last": moment - timedelta(days=1)}, "ends before it begins"),
        ({k: v for k, v in row.items() if k != "metric"}, "needs it"),
    ):
        with pytest.raises(InputError, match=match):
            as_events(pl.DataFrame([wrong]))
    with pytest.raises(InputError, match="two events of EffectiveCost"):
        as_events(pl.DataFrame([row, row]))


# --- the sample


@pytest.fixture(scope="module")
def sample() -> tuple[Panel, pl.DataFrame]:
    panel = daily_panel(fl.allocate(fl.open_lab(progress=False)).entries, BY)
    return panel, detect(panel)


def truth() -> dict[str, Any]:
    from finops_lab.lab import packaged

    found: dict[str, Any] = json.loads((packaged("samples") / "truth.json").read_text(encoding="utf-8"))
    return found


def test_every_planted_anomaly_of_the_sample_is_found_with_its_money(
    sample: tuple[Panel, pl.DataFrame],
) -> None:
    panel, days = sample
    events = events_of(days, panel=panel)
    planted = truth()
    for one in (*planted["anomalies"], planted["runaway_retrain"]):
        first = datetime.fromisoformat(one["first_day"]).replace(tzinfo=UTC)
        slices = [(name, one[name]) for name in ("service", "team", "feature") if one[name]]
        own = events.filter(
            (pl.col("direction") == "up")
            & (pl.col("first") == first)
            & pl.any_horizontal((pl.col("dimension") == d) & (pl.col("value") == v) for d, v in slices)
        )
        money = float(one["excess_effective_cost"])
        assert any(abs(float(found) / money - 1) < 0.15 for found in own["excess_amount"]), one["id"]
        # One cause, one root: the broader slices name it.
        total = events.filter((pl.col("first") == first) & (pl.col("dimension") == "total"))
        assert total["cause_of"].null_count() == 0, one["id"]
    new = events.filter(pl.col("detector") == "first charges")
    assert new.select("dimension", "value").rows() == [("feature", planted["launch"]["feature"])]


def test_the_clean_days_of_the_sample_stay_within_the_budget_of_false_alarms(
    sample: tuple[Panel, pl.DataFrame],
) -> None:
    panel, days = sample
    planted = truth()
    changes = [one["first_day"] for one in (*planted["anomalies"], planted["runaway_retrain"])]
    changes += [
        planted["launch"]["date"],
        planted["price_change"]["date"],
        planted["mis_tagged_team"]["since"],
    ]
    # Nobody works at the turn of the year: it is no anomaly, and no weekday either.
    turns = [f"{year}-12-20" for year in (2024, 2025)]
    clean = np.ones(len(panel.days), bool)
    for day, long in (*((day, 14) for day in changes), *((day, 21) for day in turns)):
        at = (date.fromisoformat(day) - panel.days[0]).days
        clean[at : at + long] = False
    score = days["score"].fill_null(-9).to_numpy().reshape(panel.values.shape)
    months = (score > -9)[:, clean].sum() / calibrate.MONTH
    for budget in (1.0, 0.25):
        found = calibrate.onsets(score > calibrate.threshold(budget))[:, clean].sum() / months
        assert found <= 1.2 * budget


# --- against other data


def test_the_benchmark_finds_most_of_what_it_puts_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    data, bench = (importlib.import_module(name) for name in ("_anomaly_data", "anomaly_accuracy"))
    held = data.bases("held-out", 5)
    put = data.inject(held, 5, each=1)
    first = [held.first[i] for i in put.base]
    clean = bench.ours(held.values, held.first, calibrate.SHIPPED)
    with_it = bench.ours(put.values, first, calibrate.SHIPPED)
    for budget, least in ((1.0, 0.84), (0.25, 0.78)):
        limit = calibrate.threshold(budget)
        found = data.recall(with_it > limit, clean > limit, put)
        assert np.mean([share for share, _ in found.values()]) >= least
        assert data.false_alarms(clean > limit) <= 1.2 * budget
    # What begins while an alarm runs, or where the base raises one anyway, is no find.
    always = np.ones_like(with_it, bool)
    assert all(share == 0 for share, _ in data.recall(always, ~always[: len(clean)], put).values())
    same = np.isin(np.arange(data.DAYS), put.start[:1])[None] & always
    assert all(share == 0 for share, _ in data.recall(same, same[: len(clean)], put).values())


def test_nabs_scorer_gives_the_published_scores(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    nab = importlib.import_module("_anomaly_nab")
    some = ("ec2_network_in_5abac7", "grok_asg_anomaly", "iio_us-east-1_i-a2eb1cd9_NetworkIn")
    for file in nab.files():
        if file.name in some:
            tail = np.round(nab.gaussian(file.values), nab.DIGITS)
            assert nab.score(file, tail >= 1.0) == pytest.approx(nab.PUBLISHED[file.name], abs=1e-9)
