"""Budgets as they are spent: the share of a month's budget at the end of every slot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING

import polars as pl

from finops_lab.money import SCALE
from finops_lab.service_levels._chance import ASKED, MOST_CHANCE, level_words, proved_levels
from finops_lab.service_levels._parts import Parts, by_promise
from finops_lab.service_levels._sliding import (
    above,
    chosen,
    counted,
    running,
    whole_slots,
)
from finops_lab.service_levels.budgets import LEVELS
from finops_lab.service_levels.burn import LEAST_ROWS
from finops_lab.service_levels.promises import BY_DAY, allowance, promised
from finops_lab.service_levels.schemas import DAY_S, EVENTS, SLOT_S, SPENT

if TYPE_CHECKING:
    import numpy as np

__all__ = ["spent_of", "spent_series"]

_TICK = timedelta(microseconds=1)
_EVER = 2**40
_COUNTS = ("bad", "total", "rows", "bad_rows", "squares", "bad_squares")
_KINDS = {name: EVENTS[name] for name in _COUNTS}


def spent_series(
    events: pl.LazyFrame | pl.DataFrame,
    slos: pl.DataFrame | pl.LazyFrame,
    first: datetime,
    last: datetime,
    *,
    least_rows: int = LEAST_ROWS,
    most_chance: float = MOST_CHANCE,
) -> pl.DataFrame:
    """Tell at the end of every slot how much of its calendar month's budget was spent by then.

    That is what could be known then: the month's events are taken to go on as they were.

    Parameters
    ----------
    events, slos, first, last, least_rows, most_chance
        As in `finops_lab.service_levels.burn.burn_series`. Objectives judged by day have one row a
        day.

    Returns
    -------
    polars.DataFrame
        ``slo``, ``at``, ``rows`` (of the month so far), ``spent`` (Float64, as `spent` of
        `budgets` with ``calendar=True``; null without events) and ``severity`` (``page`` from 80 %,
        ``ticket`` from 40 %, compared exactly; null with too few rows, or where a sampled log shows
        it by no more than chance: then ``unproved`` names the level and ``reason`` the figures).
        Sorted.
    """
    promises = promised(slos)
    parts = by_promise(events, promises)
    return spent_of(parts, promises, first, last, least_rows=least_rows, most_chance=most_chance)


def spent_of(
    parts: Parts,
    promises: pl.DataFrame,
    first: datetime,
    last: datetime,
    *,
    least_rows: int = LEAST_ROWS,
    most_chance: float = MOST_CHANCE,
) -> pl.DataFrame:
    """Work `spent_series` out of events that stand apart by promise already."""
    daily = pl.col("objective").is_in(BY_DAY)
    found = [pl.DataFrame(schema=SPENT)]
    for slot_s, wanted in ((SLOT_S, promises.filter(~daily)), (DAY_S, promises.filter(daily))):
        begin, end = whole_slots(first + timedelta(seconds=slot_s) - _TICK, slot_s), whole_slots(last, slot_s)
        if end < begin:
            continue
        least = least_rows if slot_s == SLOT_S else 1
        for some, events in parts.some(wanted["slo"].to_list()):
            mine = wanted.filter(pl.col("slo").is_in(some))
            found.append(_spent(events, mine, begin, end, slot_s, least, most_chance))
    return pl.concat(found).sort("slo", "at")


def _spent(
    events: pl.DataFrame,
    promises: pl.DataFrame,
    first: datetime,
    last: datetime,
    slot_s: int,
    least: int,
    most_chance: float,
) -> pl.DataFrame:
    import numpy as np

    slos, slot = promises["slo"].to_list(), timedelta(seconds=slot_s)
    begin = (first - _TICK).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    names = (*_COUNTS, "bad_usd") if promises["budget_usd"].count() else _COUNTS
    sums = running(events, slos, begin, (last - begin) // slot, slot_s, names)
    since = (first - begin) // slot - 1
    at = sums.at.slice(since)
    # A moment is the end of its slot: midnight still belongs to the month before.
    month = at.dt.offset_by("-1us").dt.truncate("1mo")
    ends, month_begins = (_slots_since(begin, moments, slot_s) for moments in (at, month))
    so_far = {name: total[:, ends] - total[:, month_begins] for name, total in sums.sums.items()}
    seen_from = events.group_by("slo").agg(_slots(pl.col("slot").min().dt.truncate("1d"), begin, slot_s))
    known = promises.select("slo").join(seen_from, on="slo", how="left", maintain_order="left")
    # Without an event nothing says when the log began: it is looked at from the month's begin on.
    opening = known["slot"].fill_null(-_EVER).to_numpy()[:, None]
    seen = np.maximum(ends - np.maximum(month_begins, opening), 0)
    slots = month.dt.days_in_month().cast(pl.Int64).to_numpy() * (DAY_S // slot_s)
    state = _State(slos, at, so_far, seen, slots, promises)
    levels = [_level(state, name, level, most_chance) for name, level in LEVELS]
    return _told(state, levels, least)


def _slots(moment: pl.Expr, begin: datetime, slot_s: int) -> pl.Expr:
    return (moment - begin).dt.total_seconds() // slot_s


def _slots_since(begin: datetime, moments: pl.Series, slot_s: int) -> np.ndarray:
    return moments.to_frame("at").select(_slots(pl.col("at"), begin, slot_s))["at"].to_numpy()


@dataclass(frozen=True)
class _State:
    """Budgets of some promises (rows) at the ends of slots (columns)."""

    slos: list[str]
    at: pl.Series
    sums: Mapping[str, np.ndarray]  # of the month so far
    seen: np.ndarray  # slots of the month that the log has seen
    slots: np.ndarray  # slots of the month
    promises: pl.DataFrame

    @cached_property
    def allowed(self) -> list[Fraction]:
        return [allowance(target) for target in self.promises["target"]]

    @cached_property
    def shares(self) -> np.ndarray:
        """Floats of `allowed`, a row each."""
        import numpy as np

        return np.array([float(share) for share in self.allowed])[:, None]

    @cached_property
    def limits(self) -> list[Decimal | None]:
        """Limits in money."""
        return self.promises["budget_usd"].to_list()

    @cached_property
    def money(self) -> np.ndarray:
        """Money spent over the limit; NaN without one."""
        import numpy as np

        if "bad_usd" not in self.sums:
            return np.full(self.seen.shape, np.nan)
        most = np.array([np.nan if limit is None else float(limit) for limit in self.limits])[:, None]
        spent: np.ndarray = self.sums["bad_usd"].astype(np.float64) / 10**SCALE / most
        return spent


def _level(state: _State, name: str, level: Decimal, most_chance: float) -> pl.DataFrame:
    """Return the moments that reach a level, by events or by money, compared exactly; and what is proved.

    Returns
    -------
    polars.DataFrame
        ``_spot``, number of promise and moment, ``proved``, ``reason`` and ``level``.
    """
    import numpy as np

    sums, part = state.sums, Fraction(level)
    room = [part * share for share in state.allowed]
    by_events = above(sums["bad"] * state.seen, sums["total"] * state.slots, room, reached=True)
    by_events &= sums["total"] > 0
    by_money = np.zeros_like(by_events)
    if "bad_usd" in sums:
        # One over the limit, in the last decimal of money.
        most = [
            Fraction(1) if limit is None else part * Fraction(limit) * 10**SCALE for limit in state.limits
        ]
        limited = np.array([[limit is not None] for limit in state.limits])
        by_money = above(sums["bad_usd"], np.ones_like(sums["bad_usd"]), most, reached=True) & limited
    such = by_events | by_money
    rows, columns = such.nonzero()
    seen = np.maximum(state.seen, 1)
    share = float(level) * state.shares * state.slots / seen
    frame = pl.DataFrame(
        {
            "_spot": rows * such.shape[1] + columns,
            **{what: counted(sums[what], such, _KINDS[what]) for what in _COUNTS},
            "by_events": by_events[such],
            "by_money": by_money[such],
            "share": share[such],
            "times": pl.Series(state.money[such] / float(level)).fill_nan(None),
        },
        schema_overrides={"_spot": pl.Int64, **ASKED},
    )
    tested = proved_levels(frame, most_chance, level_words(level))
    return tested.select("_spot", "proved", "reason", pl.lit(name).alias("level"))


def _told(state: _State, levels: Sequence[pl.DataFrame], least: int) -> pl.DataFrame:
    """Return `SPENT`: the share spent at every moment, the highest level proved, the highest in doubt."""
    import numpy as np

    total = state.sums["total"].astype(np.float64)
    every = np.ones(state.seen.shape, dtype=bool)
    share = np.divide(
        state.sums["bad"].astype(np.float64), total, out=np.full_like(total, np.nan), where=total > 0
    )
    share = np.fmax(share / state.shares * (state.seen / state.slots), state.money)
    spent = np.where(total > 0, share, np.nan)[every]
    frame = chosen(state.slos, state.at, every).with_columns(
        counted(state.sums["rows"], every, pl.Int64).alias("rows"),
        pl.Series("spent", spent, pl.Float64).fill_nan(None),
    )
    # Levels come the most severe first.
    tested = pl.concat(levels)
    tested = tested.filter(frame["rows"].gather(tested["_spot"]) >= least)
    found = [pl.lit(None, pl.String).alias(name) for name in ("severity", "unproved", "reason")]
    if tested.is_empty():
        return frame.with_columns(found).select(list(SPENT))
    proved, doubted = (tested.filter(pl.col("proved") == such) for such in (True, False))
    said = tested.filter(pl.col("reason").is_not_null()).unique("_spot", keep="first", maintain_order=True)
    frame = frame.with_row_index("_spot").with_columns(pl.col("_spot").cast(pl.Int64))
    for rows, name in ((proved, "severity"), (doubted, "unproved")):
        highest = rows.unique("_spot", keep="first", maintain_order=True)
        first = highest.select("_spot", pl.col("level").alias(name))
        frame = frame.join(first, on="_spot", how="left", maintain_order="left")
    frame = frame.join(said.select("_spot", "reason"), on="_spot", how="left", maintain_order="left")
    return frame.select(list(SPENT))
