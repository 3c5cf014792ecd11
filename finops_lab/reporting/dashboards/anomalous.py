"""The anomalies of a month's daily spend, as dashboards show them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import polars as pl

from finops_lab.calendar import add_months
from finops_lab.money import MONEY
from finops_lab.reporting.dashboards.board import Board
from finops_lab.reporting.section import money
from finops_lab.tables import Table, money_table
from finops_lab.watching import anomalies
from finops_lab.wording import plural

__all__ = ["Anomalous", "anomalous", "days_words"]

_MOST = 10


@dataclass(frozen=True)
class Anomalous:
    """What to say and show of a month's anomalies.

    Attributes
    ----------
    said : str
        A sentence, with a space before it.
    parts : tuple of Table
        The table, where there are any.
    values : list of dict, optional
        The events behind it; None where the month was not looked at.
    """

    said: str
    parts: tuple[Table, ...] = ()
    values: list[dict[str, Any]] | None = None


def anomalous(board: Board) -> Anomalous:
    """Show the ten anomalies of the month with the most money at stake.

    Of effective cost of use, by provider, service, team, model and feature; a part of another anomaly is
    not one of its own. What was found is kept in the lake.
    """
    lab, first = board.review.lab, board.month
    whole = anomalies(lab, with_telemetry=False)
    if first not in whole.looked_at:
        return Anomalous(" Anomalies were not looked for: there are too few days before to judge these by.")
    found = whole.between(first, add_months(first, 1) - timedelta(days=1)).roots
    found = found.filter(
        pl.col("first") < board.end, pl.col("excess_amount").is_not_null(), pl.col("kind") == "spend"
    )
    if found.is_empty():
        return Anomalous(f" No anomaly of daily spend in {board.review.month_name}.", values=[])
    # A table has one currency: the one that most are in, the first by name where as many are.
    currency = (
        found["BillingCurrency"]
        .value_counts()
        .sort("count", "BillingCurrency", descending=[True, False])["BillingCurrency"][0]
    )
    mine = found.filter(pl.col("BillingCurrency") == currency)
    top = mine.row(0, named=True)
    said = f" **{plural(found.height, 'anomaly')} of daily spend**, the largest"
    said += (
        f" {money(abs(top['excess_amount']), currency)} {'above' if top['excess_amount'] > 0 else 'below'}"
    )
    said += f" what was expected, from {top['first']:%-d %b} on."
    return Anomalous(said, (_table(board, mine, found.height, currency),), mine.head(_MOST).to_dicts())


def days_words() -> pl.Expr:
    """Write the days of events: one, or the first and the last.

    Examples
    --------
    >>> from datetime import datetime
    >>> span = {"first": [datetime(2026, 10, 12)] * 2, "last": [datetime(2026, 10, 12, 5), datetime(2026, 10, 16)]}
    >>> pl.DataFrame(span).select(days_words()).to_series().to_list()
    ['2026-10-12', '2026-10-12 to 10-16']
    """
    later = pl.col("last").dt.date() > pl.col("first").dt.date()
    return pl.concat_str(
        pl.col("first").dt.strftime("%Y-%m-%d"),
        pl.when(later).then(pl.col("last").dt.strftime("%m-%d")),
        separator=" to ",
        ignore_nulls=True,
    )


def _table(board: Board, events: pl.DataFrame, of: int, currency: str) -> Table:
    shown = events.head(_MOST)
    whose = pl.concat_str(pl.col("dimension"), pl.col("value"), separator=" ", ignore_nulls=True)
    # What was expected is a statistic: it becomes a decimal to be shown.
    rows = shown.select(
        whose.alias("what"),
        days_words().alias("days"),
        pl.col("actual", "expected").round(6).cast(MONEY),
        pl.col("excess_amount").alias("at_stake"),
        "status",
    )
    whole = board.review.decimals if currency == board.review.currency else 0
    rest = of - shown.height
    return money_table(
        rows,
        title=f"Anomalies of daily spend, {board.review.month_name}",
        subtitle="Most money at stake first; effective cost of use" + (f"; {rest} more" if rest else ""),
        id="anomalies",
        currency=currency,
        money_columns=dict.fromkeys(("actual", "expected", "at_stake"), whole),
        labels={"what": "What", "days": "Days", "at_stake": "Actual less expected"},
        unknown="first charges: nothing was expected",
    )
