"""A price index: what a unit cost per month against today's list price."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import numpy as np
import polars as pl

from finops_lab.calendar import add_months
from finops_lab.errors import InputError
from finops_lab.forecasting.panel import Floats

__all__ = ["price_path", "read_prices"]

Prices = Mapping[str | None, Mapping[date, float]]


def read_prices(price_index: pl.DataFrame | pl.LazyFrame) -> Prices:
    """Check a price index and return it by series.

    Parameters
    ----------
    price_index : polars.DataFrame or polars.LazyFrame
        ``unique_id: String`` (null: every series without rows of its own), ``ds: Date`` (first of
        month), ``index``: a number above 0, 1.0 for today's list price.

    Returns
    -------
    mapping
        Index per month, by `unique_id`.

    Raises
    ------
    InputError
        A column is missing or of the wrong type, a month is null, not a first day or there twice, or
        an index is not above 0.
    """
    if not hasattr(price_index, "lazy"):
        raise InputError(f"a price index comes as a frame, not as a {type(price_index).__name__}")
    schema = price_index.lazy().collect_schema()
    for column, fits in (
        ("unique_id", lambda dtype: dtype in (pl.String, pl.Null)),
        ("ds", lambda dtype: dtype == pl.Date),
        ("index", lambda dtype: dtype.is_numeric()),
    ):
        if column not in schema:
            raise InputError(
                "the price index has no such column", column=column, hint="it needs unique_id, ds and index"
            )
        if not fits(schema[column]):
            raise InputError(f"the price index has {schema[column]} here", column=column)
    rows = price_index.lazy().select(
        pl.col("unique_id").cast(pl.String), "ds", pl.col("index").cast(pl.Float64)
    )
    found: dict[str | None, dict[date, float]] = {}
    for uid, month, index in rows.collect().iter_rows():
        whose = "every series" if uid is None else f"series {uid!r}"
        if month is None:
            raise InputError(f"the price index of {whose} has a row without a month", column="ds")
        if month.day != 1:
            raise InputError(f"price index of {whose}: {month} is not the first of its month", column="ds")
        if index is None or not (np.isfinite(index) and index > 0):
            raise InputError(
                f"price index of {whose}: {index} in {month} is not above 0",
                column="index",
                hint="1.0 is today's list price",
            )
        if month in found.setdefault(uid, {}):
            raise InputError(f"price index of {whose}: month {month} comes twice", column="ds")
        found[uid][month] = index
    return found


def price_path(prices: Prices, unique_id: str, first: date, known: int, months: int) -> Floats:
    """Return the index of a series for `known` months from `first` on and `months` after them.

    A month without an index has the last one before it; a series that the index does not hold, 1.

    Raises
    ------
    InputError
        The index begins after the series, or lacks a month of its history.
    """
    path = prices.get(unique_id, prices.get(None))
    if path is None:
        return np.ones(known + months)
    out, last = np.ones(known + months), np.nan
    for i in range(known + months):
        month = add_months(first, i)
        if month not in path and i < known:
            raise InputError(
                f"the price index of series {unique_id!r} has no month {month}",
                column="ds",
                hint="it must cover the history; only months ahead may be left out",
            )
        last = out[i] = path.get(month, last)
    return out
