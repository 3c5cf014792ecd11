"""Words that several rooms write: a count with its noun, and what a metric is called."""

from __future__ import annotations

__all__ = ["metric_words", "plural"]

_METRICS = {
    "gpu_hours": "GPU-hours",
    "p95_ms": "P95 latency",
    "training_gpu_hours": "Training GPU-hours",
    "training_usd": "Reported training cost",
}


def plural(count: int, noun: str) -> str:
    """Write a count with its noun.

    Examples
    --------
    >>> plural(1, "month"), plural(1200, "row"), plural(2, "anomaly"), plural(2, "day")
    ('1 month', '1,200 rows', '2 anomalies', '2 days')
    """
    if count == 1:
        return f"{count:,} {noun}"
    several = f"{noun[:-1]}ie" if noun.endswith("y") and noun[-2:-1] not in "aeou" else noun
    return f"{count:,} {several}s"


def metric_words(metric: str) -> str:
    """Write the name of a metric: a cost column, or one of telemetry.

    Examples
    --------
    >>> metric_words("EffectiveCost"), metric_words("gpu_hours"), metric_words("error_rate")
    ('Effective cost', 'GPU-hours', 'Error rate')
    """
    if metric.endswith("Cost"):
        return f"{metric.removesuffix('Cost')} cost"
    words = _METRICS.get(metric) or metric.removesuffix("_ms").replace("_", " ")
    return words[:1].upper() + words[1:]
