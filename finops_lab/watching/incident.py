"""An incident in hindsight: what it cost, whose money that is, what happened when, and what to ask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl

from finops_lab import bookkeeping
from finops_lab.anomalies.event import SCOPES, event_id
from finops_lab.anomalies.explain import Explanation
from finops_lab.lab import Lab
from finops_lab.money import format_money
from finops_lab.unit_economics.activity import activity
from finops_lab.watching.happened import happened, most_gpus, telemetry_days
from finops_lab.watching.impact import AFTER, BEFORE, impact
from finops_lab.wording import plural

__all__ = ["Incident", "incident"]

_DEPLOYS = timedelta(days=2)
_WEEKS = 4
_DAMAGE = ("team", "model", "feature", "service", "account", "resource")


@dataclass(frozen=True)
class Incident:
    """What is known of an incident.

    Attributes
    ----------
    scope : str
        Whose spend, such as ``team research``; with its currency where the lab has several.
    first, last : datetime.date
        Its days, both included.
    impact : polars.DataFrame
        One row of `finops_lab.watching.impact.IMPACT`. ``expected`` is what spend would have come to from
        what was known the day before; ``low`` and ``high`` enclose 90 % of earlier spans as long that were
        told in the same way, and are null where fewer than 20 are known. ``excess`` is actual less
        expected. ``days_unknown`` are days of it that no export tells of: they are in neither.
    days : polars.DataFrame
        ``day, amount, expected, low, high, inside``: from four weeks before to a week after;
        ``expected`` of days inside is what was told on the day before the first.
    explanation : Explanation
        Which slice, volume or price, what coincides, what was like it.
    happened : polars.DataFrame
        `finops_lab.watching.happened.HAPPENED`: deploys, jobs and events in order of time.
    telemetry : polars.DataFrame
        ``day, metric, value``: GPU-hours of jobs, calls, calls that failed.
    damage : polars.DataFrame
        ``dimension, value, actual, expected, excess, share``: whose the money is. It adds up to the
        whole within each dimension.
    checklist : polars.DataFrame
        ``question, answer``.
    """

    scope: str
    first: date
    last: date
    impact: pl.DataFrame
    days: pl.DataFrame
    explanation: Explanation = field(repr=False)
    happened: pl.DataFrame = field(repr=False)
    telemetry: pl.DataFrame = field(repr=False)
    damage: pl.DataFrame = field(repr=False)
    checklist: pl.DataFrame = field(repr=False)

    def __repr__(self) -> str:
        return f"Incident({self.scope}, {self.first} to {self.last}: {self.sentence})"

    @property
    def sentence(self) -> str:
        """The cost of it, with its interval."""
        row = self.impact.row(0, named=True)
        less = row["excess"] < 0
        by = f"{_money(abs(row['excess']), row)} {'less' if less else 'more'}"
        said = f"cost {by} than the {_money(row['expected'], row)} expected"
        if row["days_unknown"]:
            said += f" without {plural(row['days_unknown'], 'day')} that no export tells of"
        if row["excess_low"] is None:
            return f"{said}; how sure that is, too few earlier days tell"
        ends = (-row["excess_high"], -row["excess_low"]) if less else (row["excess_low"], row["excess_high"])
        low, high = (_money(end, row) for end in ends)
        return f"{said}, {low} to {high} with a confidence of 90 %"


def incident(
    lab: Lab,
    start: date | str,
    end: date | str,
    scope: str = "",
    *,
    metric: str = "EffectiveCost",
    currency: str | None = None,
) -> Incident:
    """Look at some days of a lab's spend in hindsight.

    Parameters
    ----------
    lab : Lab
        An opened lab.
    start, end : datetime.date or str
        First and last day, such as ``2026-10-12``.
    scope : str
        Whose spend, such as ``team=research`` (or ``team:research``); everything when empty.
    metric : str
        The cost column.
    currency : str, optional
        ISO 4217 code: what was paid in it alone is looked at. By default the currency of the most money of
        the scope; two are never added.

    Returns
    -------
    Incident

    Raises
    ------
    InputError
        A day that is none, a scope without charges (in that currency), days of which nothing is known, or
        days of which nothing was expected: too few came before, or most of them were paid back.

    Notes
    -----
    The counterfactual keeps the level of the day before the first, with weekdays and fees of
    `finops_lab.anomalies.daily`: days of the incident teach it nothing. Its interval is empirical: of
    spans of as many days in the half year before, none of whose days was an alarm, the share of what came
    in what had been told. Spans overlap, so there are fewer independent ones than are counted.

    Examples
    --------
    >>> incident(lab, "2026-10-12", "2026-10-16", "team=research")  # doctest: +SKIP
    """
    counted = impact(lab, start, end, scope, metric=metric, currency=currency)
    found, first, last = counted.watched, counted.first, counted.last
    event = _event(counted.rows, counted.impact, first, last)
    why = found.explain_row(event)
    names = [name for name in _DAMAGE if name in why.slices["dimension"].to_list()]
    damage = why.slices.filter(pl.col("dimension").is_in(names)).select(
        "dimension", "value", "actual", "expected", "excess", "share"
    )
    told = happened(
        found, first - _DEPLOYS, last, team=counted.value if counted.dimension == "team" else None
    )
    return Incident(
        counted.scope,
        first,
        last,
        counted.impact,
        counted.days,
        why,
        told,
        telemetry_days(lab, first - BEFORE, last + AFTER),
        damage,
        _checklist(lab, event, damage, told, first, last),
    )


def _event(rows: pl.DataFrame, impact: pl.DataFrame, first: date, last: date) -> dict[str, Any]:
    """Write the span as an event, for what explains events."""
    name, cost = rows.row(0, named=True), impact.row(0, named=True)
    begin = datetime(first.year, first.month, first.day, tzinfo=UTC)
    return {
        "id": event_id(
            "spend", name["metric"], name["dimension"], name["value"], begin, cost["BillingCurrency"]
        ),
        "kind": "spend",
        "failure_mode": None,
        "metric": name["metric"],
        "unit": cost["BillingCurrency"],
        "dimension": name["dimension"],
        "value": name["value"],
        **{column: name[column] for column in SCOPES.values()},
        "first": begin,
        "last": datetime(last.year, last.month, last.day, tzinfo=UTC),
        "grain": "day",
        "direction": "up" if cost["excess"] > 0 else "down",
        "actual": float(cost["actual"]),
        "expected": float(cost["expected"]),
        "excess_amount": cost["excess"],
        "BillingCurrency": cost["BillingCurrency"],
    }


def _checklist(
    lab: Lab, event: Mapping[str, Any], damage: pl.DataFrame, told: pl.DataFrame, first: date, last: date
) -> pl.DataFrame:
    """Answer what is asked first in every incident, as far as the data tell."""
    deploys = told.filter(pl.col("kind").is_in(["deploy", "rollback", "config"]))
    each = deploys["what"].unique(maintain_order=True).to_list()  # a service has several pools
    named, more = each[:3], f" and {len(each) - 3} more" if len(each) > 3 else ""
    now, before = (
        most_gpus(lab, a, b) for a, b in ((first, last), (first - BEFORE, first - timedelta(days=1)))
    )
    gpus = "of no job are the GPUs known" if now is None else f"jobs held {now:g} GPUs at once at most"
    gpus += f", {before:g} in the four weeks before" if now is not None and before is not None else ""
    rows = [
        ("Training or inference?", _activities(lab, event, first, last)),
        ("Which models?", _largest(damage, "model", event)),
        ("Which teams?", _largest(damage, "team", event)),
        (
            "Recent deploys?",
            f"{len(each)} since two days before: {'; '.join(named)}{more}"
            if named
            else "none since two days before",
        ),
        ("Temporary quota?", f"the data tell no quotas; {gpus}"),
    ]
    return pl.DataFrame(rows, schema={"question": pl.String, "answer": pl.String}, orient="row")


def _activities(lab: Lab, event: Mapping[str, Any], first: date, last: date) -> str:
    """Say how much more than in the four weeks before was training, inference and the rest."""
    entries = bookkeeping.ledger(lab).entries
    pinned = [pl.col(c) == event[c] for c in ("x_team", "x_model", "x_feature") if event[c] is not None]
    pinned += [
        pl.col(column) == event["value"]
        for name, column in (("provider", "ProviderName"), ("service", "ServiceName"))
        if event["dimension"] == name
    ]
    of = entries.lazy().filter(
        pl.col("BillingCurrency") == event["BillingCurrency"], pl.col("ChargeCategory") == "Usage", *pinned
    )
    size, day, amount = (
        (last - first).days + 1,
        pl.col("x_ChargeDate"),
        pl.col(str(event["metric"])).cast(pl.Float64),
    )
    usual = amount.filter(day.is_between(first - timedelta(weeks=_WEEKS), first - timedelta(days=1))).sum()
    sums = (
        activity(of, lab.config.activities)
        .group_by("x_Activity")
        .agg((amount.filter(day.is_between(first, last)).sum() - usual * size / (7 * _WEEKS)).alias("more"))
        .collect()
        .sort(pl.col("more").abs(), "x_Activity", descending=[True, False])
    )
    said = [f"{name} {_money(more, event, sign=True)}" for name, more in sums.rows() if abs(more) >= 1]
    return (
        f"against the four weeks before: {', '.join(said)}"
        if said
        else "no change against the four weeks before"
    )


def _largest(damage: pl.DataFrame, dimension: str, event: Mapping[str, Any]) -> str:
    if event["dimension"] == dimension:
        return f"{event['value']}: the scope asked for"
    rows = damage.filter(pl.col("dimension") == dimension, pl.col("share") >= 0.05).head(4)
    said = [f"{row['value'] or 'none named'} {row['share']:.0%}" for row in rows.rows(named=True)]
    return f"{', '.join(said)} of the damage" if said else "the bill does not say"


def _money(amount: Decimal | float, of: Mapping[str, Any], *, sign: bool = False) -> str:
    exact = amount if isinstance(amount, Decimal) else Decimal(f"{amount:.2f}")
    whole = exact.quantize(Decimal(1)) + 0  # of what is nearly nothing, no side is told
    written = format_money(whole, of["BillingCurrency"], decimals=0)
    return f"+{written}" if sign and whole > 0 else written
