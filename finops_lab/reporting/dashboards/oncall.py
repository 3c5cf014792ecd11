"""On-call dashboard: which promises are in danger, what coincides with it, what to do."""

from __future__ import annotations

from typing import Any

import polars as pl

from finops_lab.charts.lines import day_lines
from finops_lab.charts.service_levels import budget_burn_down, burn_rate_lines
from finops_lab.reporting.dashboards.anomalous import anomalous
from finops_lab.reporting.dashboards.board import Board, utc
from finops_lab.reporting.dashboards.error_budgets import error_budgets
from finops_lab.reporting.dashboards.happened import dear_days, releases
from finops_lab.reporting.section import MOST, Section, foremost, money, of_all
from finops_lab.tables import Table, money_table
from finops_lab.unit_economics.histogram import build, quantiles
from finops_lab.unit_economics.latency import interactive
from finops_lab.unit_economics.utilization import gpu_utilization
from finops_lab.wording import plural

__all__ = ["Dashboard"]

_ALERTS, _DEPLOYS, _DAYS = 12, 20, 10
_BUSY = (0.60, 0.85)
# A day is looked at from a quarter more than the median day on.
_DEAR = 1.25
_NO_SLOS = "**No objectives are set**: write `[[slos]]` into `finops.toml`."


class Dashboard(Board):
    """The on-call dashboard."""

    def budgets(self) -> Section:
        """Show every error budget: how much is spent, what is left, when it runs out, what is in doubt."""
        if self.levels.budgets.is_empty():
            return self.nothing("budgets", _NO_SLOS)
        return error_budgets(self, self.levels.budgets, self.levels.calendar)

    def alerts(self) -> Section:
        """Show pages and tickets, what they coincide with, and what to do."""
        levels = self.levels
        if levels.budgets.is_empty():
            return self.nothing("alerts", _NO_SLOS)
        proved = levels.alerts.filter(pl.col("status") == "proved")
        counts = {name: proved.filter(severity=name).height for name in ("page", "ticket")}
        thin = levels.alerts.height - proved.height
        said = f"**{plural(counts['page'], 'page')} and {plural(counts['ticket'], 'ticket')}** "
        said += f"in {self.review.month_name}"
        said += (
            f"; {thin} more are within chance or rest on too few calls seen to wake anybody." if thin else "."
        )
        if proved.is_empty():
            values = {"alerts": levels.alerts.to_dicts(), "actions": []}
            return Section("alerts", said, values=values)
        worst = proved.sort(
            pl.col("severity") != "page",
            pl.col("long_rate"),
            "begin",
            descending=[False, True, False],
            nulls_last=True,
        )
        todo = _todo(self, worst)
        said += _worst(worst.row(0, named=True), todo.row(0, named=True))
        parts: list[object] = [_actions(self, todo), _alerts(self, worst)]
        parts += _burning(self, worst["slo"][0])
        values = {"alerts": levels.alerts.to_dicts(), "actions": levels.actions.to_dicts()}
        return Section("alerts", said, tuple(parts), values)

    def latency(self) -> Section:
        """Show P95 latency by feature, day by day and in the month."""
        figures = self.review.kpis.figures.filter(
            pl.col("month") == self.month, pl.col("kpi") == "M4", pl.col("value").is_not_null()
        )
        features = figures.filter(dimension="feature", measure="p95")
        if features.is_empty():
            return self.nothing("latency", "**No latency is known** in this month.")
        slowest = features.sort("value", "key", descending=[True, False]).row(0, named=True)
        said = f"**{slowest['key'] or 'What names no feature'} is slowest**: "
        said += f"95% of its calls took {slowest['value']:,.0f} ms or less."
        return Section(
            "latency",
            said,
            (_latencies(self, figures), *_latency_days(self)),
            {"features": features.to_dicts()},
        )

    def gpus(self) -> Section:
        """Show GPU utilization by cluster, each kind by itself."""
        days = self.here.gpu_days
        if days.is_empty():
            return self.nothing("gpus", "**No GPU samples** in this month.")
        kind = "gpu_util" if "gpu_util" in set(days["util_kind"]) else days["util_kind"].sort()[0]
        ratio = pl.col("busy_s").cast(pl.Float64).sum() / pl.col("sampled_s").cast(pl.Float64).sum()
        by_day = (
            days.filter(util_kind=kind)
            .group_by("day", group=pl.col("cluster").fill_null("unknown"))
            .agg(value=ratio)
            .sort("day", "group")
        )
        told = gpu_utilization(days, by=("cluster",)).filter(
            pl.col("measure").is_in(sorted(set(days["util_kind"])))
        )
        whole = told.filter(pl.col("dimension").is_null(), pl.col("measure") == kind).row(0, named=True)
        said = f"**GPUs were {float(whole['value']):.1%} busy** by {kind}, {_within(float(whole['value']))}."
        clusters = told.filter(dimension="cluster").pivot(on="measure", index="key", values="value")
        kinds = [name for name in clusters.columns if name != "key"]
        table = money_table(
            clusters.sort("key", nulls_last=True).with_columns(pl.col("key").fill_null("unknown")),
            title=f"GPU utilization by cluster, {self.review.month_name}",
            id="gpu-clusters",
            currency=self.review.currency,
            money_columns=(),
            percent_columns=sorted(kinds),
            labels={"key": "Cluster"} | {name: name for name in kinds},
            unknown="not sampled",
        )
        chart = day_lines(
            by_day,
            title=f"GPU utilization by cluster, {self.review.month_name}",
            unit="ratio",
            value_title=f"GPU time in use ({kind})",
            subtitle="Percent by day (UTC); dashed: the range aimed at. Kinds of utilization are never mixed",
            threshold=_BUSY,
        )
        return Section("gpus", said, (table, chart), {"clusters": told.to_dicts()})

    def money(self) -> Section:
        """Show what was charged day by day: a cost that leaps is an incident too."""
        metric, currency = self.review.metric, self.review.currency
        # Fees and taxes come once a month: they would make a dear day of any.
        used = self.review.entries.filter(ChargeCategory="Usage")
        daily = (
            used.group_by("x_ChargeDate", "ProviderName")
            .agg(pl.col(metric).sum())
            .sort("x_ChargeDate", "ProviderName")
        )
        if daily.is_empty():
            return self.nothing("money", "**Nothing was charged for use** in this month.")
        days = dear_days(used, metric)
        top, usual = days.row(0, named=True), days["usual"][0]
        said = f"**{top['day']} was the dearest day**: {money(top['amount'], currency)} for use"
        said += f", {top['times']:.1f} times the median day" if top["times"] is not None else ""
        if top["above"] and top["above"] > 0:
            said += f"; {top['what']} rose most, by {money(top['above'], currency)}"
        departed = anomalous(self)
        said += f".{departed.said}"
        chart = day_lines(
            daily.select(day="x_ChargeDate", group=pl.col("ProviderName").fill_null("unknown"), value=metric),
            title=f"{self.review.metric_name.capitalize()} of use by day and provider",
            unit=currency,
            value_title=self.review.metric_name.capitalize(),
        )
        dear = days.filter(pl.col("times") >= _DEAR)
        parts = (*departed.parts, chart, *([_dear(self, dear)] if dear.height else []))
        values = {"days": days.sort("day").to_dicts(), "median": usual, "anomalies": departed.values}
        return Section("money", said, parts, values)

    def deploys(self) -> Section:
        """Show the latest deployments, rollbacks and changes of configuration."""
        table = self.review.lab.table("deploys").filter(pl.col("ts") < self.end).collect()
        if table.is_empty():
            return self.nothing(
                "deploys", "**No deployments are known**: put `deploys` files into `exports/`."
            )
        told = releases(table)
        month = told.filter(pl.col("begin") >= self.begin)
        back = month.filter(kind="rollback")
        said = f"**{plural(month.height, 'change')} in {self.review.month_name}**"
        named = back.select(pl.format("{} on {}", "service", pl.col("begin").dt.strftime("%-d %b %H:%M")))
        said += (
            f", {plural(back.height, 'rollback')} among them: {', '.join(named.to_series())}."
            if back.height
            else "."
        )
        latest = told.sort("begin", "service", descending=[True, False]).head(_DEPLOYS)
        table_of = money_table(
            latest.select(
                *utc("begin"), "service", "kind", "version", pl.col("pools").replace(0, None), "status"
            ),
            title="Latest deployments, rollbacks and changes of configuration",
            subtitle="Changes of a service's pools to the same version, less than an hour apart, are one",
            id="deploys",
            currency=self.review.currency,
            money_columns=(),
            number_columns=["pools"],
            labels={"begin": "When (UTC)"},
            unknown="none is named",
        )
        return Section("deploys", said, (table_of,), {"deploys": month.to_dicts()})


def _dear(board: Board, dear: pl.DataFrame) -> Table:
    exact = pl.col("usual", "above").round(2).cast(pl.Decimal(38, 18))
    return money_table(
        dear.with_columns(exact).select("day", "amount", "times", "what", "above").head(_DAYS),
        title="Days far above the median day",
        subtitle=f"From {_DEAR:g} times on; what rose most lies furthest above its own median day",
        id="dear-days",
        currency=board.review.currency,
        money_columns=dict.fromkeys(("amount", "above"), board.review.decimals),
        number_columns={"times": 1},
        labels={"times": "Times the median", "what": "What rose most", "above": "By"},
    )


def _within(busy: float) -> str:
    low, high = _BUSY
    where = "below" if busy < low else "above" if busy > high else "within"
    return f"{where} the {low:.0%} to {high:.0%} aimed at"


def _alerts(board: Board, worst: pl.DataFrame) -> Table:
    return money_table(
        worst.head(_ALERTS).select(
            "slo", "severity", *utc("begin", "end"), "window", "long_rate", "spent_after", "rows"
        ),
        title="Alerts, pages first",
        subtitle=f"The first {_ALERTS} of {worst.height}" if worst.height > _ALERTS else None,
        id="alerts",
        currency=board.review.currency,
        money_columns=(),
        percent_columns={"spent_after": 0},
        number_columns={"long_rate": 1, "rows": 0},
        labels={
            "slo": "Objective",
            "begin": "Begin (UTC)",
            "end": "End (UTC)",
            "long_rate": "Burn rate",
            "spent_after": "Budget spent after",
            "rows": "Events seen",
        },
        unknown="still lasts, or does not apply",
    )


def _todo(board: Board, worst: pl.DataFrame) -> pl.DataFrame:
    """Return the worst alerts with what to do, and what coincides."""
    keys = ["slo", "begin", "severity"]
    first = worst.select(keys).unique(maintain_order=True).head(_ALERTS)
    return first.join(
        board.levels.actions.unique(keys, keep="first", maintain_order=True),
        on=keys,
        how="left",
        maintain_order="left",
    ).with_columns(pl.col("coincides").str.strip_prefix("coincides with "))


def _worst(alert: dict[str, Any], todo: dict[str, Any]) -> str:
    """Say in a sentence what burns most, since when, with what it coincides, and what to do."""
    rate, begin = alert["long_rate"], alert["begin"]
    said = f" **Worst: {alert['slo']}**, from {begin:%-d %B %H:%M} UTC"
    said += f", burning {rate:.1f} times as fast as its budget allows" if rate is not None else ""
    said += f"; it coincides with {todo['coincides']}" if todo["coincides"] else ""
    return f"{said}. {todo['action']}." if todo["action"] else f"{said}."


def _actions(board: Board, todo: pl.DataFrame) -> Table:
    return money_table(
        todo.select("slo", "severity", *utc("begin"), "action", "coincides"),
        title="What to do",
        subtitle="What happened shortly before an alert coincides with it; that it caused it is for you to find out",
        id="actions",
        currency=board.review.currency,
        money_columns=(),
        labels={"slo": "Objective", "begin": "Alert of (UTC)", "coincides": "Coincides with"},
        unknown="nothing is known to have happened shortly before",
    )


def _burning(board: Board, slo: str) -> list[object]:
    """Draw the budget and the burn rates of the objective with the worst alert."""
    levels = board.levels
    spent, burn = levels.spent.filter(slo=slo), levels.burn.filter(slo=slo)
    service = levels.alerts.filter(slo=slo)["service"][0]
    mine = board.review.lab.table("deploys").filter(service=service).collect()
    deploys = releases(mine).select("kind", ts="begin")
    parts: list[object] = []
    if spent["spent"].is_not_null().any():
        title = f"Error budget left: {slo}"
        parts.append(budget_burn_down(spent, levels.alerts.filter(slo=slo), deploys, title=title))
    if burn["long_rate"].is_not_null().any():
        parts.append(burn_rate_lines(burn, title=f"Burn rates: {slo}"))
    return parts


def _latencies(board: Board, figures: pl.DataFrame) -> Table:
    wanted = {"p50": "P50", "p95": "P95", "p99": "P99", "ttft_p95": "First token, P95"}
    rows = figures.filter(pl.col("measure").is_in(list(wanted)), pl.col("dimension") == "feature")
    wide = rows.pivot(on="measure", index="key", values="value", maintain_order=True)
    columns = [name for name in wanted if name in wide.columns]
    return money_table(
        wide.select(pl.col("key").fill_null("unknown"), *columns)
        .sort("p95", "key", descending=[True, False])
        .head(MOST),
        title=f"Latency of interactive calls by feature, ms, {board.review.month_name}",
        subtitle=of_all(
            "slowest features",
            wide.height,
            beside="Read off buckets, within 1%; calls in batches are left out",
        ),
        id="latencies",
        currency=board.review.currency,
        money_columns=(),
        number_columns=dict.fromkeys(columns, 0),
        labels={"key": "Feature"} | {name: wanted[name] for name in columns},
        unknown="not measured",
    )


def _latency_days(board: Board) -> list[object]:
    """Draw the P95 of each day by feature, read off buckets: percentiles are never averaged."""
    calls = board.here.table("inference_requests", "day").filter(pl.col("status") == "ok")
    rows = interactive(calls).with_columns(pl.col("feature").fill_null("unknown"))
    weight = pl.col("n_requests") * pl.col("sample_weight")
    keys = ["day", "feature"]
    found = quantiles(build(rows, "latency_ms", keys, weight), keys, at=[0.95]).collect()
    if found.is_empty():
        return []
    found = foremost(found, pl.col("value"), "feature")
    return [
        day_lines(
            found.select("day", group="feature", value=pl.col("value") / 1000),
            title=f"P95 latency by feature and day, {board.review.month_name}",
            subtitle="Seconds, of interactive calls that succeeded, within 1%; a day of few calls leaps",
            unit="s",
            value_title="P95 latency",
        )
    ]
