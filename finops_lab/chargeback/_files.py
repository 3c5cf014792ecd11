"""How files of this room come to be: whole or not at all, amounts in full, text inert."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import polars as pl

from finops_lab.errors import InputError

__all__ = ["inert", "plain", "written_beside"]

# What makes a spreadsheet read a CSV field as a formula (OWASP, CSV Injection), its full-width
# forms too, behind any blanks and control characters. A field that already has apostrophes before
# such a character gets one more, so that taking one away always gives the text back.
_FORMULA = r"^'*(?:[\s\p{C}]*[=+\-@\x{FF1D}\x{FF0B}\x{FF0D}\x{FF20}]|\p{Cc})"


def inert(text: pl.Expr) -> pl.Expr:
    """Put an apostrophe before text that a spreadsheet would take for a formula.

    Examples
    --------
    >>> pl.select(inert(pl.lit(pl.Series(["=1+1", "'=1+1", " @x", "a=b", "'tis"])))).to_series().to_list()
    ["'=1+1", "''=1+1", "' @x", 'a=b', "'tis"]
    """
    return text.str.replace(_FORMULA, "'${0}")


def plain(amount: pl.Expr) -> pl.Expr:
    """Spell exact amounts with all their decimals and no padding; one zero stays (``2.0``).

    Examples
    --------
    >>> pl.select(plain(pl.lit(pl.Series(["2", "-0.0000000181"]).cast(pl.Decimal(38, 18))))).to_series().to_list()
    ['2.0', '-0.0000000181']
    """
    return amount.cast(pl.String).str.strip_chars_end("0").str.replace(r"\.$", ".0")


@contextmanager
def written_beside(target: Path) -> Iterator[Path]:
    """Give a path beside `target` to write to, and move it into place when all went well.

    Raises
    ------
    InputError
        When the target is a folder or cannot be written.
    """
    if target.is_dir():
        raise InputError("is a folder", file=target, hint="name a file")
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, target)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", file=target) from None
    finally:
        with suppress(OSError):
            partial.unlink()
