"""Texts of a column read by a Python function, each distinct text once."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import polars as pl

__all__ = ["each_distinct"]


def each_distinct(
    text: pl.Expr, read: Callable[[str], tuple[object, ...]], fields: Mapping[str, pl.DataType]
) -> pl.Expr:
    """Read each distinct text of a column into a struct; a null text gives null fields.

    Parameters
    ----------
    text : polars.Expr
        String column of few distinct values, such as names and units.
    read : callable
        Returns the values of `fields`, in their order.
    fields : mapping
        Names and dtypes of the struct.
    """
    nothing = (None,) * len(fields)

    def batch(texts: pl.Series) -> pl.Series:
        distinct = texts.unique()
        rows = [nothing if t is None else read(t) for t in distinct.to_list()]
        table = pl.DataFrame(rows, schema=dict(fields), orient="row").with_columns(distinct.alias("text"))
        joined = (
            texts.alias("text")
            .to_frame()
            .join(table, on="text", how="left", maintain_order="left", nulls_equal=True)
        )
        return joined.select(pl.struct(list(fields)).alias(texts.name)).to_series()

    return text.map_batches(batch, return_dtype=pl.Struct(dict(fields)), is_elementwise=True)
