"""M3 and M8: what an hour of training costs, and what retrains cost a month, failed attempts apart."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import polars as pl

from finops_lab.config import Activity
from finops_lab.contracts.telemetry import JOB_STATES
from finops_lab.errors import InputError, each_name
from finops_lab.money import MONEY, divided
from finops_lab.unit_economics._by_dimension import PLACE, added_up
from finops_lab.unit_economics._job_months import every_month, job_months
from finops_lab.unit_economics._telling import asked, first_reason
from finops_lab.unit_economics.activity import currency_of, spent
from finops_lab.unit_economics.figures import Asked, Definition, together, whole_and_by

__all__ = ["BY_JOB", "DEFINITIONS", "of_jobs", "training_cost"]

# Training jobs say no more than these.
BY_JOB = ("model", "team")
FAILED = ("failed", "timeout", "cancelled", "preempted")
_JOBS = "training_jobs"
_THOUSANDTHS = 1_000


def _per_hour(measure: str, title: str, formula: str, hours: str, *tables: str) -> Definition:
    unit = hours.removesuffix("s")
    return Definition(
        "M3",
        measure,
        title,
        f"{{currency}} per {unit}",
        "{currency}",
        hours,
        formula,
        tables,
        nothing="no attempt of the month tells its time",
    )


def _per_month(measure: str, title: str, formula: str, table: str = _JOBS, kpi: str = "M8") -> Definition:
    return Definition(
        kpi,
        measure,
        title,
        "{currency} per month",
        "{currency}",
        "months",
        formula,
        (table,),
        nothing="no such money is known",
    )


BILLED = _per_hour(
    "billed_per_wall_hour",
    "Cost per training hour, billed",
    "training money of the ledger, with what rules give to training of egress, storage, pre- and post-processing"
    " / wall hours of all attempts of jobs of every kind",
    "wall hours",
    "ledger",
    _JOBS,
)
REPORTED = _per_hour(
    "reported_per_wall_hour",
    "Cost per training hour, as jobs report it",
    "cost_usd / wall hours, of all attempts of every kind that tell both",
    "wall hours",
    _JOBS,
)
PER_GPU = _per_hour(
    "reported_per_gpu_hour",
    "Cost per GPU-hour of training, as jobs report it",
    "cost_usd / (wall hours x GPUs), of all attempts of every kind that tell all three",
    "GPU-hours",
    _JOBS,
)
MONEY_BILLED = _per_month(
    "training_billed", "Training cost per month, billed", "training money of the ledger", "ledger", "M3"
)
LEDGER = (BILLED, MONEY_BILLED)
_KIND = "cost_usd of attempts of retrains"
_MONTHLY = (
    (
        _per_month(
            "retrain_reported",
            "Retrain cost per month",
            f"{_KIND}, whatever their state, those that failed included",
        ),
        JOB_STATES,
    ),
    (_per_month("retrain_completed", "Retrains that completed", f"{_KIND} that completed"), ("completed",)),
    (
        _per_month(
            "retrain_failed_attempts",
            "Retrain attempts that came to nothing",
            f"{_KIND} that failed, timed out, were cancelled or preempted",
        ),
        FAILED,
    ),
    *(
        (_per_month(f"retrain_{state}", f"Retrains: {state}", f"{_KIND} in state {state}"), (state,))
        for state in (*FAILED, "running")
    ),
)
# The states that each is of.
_STATES = pl.DataFrame(
    [(number, state) for number, (_, states) in enumerate(_MONTHLY) for state in states],
    schema={"number": pl.Int64, "state": pl.String},
    orient="row",
)
DEFINITIONS: tuple[Definition, ...] = (BILLED, REPORTED, PER_GPU, MONEY_BILLED, *(one for one, _ in _MONTHLY))


def training_cost(
    entries: pl.LazyFrame | pl.DataFrame,
    jobs: pl.LazyFrame | pl.DataFrame,
    *,
    rules: Sequence[Activity] = (),
    metric: str = "EffectiveCost",
    by: str | Sequence[str] = BY_JOB,
) -> pl.DataFrame:
    """Tell what training cost in each month, per hour and in all: for everything, by model and team.

    Every attempt counts, whatever became of it. What spans months belongs to each by the time it
    ran in it: money and seconds are split by the overlap, largest remainder, so that the months add
    up to the attempt. A month's ledger money is of the same month's use.

    Parameters
    ----------
    entries : polars.LazyFrame or polars.DataFrame
        Rows of the `ledger` contract, in one currency.
    jobs : polars.LazyFrame or polars.DataFrame
        Rows of `training_jobs`. Their ``cost_usd`` is in USD, whatever the ledger's currency is:
        figures of it are in USD.
    rules : sequence of Activity
        ``[[activities]]`` of `finops.toml`.
    metric : str
        The cost column of the ledger.
    by : str or sequence of str
        ``model`` and ``team``, or one of them.

    Returns
    -------
    polars.DataFrame
        `FIGURES` of the measures in `DEFINITIONS`, for every month that has training money or jobs.
        ``rows`` counts the attempts (and ledger entries) of the measure, ``coverage`` the share of
        its attempts that tell what it needs; a sum of which a part is unknown has itself as
        ``lower``. Attempts without any time are told in a row without a month.

    Raises
    ------
    CurrencyError
        When the ledger is in several currencies.
    InputError
        When the metric is no cost column, a column is missing, or `by` names something else.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> from finops_lab.unit_economics._job_months import READ
    >>> usual = dict.fromkeys(["CommitmentDiscountStatus", "x_team", "x_model", "x_variant", "x_feature",
    ...     "x_customer", "x_environment", "x_PoolId"])
    >>> usual |= {"x_ChargeMonth": "2026-10", "BillingCurrency": "USD", "ServiceCategory": "Compute",
    ...     "ServiceName": "Machines", "ChargeCategory": "Usage", "x_AllocationMethod": "tag"}
    >>> entries = pl.DataFrame([{**usual, "x_environment": "research", "EffectiveCost": Decimal(6)}])
    >>> job = {"job_id": "j", "attempt": 1, "kind": "retrain", "state": "failed", "wall_s": 7200.0,
    ...     "ts_start": datetime(2026, 10, 5, tzinfo=UTC), "cost_usd": Decimal(5)}
    >>> found = training_cost(entries, pl.DataFrame([job], schema=READ), by=())
    >>> [(name, str(value.normalize())) for name, value in found.select("measure", "value").rows()[:2]]
    [('billed_per_wall_hour', '3'), ('reported_per_wall_hour', '2.5')]
    """
    by = tuple(dict.fromkeys(each_name(by)))
    of_jobs(by)
    currency, dimensions = currency_of(entries), whole_and_by(by)
    money = added_up(
        spent(entries, "training", by, rules=rules, metric=metric).collect(),
        dimensions,
        pl.col("amount", "entries", "unknown").sum(),
    )
    attempts = job_months(jobs)
    timed = _timed(attempts, dimensions)
    retrained = _retrained(attempts, timed, dimensions)
    parts = [*_hourly(money, timed, by, metric, currency), _billed(money, metric, currency), *retrained]
    return together(parts, dimensions)


def of_jobs(by: Sequence[str]) -> None:
    """Refuse a dimension that training jobs do not tell.

    Raises
    ------
    InputError
        Naming it.
    """
    if unknown := [name for name in by if name not in BY_JOB]:
        raise InputError(f"training is not told by {unknown[0]!r}", hint=f"dimensions: {', '.join(BY_JOB)}")


def _timed(attempts: pl.DataFrame, dimensions: Sequence[str | None]) -> pl.DataFrame:
    timed, priced = pl.col("wall_ms").is_not_null(), pl.col("cost_usd").is_not_null()
    both, gpus = timed & priced, timed & priced & pl.col("gpu_ms").is_not_null()
    return added_up(
        attempts,
        dimensions,
        pl.len().cast(pl.Int64).alias("attempts"),
        timed.cast(pl.Int64).sum().alias("n_timed"),
        both.cast(pl.Int64).sum().alias("n_both"),
        gpus.cast(pl.Int64).sum().alias("n_gpus"),
        pl.col("wall_ms").sum().alias("ms_timed"),
        pl.col("wall_ms").filter(both).sum().alias("ms_both"),
        pl.col("gpu_ms").filter(gpus).sum().alias("ms_gpus"),
        pl.col("cost_usd").filter(both).sum().alias("usd_both"),
        pl.col("cost_usd").filter(gpus).sum().alias("usd_gpus"),
    )


def _hourly(
    money: pl.DataFrame, timed: pl.DataFrame, by: Sequence[str], metric: str, currency: str
) -> list[Asked]:
    sums = timed.join(money, on=PLACE, how="full", coalesce=True, nulls_equal=True).with_columns(
        pl.col("attempts", "entries", "unknown", "n_timed", "n_both", "n_gpus").fill_null(0)
    )
    no_jobs = (pl.col("attempts") == 0, "no training jobs are known of it")
    no_time = (pl.col("month").is_null(), "its attempts tell no time")
    billed = (
        no_time,
        *(((pl.col("dimension") == name) & pl.col("key").is_null(), f"names no {name}") for name in by),
        no_jobs,
        (pl.col("entries") == 0, "the ledger has no training money of it"),
        (pl.col("unknown") > 0, f"{metric} is not known of all its charges"),
    )
    told_ones = []
    for one, top, name, reasons, scale in (
        (BILLED, "amount", "timed", billed, 1),
        (REPORTED, "usd_both", "both", (no_time, no_jobs, _none("n_both", "cost and time")), 1),
        (
            PER_GPU,
            "usd_gpus",
            "gpus",
            (no_time, no_jobs, _none("n_gpus", "cost, time and GPUs")),
            _THOUSANDTHS,
        ),
    ):
        ms = [None if n is None else Decimal(n) for n in sums[f"ms_{name}"].to_list()]
        hour = 3_600_000 * scale
        rows = sums.select(
            *PLACE,
            pl.col(top).alias("numerator"),
            # Hours for the reader; the value is divided from whole milliseconds.
            pl.Series("denominator", [divided(n, Decimal(hour)) for n in ms], MONEY),
            pl.Series(
                "value", [divided(a, n, hour) for a, n in zip(sums[top].to_list(), ms, strict=True)], MONEY
            ),
            (pl.col("attempts") + (pl.col("entries") if one is BILLED else 0)).alias("rows"),
            pl.when(pl.col("attempts") > 0).then(pl.col(f"n_{name}") / pl.col("attempts")).alias("coverage"),
            first_reason(*reasons),
        )
        if one is BILLED:
            # Hours that attempts do not tell can only lower it.
            untold = (pl.col("coverage") < 1) & pl.col("reason").is_null()
            rows = rows.with_columns(pl.when(untold).then("value").alias("upper"))
        told_ones.append(asked(rows, one, currency=currency if one in LEDGER else "USD"))
    return told_ones


def _none(count: str, what: str) -> tuple[pl.Expr, str]:
    return pl.col(count) == 0, f"none of its attempts tells {what}"


def _billed(money: pl.DataFrame, metric: str, currency: str) -> Asked:
    rows = money.select(
        *PLACE,
        pl.col("amount").alias("numerator"),
        pl.lit(1).alias("denominator"),
        pl.col("entries").alias("rows"),
        first_reason((pl.col("unknown") > 0, f"{metric} is not known of all its charges")),
    )
    return asked(rows, MONEY_BILLED, currency=currency)


def _retrained(attempts: pl.DataFrame, timed: pl.DataFrame, dimensions: Sequence[str | None]) -> list[Asked]:
    sums = added_up(
        attempts.filter(pl.col("kind") == "retrain").join(_STATES, on="state"),
        dimensions,
        pl.col("cost_usd").sum().alias("numerator"),
        pl.len().cast(pl.Int64).alias("rows"),
        pl.col("cost_usd").count().cast(pl.Int64).alias("priced"),
        also=("number",),
    )
    some = (pl.col("rows") > 0) & (pl.col("priced") == 0)
    rows = (
        # A month of jobs without a retrain cost nothing; a month without jobs is unknown.
        pl.concat([timed.lazy().select(PLACE), every_month(timed["month"])])
        .unique()
        .join(_STATES.lazy().select(pl.col("number").unique()), how="cross")
        .join(sums.lazy(), on=[*PLACE, "number"], how="left", nulls_equal=True)
        .sort("number")
        .with_columns(pl.col("numerator").fill_null(0).cast(MONEY), pl.col("rows", "priced").fill_null(0))
        .with_columns(
            pl.lit(1).alias("denominator"),
            pl.when(~some).then("numerator").alias("numerator"),
            pl.when(pl.col("rows") > 0).then(pl.col("priced") / pl.col("rows")).alias("coverage"),
            pl.when(pl.col("priced") < pl.col("rows"), ~some).then("numerator").alias("lower"),
            first_reason(
                (pl.col("month").is_null(), "its attempts tell no time"),
                (some, "none of its attempts tells what it cost"),
            ),
        )
        .collect(engine="in-memory")
    )
    found = rows.partition_by("number", maintain_order=True)
    return [asked(some, one) for some, (one, _) in zip(found, _MONTHLY, strict=rows.height > 0)]
