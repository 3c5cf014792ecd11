"""Good and bad days and evaluations: cost per inference, accuracy, freshness of data."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import polars as pl

from finops_lab.errors import InputError
from finops_lab.money import MONEY, one_currency
from finops_lab.service_levels.promises import COLUMN, promised
from finops_lab.service_levels.schemas import COUNTED, DAY_S, EVENTS, PROMISE
from finops_lab.unit_economics.activity import activity

__all__ = ["MOMENTS", "accuracy_events", "cost_events", "freshness_events"]

_LEDGER = {"feature": "x_feature", "model": "x_model", "pool": "x_PoolId"}
# When a row of a table was new. The end of a charge, so that a month's fee is not news on its first day.
MOMENTS = {
    "costs": "ChargePeriodEnd",
    "ledger": "x_ChargeDate",
    "inference_requests": "ts_start",
    "latency_histograms": "ts",
    "gpu_samples": "ts",
    "training_jobs": "ts_start",
    "scale_events": "ts_decision",
    "capacity_series": "ts",
    "deploys": "ts",
    "accuracy_samples": "ts",
}


def cost_events(
    entries: pl.LazyFrame | pl.DataFrame,
    request_days: pl.LazyFrame | pl.DataFrame,
    slos: pl.DataFrame | pl.LazyFrame,
    *,
    metric: str = "EffectiveCost",
) -> pl.LazyFrame:
    """Judge the days of objectives of cost per inference.

    A day is good when the cost of inference of the service is at most ``threshold_usd`` times its
    successful calls: compared exactly, without dividing. A bad day costs what it is above that. A
    day with cost and without successful calls, or the reverse, is `unknown`.

    Parameters
    ----------
    entries : polars.LazyFrame or polars.DataFrame
        The `ledger` contract, in USD. Inference is told by ``x_Activity``, or by
        `finops_lab.unit_economics.activity.activity` where the column is not there yet.
    request_days : polars.LazyFrame or polars.DataFrame
        Calls by day: ``day``, ``calls_ok``, and ``feature``, ``model`` and ``pool_id`` as needed.
    slos : polars.DataFrame or polars.LazyFrame
        The `slos` contract.
    metric : str
        Money column of the ledger.

    Returns
    -------
    polars.LazyFrame
        `finops_lab.service_levels.schemas.EVENTS`, one row per objective and day.

    Raises
    ------
    InputError
        When the ledger is not in USD.
    """
    promises = promised(slos).filter(pl.col("objective") == "cost_per_inference")
    if promises.is_empty():
        return pl.LazyFrame(schema=EVENTS)
    ledger = entries.lazy()
    if "x_Activity" not in ledger.collect_schema():
        ledger = activity(ledger)
    ledger = ledger.filter(pl.col("x_Activity") == "inference")
    currencies = ledger.select(pl.col("BillingCurrency").unique()).collect().to_series().to_list()
    if currencies and one_currency(currencies) != "USD":
        raise InputError(
            f"costs are in {currencies[0]}, and objectives of cost per inference in USD",
            hint="convert the ledger with [[rates]] first",
        )
    rows: list[dict[str, Any]] = []
    for slo in promises.iter_rows(named=True):
        mine = pl.col(_LEDGER[slo["dimension"]]) == slo["service"]
        costs = ledger.filter(mine).group_by(day="x_ChargeDate").agg(pl.col(metric).sum().alias("cost"))
        served = request_days.lazy().filter(pl.col(COLUMN[slo["dimension"]]) == slo["service"])
        calls = served.group_by("day").agg(pl.col("calls_ok").sum().alias("calls"))
        days = costs.join(calls, on="day", how="full", coalesce=True).sort("day").collect()
        for day, cost, count in days.iter_rows():
            known = cost is not None and bool(count)
            over = cost - slo["threshold_usd"] * count if known else Decimal(0)
            rows.append(_day(slo, day, (over <= 0) if known else None, bad_usd=max(over, Decimal(0))))
    return _framed(rows)


def accuracy_events(
    accuracy_samples: pl.LazyFrame | pl.DataFrame, slos: pl.DataFrame | pl.LazyFrame
) -> pl.LazyFrame:
    """Judge the evaluations of objectives of accuracy.

    Parameters
    ----------
    accuracy_samples : polars.LazyFrame or polars.DataFrame
        The `accuracy_samples` contract; an evaluation is one row.
    slos : polars.DataFrame or polars.LazyFrame
        The `slos` contract. ``threshold`` is the least value, or the most where
        ``higher_is_better`` is false.

    Returns
    -------
    polars.LazyFrame
        `finops_lab.service_levels.schemas.EVENTS`, one row per objective and day.
    """
    promises = promised(slos).filter(pl.col("objective") == "accuracy")
    samples = accuracy_samples.lazy().rename({"model": "service"})
    rows = samples.join(promises.lazy().select(*PROMISE, "metric", "threshold"), on=["service", "metric"])
    good = (
        pl.when("higher_is_better")
        .then(pl.col("value") >= pl.col("threshold"))
        .otherwise(pl.col("value") <= pl.col("threshold"))
    )
    slot = pl.col("ts").dt.truncate("1d").alias("slot")
    keys = rows.select(*PROMISE, slot, good.alias("_good"))
    days = keys.group_by(*PROMISE, "slot").agg(
        pl.col("_good").sum().cast(COUNTED).alias("good"),
        (~pl.col("_good")).sum().cast(COUNTED).alias("bad"),
        pl.len().cast(COUNTED).alias("total"),
        pl.len().cast(pl.Int64).alias("rows"),
        (~pl.col("_good")).sum().cast(pl.Int64).alias("bad_rows"),
    )
    days = days.with_columns(
        pl.lit(DAY_S, pl.Int64).alias("slot_s"),
        pl.lit(0, COUNTED).alias("unknown"),
        pl.lit(0, MONEY).alias("bad_usd"),
        pl.col("bad").alias("bad_unpriced"),
        pl.col("total").alias("squares"),
        pl.col("bad").alias("bad_squares"),
    )
    return days.select(list(EVENTS)).sort("slo", "slot")


def freshness_events(
    tables: Mapping[str, pl.LazyFrame | pl.DataFrame],
    slos: pl.DataFrame | pl.LazyFrame,
    *,
    first: date,
    last: date,
) -> pl.LazyFrame:
    """Judge the days of objectives of freshness by how old the newest row was when they ended.

    Rows tell when something happened, not when they arrived: what was delivered late and in one
    go looks fresh afterwards.

    Parameters
    ----------
    tables : mapping of str to polars.LazyFrame or polars.DataFrame
        Tables by their contract's name; those that objectives speak of must be there.
    slos : polars.DataFrame or polars.LazyFrame
        The `slos` contract.
    first, last : datetime.date
        Days to judge, both included. `last` should have ended.

    Returns
    -------
    polars.LazyFrame
        `finops_lab.service_levels.schemas.EVENTS`, one row per objective and day. A day that ends
        before the table's first row is `unknown`.

    Raises
    ------
    InputError
        When a table is not there.
    """
    promises = promised(slos).filter(pl.col("objective") == "freshness")
    rows: list[dict[str, Any]] = []
    ends = pl.datetime_range(first, last, "1d", eager=True, time_zone="UTC", time_unit="us")
    days = pl.DataFrame({"slot": ends}).with_columns((pl.col("slot") + timedelta(days=1)).alias("end"))
    for slo in promises.iter_rows(named=True):
        if slo["table"] not in tables:
            raise InputError(f"freshness of {slo['table']!r} was promised, and it is not given")
        moment = pl.col(MOMENTS[slo["table"]])
        if slo["table"] == "ledger":  # has days: each counts to its end
            moment = (moment + pl.duration(days=1)).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
        # Of each day the newest row; one at midnight sharp still belongs to the day that ends.
        newest = (
            tables[slo["table"]]
            .lazy()
            .select(moment.alias("newest"))
            .drop_nulls()
            .group_by((pl.col("newest") - pl.duration(microseconds=1)).dt.truncate("1d").alias("_day"))
            .agg(pl.col("newest").max())
            .sort("newest")
            .collect()
        )
        found = days.join_asof(newest, left_on="end", right_on="newest", coalesce=False)
        for row in found.iter_rows(named=True):
            age = None if row["newest"] is None else row["end"] - row["newest"]
            good = None if age is None else age <= timedelta(hours=slo["threshold_hours"])
            rows.append(_day(slo, row["slot"].date(), good))
    return _framed(rows)


def _day(
    slo: Mapping[str, Any], day: date, good: bool | None, bad_usd: Decimal | None = None
) -> dict[str, Any]:
    bad = good is False
    return {
        **{name: slo[name] for name in PROMISE},
        "slot": day,
        "slot_s": DAY_S,
        "good": Decimal(good is True),
        "bad": Decimal(bad),
        "total": Decimal(good is not None),
        "unknown": Decimal(good is None),
        "rows": int(good is not None),
        "bad_rows": int(bad),
        "squares": Decimal(good is not None),
        "bad_squares": Decimal(bad),
        "bad_usd": bad_usd or Decimal(0),
        "bad_unpriced": Decimal(bad and bad_usd is None),
    }


def _framed(rows: list[dict[str, Any]]) -> pl.LazyFrame:
    frame = pl.LazyFrame(rows, schema={**EVENTS, "slot": pl.Date})
    return frame.with_columns(pl.col("slot").cast(EVENTS["slot"])).sort("slo", "slot")
