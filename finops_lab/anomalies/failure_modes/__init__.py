"""Failure modes F1 to F7 of AI spend: what each looks like in bills and telemetry, and who finds it."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["MODES", "Mode"]


class Mode(NamedTuple):
    """A failure mode.

    Attributes
    ----------
    name : str
        What goes wrong.
    signal : str
        What gives it away.
    tables : tuple of str
        Tables that the signal is read from.
    detector : str
        Function that finds it, below `finops_lab.anomalies`.
    """

    name: str
    signal: str
    tables: tuple[str, ...]
    detector: str


MODES: dict[str, Mode] = {
    "F1": Mode(
        "Billing spike",
        "a slice's spend is above what its weekday, level and trend allow",
        ("ledger",),
        "failure_modes.spikes.billing_spikes",
    ),
    "F2": Mode(
        "Accuracy loss after optimization",
        "a variant answers fewer of n items right than its reference, or than before, beyond a margin",
        ("accuracy_samples", "deploys"),
        "failure_modes.accuracy.accuracy_losses",
    ),
    "F3": Mode(
        "Autoscaler thrash",
        "changes of capacity taken back within 10 minutes, more in an hour than the pool's past allows",
        ("scale_events",),
        "failure_modes.thrash.autoscaler_thrash",
    ),
    "F4": Mode(
        "Allocation mismatch",
        "the charges of a resource go to another owner, or to none, from one day on",
        ("costs",),
        "failure_modes.ownership.owner_changes",
    ),
    "F5": Mode(
        "Spot restart churn",
        "more interruptions of a job, or of a place in a week, than the past allows",
        ("spot_evictions", "training_jobs"),
        "failure_modes.churn.spot_churn",
    ),
    "F6": Mode(
        "Latency regression",
        "more calls after a deployment are slower than the P95 before it than chance allows",
        ("deploys", "inference_requests"),
        "failure_modes.regressions.latency_regressions",
    ),
    "F7": Mode(
        "Orchestration failure",
        "deployments that fail, calls that fail since a deployment, jobs that fail, more than usual",
        ("deploys", "inference_requests", "training_jobs"),
        "failure_modes.orchestration",
    ),
}
