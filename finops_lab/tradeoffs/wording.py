"""Verdicts in words: what was claimed, what was found, and why that is enough or not."""

from __future__ import annotations

import math
from collections.abc import Sequence

from finops_lab.tradeoffs.claims import Claim
from finops_lab.tradeoffs.findings import Finding
from finops_lab.wording import plural

__all__ = ["MEASURES", "because", "claimed", "in_all"]

# Of each part: its measure, its verb, and what it is counted in.
MEASURES = {"cost": "saving_share", "quality": "quality_loss", "latency": "latency_ratio"}
_VERBS = {"cost": "saves", "quality": "loses", "latency": "takes"}
_PAIRS = {"cost": "round", "quality": "item", "latency": "round"}


def claimed(claim: Claim, part: str) -> str:
    """Return a part of a claim in words.

    Parameters
    ----------
    claim : Claim
        What is claimed.
    part : str
        ``cost``, ``quality``, ``latency``, or ``overall`` for all of it.

    Returns
    -------
    str
        Without a full stop.

    Examples
    --------
    >>> claimed(Claim(min_saving_share=0.30, max_quality_loss=0.005), "overall")
    'saves at least 30 %, loses less than 0.005'
    """
    if part == "overall":
        return ", ".join(claimed(claim, name) for name in claim.parts)
    if part == "cost":
        return f"saves at least {100 * (claim.min_saving_share or 0):.4g} %"
    if part == "quality":
        loss = claim.max_quality_loss or 0
        return f"loses less than {100 * loss:.4g} %" if claim.relative_loss else f"loses less than {loss:.4g}"
    return f"P{100 * claim.latency_quantile:g} at most {claim.max_latency_ratio:.4g} times the baseline's"


def because(
    claim: Claim,
    part: str,
    verdict: str,
    finding: Finding,
    *,
    alone: bool,
    tests: int,
    need: int | None,
    need_if_equal: int | None,
) -> str:
    """Return why a verdict is what it is, in one sentence.

    Parameters
    ----------
    claim, part, verdict
        What was claimed and how it ended.
    finding : Finding
        What was found.
    alone : bool
        Whether the p-value alone, unadjusted, would have proven the claim.
    tests : int
        Variants among which it was adjusted.
    need, need_if_equal : int, optional
        Pairs that would prove it.

    Returns
    -------
    str
        Without a full stop.
    """
    share = part == "cost" or (part == "quality" and claim.relative_loss)
    value, low, high = (_reads(100 * end if share else end) for end in finding.interval)
    unit = " %" if share else " times the baseline's" if part == "latency" else ""
    found = f"{_VERBS[part]} {value}{unit} ({low} to {high}{' %' if share else ''})"
    pairs, one = plural(finding.n, _PAIRS[part]), finding.n == 1
    if verdict == "PROVEN":
        why = f"{pairs} {'is' if one else 'are'} enough"
    elif verdict == "REFUTED":
        why = "the whole interval misses the claim"
    elif alone:
        why = f"proven if it were tested alone, but not as one of {tests} variants"
    elif need is None and finding.gap > 0:
        nor = "does not tell, nor does it" if one else "do not tell, nor do they"
        why = f"{pairs} {nor} say how many would"
    elif need is None:
        why = (
            f"the estimate does not meet the claim, yet {pairs} {'is' if one else 'are'} too few to refute it"
        )
    else:
        why = f"{pairs} {'does' if one else 'do'} not tell, about {need:,} would"
        if need_if_equal is not None and need_if_equal < need:
            why += f", or {need_if_equal:,} if the two do not differ at all"
    return f"{found}: {why}" + (f"; {finding.note}" if finding.note else "")


def in_all(parts: Sequence[tuple[str, str | None, str]]) -> str:
    """Return how the parts of a claim ended, the worst first.

    Parameters
    ----------
    parts : sequence of (part, workload or data set, verdict)
        What was tested.

    Returns
    -------
    str
        Without a full stop.

    Examples
    --------
    >>> in_all([("cost", "short", "PROVEN"), ("cost", "long", "PROVEN"), ("quality", None, "REFUTED")])
    'REFUTED: quality; PROVEN: cost on short, cost on long'
    """
    ended: dict[str, list[str]] = {verdict: [] for verdict in ("REFUTED", "NOT PROVEN", "PROVEN")}
    for part, on, verdict in parts:
        ended[verdict].append(part if on is None else f"{part} on {on}")
    return "; ".join(f"{verdict}: {', '.join(named)}" for verdict, named in ended.items() if named)


def _reads(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "no bound"
