"""Exact percentiles of very many groups: one sort of whole numbers for all of them."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from finops_lab.unit_economics.histogram import share

__all__ = ["ranked"]

# Durations are told in milliseconds; so many parts of one are whole numbers in nearly every log.
_PARTS = 1_000_000
_BITS, _EXACT = 63, 2**53


def ranked(group: pl.Series, value: pl.Series, groups: int, at: Sequence[float]) -> list[pl.Series] | None:
    """Return of each group the least value that each share of its values is at or below.

    Parameters
    ----------
    group : polars.Series
        Whole numbers from 0, below `groups`.
    value : polars.Series
        Float64; null is not counted.
    at : sequence of float
        Shares between 0 and 1.

    Returns
    -------
    list of polars.Series or None
        A series (Float64) for each share with the value of group 0, 1 and so on, null where nothing
        is counted. None where values are not whole parts of a millionth, or too large for that.

    Examples
    --------
    >>> found = ranked(pl.Series([1, 1, 0, 1]), pl.Series([5.5, 2.25, 9.0, 7.0]), 3, [0.5])
    >>> found[0].to_list()
    [9.0, 5.5, None]
    """
    import numpy as np

    if value.null_count():
        known = value.is_not_null()
        group, value = group.filter(known), value.filter(known)
    number, values = group.to_numpy(), value.to_numpy()
    # NaN is neither.
    if len(values) and not (values.min() >= 0 and values.max() * _PARTS < _EXACT):
        return None
    whole = np.rint(values * _PARTS).astype(np.int64)
    if not np.array_equal(whole / _PARTS, values):
        return None
    bits = int(whole.max(initial=0)).bit_length()
    if bits + groups.bit_length() > _BITS:
        return None
    # Group and value in one number, which sorts as the two do.
    whole |= number.astype(np.int64) << bits
    whole.sort()
    sizes = np.bincount(number, minlength=groups)
    some, before = sizes > 0, np.cumsum(sizes) - sizes
    found = []
    for quantile in at:
        part, of = share(quantile)
        place = before + np.maximum(-(-sizes * part // of), 1) - 1
        reached = (whole[place[some]] & ((1 << bits) - 1)) / _PARTS
        least = np.full(groups, np.nan)
        least[some] = reached
        found.append(pl.Series(least, nan_to_null=True))
    return found
