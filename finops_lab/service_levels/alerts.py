"""Alerts of a span of time: burn rates above their thresholds, budgets spent to their levels."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import polars as pl

from finops_lab.service_levels._chance import MOST_CHANCE
from finops_lab.service_levels._sliding import whole_slots
from finops_lab.service_levels.budgets import LEVELS
from finops_lab.service_levels.burn import LEAST_ROWS, WORKBOOK, BurnWindow, burn_series
from finops_lab.service_levels.promises import promised
from finops_lab.service_levels.schemas import ALERTS, PROMISE, SLOT_S
from finops_lab.service_levels.spending import spent_series

__all__ = ["alerts", "alerts_of"]

_SLOT = timedelta(seconds=SLOT_S)


def alerts(
    events: pl.LazyFrame | pl.DataFrame,
    slos: pl.DataFrame | pl.LazyFrame,
    first: datetime,
    last: datetime,
    *,
    windows: Sequence[BurnWindow] = WORKBOOK,
    least_rows: int = LEAST_ROWS,
    most_chance: float = MOST_CHANCE,
    gap: timedelta | None = None,
) -> pl.DataFrame:
    """Find the alerts after one moment and up to another: pages and tickets.

    An alert lasts while a pair of windows of its severity burns, or the budget of the calendar month
    is spent to its level: a ticket from 40 %, a page from 80 %, each once a month. They are told by
    the month, since a rolling budget can stay at the same level for weeks. An alert begins at the
    first moment that proves it and ends when no pair exceeds its rate. Where the log holds too few
    rows to tell, or no more bad rows than chance may bring, `status` says so: such a row is no alert.

    Parameters
    ----------
    events : polars.LazyFrame or polars.DataFrame
        `finops_lab.service_levels.schemas.EVENTS`; those before `first` count for long windows and
        for the month's budget.
    slos : polars.DataFrame or polars.LazyFrame
        The `slos` contract.
    first, last : datetime.datetime
        With a time zone.
    windows, least_rows, most_chance
        As in `finops_lab.service_levels.burn.burn_series`.
    gap : datetime.timedelta, optional
        Pauses up to this do not end an alert of a burn rate. By default the longest short window of
        its severity: half an hour for pages, six hours for tickets.

    Returns
    -------
    polars.DataFrame
        `finops_lab.service_levels.schemas.ALERTS`, sorted by begin, name, severity and kind.
    """
    after = whole_slots(first) + _SLOT  # a moment ends a slot: midnight belongs to the day before
    series = burn_series(
        events, slos, after, last, windows=windows, least_rows=least_rows, most_chance=most_chance
    )
    spent = spent_series(events, slos, after, last, least_rows=least_rows, most_chance=most_chance)
    return alerts_of(series, spent, slos, last, windows=windows, gap=gap)


def alerts_of(
    series: pl.DataFrame,
    spent: pl.DataFrame,
    slos: pl.DataFrame | pl.LazyFrame,
    last: datetime,
    *,
    windows: Sequence[BurnWindow] = WORKBOOK,
    gap: timedelta | None = None,
) -> pl.DataFrame:
    """Find the alerts in series that are there already.

    Parameters
    ----------
    series, spent : polars.DataFrame
        From `burn_series` and `spent_series`, of the same span.
    slos, last, windows, gap
        As in `alerts`.

    Returns
    -------
    polars.DataFrame
        As of `alerts`.
    """
    promises = promised(slos).select(PROMISE.keys())
    found = pl.concat([_burning(series, windows, gap), _spent(spent)])
    # One that burned until the last moment there is has not ended.
    latest = (
        pl.concat([series.select("slo", "at"), spent.select("slo", "at")])
        .group_by("slo")
        .agg(pl.col("at").max())
    )
    found = found.join(latest, on="slo", how="left")
    ended = pl.when(pl.col("_to") < pl.col("at")).then(pl.col("_to"))
    frame = found.join(promises, on="slo").with_columns(ended.alias("end"))
    mine = spent.filter(pl.col("spent").is_not_null() & pl.col("slo").is_in(frame["slo"].unique().implode()))
    for name, moment in (("spent_before", "begin"), ("spent_after", "_to")):
        known = mine.select("slo", pl.col("at").alias(moment), pl.col("spent").alias(name))
        frame = frame.sort(moment).join_asof(known, on=moment, by="slo", check_sortedness=False)
    return frame.select(list(ALERTS)).sort("begin", "slo", "severity", "kind", "status")


def _burning(series: pl.DataFrame, windows: Sequence[BurnWindow], gap: timedelta | None) -> pl.DataFrame:
    pauses = [
        (severity, max(w.short_s for w in windows if w.severity == severity) * 10**6)
        for severity in dict.fromkeys(window.severity for window in windows)
    ]
    pause = pl.DataFrame(pauses, schema={"severity": pl.String, "_pause": pl.Int64}, orient="row")
    if gap is not None:
        pause = pause.with_columns(pl.lit(gap // timedelta(microseconds=1)).alias("_pause"))
    high = series.filter("exceeds").join(pause, on="severity").sort("slo", "severity", "at", "window")
    chance, burning = pl.col("status") == "within chance", pl.col("status") == "burning"
    enough = _runs(high.filter(burning | chance))
    # What is proved goes on while the rates are exceeded: no proof is asked for anew.
    proved = _burned(enough, burning, windows).with_columns(status=pl.lit("proved"))
    ends = enough.group_by(_RUN).agg(pl.col("at").max().alias("_to"))
    proved = proved.drop("_to").join(ends, on=_RUN)
    runs = _runs(high)
    # What some moments prove is told already.
    doubted = runs.filter(~burning.any().over(_RUN))
    asked = chance | ~chance.any().over(_RUN)
    spans = doubted.group_by(_RUN).agg(pl.col("at").min().alias("begin"), pl.col("at").max().alias("_to"))
    unproved = _burned(doubted, asked, windows).drop("begin", "_to").join(spans, on=_RUN)
    return pl.concat([part.select(list(_FOUND)) for part in (proved, unproved)])


_RUN = ["slo", "severity", "_run"]


def _runs(moments: pl.DataFrame) -> pl.DataFrame:
    """Give moments of an objective and severity that are no further apart than a pause the same number."""
    of = ["slo", "severity"]
    apart = (pl.col("at").diff().dt.total_microseconds().over(of) > pl.col("_pause")).fill_null(True)
    return moments.with_columns(apart.cum_sum().over(of).alias("_run"))


def _burned(runs: pl.DataFrame, asked: pl.Expr, windows: Sequence[BurnWindow]) -> pl.DataFrame:
    """Return one row per run that has moments that are asked for: those, at their peak."""
    peak = ("threshold", "long_rate", "short_rate", "long_rows", "status", "reason")
    named = [pl.when((pl.col("window") == w.name).any()).then(pl.lit(w.name)).alias(w.name) for w in windows]
    fastest = runs.filter(asked).sort("long_rate", "at", "window", descending=[True, False, False])
    found = fastest.group_by(_RUN, maintain_order=True).agg(
        pl.col("at").min().alias("begin"),
        pl.col("at").max().alias("_to"),
        pl.col(peak).first(),
        *named,
    )
    said = pl.concat_str([pl.col(w.name) for w in windows], separator=", ", ignore_nulls=True)
    kind = pl.lit("burn rate").alias("kind")
    return found.with_columns(kind, said.alias("window")).rename({"long_rows": "rows"})


def _spent(spent: pl.DataFrame) -> pl.DataFrame:
    levels = {name: f"{level * 100:.0f} % of the month's budget" for name, level in LEVELS}
    month = (pl.col("at") - pl.duration(microseconds=1)).dt.truncate("1mo").alias("_month")
    keys = ["slo", "severity", "_month"]
    span = [pl.col("at").min().alias("begin"), pl.col("at").max().alias("_to"), pl.col("rows").max()]
    dated = spent.with_columns(month)
    proved = dated.filter(pl.col("severity").is_not_null()).group_by(keys).agg(span)
    doubted = dated.filter(pl.col("unproved").is_not_null()).with_columns(severity="unproved")
    # The last moment saw most rows.
    unproved = doubted.group_by(keys).agg(*span, pl.col("reason").sort_by("at").last())
    unproved = unproved.join(proved, on=keys, how="anti")
    spans = pl.concat(
        [
            proved.with_columns(pl.lit("proved").alias("status"), pl.lit(None, pl.String).alias("reason")),
            unproved.with_columns(pl.lit("within chance").alias("status")).select(
                *proved.columns, "status", "reason"
            ),
        ]
    ).with_columns(
        pl.lit("budget spent").alias("kind"),
        pl.col("severity").replace_strict(levels, return_dtype=pl.String).alias("window"),
    )
    absent = [pl.lit(None, kind).alias(name) for name, kind in _FOUND.items() if name not in spans.columns]
    return spans.with_columns(absent).select(list(_FOUND))


_FOUND = {
    **{
        name: kind
        for name, kind in ALERTS.items()
        if name not in (*PROMISE, "end", "spent_before", "spent_after")
    },
    "slo": pl.String,
    "_to": ALERTS["begin"],
}
