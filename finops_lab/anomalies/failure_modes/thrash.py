"""F3, autoscaler thrash: capacity that goes up and comes back within minutes, hour after hour."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from finops_lab.anomalies.event import EVENTS, as_events
from finops_lab.anomalies.failure_modes._chances import of_count, score
from finops_lab.errors import InputError
from finops_lab.unit_economics.scaling import taken_back
from finops_lab.wording import plural

__all__ = ["autoscaler_thrash"]

_HOUR = timedelta(hours=1)
_PAST_HOURS = 28 * 24
_WATCHED = 24  # hours before which nothing is said of a pool


def autoscaler_thrash(
    events: pl.LazyFrame | pl.DataFrame,
    *,
    within: timedelta = timedelta(minutes=10),
    fewest: int = 3,
    alpha: float = 1e-5,
    apart_hours: int = 24,
    since: datetime | None = None,
) -> pl.DataFrame:
    """Find pools whose capacity is moved back and forth.

    An hour thrashes when at least `fewest` changes are taken back within `within`, and so many are too
    many for the hours of the 28 days before it that did not thrash (negative binomial prediction).

    Parameters
    ----------
    events : polars.LazyFrame or polars.DataFrame
        `scale_events`.
    within : datetime.timedelta
        Time between a change and its reversal, at most.
    fewest : int
        Reversals in an hour, at least.
    alpha : float
        Chance that an hour like those before makes an event.
    apart_hours : int
        Quiet hours that part two events of a pool.
    since : datetime.datetime, optional
        Hours before are only history.

    Returns
    -------
    polars.DataFrame
        `EVENTS`, failure mode F3, metric ``reversals``, dimension ``pool``: reversals in all hours that
        thrash, beside what as many hours usually hold. ``detected`` is the end of the first such hour.

    Raises
    ------
    InputError
        Fewer than 1 reversal, or a chance outside 0 to 1.

    Examples
    --------
    Two days with a change at noon; then one every five minutes.

    >>> from datetime import UTC
    >>> noon = datetime(2026, 10, 1, 12, tzinfo=UTC)
    >>> at = [noon, noon + timedelta(days=1), *(noon + timedelta(days=2, minutes=5 * i) for i in range(12))]
    >>> rows = pl.DataFrame({"ts_decision": at, "pool_id": "chat", "unit": "replica",
    ...     "from_units": [2.0, 3.0] * 7, "to_units": [3.0, 2.0] * 7})
    >>> autoscaler_thrash(rows).select("value", "actual", pl.col("detected").dt.hour()).row(0)
    ('chat', 11.0, 13)
    """
    if fewest < 1 or not 0 < alpha < 1:
        raise InputError("thrash takes a reversal or more, a chance lies between 0 and 1")
    hours = (
        events.lazy()
        .with_columns(taken_back(within).alias("back"))
        .group_by("pool_id", pl.col("ts_decision").dt.truncate("1h").alias("hour"))
        .agg(pl.col("back").sum().cast(pl.Int64), pl.len().cast(pl.Int64).alias("changes"))
        .sort("pool_id", "hour")
        .collect()
    )
    found: list[dict[str, Any]] = []
    for (pool,), part in hours.partition_by("pool_id", as_dict=True, maintain_order=True).items():
        found += _of_pool(str(pool), part.rows(named=True), fewest, alpha, apart_hours, since)
    if not found:
        return pl.DataFrame(schema=EVENTS)
    return as_events(pl.DataFrame(found, schema_overrides=EVENTS, infer_schema_length=None))


def _of_pool(
    pool: str, hours: Sequence[dict[str, Any]], fewest: int, alpha: float, apart: int, since: datetime | None
) -> list[dict[str, Any]]:
    begin = hours[0]["hour"]
    quiet: list[tuple[datetime, int]] = []
    runs: list[list[tuple[dict[str, Any], float, float]]] = []
    loud: list[datetime] = []
    for one in hours:
        now, back = one["hour"], one["back"]
        age = (now - begin) // _HOUR
        watched = min(age, _PAST_HOURS)
        if back >= fewest and age >= _WATCHED and (since is None or now >= since):
            start = now - watched * _HOUR
            before = sum(count for at, count in quiet if at >= start)
            left = watched - sum(at >= start for at in loud)
            chance = of_count(back, 1.0, before, float(max(left, 1)))
            if chance < alpha:
                usual = before / max(left, 1)
                new = not runs or now - runs[-1][-1][0]["hour"] > apart * _HOUR
                runs += [[]] if new else []
                runs[-1].append((one, chance, usual))
                loud.append(now)
                continue
        quiet.append((now, back))
    return [_event(pool, run, score(alpha)) for run in runs]


def _event(pool: str, run: list[tuple[dict[str, Any], float, float]], limit: float) -> dict[str, Any]:
    first, last = run[0][0]["hour"], run[-1][0]["hour"]
    back, changes = (sum(one[name] for one, _, _ in run) for name in ("back", "changes"))
    usual = run[0][2]
    return {
        "kind": "failure_mode",
        "failure_mode": "F3",
        "detector": "reversals per hour",
        "metric": "reversals",
        "unit": "changes",
        "dimension": "pool",
        "value": pool,
        "first": first,
        "last": last,
        "grain": "hour",
        "direction": "up",
        "actual": float(back),
        "expected": usual * len(run),
        "score": max(score(chance) for _, chance, _ in run),
        "threshold": limit,
        "detected": first + _HOUR,
        "note": f"{plural(len(run), 'hour')} of thrash: {back:,} of {plural(changes, 'change')} are taken back "
        "within minutes",
    }
