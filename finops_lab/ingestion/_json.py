"""JSON as exports hold it: records out of a file, values out of a record, each fault told."""

from __future__ import annotations

import gzip
import json
import math
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from finops_lab.errors import InputError
from finops_lab.ingestion._moments import Epoch, microseconds
from finops_lab.ingestion.registry import Sample
from finops_lab.money import BLANKS

_PROBE_BYTES = 1 << 20
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
    head = _document(first)
    # A pretty-printed document breaks its lines after one of these.
    if head.fault is not None and first.rstrip().endswith((b"{", b"[", b",")):
        rest = list(lines)
        whole = _document(b"".join([first, *rest]))
        if whole.fault is None:
            yield whole
            return
        if not any(isinstance(_document(line).value, dict) for line in rest[:1000]):
            raise InputError(whole.fault.removeprefix("line: "), file=path, hint="deliver the file again")
        lines = iter(rest)
    yield head
    for line in lines:
        yield _document(line)


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as probe:
            zipped = probe.read(2) == b"\x1f\x8b"
        with gzip.open(path) if zipped else path.open("rb") as stream:
            yield from stream
    except (OSError, EOFError, zlib.error) as error:
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InputError(f"cannot be read: {said}", file=path, hint="deliver the file again") from None


def _document(line: bytes) -> Document:
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
    if sample.kind != "jsonl":
        return
    if sample.first:
        yield sample.first
    text = beginning(sample.path)
    if found := _ARRAY_OF_RECORDS.match(text):
        try:
            record, _ = json.JSONDecoder().raw_decode(text, found.end())
        except (ValueError, RecursionError):
            return
        yield record
        return
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            yield record


def beginning(path: Path) -> str:
    """Return the first megabyte of a file as text, or what of it can be read."""
    head = b""
    try:
        for line in _lines(path):
            head += line[:_PROBE_BYTES]
            if len(head) >= _PROBE_BYTES:
                break
    except InputError:
        pass
    return head.decode("utf-8-sig", errors="replace")


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
    elif isinstance(value, Decimal) and abs(value) < 2**63 and value % 1 == 0:
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
