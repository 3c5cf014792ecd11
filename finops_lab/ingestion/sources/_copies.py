"""Copies of what lies elsewhere: which are there, which wait beside them, how they join in one go."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from finops_lab.errors import InputError

__all__ = ["Copies"]

# Hidden, so that ingestion does not take it for data.
_STATE = ".fetched.json"


@dataclass
class Copies:
    """The copies of one source, each with a mark that tells its content at the source.

    New copies wait in a hidden folder beside `target` until `arrive`: a fetch that breaks leaves
    what was there, and the next one goes on where it broke.

    Parameters
    ----------
    target : pathlib.Path
        The folder of copies.
    origin : str
        What is copied, without secrets. A folder holds copies of one origin.
    """

    target: Path
    origin: str
    held: dict[str, str] = field(init=False)
    waiting: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        origin, self.held = _state(self.target)
        if origin != self.origin and any(not p.name.startswith(".") for p in self.target.glob("*")):
            raise InputError(
                f"holds copies of {origin or 'something else'}, not of {self.origin}",
                file=self.target,
                hint="delete this folder to copy anew, or give the source another name to keep both",
            )
        waits_for, self.waiting = _state(self.beside)
        if waits_for != self.origin:
            self.waiting = {}

    @property
    def beside(self) -> Path:
        """The folder where copies wait."""
        return self.target.with_name(f".{self.target.name}.partial")

    def has(self, name: str, mark: str) -> bool:
        """Tell whether a copy of this content is there, or waits."""
        there = self.held.get(name) == mark and (self.target / name).is_file()
        return there or self._waits(name, mark)

    def _waits(self, name: str, mark: str) -> bool:
        return self.waiting.get(name) == mark and (self.beside / name).is_file()

    @contextmanager
    def writing(self, name: str, mark: str) -> Iterator[Path]:
        """Yield a path to write a copy to; it waits under its name when the block ends well."""
        with self._told():
            self.beside.mkdir(parents=True, exist_ok=True)
            path = self.beside / ".writing"
            path.unlink(missing_ok=True)
        yield path
        with self._told():
            place = self.beside / name
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, place)
            self.waiting[name] = mark
            _note(self.beside, self.origin, self.waiting)

    def arrive(self, wanted: Mapping[str, str]) -> None:
        """Move what waits with these marks to the folder of copies; what else waits is out of date."""
        arriving = {name: mark for name, mark in sorted(wanted.items()) if self._waits(name, mark)}
        with self._told():
            if arriving and not self.target.exists():
                for path in self.beside.rglob("*"):
                    if path.is_file() and path.relative_to(self.beside).as_posix() not in arriving:
                        path.unlink()
                _note(self.beside, self.origin, arriving)
                os.replace(self.beside, self.target)
            elif arriving:
                for name in arriving:
                    (self.target / name).parent.mkdir(parents=True, exist_ok=True)
                    os.replace(self.beside / name, self.target / name)
                _note(self.target, self.origin, self.held | arriving)
            self.held |= arriving
            if self.beside.exists():
                shutil.rmtree(self.beside)

    def others(self, names: Collection[str]) -> Sequence[str]:
        """Return the copies that are there under none of these names."""
        return sorted(name for name in self.held if name not in names and (self.target / name).is_file())

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror or error}", file=self.target) from None


def _state(folder: Path) -> tuple[str, dict[str, str]]:
    try:
        state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        return str(state["origin"]), {str(name): str(mark) for name, mark in state["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "", {}  # none yet, or cut by a full disk: everything is copied again


def _note(folder: Path, origin: str, marks: Mapping[str, str]) -> None:
    path = folder / f"{_STATE}.new"
    path.write_text(
        json.dumps({"origin": origin, "files": marks}, indent=1, sort_keys=True), encoding="utf-8"
    )
    os.replace(path, folder / _STATE)
