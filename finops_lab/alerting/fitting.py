"""The rule of an event, and what holds it back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import polars as pl

from finops_lab.alerting.grouping import end_of
from finops_lab.alerting.rules import Planned, Rules
from finops_lab.alerting.wording import amount_words, lasted_words, reason
from finops_lab.config import AlertRule, holds

__all__ = ["fitted", "holding"]


def holding(frame: pl.DataFrame, where: Mapping[str, tuple[str, ...]]) -> list[bool]:
    """Tell which events fulfil a `where`."""
    # Added, not selected: a condition of nothing is one value, whatever the number of rows.
    return frame.with_columns(holds(where).alias("_holds"))["_holds"].to_list()


def fitted(row: dict[str, Any], rules: Rules, fits: Sequence[bool], plans: Sequence[bool]) -> dict[str, Any]:
    """Find the rule of an event, and what holds it back.

    Parameters
    ----------
    row : dict
        Row of `finops_lab.alerting.measuring.measured`.
    rules : Rules
        What alerts go by.
    fits, plans : sequence of bool
        Whether it fulfils the ``where`` of each rule, and of each thing that was planned.

    Returns
    -------
    dict
        ``state``, ``why``, ``rule``, ``told`` (severity), ``quiet`` and ``sinks``.
    """
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
