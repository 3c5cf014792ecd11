"""Run a notebook of the package by papermill, freeze it, export it: all files together or none."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from finops_lab.errors import InputError, RunError
from finops_lab.lab import Lab, packaged
from finops_lab.reporting.freeze import freeze
from finops_lab.reporting.record import results
from finops_lab.reporting.render import to_html

__all__ = ["KINDS", "ReportFiles", "Run", "run_notebook"]

KINDS = ("html", "ipynb", "json")


@dataclass(frozen=True)
class ReportFiles:
    """Where a finished report lies, and its figures."""

    html: Path
    ipynb: Path
    json: Path
    results: dict[str, Any]


@dataclass(frozen=True)
class Run:
    """What to run, and what it is called.

    Attributes
    ----------
    notebook : str
        File name among the package's notebooks.
    name : str
        Name of the report's files, without their endings.
    title : str
        Title of the page.
    words : str
        What it is, for messages: ``review``, ``dashboard``.
    parameters : mapping
        Parameters of the notebook beside ``lab``.
    """

    notebook: str
    name: str
    title: str
    words: str
    parameters: Mapping[str, Any]


def run_notebook(lab: Lab, run: Run, target: Path, *, progress: bool = False) -> ReportFiles:
    """Run a notebook on a lab and write its HTML page, notebook and JSON into a folder.

    The files appear together when all are done. The same inputs write the same bytes.

    Parameters
    ----------
    lab : Lab
        An opened lab.
    run : Run
        What to run.
    target : pathlib.Path
        Folder of the report; made where it is missing.
    progress : bool
        Show a bar of the cells done on standard error.

    Returns
    -------
    ReportFiles

    Raises
    ------
    InputError
        When the folder holds this report of another lab.
    RunError
        When a cell fails; the failed notebook is kept beside the reports.
    """
    _refuse_other_lab(target, lab, run)
    partial = target.with_name(f".{target.name}.{run.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        notebook = _execute(lab, run, partial, target, progress)
        frozen = freeze(notebook, parameters={"lab": lab.name, **run.parameters})
        found = results(frozen)
        page = to_html(frozen, title=run.title)
        (partial / f"{run.name}.html").write_text(page, encoding="utf-8", newline="\n")
        _write_notebook(frozen, partial / f"{run.name}.ipynb")
        text = json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        (partial / f"{run.name}.json").write_text(text, encoding="utf-8", newline="\n")
        target.mkdir(parents=True, exist_ok=True)
        for kind in KINDS:
            os.replace(partial / f"{run.name}.{kind}", target / f"{run.name}.{kind}")
        (target / f"{run.name}.failed.ipynb").unlink(missing_ok=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    html, ipynb, figures = (target / f"{run.name}.{kind}" for kind in KINDS)
    return ReportFiles(html, ipynb, figures, found)


def _refuse_other_lab(target: Path, lab: Lab, run: Run) -> None:
    figures = target / f"{run.name}.json"
    if figures.exists():
        other = json.loads(figures.read_text(encoding="utf-8"))["provenance"]["lab"]
        if other != lab.name:
            raise InputError(
                f"holds the {run.words} of another lab, {other!r}", file=target, hint="choose another --out"
            )


def _execute(lab: Lab, run: Run, partial: Path, target: Path, progress: bool) -> Any:
    import nbformat
    import papermill
    from papermill.exceptions import PapermillExecutionError

    executed = partial / "executed.ipynb"
    try:
        with TemporaryDirectory(prefix="finops-") as sockets:
            papermill.execute_notebook(
                str(packaged("notebooks") / run.notebook),
                str(executed),
                parameters={"lab": str(lab.folder.resolve()), **run.parameters},
                kernel_name="python3",
                kernel_manager_class=_kernel_manager(Path(sockets)),
                progress_bar={"desc": run.title.partition(":")[0]} if progress else False,
            )
    except PapermillExecutionError as error:
        kept = _keep_failed(executed, target, run)
        said = f"{error.ename}: {error.evalue}".strip().splitlines()[0]
        raise RunError(
            f"cell {error.exec_count} of the {run.words} failed: {said}", hint=f"see {kept}"
        ) from None
    notebook = nbformat.read(executed, as_version=4)
    undone = [c for c in _code(notebook) if c.metadata.get("papermill", {}).get("status") != "completed"]
    if undone:
        kept = _keep_failed(executed, target, run)
        raise RunError(f"{len(undone)} cells of the {run.words} did not complete", hint=f"see {kept}")
    return notebook


def _code(notebook: Any) -> Iterable[Any]:
    return (cell for cell in notebook.cells if cell.cell_type == "code")


def _keep_failed(executed: Path, target: Path, run: Run) -> Path:
    target.mkdir(parents=True, exist_ok=True)
    kept = target / f"{run.name}.failed.ipynb"
    os.replace(executed, kept)
    return kept


def _write_notebook(notebook: Any, path: Path) -> None:
    import nbformat

    text = nbformat.writes(notebook, version=4)
    path.write_text(text + ("" if text.endswith("\n") else "\n"), encoding="utf-8", newline="\n")


def _kernel_manager(sockets: Path) -> Any:
    """Talk to the kernel over local sockets: over TCP ipykernel warns on every run.

    Their paths must be short, so they do not lie below the reports.
    """
    from jupyter_client.manager import AsyncKernelManager

    class LocalKernelManager(AsyncKernelManager):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            if os.name == "posix":
                self.transport, self.ip = "ipc", str(sockets / "kernel")

    return LocalKernelManager
