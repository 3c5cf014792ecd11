"""What readers of JSON requests share: records out of a file, values out of a record, rows into a frame."""

from __future__ import annotations

import gzip
import itertools
import json
import math
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from finops_lab import contracts
from finops_lab.errors import InputError
from finops_lab.ingestion.registry import NOTES, RAW, REASONS, Sample
from finops_lab.money import BLANKS, MONEY, excess_digits, is_blank, parse

TABLE = "inference_requests"
SELF_HOSTED = frozenset({"vllm", "hosted_vllm", "sglang", "tgi", "triton", "self_hosted"})

_PROBE_BYTES = 1 << 20
_BATCH = 4_000  # rows held as Python objects at a time
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# The years 1 to 9999 are those that Python and Delta can write.
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799
_WHOLE = re.compile(r"[+-]?[0-9]{1,19}(\.0*)?")
# OpenTelemetry's error.type may be an HTTP status: 408 and 504 are the two that mean "too late".
_TIMEOUT = re.compile(r"time.?out|timed.?out|deadline|^(408|504)$", re.IGNORECASE)
_CANCELLED = re.compile(r"cancel", re.IGNORECASE)
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
        faults.append(f"{column}: '{_short(value)}' is not a whole number")
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
    faults.append(f"{column}: '{_short(value)}' is not a number")
    return None


def moment(value: Any, column: str, faults: list[str]) -> int | None:
    """Return a point in time as microseconds since 1970: ISO 8601 text or epoch seconds."""
    if _blank(value):
        return None
    found: int | None = None
    if isinstance(value, str):
        try:
            when = datetime.fromisoformat(value.strip())
            found = ((when if when.tzinfo else when.replace(tzinfo=UTC)) - _EPOCH) // _MICROSECOND
        except (ValueError, OverflowError):
            pass
    elif isinstance(value, int | Decimal) and not isinstance(value, bool):
        seconds = Decimal(value)
        if abs(seconds) <= _LAST_SECOND:
            found = int(seconds * 1_000_000)
    if found is None or not _FIRST_SECOND * 1_000_000 <= found <= _LAST_SECOND * 1_000_000:
        faults.append(f"{column}: '{_short(value)}' is not a date and time")
        return None
    return found


def _blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value.strip().lower() in BLANKS)


def _short(value: Any) -> str:
    said = str(value) if isinstance(value, str | Decimal) else compact(value)
    return said if len(said) <= 60 else f"{said[:59]}…"


def failure(error_type: str | None) -> str:
    """Return the request status that an error type stands for."""
    if error_type and _TIMEOUT.search(error_type):
        return "timeout"
    return "cancelled" if error_type and _CANCELLED.search(error_type) else "error"


def tier(value: Any) -> str | None:
    """Return a service tier; OpenAI calls the standard tier "default"."""
    said = text(value)
    return said and ("standard" if said.lower() == "default" else said.lower())


def hosting(provider: str | None) -> str | None:
    """Tell who runs the model, from the provider; unknown without one."""
    return provider and ("self_hosted" if provider.lower() in SELF_HOSTED else "api")


def token_buckets(
    total: Any, read: Any, write: Any, output: Any, reasoning: Any, faults: list[str]
) -> dict[str, int | None]:
    """Turn token counts whose input includes cached tokens into exclusive buckets.

    The OpenTelemetry GenAI conventions and LiteLLM count cache reads and writes inside the input,
    and reasoning inside the output. Counts that contradict this come from a source with another
    convention: clamping them would hide a wrong bill, so the row gets a fault instead.
    """
    found: dict[str, int | None] = {
        "input_uncached_tokens": count(total, "input_uncached_tokens", faults),
        "cache_read_tokens": count(read, "cache_read_tokens", faults),
        "cache_write_tokens": count(write, "cache_write_tokens", faults),
        "output_tokens": count(output, "output_tokens", faults),
        "reasoning_tokens": count(reasoning, "reasoning_tokens", faults),
    }
    whole, cached = found["input_uncached_tokens"], found["cache_read_tokens"] or 0
    written = found["cache_write_tokens"] or 0
    if whole is not None and cached + written > whole:
        faults.append(
            f"input_uncached_tokens: {cached} tokens read from and {written} written to the cache"
            f" are more than the {whole} input tokens"
        )
        found["input_uncached_tokens"] = None
    elif whole is not None:
        found["input_uncached_tokens"] = whole - cached - written
    inside, out = found["reasoning_tokens"], found["output_tokens"]
    if inside is not None and out is not None and inside > out:
        faults.append(f"reasoning_tokens: {inside} are more than the {out} output tokens they are part of")
        found["reasoning_tokens"] = None
    return found


def broken(number: int, line: str, fault: str) -> dict[str, Any]:
    """Return the row of a record that could not be read at all."""
    return {"source_row": number, "line": line, "reasons": [fault]}


def frame(rows: Iterable[dict[str, Any]]) -> pl.LazyFrame:
    """Make a frame of request rows.

    Parameters
    ----------
    rows : iterable of dict
        Columns of the contract (moments as microseconds, the cost as its literal text; what is
        absent is null), ``line`` as delivered and ``reasons``.

    Returns
    -------
    polars.LazyFrame
        The contract without ``source_file``, `RAW`, `REASONS` and `NOTES`.
    """
    wanted = {n: t for n, t in contracts.dtypes(TABLE).items() if n != "source_file"}
    done: list[pl.DataFrame] = []
    remaining = iter(rows)
    while batch := list(itertools.islice(remaining, _BATCH)):
        done.append(_batch(batch, wanted))
    return pl.concat(done or [_batch([], wanted)]).lazy()


def _delivered(dtype: pl.DataType) -> pl.DataType:
    if isinstance(dtype, pl.Datetime):
        return pl.Int64()
    return pl.String() if dtype == MONEY else dtype


def _batch(rows: list[dict[str, Any]], wanted: Mapping[str, pl.DataType]) -> pl.DataFrame:
    columns = {
        name: pl.Series(name, [row.get(name) for row in rows], dtype=_delivered(dtype))
        for name, dtype in wanted.items()
        if name != "day"
    }
    cost = columns["cost_reported_usd"]
    amounts = cost.to_frame().select(parse(pl.col(cost.name)), blank=is_blank(pl.col(cost.name)))
    for place in (amounts[cost.name].is_null() & ~amounts["blank"]).arg_true().to_list():
        rows[place]["reasons"].append(f"{cost.name}: '{_short(cost[place])}' is not a number")
    return pl.DataFrame(
        {
            **columns,
            RAW: pl.DataFrame({"line": [row["line"] for row in rows]}, {"line": pl.String}).to_struct(),
            REASONS: pl.Series([row["reasons"] or None for row in rows], dtype=pl.List(pl.String)),
        }
    ).select(
        *[
            pl.col("ts_start").cast(wanted["ts_start"]).dt.date().alias(name)
            if name == "day"
            else amounts[name]
            if name == cost.name
            else pl.col(name).cast(dtype)
            for name, dtype in wanted.items()
        ],
        RAW,
        REASONS,
        pl.when(excess_digits(pl.col(cost.name)))
        .then(pl.concat_list(pl.lit(f"{cost.name}: more than 18 decimals, rounded to 18")))
        .alias(NOTES),
    )
