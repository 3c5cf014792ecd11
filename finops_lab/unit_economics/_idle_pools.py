"""What the idle time of serving pools cost by GPU samples, where a ledger does not set it apart."""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from decimal import Decimal

import polars as pl

from finops_lab.money import exact_sum

__all__ = ["idle_of_pools"]


def idle_of_pools(
    gpu_days: pl.LazyFrame | pl.DataFrame | None, calls: pl.DataFrame, dimension: str | None
) -> dict[tuple[date, str | None], tuple[Decimal, float]]:
    """Return what was idle per month and value of a dimension, at the samples' own rates, in USD.

    Parameters
    ----------
    gpu_days : polars.LazyFrame or polars.DataFrame, optional
        `finops_lab.unit_economics.schemas.GPU_DAYS`. Of several kinds of utilization of a pool, the
        one that most of its time is sampled by counts, on a tie the first by name.
    calls : polars.DataFrame
        ``month``, ``pool_id`` and the dimension: the traffic that the pools serve. Pools that serve
        none of it are left out.
    dimension : str, optional
        The dimension; the whole without it.

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
    >>> calls = pl.DataFrame({"month": [date(2026, 10, 1)], "pool_id": ["p"], "model": ["m"]})
    >>> idle_of_pools(days, calls, "model")
    {(datetime.date(2026, 10, 1), 'm'): (Decimal('2.000000000000000000'), 1.0)}
    """
    if gpu_days is None:
        return {}
    pool = ["month", "pool_id"]
    key = pl.lit(None, pl.String) if dimension is None else pl.col(dimension)
    serves = calls.filter(pl.col("pool_id").is_not_null()).select(*pool, key.alias("key")).unique()
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
    values: dict[tuple[date, str], set[str | None]] = defaultdict(set)
    for month, name, value in serves.iter_rows():
        values[month, name].add(value)
    shared: set[tuple[date, str | None]] = set()
    found: dict[tuple[date, str | None], list[Decimal | None]] = defaultdict(list)
    for (month, name), served in sorted(values.items()):
        for value in served:
            found[month, value].append(known.get((month, name)))
            shared |= {(month, value)} if len(served) > 1 else set()
    return {
        place: (exact_sum(amounts), len(amounts) / len(pools))
        for place, pools in found.items()
        if place not in shared and (amounts := [amount for amount in pools if amount is not None])
    }
