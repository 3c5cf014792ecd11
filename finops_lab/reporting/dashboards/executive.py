"""Executive dashboard: what AI costs, whom it serves, what it returns, what comes next."""

from __future__ import annotations

import polars as pl

from finops_lab import allocation
from finops_lab.calendar import add_months, format_month, month_name
from finops_lab.charts import spend_trend
from finops_lab.reporting.dashboards.ai_trend import ai_trend
from finops_lab.reporting.dashboards.anomalous import anomalous
from finops_lab.reporting.dashboards.board import Board
from finops_lab.reporting.section import MOST, Section, change_words, foremost, money, of_all
from finops_lab.tables import Table, money_table
from finops_lab.unit_economics.features import against_revenue
from finops_lab.wording import plural

__all__ = ["Dashboard"]

_MONTHS = 12
_MOVES = 10


class Dashboard(Board):
    """The executive dashboard."""

    def spend(self) -> Section:
        """Spend of the month against budget, month before and forecast; the trend of AI spend and by model."""
        review = self.review
        glance = review.headline()
        first = add_months(review.month, 1 - _MONTHS)
        panel = review.panel("model").filter(pl.col("ds") >= first)
        spent = panel.select(month="ds", group="unique_id", amount="y")
        largest = foremost(spent, pl.col("amount").abs(), "group")["group"].unique().implode()
        rest = pl.when(pl.col("group").is_null() | pl.col("group").is_in(largest)).then("group")
        chart = spend_trend(
            spent.with_columns(rest.otherwise(pl.lit("smaller models")))
            .group_by("month", "group", maintain_order=True)
            .agg(pl.col("amount").sum()),
            title="Spend per month by model",
            subtitle=f"{review.metric_name.capitalize()} of the whole bill, last "
            f"{plural(panel['ds'].n_unique(), 'month')}; unknown is what serves no model that is named"
            + (f"; {review.month_name} has {review.days.words}" if review.days.known else ""),
            unit=review.currency,
        )
        # The trend by provider is the review's: here AI stands beside the rest of the same bill.
        (table, _), ai = glance.parts, ai_trend(self)
        values = {**glance.values, "ai_spend": ai.values}
        return Section("headline", glance.finding + ai.said, (table, ai.chart, chart), values)

    def scorecard(self) -> Section:
        """Show the twelve KPIs."""
        return self.review.scorecard()

    def teams(self) -> Section:
        """Spend by team, model and provider, against budgets and the month before."""
        return self.review.owners()

    def causes(self) -> Section:
        """Say why spend changed."""
        return self.review.causes()

    def value(self) -> Section:
        """Set what features cost against what they bring."""
        figures = self.review.kpis.figures.filter(kpi="M12")
        months = against_revenue(figures.filter(pl.col("dimension").is_null()))
        features = figures.filter(pl.col("month") == self.month, dimension="feature")
        if months.filter(pl.col("month") == self.month).is_empty():
            told = self.review.lab.table("feature_value").head(1).collect().height
            return self.nothing("value", _no_revenue(figures.filter(pl.col("month") == self.month), told > 0))
        now = months.filter(pl.col("month") == self.month).row(0, named=True)
        before = months.filter(pl.col("month") == self.review.previous)["ratio"]
        said = f"**Features cost {now['ratio']:.1%} of the revenue they brought**"
        if len(before):
            said += f", after {before[0]:.1%} in {month_name(self.review.previous)}"
        said += (
            f": {money(now['cost'], self.review.currency)} for {money(now['revenue'], self.review.currency)}."
        )
        return Section(
            "value",
            said,
            (_features(self, features), _revenue_chart(self, months)),
            {"months": months.to_dicts(), "features": features.to_dicts()},
        )

    def changes(self) -> Section:
        """Show the ten largest changes since the month before, by team, service and model."""
        review = self.review
        before, days = f"{month_name(review.previous)}{review.days.beside}", review.days
        if review.so_far(review.previous) is None:
            return self.nothing(
                "changes", f"**Nothing to compare with**: the lab has no charges of {before}."
            )
        keys = ["x_team", "ServiceName", "x_model"]
        moved = allocation.changes(
            days.within(review.past),
            format_month(review.month),
            format_month(review.previous),
            by=keys,
            amount=review.metric,
        )
        top = moved.filter(pl.col("change") != 0).sort(
            pl.col("change").abs(), *keys, descending=[True, False, False, False], nulls_last=True
        )
        if top.is_empty():
            return self.nothing("changes", "**Nothing changed** by team and service since the month before.")
        largest = top.row(0, named=True)
        what = " · ".join(str(largest[key]) for key in keys if largest[key])
        said = f"**The largest change is {what}**, {change_words(largest['now'], largest['before'], review.currency)} "
        short = [(month, review.billed(month, "has ")) for month in (review.month, review.previous)]
        missing = "".join(f"; {month_name(month)} {words}" for month, words in short if words)
        said += f"than in {before}{missing}.{_lost(self)}"
        departed = anomalous(self)
        said += departed.said
        name = pl.concat_str("x_team", "ServiceName", "x_model", separator=" · ", ignore_nulls=True)
        shown = top.head(_MOVES).select(name.alias("what"), "before", "now", "change")
        table = money_table(
            shown,
            title=f"The {min(_MOVES, top.height)} largest changes since {before}",
            subtitle="By team, service and model; 0 is no charge in that month",
            id="changes",
            currency=review.currency,
            money_columns=dict.fromkeys(("before", "now", "change"), review.decimals),
            labels={
                "what": "Team · service · model",
                "before": before,
                "now": f"{review.month_name}{days.beside}",
            },
        )
        values = {"changes": top.head(_MOVES).to_dicts(), "anomalies": departed.values}
        return Section("changes", said, (table, *departed.parts), values)

    def forecast(self) -> Section:
        """Show the next six months, with intervals and how good such forecasts were."""
        return self.review.forecast()


def _no_revenue(figures: pl.DataFrame, told: bool) -> str:
    """Say why cost cannot be held against revenue: what the margin's figure says, where there is one."""
    margin = figures.filter(pl.col("dimension").is_null(), measure="margin")["reason"].drop_nulls()
    if margin.is_empty() or not told:
        return "**No revenue is known**: put `feature_value` files into `exports/` to see cost against it."
    return f"**Cost cannot be held against revenue**: {margin[0]}."


def _lost(board: Board) -> str:
    """Say what training that came to nothing cost, where any did."""
    lost = board.review.kpis.figures.filter(
        pl.col("month") == board.month,
        pl.col("dimension").is_null(),
        kpi="M8",
        measure="retrain_failed_attempts",
    )["value"].drop_nulls()
    if lost.is_empty() or lost[0] <= 0:
        return ""
    return f" Retrains that came to nothing cost {money(lost[0], 'USD')}: the debug dashboard names them."


def _features(board: Board, features: pl.DataFrame) -> Table:
    named = features.filter(pl.col("key").is_not_null())
    wide = named.pivot(on="measure", index="key", values="value", maintain_order=True)
    # The cost of a call is M1's: of the calls whose money the feature has.
    per_call = board.review.kpis.by("feature", "M1").select("key", allocated_per_call="value")
    wide = wide.join(per_call, on="key", how="left", maintain_order="left")
    columns = [
        name
        for name in ("allocated", "revenue", "margin_money", "allocated_per_call", "margin")
        if name in wide.columns
    ]
    shown = wide.select("key", *columns).sort("allocated", "key", descending=[True, False], nulls_last=True)
    whole = board.review.decimals
    return money_table(
        shown.head(MOST),
        title=f"Features: cost against revenue, {board.review.month_name}",
        subtitle=of_all(
            "features with the highest cost",
            shown.height,
            beside="Inference is told by the ledger; revenue is what feature_value files tell",
        ),
        id="features",
        currency=board.review.currency,
        money_columns={n: 5 if n == "allocated_per_call" else whole for n in columns if n != "margin"},
        percent_columns=["margin"] if "margin" in columns else [],
        labels={
            "key": "Feature",
            "allocated": "Inference cost",
            "margin_money": "Revenue left",
            "allocated_per_call": "Inference cost per call",
        },
        unknown="its cost, its revenue or its calls are not known",
    )


def _revenue_chart(board: Board, months: pl.DataFrame) -> object:
    shown = months.tail(_MONTHS)
    bars = pl.concat(
        [
            shown.select("month", group=pl.lit("inference cost"), amount="cost"),
            shown.select(
                "month",
                group=pl.lit("revenue left"),
                amount="left",
            ),
        ]
    )
    return spend_trend(
        bars,
        title="What features brought, and what of it inference cost",
        subtitle=f"{board.review.currency} per month, of the features whose revenue is known",
        unit=board.review.currency,
        value_title="Revenue",
    )
