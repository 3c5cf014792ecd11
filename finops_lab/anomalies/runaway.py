"""Runaway jobs: restarts without end, or more GPUs and GPU-hours than jobs of the kind take."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import exp, log
from typing import Any

import numpy as np
import polars as pl

from finops_lab.anomalies.event import EVENTS, as_events
from finops_lab.anomalies.panel import Floats
from finops_lab.anomalies.series import GRAIN
from finops_lab.errors import InputError
from finops_lab.money import MONEY, divided

__all__ = ["runaways"]

DETECTOR = "runaway job"
UNFINISHED = ("failed", "preempted", "timeout")
_FEWEST = 8  # jobs of the kind that say what one takes
_AGAIN = 3  # attempts in a row that are more than bad luck at the least
_BEYOND = 1.5  # times what nearly all jobs of the kind take
_MOMENT = pl.Datetime("us", "UTC")
_READ: dict[str, pl.DataType] = {
    **dict.fromkeys(("job_id", "model", "team", "kind", "state"), pl.String()),
    "attempt": pl.Int64(),
    **dict.fromkeys(("ts_start", "ts_end"), _MOMENT),
    **dict.fromkeys(("gpu_count", "wall_s"), pl.Float64()),
    "cost_usd": MONEY,
}


@dataclass(frozen=True)
class _Usual:
    """What jobs of a kind took, of those that were over when another began."""

    median: float
    limit: float
    spread: float
    threshold: float
    gpus: float
    attempts: int
    lasted: Floats  # sorted seconds of their unfinished attempts

    def unfinished(self, seconds: float) -> float:
        """Return the chance that an attempt ends unfinished within such a time (rule of succession)."""
        return float(np.searchsorted(self.lasted, seconds, "right") + 1) / (self.attempts + 2)


def runaways(
    jobs: pl.LazyFrame | pl.DataFrame,
    *,
    until: datetime,
    since: datetime | None = None,
    grain: str = "5m",
    false_alarms: float = 0.002,
) -> pl.DataFrame:
    """Find jobs that run away, as telemetry up to a moment shows them.

    A job is judged by the jobs of its kind and model (of its kind, where they are fewer than 8) that
    were over when it began. It runs away when the first of these happens:

    - its attempts hold more than 1.5 times the GPUs that 95 % of such jobs hold;
    - its GPU-hours, those of running attempts until now, pass a limit: the Student prediction limit of
      the logarithms (median and scaled median deviation), and 1.5 times what 95 % of such jobs take;
    - three or more of its attempts in a row ended unfinished, and the chance that so many do, each within
      the time that the longest of them took, is below `false_alarms`: of long ones it takes more.

    Parameters
    ----------
    jobs : polars.LazyFrame or polars.DataFrame
        `training_jobs`. An attempt without an end that is still running counts until `until`.
    until : datetime.datetime
        Moment of the telemetry; later attempts, and ends that lie later, are not known yet.
    since : datetime.datetime, optional
        Jobs that were over by then are not judged.
    grain : str
        How often telemetry is looked at, ``5m`` or ``hour``: an event is detected at the next look.
    false_alarms : float
        Chance, for each test of a job, that one like all others is taken for a runaway.

    Returns
    -------
    polars.DataFrame
        `EVENTS`, one per job, kind ``telemetry``, metric ``gpu_hours``, dimension ``job``. ``expected``
        is the median of such jobs, ``high`` the limit, ``excess_amount`` the reported dollars of the
        hours beyond the median, where the cost of all attempts so far is known. ``failure_mode`` is F7 where restarts
        were among the reasons. ``note`` says each reason and when it was seen.

    Raises
    ------
    InputError
        An unknown grain, a moment without a zone, or a chance outside 0 to 1.

    Examples
    --------
    Twelve retrains of eight hours on 8 GPUs; then one that fails every 6 minutes.

    >>> day, job = datetime(2026, 10, 1, tzinfo=UTC), {"kind": "retrain", "model": "m", "gpu_count": 8.0}
    >>> rows = [job | {"job_id": f"j{i}", "attempt": 1, "state": "completed", "ts_start": day + timedelta(days=i),
    ...     "ts_end": day + timedelta(days=i, hours=8)} for i in range(12)]
    >>> begin, minute = day + timedelta(days=20), timedelta(minutes=1)
    >>> rows += [job | {"job_id": "bad", "attempt": i + 1, "state": "failed", "ts_start": begin + 6 * i * minute,
    ...     "ts_end": begin + (6 * i + 5) * minute} for i in range(9)]
    >>> found = runaways(pl.DataFrame(rows), until=begin + timedelta(hours=1))
    >>> found.select("value", "failure_mode", pl.col("detected") - pl.col("first")).row(0)
    ('bad', 'F7', datetime.timedelta(seconds=1200))
    """
    if grain not in GRAIN:
        raise InputError(f"unknown grain {grain!r}", hint=f"one of {', '.join(GRAIN)}")
    if until.tzinfo is None or (since is not None and since.tzinfo is None):
        raise InputError("a moment has no time zone", hint="give it in UTC")
    if not 0 < false_alarms < 1:
        raise InputError("a chance lies between 0 and 1", column="false_alarms")
    attempts = _attempts(jobs.lazy(), until)
    whole = _jobs(attempts)
    grouped = {
        key[0]: part.rows(named=True) for key, part in attempts.partition_by("job_id", as_dict=True).items()
    }
    found = []
    for job in whole.rows(named=True):
        if since is not None and job["end"] <= since:
            continue
        usual = _usual(whole, job, false_alarms)
        event = _judged(job, grouped[job["job_id"]], usual, until, GRAIN[grain], false_alarms)
        if event is not None:
            found.append(event | {"grain": grain})
    return (
        as_events(pl.DataFrame(found, schema_overrides=EVENTS, infer_schema_length=None))
        if found
        else _none()
    )


def _none() -> pl.DataFrame:
    return pl.DataFrame(schema=EVENTS)


def _attempts(jobs: pl.LazyFrame, until: datetime) -> pl.DataFrame:
    """Return attempts as they are known at a moment, in order, with their GPU-hours so far."""
    known = jobs.collect_schema()
    rows = jobs.select(
        (pl.col(name) if name in known else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in _READ.items()
    )
    now = pl.lit(until.astimezone(UTC), _MOMENT)
    wall = pl.duration(microseconds=(pl.col("wall_s") * 1_000_000).round(0).cast(pl.Int64))
    rows = rows.with_columns(
        pl.coalesce("ts_start", pl.col("ts_end") - wall).alias("start"),
        pl.coalesce("ts_end", pl.col("ts_start") + wall).alias("end"),
    )
    over = pl.col("end").is_not_null() & (pl.col("end") <= now) & (pl.col("state") != "running")
    rows = rows.filter(pl.col("start") <= now, pl.col("job_id").is_not_null()).with_columns(
        over.alias("over"),
        # What an attempt that goes on will have cost is not known yet.
        pl.when(over).then("cost_usd").alias("cost_usd"),
        pl.min_horizontal(pl.col("end").fill_null(now), now).alias("end"),
    )
    seconds = (pl.col("end") - pl.col("start")).dt.total_microseconds() / 1_000_000
    hours = (pl.col("gpu_count") * seconds / 3600).alias("hours")
    return rows.with_columns(hours).collect().sort("start", "job_id", "attempt")


def _jobs(attempts: pl.DataFrame) -> pl.DataFrame:
    unfinished = pl.col("over") & pl.col("state").is_in(UNFINISHED)
    return (
        attempts.group_by("job_id", maintain_order=True)
        .agg(
            pl.col("kind", "model", "team").first(),
            pl.col("start").min(),
            pl.col("end").max(),
            pl.col("over").all(),
            pl.col("gpu_count").max().alias("gpus"),
            pl.when(pl.col("hours").null_count() == 0).then(pl.col("hours").sum()).alias("hours"),
            pl.when(pl.col("cost_usd").null_count() == 0).then(pl.col("cost_usd").sum()).alias("usd"),
            (pl.col("end") - pl.col("start"))
            .filter(unfinished)
            .dt.total_microseconds()
            .truediv(1_000_000)
            .alias("lasted"),
            pl.len().alias("attempts"),
        )
        .sort("start", "job_id")
    )


def _usual(whole: pl.DataFrame, job: dict[str, Any], chance: float) -> _Usual | None:
    from scipy.stats import t

    before = whole.filter(pl.col("over"), pl.col("end") <= job["start"])
    alike = before.filter(pl.col("kind").eq_missing(pl.lit(job["kind"], pl.String)))
    close = alike.filter(pl.col("model").eq_missing(pl.lit(job["model"], pl.String)))
    peers = close if close.height >= _FEWEST else alike
    if peers.height < _FEWEST:
        return None
    # A job that was given up early says how little one can take, not how much.
    hours = peers["hours"].drop_nulls().to_numpy()
    hours = hours[hours > 0]
    gpus = peers["gpus"].drop_nulls()
    lasted = np.sort(alike["lasted"].explode().drop_nulls().to_numpy())
    many = int(alike["attempts"].sum())
    most = gpus.quantile(0.95, "higher")
    if len(hours) < _FEWEST:
        return _Usual(np.nan, np.inf, np.nan, np.nan, _BEYOND * most if most else np.inf, many, lasted)
    middle = float(np.median(np.log(hours)))
    spread = max(1.4826 * float(np.median(np.abs(np.log(hours) - middle))), 0.1)
    threshold = float(t.isf(chance, len(hours) - 1)) * (1 + 1 / len(hours)) ** 0.5
    limit = max(exp(middle + threshold * spread), _BEYOND * float(np.quantile(hours, 0.95, method="higher")))
    return _Usual(exp(middle), limit, spread, threshold, _BEYOND * most if most else np.inf, many, lasted)


def _judged(
    job: dict[str, Any],
    attempts: list[dict[str, Any]],
    usual: _Usual | None,
    until: datetime,
    every: timedelta,
    chance: float,
) -> dict[str, Any] | None:
    if usual is None:
        return None
    reasons: list[tuple[datetime, str, str]] = []
    spent, run, longest = 0.0, 0, 0.0
    for one in attempts:
        gpus, hours = one["gpu_count"], one["hours"]
        if gpus is not None and gpus > usual.gpus and "gpus" not in (name for _, name, _ in reasons):
            most = usual.gpus / _BEYOND
            reasons.append(
                (one["start"], "gpus", f"{gpus:g} GPUs where nearly all such jobs hold up to {most:g}")
            )
        if hours is not None and spent <= usual.limit < spent + hours:
            part = (usual.limit - spent) / hours
            passed = one["start"] + part * (one["end"] - one["start"])
            reasons.append(
                (
                    passed,
                    "hours",
                    f"more than {usual.limit:.0f} GPU-hours, where such jobs take {usual.median:.0f}",
                )
            )
        spent += hours or 0.0
        if not (one["over"] and one["state"] in UNFINISHED):
            run, longest = 0, 0.0
            continue
        run, longest = run + 1, max(longest, (one["end"] - one["start"]).total_seconds())
        told = any(name == "restarts" for _, name, _ in reasons)
        if not told and run >= _AGAIN and usual.unfinished(longest) ** run < chance:
            reasons.append((one["end"], "restarts", f"{run} attempts in a row ended unfinished"))
    seen = sorted((_next_look(moment, every), name, text) for moment, name, text in reasons)
    seen = [one for one in seen if one[0] <= until]
    if not seen:
        return None
    return _event(job, usual, seen)


def _next_look(moment: datetime, every: timedelta) -> datetime:
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    # What begins at a look has not been running yet: the next one sees it.
    return midnight + ((moment - midnight) // every + 1) * every


def _event(job: dict[str, Any], usual: _Usual, seen: list[tuple[datetime, str, str]]) -> dict[str, Any]:
    hours, known = job["hours"], not np.isnan(usual.median)
    excess = None
    if job["usd"] is not None and hours and known:
        beyond = max(hours - usual.median, 0.0)
        share = divided(Decimal(repr(beyond)), Decimal(repr(hours)))
        excess = None if share is None else round(job["usd"] * share, 6)
    return {
        "kind": "telemetry",
        "failure_mode": "F7" if any(name == "restarts" for _, name, _ in seen) else None,
        "detector": DETECTOR,
        "metric": "gpu_hours",
        "unit": "hours",
        "dimension": "job",
        "value": job["job_id"],
        "x_team": job["team"],
        "x_model": job["model"],
        "first": job["start"],
        "last": job["end"],
        "direction": "up",
        "actual": hours,
        "expected": usual.median if known else None,
        "high": usual.limit if known else None,
        "excess_amount": excess,
        "BillingCurrency": None if excess is None else "USD",
        "score": log(hours / usual.median) / usual.spread if hours and known else None,
        "threshold": usual.threshold if known else None,
        "detected": seen[0][0],
        "note": "; ".join(f"{text} (seen {moment:%Y-%m-%d %H:%M})" for moment, _, text in seen),
    }
