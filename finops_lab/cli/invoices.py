"""`finops-lab invoices`: the bills held against the invoices that were sent."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from finops_lab.cli._app import LabOption, app, spinner
from finops_lab.errors import InputError

__all__ = ["register"]


def invoices(
    files: Annotated[
        list[Path], typer.Argument(help="Lists of invoices: CSV or Parquet.", metavar="FILE...")
    ],
    lab: LabOption = None,
    month: Annotated[
        str | None,
        typer.Option(
            "--month", help="Billing month of the rows held against them. Default: all.", metavar="YYYY-MM"
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Also write the lines, exact, as CSV or Parquet.", metavar="FILE"),
    ] = None,
    fail_on_gap: Annotated[
        bool,
        typer.Option(
            "--fail-on-gap", help="Exit with 3 when an invoice differs by more than rounding, or has no rows."
        ),
    ] = False,
) -> None:
    """Hold the bills against invoices: the rows of each invoice should add up to it.

    A list has the columns Invoice number, Currency and Amount, and Vendor and Invoice date if they are
    there; or it is the FOCUS 1.4 dataset Invoice Detail. Each invoice is matched, differs, has no rows on
    the bill, or is named on the bill and not in the lists. Rows that name no invoice (a bill without
    InvoiceId) stand apart, and each side adds up to its whole. Rounding is what FOCUS 1.4 allows.

    Examples: finops-lab invoices invoices-2026-10.csv --lab my-lab --month 2026-10; finops-lab invoices
    invoice_detail.parquet --lab my-lab --out gaps.csv --fail-on-gap
    """
    import polars as pl

    from finops_lab.calendar import format_month, parse_month
    from finops_lab.lab import open_lab
    from finops_lab.printing_kpis import check_ending, write_figures
    from finops_lab.printing_ledger import print_invoices
    from finops_lab.reconciliation import match_invoices, read_invoices

    if out is not None:
        check_ending(out)
    given = pl.concat([read_invoices(file) for file in files])
    opened = open_lab(lab, progress=sys.stderr.isatty())
    costs = opened.costs()
    if month is not None:
        costs = costs.filter(pl.col("x_BillingMonth") == format_month(parse_month(month)))
        if costs.limit(1).collect().is_empty():
            raise InputError(f"the lab has no bill of {month}", hint="--month is the month of the bill")
    with spinner("adding up the bills"):
        lines = match_invoices(costs, given)
    print_invoices(lines)
    if out is not None:
        write_figures(lines, out)
        typer.echo(f"wrote {lines.height} lines: {out}")
    off = (pl.col("status") == "invoice without rows") | ~pl.col("within_tolerance")
    if fail_on_gap and not lines.filter(off).is_empty():
        raise typer.Exit(3)


def register() -> None:
    """Add the command, after those that come first in the help."""
    app.command()(invoices)
