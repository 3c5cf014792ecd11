"""One part of a claim, tested for one variant: estimate, interval, p-value, and what more data would do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from finops_lab.errors import InputError
from finops_lab.tradeoffs.claims import Claim
from finops_lab.tradeoffs.paired import Interval, mcnemar, paired_difference, worse_by
from finops_lab.tradeoffs.paired_relative import paired_ratio, relatively_worse_by
from finops_lab.tradeoffs.paired_scores import (
    FEW_DIFFER,
    paired_mean,
    paired_mean_ratio,
    paired_mean_worse_by,
    widest_difference,
)
from finops_lab.tradeoffs.planner import needed
from finops_lab.tradeoffs.ratios import (
    quantile_at_least,
    quantile_ratio,
    total_at_least,
    total_ratio,
)
from finops_lab.tradeoffs.unpaired import unpaired_difference, unpaired_ratio, unpaired_worse_by
from finops_lab.wording import plural

__all__ = ["Finding", "cost_finding", "latency_finding", "quality_finding", "unpaired_quality_finding"]

_Floats = npt.NDArray[np.float64]
# A plan of more pairs than this is no plan: the estimate is at the limit.
_MOST = 1e12
# A spread below this share of the gap is rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Finding:
    """What the data say of one part of a claim.

    Parameters
    ----------
    interval : Interval
        In the claim's own measure: a share saved, a loss of quality (positive is worse), a ratio.
    p_value : float
        One-sided; small proves the claim.
    n : int
        Pairs, or the candidate's items where nothing pairs.
    method : str
        How it was tested.
    gap, spread : float
        Mean and standard deviation of one pair's distance inside the claim.
    equal_gap, equal_spread : float, optional
        The same, did the two not differ at all.
    least_margin : float, optional
        The margin as a share of the widest difference: it limits what even identical answers prove.
    note : str, optional
        What else is worth knowing.
    """

    interval: Interval
    p_value: float
    n: int
    method: str
    gap: float
    spread: float
    equal_gap: float | None = None
    equal_spread: float | None = None
    least_margin: float | None = None
    note: str | None = None

    def needed(self, *, level: float, power: float, equal: bool = False) -> int | None:
        """Return how many pairs would prove the claim; None where none would, or none is known.

        Parameters
        ----------
        level, power : float
            As in `planner.paired_items`.
        equal : bool
            Suppose that the two do not differ at all, instead of what is estimated.
        """
        gap, spread = (self.equal_gap, self.equal_spread) if equal else (self.gap, self.spread)
        if gap is None or spread is None or not gap > 0 or (spread / gap) ** 2 > _MOST:
            return None
        if spread <= _ROUNDING * gap and self.least_margin is None:
            return None  # no noise was seen, so there is nothing to plan with
        z, least = NormalDist().inv_cdf(level), self.least_margin
        floor = 0.0 if least is None else z * z * (1 - least) / least
        if floor > _MOST:
            return None
        return max(needed(gap, spread, level=level, power=power), math.ceil(floor))


def cost_finding(candidate: _Floats, baseline: _Floats, claim: Claim, *, coverage: float) -> Finding:
    """Test the saving of total cost, from paired rounds.

    Parameters
    ----------
    candidate, baseline : numpy.ndarray
        Cost of each round; position pairs them.
    claim : Claim
        With `min_saving_share`.
    coverage : float
        Of the interval.

    Returns
    -------
    Finding
        A share saved: 1 - ratio of totals.
    """
    assert claim.min_saving_share is not None
    limit = 1 - claim.min_saving_share
    ratio = total_ratio(candidate, baseline, coverage=coverage)
    inside = limit * baseline - candidate
    return Finding(
        Interval(1 - ratio.estimate, 1 - ratio.high, 1 - ratio.low),
        total_at_least(candidate, baseline, limit=limit),
        candidate.size,
        "ratio of totals, paired rounds (Fieller)",
        gap=float(inside.mean()),
        spread=float(inside.std(ddof=1)),
    )


def latency_finding(candidate: _Floats, baseline: _Floats, claim: Claim, *, coverage: float) -> Finding:
    """Test the ratio of a latency quantile, from paired rounds.

    Parameters
    ----------
    candidate, baseline : numpy.ndarray
        Latency of each round; position pairs them.
    claim : Claim
        With `max_latency_ratio`.
    coverage : float
        Of the interval.

    Returns
    -------
    Finding
        A ratio of quantiles.
    """
    assert claim.max_latency_ratio is not None
    q = claim.latency_quantile
    p_value = quantile_at_least(candidate, baseline, limit=claim.max_latency_ratio, q=q)
    # The statistic grows with the square root of the rounds.
    score = NormalDist().inv_cdf(1 - min(max(p_value, 1e-15), 1 - 1e-15))
    return Finding(
        quantile_ratio(candidate, baseline, q=q, coverage=coverage),
        p_value,
        candidate.size,
        f"ratio of P{100 * q:g}, paired rounds (McNemar at the common quantile)",
        gap=score / math.sqrt(candidate.size),
        spread=1.0,
    )


def quality_finding(
    candidate: _Floats, baseline: _Floats, claim: Claim, *, higher_is_better: bool, coverage: float
) -> Finding:
    """Test the loss of quality, from items that both answered.

    Parameters
    ----------
    candidate, baseline : numpy.ndarray
        Score of each item; position pairs them. Only 0 and 1: right or wrong.
    claim : Claim
        With `max_quality_loss`.
    higher_is_better : bool
        The metric's direction.
    coverage : float
        Of the interval.

    Returns
    -------
    Finding
        A loss, positive when the candidate is worse; a share of the baseline's if the claim is relative.
    """
    assert claim.max_quality_loss is not None
    margin, relative = claim.max_quality_loss, claim.relative_loss
    sign = 1.0 if higher_is_better else -1.0
    better = sign * (candidate - baseline)
    binary = bool(np.isin(candidate, (0.0, 1.0)).all() and np.isin(baseline, (0.0, 1.0)).all())
    allowed = margin * float(np.abs(baseline).mean()) if relative else margin
    inside = better + (margin * np.abs(baseline) if relative else margin)
    gained, lost, items = int((better > 0).sum()), int((better < 0).sum()), better.size
    both = int((candidate * baseline).sum()) if binary else 0
    # Where hardly any item differs, what was not seen limits what can be proven.
    coarse = binary or gained + lost < FEW_DIFFER
    least = allowed / (1.0 if binary else widest_difference(candidate, baseline)) if coarse else 0.0
    note = f"{plural(gained, 'item')} better, {lost:,} worse"
    if binary and not relative and margin < 1:
        interval = _negative(paired_difference(gained, lost, items, coverage=coverage))
        p_value, method = worse_by(gained, lost, items, margin=margin), "paired items (Tango)"
    elif binary and relative and higher_is_better:
        ratio = paired_ratio(both, gained, lost, items, coverage=coverage)
        interval = Interval(1 - ratio.estimate, 1 - ratio.high, 1 - ratio.low)
        p_value = relatively_worse_by(both, gained, lost, items, margin=margin)
        method = "ratio of paired items (Nam-Blackwelder)"
    elif relative:
        ratio = paired_mean_ratio(candidate, baseline, coverage=coverage)
        ends = Interval(ratio.estimate - 1, ratio.low - 1, ratio.high - 1)
        interval, method = _negative(ends) if higher_is_better else ends, "ratio of paired means (Fieller)"
    else:
        interval = _negative(paired_mean(sign * candidate, sign * baseline, coverage=coverage))
        method = "paired means (t)"
    if method.endswith(("(Fieller)", "(t)")):
        p_value = paired_mean_worse_by(
            candidate, baseline, margin=margin, relative=relative, higher_is_better=higher_is_better
        )
    if binary:
        note = f"{gained} gained, {lost} lost, McNemar p = {mcnemar(gained, lost):.2g}"
    return Finding(
        interval,
        p_value,
        items,
        method,
        gap=float(inside.mean()),
        spread=float(inside.std()),
        equal_gap=allowed,
        equal_spread=float(np.sqrt((better * better).mean())),
        least_margin=least if 0 < least < 1 else None,
        note=note,
    )


def unpaired_quality_finding(
    right: int, items: int, baseline_right: int, baseline_items: int, claim: Claim, *, coverage: float
) -> Finding:
    """Test the loss of quality where the two did not answer the same items.

    Parameters
    ----------
    right, items, baseline_right, baseline_items : int
        Right answers and items of both.
    claim : Claim
        With `max_quality_loss`.
    coverage : float
        Of the interval.

    Returns
    -------
    Finding
        As `quality_finding`; ``n`` and what is needed are items of each variant.

    Raises
    ------
    InputError
        A margin of 1 or more, which no share can lose.
    """
    assert claim.max_quality_loss is not None
    margin, relative = claim.max_quality_loss, claim.relative_loss
    if margin >= 1:
        raise InputError(f"shares cannot lose {margin}", hint="0.005 is half a percentage point")
    counts = (right, items, baseline_right, baseline_items)
    if relative:
        ratio = unpaired_ratio(*counts, coverage=coverage)
        interval = Interval(1 - ratio.estimate, 1 - ratio.high, 1 - ratio.low)
    else:
        interval = _negative(unpaired_difference(*counts, coverage=coverage))
    mine, base = right / items, baseline_right / baseline_items
    theta, allowed = (1 - margin, margin * base) if relative else (1.0, margin)
    return Finding(
        interval,
        unpaired_worse_by(*counts, margin=margin, relative=relative),
        min(items, baseline_items),
        "unpaired ratio (MOVER-Wilson)" if relative else "unpaired items (Newcombe)",
        gap=mine - base + allowed,
        spread=math.sqrt(mine * (1 - mine) + theta**2 * base * (1 - base)),
        equal_gap=allowed,
        equal_spread=math.sqrt(2 * base * (1 - base)),
        note="unpaired: not the same items, so their noise does not cancel",
    )


def _negative(interval: Interval) -> Interval:
    # No loss is 0, not -0.
    return Interval(0.0 - interval.estimate, 0.0 - interval.high, 0.0 - interval.low)
