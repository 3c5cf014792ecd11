"""Amounts split over many rows at once, without losing the last decimal."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from finops_lab.contracts import AMOUNTS
from finops_lab.errors import InputError
from finops_lab.money import MONEY

__all__ = ["split_amounts"]

_MOST = 2**63 - 1


def split_amounts(
    parts: pl.LazyFrame,
    whole: Sequence[str],
    *,
    weight: str = "weight",
    order: Sequence[str],
    amounts: Sequence[str] = AMOUNTS,
) -> pl.LazyFrame:
    """Split amounts by integer weights so that the parts add up to each exactly.

    Largest remainder (Hamilton's method) over 18 decimals: every part is rounded towards zero, and
    the units that are left go to the largest remainders; of equal remainders, to the first in
    `order`. So the result does not depend on the order of rows. All-zero weights split evenly.

    Parameters
    ----------
    parts : polars.LazyFrame
        One row per part. The amounts (``Decimal(38, 18)``, of any sign, null where unknown) stand
        on each row of a whole, undivided; `weight` is Int64, not negative, not null.
    whole : sequence of str
        Columns that tell one whole from another; nulls are a value.
    weight : str
        The weights' column.
    order : sequence of str
        Columns that tell the parts of a whole apart.
    amounts : sequence of str
        Columns to split.

    Returns
    -------
    polars.LazyFrame
        The rows, sorted by `whole` and `order`, each with its part of the amounts.

    Raises
    ------
    InputError
        When a weight is negative or null, or the weights of a whole add up beyond 2^63.

    Notes
    -----
    With T the sum of weights and A = q T + r, a part is ``q w + floor(r w / T)``: no intermediate
    leaves 128 bits, since ``r w < T^2 < 2^126``. A product ``A w`` would.

    Examples
    --------
    >>> from decimal import Decimal
    >>> rows = pl.LazyFrame({"pool": ["a"] * 3, "team": ["x", "y", "z"], "weight": [1, 1, 1],
    ...     "BilledCost": [Decimal(1)] * 3}, schema_overrides={"BilledCost": MONEY})
    >>> done = split_amounts(rows, ["pool"], order=["team"], amounts=["BilledCost"]).collect()
    >>> [str(part) for part in done["BilledCost"]]
    ['0.333333333333333334', '0.333333333333333333', '0.333333333333333333']
    """
    sums = parts.group_by(whole).agg(pl.col(weight).cast(pl.Int128).sum().alias("sum"))
    bad = pl.collect_all(
        [
            sums.select(pl.col("sum").max()),
            parts.select((pl.col(weight).is_null() | (pl.col(weight) < 0)).any()),
        ]
    )
    if bad[1].item():
        raise InputError("a weight to split by is negative or missing")
    if (bad[0].item() or 0) > _MOST:
        raise InputError("the weights of one pool add up beyond 2^63: count in larger units")
    one, w, t = pl.lit(1, pl.Int128), pl.col("_w"), pl.col("_t")
    weighted = parts.sort([*whole, *order], nulls_last=True).with_columns(
        pl.col(weight).cast(pl.Int128).alias("_w")
    )
    weighted = weighted.with_columns(w.sum().over(whole).alias("_t")).with_columns(
        pl.when(t == 0).then(one).otherwise(w).alias("_w"),
        pl.when(t == 0).then(pl.len().over(whole).cast(pl.Int128)).otherwise(t).alias("_t"),
    )
    return weighted.with_columns(_part(name, whole) for name in amounts).drop("_w", "_t")


def _part(name: str, whole: Sequence[str]) -> pl.Expr:
    w, t = pl.col("_w"), pl.col("_t")
    units = pl.col(name).to_physical()
    size = units.abs()
    rest = (size % t) * w
    floor = (size // t) * w + rest // t
    left = size - floor.sum().over(whole)
    place = (rest % t).rank("ordinal", descending=True).over(whole)
    part = floor + (place.cast(pl.Int128) <= left).cast(pl.Int128)
    return (part * units.sign()).reinterpret(dtype=MONEY).alias(name)
