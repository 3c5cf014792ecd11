"""Sums over sliding windows: every slot of every promise, added up once from the first to the last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING

import polars as pl

from finops_lab.errors import InputError
from finops_lab.service_levels._parts import whole_numbers
from finops_lab.service_levels.schemas import COUNTED, SLOT_S

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Running", "above", "chosen", "counted", "running", "whole_slots"]

_NEAR = 1e-12  # of floats, which hold nearly sixteen digits


def whole_slots(at: datetime, slot_s: int = SLOT_S) -> datetime:
    """Return the end of the last slot that is over at a moment.

    Examples
    --------
    >>> whole_slots(datetime(2026, 10, 1, 9, 4, 59, tzinfo=UTC))
    datetime.datetime(2026, 10, 1, 9, 0, tzinfo=datetime.timezone.utc)
    """
    if at.tzinfo is None:
        raise InputError(f"the moment {at} has no time zone", hint="write datetime(..., tzinfo=UTC)")
    seconds = int((at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) // slot_s * slot_s
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)


@dataclass(frozen=True)
class Running:
    """Running sums of some promises: a row each, and a column for every end of a slot.

    Attributes
    ----------
    slos : list of str
        The promises, in order of their rows.
    at : polars.Series
        Ends of slots: of all columns but the first, which is before any.
    sums : dict of str to numpy.ndarray
        Running sums in whole numbers: thousandths of calls, and of money the last of its decimals.
        64 bits, or Python's own where those might not do.
    """

    slos: list[str]
    at: pl.Series
    sums: dict[str, np.ndarray]

    def within(self, name: str, slots: int, since: int) -> np.ndarray:
        """Return the sums of the last `slots` slots, at the ends from number `since` on."""
        sums = self.sums[name]
        found: np.ndarray = sums[:, since + 1 :] - sums[:, since + 1 - slots : sums.shape[1] - slots]
        return found


def running(
    events: pl.DataFrame, slos: Sequence[str], begin: datetime, slots: int, slot_s: int, names: Sequence[str]
) -> Running:
    """Add up events of promises, slot by slot.

    Parameters
    ----------
    events : polars.DataFrame
        `EVENTS` of slots of `slot_s` seconds, of these promises alone.
    slos : sequence of str
        Names of the promises.
    begin : datetime.datetime
        Begin of the first slot.
    slots : int
        How many there are.
    slot_s : int
        Length of a slot.
    names : sequence of str
        Columns to add up.
    """
    import numpy as np

    place = (pl.col("slot") - begin).dt.total_seconds() // slot_s
    rows = dict(zip(slos, range(len(slos)), strict=True))
    row = pl.col("slo").replace_strict(rows, return_dtype=pl.Int64) if rows else pl.lit(0, pl.Int64)
    inside = (
        events.select("slo", place.alias("_slot"), *names)
        .filter(pl.col("_slot").is_between(0, slots - 1))
        .with_columns(row.alias("_row"))
    )
    spots = inside["_row"].to_numpy(), inside["_slot"].to_numpy() + 1
    sums = {}
    for name in names:
        values = whole_numbers(inside[name])
        counts = np.zeros((len(slos), slots + 1), dtype=values.dtype)
        np.add.at(counts, spots, values)
        sums[name] = np.cumsum(counts, axis=1)
    step = timedelta(seconds=slot_s)
    ends = pl.datetime_range(
        begin + step, begin + slots * step, step, eager=True, time_zone="UTC", time_unit="us"
    )
    return Running(list(slos), ends.alias("at"), sums)


def above(
    part: np.ndarray, whole: np.ndarray, limits: Sequence[Fraction], *, reached: bool = False
) -> np.ndarray:
    """Tell where a share lies above the limit of its row, without rounding; `reached` takes the limit too.

    Examples
    --------
    >>> import numpy as np
    >>> above(np.array([[1, 2, 3, 0]]), np.array([[20, 20, 20, 0]]), [Fraction(1, 10)]).tolist()
    [[False, False, True, False]]
    """
    import numpy as np

    most = np.array([float(limit) for limit in limits])[:, None]
    some = part.astype(np.float64)
    room = whole.astype(np.float64) * most
    found: np.ndarray = some > room
    # Where floats are too near to each other to tell, whole numbers do.
    near = (np.abs(some - room) <= _NEAR * room) & (some > 0)
    rows = near.nonzero()[0]
    tops, bottoms = (
        np.array([getattr(limit, name) for limit in limits], dtype=object)
        for name in ("numerator", "denominator")
    )
    left = part[near].astype(object) * bottoms[rows]
    right = whole[near].astype(object) * tops[rows]
    found[near] = (left >= right if reached else left > right).astype(bool)
    return found


def chosen(slos: Sequence[str], at: pl.Series, such: np.ndarray) -> pl.DataFrame:
    """Name the promise and moment of what was chosen: ``slo`` and ``at``, in order."""
    rows, columns = such.nonzero()
    return pl.DataFrame({"slo": pl.Series(slos, dtype=pl.String).gather(rows), "at": at.gather(columns)})


def counted(values: np.ndarray, such: np.ndarray, kind: pl.DataType | type[pl.DataType]) -> pl.Series:
    """Return what was chosen of whole numbers in the type that they are the last decimals of."""
    some = values[such]
    whole = pl.Series(some.tolist() if some.dtype == object else some, dtype=pl.Int128)
    return whole.reinterpret(dtype=kind) if kind == COUNTED else whole.cast(kind)
