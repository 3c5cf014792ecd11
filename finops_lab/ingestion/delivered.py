"""The files of a lab's exports folder: what their place and content say before they are read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatch
from hashlib import file_digest, sha256
from pathlib import Path

from finops_lab import contracts
from finops_lab.config import Columns, Config
from finops_lab.errors import ConfigError, InputError
from finops_lab.ingestion.manifests import Place, places
from finops_lab.ingestion.registry import ReadSettings

__all__ = ["Delivered", "delivered"]

# Raised when readers change what they make of a file, so that labs are read again.
_READER_VERSION = 2
_DELIVERED = re.compile(r"delivered=(.*)")
# Compared without case: AWS writes `...-Manifest.json`.
_MANIFEST = "*manifest*.json"
_NOT_DATA = ("*.md", "_success", ".*", "*.crc")


@dataclass(frozen=True)
class Delivered:
    """A file and what its place and content say.

    `delivered_on` is a date, a moment, or a date and a moment (several snapshots in one
    ``delivered=`` folder); it sorts as text. A file with a `status` is not read; `why` tells.
    """

    path: Path
    name: str
    sha256: str
    size: int
    stream: str
    delivered_on: str | None
    settings: ReadSettings
    moment: str | None = None
    status: str | None = None
    why: str = ""

    @property
    def fingerprint(self) -> str:
        """A short hash of everything beside the content that decides what is read from it."""
        attributes = sorted((k, tuple(v)) for k, v in self.settings.attributes.items())
        said: tuple[object, ...] = (_READER_VERSION, self.settings.tag_keys, attributes)
        columns = self.settings.columns
        said = (*said, self.settings.sample_rate, columns and columns.model_dump_json())
        # A manifest that comes after its files dates what the log holds without a date.
        said = said if self.moment is None else (*said, self.stream, self.delivered_on)
        return sha256(repr(said).encode()).hexdigest()[:16]

    @property
    def stem(self) -> str:
        """A name for staging files."""
        return sha256(self.name.encode()).hexdigest()[:16]


def delivered(roots: Sequence[tuple[Path, str]], config: Config) -> Iterator[Delivered]:
    """Look at every data file below some folders, in the order of their names.

    Parameters
    ----------
    roots : sequence of (pathlib.Path, str)
        Folders, and what stands before their files' names.
    config : Config
        The lab's `finops.toml`.

    Raises
    ------
    InputError
        When a file cannot be read, a ``delivered=`` folder names no date, or a vendor's manifest
        is broken or lists files that are not here (see `finops_lab.ingestion.manifests.places`).
    ConfigError
        When ``[[columns]]`` names a table or a column that does not exist.
    """
    for columns in config.columns:
        _check(columns)
    data: dict[str, Path] = {}
    manifests: dict[str, str] = {}
    for root, prefix in roots:
        for path in _files(root):
            inside = path.relative_to(root)
            name = prefix + inside.as_posix()
            if _is(inside, *_NOT_DATA):
                continue
            if fnmatch(path.name.lower(), _MANIFEST):
                manifests[name] = _text(path)
            elif not _is(inside, _MANIFEST):
                data[name] = path
    told = places(list(data), manifests)
    for name, path in data.items():
        yield _look(path, name, told[name], config)


def _is(path: Path, *patterns: str) -> bool:
    return any(fnmatch(part.lower(), pattern) for part in path.parts for pattern in patterns)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=path) from None


def _look(path: Path, name: str, place: Place, config: Config) -> Delivered:
    try:
        with path.open("rb") as stream:
            digest = file_digest(stream, "sha256").hexdigest()
            size = stream.tell()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=path) from None
    folders = Path(name).parent.parts
    dates = [_delivery_date(p, path) for p in folders if _DELIVERED.fullmatch(p)]
    settings = ReadSettings(
        config.tag_keys(),
        {str(k): v for k, v in config.telemetry.attributes.items()},
        next((s.rate for s in config.telemetry.sampling if fnmatch(name, s.path)), None),
        next((c for c in config.columns if fnmatch(name, c.path)), None),
    )
    # A folder that says the date wins; the moment orders the snapshots of that date.
    said = [part for part in (max(dates, default=None), place.moment) if part is not None]
    delivered_on = " ".join(said) or None
    return Delivered(
        path,
        name,
        digest,
        size,
        place.stream,
        delivered_on,
        settings,
        place.moment,
        place.status,
        place.why,
    )


def _delivery_date(folder: str, path: Path) -> str:
    text = folder.partition("=")[2]
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise InputError(
            f"{text!r} is no date", file=path.parent, hint="name the folder like delivered=2026-11-03"
        ) from None


def _files(root: Path) -> list[Path]:
    """List every file below a folder, links followed; what cannot be looked at is an error, not a gap."""

    def refuse(error: OSError) -> None:
        raise InputError(f"cannot be read: {error.strerror}", file=error.filename) from None

    found: list[Path] = []
    seen: set[Path] = set()
    for folder, inside, names in os.walk(root, onerror=refuse, followlinks=True):
        real = Path(folder).resolve()
        if real in seen:  # a link in a circle
            inside.clear()
            continue
        seen.add(real)
        found += [Path(folder, name) for name in names]
    for path in found:
        if not path.exists():
            raise InputError(
                "is a link that leads nowhere", file=path, hint="remove it, or restore its target"
            )
    return sorted(path for path in found if path.is_file())


def _check(columns: Columns) -> None:
    if columns.table not in contracts.TABLES:
        raise ConfigError(
            f"[[columns]] for {columns.path!r}: there is no table {columns.table!r}",
            hint=f"tables: {', '.join(contracts.TABLES)}",
        )
    known = contracts.dtypes(columns.table)
    for name in (*columns.map, *columns.values):
        if name not in known:
            raise ConfigError(
                f"[[columns]] for {columns.path!r}: {columns.table} has no column {name!r}",
                hint=f"columns: {', '.join(known)}",
            )
