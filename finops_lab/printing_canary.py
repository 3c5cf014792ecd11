"""What the command line prints of canaries."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from finops_lab.errors import InputError, printable
from finops_lab.tradeoffs.canary import CanaryVerdict
from finops_lab.tradeoffs.canary_plan import CanaryPlan

__all__ = ["print_plan", "print_verdict", "read_outcomes", "write_checks"]

_COLOURS = {"ok": "green", "breached": "bold red", "unknown": "yellow"}
_SLICES = 4


def print_plan(plan: CanaryPlan) -> None:
    """Print what each check needs and how long that takes at each share of traffic.

    Parameters
    ----------
    plan : CanaryPlan
        From `finops_lab.tradeoffs.canary_plan.canary_plan`.
    """
    console = _console()
    needs = [
        (row["check"], _count(row["items"]), _count(row["fixed_items"]), row["of"], row["why"])
        for row in plan.needs.iter_rows(named=True)
    ]
    _table(console, "What each check needs", ("check", "expected", "one look", "of", "why"), needs)
    shares = [
        (
            f"{row['share']:.0%}",
            f"{row['calls_per_day']:,.0f}",
            f"{row['logged_per_day']:,.0f}",
            "never" if row["days"] is None else f"{row['days']:,.1f}",
            _count(row["advised_days"]),
            row["decides_last"],
        )
        for row in plan.shares.iter_rows(named=True)
    ]
    heads = ("share", "calls a day", "of them logged", "days", "whole weeks", "decided last")
    _table(console, "By share of traffic", heads, shares)
    for (dimension,), part in plan.slices.group_by("dimension", maintain_order=True):
        named = [
            f"{name} ({share:.0%})"
            for name, share in part.head(_SLICES).select("slice", "traffic_share").rows()
        ]
        more = f" and {part.height - _SLICES} more" if part.height > _SLICES else ""
        _say(console, f"the canary must see {dimension}: {', '.join(named)}{more}")
    _say(console, plan.sentence)


def print_verdict(found: CanaryVerdict) -> None:
    """Print the checks of a canary and what follows.

    Parameters
    ----------
    found : CanaryVerdict
        From `finops_lab.tradeoffs.canary.canary_check`.
    """
    console = _console()
    table = Table(title="Checks", title_justify="left")
    for head in ("check", "status", "value", "between", "limit", "seen", "needed"):
        table.add_column(head, justify="left" if head in ("check", "status") else "right", overflow="fold")
    table.add_column("evidence", overflow="fold")
    for row in found.checks.iter_rows(named=True):
        value, low, high, limit = (
            _number(row[name], row["unit"]) for name in ("value", "low", "high", "limit")
        )
        name = row["check"] if row["required"] else f"{row['check']} *"
        table.add_row(
            escape(printable(name)),
            f"[{_COLOURS[row['status']]}]{row['status']}[/]",
            value,
            f"{low} to {high}" if low and high else "",
            limit,
            _count(row["n"]),
            _count(row["n_needed"]),
            escape(printable(row["reason"] or "")),
        )
    console.print(table)
    if not found.checks["required"].all():
        _say(console, "* informs, and may call for a roll back; nothing waits for it")
    _say(console, found.sentence)


def read_outcomes(path: Path) -> pl.DataFrame:
    """Read a file of graded items.

    Parameters
    ----------
    path : pathlib.Path
        Parquet, CSV or JSON lines, by the ending of its name.

    Returns
    -------
    polars.DataFrame

    Raises
    ------
    InputError
        When there is no such file, it ends in something else or cannot be read.
    """
    if path.suffix not in (".parquet", ".csv", ".jsonl"):
        raise InputError("must end in .parquet, .csv or .jsonl", file=path)
    if not path.is_file():
        raise InputError("there is no such file", file=path)
    try:
        if path.suffix == ".parquet":
            return pl.read_parquet(path)
        # All rows tell the kinds: a first half point may come late.
        return pl.read_csv(path, infer_schema_length=None) if path.suffix == ".csv" else pl.read_ndjson(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(f"cannot be read: {error}", file=path) from None


def write_checks(checks: pl.DataFrame, out: Path) -> None:
    """Write the checks as CSV or Parquet, by the file's ending.

    Raises
    ------
    InputError
        When the file's name ends in neither.
    """
    if out.suffix not in (".csv", ".parquet"):
        raise InputError("must end in .csv or .parquet", file=out)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial")
    if out.suffix == ".csv":
        checks.write_csv(partial)
    else:
        checks.write_parquet(partial)
    partial.replace(out)


def _number(value: float | None, unit: str | None) -> str:
    if value is None:
        return ""
    if unit == "times the budget":
        return f"{value:,.2f}x"
    signed = unit is None or unit == "difference" or unit.startswith("increase")
    return f"{value:+.2%}" if signed else f"{value:.2%}"


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _console() -> Console:
    # Piped, rich knows no width and would fold names at a few characters.
    return Console() if sys.stdout.isatty() else Console(width=200, soft_wrap=True)


def _table(console: Console, title: str, heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    table = Table(title=title, title_justify="left")
    for head in heads:
        left = head in ("check", "of", "why", "decided last")
        table.add_column(head, justify="left" if left else "right", overflow="fold")
    for row in rows:
        table.add_row(*[escape(printable(text)) for text in row])
    console.print(table)


def _say(console: Console, text: str) -> None:
    console.print(printable(text), markup=False, highlight=False)
