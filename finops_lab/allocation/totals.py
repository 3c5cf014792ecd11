"""Charges added up: every cost of the bill, and the rows behind it."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from finops_lab import contracts
from finops_lab.contracts import AMOUNTS
from finops_lab.money import MONEY

__all__ = ["totals"]

_KNOWN = contracts.required("ledger")


def totals(
    frame: pl.LazyFrame, keys: Sequence[str], rows: pl.Expr, more: Sequence[pl.Expr] = ()
) -> pl.LazyFrame:
    """Add up costs and rows per key.

    Parameters
    ----------
    frame : polars.LazyFrame
        The keys and the four costs.
    keys : sequence of str
        What is told apart; null is a value.
    rows : polars.Expr
        Counts the rows: ``x_Rows`` of the result (Int64).
    more : sequence of polars.Expr
        Further aggregates.

    Returns
    -------
    polars.LazyFrame
        One row per key, in no order. The sum of nothing but nulls is unknown, not zero.
    """
    # Columns that are never null need no count.
    sums = [
        pl.col(name).sum()
        if name in _KNOWN
        else pl.when(pl.col(name).count() > 0).then(pl.col(name).sum()).cast(MONEY).alias(name)
        for name in AMOUNTS
    ]
    return frame.group_by(keys).agg(*sums, rows.cast(pl.Int64).alias("x_Rows"), *more)
