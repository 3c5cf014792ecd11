"""What teams pay for the same model, beside each other and beside published prices."""

from __future__ import annotations

import polars as pl

from finops_lab import measuring, pricing
from finops_lab.money import exact_sum
from finops_lab.reporting.dashboards.board import Board
from finops_lab.reporting.section import Section, money
from finops_lab.tables import Table, money_table
from finops_lab.unit_economics.activity import activity
from finops_lab.unit_economics.comparison import against_reference, between_teams, money_and_use

__all__ = ["teams"]

_ROWS = 15
_BY = ("team", "model")
_NONE = "**No two teams** are known to use the same model for 1,000 calls or more each."


def teams(board: Board) -> Section:
    """Build the section.

    Parameters
    ----------
    board : Board
        The dashboard that it is a section of.
    """
    here = board.here
    entries = activity(here.entries, here.rules).filter(x_Activity="inference").collect()
    rows = money_and_use(entries, here.requests, by=_BY, metric=board.review.metric)
    compared = between_teams(rows).filter(pl.col("month") == board.month, pl.col("teams") > 1)
    calls = measuring.requests_of(here.lab).filter(here.within("day"))
    priced = pricing.price(calls, pricing.price_book(here.lab.table("prices")))
    listed = against_reference(rows, priced, by=_BY).filter(pl.col("month") == board.month)
    # Money and calls of nobody need not be of the same traffic.
    known = listed.filter(pl.col("times_reference").is_not_null(), pl.col("team").is_not_null())
    if compared.is_empty() and known.is_empty():
        return board.nothing("teams", _NONE)
    said = _NONE
    if compared.height:
        above = compared["above_best"].sum()
        said = (
            f"**{money(above, board.review.currency)} above what the best team pays** for tokens of the same"
            " model; features differ, so this is where to look, not what can be saved."
        )
    if known.height:
        over = exact_sum(known["above_reference"].to_list())
        side = "above" if over >= 0 else "below"
        said += f" Paid was {money(abs(over), 'USD')} {side} what published prices ask for the same calls."
    parts = [_compared(board, compared)] if compared.height else []
    parts += [_listed(board, known)] if known.height else []
    values = {"teams": compared.to_dicts(), "reference": listed.to_dicts()}
    return Section("teams", said, tuple(parts), values)


def _listed(board: Board, known: pl.DataFrame) -> Table:
    top = known.sort("above_reference", "model", "team", descending=[True, False, False], nulls_last=True)
    return money_table(
        top.head(_ROWS).select(
            "model",
            "team",
            "money",
            "money_per_mtok",
            "reference_per_mtok",
            "times_reference",
            "above_reference",
            "coverage",
        ),
        title=f"Paid against published prices, {board.review.month_name}",
        subtitle="By the dated price book, of the same calls when they were made",
        id="reference",
        currency="USD",
        money_columns={"money": 0, "money_per_mtok": 3, "reference_per_mtok": 3, "above_reference": 0},
        number_columns={"times_reference": 2},
        percent_columns=["coverage"],
        labels={
            "money": "Inference",
            "money_per_mtok": "Per 1M tokens",
            "reference_per_mtok": "Published",
            "times_reference": "Times that",
            "above_reference": "Above it",
            "coverage": "Tokens with a price",
        },
        unknown="not known",
    )


def _compared(board: Board, compared: pl.DataFrame) -> Table:
    top = compared.sort("above_best", "model", "team", descending=[True, False, False], nulls_last=True)
    return money_table(
        top.head(_ROWS).select(
            "model",
            "team",
            "money",
            "calls",
            "money_per_call",
            "money_per_mtok",
            "best_team",
            "times_best",
            "above_best",
        ),
        title=f"What teams pay for the same model, {board.review.month_name}",
        subtitle="Tokens of input and output count alike, so work with long answers looks dear",
        id="compared",
        currency=board.review.currency,
        money_columns={"money": 0, "money_per_call": 5, "money_per_mtok": 3, "above_best": 0},
        number_columns={"calls": 0, "times_best": 2},
        labels={
            "money": "Inference",
            "money_per_call": "Per call",
            "money_per_mtok": "Per 1M tokens",
            "best_team": "Best team",
            "times_best": "Times best",
            "above_best": "Above best",
        },
        unknown="too few calls to compare",
    )
