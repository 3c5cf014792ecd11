"""What the command line prints of KPIs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from finops_lab.errors import InputError, printable
from finops_lab.reporting.figures import between, figure, spark, target
from finops_lab.unit_economics.kpis import NAMES, Kpis

__all__ = ["check_ending", "print_by", "print_explained", "print_kpis", "write_figures"]

_STYLES = {"met": "green", "missed": "bold red", "unclear": "yellow"}


def print_kpis(found: Kpis, currency: str) -> None:
    """Print the scorecard, and why a KPI has no value or no verdict.

    Parameters
    ----------
    found : Kpis
        The KPIs of a month.
    currency : str
        ISO 4217 code of the lab.
    """
    headings = ("KPI", "value", "between", "target", "status", "month before", "trend", "data behind it")
    rows = [
        (
            f"{row['kpi']} {row['name']}",
            figure(row["value"], row["unit"], currency),
            between(row["lower"], row["upper"], row["unit"], currency),
            target(row["at_least"], row["at_most"], row["unit"], currency),
            row["status"],
            figure(row["previous"], row["unit"], currency),
            spark(row["trend"]),
            None if row["coverage"] is None else f"{row['coverage']:.1%}",
        )
        for row in found.table.iter_rows(named=True)
    ]
    console = _console()
    _table(console, f"KPIs of {found.month:%Y-%m}{_known(found)}", headings, rows, status=4)
    for row in found.table.filter(pl.col("value").is_null()).iter_rows(named=True):
        console.print(f"{row['kpi']} has no value: {printable(row['reason'] or 'unknown')}", markup=False)
    for row in found.table.filter(pl.col("status_reason").is_not_null()).iter_rows(named=True):
        what = "is unclear" if row["status"] == "unclear" else "has no target"
        console.print(f"{row['kpi']} {what}: {printable(row['status_reason'])}", markup=False)


def print_by(found: Kpis, dimension: str, currency: str) -> None:
    """Print the headlines by the values of a dimension.

    Parameters
    ----------
    found, currency
        As for `print_kpis`.
    dimension : str
        Such as ``team``.
    """
    rows = [
        (
            f"{row['kpi']} {NAMES[row['kpi']]}",
            row["key"] or "unknown",
            figure(row["value"], row["unit"], currency),
            between(row["lower"], row["upper"], row["unit"], currency),
            row["status"],
            row["reason"] or row["status_reason"],
        )
        for row in found.by(dimension).iter_rows(named=True)
    ]
    headings = ("KPI", dimension, "value", "between", "status", "why no value or verdict")
    _table(_console(), f"KPIs of {found.month:%Y-%m}{_known(found)} by {dimension}", headings, rows, status=4)


def print_explained(lines: pl.DataFrame) -> None:
    """Print where a figure comes from, line by line."""
    console = _console()
    for what, says in lines.iter_rows():
        console.print(printable(f"{what}: {says}"), markup=False, highlight=False)


def check_ending(out: Path) -> None:
    """Refuse a file whose ending says neither CSV nor Parquet.

    Raises
    ------
    InputError
        When the file's name ends in neither.

    Examples
    --------
    >>> check_ending(Path("kpis.xlsx"))
    Traceback (most recent call last):
    finops_lab.errors.InputError: kpis.xlsx: must end in .csv or .parquet
    """
    if out.suffix not in (".csv", ".parquet"):
        raise InputError("must end in .csv or .parquet", file=out)


def write_figures(figures: pl.DataFrame, out: Path) -> None:
    """Write figures as CSV or Parquet, by the file's ending.

    Raises
    ------
    InputError
        When the file's name ends in neither.
    """
    check_ending(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial")
    if out.suffix == ".csv":
        figures.write_csv(partial)
    else:
        figures.write_parquet(partial)
    partial.replace(out)


def _known(found: Kpis) -> str:
    return f" (known up to {found.up_to})" if found.up_to else ""


def _console() -> Console:
    # Piped, rich knows no width and would fold names at a few characters.
    return Console() if sys.stdout.isatty() else Console(width=200, soft_wrap=True)


def _table(
    console: Console,
    title: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[str | None]],
    *,
    status: int,
) -> None:
    table = Table(title=title)
    for place, name in enumerate(headings):
        table.add_column(name, overflow="fold", no_wrap=place == 0)
    for row in rows:
        cells = [escape(printable(cell or "—")) for cell in row]
        style = _STYLES.get(cells[status])
        cells[status] = f"[{style}]{cells[status]}[/{style}]" if style else cells[status]
        table.add_row(*cells)
    console.print(table)
