"""Replicas and nodes, wanted and ready, and the changes of what was wanted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from finops_lab.contracts import listed
from finops_lab.ingestion.platform import _prom_rows
from finops_lab.ingestion.platform._prom_series import Decoded, Series, label
from finops_lab.ingestion.registry import NOTES, REASONS, ReadSettings

__all__ = ["capacity_rows", "scale_rows"]

_KEY = ("cluster", "namespace", "pool_id", "unit")
_ROLES = ("desired", "ready", "least", "most")
_KEDA = "keda-hpa-"  # KEDA names the autoscaler that it makes for a scaled object so


def capacity_rows(decoded: Decoded, settings: ReadSettings) -> pl.DataFrame | None:
    """Return rows of `capacity_series`: one per pool and moment.

    The pool is the Deployment or StatefulSet; an autoscaler's series go to what it scales, named
    by ``kube_horizontalpodautoscaler_info`` where the file has it, else by the autoscaler's own
    name. ``desired`` is the autoscaler's wish, or the specification where there is none; of a
    Karpenter node pool, the nodes it has provisioned.
    """
    wide = _wide(decoded)
    if wide is None:
        return None
    reasons = [
        (
            ~(pl.col(role) >= 0) | pl.col(role).is_infinite(),
            pl.format(f"{role}: '{{}}' is no number of {{}}s", role, "unit"),
        )
        for role in _ROLES
    ]
    reasons += [
        (pl.col("pool_id").is_null(), pl.lit("pool_id: no label of the series names it")),
        (
            pl.col("interval_s").is_null(),
            pl.lit("interval_s: one sample only, how long it stands is not known"),
        ),
    ]
    notes = [
        (pl.col("gap"), pl.lit("interval_s: samples are missing after this one, it stands for one step")),
        (pl.col("nan"), pl.lit("a figure is NaN, not known")),
        (pl.col("twice"), pl.lit("several series of one figure: the first was kept")),
    ]
    return (
        wide.with_columns(_prom_rows.intervals(_KEY))
        .with_columns(listed(reasons).alias(REASONS), listed(notes).alias(NOTES))
        .sort("ts", *_KEY, nulls_last=True)
        .with_columns(pl.col("series").alias("source_row"))
    )


def scale_rows(decoded: Decoded, settings: ReadSettings) -> pl.DataFrame | None:
    """Return rows of `scale_events`: each change of what was wanted, seen at the first sample of it.

    ``ts_ready`` is the first sample from then on at which as many were ready as wanted, or, when
    fewer were wanted, no more than that; unknown when the wish changed back before, or the file
    ends. The scaler is ``hpa``, ``keda`` or ``karpenter`` where its own series tell, else
    ``inferred``.
    """
    wide = _wide(decoded)
    if wide is None:
        return None
    found: list[dict[str, Any]] = []
    for _, pool in wide.sort(*_KEY, "ts").group_by(_KEY, maintain_order=True):
        found += _changes(pool.filter(pl.col("desired") >= 0))
    if not found:
        return None
    return pl.DataFrame(found, infer_schema_length=None).sort("ts_decision", *_KEY, nulls_last=True)


def _changes(pool: pl.DataFrame) -> Iterator[dict[str, Any]]:
    before = pl.col("desired").shift(1)
    late = pl.col("ts") - pl.col("ts").shift(1) > _prom_rows.GAP * pl.col("step")
    changes = (
        pool.with_row_index("at")
        .with_columns(before.alias("before"), late.alias("late"))
        .filter(pl.col("before") != pl.col("desired"))
    )
    wanted, ready, times = (pool[name].to_list() for name in ("desired", "ready", "ts"))
    for change in changes.iter_rows(named=True):
        notes = ["ts_decision: samples are missing before this one"] if change["late"] else []
        yield {
            **{name: change[name] for name in (*_KEY, "scaler", "labels")},
            "ts_decision": change["ts"],
            "ts_ready": _ready(times, wanted, ready, change["at"], change["before"]),
            "from_units": change["before"],
            "to_units": change["desired"],
            "source_row": change["series"],
            "text": str(change["desired"]),
            REASONS: None if change["pool_id"] else ["pool_id: no label of the series names it"],
            NOTES: notes or None,
        }


def _ready(
    times: list[int], wanted: list[float], ready: list[float | None], at: int, before: float
) -> int | None:
    goal = wanted[at]
    more = goal > before
    for moment, wish, now in zip(times[at:], wanted[at:], ready[at:], strict=True):
        if (wish < goal) if more else (wish > goal):
            return None
        if now is not None and ((now >= goal) if more else (now <= goal)):
            return moment
    return None


def _wide(decoded: Decoded) -> pl.DataFrame | None:
    """Bring all figures of a pool and moment onto one row, each from its best source."""
    targets = dict(_targets(decoded.series))
    known = [_describe(s, targets) for s in decoded.series if s.known.role != "info"]
    if not known:
        return None
    series = pl.DataFrame(known, infer_schema_length=None).cast(dict.fromkeys(_KEY, pl.String))
    best = pl.col("rank") == pl.col("rank").min().over(*_KEY, "role")
    samples = decoded.samples.join(series.filter(best), on="series", how="inner", maintain_order="left")

    def of(role: str) -> pl.Expr:
        return pl.col("value").filter(pl.col("role") == role).first().alias(role)

    samples = samples.with_columns(pl.col("value").is_nan().alias("nan"), pl.col("value").fill_nan(None))
    return (
        samples.sort("series", maintain_order=True)
        .group_by(*_KEY, "ts")
        .agg(
            *[of(role) for role in _ROLES],
            pl.col("role").is_duplicated().any().alias("twice"),
            pl.col("nan").any(),
            pl.col("scaler").drop_nulls().first(),
            pl.col("step").max(),
            pl.col("series").first(),
            pl.col("labels").first(),
            pl.col("text").first(),
        )
        .with_columns(pl.col("scaler").fill_null("inferred"))
        .sort(*_KEY, "ts", nulls_last=True)
    )


def _autoscaler(series: Series) -> tuple[str, str, str] | None:
    name = label(series.labels, "horizontalpodautoscaler")
    at = (label(series.labels, "cluster") or "", label(series.labels, "namespace") or "")
    return (*at, name) if name else None


def _targets(series: tuple[Series, ...]) -> Iterator[tuple[tuple[str, str, str], str]]:
    for one in series:
        scaler, target = _autoscaler(one), label(one.labels, "scaletargetref_name")
        if one.known.role == "info" and scaler and target:
            yield scaler, target


def _describe(series: Series, targets: Mapping[tuple[str, str, str], str]) -> Mapping[str, Any]:
    labels = series.labels
    scaler = _autoscaler(series)
    own = scaler[2].removeprefix(_KEDA) if scaler else None
    wish = series.known.role == "desired"
    node = series.known.engine == "node"
    kind = "karpenter" if node else ("keda" if scaler[2].startswith(_KEDA) else "hpa") if scaler else None
    return {
        "series": series.number,
        "labels": series.text,
        "role": series.known.role,
        "rank": series.known.rank,
        "scaler": kind if wish else None,
        "cluster": label(labels, "cluster"),
        "namespace": None if node else label(labels, "namespace"),
        "pool_id": (targets.get(scaler) if scaler else None)
        or own
        or label(labels, "deployment", "statefulset", "nodepool"),
        "unit": series.known.engine,
    }
