"""JSON lines on two roads: a typed decoder for regular lines, record by record for all others.

The fast road decodes lines into typed structs (`msgspec`) and computes columns of whole blocks. What
it cannot vouch for (another type, a fault, a value with something to tell) it leaves, and the slow
road, which has a reason for everything, reads those lines. Both give the same rows; without
`msgspec` the slow road reads all.
"""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import polars as pl
from polars.io.plugins import register_io_source

from finops_lab.ingestion import _json, _rows

__all__ = ["LINE", "Document", "Regular", "Road", "Slow", "decode_all", "frame", "library"]

# Small blocks stay in the processor's cache while they are taken apart: 1 MB costs half as much again.
_BLOCK = 1 << 18
_ROWS = 8_000
_BYTES = 16 << 20
LINE = "_line"

Document = _json.Document
# The rows of one document, or of those of its records that are named (counted from 1), and the
# number of records in it. ``source_row`` counts within the document.
Slow = Callable[[Document, "set[int] | None"], tuple[int, list[dict[str, Any]]]]


@dataclass(frozen=True)
class Regular:
    """What the fast road made of some lines.

    `rows` are columns of the contract, ``source_row`` counted within its line, and `LINE`, counted
    from 0. `widths` are the records of each line, if not all have one. `irregular` are the lines
    left for the slow road, with the records it has to read there (none named: all).
    """

    rows: pl.DataFrame
    lines: int
    widths: Sequence[int] | None = None
    irregular: Mapping[int, set[int] | None] = field(default_factory=dict)


class Road(Protocol):
    """The fast road of one format."""

    def take(self, lines: Sequence[bytes], sound: bool) -> int:
        """Decode some lines (`sound`: surely UTF-8); return the number of records held."""
        ...

    def rows(self) -> Regular:
        """Return the rows of the lines taken, and forget them."""
        ...


def library() -> Any:
    """Return `msgspec`, or None where it is not installed."""
    try:
        return import_module("msgspec")
    except ImportError:
        return None


def decode_all(
    decode: Callable[[bytes], Any], lines: Sequence[bytes], sound: bool, otherwise: Any
) -> list[Any]:
    """Decode lines; a line that cannot be decoded as expected gives `otherwise`."""
    faults = (library().MsgspecError, UnicodeDecodeError, RecursionError)
    if sound:
        try:
            return list(map(decode, lines))
        except faults:
            pass
    found = []
    for line in lines:
        try:
            # The decoder does not look at the text of fields it skips.
            if not sound:
                line.decode()
            found.append(decode(line))
        except faults:
            found.append(otherwise)
    return found


def frame(
    table: str,
    path: Path,
    road: Callable[[], Road | None],
    slow: Slow,
    nothing: Callable[[], None] = lambda: None,
) -> pl.LazyFrame:
    """Make a frame of one contract out of a file of JSON lines.

    Parameters
    ----------
    table : str
        Name of the contract.
    path : pathlib.Path
        JSON lines, plain or gzip; a single JSON text is read by the slow road.
    road : callable
        Makes the fast road, or none where there is none.
    slow : callable
        Reads one document.
    nothing : callable
        Called when the whole file was read and had no record; it may raise.

    Returns
    -------
    polars.LazyFrame
        As `_rows.frame`. Of rows that came by the fast road `RAW` is empty: they break no rule.
    """
    empty = _rows.batch(table, [])

    def source(
        columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, _size: int | None
    ) -> Iterator[pl.DataFrame]:
        left = n_rows
        for done in _frames(table, path, road(), slow, nothing):
            if left is not None:
                done = done.head(left)
                left -= done.height
            done = done if predicate is None else done.filter(predicate)
            yield done if columns is None else done.select(columns)
            if left is not None and left <= 0:
                return

    return register_io_source(source, schema=empty.schema, is_pure=True)


def _frames(
    table: str, path: Path, road: Road | None, slow: Slow, nothing: Callable[[], None]
) -> Iterator[pl.DataFrame]:
    base = held = 0
    blocks: list[bytes] = []
    if road is None or _json.breaks_over_lines(path):
        for documents in _groups(_json.documents(path)):
            done, base = _slowly(table, documents, slow, base)
            yield done
    else:
        for block in _json.blocks(path, _BLOCK):
            blocks.append(block)
            held += len(block)
            with _uncollected():
                count = road.take(_lines(block), _is_text(block))
            if count >= _ROWS or held >= _BYTES:
                done, base = _join(table, road.rows(), blocks, slow, base)
                yield done
                blocks, held = [], 0
        if blocks:
            done, base = _join(table, road.rows(), blocks, slow, base)
            yield done
    if not base:
        nothing()


@contextmanager
def _uncollected() -> Iterator[None]:
    """Let no garbage be collected: thousands of new objects, none in a cycle, cost a fifth of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _groups(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Group documents by the size of their text, so that few rows are held at a time."""
    held: list[Document] = []
    size = 0
    for document in documents:
        held.append(document)
        size += len(document.text)
        if size >= _BYTES // 4:
            yield held
            held, size = [], 0
    if held:
        yield held


def _slowly(table: str, documents: Iterable[Document], slow: Slow, base: int) -> tuple[pl.DataFrame, int]:
    rows: list[dict[str, Any]] = []
    for document in documents:
        width, found = slow(document, None)
        rows.extend({**row, "source_row": base + row["source_row"]} for row in found)
        base += width
    return _rows.batch(table, rows), base


def _lines(block: bytes) -> list[bytes]:
    return [line for line in block.split(b"\n") if line and not line.isspace()]


def _is_text(block: bytes) -> bool:
    if block.isascii():
        return True
    try:
        block.decode()
    except UnicodeDecodeError:
        return False
    return True


def _join(
    table: str, regular: Regular, blocks: Sequence[bytes], slow: Slow, base: int
) -> tuple[pl.DataFrame, int]:
    """Put the rows of both roads in the order of the file; count the records from `base`."""
    if not regular.irregular and regular.widths is None:
        rows = regular.rows.with_columns(pl.col("source_row") + pl.col(LINE) + base).drop(LINE)
        return rows, base + regular.lines
    widths = list(regular.widths) if regular.widths is not None else [1] * regular.lines
    left: list[tuple[int, dict[str, Any]]] = []
    for number, text in _pick(blocks, regular.irregular):
        wanted = regular.irregular[number]
        width, found = slow(_json.document(text), wanted)
        widths[number] = width
        left.extend((number, row) for row in found)
    starts = list(itertools.accumulate(widths, initial=base))
    places = pl.Series(starts, dtype=pl.Int64)
    rows = regular.rows.with_columns(pl.col("source_row") + places.gather(regular.rows[LINE])).drop(LINE)
    if left:
        others = [{**row, "source_row": starts[number] + row["source_row"]} for number, row in left]
        rows = pl.concat([rows, _rows.batch(table, others)]).sort("source_row")
    return rows, starts[-1]


def _pick(blocks: Sequence[bytes], wanted: Mapping[int, Any]) -> Iterator[tuple[int, bytes]]:
    """Find lines by their number, in order; only blocks that hold one are split again."""
    numbers = iter(sorted(wanted))
    number = next(numbers, None)
    first = 0
    for block in blocks:
        if number is None:
            return
        lines = _lines(block)
        while number is not None and number < first + len(lines):
            yield number, lines[number - first]
            number = next(numbers, None)
        first += len(lines)
