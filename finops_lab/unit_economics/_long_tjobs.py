"""Sums of the whole and of every dimension in one long frame: a query for all, not one for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import polars as pl

from finops_lab.calendar import months_from

__all__ = ["PLACE", "by_each", "engine_of", "every_month"]

# What a figure is of, but for its measure. `dimension` and `key` of the whole are null.
PLACE = ("month", "dimension", "key")

# Of so few rows the streaming engine costs more to begin than to run.
_SMALL = 10_000


def by_each(
    rows: pl.DataFrame, dimensions: Sequence[str | None], *sums: pl.Expr, keys: Sequence[str] = ()
) -> pl.DataFrame:
    """Add up rows per month and value of each dimension, and of the whole where one is None.

    Parameters
    ----------
    rows : polars.DataFrame
        ``month``, and a column of every dimension.
    dimensions : sequence of str or None
        What `finops_lab.unit_economics.figures.whole_and_by` returns.
    *sums : polars.Expr
        What is told of each group.
    keys : sequence of str
        Columns that tell groups apart beside.

    Returns
    -------
    polars.DataFrame
        ``month``, ``dimension`` and ``key`` (String, null for the whole), `keys` and the sums; in no order.

    Examples
    --------
    >>> rows = pl.DataFrame({"month": [1, 1], "team": ["a", "b"], "calls": [2, 3]})
    >>> by_each(rows, (None, "team"), pl.col("calls").sum()).sort("dimension", "key").rows()
    [(1, None, None, 5), (1, 'team', 'a', 2), (1, 'team', 'b', 3)]
    """
    frame = rows.lazy()
    each = [
        frame.with_columns(
            (pl.lit(None) if dimension is None else pl.col(dimension)).cast(pl.String).alias("key")
        )
        .group_by("month", "key", *keys)
        .agg(*sums)
        .select("month", pl.lit(dimension, pl.String).alias("dimension"), pl.all().exclude("month"))
        for dimension in dict.fromkeys(dimensions)
    ]
    return pl.concat(each).collect(engine=engine_of(rows))


def every_month(months: pl.Series) -> pl.LazyFrame:
    """Return what figures of the whole are of: every month from the first to the last.

    Examples
    --------
    >>> from datetime import date
    >>> every_month(pl.Series([date(2026, 12, 1), None, date(2026, 10, 1)])).collect().height
    3
    """
    known = months.drop_nulls().to_list()
    every = months_from(min(known), max(known)) if known else []
    nothing = [pl.lit(None, pl.String).alias(name) for name in PLACE[1:]]
    return pl.LazyFrame({"month": every}, schema={"month": pl.Date}).with_columns(nothing)


def engine_of(rows: pl.DataFrame | pl.LazyFrame) -> Literal["in-memory", "auto"]:
    """Return the engine that works out a query of some rows in the least time."""
    return "in-memory" if isinstance(rows, pl.DataFrame) and rows.height <= _SMALL else "auto"
