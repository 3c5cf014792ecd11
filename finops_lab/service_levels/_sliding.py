"""Sums over sliding windows: every slot of every promise, added up once from the first to the last."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import polars as pl

from finops_lab.errors import InputError
from finops_lab.service_levels.schemas import SLOT_S

__all__ = ["by_promise", "grid", "opened", "ratios", "whole_slots", "within"]

_COUNTS = ("bad", "total", "rows", "bad_usd", "bad_rows", "squares", "bad_squares")
_LIMIT = 2**127 - 1


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


def opened(events: pl.LazyFrame | pl.DataFrame, promises: pl.DataFrame) -> pl.DataFrame:
    """Return the events of the promises, and refuse those that are not known."""
    found = events.lazy().collect()
    strange = set(found["slo"].unique()) - set(promises["slo"])
    if strange:
        raise InputError(
            f"there are events of {min(strange)!r}, and no such objective",
            hint="count events with the same objectives that they are judged by",
        )
    return found


def by_promise(events: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Return the events of each promise, sorted by slot: parts of one frame, nothing is copied."""
    ordered = events.sort("slo", "slot")
    runs = ordered["slo"].rle().struct.unnest()
    ends = runs["len"].cum_sum()
    return {
        slo: ordered.slice(end - length, length)
        for slo, length, end in zip(runs["value"], runs["len"], ends, strict=True)
    }


def grid(
    events: pl.DataFrame,
    promises: pl.DataFrame,
    *,
    first: datetime,
    last: datetime,
    slot_s: int,
    back_s: int,
    monthly: bool = False,
) -> pl.DataFrame:
    """Return a row for every promise and slot, with running sums.

    Parameters
    ----------
    events : polars.DataFrame
        `EVENTS` of slots of `slot_s` seconds.
    promises : polars.DataFrame
        With ``slo``.
    first, last : datetime.datetime
        Ends of the first and last window.
    slot_s, back_s : int
        Length of a slot, and of the longest window before `first`.
    monthly : bool
        Begin the sums anew in every calendar month.

    Returns
    -------
    polars.DataFrame
        ``slo``, ``at`` (end of the slot), and running sums of ``bad``, ``total``, ``rows``,
        ``bad_usd``, ``bad_rows``, ``squares`` and ``bad_squares``. Sorted by both. Not monthly, sums
        run on from one promise to the next: only their differences within one mean anything, and
        `within` takes those.
    """
    begin = first - timedelta(seconds=back_s + slot_s)
    slots = pl.datetime_range(
        begin, last - timedelta(seconds=slot_s), f"{slot_s}s", eager=True, time_zone="UTC", time_unit="us"
    )
    # Promise and slot in one whole number, which is found again in less time than a text and a moment.
    names = promises.select("slo").sort("slo").with_row_index("_promise")
    spot = (
        pl.col("_promise").cast(pl.Int64) * slots.len()
        + (pl.col("slot") - begin).dt.total_seconds() // slot_s
    )
    counts = (
        events.lazy()
        .filter(pl.col("slot").is_between(begin, last - timedelta(seconds=slot_s)))
        .join(names.lazy(), on="slo")
        .select(spot.alias("_spot"), *_COUNTS)
    )
    # A cross join may turn its sides round: slots of a promise must stand together, in order.
    spots = pl.int_range(names.height * slots.len(), dtype=pl.Int64, eager=True).alias("_spot")
    length = max(slots.len(), 1)
    every = pl.LazyFrame(
        {"slo": names["slo"].gather(spots // length), "slot": slots.gather(spots % length), "_spot": spots}
    )
    dense = every.join(counts, on="_spot", how="left", maintain_order="left").collect()
    sums = [pl.col(name).fill_null(0).cum_sum() for name in _COUNTS]
    if monthly:
        sums = [total.over("slo", pl.col("slot").dt.truncate("1mo")) for total in sums]
    return dense.select("slo", (pl.col("slot") + pl.duration(seconds=slot_s)).alias("at"), *sums)


def within(name: str, slots: int) -> pl.Expr:
    """Return the sum of the last `slots` slots, from running sums.

    True for moments that have so many slots of the same promise before them: from `first` of the
    `grid` on.
    """
    return (pl.col(name) - pl.col(name).shift(slots)).alias(name)


def ratios(promises: pl.DataFrame, limits: dict[str, Fraction], biggest: int) -> pl.DataFrame:
    """Return a limit per promise as a whole numerator and denominator, to compare without rounding.

    `biggest` is the largest whole number that they will be multiplied by.

    Raises
    ------
    InputError
        When the product would leave 128 bits.
    """
    most = max((max(part.numerator, part.denominator) for part in limits.values()), default=1)
    if biggest * most > _LIMIT:
        raise InputError("counts are too large to compare exactly", hint="write the target with fewer digits")
    return promises.select(
        "slo",
        pl.Series("num", [limits[slo].numerator for slo in promises["slo"]], pl.Int128),
        pl.Series("den", [limits[slo].denominator for slo in promises["slo"]], pl.Int128),
    )
