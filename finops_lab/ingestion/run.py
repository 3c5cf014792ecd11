"""Ingest a lab's exports: read, check, quarantine, and commit to the lake."""

from __future__ import annotations

import os
import re
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from fnmatch import fnmatch
from hashlib import file_digest, sha256
from pathlib import Path

import polars as pl

from finops_lab import contracts
from finops_lab.config import Config
from finops_lab.errors import FinopsError, InputError
from finops_lab.ingestion import lake, quarantine, registry
from finops_lab.ingestion.lake import FileEntry, Unit
from finops_lab.ingestion.registry import NOTES, RAW, REASONS, ReadSettings
from finops_lab.ingestion.summary import IngestSummary, summarise
from finops_lab.money import exact_sum

__all__ = ["IngestSummary", "ingest"]

# Raised when readers change what they make of a file, so that labs are read again.
_READER_VERSION = 1
_DELIVERED = re.compile(r"delivered=(.*)")
_NOT_DATA = ("*.md", "*manifest*.json", "_SUCCESS", ".*", "*.crc")

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class _Delivered:
    """A file of the exports folder and what its place and content say."""

    path: Path
    name: str
    sha256: str
    stream: str
    delivered_on: str | None
    settings: ReadSettings

    @property
    def fingerprint(self) -> str:
        attributes = sorted((k, tuple(v)) for k, v in self.settings.attributes.items())
        said = (_READER_VERSION, self.settings.tag_keys, attributes, self.settings.sample_rate)
        return sha256(repr(said).encode()).hexdigest()[:16]


def ingest(folder: Path, config: Config, progress: Progress | None = None) -> IngestSummary:
    """Bring every new or changed file of ``exports/`` into the lake.

    Unchanged files cost their hash only; a changed file replaces its own rows; a newer delivery
    (a path part ``delivered=YYYY-MM-DD``) replaces the provider's account and billing month of the
    older one in the same stream. Rows that break the contract go to ``quarantine/``.

    Parameters
    ----------
    folder : pathlib.Path
        The lab's folder.
    config : Config
        Its `finops.toml`.
    progress : callable, optional
        Called with (files done, files in all, name of the next file).

    Returns
    -------
    IngestSummary

    Raises
    ------
    InputError
        When a file cannot be read or no reader knows it; nothing of that run is kept for its
        table, earlier versions stay.
    """
    with _only_one(folder / "lake"):
        return _ingest(folder, config, progress or (lambda done, total, name: None))


def _ingest(folder: Path, config: Config, progress: Progress) -> IngestSummary:
    exports = folder / "exports"
    if not exports.is_dir():
        raise InputError("the lab has no exports/ folder", file=folder, hint="put bills and telemetry there")
    delivered = [_look(path, exports, config) for path in _data_files(exports)]
    log = {t: lake.files(folder / "lake", t) for t in contracts.TABLES if lake.exists(folder / "lake", t)}
    known = {entry.path: (table, entry) for table, entries in log.items() for entry in entries.values()}
    done: dict[str, tuple[str, FileEntry, str]] = {}
    todo: list[_Delivered] = []
    # What the lake holds already comes first, so that a copy or a renamed file is not read again.
    present = {item.name: item.sha256 for item in delivered}
    first_with: dict[str, FileEntry | _Delivered] = {
        entry.sha256: entry
        for _, entry in known.values()
        if present.get(entry.path, entry.sha256) == entry.sha256
    }
    emptied: dict[str, list[FileEntry]] = {}
    for item in delivered:
        table, entry = known.get(item.name, ("", None))
        twin = first_with.setdefault(item.sha256, item)
        held = entry is not None and entry.sha256 == item.sha256
        if entry is not None and held and entry.settings == item.fingerprint:
            done[item.name] = (table, entry, "unchanged")
        elif twin is not item and not held and not _delivered_again(twin, item):
            copy = _duplicate(item, _path(twin))
            done[item.name] = ("", copy, "duplicate")
            if entry is not None:
                emptied.setdefault(table, []).append(copy)
        else:
            todo.append(item)
    staging = folder / "lake" / ".staging"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    staged: dict[str, list[tuple[_Delivered, FileEntry]]] = {}
    for number, item in enumerate(todo):
        progress(number, len(todo), item.name)
        reader = registry.detect(item.path)
        staged.setdefault(reader.TABLE, []).append((item, _stage(item, reader, staging)))
    for table, items in staged.items():
        for entry in _settle(folder, table, items, staging):
            _, _, status = done.get(entry.path, ("", entry, "ingested"))
            done[entry.path] = (table, entry, status)
    for table, copies in emptied.items():
        # What these files held before they became copies of others is not delivered any more.
        for copy in copies:
            quarantine.file_for(folder / "quarantine", table, copy.path).unlink(missing_ok=True)
        lake.commit(folder / "lake", table, lake.scan(folder / "lake", table).head(0), copies, {})
    progress(len(todo), len(todo), "")
    shutil.rmtree(staging)
    return summarise([done[item.name] for item in delivered])


def _data_files(exports: Path) -> list[Path]:
    found = (p for p in exports.rglob("*") if p.is_file())
    return sorted(
        p
        for p in found
        if not any(fnmatch(part, n) for part in p.relative_to(exports).parts for n in _NOT_DATA)
    )


def _look(path: Path, exports: Path, config: Config) -> _Delivered:
    name = path.relative_to(exports).as_posix()
    try:
        with path.open("rb") as stream:
            digest = file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=path) from None
    folders = Path(name).parent.parts
    dates = [_delivery_date(p, path) for p in folders if _DELIVERED.fullmatch(p)]
    stream_name = "/".join(p for p in folders if not _DELIVERED.fullmatch(p))
    rate = next((s.rate for s in config.telemetry.sampling if fnmatch(name, s.path)), None)
    settings = ReadSettings(
        config.tag_keys(), {str(k): v for k, v in config.telemetry.attributes.items()}, rate
    )
    return _Delivered(path, name, digest, stream_name, max(dates, default=None), settings)


def _delivery_date(folder: str, path: Path) -> str:
    text = folder.partition("=")[2]
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise InputError(
            f"{text!r} is no date", file=path.parent, hint="name the folder like delivered=2026-11-03"
        ) from None


def _path(file: FileEntry | _Delivered) -> str:
    return file.path if isinstance(file, FileEntry) else file.name


def _delivered_again(twin: FileEntry | _Delivered, item: _Delivered) -> bool:
    """Tell whether a bill of the same content is a delivery of its own, which may undo one in between."""
    return (
        twin.stream == item.stream
        and twin.delivered_on != item.delivered_on
        and registry.detect(item.path).TABLE == "costs"
    )


def _duplicate(item: _Delivered, twin: str) -> FileEntry:
    entry = FileEntry(item.name, item.sha256, item.fingerprint, "", item.stream, item.delivered_on, 0, 0, 0)
    return replace(entry, notes={f"same content as {twin}: read once": 1})


def _stage(item: _Delivered, reader: registry.Reader, staging: Path) -> FileEntry:
    """Read one file once: good rows, bad rows and notes into staging files."""
    table = reader.TABLE
    source = "x_SourceFile" if table == "costs" else "source_file"
    stem = sha256(item.name.encode()).hexdigest()[:16]
    try:
        frame = reader.read(item.path, item.settings).with_columns(pl.lit(item.name).alias(source))
        columns = frame.collect_schema().names()
        rules = contracts.reasons(table)
        frame = frame.with_columns(_both(pl.col(REASONS), rules).alias(REASONS))
        bad = pl.col(REASONS).list.len().fill_null(0) > 0
        ours = [name for name in contracts.dtypes(table)]
        extra = [n for n in columns if n not in (*ours, RAW, REASONS, NOTES)]
        note = pl.col(NOTES) if NOTES in columns else pl.lit(None, dtype=pl.List(pl.String)).alias(NOTES)
        pl.collect_all(
            [
                frame.filter(~bad)
                .select(*ours, *extra)
                .sink_parquet(staging / f"{stem}.good", compression="lz4", statistics=False, lazy=True),
                quarantine.rejected(frame.filter(bad), table).sink_parquet(
                    staging / f"{stem}.bad", lazy=True
                ),
                frame.select(note)
                .filter(pl.col(NOTES).is_not_null())
                .sink_parquet(staging / f"{stem}.notes", lazy=True),
            ]
        )
    except FinopsError:
        raise
    except (pl.exceptions.PolarsError, OSError, EOFError, zlib.error) as error:
        raise registry.unreadable(item.path, error) from None
    return _entry(item, reader, staging, stem)


def _both(left: pl.Expr, right: pl.Expr) -> pl.Expr:
    """Join two lists of reasons; a value that could not be read is not also reported missing."""

    def join(columns: Sequence[pl.Series]) -> pl.Series:
        first, second = columns
        if first.null_count() == first.len() and second.null_count() == second.len():
            return first
        merged: list[list[str] | None] = []
        for a, b in zip(first.to_list(), second.to_list(), strict=True):
            told = {text.partition(":")[0] for text in a or ()}
            merged.append([*(a or ()), *(t for t in b or () if t.partition(":")[0] not in told)] or None)
        return pl.Series(merged, dtype=pl.List(pl.String))

    return pl.map_batches([left, right], join, return_dtype=pl.List(pl.String), is_elementwise=True)


def _entry(item: _Delivered, reader: registry.Reader, staging: Path, stem: str) -> FileEntry:
    good, bad = (pl.scan_parquet(staging / f"{stem}.{kind}") for kind in ("good", "bad"))
    accepted = good.select(pl.len()).collect().item()
    refused = bad.select(pl.len()).collect().item()
    money: dict[str, dict[str, str]] = {}
    units: list[Unit] = []
    if reader.TABLE == "costs":
        for fate, frame in (("accepted", good), ("quarantined", bad)):
            sums = frame.group_by("BillingCurrency").agg(pl.col("BilledCost").sum()).collect()
            for currency, amount in sums.iter_rows():
                money.setdefault(currency or "unknown", {})[fate] = str(amount)
        found = good.select("ProviderName", "BillingAccountId", "x_BillingMonth").unique().collect()
        units = sorted(Unit(*row) for row in found.iter_rows())
    return FileEntry(
        path=item.name,
        sha256=item.sha256,
        settings=item.fingerprint,
        format=reader.FORMAT,
        stream=item.stream,
        delivered_on=item.delivered_on,
        rows_read=accepted + refused,
        rows_accepted=accepted,
        rows_quarantined=refused,
        money=money,
        reasons=_counts(bad.select(pl.col("reason").str.split("; ")), "reason"),
        notes=_counts(pl.scan_parquet(staging / f"{stem}.notes"), NOTES),
        units=tuple(units),
    )


def _counts(frame: pl.LazyFrame, column: str) -> dict[str, int]:
    found = frame.explode(column, empty_as_null=False).group_by(column).agg(pl.len()).collect().sort(column)
    return {str(text): int(n) for text, n in found.iter_rows()}


def _settle(
    folder: Path, table: str, items: Sequence[tuple[_Delivered, FileEntry]], staging: Path
) -> Iterator[FileEntry]:
    """Commit the staged files of a table, older deliveries first, one version per delivery date."""
    for item, _ in items:
        stem = sha256(item.name.encode()).hexdigest()[:16]
        target = quarantine.file_for(folder / "quarantine", table, item.name)
        quarantine.settle(staging / f"{stem}.bad", target)
    for day in sorted({entry.delivered_on or "" for _, entry in items}):
        batch = [(i, e) for i, e in items if (e.delivered_on or "") == day]
        log = lake.files(folder / "lake", table)
        frames: list[pl.LazyFrame] = []
        entries: list[FileEntry] = []
        superseded: dict[str, set[Unit]] = {}
        for item, entry in batch:
            stem = sha256(item.name.encode()).hexdigest()[:16]
            rows = pl.scan_parquet(staging / f"{stem}.good")
            others = [e for e in log.values() if e.stream == entry.stream and e.path != entry.path]
            late = {u for e in others if (e.delivered_on or "") > day for u in e.units} & set(entry.units)
            if late:
                rows, entry = _drop(rows, entry, late)
            frames.append(rows)
            entries.append(entry)
            for other in others:
                if (other.delivered_on or "") < day and (units := set(other.units) & set(entry.units)):
                    superseded.setdefault(other.path, set()).update(units)
        held = lake.scan(folder / "lake", table)
        amended = [
            _drop(held.filter(pl.col("x_SourceFile") == path), log[path], units)[1]
            for path, units in sorted(superseded.items())
        ]
        rows = pl.concat(frames, how="diagonal")
        lake.commit(folder / "lake", table, rows, entries, superseded, amended)
        yield from (*entries, *amended)


def _drop(rows: pl.LazyFrame, entry: FileEntry, late: set[Unit]) -> tuple[pl.LazyFrame, FileEntry]:
    """Leave out units of which there is a newer delivery, and say so."""
    keys = pl.DataFrame(
        [(u.provider, u.account, u.month) for u in sorted(late)],
        schema=["ProviderName", "BillingAccountId", "x_BillingMonth"],
        orient="row",
    ).lazy()
    old = rows.join(keys, on=keys.collect_schema().names(), how="semi")
    rows = rows.join(keys, on=keys.collect_schema().names(), how="anti")
    count = old.select(pl.len()).collect().item()
    money = {currency: dict(fates) for currency, fates in entry.money.items()}
    for currency, amount in (
        old.group_by("BillingCurrency").agg(pl.col("BilledCost").sum()).collect().iter_rows()
    ):
        fates = money[currency]
        fates["superseded"] = str(exact_sum((Decimal(fates.get("superseded", "0")), amount)))
        fates["accepted"] = str(exact_sum((Decimal(fates["accepted"]), amount.copy_negate())))
    done = replace(
        entry, rows_accepted=entry.rows_accepted - count, rows_superseded=entry.rows_superseded + count, money=money,
        units=tuple(u for u in entry.units if u not in late),
    )  # fmt: skip
    return rows, done


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold the lake's lock: two ingests of one lab must not run at once."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / ".lock").open("w")
    except OSError as error:
        raise InputError(f"the lake cannot be written: {error.strerror}", file=folder) from None
    with stream:
        if os.name == "posix":
            import fcntl

            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(
                    "another ingest of this lab is running", file=folder, hint="wait until it is done"
                ) from None
        yield
