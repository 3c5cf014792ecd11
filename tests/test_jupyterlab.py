"""The monthly review in a real JupyterLab: started by `make lab`, run as its menu does, read in a browser."""

from __future__ import annotations

import json
import os
import re
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
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import nbformat
import pytest
from browser import CHROMIUM, Visit, open_page
from helpers import PLAIN_TOML, cost_row, write_lab

from finops_lab.calendar import format_month, months_from
from finops_lab.lab import packaged
from finops_lab.reporting.record import RESULT_MIME

MAKEFILE = Path(__file__).parents[1] / "Makefile"
NOTEBOOK = "monthly_review.ipynb"
HEADINGS = [
    "Monthly review of AI spend",
    "1. Headline",
    "2. Scorecard",
    "3. Why spend changed",
    "4. Spend by team, model and provider",
    "5. Allocation, chargeback and coverage",
    "6. Allocation receipt",
    "7. Reconciliation",
    "8. Forecast",
    "9. Cost, accuracy and latency",
    "10. Data quality",
    "11. Data doctor",
    "12. Provenance",
]
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
TO_THE_TOP = "() => { document.querySelector('.jp-WindowedPanel-outer').scrollTop = 0; }"
DRAWN = """([pictures, tables]) => {
  const shown = [...document.querySelectorAll('.jp-OutputArea-output img')];
  return shown.length === pictures && shown.every(img => img.complete && img.naturalWidth > 0)
    && document.querySelectorAll('.jp-OutputArea-output .gt_table').length === tables;
}"""
CLIPPED = """() => [...document.querySelectorAll('.gt_table th, .gt_table td, .jp-OutputArea-output [role=group]')]
  .filter(box => box.scrollWidth > box.clientWidth + 1).map(box => box.innerText)"""


@dataclass(frozen=True)
class Reading:
    """The review as it stands on the screen after all cells ran, and the cells as the file has them."""

    visit: Visit
    ran: bool
    cells: list[dict[str, Any]]

    def data(self, mime: str) -> list[str]:
        """Return what all cells put out of a kind."""
        found = (output.get("data", {}).get(mime) for cell in self.cells for output in cell["outputs"])
        return ["".join(text) for text in found if text is not None]

    def text(self) -> str:
        """Return the text of the notebook's pane, spaces and lines run together."""
        return " ".join(str(self.visit.page.inner_text(".jp-Notebook")).split())


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


@pytest.fixture(scope="module")
def jupyter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start JupyterLab by the command of `make lab` on a copy of notebooks/; give its address."""
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"no browser at {CHROMIUM}")
    place = tmp_path_factory.mktemp("checkout")
    shutil.copytree(packaged("notebooks"), place / "notebooks", ignore=shutil.ignore_patterns(".*"))
    point_at(place / "notebooks" / NOTEBOOK, small_lab(place / "lab"))
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
        yield f"{address}/lab/tree/{NOTEBOOK}?token={token}&reset"
    finally:
        stop(server)


def lab_command(options: list[str]) -> list[str]:
    """Return the command of the Makefile's target `lab`, for this Python and with more options."""
    if not (make := shutil.which("make")):
        pytest.skip("no make")
    told = [f"BIN={Path(sys.executable).parent}", f"ARGS={shlex.join(options)}"]
    # -o: the environment is as it is; nothing is installed by asking for the command.
    command = [make, "--dry-run", "-s", "-f", str(MAKEFILE), "-o", ".venv/.synced", "lab", *told]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=MAKEFILE.parent).stdout
    return shlex.split(said)


def point_at(notebook: Path, lab: Path) -> None:
    """Set the parameters of a copied notebook, as an analyst types them."""
    written = nbformat.read(notebook, as_version=4)
    (cell,) = [c for c in written.cells if "parameters" in c.metadata.get("tags", [])]
    cell["source"] = f"lab = {str(lab)!r}\nmonth = '2026-10'\nmetric = 'EffectiveCost'"
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


@pytest.fixture(scope="module")
def reading(jupyter: str) -> Iterator[Reading]:
    """Open the review, run all cells, and wait for what they put out to be drawn."""
    base = jupyter.split("/lab/")[0]
    # JupyterLab draws only the cells in view: the window is as tall as the whole review.
    allowed = (f"{base}/", f"{base.replace('http', 'ws', 1)}/")
    with open_page(jupyter, allow=allowed, viewport=(1300, 9000)) as visit:
        visit.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
        ran = visit.page.evaluate(RUN_ALL)
        reading = Reading(visit, ran, visit.page.evaluate(CELLS))
        visit.page.evaluate(TO_THE_TOP)
        yield reading


def complaints(cells: list[dict[str, Any]]) -> list[str]:
    """Return the errors, and whatever the cells said beside their results."""
    return [
        f"{cell['id']}: {output.get('evalue') or output.get('text')}"
        for cell in cells
        for output in cell["outputs"]
        if output["output_type"] not in ("display_data", "execute_result")
    ]


def shown(cell: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what a cell shows, without the plain text (a second run finds the exports already read)."""
    outputs = (output["data"] for output in cell["outputs"])
    return [{mime: data for mime, data in found.items() if mime != "text/plain"} for found in outputs]


def test_every_cell_runs_without_a_complaint(reading: Reading) -> None:
    assert complaints(reading.cells) == []
    assert reading.ran is True
    assert [cell["execution_count"] for cell in reading.cells] == list(range(1, len(reading.cells) + 1))
    assert [cell["id"] for cell in reading.cells if not cell["outputs"]] == ["parameters"]


def test_headings_charts_and_tables_are_drawn(reading: Reading) -> None:
    page = reading.visit.page
    charts = len(reading.data("image/svg+xml"))
    tables = sum("gt_table" in html for html in reading.data("text/html"))
    assert charts >= 3
    assert tables >= 7
    page.wait_for_function(DRAWN, arg=[charts, tables], timeout=20_000)
    # JupyterLab puts a link sign behind a heading.
    titles = [t.rstrip("¶ ") for t in page.locator(".jp-Notebook :is(h1, h2)").all_inner_texts()]
    assert titles == HEADINGS
    for picture in page.locator(".jp-OutputArea-output img").all():
        size = picture.bounding_box()
        assert size["width"] > 400
        assert size["height"] > 100
    for table in page.locator(".gt_table").all():
        assert table.is_visible()
        assert table.bounding_box()["width"] > 400
    assert page.evaluate(CLIPPED) == []


def test_dollar_signs_are_money_and_not_formulas(reading: Reading) -> None:
    text = reading.text()
    assert reading.visit.page.locator("mjx-container, .MathJax, .katex").all_inner_texts() == []
    # 14,850.17 + 5,690.17 + 725.17 = 21,265.51; a month before it was 605 less.
    assert "October 2026 cost $21,266 (effective cost), $605.00 (2.9%) more than September 2026" in text
    assert "$1,266 (6.3%) over the budget of $20,000" in text
    assert "search is the largest team with $14,850 (69.8% of the total), $450.00 (3.1%) more" in text
    assert re.search(r"80% interval \$[\d,.]+ to \$[\d,.]+", text)
    assert "\\$" not in text


def test_recorded_results_are_not_shown_to_the_reader(reading: Reading) -> None:
    recorded = [out for cell in reading.cells for out in cell["outputs"] if RESULT_MIME in out["data"]]
    assert len(recorded) == 12
    assert '{"' not in reading.text()


def test_nothing_is_asked_of_the_outside_and_nothing_fails(reading: Reading) -> None:
    assert reading.visit.outside == []
    assert reading.visit.errors == []


def test_all_cells_run_again_in_the_same_kernel(reading: Reading) -> None:
    assert reading.visit.page.evaluate(RUN_ALL), complaints(reading.visit.page.evaluate(CELLS))
    again = reading.visit.page.evaluate(CELLS)
    assert complaints(again) == []
    assert again[0]["execution_count"] == len(again) + 1
    for before, after in zip(reading.cells, again, strict=True):
        assert shown(after) == shown(before)
