"""Utilization, memory and power of GPUs and MIG slices, sample by sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from finops_lab.contracts import listed
from finops_lab.contracts.telemetry import UTIL_KINDS
from finops_lab.ingestion.platform import _prom_rows
from finops_lab.ingestion.platform._prom_series import Decoded, Series, label
from finops_lab.ingestion.registry import NOTES, REASONS, ReadSettings

__all__ = ["gpu_rows", "is_blank"]

# DCGM's blanks (dcgm_structs.h): a base, and up to 15 above it for not found, not supported, not
# permitted. As 64-bit floats the integers near 2^63 fall together into 2^63.
_INT32, _INT64, _FP64 = 0x7FFFFFF0, 0x7FFFFFFFFFFFFFF0, 140737488355328.0
_KEY = ("gpu_uuid", "mig_id")
_MEMORY = ("used", "free", "reserved", "total")
_EXPORTER = "dcgm-exporter"


def is_blank(value: pl.Expr) -> pl.Expr:
    """Tell which values DCGM writes where it has none.

    Examples
    --------
    >>> frame = pl.DataFrame({"v": [9223372036854775794.0, 2147483632.0, 140737488355330.0, 0.0]})
    >>> frame.select(is_blank(pl.col("v")))["v"].to_list()
    [True, True, True, False]
    """
    bases = (_INT32, _FP64)
    near = [value.is_between(base, base + 15) for base in bases]
    return pl.any_horizontal(*near, value.is_between(float(_INT64) - 1024, 2.0**63))


def gpu_rows(decoded: Decoded, settings: ReadSettings) -> pl.DataFrame | None:
    """Return rows of `gpu_samples`: one per GPU or MIG slice, moment and kind of utilization.

    Memory and power of the same GPU and moment stand on each of its rows. A GPU without any
    utilization has rows of kind ``gpu_util`` whose ``util`` is unknown.
    """
    if not decoded.series:
        return None
    # Prometheus drops blank labels: a missing pod says "nobody's" only where others name theirs.
    mapped = any(_workload(s) or "pod" in s.labels or _is_exporter(s) for s in decoded.series)
    known = pl.DataFrame(
        [_describe(s, settings, mapped) for s in decoded.series], infer_schema_length=None
    ).cast({"mig_id": pl.String, "pod": pl.String, "allocated": pl.Boolean})
    value = pl.col("value") * pl.col("scale")
    samples = decoded.samples.join(known, on="series", how="inner", maintain_order="left").with_columns(
        is_blank(pl.col("value")).alias("blank"), pl.col("value").is_nan().alias("nan")
    )
    samples = samples.with_columns(pl.when(~(pl.col("blank") | pl.col("nan"))).then(value).alias("value"))
    rows = _wide(samples).sort(*_KEY, "ts", nulls_last=True)
    rows = rows.with_columns(_prom_rows.intervals(_KEY))
    kinds = [k for k in UTIL_KINDS if k in rows.columns]
    without = rows.filter(~pl.any_horizontal(*[f"has_{k}" for k in kinds])) if kinds else rows
    parts = [_of_kind(rows.filter(f"has_{k}"), k) for k in kinds]
    parts.append(_of_kind(without, None))
    return pl.concat(parts).sort("ts", *_KEY, nulls_last=True, maintain_order=True)


def _describe(series: Series, settings: ReadSettings, mapped: bool) -> Mapping[str, Any]:
    labels = series.labels
    pod = _workload(series)
    told = series.known.engine != "triton" and (mapped or "pod" in labels)
    slice_, profile = label(labels, "GPU_I_ID"), label(labels, "GPU_I_PROFILE")
    return {
        "series": series.number,
        "labels": series.text,
        "role": series.known.role,
        "scale": series.known.scale,
        "gpu_uuid": label(labels, "UUID", "uuid", "gpu_uuid"),
        "mig_id": "/".join(part for part in (slice_, profile) if part) or None,
        "gpu_model": label(labels, "modelName"),
        "node": label(labels, "Hostname", "node", "kubernetes_node"),
        "team": _prom_rows.context(labels, settings, "team"),
        **_prom_rows.place(labels),
        # The namespace and pod of the exporter are no workload's.
        "namespace": label(labels, "namespace") if pod else None,
        "pod": pod,
        "allocated": True if pod else False if told else None,
    }


def _is_exporter(series: Series) -> bool:
    return _EXPORTER in (label(series.labels, "pod") or "")


def _workload(series: Series) -> str | None:
    """Return the pod that holds the GPU; never the pod that exports the figures."""
    if series.known.engine == "triton" or _is_exporter(series):
        return None
    return label(series.labels, "pod")


def _wide(samples: pl.DataFrame) -> pl.DataFrame:
    """Bring all figures of a GPU and moment onto one row."""
    roles = samples["role"].unique().to_list()

    def of(column: str, role: str) -> pl.Expr:
        return pl.col(column).filter(pl.col("role") == role).first()

    named = pl.col("pod").drop_nulls()
    spaces = pl.col("namespace").drop_nulls()
    known = [k for k in UTIL_KINDS if k in roles]
    figures = [role for role in (*known, "power", *_MEMORY) if role in roles]
    wide = samples.group_by(*_KEY, "ts").agg(
        *[of("value", role).alias(role) for role in figures],
        *[(pl.col("role") == k).any().alias(f"has_{k}") for k in known],
        *[of(c, k).alias(f"{c}_{k}") for k in known for c in ("text", "labels", "series", "blank", "nan")],
        *[pl.col(c).drop_nulls().first() for c in ("cluster", "node", "gpu_model", "pool_id", "team")],
        pl.when(named.n_unique() == 1).then(named.first()).alias("pod"),
        pl.when(spaces.n_unique() == 1).then(spaces.first()).alias("namespace"),
        (named.n_unique() > 1).alias("shared"),
        pl.col("allocated").any(ignore_nulls=False).alias("allocated"),
        pl.col("step").max(),
        pl.col("text").first(),
        pl.col("labels").first(),
        pl.col("series").min(),
        ((pl.col("blank") | pl.col("nan")) & ~pl.col("role").is_in(UTIL_KINDS)).any().alias("unknown"),
    )
    absent = [r for r in ("power", *_MEMORY) if r not in figures]
    return wide.with_columns(pl.lit(None, dtype=pl.Float64).alias(role) for role in absent)


def _of_kind(rows: pl.DataFrame, kind: str | None) -> pl.DataFrame:
    """Make the rows of one kind of utilization, or of GPUs of which there is none."""
    rows = rows.with_columns(
        (pl.col(kind) if kind else pl.lit(None, dtype=pl.Float64)).alias("util"),
        *[pl.col(f"{c}_{kind}").alias(c) for c in ("text", "labels", "series") if kind],
        *[(pl.col(f"{c}_{kind}") if kind else pl.lit(False)).alias(c) for c in ("blank", "nan")],
        pl.lit(kind is None).alias("without"),
    )
    util = pl.col("util")
    said = "a percentage" if kind == "gpu_util" else "a ratio from 0 to 1"
    size = pl.col("total").fill_null(pl.col("used") + pl.col("free") + pl.col("reserved").fill_null(0))
    reasons = [
        (~util.is_between(0, 1), pl.format(f"util: '{{}}' is not {said}", "text")),
        (pl.col("gpu_uuid").is_null(), pl.lit("gpu_uuid: no label of the series names the GPU")),
        (
            pl.col("interval_s").is_null(),
            pl.lit("interval_s: one sample only, how long it stands is not known"),
        ),
        (~pl.col("power").is_between(0, 1e6), pl.format("power_w: '{}' is no power in watts", "power")),
        (~size.is_between(0, 2**50) | (pl.col("used") < 0), pl.lit("mem_used_bytes: the memory is no size")),
    ]
    notes = [
        (pl.col("blank"), pl.lit("util: DCGM has no value (blank)")),
        (pl.col("nan"), pl.lit("util: NaN, not known")),
        (pl.col("without"), pl.lit("util: no metric of utilization at this moment")),
        (pl.col("unknown"), pl.lit("memory or power: DCGM has no value (blank), or NaN")),
        (pl.col("shared"), pl.lit("pod: several pods share the GPU, none is named")),
        (pl.col("gap"), pl.lit("interval_s: samples are missing after this one, it stands for one step")),
        (
            # True of every row of an exporter, or of none: told once.
            (pl.col("total").is_null() & size.is_not_null() & pl.col("reserved").is_null()).any()
            & (pl.int_range(pl.len()) == 0),
            pl.lit("mem_total_bytes: used and free, the reserved part was not exported"),
        ),
    ]
    return rows.with_columns(listed(reasons).alias(REASONS), listed(notes).alias(NOTES)).select(
        "ts",
        "interval_s",
        *_KEY,
        *("cluster", "node", "gpu_model", "pool_id", "namespace", "pod", "team", "allocated"),
        pl.lit(kind or "gpu_util").alias("util_kind"),
        "util",
        pl.col("used").round().alias("mem_used_bytes"),
        size.round().alias("mem_total_bytes"),
        pl.col("power").alias("power_w"),
        pl.col("series").alias("source_row"),
        "labels",
        "text",
        REASONS,
        NOTES,
    )
