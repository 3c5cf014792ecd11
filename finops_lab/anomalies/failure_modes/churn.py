"""F5, spot restart churn: more interruptions of a job, or of a place in a week, than the past allows."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl

from finops_lab.anomalies.event import EVENTS, as_events
from finops_lab.anomalies.failure_modes._chances import of_count, score
from finops_lab.errors import InputError
from finops_lab.money import MONEY, divided

__all__ = ["spot_churn"]

_WEEK = timedelta(days=7)
_LEAST_PAST = 28.0  # days
# Machines of one place that are taken within this time are one interruption.
_AT_ONCE = timedelta(minutes=10)
_READ: dict[str, pl.DataType] = {
    "ts_lost": pl.Datetime("us", "UTC"),
    **dict.fromkeys(("provider", "region", "instance_type", "job_id"), pl.String()),
    **dict.fromkeys(("lost_work_s", "restart_s"), pl.Float64()),
    "price_usd_per_hour": MONEY,
}


def spot_churn(
    evictions: pl.LazyFrame | pl.DataFrame,
    jobs: pl.LazyFrame | pl.DataFrame | None = None,
    *,
    watched_since: datetime | None = None,
    fewest: int = 3,
    alpha: float = 1e-4,
    since: datetime | None = None,
) -> pl.DataFrame:
    """Find spot capacity that is taken again and again.

    Of a place (provider, region, machine type), the interruptions of seven days are compared with those of
    all days before; of a job, its interruptions with those per hour of all spot attempts before it
    (negative binomial predictions).

    Parameters
    ----------
    evictions : polars.LazyFrame or polars.DataFrame
        `spot_evictions`. Machines of a place or job taken within 10 minutes are one interruption.
    jobs : polars.LazyFrame or polars.DataFrame, optional
        `training_jobs`: how long attempts on spot ran. Without it no job is judged.
    watched_since : datetime.datetime, optional
        When evictions began to be recorded; by default at the first one.
    fewest : int
        Interruptions, at least.
    alpha : float
        Chance that a place's week, or a job, like those before makes an event.
    since : datetime.datetime, optional
        Events detected before are left out.

    Returns
    -------
    polars.DataFrame
        `EVENTS`, failure mode F5, metric ``interruptions``, dimension ``place`` or ``job``.
        ``excess_amount`` is the spot price of the work lost and the restarts, in USD, where all are known.

    Raises
    ------
    InputError
        Fewer than 1 interruption, or a chance outside 0 to 1.

    Examples
    --------
    One interruption a fortnight, then eight in a day.

    >>> from datetime import UTC
    >>> day = datetime(2026, 8, 1, tzinfo=UTC)
    >>> at = [*(day + timedelta(days=14 * i) for i in range(5)), *(day + timedelta(days=60, hours=i) for i in range(8))]
    >>> rows = pl.DataFrame({"ts_lost": at, "region": "r1", "instance_type": "g8"})
    >>> spot_churn(rows).select("value", "actual", "detected").row(0)[:2]
    ('- / r1 / g8', 9.0)
    """
    if fewest < 1 or not 0 < alpha < 1:
        raise InputError("churn takes an interruption or more, a chance lies between 0 and 1")
    frame = evictions.lazy()
    known = frame.collect_schema()
    rows = frame.select(
        (pl.col(name) if name in known else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in _READ.items()
    ).collect()
    if rows.is_empty():
        return pl.DataFrame(schema=EVENTS)
    place = pl.concat_str(
        [pl.col(name).fill_null("-") for name in ("provider", "region", "instance_type")], separator=" / "
    )
    rows = rows.with_columns(place.alias("place")).sort("ts_lost", *list(_READ)[1:], nulls_last=True)
    begin = watched_since or rows["ts_lost"][0]
    found: list[dict[str, Any]] = []
    for part in rows.partition_by("place", maintain_order=True):
        found += _of_place(part.rows(named=True), begin, fewest, alpha)
    if jobs is not None:
        found += _of_jobs(rows, jobs, fewest, alpha)
    if not found:
        return pl.DataFrame(schema=EVENTS)
    events = as_events(pl.DataFrame(found, schema_overrides=EVENTS, infer_schema_length=None))
    return events if since is None else events.filter(pl.col("detected") >= since)


def _apart(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Keep the first row of each interruption."""
    kept: list[dict[str, Any]] = []
    for row in rows:
        if not kept or row["ts_lost"] - kept[-1]["ts_lost"] > _AT_ONCE:
            kept.append(row)
    return kept


def _of_place(rows: list[dict[str, Any]], begin: datetime, fewest: int, alpha: float) -> list[dict[str, Any]]:
    apart, found = _apart(rows), list[dict[str, Any]]()
    for now in (row["ts_lost"] for row in apart):
        start = now - _WEEK
        days = (start - begin) / timedelta(days=1)
        lately = [row for row in apart if start < row["ts_lost"] <= now]
        before = sum(row["ts_lost"] <= start for row in apart)
        if len(lately) < fewest or days < _LEAST_PAST:
            continue
        chance = of_count(len(lately), 7.0, before, days)
        if chance >= alpha:
            continue
        first = lately[0]["ts_lost"]
        if found and first <= found[-1]["last"]:
            first, detected = found[-1]["first"], found[-1]["detected"]
            found.pop()
        else:
            detected = now
        whole = [row for row in rows if first <= row["ts_lost"] <= now]
        weeks = max((now - first) / _WEEK, 1.0)
        usual = before / days * 7.0 * weeks
        found.append(
            _event("place", rows[0]["place"], whole, len(_apart(whole)), usual, chance, alpha, detected)
        )
    return found


def _of_jobs(
    rows: pl.DataFrame, jobs: pl.LazyFrame | pl.DataFrame, fewest: int, alpha: float
) -> list[dict[str, Any]]:
    spot = (
        jobs.lazy()
        .filter(pl.col("purchase") == "spot", pl.col("ts_start").is_not_null())
        .select("job_id", "ts_start", (pl.col("wall_s") / 3600).fill_null(0.0).alias("hours"))
        .collect()
        .sort("ts_start", "job_id")
    )
    found = []
    for (job,), part in (
        rows.drop_nulls("job_id").partition_by("job_id", as_dict=True, maintain_order=True).items()
    ):
        apart = _apart(part.rows(named=True))
        first = apart[0]["ts_lost"]
        own = spot.filter(pl.col("job_id") == job)
        begin = own["ts_start"].min() if own.height else first
        earlier = spot.filter(pl.col("ts_start") < begin)
        before = rows.filter(pl.col("ts_lost") < begin)
        hours = float(earlier["hours"].sum())
        for number in range(fewest, len(apart) + 1):
            now = apart[number - 1]["ts_lost"]
            ran = max((now - begin) / timedelta(hours=1), 1.0)
            chance = of_count(number, ran, len(_apart(before.rows(named=True))), hours)
            if chance < alpha:
                usual = before.height / hours * max((apart[-1]["ts_lost"] - begin) / timedelta(hours=1), 1.0)
                found.append(
                    _event("job", str(job), part.rows(named=True), len(apart), usual, chance, alpha, now)
                )
                break
    return found


def _event(
    dimension: str,
    value: str,
    rows: list[dict[str, Any]],
    count: int,
    usual: float,
    chance: float,
    alpha: float,
    detected: datetime,
) -> dict[str, Any]:
    lost = [_lost(row) for row in rows]
    known = [amount for amount in lost if amount is not None]
    whole = sum(known, Decimal(0)) if len(known) == len(lost) else None
    return {
        "kind": "failure_mode",
        "failure_mode": "F5",
        "detector": f"interruptions of a {dimension}",
        "metric": "interruptions",
        "unit": "interruptions",
        "dimension": dimension,
        "value": value,
        "x_provider": rows[0]["provider"],
        "first": rows[0]["ts_lost"],
        "last": rows[-1]["ts_lost"],
        "grain": "5m",
        "direction": "up",
        "actual": float(count),
        "expected": usual,
        "excess_amount": whole,
        "BillingCurrency": None if whole is None else "USD",
        "score": score(chance),
        "threshold": score(alpha),
        "detected": detected,
        "note": f"{count} interruptions where {usual:.1f} are usual",
    }


def _lost(row: dict[str, Any]) -> Decimal | None:
    if None in (row["lost_work_s"], row["restart_s"], row["price_usd_per_hour"]):
        return None
    seconds = Decimal(repr(row["lost_work_s"])) + Decimal(repr(row["restart_s"]))
    return divided(row["price_usd_per_hour"] * seconds, Decimal(3600))
