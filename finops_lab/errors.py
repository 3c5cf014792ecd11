"""The error tree: every failure a user can cause says what, where, and what to do about it.

Beside it stands the check of input that every room makes: the names that rows are told by.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "ConfigError",
    "CurrencyError",
    "FinopsError",
    "InputError",
    "NoDataError",
    "ReconciliationError",
    "RunError",
    "columns_of",
    "each_name",
    "printable",
]


class FinopsError(Exception):
    """Base of all errors raised on purpose by finops_lab.

    Parameters
    ----------
    message : str
        What is wrong, in one sentence.
    file, row, column : optional
        Where it is wrong. Rows count from 1, the header not counted.
    hint : str, optional
        The likely fix.

    Examples
    --------
    >>> print(InputError("amount 'abc' is not a number", file="bill.csv", row=7, column="BilledCost"))
    bill.csv, row 7, column BilledCost: amount 'abc' is not a number
    """

    exit_code = 1

    def __init__(
        self,
        message: str,
        *,
        file: str | Path | None = None,
        row: int | None = None,
        column: str | None = None,
        hint: str | None = None,
    ) -> None:
        where = ", ".join(
            part
            for part in (
                str(file) if file is not None else "",
                f"row {row}" if row is not None else "",
                f"column {column}" if column is not None else "",
            )
            if part
        )
        text = f"{where}: {message}" if where else message
        # Messages quote what files hold: no control character of theirs may reach a terminal.
        super().__init__(printable(f"{text}. Hint: {hint}" if hint else text))
        self.message, self.file, self.row, self.column, self.hint = message, file, row, column, hint


def printable(text: str) -> str:
    r"""Replace control characters, which could steer the terminal that shows the text.

    Examples
    --------
    >>> printable("a\x1b[2Jb")
    'a�[2Jb'
    """
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


class InputError(FinopsError):
    """Bad parameters or bad input: the command line exits with 2."""

    exit_code = 2


class ConfigError(InputError):
    """`finops.toml` is missing, unreadable or says something the library does not know."""


class CurrencyError(InputError):
    """Amounts in different currencies were about to be added."""


class NoDataError(InputError):
    """The period or table asked for holds no rows."""


class ReconciliationError(FinopsError):
    """Money in differs from money out: a defect of the library, never of the data."""


class RunError(FinopsError):
    """A notebook run failed; the message names the cell and the kept notebook."""


def each_name(by: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names to group by: a text is one name, never the letters it is made of.

    Examples
    --------
    >>> each_name("cluster"), each_name(["team", "model"]), each_name(())
    (('cluster',), ('team', 'model'), ())
    """
    return (by,) if isinstance(by, str) else tuple(by)


def columns_of(
    by: str | Sequence[str], frame: pl.DataFrame | pl.LazyFrame, rows: str, *more: str
) -> tuple[str, ...]:
    """Return the names to group by, all of which a frame must have.

    Parameters
    ----------
    by : str or sequence of str
        Names of columns.
    frame : polars.DataFrame or polars.LazyFrame
        What is grouped.
    rows : str
        What its rows are, for the error: ``calls``.
    *more : str
        Further columns that it must have.

    Raises
    ------
    InputError
        When it lacks one.

    Examples
    --------
    >>> import polars as pl
    >>> columns_of("teem", pl.DataFrame({"team": ["a"]}), "calls")
    Traceback (most recent call last):
    finops_lab.errors.InputError: the calls have no column 'teem'. Hint: did you mean 'team'?
    """
    wanted = each_name(by)
    known = frame.collect_schema().names()
    for name in (*wanted, *more):
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"columns: {', '.join(known)}"
            raise InputError(f"the {rows} have no column {name!r}", hint=hint)
    return wanted
