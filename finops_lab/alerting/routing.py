"""Alerts of events: page or ticket, one for each cause, and nothing that was planned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from finops_lab.alerting.grouping import LENGTHS, end_of, groups_of
from finops_lab.alerting.measuring import measured
from finops_lab.alerting.rules import Planned, Rules
from finops_lab.alerting.schemas import ALERTS, NEEDED, Schema
from finops_lab.alerting.service_levels import burn_events
from finops_lab.alerting.wording import amount_words, lasted_words, moment_words, reason, sentence
from finops_lab.config import AlertRule, Quiet, holds
from finops_lab.errors import InputError

__all__ = ["alerts", "quiet_until"]

_JUDGED_OFF = ("false alarm", "expected")
_SEVERITIES = ("page", "ticket", "none")
# How late data may be before what it last said counts as over: bills come a day or two after the day.
_LATE = {"day": timedelta(days=2), "hour": timedelta(hours=3), "5m": timedelta(minutes=30)}
_ADDED: Schema = {"severity": pl.String, "running": pl.Boolean}


def alerts(
    events: pl.DataFrame,
    rules: Rules | None = None,
    *,
    now: datetime,
    burn: pl.DataFrame | None = None,
    budgets: pl.DataFrame | None = None,
    sentences: Mapping[str, str] | None = None,
) -> pl.DataFrame:
    """Make alerts of events: who is told, of what, and when.

    Each event goes to the first rule that fits. What was planned, is too small, has not lasted long
    enough, or was judged a false alarm or expected is not told. Events of one cause are one alert
    (`finops_lab.alerting.grouping.groups_of`), of the highest severity of those that are told.
    Tickets wait while `Rules.waits` say so; pages do not.

    Parameters
    ----------
    events : polars.DataFrame
        `finops_lab.anomalies.event.EVENTS`; ``status`` as people judged it.
    rules : Rules, optional
        From `rules_of`; the built-in ones by default.
    now : datetime.datetime
        With a time zone. Events that begin later are not looked at.
    burn : polars.DataFrame, optional
        As of `finops_lab.service_levels.alerts.alerts`.
    budgets : polars.DataFrame, optional
        ``month``, ``dimension``, ``key``, ``amount``, ``currency`` as in the `budgets` contract, those
        in force. Without it no share of a budget is known.
    sentences : mapping, optional
        Sentences by id of an event, such as from an explanation, in place of our own.

    Returns
    -------
    polars.DataFrame
        `finops_lab.alerting.schemas.ALERTS`: pages first, then by begin and id. Amounts are in
        ``BillingCurrency``.

    Raises
    ------
    InputError
        `now` has no time zone, a column is missing or holds something else, or an id stands there twice.

    Examples
    --------
    >>> day = datetime(2026, 10, 5, tzinfo=UTC)
    >>> found = pl.DataFrame({"id": ["a"], "kind": ["spend"], "metric": ["EffectiveCost"], "dimension": ["total"],
    ...     "first": [day], "last": [day], "grain": ["day"]})
    >>> alerts(found, now=day + timedelta(days=1)).select("id", "severity", "rule", "state").row(0)
    ('a', 'ticket', 'everything else', 'send')
    """
    if now.tzinfo is None:
        raise InputError("the present moment has no time zone", hint="give now in UTC")
    now = now.astimezone(UTC)
    rules = rules or Rules()
    frame = _prepared(events, now)
    if burn is not None and not burn.is_empty():
        also = pl.DataFrame(burn_events(burn, now), schema={**NEEDED, **_ADDED})
        frame = pl.concat([frame, also]).sort("first", "id")
    if frame["id"].is_duplicated().any():
        twice = frame.filter(pl.col("id").is_duplicated())["id"][0]
        raise InputError(f"two events have the id {twice!r}", column="id")
    frame = measured(frame, budgets)
    rows = frame.rows(named=True)
    fits = [_holding(frame, rule.where) for rule in rules.alerts]
    plans = [_holding(frame, plan.where) for plan in rules.planned]
    for n, row in enumerate(rows):
        row |= _routed(row, rules, [fit[n] for fit in fits], [plan[n] for plan in plans])
    wait = quiet_until(now, rules.waits)
    told = [_alert([rows[n] for n in group], wait, now, sentences or {}) for group in groups_of(rows)]
    pages_first = pl.col("severity").replace_strict(
        {name: place for place, name in enumerate(_SEVERITIES)}, return_dtype=pl.Int8
    )
    return pl.DataFrame(told, schema=ALERTS).sort(pages_first, "begin", "id")


def quiet_until(now: datetime, windows: Iterable[Quiet]) -> tuple[datetime, str] | None:
    """Return until when tickets wait, and by which window; None where they need not.

    Windows that follow each other without a gap are one wait.

    Raises
    ------
    InputError
        The windows leave no moment within a year.

    Examples
    --------
    >>> night = Quiet(name="night", hours="22:00-07:00")
    >>> until, name = quiet_until(datetime(2026, 10, 5, 23, tzinfo=UTC), [night])
    >>> str(until), name
    ('2026-10-06 07:00:00+00:00', 'night')
    """
    windows = list(windows)
    until, names = now, list[str]()
    while until - now < timedelta(days=366):
        ends = {window.name: end for window in windows if (end := window.until(until)) is not None}
        if not ends:
            return (until, ", ".join(names)) if names else None
        name = max(ends, key=lambda name: ends[name])
        until = ends[name]
        names += [name] if name not in names else []
    raise InputError(
        f"tickets would wait for a year and more ({', '.join(names)})",
        hint="leave hours in which they are told",
    )


def _holding(frame: pl.DataFrame, where: Mapping[str, tuple[str, ...]]) -> list[bool]:
    # Added, not selected: a condition of nothing is one value, whatever the number of rows.
    return frame.with_columns(holds(where).alias("_holds"))["_holds"].to_list()


def _prepared(events: pl.DataFrame, now: datetime) -> pl.DataFrame:
    for name in ("id", "kind", "metric", "dimension", "first"):
        if name not in events.columns or events[name].null_count():
            raise InputError("an event needs it", column=name)
    given = []
    for name, kind in NEEDED.items():
        if name not in events.columns:
            given.append(pl.lit(None, kind).alias(name))
            continue
        held = events.schema[name]
        column = pl.col(name)
        if isinstance(kind, pl.Datetime) and not (isinstance(held, pl.Datetime) and held.time_zone):
            column = column.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
        given.append(column.cast(kind))
    frame = events.select(given).with_columns(
        pl.col("last").fill_null(pl.col("first")),
        pl.col("grain").fill_null("day"),
        pl.col("status").fill_null("open"),
        pl.lit(None, pl.String).alias("severity"),
    )
    for name, allowed in {"grain": LENGTHS, "direction": ("up", "down")}.items():
        wrong = frame.filter(~pl.col(name).is_in(list(allowed)))
        if wrong.height:
            raise InputError(
                f"{wrong[name][0]!r} is not allowed", column=name, hint=f"one of {', '.join(allowed)}"
            )
    over = [end_of(row) + _LATE[row["grain"]] <= now for row in frame.rows(named=True)]
    frame = frame.with_columns(~pl.Series("running", over, pl.Boolean))
    return frame.filter(pl.col("first") <= now).sort("first", "id")


def _routed(row: dict[str, Any], rules: Rules, fits: Sequence[bool], plans: Sequence[bool]) -> dict[str, Any]:
    """Find the rule of an event, and what holds it back."""
    rule = next((r for r, fit in zip(rules.alerts, fits, strict=True) if fit and _reached(r, row)), None)
    if rule is None or rule.severity == "none":
        name = rule.name if rule else None
        return _held(
            row, "dropped", "no rule fits" if rule is None else "the rule tells nobody", name, "none"
        )
    found = _held(row, "send", reason(rule, row), rule.name, rule.severity, sinks=list(rule.sinks) or None)
    stake = row["excess_amount"]
    if row["kind"] == "spend" and stake is not None and abs(stake) < rules.least_amount:
        words = f"{amount_words(abs(stake), row['BillingCurrency'])} at stake is below the least amount"
        return found | {"state": "dropped", "why": words}
    plan = next(
        (p for p, fit in zip(rules.planned, plans, strict=True) if fit and _covers(p, row, rule)), None
    )
    if plan is not None:
        return found | {"state": "suppressed", "why": f"planned: {plan.name}", "quiet": plan.name}
    lasted = end_of(row) - row["first"]
    if lasted < timedelta(minutes=rule.minutes_at_least):
        least = lasted_words(timedelta(minutes=rule.minutes_at_least))
        words = f"lasts {lasted_words(lasted)}, and the rule asks for {least}"
        return found | {"state": "waiting" if row["running"] else "short", "why": words}
    return found


def _held(
    row: Mapping[str, Any],
    state: str,
    why: str,
    rule: str | None,
    severity: str,
    sinks: list[str] | None = None,
) -> dict[str, Any]:
    return {"state": state, "why": why, "rule": rule, "told": severity, "quiet": None, "sinks": sinks}


def _reached(rule: AlertRule, row: Mapping[str, Any]) -> bool:
    limits = (
        (rule.amount_at_least, row["excess_amount"]),
        (rule.per_day_at_least, row["per_day"]),
        (rule.budget_share_at_least, row["budget_share"]),
        (rule.times_expected, row["times"]),
    )
    return all(least is None or (value is not None and abs(value) >= least) for least, value in limits)


def _covers(plan: Planned, row: Mapping[str, Any], rule: AlertRule) -> bool:
    if not plan.begin <= row["first"] < plan.end or (rule.severity == "page" and not plan.pages):
        return False
    stake = row["excess_amount"]
    # Where nobody knows what is at stake, nobody knows that it is no more than was planned.
    return plan.up_to is None or (stake is not None and abs(stake) <= plan.up_to)


def _alert(
    group: Sequence[dict[str, Any]],
    wait: tuple[datetime, str] | None,
    now: datetime,
    sentences: Mapping[str, str],
) -> dict[str, Any]:
    """Make one alert of events of one cause, ordered by begin."""
    first = group[0]
    _close(group, first)
    told = [row for row in group if row["state"] == "send"]
    # Without one to tell, the alert says what is closest to being told.
    waiting = [row for row in group if row["state"] == "waiting"]
    most = min(told or waiting or group, key=_importance)
    known = [row for row in group if row["excess_amount"] is not None]
    largest = max(known, key=lambda row: abs(row["excess_amount"]), default=None)
    running = any(row["running"] for row in group)
    statuses = {row["status"] for row in group}
    named = [row["sinks"] for row in told]
    made = {name: most[name] for name in ALERTS if name in most and name not in ("id", "severity")}
    made |= {
        "id": first["id"],
        "severity": most["told"],
        "sentence": sentences.get(most["id"]) or sentence(most),
        "event": most["id"],
        "begin": first["first"],
        "end": None if running else max(end_of(row) for row in group),
        "amount": largest["excess_amount"] if largest else None,
        "BillingCurrency": (largest or most)["BillingCurrency"],
        "budget_share": max(
            (r["budget_share"] for r in group if r["budget_share"] is not None), default=None
        ),
        "events": [row["id"] for row in group],
        "detected": max((row["detected"] for row in group if row["detected"]), default=None),
        "send_at": now if told else None,
        "sinks": None if not named or None in named else sorted({name for names in named for name in names}),
        "status": "confirmed" if "confirmed" in statuses else most["status"],
    }
    if told and most["told"] == "ticket" and wait is not None:
        words = f"{most['why']}; tickets wait until {moment_words(wait[0])} ({wait[1]})"
        made |= {"state": "quiet", "why": words, "quiet": wait[1], "send_at": wait[0]}
    return made


def _close(group: Sequence[dict[str, Any]], first: Mapping[str, Any]) -> None:
    """Close what people judged a false alarm or expected, its parts, and tickets about the same."""
    judged = {row["id"]: row["status"] for row in group}
    for _ in group:  # a chain of parts is no longer than the group
        for row in group:
            if judged[row["id"]] == "open" and judged.get(row["cause_of"], "open") != "open":
                judged[row["id"]] = judged[row["cause_of"]]
    for row in group:
        verdict = judged[row["id"]]
        if verdict == "open" and row["told"] != "page":
            verdict = judged[first["id"]]
        row["status"] = verdict
        if verdict in _JUDGED_OFF and row["state"] in ("send", "waiting"):
            row |= {"state": "closed", "why": f"judged: {verdict}"}


def _importance(row: Mapping[str, Any]) -> tuple[Any, ...]:
    stake = row["excess_amount"]
    whole = row["cause_of"] is None
    return _SEVERITIES.index(row["told"]), not whole, -abs(stake or 0), row["first"], row["id"]
