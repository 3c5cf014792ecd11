"""Routers, cascades, load and hosting: equal to HiGHS, how fast, the published figures, coverage.

Speed is CPU time in this process: the public `route` from a frame to its answer, against HiGHS's solver
alone, its matrices made before. Published figures need RouteLLM's files beside the checkout.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from _form import Figure, report
from scipy import sparse
from scipy.optimize import linprog

from finops_lab.errors import InputError
from finops_lab.tradeoffs.batching import fit_batching
from finops_lab.tradeoffs.by_feature import routing_table
from finops_lab.tradeoffs.cascade import cascade
from finops_lab.tradeoffs.hosting_break_even import hosting_break_even
from finops_lab.tradeoffs.published import routellm
from finops_lab.tradeoffs.routed_curve import routed_figures
from finops_lab.tradeoffs.routing import Route, route

Floats = npt.NDArray[np.float64]
NAME = "tradeoffs/routing"
SHARED = Path(__file__).parents[2] / "shared" / "data" / "tradeoff"
WEAK, STRONG = "mistralai/Mixtral-8x7B-Instruct-v0.1", "gpt-4-1106-preview"
QUERIES, MODELS = 14_042, 6
# ModelOpt's table: tokens per second at batches of 1, 8 and 64, two models by four precisions.
BATCHES = (1, 8, 64)
MODELOPT = (
    (173.80, 803.11, 1679.74),
    (245.03, 1051.17, 2190.93),
    (231.75, 599.72, 1392.78),
    (239.70, 801.72, 1930.86),
    (45.81, 182.61, 401.50),
    (43.46, 182.07, 420.64),
    (44.10, 93.98, 176.68),
    (46.31, 140.02, 345.43),
)


def frame_of(quality: Floats, amount: Floats, latency: Floats) -> pl.DataFrame:
    n, k = quality.shape
    frame = pl.DataFrame(
        {
            "query": np.repeat(np.arange(n), k),
            "model": np.tile([f"m{i}" for i in range(k)], n),
            "quality": quality.ravel(),
            "amount": amount.ravel(),
            "latency_ms": latency.ravel(),
        }
    )
    return frame.filter(pl.col("amount").is_not_nan())


def program(frame: pl.DataFrame, limits: dict[str, float]) -> Callable[[], float | None]:
    """Prepare the linear program; what is returned solves it."""
    c, q, late = (frame[name].to_numpy() for name in ("amount", "quality", "latency_ms"))
    code = frame["query"].rank("dense").to_numpy().astype(np.int64) - 1
    n, m = int(code.max()) + 1, len(c)
    one = sparse.csr_matrix((np.ones(m), (code, np.arange(m))), shape=(n, m))
    least_spend = "min_quality" in limits
    rows = [-q] if least_spend else [c]
    most = [-limits["min_quality"] * n] if least_spend else [limits["budget"]]
    if "max_p95_ms" in limits:
        rows.append((late > limits["max_p95_ms"]).astype(float))
        most.append(0.05 * n)
    aim, matrix = (c if least_spend else -q), np.array(rows)

    def solve() -> float | None:
        found = linprog(aim, matrix, most, one, np.ones(n), bounds=(0, 1), method="highs")
        if found.status != 0:
            return None
        return float(found.fun) if least_spend else -float(found.fun) / n

    return solve


def objective(found: Route, limits: dict[str, float]) -> float:
    return float(found.amount) if "min_quality" in limits else found.quality


def exactness(cases: int) -> Iterator[Figure]:
    """Compare with HiGHS on small cases full of ties, duplicates and gaps, each with one limit and with two."""
    rng = np.random.default_rng(2026)
    unlike, worst, solved, refused = 0, 0.0, 0, 0
    for case in range(cases):
        n, k = int(rng.integers(1, 8)), int(rng.integers(1, 6))
        if case % 3 == 0:
            quality, amount = (
                rng.integers(0, 2, (n, k)).astype(float),
                rng.integers(0, 4, (n, k)).astype(float),
            )
        elif case % 3 == 1:
            quality, amount = rng.integers(0, 4, (n, k)) / 10, rng.integers(0, 4, (n, k)) / 10
        else:
            quality, amount = rng.random((n, k)), rng.random((n, k))
        gone = rng.random((n, k)) < 0.15
        gone[np.arange(n), rng.integers(0, k, n)] = False
        amount = np.where(gone, np.nan, amount)
        frame = frame_of(quality, amount, rng.integers(0, 3, (n, k)).astype(float))
        low, high = np.nanmin(amount, axis=1).sum(), np.nanmax(amount, axis=1).sum()
        best = np.where(gone, 0, quality).max(axis=1).mean()
        two = {"max_p95_ms": float(rng.integers(0, 3))}
        budget = {"budget": round(low + float(rng.random()) * 1.1 * (high - low), 1)}
        wanted = {"min_quality": round(float(rng.random()) * best * 1.05, 2)}
        for limits in (budget, wanted, budget | two, wanted | two):
            want = program(frame, limits)()
            try:
                found = objective(route(frame, **limits), limits)
            except InputError:
                unlike += want is not None
                refused += 1
                continue
            solved += 1
            difference = float("inf") if want is None else abs(found - want)
            worst = max(worst, difference)
            unlike += difference > 1e-9
    print(
        f"router: {cases} cases, {solved} solved, {refused} without a solution, worst difference {worst:.2g}"
    )
    yield Figure(f"{NAME}/cases_unlike_highs", unlike, f"of {solved + refused}", "lower", 0, "HiGHS")
    yield Figure(f"{NAME}/worst_difference", worst, "objective", "lower", 1e-9, "HiGHS")


def cpu(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    found = work()
    return time.process_time() - start, found


def speed(rounds: int) -> Iterator[Figure]:
    """Time 14,042 queries by 6 models with one limit of each kind, and with a P95 beside."""
    rng = np.random.default_rng(0)
    quality = (rng.random((QUERIES, MODELS)) < np.linspace(0.5, 0.85, MODELS)).astype(float)
    prices = np.array([1, 2, 4, 8, 20, 60]) * rng.gamma(4, 0.25, (QUERIES, 1))
    amount = prices * rng.gamma(9, 1 / 9, (QUERIES, MODELS))
    frame = frame_of(quality, amount, rng.gamma(2, 50, (QUERIES, MODELS)))
    for name, limits, ratio, most in (
        ("budget", {"budget": 0.025 * float(amount[:, -1].sum())}, 50.0, 0.1),
        ("min_quality", {"min_quality": 0.95}, 50.0, 0.1),
        ("min_quality_and_p95", {"min_quality": 0.95, "max_p95_ms": 120.0}, None, None),
    ):
        solve = program(frame, limits)
        own, peer = [], []
        for _ in range(rounds):
            for _ in range(3):
                seconds, found = cpu(lambda limits=limits: route(frame, **limits))
                own.append(seconds)
            seconds, want = cpu(solve)
            peer.append(seconds)
        off = abs(objective(found, limits) - want) / abs(want)
        gap = None if found.gap is None else found.gap / abs(want)
        print(f"{name}: ours {median(own):.4f}, HiGHS {median(peer):.3f} CPU s, off {off:.2g}, whole {gap}")
        yield Figure(
            f"{NAME}/{name}/highs_to_ours", median(peer) / median(own), "CPU ratio", "higher", ratio, "HiGHS"
        )
        yield Figure(f"{NAME}/{name}/seconds", median(own), "CPU s", "lower", most)
        yield Figure(f"{NAME}/{name}/off", off, "share of the optimum", "lower", 1e-9, "HiGHS")
        if gap is not None:
            yield Figure(f"{NAME}/{name}/whole_queries_lose", gap, "share of the optimum", "lower", 1e-4)


def published() -> Iterator[Figure]:
    """Measure how far RouteLLM's figures are from those known, and what a table by subject keeps."""
    folder = SHARED / "routellm"
    if not folder.is_dir():
        print("routing: RouteLLM's outcomes are not beside this checkout, its figures are left out")
        return
    mmlu = routellm.queries(folder / "mmlu")
    oracle = routed_figures(mmlu, weak=WEAK, strong=STRONG).filter(router="oracle").row(0, named=True)
    known = {"weak_quality": 0.681, "strong_quality": 0.806, "best_quality": 0.859, "apgr": 1.285}
    for name, value in known.items():
        yield Figure(
            f"{NAME}/mmlu/{name}",
            abs(oracle[name] - value),
            f"off {value}",
            "lower",
            0.0005,
            "RouteLLM's data",
        )
    gsm8k = cascade(routellm.queries(folder / "gsm8k_responses.csv"), [WEAK, STRONG])
    for row, value in zip(gsm8k.iter_rows(named=True), (0.000126, 0.004347, 0.001790), strict=True):
        off = abs(row["per_correct"] - value)
        yield Figure(
            f"{NAME}/gsm8k/{row['way'].split('/')[0]}", off, f"off {value} a right answer", "lower", 5e-7
        )
    for limits in ({"max_quality_loss": 0.02}, {"budget_per_query": 0.0005}):
        scores = routing_table(mmlu, **limits).scores.filter(router="routing table")
        learnt, held = scores.iter_rows(named=True)
        print(f"table by subject {limits}: {scores.select('half', 'quality_loss', 'saving_share').rows()}")
        name = f"{NAME}/mmlu/by_subject/{next(iter(limits))}"
        yield Figure(f"{name}/saved_held_out", held["saving_share"], "share of the strong one", "higher")
        lost = held["quality_loss"] - learnt["quality_loss"]
        yield Figure(f"{name}/lost_beyond_learnt", lost, "quality", "lower")


def _within(name: str, hits: float, draws: int) -> Figure:
    share = hits / draws
    print(f"{name}: {share:.3f}")
    # A few draws tell the share too roughly to hold it to anything.
    target = 0.02 if draws >= 600 else None
    distance = round(abs(share - 0.9), 6)
    return Figure(f"{NAME}/coverage/{name}", distance, "distance of the share from 0.9", "lower", target)


def coverage(draws: int) -> Iterator[Figure]:
    """How often intervals of nominally 90 % hold the truth that was planted."""
    rng = np.random.default_rng(17)
    hits = np.zeros(5)
    week = np.array([1.2] * 5 + [0.5] * 2)
    truth = 60 / (1e7 * week.mean()) * 1e6
    for seed in range(draws):
        # A cascade: .6 right at 1, then .9 right at 9.
        quality = np.column_stack([rng.random(400) < 0.6, rng.random(400) < 0.9]).astype(float)
        frame = frame_of(quality, np.tile([[1.0, 9.0]], (400, 1)), np.ones((400, 2)))
        row = cascade(frame, ["m0", "m1"]).row(2, named=True)
        hits[0] += row["quality_lo"] <= 0.96 <= row["quality_hi"]
        hits[1] += row["per_correct_lo"] <= 4.6 / 0.96 <= row["per_correct_hi"]
        # A table: the small one loses .3 of what is learnt to go there, whichever that is.
        quality = np.column_stack([rng.random(800) < 0.5, rng.random(800) < 0.8]).astype(float)
        frame = frame_of(quality, np.tile([[1.0, 9.0]], (800, 1)), np.ones((800, 2)))
        frame = frame.with_columns(pl.format("f{}", pl.col("query") % 8).alias("feature"))
        found = routing_table(frame, budget_per_query=5.0, baseline="m1", seed=seed)
        held = found.scores.filter(half="held out", router="routing table").row(0, named=True)
        small = found.table.filter(model="m0")
        lost = 0.3 * float((small["queries"] * small["share"]).sum()) / 400
        hits[2] += held["loss_lo"] <= lost <= held["loss_hi"]
        # Hosting: days of a week, 4 and 13 weeks of them.
        for at, days in ((3, 28), (4, 91)):
            tokens = 1e7 * week[np.arange(days) % 7] * rng.lognormal(-0.02, 0.2, days)
            figures = hosting_break_even(
                _days(60, tokens), _days(20, np.full(days, 5e6)), draws=400, seed=seed
            ).figures
            row = figures.filter(figure="hosted_per_mtok").row(0, named=True)
            hits[at] += row["lo"] <= truth <= row["hi"]
    names = (
        "cascade_quality",
        "cascade_per_correct",
        "table_held_out_loss",
        "hosting_28_days",
        "hosting_91_days",
    )
    yield from (_within(name, float(hit), draws) for name, hit in zip(names, hits, strict=True))


def _days(amount: int, tokens: Floats) -> pl.DataFrame:
    first = date(2026, 1, 5)
    return pl.DataFrame(
        {
            "day": [first + timedelta(days=i) for i in range(len(tokens))],
            "amount": pl.Series([Decimal(amount)] * len(tokens), dtype=pl.Decimal(38, 18)),
            "tokens": tokens.astype(np.int64),
            "utilization": [0.4] * len(tokens),
        }
    )


def batching() -> Iterator[Figure]:
    """How well the line of a batch's time fits published throughputs, sizes left out in turn."""
    timings = pl.DataFrame(
        {
            "curve": np.repeat(np.arange(len(MODELOPT)), len(BATCHES)),
            "items": BATCHES * len(MODELOPT),
            "wall_ms": [1000 * b / rate for row in MODELOPT for b, rate in zip(BATCHES, row, strict=True)],
        }
    )
    fits = fit_batching(timings, by=["curve"])
    print(f"batching: {fits.select('median_ape', 'left_out_median_ape').median().row(0)}")
    yield Figure(
        f"{NAME}/batching/median_ape", float(fits["median_ape"].median() or 0), "share", "lower", 0.1
    )


def figures(quick: bool = False) -> list[Figure]:
    """Return all figures; `quick` takes fewer cases, rounds and draws."""
    return [
        *exactness(100 if quick else 1000),
        *speed(1 if quick else 3),
        *published(),
        *coverage(60 if quick else 600),
        *batching(),
    ]


if __name__ == "__main__":
    report(figures("--quick" in sys.argv), None)
