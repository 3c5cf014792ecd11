"""Edge devices as pools: what a fleet costs and what it serves."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import polars as pl

from finops_lab.calendar import days_in_month
from finops_lab.money import MONEY, divided, product
from finops_lab.unit_economics._grouping import monthly
from finops_lab.unit_economics.load import TOKENS
from finops_lab.unit_economics.schemas import COUNTED

__all__ = ["edge_pools"]

_EDGE: dict[str, pl.DataType | type[pl.DataType]] = {
    "month": pl.Date,
    "pool_id": pl.String,
    "model": pl.String,
    "devices": MONEY,
    "calls": COUNTED,
    "tokens": COUNTED,
    "money": MONEY,
    "money_from": pl.String,
    "money_per_device": MONEY,
    "money_per_call": MONEY,
    "calls_per_device": MONEY,
    "reason": pl.String,
}


def edge_pools(
    pools: pl.DataFrame | pl.LazyFrame,
    requests: pl.DataFrame | pl.LazyFrame,
    *,
    edge: pl.Expr | None = None,
    money: pl.DataFrame | pl.LazyFrame | None = None,
    up_to: date | None = None,
) -> pl.DataFrame:
    """Tell what edge devices cost and serve: each fleet of devices is a pool.

    Parameters
    ----------
    pools : polars.DataFrame or polars.LazyFrame
        The `pools` contract: ``gpu_count`` is the number of devices, ``rate_usd_per_gpu_hour`` what
        an hour of one costs (its price over its life, where it was bought).
    requests : polars.DataFrame or polars.LazyFrame
        `finops_lab.unit_economics.schemas.REQUEST_MONTHS`, or ``REQUEST_DAYS``.
    edge : polars.Expr, optional
        Which pools are edge devices; by default those whose id or cluster starts with ``edge``.
    money : polars.DataFrame or polars.LazyFrame, optional
        ``month``, ``pool_id``, ``money`` in USD, such as `finops_lab.unit_economics.capacity.pool_money`:
        counts before devices x hours of the month x rate.
    up_to : datetime.date, optional
        The last day known of a month that is not over: its hours end there.

    Returns
    -------
    polars.DataFrame
        ``month``, ``pool_id``, ``model``, ``devices``, ``calls``, ``tokens``, ``money`` (USD),
        ``money_from`` (``ledger`` or ``rate``), ``money_per_device``, ``money_per_call``,
        ``calls_per_device``, ``reason`` where money is null; sorted. Pools without calls are there.
    """
    wanted = edge
    if wanted is None:
        names = [pl.col(name).cast(pl.String).str.to_lowercase() for name in ("pool_id", "cluster")]
        wanted = pl.any_horizontal(name.str.starts_with("edge").fill_null(False) for name in names)
    fleets = pools.lazy().filter(wanted).collect()
    tokens = pl.sum_horizontal(pl.col(TOKENS).fill_null(0))
    calls = monthly(requests)
    months = calls.select(pl.col("month").unique()).sort("month").collect()["month"].to_list()
    used = (
        calls.filter(pl.col("pool_id").is_in(fleets["pool_id"].to_list()))
        .group_by("month", "pool_id")
        .agg(pl.col("calls").sum(), tokens.sum().alias("tokens"))
        .collect()
    )
    served = {(month, pool): found for month, pool, *found in used.iter_rows()}
    paid = {}
    if money is not None:
        paid = {
            (m, p): amount
            for m, p, amount in money.lazy().select("month", "pool_id", "money").collect().iter_rows()
        }
    rows = []
    for month in months:
        runs_on = up_to is not None and month == up_to.replace(day=1)
        hours = Decimal((up_to.day if up_to and runs_on else days_in_month(month)) * 24)
        for fleet in fleets.sort("pool_id").iter_rows(named=True):
            devices = None if fleet["gpu_count"] is None else Decimal(str(fleet["gpu_count"]))
            by_rate = product(product(devices, hours), fleet["rate_usd_per_gpu_hour"])
            spent = paid.get((month, fleet["pool_id"]), by_rate)
            count, read = served.get((month, fleet["pool_id"]), (Decimal(0), Decimal(0)))
            source = "ledger" if (month, fleet["pool_id"]) in paid else "rate"
            rows.append(
                {
                    "month": month,
                    "pool_id": fleet["pool_id"],
                    "model": fleet["model"],
                    "devices": devices,
                    "calls": count,
                    "tokens": read,
                    "money": spent,
                    "money_from": None if spent is None else source,
                    "money_per_device": divided(spent, devices),
                    "money_per_call": divided(spent, count),
                    "calls_per_device": divided(count, devices),
                    "reason": None if spent is not None else "neither the ledger nor a rate tells the money",
                }
            )
    return pl.DataFrame(rows, schema=_EDGE)
