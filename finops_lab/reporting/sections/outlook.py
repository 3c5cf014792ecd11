"""Outlook: the next months at levels that add up, what was said before, a baseline and a backtest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from finops_lab.budgeting.budgets import LEAST_MONTHS
from finops_lab.calendar import month_name
from finops_lab.charts import forecast_fan
from finops_lab.forecasting.hierarchy import TOTAL
from finops_lab.foreseeing import Outlook, keep, strangers
from finops_lab.reporting.section import Section, money
from finops_lab.reporting.sections import outlook_tables as tables
from finops_lab.wording import plural

if TYPE_CHECKING:
    from finops_lab.reporting.monthly import Review

_HISTORY = 36
_NAMED = 3


def build(review: Review) -> Section:
    """Build the section; the forecast is kept for the record, and nothing kept is read."""
    known = review.panel(None).height
    if known < LEAST_MONTHS:
        return Section(
            "forecast",
            f"**No forecast**: the lab has {plural(known, 'month')} of charges up to {review.month_name}, "
            f"at least {LEAST_MONTHS} are needed. Put older exports into `exports/` to get one.",
            values={"missing": "history"},
        )
    made = review.outlook
    if review.ledger.inputs_sha256:
        keep(review.lab, made, review.ledger.inputs_sha256)
    judged = _level(made.backtest, TOTAL)
    parts = (
        _chart(review, made),
        tables.months(review, made),
        *([tables.running(review, made)] if made.open_month.height else []),
        tables.parts(review, made, "team", "Forecast per team", "forecast-teams"),
        *(
            [tables.parts(review, made, "model", "Forecast per model", "forecast-models")]
            if _several(made)
            else []
        ),
        *([tables.changed(review, made)] if made.cleaned.height else []),
        *([tables.ended(review, made)] if made.panels.ended.height else []),
        *([tables.said_and_came(review, made)] if made.accuracy.height else []),
        tables.backtest(review, judged),
    )
    return Section(
        "forecast",
        _finding(review, made, judged),
        parts,
        {
            "months": made.total.to_dicts(),
            "teams": made.teams.to_dicts(),
            "models": made.models.to_dicts(),
            "baseline": made.baseline.to_dicts(),
            "open_month": made.open_month.to_dicts(),
            "cleaned": made.cleaned.to_dicts(),
            "ended": made.panels.ended.to_dicts(),
            "accuracy": made.accuracy.to_dicts(),
            "backtest": judged.drop("level").to_dicts(),
            "backtest_teams": _level(made.backtest, "team").drop("level").to_dicts(),
        },
    )


def _level(frame: pl.DataFrame, level: str) -> pl.DataFrame:
    return frame.filter(pl.col("level") == level)


def _several(made: Outlook) -> bool:
    return made.models["unique_id"].n_unique() > 1


def _finding(review: Review, made: Outlook, judged: pl.DataFrame) -> str:
    whole = made.total
    first = whole.row(0, named=True)
    text = (
        f"**{month_name(first['ds'])} is expected to cost {money(first['yhat'], review.currency)}** "
        f"(80% interval {money(first['lo_80'], review.currency)} to {money(first['hi_80'], review.currency)}); "
        f"the next {whole.height} months {money(whole['yhat'].sum(), review.currency)} in all."
    )
    text += _running(review, made) + _said(review, made) + _checked(judged)
    return text + _jumped(review, made) + _strange(review, made)


def _running(review: Review, made: Outlook) -> str:
    for row in _level(made.open_month, TOTAL).filter(pl.col("yhat").is_not_null()).iter_rows(named=True):
        between = (
            f" (80% interval {money(row['lo_80'], review.currency)} to {money(row['hi_80'], review.currency)})"
            if row["lo_80"] is not None
            else ""
        )
        return (
            f" From its days up to {row['through']:%-d %B}, {month_name(row['ds'])} comes to "
            f"{money(row['yhat'], review.currency)}{between}."
        )
    return ""


def _said(review: Review, made: Outlook) -> str:
    last = _level(made.accuracy, TOTAL).filter(pl.col("ds") == made.panels.month, pl.col("off").is_not_null())
    words = [
        f"{abs(row['off']):.0%} {'too high' if row['off'] > 0 else 'too low'} "
        f"{plural(row['lead'], 'month')} before"
        for row in last.iter_rows(named=True)
    ]
    if not words:
        return ""
    listed = " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
    return f" {month_name(made.panels.month)} would have been forecast {listed}."


def _strange(review: Review, made: Outlook) -> str:
    """Name the events that are of nobody."""
    return "".join(
        f" Note: {said}." if not said.endswith("?") else f" Note: {said}"
        for said in strangers(made.panels, review.lab.config.events)
    )


def _jumped(review: Review, made: Outlook) -> str:
    """Ask about teams whose last month nobody expected: the forecast takes it for a level unless told."""
    last = made.accuracy.filter(
        pl.col("level") == "team", pl.col("ds") == made.panels.month, pl.col("lead") == 1
    )
    above = pl.col("y") > pl.col("hi_95")
    names = last.filter(above).sort(pl.col("y") - pl.col("yhat"), descending=True)["unique_id"].to_list()
    if not names:
        return ""
    listed = ", ".join(f"**{name}**" for name in names[:_NAMED])
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return (
        f" {month_name(made.panels.month)} was far above what was expected a month before for {listed}{more}: what was "
        "a one-off should be an event in finops.toml, or the forecast goes on with it."
    )


def _checked(judged: pl.DataFrame) -> str:
    text = ""
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


def _chart(review: Review, made: Outlook) -> object:
    history = made.panels.of()
    return forecast_fan(
        history.select("ds", "y").tail(_HISTORY),
        made.total,
        made.baseline,
        title=f"Forecast of {review.metric_name}, all teams",
        subtitle=f"Last {min(_HISTORY, history.height)} months and the next {made.total.height}, "
        "with 80% and 95% intervals",
        unit=review.currency,
    )
