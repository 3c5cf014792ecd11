"""Alerts of events: page or ticket, one per cause, what holds them back, what people say of them."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finops_lab import alerting
from finops_lab.alerting.grouping import end_of, groups_of
from finops_lab.alerting.quiet import quiet_until
from finops_lab.alerting.schemas import ALERTS, STATES
from finops_lab.alerting.tuning import share_between
from finops_lab.anomalies.event import SCOPES, as_events
from finops_lab.config import Config, Quiet
from finops_lab.errors import InputError
from finops_lab.service_levels import schemas as levels
from finops_lab.unit_economics.anomaly_rate import anomaly_rate

DAY = datetime(2026, 10, 5, tzinfo=UTC)  # a Monday
NOON = DAY + timedelta(days=1, hours=12)


def event(**given: Any) -> dict[str, Any]:
    """Return 1,000 USD of team search where 400 were expected, on one day."""
    row: dict[str, Any] = {
        "kind": "spend", "detector": "daily", "metric": "EffectiveCost", "unit": "USD", "dimension": "team",
        "value": "search", "first": DAY, "grain": "day", "direction": "up", "actual": 1000.0,
        "expected": 400.0, "excess_amount": Decimal(600), "BillingCurrency": "USD", "score": 5.0,
    }  # fmt: skip
    row |= given
    scope = SCOPES.get(row["dimension"])
    return {scope: row["value"], **row} if scope else row


def events(*rows: dict[str, Any]) -> pl.DataFrame:
    names = dict.fromkeys(name for row in rows for name in row)
    return as_events(
        pl.DataFrame([{name: row.get(name) for name in names} for row in rows], infer_schema_length=None)
    )


def rules(**tables: Any) -> alerting.Rules:
    return alerting.rules_of(Config.model_validate({"lab": {"name": "synthetic"}, **tables}))


def told(found: pl.DataFrame, *names: str) -> list[tuple[Any, ...]]:
    return found.select(names or ("id", "severity", "rule", "state")).rows()


def budget(amount: str, key: str | None = "search") -> dict[str, Any]:
    named = "team" if key else None
    return {"month": "2026-10", "dimension": named, "key": key, "amount": Decimal(amount), "currency": "USD"}


def budgets(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema_overrides={"dimension": pl.String, "key": pl.String})


def test_runaway_spend_that_endangers_the_budget_pages_and_gradual_growth_is_a_ticket() -> None:
    """By hand: 600 on day 5, and 600 on each of the 26 days left, are 16,200 of 100,000."""
    found = events(event())
    (row,) = alerting.alerts(found, now=NOON, budgets=budgets(budget("100000"))).rows(named=True)
    assert (row["severity"], row["rule"], row["state"]) == ("page", "runaway against the budget", "send")
    assert row["budget_share"] == pytest.approx(27 * 600 / 100_000)
    assert row["why"] == "16% of the month's budget if it goes on, 2.5 times expected, lasts 1 day"
    assert row["sentence"] == (
        "Effective cost of team search: $1,000 where $400 was expected, since 5 October 2026 (1 day); $600 at stake."
    )
    assert (row["amount"], row["end"], row["send_at"]) == (Decimal(600), None, NOON)
    growth = events(event(actual=1000.0, expected=900.0, excess_amount=Decimal(100)))
    assert told(alerting.alerts(growth, now=NOON, budgets=budgets(budget("5000"))), "severity", "rule") == [
        ("ticket", "everything else")
    ]


def test_an_event_that_is_over_endangers_only_what_it_took() -> None:
    late = DAY + timedelta(days=10)
    found = alerting.alerts(events(event()), now=late, budgets=budgets(budget("100000")))
    assert told(found, "severity", "budget_share", "end") == [
        ("ticket", pytest.approx(0.006), DAY + timedelta(days=1))
    ]


def test_of_several_budgets_the_one_most_endangered_counts_and_another_currency_is_unknown() -> None:
    several = budgets(budget("1000000", None), budget("40000"), budget("10000"))
    late = DAY + timedelta(days=10)
    (share,) = alerting.alerts(events(event()), now=late, budgets=several)["budget_share"]
    assert share == pytest.approx(600 / 50_000), "rows of one thing add up"
    days = several.with_columns(pl.lit(date(2026, 10, 1)).alias("month"))
    assert alerting.alerts(events(event()), now=late, budgets=days)["budget_share"].to_list() == [share]
    euros = several.with_columns(pl.lit("EUR").alias("currency"))
    assert alerting.alerts(events(event()), now=late, budgets=euros)["budget_share"].to_list() == [None]


def test_an_event_over_two_months_takes_its_part_of_the_budget_of_the_second() -> None:
    """By hand: 4 days from 29 September, 1,200 in all, one of them in October; 300 of 30,000, then over."""
    found = events(event(first=datetime(2026, 9, 28, tzinfo=UTC), last=datetime(2026, 10, 1, tzinfo=UTC),
                         excess_amount=Decimal(1200)))  # fmt: skip
    (share,) = alerting.alerts(found, now=NOON, budgets=budgets(budget("30000")))["budget_share"]
    assert share == pytest.approx(300 / 30_000)


def test_without_a_budget_money_a_day_pages() -> None:
    """By hand: 25 in half an hour is 1,200 a day; 20 is 960."""
    half_hour = {"grain": "5m", "last": DAY + timedelta(minutes=25), "actual": 30.0, "expected": 5.0}
    now = DAY + timedelta(minutes=35)
    for stake, rule in ((25, "runaway without a budget"), (20, "everything else")):
        found = alerting.alerts(events(event(**half_hour, excess_amount=Decimal(stake))), now=now)
        assert told(found, "rule") == [(rule,)]
    # What it costs is not known: nothing is at stake that anybody could tell.
    unknown = event(**half_hour, excess_amount=None, metric="gpu_hours", unit="hours")
    (row,) = alerting.alerts(events(unknown), now=now).rows(named=True)
    assert (row["severity"], row["amount"]) == ("ticket", None)
    assert row["sentence"] == (
        "GPU-hours of team search: 30 hours where 5 hours was expected, since 5 October 2026, 00:00 UTC (30 minutes)."
    )


def test_own_rules_go_first_and_the_first_that_fits_counts() -> None:
    own = rules(
        sinks=[{"name": "oncall", "kind": "file", "path": "x"}],
        alerts=[
            {"name": "lab teams", "severity": "none", "where": {"x_team": "~^lab-"}},
            {"name": "large", "severity": "page", "amount_at_least": "600", "sinks": ["oncall"]},
            {"name": "everything else", "severity": "none"},
        ],
    )
    found = events(event(), event(value="lab-7"), event(value="ads", excess_amount=Decimal("599.99")))
    assert sorted(told(alerting.alerts(found, own, now=NOON), "value", "severity", "rule", "state")) == [
        ("ads", "none", "everything else", "dropped"),
        ("lab-7", "none", "lab teams", "dropped"),
        ("search", "page", "large", "send"),
    ]
    assert alerting.alerts(found, own, now=NOON)["sinks"].to_list() == [["oncall"], None, None]


def test_an_event_waits_until_it_has_lasted_long_enough_and_is_never_told_if_it_does_not() -> None:
    own = rules(alerts=[{"name": "slow", "severity": "ticket", "minutes_at_least": 30}])
    short = events(event(grain="5m", last=DAY + timedelta(minutes=15), kind="telemetry", metric="error_rate"))
    for after, state in ((21, "waiting"), (24 * 60, "short")):
        (row,) = alerting.alerts(short, own, now=DAY + timedelta(minutes=after)).rows(named=True)
        assert (row["state"], row["send_at"]) == (state, None)
        assert row["why"] == "lasts 20 minutes, and the rule asks for 30 minutes"
    long = events(event(grain="5m", last=DAY + timedelta(minutes=25), kind="telemetry", metric="error_rate"))
    assert told(alerting.alerts(long, own, now=NOON), "state") == [("send",)]


def test_small_spend_is_not_told_and_small_telemetry_is() -> None:
    own = rules(anomalies={"least_amount": "50"})
    small = events(
        event(excess_amount=Decimal("-49.99"), direction="down"),
        event(kind="telemetry", value="ads", excess_amount=Decimal(1)),
    )
    assert sorted(told(alerting.alerts(small, own, now=NOON), "value", "state")) == [
        ("ads", "send"),
        ("search", "dropped"),
    ]


# One alert for one cause.


def test_parts_of_an_event_are_one_alert_and_money_is_not_added() -> None:
    whole = event(dimension="total", value=None, id="whole", excess_amount=Decimal(650))
    parts = [
        event(id="part", cause_of="whole"),
        event(id="deep", cause_of="part", dimension="feature", value="f"),
    ]
    (row,) = alerting.alerts(events(whole, *parts), now=NOON).rows(named=True)
    assert (sorted(row["events"]), row["amount"]) == (["deep", "part", "whole"], Decimal(650))
    assert row["event"] == "whole"


def test_events_of_one_model_at_the_same_time_are_one_alert() -> None:
    spend = event(dimension="model", value="m", id="spend")
    surge = event(dimension="feature", value="chat", x_model="m", id="surge", kind="telemetry", metric="tokens",
                  grain="5m", first=DAY + timedelta(hours=3), last=DAY + timedelta(hours=4))  # fmt: skip
    other = event(dimension="model", value="n", id="other")
    later = event(dimension="model", value="m", id="later", first=DAY + timedelta(days=1))
    grouped = alerting.alerts(events(spend, surge, other, later), now=NOON)["events"].to_list()
    assert sorted(map(sorted, grouped)) == [["later"], ["other"], ["spend", "surge"]]


def test_a_spike_does_not_hide_in_a_drift_of_weeks_and_one_of_most_of_its_time_does() -> None:
    drift = event(id="drift", kind="drift", metric="tokens_per_request", last=DAY + timedelta(days=29))
    spike = event(id="spike", first=DAY + timedelta(days=12))
    long = event(
        id="long", metric="BilledCost", first=DAY + timedelta(days=14), last=DAY + timedelta(days=28)
    )
    grouped = alerting.alerts(events(drift, spike, long), now=DAY + timedelta(days=31))["events"].to_list()
    assert sorted(map(sorted, grouped)) == [["drift", "long"], ["spike"]]


@pytest.mark.parametrize(("days", "alike"), [(14, 1), (13, 2)])
def test_half_of_the_longer_one_is_what_makes_two_events_one(days: int, alike: int) -> None:
    drift = event(id="drift", kind="drift", metric="tokens_per_request", last=DAY + timedelta(days=29))
    other = event(id="other", first=DAY + timedelta(days=2), last=DAY + timedelta(days=2 + days))
    assert alerting.alerts(events(drift, other), now=DAY + timedelta(days=31)).height == alike


def test_an_alert_takes_the_severity_and_the_id_of_its_worst_event_and_begins_with_the_earliest() -> None:
    early = event(
        dimension="pool", value="h100", id="early", kind="telemetry", metric="gpu_hours", excess_amount=None
    )
    worse = event(dimension="pool", value="h100", id="worse", first=DAY + timedelta(hours=2), grain="hour",
                  excess_amount=Decimal(900))  # fmt: skip
    (row,) = alerting.alerts(events(early, worse), now=NOON).rows(named=True)
    assert (row["id"], row["event"], row["severity"], row["begin"]) == (
        "worse",
        "worse",
        "page",
        early["first"],
    )
    assert row["events"] == ["early", "worse"]


@st.composite
def sets_of_events(draw: st.DrawFn) -> list[dict[str, Any]]:
    count = draw(st.integers(0, 12))
    found = []
    for n in range(count):
        first = DAY + timedelta(hours=draw(st.integers(0, 100)))
        found.append(
            event(
                id=str(n),
                dimension=draw(st.sampled_from(["team", "model", "pool", "total"])),
                value=draw(st.sampled_from(["a", "b"])),
                x_model=draw(st.sampled_from([None, "a", "b"])),
                cause_of=draw(st.sampled_from([None, "0", "3", "absent"])),
                first=first,
                last=first + timedelta(hours=draw(st.integers(0, 60))),
                grain=draw(st.sampled_from(["day", "hour", "5m"])),
                metric=str(n),
            )
        )
    return found


@settings(max_examples=60)
@given(rows=sets_of_events(), seed=st.integers(0, 100))
def test_every_event_is_in_one_alert_whatever_their_order(rows: list[dict[str, Any]], seed: int) -> None:
    now = DAY + timedelta(days=3)
    frame = events(*rows) if rows else as_events(pl.DataFrame(schema={"kind": pl.String, "metric": pl.String,
            "dimension": pl.String, "first": pl.Datetime("us", "UTC")}))  # fmt: skip
    found = alerting.alerts(frame, now=now)
    assert found.schema == pl.Schema(ALERTS) and set(found["state"]) <= set(STATES)
    members = [name for group in found["events"].to_list() for name in group]
    assert sorted(members) == sorted(frame.filter(pl.col("first") <= now)["id"])
    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=seed)
    assert alerting.alerts(shuffled, now=now).equals(found)


def test_groups_are_the_closure_of_pairs() -> None:
    """Brute force: whoever is together with somebody is in one group with them."""
    draw = random.Random(7)
    rows = []
    for n in range(60):
        first = DAY + timedelta(hours=draw.randrange(300))
        rows.append(
            {
                "id": str(n),
                "cause_of": draw.choice([None, None, str(draw.randrange(60))]),
                "dimension": "model",
                "value": draw.choice("abc"),
                "x_model": draw.choice([None, "a", "b"]),
                "first": first,
                "last": first + timedelta(hours=draw.randrange(80)),
                "grain": "hour",
            }
        )
    rows.sort(key=lambda row: (row["first"], row["id"]))

    def together(one: dict[str, Any], other: dict[str, Any]) -> bool:
        if other["cause_of"] == one["id"] or one["cause_of"] == other["id"]:
            return True
        models = [{row["value"], row["x_model"]} - {None} for row in (one, other)]
        begin, end = max(one["first"], other["first"]), min(end_of(one), end_of(other))
        if not models[0] & models[1] or begin >= end:
            return False
        longest = max(end_of(row) - row["first"] for row in (one, other))
        return abs(one["first"] - other["first"]) < timedelta(days=1) or end - begin >= longest / 2

    sets = [{n} for n in range(60)]
    for n in range(60):
        for m in range(60):
            one, other = (next(s for s in sets if k in s) for k in (n, m))
            if one is not other and together(rows[n], rows[m]):
                sets.remove(other)
                one |= other
    assert sorted(map(sorted, sets)) == sorted(groups_of(rows)) and 1 < len(sets) < 60


# What holds alerts back.


def test_tickets_wait_for_the_morning_and_pages_do_not() -> None:
    night = rules(quiet=[{"name": "night", "hours": "22:00-07:00", "timezone": "Europe/Berlin"}])
    found = events(event(), event(value="ads", excess_amount=Decimal(5000)))
    late = DAY + timedelta(days=1, hours=21)  # 23:00 in Berlin, in summer time
    page, ticket = alerting.alerts(found, night, now=late).rows(named=True)
    assert (page["severity"], page["state"], page["send_at"]) == ("page", "send", late)
    assert (ticket["state"], ticket["quiet"]) == ("quiet", "night")
    assert ticket["send_at"] == DAY + timedelta(days=2, hours=5)
    assert ticket["why"].endswith("tickets wait until 7 October 2026, 05:00 UTC (night)")
    morning = alerting.alerts(found, night, now=ticket["send_at"])
    assert morning["state"].to_list() == ["send", "send"]


def test_windows_that_follow_each_other_are_one_wait() -> None:
    windows = [
        Quiet(name="night", hours="22:00-07:00"),
        Quiet(name="weekend", days=("sat", "sun")),
        Quiet.model_validate({"name": "freeze", "from": date(2026, 10, 12), "to": date(2026, 10, 13)}),
    ]
    friday = datetime(2026, 10, 9, 23, tzinfo=UTC)
    assert quiet_until(friday, windows) == (datetime(2026, 10, 14, 7, tzinfo=UTC), "night, weekend, freeze")
    assert quiet_until(friday - timedelta(hours=2), windows) is None
    with pytest.raises(InputError, match="tickets would wait for a year and more"):
        quiet_until(friday, [Quiet(name="always", hours="00:00-24:00")])


def test_hours_follow_the_clock_when_it_changes() -> None:
    night = [Quiet(name="night", hours="22:00-07:00", timezone="Europe/Berlin")]
    # On 25 October 2026 the night in Berlin has an hour more.
    before, after = datetime(2026, 10, 24, 20, tzinfo=UTC), datetime(2026, 10, 25, 6, tzinfo=UTC)
    assert quiet_until(before, night) == (after, "night")
    assert quiet_until(before - timedelta(seconds=1), night) is None and quiet_until(after, night) is None


def test_what_was_planned_is_not_told_but_more_than_that_is() -> None:
    test = {
        "name": "load test", "effect": "suppress", "from": DAY, "to": DAY + timedelta(hours=6),
        "where": {"x_model": "m"}, "up_to_amount": "1000",
    }  # fmt: skip
    own = rules(quiet=[test])
    model = {"dimension": "model", "value": "m"}
    for changed, state in (
        ({"excess_amount": Decimal(1000)}, "suppressed"),
        ({"excess_amount": Decimal("1000.01")}, "send"),
        ({"excess_amount": None}, "send"),
        ({"first": DAY + timedelta(hours=6), "grain": "hour"}, "suppressed"),
        ({"first": DAY + timedelta(hours=6, seconds=1), "grain": "hour"}, "send"),
        ({"value": "n"}, "send"),
    ):
        found = alerting.alerts(events(event(**{**model, **changed})), own, now=NOON)
        assert told(found, "state") == [(state,)], changed
    (row,) = alerting.alerts(events(event(**model)), own, now=NOON).rows(named=True)
    assert (row["why"], row["quiet"], row["send_at"]) == ("planned: load test", "load test", None)


@pytest.mark.parametrize(
    ("planned", "state"),
    [
        ({"kind": "one_off", "amount": "600"}, "suppressed"),
        ({"kind": "one_off", "amount": "599"}, "send"),
        ({"kind": "one_off"}, "suppressed"),
        ({"kind": "one_off", "team": "search"}, "suppressed"),
        ({"kind": "one_off", "team": "ads"}, "send"),
        ({"kind": "one_off", "dimension": "region", "key": "eu"}, "send"),
        ({"kind": "launch", "factor": "3"}, "suppressed"),
        ({"kind": "launch", "factor": "3", "from": "2026-09"}, "send"),
        ({"kind": "price_cut", "factor": "0.5"}, "send"),
        ({"kind": "migration"}, "suppressed"),
    ],
)
def test_labelled_events_of_spend_cover_their_direction_team_and_month(
    planned: dict[str, str], state: str
) -> None:
    own = rules(events=[{"name": "known", "from": "2026-10", **planned}])
    assert told(alerting.alerts(events(event()), own, now=NOON), "state") == [(state,)]


def test_a_page_passes_a_planned_event_that_does_not_say_how_large_it_is() -> None:
    large = events(event(excess_amount=Decimal(5000)))
    for amount, state in ((None, "send"), ("5000", "suppressed")):
        own = rules(events=[{"name": "known", "kind": "one_off", "from": "2026-10", "amount": amount}])
        assert told(alerting.alerts(large, own, now=NOON), "severity", "state") == [("page", state)]


def test_a_team_whose_name_looks_like_a_pattern_is_itself() -> None:
    own = rules(events=[{"name": "known", "kind": "one_off", "from": "2026-10", "team": "~a.b*"}])
    found = alerting.alerts(events(event(value="~a.b*"), event(value="a.bb")), own, now=NOON)
    assert sorted(told(found, "value", "state")) == [("a.bb", "send"), ("~a.b*", "suppressed")]


# Service levels.


def burned(**given: Any) -> dict[str, Any]:
    return {
        "slo": "chat answers", "dimension": "feature", "service": "chat", "objective": "availability",
        "begin": DAY, "end": None, "severity": "page", "kind": "burn rate", "window": "1 h / 5 m",
        "threshold": 14.4, "long_rate": 20.0, "short_rate": 30.0, "rows": 100, "spent_before": 0.1,
        "spent_after": 0.9, "status": "proved", "reason": None,
    } | given  # fmt: skip


def burns(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=levels.ALERTS)


NONE = as_events(events(event()).clear())


def test_burn_rates_and_spent_budgets_page_and_ticket_as_they_were_measured() -> None:
    spent = {
        "kind": "budget spent",
        "window": "40 % of the month's budget",
        "threshold": None,
        "long_rate": None,
    }
    found = alerting.alerts(
        NONE,
        now=NOON,
        burn=burns(
            burned(),
            burned(service="search", severity="ticket", **spent),
            burned(service="ads", status="within chance"),
        ),
    )
    page, ticket = found.rows(named=True)
    assert (page["severity"], page["value"], page["end"], page["metric"]) == (
        "page",
        "chat",
        None,
        "availability",
    )
    assert page["sentence"] == (
        "Availability of feature chat: 20 times as fast as its error budget allows (1 h / 5 m),"
        " since 5 October 2026, 00:00 UTC (36 hours)."
    )
    assert (ticket["severity"], ticket["value"]) == ("ticket", "search")
    assert "40 % of the month's budget is spent" in ticket["sentence"]


def test_a_burning_service_level_and_its_cause_are_one_page() -> None:
    slow = event(dimension="feature", value="chat", kind="failure_mode", failure_mode="F6", metric="p95_ms",
                 unit="ms", grain="5m", last=DAY + timedelta(hours=1), excess_amount=None, id="slow")  # fmt: skip
    also = burned(severity="ticket", kind="budget spent", window="40 % of the month's budget")
    (row,) = alerting.alerts(events(slow), now=DAY + timedelta(hours=2), burn=burns(burned(), also)).rows(
        named=True
    )
    assert (row["severity"], row["kind"], len(row["events"])) == ("page", "slo", 3)


def test_the_id_of_a_burning_service_level_stays_while_it_burns() -> None:
    first = alerting.alerts(NONE, now=NOON, burn=burns(burned()))["id"][0]
    ended = burned(end=NOON + timedelta(hours=3), long_rate=50.0)
    found = alerting.alerts(NONE, now=NOON + timedelta(days=1), burn=burns(ended))
    assert told(found, "id", "end") == [(first, NOON + timedelta(hours=3))]


# What people say.


def test_what_is_judged_false_or_expected_is_not_told_again_and_its_parts_neither() -> None:
    whole = event(dimension="total", value=None, id="whole", excess_amount=Decimal(9000))
    part = event(id="part", cause_of="whole", excess_amount=Decimal(8000))
    said = pl.DataFrame({"id": ["whole"], "verdict": ["expected"], "on": [None]})
    found = alerting.alerts(alerting.judged(events(whole, part), said), now=NOON)
    assert told(found, "state", "status", "why", "severity") == [
        ("closed", "expected", "judged: expected", "page")
    ]


def test_a_verdict_on_an_alert_closes_its_tickets_but_no_page_that_joins_it() -> None:
    spend = event(dimension="model", value="m", id="spend", status="expected")
    ticket = event(
        dimension="model", value="m", id="ticket", metric="tokens", kind="telemetry", excess_amount=None
    )
    page = event(dimension="model", value="m", id="zpage", metric="gpu_hours", kind="telemetry",
                 excess_amount=Decimal(9000))  # fmt: skip
    assert told(alerting.alerts(events(spend, ticket), now=NOON), "state") == [("closed",)]
    found = alerting.alerts(events(spend, ticket, page), now=NOON)
    assert told(found, "state", "event") == [("send", "zpage")]


def test_the_latest_verdict_counts_and_one_of_an_alert_is_of_its_events() -> None:
    found = events(event(id="a"), event(id="b", value="ads"), event(id="c", value="vision", cause_of="b"))
    said = pl.DataFrame(
        {
            "id": ["a", "a", "b", "b", "gone"],
            "verdict": ["confirmed", "expected", "expected", "false alarm", "confirmed"],
            "on": [date(2026, 10, 8), date(2026, 10, 7), None, None, None],
        }
    )
    status = dict(alerting.judged(found, said).select("id", "status").rows())
    assert status == {"a": "confirmed", "b": "false alarm", "c": "false alarm"}
    loose = found.with_columns(pl.lit(None, pl.String).alias("cause_of"))
    group = pl.DataFrame({"id": ["b"], "events": [["b", "c", "a"]]})
    status = dict(alerting.judged(loose, said, alerts=group).select("id", "status").rows())
    assert status == {"a": "confirmed", "b": "false alarm", "c": "false alarm"}


def test_feedback_is_read_as_people_write_it(tmp_path: Path) -> None:
    file = tmp_path / "feedback.csv"
    file.write_text(
        "\ufeffID,Verdict,by,on,comment\r\n"
        'abc, False_Alarm ,ops,2026-10-06,"a test, planned"\r\n'
        "\r\n"
        "def,EXPECTED\r\n",
        encoding="utf-8",
    )
    assert alerting.read_feedback(file).rows() == [
        ("abc", "false alarm", "ops", date(2026, 10, 6), "a test, planned"),
        ("def", "expected", None, None, None),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "id,verdict\na,confirmed\nb,maybe\n",
            r"feedback\.csv, row 2, column verdict: 'maybe' is no verdict",
        ),
        ("id,verdict\n,confirmed\n", r"row 1, column id: an id is missing"),
        (
            "id,verdict,on\na,confirmed,06.10.2026\n",
            r"row 1, column on: '06\.10\.2026' is no day.*2026-10-05",
        ),
        ("id,verdict\na,confirmed,x\n", r"row 1: has 1 more fields.*quotation marks"),
        ("id,says\na,confirmed\n", r"column says: is no column of feedback"),
        ("id,id\na,confirmed\n", r"column id: is no column of feedback.*each once"),
        ("id,by\na,ops\n", r"column verdict: the column is missing"),
        ('id,verdict\n"a,confirmed\n', r"cannot be read"),
    ],
)
def test_faults_of_feedback_name_row_and_column(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "feedback.csv").write_text(text)
    with pytest.raises(InputError, match=said):
        alerting.read_feedback(tmp_path / "feedback.csv")


def test_verdicts_feed_the_anomaly_rate() -> None:
    found = events(event(id="a"), event(id="b", value="ads"), event(id="c", value="ops"), event(id="d", cause_of="a"),
                   event(id="e", value="x"))  # fmt: skip
    said = pl.DataFrame(
        {"id": ["a", "b", "c"], "verdict": ["confirmed", "false alarm", "expected"], "on": [None] * 3}
    )
    rows = alerting.anomaly_rows(alerting.judged(found, said))
    months = anomaly_rate(rows, [date(2026, 10, 1)], by=["team"]).filter(measure="anomalies_per_month")
    figures = {row["key"]: (row["value"], row["upper"], row["coverage"]) for row in months.rows(named=True)}
    assert figures[None] == (1, 2, 0.75), "one confirmed, one open, the part not counted"
    assert figures["search"] == (1, None, 1.0) and figures["ads"] == (0, None, 1.0)


def judgements(yes: int, no: int, detector: str = "daily") -> pl.DataFrame:
    if not yes + no:
        return NONE
    rows = [
        event(
            id=f"{detector}{n}",
            detector=detector,
            value=f"{detector}{n}",
            status="confirmed" if n < yes else "false alarm",
        )
        for n in range(yes + no)
    ]
    return events(*rows)


@pytest.mark.parametrize(
    ("yes", "no", "factor"),
    [
        (0, 0, 1),
        (0, 1, 1),
        (0, 3, 0.5),
        (0, 9, 0.25),
        (2, 10, 0.5),
        (4, 4, 1),
        (3, 0, 1),
        (9, 0, 1.5),
        (60, 0, 2),
    ],
)
def test_budgets_follow_what_is_sure_and_stay_within_bounds(yes: int, no: int, factor: float) -> None:
    found = alerting.tuned(judgements(yes, no), 2.0, budgets={"daily": 0.8})
    assert found.select("detector", "before", "false_alarms_per_month").rows() == [
        ("daily", 0.8, 0.8 * factor)
    ]


def test_tuning_knows_detectors_apart_and_counts_neither_parts_nor_what_was_expected() -> None:
    parts = events(*[event(id=f"p{n}", cause_of="hourly0", value=f"p{n}", status="false alarm") for n in range(9)],
                   *[event(id=f"e{n}", value=f"e{n}", status="expected") for n in range(9)])  # fmt: skip
    found = pl.concat([judgements(1, 10, "hourly"), parts])
    rows = (
        alerting.tuned(found).select("detector", "confirmed", "false_alarms", "false_alarms_per_month").rows()
    )
    assert rows == [("daily", 0, 0, 1.0), ("hourly", 1, 10, 0.5)]
    later = alerting.tuned(found, since=DAY + timedelta(days=1))
    assert later.is_empty()
    with pytest.raises(InputError, match="must be above 0"):
        alerting.tuned(found, budgets={"daily": 0.0})


def test_the_wilson_interval_is_that_of_statsmodels() -> None:
    from statsmodels.stats.proportion import proportion_confint

    for yes, of in ((0, 1), (0, 9), (3, 7), (40, 41), (5, 5)):
        assert share_between(yes, of) == pytest.approx(proportion_confint(yes, of, 0.05, "wilson"), abs=1e-12)


def test_fatigue_counts_what_was_told_by_rule() -> None:
    """By hand: over two weeks 3 told, of them 2 judged, 1 confirmed; a suppressed one is held back."""
    own = rules(
        quiet=[{"name": "test", "effect": "suppress", "from": DAY, "to": DAY, "where": {"x_team": "lab"}}]
    )
    found = events(
        event(status="confirmed", excess_amount=Decimal(5000)),
        event(value="ads", status="false alarm"),
        event(value="vision"),
        event(value="lab"),
    )
    told = alerting.alerts(found, own, now=NOON)
    rows = alerting.fatigue(told, DAY, DAY + timedelta(days=14)).rows(named=True)
    assert [row["rule"] for row in rows] == ["everything else", "runaway without a budget", None]
    whole = rows[-1]
    assert (whole["alerts"], whole["pages"], whole["held_back"], whole["open"]) == (3, 1, 1, 1)
    assert (whole["alerts_per_week"], whole["pages_per_week"], whole["precision"]) == (1.5, 0.5, 0.5)
    assert rows[0]["precision"] == 0 and rows[1]["precision"] == 1
    empty = alerting.fatigue(told, DAY - timedelta(days=7), DAY)
    assert empty.select("alerts", "precision").rows() == [(0, None)]
    with pytest.raises(InputError, match="an end after its begin"):
        alerting.fatigue(told, DAY, DAY)


# Faults.


def test_what_cannot_be_routed_is_refused() -> None:
    with pytest.raises(InputError, match="no time zone"):
        alerting.alerts(NONE, now=datetime(2026, 10, 5))
    with pytest.raises(InputError, match="column id: an event needs it"):
        alerting.alerts(events(event()).drop("id"), now=NOON)
    with pytest.raises(InputError, match="two events have the id 'a'"):
        alerting.alerts(pl.concat([events(event(id="a"))] * 2), now=NOON)
    with pytest.raises(InputError, match="column amount: budgets need it"):
        alerting.alerts(events(event()), now=NOON, budgets=budgets(budget("1")).drop("amount"))
    with pytest.raises(InputError, match="column window"):
        alerting.alerts(NONE, now=NOON, burn=burns(burned()).drop("window"))
    with pytest.raises(InputError, match="'sideways' is not allowed"):
        alerting.alerts(events(event()).with_columns(pl.lit("sideways").alias("direction")), now=NOON)


def test_events_that_begin_later_are_not_there_yet_and_names_cannot_steer_a_terminal() -> None:
    found = events(event(value="a\x1b[2Jb\nc"), event(value="later", first=DAY + timedelta(days=9)))
    (row,) = alerting.alerts(found, now=NOON).rows(named=True)
    assert "\x1b" not in row["sentence"] and "\n" not in row["sentence"]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (
            {"alerts": [{"name": "x", "severity": "page", "where": {"x_tema": "a"}}]},
            "events have no column 'x_tema'",
        ),
        ({"alerts": [{"name": "x", "severity": "page", "where": {"value": "~("}}]}, "regular expression"),
        (
            {"alerts": [{"name": "x", "severity": "page", "sinks": ["y"]}]},
            "goes to 'y', and no sink has that name",
        ),
        ({"alerts": [{"name": "x", "severity": "page"}] * 2}, "the name 'x' stands there twice"),
        ({"quiet": [{"name": "x"}]}, "write from and to, or hours"),
        ({"quiet": [{"name": "x", "hours": "22-7"}]}, "are no hours"),
        ({"quiet": [{"name": "x", "days": ["Monday"]}]}, "is no day"),
        ({"quiet": [{"name": "x", "hours": "22:00-07:00", "timezone": "Berlin"}]}, "no time zone 'Berlin'"),
        ({"quiet": [{"name": "x", "from": "2026-10-05"}]}, "write both from and to"),
        ({"quiet": [{"name": "x", "from": "2026-10-05", "to": "2026-10-04"}]}, "`to` is before `from`"),
        ({"quiet": [{"name": "x", "from": "soon", "to": "2026-10-04"}]}, "is no day such as"),
        (
            {"quiet": [{"name": "x", "effect": "suppress", "hours": "22:00-07:00"}]},
            "suppress needs from and to",
        ),
        (
            {"quiet": [{"name": "x", "days": "sat", "where": {"value": "a"}}]},
            "where and up_to_amount are for suppress",
        ),
        ({"quiet": [{"name": "x", "days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]}]}, "for ever"),
        ({"anomalies": {"false_alarms_per_month": 0}}, "greater than 0"),
        ({"anomalies": {"least_amount": 2.5}}, "as a string"),
    ],
)
def test_faults_of_the_configuration_are_told(table: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Config.model_validate({"lab": {"name": "synthetic"}, **table})


def test_a_day_of_a_planned_window_is_all_of_it() -> None:
    whole = Quiet.model_validate({"name": "x", "effect": "suppress", "from": "2026-10-05", "to": "2026-10-05",
                                  "timezone": "Europe/Berlin"})  # fmt: skip
    assert whole.span == (DAY - timedelta(hours=2), DAY + timedelta(hours=22))
