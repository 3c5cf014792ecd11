"""What `truth.json` says of the planted incident and of the pools that are scaled badly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from finops_lab.samples.compute import pool_name
from finops_lab.samples.demand import Route
from finops_lab.samples.plants import INCIDENT, OVER_PROVISIONED, THRASHING, Plants
from finops_lab.samples.traces import INCIDENT_NUMBERS

__all__ = ["Operations", "told"]


@dataclass(frozen=True)
class Operations:
    """Self-hosted calls, capacity, scale events and deploys as they were exported."""

    calls: pl.DataFrame
    series: pl.DataFrame
    events: pl.DataFrame
    deploys: pl.DataFrame


def told(operations: Operations, plants: Plants) -> dict[str, Any]:
    """Return the entries of `truth.json`; null where nothing was planted."""
    if not plants.on:
        return {"incident": None, "thrashing_pool": None, "over_provisioned_pool": None}
    return {
        "incident": _incident(operations),
        "thrashing_pool": _thrashing(operations),
        "over_provisioned_pool": _over_provisioned(operations),
    }


def _incident(operations: Operations) -> dict[str, Any]:
    calls = operations.calls.filter(pl.col("number") >= INCIDENT_NUMBERS)
    moments = {"deploy": INCIDENT.deployed, "rollback": INCIDENT.rolled_back}
    own = operations.deploys.filter(pl.col("service") == INCIDENT.service)
    changes = {}
    for kind, moment in moments.items():
        ts = f"{moment:%Y-%m-%dT%H:%M:%SZ}"
        rows = own.filter(pl.col("ts") == ts, pl.col("kind") == kind)
        changes[kind] = {"ts": ts, **rows.select("model_version", "commit").row(0, named=True)}
    return {
        "what": f"A bad deploy of {INCIDENT.service}: its calls to {INCIDENT.model} fail until it is rolled back",
        "service": INCIDENT.service,
        "feature": INCIDENT.service,
        "environment": "prod",
        "model": INCIDENT.model,
        "pools": sorted(
            {pool_name(Route(*row)) for row in calls.select("feature", "model", "variant").rows()}
        ),
        **changes,
        "error_types": {
            name: count for name, count in calls.group_by("error").len().sort("error").rows() if name
        },
        "failed_spans": calls.height,
        "calls_per_span": 2**INCIDENT.bits,
        "failed_calls": calls.height * 2**INCIDENT.bits,
        "failed_share_of_all_calls_of_the_feature": round(INCIDENT.failed_share, 3),
        "retries_among_failed_spans": calls["resent"].count(),
    }


def _thrashing(operations: Operations) -> dict[str, Any]:
    key, first, last = THRASHING
    own = operations.events.filter(
        pl.col("pool_id") == pool_name(Route(*key)), pl.col("ts_decision").dt.date().is_between(first, last)
    )
    hours = own.group_by(pl.col("ts_decision").dt.truncate("1h")).len()["len"]
    return {
        "pool_id": pool_name(Route(*key)),
        "first_day": str(first),
        "last_day": str(last),
        "scale_events": own.height,
        "hours_with_six_events_or_more": int((hours >= 6).sum()),
    }


def _over_provisioned(operations: Operations) -> dict[str, Any]:
    key, least = OVER_PROVISIONED
    own = operations.series.filter(pl.col("pool_id") == pool_name(Route(*key)))
    return {
        "pool_id": pool_name(Route(*key)),
        "least": least,
        "ready_hours": own["ready"].sum(),
        "needed_hours": round(own["needed"].sum(), 2),
    }
