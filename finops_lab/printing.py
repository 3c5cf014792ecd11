"""What the command line prints: tables of what ingestion did."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from finops_lab.errors import InputError, printable
from finops_lab.ingestion.summary import IngestSummary
from finops_lab.money import exact_sum

__all__ = ["plain", "print_doubts", "print_findings", "print_summary", "write_findings"]

_FATES = ("read", "accepted", "quarantined", "superseded")
_WOULD = {
    "ingested": "would add",
    "changed": "would replace",
    "unchanged": "skip",
    "duplicate": "skip: duplicate",
    "outdated": "skip: outdated",
    "waiting": "skip: waiting",
}


def print_summary(summary: IngestSummary, *, explained: bool = False) -> None:
    """Print what became of every file, row and cent.

    Parameters
    ----------
    summary : IngestSummary
        Of a run.
    explained : bool
        The run wrote nothing: say what one would do.
    """
    # Piped, rich knows no width and would fold names at a few characters.
    console = Console() if sys.stdout.isatty() else Console(width=200, soft_wrap=True)
    table = Table(title="Exports: what a run would do" if explained else "Exports")
    for name in ("file", "table", "status"):
        table.add_column(name, overflow="fold")
    for name in _FATES:
        table.add_column(name, justify="right")
    files = summary.files.group_by("file", "table", "status", maintain_order=True).agg(
        pl.col("^rows_.*$").sum()
    )
    for file, name, status, *counts in files.sort("file").iter_rows():
        said = _WOULD[status] if explained else status
        table.add_row(escape(printable(file)), name, said, *[f"{n:,}" for n in counts])
    console.print(table)
    would = "would be " if explained else ""
    for file, by, units, rows, currency, amount in summary.replaced.iter_rows():
        money = f", BilledCost {_amount(amount, currency)}" if amount else ""
        _say(console, f"{would}replaced: {file}: {units} ({rows:,} rows{money}) by {by}")
    for title, frame in (("rejected", summary.reasons), ("mended", summary.notes)):
        for path, text, rows in frame.iter_rows():
            _say(console, f"{title}: {path}: {text} ({rows:,} rows)")
    totals = summary.files.select(f"rows_{fate}" for fate in _FATES).sum().row(0)
    _say(
        console,
        f"{totals[0]:,} rows read = {totals[1]:,} accepted + {totals[2]:,} quarantined + {totals[3]:,} superseded",
    )
    for (currency,), part in summary.files.drop_nulls("currency").group_by("currency", maintain_order=True):
        read, *rest = (
            _amount(exact_sum(part[f"BilledCost_{fate}"].drop_nulls()), str(currency)) for fate in _FATES
        )
        _say(
            console,
            f"BilledCost {read} read = {rest[0]} accepted + {rest[1]} quarantined + {rest[2]} superseded",
        )
    if explained:
        _say(console, "nothing was written")


def print_doubts(twice: pl.DataFrame, withdrawn: Sequence[str]) -> None:
    """Print what the figures hold that they may not: charges in two files, files that are gone.

    Parameters
    ----------
    twice : polars.DataFrame
        From `finops_lab.ingestion.doubles.repeated`.
    withdrawn : sequence of str
        Files whose rows still count although they are no longer delivered.
    """
    console = Console(stderr=True, soft_wrap=True)
    for files, currency, rows, cost in twice.iter_rows():
        _say(
            console,
            f"warning: {rows:,} charges ({plain(cost)} {currency} billed) stand alike in {files}: counted twice? "
            "A newer export belongs in a folder delivered=YYYY-MM-DD; [[coverage]] says which of two sources counts",
        )
    for file in withdrawn:
        _say(
            console,
            f"warning: {file} is no longer delivered, and its rows still count (delete lake/ to drop them)",
        )


def print_findings(findings: pl.DataFrame) -> None:
    """Print what the data doctor found, one paragraph each, and how often by severity.

    Parameters
    ----------
    findings : polars.DataFrame
        From `finops_lab.doctor.doctor`.
    """
    from finops_lab.doctor import readable

    console = Console(soft_wrap=True)
    colours = {"error": "bold red", "warning": "yellow", "info": "cyan"}
    for row in readable(findings).iter_rows(named=True):
        facts = [row["where"], f"{row['rows']:,} rows" if row["rows"] is not None else None, row["at_stake"]]
        _say(console, f"{row['severity']}: {row['check']}", colours[row["severity"]])
        _say(console, f"  {'; '.join(fact for fact in facts if fact)}")
        _say(console, f"  {row['finding']}")
        _say(console, f"  fix: {row['fix']}")
        if row["examples"]:
            _say(console, f"  see: {row['examples']}")
    counts = {name: findings.filter(severity=name).height for name in colours}
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    _say(console, f"findings: {told or 'none'}")


def write_findings(findings: pl.DataFrame, out: Path) -> None:
    """Write what the data doctor found as CSV or Parquet, by the file's ending.

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
        # An amount keeps its digits; lists become text.
        findings.with_columns(pl.col("examples").list.join(", ")).write_csv(partial)
    else:
        findings.write_parquet(partial)
    partial.replace(out)


def _say(console: Console, text: str, style: str | None = None) -> None:
    # Texts quote the data: nothing in them may steer rich or the terminal.
    console.print(printable(text), style=style, markup=False, highlight=False)


def plain(amount: Decimal) -> str:
    """Write an amount with all its digits and no more.

    Examples
    --------
    >>> plain(Decimal("1.500000000000000000")), plain(Decimal("0E-18"))
    ('1.5', '0')
    """
    return f"{amount:.18f}".rstrip("0").rstrip(".")


def _amount(amount: Decimal | None, currency: str | None) -> str:
    return "" if amount is None else f"{plain(amount)} {currency}"
