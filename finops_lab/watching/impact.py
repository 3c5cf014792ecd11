"""What an incident cost: the days asked for against what would have come, with an interval."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import polars as pl

from finops_lab.anomalies.panel import Floats
from finops_lab.calendar import parse_day
from finops_lab.errors import InputError
from finops_lab.lab import Lab
from finops_lab.money import MONEY, exact_sum
from finops_lab.watching.watched import Watched, anomalies

__all__ = ["AFTER", "BEFORE", "IMPACT", "Impact", "impact"]

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
BEFORE, AFTER = timedelta(days=28), timedelta(days=7)  # shown around the days
_SCALE = Decimal("0.000001")
_BOUNDS = (0.05, 0.95)
_SPANS = 20  # of earlier days, at least, to tell how far off such an expectation is
_LOOKED_BACK = 182
_NAMED = 10  # of what could have been meant


@dataclass(frozen=True)
class Impact:
    """What some days of a scope cost, in one currency.

    Attributes
    ----------
    scope : str
        Whose spend, in words; with its currency where the lab has several.
    dimension, value : str
        The same as a slice; the value is null for everything.
    first, last : datetime.date
        The days, both included.
    watched : Watched
        The lab's anomalies that the days are taken from.
    rows : polars.DataFrame
        Of `finops_lab.watching.spend.DAYS`: every day of the scope.
    impact : polars.DataFrame
        One row of `IMPACT`.
    days : polars.DataFrame
        As in `finops_lab.watching.incident.Incident`.
    """

    scope: str
    dimension: str
    value: str | None
    first: date
    last: date
    watched: Watched = field(repr=False)
    rows: pl.DataFrame = field(repr=False)
    impact: pl.DataFrame
    days: pl.DataFrame = field(repr=False)


def impact(
    lab: Lab,
    start: date | str,
    end: date | str,
    scope: str = "",
    *,
    metric: str = "EffectiveCost",
    currency: str | None = None,
) -> Impact:
    """Hold some days of a lab's spend against what would have come.

    Parameters, errors and the counterfactual are those of `finops_lab.watching.incident.incident`, which
    adds why and whose; this is the cheap part of it, and the part that refuses.

    Returns
    -------
    Impact

    Examples
    --------
    >>> impact(lab, "2026-10-12", "2026-10-16", "team=research").impact  # doctest: +SKIP
    """
    first, last = parse_day(start, "start"), parse_day(end, "end")
    if last < first:
        raise InputError(f"end {last} lies before start {first}")
    dimension, value = _scope(scope)
    found = anomalies(lab, metric=metric)
    rows = _slice(found.days, dimension, value, currency)
    named = "everything" if value is None else f"{dimension} {value}"
    if found.days["BillingCurrency"].n_unique() > 1:
        named += f" in {rows['BillingCurrency'][0]}"  # what is paid in another currency is not in it
    cost, days = _impact(rows, first, last)
    return Impact(named, dimension, value, first, last, found, rows, cost, days)


def _slice(days: pl.DataFrame, dimension: str, value: str | None, currency: str | None) -> pl.DataFrame:
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
    # Paid in several currencies, and none asked for: the one of the most money.
    sums = rows.group_by("BillingCurrency").agg(pl.col("actual").sum()).sort("actual", "BillingCurrency")
    paid = sums["BillingCurrency"].to_list()
    if currency and currency not in paid:
        raise InputError(
            f"{'everything' if value is None else f'{dimension} {value}'} has no charges in {currency}",
            hint=f"known are: {', '.join(sorted(paid))}",
        )
    return rows.filter(pl.col("BillingCurrency") == (currency or paid[-1])).sort("day")


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
    earlier = rows["amount"][max(begin - BEFORE.days, 0) : begin].drop_nulls()
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
    shown = rows.filter(pl.col("day").is_between(first - BEFORE, last + AFTER)).join(
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


def _scope(text: str) -> tuple[str, str | None]:
    if not text or text == "total":
        return "total", None
    # papermill reads no parameter with two equals signs in its line: a colon does as well.
    dimension, value = [*re.split("[=:]", text, maxsplit=1), ""][:2]
    if not value.strip():
        raise InputError(f"scope must be written like team=research, not {text!r}")
    return dimension.strip(), value.strip()
