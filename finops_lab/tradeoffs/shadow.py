"""What each limit costs: the choice without it, and the next value at which the choice changes."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import polars as pl

from finops_lab.money import MONEY, divided, product
from finops_lab.tradeoffs.break_even import exact, storable
from finops_lab.tradeoffs.choice import Candidate, Limit, ranked

__all__ = ["CONSTRAINTS", "constraint_rows"]

CONSTRAINTS: dict[str, pl.DataType | type[pl.DataType]] = {
    "constraint": pl.String,
    "limit": pl.Float64,
    "unit": pl.String,
    "text": pl.String,
    "chosen_value": pl.Float64,
    "binding": pl.Boolean,
    "model_without": pl.String,
    "variant_without": pl.String,
    "objective_without": pl.Float64,
    "shadow_price": pl.Float64,
    "monthly_shadow_price": MONEY,
    "next_limit": pl.Float64,
    "next_text": pl.String,
    "next_model": pl.String,
    "next_variant": pl.String,
    "next_saving": pl.Float64,
}


def constraint_rows(
    candidates: Sequence[Candidate], limits: Sequence[Limit], monthly_inferences: float | None
) -> list[dict[str, Any]]:
    """Weigh every limit against the choice that would be made without it.

    Parameters
    ----------
    candidates : sequence of Candidate
        Who competes. Names begin with model and variant; "" stands for none.
    limits : sequence of Limit
        All limits.
    monthly_inferences : float, optional
        Traffic of a month, where the objective is money per 1,000 inferences.

    Returns
    -------
    list of dict
        Rows of `CONSTRAINTS`, in the limits' order: ``constraint``, ``limit`` (null for regions),
        ``unit``, ``text`` (the limit as read); ``chosen_value`` (the chosen variant's own figure);
        ``binding`` (without it another variant, or any at all, would be chosen); who would be, and
        the objective then; ``shadow_price``: the objective less the one without the limit, in the
        objective's unit, and per month as money; ``next_limit`` or ``next_text``: the least
        loosening that changes the choice, to whom, and the objective that saves. Null: no change,
        or nothing to compare.

    Examples
    --------
    >>> fast = Candidate(0, ("m", "int8"), 1.0, None, {"latency": 50.0})
    >>> slow = Candidate(1, ("m", "int4"), 0.5, None, {"latency": 90.0})
    >>> (row,) = constraint_rows([fast, slow], [Limit("max_p95_ms", "latency", 60.0, "ms", "P95")], 2e6)
    >>> row["variant_without"], row["shadow_price"], str(row["monthly_shadow_price"]), row["next_limit"]
    ('int4', 0.5, '1000.000000000000000000', 90.0)
    """
    chosen = next(iter(ranked(candidates, limits)), None)
    return [_row(candidates, limits, limit, chosen, monthly_inferences) for limit in limits]


def _row(
    candidates: Sequence[Candidate],
    limits: Sequence[Limit],
    limit: Limit,
    chosen: Candidate | None,
    monthly: float | None,
) -> dict[str, Any]:
    free = ranked(candidates, [other for other in limits if other is not limit])
    without = free[0] if free else None
    # Better than the choice now, and shut out by this limit alone.
    better = [
        c
        for c in free
        if c.figures.get(limit.figure) is not None and (chosen is None or c.order < chosen.order)
    ]
    nearest = min(better, key=lambda c: _distance(c, limit), default=None)
    value = None if chosen is None else chosen.figures.get(limit.figure)
    step = None if nearest is None else nearest.figures.get(limit.figure)
    return {
        "constraint": limit.name,
        "limit": None if isinstance(limit.most, frozenset) else float(limit.most),
        "unit": limit.unit or None,
        "text": limit.text(),
        "chosen_value": _number(value),
        "binding": without is not chosen,
        "model_without": _name(without, 0),
        "variant_without": _name(without, 1),
        "objective_without": None if without is None else without.objective,
        "shadow_price": _saving(chosen, without),
        "monthly_shadow_price": _monthly(chosen, without, monthly),
        "next_limit": _number(step),
        "next_text": step if isinstance(step, str) else None,
        "next_model": _name(nearest, 0),
        "next_variant": _name(nearest, 1),
        "next_saving": _saving(chosen, nearest),
    }


def _distance(candidate: Candidate, limit: Limit) -> tuple[Any, ...]:
    value = candidate.figures[limit.figure]
    # Names of regions are in no order: the best choice is the nearest.
    return candidate.order if isinstance(value, str) else (value, candidate.order)


def _number(value: float | Decimal | str | None) -> float | None:
    return None if value is None or isinstance(value, str) else float(value)


def _name(candidate: Candidate | None, part: int) -> str | None:
    return (candidate.name[part] or None) if candidate is not None else None


def _saving(chosen: Candidate | None, other: Candidate | None) -> float | None:
    if chosen is None or other is None or chosen.objective is None or other.objective is None:
        return None
    return chosen.objective - other.objective


def _monthly(chosen: Candidate | None, other: Candidate | None, monthly: float | None) -> Decimal | None:
    if chosen is None or other is None:
        return None
    now, then, calls = exact(chosen.objective), exact(other.objective), exact(monthly)
    return None if now is None or then is None else storable(divided(product(now - then, calls), 1000))
