"""Jobs and Events of Kubernetes, as ``kubectl get ... -o json`` writes them.

Source: Kubernetes API reference, Job (batch/v1), Event (core/v1 and events.k8s.io/v1); the reasons
and messages of the controllers that write events are cited where they are read. An event is kept
for an hour by default, so that a history of them is made by asking often: the same event then
comes again, with a higher count.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from finops_lab.ingestion import _json, _rows
from finops_lab.ingestion.platform import _k8s_events, _k8s_jobs, _records
from finops_lab.ingestion.registry import ReadSettings, Sample

__all__ = ["READERS", "KubernetesReader"]

Row = dict[str, Any]

_LIST_OF = re.compile(r'"kind"\s*:\s*"(Job|Event)List"')
_TABLES: Mapping[str, str] = {"training_jobs": "Job", "scale_events": "Event", "spot_evictions": "Event"}


@dataclass(frozen=True)
class KubernetesReader:
    """Reads one kind of Kubernetes object as rows of one table.

    Parameters
    ----------
    TABLE : str
        ``training_jobs`` is read from Jobs, ``scale_events`` and ``spot_evictions`` from Events.
    """

    TABLE: str

    @property
    def FORMAT(self) -> str:
        """Name of the format."""
        return f"Kubernetes {_TABLES[self.TABLE]}s"

    @property
    def SOURCE(self) -> str:
        """What the format is read from."""
        return f"Kubernetes API reference, {_TABLES[self.TABLE]}, and its controllers' messages; from documentation"

    def matches(self, sample: Sample) -> bool:
        """Tell whether the first object of a file is of the reader's kind."""
        return _first_kind(sample) == _TABLES[self.TABLE]

    def read(self, path: Path, settings: ReadSettings) -> pl.LazyFrame:
        """Read Jobs or Events.

        A Job is one row, from its controller's start to its end, its failed pods included:
        ``attempt`` is the failed pods plus 1, where it runs one pod at a time. ``gpu_count`` are
        the GPUs of a pod times the pods that run at a time. ``gpu_model``, ``instance_type`` and
        ``purchase`` are what the pods' node selectors ask for. ``team``, ``model`` and
        ``model_version`` are labels or annotations: the names of ``settings.attributes`` first.

        Of Events, changes of size are read that name a size or a node pool (horizontal pod
        autoscaler, KEDA, Deployment, cluster autoscaler, Karpenter), and notices of spot
        interruptions (Karpenter, AWS Node Termination Handler, Azure's node problem detector). A
        change that two controllers tell is one row. Other events are left out, and counted in a
        note.

        Parameters
        ----------
        path : pathlib.Path
            A list or single objects, also one after the other or as lines; plain or gzip.
        settings : ReadSettings
            Names of labels that hold ``team`` and ``model``.

        Returns
        -------
        polars.LazyFrame
            The contract without ``source_file``, and `RAW`, `REASONS`, `NOTES`. ``source_row``
            counts objects and broken lines from 1.

        Raises
        ------
        InputError
            When the file cannot be read.
        """
        make: Mapping[str, Callable[[Iterator[Row]], Iterator[Row]]] = {
            "training_jobs": partial(_k8s_jobs.jobs, settings=settings),
            "scale_events": _k8s_events.scale_events,
            "spot_evictions": _k8s_events.spot_evictions,
        }
        return _rows.frame(self.TABLE, lambda: self._read(path, make[self.TABLE]))

    def _read(self, path: Path, make: Callable[[Iterator[Row]], Iterator[Row]]) -> Iterator[Row]:
        wanted = _TABLES[self.TABLE]
        others: dict[str, int] = {}
        broken: list[Row] = []

        def objects() -> Iterator[Row]:
            row = 0
            for document in _records.documents(path):
                found = [(None, None)] if document.fault else _items(document.value)
                for item, kind in found:
                    row += 1
                    line = document.text if document.fault else _json.compact(item)
                    said = _kind(item, kind)
                    if said is None:
                        fault = document.fault or "line: is not an object of Kubernetes"
                        broken.append(_rows.broken(row, line, fault))
                    elif said != wanted:
                        others[said] = others.get(said, 0) + 1
                    else:
                        yield {"source_row": row, "line": line, "object": item}

        def tell() -> Iterator[str]:
            for kind, number in sorted(others.items()):
                yield f"objects of kind {_json.short(kind)}, left out: {number}"

        yield from _records.told_at_the_end(make(objects()), tell)
        if self.TABLE != "spot_evictions":  # told once
            yield from broken


def _first_kind(sample: Sample) -> str | None:
    for head in _records.heads(sample, '"metadata"'):
        for item, of_list in _items(head):
            if (said := _kind(item, of_list)) is not None:
                return said
    if sample.kind != "jsonl":
        return None
    # The items of a long raw list do not say what they are.
    found = _LIST_OF.search(_json.beginning(sample.path)[:1000])
    return found and found[1]


def _items(value: Any) -> Iterator[tuple[Any, str | None]]:
    """Return the objects of a document, with the kind that the list of a raw answer gives them."""
    if isinstance(value, list):
        yield from ((item, None) for item in value)
    elif isinstance(value, dict) and isinstance(value.get("items"), list):
        kind = (_json.text(value.get("kind")) or "").removesuffix("List") or None
        yield from ((item, kind) for item in value["items"])
    elif isinstance(value, dict) and isinstance(value.get("object"), dict) and "type" in value:
        yield value["object"], None  # kubectl get --watch --output-watch-events
    else:
        yield value, None


def _kind(item: Any, of_list: str | None) -> str | None:
    """Return the kind of an object; raw lists leave it out of their items, exporters of events too."""
    if not isinstance(item, dict) or not isinstance(item.get("metadata"), dict):
        return None
    said = _json.text(item.get("kind")) or of_list
    if said == "Job" and not str(item.get("apiVersion", "batch/v1")).startswith("batch/"):
        return None
    about = isinstance(item.get("involvedObject", item.get("regarding")), dict)
    if said in (None, "Event"):
        return "Event" if about and "reason" in item else None
    return said


READERS = tuple(KubernetesReader(table) for table in _TABLES)
