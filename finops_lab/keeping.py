"""What is kept in a lake beside its tables: named after what it was made of, written by one at a time."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Set
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

import polars as pl

__all__ = ["alive", "digest", "form_of", "in_form", "only", "partition_values", "put"]

_MARK = b"PAR1"
_SAYS_SCHEMA = b"ARROW:schema"


def partition_values(name: str) -> dict[str, str]:
    """Return what the folders of a data file say of its rows.

    Examples
    --------
    >>> partition_values("day=2026-10-01/part-0.parquet")
    {'day': '2026-10-01'}
    """
    parts = (part.partition("=") for part in name.split("/")[:-1])
    return {key: value for key, _, value in parts}


def digest(value: object) -> str:
    """Return the SHA-256 of a value that JSON can hold."""
    return sha256(json.dumps(value).encode()).hexdigest()


def alive(process: str) -> bool:
    """Tell whether a process of this number runs: it may be writing."""
    try:
        os.kill(int(process), 0)
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True


def put(frame: pl.DataFrame, place: Path) -> None:
    """Write beside and move into place, so that nothing half-written is ever read.

    What is kept only saves work: where it cannot be written, the next run works it out again.
    """
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = place.with_name(f".{place.name}.{os.getpid()}")
        frame.write_parquet(beside, compression="lz4")
        beside.replace(place)


def only(folder: Path, wanted: Set[str]) -> None:
    """Remove what is kept in a folder under other names, and what a crash left; others may be writing."""
    for place in folder.iterdir() if folder.is_dir() else ():
        writing = place.name.startswith(".") and alive(place.name.rpartition(".")[2])
        if place.name not in wanted and not writing:
            with suppress(OSError):
                place.unlink()


def form_of(schema: Mapping[str, pl.DataType | type[pl.DataType]]) -> bytes:
    """Return what the end of a Parquet file says when its columns are of this schema.

    Examples
    --------
    >>> form_of({"a": pl.Int64}) == form_of({"b": pl.Int64})
    False
    """
    return _form(tuple(schema.items()))


@cache
def _form(schema: tuple[tuple[str, pl.DataType | type[pl.DataType]], ...]) -> bytes:
    written = io.BytesIO()
    pl.DataFrame(schema=dict(schema)).write_parquet(written)
    _, says, after = (_end(written) or b"").partition(_SAYS_SCHEMA)
    # The schema is written in letters, up to a zero byte.
    return says + after.partition(b"\0")[0]


def _end(file: BinaryIO) -> bytes | None:
    """Return what a Parquet file says of itself; None where it has no such end."""
    size = file.seek(0, os.SEEK_END)
    if size < 2 * len(_MARK) + 4:
        return None
    file.seek(-8, os.SEEK_END)
    length, mark = file.read(4), file.read(4)
    says = int.from_bytes(length, "little")
    if mark != _MARK or says > size - 12:
        return None
    file.seek(-8 - says, os.SEEK_END)
    return file.read(says)


def in_form(place: Path, form: bytes) -> bool:
    """Tell whether a Parquet file is there, whole and of a form: its first rows need not be read."""
    try:
        with place.open("rb") as file:
            end = _end(file)
    except OSError:
        return False
    return end is not None and form in end
