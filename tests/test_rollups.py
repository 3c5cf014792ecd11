"""Roll-ups of calls and of GPU samples: by hand, against brute force, in any order of rows."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from finops_lab import contracts
from finops_lab.errors import InputError
from finops_lab.unit_economics import gpus, histogram, latency, requests
from finops_lab.unit_economics.schemas import GPU_DAYS, HISTOGRAMS, REQUEST_DAYS, REQUEST_KEYS, REQUEST_MONTHS

DAY = date(2026, 10, 5)
Row = dict[str, Any]


def call(latency: float | None = 100.0, status: str = "ok", **more: Any) -> Row:
    row = {"day": DAY, "model": "chat", "operation": "chat", "status": status, "latency_ms": latency}
    return row | {"n_requests": 1, "sample_weight": 1.0} | more


def calls(rows: list[Row]) -> pl.LazyFrame:
    return pl.LazyFrame(rows, schema=contracts.dtypes("inference_requests"))


def only(frame: pl.DataFrame) -> Row:
    assert frame.height == 1
    return frame.row(0, named=True)


GOLDEN = [
    call(100.0, team="ads", input_uncached_tokens=10, output_tokens=4, cost_reported_usd=Decimal("0.1")),
    call(200.0, team="ads", cache_read_tokens=7, ttft_ms=20.0, is_retry=True),
    call(900.0, team="ads", served_from_cache=True, ttft_ms=30.0),
    call(50.0, "error", team="ads", cost_reported_usd=Decimal("0.000000000000000001")),
    call(30_000.0, "timeout", team="ads"),
    call(None, "cancelled", team="ads", output_tokens=2),
    call(None, "pending", team="ads"),
    call(5.0),
    call(7.0, day=date(2026, 10, 6)),
]


def test_a_day_by_hand() -> None:
    done = requests.roll_up(calls(GOLDEN))
    assert done.days.schema == pl.Schema(REQUEST_DAYS) and done.histograms.schema == pl.Schema(HISTOGRAMS)
    assert done.days.select("day", "team", "rows").rows() == [
        (DAY, "ads", 7),
        (DAY, None, 1),
        (date(2026, 10, 6), None, 1),
    ]
    ads = done.days.row(0, named=True)
    counts = {name: int(value) for name, value in ads.items() if name.startswith("calls")}
    assert counts == {
        "calls": 7,
        "calls_ok": 3,
        "calls_failed": 2,
        "calls_cancelled": 1,
        "calls_pending": 1,
        "calls_retried": 1,
        "calls_retry_told": 1,
        "calls_cached": 1,
        "calls_timed": 5,
    }
    assert ads["rows_without_tokens"] == 4
    assert (ads["input_uncached_tokens"], ads["cache_read_tokens"], ads["output_tokens"]) == (10, 7, 6)
    assert ads["cache_write_tokens"] is None and ads["reasoning_tokens"] is None
    assert ads["latency_ms"] == 31_250
    assert ads["cost_reported_usd"] == Decimal("0.100000000000000001")
    # Of the three calls that succeeded: 100, 200, 900.
    assert [ads[f"latency_p{n}_ms"] for n in (50, 95, 99)] == [200.0, 900.0, 900.0]
    assert ads["ttft_p95_ms"] == 30.0
    counted = done.histograms.group_by("team", "metric").agg(pl.col("calls").sum()).sort("team", "metric")
    assert counted.rows() == [(None, "latency", 2), ("ads", "latency", 3), ("ads", "ttft", 2)]
    assert set(done.histograms["month"]) == {date(2026, 10, 1)}


def test_a_row_stands_for_calls_of_its_own_number_and_weight() -> None:
    rows = [
        call(10.0, n_requests=3, sample_weight=2.0, output_tokens=30, cost_reported_usd=Decimal("0.3")),
        call(20.0, sample_weight=0.5, output_tokens=1, cost_reported_usd=Decimal("0.000000000000000003")),
        call(30.0, sample_weight=0.0, output_tokens=9),
    ]
    found = only(requests.roll_up(calls(rows)).days)
    assert found["rows"] == 3 and found["calls"] == Decimal("6.5")
    # Tokens are those of all calls of the row, durations those of one.
    assert found["output_tokens"] == Decimal("60.5")
    assert found["latency_ms"] == 10 * 6 + Decimal("20") / 2
    # Half of 3e-18 is rounded down, row by row.
    assert found["cost_reported_usd"] == Decimal("0.600000000000000001")
    # 6 of 6.5 calls take 10 ms, which is less than 95 %.
    assert (found["latency_p50_ms"], found["latency_p95_ms"]) == (10.0, 20.0)


def test_many_calls_in_a_row_need_no_sampling() -> None:
    rows = [call(10.0, n_requests=19), call(20.0, n_requests=1), call(None, "error", n_requests=5)]
    found = only(requests.roll_up(calls(rows)).days)
    assert (found["calls"], found["calls_ok"], found["calls_failed"]) == (25, 20, 5)
    assert (found["latency_p95_ms"], found["latency_p99_ms"]) == (10.0, 20.0)
    assert found["latency_ms"] == 210


def test_sums_that_do_not_fit_64_bits_do_not_wrap() -> None:
    rows = [call(output_tokens=2**62), call(output_tokens=2**62), call(output_tokens=2**62)]
    assert only(requests.roll_up(calls(rows)).days)["output_tokens"] == 3 * 2**62
    sampled = [row | {"sample_weight": 1000.0} for row in rows]
    assert only(requests.roll_up(calls(sampled)).days)["output_tokens"] == 3 * 2**62 * 1000


STATES = ("ok", "ok", "ok", "error", "timeout", "cancelled", "pending")
COLUMNS = (
    "input_uncached_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
)


def random_calls(draw: random.Random, weights: tuple[float, ...], number: int) -> list[Row]:
    rows = []
    for _ in range(number):
        row = call(
            draw.choice([None, 0.0, *(draw.lognormvariate(5, 2) for _ in range(5))]),
            draw.choice(STATES),
            day=DAY + timedelta(days=draw.randrange(-6, 2)),
            n_requests=draw.choice([1, 1, 7]),
            sample_weight=draw.choice(weights),
            ttft_ms=draw.choice([None, 3.0, 5.0]),
            is_retry=draw.choice([None, False, True]),
            served_from_cache=draw.choice([None, False, True]),
            cost_reported_usd=draw.choice([None, Decimal(draw.randrange(10**9)).scaleb(-6)]),
        )
        row |= {name: draw.choice([None, draw.randrange(5_000)]) for name in COLUMNS}
        row |= {name: draw.choice([None, "a", "b"]) for name in ("team", "customer", "pool_id")}
        rows.append(row)
    return rows


def brute(values: list[tuple[float, Fraction]], quantile: str) -> float | None:
    """Return the least value at which the share of the weight is reached."""
    total, up_to = sum((w for _, w in values), Fraction(0)), Fraction(0)
    for value, weight in sorted(values):
        up_to += weight
        if weight and up_to >= Fraction(quantile) * total:
            return value
    return None


@settings(max_examples=12)
@given(st.integers(0, 2**32), st.sampled_from([(1.0,), (2.0,), (1.0, 0.25, 10.0, 0.0)]))
def test_roll_ups_equal_brute_force(seed: int, weights: tuple[float, ...]) -> None:
    draw = random.Random(seed)
    rows = random_calls(draw, weights, 60)
    done = requests.roll_up(calls(rows))
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[(row["day"], *(row.get(name) for name in REQUEST_KEYS))].append(row)
    assert done.days.height == len(groups)
    for found in done.days.iter_rows(named=True):
        group = groups[(found["day"], *(found[name] for name in REQUEST_KEYS))]
        stands = [Fraction(row["n_requests"]) * Fraction(row["sample_weight"]) for row in group]
        assert found["rows"] == len(group)
        assert found["calls"] == sum(stands)
        for name, states in (("calls_ok", ["ok"]), ("calls_failed", ["error", "timeout"])):
            assert found[name] == sum(
                s for s, row in zip(stands, group, strict=True) if row["status"] in states
            )
        both = [
            s
            for s, row in zip(stands, group, strict=True)
            if row["status"] == "ok" and row["served_from_cache"]
        ]
        assert found["calls_cached"] == sum(both), "the successful ones that a cache answered"
        for name in COLUMNS:
            known = [
                Fraction(row[name]) * Fraction(row["sample_weight"]) for row in group if row[name] is not None
            ]
            assert found[name] == (sum(known) if known else None), name
        costs = [
            Fraction(row["cost_reported_usd"]) * Fraction(row["sample_weight"])
            for row in group
            if row["cost_reported_usd"] is not None
        ]
        assert found["cost_reported_usd"] == (sum(costs) if costs else None)
        timed = [(r["latency_ms"], s) for r, s in zip(group, stands, strict=True) if r["status"] == "ok"]
        timed = [(value, s) for value, s in timed if value is not None]
        for name, q in (("latency_p50_ms", "0.5"), ("latency_p95_ms", "0.95"), ("latency_p99_ms", "0.99")):
            assert found[name] == brute(timed, q), (name, timed)
    # Buckets hold the same calls, and the order of rows changes nothing.
    ok = sum(
        (
            Fraction(row["n_requests"]) * Fraction(row["sample_weight"])
            for row in rows
            if row["status"] == "ok" and row["latency_ms"] is not None
        ),
        Fraction(0),
    )
    held = done.histograms.filter(metric="latency")["calls"]
    assert sum(held.to_list(), Decimal(0)) == ok
    draw.shuffle(rows)
    again = requests.roll_up(calls(rows))
    assert_frame_equal(again.days, done.days)
    assert_frame_equal(again.histograms, done.histograms)


def test_months_are_sums_of_days_and_parts_come_in_any_order() -> None:
    rows = random_calls(random.Random(3), (1.0, 4.0), 400)
    frame = calls(rows)
    days = sorted({row["day"] for row in rows})
    parts = [requests.partial(frame.filter(day=day)) for day in days]
    done = requests.combine(parts)
    backward = requests.combine(reversed(parts))
    assert_frame_equal(done.days, backward.days)
    assert_frame_equal(done.histograms, backward.histograms)
    months = requests.months(done.days.lazy()).collect()
    assert months.schema == pl.Schema(REQUEST_MONTHS)
    assert months["month"].unique().sort().to_list() == [date(2026, 9, 1), date(2026, 10, 1)]
    totals = done.days.select(
        pl.col(name).sum() for name in ("rows", "calls", "output_tokens", "cost_reported_usd")
    )
    assert_frame_equal(months.select(totals.columns).sum(), totals)
    # Null stays null where no row knows.
    unknown = requests.months(requests.roll_up(calls([call(), call()])).days.lazy()).collect()
    assert only(unknown)["output_tokens"] is None and only(unknown)["rows_without_tokens"] == 2


@settings(max_examples=10)
@given(st.integers(0, 2**32), st.sampled_from([(1.0,), (0.3, 3.0)]))
def test_exact_percentiles_of_a_month_and_of_its_buckets(seed: int, weights: tuple[float, ...]) -> None:
    draw = random.Random(seed)
    rows = random_calls(draw, weights, 80)
    told = latency.exact_latency(calls(rows), by=["team"], batch=()).filter(
        pl.col("dimension") == "team", pl.col("measure").is_in(["p50", "p95"]), pl.col("value").is_not_null()
    )
    found = told.select(
        "month",
        pl.col("key").alias("team"),
        pl.col("measure")
        .replace_strict({"p50": 0.5, "p95": 0.95}, return_dtype=pl.Float64)
        .alias("quantile"),
        pl.col("value").cast(pl.Float64),
        "rows",
    ).sort("month", "team", "quantile", nulls_last=True)
    buckets = requests.roll_up(calls(rows)).histograms.lazy().filter(metric="latency")
    close = histogram.quantiles(buckets, ["month", "team"], [0.5, 0.95]).collect()
    assert found.select("month", "team", "quantile").equals(close.select("month", "team", "quantile"))
    for row, near in zip(found.iter_rows(named=True), close.iter_rows(named=True), strict=True):
        group = [
            (r["latency_ms"], Fraction(round(r["n_requests"] * r["sample_weight"] * 1000)))
            for r in rows
            if r["status"] == "ok"
            and r["latency_ms"] is not None
            and (r["day"].replace(day=1), r["team"]) == (row["month"], row["team"])
        ]
        assert row["value"] == brute(group, str(row["quantile"])) and row["rows"] == len(group)
        assert abs(near["value"] - row["value"]) <= (histogram.ACCURACY + 1e-9) * row["value"]
        assert near["lower"] <= row["value"] <= near["upper"]


def test_parts_are_of_one_day_and_have_what_they_need() -> None:
    with pytest.raises(InputError, match="one day"):
        requests.partial(calls(GOLDEN))
    with pytest.raises(InputError, match="sample_weight"):
        requests.roll_up(calls(GOLDEN).drop("sample_weight"))
    nothing = requests.roll_up(calls([]))
    assert nothing.days.schema == pl.Schema(REQUEST_DAYS) and nothing.days.is_empty()
    assert requests.months(nothing.days.lazy()).collect().is_empty()
    with pytest.raises(InputError, match="one day"):
        gpus.partial(samples([sample(0), sample(0, ts=START + timedelta(days=1))]))
    with pytest.raises(InputError, match="gpu_uuid"):
        gpus.roll_up(samples([sample(0)]).drop("gpu_uuid"))
    with pytest.raises(InputError, match="not told by power_w"):
        gpus.hours(samples([sample(0)]), ["power_w"])


def of_many_texts() -> list[Row]:
    rows = [dict.fromkeys(REQUEST_KEYS, f"v{n}") for n in range(64)] + [dict.fromkeys(REQUEST_KEYS)]
    return [call(**row) for row in (*rows, rows[5] | {"pool_id": None}, rows[5])]


def test_groups_of_many_texts_are_told_apart() -> None:
    done = requests.roll_up(calls(of_many_texts()))
    assert done.days.height == 66 and done.days["rows"].sum() == 67
    assert done.histograms["calls"].sum() == 67
    every = calls(of_many_texts()).select(REQUEST_KEYS).unique().sort(REQUEST_KEYS, nulls_last=True).collect()
    assert_frame_equal(done.days.select(REQUEST_KEYS), every)


def test_numbers_that_groups_share_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = requests.roll_up(calls(of_many_texts()))
    spread, keys = pl.Expr.hash, len(REQUEST_KEYS)

    def nothing(seeds: int) -> None:
        def hashed(column: pl.Expr, seed: int = 0) -> pl.Expr:
            number = seed // keys % 2 == 0  # and no check
            return spread(column, seed) * 0 if number and seed < seeds else spread(column, seed)

        monkeypatch.setattr(pl.Expr, "hash", hashed)

    nothing(2 * keys)
    found = requests.roll_up(calls(of_many_texts()))
    assert_frame_equal(found.days, plain.days)
    assert_frame_equal(found.histograms, plain.histograms)
    nothing(1_000)
    with pytest.raises(AssertionError, match="no number tells all groups of team, model"):
        requests.roll_up(calls(of_many_texts()))


START = datetime(2026, 10, 5, 7, tzinfo=UTC)


def sample(minute: float, util: float | None = 0.5, **more: Any) -> Row:
    row = {"ts": START + timedelta(minutes=minute), "interval_s": 60.0, "gpu_uuid": "g0", "util": util}
    row |= {"util_kind": "sm_active", "pool_id": "p", "cluster": "c", "day": DAY}
    return row | more


def samples(rows: list[Row]) -> pl.LazyFrame:
    return pl.LazyFrame(rows, schema=contracts.dtypes("gpu_samples"))


def test_gpu_time_by_hand() -> None:
    rate = Decimal("3.60")
    rows = [
        sample(0, 1.0, allocated=True, rate_usd_per_gpu_hour=rate),
        sample(1, 0.5, allocated=True, rate_usd_per_gpu_hour=rate),
        sample(2, 0.0, allocated=False, interval_s=120.0, rate_usd_per_gpu_hour=rate),
        sample(61, 0.25, gpu_uuid="g1"),
        sample(62, None, gpu_uuid="g2"),
        sample(0, 0.9, util_kind="gpu_util"),
    ]
    done = gpus.roll_up(samples(rows))
    assert done.schema == pl.Schema(GPU_DAYS)
    util, active = done.rows(named=True)
    assert (util["util_kind"], util["sampled_s"], util["busy_s"], util["gpus"]) == ("gpu_util", 60, 54, 1)
    assert util["sampled_usd"] is None and util["idle_usd"] is None and util["priced_s"] == 0
    assert (active["rows"], active["gpus"]) == (5, 3)
    assert (active["sampled_s"], active["busy_s"]) == (300, 105)
    assert (active["allocated_s"], active["allocated_busy_s"]) == (120, 90)
    # Hours: 90 of 240 s, then 15 of 60 s. A sample that was not measured is no time.
    assert active["peak_util"] == pytest.approx(0.375)
    assert active["priced_s"] == 240
    assert (active["sampled_usd"], active["idle_usd"]) == (Decimal("0.24"), Decimal("0.15"))


def test_samples_of_one_moment_share_its_time() -> None:
    twice = gpus.roll_up(samples([sample(0, 1.0), sample(0, 1.0), sample(1, 0.0)]))
    assert only(twice)["sampled_s"] == 120 and only(twice)["busy_s"] == 60 and only(twice)["rows"] == 3
    # Slices of a GPU, and teams that take turns on it.
    parts = [sample(0, 1.0, mig_id="1", team="ads"), sample(0, 0.5, mig_id="2", team="search")]
    done = gpus.roll_up(samples(parts))
    assert done.select("team", "sampled_s", "busy_s").rows() == [("ads", 30, 30), ("search", 30, 15)]
    # As dense as may be: a sample a second, one of them twice.
    dense = [sample(n / 60, 0.5, interval_s=1.0) for n in range(3_600)]
    assert only(gpus.roll_up(samples(dense)))["sampled_s"] == 3_600
    assert only(gpus.roll_up(samples([*dense, dense[7]])))["sampled_s"] == 3_600
    # Another GPU, another kind or another moment is no copy.
    apart = [sample(0), sample(0, gpu_uuid="g1"), sample(0, util_kind="gpu_util"), sample(0.001)]
    assert gpus.roll_up(samples(apart))["sampled_s"].to_list() == [60, 180]


@settings(max_examples=12)
@given(st.integers(0, 2**32), st.booleans())
def test_gpu_roll_ups_equal_brute_force(seed: int, copies: bool) -> None:
    draw = random.Random(seed)
    rows = []
    for minute in range(0, 60 * 30, 7):
        for gpu in range(2):
            row = sample(
                minute,
                draw.choice([None, 0.0, 1.0, draw.randrange(1000) / 1000]),
                gpu_uuid=f"g{gpu}",
                interval_s=draw.choice([420.0, 60.0]),
                team=draw.choice([None, "ads"]),
                allocated=draw.choice([None, True, False]),
                util_kind=draw.choice(["sm_active", "gpu_util"]),
            )
            rows += [row] * (draw.choice([1, 1, 2]) if copies else 1)
    alike: dict[tuple[Any, ...], int] = defaultdict(int)
    for row in rows:
        alike[row["gpu_uuid"], row["util_kind"], row["ts"]] += 1
    sampled: dict[tuple[Any, ...], Fraction] = defaultdict(Fraction)
    busy: dict[tuple[Any, ...], Fraction] = defaultdict(Fraction)
    for row in rows:
        time = Fraction(row["interval_s"]) / alike[row["gpu_uuid"], row["util_kind"], row["ts"]]
        key = (row["ts"].date(), row["team"], row["util_kind"])
        sampled[key] += 0 if row["util"] is None else time
        busy[key] += 0 if row["util"] is None else time * Fraction(str(row["util"]))
    draw.shuffle(rows)
    done = gpus.roll_up(samples(rows))
    assert done.height == len(sampled)
    for found in done.iter_rows(named=True):
        key = (found["day"], found["team"], found["util_kind"])
        assert abs(Fraction(found["sampled_s"]) - sampled[key]) <= Fraction(1, 1000)
        assert abs(Fraction(found["busy_s"]) - busy[key]) <= Fraction(1, 1000)
        assert (
            found["peak_util"] is None
            or found["busy_s"] <= Decimal(found["peak_util"] + 1e-9) * found["sampled_s"]
        )
    hourly = gpus.hours(samples(rows), ["team"])
    assert hourly["sampled_s"].sum() == done["sampled_s"].sum()
    assert hourly.height == len(
        {(r["ts"].replace(minute=0), r["gpu_uuid"], r["util_kind"], r["team"]) for r in rows}
    )


def test_utilization_of_each_gpu_by_hour() -> None:
    rows = [sample(0, 1.0), sample(59, 0.0), sample(60, 0.25), sample(60, None, gpu_uuid="g1")]
    found = gpus.hours(samples(rows))
    assert found.select("hour", "gpu_uuid", "sampled_s", "util").rows() == [
        (START, "g0", 120, 0.5),
        (START + timedelta(hours=1), "g0", 60, 0.25),
        (START + timedelta(hours=1), "g1", 0, None),
    ]
    assert math.isclose(found["busy_s"].cast(pl.Float64).sum(), 75)


def test_times_of_any_unit_and_what_is_no_number() -> None:
    one = pl.DataFrame({"ts": [START], "interval_s": [3600.0], "util": [0.5]}).with_columns(
        pl.col("ts").cast(pl.Datetime("us", "UTC")), gpu_uuid=pl.lit("g"), util_kind=pl.lit("sm_active")
    )
    whole = gpus.hours(one.lazy())
    assert whole["util"].to_list() == [0.5]
    for unit in ("ms", "ns"):
        assert gpus.hours(one.with_columns(pl.col("ts").dt.cast_time_unit(unit)).lazy()).equals(whole)
    # A rate that is no decimal yet is worth as much.
    priced = gpus.roll_up(one.with_columns(rate_usd_per_gpu_hour=pl.lit(2.5)).lazy())
    assert priced.select("sampled_usd", "idle_usd").row(0) == (Decimal("2.5"), Decimal("1.25"))
    for name, value in (("util", float("nan")), ("interval_s", float("inf")), ("interval_s", 1e300)):
        with pytest.raises(InputError, match=f"GPU g at .* has the {name}"):
            gpus.roll_up(one.with_columns(pl.lit(value).alias(name)).lazy())
