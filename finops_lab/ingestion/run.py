"""Ingest a lab's exports: read, check, quarantine, and commit to the lake."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from finops_lab import contracts
from finops_lab.config import Config
from finops_lab.errors import InputError
from finops_lab.ingestion import lake, mapped, quarantine, registry
from finops_lab.ingestion.data_files import Staged
from finops_lab.ingestion.delivered import Delivered, delivered
from finops_lab.ingestion.lake import FileEntry, Unit
from finops_lab.ingestion.manifests import OUTDATED
from finops_lab.ingestion.staging import rejected_file, stage, without
from finops_lab.ingestion.summary import Done, IngestSummary, Progress, Replaced, Work, summarise

__all__ = ["FETCHED", "IngestSummary", "ingest"]

_PATIENCE_S = 10.0  # another ingest is waited for

# Copies of what `[[sources]]` names lie here, below the lake.
FETCHED = "fetched"

Log = dict[str, dict[str, FileEntry]]


@dataclass
class _Run:
    """What one run found and did; a dry run writes to its staging folder only."""

    folder: Path
    staging: Path
    write: bool
    log: Log
    staged: dict[tuple[str, str], Staged] = field(default_factory=dict)
    done: dict[tuple[str, str], Done] = field(default_factory=dict)
    replaced: list[Replaced] = field(default_factory=list)
    known: dict[str, dict[str, None]] = field(default_factory=dict)

    @property
    def lake(self) -> Path:
        return self.folder / "lake"

    def columns(self, table: str) -> dict[str, None]:
        """Return the columns of a table, with those that this run adds."""
        if table not in self.known:
            self.known[table] = dict.fromkeys(lake.columns(self.lake, table))
        for (_, filled), staged in self.staged.items():
            self.known[table] |= dict.fromkeys(staged.schema) if filled == table else {}
        return self.known[table]

    def rows(self, table: str, path: str) -> pl.LazyFrame:
        """Return the rows the lake holds of a file, or would hold by now in a run that wrote."""
        if not self.write and (path, table) in self.staged:
            return self.staged[path, table].rows()
        source = "x_SourceFile" if table == "costs" else "source_file"
        return lake.scan(self.lake, table).filter(pl.col(source) == path)


def ingest(
    folder: Path, config: Config, progress: Progress | None = None, *, explain: bool = False
) -> IngestSummary:
    """Bring every new or changed file of ``exports/`` into the lake.

    Unchanged files cost their hash only; a changed file replaces its own rows; a newer delivery
    (a path part ``delivered=YYYY-MM-DD``) replaces the provider's account and billing month of the
    older one in the same stream. Rows that break the contract go to ``quarantine/``. A file whose
    format fills several tables is read for each.

    Parameters
    ----------
    folder : pathlib.Path
        The lab's folder.
    config : Config
        Its `finops.toml`.
    progress : callable, optional
        Called with `Work` before each file and after the last.
    explain : bool
        Read and check everything, write nothing: the summary says what a run would do.

    Returns
    -------
    IngestSummary

    Raises
    ------
    InputError
        When a file cannot be read or no reader knows it; nothing of that run is kept for its
        table, earlier versions stay.
    """
    report = progress or (lambda work: None)
    if explain:
        with TemporaryDirectory(prefix="finops-lab-", ignore_cleanup_errors=True) as scratch:
            return _ingest(folder, config, report, Path(scratch), write=False)
    with _only_one(folder / "lake"):
        staging = folder / "lake" / ".staging"
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        summary = _ingest(folder, config, report, staging, write=True)
        shutil.rmtree(staging)
        return summary


def _ingest(folder: Path, config: Config, report: Progress, staging: Path, *, write: bool) -> IngestSummary:
    exports = folder / "exports"
    if not exports.is_dir():
        raise InputError("the lab has no exports/ folder", file=folder, hint="put bills and telemetry there")
    roots = [(exports, ""), *((path, f"{FETCHED}/") for path in [folder / "lake" / FETCHED] if path.is_dir())]
    items = list(delivered(roots, config))
    log = {t: lake.files(folder / "lake", t) for t in contracts.TABLES}
    run = _Run(folder, staging, write, log)
    todo, emptied = _sort(items, run)
    total = sum(item.size for item in todo)
    work = Work(0, len(todo), 0, total, 0, "")
    waiting: dict[str, list[tuple[Delivered, FileEntry]]] = {}
    for number, item in enumerate(todo):
        report(replace(work, files=number, name=item.name))
        readers = (mapped.reader(item.settings.columns),) if item.settings.columns else ()
        for reader in readers or registry.detect(item.path):
            entry, staged = stage(item, reader, staging, run.columns(reader.TABLE))
            run.staged[item.name, reader.TABLE] = staged
            waiting.setdefault(reader.TABLE, []).append((item, entry))
            work = replace(work, rows=work.rows + entry.rows_read)
        work = replace(work, bytes=work.bytes + item.size)
        for table in _tables_left(item, run):
            emptied.setdefault(table, []).append(_empty(item, {}))
    report(replace(work, files=len(todo), name="writing the lake"))
    for table in sorted({*waiting, *emptied}):
        _settle(run, table, waiting.get(table, ()))
        _remove(run, table, emptied.get(table, ()))
    report(replace(work, files=len(todo)))
    names = {item.name for item in items}
    return summarise([run.done[key] for key in sorted(run.done) if key[0] in names], run.replaced)


def _sort(items: Sequence[Delivered], run: _Run) -> tuple[list[Delivered], dict[str, list[FileEntry]]]:
    """Tell files to read from those that the lake holds already, copies and outdated ones."""
    todo: list[Delivered] = []
    emptied: dict[str, list[FileEntry]] = {}
    known: dict[str, dict[str, FileEntry]] = {}
    for table, entries in run.log.items():
        # An entry without a format says that the file left the table: it holds nothing.
        for entry in (entry for entry in entries.values() if entry.format):
            known.setdefault(entry.path, {})[table] = entry
    # What the lake holds already comes first, so that a copy or a renamed file is not read again.
    present = {item.name: "" if item.status == OUTDATED else item.sha256 for item in items}
    first_with: dict[str, FileEntry | Delivered] = {
        entry.sha256: entry
        for tables in known.values()
        for entry in tables.values()
        if present.get(entry.path, entry.sha256) == entry.sha256
    }
    for item in items:
        entries = known.get(item.name, {})
        if item.status == OUTDATED or (item.status and not entries):
            # Not what a run would look for, so that the file is read when it is listed again.
            left = replace(_empty(item, {item.why: 1}), settings=OUTDATED)
            run.done[item.name, ""] = Done("", left, item.status)
            for table in entries:
                emptied.setdefault(table, []).append(left)
                # It holds nothing any more that a file of this run could be older than.
                run.log[table][item.name] = left
            continue
        twin = first_with.setdefault(item.sha256, item)
        held = bool(entries) and all(entry.sha256 == item.sha256 for entry in entries.values())
        if held and all(_current(entry, table, item) for table, entry in entries.items()):
            for table, entry in entries.items():
                run.done[item.name, table] = Done(table, entry, "unchanged")
        elif twin is not item and not held and not _delivered_again(twin, item):
            copy = _empty(item, {f"same content as {_path(twin)}: read once": 1})
            run.done[item.name, ""] = Done("", copy, "duplicate")
            for table in entries:
                emptied.setdefault(table, []).append(copy)
        else:
            todo.append(item)
    return todo, emptied


def _current(entry: FileEntry, table: str, item: Delivered) -> bool:
    """Tell whether the file would be read and checked today as it was."""
    return entry.settings == item.fingerprint and entry.contract == contracts.version(table)


def _tables_left(item: Delivered, run: _Run) -> list[str]:
    """Return the tables that an earlier content of the file filled and this one does not."""
    return [
        table
        for table, entries in run.log.items()
        if item.name in entries and entries[item.name].format and (item.name, table) not in run.staged
    ]


def _path(file: FileEntry | Delivered) -> str:
    return file.path if isinstance(file, FileEntry) else file.name


def _delivered_again(twin: FileEntry | Delivered, item: Delivered) -> bool:
    """Tell whether a bill of the same content is a delivery of its own, which may undo one in between."""
    return (
        twin.stream == item.stream
        and twin.delivered_on != item.delivered_on
        and not item.settings.columns
        and registry.detect(item.path)[0].TABLE == "costs"
    )


def _empty(item: Delivered, notes: Mapping[str, int]) -> FileEntry:
    entry = FileEntry(item.name, item.sha256, item.fingerprint, "", item.stream, item.delivered_on, 0, 0, 0)
    return replace(entry, notes=notes)


def _settle(run: _Run, table: str, items: Sequence[tuple[Delivered, FileEntry]]) -> None:
    """Commit the staged files of a table, older deliveries first, one version per delivery date."""
    for item, _ in items if run.write else ():
        target = quarantine.file_for(run.folder / "quarantine", table, item.name)
        quarantine.settle(rejected_file(run.staged[item.name, table]), target)
    log = run.log[table]
    for day in sorted({entry.delivered_on or "" for _, entry in items}):
        batch = [entry for _, entry in items if (entry.delivered_on or "") == day]
        added: dict[str, Staged] = {}
        entries: list[FileEntry] = []
        superseded: dict[str, set[Unit]] = {}
        because: dict[str, set[str]] = {}
        for entry in batch:
            staged = run.staged[entry.path, table]
            others = [e for e in log.values() if e.stream == entry.stream and e.path != entry.path]
            late = {u for e in others if (e.delivered_on or "") > day for u in e.units} & set(entry.units)
            if late:
                rows, entry = without(staged.rows(), entry, late)
                staged = Staged(staged.folder.with_name(f"{staged.folder.name}.rest"), table, staged.schema)
                staged.write(rows).collect()
                run.staged[entry.path, table] = staged
            added[entry.path] = staged
            entries.append(entry)
            for other in others:
                if (other.delivered_on or "") < day and (units := set(other.units) & set(entry.units)):
                    superseded.setdefault(other.path, set()).update(units)
                    because.setdefault(other.path, set()).add(entry.path)
        amended = [
            without(run.rows(table, path), log[path], units)[1] for path, units in sorted(superseded.items())
        ]
        run.replaced += [
            Replaced(log[entry.path], entry, tuple(sorted(because[entry.path]))) for entry in amended
        ]
        changed = {e.path for e in entries if e.path in log}
        if run.write:
            lake.commit(run.lake, table, added, entries, superseded, amended)
        log |= {entry.path: entry for entry in (*entries, *amended)}
        for entry in entries:
            status = "changed" if entry.path in changed else "ingested"
            run.done[entry.path, table] = Done(table, entry, status)
        for entry in amended:
            status = run.done[entry.path, table].status if (entry.path, table) in run.done else "ingested"
            run.done[entry.path, table] = Done(table, entry, status)


def _remove(run: _Run, table: str, entries: Sequence[FileEntry]) -> None:
    """Take out of a table what files held that are copies of others now, or of another kind."""
    if not (entries and run.write):
        return
    for entry in entries:
        quarantine.file_for(run.folder / "quarantine", table, entry.path).unlink(missing_ok=True)
    lake.commit(run.lake, table, {}, entries, {})


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold the lake's lock: two ingests of one lab must not run at once.

    Somebody who opens the lab in two notebooks waits for a moment; an ingest that takes its time is told.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / ".lock").open("w")
    except OSError as error:
        raise InputError(f"the lake cannot be written: {error.strerror}", file=folder) from None
    with stream:
        if os.name == "posix":
            import fcntl

            late = time.monotonic() + _PATIENCE_S
            while True:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > late:
                        raise InputError(
                            "another ingest of this lab is running", file=folder, hint="wait until it is done"
                        ) from None
                    time.sleep(0.05)
        yield
