"""The measures of each KPI and the dimensions each is told by: what a target can be of.

They are written down here because a target is checked when `finops.toml` is read, before anything
that works a figure out is loaded.
"""

from __future__ import annotations

from difflib import get_close_matches

__all__ = ["HEADLINE_OF", "MEASURES", "check_figure"]

_CALLS = ("team", "model", "variant", "feature", "customer", "environment")
_JOBS = ("model", "team")
_GPUS = ("team", "pool_id", "cluster", "gpu_model", "model")
_POOLS = ("pool_id",)
_USEFUL = ("pool_id", "cluster", "team")
_ENGINES = ("model", "pool_id", "cluster")
_ALERTS = ("provider", "service", "team", "model", "feature")
_PROMISES = ("feature", "model", "pool_id")
_KINDS = ("gpu_util", "gr_engine_active", "sm_active", "tensor_active", "duty_cycle")
_OF_KIND = ("", "_while_held", "_peak", "_idle_gpu_hours", "_idle_money")

_SAID: dict[str, dict[str, tuple[str, ...]]] = {
    "M1": {
        "allocated_per_call marginal_per_call marginal_per_call_by_samples fully_loaded_per_call"
        " allocated_per_1000_calls per_1m_tokens allocated_per_1m_input_tokens allocated_per_1m_output_tokens"
        " per_1m_weighted_tokens allocated_per_successful_outcome calls_with_cost": _CALLS,
    },
    "M2": {
        " ".join(f"{kind}{what}" for kind in _KINDS for what in _OF_KIND): _GPUS,
        "idle_share_billed dark_share_billed": _POOLS,
        "money_per_useful_gpu_hour billed_per_useful_gpu_hour": _USEFUL,
    },
    "M3": {"billed_per_wall_hour reported_per_wall_hour reported_per_gpu_hour training_billed": _JOBS},
    "M4": {
        "p95 p50 p99 ttft_p95": (*_CALLS, "pool_id"),
        "engine_p95 engine_p50 engine_p99 engine_ttft_p95": _ENGINES,
    },
    "M5": {
        "error_rate cancelled_share retry_share": _CALLS,
        "labelled_error_rate": ("model", "variant", "dataset"),
    },
    "M6": {"anomalies_per_month anomalies_per_week": _ALERTS},
    "M7": {
        "gross_positive absolute rows model_gross_positive variant_gross_positive feature_gross_positive"
        " customer_gross_positive environment_gross_positive": ("provider",),
    },
    "M8": {
        "retrain_reported retrain_completed retrain_failed_attempts retrain_failed retrain_timeout"
        " retrain_cancelled retrain_preempted retrain_running": _JOBS,
    },
    "M9": {
        "extra_reported evictions lost_work_hours restart_hours lost_work_reported restart_reported"
        " fallback_reported effective_per_machine_hour effective_to_on_demand": _JOBS,
    },
    "M10": {"budget_spent fast_burn_pages burn_rate_peak": _PROMISES},
    "M11": {
        "efficiency under_provisioned_share missing_capacity_share over_provisioned_hours"
        " scale_events_per_day thrash_share ready_p95 money_per_qps money_per_qps_by_samples": _POOLS,
    },
    "M12": {"margin margin_money allocated revenue allocated_over_all_calls": _CALLS},
}
MEASURES: dict[str, dict[str, tuple[str, ...]]] = {
    kpi: {name: by for names, by in said.items() for name in names.split()} for kpi, said in _SAID.items()
}
# The first measure of each stands for the KPI where a target names none.
HEADLINE_OF = {kpi: next(iter(measures)) for kpi, measures in MEASURES.items()}


def check_figure(kpi: str, measure: str | None, dimension: str | None) -> None:
    """Refuse a measure that its KPI has not, and a dimension that the measure is not told by.

    Raises
    ------
    ValueError
        With the name that was most likely meant.

    Examples
    --------
    >>> check_figure("M5", "eror_rate", None)
    Traceback (most recent call last):
    ValueError: there is no measure M5 'eror_rate': did you mean 'error_rate'?
    """
    named = measure or HEADLINE_OF[kpi]
    measures = MEASURES[kpi]
    if named not in measures:
        raise ValueError(f"there is no measure {kpi} {named!r}: {_meant(named, tuple(measures))}")
    if dimension is not None and dimension not in measures[named]:
        raise ValueError(f"{kpi} {named} is not told by {dimension!r}: {_meant(dimension, measures[named])}")


def _meant(name: str, known: tuple[str, ...]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"it must be one of {', '.join(known)}"
