"""Figures with reasons: what the KPIs that are about money share."""

from __future__ import annotations

import polars as pl

from finops_lab.unit_economics.figures import Asked, Definition, together

__all__ = ["asked", "first_reason", "told"]


def told(
    rows: pl.DataFrame,
    definition: Definition,
    *,
    dimension: str | None = None,
    times: int = 1,
    currency: str = "USD",
) -> pl.DataFrame:
    """Return `figures` whose value is null wherever there is a reason, whatever could be divided.

    `rows` are those of `figures` with ``reason``; a ``value`` of theirs goes before a division.

    Examples
    --------
    >>> from datetime import date
    >>> one = Definition("M1", "m", "t", "u", "n", "d", "f", ("ledger",))
    >>> rows = pl.DataFrame({"month": [date(2026, 10, 1)] * 2, "numerator": [1, 1], "denominator": [2, 2],
    ...     "reason": [None, "not of the same traffic"]})
    >>> told(rows, one)["value"].to_list()
    [Decimal('0.500000000000000000'), None]
    """
    return together([asked(rows, definition, dimension=dimension, times=times, currency=currency)])


def asked(
    rows: pl.DataFrame,
    definition: Definition,
    *,
    dimension: str | None = None,
    times: int = 1,
    currency: str = "USD",
) -> Asked:
    """Return what `told` would tell, to be told together with others."""
    return Asked(rows, definition, dimension, times, currency, doubted=True)


def first_reason(*reasons: tuple[pl.Expr, str | pl.Expr]) -> pl.Expr:
    """Return the first reason whose condition holds; null where none does.

    Examples
    --------
    >>> pl.select(first_reason((pl.lit(False), "a"), (pl.lit(True), "b"))).item()
    'b'
    """
    return pl.coalesce(
        *[pl.when(holds).then(pl.lit(text) if isinstance(text, str) else text) for holds, text in reasons],
        pl.lit(None, pl.String),
    ).alias("reason")
