"""Files on their way into a portal: what a lab has delivered, copied or linked, swapped in at once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import file_digest
from pathlib import Path

from finops_lab.errors import InputError
from finops_lab.ingestion.run import FETCHED

__all__ = ["alone", "bring", "delivered_files", "digest", "place", "swap"]


def delivered_files(folder: Path) -> dict[str, Path]:
    """Return what a lab has delivered, by the names that its tables give: copies of sources too."""
    roots = [(folder / "exports", "")]
    if (folder / "lake" / FETCHED).is_dir():
        roots.append((folder / "lake" / FETCHED, f"{FETCHED}/"))
    found: dict[str, Path] = {}
    for root, prefix in roots:
        if not root.is_dir():
            raise InputError(
                "the lab has no exports/ folder", file=folder, hint="put bills and telemetry there"
            )
        for path in _walk(root):
            name = prefix + path.relative_to(root).as_posix()
            if any(part.startswith(".") for part in path.relative_to(root).parts):
                continue
            if name in found:
                raise InputError(
                    f"the lab has {name} both in exports/ and among its copies of sources", file=path
                )
            found[name] = path
    return dict(sorted(found.items()))


def _walk(root: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise InputError(f"cannot be read: {error.strerror}", file=error.filename) from None

    seen: set[Path] = set()
    for here, inside, names in os.walk(root, onerror=refuse, followlinks=True):
        real = Path(here).resolve()
        if real in seen:  # a link in a circle
            inside.clear()
            continue
        seen.add(real)
        yield from (Path(here, name) for name in names)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    try:
        with path.open("rb") as stream:
            return file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=path) from None


def bring(files: Mapping[str, Path], folder: Path, *, link: bool) -> None:
    """Copy or hard-link files to their names below a folder."""
    for name, path in files.items():
        target = folder / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if link:
                os.link(path.resolve(), target)
            else:
                shutil.copy2(path, target)
        except OSError as error:
            hint = "a hard link needs the same file system: merge without link" if link else None
            raise InputError(
                f"cannot be brought in: {error.strerror or error}", file=path, hint=hint
            ) from None
    folder.mkdir(parents=True, exist_ok=True)


def place(out: Path, kind: str) -> Path:
    """Return the hidden folder beside a portal in which it is built, or its predecessor waits."""
    return out.with_name(f".{out.name}.{kind}")


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Hold the folder in which portals lie, and mend what a merge left that was cut off."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        held = os.open(out.parent, os.O_RDONLY) if os.name == "posix" else None
    except OSError as error:
        raise InputError(f"the portal cannot be written: {error.strerror}", file=out) from None
    try:
        if held is not None:
            import fcntl

            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(
                    "another merge beside this one is running", file=out, hint="wait until it is done"
                ) from None
        if not out.exists() and place(out, "before").exists():
            place(out, "before").rename(out)
        for kind in ("merging", "before"):
            shutil.rmtree(place(out, kind), ignore_errors=True)
        yield
    finally:
        shutil.rmtree(place(out, "merging"), ignore_errors=True)
        if held is not None:
            os.close(held)


def swap(out: Path) -> None:
    """Put the portal that was built in the place of the old one."""
    built, before = place(out, "merging"), place(out, "before")
    if out.exists():
        out.rename(before)
    built.rename(out)
    shutil.rmtree(before, ignore_errors=True)
