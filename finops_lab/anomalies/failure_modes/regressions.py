"""F6, latency regression: calls after a deployment against the P95 before it."""

from __future__ import annotations

from datetime import datetime
from math import ceil
from typing import Any

import numpy as np
import polars as pl

from finops_lab.anomalies.event import EVENTS, as_events
from finops_lab.anomalies.failure_modes._chances import score
from finops_lab.anomalies.failure_modes._releases import LOOKS, Sides, sides
from finops_lab.anomalies.series import FEWEST_CALLS
from finops_lab.errors import InputError
from finops_lab.unit_economics.latency import interactive

__all__ = ["latency_regressions"]


def latency_regressions(
    deploys: pl.LazyFrame | pl.DataFrame,
    requests: pl.LazyFrame | pl.DataFrame,
    *,
    service: str = "feature",
    smallest_rise: float = 0.2,
    alpha: float = 1e-4,
    since: datetime | None = None,
) -> pl.DataFrame:
    """Find deployments after which calls are slower.

    The calls after a release that are slower than the P95 of the seven days before are counted. Without
    a change their number is beta-binomial whatever the shape of the latencies (exceedances of an order
    statistic: Gumbel and von Schelling, 1950). Each side needs 59 calls: of fewer, the chance that none is
    above the true P95 is more than 5 %.

    Parameters
    ----------
    deploys : polars.LazyFrame or polars.DataFrame
        `deploys`: a release is judged against calls of its service and, where it names one, its model.
    requests : polars.LazyFrame or polars.DataFrame
        `inference_requests`. Calls that succeeded, batch calls left out; each row counts once.
    service : str
        Column of the calls that names the service.
    smallest_rise : float
        Relative rise of the P95 below which there is no event.
    alpha : float
        Chance that a release that changes nothing makes an event, all its looks together (1, 3, 6, 24,
        72 and 168 hours after it, or until the next release).
    since : datetime.datetime, optional
        Events detected before are left out.

    Returns
    -------
    polars.DataFrame
        `EVENTS`, failure mode F6, metric ``p95_ms``, dimension ``release``. ``last`` is the last look that
        confirms it, ``actual`` the P95 up to there.

    Raises
    ------
    InputError
        A column is missing, a rise below 0, or a chance outside 0 to 1.

    Examples
    --------
    >>> from datetime import UTC, timedelta
    >>> noon = datetime(2026, 10, 5, 12, tzinfo=UTC)
    >>> calls = pl.DataFrame({"ts_start": [noon + timedelta(minutes=i) for i in range(-200, 100)], "model": "m",
    ...     "feature": "chat", "status": "ok", "latency_ms": [100.0 + i % 50 + 200.0 * (i >= 200) for i in range(300)]})
    >>> deploys = pl.DataFrame({"ts": [noon], "service": "chat", "model": "m", "model_version": "v2", "commit": "c",
    ...     "kind": "deploy", "status": "succeeded"})
    >>> latency_regressions(deploys, calls).select("value", "expected", "actual").row(0)
    ('chat / m / v2 / 2026-10-05 12:00', 147.0, 347.0)
    """
    if smallest_rise < 0 or not 0 < alpha < 1:
        raise InputError("a rise is 0 or more, a chance lies between 0 and 1")
    calls = requests.lazy()
    if service not in calls.collect_schema():
        raise InputError("calls do not name a service", column=service)
    calls = interactive(calls).filter(pl.col("status") == "ok", pl.col("latency_ms").is_not_null())
    found: dict[str, dict[str, Any]] = {}
    for one in sides(deploys, calls, [pl.col("latency_ms")], service):
        event = _judged(one, smallest_rise, alpha / len(LOOKS))
        if event is None:
            continue
        first = found.get(event["value"])
        kept = (
            {}
            if first is None
            else {"detected": first["detected"], "score": max(first["score"], event["score"])}
        )
        found[event["value"]] = event | kept
    if not found:
        return pl.DataFrame(schema=EVENTS)
    events = as_events(pl.DataFrame(list(found.values()), schema_overrides=EVENTS, infer_schema_length=None))
    return events if since is None else events.filter(pl.col("detected") >= since)


def _judged(one: Sides, smallest: float, alpha: float) -> dict[str, Any] | None:
    from scipy.stats import betabinom

    before, after = np.sort(one.before[0]), np.sort(one.after[0])
    n, m = len(before), len(after)
    if min(n, m) < FEWEST_CALLS:
        return None
    rank = ceil(0.95 * n)
    old, new = float(before[rank - 1]), float(after[ceil(0.95 * m) - 1])
    slower = m - int(np.searchsorted(after, old, "right"))
    chance = float(betabinom.sf(slower - 1, m, n - rank + 1, rank))
    if chance >= alpha or new < old * (1 + smallest):
        return None
    release = one.release
    return release_event(one, "F6", "slower than the P95 before") | {
        "metric": "p95_ms",
        "unit": "ms",
        "actual": new,
        "expected": old,
        "high": old * (1 + smallest),
        "score": score(chance),
        "threshold": score(alpha),
        "note": f"{slower} of {m} calls since {release['kind']} {release['commit']} are slower than the P95 of {n}"
        f" before ({old:.0f} ms)",
    }


def release_event(one: Sides, mode: str, detector: str) -> dict[str, Any]:
    """Return what events of a release have in common."""
    release = one.release
    parts = (
        release["service"],
        release["model"],
        release["model_version"],
        f"{release['ts']:%Y-%m-%d %H:%M}",
    )
    return {
        "kind": "failure_mode",
        "failure_mode": mode,
        "detector": detector,
        "dimension": "release",
        "value": " / ".join(part for part in parts if part is not None),
        "x_feature": release["service"],
        "x_model": release["model"],
        "first": release["ts"],
        "last": one.look,
        "grain": "5m",
        "direction": "up",
        "detected": one.look,
    }
