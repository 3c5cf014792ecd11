"""Owners: spend by team, model and provider, and every budget."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import polars as pl

from finops_lab import allocation
from finops_lab.allocation import UNALLOCATED
from finops_lab.charts import ranked_bars, variance_bars
from finops_lab.money import exact_sum
from finops_lab.reporting.section import Section, change_words, money, percent
from finops_lab.reporting.sections import budgeted
from finops_lab.tables import Table, money_table

if TYPE_CHECKING:
    from finops_lab.reporting.monthly import Review

_VIEWS = {"team": "team", "model": "model", "provider": "ProviderName"}


def build(review: Review) -> Section:
    """Build the section."""
    frames = {name: _compare(review, by) for name, by in _VIEWS.items()}
    teams = frames["team"].with_columns(
        pl.Series("budget", [review.budget(t) for t in frames["team"]["label"]], dtype=pl.Decimal(38, 18))
    )
    total = review.so_far(review.month) or Decimal(0)
    return Section(
        "owners",
        _finding(review, frames["team"], total) + budgeted.finding(review),
        (_team_chart(review, teams), *[_table(review, n, teams if n == "team" else f) for n, f in frames.items()],
         _model_chart(review, frames["model"]), *budgeted.parts(review)),
        {name: frame.to_dicts() for name, frame in (frames | {"team": teams}).items()}
        | {"budgets": budgeted.values(review)},
    )  # fmt: skip


def _compare(review: Review, by: str) -> pl.DataFrame:
    """Return this month and the one before per value: label, now, before, change, largest first.

    Of a month that is not over, and of the one before, the days that are known.
    """
    panel = allocation.monthly(review.days.within(review.past), by, review.metric)
    found = allocation.changes(panel, review.month, review.previous, by=["unique_id"], month="ds", amount="y")
    return found.rename({"unique_id": "label"})


def _finding(review: Review, teams: pl.DataFrame, total: Decimal) -> str:
    named = teams.filter(pl.col("label") != UNALLOCATED)
    nobody = teams.filter(pl.col("label") == UNALLOCATED)["now"]
    parts = []
    if named.height:
        top = named.row(0, named=True)
        parts.append(
            f"**{top['label']}** is the largest team with {money(top['now'], review.currency)} "
            f"({percent(top['now'], total)} of the total)" + _moved(review, top)
        )
        moved = named.sort(pl.col("change").abs(), "label", descending=[True, False]).row(0, named=True)
        if moved["label"] != top["label"] and moved["change"]:
            parts.append(
                f"**{moved['label']}** moved most: {change_words(moved['now'], moved['before'], review.currency)}"
            )
    left = nobody[0] if nobody.len() else Decimal(0)
    parts.append(
        f"{money(left, review.currency)} ({percent(left, total)}) has no owner yet"
        if left
        else "every charge has an owner"
    )
    return "; ".join(parts) + "."


def _moved(review: Review, row: dict[str, Any]) -> str:
    if row["before"] is None:
        return ""
    before = f"{'the same days of ' if review.days.known else ''}the month before"
    before += review.billed(review.previous) or review.billed(review.month, ", this month has ")
    return f", {change_words(row['now'], row['before'], review.currency)} than {before}"


def _table(review: Review, name: str, frame: pl.DataFrame) -> Table:
    whole = exact_sum(frame["now"].to_list())
    shown = frame.with_columns(
        pl.Series("share", [_share(v, whole) for v in frame["now"]], dtype=pl.Float64),
        pl.Series(
            "change_share",
            [_share(c, b) for c, b in frame.select("change", "before").iter_rows()],
            dtype=pl.Float64,
        ),
    )
    columns = ["label", "now", "share", "before", "change", "change_share"]
    columns += ["budget"] if "budget" in frame.columns else []
    known = frame["before"].null_count() == 0
    totals: dict[str, Any] = {n: frame[n].sum() for n in (("now", "before", "change") if known else ("now",))}
    return money_table(
        shown.select(columns).head(40),
        title=f"{review.metric_name.capitalize()} by {name}{review.days.after}",
        id=f"by-{name}",
        currency=review.currency,
        money_columns=dict.fromkeys(
            [c for c in ("now", "before", "change", "budget") if c in columns], review.decimals
        ),
        percent_columns=["share", "change_share"],
        labels={
            "label": name.capitalize(),
            "now": review.month_name,
            "share": "Share",
            "before": "Same days before" if review.days.known else "Month before",
            "change": "Change",
            "change_share": "Change %",
        },
        total_row=totals,
        unknown="not known or not set",
    )


def _share(part: Decimal | None, whole: Decimal | None) -> float | None:
    return float(part / whole) if part is not None and whole else None


def _team_chart(review: Review, teams: pl.DataFrame) -> object:
    title = f"{review.month_name}{review.days.after}: {review.metric_name} by team"
    if teams["budget"].null_count() == teams.height:
        return ranked_bars(teams.select("label", amount="now"), title=title, unit=review.currency)
    return variance_bars(
        teams.select("label", "budget", actual="now"),
        title=title + " against budget",
        unit=review.currency,
    )


def _model_chart(review: Review, models: pl.DataFrame) -> object:
    return ranked_bars(
        models.select("label", amount="now"),
        title=f"{review.month_name}{review.days.after}: {review.metric_name} by model",
        subtitle="“unknown” is spend that no rule ties to a model",
        unit=review.currency,
    )
