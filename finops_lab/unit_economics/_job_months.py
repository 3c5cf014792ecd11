"""Attempts of training jobs, month by month: what spans months is split by the time in each."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl

from finops_lab.calendar import add_months, months_from
from finops_lab.money import MONEY, split
from finops_lab.unit_economics._by_dimension import PLACE, engine_for

__all__ = ["READ", "every_month", "job_months", "overlaps"]

# What is read of `training_jobs`.
READ: dict[str, pl.DataType | type[pl.DataType]] = {
    **dict.fromkeys(("job_id", "model", "team", "kind", "state", "purchase", "instance_type"), pl.String()),
    "attempt": pl.Int64,
    **dict.fromkeys(("ts_submit", "ts_start", "ts_end"), pl.Datetime("us", "UTC")),
    "gpu_count": pl.Float64,
    "node_count": pl.Int64,
    "wall_s": pl.Float64,
    "cost_usd": MONEY,
}

_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "month": pl.Date,
    "job_id": pl.String,
    "attempt": pl.Int64,
    "model": pl.String,
    "team": pl.String,
    "kind": pl.String,
    "state": pl.String,
    "purchase": pl.String,
    "instance_type": pl.String,
    "nodes": pl.Int64,
    "ts_start": pl.Datetime("us", "UTC"),
    "ts_end": pl.Datetime("us", "UTC"),
    "wall_ms": pl.Int64,
    "gpu_ms": pl.Int64,
    "cost_usd": MONEY,
}


def overlaps(start: datetime, end: datetime) -> list[tuple[date, int]]:
    """Return the months of a period and the microseconds of it in each; one month for a moment.

    Examples
    --------
    >>> overlaps(datetime(2026, 9, 30, 23, tzinfo=UTC), datetime(2026, 10, 1, 0, 30, tzinfo=UTC))
    [(datetime.date(2026, 9, 1), 3600000000), (datetime.date(2026, 10, 1), 1800000000)]
    """
    first, found = start.date().replace(day=1), []
    for month in months_from(first, end.date().replace(day=1)):
        begin = datetime(month.year, month.month, 1, tzinfo=UTC)
        after = add_months(month, 1)
        stop = datetime(after.year, after.month, 1, tzinfo=UTC)
        lasts = (min(stop, end) - max(begin, start)) // timedelta(microseconds=1)
        if lasts > 0:
            found.append((month, lasts))
    return found or [(first, 0)]


def job_months(jobs: pl.LazyFrame | pl.DataFrame) -> pl.DataFrame:
    """Return one row per attempt and month that it ran in, whose sums are those of the attempts.

    A missing end is worked out of begin and wall clock, a missing begin of end and wall clock, and
    the wall clock of both. What is known of one moment only (a running attempt's begin, an
    attempt that was submitted and no more) belongs to the month of that moment. Without any time
    the month is null.

    Parameters
    ----------
    jobs : polars.LazyFrame or polars.DataFrame
        Rows of `training_jobs`.

    Returns
    -------
    polars.DataFrame
        ``month`` (Date), what the job says of itself, ``nodes`` (1 where unknown), ``ts_start`` and
        ``ts_end`` of the whole attempt, and of the month ``wall_ms``, ``gpu_ms`` (Int64, wall
        milliseconds x thousandths of GPUs) and ``cost_usd`` (Decimal). Unknown is null.

    Examples
    --------
    >>> job = {"job_id": "j", "attempt": 1, "ts_start": datetime(2026, 9, 30, 23, tzinfo=UTC), "wall_s": 7200.0,
    ...     "cost_usd": Decimal("0.03")}
    >>> found = job_months(pl.DataFrame([job], schema=READ))
    >>> [(str(m), ms, str(usd.normalize())) for m, ms, usd in found.select("month", "wall_ms", "cost_usd").rows()]
    [('2026-09-01', 3600000, '0.015'), ('2026-10-01', 3600000, '0.015')]
    """
    ms = pl.duration(milliseconds=pl.col("wall_ms"))
    start, end = pl.col("ts_start"), pl.col("ts_end")
    table = (
        jobs.lazy()
        .with_columns((pl.col("wall_s") * 1000).round(0).cast(pl.Int64).alias("wall_ms"))
        .with_columns(
            pl.coalesce(start, end - ms).alias("ts_start"),
            pl.coalesce(end, start + ms).alias("ts_end"),
            pl.coalesce("wall_ms", (end - start).dt.total_milliseconds()).alias("wall_ms"),
        )
        .with_columns(
            pl.coalesce("ts_start", "ts_end", "ts_submit").dt.date().dt.month_start().alias("month"),
            pl.col("node_count").cast(pl.Int64).fill_null(1).alias("nodes"),
            (pl.col("wall_ms") * (pl.col("gpu_count") * 1000).round(0).cast(pl.Int64)).alias("gpu_ms"),
            pl.col("cost_usd").cast(MONEY),
            pl.col("attempt").cast(pl.Int64),
        )
        .select(pl.col(name).cast(kind) for name, kind in _SCHEMA.items())
        .collect(engine=engine_for(jobs))
    )
    # An end on the first moment of a month is the end of the month before.
    last = (pl.col("ts_end") - pl.duration(microseconds=1)).dt.date().dt.month_start()
    spans = (last > pl.col("month")).fill_null(False)
    long = [part for row in table.filter(spans).iter_rows(named=True) for part in _parts(row)]
    if long:
        table = pl.concat([table.filter(~spans), pl.DataFrame(long, schema=_SCHEMA, orient="row")])
    return table.sort("job_id", "attempt", "month", nulls_last=True)


def _parts(row: dict[str, Any]) -> list[dict[str, Any]]:
    months = overlaps(row["ts_start"], row["ts_end"])
    weights = [lasts for _, lasts in months]

    def divide(amount: Decimal | int | None, scale: int) -> list[Decimal | None]:
        if amount is None:
            return [None] * len(months)
        return list(split(Decimal(amount), weights, scale=scale))

    walls, gpus, costs = divide(row["wall_ms"], 0), divide(row["gpu_ms"], 0), divide(row["cost_usd"], 18)
    return [
        {
            **row,
            "month": month,
            "wall_ms": None if walls[i] is None else int(walls[i] or 0),
            "gpu_ms": None if gpus[i] is None else int(gpus[i] or 0),
            "cost_usd": costs[i],
        }
        for i, (month, _) in enumerate(months)
    ]


def every_month(months: pl.Series) -> pl.LazyFrame:
    """Return what figures of the whole are of, every month from the first to the last: see `PLACE`.

    Examples
    --------
    >>> every_month(pl.Series([date(2026, 12, 1), None, date(2026, 10, 1)])).collect().height
    3
    """
    known = months.drop_nulls().to_list()
    every = pl.LazyFrame(
        {"month": months_from(min(known), max(known)) if known else []}, schema={"month": pl.Date}
    )
    nothing = pl.lit(None, pl.String)
    return every.with_columns(nothing.alias("dimension"), nothing.alias("key")).select(PLACE)
