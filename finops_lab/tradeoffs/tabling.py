"""The frames and notes of a decision."""

from __future__ import annotations

import polars as pl

from finops_lab.money import MONEY
from finops_lab.tradeoffs.choice import Candidate, Limit, reasons
from finops_lab.tradeoffs.problem import Problem
from finops_lab.tradeoffs.slo_ranges import Range

__all__ = ["notes_of", "ranges_frame", "saved_share", "table_of"]


def table_of(problem: Problem, limits: list[Limit], order: list[Candidate]) -> pl.DataFrame:
    """Return the points with what the choice makes of each row: see `Decision.table`."""
    candidates = problem.candidates
    base = None if problem.reference is None else candidates[problem.reference].objective
    ranks = {candidate.row: rank for rank, candidate in enumerate(order, 1)}
    misses = [reasons(candidate, limits) for candidate in candidates]
    savings = [saved_share(c.objective, base) for c in candidates]
    basis = pl.when(pl.col("worst_p95_ms").is_not_null()).then(pl.lit("worst window"))
    return problem.points.with_columns(
        pl.Series("quality_loss", [c.figures["loss"] for c in candidates], dtype=pl.Float64),
        pl.Series("saving_share", savings, dtype=pl.Float64),
        pl.Series("slo_ms", [c.figures["latency"] for c in candidates], dtype=pl.Float64),
        basis.when(pl.col("p95_ms").is_not_null()).then(pl.lit("whole period")).alias("slo_basis"),
        pl.Series("objective_value", [c.objective for c in candidates], dtype=pl.Float64),
        pl.Series("monthly_amount", problem.monthly, dtype=MONEY),
        pl.Series("qualifies", [miss is None for miss in misses], dtype=pl.Boolean),
        pl.Series("misses", misses, dtype=pl.String),
        pl.Series("rank", [ranks.get(c.row) for c in candidates], dtype=pl.Int64),
    )


def ranges_frame(found: list[Range], unit: str) -> pl.DataFrame:
    """Return ranges as a frame, with their ends named after the unit: see `Decision.slo_ranges`."""
    names = (f"from_{unit}", f"to_{unit}")
    rows = [
        {
            **dict(zip(names, (start, end), strict=True)),
            "model": (winner.name[0] or None) if winner else None,
            "variant": (winner.name[1] or None) if winner else None,
            "objective_value": winner.objective if winner else None,
        }
        for start, end, winner in found
    ]
    numbers = dict.fromkeys((*names, "objective_value"), pl.Float64)
    schema = {name: numbers.get(name, pl.String) for name in rows[0]}
    return pl.DataFrame(rows, schema=schema)


def notes_of(table: pl.DataFrame, problem: Problem, limits: list[Limit]) -> tuple[str, ...]:
    """Return what a reader of the choice must know, in sentences."""
    found = []
    if (models := table["model"].n_unique()) > 1:
        found.append(f"{models} models compete: that means something only where they do the same work.")
    if any(limit.figure == "latency" for limit in limits):
        whole = table.filter(slo_basis="whole period").height
        if whole and table["worst_p95_ms"].count():
            found.append(
                f"P95 is that of the worst window, but of the whole period for {whole} of {table.height}."
            )
        elif whole:
            found.append("P95 is that of the whole period: no worst window is known.")
    unknown = table.filter(pl.col("objective_value").is_null()).height
    if unknown:
        found.append(f"The cost of {unknown} of {table.height} variants is unknown; they cannot be chosen.")
        if unknown == table.height and not table["per_1000_inferences"].count():
            found.append("Costs are read from the column per_1000_inferences, which holds none.")
    if any(limit.figure == "loss" for limit in limits):
        found.append("Losses are point values: one within the limit may be chance, as nothing here tests it.")
    return tuple(found)


def saved_share(now: float | None, before: float | None) -> float | None:
    """Return 1 - now / before; None where one is unknown or nothing was spent before."""
    return 1 - now / before if now is not None and before else None
