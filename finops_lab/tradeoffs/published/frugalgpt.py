"""FrugalGPT: accuracy and price per query of single models and of cascades learnt for a budget."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from finops_lab.errors import InputError
from finops_lab.tradeoffs.published.results import Findings, Published, published
from finops_lab.tradeoffs.published.texts import first_line, numbers, read_csv

__all__ = ["KIND", "LAYOUT", "read", "recognises"]

KIND = "frugalgpt"
LAYOUT = "summary_*.csv and *_perf_seed_*.csv of stanford-futuredata/FrugalGPT"
_FIGURES = ("Test_acc", "Test_cost", "Test_size", "Train_acc", "Train_cost", "Budget")
_TEXTS = ("Method", "Provider")
_CASCADE = "FrugalGPT"
_NAME = re.compile(r"summary_([A-Z]+)_|([a-z]+)_e\d+_perf")
# As many methods with one accuracy to the last digit are no measurement.
_PLACEHOLDERS = 3
# A figure that is the size times the other split's price per query is a total, up to sampling.
_TOTAL = 0.05
_Row = dict[str, Any]


def recognises(path: Path) -> bool:
    """Tell whether a file or folder is of this set."""
    if path.is_dir():
        return any(recognises(file) for file in path.glob("*.csv"))
    return {"Test_acc", "Test_cost", "Budget", "Method"} <= set(first_line(path).split(","))


def read(path: Path) -> Published:
    """Read accuracies and prices of models and of FrugalGPT's cascades.

    Parameters
    ----------
    path : pathlib.Path
        A CSV with ``Test_acc``, ``Test_cost`` (USD per query), ``Test_size``, ``Train_acc``,
        ``Train_cost``, ``Budget``, ``Method``, ``Provider``, with or without a column of row numbers in
        front; or a folder of them. The task stands in the file's name.

    Returns
    -------
    Published
        A point for each method and task, on the test split. ``model`` is the method; a cascade's
        ``variant`` names its budgets (USD per query). ``workload`` is the task and the name of the
        file's series, ``serving`` the provider, ``quality`` an accuracy from 0 to 1. ``cost_basis`` is
        ``ListCost``: prices times tokens. Findings: ``total`` (a price of the whole test set among
        prices per query, divided), ``placeholder`` (accuracies that nobody measured, dropped),
        ``merged`` (budgets that buy the same cascade, one point), ``above_budget``.

    Raises
    ------
    InputError
        A column is missing, a text is no number, or the name of the file tells no task.
    """
    files = sorted(f for f in path.glob("*.csv") if recognises(f)) if path.is_dir() else [path]
    findings = Findings(files[0].name)
    return published(
        [point for file in files for point in _points(file, findings)],
        kind=KIND,
        files=files,
        origin="stanford-futuredata/FrugalGPT",
        licence="Apache-2.0",
        findings=findings,
    )


def _points(path: Path, findings: Findings) -> list[_Row]:
    named = _NAME.search(path.name)
    if named is None:
        hint = "expected a name such as summary_AGNEWS_e8_full_2024.csv"
        raise InputError("the name tells no task", file=path, hint=hint)
    task = (named[1] or named[2]).upper()
    series = "summary" if named[1] else "run"
    frame = read_csv(path, (*_TEXTS, *_FIGURES), filled=_TEXTS)
    values = [numbers(frame, name, file=path, findings=findings) for name in _FIGURES]
    rows = [
        {"row": i, "Method": method, "Provider": provider, **dict(zip(_FIGURES, figures, strict=True))}
        for i, (method, provider, *figures) in enumerate(
            zip(frame["Method"], frame["Provider"], *values, strict=True), 1
        )
    ]
    rows = _measured(rows, path, findings)
    _per_query(rows, path, findings)
    points: dict[tuple[Any, ...], _Row] = {}
    budgets: dict[tuple[Any, ...], list[float]] = {}
    merged, above = [], []
    for row in rows:
        cascade = row["Method"] == _CASCADE
        key = (row["Method"], row["Provider"], row["Test_acc"], row["Test_cost"])
        if points.setdefault(key, row) is not row:
            merged.append(row["row"])
        if cascade and row["Budget"] is not None:
            budgets.setdefault(key, []).append(row["Budget"])
            if (row["Test_cost"] or 0) > row["Budget"]:
                above.append(row["row"])
    if merged:
        findings.add("merged", "method, accuracy and cost as above; one point", rows=merged, file=path.name)
    if above:
        said = "on the test split these cascades cost more than their budget, which held on the other"
        findings.add("above_budget", said, rows=above, file=path.name)
    return [
        {
            "model": row["Method"],
            "variant": _budget(budgets.get(key, [])),
            "serving": row["Provider"],
            "workload": f"{task} ({series})",
            "BillingCurrency": "USD",
            "cost_basis": "ListCost",
            "per_1000_inferences": None if row["Test_cost"] is None else 1000 * row["Test_cost"],
            "quality_metric": "accuracy",
            "quality": row["Test_acc"],
            "higher_is_better": True,
            "quality_n": None if row["Test_size"] is None else int(row["Test_size"]),
        }
        for key, row in points.items()
    ]


def _measured(rows: list[_Row], path: Path, findings: Findings) -> list[_Row]:
    """Drop rows whose accuracy several methods share to the last digit, while in training they differ."""
    methods: dict[float, set[str]] = {}
    for row in rows:
        methods.setdefault(row["Test_acc"], set()).add(row["Method"])
    counts = Counter({accuracy: len(names) for accuracy, names in methods.items()})
    empty = [row["row"] for row in rows if counts[row["Test_acc"]] >= _PLACEHOLDERS]
    if empty:
        said = "one accuracy for many methods: a placeholder, and the cost beside it another unit; dropped"
        findings.add("placeholder", said, rows=empty, file=path.name)
    return [row for row in rows if row["row"] not in set(empty)]


def _per_query(rows: list[_Row], path: Path, findings: Findings) -> None:
    """Divide costs of the whole test set by its size."""
    totals = []
    for row in rows:
        cost, size, train = row["Test_cost"], row["Test_size"], row["Train_cost"]
        if cost and size and train and abs(cost / size / train - 1) <= _TOTAL:
            row["Test_cost"] = cost / size
            totals.append(row["row"])
    if totals:
        said = "Test_cost is of the whole test set (Train_cost is per query); divided by Test_size"
        findings.add("total", said, rows=totals, file=path.name)


def _budget(budgets: list[float]) -> str | None:
    if not budgets:
        return None
    low, high = min(budgets), max(budgets)
    return f"budget {low:g}" if low == high else f"budget {low:g} to {high:g}"
