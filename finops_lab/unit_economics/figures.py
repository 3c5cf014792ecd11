"""A KPI's figures: value, numerator and denominator side by side, or the reason there is no value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import polars as pl

from finops_lab.errors import InputError
from finops_lab.unit_economics._dividing import quotients
from finops_lab.unit_economics.schemas import FIGURES

__all__ = ["Asked", "Definition", "figures", "together", "whole_and_by"]


@dataclass(frozen=True)
class Definition:
    """How one measure of a KPI is worked out, in words that an analyst can check.

    Attributes
    ----------
    kpi : str
        ``M1`` to ``M12``.
    measure : str
        Name of the measure, such as ``allocated_per_call``.
    title : str
        For headings: ``Cost per inference, allocated``.
    unit, numerator_unit, denominator_unit : str
        Units of value, numerator and denominator, such as ``{currency} per call``, ``{currency}``,
        ``calls``: ``{currency}`` stands for the currency of the ledger.
    formula : str
        What is divided by what.
    tables : tuple of str
        Tables that it is worked out from: ``ledger``, ``inference_requests`` and so on.
    better : {"lower", "higher", "within", "none"}
        Which way is good; `within` where both too little and too much are bad.
    nothing : str
        Reason given where there is nothing to divide by.
    source : str
        Paper or specification that the formula is from; empty where it is this project's.
    bounds : str
        What ``lower`` and ``upper`` of its figures are; empty where there are none.
    """

    kpi: str
    measure: str
    title: str
    unit: str
    numerator_unit: str
    denominator_unit: str
    formula: str
    tables: tuple[str, ...]
    better: Literal["lower", "higher", "within", "none"] = "lower"
    nothing: str = "there is nothing to divide by"
    source: str = ""
    bounds: str = ""


def figures(
    rows: pl.LazyFrame | pl.DataFrame,
    definition: Definition,
    *,
    dimension: str | None = None,
    times: int = 1,
    currency: str = "USD",
) -> pl.DataFrame:
    """Turn numerators and denominators into figures of a measure.

    Parameters
    ----------
    rows : polars.LazyFrame or polars.DataFrame
        ``month`` (Date), ``numerator`` and ``denominator`` (any number; decimals stay exact), and
        where there are: ``key`` (String, value of the dimension), ``value`` (instead of dividing),
        ``lower``, ``upper``, ``rows``, ``coverage``, ``reason``.
    definition : Definition
        The measure.
    dimension : str, optional
        The dimension that ``key`` is a value of; the whole lab without it.
    times : int
        Factor of the value, such as 1,000,000 for money per million tokens.
    currency : str
        ISO 4217 code that ``{currency}`` in the definition's units stands for.

    Returns
    -------
    polars.DataFrame
        `finops_lab.unit_economics.schemas.FIGURES`, sorted by month and key (null last). A value
        that cannot be divided is null, with `reason`.

    Raises
    ------
    InputError
        When a needed column is missing.

    Examples
    --------
    >>> from datetime import date
    >>> errors = Definition("M5", "error_rate", "Error rate", "ratio", "calls", "calls",
    ...     "failed / finished calls", ("inference_requests",), nothing="no finished calls")
    >>> rows = pl.DataFrame({"month": [date(2026, 10, 1)] * 2, "key": ["chat", "search"],
    ...     "numerator": [1, 0], "denominator": [8, 0]})
    >>> figures(rows, errors, dimension="feature").select("key", "value", "reason").rows()
    [('chat', Decimal('0.125000000000000000'), None), ('search', None, 'no finished calls')]
    """
    frame = rows if isinstance(rows, pl.DataFrame) else rows.collect()
    return together([Asked(frame, definition, dimension, times, currency)])


@dataclass(frozen=True)
class Asked:
    """What figures of one measure are made of: rows, and the rest that `figures` takes.

    Attributes
    ----------
    rows : polars.DataFrame
        As for `figures`. With ``dimension`` (String, null for the whole) they are of several
        dimensions, and `dimension` does not count.
    definition, dimension, times, currency
        As for `figures`.
    doubted : bool
        A value is null wherever there is a reason, whatever could be divided; where ``value`` is
        null, it is divided.
    """

    rows: pl.DataFrame
    definition: Definition
    dimension: str | None = None
    times: int = 1
    currency: str = "USD"
    doubted: bool = False


def together(asked: Iterable[Asked], dimensions: Sequence[str | None] = ()) -> pl.DataFrame:
    """Turn the rows of many measures into figures at once: each alone would cost a query.

    Parameters
    ----------
    asked : iterable of Asked
        Measures, in order.
    dimensions : sequence of str or None
        Their order: figures of the first dimension come first, whatever their measure. Others
        follow.

    Returns
    -------
    polars.DataFrame
        `finops_lab.unit_economics.schemas.FIGURES`: those of each dimension and measure as
        `figures` sorts them.

    Raises
    ------
    InputError
        When a needed column is missing.

    Examples
    --------
    >>> from datetime import date
    >>> one, two = (Definition("M5", name, "t", "u", "n", "d", "f", ()) for name in ("one", "two"))
    >>> rows = pl.DataFrame({"month": [date(2026, 10, 1)], "numerator": [1], "denominator": [8]})
    >>> together([Asked(rows, one), Asked(rows, two, times=2)]).select("measure", "value").rows()
    [('one', Decimal('0.125000000000000000')), ('two', Decimal('0.250000000000000000'))]
    """
    parts, about = [], []
    for number, one in enumerate(asked):
        if missing := {"month", "numerator", "denominator"} - set(one.rows.columns):
            raise InputError(f"figures need the columns {', '.join(sorted(missing))}")
        parts.append(_as_told(one, number))
        words = (getattr(one.definition, name) for name in _UNITS)
        units = (text.replace("{currency}", one.currency) for text in words)
        about.append((number, one.definition.kpi, one.definition.measure, *units, one.definition.nothing))
    if not parts:
        return pl.DataFrame(schema=FIGURES)
    table = _divided(pl.concat(parts))
    names = {name: pl.String for name in ("kpi", "measure", *_UNITS, "_nothing")}
    said = pl.DataFrame(about, schema={"_number": pl.Int32, **names}, orient="row")
    table = table.hstack(said.drop("_number")[table["_number"].to_list()])
    order = {name: place for place, name in enumerate(dimensions)}
    places = [order.get(name, len(order)) for name in table["dimension"].to_list()]
    untold = pl.when(pl.col("value").is_null()).then(pl.coalesce("reason", "_nothing"))
    return (
        table.lazy()
        .with_columns(untold.alias("reason"))
        .sort(pl.lit(pl.Series(places, dtype=pl.Int32)), "_number", "month", "key", nulls_last=True)
        .select(list(FIGURES))
        .collect(engine="in-memory")
    )


_UNITS = ("unit", "numerator_unit", "denominator_unit")
_GIVEN = tuple(name for name in FIGURES if name not in ("kpi", "measure", *_UNITS))


def _as_told(one: Asked, number: int) -> pl.DataFrame:
    """Return rows with the columns that differ from row to row, by columns: that needs no query."""
    rows, height = one.rows, one.rows.height
    given = {name: rows[name].cast(FIGURES[name]) for name in _GIVEN if name in rows.columns}
    if "dimension" not in given:
        given["dimension"] = _again(one.dimension, height, pl.String)
    # The factor of what is to be divided; null where there is no need to.
    times = _again(one.times if one.doubted or "value" not in given else None, height, pl.Int64)
    if one.doubted:
        told = given["reason"].is_null()
        times = times.zip_with(told, _again(None, height, pl.Int64))
        if "value" in given:
            given["value"] = given["value"].zip_with(told, _again(None, height, FIGURES["value"]))
    columns = [
        given[name].alias(name) if name in given else _again(None, height, FIGURES[name]).alias(name)
        for name in _GIVEN
    ]
    return pl.DataFrame([*columns, _again(number, height, pl.Int32).alias("_number"), times.alias("_times")])


def _divided(table: pl.DataFrame) -> pl.DataFrame:
    """Divide what has no value yet, all of one factor at once."""
    wanted, values = table["_times"], table["value"]
    for times in wanted.drop_nulls().unique().to_list():
        places = ((wanted == times) & values.is_null()).fill_null(False).arg_true()
        some = table[places]
        values = values.scatter(places, quotients(some["numerator"], some["denominator"], times))
    return table.with_columns(values)


def _again(value: str | int | None, height: int, kind: pl.DataType | type[pl.DataType]) -> pl.Series:
    return _single(value, kind).new_from_index(0, height)


@lru_cache(maxsize=256)
def _single(value: str | int | None, kind: pl.DataType | type[pl.DataType]) -> pl.Series:
    return pl.Series([value], dtype=kind)


def whole_and_by(dimensions: Sequence[str]) -> tuple[str | None, ...]:
    """Return the dimensions, each once, with None, the whole, before them."""
    return (None, *dict.fromkeys(dimensions))
