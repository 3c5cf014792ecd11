"""Charges that stand in more than one file: likely counted twice."""

from __future__ import annotations

import polars as pl

__all__ = ["SAME", "repeated"]

SAME = (
    "ProviderName",
    "BillingAccountId",
    "SubAccountId",
    "x_BillingMonth",
    "ChargePeriodStart",
    "ChargePeriodEnd",
    "ChargeCategory",
    "ServiceName",
    "ResourceId",
    "SkuId",
    "SkuPriceId",
    "ChargeDescription",
    "Tags",
    "ConsumedQuantity",
    "BillingCurrency",
    "BilledCost",
    "EffectiveCost",
)


def repeated(costs: pl.LazyFrame) -> pl.DataFrame:
    """Find charges that several files hold alike.

    Equal rows within one file can be legal; across files they are the sign of a bill that was
    exported twice without a ``delivered=`` folder. Nothing is removed: this only reports.

    Parameters
    ----------
    costs : polars.LazyFrame
        Rows of the `costs` contract.

    Returns
    -------
    polars.DataFrame
        Per set of files and currency: ``files`` (String), ``BillingCurrency``, ``rows`` (Int64, rows
        beyond the first file's) and ``BilledCost`` (Decimal) of those rows.
    """
    return (
        costs.group_by(*SAME, "x_SourceFile")
        .agg(pl.len().cast(pl.Int64).alias("rows"), pl.col("BilledCost").sum().alias("amount"))
        .group_by(SAME)
        .agg(
            pl.col("x_SourceFile").sort().str.join(" and ").alias("files"),
            pl.len().cast(pl.Int64).alias("_files"),
            (pl.col("rows").sum() - pl.col("rows").max()).alias("rows"),
            (pl.col("amount").sum() - pl.col("amount").sort_by("rows").last()).alias("amount"),
        )
        .filter(pl.col("_files") > 1)
        .group_by("files", "BillingCurrency")
        .agg(pl.col("rows").sum(), pl.col("amount").sum().alias("BilledCost"))
        .sort("files", "BillingCurrency")
        .collect()
    )
