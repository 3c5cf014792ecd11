"""Notebooks are thin, clean and runnable by anyone: structure only, nbval or papermill runs them."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

MOST_CELLS = 14
MOST_LINES = 5


def notebook(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def source(cell: dict[str, Any]) -> str:
    text = cell["source"]
    return text if isinstance(text, str) else "".join(text)


def code_cells(path: Path) -> list[dict[str, Any]]:
    return [cell for cell in notebook(path)["cells"] if cell["cell_type"] == "code"]


every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)


def test_the_review_is_among_the_notebooks_checked_here() -> None:
    assert "monthly_review.ipynb" in [path.name for path in NOTEBOOKS]
    # Notebooks in a folder below would escape the checks of this file and nbval's.
    assert sorted((ROOT / "notebooks").rglob("[!.]*.ipynb")) == [
        *NOTEBOOKS,
        *sorted((ROOT / "notebooks").rglob(".ipynb_checkpoints/*.ipynb")),
    ]


@every_notebook
def test_no_outputs_are_committed(path: Path) -> None:
    for cell in code_cells(path):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
        assert not {"papermill", "execution"} & set(cell["metadata"])
    assert not {"papermill", "widgets"} & set(notebook(path)["metadata"])


@every_notebook
def test_the_kernel_is_any_python3(path: Path) -> None:
    metadata = notebook(path)["metadata"]
    assert metadata["kernelspec"]["name"] == "python3"
    assert metadata["kernelspec"]["language"] == "python"
    # A minor version here would change with every machine that saves the notebook.
    assert "version" not in metadata.get("language_info", {})


@every_notebook
def test_cell_ids_are_short_words(path: Path) -> None:
    found = notebook(path)
    assert (found["nbformat"], found["nbformat_minor"]) >= (4, 5)
    ids = [cell["id"] for cell in found["cells"]]
    assert len(ids) == len(set(ids))
    assert [i for i in ids if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", i) or len(i) > 24] == []
    # Jupyter's own ids are eight hexadecimal digits: nobody named those.
    assert [i for i in ids if re.fullmatch(r"(?=.*\d)[0-9a-f]{8}(-[0-9a-f-]+)?", i)] == []


@every_notebook
def test_code_cells_are_few_and_short(path: Path) -> None:
    cells = code_cells(path)
    assert 0 < len(cells) <= MOST_CELLS
    long = {
        cell["id"]: source(cell)
        for cell in cells
        if not 1 <= sum(bool(line.strip()) for line in source(cell).splitlines()) <= MOST_LINES
    }
    assert long == {}


@every_notebook
def test_code_cells_hold_no_logic_of_their_own(path: Path) -> None:
    defining = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for cell in code_cells(path):
        # Plain Python only: a magic does not parse.
        tree = ast.parse(source(cell))
        for node in ast.walk(tree):
            assert not isinstance(node, defining), f"{cell['id']}: {ast.unparse(node)}"
            if isinstance(node, ast.Assign | ast.AnnAssign):
                assert not isinstance(node.value, ast.Lambda), f"{cell['id']}: {ast.unparse(node)}"
        # Two statements on a line would get around the limit of lines.
        lines = [node.lineno for node in tree.body]
        assert len(lines) == len(set(lines)), cell["id"]


@every_notebook
def test_parameters_are_typed_constants_with_help(path: Path) -> None:
    tagged = [cell for cell in code_cells(path) if "parameters" in cell["metadata"].get("tags", [])]
    if path.name != "monthly_review.ipynb" and not tagged:
        return
    (cell,) = tagged
    lines = [line for line in source(cell).splitlines() if line.strip() and not line.startswith("import ")]
    for line in lines:
        # What `papermill --help-notebook` shows: name, type, default, and the comment as help.
        (node,) = ast.parse(line).body
        assert isinstance(node, ast.AnnAssign), line
        assert node.value is not None, line
        ast.literal_eval(node.value)
        assert re.search(r"  # \S", line), line


@every_notebook
def test_a_notebook_begins_with_a_title(path: Path) -> None:
    first = notebook(path)["cells"][0]
    assert first["cell_type"] == "markdown"
    assert source(first).startswith("# ")
