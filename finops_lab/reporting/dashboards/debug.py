"""Debug dashboard: where time and GPU-seconds of calls go, retrains, evictions, one trace."""

from __future__ import annotations

import polars as pl

from finops_lab.charts.labels import plural
from finops_lab.charts.timing import duration_steps, trace_waterfall
from finops_lab.errors import InputError
from finops_lab.reporting.dashboards.board import Board
from finops_lab.reporting.section import Section, money
from finops_lab.tables import Table, money_table
from finops_lab.unit_economics.histogram import bounds
from finops_lab.unit_economics.latency import interactive
from finops_lab.unit_economics.traces import slowest_traces, trace_spans

__all__ = ["Dashboard"]

_FEW, _ROWS, _CALLS = 5, 15, 40
_RETRAINS = ("train", "retrain", "finetune", "tune")
_HOUR = 3600


class Dashboard(Board):
    """The debug dashboard."""

    def latency(self) -> Section:
        """Show how long interactive calls took, by model."""
        buckets = interactive(self.here.histograms.filter(metric="latency")).collect()
        if buckets.is_empty():
            return self.nothing("latency", "**No latency is known** in this month.")
        # Five of the histogram's buckets are drawn as one: a range of 10 %.
        wide = pl.col("bucket") - pl.col("bucket") % _FEW
        sums = (
            buckets.group_by("model", wide.alias("bucket"))
            .agg(pl.col("calls").cast(pl.Float64).sum())
            .with_columns(share=pl.col("calls") / pl.col("calls").sum().over("model"))
            .with_columns(bounds(pl.col("bucket"))[1].alias("from_ms"))
            .filter(pl.col("from_ms").is_finite())
            .sort("model", "from_ms", nulls_last=True)
        )
        figures = self.review.kpis.figures.filter(
            pl.col("month") == self.month, kpi="M4", dimension="model"
        ).filter(pl.col("measure").is_in(["p50", "p95", "p99", "ttft_p95"]))
        table = figures.pivot(on="measure", index="key", values="value", maintain_order=True)
        columns = [name for name in ("p50", "p95", "p99", "ttft_p95") if name in table.columns]
        slowest = table.sort("p95", descending=True, nulls_last=True).row(0, named=True)
        return Section(
            "latency",
            f"**{slowest['key'] or 'What names no model'} is slowest**: half of its calls took "
            f"{slowest['p50']:,.0f} ms or less, 95% {slowest['p95']:,.0f} ms or less.",
            (
                duration_steps(
                    sums.select(group=pl.col("model").fill_null("unknown"), from_ms="from_ms", share="share"),
                    title=f"How long calls took by model, {self.review.month_name}",
                    subtitle="Share of a model's interactive calls in ranges of 10%; batches are left out",
                ),
                money_table(
                    table.select(pl.col("key").fill_null("unknown"), *columns),
                    title="Latency by model, ms",
                    id="debug-latency",
                    currency=self.review.currency,
                    money_columns=(),
                    number_columns=dict.fromkeys(columns, 0),
                    labels={
                        "key": "Model",
                        "p50": "P50",
                        "p95": "P95",
                        "p99": "P99",
                        "ttft_p95": "First token, P95",
                    },
                    unknown="not measured",
                ),
            ),
            {"models": table.to_dicts()},
        )

    def resources(self) -> Section:
        """Show what a call uses: tokens, time in the engine, GPU-seconds, money."""
        calls = self.here.table("inference_requests", "day").filter(pl.col("status") == "ok")
        weight = pl.col("n_requests") * pl.col("sample_weight")
        sums = (
            calls.group_by("model")
            .agg(
                pl.len().cast(pl.Int64).alias("rows"),
                weight.sum().alias("calls"),
                *(_mean(name, weight) for name in ("latency_ms", "queue_ms", "prefill_ms", "decode_ms")),
                *(
                    _mean(name, pl.col("sample_weight"), weight)
                    for name in ("input_uncached_tokens", "cache_read_tokens", "output_tokens")
                ),
            )
            .sort("model", nulls_last=True)
            .collect()
        )
        if sums.is_empty():
            return self.nothing("resources", "**No calls are known** in this month.")
        joined = sums.join(self._gpu_seconds(), on="model", how="left", maintain_order="left").with_columns(
            gpu_s=pl.col("busy_s") / pl.col("calls")
        )
        shown = joined.select(
            pl.col("model").fill_null("unknown"),
            "calls",
            "input_uncached_tokens",
            "cache_read_tokens",
            "output_tokens",
            "latency_ms",
            "queue_ms",
            "prefill_ms",
            "decode_ms",
            "gpu_s",
        )
        numbers = {name: 0 for name in shown.columns[1:-1]} | {"gpu_s": 3}
        return Section(
            "resources",
            "**What a successful call uses**, on average over the month's calls; a sampled one counts for those "
            "it stands for.",
            (
                money_table(
                    shown,
                    title=f"Use per call by model, {self.review.month_name}",
                    subtitle="GPU-seconds are busy GPU time of the pools that were sampled / all calls of the model",
                    id="resources",
                    currency=self.review.currency,
                    money_columns=(),
                    number_columns=numbers,
                    labels={
                        "input_uncached_tokens": "Input tokens",
                        "cache_read_tokens": "From cache",
                        "output_tokens": "Output tokens",
                        "latency_ms": "Latency ms",
                        "queue_ms": "Queue ms",
                        "prefill_ms": "Prefill ms",
                        "decode_ms": "Decode ms",
                        "gpu_s": "Busy GPU-seconds",
                    },
                    unknown="not measured",
                ),
            ),
            {"models": shown.to_dicts()},
        )

    def retrains(self) -> Section:
        """Show the month's training attempts, the dearest first."""
        begun = pl.col("ts_start") < self.end
        still = pl.col("ts_end").is_null() | (pl.col("ts_end") >= self.begin)
        jobs = self.here.jobs.filter(begun & still & pl.col("kind").is_in(list(_RETRAINS)))
        if jobs.is_empty():
            return self.nothing("retrains", "**No training ran** in this month.")
        failed = jobs.filter(pl.col("state").is_in(["failed", "cancelled", "timeout", "preempted"]))
        said = f"**{plural(failed.height, 'attempt')} of {jobs.height} came to nothing**"
        if (lost := failed["cost_usd"].sum()) and failed["cost_usd"].null_count() < failed.height:
            said += f", at {money(lost, 'USD')}"
        shown = jobs.sort("cost_usd", "job_id", "attempt", descending=[True, False, False], nulls_last=True)
        columns = ["model", "kind", "state", "ts_start", "wall_hours", "gpu_count", "lost_hours", "cost_usd"]
        hours = [
            (pl.col(f"{name}_s") / _HOUR).alias(to)
            for name, to in (("wall", "wall_hours"), ("lost_work", "lost_hours"))
        ]
        name = pl.format("{} #{}", "job_id", "attempt").alias("attempt")
        return Section(
            "retrains",
            said + ".",
            (
                money_table(
                    shown.with_columns(*hours).select(name, *columns).head(_ROWS),
                    title="Training attempts, the dearest first",
                    subtitle=f"The first {_ROWS} of {jobs.height}" if jobs.height > _ROWS else None,
                    id="retrains",
                    currency="USD",
                    money_columns={"cost_usd": 0},
                    number_columns={"wall_hours": 1, "gpu_count": 0, "lost_hours": 1},
                    labels={
                        "ts_start": "Begin (UTC)",
                        "gpu_count": "GPUs",
                        "lost_hours": "Work lost, hours",
                        "cost_usd": "Reported",
                    },
                    unknown="not known",
                ),
            ),
            {"attempts": jobs.height, "failed": failed.height},
        )

    def evictions(self) -> Section:
        """Show the latest spot evictions and what they cost."""
        lost = self.review.lab.table("spot_evictions").filter(pl.col("ts_lost") < self.end).collect()
        if lost.is_empty():
            return self.nothing("evictions", "**No spot evictions are known.**")
        month = lost.filter(pl.col("ts_lost") >= self.begin)
        figures = self.review.kpis.figures.filter(
            pl.col("month") == self.month, pl.col("dimension").is_null(), kpi="M9", measure="extra_reported"
        )
        extra = figures["value"].drop_nulls()
        said = f"**{plural(month.height, 'eviction')} in {self.review.month_name}**"
        said += f", {money(extra[0], 'USD')} extra" if len(extra) else ""
        shown = lost.sort("ts_lost", "instance_id", descending=[True, False]).head(_ROWS)
        hours = [
            (pl.col(f"{name}_s") / 60).alias(to)
            for name, to in (("lost_work", "lost_minutes"), ("restart", "restart_minutes"))
        ]
        return Section(
            "evictions",
            said + ".",
            (
                money_table(
                    shown.with_columns(*hours).select(
                        "ts_lost", "instance_type", "zone", "kind", "job_id", "lost_minutes", "restart_minutes",
                        "price_usd_per_hour", "fallback_price_usd_per_hour",
                    ),
                    title="Latest spot evictions",
                    id="evictions",
                    currency="USD",
                    money_columns=["price_usd_per_hour", "fallback_price_usd_per_hour"],
                    number_columns={"lost_minutes": 0, "restart_minutes": 0},
                    labels={
                        "ts_lost": "Lost (UTC)",
                        "job_id": "Job",
                        "lost_minutes": "Work lost, minutes",
                        "restart_minutes": "Restart, minutes",
                        "price_usd_per_hour": "Spot, per hour",
                        "fallback_price_usd_per_hour": "Replaced by, per hour",
                    },
                    unknown="not known",
                ),
            ),
            {"month": month.to_dicts()},
        )  # fmt: skip

    def trace(self, trace_id: str = "") -> Section:
        """Show the calls of one trace; the slowest of the month with several calls when none is named."""
        requests = interactive(self.here.table("inference_requests", "day")).collect()
        traced = requests.filter(pl.col("trace_id").is_not_null())
        if traced.is_empty():
            return self.nothing("trace", "**No traces are known** in this month: OTLP exports carry them.")
        several = traced.filter(pl.len().over("trace_id") > 1)
        slowest = slowest_traces(several if several.height else traced, _ROWS)
        chosen = trace_id or (slowest["trace_id"][0] if slowest.height else "")
        try:
            spans = trace_spans(traced, chosen)
        except InputError as error:
            return self.nothing("trace", f"**{error}**")
        took = max(spans["end_ms"].to_list())
        return Section(
            "trace",
            f"**Trace {chosen}** took {took:,.0f} ms in {plural(spans['call'].n_unique(), 'call')}.",
            (
                trace_waterfall(
                    spans.filter(pl.col("call") <= _CALLS),
                    title=f"Trace {chosen}",
                    subtitle="Each bar is a call; colours are its phases, as far as it tells them",
                ),
                _slowest(self, slowest),
            ),
            {"trace_id": chosen, "spans": spans.to_dicts()},
        )

    def _gpu_seconds(self) -> pl.DataFrame:
        """Return busy GPU time by model, of pools whose model requests tell."""
        days = self.here.gpu_days
        kind = "gpu_util" if "gpu_util" in set(days["util_kind"]) else None
        requests = self.here.requests
        named = requests.filter(pl.col("pool_id").is_not_null()).select("pool_id", "model").unique()
        single = named.filter(pl.len().over("pool_id") == 1)
        busy = (
            days.filter(pl.col("util_kind") == kind)
            .group_by("pool_id")
            .agg(pl.col("busy_s").cast(pl.Float64).sum())
        )
        sums = busy.join(single, on="pool_id").group_by("model").agg(pl.col("busy_s").sum())
        return sums.select("model", "busy_s")


def _mean(name: str, weight: pl.Expr, divide_by: pl.Expr | None = None) -> pl.Expr:
    """Average over calls: a row's durations are of one call, its tokens of all its calls."""
    known = pl.col(name).is_not_null()
    below = (weight if divide_by is None else divide_by).filter(known).sum()
    return ((pl.col(name) * weight).filter(known).sum() / below).fill_nan(None).alias(name)


def _slowest(board: Board, slowest: pl.DataFrame) -> Table:
    return money_table(
        slowest,
        title=f"The {slowest.height} slowest traces, {board.review.month_name}",
        subtitle="`board.trace(trace_id)` draws any of them",
        id="traces",
        currency=board.review.currency,
        money_columns=(),
        number_columns={"duration_ms": 0, "calls": 0, "failed": 0},
        labels={"trace_id": "Trace", "begin": "Begin (UTC)", "duration_ms": "Took, ms"},
    )
