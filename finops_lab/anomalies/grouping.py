"""From alarm days to events: one row per thing that happened, with its money and its root."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from finops_lab.anomalies.calibrate import GAP
from finops_lab.anomalies.event import EVENTS, SCOPES, as_events, event_id
from finops_lab.anomalies.panel import Floats, Panel
from finops_lab.anomalies.recurring import WEEKS, recurs
from finops_lab.anomalies.rules import incomplete_days, new_slices

__all__ = ["MIN_SHARE", "events_of", "rule_events", "with_roots"]

MIN_SHARE = 0.01  # of the whole's expected spend in the event's days
_LONGEST = 14  # days; what stays longer is the new level
_OUT = 2.0  # standard deviations off the expectation at the event's start: still going on
_LEAST = 0.01  # of what was expected: amounts below are not told apart
_REST = 0.3  # share of the event's largest distance that is no longer part of it
_WORSE = 3.0  # times that distance: something else happened on top
_REMEMBERED = 42  # days after its start in which spend may return to what it was without a new event
_PART = (0.5, 1.6)  # of a broader event's money that makes a narrower one its root
_TOGETHER = timedelta(days=3)  # between the first days of two events of one cause
_SCALE = Decimal("0.000001")
_EXPORT, _NEW, _STATISTIC = "incomplete export", "first charges", "daily spend"


@dataclass
class _Run:
    """An event of a slice while its days are read."""

    start: int
    end: int
    side: int  # 1 up, -1 down
    worst: float  # distance of the log, in its direction
    expected: Floats  # log, of all days, as foretold at its start


def events_of(
    days: pl.DataFrame,
    *,
    panel: Panel | None = None,
    min_amount: Decimal | int = 0,
    min_share: float = MIN_SHARE,
    detected: datetime | None = None,
) -> pl.DataFrame:
    """Merge alarm days to events, drop those of little money, and say which is part of which.

    An event begins with an alarm and lasts while spend stays off what was expected at its start, with up
    to two days in between and up to 14 days; what stays longer is the new level. Spend that returns to
    what it was, however sudden, is the end of an event and no new one. Expected and actual are of
    all its days.

    Parameters
    ----------
    days : polars.DataFrame
        From `finops_lab.anomalies.daily.detect`.
    panel : Panel, optional
        Where given, incomplete exports and first charges are told too (`rule_events`).
    min_amount : decimal.Decimal or int
        Least money at stake, in the event's currency.
    min_share : float
        Least share of what the whole (the slice ``total`` where there is one) was expected to spend in
        these days.
    detected : datetime.datetime, optional
        When the detection ran; by default the midnight after an event's first alarm.

    Returns
    -------
    polars.DataFrame
        `EVENTS` of kind ``spend``, ordered by first day. ``excess_amount`` is the exact amount minus the
        expected one, rounded to a millionth; below zero for a fall. ``cause_of`` names the event that
        explains this one, null for a root.

    Examples
    --------
    >>> from finops_lab.anomalies.daily import detect
    >>> from finops_lab.anomalies.panel import panel_of
    >>> spend = 100 * np.exp(np.random.default_rng(1).normal(0, 0.03, (1, 80)))
    >>> spend[0, 70:72] *= 3
    >>> events = events_of(detect(panel_of(spend, date(2026, 8, 1))))
    >>> [(row["first"].day, row["last"].day, round(row["excess_amount"])) for row in events.rows(named=True)]
    [(10, 11, 407)]
    """
    rows: list[dict[str, Any]] = []
    wholes = _wholes(days)
    for _, one in days.filter(pl.col("alarm").any().over("slice")).group_by("slice", maintain_order=True):
        rows += _of_slice(one, wholes, min_amount, min_share, detected)
    events = as_events(pl.DataFrame(rows, schema=EVENTS))
    if panel is not None:
        holidays = days.filter(pl.col("state") == "holiday")["day"].unique().to_list()
        told = rule_events(
            panel, min_amount=min_amount, min_share=min_share, detected=detected, holidays=holidays
        )
        # First charges are new once: not an event of their own per day of the first week.
        events = as_events(pl.concat([events.filter(~pl.col("id").is_in(told["id"].implode())), told]))
    return with_roots(events)


def rule_events(
    panel: Panel,
    *,
    min_amount: Decimal | int = 0,
    min_share: float = MIN_SHARE,
    detected: datetime | None = None,
    holidays: Collection[date] = (),
) -> pl.DataFrame:
    """Return the events that rules find, not statistics: incomplete exports and first charges.

    Parameters
    ----------
    panel : Panel
        From `finops_lab.anomalies.panel.daily_panel`.
    min_amount, min_share, detected
        As in `events_of`; they do not hide an incomplete export.
    holidays : collection of datetime.date
        Days on which all may fall at once, and the export is whole.

    Returns
    -------
    polars.DataFrame
        `EVENTS`: detector ``incomplete export`` per provider and run of days, no money at stake (what an
        export lacks is not saved), and ``first charges`` per new slice, with the money of its first week.
    """
    metric, rows = panel.metric, []
    found = incomplete_days(panel).filter(~pl.col("day").is_in(list(holidays)))
    for (provider, currency), one in found.group_by("x_provider", "BillingCurrency", maintain_order=True):
        run = (one["at"].diff().fill_null(1) > GAP + 1).cast(pl.Int64).cum_sum()
        for _, part in one.group_by(run.alias("run"), maintain_order=True):
            first, last = part["day"][0], part["day"][-1]
            rows.append(
                {
                    **_common(_EXPORT, metric, currency, "provider", provider, first, last, first, detected),
                    "x_provider": provider,
                    "direction": "down",
                    "actual": part["actual"].sum(),
                    "expected": part["usual"].sum(),
                    "note": "export incomplete: nearly every service fell at once. Not money saved",
                }
            )
    wholes = {currency: values.sum(0) for currency, values in _leaf_values(panel).items()}
    for at, first, last, amount in new_slices(panel).rows():
        name = panel.names.row(at, named=True)
        days = slice((first - panel.days[0]).days, (last - panel.days[0]).days + 1)
        whole = wholes.get(name["BillingCurrency"])
        if amount < min_amount or (whole is not None and float(amount) < min_share * whole[days].sum()):
            continue
        common = _common(
            _NEW,
            metric,
            name["BillingCurrency"],
            name["dimension"],
            name["value"],
            first,
            last,
            first,
            detected,
        )
        rows.append(
            {
                **common,
                **{column: name[column] for column in SCOPES.values()},
                "direction": "up",
                "actual": float(amount),
                "excess_amount": amount,
                "note": f"first charges: {name['dimension']} {name['value']} is new",
            }
        )
    return as_events(pl.DataFrame(rows, schema=EVENTS))


def with_roots(events: pl.DataFrame) -> pl.DataFrame:
    """Say which event is the same money as a narrower one, and so part of it.

    Two events are one where they begin within three days, point the same way in one currency, no column that
    both pin down differs, and the narrower one (of which less was expected) holds half to eight fifths
    of the broader one's money. Every part names its root.

    Parameters
    ----------
    events : polars.DataFrame
        `EVENTS`.

    Returns
    -------
    polars.DataFrame
        The same with ``cause_of`` set.
    """
    rows = events.with_row_index("at").rows(named=True)
    statistics = [row for row in rows if row["excess_amount"] is not None]
    roots: list[dict[str, Any]] = []
    causes: list[str | None] = [None] * len(rows)
    for row in sorted(statistics, key=lambda r: (r["expected"] or 0.0, _breadth(r), r["id"])):
        fitting = [root for root in roots if _is_part(row, root)]
        if not fitting:
            roots.append(row)
            continue
        money = float(row["excess_amount"])
        best = min(fitting, key=lambda root: (abs(float(root["excess_amount"]) - money), root["id"]))
        causes[row["at"]] = best["id"]
    return events.with_columns(pl.Series("cause_of", causes, pl.String))


def _is_part(row: dict[str, Any], root: dict[str, Any]) -> bool:
    if row["direction"] != root["direction"] or row["BillingCurrency"] != root["BillingCurrency"]:
        return False
    if abs(row["first"] - root["first"]) > _TOGETHER:
        return False
    if any(None not in (row[c], root[c]) and row[c] != root[c] for c in SCOPES.values()):
        return False
    if row["dimension"] == root["dimension"]:
        return False
    ratio = float(root["excess_amount"]) / float(row["excess_amount"])
    return _PART[0] <= ratio <= _PART[1]


def _breadth(row: dict[str, Any]) -> int:
    """Order slices of the same money: the total is the broadest, then the provider."""
    order = ("feature", "model", "service", "team", "provider", "total")
    return order.index(str(row["dimension"])) if row["dimension"] in order else 0


def _of_slice(
    one: pl.DataFrame,
    wholes: dict[str, dict[date, float]],
    min_amount: Decimal | int,
    min_share: float,
    detected: datetime | None,
) -> list[dict[str, Any]]:
    """Return the events of a slice that are worth their money."""
    name = one.row(0, named=True)
    days, amounts = one["day"].to_list(), one["amount"].to_list()
    out, seen = [], list[tuple[_Run, float]]()
    for run in _runs(one):
        span = range(run.start, run.end + 1)
        known = [i for i in span if amounts[i] is not None and np.isfinite(run.expected[i])]
        should = sum((_exact(np.exp(run.expected[i])) for i in known), Decimal(0))
        excess = sum((amounts[i] for i in known), Decimal(0)) - should
        size = abs(float(excess))
        before = [
            was for r, was in seen if r.side == run.side and r.start >= run.start - 7 * WEEKS and was > 0
        ]
        seen.append((run, size))
        whole = wholes.get(name["BillingCurrency"], {})
        least = min_share * sum(whole.get(days[i], 0.0) for i in known)
        if excess == 0 or abs(excess) < min_amount or size < least or recurs(size, before):
            continue
        ratio = one["high"][run.start] / one["expected"][run.start]
        total = float(should)
        worst = max((i for i in known if one["alarm"][i]), key=lambda i: one["score"][i])
        common = _common(
            _STATISTIC, name["metric"], name["BillingCurrency"], name["dimension"], name["value"],
            days[run.start], days[run.end], days[run.start], detected,
        )  # fmt: skip
        out.append(
            {
                **common,
                **{column: name[column] for column in SCOPES.values()},
                "direction": "up" if excess > 0 else "down",
                "actual": float(excess + should),
                "expected": total,
                "low": total / ratio,
                "high": total * ratio,
                "excess_amount": excess,
                "score": one["score"][worst],
                "threshold": one["threshold"][worst],
            }
        )
    return out


def _runs(one: pl.DataFrame) -> list[_Run]:
    """Read the alarm days of a slice in order: begin, go on, return."""
    actual, foretold, level, spread = (
        one[name].fill_null(float("nan")).to_numpy() for name in ("actual", "expected", "level", "spread")
    )
    # Next to nothing is as far off as nothing is.
    log, foretold = np.log(np.maximum(actual, _LEAST * foretold)), np.log(foretold)
    up = (one["direction"] == "up").fill_null(False).to_numpy()
    runs: list[_Run] = []
    alarm = one["alarm"].fill_null(False).to_numpy()
    for t in np.flatnonzero(alarm):
        side = 1 if up[t] else -1
        if runs and t - runs[-1].start <= _REMEMBERED:
            last = runs[-1]
            off = last.side * (log[t] - last.expected[t])
            if abs(off) <= max(_OUT * spread[last.start], _REST * last.worst):
                continue  # back to what it was
            # Whatever the alarm says of the level since: it is still off what was expected at the start.
            if 0 < off <= _WORSE * last.worst and t <= last.end + GAP + 1:
                last.end, last.worst = max(last.end, int(t)), max(last.worst, off)
                continue
        # The level of the start, with each day's own weekday and fees.
        expected = foretold - level + level[t]
        run = _Run(int(t), int(t), side, abs(log[t] - expected[t]), expected)
        for i in range(int(t) + 1, min(int(t) + _LONGEST, len(log))):
            if i > run.end + GAP + 1 or not np.isfinite(log[i]):
                break
            off = side * (log[i] - expected[i])
            if alarm[i] and off > _WORSE * run.worst:
                break  # the next one begins here
            if off > max(_OUT * spread[t], _REST * run.worst):
                run.end, run.worst = i, max(run.worst, off)
        if runs and run.start <= runs[-1].end:
            runs[-1].end = run.start - 1  # what is worse by far, or the other way, is a thing of its own
        runs.append(run)
    return runs


def _common(
    detector: str,
    metric: str,
    currency: str,
    dimension: str,
    value: str | None,
    first: date,
    last: date,
    alarm: date,
    detected: datetime | None,
) -> dict[str, Any]:
    return {
        "id": event_id("spend", metric, dimension, value, first, currency),
        "kind": "spend",
        "detector": detector,
        "metric": metric,
        "unit": currency,
        "dimension": dimension,
        "value": value,
        "first": _midnight(first),
        "last": _midnight(last),
        "grain": "day",
        "BillingCurrency": currency,
        "status": "open",
        "detected": detected or _midnight(alarm + timedelta(days=1)),
    }


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _exact(amount: float) -> Decimal:
    return Decimal(repr(float(amount))).quantize(_SCALE)


def _wholes(days: pl.DataFrame) -> dict[str, dict[date, float]]:
    """Return what the total was expected to spend, by currency and day."""
    total = days.filter(pl.col("dimension") == "total").drop_nulls("expected")
    return {
        str(currency): dict(part.select("day", "expected").iter_rows())
        for (currency,), part in total.group_by("BillingCurrency")
    }


def _leaf_values(panel: Panel) -> dict[str, Floats]:
    return {
        currency: panel.leaf_values[
            panel.leaves.filter(pl.col("BillingCurrency") == currency)["leaf"].to_numpy()
        ]
        for currency in panel.leaves["BillingCurrency"].unique().sort()
    }
