"""llama.cpp: bits, size and speed of one model in every quantisation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from finops_lab.tradeoffs.published.results import Findings, Published, published
from finops_lab.tradeoffs.published.texts import first_line, numbers, read_csv

__all__ = ["KIND", "LAYOUT", "read", "recognises"]

KIND = "llamacpp"
LAYOUT = "a CSV of the table in llama.cpp's tools/quantize/README.md (quant, bits_per_weight, size_gib, ...)"
_FIGURES = ("bits_per_weight", "size_gib", "pp512_tps", "pp512_sd", "tg128_tps", "tg128_sd")
_TOKENS = {"pp512": 512, "tg128": 128}
_MIB = 1024


def recognises(path: Path) -> bool:
    """Tell whether a file or folder is of this set."""
    if path.is_dir():
        return any(recognises(file) for file in path.glob("*.csv"))
    return {"quant", "bits_per_weight", "tg128_tps"} <= set(first_line(path).split(","))


def read(path: Path) -> Published:
    """Read llama.cpp's table of quantisations.

    Parameters
    ----------
    path : pathlib.Path
        A CSV with ``quant``, ``bits_per_weight``, ``size_gib`` and tokens per second with their
        standard deviations: ``pp512_tps``, ``pp512_sd`` (a prompt of 512 tokens), ``tg128_tps``,
        ``tg128_sd`` (128 tokens written); or a folder with one.

    Returns
    -------
    Published
        Two points for each quantisation: ``workload`` ``pp512`` and ``tg128``, one run of which is an
        inference. ``bits_per_weight`` and ``throughput_sd_per_s`` are columns behind. No quality is
        published. Findings: ``copied`` (speeds of another row, to the last digit of the deviation),
        ``duplicate`` (a row said twice, kept once).

    Raises
    ------
    InputError
        A column is missing or a text is no number.
    """
    if path.is_dir():
        path = next(file for file in sorted(path.glob("*.csv")) if recognises(file))
    frame = read_csv(path, ("quant", *_FIGURES), filled=["quant"])
    findings = Findings(path.name)
    values = [numbers(frame, name, file=path, findings=findings) for name in _FIGURES]
    rows = [
        {"row": i, "quant": quant, **dict(zip(_FIGURES, figures, strict=True))}
        for i, (quant, *figures) in enumerate(zip(frame["quant"], *values, strict=True), 1)
    ]
    speeds: dict[tuple[Any, ...], str] = {}
    seen: dict[tuple[Any, ...], int] = {}
    kept, again, copies = [], [], []
    for row in rows:
        if seen.setdefault(tuple(row[name] for name in ("quant", *_FIGURES)), row["row"]) != row["row"]:
            again.append(row["row"])
            continue
        original = speeds.setdefault(tuple(row[name] for name in _FIGURES[2:]), str(row["quant"]))
        row["note"] = None if original == row["quant"] else f"speeds are those of {original}: a copied row"
        if row["note"]:
            copies.append(row["row"])
        kept.append(row)
    if again:
        findings.add("duplicate", "the same row above; kept once", rows=again)
    if copies:
        said = "speeds and their deviations are another quantisation's to the last digit; kept and noted"
        findings.add("copied", said, rows=copies)
    return published(
        [point for row in kept for point in _points(row, path.stem.removesuffix("_quantize_table"))],
        kind=KIND,
        files=[path],
        origin="ggml-org/llama.cpp, tools/quantize/README.md",
        licence="MIT",
        findings=findings,
        extra={"bits_per_weight": pl.Float64, "throughput_sd_per_s": pl.Float64},
    )


def _points(row: dict[str, Any], model: str) -> list[dict[str, Any]]:
    points = []
    for workload, tokens in _TOKENS.items():
        speed, deviation = row[f"{workload}_tps"], row[f"{workload}_sd"]
        point = {name: row[name] for name in ("bits_per_weight", "note")}
        point |= {"model": model, "variant": row["quant"], "precision": row["quant"], "workload": workload}
        point |= {
            "cost_basis": "relative",
            "size_mib": None if row["size_gib"] is None else row["size_gib"] * _MIB,
        }
        if speed:
            point |= {"throughput_per_s": speed / tokens, "throughput_sd_per_s": (deviation or 0) / tokens}
            point |= {"per_1000_inferences": 1000 * tokens / speed, "per_1m_tokens": 1e6 / speed}
        points.append(point)
    return points
