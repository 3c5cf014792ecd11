"""Groups of many texts told apart by one number, which takes less than looking every text up.

A row's number is a hash of its keys. That no two groups share one is made sure of by a second hash with
other seeds: within what one number groups, all rows must have the same check. Both are the same for
other texts once in 2 ** 128 pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from finops_lab.allocation.codes import of_rows

__all__ = ["CHECK", "NUMBER", "numbers", "varying"]

NUMBER, CHECK = "_number", "_check"
_FEW = 1_000  # rows that show of most keys that they vary
_TRIES = 4


def numbers(keys: Sequence[str]) -> Iterator[tuple[pl.Expr, pl.Expr]]:
    """Yield `NUMBER` and `CHECK` (UInt64) of rows with these keys (String), and others for another try."""
    schema = dict.fromkeys(keys, pl.String())
    for number in range(_TRIES):
        seed = 2 * number * len(keys)
        yield (
            of_rows(schema, keys, seed).alias(NUMBER),
            of_rows(schema, keys, seed + len(keys)).alias(CHECK),
        )
    raise AssertionError(f"no number tells all groups of {', '.join(keys)} apart")


def varying(frame: pl.DataFrame, keys: Sequence[str]) -> list[str]:
    """Return the keys that have more than one value; the frame must have a row."""
    maybe = _same(frame.head(_FEW), keys)
    same = _same(frame, maybe)
    return [name for name in keys if name not in same]


def _same(frame: pl.DataFrame, keys: Sequence[str]) -> list[str]:
    alike = frame.select(pl.col(keys).eq_missing(pl.col(keys).first()).all())
    return [name for name in keys if alike[name].item()]
