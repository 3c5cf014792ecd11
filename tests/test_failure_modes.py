"""Failure modes F1 to F7 and slow drifts: each is found where it was planted, and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest

from finops_lab.allocation.dimensions import assign
from finops_lab.anomalies.drifts import drifts, limit_of_rate
from finops_lab.anomalies.event import EVENTS
from finops_lab.anomalies.failure_modes import MODES
from finops_lab.anomalies.failure_modes._chances import of_count, of_share
from finops_lab.anomalies.failure_modes._releases import releases
from finops_lab.anomalies.failure_modes.accuracy import accuracy_losses
from finops_lab.anomalies.failure_modes.churn import spot_churn
from finops_lab.anomalies.failure_modes.orchestration import failed_deploys, failed_jobs, failing_releases
from finops_lab.anomalies.failure_modes.ownership import owner_changes
from finops_lab.anomalies.failure_modes.regressions import latency_regressions
from finops_lab.anomalies.failure_modes.spikes import billing_spikes
from finops_lab.anomalies.failure_modes.thrash import autoscaler_thrash
from finops_lab.anomalies.hourly import hourly_events, score_series
from finops_lab.anomalies.metering import request_series
from finops_lab.anomalies.ratios import coverage_ratios, idle_ratios, ratios_of, request_ratios
from finops_lab.anomalies.runaway import runaways
from finops_lab.errors import InputError
from finops_lab.lab import Lab, open_lab, packaged
from finops_lab.money import MONEY

OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)


def test_every_mode_has_a_detector() -> None:
    import importlib

    assert list(MODES) == [f"F{n}" for n in range(1, 8)]
    for mode in MODES.values():
        module, _, name = mode.detector.rpartition(".")
        # A module may hold several detectors.
        if module == "failure_modes":
            module, name = mode.detector, "failed_jobs"
        assert callable(getattr(importlib.import_module(f"finops_lab.anomalies.{module}"), name))


def test_events_of_spend_that_point_up_are_billing_spikes() -> None:
    told = {"kind": ["spend", "spend", "drift"], "direction": ["up", "down", "up"], "failure_mode": None}
    named = billing_spikes(pl.DataFrame(told, schema_overrides={"failure_mode": pl.String}))
    assert named["failure_mode"].to_list() == ["F1", None, None]


# Drifts


def daily(values: np.ndarray, *, share: bool = False, calls: float = 1e6, unit: str = "USD") -> pl.DataFrame:
    rows, days = values.shape
    return pl.DataFrame(
        {
            "metric": "cache_hit_share" if share else "cost_per_inference",
            "unit": "ratio" if share else unit,
            "dimension": "model",
            "value": np.repeat([f"m{row:02}" for row in range(rows)], days),
            "day": [date(2026, 3, 2) + timedelta(days=i) for i in range(days)] * rows,
            "numerator": (values * calls).ravel(),
            "denominator": calls,
            "evidence": calls,
            "share": share,
        }
    )


def noise(seed: int, rows: int, days: int, alike: float = 0.3, weekend: float = 0.1) -> np.ndarray:
    """Return noise whose days correlate, on weekdays that differ."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, 0.04, (rows, days))
    for day in range(1, days):
        steps[:, day] = alike * steps[:, day - 1] + (1 - alike**2) ** 0.5 * steps[:, day]
    weekdays = np.array([0, 0, 0, 0, 0, weekend, weekend])[np.arange(days) % 7]
    return np.asarray(np.exp(steps + weekdays))


@pytest.mark.parametrize(
    ("change", "within"),
    [
        (lambda t: np.where(t >= 0, 1.25, 1.0), 8),
        (lambda t: np.where(t >= 0, 0.8, 1.0), 8),
        (lambda t: 1.01 ** np.maximum(t, 0), 21),
    ],
    ids=["step up", "step down", "1 % a day"],
)
def test_steps_and_drifts_of_a_ratio_are_found(change: Any, within: int) -> None:
    at = np.arange(130) - 90
    values = 0.002 * noise(1, 20, 130) * change(at)
    onset = datetime(2026, 3, 2, tzinfo=UTC) + 90 * DAY
    found = drifts(daily(values), since=onset.date())
    up = change(np.array([30]))[0] > 1
    right = found.filter(pl.col("direction") == ("up" if up else "down"), pl.col("detected") >= onset)
    assert right["value"].n_unique() >= 19
    delays = right.group_by("value").agg(pl.col("detected").min() - onset)["detected"]
    assert delays.median() <= within * DAY  # type: ignore[operator]
    one = right.filter(pl.col("last") - pl.col("first") > 14 * DAY).row(0, named=True)
    assert one["kind"] == "drift" and (one["actual"] > one["expected"]) == up
    # What the change cost: its size, times what it was divided by.
    days = (one["last"] - one["first"]) / DAY + 1
    assert float(one["excess_amount"]) == pytest.approx(
        (one["actual"] - one["expected"]) * 1e6 * days, rel=1e-6
    )


@pytest.mark.parametrize("alike", [0.0, 0.3, 0.5])
def test_ratios_that_stay_are_silent_at_the_stated_rate_however_days_hang_together(alike: float) -> None:
    values = noise(2, 100, 35 + 365, alike=alike, weekend=0.0)  # no weekday hides what is alike
    found = drifts(daily(values), false_alarms_per_year=0.5, smallest_change=1e-6)
    # 100 series x a year at 0.5 a year: 50, and twice the standard deviation of a Poisson number.
    assert found.height <= 50 + 2 * 50**0.5


def test_one_odd_day_is_no_drift_and_few_calls_are_no_step() -> None:
    values = 0.002 * noise(3, 5, 120)
    values[:, 100] *= 20
    assert drifts(daily(values)).filter(pl.col("first").dt.date() > date(2026, 6, 1)).is_empty()
    # Hits of 30 calls a day vary by themselves: a share of 0.5 is anything from 0.2 to 0.8.
    rng = np.random.default_rng(4)
    assert drifts(daily(rng.binomial(30, 0.5, (10, 200)) / 30, share=True, calls=30.0)).height <= 2
    many = np.where(np.arange(120) >= 90, 0.35, 0.5) * np.ones((1, 120))
    fall = drifts(daily(rng.binomial(30_000, many) / 30_000, share=True, calls=30_000.0))
    assert fall["direction"].to_list() == ["down"] and fall["first"][0].date() == date(2026, 5, 31)


def test_drift_limits_follow_the_rate() -> None:
    assert limit_of_rate(0.1) > limit_of_rate(0.5) > limit_of_rate(2.0)
    with pytest.raises(InputError, match="above 0"):
        limit_of_rate(0)
    rows = daily(np.ones((1, 60)))
    with pytest.raises(InputError, match="two rows of one series"):
        drifts(pl.concat([rows, rows]))
    with pytest.raises(InputError, match="need it"):
        drifts(rows.drop("share"))
    assert drifts(rows.clear()).schema == pl.Schema(EVENTS)


def test_ratios_are_sums_over_sums() -> None:
    days = pl.DataFrame(
        {
            "day": [date(2026, 10, 1)] * 3,
            "model": ["a", "a", None],
            "feature": None,
            "team": None,
            "rows": [10, 20, 5],
            "calls": [10.0, 30.0, 10.0],
            "calls_ok": [10.0, 30.0, 10.0],
            "cost_reported_usd": [Decimal("1"), Decimal("3"), None],
            "input_uncached_tokens": [60.0, 100.0, None],
            "cache_read_tokens": [40.0, 100.0, None],
            "cache_write_tokens": [0.0, 0.0, None],
            "output_tokens": [10.0, 90.0, None],
        },
        schema_overrides={"feature": pl.String, "team": pl.String},
    )
    found = {
        (row["metric"], row["value"]): (row["numerator"], row["denominator"], row["evidence"])
        for row in request_ratios(days, by=["model"]).rows(named=True)
    }
    assert found["cost_per_inference", None] == (4.0, 40.0, 30.0)
    assert found["tokens_per_request", "a"] == (400.0, 40.0, 30.0)
    assert found["cache_hit_share", "a"] == (140.0, 300.0, 30.0)
    gpus = pl.DataFrame(
        {"day": [date(2026, 10, 1)] * 2, "util_kind": ["gpu_util", "sm_active"], "sampled_s": [100.0, 9.0],
         "busy_s": [25.0, 9.0], "pool_id": "p", "team": "t"}
    )  # fmt: skip
    idle = idle_ratios(gpus, by=["pool_id"])
    assert idle.select("dimension", "numerator", "denominator").rows() == [
        ("total", 75.0, 100.0),
        ("pool", 75.0, 100.0),
    ]
    entries = pl.DataFrame(
        {"x_ChargeDate": [date(2026, 10, 1)] * 4, "x_team": ["a", "unallocated", "a", "a"], "ProviderName": "P",
         "ChargeClass": [None, None, None, "Correction"], "EffectiveCost": [3.0, 1.0, -9.0, 50.0]}
    )  # fmt: skip
    coverage = coverage_ratios(entries)
    assert coverage.select("dimension", "numerator", "denominator").rows() == [
        ("total", 3.0, 4.0),
        ("provider", 3.0, 4.0),
    ]
    with pytest.raises(InputError, match="needed for a ratio"):
        ratios_of(days, "x", numerator="nothing", denominator="calls")


# F2


def evaluations(seed: int, loss: float = 0.0, since: int = 8, months: int = 12) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [
        {"ts": OCTOBER + 30 * month * DAY, "model": "m", "variant": variant, "dataset": "qa", "metric": "accuracy",
         "value": rng.binomial(4000, 0.8 - (loss if variant == "int8" and month >= since else 0.0)) / 4000,
         "n": 4000, "higher_is_better": True, "split": "test"}
        for month in range(months)
        for variant in ("bf16", "int8")
    ]  # fmt: skip
    return pl.DataFrame(rows)


def test_f2_accuracy_loss_after_an_optimization() -> None:
    deploys = pl.DataFrame(
        {
            "ts": [OCTOBER + 235 * DAY],
            "kind": "deploy",
            "model": "m",
            "model_version": "m-int8-2",
            "service": "chat",
        }
    )
    for seed in range(20):
        found = accuracy_losses(evaluations(seed, loss=0.08), deploys)
        assert set(found["detector"]) == {"accuracy against reference", "accuracy against before"}
        assert set(found["first"]) == {OCTOBER + 240 * DAY}
        assert set(found["last"]) == {OCTOBER + 330 * DAY}
        assert all("m-int8-2 by chat" in note and "of" in note for note in found["note"])
        assert all(row["actual"] < row["low"] < row["expected"] for row in found.rows(named=True))
    for seed in range(100, 105):
        assert accuracy_losses(evaluations(seed)).is_empty()


def test_f2_speaks_of_shares_of_items_alone() -> None:
    rows = evaluations(1, loss=0.06)
    assert accuracy_losses(rows.with_columns(metric=pl.lit("perplexity"))).is_empty()
    assert accuracy_losses(rows.with_columns(n=pl.lit(None, pl.Int64))).is_empty()
    assert accuracy_losses(rows, margin=0.2).is_empty()
    with pytest.raises(InputError, match="margin"):
        accuracy_losses(rows, margin=-0.1)


# F3


def changes(seed: int, days: int = 20, thrash: bool = False) -> pl.DataFrame:
    """Return a pool that grows in the morning and shrinks in the evening, and thrashes on the last day."""
    rng = np.random.default_rng(seed)
    rows, units = [], 2.0

    def move(at: datetime, to: float) -> None:
        nonlocal units
        rows.append(
            {"ts_decision": at, "pool_id": "chat", "unit": "replica", "from_units": units, "to_units": to}
        )
        units = to

    for day in range(days):
        for hour, way in ((7, 1), (9, 1), (10, 1), (17, -1), (19, -1), (21, -1)):
            move(OCTOBER + day * DAY + hour * HOUR + float(rng.integers(0, 50)) * MINUTE, units + way)
        if thrash and day == days - 1:
            for step in range(24):
                move(OCTOBER + day * DAY + 22 * HOUR + 5 * step * MINUTE, 3.0 if step % 2 == 0 else 2.0)
    return pl.DataFrame(rows)


def test_f3_autoscaler_thrash() -> None:
    for seed in range(20):
        found = autoscaler_thrash(changes(seed, thrash=True)).row(0, named=True)
        assert found["value"] == "chat" and found["failure_mode"] == "F3"
        assert found["first"] == OCTOBER + 19 * DAY + 22 * HOUR and found["last"] == found["first"] + HOUR
        assert found["actual"] == 23 and found["detected"] == found["first"] + HOUR
        assert autoscaler_thrash(changes(seed)).is_empty()
    slow = changes(1, thrash=True).with_columns(pl.col("ts_decision").dt.offset_by("0m"))
    assert autoscaler_thrash(slow, within=2 * MINUTE).is_empty()
    with pytest.raises(InputError):
        autoscaler_thrash(slow, fewest=0)


# F4


def charges(owners: Sequence[str | None], resource: str = "pool") -> pl.DataFrame:
    days = [date(2026, 8, 1) + timedelta(days=i) for i in range(len(owners))]
    rows = {"ResourceName": resource, "x_team": owners, "ChargePeriodStart": days, "BillingCurrency": "USD"}
    amounts = pl.Series("EffectiveCost", [Decimal(10)] * len(owners), MONEY)
    return pl.DataFrame(rows, schema_overrides={"x_team": pl.String}).with_columns(amounts)


def test_f4_a_resource_that_changes_hands() -> None:
    found = owner_changes(charges(["a"] * 20 + ["b"] * 10)).row(0, named=True)
    assert found["first"].date() == date(2026, 8, 21) and found["detected"].date() == date(2026, 8, 24)
    assert (
        found["excess_amount"] == 100 and found["x_team"] == "a" and "go to b instead of a" in found["note"]
    )
    lost = owner_changes(charges(["a"] * 20 + ["unallocated"] * 5)).row(0, named=True)
    assert lost["excess_amount"] == 50 and "go to no owner" in lost["note"]
    # A day or two without tags, or with another's, and a split are no change.
    quiet: list[Sequence[str | None]] = [
        ["a"] * 30,
        ["a"] * 20 + [None] * 2 + ["a"] * 5,
        ["a"] * 20 + ["b"] * 2 + ["a"] * 20,
        ["a"] * 5 + ["b"] * 20,
        [None] * 20 + ["b"] * 20,
    ]
    assert all(owner_changes(charges(owners)).is_empty() for owners in quiet)
    # Two providers may call two things by one name.
    both = pl.concat(
        [charges(["a"] * 20 + ["b"] * 9).with_columns(ProviderName=pl.lit(p)) for p in ("P", "Q")]
    )
    assert owner_changes(both)["x_provider"].sort().to_list() == ["P", "Q"]
    shared = pl.concat([charges(["a"] * 30), charges(["b"] * 30)])
    assert owner_changes(shared).is_empty()
    with pytest.raises(InputError, match="no such column"):
        owner_changes(charges(["a"]), owner="x_owner")


# F5


def test_f5_spot_capacity_that_is_taken_again_and_again() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        usual = [OCTOBER + float(at) * DAY for at in sorted(rng.uniform(0, 90, 9))]
        storm = [OCTOBER + (92 + float(at)) * DAY for at in sorted(rng.uniform(0, 3, 12))]
        common = {
            "provider": "CloudOne",
            "region": "r1",
            "instance_type": "g8",
            "lost_work_s": 1800.0,
            "restart_s": 1800.0,
        }

        def rows(at: list[datetime]) -> pl.DataFrame:
            price = pl.Series("price_usd_per_hour", [Decimal(20)] * len(at), MONEY)
            return pl.DataFrame({"ts_lost": at} | common).with_columns(price)  # noqa: B023

        assert spot_churn(rows(usual)).is_empty()
        found = spot_churn(rows(usual + storm)).row(0, named=True)
        assert found["value"] == "CloudOne / r1 / g8" and found["x_provider"] == "CloudOne"
        assert found["detected"] > OCTOBER + 92 * DAY and found["actual"] >= 10
        # An hour lost each time, at 20 dollars.
        hit = [at for at in usual + storm if found["first"] <= at <= found["last"]]
        assert found["excess_amount"] == 20 * len(hit)


def test_f5_a_job_that_is_interrupted_again_and_again() -> None:
    jobs = [
        {"job_id": f"j{i}", "purchase": "spot", "ts_start": OCTOBER + i * DAY, "wall_s": 36_000.0}
        for i in range(60)
    ]
    lost = [
        {"ts_lost": OCTOBER + (10 * i + 0.1) * DAY, "job_id": f"j{10 * i}", "zone": "z"} for i in range(6)
    ]
    begin = OCTOBER + 70 * DAY
    bad = [{"ts_lost": begin + (i + 1) * HOUR, "job_id": "bad", "zone": "z"} for i in range(5)]
    own = {"job_id": "bad", "purchase": "spot", "ts_start": begin, "wall_s": 36_000.0}
    found = spot_churn(pl.DataFrame(lost + bad), pl.DataFrame([*jobs, own])).filter(
        pl.col("dimension") == "job"
    )
    assert found.select("value", "actual").rows() == [("bad", 5.0)]
    assert found["detected"][0] <= begin + 4 * HOUR and found["excess_amount"][0] is None
    assert spot_churn(pl.DataFrame(lost), pl.DataFrame(jobs)).is_empty()


# F6 and F7


def released(
    *moments: datetime, kind: str = "deploy", model: str | None = "m", status: str = "succeeded"
) -> pl.DataFrame:
    rows = [
        {
            "ts": at,
            "service": "chat",
            "model": model,
            "model_version": f"v{n}",
            "commit": f"c{n}",
            "kind": kind,
            "status": status,
        }
        for n, at in enumerate(moments)
    ]
    return pl.DataFrame(rows, schema_overrides={"model": pl.String})


def calls(seed: int, *, slower: float = 1.0, failing: float = 0.01) -> pl.DataFrame:
    """Return two weeks of calls, two a minute in the hours of work; after a week they may be worse."""
    rng = np.random.default_rng(seed)
    at = [OCTOBER + day * DAY + 9 * HOUR + n * MINUTE for day in range(14) for n in range(0, 480, 4)]
    late = np.array([moment >= OCTOBER + 7 * DAY for moment in at])
    waits = 800 * rng.lognormal(0, 0.5, len(at)) * np.where(late, slower, 1.0)
    bad = rng.random(len(at)) < np.where(late, failing, 0.01)
    rows = {
        "ts_start": at,
        "model": "m",
        "feature": "chat",
        "latency_ms": waits,
        "n_requests": 1,
        "sample_weight": 1.0,
    }
    return pl.DataFrame(rows | {"status": np.where(bad, "error", "ok")})


def test_f6_latency_regression() -> None:
    deploys = released(OCTOBER + 2 * DAY, OCTOBER + 7 * DAY)
    for seed in range(20):
        found = latency_regressions(deploys, calls(seed, slower=1.6))
        assert found["value"].to_list() == ["chat / m / v1 / 2026-10-08 00:00"]
        one = found.row(0, named=True)
        assert one["detected"] - one["first"] <= 3 * DAY
        assert one["actual"] == pytest.approx(1.6 * one["expected"], rel=0.3)
    for seed in range(100, 105):
        assert latency_regressions(deploys, calls(seed)).is_empty()
    # Sixty calls at once are enough, fifty-eight are not; batch calls are nobody's wait.
    few = calls(1, slower=5.0).filter(pl.col("ts_start") < OCTOBER + 7 * DAY + 9 * HOUR + 4 * 58 * MINUTE)
    assert latency_regressions(deploys, few).is_empty()
    batch = calls(1, slower=5.0).with_columns(service_tier=pl.lit("batch"))
    assert latency_regressions(deploys, batch).is_empty()


def test_f7_calls_that_fail_since_a_release() -> None:
    deploys = released(OCTOBER + 2 * DAY, OCTOBER + 7 * DAY)
    for seed in range(20):
        one = failing_releases(deploys, calls(seed, failing=0.2)).row(0, named=True)
        assert one["value"] == "chat / m / v1 / 2026-10-08 00:00" and one["failure_mode"] == "F7"
        assert one["detected"] - one["first"] <= DAY and one["x_feature"] == "chat"
    for seed in range(100, 105):
        assert failing_releases(deploys, calls(seed)).is_empty()
    # A release that failed changed nothing; another model's calls are not its own.
    assert failing_releases(released(OCTOBER + 7 * DAY, status="failed"), calls(1, failing=0.2)).is_empty()
    assert failing_releases(released(OCTOBER + 7 * DAY, model="n"), calls(1, failing=0.2)).is_empty()
    assert not failing_releases(released(OCTOBER + 7 * DAY, model=None), calls(1, failing=0.2)).is_empty()
    # Of one call in ten thousand, five failures are luck.
    sampled = calls(1, failing=0.2).filter(pl.col("ts_start") < OCTOBER + 7 * DAY + 10 * HOUR)
    assert failing_releases(deploys, sampled.with_columns(sample_weight=pl.lit(1e4))).height <= 1
    with pytest.raises(InputError, match="do not name a service"):
        failing_releases(deploys, calls(1), service="endpoint")


def test_f7_deployments_and_jobs_that_fail() -> None:
    rollout = [
        released(*(OCTOBER + (day + n / 100) * DAY for n in range(3))).with_columns(
            commit=pl.lit(f"c{day}"), model_version=pl.lit("v")
        )
        for day in range(40)
    ]
    quiet = pl.concat(rollout)
    assert releases(quiet).height == 40 and failed_deploys(quiet).is_empty()
    failing = quiet.with_columns(
        status=pl.when(pl.col("ts") >= OCTOBER + 33 * DAY).then(pl.lit("failed")).otherwise("status")
    )
    found = failed_deploys(failing)
    assert set(found["dimension"]) == {"total", "feature"} and set(found["first"]) == {OCTOBER + 33 * DAY}
    assert "7 of 7 deployments failed" in found["note"][0]
    attempts = [
        {
            "ts_end": OCTOBER + n * HOUR,
            "state": "failed" if n % 25 == 0 or n > 575 else "completed",
            "team": "t",
            "kind": "train",
        }
        for n in range(600)
    ]
    events = failed_jobs(pl.DataFrame(attempts))
    assert events["dimension"].to_list() == ["kind", "team", "total"]
    assert all(row["first"] <= OCTOBER + 576 * HOUR <= row["detected"] for row in events.rows(named=True))
    assert failed_jobs(pl.DataFrame(attempts[:576])).is_empty()


def test_chances_are_those_of_simulated_pasts() -> None:
    """Shares and rates drawn from what the past leaves open: the tail is the share of such futures."""
    rng = np.random.default_rng(5)
    share = rng.beta(4.5, 96.5, 400_000)
    assert of_share(3, 20, 4, 100) == pytest.approx((rng.binomial(20, share) >= 3).mean(), rel=0.03)
    rate = rng.gamma(8.5, 1 / 56, 400_000)
    assert of_count(4, 7.0, 8, 56.0) == pytest.approx((rng.poisson(7 * rate) >= 4).mean(), rel=0.03)
    assert of_count(9, 1.0, 0, 0.0) == 1.0


# The sample lab: what was planted is found, and little else


@pytest.fixture(scope="module")
def sample() -> Lab:
    return open_lab(progress=False)


@pytest.fixture(scope="module")
def truth() -> dict[str, Any]:
    return dict(json.loads((packaged("samples") / "truth.json").read_text(encoding="utf-8")))


def test_planted_truths_of_the_sample_are_found(sample: Lab, truth: dict[str, Any]) -> None:
    planted = truth["runaway_retrain"]
    told = runaways(sample.table("training_jobs"), until=OCTOBER + 31 * DAY)
    assert told["value"].to_list() == [planted["job_id"]]
    one = told.row(0, named=True)
    assert one["first"].date().isoformat() == planted["first_day"]
    assert one["detected"] - one["first"] <= 30 * MINUTE
    assert Decimal("0.9") < one["excess_amount"] / Decimal(planted["excess_effective_cost"]) <= 1

    planted = truth["thrashing_pool"]
    told = autoscaler_thrash(sample.table("scale_events"))
    assert told["value"].to_list() == [planted["pool_id"]]
    span = [told["first"][0].date().isoformat(), told["last"][0].date().isoformat()]
    assert span == [planted["first_day"], planted["last_day"]]

    planted = truth["mis_tagged_team"]
    costs = sample.costs().lazy().with_columns(pl.col("ChargePeriodStart").dt.date().alias("x_ChargeDate"))
    told = owner_changes(assign(costs, sample.config.dimensions))
    assert told["value"].to_list() == [planted["resource_name"]]
    assert (
        told["first"][0].date().isoformat() == planted["since"] and told["x_team"][0] == planted["true_team"]
    )
    assert told["excess_amount"][0] == Decimal(planted["effective_cost"])

    planted = truth["incident"]
    deploys, requests = sample.table("deploys"), sample.table("inference_requests")
    told = failing_releases(deploys, requests)
    assert told.select("x_feature", "x_model").rows() == [(planted["service"], planted["model"])]
    assert told["first"][0] == datetime.fromisoformat(planted["deploy"]["ts"])
    assert told["detected"][0] <= datetime.fromisoformat(planted["rollback"]["ts"])
    assert latency_regressions(deploys, requests).is_empty()
    assert failed_deploys(deploys).is_empty()
    assert spot_churn(sample.table("spot_evictions"), sample.table("training_jobs")).is_empty()

    losses = accuracy_losses(sample.table("accuracy_samples"), deploys)
    expected = {model for model, one in truth["accuracy"].items() if max(one["loss"]) > 0.05}
    assert set(losses["x_model"]) == expected

    series = request_series(requests, grain="hour", by=["total", "model", "feature"])
    hourly = hourly_events(score_series(series))
    wrong = hourly.filter(pl.col("metric") == "error_rate", pl.col("value") == planted["service"])
    assert wrong["first"][0].date() == date(2026, 10, 21)
    # The budget: 0.1 false alarms per series and month, of 71 days; what was planted is none.
    rest = hourly.filter(pl.col("first").dt.date() != date(2026, 10, 21))
    months = len(series) * 71 / 30.4
    assert rest.height <= 0.1 * months + 2 * (0.1 * months) ** 0.5
