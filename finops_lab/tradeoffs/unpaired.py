"""Right answers of two variants on different items: the fallback when nothing pairs.

Evaluations that only say "0.757 of 678 items" do not tell which items, so their noise does not cancel. The
same proof then takes about 18 times the items that pairs take (see `planner.unpaired_items`).
"""

from __future__ import annotations

import math

from finops_lab.errors import InputError
from finops_lab.tradeoffs.paired import Interval, two_sided

__all__ = ["unpaired_difference", "unpaired_ratio", "unpaired_worse_by"]

_HALVINGS = 50


def unpaired_difference(
    right: int, items: int, baseline_right: int, baseline_items: int, *, coverage: float = 0.90
) -> Interval:
    """Estimate how far the candidate's share of right answers is above the baseline's.

    Parameters
    ----------
    right, items : int
        Right answers of the candidate, and all its items.
    baseline_right, baseline_items : int
        The same of the baseline, on items of its own.
    coverage : float
        How often the interval should hold the truth.

    Returns
    -------
    Interval
        Difference of two shares.

    Raises
    ------
    InputError
        Counts that cannot be, or a coverage outside 0 to 1.

    Notes
    -----
    R. G. Newcombe, "Interval estimation for the difference between independent proportions", Statistics
    in Medicine 17, 1998, method 10, by statsmodels' ``confint_proportions_2indep``. Its score interval
    is not used: it fails where a variant is always or never right.

    Examples
    --------
    >>> [round(end, 4) for end in unpaired_difference(5, 56, 0, 29, coverage=0.95)]
    [0.0893, -0.0381, 0.1926]
    """
    from statsmodels.stats.proportion import confint_proportions_2indep

    counts = (right, items, baseline_right, baseline_items)
    _check(*counts, coverage)
    low, high = (
        float(end) for end in confint_proportions_2indep(*counts, method="newcomb", alpha=1 - coverage)
    )
    estimate = right / items - baseline_right / baseline_items
    return Interval(estimate, min(low, estimate), max(high, estimate))


def unpaired_ratio(
    right: int, items: int, baseline_right: int, baseline_items: int, *, coverage: float = 0.90
) -> Interval:
    """Estimate the candidate's share of right answers over the baseline's.

    Parameters
    ----------
    right, items, baseline_right, baseline_items, coverage
        As in `unpaired_difference`.

    Returns
    -------
    Interval
        A ratio of two shares.

    Raises
    ------
    InputError
        As `unpaired_difference`, or a baseline that is never right.

    Notes
    -----
    A. Donner and G. Y. Zou, "Closed-form confidence intervals for functions of the normal mean and
    standard deviation", Statistical Methods in Medical Research 21, 2012 (MOVER), of two Wilson intervals.

    Examples
    --------
    >>> [round(end, 3) for end in unpaired_ratio(24, 73, 53, 65, coverage=0.95)]
    [0.403, 0.282, 0.563]
    """
    _check(right, items, baseline_right, baseline_items, coverage)
    if baseline_right == 0:
        raise InputError("the baseline is never right, so there is nothing to compare with")
    mine, base = right / items, baseline_right / baseline_items
    low, high = _wilson(right, items, coverage)
    base_low, base_high = _wilson(baseline_right, baseline_items, coverage)
    across, bottom = mine * base, base_low * (2 * base - base_low)
    best, worst = low * (2 * mine - low), high * (2 * mine - high)
    below = across + math.sqrt(max(across**2 - best * base_high * (2 * base - base_high), 0.0))
    above = across + math.sqrt(max(across**2 - worst * bottom, 0.0))
    return Interval(mine / base, best / below if best else 0.0, above / bottom)


def unpaired_worse_by(
    right: int,
    items: int,
    baseline_right: int,
    baseline_items: int,
    *,
    margin: float,
    relative: bool = False,
) -> float:
    """Test whether the candidate is worse by the margin or more (one half of a TOST).

    Parameters
    ----------
    right, items, baseline_right, baseline_items
        As in `unpaired_difference`.
    margin : float
        Loss that is too much, from 0 up to below 1.
    relative : bool
        The margin is a share of the baseline's.

    Returns
    -------
    float
        One-sided p-value; small: the loss is proven to be less.

    Raises
    ------
    InputError
        As `unpaired_difference`, or a margin outside its range.

    Examples
    --------
    >>> round(unpaired_worse_by(4010, 5000, 4020, 5000, margin=0.02), 4)
    0.0118
    """
    counts = (right, items, baseline_right, baseline_items)
    if not 0 <= margin < 1:
        raise InputError(f"a margin lies from 0 up to below 1, not {margin}")
    interval = unpaired_ratio if relative else unpaired_difference
    limit = 1 - margin if relative else -margin
    above = interval(*counts).estimate > limit
    # The p-value is that of the interval that just touches the limit; wider ones hold it.
    inside, outside = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        ends = interval(*counts, coverage=middle)
        touches = ends.low <= limit if above else ends.high >= limit
        inside, outside = (inside, middle) if touches else (middle, outside)
    return (1 - outside) / 2 if above else (1 + outside) / 2


def _wilson(right: int, items: int, coverage: float) -> tuple[float, float]:
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(right, items, alpha=1 - coverage, method="wilson")
    return float(low), float(high)


def _check(right: int, items: int, baseline_right: int, baseline_items: int, coverage: float) -> None:
    for count, among in ((right, items), (baseline_right, baseline_items)):
        if not 0 <= count <= among or among == 0:
            raise InputError(f"{count} right answers of {among} items cannot be")
    two_sided(coverage)
