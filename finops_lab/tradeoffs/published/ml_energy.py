"""ML.ENERGY leaderboard: energy, throughput and latency of generative models by configuration."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from finops_lab.errors import InputError
from finops_lab.tradeoffs.published.results import Findings, Published, published
from finops_lab.tradeoffs.published.texts import read_json

__all__ = ["KIND", "LAYOUT", "read", "recognises"]

KIND = "ml_energy"
LAYOUT = "data/tasks/*.json or data/models/*.json of ml-energy/leaderboard (version 3)"
_NEEDS = ("gpu_model", "num_gpus")
_PARALLEL = ("tensor_parallel", "expert_parallel", "data_parallel", "ulysses_degree", "ring_degree")
_SIZES = ("max_num_seqs", "max_num_batched_tokens", "batch_size", "inference_steps")
_SHAPES = ("image_height", "image_width", "video_height", "video_width", "num_frames", "fps")
_ENERGY = ("energy_per_request_joules", "energy_per_image_joules", "energy_per_video_joules")
_RATES = ("throughput_images_per_sec", "throughput_videos_per_sec")
# Below this share of the largest batch, the server was not full: another load gives other figures.
_FULL = 0.9
_EXTRA = {"gpus": pl.Int64, "power_w": pl.Float64, "batch_latency_ms": pl.Float64}
_Row = dict[str, Any]


def recognises(path: Path) -> bool:
    """Tell whether a file or folder is of this set."""
    if path.is_dir():
        return any(recognises(file) for file in sorted(path.glob("*.json"))[:3])
    if path.suffix != ".json":
        return False
    found = read_json(path)
    return isinstance(found, dict) and isinstance(found.get("configurations"), list) and "task" in found


def read(path: Path) -> Published:
    """Read configurations of the ML.ENERGY leaderboard.

    Parameters
    ----------
    path : pathlib.Path
        The file of a task (``data/tasks/gpqa.json``) or of a model (``data/models/...__gpqa.json``), or a
        folder of them. ``index.json`` beside the folder tells precisions where a file does not.

    Returns
    -------
    Published
        A point for each configuration: ``model`` and ``variant`` (precision), ``hardware`` such as
        ``4 x H100``, ``serving`` the parallelism and the largest batch, ``workload`` the task. Cost is in
        *GPU-seconds*: a configuration on twice the GPUs must be twice as fast to cost the same.
        ``energy_j`` is per request, image or video. Language models: ``p50_ms``, ``p95_ms`` and
        ``p99_ms`` are times *between tokens*, not of requests. No quality is published. Behind:
        ``gpus``, ``power_w``, ``batch_latency_ms`` (images and videos). Findings: ``inter_token``,
        ``duplicate``, ``unset``, ``not_full`` (fewer requests ran than the largest batch), ``no_quality``,
        ``same_name``.

    Raises
    ------
    InputError
        The file has no configurations, or one lacks its GPUs or has a figure that is no number.

    Notes
    -----
    Read from the leaderboard's files of 2026-02 and its ``src/types.ts``. Requests per second are tokens
    per second over the mean length of an answer; where the length is not given it is energy per
    request over energy per token, as the leaderboard itself works it out.
    """
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    files = [file for file in files if recognises(file)]
    if not files:
        raise InputError("holds no configurations", file=path, hint=f"expected {LAYOUT}")
    findings = Findings(files[0].name)
    points = [point for file in files for point in _points(file, findings)]
    findings.add("no_quality", "no quality is published: join one on model and variant before deciding")
    return published(
        points,
        kind=KIND,
        files=files,
        origin="ml-energy/leaderboard",
        licence="see the repository",
        findings=findings,
        extra=_EXTRA,
    )


def _points(path: Path, findings: Findings) -> list[_Row]:
    found = read_json(path)
    task, precisions = str(found["task"]), _precisions(path)
    shared = {name: found[name] for name in ("model_id", "weight_precision") if name in found}
    points: list[_Row] = []
    seen: dict[str, int] = {}
    names: dict[tuple[Any, ...], int] = {}
    marks: dict[str, list[int]] = {}
    for at, configuration in enumerate(found["configurations"], 1):
        if not isinstance(configuration, Mapping):
            raise InputError("is no configuration", file=path, row=at, hint=f"expected {LAYOUT}")
        row = {**shared, **configuration, **(configuration.get("parallelization") or {})}
        for name in ("model_id", *_NEEDS):
            if row.get(name) is None:
                raise InputError("the configuration lacks it", file=path, row=at, column=name)
        if seen.setdefault(str(sorted(row.items(), key=lambda item: item[0])), at) != at:
            marks.setdefault("duplicate", []).append(at)
            continue
        point = _point(row, task, path, at, precisions)
        if point["precision"] is None:
            marks.setdefault("unset", []).append(at)
        if point["p95_ms"] is not None:
            marks.setdefault("inter_token", []).append(at)
        size, ran = (_figure(row, path, at, name) for name in ("max_num_seqs", "avg_batch_size"))
        if size and ran is not None and ran < _FULL * size:
            marks.setdefault("not_full", []).append(at)
            point["note"] = f"{ran:.0f} requests ran where {size:.0f} may"
        key = tuple(point[name] for name in ("model", "variant", "hardware", "serving", "workload"))
        names[key] = names.get(key, 0) + 1
        if names[key] > 1:
            marks.setdefault("same_name", []).append(at)
            point["serving"] += f" ({names[key]})"
        points.append(point)
    for finding, text in _TEXTS.items():
        if finding in marks:
            findings.add(finding, text, rows=marks[finding], file=path.name)
    return points


_MOST = 1e300  # more is no measurement, and JSON's 1e999 is infinite
_TEXTS = {
    "duplicate": "a configuration that stood above; kept once",
    "unset": "no weight_precision; null",
    "inter_token": "p50_ms, p95_ms and p99_ms are times between tokens: limit them as such",
    "not_full": "fewer requests ran than the largest batch; noted",
    "same_name": "all settings as above, other figures; numbered",
}


def _precisions(path: Path) -> dict[str, Any]:
    index = path.parent.parent / "index.json"
    models = read_json(index).get("models", {}) if index.is_file() else {}
    return {name: model.get("weight_precision") for name, model in models.items()}


def _figure(row: _Row, path: Path, at: int, *names: str) -> float | None:
    """Return the first figure that a configuration has of several."""
    name = next((name for name in names if row.get(name) is not None), None)
    if name is None:
        return None
    value = row[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MOST:
        raise InputError(f"{value!r} is no figure", file=path, row=at, column=name)
    return float(value)


def _point(row: _Row, task: str, path: Path, at: int, precisions: Mapping[str, Any]) -> _Row:
    figure = partial(_figure, row, path, at)
    gpus = figure("num_gpus") or 1.0
    energy, per_token = figure(*_ENERGY), figure("energy_per_token_joules")
    tokens = figure("output_throughput_tokens_per_sec")
    length = figure("avg_output_len") or (energy / per_token if energy and per_token else None)
    rate = figure(*_RATES) or (tokens / length if tokens and length else None)
    precision = row.get("weight_precision") or precisions.get(row["model_id"])
    settings = [(name, row[name]) for name in (*_PARALLEL, *_SIZES, *_SHAPES) if row.get(name) is not None]
    latency = figure("batch_latency_s")
    return {
        "model": row["model_id"],
        "variant": precision,
        "precision": precision,
        "hardware": f"{gpus:.0f} x {row['gpu_model']}",
        "serving": ", ".join(f"{name} {value}" for name, value in settings),
        "workload": task,
        "cost_basis": "relative" if rate or tokens else None,
        "per_1000_inferences": 1000 * gpus / rate if rate else None,
        "per_1m_tokens": 1e6 * gpus / tokens if tokens else None,
        "p50_ms": figure("median_itl_ms"),
        "p95_ms": figure("p95_itl_ms"),
        "p99_ms": figure("p99_itl_ms"),
        "throughput_per_s": rate,
        "energy_j": energy,
        "note": None,
        "gpus": int(gpus),
        "power_w": figure("avg_power_watts"),
        "batch_latency_ms": latency * 1000 if latency is not None else None,
    }
