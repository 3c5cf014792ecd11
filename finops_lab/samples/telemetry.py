"""GPU samples, model evaluations and the value of features, in the canonical columns."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import polars as pl

from finops_lab.calendar import add_months, months_from
from finops_lab.contracts import dtypes
from finops_lab.samples.charges import decimal
from finops_lab.samples.company import (
    API_VARIANTS,
    FEATURES,
    FIRST_DAY,
    GPU_UTIL_BUSY,
    IDLE_SHARE,
    LAST_DAY,
    MODELS,
    SERVING,
    SERVING_VARIANTS,
    SM_ACTIVE_BUSY,
    TELEMETRY_FIRST_DAY,
)
from finops_lab.samples.compute import pool_name
from finops_lab.samples.demand import Demand, Route
from finops_lab.samples.seeds import stream

__all__ = ["ACCURACY", "WATCHED", "accuracy", "canonical", "feature_value", "gpu_samples"]

_INTERVAL_S = 7200
# What ingestion adds, and what no export of the sample tells.
_EXPORT_ONLY = ("day", "source_file", "source_row", "mig_id")
# Watched GPUs per pool: a few dozen of the fleet.
WATCHED = (
    (Route("search-answers", "larch-7b", "int8"), 4),
    (Route("search-answers", "larch-70b", "int8"), 4),
    (Route("semantic-index", "alder-13b", "int4"), 3),
    (Route("chat-assistant", "larch-70b", "int8"), 6),
    (Route("chat-assistant", "alder-34b", "bf16"), 3),
    (Route("doc-summaries", "alder-34b", "int8"), 3),
    (Route("ticket-triage", "larch-7b", "int4"), 3),
    (Route("reply-drafts", "alder-34b", "bf16"), 3),
    (Route("code-helper", "larch-70b", "bf16"), 3),
)
# True accuracy of each model, and what each variant loses on paired items with how much disagreement.
ACCURACY = {
    "larch-7b": (0.712, (0.0, 0.0035, 0.0150)),
    "larch-70b": (0.846, (0.0, 0.0018, 0.0085)),
    "alder-13b": (0.754, (0.0, 0.0042, 0.0175)),
    "alder-34b": (0.803, (0.0, 0.0026, 0.0110)),
    "quill-large": (0.872, (0.0, 0.0, 0.0880)),
    "quill-small": (0.768, (0.0, 0.0, 0.0650)),
}
_DISAGREEMENT = (0.0, 0.010, 0.030)
_DATASETS = (("synthetic-qa-v2", 5000, 0.0), ("synthetic-triage-v1", 2000, 0.031))


def gpu_samples(seed: int) -> pl.DataFrame:
    """Return the samples of three months, every two hours, two kinds of utilization a GPU."""
    rng = stream(seed, "gpu")
    first = np.datetime64(TELEMETRY_FIRST_DAY, "s")
    last = np.datetime64(LAST_DAY, "s") + np.timedelta64(1, "D")
    ticks = np.arange(first, last, np.timedelta64(_INTERVAL_S, "s"))
    hour = (ticks.astype(np.int64) // 3600) % 24
    weekend = (ticks.astype("datetime64[D]").astype(np.int64) + 3) % 7 >= 5
    frames, number = [], 0
    for route, gpus in WATCHED:
        kind = SERVING[route.model]
        feature = FEATURES[route.feature]
        for gpu in range(gpus):
            number += 1
            # Idle more at night and at weekends, the acme clusters' share on average.
            night = 1 - 0.9 * np.cos(2 * np.pi * (hour - 14) / 24) + 0.5 * weekend * feature.weekly
            idle = rng.random(len(ticks)) < IDLE_SHARE * night / night.mean()
            # The autoscaler gives the last GPU of a pool back when it is idle.
            released = idle & (gpu == gpus - 1)
            busy = np.where(idle, 0.0, GPU_UTIL_BUSY - np.abs(rng.normal(0, 0.03, len(ticks))))
            active = np.where(idle, 0.0, (SM_ACTIVE_BUSY + rng.normal(0, 0.13, len(ticks))).clip(0.1, 0.95))
            watts = np.rint((65 + 330 * active + rng.normal(0, 6, len(ticks))).clip(50, 420) / 5) * 5
            memory = np.where(released, 0.0, 0.74 + 0.02 * (gpu % 3)) * kind.gpu_memory_gib * 2**30
            held = pl.Series("held", ~released)
            for util_kind, util in (("gpu_util", busy), ("sm_active", active)):
                frames.append(
                    pl.DataFrame(
                        {
                            "ts": ticks.astype("datetime64[us]"),
                            "util": np.rint(util.clip(0, 1) * 100) / 100,
                            "power_w": watts,
                            "mem_used_bytes": memory.astype(np.int64),
                            "held": held,
                        }
                    ).with_columns(
                        pl.lit(float(_INTERVAL_S)).alias("interval_s"),
                        pl.lit(f"{kind.cloud}-serving").alias("cluster"),
                        pl.lit(f"node-{route.model}-{1 + (number - 1) // kind.gpus:02d}").alias("node"),
                        pl.lit(f"GPU-synthetic-{number:04d}").alias("gpu_uuid"),
                        pl.lit(kind.gpu_model).alias("gpu_model"),
                        pl.lit(pool_name(route)).alias("pool_id"),
                        _if_held(feature.team, "namespace"),
                        _if_held(f"{pool_name(route)}-{gpu}", "pod"),
                        _if_held(feature.team, "team"),
                        pl.lit(util_kind).alias("util_kind"),
                        pl.lit(kind.gpu_memory_gib * 2**30).alias("mem_total_bytes"),
                        pl.col("held").alias("allocated"),
                        pl.lit(decimal(kind.contracted_price * 1000 // kind.gpus, 7)).alias(
                            "rate_usd_per_gpu_hour"
                        ),
                    )
                )
    return canonical("gpu_samples", pl.concat(frames).with_columns(pl.col("ts").dt.replace_time_zone("UTC")))


def _if_held(value: str, name: str) -> pl.Expr:
    return pl.when(pl.col("held")).then(pl.lit(value)).alias(name)


def accuracy(seed: int) -> pl.DataFrame:
    """Return a year of monthly evaluations; the variants of a model answer the same items."""
    rng = stream(seed, "accuracy")
    rows = []
    for month in months_from(add_months(LAST_DAY.replace(day=1), -11), LAST_DAY.replace(day=1)):
        for model in MODELS:
            truth, losses = ACCURACY[model]
            variants = SERVING_VARIANTS if model in SERVING else API_VARIANTS
            for dataset, n, shift in _DATASETS:
                right = int(rng.binomial(n, truth + shift))
                for variant, loss, spread in zip(variants, losses, _DISAGREEMENT, strict=True):
                    noise = float(rng.normal(0, 1)) * np.sqrt(n * spread)
                    lost = round(n * loss + noise)
                    rows.append(
                        {
                            "ts": datetime(month.year, month.month, 2, 4, tzinfo=UTC),
                            "model": model,
                            "variant": variant,
                            "model_version": f"{model}-{month:%Y%m}",
                            "dataset": dataset,
                            "metric": "accuracy",
                            "value": (right - lost) / n,
                            "n": n,
                            "split": "test",
                            "higher_is_better": True,
                        }
                    )
    return canonical("accuracy_samples", pl.DataFrame(rows))


def feature_value(seed: int, demand: Demand) -> pl.DataFrame:
    """Return units and revenue per feature and month as the export `feature_value.csv`."""
    rng = stream(seed, "value")
    rows = []
    months = demand.days.astype("datetime64[M]")
    for feature in FEATURES.values():
        calls = np.sum(
            [demand.calls[r] - demand.extra.get(r, 0) for r in demand.of(feature=feature.name)], axis=0
        )
        for month in months_from(FIRST_DAY, LAST_DAY.replace(day=1)):
            total = int(calls[months == np.datetime64(month, "M")].sum())
            if total == 0:
                continue
            # Not every call becomes a finished unit, and prices differ a little between months.
            units = int(total * float(rng.uniform(0.86, 0.90)) / 1000) * 1000
            mills = int(feature.revenue_per_1000.replace(".", "")) * 10
            cents = int(units // 1000 * mills * float(rng.uniform(0.97, 1.03)) / 10)
            rows.append(
                {
                    "period_start": f"{month}T00:00:00Z",
                    "period_end": f"{add_months(month, 1)}T00:00:00Z",
                    "feature": feature.name,
                    "customer": None,
                    "revenue_usd": decimal(cents, 2) if feature.revenue_per_1000 != "0.00" else None,
                    "units": str(units),
                    "unit_name": feature.unit_name,
                }
            )
    return pl.DataFrame(rows, schema_overrides={"customer": pl.String, "revenue_usd": pl.String})


def canonical(table: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Bring a frame to the contract's columns and dtypes, less what ingestion adds."""
    return frame.select(
        pl.col(name).cast(dtype) if name in frame.columns else pl.lit(None, dtype).alias(name)
        for name, dtype in dtypes(table).items()
        if name not in _EXPORT_ONLY
    )
