"""Make an executed notebook the same bytes for the same results: no clock, no paths, no random ids."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["freeze"]

# What papermill and ipykernel write about the moment of the run.
_MOMENT = ("execution", "papermill")
_WIDGET_MIME = "application/vnd.jupyter.widget-view+json"
_INJECTED = "injected-parameters"
_NEW_CELLS = (_INJECTED, "papermill-error-cell-tag")
# Warnings name the kernel's temporary copy of the cell, a path with a process id.
_CELL_FILE = re.compile(r"\S*ipykernel_\d+\S*?\.py\b")
_ADDRESS = re.compile(r"\bat 0x[0-9A-Fa-f]+\b")


def freeze(nb: NotebookNode, *, parameters: Mapping[str, Any]) -> NotebookNode:
    r"""Return the notebook without what changes from run to run.

    Dropped: times and durations, input and output paths, widgets, memory addresses in plain text, the
    kernel's temporary file names, the patch version of Python. The cells that papermill adds get fixed
    ids, and text printed in several pieces is joined.

    Parameters
    ----------
    nb : nbformat.NotebookNode
        An executed notebook; it is not changed.
    parameters : mapping of str to object
        The parameters to show in place of those the run was given: a lab's name instead of its path.

    Returns
    -------
    nbformat.NotebookNode

    Examples
    --------
    >>> import nbformat.v4 as v4
    >>> cell = v4.new_code_cell("lab = '/home/a/lab'", metadata={"tags": ["injected-parameters"]})
    >>> frozen = freeze(v4.new_notebook(cells=[cell]), parameters={"lab": "Sample"})
    >>> frozen.cells[0].id, frozen.cells[0].source
    ('injected-parameters', '# Parameters\nlab = "Sample"\n')
    """
    frozen = copy.deepcopy(nb)
    frozen.metadata["papermill"] = {"parameters": dict(parameters)}
    frozen.metadata.pop("widgets", None)
    language = frozen.metadata.get("language_info", {})
    if "version" in language:
        language["version"] = ".".join(str(language["version"]).split(".")[:2])
    added = 0
    for cell in frozen.cells:
        for key in _MOMENT:
            cell.metadata.pop(key, None)
        tags = cell.metadata.get("tags", [])
        if _INJECTED in tags:
            cell["id"], cell["source"] = _INJECTED, _assignments(parameters)
        elif any(tag in tags for tag in _NEW_CELLS):
            added += 1
            cell["id"] = f"papermill-{added}"
        if cell.cell_type == "code":
            cell["outputs"] = _joined([output for output in cell.outputs if not _is_widget(output)])
            for output in cell.outputs:
                _without_places(output)
    return frozen


def _assignments(parameters: Mapping[str, Any]) -> str:
    from papermill.translators import PythonTranslator

    return str(PythonTranslator.codify(parameters))


def _is_widget(output: NotebookNode) -> bool:
    return _WIDGET_MIME in output.get("data", {})


def _joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Join neighbouring pieces of one stream: where they are cut depends on timing."""
    joined: list[NotebookNode] = []
    for output in outputs:
        last = joined[-1] if joined else None
        if last is not None and output.output_type == "stream" and output.get("name") == last.get("name"):
            last["text"] += output.text
        else:
            joined.append(output)
    return joined


def _without_places(output: NotebookNode) -> None:
    if output.output_type == "stream":
        output["text"] = _CELL_FILE.sub("<cell>", output.text)
    text = output.get("data", {}).get("text/plain")
    if isinstance(text, str):
        output["data"]["text/plain"] = _ADDRESS.sub("at 0x…", text)
