"""How a choice flips when a limit moves: which variant wins over which range of the limit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from finops_lab.tradeoffs.choice import Candidate, Limit, ranked

__all__ = ["Range", "ranges"]

# From, to (None: without end) and who wins from there on, up to but without the end (None: nobody).
Range = tuple[float, float | None, Candidate | None]


def ranges(candidates: Iterable[Candidate], limits: Sequence[Limit], figure: str) -> list[Range]:
    """Split all values of one limit, from 0 up, into ranges with one winner each.

    The winner can change only where the limit reaches a candidate's own figure, so the ranges are
    exact: deciding again with any limit gives the winner of its range.

    Parameters
    ----------
    candidates : iterable of Candidate
        Who competes.
    limits : sequence of Limit
        The other limits; one on `figure` itself is left out of account.
    figure : str
        The figure whose limit moves, such as ``latency``. Below zero (a gain) counts as zero.

    Returns
    -------
    list of tuple
        ``(from, to, winner)`` in order, without gaps: from is within, to is not. The last has no
        end. No winner where nobody is within the limits. Neighbours have different winners.

    Examples
    --------
    >>> fast = Candidate(0, ("m", "int8"), 1.0, None, {"latency": 50.0})
    >>> slow = Candidate(1, ("m", "int4"), 0.5, None, {"latency": 90.0})
    >>> [(a, b, c and c.name[1]) for a, b, c in ranges([slow, fast], [], "latency")]
    [(0.0, 50.0, None), (50.0, 90.0, 'int8'), (90.0, None, 'int4')]
    """
    others = [limit for limit in limits if limit.figure != figure]
    entering = sorted(
        (
            (max(value, 0.0), c)
            for c in ranked(candidates, others)
            if isinstance(value := c.figures.get(figure), float)
        ),
        key=lambda pair: pair[0],
    )
    starts: list[tuple[float, Candidate | None]] = [(0.0, None)]
    for value, several in groupby(entering, key=lambda pair: pair[0]):
        best = starts[-1][1]
        for _, candidate in several:
            best = candidate if best is None or candidate.order < best.order else best
        if best is not starts[-1][1]:
            starts = [*(starts if value > starts[-1][0] else starts[:-1]), (value, best)]
    ends = [*(start for start, _ in starts[1:]), None]
    return [(start, end, winner) for (start, winner), end in zip(starts, ends, strict=True)]
