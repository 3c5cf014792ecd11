"""Alerts in words: a sentence for people, and why a rule fits."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from finops_lab.alerting.grouping import end_of
from finops_lab.calendar import month_name
from finops_lab.config import AlertRule
from finops_lab.errors import printable
from finops_lab.money import format_money
from finops_lab.wording import metric_words

__all__ = ["amount_words", "lasted_words", "moment_words", "reason", "sentence"]


def amount_words(amount: Decimal | float | None, currency: str | None, unit: str | None = None) -> str:
    """Write an amount: money without cents from 100 on, other figures to three digits with their unit.

    Examples
    --------
    >>> amount_words(Decimal("9470.4"), "USD"), amount_words(0.04217, None, "ratio")
    ('$9,470', '0.0422')
    """
    if amount is None:
        return "unknown"
    if currency:
        exact = amount if isinstance(amount, Decimal) else Decimal(repr(amount))
        return format_money(exact, currency, decimals=0 if abs(exact) >= 100 else 2)
    number = float(f"{float(amount):.3g}")
    told = f"{number:,.0f}" if number == int(number) else f"{number:,g}"
    return told if unit in (None, "ratio") else f"{told} {unit}"


def lasted_words(span: timedelta) -> str:
    """Write how long something lasted.

    Examples
    --------
    >>> lasted_words(timedelta(minutes=35)), lasted_words(timedelta(hours=30)), lasted_words(timedelta(days=1))
    ('35 minutes', '30 hours', '1 day')
    """
    minutes = int(span.total_seconds() // 60)
    for size, name, whole in ((1440, "day", True), (60, "hour", False), (1, "minute", True)):
        if minutes >= size and (minutes % size == 0 or (not whole and minutes >= 2 * size)):
            number = minutes // size
            return f"{number} {name}{'s' if number != 1 else ''}"
    return f"{minutes} minutes"


def moment_words(moment: datetime, daily: bool = False) -> str:
    """Write a moment in UTC, or a day.

    Examples
    --------
    >>> moment_words(datetime(2026, 10, 5, 9, 30)), moment_words(datetime(2026, 10, 5), True)
    ('5 October 2026, 09:30 UTC', '5 October 2026')
    """
    day = f"{moment.day} {month_name(moment.date().replace(day=1))}"
    return day if daily else f"{day}, {moment:%H:%M} UTC"


def sentence(event: Mapping[str, Any]) -> str:
    """Say in plain words what happened, where, since when, and how much is at stake.

    Parameters
    ----------
    event : mapping
        Row of events, with ``running``.

    Examples
    --------
    >>> print(sentence({"kind": "spend", "metric": "EffectiveCost", "unit": "USD", "dimension": "team",
    ...     "value": "search", "first": datetime(2026, 10, 5), "last": datetime(2026, 10, 7), "grain": "day",
    ...     "actual": 1860.0, "expected": 620.0, "excess_amount": Decimal(1240), "BillingCurrency": "USD",
    ...     "running": True}))
    Effective cost of team search: $1,860 where $620 was expected, since 5 October 2026 (3 days); $1,240 at stake.
    """
    metric = metric_words(str(event["metric"]))
    whose = "everything" if event["value"] is None else f"{event['dimension']} {event['value']}"
    daily = (event["grain"] or "day") == "day"
    if event["kind"] == "slo":
        what = str(event["note"])
    else:
        money = event["unit"] if event["unit"] == event["BillingCurrency"] else None
        actual, expected = (
            amount_words(event[name], money, event["unit"]) for name in ("actual", "expected")
        )
        what = f"{actual} where {expected} was expected" if event["expected"] is not None else actual
    begin, end = event["first"], end_of(event)
    since = (
        f"since {moment_words(begin, daily)}" if event["running"] else f"from {moment_words(begin, daily)}"
    )
    stake = event["excess_amount"]
    words = f"{metric} of {whose}: {what}, {since} ({lasted_words(end - begin)})"
    if stake is not None and stake > 0:
        words += f"; {amount_words(stake, event['BillingCurrency'])} at stake"
    return printable(f"{words}.").replace("\n", " ")


def reason(rule: AlertRule, event: Mapping[str, Any]) -> str:
    """Say which figures a rule went by.

    Parameters
    ----------
    rule : AlertRule
        The rule.
    event : mapping
        Row of events with ``running``, ``per_day``, ``budget_share`` and ``times``.
    """
    currency = event["BillingCurrency"]
    parts = []
    if rule.amount_at_least is not None:
        parts.append(f"{amount_words(event['excess_amount'], currency)} at stake")
    if rule.per_day_at_least is not None:
        parts.append(f"{amount_words(event['per_day'], currency)} a day")
    if rule.budget_share_at_least is not None:
        goes_on = " if it goes on" if event["running"] else ""
        parts.append(f"{event['budget_share']:.0%} of the month's budget{goes_on}")
    if rule.times_expected is not None:
        parts.append(
            "nothing was expected"
            if event["times"] == float("inf")
            else f"{event['times']:.3g} times expected"
        )
    if rule.minutes_at_least:
        parts.append(f"lasts {lasted_words(end_of(event) - event['first'])}")
    return printable(", ".join(parts) or "fits the rule")
