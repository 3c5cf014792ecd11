"""Deployments as releases, and the calls before and after each."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from finops_lab.anomalies.panel import Floats

__all__ = ["LOOKS", "Sides", "releases", "sides"]

# Hours after a release at which it is looked at.
LOOKS = (1, 3, 6, 24, 72, 168)
BEFORE = timedelta(days=7)
ROLLOUT = timedelta(hours=2)
_US = timedelta(microseconds=1)


@dataclass(frozen=True)
class Sides:
    """Calls before a release and up to a look after it: one array per column asked for."""

    release: dict[str, Any]
    look: datetime
    before: list[Floats]
    after: list[Floats]


def releases(deploys: pl.LazyFrame | pl.DataFrame) -> pl.DataFrame:
    """Put the deployments that roll one change out to the pools of a service and model together.

    Parameters
    ----------
    deploys : polars.LazyFrame or polars.DataFrame
        `deploys`. What is still running is no release yet.

    Returns
    -------
    polars.DataFrame
        ``service``, ``model`` (null where the whole service changed), ``ts`` of the first deployment (the
        others of the same kind, commit and version follow each other within two hours), ``kind``,
        ``commit``, ``model_version``, ``failed`` (one of them did), ``next`` (the next release of the
        service and model, or of the service, that did not fail) and ``rolled_back`` (a rollback of the
        service and model within a day). Sorted by ts and service.

    Examples
    --------
    >>> rows = pl.DataFrame({"ts": [datetime(2026, 10, 1), datetime(2026, 10, 1), datetime(2026, 10, 1, 6)],
    ...     "service": "drafts", "model": "m", "model_version": ["v2", "v2", "v1"], "commit": "c",
    ...     "status": "succeeded", "kind": ["deploy", "deploy", "rollback"]})
    >>> releases(rows).select("kind", "rolled_back").rows()
    [('deploy', True), ('rollback', False)]
    """
    change = ["service", "model", "kind", "commit", "model_version"]
    apart = pl.col("ts") - pl.col("ts").shift().over(change, order_by="ts") > ROLLOUT
    found = (
        deploys.lazy()
        .filter(pl.col("status").ne_missing(pl.lit("running")))
        .sort("ts")
        .with_columns(apart.fill_null(True).cum_sum().over(change, order_by="ts").alias("_rollout"))
        .group_by(*change, "_rollout")
        .agg(pl.col("ts").min(), (pl.col("status") == "failed").any().alias("failed"))
        .drop("_rollout")
        .collect()
        .sort("ts", *change, nulls_last=True)
    )
    rows = found.rows(named=True)
    # Moments of what changed a service and model, and of what took a change back: both in order.
    went, undid = (defaultdict[tuple[str, str | None], list[datetime]](list) for _ in range(2))
    for row in rows:
        if not row["failed"]:
            went[row["service"], row["model"]].append(row["ts"])
            if row["kind"] == "rollback":
                undid[row["service"], row["model"]].append(row["ts"])
    following, undone = [], []
    for row in rows:
        following.append(_next(went, row))
        back = _next(undid, row)
        undone.append(
            row["kind"] != "rollback" and back is not None and back - row["ts"] <= timedelta(days=1)
        )
    return found.with_columns(
        pl.Series("next", following, found.schema["ts"]), pl.Series("rolled_back", undone, pl.Boolean)
    )


def _next(moments: dict[tuple[str, str | None], list[datetime]], row: dict[str, Any]) -> datetime | None:
    """Return the first moment after a release, of its model or of its whole service."""
    found = []
    for model in {row["model"], None}:
        known = moments.get((row["service"], model), [])
        at = bisect_right(known, row["ts"])
        found += known[at : at + 1]
    return min(found, default=None)


def sides(
    deploys: pl.LazyFrame | pl.DataFrame, calls: pl.LazyFrame, columns: list[pl.Expr], service: str
) -> Iterator[Sides]:
    """Yield the calls of a service before each of its releases, and after it by each look.

    Parameters
    ----------
    deploys : polars.LazyFrame or polars.DataFrame
        `deploys`; releases that failed changed nothing.
    calls : polars.LazyFrame
        `inference_requests` that count.
    columns : list of polars.Expr
        What is asked of them, as floats.
    service : str
        Column of the calls that names the service.

    Yields
    ------
    Sides
        Up to seven days before; after, until the next release. A look that the log does not reach, or that
        comes after the next release, is at the end of what there is.
    """
    named = [one.cast(pl.Float64).alias(f"_{number}") for number, one in enumerate(columns)]
    asked = calls.filter(pl.col(service).is_not_null()).select(
        pl.col(service).alias("service"), "model", pl.col("ts_start").alias("ts"), *named
    )
    table = asked.collect().sort("ts", *(f"_{number}" for number in range(len(columns))))
    if table.is_empty():
        return
    newest = table["ts"][-1]
    known: dict[tuple[str, str | None], tuple[Any, list[Floats]]] = {}
    for release in releases(deploys).filter(~pl.col("failed")).rows(named=True):
        key = (release["service"], release["model"])
        if key not in known:
            own = table.filter(
                pl.col("service") == key[0],
                pl.lit(key[1] is None) | (pl.col("model") == pl.lit(key[1], pl.String)),
            )
            arrays = [own[f"_{number}"].to_numpy() for number in range(len(columns))]
            known[key] = (own["ts"].dt.epoch("us").to_numpy(), arrays)
        at, arrays = known[key]
        end = min(newest + _US, release["next"] or newest + _US)
        bounds = [release["ts"] - BEFORE, release["ts"]]
        start, middle = (int(np.searchsorted(at, _epoch(moment))) for moment in bounds)
        for hours in LOOKS:
            look = min(release["ts"] + timedelta(hours=hours), end)
            stop = int(np.searchsorted(at, _epoch(look)))
            yield Sides(release, look, [a[start:middle] for a in arrays], [a[middle:stop] for a in arrays])
            if look >= end:
                break


def _epoch(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond
