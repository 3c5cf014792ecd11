"""Dashboards: what somebody looks at between reviews, each a thin notebook and one offline page."""

from __future__ import annotations

from datetime import date
from importlib import import_module
from pathlib import Path

from finops_lab.errors import InputError
from finops_lab.lab import Lab
from finops_lab.reporting.dashboards.board import Board
from finops_lab.reporting.executing import ReportFiles, Run, run_notebook
from finops_lab.reporting.monthly import prepare, review

__all__ = ["DASHBOARDS", "Board", "dashboard", "run_dashboard"]

# Name, class in the module of that name, title, and whom it is for.
DASHBOARDS = {
    "executive": ("Executive", "what AI costs, whom it serves, what it returns, what comes next"),
    "oncall": ("On-call", "which promises are in danger, what coincides, what to do"),
    "debug": ("Debug", "where time and GPU-seconds of calls go, retrains, evictions, one trace"),
    "optimization": ("Optimization", "idle capacity, variants, commitments, what to label and look at"),
}


def dashboard(
    name: str,
    lab: str | Lab = "",
    month: str = "",
    metric: str = "EffectiveCost",
    *,
    at: str | date | None = None,
) -> Board:
    """Prepare a dashboard of a lab; its methods are its sections.

    Parameters
    ----------
    name : str
        ``executive``, ``oncall``, ``debug`` or ``optimization``.
    lab : str or Lab
        The lab or its folder; the packaged sample lab when empty.
    month : str
        The month shown, such as ``2026-10``.
    metric : str
        ``EffectiveCost`` (amortised) or ``BilledCost`` (invoiced).
    at : str, datetime.date or datetime.datetime, optional
        How far the month has run (UTC), where it is not over: as of `finops_lab.review`.

    Returns
    -------
    Board

    Raises
    ------
    InputError
        When a parameter is wrong or the lab has no data for the month.
    CurrencyError
        When the bills are in several currencies and `finops.toml` has no rates.
    """
    _known(name)
    kind: type[Board] = import_module(f"finops_lab.reporting.dashboards.{name}").Dashboard
    return kind(name, DASHBOARDS[name][0], review(lab, month, metric, at=at))


def run_dashboard(
    name: str,
    lab: Lab,
    month: str,
    out: Path,
    *,
    metric: str = "EffectiveCost",
    at: str = "",
    progress: bool = False,
) -> ReportFiles:
    """Run a dashboard's notebook and write its HTML page, notebook and JSON.

    Parameters
    ----------
    name, lab, month, metric, at
        As for `dashboard`; the lab is opened already.
    out : pathlib.Path
        Folder of reports; files go to ``out/2026-10/dashboard-NAME.{html,ipynb,json}``.
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
    _known(name)
    prepare(lab, month, metric, at)
    title = f"{DASHBOARDS[name][0]} dashboard {month}: {lab.name}"
    parameters = {"month": month, "metric": metric} | ({"at": at} if at else {})
    run = Run(f"dashboard_{name}.ipynb", f"dashboard-{name}", title, "dashboard", parameters)
    return run_notebook(lab, run, out / month, progress=progress)


def _known(name: str) -> None:
    if name not in DASHBOARDS:
        raise InputError(f"there is no dashboard {name!r}", hint=f"dashboards: {', '.join(DASHBOARDS)}")
