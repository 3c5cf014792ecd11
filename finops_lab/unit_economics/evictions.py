"""M9, impact of spot evictions: lost work and restarts, what they cost, and whether spot still pays."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import polars as pl

from finops_lab.calendar import format_month
from finops_lab.errors import each_name
from finops_lab.money import MONEY, divided, exact_sum
from finops_lab.unit_economics._by_dimension import PLACE, added_up, engine_for
from finops_lab.unit_economics._incidents import incidents, untold
from finops_lab.unit_economics._job_months import every_month, job_months
from finops_lab.unit_economics._telling import asked
from finops_lab.unit_economics.figures import Asked, Definition, together, whole_and_by
from finops_lab.unit_economics.training_cost import BY_JOB, of_jobs

__all__ = ["DEFINITIONS", "eviction_impact"]

_EVICTIONS, _JOBS = "spot_evictions", "training_jobs"
_HOUR = 3_600_000
_NOTHING = "none of its evictions tells it"


def _defined(measure: str, title: str, unit: str, formula: str, *tables: str) -> Definition:
    return Definition(
        "M9",
        measure,
        title,
        f"{unit} per month",
        unit,
        "months",
        formula,
        (_EVICTIONS, *tables),
        nothing=_NOTHING,
    )


COUNT = _defined("evictions", "Spot evictions", "evictions", "machines that were taken")
LOST = _defined(
    "lost_work_hours",
    "Work lost to evictions",
    "wall hours",
    "work since the last checkpoint, once per interruption",
)
RESTART = _defined(
    "restart_hours", "Restarts after evictions", "wall hours", "time to go on, once per interruption"
)
LOST_USD = _defined(
    "lost_work_reported",
    "Cost of work lost to evictions",
    "{currency}",
    "lost hours x machines of the job x spot price",
    _JOBS,
)
RESTART_USD = _defined(
    "restart_reported",
    "Cost of restarts after evictions",
    "{currency}",
    "restart hours x machines of the job x spot price",
    _JOBS,
)
FALLBACK_USD = _defined(
    "fallback_reported",
    "Premium of the machines that took over",
    "{currency}",
    "hours of the job's next attempt x its machines x (fallback price - spot price), nothing if that ran on spot",
    _JOBS,
)
EXTRA = _defined(
    "extra_reported",
    "Extra cost of spot evictions",
    "{currency}",
    "lost work + restarts + what is known of the fallback's premium",
    _JOBS,
)
RATE = Definition(
    "M9",
    "effective_per_machine_hour",
    "Spot price after evictions",
    "{currency} per machine-hour",
    "{currency}",
    "machine-hours",
    "(cost_usd of spot attempts + restarts) / their machine-hours without lost work",
    (_JOBS, _EVICTIONS),
    nothing="spot attempts did no useful work",
)
AGAINST = Definition(
    "M9",
    "effective_to_on_demand",
    "Spot price after evictions against on-demand",
    "ratio",
    "{currency}",
    "{currency}",
    "(cost_usd of spot attempts + restarts) / what their useful machine-hours cost at the fallback price of the"
    " machine type; above 1, on-demand would have been cheaper",
    (_JOBS, _EVICTIONS),
    nothing="spot attempts did no useful work",
)
_GAPS = "spot attempts were preempted, and no eviction tells of them"
_HOURS = ((LOST, "lost_ms"), (RESTART, "restart_ms"))
_USD = ((LOST_USD, "lost_usd"), (RESTART_USD, "restart_usd"), (FALLBACK_USD, "fallback_usd"))
DEFINITIONS: tuple[Definition, ...] = (
    COUNT,
    *(one for one, _ in _HOURS),
    *(one for one, _ in _USD),
    EXTRA,
    RATE,
    AGAINST,
)


def eviction_impact(
    evictions: pl.LazyFrame | pl.DataFrame,
    jobs: pl.LazyFrame | pl.DataFrame,
    *,
    by: str | Sequence[str] = BY_JOB,
) -> pl.DataFrame:
    """Tell what spot evictions cost in each month: for everything, by model and team of the job.

    Evictions belong to the month in which the machine was taken. A month without evictions is a
    month of none from the first eviction that is known to the last month that evictions or jobs
    tell of; before, nothing is known.

    Parameters
    ----------
    evictions : polars.LazyFrame or polars.DataFrame
        Rows of `spot_evictions`.
    jobs : polars.LazyFrame or polars.DataFrame
        Rows of `training_jobs`.
    by : str or sequence of str
        ``model`` and ``team``, or one of them.

    Returns
    -------
    polars.DataFrame
        `FIGURES` of the measures in `DEFINITIONS`, in USD. ``rows`` counts evictions, of the rates
        spot attempts; ``coverage`` is the share of interruptions (evictions, and preempted spot
        attempts that no eviction tells of) that tell what the measure needs; of a month without
        any, the share of the attempts that say whether they ran on spot. Of the rates it is the
        share of spot attempts that tell cost and time, or of machine time whose on-demand price is
        known. A sum of which a part is unknown has itself as ``lower``; one of which nothing is
        known has no value.

    Raises
    ------
    InputError
        When `by` names something else.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> from finops_lab.unit_economics._incidents import READ
    >>> from finops_lab.unit_economics._job_months import READ as JOB
    >>> lost = {"ts_lost": datetime(2026, 10, 9, tzinfo=UTC), "lost_work_s": 3600.0, "restart_s": 1800.0,
    ...     "price_usd_per_hour": Decimal(2)}
    >>> found = eviction_impact(pl.DataFrame([lost], schema=READ), pl.DataFrame(schema=JOB), by=())
    >>> extra = found.filter(pl.col("measure") == "extra_reported").row(0, named=True)
    >>> str(extra["value"].normalize()), extra["lower"] == extra["value"]
    ('3', True)
    """
    by = each_name(by)
    of_jobs(by)
    dimensions = whole_and_by(by)
    attempts = job_months(jobs)
    hits = incidents(evictions, attempts)
    spot = attempts.filter(pl.col("purchase") == "spot", pl.col("month").is_not_null())
    first: date | None = hits["month"].min()  # type: ignore[assignment]
    parts = [
        *_sums(hits, untold(evictions, attempts), attempts, dimensions, first),
        *_rates(hits, spot, dimensions, _on_demand(evictions), first),
    ]
    return together(parts, dimensions)


def _sums(
    hits: pl.DataFrame,
    gaps: pl.DataFrame,
    attempts: pl.DataFrame,
    dimensions: Sequence[str | None],
    first: date | None,
) -> list[Asked]:
    names = [name for _, name in (*_HOURS, *_USD)]
    priced = pl.col("lost_usd").is_not_null() & pl.col("restart_usd").is_not_null()
    parts = [pl.col("lost_usd"), pl.col("restart_usd"), pl.col("fallback_usd").fill_null(0)]
    sums = added_up(
        hits,
        dimensions,
        pl.col("evictions").sum(),
        pl.len().cast(pl.Int64).alias("hits"),
        *[pl.col(name).sum() for name in names],
        *[pl.col(name).count().cast(pl.Int64).alias(f"n_{name}") for name in names],
        (parts[0] + parts[1] + parts[2]).filter(priced).sum().cast(MONEY).alias("extra"),
        priced.cast(pl.Int64).sum().alias("n_extra"),
        (priced & pl.col("fallback_usd").is_not_null()).cast(pl.Int64).sum().alias("n_whole"),
    )
    # Interruptions that no eviction tells of, and who says how he paid.
    behind = added_up(gaps, dimensions, pl.len().cast(pl.Int64).alias("gaps"))
    purchase = pl.col("purchase")
    ran = added_up(
        attempts.filter(pl.col("month").is_not_null()),
        dimensions,
        purchase.is_not_null().mean().alias("said"),
        (purchase == "spot").any().alias("spot"),
    )
    months = pl.concat([hits["month"], attempts["month"]])
    places = [sums.lazy().select(PLACE), ran.lazy().filter("spot").select(PLACE), every_month(months)]
    sums = (
        pl.concat(places)
        .unique()
        .join(ran.lazy().drop("spot"), on=PLACE, how="left", nulls_equal=True)
        .join(behind.lazy(), on=PLACE, how="left", nulls_equal=True)
        .join(sums.lazy(), on=PLACE, how="left", nulls_equal=True)
        .with_columns(pl.exclude(*PLACE, "said").fill_null(0))
        .with_columns((pl.col("hits") + pl.col("gaps")).alias("needed"), _unknown(first).alias("none"))
        .collect(engine="in-memory")
    )
    hours = {
        name: [divided(Decimal(ms), Decimal(_HOUR)) for ms in sums[name].to_list()] for _, name in _HOURS
    }
    sums = sums.with_columns(pl.Series(name, told, MONEY) for name, told in hours.items())
    # What is known of each measure, and of how many interruptions in part and in whole, one below the other.
    measures = [
        (COUNT, "evictions", "hits", "hits"),
        *((one, name, f"n_{name}", f"n_{name}") for one, name in (*_HOURS, *_USD)),
        (EXTRA, "extra", "n_extra", "n_whole"),
    ]
    below = [
        sums.lazy().select(
            *(*PLACE, "evictions", "hits", "needed", "said", "none"),
            pl.col(name).cast(MONEY).alias("numerator"),
            pl.col(known).alias("known"),
            pl.col(whole).alias("whole"),
        )
        for _, name, known, whole in measures
    ]
    some, told = pl.col("needed") > 0, pl.col("reason").is_null()
    nothing = pl.when(pl.col("hits") > 0).then(pl.lit(_NOTHING)).otherwise(pl.lit(_GAPS))
    rows = (
        pl.concat(below)
        .with_columns(
            pl.lit(1).alias("denominator"),
            pl.col("evictions").alias("rows"),
            pl.when(some).then(pl.col("known") / pl.col("needed")).otherwise("said").alias("coverage"),
            pl.coalesce("none", pl.when(some, pl.col("known") == 0).then(nothing)).alias("reason"),
        )
        .with_columns(
            pl.when(told).then("numerator").alias("numerator"),
            pl.when(told, pl.col("whole") < pl.col("needed")).then("numerator").alias("lower"),
        )
        .collect(engine="in-memory")
    )
    return [asked(rows.slice(n * sums.height, sums.height), one) for n, (one, *_) in enumerate(measures)]


def _on_demand(evictions: pl.LazyFrame | pl.DataFrame) -> dict[str, Decimal]:
    """Return the newest fallback price of each machine type."""
    price = "fallback_price_usd_per_hour"
    told_ones = evictions.lazy().filter(pl.col(price).is_not_null(), pl.col("instance_type").is_not_null())
    newest = told_ones.select("ts_lost", "instance_type", pl.col(price).cast(MONEY)).collect(
        engine=engine_for(evictions)
    )
    return {kind: amount for _, kind, amount in newest.sort("ts_lost", price).iter_rows()}


def _rates(
    hits: pl.DataFrame,
    spot: pl.DataFrame,
    dimensions: Sequence[str | None],
    on_demand: dict[str, Decimal],
    first: date | None,
) -> list[Asked]:
    machine = pl.col("wall_ms") * pl.col("nodes")
    priced = machine.is_not_null() & pl.col("cost_usd").is_not_null()
    untold = pl.any_horizontal(pl.col("lost_machine_ms", "restart_usd").is_null())
    kinds = ("instance_type",)
    ran = added_up(
        spot,
        dimensions,
        pl.col("cost_usd").filter(priced).sum().alias("paid"),
        machine.filter(priced).sum().alias("machine_ms"),
        pl.len().cast(pl.Int64).alias("rows"),
        priced.cast(pl.Int64).sum().alias("priced"),
        also=kinds,
    )
    lost = added_up(
        hits,
        dimensions,
        pl.col("lost_machine_ms", "restart_usd").sum(),
        untold.cast(pl.Int64).sum().alias("untold"),
        also=kinds,
    )
    table = ran.join(lost, on=[*PLACE, *kinds], how="left", nulls_equal=True).with_columns(
        pl.col("lost_machine_ms", "untold", "restart_usd").fill_null(0)
    )
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in table.iter_rows(named=True):
        groups[tuple(row[name] for name in PLACE)].append(row)
    told_ones = []
    for one in (RATE, AGAINST):
        found = []
        for place, rows in groups.items():
            rate = _rate(rows) if one is RATE else _against(rows, on_demand)
            # Work whose loss is not told counts as done: the true price is no lower.
            rate["lower"] = rate["value"] if any(row["untold"] for row in rows) else None
            found.append(rate | dict(zip(PLACE, place, strict=True)))
        rates = pl.DataFrame(found, schema=_RATES, orient="row")
        told_ones.append(
            asked(rates.with_columns(pl.coalesce(_unknown(first), "reason").alias("reason")), one)
        )
    return told_ones


def _unknown(first: date | None) -> pl.Expr:
    """Say why nothing is known of a month, by the first eviction that is known; null where something is."""
    if first is None:
        return pl.lit("no spot evictions are known")
    return pl.when(pl.col("month") < first).then(pl.lit(f"evictions are known from {format_month(first)} on"))


_RATES: dict[str, pl.DataType | type[pl.DataType]] = {
    "month": pl.Date,
    **dict.fromkeys(("dimension", "key"), pl.String),
    "value": MONEY,
    "numerator": MONEY,
    "denominator": MONEY,
    "lower": MONEY,
    "rows": pl.Int64,
    "coverage": pl.Float64,
    "reason": pl.String,
}


def _paid(rows: Iterable[dict[str, Any]]) -> Decimal:
    return exact_sum(amount for row in rows for amount in (row["paid"], row["restart_usd"]))


def _useful(row: dict[str, Any]) -> int:
    return int(row["machine_ms"] - row["lost_machine_ms"])


def _rate(rows: list[dict[str, Any]]) -> dict[str, Any]:
    every, priced = sum(row["rows"] for row in rows), sum(row["priced"] for row in rows)
    useful, paid = sum(_useful(row) for row in rows), _paid(rows)
    reason = "no spot attempt tells cost and time" if not priced else None if useful > 0 else RATE.nothing
    return {
        "value": divided(paid, Decimal(useful), _HOUR),
        "numerator": paid,
        "denominator": divided(Decimal(useful), Decimal(_HOUR)),
        "rows": every,
        "coverage": priced / every,
        "reason": reason,
    }


def _against(rows: list[dict[str, Any]], on_demand: dict[str, Decimal]) -> dict[str, Any]:
    known = [row for row in rows if row["instance_type"] in on_demand and row["priced"]]
    whole = sum(row["machine_ms"] for row in rows)
    # Whole milliseconds times prices are exact; the ratio is rounded once.
    there = exact_sum(on_demand[row["instance_type"]] * _useful(row) for row in known)
    paid = _paid(known)
    reason = (
        "no on-demand price of its machines is known" if not known else None if there > 0 else AGAINST.nothing
    )
    return {
        "value": divided(paid, there, _HOUR),
        "numerator": paid if known else None,
        "denominator": divided(there, Decimal(_HOUR)) if known else None,
        "rows": sum(row["rows"] for row in rows),
        "coverage": sum(row["machine_ms"] for row in known) / whole if whole else None,
        "reason": reason,
    }
