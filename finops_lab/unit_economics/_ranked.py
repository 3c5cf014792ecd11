"""Exact percentiles of very many groups: one sort of whole numbers for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from finops_lab.unit_economics.histogram import share

if TYPE_CHECKING:
    import numpy as np

__all__ = ["ranked"]

# Durations are told in milliseconds; so many parts of one are whole numbers in nearly every log.
_PARTS = (1_000, 1_000_000)
_BITS, _EXACT = 63, 2**53


def ranked(
    group: pl.Series, value: pl.Series, groups: pl.Series, at: Sequence[float]
) -> list[pl.Series] | None:
    """Return of each group the least value that each share of its values is at or below.

    Parameters
    ----------
    group : polars.Series
        UInt64, spread over all 64 bits, as hashes are.
    value : polars.Series
        Float64; null is not counted.
    groups : polars.Series
        What `group` holds, each once, in any order; also groups that hold nothing.
    at : sequence of float
        Shares between 0 and 1.

    Returns
    -------
    list of polars.Series or None
        A series (Float64) for each share with the value of each of `groups`, null where nothing is
        counted. None where values are not whole parts of a millionth, or where they and what tells
        groups apart do not fit one number.

    Examples
    --------
    >>> one, two = 2**63, 2**62
    >>> groups = pl.Series([one, two], dtype=pl.UInt64)
    >>> group = pl.Series([two, two, one, two], dtype=pl.UInt64)
    >>> ranked(group, pl.Series([5.5, 2.25, 9.0, 7.0]), groups, [0.5])[0].to_list()
    [9.0, 5.5]
    """
    import numpy as np

    if value.null_count():
        known = value.is_not_null()
        group, value = group.filter(known), value.filter(known)
    found = _whole(value.to_numpy())
    if found is None:
        return None
    whole, parts = found
    bits = int(whole.max(initial=0)).bit_length()
    # Group and value in one number, which sorts as the two do: of the group the bits that there is room for.
    low, high = np.int64((1 << bits) - 1), np.uint64(64 - _BITS)
    tags = (groups.to_numpy() >> high).astype(np.int64) & ~low
    order = np.argsort(tags)
    if (np.diff(tags[order]) == 0).any():
        return None
    whole |= (group.to_numpy() >> high).view(np.int64) & ~low
    whole.sort()
    before = np.empty(len(tags), np.int64)
    before[order] = np.searchsorted(whole, tags[order])
    after = np.empty(len(tags), np.int64)
    after[order] = np.append(before[order][1:], len(whole))
    sizes = after - before
    some = sizes > 0
    done = []
    for quantile in at:
        part, of = share(quantile)
        place = before + np.maximum(-(-sizes * part // of), 1) - 1
        least = np.full(len(tags), np.nan)
        least[some] = (whole[place[some]] & low) / parts
        done.append(pl.Series(least, nan_to_null=True))
    return done


def _whole(values: np.ndarray) -> tuple[np.ndarray, int] | None:
    """Return values in whole parts, and how many of them are one."""
    import numpy as np

    # NaN is neither.
    if len(values) and not (values.min() >= 0 and values.max() * _PARTS[-1] < _EXACT):
        return None
    for parts in _PARTS:
        whole = np.rint(values * parts)
        if np.array_equal(whole / parts, values):
            return whole.astype(np.int64), parts
    return None
