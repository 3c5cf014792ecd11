"""Conversion of a ledger into one currency, by dated rates that are shown."""

from __future__ import annotations

import decimal
from collections.abc import Sequence
from decimal import Decimal

import polars as pl

from finops_lab.calendar import format_month
from finops_lab.config import Rate
from finops_lab.contracts import AMOUNTS
from finops_lab.errors import CurrencyError
from finops_lab.money import MONEY, SCALE

__all__ = ["convert"]


def convert(
    entries: pl.DataFrame, rates: Sequence[Rate], currency: str, *, amounts: Sequence[str] = AMOUNTS
) -> pl.DataFrame:
    """Convert ledger entries to one currency with the rate of each entry's charge month.

    Parameters
    ----------
    entries : polars.DataFrame
        Rows of the `ledger` contract.
    rates : sequence of Rate
        Dated rates of `finops.toml`.
    currency : str
        ISO 4217 code to convert to.
    amounts : sequence of str
        Columns of money; those of the ledger by default.

    Returns
    -------
    polars.DataFrame
        The entries in `currency`; each converted amount is rounded once, half to even, to 18
        decimals. Entries already in `currency` are untouched.

    Raises
    ------
    CurrencyError
        Naming the first pair and month without a rate.
    """
    table = {(format_month(r.month), r.source): r.rate for r in rates if r.target == currency}
    foreign = entries.filter(pl.col("BillingCurrency") != currency)
    for month, source in (
        foreign.select("x_ChargeMonth", "BillingCurrency").unique().sort(pl.all()).iter_rows()
    ):
        if (month, source) not in table:
            raise CurrencyError(
                f"there is no rate from {source} to {currency} for {month}",
                hint=f'add [[rates]] month = "{month}" from = "{source}" to = "{currency}" rate = "..." to finops.toml',
            )
    pairs = zip(foreign["x_ChargeMonth"], foreign["BillingCurrency"], strict=True)
    factors = [table[pair] for pair in pairs]
    converted = foreign.with_columns(
        pl.lit(currency).alias("BillingCurrency"),
        *[pl.Series(name, _times(foreign[name], factors), dtype=MONEY) for name in amounts],
    )
    return pl.concat([entries.filter(pl.col("BillingCurrency") == currency), converted])


def _times(amounts: pl.Series, factors: Sequence[Decimal]) -> list[Decimal | None]:
    quantum = Decimal(1).scaleb(-SCALE)
    with decimal.localcontext(prec=80):
        return [
            None if amount is None else (amount * factor).quantize(quantum, rounding=decimal.ROUND_HALF_EVEN)
            for amount, factor in zip(amounts, factors, strict=True)
        ]
