"""Events put in order once: each promise has a stretch of them, and sums over any part of it are at hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import polars as pl

from finops_lab.errors import InputError
from finops_lab.service_levels.schemas import EVENTS, PROMISE

if TYPE_CHECKING:
    import numpy as np

__all__ = ["SUMMED", "Parts", "Stretch", "by_promise", "whole_numbers"]

SUMMED = tuple(name for name in EVENTS if name not in (*PROMISE, "slot", "slot_s", "good"))
_WORD = 2**62
_EPOCH, _TICK = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
# Promises that are looked at together: so many that their sums fit into memory that is fast.
_TOGETHER = 64


def by_promise(events: pl.LazyFrame | pl.DataFrame, promises: pl.DataFrame) -> Parts:
    """Put the events of promises in order, and refuse those that are not known."""
    ordered = events.lazy().select(list(EVENTS)).sort("slo", "slot").collect()
    runs = ordered["slo"].rle().struct.unnest()
    ends = runs["len"].cum_sum()
    lengths = zip(runs["value"], runs["len"], ends, strict=True)
    spans = {slo: (end - length, end) for slo, length, end in lengths}
    if strange := set(spans) - set(promises["slo"]):
        raise InputError(
            f"there are events of {min(strange)!r}, and no such objective",
            hint="count events with the same objectives that they are judged by",
        )
    return Parts(ordered, spans)


@dataclass(frozen=True)
class Parts:
    """Events of promises, sorted by promise and slot.

    Attributes
    ----------
    ordered : polars.DataFrame
        `EVENTS`.
    spans : dict of str to tuple of int
        The first event of each promise, and the one after its last.
    """

    ordered: pl.DataFrame
    spans: dict[str, tuple[int, int]]

    @cached_property
    def slots(self) -> np.ndarray:
        """Begins of slots, in microseconds."""
        return self.ordered["slot"].to_physical().to_numpy()

    @cached_property
    def sums(self) -> dict[str, np.ndarray]:
        """Running sums of all events in whole numbers of the last decimal; the first is 0."""
        import numpy as np

        found = {}
        for name in SUMMED:
            values = whole_numbers(self.ordered[name])
            found[name] = np.concatenate([np.zeros(1, dtype=values.dtype), np.cumsum(values)])
        return found

    def some(self, slos: Sequence[str]) -> Iterator[tuple[Sequence[str], pl.DataFrame]]:
        """Return promises some at a time, with their events: a year of 500 needs no memory for all at once."""
        for start in range(0, len(slos), _TOGETHER):
            wanted = slos[start : start + _TOGETHER]
            spans = [self.spans[slo] for slo in wanted if slo in self.spans]
            yield (
                wanted,
                pl.concat(
                    [self.ordered.clear(), *(self.ordered.slice(low, high - low) for low, high in spans)]
                ),
            )

    def of(self, slo: str) -> Stretch:
        """Return the events of a promise."""
        return Stretch(self, *self.spans.get(slo, (0, 0)))


@dataclass(frozen=True)
class Stretch:
    """Events of one promise that follow one another: those from number `low` up to `high` of the parts."""

    parts: Parts
    low: int
    high: int

    def up_to(self, moment: datetime) -> Stretch:
        """Return the events of slots that begin before a moment."""
        return Stretch(self.parts, self.low, self._place(moment))

    def since(self, moment: datetime) -> Stretch:
        """Return the events of slots that begin at a moment or later."""
        return Stretch(self.parts, self._place(moment), self.high)

    def _place(self, moment: datetime) -> int:
        slots = self.parts.slots[self.low : self.high]
        return self.low + int(slots.searchsorted((moment - _EPOCH) // _TICK))

    @property
    def first(self) -> datetime:
        """The begin of the first slot."""
        return self.begin_of(0)

    def begin_of(self, place: int) -> datetime:
        """Return the begin of a slot by its number."""
        return _EPOCH + int(self.parts.slots[self.low + place]) * _TICK

    def sum(self, name: str) -> int:
        """Return the sum of a column, in whole numbers of its last decimal."""
        sums = self.parts.sums[name]
        return int(sums[self.high]) - int(sums[self.low])

    def reaching(self, name: str, limit: int) -> int:
        """Return the number of the first event with which the sum is at least `limit`, which it reaches."""
        sums = self.parts.sums[name]
        reached: np.ndarray = sums[self.low + 1 : self.high + 1] - sums[self.low] >= limit
        return int(reached.argmax())


def whole_numbers(values: pl.Series) -> np.ndarray:
    """Return values as whole numbers of their last decimal, in a form in which their sums cannot wrap."""
    import numpy as np

    whole = values.to_physical().cast(pl.Int128).fill_null(0)
    if int(whole.abs().sum()) < _WORD:
        return whole.cast(pl.Int64).to_numpy()
    return np.array(whole.to_list(), dtype=object)
