"""When a lab's credits end, and what its bill is then."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime

import polars as pl

from finops_lab.calendar import add_months, first_of
from finops_lab.config import Credit
from finops_lab.errors import NoDataError
from finops_lab.forecasting import forecast
from finops_lab.lab import Lab
from finops_lab.planning.credits import Cliff, cliff, credits_of, monthly_bill

__all__ = ["credits_cliff"]


def credits_cliff(
    lab: Lab, month: str | date, *, months: int = 12, credits: Sequence[Credit] | None = None
) -> Cliff:
    """Tell when credits end, and the bill with and without them.

    Parameters
    ----------
    lab : Lab
        An opened lab, whose bills are in one currency.
    month : str or datetime.date
        Last whole month of the bill, such as ``2026-10``.
    months : int
        Months to look ahead.
    credits : sequence of Credit, optional
        In the place of ``[[credits]]`` of `finops.toml`.

    Returns
    -------
    finops_lab.planning.credits.Cliff

    Raises
    ------
    NoDataError
        The lab has no bill up to the month.
    CurrencyError
        The bills are in several currencies.
    """
    last = first_of(month)
    end = datetime.combine(add_months(last, 1), datetime.min.time(), UTC)
    costs = lab.costs().filter(pl.col("ChargePeriodStart") < end)
    bill = monthly_bill(costs, month=last)
    if bill.is_empty() or max(bill["month"]) != last:
        raise NoDataError(f"there is no bill of {last:%Y-%m}", hint="--month takes the last whole month")
    rules = lab.config.credits if credits is None else credits
    # What is bought once comes back in no month by itself.
    panel = bill.select(
        pl.lit("gross").alias("unique_id"),
        pl.col("month").alias("ds"),
        (pl.col("gross") - pl.col("one_time")).alias("y"),
    )
    ahead = forecast(panel, months)
    return cliff(bill, credits_of(costs, rules, month=last), ahead)
