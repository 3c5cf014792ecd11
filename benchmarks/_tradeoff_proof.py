"""Proofs: do intervals hold what they promise, do plans suffice, how rare are false proofs, how fast is it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt
import polars as pl
from _form import Figure
from scipy import optimize, stats

from finops_lab.tradeoffs.claims import Claim, claim_points
from finops_lab.tradeoffs.measurement import OUTCOMES, TIMINGS, Measurement
from finops_lab.tradeoffs.multiple import holm
from finops_lab.tradeoffs.paired import tango_limits, worse_by
from finops_lab.tradeoffs.planner import paired_items, unpaired_items
from finops_lab.tradeoffs.ratios import quantile_at_least, quantile_ratio, total_at_least, total_ratio
from finops_lab.tradeoffs.verdicts import verdicts

_Floats = npt.NDArray[np.float64]
_Pair = tuple[_Floats, _Floats]
PAIRS = (
    Path(__file__).parents[2]
    / "shared"
    / "data"
    / "tradeoff"
    / "neural_compressor"
    / "int8_vs_fp32_accuracy_throughput.csv"
)
# Items, share gained, share lost: evaluations of 300 to 5,617 items that differ on 0.3 to 10 % of them.
TABLES = [
    (300, 0.05, 0.05),
    (678, 0.02, 0.03),
    (678, 0.0044, 0.0059),
    (858, 0.007, 0.0117),
    (858, 0.0023, 0.007),
    (2300, 0.00465, 0.00465),
    (5617, 0.0014, 0.0018),
    (5617, 0.011, 0.0139),
]
# Where only one to seven items are expected to differ at all, counts are too coarse for any interval.
COARSE = [(678, 0.001, 0.0034), (5617, 0.0002, 0.001), (1000, 0.001, 0.005), (300, 0.003, 0.02)]
# Rounds, and the share of rounds that a neighbour slows down.
TOTALS = [(16, 0.0), (60, 0.0), (60, 0.05), (200, 0.05)]
# Rounds and quantile, where a tail holds 20 rounds or more.
QUANTILES = [(60, 0.5), (400, 0.95), (1000, 0.95), (2000, 0.99)]
PLANS = [(0.005, 0.0093, 0.0), (0.005, 0.025, 0.0), (0.01, 0.04, -0.003), (0.02, 0.05, 0.0)]
RATIO, ALPHA, MARGIN = 0.6, 0.05, 0.005
RUNS = 10_000


def figures(quick: bool) -> list[Figure]:
    """Measure coverage, power, false proofs and speed."""
    runs = RUNS // 10 if quick else RUNS
    tango = [_exact(*table, kept=_tango) for table in TABLES]
    coarse = [_exact(*table, kept=_tango) for table in COARSE]
    wald = [_exact(*table, kept=_wald) for table in TABLES]
    totals = [_held(_rounds(n, spikes, runs, seed=1), total_at_least) for n, spikes in TOTALS]
    few = _held(_rounds(16, 0.05, runs, seed=2), total_at_least)
    bootstrap = _resampled(_rounds(16, 0.05, runs // 10, seed=2))
    tails = [
        _held(
            _rounds(n, 0.05, runs // 4, seed=3),
            lambda y, x, limit, q=q: quantile_at_least(y, x, limit=limit, q=q),
        )
        for n, q in QUANTILES
    ]
    power = [_power(*plan, runs) for plan in PLANS]
    pairs, apart = (
        paired_items(margin=MARGIN, discordance=0.0093),
        unpaired_items(margin=MARGIN, share=0.9068),
    )
    where = "of intervals of nominal 90 %"
    return [
        Figure("proof/tango_coverage_least", min(tango), f"{where}, exact", "higher", 0.88),
        Figure("proof/tango_coverage_most", max(tango), f"{where}, exact", "lower", 0.92),
        Figure("proof/tango_coverage_few_differ_least", min(coarse), f"{where}, exact", "higher"),
        Figure("proof/tango_coverage_few_differ_most", max(coarse), f"{where}, exact", "lower"),
        Figure("proof/wald_coverage_least", min(wald), f"{where}, exact", "higher", peer="standard error"),
        Figure("proof/total_ratio_coverage_least", min(totals), where, "higher", 0.88),
        Figure("proof/total_ratio_coverage_most", max(totals), where, "lower", 0.92),
        Figure("proof/total_ratio_coverage_16_spiky_rounds", few, where, "higher", 0.88),
        Figure("proof/bootstrap_coverage_16_spiky_rounds", bootstrap, where, "higher", peer="bootstrap"),
        Figure("proof/quantile_ratio_coverage_least", min(tails), where, "higher", 0.88),
        Figure("proof/quantile_ratio_coverage_most", max(tails), where, "lower", 0.92),
        Figure("proof/power_least", min(power), "of claims planned at 80 %", "higher", 0.75),
        Figure("proof/power_most", max(power), "of claims planned at 80 %", "lower", 0.83),
        Figure("proof/false_proof_most", max(_sizes()), "of claims at the margin, exact", "lower", 0.06),
        Figure(
            "proof/false_proof_in_ten",
            _family(runs, adjusted=True),
            "of tables of 10 variants",
            "lower",
            0.06,
        ),
        Figure("proof/false_proof_in_ten_unadjusted", _family(runs, adjusted=False), "of tables", "lower"),
        Figure("proof/unpaired_over_paired_items", apart / pairs, "times the items", "higher", 18.0),
        *_published(),
        *_speed(quick),
    ]


def _tango(gained: _Floats, lost: _Floats, items: int, difference: float) -> npt.NDArray[np.bool_]:
    low, high = tango_limits(gained, lost, items)
    return (low <= difference) & (difference <= high)


def _wald(gained: _Floats, lost: _Floats, items: int, difference: float) -> npt.NDArray[np.bool_]:
    estimate = (gained - lost) / items
    reach = 1.645 * np.sqrt((gained + lost) / items - estimate**2) / math.sqrt(items)
    return np.abs(estimate - difference) <= reach


def _tables(items: int, up: float, down: float) -> tuple[_Floats, _Floats, _Floats]:
    """Return every table of counts that has any chance, and its chance."""
    most = items * max(up, down)
    reach = range(math.ceil(most + 8 * math.sqrt(most)) + 6)
    gained, lost = (np.array(side, dtype=np.float64) for side in zip(*product(reach, reach), strict=True))
    whole = np.column_stack([gained, lost, items - gained - lost])
    return gained, lost, stats.multinomial.pmf(whole, items, [up, down, 1 - up - down])


def _exact(items: int, up: float, down: float, *, kept: Callable[..., npt.NDArray[np.bool_]]) -> float:
    gained, lost, chance = _tables(items, up, down)
    return float(chance[kept(gained, lost, items, up - down)].sum())


def _sizes() -> Iterator[float]:
    """Yield how often a loss of exactly the margin is proven to be less."""
    for items, discordance in ((600, 0.005), (678, 0.05), (2300, 0.02), (5617, 0.025), (5617, 0.006)):
        up = (discordance - MARGIN) / 2
        gained, lost, chance = _tables(items, up, up + MARGIN)
        low, _ = tango_limits(gained, lost, items)
        yield float(chance[low > -MARGIN].sum())


def _rounds(n: int, spikes: float, runs: int, seed: int) -> Iterator[_Pair]:
    """Yield paired times whose totals and quantiles are all in the ratio of 0.6."""
    generator = np.random.default_rng([seed, n, int(spikes * 100)])
    for _ in range(runs):
        shared = generator.lognormal(0, 0.15, n)
        both = []
        for scale in (RATIO, 1.0):
            hit = np.where(generator.random(n) < spikes, generator.lognormal(0.7, 0.3, n), 1.0)
            both.append(scale * shared * generator.lognormal(0, 0.05, n) * hit)
        yield both[0], both[1]


def _held(rounds: Iterator[_Pair], test: Callable[..., float]) -> float:
    """Return how often the interval that a test inverts holds the truth."""
    kept = [ALPHA < test(y, x, limit=RATIO) < 1 - ALPHA for y, x in rounds]
    return float(np.mean(kept))


def _resampled(rounds: Iterator[_Pair]) -> float:
    kept, generator = [], np.random.default_rng(4)
    for y, x in rounds:
        weights = generator.multinomial(y.size, np.full(y.size, 1 / y.size), size=999)
        low, high = np.quantile((weights @ y) / (weights @ x), [ALPHA, 1 - ALPHA])
        kept.append(low <= RATIO <= high)
    return float(np.mean(kept))


def _power(margin: float, discordance: float, difference: float, runs: int) -> float:
    items = paired_items(margin=margin, discordance=discordance, difference=difference)
    up = (discordance + difference) / 2
    tables = np.random.default_rng(5).multinomial(items, [up, discordance - up, 1 - discordance], size=runs)
    low, _ = tango_limits(tables[:, 0], tables[:, 1], items)
    return float((low > -margin).mean())


def _family(runs: int, *, adjusted: bool) -> float:
    """Return how often any of ten variants, all of which lose the margin, is proven to lose less."""
    items, discordance, many = 5617, 0.025, 10
    up = (discordance - MARGIN) / 2
    tables = np.random.default_rng(6).multinomial(
        items, [up, up + MARGIN, 1 - discordance], size=(runs // 10, many)
    )
    known: dict[tuple[int, int], float] = {}
    false = 0
    for table in tables:
        counts = [(int(gained), int(lost)) for gained, lost, _ in table]
        for pair in counts:
            if pair not in known:
                known[pair] = worse_by(*pair, items, margin=MARGIN)
        p_values = [known[pair] for pair in counts]
        smallest = min(one.p_value for one in holm(p_values) if one) if adjusted else min(p_values)
        false += smallest <= ALPHA
    return false / len(tables)


def _published() -> list[Figure]:
    if not PAIRS.exists():
        return []
    pairs = pl.read_csv(PAIRS).with_row_index()
    points = pl.concat(
        pairs.select(
            model=pl.format("{} {} {} {}", "section", "model", "example", "index"),
            variant=pl.lit(variant),
            cost_basis=pl.lit("relative"),
            per_1000_inferences=1 / pl.col(f"tput_{variant}"),
            quality=pl.col(f"acc_{variant}"),
            higher_is_better=~pl.col("lower_better"),
        )
        for variant in ("fp32", "int8")
    )
    claim = Claim(min_saving_share=0.30, max_quality_loss=0.005, relative_loss=True)
    meets = claim_points(points, claim, baseline="fp32")["meets"].sum()
    return [
        Figure("proof/published_pairs_least", float(meets), "of 167 pairs meet the claim", "higher", 104),
        Figure("proof/published_pairs_most", float(meets), "of 167 pairs meet the claim", "lower", 104),
    ]


def _speed(quick: bool) -> list[Figure]:
    times = 3 if quick else 7
    tables = np.random.default_rng(7).multinomial(5617, [0.011, 0.0139, 0.9751], size=20_000)
    many = _seconds(lambda: tango_limits(tables[:, 0], tables[:, 1], 5617), times) / len(tables)
    search = _seconds(lambda: _by_search(tables[:20]), times) / 20
    y, x = next(_rounds(1200, 0.05, 1, seed=8))
    inverted = _seconds(lambda: quantile_ratio(y, x), times)
    drawn = _seconds(lambda: _bootstrap_p95(y, x), times)
    total = _seconds(lambda: total_ratio(y, x), times)
    measured = _measured(20)
    claim = Claim(min_saving_share=0.30, max_quality_loss=0.005, max_latency_ratio=1.0)
    whole = _seconds(lambda: verdicts(measured, claim, baseline="v0"), times)
    return [
        Figure(
            "proof/tango_speed", search / many, "times as fast", "higher", 10.0, "scipy brentq, one by one"
        ),
        Figure(
            "proof/p95_ratio_speed",
            drawn / inverted,
            "times as fast",
            "higher",
            5.0,
            "bootstrap, 1,999 draws",
        ),
        Figure("proof/total_ratio_ms", 1000 * total, "CPU ms, 1,200 rounds", "lower"),
        Figure("proof/verdicts_s", whole, "CPU s, 20 variants, 5,617 items, 400 rounds", "lower", 2.0),
    ]


def _seconds(work: Callable[[], object], times: int) -> float:
    took = []
    for _ in range(times):
        start = time.process_time()
        work()
        took.append(time.process_time() - start)
    return median(took)


def _by_search(tables: npt.NDArray[np.int64]) -> list[float]:
    def score(difference: float, gained: int, lost: int, items: int, z: float) -> float:
        b = -gained - lost + (2 * items - gained + lost) * difference
        root = math.sqrt(max(b * b + 8 * items * lost * difference * (1 - difference), 0.0))
        share = (root - b) / (4 * items)
        variance = max(items * (2 * share + difference * (1 - difference)), 1e-300)
        return (gained - lost - items * difference) / math.sqrt(variance) - z

    ends = []
    for gained, lost, other in tables.tolist():
        items = gained + lost + other
        estimate = (gained - lost) / items
        for z, low, high in ((1.645, -0.999, estimate), (-1.645, estimate, 0.999)):
            ends.append(optimize.brentq(score, low, high, args=(gained, lost, items, z), xtol=1e-13))
    return ends


def _bootstrap_p95(y: _Floats, x: _Floats) -> npt.NDArray[np.float64]:
    draws = np.random.default_rng(9).integers(0, y.size, (1999, y.size))
    at = math.ceil(0.95 * y.size) - 1
    tails = [np.partition(values[draws], at, axis=1)[:, at] for values in (y, x)]
    return np.quantile(tails[0] / tails[1], [ALPHA, 1 - ALPHA])


def _measured(count: int) -> Measurement:
    generator = np.random.default_rng(10)
    items, rounds, names = 5617, 400, [f"v{i}" for i in range(count)]
    base = (generator.random(items) < 0.76).astype(float)
    shared = generator.lognormal(0, 0.15, rounds)
    outcomes, timings = [], []
    for at, name in enumerate(names):
        flips = generator.random(items) < (0.02 if at else 0.0)
        outcomes.append(
            pl.DataFrame({"item": range(items), "value": np.where(flips, 1 - base, base)}).with_columns(
                model=pl.lit("m"),
                variant=pl.lit(name),
                dataset=pl.lit("d"),
                metric=pl.lit("accuracy"),
                higher_is_better=pl.lit(True),
            )
        )
        ms = shared * generator.lognormal(0, 0.05, rounds) * (0.6 if at else 1.0)
        timings.append(
            pl.DataFrame({"round": range(rounds), "cpu_ms": ms, "wall_ms": ms}).with_columns(
                model=pl.lit("m"), variant=pl.lit(name), workload=pl.lit("w"), items=1, tokens=1
            )
        )
    return Measurement(
        pl.DataFrame({"model": ["m"] * count, "variant": names}),
        timings=_whole(timings, TIMINGS),
        outcomes=_whole(outcomes, OUTCOMES),
    )


def _whole(frames: list[pl.DataFrame], schema: dict[str, pl.DataType | type[pl.DataType]]) -> pl.DataFrame:
    return pl.concat(frames).select(
        (pl.col(name) if name in frames[0].columns else pl.lit(None)).cast(kind).alias(name)
        for name, kind in schema.items()
    )
