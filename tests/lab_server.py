"""JupyterLab for tests: started by the command of `make lab` on a small lab, asked to run all cells."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import nbformat
import pytest
from browser import CHROMIUM
from helpers import PLAIN_TOML, cost_row, write_lab

from finops_lab.calendar import format_month, months_from
from finops_lab.lab import packaged

MAKEFILE = Path(__file__).parents[1] / "Makefile"
TOML = (
    PLAIN_TOML
    + """
[[dimensions.team]]
name = "team of the account"
where = { SubAccountName = "search-prod" }
value = "search"
[[dimensions.team]]
name = "team of the other account"
where = { SubAccountName = "support-prod" }
value = "support"
[[dimensions.model]]
name = "model tag"
tag = ["model"]
[[budgets]]
from = "2026-10"
to = "2026-10"
amount = "20000"
[[budgets]]
from = "2026-10"
to = "2026-10"
team = "search"
amount = "15000"
"""
)

RUN_ALL = """async () => {
  const app = window.jupyterapp; await app.restored; const panel = app.shell.currentWidget;
  await panel.context.ready; await panel.sessionContext.ready; await panel.sessionContext.session.kernel.info;
  return await app.commands.execute('notebook:run-all-cells');
}"""
CELLS = """() => window.jupyterapp.shell.currentWidget.context.model.toJSON().cells
  .filter(cell => cell.cell_type === 'code')"""


def small_lab(folder: Path) -> Path:
    """Write a lab of fourteen months with two teams, two models, two providers and an unowned rest."""
    rows = []
    for n, month in enumerate(months_from(date(2025, 9, 1), date(2026, 10, 1))):
        for team, model, provider, amount in (
            ("search", "model-a", "CloudOne", 9_000 + 450 * n),
            ("support", "model-b", "CloudTwo", 4_000 + 130 * n),
            ("shared", None, "CloudOne", 700 + (n % 3) * 25),
        ):
            tags = json.dumps({"model": model}) if model else "{}"
            account = f"{team}-prod"
            cost = f"{amount}.17"
            rows.append(
                cost_row(
                    cost, month=format_month(month), SubAccountId=account, SubAccountName=account,
                    ProviderName=provider, Tags=tags,
                )
            )  # fmt: skip
    return write_lab(folder, {"bill.csv": rows}, TOML)


@contextmanager
def jupyterlab(place: Path, notebook: str, parameters: str) -> Iterator[str]:
    """Start JupyterLab in a folder, on a copy of notebooks/ and a small lab; give a notebook's address.

    `parameters` is what an analyst types into the notebook's cell of that tag; LAB in it is the
    small lab's folder.
    """
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"no browser at {CHROMIUM}")
    shutil.copytree(packaged("notebooks"), place / "notebooks", ignore=shutil.ignore_patterns(".*"))
    lab = small_lab(place / "lab")
    point_at(place / "notebooks" / notebook, parameters.replace("LAB", repr(str(lab))))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    own = {f"JUPYTER_{kind}_DIR": str(place / kind) for kind in ("CONFIG", "DATA", "RUNTIME")}
    own |= {f"JUPYTERLAB_{kind}_DIR": str(place / kind) for kind in ("SETTINGS", "WORKSPACES")}
    own["IPYTHONDIR"] = str(place / "ipython")
    # No question about news, no look for a newer JupyterLab.
    news = place / "SETTINGS" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    news.parent.mkdir(parents=True)
    news.write_text('{"fetchNews": "false", "checkForUpdates": false}')
    options = [
        "--no-browser",
        "--allow-root",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={token}",
        "--LabApp.expose_app_in_browser=True",
        "--LabApp.extension_manager=readonly",
    ]
    log = place / "server.log"
    with log.open("w") as stream:
        server = subprocess.Popen(
            lab_command(options),
            cwd=place,
            env=os.environ | own,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{address}/api/status?token={token}", server, log)
        yield f"{address}/lab/tree/{notebook}?token={token}&reset"
    finally:
        stop(server)


def allowed(address: str) -> tuple[str, ...]:
    """Return what a page of the server may ask: the server alone."""
    base = address.split("/lab/")[0]
    return f"{base}/", f"{base.replace('http', 'ws', 1)}/"


def lab_command(options: list[str]) -> list[str]:
    """Return the command of the Makefile's target `lab`, for this Python and with more options."""
    if not (make := shutil.which("make")):
        pytest.skip("no make")
    told = [f"BIN={Path(sys.executable).parent}", f"ARGS={shlex.join(options)}"]
    # -o: the environment is as it is; nothing is installed by asking for the command.
    command = [make, "--dry-run", "-s", "-f", str(MAKEFILE), "-o", ".venv/.synced", "lab", *told]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=MAKEFILE.parent).stdout
    return shlex.split(said)


def point_at(notebook: Path, parameters: str) -> None:
    """Set the parameters of a copied notebook, as an analyst types them."""
    written = nbformat.read(notebook, as_version=4)
    (cell,) = [c for c in written.cells if "parameters" in c.metadata.get("tags", [])]
    cell["source"] = parameters
    nbformat.write(written, notebook)


def wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except OSError:
            assert server.poll() is None, f"JupyterLab stopped:\n{log.read_text()}"
            time.sleep(0.1)
    raise AssertionError(f"JupyterLab did not answer:\n{log.read_text()}")


def stop(server: subprocess.Popen[bytes]) -> None:
    """End the server; asked in this way, it ends its kernels first."""
    try:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(30)


def complaints(cells: list[dict[str, Any]]) -> list[str]:
    """Return the errors, and whatever the cells said beside their results."""
    return [
        f"{cell['id']}: {output.get('evalue') or output.get('text')}"
        for cell in cells
        for output in cell["outputs"]
        if output["output_type"] not in ("display_data", "execute_result")
    ]
