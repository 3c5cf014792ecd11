"""The tables of the outlook."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

import polars as pl

from finops_lab.calendar import month_name
from finops_lab.forecasting.hierarchy import TOTAL
from finops_lab.forecasting.tracking import LEADS
from finops_lab.foreseeing import Outlook
from finops_lab.reporting.section import MOST, exact, of_all
from finops_lab.tables import Table, money_table

if TYPE_CHECKING:
    from finops_lab.reporting.monthly import Review

__all__ = ["backtest", "changed", "ended", "months", "parts", "running", "said_and_came"]

_SEASONAL = 24
_NAMES = {
    "combination": "Combination (used)",
    "seasonal_naive": "Same month last year",
    "last_month_flat": "Last month repeated",
    "run_rate": "Last month's daily rate",
}
_BOUNDS = {"lo_80": "80% from", "hi_80": "80% to", "lo_95": "95% from", "hi_95": "95% to"}


def months(review: Review, made: Outlook) -> Table:
    """Show the total, month by month."""
    names = ["yhat", *_BOUNDS]
    whole = made.total
    shown = exact(whole, *names).select(pl.Series("month", [month_name(m) for m in whole["ds"]]), *names)
    return money_table(
        shown,
        title="Forecast per month, all teams",
        id="forecast-months",
        currency=review.currency,
        money_columns=dict.fromkeys(names, review.decimals),
        labels={"yhat": "Expected", **_BOUNDS},
    )


def parts(review: Review, made: Outlook, level: str, title: str, id: str) -> Table:
    """Show what a dimension's values come to; they add up to the total."""
    ahead, names = made.of(level), ["last_month", "next_month", "lo_80", "hi_80", "all_months"]
    came = made.panels.of(level).filter(pl.col("ds") == made.panels.month)
    first = ahead.filter(pl.col("ds") == ahead["ds"].min()).select(
        "unique_id", "lo_80", "hi_80", next_month="yhat"
    )
    sums = ahead.group_by("unique_id").agg(pl.col("yhat").sum().alias("all_months"))
    shown = (
        first.join(sums, on="unique_id")
        .join(came.select("unique_id", last_month=pl.col("y").cast(pl.Float64)), on="unique_id", how="left")
        .sort("all_months", "unique_id", descending=[True, False])
    )
    whole = made.total
    total = {
        "last_month": _last(made),
        "next_month": whole["yhat"][0],
        "lo_80": whole["lo_80"][0],
        "hi_80": whole["hi_80"][0],
        "all_months": whole["yhat"].sum(),
    }
    return money_table(
        exact(shown, *names).select("unique_id", *names).head(MOST),
        title=title,
        subtitle=of_all(
            f"{level}s with most to come",
            shown.height,
            beside=f"Expected amounts of {level}s add up to the total; intervals do not, since errors even out",
        ),
        id=id,
        currency=review.currency,
        money_columns=dict.fromkeys(names, review.decimals),
        labels={
            "unique_id": level.capitalize(),
            "last_month": month_name(made.panels.month),
            "next_month": month_name(whole["ds"][0]),
            "lo_80": "80% from",
            "hi_80": "80% to",
            "all_months": f"Next {whole.height} months",
        },
        total_row={name: _decimal(value) for name, value in total.items()},
    )


def running(review: Review, made: Outlook) -> Table:
    """Show what the month that still runs comes to."""
    names = ["to_date", "yhat", "lo_80", "hi_80", "run_rate", "fees"]
    rows = made.open_month.filter(pl.col("level") != TOTAL).sort(
        "yhat", "unique_id", descending=[True, False], nulls_last=True
    )
    whole = made.open_month.filter(pl.col("level") == TOTAL).row(0, named=True)
    # A lab without teams has the total alone.
    shown = rows if rows.height else made.open_month
    until = f"{whole['through']:%-d %B}"
    return money_table(
        exact(shown, *names).select("unique_id", *names).head(MOST),
        title=f"{month_name(whole['ds'])}, from its days up to {until}",
        subtitle="Days so far, and for each day to come the last days' level times the weekday's share",
        id="forecast-running",
        currency=review.currency,
        money_columns=dict.fromkeys(names, review.decimals),
        labels={
            "unique_id": "Team",
            "to_date": f"Until {until}",
            "yhat": "Whole month",
            "lo_80": "80% from",
            "hi_80": "80% to",
            "run_rate": "Run-rate",
            "fees": "First-of-month fees",
        },
        total_row={name: _decimal(whole[name]) for name in names},
        unknown="no past month of this team to judge by",
        note="The run-rate takes the days so far times the days of the month; fees of the first days are in it.",
    )


def changed(review: Review, made: Outlook) -> Table:
    """Show which months of the history were not taken as billed, and why."""
    series = (
        pl.when(pl.col("level") == TOTAL)
        .then(pl.lit("All teams"))
        .otherwise(pl.col("level").str.to_titlecase() + " " + pl.col("unique_id"))
    )
    newest = made.cleaned.with_columns(series.alias("series")).sort(
        "ds", descending=True, maintain_order=True
    )
    shown = newest.head(MOST)
    return money_table(
        exact(shown, "y", "y_used").select(
            "series", pl.Series("month", [month_name(m) for m in shown["ds"]]), "y", "y_used", "reason"
        ),
        title="Months not taken as billed",
        subtitle=of_all("newest months", newest.height),
        id="forecast-cleaned",
        currency=review.currency,
        money_columns=dict.fromkeys(("y", "y_used"), review.decimals),
        labels={"y": "Billed", "y_used": "Taken as", "reason": "Why"},
        unknown="not billed, or left out",
        note="Events are those of finops.toml; an outlier stands apart from all its neighbours. If one was "
        "no outlier, write the event that it was.",
    )


def ended(review: Review, made: Outlook) -> Table:
    """Show which charges are not forecast, since they came at times and ended."""
    kinds = made.panels.kinds_ended
    shown = kinds.head(MOST)
    return money_table(
        shown.with_columns(pl.Series("last", [None if m is None else month_name(m) for m in shown["last"]])),
        title="Charges that the forecast does not go on with",
        subtitle=of_all("largest kinds", kinds.height),
        id="forecast-ended",
        currency=review.currency,
        money_columns={"y": review.decimals},
        number_columns={"months": 0},
        labels={
            "ChargeCategory": "Category",
            "ProviderName": "Provider",
            "ServiceName": "Service",
            "last": "Last in",
            "months": "Months",
            "y": "In all",
        },
        unknown="not said",
        note="Purchases, credits and adjustments of a service that did not come in each of the last three "
        "months. What was said before is held against months without them.",
    )


def said_and_came(review: Review, made: Outlook) -> Table:
    """Show what was said 1, 3 and 6 months before against what came."""
    rows = made.accuracy.filter(pl.col("level") == TOTAL)
    shown = rows.group_by("ds", maintain_order=True).agg(pl.col("y").first())
    labels: dict[str, str] = {"month": "Month", "y": "Came"}
    leads = [lead for lead in LEADS if lead in set(rows["lead"])]
    for lead in leads:
        mine = rows.filter(pl.col("lead") == lead)
        names = {"yhat": f"said_{lead}", "off": f"off_{lead}"}
        shown = shown.join(mine.select("ds", *names).rename(names), on="ds", how="left")
        labels |= {
            f"said_{lead}": f"Said {lead} {'month' if lead == 1 else 'months'} before",
            f"off_{lead}": "Off",
        }
    held = pl.when("inside_80").then(pl.col("lead").cast(pl.String)).drop_nulls().str.join(", ")
    judged = rows.filter(pl.col("inside_80").is_not_null())
    shown = shown.join(judged.group_by("ds").agg(held.alias("held")), on="ds", how="left").sort("ds")
    labels["held"] = "80% interval held"
    money_names = ["y", *[f"said_{lead}" for lead in leads]]
    return money_table(
        exact(shown, *money_names)
        .with_columns(pl.col("held").replace("", "none"))
        .select(pl.Series("month", [month_name(m) for m in shown["ds"]]), *list(labels)[1:]),
        title="What was said before, and what came, all teams",
        subtitle="Forecasts 1, 3 and 6 months before, from the months up to then as they are known today",
        id="forecast-accuracy",
        currency=review.currency,
        money_columns=dict.fromkeys(money_names, review.decimals),
        percent_columns=[f"off_{lead}" for lead in leads],
        labels=labels,
        unknown="too little history by then, or nothing came",
        note="Off is said less came over came: positive when too high. The last column tells which of these "
        "forecasts, by months before, had what came inside their 80% interval.",
    )


def backtest(review: Review, judged: pl.DataFrame) -> Table:
    """Show how good such forecasts were."""
    shown = judged.select(
        pl.col("model").replace(_NAMES), "n", "mase", "smape", "bias", "coverage_80", "coverage_95"
    )
    return money_table(
        shown,
        title="How good such forecasts were, all teams",
        subtitle="Rolling-origin backtest: each forecast saw only what was known at its time",
        id="backtest",
        currency=review.currency,
        money_columns=(),
        number_columns={"n": 0, "mase": 2, "smape": 1},
        percent_columns=["bias", "coverage_80", "coverage_95"],
        labels={
            "n": "Months judged",
            "mase": "MASE",
            "smape": "sMAPE %",
            "coverage_80": "Inside 80%",
            "coverage_95": "Inside 95%",
        },
        unknown="not defined for this model or history",
        note="MASE below 1 beats repeating last year's months; bias above 0 means forecasts were too high. "
        f"Forecasts made with under {_SEASONAL} months of history use no yearly season.",
    )


def _last(made: Outlook) -> Decimal | None:
    came: Mapping[object, Decimal] = dict(made.panels.of().select("ds", "y").iter_rows())
    return came.get(made.panels.month)


def _decimal(value: float | Decimal | None) -> Decimal | None:
    return None if value is None else Decimal(f"{value:.2f}")
