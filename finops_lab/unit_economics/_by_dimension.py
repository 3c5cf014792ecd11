"""One long frame of all dimensions: what follows is asked once of it, not once of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import polars as pl

__all__ = ["PLACE", "added_up", "engine_for", "in_full", "named", "per_dimension"]

_SMALL = 10_000
PLACE = ("dimension", "month", "key")


def added_up(
    rows: pl.DataFrame, dimensions: Sequence[str | None], *sums: pl.Expr, also: Sequence[str] = ()
) -> pl.DataFrame:
    """Add up rows per month and value of each dimension (``key``); of None, the whole, per month.

    Parameters
    ----------
    rows : polars.DataFrame
        ``month`` and the columns of `dimensions` and `also`.
    dimensions : sequence of str or None
        What `finops_lab.unit_economics.figures.whole_and_by` returns.
    *sums : polars.Expr
        What is added up.
    also : sequence of str
        Further columns that tell groups apart.

    Returns
    -------
    polars.DataFrame
        ``dimension`` (String, null for the whole), ``month``, ``key`` (String), `also`, and the sums.

    Examples
    --------
    >>> rows = pl.DataFrame({"month": [1, 1], "team": ["a", "b"], "calls": [2, 3]})
    >>> added_up(rows, (None, "team"), pl.col("calls").sum()).sort("dimension", "key").rows()
    [(None, 1, None, 5), ('team', 1, 'a', 2), ('team', 1, 'b', 3)]
    """
    each = (
        rows.lazy()
        .group_by("month", named(dimension), *also)
        .agg(*sums)
        .select(pl.lit(dimension, pl.String).alias("dimension"), pl.all())
        for dimension in dimensions
    )
    return in_full(pl.concat(each).collect(engine=engine_for(rows)))


def per_dimension(
    rows: pl.DataFrame | pl.LazyFrame,
    dimensions: Sequence[str | None],
    columns: Callable[[str | None], Iterable[str | pl.Expr]],
) -> pl.LazyFrame:
    """Return rows once for each dimension, to group them all at once: `PLACE` and the columns of each.

    Examples
    --------
    >>> rows = pl.DataFrame({"month": [1, 1], "team": ["a", "b"], "calls": [2, 3]})
    >>> found = per_dimension(rows, (None, "team"), lambda _: ["calls"])
    >>> found.group_by(PLACE).agg(pl.col("calls").sum()).sort("calls").collect().rows()
    [('team', 1, 'a', 2), ('team', 1, 'b', 3), (None, 1, None, 5)]
    """
    return pl.concat(
        rows.lazy().select(
            pl.lit(dimension, pl.String).alias("dimension"),
            "month",
            named(dimension),
            *columns(dimension),
        )
        for dimension in dimensions
    )


def in_full(frame: pl.DataFrame) -> pl.DataFrame:
    """Write out the columns that polars keeps as one value, such as those joined from one row.

    Floats over such a column are multiplied by its reciprocal, which is off in the last digit.

    Examples
    --------
    >>> one = pl.DataFrame({"part": [94.0, 50.0]}).with_columns(whole=pl.lit(100.0))
    >>> in_full(one).select(pl.col("part") / pl.col("whole")).to_series().to_list()
    [0.94, 0.5]
    """
    return pl.DataFrame(frame.get_columns())


def named(dimension: str | None) -> pl.Expr:
    """Return the value of a dimension as ``key``: null for the whole.

    Examples
    --------
    >>> pl.DataFrame({"gpus": [8]}).select(named("gpus")).item()
    '8'
    """
    key = pl.lit(None, pl.String) if dimension is None else pl.col(dimension).cast(pl.String)
    return key.alias("key")


def engine_for(rows: pl.DataFrame | pl.LazyFrame) -> Literal["in-memory", "auto"]:
    """Return the engine that asks rows soonest: of few, streaming costs more to begin than to run.

    Examples
    --------
    >>> engine_for(pl.DataFrame({"a": [1]})), engine_for(pl.LazyFrame({"a": [1]}))
    ('in-memory', 'auto')
    """
    return "in-memory" if isinstance(rows, pl.DataFrame) and rows.height <= _SMALL else "auto"
