"""Values of a whole column as `_json` reads them one by one; null where it would have to be asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any

import polars as pl

from finops_lab.money import excess_digits, parse

__all__ = ["WHITE", "Memo", "amounts", "bare", "coalesce", "first", "literals", "moments", "once"]

# What str.strip() takes away; polars leaves \x1c to \x1f.
WHITE = (
    "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008"
    "\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
_SHAPE = re.compile(
    r"^[12][0-9]{3}-[0-9]{2}-[0-9]{2}([T ])(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
    r"(?:\.([0-9]{1,6}))?(Z|\+00:00)?$"
)
_SHORT = 19  # bytes: with sign and point at most 17 decimals
_MEMO = 20_000


class Memo(dict[Any, Any]):
    """A function of values of which there are few, looked up rather than called again."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function

    def __missing__(self, key: Any) -> Any:
        if len(self) >= _MEMO:
            self.clear()
        found = self[key] = self._function(key)
        return found


def moments(texts: pl.Series) -> pl.Series:
    """Read points in time in UTC as microseconds since 1970; null where the text is not plain ISO 8601."""
    found = pl.Series([None], dtype=pl.Int64).new_from_index(0, texts.len())
    left = texts.str.contains(_SHAPE.pattern) & texts.is_not_null()
    exact = True
    for _ in range(6):
        if (place := left.arg_max()) is None or not left[place]:
            break
        shape = _SHAPE.fullmatch(texts[place])
        if shape is None:
            break
        between, digits, zone = shape.groups("")
        # Formats of one length are read five times as fast as a fraction of any length.
        fraction = f".%{len(digits)}f" if exact and len(digits) in (3, 6) else "%.f" if digits else ""
        form = f"%Y-%m-%d{between}%H:%M:%S{fraction}{zone}"
        # chrono reads a second 60 and longer fractions elsewhere: only texts of the shape count.
        read = texts.str.to_datetime(form, time_unit="us", strict=False).to_physical()
        new = left & read.is_not_null()
        found = read.zip_with(new, found)
        if not new[place]:
            left = left.scatter(place, False)
        left = left & read.is_null()
        exact = not exact if not new.any() else exact
    return found


def literals(raws: Iterable[Any]) -> pl.Series:
    """Return JSON values as text, as they stand in the file; ``null`` is null."""
    joined = b"\n".join(raws).decode()
    texts = pl.Series([joined], dtype=pl.String).str.split("\n").explode()
    return texts.set(texts == "null", None)


def amounts(texts: pl.Series) -> tuple[pl.Series, pl.Series, pl.Series]:
    """Read JSON numbers as money.

    Returns
    -------
    (polars.Series, polars.Series, polars.Series)
        The amounts; whether they were rounded to 18 decimals; whether the text can be vouched for.
    """
    number = ((texts >= "-") & (texts < ":")).fill_null(True)
    plain = texts.zip_with(number, pl.Series([None], dtype=pl.String).new_from_index(0, texts.len()))
    odd = ((plain.str.len_bytes() > _SHORT) | plain.str.contains("[eE]")).fill_null(False)
    places = odd.arg_true()
    rounded = pl.Series([False]).new_from_index(0, texts.len())
    if places.len():
        spelled = pl.Series([_spelled(text) for text in plain.gather(places).to_list()], dtype=pl.String)
        plain = plain.scatter(places, spelled)
        flags = spelled.to_frame("t").select(excess_digits(pl.col("t"))).to_series()
        rounded = rounded.scatter(places, flags)
    read = plain.to_frame("t").select(parse(pl.col("t"))).to_series()
    return read, rounded, texts.is_null() | read.is_not_null()


def _spelled(text: str) -> str | None:
    """Write a number as the slow road does, so that both round alike."""
    try:
        return str(Decimal(text))
    except ArithmeticError:
        return None


def bare(name: str) -> pl.Expr:
    """Take blanks off both ends; what is blank is null."""
    text = pl.col(name).str.strip_chars(WHITE)
    return pl.when(text != "").then(text)


def first(names: Sequence[str], held: Sequence[str], dtype: pl.DataType) -> pl.Expr:
    """Return the first value of those columns that are held; of texts without blanks around it."""
    return coalesce([bare(n) if dtype == pl.String else pl.col(n) for n in names if n in held], dtype)


def coalesce(several: Sequence[pl.Expr], dtype: pl.DataType) -> pl.Expr:
    """Return the first value that is not null; of no columns, null."""
    return pl.coalesce(*several) if several else pl.lit(None, dtype)


def once(column: str | pl.Expr, function: Callable[[str | None], str | None]) -> pl.Expr:
    """Call a function of texts once for each that is there."""

    def call(texts: pl.Series) -> pl.Series:
        distinct = texts.unique()
        told = pl.Series([function(text) for text in distinct.to_list()], dtype=pl.String)
        return texts.replace_strict(distinct, told, return_dtype=pl.String)

    texts = pl.col(column) if isinstance(column, str) else column
    return texts.map_batches(call, return_dtype=pl.String, is_elementwise=True)
