"""Metrics fetched from a running Prometheus into files that the reader of such files reads.

Source: Prometheus' HTTP API, ``query_range`` and ``label/__name__/values``: at most 11,000 points
per series and answer, timestamps in seconds with milliseconds, errors as JSON with ``errorType``
and ``error``. Thanos, Mimir and VictoriaMetrics document the same API.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import Message
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

from finops_lab.config import Source
from finops_lab.errors import InputError, NoDataError
from finops_lab.ingestion._json import compact, short
from finops_lab.ingestion.platform import _prom_metrics

__all__ = ["fetch", "fetch_range"]

# Prometheus refuses an answer of more than 11,000 points per series.
_POINTS = 10_000
_MILLISECOND = timedelta(milliseconds=1)
_DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_COUNTER = re.compile(r"_(total|bucket|sum|count)\b")
_TIMEOUT_S = 60.0
_SAID = 300  # characters of a server's words that an error repeats


@dataclass(frozen=True)
class _Question:
    """What is asked for: PromQL, the metric it stands for, and whether that is a counter."""

    query: str
    name: str
    counter: bool


def fetch(source: Source, target: Path, now: datetime) -> None:
    """Copy the last days of a server, as ``[[sources]]`` of `finops.toml` names it.

    Whole days of UTC that ended before `now`, a file for each group of metrics and day. A day
    that was copied stays as it is: a server forgets old samples. New days arrive together.

    Parameters
    ----------
    source : Source
        ``url``; ``days`` and ``step_s``; ``queries``, PromQL by the metric that its answer stands
        for, or else every metric that the reader knows; ``options``, which are sent as headers.
    target : pathlib.Path
        Folder to write to.
    now : datetime.datetime
        When this runs.

    Raises
    ------
    InputError
        As `fetch_range`.
    NoDataError
        When the server has none of the metrics in these days, and no day was copied before.
    """
    end = _utc(now).replace(hour=0, minute=0, second=0, microsecond=0)
    first = end - source.days * _DAY
    server = _Server(source.url, dict(source.options), _TIMEOUT_S)
    groups = _groups(server, source.queries or None, first, end)
    with _arriving(target) as folder:
        for day in (first + n * _DAY for n in range(source.days)):
            until = day + _DAY
            kept = {group for group in groups if (target / _named(group, day, until)).exists()}
            absent = {group: asked for group, asked in groups.items() if group not in kept}
            _write(server, absent, day, until, source.step_s * 1000, folder)
    if not any(target.glob("*.jsonl")):
        raise _nothing(server, first, end)


def fetch_range(
    url: str,
    queries: Mapping[str, str] | Sequence[str] | None,
    start: datetime,
    end: datetime,
    step_s: float,
    target: Path,
    *,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = _TIMEOUT_S,
) -> list[Path]:
    """Ask a Prometheus server for a range of time, and write its answers as JSON lines.

    What rows are made of together lies in one file, and an answer of more than 10,000 points is
    asked for in parts that follow each other in it. Of counters the sample at `end` is asked for
    too, of everything else it is not: so ranges that follow each other count every increase and
    every interval once. A change of replicas between the last sample of one range and the first
    of the next is in neither.

    Parameters
    ----------
    url : str
        The server's address, with what stands before ``/api/v1`` (``https://example.com/prom``).
    queries : mapping of str to str, or sequence of str, optional
        Metric names or PromQL; or PromQL by the metric that its answer stands for, which names
        series that a query left without a name. Without it, every metric that the reader knows.
    start, end : datetime.datetime
        The range; without an offset, UTC.
    step_s : float
        Seconds between samples, a multiple of 0.001. The scrape interval loses nothing.
    target : pathlib.Path
        Folder to write to, made where it is absent.
    headers : mapping of str to str, optional
        Sent along, such as ``Authorization`` or ``X-Scope-OrgID``. Redirects are not followed,
        so that they reach nobody else.
    timeout_s : float
        How long to wait for the server to say something.

    Returns
    -------
    list of pathlib.Path
        The files, ``<group>-<start>-<end>.jsonl``, of groups that the server has series of. They
        appear when all queries are answered, or none does; those of an earlier call of that range
        are replaced.

    Raises
    ------
    InputError
        When a parameter makes no sense, the server cannot be reached, refuses a query (in its
        own words), or answers with something else.
    NoDataError
        When the server has none of the metrics in that range.
    """
    step = round(step_s * 1000) if 0.001 <= step_s < 1e9 else 0
    if step == 0 or abs(step_s * 1000 - step) > 1e-6:
        raise InputError(f"a step of {step_s} s is no positive multiple of 0.001 s")
    if _milliseconds(start, "start") >= _milliseconds(end, "end"):
        raise InputError(f"the range ends ({end}) before it begins ({start})")
    server = _Server(url, dict(headers or {}), timeout_s)
    with _arriving(target) as folder:
        written = _write(server, _groups(server, queries, start, end), start, end, step, folder)
    if not written:
        raise _nothing(server, start, end)
    return [target / name for name in written]


@contextmanager
def _arriving(target: Path) -> Iterator[Path]:
    """Yield a folder whose files move to the target in the end: a broken fetch leaves none."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as folder:
            yield Path(folder)
            for path in sorted(Path(folder).iterdir()):
                target.mkdir(exist_ok=True)
                os.replace(path, target / path.name)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", file=target) from None


def _nothing(server: _Server, start: datetime, end: datetime) -> NoDataError:
    return NoDataError(
        f"the server has none of these metrics from {_utc(start)} to {_utc(end)}",
        file=server.shown,
        hint="ask for the names it has (/api/v1/label/__name__/values), or for another range",
    )


def _groups(
    server: _Server, queries: Mapping[str, str] | Sequence[str] | None, start: datetime, end: datetime
) -> dict[str, list[_Question]]:
    if queries is not None:
        named = queries if isinstance(queries, Mapping) else {query: query for query in queries}
        own = [_Question(query, name, _is_counter(name)) for name, query in named.items()]
        return {"queries": own}
    groups: dict[str, list[_Question]] = {}
    for name in server.names(_milliseconds(start, "start"), _milliseconds(end, "end")):
        if (found := _prom_metrics.asked_for(name)) is not None:
            group, query = found
            groups.setdefault(group, []).append(_Question(query, name, _is_counter(name)))
    return groups


def _is_counter(name: str) -> bool:
    known = _prom_metrics.meaning(name, {})
    return known.subject in ("duration", "request") if known else _COUNTER.search(name) is not None


def _named(group: str, start: datetime, end: datetime) -> str:
    first, last = (moment.strftime("%Y%m%dT%H%M%SZ") for moment in (_utc(start), _utc(end)))
    return f"{group}-{first}-{last}.jsonl"


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _milliseconds(moment: datetime, name: str) -> int:
    found, rest = divmod(_utc(moment) - _EPOCH, _MILLISECOND)
    if rest:
        raise InputError(f"{name} {moment} is finer than a millisecond")
    return found


def _write(
    server: _Server,
    groups: Mapping[str, Sequence[_Question]],
    start: datetime,
    end: datetime,
    step: int,
    folder: Path,
) -> list[str]:
    """Write a file for each group that the server has series of; return their names."""
    first, last = _milliseconds(start, "start"), _milliseconds(end, "end")
    written: list[str] = []
    for group, asked in groups.items():
        path = folder / _named(group, start, end)
        found = False
        with path.open("w", encoding="utf-8") as stream:
            for answer in _answers(server, asked, first, last, step):
                found = True
                stream.write(compact(answer) + "\n")
        if found:
            written.append(path.name)
        else:
            path.unlink()
    return written


def _answers(
    server: _Server, asked: Sequence[_Question], first: int, last: int, step: int
) -> Iterator[dict[str, Any]]:
    for one in asked:
        for since, until in _parts(first, last if one.counter else last - 1, step):
            answer = server.range(one.query, since, until, step)
            for series in answer["data"]["result"]:
                if isinstance(series, dict) and isinstance(series.get("metric"), dict):
                    series["metric"].setdefault("__name__", one.name)
            if answer["data"]["result"]:
                yield answer


def _parts(first: int, last: int, step: int) -> Iterator[tuple[int, int]]:
    """Cut a range into parts that a server answers; no sample is in two of them."""
    for since in range(first, last + 1, _POINTS * step):
        yield since, min(last, since + (_POINTS - 1) * step)


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        """Follow none: credentials in headers are for the server that was named."""


@dataclass(frozen=True)
class _Server:
    url: str
    headers: dict[str, str]
    timeout_s: float

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            known = parts.scheme in ("http", "https") and bool(parts.hostname)
            named = parts.username is not None
        except ValueError:
            known = named = False
        if not known:
            raise InputError(
                f"{self.url!r} is no address of a server", hint="write it like http://localhost:9090"
            )
        if named or parts.query or parts.fragment:
            raise InputError(
                "the address of a server holds credentials or a query",
                hint="give credentials in headers, and the address as far as before /api/v1",
            )

    @property
    def shown(self) -> str:
        return self.url.rstrip("/")

    def names(self, since: int, until: int) -> list[str]:
        """Ask for the names of all metrics of a range."""
        asked = {"start": f"{since / 1000:.3f}", "end": f"{until / 1000:.3f}"}
        answer = self._answer("label/__name__/values", asked, "for the names of metrics")
        if not isinstance(answer.get("data"), list):
            raise self._other(answer)
        return [name for name in answer["data"] if isinstance(name, str)]

    def range(self, query: str, since: int, until: int, step: int) -> dict[str, Any]:
        """Ask one range query; return its answer, which holds a matrix."""
        asked = {
            "query": query,
            "start": f"{since / 1000:.3f}",
            "end": f"{until / 1000:.3f}",
            "step": f"{step / 1000:.3f}",
        }
        answer = self._answer("query_range", asked, short(query))
        data = answer.get("data")
        if not isinstance(data, dict) or not isinstance(data.get("result"), list):
            raise self._other(answer)
        return answer

    def _answer(self, method: str, asked: Mapping[str, str], what: str) -> dict[str, Any]:
        body = self._body(f"{self.shown}/api/v1/{method}?{urlencode(asked)}", what)
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        if isinstance(answer, dict) and answer.get("status") == "error":
            raise self._refused(what, _said(body))
        if not isinstance(answer, dict) or answer.get("status") != "success":
            raise self._other(body[:_SAID].decode(errors="replace").strip())
        return answer

    def _other(self, seen: Any) -> InputError:
        return InputError(
            f"does not answer as Prometheus does ({short(seen)})",
            file=self.shown,
            hint="give the address as far as before /api/v1",
        )

    def _body(self, address: str, what: str) -> bytes:
        opener: OpenerDirector = build_opener(_NoRedirect)
        request = Request(address, headers={"Accept": "application/json", **self.headers})
        try:
            with opener.open(request, timeout=self.timeout_s) as response:
                return bytes(response.read())
        except HTTPError as error:
            with error:
                told = error.read(1 << 16) if error.code >= 400 else b""
            if 300 <= error.code < 400:
                place = error.headers.get("Location") or "nowhere"
                raise InputError(
                    f"redirects to {short(place)}", file=self.shown, hint="give the address it redirects to"
                ) from None
            if error.code in (401, 403):
                raise InputError(
                    f"refuses access (HTTP {error.code})", file=self.shown, hint="give credentials in headers"
                ) from None
            raise self._refused(what, f"HTTP {error.code}: {_said(told)}") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = error.reason if isinstance(error, URLError) else error
            late = isinstance(reason, TimeoutError)
            said = (
                f"no answer in {self.timeout_s:g} s" if late else getattr(reason, "strerror", None) or reason
            )
            raise InputError(
                f"cannot be reached: {said}",
                file=self.shown,
                hint="ask for less at a time" if late else "is the server running, and this its address?",
            ) from None

    def _refused(self, what: str, said: str) -> InputError:
        return InputError(f"refuses the query {what} ({said})", file=self.shown)


def _said(body: bytes) -> str:
    """Return the server's own words about what went wrong."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        told = None
    if isinstance(told, dict) and "error" in told:
        return f"{told.get('errorType', 'error')}: {told['error']}"[:_SAID]
    return short(body[:_SAID].decode(errors="replace").strip()) or "no words"
