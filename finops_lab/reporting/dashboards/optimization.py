"""Optimization dashboard: idle capacity, variants, commitments, what to label and look at."""

from __future__ import annotations

from typing import Any

import polars as pl

from finops_lab import valuing
from finops_lab.charts.capacity import load_curve as draw_loads
from finops_lab.charts.capacity import packing_bars
from finops_lab.money import exact_sum
from finops_lab.reporting.dashboards.autoscaling import autoscaling
from finops_lab.reporting.dashboards.board import Board
from finops_lab.reporting.dashboards.compared import teams
from finops_lab.reporting.dashboards.traffic import traffic
from finops_lab.reporting.section import Section, foremost, money, of_all, percent
from finops_lab.reporting.sections import variants
from finops_lab.tables import Table, money_table
from finops_lab.unit_economics.activity import activity
from finops_lab.unit_economics.adoption import adoption
from finops_lab.unit_economics.capacity import packing, useful_hours
from finops_lab.unit_economics.commitments import commitment_use
from finops_lab.unit_economics.load import daily_load, load_curve
from finops_lab.unit_economics.practice import practice_entries, practice_returns
from finops_lab.unit_economics.utilization import gpu_utilization

__all__ = ["Dashboard"]

_POOLS = 25
_LISTED = 5
_USEFUL = "money_per_useful_gpu_hour"


class Dashboard(Board):
    """The optimization dashboard."""

    def idle(self) -> Section:
        """Show which GPUs nobody used, what that cost, and how tightly pools are packed."""
        days = self.here.gpu_days
        if days.is_empty():
            return self.nothing("idle", "**No GPU samples** in this month.")
        kind = "gpu_util" if "gpu_util" in set(days["util_kind"]) else days["util_kind"].sort()[0]
        told = pl.concat(
            [
                gpu_utilization(days.filter(util_kind=kind), by=("pool_id",)),
                useful_hours(days, kind=kind, by=("pool_id",)),
            ]
        )
        wide = (
            told.filter(dimension="pool_id")
            .pivot(on="measure", index="key", values="value", maintain_order=True)
            .sort(f"{kind}_idle_money", "key", descending=[True, False], nulls_last=True)
        )
        whole = told.filter(pl.col("dimension").is_null())
        idle = whole.filter(measure=f"{kind}_idle_money")["value"][0]
        hours = whole.filter(measure=f"{kind}_idle_gpu_hours")["value"][0]
        said = f"**{hours:,.0f} GPU-hours stood idle**" if hours is not None else "**Idle time is not known**"
        if idle is not None:
            part = whole.filter(measure=f"{kind}_idle_money")["coverage"][0]
            of = "" if part is None or part >= 1 else f"; of the {part:.1%} of GPU time that has a rate"
            said += f"{of}, at {money(idle, 'USD')} by the rates of the samples"
        top = wide.row(0, named=True)
        if (most := top.get(f"{kind}_idle_money")) is not None:
            said += f"; {top['key'] or 'what names no pool'} most, at {money(most, 'USD')}"
        said += "." + _sampled_otherwise(days, kind)
        columns = [
            name
            for name in (kind, f"{kind}_peak", f"{kind}_idle_gpu_hours", f"{kind}_idle_money", _USEFUL)
            if name in wide.columns
        ]
        table = money_table(
            wide.select(pl.col("key").fill_null("unknown"), *columns).head(_POOLS),
            title=f"Idle GPUs by pool, {self.review.month_name}",
            subtitle=f"Idle as {kind} tells it: other kinds of utilization call more time idle",
            id="idle",
            currency="USD",
            money_columns={n: 2 if n == _USEFUL else 0 for n in columns if "money" in n},
            percent_columns=[n for n in columns if n in (kind, f"{kind}_peak")],
            number_columns={n: 0 for n in columns if n.endswith("hours")},
            labels={
                "key": "Pool",
                kind: "Utilization",
                f"{kind}_peak": "Busiest hour",
                f"{kind}_idle_gpu_hours": "Idle GPU-hours",
                f"{kind}_idle_money": "Idle money",
                _USEFUL: "Per GPU-hour in use",
            },
            unknown="rates or samples are missing",
        )
        packed = packing(days, self.here.table("capacity_series", "ts")).filter(util_kind=kind)
        named = packed.with_columns(pl.col("pool_id").fill_null("unknown"))
        bars = packing_bars(named, title=f"GPUs there, held and in use by pool, {self.review.month_name}")
        return Section("idle", said, (table, bars), {"pools": told.to_dicts(), "packing": packed.to_dicts()})

    def autoscaling(self) -> Section:
        """Show by pool whether capacity followed the load: too much, too little, to and fro."""
        return autoscaling(self)

    def load(self) -> Section:
        """Show what tokens cost at each load, and what too little load costs."""
        calls = self.frames.request_days
        # A token of an API costs the same at any load.
        rented = calls.filter(pl.col("hosting") == "api")["model"]
        own = pl.col("model").is_not_null() & ~pl.col("model").is_in(rented.drop_nulls().unique().to_list())
        entries = activity(self.frames.entries, self.frames.rules).filter(
            pl.col("x_model").is_in(calls.filter(own)["model"].unique().to_list()),
            x_Activity="inference",
        )
        loads = daily_load(entries.collect(), calls.filter(own), metric=self.review.metric)
        drawable = loads.filter(pl.col("tokens") > 0, pl.col("money") > 0)
        if drawable.is_empty():
            return self.nothing(
                "load",
                "**No model on capacity of its own has both tokens and money**: requests tell its tokens, "
                "and the ledger must name the model.",
            )
        found = load_curve(loads)
        month = found.points.filter(pl.col("period") >= self.month)
        worst = (
            month.group_by("key")
            .agg(pl.col("penalty").cast(pl.Float64).mean())
            .drop_nulls()
            .sort("penalty", "key", descending=[True, False])
        )
        said = "**Money per token against load**"
        if worst.height:
            key, penalty = worst.row(0)
            said += f": {key} paid on average {penalty:.2f} times what it would at its usual full load"
        columns = ["fixed_per_hour", "variable_per_mtok", "reference_per_mtok"]
        shown = found.fits.select("key", *[c for c in columns if c in found.fits.columns])
        chart = draw_loads(
            found.points,
            found.lines,
            title="Money per 1M tokens against load, by model on capacity of its own",
            unit=self.review.currency,
            subtitle="A point is a day; lines are fixed money per hour spread over tokens, plus money per token",
        )
        used = found.points.select("key", pl.col("tokens_per_hour").cast(pl.Float64))
        table = money_table(
            shown.join(
                foremost(used, pl.col("tokens_per_hour")), on="key", how="semi", maintain_order="left"
            ),
            title="What capacity costs by itself, and what a token adds",
            subtitle=of_all("models with most tokens", shown.height),
            id="load",
            currency=self.review.currency,
            money_columns={c: 4 for c in shown.columns[1:]},
            labels={
                "key": "Model",
                "fixed_per_hour": "Fixed, per hour",
                "variable_per_mtok": "Per 1M tokens more",
                "reference_per_mtok": "Per 1M tokens at full load",
            },
            unknown="too few days, or the load hardly changed",
        )
        return Section("load", said + ".", (chart, table), {"fits": found.fits.to_dicts()})

    def variants(self) -> Section:
        """Compare cost, accuracy and latency of model variants; which to run, and which to retire."""
        return variants.build(self.review, detail=True)

    def commitments(self) -> Section:
        """Show how much of the commitments was used, month by month."""
        told = commitment_use(self.frames.entries, metric=self.review.metric)
        if told.is_empty():
            return self.nothing("commitments", "**No commitments** pay for anything in these months.")
        now = told.filter(pl.col("x_ChargeMonth") == f"{self.month:%Y-%m}")
        unused, paid = (exact_sum(now[name].to_list()) for name in ("unused", "paid"))
        said = (
            f"**{money(unused, self.review.currency)} of commitments stood unused** in {self.review.month_name}, "
            f"{percent(unused, paid)} of what they cost."
            if now.height
            else f"**No commitment pays for anything** in {self.review.month_name}."
        )
        table = money_table(
            told.head(24),
            title="Commitments by month and provider",
            id="commitments",
            currency=self.review.currency,
            money_columns=dict.fromkeys(("used", "unused", "paid"), self.review.decimals),
            percent_columns=["utilization"],
            labels={"x_ChargeMonth": "Month", "ProviderName": "Provider", "paid": "Both"},
            unknown="nothing was paid",
        )
        return Section("commitments", said, (table,), {"months": told.to_dicts()})

    def hidden(self) -> Section:
        """Show AI spend that is not billed as AI, and whether it is worth a practice of its own."""
        lab = self.review.lab
        found = valuing.ai_spend(lab, self.month, self.month, metric=self.review.metric)
        verdict = adoption(found, self.month, lab.config.adoption, currency=self.review.currency)
        mine = found.lines
        outside = mine.filter(~pl.col("in_ai_category"), pl.col("kind") != "not AI")
        sure, possible = (
            exact_sum(outside.filter(pl.col("certain") == certain)["gross"].to_list())
            for certain in (True, False)
        )
        said = (
            f"**{money(sure, self.review.currency)} of AI spend is not billed as AI**, but stands under "
            "other categories."
            if sure
            else "**No charge outside the category of AI is AI spend for certain.**"
        )
        said += f" {money(possible, self.review.currency)} more may be." if possible else ""
        said += f" Is it worth a practice of its own? {verdict.answer}"
        parts = [_kinds(self, mine)] if mine.height else []
        values = {"lines": mine.to_dicts(), "answer": verdict.answer, "verdict": verdict.verdict}
        return Section("hidden", said, tuple(parts), values)

    def teams(self) -> Section:
        """Compare what teams pay for the same model, and with published prices."""
        return teams(self)

    def traffic(self) -> Section:
        """Show what moving, keeping and scanning data costs, whose bytes they were, and edge devices."""
        return traffic(self)

    def practice(self) -> Section:
        """Show what the FinOps practice returned: realised savings over hours and tools."""
        lab = self.review.lab
        if not lab.config.practice:
            return self.nothing(
                "practice",
                "**Savings are not written down**: put `[[practice]]` into `finops.toml` to see their return.",
            )
        returned = practice_returns(practice_entries(lab.config.practice, self.review.currency))
        # Two currencies are never added: each has its own return and its own table.
        several = returned.whole.height > 1
        said = [_returned(one, several) for one in returned.whole.iter_rows(named=True)]
        tables = tuple(
            _practice(returned.work.filter(currency=currency), currency, several)
            for currency in returned.whole["currency"]
        )
        return Section("practice", " ".join(said), tables, {"work": returned.work.to_dicts()})

    def backlog(self) -> Section:
        """Show what to label first: what has no owner cannot be optimised by anybody."""
        return self.review.allocation()


def _sampled_otherwise(days: pl.DataFrame, kind: str) -> str:
    """Name the pools that are not in the table, because no sample of them is of its kind."""
    told = days.filter(util_kind=kind)["pool_id"].unique().to_list()
    others = days.filter(~pl.col("pool_id").is_in(told, nulls_equal=True))
    named = others.select(
        pl.format("{} by {}", pl.col("pool_id").fill_null("what names no pool"), "util_kind")
    )
    pools = sorted(set(named.to_series()))
    return f" Sampled otherwise, and not among these: {', '.join(pools[:_LISTED])}." if pools else ""


def _returned(whole: dict[str, Any], several: bool) -> str:
    """Say what the practice returned in a currency, or why nobody knows."""
    currency = whole["currency"]
    if whole["roi"] is None:
        of = f" in {currency}" if several else ""
        return f"**What the practice returned{of} is not known**: {whole['reason']}."
    saved, spent = (money(whole[name], currency) for name in ("realised_savings", "practice_money"))
    return (
        f"**The practice saved {saved} for {spent} of hours and tools**, {whole['roi']:.2f} times its cost."
    )


def _practice(work: pl.DataFrame, currency: str, several: bool) -> Table:
    columns = ["realised_savings", "practice_money", "net_savings", "avoided_spend"]
    return money_table(
        work.select("what", *columns, "hours", "roi"),
        title=f"What the FinOps practice returned, all months{f', in {currency}' if several else ''}",
        subtitle="Avoided spend is no saving that a bill shows, and is in no sum",
        id=f"practice-{currency.lower()}" if several else "practice",
        currency=currency,
        money_columns=dict.fromkeys(columns, 0),
        number_columns={"hours": 1, "roi": 2},
        labels={
            "what": "Work",
            "practice_money": "Hours and tools",
            "net_savings": "Net",
            "roi": "Times its cost",
        },
        unknown="it cost nothing, or its rate is not known",
    )


def _kinds(board: Board, lines: pl.DataFrame) -> Table:
    sure = pl.when(pl.col("certain")).then(pl.lit("certain")).otherwise(pl.lit("possible"))
    named = pl.when(pl.col("kind") == "not AI").then(pl.lit("no")).otherwise(sure).alias("ai")
    shown = (
        lines.with_columns(named)
        .group_by("kind", "ai", "rule", "ProviderName", "ServiceName", "in_ai_category")
        .agg(pl.col("rows", "gross").sum())
        .sort("gross", "kind", "rule", "ServiceName", descending=[True, False, False, False], nulls_last=True)
        .head(25)
    )
    return money_table(
        shown.select("kind", "ai", "ServiceName", "ProviderName", "in_ai_category", "rule", "rows", "gross"),
        title=f"AI spend by kind, and what the bill calls it, {board.review.month_name}",
        subtitle="Charges above zero; possible is what a rule cannot be sure of",
        id="ai-spend",
        currency=board.review.currency,
        money_columns={"gross": board.review.decimals},
        number_columns=["rows"],
        labels={
            "ai": "AI",
            "ServiceName": "Service",
            "ProviderName": "Provider",
            "in_ai_category": "Billed as AI",
            "rule": "Told by",
            "gross": "Charges",
        },
        unknown="no rule matched",
    )
