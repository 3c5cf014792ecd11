"""Settings of every test: UTC, hypothesis profiles, real data, a browser in CI."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from shutil import which

import pytest
from browser import CHROMIUM
from hypothesis import settings

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
        "PostgreSQL's initdb": any(Path("/usr/lib/postgresql").glob("*/bin/initdb")),
    }
    absent = [name for name, found in needed.items() if not found]
    if IN_CI and absent:
        raise pytest.UsageError(f"CI must run every test, and there is no {', no '.join(absent)}")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Ingest the sample lab once before several processes open it at a time."""
    if getattr(session.config.option, "numprocesses", None):
        from finops_lab.lab import open_lab

        open_lab(progress=False)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real bills and telemetry beside the checkout, or skip the test."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real data beside this checkout (shared/data)")
    return folder


@pytest.fixture(scope="session")
def sample_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the sample lab, ingested once for all tests that only read it."""
    from finops_lab.lab import packaged

    target = tmp_path_factory.mktemp("sample") / "lab"
    shutil.copytree(packaged("samples"), target, ignore=shutil.ignore_patterns("lake", "quarantine"))
    return target
