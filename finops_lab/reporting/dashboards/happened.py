"""What happened in a month: releases of services, and days that cost more than usual."""

from __future__ import annotations

import polars as pl

__all__ = ["dear_days", "releases"]


def releases(deploys: pl.DataFrame) -> pl.DataFrame:
    """Join the deployments of a service's pools that belong together.

    Parameters
    ----------
    deploys : polars.DataFrame
        The `deploys` contract.

    Returns
    -------
    polars.DataFrame
        In order of time: ``begin`` (Datetime, of the first), ``service``, ``kind``, ``version``
        (of the model, else the commit), ``status``, ``pools`` (Int64, 0 where none is named).

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> rows = {"ts": [datetime(2026, 10, 21, 9, m, tzinfo=UTC) for m in (0, 4)], "service": ["chat"] * 2,
    ...     "pool_id": ["a", "b"], "model_version": ["v2"] * 2, "commit": [None] * 2, "kind": ["deploy"] * 2,
    ...     "status": ["succeeded"] * 2}
    >>> releases(pl.DataFrame(rows)).select("kind", "version", "pools").rows()
    [('deploy', 'v2', 2)]
    """
    keys = ["kind", "version", "status"]
    version = pl.coalesce(pl.col("model_version", "commit").cast(pl.String)).alias("version")
    rows = deploys.with_columns(version).sort("service", "ts", "pool_id", nulls_last=True)
    other = pl.any_horizontal(pl.col(key).ne_missing(pl.col(key).shift().over("service")) for key in keys)
    late = (pl.col("ts") - pl.col("ts").shift().over("service")) >= pl.duration(hours=1)
    numbered = rows.with_columns((other | late.fill_null(True)).cum_sum().over("service").alias("_number"))
    return (
        numbered.group_by("service", "_number", *keys)
        .agg(
            pl.col("ts").min().alias("begin"),
            pl.col("pool_id").drop_nulls().n_unique().cast(pl.Int64).alias("pools"),
        )
        .sort("begin", "service", "_number", nulls_last=True)
        .select("begin", "service", "kind", "version", "status", "pools")
    )


def dear_days(entries: pl.DataFrame, metric: str) -> pl.DataFrame:
    """Hold each day against the median day, and name what of it rose most.

    Parameters
    ----------
    entries : polars.DataFrame
        Ledger entries of charges for use.
    metric : str
        The cost column.

    Returns
    -------
    polars.DataFrame
        Dearest first: ``day``, ``amount`` (Decimal), ``usual`` (Float64, the median day),
        ``times`` (Float64, null where the median is not above 0), ``what`` (String, team and
        service that lie furthest above their own median day), ``above`` (Float64, by how much).
    """
    keys, amount = ["x_team", "ServiceName"], pl.col(metric)
    sums = entries.group_by(day="x_ChargeDate").agg(amount.sum().alias("amount"))
    usual = sums["amount"].cast(pl.Float64).median()
    parts = entries.group_by(*keys, day="x_ChargeDate").agg(amount.sum().cast(pl.Float64).alias("part"))
    # A day without a charge is a day of nothing: it counts for the median of a team and service.
    grid = parts.select(keys).unique().join(sums.select("day"), how="cross")
    every = grid.join(parts, on=[*keys, "day"], how="left", nulls_equal=True).with_columns(
        pl.col("part").fill_null(0.0)
    )
    above = (pl.col("part") - pl.col("part").median().over(keys)).alias("above")
    name = pl.concat_str(*keys, separator=" · ", ignore_nulls=True).alias("what")
    most = (
        every.select("day", name, above)
        .sort("day", "above", "what", descending=[False, True, False], nulls_last=True)
        .unique("day", keep="first", maintain_order=True)
    )
    times = pl.when(pl.lit(usual) > 0).then(pl.col("amount").cast(pl.Float64) / pl.lit(usual)).alias("times")
    found = sums.with_columns(pl.lit(usual, pl.Float64).alias("usual"), times).join(
        most, on="day", how="left"
    )
    return found.sort("amount", "day", descending=[True, False])
