"""Records of a request log, whatever file they come in, and what stands inside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import polars as pl

from finops_lab.ingestion import _json
from finops_lab.ingestion._scan import ROW, table_batches
from finops_lab.ingestion.registry import Sample, inspect, unreadable

__all__ = ["CONTEXT", "Record", "beginnings", "context", "is_zero", "lookup", "mapping", "records", "tags"]

CONTEXT = ("team", "feature", "customer", "environment", "region", "variant")


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a file: its number from 1, its text, and its values or its fault."""

    row: int
    line: str
    values: Mapping[str, Any]
    fault: str | None = None


def records(path: Path) -> Iterator[Record]:
    """Read the records of a CSV, Parquet, JSON or JSON lines file (.gz too), one by one.

    A JSON array, and a ``{"data": [...]}`` around one, is taken apart. Values of a table are text.

    Raises
    ------
    InputError
        When the file cannot be read.
    """
    if inspect(path).kind == "jsonl":
        yield from _from_json(path)
        return
    try:
        for batch in table_batches(path, nulls=()):
            for values in batch.iter_rows(named=True):
                row = values.pop(ROW)
                yield Record(row, _json.compact(values), values)
    except (pl.exceptions.PolarsError, OSError, EOFError) as error:
        raise unreadable(path, error) from None


def _from_json(path: Path) -> Iterator[Record]:
    row = 0
    for document in _json.documents(path):
        if document.fault is not None:
            row += 1
            yield Record(row, document.text, {}, document.fault)
            continue
        value = document.value
        if isinstance(value, dict) and isinstance(value.get("data"), list):
            value = value["data"]
        alone = not isinstance(value, list)
        for item in [value] if alone else value:
            row += 1
            line = document.text if alone else _json.compact(item)
            if isinstance(item, dict):
                yield Record(row, line, item)
            else:
                yield Record(row, line, {}, "line: is not a record")


def beginnings(sample: Sample) -> Iterator[Mapping[str, Any]]:
    """Return the first records of a file, for detection: of a table, its columns without values."""
    if sample.kind != "jsonl":
        yield dict.fromkeys(sample.columns)
        return
    for record in _json.beginnings(sample):
        held = record.get("data")
        if isinstance(held, list):
            yield from (item for item in held if isinstance(item, dict))
        else:
            yield record


def mapping(value: Any, column: str, faults: list[str]) -> Mapping[str, Any]:
    """Return a map that exports deliver as an object, as JSON text, or as a list of keys and values."""
    if isinstance(value, str):
        if not value.strip():
            return {}
        try:
            value = _decoded(value)
        except ValueError as error:
            faults.append(f"{column}: is not JSON ({error})")
            return {}
    if isinstance(value, list) and all(isinstance(v, dict) and {"key", "value"} <= v.keys() for v in value):
        # Parquet's own shape of a map.
        value = {str(item["key"]): item["value"] for item in value}
    if isinstance(value, dict):
        return value
    if value is not None and value != []:
        faults.append(f"{column}: '{_json.short(value)}' is not a map")
    return {}


def _decoded(text: str) -> Any:
    try:
        return _json.decode(text)
    except ValueError:
        # Some exporters double the quotes of a CSV cell twice.
        if '""' not in text:
            raise
        return _json.decode(text.replace('""', '"'))


def is_zero(amount: str | None) -> bool:
    """Tell whether a literal amount is there and is zero."""
    try:
        return amount is not None and Decimal(amount) == 0
    except InvalidOperation:
        return False


def tags(value: Any) -> Mapping[str, str]:
    """Return tags written ``key:value`` as a map; of two equal keys the first counts."""
    if isinstance(value, str):
        try:
            value = _decoded(value) if value.strip() else None
        except ValueError:
            value = value.strip("[]").replace("'", "").split(",")
    found: dict[str, str] = {}
    for tag in value if isinstance(value, list) else ():
        key, colon, said = str(tag).partition(":")
        if colon:
            found.setdefault(key.strip(), said.strip())
    return found


def lookup(holders: Sequence[Mapping[str, Any]], names: Iterable[str]) -> str | None:
    """Return the first value found under the names, in their order; case counts only when it must."""
    names = tuple(names)
    return _find(holders, _folded(holders), names) if names else None


def _folded(holders: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{str(key).lower(): value for key, value in held.items()} for held in holders if held]


def _find(
    holders: Sequence[Mapping[str, Any]], folded: Sequence[Mapping[str, Any]], names: Iterable[str]
) -> str | None:
    for name in names:
        for holder in holders:
            if (found := _json.text(holder.get(name))) is not None:
                return found
        for holder in folded:
            if (found := _json.text(holder.get(name.lower()))) is not None:
                return found
    return None


def context(
    holders: Sequence[Mapping[str, Any]],
    attributes: Mapping[str, tuple[str, ...]],
    own: Mapping[str, Any],
) -> dict[str, str | None]:
    """Return the context columns of a record.

    Parameters
    ----------
    holders : sequence of mappings
        Where callers put their context (tags, metadata, properties) and the record itself.
    attributes : mapping
        Names per column, from `finops.toml`, tried first.
    own : mapping
        What the format itself says of a column, tried second; ``finops.<column>`` and the
        column's own name in `holders` come last.
    """
    folded = _folded(holders)
    return {
        column: _find(holders, folded, attributes.get(column, ()))
        or _json.text(own.get(column))
        or _find(holders, folded, (f"finops.{column}", column))
        for column in CONTEXT
    }
