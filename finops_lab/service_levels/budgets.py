"""Error budgets: what the target leaves room for, what is spent, and when it will be gone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import polars as pl

from finops_lab.calendar import add_months, format_month
from finops_lab.money import MONEY, divided
from finops_lab.service_levels._chance import ASKED, MOST_CHANCE, level_words, proved_levels
from finops_lab.service_levels._parts import SUMMED, Parts, Stretch, by_promise
from finops_lab.service_levels._sliding import whole_slots
from finops_lab.service_levels.burn import LEAST_ROWS
from finops_lab.service_levels.promises import BY_DAY, allowance, promised
from finops_lab.service_levels.schemas import BUDGETS, CALENDAR, DAY_S, EVENTS, PROMISE, SLOT_S

__all__ = ["LEVELS", "budget_calendar", "budgets", "budgets_of", "calendar_of"]

# Shares of the budget spent that call for something, the most severe first.
LEVELS = (("page", Decimal("0.8")), ("ticket", Decimal("0.4")))
_PRESENT = timedelta(days=3)
_SECOND = timedelta(seconds=1)


def budgets(
    events: pl.LazyFrame | pl.DataFrame,
    slos: pl.DataFrame | pl.LazyFrame,
    at: datetime,
    *,
    calendar: bool = False,
    present: timedelta = _PRESENT,
    least_rows: int = LEAST_ROWS,
    most_chance: float = MOST_CHANCE,
) -> pl.DataFrame:
    """Work out the error budget of every objective at a moment.

    The budget is the share of events that the target lets be bad, of the whole period. Where the
    period was not seen whole (the month runs on, the log begins on a later day) its events are taken
    to go on as they were: then `estimated` is true. With ``budget_usd`` the budget is spent by
    whichever is larger, the share of bad events or the share of money.

    Parameters
    ----------
    events : polars.LazyFrame or polars.DataFrame
        `finops_lab.service_levels.schemas.EVENTS`.
    slos : polars.DataFrame or polars.LazyFrame
        The `slos` contract.
    at : datetime.datetime
        With a time zone. Events of slots that are over then count.
    calendar : bool
        Judge the calendar month (UTC) that `at` ends in, instead of the last ``window_days``.
    present : datetime.timedelta
        How far back the present rate of bad events is measured, for the projected exhaustion.
    least_rows : int
        Calls seen below which nobody is called. Objectives judged by day need none.
    most_chance : float
        Nobody is called either where a sampled log may show so many bad rows by a chance above this
        (`finops_lab.service_levels._chance.proved_levels`).

    Returns
    -------
    polars.DataFrame
        `finops_lab.service_levels.schemas.BUDGETS`, one row per objective, sorted by name. Where
        there were no events the budget is null, with `reason`.

    Examples
    --------
    >>> from finops_lab.service_levels.schemas import EVENTS
    >>> slos = pl.DataFrame({"service": ["chat"], "objective": ["availability"], "target": [0.99]})
    >>> day = {"slo": "chat: availability", "dimension": "feature", "service": "chat",
    ...     "objective": "availability", "slot_s": 300, "good": 9975, "bad": 25, "total": 10000,
    ...     "unknown": 0, "rows": 10000, "bad_rows": 25, "squares": 10000, "bad_squares": 25,
    ...     "bad_usd": 0, "bad_unpriced": 25}
    >>> seen = pl.DataFrame([day | {"slot": datetime(2026, 10, d, tzinfo=UTC)} for d in range(1, 29)],
    ...     schema=EVENTS)
    >>> budget = budgets(seen, slos, datetime(2026, 10, 29, tzinfo=UTC))
    >>> [round(float(budget[name].item())) for name in ("allowed_bad", "bad", "remaining_bad")]
    [2800, 700, 2100]
    >>> float(budget["spent"].item())
    0.25
    """
    promises = promised(slos)
    parts = by_promise(events, promises)
    return budgets_of(
        parts,
        promises,
        at,
        calendar=calendar,
        present=present,
        least_rows=least_rows,
        most_chance=most_chance,
    )


def budgets_of(
    parts: Parts,
    promises: pl.DataFrame,
    at: datetime,
    *,
    calendar: bool = False,
    present: timedelta = _PRESENT,
    least_rows: int = LEAST_ROWS,
    most_chance: float = MOST_CHANCE,
) -> pl.DataFrame:
    """Work `budgets` out of events that stand apart by promise already."""
    rows: list[dict[str, Any]] = []
    asked: list[_Asked | None] = []
    for slo in promises.iter_rows(named=True):
        slot_s = DAY_S if slo["objective"] in BY_DAY else SLOT_S
        until = whole_slots(at, slot_s)
        begin, end = until - timedelta(days=slo["window_days"]), until
        period = f"{slo['window_days']} days"
        if calendar:
            month = (until - _SECOND).date().replace(day=1)
            begin, end, period = _midnight(month), _midnight(add_months(month, 1)), format_month(month)
        found = parts.of(slo["slo"]).up_to(until)
        # A rolling budget is looked at as far ahead as it is long.
        horizon = end if calendar else until + timedelta(days=slo["window_days"])
        when = {"period": period, "begin": begin, "end": end, "until": until, "horizon": horizon}
        least = least_rows if slot_s == SLOT_S else 1
        row, ask = _budget(found, slo | when | {"slot_s": slot_s}, present, least)
        rows.append(row)
        asked.append(ask)
    for row, ask, (severity, doubt) in zip(rows, asked, _levels(asked, most_chance), strict=True):
        if ask is not None:
            row |= {"severity": severity, "reason": _reason(ask, doubt, least_rows)}
    return pl.DataFrame(rows, schema=BUDGETS)


@dataclass(frozen=True)
class _Asked:
    """What the levels of a budget are told by."""

    sums: Mapping[str, Any]
    share: Fraction
    spent: Fraction
    money: Fraction | None
    few: bool
    known: bool
    limited: bool


def _budget(
    found: Stretch, slo: Mapping[str, Any], present: timedelta, least: int
) -> tuple[dict[str, Any], _Asked | None]:
    """Return a budget without its level, and what that is asked with; None where there is none."""
    begin, end, until = slo["begin"], slo["end"], slo["until"]
    inside = found.since(begin)
    sums = {name: _amount(inside.sum(name), name) for name in SUMMED}
    row = {name: slo[name] for name in (*PROMISE, "period", "begin", "end", "until", "target", "budget_usd")}
    row |= {name: sums[name] for name in sums if name in BUDGETS}
    if not sums["total"]:
        reason = "none of the period's events can be judged" if sums["unknown"] else "no events in the period"
        return row | {"bad_usd": None, "reason": reason}, None
    seen_from = max(begin, _first_day(found))
    part = Fraction((until - seen_from) // _SECOND, (end - begin) // _SECOND)
    allowed = allowance(slo["target"]) * Fraction(sums["total"]) / part
    spent = Fraction(sums["bad"]) / allowed
    limit = slo["budget_usd"]
    known = sums["bad_unpriced"] < sums["bad"] or not sums["bad"]
    money = Fraction(sums["bad_usd"]) / Fraction(limit) if limit and known else None
    most = max(spent, money or Fraction(0))
    share = allowed / Fraction(sums["total"])
    ask = _Asked(sums, share, spent, money, sums["rows"] < least, known, bool(limit))
    row |= {
        "allowed_bad": _decimal(allowed),
        "estimated": part < 1,
        "remaining_bad": _decimal(allowed - Fraction(sums["bad"])),
        "spent_events": _decimal(spent),
        "bad_usd": sums["bad_usd"] if known else None,
        "spent_money": _decimal(money),
        "spent": _decimal(most),
        "spent_by": "money" if money is not None and money > spent else "events",
    }
    caps = [("bad", allowed), *([("bad_usd", Fraction(limit))] if money is not None else [])]
    return row | _exhaustion(inside, found, caps, slo, present), ask


def _levels(asked: Sequence[_Asked | None], most_chance: float) -> list[tuple[str | None, str | None]]:
    """Return the highest level of each that is proved, and why the highest that is reached is not."""
    found: list[tuple[str | None, str | None]] = [(None, None)] * len(asked)
    for name, level in LEVELS:
        places, rows = [], []
        for place, ask in enumerate(asked):
            if ask is None or ask.few or found[place][0] is not None:
                continue
            times = None if ask.money is None else ask.money / Fraction(level)
            reached = {
                "by_events": ask.spent >= Fraction(level),
                "by_money": times is not None and times >= 1,
            }
            if any(reached.values()):
                places.append(place)
                share = float(ask.share * Fraction(level))
                rows.append(
                    {**ask.sums, **reached, "share": share, "times": None if times is None else float(times)}
                )
        if not rows:
            continue
        frame = pl.DataFrame(rows, schema_overrides={**{name: EVENTS[name] for name in SUMMED}, **ASKED})
        tested = proved_levels(frame, most_chance, level_words(level)).select("proved", "reason")
        for place, (proved, reason) in zip(places, tested.iter_rows(), strict=True):
            doubt = found[place][1]
            found[place] = (name, doubt) if proved else (None, doubt or reason)
    return found


def _reason(ask: _Asked, doubt: str | None, least: int) -> str | None:
    sums, said = ask.sums, [doubt] if doubt else []
    if ask.few:
        said.append(f"{sums['rows']} calls seen: it takes {least} to tell")
    if ask.limited and not ask.known:
        said.append("no bad event has a known cost")
    elif ask.limited and sums["bad_unpriced"]:
        said.append(
            f"{sums['bad_unpriced'].normalize():f} bad events have no known cost: money is a lower bound"
        )
    return "; ".join(said) or None


def _exhaustion(
    inside: Stretch,
    found: Stretch,
    caps: list[tuple[str, Fraction]],
    slo: Mapping[str, Any],
    present: timedelta,
) -> dict[str, Any]:
    """Return when a cap was passed, or will be if the present rate goes on."""
    slot, until = timedelta(seconds=slo["slot_s"]), slo["until"]
    moments: list[tuple[datetime, str]] = []
    span = min(present, until - _first_day(found))
    recent = found.since(until - span)
    for column, cap in caps:
        spent = Fraction(_amount(inside.sum(column), column))
        if spent >= cap:
            # In whole units of the last decimal, so that no rounding moves the crossing.
            units = math.ceil(cap * 10 ** _SCALES[column])
            moments.append((inside.begin_of(inside.reaching(column, units)) + slot, "spent"))
        elif rate := Fraction(_amount(recent.sum(column), column)) / Fraction(span // _SECOND):
            seconds = min(int((cap - spent) / rate), 100 * 366 * DAY_S)  # a calendar has an end
            moments.append((until + timedelta(seconds=seconds), "projected"))
    moments = [moment for moment in moments if moment[1] == "spent" or moment[0] < slo["horizon"]]
    if not moments:
        return {"exhausted": None, "exhaustion": "not in this period"}
    moment, how = min(moments)
    return {"exhausted": moment, "exhaustion": how}


def budget_calendar(
    events: pl.LazyFrame | pl.DataFrame,
    slos: pl.DataFrame | pl.LazyFrame,
    month: date,
    *,
    at: datetime | None = None,
) -> pl.DataFrame:
    """Tell day by day how much of a month's error budget was spent.

    Parameters
    ----------
    events, slos
        As in `budgets`.
    month : datetime.date
        Any day of the month (UTC).
    at : datetime.datetime, optional
        Where events end, while the month runs; its end by default.

    Returns
    -------
    polars.DataFrame
        `finops_lab.service_levels.schemas.CALENDAR`, one row per objective and day of the month.
        `spent` of all days adds up to `spent` of `budgets` with ``calendar=True``.
    """
    end = _midnight(add_months(month.replace(day=1), 1))
    until = min(at or end, end)
    return calendar_of(events, budgets(events, slos, until, calendar=True), month, until)


def calendar_of(
    events: pl.LazyFrame | pl.DataFrame, state: pl.DataFrame, month: date, until: datetime
) -> pl.DataFrame:
    """Tell `budget_calendar` of budgets that are worked out already."""
    first = month.replace(day=1)
    end = _midnight(add_months(first, 1))
    days = pl.DataFrame({"day": pl.date_range(first, add_months(first, 1), "1d", closed="left", eager=True)})
    inside = (
        events.lazy()
        .with_columns(pl.col("slot").dt.date().alias("day"))
        .filter((pl.col("day") >= first) & (pl.col("slot") < until) & (pl.col("slot") < end))
        .group_by("slo", "day")
        .agg(pl.col("total", "bad", "rows", "bad_usd").sum())
        .collect()
    )
    keys = state.select(
        *PROMISE, "allowed_bad", "budget_usd", pl.col("spent_money").is_not_null().alias("_money")
    )
    frame = keys.join(days, how="cross").join(inside, on=["slo", "day"], how="left").sort("slo", "day")
    frame = frame.with_columns(
        pl.col(name).fill_null(0).cum_sum().over("slo").alias(f"_{name}") for name in ("bad", "bad_usd")
    )
    by_events = [divided(*pair) for pair in frame.select("_bad", "allowed_bad").iter_rows()]
    limit = pl.when("_money").then("budget_usd")
    by_money = [divided(*pair) for pair in frame.select("_bad_usd", limit).iter_rows()]
    over = (pl.col("day").cast(pl.Datetime("us", "UTC")) >= until) | pl.col("allowed_bad").is_null()
    so_far = frame.with_columns(
        pl.max_horizontal(pl.Series(by_events, dtype=MONEY), pl.Series(by_money, dtype=MONEY))
        .fill_null(0)
        .alias("_spent"),
        over.alias("_over"),
    )
    today = pl.col("_spent") - pl.col("_spent").shift().over("slo").fill_null(0)
    return so_far.with_columns(
        pl.when(~pl.col("_over") & pl.col("total").is_not_null()).then(today).alias("spent"),
        pl.when(~pl.col("_over")).then("_spent").alias("cumulated"),
    ).select(pl.col(name).cast(kind) for name, kind in CALENDAR.items())


_SCALES = {name: kind.scale for name in SUMMED if isinstance(kind := EVENTS[name], pl.Decimal)}


def _amount(whole: int, name: str) -> Any:
    """Return a sum of `Stretch` as it is told: with the decimals of its column."""
    return Decimal(f"{whole}e-{_SCALES[name]}") if name in _SCALES else whole


def _first_day(found: Stretch) -> datetime:
    """Return the begin of the day that the log of an objective begins on: logs are kept by day."""
    return _midnight(found.first.date())


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _decimal(value: Fraction | None) -> Decimal | None:
    return None if value is None else divided(Decimal(value.numerator), Decimal(value.denominator))
