"""Texts numbered by the place where they lie, which takes less than looking every text up.

A column that was read from a dictionary holds each text of it once, and in each row the place of one: rows
of one place are of one text. Only one row of each place is looked up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    import numpy as np

__all__ = ["numbered"]

_FEW = 2**14  # rows: fewer are looked up before the library for places is loaded
_INSIDE = 12  # bytes: texts as short lie in the row itself, and have no place
_FIT = 2**16  # bytes of texts that are no matter
_SPREAD = 8  # bytes of texts per row: where there are more, most rows have a place of their own


def numbered(texts: pl.Series, kind: pl.Categorical) -> np.ndarray:
    """Return the number in `kind` of each text (String without nulls)."""
    import numpy as np

    chunks = _places(texts) if len(texts) >= _FEW else []
    if not chunks:
        return texts.cast(kind).to_physical().to_numpy()
    found, places, start = [], [], 0
    for place in chunks:
        row = np.full(int(place.max()) + 1, -1)
        row[place] = np.arange(start, start + len(place))
        places.append(np.flatnonzero(row >= 0))
        found.append(row[places[-1]])
        start += len(place)
    codes = texts.gather(np.concatenate(found)).cast(kind).to_physical().to_numpy()
    numbers, start, done = np.empty(len(texts), np.int64), 0, 0
    for place, used in zip(chunks, places, strict=True):
        number = np.empty(int(used[-1]) + 1, np.int64)
        number[used] = codes[done : done + len(used)]
        np.take(number, place, out=numbers[start : start + len(place)], mode="clip")
        start, done = start + len(place), done + len(used)
    return numbers


def _places(texts: pl.Series) -> list[np.ndarray]:
    """Return where the texts of each chunk lie; nothing where they have no places, or nearly a place each.

    A view of Arrow's columnar format is four numbers of 32 bits: length, first bytes, buffer, offset.
    """
    import nanoarrow
    import numpy as np

    found = []
    for chunk in nanoarrow.c_array_stream(texts):
        array = chunk.view()
        if not len(array):
            continue
        # Without nulls, with one buffer of text and texts of one length, as ids are, the offset alone tells.
        if array.storage_type != "string_view" or array.n_buffers != 4:
            return []
        views = np.frombuffer(array.buffer(1), np.int32).reshape(-1, 4)[array.offset :][: len(array)]
        length, place = views[:, 0], views[:, 3].astype(np.int64)
        if not _INSIDE < length.min() == length.max() or place.max() > max(_FIT, _SPREAD * len(place)):
            return []
        found.append(place)
    return found
