"""Rows of a table that carry a sign of trouble, counted where they stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

__all__ = ["ACCOUNT", "EXAMPLE", "examples", "flagged", "key"]

ACCOUNT = ("ProviderName", "BillingAccountId", "BillingCurrency")
_WIDTH = 12


def key(file: str = "x_SourceFile", row: str = "x_SourceRow") -> pl.Expr:
    """Name a row so that names sort like rows: the row's number has a fixed width."""
    return pl.format("{}:{}", pl.col(file), pl.col(row).cast(pl.String).str.zfill(_WIDTH))


EXAMPLE = (key().min().alias("_first"), key().max().alias("_last"))


def flagged(
    costs: pl.LazyFrame,
    flag: pl.Expr,
    *,
    by: Sequence[str] = ACCOUNT,
    money: pl.Expr | None = None,
    more: Sequence[pl.Expr] = (),
    **named: pl.Expr,
) -> pl.LazyFrame:
    """Count bill rows with a flag, with their money, months and first and last row.

    Parameters
    ----------
    costs : polars.LazyFrame
        Rows of the `costs` contract.
    flag : polars.Expr
        True for the rows to count.
    by : sequence of str
        Columns that keep findings apart.
    money : polars.Expr, optional
        The money at stake of a row, as a sum; the absolute ``BilledCost`` by default.
    more : sequence of polars.Expr
        Further aggregates under their own names.
    **named : polars.Expr
        Further aggregates.

    Returns
    -------
    polars.LazyFrame
        `by`, ``rows``, ``money``, ``first`` and ``last`` (billing months), further aggregates and
        what `examples` needs.
    """
    stake = pl.col("BilledCost").abs().sum() if money is None else money
    return (
        costs.filter(flag.fill_null(False))
        .group_by(by)
        .agg(
            pl.len().cast(pl.Int64).alias("rows"),
            stake.alias("money"),
            pl.col("x_BillingMonth").min().alias("first"),
            pl.col("x_BillingMonth").max().alias("last"),
            *EXAMPLE,
            *more,
            **named,
        )
        .sort(by)
    )


def examples(row: dict[str, Any]) -> list[str]:
    """Return the first and last row of a finding as ``file:row``."""
    found = []
    for name in dict.fromkeys((row["_first"], row["_last"])):
        if name is not None:
            file, _, number = name.rpartition(":")
            found.append(f"{file}:{int(number)}")
    return found
