"""Full snapshots under new names: which delivery a file belongs to, and whether it still does.

AWS Data Exports and the legacy CUR ("create new" versions) and Azure exports write the whole month
again with every run, into a folder of a new name. Added up they count a bill many times. Here each
file gets the moment of its delivery and the stream that the deliveries replace each other in, from
folder names and from the manifests that the vendors put beside their files. Nothing is opened.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import PurePosixPath

from finops_lab.errors import InputError
from finops_lab.ingestion._manifest_texts import Manifest, parsed, spelled

__all__ = ["OUTDATED", "WAITING", "Place", "places"]

# A file that its delivery does not hold any more: what was read from it goes.
OUTDATED = "outdated"
# A file of a delivery that is not complete yet, while a complete one counts.
WAITING = "waiting"

_GUID = r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
# Colons do not survive in folder names everywhere.
_AWS = re.compile(rf"(\d{{4}}-\d\d-\d\dT)(\d\d)[:_-](\d\d)[:_-](\d\d)(\.\d+)?Z-{_GUID}")
_COMPACT = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z")
_MINUTE = re.compile(r"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)")
_PERIOD = re.compile(r"\d{8}-\d{8}")
_RUN = re.compile(_GUID)
# Azure's older exports write a file of a new name beside the others each day.
_RUN_FILE = re.compile(rf"(.+)_{_GUID}(\..+)")
_DELIVERED = re.compile(r"delivered=.*")


@dataclass(frozen=True)
class Place:
    """What a file's place says of it.

    `stream` is its folder without the parts that change with every delivery. `moment` sorts as
    text. `status` is None for a file to read, else `OUTDATED` or `WAITING`, and `why` tells.
    """

    stream: str
    moment: str | None = None
    status: str | None = None
    why: str = ""


@dataclass(frozen=True)
class _File:
    """A file's folders, told apart. `group` is the stream with its ``delivered=`` folders."""

    name: str
    folder: tuple[str, ...]
    group: tuple[str, ...]
    moment: str | None
    run: str | None


@dataclass(frozen=True)
class _Delivery:
    """The files that a manifest lists: those that are here, and those that are missing."""

    manifest: Manifest
    names: tuple[str, ...]
    missing: tuple[str, ...]
    files: tuple[_File, ...]
    of_period: bool

    @property
    def moment(self) -> str | None:
        return max((file.moment for file in self.files if file.moment), default=None)


def places(names: Sequence[str], manifests: Mapping[str, str]) -> dict[str, Place]:
    """Tell the delivery of every file.

    Parameters
    ----------
    names : sequence of str
        Paths of data files, parts divided by ``/``.
    manifests : mapping
        Texts of the files that may be manifests, by their paths.

    Returns
    -------
    dict
        A place for each name.

    Raises
    ------
    InputError
        When a manifest cannot be read; when a delivery is incomplete and no complete one is here;
        when snapshots of one period lie side by side and nothing tells which is the newest.
    """
    read = (parsed(name, text) for name, text in sorted(manifests.items()))
    known = [manifest for manifest in read if manifest is not None]
    runs = {manifest.folders: manifest for manifest in known if manifest.moment is not None}
    files = {name: _file(name, runs) for name in names}
    found = {name: Place(_stream(file, runs), file.moment) for name, file in files.items()}
    deliveries = _deciding(list(_deliveries(known, files)))
    by_folder: dict[tuple[str, ...], list[_File]] = {}
    by_group: dict[tuple[str, ...], list[_File]] = {}
    for file in files.values():
        by_folder.setdefault(file.folder, []).append(file)
        by_group.setdefault(file.group, []).append(file)
    whole = {name for delivery in deliveries if not delivery.missing for name in delivery.names}
    for delivery in deliveries:
        beside = [f for folder in sorted({f.folder for f in delivery.files}) for f in by_folder[folder]]
        _leave(found, beside, delivery, OUTDATED)
        if delivery.of_period:
            for group in sorted({f.group for f in delivery.files}):
                _settle_period(found, by_group[group], delivery, whole)
    for delivery in deliveries:
        if delivery.missing:
            _settle_incomplete(found, by_group, delivery, deliveries)
    # The manifest in a run's own folder does not tell whether the run is the newest.
    listed = {name for delivery in deliveries if delivery.of_period for name in delivery.names}
    for group, members in sorted(by_group.items()):
        _settle_runs(found, group, members, listed)
    return found


def _file(name: str, runs: Mapping[tuple[str, ...], Manifest]) -> _File:
    folder = PurePosixPath(name).parts[:-1]
    group: list[str] = []
    moment = run = None
    in_period = False
    for place, part in enumerate(folder):
        manifest = runs.get(folder[: place + 1])
        changing = _moment_of(part, in_period)
        if changing is not None:
            moment = changing
        elif _is_run(part, manifest, in_period):
            run = part
        else:
            group.append(part)
            in_period = in_period or bool(_PERIOD.fullmatch(part))
            continue
        # A run's manifest knows the moment better than the minute in a folder's name. Where the
        # folder's name stays, a part that did not change would look older than the others: no moment.
        if manifest is not None and run is not None:
            moment = manifest.moment
    return _File(name, folder, tuple(group), moment, run)


def _is_run(part: str, manifest: Manifest | None, in_period: bool) -> bool:
    if manifest is not None and manifest.run is not None and part.lower() == manifest.run.lower():
        return True
    return bool(_RUN.fullmatch(part)) and (in_period or manifest is not None)


def _moment_of(part: str, in_period: bool) -> str | None:
    if (aws := _AWS.fullmatch(part)) is not None:
        day, hour, minute, second, fraction = aws.groups()
        return spelled(f"{day}{hour}:{minute}:{second}{fraction or ''}Z")
    # Twelve digits alone are an AWS account.
    match = _COMPACT.fullmatch(part) or (_MINUTE.fullmatch(part) if in_period else None)
    if match is None:
        return None
    try:
        return spelled(datetime(*map(int, match.groups())).isoformat())  # type: ignore[arg-type]
    except ValueError:
        return None


def _stream(file: _File, runs: Mapping[tuple[str, ...], Manifest]) -> str:
    parts = [part for part in file.group if not _DELIVERED.fullmatch(part)]
    manifest = runs.get(file.folder)
    # Runs of different weeks lie side by side where the period's folder was not copied along.
    if file.run and manifest and manifest.start and not any(_PERIOD.fullmatch(p) for p in parts):
        parts.append(manifest.start)
    return "/".join(parts)


def _deliveries(known: Iterable[Manifest], files: Mapping[str, _File]) -> Iterator[_Delivery]:
    for manifest in known:
        names = _local(manifest, files)
        here = tuple(files[name] for name in names if name in files)
        # Of a delivery of which nothing was copied there is nothing to say.
        if here:
            missing = tuple(name for name in names if name not in files)
            above = _file(manifest.name, {})
            of_period = manifest.moment is None and above.moment is None and above.run is None
            yield _Delivery(manifest, names, missing, here, of_period)


def _local(manifest: Manifest, files: Mapping[str, _File]) -> tuple[str, ...]:
    """Return the names that the listed files have, or would have, here.

    The copy begins somewhere below the vendor's bucket: the folder above the manifest and the end
    of the keys that fit most files are taken, the deepest folder and the longest end first.
    """
    keys = [tuple(p for p in key.partition("://")[2].split("/") if p) for key in _addressed(manifest)]
    folders = manifest.folders
    best: tuple[str, ...] = ()
    most = 0
    longest = max((len(key) for key in keys), default=0)
    for depth in range(len(folders), -1, -1):
        for cut in range(longest):
            # A bare name means a file beside the manifest, never one in a folder above.
            names = tuple(
                "/".join((*folders[:depth], *key[cut:]))
                for key in keys
                if len(key) > cut + (depth < len(folders))
            )
            if len(names) == len(keys) and (fit := sum(name in files for name in names)) > most:
                best, most = names, fit
    return best


def _addressed(manifest: Manifest) -> Iterator[str]:
    for key in manifest.listed:
        yield key if "://" in key else f"://{key}"


def _deciding(deliveries: list[_Delivery]) -> list[_Delivery]:
    """Keep one manifest per folder: the period's own before copies of earlier runs, then the newest."""
    first: dict[tuple[str, ...], _Delivery] = {}

    def rank(delivery: _Delivery) -> tuple[bool, str, str]:
        moment = delivery.manifest.moment or _file(delivery.manifest.name, {}).moment or ""
        return delivery.of_period, moment, delivery.manifest.name

    for delivery in sorted(deliveries, key=rank, reverse=True):
        for folder in {file.folder for file in delivery.files}:
            first.setdefault(folder, delivery)
    return [d for d in deliveries if all(first[file.folder] is d for file in d.files)]


def _leave(found: dict[str, Place], files: Iterable[_File], delivery: _Delivery, status: str) -> None:
    for file in files:
        if file.name not in delivery.names and found[file.name].status is None:
            why = f"not listed by {delivery.manifest.name}: not read"
            found[file.name] = replace(found[file.name], status=status, why=why)


def _settle_period(
    found: dict[str, Place], members: Sequence[_File], delivery: _Delivery, whole: Collection[str]
) -> None:
    """Judge what else lies in a period whose manifest names the current delivery."""
    newest = delivery.moment
    # A manifest is written last: what is newer and has none is being written, or copied, just now.
    newer = [f for f in members if newest and (f.moment or "") > newest and f.name not in whole]
    _leave(found, newer, delivery, WAITING)
    # Older snapshots are read, and replaced by the current one.
    _leave(found, (f for f in members if not (newest and f.moment)), delivery, OUTDATED)


def _settle_incomplete(
    found: dict[str, Place],
    by_group: Mapping[tuple[str, ...], Sequence[_File]],
    delivery: _Delivery,
    deliveries: Sequence[_Delivery],
) -> None:
    """Hold back a delivery that lacks files while a complete one counts; never count a part of one."""
    torn = {name for d in deliveries if d.missing for name in d.names}
    whole = [
        f.moment
        for group in {f.group for f in delivery.files}
        for f in by_group[group]
        if f.name not in torn and f.moment and found[f.name].status is None
    ]
    if delivery.moment is None or not whole:
        raise InputError(
            f"the delivery is incomplete: {delivery.missing[0]} is listed and not here"
            + (f", nor are {len(delivery.missing) - 1} more" if len(delivery.missing) > 1 else ""),
            file=delivery.manifest.name,
            hint="copy the whole delivery again, the manifest last",
        )
    status = WAITING if max(whole) < delivery.moment else OUTDATED
    why = f"{delivery.manifest.name} lists {delivery.missing[0]}, which is not here: incomplete, not read"
    for file in delivery.files:
        found[file.name] = replace(found[file.name], status=status, why=why)


def _settle_runs(
    found: dict[str, Place], group: tuple[str, ...], members: Sequence[_File], listed: set[str]
) -> None:
    """Refuse to guess the newest of runs that only an id tells apart."""
    silent: dict[str, set[str]] = {}
    files = {file.name: file for file in members}
    for file in members:
        place = found[file.name]
        if place.status is not None or place.moment is not None or file.name in listed:
            continue
        in_file = _RUN_FILE.fullmatch(PurePosixPath(file.name).name)
        if file.run is not None:
            silent.setdefault("", set()).add(file.name)
        elif in_file and any(_PERIOD.fullmatch(part) for part in group):
            silent.setdefault("_".join(in_file.groups()), set()).add(file.name)
    # A manifest is written last, so a run without one may be half a run.
    if any(f.moment and found[f.name].status is None for f in members):
        for name in sorted(name for names in silent.values() for name in names):
            why = "nothing tells when this run was made, and other runs are dated: not read"
            found[name] = replace(found[name], status=WAITING, why=why)
        return
    for names in silent.values():
        runs = {files[name].run or name for name in names}
        if len(runs) > 1:
            raise InputError(
                f"{len(runs)} runs of one export and period, and nothing tells which is the newest",
                file="/".join(group),
                hint="copy the manifests too, keep the newest run only, "
                "or put each into a folder delivered=YYYY-MM-DD",
            )
