"""Buckets that merge: within 1 % of the exact quantile, whatever was counted and however it was merged."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from itertools import permutations
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from finops_lab.errors import InputError
from finops_lab.unit_economics import histogram
from finops_lab.unit_economics.histogram import INFINITE, ZERO, build, from_cumulative, merge, quantiles

AT = (0.01, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 1)
WITHIN = histogram.ACCURACY + 1e-9
DRAW = random.Random(7)

HOSTILE = {
    "constant": [42.0] * 1_000,
    "one value": [0.3],
    "two values": [1.0, 1e9],
    "zeros": [0.0] * 99 + [5.0],
    "only zeros": [0.0] * 10,
    "two spikes": [3.0] * 950 + [3_000.0] * 50,
    "two spikes, one more": [3.0] * 949 + [3_000.0] * 51,
    "heavy tail": [1e-3 * 10 ** (15 * DRAW.random()) for _ in range(3_000)],
    "lognormal": [DRAW.lognormvariate(6, 1.5) for _ in range(3_000)],
    "edges of buckets": [histogram.GAMMA**n for n in range(-500, 500)],
    "beside edges": [math.nextafter(histogram.GAMMA**n, 0) for n in range(-500, 500)],
    "tiny": [5e-324, 1e-310, 2.3e-308, 1e-300],
    "huge": [1e300, 1.7e308, 1.0],
    "whole numbers": [float(n) for n in range(1, 5_000)],
}


def exact(values: Sequence[float], quantile: float) -> float:
    """Return the least value that the share is at or below, by counting."""
    place = math.ceil(Fraction(str(quantile)) * len(values))
    return sorted(values)[max(place, 1) - 1]


def check(values: Sequence[float], at: Sequence[float] = AT) -> None:
    """Compare every quantile with the exact one; polars' own "equiprobable" is the same."""
    found = quantiles(build(pl.LazyFrame({"v": values}, {"v": pl.Float64}), "v"), at=at).collect()
    assert found["quantile"].to_list() == sorted(float(q) for q in at)
    for row in found.iter_rows(named=True):
        truth = exact(values, row["quantile"])
        assert row["calls"] == len(values)
        assert row["lower"] <= truth <= row["upper"] or truth < 2.3e-308
        assert abs(row["value"] - truth) <= WITHIN * truth + 2.3e-308, (row, truth)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_distributions_are_within_one_percent(name: str) -> None:
    check(HOSTILE[name])


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("q", [0.5, 0.95, 0.99])
def test_the_exact_quantile_is_the_one_of_polars(name: str, q: float) -> None:
    assert pl.Series(HOSTILE[name]).quantile(q, "equiprobable") == exact(HOSTILE[name], q)


@settings(max_examples=40)
@given(st.lists(st.floats(0, 1e300, allow_subnormal=False), min_size=1, max_size=60))
def test_any_values_are_within_one_percent(values: list[float]) -> None:
    check(values)


@settings(max_examples=40)
@given(st.lists(st.floats(1e-3, 1e12), min_size=2, max_size=80), st.randoms())
def test_parts_merge_to_the_same_in_any_order(values: list[float], draw: random.Random) -> None:
    rows = pl.DataFrame({"v": values, "part": [draw.randrange(4) for _ in values]})
    parts = [build(part.lazy(), "v") for part in rows.partition_by("part")]
    whole = build(rows.lazy(), "v").collect()
    for order in permutations(parts):
        assert_frame_equal(merge(order).collect(), whole)
    halves = [merge(parts[:1]), merge(parts[1:])] if len(parts) > 1 else parts
    assert_frame_equal(merge(halves).collect(), whole)


def test_some_buckets_at_a_time_merge_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [*HOSTILE["edges of buckets"], 0.0, math.inf]
    rows = pl.DataFrame({"m": [None, "b"] * (len(values) // 2), "v": values})
    parts = [build(part.lazy(), "v", ["m"]) for part in rows.iter_slices(300)]
    whole = merge(parts).collect()
    assert_frame_equal(histogram.merged(parts), whole)
    monkeypatch.setattr(histogram, "_AT_ONCE", 200)
    assert_frame_equal(histogram.merged(parts), whole)


def test_weights_that_are_no_whole_numbers_merge_exactly() -> None:
    rows = pl.DataFrame({"v": [10.0] * 30 + [20.0] * 30, "w": [0.1] * 30 + [0.7] * 30})
    parts = [build(part.lazy(), "v", weight=pl.col("w")) for part in rows.iter_slices(7)]
    forward, backward = merge(parts).collect(), merge(parts[::-1]).collect()
    assert_frame_equal(forward, backward)
    assert forward["calls"].to_list() == [Decimal("3.000"), Decimal("21.000")]
    # 3 of 24 calls are at the lower value: exactly the share of one eighth.
    found = quantiles(forward.lazy(), at=[0.125, 0.126]).collect()
    assert found["value"].round(1).to_list() == [10.1, 19.9]


def test_groups_have_their_own_quantiles() -> None:
    rows = pl.LazyFrame({"m": ["a", "a", "b", None], "v": [1.0, 100.0, 7.0, 9.0]})
    found = quantiles(build(rows, "v", ["m"]), ["m"], [0.5]).collect()
    assert found["m"].to_list() == ["a", "b", None]
    assert found["value"].round(2).to_list() == [0.99, 7.03, 8.94]
    assert found["calls"].to_list() == [2, 1, 1]
    words = rows.rename({"m": "model"})
    named = quantiles(
        build(words, "v", "model"), "model", [0.5]
    ).collect()  # a text is one name, not its letters
    assert named["model"].to_list() == ["a", "b", None]


def test_what_is_no_duration_is_not_counted() -> None:
    values = [None, math.nan, -1.0, -0.0, math.inf, 3.0]
    found = build(pl.LazyFrame({"v": values}), "v").collect()
    assert found["bucket"].to_list() == [ZERO, 55, INFINITE]
    assert quantiles(found.lazy(), at=[1]).collect()["value"].to_list() == [math.inf]
    nothing = build(pl.LazyFrame({"v": [None]}, {"v": pl.Float64}), "v")
    assert quantiles(nothing).collect().is_empty()


@pytest.mark.parametrize("q", [-0.1, 1.5, math.nan])
def test_a_quantile_lies_between_0_and_1(q: float) -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        quantiles(build(pl.LazyFrame({"v": [1.0]}), "v"), at=[q])


def test_nothing_cannot_be_merged() -> None:
    with pytest.raises(InputError, match="no histograms"):
        merge([])
    with pytest.raises(InputError, match="no histograms"):
        histogram.merged([])


def test_lengths_of_real_calls_are_within_one_percent(shared_data: Path) -> None:
    folder = shared_data / "telemetry" / "azure_llm_2023"
    if not folder.is_dir():
        pytest.skip("no Azure LLM traces (telemetry/azure_llm_2023)")
    for path in sorted(folder.glob("*.csv")):
        rows = pl.read_csv(path)
        assert rows.height > 5_000
        times = rows["TIMESTAMP"].str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="ns").sort()
        apart = times.diff().drop_nulls().dt.total_nanoseconds().cast(pl.Float64) / 1e6
        check(apart.to_list())
        for name in ("ContextTokens", "GeneratedTokens"):
            check(rows[name].cast(pl.Float64).to_list())


def test_rates_and_lengths_of_real_clients_are_within_one_percent(shared_data: Path) -> None:
    folder = shared_data / "telemetry" / "alibaba_servegen"
    if not folder.is_dir():
        pytest.skip("no ServeGen data (telemetry/alibaba_servegen)")
    rates = pl.read_parquet(folder / "client_window_rates.parquet").sample(60_000, seed=1)
    check(rates["rate_rps"].to_list())
    check(rates["cv"].to_list())
    means = pl.read_parquet(folder / "client_window_token_means.parquet")
    for name in ("mean_input_tokens", "mean_output_tokens"):
        check(means[name].drop_nulls().to_list())


WINDOW = datetime(2026, 10, 1, tzinfo=UTC)


def engine(counts: dict[float, int], **more: object) -> pl.DataFrame:
    rows = [
        {"ts": WINDOW, "metric": "latency", "le_ms": le, "cumulative_count": n} | more
        for le, n in counts.items()
    ]
    return pl.DataFrame(rows)


def test_quantiles_of_an_engine_are_interpolated_as_prometheus_does() -> None:
    # 10 calls up to 100 ms, 30 to 200, 60 to 500: P50 is the 50th, 10 of 60 into (200, 500].
    rows = engine({100.0: 10, 200.0: 40, 500.0: 100, math.inf: 100})
    found = from_cumulative(rows.lazy(), at=[0.05, 0.5, 0.95, 1]).collect()
    assert found["value"].round(9).to_list() == [50.0, 250.0, 475.0, 500.0]
    assert found["lower"].to_list() == [0.0, 200.0, 200.0, 200.0]
    assert found["upper"].to_list() == [100.0, 500.0, 500.0, 500.0]
    assert found["calls"].to_list() == [100] * 4


def test_the_last_bucket_gives_a_lower_bound_only() -> None:
    rows = engine({100.0: 10, math.inf: 12})
    found = from_cumulative(rows.lazy(), at=[0.5, 0.95]).collect()
    assert found.select("value", "lower", "upper").rows() == [(60.0, 0.0, 100.0), (None, 100.0, None)]
    endless = from_cumulative(engine({math.inf: 3}).lazy(), at=[0.5]).collect()
    assert endless.select("value", "lower", "upper").rows() == [(None, 0.0, None)]


def test_windows_and_pods_are_added_up_by_group() -> None:
    one = engine({100.0: 1, 200.0: 1, math.inf: 1}, pod="a", model="m")
    two = engine({100.0: 0, 200.0: 3, math.inf: 3}, pod="b", model="m")
    later = engine({100.0: 0, 200.0: 0, math.inf: 0}, pod="b", model="n")
    found = from_cumulative(pl.concat([one, two, later]).lazy(), ["model"], [0.25, 0.5]).collect()
    assert found.select("model", pl.col("value").round(6), "calls").rows() == [
        ("m", 100.0, 4),
        ("m", 133.333333, 4),
    ]


def test_a_count_that_falls_is_a_broken_scrape() -> None:
    found = from_cumulative(engine({100.0: 5, 200.0: 3, math.inf: 6}).lazy(), at=[0.8]).collect()
    assert found.select("upper", "calls").rows() == [(100.0, 6)]


@settings(max_examples=40)
@given(
    st.lists(st.floats(0, 900), min_size=1, max_size=40),
    st.lists(st.floats(0, 900), min_size=1, max_size=40),
    st.sampled_from([0.05, 0.5, 0.95, 1]),
)
def test_bounds_hold_where_pods_count_in_other_buckets(
    left: list[float], right: list[float], q: float
) -> None:
    def counted(values: list[float], ends: list[float], pod: str) -> pl.DataFrame:
        return engine({end: sum(v <= end for v in values) for end in [*ends, math.inf]}, pod=pod)

    rows = pl.concat([counted(left, [10.0, 300.0, 800.0], "a"), counted(right, [50.0, 100.0], "b")])
    found = from_cumulative(rows.lazy(), at=[q]).collect().row(0, named=True)
    truth = exact([*left, *right], q)
    assert found["lower"] <= truth
    assert (found["upper"] is None) == (found["value"] is None)
    if found["upper"] is not None:
        assert truth <= found["upper"]
        assert found["lower"] <= found["value"] <= found["upper"]


def test_quantiles_of_more_calls_than_a_machine_word_holds_are_exact() -> None:
    many = Decimal(10**19)
    kinds = {"bucket": pl.Int32, "calls": pl.Decimal(38, 3)}
    rows = pl.LazyFrame({"bucket": [5, 1, 5, 3], "calls": [many, many, many, 2 * many]}, schema=kinds)
    found = histogram.quantiles(rows, at=[0, 0.2, 0.21, 0.6, 0.61, 1]).collect()
    ends = [float(pl.select(histogram.bounds(pl.lit(bucket))[0]).item()) for bucket in (1, 3, 5)]
    assert found["value"].to_list() == [ends[place] for place in (0, 0, 1, 1, 2, 2)]
    assert found["calls"].to_list() == [5 * many] * 6
