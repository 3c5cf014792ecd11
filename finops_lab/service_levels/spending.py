"""Budgets as they are spent: the share of a month's budget at the end of every slot."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import polars as pl

from finops_lab.service_levels._chance import ASKED, MOST_CHANCE, level_words, proved_levels
from finops_lab.service_levels._sliding import grid, opened, ratios, whole_slots
from finops_lab.service_levels.budgets import LEVELS
from finops_lab.service_levels.burn import LEAST_ROWS
from finops_lab.service_levels.promises import BY_DAY, allowance, promised
from finops_lab.service_levels.schemas import DAY_S, SLOT_S, SPENT

__all__ = ["spent_series"]

_TICK = timedelta(microseconds=1)


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
    found = opened(events, promises)
    daily = pl.col("objective").is_in(BY_DAY)
    parts = [pl.DataFrame(schema=SPENT)]
    for slot_s, some in ((SLOT_S, promises.filter(~daily)), (DAY_S, promises.filter(daily))):
        begin, end = whole_slots(first + timedelta(seconds=slot_s) - _TICK, slot_s), whole_slots(last, slot_s)
        if end >= begin and not some.is_empty():
            mine = found.filter(pl.col("slo").is_in(some["slo"].to_list()))
            least = least_rows if slot_s == SLOT_S else 1
            parts.append(_spent(mine, some, begin, end, slot_s, least, most_chance))
    return pl.concat(parts).sort("slo", "at")


def _spent(
    events: pl.DataFrame,
    promises: pl.DataFrame,
    first: datetime,
    last: datetime,
    slot_s: int,
    least: int,
    most_chance: float,
) -> pl.DataFrame:
    begin = (first - _TICK).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    sums = grid(
        events,
        promises,
        first=begin + timedelta(seconds=slot_s),
        last=last,
        slot_s=slot_s,
        back_s=0,
        monthly=True,
    )
    allowed = pl.Series("_allowed", [float(allowance(t)) for t in promises["target"]], pl.Float64)
    # A moment is the end of its slot: midnight still belongs to the month before.
    month = (pl.col("at") - pl.duration(microseconds=1)).dt.truncate("1mo")
    seen = pl.col("at") - pl.max_horizontal(month, "_begin")
    frame = (
        sums.filter(pl.col("at") >= first)
        .join(promises.select("slo", "budget_usd", allowed), on="slo", how="left")
        .join(
            events.group_by("slo").agg(pl.col("slot").min().dt.truncate("1d").alias("_begin")),
            on="slo",
            how="left",
        )
        .with_columns(
            (seen.dt.total_seconds() // slot_s).clip(0).alias("_seen"),
            (month.dt.days_in_month().cast(pl.Int64) * (DAY_S // slot_s)).alias("_slots"),
        )
    )
    biggest = int(frame.select(pl.col("total").max()).item() or 0) * 1000 * 31 * (DAY_S // slot_s)
    for name, level in LEVELS:
        targets = promises.select("slo", "target").iter_rows()
        limits = {slo: Fraction(level) * allowance(target) for slo, target in targets}
        factors = ratios(promises, limits, biggest)
        frame = frame.join(factors, on="slo", how="left").with_columns(*_reached(level))
        frame = proved_levels(frame, most_chance, level_words(level))
        frame = frame.rename({"proved": f"_{name}", "reason": f"_{name}_why"}).drop("num", "den", *ASKED)
    reached = pl.coalesce(pl.when(f"_{name}").then(pl.lit(name)) for name, _ in LEVELS)
    # Null where a level is not reached; one above the level that is proved may be reached by chance.
    doubts = pl.coalesce(pl.when(~pl.col(f"_{name}")).then(pl.lit(name)) for name, _ in LEVELS)
    why = pl.coalesce(f"_{name}_why" for name, _ in LEVELS)
    share = (
        pl.col("bad").cast(pl.Float64)
        / pl.col("total").cast(pl.Float64)
        / pl.col("_allowed")
        * (pl.col("_seen").cast(pl.Float64) / pl.col("_slots").cast(pl.Float64))
    )
    money = pl.col("bad_usd").cast(pl.Float64) / pl.col("budget_usd").cast(pl.Float64)
    return frame.select(
        "slo",
        "at",
        "rows",
        pl.when(pl.col("total") > 0).then(pl.max_horizontal(share, money)).alias("spent"),
        pl.when(pl.col("rows") >= least).then(reached).alias("severity"),
        pl.when(pl.col("rows") >= least).then(doubts).alias("unproved"),
        pl.when(pl.col("rows") >= least).then(why).alias("reason"),
    )


def _reached(level: Decimal) -> list[pl.Expr]:
    """Tell exactly where the share of events or of money is at least a level: whole numbers only.

    With them the share of bad events that reaches it, and how many times money does.
    """
    bad, total = pl.col("bad").to_physical(), pl.col("total").to_physical()
    by_events = bad * pl.col("_seen") * pl.col("den") >= total * pl.col("_slots") * pl.col("num")
    usd, limit, part = pl.col("bad_usd").to_physical(), pl.col("budget_usd").to_physical(), Fraction(level)
    by_money = (usd * part.denominator >= limit * part.numerator).fill_null(False)
    seen, slots = pl.col("_seen").cast(pl.Float64), pl.col("_slots").cast(pl.Float64)
    some = total > 0
    return [
        (some & by_events).alias("by_events"),
        (some & by_money).alias("by_money"),
        (float(level) * pl.col("_allowed") * slots / seen).alias("share"),
        (pl.col("bad_usd").cast(pl.Float64) / pl.col("budget_usd").cast(pl.Float64) / float(level)).alias(
            "times"
        ),
    ]
