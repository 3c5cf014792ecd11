"""Events as alerts need them: all columns, in UTC, up to now."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl

from finops_lab.alerting.grouping import LENGTHS, end_of
from finops_lab.alerting.schemas import NEEDED
from finops_lab.errors import InputError

__all__ = ["prepared"]

# How late data may be before what it last said counts as over: bills come a day or two after the day.
_LATE = {"day": timedelta(days=2), "hour": timedelta(hours=3), "5m": timedelta(minutes=30)}


def prepared(events: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Check events and fill what they do not say.

    Parameters
    ----------
    events : polars.DataFrame
        Columns of `NEEDED`, at least ``id``, ``kind``, ``metric``, ``dimension`` and ``first``.
    now : datetime.datetime
        In UTC; later events are left out.

    Returns
    -------
    polars.DataFrame
        `NEEDED`, ``severity`` (null) and ``running`` (whether data still tells of it), by begin and id.

    Raises
    ------
    InputError
        A column is missing or holds something else.
    """
    for name in ("id", "kind", "metric", "dimension", "first"):
        if name not in events.columns or events[name].null_count():
            raise InputError("an event needs it", column=name)
    given = []
    for name, kind in NEEDED.items():
        if name not in events.columns:
            given.append(pl.lit(None, kind).alias(name))
            continue
        held = events.schema[name]
        column = pl.col(name)
        if isinstance(kind, pl.Datetime) and not (isinstance(held, pl.Datetime) and held.time_zone):
            column = column.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
        given.append(column.cast(kind))
    frame = events.select(given).with_columns(
        pl.col("last").fill_null(pl.col("first")),
        pl.col("grain").fill_null("day"),
        pl.col("status").fill_null("open"),
        pl.lit(None, pl.String).alias("severity"),
    )
    for name, allowed in {"grain": LENGTHS, "direction": ("up", "down")}.items():
        wrong = frame.filter(~pl.col(name).is_in(list(allowed)))
        if wrong.height:
            raise InputError(
                f"{wrong[name][0]!r} is not allowed", column=name, hint=f"one of {', '.join(allowed)}"
            )
    over = [end_of(row) + _LATE[row["grain"]] <= now for row in frame.rows(named=True)]
    frame = frame.with_columns(~pl.Series("running", over, pl.Boolean))
    return frame.filter(pl.col("first") <= now).sort("first", "id")
