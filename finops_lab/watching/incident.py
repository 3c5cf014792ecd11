"""An incident in hindsight: what it cost, whose money that is, what happened when, and what to ask."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from finops_lab import bookkeeping
from finops_lab.anomalies.event import SCOPES, event_id
from finops_lab.anomalies.explain import Explanation
from finops_lab.anomalies.panel import Floats
from finops_lab.calendar import parse_day
from finops_lab.errors import InputError, plural
from finops_lab.lab import Lab
from finops_lab.money import MONEY, exact_sum, format_money
from finops_lab.unit_economics.activity import activity
from finops_lab.watching.happened import happened, most_gpus, telemetry_days
from finops_lab.watching.watched import anomalies

__all__ = ["IMPACT", "Incident", "incident"]

IMPACT: dict[str, pl.DataType | type[pl.DataType]] = {
    "actual": MONEY,
    "expected": MONEY,
    "low": pl.Float64,
    "high": pl.Float64,
    "excess": MONEY,
    "excess_low": pl.Float64,
    "excess_high": pl.Float64,
    "BillingCurrency": pl.String,
    "spans": pl.Int64,
    "days_unknown": pl.Int64,
}
_SCALE = Decimal("0.000001")
_BOUNDS = (0.05, 0.95)
_SPANS = 20  # of earlier days, at least, to tell how far off such an expectation is
_LOOKED_BACK = 182
_BEFORE, _AFTER = timedelta(days=28), timedelta(days=7)
_DEPLOYS = timedelta(days=2)
_WEEKS = 4
_NAMED = 10  # of what could have been meant
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
        One row of `IMPACT`. ``expected`` is what spend would have come to from what was known the day
        before; ``low`` and ``high`` enclose 90 % of earlier spans as long that were told in the same way, and
        null where fewer than 20 are known. ``excess`` is actual less expected. ``days_unknown`` are days
        of it that no export tells of: they are in neither.
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
    lab: Lab, start: date | str, end: date | str, scope: str = "", *, metric: str = "EffectiveCost"
) -> Incident:
    """Look at some days of a lab's spend in hindsight.

    Parameters
    ----------
    lab : Lab
        An opened lab.
    start, end : datetime.date or str
        First and last day, such as ``2026-10-12``.
    scope : str
        Whose spend, such as ``team=research`` (or ``team:research``); everything when empty. Of what is
        paid in several currencies, the one with the largest amount is looked at.
    metric : str
        The cost column.

    Returns
    -------
    Incident

    Raises
    ------
    InputError
        A day that is none, a scope without charges, days of which nothing is known, or days of which nothing
        was expected: too few came before, or most of them were paid back.

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
    first, last = parse_day(start, "start"), parse_day(end, "end")
    if last < first:
        raise InputError(f"end {last} lies before start {first}")
    dimension, value = _scope(scope)
    found = anomalies(lab, metric=metric)
    rows = _slice(found.days, dimension, value)
    named = "everything" if value is None else f"{dimension} {value}"
    if found.days["BillingCurrency"].n_unique() > 1:
        named += f" in {rows['BillingCurrency'][0]}"  # what is paid in another currency is not in it
    impact, days = _impact(rows, first, last)
    event = _event(rows, impact, first, last)
    why = found.explain_row(event)
    names = [name for name in _DAMAGE if name in why.slices["dimension"].to_list()]
    damage = why.slices.filter(pl.col("dimension").is_in(names)).select(
        "dimension", "value", "actual", "expected", "excess", "share"
    )
    told = happened(found, first - _DEPLOYS, last, team=value if dimension == "team" else None)
    return Incident(
        named,
        first,
        last,
        impact,
        days,
        why,
        told,
        telemetry_days(lab, first - _BEFORE, last + _AFTER),
        damage,
        _checklist(lab, event, damage, told, first, last),
    )


def _slice(days: pl.DataFrame, dimension: str, value: str | None) -> pl.DataFrame:
    rows = days.filter(pl.col("dimension") == dimension, pl.col("value").eq_missing(pl.lit(value, pl.String)))
    if days.is_empty():
        raise InputError("the lab has no charges to look at")
    if rows.is_empty():
        names = days.filter(pl.col("dimension") == dimension)["value"].drop_nulls().unique().sort()
        known = days["dimension"].unique().sort() if names.is_empty() else names
        more = f" and {known.len() - _NAMED} more" if known.len() > _NAMED else ""
        raise InputError(
            f"nothing is known of {dimension} {value or ''}".rstrip(),
            hint=f"known are: {', '.join(known.head(_NAMED))}{more}",
        )
    # Paid in several currencies: the one of the most money.
    most = rows.group_by("BillingCurrency").agg(pl.col("actual").sum()).sort("actual", "BillingCurrency")
    return rows.filter(pl.col("BillingCurrency") == most["BillingCurrency"][-1]).sort("day")


def _impact(rows: pl.DataFrame, first: date, last: date) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Hold the days against what would have come, and tell how sure that is."""
    days = rows["day"].to_list()
    if first not in days or last not in days:
        raise InputError(f"charges are known from {days[0]} to {days[-1]}, not from {first} to {last}")
    begin, size = days.index(first), (last - first).days + 1
    actual, level = rows["actual"].to_numpy(), rows["level"].to_numpy()
    with np.errstate(divide="ignore"):
        foretold = np.log(rows["expected"].to_numpy())
    calm = (rows["state"] == "judged").to_numpy() & ~rows["alarm"].fill_null(True).to_numpy()

    def told(at: int) -> Floats:
        span = slice(at, at + size)
        shape = foretold[span] - level[span]
        # A day that could not be told, such as one without an export, is of no help: then its own is unknown.
        came: Floats = np.exp(shape + level[at])
        return came

    inside = told(begin)
    if not np.isfinite(inside).all():
        raise InputError(
            f"nothing was expected of these days by {first}", hint="too few days with charges before"
        )
    known = rows["amount"].is_not_null().to_numpy()
    if not known[begin : begin + size].any():
        raise InputError(
            f"nothing is known of the charges from {first} to {last}", hint="no export tells of these days"
        )
    earlier = rows["amount"][max(begin - _BEFORE.days, 0) : begin].drop_nulls()
    if earlier.len() and (earlier < 0).sum() * 2 > earlier.len():
        raise InputError(
            f"most days before {first} came to less than nothing: what is paid back is not foretold",
            hint="choose a scope without refunds",
        )
    shares = [
        actual[at : at + size].sum() / told(at).sum()
        for at in range(max(begin - _LOOKED_BACK, 0), begin - size + 1)
        if calm[at : at + size].all()
    ]
    shares = [share for share in shares if np.isfinite(share)]
    low = high = None
    # A day that no export tells of is no saving.
    total = float(inside[known[begin : begin + size]].sum())
    if len(shares) >= _SPANS:
        low, high = (float(total * np.quantile(shares, bound)) for bound in _BOUNDS)
    spent = exact_sum(rows["amount"][begin : begin + size].drop_nulls().to_list())
    expected = Decimal(repr(total)).quantize(_SCALE)
    row = {
        "actual": spent,
        "expected": expected,
        "low": low,
        "high": high,
        "excess": spent - expected,
        "excess_low": None if high is None else float(spent) - high,
        "excess_high": None if low is None else float(spent) - low,
        "BillingCurrency": rows["BillingCurrency"][0],
        "spans": len(shares),
        "days_unknown": size - int(known[begin : begin + size].sum()),
    }
    ratio = (1.0, 1.0) if low is None or high is None else (low / total, high / total)
    within = pl.col("day").is_between(first, last)
    shown = rows.filter(pl.col("day").is_between(first - _BEFORE, last + _AFTER)).join(
        pl.DataFrame({"day": days[begin : begin + size], "_told": inside}), on="day", how="left"
    )
    shown = shown.select(
        "day",
        "amount",
        pl.coalesce("_told", "expected").alias("expected"),
        pl.when(within).then(pl.col("_told") * ratio[0]).otherwise("low").alias("low"),
        pl.when(within).then(pl.col("_told") * ratio[1]).otherwise("high").alias("high"),
        within.alias("inside"),
    ).sort("day")
    return pl.DataFrame([row], schema=IMPACT), shown


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
        most_gpus(lab, a, b) for a, b in ((first, last), (first - _BEFORE, first - timedelta(days=1)))
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
    return ", ".join(said) if said else "the bill does not say"


def _scope(text: str) -> tuple[str, str | None]:
    if not text or text == "total":
        return "total", None
    # papermill reads no parameter with two equals signs in its line: a colon does as well.
    dimension, value = [*re.split("[=:]", text, maxsplit=1), ""][:2]
    if not value.strip():
        raise InputError(f"scope must be written like team=research, not {text!r}")
    return dimension.strip(), value.strip()


def _money(amount: Decimal | float, of: Mapping[str, Any], *, sign: bool = False) -> str:
    exact = amount if isinstance(amount, Decimal) else Decimal(f"{amount:.2f}")
    whole = exact.quantize(Decimal(1)) + 0  # of what is nearly nothing, no side is told
    written = format_money(whole, of["BillingCurrency"], decimals=0)
    return f"+{written}" if sign and whole > 0 else written
