"""Routers: splits equal to the linear program, curves, cascades, tables by feature, RouteLLM's figures."""

from __future__ import annotations

import itertools
import json
import math
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from typer.testing import CliRunner

from finops_lab.cli import app
from finops_lab.errors import CurrencyError, InputError
from finops_lab.tradeoffs.answered_queries import answered_queries
from finops_lab.tradeoffs.by_feature import routing_table
from finops_lab.tradeoffs.cascade import cascade, cascade_thresholds
from finops_lab.tradeoffs.published import routellm
from finops_lab.tradeoffs.queries import as_queries, read_queries
from finops_lab.tradeoffs.routed_curve import best_split_curve, quality_cost_curve, routed_figures
from finops_lab.tradeoffs.routing import Route, route

ROOT = Path(__file__).parents[1]
WEAK, STRONG = "mistralai/Mixtral-8x7B-Instruct-v0.1", "gpt-4-1106-preview"


def asked(quality: Any, amount: Any, **more: Any) -> pl.DataFrame:
    """Lay out arrays (queries x models) as a queries frame; NaN amounts are not offered."""
    quality, amount = np.asarray(quality, float), np.asarray(amount, float)
    n, k = quality.shape
    frame = pl.DataFrame(
        {
            "query": np.repeat(np.arange(n), k),
            "model": np.tile([f"m{i}" for i in range(k)], n),
            "quality": quality.ravel(),
            "amount": amount.ravel(),
            **{name: np.broadcast_to(np.asarray(x, float), (n, k)).ravel() for name, x in more.items()},
        }
    )
    return frame.filter(pl.col("amount").is_not_nan())


def highs(frame: pl.DataFrame, limits: dict[str, float]) -> float | None:
    """Solve the linear program with HiGHS: least spend or most quality, None where it cannot be."""
    from scipy.optimize import linprog

    table = as_queries(frame)
    c, q, w = (table[name].cast(pl.Float64).to_numpy() for name in ("amount", "quality", "weight"))
    code = table["query"].rank("dense").to_numpy().astype(int) - 1
    one = np.zeros((code.max() + 1, len(c)))
    one[code, np.arange(len(c))] = 1
    whole = one.shape[0] and float(table.group_by("query").agg(pl.col("weight").first())["weight"].sum())
    rows, most = [], []
    if "min_quality" in limits:
        rows, most, aim = [-q * w], [-limits["min_quality"] * whole], c
    else:
        rows, most, aim = [c], [limits["budget"]], -q * w
    if "max_p95_ms" in limits:
        rows.append((table["latency_ms"].to_numpy() > limits["max_p95_ms"]) * w)
        most.append(0.05 * whole)
    found = linprog(aim, rows, most, one, np.ones(len(one)), bounds=(0, 1), method="highs")
    if found.status != 0:
        return None
    return float(found.fun) if "min_quality" in limits else -float(found.fun) / whole


def objective(found: Route, limits: dict[str, float]) -> float:
    return float(found.amount) if "min_quality" in limits else found.quality


def drawn(rng: np.random.Generator, kind: int) -> pl.DataFrame:
    """Draw a small case: many ties and duplicates, or none."""
    n, k = int(rng.integers(1, 7)), int(rng.integers(1, 5))
    if kind == 0:
        quality, amount = rng.integers(0, 2, (n, k)), rng.integers(0, 4, (n, k)).astype(float)
    elif kind == 1:
        quality, amount = rng.integers(0, 4, (n, k)) / 10, rng.integers(0, 4, (n, k)) / 10
    else:
        quality, amount = rng.random((n, k)), rng.random((n, k))
    gone = rng.random((n, k)) < 0.15
    gone[np.arange(n), rng.integers(0, k, n)] = False
    weight = rng.integers(1, 4, (n, 1)) if kind == 1 else 1
    return asked(
        quality, np.where(gone, np.nan, amount), latency_ms=rng.integers(0, 3, (n, k)), weight=weight
    )


@pytest.mark.parametrize("p95", [False, True])
def test_split_equals_the_linear_program_on_ties_and_duplicates(p95: bool) -> None:
    rng = np.random.default_rng(7)
    solved = 0
    for case in range(45):
        frame = drawn(rng, case % 3)
        spans = frame.group_by("query").agg(lo=pl.col("amount").min(), hi=pl.col("amount").max()).sum()
        low, high = spans.row(0)[1:]
        best = float(frame["quality"].max())  # type: ignore[arg-type]
        for limits in (
            {"budget": round(low + float(rng.random()) * 1.2 * (high - low), 1)},
            {"min_quality": round(float(rng.random()) * best, 2)},
        ):
            limits |= {"max_p95_ms": float(rng.integers(0, 3))} if p95 else {}
            want = highs(frame, limits)
            try:
                found = route(frame, **limits)
            except InputError as error:
                assert want is None, (case, limits, error)
                continue
            assert want is not None, (case, limits)
            assert objective(found, limits) == pytest.approx(want, abs=1e-9), (case, limits)
            shares = found.choices.group_by("query").agg(pl.col("share").sum())
            assert shares["share"].to_list() == pytest.approx([1.0] * frame["query"].n_unique())
            if found.whole is not None:
                assert found.gap is not None and found.gap >= 0
                assert found.whole.height == frame["query"].n_unique()
                alone = route(frame.join(found.whole, on=["query", "model"], how="semi"), min_quality=-1)
                assert (alone.quality, alone.amount) == pytest.approx(
                    (found.whole_quality, found.whole_amount)
                )
            else:
                assert p95
            if p95:
                assert found.slow_share is not None and found.slow_share <= 0.05 + 1e-9
            solved += 1
    assert solved > 40


@settings(max_examples=50)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=3, max_size=3),
        min_size=1,
        max_size=4,
    ),
    st.integers(0, 14),
    st.randoms(),
)
def test_whole_queries_against_every_assignment(
    cells: list[list[tuple[int, int]]], budget: int, random: Any
) -> None:
    n = len(cells)
    quality, amount = np.array(cells)[:, :, 0], np.array(cells)[:, :, 1]
    frame = asked(quality, amount)
    sums = [
        (sum(amount[i, j] for i, j in enumerate(pick)), sum(quality[i, j] for i, j in enumerate(pick)))
        for pick in itertools.product(range(3), repeat=n)
    ]
    within = [value for paid, value in sums if paid <= budget]
    if not within:
        with pytest.raises(InputError, match="least possible spend"):
            route(frame, budget=budget)
        return
    found = route(frame, budget=budget)
    best = max(within) / n
    assert found.whole_amount is not None and found.whole_quality is not None and found.gap is not None
    # No assignment of whole queries beats the optimum, and what we found is one of them.
    assert found.whole_quality - 1e-12 <= best <= found.quality + 1e-12
    assert found.whole_amount <= budget and found.whole_quality == pytest.approx(found.quality - found.gap)
    wanted = route(frame, min_quality=best)
    cheapest = min(paid for paid, value in sums if value >= best * n - 1e-9)
    assert wanted.whole_amount is not None and wanted.whole_quality is not None and wanted.gap is not None
    assert float(wanted.amount) <= cheapest + 1e-9 <= float(wanted.whole_amount) + 2e-9
    assert wanted.whole_quality >= best - 1e-9
    order = list(range(frame.height))
    random.shuffle(order)
    again = route(frame[order], budget=budget)
    assert_frame_equal(again.split, found.split)
    assert_frame_equal(again.choices, found.choices)


def test_the_split_by_hand() -> None:
    # Steps: query 0 gains 1 for 2, query 1 gains 1 for 4, query 2 gains nothing for 9.
    frame = asked([[0, 1], [0, 1], [1, 1]], [[1, 3], [1, 5], [1, 10]])
    found = route(frame, budget=7)
    # 3 for all cheap, 2 for the first step, and 2 of the 4 that the second one takes.
    assert (found.amount, found.quality) == (7, pytest.approx(2.5 / 3))
    assert found.choices.select("query", "model", "share").rows() == [
        (0, "m1", 1.0), (1, "m0", 0.5), (1, "m1", 0.5), (2, "m0", 1.0),
    ]  # fmt: skip
    assert found.split.rows() == [
        ("m0", None, 1.5, 0.5, pytest.approx(2 / 3), 1.5),
        ("m1", None, 1.5, 0.5, 1.0, 5.5),
    ]
    assert (found.whole_amount, found.whole_quality) == (5, pytest.approx(2 / 3))
    assert found.gap == pytest.approx(0.5 / 3)
    assert found.per_point == pytest.approx(0.12)  # 4 for one answer of three, a hundredth is .03 of one
    assert route(frame, budget=100).per_point is None
    assert route(frame, min_quality=1.0).whole_amount == 9
    assert "m0 50.0%" in repr(found)


def test_equal_options_and_dominated_ones_change_nothing() -> None:
    plain = asked([[0, 1]], [[1, 3]])
    # The same pair again, an option on the line between them, one below it, one dearer and worse.
    crowded = asked([[0, 1, 0, 1, 0.5, 0.4, 0.9]], [[1, 3, 1, 3, 2, 2, 4]])
    for limits in ({"budget": 2.5}, {"min_quality": 0.3}, {"min_quality": 1.0}, {"budget": 1.0}):
        assert route(crowded, **limits).quality == pytest.approx(route(plain, **limits).quality)
        assert route(crowded, **limits).amount == pytest.approx(route(plain, **limits).amount)


def test_decimals_stay_exact_and_a_divided_query_is_rounded_once() -> None:
    tiny = Decimal("0.000000000000000001")
    frame = pl.DataFrame(
        {
            "query": [1, 1, 2, 2],
            "model": ["a", "b"] * 2,
            "quality": [0, 1, 0, 1],
            "amount": [Decimal(10) + tiny, Decimal(40), Decimal(10), Decimal(70)],
        },
        schema_overrides={"amount": pl.Decimal(38, 18)},
    )
    found = route(frame, min_quality=0.5)
    assert found.whole_amount == Decimal(50) and found.gap == 0.0
    cheapest = route(frame, budget=Decimal(25))
    assert cheapest.whole_amount == Decimal(20) + tiny
    assert cheapest.amount == sum(cheapest.choices["amount"]) == sum(cheapest.split["amount"])
    assert float(cheapest.amount) == pytest.approx(25)


def test_weights_stand_for_repeated_queries() -> None:
    rng = np.random.default_rng(3)
    quality, amount = rng.integers(0, 3, (5, 3)) / 2, rng.integers(1, 9, (5, 3)).astype(float)
    times = np.array([1, 4, 2, 3, 1])
    repeated = asked(np.repeat(quality, times, axis=0), np.repeat(amount, times, axis=0))
    weighted = asked(quality, amount * times[:, None], weight=times[:, None])
    for limits in ({"budget": 30.0}, {"min_quality": 0.7}):
        one, other = route(weighted, **limits), route(repeated, **limits)
        assert (one.amount, one.quality) == pytest.approx((other.amount, other.quality))
        assert one.split["queries"].sum() == pytest.approx(11)


def test_latency_limits() -> None:
    # Twenty queries: the large model is right and slow, the small one wrong and quick.
    frame = asked(np.tile([[0, 1, 1]], (20, 1)), np.tile([[1, 5, 9]], (20, 1)), latency_ms=[[10, 300, 90]])
    assert set(route(frame, min_quality=0.5).choices["model"]) == {"m0", "m1"}
    assert set(route(frame, min_quality=0.5, max_latency_ms=100).choices["model"]) == {"m0", "m2"}
    mixed = route(frame, min_quality=0.5, max_p95_ms=100)
    shares = dict(mixed.split.select("model", "share").iter_rows())
    # One query in twenty may be slow, and the slow model is the cheaper way to a right answer.
    assert shares == pytest.approx({"m0": 0.5, "m1": 0.05, "m2": 0.45})
    assert mixed.slow_share == pytest.approx(0.05)
    assert float(mixed.amount) == pytest.approx(10 * 1 + 1 * 5 + 9 * 9)
    # Where the limit does not bind, whole queries are told too.
    assert route(frame, budget=30.0, max_p95_ms=400).whole is not None


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({}, "one of them"),
        ({"budget": 1, "min_quality": 0.5}, "one of them"),
        ({"budget": -1}, "from 0 up"),
        ({"budget": math.nan}, "finite"),
        ({"min_quality": 0.9}, "0.9 cannot be reached. Hint: the best possible is 0.5"),
        ({"budget": 1.5}, "1.5 is too small. Hint: the least possible spend is 2"),
        ({"budget": 9, "max_latency_ms": 50}, "2 queries have no variant within 50 ms.* query 1 takes 90 ms"),
        ({"budget": 9, "max_p95_ms": 50}, "P95 cannot be met.* 100.00% of the traffic is slower"),
        ({"budget": 2, "max_p95_ms": 90}, "too small with at most 5% .* least possible spend is 6.8"),
        (
            {"min_quality": 0.5, "max_p95_ms": 90},
            "cannot be reached with at most 5% .* best possible is 0.05",
        ),
    ],
)
def test_limits_that_cannot_be_met_say_the_best_possible(limits: dict[str, float], message: str) -> None:
    # The quick model is dear and wrong, the slow one cheap and right once.
    frame = asked([[0, 1], [0, 0]], [[4, 1], [3.1, 1]], latency_ms=[[80, 200], [90, 200]])
    with pytest.raises(InputError, match=message):
        route(frame, **limits)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (pl.lit("x").alias("amount"), "column amount: is not numeric"),
        (pl.lit(None, pl.Float64).alias("quality"), "row 1, column quality"),
        (pl.Series("amount", [1, -1, 1, 1]), "row 2, column amount"),
        (pl.Series("amount", [1.0, 1.0, math.inf, 1.0]), "row 3, column amount"),
        (pl.Series("weight", [1, 1, 1, 0]), "row 4, column weight"),
        (pl.Series("weight", [1, 2, 1, 1]), "query 0 has different weights"),
        (pl.Series("model", ["m0"] * 4), "row 2: query 0 and m0 stand there twice"),
        (pl.Series("query", [0, None, 1, 1]), "row 2, column query"),
        (pl.Series("higher_is_better", [True, True, False, True]), "row 3, column higher_is_better"),
        (pl.Series("latency_ms", [1.0, None, 1.0, 1.0]), "row 2, column latency_ms"),
    ],
)
def test_queries_that_cannot_be_meant_are_refused(change: Any, message: str) -> None:
    frame = asked([[0, 1], [0, 1]], [[1, 2], [1, 2]], latency_ms=1).with_columns(change)
    with pytest.raises(InputError, match=message):
        route(frame, min_quality=0.1, max_latency_ms=1000.0)


def test_missing_columns_and_rows_are_named() -> None:
    with pytest.raises(InputError, match="column amount"):
        route(pl.DataFrame({"query": [1], "model": ["m"], "quality": [1]}), budget=1)
    with pytest.raises(InputError, match="no queries"):
        route(asked([[0]], [[1]]).clear(), budget=1)


# ---------------------------------------------------------------- curves


def test_figures_of_routers_are_the_mean_over_orders_of_equal_scores() -> None:
    gains = [(0, 1), (0, 1), (1, 1), (1, 0), (0, 1)]
    scores = [2.0, 1.0, 1.0, 1.0, 0.0]
    frame = asked(gains, [[1, 5]] * 5, score=np.array(scores)[:, None])
    areas = []
    for order in itertools.permutations(range(5)):
        if [scores[i] for i in order] == sorted(scores, reverse=True):
            right = np.cumsum([0, *[gains[i][1] - gains[i][0] for i in order]]) / 2
            areas.append(np.trapezoid(right, dx=0.2))
    found = routed_figures(frame, weak="m0", strong="m1", scores=["score"])
    assert len(areas) == 6
    assert found.filter(router="score")["apgr"][0] == pytest.approx(np.mean(areas))
    assert found.filter(router="random").select("apgr", "cpt_50", "cpt_80").row(0) == (0.5, 0.5, 0.8)
    # 3 of 5 gain and 1 loses: half of the gap of 2 is closed by 1 of 5.
    best = found.filter(router="oracle").row(0, named=True)
    assert (best["best_quality"], best["cpt_50"]) == (1.0, pytest.approx(0.2))
    assert (best["weak_quality"], best["strong_quality"], best["queries"]) == (0.4, 0.8, 5)


def test_the_curve_by_hand_and_against_any_order_of_rows() -> None:
    frame = asked([[0, 1], [1, 1], [0, 0], [1, 1]], [[1, 5], [1, 7], [1, 9], [1, 3]])
    drawn = quality_cost_curve(frame, weak="m0", strong=("m1", None), points=5)
    assert drawn.filter(router="oracle").rows() == [
        ("oracle", 0.0, 0.5, 0.0, 1000.0),
        ("oracle", 0.25, 0.75, 1.0, 2000.0),
        ("oracle", 0.5, 0.75, 1.0, pytest.approx(2000 + 16 / 3 / 4 * 1000)),
        ("oracle", 0.75, 0.75, 1.0, pytest.approx(2000 + 32 / 3 / 4 * 1000)),
        ("oracle", 1.0, 0.75, 1.0, 6000.0),
    ]
    assert_frame_equal(quality_cost_curve(frame.reverse(), weak="m0", strong="m1", points=5), drawn)


def test_the_best_curve_is_what_route_finds_for_each_budget() -> None:
    frame = drawn(np.random.default_rng(5), 2)
    n = frame["query"].n_unique()
    for spent, quality, _ in best_split_curve(frame, points=7).iter_rows():
        assert route(frame, budget=spent * n / 1000 + 1e-12).quality == pytest.approx(quality)
    assert best_split_curve(asked([[1, 1]], [[1, 2]]), points=5).rows() == [(1000.0, 1.0, None)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weak": "m0", "strong": "m0"}, "the same variant"),
        ({"weak": "m1", "strong": "m0"}, "nothing to recover"),
        ({"weak": "m0", "strong": "mx"}, "known: m0, m1"),
        ({"weak": "m0", "strong": "m1", "scores": ["nope"]}, "column nope"),
        ({"weak": "m0", "strong": "m1", "scores": ["half"]}, "query 1 has no score"),
        ({"weak": "m0", "strong": "m1", "scores": ["each"]}, "query 0 has no score, or several"),
        ({"weak": "m0", "strong": "m1", "points": 1}, "2 points"),
    ],
)
def test_curves_refuse_what_they_cannot_mean(options: dict[str, Any], message: str) -> None:
    frame = asked([[0, 1], [0, 0]], [[1, 2]] * 2, half=[[1, 1], [math.nan, 1]], each=[[1, 2], [1, 1]])
    with pytest.raises(InputError, match=message):
        quality_cost_curve(frame, **options)


def test_a_query_without_one_of_the_two_is_named() -> None:
    frame = asked([[0, 1], [0, 1]], [[1, 2], [1, math.nan]])
    with pytest.raises(InputError, match="query 1 lacks m0 or m1"):
        routed_figures(frame, weak="m0", strong="m1")


# ---------------------------------------------------------------- cascades


def test_a_cascade_equals_every_outcome_of_its_verifier() -> None:
    quality = np.array([[1, 1, 1], [0, 1, 1], [0, 0, 1], [1, 0, 1]])
    amount = np.array([[1.0, 4, 9], [2, 5, 9], [1, 3, 8], [1, 4, 7]])
    right, wrong, checking = 0.8, 0.3, 0.5
    paid = good = calls = 0.0
    for query in range(4):
        for accepts in itertools.product([True, False], repeat=2):
            chances = [right if quality[query, s] else wrong for s in range(2)]
            p = math.prod(c if a else 1 - c for a, c in zip(accepts, chances, strict=True))
            stop = next((s for s, a in enumerate(accepts) if a), 2)
            calls += p * (stop + 1)
            paid += p * (amount[query, : stop + 1].sum() + checking * min(stop + 1, 2))
            good += p * quality[query, stop]
    found = cascade(
        asked(quality, amount),
        ["m0", "m1", "m2"],
        accepts_right=right,
        accepts_wrong=wrong,
        verifying_amount=checking,
    )
    row = found.filter(way="cascade").row(0, named=True)
    assert row["calls_per_query"] == pytest.approx(calls / 4)
    assert row["per_1000_queries"] == pytest.approx(paid / 4 * 1000)
    assert row["quality"] == pytest.approx(good / 4)
    assert row["per_correct"] == pytest.approx(paid / good)
    assert found.filter(way="m1").select("quality", "per_correct").row(0) == (0.5, 8.0)


def test_verifiers_at_the_ends() -> None:
    frame = asked([[1, 0], [0, 1], [0, 0]], [[1, 5]] * 3)
    blind = cascade(frame, ["m0", "m1"], accepts_right=1, accepts_wrong=1).row(2, named=True)
    assert (blind["quality"], blind["per_1000_queries"]) == (pytest.approx(1 / 3), 1000)
    never = cascade(frame, ["m0", "m1"], accepts_right=0, accepts_wrong=0).row(2, named=True)
    assert (never["quality"], never["per_1000_queries"]) == (pytest.approx(1 / 3), 6000)
    perfect = cascade(frame, ["m0", "m1"]).row(2, named=True)
    assert perfect["quality"] == pytest.approx(2 / 3)
    assert perfect["per_correct"] == pytest.approx((1 + 6 + 6) / 2)
    hopeless = cascade(asked([[0, 0]], [[1, 5]]), ["m0", "m1"]).row(2, named=True)
    assert hopeless["per_correct"] is None and hopeless["quality"] == 0


def test_intervals_of_a_cascade_cover() -> None:
    rng = np.random.default_rng(11)
    # 60 % right at 1, escalated to 90 % right at 9: .96 right at 1 + .4 x 9 = 4.6.
    covered = np.zeros(2)
    for _ in range(120):
        quality = np.column_stack([rng.random(300) < 0.6, rng.random(300) < 0.9])
        row = cascade(asked(quality, np.tile([[1.0, 9.0]], (300, 1))), ["m0", "m1"]).row(2, named=True)
        covered += [
            row["quality_lo"] <= 0.96 <= row["quality_hi"],
            row["per_correct_lo"] <= 4.6 / 0.96 <= row["per_correct_hi"],
        ]
    assert (covered / 120 > 0.83).all() and (covered / 120 < 0.96).all()


def test_thresholds_of_a_real_score() -> None:
    frame = asked([[1, 1], [0, 1], [1, 1], [0, 0]], [[1, 5]] * 4, score=[[0.9], [0.7], [0.6], [0.1]])
    found = cascade_thresholds(frame, ["m0", "m1"], score="score", thresholds=[math.inf, 0.0, 0.65])
    names = ["threshold", "accepted_share", "accepted_quality", "quality", "per_1000_queries"]
    assert found.select(names).rows() == [
        (0.0, 1.0, 0.5, 0.5, 1000.0),
        (0.65, 0.5, 0.5, 0.5, 3500.0),
        (math.inf, 0.0, None, 0.75, 6000.0),
    ]
    assert cascade_thresholds(frame, ["m0", "m1"], score="score")["threshold"].to_list() == [
        0.1, 0.6, 0.7, 0.9, math.inf,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("stages", "options", "message"),
    [
        (["m0"], {}, "two stages"),
        (["m0", "m0"], {}, "twice"),
        (["m0", "m2"], {}, "query 1 was not answered by m2"),
        (["m0", "m1"], {"accepts_right": 1.1}, "chance"),
        (["m0", "m1"], {"level": 1.0}, "between 0 and 1"),
        (["m0", "m1"], {"verifying_amount": -1.0}, "from 0 up"),
        (["m0", "m3"], {}, "known: m0, m1, m2"),
    ],
)
def test_cascades_that_cannot_be_meant_are_refused(
    stages: list[str], options: dict[str, Any], message: str
) -> None:
    frame = asked([[1, 0, 1], [0, 1, 1]], [[1, 2, 3], [1, 2, math.nan]])
    with pytest.raises(InputError, match=message):
        cascade(frame, stages, **options)
    with pytest.raises(InputError, match="row 2, column quality"):
        cascade(asked([[1, 0.5]], [[1, 2]]), ["m0", "m1"])


# ---------------------------------------------------------------- tables by feature


def by_feature(rng: np.random.Generator, n: int, chances: dict[str, tuple[float, float]]) -> pl.DataFrame:
    names = np.array(list(chances))[np.arange(n) % len(chances)]
    quality = np.array([rng.random(2) < chances[name] for name in names])
    frame = asked(quality, np.tile([[1.0, 10.0]], (n, 1)))
    return frame.join(pl.DataFrame({"query": np.arange(n), "feature": names}), on="query")


def test_features_go_where_they_are_planted() -> None:
    chances = {"chat": (0.9, 0.9), "math": (0.3, 0.9), "code": (0.85, 0.9)}
    frame = by_feature(np.random.default_rng(1), 3000, chances)
    found = routing_table(frame, max_quality_loss=0.02, baseline="m1")
    chosen = {
        name: dict(found.table.filter(feature=name).select("model", "share").iter_rows()) for name in chances
    }
    assert chosen["math"]["m1"] > 0.9 and chosen["chat"] == {"m0": 1.0}
    math_row = found.table.filter(feature="math", model="m1").row(0, named=True)
    assert (math_row["learnt_queries"], math_row["queries"]) == (500, 500)
    assert math_row["quality_loss"] == 0 and math_row["saving_share"] == 0
    held = found.scores.filter(half="held out", router="routing table").row(0, named=True)
    assert abs(held["quality_loss"] - 0.02) < 0.03 and held["saving_share"] > 0.4
    # Weighted by their queries, the features' held-out figures are those of the whole table.
    parts = found.table.with_columns(n=pl.col("queries") * pl.col("share"))
    assert (parts["quality_loss"] * parts["n"]).sum() / 1500 == pytest.approx(held["quality_loss"])
    assert "held out: saves" in repr(found) and found.baseline == "m1"


def test_the_learnt_half_flatters_a_table_learnt_from_noise() -> None:
    # No feature differs from another: what is learnt is chance, and does not hold out.
    gaps = []
    for seed in range(12):
        frame = by_feature(np.random.default_rng(seed), 900, {f"f{i}": (0.6, 0.6) for i in range(18)})
        table = routing_table(frame, min_quality=0.62, baseline="m1", seed=seed).scores
        learnt, held = (
            table.filter(half=half, router="routing table")["quality"][0] for half in ("learnt", "held out")
        )
        assert learnt >= 0.62 - 1e-9
        gaps.append(learnt - held)
    assert np.mean(gaps) > 0.01


def test_small_features_are_learnt_together() -> None:
    chances = {"a": (0.2, 0.9), **{f"rare{i}": (0.2, 0.9) for i in range(3)}}
    frame = by_feature(np.random.default_rng(2), 400, chances).filter(
        (pl.col("feature") == "a") | (pl.col("query") < 40)
    )
    found = routing_table(frame, max_quality_loss=0.1, least_queries=10)
    pooled = dict(found.table.select("feature", "pooled").unique().iter_rows())
    assert pooled == {"a": False, "rare0": True, "rare1": True, "rare2": True}
    rare = found.table.filter(pl.col("pooled"))
    assert rare.group_by("feature").agg(pl.col("share").sum())["share"].to_list() == pytest.approx([1.0] * 3)


def test_the_same_seed_gives_the_same_table_in_any_order_of_rows() -> None:
    frame = by_feature(np.random.default_rng(3), 300, {"a": (0.5, 0.8), "b": (0.7, 0.8)})
    shuffled = frame.sample(fraction=1, shuffle=True, seed=1)
    one, other = (routing_table(f, budget_per_query=4.0) for f in (frame, shuffled))
    assert_frame_equal(one.table, other.table)
    assert_frame_equal(one.scores, other.scores)
    best = one.scores.filter(router="best possible")
    assert (best["per_1000_queries"] <= 4000 + 1e-6).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "one of them"),
        ({"min_quality": 0.5, "budget_per_query": 1.0}, "one of them"),
        ({"min_quality": 0.5, "feature": "nope"}, "column nope"),
        ({"min_quality": 1.5}, "cannot be reached"),
        ({"min_quality": 0.5, "level": 0.0}, "between 0 and 1"),
        ({"min_quality": 0.5, "baseline": "mx"}, "known: m0, m1"),
        ({"min_quality": 0.5, "feature": "model"}, "query 0 has more than one value"),
    ],
)
def test_tables_that_cannot_be_meant_are_refused(options: dict[str, Any], message: str) -> None:
    frame = by_feature(np.random.default_rng(3), 60, {"a": (0.5, 0.8)})
    with pytest.raises(InputError, match=message):
        routing_table(frame, **options)
    if options == {}:
        with pytest.raises(InputError, match="query 0 has no row for m0"):
            routing_table(frame[1:], min_quality=0.5)


# ---------------------------------------------------------------- evaluated items


def test_evaluated_items_become_queries() -> None:
    rng = np.random.default_rng(6)
    right = rng.random((50, 2)) < (0.9, 0.8)
    outcomes = pl.DataFrame(
        {
            "model": ["m"] * 100,
            "variant": [*["fp32"] * 50, *["int8"] * 50],
            "dataset": ["a", "b"] * 50,
            "metric": ["accuracy"] * 100,
            "item": [*range(50)] * 2,
            "value": right.T.ravel().astype(float),
            "higher_is_better": [True] * 100,
        }
    )
    points = pl.DataFrame(
        {"model": ["m"] * 3, "variant": ["fp32", "int8", "int4"], "per_1000_inferences": [4.0, 2.0, 1.0]}
    )
    queries = answered_queries(outcomes, points)
    best = right.max(axis=1).mean()
    found = route(queries, min_quality=best)
    only = int((right[:, 0] & ~right[:, 1]).sum())
    assert float(found.amount) == pytest.approx((50 * 2 + only * 2) / 1000)
    assert queries["feature"].unique().sort().to_list() == ["a", "b"]
    worse = {
        "not accuracy, f1": (outcomes.with_columns(metric=pl.Series(["f1", "accuracy"] * 50)), points),
        "lower is better in 'perplexity'": (outcomes.with_columns(metric=pl.lit("perplexity")), points),
        "lower is better in 'accuracy'": (outcomes.with_columns(higher_is_better=False), points),
        r"do not tell what m \(int8\)": (outcomes, points.filter(pl.col("variant") != "int8")),
        r"tell m \(fp32\) several times": (outcomes, pl.concat([points, points])),
        "not none": (outcomes.clear(), points),
    }
    for message, (rows, told) in worse.items():
        with pytest.raises(InputError, match=message):
            answered_queries(rows, told)


# ---------------------------------------------------------------- RouteLLM


@pytest.fixture(scope="module")
def mmlu(shared_data: Path) -> pl.DataFrame:
    folder = shared_data / "tradeoff" / "routellm" / "mmlu"
    if not folder.is_dir():
        pytest.skip("RouteLLM's MMLU outcomes are not beside this checkout")
    return routellm.queries(folder)


def test_routers_on_routellm_mmlu(mmlu: pl.DataFrame) -> None:
    means = mmlu.group_by("feature", "model").agg(pl.col("quality").mean())
    gain = means.pivot("model", index="feature", values="quality").select(
        "feature", (pl.col(STRONG) - pl.col(WEAK)).alias("subject")
    )
    scored = mmlu.join(gain, on="feature")
    found = routed_figures(scored, weak=WEAK, strong=STRONG, scores=["subject"])
    oracle, subject = (found.filter(router=name).row(0, named=True) for name in ("oracle", "subject"))
    assert oracle["queries"] == 14042
    assert round(oracle["weak_quality"], 3) == 0.681 and round(oracle["strong_quality"], 3) == 0.806
    assert round(oracle["best_quality"], 3) == 0.859
    assert round(oracle["apgr"], 3) == 1.285
    assert (round(oracle["cpt_50"], 4), round(oracle["cpt_80"], 4)) == (0.0625, 0.1)
    # In-sample: the subjects' means are of the same questions.
    assert (round(subject["apgr"], 3), round(subject["cpt_50"], 3)) == (0.708, 0.251)


def test_a_routing_table_on_routellm_mmlu_holds_less_than_it_learnt(mmlu: pl.DataFrame) -> None:
    found = routing_table(mmlu, max_quality_loss=0.02)
    assert found.baseline == STRONG and found.table["feature"].n_unique() == 57
    learnt, held = (
        found.scores.filter(half=half, router="routing table").row(0, named=True)
        for half in ("learnt", "held out")
    )
    assert learnt["queries"] + held["queries"] == 14042
    assert learnt["quality_loss"] == pytest.approx(0.02)
    assert held["quality_loss"] > 0.02 and held["loss_lo"] < 0.02 < held["loss_hi"]
    assert 0.4 < held["saving_share"] < 0.5


def test_a_cascade_on_routellm_gsm8k(shared_data: Path) -> None:
    file = shared_data / "tradeoff" / "routellm" / "gsm8k_responses.csv"
    if not file.exists():
        pytest.skip("RouteLLM's GSM8K outcomes are not beside this checkout")
    queries = routellm.queries(file)  # at ASSUMED prices and tokens
    assert queries.height == 2 * 1319
    found = cascade(queries, [WEAK, STRONG])
    weak, strong, both = found.iter_rows(named=True)
    assert f"{weak['per_correct']:.6f}" == "0.000126"
    assert f"{strong['per_correct']:.6f}" == "0.004347"
    assert f"{both['per_correct']:.6f}" == "0.001790"
    assert (round(strong["quality"], 3), round(both["quality"], 3)) == (0.857, 0.929)
    # The same accuracy by a split that knows both answers takes less: it never pays for a wrong try.
    split = route(queries, min_quality=both["quality"])
    assert split.whole_amount is not None
    assert float(split.whole_amount) < both["per_1000_queries"] / 1000 * 1319


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"prompt,{WEAK}\nq,True\n", f"column {STRONG}: the file has no such column"),
        (f"prompt,{WEAK},{STRONG}\nq,True,maybe\n", f"row 1, column {STRONG}: is neither True nor False"),
        (f"prompt,{WEAK},{STRONG}\nq,True,\n", "row 1"),
        ("", "is no table"),
    ],
)
def test_spoiled_outcomes_are_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "mmlu_x.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        routellm.queries(tmp_path)
    with pytest.raises(InputError, match=r"no mmlu_<subject>.csv"):
        routellm.queries(tmp_path / "..")
    with pytest.raises(InputError, match="no price"):
        routellm.queries(tmp_path, prices={WEAK: (Decimal(1), Decimal(1))})


def test_outcomes_are_priced_by_their_tokens(tmp_path: Path) -> None:
    names = ["prompt", WEAK, STRONG, f"{WEAK}_response", f"{STRONG}_response"]
    pl.DataFrame([["x" * 43, "True", "False", "y" * 9, None]], schema=names, orient="row").write_csv(
        tmp_path / "gsm8k_responses.csv"
    )
    found = routellm.queries(tmp_path / "gsm8k_responses.csv")
    assert routellm.recognises(tmp_path / "gsm8k_responses.csv") and not routellm.recognises(tmp_path)
    assert found.select("model", "quality", "input_tokens", "output_tokens", "amount").rows() == [
        (STRONG, 0.0, 10, 0, Decimal("0.0001")),
        (WEAK, 1.0, 10, 2, Decimal("0.0000072")),
    ]


# ---------------------------------------------------------------- command line and documentation


def test_route_from_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "q.csv"
    file.write_text(
        "query,model,quality,amount\n1,small,1,0.10\n1,large,1,1\n2,small,0,0.10\n2,large,1,1\n",
        encoding="utf-8",
    )
    run = CliRunner().invoke(app, ["route", str(file), "--min-quality", "1", "--json"])
    assert run.exit_code == 0, run.output
    told = json.loads(run.stdout)
    assert told["found"]["amount"] == told["found"]["whole_amount"] == "1.1"
    assert [row["share"] for row in told["split"]] == [0.5, 0.5]
    shown = CliRunner().invoke(app, ["route", str(file), "--budget", "0.65"])
    assert shown.exit_code == 0
    assert "quality 0.7500, spend 0.65" in shown.stdout and "whole queries: quality 0.5000" in shown.stdout
    for options, message in (
        (["--budget", "ten"], "takes an amount"),
        (["--budget", "0.1"], "least possible spend is 0.2"),
        ([], "one of them"),
    ):
        failed = CliRunner().invoke(app, ["route", str(file), *options])
        assert isinstance(failed.exception, InputError) and message in str(failed.exception)


def test_amounts_of_two_currencies_are_not_added_up() -> None:
    queries = asked([[0, 1]], [[1, 2]]).with_columns(BillingCurrency=pl.Series(["USD", "EUR"]))
    with pytest.raises(CurrencyError, match="EUR, USD"):
        route(queries, min_quality=0.5)
    assert route(queries.with_columns(BillingCurrency=pl.lit("USD")), min_quality=0.5).quality == 0.5


def test_the_curve_says_that_latency_is_left_aside(tmp_path: Path) -> None:
    file = tmp_path / "q.csv"
    file.write_text("query,model,quality,amount,latency_ms\n1,s,0,1,5\n1,l,1,2,90\n", encoding="utf-8")
    shown = CliRunner().invoke(app, ["route", str(file), "--budget", "2", "--max-latency-ms", "10"]).stdout
    assert "What each spend can buy, whatever the latency" in " ".join(shown.split())
    assert "quality at most 0 from the best" in " ".join(shown.split())


def test_files_of_queries_are_read_exactly_or_refused(tmp_path: Path) -> None:
    file = tmp_path / "q.csv"
    file.write_text("query,model,quality,amount\n1,m,1,0.1\n2,m,1,ten\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"q\.csv, row 2, column amount: amount 'ten'"):
        read_queries(file)
    file.write_text("query,model,quality,amount\n1,m,1,0.1\n2,m,,1\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"q\.csv, row 2, column quality"):
        read_queries(file)
    good = asked([[0, 1]], [[1, 2]])
    good.write_parquet(tmp_path / "q.parquet")
    assert_frame_equal(read_queries(tmp_path / "q.parquet"), as_queries(good))
    for name, message in (("none.csv", "no such file"), ("q.txt", "neither .csv nor .parquet")):
        (tmp_path / "q.txt").write_text("x", encoding="utf-8")
        with pytest.raises(InputError, match=message):
            read_queries(tmp_path / name)


def test_the_examples_of_the_documentation_run() -> None:
    text = (ROOT / "docs" / "routing.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(blocks) >= 5
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "routing.md", "exec"), names)
