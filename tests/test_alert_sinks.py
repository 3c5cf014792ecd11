"""Alerts are written and sent, each once: files, webhooks, a real Alertmanager; faults tell no secret."""

from __future__ import annotations

import fcntl
import http.server
import json
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from finops_lab.alerting import NotDelivered, alerts, write_alerts
from finops_lab.alerting.payloads import alertmanager_alert, record, slack_message
from finops_lab.anomalies.event import as_events
from finops_lab.config import Sink
from finops_lab.errors import InputError

DAY = datetime(2026, 10, 5, tzinfo=UTC)
NOON = DAY + timedelta(hours=12)
SECRET = "T000SECRET"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that is not there: whoever asks it for loopback fails."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)


def event(value: str = "search", **given: Any) -> dict[str, Any]:
    return {
        "kind": "spend", "metric": "EffectiveCost", "unit": "USD", "dimension": "team", "value": value,
        "x_team": value, "first": DAY, "direction": "up", "actual": 1000.0, "expected": 900.0,
        "excess_amount": Decimal("100.50"), "BillingCurrency": "USD", "id": value,
    } | given  # fmt: skip


PAGE = {"actual": 9000.0, "excess_amount": Decimal(8100)}


def made(*rows: dict[str, Any], now: datetime = NOON) -> pl.DataFrame:
    frame = pl.DataFrame(list(rows), infer_schema_length=None)
    return alerts(as_events(frame), now=now)


class Server:
    """A server on loopback that keeps what it was sent, and answers as told."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.got: list[tuple[str, Mapping[str, str], Any]] = []
        self.answers: list[tuple[int, Mapping[str, str], bytes]] = []

    def bodies(self) -> list[Any]:
        return [body for _, _, body in self.got]


@contextmanager
def listening() -> Iterator[Server]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found.got.append((self.path, dict(self.headers), body))
            code, headers, said = found.answers.pop(0) if found.answers else (200, {}, b"ok")
            self.send_response(code)
            for name, value in {"Content-Length": str(len(said)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Server(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    with listening() as found:
        yield found


def sink(kind: str, url: str | None = None, **given: Any) -> Sink:
    return Sink.model_validate({"name": kind, "kind": kind, "timeout_s": 5, "url": url, **given})


def outcomes(sent: pl.DataFrame) -> list[tuple[str, str]]:
    return sent.select("id", "outcome").rows()


def test_without_sinks_nothing_is_written_and_nobody_contacted(tmp_path: Path) -> None:
    assert write_alerts(made(event()), [], folder=tmp_path, now=NOON).is_empty()
    assert list(tmp_path.iterdir()) == []


def test_a_file_gets_a_line_for_each_alert_once(tmp_path: Path) -> None:
    file = sink("file", path="alerts.jsonl")
    sent = write_alerts(made(event(), event("ads")), [file], folder=tmp_path, now=NOON)
    assert outcomes(sent) == [("ads", "sent"), ("search", "sent")]
    lines = [json.loads(line) for line in (tmp_path / "alerts.jsonl").read_text().splitlines()]
    assert [(line["id"], line["amount"], line["begin"]) for line in lines] == [
        ("ads", "100.5", "2026-10-05T00:00:00Z"),
        ("search", "100.5", "2026-10-05T00:00:00Z"),
    ]
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    again = write_alerts(made(event(), event("ads")), [file], folder=tmp_path, now=NOON + timedelta(hours=1))
    assert outcomes(again) == [("ads", "sent before"), ("search", "sent before")]
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_webhook_gets_what_the_file_gets_with_headers_from_the_environment(
    tmp_path: Path, server: Server
) -> None:
    hook = sink("webhook", url_env="HOOK", headers_env={"Authorization": "TOKEN"})
    found = made(event())
    environ = {"HOOK": f"{server.url}/{SECRET}", "TOKEN": "Bearer abc"}
    write_alerts(found, [hook], folder=tmp_path, now=NOON, environ=environ)
    ((path, headers, body),) = server.got
    assert (path, headers["Authorization"]) == (f"/{SECRET}", "Bearer abc")
    assert (headers["Content-Type"], headers["Idempotency-Key"]) == ("application/json", "search-ticket")
    assert body == record(found.row(0, named=True))
    assert all(
        SECRET not in path.read_text() and "abc" not in path.read_text() for path in tmp_path.iterdir()
    )


def test_slack_gets_plain_blocks_that_mention_nobody_and_link_nowhere(tmp_path: Path, server: Server) -> None:
    found = made(event("<!channel> <http://x|y>" + "z" * 4000, **PAGE))
    write_alerts(found, [sink("slack", server.url)], folder=tmp_path, now=NOON)
    (body,) = server.bodies()
    assert "<" not in body["text"] and "&lt;!channel&gt;" in body["text"] and body["unfurl_links"] is False
    texts = [block["text"] for block in body["blocks"] if "text" in block]
    texts += [text for block in body["blocks"] for text in block.get("fields", block.get("elements", []))]
    assert {text["type"] for text in texts} == {"plain_text"}
    assert max(len(text["text"]) for text in texts) == 3000
    header = body["blocks"][0]
    assert header["type"] == "header" and len(header["text"]["text"]) == 150
    assert header["text"]["text"].startswith("Page: runaway without a budget, team <!channel>")
    assert [field["text"] for field in body["blocks"][2]["fields"]] == [
        "At stake: $8,100", "Since: 5 October 2026, 00:00 UTC",
        "Why: $8,100 a day, 10 times expected, lasts 1 day", "Events: 1",
    ]  # fmt: skip


def test_only_what_is_to_be_told_goes_to_the_sinks_that_want_it(tmp_path: Path, server: Server) -> None:
    pages = sink("webhook", server.url, severities="page")
    other = sink("file", path="all.jsonl")
    found = made(event("big", **PAGE), event(), event("old", status="expected"))
    named = found.with_columns(
        pl.when(pl.col("id") == "search").then(pl.lit(["webhook"])).otherwise(pl.col("sinks")).alias("sinks")
    )
    sent = write_alerts(named, [pages, other], folder=tmp_path, now=NOON)
    assert sent.select("sink", "id").rows() == [("webhook", "big"), ("file", "big")]
    assert [body["id"] for body in server.bodies()] == ["big"]


def test_a_ticket_that_becomes_a_page_is_sent_again_under_the_same_id_and_no_other(
    tmp_path: Path, server: Server
) -> None:
    hook = sink("webhook", server.url)
    write_alerts(made(event(id="late", first=DAY + timedelta(hours=2))), [hook], folder=tmp_path, now=NOON)
    # An earlier event joins: the alert has another id by now, and is a page.
    grown = made(
        event(id="late", first=DAY + timedelta(hours=2)), event(id="early", metric="BilledCost", **PAGE)
    )
    assert grown.select("id", "severity").rows() == [("early", "page")]
    for outcome in ("sent", "sent before"):
        sent = write_alerts(grown, [hook], folder=tmp_path, now=NOON)
        assert outcomes(sent) == [("late", outcome)]
    assert [(body["id"], body["severity"]) for body in server.bodies()] == [
        ("late", "ticket"),
        ("late", "page"),
    ]
    # A page that calms down to a ticket is not told anew.
    calm = made(event(id="late", first=DAY + timedelta(hours=2)))
    assert outcomes(write_alerts(calm, [hook], folder=tmp_path, now=NOON)) == [("late", "sent before")]
    assert len(server.got) == 2


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_with_the_same_key(tmp_path: Path, server: Server, status: int) -> None:
    server.answers = [(status, {"Retry-After": "0"}, b""), (status, {}, b"")]
    sent = write_alerts(made(event()), [sink("webhook", server.url)], folder=tmp_path, now=NOON, pause_s=0)
    assert outcomes(sent) == [("search", "sent")]
    assert [headers["Idempotency-Key"] for _, headers, _ in server.got] == ["search-ticket"] * 3


def test_what_was_sent_before_a_failure_is_not_sent_again(tmp_path: Path, server: Server) -> None:
    found = made(event("a"), event("b"), event("c"))
    server.answers = [(200, {}, b""), (500, {}, b"out of order"), (500, {}, b"still")]
    sinks = [sink("webhook", server.url, retries=1), sink("file", path="alerts.jsonl")]
    with pytest.raises(NotDelivered) as told:
        write_alerts(found, sinks, folder=tmp_path, now=NOON, pause_s=0)
    assert str(told.value) == (
        "sink 'webhook' answers with HTTP 500: still (2 tries), 2 alerts wait for the next run."
        " Hint: run it again: what was sent is not sent twice"
    )
    assert told.value.exit_code == 1
    assert len((tmp_path / "alerts.jsonl").read_text().splitlines()) == 3, "other sinks are served"
    sent = write_alerts(found, sinks, folder=tmp_path, now=NOON)
    assert sent.filter(sink="webhook")["outcome"].to_list() == ["sent before", "sent", "sent"]
    assert [body["id"] for body in server.bodies()] == ["a", "b", "b", "b", "c"]


def test_one_alert_that_a_server_does_not_like_does_not_hold_up_the_others(
    tmp_path: Path, server: Server
) -> None:
    server.answers = [(400, {}, b"no such field"), (200, {}, b"")]
    found = made(event("a"), event("b"))
    with pytest.raises(NotDelivered, match="HTTP 400: no such field, 1 alert waits"):
        write_alerts(found, [sink("webhook", server.url)], folder=tmp_path, now=NOON)
    assert [body["id"] for body in server.bodies()] == ["a", "b"]
    sent = write_alerts(found, [sink("webhook", server.url)], folder=tmp_path, now=NOON)
    assert outcomes(sent) == [("a", "sent"), ("b", "sent before")]


def _silent(server: Server) -> str:
    return server.url.replace("http://", "https://")


def _gone(server: Server) -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.parametrize(
    ("answer", "address", "said"),
    [
        ((404, {}, f"no hook {SECRET}".encode()), None, "answers with HTTP 404,"),
        ((403, {}, SECRET.encode()), None, "refuses access"),
        ((302, {"Location": "http://127.0.0.1:9/"}, b""), None, "redirect"),
        (None, _gone, "cannot be reached: Connection refused"),
        (None, _silent, "sink 'slack' "),
    ],
)
def test_no_failure_tells_the_secret_address(
    tmp_path: Path,
    server: Server,
    answer: tuple[int, Mapping[str, str], bytes] | None,
    address: Callable[[Server], str] | None,
    said: str,
) -> None:
    server.answers = [answer] if answer else []
    url = f"{address(server) if address else server.url}/services/{SECRET}"
    hook = sink("slack", url_env="SLACK_URL", retries=0)
    with pytest.raises(NotDelivered, match=said) as told:
        write_alerts(made(event()), [hook], folder=tmp_path, now=NOON, environ={"SLACK_URL": url})
    assert SECRET not in str(told.value) and "127.0.0.1" not in str(told.value)
    assert len(server.got) == (1 if answer else 0), "a refusal is final"


def test_a_server_that_says_nothing_is_waited_for_no_longer_than_told(tmp_path: Path) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        hook = sink("webhook", f"http://127.0.0.1:{deaf.getsockname()[1]}", timeout_s=0.2, retries=0)
        with pytest.raises(NotDelivered, match=r"sink 'webhook' no answer in 0\.2 s, 1 alert waits"):
            write_alerts(made(event()), [hook], folder=tmp_path, now=NOON)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, r"sink 'slack': the environment has no SLACK_URL.*set SLACK_URL to the address"),
        ({"SLACK_URL": "hooks.example/SECRET"}, "SLACK_URL holds no address of a server"),
        ({"SLACK_URL": "https://me:SECRET@hooks.example/"}, "SLACK_URL holds no address of a server"),
        ({"SLACK_URL": "https://hooks.example/SECR\nET"}, "SLACK_URL holds what no address has"),
    ],
)
def test_nothing_is_sent_where_a_variable_is_wrong(
    tmp_path: Path, environ: dict[str, str], said: str
) -> None:
    sinks = [sink("file", path="alerts.jsonl"), sink("slack", url_env="SLACK_URL")]
    with pytest.raises(InputError, match=said) as told:
        write_alerts(made(event()), sinks, folder=tmp_path, now=NOON, environ=environ)
    assert "SECR" not in str(told.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": "file"}, "a file needs path"),
        ({"kind": "file", "path": "x", "url": "http://h"}, "nothing of an address"),
        ({"kind": "slack"}, "write url, or url_env"),
        ({"kind": "slack", "url": "http://h", "url_env": "X"}, "write url, or url_env"),
        ({"kind": "slack", "url": "ftp://h/SECRET"}, "no address of a server"),
        ({"kind": "slack", "url": "http://me:SECRET@h"}, "holds credentials"),
        ({"kind": "webhook", "path": "x"}, "webhook has no path"),
        (
            {"kind": "webhook", "url": "http://h", "headers_env": {"A": "Bearer x"}},
            "names no environment variable",
        ),
        ({"kind": "pager", "url": "http://h"}, "kind"),
    ],
)
def test_sinks_that_cannot_be(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Sink.model_validate({"name": "x", **given})


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for path, said in (
        ("../x", "outside of the lab"),
        ("no/x", "cannot be written"),
        ("folder", "cannot be written"),
    ):
        with pytest.raises(InputError, match=said):
            write_alerts(made(event()), [sink("file", path=path)], folder=tmp_path, now=NOON)
    with pytest.raises(InputError, match="cannot be opened"):
        write_alerts(made(event()), [sink("webhook", "http://127.0.0.1:9")], folder=tmp_path / "no", now=NOON)


@pytest.mark.parametrize("text", ["", "[]", '{"format": 2}', '{"format": 1, "sinks": {"file": {"a": {}}}}'])
def test_a_state_that_cannot_be_read_is_not_taken_for_an_empty_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "alerts.sent").write_text(text)
    with pytest.raises(InputError, match=r"alerts\.sent: does not tell what was sent.*sent again"):
        write_alerts(made(event()), [sink("file", path="x")], folder=tmp_path, now=NOON)
    assert (tmp_path / "alerts.sent").read_text() == text and not (tmp_path / "x").exists()


def test_two_runs_at_a_time_do_not_send_twice(tmp_path: Path) -> None:
    held = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another run is sending"):
            write_alerts(made(event()), [sink("file", path="x")], folder=tmp_path, now=NOON)
    finally:
        os.close(held)
    assert outcomes(write_alerts(made(event()), [sink("file", path="x")], folder=tmp_path, now=NOON)) == [
        ("search", "sent")
    ]


# A real Alertmanager.


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Server]]:
    """Run Debian's Alertmanager on loopback, which tells a server of ours."""
    program = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if program is None:
        pytest.skip("no Alertmanager on this machine (Debian package: prometheus-alertmanager)")
    folder = tmp_path_factory.mktemp("alertmanager")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with listening() as told:
        (folder / "alertmanager.yml").write_text(
            "route: {receiver: hook, group_by: ['...'], group_wait: 10ms, group_interval: 50ms}\n"
            f"receivers: [{{name: hook, webhook_configs: [{{url: '{told.url}'}}]}}]\n"
        )
        log = (folder / "log").open("w")
        running = subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'alertmanager.yml'}",
                f"--storage.path={folder / 'data'}",
                f"--web.listen-address={address}",
                "--cluster.listen-address=",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ["PATH"]},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            for _ in range(300):
                try:
                    opener.open(f"http://{address}/-/ready", timeout=5).close()
                    break
                except OSError:
                    assert running.poll() is None, (folder / "log").read_text()
                    time.sleep(0.1)
            else:
                pytest.fail((folder / "log").read_text())
            yield f"http://{address}", told
        finally:
            running.terminate()
            running.wait(timeout=30)
            log.close()


def firing(address: str) -> dict[str, dict[str, Any]]:
    """Return what Alertmanager takes for firing, by our id and severity."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{address}/api/v2/alerts", timeout=5) as answer:
        found = json.loads(answer.read())
    return {f"{one['labels']['alert_id']} {one['labels']['severity']}": one for one in found}


def until(holds: Callable[[], bool]) -> None:
    for _ in range(200):
        if holds():
            return
        time.sleep(0.05)
    pytest.fail("Alertmanager did not do it within ten seconds")


def test_a_real_alertmanager_takes_an_alert_raises_it_and_lets_it_go(
    tmp_path: Path, manager: tuple[str, Server]
) -> None:
    """Alertmanager goes by the clock: here events happen now."""
    address, told = manager
    now = datetime.now(UTC).replace(microsecond=0)
    am = sink("alertmanager", f"{address}/", hold_hours=2)
    begin = now - timedelta(hours=1)

    def run(at: datetime, **given: Any) -> list[tuple[str, str]]:
        row = event("real", first=begin, last=now - timedelta(minutes=5), grain="5m") | given
        return outcomes(write_alerts(made(row, now=at), [am], folder=tmp_path, now=at))

    assert run(now) == [("real", "sent")]
    one = firing(address)["real ticket"]
    assert datetime.fromisoformat(one["startsAt"]) == begin
    assert datetime.fromisoformat(one["endsAt"]) == now + timedelta(hours=2)
    assert one["status"]["state"] in ("active", "unprocessed")
    assert one["labels"] == {
        "alertname": "finops_lab", "alert_id": "real", "severity": "ticket", "kind": "spend", "team": "real",
        "metric": "EffectiveCost", "dimension": "team", "value": "real",
    }  # fmt: skip
    assert one["annotations"]["amount"] == "100.5"
    assert run(now) == [("real", "sent before")]
    # Before it would be taken for over it is told anew: the same alert, firing for longer.
    later = now + timedelta(hours=1, minutes=1)
    assert run(later, last=later) == [("real", "extended")]
    assert datetime.fromisoformat(firing(address)["real ticket"]["endsAt"]) == later + timedelta(hours=2)
    # Worse: it becomes a page, and the ticket is over.
    assert run(now, **PAGE) == [("real", "sent")]
    until(lambda: set(firing(address)) == {"real page"})
    # Judged a false alarm: it is over, and nobody hears of it again.
    assert run(now, **PAGE, status="false alarm") == [("real", "resolved")]
    until(lambda: not firing(address))
    assert run(now, **PAGE, status="false alarm") == [("real", "sent before")]
    sent = {
        (one["labels"]["severity"], one["status"])
        for body in told.bodies()
        for one in body["alerts"]
        if one["labels"]["alert_id"] == "real"
    }
    assert sent >= {("ticket", "firing"), ("page", "firing")}


def test_a_real_alertmanager_is_told_of_what_is_over_already(
    tmp_path: Path, manager: tuple[str, Server]
) -> None:
    address, told = manager
    now = datetime.now(UTC).replace(microsecond=0)
    am = sink("alertmanager", address)
    row = event("over", first=now - timedelta(hours=9), last=now - timedelta(hours=8), grain="5m")
    found = made(row, now=now)
    assert found["end"][0] < now
    assert outcomes(write_alerts(found, [am], folder=tmp_path, now=now)) == [("over", "sent")]
    until(
        lambda: any(one["labels"]["alert_id"] == "over" for body in told.bodies() for one in body["alerts"])
    )
    assert outcomes(write_alerts(found, [am], folder=tmp_path, now=now)) == [("over", "resolved")]
    until(lambda: "over ticket" not in firing(address))


def test_a_real_alertmanager_says_what_it_does_not_like(tmp_path: Path, manager: tuple[str, Server]) -> None:
    address, _ = manager
    found = made(event())
    # An alert that would end before it begins.
    wrong = found.with_columns((pl.col("begin") + pl.duration(days=4000)).alias("begin"))
    with pytest.raises(NotDelivered, match=r"HTTP 400: .*(?i:start).*(?i:end)"):
        write_alerts(wrong, [sink("alertmanager", address)], folder=tmp_path, now=NOON)
    hidden = sink("alertmanager", url_env="AM")
    environ = {"AM": f"{address}/nowhere"}
    with pytest.raises(NotDelivered, match=r"sink 'alertmanager' answers with HTTP 404, 1 alert waits"):
        write_alerts(found, [hidden], folder=tmp_path, now=NOON, environ=environ)


def test_a_label_that_names_nothing_is_left_out_and_severity_follows() -> None:
    row = made(event()).row(0, named=True)
    one = alertmanager_alert(row, NOON, timedelta(hours=1))
    assert "model" not in one["labels"] and None not in one["labels"].values()
    kept = alertmanager_alert(row | {"severity": "page"}, NOON, timedelta(hours=1), labels=one["labels"])
    assert kept["labels"] == one["labels"] | {"severity": "page"}
    assert slack_message(row)["blocks"][-1]["elements"][0]["text"] == "Alert search"
