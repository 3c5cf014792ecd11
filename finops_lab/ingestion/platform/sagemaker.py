"""Training jobs and their final metrics out of Amazon SageMaker's ``DescribeTrainingJob``.

Source: Amazon SageMaker API reference, DescribeTrainingJob, and botocore's service model. Both
times are seconds of wall clock, to be multiplied by the number of instances: of
``BillableTimeInSeconds``, which managed spot training lowers, and of the seconds that a warm pool's
machines were kept, which are billed on top. The response has no tags and no money.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from finops_lab.ingestion import _json, _rows
from finops_lab.ingestion.platform import _records
from finops_lab.ingestion.platform._metrics import metric_of
from finops_lab.ingestion.registry import ReadSettings, Sample

__all__ = ["FORMAT", "READERS", "SageMakerReader"]

FORMAT = "SageMaker training job"

_STATES = {
    "completed": "completed",
    "failed": "failed",
    "stopped": "cancelled",
    "stopping": "running",
    "inprogress": "running",
    "deleting": "cancelled",
}
# Why a job stopped, where that says more than its status.
_ENDS = {
    "maxruntimeexceeded": "timeout",
    "maxwaittimeexceeded": "timeout",
    "interrupted": "preempted",
}
_LISTS = ("TrainingJobs", "TrainingJobSummaries")
_MODEL = ("finops.model", "model", "model_name", "model_id", "base_model", "model_name_or_path")
_DATASET = ("finops.dataset", "dataset", "dataset_name")
_NO_GPU = re.compile(r"ml\.[cmrtxz][0-9].*")
_CHANNELS = {"train": ("train", "training"), "validation": ("validation", "val", "eval"), "test": ("test",)}


@dataclass(frozen=True)
class SageMakerReader:
    """Reads answers of DescribeTrainingJob as rows of one table.

    Parameters
    ----------
    TABLE : str
        ``training_jobs`` or ``accuracy_samples``.
    """

    TABLE: str
    FORMAT: str = FORMAT
    SOURCE: str = "Amazon SageMaker API reference, DescribeTrainingJob; from documentation"

    def matches(self, sample: Sample) -> bool:
        """Tell whether a file holds training jobs of SageMaker."""
        return any(
            isinstance(job, dict) and job.keys() >= {"TrainingJobName", "TrainingJobStatus"}
            for head in _records.heads(sample, "TrainingJobName", "TrainingJobStatus")
            for job in _jobs(head)
        )

    def read(self, path: Path, settings: ReadSettings) -> pl.LazyFrame:
        """Read training jobs, or the final metrics of training jobs.

        ``billable_s`` are the billed seconds of the job (with those of its warm pool), and
        ``gpu_count`` the GPUs of all its instances: ``billable_s * gpu_count`` are the billed
        GPU-seconds. ``wall_s`` is the training time. ``team`` and ``model`` are looked up in
        ``Tags`` (where they were added to the answer), hyperparameters, environment and the
        experiment: the names of ``settings.attributes`` first, then usual ones. ``model_version``
        is the job's name, unless such a value names one.

        Accuracy samples are the final metrics whose name is a known measure of quality; ``model``
        is the job's name where nothing names one, ``dataset`` the S3 address of the metric's
        channel, or the job's name.

        Parameters
        ----------
        path : pathlib.Path
            One answer, a list, JSON lines or answers one after the other; plain or gzip.
        settings : ReadSettings
            Names of tags and parameters that hold ``team`` and ``model``.

        Returns
        -------
        polars.LazyFrame
            The contract without ``source_file``, and `RAW`, `REASONS`, `NOTES`. ``source_row``
            counts jobs and broken lines from 1.

        Raises
        ------
        InputError
            When the file cannot be read.
        """
        return _rows.frame(self.TABLE, lambda: _read(path, settings, self.TABLE))


def _read(path: Path, settings: ReadSettings, table: str) -> Iterator[dict[str, Any]]:
    left_out: set[str] = set()

    def rows() -> Iterator[dict[str, Any]]:
        row = 0
        for document in _records.documents(path):
            for job in [None] if document.fault else _jobs(document.value):
                row += 1
                line = document.text if document.fault else _json.compact(job)
                at = {"source_row": row, "line": line}
                if not isinstance(job, dict) or "TrainingJobName" not in job:
                    if table == "training_jobs":  # told once
                        yield _rows.broken(row, line, document.fault or "line: is not a training job")
                elif table == "training_jobs":
                    yield {**_training(job, settings), **at}
                else:
                    yield from ({**sample, **at} for sample in _samples(job, settings, left_out))

    def tell() -> Iterator[str]:
        if left_out:
            names = ", ".join(sorted(left_out)[:5]) + (", ..." if len(left_out) > 5 else "")
            yield f"metrics that are no known measure of quality, left out: {_json.short(names)}"

    yield from _records.told_at_the_end(rows(), tell)


def _jobs(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _jobs(item) if isinstance(item, dict) else [item]
        return
    found = next(
        (value[n] for n in _LISTS if isinstance(value, dict) and isinstance(value.get(n), list)), None
    )
    yield from [value] if found is None else found


def _training(job: Mapping[str, Any], settings: ReadSettings) -> dict[str, Any]:
    faults: list[str] = []
    notes: list[str] = []
    start = _json.moment(job.get("TrainingStartTime"), "ts_start", faults)
    end = _json.moment(job.get("TrainingEndTime"), "ts_end", faults)
    wall = _json.number(job.get("TrainingTimeInSeconds"), "wall_s", faults)
    if wall is None and start is not None and end is not None and end >= start:
        wall = (end - start) / 1e6
    billable = _json.number(job.get("BillableTimeInSeconds"), "billable_s", faults)
    pool = _records.inside(job, "WarmPoolStatus").get("ResourceRetainedBillableTimeInSeconds")
    kept = _json.number(pool, "billable_s", faults)
    if kept and billable is not None:
        billable += kept
        notes.append(f"billable_s: with {kept:g} s for which the warm pool's machines were kept")
    state = _state(job, faults)
    if state == "running":
        notes.append("the job still ran when it was described")
    moves = job.get("SecondaryStatusTransitions")
    stops = (
        [m for m in moves if _records.inside(m).get("Status") == "Interrupted"]
        if isinstance(moves, list)
        else []
    )
    if stops:
        notes.append(f"interrupted and resumed, spot capacity was lost: {len(stops)} times")
    name = _json.text(job.get("TrainingJobName"))
    return {
        "job_id": name,
        "attempt": 1,
        **_model(job, settings),
        "kind": _records.kind_of(name),
        "team": _records.lookup(_holders(job), (*settings.attributes.get("team", ()), "team", "finops.team")),
        "ts_submit": _json.moment(job.get("CreationTime"), "ts_submit", faults),
        "ts_start": start,
        "ts_end": end,
        "state": state,
        **_machines(job, faults, notes),
        "purchase": _purchase(job),
        "wall_s": wall,
        "billable_s": billable,
        "reasons": faults,
        "notes": notes,
    }


def _state(job: Mapping[str, Any], faults: list[str]) -> str | None:
    said = _json.text(job.get("TrainingJobStatus")) or ""
    state = _STATES.get(said.lower())
    if state is None:
        faults.append(f"state: '{_json.short(said)}' is no status of a training job")
    elif state == "cancelled":
        return _ENDS.get((_json.text(job.get("SecondaryStatus")) or "").lower(), state)
    return state


def _machines(job: Mapping[str, Any], faults: list[str], notes: list[str]) -> dict[str, Any]:
    """Return type and number of machines and their GPUs; a job may use groups of several types."""
    config = _records.inside(job, "ResourceConfig")
    if not config:
        notes.append("the answer tells no machines; export DescribeTrainingJob of the job")
    groups = config.get("InstanceGroups")
    groups = [g for g in groups if isinstance(g, dict)] if isinstance(groups, list) and groups else [config]
    types: list[str] = []
    models: set[str] = set()
    nodes: int | None = 0
    gpus: float | None = 0.0
    for group in groups:
        kind = _json.text(group.get("InstanceType"))
        count = _json.count(group.get("InstanceCount"), "node_count", faults)
        model, each = (None, 0.0) if kind and _NO_GPU.fullmatch(kind) else _records.gpus_of(kind)
        types += [kind] if kind else []
        models |= {model} if model else set()
        gpus = None if gpus is None or each is None or count is None else gpus + each * count
        nodes = None if nodes is None or count is None else nodes + count
    if types and gpus is None:
        notes.append("gpu_count: the GPUs of the instance type are not known")
    return {
        "instance_type": ", ".join(types) or None,
        "gpu_model": ", ".join(sorted(models)) or None,
        "gpu_count": gpus,
        "node_count": nodes,
    }


def _purchase(job: Mapping[str, Any]) -> str | None:
    if _records.lookup([_records.inside(job, "ResourceConfig"), job], ("TrainingPlanArn",)):
        return "capacity_block"
    spot = job.get("EnableManagedSpotTraining")
    return {True: "spot", False: "on_demand"}[spot] if isinstance(spot, bool) else None


def _holders(job: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    tags = job.get("Tags")
    pairs = [t for t in tags if isinstance(t, dict)] if isinstance(tags, list) else []
    said: list[Mapping[str, Any]] = [{str(t.get("Key")): t.get("Value") for t in pairs}]
    for name in ("HyperParameters", "Environment", "ExperimentConfig"):
        # The SDK writes each hyperparameter as JSON: a text stands in quotes.
        inner = _records.inside(job, name).items()
        said.append({k: v.strip('"') if isinstance(v, str) else v for k, v in inner})
    return said


def _model(job: Mapping[str, Any], settings: ReadSettings) -> dict[str, str | None]:
    holders = _holders(job)
    version = _records.lookup(holders, ("finops.model_version", "model_version"))
    return {
        "model": _records.lookup(holders, (*settings.attributes.get("model", ()), *_MODEL)),
        "model_version": version or _json.text(job.get("TrainingJobName")),
    }


def _samples(job: Mapping[str, Any], settings: ReadSettings, left_out: set[str]) -> Iterator[dict[str, Any]]:
    name = _json.text(job.get("TrainingJobName"))
    metrics = job.get("FinalMetricDataList")
    for entry in metrics if isinstance(metrics, list) else ():
        said = _json.text(_records.inside(entry).get("MetricName"))
        metric = metric_of(said or "")
        if metric is None:
            left_out.add(said or "(no name)")
            continue
        faults: list[str] = []
        model = _model(job, settings)
        dataset = _records.lookup(_holders(job), _DATASET) or _channel(job, metric.split) or name
        yield {
            **model,
            "model": model["model"] or name,
            "ts": _json.moment(entry.get("Timestamp"), "ts", faults)
            or _json.moment(job.get("TrainingEndTime"), "ts", faults),
            "dataset": dataset,
            "metric": metric.name,
            "value": _json.number(entry.get("Value"), "value", faults),
            "split": metric.split,
            "higher_is_better": metric.higher_is_better,
            "reasons": faults,
            "notes": [] if dataset != name else ["dataset: not told, the job's name stands for it"],
        }


def _channel(job: Mapping[str, Any], split: str | None) -> str | None:
    channels = job.get("InputDataConfig")
    for channel in channels if isinstance(channels, list) and split else ():
        if str(_records.inside(channel).get("ChannelName")).lower() in _CHANNELS[split or ""]:
            return _json.text(_records.inside(channel, "DataSource", "S3DataSource").get("S3Uri"))
    return None


READERS = (SageMakerReader("training_jobs"), SageMakerReader("accuracy_samples"))
