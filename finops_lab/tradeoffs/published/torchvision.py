"""torchvision: accuracy, size and operations of its weights, int8 beside fp32."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import polars as pl

from finops_lab.tradeoffs.published.results import Findings, Published, published
from finops_lab.tradeoffs.published.texts import first_line, numbers, read_csv

__all__ = ["KIND", "LAYOUT", "read", "recognises"]

KIND = "torchvision"
LAYOUT = "a CSV of the metadata of torchvision's weights (weights, variant, quantized, acc1, acc5, ...)"
_NAMES = ("weights", "variant", "quantized")
_FIGURES = ("acc1", "acc5", "gflops", "file_mb")
_METRICS = {"top1": "acc1", "top5": "acc5"}
_QUANTIZED = re.compile(r"_(FBGEMM|QNNPACK)")
_IMAGES = 50_000  # of ImageNet's validation set


def recognises(path: Path) -> bool:
    """Tell whether a file or folder is of this set."""
    if path.is_dir():
        return any(recognises(file) for file in path.glob("*.csv"))
    return {"weights", "variant", "quantized", "acc1"} <= set(first_line(path).split(","))


def read(path: Path) -> Published:
    """Read the metadata of torchvision's ImageNet weights.

    Parameters
    ----------
    path : pathlib.Path
        A CSV with ``weights`` (``ResNet50_QuantizedWeights``), ``variant`` (``IMAGENET1K_FBGEMM_V1``),
        ``quantized``, ``acc1``, ``acc5`` (percent), ``gflops``, ``file_mb``; or a folder with one.

    Returns
    -------
    Published
        A point for each metric (``top1``, ``top5``) and weights; ``size_mib`` is torchvision's file
        size, which counts 1,024 x 1,024 bytes. Nothing says what an inference costs: ``gflops`` is
        a column behind, and no cost. Pairs: int8 weights with the fp32 weights that they were made of
        (same architecture and version). Findings: ``no_baseline``, ``no_cost``.

    Raises
    ------
    InputError
        A column is missing or a text is no number.
    """
    if path.is_dir():
        path = next(file for file in sorted(path.glob("*.csv")) if recognises(file))
    frame = read_csv(path, (*_NAMES, *_FIGURES), filled=_NAMES)
    findings = Findings(path.name)
    values = [numbers(frame, name, file=path, findings=findings) for name in _FIGURES]
    rows = []
    texts = frame.select(_NAMES).rows()
    for i, ((weights, variant, quantized), *figures) in enumerate(zip(texts, *values, strict=True), 1):
        int8 = quantized.strip().lower() == "true"
        name = weights.removesuffix("_QuantizedWeights").removesuffix("_Weights")
        row = {"row": i, "model": name, "variant": variant, "precision": "int8" if int8 else "fp32"}
        rows.append(row | dict(zip(_FIGURES, figures, strict=True)))
    findings.add("no_cost", "neither speed nor price is published; gflops are operations, not cost")
    return published(
        [point for row in rows for point in _points(row)],
        kind=KIND,
        files=[path],
        origin="torchvision, metadata of models",
        licence="BSD-3-Clause",
        findings=findings,
        pairs=_pairs(rows, findings),
        extra={"gflops": pl.Float64},
    )


def _points(row: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            **{name: row[name] for name in ("model", "variant", "precision", "gflops")},
            "quality_metric": metric,
            "quality": row[column],
            "higher_is_better": True,
            "quality_n": _IMAGES,
            "size_mib": row["file_mb"],
        }
        for metric, column in _METRICS.items()
    ]


def _pairs(rows: list[dict[str, Any]], findings: Findings) -> list[dict[str, Any]]:
    known = {(row["model"], row["variant"]): row for row in rows if row["precision"] == "fp32"}
    pairs, lone = [], []
    for row in rows:
        if row["precision"] == "fp32":
            continue
        base = known.get((row["model"], _QUANTIZED.sub("", row["variant"])))
        if base is None:
            lone.append(row["row"])
            continue
        for metric, column in _METRICS.items():
            was, now = base[column], row[column]
            pairs.append(
                {
                    "model": row["model"],
                    "metric": metric,
                    "higher_is_better": True,
                    "baseline": base["variant"],
                    "variant": row["variant"],
                    "baseline_quality": was,
                    "variant_quality": now,
                    "relative_loss": (was - now) / was if was and now is not None else None,
                }
            )
    if lone:
        findings.add("no_baseline", "no fp32 weights of the same version; not paired", rows=lone)
    return pairs
