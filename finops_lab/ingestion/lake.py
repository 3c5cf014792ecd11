"""The lake: one Delta table per contract, replaced atomically, every older version kept.

What was ingested from which file is written into the metadata of the commit that brought the
rows, so data and log can never disagree: a crash leaves the last version and its log.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import polars as pl

from finops_lab import contracts
from finops_lab.errors import InputError, NoDataError
from finops_lab.ingestion import data_files
from finops_lab.ingestion.data_files import Staged

__all__ = [
    "FileEntry",
    "Unit",
    "columns",
    "commit",
    "data_files_of",
    "exists",
    "files",
    "history",
    "scan",
    "version",
]

_KEY = "finops_lab"
# Logs are the ingestion log and old versions are evidence: neither may expire.
_FOREVER = {
    "delta.logRetentionDuration": "interval 36500 days",
    "delta.deletedFileRetentionDuration": "interval 36500 days",
}


@dataclass(frozen=True, order=True)
class Unit:
    """What one delivery replaces of an older one: a provider's account in a billing month."""

    provider: str
    account: str
    month: str


@dataclass(frozen=True)
class FileEntry:
    """One file of the ingestion log, with the rows and money it brought.

    `money` holds exact decimal strings per currency and fate: ``read``, ``accepted``,
    ``quarantined``, ``superseded``; amounts are ``BilledCost`` and exist for bills only. `contract`
    is the version of the table's contract that the rows were checked against, `lake_version` the
    version of the table that brought the entry.
    """

    path: str
    sha256: str
    settings: str
    format: str
    stream: str
    delivered_on: str | None
    rows_read: int
    rows_accepted: int
    rows_quarantined: int
    rows_superseded: int = 0
    money: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    reasons: Mapping[str, int] = field(default_factory=dict)
    notes: Mapping[str, int] = field(default_factory=dict)
    units: Sequence[Unit] = ()
    contract: str = ""
    lake_version: int | None = None


def exists(lake: Path, table: str) -> bool:
    """Tell whether the lake holds the table."""
    return (lake / table / "_delta_log").is_dir()


def version(lake: Path, table: str) -> int | None:
    """Return the table's newest version, None when there is no table."""
    return _open(lake, table).version() if exists(lake, table) else None


def identity(lake: Path, table: str) -> str | None:
    """Return the id that a table got when it was made: one that is built again has another."""
    return str(_open(lake, table).metadata().id) if exists(lake, table) else None


def scan(lake: Path, table: str, as_of: date | None = None) -> pl.LazyFrame:
    """Read a table of the lake.

    Parameters
    ----------
    lake : pathlib.Path
        The lake's folder.
    table : str
        Name of a contract.
    as_of : datetime.date, optional
        Read the last version that holds no delivery later than this date.

    Returns
    -------
    polars.LazyFrame
        The contract's columns; further columns after them. Empty when the lake has no such table.

    Raises
    ------
    NoDataError
        When every version holds a delivery later than `as_of`.
    """
    if not exists(lake, table):
        return pl.LazyFrame(schema=contracts.dtypes(table))
    frame = pl.scan_delta(_standing(lake, table, as_of))
    found = frame.collect_schema().names()
    wanted = contracts.dtypes(table)
    # A table that was written before its contract grew lacks the newer columns.
    frame = frame.with_columns(
        pl.lit(None, dtype=dtype).alias(name) for name, dtype in wanted.items() if name not in found
    )
    return frame.select(*wanted, pl.exclude(*wanted))


def data_files_of(lake: Path, table: str, as_of: date | None = None) -> list[str]:
    """Return the names of a table's data files, below its folder; no name ever gets other content."""
    if not exists(lake, table):
        return []
    opened = _standing(lake, table, as_of)
    root = (lake / table).resolve()
    home = f"{root}{os.sep}"
    # There are files for every day: a path each, taken apart, takes longer than all else here.
    return sorted(
        uri.removeprefix(home).replace(os.sep, "/")
        if uri.startswith(home)
        else Path(uri).relative_to(root).as_posix()
        for uri in opened.file_uris()
    )


def files(lake: Path, table: str, as_of: date | None = None) -> dict[str, FileEntry]:
    """Return the ingestion log of a table: the newest entry of each file, by path.

    With `as_of` as it stood before the first delivery later than this date.
    """
    log: dict[str, FileEntry] = {}
    for number, entries in history(lake, table):
        if as_of is not None and _later(entries, as_of):
            break
        log |= {entry.path: replace(entry, lake_version=number) for entry in entries}
    return log


def commit(
    lake: Path,
    table: str,
    added: Mapping[str, Staged],
    entries: Sequence[FileEntry],
    superseded: Mapping[str, Iterable[Unit]],
    amended: Sequence[FileEntry] = (),
) -> None:
    """Put the rows of some files into the lake in one atomic step, replacing what they replace.

    The data files are moved, not written again: each holds rows of one source file only and is
    named after it, so to replace a source file is to drop its data files. Only a superseded unit
    that shares a data file with other units makes that file be written anew.

    Parameters
    ----------
    lake, table
        Where to.
    added : mapping
        Accepted rows of exactly the files in `entries`, by path; a file without rows may be absent.
    entries : sequence of FileEntry
        The log entries of those files. Rows of earlier versions of the files are replaced.
    superseded : mapping
        Older files and the units of theirs that these files replace.
    amended : sequence of FileEntry
        What the log says of those older files from now on.

    Raises
    ------
    InputError
        When the table was written by an older version, or holds a column as another type.
    """
    from deltalake import CommitProperties, DeltaTable, Schema
    from deltalake.transaction import create_table_with_add_actions

    folder = lake / table
    folder.mkdir(parents=True, exist_ok=True)
    opened = _open_anew(lake, table) if exists(lake, table) else None
    held = {} if opened is None else data_files.held(opened, folder)
    number = 0 if opened is None else opened.version() + 1
    gone = [name for entry in entries for name in held.get(data_files.stem(entry.path), ())]
    new: list[data_files.DataFile] = []
    for path, units in sorted(superseded.items()):
        keys = {(unit.provider, unit.account, unit.month) for unit in units}
        drop, keep = data_files.split(
            folder, held.get(data_files.stem(path), ()), keys, f"{data_files.stem(path)}-{number}"
        )
        gone += drop
        new += keep
    for path, staged in sorted(added.items()):
        new += data_files.settled(folder, staged, f"{data_files.stem(path)}-{number}")
    said = [replace(entry, lake_version=None) for entry in (*entries, *amended)]  # known by the commit
    log = json.dumps([asdict(entry) for entry in said], sort_keys=True)
    properties = CommitProperties(custom_metadata={_KEY: log})
    columns = dict(contracts.dtypes(table))
    for staged in added.values():
        columns |= staged.schema
    if opened is None:
        create_table_with_add_actions(
            _uri(lake, table),
            Schema.from_json(data_files.delta_schema(columns)),
            [file.action(folder) for file in new],
            partition_by=list(data_files.PARTITIONS.get(table, ())),
            configuration=_FOREVER,
            commit_properties=properties,
        )
        return
    known = {field.name for field in opened.schema().fields}
    fresh = {name: dtype for name, dtype in columns.items() if name not in known}
    if fresh:
        opened.alter.add_columns(Schema.from_json(data_files.delta_schema(fresh)).fields)
        opened = DeltaTable(_uri(lake, table))
    opened.create_write_transaction(
        [*[data_files.removed(name) for name in gone], *[file.action(folder) for file in new]],
        "append",
        opened.schema(),
        partition_by=list(data_files.PARTITIONS.get(table, ())),
        commit_properties=properties,
    )


def columns(lake: Path, table: str) -> list[str]:
    """Return the columns that a table has in the lake; none without the table."""
    return [field.name for field in _open(lake, table).schema().fields] if exists(lake, table) else []


def _uri(lake: Path, table: str) -> str:
    # deltalake 1.6 treats paths as addresses: it decodes % twice and cuts at # and ?.
    folder = str((lake / table).resolve())
    if set("%#?") & set(folder):
        raise InputError(
            "a lake cannot lie below a folder with %, # or ? in its name", file=lake, hint="rename it"
        )
    return folder


def _open(lake: Path, table: str) -> Any:
    """Open a table to read it as it now stands; opened once per version, since opening costs most."""
    return _opened(lake, table, _stamp(lake, table))


def _stamp(lake: Path, table: str) -> tuple[str, int, int]:
    """Return what tells a state of a table: its newest commit, and the file that holds it."""
    commits = (entry for entry in os.scandir(lake / table / "_delta_log") if entry.name.endswith(".json"))
    newest = max(commits, key=lambda entry: entry.name, default=None)
    if newest is None:
        return "", 0, 0
    found = newest.stat()
    return newest.name, found.st_mtime_ns, found.st_ino


@lru_cache(maxsize=64)
def _opened(lake: Path, table: str, stamp: tuple[str, int, int]) -> Any:
    return _open_anew(lake, table)


def _open_anew(lake: Path, table: str) -> Any:
    """Open a table for oneself: to write to it, or to go back to an older version."""
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError

    class LocalTable(DeltaTable):
        """A table whose files polars finds also below a folder with a blank in its name.

        deltalake 1.6 spells the table's root percent-encoded in `file_uris`, and polars 2.1 opens
        those as they stand.
        """

        def file_uris(self, *args: Any, **kwargs: Any) -> list[str]:
            root = self.table_uri.removeprefix("file://")
            uris = super().file_uris(*args, **kwargs)
            return [unquote(root) + uri.removeprefix(root) for uri in uris]

    try:
        return LocalTable(_uri(lake, table))
    except (DeltaError, OSError) as error:
        raise InputError(
            f"the lake's table {table} cannot be opened: {str(error).splitlines()[0]}",
            file=lake / table,
            hint="delete the lake folder to have it built again from exports/",
        ) from None


def _standing(lake: Path, table: str, as_of: date | None) -> Any:
    """Open a table as it stood at a date, or as it stands."""
    if as_of is None:
        return _open(lake, table)
    opened = _open_anew(lake, table)
    opened.load_as_version(_version_as_of(lake, table, as_of))
    return opened


def history(lake: Path, table: str) -> list[tuple[int, list[FileEntry]]]:
    """Return what each version of a table brought, oldest first."""
    if not exists(lake, table):
        return []
    return [(number, list(entries)) for number, entries in _history(lake, table, _stamp(lake, table))]


@lru_cache(maxsize=64)
def _history(
    lake: Path, table: str, stamp: tuple[str, int, int]
) -> tuple[tuple[int, tuple[FileEntry, ...]], ...]:
    found = [
        (int(done["version"]), tuple(_entry(e) for e in json.loads(done[_KEY])))
        for done in _opened(lake, table, stamp).history()
        if _KEY in done
    ]
    return tuple(sorted(found, key=lambda pair: pair[0]))


def _entry(values: dict[str, Any]) -> FileEntry:
    units = tuple(Unit(**unit) for unit in values.pop("units"))
    return FileEntry(**values, units=units)


def _version_as_of(lake: Path, table: str, as_of: date) -> int:
    found = None
    for number, entries in history(lake, table):
        if _later(entries, as_of):
            break
        found = number
    if found is None:
        raise NoDataError(f"the lake holds no {table} delivered by {as_of.isoformat()}")
    return found


def _later(entries: Iterable[FileEntry], as_of: date) -> bool:
    return any(e.delivered_on is not None and e.delivered_on[:10] > as_of.isoformat() for e in entries)
