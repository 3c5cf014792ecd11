"""Exact quantiles of weighted values, per month and key."""

from __future__ import annotations

import polars as pl

from finops_lab.unit_economics.histogram import share
from finops_lab.unit_economics.schemas import COUNTED

__all__ = ["exactly", "thousandths"]


def thousandths(whole: pl.Expr) -> pl.Expr:
    """Take whole numbers for thousandths of calls.

    Examples
    --------
    >>> pl.select(thousandths(pl.lit(2500))).item()
    Decimal('2.500')
    """
    return whole.cast(pl.Int128).reinterpret(dtype=COUNTED)


def exactly(rows: pl.DataFrame, value: str, at: float) -> pl.DataFrame:
    """Return the least value that the share of the weighted calls does not exceed, per month and key.

    Examples
    --------
    >>> rows = pl.DataFrame({"month": [1, 1], "key": ["a", "a"], "ms": [900.0, 100.0], "weight": [1000, 99_000]})
    >>> exactly(rows, "ms", 0.95).rows()
    [(1, 'a', 100.0, Decimal('100.000'), 2)]
    """
    part, whole = share(at)
    keys = ["month", "key"]
    weight = pl.col("weight").cast(pl.Int128)
    known = rows.lazy().filter(pl.col(value).is_not_null()).group_by(*keys, value).agg(weight.sum())
    reached = pl.col("weight").cum_sum().over(keys, order_by=value) * whole
    total = pl.col("weight").sum().over(keys)
    return (
        known.with_columns(total.alias("total"), (reached >= total * part).alias("reached"))
        .filter("reached")
        .group_by(keys)
        .agg(pl.col(value).min().alias("value"), thousandths(pl.col("total").first()).alias("calls"))
        .join(
            rows.lazy()
            .filter(pl.col(value).is_not_null())
            .group_by(keys)
            .agg(pl.len().cast(pl.Int64).alias("rows")),
            on=keys,
            nulls_equal=True,
        )
        .collect()
    )
