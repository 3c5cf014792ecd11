"""Every cell's change, split into the terms of the bridge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction

from finops_lab.money import exact_sum
from finops_lab.unit_economics.bridge_cells import USE, Cell, Side
from finops_lab.unit_economics.bridge_terms import TERMS, Factors, Method, exact_terms, rounded
from finops_lab.unit_economics.bridge_weights import DEFAULT_WEIGHTS

__all__ = ["Weights", "requests", "spend", "split_cells", "tokens", "weighed", "weights_of"]

Weights = Mapping[tuple[str | None, str | None], tuple[Fraction, ...]]
_ZERO = Fraction(0)


def split_cells(
    found: Sequence[Cell], days: Sequence[int], weights: Weights, method: Method
) -> list[tuple[str, dict[str, Decimal]]]:
    """Return status and terms of every cell, in order; `days` are those counted of the two months."""
    statuses = [_status(cell) for cell in found]
    both = [cell for cell, status in zip(found, statuses, strict=True) if status == "both"]
    shares = [_Shares(both, end, days[end]) for end in (False, True)]
    split = []
    for cell, status in zip(found, statuses, strict=True):
        terms = dict.fromkeys(TERMS, _ZERO)
        for side, sign in ((cell.start, -1), (cell.end, 1)):
            for kind, amount in side.money.items():
                if kind != USE:
                    terms[kind] += sign * Fraction(amount)
        moved = Fraction(cell.end.money.get(USE, 0)) - Fraction(cell.start.money.get(USE, 0))
        if status == "both":
            told = weights_of(cell, weights)
            parts = exact_terms(shares[0].factors(cell, told), shares[1].factors(cell, told), told, method)
            for name, part in parts.items():
                terms[name] += part
        elif status in ("new", "vanished"):
            terms[status] += moved
        else:
            terms["not_measured"] += moved
        change = exact_sum([spend(cell.end), spend(cell.start).copy_negate()])
        split.append((status, dict(zip(TERMS, rounded(list(terms.values()), change), strict=True))))
    return split


def _status(cell: Cell) -> str:
    start, end = (requests(side) for side in (cell.start, cell.end))
    if not cell.start.entries and not cell.end.entries:
        return "not on the bill" if start or end else "charges only"
    if start and end:
        return "both"
    if end and not cell.start.money.get(USE):
        return "new"
    if start and not cell.end.money.get(USE):
        return "vanished"
    return "not measured"


def requests(side: Side) -> Fraction:
    """Return the calls that repeat no other; all of them where they all claim to."""
    calls, repeats = side.counts["calls"], side.counts["calls_retried"]
    return Fraction(calls) - Fraction(repeats) if calls > repeats else Fraction(calls)


def tokens(side: Side) -> tuple[Fraction, ...]:
    """Return tokens of uncached input, cache reads, cache writes and output."""
    names = ("input_uncached_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")
    return tuple(Fraction(side.counts[name]) for name in names)


def weights_of(cell: Cell, weights: Weights) -> tuple[Fraction, ...] | None:
    """Return the weights of the cell's tokens; None where a month has no weighted token."""
    told = weights.get((cell.model, cell.variant)) or weights.get((cell.model, None))
    told = told or tuple(map(Fraction, DEFAULT_WEIGHTS))
    return told if all(weighed(side, told) > 0 for side in (cell.start, cell.end)) else None


def weighed(side: Side, weights: Sequence[Fraction]) -> Fraction:
    """Return the weighted tokens of a cell's month."""
    return sum((w * n for w, n in zip(weights, tokens(side), strict=True)), _ZERO)


class _Shares:
    """Requests of one month's cells, as shares of all and of their model's."""

    def __init__(self, both: Sequence[Cell], later: bool, days: int) -> None:
        self.later, self.days = later, Fraction(days)
        self.models: dict[str | None, Fraction] = {}
        for cell in both:
            self.models[cell.model] = self.models.get(cell.model, _ZERO) + requests(self.side(cell))
        self.all = sum(self.models.values(), _ZERO)

    def side(self, cell: Cell) -> Side:
        return cell.end if self.later else cell.start

    def factors(self, cell: Cell, weights: Sequence[Fraction] | None) -> Factors:
        side = self.side(cell)
        wanted, calls = requests(side), Fraction(side.counts["calls"])
        plain, read, written, output = tokens(side)
        inputs = plain + read + written
        volume = weighed(side, weights) if weights is not None else calls
        spent, discount = Fraction(side.money.get(USE, 0)), Fraction(side.discount)
        return Factors(
            self.days,
            self.all / self.days,
            self.models[cell.model] / self.all,
            wanted / self.models[cell.model],
            calls / wanted,
            (inputs / calls, output / calls) if weights is not None else (_ZERO, _ZERO),
            (read / inputs, written / inputs) if weights is not None and inputs else (_ZERO, _ZERO),
            (spent - discount) / volume,
            discount / volume,
        )


def spend(side: Side) -> Decimal:
    """Return all money of a cell's month."""
    return exact_sum(side.money.values())
