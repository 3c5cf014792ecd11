"""Files that several labs hold: which one comes into the portal, so that a bill counts once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from finops_lab.errors import InputError
from finops_lab.ingestion.delivered import Delivered
from finops_lab.ingestion.lake import Unit
from finops_lab.merging.reading import Reading

__all__ = ["Left", "left_out"]


@dataclass(frozen=True)
class Left:
    """A file that is not brought into the portal: what counts in its place, and why.

    `twin` is the (lab, path) of the file of equal content, None for the rest of a stream of
    deliveries whose place another lab's stream takes.
    """

    twin: tuple[str, str] | None
    lab: str
    why: str


@dataclass(frozen=True)
class _Stream:
    """The bill files of a lab that replace each other, by content."""

    lab: Reading
    name: str
    paths: dict[str, str]

    @property
    def managed(self) -> bool:
        """Whether the files are deliveries of which some replace others."""
        dated = any(item.delivered_on for item in self.lab.of_stream(self.name))
        return dated or self.lab.has_manifests

    @property
    def units(self) -> set[Unit]:
        return {unit for path in self.paths.values() for unit in self.lab.bills[path].units}


def left_out(labs: Sequence[Reading], prefer: str | None) -> dict[tuple[str, str], Left]:
    """Choose the files that stay out of the portal, since the portal has their content already.

    Equal content is brought in once: from the preferred lab, else from the first. Where files
    are deliveries that replace each other, a whole stream stays out or none of it: without one of
    its deliveries another would count again. Of two streams, one that holds all contents of the
    other takes its place.

    Parameters
    ----------
    labs : sequence of Reading
        The labs, in order.
    prefer : str, optional
        The lab whose files come in where there is a choice.

    Returns
    -------
    dict
        By lab and path.

    Raises
    ------
    InputError
        When two labs hold some deliveries of one export in common and others not, so that nothing
        tells which is newer, and `prefer` names neither; or the preferred one lacks charges.
    """
    ordered = sorted(labs, key=lambda lab: lab.name != prefer)
    streams = [_Stream(lab, name, paths) for lab in ordered for name, paths in _streams(lab).items()]
    out: dict[tuple[str, str], Left] = {}
    kept: dict[str, tuple[str, str]] = {}

    def last(stream: _Stream) -> bool:
        return stream.lab.name != prefer and any(
            other.lab is not stream.lab and other.paths.keys() > stream.paths.keys() for other in streams
        )

    for stream in sorted(streams, key=last):
        lab = stream.lab.name
        shared = {sha: kept[sha] for sha in stream.paths if sha in kept and kept[sha][0] != lab}
        if shared and stream.managed:
            if len(shared) < len(stream.paths):
                _settle_fork(stream, shared, labs, prefer)
            holder = next(iter(shared.values()))[0]
            why = f"{holder} holds the deliveries of this export"
            out |= {(lab, i.name): Left(None, holder, why) for i in stream.lab.of_stream(stream.name)}
        else:
            kept |= {sha: (lab, path) for sha, path in stream.paths.items() if sha not in shared}
    for reading in ordered:
        for item in reading.items:
            if item.status is None and item.name in reading.read and (reading.name, item.name) not in out:
                kept.setdefault(item.sha256, (reading.name, item.name))
    by_name = {reading.name: reading for reading in labs}
    for reading in ordered:
        for item in reading.items:
            twin = kept.get(item.sha256)
            # Copies within one lab are for ingestion to pass over, in the portal as in the lab.
            if twin is None or twin[0] == reading.name:
                continue
            if item.status is None or (reading.name, item.name) in out:
                _read_alike(reading, item, twin, by_name[twin[0]])
                out[reading.name, item.name] = Left(twin, twin[0], f"same content as {'/'.join(twin)}")
    return out


def _streams(lab: Reading) -> dict[str, dict[str, str]]:
    """Return the paths of the lab's bill files by stream and content."""
    found: dict[str, dict[str, str]] = {}
    for item in lab.items:
        if item.status is None and item.name in lab.bills:
            found.setdefault(item.stream, {}).setdefault(item.sha256, item.name)
    return found


def _read_alike(lab: Reading, item: Delivered, twin: tuple[str, str], other: Reading) -> None:
    """Refuse one content that two labs' column maps turn into different charges, such as two accounts."""
    said = next(i.settings.columns for i in other.items if i.name == twin[1])
    one, two = (c.model_dump(exclude={"path"}) if c else None for c in (item.settings.columns, said))
    if one != two:
        raise InputError(
            f"{'/'.join(twin)} has the same content, "
            f"and [[columns]] of {lab.name} and {other.name} read it differently",
            file=f"{lab.name}/{item.name}",
            hint="keep the file in one of the labs, or let them read it alike",
        )


def _settle_fork(
    stream: _Stream, shared: dict[str, tuple[str, str]], labs: Sequence[Reading], prefer: str | None
) -> None:
    """Refuse to guess between streams that parted, unless one is preferred and lacks nothing."""
    holders = sorted({lab for lab, _ in shared.values()})
    where = f"{stream.lab.name}/{stream.name}"
    if prefer not in holders:
        raise InputError(
            f"{stream.lab.name} and {', '.join(holders)} hold some deliveries of one export in common "
            f"({len(shared)} of {len(stream.paths)} files) and others not: nothing tells whose is the newest",
            file=where,
            hint="bring both labs to the same deliveries, or say which lab to prefer",
        )
    known = {unit for lab in labs if lab.name == prefer for e in lab.bills.values() for unit in e.units}
    if lost := sorted(stream.units - known):
        told = "; ".join(f"{unit.provider} / {unit.account} / {unit.month}" for unit in lost[:3])
        raise InputError(
            f"{prefer} is preferred for this export but lacks {len(lost)} of its accounts and months: {told}",
            file=where,
            hint="bring both labs to the same deliveries",
        )
