"""Files of a folder, a bucket or a web server, copied as they are.

Source: the Rust crate object_store, which polars and deltalake use too, through the package
obstore: addresses (``s3://bucket/prefix``, ``gs://``, ``az://container/prefix``, ``abfss://``,
``https://``) and the names of its settings. Folders (``file://``) need no package.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit
from urllib.request import url2pathname

from finops_lab.config import Source
from finops_lab.errors import InputError, NoDataError
from finops_lab.ingestion.sources._copies import Copies
from finops_lab.ingestion.sources._words import optional, place, shown, told

__all__ = ["fetch"]

_SCHEMES = ("s3", "s3a", "gs", "az", "azure", "adl", "abfs", "abfss", "http", "https", "file")
_BLOCK = 8 << 20
# Settings of the connection rather than of the store, under the names of object_store.
_CLIENT = {
    "allow_http", "allow_invalid_certificates", "connect_timeout", "http1_only", "http2_only",
    "proxy_ca_certificate", "proxy_excludes", "proxy_url", "read_timeout", "timeout", "user_agent",
}  # fmt: skip
_SWITCHES = {"allow_http", "allow_invalid_certificates", "http1_only", "http2_only"}
# A copy takes as long as it takes, a server that says nothing does not.
_PATIENCE = {"timeout": "1 day", "read_timeout": "60 seconds", "connect_timeout": "10 seconds"}
_RETRIES = {"max_retries": 3, "retry_timeout": timedelta(seconds=60)}


class _Store(Protocol):
    """What lies somewhere: names with a mark that changes with the content, and a way to copy one."""

    def files(self) -> dict[str, str]: ...

    def copy(self, name: str, path: Path) -> None: ...


def fetch(source: Source, target: Path, now: datetime) -> None:
    """Copy the files below an address, as ``[[sources]]`` of `finops.toml` names it.

    Their paths below the address stay, so that ``delivered=YYYY-MM-DD`` keeps its meaning. What
    is unchanged by size and tag (or time of change) is not copied again; what is gone stays.

    Parameters
    ----------
    source : Source
        ``url``, a folder or a single file; ``include``, patterns of which a path must match one
        (``*`` also matches ``/``); ``options``, settings of the store.
    target : pathlib.Path
        Folder to write to.
    now : datetime.datetime
        Not used: files are copied whatever their age.

    Raises
    ------
    InputError
        When the address makes no sense, the store refuses or cannot be reached, the package
        obstore is missing, or the folder to write to holds copies of something else.
    NoDataError
        When there is no such file, and none was copied before.
    """
    copies = Copies(target, f"files of {shown(source.url).rstrip('/')}")
    store = _opened(source)
    with told(source):
        found = store.files()
    wanted = {name: mark for name, mark in found.items() if _asked_for(name, source.include)}
    _refuse_tables(source, found, wanted)
    if left := [name for name in copies.others(wanted) if not _asked_for(name, source.include)]:
        raise InputError(
            f"was copied before include was changed ({len(left)} such files)",
            file=target / left[0],
            hint=f"delete {target} to copy anew",
        )
    if not wanted and not copies.held:
        seen = (
            f"is no file that include names, but {', '.join(sorted(found)[:3])}" if found else "are no files"
        )
        raise NoDataError(f"there {seen}", file=place(source), hint="check url and include")
    for name, mark in sorted(wanted.items()):
        if not copies.has(name, mark):
            with copies.writing(name, mark) as path, told(source):
                store.copy(name, path)
    copies.arrive(wanted)


def _asked_for(name: str, include: Collection[str]) -> bool:
    hidden = any(part.startswith(".") for part in name.split("/"))
    return not hidden and any(fnmatchcase(name, pattern) for pattern in include)


def _refuse_tables(source: Source, found: Collection[str], wanted: Collection[str]) -> None:
    """Refuse the files of a Delta or Iceberg table: some of them hold rows that were replaced."""
    for kind, sign in (("delta", "_delta_log/"), ("iceberg", "metadata/")):
        for name in found:
            root, mark, rest = name.rpartition(sign)
            is_log = mark and (kind == "delta" or rest.endswith(".metadata.json"))
            if is_log and (not root or root.endswith("/")) and any(w.startswith(root) for w in wanted):
                where = shown(source.url).rstrip("/") + (f"/{root[:-1]}" if root else "")
                raise InputError(
                    f"{where} is a table, whose files also hold rows that were replaced",
                    file=f"[[sources]] {source.name!r}",
                    hint=f'name it in a source of its own with kind = "{kind}", and leave it out of include',
                )


def _opened(source: Source) -> _Store:
    try:
        scheme = urlsplit(source.url).scheme if "://" in source.url else ""
    except ValueError:
        scheme = ""
    if scheme not in _SCHEMES:
        raise InputError(
            f"{shown(source.url)!r} is no address of files",
            file=f"[[sources]] {source.name!r}",
            hint="write it like s3://bucket/folder, gs://..., az://..., https://... or file:///folder",
        )
    if urlsplit(source.url).query:
        raise InputError(
            "the address has a query",
            file=place(source),
            hint="give a signature as an option, such as azure_storage_sas_token; write %3F for a ? in a name",
        )
    if scheme == "file":
        return _Folder(Path(url2pathname(urlsplit(source.url).path)), source)
    return _Remote(source, optional(source, "obstore", "cloud"), optional(source, "obstore.store", "cloud"))


@dataclass(frozen=True)
class _Folder:
    """A folder, or one file, of this machine or a mounted share."""

    root: Path
    source: Source

    def files(self) -> dict[str, str]:
        if not self.root.exists():
            raise InputError(
                "there is no such folder", file=self.root, hint=f"check [[sources]] {self.source.name!r}"
            )
        single = self.root.is_file()
        paths = [self.root] if single else [path for path in self.root.rglob("*") if path.is_file()]
        base = self.root.parent if single else self.root
        return {path.relative_to(base).as_posix(): _stamp(path) for path in paths}

    def copy(self, name: str, path: Path) -> None:
        base = self.root.parent if self.root.is_file() else self.root
        shutil.copyfile(base / name, path)


def _stamp(path: Path) -> str:
    about = path.stat()
    return f"{about.st_size} {about.st_mtime_ns}"


@dataclass
class _Remote:
    """A bucket, container or web server."""

    source: Source
    obstore: Any
    stores: Any
    store: Any = None

    @property
    def url(self) -> str:
        return self.source.url.rstrip("/")

    def files(self) -> dict[str, str]:
        self.store = self._connected(self.url)
        if type(self.store).__name__ == "HTTPStore":
            if self.source.url.endswith("/") or urlsplit(self.url).path == "":
                raise InputError(
                    "a web server does not tell its files",
                    file=place(self.source),
                    hint="name one file, in a source for each",
                )
        else:
            found = {
                about["path"]: _mark(about)
                for batch in self.obstore.list(self.store)
                for about in batch
                if not _is_folder(about)
            }
            if found:
                return found
        # A single file has no file below it.
        folder, _, name = self.url.rpartition("/")
        if not name or folder.endswith(":/"):
            return {}
        try:
            self.store = self._connected(folder)
            about = self.obstore.head(self.store, name)
        except FileNotFoundError:
            return {}
        return {about["path"]: _mark(about)}

    def copy(self, name: str, path: Path) -> None:
        answer = self.obstore.get(self.store, name)
        with path.open("wb") as stream:
            for block in answer.stream(min_chunk_size=_BLOCK):
                stream.write(block)
        written, size = path.stat().st_size, answer.meta["size"]
        if written != size:
            raise OSError(f"{name}: {written} of {size} bytes arrived")

    def _connected(self, url: str) -> Any:
        settings: dict[str, str] = {}
        client: dict[str, Any] = {**_PATIENCE, "allow_http": url.startswith("http://")}
        for key, value in self.source.options.items():
            name = key.lower()
            plain = name.removeprefix("aws_").removeprefix("azure_").removeprefix("google_")
            if plain in _SWITCHES:
                client[plain] = value.lower() in ("true", "1")
            elif plain in _CLIENT:
                client[plain] = value
            else:
                settings[name] = value
        return self.stores.from_url(url, config=settings, client_options=client, retry_config=_RETRIES)


def _mark(about: Mapping[str, Any]) -> str:
    tag = about["e_tag"] or about["last_modified"].isoformat()
    return f"{about['size']} {tag}"


def _is_folder(about: Mapping[str, Any]) -> bool:
    """Tell the empty objects that consoles make for folders, whose last ``/`` object_store drops."""
    return about["size"] == 0 and "." not in os.path.basename(about["path"])
