"""M10, the burn of error budgets, as figures of a KPI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl

from finops_lab.calendar import add_months, months_from
from finops_lab.errors import each_name
from finops_lab.money import MONEY
from finops_lab.service_levels._chance import MOST_CHANCE
from finops_lab.service_levels._parts import Parts, by_promise
from finops_lab.service_levels.alerts import alerts_of
from finops_lab.service_levels.budgets import budgets_of
from finops_lab.service_levels.burn import LEAST_ROWS, WORKBOOK, Burning, BurnWindow, burns_of, told
from finops_lab.service_levels.promises import COLUMN, allowance, promised
from finops_lab.service_levels.schemas import SLOT_S, SPENT, Schema
from finops_lab.unit_economics.figures import Asked, Definition, together

__all__ = ["BURNED", "DEFINITIONS", "burn_figures", "burned_months", "error_budget_figures"]

_WORKBOOK = "Google, The Site Reliability Workbook (2018), chapter 5, Alerting on SLOs"
_TABLES = ("slos", "inference_requests", "ledger", "accuracy_samples")
BUDGET_SPENT = Definition(
    kpi="M10",
    measure="budget_spent",
    title="Error budget spent",
    unit="ratio",
    numerator_unit="bad events",
    denominator_unit="bad events allowed",
    formula="bad events / ((1 - target) x events of the month), of the objective that spent most; with a limit "
    "in money, what bad events cost / the limit where that is larger",
    tables=_TABLES,
    nothing="no events of an objective in the month",
    source=_WORKBOOK,
)
FAST_BURN_PAGES = Definition(
    kpi="M10",
    measure="fast_burn_pages",
    title="Pages for fast burn",
    unit="pages",
    numerator_unit="pages",
    denominator_unit="months",
    formula="alerts that began while both windows of a pair burned at 14.4 (1 h / 5 m) or 6 (6 h / 30 m) times "
    "the rate that spends the budget in its period, by more than chance",
    tables=("slos", "inference_requests"),
    nothing="too few calls were seen in every window to tell",
    source=f"{_WORKBOOK}, table 5-8",
)
BURN_RATE_PEAK = Definition(
    kpi="M10",
    measure="burn_rate_peak",
    title="Highest burn rate of an hour",
    unit="times the allowed rate",
    numerator_unit="bad events",
    denominator_unit="bad events allowed",
    formula="bad events of the hour / ((1 - target) x events of the hour), the highest; hours of a sampled log "
    "that are above 1 by no more than chance are left out",
    tables=("slos", "inference_requests"),
    nothing="too few calls were seen in every hour to tell",
    source=_WORKBOOK,
)
DEFINITIONS: tuple[Definition, ...] = (BUDGET_SPENT, FAST_BURN_PAGES, BURN_RATE_PEAK)
_HOUR = BurnWindow("1 h", 3_600, 3_600, Decimal(1), "page")


def error_budget_figures(
    events: pl.LazyFrame | pl.DataFrame,
    slos: pl.DataFrame | pl.LazyFrame,
    *,
    months: Sequence[date] | None = None,
    at: datetime | None = None,
    by: str | Sequence[str] = ("feature", "model", "pool"),
    windows: Sequence[BurnWindow] = WORKBOOK,
    least_rows: int = LEAST_ROWS,
    most_chance: float = MOST_CHANCE,
    currency: str = "USD",
) -> pl.DataFrame:
    """Tell how error budgets burned, month by month: the whole lab and every service.

    Parameters
    ----------
    events : polars.LazyFrame or polars.DataFrame
        `finops_lab.service_levels.schemas.EVENTS`.
    slos : polars.DataFrame or polars.LazyFrame
        The `slos` contract.
    months : sequence of datetime.date, optional
        First days; by default those that events fall in.
    at : datetime.datetime, optional
        How far the last month has run; its end by default.
    by : str or sequence of str
        Dimensions of objectives to tell by: ``feature``, ``model``, ``pool``.
    windows, least_rows, most_chance
        As in `finops_lab.service_levels.burn.burn_series`.
    currency : str
        ISO 4217 code for units; limits of objectives are in USD.

    Returns
    -------
    polars.DataFrame
        `finops_lab.unit_economics.schemas.FIGURES` of `DEFINITIONS`. The whole and a service with
        several objectives show the one that spent or burned most; pages are added up. `coverage` is
        the share of events that could be judged.
    """
    by = each_name(by)
    burned = burned_months(
        events, slos, months=months, at=at, windows=windows, least_rows=least_rows, most_chance=most_chance
    )
    return burn_figures(burned, by=by, currency=currency)


def burned_months(
    events: pl.LazyFrame | pl.DataFrame,
    slos: pl.DataFrame | pl.LazyFrame,
    *,
    months: Sequence[date] | None = None,
    at: datetime | None = None,
    windows: Sequence[BurnWindow] = WORKBOOK,
    least_rows: int = LEAST_ROWS,
    most_chance: float = MOST_CHANCE,
) -> pl.DataFrame:
    """Measure how the budget of each objective burned, month by month.

    Parameters are those of `error_budget_figures`. A month needs the events of the three days before
    it too, as far back as the longest window looks.

    Returns
    -------
    polars.DataFrame
        `BURNED`: what `burn_figures` tells. Rows of several objectives or months may be put together.
    """
    promises = promised(slos)
    seen = events.lazy().collect()
    if months is None:
        days = seen.select(
            pl.col("slot").dt.date().min().alias("a"), pl.col("slot").dt.date().max().alias("b")
        )
        first, last = days.row(0)
        months = months_from(first.replace(day=1), last.replace(day=1)) if first else []
    parts = by_promise(seen, promises)
    found = [_month(parts, promises, month, at, windows, least_rows, most_chance) for month in months]
    whole = pl.concat([pl.DataFrame(schema={"slo": pl.String, **_PARTS}), *found])
    named = whole.join(promises.select("slo", "dimension", "service"), on="slo", maintain_order="left")
    return named.select(list(BURNED))


def burn_figures(
    burned: pl.LazyFrame | pl.DataFrame,
    *,
    by: str | Sequence[str] = ("feature", "model", "pool"),
    currency: str = "USD",
) -> pl.DataFrame:
    """Tell as figures how error budgets burned.

    Parameters
    ----------
    burned : polars.LazyFrame or polars.DataFrame
        `BURNED`, from `burned_months`.
    by, currency
        As in `error_budget_figures`.

    Returns
    -------
    polars.DataFrame
        As `error_budget_figures`.
    """
    by = each_name(by)
    whole = burned.lazy().collect()
    found: list[Asked] = []
    for definition in DEFINITIONS:
        mine = whole.filter(measure=definition.measure)
        for dimension in (None, *by):
            of = mine if dimension is None else mine.filter(dimension=dimension)
            groups = of.select(
                "month", key=pl.lit(None, pl.String) if dimension is None else pl.col("service")
            )
            worst = _worst(of.with_columns(groups["key"]), definition)
            column = None if dimension is None else COLUMN[dimension]
            money = worst.filter("by_money")
            limited = replace(definition, numerator_unit="USD", denominator_unit="USD")
            found += [
                Asked(worst.filter(~pl.col("by_money")), definition, column, currency=currency),
                Asked(money, limited, column, currency=currency),
            ]
    order = pl.col("measure").cast(pl.Enum([definition.measure for definition in DEFINITIONS]))
    place = pl.col("dimension").is_not_null()
    return together(found).sort(order, place, "dimension", "month", "key", nulls_last=True)


_PARTS: Schema = {
    "measure": pl.String,
    "month": pl.Date,
    "numerator": MONEY,
    "denominator": MONEY,
    "by_money": pl.Boolean,
    "rows": pl.Int64,
    "judged": MONEY,
    "events": MONEY,
    "reason": pl.String,
}

# How the budget of one objective burned in a month: parts of the figures of each measure.
BURNED: Schema = {**dict.fromkeys(("slo", "dimension", "service"), pl.String), **_PARTS}


def _month(
    parts: Parts,
    promises: pl.DataFrame,
    month: date,
    at: datetime | None,
    windows: Sequence[BurnWindow],
    least_rows: int,
    most_chance: float,
) -> pl.DataFrame:
    """Return one row per objective and measure."""
    begin, end = (datetime(day.year, day.month, 1, tzinfo=UTC) for day in (month, add_months(month, 1)))
    end = min(end, at) if at is not None else end
    if end <= begin:  # the month has not begun
        return pl.DataFrame(schema={"slo": pl.String, **_PARTS})
    after = begin + timedelta(seconds=SLOT_S)
    state = budgets_of(parts, promises, end, calendar=True, least_rows=least_rows, most_chance=most_chance)
    pairs = [window for window in windows if window.severity == "page"]
    rows_of: list[pl.DataFrame] = []
    seen: set[str] = set()
    peaks: dict[str, dict[str, Any]] = {}
    unsure: set[str] = set()
    for burning in burns_of(parts, promises, after, end, [*pairs, _HOUR], least_rows):
        if burning.window is _HOUR:
            found, doubted = _highest_hours(burning, most_chance)
            peaks |= found
            unsure |= doubted
        else:
            rows_of.append(burning.rows(burning.exceeds & ~burning.few, most_chance))
            seen |= {slo for slo, few in zip(burning.slos, burning.few, strict=True) if not few.all()}
    high = told(rows_of, promises, pairs, least_rows)
    burned = alerts_of(high, pl.DataFrame(schema=SPENT), promises, end, windows=pairs).filter(status="proved")
    counted = dict(burned.group_by("slo").len().iter_rows())
    targets = dict(promises.select("slo", "target").iter_rows())
    rows: list[dict[str, Any]] = []
    for row in state.iter_rows(named=True):
        slo, peak = row["slo"], peaks.get(row["slo"])
        room = allowance(targets[slo])
        money = row["spent_by"] == "money"
        base = {"slo": slo, "month": month, "by_money": False, "rows": row["rows"]}
        base |= {"judged": row["total"], "events": row["total"] + row["unknown"], "reason": None}
        base |= {"numerator": None, "denominator": None}
        spent = {
            "measure": BUDGET_SPENT.measure,
            "numerator": row["bad_usd"] if money else row["bad"],
            "denominator": row["budget_usd"] if money else row["allowed_bad"],
            "by_money": money,
            "reason": row["reason"] if row["spent"] is None else None,
        }
        paged: dict[str, Any] = {"measure": FAST_BURN_PAGES.measure}
        if slo in seen:
            paged |= {"numerator": Decimal(counted.get(slo, 0)), "denominator": Decimal(1)}
        fastest: dict[str, Any] = {"measure": BURN_RATE_PEAK.measure}
        if slo in unsure:
            fastest["reason"] = "no hour is above the allowed rate by more than chance"
        if peak is not None:
            allowed = Decimal(room.numerator) * peak["long_total"] / Decimal(room.denominator)
            fastest |= {"numerator": peak["long_bad"], "denominator": allowed, "rows": peak["long_rows"]}
        rows += [base | spent, base | paged, base | fastest]
    return pl.DataFrame(rows, schema={"slo": pl.String, **_PARTS})


def _highest_hours(burning: Burning, most_chance: float) -> tuple[dict[str, dict[str, Any]], set[str]]:
    """Return the hour that burned fastest of each promise, and the promises of which that is in doubt."""
    import numpy as np

    enough = ~burning.few
    above = burning.rows(burning.exceeds & enough, most_chance)
    # A sampled hour above the allowed rate counts where that is more than chance.
    sure = pl.col("proved") | ~pl.col("sampled")
    fastest = above.filter(sure).sort("long_rate", "at", descending=[True, False])
    highest = fastest.unique("slo", keep="first", maintain_order=True)
    # Without an hour that is above it for sure, one below it is the highest only if none is in doubt.
    unsure = set(above.filter(~sure)["slo"]) - set(highest["slo"])
    calm = np.where(enough & ~burning.exceeds & ~np.isnan(burning.long_rate), burning.long_rate, -1.0)
    found = np.zeros_like(enough)
    found[np.arange(len(burning.slos)), calm.argmax(axis=1)] = calm.max(axis=1) >= 0
    below = burning.rows(found, most_chance).filter(~pl.col("slo").is_in([*unsure, *highest["slo"]]))
    return {row["slo"]: row for row in pl.concat([highest, below]).iter_rows(named=True)}, unsure


def _worst(of: pl.DataFrame, definition: Definition) -> pl.DataFrame:
    """Return the worst of each month and key; pages are added up."""
    pages = definition is FAST_BURN_PAGES
    share = pl.col("numerator").cast(pl.Float64) / pl.col("denominator").cast(pl.Float64)
    ranked = of.with_columns(share.fill_nan(None).alias("_share"))
    ranked = ranked.sort(
        "month", "key", pl.col("_share"), "slo", descending=[False, False, True, False], nulls_last=True
    )
    sums = [pl.col(name).sum() for name in ("judged", "events")]
    firsts = ["numerator", "denominator", "by_money", "reason"]
    added = pl.when(pl.col("numerator").count() > 0).then(pl.col("numerator").sum()).alias("numerator")
    found = ranked.group_by("month", "key", maintain_order=True).agg(
        *(pl.col(name).first() for name in firsts if not (pages and name == "numerator")),
        *([added] if pages else []),
        pl.col("rows").sum() if definition is not BURN_RATE_PEAK else pl.col("rows").first(),
        *sums,
    )
    judged, events = pl.col("judged").cast(pl.Float64), pl.col("events").cast(pl.Float64)
    coverage = pl.when(events > 0).then(judged / events).alias("coverage")
    return found.with_columns(coverage).drop("judged", "events")
