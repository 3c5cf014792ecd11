"""`finops-lab receipt`, `chargeback` and `merge`: the ledger proved, charged back and put together."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from finops_lab.cli._app import LabOption, Metric, app, spinner
from finops_lab.errors import InputError

__all__ = ["register"]


class Basis(StrEnum):
    """Which month a charge belongs to."""

    accrual = "accrual"
    cash = "cash"


def receipt(
    lab: LabOption = None,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Work the ledger out again from the lake; exit with 1 if it differs."),
    ] = False,
) -> None:
    """Show that every cent of the bills is on an owner, or visibly on none.

    Money in = allocated + unallocated + excluded, with a residual of 0, per currency and billing
    month; what each step gave an owner; the digest of everything the ledger was made of.

    Examples: finops-lab receipt --lab my-lab; finops-lab receipt --lab my-lab --verify
    """
    from finops_lab import bookkeeping
    from finops_lab.allocation.overrides import unmatched
    from finops_lab.lab import open_lab
    from finops_lab.printing_ledger import print_receipt

    opened = open_lab(lab, progress=sys.stderr.isatty())
    with spinner("working the ledger out"):
        done = bookkeeping.verify(opened) if verify else bookkeeping.ledger(opened)
    print_receipt(done)
    for said in unmatched(done.steps, opened.config.overrides):
        typer.echo(f"warning: {said}", err=True)
    if verify:
        typer.echo("verified: the ledger worked out again from the lake is the same, to the last decimal")


def chargeback(
    month: Annotated[str, typer.Option("--month", help="Month, such as 2026-10.", metavar="YYYY-MM")],
    lab: LabOption = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of reports.", metavar="DIR")] = Path("reports"),
    metric: Annotated[
        Metric, typer.Option("--metric", help="Cost column: amortised or invoiced.")
    ] = Metric.EffectiveCost,
    basis: Annotated[
        Basis, typer.Option("--basis", help="The month of the use, or that of the invoice.")
    ] = Basis.accrual,
) -> None:
    """Write statements of what each team pays for a month.

    An Excel workbook with a sheet per team and live sums, the same as CSV with exact amounts, and
    the month as FOCUS 1.3 rows with their allocation.

    Example: finops-lab chargeback --lab my-lab --month 2026-10 --out reports
    """
    from finops_lab import chargeback as statements
    from finops_lab.allocation.overrides import unmatched
    from finops_lab.api import allocate
    from finops_lab.calendar import format_month, parse_month
    from finops_lab.lab import open_lab

    billed = format_month(parse_month(month))
    opened = open_lab(lab, progress=sys.stderr.isatty())
    with spinner("working the ledger out"):
        ledger = allocate(opened)
        entries = ledger.entries
        made = statements.statements(entries, billed, metric=metric.value, basis=basis.value)
    for said in unmatched(ledger.steps, opened.config.overrides):
        typer.echo(f"warning: {said}", err=True)
    folder = out / billed
    folder.mkdir(parents=True, exist_ok=True)
    typer.echo(f"workbook: {statements.write_xlsx(made, folder / 'chargeback.xlsx')}")
    for path in statements.write_csv(made, folder / "chargeback"):
        typer.echo(f"csv: {path}")
    allocated = statements.focus_allocated(entries, billed, basis=basis.value)
    path = statements.write_focus_allocated(allocated, folder / "chargeback" / "focus_allocated.csv")
    typer.echo(f"FOCUS 1.3: {path}")


def merge(
    labs: Annotated[list[Path], typer.Argument(help="The labs' folders.", metavar="LAB...")],
    out: Annotated[Path, typer.Option("--out", help="The portal's folder.", metavar="DIR")],
    config: Annotated[
        Path | None,
        typer.Option("--config", help="The portal's finops.toml. Default: merged.", metavar="FILE"),
    ] = None,
    prefer: Annotated[
        str | None,
        typer.Option("--prefer", help="The lab that counts where several bill the same.", metavar="NAME"),
    ] = None,
    link: Annotated[bool, typer.Option("--link", help="Hard links in place of copies.")] = False,
    sub_accounts: Annotated[
        bool,
        typer.Option("--sub-accounts", help="The labs hold different sub accounts of one billing account."),
    ] = False,
) -> None:
    """Put several labs together as one portal lab in which every charge counts once.

    Run it again to bring in what is new. The labs are only read.

    Example: finops-lab merge team-a team-b --out portal
    """
    from finops_lab.merging import merge as merged
    from finops_lab.printing_ledger import print_merged

    for folder in labs:
        if not folder.is_dir():
            raise InputError("there is no such lab folder", file=folder)
    with spinner("merging labs"):
        done = merged(labs, out, config=config, prefer=prefer, link=link, sub_accounts=sub_accounts)
    print_merged(done)


def register() -> None:
    """Add the commands, after those that come first in the help."""
    for command in (receipt, chargeback, merge):
        app.command()(command)
