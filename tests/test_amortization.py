"""Training spread over serving lives: golden lives, a plain reference, nothing lost, honest unknowns."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers import decimal_sum
from hypothesis import given, settings
from hypothesis import strategies as st

from finops_lab.allocation.amortization import Amortization, amortize, cost_per_inference
from finops_lab.errors import CurrencyError, InputError
from finops_lab.lab import open_lab
from finops_lab.money import MONEY, split

SAMPLES = Path(__file__).parents[1] / "data" / "samples"
LAST = date(2026, 10, 31)
JOB = {"model": pl.String, "model_version": pl.String, "state": pl.String, "cost_usd": MONEY}
DEPLOY = {
    "ts": pl.Datetime("us", "UTC"),
    "service": pl.String,
    "environment": pl.String,
    "model": pl.String,
    "model_version": pl.String,
    "kind": pl.String,
    "status": pl.String,
}
CALL = {"model": pl.String, "day": pl.Date, "n_requests": pl.Int64, "sample_weight": pl.Float64}
AUG, SEP, OCT = (date(2026, month, 1) for month in (8, 9, 10))


def jobs(*rows: tuple[str | None, str | None, str, str | None]) -> pl.LazyFrame:
    full = [(*row[:3], None if row[3] is None else Decimal(row[3])) for row in rows]
    return pl.DataFrame(full, schema=JOB, orient="row").lazy()


def deploys(*rows: tuple[str, str | None], **fields: Any) -> pl.LazyFrame:
    usual = {
        "service": "chat",
        "environment": "production",
        "model": "m",
        "kind": "deploy",
        "status": "succeeded",
    }
    full = [
        {**usual, "ts": datetime.fromisoformat(ts).replace(tzinfo=UTC), "model_version": version, **fields}
        for ts, version in rows
    ]
    return pl.DataFrame(full, schema=DEPLOY).lazy()


def calls(*rows: tuple[str, str, int, float]) -> pl.LazyFrame:
    full = [(model, date.fromisoformat(day), n, weight) for model, day, n, weight in rows]
    return pl.DataFrame(full, schema=CALL, orient="row").lazy()


TRAINING = jobs(
    ("m", "v1", "failed", "10.00"),
    ("m", "v1", "completed", "20.50"),
    ("m", "v1", "cancelled", "1.50"),
    ("m", "v2", "completed", "365"),
    ("m", "v2", "running", None),
    ("m", "v3", "preempted", "7"),
    ("m", None, "completed", "0.25"),
)
DEPLOYS = deploys(("2026-08-30T12:00", "v1"), ("2026-10-01T00:00", "v2"))
CALLS = calls(
    ("m", "2026-08-01", 1_000, 1.0),  # before the life began
    ("m", "2026-08-30", 50, 1.0),
    ("m", "2026-08-31", 25, 2.0),
    ("m", "2026-09-10", 100, 2.504),
    ("m", "2026-09-30", 49, 1.0),
    ("m", "2026-10-01", 5_000, 1.0),
    ("n", "2026-09-15", 9_999, 1.0),
)


def plan(found: Amortization, version: str) -> list[tuple[date, Decimal, str, int]]:
    return found.schedule.filter(model_version=version).select("month", "amount", "basis", "weight").rows()


# --- golden -----------------------------------------------------------------------------------------


def test_golden_by_inferences() -> None:
    found = amortize(TRAINING, DEPLOYS, CALLS, last=LAST)
    # 50 + 50 calls in August; 250.4 + 49 in September, 299 whole ones.
    parts = split(Decimal(32), [100, 299])
    assert plan(found, "v1") == [(AUG, parts[0], "inferences", 100), (SEP, parts[1], "inferences", 299)]
    # Still serving: 31 of the 365 days of twelve months.
    assert plan(found, "v2") == [(OCT, Decimal(31), "days", 31)]
    began, changed = datetime(2026, 8, 30, 12, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC)
    zero = Decimal(0)
    assert found.capitalised.drop("model", "BillingCurrency").rows() == [
        ("v1", 3, 2, 0, Decimal(32), began, changed, "inferences", Decimal(32), zero, zero),
        ("v2", 2, 0, 1, Decimal(365), changed, None, "days", Decimal(31), Decimal(334), zero),
        ("v3", 1, 1, 0, Decimal(7), None, None, None, zero, zero, Decimal(7)),
        (None, 1, 0, 0, Decimal("0.25"), None, None, None, zero, zero, Decimal("0.25")),
    ]
    assert found.never_served["model_version"].to_list() == ["v3", None]
    assert repr(found).startswith("Amortization(4 model versions, 2 never served;")


def test_golden_by_time() -> None:
    found = amortize(TRAINING, DEPLOYS, by="time", last=LAST)
    assert plan(found, "v1") == [(AUG, Decimal(2), "days", 2), (SEP, Decimal(30), "days", 30)]
    assert plan(found, "v2") == [(OCT, Decimal(31), "days", 31)]


def test_a_new_version_restates_the_life_it_ends() -> None:
    early = amortize(TRAINING, DEPLOYS, by="time", last=date(2026, 9, 30))
    # On September 30 nobody knows of v2: 32 of 365 days.
    parts = split(Decimal(32), [2, 30, 333])
    assert [row[1] for row in plan(early, "v1")] == parts[:2]
    assert early.capitalised.filter(model_version="v1")["remaining"].to_list() == parts[2:]
    assert early.never_served["model_version"].to_list() == ["v2", "v3", None]


@pytest.mark.parametrize(("months", "amortised"), [(1, "31"), (2, "31"), (24, "31")])
def test_the_planned_life_is_a_parameter(months: int, amortised: str) -> None:
    days = {1: 31, 2: 61, 24: 731}[months]  # 24 months from October 2026 hold a leap day
    found = amortize(
        jobs(("m", "v2", "completed", str(days))), DEPLOYS, by="time", last=LAST, life_months=months
    )
    assert found.capitalised.select("amortised", "remaining").rows() == [
        (Decimal(amortised), Decimal(days - 31))
    ]


def test_past_its_planned_life_a_version_costs_nothing_more() -> None:
    found = amortize(
        jobs(("m", "v1", "completed", "31")),
        deploys(("2026-07-31T05:00", "v1")),
        by="time",
        last=LAST,
        life_months=1,
    )
    # July 31 and August 1 to 30: a month from July 31 ends on August 31.
    assert plan(found, "v1") == [
        (date(2026, 7, 1), Decimal(1), "days", 1),
        (AUG, Decimal(30), "days", 30),
        (SEP, Decimal(0), "days", 0),
        (OCT, Decimal(0), "days", 0),
    ]
    assert found.capitalised["remaining"].to_list() == [Decimal(0)]


def test_what_begins_a_life_and_what_does_not() -> None:
    events = pl.concat(
        [
            deploys(("2026-09-01T00:00", "v1"), ("2026-09-05T00:00", "v1")),  # again: goes on
            deploys(("2026-09-06T00:00", "v2"), status="failed"),
            deploys(("2026-09-07T00:00", "v2"), status="running"),
            deploys(("2026-09-08T00:00", "v2"), kind="config"),
            deploys(("2026-09-09T00:00", None)),
            deploys(("2026-09-10T00:00", "v3"), service="search"),  # another service
            deploys(("2026-09-10T00:00", "v4"), model="n"),  # another model
            deploys(("2026-09-11T00:00", "v2"), status=None),
            deploys(("2026-09-13T00:00", "v1"), kind="rollback"),
            deploys(("2026-09-15T06:00", "v2")),
            deploys(("2026-11-01T00:00", "v1")),  # after the last day of data
        ]
    )
    training = jobs(*(("m", version, "completed", "1") for version in ("v1", "v2", "v3")))
    found = amortize(training, events, by="time", last=LAST)
    lives = {
        row[0]: row[1:]
        for row in found.capitalised.select("model_version", "serving_from", "serving_to").rows()
    }
    moment = {day: datetime(2026, 9, day, tzinfo=UTC) for day in (1, 10, 11)}
    assert lives == {
        "v1": (moment[1], datetime(2026, 9, 15, 6, tzinfo=UTC)),
        "v2": (moment[11], None),
        "v3": (moment[10], None),
    }
    # September 1 to 10, and 13 to 15 after the rollback.
    assert [row[3] for row in plan(found, "v1")] == [13]
    assert [row[3] for row in plan(found, "v2")] == [2 + 16, 31]


def test_a_version_replaced_at_once_never_served() -> None:
    found = amortize(
        jobs(("m", "v1", "completed", "5")),
        deploys(("2026-09-01T00:00", "v1"), ("2026-09-01T00:00", "v2")),
        by="time",
        last=LAST,
    )
    assert found.never_served["never_served"].to_list() == [Decimal(5)]


@pytest.mark.parametrize(
    "seen",
    [
        calls(("m", "2026-09-01", 5, 1.0), ("m", "2026-10-05", 5, 1.0)),  # begins after the life
        calls(("m", "2026-08-01", 5, 1.0), ("m", "2026-09-05", 5, 1.0)),  # ends before it
        calls(("n", "2026-08-01", 5, 1.0), ("n", "2026-10-05", 5, 1.0)),  # of another model
        calls(("m", "2026-08-30", 5, 0.0), ("m", "2026-09-30", 5, 0.0)),  # stand for none
        calls(),
    ],
)
def test_months_without_telemetry_are_unknown_not_idle(seen: pl.LazyFrame) -> None:
    found = amortize(TRAINING, DEPLOYS, seen, last=LAST)
    assert plan(found, "v1") == [(AUG, Decimal(2), "days", 2), (SEP, Decimal(30), "days", 30)]


def test_a_bill_can_carry_the_money() -> None:
    schema = {"model": pl.String, "model_version": pl.String, "BillingCurrency": pl.String, "amount": MONEY}
    rows = [
        ("m", "v1", "USD", Decimal(20)),
        ("m", "v1", "USD", Decimal(12)),
        ("m", "v1", "EUR", Decimal("-0.32")),
        ("m", "v9", "EUR", None),
    ]
    found = amortize(pl.DataFrame(rows, schema=schema, orient="row").lazy(), DEPLOYS, by="time", last=LAST)
    assert found.schedule.select("BillingCurrency", "month", "amount").rows() == [
        ("EUR", AUG, Decimal("-0.02")),
        ("EUR", SEP, Decimal("-0.30")),
        ("USD", AUG, Decimal(2)),
        ("USD", SEP, Decimal(30)),
    ]
    assert found.capitalised.select("attempts", "failed_attempts", "unpriced_attempts", "amount").rows() == [
        (None, None, 0, Decimal("-0.32")),
        (None, None, 0, Decimal(32)),
        (None, None, 1, None),
    ]
    assert found.never_served.select("amortised", "remaining", "never_served").rows() == [(None, None, None)]


def test_unknown_money_stays_unknown() -> None:
    found = amortize(jobs(("m", "v1", "completed", None)), DEPLOYS, by="time", last=LAST)
    assert found.schedule.is_empty()
    unknown = found.capitalised.select(
        "amount", "amortised", "remaining", "never_served", "unpriced_attempts"
    )
    assert unknown.rows() == [(None, None, None, None, 1)]


def test_a_model_that_one_table_does_not_name() -> None:
    training = jobs((None, "v1", "completed", "3"), ("m", "v1", "failed", "1"), ("m", "v2", "completed", "2"))
    events = pl.concat([deploys(("2026-09-01T00:00", "v1")), deploys(("2026-09-02T00:00", "v2"), model=None)])
    found = amortize(training, events, by="time", last=LAST)
    assert found.capitalised.select("model", "model_version", "attempts", "amount").rows() == [
        ("m", "v1", 2, Decimal(4)),
        ("m", "v2", 1, Decimal(2)),
    ]
    assert found.never_served.is_empty()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"by": "tokens"}, "no way to spread by 'tokens'"),
        ({"requests": None}, "needs requests"),
        ({"life_months": 0}, "1 month at least"),
        ({"training": TRAINING.drop("model_version")}, "training rows have no column 'model_version'"),
        ({"training": TRAINING.drop("cost_usd")}, "training rows have no column 'cost_usd'"),
        ({"training": TRAINING.with_columns(pl.col("cost_usd").cast(pl.Float64))}, "money is Decimal"),
        ({"deploys": DEPLOYS.drop("service")}, "deploys have no column 'service'"),
        ({"requests": CALLS.drop("sample_weight")}, "requests have no column 'sample_weight'"),
        ({"requests": CALLS.drop("day")}, "requests have no column 'ts_start'"),
    ],
)
def test_what_cannot_be_spread_is_refused(change: dict[str, Any], words: str) -> None:
    usual: dict[str, Any] = {"training": TRAINING, "deploys": DEPLOYS, "requests": CALLS, "last": LAST}
    with pytest.raises(InputError, match=words):
        amortize(**{**usual, **change})


# --- cost per inference -------------------------------------------------------------------------------

MONTHLY = {"model": pl.String, "month": pl.Date, "BillingCurrency": pl.String, "amount": MONEY}


def serving(*rows: tuple[str | None, date, str, str | None]) -> pl.LazyFrame:
    full = [(*row[:3], None if row[3] is None else Decimal(row[3])) for row in rows]
    return pl.DataFrame(full, schema=MONTHLY, orient="row").lazy()


def test_golden_cost_per_inference() -> None:
    schedule = amortize(TRAINING, DEPLOYS, by="time", last=LAST).schedule
    amounts = serving(
        ("m", AUG, "USD", "11"),
        ("m", SEP, "USD", "2"),
        ("m", SEP, "USD", "1"),
        ("q", OCT, "USD", "4"),
        ("n", SEP, "USD", None),
    )
    found = cost_per_inference(amounts, CALLS, schedule)
    third = Decimal("0.010033444816053512")  # 3 / 299
    loaded = Decimal("0.110367892976588629")  # 33 / 299
    assert found.rows() == [
        ("m", AUG, "USD", 1100, Decimal(11), Decimal(2), Decimal("0.01"), Decimal("0.011818181818181818")),
        ("m", SEP, "USD", 299, Decimal(3), Decimal(30), third, loaded),
        ("m", OCT, "USD", 5000, None, Decimal(31), None, None),
        ("n", SEP, "USD", 9999, None, Decimal(0), None, None),
        ("q", OCT, "USD", None, Decimal(4), Decimal(0), None, None),
    ]


def test_cost_per_inference_of_ledger_entries() -> None:
    entries = pl.DataFrame(
        {
            "x_model": ["m", "m", None],
            "x_ChargeDate": [date(2026, 9, 3), date(2026, 9, 28), date(2026, 9, 3)],
            "BillingCurrency": ["USD"] * 3,
            "BilledCost": [Decimal("1.5"), Decimal("1.49"), Decimal(9)],
        },
        schema_overrides={"BilledCost": MONEY},
    ).lazy()
    nothing = amortize(jobs(), DEPLOYS, by="time", last=LAST).schedule
    found = cost_per_inference(entries, CALLS, nothing, metric="BilledCost")
    one = found.filter(month=SEP, model="m").row(0, named=True)
    assert one["marginal_per_inference"] == one["fully_loaded_per_inference"] == Decimal("0.01")
    assert found.filter(pl.col("model").is_null())["serving_amount"].to_list() == [Decimal(9)]
    with pytest.raises(InputError, match="no column 'EffectiveCost'"):
        cost_per_inference(entries, CALLS, nothing)


def test_no_inferences_no_figure() -> None:
    schedule = amortize(TRAINING, DEPLOYS, by="time", last=LAST).schedule
    found = cost_per_inference(serving(("m", SEP, "USD", "2")), calls(("m", "2026-09-01", 1, 0.0)), schedule)
    september = found.filter(month=SEP)
    assert september.select("inferences", "marginal_per_inference", "fully_loaded_per_inference").rows() == [
        (0, None, None)
    ]


def test_two_currencies_are_not_added() -> None:
    schedule = amortize(TRAINING, DEPLOYS, by="time", last=LAST).schedule
    with pytest.raises(CurrencyError):
        cost_per_inference(serving(("m", SEP, "EUR", "2")), CALLS, schedule)


# --- a plain reference, conservation, order ------------------------------------------------------------

FIRST = date(2026, 7, 1)
MONEYS = st.none() | st.decimals(min_value=-(10**6), max_value=10**6, places=18, allow_nan=False)
VERSIONS = st.sampled_from(["v1", "v2", "v3", "v4"])
JOBS = st.lists(
    st.tuples(
        st.sampled_from(["m", "n"]),
        st.none() | VERSIONS,
        st.sampled_from(["completed", "failed", "cancelled"]),
        MONEYS.map(lambda amount: None if amount is None else str(amount)),
    ),
    max_size=10,
)
EVENTS = st.lists(
    st.tuples(
        # Quarters of days, so that midnights and moments shared by two deploys occur.
        st.integers(0, 4 * 130),
        VERSIONS,
        st.sampled_from(["chat", "search"]),
        st.sampled_from(["m", "n"]),
    ),
    max_size=10,
)
SEEN = st.lists(
    st.tuples(
        st.sampled_from(["m", "n"]),
        st.integers(0, 125),
        st.integers(1, 50),
        st.sampled_from([1.0, 0.5, 4096.0]),
    ),
    max_size=10,
)


def days_served(events: list[tuple[int, str, str, str]]) -> dict[tuple[str, str], list[date]]:
    """Walk through every day of every service: who served at its begin, and who began in it."""
    found: dict[tuple[str, str], set[date]] = defaultdict(set)
    for service, model in {(e[2], e[3]) for e in events}:
        mine = sorted((at, version) for at, version, *track in events if track == [service, model])
        winners = {at: version for at, version in mine}  # of one moment, the last
        day = FIRST
        while day <= LAST:
            begin = 4 * (day - FIRST).days
            before = [version for at, version in sorted(winners.items()) if at <= begin]
            within = [version for at, version in winners.items() if begin < at < begin + 4]
            for version in [*before[-1:], *within]:
                found[model, version].add(day)
            day += timedelta(days=1)
    return {key: sorted(days) for key, days in found.items()}


@settings(max_examples=100)
@given(JOBS, EVENTS, SEEN, st.sampled_from(["time", "inferences"]), st.randoms(use_true_random=False))
def test_no_cent_is_lost_and_a_plain_reference_agrees(
    rows: list[Any], events: list[Any], seen: list[Any], by: Any, random: Any
) -> None:
    start = datetime.combine(FIRST, time(), UTC)

    def run() -> Amortization:
        frames = [
            deploys(((start + timedelta(hours=6 * at)).isoformat(), version), service=service, model=model)
            for at, version, service, model in events
        ]
        requests = calls(*((m, str(FIRST + timedelta(days=day)), n, w) for m, day, n, w in seen))
        return amortize(
            jobs(*rows), pl.concat([deploys(), *frames]), requests, by=by, last=LAST, life_months=2
        )

    found = run()
    parts = found.capitalised.select("amortised", "remaining", "never_served")
    everything = decimal_sum(row[3] for row in rows)
    assert decimal_sum(part for row in parts.iter_rows() for part in row) == everything
    assert decimal_sum(found.capitalised["amount"]) == everything
    assert decimal_sum(found.schedule["amount"]) == decimal_sum(found.capitalised["amortised"])
    assert (found.capitalised["attempts"].sum(), found.schedule["amount"].null_count()) == (len(rows), 0)
    lives = days_served(events)
    for line in found.capitalised.iter_rows(named=True):
        key = (line["model"], line["model_version"])
        assert (line["serving_from"] is None) == (key not in lives)
        mine = found.schedule.filter(
            pl.col("model").eq_missing(key[0]), pl.col("model_version").eq_missing(key[1])
        )
        if line["amount"] is None or key not in lives:
            assert mine.is_empty()
            continue
        assert mine["month"].to_list() == sorted({day.replace(day=1) for day in lives[key]})
        if line["basis"] == "inferences":
            assert by == "inferences"
            assert line["serving_to"] is not None
            reach = [
                FIRST + timedelta(days=day) for _, day, *_ in seen if FIRST + timedelta(days=day) <= LAST
            ]
            assert min(reach) <= lives[key][0]
            assert lives[key][-1] <= max(reach)
        elif line["serving_to"] is not None:
            counts = [sum(day.replace(day=1) == month for day in lives[key]) for month in mine["month"]]
            assert mine["weight"].to_list() == counts
        if line["serving_to"] is not None:
            assert line["remaining"] == 0
            assert mine["amount"].to_list() == split(line["amount"], mine["weight"].to_list())
    for rows_of in (rows, events, seen):
        random.shuffle(rows_of)
    again = run()
    assert again.schedule.equals(found.schedule)
    assert again.capitalised.equals(found.capitalised)


# --- the sample lab ------------------------------------------------------------------------------------


def test_the_sample_lab_loses_nothing() -> None:
    lab = open_lab(SAMPLES, progress=False)
    training = lab.table("training_jobs").filter(pl.col("kind") != "eval")
    requests = lab.table("inference_requests")
    table = training.collect()
    paid = decimal_sum(table["cost_usd"])
    # Without deploys nothing is known to have served, and nothing is spread.
    undeployed = amortize(training, lab.table("deploys").clear(), requests, last=LAST)
    assert undeployed.schedule.is_empty()
    assert decimal_sum(undeployed.never_served["never_served"]) == paid > 0
    assert undeployed.capitalised["attempts"].sum() == table.height
    # The sample's services took about half of the versions; what was deployed is spread.
    deployed = amortize(training, lab.table("deploys"), requests, last=LAST)
    parts = [decimal_sum(deployed.capitalised[name]) for name in ("amortised", "remaining", "never_served")]
    assert decimal_sum(parts) == paid
    assert min(parts) > 0
    assert parts[0] > parts[2]
    assert decimal_sum(deployed.schedule["amount"]) == parts[0]
    # Were every retrained version put into service when it was done, most would serve a week.
    retrained = training.filter(pl.col("kind") == "retrain", pl.col("state") == "completed")
    events = retrained.select(
        pl.col("ts_end").alias("ts"), pl.lit("all").alias("service"), "model", "model_version"
    )
    found = amortize(training, events, requests, last=LAST)
    assert decimal_sum(found.capitalised["amount"]) == paid
    assert found.capitalised.filter(
        pl.col("amount") != pl.col("amortised") + pl.col("remaining") + pl.col("never_served")
    ).is_empty()
    # Only weeks inside the telemetry, which begins in August, can be spread by inferences.
    early = found.capitalised.filter(pl.col("serving_from").dt.date() < AUG)
    assert set(early["basis"]) == {"days"}
    assert "inferences" in found.capitalised["basis"].to_list()
    assert (
        found.capitalised.filter(pl.col("serving_to").is_null(), pl.col("serving_from").is_not_null()).height
        == 4
    )
    # The planted retrain that never finished made no version: its cost stays a line of its own.
    truth = json.loads((SAMPLES / "truth.json").read_text(encoding="utf-8"))["runaway_retrain"]
    version = truth["job_id"].removeprefix("retrain-")
    runaway = found.never_served.filter(model_version=version)
    assert runaway.select("attempts", "failed_attempts", "never_served").rows() == [
        (7, 7, Decimal(truth["excess_effective_cost"]))
    ]
    amounts = lab.costs().filter(pl.col("SubAccountName") != "research-training").select(
        pl.col("x_tag_model").alias("model"),
        pl.col("ChargePeriodStart").dt.date().dt.month_start().alias("month"),
        "BillingCurrency",
        pl.col("EffectiveCost").alias("amount"),
    )  # fmt: skip
    each = cost_per_inference(amounts, requests, found.schedule).filter(
        pl.col("month") >= AUG, pl.col("model").is_in(["larch-70b", "alder-34b"])
    )
    assert each.height == 6
    assert (each["fully_loaded_per_inference"] > each["marginal_per_inference"]).all()
