"""Error budgets on the on-call dashboard: what is spent, when it runs out, and what is in doubt."""

from __future__ import annotations

import polars as pl

from finops_lab.charts.service_levels import budget_heat_map
from finops_lab.reporting.dashboards.board import Board, utc
from finops_lab.reporting.section import MOST, Section, foremost, of_all
from finops_lab.tables import Table, money_table
from finops_lab.wording import plural

__all__ = ["error_budgets"]

# Below as many bad events a budget is told with a decimal.
_FEW = 10


def error_budgets(board: Board, budgets: pl.DataFrame, calendar: pl.DataFrame) -> Section:
    """Build the section.

    Parameters
    ----------
    board : Board
        The dashboard that it is a section of.
    budgets, calendar : polars.DataFrame
        Those of the month's service levels: error budgets, and what each day spent of them.
    """
    shown = budgets.sort(pl.col("spent"), "slo", descending=[True, False], nulls_last=True)
    over = shown.filter(pl.col("spent") >= 1)["slo"].to_list()
    said = (
        f"**{plural(len(over), 'error budget')} spent whole**: {', '.join(over)}."
        if over
        else "**No error budget is spent whole.**"
    )
    held = shown.filter(pl.col("spent") >= 1, pl.col("severity").ne_missing("page"))["slo"].to_list()
    if held:
        said += f" No page for {', '.join(held)}: what is in doubt stands below."
    parts: list[object] = [_budgets(board, shown), *_doubts(board, shown)]
    if calendar["spent"].is_not_null().any():
        calendar = foremost(calendar, pl.col("spent"), "slo")
        parts.append(
            budget_heat_map(calendar, title=f"Error budgets spent by day, {board.review.month_name}")
        )
    return Section("budgets", said, tuple(parts), {"budgets": budgets.to_dicts()})


def _budgets(board: Board, shown: pl.DataFrame) -> Table:
    # Half an evaluation allowed is not none.
    tenths = int((shown["allowed_bad"] < _FEW).any())
    return money_table(
        shown.head(MOST).select(
            "slo",
            "target",
            "total",
            "bad",
            "allowed_bad",
            "spent",
            *utc("exhausted"),
            "exhaustion",
            "severity",
        ),
        title=f"Error budgets of {board.review.month_name}",
        subtitle=of_all(
            "objectives that spent most",
            shown.height,
            beside="A budget is the bad events that the target leaves room for; 100% is all of it",
        ),
        id="error-budgets",
        currency=board.review.currency,
        money_columns=(),
        percent_columns={"target": 1, "spent": 0},
        number_columns={"total": 0, "bad": 0, "allowed_bad": tenths},
        labels={
            "slo": "Objective",
            "total": "Events",
            "bad": "Bad",
            "allowed_bad": "Allowed",
            "spent": "Spent",
            "exhausted": "Runs out (UTC)",
            "exhaustion": "How",
            "severity": "Calls for",
        },
        unknown="does not run out, calls for nothing, or is not known",
    )


def _doubts(board: Board, shown: pl.DataFrame) -> list[Table]:
    """Tell what keeps a spent budget from calling for more."""
    doubted = shown.filter(pl.col("reason").is_not_null())
    if doubted.is_empty():
        return []
    table = money_table(
        doubted.head(MOST).select("slo", "severity", "reason"),
        title="What is in doubt",
        subtitle=of_all(
            "objectives that spent most",
            doubted.height,
            beside="Within chance: a sampled log may see as many bad calls where less is spent",
        ),
        id="error-budget-doubts",
        currency=board.review.currency,
        money_columns=(),
        labels={"slo": "Objective", "severity": "Calls for", "reason": "Because"},
        unknown="calls for nothing",
    )
    return [table]
