"""The monthly review in a real JupyterLab: started by `make lab`, run as its menu does, read in a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from browser import Visit, open_page
from lab_server import CELLS, RUN_ALL, allowed, complaints, jupyterlab

from finops_lab.reporting.record import RESULT_MIME

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


@pytest.fixture(scope="module")
def jupyter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start JupyterLab by the command of `make lab` on a copy of notebooks/; give its address."""
    parameters = "lab = LAB\nmonth = '2026-10'\nmetric = 'EffectiveCost'"
    with jupyterlab(tmp_path_factory.mktemp("checkout"), NOTEBOOK, parameters) as address:
        yield address


@pytest.fixture(scope="module")
def reading(jupyter: str) -> Iterator[Reading]:
    """Open the review, run all cells, and wait for what they put out to be drawn."""
    # JupyterLab draws only the cells in view: the window is as tall as the whole review.
    with open_page(jupyter, allow=allowed(jupyter), viewport=(1300, 9000)) as visit:
        visit.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
        ran = visit.page.evaluate(RUN_ALL)
        reading = Reading(visit, ran, visit.page.evaluate(CELLS))
        visit.page.evaluate(TO_THE_TOP)
        yield reading


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
