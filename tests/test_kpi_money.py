"""KPIs that are about money: a golden lab by hand, plain Python on random labs, honest unknowns."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from finops_lab.allocation.coverage import coverage
from finops_lab.api import allocate
from finops_lab.config import Activity, TokenWeights
from finops_lab.contracts import AMOUNTS
from finops_lab.errors import CurrencyError, InputError
from finops_lab.lab import open_lab
from finops_lab.money import MONEY, divided, split
from finops_lab.unit_economics import (
    anomaly_rate as m6,
)
from finops_lab.unit_economics import (
    evictions as m9,
)
from finops_lab.unit_economics import (
    features as m12,
)
from finops_lab.unit_economics import (
    inference_cost as m1,
)
from finops_lab.unit_economics import (
    owners as m7,
)
from finops_lab.unit_economics import (
    training_cost as m3,
)
from finops_lab.unit_economics.figures import Definition
from finops_lab.unit_economics.schemas import FIGURES, GPU_DAYS, REQUEST_MONTHS

SAMPLES = Path(__file__).parents[1] / "data" / "samples"
SEP, OCT = date(2026, 9, 1), date(2026, 10, 1)
MOMENT = pl.Datetime("us", "UTC")
ENTRY = {
    "x_ChargeMonth": "2026-10",
    "BillingCurrency": "USD",
    "ProviderName": "CloudOne",
    "ServiceCategory": "Compute",
    "ServiceName": "Machines",
    "ChargeCategory": "Usage",
    "CommitmentDiscountStatus": None,
    "x_team": "unallocated",
    "x_model": None,
    "x_variant": None,
    "x_feature": None,
    "x_customer": None,
    "x_environment": "prod",
    "x_AllocationMethod": "tag",
    "x_PoolId": None,
    "x_Rows": 1,
}
AI = "AI and Machine Learning"
JOB = {
    "job_id": pl.String,
    "attempt": pl.Int64,
    "model": pl.String,
    "team": pl.String,
    "kind": pl.String,
    "ts_submit": MOMENT,
    "ts_start": MOMENT,
    "ts_end": MOMENT,
    "state": pl.String,
    "gpu_count": pl.Float64,
    "node_count": pl.Int64,
    "instance_type": pl.String,
    "purchase": pl.String,
    "wall_s": pl.Float64,
    "cost_usd": MONEY,
}
EVICTION = {
    "ts_lost": MOMENT,
    "ts_recovered": MOMENT,
    "instance_type": pl.String,
    "job_id": pl.String,
    "lost_work_s": pl.Float64,
    "restart_s": pl.Float64,
    "price_usd_per_hour": MONEY,
    "fallback_price_usd_per_hour": MONEY,
}
VALUE = {
    "period_start": MOMENT,
    "period_end": MOMENT,
    "feature": pl.String,
    "customer": pl.String,
    "revenue_usd": MONEY,
}


def ledger(*rows: tuple[str | None, dict[str, object]]) -> pl.DataFrame:
    schema = {**dict.fromkeys(ENTRY, pl.String), "x_Rows": pl.Int64, **dict.fromkeys(AMOUNTS, MONEY)}
    full = [
        {**ENTRY, **dict.fromkeys(AMOUNTS, None if amount is None else Decimal(amount)), **row}
        for amount, row in rows
    ]
    return pl.DataFrame(full, schema=schema, orient="row")


def requests(*rows: dict[str, object]) -> pl.DataFrame:
    zero = {name: 0 for name in REQUEST_MONTHS if name.startswith("calls")}
    full = [{"month": OCT, "rows": 1, "rows_without_tokens": 0, **zero, **row} for row in rows]
    return pl.DataFrame(full, schema=REQUEST_MONTHS, orient="row")


def at(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).replace(tzinfo=UTC)


def jobs(*rows: dict[str, object]) -> pl.DataFrame:
    usual = {"attempt": 1, "kind": "retrain", "state": "completed", "node_count": 1}
    moments = ("ts_submit", "ts_start", "ts_end")
    full = [{**usual, **row, **{name: at(row.get(name)) for name in moments}} for row in rows]  # type: ignore[arg-type]
    return pl.DataFrame([{**dict.fromkeys(JOB), **row} for row in full], schema=JOB, orient="row")


def evictions(*rows: dict[str, object]) -> pl.DataFrame:
    moments = ("ts_lost", "ts_recovered")
    full = [{**row, **{name: at(row.get(name)) for name in moments}} for row in rows]  # type: ignore[arg-type]
    return pl.DataFrame([{**dict.fromkeys(EVICTION), **row} for row in full], schema=EVICTION, orient="row")


def feature_value(*rows: tuple[str, str, str, str | None]) -> pl.DataFrame:
    full = [
        (at(start), at(end), feature, None, None if revenue is None else Decimal(revenue))
        for start, end, feature, revenue in rows
    ]
    return pl.DataFrame(full, schema=VALUE, orient="row")


def figure(
    found: pl.DataFrame,
    measure: str,
    dimension: str | None = None,
    key: str | None = None,
    month: date = OCT,
) -> dict[str, Any]:
    """Return the one figure of a measure."""
    there = found.filter(
        pl.col("measure") == measure,
        pl.col("month") == month,
        pl.col("dimension").eq_missing(pl.lit(dimension, pl.String)),
        pl.col("key").eq_missing(pl.lit(key, pl.String)),
    )
    assert there.height == 1, (measure, dimension, key)
    return there.row(0, named=True)


def value(found: pl.DataFrame, measure: str, *place: Any, **more: Any) -> Decimal | None:
    amount: Decimal | None = figure(found, measure, *place, **more)["value"]
    return amount


def rounded(number: Fraction) -> Decimal:
    """Round a fraction to 18 decimals, half to even, by integers alone."""
    return Decimal(round(number * 10**18)).scaleb(-18)


# ---------------------------------------------------------------- the golden lab, all of it synthetic
CHAT = {"x_team": "a", "x_model": "m1", "x_feature": "chat", "ServiceCategory": AI}
SEARCH = {"x_team": "b", "x_model": "m2", "x_feature": "search", "ServiceCategory": AI}
LEDGER = ledger(
    ("100", {**CHAT, "x_Rows": 3}),
    ("20", {**CHAT, "x_AllocationMethod": "idle", "x_PoolId": "p1"}),
    ("60", SEARCH),
    ("-6", {**SEARCH, "ChargeCategory": "Credit"}),
    ("30", {"ServiceCategory": AI}),  # names nothing that requests name
    ("14", {"x_team": "a", "x_feature": "chat", "ServiceCategory": "Databases"}),
    ("10", {"x_team": "a", "x_AllocationMethod": "idle", "x_PoolId": "p1"}),
    ("9", {**CHAT, "ChargeCategory": "Tax"}),
    ("5", {"ServiceName": "Support"}),
    ("48", {"x_team": "r", "x_model": "m1", "x_environment": "research", "ServiceCategory": AI}),
    ("12", {"x_team": "r", "ServiceCategory": "Storage", "ServiceName": "Objects"}),
    ("7", {"x_team": "a", "ServiceCategory": "Storage"}),
    ("25", {"x_team": "b", "x_model": "m3", "ServiceCategory": AI}),  # no requests of m3
    ("80", {**CHAT, "x_ChargeMonth": "2026-09"}),
)
RULES = [Activity(name="training data", activity="training", where={"ServiceName": ("Objects",)})]
REQUESTS = requests(
    {
        "team": "a",
        "model": "m1",
        "feature": "chat",
        "pool_id": "p1",
        "rows": 12,
        "calls": 1200,
        "calls_ok": 1000,
        "calls_failed": 150,
        "calls_cancelled": 50,
        "calls_retried": 100,
        "calls_cached": 200,
        "input_uncached_tokens": 1_000_000,
        "cache_read_tokens": 500_000,
        "output_tokens": 250_000,
    },
    {
        "team": "b",
        "model": "m2",
        "feature": "search",
        "rows": 5,
        "rows_without_tokens": 1,
        "calls": 500,
        "calls_ok": 500,
        "input_uncached_tokens": 300_000,
        "cache_write_tokens": 100_000,
        "output_tokens": 100_000,
    },
    # The ledger knows nothing of m9.
    {"team": "b", "model": "m9", "feature": "search", "rows": 2, "calls": 100, "calls_ok": 100},
)
SCHEDULE = pl.DataFrame(
    {"model": ["m1", "m9"], "month": [OCT] * 2, "BillingCurrency": ["USD"] * 2, "amount": ["40", "5"]}
).with_columns(pl.col("amount").cast(MONEY))
JOBS = jobs(
    # Half of it in September.
    {
        "job_id": "j1",
        "model": "m1",
        "team": "r",
        "ts_start": "2026-09-30T18:00",
        "ts_end": "2026-10-01T06:00",
        "wall_s": 43_200.0,
        "gpu_count": 8.0,
        "cost_usd": Decimal(36),
    },
    {
        "job_id": "j2",
        "model": "m1",
        "team": "r",
        "state": "failed",
        "ts_start": "2026-10-05T00:00",
        "ts_end": "2026-10-05T02:00",
        "wall_s": 7_200.0,
        "gpu_count": 8.0,
        "cost_usd": Decimal(10),
    },
    # What it cost is not known; its wall clock is that of begin and end.
    {
        "job_id": "j3",
        "model": "m2",
        "team": "r",
        "kind": "train",
        "ts_start": "2026-10-07T00:00",
        "ts_end": "2026-10-07T04:00",
        "gpu_count": 1.5,
    },
    {
        "job_id": "j4",
        "model": "m1",
        "state": "running",
        "ts_start": "2026-10-20T00:00",
        "cost_usd": Decimal(3),
    },
    {
        "job_id": "j5",
        "model": "m1",
        "team": "r",
        "state": "preempted",
        "purchase": "spot",
        "instance_type": "t",
        "node_count": 2,
        "ts_start": "2026-10-09T00:00",
        "ts_end": "2026-10-09T05:00",
        "wall_s": 18_000.0,
        "gpu_count": 8.0,
        "cost_usd": Decimal(20),
    },
    {
        "job_id": "j5",
        "attempt": 2,
        "model": "m1",
        "team": "r",
        "purchase": "on_demand",
        "instance_type": "t",
        "node_count": 2,
        "ts_start": "2026-10-09T06:00",
        "ts_end": "2026-10-09T08:00",
        "wall_s": 7_200.0,
        "gpu_count": 8.0,
        "cost_usd": Decimal(12),
    },
)
PRICES = {"price_usd_per_hour": Decimal(2), "fallback_price_usd_per_hour": Decimal(3)}
EVICTIONS = evictions(
    {
        "ts_lost": "2026-10-09T05:00",
        "ts_recovered": "2026-10-09T05:30",
        "instance_type": "t",
        "job_id": "j5",
        "lost_work_s": 3_600.0,
        "restart_s": 1_800.0,
        **PRICES,
    },
    # The job's other machine, ten minutes later: the same work is lost once.
    {
        "ts_lost": "2026-10-09T05:10",
        "instance_type": "t",
        "job_id": "j5",
        "lost_work_s": 1_800.0,
        "restart_s": 600.0,
        **PRICES,
    },
    {"ts_lost": "2026-10-12T00:00", "lost_work_s": 600.0},  # of no job, at no price
)
FEATURE_VALUE = feature_value(
    ("2026-10-01", "2026-11-01", "chat", "200"),
    ("2026-09-16", "2026-10-16", "search", "60"),  # 15 days of September, 15 of October
    ("2026-10-01", "2026-11-01", "ads", "11"),  # costs nothing that the ledger knows
)


def golden(**more: Any) -> pl.DataFrame:
    return m1.inference_cost(LEDGER, REQUESTS, schedule=SCHEDULE, rules=RULES, **more)


def test_golden_cost_per_inference() -> None:
    found = golden()
    # Money that requests name: 100 + 20 (m1), 60 - 6 (m2), 14 (chat), 10 (pool p1) = 198.
    # Inferences: 1000 - 200 from the gateway's cache (m1), 500 (m2) = 1300; m9 has no money.
    one = figure(found, "allocated_per_call")
    assert (one["numerator"], one["denominator"]) == (Decimal(198), Decimal(1300))
    assert one["value"] == Decimal("0.152307692307692308")  # 198 / 1300
    assert one["unit"] == "USD per call"
    # Of positive entries 100 + 20 + 60 + 14 + 10 = 204 count, of 204 + 30 + 25 = 259.
    assert one["coverage"] == 204 / 259
    assert one["rows"] == 6 + 12 + 5
    assert value(found, "marginal_per_call") == Decimal("0.129230769230769231")  # (198 - 20 - 10) / 1300
    assert value(found, "fully_loaded_per_call") == Decimal("0.183076923076923077")  # (198 + 40) / 1300
    assert value(found, "allocated_per_1000_calls") == Decimal("152.307692307692307692")
    # Tokens: in 1.5 M + 0.4 M, out 0.25 M + 0.1 M, of which 0.5 M were read from a cache.
    assert value(found, "per_1m_tokens") == Decimal(88)  # 198 / 2.25
    assert value(found, "allocated_per_1m_input_tokens") == Decimal("104.210526315789473684")  # 198 / 1.9
    assert value(found, "allocated_per_1m_output_tokens") == Decimal("565.714285714285714286")  # 198 / 0.35
    # Weighted: 1.4 + 0.05 + 4 x 0.35 = 2.85 M.
    assert value(found, "per_1m_weighted_tokens") == Decimal("69.473684210526315789")
    assert figure(found, "per_1m_tokens")["coverage"] == 204 / 259  # below 16 / 17 rows with tokens
    assert value(found, "allocated_per_successful_outcome") == Decimal("0.132")  # 198 / (1000 + 500)
    covered = figure(found, "calls_with_cost")
    assert covered["value"] == Decimal("0.928571428571428571")  # 1300 / 1400
    assert covered["rows"] == 19


def test_golden_cost_per_inference_by_dimension() -> None:
    found = golden()
    one = "allocated_per_call"
    assert value(found, one, "team", "a") == Decimal("0.18")  # (100 + 20 + 14 + 10) / 800
    assert value(found, one, "team", "b") == Decimal("0.108")  # (60 - 6) / 500
    assert value(found, one, "feature", "chat") == Decimal("0.1675")  # (100 + 20 + 14) / 800
    assert value(found, one, "model", "m1") == Decimal("0.15")  # (100 + 20) / 800
    # m1's training of the month is on team a alone: 144 + 40; m2 was not trained here.
    assert value(found, "fully_loaded_per_call", "team", "a") == Decimal("0.23")
    assert value(found, "fully_loaded_per_call", "team", "b") == Decimal("0.108")
    assert figure(found, one, "team", "b")["coverage"] == 60 / 85
    why = {key: figure(found, one, "model", key)["reason"] for key in ("m3", "m9", None)}
    assert why == {
        "m3": "requests name none of the models and features that its money is for",
        "m9": "the ledger has no inference money of it",
        None: "names no model: its money and its calls need not be of the same traffic",
    }
    assert value(found, "calls_with_cost", "model", "m9") == Decimal(0)
    assert value(found, one, "model", "m3") is None


def test_a_month_without_requests_is_told_and_undefined() -> None:
    found = golden()
    for measure in (d.measure for d in m1.DEFINITIONS):
        one = figure(found, measure, month=SEP)
        assert (one["value"], one["reason"]) == (None, "no requests are known of the month")


def test_golden_training() -> None:
    found = m3.training_cost(LEDGER, JOBS, rules=RULES)
    # Billed 48 + 12 by rule; wall 6 + 2 + 4 + 5 + 2 = 19 h; the running attempt tells no time.
    one = figure(found, "billed_per_wall_hour")
    assert (one["numerator"], one["denominator"]) == (Decimal(60), Decimal(19))
    assert one["value"] == one["upper"] == Decimal("3.157894736842105263")
    assert one["coverage"] == 5 / 6
    # Known by both: 18 + 10 + 20 + 12 = 60 USD, 6 + 2 + 5 + 2 = 15 h, x 8 GPUs = 120 GPU-hours.
    assert value(found, "reported_per_wall_hour") == Decimal(4)
    assert value(found, "reported_per_gpu_hour") == Decimal("0.5")
    assert value(found, "training_billed") == Decimal(60)
    retrains = {
        "retrain_reported": 63,  # 18 + 10 + 3 + 20 + 12
        "retrain_completed": 30,
        "retrain_failed_attempts": 30,
        "retrain_failed": 10,
        "retrain_preempted": 20,
        "retrain_timeout": 0,
        "retrain_cancelled": 0,
        "retrain_running": 3,
    }
    assert {name: value(found, name) for name in retrains} == {n: Decimal(v) for n, v in retrains.items()}
    assert value(found, "retrain_reported", month=SEP) == Decimal(18)
    assert (
        figure(found, "billed_per_wall_hour", month=SEP)["reason"] == "the ledger has no training money of it"
    )
    assert value(found, "reported_per_wall_hour", month=SEP) == Decimal(3)  # 18 / 6
    # By model: 48 of m1 over 6 + 2 + 5 + 2 h; the data of the rule names no model.
    assert value(found, "billed_per_wall_hour", "model", "m1") == Decimal("3.2")
    assert figure(found, "billed_per_wall_hour", "model", None)["value"] is None
    assert figure(found, "reported_per_wall_hour", "model", "m2")["reason"] == (
        "none of its attempts tells cost and time"
    )


def test_golden_evictions() -> None:
    found = m9.eviction_impact(EVICTIONS, JOBS)
    assert value(found, "evictions") == Decimal(3)
    assert value(found, "lost_work_hours") == Decimal("1.166666666666666667")  # 3600 s + 600 s
    assert value(found, "restart_hours") == Decimal("0.5")
    assert value(found, "lost_work_reported") == Decimal(4)  # 1 h x 2 machines x 2
    assert value(found, "restart_reported") == Decimal(2)  # 0.5 h x 2 x 2
    assert value(found, "fallback_reported") == Decimal(4)  # 2 h x 2 x (3 - 2)
    one = figure(found, "extra_reported")
    # One of two interruptions has a price: 10 is the least it can be.
    assert (one["value"], one["lower"], one["coverage"], one["rows"]) == (Decimal(10), Decimal(10), 0.5, 3)
    # Spot attempts: 20 + 2 of restarts over 10 - 2 machine-hours; on-demand they are 3 each.
    assert value(found, "effective_per_machine_hour") == Decimal("2.75")
    assert value(found, "effective_to_on_demand") == Decimal("0.916666666666666667")  # 22 / 24
    assert value(found, "extra_reported", "model", "m1") == Decimal(10)
    nobody = figure(found, "extra_reported", "team", None)
    assert (nobody["value"], nobody["reason"]) == (None, "none of its evictions tells it")
    assert figure(found, "evictions", month=SEP)["reason"] == "evictions are known from 2026-10 on"


def test_eviction_coverage_counts_preempted_attempts_that_no_eviction_tells_of() -> None:
    lost = {"ts_lost": "2026-10-03T10:00", "lost_work_s": 3600.0, "restart_s": 0.0}
    priced = {
        **lost,
        "job_id": "a",
        "price_usd_per_hour": Decimal(2),
        "fallback_price_usd_per_hour": Decimal(3),
    }
    spot = {"team": "a", "purchase": "spot", "ts_start": "2026-10-03T08:00", "ts_end": "2026-10-03T10:10"}
    two = (
        {**spot, "job_id": "a", "state": "preempted"},
        {**spot, "job_id": "b", "state": "preempted", "team": "b"},  # nobody told of its eviction
        {**spot, "job_id": "c", "state": "preempted", "purchase": "on_demand"},  # by another job, not by spot
    )
    found = m9.eviction_impact(evictions(priced), jobs(*two))
    whole = figure(found, "lost_work_reported")
    assert (whole["value"], whole["lower"], whole["coverage"]) == (2, 2, 0.5)
    assert figure(found, "lost_work_reported", "team", "a")["coverage"] == 1
    untold = figure(found, "extra_reported", "team", "b")
    assert (untold["value"], untold["coverage"]) == (None, 0)
    assert untold["reason"] == "spot attempts were preempted, and no eviction tells of them"
    # A month without any: who says whether he ran on spot?
    quiet = {**spot, "ts_start": "2026-11-03T08:00", "ts_end": "2026-11-03T10:00"}
    later = jobs({**quiet, "job_id": "d"}, {**quiet, "job_id": "e", "purchase": None})
    none = figure(m9.eviction_impact(evictions(priced), later), "extra_reported", month=date(2026, 11, 1))
    assert (none["value"], none["coverage"], none["lower"]) == (0, 0.5, None)


def test_golden_features() -> None:
    found = m12.feature_cost(LEDGER, FEATURE_VALUE, REQUESTS, rules=RULES)
    # chat costs 100 + 20 + 14 = 134 without its tax.
    assert value(found, "margin", "feature", "chat") == Decimal("0.33")  # (200 - 134) / 200
    search = figure(found, "margin", "feature", "search")
    assert search["value"] == search["lower"] == Decimal("-0.8")  # (30 - 54) / 30
    assert search["coverage"] == 15 / 31
    assert value(found, "revenue", "feature", "search", month=SEP) == Decimal(30)
    assert value(found, "allocated_over_all_calls", "feature", "search") == Decimal(
        "0.09"
    )  # 54 / (500 + 100)
    ads = figure(found, "margin", "feature", "ads")
    assert (ads["value"], ads["reason"]) == (None, "no inference money is allocated to it")
    whole = figure(found, "margin")
    assert whole["value"] == Decimal("0.182608695652173913")  # (230 - 188) / 230
    assert whole["coverage"] == (134 + 60) / 259
    assert value(found, "revenue") == Decimal(241)
    assert value(found, "allocated") == Decimal(188)
    assert figure(found, "margin", month=SEP)["reason"] == "its revenue is not known"


def test_golden_owners() -> None:
    found = m7.owned(LEDGER)
    # Charges above zero are 340, of which 30 + 5 are nobody's; the credit is 6 more without a sign.
    assert value(found, "gross_positive") == Decimal("0.897058823529411765")  # 305 / 340
    assert value(found, "absolute") == Decimal("0.898843930635838150")  # 311 / 346
    assert value(found, "rows") == Decimal("0.866666666666666667")  # 13 / 15
    assert value(found, "feature_gross_positive") == Decimal("0.597058823529411765")  # 203 / 340
    assert value(found, "gross_positive", "provider", "CloudOne") == value(found, "gross_positive")


def test_owners_say_how_much_of_the_bill_the_ledger_holds() -> None:
    bill = pl.DataFrame({"month": [OCT] * 2, "provider": ["CloudOne", "lost"], "rows": [15, 5]})
    found = m7.owned(LEDGER, by=("provider", "feature"), bill=bill)
    assert_frame_equal(m7.owned(LEDGER, by=("provider", "feature", "provider"), bill=bill), found)
    assert figure(found, "gross_positive")["coverage"] == 15 / 20
    assert figure(found, "rows", "provider", "CloudOne")["coverage"] == 1
    # A row that is missing has no feature, and what no bill tells of is not known.
    assert figure(found, "rows", "feature", "chat")["coverage"] is None
    assert figure(found, "rows", month=SEP)["coverage"] is None


def test_owners_are_those_of_the_ledgers_coverage() -> None:
    asked = ("model", "feature", "customer")
    more = ledger(
        (None, {"x_team": "a"}), ("0", {"x_team": "b"}), ("3", {"ProviderName": "", "x_model": "m"})
    )
    entries = pl.concat([LEDGER, more])
    found = m7.owned(entries, metric="ListCost", by=("provider", "feature"))
    for dimension, column in (
        (None, "x_ChargeMonth"),
        ("provider", "ProviderName"),
        ("feature", "x_feature"),
    ):
        october = entries if dimension is None else entries.filter(pl.col("x_ChargeMonth") == "2026-10")
        for name, measures in (("team", ("gross_positive", "absolute", "rows")), *((n, ()) for n in asked)):
            expected = coverage(october, name, "ListCost", column)
            for definition in measures or ("gross_positive",):
                measure = definition if measures else f"{name}_{definition}"
                for row in expected.filter(pl.col("definition") == definition).iter_rows(named=True):
                    month = date.fromisoformat(f"{row[column]}-01") if dimension is None else OCT
                    key = None if dimension is None else row[column]
                    one = figure(found, measure, dimension, key, month)
                    pair = ("covered_rows", "total_rows") if definition == "rows" else ("covered", "total")
                    assert (one["numerator"], one["denominator"]) == tuple(row[n] for n in pair)
                    assert one["rows"] == row["total_rows"]
                    assert (one["value"] is None) == (row["share"] is None)


# ---------------------------------------------------------------- plain Python beside the frames
def random_lab(rng: random.Random, months: int) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Return ledger, requests and schedule of small months that have nothing to do with each other."""

    def some(*values: str | None) -> str | None:
        return rng.choice(values)

    rows, calls, plan = [], [], []
    for n in range(months):
        month = date(2015 + n // 12, n % 12 + 1, 1)
        for _ in range(rng.randint(0, 8)):
            amount = Decimal(rng.randint(-300, 2_000)).scaleb(-2)
            names = {
                "x_ChargeMonth": f"{month:%Y-%m}",
                "x_team": rng.choice(["a", "b", "unallocated"]),
                "x_model": some("m1", "m2", "m3", None),
                "x_feature": some("f1", "f2", None),
                "x_PoolId": some("p1", "p2", None, None),
                "ServiceCategory": rng.choice([AI, "Compute"]),
                "x_environment": rng.choice(["prod", "prod", "prod", "research"]),
                "ChargeCategory": rng.choice(["Usage", "Usage", "Usage", "Tax"]),
                "x_AllocationMethod": rng.choice(["tag", "tag", "idle"]),
            }
            rows.append((str(amount), names))
        for _ in range(rng.randint(0, 5)):
            ok = rng.randint(0, 50)
            calls.append(
                {
                    "month": month,
                    "team": some("a", "b", None),
                    "model": some("m1", "m2", "m4"),
                    "feature": some("f1", "f2", None),
                    "rows": rng.randint(1, 5),
                    # Sampled calls need not be whole.
                    "calls_ok": Decimal(ok) + Decimal(rng.choice(["0", "0.5", "0.125"])),
                    "calls_cached": Decimal(rng.randint(0, ok)),
                    "input_uncached_tokens": some_tokens(rng),
                    "cache_read_tokens": some_tokens(rng),
                    "output_tokens": some_tokens(rng),
                }
            )
        plan += [("m1", month, "USD", Decimal(rng.randint(1, 999)).scaleb(-2))] if rng.random() < 0.5 else []
    schema = {"model": pl.String, "month": pl.Date, "BillingCurrency": pl.String, "amount": MONEY}
    return ledger(*rows), requests(*calls), pl.DataFrame(plan, schema=schema, orient="row")


def some_tokens(rng: random.Random) -> Decimal | None:
    return None if rng.random() < 0.2 else Decimal(rng.randint(0, 9_000))


def is_inference(row: Mapping[str, Any]) -> bool:
    if row["ChargeCategory"] == "Tax":
        return False
    called = row["x_PoolId"] is not None and row["x_model"] is not None
    if row["x_environment"] == "research" and row["x_feature"] is None and not called:
        return False
    names = (row["x_feature"], row["x_model"], row["x_PoolId"])
    return any(name is not None for name in names) or row["ServiceCategory"] == AI


Rows = Sequence[Mapping[str, Any]]


def same_traffic(money: Rows, calls: Rows, dimension: str | None) -> tuple[Rows, Rows]:
    """Match money and calls the slow way, each pair looked at."""

    def team(row: Mapping[str, Any]) -> Any:
        return None if row["x_team"] == "unallocated" else row["x_team"]

    def within(entry: Mapping[str, Any], call: Mapping[str, Any]) -> bool:
        if dimension is None:
            return True
        mine = team(entry) if dimension == "team" else entry[f"x_{dimension}"]
        return bool(mine == call[dimension])

    def fits(entry: Mapping[str, Any], call: Mapping[str, Any]) -> bool:
        if entry["x_model"] is not None:
            return within(entry, call) and entry["x_model"] == call["model"]
        return (
            within(entry, call) and entry["x_feature"] is not None and entry["x_feature"] == call["feature"]
        )

    named = [entry for entry in money if any(fits(entry, call) for call in calls)]
    counted = [call for call in calls if any(fits(entry, call) for entry in named)]

    def key(entry: Mapping[str, Any]) -> Any:
        return None if dimension is None else team(entry) if dimension == "team" else entry[f"x_{dimension}"]

    pools = {(key(entry), entry["x_PoolId"]) for entry in named if entry["x_PoolId"] is not None}
    pooled = [
        entry
        for entry in money
        if entry["x_model"] is None
        and entry["x_feature"] is None
        and (key(entry), entry["x_PoolId"]) in pools
    ]
    return [*named, *pooled], counted


def inferences(calls: Iterable[Mapping[str, Any]]) -> Decimal:
    return sum((max(call["calls_ok"] - call["calls_cached"], Decimal(0)) for call in calls), Decimal(0))


def plain_loaded(schedule: Rows, month: date, calls: Rows, counted: Rows, keyed: Any) -> Decimal | None:
    """Add up a month's training of models: parts of the calls that count here, largest remainder."""
    lines = [line for line in schedule if line["month"] == month]
    if not lines:
        return None
    total = Decimal(0)
    for line in lines:
        served = [call for call in calls if call["model"] == line["model"] and inferences([call])]
        groups: dict[tuple[Any, bool], Decimal] = defaultdict(Decimal)
        for call in served:
            groups[keyed(call), call in counted] += inferences([call])
        order = sorted(groups, key=lambda pair: (pair[0] is None, pair[0] or "", pair[1]))
        if order:
            parts = split(line["amount"], [groups[pair] for pair in order])
            total += sum((p for p, pair in zip(parts, order, strict=True) if pair[1]), Decimal(0))
    return total


_FREE = "of its money only what was free or credited is of models and features that requests name"


def positives(rows: Rows) -> Decimal:
    return sum((max(row["EffectiveCost"], Decimal(0)) for row in rows), Decimal(0))


def no_price(matched: Rows, money: Rows) -> str | None:
    if positives(money) and not positives(matched):
        return _FREE
    total = sum((row["EffectiveCost"] for row in matched), Decimal(0))
    return "its credits are above its charges" if total < 0 else None


@pytest.mark.parametrize("seed", range(5))
def test_cost_per_inference_is_what_plain_python_says(seed: int) -> None:
    rng = random.Random(seed)
    entries, calls, schedule = random_lab(rng, 24)  # five times 24 small labs
    found = m1.inference_cost(entries, calls, schedule=schedule, by=("team",))
    weights = TokenWeights()
    plan = list(schedule.iter_rows(named=True))
    months = found["month"].unique().sort()
    checked = 0
    for month in months:
        money = [
            row
            for row in entries.iter_rows(named=True)
            if row["x_ChargeMonth"] == f"{month:%Y-%m}" and is_inference(row)
        ]
        traffic = [call for call in calls.iter_rows(named=True) if call["month"] == month]
        matched, counted = same_traffic(money, traffic, None)
        one = figure(found, "allocated_per_call", month=month)
        amount = sum((row["EffectiveCost"] for row in matched), Decimal(0))
        n = inferences(counted)
        if not traffic or not matched or not n:
            assert one["value"] is None
            assert one["reason"]
            continue
        checked += 1
        positive = [positives(rows) for rows in (matched, money)]
        if why := no_price(matched, money):
            assert (one["value"], one["reason"]) == (None, why)
            continue
        assert one["value"] == divided(amount, n)
        used = sum((r["EffectiveCost"] for r in matched if r["x_AllocationMethod"] != "idle"), Decimal(0))
        assert value(found, "marginal_per_call", month=month) == (divided(used, n) if used >= 0 else None)
        if positive[1]:
            assert one["coverage"] == pytest.approx(
                float(Fraction(positive[0]) / Fraction(positive[1])), rel=1e-14
            )
        tokens = [
            sum(((call[name] or Decimal(0)) for call in counted), Decimal(0))
            for name in ("input_uncached_tokens", "cache_read_tokens", "output_tokens")
        ]
        assert value(found, "per_1m_tokens", month=month) == divided(amount, sum(tokens, Decimal(0)), 10**6)
        kinds = (weights.input, weights.cached_input, weights.output)
        weighted = sum((a * b for a, b in zip(tokens, kinds, strict=True)), Decimal(0))
        assert value(found, "per_1m_weighted_tokens", month=month) == divided(amount, weighted, 10**6)
        loaded = plain_loaded(plan, month, counted, counted, lambda _: None)
        whole = None if loaded is None else divided(amount + loaded, n)
        assert value(found, "fully_loaded_per_call", month=month) == whole
        for team in ("a", "b"):
            mine, ours = same_traffic(money, traffic, "team")
            owned = [row for row in mine if row["x_team"] == team]
            made = [call for call in ours if call["team"] == team]
            if not owned or not inferences(made):
                continue
            amount_of = sum((row["EffectiveCost"] for row in owned), Decimal(0))
            if why := no_price(owned, [row for row in money if row["x_team"] == team]):
                assert figure(found, "allocated_per_call", "team", team, month=month)["reason"] == why
                assert value(found, "fully_loaded_per_call", "team", team, month=month) is None
                continue
            assert value(found, "allocated_per_call", "team", team, month=month) == divided(
                amount_of, inferences(made)
            )
            loaded = plain_loaded(
                plan,
                month,
                counted,
                made,
                lambda call: call["team"],
            )
            assert loaded is None or (
                value(found, "fully_loaded_per_call", "team", team, month=month)
                == divided(amount_of + loaded, inferences(made))
            )
    assert checked > 5


@pytest.mark.parametrize("seed", range(5))
def test_training_is_what_plain_python_says(seed: int) -> None:
    rng = random.Random(seed)
    begin, rows = datetime(2026, 1, 1, tzinfo=UTC), []
    for n in range(60):
        start = begin + timedelta(minutes=rng.randint(0, 200 * 1440))
        wall = rng.choice([None, rng.randint(1, 60 * 86_400)])
        rows.append(
            {
                "job_id": f"j{n}",
                "model": rng.choice(["m1", "m2", None]),
                "state": rng.choice(["completed", "failed", "running", "timeout"]),
                "kind": rng.choice(["retrain", "train"]),
                "ts_start": start.isoformat()[:16],
                "wall_s": None if wall is None else float(wall),
                "gpu_count": rng.choice([None, 1.0, 0.125, 8.0]),
                "cost_usd": rng.choice([None, Decimal(rng.randint(0, 99_999)).scaleb(-2)]),
            }
        )
    table = jobs(*rows)
    found = m3.training_cost(ledger(), table, by=("model",))
    money: dict[tuple[date, str], Decimal] = defaultdict(Decimal)
    wall_ms: dict[tuple[date, str], int] = defaultdict(int)
    for row in table.iter_rows(named=True):
        months, moment, last = [], row["ts_start"], row["ts_start"] + timedelta(seconds=row["wall_s"] or 0)
        while moment < last:
            after = (moment.replace(day=1, hour=0, minute=0) + timedelta(days=32)).replace(day=1)
            months.append((moment.date().replace(day=1), min(after, last) - moment))
            moment = after
        months = months or [(moment.date().replace(day=1), timedelta(0))]
        weights = [int(lasts.total_seconds()) for _, lasts in months]
        for name, target in (("cost_usd", money), ("wall_ms", wall_ms)):
            whole = row["cost_usd"] if name == "cost_usd" else Decimal(int((row["wall_s"] or 0) * 1000))
            parts = split(whole, weights, 18 if name == "cost_usd" else 0) if whole is not None else []
            for (month, _), part in zip(months, parts, strict=False):
                if name == "cost_usd" and row["kind"] == "retrain":
                    target[month, "retrain"] += part  # type: ignore[assignment]
                if row["cost_usd"] is not None and row["wall_s"] is not None:
                    target[month, "both"] += part  # type: ignore[assignment]
    for month in {month for month, _ in money} & set(found["month"]):
        got = figure(found, "retrain_reported", month=month)
        assert got["numerator"] in (money[month, "retrain"], None)
        if got["value"] is None:
            assert money[month, "retrain"] == 0
        hours = figure(found, "reported_per_wall_hour", month=month)
        both = wall_ms.get((month, "both"), 0)
        assert hours["value"] == divided(money[month, "both"], Decimal(both), 3_600_000)
    # Months add up to the jobs, exactly.
    total = table.filter(pl.col("kind") == "retrain")["cost_usd"].sum()
    months = found.filter(pl.col("measure") == "retrain_reported", pl.col("dimension").is_null())
    assert months["numerator"].sum() == total


@pytest.mark.parametrize("seed", range(5))
def test_revenue_of_periods_adds_up_over_months(seed: int) -> None:
    rng = random.Random(seed)
    rows = []
    for _ in range(40):
        first = date(2026, 1, 1) + timedelta(days=rng.randint(0, 250))
        last = first + timedelta(days=rng.randint(1, 100))
        rows.append(
            (str(first), str(last), rng.choice("xyz"), str(Decimal(rng.randint(0, 10**7)).scaleb(-2)))
        )
    value_of = feature_value(*rows)
    found = m12.feature_cost(ledger(), value_of, requests())
    per = found.filter(pl.col("measure") == "revenue", pl.col("dimension") == "feature")
    assert dict(per.group_by("key").agg(pl.col("value").sum()).iter_rows()) == dict(
        value_of.group_by("feature").agg(pl.col("revenue_usd").sum()).iter_rows()
    )
    # Each day of a period earns the same: a month's part differs from days x rate by less than 1e-18.
    start, end, feature, revenue = rows[0]
    alone = m12.feature_cost(ledger(), feature_value(rows[0]), requests())
    days = (date.fromisoformat(end) - date.fromisoformat(start)).days
    for month in alone["month"].unique():
        after = (month + timedelta(days=32)).replace(day=1)
        there = min(after, date.fromisoformat(end)) - max(month, date.fromisoformat(start))
        exact = Fraction(revenue) * there.days / days
        assert abs(Fraction(value(alone, "revenue", "feature", feature, month=month)) - exact) < Fraction(
            1, 10**18
        )  # type: ignore[arg-type]


# ---------------------------------------------------------------- what is not known, and what is refused
def test_undefined_is_null_with_a_reason_never_zero() -> None:
    none = requests()
    nothing = m1.inference_cost(ledger(), none)
    assert nothing.is_empty()
    failed = requests({"model": "m1", "feature": "chat", "team": "a", "calls": 5, "calls_failed": 5})
    one = figure(m1.inference_cost(LEDGER, failed), "allocated_per_call")
    assert (one["value"], one["numerator"], one["reason"]) == (None, Decimal(144), "no call succeeded")
    assert (
        figure(m1.inference_cost(LEDGER, REQUESTS), "fully_loaded_per_call")["reason"]
        == "no training amortized to the month is known: it takes training jobs and deploys of what they made"
    )
    unknown = pl.concat([LEDGER, ledger((None, CHAT))])
    listed = m1.inference_cost(unknown, REQUESTS, metric="ListCost")
    assert figure(listed, "allocated_per_call")["reason"] == "ListCost is not known of all its charges"
    tokenless = requests({"model": "m1", "calls": 5, "calls_ok": 5, "rows_without_tokens": 1})
    image = m1.inference_cost(LEDGER, tokenless)
    assert value(image, "allocated_per_call", "model", "m1") == Decimal(24)  # 120 / 5
    assert figure(image, "per_1m_tokens")["reason"] == "no call tells its tokens"
    for found in (
        nothing,
        listed,
        image,
        m3.training_cost(ledger(), jobs()),
        m9.eviction_impact(evictions(), jobs()),
    ):
        assert dict(found.schema) == FIGURES
        assert found.filter(pl.col("value").is_null() & pl.col("reason").is_null()).is_empty()
        assert found.filter(pl.col("value").is_not_null() & pl.col("reason").is_not_null()).is_empty()


def test_sampled_calls_count_as_many_as_they_stand_for() -> None:
    calls = requests({"model": "m1", "calls_ok": Decimal("2500.5"), "calls_cached": Decimal("0.5")})
    assert value(m1.inference_cost(LEDGER, calls), "allocated_per_call", "model", "m1") == Decimal("0.048")


def test_training_of_a_month_is_shared_among_a_models_inferences() -> None:
    calls = requests(
        *({"model": "m1", "feature": f, "calls_ok": n} for f, n in (("chat", 1), ("f2", 1), ("f3", 1)))
    )
    entries = ledger(*(("1", {"x_model": "m1", "x_feature": f}) for f in ("chat", "f2", "f3")))
    plan = SCHEDULE.filter(pl.col("model") == "m1").with_columns(
        pl.lit("0.000000000000000010").cast(MONEY).alias("amount")
    )
    found = m1.inference_cost(entries, calls, schedule=plan, by=("feature",))
    parts = [
        figure(found, "fully_loaded_per_call", "feature", f)["numerator"] - 1 for f in ("chat", "f2", "f3")
    ]
    assert [int(part.scaleb(18)) for part in parts] == [4, 3, 3]


def test_idle_time_of_pools_by_gpu_samples_where_the_ledger_sets_none_apart() -> None:
    days = pl.DataFrame(
        [
            {
                "day": date(2026, 10, n),
                "pool_id": pool,
                "util_kind": kind,
                "sampled_s": s,
                "idle_usd": Decimal(idle),
            }
            for n, pool, kind, s, idle in (
                (1, "p1", "gpu_util", 100, "5"),
                (2, "p1", "gpu_util", 100, "7"),
                (2, "p1", "sm_active", 50, "40"),  # less of the time: another kind is never mixed in
                (1, "p9", "gpu_util", 100, "30"),  # serves nobody of these calls
            )
        ],
        schema_overrides=GPU_DAYS,
    )
    entries = ledger(("100", CHAT), ("50", SEARCH))
    found = m1.inference_cost(entries, REQUESTS, gpu_days=days)
    one = figure(found, "marginal_per_call_by_samples", "feature", "chat")
    assert (one["value"], one["coverage"]) == (Decimal("0.11"), 1.0)  # (100 - 5 - 7) / 800
    assert value(found, "marginal_per_call", "feature", "chat") == Decimal("0.125")
    search = figure(found, "marginal_per_call_by_samples", "feature", "search")
    assert search["reason"] == "its pools have no GPU samples with a rate, or serve others too"
    assert value(found, "marginal_per_call_by_samples") == Decimal(
        "0.106153846153846154"
    )  # (150 - 12) / 1300
    # A pool cannot have idled for more than it cost: the samples' rates are not what the bill says.
    dear = m1.inference_cost(entries, REQUESTS, gpu_days=days.with_columns(pl.col("idle_usd") * 10))
    one = figure(dear, "marginal_per_call_by_samples", "feature", "chat")
    assert (one["value"], "rates and bill differ" in one["reason"]) == (None, True)
    # The golden ledger has idle entries: it tells itself.
    told = figure(m1.inference_cost(LEDGER, REQUESTS, gpu_days=days), "marginal_per_call_by_samples")
    assert told["reason"] == "the ledger sets idle cost apart: see marginal_per_call"


def test_outcomes_that_were_counted_go_before_calls() -> None:
    outcomes = pl.DataFrame({"month": [OCT] * 2, "feature": ["chat", "search"], "outcomes": [90, 9]})
    found = golden(outcomes=outcomes)
    assert value(found, "allocated_per_successful_outcome") == Decimal(2)  # 198 / 99
    assert value(found, "allocated_per_successful_outcome", "feature", "search") == Decimal(6)
    told = figure(found, "allocated_per_successful_outcome", "team", "a")
    assert told["reason"] == "outcomes are not told of it"


def test_currencies_are_refused_or_kept_apart() -> None:
    mixed = pl.concat([LEDGER, ledger(("1", {"BillingCurrency": "EUR"}))])
    for call in (
        lambda: m1.inference_cost(mixed, REQUESTS),
        lambda: m3.training_cost(mixed, JOBS),
        lambda: m7.owned(mixed),
        lambda: m12.feature_cost(mixed, FEATURE_VALUE, REQUESTS),
    ):
        with pytest.raises(CurrencyError):
            call()
    euros = LEDGER.with_columns(pl.lit("EUR").alias("BillingCurrency"))
    with pytest.raises(CurrencyError):
        m1.inference_cost(euros, REQUESTS, schedule=SCHEDULE)
    assert figure(m1.inference_cost(euros, REQUESTS), "allocated_per_call")["unit"] == "EUR per call"
    training = m3.training_cost(euros, JOBS)
    units = {
        name: figure(training, name)["unit"] for name in ("billed_per_wall_hour", "reported_per_wall_hour")
    }
    assert units == {
        "billed_per_wall_hour": "EUR per wall hour",
        "reported_per_wall_hour": "USD per wall hour",
    }
    margin = figure(m12.feature_cost(euros, FEATURE_VALUE, REQUESTS), "margin", "feature", "chat")
    assert (margin["value"], margin["reason"]) == (None, "revenue is in USD and costs are in EUR")


def test_revenue_and_money_in_two_currencies_are_never_one_number() -> None:
    euros = LEDGER.with_columns(BillingCurrency=pl.lit("EUR"))
    found = m12.feature_cost(euros, FEATURE_VALUE, REQUESTS, by=("feature", "team"))
    margins = found.filter(pl.col("measure").str.starts_with("margin"))
    assert margins.height > 6
    assert (
        margins.select(pl.col("value", "numerator", "denominator").is_not_null().any()).row(0) == (False,) * 3
    )
    assert value(found, "revenue", "feature", "chat") == 200


def test_a_margin_covers_no_more_than_the_revenue_that_has_money() -> None:
    """20 of 21 are of features with revenue, 100 of 160 of revenue of features with money."""
    value_of = feature_value(*(("2026-10-01", "2026-11-01", name, usd) for name, usd in
                               (("chat", "100"), ("search", "50"), ("ads", "10"), ("draft", "-7"))))  # fmt: skip
    entries = ledger(("20", CHAT), ("1", {**CHAT, "x_feature": "other"}))
    calls = requests({"feature": "search", "team": "a", "calls_ok": 5})
    found = m12.feature_cost(entries, value_of, calls, by=("team",))
    whole = figure(found, "margin")
    assert (whole["numerator"], whole["denominator"], whole["coverage"]) == (80, 100, 100 / 160)
    of_team = figure(found, "margin_money", "team", "a")
    assert (of_team["value"], of_team["coverage"]) == (80, 100 / 150)
    assert figure(found, "revenue", "team", "a")["coverage"] == 20 / 21


def test_money_of_features_is_divided_by_calls_of_the_same_features() -> None:
    """Money of `chat` (free) and `draft`, calls of `chat` and `search`; `draft` is said by no call."""
    entries = ledger(("0", CHAT), ("10", {**CHAT, "x_feature": "draft"}))
    calls = requests(
        {"feature": "chat", "team": "a", "calls_ok": 8},
        {"feature": "search", "team": "b", "calls_ok": 92},
        {"feature": "lost", "team": "b", "calls_failed": 1},
    )
    found = m12.feature_cost(entries, FEATURE_VALUE, calls, by=("feature", "team"))
    per_call = "allocated_over_all_calls"
    whole = figure(found, per_call)
    assert (whole["value"], whole["numerator"], whole["denominator"]) == (None, None, 8)
    assert whole["coverage"] == 0
    assert (
        whole["reason"] == "of its money only what was free or credited names features that requests tell of"
    )
    assert value(found, per_call, "feature", "chat") == 0
    draft = figure(found, per_call, "feature", "draft")
    assert (draft["denominator"], draft["reason"]) == (None, "no calls of it are known")
    for measure in ("allocated", per_call):
        nobodys = figure(found, measure, "team", "b")
        assert (nobodys["numerator"], nobodys["reason"]) == (None, "no inference money is allocated to it")
    failed = requests({"feature": "draft", "team": "a", "calls_failed": 1})
    told = m12.feature_cost(entries, FEATURE_VALUE, failed)
    assert figure(told, per_call, "feature", "draft")["reason"] == "no call of it succeeded"
    elsewhere = figure(m12.feature_cost(entries, FEATURE_VALUE, calls.tail(2)), per_call)
    assert (elsewhere["value"], elsewhere["denominator"]) == (None, None)
    assert elsewhere["reason"] == "requests name none of the features that its money is for"
    credit = ledger(("3", CHAT), ("-5", CHAT))
    assert figure(m12.feature_cost(credit, FEATURE_VALUE, calls), per_call)["reason"] == (
        "its credits are above its charges"
    )
    unknown = m12.feature_cost(ledger((None, CHAT), ("5", CHAT)), FEATURE_VALUE, calls)
    for measure in ("margin", "allocated", per_call):
        part = figure(unknown, measure, "feature", "chat")
        assert (part["value"], part["numerator"]) == (None, None)


def test_a_free_model_is_no_price_of_what_calls_do_not_name() -> None:
    """1,488 is split by GPU time, which tells no model; only the free model has calls that are named."""
    free = {"x_model": "free", "x_team": "b"}
    calls = requests({"model": "free", "calls_ok": 6, "team": "b"}, {"model": "m1", "calls_ok": 620})
    found = m1.inference_cost(
        ledger(("1488", {"x_PoolId": "gp", "x_AllocationMethod": "split:gpu_seconds"}), ("0", free)), calls
    )
    one = figure(found, "allocated_per_call")
    assert (one["value"], one["numerator"], one["coverage"], one["reason"]) == (None, None, 0, _FREE)
    # Within the free model nothing else was charged: a call of it cost nothing.
    assert value(found, "allocated_per_call", "model", "free") == 0
    credited = m1.inference_cost(ledger(("10", {"ServiceCategory": AI}), ("-50", free)), calls)
    assert figure(credited, "allocated_per_call")["reason"] == _FREE
    of_model = figure(credited, "per_1m_tokens", "model", "free")
    assert (of_model["value"], of_model["numerator"]) == (None, -50)
    assert of_model["reason"] == "its credits are above its charges"
    # Idle cost may be above what credits leave of the rest.
    idle = {**free, "x_AllocationMethod": "idle"}
    used = m1.inference_cost(ledger(("30", idle), ("2", free), ("-5", free)), calls)
    assert value(used, "allocated_per_call", "model", "free") == Decimal("4.5")
    assert figure(used, "marginal_per_call", "model", "free")["reason"] == (
        "credits of what was used are above its charges"
    )


def test_unknown_revenue_makes_its_month_unknown() -> None:
    value_of = feature_value(
        ("2026-10-01", "2026-10-16", "chat", "5"), ("2026-10-16", "2026-11-01", "chat", None)
    )
    one = figure(m12.feature_cost(LEDGER, value_of, REQUESTS), "revenue", "feature", "chat")
    assert (one["value"], one["reason"]) == (None, "revenue is unknown in 1 of 2 periods")
    with pytest.raises(InputError, match="team"):
        m12.feature_cost(LEDGER, value_of, REQUESTS, by=("teem",))


def test_dimensions_that_a_table_does_not_tell_are_refused() -> None:
    with pytest.raises(InputError, match=r"'product'.*team, model"):
        m1.inference_cost(LEDGER, REQUESTS, by=("product",))
    with pytest.raises(InputError, match="'feature'"):
        m3.training_cost(LEDGER, JOBS, by=("feature",))
    with pytest.raises(InputError, match="'feature'"):
        m9.eviction_impact(EVICTIONS, JOBS, by=("feature",))
    with pytest.raises(InputError, match="'colour'"):
        m7.owned(LEDGER, by=("colour",))


def test_attempts_without_any_time_are_told_without_a_month() -> None:
    table = jobs(
        {"job_id": "x", "cost_usd": Decimal(5)},
        {"job_id": "y", "ts_submit": "2026-10-03", "cost_usd": Decimal(2)},
    )
    found = m3.training_cost(ledger(), table)
    nowhen = found.filter(
        pl.col("month").is_null(), pl.col("measure") == "retrain_reported", pl.col("dimension").is_null()
    )
    assert nowhen.select("numerator", "value", "rows", "reason").row(0) == (
        Decimal(5),
        None,
        1,
        "its attempts tell no time",
    )
    assert value(found, "retrain_reported") == Decimal(2)


def test_a_month_between_jobs_cost_nothing_for_retrains() -> None:
    table = jobs(
        {"job_id": "x", "ts_start": "2026-08-03", "wall_s": 60.0, "cost_usd": Decimal(5)},
        {"job_id": "y", "ts_start": "2026-10-03", "wall_s": 60.0, "cost_usd": Decimal(2)},
    )
    assert value(m3.training_cost(ledger(), table), "retrain_reported", month=SEP) == Decimal(0)


def test_a_fallback_on_spot_has_no_premium_and_an_unknown_one_is_told() -> None:
    again = JOBS.with_columns(pl.lit("spot").alias("purchase"))
    first = EVICTIONS.head(1)
    assert value(m9.eviction_impact(first, again), "fallback_reported") == Decimal(0)
    alone = JOBS.filter(pl.col("attempt") == 1)
    found = m9.eviction_impact(first, alone)
    assert figure(found, "fallback_reported")["reason"] == "none of its evictions tells it"
    one = figure(found, "extra_reported")
    assert (one["value"], one["lower"], one["coverage"]) == (Decimal(6), Decimal(6), 1.0)


def test_later_evictions_of_a_job_are_incidents_of_their_own() -> None:
    later = EVICTIONS.head(1).with_columns(pl.col("ts_lost", "ts_recovered") + timedelta(hours=2))
    found = m9.eviction_impact(pl.concat([EVICTIONS.head(1), later]), JOBS)
    assert value(found, "lost_work_hours") == Decimal(2)


def test_revenue_goes_to_a_team_or_model_whose_alone_its_feature_is() -> None:
    """`chat` is team a's by money and calls, `search` of two teams, `draft` of a by money and of b by calls."""
    names = {"chat": "900", "search": "500", "draft": "70"}
    value_of = feature_value(*(("2026-10-01", "2026-11-01", name, usd) for name, usd in names.items()))
    entries = ledger(
        ("100", CHAT),
        ("60", SEARCH),
        ("40", {**SEARCH, "x_team": "a"}),
        ("10", {**CHAT, "x_feature": "draft"}),
        ("5", {"x_team": "a", "ServiceCategory": AI}),
    )
    calls = requests(
        {"feature": "chat", "team": "a", "calls_ok": 50},
        {"feature": "chat", "calls_ok": 50},  # says no team
        {"feature": "draft", "team": "b", "calls_ok": 5},
    )
    found = m12.feature_cost(entries, value_of, calls, by=("team", "model"))
    a = figure(found, "margin", "team", "a")
    assert (a["numerator"], a["denominator"]) == (800, 900)
    assert round(a["coverage"], 6) == round(100 / 155, 6)  # of its money, the part that is compared
    assert value(found, "allocated", "team", "a") == 150  # 100 + 40 + 10, what names a feature
    # Of `chat` calls and money are known: what `search` and `draft` cost its calls, nothing tells.
    calls_of_a = figure(found, "allocated_over_all_calls", "team", "a")
    assert (calls_of_a["numerator"], calls_of_a["denominator"], calls_of_a["value"]) == (100, 50, 2)
    assert round(calls_of_a["coverage"], 6) == round(100 / 155, 6)
    b = figure(found, "margin", "team", "b")
    assert b["value"] is None
    assert "other teams share" in b["reason"]
    # `search` is of m2 alone, `chat` and `draft` of m1: all revenue has a model.
    assert [figure(found, "revenue", "model", name)["value"] for name in ("m1", "m2")] == [970, 500]
    assert value(found, "margin_money", "model", "m2") == 400
    with pytest.raises(InputError, match="not told by 'teem'"):
        m12.feature_cost(entries, value_of, calls, by="teem")


def test_anomalies_that_nobody_looked_for_are_unknown_not_none() -> None:
    never = m6.anomaly_rate(None, [SEP, OCT])
    assert never["value"].null_count() == never.height == 4
    assert set(never["reason"]) == {"anomaly detection has not run"}
    found = pl.DataFrame(
        {
            "ts": [at("2026-10-03T01:00"), at("2026-10-20T01:00"), at("2026-10-21"), at("2026-10-22")],
            "status": ["confirmed", "confirmed", "dismissed", None],
            "team": ["a", "b", "a", "a"],
        }
    )
    rates = m6.anomaly_rate(found, [SEP, OCT], by=("team",))
    one = figure(rates, "anomalies_per_month")
    assert (one["value"], one["upper"], one["coverage"], one["rows"]) == (Decimal(2), Decimal(3), 0.75, 4)
    assert value(rates, "anomalies_per_week") == Decimal("0.451612903225806452")  # 2 x 7 / 31
    assert value(rates, "anomalies_per_month", month=SEP) == Decimal(0)
    assert value(rates, "anomalies_per_month", "team", "b") == Decimal(1)
    with pytest.raises(InputError, match="status"):
        m6.anomaly_rate(found.drop("status"), [OCT])
    # Of a month that is not over, weeks are those of the days known; months before are whole.
    running = m6.anomaly_rate(found.head(1), [SEP, OCT], up_to=date(2026, 10, 14))
    assert value(running, "anomalies_per_week") == Decimal("0.5")  # 1 x 7 / 14
    assert figure(running, "anomalies_per_week", month=SEP)["denominator"].quantize(
        Decimal(".01")
    ) == Decimal("4.29")


def test_definitions_are_told_once_and_in_full() -> None:
    every: list[Definition] = [d for m in (m1, m3, m6, m7, m9, m12) for d in m.DEFINITIONS]
    assert len({(d.kpi, d.measure) for d in every}) == len(every)
    assert all(d.title and d.formula and d.tables and d.nothing for d in every)
    found = [
        (m1.DEFINITIONS, golden()),
        (m3.DEFINITIONS, m3.training_cost(LEDGER, JOBS)),
        (m7.DEFINITIONS, m7.owned(LEDGER)),
        (m9.DEFINITIONS, m9.eviction_impact(EVICTIONS, JOBS)),
        (m12.DEFINITIONS, m12.feature_cost(LEDGER, FEATURE_VALUE, REQUESTS)),
    ]
    for definitions, frame in found:
        assert {(d.kpi, d.measure) for d in definitions} == set(
            frame.select("kpi", "measure").unique().iter_rows()
        )
        assert frame["unit"].str.contains("{", literal=True).sum() == 0


def test_the_order_of_rows_changes_nothing() -> None:
    for one, other in (
        (
            golden(),
            m1.inference_cost(
                LEDGER.reverse(), REQUESTS.reverse().lazy(), schedule=SCHEDULE.reverse(), rules=RULES
            ),
        ),
        (m3.training_cost(LEDGER, JOBS), m3.training_cost(LEDGER.reverse().lazy(), JOBS.reverse().lazy())),
        (m7.owned(LEDGER), m7.owned(LEDGER.reverse().lazy())),
        (m9.eviction_impact(EVICTIONS, JOBS), m9.eviction_impact(EVICTIONS.reverse().lazy(), JOBS.reverse())),
        (
            m12.feature_cost(LEDGER, FEATURE_VALUE, REQUESTS),
            m12.feature_cost(LEDGER.reverse(), FEATURE_VALUE.reverse().lazy(), REQUESTS.reverse()),
        ),
    ):
        assert_frame_equal(one, other)


def test_on_the_sample_lab_the_bill_and_the_jobs_agree_and_the_runaway_retrain_shows() -> None:
    lab = open_lab(SAMPLES)
    entries = allocate(lab).entries
    found = m3.training_cost(entries, lab.table("training_jobs"), by=())
    reported = found.filter(pl.col("measure") == "reported_per_wall_hour", pl.col("value").is_not_null())
    assert reported.height == 12
    billed = found.filter(pl.col("measure") == "billed_per_wall_hour").join(reported, on="month", how="semi")
    assert billed.sort("month")["value"].to_list() == reported.sort("month")["value"].to_list()
    wasted = {month: value(found, "retrain_failed_attempts", month=month) or 0 for month in (SEP, OCT)}
    assert wasted[OCT] > 10 * wasted[SEP]
    spot = m9.eviction_impact(lab.table("spot_evictions"), lab.table("training_jobs"), by=())
    assert Decimal("0.4") < (value(spot, "effective_to_on_demand", month=SEP) or 0) < Decimal("0.6")
