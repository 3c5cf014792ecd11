"""Scans of CSV and Parquet files as delivered: text stays text, rows are counted from 1."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import polars as pl

from finops_lab.errors import InputError
from finops_lab.ingestion import _csv
from finops_lab.ingestion.registry import separator

__all__ = ["NULLS", "ROW", "as_text", "demand", "parquet_batches", "scan_table", "table_batches"]

ROW = "_row"
_ROWS = 50_000
NULLS = ("NULL", "null", "Null", "(null)", "")


def scan_table(path: Path, nulls: Sequence[str] = NULLS) -> pl.LazyFrame:
    """Scan a CSV (plain or gzip) or Parquet file.

    Parameters
    ----------
    path : pathlib.Path
        The file; any of ``, ; tab |`` between the columns of a CSV.
    nulls : sequence of str
        Texts that mean null.

    Returns
    -------
    polars.LazyFrame
        The file's columns, text in a CSV and as stored in Parquet, their names without a byte
        order mark, quotes and blanks around them; and `ROW`, the row's number without the header.
    """
    with path.open("rb") as stream:
        parquet = stream.read(4) == b"PAR1"
    if parquet:
        raw = pl.scan_parquet(path, row_index_name=ROW, row_index_offset=1)
        kinds = dict(raw.collect_schema())
        # These are text in every format but Parquet, and polars casts a duration to no text.
        lasting = [name for name, dtype in kinds.items() if isinstance(dtype, pl.Duration)]
        chosen = [name for name, dtype in kinds.items() if isinstance(dtype, pl.Categorical | pl.Enum)]
        raw = raw.with_columns(
            *[pl.col(name).dt.to_string() for name in lasting],
            *[pl.col(name).cast(pl.String) for name in chosen],
        )
        texts = pl.col(pl.String)
        raw = raw.with_columns(pl.when(~texts.is_in(list(nulls))).then(texts).name.keep())
    else:
        raw = _csv.scan(path, separator=separator(path), nulls=nulls, row=ROW)
    return raw.rename(_names(raw.collect_schema().names()))


def table_batches(path: Path, nulls: Sequence[str] = NULLS) -> Iterator[pl.DataFrame]:
    """Read what `scan_table` scans batch by batch, all of it text but `ROW`."""
    with path.open("rb") as stream:
        parquet = stream.read(4) == b"PAR1"
    if parquet:
        found = parquet_batches(scan_table(path, nulls))
    else:
        found = _csv.frames(path, separator=separator(path), nulls=nulls, row=ROW)
    for batch in found:
        named = batch if parquet else batch.rename(_names(batch.columns))
        kinds = {name: dtype for name, dtype in named.schema.items() if name != ROW}
        yield named.select(ROW, *[as_text(pl.col(name), dtype).alias(name) for name, dtype in kinds.items()])


def parquet_batches(table: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """Read a scan of Parquet 50,000 rows at a time."""
    rows = table.select(pl.len()).collect().item()
    for start in range(0, rows, _ROWS):
        yield table.slice(start, _ROWS).collect()


def _names(delivered: Sequence[str]) -> dict[str, str]:
    """Spell the columns' names so that each can be asked for by name, none twice.

    polars reads ``*`` and ``^...$`` as patterns of names, and names that begin with an underscore
    are the readers' own.
    """
    used = {ROW}
    found = {}
    for number, name in enumerate(name for name in delivered if name != ROW):
        spelled = name.strip('\ufeff" \t').replace("*", "_").removeprefix("^")
        spelled = free = re.sub(r"^_", "column_", spelled) or f"column_{number + 1}"
        count = 2
        while free in used:
            free, count = f"{spelled}_{count}", count + 1
        used.add(free)
        found[name] = free
    return found


def demand(path: Path, columns: Iterable[str], named: Iterable[str]) -> None:
    """Refuse a file that lacks a column which ``[[columns]]`` in `finops.toml` names.

    Raises
    ------
    InputError
        With the nearest column as a hint.
    """
    known = list(columns)
    for name in named:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            raise InputError(
                f"has no column {name!r}, which [[columns]] names",
                file=path,
                column=name,
                hint=f"did you mean {close[0]!r}?" if close else f"columns: {', '.join(known)}",
            )


def as_text(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Write a column as text: maps, lists and structs as JSON, bytes as text or hex."""
    if dtype == pl.String or dtype.is_numeric() or dtype.is_temporal() or dtype == pl.Boolean:
        return column.cast(pl.String)
    return column.map_batches(
        lambda s: pl.Series([_json(v) for v in s.to_list()], dtype=pl.String),
        return_dtype=pl.String,
        is_elementwise=True,
    )


def _json(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value.hex()
    nested = isinstance(value, dict | list)
    return json.dumps(value, default=_json, ensure_ascii=False) if nested else str(value)
