"""Histograms of durations: what each bucket counted in each window between two scrapes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import polars as pl

from finops_lab.contracts import listed
from finops_lab.ingestion.platform import _prom_rows
from finops_lab.ingestion.platform._prom_metrics import canonical
from finops_lab.ingestion.platform._prom_series import Decoded, Series
from finops_lab.ingestion.registry import NOTES, REASONS, ReadSettings

__all__ = ["histogram_rows"]


def histogram_rows(decoded: Decoded, settings: ReadSettings) -> pl.DataFrame | None:
    """Return rows of `latency_histograms`: one bucket of one window each.

    Windows in which nothing was observed have no rows. Where several metrics of an engine say the
    same duration, the most direct one is taken, and a note names the others.
    """
    series, others = _preferred(decoded.series)
    if not series:
        return None
    known = pl.DataFrame([_describe(one, settings) for one in series], infer_schema_length=None)
    known = known.cast({"le_ms": pl.Float64}).with_columns(
        (pl.col("le_ms").is_infinite() & (pl.col("part") == "bucket")).any().over("process").alias("ended")
    )
    samples = decoded.samples.join(known, on="series", how="inner", maintain_order="left")
    counted = _prom_rows.increases(samples, "process")
    buckets = counted.filter(
        (pl.col("part") == "bucket") | ((pl.col("part") == "count") & ~pl.col("ended"))
    ).filter((pl.col("increase") > 0).any().over("process", "ts"))
    sums = counted.filter(pl.col("part") == "sum").select(
        "process", "ts", "start", (pl.col("increase") * pl.col("scale")).alias("sum_ms")
    )
    last = pl.col("le_ms").is_infinite()
    # The window of a histogram is that of its last bucket; another bucket's gap is not its own.
    ref = pl.when(last).then("start").max().over("process", "ts").fill_null(pl.col("start"))
    rows = buckets.with_columns(ref.alias("ref")).join(
        sums, on=["process", "ts", "start"], how="left", maintain_order="left"
    )
    count, text = pl.col("increase"), pl.col("text")
    reasons = [
        (pl.col("le_ms").is_null(), pl.lit("le_ms: the bucket has no end that can be read")),
        (~_prom_rows.whole(count), pl.format("cumulative_count: '{}' is no count", count)),
        (pl.col("value") < 0, pl.format("cumulative_count: '{}' is no count", text)),
        (pl.col("value").is_infinite(), pl.format("cumulative_count: '{}' is no count", text)),
        (pl.col("ref") != pl.col("start"), pl.lit("le_ms: the bucket lacks a sample of its window")),
    ]
    notes = [
        (pl.col("reset"), pl.lit("counter was reset: counted from zero")),
        (pl.col("gap"), pl.lit("window_s: samples are missing, the window spans the gap")),
        *[(pl.int_range(pl.len()) == 0, pl.lit(note)) for note in others],
    ]
    rows = rows.sort("ts", "process", "le_ms", maintain_order=True)
    return rows.with_columns(listed(reasons).alias(REASONS), listed(notes).alias(NOTES)).with_columns(
        pl.col("start").alias("ts"),
        ((pl.col("ts") - pl.col("start")) / 1e6).alias("window_s"),
        count.round().alias("cumulative_count"),
        pl.when(last).then("sum_ms").alias("sum_ms"),
        pl.col("series").alias("source_row"),
    )


def _preferred(series: tuple[Series, ...]) -> tuple[list[Series], list[str]]:
    best: dict[tuple[str, str], int] = {}
    for one in series:
        what = (one.known.engine, one.known.role)
        best[what] = min(best.get(what, one.known.rank), one.known.rank)
    taken = [s for s in series if s.known.rank == best[s.known.engine, s.known.role]]
    names = {_base(s): s.known.role for s in series if s.known.rank > best[s.known.engine, s.known.role]}
    return taken, [f"{name}: left out beside the direct {role}" for name, role in sorted(names.items())]


def _base(series: Series) -> str:
    return canonical(series.name).removesuffix(f"_{series.known.part}")


def _describe(series: Series, settings: ReadSettings) -> Mapping[str, Any]:
    labels = {k: v for k, v in series.labels.items() if k != "le"}
    end = math.inf if series.known.part != "bucket" else _end(series.labels.get("le"), series.known.scale)
    return {
        "series": series.number,
        "labels": series.text,
        "part": series.known.part,
        "scale": series.known.scale,
        "le_ms": end,
        "process": json.dumps([_base(series), sorted(labels.items())]),
        "metric": series.known.role,
        "source_metric": _base(series),
        "model": _prom_rows.context(labels, settings, "model", *_prom_rows.MODEL),
        **_prom_rows.place(labels),
    }


def _end(text: str | None, scale: float) -> float | None:
    try:
        end = float(text or "") * scale
    except ValueError:
        return None
    # Seconds of three digits must not become 300.00000000000006 milliseconds.
    return None if math.isnan(end) or end < 0 else round(end, 9)
