"""Training jobs out of Slurm's accounting: ``sacct --parsable2`` (or ``--parsable``) with its header.

Source: Slurm's ``sacct`` manual page (fields, job states, TRES) and rows recorded from clusters.
What the accounting writes beside the jobs themselves: a row per step (``.batch``, ``.extern``,
``.0``), which repeats the job's resources; a GPU both by type and without it, which is one GPU;
``CANCELLED by 50001``; ``Unknown`` and ``None`` for times that are none; job names with ``|`` in
them, which are not quoted; and, with ``--duplicates``, a row per attempt of a requeued job. The
``billing`` resource is a weight of the scheduler, no money.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from finops_lab.errors import InputError
from finops_lab.ingestion import _json, _rows
from finops_lab.ingestion.platform import _records
from finops_lab.ingestion.registry import ReadSettings, Sample, separator

__all__ = ["FORMAT", "TABLE", "matches", "read"]

FORMAT = "Slurm sacct"
SOURCE = "Slurm's sacct manual page, and rows recorded from clusters; from documentation"
TABLE = "training_jobs"

_IDS = ("JobID", "JobIDRaw")
_TELLING = frozenset(
    {"AllocTRES", "ReqTRES", "AllocGRES", "ElapsedRaw", "Elapsed", "Submit", "Start", "End", "JobName"}
)
# Fields that may hold any text, so that a stray separator may be theirs.
_FREE = ("JobName", "Comment", "AdminComment", "SystemComment", "WorkDir", "SubmitLine", "WCKey", "Extra")
_STATES: Mapping[str, str | None] = {
    "COMPLETED": "completed",
    "FAILED": "failed",
    "NODE_FAIL": "failed",
    "BOOT_FAIL": "failed",
    "OUT_OF_MEMORY": "failed",
    "LAUNCH_FAILED": "failed",
    "RECONFIG_FAIL": "failed",
    "TIMEOUT": "timeout",
    "DEADLINE": "timeout",
    "CANCELLED": "cancelled",
    "REVOKED": "cancelled",
    "REQUEUED": "cancelled",
    "SPECIAL_EXIT": "failed",
    "PREEMPTED": "preempted",
    "RUNNING": "running",
    "COMPLETING": "running",
    "RESIZING": "running",
    "SUSPENDED": "running",
    "STOPPED": "running",
    "SIGNALING": "running",
    "STAGE_OUT": "running",
    # Not started: no attempt yet.
    "PENDING": None,
    "CONFIGURING": None,
    "REQUEUE_HOLD": None,
    "REQUEUE_FED": None,
    "RESV_DEL_HOLD": None,
}
_NO_TIME = frozenset({"", "unknown", "none", "n/a", "na", "null", "0"})
_ID = re.compile(r"[0-9]+(_([0-9]+|\[[^\]]*\]))?(\+[0-9]+)?")
_GPU_TRES = re.compile(r"gres/gpu(?::(?P<type>[^=:]+))?[=:](?P<count>[0-9]{1,9})")
_GPU_GRES = re.compile(
    r"(?:gres[:/])?gpu(?::(?P<type>[^:=(]*[^:=(0-9][^:=(]*))?[:=](?P<count>[0-9]{1,9})(?:\(.*\))?"
)
_ELAPSED = re.compile(r"(?:(?:([0-9]{1,6})-)?([0-9]{1,6}):)?([0-9]{1,6}):([0-9]{1,6})(?:\.[0-9]+)?")

Job = dict[str, str]


def matches(sample: Sample) -> bool:
    """Tell whether a file is an answer of ``sacct`` with a header."""
    columns = set(sample.columns)
    return (
        sample.kind == "csv"
        and "State" in columns
        and bool(columns & set(_IDS))
        and len(columns & _TELLING) >= 2
    )


def read(path: Path, settings: ReadSettings) -> pl.LazyFrame:
    """Read accounting rows as rows of the `training_jobs` contract, one per attempt.

    ``gpu_count`` is read from ``AllocTRES`` (``ReqTRES`` or ``AllocGRES`` in files without it): 0
    where it names no GPU, unknown where it is empty. ``attempt`` counts the rows of one job id by
    start; with ``Restarts`` it is that plus 1. ``wall_s`` is ``ElapsedRaw``, which leaves out the
    time a job was suspended. ``team`` is the fields named in ``settings.attributes``, then
    ``Account``; ``model`` comes from such fields only. ``kind`` is the one the job's name says as
    a word, else ``train``. Times are seconds since 1970 or ISO 8601, without an offset in UTC.

    Parameters
    ----------
    path : pathlib.Path
        Fields separated by ``|``, plain or gzip; the first line names them.
    settings : ReadSettings
        Fields that hold ``team`` and ``model``.

    Returns
    -------
    polars.LazyFrame
        The contract without ``source_file``, and `RAW`, `REASONS`, `NOTES`. ``source_row`` counts
        the file's lines from 1, the header not counted.

    Raises
    ------
    InputError
        When the file cannot be read, has no job id or state, or commas between its fields.
    """
    return _rows.frame(TABLE, lambda: _read(path, settings))


def _read(path: Path, settings: ReadSettings) -> Iterator[dict[str, Any]]:
    own = {column: names for column, names in settings.attributes.items() if column in ("team", "model")}
    starts = _starts(path)
    told = {"steps": 0, "waiting": 0, "zoneless": 0}
    orphans: set[str] = set()

    def rows() -> Iterator[dict[str, Any]]:
        for number, line, job, faults, notes in _jobs(path):
            at = {"source_row": number, "line": line}
            if job is None:
                yield {**at, "reasons": faults, "notes": notes}
                continue
            job_id, dot, _ = _job_id(job).partition(".")
            if dot:
                told["steps"] += 1
                if job_id not in starts and job_id not in orphans:
                    orphans.add(job_id)
                    fault = f"JobID: {job_id} has rows of steps and none of its own"
                    yield {**at, "job_id": job_id, "attempt": 1, "reasons": [*faults, fault]}
                continue
            state = _state(job, faults)
            if state is None and not faults:
                told["waiting"] += 1
                continue
            told["zoneless"] += any("T" in job.get(n, "") and len(job[n]) == 19 for n in ("Start", "End"))
            yield {
                **at,
                **_attempt(job, job_id, state, starts, number, own, faults, notes),
                "reasons": faults,
            }

    def tell() -> Iterator[str]:
        if told["steps"]:
            yield f"rows of job steps, which repeat their jobs' resources, left out: {told['steps']}"
        if told["waiting"]:
            yield f"jobs that had not started, left out: {told['waiting']}"
        if told["zoneless"]:
            yield "Start, End: no offset, read as UTC; export with TZ=UTC or SLURM_TIME_FORMAT=%s"

    yield from _records.told_at_the_end(rows(), tell)


def _attempt(
    job: Job,
    job_id: str,
    state: str | None,
    starts: Mapping[str, Sequence[tuple[int, int]]],
    number: int,
    own: Mapping[str, Sequence[str]],
    faults: list[str],
    notes: list[str],
) -> dict[str, Any]:
    known = sorted(starts[job_id])
    attempt = 1 + next(i for i, (_, row) in enumerate(known) if row == number)
    restarts = _json.count(job.get("Restarts"), "Restarts", faults)
    if restarts and len(known) == 1:
        attempt = restarts + 1
        notes.append("Restarts: earlier attempts are not in the export; ask sacct for --duplicates")
    start, end = _moment(job, "Start", faults), _moment(job, "End", faults)
    gpus, model, nodes = _resources(job, faults, notes)
    return {
        "job_id": job_id,
        "attempt": attempt,
        "kind": _records.kind_of(job.get("JobName")),
        "team": _records.lookup([job], (*own.get("team", ()), "Account")),
        "model": _records.lookup([job], own.get("model", ())),
        "ts_submit": _moment(job, "Submit", faults),
        "ts_start": start,
        "ts_end": None if state == "running" else end,
        "state": state,
        "gpu_model": model,
        "gpu_count": gpus,
        "node_count": nodes,
        "wall_s": _wall(job, start, end, faults),
        "notes": notes,
    }


def _jobs(path: Path) -> Iterator[tuple[int, str, Job | None, list[str], list[str]]]:
    """Return each line with its number from 1, its fields by name, faults and notes."""
    lines = _lines(path)
    header, mark = next(lines, ""), separator(path)
    names = [name.strip() for name in header.split(mark)]
    if mark == ",":
        raise InputError(
            "the fields are separated by commas, which resources hold too",
            file=path,
            hint="export with sacct --parsable2",
        )
    if names[-1] == "":  # --parsable ends every line with a separator
        names.pop()
    missing = next(
        (n for n in ("State", "JobID") if n not in names and not (n == "JobID" and _IDS[1] in names)), ""
    )
    if missing:
        raise InputError(
            f"has no field {missing}", file=path, column=missing, hint="add it to sacct --format"
        )
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        fields = line.split(mark)
        if len(fields) == len(names) + 1 and fields[-1] == "" and header.rstrip().endswith(mark):
            fields.pop()
        if len(fields) == len(names):
            yield number, line, dict(zip(names, fields, strict=True)), [], []
        elif len(fields) < len(names):
            yield number, line, None, [f"line: has {len(fields)} of {len(names)} fields"], []
        else:
            found = _joined(names, fields, mark)
            if len(found) == 1:
                note = f"JobName: holds the separator {mark}, joined again"
                yield number, line, found[0][1], [], [note.replace("JobName", found[0][0])]
            else:
                fault = f"line: has {len(fields)} fields, {len(names)} are named; which one holds a {mark} is unclear"
                yield number, line, None, [fault], []


def _joined(names: Sequence[str], fields: Sequence[str], mark: str) -> list[tuple[str, Job]]:
    """Put surplus fields back into a text they may be part of; keep the ways that make sense."""
    surplus = len(fields) - len(names)
    found = []
    for name in (n for n in names if n in _FREE):
        at = names.index(name)
        whole = [*fields[:at], mark.join(fields[at : at + surplus + 1]), *fields[at + surplus + 1 :]]
        job = dict(zip(names, whole, strict=True))
        if _sensible(job):
            found.append((name, job))
    return found


def _sensible(job: Job) -> bool:
    faults: list[str] = []
    for name in ("Submit", "Start", "End"):
        _moment(job, name, faults)
    _json.count(job.get("ElapsedRaw"), "ElapsedRaw", faults)
    tres = all("=" in job[n] or not job[n].strip() for n in ("AllocTRES", "ReqTRES") if n in job)
    _state(job, faults)
    return not faults and tres and _ID.fullmatch(_job_id(job).partition(".")[0]) is not None


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as probe:
            zipped = probe.read(2) == b"\x1f\x8b"
        with gzip.open(path) if zipped else path.open("rb") as stream:
            for number, line in enumerate(stream):
                text = line.decode("utf-8-sig" if number == 0 else "utf-8", errors="replace")
                yield text.rstrip("\r\n")
    except (OSError, EOFError, zlib.error) as error:
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InputError(f"cannot be read: {said}", file=path, hint="deliver the file again") from None


def _job_id(job: Job) -> str:
    return (job.get("JobID") or job.get("JobIDRaw") or "").strip()


def _starts(path: Path) -> dict[str, list[tuple[int, int]]]:
    """Return start and row of each attempt of a job: a first pass, which keeps little of a row."""
    found: dict[str, list[tuple[int, int]]] = {}
    for number, _, job, _, _ in _jobs(path):
        if job is not None and "." not in (job_id := _job_id(job)):
            start = _moment(job, "Start", [])
            # An attempt that never started is the last one.
            found.setdefault(job_id, []).append((2**63 if start is None else start, number))
    return found


def _state(job: Job, faults: list[str]) -> str | None:
    said = job["State"].strip()
    word = said.partition(" ")[0].rstrip("+").upper()
    if word not in _STATES:
        faults.append(f"state: '{_json.short(said)}' is no job state of Slurm")
        return None
    return _STATES[word]


def _moment(job: Job, name: str, faults: list[str]) -> int | None:
    said = job.get(name, "").strip()
    if said.lower() in _NO_TIME:
        return None
    return _json.moment(said, {"Submit": "ts_submit", "Start": "ts_start", "End": "ts_end"}[name], faults)


def _wall(job: Job, start: int | None, end: int | None, faults: list[str]) -> float | None:
    seconds = _json.count(job.get("ElapsedRaw"), "wall_s", faults)
    if seconds is not None:
        return float(seconds)
    said = job.get("Elapsed", "").strip()
    if found := _ELAPSED.fullmatch(said):
        days, hours, minutes, rest = (int(part or 0) for part in found.groups())
        return float(((days * 24 + hours) * 60 + minutes) * 60 + rest)
    if said.lower() not in _NO_TIME:
        faults.append(f"wall_s: '{_json.short(said)}' is no elapsed time")
    return (end - start) / 1e6 if start is not None and end is not None and end >= start else None


def _resources(job: Job, faults: list[str], notes: list[str]) -> tuple[float | None, str | None, int | None]:
    """Return the number of GPUs, their type, and the number of nodes."""
    source = next((n for n in ("AllocTRES", "AllocGRES", "ReqTRES") if n in job), None)
    said = job.get(source or "", "").strip()
    nodes = _json.count(job.get("NNodes") or job.get("AllocNodes"), "node_count", faults)
    if source is None or not said:
        return None, None, nodes
    if source == "ReqTRES":
        notes.append("gpu_count: as requested, the export has no AllocTRES")
    typed: dict[str, int] = {}
    untyped = 0
    for part in said.split(","):
        name, _, value = part.strip().partition("=")
        if name == "node" and nodes is None:
            nodes = _json.count(value, "node_count", faults)
        found = (_GPU_GRES if source == "AllocGRES" else _GPU_TRES).fullmatch(part.strip())
        if found is None:
            if name in ("gres/gpu", "gpu") or name.startswith(("gres/gpu:", "gpu:")):
                faults.append(f"gpu_count: '{_json.short(part)}' is no number of GPUs")
            continue
        count = int(found["count"])
        if found["type"]:
            typed[found["type"]] = typed.get(found["type"], 0) + count
        else:
            untyped += count
    # Where both are given, the untyped number is the sum over types; old versions wrote less.
    total = max(untyped, sum(typed.values()))
    if typed and untyped and untyped != sum(typed.values()):
        notes.append(
            f"gpu_count: {untyped} GPUs in all and {sum(typed.values())} by type; the larger is kept"
        )
    return float(total), ", ".join(sorted(typed)) or None, nodes
