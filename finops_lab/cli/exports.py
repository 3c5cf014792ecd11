"""`finops-lab export`: the lab's data for other tools."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from finops_lab.cli._app import LabOption, app
from finops_lab.errors import InputError

__all__ = ["register"]

export = typer.Typer(
    name="export",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Write the lab's data for other tools.",
)


class FocusFormat(StrEnum):
    """Formats of a FOCUS file."""

    csv = "csv"
    csv_gz = "csv.gz"
    parquet = "parquet"


@export.command("focus")
def export_focus(
    out: Annotated[
        Path, typer.Option("--out", help="File to write; an existing one is replaced.", metavar="FILE")
    ],
    lab: LabOption = None,
    form: Annotated[
        FocusFormat | None, typer.Option("--format", help="Default: what the file's name ends in.")
    ] = None,
    month: Annotated[
        str | None,
        typer.Option("--month", help="Billing month, such as 2026-10. Default: all.", metavar="YYYY-MM"),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Read the file back: compare its totals, check it against FOCUS's rules."
        ),
    ] = False,
) -> None:
    """Write the lab's charges as FOCUS 1.2, one file of 57 columns and the bills' own.

    --check exits with 1 when the file itself is at fault; what the bills lack is only told.

    Examples: finops-lab export focus --out costs.csv.gz;
    finops-lab export focus --lab my-lab --month 2026-10 --out october.parquet --check
    """
    import polars as pl

    from finops_lab.calendar import format_month, parse_month
    from finops_lab.errors import NoDataError, ReconciliationError, RunError
    from finops_lab.exporting import conformance, scan_focus, totals, write_focus
    from finops_lab.lab import open_lab
    from finops_lab.printing import plain

    billed = format_month(parse_month(month)) if month is not None else None
    opened = open_lab(lab, progress=sys.stderr.isatty())
    for name in ("exports", "lake", "quarantine"):
        if out.resolve().is_relative_to((opened.folder / name).resolve()):
            raise InputError(
                f"a file in the lab's {name}/ would be taken for its own data",
                file=out,
                hint="choose an --out outside the lab",
            )
    costs = opened.costs()
    costs = costs.filter(pl.col("x_BillingMonth") == billed) if billed else costs
    if costs.head(1).collect().is_empty():
        raise NoDataError(
            f"the lab holds no charges billed in {billed}" if billed else "the lab holds no charges"
        )
    written = write_focus(costs, out, form.value if form is not None else None)
    typer.echo(f"wrote {written.rows:,} charges as FOCUS 1.2: {written.path}")
    for column, values in written.left_out.items():
        typer.echo(f"left out: {column} ({values:,} values), which FOCUS 1.2 does not know", err=True)
    if not check:
        return
    read = totals(scan_focus(written.path))
    if not read.equals(totals(costs)):
        raise ReconciliationError("the written file does not add up to the lab's charges", file=written.path)
    for currency, rows, cost, effective in read.iter_rows():
        typer.echo(f"{currency}: {rows:,} rows, BilledCost {plain(cost)}, EffectiveCost {plain(effective)}")
    rules = conformance(scan_focus(written.path))
    found = rules.filter(pl.col("rows") > 0).sort(pl.col("needs").is_not_null(), maintain_order=True)
    for rule in found.iter_rows(named=True):
        example = f", such as {rule['example']!r}" if rule["example"] is not None else ""
        needs = f"; binds providers with {rule['needs']}" if rule["needs"] else ""
        typer.echo(
            f"{rule['whose']}: {rule['column']} {rule['level']}: {rule['requirement']}: {rule['rows']:,} rows "
            f"do not, first row {rule['first_row']:,}{example} ({rule['rule']}{needs})"
        )
    ours = found.filter(pl.col("whose") == "ours").height
    typer.echo(f"{rules.height} rules of FOCUS 1.2 checked, {found.height} broken by the bills or the file")
    if ours:
        raise RunError(f"{ours} of the broken rules are about how the file is written", file=written.path)


def register() -> None:
    """Add the commands, after those that come first in the help."""
    app.add_typer(export)
