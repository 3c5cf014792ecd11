"""A real Prometheus is asked for a range: the rows equal what it was loaded with; faults are told."""

from __future__ import annotations

import http.server
import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import polars as pl
import pytest

from finops_lab.config import Source
from finops_lab.errors import InputError, NoDataError
from finops_lab.ingestion import registry
from finops_lab.ingestion.platform import prometheus
from finops_lab.ingestion.registry import REASONS, ReadSettings
from finops_lab.ingestion.sources import fetched
from finops_lab.ingestion.sources.prometheus import fetch, fetch_range

START = datetime(2026, 9, 20, 22, 30, tzinfo=UTC)
MIDNIGHT = datetime(2026, 9, 21, tzinfo=UTC)
END = START + timedelta(hours=3)
STEP = 15
ENGINE = '{engine="0",model_name="llama-example",namespace="serving",pod="chat-0",pool="chat"'
GPU = '{Hostname="node-1",UUID="GPU-a",modelName="Example",namespace="serving",pod="chat-0"}'
REPLICAS = '{deployment="chat",namespace="serving"}'
WRITTEN = 7  # tokens every 15 seconds
RESTART = 600  # the sample at which the engine starts again


def _counted(n: int, each: int) -> int:
    return each * (n + 1) if n < RESTART else each * (n - RESTART + 1)


def _open_metrics() -> str:
    """Write three hours of an engine that restarts once, a GPU sampled each second, and replicas."""
    lines: list[str] = []

    def add(name: str, value: Callable[[int], object], step: int = STEP) -> None:
        first = int(START.timestamp())
        count = int((END - START).total_seconds()) // step + 1
        lines.extend(f"{name} {value(n)} {first + n * step}" for n in range(count))

    add(f"vllm:generation_tokens_total{ENGINE}}}", lambda n: _counted(n, WRITTEN))
    add(f'vllm:request_success_total{ENGINE},finished_reason="stop"}}', lambda n: _counted(n, 2))
    add(f'vllm:request_success_total{ENGINE},finished_reason="abort"}}', lambda n: _counted(n, 1))
    name = "vllm:e2e_request_latency_seconds"
    for le, each in (("0.5", 1), ("+Inf", 3)):
        add(f'{name}_bucket{ENGINE},le="{le}"}}', partial(_counted, each=each))
    add(f"{name}_sum{ENGINE}}}", lambda n: _counted(n, 1) * 0.25)
    add(f"{name}_count{ENGINE}}}", lambda n: _counted(n, 3))
    add(f"DCGM_FI_PROF_SM_ACTIVE{GPU}", lambda n: n % 100 / 100, step=1)
    add(f"kube_deployment_spec_replicas{REPLICAS}", lambda n: 1 if n < 100 else 3)
    add(f"kube_deployment_status_replicas_ready{REPLICAS}", lambda n: 1 if n < 130 else 3)
    add("up", lambda n: 1)
    return "\n".join([*lines, "# EOF", ""])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a Prometheus on loopback that scrapes nothing and holds `_open_metrics`."""
    program, promtool = shutil.which("prometheus"), shutil.which("promtool")
    if program is None or promtool is None:
        pytest.skip("no prometheus and promtool on this machine (Debian package: prometheus)")
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "metrics.txt").write_text(_open_metrics())
    (folder / "prometheus.yml").write_text("scrape_configs: []\n")
    data = folder / "data"
    subprocess.run(
        [promtool, "tsdb", "create-blocks-from", "openmetrics", folder / "metrics.txt", data],
        check=True,
        capture_output=True,
        timeout=60,
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = (folder / "log").open("w")
    running = subprocess.Popen(
        [
            program,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={data}",
            "--storage.tsdb.retention.time=100y",
            f"--web.listen-address=127.0.0.1:{port}",
            "--query.lookback-delta=15s",
        ],
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for _ in range(300):
            try:
                opener.open(f"{address}/-/ready", timeout=5).close()
                break
            except OSError:
                assert running.poll() is None, (folder / "log").read_text()
                time.sleep(0.1)
        else:
            pytest.fail((folder / "log").read_text())
        yield address
    finally:
        running.terminate()
        running.wait(timeout=30)
        log.close()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def read(paths: list[Path], table: str) -> pl.DataFrame:
    frames = []
    for path in paths:
        reader = prometheus.PrometheusReader(table)
        if reader.matches(registry.inspect(path)):
            frames.append(reader.read(path, ReadSettings()).collect())
    done = pl.concat(frames)
    assert done[REASONS].null_count() == done.height
    return done


def test_every_known_metric_of_a_server_equals_what_it_was_loaded_with(server: str, tmp_path: Path) -> None:
    paths = fetch_range(server, None, START, END, STEP, tmp_path)
    span = "20260920T223000Z-20260921T013000Z.jsonl"
    assert sorted(p.name for p in paths) == [f"{group}-{span}" for group in ("capacity", "gpus", "vllm")]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in paths)
    requests = read(paths, "inference_requests")
    scrapes = int((END - START).total_seconds()) // STEP
    assert requests.group_by("status").agg(pl.col("n_requests").sum()).sort("status").rows() == [
        ("cancelled", scrapes),
        ("ok", 2 * scrapes),
    ]
    assert requests["output_tokens"].sum() == WRITTEN * scrapes
    assert (requests["ts_start"].min(), requests["ts_end"].max()) == (START, END)
    buckets = read(paths, "latency_histograms")
    assert buckets.group_by("le_ms").agg(
        pl.col("cumulative_count").sum(), pl.col("sum_ms").sum(), pl.col("window_s").sum()
    ).sort("le_ms").rows() == [
        (500.0, scrapes, 0.0, 3 * 3600.0),
        (float("inf"), 3 * scrapes, 250.0 * scrapes, 3 * 3600.0),
    ]
    (event,) = read(paths, "scale_events").rows(named=True)
    moments = (START + timedelta(seconds=100 * STEP), START + timedelta(seconds=130 * STEP))
    assert (event["ts_decision"], event["ts_ready"], event["from_units"], event["to_units"]) == (
        *moments,
        1,
        3,
    )
    # The sample at the end of the range belongs to the next range.
    capacity = read(paths, "capacity_series")
    assert (capacity["interval_s"].sum(), capacity["desired"].sum()) == (
        3 * 3600.0,
        100 + 3 * (scrapes - 100),
    )


def test_more_points_than_the_server_answers_at_once_are_asked_for_in_parts(
    server: str, tmp_path: Path
) -> None:
    (path,) = fetch_range(server, ["DCGM_FI_PROF_SM_ACTIVE"], START, END, 1, tmp_path)
    assert len(path.read_text().splitlines()) == 2
    frame = read([path], "gpu_samples").sort("ts")
    seconds = 3 * 3600
    assert frame["util"].to_list() == [n % 100 / 100 for n in range(seconds)]
    assert frame["ts"].to_list() == [START + timedelta(seconds=n) for n in range(seconds)]
    assert frame["interval_s"].sum() == seconds


def test_ranges_that_follow_each_other_count_everything_once(server: str, tmp_path: Path) -> None:
    cut = START + timedelta(hours=1)
    one = fetch_range(server, None, START, END, STEP, tmp_path / "one")
    two = [
        p
        for a, b in ((START, cut), (cut, END))
        for p in fetch_range(server, None, a, b, STEP, tmp_path / "two")
    ]
    assert len(two) == 2 * len(one)
    for table, column in (
        ("inference_requests", "output_tokens"),
        ("latency_histograms", "cumulative_count"),
        ("gpu_samples", "interval_s"),
        ("capacity_series", "interval_s"),
    ):
        assert read(two, table)[column].sum() == read(one, table)[column].sum()


def test_a_query_names_the_metric_that_it_stands_for(server: str, tmp_path: Path) -> None:
    queries = {"DCGM_FI_PROF_SM_ACTIVE": "max by (UUID, pod) (DCGM_FI_PROF_SM_ACTIVE)"}
    paths = fetch_range(server, queries, START, START + timedelta(minutes=1), STEP, tmp_path)
    frame = read(paths, "gpu_samples")
    assert frame.select("gpu_uuid", "util_kind", "util").rows() == [
        ("GPU-a", "sm_active", util) for util in (0.0, 0.15, 0.3, 0.45)
    ]


def test_a_source_of_a_lab_copies_whole_days_and_keeps_them(server: str, tmp_path: Path) -> None:
    source = Source(name="metrics", kind="prometheus", url=server, days=3, step_s=STEP)
    fetched.fetch(tmp_path, [source], MIDNIGHT + timedelta(days=1, hours=5))
    paths = sorted((tmp_path / "metrics").iterdir())
    days = ("20260920T000000Z-20260921T000000Z", "20260921T000000Z-20260922T000000Z")
    groups = ("capacity", "gpus", "vllm")
    assert [path.name for path in paths] == [f"{group}-{day}.jsonl" for group in groups for day in days]
    scrapes = int((END - START).total_seconds()) // STEP
    assert read(paths, "inference_requests")["output_tokens"].sum() == WRITTEN * scrapes
    paths[0].write_text("kept")
    paths[1].unlink()
    fetched.fetch(tmp_path, [source], MIDNIGHT + timedelta(days=1, hours=6), refresh=True)
    assert paths[0].read_text() == "kept"
    assert paths[1].stat().st_size > 100


def test_a_refused_query_is_told_in_the_servers_own_words(server: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"refuses the query sum\( \(HTTP 400: bad_data: .*parse error"):
        fetch_range(server, ["up", "sum("], START, END, STEP, tmp_path / "metrics")
    assert list(tmp_path.iterdir()) == []


def test_a_range_without_any_metric_is_no_data(server: str, tmp_path: Path) -> None:
    early = START - timedelta(days=30)
    with pytest.raises(NoDataError, match="none of these metrics from 2026-08-21 22:30:00"):
        fetch_range(server, None, early, early + timedelta(hours=1), STEP, tmp_path)
    source = Source(name="metrics", kind="prometheus", url=server, days=1, step_s=STEP)
    with pytest.raises(NoDataError, match="none of these metrics"):
        fetch(source, tmp_path / "metrics", early)
    assert list(tmp_path.iterdir()) == []


# --- servers that are none


@contextmanager
def answering(status: int, body: str, **headers: str) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Run an HTTP server that gives one answer to everything; yield its address and what it was sent."""
    seen: list[dict[str, str]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append({"path": self.path, **dict(self.headers.items())})
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_port}", seen
        finally:
            running.shutdown()
            thread.join()


EMPTY = json.dumps({"status": "success", "data": {"resultType": "matrix", "result": []}})


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (200, "<html>Sign in</html>", r"does not answer as Prometheus does \(<html>Sign in</html>\)"),
        (200, '{"status":"success","data":[]}', "does not answer as Prometheus does"),
        (
            200,
            '{"status":"error","errorType":"timeout","error":"too slow"}',
            r"refuses .* \(timeout: too slow\)",
        ),
        (404, "404 page not found", r"refuses the query up \(HTTP 404: 404 page not found\)"),
        (503, "", r"refuses the query up \(HTTP 503: no words\)"),
        (401, "", r"refuses access \(HTTP 401\).*credentials in headers"),
    ],
)
def test_other_answers_are_one_clear_line(tmp_path: Path, status: int, body: str, message: str) -> None:
    with answering(status, body) as (address, _), pytest.raises(InputError, match=message):
        fetch_range(address, ["up"], START, END, STEP, tmp_path / "metrics")
    assert list(tmp_path.iterdir()) == []


def test_headers_are_sent_and_never_to_where_a_redirect_leads(tmp_path: Path) -> None:
    secret = {"Authorization": "Bearer example"}
    with answering(200, EMPTY) as (elsewhere, taken):
        with (
            answering(302, "", Location=elsewhere) as (address, seen),
            pytest.raises(InputError, match=r"redirects to http://127\.0\.0\.1"),
        ):
            fetch_range(address, ["up"], START, END, STEP, tmp_path, headers=secret)
        assert seen[0]["Authorization"] == "Bearer example"
        assert taken == []
        with pytest.raises(NoDataError):
            fetch_range(f"{elsewhere}/prom/", ["up"], START, END, STEP, tmp_path, headers=secret)
        assert taken[0]["Authorization"] == "Bearer example"
        assert taken[0]["path"].startswith("/prom/api/v1/query_range?query=up&start=1789943400.000&")


def test_nobody_at_the_address(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(
        InputError, match=r"cannot be reached: Connection refused.*Hint: is the server running"
    ):
        fetch_range(address, None, START, END, STEP, tmp_path)


def test_a_server_that_says_nothing_is_not_waited_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(InputError, match=r"no answer in 0\.2 s"):
            fetch_range(address, ["up"], START, END, STEP, tmp_path, timeout_s=0.2)


def test_a_target_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    answer = json.loads(EMPTY)
    answer["data"]["result"] = [{"metric": {}, "values": [[1, "1"]]}]
    with (
        answering(200, json.dumps(answer)) as (address, _),
        pytest.raises(InputError, match="cannot be written"),
    ):
        fetch_range(address, ["up"], START, END, STEP, tmp_path / "file")


@pytest.mark.parametrize(
    ("url", "step", "end", "message"),
    [
        ("localhost:9090", 15, END, "no address of a server"),
        ("file:///etc/passwd", 15, END, "no address of a server"),
        ("http://me:secret@localhost", 15, END, "credentials"),
        ("http://localhost:9090", 0, END, "positive multiple"),
        ("http://localhost:9090", 0.0005, END, "positive multiple"),
        ("http://localhost:9090", float("nan"), END, "positive multiple"),
        ("http://localhost:9090", 15, START, "ends .* before it begins"),
    ],
)
def test_parameters_without_sense(tmp_path: Path, url: str, step: float, end: datetime, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        fetch_range(url, None, START, end, step, tmp_path)
    assert "secret" not in str(caught.value)
