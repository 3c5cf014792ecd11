"""AI spend per month beside the rest of the bill."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import polars as pl

from finops_lab import valuing
from finops_lab.calendar import add_months, month_name
from finops_lab.charts import spend_trend
from finops_lab.money import MONEY, exact_sum
from finops_lab.reporting.dashboards.board import Board
from finops_lab.reporting.section import change_words, money
from finops_lab.unit_economics.ai_spend import AiSpend
from finops_lab.wording import plural

__all__ = ["AiTrend", "ai_trend"]

_MONTHS = 12
# Short, since they stand beside the last bar.
_BILLED = "billed as AI"
_ELSEWHERE = "other AI"
_POSSIBLE = "possibly AI"
_REST = "not AI"


@dataclass(frozen=True)
class AiTrend:
    """What to say and show of AI spend.

    Attributes
    ----------
    said : str
        Sentences, with a space before them.
    chart : altair.LayerChart
        A bar per month: AI spend and the rest of the bill.
    values : list of dict
        The chart's ``month``, ``group`` and ``amount``, which add up to the bill of the month.
    """

    said: str
    chart: object
    values: list[dict[str, Any]]


def ai_trend(board: Board) -> AiTrend:
    """Show AI spend per month beside the rest of the bill, and say what share of the bill it is.

    Bars are net, as the bill's total: credits and refunds lessen the part that they are of. The share
    is one of charges above zero, as on the optimization page: one of a net sum means nothing.
    """
    review = board.review
    first = add_months(review.month, 1 - _MONTHS)
    found = valuing.ai_spend(review.lab, first, review.month, metric=review.metric)
    months = _by_month(board, found, first)
    known = f"; {review.month_name} has {review.days.words}" if review.days.known else ""
    chart = spend_trend(
        months,
        title="AI spend per month, beside the rest of the bill",
        subtitle=f"{review.metric_name.capitalize()}, last {plural(months['month'].n_unique(), 'month')}; "
        f"other AI is what rules find outside the bill's AI category; above each bar the whole bill{known}",
        unit=review.currency,
        order=(_BILLED, _ELSEWHERE, _POSSIBLE, _REST),
    )
    return AiTrend(_said(board, found, months), chart, months.to_dicts())


def _by_month(board: Board, found: AiSpend, first: date) -> pl.DataFrame:
    sure = pl.when(pl.col("in_ai_category")).then(pl.lit(_BILLED)).otherwise(pl.lit(_ELSEWHERE))
    part = pl.when(pl.col("certain")).then(sure).otherwise(pl.lit(_POSSIBLE))
    parts = (
        found.lines.filter(pl.col("certain").is_not_null())
        .group_by("month", part.alias("group"))
        .agg(pl.col(board.review.metric).sum().alias("amount"))
    )
    # The rest is what is left of the total: converted amounts are rounded, each by itself.
    whole = board.review.panel(None).filter(pl.col("ds") >= first).select(month="ds", whole="y")
    sums = parts.group_by("month").agg(pl.col("amount").sum().alias("ai"))
    rest = whole.join(sums, on="month", how="left").select(
        "month",
        pl.lit(_REST).alias("group"),
        (pl.col("whole") - pl.col("ai").fill_null(0)).cast(MONEY).alias("amount"),
    )
    return pl.concat([parts, rest]).sort("month", "group")


def _said(board: Board, found: AiSpend, months: pl.DataFrame) -> str:
    review, currency = board.review, board.review.currency
    parts = {month: _parts(months, month) for month in (review.month, review.previous)}
    now, before = parts[review.month], parts[review.previous]
    sure, possible = _sure(now), now.get(_POSSIBLE, Decimal(0))
    if not sure and not possible:
        return " **No AI spend was found** in the bill by the rules."
    so_far = " so far" if review.days.known else ""
    said = f" **AI spend was {money(sure, currency)}{so_far}**"
    # Months that have run for as long as one another can be compared.
    if before and not review.days.known:
        said += f", {change_words(sure, _sure(before), currency)} than in {month_name(review.previous)}"
    line = found.months.filter(pl.col("month") == review.month).row(0, named=True)
    if (share := line["certain_share"]) is not None:
        said += f": {share:.1%} of the charges above zero"
    if possible:
        said += f"; {money(possible, currency)} more may be AI"
        if share is not None:
            said += f", which makes at most {line['at_most_share']:.1%}"
    if elsewhere := now.get(_ELSEWHERE):
        said += f". Of AI spend {money(elsewhere, currency)} is billed as something else, such as compute"
    return said + "."


def _parts(months: pl.DataFrame, month: date) -> dict[str, Decimal]:
    return dict(months.filter(pl.col("month") == month).select("group", "amount").iter_rows())


def _sure(parts: dict[str, Decimal]) -> Decimal:
    return exact_sum([parts.get(_BILLED, Decimal(0)), parts.get(_ELSEWHERE, Decimal(0))])
