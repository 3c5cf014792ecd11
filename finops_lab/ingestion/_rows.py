"""Rows that a reader takes out of a file one by one, made into frames of a contract."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import polars as pl
from polars.io.plugins import register_io_source

from finops_lab import contracts
from finops_lab.ingestion._json import short
from finops_lab.ingestion._tags import tag_columns
from finops_lab.ingestion.registry import NOTES, RAW, REASONS
from finops_lab.money import MONEY, excess_digits, is_blank, parse

__all__ = ["batch", "broken", "frame"]

_BATCH = 4_000  # rows held as Python objects at a time
_TEXTS = pl.List(pl.String)


def broken(number: int, line: str, fault: str) -> dict[str, Any]:
    """Return the row of a record that could not be read at all."""
    return {"source_row": number, "line": line, "reasons": [fault]}


def frame(
    table: str,
    rows: Callable[[], Iterable[dict[str, Any]]],
    *,
    extra: Sequence[str] = (),
    tag_keys: Sequence[str] = (),
) -> pl.LazyFrame:
    """Make a frame of one contract of rows read one by one.

    Parameters
    ----------
    table : str
        Name of the contract.
    rows : callable
        Returns the rows: dicts of columns of the contract (moments as microseconds since 1970,
        money as its literal text, what is absent is null), ``line`` as delivered, ``reasons`` and
        optionally ``notes`` (lists of str), and ``source_row``, counted from 1. ``day`` and
        ``x_BillingMonth`` are derived. It may be called more than once.
    extra : sequence of str
        Further text columns that the rows carry; of a bill, spelled ``x_...``.
    tag_keys : sequence of str
        Normalised tag keys that become ``x_tag_<key>`` columns of a bill.

    Returns
    -------
    polars.LazyFrame
        The contract without its source file, `extra`, tag columns, and `RAW`, `REASONS`, `NOTES`.
        Rows are read while the frame is collected, 4,000 at a time.
    """
    empty = batch(table, [], extra, tag_keys)

    def source(
        columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, _size: int | None
    ) -> Iterator[pl.DataFrame]:
        remaining = iter(rows())
        left = n_rows
        while (left is None or left > 0) and (part := list(itertools.islice(remaining, _BATCH))):
            done = batch(table, part, extra, tag_keys)
            if left is not None:
                done = done.head(left)
                left -= done.height
            done = done if predicate is None else done.filter(predicate)
            yield done if columns is None else done.select(columns)

    return register_io_source(source, schema=empty.schema, is_pure=True)


def _delivered(dtype: pl.DataType) -> pl.DataType:
    if isinstance(dtype, pl.Datetime):
        return pl.Int64()
    return pl.String() if dtype == MONEY else dtype


def _literal(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return short(value) if isinstance(value, bool | list | dict) else str(value)


def batch(
    table: str, rows: list[dict[str, Any]], extra: Sequence[str] = (), tag_keys: Sequence[str] = ()
) -> pl.DataFrame:
    """Make one frame of some rows; `frame` says what they hold."""
    bill = table == "costs"
    wanted = {n: t for n, t in contracts.dtypes(table).items() if n not in ("source_file", "x_SourceFile")}
    derived = ("day", "x_BillingMonth")
    reasons = [list(row["reasons"] or ()) for row in rows]
    columns: dict[str, pl.Series] = {}
    for name, dtype in wanted.items():
        if name in derived:
            continue
        key = "source_row" if name == "x_SourceRow" else name
        values = [row.get(key) for row in rows]
        values = [_literal(v) for v in values] if dtype == MONEY else values
        columns[name] = pl.Series(name, values, dtype=_delivered(dtype))
    money = [name for name, dtype in wanted.items() if dtype == MONEY]
    currency = pl.col("BillingCurrency") if bill else None
    texts = pl.DataFrame(columns)
    amounts = texts.select(parse(pl.col(name), currency).alias(name) for name in money)
    rounded: list[tuple[str, pl.Series]] = []
    for name in money:
        unread = amounts[name].is_null() & ~texts.select(is_blank(pl.col(name))).to_series()
        for place in unread.arg_true().to_list():
            reasons[place].append(f"{name}: '{short(texts[name][place])}' is not a number")
        rounded.append((name, texts.select(excess_digits(pl.col(name))).to_series()))
    notes: list[list[str]] = [list(row.get("notes") or ()) for row in rows]
    for name, flags in rounded:
        for place in flags.arg_true().to_list():
            notes[place].append(f"{name}: more than 18 decimals, rounded to 18")
    moment = next((n for n, t in wanted.items() if isinstance(t, pl.Datetime)), None)
    done = texts.with_columns(
        *amounts.get_columns(),
        *[pl.col(n).cast(t) for n, t in wanted.items() if isinstance(t, pl.Datetime)],
        pl.Series(RAW, [{"line": row["line"]} for row in rows], dtype=pl.Struct({"line": pl.String})),
        pl.Series(REASONS, [r or None for r in reasons], dtype=_TEXTS),
        pl.Series(NOTES, [n or None for n in notes], dtype=_TEXTS),
        *[pl.Series(name, [_literal(row.get(name)) for row in rows], dtype=pl.String) for name in extra],
    )
    if bill:
        done = done.with_columns(
            pl.col("BillingPeriodStart").dt.strftime("%Y-%m").alias("x_BillingMonth"),
        )
    elif "day" in wanted and moment is not None:
        done = done.with_columns(pl.col(moment).dt.date().alias("day"))
    tags = [f"x_tag_{key}" for key in tag_keys] if bill else []
    if tags:
        done = done.with_columns(tag_columns(tag_keys).alias("_tags")).unnest("_tags")
    return done.select(*wanted, *extra, *tags, RAW, REASONS, NOTES)
