"""The twelve KPIs of a lab."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import polars as pl

from finops_lab.calendar import add_months, first_of, moment_of
from finops_lab.lab import Lab
from finops_lab.service_levels import kpi as error_budgets
from finops_lab.unit_economics import (
    anomaly_rate,
    capacity,
    evictions,
    failures,
    features,
    inference_cost,
    latency,
    owners,
    scaling,
    training_cost,
    utilization,
)
from finops_lab.unit_economics.activity import currency_of
from finops_lab.unit_economics.figures import Definition
from finops_lab.unit_economics.kpis import HEADLINES, TREND_MONTHS, Kpis
from finops_lab.unit_economics.kpis import kpis as put_together
from finops_lab.unit_economics.schemas import FIGURES
from finops_lab.unit_economics.targets import DEFAULTS, of_everything, with_targets
from finops_lab.valuing.frames import Frames
from finops_lab.valuing.promises import burned
from finops_lab.valuing.targets import usual

__all__ = ["DEFINITIONS", "figures", "kpis"]

_THREADS = 2

DEFINITIONS: tuple[Definition, ...] = (
    *inference_cost.DEFINITIONS,
    *utilization.DEFINITIONS,
    *capacity.DEFINITIONS,
    *training_cost.DEFINITIONS,
    *latency.DEFINITIONS,
    *failures.DEFINITIONS,
    *anomaly_rate.DEFINITIONS,
    *owners.DEFINITIONS,
    *evictions.DEFINITIONS,
    *error_budgets.DEFINITIONS,
    *scaling.DEFINITIONS,
    *features.DEFINITIONS,
)


_UNJUDGED = "too few days of bills before to judge its days by"


def kpis(lab: Lab, month: str | date, *, metric: str = "EffectiveCost", at: str | date | None = None) -> Kpis:
    """Tell the twelve KPIs of a month, with targets, status and a trend of twelve months.

    Parameters
    ----------
    lab : Lab
        An opened lab.
    month : str or datetime.date
        Month of use, such as ``2026-10``.
    metric : str
        The cost column that money is told in.
    at : str, datetime.date or datetime.datetime, optional
        How far the month has run (UTC; a day is its midnight), where it is not over. Without it, it
        has run to the end of the lab's `as_of`, or of the latest day that bills, requests or GPU samples tell of. Error
        budgets of such a month are of the days known; money per QPS has no value.

    Returns
    -------
    finops_lab.unit_economics.kpis.Kpis
        Targets are those of ``[[kpis]]`` in `finops.toml`, before the usual ones of the field. The
        usual one of M1 is in USD: figures in another currency are judged by it at the month's rate
        of ``[[rates]]``, and without one not at all.

    Raises
    ------
    InputError
        When the month, the metric or the moment is none, or the month has not begun.
    CurrencyError
        When the bills are in several currencies and `finops.toml` has no rates.
    """
    last = first_of(month)
    frames = Frames(lab, add_months(last, 1 - TREND_MONTHS), last, moment_of(at))
    found = figures(frames, metric=metric)
    currency = lab.currency if frames.entries.is_empty() else currency_of(frames.entries)
    defaults, untargeted = usual(currency, lab.config.rates, last)
    targets = [*defaults, *lab.config.kpis]
    return put_together(
        with_targets(found, targets, HEADLINES, untargeted=untargeted),
        last,
        DEFINITIONS,
        up_to=frames.up_to,
        targets=of_everything(targets, HEADLINES),
        absent={} if lab.config.slos else {"M10": "finops.toml has no [[slos]]"},
        currency=currency,
    )


def figures(frames: Frames, *, metric: str = "EffectiveCost") -> pl.DataFrame:
    """Return every figure of the months: `finops_lab.unit_economics.schemas.FIGURES`."""
    lab, rules = frames.lab, frames.rules
    months = [
        add_months(frames.first, n) for n in range(TREND_MONTHS) if add_months(frames.first, n) < frames.end
    ]
    # Here the lab is read, which one thread may do at a time; others share the small queries meanwhile.
    with ThreadPoolExecutor(_THREADS) as pool:
        requests = frames.requests
        failed = pool.submit(failures.error_rates, requests)
        lasted = pool.submit(latency.latency, frames.histograms, requests=requests)
        entries, gpu_days, up_to = frames.entries, frames.gpu_days, frames.up_to
        asked = [
            pool.submit(
                inference_cost.inference_cost,
                entries,
                requests,
                schedule=frames.schedule,
                gpu_days=gpu_days,
                rules=rules,
                metric=metric,
            ),
            pool.submit(
                utilization.gpu_utilization,
                gpu_days,
                pools=utilization.pool_models(lab.pools(), requests),
                paid=utilization.paid_gpu_hours(lab.costs().filter(frames.within("ChargePeriodStart"))),
                until=frames.open_at and frames.open_at.date(),
            ),
            pool.submit(capacity.useful_hours, gpu_days, by=("pool_id", "cluster", "team")),
            pool.submit(capacity.idle_pools, entries.with_columns(frames.pool), metric=metric),
            pool.submit(training_cost.training_cost, entries, frames.jobs, rules=rules, metric=metric),
            lasted,
            pool.submit(latency.engine_latency, frames.engine_buckets),
            failed,
            pool.submit(failures.labelled_error_rate, frames.table("accuracy_samples", "ts")),
            *(pool.submit(ask) for ask in _anomalies(frames, months, up_to)),
            pool.submit(owners.owned, entries, metric=metric, bill=frames.bill_rows),
            pool.submit(evictions.eviction_impact, frames.evictions, frames.jobs),
            pool.submit(error_budgets.burn_figures, burned(frames), currency=lab.currency),
            pool.submit(
                scaling.scaling,
                frames.table("capacity_series", "ts"),
                frames.table("scale_events", "ts_decision"),
            ),
            pool.submit(_per_qps, frames, metric, frames.called, up_to),
            pool.submit(
                features.feature_cost,
                entries,
                lab.table("feature_value"),
                requests,
                rules=rules,
                metric=metric,
                by=("feature", "customer", "team", "model", "variant", "environment"),
                up_to=up_to,
            ),
        ]
        parts = [told.result() for told in asked]
    within = pl.col("month").is_between(frames.first, frames.last)
    return pl.concat(part.filter(within) for part in parts)


def _anomalies(frames: Frames, months: list[date], up_to: date | None) -> list[Callable[[], pl.DataFrame]]:
    """Look for anomalies of daily spend, and return what counts them.

    Months that nobody could judge have no value, not 0.
    """
    from finops_lab.watching import anomalies, anomaly_counts

    found = anomalies(frames.lab, at=frames.at, with_telemetry=False)
    looked_at = found.looked_at
    seen = [month for month in months if month in looked_at]

    def unjudged() -> pl.DataFrame:
        unseen = anomaly_rate.anomaly_rate(None, [month for month in months if month not in seen])
        return unseen.with_columns(reason=pl.lit(_UNJUDGED))

    def judged() -> pl.DataFrame:
        by = ("provider", "service", "team", "model", "feature")
        counts = anomaly_counts(found).filter(pl.col("month").is_in(seen))
        return anomaly_rate.anomaly_rate(counts, seen, by=by, up_to=up_to)

    return [judged, unjudged] if seen else [unjudged]


def _per_qps(frames: Frames, metric: str, called: pl.DataFrame, up_to: date | None) -> pl.DataFrame:
    """Divide the money of pools by the calls a second within the target of P95 latency."""
    targets = [*DEFAULTS, *frames.lab.config.kpis]
    mine = [t for t in targets if t.kpi == "M4" and t.measure in (None, "p95") and t.dimension is None]
    money = capacity.pool_money(frames.entries.with_columns(frames.pool), metric=metric)
    limit = next((t.at_most for t in reversed(mine) if t.at_most is not None), None)
    if limit is None:
        return pl.DataFrame(schema=FIGURES)
    calls = latency.calls_within(frames.histograms, float(limit), days=called, requests=frames.requests)
    sampled = scaling.sampled_money(frames.gpu_days, called)
    parts = []
    for spent, currency, by_samples in (
        (money, currency_of(frames.entries), False),
        (sampled, "USD", True),
    ):
        told = scaling.money_per_qps(spent, calls, currency=currency, up_to=up_to, by_samples=by_samples)
        # Where no pool has money, one line says so, not one of every pool.
        parts.append(told.filter(pl.col("dimension").is_null()) if spent.is_empty() else told)
    return pl.concat(parts)
