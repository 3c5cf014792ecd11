"""From rows to months and keys: what the figures of every KPI begin with."""

from __future__ import annotations

import decimal
from decimal import Decimal

import polars as pl

from finops_lab.errors import InputError
from finops_lab.money import MONEY, SCALE
from finops_lab.unit_economics._by_dimension import engine_for, named

_FEW = 300  # as many are looked up one by one in less time than a query takes to begin

__all__ = ["as_written", "grouped", "known_sum", "monthly", "per_hour", "share_of"]


def monthly(rows: pl.DataFrame | pl.LazyFrame) -> pl.LazyFrame:
    """Give rows of days the month they are in; rows of months stay as they are.

    Raises
    ------
    InputError
        When they have neither ``day`` nor ``month``.

    Examples
    --------
    >>> from datetime import date
    >>> monthly(pl.DataFrame({"day": [date(2026, 10, 5)]})).collect()["month"].to_list()
    [datetime.date(2026, 10, 1)]
    """
    frame = rows.lazy()
    known = frame.collect_schema()
    if "month" in known:
        return frame
    if "day" not in known:
        raise InputError(
            "rows are told by month and have neither the column 'day' nor 'month'",
            hint="tables of a lab have `day`; else add pl.col('ts_start').dt.date().alias('day')",
        )
    return frame.with_columns(pl.col("day").dt.month_start().alias("month"))


def grouped(rows: pl.DataFrame | pl.LazyFrame, dimension: str | None, *sums: pl.Expr) -> pl.DataFrame:
    """Add up rows per month and value of a dimension (``key``); without one, per month.

    Examples
    --------
    >>> rows = pl.DataFrame({"month": [1, 1], "team": ["a", "b"], "calls": [2, 3]})
    >>> grouped(rows, "team", pl.col("calls").sum()).sort("key").rows()
    [(1, 'a', 2), (1, 'b', 3)]
    >>> grouped(rows, None, pl.col("calls").sum()).rows()
    [(1, None, 5)]
    """
    found = rows.lazy().with_columns(named(dimension)).group_by("month", "key").agg(*sums)
    return found.collect(engine=engine_for(rows))


def known_sum(name: str) -> pl.Expr:
    """Add up what is known; null where nothing is.

    Examples
    --------
    >>> pl.DataFrame({"a": [1, None], "b": [None, None]}).select(known_sum("a"), known_sum("b")).row(0)
    (1, None)
    """
    return pl.when(pl.col(name).count() > 0).then(pl.col(name).sum()).alias(name)


def share_of(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    """Return a share for ``coverage``: 0 to 1, null over nothing.

    Examples
    --------
    >>> pl.DataFrame({"a": [1, 3, 0], "b": [4, 2, 0]}).select(share_of(pl.col("a"), pl.col("b")))["a"].to_list()
    [0.25, 1.0, None]
    """
    share = part.cast(pl.Float64) / whole.cast(pl.Float64)
    return pl.when(whole != 0).then(share.clip(0, 1))


def per_hour(seconds: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """Return seconds as numerator and the seconds of an hour as denominator: hours that divide exactly."""
    return seconds.alias("numerator"), pl.lit(3600).alias("denominator")


def as_written(values: pl.Series) -> pl.Series:
    """Turn floats into the decimals that they are written as; a cast would show binary digits.

    What is not finite, or too large for a decimal, is null.

    Examples
    --------
    >>> as_written(pl.Series("ms", [9000000.1, None, float("inf")])).to_list()
    [Decimal('9000000.100000000000000000'), None, None]
    """
    numbers = values.cast(pl.Float64)
    if numbers.null_count() == numbers.len():
        return pl.Series(values.name, [None] * numbers.len(), MONEY)
    limit = 10.0 ** (38 - SCALE)
    unit = Decimal(1).scaleb(-SCALE)
    # Ends of buckets and the like come again and again: each is written once.
    each = [n for n in numbers.unique().drop_nulls().to_list() if abs(n) < limit]
    with decimal.localcontext(prec=60):
        written = [Decimal(repr(n)).quantize(unit) for n in each]
    if numbers.len() < _FEW:
        known = dict(zip(each, written, strict=True))
        return pl.Series(values.name, [known.get(n) for n in numbers.to_list()], MONEY)
    table = pl.DataFrame({"n": each, "_written": written}, schema={"n": pl.Float64, "_written": MONEY})
    found = numbers.rename("n").to_frame().join(table, on="n", how="left", maintain_order="left")
    return found["_written"].rename(values.name)
