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
        ``expected`` (Float64, at the level that was expected of the first day): the most amount of each
        dimension first. ``before`` and ``change`` are null where an earlier day is not known,
        ``expected`` where a day has no expectation, no export, or was paid back a week before.
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
    paid, earlier = (pl.col("amount").filter(one) for one in (now, before))
    paid_back = (earlier < 0).sum()  # of what is paid back, nothing is foretold
    sums = found.days.group_by(keys, maintain_order=True).agg(
        pl.col("amount").filter(now).sum().cast(MONEY),
        pl.when(earlier.count() == days).then(earlier.sum().cast(MONEY)).alias("before"),
        pl.when(expected.null_count() == 0, expected.len() == days, paid.count() == days, paid_back == 0)
        .then(expected.sum())
        .alias("expected"),
    )
    return (
        sums.filter(pl.col("amount") != 0)
        .with_columns((pl.col("amount") - pl.col("before")).cast(MONEY).alias("change"))
        .select(*keys, "amount", "before", "change", "expected")
        .sort("dimension", "BillingCurrency", "amount", "value", descending=[False, False, True, False])
        .group_by("dimension", "BillingCurrency", maintain_order=True)
        .head(most)
    )
