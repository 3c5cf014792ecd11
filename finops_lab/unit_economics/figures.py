"""A KPI's figures: value, numerator and denominator side by side, or the reason there is no value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from finops_lab.errors import InputError
from finops_lab.unit_economics._dividing import quotients
from finops_lab.unit_economics.schemas import FIGURES

__all__ = ["Definition", "figures", "whole_and_by"]


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
    if missing := {"month", "numerator", "denominator"} - set(frame.columns):
        raise InputError(f"figures need the columns {', '.join(sorted(missing))}")
    given = [name for name in frame.columns if name in FIGURES]
    columns: dict[str, pl.Expr] = {name: pl.col(name).cast(FIGURES[name]) for name in given}
    if "value" not in given:
        values = quotients(frame["numerator"], frame["denominator"], times)
        frame = frame.hstack([values.alias("value")])
        columns["value"] = pl.col("value")
    columns |= {
        "kpi": pl.lit(definition.kpi),
        "measure": pl.lit(definition.measure),
        "dimension": pl.lit(dimension, pl.String),
    }
    columns |= {
        name: pl.lit(getattr(definition, name).replace("{currency}", currency))
        for name in ("unit", "numerator_unit", "denominator_unit")
    }
    said = columns.get("reason", pl.lit(None, pl.String))
    columns["reason"] = pl.when(columns["value"].is_null()).then(
        pl.coalesce(said, pl.lit(definition.nothing))
    )
    whole = [columns.get(name, pl.lit(None, kind)).alias(name) for name, kind in FIGURES.items()]
    # One query: a KPI table asks for hundreds of small ones.
    return frame.lazy().select(whole).sort("month", "key", nulls_last=True).collect()


def whole_and_by(dimensions: Sequence[str]) -> tuple[str | None, ...]:
    """Return the dimensions with None, the whole, before them."""
    return (None, *dimensions)
