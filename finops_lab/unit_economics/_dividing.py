"""Many exact divisions at once: what `finops_lab.money.divided` says of each, in whole numbers."""

from __future__ import annotations

import polars as pl

from finops_lab.money import MONEY, SCALE, divided

__all__ = ["quotients"]

# So few are divided one by one in less time than a query takes to begin.
_FEW = 300
# A remainder takes so many digits more at a time, and three times makes the eighteen of money.
_STEP = 10 ** (SCALE // 3)
# Above these a step, or the whole result, might leave 128 bits: such rows are divided one by one.
_MOST_DIVISOR, _MOST_QUOTIENT, _MOST = 10.0**31, 10.0**19, 10.0**37


def quotients(numerators: pl.Series, denominators: pl.Series, times: int = 1) -> pl.Series:
    """Divide amounts by amounts exactly, rounding once, half to even, to 18 decimals.

    Parameters
    ----------
    numerators, denominators : polars.Series
        Of any number, taken as ``Decimal(38, 18)``.
    times : int
        Factor of the numerators.

    Returns
    -------
    polars.Series
        ``Decimal(38, 18)``; null where either is, and over nothing: row by row what `divided` says.

    Examples
    --------
    >>> quotients(pl.Series([2, 1, 5]), pl.Series([3, 0, None])).to_list()
    [Decimal('0.666666666666666667'), None, None]
    """
    frame = pl.DataFrame({"n": numerators.cast(MONEY), "d": denominators.cast(MONEY)})
    if frame.height < _FEW:
        some = [divided(n, d, times) for n, d in frame.iter_rows()]
        return pl.Series(numerators.name, some, MONEY)
    return _in_whole_numbers(frame, times).alias(numerators.name)


def _in_whole_numbers(frame: pl.DataFrame, times: int) -> pl.Series:
    """Divide as on paper: the remainder gets digits more until there are eighteen."""
    top, below = pl.col("n").to_physical().abs(), pl.col("d").to_physical().abs()
    large = (
        (below.cast(pl.Float64) > _MOST_DIVISOR)
        | (top.cast(pl.Float64) * times > _MOST)
        | (top.cast(pl.Float64) * times / below.cast(pl.Float64) > _MOST_QUOTIENT)
    )
    asked = pl.col("n").is_not_null() & pl.col("d").is_not_null() & (pl.col("d") != 0)
    parts = frame.lazy().select(
        pl.when(asked & ~large).then(below).alias("below"),
        pl.when(asked & ~large).then(top).otherwise(0).alias("top"),
        ((pl.col("n") < 0) != (pl.col("d") < 0)).alias("minus"),
        (asked & large).alias("large"),
    )
    over = pl.col("below")
    parts = parts.with_columns((pl.col("top") * times).alias("top")).with_columns(
        (pl.col("top") // over).alias("whole"), (pl.col("top") % over).alias("rest")
    )
    for _ in range(3):
        rest = pl.col("rest") * _STEP
        parts = parts.with_columns(
            (pl.col("whole") * _STEP + rest // over).alias("whole"), (rest % over).alias("rest")
        )
    twice = pl.col("rest") * 2
    up = (twice > over) | ((twice == over) & (pl.col("whole") % 2 == 1))
    size = pl.col("whole") + up.cast(pl.Int128)
    told = pl.when(pl.col("minus")).then(0 - size).otherwise(size)
    done = parts.select(told.alias("q"), "large").collect()
    result = done["q"].cast(pl.Int128).reinterpret(dtype=MONEY)
    places = done["large"].fill_null(False).arg_true()
    if places.len():
        some = frame[places].iter_rows()
        result = result.scatter(places, pl.Series([divided(n, d, times) for n, d in some], dtype=MONEY))
    return result
