"""Figures of cost per inference, with bounds where calls were sampled."""

from __future__ import annotations

import polars as pl

from finops_lab.unit_economics._inference_measures import (
    COVERED,
    INPUT,
    LOADED,
    MARGINAL,
    MEASURED,
    OUTPUT,
    PER_1000,
    PER_CALL,
    PER_OUTCOME,
    TOKENS,
    WEIGHTED,
)
from finops_lab.unit_economics._sampled import count_bounds, money_bounds, share_bounds
from finops_lab.unit_economics._telling import asked
from finops_lab.unit_economics.figures import Asked

__all__ = ["inference_figures"]

_MILLION = 1_000_000
# Measure, numerator, denominator, factor, and the columns that its coverage, rows and reason are in.
_MEASURES = (
    (PER_CALL, "amount", "inferences", 1, "coverage", "all", "reason"),
    (MARGINAL, "used", "inferences", 1, "coverage", "all", "reason_of_use"),
    (MEASURED, "busy", "inferences", 1, "coverage_of_samples", "all", "reason_of_samples"),
    (LOADED, "loaded", "inferences", 1, "coverage", "all", "reason_of_training"),
    (PER_1000, "amount", "inferences", 1000, "coverage", "all", "reason"),
    (TOKENS, "amount", "tokens", _MILLION, "coverage_of_tokens", "all", "reason"),
    (INPUT, "amount", "inputs", _MILLION, "coverage_of_tokens", "all", "reason"),
    (OUTPUT, "amount", "output", _MILLION, "coverage_of_tokens", "all", "reason"),
    (WEIGHTED, "amount", "weighted", _MILLION, "coverage_of_tokens", "all", "reason"),
    (PER_OUTCOME, "amount", "outcome", 1, "coverage", "all", "reason_of_outcomes"),
    (COVERED, "inferences", "all_inferences", 1, None, "all_rows", "reason_of_calls"),
)


def inference_figures(table: pl.DataFrame, currency: str) -> list[Asked]:
    """Tell the measures of M1 from a table of all dimensions: what they divide, its ``variance_of_`` columns."""
    ends = {
        name: count_bounds(table, name, pl.col(f"variance_of_{name}"))
        for name in dict.fromkeys(below for one, _, below, *_ in _MEASURES if one is not COVERED)
    }
    parts = []
    for one, top, below, times, coverage, rows, reason in _MEASURES:
        share = pl.lit(None, pl.Float64) if coverage is None else pl.col(coverage)
        some = table.select(
            "dimension",
            "month",
            "key",
            pl.col(top).alias("numerator"),
            pl.col(below).alias("denominator"),
            share.alias("coverage"),
            pl.col(rows).alias("rows"),
            pl.col(reason).alias("reason"),
        )
        if one is COVERED:
            variances = pl.col("variance_of_inferences"), pl.col("variance_unmatched")
            low, high = share_bounds(table, top, below, *variances)
        else:
            low, high = money_bounds(some["numerator"], *ends[below], times)
        divides = pl.col("reason").is_null()
        some = some.with_columns(
            pl.when(divides).then(end).alias(name) for end, name in ((low, "lower"), (high, "upper"))
        )
        parts.append(asked(some, one, times=times, currency=currency))
    return parts
