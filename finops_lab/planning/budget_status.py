"""Where budgets stand: spent, expected, how likely it is too much, and when it is used up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import polars as pl

from finops_lab.calendar import add_months
from finops_lab.errors import InputError
from finops_lab.forecasting import chances
from finops_lab.money import MONEY, exact_sum
from finops_lab.planning.budget_spans import PERIODS, Span, months_of, summed
from finops_lab.planning.budgets import name_of

__all__ = ["AT_RISK", "STATES", "STATUS", "UNALLOCATED", "WATCH", "status"]

# How likely it is that a budget is too small, from where on it is watched and at risk.
WATCH, AT_RISK = 0.2, 0.5
STATES = ("over", "at risk", "watch", "on track", "kept", "unknown", "no budget")
UNALLOCATED = "unallocated"  # the ledger's owner of what has none

_BOUNDS = ("lo_80", "hi_80", "lo_95", "hi_95")
STATUS: dict[str, pl.DataType] = {
    "name": pl.String(),
    "dimension": pl.String(),
    "key": pl.String(),
    "period": pl.String(),
    "first": pl.Date(),
    "last": pl.Date(),
    "months": pl.Int64(),
    "budget": MONEY,
    "planned_to_date": MONEY,
    "actual": MONEY,
    "expected": pl.Float64(),
    **dict.fromkeys(_BOUNDS, pl.Float64()),
    "expected_above": pl.Float64(),
    "probability": pl.Float64(),
    "share_spent": pl.Float64(),
    "share_planned": pl.Float64(),
    "pace": pl.Float64(),
    "ahead_since": pl.Date(),
    "threshold": pl.Float64(),
    "threshold_on": pl.Date(),
    "used_up": pl.Date(),
    "state": pl.String(),
}
Selector = tuple[str | None, str | None]


def status(
    spend: pl.DataFrame, budgets: pl.DataFrame, forecast: pl.DataFrame, *, month: date, at: date
) -> pl.DataFrame:
    """Hold spend and its forecast against every budget, for a month, its quarter and its year.

    A month that is over counts with what was spent, one that is not with its forecast. Errors of one
    series stay together over the months, so bounds add up. Only months that have a budget count on
    either side.

    The state is ``over`` where more is spent than planned; for a period that is over ``kept``
    otherwise; else ``at risk`` where it is more likely than not that the budget is too small
    (``probability`` above `AT_RISK`), ``watch`` above `WATCH` or where 50, 80 or 100 % of it were spent
    ahead of pace, and ``on track``. Without a forecast pace decides between the last two. ``unknown`` is
    where a month that has begun has no charges at all, or one to come has no forecast.

    Parameters
    ----------
    spend : polars.DataFrame
        ``dimension, key`` (String; null for all spend), ``day`` (Date), ``amount`` (Decimal), in the
        currency of the budgets. All spend is needed: it tells which months are known. Values without a
        budget may be there: they are shown as such.
    budgets : polars.DataFrame
        As from `finops_lab.planning.budgets.in_force`.
    forecast : polars.DataFrame
        As from `finops_lab.forecasting.forecast`, of whole months; ``unique_id`` is the budget's name
        (`finops_lab.planning.budgets.name_of`). Months that are over are not looked at.
    month : datetime.date
        Any day of the month in question.
    at : datetime.date
        The first day that is not over: what was spent from then on is not known yet.

    Returns
    -------
    polars.DataFrame
        `STATUS`: a row for each budget and period, and one for each dimension's values without a
        budget, those of nobody (``unallocated``) apart. ``first`` and ``last`` are the months that
        count. ``budget, planned_to_date, actual`` are Decimal, the forecasts Float64, all in the
        budgets' currency; ``probability, share_spent, share_planned`` are 0 to 1. ``pace`` is
        `actual` over `planned_to_date`: 1 is as planned. ``used_up`` is the day on which more than the
        budget is spent, null where that is not expected in the period.

    Raises
    ------
    InputError
        A column is missing.

    Examples
    --------
    >>> day, whole = date(2026, 10, 5), pl.lit(None, pl.String)
    >>> spend = pl.DataFrame({"day": [day], "amount": [Decimal(130)]}).with_columns(dimension=whole, key=whole)
    >>> plan = pl.DataFrame({"month": [date(2026, 10, 1)], "amount": [Decimal(100)]})
    >>> plan = plan.with_columns(dimension=whole, key=whole)
    >>> ahead = pl.DataFrame(schema=["unique_id", "ds", "yhat", "lo_80", "hi_80", "lo_95", "hi_95"])
    >>> found = status(spend, plan, ahead, month=date(2026, 10, 1), at=date(2026, 11, 1))
    >>> found.select("period", "state", "used_up").row(0)
    ('month', 'over', datetime.date(2026, 10, 5))
    """
    facts = _Facts.of(spend, budgets, forecast, at)
    rows = [_row(facts, who, period, month) for period in PERIODS for who in facts.named()]
    found = pl.DataFrame(rows, schema=STATUS)
    likely = chances.exceedance(found.with_columns(yhat="expected"), "budget")["probability"]
    spent, open_ = pl.col("actual") > pl.col("budget"), pl.col("last").dt.offset_by("1mo") > at
    # What is over is known: more is spent, or it was kept.
    known = pl.when(spent).then(1.0).when(~open_ & spent.is_not_null()).then(0.0)
    found = found.with_columns(known.otherwise(likely).alias("probability"))
    state = (
        pl.when(pl.col("budget").is_null())
        .then(pl.lit("no budget"))
        .when(pl.col("actual").is_null())
        .then(pl.lit("unknown"))
        .when(spent)
        .then(pl.lit("over"))
        .when(~open_)
        .then(pl.lit("kept"))
        .when(pl.col("probability") > AT_RISK)
        .then(pl.lit("at risk"))
        .when(pl.col("probability").is_null() & pl.col("pace").is_null())
        .then(pl.lit("unknown"))
        .when(
            (pl.col("probability") > WATCH).fill_null(pl.col("pace") > 1) | pl.col("threshold").is_not_null()
        )
        .then(pl.lit("watch"))
        .otherwise(pl.lit("on track"))
    )
    return found.with_columns(state.alias("state"))


@dataclass(frozen=True)
class _Facts:
    """Plans, spend and forecasts by what they are of."""

    plans: Mapping[Selector, Mapping[date, Decimal]]
    spent: Mapping[Selector, Mapping[date, Decimal]]
    ahead: Mapping[str, Mapping[date, tuple[float, ...]]]
    known: frozenset[date]
    at: date

    @classmethod
    def of(cls, spend: pl.DataFrame, budgets: pl.DataFrame, forecast: pl.DataFrame, at: date) -> _Facts:
        for frame, what, names in (
            (spend, "spend", ("dimension", "key", "day", "amount")),
            (budgets, "budgets", ("dimension", "key", "month", "amount")),
            (forecast, "forecast", ("unique_id", "ds", "yhat", *_BOUNDS)),
        ):
            if missing := [name for name in names if name not in frame.columns]:
                raise InputError(f"the frame of the {what} has no such column", column=missing[0])
        plans: dict[Selector, dict[date, Decimal]] = {}
        for dimension, key, month, amount in budgets.select(
            "dimension", "key", "month", "amount"
        ).iter_rows():
            plans.setdefault((dimension, key), {})[month] = amount
        past = spend.filter(pl.col("day") < at)
        # Values without a budget go together, those of nobody apart.
        with_one = pl.DataFrame(list(plans), schema={"dimension": pl.String, "key": pl.String}, orient="row")
        told = past.join(
            with_one.with_columns(pl.lit(True).alias("planned")),
            on=["dimension", "key"],
            how="left",
            nulls_equal=True,
        )
        own = pl.col("planned").fill_null(False) | (pl.col("key") == UNALLOCATED).fill_null(False)
        kept = told.with_columns(pl.when(own).then("key").alias("key"))
        spent: dict[Selector, dict[date, Decimal]] = {}
        for dimension, key, day, amount in (
            kept.group_by("dimension", "key", "day").agg(pl.col("amount").sum()).iter_rows()
        ):
            spent.setdefault((dimension, key), {})[day] = amount
        ahead: dict[str, dict[date, tuple[float, ...]]] = {}
        for name, month, *values in forecast.select("unique_id", "ds", "yhat", *_BOUNDS).iter_rows():
            ahead.setdefault(name, {})[month] = tuple(values)
        months = past.filter(pl.col("dimension").is_null())["day"].dt.month_start().unique()
        return cls(plans, spent, ahead, frozenset(months), at)

    def named(self) -> list[Selector]:
        """Return what has a budget or, of a dimension with budgets, has none: everything first."""
        dimensions = {dimension for dimension, _ in self.plans} - {None}
        found = {*self.plans, *(who for who in self.spent if who[0] in dimensions)}
        # Of each dimension, nobody's and then the rest last.
        return sorted(
            found,
            key=lambda w: (w[0] or "", w[0] is not None and w[1] is None, w[1] == UNALLOCATED, w[1] or ""),
        )


def _row(facts: _Facts, who: Selector, period: str, month: date) -> dict[str, Any]:
    dimension, key = who
    rest = dimension is not None and key is None
    name = f"{dimension}: the rest" if rest else name_of(dimension, key)
    plan = facts.plans.get(who, {})
    calendar = months_of(period, month)
    planned = {m: plan[m] for m in calendar if m in plan}
    months = sorted(planned) or calendar
    row: dict[str, Any] = {"name": name, "dimension": dimension, "key": key, "period": period}
    row |= {"first": months[0], "last": months[-1], "months": len(planned)}
    spent = {day: v for day, v in facts.spent.get(who, {}).items() if day.replace(day=1) in months}
    known = all(m in facts.known for m in months if m < facts.at)
    row["actual"] = exact_sum(spent.values()) if known else None
    if not planned:
        return row
    span = Span(planned, spent, facts.at)
    row |= {"budget": span.budget, "planned_to_date": span.planned_to(facts.at)}
    if not known:
        return row
    ahead = facts.ahead.get(name, {})
    left = [m for m in months if add_months(m, 1) > facts.at]
    over = float(exact_sum(v for day, v in spent.items() if day.replace(day=1) not in left))
    values = [ahead.get(m, (None,) * 5) for m in left]
    for place, column in enumerate(("expected", *_BOUNDS)):
        row[column] = summed(over, [(value[0], value[place]) for value in values])
    whole, gone = float(span.budget), float(row["planned_to_date"])
    row["expected_above"] = None if row["expected"] is None else row["expected"] - whole
    row["share_spent"] = float(row["actual"]) / whole if whole > 0 else None
    row["share_planned"] = gone / whole if whole > 0 else None
    row["pace"] = float(row["actual"]) / gone if gone > 0 else None
    days = span.cumulated()
    row["ahead_since"] = span.ahead_since(days)
    row["threshold"], row["threshold_on"] = span.threshold(days)
    expected = {m: value[0] for m, value in zip(left, values, strict=True) if value[0] is not None}
    row["used_up"] = span.used_up(days, expected) if len(expected) == len(left) or not left else None
    return row
