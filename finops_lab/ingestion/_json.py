"""JSON as exports hold it: records out of a file, values out of a record, each fault told."""

from __future__ import annotations

import gzip
import json
import math
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, cast

from finops_lab.errors import InputError
from finops_lab.ingestion._moments import Epoch, microseconds
from finops_lab.ingestion.registry import Sample
from finops_lab.money import BLANKS

_PROBE_BYTES = 1 << 20
# A pretty-printed document breaks its lines after one of these.
_OPEN = (b"{", b"[", b",")
_WHOLE = re.compile(r"[+-]?[0-9]{1,19}(\.0*)?")
_ARRAY_OF_RECORDS = re.compile(r'\s*(\{\s*"data"\s*:\s*)?\[\s*(?=\{)')


@dataclass(frozen=True, slots=True)
class Document:
    """One line of a file (or the whole file, when it is one JSON text): its value, or its fault."""

    text: str
    value: Any
    fault: str | None = None


def decode(text: str) -> Any:
    """Read one JSON text; numbers with a point become Decimal, so that money stays exact.

    Raises
    ------
    ValueError
        When the text is no JSON, or holds characters that cannot be stored.
    """
    try:
        value = json.loads(text, parse_float=Decimal)
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg.removesuffix(' at')} at character {error.pos + 1}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ArithmeticError:
        raise ValueError("a number is out of range") from None
    if "\\ud" in text or "\\uD" in text:
        try:
            compact(value).encode()
        except UnicodeEncodeError:
            raise ValueError("half of a surrogate pair") from None
    return value


def compact(value: Any) -> str:
    """Write a value as JSON without blanks."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def documents(path: Path) -> Iterator[Document]:
    """Read the JSON texts of a file: one per line, or a single one over all lines.

    Raises
    ------
    InputError
        When the file cannot be read, or is one broken JSON text.
    """
    lines: Iterator[bytes] = (line for line in _lines(path) if line.strip())
    first = next(lines, None)
    if first is None:
        return
    head = document(first)
    if head.fault is not None and first.rstrip().endswith(_OPEN):
        rest = list(lines)
        whole = document(b"".join([first, *rest]))
        if whole.fault is None:
            yield whole
            return
        if not any(isinstance(document(line).value, dict) for line in rest[:1000]):
            raise InputError(whole.fault.removeprefix("line: "), file=path, hint="deliver the file again")
        lines = iter(rest)
    yield head
    for line in lines:
        yield document(line)


def _lines(path: Path) -> Iterator[bytes]:
    with _opened(path) as stream:
        yield from stream


@contextmanager
def _opened(path: Path, buffering: int = -1) -> Iterator[IO[bytes]]:
    try:
        with path.open("rb") as probe:
            zipped = probe.read(2) == b"\x1f\x8b"
        with gzip.open(path) if zipped else path.open("rb", buffering=buffering) as stream:
            yield cast("IO[bytes]", stream)
    except (OSError, EOFError, zlib.error) as error:
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InputError(f"cannot be read: {said}", file=path, hint="deliver the file again") from None


def blocks(path: Path, size: int) -> Iterator[bytes]:
    """Read a file in blocks of about `size` bytes that end with a line.

    Raises
    ------
    InputError
        When the file cannot be read.
    """
    with _opened(path, 0) as stream:
        parts: list[bytes] = []
        while block := stream.read(size):
            cut = block.rfind(b"\n") + 1
            if not cut:
                parts.append(block)
                continue
            parts.append(block[:cut])
            yield b"".join(parts)
            parts = [block[cut:]]
        if rest := b"".join(parts):
            yield rest


def breaks_over_lines(path: Path) -> bool:
    """Tell whether the first text of a file seems to go on in the next line."""
    first = next((line for line in _lines(path) if line.strip()), b"")
    return first.rstrip().endswith(_OPEN)


def document(line: bytes) -> Document:
    """Read the JSON text of one line."""
    try:
        text = line.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        return Document(line.decode("utf-8", errors="replace").strip(), None, "line: is not UTF-8 text")
    try:
        return Document(text, decode(text))
    except ValueError as error:
        return Document(text, None, f"line: is not JSON ({error})")


def beginnings(sample: Sample) -> Iterator[Mapping[str, Any]]:
    """Return the records that can be read in the first megabyte of a JSON file, for detection."""
    if sample.kind == "jsonl":
        yield from [sample.first] if sample.first else []
        yield from _records(*_state(sample.path))


def beginning(path: Path) -> str:
    """Return the first megabyte of a file as text, or what of it can be read."""
    return _beginning(*_state(path))


def _state(path: Path) -> tuple[Path, int, int]:
    state = path.stat()
    return path, state.st_size, state.st_mtime_ns


# Every reader looks at the same beginning: it is read and decoded once per file.
@lru_cache(maxsize=2)
def _beginning(path: Path, _size: int, _changed: int) -> str:
    head: list[bytes] = []
    length = 0
    try:
        for line in _lines(path):
            head.append(line[:_PROBE_BYTES])
            length += len(line)
            if length >= _PROBE_BYTES:
                break
    except InputError:
        pass
    return b"".join(head).decode("utf-8-sig", errors="replace")


@lru_cache(maxsize=2)
def _records(path: Path, size: int, changed: int) -> tuple[Mapping[str, Any], ...]:
    text = _beginning(path, size, changed)
    if found := _ARRAY_OF_RECORDS.match(text):
        try:
            record, _ = json.JSONDecoder().raw_decode(text, found.end())
        except (ValueError, RecursionError):
            return ()
        return (record,)
    records = []
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            records.append(record)
    return tuple(records)


def results(page: Any) -> Iterator[tuple[Mapping[str, Any], Any]]:
    """Yield every result of a vendor's usage or cost page with its bucket.

    What is no page, bucket or list comes as it is, without a bucket.
    """
    if not isinstance(page, dict):
        yield {}, page
        return
    buckets = page.get("data", [page] if "results" in page else None)
    if not isinstance(buckets, list):
        yield {}, page
        return
    for bucket in buckets:
        found = bucket.get("results", bucket.get("result")) if isinstance(bucket, dict) else None
        if not isinstance(found, list):
            yield {}, bucket
            continue
        for result in found:
            yield bucket, result


def text(value: Any) -> str | None:
    """Return a value as text; blank is null."""
    if value is None:
        return None
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, bool):
        return "true" if value else "false"
    return compact(value) if isinstance(value, list | dict) else str(value)


def count(value: Any, column: str, faults: list[str]) -> int | None:
    """Return a whole number of 0 or more; null with a fault when it is something else."""
    if _blank(value):
        return None
    found: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        found = value
    elif isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        found = int(value.strip().partition(".")[0])
    elif isinstance(value, Decimal) and -30 < value.adjusted() < 19 and value % 1 == 0:
        found = int(value)
    if found is None or abs(found) >= 2**63:
        faults.append(f"{column}: '{short(value)}' is not a whole number")
    elif found < 0:
        faults.append(f"{column}: {found} is negative")
    else:
        return found
    return None


def number(value: Any, column: str, faults: list[str]) -> float | None:
    """Return a finite number; null with a fault when it is something else."""
    if _blank(value):
        return None
    try:
        if not isinstance(value, bool | list | dict) and "_" not in str(value):
            size = float(value)
            if math.isfinite(size):
                return size
    except (ValueError, OverflowError):
        pass
    faults.append(f"{column}: '{short(value)}' is not a number")
    return None


def moment(value: Any, column: str, faults: list[str], epoch: Epoch = "s") -> int | None:
    """Return a point in time as microseconds since 1970: ISO 8601 text, or a number since 1970."""
    if _blank(value):
        return None
    found = microseconds(value, epoch=epoch)
    if found is None:
        faults.append(f"{column}: '{short(value)}' is not a date and time")
    return found


def _blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value.strip().lower() in BLANKS)


def short(value: Any) -> str:
    """Return a value as a message quotes it."""
    said = str(value) if isinstance(value, str | Decimal) else compact(value)
    return said if len(said) <= 60 else f"{said[:59]}…"
