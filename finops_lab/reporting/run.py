"""Run the review notebook by papermill, freeze it, export it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from finops_lab.calendar import format_month, is_closed, month_name
from finops_lab.errors import InputError, RunError
from finops_lab.lab import Lab, packaged
from finops_lab.money import exact_sum
from finops_lab.reporting.freeze import freeze
from finops_lab.reporting.monthly import prepare
from finops_lab.reporting.record import results
from finops_lab.reporting.render import to_html

__all__ = ["ReportFiles", "due", "run_review"]

NAME = "monthly-review"
_KINDS = ("html", "ipynb", "json")


@dataclass(frozen=True)
class ReportFiles:
    """Where a finished review lies, and its figures."""

    html: Path
    ipynb: Path
    json: Path
    results: dict[str, Any]


def due(lab: Lab, since: date, today: date, out: Path, metric: str = "EffectiveCost") -> list[str]:
    """Return the closed months from `since` on that have charges and no current review in `out`.

    A review is current when it shows this lab and metric, and the month's charges still add up to
    what it shows: late charges, corrections and reviews of an open month make it due again.
    """
    months = [m for m in lab.months() if m >= since and is_closed(m, today)]
    month = pl.col("ChargePeriodStart").dt.date().dt.month_start()
    sums = lab.costs().group_by(month.alias("month"), "BillingCurrency").agg(pl.col(metric).sum()).collect()
    paid: dict[date, dict[str, Decimal]] = {}
    for start, currency, amount in sums.iter_rows():
        paid.setdefault(start, {})[currency] = amount
    return [format_month(m) for m in months if _shown(out / format_month(m), lab, metric) != paid[m]]


def _shown(folder: Path, lab: Lab, metric: str) -> dict[str, Decimal] | None:
    """Return the amounts on the bill that a finished review of the lab shows, per currency."""
    if not all((folder / f"{NAME}.{kind}").exists() for kind in _KINDS):
        return None
    found = json.loads((folder / f"{NAME}.json").read_text(encoding="utf-8"))
    if (found["provenance"]["lab"], found["headline"]["metric"]) != (lab.name, metric):
        return None
    amounts: dict[str, list[Decimal]] = {}
    for row in found["receipt"]["month"]:
        amounts.setdefault(row["BillingCurrency"], []).append(Decimal(row["amount_in"]))
    return {currency: exact_sum(values) for currency, values in amounts.items()}


def _refuse_other_lab(target: Path, lab: Lab) -> None:
    figures = target / f"{NAME}.json"
    if figures.exists():
        other = json.loads(figures.read_text(encoding="utf-8"))["provenance"]["lab"]
        if other != lab.name:
            raise InputError(
                f"holds the review of another lab, {other!r}", file=target, hint="choose another --out"
            )


def run_review(
    lab: Lab, month: str, out: Path, *, metric: str = "EffectiveCost", progress: bool = False
) -> ReportFiles:
    """Run the monthly review and write its HTML page, notebook and JSON.

    The files appear together when all are done. The same inputs write the same bytes.

    Parameters
    ----------
    lab : Lab
        An opened lab.
    month : str
        The month, such as ``2026-10``.
    out : pathlib.Path
        Folder of reports; files go to ``out/2026-10/monthly-review.{html,ipynb,json}``.
    metric : str
        ``EffectiveCost`` or ``BilledCost``.
    progress : bool
        Show a bar of the cells done on standard error.

    Returns
    -------
    ReportFiles

    Raises
    ------
    InputError
        When a parameter or the lab's data is wrong; nothing is run.
    RunError
        When a cell fails; the failed notebook is kept beside the reports.
    """
    _, start = prepare(lab, month, metric)
    target = out / month
    _refuse_other_lab(target, lab)
    partial = out / f".{month}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        notebook = _execute(lab, month, metric, partial, target, progress)
        frozen = freeze(notebook, parameters={"lab": lab.name, "month": month, "metric": metric})
        found = results(frozen)
        page = to_html(frozen, title=f"Monthly review {month_name(start)}: {lab.name}")
        (partial / f"{NAME}.html").write_text(page, encoding="utf-8", newline="\n")
        _write_notebook(frozen, partial / f"{NAME}.ipynb")
        text = json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        (partial / f"{NAME}.json").write_text(text, encoding="utf-8", newline="\n")
        target.mkdir(parents=True, exist_ok=True)
        for kind in _KINDS:
            os.replace(partial / f"{NAME}.{kind}", target / f"{NAME}.{kind}")
        (target / f"{NAME}.failed.ipynb").unlink(missing_ok=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    html, ipynb, figures = (target / f"{NAME}.{kind}" for kind in _KINDS)
    return ReportFiles(html, ipynb, figures, found)


def _execute(lab: Lab, month: str, metric: str, partial: Path, target: Path, progress: bool) -> Any:
    import nbformat
    import papermill
    from papermill.exceptions import PapermillExecutionError

    executed = partial / "executed.ipynb"
    try:
        with TemporaryDirectory(prefix="finops-") as sockets:
            papermill.execute_notebook(
                str(packaged("notebooks") / "monthly_review.ipynb"),
                str(executed),
                parameters={"lab": str(lab.folder.resolve()), "month": month, "metric": metric},
                kernel_name="python3",
                kernel_manager_class=_kernel_manager(Path(sockets)),
                progress_bar={"desc": "Monthly review"} if progress else False,
            )
    except PapermillExecutionError as error:
        kept = _keep_failed(executed, target)
        said = f"{error.ename}: {error.evalue}".strip().splitlines()[0]
        raise RunError(f"cell {error.exec_count} of the review failed: {said}", hint=f"see {kept}") from None
    notebook = nbformat.read(executed, as_version=4)
    undone = [c for c in _code(notebook) if c.metadata.get("papermill", {}).get("status") != "completed"]
    if undone:
        kept = _keep_failed(executed, target)
        raise RunError(f"{len(undone)} cells of the review did not complete", hint=f"see {kept}")
    return notebook


def _code(notebook: Any) -> Iterable[Any]:
    return (cell for cell in notebook.cells if cell.cell_type == "code")


def _keep_failed(executed: Path, target: Path) -> Path:
    target.mkdir(parents=True, exist_ok=True)
    kept = target / f"{NAME}.failed.ipynb"
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
