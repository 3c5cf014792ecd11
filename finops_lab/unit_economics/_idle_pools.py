"""What the idle time of serving pools cost by GPU samples, where a ledger does not set it apart."""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from decimal import Decimal

import polars as pl

from finops_lab.money import exact_sum
from finops_lab.unit_economics._by_dimension import PLACE

__all__ = ["idle_of_pools"]


_Place = tuple[str | None, date, str | None]


def idle_of_pools(
    gpu_days: pl.LazyFrame | pl.DataFrame, serves: pl.DataFrame
) -> dict[_Place, tuple[Decimal, float]]:
    """Return what was idle per dimension, month and value of it, at the samples' own rates, in USD.

    Parameters
    ----------
    gpu_days : polars.LazyFrame or polars.DataFrame
        `finops_lab.unit_economics.schemas.GPU_DAYS`. Of several kinds of utilization of a pool, the
        one that most of its time is sampled by counts, on a tie the first by name.
    serves : polars.DataFrame
        ``dimension``, ``month``, ``key`` and ``pool_id``: the traffic that the pools serve, each once.
        Pools that serve none of it are left out.

    Returns
    -------
    dict
        The money, and the share of pools whose samples and rates are known. Nothing for a value that
        shares a pool with another one, or none of whose pools is known.

    Examples
    --------
    >>> from finops_lab.unit_economics.schemas import GPU_DAYS
    >>> days = pl.DataFrame({"day": [date(2026, 10, 3)], "pool_id": ["p"], "util_kind": ["gpu_util"],
    ...     "sampled_s": [Decimal(60)], "idle_usd": [Decimal(2)]}, schema_overrides=GPU_DAYS)
    >>> serves = pl.DataFrame({"dimension": ["model"], "month": [date(2026, 10, 1)], "key": ["m"], "pool_id": ["p"]})
    >>> idle_of_pools(days, serves)
    {('model', datetime.date(2026, 10, 1), 'm'): (Decimal('2.000000000000000000'), 1.0)}
    """
    pool = ["month", "pool_id"]
    spent = (
        gpu_days.lazy()
        .filter(pl.col("pool_id").is_not_null(), pl.col("util_kind").is_not_null())
        .group_by(pl.col("day").dt.month_start().alias("month"), "pool_id", "util_kind")
        .agg(pl.col("sampled_s", "idle_usd").sum(), pl.col("idle_usd").null_count().alias("unknown"))
        .sort(*pool, pl.col("sampled_s") * -1, "util_kind")
        .group_by(pool, maintain_order=True)
        .first()
        .collect()
    )
    known: dict[tuple[date, str], Decimal | None] = {
        (month, name): None if unknown else idle
        for month, name, idle, unknown in spent.select(*pool, "idle_usd", "unknown").iter_rows()
    }
    values: dict[tuple[str | None, date, str], set[str | None]] = defaultdict(set)
    for dimension, month, value, name in serves.select(*PLACE, "pool_id").iter_rows():
        values[dimension, month, name].add(value)
    shared: set[_Place] = set()
    found: dict[_Place, list[Decimal | None]] = defaultdict(list)
    for (dimension, month, name), served in values.items():
        for value in served:
            found[dimension, month, value].append(known.get((month, name)))
            shared |= {(dimension, month, value)} if len(served) > 1 else set()
    return {
        place: (exact_sum(amounts), len(amounts) / len(pools))
        for place, pools in found.items()
        if place not in shared and (amounts := [amount for amount in pools if amount is not None])
    }
