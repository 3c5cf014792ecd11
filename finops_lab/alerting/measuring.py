"""What rules have limits for: money per day, the share of a budget, actual over expected."""

from __future__ import annotations

import calendar
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl

from finops_lab.alerting.grouping import end_of
from finops_lab.alerting.schemas import Schema
from finops_lab.errors import InputError
from finops_lab.money import MONEY, divided

__all__ = ["measured"]

_A_DAY_US = 86_400_000_000
_BUDGETS = ("month", "dimension", "key", "amount", "currency")
# Whose budget an event draws on, besides that of its own slice.
_SCOPED = {"team": "x_team", "model": "x_model", "feature": "x_feature"}
_ADDED: Schema = {"per_day": MONEY, "times": pl.Float64, "budget_share": pl.Float64}
_Budgets = Mapping[tuple[str, str | None, str | None], Mapping[str, Decimal]]


def measured(events: pl.DataFrame, budgets: pl.DataFrame | None = None) -> pl.DataFrame:
    """Add what rules look at.

    Parameters
    ----------
    events : polars.DataFrame
        Rows of events, with ``running``.
    budgets : polars.DataFrame, optional
        ``month`` (such as 2026-10, or its first day), ``dimension``, ``key``, ``amount``, ``currency``.
        Rows of the same thing and month add up.

    Returns
    -------
    polars.DataFrame
        Also ``per_day`` (Decimal, excess at the pace of the event), ``times`` (Float64, actual over
        expected), ``budget`` (``known`` or ``unknown``) and ``budget_share`` (Float64): the excess in the
        month in which the event ends, and that until the month ends where it goes on, over the
        budget. Of the budgets of the slice, the team, the model, the feature and the whole, the one
        that it takes the largest share of.

    Raises
    ------
    InputError
        Budgets lack a column.
    """
    planned = _planned(budgets)
    rows = [_figures(row, planned) for row in events.rows(named=True)]
    added = pl.DataFrame(rows, schema=_ADDED)
    known = pl.when(pl.col("budget_share").is_null()).then(pl.lit("unknown")).otherwise(pl.lit("known"))
    return pl.concat([events, added.with_columns(known.alias("budget"))], how="horizontal")


def _planned(budgets: pl.DataFrame | None) -> _Budgets:
    found: dict[tuple[str, str | None, str | None], dict[str, Decimal]] = defaultdict(dict)
    if budgets is None:
        return found
    for name in _BUDGETS:
        if name not in budgets.columns:
            raise InputError("budgets need it", column=name)
    for month, dimension, key, amount, currency in budgets.select(_BUDGETS).rows():
        of = found[str(month)[:7], dimension, key]
        of[currency] = of.get(currency, Decimal(0)) + Decimal(amount)
    return found


def _figures(row: Mapping[str, Any], budgets: _Budgets) -> dict[str, Any]:
    begin, end = row["first"], end_of(row)
    excess, currency = row["excess_amount"], row["BillingCurrency"]
    actual, expected = row["actual"], row["expected"]
    times = None
    if actual is not None and expected is not None and row["kind"] != "slo":
        times = actual / expected if expected > 0 else float("inf") if actual > 0 and expected == 0 else None
    per_day = divided(excess, _microseconds(end - begin), _A_DAY_US)
    share = None
    if excess is not None and per_day is not None and currency is not None:
        at_stake = _of_month(begin, end, excess, per_day, row["running"])
        month = f"{_last_moment(end):%Y-%m}"
        amounts = [budgets.get((month, *whose), {}).get(currency) for whose in _owners(row)]
        shares = [float(at_stake) / float(amount) for amount in amounts if amount is not None and amount > 0]
        share = max(shares, key=abs, default=None)
    return {"per_day": per_day, "times": times, "budget_share": share}


def _of_month(begin: datetime, end: datetime, excess: Decimal, per_day: Decimal, running: bool) -> Decimal:
    """Return the excess of the month of the end, and what is to come of it."""
    last = _last_moment(end)
    starts = datetime(last.year, last.month, 1, tzinfo=UTC)
    ends = starts + timedelta(days=calendar.monthrange(last.year, last.month)[1])
    inside = end - max(begin, starts)
    part = divided(excess, _microseconds(end - begin), _microseconds(inside)) or Decimal(0)
    ahead = divided(per_day, _A_DAY_US, _microseconds(ends - end)) or Decimal(0) if running else Decimal(0)
    return part + ahead


def _owners(row: Mapping[str, Any]) -> set[tuple[str | None, str | None]]:
    owners: set[tuple[str | None, str | None]] = {(None, None)}
    if row["value"] is not None:
        owners.add((row["dimension"], row["value"]))
    return owners | {(name, row[column]) for name, column in _SCOPED.items() if row[column] is not None}


def _last_moment(end: datetime) -> datetime:
    return end - timedelta(microseconds=1)


def _microseconds(span: timedelta) -> int:
    return span // timedelta(microseconds=1)
