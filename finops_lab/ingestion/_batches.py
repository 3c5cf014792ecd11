"""Scans in batches of a useful size."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl
from polars.io.plugins import register_io_source

__all__ = ["in_batches"]

_ROWS = 100_000


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
        for batch in part.collect_batches(chunk_size=_ROWS, maintain_order=True):
            yield batch.rechunk()

    return register_io_source(source, schema=frame.collect_schema(), is_pure=True)
