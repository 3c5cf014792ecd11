"""What the command line prints of budgets."""

from __future__ import annotations

import json
import sys
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from finops_lab.errors import printable
from finops_lab.money import format_money

if TYPE_CHECKING:
    from finops_lab.budgeting.budgets import Budgets

__all__ = ["as_json", "print_budgets"]

_STYLES = {"over": "bold red", "at risk": "red", "watch": "yellow", "on track": "green", "kept": "green"}


def print_budgets(found: Budgets, period: str) -> None:
    """Print where each budget stands, the alerts, and the latest changes.

    Parameters
    ----------
    found : Budgets
        What became of a lab's budgets.
    period : str
        ``month``, ``quarter`` or ``year``.
    """

    def money(value: float | Decimal | None) -> str:
        # Statistics become decimals for display only.
        exact = Decimal(f"{value:.2f}") if isinstance(value, float) else value
        return "—" if exact is None else format_money(exact, found.currency, decimals=0)

    console = Console() if sys.stdout.isatty() else Console(width=200, soft_wrap=True)
    rows = found.status.filter(pl.col("period") == period)
    table = Table(title=f"Budgets of the {period} of {found.month:%Y-%m}, as of {found.at}")
    headings = ("budget of", "budget", "spent", "expected", "chance to go over", "pace", "used up", "state")
    for place, name in enumerate(headings):
        table.add_column(
            name, overflow="fold", no_wrap=place == 0, justify="right" if 0 < place < 6 else "left"
        )
    for row in rows.iter_rows(named=True):
        style = _STYLES.get(row["state"])
        state = f"[{style}]{row['state']}[/{style}]" if style else row["state"]
        table.add_row(
            escape(printable(row["name"])),
            money(row["budget"]),
            money(row["actual"]),
            money(row["expected"]),
            "—" if row["probability"] is None else f"{row['probability']:.0%}",
            "—" if row["pace"] is None else f"{row['pace']:.2f}",
            str(row["used_up"] or "—"),
            state,
        )
    console.print(table)
    for row in found.alerts.iter_rows(named=True):
        above = "" if row["above"] is None or row["above"] <= 0 else f", {money(row['above'])} above it"
        words = ", ahead of its plan since" if "likely" in row["what"] else " since"
        since = f"{words} {row['since']}" if row["since"] else ""
        said = f"{row['severity']}: {row['name']}, {row['period']}: {row['what']}{since}{above}"
        console.print(printable(said), markup=False, highlight=False)
    for row in found.changes.head(5).iter_rows(named=True):
        who = f" by {row['approved_by']}" if row["approved_by"] else ""
        said = (
            f"changed {row['approved']}{who}: {row['name']}, {row['first']:%Y-%m} to {row['last']:%Y-%m}: "
            f"{money(row['before'])} to {money(row['after'])} a month"
        )
        console.print(printable(said), markup=False, highlight=False)


def as_json(found: Budgets) -> str:
    """Write everything as JSON: amounts as text, so that they stay exact.

    Parameters
    ----------
    found : Budgets
        What became of a lab's budgets.
    """

    def plain(value: Any) -> Any:
        if isinstance(value, Decimal):
            return format(value.normalize() if value else Decimal(0), "f")
        return value.isoformat() if isinstance(value, date) else value

    frames = {name: getattr(found, name) for name in ("status", "alerts", "checks", "changes")}
    told: dict[str, Any] = {
        "month": f"{found.month:%Y-%m}",
        "at": found.at.isoformat(),
        "currency": found.currency,
    }
    told |= {
        name: [{key: plain(value) for key, value in row.items()} for row in frame.iter_rows(named=True)]
        for name, frame in frames.items()
    }
    return json.dumps(told, indent=2, ensure_ascii=False)
