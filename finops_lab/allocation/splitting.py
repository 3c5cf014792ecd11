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
    # Sorted as they are, wholes are told apart by a number: windows over it cost half of those over texts.
    weighted = weighted.with_columns(pl.struct(whole).rle_id().alias("_whole")).with_columns(
        w.sum().over("_whole").alias("_t")
    )
    weighted = weighted.with_columns(
        pl.when(t == 0).then(one).otherwise(w).alias("_w"),
        pl.when(t == 0).then(pl.len().over("_whole").cast(pl.Int128)).otherwise(t).alias("_t"),
    )
    for name in amounts:
        weighted = _parted(weighted, name)
    return weighted.drop("_w", "_t", "_whole")


def _parted(weighted: pl.LazyFrame, name: str) -> pl.LazyFrame:
    w, t, size, rest = (pl.col(n) for n in ("_w", "_t", "_size", "_rest"))
    units = pl.col(name).to_physical()
    split = weighted.with_columns(units.abs().alias("_size")).with_columns(((size % t) * w).alias("_rest"))
    split = split.with_columns(((size // t) * w + rest // t).alias("_floor"), (rest % t).alias("_rest"))
    left = size - pl.col("_floor").sum().over("_whole")
    place = rest.rank("ordinal", descending=True).over("_whole")
    part = pl.col("_floor") + (place.cast(pl.Int128) <= left).cast(pl.Int128)
    done = split.with_columns((part * units.sign()).reinterpret(dtype=MONEY).alias(name))
    return done.drop("_size", "_rest", "_floor")
