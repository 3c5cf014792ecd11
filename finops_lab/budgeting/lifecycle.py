"""What a lab's model versions cost over their lives."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from finops_lab import measuring
from finops_lab.calendar import add_months, first_of
from finops_lab.errors import CurrencyError
from finops_lab.lab import Lab
from finops_lab.money import MONEY
from finops_lab.planning.lifecycle import Assumptions, Lifecycle, lifecycle, served_money, trained_money
from finops_lab.unit_economics.activity import activity, currency_of
from finops_lab.valuing.frames import Frames

__all__ = ["model_lifecycle"]


def model_lifecycle(
    lab: Lab,
    model: str,
    version: str,
    month: str | date,
    *,
    months: int = 12,
    assumptions: Assumptions | None = None,
    metric: str = "EffectiveCost",
) -> Lifecycle:
    """Tell what a model version costs: training and serving as they were, the rest as assumed.

    Parameters
    ----------
    lab : Lab
        An opened lab, in USD: training jobs tell what they cost in USD.
    model, version : str
        The version, as training jobs and deploys call it.
    month : str or datetime.date
        Last whole month of data, such as ``2026-10``; months after it are assumed.
    months : int
        Months of life, from the first in which the version cost something.
    assumptions : Assumptions, optional
        Of the months to come.
    metric : str
        The cost column of the ledger.

    Returns
    -------
    finops_lab.planning.lifecycle.Lifecycle

    Raises
    ------
    CurrencyError
        The ledger is in another currency.
    InputError
        Nothing is known of the version.
    """
    last = first_of(month)
    frames = Frames(lab, min(add_months(last, 1 - 2 * months), _begun(lab, model, version) or last), last)
    if (code := currency_of(frames.entries)) != "USD":
        raise CurrencyError(f"training jobs cost USD, the ledger is in {code}", hint="open a lab in USD")
    serving = (
        activity(frames.entries, frames.rules)
        .filter(pl.col("x_Activity") == "inference", pl.col("x_model").is_not_null())
        .select(
            pl.col("x_model").cast(pl.String).alias("model"),
            pl.col("x_ChargeDate").alias("day"),
            pl.col(metric).cast(MONEY).alias("amount"),
        )
        .collect()
    )
    calls = measuring.request_days(lab).filter(frames.within("day"), pl.col("model").is_not_null())
    counted = calls.select("model", "day", pl.col("calls_ok").cast(MONEY).alias("calls")).collect()
    end = frames.end - timedelta(days=1)
    served = served_money(serving, frames.deploys, counted, last=end)
    jobs = frames.jobs.filter(pl.col("ts_start").dt.date() < frames.end)
    return lifecycle(
        trained_money(jobs),
        served,
        model=model,
        version=version,
        last=last,
        months=months,
        assumptions=assumptions,
    )


def _begun(lab: Lab, model: str, version: str) -> date | None:
    """Return the first month that jobs or deploys of a version tell of: its life may be an old one."""
    mine = (pl.col("model") == model) & (pl.col("model_version") == version)
    tables = [lab.table(name).filter(mine) for name in ("training_jobs", "deploys")]
    days = [
        table.select(pl.col(moment).dt.date().min()).collect().item()
        for table, moment in zip(tables, ("ts_start", "ts"), strict=True)
    ]
    known = [day for day in days if day is not None]
    return min(known).replace(day=1) if known else None
