"""Which reader reads a file: decided by its content, never by its name."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, Literal, Protocol, cast

import polars as pl

from finops_lab.config import Columns
from finops_lab.errors import InputError

__all__ = [
    "NOTES",
    "RAW",
    "REASONS",
    "ReadSettings",
    "Reader",
    "Sample",
    "detect",
    "inspect",
    "separator",
    "unreadable",
]

# Columns every reader adds: the row as delivered (a struct), and why it cannot be accepted. A
# reader may also note what it mended on an accepted row.
RAW = "_raw"
REASONS = "_reasons"
NOTES = "_notes"

# A module of these packages is a reader, unless its name starts with an underscore. Columns of our
# own come last: they are asked only when no format is recognised.
_PACKAGES = ("bills", "requests", "platform")
_PROBE_BYTES = 1 << 20


@dataclass(frozen=True)
class Sample:
    """The beginning of a file, as far as detection needs it."""

    path: Path
    kind: Literal["csv", "jsonl", "parquet"]
    columns: tuple[str, ...]
    first: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ReadSettings:
    """What `finops.toml` tells the readers.

    `tag_keys` are normalised tag keys that become ``x_tag_<key>`` columns of bill rows.
    `attributes` are names of request attributes per context column, tried first to last.
    `sample_rate` is the share of requests that was exported, if the file does not say. `columns`
    is the `[[columns]]` map of a file in columns of its own.
    """

    tag_keys: tuple[str, ...] = ()
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sample_rate: float | None = None
    columns: Columns | None = None


class Reader(Protocol):
    """A source format and the table it fills: a module, or an object in its ``READERS``.

    `SOURCE` cites what the format was read from, and says "from documentation" where no real file
    was at hand. A format that fills several tables has a reader for each, all of one `FORMAT`.

    `read` returns a LazyFrame with every column of the contract `TABLE` except the source file,
    in the contract's dtypes, null where a value was blank or could not be read; any further
    columns worth keeping; `RAW`, the row as delivered; and `REASONS`, a list of what could not be
    read (``"column: what is wrong"``), empty for a row without such faults.
    """

    @property
    def FORMAT(self) -> str: ...

    @property
    def TABLE(self) -> str: ...

    @property
    def SOURCE(self) -> str: ...

    def matches(self, sample: Sample) -> bool: ...

    def read(self, path: Path, settings: ReadSettings) -> pl.LazyFrame: ...


def readers() -> list[Reader]:
    """Return every reader, in the order they are asked."""
    base = "finops_lab.ingestion"
    names = [
        f"{base}.{package}.{module.name}"
        for package in _PACKAGES
        for module in iter_modules(import_module(f"{base}.{package}").__path__)
        if not module.name.startswith("_")
    ]
    modules = [import_module(name) for name in (*sorted(names), f"{base}.canonical")]
    return [cast("Reader", reader) for module in modules for reader in getattr(module, "READERS", (module,))]


def inspect(path: Path) -> Sample:
    """Look at the beginning of a file.

    Raises
    ------
    InputError
        When the file is empty or unreadable.
    """
    try:
        with path.open("rb") as stream:
            magic = stream.read(4)
        if magic == b"PAR1":
            return Sample(path, "parquet", tuple(pl.read_parquet_schema(path)))
        with gzip.open(path) if magic[:2] == b"\x1f\x8b" else path.open("rb") as stream:
            start = stream.readline(_PROBE_BYTES).decode("utf-8-sig", errors="replace").strip()
    except (OSError, EOFError, zlib.error, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise InputError(f"cannot be read: {_first_line(error)}", file=path) from None
    if not start:
        raise InputError("is empty", file=path, hint="remove it, or deliver it again")
    if start.startswith(("{", "[")):
        try:
            first = json.loads(start)
        except (ValueError, RecursionError):  # no JSON, or a bomb: thousands of digits or levels
            first = {}
        if isinstance(first, dict):
            return Sample(path, "jsonl", tuple(first), first)
        return Sample(path, "jsonl", ())
    if start.count('"') % 2:
        # polars would take the rest of the file for the header, and find no row.
        raise InputError(
            "the header has a quote that is not closed", file=path, row=0, hint="export the file again"
        )
    mark = _separator(start)
    try:
        header = next(csv.reader([start], delimiter=mark), [])
    except csv.Error:  # a stray line break or an endless field: no table
        header = []
    return Sample(path, "csv", tuple(name.strip() for name in header))


def separator(path: Path) -> str:
    """Return the character that separates the columns of a CSV file, read off its header."""
    with path.open("rb") as stream:
        zipped = stream.read(2) == b"\x1f\x8b"
    with gzip.open(path) if zipped else path.open("rb") as stream:
        return _separator(stream.readline(_PROBE_BYTES).decode("utf-8", errors="replace"))


def _separator(header: str) -> str:
    return max(",;\t|", key=header.count)


def detect(path: Path) -> tuple[Reader, ...]:
    """Return the readers of a file: the first that knows it, and those of its format's other tables.

    Raises
    ------
    InputError
        When no reader knows the content (the message names what was seen), or when a CSV file
        ends within a row.
    """
    sample = inspect(path)
    known = readers()
    first = next((reader for reader in known if reader.matches(sample)), None)
    if first is not None:
        if sample.kind == "csv":
            _refuse_cut(path, len(sample.columns))
        others = [r for r in known if r is not first and r.FORMAT == first.FORMAT and r.matches(sample)]
        return (first, *others)
    seen = ", ".join(name.replace("\n", " ")[:60] for name in sample.columns[:8]) or "no columns"
    raise InputError(
        f"no reader knows this {sample.kind} file (columns: {seen})",
        file=path,
        hint="a bill needs at least FOCUS's BilledCost and ChargePeriodStart; see the README for the formats read",
    )


def _refuse_cut(path: Path, width: int) -> None:
    """Refuse a CSV file that was copied in part: no line end, and fields missing in the last line.

    polars would fill the missing fields with nulls. A cut gzip file tells of itself.
    """
    with path.open("rb") as stream:
        if stream.read(2) == b"\x1f\x8b":
            return
        size = stream.seek(0, 2)
        stream.seek(max(0, size - _PROBE_BYTES))
        end = stream.read().decode("utf-8", errors="replace")
    last = end.rpartition("\n")[2]
    if not last.strip() or last.count('"') % 2:
        return  # complete, or the end of a text field of several lines
    fields = next(csv.reader([last], delimiter=separator(path)))
    if len(fields) < width:
        with path.open("rb") as stream:
            row = sum(block.count(b"\n") for block in iter(lambda: stream.read(_PROBE_BYTES), b""))
        raise InputError(
            f"the file ends within a row: {len(fields)} of {width} fields",
            file=path,
            row=row,
            hint="it was copied in part; deliver it again",
        )


def unreadable(path: Path, error: BaseException) -> InputError:
    """Say why a file could not be read, naming the row where it is one row's fault."""
    row = _ragged_row(path)
    if row is not None:
        return InputError(
            "the row has more fields than the header",
            file=path,
            row=row,
            hint="a text field with a comma or line break is not quoted; export the file again",
        )
    return InputError(f"cannot be read: {_first_line(error)[:200]}", file=path, hint="deliver the file again")


def _ragged_row(path: Path) -> int | None:
    """Find the first row with too many fields, to name it in the error."""
    try:
        mark = separator(path)
        with path.open("rb") as probe:
            zipped = probe.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rt", newline="") if zipped else path.open(newline="") as stream:
            lines = csv.reader(stream, delimiter=mark)
            width = len(next(lines))
            return next((n for n, fields in enumerate(lines, 1) if len(fields) > width), None)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, StopIteration, csv.Error):
        return None


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
