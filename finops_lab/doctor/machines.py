"""Are GPU samples and training jobs whole: gaps, kinds of utilization, ends, futile jobs."""

from __future__ import annotations

from datetime import UTC, datetime, time

import polars as pl

from finops_lab.doctor._model import Look, Tables, Told, check
from finops_lab.doctor._rows import examples, key
from finops_lab.doctor._words import amount, listed, place, share, shown, span
from finops_lab.wording import plural

__all__ = ["CHECKS"]

_KEY = key("source_file", "source_row")
_ENDS = (_KEY.min().alias("_first"), _KEY.max().alias("_last"))
_ROWS = pl.len().cast(pl.Int64).alias("rows")
_GAPS = 0.01
_STUCK_DAYS = 14
_FUTILE = 3


@check(
    "kinds of GPU utilization",
    table="gpu_samples",
    severity="info",
    meaning="Samples of several kinds of utilization, which must not be averaged together.",
    fix="look at one util_kind at a time: gpu_util near 1 with sm_active near 0.5 is usual, their mean is nothing",
)
def _kinds_of_gpu_utilization(tables: Tables) -> Look:
    found = yield (
        tables.gpu_samples.group_by("util_kind")
        .agg(_ROWS, pl.col("util").mean().alias("mean"), pl.col("gpu_uuid").n_unique().alias("gpus"))
        .sort("rows", "util_kind", descending=[True, False])
    )
    if found.height < 2:
        return []
    said = []
    for row in found.iter_rows(named=True):
        mean = "unknown" if row["mean"] is None else share(row["mean"], 1)
        said.append(f"{row['util_kind']} {plural(row['rows'], 'row')}, mean {mean}")
    return [
        Told("util_kind", f"{found.height} kinds of utilization: {listed(said)}", int(found["rows"].sum()))
    ]


@check(
    "gaps in GPU samples",
    table="gpu_samples",
    severity="warning",
    meaning="A GPU has fewer samples than its interval and its first and last sample ask for.",
    fix="idle time and cost of these GPUs are too low by the gaps: scrape again, or scale by what was sampled",
)
def _gaps_in_gpu_samples(tables: Tables) -> Look:
    by = ["cluster", "gpu_uuid", "mig_id", "util_kind"]
    found = yield (
        tables.gpu_samples.group_by(by)
        .agg(
            pl.col("ts").n_unique().cast(pl.Int64).alias("seen"),
            _ROWS,
            pl.col("ts").min().alias("first"),
            pl.col("ts").max().alias("last"),
            pl.col("interval_s").median().alias("step"),
            *_ENDS,
        )
        .filter(pl.col("step") > 0)
        .with_columns(
            ((pl.col("last") - pl.col("first")).dt.total_seconds() / pl.col("step") + 1)
            .round()
            .cast(pl.Int64)
            .alias("wanted")
        )
        .filter((pl.col("wanted") - pl.col("seen")) > _GAPS * pl.col("wanted"))
        .group_by("cluster", "util_kind")
        .agg(
            pl.len().cast(pl.Int64).alias("gpus"),
            pl.col("wanted").sum(),
            pl.col("seen").sum(),
            pl.col("rows").sum(),
            pl.col("gpu_uuid").min(),
            pl.col("_first").min(),
            pl.col("_last").max(),
        )
        .sort("cluster", "util_kind", nulls_last=True)
    )
    return [
        Told(
            place(row["cluster"], row["util_kind"]),
            f"{plural(row['gpus'], 'GPU')} (such as {shown(row['gpu_uuid'])}) lack "
            f"{share(row['wanted'] - row['seen'], row['wanted'])} of their samples: {row['seen']:,} of "
            f"{row['wanted']:,}",
            row["wanted"] - row["seen"],
            examples=examples(row),
        )
        for row in found.iter_rows(named=True)
    ]


@check(
    "GPU samples twice",
    table="gpu_samples",
    severity="error",
    meaning="One GPU has several samples of one kind at one moment.",
    fix="remove one of the exports: GPU hours of these moments count twice",
)
def _gpu_samples_twice(tables: Tables) -> Look:
    by = ["cluster", "gpu_uuid", "mig_id", "util_kind", "pod", "ts"]
    found = yield (
        tables.gpu_samples.group_by(by)
        .agg(
            _ROWS,
            pl.col("source_file").min().alias("file"),
            pl.col("source_file").max().alias("other"),
            *_ENDS,
        )
        .filter(pl.col("rows") > 1)
        .group_by("file", "other")
        .agg((pl.col("rows") - 1).sum(), pl.col("_first").min(), pl.col("_last").max())
        .sort("file", "other")
    )
    return [
        Told(
            row["file"] if row["file"] == row["other"] else f"{row['file']} and {row['other']}",
            f"{plural(row['rows'], 'sample')} repeat a GPU, kind and moment",
            row["rows"],
            examples=examples(row),
        )
        for row in found.iter_rows(named=True)
    ]


@check(
    "jobs without end",
    table="training_jobs",
    severity="warning",
    meaning="Jobs that are over and have no end, or have been running for weeks.",
    fix="export the jobs again now that they are over; without an end they have no GPU hours",
)
def _jobs_without_end(tables: Tables) -> Look:
    over = (pl.col("state") != "running") & pl.col("ts_end").is_null()
    moment = pl.coalesce("ts_start", "ts_submit")
    newest = pl.col("ts_end").max()
    if tables.today is not None:
        newest = pl.lit(datetime.combine(tables.today, time(), UTC))
    stuck = (pl.col("state") == "running") & (moment < newest - pl.duration(days=_STUCK_DAYS))
    found = yield (
        tables.training_jobs.with_columns(over.alias("_over"), stuck.fill_null(False).alias("_stuck"))
        .filter(pl.col("_over") | pl.col("_stuck"))
        .group_by("state")
        .agg(_ROWS, moment.min().dt.date().alias("first"), moment.max().dt.date().alias("last"), *_ENDS)
        .sort("state")
    )
    return [
        Told(
            place(row["state"], row["first"] and span(row["first"], row["last"])),
            f"{plural(row['rows'], 'attempt')} in state {row['state']!r} without an end"
            + (f" for more than {_STUCK_DAYS} days" if row["state"] == "running" else ""),
            row["rows"],
            examples=examples(row),
        )
        for row in found.iter_rows(named=True)
    ]


@check(
    "job that never completes",
    table="training_jobs",
    severity="warning",
    meaning="A job was tried three times or more and no attempt completed.",
    fix="stop the job's restarts and count its cost as retraining cost: failed attempts are paid for too",
)
def _job_that_never_completes(tables: Tables) -> Look:
    by = ["job_id", "team", "model"]
    found = yield (
        tables.training_jobs.group_by(by)
        .agg(
            _ROWS,
            pl.col("state").is_in(["completed", "running"]).any().alias("alive"),
            pl.col("cost_usd").sum().alias("money"),
            pl.col("cost_usd").count().cast(pl.Int64).alias("priced"),
            pl.col("ts_start").min().dt.date().alias("first"),
            pl.col("ts_end").max().dt.date().alias("last"),
            *_ENDS,
        )
        .filter((pl.col("rows") >= _FUTILE) & ~pl.col("alive"))
        .sort("job_id")
    )
    return [
        Told(
            place(row["team"], row["job_id"]),
            f"{shown(row['job_id'])} failed {plural(row['rows'], 'time')} "
            f"({span(row['first'], row['last'])}) and never completed"
            + (f", at {amount(row['money'], 'USD')}" if row["priced"] else ""),
            row["rows"],
            "USD" if row["priced"] else None,
            row["money"] if row["priced"] else None,
            examples(row),
        )
        for row in found.iter_rows(named=True)
    ]


CHECKS = (
    _kinds_of_gpu_utilization,
    _gaps_in_gpu_samples,
    _gpu_samples_twice,
    _jobs_without_end,
    _job_that_never_completes,
)
