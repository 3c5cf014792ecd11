"""Canaries: how often a look too many decides wrongly, and how many items a right decision takes."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import polars as pl
from _form import Figure

from finops_lab.tradeoffs.betting import expected_items, log_wealth, planned_bet
from finops_lab.tradeoffs.representative import mix

# A margin of half a percentage point; 0.93 % of items are right for only one of two variants.
MARGIN, DISCORDANCE, ALPHA = 0.005, 0.0093, 0.05
RUNS, HORIZON, LOOKS, AT_ONCE = 2_000, 20_000, 23, 50
# A betting confidence sequence of the same setting stopped after so many items where there was no loss.
BETTING_SEQUENCE_MEDIAN = 3_511
TAIL, SLICES = 0.05, 12
_Ints = npt.NDArray[np.int8]


def figures(quick: bool) -> list[Figure]:
    """Simulate canaries at the edge of being too bad, and canaries without any loss."""
    runs = RUNS // 10 if quick else RUNS
    limit = math.log(1 / ALPHA)
    bet = planned_bet(MARGIN, DISCORDANCE, -MARGIN, (-1.0, 1.0))
    promoted, rolled_back, naive, once = [], [], [], []
    for differences in _draws(runs, -MARGIN, seed=1):
        units = (differences + 1.0) / 2
        promoted.append(_stops(log_wealth(units, (1 - MARGIN) / 2, bet), limit))
        rolled_back.append(_stops(log_wealth(1 - units, (1 + MARGIN) / 2), limit))
        at_looks = _wald(differences)
        naive.append(at_looks.any(axis=1))
        once.append(at_looks[:, -1])
    kept = [
        _stops(log_wealth((d + 1.0) / 2, (1 - MARGIN) / 2, bet), limit) for d in _draws(runs, 0.0, seed=2)
    ]
    blind = [_stops(log_wealth((d + 1.0) / 2, (1 - MARGIN) / 2), limit) for d in _draws(runs, 0.0, seed=2)]
    items = np.concatenate(kept)
    rng = np.random.default_rng(3)
    slow = [
        _stops(log_wealth((rng.random((AT_ONCE, HORIZON)) < TAIL).astype(float), TAIL), limit)
        for _ in range(runs // AT_ONCE // 4)
    ]
    every = "of runs, a look after each item"
    return [
        Figure("canary/false_promotion", _share(promoted), every, "lower", ALPHA),
        Figure("canary/false_roll_back", _share(rolled_back), every, "lower", ALPHA),
        Figure("canary/false_p95_breach", _share(slow), every, "lower", ALPHA),
        Figure(
            "canary/naive_false_promotion",
            float(np.concatenate(naive).mean()),
            f"of runs, {LOOKS} looks",
            "lower",
        ),
        Figure("canary/one_look_false_promotion", float(np.concatenate(once).mean()), "of runs", "lower"),
        Figure(
            "canary/items_to_promote",
            float(np.median(items)),
            "items, median, no loss",
            "lower",
            BETTING_SEQUENCE_MEDIAN,
            "betting confidence sequence",
        ),
        Figure(
            "canary/items_to_promote_unplanned",
            float(np.median(np.concatenate(blind))),
            "items, median",
            "lower",
        ),
        Figure("canary/items_to_promote_p90", float(np.quantile(items, 0.9)), "items, no loss", "lower"),
        Figure(
            "canary/items_expected",
            float(expected_items(MARGIN, DISCORDANCE) or 0),
            "items, planned",
            "lower",
        ),
        Figure("canary/promoted", _share(kept), f"of runs within {HORIZON:,} items", "higher", 0.95),
        *_mixes(1_000 if not quick else 100),
    ]


def _draws(runs: int, mean: float, seed: int) -> Iterator[_Ints]:
    """Yield differences of paired items, some runs at a time: -1, 0 or 1."""
    rng = np.random.default_rng(seed)
    gains = (DISCORDANCE + mean) / 2
    for _ in range(runs // AT_ONCE):
        drawn = rng.random((AT_ONCE, HORIZON))
        yield (drawn < gains).astype(np.int8) - (drawn > 1 - (DISCORDANCE - gains)).astype(np.int8)


def _stops(wealth: npt.NDArray[np.float64], limit: float) -> npt.NDArray[np.float64]:
    """Return after how many items each run decides; infinite where it does not."""
    over = wealth >= limit
    return np.where(over.any(axis=1), over.argmax(axis=1) + 1.0, np.inf)


def _wald(differences: _Ints) -> npt.NDArray[np.bool_]:
    """Return at which looks the usual test of one look would promote."""
    n = np.linspace(0, HORIZON, LOOKS + 1)[1:].astype(int)
    sums = differences.cumsum(axis=1, dtype=np.int64)[:, n - 1]
    squares = np.abs(differences).cumsum(axis=1, dtype=np.int64)[:, n - 1]
    means = sums / n
    spread = np.sqrt(np.maximum(squares / n - means**2, 1e-12) / n)
    return (means + MARGIN) / spread > 1.6448536269514722


def _mixes(samples: int) -> list[Figure]:
    """Judge fair samples of a traffic, and samples in which one slice of a fifth is missing."""
    rng = np.random.default_rng(4)
    weights = np.array([0.2, *np.full(SLICES - 1, 0.8 / (SLICES - 1))])
    whole = pl.DataFrame({"customer": rng.choice(SLICES, 20_000, p=weights)})
    said: dict[str, list[str]] = {"fair": [], "missing": []}
    for _ in range(samples):
        fair = whole[rng.integers(0, whole.height, 1_000)]
        for name, sample in (("fair", fair), ("missing", fair.filter(pl.col("customer") != 0))):
            said[name].append(mix(sample, whole, by=["customer"])["status"].item())
    alarms = {name: statuses.count("not representative") / samples for name, statuses in said.items()}
    return [
        Figure("canary/fair_samples_refused", alarms["fair"], "of samples", "lower", 0.05),
        Figure("canary/missing_slice_found", alarms["missing"], "of samples", "higher", 0.99),
    ]


def _share(stops: list[npt.NDArray[np.float64]]) -> float:
    return float(np.isfinite(np.concatenate(stops)).mean())
