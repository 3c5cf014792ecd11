"""`[[sources]]`: what lies elsewhere is copied below the lake first, then read like any delivery.

A copy keeps what was read: its hash stands in the ingestion log, it can be read again without the
store, and a store that forgets old data (a metrics server, an expiring bucket) takes nothing back.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from finops_lab.config import Source
from finops_lab.errors import ConfigError

__all__ = ["fetch", "resolved"]

_VARIABLE = re.compile(r"\$\{(\w+)\}")
_MODULES = {
    "files": "objects",
    "delta": "delta",
    "iceberg": "iceberg",
    "postgres": "postgres",
    "prometheus": "prometheus",
}


class _Kind(Protocol):
    """One kind of source: copies it into `target`, each file in one step, and deletes nothing."""

    def fetch(self, source: Source, target: Path, now: datetime) -> None: ...


def fetch(
    target: Path,
    sources: Sequence[Source],
    now: datetime,
    *,
    refresh: bool = False,
    begin: Callable[[str], None] | None = None,
) -> None:
    """Copy every source into a folder of its own name.

    Parameters
    ----------
    target : pathlib.Path
        The folder of copies.
    sources : sequence of Source
        ``[[sources]]`` of `finops.toml`.
    now : datetime.datetime
        When this runs: the end of what a metrics server is asked for.
    refresh : bool
        Also copy again what is there already.
    begin : callable, optional
        Called with the name of each source before it is copied.

    Raises
    ------
    ConfigError
        When an environment variable that a source names is not set.
    InputError
        When a store cannot be reached or read, or needs a package that is not installed.
    """
    for source in sources:
        folder = target / source.name
        if refresh or not folder.is_dir():
            if begin is not None:
                begin(source.name)
            module = import_module(f"finops_lab.ingestion.sources.{_MODULES[source.kind]}")
            cast("_Kind", module).fetch(resolved(source), folder, now)


def resolved(source: Source) -> Source:
    """Put environment variables in the place of ``${NAME}`` in a source's url and options.

    Raises
    ------
    ConfigError
        When a variable is not set.
    """

    def fill(text: str) -> str:
        for name in _VARIABLE.findall(text):
            if name not in os.environ:
                raise ConfigError(
                    f"[[sources]] {source.name!r} needs the environment variable {name}, which is not set"
                )
        return _VARIABLE.sub(lambda found: os.environ[found[1]], text)

    options = {key: fill(value) for key, value in source.options.items()}
    return source.model_copy(update={"url": fill(source.url), "options": options})
