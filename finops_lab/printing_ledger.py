"""What the command line prints of a ledger and of a merge."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from finops_lab.allocation import Ledger
from finops_lab.errors import printable
from finops_lab.printing import plain

if TYPE_CHECKING:
    from finops_lab.merging import Merged

__all__ = ["print_invoices", "print_merged", "print_receipt"]

_SUMS = ("amount_in", "allocated", "unallocated", "excluded", "residual")


def print_receipt(ledger: Ledger) -> None:
    """Print the sums of a ledger per currency and billing month, its steps and its digest."""
    console = _console()
    sums = (
        ledger.receipt.filter(pl.col("metric").is_in(["BilledCost", "EffectiveCost"]))
        .group_by("metric", "BillingCurrency", "x_BillingMonth")
        .agg(pl.col("rows_in", *_SUMS).sum())
        .sort("metric", "BillingCurrency", "x_BillingMonth")
    )
    for (metric, currency), part in sums.group_by("metric", "BillingCurrency", maintain_order=True):
        whole = part.select("rows_in", *_SUMS).sum()
        months = part.select("x_BillingMonth", "rows_in", *_SUMS).rows()
        rows = [*months, ("all", *whole.row(0))]
        _table(console, f"{metric} in {currency}", ["billing month", "rows", *_SUMS], rows)
    steps = ledger.steps.select(
        "kind", "name", "policy", "BillingCurrency", "entries", "EffectiveCost"
    ).rows()
    names = ["step", "name", "policy", "currency", "entries", "EffectiveCost"]
    _table(console, "Steps, in order", names, steps)
    if ledger.inputs_sha256:
        console.print(f"inputs sha256 {ledger.inputs_sha256}", markup=False, highlight=False)


def print_invoices(lines: pl.DataFrame) -> None:
    """Print what `match_invoices` found, per currency, and what to look at."""
    console = _console()
    names = ["status", "invoice", "issuer", "billing months", "rows", "bill", "invoiced", "gap", "rounding"]
    months = pl.concat_str(
        "first_billing_month",
        pl.when(pl.col("last_billing_month") != pl.col("first_billing_month")).then("last_billing_month"),
        separator=" to ",
        ignore_nulls=True,
    )
    shown = lines.select(
        "BillingCurrency",
        "status",
        "InvoiceId",
        pl.coalesce("invoice_issuer", "bill_issuer"),
        months.alias("months"),
        "rows",
        "bill_billed",
        "invoice_billed",
        "gap",
        pl.when(pl.col("gap") != 0)
        .then(
            pl.when("within_tolerance")
            .then(pl.lit("yes"))
            .when(pl.col("tolerance").is_not_null())
            .then(pl.lit("no"))
        )
        .alias("rounding"),
    )
    for (currency,), part in shown.group_by("BillingCurrency", maintain_order=True):
        rows = part.drop("BillingCurrency").rows()
        whole = part.select(pl.col("rows", "bill_billed", "invoice_billed", "gap").sum()).row(0)
        _table(
            console, f"Bills against invoices, {currency}", names, [*rows, ("all", "", "", "", *whole, "")]
        )
    counts = lines["status"].value_counts().sort("count", "status", descending=[True, False])
    said = ", ".join(f"{count} {status}" for status, count in counts.rows())
    console.print(f"{lines.height} lines: {said}", markup=False, highlight=False)
    for row in lines.filter(pl.col("invoice_repeated") != 0).iter_rows(named=True):
        console.print(
            f"warning: details that stand twice in invoice {printable(row['InvoiceId'])} make "
            f"{plain(row['invoice_repeated'])} {row['BillingCurrency']} of it: delivered twice?",
            markup=False,
            highlight=False,
        )


def print_merged(merged: Merged) -> None:
    """Print what a merge brought in and what counts once."""
    console = _console()
    sums = merged.receipt.group_by("lab", "BillingCurrency").agg(
        pl.col("rows").sum(), pl.col("BilledCost", "counted", "elsewhere").sum()
    )
    names = ["lab", "currency", "rows", "BilledCost", "counted", "counted elsewhere"]
    _table(console, "BilledCost of the labs", names, sums.sort("lab", "BillingCurrency").rows())
    changes = merged.files.group_by("lab", "change").len().sort("lab", "change")
    _table(console, "Files", ["lab", "change", "files"], changes.rows())
    for note in merged.notes:
        console.print(printable(note), markup=False, highlight=False)
    console.print(f"portal: {printable(str(merged.folder))}", markup=False, highlight=False)


def _console() -> Console:
    # Piped, rich knows no width and would fold names at a few characters.
    return Console() if sys.stdout.isatty() else Console(width=200, soft_wrap=True)


def _table(console: Console, title: str, names: Sequence[str], rows: Sequence[tuple[object, ...]]) -> None:
    table = Table(title=escape(printable(title)))
    numbers = [all(isinstance(row[n], Decimal | int | None) for row in rows) for n in range(len(names))]
    for name, right in zip(names, numbers, strict=True):
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*[_cell(value) for value in row])
    console.print(table)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return plain(value)
    return f"{value:,}" if isinstance(value, int) else escape(printable(str(value)))
