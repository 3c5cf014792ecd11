"""Which points nothing else beats: exact for any number of coordinates; smaller is better in all.

A point beats another that it is nowhere above and somewhere below; equal points do not beat each other.
Only comparisons decide, so no rounding can make two different points equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

import numpy as np
import numpy.typing as npt

__all__ = ["Columns", "Flags", "Ints", "first_below", "front"]

Columns = Sequence[npt.NDArray[np.float64]]
Flags = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

_FEW = 64  # points that one comparison of all with all serves best
_SOME = 512  # points that need no pivots before they are sorted
_MISSES = 3  # pivots in a row that beat too little to go on
_HUGE, _FAR = 1e300, 1e6  # of values, and of values in units of their spread
_WIDE = 6  # coordinates from which halving costs more than pivots to the end


def front(columns: Columns) -> Flags:
    """Tell which points are beaten by none; `columns` are the coordinates, without NaN."""
    n = len(columns[0])
    flags = np.zeros(n, dtype=np.bool_)
    if n <= _FEW:
        flags[:] = ~_beaten(columns)
        return flags
    left, finished = _pivots(columns)
    if finished:
        flags[left] = True
        return flags
    columns = [column[left] for column in columns]
    # Lexicographic order: what beats a point comes before it. Equal points stand together.
    order = np.lexsort(columns[::-1])
    columns = [column[order] for column in columns]
    new = np.ones(len(order), dtype=np.bool_)
    new[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    distinct = [column[new] for column in columns]
    if len(columns) == 1:
        stays = distinct[0] == distinct[0][0]
    elif len(columns) == 2:
        lowest = np.minimum.accumulate(distinct[1])
        stays = np.r_[True, distinct[1][1:] < lowest[:-1]]
    else:
        stays = _halving(distinct)
    flags[left[order]] = stays[np.cumsum(new) - 1]
    return flags


def first_below(columns: Columns, members: Columns) -> Ints:
    """Return for each point the first member that is nowhere above it, or -1."""
    n = len(columns[0])
    found, left = np.full(n, -1), np.arange(n)
    for member in range(len(members[0])):
        if not left.size:
            break
        below = columns[0] >= members[0][member]
        for column, values in zip(columns[1:], members[1:], strict=True):
            below &= column >= values[member]
        if below.any():
            found[left[below]] = member
            stays = ~below
            left, columns = left[stays], [column[stays] for column in columns]
    return found


def _beaten(columns: Columns) -> Flags:
    """Compare all points with all."""
    below = columns[0][:, None] <= columns[0]
    for column in columns[1:]:
        below &= column[:, None] <= column
    beaten: Flags = np.any(below & ~below.T, axis=0)
    return beaten


def _pivots(columns: Columns) -> tuple[Ints, bool]:
    """Drop what strong points beat, best first; return the rows left and whether they are the front.

    Once all that are left have been pivots, none of them is beaten. That is quick while the front is small;
    a pivot must drop its share to be worth its comparisons.
    """
    left, score = np.arange(len(columns[0])), _score(columns)
    wide, more, misses = len(columns) >= _WIDE, max(len(columns) - 2, 0), 0
    while wide or (len(left) > _SOME and misses < _MISSES):
        pivot = int(score.argmin())
        if score[pivot] == np.inf:
            return left, True
        above = columns[0] >= columns[0][pivot]
        for column in columns[1:]:
            above &= column >= column[pivot]
        # The pivot's equals stay, itself included; equals have equal scores.
        near = np.flatnonzero(above & (score == score[pivot]))
        equal = near[np.logical_and.reduce([column[near] == column[pivot] for column in columns])]
        above[equal], score[equal] = False, np.inf
        dropped = np.count_nonzero(above)
        # Halving compares a point once per combination of levels.
        enough = len(left) / comb(len(left).bit_length() + more, more) / 2
        misses = 0 if dropped > enough else misses + 1
        if dropped:
            stays = ~above
            left, score, columns = left[stays], score[stays], [column[stays] for column in columns]
    return left, False


def _score(columns: Columns) -> npt.NDArray[np.float64]:
    """Add up the coordinates in units of their usual spread, to find strong points first.

    It decides nothing but the pace, so a sample tells the spread, and no outlier can hide the rest.
    """
    n = len(columns[0])
    total = np.zeros(n)
    with np.errstate(over="ignore", invalid="ignore"):
        for column in columns:
            sample = np.clip(column[:: max(1, n // 1024)], -_HUGE, _HUGE)
            low, centre, high = np.quantile(sample, [0.25, 0.5, 0.75])
            width = high - low or sample.max() - sample.min()
            if width > 0:
                part = column - centre
                part /= width
                np.clip(part, -_FAR, _FAR, out=part)
                part /= 1 + np.abs(part)
                total += part
    return total


def _halving(columns: Columns) -> Flags:
    """Halve the points again and again; mark what the left half beats in the right, level by level.

    Kung, Luccio and Preparata (1975), all blocks of a level at once. Points are distinct and in
    lexicographic order, so the first coordinate is the order itself and needs no comparison; in the others
    unique ranks, equals by that order, say the same as the values.
    """
    n = len(columns[0])
    sequences = [np.argsort(column, kind="stable") for column in columns[1:]]
    last = np.empty(n, dtype=np.int64)
    last[sequences.pop()] = np.arange(n)
    every = np.ones(n, dtype=np.bool_)
    return ~_marked((n - 1).bit_length(), sequences, last, every, every)


def _marked(levels: int, sequences: list[Ints], last: Ints, beats: Flags, asks: Flags) -> Flags:
    """Mark the points of `asks` that a point of `beats` in the same block of 2**levels beats.

    Points are numbered in order of one coordinate. Each of `sequences` lists them by block, then by one
    more coordinate; `last` is the last coordinate.
    """
    n = len(last)
    place = np.arange(n)
    marked = np.zeros(n, dtype=np.bool_)
    for level in range(levels - 1, -1, -1):
        right = (place >> level & 1).astype(np.bool_)
        left_beats, right_asks = beats & ~right, asks & right & ~marked
        first = sequences[0]
        if len(sequences) == 1:
            # Blocks go down by more than any value, so that a minimum never reaches into the next one.
            lift = (((n - 1) >> level + 1) - (place >> level + 1)) * (n + 1)
            values = last[first]
            lowest = np.minimum.accumulate(np.where(left_beats[first], values, n) + lift)
            hit = right_asks[first] & (lowest < values + lift)
            marked[first[hit]] = True
        else:
            number = np.empty(n, dtype=np.int64)
            number[first] = place
            rest = [number[sequence] for sequence in sequences[1:]]
            inner = _marked(level + 1, rest, last[first], left_beats[first], right_asks[first])
            marked[first[inner]] = True
        # Within each block those of the left half first: the blocks of the next level.
        halves = []
        for sequence in sequences:
            side = (sequence >> level & 1).astype(np.bool_)
            split = np.empty_like(sequence)
            split[~right], split[right] = sequence[~side], sequence[side]
            halves.append(split)
        sequences = halves
    return marked
