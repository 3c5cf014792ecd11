"""Findings about rows: what is wrong with each, as a list of texts, null where nothing is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

__all__ = ["listed", "told"]

_TEXTS = pl.List(pl.String)


def told(found: Mapping[int, Sequence[str]], length: int) -> pl.Series:
    """Return a column of findings: the texts of each row number from 0 that has some, else null.

    Examples
    --------
    >>> told({1: ["BilledCost: missing"]}, 3).to_list()
    [None, ['BilledCost: missing'], None]
    """
    if not found:
        return pl.Series([None], dtype=_TEXTS).new_from_index(0, length)
    # A list of as many Python objects as rows, nearly all None, would cost more than the checks.
    distinct: dict[tuple[str, ...], int] = {}
    numbers = [distinct.setdefault(tuple(texts), len(distinct)) for texts in found.values()]
    places = pl.Series([None], dtype=pl.UInt32).new_from_index(0, length)
    places = places.scatter(list(found), pl.Series(numbers, dtype=pl.UInt32))
    return pl.Series(list(distinct), dtype=_TEXTS).gather(places)


def listed(findings: Sequence[tuple[pl.Expr, pl.Expr]]) -> pl.Expr:
    """List, per row, the texts of the findings that hold; null where none does.

    Parameters
    ----------
    findings : sequence of (polars.Expr, polars.Expr)
        Boolean expression and the text to list where it is true.

    Returns
    -------
    polars.Expr
        ``List(String)``. Batches without any finding, nearly all of them, cost one pass of "any".
    """
    if not findings:
        return pl.lit(None, dtype=_TEXTS)
    count = len(findings)

    def gather(columns: Sequence[pl.Series]) -> pl.Series:
        flags, texts = columns[:count], columns[count:]
        # A literal has length 1 and speaks of every row.
        lengths = [column.len() for column in columns]
        length = 0 if 0 in lengths else max(lengths)
        held = [flag for flag in flags if flag.any()]
        if not held:
            return told({}, length)
        found: dict[int, list[str]] = {}
        for flag, text in zip(flags, texts, strict=True):
            everywhere = flag.len() < length and flag.any()
            for row in range(length) if everywhere else flag.arg_true().to_list():
                said = text[row if text.len() > 1 else 0]
                found.setdefault(row, []).append(said)
        return told(found, length)

    columns = [flag.fill_null(False) for flag, _ in findings] + [text for _, text in findings]
    return pl.map_batches(columns, gather, return_dtype=_TEXTS, is_elementwise=True)
