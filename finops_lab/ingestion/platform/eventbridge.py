"""Spot interruptions out of Amazon EventBridge: events as a rule's target kept them.

Source: Amazon EC2 user guide, Spot Instance interruption notices and EC2 instance rebalance
recommendations, and the events that ``aws-node-termination-handler`` reads. An event is what the
rule delivered (JSON lines, an array, or events written one after the other), or the message of a
log group, queue or topic that holds it. The event's ARN has the availability zone where other ARNs
have the region, and no account. Delivery is at least once, so that an event may be there twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from finops_lab.ingestion import _json, _rows
from finops_lab.ingestion.platform import _records
from finops_lab.ingestion.registry import ReadSettings, Sample

__all__ = ["FORMAT", "TABLE", "matches", "read"]

FORMAT = "EventBridge spot events"
SOURCE = "Amazon EC2 user guide, Spot Instance interruption notices and rebalance recommendations; from documentation"
TABLE = "spot_evictions"

_WARNING = "EC2 Spot Instance Interruption Warning"
_KINDS = {_WARNING: "interruption", "EC2 Instance Rebalance Recommendation": "rebalance"}
# A text under one of these holds an event: CloudWatch Logs, Logs Insights, SNS, SQS.
_HOLDERS = ("message", "@message", "Message", "Body", "body")
_LISTS = ("events", "Messages", "Records", "results")
_NOTICE_US = 120 * 1_000_000
_ZONE = re.compile(r"[a-z]{2}(-[a-z0-9]+)*-[0-9]+[a-z]")
_LATER = "ts_lost: two minutes after the notice, as EC2 documents; the event does not tell it"
_NO_LOSS = "ts_lost: a recommendation takes nothing yet, this is when it was given"
_AT_ONCE = "ts_lost: hibernation begins with the notice"


def matches(sample: Sample) -> bool:
    """Tell whether a file holds events of spot interruptions or rebalance recommendations."""
    return any(
        _event_type(event) in _KINDS
        for head in _records.heads(sample, "detail-type", "EC2 ")
        for event in _events(head)
    )


def read(path: Path, settings: ReadSettings) -> pl.LazyFrame:
    """Read events as rows of the `spot_evictions` contract.

    ``ts_notice`` is the event's time. An instance to be terminated or stopped is lost two minutes
    later, one to be hibernated at once. Of a rebalance recommendation both times are the same.
    Events of other types and events delivered again are left out, and counted in a note.

    Parameters
    ----------
    path : pathlib.Path
        JSON or JSON lines, plain or gzip.
    settings : ReadSettings
        Not used.

    Returns
    -------
    polars.LazyFrame
        The contract without ``source_file``, and `RAW`, `REASONS`, `NOTES`. ``source_row`` counts
        events and broken lines from 1.

    Raises
    ------
    InputError
        When the file cannot be read.
    """
    return _rows.frame(TABLE, lambda: _read(path))


def _read(path: Path) -> Iterator[dict[str, Any]]:
    others, again = 0, 0
    seen: set[str] = set()

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal others, again
        row = 0
        for document in _records.documents(path):
            if document.fault is not None:
                row += 1
                yield _rows.broken(row, document.text, document.fault)
                continue
            for event in _events(document.value):
                row += 1
                kind = _event_type(event)
                if kind is None:
                    yield _rows.broken(row, _json.compact(event), "line: is not an event of EventBridge")
                elif kind not in _KINDS:
                    others += 1
                else:
                    found = _eviction(event, kind)
                    key = _json.text(event.get("id")) or _json.compact(event)
                    if key in seen:
                        again += 1
                        continue
                    seen.add(key)
                    yield {**found, "source_row": row, "line": _json.compact(event)}

    def tell() -> Iterator[str]:
        if others:
            yield f"events of other types, left out: {others}"
        if again:
            yield f"events delivered again (same id), left out: {again}"

    yield from _records.told_at_the_end(rows(), tell)


def _events(value: Any, depth: int = 0) -> Iterator[Any]:
    """Return the events of a document, out of whatever holds them; what holds none is returned."""
    if isinstance(value, list):
        # Logs Insights writes a record as a list of fields.
        fields = [v for v in value if isinstance(v, dict) and v.keys() >= {"field", "value"}]
        if fields and len(fields) == len(value):
            message = next((v["value"] for v in fields if v["field"] == "@message"), None)
            yield from _events({"@message": message}, depth + 1)
            return
        for item in value:
            yield from _events(item, depth + 1) if depth < 5 else ()
        return
    if isinstance(value, dict) and "detail-type" not in value and depth < 5:
        for name in _LISTS:
            if isinstance(value.get(name), list):
                yield from _events(value[name], depth + 1)
                return
        for name in _HOLDERS:
            if isinstance(said := value.get(name), str) and said.lstrip().startswith("{"):
                try:
                    yield from _events(_json.decode(said), depth + 1)
                except ValueError:
                    yield value
                return
    yield value


def _event_type(event: Any) -> str | None:
    return _json.text(event.get("detail-type")) if isinstance(event, dict) else None


def _eviction(event: Mapping[str, Any], kind: str) -> dict[str, Any]:
    faults: list[str] = []
    detail = _records.inside(event, "detail")
    notice = _json.moment(event.get("time"), "ts_notice", faults)
    action = _json.text(detail.get("instance-action"))
    if kind != _WARNING:
        lost, note = notice, _NO_LOSS
    elif action == "hibernate":
        lost, note = notice, _AT_ONCE
    else:
        lost, note = (None if notice is None else notice + _NOTICE_US), _LATER
    zone, instance = _arn(event.get("resources"))
    if notice is None and not faults:
        faults.append("ts_notice: missing or not readable")
    return {
        "ts_notice": notice,
        "ts_lost": lost,
        "provider": "aws",
        "region": _json.text(event.get("region")),
        "zone": zone,
        "instance_id": _json.text(detail.get("instance-id")) or instance,
        "kind": _KINDS[kind],
        "reasons": faults,
        "notes": [note],
    }


def _arn(resources: Any) -> tuple[str | None, str | None]:
    """Return zone and instance of ``arn:aws:ec2:us-east-2a:instance/i-0a``, and of a usual ARN."""
    for resource in resources if isinstance(resources, list) else ():
        parts = str(resource).split(":")
        place, _, instance = parts[-1].partition("/")
        if len(parts) >= 5 and parts[0] == "arn" and place == "instance" and instance:
            return (parts[3] if _ZONE.fullmatch(parts[3]) else None), instance
    return None, None
