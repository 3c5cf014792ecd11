"""Paired and unpaired tests: published examples, brute force, exact coverage, invariants, planning."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from finops_lab.errors import InputError
from finops_lab.tradeoffs.multiple import holm
from finops_lab.tradeoffs.paired import mcnemar, paired_difference, tango_limits, two_sided, worse_by
from finops_lab.tradeoffs.paired_relative import paired_ratio, relatively_worse_by
from finops_lab.tradeoffs.paired_scores import paired_mean, paired_mean_ratio, paired_mean_worse_by
from finops_lab.tradeoffs.planner import needed, paired_items, paired_power, unpaired_items
from finops_lab.tradeoffs.unpaired import unpaired_difference, unpaired_ratio, unpaired_worse_by

Z90 = 1.6448536269514722
TABLES = [
    (int(both), int(gained), int(lost), int(both + gained + lost + neither))
    for both, gained, lost, neither in np.random.default_rng(7).integers(
        [0, 0, 0, 0], [60, 25, 25, 60], (60, 4)
    )
    if both + lost and both + gained
]


@st.composite
def counts(draw: st.DrawFn) -> tuple[int, int, int]:
    items = draw(st.integers(1, 5000))
    gained = draw(st.integers(0, items))
    return gained, draw(st.integers(0, items - gained)), items


# (both, gained, lost, neither), coverage, low, high: printed in the papers named.
@pytest.mark.parametrize(
    ("table", "coverage", "low", "high"),
    [
        ((43, 0, 1, 0), 0.90, -0.096, 0.037),  # Tango 1998
        ((4, 9, 3, 16), 0.95, -0.027, 0.390),  # Tango 1998
        ((53, 16, 8, 9), 0.95, -0.020, 0.207),  # Agresti and Min 2005
        ((1, 1, 7, 12), 0.95, -0.517, -0.026),  # Fagerland, Lydersen and Laake 2014
        ((7, 25, 2, 68), 0.95, 0.139, 0.321),  # Chang 2024
    ],
)
def test_tangos_interval_is_that_of_the_papers(
    table: tuple[int, int, int, int], coverage: float, low: float, high: float
) -> None:
    found = paired_difference(table[1], table[2], sum(table), coverage=coverage)
    assert (round(found.low, 3), round(found.high, 3)) == (low, high)


@pytest.mark.parametrize(
    ("table", "coverage", "low", "high"),
    [
        ((446, 5, 16, 690), 0.90, 0.958, 0.992),  # Tang, Tang and Chan 2003
        ((43, 0, 1, 0), 0.90, 0.904, 1.039),  # Tang, Tang and Chan 2003
        ((1, 1, 7, 12), 0.95, 0.065, 0.907),  # DelRocco 2022
    ],
)
def test_the_ratio_of_paired_shares_is_that_of_the_papers(
    table: tuple[int, int, int, int], coverage: float, low: float, high: float
) -> None:
    found = paired_ratio(*table[:3], sum(table), coverage=coverage)
    assert (round(found.low, 3), round(found.high, 3)) == (low, high)


def brute_score(gained: int, lost: int, items: int, difference: float) -> float:
    """Tango's statistic with the likelihood of the discordant share maximised by search."""
    least, most = max(0.0, -difference), (1 - difference) / 2

    def slope(share: float) -> float:
        same = 1 - 2 * share - difference
        return (
            gained * share * same
            + lost * (share + difference) * same
            - 2 * (items - gained - lost) * share * (share + difference)
        )

    edge = 1e-15 * (most - least)
    share = least
    if slope(least + edge) > 0:
        share = optimize.brentq(slope, least + edge, most, xtol=1e-16)
    variance = items * (2 * share + difference - difference**2)
    return float((gained - lost - items * difference) / math.sqrt(max(variance, 1e-300)))


def test_tangos_interval_is_where_the_score_test_begins_to_reject() -> None:
    for _, gained, lost, items in TABLES:
        estimate, low, high = paired_difference(gained, lost, items)

        def beyond(difference: float, sign: float, table: tuple[int, int, int]) -> float:
            return brute_score(*table, difference) - sign * Z90

        table = (gained, lost, items)
        below = optimize.brentq(beyond, -1 + 1e-9, estimate - 1e-9, args=(1, table), xtol=1e-14)
        above = optimize.brentq(beyond, estimate + 1e-9, 1 - 1e-9, args=(-1, table), xtol=1e-14)
        assert (low, high) == pytest.approx((below, above), abs=1e-9)


def test_no_discordant_pair_leaves_room_for_what_was_not_seen() -> None:
    # z^2 / (n + z^2): never a point, as the bootstrap would have it.
    _, low, high = paired_difference(0, 0, 600)
    assert (-low, high) == pytest.approx((Z90**2 / (600 + Z90**2),) * 2, abs=1e-12)
    assert worse_by(0, 0, 600, margin=0.005) < 0.05 < worse_by(0, 0, 500, margin=0.005)


def test_the_extremes_of_a_table_stay_in_range() -> None:
    assert paired_difference(9, 0, 9).high == 1 and paired_difference(0, 9, 9).low == -1
    assert paired_difference(1, 0, 1).low < 0.5


def exact_coverage(items: int, up: float, down: float) -> float:
    """How often the interval of nominal 90 % holds the truth, all tables weighed by their probability."""
    reach = range(math.ceil(items * max(up, down) + 8 * math.sqrt(items * max(up, down))) + 5)
    gained, lost = (np.array(side) for side in zip(*product(reach, reach), strict=True))
    weight = stats.multinomial.pmf(
        np.column_stack([gained, lost, items - gained - lost]), items, [up, down, 1 - up - down]
    )
    low, high = tango_limits(gained, lost, items)
    assert weight.sum() == pytest.approx(1, abs=1e-6)
    return float(weight[(low <= up - down) & (up - down <= high)].sum())


@pytest.mark.parametrize(("items", "up", "down"), [(678, 0.02, 0.03), (858, 0.012, 0.017), (300, 0.05, 0.05)])
def test_nominal_90_percent_covers_88_to_92(items: int, up: float, down: float) -> None:
    assert 0.88 <= exact_coverage(items, up, down) <= 0.92


@given(counts(), st.sampled_from([0.8, 0.9, 0.95]))
@settings(max_examples=40)
def test_intervals_hold_the_estimate_mirror_and_nest(table: tuple[int, int, int], coverage: float) -> None:
    gained, lost, items = table
    estimate, low, high = paired_difference(gained, lost, items, coverage=coverage)
    assert -1 <= low <= estimate <= high <= 1
    turned = paired_difference(lost, gained, items, coverage=coverage)
    assert (turned.low, turned.high) == pytest.approx((-high, -low), abs=1e-12)
    more = paired_difference(4 * gained, 4 * lost, 4 * items, coverage=coverage)
    assert more.high - more.low <= high - low + 1e-12


@given(counts(), st.floats(0.001, 0.5))
@settings(max_examples=60)
def test_the_test_and_the_interval_agree(table: tuple[int, int, int], margin: float) -> None:
    p_value, low = worse_by(*table, margin=margin), paired_difference(*table).low
    if abs(low + margin) > 1e-9:
        assert (p_value < 0.05) == (low > -margin)


@given(counts(), st.integers(0, 3000), st.floats(0.001, 0.4))
@settings(max_examples=50)
def test_the_relative_test_and_its_interval_agree(
    table: tuple[int, int, int], both: int, margin: float
) -> None:
    gained, lost, items = table
    if both + lost == 0:
        both = 1
    estimate, low, high = paired_ratio(both, gained, lost, items + both)
    assert 0 <= low <= estimate <= high
    if abs(low - 1 + margin) > 1e-9:
        assert (relatively_worse_by(both, gained, lost, items + both, margin=margin) < 0.05) == (
            low > 1 - margin
        )


def test_the_relative_score_is_that_of_the_maximised_likelihood() -> None:
    for both, gained, lost, items in TABLES[:20]:
        for ratio in (0.8, 1.1):
            right = (both + gained + lost) / items

            def unlikely(share: float, table: tuple[int, int, int], ratio: float, right: float) -> float:
                cells = ((right - (1 + ratio) * share) / ratio, (share + (ratio - 1) * right) / ratio, share)
                return -sum(n * math.log(max(p, 1e-300)) for n, p in zip(table, cells, strict=True))

            least, most = max(0.0, (1 - ratio) * right), right / (1 + ratio)
            share = optimize.minimize_scalar(
                unlikely,
                bounds=(least, most),
                args=((both, gained, lost), ratio, right),
                method="bounded",
                options={"xatol": 1e-13},
            ).x
            variance = ratio * ((ratio - 1) * (right - share) / ratio + 2 * share)
            score = (both + gained - ratio * (both + lost)) / math.sqrt(items * variance)
            if ratio < 1:
                found = relatively_worse_by(both, gained, lost, items, margin=1 - ratio)
                assert found == pytest.approx(stats.norm.sf(score), abs=1e-4)


@pytest.mark.parametrize(("gained", "lost"), [(1, 7), (0, 0), (5, 5), (0, 12), (40, 60), (3, 2)])
def test_mcnemar_is_the_binomial_test_by_hand(gained: int, lost: int) -> None:
    both = gained + lost
    ways = [math.comb(both, k) for k in range(both + 1)]
    few = min(gained, lost)
    assert mcnemar(gained, lost) == pytest.approx(min(1.0, 2 * sum(ways[: few + 1]) / 2**both))
    # The mid-p value counts half of what was seen itself, on each side.
    mid = 2 * (sum(ways[:few]) + ways[few] / 2) / 2**both
    assert mcnemar(gained, lost, mid=True) == pytest.approx(min(1.0, mid))


@pytest.mark.parametrize("table", [(-1, 0, 5), (3, 3, 5), (0, 0, 0)])
def test_counts_that_cannot_be_are_refused(table: tuple[int, int, int]) -> None:
    with pytest.raises(InputError, match="cannot be"):
        paired_difference(*table)


def test_other_values_that_cannot_be_are_refused() -> None:
    with pytest.raises(InputError, match="coverage lies between"):
        paired_difference(1, 1, 9, coverage=90)
    with pytest.raises(InputError, match="margin"):
        worse_by(1, 1, 9, margin=1.0)
    with pytest.raises(InputError, match="never right"):
        paired_ratio(0, 3, 0, 9)
    with pytest.raises(InputError, match="right answers of 9"):
        paired_ratio(8, 1, 1, 9)
    with pytest.raises(InputError, match="margin"):
        relatively_worse_by(8, 0, 0, 9, margin=-0.1)


# Scores that are more than right or wrong.


def f1_scores(items: int, loss: float, seed: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    generator = np.random.default_rng(seed)
    base = generator.beta(8, 2, items)
    return base - loss + generator.normal(0, 0.05, items), base


def test_means_of_pairs_are_students() -> None:
    y, x = f1_scores(400, 0.01, seed=1)
    found = paired_mean(y, x)
    by_scipy = stats.ttest_rel(y, x).confidence_interval(0.90)
    assert (found.low, found.high) == pytest.approx((by_scipy.low, by_scipy.high))
    p_value = paired_mean_worse_by(y, x, margin=0.02)
    assert p_value == pytest.approx(stats.ttest_1samp(y - x + 0.02, 0, alternative="greater").pvalue)


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("higher_is_better", [False, True])
def test_scores_agree_with_their_intervals_both_ways(relative: bool, higher_is_better: bool) -> None:
    y, x = f1_scores(400, 0.008, seed=2)
    for margin in np.arange(0.001, 0.03, 0.001):
        p_value = paired_mean_worse_by(
            y, x, margin=margin, relative=relative, higher_is_better=higher_is_better
        )
        ends = paired_mean_ratio(y, x) if relative else paired_mean(y, x)
        low, high = (ends.low - 1, ends.high - 1) if relative else (ends.low, ends.high)
        assert (p_value < 0.05) == ((low > -margin) if higher_is_better else (high < margin))


def test_a_score_of_few_items_that_differ_is_not_taken_for_certain() -> None:
    x = np.full(1000, 0.8)
    y = x.copy()
    y[0] = 0.7
    # One item of 1,000 lost 0.1; as many as 5 of 1,000 might be, and each might lose all.
    low, _ = tango_limits(0, 1, 1000)
    assert paired_mean(y, x).low == pytest.approx(float(low))
    assert paired_mean_worse_by(y, x, margin=0.004) > 0.05 > paired_mean_worse_by(y, x, margin=0.006)
    assert paired_mean(x, x).low == pytest.approx(float(tango_limits(0, 0, 1000)[0]))
    # Perplexities that never move tell nothing of how far they could.
    assert paired_mean(np.full(50, 31.0), np.full(50, 31.0)).low == -math.inf
    assert paired_mean_worse_by(np.full(50, 31.0), np.full(50, 31.0), margin=5) == pytest.approx(0.5)


def test_scores_that_cannot_be_paired_are_refused() -> None:
    for y, x in (([1.0, 0.5], [1.0]), ([1.0], [1.0]), ([1.0, math.nan], [1.0, 1.0])):
        with pytest.raises(InputError, match=r"do not pair|no number"):
            paired_mean(y, x)
    with pytest.raises(InputError, match="margin"):
        paired_mean_worse_by([1.0, 0.5], [1.0, 0.5], margin=-1)


# Without pairs.


def test_unpaired_intervals_are_those_of_the_papers() -> None:
    # Newcombe 1998, example (d); Fagerland and Newcombe 2013.
    found = unpaired_difference(5, 56, 0, 29, coverage=0.95)
    assert (round(found.low, 4), round(found.high, 4)) == (-0.0381, 0.1926)
    for table, low, high in (
        ((24, 73, 53, 65), 0.282, 0.563),
        ((29, 55, 11, 11), 0.398, 0.761),
        ((7, 18, 1, 18), 1.277, 40.751),
    ):
        ratio = unpaired_ratio(*table, coverage=0.95)
        assert (round(ratio.low, 3), round(ratio.high, 3)) == (low, high)


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize(
    "table",
    [(4010, 5000, 4020, 5000), (900, 1000, 950, 1000), (20, 20, 20, 20), (1, 20, 15, 20), (0, 9, 9, 9)],
)
def test_unpaired_tests_agree_with_their_intervals(table: tuple[int, int, int, int], relative: bool) -> None:
    interval = unpaired_ratio(*table) if relative else unpaired_difference(*table)
    assert interval.low <= interval.estimate <= interval.high
    for margin in (0.01, 0.05, 0.2, 0.9):
        p_value = unpaired_worse_by(*table, margin=margin, relative=relative)
        assert 0 <= p_value <= 1
        assert (p_value < 0.05) == (interval.low > (1 - margin if relative else -margin))


def test_unpaired_counts_that_cannot_be_are_refused() -> None:
    for table in ((5, 4, 1, 4), (1, 4, -1, 4), (0, 0, 1, 4)):
        with pytest.raises(InputError, match="cannot be"):
            unpaired_difference(*table)
    with pytest.raises(InputError, match="never right"):
        unpaired_ratio(1, 4, 0, 4)
    with pytest.raises(InputError, match="margin"):
        unpaired_worse_by(1, 4, 1, 4, margin=1)


# Planning.


def test_the_plan_is_that_of_the_facts() -> None:
    assert paired_items(margin=0.005, discordance=0.0093) == 2300
    assert unpaired_items(margin=0.005, share=0.9068) == 41_801
    assert 6_100 < paired_items(margin=0.005, discordance=0.025) < 6_300
    assert 31_000 < paired_items(margin=0.005, discordance=0.025, difference=-0.0028) < 34_000


def test_a_plan_keeps_what_it_promises() -> None:
    items = paired_items(margin=0.005, discordance=0.0093)
    assert paired_power(items, margin=0.005, discordance=0.0093) == pytest.approx(0.80, abs=1e-3)
    assert paired_power(items // 2, margin=0.005, discordance=0.0093) < 0.6
    generator = np.random.default_rng(3)
    tables = generator.multinomial(items, [0.00465, 0.00465, 0.9907], size=2000)
    low, _ = tango_limits(tables[:, 0], tables[:, 1], items)
    # The facts sheet saw .76 to .81.
    assert 0.75 < (low > -0.005).mean() < 0.83


def test_a_plan_never_asks_for_less_than_identical_answers_need() -> None:
    items = paired_items(margin=0.005, discordance=0.0001)
    assert worse_by(0, 0, items, margin=0.005) <= 0.05 < worse_by(0, 0, items - 1, margin=0.005)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"margin": 0.005, "discordance": 0.02, "difference": -0.006}, "no number of items"),
        ({"margin": 0.0, "discordance": 0.02}, "margin of 0"),
        ({"margin": 0.005, "discordance": 2.0}, "discordance lies"),
        ({"margin": 0.5, "discordance": 0.02, "difference": 0.1}, "at least that discordance"),
        ({"margin": 0.005, "discordance": 0.02, "level": 0.05}, "level lies"),
        ({"margin": 0.005, "discordance": 0.02, "power": 1.0}, "power lies"),
    ],
)
def test_what_cannot_be_planned_is_refused(wrong: dict[str, float], says: str) -> None:
    with pytest.raises(InputError, match=says):
        paired_items(**wrong)


def test_power_needs_items_that_differ() -> None:
    for items, discordance in ((0, 0.1), (100, 0.0)):
        with pytest.raises(InputError, match="power needs"):
            paired_power(items, margin=0.005, discordance=discordance)
    with pytest.raises(InputError, match="no number"):
        needed(0.0, 1.0)


# Several variants.


def test_holm_by_hand() -> None:
    # Sorted: .01 x 4, .02 x 3, .03 x 2 is raised to .06, .5 x 1.
    found = holm([0.03, 0.01, None, 0.5, 0.02])
    assert [one and round(one.p_value, 12) for one in found] == [0.06, 0.04, None, 0.5, 0.06]
    assert [one and one.tests for one in found] == [2, 4, None, 1, 3]
    assert holm([None]) == [None] and holm([]) == []
    with pytest.raises(InputError, match="p-value"):
        holm([0.2, 1.5])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
@settings(max_examples=30)
def test_holm_is_that_of_statsmodels(p_values: list[float]) -> None:
    from statsmodels.stats.multitest import multipletests

    found = [one.p_value for one in holm(p_values) if one]
    assert found == pytest.approx(list(multipletests(p_values, method="holm")[1]))


def test_quantiles_of_a_coverage() -> None:
    assert two_sided(0.90) == pytest.approx(Z90)
    with pytest.raises(InputError, match="coverage"):
        two_sided(1.0)
