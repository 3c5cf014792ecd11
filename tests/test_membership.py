"""Membership of the front under noise: against every resample there is, and what it refuses."""

from __future__ import annotations

import itertools
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from finops_lab.errors import InputError
from finops_lab.tradeoffs.canary import canary_check
from finops_lab.tradeoffs.front import explain_front, pareto
from finops_lab.tradeoffs.membership import draw_points, membership
from finops_lab.tradeoffs.senses import is_share

ANSWERS = {"big": [1, 1, 1, 0], "mid": [1, 0, 1, 1], "small": [0, 1, 0, 1], "twin": [1, 0, 1, 1]}
PRICES = {"big": 3.0, "mid": 2.0, "small": 2.0, "twin": 2.0}


def outcomes(answers: dict[str, list[Any]], dataset: str = "exam", metric: str = "accuracy") -> pl.DataFrame:
    rows = [
        ("m", variant, dataset, metric, item, value)
        for variant, values in answers.items()
        for item, value in enumerate(values)
    ]
    schema = {"model": pl.String, "variant": pl.String, "dataset": pl.String, "metric": pl.String}
    return pl.DataFrame(rows, schema=schema | {"item": pl.Int64, "value": pl.Float64}, orient="row")


def timings(walls: dict[str, list[float]], workload: str = "short", **columns: float) -> pl.DataFrame:
    rows = [
        ("m", variant, workload, number, 2, wall, wall / 2)
        for variant, values in walls.items()
        for number, wall in enumerate(values)
    ]
    names = ["model", "variant", "workload", "round", "items", "wall_ms", "cpu_ms"]
    frame = pl.DataFrame(rows, schema=names, orient="row")
    empty = {"gpu_ms": pl.Float64, "tokens": pl.Int64, "energy_j": pl.Float64}
    return frame.with_columns(pl.lit(None, dtype=kind).alias(name) for name, kind in empty.items())


def points(answers: dict[str, list[Any]] = ANSWERS, **columns: Any) -> pl.DataFrame:
    frame = pl.DataFrame(
        {
            "model": ["m"] * len(answers),
            "variant": list(answers),
            "quality_metric": ["accuracy"] * len(answers),
            "quality": [sum(values) / len(values) for values in answers.values()],
            "per_1000_inferences": [PRICES[name] for name in answers],
        }
    )
    return frame.with_columns(**columns)


def close(found: pl.Series, want: list[float], draws: int) -> None:
    """Hold shares of draws to four standard errors of what they estimate."""
    for share, p in zip(found, want, strict=True):
        assert abs(share - p) <= 4 * math.sqrt(max(p * (1 - p), 1 / draws) / draws)


def test_membership_by_item_equals_every_resample() -> None:
    counts = np.zeros(4)
    for items in itertools.product(range(4), repeat=4):
        drawn = [sum(values[i] for i in items) for values in ANSWERS.values()]
        frame = pl.DataFrame({"price": PRICES.values(), "right": drawn})
        counts += pareto(frame, minimise=["price"], maximise=["right"]).to_numpy()
    found = membership(
        points(), outcomes(ANSWERS), objectives=["per_1000_inferences", "quality"], draws=20_000
    )
    close(found["p_on_front"], (counts / 4**4).tolist(), 20_000)
    # Twins answer alike, so they stand and fall together.
    assert found["p_on_front"][1] == found["p_on_front"][3]
    assert found["on_front"].to_list() == [False, True, False, True]
    assert found["evidence"][0] == "per_1000_inferences: taken as exact; quality: 4 paired items"


def test_membership_by_round_equals_every_resample() -> None:
    walls = {"big": [2.0, 6.0, 4.0], "mid": [3.0, 4.0, 4.0]}
    frame = points({name: ANSWERS[name] for name in walls}).with_columns(
        pl.Series("per_1000_inferences", [1.0, 11 / 12]),  # seconds: 6 and 5.5 ms of CPU for 6 items
        pl.Series("p50_ms", [4.0, 4.0]),
        pl.lit("measured").alias("cost_basis"),
        pl.lit("short").alias("workload"),
    )
    share = {"per_1000_inferences": np.zeros(2), "p50_ms": np.zeros(2)}
    for rounds in itertools.product(range(3), repeat=3):
        for name, figure in (("per_1000_inferences", sum), ("p50_ms", lambda v: sorted(v)[1])):
            drawn = [figure([values[i] for i in rounds]) for values in walls.values()]
            share[name] += [value <= min(drawn) for value in drawn]
    for name, counts in share.items():
        found = membership(frame, timings=timings(walls), objectives=[name], draws=20_000)
        close(found["p_on_front"], (counts / 27).tolist(), 20_000)
        assert found["evidence"].to_list() == [f"{name}: 3 paired rounds"] * 2
    # A bill is counted, not sampled.
    billed = frame.with_columns(cost_basis=pl.lit("EffectiveCost"))
    found = membership(billed, timings=timings(walls), objectives=["per_1000_inferences"])
    assert found["p_on_front"].to_list() == [0.0, 1.0]
    other = frame.with_columns(workload=pl.lit("long"))
    found = membership(other, timings=timings(walls), objectives=["p50_ms"])
    assert found["evidence"].to_list() == ["p50_ms: taken as exact"] * 2


def test_drawn_figures_move_by_the_ratio_of_the_rounds() -> None:
    walls = {"mid": [2.0, 2.0, 4.0, 8.0]}
    frame = pl.DataFrame({"model": ["m"], "variant": ["mid"], "throughput_per_s": [500.0], "energy_j": [3.0]})
    rounds = timings(walls).with_columns(energy_j=pl.col("wall_ms") * 0.75)
    drawn = draw_points(frame, timings=rounds, objectives=["throughput_per_s", "energy_j"], draws=500)
    # Both follow the same rounds: throughput x energy per inference does not change.
    assert drawn.values.prod(axis=2).ravel() == pytest.approx([1500.0] * 500)
    assert len(np.unique(drawn.values[:, 0, 0])) > 5
    assert drawn.maximise == (True, False)


def binomial(n: int, p: float) -> np.ndarray:
    return np.array([math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)])


@pytest.mark.parametrize("unit", [1.0, 100.0])
def test_where_only_n_is_known_accuracy_is_binomial(unit: float) -> None:
    frame = pl.DataFrame(
        {
            "variant": ["a", "b"],
            "quality": [0.8 * unit, 0.75 * unit],
            "quality_metric": ["top1"] * 2,
            "quality_n": [20, 20],
        }
    )
    joint = np.outer(binomial(20, 0.8), binomial(20, 0.75))
    found = membership(frame, objectives=["quality"], draws=20_000)
    close(found["p_on_front"], [np.tril(joint).sum(), np.triu(joint).sum()], 20_000)
    assert found["evidence"][0] == "quality: binomial, n = 20, variants independent"
    assert not is_share("f1") and is_share("exact_match")
    f1 = frame.with_columns(quality_metric=pl.lit("f1"))
    assert membership(f1, objectives=["quality"])["evidence"][0] == "quality: taken as exact"


def test_assumed_noise_is_as_wide_as_it_says() -> None:
    frame = pl.DataFrame({"variant": ["a", "b"], "p95_ms": [10.0, 10.4]})
    found = membership(frame, objectives=["p95_ms"], noise={"p95_ms": 0.03}, draws=20_000)
    p = 0.5 * math.erfc(-math.log(1.04) / 0.03 / 2)
    close(found["p_on_front"], [p, 1 - p], 20_000)
    assert found["evidence"][0] == "p95_ms: 0.03 relative noise assumed"


def test_pairing_makes_sharper_what_variants_have_in_common() -> None:
    rng = np.random.default_rng(1)
    big = (rng.random(2000) < 0.8).astype(int)
    small = big.copy()
    small[np.flatnonzero(big)[:12]] = 0
    answers = {"big": big.tolist(), "small": small.tolist()}
    frame = points(answers, per_1000_inferences=pl.lit(1.0), quality_n=pl.lit(2000))
    objectives = ["per_1000_inferences", "quality"]
    paired = membership(frame, outcomes(answers), objectives=objectives)
    unpaired = membership(frame, objectives=objectives)
    assert paired["p_on_front"].to_list() == [1.0, pytest.approx(0, abs=1e-3)]
    assert 0.2 < unpaired["p_on_front"][1] < 0.5


def test_data_sets_count_alike_and_only_common_items_count() -> None:
    first, second = {"mid": [1, 1, None, 0], "twin": [1, 1, 1, 0]}, {"mid": [0, 1], "twin": [1, 0]}
    told = pl.concat([outcomes(first), outcomes(second, "quiz"), outcomes(second, "quiz", "f1")])
    frame = points({"mid": [1], "twin": [1]}, quality=pl.lit((2 / 3 + 1 / 2) / 2))
    drawn = draw_points(frame, told, objectives=["quality"], draws=4000)
    assert drawn.evidence == ("quality: 5 paired items",) * 2
    assert drawn.values.mean(axis=(0, 2)) == pytest.approx([7 / 12] * 2, abs=0.02)
    assert drawn.values.var(axis=0).ravel() == pytest.approx([(2 / 9 / 3 + 1 / 4 / 2) / 4] * 2, rel=0.1)


def test_the_same_seed_gives_the_same_draws_and_objectives_change_none() -> None:
    def one(**options: Any) -> np.ndarray:
        options = {"objectives": ["quality"], "draws": 50} | options
        return draw_points(points(), outcomes(ANSWERS), **options).values[:, :, -1]

    assert np.array_equal(one(), one())
    assert not np.array_equal(one(), one(seed=3))
    assert np.array_equal(one(), one(objectives=["per_1000_inferences", "quality"]))


def test_shares_equal_brute_force_in_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    for _ in range(40):
        n, d = int(rng.integers(1, 12)), int(rng.integers(1, 4))
        values = rng.integers(0, 4, (10, n, d)).astype(float)
        want = np.zeros(n)
        for draw in values.tolist():
            want += [
                not any(all(u <= v for u, v in zip(o, p, strict=True)) and o != p for o in draw) for p in draw
            ]
        # The room exports a function of the module's name.
        module = sys.modules["finops_lab.tradeoffs.membership"]
        assert module._shares(values) == pytest.approx(want / 10)
        monkeypatch.setattr(module, "_CELLS", 1)
        assert module._shares(values) == pytest.approx(want / 10)
        monkeypatch.setattr(module, "_TOGETHER", 0)
        assert module._shares(values) == pytest.approx(want / 10)
        monkeypatch.undo()


def test_unknown_figures_and_groups() -> None:
    frame = pl.DataFrame(
        {
            "model": ["x", "x", "y", "y"],
            "variant": ["a", "b", "a", "b"],
            "workload": ["short", "short", "long", "long"],
            "p95_ms": [10.0, 20.0, 30.0, None],
        }
    )
    found = membership(frame, objectives=["p95_ms"])
    assert found["p_on_front"].to_list() == [1.0, 0.0, 1.0, None]
    assert found["on_front"].to_list() == [True, False, True, None]
    assert found["evidence"][3] == "p95_ms: unknown"
    assert membership(frame, objectives=["p95_ms"], by=())["p_on_front"].to_list() == [1.0, 0.0, 0.0, None]


DISJOINT = outcomes(ANSWERS).filter((pl.col("variant") == "big") == (pl.col("item") < 2))


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        (points(), {"objectives": ["vibes"]}, "direction of 'vibes' is not known"),
        (points(), {"objectives": []}, "at least one objective"),
        (points(), {"objectives": ["p95_ms"]}, "no column 'p95_ms'"),
        (points(), {"draws": 0}, "at least 1"),
        (points(), {"noise": {"p95_ms": 0.1}}, "no objective"),
        (points(), {"noise": {"quality": -0.1}}, "from 0 up"),
        (points(quality_metric=pl.Series(["accuracy", "top1", "f1", "f1"])), {}, "different metrics"),
        (points(quality=pl.lit(75.0)), {}, "75 is not on the scale of its outcomes"),
        (points(), {"outcomes": DISJOINT}, "no item in common"),
        (points(), {"outcomes": pl.concat([outcomes(ANSWERS)] * 2)}, "one item twice"),
    ],
)  # fmt: skip
def test_what_has_no_membership_is_refused(
    frame: pl.DataFrame, options: dict[str, Any], message: str
) -> None:
    options = {"outcomes": outcomes(ANSWERS), "objectives": ["per_1000_inferences", "quality"]} | options
    with pytest.raises(InputError, match=message):
        membership(frame, **options)


def test_a_clock_that_is_none_is_refused() -> None:
    frame = points(cost_basis=pl.lit("measured"))
    with pytest.raises(InputError, match="no clock 'sun_ms'"):
        membership(frame, timings=timings({"mid": [1.0]}), objectives=["per_1000_inferences"], clock="sun_ms")


def test_published_image_models_near_a_front_are_undecided(shared_data: Path) -> None:
    folder = shared_data / "tradeoff" / "timm"
    speeds = folder / "benchmark-infer-amp-nchw-pt291-cu130-5090.csv"
    if not speeds.exists():
        pytest.skip("the timm tables are not beside this checkout")
    base = pl.col("model").str.split(".").list.first().alias("base")
    frame = (
        pl.read_csv(folder / "results-imagenet.csv", infer_schema=False)
        .with_columns(base)
        .join(
            pl.read_csv(speeds, infer_schema=False).select(base, "infer_img_size", "infer_samples_per_sec"),
            left_on=["base", "img_size"],
            right_on=["base", "infer_img_size"],
        )
        .select(
            "model",
            pl.col("infer_samples_per_sec").cast(pl.Float64).alias("throughput_per_s"),
            pl.col("top1").cast(pl.Float64).alias("quality"),
            pl.lit("top1").alias("quality_metric"),
            pl.lit(50_000).alias("quality_n"),
            pl.col("param_count").str.replace_all(",", "").cast(pl.Float64),
        )
    )
    speed = ["throughput_per_s", "quality"]
    assert frame.height == 1556
    assert pareto(frame, maximise=speed).sum() == 34
    assert pareto(frame, maximise=speed, minimise=["param_count"]).sum() == 151
    found = membership(frame, objectives=speed, noise={"throughput_per_s": 0.03}, draws=100)
    assert found["evidence"][0].endswith("quality: binomial, n = 50,000, variants independent")
    members, others = (found.filter(pl.col("on_front") == on)["p_on_front"] for on in (True, False))
    assert members.len() == 34
    # Some are on the front by luck, and some are not by bad luck.
    assert 0 < (members < 0.95).sum() < 34 and 0 < (others > 0.05).sum() < 100


def test_lazy_frames_say_what_others_say() -> None:
    points = pl.DataFrame({"variant": ["a", "b"], "p95_ms": [50.0, 60.0], "size_mib": [2.0, 1.0]})
    asked: dict[str, Any] = {"objectives": ["p95_ms", "size_mib"], "draws": 20}
    assert_frame_equal(membership(points.lazy(), **asked), membership(points, **asked))
    both = {"minimise": ["p95_ms", "size_mib"]}
    assert pareto(points.lazy(), **both).to_list() == [True, True]
    assert_frame_equal(explain_front(points.lazy(), **both), explain_front(points, **both))
    items = pl.DataFrame({"item": range(400), "bf16": [1, 1, 0, 1] * 100, "int8": [1, 0, 0, 0] * 100})
    found = canary_check(items.lazy(), baseline="bf16", canary="int8", margin=0.02)
    assert found.verdict == "roll back"
