"""Kubernetes Events as changes of size and as spot interruptions.

Sources of reasons and messages: kube-controller-manager (SuccessfulRescale of the horizontal pod
autoscaler, ScalingReplicaSet of Deployments); KEDA's event reference (KEDAScaleTargetActivated and
-Deactivated); cluster autoscaler (ScaledUpGroup, TriggeredScaleUp); Karpenter's node claims
(Launched, Ready, DisruptionTerminating) and its interruption events (SpotInterrupted,
SpotRebalanceRecommendation, and the names they had before); AWS Node Termination Handler
(SpotInterruption, RebalanceRecommendation); Azure's node problem detector (PreemptScheduled).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from finops_lab.ingestion import _json
from finops_lab.ingestion.platform import _records
from finops_lab.ingestion.platform._records import inside

__all__ = ["scale_events", "spot_evictions"]

Row = dict[str, Any]

_SECOND = 1_000_000
_NEW_SIZE = re.compile(r"New size: ([0-9]{1,9})(?:; reason: (.*))?", re.DOTALL)
_REPLICA_SET = re.compile(
    r"Scaled (?:up|down) replica set (\S+) (?:to ([0-9]{1,9})(?: from ([0-9]{1,9}))?|from ([0-9]{1,9}) to ([0-9]{1,9}))"
)
_KEDA = re.compile(r"(?:Scaled|Deactivated) \S+ (?:[^/\s]+/)?(\S+) from ([0-9]{1,9}) to ([0-9]{1,9})")
_GROUP = re.compile(
    r"Scale-up: (?:setting group (\S+) size to ([0-9]{1,9})(?: instead of ([0-9]{1,9}))?.*"
    r"|group (\S+) size set to ([0-9]{1,9})(?: instead of ([0-9]{1,9}))?.*)"
)
_TRIGGERED = re.compile(r"\{(\S+) ([0-9]{1,9})->([0-9]{1,9})\b")
_BECAME = re.compile(r"Type: (\w+), Status: \w+ -> True\b")
# kind of eviction, provider, seconds from notice to loss
_SPOT: Mapping[str, tuple[str, str, int]] = {
    "SpotInterrupted": ("interruption", "aws", 120),
    "InstanceSpotInterrupted": ("interruption", "aws", 120),
    "SpotInterruption": ("interruption", "aws", 120),
    "SpotRebalanceRecommendation": ("rebalance", "aws", 0),
    "InstanceSpotRebalanceRecommendation": ("rebalance", "aws", 0),
    "RebalanceRecommendation": ("rebalance", "aws", 0),
    "PreemptScheduled": ("interruption", "azure", 30),
}
_LATER = {
    120: "ts_lost: two minutes after the notice, as EC2 documents; the event does not tell it",
    30: "ts_lost: 30 seconds after the notice, the least that Azure documents; the event does not tell it",
    0: "ts_lost: a recommendation takes nothing yet, this is when it was given",
}
_MERGED = "the Deployment's own event of the same change is merged in"


@dataclass(frozen=True)
class _Event:
    """One event, once per moment it is known to have happened at."""

    row: int
    line: str
    at: int | None
    kind: str
    name: str
    space: str | None
    reason: str
    message: str
    labels: Mapping[str, Any] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def near(self, other: _Event, seconds: int) -> bool:
        """Tell whether this event is at most some seconds away from another."""
        return self.at is not None and other.at is not None and abs(self.at - other.at) <= seconds * _SECOND


@dataclass(frozen=True)
class _Change:
    """A change of size: of which pool, from and to how many."""

    event: _Event
    scaler: str
    pool: str
    unit: str
    before: int | None = None
    after: int | None = None
    reason: str | None = None
    ready: int | None = None
    replica_set: str | None = None
    notes: tuple[str, ...] = ()


def scale_events(objects: Iterator[Row]) -> Iterator[Row]:
    """Return a row for each change of size that the events tell."""
    left: Counter[str] = Counter()
    changes: list[_Change] = []
    events = _events(objects)
    for event in events:
        found = _changes(event)
        changes += found
        if not found and event.reason not in _SPOT and _became(event) != "Ready":
            left["events that tell no change of size, left out"] += 1
    changes = _without_repeats(changes, left)
    changes = _merged(changes)
    changes = _without_rollouts(changes, left)
    rows = [_row(change) for change in _ready(changes, events)]
    notes = [f"{text}: {n}" for text, n in sorted(left.items())]
    yield from _records.told_at_the_end(sorted(rows, key=lambda row: row["source_row"]), lambda: notes)


def _row(change: _Change) -> Row:
    event = change.event
    return {
        "source_row": event.row,
        "line": event.line,
        "ts_decision": event.at,
        "ts_ready": change.ready,
        "pool_id": change.pool or None,
        "namespace": event.space,
        "scaler": change.scaler,
        "from_units": None if change.before is None else float(change.before),
        "to_units": None if change.after is None else float(change.after),
        "unit": change.unit,
        "reason": change.reason,
        "reasons": list(event.faults),
        "notes": [*event.notes, *change.notes],
    }


def _changes(event: _Event) -> list[_Change]:
    """Read what an event says of sizes; nothing where it is of another kind."""
    if event.reason == "SuccessfulRescale" and (found := _NEW_SIZE.fullmatch(event.message)):
        keda = event.name.startswith("keda-hpa-")
        pool = event.name.removeprefix("keda-hpa-")
        return [_Change(event, "keda" if keda else "hpa", pool, "replica", None, int(found[1]), found[2])]
    if event.reason == "ScalingReplicaSet" and (found := _REPLICA_SET.match(event.message)):
        # Nothing tells who asked the Deployment to change: a person, or a scaler without events.
        after, before = found[2] or found[5], found[3] or found[4]
        change = _Change(event, "inferred", event.name, "replica", _int(before), _int(after), event.message)
        return [replace(change, replica_set=found[1])]
    if event.reason in ("KEDAScaleTargetActivated", "KEDAScaleTargetDeactivated") and (
        found := _KEDA.match(event.message)
    ):
        return [_Change(event, "keda", found[1], "replica", int(found[2]), int(found[3]), event.reason)]
    if event.reason == "ScaledUpGroup" and (found := _GROUP.match(event.message)):
        pool, after, before = found[1] or found[4], found[2] or found[5], found[3] or found[6]
        return [_Change(event, "cluster_autoscaler", pool, "node", _int(before), int(after), event.reason)]
    if event.reason == "TriggeredScaleUp":
        return [
            _Change(event, "cluster_autoscaler", pool, "node", int(before), int(after), event.reason)
            for pool, before, after in _TRIGGERED.findall(event.message)
        ]
    if event.kind == "NodeClaim":
        pool = event.name.rpartition("-")[0] or event.name
        if _became(event) == "Launched":
            return [_Change(event, "karpenter", pool, "node", reason="one node more: Launched")]
        if event.reason == "DisruptionTerminating":
            return [_Change(event, "karpenter", pool, "node", reason=f"one node less: {event.message}")]
    return []


def _int(text: str | None) -> int | None:
    return None if not text else int(text)


def _became(event: _Event) -> str | None:
    """Return the condition that an event says has come true."""
    found = _BECAME.search(event.message)
    return found[1] if found else None


def _without_repeats(changes: list[_Change], left: Counter[str]) -> list[_Change]:
    """Keep one of the events by which the cluster autoscaler tells one change.

    It tells each pod that waited for it (TriggeredScaleUp), before it asks for the machines and
    when it has (ScaledUpGroup).
    """
    kept: dict[tuple[str, int | None], list[_Change]] = defaultdict(list)
    ours = [c for c in changes if c.scaler == "cluster_autoscaler"]
    # What tells the size before comes first, then the group's own events.
    for change in sorted(ours, key=lambda c: (c.before is None, c.reason != "ScaledUpGroup", c.event.row)):
        alike = kept[change.pool, change.after]
        if any(_same(change, other) and change.event.near(other.event, 600) for other in alike):
            left["events that repeat a change of the cluster autoscaler, left out"] += 1
        else:
            alike.append(change)
    return [c for c in changes if c.scaler != "cluster_autoscaler"] + [
        c for alike in kept.values() for c in alike
    ]


def _same(one: _Change, other: _Change) -> bool:
    return one.before is None or other.before is None or one.before == other.before


def _merged(changes: list[_Change]) -> list[_Change]:
    """Put the Deployment's event of a change to the scaler's own: the first knows the size before.

    They belong together when the size and the namespace are the same and the Deployment follows
    within a minute; by name, or where no other can be meant.
    """
    deployed: dict[tuple[str | None, int | None], list[_Change]] = defaultdict(list)
    for change in changes:
        if change.replica_set:
            deployed[change.event.space, change.after].append(change)
    used: set[int] = set()
    done: list[_Change] = []
    for change in changes:
        if change.replica_set:
            continue
        if change.scaler in ("hpa", "keda"):
            alike = deployed[change.event.space, change.after]
            fits = [d for d in alike if id(d) not in used and d.event.near(change.event, 60)]
            named = [d for d in fits if d.pool == change.pool]
            if len(named or fits) == 1:
                found = (named or fits)[0]
                used.add(id(found))
                before = found.before if change.before is None else change.before
                change = replace(change, pool=found.pool, before=before, notes=(_MERGED,))
        done.append(change)
    return done + [c for c in changes if c.replica_set and id(c) not in used]


def _without_rollouts(changes: list[_Change], left: Counter[str]) -> list[_Change]:
    """Leave out the steps of a rollout: a Deployment then moves its pods between two replica sets."""
    deployed: dict[tuple[str | None, str], list[_Change]] = defaultdict(list)
    for change in changes:
        if change.replica_set:
            deployed[change.event.space, change.pool].append(change)
    steps = {
        id(one)
        for own in deployed.values()
        for one in own
        if any(o.replica_set != one.replica_set and o.event.near(one.event, 3600) for o in own)
    }
    if steps:
        left["steps of rollouts, no changes of size, left out"] += len(steps)
    return [c for c in changes if id(c) not in steps]


def _ready(changes: list[_Change], events: Iterable[_Event]) -> Iterator[_Change]:
    """Add when Karpenter's node claims became ready."""
    moments: dict[str, int] = {}
    for event in events:
        if event.kind == "NodeClaim" and event.at is not None and _became(event) == "Ready":
            moments.setdefault(event.name, event.at)
    for change in changes:
        at, launched = change.event.at, change.reason == "one node more: Launched"
        ready = moments.get(change.event.name) if launched else None
        yield replace(change, ready=ready if ready is not None and at is not None and ready >= at else None)


def spot_evictions(objects: Iterator[Row]) -> Iterator[Row]:
    """Return a row for each interruption or recommendation that the events tell.

    Karpenter tells an interruption of the node claim, of its node and of each pod on it: those
    of pods are left out, and that of the claim where there is one of a node within ten seconds.
    """
    told = [event for event in _events(objects) if event.reason in _SPOT]
    left: Counter[str] = Counter()
    nodes = [event for event in told if event.kind == "Node"]
    free = list(nodes)
    kept = []
    for event in told:
        if event.kind == "NodeClaim":
            node = next((n for n in free if n.reason == event.reason and n.near(event, 10)), None)
            if node is not None:
                free.remove(node)
                left["events of the NodeClaim of an interrupted node, left out"] += 1
                continue
        elif event.kind != "Node":
            left["events of pods on interrupted nodes, left out"] += 1
            continue
        kept.append(event)
    notes = [f"{text}: {n}" for text, n in sorted(left.items())]
    yield from _records.told_at_the_end((_eviction(event) for event in kept), lambda: notes)


def _eviction(event: _Event) -> Row:
    kind, provider, seconds = _SPOT[event.reason]
    lookup = event.labels.get
    return {
        "source_row": event.row,
        "line": event.line,
        "ts_notice": event.at,
        "ts_lost": None if event.at is None else event.at + seconds * _SECOND,
        "provider": provider,
        "region": _json.text(lookup("region")),
        "zone": _json.text(lookup("availability-zone")),
        "instance_type": _json.text(lookup("instance-type")),
        "instance_id": _json.text(lookup("instance-id")) or event.name or None,
        "gpu_count": _records.gpus_of(_json.text(lookup("instance-type")))[1],
        "kind": kind,
        "reasons": list(event.faults),
        "notes": [*event.notes, _LATER[seconds]],
    }


def _events(objects: Iterator[Row]) -> list[_Event]:
    """Read events, once per moment that is known; the versions of one event are taken together."""
    found: dict[str, dict[int | None, _Event]] = {}
    counts: dict[str, int] = {}
    for number, row in enumerate(objects):
        event = row["object"]
        meta = inside(event, "metadata")
        about = inside(event, "involvedObject") or inside(event, "regarding")
        faults: list[str] = []
        key = _json.text(meta.get("uid")) or f"row {number}"
        series = inside(event, "series")
        told = _json.count(series.get("count"), "count", faults) or _json.count(
            event.get("count", event.get("deprecatedCount")), "count", faults
        )
        counts[key] = max(counts.get(key, 1), told or 1)
        one = _Event(
            row=row["source_row"],
            line=row["line"],
            at=None,
            kind=_json.text(about.get("kind")) or "",
            name=_json.text(about.get("name")) or "",
            space=_json.text(about.get("namespace")) or _json.text(meta.get("namespace")),
            reason=_json.text(event.get("reason")) or "",
            message=_json.text(event.get("message")) or _json.text(event.get("note")) or "",
            labels=inside(meta, "annotations"),
        )
        for at in _moments(event, faults):
            found.setdefault(key, {}).setdefault(at, replace(one, at=at, faults=tuple(faults)))
    done: list[_Event] = []
    for key, moments in found.items():
        known = len(moments)
        if counts[key] > known:
            note = f"the event stands for {counts[key]} alike, {known} of their times are known"
            last = max(moments, key=lambda at: at or 0)
            moments[last] = replace(moments[last], notes=(note,))
        done += moments.values()
    return done


def _moments(event: Mapping[str, Any], faults: list[str]) -> list[int | None]:
    """Return the first and the last time of an event, which may be one."""
    first = (event.get("firstTimestamp"), event.get("deprecatedFirstTimestamp"), event.get("eventTime"))
    last = (
        inside(event, "series").get("lastObservedTime"),
        event.get("lastTimestamp"),
        event.get("deprecatedLastTimestamp"),
    )
    found: list[int | None] = []
    for names in (first, last):
        told = next((t for t in names if _json.text(t) is not None), None)
        at = _json.moment(told, "ts", faults)
        if at is not None and at not in found:
            found.append(at)
    if not found and not faults:
        made = inside(event, "metadata").get("creationTimestamp")
        if (at := _json.moment(made, "ts", faults)) is not None:
            found.append(at)
    if not found and not faults:
        faults.append("ts: the event has no time")
    return found or [None]
