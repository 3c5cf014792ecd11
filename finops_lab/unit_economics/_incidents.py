"""Spot evictions as incidents: what one interruption of a job lost, and what that cost."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl

from finops_lab.money import MONEY, divided

__all__ = ["READ", "incidents", "untold"]

_HOUR = Decimal(3_600_000)
# An eviction and the end of the attempt that it ended are told by different clocks.
_APART = timedelta(minutes=15)
# What is read of `spot_evictions`, in the order that rows are sorted by.
READ: dict[str, pl.DataType | type[pl.DataType]] = {
    **dict.fromkeys(("ts_lost", "ts_recovered"), pl.Datetime("us", "UTC")),
    **dict.fromkeys(("instance_type", "job_id"), pl.String()),
    **dict.fromkeys(("lost_work_s", "restart_s"), pl.Float64()),
    **dict.fromkeys(("price_usd_per_hour", "fallback_price_usd_per_hour"), MONEY),
}
_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "month": pl.Date,
    "model": pl.String,
    "team": pl.String,
    "instance_type": pl.String,
    "evictions": pl.Int64,
    "lost_ms": pl.Int64,
    "restart_ms": pl.Int64,
    "lost_machine_ms": pl.Int64,
    "lost_usd": MONEY,
    "restart_usd": MONEY,
    "fallback_usd": MONEY,
}


def incidents(evictions: pl.LazyFrame | pl.DataFrame, attempts: pl.DataFrame) -> pl.DataFrame:
    """Put evictions that hit one job at once together, and price them.

    Machines of a job that are taken while it is still recovering are one incident: it loses the
    longest work and takes the longest restart, on all machines of the job (``node_count``; one
    where the job is not known), at the price of the spot machine. The fallback's premium is what
    the job's next attempt cost more than spot, where that attempt is known: nothing if it ran on
    spot again.

    Parameters
    ----------
    evictions : polars.LazyFrame or polars.DataFrame
        Rows of `spot_evictions`.
    attempts : polars.DataFrame
        What `job_months` returns.

    Returns
    -------
    polars.DataFrame
        ``month`` (Date, of the first loss), ``model``, ``team``, ``instance_type`` (the job's, else
        the eviction's), ``evictions`` (rows), ``lost_ms``, ``restart_ms``, ``lost_machine_ms``
        (Int64), ``lost_usd``, ``restart_usd``, ``fallback_usd`` (Decimal). Unknown is null.
    """
    rows = evictions.lazy().select(list(READ)).collect().sort(list(READ), nulls_last=True)
    known: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for attempt in _whole_attempts(attempts).iter_rows(named=True):
        known[attempt["job_id"]].append(attempt)
    found = [
        _told(group, known.get(group[0]["job_id"], [])) for group in _together(rows.iter_rows(named=True))
    ]
    return pl.DataFrame(found, schema=_SCHEMA, orient="row").sort(list(_SCHEMA), nulls_last=True)


def untold(evictions: pl.LazyFrame | pl.DataFrame, attempts: pl.DataFrame) -> pl.DataFrame:
    """Return the attempts on spot that were preempted, and that no eviction tells of.

    Parameters
    ----------
    evictions, attempts
        As for `incidents`.

    Returns
    -------
    polars.DataFrame
        ``month`` (of the end), ``model``, ``team``: a row per attempt. An eviction tells of an attempt
        of its job that it fell into, or whose end it came 15 minutes before or after.
    """
    ended = attempts.filter(
        pl.col("state") == "preempted",
        pl.col("purchase") == "spot",
        pl.col("month") == pl.coalesce("ts_end", "ts_start").dt.date().dt.month_start(),
    ).with_row_index("_n")
    lost = evictions.lazy().select("job_id", "ts_lost").drop_nulls().collect()
    begun, end = pl.coalesce("ts_start", "ts_end"), pl.coalesce("ts_end", "ts_lost")
    told = ended.join(lost, on="job_id").filter(
        pl.col("ts_lost").is_between(begun - _APART, pl.max_horizontal(begun, end) + _APART)
    )
    return ended.join(told, on="_n", how="anti").select("month", "model", "team")


def _whole_attempts(attempts: pl.DataFrame) -> pl.DataFrame:
    """Put the months of an attempt together again."""
    keys = ["job_id", "attempt", "ts_start", "model", "team", "instance_type", "purchase", "nodes"]
    begun = attempts.filter(pl.col("ts_start").is_not_null())
    wall = pl.when(pl.col("wall_ms").null_count() == 0).then(pl.col("wall_ms").sum()).alias("wall_ms")
    return begun.group_by(keys).agg(wall).sort("job_id", "ts_start", "attempt")


def _together(rows: Iterable[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    groups: list[list[dict[str, Any]]] = []
    open_ones: dict[str, tuple[list[dict[str, Any]], datetime]] = {}
    for row in rows:
        job, lost = row["job_id"], row["ts_lost"]
        until = row["ts_recovered"] or lost + timedelta(seconds=row["restart_s"] or 0)
        if job in open_ones and lost <= open_ones[job][1]:
            group, before = open_ones[job]
            group.append(row)
            open_ones[job] = (group, max(before, until))
            continue
        groups.append([row])
        if job is not None:
            open_ones[job] = (groups[-1], until)
    return groups


def _told(group: list[dict[str, Any]], attempts: list[dict[str, Any]]) -> dict[str, Any]:
    first = group[0]
    at = bisect_right([attempt["ts_start"] for attempt in attempts], first["ts_lost"])
    hit = attempts[at - 1] if at else None
    after = attempts[at] if attempts and at < len(attempts) else None
    about = hit or after or {}
    machines = about.get("nodes", 1)
    lost, restart = _longest(group, "lost_work_s"), _longest(group, "restart_s")
    price = _highest(group, "price_usd_per_hour")
    return {
        "month": first["ts_lost"].date().replace(day=1),
        "model": about.get("model"),
        "team": about.get("team"),
        "instance_type": about.get("instance_type") or first["instance_type"],
        "evictions": len(group),
        "lost_ms": lost,
        "restart_ms": restart,
        "lost_machine_ms": None if lost is None else lost * machines,
        "lost_usd": _usd(lost, machines, price),
        "restart_usd": _usd(restart, machines, price),
        "fallback_usd": _premium(after, price, _highest(group, "fallback_price_usd_per_hour")),
    }


def _longest(group: list[dict[str, Any]], name: str) -> int | None:
    known = [row[name] for row in group if row[name] is not None]
    return round(max(known) * 1000) if known else None


def _highest(group: list[dict[str, Any]], name: str) -> Decimal | None:
    return max((row[name] for row in group if row[name] is not None), default=None)


def _usd(ms: int | None, machines: int, price: Decimal | None) -> Decimal | None:
    return None if ms is None or price is None else divided(price, _HOUR, ms * machines)


def _premium(after: dict[str, Any] | None, price: Decimal | None, fallback: Decimal | None) -> Decimal | None:
    if after is None or after["purchase"] is None:
        return None
    if after["purchase"] == "spot":
        return Decimal(0)
    if price is None or fallback is None:
        return None
    return _usd(after["wall_ms"], after["nodes"], fallback - price)
