"""Which variant to run of every model by itself."""

from __future__ import annotations

from typing import Any

import polars as pl

from finops_lab.tradeoffs.choice import ranked
from finops_lab.tradeoffs.curve import Curve
from finops_lab.tradeoffs.explaining import causes
from finops_lab.tradeoffs.points import as_points
from finops_lab.tradeoffs.problem import Objective, Problem, checked, limits_of, problem_of
from finops_lab.tradeoffs.tabling import saved_share, table_of

__all__ = ["decisions"]

_DECISIONS: dict[str, pl.DataType | type[pl.DataType]] = {
    "model": pl.String,
    "variant": pl.String,
    "per_1000_inferences": pl.Float64,
    "reference": pl.String,
    "saving_share": pl.Float64,
    "quality_loss": pl.Float64,
    "slo_ms": pl.Float64,
    "reference_slo_ms": pl.Float64,
    "note": pl.String,
}


def decisions(
    curve: Curve | pl.DataFrame | pl.LazyFrame,
    *,
    max_p95_ms: float | None = None,
    max_quality_loss: float | None = None,
    objective: Objective = "cost",
) -> pl.DataFrame:
    """Choose for every model by itself: `decide` over and over, one row each.

    Parameters
    ----------
    curve : Curve, polars.DataFrame or polars.LazyFrame
        As for `decide`; models may have different metrics.
    max_p95_ms, max_quality_loss, objective
        As for `decide`; the baseline is each model's best quality.

    Returns
    -------
    polars.DataFrame
        Sorted: ``model``, ``variant`` (chosen; null when nothing qualifies), ``per_1000_inferences``
        of it, ``reference`` (variant), ``saving_share``, ``quality_loss`` (Float64), ``slo_ms`` and
        ``reference_slo_ms`` (Float64), ``note`` (why nothing was chosen or compared).

    Raises
    ------
    InputError
        As `decide`.

    Examples
    --------
    >>> points = pl.DataFrame({"model": ["a", "a", "b"], "variant": ["fp16", "int8", "fp16"],
    ...     "per_1000_inferences": [4.0, 1.0, 2.0], "quality_metric": "accuracy", "quality": [0.9, 0.8, 0.5]})
    >>> decisions(points).select("model", "variant", "saving_share").rows()
    [('a', 'int8', 0.75), ('b', 'fp16', 0.0)]
    """
    numbers = {"max_p95_ms": max_p95_ms, "max_quality_loss": max_quality_loss}
    checked(numbers)
    points = curve.points if isinstance(curve, Curve) else as_points(curve)
    rows = [
        _decided(problem_of(part, None, objective, None), numbers)
        for part in points.sort("model", nulls_last=True).partition_by("model", maintain_order=True)
    ]
    return pl.DataFrame(rows, schema=_DECISIONS)


def _decided(problem: Problem, numbers: dict[str, Any]) -> dict[str, Any]:
    limits = limits_of(numbers, None, problem)
    best = next(iter(ranked(problem.candidates, limits)), None)
    base = None if problem.reference is None else problem.candidates[problem.reference]
    saving = None if best is None or base is None else saved_share(best.objective, base.objective)
    loss = None if best is None else best.figures["loss"]
    note = None
    if best is None:
        table = table_of(problem, limits, [])
        note = f"none of {table.height} variants qualifies: {causes(table)}"
    elif loss is None:
        note = "quality unknown, nothing to compare with"
    elif saving is None:
        note = "the reference has no cost to compare with"
    return {
        "model": problem.points["model"][0],
        "variant": None if best is None else problem.points["variant"][best.row],
        "reference": None if base is None else problem.points["variant"][base.row],
        "per_1000_inferences": None if best is None else problem.points["per_1000_inferences"][best.row],
        "saving_share": saving,
        "quality_loss": loss,
        "slo_ms": None if best is None else best.figures["latency"],
        "reference_slo_ms": None if base is None else base.figures["latency"],
        "note": note,
    }
