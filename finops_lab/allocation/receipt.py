"""The receipt: money in equals money out, per month, currency and kind of charge, or an error."""

from __future__ import annotations

import polars as pl

from finops_lab.allocation.pooling import UNALLOCATED
from finops_lab.contracts import AMOUNTS
from finops_lab.errors import ReconciliationError
from finops_lab.money import MONEY

__all__ = ["receipt"]

_KEYS = ("BillingCurrency", "x_BillingMonth", "x_ChargeMonth", "ChargeCategory")


def receipt(
    costs: pl.LazyFrame, entries: pl.DataFrame, delivered: pl.LazyFrame | None = None
) -> pl.DataFrame:
    """Compare the bill's own sums with the ledger's, each added up by itself.

    Parameters
    ----------
    costs : polars.LazyFrame
        The bill rows that were allocated.
    entries : polars.DataFrame
        What was made of them.
    delivered : polars.LazyFrame, optional
        All bill rows, where some are left out of `costs` on purpose.

    Returns
    -------
    polars.DataFrame
        As `Ledger.receipt`.

    Raises
    ------
    ReconciliationError
        When a sum or a number of rows differs.
    """
    nobody = pl.col("x_team") == UNALLOCATED
    sums = entries.lazy().group_by(*_KEYS, nobody.alias("_nobody")).agg(pl.col("x_Rows", *AMOUNTS).sum())
    booked = sums.group_by(_KEYS).agg(
        pl.col("x_Rows").sum().alias("rows_out"),
        *[pl.col(name).filter(~pl.col("_nobody")).sum().alias(f"{name}_allocated") for name in AMOUNTS],
        *[pl.col(name).filter("_nobody").sum().alias(f"{name}_unallocated") for name in AMOUNTS],
    )  # fmt: skip
    both = _sums(costs).join(booked, on=_KEYS, how="full", coalesce=True).collect()
    zero = pl.lit(0).cast(MONEY)
    found = pl.concat(
        both.select(
            pl.lit(name).alias("metric"),
            *_KEYS,
            "rows_in",
            pl.col(name).fill_null(zero).alias("amount_in"),
            pl.col(f"{name}_allocated").fill_null(zero).alias("allocated"),
            pl.col(f"{name}_unallocated").fill_null(zero).alias("unallocated"),
            zero.alias("excluded"),
        )
        for name in AMOUNTS
    )
    residual = pl.col("amount_in") - pl.col("allocated") - pl.col("unallocated") - pl.col("excluded")
    if delivered is not None:
        found = _with_excluded(found, _sums(costs).collect(), _sums(delivered).collect())
    found = found.with_columns(residual.cast(MONEY).alias("residual"))
    lost = found.filter(pl.col("residual") != 0)
    miscounted = both.filter(pl.col("rows_in").ne_missing(pl.col("rows_out")))
    if lost.height or miscounted.height:
        raise ReconciliationError(
            f"the ledger does not add up to the bill: {lost.height} sums and {miscounted.height} row counts differ"
        )
    return found.sort("metric", *_KEYS)


def _sums(costs: pl.LazyFrame) -> pl.LazyFrame:
    sums = [pl.col(name).sum() for name in AMOUNTS]
    # Days are told apart at a fraction of what it costs to spell the month of every row.
    day = pl.col("ChargePeriodStart").dt.date().alias("_day")
    days = costs.group_by("BillingCurrency", "x_BillingMonth", day, "ChargeCategory").agg(
        pl.len().cast(pl.Int64).alias("rows_in"), *sums
    )
    dated = days.with_columns(pl.col("_day").dt.strftime("%Y-%m").alias("x_ChargeMonth"))
    return dated.group_by(_KEYS).agg(pl.col("rows_in").sum(), *sums)


def _with_excluded(found: pl.DataFrame, counted: pl.DataFrame, delivered: pl.DataFrame) -> pl.DataFrame:
    """Add what was delivered and left out to both sides: in, and excluded."""
    out = delivered.join(counted, on=_KEYS, how="left", suffix="_counted").with_columns(
        (pl.col("rows_in") - pl.col("rows_in_counted").fill_null(0)).alias("_rows"),
        *[(pl.col(n) - pl.col(f"{n}_counted").fill_null(0)).cast(MONEY).alias(n) for n in AMOUNTS],
    )
    left = pl.concat(
        out.select(pl.lit(name).alias("metric"), *_KEYS, "_rows", pl.col(name).alias("_out"))
        for name in AMOUNTS
    )
    zero = pl.lit(0).cast(MONEY)
    both = found.join(left, on=["metric", *_KEYS], how="full", coalesce=True)
    return both.with_columns(
        (pl.col("rows_in").fill_null(0) + pl.col("_rows").fill_null(0)).alias("rows_in"),
        (pl.col("amount_in").fill_null(zero) + pl.col("_out").fill_null(zero)).cast(MONEY).alias("amount_in"),
        pl.col("allocated", "unallocated").fill_null(zero),
        pl.col("_out").fill_null(zero).alias("excluded"),
    ).select(found.columns)
