"""F7, orchestration failure: deployments that fail, calls that fail since one, jobs that fail."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any

import polars as pl

from finops_lab.anomalies.event import EVENTS, as_events
from finops_lab.anomalies.failure_modes._chances import of_share, score
from finops_lab.anomalies.failure_modes._releases import LOOKS, Sides, releases, sides
from finops_lab.anomalies.failure_modes.regressions import release_event
from finops_lab.anomalies.ratios import scopes
from finops_lab.errors import InputError, each_name

__all__ = ["failed_deploys", "failed_jobs", "failing_releases"]

_FAILED = ("failed", "timeout", "preempted")
# Attempts or deployments that say what is usual, at least.
_LEAST_PAST = 20


def failing_releases(
    deploys: pl.LazyFrame | pl.DataFrame,
    requests: pl.LazyFrame | pl.DataFrame,
    *,
    service: str = "feature",
    smallest_rise: float = 0.02,
    alpha: float = 1e-4,
    since: datetime | None = None,
) -> pl.DataFrame:
    """Find deployments after which more calls fail.

    Failed calls (error, timeout) of finished ones since a release against the seven days before
    (beta-binomial prediction). A sampled log counts for as many independent calls as its weights are
    worth: ``(sum w)^2 / sum w^2`` (Kish, "Survey Sampling", 1965).

    Parameters
    ----------
    deploys, requests, service, since
        As in `finops_lab.anomalies.failure_modes.regressions.latency_regressions`.
    smallest_rise : float
        Rise of the share of failed calls below which there is no event.
    alpha : float
        Chance that a release that changes nothing makes an event, all looks together.

    Returns
    -------
    polars.DataFrame
        `EVENTS`, failure mode F7, metric ``error_rate``, dimension ``release``.

    Raises
    ------
    InputError
        A column is missing, a rise below 0, or a chance outside 0 to 1.

    Examples
    --------
    >>> from datetime import UTC
    >>> noon = datetime(2026, 10, 5, 12, tzinfo=UTC)
    >>> calls = pl.DataFrame({"ts_start": [noon + timedelta(minutes=i) for i in range(-200, 60)], "model": "m",
    ...     "feature": "chat", "status": ["error" if i >= 200 and i % 2 else "ok" for i in range(260)],
    ...     "n_requests": 1, "sample_weight": 1.0})
    >>> deploys = pl.DataFrame({"ts": [noon], "service": "chat", "model": "m", "model_version": "v2", "commit": "c",
    ...     "kind": "deploy", "status": "succeeded"})
    >>> failing_releases(deploys, calls).select("actual", "expected").row(0)
    (0.5, 0.0)
    """
    if smallest_rise < 0 or not 0 < alpha < 1:
        raise InputError("a rise is 0 or more, a chance lies between 0 and 1")
    calls = requests.lazy()
    if service not in calls.collect_schema():
        raise InputError("calls do not name a service", column=service)
    calls = calls.filter(pl.col("status").is_in(("ok", "error", "timeout")))
    columns = [pl.col("n_requests") * pl.col("sample_weight"), pl.col("status") != "ok"]
    found: dict[str, dict[str, Any]] = {}
    for one in sides(deploys, calls, columns, service):
        event = _judged(one, smallest_rise, alpha / len(LOOKS))
        if event is not None:
            first = found.get(event["value"], event)
            found[event["value"]] = event | {
                "detected": first["detected"],
                "score": max(first["score"], event["score"]),
            }
    return _events(found.values(), since)


def _judged(one: Sides, smallest: float, alpha: float) -> dict[str, Any] | None:
    counted = []
    for weight, failed in (one.before, one.after):
        if not len(weight):
            return None
        worth = float(weight.sum() ** 2 / (weight**2).sum())
        counted.append((float(weight @ failed / weight.sum()), worth))
    (old, n), (new, m) = counted
    if n < _LEAST_PAST or new < old + smallest:
        return None
    chance = of_share(new * m, m, old * n, n)
    if chance >= alpha:
        return None
    release = one.release
    return release_event(one, "F7", "failed calls since a release") | {
        "metric": "error_rate",
        "unit": "ratio",
        "actual": new,
        "expected": old,
        "high": old + smallest,
        "score": score(chance),
        "threshold": score(alpha),
        "note": f"{new:.1%} of calls fail since {release['kind']} {release['commit']}, {old:.1%} before"
        + ("; rolled back" if release["rolled_back"] else ""),
    }


def failed_deploys(
    deploys: pl.LazyFrame | pl.DataFrame,
    *,
    days: int = 7,
    fewest: int = 3,
    alpha: float = 1e-4,
    since: datetime | None = None,
) -> pl.DataFrame:
    """Find weeks in which too many deployments fail or are rolled back within a day.

    Parameters
    ----------
    deploys : polars.LazyFrame or polars.DataFrame
        `deploys`; deployments of one service and model at one moment are one.
    days : int
        Days that are looked at together.
    fewest : int
        Failures, at least.
    alpha : float
        Chance that such a week like all before makes an event, of all services or of one.
    since : datetime.datetime, optional
        Events detected before are left out.

    Returns
    -------
    polars.DataFrame
        `EVENTS`, failure mode F7, metric ``deployment_failure_rate``, dimension ``total`` or ``feature``.

    Examples
    --------
    >>> from datetime import UTC
    >>> day = datetime(2026, 10, 1, tzinfo=UTC)
    >>> rows = pl.DataFrame({"ts": [day + timedelta(days=i) for i in range(40)], "service": "chat", "model": "m",
    ...     "model_version": "v", "commit": "c", "kind": "deploy", "status": ["succeeded"] * 35 + ["failed"] * 5})
    >>> failed_deploys(rows).select("dimension", "actual").rows()
    [('feature', 0.7142857142857143), ('total', 0.7142857142857143)]
    """
    rows = releases(deploys).filter(pl.col("kind") != "rollback")
    rows = rows.select(
        "ts",
        (pl.col("failed") | pl.col("rolled_back")).alias("bad"),
        pl.col("service").alias("feature"),
    )
    return _rates(rows, ("feature",), "deployment_failure_rate", "deployments", days, fewest, alpha, since)


def failed_jobs(
    jobs: pl.LazyFrame | pl.DataFrame,
    *,
    days: int = 3,
    fewest: int = 3,
    alpha: float = 1e-4,
    by: str | Sequence[str] = ("team", "kind"),
    since: datetime | None = None,
) -> pl.DataFrame:
    """Find days on which too many attempts of jobs end without success.

    Parameters
    ----------
    jobs : polars.LazyFrame or polars.DataFrame
        `training_jobs`; attempts that failed, timed out or were preempted, of all that ended but were
        not cancelled.
    days, fewest, alpha, since
        As in `failed_deploys`.
    by : str or sequence of str
        Columns to tell it by, beside the whole.

    Returns
    -------
    polars.DataFrame
        `EVENTS`, failure mode F7, metric ``job_failure_rate``.
    """
    by = each_name(by)
    rows = (
        jobs.lazy()
        .filter(pl.col("state").is_in(("completed", *_FAILED)), pl.col("ts_end").is_not_null())
        .select(pl.col("ts_end").alias("ts"), pl.col("state").is_in(_FAILED).alias("bad"), *by)
        .collect()
    )
    return _rates(rows, by, "job_failure_rate", "attempts", days, fewest, alpha, since)


def _rates(
    rows: pl.DataFrame,
    by: Sequence[str],
    metric: str,
    what: str,
    days: int,
    fewest: int,
    alpha: float,
    since: datetime | None,
) -> pl.DataFrame:
    found: list[dict[str, Any]] = []
    for name in (None, *by):
        parts = [rows] if name is None else rows.drop_nulls(name).partition_by(name, maintain_order=True)
        for part in parts:
            value = None if name is None else part[name][0]
            told = part.sort("ts", "bad").select("ts", "bad").rows()
            for one in _stretches(told, timedelta(days=days), fewest, alpha):
                count = f"{one.pop('bad')} of {one.pop('of')} {what} failed"
                found.append(
                    {
                        "kind": "failure_mode",
                        "failure_mode": "F7",
                        "detector": "failures in a row of days",
                        "metric": metric,
                        "unit": "ratio",
                        "dimension": name or "total",
                        "value": value,
                        **scopes(name or "total", value),
                        "grain": "5m",
                        "direction": "up",
                        "threshold": score(alpha),
                        "note": f"{count} in {days} days, {one['expected']:.1%} before",
                        **one,
                    }
                )
    return _events(found, since)


def _stretches(
    told: list[tuple[datetime, bool]], window: timedelta, fewest: int, alpha: float
) -> list[dict[str, Any]]:
    """Return times in which failures are too many for what was before: each failure is a look."""
    found: list[dict[str, Any]] = []
    moments = [ts for ts, _ in told]
    hits_by = [0, *accumulate(hit for _, hit in told)]
    # What an event is made of is no usual share: failures and attempts of events so far, by their ends.
    apart: list[tuple[int, int]] = []
    for at, (now, bad) in enumerate(told):
        if not bad:
            continue
        start = bisect_right(moments, now - window)
        hits, of = hits_by[at + 1] - hits_by[start], at + 1 - start
        gone = [(low, min(high, start)) for low, high in apart if low < start]
        before = start - sum(high - low for low, high in gone)
        hits_before = hits_by[start] - sum(hits_by[high] - hits_by[low] for low, high in gone)
        if hits < fewest or before < _LEAST_PAST:
            continue
        chance = of_share(hits, of, hits_before, before)
        if chance >= alpha:
            continue
        first = next(n for n in range(start, at + 1) if told[n][1])
        if found and moments[first] <= found[-1]["last"]:
            found[-1].update(last=now, score=max(found[-1]["score"], score(chance)))
            if hits / of > found[-1]["actual"]:
                found[-1].update(actual=hits / of, bad=hits, of=of)
            apart[-1] = (apart[-1][0], at + 1)
            continue
        apart.append((first, at + 1))
        found.append(
            {
                "first": moments[first],
                "last": now,
                "detected": now,
                "actual": hits / of,
                "expected": hits_before / before,
                "score": score(chance),
                "bad": hits,
                "of": of,
            }
        )
    return found


def _events(found: Iterable[dict[str, Any]], since: datetime | None) -> pl.DataFrame:
    rows = list(found)
    if not rows:
        return pl.DataFrame(schema=EVENTS)
    events = as_events(pl.DataFrame(rows, schema_overrides=EVENTS, infer_schema_length=None))
    return events if since is None else events.filter(pl.col("detected") >= since)
