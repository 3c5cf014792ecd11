"""From a frame to the rows of a chart: checked, cast to floats once, in a fixed order."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any

import polars as pl

from finops_lab.errors import InputError

__all__ = ["MAX_ROWS", "Row", "checked", "fold", "iso", "known", "totals"]

MAX_ROWS = 5_000
Row = dict[str, Any]


def checked(frame: pl.DataFrame | pl.LazyFrame, columns: Mapping[str, str]) -> list[Row]:
    """Return the named columns as rows of plain Python values.

    Parameters
    ----------
    frame : polars.DataFrame or polars.LazyFrame
        Aggregated data.
    columns : mapping of str to str
        Kind of each column needed: ``date``, ``text``, ``number`` (floats and decimals alike) or
        ``flag``.

    Returns
    -------
    list of dict
        Dates as `datetime.date`, numbers as floats. Nulls stay None; a text null reads ``(none)``.

    Raises
    ------
    InputError
        When a column is missing or not of its kind, when there are no rows or more than 5,000, or
        when a number is NaN or infinite.

    Examples
    --------
    >>> from decimal import Decimal
    >>> checked(pl.DataFrame({"label": ["a"], "amount": [Decimal("1.50")]}), {"amount": "number"})
    [{'amount': 1.5}]
    """
    table = frame.lazy().head(MAX_ROWS + 1).collect()
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise InputError(
            f"the chart needs the columns {', '.join(columns)}; not found: {', '.join(missing)}",
            hint=f"the frame has {', '.join(table.columns)}",
        )
    if table.is_empty():
        raise InputError("there is nothing to draw: the frame has no rows")
    if table.height > MAX_ROWS:
        raise InputError(f"a chart takes at most {MAX_ROWS:,} rows", hint="aggregate the frame first")
    for name, kind in columns.items():
        _check_kind(table.schema[name], name, kind)
    numbers = [name for name, kind in columns.items() if kind == "number"]
    texts = [name for name, kind in columns.items() if kind == "text"]
    table = table.select(list(columns)).with_columns(
        pl.col(numbers).cast(pl.Float64), pl.col(texts).cast(pl.String).fill_null("(none)")
    )
    for name in numbers:
        if not table[name].drop_nulls().is_finite().all():
            raise InputError("holds a number that is NaN or infinite", column=name)
    return table.to_dicts()


def _check_kind(dtype: pl.DataType, name: str, kind: str) -> None:
    fits = {
        "date": dtype in (pl.Date, pl.Datetime),
        "text": dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null),
        "number": dtype.is_numeric() or dtype == pl.Null,
        "flag": dtype == pl.Boolean,
    }
    if not fits[kind]:
        raise InputError(f"is {dtype}, but the chart needs a {kind} column", column=name)


def known(rows: list[Row], names: Iterable[str]) -> tuple[list[Row], int]:
    """Return the rows whose named values are known, and how many were left out.

    Examples
    --------
    >>> known([{"y": 1.0}, {"y": None}], ["y"])
    ([{'y': 1.0}], 1)
    """
    needed = list(names)
    kept = [row for row in rows if all(row[name] is not None for name in needed)]
    if not kept:
        raise InputError(f"there is nothing to draw: every {' or '.join(needed)} is unknown")
    return kept, len(rows) - len(kept)


def totals(rows: Iterable[Row], key: str, value: str) -> dict[str, float]:
    """Return the sum of `value` per `key`, largest first, ties by name.

    `math.fsum` gives the same digits whatever the order of the rows.

    Examples
    --------
    >>> totals([{"k": "a", "v": 1.0}, {"k": "b", "v": 3.0}, {"k": "a", "v": 1.0}], "k", "v")
    {'b': 3.0, 'a': 2.0}
    """
    parts: dict[str, list[float]] = {}
    for row in rows:
        parts.setdefault(row[key], []).append(row[value])
    sums = {name: math.fsum(values) for name, values in parts.items()}
    return dict(sorted(sums.items(), key=lambda item: (-item[1], item[0])))


def fold(names: list[str], limit: int) -> tuple[dict[str, str], list[str]]:
    """Give every name a place among at most `limit`: those past it share one ``All other``.

    Parameters
    ----------
    names : list of str
        Names, the ones to keep first.
    limit : int
        Places there are.

    Returns
    -------
    tuple of dict and list
        The place of each name, and the places in order.

    Examples
    --------
    >>> fold(["a", "b", "c"], 2)
    ({'a': 'a', 'b': 'All other (2)', 'c': 'All other (2)'}, ['a', 'All other (2)'])
    """
    if len(names) <= limit:
        return {name: name for name in names}, list(names)
    kept = names[: limit - 1]
    rest = f"All other ({len(names) - len(kept)})"
    return {name: name if name in kept else rest for name in names}, [*kept, rest]


def iso(day: date) -> str:
    """Write a day so that Vega reads it in UTC, whatever the reader's time zone.

    Examples
    --------
    >>> iso(date(2026, 10, 1))
    '2026-10-01'
    """
    return (day.date() if isinstance(day, datetime) else day).isoformat()
