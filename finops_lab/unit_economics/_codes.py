"""Groups of many texts found by whole numbers: a third of the time that hashing the texts takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import polars as pl

__all__ = ["coded"]

_ROOM = 2**62


def coded(
    frame: pl.DataFrame, keys: Sequence[str]
) -> tuple[pl.DataFrame, list[str], Callable[[Sequence[str]], list[pl.Expr]]]:
    """Give numbers to the values of keys, so that groups are found by whole numbers instead of a dozen texts.

    Returns the frame, with keys that vary as categories; their names; and what makes of some of
    these names the columns to group by.
    """
    first = pl.col(keys).eq_missing(pl.col(keys).first()).all()
    varying = [name for name, constant in frame.select(first).row(0, named=True).items() if not constant]
    # Categories of a column's own: the common ones would hand out numbers of all columns together.
    own = [pl.col(name).cast(pl.Categorical(pl.Categories.random(name))) for name in varying]
    done = frame.with_columns(own)
    highest = done.select(pl.col(varying).to_physical().max().fill_null(0)) if varying else done.clear()
    sizes = {name: int(highest[name][0]) + 2 for name in varying}
    return done, varying, partial(_codes, sizes)


def _codes(sizes: Mapping[str, int], names: Sequence[str]) -> list[pl.Expr]:
    packed = [pl.lit(0, pl.Int64)]
    room = 1
    for name in names:
        if room * sizes[name] > _ROOM:
            packed.append(pl.lit(0, pl.Int64))
            room = 1
        room *= sizes[name]
        code = pl.col(name).to_physical().cast(pl.Int64) + 1
        packed[-1] = packed[-1] * sizes[name] + code.fill_null(0)
    return [code.alias(f"_code{place}") for place, code in enumerate(packed)]
