"""Alerts of events: page or ticket, one for each cause, and nothing that was planned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import polars as pl

from finops_lab.alerting.fitting import fitted, holding
from finops_lab.alerting.grouping import end_of, groups_of
from finops_lab.alerting.measuring import measured
from finops_lab.alerting.preparing import prepared
from finops_lab.alerting.quiet import quiet_until
from finops_lab.alerting.rules import Rules
from finops_lab.alerting.schemas import ALERTS, NEEDED, Schema
from finops_lab.alerting.service_levels import burn_events
from finops_lab.alerting.wording import moment_words, sentence
from finops_lab.errors import InputError

__all__ = ["alerts"]

_JUDGED_OFF = ("false alarm", "expected")
_SEVERITIES = ("page", "ticket", "none")
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
    (`finops_lab.alerting.grouping.groups_of`), of the highest severity of those that are told, with the id of
    the one that matters most: of that severity, no part of another, with the most money at stake.
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
        ``month``, ``dimension``, ``key``, ``amount``, ``currency`` as from
        `finops_lab.planning.budgets.in_force`. Without it no share of a budget is known.
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
    >>> from datetime import timedelta
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
    frame = prepared(events, now)
    if burn is not None and not burn.is_empty():
        also = pl.DataFrame(burn_events(burn, now), schema={**NEEDED, **_ADDED})
        frame = pl.concat([frame, also]).sort("first", "id")
    if frame["id"].is_duplicated().any():
        twice = frame.filter(pl.col("id").is_duplicated())["id"][0]
        raise InputError(f"two events have the id {twice!r}", column="id")
    frame = measured(frame, budgets)
    rows = frame.rows(named=True)
    fits = [holding(frame, rule.where) for rule in rules.alerts]
    plans = [holding(frame, plan.where) for plan in rules.planned]
    for n, row in enumerate(rows):
        row |= fitted(row, rules, [fit[n] for fit in fits], [plan[n] for plan in plans])
    wait = quiet_until(now, rules.waits)
    told = [_alert([rows[n] for n in group], wait, now, sentences or {}) for group in groups_of(rows)]
    pages_first = pl.col("severity").replace_strict(
        {name: place for place, name in enumerate(_SEVERITIES)}, return_dtype=pl.Int8
    )
    return pl.DataFrame(told, schema=ALERTS).sort(pages_first, "begin", "id")


def _alert(
    group: Sequence[dict[str, Any]],
    wait: tuple[datetime, str] | None,
    now: datetime,
    sentences: Mapping[str, str],
) -> dict[str, Any]:
    """Make one alert of events of one cause, ordered by begin."""
    first, head = group[0], min(group, key=_importance)
    _close(group, head)
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
        "id": head["id"],
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


def _close(group: Sequence[dict[str, Any]], head: Mapping[str, Any]) -> None:
    """Close what people judged a false alarm or expected, its parts, and tickets about the same as the head."""
    judged = {row["id"]: row["status"] for row in group}
    for _ in group:  # a chain of parts is no longer than the group
        for row in group:
            if judged[row["id"]] == "open" and judged.get(row["cause_of"], "open") != "open":
                judged[row["id"]] = judged[row["cause_of"]]
    for row in group:
        verdict = judged[row["id"]]
        if verdict == "open" and row["told"] != "page":
            verdict = judged[head["id"]]
        row["status"] = verdict
        if verdict in _JUDGED_OFF and row["state"] in ("send", "waiting"):
            row |= {"state": "closed", "why": f"judged: {verdict}"}


def _importance(row: Mapping[str, Any]) -> tuple[Any, ...]:
    stake = row["excess_amount"]
    whole = row["cause_of"] is None
    return _SEVERITIES.index(row["told"]), not whole, -abs(stake or 0), row["first"], row["id"]
