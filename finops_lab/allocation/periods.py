"""Hourly use added up within the periods that bill rows charge for."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

__all__ = ["PERIOD", "within"]

PERIOD = ("_start", "_end")
_MAX_HOURS = 24 * 366
_HOUR = 3_600_000_000


def within(periods: pl.LazyFrame, use: pl.LazyFrame, keys: Sequence[str]) -> pl.LazyFrame:
    """Add up hourly use within each charge period.

    Parameters
    ----------
    periods : polars.LazyFrame
        ``_start`` and ``_end`` (Datetime, UTC), each pair once. A period without an end, or of less
        than an hour, is the hour that it starts in; of one longer than a year, the first year counts.
    use : polars.LazyFrame
        ``hour``, the keys, and columns to add up.
    keys : sequence of str
        Columns that tell users apart.

    Returns
    -------
    polars.LazyFrame
        The period, the keys, and the sums. Periods without use have no row.
    """
    keys = list(dict.fromkeys(keys))
    first = pl.col("_start").dt.truncate("1h")
    # The last hour is the one in which the period's last microsecond lies.
    last = pl.max_horizontal(first, pl.col("_end").fill_null(first) - pl.duration(microseconds=1))
    last = pl.min_horizontal(last, first + pl.duration(hours=_MAX_HOURS))
    hours = periods.with_columns(pl.datetime_ranges(first, last, interval="1h").alias("hour"))
    found = hours.explode("hour", empty_as_null=False).join(use, on="hour", how="inner")
    sums = [name for name in use.collect_schema() if name not in ("hour", *keys)]
    # Of an hour that the period covers in part, that part counts; of a period without length, all.
    begin = pl.max_horizontal("_start", "hour")
    until = pl.min_horizontal(pl.coalesce("_end", "hour"), pl.col("hour") + pl.duration(hours=1))
    part = (until - begin).dt.total_microseconds().clip(0).cast(pl.Int128)
    part = pl.when(part == 0).then(pl.lit(_HOUR, pl.Int128)).otherwise(part)
    # In 128 bits, so that what leaves 64 is an error and no negative number.
    scaled = [(pl.col(n).cast(pl.Int128) * part // _HOUR).alias(n) for n in sums]
    added = (
        found.with_columns(scaled).group_by([*PERIOD, *keys], maintain_order=False).agg(pl.col(sums).sum())
    )
    return added.with_columns(pl.col(sums).cast(pl.Int64))
