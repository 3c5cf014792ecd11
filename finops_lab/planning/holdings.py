"""Commitments that are held: how much of them is used, what they cover, what they saved, when they run out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

import polars as pl

from finops_lab.calendar import add_months, days_in_month
from finops_lab.errors import InputError
from finops_lab.money import MONEY, divided, exact_sum, one_currency, product

__all__ = ["BURN", "HELD", "BurnDown", "burn_down", "coverage", "held"]

_Schema = dict[str, pl.DataType | type[pl.DataType]]
HELD: _Schema = {
    "commitment": pl.String,
    "month": pl.Date,
    "currency": pl.String,
    "used": MONEY,
    "unused": MONEY,
    "paid": MONEY,
    "utilization": pl.Float64,
    "contracted": MONEY,
    "saving": MONEY,
    "paid_until": pl.Date,
}
BURN: _Schema = {
    "month": pl.Date,
    "opening": MONEY,
    "used": MONEY,
    "forfeited": MONEY,
    "closing": MONEY,
}


def held(costs: pl.LazyFrame | pl.DataFrame) -> pl.DataFrame:
    """Tell what commitments on the bill paid for in each month, used and unused, and what they saved.

    Parameters
    ----------
    costs : polars.LazyFrame or polars.DataFrame
        Rows of the `costs` contract.

    Returns
    -------
    polars.DataFrame
        `HELD`, by ``commitment`` (CommitmentDiscountId), ``month`` of use and ``currency``: ``used``
        and ``unused`` (EffectiveCost of charges whose CommitmentDiscountStatus says so), ``paid``
        (both), ``utilization`` (used of paid; null over nothing), ``contracted`` (what the covered use
        costs without it: ContractedCost, null where a row does not say), ``saving`` (contracted -
        paid) and ``paid_until``, the last day that a purchase was charged for (of a monthly fee the
        month's, not the term's). A month that is not over shows as unused what was charged ahead for it.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> day = {"ChargePeriodStart": datetime(2026, 10, 1, tzinfo=UTC), "ChargeCategory": "Usage",
    ...     "ChargePeriodEnd": datetime(2026, 10, 2, tzinfo=UTC), "BillingCurrency": "USD", "EffectiveCost": Decimal(6),
    ...     "CommitmentDiscountId": "c", "CommitmentDiscountStatus": "Used", "ContractedCost": Decimal(9)}
    >>> spare = {**day, "CommitmentDiscountStatus": "Unused", "EffectiveCost": Decimal(2), "ContractedCost": Decimal(0)}
    >>> held(pl.DataFrame([day, spare])).select(pl.col("used", "unused", "saving").cast(pl.Int64), "utilization").row(0)
    (6, 2, 1, 0.75)
    """
    rows = costs.lazy().filter(pl.col("CommitmentDiscountId").is_not_null())
    keys = ["commitment", "month", "currency"]
    status, amount = pl.col("CommitmentDiscountStatus"), pl.col("EffectiveCost")
    named = rows.select(
        pl.col("CommitmentDiscountId").alias("commitment"),
        pl.col("ChargePeriodStart").dt.date().dt.month_start().alias("month"),
        pl.col("BillingCurrency").alias("currency"),
        (pl.col("ChargePeriodEnd").dt.date() - pl.duration(days=1)).alias("_last"),
        "ChargeCategory",
        "CommitmentDiscountStatus",
        "EffectiveCost",
        "ContractedCost",
    )
    until = named.filter(pl.col("ChargeCategory") == "Purchase").group_by("commitment").agg(
        pl.col("_last").max().alias("paid_until")
    )  # fmt: skip
    sure = (status == "Used") & pl.col("ContractedCost").is_null()
    used, paid = pl.col("used"), pl.col("paid")
    share = used.cast(pl.Float64) / paid.cast(pl.Float64)
    return (
        named.filter(status.is_in(["Used", "Unused"]))
        .group_by(keys)
        .agg(
            amount.filter(status == "Used").sum().cast(MONEY).alias("used"),
            amount.filter(status == "Unused").sum().cast(MONEY).alias("unused"),
            pl.when(~sure.any())
            .then(pl.col("ContractedCost").filter(status == "Used").sum())
            .cast(MONEY)
            .alias("contracted"),
        )
        .with_columns((used + pl.col("unused")).cast(MONEY).alias("paid"))
        .with_columns(
            pl.when(paid > 0).then(share).alias("utilization"),
            (pl.col("contracted") - paid).cast(MONEY).alias("saving"),
        )
        .join(until, on="commitment", how="left")
        .select(list(HELD))
        .sort(keys)
        .collect()
    )


def coverage(costs: pl.LazyFrame | pl.DataFrame) -> pl.DataFrame:
    """Tell which share of the use that commitments can pay for they do pay for.

    Parameters
    ----------
    costs : polars.LazyFrame or polars.DataFrame
        Rows of the `costs` contract.

    Returns
    -------
    polars.DataFrame
        Per ``month``, ``ProviderName`` and ``SkuId`` of which a commitment ever paid for some use:
        ``currency``, ``covered``, ``eligible`` (ContractedCost of covered, of all use; Decimal) and
        ``coverage`` (Float64; null over nothing). Use that does not say its agreed price makes both
        null.

    Raises
    ------
    CurrencyError
        When that use is in several currencies.
    """
    keys = ["ProviderName", "SkuId"]
    used = costs.lazy().filter(
        (pl.col("ChargeCategory") == "Usage")
        & (pl.col("CommitmentDiscountStatus").fill_null("") != "Unused")
        & pl.col("SkuId").is_not_null()
    )
    ever = used.filter(pl.col("CommitmentDiscountStatus") == "Used").select(keys).unique()
    agreed, by = pl.col("ContractedCost"), pl.col("CommitmentDiscountStatus") == "Used"
    share = pl.col("covered").cast(pl.Float64) / pl.col("eligible").cast(pl.Float64)
    found = (
        used.join(ever, on=keys, how="semi")
        .with_columns(pl.col("ChargePeriodStart").dt.date().dt.month_start().alias("month"))
        .group_by("month", *keys)
        .agg(
            pl.col("BillingCurrency").unique().alias("currencies"),
            pl.when(agreed.null_count() == 0).then(agreed.filter(by).sum()).cast(MONEY).alias("covered"),
            pl.when(agreed.null_count() == 0).then(agreed.sum()).cast(MONEY).alias("eligible"),
        )
        .sort("month", *keys)
        .collect()
    )
    currency = one_currency(found["currencies"].explode().drop_nulls().unique())
    return found.select(
        "month",
        *keys,
        pl.lit(currency, pl.String).alias("currency"),
        "covered",
        "eligible",
        pl.when(pl.col("eligible") > 0).then(share).alias("coverage"),
    )


@dataclass(frozen=True)
class BurnDown:
    """How prepaid units are used up.

    Attributes
    ----------
    months : polars.DataFrame
        `BURN`, in units: ``opening`` = ``used`` + ``forfeited`` + ``closing``.
    exhausted : datetime.date or None
        The day on which the last unit is used; None where it lasts until it expires.
    expires : datetime.date
        The last day on which units can be used.
    forfeited : Decimal
        Units that expire unused.
    forfeited_amount : Decimal or None
        What was paid for them.
    short : Decimal
        Units needed after the last one was used, until the day it would have expired.
    """

    months: pl.DataFrame
    exhausted: date | None
    expires: date
    forfeited: Decimal
    forfeited_amount: Decimal | None
    short: Decimal

    @property
    def ends(self) -> date:
        """The day that comes first: used up, or expired."""
        return self.exhausted or self.expires


def burn_down(
    balance: Decimal,
    use: Sequence[tuple[date, Decimal]],
    *,
    first: date,
    expires: date,
    price: Decimal | None = None,
) -> BurnDown:
    """Use prepaid units up until they are gone or expire, whichever comes first.

    Parameters
    ----------
    balance : Decimal
        Units left on the morning of `first`.
    use : sequence of (datetime.date, Decimal)
        Units needed by month (its first day), of whole months: as much every day of one.
    first, expires : datetime.date
        The first day, and the last day on which units can be used.
    price : Decimal, optional
        What was paid for a unit.

    Returns
    -------
    BurnDown

    Raises
    ------
    InputError
        It expires before the first day, the use is negative, or a month until then is missing.

    Examples
    --------
    >>> months = [(date(2026, 11, 1), Decimal(30)), (date(2026, 12, 1), Decimal(31))]
    >>> found = burn_down(Decimal(40), months, first=date(2026, 11, 1), expires=date(2026, 12, 31))
    >>> str(found.exhausted), int(found.forfeited), int(found.short)
    ('2026-12-10', 0, 21)
    """
    if expires < first:
        raise InputError(f"expired on {expires}, before {first}", hint="the units left can no longer be used")
    needs = dict(use)
    if balance < 0 or any(amount < 0 for amount in needs.values()):
        raise InputError("a balance and its use are not below zero")
    rows, left, gone, short = [], balance, None, Decimal(0)
    month = first.replace(day=1)
    while month <= expires:
        if month not in needs:
            raise InputError(
                f"the use of {month:%Y-%m} is not known", hint="give every month until it expires"
            )
        begin, end = max(first, month), min(expires, add_months(month, 1) - timedelta(days=1))
        days = (end - begin).days + 1
        wanted = divided(needs[month], days_in_month(month), days) or Decimal(0)
        used = min(left, wanted)
        if gone is None and (used < wanted or left == wanted) and wanted > 0:
            # Day n is the first on whose evening n days of use are no less than what was left.
            lasts = divided(left, wanted, days) or Decimal(0)
            gone = begin + timedelta(days=max(int(lasts.to_integral_value("ROUND_CEILING")), 1) - 1)
        short = exact_sum([short, wanted, -used])
        rest = exact_sum([left, -used])
        forfeited, closing = (rest, Decimal(0)) if end == expires else (Decimal(0), rest)
        rows.append((month, left, used, forfeited, closing))
        left = closing
        month = add_months(month, 1)
    lost = exact_sum(row[3] for row in rows)
    frame = pl.DataFrame(rows, schema=BURN, orient="row")
    return BurnDown(frame, gone, expires, lost, product(lost, price), short)
