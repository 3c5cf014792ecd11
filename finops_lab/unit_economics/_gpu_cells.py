"""Samples of GPUs added up in an array that has a cell for each GPU, key and hour.

A group's cell is worked out, not looked for: half of the time that hashing takes. Microseconds are
whole numbers that floats hold, so that the sums are exact; where they would not be, nothing is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from finops_lab.unit_economics._codes import varying
from finops_lab.unit_economics._places import numbered

if TYPE_CHECKING:
    import numpy as np

__all__ = ["HOUR", "SECOND", "in_cells"]

SECOND, HOUR = 1_000_000, 3_600_000_000
GPU = ("gpu_uuid", "util_kind")
# Samples of a GPU are looked for twice in a slot of half a minute; closer ones are compared.
_SLOTS = 120
_BLOCK = 2**15  # rows whose numbers stay in the cache of a core
_CELLS, _SEEN = 2**20, 2**26  # so many are no matter; more must be worth it
_SPARSE = 8  # cells of a row: with more of them, looking groups up takes less
_EXACT = 2**53
_ROOM = 2**62


def in_cells(rows: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame | None:
    """Add up samples by key and hour; keys begin with the GPU and the kind.

    Returns
    -------
    polars.DataFrame or None
        ``hour`` (Int64, since 1970), the keys, ``rows``, ``sampled`` and ``busy`` (Int64,
        microseconds), in no order that means anything. None where a GPU has two samples of a moment,
        whose time is to be shared, or where floats would not be exact.
    """
    import numpy as np

    if rows.is_empty() or rows["ts"].null_count():
        return None
    moment = rows["ts"].to_physical()
    first = int(moment.min()) // HOUR * HOUR  # type: ignore[arg-type]
    hours = (int(moment.max()) - first) // HOUR + 1  # type: ignore[arg-type]
    numbers = _numbers(rows, keys)
    if numbers is None:
        return None
    gpu, who = numbers
    groups = int(who.max()) + 1
    if groups * hours > max(_CELLS, rows.height):
        who = np.searchsorted(np.unique(who), who)
        groups = int(who.max()) + 1
        # A sample of another century would ask for more memory than there is.
        if groups * hours > max(_CELLS, _SPARSE * rows.height):
            return None
    found = _added(rows, first, gpu, who, groups, hours)
    if found is None:
        return None
    row, count, sampled, busy = found
    cell = np.flatnonzero(count)
    return rows.select(keys)[row[cell // hours]].with_columns(
        pl.Series("hour", cell % hours + first // HOUR),
        pl.Series("rows", count[cell]),
        pl.Series("sampled", sampled[cell].astype(np.int64)),
        pl.Series("busy", busy[cell].astype(np.int64)),
    )


def _numbers(rows: pl.DataFrame, keys: Sequence[str]) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the number of each row's GPU and kind, and that of all its keys."""
    import numpy as np

    codes, sizes = {}, {}
    for name in varying(rows, keys):
        texts = rows[name].cast(pl.String)
        # Categories of a column's own: the common ones would hand out numbers of all columns together.
        kind = pl.Categorical(pl.Categories.random(name))
        if texts.null_count():
            codes[name] = (texts.cast(kind).to_physical() + 1).fill_null(0).to_numpy()
        else:
            codes[name] = numbered(texts, kind)
        sizes[name] = int(codes[name].max()) + 1

    def number(names: Sequence[str]) -> np.ndarray | None:
        packed, room = np.zeros(rows.height, dtype=np.int64), 1
        for name in [name for name in names if name in codes]:
            room *= sizes[name]
            if room > _ROOM:
                return None
            packed = (
                packed * sizes[name] + codes[name] if room > sizes[name] else codes[name].astype(np.int64)
            )
        return packed

    gpu = number(GPU)
    who = gpu if codes.keys() <= set(GPU) else number(keys)
    return None if gpu is None or who is None else (gpu, who)


def _added(
    rows: pl.DataFrame, first: int, gpu: np.ndarray, who: np.ndarray, groups: int, hours: int
) -> tuple[np.ndarray, ...] | None:
    """Return of each group a row, and of each cell its rows and microseconds.

    None where sums are not exact, or where two samples of a GPU and kind are of one moment.
    """
    import numpy as np

    rows = rows.select(pl.col("ts").to_physical(), "interval_s", "util")
    if rows["util"].null_count() or rows["interval_s"].null_count():
        measured = pl.when(pl.col("util").is_not_null()).then(pl.col("interval_s")).fill_null(0.0)
        rows = rows.select("ts", measured.alias("interval_s"), pl.col("util").fill_null(0.0))
    shortest, longest = rows["interval_s"].min(), rows["interval_s"].max()
    constant = shortest == longest  # an exporter is scraped at one interval
    row, cells = np.full(groups, -1), groups * hours
    count, sampled, busy = np.zeros(cells, np.int64), np.zeros(cells), np.zeros(cells)
    slots = (int(gpu.max()) + 1) * hours * _SLOTS
    seen = np.zeros(slots, dtype=bool) if slots <= max(_SEEN, 4 * len(gpu)) else None
    block, some_are_new = max(_BLOCK, cells), True
    for start in range(0, rows.height, block):
        part = slice(start, start + block)
        moment, interval, util = (column.to_numpy() for column in rows[part])
        # NaN is not at least anything.
        if not (interval.min() >= 0 and util.min() >= 0):
            return None
        slot = (moment - first) // (HOUR // _SLOTS)
        cell = who[part] * hours + slot // _SLOTS
        time = np.float64(interval[0] * SECOND) if constant else interval * SECOND
        count += np.bincount(cell, minlength=cells)
        busy += np.bincount(cell, weights=np.rint(util * time), minlength=cells)
        if not constant:
            sampled += np.bincount(cell, weights=np.rint(time), minlength=cells)
        if some_are_new:
            row[who[part]] = np.arange(start, start + len(cell))
            some_are_new = bool((row < 0).any())
        if seen is not None:
            seen[gpu[part] * (hours * _SLOTS) + slot] = True
    if constant:
        sampled = count * np.rint(interval[0] * SECOND)
    # Nothing is negative: where the last sum is exact, all before it were.
    if not ((sampled < _EXACT).all() and (busy < _EXACT).all()):
        return None
    # Two of them in a slot need not be of one moment.
    apart = seen is not None and np.count_nonzero(seen) == len(gpu)
    if not apart and pl.DataFrame({"gpu": gpu, "ts": rows["ts"]}).n_unique() < len(gpu):
        return None
    return row, count, sampled, busy
