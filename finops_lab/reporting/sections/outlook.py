"""Outlook: the next months in total and per team, with intervals, a baseline and a backtest."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import polars as pl

from finops_lab.calendar import month_name
from finops_lab.charts import forecast_fan
from finops_lab.charts.labels import plural
from finops_lab.forecasting import backtest, forecast, seasonal_naive
from finops_lab.money import MONEY
from finops_lab.reporting.section import Section, money
from finops_lab.tables import Table, money_table

if TYPE_CHECKING:
    from finops_lab.reporting.monthly import Review

MONTHS = 6
_HISTORY = 36
_LEAST = 3
_SEASONAL = 24
_NAMES = {
    "combination": "Combination (used)",
    "seasonal_naive": "Same month last year",
    "last_month_flat": "Last month repeated",
}


def build(review: Review) -> Section:
    """Build the section."""
    total = review.panel(None)
    if total.height < _LEAST:
        return Section(
            "forecast",
            f"**No forecast**: the lab has {plural(total.height, 'month')} of charges up to {review.month_name}, "
            f"at least {_LEAST} are needed. Put older exports into `exports/` to get one.",
            values={"missing": "history"},
        )
    # Apart from the total, whose name a team may bear as well.
    teams = _without_gaps(review.panel("team"), total)
    whole, base = _ahead(total), seasonal_naive(total, months=MONTHS)
    ahead = _ahead(teams)
    judged = backtest(total, months=MONTHS)
    return Section(
        "forecast",
        _finding(review, whole, judged),
        (
            _chart(review, total, whole, base),
            _months_table(review, whole),
            _teams_table(review, ahead),
            _backtest_table(review, judged),
        ),
        {
            "months": whole.to_dicts(),
            "teams": ahead.to_dicts(),
            "baseline": base.to_dicts(),
            "backtest": judged.to_dicts(),
            "backtest_teams": backtest(teams, months=MONTHS).to_dicts(),
        },
    )


def _ahead(panel: pl.DataFrame) -> pl.DataFrame:
    """Forecast; what was never below zero, unlike a series with credits, does not fall below it."""
    never_below = (pl.col("y").min().over("unique_id") >= 0).fill_null(False)
    parts = [(panel.filter(never_below), True), (panel.filter(~never_below), False)]
    found = [forecast(part, months=MONTHS, nonnegative=floor) for part, floor in parts if part.height]
    return pl.concat(found).sort("unique_id", "ds")


def _without_gaps(teams: pl.DataFrame, total: pl.DataFrame) -> pl.DataFrame:
    """Give a team 0 in the months since its first that have charges of others only.

    Without that, a team that ended would be forecast from where it stopped.
    """
    first = teams.group_by("unique_id").agg(pl.col("ds").min().alias("first"))
    months = first.join(total.select("ds"), how="cross").filter(pl.col("ds") >= pl.col("first"))
    filled = months.join(teams, on=["unique_id", "ds"], how="left", validate="1:1")
    # A null before the join is an unknown cost, and stays one.
    charged = teams.select("unique_id", "ds", pl.lit(True).alias("charged"))
    return (
        filled.join(charged, on=["unique_id", "ds"], how="left")
        .select("unique_id", "ds", pl.when("charged").then("y").otherwise(pl.lit(0).cast(MONEY)).alias("y"))
        .sort("unique_id", "ds")
    )


def _finding(review: Review, whole: pl.DataFrame, judged: pl.DataFrame) -> str:
    first = whole.row(0, named=True)
    text = (
        f"**{month_name(first['ds'])} is expected to cost {money(first['yhat'], review.currency)}** "
        f"(80% interval {money(first['lo_80'], review.currency)} to {money(first['hi_80'], review.currency)}); "
        f"the next {whole.height} months {money(whole['yhat'].sum(), review.currency)} in all."
    )
    scores = dict(judged.filter(pl.col("smape").is_not_null()).select("model", "smape").iter_rows())
    if {"combination", "seasonal_naive"} <= set(scores):
        text += (
            f" Checked on past months, forecasts of the total were {scores['combination']:.1f}% off on average "
            f"(sMAPE), against {scores['seasonal_naive']:.1f}% for the same month last year."
        )
    held = judged.filter(pl.col("model") == "combination")
    for share, bias in held.select("coverage_80", "bias").drop_nulls().iter_rows():
        text += (
            f" Their 80% intervals held {share:.0%} of the time and they were {abs(bias):.0%} too "
            f"{'high' if bias > 0 else 'low'} on average."
        )
    return text


def _exact(frame: pl.DataFrame, *names: str) -> pl.DataFrame:
    """Bring statistics back to decimals for display only."""
    return frame.with_columns(
        pl.Series(n, [None if v is None else Decimal(f"{v:.2f}") for v in frame[n]], dtype=pl.Decimal(38, 2))
        for n in names
    )


def _chart(review: Review, total: pl.DataFrame, whole: pl.DataFrame, base: pl.DataFrame) -> object:
    return forecast_fan(
        total.select("ds", "y").tail(_HISTORY),
        whole,
        base,
        title=f"Forecast of {review.metric_name}, all teams",
        subtitle=f"Last {min(_HISTORY, total.height)} months and the next {whole.height}, with 80% and 95% intervals",
        unit=review.currency,
    )


def _months_table(review: Review, whole: pl.DataFrame) -> Table:
    names = ["yhat", "lo_80", "hi_80", "lo_95", "hi_95"]
    shown = _exact(whole, *names).select(pl.Series("month", [month_name(m) for m in whole["ds"]]), *names)
    return money_table(
        shown,
        title="Forecast per month, all teams",
        id="forecast-months",
        currency=review.currency,
        money_columns=dict.fromkeys(names, review.decimals),
        labels={
            "yhat": "Expected",
            "lo_80": "80% from",
            "hi_80": "80% to",
            "lo_95": "95% from",
            "hi_95": "95% to",
        },
    )


def _teams_table(review: Review, teams: pl.DataFrame) -> Table:
    first = teams.filter(pl.col("ds") == teams["ds"].min()).select(
        "unique_id", "lo_80", "hi_80", next_month="yhat"
    )
    sums = teams.group_by("unique_id").agg(pl.col("yhat").sum().alias("all_months"))
    shown = first.join(sums, on="unique_id").sort("all_months", "unique_id", descending=[True, False])
    names = ["next_month", "lo_80", "hi_80", "all_months"]
    return money_table(
        _exact(shown, *names).select("unique_id", *names).head(40),
        title="Forecast per team",
        subtitle="Teams are forecast one by one, so they need not add up to the total's forecast",
        id="forecast-teams",
        currency=review.currency,
        money_columns=dict.fromkeys(names, review.decimals),
        labels={
            "unique_id": "Team",
            "next_month": "Next month",
            "lo_80": "80% from",
            "hi_80": "80% to",
            "all_months": f"Next {MONTHS} months",
        },
    )


def _backtest_table(review: Review, judged: pl.DataFrame) -> Table:
    shown = judged.select(
        pl.col("model").replace(_NAMES),
        "n",
        "mase",
        "smape",
        "bias",
        "coverage_80",
        "coverage_95",
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
