"""timm: ImageNet accuracies joined with the speed of each architecture on one machine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from finops_lab.errors import InputError
from finops_lab.tradeoffs.published.results import Findings, Published, published
from finops_lab.tradeoffs.published.texts import first_line, numbers, read_csv

__all__ = ["KIND", "LAYOUT", "read", "recognises"]

KIND = "timm"
LAYOUT = "benchmark-infer-*.csv and results-*.csv of the results folder of huggingface/pytorch-image-models"
_ACCURACY = "results-imagenet.csv"
_RESULTS = ("model", "img_size", "top1", "top5", "param_count")
_SPEEDS = ("model", "infer_img_size", "infer_samples_per_sec", "infer_batch_size", "param_count")
_NAME = re.compile(
    r"benchmark-infer-(?P<precision>[^-]+)-(?P<layout>nchw|nhwc)-pt(?P<torch>\d+)-(?:cu(?P<cuda>\d+)-|(?P<cpu>cpu)-)"
    r"(?P<machine>[^-]+?)(?P<dynamo>-dynamo)?\.csv"
)
_MACHINES = {
    "pro6000maxq": "RTX PRO 6000 Max-Q",
    "i9_10940x": "Core i9-10940X",
    "i7_12700h": "Core i7-12700H",
}
_IMAGES = 50_000  # of ImageNet's validation set
# Two counts of parameters, in millions with two decimals, are the same up to rounding.
_ROUNDING = 0.0101
_EXTRA = {"params_millions": pl.Float64, "img_size": pl.Int64, "batch_size": pl.Int64}
_Row = dict[str, Any]


def recognises(path: Path) -> bool:
    """Tell whether a file or folder is of this set."""
    if path.is_dir():
        return any(recognises(file) for file in path.glob("*.csv"))
    columns = set(first_line(path).split(","))
    return {"model", "infer_samples_per_sec"} <= columns or {"model", "img_size", "top1"} <= columns


def read(path: Path) -> Published:
    """Read accuracies of models and the throughput of their architectures.

    Parameters
    ----------
    path : pathlib.Path
        A ``benchmark-infer-*.csv``, with ``results-imagenet.csv`` beside it; a folder, for all of
        its inference files; or a ``results-*.csv`` alone, for accuracies without speed.

    Returns
    -------
    Published
        A point for each metric (``top1``, ``top5``, in percent), weights and image size that stand in
        both files: ``model`` names the weights (``resnet50.a1_in1k``), ``variant`` the image size
        (``288px``). Precision, machine and software are taken from the name of the file. Cost is in
        seconds of the machine, at the largest batch that went well. Columns behind:
        ``params_millions``, ``img_size``, ``batch_size``. Findings: ``commas``,
        ``shared_speed``, ``no_accuracy``, ``no_speed``, ``failed_run``, ``duplicate``, ``disagrees``,
        ``not_read``.

    Raises
    ------
    InputError
        No accuracies beside the benchmark, a file of training speeds, a missing column, or a text
        that is no number.

    Notes
    -----
    A benchmark names an architecture (``resnet50``), accuracies name weights: one speed holds for
    several weights. The image size must be the same; timm tests many models at two.
    """
    if path.is_dir():
        files = sorted(path.glob("benchmark-infer-*.csv"))
        accuracy = path / _ACCURACY
    else:
        alone = "top1" in first_line(path).split(",")
        files, accuracy = ([], path) if alone else ([path], path.parent / _ACCURACY)
    if not accuracy.exists():
        raise InputError(f"{_ACCURACY} is not beside it", file=path, hint="the speeds need accuracies")
    findings = Findings(accuracy.name)
    weights = _weights(accuracy, findings)
    rows = [row for file in files for row in _join(weights, file, findings)] if files else weights
    if path.is_dir():
        others = sorted(f.name for f in path.glob("*.csv") if f not in files and f != accuracy)
        if others:
            findings.add("not_read", f"give a file of its own to read it: {', '.join(others)}")
    return published(
        _points(rows, accuracy),
        kind=KIND,
        files=[accuracy, *files],
        origin="huggingface/pytorch-image-models, results",
        licence="Apache-2.0",
        findings=findings,
        extra=_EXTRA,
    )


def _weights(path: Path, findings: Findings) -> list[_Row]:
    frame = read_csv(path, _RESULTS, filled=_RESULTS[:2])
    values = [numbers(frame, name, file=path, findings=findings) for name in _RESULTS[1:]]
    rows = [
        dict(zip(("row", *_RESULTS), row, strict=True))
        for row in zip(range(1, frame.height + 1), frame["model"], *values, strict=True)
    ]
    return _once(rows, ("model", "img_size"), findings, path)


def _once(rows: list[_Row], keys: Sequence[str], findings: Findings, path: Path) -> list[_Row]:
    """Keep the first row of each key; rows that repeat one are counted."""
    kept: dict[tuple[Any, ...], _Row] = {}
    again = [row for row in rows if kept.setdefault(tuple(row[k] for k in keys), row) is not row]
    if again:
        said = f"{' and '.join(keys)} stood above already; the first is kept"
        findings.add("duplicate", said, rows=[row["row"] for row in again], file=path.name)
    return list(kept.values())


def _join(weights: list[_Row], path: Path, findings: Findings) -> list[_Row]:
    named = _NAME.fullmatch(path.name)
    if named is None:
        raise InputError(
            "the name does not say precision, software and machine",
            file=path,
            hint="expected a name such as benchmark-infer-amp-nchw-pt291-cu130-5090.csv",
        )
    frame = read_csv(path, _SPEEDS, filled=_SPEEDS[:2])
    size, speed, batch, params = (numbers(frame, name, file=path, findings=findings) for name in _SPEEDS[1:])
    rows = [
        {"row": i, "model": model, "img_size": size[i - 1], "speed": speed[i - 1], "batch": batch[i - 1]}
        | {"params": params[i - 1]}
        for i, model in enumerate(frame["model"], 1)
    ]
    failed = [row["row"] for row in rows if not row["speed"]]
    if failed:
        findings.add("failed_run", "no throughput; dropped", rows=failed, file=path.name)
    rows = _once([row for row in rows if row["speed"]], ("model", "img_size"), findings, path)
    speeds = {(row["model"], row["img_size"]): row for row in rows}
    used: dict[tuple[str, float], int] = {}
    joined, silent, unlike = [], [], []
    for weight in weights:
        key = (str(weight["model"]).partition(".")[0], weight["img_size"])
        found = speeds.get(key)
        if found is None:
            silent.append(weight["row"])
            continue
        used[key] = used.get(key, 0) + 1
        if abs((weight["param_count"] or 0) - (found["params"] or 0)) > _ROUNDING:
            unlike.append(weight["row"])
        joined.append({**weight, **_setting(named), "speed": found["speed"], "batch": found["batch"]})
    shared = [speeds[key]["row"] for key, count in used.items() if count > 1]
    idle = [row["row"] for key, row in speeds.items() if key not in used]
    for finding, text, at, file in (
        ("shared_speed", "an architecture's speed stands for several weights", shared, path.name),
        (
            "no_accuracy",
            "no weights of this architecture and image size were tested; dropped",
            idle,
            path.name,
        ),
        ("no_speed", f"not timed in {path.name}; dropped", silent, _ACCURACY),
        ("disagrees", f"param_count is another in {path.name}: other heads, same body", unlike, _ACCURACY),
    ):
        if at:
            findings.add(finding, text, rows=at, file=file)
    return joined


def _setting(named: re.Match[str]) -> _Row:
    machine = named["machine"].removeprefix("rtx")
    # pt113 is 1.13, pt291 is 2.9.1.
    torch = ".".join(named["torch"]) if named["torch"][0] != "1" else f"1.{named['torch'][1:]}"
    software = f"CUDA {named['cuda'][:-1]}.{named['cuda'][-1]}" if named["cuda"] else "CPU"
    parts = [f"PyTorch {torch}", software, named["layout"], "torch.compile" if named["dynamo"] else "eager"]
    return {
        "precision": named["precision"],
        "hardware": _MACHINES.get(machine, f"RTX {machine}" if named["cuda"] else machine),
        "serving": ", ".join(parts),
    }


def _points(rows: list[_Row], accuracy: Path) -> list[_Row]:
    clean = accuracy.name == _ACCURACY
    dataset = accuracy.stem.removeprefix("results-")
    return [
        {
            **{name: row.get(name) for name in ("model", "precision", "hardware", "serving")},
            "variant": f"{row['img_size']:.0f}px",
            "cost_basis": "relative" if "speed" in row else None,
            "per_1000_inferences": 1000 / row["speed"] if "speed" in row else None,
            "quality_metric": metric if clean else f"{metric} {dataset}",
            "quality": row[metric],
            "higher_is_better": True,
            "quality_n": _IMAGES if clean else None,
            "throughput_per_s": row.get("speed"),
            "params_millions": row["param_count"],
            "img_size": int(row["img_size"]),
            "batch_size": int(row["batch"]) if row.get("batch") else None,
        }
        for row in rows
        for metric in ("top1", "top5")
    ]
