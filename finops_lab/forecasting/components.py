"""Charges that a forecast must not go on with: what was paid or credited at times, and ended."""

from __future__ import annotations

from datetime import date

import polars as pl

from finops_lab.calendar import add_months
from finops_lab.errors import InputError

__all__ = ["ended"]

_RECENT = 3  # months in a row up to the last that show a charge to go on
_FEWEST = 2  # of them with charges at all: once is not yet again
_AT_TIMES = ("Purchase", "Credit", "Adjustment")
_KEYS = ("ChargeCategory", "ProviderName", "ServiceName")


def ended(entries: pl.DataFrame | pl.LazyFrame, last: date, metric: str = "EffectiveCost") -> pl.LazyFrame:
    """Name the purchases, credits and adjustments that do not go on after a month.

    Usage goes on, and tax with it. A purchase, a credit or an adjustment of a service goes on when
    there was one in each of the last three months that have any charges, and in two at least; nothing
    in the past of another says that there will be more. A commitment paid upfront, a credit that was
    used up, a refund are of that kind.

    Parameters
    ----------
    entries : polars.DataFrame or polars.LazyFrame
        Rows of the `ledger` contract: ``x_ChargeMonth, ChargeCategory, ProviderName, ServiceName`` and
        `metric`.
    last : datetime.date
        First day of the last month that is known whole.
    metric : str
        A cost column: Decimal.

    Returns
    -------
    polars.LazyFrame
        ``ChargeCategory, ProviderName, ServiceName`` (String), one row each, in no order.

    Raises
    ------
    InputError
        A column is missing.

    Examples
    --------
    >>> bill = pl.DataFrame({"x_ChargeMonth": ["2026-08", "2026-09", "2026-10"], "ProviderName": "AWS",
    ...     "ServiceName": "EC2", "ChargeCategory": ["Usage", "Credit", "Usage"], "EffectiveCost": [9, -5, 9]})
    >>> ended(bill, date(2026, 10, 1)).collect().rows()
    [('Credit', 'AWS', 'EC2')]
    """
    frame = entries.lazy()
    there = frame.collect_schema().names()
    for name in ("x_ChargeMonth", *_KEYS, metric):
        if name not in there:
            raise InputError("the ledger has no such column", column=name)
    recent = [f"{add_months(last, -back):%Y-%m}" for back in range(_RECENT)]
    month = pl.col("x_ChargeMonth")
    needed = frame.select(
        month.filter(month.is_in(recent)).n_unique().clip(lower_bound=_FEWEST).alias("needed")
    )
    return (
        frame.filter(pl.col("ChargeCategory").is_in(_AT_TIMES), pl.col("x_ChargeMonth") <= f"{last:%Y-%m}")
        .group_by(*_KEYS, "x_ChargeMonth")
        .agg(pl.col(metric).sum())
        .filter(pl.col(metric) != 0)
        .group_by(*_KEYS)
        .agg(month.is_in(recent).sum().alias("seen"))
        .join(needed, how="cross")
        .filter(pl.col("seen") < pl.col("needed"))
        .select(*_KEYS)
    )
