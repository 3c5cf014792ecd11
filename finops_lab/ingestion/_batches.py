"""Scans in batches of a useful size."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl
from polars.io.plugins import register_io_source

__all__ = ["batches", "in_batches"]

_ROWS = 100_000
_END = "_end"


def batches(frame: pl.LazyFrame, rows: int) -> Iterator[pl.DataFrame]:
    """Collect a frame batch by batch, in order, and tell when not all of it could be collected.

    polars' own `collect_batches` ends as if all had been read when one of its threads panics: the
    rest of a file would be lost in silence. Here a marked row comes last, and must arrive.

    Raises
    ------
    polars.exceptions.ComputeError
        When polars stopped before the end.
    """
    schema = frame.collect_schema()
    last = pl.LazyFrame({name: [None] for name in schema}, schema=schema)
    marked = pl.concat(
        [frame.with_columns(pl.lit(False).alias(_END)), last.with_columns(pl.lit(True).alias(_END))]
    )
    ended = False
    for batch in marked.collect_batches(chunk_size=rows, maintain_order=True):
        if batch.height and batch[_END][-1]:
            ended, batch = True, batch.head(-1)
        if batch.height:
            yield batch.drop(_END)
    if not ended:
        raise pl.exceptions.ComputeError("a value of a kind that polars cannot handle")


def in_batches(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Return the frame so that what follows sees batches of 100,000 rows.

    polars hands on a gzipped CSV in pieces of 45 to 2,700 rows, and a reader's Python functions
    cost a call per piece: in batches, ingest takes less than half of the CPU.
    """

    def source(
        columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, _batch: int | None
    ) -> Iterator[pl.DataFrame]:
        part = frame if columns is None else frame.select(columns)
        part = part if predicate is None else part.filter(predicate)
        part = part if n_rows is None else part.head(n_rows)
        for batch in batches(part, _ROWS):
            yield batch.rechunk()

    return register_io_source(source, schema=frame.collect_schema(), is_pure=True)
