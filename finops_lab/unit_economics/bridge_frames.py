"""The frames of a bridge: terms, cells, what they were worked out from, the waterfall."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction
from math import fsum

import polars as pl

from finops_lab.errors import ReconciliationError
from finops_lab.money import MONEY, SCALE, exact_sum
from finops_lab.unit_economics.bridge_cells import USE, Cell, Side
from finops_lab.unit_economics.bridge_split import Weights, requests, spend, tokens, weighed, weights_of
from finops_lab.unit_economics.bridge_terms import TERMS

__all__ = ["cell_frame", "driver_frame", "price_error", "step_frame", "term_frame"]

_ZERO = Fraction(0)
_MILLION = 1_000_000
_Schema = dict[str, pl.DataType | type[pl.DataType]]
_TERM_SCHEMA: _Schema = {
    "order": pl.Int64,
    "term": pl.String,
    "label": pl.String,
    "words": pl.String,
    "amount": MONEY,
    "share_of_change": pl.Float64,
    "standard_error": pl.Float64,
}
_DRIVERS: _Schema = {
    **dict.fromkeys(("model", "variant", "driver", "unit"), pl.String),
    "start": MONEY,
    "end": MONEY,
}


def cell_frame(found: Sequence[Cell], split: Sequence[tuple[str, dict[str, Decimal]]]) -> pl.DataFrame:
    """Return a row per cell: its status, spend of both months, and terms."""
    rows = [
        (cell.model, cell.variant, status, spend(cell.start), spend(cell.end), *terms.values())
        for cell, (status, terms) in zip(found, split, strict=True)
    ]
    schema: _Schema = {
        **dict.fromkeys(("model", "variant", "status"), pl.String),
        **dict.fromkeys(("start", "end", *TERMS), MONEY),
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def term_frame(table: pl.DataFrame, change: Decimal, error: float | None) -> pl.DataFrame:
    """Add up the cells' terms.

    Raises
    ------
    ReconciliationError
        When they are not the change: a defect.
    """
    amounts = {name: exact_sum(table[name].to_list()) for name in TERMS}
    if exact_sum(amounts.values()) != change:
        raise ReconciliationError("the terms of a bridge do not add up to its change")
    rows = [
        (
            order,
            name,
            label,
            words,
            amounts[name],
            float(amounts[name] / change) if change else None,
            error if name == "price" else None,
        )
        for order, (name, (label, words)) in enumerate(TERMS.items(), 1)
    ]
    return pl.DataFrame(rows, schema=_TERM_SCHEMA, orient="row")


def price_error(found: Sequence[Cell], weights: Weights) -> float | None:
    """Return the standard error of the price term for sampling; None where no cell's is known."""
    squares = []
    for cell in found:
        told = weights_of(cell, weights)
        if told is not None and cell.start.error is not None and cell.end.error is not None:
            volumes = [weighed(side, told) for side in (cell.start, cell.end)]
            # The later volume at the earlier price: what the price term is counted from.
            priced = float(Fraction(cell.start.money.get(USE, 0)) * volumes[1] / volumes[0])
            squares.append(priced**2 * (cell.start.error**2 + cell.end.error**2))
    return fsum(squares) ** 0.5 if squares else None


def step_frame(terms: pl.DataFrame) -> pl.DataFrame:
    """Return the terms one after the other, from nothing to the whole change."""
    rows, running = [], Decimal(0)
    for name, label, amount in terms.select("term", "label", "amount").iter_rows():
        after = exact_sum([running, amount])
        rows.append((label, "unexplained" if name == "not_measured" else "cause", amount, running, after))
        running = after
    rows.append(("Change", "total", running, Decimal(0), running))
    schema: _Schema = {
        "label": pl.String,
        "kind": pl.String,
        **dict.fromkeys(("amount", "start", "end"), MONEY),
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def driver_frame(found: Sequence[Cell], weights: Weights) -> pl.DataFrame:
    """Return what the terms of cells with calls were worked out from."""
    rows = []
    for cell in found:
        told = weights_of(cell, weights)
        sides = [_drivers(side, told) for side in (cell.start, cell.end)]
        if any(side["calls", "calls"] for side in sides):
            rows += [
                (cell.model, cell.variant, *name, *(_decimal(side[name]) for side in sides))
                for name in sides[0]
            ]
    return pl.DataFrame(rows, schema=_DRIVERS, orient="row")


def _drivers(side: Side, weights: Sequence[Fraction] | None) -> dict[tuple[str, str], Fraction | None]:
    calls, wanted = Fraction(side.counts["calls"]), requests(side)
    plain, read, written, output = tokens(side)
    inputs = plain + read + written
    spent = Fraction(side.money.get(USE, 0))
    volume = weighed(side, weights) if weights is not None else _ZERO
    return {
        ("spend on use", "money"): spent,
        ("discount of commitments", "money"): Fraction(side.discount),
        ("rows", "rows"): Fraction(side.counts["rows"]),
        ("calls", "calls"): calls,
        ("requests", "requests"): wanted,
        ("calls per request", "calls per request"): calls / wanted if wanted else None,
        ("input per call", "tokens per call"): inputs / calls if calls else None,
        ("output per call", "tokens per call"): output / calls if calls else None,
        ("cache-hit rate", "share of input tokens"): read / inputs if inputs else None,
        ("cache writes", "share of input tokens"): written / inputs if inputs else None,
        ("price", "money per million weighted tokens"): spent * _MILLION / volume if volume else None,
        ("price per call", "money per call"): spent / calls if calls else None,
    }


def _decimal(value: Fraction | None) -> Decimal | None:
    if value is None:
        return None
    with localcontext(prec=80, rounding=ROUND_HALF_EVEN):
        return (Decimal(value.numerator) / value.denominator).quantize(Decimal(1).scaleb(-SCALE))
