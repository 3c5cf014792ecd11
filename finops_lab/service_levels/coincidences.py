"""What happened shortly before an alert: deploys, retrains, changes of capacity."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from datetime import timedelta
from typing import Any

import polars as pl

from finops_lab.errors import InputError
from finops_lab.service_levels.promises import BY_DAY, COLUMN, promised
from finops_lab.service_levels.schemas import COINCIDENCES, PROMISE, Schema

__all__ = ["coincidences", "served_by"]

_RETRAINS = ("train", "retrain", "finetune")
_MATCHES = ("service", "pool", "model")
_HAPPENED: Schema = {
    "what": pl.String,
    "ts": pl.Datetime("us", "UTC"),
    "service": pl.String,
    "pool": pl.String,
    "model": pl.String,
    "about": pl.String,
}


def served_by(requests: pl.LazyFrame | pl.DataFrame, slos: pl.DataFrame | pl.LazyFrame) -> pl.DataFrame:
    """Tell which models and pools serve each objective's service.

    Parameters
    ----------
    requests : polars.LazyFrame or polars.DataFrame
        Requests, or their roll-up by day: ``feature``, ``model``, ``pool_id``.
    slos : polars.DataFrame or polars.LazyFrame
        The `slos` contract.

    Returns
    -------
    polars.DataFrame
        ``slo``, ``pool`` and ``model``, each combination once, sorted.
    """
    parts = [pl.LazyFrame(schema={"slo": pl.String, "pool": pl.String, "model": pl.String})]
    for (dimension,), group in promised(slos).group_by("dimension", maintain_order=True):
        seen = requests.lazy().select(
            pl.col(COLUMN[str(dimension)]).alias("service"), pl.col("pool_id").alias("pool"), "model"
        )
        parts.append(
            seen.unique()
            .join(group.lazy().select("service", "slo"), on="service")
            .select("slo", "pool", "model")
        )
    return pl.concat(parts).unique().sort("slo", "pool", "model").collect()


def coincidences(
    alerts: pl.DataFrame,
    *,
    deploys: pl.LazyFrame | pl.DataFrame | None = None,
    training_jobs: pl.LazyFrame | pl.DataFrame | None = None,
    scale_events: pl.LazyFrame | pl.DataFrame | None = None,
    served_by: pl.DataFrame | None = None,
    hours: float = 6,
    most: int = 5,
) -> pl.DataFrame:
    """Find what happened in the hours before an alert began.

    That two things happened one after the other does not say that one caused the other: the words
    are "coincides with".

    Parameters
    ----------
    alerts : polars.DataFrame
        `finops_lab.service_levels.schemas.ALERTS`.
    deploys, training_jobs, scale_events : polars.LazyFrame or polars.DataFrame, optional
        Tables of those contracts. A retrain counts when it ended, a change of capacity when it was
        decided.
    served_by : polars.DataFrame, optional
        From `served_by`: pools and models of each objective. Without it only names of services
        match.
    hours : float
        How long before an alert; of an objective judged by day, how long before that day began:
        its alert comes when the day is over.
    most : int
        Rows per alert. Those of the same service come first, then those of a pool or a model that
        serves it, then the rest; the nearest first among each.

    Returns
    -------
    polars.DataFrame
        `finops_lab.service_levels.schemas.COINCIDENCES`, sorted by alert and rank.

    Raises
    ------
    InputError
        When `hours` or `most` is not above 0.
    """
    if hours <= 0 or most < 1:
        raise InputError("hours and most must be above 0")
    happened = _happened(deploys, training_jobs, scale_events)
    serving: dict[str, dict[str, set[str]]] = {}
    for slo, pool, model in served_by.iter_rows() if served_by is not None else ():
        both = serving.setdefault(slo, {"pool": set(), "model": set()})
        both["pool"].add(pool)
        both["model"].add(model)
    rows: list[dict[str, Any]] = []
    named = alerts.select(*PROMISE, "begin", "severity").unique(maintain_order=True)
    events, moments = happened.rows(named=True), happened["ts"].to_list()
    for alert in named.iter_rows(named=True):
        begin = alert["begin"]
        back = timedelta(days=alert["objective"] in BY_DAY, hours=hours)
        near = events[bisect_left(moments, begin - back) : bisect_right(moments, begin)]
        ours = serving.get(alert["slo"], {"pool": set(), "model": set()})
        kind = "service" if alert["dimension"] == "feature" else alert["dimension"]
        ours = ours | {kind: ours.get(kind, set()) | {alert["service"]}}
        found: list[tuple[int, float, dict[str, Any], str | None]] = []
        for event in near:
            match = next((m for m in _MATCHES if event[m] is not None and event[m] in ours.get(m, ())), None)
            found.append((_MATCHES.index(match) if match else 9, -event["ts"].timestamp(), event, match))
        for rank, (_, _, event, match) in enumerate(
            sorted(found, key=lambda f: (*f[:2], f[2]["about"]))[:most], 1
        ):
            before = int((begin - event["ts"]).total_seconds())
            rows.append(
                alert
                | {"rank": rank, "what": event["what"], "ts": event["ts"], "before_s": before}
                | {"match": match, "about": event["about"]}
                | {"words": f"coincides with {event['about']}, {_ago(before)} before"}
            )
    return pl.DataFrame(rows, schema=COINCIDENCES).sort("begin", "slo", "severity", "rank")


def _happened(
    deploys: pl.LazyFrame | pl.DataFrame | None,
    training_jobs: pl.LazyFrame | pl.DataFrame | None,
    scale_events: pl.LazyFrame | pl.DataFrame | None,
) -> pl.DataFrame:
    """Bring the three tables to one form."""
    nothing = pl.lit(None, pl.String)
    parts = [pl.LazyFrame(schema=_HAPPENED)]
    if deploys is not None:
        kinds = {
            "deploy": "a deploy of",
            "rollback": "a rollback of",
            "config": "a change of configuration of",
        }
        version = pl.coalesce("model_version", "commit")
        about = [
            pl.col("kind").replace_strict(kinds, return_dtype=pl.String),
            pl.lit(" "),
            pl.col("service"),
            pl.when(version.is_not_null()).then(pl.format(" to {}", version)).otherwise(pl.lit("")),
            pl.when(pl.col("status") == "failed").then(pl.lit(", which failed")).otherwise(pl.lit("")),
        ]
        parts.append(
            deploys.lazy().select(
                pl.col("kind").alias("what"),
                "ts",
                "service",
                pl.col("pool_id").alias("pool"),
                "model",
                pl.concat_str(about).alias("about"),
            )
        )
    if training_jobs is not None:
        ended = training_jobs.lazy().filter(pl.col("kind").is_in(_RETRAINS), pl.col("ts_end").is_not_null())
        which = pl.coalesce("model_version", "model", "job_id")
        parts.append(
            ended.select(
                # One that failed or was cancelled brought no new version.
                pl.when(pl.col("state") == "completed")
                .then(pl.lit("retrain"))
                .otherwise(pl.lit("training"))
                .alias("what"),
                pl.col("ts_end").alias("ts"),
                nothing.alias("service"),
                nothing.alias("pool"),
                "model",
                pl.format("the end of a retrain of {} ({})", which, "state").alias("about"),
            )
        )
    if scale_events is not None:
        units = [
            pl.col(name).round(2).cast(pl.String).str.strip_suffix(".0").fill_null("?") for name in _UNITS
        ]
        parts.append(
            scale_events.lazy().select(
                pl.lit("scale").alias("what"),
                pl.col("ts_decision").alias("ts"),
                nothing.alias("service"),
                pl.col("pool_id").alias("pool"),
                nothing.alias("model"),
                pl.format("scaling of {} from {} to {} {}s", "pool_id", *units, "unit").alias("about"),
            )
        )
    return pl.concat(parts).sort("ts", "what", "about").collect()


_UNITS = ("from_units", "to_units")


def _ago(seconds: int) -> str:
    minutes = seconds // 60
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
