"""F4, allocation mismatch: the charges of a resource go to another owner, or to none, from one day on."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any

import polars as pl

from finops_lab.allocation.pooling import UNALLOCATED
from finops_lab.anomalies.event import EVENTS, as_events, event_id
from finops_lab.errors import InputError
from finops_lab.money import MONEY

__all__ = ["owner_changes"]

_SHARED = "\x00"  # what no owner is called


def owner_changes(
    charges: pl.LazyFrame | pl.DataFrame,
    *,
    resource: str = "ResourceName",
    owner: str = "x_team",
    day: str = "ChargePeriodStart",
    metric: str = "EffectiveCost",
    settled_days: int = 14,
    confirmed_days: int = 3,
    since: date | None = None,
) -> pl.DataFrame:
    """Find resources whose owner changes and stays changed.

    Parameters
    ----------
    charges : polars.LazyFrame or polars.DataFrame
        Bill rows with their owner: `resource`, `owner`, `day` (Date or Datetime), `metric` (Decimal),
        ``BillingCurrency``. A null owner and ``unallocated`` are no owner. Corrections
        (``ChargeClass``) do not count, nor rows without a resource.
    resource, owner, day, metric : str
        Names of these columns.
    settled_days : int
        Days with charges that the owner before must have been the only one for.
    confirmed_days : int
        Days with charges that the new one must be, before it is believed.
    since : datetime.date, optional
        Events detected before are left out.

    Returns
    -------
    polars.DataFrame
        `EVENTS`, failure mode F4, metric ``owner``, dimension ``resource``. ``x_team`` is the owner
        before, ``excess_amount`` what has gone to the new one since; ``expected`` and ``actual`` are the
        share of the charges that went to the owner before. ``score`` is days with the new owner,
        ``threshold`` how many are needed.

    Raises
    ------
    InputError
        A missing column, or fewer than one day.

    Examples
    --------
    >>> days = [date(2026, 8, 1) + timedelta(days=i) for i in range(20)]
    >>> rows = pl.DataFrame({"ResourceName": "pool", "x_team": ["a"] * 15 + ["b"] * 5, "ChargePeriodStart": days,
    ...     "EffectiveCost": 10.0, "BillingCurrency": "USD"}).with_columns(pl.col("EffectiveCost").cast(MONEY))
    >>> found = owner_changes(rows)
    >>> found.select("value", "x_team", pl.col("first").dt.date(), pl.col("excess_amount").cast(pl.Float64)).row(0)
    ('pool', 'a', datetime.date(2026, 8, 16), 50.0)
    """
    if settled_days < 1 or confirmed_days < 1:
        raise InputError("an owner is known from a day or more")
    frame = charges.lazy()
    known = frame.collect_schema()
    for name in (resource, owner, day, metric, "BillingCurrency"):
        if name not in known:
            raise InputError("the charges have no such column", column=name)
    if "ChargeClass" in known:
        frame = frame.filter(pl.col("ChargeClass").is_null())
    named = pl.when(pl.col(owner) != UNALLOCATED).then(pl.col(owner))
    # Names of resources are those of their provider.
    provider = pl.col("ProviderName") if "ProviderName" in known else pl.lit(None, pl.String)
    keys = ["provider", "resource", "BillingCurrency"]
    rows = (
        frame.filter(pl.col(resource).is_not_null(), pl.col(metric) > 0)
        .group_by(
            provider.alias("provider"),
            pl.col(resource).alias("resource"),
            "BillingCurrency",
            pl.col(day).cast(pl.Date).alias("day"),
            named.alias("owner"),
        )
        .agg(pl.col(metric).cast(MONEY).sum().alias("amount"))
        .collect()
        .sort(*keys, "day", "owner", nulls_last=True)
    )
    found: list[dict[str, Any]] = []
    # Only resources that ever had two owners can change them.
    several = rows.filter(pl.struct("owner").n_unique().over(keys) > 1)
    for part in several.partition_by(keys, maintain_order=True):
        found += _of_resource(part, settled_days, confirmed_days)
    if not found:
        return pl.DataFrame(schema=EVENTS)
    events = as_events(pl.DataFrame(found, schema_overrides=EVENTS, infer_schema_length=None))
    return events if since is None else events.filter(pl.col("detected").dt.date() >= since)


def _of_resource(rows: pl.DataFrame, settled: int, confirmed: int) -> list[dict[str, Any]]:
    owners = pl.col("owner").drop_nulls()
    days = rows.group_by("day", maintain_order=True).agg(owners).rows()
    stretches: list[tuple[str | None, list[date]]] = []
    for day, named in days:
        # Rows that lost their tags beside rows that have them are no change, and a day that several
        # owners share is a split.
        owner = _SHARED if len(named) > 1 else named[0] if named else None
        if stretches and stretches[-1][0] == owner:
            stretches[-1][1].append(day)
        else:
            stretches.append((owner, [day]))
    stretches = _joined(stretches, confirmed)
    found = []
    for (before, held), (after, taken) in pairwise(stretches):
        if before is None or _SHARED in (before, after) or len(held) < settled or len(taken) < confirmed:
            continue
        found.append(_event(rows, before, after, taken, confirmed))
    return found


def _joined(
    stretches: list[tuple[str | None, list[date]]], confirmed: int
) -> list[tuple[str | None, list[date]]]:
    """Take a few days without tags, or between days of one owner, for days of that owner."""
    found: list[tuple[str | None, list[date]]] = []
    for at, (owner, days) in enumerate(stretches):
        after = stretches[at + 1][0] if at + 1 < len(stretches) else None
        passing = bool(found) and len(days) < confirmed and (owner is None or after == found[-1][0])
        if found and (passing or found[-1][0] == owner):
            found[-1] = (found[-1][0], [*found[-1][1], *days])
        else:
            found.append((owner, days))
    return found


def _event(
    rows: pl.DataFrame, before: str, after: str | None, taken: list[date], confirmed: int
) -> dict[str, Any]:
    since = rows.filter(pl.col("day").is_between(taken[0], taken[-1]))
    provider, name, currency = rows.select("provider", "resource", "BillingCurrency").row(0)
    whole = " / ".join((provider or "-", name, currency))
    return {
        "id": event_id("failure_mode", "owner", "resource", whole, taken[0]),
        "kind": "failure_mode",
        "failure_mode": "F4",
        "detector": "owner of a resource",
        "metric": "owner",
        "unit": "ratio",
        "dimension": "resource",
        "value": name,
        "x_provider": provider,
        "x_team": before,
        "first": _midnight(taken[0]),
        "last": _midnight(taken[-1]),
        "direction": "down",
        "actual": 0.0,
        "expected": 1.0,
        "excess_amount": since["amount"].sum(),
        "BillingCurrency": currency,
        "score": float(len(taken)),
        "threshold": float(confirmed),
        "detected": _midnight(taken[confirmed - 1] + timedelta(days=1)),
        "note": f"its charges go to {after or 'no owner'} instead of {before} since {taken[0]}",
    }


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
