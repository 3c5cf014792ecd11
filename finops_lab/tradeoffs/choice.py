"""Candidates, limits, and the order among those that are within them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

__all__ = ["Candidate", "Figure", "Limit", "ranked", "reasons"]

Figure = float | Decimal | str | None


@dataclass(frozen=True, slots=True)
class Candidate:
    """One row of a points frame, as far as a choice looks at it.

    Parameters
    ----------
    row : int
        Its place in the frame.
    name : tuple of str
        Model, variant and what else tells it apart; decides between equals.
    objective : float, optional
        What is to be as small as possible. Unknown: it cannot be chosen.
    score : float, optional
        The quality, turned so that smaller is better.
    figures : mapping
        What limits look at: ``loss``, ``latency``, ``memory``, ``monthly``, ``region``.
    """

    row: int
    name: tuple[str, ...]
    objective: float | None
    score: float | None
    figures: Mapping[str, Figure]

    @property
    def order(self) -> tuple[float, bool, float, bool, float, tuple[str, ...]]:
        """Sort by the objective, then better quality, then smaller P95, then the name; unknown last."""
        objective = float("inf") if self.objective is None else self.objective
        latency = self.figures.get("latency")
        known = float(latency) if isinstance(latency, float) else None
        return (
            objective,
            *(self.score is None, self.score or 0.0),
            *(known is None, known or 0.0),
            self.name,
        )


@dataclass(frozen=True, slots=True)
class Limit:
    """Something a variant has to keep to; what is unknown does not keep to it.

    Parameters
    ----------
    name : str
        The parameter of `decide`, such as ``max_p95_ms``.
    figure : str
        The key in `Candidate.figures`.
    most : float, Decimal or frozenset of str
        The largest value that is still within, or the values that are allowed.
    unit, label : str
        For readers: ``ms``, ``P95``.
    """

    name: str
    figure: str
    most: float | Decimal | frozenset[str]
    unit: str
    label: str

    def allows(self, candidate: Candidate) -> bool:
        """Tell whether the candidate keeps to it."""
        value = candidate.figures.get(self.figure)
        if value is None:
            return False
        if isinstance(self.most, frozenset):
            return value in self.most
        if isinstance(value, Decimal) and isinstance(self.most, Decimal):
            return value <= self.most
        return isinstance(value, float) and isinstance(self.most, float) and value <= self.most

    def says(self, value: Figure) -> str:
        """Say what is wrong with a value that is not allowed."""
        if value is None:
            return f"{self.label} unknown"
        if isinstance(value, str):
            return f"{self.label} {value} not allowed"
        return f"{self.label} {_short(value, self.unit)} over {self.text()}"

    def text(self) -> str:
        """Say the limit: ``200 ms``, or the allowed values."""
        if isinstance(self.most, frozenset):
            return ", ".join(sorted(self.most))
        return _short(self.most, self.unit)


def ranked(candidates: Iterable[Candidate], limits: Sequence[Limit]) -> list[Candidate]:
    """Return the candidates within all limits, best first.

    Examples
    --------
    >>> fast = Candidate(0, ("m", "int8"), 1.0, -0.8, {"latency": 50.0})
    >>> slow = Candidate(1, ("m", "int4"), 0.5, -0.8, {"latency": 90.0})
    >>> [c.name[1] for c in ranked([fast, slow], [])]
    ['int4', 'int8']
    >>> [c.name[1] for c in ranked([fast, slow], [Limit("max_p95_ms", "latency", 60.0, "ms", "P95")])]
    ['int8']
    """
    within = (c for c in candidates if c.objective is not None and all(x.allows(c) for x in limits))
    return sorted(within, key=lambda c: c.order)


def reasons(candidate: Candidate, limits: Sequence[Limit]) -> str | None:
    """Say why a candidate does not qualify; None when it does."""
    found = ["cost unknown"] if candidate.objective is None else []
    found += [x.says(candidate.figures.get(x.figure)) for x in limits if not x.allows(candidate)]
    return "; ".join(found) or None


def _short(value: float | Decimal, unit: str) -> str:
    # Whole digits stay: 12,519 is read faster than 1.252e+04.
    text = f"{value:,.0f}" if abs(float(value)) >= 1000 else f"{value:.4g}"
    return f"{text} {unit}".rstrip()
