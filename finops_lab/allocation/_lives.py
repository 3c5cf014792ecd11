"""Serving lives: when which model version was in service, as deploys tell."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import polars as pl

from finops_lab.errors import InputError

__all__ = ["Life", "Version", "lives", "named", "need", "served"]

Version = tuple[str | None, str | None]


@dataclass(frozen=True)
class Life:
    """From the first moment of serving to the last (None while it serves), and the days between."""

    start: datetime
    end: datetime | None
    days: tuple[date, ...]


def need(frame: pl.LazyFrame, names: Iterable[str], what: str) -> pl.Schema:
    """Return the schema of a frame that has the columns, or refuse it."""
    schema = frame.collect_schema()
    for name in names:
        if name not in schema:
            raise InputError(f"the {what} have no column {name!r}", column=name)
    return schema


def served(deploys: pl.LazyFrame, last: date) -> pl.DataFrame:
    """Return the deploys until `last` that put a model version into service, in order."""
    schema = need(deploys, ["ts", "service", "model_version"], "deploys")
    optional = {
        n: pl.lit(None, pl.String).alias(n)
        for n in ("model", "environment", "kind", "status")
        if n not in schema
    }
    end = datetime.combine(last + timedelta(days=1), time(), UTC)
    return (
        deploys.with_columns(*optional.values())
        .filter(
            pl.col("ts") < end,
            pl.col("model_version").is_not_null(),
            pl.col("kind").ne_missing("config"),
            pl.col("status").fill_null("succeeded") == "succeeded",
        )
        .select("ts", "service", "environment", "model", "model_version")
        .sort(pl.all(), nulls_last=True)
        .collect()
    )


def named(own: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    """Fill in a model that only the other table names, where it knows one for the version."""
    known = other.filter(pl.col("model").is_not_null()).group_by("model_version")
    names = known.agg(pl.col("model").n_unique().alias("n"), pl.col("model").first().alias("_model"))
    return (
        own.join(names.filter(pl.col("n") == 1), on="model_version", how="left", maintain_order="left")
        .with_columns(pl.coalesce("model", "_model").alias("model"))
        .drop("n", "_model")
    )


def lives(deployed: pl.DataFrame, last: date) -> dict[Version, Life]:
    """Return the life of every version that served."""
    tracks: dict[tuple[str | None, ...], list[tuple[datetime, str]]] = defaultdict(list)
    columns = ("service", "environment", "model", "ts", "model_version")
    for service, environment, model, ts, version in deployed.select(columns).iter_rows():
        tracks[service, environment, model].append((ts, version))
    spans: dict[Version, list[tuple[datetime, datetime | None]]] = defaultdict(list)
    for (_, _, model), events in tracks.items():
        # A version that is deployed again goes on serving.
        turns = [e for i, e in enumerate(events) if i == 0 or e[1] != events[i - 1][1]]
        ends: list[datetime | None] = [ts for ts, _ in turns[1:]]
        for (start, version), end in zip(turns, [*ends, None], strict=True):
            if start != end:
                spans[model, version].append((start, end))
    return {version: _life(found, last) for version, found in spans.items()}


def _life(spans: list[tuple[datetime, datetime | None]], last: date) -> Life:
    days: set[date] = set()
    for start, end in spans:
        # An end at midnight leaves the new day to the next version.
        final = last if end is None else (end - timedelta(microseconds=1)).date()
        first = start.date()
        days.update(first + timedelta(days=n) for n in range((final - first).days + 1))
    ends = [end for _, end in spans]
    open_ended = None in ends
    return Life(
        min(start for start, _ in spans),
        None if open_ended else max(end for end in ends if end is not None),
        tuple(sorted(days)),
    )
