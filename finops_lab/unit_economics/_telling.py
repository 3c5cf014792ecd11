"""What the KPIs that are about money share: figures with reasons, and sums side by side."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from finops_lab.money import MONEY
from finops_lab.unit_economics.figures import Definition, divided, figures
from finops_lab.unit_economics.schemas import FIGURES

__all__ = ["by_key", "first_reason", "nothing", "told"]


def told(
    rows: pl.DataFrame,
    definition: Definition,
    *,
    dimension: str | None = None,
    times: int = 1,
    currency: str = "USD",
) -> pl.DataFrame:
    """Return `figures` whose value is null wherever there is a reason, whatever could be divided.

    Examples
    --------
    >>> from datetime import date
    >>> one = Definition("M1", "m", "t", "u", "n", "d", "f", ("ledger",))
    >>> rows = pl.DataFrame({"month": [date(2026, 10, 1)] * 2, "numerator": [1, 1], "denominator": [2, 2],
    ...     "reason": [None, "not of the same traffic"]})
    >>> told(rows, one)["value"].to_list()
    [Decimal('0.500000000000000000'), None]
    """
    rows = rows.with_columns(pl.col("numerator", "denominator").cast(MONEY), pl.col("reason").cast(pl.String))
    values = [
        divided(numerator, denominator, times) if reason is None else None
        for numerator, denominator, reason in rows.select("numerator", "denominator", "reason").iter_rows()
    ]
    return figures(
        rows.with_columns(pl.Series("value", values, MONEY)),
        definition,
        dimension=dimension,
        times=times,
        currency=currency,
    )


def by_key(frame: pl.DataFrame, dimension: str | None, sums: Sequence[pl.Expr]) -> pl.DataFrame:
    """Add up per month and value of a dimension (``key``), or per month with a null key.

    Examples
    --------
    >>> rows = pl.DataFrame({"month": [1, 1], "team": ["a", "a"], "n": [1, 2]})
    >>> by_key(rows, "team", [pl.col("n").sum()]).rows(), by_key(rows, None, [pl.col("n").sum()]).rows()
    ([(1, 'a', 3)], [(1, None, 3)])
    """
    key = pl.lit(None, pl.String) if dimension is None else pl.col(dimension)
    return frame.with_columns(key.alias("key")).group_by("month", "key").agg(*sums)


def first_reason(*reasons: tuple[pl.Expr, str]) -> pl.Expr:
    """Return the first reason whose condition holds; null where none does.

    Examples
    --------
    >>> pl.select(first_reason((pl.lit(False), "a"), (pl.lit(True), "b"))).item()
    'b'
    """
    return pl.coalesce(
        *[pl.when(holds).then(pl.lit(text)) for holds, text in reasons], pl.lit(None, pl.String)
    ).alias("reason")


def nothing() -> pl.DataFrame:
    """Return no figures.

    Examples
    --------
    >>> nothing().height
    0
    """
    return pl.DataFrame(schema=FIGURES)
