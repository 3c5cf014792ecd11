"""How tiring alerts are: how many a week, and how many of them were worth it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import polars as pl

from finops_lab.alerting.schemas import ALERTS, FATIGUE
from finops_lab.alerting.tuning import share_between
from finops_lab.errors import InputError

__all__ = ["fatigue"]

_HELD_BACK = ("suppressed", "dropped", "short")
_A_WEEK = timedelta(days=7)


def fatigue(alerts: pl.DataFrame, first: datetime, last: datetime) -> pl.DataFrame:
    """Count alerts per week, and the share of them that people confirmed, by rule.

    Parameters
    ----------
    alerts : polars.DataFrame
        `finops_lab.alerting.schemas.ALERTS`; those that begin from `first` to `last` count. What has not
        lasted long enough yet counts on neither side.
    first, last : datetime.datetime
        The time that was watched, with a time zone, the end excluded.

    Returns
    -------
    polars.DataFrame
        `finops_lab.alerting.schemas.FATIGUE`, sorted by rule, the row of all last. ``precision`` is
        confirmed over judged (confirmed, false alarms and expected), null where none is judged.

    Raises
    ------
    InputError
        The time is empty or has no zone, or a column is missing.

    Examples
    --------
    >>> from datetime import UTC
    >>> begin = datetime(2026, 10, 5, tzinfo=UTC)
    >>> two = pl.DataFrame({"rule": ["a", "a"], "severity": ["page", "ticket"], "state": ["send", "closed"],
    ...     "begin": [begin, begin], "status": ["confirmed", "false alarm"]})
    >>> fatigue(two, begin, begin + timedelta(days=14)).select("alerts_per_week", "precision").row(-1)
    (1.0, 0.5)
    """
    if first.tzinfo is None or last.tzinfo is None or last <= first:
        raise InputError("the time that was watched needs a time zone, and an end after its begin")
    for name in ("rule", "severity", "state", "begin", "status"):
        if name not in alerts.columns:
            raise InputError("fatigue is counted by it", column=name)
    begin = pl.col("begin").cast(ALERTS["begin"])
    inside = alerts.filter(begin >= first, begin < last, pl.col("state") != "waiting")
    weeks = (last - first) / _A_WEEK
    rules = sorted(inside["rule"].drop_nulls().unique().to_list())
    rows = [_row(name, inside.filter(pl.col("rule") == name), weeks) for name in rules]
    return pl.DataFrame([*rows, _row(None, inside, weeks)], schema=FATIGUE)


def _row(rule: str | None, found: pl.DataFrame, weeks: float) -> dict[str, Any]:
    told = found.filter(~pl.col("state").is_in(_HELD_BACK))
    pages = told.filter(pl.col("severity") == "page").height
    said = {
        name: told.filter(pl.col("status") == name).height
        for name in ("confirmed", "false alarm", "expected")
    }
    judged = sum(said.values())
    low, high = share_between(said["confirmed"], judged)
    return {
        "rule": rule,
        "weeks": weeks,
        "alerts": told.height,
        "pages": pages,
        "tickets": told.height - pages,
        "held_back": found.height - told.height,
        "alerts_per_week": told.height / weeks,
        "pages_per_week": pages / weeks,
        "confirmed": said["confirmed"],
        "false_alarms": said["false alarm"],
        "expected": said["expected"],
        "open": told.height - judged,
        "precision": said["confirmed"] / judged if judged else None,
        "low": low,
        "high": high,
    }
