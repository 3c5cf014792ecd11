"""The explorer in a real JupyterLab: all cells run, controls moved by keyboard, the picture looked at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from browser import Visit, open_page
from lab_server import CELLS, RUN_ALL, allowed, complaints, jupyterlab

NOTEBOOK = "explore.ipynb"
# What does not fit its box, beside what scrolls and can be reached by keyboard.
CLIPPED = """() => [...document.querySelectorAll('.finops-explorer :is(.widget-label, .gt_table, button, th, td)')]
  .filter(box => !box.closest('.finops-rows') && box.scrollWidth > box.clientWidth + 1)
  .map(box => box.innerText || box.outerHTML.slice(0, 80))"""
OUT_OF_VIEW = """() => { const width = document.querySelector('.finops-explorer').getBoundingClientRect().right;
  return [...document.querySelectorAll('.finops-explorer :is(select, button, svg, .gt_table, .finops-rows, pre)')]
    .filter(box => box.getBoundingClientRect().right > width + 1).map(box => box.outerHTML.slice(0, 80)); }"""
PICTURE = ".finops-explorer .finops-picture"
CHANGED = "before => document.querySelector('.finops-explorer .finops-picture')?.innerHTML !== before"


@dataclass(frozen=True)
class Exploring:
    """The explorer as it stands on the screen after all cells ran."""

    visit: Visit
    ran: bool
    cells: list[dict[str, Any]]

    @property
    def page(self) -> Any:
        """The page."""
        return self.visit.page

    def text(self, part: str = "") -> str:
        """Return the text of the explorer, or of a part of it, spaces and lines run together."""
        return " ".join(str(self.page.inner_text(f".finops-explorer {part}")).split())

    def press(self, label: str, *keys: str, redraws: bool = True) -> None:
        """Move a control by keyboard, and wait until the picture is another one."""
        before = self.page.inner_html(PICTURE)
        control = self.page.get_by_label(label, exact=True)
        control.focus()
        for key in keys:
            control.press(key)
        if redraws:
            self.page.wait_for_function(CHANGED, arg=before, timeout=20_000)

    def chosen(self, label: str) -> str:
        """Return what is chosen in a control."""
        control = self.page.get_by_label(label, exact=True)
        return str(control.evaluate("control => control.selectedOptions[0]?.text")).replace("\xa0", " ")

    def wait(self, words: str) -> None:
        """Wait until the explorer says some words."""
        self.page.wait_for_function(
            "words => document.querySelector('.finops-explorer')?.innerText.includes(words)",
            arg=words,
            timeout=20_000,
        )


@pytest.fixture(scope="module")
def exploring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exploring]:
    """Open the notebook as an analyst does, and run all cells."""
    place = tmp_path_factory.mktemp("checkout")
    # JupyterLab draws only the cells in view: the window is higher than a screen.
    with (
        jupyterlab(place, NOTEBOOK, "lab = LAB\nby = 'team'") as address,
        open_page(address, allow=allowed(address), viewport=(1300, 1700)) as visit,
    ):
        visit.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
        ran = visit.page.evaluate(RUN_ALL)
        visit.page.wait_for_selector(PICTURE, timeout=20_000)
        yield Exploring(visit, ran, visit.page.evaluate(CELLS))


def test_every_cell_runs_without_a_complaint(exploring: Exploring) -> None:
    assert exploring.ran is True
    (printed,) = complaints(exploring.cells)  # the last cell prints the code of the view
    assert printed.startswith("code: import polars as pl")
    said = "Effective (amortised) cost of 2026-10 by team; $21,265.51 in 3 lines of 3 bill rows"
    assert said in exploring.text()


def test_the_picture_has_a_text_and_everything_fits(exploring: Exploring, tmp_path: Path) -> None:
    page = exploring.page
    assert page.get_attribute(PICTURE, "aria-label").startswith(
        "Bars of effective cost, largest first: search $14.9k"
    )
    picture, table = (page.locator(name).bounding_box() for name in (PICTURE, ".finops-explorer .gt_table"))
    assert picture["width"] > 350 and picture["height"] > 100
    # Side by side at 1300 px with JupyterLab's own bar of files beside them.
    assert table["x"] > picture["x"] + picture["width"] - 1
    assert abs(table["y"] - picture["y"]) < 40
    assert page.evaluate(CLIPPED) == [] and page.evaluate(OUT_OF_VIEW) == []
    page.screenshot(path=tmp_path / "explorer.png")


def test_controls_are_reached_by_keyboard_in_the_order_they_stand(exploring: Exploring) -> None:
    page = exploring.page
    page.get_by_label("Cost", exact=True).focus()
    reached = []
    for _ in range(11):
        reached.append(
            page.evaluate(
                "() => document.activeElement.labels?.[0]?.innerText || document.activeElement.innerText"
                " || document.activeElement.tagName"
            ).strip()
        )
        page.keyboard.press("Tab")
    assert reached[:8] == [
        "Cost", "By", "From", "To", "Compare with", "Filter by", "Only these (Ctrl adds)", "Clear all filters",
    ]  # fmt: skip
    assert reached[8].startswith("Effective cost by team")  # the table scrolls where it is too narrow
    assert reached[9:] == ["Look behind", "Bill rows of"]


def test_a_control_moved_by_keyboard_changes_picture_table_and_code(exploring: Exploring) -> None:
    page = exploring.page
    exploring.press("By", "m")  # team, then what begins with m
    exploring.wait("cost of 2026-10 by model")
    assert page.get_attribute(PICTURE, "aria-label").startswith(
        "Bars of effective cost, largest first: model-a $14.9k"
    )
    assert "model-b" in exploring.text(".gt_table")
    exploring.press("From", "ArrowUp")  # neither is a command of the notebook
    exploring.wait("cost of 2026-09 to 2026-10 by model")
    exploring.press("From", "Home")
    exploring.wait("cost of 2025-09 to 2026-10 by model")
    assert page.get_attribute(PICTURE, "aria-label").startswith("Stacked bars")
    assert page.locator(PICTURE).bounding_box()["width"] > 600
    assert page.evaluate(CLIPPED) == [] and page.evaluate(OUT_OF_VIEW) == []
    exploring.press("From", "End")
    exploring.press("By", "t")
    exploring.wait("cost of 2026-10 by team")


def test_from_a_bar_to_entries_to_bill_rows_to_code(exploring: Exploring, tmp_path: Path) -> None:
    page = exploring.page
    exploring.press("Look behind", "Home", redraws=False)
    exploring.wait("search: 1 entry.")
    exploring.press("Bill rows of", "Home", redraws=False)
    exploring.wait("Owner search, by team of the account (rule).")
    assert "This 1 bill row adds up to the entry, $14,850.17, exactly." in exploring.text()
    assert "bill.csv" in exploring.text()
    page.screenshot(path=tmp_path / "bill.png")
    page.get_by_role("tab", name="Show as code").click()
    exploring.wait("fl.spend(lab,")
    assert 'against=("2026-09", "2026-09")' in page.inner_text(".finops-explorer pre")


def test_a_click_on_a_line_or_a_bar_looks_behind_it(exploring: Exploring) -> None:
    page = exploring.page
    page.locator(".finops-explorer .gt_table tbody tr").nth(1).click()
    exploring.wait("support: 1 entry.")
    page.locator(f"{PICTURE} .mark-rect path").nth(2).click()
    exploring.wait("unallocated: 1 entry.")
    assert exploring.chosen("Look behind").startswith("unallocated: $725")


def test_the_table_is_saved_without_a_server(exploring: Exploring, tmp_path: Path) -> None:
    page = exploring.page
    page.get_by_role("tab", name="Export").click()
    with page.expect_download(timeout=20_000) as saved:
        page.get_by_role("link", name="Save 3 lines as CSV").click()
    assert saved.value.suggested_filename == "effective-by-team-2026-10.csv"
    saved.value.save_as(tmp_path / "saved.csv")
    frame = pl.read_csv(tmp_path / "saved.csv", infer_schema=False)
    assert frame["amount"].to_list()[0] == "14850.170000000000000000"


def test_a_screen_reader_finds_names_for_everything(exploring: Exploring) -> None:
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(exploring.page, context=".finops-explorer").response
    assert found["passes"]
    assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found["violations"]] == []


def test_nothing_is_asked_of_the_outside_and_nothing_fails(exploring: Exploring) -> None:
    assert exploring.visit.outside == []
    assert exploring.visit.errors == []
