"""M11, autoscaler efficiency: capacity that was needed against capacity that was there, and thrash."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import polars as pl

from finops_lab.money import divided
from finops_lab.unit_economics._by_dimension import PLACE, added_up
from finops_lab.unit_economics._grouping import per_hour, share_of
from finops_lab.unit_economics._per_qps import PER_QPS, PER_QPS_SAMPLED, money_per_qps, sampled_money
from finops_lab.unit_economics.figures import Asked, Definition, together
from finops_lab.unit_economics.schemas import FIGURES

__all__ = ["DEFINITIONS", "THRASH", "money_per_qps", "moves", "sampled_money", "scaling", "taken_back"]

# A change taken back within this time moved capacity for nothing.
THRASH = timedelta(minutes=30)
_SERIES, _EVENTS = ("capacity_series",), ("scale_events",)
_DIMENSIONS = (None, "pool_id")
_SECONDS = ("seconds", "known_s", "needed_s", "ready_s", "over_s", "missing_s", "short_s")
_UNKNOWN = "no interval tells both the capacity needed and the capacity ready"
_MIXED = "the pools count capacity in different units"

_EFFICIENCY = Definition(
    "M11", "efficiency", "Autoscaler efficiency", "ratio", "capacity-seconds needed",
    "capacity-seconds ready",
    "capacity-hours that the load needed / capacity-hours ready, over intervals that tell both; above 1"
    " the pool was short; read it beside the share of time it was short; coverage is the share of time"
    " that tells both",
    _SERIES, "within", _UNKNOWN,
)  # fmt: skip
_SHORT_TIME = Definition(
    "M11", "under_provisioned_share", "Time with too little capacity", "ratio", "seconds", "seconds",
    "time in which less was ready than the load needed / time that tells both",
    _SERIES, "lower", _UNKNOWN,
)  # fmt: skip
_SHORT_CAPACITY = Definition(
    "M11", "missing_capacity_share", "Capacity that was missing", "ratio", "capacity-seconds missing",
    "capacity-seconds needed",
    "capacity needed and not ready / capacity needed",
    _SERIES, "lower", "no capacity is known to have been needed",
)  # fmt: skip
_OVER = Definition(
    "M11", "over_provisioned_hours", "Capacity-hours beyond need", "capacity-hours",
    "capacity-seconds beyond need", "seconds per hour",
    "capacity ready and not needed, added up over intervals / 3600",
    _SERIES, "lower", _UNKNOWN,
)  # fmt: skip
_RATE = Definition(
    "M11", "scale_events_per_day", "Scale events per day", "events per day", "events", "days",
    "decisions to change capacity / days that the capacity series tells of",
    ("scale_events", "capacity_series"), "lower", "no capacity series says which days were watched",
)  # fmt: skip
_THRASH = Definition(
    "M11", "thrash_share", "Scale events taken back", "ratio", "events taken back", "events",
    "changes of a pool's capacity in the other direction than its change before, decided within 30"
    " minutes of it / changes whose direction is known",
    _EVENTS, "lower", "no change of capacity has a known direction",
)  # fmt: skip
_READY = Definition(
    "M11", "ready_p95", "Decision to ready, P95", "seconds", "scale-ups within it", "scale-ups",
    "time within which 95 % of the scale-ups were ready, counted from the decision; the smallest time"
    " seen that holds; coverage is the share of scale-ups that say when they were ready",
    _EVENTS, "lower", "no scale-up says when it was ready",
)  # fmt: skip
DEFINITIONS: tuple[Definition, ...] = (
    _EFFICIENCY, _SHORT_TIME, _SHORT_CAPACITY, _OVER, _RATE, _THRASH, _READY, PER_QPS, PER_QPS_SAMPLED,
)  # fmt: skip


def scaling(
    series: pl.DataFrame | pl.LazyFrame, events: pl.DataFrame | pl.LazyFrame, *, unit: str | None = None
) -> pl.DataFrame:
    """Tell how well the capacity of pools followed their load.

    Parameters
    ----------
    series : polars.DataFrame or polars.LazyFrame
        `capacity_series`. An interval counts for the month it begins in.
    events : polars.DataFrame or polars.LazyFrame
        `scale_events`. An event counts for the month of its decision.
    unit : str, optional
        Look at capacity in this unit alone (``replica``, ``node`` or ``gpu``).

    Returns
    -------
    polars.DataFrame
        FIGURES of M11 for the whole and by ``pool_id``. Capacities in different units (replicas,
        nodes) are not added: such a figure is null and says so. What only `events` or only
        `series` can tell is there with the other one empty.

    Examples
    --------
    >>> from datetime import datetime
    >>> hours = pl.DataFrame({"ts": [datetime(2026, 10, 1, h) for h in (0, 1)], "interval_s": [3600.0] * 2,
    ...     "pool_id": ["chat"] * 2, "unit": ["gpu"] * 2, "ready": [4.0, 4.0], "needed": [2.0, 5.0]})
    >>> none = pl.DataFrame(schema={"ts_decision": pl.Datetime, "ts_ready": pl.Datetime, "pool_id": pl.String,
    ...     "unit": pl.String, "from_units": pl.Float64, "to_units": pl.Float64})
    >>> whole = scaling(hours, none).filter(pl.col("dimension").is_null())
    >>> whole.select("measure", pl.col("value").round(3).cast(pl.Float64)).rows()
    ... # doctest: +NORMALIZE_WHITESPACE
    [('efficiency', 0.875), ('under_provisioned_share', 0.5), ('missing_capacity_share', 0.143),
     ('over_provisioned_hours', 2.0)]
    """
    wanted = pl.lit(True) if unit is None else pl.col("unit") == unit
    intervals, changes = _intervals(series.lazy().filter(wanted)), _changes(events.lazy().filter(wanted))
    parts = _of_series(intervals) if intervals.height else []
    if changes.height:
        parts += _of_events(changes, intervals)
    return together(parts, _DIMENSIONS)


def _intervals(series: pl.LazyFrame) -> pl.DataFrame:
    """Add intervals up as far as no figure notices: by day, pool and unit."""

    # Thousandths add up to the same whatever the order.
    def counted(amount: pl.Expr) -> pl.Expr:
        return amount.round(3).cast(pl.Decimal(38, 3))

    time = pl.col("interval_s")
    both = pl.col("needed").is_not_null() & pl.col("ready").is_not_null()
    over, short = (
        (one - other).clip(lower_bound=0)
        for one, other in ((pl.col("ready"), pl.col("needed")), (pl.col("needed"), pl.col("ready")))
    )
    day = pl.col("ts").dt.date()
    return (
        series.select(
            day.dt.month_start().alias("month"),
            day.alias("day"),
            "pool_id",
            "unit",
            both.cast(pl.Int64).alias("rows"),
            counted(time).alias("seconds"),
            counted(pl.when(both).then(time)).alias("known_s"),
            counted(pl.when(both).then(pl.col("needed") * time)).alias("needed_s"),
            counted(pl.when(both).then(pl.col("ready") * time)).alias("ready_s"),
            counted(pl.when(both).then(over * time)).alias("over_s"),
            counted(pl.when(both).then(short * time)).alias("missing_s"),
            counted(pl.when(both & (short > 0)).then(time)).alias("short_s"),
        )
        .group_by("month", "day", "pool_id", "unit")
        .agg(pl.col("rows", *_SECONDS).sum())
        .collect()
    )


def _of_series(intervals: pl.DataFrame) -> list[Asked]:
    sums = added_up(
        intervals,
        _DIMENSIONS,
        pl.col("unit").filter(pl.col("rows") > 0).n_unique().alias("units"),
        pl.col("rows", *_SECONDS).sum(),
    ).with_columns(share_of(pl.col("known_s"), pl.col("seconds")).alias("coverage"))
    over = pl.when(pl.col("known_s") > 0).then("over_s")
    capacities = {
        _EFFICIENCY: (pl.col("needed_s"), pl.col("ready_s")),
        _SHORT_CAPACITY: (pl.col("missing_s"), pl.col("needed_s")),
        _OVER: per_hour(over),
    }
    # Time is time whatever the unit; capacities of different units cannot be added.
    alone = pl.col("units") <= 1
    parts = [_told(sums, _SHORT_TIME, pl.col("short_s"), pl.col("known_s"))]
    for definition, (numerator, denominator) in capacities.items():
        kept = sums.select(
            *PLACE,
            pl.when(alone).then(numerator).alias("numerator"),
            pl.when(alone).then(denominator).alias("denominator"),
            "rows",
            "coverage",
            pl.when(~alone).then(pl.lit(_MIXED)).alias("reason"),
        )
        parts.append(Asked(kept, definition))
    return [parts[1], parts[0], *parts[2:]]


def moves() -> pl.Expr:
    """Tell which `scale_events` are known to change a capacity: never null.

    Examples
    --------
    >>> events = pl.DataFrame({"from_units": [2.0, 3.0, None], "to_units": [3.0, 3.0, 4.0]})
    >>> events.select(moves()).to_series().to_list()
    [True, False, False]
    """
    return (_way() != 0).fill_null(False)


def taken_back(within: timedelta = THRASH) -> pl.Expr:
    """Tell which `scale_events` take back the change before them: never null.

    Parameters
    ----------
    within : datetime.timedelta
        Time between the two decisions, at most.

    Examples
    --------
    >>> from datetime import datetime
    >>> events = pl.DataFrame({"ts_decision": [datetime(2026, 10, 1, 0, m) for m in (0, 5, 50)], "pool_id": "chat",
    ...     "unit": "replica", "from_units": [2.0, 3.0, 2.0], "to_units": [3.0, 2.0, 3.0]})
    >>> events.select(taken_back()).to_series().to_list()
    [False, True, False]
    """
    # The change before is the last one of the same capacity, whatever decided it.
    same = [pl.col("pool_id"), pl.col("unit"), moves()]
    order = ["ts_decision", "to_units", "from_units"]
    way, ts = (one.shift().over(same, order_by=order) for one in (_way(), pl.col("ts_decision")))
    return moves() & ((way == -_way()) & (pl.col("ts_decision") - ts <= within)).fill_null(False)


def _way() -> pl.Expr:
    return (pl.col("to_units") - pl.col("from_units")).sign()


def _changes(events: pl.LazyFrame) -> pl.DataFrame:
    waited = (pl.col("ts_ready") - pl.col("ts_decision")).dt.total_microseconds()
    up = moves() & (_way() > 0)
    return events.select(
        pl.col("ts_decision").dt.date().dt.month_start().alias("month"),
        "pool_id",
        moves().alias("moves"),
        taken_back().alias("taken_back"),
        up.alias("up"),
        pl.when(up).then(waited).alias("waited_us"),
    ).collect()


def _of_events(changes: pl.DataFrame, intervals: pl.DataFrame) -> list[Asked]:
    waits = pl.col("waited_us")
    p95 = waits.quantile(0.95, "equiprobable").cast(pl.Int64)
    sums = added_up(
        changes,
        _DIMENSIONS,
        pl.len().cast(pl.Int64).alias("rows"),
        *(pl.col(name).sum().cast(pl.Int64) for name in ("moves", "taken_back", "up")),
        waits.count().cast(pl.Int64).alias("ready"),
        p95.alias("p95_us"),
        (waits <= p95).sum().cast(pl.Int64).alias("within"),
    )
    watched = added_up(intervals, _DIMENSIONS, pl.col("day").n_unique().cast(pl.Int64).alias("days"))
    sums = sums.join(watched, on=PLACE, how="left", nulls_equal=True)
    values = [None if us is None else divided(Decimal(us), 1_000_000) for us in sums["p95_us"].to_list()]
    ready = sums.with_columns(
        pl.Series("value", values, FIGURES["value"]),
        share_of(pl.col("ready"), pl.col("up")).alias("coverage"),
    )
    moved = sums.with_columns(share_of(pl.col("moves"), pl.col("rows")).alias("coverage"))
    return [
        _told(sums, _RATE, pl.col("rows"), pl.col("days")),
        _told(moved, _THRASH, pl.col("taken_back"), pl.col("moves")),
        _told(ready, _READY, pl.col("within"), pl.col("ready")),
    ]


def _told(sums: pl.DataFrame, definition: Definition, numerator: pl.Expr, denominator: pl.Expr) -> Asked:
    given = [name for name in ("rows", "coverage", "value") if name in sums.columns]
    columns = [numerator.alias("numerator"), denominator.alias("denominator")]
    return Asked(sums.select(*PLACE, *given, *columns), definition)
