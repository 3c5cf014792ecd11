"""Alerts of service levels as events, so that they are routed and grouped like all others."""

from __future__ import annotations

from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import polars as pl

from finops_lab.errors import InputError

__all__ = ["burn_events"]

_NEEDED = (
    "slo", "dimension", "service", "objective", "begin", "end", "severity", "kind", "window", "threshold",
    "long_rate", "spent_after", "status",
)  # fmt: skip
_SLOT = timedelta(minutes=5)


def burn_events(burn: pl.DataFrame, now: datetime) -> list[dict[str, Any]]:
    """Make events of proved alerts of service levels.

    Parameters
    ----------
    burn : polars.DataFrame
        As of `finops_lab.service_levels.alerts.alerts`. Those that chance may have brought wake nobody.
    now : datetime.datetime
        Until when those last that have not ended.

    Returns
    -------
    list of dict
        Rows of events of kind ``slo``, with ``severity`` and ``running``.

    Raises
    ------
    InputError
        A column is missing.
    """
    for name in _NEEDED:
        if name not in burn.columns:
            raise InputError("alerts of service levels need it", column=name)
    proved = burn.filter(pl.col("status") == "proved", pl.col("begin") <= now)
    return [_event(row, now) for row in proved.sort("begin", "slo", "severity", "kind").rows(named=True)]


def _event(row: dict[str, Any], now: datetime) -> dict[str, Any]:
    running = row["end"] is None or row["end"] > now
    end = now if running else row["end"]
    burning = row["kind"] == "burn rate"
    name = (row["slo"], row["dimension"], row["service"], row["objective"], row["severity"], row["kind"])
    moment = row["begin"].replace(tzinfo=None).isoformat()
    told = f"{row['long_rate']:.3g} times as fast as its error budget allows ({row['window']})" if burning else (
        f"{row['window']} is spent"
    )  # fmt: skip
    return {
        "id": sha256("\x1f".join(["slo", *map(str, name), moment]).encode()).hexdigest()[:12],
        "kind": "slo",
        "detector": row["kind"],
        "metric": row["objective"],
        "unit": "ratio",
        "dimension": row["dimension"],
        "value": row["service"],
        "x_model": row["service"] if row["dimension"] == "model" else None,
        "x_feature": row["service"] if row["dimension"] == "feature" else None,
        "first": row["begin"],
        # The slot that ends then is the last one.
        "last": max(row["begin"], end - _SLOT),
        "grain": "5m",
        "direction": "up",
        "actual": row["long_rate"] if burning else row["spent_after"],
        "expected": row["threshold"] if burning else None,
        "detected": row["begin"],
        "status": "open",
        "note": told,
        "severity": row["severity"],
        "running": running,
    }
