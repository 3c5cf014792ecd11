"""The simplest slice that an unexpected change sits in: one dimension, or a few of them together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from finops_lab.anomalies.attribution import Leaves
from finops_lab.anomalies.panel import Bools, Floats

__all__ = ["Found", "lasting", "search"]

_Codes = NDArray[np.int64]
# What a condition more and an element more must explain of the change to be worth their words; that all
# changed alike is said at the price of one.
_CONDITION, _ELEMENT = 0.03, 0.08
_NAMELESS = 0.06  # more, where a condition is that nothing is named
_MOVED = 0.3  # of an element's change: where a broader slice changed by less, its parts only swapped places
_CERTAIN = 3.0  # times its usual swing from week to week, for an element beside the largest
_LEAST_SHARE = 0.05  # of the change, of an element that is named
_FEW_WEEKS, _GUESSED_NOISE = 3, 0.1
_UNEVEN = 0.2  # of what one factor makes of a leaf: no cause hits all leaves of a slice just alike
_MOST_FACTOR = 10.0  # noise is not taken to grow with the factor for ever
_EPHEMERAL = 0.3  # share of the money before in names of one week only: such names are not compared
_EXTENDED = 6  # pairs that a third dimension is tried with


@dataclass(frozen=True)
class Found:
    """One explanation of a change.

    Attributes
    ----------
    dimensions : tuple of str
        Those that the slice pins down, the broad before the narrow; none: the whole changed alike.
    members : tuple of numpy.ndarray
        Which leaves each element of the slice holds; the largest element first.
    score : float
        Share of the change that one factor per element explains, less what its words cost.
    """

    dimensions: tuple[str, ...]
    members: tuple[Bools, ...]
    score: float


def lasting(found: Leaves) -> tuple[str, ...]:
    """Return the dimensions whose values come back week after week.

    Names that are made anew for each job say nothing beside those of the weeks before: a dimension
    with more than 30 % of its past money in values of a single week is left out.

    Examples
    --------
    >>> frame = pl.DataFrame({"team": ["a", "a", "a"], "resource": ["j1", "j2", "j3"],
    ...     "before": [[9.0, 0.0, 0.0], [0.0, 9.0, 0.0], [0.0, 0.0, 9.0]]})
    >>> lasting(Leaves(frame, ("team", "resource"), None, (1, 2, 3)))
    ('team',)
    """
    if len(found.spans) < _FEW_WEEKS:
        return found.dimensions
    weeks = np.abs(_before(found.frame, len(found.spans)))
    whole = weeks.sum()
    kept = []
    for name in found.dimensions:
        codes, count = _codes(found.frame[name])
        sums = np.zeros((count, len(found.spans)))
        np.add.at(sums, codes, weeks)
        once = sums[(sums > 0).sum(axis=1) == 1].sum()
        if whole == 0 or once / whole <= _EPHEMERAL:
            kept.append(name)
    return tuple(kept)


def search(found: Leaves, *, most_conditions: int = 3, most_elements: int = 4) -> list[Found]:
    """Find the slices that explain a change best, the best first.

    Parameters
    ----------
    found : Leaves
        What `finops_lab.anomalies.attribution.leaves` returned.
    most_conditions : int
        Dimensions that a slice may pin down.
    most_elements : int
        Values, or tuples of values, of those dimensions that an explanation may name.

    Returns
    -------
    list of Found
        The best explanation of each set of dimensions that has one; ties by fewer dimensions, then
        the broader ones.

    Notes
    -----
    A slice explains what it makes expected: with one factor for all of its leaves (actual over
    expected of the slice, the ripple effect of Li et al., "Generic and Robust Localization of
    Multi-Dimensional Root Causes", ISSRE 2019), how much nearer come the leaves? Distances are money
    beyond the leaf's usual noise, so a slice too wide pays for its quiet leaves and one too narrow
    leaves money unexplained. Gains of slices that share no leaf add up, which gives the best set of
    each size at once. Of equal gains the fewest words win.

    Examples
    --------
    >>> from finops_lab.money import MONEY
    >>> rows = [(t, s, 30 if (t, s) == ("a", "x") else 10, 10) for t in "abc" for s in "xyz"]
    >>> frame = pl.DataFrame(rows, schema=["team", "service", "actual", "expected"], orient="row")
    >>> frame = frame.with_columns(pl.col("actual", "expected").cast(MONEY), before=[10.0, 10.0, 10.0])
    >>> top = search(Leaves(frame, ("service", "team"), "USD", (1, 2, 3)))[0]
    >>> top.dimensions, frame.filter(pl.Series(top.members[0])).select("team", "service").rows()
    (('service', 'team'), [('a', 'x')])
    """
    names = lasting(found)
    compared, place = _compared(found, names)
    cells = _Cells(compared, len(found.spans))
    if not cells.change:
        return []
    columns = {n: _codes(compared[n]) for n in names}
    useful = _distinct({n: codes for n, codes in columns.items() if codes[1] > 1})
    tried: dict[tuple[str, ...], Found] = {}

    def attempt(some: tuple[str, ...]) -> None:
        chosen = [columns[n] for n in some]
        if some not in tried and (best := cells.best(some, chosen, compared, most_elements)):
            tried[some] = best

    few = [some for size in range(min(2, most_conditions) + 1) for some in combinations(useful, size)]
    for some in few:
        attempt(some)
    if not tried:  # all within the swings of single leaves, and the sum of them is out of the ordinary
        cells.without_noise()
        for some in few:
            attempt(some)
    ranked = _ranked(tried.values(), useful)
    for size in range(3, most_conditions + 1):
        for base in [one for one in ranked if len(one.dimensions) == size - 1][:_EXTENDED]:
            for name in useful:
                if name not in base.dimensions:
                    attempt(tuple(sorted((*base.dimensions, name), key=useful.index)))
        ranked = _ranked(tried.values(), useful)
    return [
        Found(one.dimensions, tuple(member[place] for member in one.members), one.score) for one in ranked
    ]


def _ranked(found: Iterable[Found], order: Sequence[str]) -> list[Found]:
    def key(one: Found) -> tuple[float, int, int, list[int]]:
        # Equal to nine digits is equal: sums of floats may differ in the last.
        return (
            -round(one.score, 9),
            len(one.dimensions),
            len(one.members),
            [order.index(name) for name in one.dimensions],
        )

    return sorted(found, key=key)


def _compared(found: Leaves, names: Sequence[str]) -> tuple[pl.DataFrame, _Codes]:
    """Add leaves up that differ in passing names alone; return them and the place of each leaf."""
    numbered = found.frame.with_row_index("leaf")
    sums = [pl.col("actual", "expected").sum(), pl.col("before"), pl.col("leaf")]
    if not names:
        sides = numbered.select(sums[0], pl.col("before").implode(), pl.col("leaf").implode())
    else:
        sides = numbered.group_by(list(names)).agg(sums).sort(list(names), nulls_last=True)
    place = np.zeros(found.frame.height, dtype=np.int64)
    lengths = sides["leaf"].list.len().to_numpy()
    place[sides["leaf"].explode().to_numpy()] = np.repeat(np.arange(sides.height), lengths)
    weeks = np.zeros((sides.height, len(found.spans)))
    np.add.at(weeks, place, _before(found.frame, len(found.spans)))
    return sides.drop("leaf").with_columns(before=pl.Series(weeks.tolist(), dtype=pl.List(pl.Float64))), place


def _before(frame: pl.DataFrame, weeks: int) -> Floats:
    if not weeks:
        return np.zeros((frame.height, 0))
    told: Floats = np.array(frame["before"].to_list(), dtype=np.float64).reshape(frame.height, weeks)
    return told


def _codes(column: pl.Series) -> tuple[_Codes, int]:
    codes = column.rank("dense").cast(pl.Int64).fill_null(0).to_numpy()
    _, small = np.unique(codes, return_inverse=True)
    return small.astype(np.int64), int(small.max(initial=-1)) + 1


def _distinct(columns: dict[str, tuple[_Codes, int]]) -> tuple[str, ...]:
    """Leave out dimensions that tell the leaves apart just as an earlier one does."""
    kept: list[str] = []
    for name, (codes, count) in columns.items():
        alike = False
        for other in kept:
            theirs, number = columns[other]
            alike = alike or (count == number == np.unique(theirs * count + codes).size)
        if not alike:
            kept.append(name)
    return tuple(kept)


class _Cells:
    """Leaves as floats: what they cost, what was expected, and how much of it is noise."""

    def __init__(self, frame: pl.DataFrame, weeks: int) -> None:
        self.actual = frame["actual"].cast(pl.Float64).to_numpy()
        self.expected = frame["expected"].cast(pl.Float64).to_numpy()
        self.change = float(self.actual.sum() - self.expected.sum())
        self.before = _before(frame, weeks)
        self.noise = self._noise(self.before)
        self.off = np.maximum(np.abs(self.actual - self.expected) - self.noise, 0.0)

    def without_noise(self) -> None:
        """Count every difference in full."""
        self.noise = np.zeros_like(self.noise)
        self.off = np.abs(self.actual - self.expected)

    def _noise(self, before: Floats) -> Floats:
        size = np.abs(self.expected)
        if before.shape[1] < _FEW_WEEKS or not size.any():
            return np.asarray(_GUESSED_NOISE * size)
        own = before.std(axis=1, ddof=1)
        relative = np.divide(own, size, out=np.zeros_like(own), where=size > 0)
        order = np.argsort(relative, kind="stable")
        half = np.searchsorted(np.cumsum(size[order]), size.sum() / 2)
        # A few weeks tell little of one leaf: the middle of all leaves helps.
        usual = relative[order][min(int(half), size.size - 1)]
        noise: Floats = np.sqrt((np.square(own) + np.square(usual * size)) / 2)
        return noise

    def best(
        self,
        names: tuple[str, ...],
        columns: Sequence[tuple[_Codes, int]],
        frame: pl.DataFrame,
        most: int,
    ) -> Found | None:
        """Return the best set of elements of a set of dimensions, none where no element helps."""
        codes = np.zeros(self.actual.size, dtype=np.int64)
        for code, count in columns:
            codes = codes * count + code
        _, leaf, codes = np.unique(codes, return_index=True, return_inverse=True)
        actual, expected = (np.bincount(codes, x) for x in (self.actual, self.expected))
        factor = np.divide(actual, expected, out=np.ones_like(actual), where=expected != 0)
        factor = np.where(factor < 0, 1.0, factor)[codes]
        noise = self.noise * np.clip(factor, 1.0, _MOST_FACTOR)
        noise += _UNEVEN * np.abs((factor - 1.0) * self.expected)
        off = np.maximum(np.abs(self.actual - factor * self.expected) - noise, 0.0)
        off[(expected == 0)[codes]] = 0.0  # what was never there is explained by being new
        gain = (np.bincount(codes, self.off) - np.bincount(codes, off)) / abs(self.change)
        excess = np.asarray(actual - expected, dtype=np.float64)
        share = excess / self.change
        nameless = np.zeros(actual.size)
        for name in names:
            if frame[name].null_count():
                nameless[np.unique(codes[frame[name].is_null().to_numpy()])] += _NAMELESS
        gain = np.where(share >= _LEAST_SHARE, gain - nameless, -1.0)
        order = np.argsort(-np.round(gain, 12), kind="stable")
        order = order[np.append(True, self._sure(codes, excess)[order[1:]])][: 2 * most]
        chosen = [g for g in order if gain[g] > 0 and not self._moved(columns, leaf[g], excess[g])]
        if not chosen:
            return None
        order = np.array(chosen[:most])
        # More than the whole change is explained by one element alone: two that do so are partly chance.
        gains = np.minimum(np.cumsum(gain[order]), max(1.0, float(gain[order[0]])))
        scores = gains - _CONDITION * max(len(names), 1) - _ELEMENT * np.arange(order.size)
        number = int(np.argmax(np.round(scores, 12)))
        members = sorted(order[: number + 1].tolist(), key=lambda g: (-round(float(share[g]), 12), g))
        return Found(names, tuple(codes == g for g in members), float(scores[number]))

    def _sure(self, codes: _Codes, excess: Floats) -> Bools:
        """Say which elements moved more than they do from week to week."""
        if self.before.shape[1] < _FEW_WEEKS:
            return np.ones(excess.size, dtype=np.bool_)
        weeks = np.stack([np.bincount(codes, week) for week in self.before.T])
        return np.asarray(np.abs(excess) > _CERTAIN * weeks.std(axis=0, ddof=1))

    def _moved(self, columns: Sequence[tuple[_Codes, int]], leaf: int, excess: float) -> bool:
        """Say whether an element's change is made up for by its neighbours: a tag that changed hands."""
        inside = [codes == codes[leaf] for codes, _ in columns]
        for name in range(len(inside)):
            broader = np.ones(self.actual.size, dtype=np.bool_)
            for other in [*inside[:name], *inside[name + 1 :]]:
                broader &= other
            change = self.actual[broader].sum() - self.expected[broader].sum()
            if change / excess < _MOVED:
                return True
        return False
