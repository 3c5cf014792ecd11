"""Statements as CSV: exact amounts for machines, text that no spreadsheet runs."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from finops_lab.chargeback._files import inert, plain, written_beside
from finops_lab.chargeback.statements import Statements
from finops_lab.errors import InputError

__all__ = ["write_csv"]


def write_csv(statements: Statements, folder: str | Path) -> tuple[Path, Path]:
    """Write ``summary.csv`` and ``lines.csv`` into a folder, which is made.

    UTF-8 without a byte order mark, quoted as in RFC 4180, lines ending in LF. Every row carries its
    ``month``, ``basis``, ``BillingCurrency`` and ``metric``. Amounts have all their decimals; an
    unknown amount or dimension is an empty field. Text that begins like a formula (``=``, ``+``,
    ``-``, ``@``, tab, line breaks; blanks and apostrophes before them) gets an apostrophe in front
    (OWASP, CSV Injection). The same statements give the same bytes.

    Parameters
    ----------
    statements : Statements
        Result of `statements`.
    folder : str or pathlib.Path
        Where to write; existing files of the two names are replaced.

    Returns
    -------
    tuple of pathlib.Path
        ``summary.csv`` and ``lines.csv``. The summary comes last: while it is there, both are whole
        and of the same run.

    Raises
    ------
    InputError
        When the folder or a file cannot be written.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from finops_lab.chargeback import statements
    >>> from finops_lab.contracts import dtypes
    >>> ledger = dtypes("ledger")
    >>> entries = pl.DataFrame({"x_ChargeMonth": "2026-10", "BillingCurrency": "USD", "x_team": "=1+1",
    ...     "x_AllocationMethod": "tag", "EffectiveCost": "-0.50"}).cast({"EffectiveCost": ledger["EffectiveCost"]})
    >>> blank = [pl.lit(None, t).alias(n) for n, t in ledger.items() if n not in entries.columns]
    >>> with TemporaryDirectory() as folder:
    ...     summary, lines = write_csv(statements(entries.with_columns(blank), "2026-10"), folder)
    ...     print(pl.read_csv(summary, infer_schema=False).select("x_team", "total").row(0))
    ("'=1+1", '-0.5')
    """
    place = Path(folder)
    summary, lines = place / "summary.csv", place / "lines.csv"
    with written_beside(summary) as short, written_beside(lines) as long:
        _text(statements, statements.summary).write_csv(short)
        _text(statements, statements.lines).write_csv(long)
        try:
            summary.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"cannot be replaced: {error.strerror or error}", file=summary) from None
    return summary, lines


def _text(statements: Statements, frame: pl.DataFrame) -> pl.DataFrame:
    spelled = frame.with_columns(
        inert(pl.col(name)) if dtype == pl.String else plain(pl.col(name))
        for name, dtype in frame.schema.items()
        if dtype == pl.String or dtype.is_decimal()
    )
    head = {
        "month": statements.month,
        "basis": statements.basis,
        "BillingCurrency": statements.currency,
        "metric": statements.metric,
    }
    return spelled.select(*[pl.lit(value).alias(name) for name, value in head.items()], pl.all())
