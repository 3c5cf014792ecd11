"""Codes of an export looked up in a table."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

__all__ = ["looked_up"]


def looked_up(
    code: pl.Expr, table: Mapping[str, object] | Mapping[int, object], dtype: pl.DataType
) -> pl.Expr:
    """Return what a table says of each code; null of a code that it does not know.

    As `Expr.replace_strict`, which polars' streaming engine carries out on whole columns: it would
    hold the whole bill.

    Examples
    --------
    >>> codes = pl.Series(["AmazonS3", "Other"])
    >>> pl.select(looked_up(pl.lit(codes), {"AmazonS3": "Storage"}, pl.String())).to_series().to_list()
    ['Storage', None]
    """
    known, said = list(table), list(table.values())
    return code.map_batches(
        lambda codes: codes.replace_strict(known, said, default=None, return_dtype=dtype),
        return_dtype=dtype,
        is_elementwise=True,
    )
