"""Failure modes F2 to F7 in a lab's telemetry and bills; F1, billing spikes, is named where spend is judged."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from finops_lab import bookkeeping
from finops_lab.allocation import assign
from finops_lab.anomalies.failure_modes.accuracy import accuracy_losses
from finops_lab.anomalies.failure_modes.churn import spot_churn
from finops_lab.anomalies.failure_modes.orchestration import failed_deploys, failed_jobs, failing_releases
from finops_lab.anomalies.failure_modes.ownership import owner_changes
from finops_lab.anomalies.failure_modes.regressions import latency_regressions
from finops_lab.anomalies.failure_modes.thrash import autoscaler_thrash
from finops_lab.lab import Lab

__all__ = ["MOMENTS", "failures"]

# Tables that are looked at, and the moment by which a row is known.
MOMENTS = {
    "accuracy_samples": "ts",
    "deploys": "ts",
    "inference_requests": "ts_start",
    "scale_events": "ts_decision",
    "spot_evictions": "ts_lost",
    "training_jobs": "ts_start",
}


def failures(lab: Lab, until: datetime) -> pl.DataFrame:
    """Look for losses of accuracy, thrash, changed owners, churn, slow and failing releases, failing jobs.

    Parameters
    ----------
    lab : Lab
        An opened lab.
    until : datetime.datetime
        What came later is not known yet.

    Returns
    -------
    polars.DataFrame
        `finops_lab.anomalies.event.EVENTS` of the kind ``failure_mode``, unsorted.
    """
    tables = {name: lab.table(name).filter(pl.col(moment) < until) for name, moment in MOMENTS.items()}
    deploys, calls, jobs = tables["deploys"], tables["inference_requests"], tables["training_jobs"]
    parts = [
        accuracy_losses(tables["accuracy_samples"], deploys),
        autoscaler_thrash(tables["scale_events"]),
        spot_churn(tables["spot_evictions"], jobs),
        latency_regressions(deploys, calls),
        failing_releases(deploys, calls),
        failed_deploys(deploys),
        failed_jobs(jobs),
    ]
    costs = lab.costs().filter(pl.col("ChargePeriodStart") < until)
    if costs.select(pl.col("BillingCurrency").n_unique()).collect().item() == 1:
        parts.append(owner_changes(assign(costs, bookkeeping.policy(lab).dimensions)))
    return pl.concat(parts)
