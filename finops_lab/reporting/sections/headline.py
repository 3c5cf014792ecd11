"""Headline: the month at a glance."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

import polars as pl

from finops_lab.allocation import UNALLOCATED
from finops_lab.budgeting.budgets import LEAST_MONTHS
from finops_lab.calendar import add_months, month_name
from finops_lab.charts import spend_trend
from finops_lab.forecasting import forecast
from finops_lab.forecasting.hierarchy import TOTAL
from finops_lab.forecasting.panel import VALUES
from finops_lab.reporting.section import Section, change_words, money, percent
from finops_lab.tables import money_table
from finops_lab.wording import plural

if TYPE_CHECKING:
    from finops_lab.reporting.monthly import Review

_TREND_MONTHS = 24


def build(review: Review) -> Section:
    """Build the section."""
    now = review.so_far(review.month) or Decimal(0)
    before = review.so_far(review.previous)
    days = review.days
    budget = review.budget(None)
    said = _forecast_of_the_month(review)
    coverage = _coverage(review)
    said_of = f"**{review.month_name} cost {money(now, review.currency)}"
    said_of += f" so far**, {days.words}" if days.known else "**"
    said_of += f"{review.billed(review.month)} ({review.metric_name})"
    compared = f"{month_name(review.previous)}{days.beside}{review.billed(review.previous)}"
    finding = [
        f"{said_of}, {change_words(now, before, review.currency)} than {compared}"
        if before is not None
        else f"{said_of}; there is no month before to compare to"
    ]
    if budget is not None and days.known:
        finding.append(
            f"{percent(now, budget)} of the month's budget of {money(budget, review.currency)} is spent"
        )
    elif budget is not None:
        over = now - budget
        finding.append(
            f"{money(abs(over), review.currency)} ({percent(abs(over), budget)}) "
            f"{'over' if over > 0 else 'under'} the budget of {money(budget, review.currency)}"
        )
    over_budget = review.over_budget()
    over_teams = [name for name in over_budget if name != "all teams"]
    if over_teams:
        finding.append(f"over budget: {', '.join(over_teams)}")
    if coverage["gross"] is not None:
        finding.append(f"{coverage['gross'] * 100:.1f}% of gross spend has an owner")
    rows = _scorecard(review, now, before, budget, said, coverage)
    table = money_table(
        pl.DataFrame(rows, schema=["Measure", "Value", "Compared with"], orient="row"),
        title=f"{review.month_name} at a glance",
        id="headline",
        currency=review.currency,
        money_columns=(),
    )
    return Section(
        "headline",
        "; ".join(finding) + ".",
        (table, _trend(review)),
        {
            "month": f"{review.month:%Y-%m}",
            "metric": review.metric,
            "currency": review.currency,
            "spend": now,
            "spend_previous_month": before,
            "days_known": days.known,
            "budget": budget,
            "over_budget": over_budget,
            "forecast_made_a_month_ago": said,
            "coverage": coverage,
        },
    )


def _scorecard(
    review: Review,
    now: Decimal,
    before: Decimal | None,
    budget: Decimal | None,
    said: dict[str, float] | None,
    coverage: dict[str, Decimal | None],
) -> list[tuple[str, str, str]]:
    currency = review.currency
    known, last_year = review.days, add_months(review.month, -12)
    (daily, short), (daily_before, _) = _per_day(review, review.month), _per_day(review, review.previous)
    per_day = "Spend per billed day" if short else "Spend per day"
    year_ago = review.so_far(last_year)
    span, last_month = ("days", "the same days of last month") if known.known else ("month", "last month")
    compared, then = last_month + review.billed(review.previous), f"then{review.billed(last_year)}"
    rows = [
        (
            f"Spend ({review.metric_name}){known.after}{review.billed(review.month)}",
            money(now, currency, exact=True),
            _versus(now, before, compared, currency),
        ),
        (per_day, money(daily, currency), _versus(daily or Decimal(0), daily_before, compared, currency)),
        (f"Same {span} last year", money(year_ago, currency), _versus(now, year_ago, then, currency)),
    ]  # fmt: skip
    if budget is None:
        rows.append(("Budget of all teams", "none set", "add [[budgets]] without a team to finops.toml"))
    else:
        rows.append(("Budget of all teams", money(budget, currency), f"{percent(now, budget)} of it spent"))
    if said is None:
        rows.append(("Forecast made a month ago", "none", f"needs at least {LEAST_MONTHS} earlier months"))
    else:
        inside = said["lo_80"] <= float(now) <= said["hi_80"]
        band = f"{money(said['lo_80'], currency)} to {money(said['hi_80'], currency)}"
        # Part of a month says nothing yet about a forecast of the whole.
        judged = f"actual {'inside' if inside else 'outside'} the 80% interval {band}"
        judged = f"of the whole month, 80% interval {band}" if known.known else judged
        rows.append(
            (
                "Forecast made a month ago",
                money(said["yhat"], currency),
                judged,
            )
        )
    names = {"gross": "of gross spend", "absolute": "of absolute amounts", "rows": "of bill rows"}
    for kind, words in names.items():
        share = coverage[kind]
        rows.append(
            (
                f"Allocation coverage {words}",
                "undefined" if share is None else f"{share * 100:.1f}%",
                "target over 95%",
            )
        )
    return rows


def _per_day(review: Review, month: date) -> tuple[Decimal | None, bool]:
    """Return the spend of a month so far per day, and whether that is per billed day: where many are missing."""
    spend, some = review.so_far(month), review.days.billed_days(review.past, month)
    return None if spend is None else spend / (some or review.days.of(month)), some is not None


def _versus(now: Decimal, then: Decimal | None, what: str, currency: str) -> str:
    return "unknown" if then is None else f"{change_words(now, then, currency)} than {what}"


def _coverage(review: Review) -> dict[str, Decimal | None]:
    """Coverage by three definitions, never on net cost: credits would push it over 100%."""
    owned = pl.col("x_team") != UNALLOCATED
    amount = pl.col(review.metric)
    sums = review.entries.select(
        gross=amount.filter(amount > 0).sum(),
        gross_owned=amount.filter((amount > 0) & owned).sum(),
        absolute=amount.abs().sum(),
        absolute_owned=amount.abs().filter(owned).sum(),
        rows=pl.col("x_Rows").sum(),
        rows_owned=pl.col("x_Rows").filter(owned).sum(),
    ).row(0, named=True)
    return {
        kind: Decimal(sums[f"{kind}_owned"]) / Decimal(sums[kind]) if sums[kind] else None
        for kind in ("gross", "absolute", "rows")
    }


def _forecast_of_the_month(review: Review) -> dict[str, float] | None:
    history = review.panel(None).filter(pl.col("ds") < review.month)
    # A month ago the section on forecasts would have had none.
    if history.height < LEAST_MONTHS:
        return None
    mine = pl.col("ds") == review.month
    # The same that the section on forecasts holds against what came: two figures of one name confuse.
    told = review.outlook.accuracy.filter(mine, level=TOTAL, lead=1)
    if told.height:
        return told.select("unique_id", "ds", *VALUES).row(0, named=True)
    found = forecast(history, months=1).filter(mine)
    return found.row(0, named=True) if found.height else None


def _trend(review: Review) -> object:
    first = add_months(review.month, 1 - _TREND_MONTHS)
    panel = review.panel("ProviderName").filter(pl.col("ds") >= first)
    months = plural(panel["ds"].n_unique(), "month")
    frame = panel.select(month="ds", group="unique_id", amount="y")
    return spend_trend(
        frame,
        title="Spend per month by provider",
        subtitle=f"{review.metric_name.capitalize()}, last {months}"
        + (f"; {review.month_name} has {review.days.words}" if review.days.known else ""),
        unit=review.currency,
    )
