"""What the command line prints of a planned feature."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from decimal import Decimal

import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from finops_lab.errors import printable
from finops_lab.money import format_money
from finops_lab.planning.feature_budget import FeatureBudget
from finops_lab.planning.sliders import shown

__all__ = ["print_feature_budget"]

_MOST = 8


def print_feature_budget(budget: FeatureBudget) -> None:
    """Print the months, what they are made of and depend on, break-even and other models.

    Parameters
    ----------
    budget : FeatureBudget
        From `finops_lab.feature_budget`.
    """
    console = Console() if sys.stdout.isatty() else Console(width=160, soft_wrap=True)
    plan, total = budget.plan, budget.figures.total
    heads = ("", "at likely values", "P10", "P50", "P90")
    months = [
        (f"{row['month']:%Y-%m}", *_amounts(row))
        for row in budget.months.filter(component="total").iter_rows(named=True)
    ]
    parts = [
        (row["component"].replace("_", " "), *_amounts(row)) for row in budget.horizon.iter_rows(named=True)
    ]
    _table(console, f"{plan.name}, USD per month", heads, months)
    _table(console, f"{plan.months} months, USD", heads, parts)
    _say(console, f"more than at likely values in {budget.figures.chance_above:.0%} of {plan.draws:,} draws")
    for row in budget.units.filter(pl.col("month").is_null()).iter_rows(named=True):
        _say(console, _break_even(row))
    if budget.tornado.height:
        shares = dict(budget.indices.select("driver", "total_order").iter_rows())
        rows: list[tuple[str, ...]] = []
        for row in budget.tornado.head(_MOST).iter_rows(named=True):
            ends = "its curves"
            if row["low"] is not None:
                ends = f"{shown(row['low'], row['unit'], bare=True)} to {shown(row['high'], row['unit'])}"
            low, high = (format_money(row[name], "USD", decimals=0) for name in ("at_low", "at_high"))
            rows.append((row["label"], ends, low, high, f"{max(shares[row['driver']], 0.0):.0%}"))
        _table(
            console, "What it depends on", ("driver", "range", "at low", "at high", "of the variance"), rows
        )
    if budget.models.height > 1:
        compared = [
            (row["model"], row["provider"] or "", row["status"])
            if row["amount"] is None
            else (
                row["model"],
                row["provider"] or "",
                *_amounts(row),
                format_money(row["difference"], "USD", decimals=0),
            )
            for row in budget.models.iter_rows(named=True)
        ]
        wide = ("model", "provider", *heads[1:], "against the plan's")
        _table(console, "The same use on other models, USD", wide, compared)
    if budget.analogues is not None:
        for row in budget.analogues.filter("used").iter_rows(named=True):
            _say(console, f"adoption as of {row['feature']}: {row['why']}")
    _say(console, f"total {format_money(total['amount'], 'USD')}; prices: {_origins(budget)}")


def _amounts(row: dict[str, object]) -> tuple[str, ...]:
    amount = row["amount"]
    assert isinstance(amount, Decimal)
    statistics = (Decimal(str(row[name])) for name in ("p10", "p50", "p90"))
    return format_money(amount, "USD"), *(format_money(value, "USD", decimals=0) for value in statistics)


def _break_even(row: dict[str, object]) -> str:
    unit = "customer's month" if row["unit"] == "customer" else row["unit"]
    if row["amount"] is None or row["p50"] is None:
        return f"a {unit} has no cost: there are months without use"
    amount, *others = (Decimal(str(row[name])) for name in ("amount", "p50", "p90"))
    places = min(max(3 - amount.adjusted(), 2), 8)
    cost, median, high = (format_money(value, "USD", decimals=places) for value in (amount, *others))
    text = f"a {unit} costs {cost} (P50 {median}, P90 {high})"
    if row["revenue"] is None:
        return text
    revenue = format_money(Decimal(str(row["revenue"])), "USD", decimals=places)
    return f"{text}; it brings {revenue}, which covers it in {row['chance_covered']:.0%} of the draws"


def _origins(budget: FeatureBudget) -> str:
    return ", ".join(sorted(set(budget.prices["origin"])))


def _table(console: Console, title: str, heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    table = Table(title=escape(printable(title)), title_justify="left")
    for n, head in enumerate(heads):
        right = n and head not in ("provider", "range")
        table.add_column(head, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*[escape(printable(text)) for text in row])
    console.print(table)


def _say(console: Console, text: str) -> None:
    console.print(printable(text), markup=False, highlight=False)
