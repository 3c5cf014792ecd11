"""How much of what commitments paid for was used."""

from __future__ import annotations

import polars as pl

from finops_lab.money import MONEY
from finops_lab.unit_economics.activity import currency_of

__all__ = ["commitment_use"]


def commitment_use(entries: pl.LazyFrame | pl.DataFrame, *, metric: str = "EffectiveCost") -> pl.DataFrame:
    """Tell what commitments paid for in each month, used and unused.

    Parameters
    ----------
    entries : polars.LazyFrame or polars.DataFrame
        Rows of the `ledger` contract, in one currency.
    metric : str
        The cost column; amortised, or purchases count in the month they are billed.

    Returns
    -------
    polars.DataFrame
        Per ``x_ChargeMonth`` and ``ProviderName``, the latest month first: ``used``, ``unused``,
        ``paid`` (both; Decimal) and ``utilization`` (Float64, used of paid; null where nothing was
        paid). Charges that are no commitment's are left out.

    Raises
    ------
    CurrencyError
        When the entries are in several currencies.

    Examples
    --------
    >>> from decimal import Decimal
    >>> rows = pl.DataFrame({"x_ChargeMonth": ["2026-10"] * 3, "ProviderName": ["CloudOne"] * 3,
    ...     "BillingCurrency": ["USD"] * 3, "CommitmentDiscountStatus": ["Used", "Unused", None],
    ...     "EffectiveCost": [Decimal(9), Decimal(3), Decimal(5)]})
    >>> commitment_use(rows).select(pl.col("used", "unused", "paid").cast(pl.Int64), "utilization").row(0)
    (9, 3, 12, 0.75)
    """
    currency_of(entries)
    status, amount = pl.col("CommitmentDiscountStatus"), pl.col(metric)

    def of(name: str) -> pl.Expr:
        return amount.filter(status == name).sum().cast(MONEY).alias(name.lower())

    used, paid = pl.col("used"), pl.col("paid")
    share = used.cast(pl.Float64) / paid.cast(pl.Float64)
    return (
        entries.lazy()
        .filter(status.is_not_null())
        .group_by("x_ChargeMonth", "ProviderName")
        .agg(of("Used"), of("Unused"))
        .with_columns((used + pl.col("unused")).cast(MONEY).alias("paid"))
        .with_columns(pl.when(paid > 0).then(share).alias("utilization"))
        .sort("x_ChargeMonth", "ProviderName", descending=[True, False])
        .collect()
    )
