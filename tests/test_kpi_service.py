"""KPIs of serving: utilization (M2), latency (M4), errors (M5), scaling (M11)."""

from __future__ import annotations

import math
import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finops_lab.contracts import dtypes
from finops_lab.errors import InputError
from finops_lab.unit_economics import failures, histogram, latency, scaling, utilization
from finops_lab.unit_economics.schemas import FIGURES, GPU_DAYS, HISTOGRAMS, REQUEST_DAYS, REQUEST_MONTHS

OCTOBER, NOVEMBER = date(2026, 10, 1), date(2026, 11, 1)


def rows_of(schema: dict[str, Any], *rows: dict[str, Any], **common: Any) -> pl.DataFrame:
    """Return rows of a schema; numbers that are not given are 0, texts null."""
    filled = [
        {
            name: common.get(name, 0 if kind == pl.Int64 or kind == pl.Decimal(38, 3) else None)
            for name, kind in schema.items()
        }
        | row
        for row in rows
    ]
    return pl.DataFrame(filled, schema=schema)


def ratio(one: int, other: int) -> Decimal:
    """Return one over the other, rounded once to 18 decimals."""
    return round(Fraction(one, other) * 10**18) * Decimal("1E-18")


def value_of(
    figures: pl.DataFrame, measure: str, key: str | None = None, dimension: str | None = None, **where: Any
) -> dict[str, Any]:
    found = figures.filter(
        pl.col("measure") == measure,
        pl.col("dimension").eq_missing(pl.lit(dimension, pl.String)),
        pl.col("key").eq_missing(pl.lit(key, pl.String)),
        pl.col("month") == where.get("month", OCTOBER),
    )
    assert found.height == 1, f"{measure} {dimension} {key}: {found.height} figures"
    return found.row(0, named=True)


def test_every_measure_has_one_definition_and_every_figure_has_the_schema() -> None:
    for module in (utilization, latency, failures, scaling):
        names = [(one.kpi, one.measure) for one in module.DEFINITIONS]
        assert len(set(names)) == len(names)
        assert all(one.title and one.formula and one.tables and one.nothing for one in module.DEFINITIONS)
    headlines = {("M2", "gpu_util"), ("M4", "p95"), ("M5", "error_rate"), ("M11", "efficiency")}
    known = {
        (one.kpi, one.measure)
        for module in (utilization, latency, failures, scaling)
        for one in module.DEFINITIONS
    }
    assert headlines <= known


# Utilization


def gpu_day(**told: Any) -> dict[str, Any]:
    return {
        "day": date(2026, 10, 5),
        "cluster": "eu",
        "pool_id": "chat",
        "team": "search",
        "util_kind": "gpu_util",
        "rows": 1,
        "gpus": 1,
        "peak_util": 0.5,
    } | told


TWO_POOLS = rows_of(
    GPU_DAYS,
    # An hour at 90 %, nine hours at 10 %: 18 % by time, 50 % by counting rows.
    gpu_day(sampled_s=3600, busy_s=3240, allocated_s=3600, allocated_busy_s=3240, peak_util=0.95,
            priced_s=3600, sampled_usd=Decimal(4), idle_usd=Decimal("0.4")),
    gpu_day(day=date(2026, 10, 6), team=None, sampled_s=32400, busy_s=3240, allocated_s=0, peak_util=0.2,
            priced_s=16200, sampled_usd=Decimal(18), idle_usd=Decimal("16.2")),
    gpu_day(pool_id="batch", cluster="us", team="data", sampled_s=7200, busy_s=7200, allocated_s=7200,
            allocated_busy_s=7200, peak_util=1.0),
    gpu_day(util_kind="sm_active", sampled_s=3600, busy_s=360, allocated_s=3600, allocated_busy_s=360,
            peak_util=0.3),
)  # fmt: skip


def test_utilization_by_hand() -> None:
    found = utilization.gpu_utilization(TWO_POOLS)
    assert found.schema == pl.Schema(FIGURES)
    whole = value_of(found, "gpu_util")
    assert whole["value"] == ratio(3240 * 2 + 7200, 43200)
    assert (whole["numerator"], whole["denominator"], whole["rows"]) == (13680, 43200, 3)
    chat = value_of(found, "gpu_util", "chat", "pool_id")
    assert chat["value"] == Decimal("0.18")
    assert value_of(found, "gpu_util", None, "team")["value"] == Decimal("0.1")
    assert value_of(found, "gpu_util", "us", "cluster")["value"] == 1
    assert value_of(found, "gpu_util_while_held", "chat", "pool_id")["value"] == Decimal("0.9")
    assert value_of(found, "gpu_util_idle_gpu_hours")["value"] == Decimal(29520) / 3600
    assert value_of(found, "gpu_util_peak")["value"] == 1


def test_idle_money_says_which_part_of_the_time_has_a_rate() -> None:
    found = utilization.gpu_utilization(TWO_POOLS)
    chat = value_of(found, "gpu_util_idle_money", "chat", "pool_id")
    assert (chat["value"], chat["unit"], chat["coverage"]) == (Decimal("16.6"), "USD", 19800 / 36000)
    # The other hours cost something, too.
    assert (chat["lower"], chat["upper"]) == (Decimal("16.6"), None)
    assert value_of(found, "gpu_util_idle_money", "search", "team")["lower"] is None
    batch = value_of(found, "gpu_util_idle_money", "batch", "pool_id")
    assert batch["value"] is None
    assert "what an hour of the GPU costs" in batch["reason"]
    assert batch["coverage"] == 0
    # A sample with a rate that does not tell its use: no time, and no money of the others.
    untold = gpu_day(pool_id="r", sampled_s=7200, busy_s=1800, priced_s=0, sampled_usd=0, idle_usd=0)
    row = value_of(utilization.gpu_utilization(rows_of(GPU_DAYS, untold)), "gpu_util_idle_money")
    assert (row["value"], row["numerator"], row["lower"], row["coverage"]) == (None, None, None, 0)
    assert row["reason"] == "no sample says what an hour of the GPU costs"


def test_kinds_of_utilization_are_never_mixed() -> None:
    found = utilization.gpu_utilization(TWO_POOLS)
    assert value_of(found, "sm_active")["value"] == Decimal("0.1")
    alone = utilization.gpu_utilization(TWO_POOLS.filter(pl.col("util_kind") == "gpu_util"))
    mine = found.filter(~pl.col("measure").str.starts_with("sm_active"))
    assert alone.equals(mine)
    assert not found["measure"].str.starts_with("duty_cycle").any()


def test_utilization_without_sampled_time_is_undefined() -> None:
    found = utilization.gpu_utilization(rows_of(GPU_DAYS, gpu_day(peak_util=None)))
    for measure in ("gpu_util", "gpu_util_while_held", "gpu_util_peak", "gpu_util_idle_gpu_hours"):
        told = value_of(found, measure)
        assert told["value"] is None
        assert told["reason"]
    assert utilization.gpu_utilization(pl.DataFrame(schema=GPU_DAYS)).height == 0


def test_utilization_covers_a_part_of_what_was_paid() -> None:
    paid = pl.DataFrame({"month": [OCTOBER] * 2, "pool_id": ["chat", "batch"], "gpu_hours": [20.0, 1.0]})
    found = utilization.gpu_utilization(TWO_POOLS, paid=paid)
    assert value_of(found, "gpu_util")["coverage"] == pytest.approx(12 / 21)
    assert value_of(found, "gpu_util", "chat", "pool_id")["coverage"] == pytest.approx(0.5)
    # More sampled than paid for covers all of it.
    assert value_of(found, "gpu_util", "batch", "pool_id")["coverage"] == 1
    # What the bill does not tell apart stays unknown.
    assert value_of(found, "gpu_util", "search", "team")["coverage"] is None


def test_utilization_covers_the_days_on_which_its_pools_were_sampled() -> None:
    def on(day: int, **more: Any) -> dict[str, Any]:
        return gpu_day(day=date(2026, 10, day), sampled_s=60, busy_s=30, **more)

    days = rows_of(
        GPU_DAYS,
        gpu_day(day=date(2026, 9, 30), sampled_s=60, busy_s=30),
        *(on(day) for day in range(1, 29)),
        on(5, team="data"),  # the same pool
        on(22, pool_id="new", team="data"),  # from here on, ten days
        on(31, pool_id="new", team="data"),
        on(30, pool_id="new", team="data", util_kind="sm_active"),
    )

    def covered(*place: Any, **more: Any) -> float | None:
        found = utilization.gpu_utilization(days, **more)
        told: float | None = value_of(found.filter(pl.col("month") == OCTOBER), *place)["coverage"]
        return told

    assert covered("gpu_util") == (28 + 2) / (31 + 10)
    assert covered("gpu_util", "chat", "pool_id") == 28 / 31
    assert covered("gpu_util", "data", "team") == (28 + 2) / (31 + 10)
    assert covered("sm_active") == 1 / 2
    # Of a month that runs, up to the last day known; a pool that was sampled since is no less.
    assert covered("gpu_util", "chat", "pool_id", until=date(2026, 10, 30)) == 28 / 29
    assert covered("gpu_util", "new", "pool_id", until=date(2026, 10, 30)) == 2 / 10
    paid = pl.DataFrame({"month": [date(2026, 9, 1)], "gpu_hours": [1.0]})
    assert covered("gpu_util", paid=paid) == (28 + 2) / (31 + 10)


def test_utilization_by_the_model_that_a_pool_serves() -> None:
    pools = pl.DataFrame({"pool_id": ["chat"], "model": ["large"]})
    found = utilization.gpu_utilization(TWO_POOLS, pools=pools, by=["model"])
    assert value_of(found, "gpu_util", "large", "model")["value"] == Decimal("0.18")
    assert value_of(found, "gpu_util", None, "model")["value"] == 1
    assert "model" not in utilization.gpu_utilization(TWO_POOLS)["dimension"].to_list()


def test_a_pool_of_two_models_serves_none_by_name() -> None:
    calls = pl.DataFrame({"pool_id": ["a", "b", "b", None, "c"], "model": ["m", "m", "n", "m", None]})
    assert utilization.pool_models(requests=calls).rows() == [("a", "m")]
    written = pl.DataFrame({"pool_id": ["a", "d"], "model": ["other", "n"]})
    assert utilization.pool_models(written, calls).rows() == [("a", "other"), ("d", "n")]


def test_paid_gpu_hours_leave_out_refunds_and_rows_without_gpus() -> None:
    bill = pl.DataFrame(
        {
            "ChargePeriodStart": [datetime(2026, 10, 3)] * 4,
            "EffectiveCost": [10.0, -10.0, 5.0, 1.0],
            "ConsumedQuantity": [2.0, 2.0, 3.0, 100.0],
            "ConsumedUnit": ["Hours", "Hours", "Hours", "GB"],
            "x_GpuCount": [8.0, 8.0, None, 1.0],
            "team": ["a"] * 4,
        }
    )
    assert utilization.paid_gpu_hours(bill, ["team"]).rows() == [(OCTOBER, "a", 16.0, 1)]
    assert utilization.paid_gpu_hours(bill.drop("x_GpuCount")).height == 0
    with pytest.raises(InputError, match="cluster"):
        utilization.paid_gpu_hours(bill, ["cluster"])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_utilization_equals_brute_force(seed: int) -> None:
    chance = random.Random(seed)
    rows = []
    for _ in range(chance.randint(1, 12)):
        sampled = chance.choice([0, 600, 3600, 7200])
        busy = chance.randint(0, sampled)
        rows.append(
            gpu_day(
                day=date(2026, chance.choice([9, 10]), chance.randint(1, 30)),
                pool_id=chance.choice(["a", "b", None]),
                util_kind=chance.choice(["gpu_util", "sm_active"]),
                sampled_s=sampled,
                busy_s=busy,
            )
        )
    found = utilization.gpu_utilization(rows_of(GPU_DAYS, *rows), by=["pool_id"])
    for kind in {row["util_kind"] for row in rows}:
        for month in {row["day"].replace(day=1) for row in rows if row["util_kind"] == kind}:
            mine = [r for r in rows if r["util_kind"] == kind and r["day"].replace(day=1) == month]
            for pool in {row["pool_id"] for row in mine}:
                some = [row for row in mine if row["pool_id"] == pool]
                sampled, busy = (sum(row[name] for row in some) for name in ("sampled_s", "busy_s"))
                told = value_of(found, kind, pool, "pool_id", month=month)
                if sampled:
                    assert abs(Fraction(told["value"]) - Fraction(busy, sampled)) <= Fraction(1, 10**18)
                else:
                    assert told["value"] is None


# Latency


def calls_frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    schema = {
        "day": pl.Date, "status": pl.String, "n_requests": pl.Int64, "sample_weight": pl.Float64,
        "model": pl.String, "variant": pl.String, "service_tier": pl.String,
        "latency_ms": pl.Float64, "ttft_ms": pl.Float64,
    }  # fmt: skip
    common = {"day": date(2026, 10, 5), "status": "ok", "n_requests": 1, "sample_weight": 1.0}
    return pl.DataFrame([common | row for row in rows], schema=schema)


def buckets_of(calls: pl.DataFrame) -> pl.DataFrame:
    """Return HISTOGRAMS of calls, made by the histogram's own bucket function."""
    parts = [
        histogram.build(
            calls.lazy().filter(pl.col("status") == "ok").with_columns(pl.lit(OCTOBER).alias("month")),
            f"{metric}_ms",
            ["month", "model", "variant"],
            pl.col("n_requests") * pl.col("sample_weight"),
        )
        .with_columns(pl.lit(metric).alias("metric"))
        .collect()
        for metric in ("latency", "ttft")
    ]
    found = pl.concat(parts)
    absent = [
        pl.lit(None, kind).alias(name) for name, kind in HISTOGRAMS.items() if name not in found.columns
    ]
    return found.with_columns(absent).select(list(HISTOGRAMS))


def test_exact_latency_counts_the_calls_that_a_row_stands_for() -> None:
    calls = calls_frame(
        [
            {"latency_ms": 100.0, "ttft_ms": 10.0, "sample_weight": 94.0},
            {"latency_ms": 900.0, "n_requests": 5},
            {"latency_ms": 5000.0, "sample_weight": 1.0},
            {"latency_ms": 1.0, "sample_weight": 1000.0, "status": "error"},
        ]
    )
    found = latency.exact_latency(calls, by=["model"])
    assert found.schema == pl.Schema(FIGURES)
    p95 = value_of(found, "p95")
    assert (p95["value"], p95["denominator"], p95["numerator"], p95["rows"]) == (900, 100, 95, 3)
    assert (p95["lower"], p95["upper"], p95["coverage"]) == (None, None, 1.0)
    assert value_of(found, "p50")["value"] == 100
    assert value_of(found, "p99")["value"] == 900
    ttft = value_of(found, "ttft_p95")
    assert (ttft["value"], ttft["coverage"]) == (10, 0.94)


def test_batch_calls_are_not_interactive() -> None:
    calls = calls_frame(
        [
            {"latency_ms": 100.0, "model": "m"},
            {"latency_ms": 9e6, "model": "m", "variant": "batch"},
            {"latency_ms": 8e6, "model": "m", "service_tier": "Batch"},
            {"latency_ms": 7e6, "model": "n", "variant": "batch"},
        ]
    )
    found = latency.exact_latency(calls, by=["model"])
    assert value_of(found, "p99")["value"] == 100
    only_batch = value_of(found, "p95", "n", "model")
    assert only_batch["value"] is None
    assert "batch calls left out" in only_batch["reason"]
    assert value_of(latency.exact_latency(calls, by=["model"], batch=()), "p99")["value"] == 9_000_000
    held = buckets_of(calls.filter(pl.col("service_tier").is_null()))
    merged = latency.latency(held, by=["variant"])
    assert abs(value_of(merged, "p95")["value"] - 100) <= 1
    assert value_of(merged, "p95", "batch", "variant")["value"] is None


def test_latency_from_buckets_is_between_its_bounds_and_tells_its_coverage() -> None:
    calls = calls_frame([{"latency_ms": float(ms), "ttft_ms": None} for ms in range(1, 101)])
    months = rows_of(REQUEST_MONTHS, {"month": OCTOBER, "calls_ok": 125})
    found = latency.latency(buckets_of(calls), requests=months, by=())
    p95 = value_of(found, "p95")
    assert p95["lower"] <= 95 <= p95["upper"]
    assert abs(p95["value"] - 95) <= Decimal("0.95")
    assert (p95["coverage"], p95["denominator"], p95["numerator"]) == (0.8, 100, 95)
    unknown = value_of(found, "ttft_p95")
    assert unknown["value"] is None
    assert unknown["reason"]
    assert latency.latency(pl.DataFrame(schema=HISTOGRAMS)).height == 0
    with pytest.raises(InputError, match="the calls have no column 'model'"):
        latency.latency(buckets_of(calls), requests=months.drop("model"), by=["model"])
    assert latency.exact_latency(calls.clear(), by=[]).height == 0


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_quantiles_of_latency_equal_brute_force(seed: int) -> None:
    chance = random.Random(seed)
    calls = calls_frame(
        [
            {
                "latency_ms": chance.choice([0.0, 5.0, 80.0, round(chance.lognormvariate(6, 2), 3)]),
                "sample_weight": chance.choice([1.0, 0.5, 16.0]),
                "n_requests": chance.randint(1, 3),
                "model": chance.choice(["a", "b"]),
            }
            for _ in range(chance.randint(1, 30))
        ]
    )
    exact = latency.exact_latency(calls, by=["model"])
    near = latency.latency(buckets_of(calls), by=["model"])
    for key in (None, *sorted(set(calls["model"]))):
        mine = calls if key is None else calls.filter(pl.col("model") == key)
        pairs = sorted(
            (ms, Fraction(n * w))
            for ms, n, w in mine.select("latency_ms", "n_requests", "sample_weight").rows()
        )
        total = sum(weight for _, weight in pairs)
        for measure, share in (
            ("p50", Fraction(1, 2)),
            ("p95", Fraction(19, 20)),
            ("p99", Fraction(99, 100)),
        ):
            seen, want = Fraction(0), math.inf
            for ms, weight in pairs:
                seen += weight
                if seen >= share * total:
                    want = ms
                    break
            dimension = None if key is None else "model"
            assert float(value_of(exact, measure, key, dimension)["value"]) == pytest.approx(want, abs=1e-9)
            told = value_of(near, measure, key, dimension)
            assert float(told["lower"]) <= want * (1 + 1e-9)
            assert want <= float(told["upper"]) * (1 + 1e-9) + 1e-300
            assert float(told["value"]) == pytest.approx(want, rel=0.0101)


def engine_rows(counts: dict[float, int], **told: Any) -> list[dict[str, Any]]:
    common = {
        "ts": datetime(2026, 10, 5, tzinfo=UTC),
        "window_s": 60.0,
        "metric": "latency",
        "pool_id": "chat",
    }
    return [common | told | {"le_ms": end, "cumulative_count": count} for end, count in counts.items()]


def test_engine_histograms_are_interpolated_and_open_at_the_end() -> None:
    rows = engine_rows({100.0: 80, 200.0: 96, math.inf: 100})
    rows += engine_rows(
        {100.0: 80, 200.0: 96, math.inf: 100}, pool_id="other", ts=datetime(2026, 10, 6, tzinfo=UTC)
    )
    found = latency.engine_latency(pl.DataFrame(rows), by=["pool_id"])
    p95 = value_of(found, "engine_p95", "chat", "pool_id")
    # 95 of 100: 15 of the 16 calls between 100 and 200 ms.
    assert (p95["value"], p95["lower"], p95["upper"]) == (Decimal("193.75"), 100, 200)
    assert (p95["denominator"], p95["rows"]) == (100, 3)
    assert value_of(found, "engine_p95")["denominator"] == 200
    open_end = value_of(found, "engine_p99")
    assert (open_end["value"], open_end["lower"], open_end["upper"]) == (None, 200, None)
    assert "only the lower bound" in open_end["reason"]
    assert latency.engine_latency(pl.DataFrame(rows).clear(), by=["pool_id"]).height == 0


def test_figures_come_by_dimension_and_then_by_measure_month_and_key() -> None:
    calls = calls_frame([{"latency_ms": 5.0, "ttft_ms": 1.0, "model": model} for model in ("b", "a", None)])
    engines = [
        row for pool in ("chat", "batch") for row in engine_rows({100.0: 80, math.inf: 100}, pool_id=pool)
    ]
    months = rows_of(REQUEST_MONTHS, *({"month": m, "model": "a"} for m in (NOVEMBER, OCTOBER)))
    days = [
        gpu_day(day=month, util_kind=kind)
        for kind in ("sm_active", "gpu_util")
        for month in (NOVEMBER, OCTOBER)
    ]
    kinds = ["gpu_util", "sm_active"]
    for found, dimension, defined in (
        (latency.latency(buckets_of(calls), by="model"), "model", latency.DEFINITIONS),
        (latency.exact_latency(calls, by="model"), "model", latency.DEFINITIONS),
        (latency.engine_latency(pl.DataFrame(engines), by="pool_id"), "pool_id", latency.DEFINITIONS),
        (failures.error_rates(months, by="model"), "model", failures.DEFINITIONS),
        (
            utilization.gpu_utilization(rows_of(GPU_DAYS, *days), by="pool_id"),
            "pool_id",
            utilization.DEFINITIONS,
        ),
    ):
        places = {one.measure: place for place, one in enumerate(defined)}
        told = [
            # Kinds of utilization are told one after the other.
            (
                [measure.startswith(kind) for kind in kinds],
                named == dimension,
                places[measure],
                month,
                key or "~",
            )
            for measure, named, month, key in found.select("measure", "dimension", "month", "key").iter_rows()
        ]
        assert len(set(found["measure"])) > 2
        assert told == sorted(told, key=lambda one: ([not is_of for is_of in one[0]], *one[1:]))


def test_calls_within_a_target_are_counted_between_bounds() -> None:
    calls = calls_frame([{"latency_ms": float(ms)} for ms in (50, 150, 400, 450, 900)]).with_columns(
        pool_id=pl.lit("chat")
    )
    held = buckets_of(calls).with_columns(pool_id=pl.lit("chat"))
    found = latency.calls_within(held, 400.0)
    assert found.select("pool_id", "all_calls", "seconds").row(0) == ("chat", 5, 31 * 86_400)
    low, high = found.select("lower", "upper").row(0)
    assert low <= 3 <= high
    days = rows_of(REQUEST_DAYS, {"day": date(2026, 10, 5)}, {"day": date(2026, 10, 6)})
    assert latency.calls_within(held, 400.0, days=days)["seconds"].to_list() == [2 * 86_400]
    assert latency.calls_within(buckets_of(calls), 400.0).height == 0


# Errors


def test_error_rate_counts_finished_calls_by_their_weight() -> None:
    months = rows_of(
        REQUEST_MONTHS,
        {"month": OCTOBER, "model": "a", "rows": 3, "calls": 110, "calls_ok": 90, "calls_failed": 10,
         "calls_cancelled": 6, "calls_pending": 4, "calls_retried": 11, "calls_retry_told": 44},
        {"month": OCTOBER, "model": "b", "rows": 1, "calls": 10, "calls_pending": 10},
        {"month": NOVEMBER, "model": "a", "rows": 1, "calls": 8, "calls_ok": 8},
    )  # fmt: skip
    found = failures.error_rates(months, by=["model"])
    whole = value_of(found, "error_rate")
    assert (whole["value"], whole["numerator"], whole["denominator"]) == (Decimal("0.1"), 10, 100)
    assert (whole["rows"], whole["coverage"]) == (4, pytest.approx(106 / 120))
    assert value_of(found, "cancelled_share")["value"] == ratio(6, 106)
    assert value_of(found, "retry_share")["value"] == ratio(11, 44)
    pending = value_of(found, "error_rate", "b", "model")
    assert (pending["value"], pending["reason"]) == (None, "no call finished")
    assert value_of(found, "error_rate", month=NOVEMBER)["value"] == 0


def test_days_and_months_give_the_same_error_rate() -> None:
    days = rows_of(
        REQUEST_DAYS,
        *(
            {"day": date(2026, 10, day), "calls": 10, "calls_ok": 10 - day, "calls_failed": day}
            for day in (1, 2, 3)
        ),
    )
    assert value_of(failures.error_rates(days, by=()), "error_rate")["value"] == ratio(6, 30)


def evaluation(**told: Any) -> dict[str, Any]:
    return {
        "ts": datetime(2026, 10, 2, tzinfo=UTC), "model": "m", "variant": None, "dataset": "qa",
        "metric": "accuracy", "value": 0.9, "n": 100, "split": "test", "higher_is_better": True,
    } | told  # fmt: skip


def test_labelled_errors_are_weighted_by_items_and_leave_out_other_metrics() -> None:
    samples = pl.DataFrame(
        [
            evaluation(value=0.9, n=300),
            evaluation(value=0.5, n=100, model="other", metric="Exact_Match"),
            evaluation(metric="bleu", value=0.4),
            evaluation(value=78.0),
            evaluation(n=None),
            evaluation(split="train", value=1.0),
            evaluation(higher_is_better=False),
            evaluation(metric="loss", value=0.1, model="worst"),
        ],
        schema={name: kind for name, kind in dtypes("accuracy_samples").items() if name in evaluation()},
    )
    found = failures.labelled_error_rate(samples)
    whole = value_of(found, "labelled_error_rate")
    assert (whole["value"], whole["numerator"], whole["denominator"]) == (Decimal("0.2"), 80, 400)
    assert (whole["rows"], whole["coverage"]) == (2, 0.25)
    assert value_of(found, "labelled_error_rate", "m", "model")["value"] == Decimal("0.1")
    unusable = value_of(found, "labelled_error_rate", "worst", "model")
    assert (unusable["value"], unusable["coverage"]) == (None, 0.0)
    assert failures.labelled_error_rate(samples.clear()).height == 0


# Scaling


def interval(ready: float | None, needed: float | None, **told: Any) -> dict[str, Any]:
    return {
        "ts": datetime(2026, 10, 5, tzinfo=UTC), "interval_s": 3600.0, "pool_id": "chat", "unit": "gpu",
        "ready": ready, "needed": needed,
    } | told  # fmt: skip


def event(minute: float, before: float | None, after: float | None, **told: Any) -> dict[str, Any]:
    return {
        "ts_decision": datetime(2026, 10, 5, tzinfo=UTC) + timedelta(minutes=minute), "ts_ready": None,
        "pool_id": "chat", "unit": "gpu", "from_units": before, "to_units": after,
    } | told  # fmt: skip


SERIES = {name: kind for name, kind in dtypes("capacity_series").items() if name in interval(0, 0)}
EVENTS = {name: kind for name, kind in dtypes("scale_events").items() if name in event(0, 0, 0)}


def scaled(series: list[dict[str, Any]], events: list[dict[str, Any]], **options: Any) -> pl.DataFrame:
    return scaling.scaling(
        pl.DataFrame(series, schema=SERIES), pl.DataFrame(events, schema=EVENTS), **options
    )


def test_capacity_needed_and_provided_by_hand() -> None:
    found = scaled([interval(4, 2), interval(4, 5), interval(2, 2), interval(8, None), interval(None, 3)], [])
    whole = value_of(found, "efficiency")
    assert whole["value"] == Decimal("0.9")
    assert (whole["numerator"], whole["denominator"]) == (9 * 3600, 10 * 3600)
    assert (whole["rows"], whole["coverage"]) == (3, 0.6)
    assert value_of(found, "under_provisioned_share")["value"] == ratio(1, 3)
    assert value_of(found, "missing_capacity_share")["value"] == Decimal("0.111111111111111111")
    assert value_of(found, "over_provisioned_hours")["value"] == 2
    assert value_of(found, "efficiency", "chat", "pool_id")["value"] == Decimal("0.9")
    assert "scale_events_per_day" not in found["measure"].to_list()


def test_capacity_in_different_units_is_not_added() -> None:
    mixed = [interval(4, 2), interval(10, 5, pool_id="nodes", unit="node")]
    found = scaled(mixed, [])
    whole = value_of(found, "efficiency")
    assert (whole["value"], whole["numerator"], whole["denominator"]) == (None, None, None)
    assert "different units" in whole["reason"]
    assert value_of(found, "over_provisioned_hours")["value"] is None
    # Time is time.
    assert value_of(found, "under_provisioned_share")["value"] == 0
    assert value_of(found, "efficiency", "nodes", "pool_id")["value"] == Decimal("0.5")
    assert value_of(scaled(mixed, [], unit="gpu"), "efficiency")["value"] == Decimal("0.5")


def test_need_that_nothing_measured_is_unknown() -> None:
    found = scaled([interval(4, None)], [])
    for measure in (
        "efficiency",
        "under_provisioned_share",
        "missing_capacity_share",
        "over_provisioned_hours",
    ):
        told = value_of(found, measure)
        assert told["value"] is None
        assert told["reason"]
    assert scaled([], []).height == 0


def test_thrash_is_a_change_taken_back_within_half_an_hour() -> None:
    events = [
        event(0, 2, 4),
        event(30, 4, 2),  # back after exactly 30 minutes
        event(61, 2, 4),  # back too late
        event(62, 4, 6),  # the same way
        event(63, 6, 6),  # no change
        event(64, None, 3),  # unknown
        event(70, 6, 5),  # back after 8 minutes, past two events that tell no direction
        event(71, 2, 9, pool_id="other"),
    ]
    found = scaled([interval(1, 1), interval(1, 1, ts=datetime(2026, 10, 6, tzinfo=UTC))], events)
    thrash = value_of(found, "thrash_share", "chat", "pool_id")
    assert (thrash["numerator"], thrash["denominator"], thrash["coverage"]) == (2, 5, pytest.approx(5 / 7))
    assert value_of(found, "scale_events_per_day")["value"] == 4
    unwatched = value_of(found, "scale_events_per_day", "other", "pool_id")
    assert (unwatched["value"], unwatched["numerator"]) == (None, 1)
    assert "capacity series" in unwatched["reason"]


def test_decision_to_ready_counts_scale_ups_alone() -> None:
    at = datetime(2026, 10, 5, tzinfo=UTC)
    ups = [event(n, 1, 2, ts_ready=at + timedelta(minutes=n, seconds=10 * (n + 1))) for n in range(19)]
    slow = event(30, 2, 3, ts_ready=at + timedelta(minutes=30, seconds=999))
    down = event(40, 3, 1, ts_ready=at + timedelta(minutes=400))
    found = scaled([], [*ups, slow, down, event(50, 1, 2)])
    told = value_of(found, "ready_p95")
    assert (told["value"], told["numerator"], told["denominator"]) == (190, 19, 20)
    assert told["coverage"] == pytest.approx(20 / 21)
    none = value_of(scaled([], [event(0, 2, 1)]), "ready_p95")
    assert (none["value"], none["reason"]) == (None, "no scale-up says when it was ready")


def test_money_per_qps_names_what_is_missing() -> None:
    keys = {"month": [OCTOBER] * 2}
    money = pl.DataFrame(keys | {"pool_id": ["a", "b"], "money": [Decimal(100), Decimal(7)]})
    calls = pl.DataFrame(keys | {"pool_id": ["a", "c"], "calls": [7200, 10], "seconds": [3600, 3600]})
    found = scaling.money_per_qps(money, calls, currency="EUR")
    assert value_of(found, "money_per_qps", "a", "pool_id")["value"] == 50
    whole = value_of(found, "money_per_qps")
    assert (whole["value"], whole["unit"], whole["coverage"]) == (50, "EUR per QPS", 0.5)
    assert "calls of the pool" in value_of(found, "money_per_qps", "b", "pool_id")["reason"]
    assert "money of the pool" in value_of(found, "money_per_qps", "c", "pool_id")["reason"]
    idle = pl.DataFrame({"month": [OCTOBER], "pool_id": ["a"], "calls": [0], "seconds": [3600]})
    assert value_of(scaling.money_per_qps(money, idle), "money_per_qps", "a", "pool_id")["value"] is None


def test_money_per_qps_by_gpu_samples_needs_no_split_of_the_bill() -> None:
    """Two days of calls; `a` was sampled on both by two kinds that agree, each other pool lacks something."""
    kinds, day = ("gpu_util", "sm_active"), 86_400
    told = [("a", kind, n, day, "48") for kind in kinds for n in (1, 2)]
    told += [
        ("late", "gpu_util", 2, day, "48"),
        ("free", "gpu_util", 1, 0, None),
        ("free", "gpu_util", 2, 0, None),
    ]
    told += [
        ("mixed", kind, n, day, usd) for kind, usd in zip(kinds, ("48", "30"), strict=True) for n in (1, 2)
    ]
    told += [("a", "gpu_util", 3, day, "99")]  # no call is known of that day
    gpus = pl.DataFrame(
        [
            {"day": date(2026, 10, n), "pool_id": pool, "util_kind": kind, "sampled_s": day, "priced_s": priced,
             "sampled_usd": usd and Decimal(usd)}
            for pool, kind, n, priced, usd in told
        ],
        schema_overrides=GPU_DAYS,
    )  # fmt: skip
    money = scaling.sampled_money(gpus, pl.DataFrame({"day": [date(2026, 10, 1), date(2026, 10, 2)]}))
    assert money.select("pool_id", "money").rows() == [
        ("a", 96), ("free", None), ("late", None), ("mixed", None),
    ]  # fmt: skip
    calls = pl.DataFrame(
        {"month": [date(2026, 10, 1)] * 2, "pool_id": ["a", "own"], "calls": [2 * day, 2 * day]}
    )
    calls = calls.with_columns(pl.lit(2 * day).alias("seconds"))
    found = scaling.money_per_qps(money, calls, by_samples=True)
    name = "money_per_qps_by_samples"
    assert value_of(found, name, "a", "pool_id")["value"] == 96  # USD, for one call a second
    assert (value_of(found, name)["value"], value_of(found, name)["coverage"]) == (96, 1)
    for pool, why in (
        ("late", "1 of the 2 days"),
        ("free", "no rate"),
        ("mixed", "unlike"),
        ("own", "no GPU sample"),
    ):
        assert why in value_of(found, name, pool, "pool_id")["reason"]
    unsplit = scaling.money_per_qps(money.clear(), calls)
    assert "[[splits]]" in value_of(unsplit, "money_per_qps")["reason"]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_scaling_equals_brute_force(seed: int) -> None:
    chance = random.Random(seed)
    some = [None, 0.0, 1.0, 2.5, 7.0]
    series = [
        interval(chance.choice(some), chance.choice(some), interval_s=chance.choice([60.0, 3600.0]))
        for _ in range(chance.randint(1, 12))
    ]
    events = [
        event(chance.randint(0, 90) + n / 1000, chance.choice(some), chance.choice(some)) for n in range(12)
    ]
    found = scaled(series, events)
    known = [row for row in series if row["ready"] is not None and row["needed"] is not None]
    ready = sum((Fraction(row["ready"]) * int(row["interval_s"]) for row in known), Fraction(0))
    needed = sum((Fraction(row["needed"]) * int(row["interval_s"]) for row in known), Fraction(0))
    told = value_of(found, "efficiency")["value"]
    assert (told is None) == (ready == 0)
    assert told is None or abs(Fraction(told) - needed / ready) <= Fraction(1, 10**18)
    moves = sorted(
        (row["ts_decision"], row["to_units"] > row["from_units"])
        for row in events
        if row["from_units"] is not None
        and row["to_units"] is not None
        and row["from_units"] != row["to_units"]
    )
    back = sum(
        moves[n][1] != moves[n - 1][1] and moves[n][0] - moves[n - 1][0] <= scaling.THRASH
        for n in range(1, len(moves))
    )
    thrash = value_of(found, "thrash_share")
    assert (thrash["numerator"], thrash["denominator"]) == (back, len(moves))


def test_engine_histograms_of_unlike_buckets_keep_bounds_that_hold() -> None:
    rows = engine_rows({100.0: 10, math.inf: 10}) + engine_rows(
        {50.0: 0, 400.0: 90, math.inf: 90}, pool_id="other"
    )
    told = value_of(latency.engine_latency(pl.DataFrame(rows), by=[]), "engine_p50")
    assert (told["lower"], told["upper"], told["denominator"]) == (50, 400, 100)
    assert told["lower"] <= told["value"] <= told["upper"]
    # A scrape whose counts fall is broken: what was counted stays counted.
    broken = engine_rows({100.0: 50, 200.0: 40, math.inf: 100})
    assert value_of(latency.engine_latency(pl.DataFrame(broken), by=[]), "engine_p50")["value"] == 100
