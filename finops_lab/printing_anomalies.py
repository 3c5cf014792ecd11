"""What the command line prints and writes of anomalies and alerts."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from finops_lab.alerting.payloads import record
from finops_lab.errors import printable
from finops_lab.money import format_money
from finops_lab.wording import metric_words

__all__ = ["figure", "money_at_stake", "print_alerts", "print_anomalies", "what", "when", "write_json"]

_GRAINS = {"day": timedelta(days=1), "hour": timedelta(hours=1), "5m": timedelta(minutes=5)}
_STYLES = {
    "page": "bold red",
    "ticket": "yellow",
    "confirmed": "red",
    "false alarm": "dim",
    "expected": "dim",
}


def when(event: Mapping[str, Any]) -> str:
    """Say when an event was: days, or moments in UTC.

    Examples
    --------
    >>> from datetime import datetime
    >>> day = datetime(2026, 10, 12)
    >>> when({"first": day, "last": day + timedelta(days=4), "grain": "day"})
    '2026-10-12 to 10-16'
    >>> when({"first": day, "last": day + timedelta(hours=2), "grain": "hour"})
    '2026-10-12 00:00 to 03:00'
    """
    first, last = event["first"], event["last"]
    if event["grain"] == "day":
        return f"{first:%Y-%m-%d}" + (f" to {last:%m-%d}" if last > first else "")
    end = last + _GRAINS[event["grain"]]
    return (
        f"{first:%Y-%m-%d %H:%M} to {end:%H:%M}"
        if end.date() == first.date()
        else (f"{first:%Y-%m-%d %H:%M} to {end:%m-%d %H:%M}")
    )


def what(event: Mapping[str, Any]) -> str:
    """Say what an event is of.

    Examples
    --------
    >>> what({"metric": "EffectiveCost", "dimension": "team", "value": "search"})
    'Effective cost of team search'
    >>> what({"metric": "p95_ms", "dimension": "total", "value": None})
    'P95 latency of everything'
    """
    whose = "everything" if event["value"] is None else f"{event['dimension']} {event['value']}"
    return f"{metric_words(str(event['metric']))} of {whose}"


def figure(value: float | None, event: Mapping[str, Any]) -> str:
    """Write a figure of an event in its unit; a dash where it is not known.

    Examples
    --------
    >>> figure(1234.5, {"unit": "USD", "BillingCurrency": "USD"}), figure(0.034, {"unit": "ratio"})
    ('$1,234', '3.40%')
    >>> figure(3.0, {"unit": "changes"}), figure(1234.5, {"unit": "hours"})
    ('3 changes', '1,234 hours')
    """
    if value is None:
        return "—"
    if event["unit"] == "ratio":
        return f"{value:.2%}"
    if event["unit"] == event.get("BillingCurrency") and event["unit"] is not None:
        # A statistic becomes a decimal for display only.
        return format_money(Decimal(f"{value:.2f}"), event["unit"], decimals=0)
    written = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{written} {event['unit'] or ''}".rstrip()


def money_at_stake(event: Mapping[str, Any]) -> str:
    """Write the money at stake with its sign; a dash where nobody can price it."""
    amount, currency = event["excess_amount"], event["BillingCurrency"]
    if amount is None:
        return "—"
    return ("+" if amount > 0 else "") + format_money(amount, currency or "USD", decimals=0)


def print_anomalies(
    events: pl.DataFrame, sentences: Mapping[str, str], *, title: str, left_out: int = 0
) -> None:
    """Print events as a table, each with its sentence below.

    Parameters
    ----------
    events : polars.DataFrame
        `finops_lab.anomalies.event.EVENTS`, in the order to show.
    sentences : mapping of str to str
        By id.
    title : str
        Heading.
    left_out : int
        Events that are not shown.
    """
    console = _console()
    table = Table(title=title)
    for place, name in enumerate(("id", "when (UTC)", "what", "actual", "expected", "at stake", "status")):
        table.add_column(name, overflow="fold", justify="right" if place in (3, 4, 5) else "left")
    for row in events.rows(named=True):
        table.add_row(
            row["id"], when(row), escape(printable(what(row))), figure(row["actual"], row),
            figure(row["expected"], row), money_at_stake(row), _styled(row["status"]),
        )  # fmt: skip
    console.print(table)
    for row in events.rows(named=True):
        if said := sentences.get(row["id"]):
            console.print(printable(f"{row['id']}: {said}"), markup=False, highlight=False)
    if left_out:
        console.print(f"and {left_out} more with less money at stake: --top shows more, --json writes all")


def print_alerts(alerts: pl.DataFrame, *, title: str) -> None:
    """Print alerts: those to be told first, then how many are held back and why.

    Parameters
    ----------
    alerts : polars.DataFrame
        `finops_lab.alerting.schemas.ALERTS`.
    title : str
        Heading.
    """
    console = _console()
    told = alerts.filter(pl.col("state").is_in(["send", "waiting", "quiet"]))
    table = Table(title=title)
    for name in ("severity", "since (UTC)", "rule", "at stake", "state", "id"):
        table.add_column(name, overflow="fold", justify="right" if name == "at stake" else "left")
    for row in told.rows(named=True):
        amount = {"excess_amount": row["amount"], "BillingCurrency": row["BillingCurrency"]}
        table.add_row(
            _styled(row["severity"]), f"{row['begin']:%Y-%m-%d %H:%M}", escape(printable(row["rule"] or "")),
            money_at_stake(amount), row["state"], row["id"],
        )  # fmt: skip
    console.print(table)
    for row in told.rows(named=True):
        said = f"{row['severity']} {row['id']}: {row['sentence']} ({row['why']})"
        console.print(printable(said), markup=False, highlight=False)
    rest = alerts.filter(~pl.col("id").is_in(told["id"].implode()))
    for state, number in rest.group_by("state").len().sort("state").rows():
        console.print(f"{number} {state}", markup=False, highlight=False)


def write_json(
    out: Path, frame: pl.DataFrame, known: Mapping[str, Any], sentences: Mapping[str, str], name: str
) -> None:
    """Write rows as JSON: amounts as text so that they stay exact, moments in UTC; whole or not at all.

    Parameters
    ----------
    out : pathlib.Path
        The file.
    frame : polars.DataFrame
        Events or alerts.
    known : mapping
        What stands before them, such as the lab's name.
    sentences : mapping of str to str
        By id; of rows without one ``sentence`` stays as it is.
    name : str
        What the rows are called.
    """
    rows = [record(row) for row in frame.rows(named=True)]
    for row in rows:
        if row["id"] in sentences:
            row["sentence"] = sentences[row["id"]]
    text = json.dumps({**known, name: rows}, indent=2, ensure_ascii=False, allow_nan=False)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial")
    partial.write_text(f"{text}\n", encoding="utf-8")
    partial.replace(out)


def _console() -> Console:
    return Console() if sys.stdout.isatty() else Console(width=200, soft_wrap=True)


def _styled(word: str) -> str:
    style = _STYLES.get(word)
    return f"[{style}]{word}[/{style}]" if style else word
