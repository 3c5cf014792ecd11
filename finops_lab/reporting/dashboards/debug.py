"""Debug dashboard: where time and GPU-seconds of calls go, retrains, evictions, one trace."""

from __future__ import annotations

from typing import Any

import polars as pl

from finops_lab.charts.timing import duration_steps, trace_waterfall
from finops_lab.errors import InputError
from finops_lab.reporting.dashboards.board import Board, utc
from finops_lab.reporting.section import Section, foremost, money, of_all
from finops_lab.tables import Table, money_table
from finops_lab.unit_economics.histogram import INFINITE, ZERO, bounds
from finops_lab.unit_economics.latency import interactive
from finops_lab.unit_economics.traces import slowest_traces, trace_spans
from finops_lab.wording import plural

__all__ = ["Dashboard"]

_FEW, _ROWS, _CALLS, _DRAWN = 5, 15, 40, 7
_RETRAINS = ("train", "retrain", "finetune", "tune")
_HOUR = 3600


class Dashboard(Board):
    """The debug dashboard."""

    def latency(self) -> Section:
        """Show how long interactive calls took, by model."""
        # A duration of zero or without end has no place on a logarithmic axis.
        drawable = ~pl.col("bucket").is_in([ZERO, INFINITE])
        buckets = interactive(self.here.histograms.filter(drawable, metric="latency")).collect()
        if buckets.is_empty():
            return self.nothing("latency", "**No latency is known** in this month.")
        # Five of the histogram's buckets are drawn as one: a range of 10 %.
        wide = pl.col("bucket") - pl.col("bucket") % _FEW
        sums = (
            buckets.group_by("model", wide.alias("bucket"))
            .agg(pl.col("calls").cast(pl.Float64).sum())
            .with_columns(share=pl.col("calls") / pl.col("calls").sum().over("model"))
        )
        models = sums["model"].n_unique()
        sums = foremost(sums, pl.col("calls"), "model", _DRAWN)
        # A range without calls is drawn as none, and so is the one after the last.
        grid = sums.group_by("model").agg(first=pl.col("bucket").min(), last=pl.col("bucket").max() + _FEW)
        ranges = pl.int_ranges("first", pl.col("last") + 1, _FEW, dtype=pl.Int32).alias("bucket")
        every = grid.select("model", ranges).explode("bucket")
        steps = (
            every.join(sums, on=["model", "bucket"], how="left", nulls_equal=True)
            .with_columns(pl.col("share").fill_null(0.0), bounds(pl.col("bucket"))[1].alias("from_ms"))
            .sort("model", "from_ms", nulls_last=True)
        )
        figures = self.review.kpis.figures.filter(
            pl.col("month") == self.month, kpi="M4", dimension="model"
        ).filter(pl.col("measure").is_in(["p50", "p95", "p99", "ttft_p95"]))
        table = figures.pivot(on="measure", index="key", values="value", maintain_order=True)
        columns = [name for name in ("p50", "p95", "p99", "ttft_p95") if name in table.columns]
        slowest = table.sort("p95", "key", descending=[True, False], nulls_last=True).row(0, named=True)
        return Section(
            "latency",
            f"**{slowest['key'] or 'What names no model'} is slowest**: half of its calls took "
            f"{slowest['p50']:,.0f} ms or less, 95% {slowest['p95']:,.0f} ms or less.",
            (
                duration_steps(
                    steps.select(
                        group=pl.col("model").fill_null("unknown"), from_ms="from_ms", share="share"
                    ),
                    title=f"How long calls took by model, {self.review.month_name}",
                    subtitle=of_all(
                        "models with most calls",
                        models,
                        _DRAWN,
                        beside="Share of a model's interactive calls in ranges of 10%; batches are left out",
                    ),
                ),
                money_table(
                    foremost(table, pl.col("p95")).select(pl.col("key").fill_null("unknown"), *columns),
                    title="Latency by model, ms",
                    subtitle=of_all("slowest models", table.height),
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
        # What waits for hours in a batch tells nothing of where the time of a call goes.
        calls = interactive(self.here.table("inference_requests", "day")).filter(pl.col("status") == "ok")
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
        joined = sums.join(
            self._gpu_seconds(), on="model", how="left", maintain_order="left", nulls_equal=True
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
            _most(shown),
            (
                money_table(
                    foremost(shown, pl.col("calls"), "model"),
                    title=f"Use per call by model, {self.review.month_name}",
                    subtitle=of_all(
                        "models with most calls",
                        shown.height,
                        beside="Averages of calls that succeeded, without batches; GPU-seconds are busy GPU "
                        "time of sampled pools / calls of those pools",
                    ),
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
            said += _dearest(failed)
        shown = jobs.sort("cost_usd", "job_id", "attempt", descending=[True, False, False], nulls_last=True)
        last = ["wall_hours", "gpu_count", "lost_hours", "cost_usd"]
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
                    shown.with_columns(*hours)
                    .select(name, "model", "state", *utc("ts_start"), *last)
                    .head(_ROWS),
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
            {"attempts": jobs.height, "failed": failed.height, "nothing": _nothing(failed)},
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
        extra = figures.filter(pl.col("value").is_not_null())
        shown = lost.sort("ts_lost", "instance_id", descending=[True, False], nulls_last=True).head(_ROWS)
        if month.height:
            said = f"**{plural(month.height, 'eviction')} in {self.review.month_name}**"
            said += _extra(extra.row(0, named=True)) if extra.height else ""
        else:
            said = f"**No evictions in {self.review.month_name}**"
            said += f"; the latest was on {shown['ts_lost'][0]:%Y-%m-%d}"
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
                        *utc("ts_lost"), "instance_type", "kind", "job_id", "lost_minutes", "restart_minutes",
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
        """Show the calls of one trace; the slowest with most calls that tell their phases when none is named."""
        requests = interactive(self.here.table("inference_requests", "day")).collect()
        traced = requests.filter(pl.col("trace_id").is_not_null())
        if traced.is_empty():
            return self.nothing("trace", "**No traces are known** in this month: OTLP exports carry them.")
        slowest = slowest_traces(traced, _ROWS)
        chosen = trace_id or _telling(traced)
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
        """Return busy GPU time per call by model: of sampled pools that serve one model alone."""
        days = self.here.gpu_days
        busy = (
            # Other kinds tell how well a GPU was used, not how long.
            days.filter(pl.col("util_kind") == "gpu_util")
            .group_by("pool_id")
            .agg(pl.col("busy_s").cast(pl.Float64).sum())
        )
        pools = (
            self.here.requests.filter(pl.col("pool_id").is_not_null())
            .group_by("pool_id")
            .agg(
                pl.col("model").unique(),
                (pl.col("calls_ok") + pl.col("calls_failed")).cast(pl.Float64).sum().alias("finished"),
            )
            .filter(pl.col("model").list.len() == 1)
            .with_columns(pl.col("model").list.first())
        )
        sums = pools.join(busy, on="pool_id").group_by("model").agg(pl.col("busy_s", "finished").sum())
        per_call = pl.when(pl.col("finished") > 0).then(pl.col("busy_s") / pl.col("finished"))
        return sums.select("model", per_call.alias("gpu_s"))


def _extra(figure: dict[str, Any]) -> str:
    """Say what evictions cost; some may not tell it."""
    more = " or more" if figure["lower"] is not None and figure["upper"] is None else ""
    return f", {money(figure['value'], 'USD')}{more} extra"


def _nothing(failed: pl.DataFrame) -> list[dict[str, Any]]:
    """Return jobs and attempts that came to nothing, for the page's figures."""
    columns = ["job_id", "attempt", "model", "state", "ts_start", "wall_s", "gpu_count", "cost_usd"]
    return failed.select(columns).sort("job_id", "attempt", nulls_last=True).to_dicts()


def _dearest(failed: pl.DataFrame) -> str:
    """Name the job whose attempts came to nothing at the highest price."""
    jobs = (
        failed.group_by("job_id")
        .agg(pl.col("cost_usd").sum(), pl.len().alias("attempts"))
        .sort("cost_usd", "job_id", descending=[True, False])
    )
    top = jobs.row(0, named=True)
    return f"; {top['job_id']} alone {plural(top['attempts'], 'time')}, at {money(top['cost_usd'], 'USD')}"


def _mean(name: str, weight: pl.Expr, divide_by: pl.Expr | None = None) -> pl.Expr:
    """Average over calls: a row's durations are of one call, its tokens of all its calls."""
    known = pl.col(name).is_not_null()
    below = (weight if divide_by is None else divide_by).filter(known).sum()
    return ((pl.col(name) * weight).filter(known).sum() / below).fill_nan(None).alias(name)


def _most(shown: pl.DataFrame) -> str:
    """Say which model's calls use most GPU time, or else take longest, and what they wait for."""
    by = "gpu_s" if shown["gpu_s"].drop_nulls().len() else "latency_ms"
    if shown[by].drop_nulls().is_empty():
        return "**Durations of calls are not known** in this month."
    top = shown.sort(by, "model", descending=[True, False], nulls_last=True).row(0, named=True)
    said = f"**A call of {top['model'] or 'what names no model'} "
    if by == "gpu_s":
        seconds = f"{top['gpu_s']:,.0f}" if top["gpu_s"] >= 100 else f"{top['gpu_s']:.3g}"
        said += f"uses {seconds} busy GPU-seconds**, the most of all models"
        if top["latency_ms"] is None:
            return f"{said}."
        said += f", and takes {top['latency_ms']:,.0f} ms on average"
    else:
        said += f"takes longest**, {top['latency_ms']:,.0f} ms on average"
    phases = {name: top[f"{name}_ms"] for name in ("queue", "prefill", "decode")}
    known = {name: length for name, length in phases.items() if length is not None}
    if known and top["latency_ms"] > 0:
        longest = max(known, key=lambda name: known[name])
        said += f", {known[longest] / top['latency_ms']:.0%} of it in {longest}"
    return f"{said}."


def _telling(traced: pl.DataFrame) -> str:
    """Choose the slowest trace of those with several calls that all tell their phases, if there are any."""
    phases = pl.any_horizontal(pl.col("queue_ms", "prefill_ms", "decode_ms", "ttft_ms").is_not_null())
    several = traced.filter(pl.len().over("trace_id") > 1)
    told = several.filter(phases.all().over("trace_id"))
    most = told.filter(pl.len().over("trace_id") == pl.len().over("trace_id").max())
    for rows in (most, several, traced):
        found = slowest_traces(rows, 1)
        if found.height:
            return str(found["trace_id"][0])
    return ""


def _slowest(board: Board, slowest: pl.DataFrame) -> Table:
    return money_table(
        slowest.with_columns(utc("begin")),
        title=f"The {slowest.height} slowest traces, {board.review.month_name}",
        subtitle="In the notebook, board.trace with a trace's name draws any of them",
        id="traces",
        currency=board.review.currency,
        money_columns=(),
        number_columns={"duration_ms": 0, "calls": 0, "failed": 0},
        labels={"trace_id": "Trace", "begin": "Begin (UTC)", "duration_ms": "Took, ms"},
    )
