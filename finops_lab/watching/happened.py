"""What happened in some days of a lab, day by day and in order of time."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl

from finops_lab import measuring
from finops_lab.lab import Lab
from finops_lab.watching.watched import Watched
from finops_lab.wording import metric_words

__all__ = ["HAPPENED", "happened", "most_gpus", "telemetry_days"]

HAPPENED: dict[str, pl.DataType | type[pl.DataType]] = {
    "ts": pl.Datetime("us", "UTC"),
    "kind": pl.String,
    "what": pl.String,
}


def happened(found: Watched, first: date, last: date, *, team: str | None = None) -> pl.DataFrame:
    """List deploys, attempts of jobs and events of telemetry in order of time.

    Parameters
    ----------
    found : Watched
        Of a lab.
    first, last : datetime.date
        Both included.
    team : str, optional
        Only this team's jobs; deploys do not say whose they are.

    Returns
    -------
    polars.DataFrame
        `HAPPENED`; ``kind`` is deploy, rollback, config, job or anomaly.
    """
    begin, end = _midnight(first), _midnight(last + timedelta(days=1))
    deploys = (
        found.lab.table("deploys")
        .filter(pl.col("ts") >= begin, pl.col("ts") < end)
        .select(
            "ts",
            pl.col("kind").cast(pl.String).fill_null("deploy"),
            pl.format(
                "{} {}, {}",
                pl.col("service").fill_null("unnamed"),
                pl.coalesce(pl.col("model_version", "commit").cast(pl.String), pl.lit("")),
                pl.col("status").cast(pl.String).fill_null("unknown"),
            ).alias("what"),
        )
    )
    whose = [pl.col("team") == team] if team is not None else []
    gpus = pl.col("gpu_count").cast(pl.Float64)
    whole = gpus.cast(pl.Int64).cast(pl.String)
    jobs = (
        found.lab.table("training_jobs")
        .filter(pl.col("ts_start") >= begin, pl.col("ts_start") < end, *whose)
        .select(
            pl.col("ts_start").alias("ts"),
            pl.lit("job").alias("kind"),
            pl.format(
                "{}, attempt {}{}, {}",
                pl.col("job_id").fill_null("unnamed"),
                pl.col("attempt").fill_null(1),
                # How many are not known is not said; a slice of one is no whole one.
                pl.format(
                    " on {} GPUs", pl.when(gpus == gpus.floor()).then(whole).otherwise(gpus.cast(pl.String))
                ).fill_null(""),
                pl.col("state").cast(pl.String).fill_null("running"),
            ).alias("what"),
        )
    )
    named = {metric: metric_words(metric) for metric in found.every["metric"].unique()}
    seen = (
        found.every.lazy()
        .filter(pl.col("kind") == "telemetry", pl.col("first") >= begin, pl.col("first") < end)
        .select(
            pl.col("first").alias("ts"),
            pl.lit("anomaly").alias("kind"),
            pl.format(
                "{} of {} {}",
                pl.col("metric").replace_strict(named, return_dtype=pl.String),
                pl.concat_str("dimension", "value", separator=" ", ignore_nulls=True),
                "direction",
            ).alias("what"),
        )
    )
    parts = [
        part.select(pl.col(name).cast(kind) for name, kind in HAPPENED.items())
        for part in (deploys, jobs, seen)
    ]
    return pl.concat(parts).unique().sort("ts", "kind", "what").collect()


def telemetry_days(lab: Lab, first: date, last: date) -> pl.DataFrame:
    """Add telemetry up by day: ``day`` (Date), ``metric`` (String), ``value`` (Float64), sorted.

    Metrics are ``gpu_hours`` (of jobs, on the day that their attempt began), ``calls`` and
    ``calls_failed``, each on days that it is known of.
    """
    within = pl.col("day").is_between(first, last)
    each = pl.col("gpu_count") * pl.col("wall_s") / 3600
    hours = pl.when(each.count() > 0).then(each.sum())
    jobs = lab.table("training_jobs").group_by(pl.col("ts_start").dt.date().alias("day")).agg(value=hours)
    calls = (
        measuring.request_days(lab)
        .group_by("day")
        .agg(
            calls=pl.col("calls").cast(pl.Float64).sum(),
            failed=(pl.col("calls").cast(pl.Float64) - pl.col("calls_ok").cast(pl.Float64)).sum(),
        )
    )
    parts = [
        jobs.select("day", pl.lit("gpu_hours").alias("metric"), pl.col("value").cast(pl.Float64)),
        calls.select("day", pl.lit("calls").alias("metric"), value="calls"),
        calls.select("day", pl.lit("calls_failed").alias("metric"), value="failed"),
    ]
    return pl.concat(parts).filter(within, pl.col("value").is_not_null()).sort("metric", "day").collect()


def most_gpus(lab: Lab, first: date, last: date) -> float | None:
    """Return how many GPUs attempts of jobs held at once at most; None where none ran."""
    begin, end = _midnight(first), _midnight(last + timedelta(days=1))
    ran = (
        lab.table("training_jobs")
        .filter(
            pl.col("ts_start") < end,
            (pl.col("ts_end") > begin) | pl.col("ts_end").is_null(),
            pl.col("gpu_count").is_not_null(),
        )
        .select("ts_start", "ts_end", "gpu_count")
        .collect()
    )
    if ran.is_empty():
        return None
    changes = [(max(start, begin), count) for start, _, count in ran.rows()]
    changes += [(stop, -count) for _, stop, count in ran.rows() if stop is not None]
    held = most = 0.0
    for _, count in sorted(changes):  # what ends at a moment goes before what begins then
        held += count
        most = max(most, held)
    return most


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
