"""Values out of a row of Google Cloud's export: nested objects, lists, months, amounts, faults told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

import polars as pl

from finops_lab.ingestion import _json
from finops_lab.ingestion._moments import microseconds
from finops_lab.money import BLANKS

__all__ = ["decimal", "first", "invoice_month", "items", "moment", "part", "says"]

Record = Mapping[str, Any]

_MONTH = re.compile(r"([12][0-9]{3})(0[1-9]|1[0-2])")


def decimal(value: Any) -> Decimal | None:
    """Return an amount as delivered, exactly; null when it is none."""
    if value is None or isinstance(value, bool | list | dict) or "_" in str(value):
        return None
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    if not number.is_finite():
        return None
    # Longer ones are no amounts, and would be rounded when added.
    fits = -40 < number.adjusted() < 30 and len(number.as_tuple().digits) < 50
    return number if fits or number == 0 else None


def invoice_month(value: Any, faults: list[str]) -> tuple[int | None, int | None]:
    """Return the two ends of a month written 202610, in microseconds since 1970."""
    text = _json.text(value)
    if text is None or text.lower() in BLANKS:
        faults.append("invoice.month: missing")
        return None, None
    if not _MONTH.fullmatch(text):
        faults.append(f"invoice.month: '{_json.short(text)}' is not a month like 202610")
        return None, None
    return _pacific(int(text[:4]), int(text[4:]))


@lru_cache(maxsize=1_000)
def _pacific(year: int, month: int) -> tuple[int, int]:
    """Return the first moments of a month and of the next in Los Angeles, in microseconds."""
    following = datetime(year + month // 12, month % 12 + 1, 1)
    ends = pl.Series([datetime(year, month, 1), following], dtype=pl.Datetime("us"))
    start, end = ends.dt.replace_time_zone("America/Los_Angeles").dt.epoch("us").to_list()
    return start, end


def moment(value: Any, column: str, faults: list[str]) -> int | None:
    """Return a point in time as microseconds since 1970."""
    if isinstance(value, datetime):
        return microseconds(value.isoformat())
    return _json.moment(value, column, faults)


def part(record: Record, name: str, told: list[str]) -> Record:
    """Return a nested object; an empty one where there is none, which is told if another value is there."""
    value = record.get(name)
    if isinstance(value, dict):
        return value
    if value is not None:
        told.append(f"{name}: '{_json.short(_plain(value))}' is not an object")
    return {}


def items(record: Record, name: str, told: list[str]) -> list[Any]:
    """Return a repeated field; empty where there is none, which is told if another value is there."""
    value = record.get(name)
    if isinstance(value, dict) and set(value) == {"list"}:
        # Parquet without list types: {"list": [{"element": ...}]}.
        inner = value["list"] if isinstance(value["list"], list) else []
        value = [v.get("element", v.get("item", v)) if isinstance(v, dict) else v for v in inner]
    if isinstance(value, list):
        return value
    if value is not None:
        told.append(f"{name}: '{_json.short(_plain(value))}' is not a list")
    return []


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | Decimal | list | dict) else str(value)


def says(value: Any) -> bool:
    """Tell whether an object says anything; Parquet has all fields of one, null."""
    return any(v is not None for v in value.values()) if isinstance(value, dict) else value is not None


def first(record: Record, *names: str) -> str | None:
    """Return the first of some fields that says something, as text."""
    return next((text for name in names if (text := _json.text(record.get(name)))), None)
