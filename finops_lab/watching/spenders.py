"""Who spent most in a week, against the week before and what was to be expected."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from finops_lab.money import MONEY
from finops_lab.watching.watched import Watched

__all__ = ["spenders"]


def spenders(found: Watched, last: date, *, days: int = 7, most: int = 10) -> pl.DataFrame:
    """Rank slices by what was spent on them in the days up to one.

    Parameters
    ----------
    found : Watched
        Of a lab, with those days and as many before them.
    last : datetime.date
        The last day, included.
    days : int
        How many.
    most : int
        Slices of each dimension that are told.

    Returns
    -------
    polars.DataFrame
        ``dimension, value, BillingCurrency, amount, before, change`` (Decimal(38, 18)) and
        ``expected`` (Float64, at the level that was expected of the first day; null where a day has no
        expectation): the most amount of each dimension first.
    """
    begin = last - timedelta(days=days - 1)
    day = pl.col("day")
    now, before = (
        day.is_between(begin, last),
        day.is_between(begin - timedelta(days=days), begin - timedelta(days=1)),
    )
    keys = ["dimension", "value", "BillingCurrency"]
    # At the level of the first day: what a week has become by its end is no expectation of it.
    level = pl.col("level")
    expected = (pl.col("expected") * (level.filter(now).first() - level).exp()).filter(now)
    sums = found.days.group_by(keys, maintain_order=True).agg(
        pl.col("amount").filter(now).sum().cast(MONEY),
        pl.col("amount").filter(before).sum().cast(MONEY).alias("before"),
        pl.when(expected.null_count() == 0, expected.len() == days).then(expected.sum()).alias("expected"),
    )
    return (
        sums.filter(pl.col("amount") != 0)
        .with_columns((pl.col("amount") - pl.col("before")).cast(MONEY).alias("change"))
        .select(*keys, "amount", "before", "change", "expected")
        .sort("dimension", "BillingCurrency", "amount", "value", descending=[False, False, True, False])
        .group_by("dimension", "BillingCurrency", maintain_order=True)
        .head(most)
    )
