"""A budget burning down: spent and planned day by day, and what is expected to its end."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import polars as pl

from finops_lab.calendar import add_months
from finops_lab.errors import InputError
from finops_lab.money import MONEY, exact_sum
from finops_lab.planning.budget_spans import Span, months_of, summed

__all__ = ["BURN_DOWN", "burn_down"]

_VALUES = ("yhat", "lo_80", "hi_80", "lo_95", "hi_95")
BURN_DOWN: dict[str, pl.DataType] = {
    "day": pl.Date(),
    "spent": MONEY,
    "planned": MONEY,
    "budget": MONEY,
    **dict.fromkeys(_VALUES, pl.Float64()),
}


def burn_down(
    spend: pl.DataFrame,
    budgets: pl.DataFrame,
    forecast: pl.DataFrame,
    *,
    dimension: str | None = None,
    key: str | None = None,
    period: str = "year",
    month: date,
    at: date,
) -> pl.DataFrame:
    """Return what one budget was spent, day by day, and the forecast of the rest of its period.

    Parameters
    ----------
    spend, budgets, month, at
        As for `finops_lab.planning.budget_status.status`.
    forecast : polars.DataFrame
        Of this budget alone, as from `finops_lab.forecasting.forecast`: whole months.
    dimension, key : str, optional
        Which budget; None is that of all spend.
    period : str
        ``month``, ``quarter`` or ``year``.

    Returns
    -------
    polars.DataFrame
        `BURN_DOWN`, sorted by day: ``spent`` up to the end of a day (null from `at` on), ``planned`` up to
        then and ``budget`` of the period (Decimal); ``yhat`` and its bounds (Float64) on the last day
        that is over, where they are what was spent, and at the ends of the months from then on. Empty
        where no month of the period has a budget.

    Raises
    ------
    InputError
        There is no such period.
    """
    if period not in ("month", "quarter", "year"):
        raise InputError(f"there is no period {period!r}", hint="periods: month, quarter, year")

    def mine(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.filter(
            pl.col("dimension").eq_missing(pl.lit(dimension)), pl.col("key").eq_missing(pl.lit(key))
        )

    months = months_of(period, month)
    planned = dict(mine(budgets).filter(pl.col("month").is_in(months)).select("month", "amount").iter_rows())
    if not planned:
        return pl.DataFrame(schema=BURN_DOWN)
    days = mine(spend).filter(pl.col("day") < at, pl.col("day").dt.month_start().is_in(list(planned)))
    spent = dict(days.group_by("day").agg(pl.col("amount").sum()).select("day", "amount").iter_rows())
    span = Span(planned, spent, at)
    rows: list[dict[str, object]] = [
        {"day": day, "spent": so_far, "planned": plan} for day, so_far, plan in span.cumulated()
    ]
    begun = {"day": span.months[0] - timedelta(days=1), "spent": Decimal(0), "planned": Decimal(0)}
    rows = [begun, *rows]
    ahead = {row[0]: row[1:] for row in forecast.select("ds", *_VALUES).iter_rows()}
    left = [m for m in span.months if add_months(m, 1) > at]
    if left:
        over = float(exact_sum(v for d, v in spent.items() if d < left[0]))
        rows[-1] |= dict.fromkeys(_VALUES, float(str(rows[-1]["spent"])))
        told: list[tuple[float | None, ...]] = []
        for m in left:
            told.append(ahead.get(m, (None,) * len(_VALUES)))
            sums = [summed(over, [(one[0], one[place]) for one in told]) for place in range(len(_VALUES))]
            end = add_months(m, 1) - timedelta(days=1)
            plan = span.planned_to(add_months(m, 1))
            rows.append({"day": end, "planned": plan, **dict(zip(_VALUES, sums, strict=True))})
    found = pl.DataFrame([{n: row.get(n) for n in BURN_DOWN} for row in rows], schema=BURN_DOWN)
    return found.with_columns(pl.lit(span.budget, MONEY).alias("budget")).sort("day")
