"""Variants that live too long: surely beaten by another, and too seldom used to have paid back."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import polars as pl

from finops_lab.errors import InputError
from finops_lab.money import MONEY, divided, product
from finops_lab.tradeoffs.break_even import break_even, exact
from finops_lab.tradeoffs.curve import Curve
from finops_lab.tradeoffs.membership import membership
from finops_lab.tradeoffs.points import as_points
from finops_lab.tradeoffs.problem import Problem, problem_of

__all__ = ["Retirement", "retire"]

_Schema = dict[str, pl.DataType | type[pl.DataType]]
_LISTED: _Schema = {
    "model": pl.String,
    "variant": pl.String,
    "BillingCurrency": pl.String,
    "last_amount": MONEY,
    "last_successes": pl.Float64,
    "p_dominated": pl.Float64,
    "dominated_by": pl.String,
    "saved_amount": MONEY,
    "break_even_inferences": pl.Int64,
    "why": pl.String,
}
_UNSURE: _Schema = {
    name: _LISTED[name] for name in ("model", "variant", "last_amount", "dominated_by", "why")
}


@dataclass(frozen=True)
class Retirement:
    """Which variants to retire.

    Attributes
    ----------
    listed : polars.DataFrame
        Most money first: ``model``, ``variant``, ``BillingCurrency`` (String), ``last_amount``
        (Decimal, its last month), ``last_successes`` (Float64, calls of that month), ``p_dominated``
        (Float64), ``dominated_by`` (variant that would take the traffic), ``saved_amount`` (Decimal,
        a month: its money less what its calls cost there), ``break_even_inferences`` (Int64, volume
        at which it would have paid back; null: never), ``why``.
    unsure : polars.DataFrame
        What was not listed for lack of evidence: ``model``, ``variant``, ``last_amount``,
        ``dominated_by``, ``why`` (what is not known).
    """

    listed: pl.DataFrame
    unsure: pl.DataFrame


def retire(
    curve: Curve | pl.DataFrame,
    *,
    migration_amount: Decimal | int | None = None,
    evaluation_amount: Decimal | int | None = None,
    months: int = 12,
    least_p_dominated: float = 0.95,
) -> Retirement:
    """List variants that another of the same model beats and that are too little used to pay back.

    Three things must be known and true: another variant of the model is no dearer, no worse and no
    slower, and better in one of them; the variant is off the front in at least `least_p_dominated`
    of the bootstrap's draws; and `months` of its traffic are below its break-even volume against the
    model's best variant by quality.

    Parameters
    ----------
    curve : Curve or polars.DataFrame
        `POINTS`, with ``last_amount`` (Decimal) and ``last_successes`` (Float64) as `variants` tells
        them. ``p_on_front`` (Float64), the share of draws in which the variant is on the front of its
        model, is drawn by `membership` unless the column is there.
    migration_amount, evaluation_amount : Decimal or int, optional
        What bringing in a variant costs once, in the points' currency.
    months : int
        So many months a variant has to pay back.
    least_p_dominated : float
        From 0 to 1.

    Returns
    -------
    Retirement
        What is listed, and what is not for lack of evidence.

    Raises
    ------
    InputError
        Columns ``last_amount`` or ``last_successes`` are missing, or what `decide` refuses within a model.

    Examples
    --------
    >>> points = pl.DataFrame({"variant": ["fp16", "int8", "int4"], "BillingCurrency": "USD",
    ...     "per_1000_inferences": [4.0, 2.0, 3.0], "quality_metric": "accuracy", "quality": [0.9, 0.89, 0.8],
    ...     "p95_ms": [90.0, 50.0, 60.0], "last_amount": [Decimal(40), Decimal(20), Decimal(6)],
    ...     "last_successes": [10000.0, 10000.0, 2000.0], "p_on_front": [1.0, 1.0, 0.01]})
    >>> found = retire(points, evaluation_amount=500).listed.row(0, named=True)
    >>> found["variant"], found["dominated_by"], str(found["saved_amount"]), found["break_even_inferences"]
    ('int4', 'int8', '2.000000000000000000', 500000)
    """
    points = curve.points if isinstance(curve, Curve) else as_points(curve)
    for name in ("last_amount", "last_successes"):
        if name not in points.columns:
            raise InputError(f"no column {name!r}", hint="tradeoffs.variants tells it")
    measured = (curve.outcomes, curve.timings) if isinstance(curve, Curve) else (None, None)
    fixed = (migration_amount, evaluation_amount)
    listed, unsure = [], []
    for part in points.sort("model", "variant", nulls_last=True).partition_by("model", maintain_order=True):
        problem = problem_of(part, None, "cost", None)
        if "p_on_front" not in part.columns:
            part = part.with_columns(_drawn(part, *measured))
        for row in part.with_row_index("row").iter_rows(named=True):
            found, why = _judged(problem, row, fixed, months, least_p_dominated)
            if why is not None:
                unsure.append(found | {"why": why})
            elif found:
                listed.append(found)
    return Retirement(
        pl.DataFrame(listed, schema=_LISTED).sort(
            "last_amount", "model", "variant", descending=[True, False, False], nulls_last=True
        ),
        pl.DataFrame([{name: row.get(name) for name in _UNSURE} for row in unsure], schema=_UNSURE),
    )


def _drawn(part: pl.DataFrame, outcomes: pl.DataFrame | None, timings: pl.DataFrame | None) -> pl.Series:
    """Draw how surely each variant of a model is on its front."""
    if part["quality"].count() == 0:
        return pl.Series("p_on_front", [None] * part.height, dtype=pl.Float64)
    return membership(part, outcomes, timings)["p_on_front"]


def _judged(
    problem: Problem,
    row: dict[str, Any],
    fixed: tuple[Decimal | int | None, Decimal | int | None],
    months: int,
    least: float,
) -> tuple[dict[str, Any], str | None]:
    """Return what is listed of a row (nothing: it stays), and why it is not known whether to list it."""
    mine = {
        name: row[name] for name in ("model", "variant", "BillingCurrency", "last_amount", "last_successes")
    }
    if not row["last_amount"]:
        return {}, None
    figures = _figures(problem, row["row"])
    missing = [name for name, value in zip(("cost", "quality", "P95"), figures, strict=True) if value is None]
    if missing:
        return mine, f"{' and '.join(missing)} unknown"
    by = _dominator(problem, row["row"])
    surely = None if row["p_on_front"] is None else 1 - row["p_on_front"]
    if by is None:
        return {}, None
    mine |= {"dominated_by": problem.points["variant"][by], "p_dominated": surely}
    if surely is None:
        return mine, "beaten by point values; how surely is not known"
    # 1 - 0.05 is 0.95 in decimals, and a little more or less in binary.
    if round(surely, 12) < least:
        return {}, None
    calls = row["last_successes"]
    if calls is None:
        return mine, "its traffic is unknown"
    # It has a quality itself, so there is a best one.
    best = None if problem.reference is None else problem.points["per_1000_inferences"][problem.reference]
    if best is None:
        return mine, "the best variant's cost is unknown, so break-even is too"
    paid = break_even(best, figures[0], migration_amount=fixed[0], evaluation_amount=fixed[1])
    saves = paid.saving_per_inference is not None and paid.saving_per_inference > 0
    if saves and fixed == (None, None):
        return mine, "what its migration and evaluation cost is unknown, so break-even is too"
    if saves and paid.inferences is not None and calls * months >= paid.inferences:
        return {}, None
    there = divided(product(exact(problem.points["per_1000_inferences"][by]), exact(calls)), 1000)
    volume = f"{months} months of its traffic are {calls * months:,.0f} calls"
    return mine | {
        "saved_amount": None if there is None else row["last_amount"] - there,
        "break_even_inferences": paid.inferences if saves else None,
        "why": f"{volume}, break-even is at {paid.inferences:,}"
        if saves
        else "it saves nothing against the best variant by quality",
    }, None


def _figures(problem: Problem, row: int) -> tuple[float | None, float | None, Any]:
    # The whole period's P95: a worst hour is not known of all, and would compare unlike figures.
    candidate = problem.candidates[row]
    return candidate.objective, candidate.score, problem.points["p95_ms"][row]


def _dominator(problem: Problem, row: int) -> int | None:
    """Return the cheapest of the variants that beat a row: nowhere above it, somewhere below."""
    mine = _figures(problem, row)
    beating = [
        other
        for other in problem.candidates
        if None not in (theirs := _figures(problem, other.row))
        and theirs != mine
        and all(t <= m for t, m in zip(theirs, mine, strict=True))
    ]
    return min(beating, key=lambda c: c.order).row if beating else None
