"""Telemetry within minutes: surges, failures, falls, runaway jobs, and the false alarms that they cost."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finops_lab.anomalies import _seasons, _tails
from finops_lab.anomalies.event import EVENTS, as_events
from finops_lab.anomalies.hourly import hourly_events, score_series
from finops_lab.anomalies.metering import gpu_series, job_series, request_series
from finops_lab.anomalies.runaway import runaways
from finops_lab.anomalies.series import series_of
from finops_lab.errors import InputError, NoDataError
from finops_lab.watching.telemetry import _as_parts

MONDAY = datetime(2026, 9, 7, tzinfo=UTC)
DAY = timedelta(days=1)


def traffic(seed: int, days: int = 24, windows: int = 288, calls: float = 80.0) -> np.ndarray:
    """Return calls per window: a working day, quiet weekends, growth, and noise that lasts an hour."""
    rng = np.random.default_rng(seed)
    at = np.arange(days * windows)
    hour, day = at % windows / windows * 24, at // windows
    shape = (1.1 + np.sin((hour - 9) / 24 * 2 * np.pi)) * np.where(day % 7 >= 5, 0.4, 1.0) * 1.003**day
    noise = np.repeat(rng.lognormal(0, 0.08, days * 24), windows // 24)
    return rng.poisson(calls * shape * noise).astype(float)


def test_a_tenfold_surge_is_seen_within_ten_minutes() -> None:
    values = np.stack([traffic(seed) for seed in range(20)])
    onsets = [22 * 288 + 7 + 28 * seed for seed in range(20)]
    for row, onset in enumerate(onsets):
        values[row, onset : onset + 24] = np.random.default_rng(row).poisson(
            10 * values[row, onset : onset + 24]
        )
    events = hourly_events(score_series(series_of(values, MONDAY), since=MONDAY + 22 * DAY))
    for row, onset in enumerate(onsets):
        begin = MONDAY + onset * timedelta(minutes=5)
        seen = events.filter(pl.col("value") == f"{row:05}", pl.col("detected") > begin)
        first = seen.sort("detected").row(0, named=True)
        assert first["direction"] == "up" and first["kind"] == "telemetry" and first["grain"] == "5m"
        assert first["detected"] - begin <= timedelta(minutes=10)
        assert first["actual"] > 5 * first["expected"] and first["actual"] > first["high"]


def test_clean_telemetry_is_silent() -> None:
    values = np.stack([traffic(seed) for seed in range(100, 105)])
    events = hourly_events(score_series(series_of(values, MONDAY), since=MONDAY + 22 * DAY))
    assert events.is_empty()


def test_the_false_alarm_budget_holds_on_hourly_series() -> None:
    values = np.stack([traffic(seed, days=70, windows=24) for seed in range(200, 240)])
    events = hourly_events(
        score_series(
            series_of(values, MONDAY, grain="hour"), since=MONDAY + 28 * DAY, false_alarms_per_month=0.5
        )
    )
    # 40 series x 42 days are 55 series-months: 28 windows may be false alarms, and events are fewer.
    assert events.height <= 28


def test_traffic_that_stops_failures_and_waiting_are_seen() -> None:
    rng = np.random.default_rng(1)
    calls = traffic(1, windows=24, calls=400.0)
    shares = rng.binomial(calls.astype(int), 0.01) / calls
    shares[-5:] = 0.2
    waits = 800 * rng.lognormal(0, 0.1, calls.size)
    waits[-5:] *= 3
    stopped = calls.copy()
    stopped[-5:] = 0.0
    found = {}
    for metric, values, evidence in (
        ("requests", stopped, 1.0),
        ("error_rate", shares, calls[None]),
        ("p95_ms", waits, 1.0),
    ):
        made = series_of(values[None], MONDAY, grain="hour", metric=metric, evidence=evidence)
        found[metric] = hourly_events(score_series(made, since=MONDAY + 23 * DAY))
    assert [len(events) for events in found.values()] == [1, 1, 1]
    assert found["requests"]["direction"][0] == "down" and found["requests"]["actual"][0] == 0.0
    assert found["error_rate"]["actual"][0] == pytest.approx(0.2)
    assert found["error_rate"]["expected"][0] == pytest.approx(0.01, abs=0.005)
    assert found["p95_ms"]["expected"][0] == pytest.approx(800, rel=0.1)
    assert all(events["first"][0].hour == 19 for events in found.values())


def test_days_to_come_change_nothing() -> None:
    values = np.stack([traffic(seed, days=30, windows=24) for seed in range(3)])
    values[:, 25 * 24 + 5] *= 20
    whole = score_series(series_of(values, MONDAY, grain="hour"))
    for days in (24, 26, 28):
        part = score_series(series_of(values[:, : days * 24], MONDAY, grain="hour"))
        for name in ("expected", "score", "threshold", "low", "high", "alarm"):
            np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[:, : days * 24])


def test_one_series_does_not_change_another() -> None:
    values = np.stack([traffic(seed, windows=24) for seed in range(3)])
    together = score_series(series_of(values, MONDAY, grain="hour"))
    alone = score_series(series_of(values[1:2], MONDAY, grain="hour"))
    np.testing.assert_array_equal(together.score[1], alone.score[0])


def test_rows_of_a_sampled_log_that_stand_for_many_calls_are_no_surge() -> None:
    """Three rows of 4,096 calls where one is usual are chance; three thousand rows of one are not."""
    rng = np.random.default_rng(3)
    rows = rng.poisson(1.0, 22 * 24).astype(float)
    rows[-1] = 3.0
    sampled = series_of(rows[None] * 4096, MONDAY, grain="hour", evidence=4096.0)
    counted = rng.poisson(1000.0, 22 * 24).astype(float)
    counted[-1] = 3000.0
    both = [
        score_series(one).alarm[0, -1] for one in (sampled, series_of(counted[None], MONDAY, grain="hour"))
    ]
    assert both == [False, True]


def tokens(seed: int, rows: int, days: int, calls: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return tokens per hour of calls that differ in size as they do, and sums of squares and cubes over them."""
    rng = np.random.default_rng(seed)
    shape = 1 + 0.6 * np.sin(np.arange(days * 24) / 24 * 2 * np.pi)
    count = rng.poisson(calls * shape, (rows, days * 24))
    at = np.repeat(np.arange(count.size), count.ravel())
    each = 1000 * rng.lognormal(0, 1.2, at.size)
    sums = [np.bincount(at, each**power, count.size).reshape(count.shape) for power in (1, 2, 3)]
    with np.errstate(invalid="ignore"):
        return sums[0], sums[1] / sums[0], sums[2] / sums[1]


def test_a_few_long_prompts_in_a_sampled_log_are_no_surge_of_tokens() -> None:
    values, evidence, largest = tokens(1, 40, 70, 3.0)
    made = series_of(values, MONDAY, grain="hour", metric="tokens", evidence=evidence)
    found = [
        hourly_events(score_series(one, false_alarms_per_month=0.5)).height
        for one in (made, replace(made, largest=largest))
    ]
    # 40 series x 49 days are 64 series-months: 32 windows may be false alarms.
    assert found[1] <= 32 < found[0]


def test_prompts_that_run_away_are_seen_in_the_hour_at_as_many_calls() -> None:
    values, evidence, largest = tokens(2, 20, 24, 300.0)
    hour = 23 * 24 + 14
    for one in (values, evidence, largest):
        one[:, hour] *= 10
    made = series_of(values, MONDAY, grain="hour", metric="tokens", evidence=evidence)
    found = score_series(replace(made, largest=largest))
    assert found.alarm[:, hour].all()
    assert (values[:, hour] > found.high[:, hour]).all()


def test_telemetry_that_is_missing_is_not_judged() -> None:
    values = traffic(5, windows=24)
    values[-30:-3] = np.nan
    found = score_series(series_of(values[None], MONDAY, grain="hour"))
    assert not found.alarm[0, -30:-3].any() and np.isnan(found.score[0, -30:-3]).all()
    assert np.isfinite(found.score[0, -3:]).all()
    nothing = score_series(series_of(np.full((2, 30 * 24), np.nan), MONDAY, grain="hour"))
    assert hourly_events(nothing).is_empty()


def test_a_holiday_is_quiet_and_leaves_no_trace() -> None:
    values = traffic(5, days=26, windows=24)
    values[23 * 24 : 24 * 24] *= 0.2
    made = series_of(values[None], MONDAY, grain="hour")
    day = MONDAY.date() + timedelta(days=23)
    assert score_series(made).alarm[0, 23 * 24 : 24 * 24].any()
    known = score_series(made.without([day, date(2020, 1, 1), date(2030, 1, 1)]))
    assert not known.alarm.any() and np.isnan(known.score[0, 23 * 24 : 24 * 24]).all()
    assert np.isfinite(known.score[0, 24 * 24 :]).all() and np.isfinite(made.values).all()


def test_calls_become_series() -> None:
    at = [MONDAY + timedelta(minutes=m) for m in (1, 3, 4, 16, 17)]
    calls = pl.DataFrame(
        {
            "ts_start": at,
            "model": ["a", "a", "b", "b", "b"],
            "status": ["ok", "error", "ok", "cancelled", "timeout"],
            "n_requests": [1, 1, 2, 1, 1],
            "sample_weight": [2.0, 1.0, 1.0, 1.0, 3.0],
            "input_uncached_tokens": [10, 20, None, None, 5],
            "output_tokens": [1, None, None, None, 5],
            "cost_reported_usd": [Decimal("0.5"), None, Decimal("0.25"), None, None],
            "is_retry": [False, True, None, None, None],
        }
    )
    found = request_series(calls, by=["total", "model"])
    named = found.names.select("series", "metric", "value").rows()
    rows = {(metric, value): found.values[i, :4].tolist() for i, metric, value in named}
    assert rows["requests", None] == [5.0, 0.0, 0.0, 4.0]
    assert rows["requests", "b"] == [2.0, 0.0, 0.0, 4.0]
    assert rows["tokens", "a"] == [42.0, 0.0, 0.0, 0.0]
    assert rows["reported_usd", None][0] == 1.25
    np.testing.assert_allclose(rows["error_rate", None], [0.2, np.nan, np.nan, 1.0])
    np.testing.assert_allclose(rows["retry_share", "a"][0], 1 / 3)
    # (2 + 1 + 2)^2 / (4 + 1 + 4) calls are as good as the weighted rows.
    worth = found.names.filter(pl.col("metric") == "error_rate", pl.col("value").is_null())["series"][0]
    assert found.evidence[worth, 0] == pytest.approx(25 / 9)
    scope = found.names.filter(pl.col("value") == "a").row(0, named=True)
    assert scope["x_model"] == "a" and scope["x_team"] is None


def test_p95_needs_59_calls() -> None:
    def p95(count: int) -> pl.DataFrame:
        at = [MONDAY + timedelta(seconds=i) for i in range(count)]
        calls = {"ts_start": at, "model": "m", "status": "ok", "n_requests": 1, "sample_weight": 1.0}
        rows = pl.DataFrame(calls | {"latency_ms": [float(i + 1) for i in range(count)]})
        made = request_series(rows, by=["total"])
        return made.names.with_columns(pl.Series("first", made.values[:, 0])).filter(
            pl.col("metric") == "p95_ms"
        )

    assert p95(58).is_empty()
    assert p95(100)["first"].to_list() == [95.0]


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(st.integers(0, 3000), st.integers(1, 900), st.integers(1, 64)), min_size=1, max_size=6
    ),
    st.sampled_from(["5m", "hour"]),
)
def test_gpu_hours_are_spread_without_loss(jobs: list[tuple[int, int, int]], grain: str) -> None:
    starts = [MONDAY + timedelta(minutes=begin) for begin, _, _ in jobs]
    ends = [start + timedelta(minutes=lasts) for start, (_, lasts, _) in zip(starts, jobs, strict=True)]
    rows = {"ts_start": starts, "ts_end": ends, "gpu_count": [float(gpus) for *_, gpus in jobs]}
    frame = pl.DataFrame(rows | {"cost_usd": [Decimal(1)] * len(jobs)})
    made = job_series(frame, now=MONDAY + 4 * DAY, grain=grain, by=["total"])
    assert np.nansum(made.values[0]) == pytest.approx(sum(lasts * gpus for _, lasts, gpus in jobs) / 60)
    assert np.nansum(made.values[1]) == pytest.approx(len(jobs))
    samples = {"ts": starts, "interval_s": [lasts * 60.0 for _, lasts, _ in jobs]}
    spread = gpu_series(pl.DataFrame(samples), grain=grain, by=["total"])
    assert np.nansum(spread.values) == pytest.approx(sum(lasts for _, lasts, _ in jobs) / 60)


def test_scores_are_the_chances_of_counts() -> None:
    from scipy.stats import nbinom, norm

    rng = np.random.default_rng(2)
    seen = rng.integers(0, 60, 200).astype(float)
    expected, noise = rng.uniform(0.1, 40, 200), rng.uniform(0.05, 0.8, 200)
    size = 1 / noise**2
    for up in (True, False):
        found = _tails.count_scores(seen, expected, noise, up=up)
        law = nbinom(size, size / (size + expected))
        chance = law.sf(seen - 1) if up else law.cdf(seen)
        np.testing.assert_allclose(found, np.clip(norm.isf(chance), -38, 38), atol=1e-6)


def test_medians_know_what_is_unknown() -> None:
    rng = np.random.default_rng(4)
    rows = np.where(rng.random((20, 31)) < 0.3, np.nan, rng.normal(size=(20, 31)))
    np.testing.assert_allclose(_tails.nanmedian(rows), np.nanmedian(rows, axis=1))
    assert np.isnan(_tails.nanmedian(np.full((1, 3), np.nan))[0])
    # A week in five that went wild hardly moves what is usual.
    hours = np.full((1, 35, 24), 10.0)
    hours[:, 14:21] = 500.0
    assert _seasons.week_profile(hours, [day % 7 for day in range(35)], 2)[0, 0] == 10.0


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: series_of(np.ones((1, 24)), MONDAY, grain="week"), "unknown grain"),
        (lambda: series_of(np.ones((1, 24)), MONDAY, metric="joy"), "unknown metric"),
        (lambda: series_of(np.ones((1, 24)), MONDAY + timedelta(hours=1)), "midnight"),
        (lambda: score_series(series_of(np.ones((1, 24)), MONDAY), false_alarms_per_month=0), "above 0"),
        (lambda: score_series(series_of(np.ones((1, 24)), MONDAY), history_days=6), "a week or more"),
        (lambda: request_series(pl.DataFrame({"ts_start": [MONDAY]}), by=["mood"]), "unknown dimension"),
    ],
)
def test_what_cannot_be_scored_is_refused(wrong: object, says: str) -> None:
    with pytest.raises(InputError, match=says):
        wrong()  # type: ignore[operator]


def test_no_telemetry_is_no_data() -> None:
    calls = pl.Schema({"ts_start": pl.Datetime("us", "UTC"), "model": pl.String(), "status": pl.String()})
    empty = pl.DataFrame(schema=calls).with_columns(n_requests=pl.lit(1), sample_weight=pl.lit(1.0))
    with pytest.raises(NoDataError):
        request_series(empty)


# Runaway jobs


def retrains(seed: int, count: int = 40) -> list[dict[str, object]]:
    """Return attempts of weekly retrains on 32 GPUs for ten hours or so; one in eight fails once."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    for number in range(count):
        begin = MONDAY + number * timedelta(days=7) + timedelta(minutes=float(rng.integers(0, 300)))
        lasts = float(rng.lognormal(np.log(10 * 60), 0.15))
        tries = 2 if rng.random() < 0.125 else 1
        for attempt in range(1, tries + 1):
            minutes = lasts if attempt == tries else lasts * float(rng.random())
            end = begin + timedelta(minutes=minutes)
            state = "completed" if attempt == tries else "failed"
            rows.append(attempted(f"retrain-{number}", attempt, begin, end, state))
            begin = end + timedelta(minutes=5)
    return rows


def attempted(
    job: str, attempt: int, begin: datetime, end: datetime | None, state: str, gpus: float = 32.0
) -> dict[str, object]:
    return {
        "job_id": job, "attempt": attempt, "kind": "retrain", "model": "m", "team": "research",
        "ts_start": begin, "ts_end": end, "state": state, "gpu_count": gpus,
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_a_runaway_retrain_is_caught_within_half_an_hour(seed: int) -> None:
    rng = np.random.default_rng(seed)
    begin = MONDAY + timedelta(days=300, minutes=float(rng.integers(0, 1440)))
    minute = timedelta(minutes=1)
    lasts = int(rng.integers(3, 9))
    loop = [
        attempted(
            "loop",
            i + 1,
            begin + i * (lasts + 1) * minute,
            begin + (i * (lasts + 1) + lasts) * minute,
            "failed",
        )
        for i in range(12)
    ]
    endless = [attempted("endless", 1, begin, None, "running")]
    until = begin + timedelta(days=3)
    rows = pl.DataFrame([*retrains(seed), *loop, *endless], infer_schema_length=None)
    found = {event["value"]: event for event in runaways(rows, until=until, since=begin).rows(named=True)}
    assert set(found) == {"loop", "endless"}
    assert found["loop"]["detected"] - begin <= timedelta(minutes=30)
    assert found["loop"]["failure_mode"] == "F7"
    # The limit that the event itself names is passed at one of the 5-minute looks: the first is told.
    event = found["endless"]
    looks = (begin.replace(hour=0, minute=0) + n * 5 * minute for n in range(288 * 4))
    passed = next(at for at in looks if (at - begin) / timedelta(hours=1) * 32 > event["high"])
    assert event["detected"] == passed
    hours: dict[object, float] = {}
    for row in retrains(seed):
        lasted = (row["ts_end"] - row["ts_start"]) / timedelta(hours=1)  # type: ignore[operator]
        hours[row["job_id"]] = hours.get(row["job_id"], 0.0) + lasted
    assert event["high"] <= 1.6 * 32 * max(hours.values())
    assert event["actual"] == pytest.approx(72 * 32) and event["expected"] == pytest.approx(320, rel=0.15)


def test_usual_retrains_do_not_run_away() -> None:
    for seed in range(100, 105):
        rows = pl.DataFrame(retrains(seed), infer_schema_length=None)
        assert runaways(rows, until=MONDAY + timedelta(days=400)).is_empty()


def test_a_runaway_is_judged_by_what_was_known_then() -> None:
    begin = MONDAY + timedelta(days=300)
    big = attempted("big", 1, begin, begin + timedelta(hours=200), "completed", gpus=64.0) | {
        "cost_usd": Decimal("12800")
    }
    rows = pl.DataFrame([*retrains(1), big], infer_schema_length=None)
    at = [begin + timedelta(minutes=m) for m in (0, 5, 60)]
    events = [runaways(rows, until=moment, since=begin) for moment in at]
    assert [len(found) for found in events] == [0, 1, 1]
    # Nobody knows yet what it will have cost.
    assert events[1]["excess_amount"][0] is None and events[1]["detected"][0] == at[1]
    assert "64 GPUs where nearly all such jobs hold up to 32" in events[1]["note"][0]
    whole = runaways(rows, until=begin + timedelta(days=10), since=begin).row(0, named=True)
    # A dollar per GPU-hour: all beyond the median is too much.
    assert float(whole["excess_amount"]) == pytest.approx(12800 - whole["expected"], abs=0.01)
    assert whole["id"] == events[1]["id"][0]


def test_jobs_without_their_like_are_not_judged() -> None:
    begin = MONDAY + timedelta(days=300)
    rows = [attempted("new", 1, begin, begin + timedelta(days=9), "completed") | {"kind": "tune"}]
    frame = pl.DataFrame([*retrains(1), *rows], infer_schema_length=None)
    assert runaways(frame, until=begin + timedelta(days=20), since=begin).is_empty()
    with pytest.raises(InputError, match="time zone"):
        runaways(frame, until=datetime(2026, 10, 1))
    with pytest.raises(InputError, match="unknown grain"):
        runaways(frame, until=begin, grain="day")
    with pytest.raises(InputError, match="between 0 and 1"):
        runaways(frame, until=begin, false_alarms=1.0)


def test_since_takes_a_day() -> None:
    values = traffic(7, days=26, windows=24)
    values[22 * 24 + 3] *= 20
    values[25 * 24 + 3] *= 20
    made = series_of(values[None], MONDAY, grain="hour")
    days = [score_series(made, since=date(2026, 9, day)).alarm[0] for day in (28, 30)]
    assert [alarm[22 * 24 + 3] for alarm in days] == [True, False]
    assert all(alarm[25 * 24 + 3] for alarm in days)


def test_samples_of_one_gpu_and_moment_share_its_time() -> None:
    at = [datetime(2026, 10, 5, 1, tzinfo=UTC)] * 3
    rows = pl.DataFrame(
        {"ts": at, "interval_s": 3600.0, "gpu_uuid": ["a", "a", "b"], "team": ["x", "y", "y"]}
    )
    found = gpu_series(rows, grain="hour", by=["total", "team"])
    assert found.values[:, 1].tolist() == [2.0, 0.5, 1.5]


def test_moments_are_of_any_zone_and_those_of_another_century_keep_no_windows() -> None:
    begin = datetime(2026, 10, 5, tzinfo=UTC)
    jobs = pl.DataFrame(
        {"ts_start": [begin], "ts_end": [None], "gpu_count": [8.0], "cost_usd": [None]},
        schema_overrides={"ts_end": pl.Datetime("us", "UTC")},
    )
    there = datetime(2026, 10, 5, 4, tzinfo=timezone(timedelta(hours=2)))
    for now in (there, datetime(2026, 10, 5, 2)):
        assert job_series(jobs, now=now, grain="hour", by=["total"]).values.tolist() == [[8.0, 8.0]]
    with pytest.raises(InputError, match="telemetry ends at 2026-10-05 02:00:00"):
        job_series(jobs.with_columns(ts_end=pl.lit(begin + timedelta(hours=2))), now=there.replace(year=2062))
    calls = pl.DataFrame(
        {
            "ts_start": [datetime(1970, 1, 1, tzinfo=UTC), begin, None],
            "model": ["old", "m", "m"],
            "status": "ok",
            "n_requests": 1,
            "sample_weight": 1.0,
        }
    )
    found = request_series(calls, grain="hour", by=["total", "model"])
    assert found.start == begin and found.names["value"].drop_nulls().unique().to_list() == ["m"]


def parts_by_every_pair(events: pl.DataFrame) -> list[str | None]:
    """Say what is part of what, and what follows, by looking at every pair of events."""
    rows = events.rows(named=True)
    narrow = ("feature", "model", "pool", "kind", "team", "total")
    scopes = [name for name in events.columns if name.startswith("x_")]

    def meet(a: dict[str, Any], b: dict[str, Any]) -> bool:
        return a["first"] <= b["last"] and b["first"] <= a["last"] and a["direction"] == b["direction"]

    def is_part(a: dict[str, Any], b: dict[str, Any]) -> bool:
        apart = any(a[name] and b[name] and a[name] != b[name] for name in scopes)
        share = (b["actual"] - b["expected"]) / (a["actual"] - a["expected"])
        same = a["metric"] == b["metric"] and a["dimension"] != b["dimension"]
        return same and meet(a, b) and not apart and 0.75 <= share <= 1.33

    roots: list[dict[str, Any]] = []
    causes: dict[str, str] = {}
    for row in sorted(rows, key=lambda r: (r["expected"], narrow.index(r["dimension"]), r["id"])):
        first = next((root for root in roots if is_part(row, root)), None)
        if first:
            causes[row["id"]] = first["id"]
        else:
            roots.append(row)
    for row in rows:
        for one in rows:
            slices = (row["dimension"], row["value"]) == (one["dimension"], one["value"])
            if (row["metric"], one["metric"]) == ("tokens", "requests") and slices and meet(row, one):
                causes[row["id"]] = causes.get(one["id"], one["id"])
                break
    return [causes.get(causes.get(row["id"], ""), causes.get(row["id"])) for row in rows]


def test_parts_are_those_of_every_pair_of_events() -> None:
    rng = np.random.default_rng(5)
    rows: dict[tuple[object, ...], dict[str, object]] = {}
    for _ in range(400):
        dimension = str(rng.choice(["total", "team", "model", "feature"]))
        value = None if dimension == "total" else f"{dimension}-{rng.integers(3)}"
        first = datetime(2026, 10, 1, tzinfo=UTC) + timedelta(hours=int(rng.integers(24 * 20)))
        expected = float(rng.integers(1, 5))
        row = {
            "kind": "telemetry", "metric": str(rng.choice(["requests", "tokens"])), "grain": "hour",
            "dimension": dimension, "value": value, "first": first,
            "last": first + timedelta(hours=int(rng.choice([0, 3, 30, 100]))),
            "direction": str(rng.choice(["up", "down"])), "expected": expected,
            "actual": expected + float(rng.choice([-4.0, 4.0, 5.0, 8.0])),
            **({} if value is None else {f"x_{dimension}": value}),
        }  # fmt: skip
        rows[row["metric"], dimension, value, first] = row
    events = as_events(pl.DataFrame(list(rows.values()), schema_overrides=EVENTS, infer_schema_length=None))
    told = _as_parts(events)
    assert told["cause_of"].to_list() == parts_by_every_pair(events)
    assert 50 < told["cause_of"].null_count() < events.height - 50
