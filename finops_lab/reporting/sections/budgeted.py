"""Budgets: where each stands, what to do now, what approvals changed, and how they burn down."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from finops_lab.budgeting.budgets import LEAST_MONTHS
from finops_lab.calendar import format_month
from finops_lab.charts import burn_down_chart
from finops_lab.reporting.section import MOST, exact, foremost, money, of_all
from finops_lab.tables import Table, money_table

if TYPE_CHECKING:
    from finops_lab.budgeting.budgets import Budgets
    from finops_lab.reporting.monthly import Review

__all__ = ["finding", "parts", "values"]

_BURNING = ("over", "at risk")
_HELD = 0.6  # of past months inside the 80% intervals; below it their chances are told with a caveat


def finding(review: Review) -> str:
    """Say how many budgets are in danger over the year, and which is the worst."""
    budgets = review.budgets
    year = budgets.status.filter(pl.col("period") == "year", pl.col("budget").is_not_null())
    if year.is_empty():
        return ""
    worst = year.filter(pl.col("state").is_in(_BURNING)).sort(
        "expected_above", "name", descending=[True, False]
    )
    if worst.is_empty():
        return (
            f" Of {year.height} budgets of {review.month.year} none is more likely than not to be exceeded."
        )
    row = worst.row(0, named=True)
    said = (
        f" Of {year.height} budgets of {review.month.year}, {worst.height} "
        f"{'is' if worst.height == 1 else 'are'} over or more likely than not to be exceeded; "
        f"**{row['name']}** by most"
    )
    if row["expected_above"] is not None:
        above, budget = (money(row[n], review.currency) for n in ("expected_above", "budget"))
        said += f", {above} expected above {budget}"
    return said + (f", used up on {row['used_up']}." if row["used_up"] else ".") + _doubt(review)


def _doubt(review: Review) -> str:
    """Say so where the intervals that chances are read from did not hold in the past."""
    if review.panel(None).height < LEAST_MONTHS:
        return ""
    judged = review.outlook.backtest.filter(
        pl.col("level") == "total", pl.col("model") == "combination", pl.col("coverage_80") < _HELD
    )
    for held, bias in judged.select("coverage_80", "bias").iter_rows():
        way = (
            ""
            if bias is None
            else f", and forecasts were too {'high' if bias > 0 else 'low'} by {abs(bias):.0%}"
        )
        return (
            f" **Take these chances with doubt**: on past months the forecast's 80% intervals held {held:.0%} of the "
            f"time{way}."
        )
    return ""


def parts(review: Review) -> tuple[object, ...]:
    """Return the tables and charts; none where the month's year has no budget."""
    budgets = review.budgets
    if budgets.status.filter(pl.col("budget").is_not_null()).is_empty():
        return ()
    shown: list[object] = [_months_table(review, budgets), _year_table(review, budgets)]
    shown += [] if budgets.alerts.is_empty() else [_alerts(review, budgets)]
    shown += _burning(review, budgets)
    shown += [] if budgets.checks.is_empty() else [_checks(review, budgets)]
    shown += [] if budgets.changes.is_empty() else [_changes(review, budgets)]
    return tuple(shown)


def values(review: Review) -> dict[str, object]:
    """Return the figures for the review's JSON."""
    budgets = review.budgets
    frames = ("status", "alerts", "checks", "changes")
    return {name: getattr(budgets, name).to_dicts() for name in frames}


def _months_table(review: Review, budgets: Budgets) -> Table:
    """Write the month of each budget, and what is spent without one."""
    month = budgets.status.filter(pl.col("period") == "month")
    shown = foremost(month, pl.col("actual").abs(), "name").select(
        "name", "budget", "actual", "share_spent", "state"
    )
    return money_table(
        shown,
        title=f"Budgets of {review.month_name}",
        subtitle=of_all(
            "budgets with most spend", month.height, beside="Those of different dimensions overlap"
        ),
        id="budgets",
        currency=review.currency,
        money_columns=dict.fromkeys(("budget", "actual"), review.decimals),
        percent_columns=["share_spent"],
        labels={"name": "Budget of", "budget": "Budget", "actual": "Spent", "share_spent": "Of it spent"},
        unknown="no budget, or not known",
    )


def _year_table(review: Review, budgets: Budgets) -> Table:
    """Write what is expected of each budget by the end of the year."""
    year = budgets.status.filter(pl.col("period") == "year", pl.col("budget").is_not_null())
    columns = {
        "name": "Budget of",
        "budget": "Budget",
        "actual": "Spent so far",
        "pace": "Pace",
        "expected": "Expected",
        "probability": "Chance to go over",
        "used_up": "Used up",
        "state": "State",
    }
    shown = foremost(year, pl.col("budget").abs(), "name")
    return money_table(
        exact(shown, "expected").select(list(columns)),
        title=f"Budgets of {review.month.year}: what is expected of them",
        subtitle=of_all(
            "largest budgets",
            year.height,
            beside="Their months in this year; spent so far and forecast of the rest",
        ),
        id="budgets-year",
        currency=review.currency,
        money_columns=dict.fromkeys(("budget", "actual", "expected"), review.decimals),
        percent_columns={"probability": 0},
        number_columns={"pace": 2},
        labels=columns,
        unknown="not expected in this year, or not known",
        note="Pace: spent over what was planned to be spent so far. At risk: more likely than not to go over. "
        "Watch: a chance above 20%, or much of it spent ahead of pace.",
    )


def _alerts(review: Review, budgets: Budgets) -> Table:
    """Write the worst alert of each budget."""
    worst = budgets.alerts.unique("name", keep="first", maintain_order=True)
    year = str(review.month.year)
    names = {"month": review.month_name, "quarter": f"Q{(review.month.month + 2) // 3} {year}", "year": year}
    shown = exact(worst, "above").select(
        "name", "severity", pl.col("period").replace(names), "what", "since", "above", "used_up"
    )
    return money_table(
        shown.head(MOST),
        title="Budget alerts",
        subtitle=of_all("budgets with an alert", shown.height, beside="The worst of each budget"),
        id="budget-alerts",
        currency=review.currency,
        money_columns={"above": review.decimals},
        labels={
            "name": "Budget",
            "severity": "Calls for",
            "period": "Of",
            "what": "Alert",
            "since": "Since",
            "above": "Expected above it",
            "used_up": "Used up",
        },
        unknown="not ahead of its plan so far, or lasts",
        note="Page: over budget, or more than 80% likely to be. Ticket: more likely than not, or 80% spent ahead of "
        "pace. Note: 50% spent ahead of pace. Since: passed, or ahead of plan without a break.",
    )


def _burning(review: Review, budgets: Budgets) -> list[object]:
    """Draw the year of all spend, and of the budget with most money expected above it."""
    year = budgets.status.filter(pl.col("period") == "year", pl.col("budget").is_not_null())
    named = year.filter(pl.col("dimension").is_not_null(), pl.col("state").is_in(_BURNING))
    worst = named.sort("expected_above", "name", descending=[True, False], nulls_last=True).head(1)
    drawn = pl.concat([year.filter(pl.col("dimension").is_null()), worst])
    return [
        burn_down_chart(
            budgets.burn_down(row["dimension"], row["key"]),
            title=f"Budget of {row['name']}, {_months(row['first'], row['last'])}",
            subtitle=f"{review.currency}, cumulated {review.metric_name}; shaded: 80% and 95% prediction intervals",
            used_up=row["used_up"],
            unit=review.currency,
        )
        for row in drawn.iter_rows(named=True)
        if row["actual"] is not None
    ]


def _months(first: object, last: object) -> str:
    return f"{first:%B} to {last:%B %Y}" if first != last else f"{last:%B %Y}"


def _checks(review: Review, budgets: Budgets) -> Table:
    shown = budgets.checks.filter(pl.col("period") == "month").select(
        "dimension", "parts", "whole", "left", "unbudgeted", "unallocated"
    )
    if shown.is_empty():
        shown = budgets.checks.select("dimension", "parts", "whole", "left", "unbudgeted", "unallocated")
    money_columns = ("parts", "whole", "left", "unbudgeted", "unallocated")
    return money_table(
        shown,
        title=f"Do budgets of parts fit into that of all spend, {review.month_name}",
        id="budget-checks",
        currency=review.currency,
        money_columns=dict.fromkeys(money_columns, review.decimals),
        labels={
            "dimension": "By",
            "parts": "Budgets together",
            "whole": "Budget of all spend",
            "left": "Left",
            "unbudgeted": "Spent without a budget",
            "unallocated": "Spent by nobody",
        },
        unknown="there is no such budget, or nothing such was spent",
    )


def _changes(review: Review, budgets: Budgets) -> Table:
    changed = budgets.changes
    months = [
        format_month(first) if first == last else f"{format_month(first)} to {format_month(last)}"
        for first, last in changed.select("first", "last").iter_rows()
    ]
    shown = changed.with_columns(pl.Series("months", months, dtype=pl.String)).select(
        "name", "months", "before", "after", "change", "change_in_all", "approved", "approved_by", "reason"
    )
    money_columns = ("before", "after", "change", "change_in_all")
    return money_table(
        shown.head(MOST),
        title="What changed since the last budget",
        subtitle=of_all("latest changes", shown.height, beside="Amounts of a month, latest approval first"),
        id="budget-changes",
        currency=review.currency,
        money_columns=dict.fromkeys(money_columns, review.decimals),
        labels={"name": "Budget", "change_in_all": "Change, all months"},
        unknown="there was no budget before, or the entry does not say",
    )
