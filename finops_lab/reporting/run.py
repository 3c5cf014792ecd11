"""The monthly review of a lab as files, and the months that still need one."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import polars as pl

from finops_lab.calendar import format_month, is_closed, month_name
from finops_lab.lab import Lab
from finops_lab.money import exact_sum
from finops_lab.reporting.executing import KINDS, ReportFiles, Run, run_notebook
from finops_lab.reporting.monthly import prepare

__all__ = ["ReportFiles", "due", "run_review"]

NAME = "monthly-review"


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
    if not all((folder / f"{NAME}.{kind}").exists() for kind in KINDS):
        return None
    found = json.loads((folder / f"{NAME}.json").read_text(encoding="utf-8"))
    if (found["provenance"]["lab"], found["headline"]["metric"]) != (lab.name, metric):
        return None
    amounts: dict[str, list[Decimal]] = {}
    for row in found["receipt"]["month"]:
        amounts.setdefault(row["BillingCurrency"], []).append(Decimal(row["amount_in"]))
    return {currency: exact_sum(values) for currency, values in amounts.items()}


def run_review(
    lab: Lab, month: str, out: Path, *, metric: str = "EffectiveCost", at: str = "", progress: bool = False
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
    at : str
        How far the month has run (UTC), where it is not over: as of `finops_lab.review`.
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
    _, start = prepare(lab, month, metric, at)
    title = f"Monthly review {month_name(start)}: {lab.name}"
    run = Run(
        "monthly_review.ipynb",
        NAME,
        title,
        "review",
        {"month": month, "metric": metric} | ({"at": at} if at else {}),
    )
    return run_notebook(lab, run, out / month, progress=progress)
