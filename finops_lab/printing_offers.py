"""What the command line prints of commitments, credits and what-if prices."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from finops_lab.budgeting.commitments import Commitments
from finops_lab.budgeting.what_if import WhatIf
from finops_lab.errors import printable
from finops_lab.money import exact_sum, format_money
from finops_lab.planning.credits import Cliff
from finops_lab.planning.repricing import BUCKETS
from finops_lab.printing import plain

__all__ = ["as_json", "print_cliff", "print_commitments", "print_what_if"]

_NONE = "—"


def as_json(**frames: pl.DataFrame | Sequence[str] | Mapping[str, pl.DataFrame]) -> str:
    """Write frames as one JSON object: amounts as text with all their digits, dates as ISO 8601.

    Examples
    --------
    >>> as_json(rows=pl.DataFrame({"saving": [Decimal("1.50")]}), notes=("a",))
    '{"rows": [{"saving": "1.5"}], "notes": ["a"]}'
    """
    return json.dumps({name: _plain(frame) for name, frame in frames.items()}, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, pl.DataFrame):
        return [{name: _plain(one) for name, one in row.items()} for row in value.iter_rows(named=True)]
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, Decimal):
        return plain(value)
    return value.isoformat() if isinstance(value, date | datetime) else value


def print_what_if(found: WhatIf) -> None:
    """Print scenarios, beside the list price of the calls as made and beside the bill.

    Parameters
    ----------
    found : WhatIf
        From `finops_lab.budgeting.what_if.what_if`.
    """
    console = _console()
    names = found.scenarios.columns
    by = names[1 : names.index("calls")]
    rows = [
        (
            row["scenario"],
            *(row[name] or "unknown" for name in by),
            _count(row["calls"]),
            _count(exact_sum(row[name] for name in BUCKETS)),
            _usd(row["actual_list_usd"]),
            _usd(row["repriced_usd"]),
            _usd(row["difference_usd"]),
            _count(row["unpriced_tokens"]) + (f" ({row['reason']})" if row["reason"] else ""),
        )
        for row in found.scenarios.iter_rows(named=True)
    ]
    headings = (
        "scenario",
        *by,
        "calls",
        "tokens",
        "as made",
        "scenario",
        "difference",
        "tokens without price",
    )
    _table(console, f"What if: list prices of the calls of {found.month:%Y-%m}", headings, rows)
    if found.bill.height:
        rows = [
            (
                row["scenario"],
                row["model"] or "unknown",
                _usd(row["billed_usd"]),
                _usd(row["repriced_usd"]),
                _usd(row["difference_to_billed_usd"]),
                _NONE if row["factor"] is None else f"x {row['factor']:.4f}",
                row["reason"] or "",
            )
            for row in found.bill.iter_rows(named=True)
        ]
        headings = ("scenario", "model", "billed", "scenario", "difference", "logs to bill", "why not")
        _table(console, "At the volume of the bill", headings, rows)
    if found.hosted.height:
        rows = [
            (
                row["model"],
                _money(row["money"], row["currency"]),
                _count(row["tokens"]),
                _share(row["utilization"]),
                _money(row["money_per_mtok"], row["currency"], 4),
                _share(row["at_utilization"]),
                _money(row["money_per_mtok_at"], row["currency"], 4),
                row["reason"] or "",
            )
            for row in found.hosted.iter_rows(named=True)
        ]
        headings = (
            "model",
            "money",
            "tokens",
            "in use",
            "a million tokens",
            "what if in use",
            "then",
            "why not",
        )
        _table(console, "On machines of one's own", headings, rows)
    for row in found.moved.iter_rows(named=True):
        text = f"{row['model']}: {_count(row['tokens'])} tokens would cost {_usd(row['money'])} on machines of your own"
        text += f", {_usd(row['money_at'])} at the other utilization" if row["money_at"] is not None else ""
        console.print(printable(text), markup=False, highlight=False)
    _say(console, found.notes)


def print_commitments(found: Commitments, currency: str) -> None:
    """Print what is held, what is offered and why it is recommended or not, and what runs out.

    Parameters
    ----------
    found : Commitments
        From `finops_lab.budgeting.commitments.commitments`.
    currency : str
        ISO 4217 code of the amounts of offers.
    """
    console = _console()
    now = found.held.filter(pl.col("month") == found.month)
    rows = [
        (
            row["commitment"],
            _money(row["paid"], row["currency"]),
            _share(row["utilization"]),
            _money(row["unused"], row["currency"]),
            _money(row["saving"], row["currency"]),
            f"{row['paid_until']}" if row["paid_until"] else _NONE,
        )
        for row in now.iter_rows(named=True)
    ]
    headings = ("commitment", "paid", "used", "unused", "saved", "paid until")
    _table(console, f"Held in {found.month:%Y-%m}", headings, rows)
    offers = [
        (
            row["commitment"],
            f"{row['term_months']} months",
            f"{row['level'].normalize():f}",
            f"{row['break_even']:.0%}",
            _share(row["utilization"]),
            _money(row["saving"], currency, 0),
            f"{_money(row['saving_lo'], currency, 0)} to {_money(row['saving_hi'], currency, 0)}",
            _money(row["regret"], currency, 0),
            row["reason"],
        )
        for row in found.offers.iter_rows(named=True)
    ]
    titles = (
        "offer", "term", "level", "break-even use", "expected use", "expected saving", "80 % interval", "regret",
        "recommended?",
    )  # fmt: skip
    _table(console, "On offer, over the whole term", titles, offers)
    for name, rungs in found.ladders.items():
        steps = ", ".join(
            f"{level.normalize():f} from {first:%Y-%m}"
            for first, level in rungs.select("first", "level").iter_rows()
        )
        console.print(printable(f"ladder of {name}: {steps}"), markup=False, highlight=False)
    for name, burns in found.burn_downs.items():
        for use, burn in burns.items():
            end = f"used up on {burn.exhausted}" if burn.exhausted else f"expires on {burn.expires}"
            lost = f", {_money(burn.forfeited_amount, currency)} forfeited" if burn.forfeited else ""
            console.print(printable(f"{name}, {use} use: {end}{lost}"), markup=False, highlight=False)
    _say(console, found.notes)


def print_cliff(found: Cliff, currency: str) -> None:
    """Print credits and when they end.

    Parameters
    ----------
    found : Cliff
        From `finops_lab.budgeting.credits.credits_cliff`.
    currency : str
        ISO 4217 code of the amounts.
    """
    console = _console()
    rows = [
        (
            row["credit"],
            row["ProviderName"],
            _money(row["a_month"], currency),
            _money(row["credited"], currency),
            f"{row['ends']:%Y-%m}" if row["ends"] else "unknown: write [[credits]]",
            row["basis"],
        )
        for row in found.credits.iter_rows(named=True)
    ]
    if not rows:
        return
    _table(console, "Credits", ("credit", "provider", "a month", "in all", "last month", "known from"), rows)
    for month, names, amount, passed in found.ends.iter_rows():
        verb = "is" if passed else "will be"
        text = f"from {month:%Y-%m} on the bill of a month {verb} {_money(amount, currency)} higher without {names}"
        console.print(printable(text), markup=False, highlight=False)


def _count(value: Decimal | None) -> str:
    if value is None:
        return _NONE
    for size, suffix in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if abs(value) >= size:
            return f"{value / size:,.1f}{suffix}"
    return f"{value:,.0f}"


def _share(value: Decimal | float | None) -> str:
    return _NONE if value is None else f"{value:.1%}"


def _money(value: Decimal | None, currency: str, decimals: int = 2) -> str:
    return _NONE if value is None else format_money(value, currency, decimals=decimals)


def _usd(value: Decimal | None) -> str:
    return _money(value, "USD")


def _say(console: Console, notes: Sequence[str]) -> None:
    for note in notes:
        console.print(printable(f"note: {note}"), markup=False, highlight=False)


def _console() -> Console:
    # Piped, rich knows no width and would fold names at a few characters.
    return Console() if sys.stdout.isatty() else Console(width=220, soft_wrap=True)


def _table(console: Console, title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(title=title)
    for place, name in enumerate(headings):
        table.add_column(name, overflow="fold", no_wrap=place == 0)
    for row in rows:
        table.add_row(*[escape(printable(cell)) for cell in row])
    console.print(table)
