"""Settings of every test: UTC, hypothesis profiles, real data, a browser in CI."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from browser import CHROMIUM
from hypothesis import settings

# Files of tests by the processor time they take, the longest first; all others take less.
_LONGEST = {
    name: rank
    for rank, name in enumerate(
        [
            "test_dashboards.py",  # works out what the lake of the sample keeps, which the next ones read
            "test_fuzz_readers.py",
            "test_cli.py",
            "test_review.py",
            "test_jupyterlab.py",
            "test_jupyterlab_explore.py",
            "test_forecasting.py",
            "test_samples.py",
            "test_packaging.py",
            "test_ingest.py",
            "test_merging.py",
            "test_benchmarks.py",
            "test_render.py",
        ]
    )
}
_SAMPLE = pytest.StashKey[Path]()
_KEPT = {"anomalies", "forecasts", "ledger", "rollups"}
_DEBUG = "debug"  # folder of the first pages of the debug dashboard
IN_CI = os.environ.get("CI", "").lower() not in ("", "0", "false")

os.environ["TZ"] = "UTC"
time.tzset()
settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if IN_CI else "dev")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to run in CI without a browser and the servers: there a skipped test is a failure."""
    needed = {
        CHROMIUM: Path(CHROMIUM).exists(),
        "prometheus": which("prometheus") is not None,
        "prometheus-alertmanager": which("prometheus-alertmanager") is not None,
        "PostgreSQL's initdb": any(Path("/usr/lib/postgresql").glob("*/bin/initdb")),
    }
    absent = [name for name, found in needed.items() if not found]
    if IN_CI and absent:
        raise pytest.UsageError(f"CI must run every test, and there is no {', no '.join(absent)}")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Ingest the sample lab once before several processes open it or copy it at a time."""
    if not getattr(session.config.option, "numprocesses", None):
        return
    from finops_lab.lab import open_lab, packaged

    # Work is handed out in the order of `pytest_collection_modifyitems`, not by the number of tests.
    session.config.option.loadscopereorder = False
    open_lab(progress=False)
    # A copy that nobody opens, so that no process copies a lake while another writes to it.
    folder = Path(tempfile.mkdtemp(prefix="finops-sample-"))
    session.config.stash[_SAMPLE] = folder
    samples = packaged("samples")
    shutil.copytree(samples, folder / "lab", ignore=lambda place, names: _derived(samples, place, names))


def _derived(samples: Path, place: str, names: list[str]) -> set[str]:
    """Return what the lake keeps beside the ingested tables: this run of the tests works out its own."""
    return _KEPT & set(names) if Path(place) == samples / "lake" else set()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the ingested copy of the sample lab."""
    if _SAMPLE in config.stash:
        shutil.rmtree(config.stash[_SAMPLE], ignore_errors=True)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a process where the ingested sample lab is."""
    node.workerinput["sample_lab"] = str(node.config.stash[_SAMPLE] / "lab")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first: one of them at the end would leave a processor idle."""
    items.sort(key=lambda item: _LONGEST.get(item.path.name, len(_LONGEST)))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real bills and telemetry beside the checkout, or skip the test."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real data beside this checkout (shared/data)")
    return folder


@pytest.fixture(scope="session")
def sample_copy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the sample lab, ingested once for all tests that only read it.

    Where several processes run the tests, the first that asks works out ledger, roll-ups and anomalies
    for all.
    """
    from finops_lab.lab import packaged

    target = tmp_path_factory.mktemp("sample") / "lab"
    if (ingested := getattr(request.config, "workerinput", {}).get("sample_lab")) is not None:
        return Path(shutil.copytree(_worked_out(Path(ingested)), target))
    shutil.copytree(packaged("samples"), target, ignore=shutil.ignore_patterns("lake", "quarantine"))
    return target


@pytest.fixture(scope="session")
def first_debug(
    request: pytest.FixtureRequest, sample_copy: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return a folder with the debug dashboard of the sample lab, as its first run wrote it."""
    if (ingested := getattr(request.config, "workerinput", {}).get("sample_lab")) is not None:
        return Path(ingested).with_name(_DEBUG)
    return _debug(sample_copy, tmp_path_factory.mktemp(_DEBUG))


def _debug(lab: Path, out: Path) -> Path:
    from finops_lab.lab import open_lab
    from finops_lab.reporting.dashboards import run_dashboard

    run_dashboard("debug", open_lab(lab, progress=False), "2026-10", out)
    return out


def _worked_out(lab: Path) -> Path:
    """Run a dashboard and look for anomalies in the ingested copy, unless a process did: the others wait."""
    import fcntl

    from finops_lab.lab import open_lab, packaged
    from finops_lab.watching import anomalies

    done = lab.with_name("done")
    with lab.with_name("lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            _debug(lab, lab.with_name(_DEBUG))
            anomalies(open_lab(lab, progress=False))
            # The sample lab of the checkout, which notebooks and doctests open, keeps the same.
            lake = packaged("samples") / "lake"
            for kept in _KEPT & {place.name for place in (lab / "lake").iterdir()}:
                if not (lake / kept).exists():
                    beside = Path(shutil.copytree(lab / "lake" / kept, lake / f".{kept}.{os.getpid()}"))
                    with suppress(OSError):  # another process began to keep its own
                        beside.rename(lake / kept)
                    shutil.rmtree(beside, ignore_errors=True)
            done.touch()
    return lab
