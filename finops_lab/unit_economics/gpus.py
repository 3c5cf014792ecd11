"""GPU time rolled up: how much of it samples tell of, and how much of that was in use.

One kind of utilization per row, never mixed: ``gpu_util`` near 1 with ``sm_active`` near 0.5 is
usual, and their mean is nothing. All is weighted by the time that samples stand for. Samples of one
GPU, kind and moment (slices of it, workloads that take turns, the same sample exported twice) share
its interval alike, so that no time counts twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import polars as pl

from finops_lab.errors import InputError, each_name
from finops_lab.money import MONEY
from finops_lab.unit_economics._gpu_cells import HOUR, SECOND, in_cells
from finops_lab.unit_economics.schemas import COUNTED, GPU_DAYS

__all__ = ["combine", "hours", "partial", "roll_up"]

_Schema = dict[str, pl.DataType | type[pl.DataType]]
_NEEDED: _Schema = {
    "ts": pl.Datetime("us", "UTC"),
    "interval_s": pl.Float64,
    "util_kind": pl.String,
    "util": pl.Float64,
}
_TEXTS = ("cluster", "pool_id", "team", "gpu_model", "util_kind")
_READ: _Schema = {
    **_NEEDED,
    **dict.fromkeys(("gpu_uuid", *_TEXTS), pl.String),
    "allocated": pl.Boolean,
    "rate_usd_per_gpu_hour": MONEY,
}
# Of one sample: more would not fit into 64 bits of microseconds.
_LONGEST_S = 9e12
_KEYS = tuple(name for name, dtype in GPU_DAYS.items() if dtype == pl.String)


def roll_up(samples: pl.LazyFrame) -> pl.DataFrame:
    """Roll up GPU samples, a day at a time.

    Parameters
    ----------
    samples : polars.LazyFrame
        Rows of `gpu_samples`. ``ts``, ``interval_s``, ``gpu_uuid``, ``util_kind`` and ``util`` are
        needed; other columns that are not there are unknown.

    Returns
    -------
    polars.DataFrame
        `finops_lab.unit_economics.schemas.GPU_DAYS`, sorted. A sample whose ``util`` is null was not
        measured: it is among ``rows`` and ``gpus``, and its time is no sampled time.

    Raises
    ------
    InputError
        When a needed column is missing.

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> samples = pl.LazyFrame({"ts": [datetime(2026, 10, 1, hour, tzinfo=UTC) for hour in (0, 1)],
    ...     "interval_s": [3600.0, 3600.0], "gpu_uuid": ["g0", "g0"], "util_kind": ["sm_active"] * 2,
    ...     "util": [0.25, 0.75]})
    >>> roll_up(samples).select("util_kind", "gpus", "sampled_s", "busy_s", "peak_util").rows()
    [('sm_active', 1, Decimal('7200.000'), Decimal('3600.000'), 0.75)]
    """
    rows = _read(samples)
    day = pl.col("ts").dt.date()
    days = rows.select(day.unique().sort()).collect().to_series()
    return combine(partial(rows.filter(day == one)) for one in days)


def partial(samples: pl.LazyFrame) -> pl.DataFrame:
    """Roll up the samples of one day; see `roll_up`.

    Raises
    ------
    InputError
        When a needed column is missing, or when the rows are of several days.
    """
    found = _hourly(samples, [*_KEYS[:-1], "allocated", "rate_usd_per_gpu_hour"])
    days = found["hour"].dt.date().unique()
    if days.len() > 1:
        raise InputError("a part holds the samples of one day")
    day = days.max()
    sampled, busy = pl.col("sampled"), pl.col("busy")
    held = pl.col("allocated").fill_null(False)
    rate = pl.col("rate_usd_per_gpu_hour").to_physical().cast(pl.Int128)
    peak = found.group_by(*_KEYS, "hour").agg(pl.col("sampled", "busy").sum())
    peak = peak.group_by(_KEYS).agg((busy / pl.when(sampled > 0).then(sampled)).max().alias("peak_util"))
    gpus = (
        found.select(*_KEYS, "gpu_uuid").unique().group_by(_KEYS).agg(pl.len().cast(pl.Int64).alias("gpus"))
    )
    # Money is worked out once for all the time at a rate, and rounded down to its last decimal.
    rates = found.group_by(*_KEYS, "rate_usd_per_gpu_hour").agg(
        pl.col("rows").sum(),
        sampled.sum(),
        busy.sum(),
        sampled.filter(held).sum().alias("allocated_s"),
        busy.filter(held).sum().alias("allocated_busy_s"),
    )
    priced = rate.is_not_null()
    sums = rates.group_by(_KEYS).agg(
        pl.col("rows").sum(),
        *(
            _seconds(value).alias(name)
            for value, name in ((sampled.sum(), "sampled_s"), (busy.sum(), "busy_s"))
        ),
        *(_seconds(pl.col(name).sum()).alias(name) for name in ("allocated_s", "allocated_busy_s")),
        _seconds(sampled.filter(priced).sum()).alias("priced_s"),
        _money((rate * sampled // HOUR).sum(), priced.any()).alias("sampled_usd"),
        _money((rate * (sampled - busy) // HOUR).sum(), priced.any()).alias("idle_usd"),
    )
    columns = [pl.col(name).cast(dtype) for name, dtype in GPU_DAYS.items()]
    for more in (peak, gpus):
        sums = sums.join(more, on=_KEYS, nulls_equal=True)
    return combine([sums.with_columns(pl.lit(day).alias("day")).select(columns)])


def combine(parts: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Put rolled up days together, in any order; each day must be in one part only."""
    found = pl.concat([pl.DataFrame(schema=GPU_DAYS), *parts])
    return found.sort("day", *_KEYS, nulls_last=True)


def hours(samples: pl.LazyFrame, by: str | Sequence[str] = ()) -> pl.DataFrame:
    """Return the utilization of each GPU in each hour, for charts.

    Parameters
    ----------
    samples : polars.LazyFrame
        Rows of `gpu_samples`, as for `roll_up`; all of them are looked at, and held, together: of many, ask
        a day at a time.
    by : str or sequence of str
        What else tells rows apart: ``cluster``, ``pool_id``, ``team``, ``gpu_model``.

    Returns
    -------
    polars.DataFrame
        ``hour`` (Datetime, UTC), the columns of `by`, ``gpu_uuid``, ``util_kind``, ``rows`` (Int64),
        ``sampled_s`` and ``busy_s`` (Decimal), ``util`` (Float64, 0 to 1: busy part of the sampled
        time; null where nothing was measured); sorted. An interval counts in the hour that it begins
        in.

    Raises
    ------
    InputError
        When a needed column is missing, or `by` names another column.

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> samples = pl.LazyFrame({"ts": [datetime(2026, 10, 1, 7, minute, tzinfo=UTC) for minute in (0, 20)],
    ...     "interval_s": [600.0, 1800.0], "gpu_uuid": ["g0", "g0"], "util_kind": ["sm_active"] * 2,
    ...     "util": [1.0, 0.0]})
    >>> hours(samples).select("sampled_s", "util").rows()
    [(Decimal('2400.000'), 0.25)]
    """
    texts = [name for name in each_name(by) if name not in ("gpu_uuid", "util_kind")]
    if wrong := [name for name in texts if name not in _TEXTS]:
        raise InputError(f"GPU hours are not told by {', '.join(wrong)}", hint=f"one of {', '.join(_TEXTS)}")
    order = ["hour", *texts, "gpu_uuid", "util_kind"]
    sampled = pl.when(pl.col("sampled") > 0).then(pl.col("sampled"))
    return (
        _hourly(samples, texts)
        .select(
            *order,
            "rows",
            _seconds(pl.col("sampled")).alias("sampled_s"),
            _seconds(pl.col("busy")).alias("busy_s"),
            (pl.col("busy") / sampled).alias("util"),
        )
        .sort(order, nulls_last=True)
    )


def _read(samples: pl.LazyFrame) -> pl.LazyFrame:
    samples = samples.lazy()
    known = samples.collect_schema()
    if missing := [name for name in (*_NEEDED, "gpu_uuid") if name not in known]:
        raise InputError(f"GPU samples need the columns {', '.join(missing)}")
    return samples.select(
        (pl.col(name) if name in known else pl.lit(None).alias(name)).cast(dtype)
        for name, dtype in _READ.items()
    )


def _hourly(samples: pl.LazyFrame, keys: Sequence[str]) -> pl.DataFrame:
    """Add up microseconds, sampled and busy, by GPU, kind, hour and key."""
    keys = ["gpu_uuid", "util_kind", *keys]
    rows = _read(samples).select(*dict.fromkeys([*_NEEDED, *keys])).collect(engine="in-memory")
    found = in_cells(rows, keys)
    if found is None:
        _check(rows)
        hour, alike = pl.col("ts").to_physical() // HOUR, pl.len().over("gpu_uuid", "util_kind", "ts")
        found = (
            rows.lazy()
            .with_columns(**_times(alike), hour=hour)
            .group_by(*keys, "hour")
            .agg(pl.len().cast(pl.Int64).alias("rows"), pl.col("sampled", "busy").sum())
            .collect(engine="in-memory")
        )
    hour = (
        pl.from_epoch(pl.col("hour") * 3600, time_unit="s")
        .cast(pl.Datetime("us"))
        .dt.replace_time_zone("UTC")
    )
    return found.select(hour.alias("hour"), *keys, "rows", "sampled", "busy")


def _check(rows: pl.DataFrame) -> None:
    """Refuse what is no time: NaN is not null, and no interval is endless."""
    busy = pl.col("util").abs() * pl.max_horizontal(1.0, pl.col("interval_s").abs())
    for name, size in (("interval_s", pl.col("interval_s").abs()), ("util", busy)):
        wrong = rows.filter(~(size <= _LONGEST_S))
        if wrong.height:
            one = wrong.row(0, named=True)
            raise InputError(
                f"a sample of GPU {one['gpu_uuid']} at {one['ts']} has the {name} {one[name]}",
                hint="what was not measured is null; util is 0 to 1, and interval_s are seconds",
            )


def _times(alike: pl.Expr) -> dict[str, pl.Expr]:
    time = pl.col("interval_s") * SECOND / alike
    measured = pl.when(pl.col("util").is_not_null())
    return {
        "sampled": measured.then(time.round(0).cast(pl.Int64)).otherwise(0),
        "busy": (pl.col("util") * time).round(0).cast(pl.Int64).fill_null(0),
    }


def _seconds(microseconds: pl.Expr) -> pl.Expr:
    return ((microseconds.cast(pl.Int128) + 500) // 1000).reinterpret(dtype=COUNTED)


def _money(units: pl.Expr, known: pl.Expr) -> pl.Expr:
    return pl.when(known).then(units.reinterpret(dtype=MONEY))
