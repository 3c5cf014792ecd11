"""What could not be read of a table's values, or not without rounding: told row by row.

One Python call per batch looks at all columns, and does no more than count nulls where nothing is
wrong, as in nearly every batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from finops_lab.contracts import told
from finops_lab.money import excess_digits, is_blank

__all__ = ["joined", "rounded", "unread"]

_TEXTS = pl.List(pl.String)


def unread(columns: Sequence[tuple[str, str, str]]) -> pl.Expr:
    """List the values that were there and could not be read.

    Parameters
    ----------
    columns : sequence of (str, str, str)
        Column as read, column as delivered (text), and what it should have been ("a number").

    Returns
    -------
    polars.Expr
        ``List(String)`` such as ``["BilledCost: 'abc' is not a number"]``; null where all was read.

    Examples
    --------
    >>> rows = pl.DataFrame({"x": [1, None, None], "given": ["1", "?", "n/a"]})
    >>> rows.select(unread([("x", "given", "a number")])).to_series().to_list()
    [None, ["x: '?' is not a number"], None]
    """
    count = len(columns)

    def tell(series: Sequence[pl.Series]) -> pl.Series:
        found: dict[int, list[str]] = {}
        for (name, _, kind), read, given in zip(columns, series[:count], series[count:], strict=True):
            if read.null_count() == given.null_count():
                continue
            places = (read.is_null() & given.is_not_null()).arg_true()
            texts = given.gather(places)
            blank = texts.to_frame("text").select(is_blank(pl.col("text"))).to_series()
            for place, text, nothing in zip(places, texts, blank, strict=True):
                if not nothing:
                    found.setdefault(place, []).append(f"{name}: '{text}' is not {kind}")
        return told(found, series[0].len())

    return _told(tell, [*(read for read, _, _ in columns), *(given for _, given, _ in columns)])


def rounded(columns: Sequence[tuple[str, str]]) -> pl.Expr:
    """List the amounts that carried more than 18 decimals and were rounded.

    Parameters
    ----------
    columns : sequence of (str, str)
        Name to tell, column as delivered (text).

    Returns
    -------
    polars.Expr
        ``List(String)``; null where nothing was rounded.
    """

    def tell(series: Sequence[pl.Series]) -> pl.Series:
        found: dict[int, list[str]] = {}
        for (name, _), given in zip(columns, series, strict=True):
            flags = given.to_frame("text").select(excess_digits(pl.col("text"))).to_series()
            for place in flags.arg_true() if flags.any() else ():
                found.setdefault(place, []).append(f"{name}: more than 18 decimals, rounded to 18")
        return told(found, series[0].len())

    return _told(tell, [given for _, given in columns])


def joined(first: pl.Expr, second: pl.Expr) -> pl.Expr:
    """Put two lists of findings together, row by row; null where both are.

    Examples
    --------
    >>> rows = pl.DataFrame({"a": [["x"], None], "b": [["y"], None]})
    >>> rows.select(joined(pl.col("a"), pl.col("b"))).to_series().to_list()
    [['x', 'y'], None]
    """

    def join(series: Sequence[pl.Series]) -> pl.Series:
        one, two = series
        if two.null_count() == two.len():
            return one
        if one.null_count() == one.len():
            return two
        places = (one.is_not_null() | two.is_not_null()).arg_true()
        pairs = zip(places, one.gather(places).to_list(), two.gather(places).to_list(), strict=True)
        return told({place: [*(a or ()), *(b or ())] for place, a, b in pairs}, one.len())

    return pl.map_batches([first, second], join, return_dtype=_TEXTS, is_elementwise=True)


def _told(tell: object, columns: Sequence[str]) -> pl.Expr:
    if not columns:
        return pl.lit(None, dtype=_TEXTS)
    return pl.map_batches([pl.col(name) for name in columns], tell, return_dtype=_TEXTS, is_elementwise=True)  # type: ignore[arg-type]
