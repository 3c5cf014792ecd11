"""Alerts written to files and sent to servers, each once."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from finops_lab.alerting._posting import Address, NotDelivered, address_of, post
from finops_lab.alerting.payloads import alertmanager_alert, json_line, record, slack_message
from finops_lab.alerting.schemas import ALERTS, DELIVERIES
from finops_lab.config import Sink
from finops_lab.errors import InputError

__all__ = ["STATE_FILE", "write_alerts"]

STATE_FILE = "alerts.sent"
_FORMAT = 1
_RANK = {"ticket": 0, "page": 1}
_Sent = dict[str, dict[str, Any]]  # by the id it was sent under


def write_alerts(
    alerts: pl.DataFrame,
    sinks: Sequence[Sink],
    *,
    folder: str | Path,
    now: datetime,
    environ: Mapping[str, str] | None = None,
    pause_s: float = 1.0,
) -> pl.DataFrame:
    """Send the alerts that are to be told to the sinks that want them, each once.

    What was sent stands in ``alerts.sent`` in the folder, saved after every delivery. An alert is sent
    again only where it has become a page. It counts as sent where one of its events was: it keeps
    the id that the sink knows. Alertmanager is told anew while an alert goes on, before it would take
    it for over, and when it ends. Without sinks nothing is contacted and nothing written.

    Parameters
    ----------
    alerts : polars.DataFrame
        `finops_lab.alerting.schemas.ALERTS`; rows whose state is ``send`` are sent.
    sinks : sequence of Sink
        ``[[sinks]]`` of `finops.toml`. Only their addresses are contacted.
    folder : str or pathlib.Path
        The lab's folder: of ``alerts.sent``, and of the paths of files.
    now : datetime.datetime
        With a time zone.
    environ : mapping, optional
        Where variables are looked up; the environment by default.
    pause_s : float
        Before a second try.

    Returns
    -------
    polars.DataFrame
        `finops_lab.alerting.schemas.DELIVERIES`, in the order of sinks and alerts.

    Raises
    ------
    InputError
        A variable is not set, ``alerts.sent`` is not readable, a file lies outside of the folder or
        cannot be written, or another run is sending. Nothing is sent then.
    NotDelivered
        A server did not take an alert. All others were tried; a further run sends what is left.

    Examples
    --------
    >>> import tempfile
    >>> none = pl.DataFrame(schema=ALERTS)
    >>> write_alerts(none, [], folder=tempfile.gettempdir(), now=datetime(2026, 10, 5, tzinfo=UTC)).height
    0
    """
    if now.tzinfo is None:
        raise InputError("the present moment has no time zone", hint="give now in UTC")
    for name in ALERTS:
        if name not in alerts.columns:
            raise InputError("alerts need it", column=name)
    if not sinks:
        return pl.DataFrame(schema=DELIVERIES)
    now, home = now.astimezone(UTC), Path(folder)
    variables = os.environ if environ is None else environ
    # Everything that can be wrong before anything is sent.
    places = {s.name: _place(s, home) if s.kind == "file" else address_of(s, variables) for s in sinks}
    rows = alerts.rows(named=True)
    made: list[tuple[str, ...]] = []
    failed: list[str] = []
    with _alone(home):
        state = _State(home / STATE_FILE)
        for sink in sinks:
            wanted = [row for row in rows if _wants(sink, row)]
            for number, row in enumerate(wanted):
                try:
                    made += _deliver(sink, places[sink.name], row, state, now, pause_s)
                except NotDelivered as error:
                    left = 1 if error.others else len(wanted) - number
                    wait = "alert waits" if left == 1 else "alerts wait"
                    failed.append(f"sink {sink.name!r} {error}, {left} {wait} for the next run")
                    if not error.others:
                        break  # a server that is away is not asked once more for every alert
    if failed:
        raise NotDelivered("; ".join(failed), hint="run it again: what was sent is not sent twice")
    return pl.DataFrame(made, schema=DELIVERIES, orient="row")


def _wants(sink: Sink, row: Mapping[str, Any]) -> bool:
    named = row["sinks"] is None or sink.name in row["sinks"]
    return named and row["state"] in ("send", "closed") and row["severity"] in sink.severities


def _deliver(
    sink: Sink, place: Path | Address, row: Mapping[str, Any], state: _State, now: datetime, pause_s: float
) -> Iterator[tuple[str, ...]]:
    sent = state.of(sink.name)
    name = next((known for known, said in sent.items() if _same(known, said, row)), None)
    before = sent[name] if name is not None else None
    raised = before is not None and _RANK[row["severity"]] > _RANK[before["severity"]]
    if row["state"] == "closed":
        if before is None or sink.kind != "alertmanager":
            return
        # Judged by people: Alertmanager need not go on about it.
        row = {**row, "severity": before["severity"], "end": min(row["end"] or now, now)}
    elif before is not None and not raised and sink.kind != "alertmanager":
        yield sink.name, str(name), before["severity"], "sent before"
        return
    name = name or row["id"]
    outcome = "sent"
    until: str | None = None
    labels: dict[str, str] | None = None
    if isinstance(place, Path):
        _append(place, row, name)
    elif sink.kind == "alertmanager":
        hold = timedelta(hours=sink.hold_hours)
        known = before["labels"] if before is not None else None
        resolve = before is not None and not raised
        told = alertmanager_alert(row, now, hold, name=name, labels=known, resolve=resolve)
        outcome = "sent" if before is None or raised else "resolved" if row["end"] is not None else "extended"
        if before is not None and not raised and not _due(before, told, row, now, hold):
            yield sink.name, name, before["severity"], "sent before"
            return
        bodies = [told]
        if raised and before is not None:
            # Another severity is another alert there: the one before is over.
            bodies.insert(0, told | {"labels": before["labels"], "endsAt": record({"now": now})["now"]})
        post(sink, place, bodies, f"{name}-{row['severity']}-{told['endsAt']}", pause_s)
        until, labels = told["endsAt"], told["labels"]
    else:
        body = slack_message(row, name) if sink.kind == "slack" else record(row, name)
        post(sink, place, body, f"{name}-{row['severity']}", pause_s)
    state.add(sink.name, name, row, now, until, labels)
    yield sink.name, name, row["severity"], outcome


def _same(known: str, said: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    return known == row["id"] or not {known, *said["events"]}.isdisjoint(row["events"])


def _due(
    before: Mapping[str, Any], told: Mapping[str, Any], row: Mapping[str, Any], now: datetime, hold: timedelta
) -> bool:
    """Tell whether Alertmanager has to hear of an alert again."""
    until = datetime.fromisoformat(before["until"])
    if row["end"] is not None:
        return until > now and told["endsAt"] != before["until"]
    return until < now + hold / 2


def _place(sink: Sink, home: Path) -> Path:
    place = home / (sink.path or "")
    if not place.resolve().is_relative_to(home.resolve()):
        raise InputError(
            f"sink {sink.name!r}: {sink.path} lies outside of the lab", hint="write a path in it"
        )
    if not place.parent.is_dir() or place.is_dir():
        raise InputError(f"sink {sink.name!r}: cannot be written", file=place, hint="make its folder first")
    return place


def _append(place: Path, row: Mapping[str, Any], name: str) -> None:
    try:
        before = place.read_bytes() if place.exists() else b""
    except OSError as error:
        raise NotDelivered(f"cannot be read: {error.strerror}") from None
    if before and not before.endswith(b"\n"):
        before += b"\n"
    _replace(place, before + json_line(record(row, name)).encode() + b"\n")


def _replace(place: Path, content: bytes) -> None:
    partial = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        partial.write_bytes(content)
        os.replace(partial, place)
    except OSError as error:
        raise NotDelivered(f"cannot be written: {error.strerror}", file=place) from None
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    try:
        held = os.open(home, os.O_RDONLY)
    except OSError as error:
        raise InputError(f"cannot be opened: {error.strerror}", file=home) from None
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError("another run is sending alerts of this lab", file=home) from None
        yield
    finally:
        os.close(held)


class _State:
    """What was sent: by sink and id the severity, the events, and what Alertmanager knows of it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.sinks: dict[str, _Sent] = {}
        if not file.exists():
            return
        try:
            held = json.loads(file.read_bytes())
            if held["format"] != _FORMAT:
                raise ValueError
            self.sinks = {sink: dict(sent) for sink, sent in held["sinks"].items()}
            for said in (said for sent in self.sinks.values() for said in sent.values()):
                _RANK[said["severity"]], said["events"], said["until"], said["labels"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            hint = "put back a copy; without the file all alerts that are still told are sent again"
            raise InputError("does not tell what was sent", file=file, hint=hint) from None

    def of(self, sink: str) -> _Sent:
        return self.sinks.get(sink, {})

    def add(
        self,
        sink: str,
        name: str,
        row: Mapping[str, Any],
        now: datetime,
        until: str | None,
        labels: Mapping[str, str] | None,
    ) -> None:
        sent = self.sinks.setdefault(sink, {})
        events = sorted({*sent.get(name, {}).get("events", ()), *row["events"]})
        at = record({"at": now})["at"]
        sent[name] = {
            "severity": row["severity"], "at": at, "events": events, "until": until, "labels": labels
        }  # fmt: skip
        said = {"format": _FORMAT, "sinks": self.sinks}
        _replace(self.file, (json.dumps(said, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode())
