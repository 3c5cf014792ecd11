"""Budgets of false alarms that follow what people said of the alarms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import polars as pl

from finops_lab.alerting.schemas import TUNED
from finops_lab.errors import InputError

__all__ = ["share_between", "tuned"]

_Z = 1.6448536269514722  # normal quantile: one-sided 5 %
_MOST = 31.0


def tuned(
    events: pl.DataFrame,
    budget: float = 1.0,
    *,
    budgets: Mapping[str, float] | None = None,
    wanted: float = 0.5,
    since: datetime | None = None,
) -> pl.DataFrame:
    """Raise or lower each detector's budget of false alarms by what people said of its alarms.

    The precision is the share of confirmed among confirmed and false alarms; what was expected speaks
    neither for nor against a detector. Where it is surely below `wanted` (the upper end of a Wilson
    interval, 5 % on each side) the budget is halved, and surely below half of it quartered. Where it
    is surely above the middle between `wanted` and 1, half as much again is allowed, and surely above
    nine tenths of the way twice as much. Else it stays. The steps are of the stated budget, not of
    an earlier tuning: the same feedback gives the same budgets, from a quarter to twice the stated.

    Parameters
    ----------
    events : polars.DataFrame
        ``detector``, ``status`` (String), ``cause_of`` and ``first``, after `judged`. Events that are
        parts of another one do not count: their alarm was one.
    budget : float
        Stated false alarms per series and month.
    budgets : mapping of str to float, optional
        The same by detector.
    wanted : float
        Least precision that is good enough, above 0 and below 1.
    since : datetime.datetime, optional
        Earlier events do not count.

    Returns
    -------
    polars.DataFrame
        `finops_lab.alerting.schemas.TUNED`, a row per detector that found something or has a
        budget, sorted by name. ``false_alarms_per_month`` is the budget to detect with.

    Raises
    ------
    InputError
        A budget is not above 0, or `wanted` is no share.

    Examples
    --------
    >>> from datetime import UTC
    >>> found = pl.DataFrame({"id": [str(n) for n in range(12)], "detector": ["daily"] * 12, "cause_of": None,
    ...     "first": datetime(2026, 10, 5, tzinfo=UTC), "status": ["false alarm"] * 10 + ["confirmed"] * 2})
    >>> tuned(found).select("before", "false_alarms_per_month").row(0)
    (1.0, 0.5)
    """
    stated = dict(budgets or {})
    for name, value in (("budget", budget), *stated.items()):
        if not 0 < value < math.inf:
            raise InputError(f"the budget of false alarms of {name} is {value}, and must be above 0")
    if not 0 < wanted < 1:
        raise InputError(f"a wanted precision of {wanted} is no share above 0 and below 1")
    parts = pl.col("cause_of").is_in(events["id"].to_list()).fill_null(False)
    counted = events.filter(~parts, pl.col("detector").is_not_null())
    if since is not None:
        counted = counted.filter(pl.col("first") >= since)
    names = sorted({*counted["detector"].to_list(), *stated})
    rows = []
    for name in names:
        statuses = counted.filter(pl.col("detector") == name)["status"]
        yes, no = int((statuses == "confirmed").sum()), int((statuses == "false alarm").sum())
        rows.append(_row(name, stated.get(name, budget), yes, no, wanted))
    return pl.DataFrame(rows, schema=TUNED)


def _row(detector: str, before: float, yes: int, no: int, wanted: float) -> dict[str, Any]:
    low, high = share_between(yes, yes + no, _Z)
    factor, why = 1.0, "nobody judged an alarm" if low is None else "the judged alarms tell no more"
    if low is not None and high is not None:
        middle, near = (wanted + 1) / 2, wanted + 0.9 * (1 - wanted)
        for holds, times, words in (
            (high < wanted / 2, 0.25, f"surely less than {wanted / 2:.0%} of the alarms are real"),
            (high < wanted, 0.5, f"surely less than {wanted:.0%} of the alarms are real"),
            (low > near, 2.0, f"surely more than {near:.0%} of the alarms are real"),
            (low > middle, 1.5, f"surely more than {middle:.0%} of the alarms are real"),
        ):
            if holds:
                factor, why = times, words
                break
    return {
        "detector": detector,
        "before": before,
        "false_alarms_per_month": min(before * factor, _MOST) if factor > 1 else before * factor,
        "confirmed": yes,
        "false_alarms": no,
        "precision": yes / (yes + no) if yes + no else None,
        "low": low,
        "high": high,
        "why": why,
    }


def share_between(yes: int, of: int, z: float = 1.959963984540054) -> tuple[float | None, float | None]:
    """Return the Wilson interval of a share; Nones where nothing was counted.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.

    Parameters
    ----------
    yes, of : int
        Counts.
    z : float
        Normal quantile; by default of 95 %, two-sided.

    Examples
    --------
    >>> low, high = share_between(8, 10)
    >>> round(low, 3), round(high, 3)
    (0.49, 0.943)
    """
    if of == 0:
        return None, None
    share, spread = yes / of, z * z / of
    middle = share + spread / 2
    half = z * math.sqrt(share * (1 - share) / of + spread / (4 * of))
    return max(0.0, (middle - half) / (1 + spread)), min(1.0, (middle + half) / (1 + spread))
