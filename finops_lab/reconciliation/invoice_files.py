"""Lists of invoices as finance and vendors give them: a plain list, or FOCUS 1.4's Invoice Detail.

Source: FinOps Open Cost and Usage Specification (FOCUS) 1.4, dataset Invoice Detail. The names that
a plain list may use are our own choice; no real list was at hand.
"""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from finops_lab.errors import InputError
from finops_lab.money import MONEY, is_blank, parse_strict

__all__ = ["COLUMNS", "read_invoices"]

# What finance departments call these columns; compared in lower case, without blanks and signs.
_NAMES = {
    "InvoiceId": ("invoiceid", "invoice", "invoicenumber", "invoiceno", "invoicenr"),
    "BillingCurrency": ("billingcurrency", "currency", "currencycode", "invoicecurrency"),
    "BilledCost": ("billedcost", "amount", "total", "totalamount", "invoiceamount", "invoicetotal"),
    "InvoiceIssuerName": ("invoiceissuername", "invoiceissuer", "issuer", "vendor", "supplier"),
    "InvoiceIssueDate": ("invoiceissuedate", "issuedate", "invoicedate"),
    "InvoiceIssueStatus": ("invoiceissuestatus",),
    "InvoiceDetailId": ("invoicedetailid",),
    "ChargeCategory": ("chargecategory",),
}
_NEEDED = ("InvoiceId", "BillingCurrency", "BilledCost")
# What `read_invoices` returns.
COLUMNS = {
    "InvoiceId": pl.String(),
    "BillingCurrency": pl.String(),
    "InvoiceIssuerName": pl.String(),
    "InvoiceIssueDate": pl.Date(),
    "InvoiceIssueStatus": pl.String(),
    "BilledCost": MONEY,
    "x_TaxBilledCost": MONEY,
    "x_Details": pl.Int64(),
    "x_RepeatedBilledCost": MONEY,
}
_INVOICE = ["InvoiceId", "BillingCurrency", "InvoiceIssuerName"]


def read_invoices(path: str | Path) -> pl.LazyFrame:
    """Read invoice totals: a plain list of invoices, or the FOCUS 1.4 dataset Invoice Detail.

    Parameters
    ----------
    path : str or pathlib.Path
        CSV (plain or gzip; any of ``, ; tab |`` between the columns) or Parquet. A file with the
        column ``InvoiceDetailId`` is an Invoice Detail, of which the details of an invoice are
        added up; in any other file an invoice stands once. Columns are known by their FOCUS names
        and by usual ones, such as ``Invoice number``, ``Currency``, ``Amount``, ``Vendor``.

    Returns
    -------
    polars.LazyFrame
        One row per invoice, issuer and currency, sorted: ``InvoiceId``, ``BillingCurrency``,
        ``InvoiceIssuerName`` (null where not told), ``InvoiceIssueDate`` (Date), ``InvoiceIssueStatus``
        (``Open``, ``Issued``, ``Voided``, or null), ``BilledCost`` (Decimal), ``x_TaxBilledCost``
        (Decimal; the part of charge category ``Tax``, null where the file has no categories),
        ``x_Details`` (Int64; rows that were added up) and ``x_RepeatedBilledCost`` (Decimal; what those
        of them add whose ``InvoiceDetailId`` stands in the invoice before: FOCUS 1.4 has each once, so
        they may be delivered twice; null where the file has no details).

    Raises
    ------
    InputError
        When the file cannot be read, lacks a column or has two for one meaning, when an id, a
        currency, an amount or a date is missing or unreadable, when a plain list names an invoice
        twice, or when details of one invoice differ in status. It names file, row and column.
    """
    path = Path(path)
    table = _text_table(path)
    found = _columns(path, table.columns)
    table = table.select(pl.col(theirs).alias(ours) for ours, theirs in found.items())
    text = [pl.when(~is_blank(pl.col(name))).then(pl.col(name).str.strip_chars()) for name in table.columns]
    table = table.select(e.alias(name) for e, name in zip(text, table.columns, strict=True))
    table = table.with_columns(
        pl.lit(None, dtype=pl.String).alias(n) for n in _NAMES if n not in found
    ).with_columns(pl.col("BillingCurrency").str.to_uppercase())
    for name in _NEEDED:
        _refuse(path, table, name, pl.col(name).is_null(), "is missing")
    code = pl.col("BillingCurrency").str.contains(r"^[A-Z]{3}$")
    _refuse(path, table, "BillingCurrency", ~code, "is no ISO 4217 code such as USD")
    amounts = parse_strict(table["BilledCost"], file=str(path), currency=table["BillingCurrency"])
    day = pl.col("InvoiceIssueDate").str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False)
    wrong = day.is_null() & pl.col("InvoiceIssueDate").is_not_null()
    _refuse(path, table, "InvoiceIssueDate", wrong, "is no date such as 2026-10-03")
    table = table.with_columns(amounts, day)
    if "InvoiceDetailId" not in found:
        again = ~pl.struct(_INVOICE).is_first_distinct()
        _refuse(
            path,
            table,
            "InvoiceId",
            again,
            "stands twice: a list of invoices has each once",
            "InvoiceDetailId",
        )
    taxed = pl.col("ChargeCategory").str.to_lowercase() == "tax"
    tax = pl.col("BilledCost").filter(taxed).sum() if "ChargeCategory" in found else pl.lit(None)
    detail = pl.struct(*_INVOICE, "InvoiceDetailId")
    again = pl.col("InvoiceDetailId").is_not_null() & ~detail.is_first_distinct()
    table = table.with_columns(again.alias("_again"))
    repeated = pl.col("BilledCost").filter("_again").sum() if "InvoiceDetailId" in found else pl.lit(None)
    statuses = pl.col("InvoiceIssueStatus").unique().sort()
    invoices = table.group_by(_INVOICE).agg(
        pl.col("InvoiceIssueDate").max(),
        pl.col("InvoiceIssueStatus").first(),
        pl.col("BilledCost").sum().cast(MONEY),
        tax.cast(MONEY).alias("x_TaxBilledCost"),
        pl.len().cast(pl.Int64).alias("x_Details"),
        repeated.cast(MONEY).alias("x_RepeatedBilledCost"),
        statuses.alias("_statuses"),
    )
    mixed = invoices.filter(pl.col("_statuses").list.len() > 1).sort(_INVOICE)
    if mixed.height:
        told = ", ".join(str(status) for status in mixed["_statuses"][0])
        raise InputError(
            f"invoice {mixed['InvoiceId'][0]!r} has several statuses: {told}",
            file=path,
            column="InvoiceIssueStatus",
            hint="the newest delivery of an Invoice Detail replaces older ones: give one of them",
        )
    return invoices.select(pl.col(n).cast(dtype) for n, dtype in COLUMNS.items()).sort(_INVOICE).lazy()


def _text_table(path: Path) -> pl.DataFrame:
    """Read a file as columns of text."""
    try:
        with path.open("rb") as stream:
            start = stream.read(4)
        if start == b"PAR1":
            table = pl.read_parquet(path)
        else:
            content = path.read_bytes()
            content = gzip.decompress(content) if start[:2] == b"\x1f\x8b" else content
            header = content.removeprefix(b"\xef\xbb\xbf").split(b"\n", 1)[0].decode(errors="replace")
            mark = max(",;\t|", key=header.count)
            table = pl.read_csv(content, infer_schema=False, separator=mark)
    except (OSError, PolarsError) as error:
        said = str(error).splitlines()[0]
        coded = "utf-8" in said
        raise InputError(
            f"the invoices cannot be read: {said}",
            file=path,
            hint="save it as UTF-8" if coded else "give a CSV or Parquet file with a header",
        ) from None
    nested = [name for name, dtype in table.schema.items() if dtype.is_nested() or dtype == pl.Binary]
    return table.drop(nested).select(pl.all().cast(pl.String))


def _columns(path: Path, delivered: list[str]) -> dict[str, str]:
    """Return the file's name of each column that is known; a FOCUS name wins over a usual one."""
    found: dict[str, str] = {}
    for ours, names in _NAMES.items():
        theirs = [name for name in delivered if re.sub(r"[^a-z0-9]", "", name.lower()) in names]
        exact = [name for name in theirs if name.strip('\ufeff" ') == ours]
        if len(exact or theirs) > 1:
            raise InputError(
                f"both {theirs[0]!r} and {theirs[1]!r} could be {ours}",
                file=path,
                hint=f"name the right one {ours}",
            )
        if theirs:
            found[ours] = (exact or theirs)[0]
    for name in _NEEDED:
        if name not in found:
            raise InputError(
                f"the invoices have no column {name}",
                file=path,
                column=name,
                hint=f"columns found: {', '.join(delivered)}; {name} may also be called {', '.join(_NAMES[name][1:])}",
            )
    return found


def _refuse(
    path: Path, table: pl.DataFrame, column: str, wrong: pl.Expr, says: str, missing: str | None = None
) -> None:
    rows = table.select(wrong.fill_null(False).arg_true()).to_series()
    if rows.len():
        value = table[column][int(rows[0])]
        raise InputError(
            f"{value!r} {says}" if value is not None else says,
            file=path,
            row=int(rows[0]) + 1,
            column=column,
            hint=f"details of an invoice need the column {missing}" if missing else None,
        )
