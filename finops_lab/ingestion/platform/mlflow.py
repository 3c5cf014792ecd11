"""Runs of MLflow: training jobs and the accuracy they reached.

Source: MLflow's REST API reference, ``runs/search`` and ``runs/get``; ``Run.to_dictionary()``; and
the columns of ``mlflow.search_runs`` (also written by ``mlflow experiments csv``). MLflow records
no GPUs and no money of a run: what a user's tags or parameters do not say stays unknown. A nested
run lies within its parent's time, so that a parent's GPUs are left to its children.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from finops_lab.contracts.telemetry import JOB_KINDS, PURCHASES
from finops_lab.errors import FinopsError, InputError
from finops_lab.ingestion import _json, _rows
from finops_lab.ingestion._scan import ROW, scan_table
from finops_lab.ingestion.platform import _records
from finops_lab.ingestion.platform._metrics import metric_of
from finops_lab.ingestion.registry import ReadSettings, Sample, unreadable

__all__ = ["FORMAT", "READERS", "MlflowReader"]

FORMAT = "MLflow runs"

_COLUMNS = frozenset({"run_id", "experiment_id", "status", "start_time"})
_PARTS = ("metrics", "params", "tags")
_STATES: Mapping[str, str | None] = {
    "FINISHED": "completed",
    "FAILED": "failed",
    "KILLED": "cancelled",
    "RUNNING": "running",
    "SCHEDULED": None,
}
_GPUS = ("finops.gpu_count", "gpu_count", "num_gpus", "n_gpus")
_MODEL = ("finops.model", "model", "model_name", "base_model")
_DATASET = ("finops.dataset", "dataset", "dataset_name")
_PARENT = "mlflow.parentRunId"


@dataclass(frozen=True)
class _Run:
    row: int
    line: str
    info: Mapping[str, Any]
    tags: Mapping[str, Any]
    params: Mapping[str, Any]
    metrics: Mapping[str, tuple[Any, Any]]
    dataset: str | None
    fault: str | None = None

    @property
    def run_id(self) -> str | None:
        return _json.text(self.info.get("run_id")) or _json.text(self.info.get("run_uuid"))

    def find(self, *names: str) -> str | None:
        return _records.lookup((self.tags, self.params), names)


@dataclass(frozen=True)
class MlflowReader:
    """Reads MLflow runs as rows of one table.

    Parameters
    ----------
    TABLE : str
        ``training_jobs`` or ``accuracy_samples``.
    """

    TABLE: str
    FORMAT: str = FORMAT
    SOURCE: str = "MLflow REST API reference (runs/search) and mlflow.search_runs of 3.17; from documentation"

    def matches(self, sample: Sample) -> bool:
        """Tell whether a file holds MLflow runs."""
        if sample.kind != "jsonl":
            parts = any(name.startswith(tuple(f"{p}." for p in _PARTS)) for name in sample.columns)
            return parts and set(sample.columns) >= _COLUMNS
        return any(
            _is_run(run) for head in _records.heads(sample, "info", "run_id") for run in _records_of(head)
        )

    def read(self, path: Path, settings: ReadSettings) -> pl.LazyFrame:
        """Read runs, or their metrics that measure quality.

        Every run that has started is an attempt. ``gpu_count`` is a tag or parameter
        ``finops.gpu_count``, ``gpu_count``, ``num_gpus`` or ``n_gpus``, or the GPUs of a machine
        ``finops.instance_type`` or ``instance_type``; else unknown. ``team`` and ``model`` are the
        names of ``settings.attributes`` among tags and parameters, then usual ones.
        ``model_version`` is one that a tag names, or the run's id. ``kind`` is the tag
        ``finops.kind``, or a word of the run's name.

        Accuracy samples are the last values of metrics whose name is a known measure of quality;
        ``model`` is the run's name where nothing names one, ``dataset`` the run's first logged
        data set, or its experiment.

        Parameters
        ----------
        path : pathlib.Path
            JSON or JSON lines of runs, or the table of ``search_runs`` as CSV or Parquet.
        settings : ReadSettings
            Names of tags and parameters that hold ``team`` and ``model``.

        Returns
        -------
        polars.LazyFrame
            The contract without ``source_file``, and `RAW`, `REASONS`, `NOTES`. ``source_row``
            counts runs and broken lines from 1.

        Raises
        ------
        InputError
            When the file cannot be read.
        """
        make = _jobs if self.TABLE == "training_jobs" else _samples
        return _rows.frame(self.TABLE, lambda: make(_runs(path), settings))


def _jobs(found: Iterator[_Run], settings: ReadSettings) -> Iterator[dict[str, Any]]:
    runs = list(found)
    parents = {parent for run in runs if (parent := _json.text(run.tags.get(_PARENT)))}
    waiting = 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal waiting
        for run in runs:
            at = {"source_row": run.row, "line": run.line}
            if run.fault is not None:
                yield _rows.broken(run.row, run.line, run.fault)
                continue
            faults: list[str] = []
            state = _state(run, faults)
            if state is None and not faults:
                waiting += 1
                continue
            yield {**at, **_training(run, settings, run.run_id in parents, faults), "state": state}

    def tell() -> Iterator[str]:
        if waiting:
            yield f"runs that had not started, left out: {waiting}"

    yield from _records.told_at_the_end(rows(), tell)


def _training(run: _Run, settings: ReadSettings, parent: bool, faults: list[str]) -> dict[str, Any]:
    notes: list[str] = []
    start = _json.moment(run.info.get("start_time"), "ts_start", faults, epoch="ms")
    end = _json.moment(run.info.get("end_time"), "ts_end", faults, epoch="ms")
    machine = run.find("finops.instance_type", "instance_type")
    model, each = _records.gpus_of(machine)
    said = _json.number(run.find(*_GPUS), "gpu_count", faults)
    gpus = each if said is None else said
    if parent and gpus:
        gpus = None
        notes.append("gpu_count: left to the nested runs, which lie within this one's time")
    name = _json.text(run.info.get("run_name")) or _json.text(run.tags.get("mlflow.runName"))
    kind = run.find("finops.kind")
    purchase = run.find("finops.purchase")
    return {
        "job_id": run.run_id,
        "attempt": 1,
        "model": run.find(*settings.attributes.get("model", ()), *_MODEL),
        "model_version": run.find("finops.model_version", "model_version") or run.run_id,
        "kind": kind if kind in JOB_KINDS else _records.kind_of(name),
        "team": run.find(*settings.attributes.get("team", ()), "team", "finops.team"),
        "ts_start": start,
        "ts_end": end,
        "gpu_model": run.find("finops.gpu_model", "gpu_model", "gpu_type") or model,
        "gpu_count": gpus,
        "instance_type": machine,
        "purchase": purchase if purchase in PURCHASES else None,
        "wall_s": (end - start) / 1e6 if start is not None and end is not None and end >= start else None,
        "reasons": faults,
        "notes": notes,
    }


def _state(run: _Run, faults: list[str]) -> str | None:
    said = _json.text(run.info.get("status")) or ""
    if said.upper() not in _STATES:
        faults.append(f"state: '{_json.short(said)}' is no status of a run")
        return None
    return _STATES[said.upper()]


def _samples(runs: Iterator[_Run], settings: ReadSettings) -> Iterator[dict[str, Any]]:
    left_out: set[str] = set()

    def rows() -> Iterator[dict[str, Any]]:
        for run in runs:  # a broken one is told with the jobs
            for said, (value, moment) in run.metrics.items() if run.fault is None else ():
                metric = metric_of(said)
                if metric is None:
                    left_out.add(said)
                    continue
                faults: list[str] = []
                times = (moment, run.info.get("end_time"), run.info.get("start_time"))
                told = next((t for t in times if _json.text(t) is not None), None)
                dataset = run.find(*_DATASET) or run.dataset
                name = _json.text(run.info.get("run_name")) or _json.text(run.tags.get("mlflow.runName"))
                yield {
                    "source_row": run.row,
                    "line": run.line,
                    "ts": _json.moment(told, "ts", faults, epoch="ms"),
                    "model": run.find(*settings.attributes.get("model", ()), *_MODEL) or name or run.run_id,
                    "model_version": run.find("finops.model_version", "model_version") or run.run_id,
                    "variant": run.find(*settings.attributes.get("variant", ()), "variant", "finops.variant"),
                    "dataset": dataset or f"experiment {_json.text(run.info.get('experiment_id'))}",
                    "metric": metric.name,
                    "value": _json.number(value, "value", faults),
                    "split": metric.split,
                    "higher_is_better": metric.higher_is_better,
                    "reasons": faults,
                    "notes": [] if dataset else ["dataset: not told, the experiment stands for it"],
                }

    def tell() -> Iterator[str]:
        if left_out:
            names = ", ".join(sorted(left_out)[:5]) + (", ..." if len(left_out) > 5 else "")
            yield f"metrics that are no known measure of quality, left out: {_json.short(names)}"

    yield from _records.told_at_the_end(rows(), tell)


def _runs(path: Path) -> Iterator[_Run]:
    with path.open("rb") as stream:
        start = stream.read(4)
    if start == b"PAR1" or not _is_json(path):
        yield from _table(path)
        return
    row = 0
    for document in _records.documents(path):
        if document.fault is not None:
            row += 1
            yield _Run(row, document.text, {}, {}, {}, {}, None, document.fault)
            continue
        for run in _records_of(document.value):
            row += 1
            line = _json.compact(run)
            if not _is_run(run):
                yield _Run(row, line, {}, {}, {}, {}, None, "line: is not a run of MLflow")
                continue
            data = _records.inside(run, "data")
            metrics = data.get("metrics")
            yield _Run(
                row,
                line,
                run["info"],
                _pairs(data.get("tags")),
                _pairs(data.get("params")),
                {str(k): (v, None) for k, v in metrics.items()}
                if isinstance(metrics, dict)
                else _last(metrics),
                _dataset(run),
            )


def _is_json(path: Path) -> bool:
    return _json.beginning(path).lstrip().startswith(("{", "["))


def _records_of(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield from value
    elif isinstance(value, dict) and isinstance(value.get("runs"), list):
        yield from value["runs"]
    elif isinstance(value, dict) and isinstance(value.get("run"), dict):
        yield value["run"]
    else:
        yield value


def _is_run(run: Any) -> bool:
    info = _records.inside(run, "info")
    return "status" in info and ("run_id" in info or "run_uuid" in info)


def _pairs(value: Any) -> Mapping[str, Any]:
    """Return tags or parameters, which the REST API writes as a list of key and value."""
    if isinstance(value, dict):
        return value
    entries = value if isinstance(value, list) else ()
    return {str(e.get("key")): e.get("value") for e in entries if isinstance(e, dict)}


def _last(entries: Any) -> dict[str, tuple[Any, Any]]:
    """Return value and time of each metric: of several steps the last one given."""
    found = [e for e in entries if isinstance(e, dict)] if isinstance(entries, list) else []
    return {str(e.get("key")): (e.get("value"), e.get("timestamp")) for e in found}


def _dataset(run: Mapping[str, Any]) -> str | None:
    inputs = _records.inside(run, "inputs").get("dataset_inputs")
    first = inputs[0] if isinstance(inputs, list) and inputs else None
    return _json.text(_records.inside(first, "dataset").get("name"))


def _table(path: Path) -> Iterator[_Run]:
    """Read the table of `mlflow.search_runs`: a column per metric, parameter and tag."""
    try:
        frame = scan_table(path).collect()
    except FinopsError:
        raise
    except (pl.exceptions.PolarsError, OSError, EOFError, zlib.error) as error:
        raise unreadable(path, error) from None
    missing = sorted(_COLUMNS - set(frame.columns))
    if missing:
        raise InputError(f"has no column {missing[0]}", file=path, column=missing[0])
    for record in frame.iter_rows(named=True):
        row = int(record.pop(ROW))
        parts: dict[str, dict[str, Any]] = {part: {} for part in _PARTS}
        info = dict(_told(record.items()))
        for name, value in _told(record.items()):
            part, dot, key = name.partition(".")
            if dot and part in parts:
                parts[part][key] = value
        metrics = {key: (value, None) for key, value in parts["metrics"].items()}
        yield _Run(row, _json.compact(record), info, parts["tags"], parts["params"], metrics, None)


def _told(pairs: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Leave out what the table has no value for; moments become text."""
    for name, value in pairs:
        if value is not None and value != "" and value == value:
            yield name, value.isoformat() if hasattr(value, "isoformat") else value


READERS = (MlflowReader("training_jobs"), MlflowReader("accuracy_samples"))
