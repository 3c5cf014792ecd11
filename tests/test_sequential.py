"""Sequential tests: exact chances by counting every path, bounds by brute force, decisions at every look."""

from __future__ import annotations

import itertools
import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finops_lab.errors import InputError
from finops_lab.tradeoffs.betting import expected_items, log_wealth, planned_bet
from finops_lab.tradeoffs.sequential import sequential

VALUES = st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.25, 1.0]), min_size=1, max_size=60)
PARTS = (1.0, 0.9, 0.6, 0.4, 0.25, 0.15, 0.1, 0.06, 0.04, 0.02, 0.01)


def wealth(values: list[float], mean: float, planned: float | None = None) -> list[float]:
    """Play every bet on its own, one value after the other."""
    bets = [(part, 1 / len(PARTS)) for part in PARTS]
    if planned:
        bets = [(planned, 0.5), *((part, weight / 2) for part, weight in bets)]
    purses, seen = [weight for _, weight in bets], []
    for value in values:
        purses = [p * (1 - part + part * value / mean) for p, (part, _) in zip(purses, bets, strict=True)]
        seen.append(sum(purses))
    return seen


@settings(max_examples=30)
@given(st.lists(st.sampled_from([0.0, 0.3, 1.0]), min_size=1, max_size=30), st.sampled_from([0.05, 0.4, 0.9]))
def test_the_wealth_is_that_of_every_bet_played_on_its_own(values: list[float], mean: float) -> None:
    for planned in (None, 0.5):
        found = np.exp(log_wealth(values, mean, planned))
        assert found == pytest.approx(wealth(values, mean, planned), rel=1e-9)


@pytest.mark.parametrize("planned", [None, 0.3])
@pytest.mark.parametrize("chance", [0.05, 0.5, 0.8])
def test_no_way_of_stopping_wins_by_chance(chance: float, planned: float | None) -> None:
    # Every path of 12 throws with its probability: nothing is simulated.
    paths = np.array(list(itertools.product([0.0, 1.0], repeat=12)))
    weights = np.prod(np.where(paths == 1, chance, 1 - chance), axis=1)
    won = np.exp(log_wealth(paths, chance, planned))
    assert won.T @ weights == pytest.approx(np.ones(12), rel=1e-9)  # fair at every look
    for alpha in (0.5, 0.2, 0.05):
        ever = (won >= 1 / alpha).any(axis=1)
        assert weights @ ever <= alpha


def test_false_promotions_and_false_roll_backs_at_the_edge_are_rare_at_every_look() -> None:
    rng = np.random.default_rng(7)
    draws = rng.choice([-1.0, 0.0, 1.0], p=[0.035, 0.95, 0.015], size=(200, 1_500))  # mean -0.02
    bet = planned_bet(0.02, 0.05, -0.02, (-1.0, 1.0))
    up = log_wealth((draws + 1) / 2, 0.49, bet).max(axis=1) >= math.log(20)
    down = log_wealth((1 - draws) / 2, 0.51).max(axis=1) >= math.log(20)
    assert up.mean() <= 0.05 and down.mean() <= 0.05
    assert up.any() or down.any()  # the test is not blind


def test_a_good_canary_is_promoted_after_about_the_planned_items() -> None:
    rng = np.random.default_rng(8)
    draws = rng.choice([-1.0, 0.0, 1.0], p=[0.025, 0.95, 0.025], size=(100, 4_000))
    bet = planned_bet(0.02, 0.05, -0.02, (-1.0, 1.0))
    over = log_wealth((draws + 1) / 2, 0.49, bet) >= math.log(20)
    assert over.any(axis=1).mean() > 0.95
    expected = expected_items(0.02, 0.05)
    assert expected is not None
    assert 0.5 * expected < np.median(over.argmax(axis=1)) < 1.4 * expected


@settings(max_examples=15)
@given(VALUES, st.sampled_from([-0.4, -0.05, 0.1]))
def test_the_range_ends_where_means_are_no_longer_refuted(values: list[float], reference: float) -> None:
    found = sequential(values, reference=reference, alpha=0.2, looks=len(values))
    units = (np.array(values) + 1) / 2

    def refuted(mean: float) -> tuple[bool, bool]:
        """Tell whether a mean was ever refuted as too small, or as too large."""
        at = (mean + 1) / 2
        small = at > 0 and bool(log_wealth(units, at).max() >= math.log(5))
        return small, at < 1 and bool(log_wealth(1 - units, 1 - at).max() >= math.log(5))

    close = 1e-6
    assert refuted(found.low - close)[0] or found.low <= -1 + close
    assert not refuted(found.low + close)[0]
    assert refuted(found.high + close)[1] or found.high >= 1 - close
    assert not refuted(found.high - close)[1]
    assert (found.above is not None) == (found.low >= reference)
    assert (found.below is not None) == (found.high <= reference)


@settings(max_examples=15)
@given(VALUES)
def test_turned_around_the_answer_is_turned_around(values: list[float]) -> None:
    one = sequential(values, reference=-0.1, alpha=(0.2, 0.1))
    other = sequential([-v for v in values], reference=0.1, alpha=(0.1, 0.2))
    assert (one.above, one.below) == (other.below, other.above)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-9)


@settings(max_examples=15)
@given(VALUES, st.integers(1, 59))
def test_what_was_proven_stays_proven_and_the_range_only_narrows(values: list[float], cut: int) -> None:
    early = sequential(values[:cut], reference=-0.1, alpha=0.2, looks=60)
    late = sequential(values, reference=-0.1, alpha=0.2, looks=60)
    for before, after in ((early.above, late.above), (early.below, late.below)):
        assert before is None or after == before
    assert early.decided is None or late.decided == early.decided
    assert late.low >= early.low - 1e-8 and late.high <= early.high + 1e-8
    assert late.path["low"].is_sorted() and late.path["high"].is_sorted(descending=True)


def test_the_path_ends_with_all_values_and_shows_the_decision() -> None:
    found = sequential([1.0] * 100, reference=-0.05, looks=5)
    assert found.above is not None and found.above in found.path["n"].to_list()
    assert found.path["n"][-1] == found.n == 100
    at = found.path.filter(n=found.above).row(0, named=True)
    assert at["wealth_above"] >= math.log(20) and at["low"] >= -0.05
    assert (found.mean, found.expected_n) == (1.0, None)


def test_what_is_not_decided_says_how_many_it_takes() -> None:
    found = sequential([0.0, 0.0, 1.0, -1.0] * 10, reference=-0.1)
    assert found.decided is None
    # 2 x 0.5 x log(1 / (0.05 x 0.1)) / 0.1^2
    assert found.expected_n == math.ceil(math.log(200) / 0.01)
    assert sequential([-0.5, 0.5], reference=0.0).expected_n is None  # nothing points anywhere
    empty = sequential([], reference=0.0)
    assert (empty.n, empty.low, empty.high, empty.path.height) == (0, -1.0, 1.0, 0)


def test_values_of_many_sizes_have_fewer_looks_and_a_range_too() -> None:
    values = np.random.default_rng(3).normal(0, 0.1, 3_000).clip(-1, 1)
    found = sequential(values, reference=-0.05)
    assert found.decided == "above" and found.path.height <= 18
    assert found.low < 0 < found.high < 0.05


def test_expected_items_by_hand() -> None:
    # 2 x 0.0093 x log(40) / 0.005^2; and where every item wins all it can: log(40) / log(1.005).
    assert expected_items(0.005, 0.0093) == math.ceil(0.0186 * math.log(40) / 0.000025) == 2745
    assert expected_items(0.005, 0.0) == expected_items(-0.005, 0.0) == 740
    assert expected_items(0.0, 0.1) is None
    assert planned_bet(-0.1, 0.1, 0.0, (-1, 1)) == 0.0 and planned_bet(1.0, 0.0, 0.0, (-1, 1)) == 0.95


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([0.0, 1.5], {"reference": 0.0}, "row 2: 1.5 is not between -1 and 1"),
        ([0.0, math.nan], {"reference": 0.0}, "row 2: nan"),
        ([0.0, None], {"reference": 0.0}, "row 2: None"),
        ([0.0], {"reference": -1.0}, "the reference -1 must be between"),
        ([0.0], {"reference": 0.0, "alpha": 0.0}, "alpha between 0 and 1"),
        ([0.0], {"reference": 0.0, "alpha": (0.05, 1.0)}, "alpha between 0 and 1"),
    ],
)
def test_what_cannot_be_tested_is_refused(
    values: list[float], options: dict[str, float], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        sequential(pl.Series(values, dtype=pl.Float64), **options)
