"""Are clocks right: telemetry of the future, latencies, time zones, months without a bill."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Any

import polars as pl

from finops_lab.doctor._model import Look, Tables, Told, check
from finops_lab.doctor._rows import examples, key
from finops_lab.doctor._words import listed, place, span
from finops_lab.wording import plural

__all__ = ["CHECKS"]

_KEY = key("source_file", "source_row")
_ENDS = (_KEY.min().alias("_first"), _KEY.max().alias("_last"))
_CALLS = (pl.col("sample_weight") * pl.col("n_requests")).sum().alias("calls")
_ROWS = pl.len().cast(pl.Int64).alias("rows")
_OLD = datetime(2015, 1, 1, tzinfo=UTC)


def _moments(tables: Tables) -> Iterator[tuple[str, pl.LazyFrame]]:
    yield "inference_requests", tables.requests.select(pl.col("ts_start").alias("ts"), _KEY.alias("_key"))
    yield "gpu_samples", tables.gpu_samples.select("ts", _KEY.alias("_key"))
    yield (
        "training_jobs",
        tables.training_jobs.select(
            pl.coalesce("ts_end", "ts_start", "ts_submit").alias("ts"), _KEY.alias("_key")
        ),
    )


@check(
    "clock far off",
    table="telemetry",
    severity="error",
    meaning="Telemetry of days that have not come yet, or of long before there was any.",
    fix="check the unit of the timestamps (seconds, milliseconds, nanoseconds) and the clock of the source",
)
def _clock_far_off(tables: Tables) -> Look:
    flags = [("before 2015", pl.col("ts") < _OLD)]
    if tables.today is not None:
        end = datetime.combine(tables.today + timedelta(days=1), time(), UTC)
        flags.append((f"after {tables.today}", pl.col("ts") >= end))
    parts = [
        rows.filter(flag.fill_null(False))
        .select(
            _ROWS,
            pl.col("ts").min().alias("first"),
            pl.col("ts").max().alias("last"),
            pl.col("_key").min().alias("_first"),
            pl.col("_key").max().alias("_last"),
        )
        .with_columns(pl.lit(table).alias("table"), pl.lit(why).alias("why"))
        for table, rows in _moments(tables)
        for why, flag in flags
    ]
    found = yield pl.concat(parts)
    return [
        Told(
            row["table"],
            f"{plural(row['rows'], 'row')} {row['why']}: {span(row['first'].date(), row['last'].date())}",
            row["rows"],
            examples=examples(row),
        )
        for row in found.filter(pl.col("rows") > 0).iter_rows(named=True)
    ]


@check(
    "latency against clock",
    table="inference_requests",
    severity="warning",
    meaning="latency_ms is not what lies between ts_start and ts_end.",
    fix="use latency_ms; the two timestamps come from different clocks",
)
def _latency_against_clock(tables: Tables) -> Look:
    clock = (pl.col("ts_end") - pl.col("ts_start")).dt.total_milliseconds()
    off = (clock - pl.col("latency_ms")).abs()
    found = yield (
        tables.requests.filter((off > 1000) & (off > 0.1 * pl.col("latency_ms")))
        .group_by("source_file")
        .agg(_ROWS, off.max().alias("off"), *_ENDS)
        .sort("source_file")
    )
    return [
        Told(
            row["source_file"],
            f"{plural(row['rows'], 'row')} whose latency_ms is not the time from start to end, by up to "
            f"{row['off'] / 1000:,.1f} s",
            row["rows"],
            examples=examples(row),
        )
        for row in found.iter_rows(named=True)
    ]


@check(
    "clocks of requests and GPUs",
    table="telemetry",
    severity="warning",
    meaning="A pool's requests and its GPU samples begin and end apart by the same hours: two time zones.",
    fix="bring both sources to UTC before joining them by time",
)
def _clocks_of_requests_and_gpus(tables: Tables) -> Look:
    first, last = pl.col("ts").min().alias("first"), pl.col("ts").max().alias("last")
    known = pl.col("pool_id").is_not_null()
    calls = tables.requests.filter(known).select("pool_id", pl.col("ts_start").alias("ts"))
    samples = tables.gpu_samples.filter(known).select("pool_id", "ts", "interval_s")
    found = yield (
        calls.group_by("pool_id")
        .agg(first, last, _ROWS)
        .join(
            samples.group_by("pool_id").agg(first, last, pl.col("interval_s").max()),
            on="pool_id",
            suffix="_gpu",
        )
        .sort("pool_id")
    )
    told = []
    for row in found.iter_rows(named=True):
        step = timedelta(seconds=row["interval_s"])
        begin, end = row["first"] - row["first_gpu"], row["last"] - row["last_gpu"]
        apart = row["first"] > row["last_gpu"] + step or row["last"] < row["first_gpu"]
        if apart:
            said = (
                f"requests ({_days(row, '')}) and GPU samples ({_days(row, '_gpu')}) have no time in common"
            )
        elif _zone(begin, end, step):
            said = f"requests are {begin.total_seconds() / 3600:+.1f} h from GPU samples at both ends"
        else:
            continue
        told.append(Told(place("pool", row["pool_id"]), said, row["rows"]))
    return told


def _days(row: dict[str, Any], suffix: str) -> str:
    return span(row[f"first{suffix}"].date(), row[f"last{suffix}"].date())


def _zone(begin: timedelta, end: timedelta, step: timedelta) -> bool:
    """Tell whether both ends are off alike, by more than sampling explains and less than a day."""
    least = max(2 * step, timedelta(minutes=50))
    return abs(begin - end) <= step and least < abs(begin) <= timedelta(hours=14) and abs(end) > least


@check(
    "requests without a bill",
    table="inference_requests",
    severity="info",
    meaning="Months of calls that no bill covers.",
    fix="ingest the bills of these months before computing costs per call",
)
def _requests_without_a_bill(tables: Tables) -> Look:
    month = pl.col("ts_start").dt.strftime("%Y-%m").alias("month")
    billed = tables.costs.select(pl.col("ChargePeriodStart").dt.strftime("%Y-%m").alias("month")).unique()
    found = yield (
        tables.requests.group_by(month).agg(_ROWS, _CALLS).join(billed, on="month", how="anti").sort("month")
    )
    if found.is_empty():
        return []
    return [
        Told(
            span(found["month"][0], found["month"][-1]),
            f"{plural(found.height, 'month')} with calls (about {found['calls'].sum():,.0f}) and without a "
            f"charge: {listed(found['month'])}",
            int(found["rows"].sum()),
        )
    ]


CHECKS = (
    _clock_far_off,
    _latency_against_clock,
    _clocks_of_requests_and_gpus,
    _requests_without_a_bill,
)
