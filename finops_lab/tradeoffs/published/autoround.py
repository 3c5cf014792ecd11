"""AutoRound: accuracy of language models under many ways to quantise them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from finops_lab.errors import InputError
from finops_lab.tradeoffs.published.results import Findings, Published, published
from finops_lab.tradeoffs.published.texts import Table, html_tables, number, pipe_tables, read_text
from finops_lab.tradeoffs.senses import sense_of

__all__ = ["KIND", "LAYOUT", "read", "recognises"]

KIND = "autoround"
LAYOUT = "the *_acc.md pages of intel/auto-round"
_MARKS = ("auto_round", "auto-round", "AutoRound", "Omniquant", "### MXFP4 variants")
# "0.7076 (100%)": the score, then its share of the unquantised model's.
_SHARE = re.compile(r"\s*\(\d+(?:\.\d+)?%\)$")
_AVERAGES = ("avg.", "avg", "average", "acc avg.")
_METHODS = ("scheme", "method", "model / quant")
_BASELINES = ("BF16", "FP16")
# An average of scores with four decimals is theirs up to rounding; of percentages with two, likewise.
_ROUNDING = 0.00011
_Cell = tuple[int, str, str, str, str]  # line, model, variant, metric, text


def recognises(path: Path) -> bool:
    """Tell whether a file or folder is of this set."""
    if path.is_dir():
        return any(recognises(file) for file in path.glob("*.md"))
    return path.suffix == ".md" and any(mark in read_text(path)[:4000] for mark in _MARKS)


def read(path: Path) -> Published:
    """Read the tables of accuracy of AutoRound's pages.

    Parameters
    ----------
    path : pathlib.Path
        A page such as ``fp8_block_acc.md`` or ``paper_acc.md``, or a folder of them.

    Returns
    -------
    Published
        A point for each model, method (``variant``) and task (``quality_metric``); ``serving`` names the
        page and the table. Accuracies are shares or percentages as the page has them; columns of
        perplexity are better when lower. Nothing says what an inference costs. Pairs: each method with
        the unquantised model of its table (``BF16``, ``FP16``). Findings: ``perplexity``, ``average``
        (an average that is not the mean of the tasks beside it), ``same_name`` (a method that stands
        twice, numbered), ``baselines`` (two unquantised rows of one model), ``heading`` (a table whose
        columns contradict its title), ``not_read``.

    Raises
    ------
    InputError
        No table, or a text is no number.
    """
    files = sorted(f for f in path.glob("*.md") if recognises(f)) if path.is_dir() else [path]
    findings = Findings(files[0].name)
    points: list[dict[str, Any]] = []
    pairs: list[dict[str, Any]] = []
    for file in files:
        tables = [*pipe_tables(file), *html_tables(file)]
        if not tables:
            raise InputError("holds no table", file=file, hint=f"expected {LAYOUT}")
        seen: dict[str, int] = {}
        for table in tables:
            cells = [*_cells(table)]
            if not cells:
                findings.add("not_read", f"the table {table.heading!r} tells no accuracy", file=file.name)
                continue
            _check(table, file, findings)
            section = table.heading.rstrip(".") or file.stem
            seen[section] = seen.get(section, 0) + 1
            section = section if seen[section] == 1 else f"{section} ({seen[section]})"
            rows = _points(cells, file, f"{file.stem}: {section}", findings)
            points += rows
            pairs += _pairs(rows, file, findings)
    return published(
        points,
        kind=KIND,
        files=files,
        origin="intel/auto-round, docs",
        licence="Apache-2.0",
        findings=findings,
        pairs=pairs,
    )


def _cells(table: Table) -> Iterator[_Cell]:
    """Yield the figures of a table: methods are rows and tasks columns, or models are columns."""
    names = [name.lower() for name in table.columns]
    for line, cells in table.body:
        if any(re.fullmatch(r"(?:\d+h)?\d+m\d+s", cell) for cell in cells):
            return
        if names[0] in _METHODS and names[:2] != ["method", "scheme"]:
            model, variant, start = _model(table.heading), cells[0], 1
        elif names[:2] in (["", ""], ["model", "method"]):
            model, variant, start = cells[0], cells[1], 2
        elif ": " in cells[0]:
            (model, _, variant), start = cells[0].partition(": "), 1
        else:  # averages: a model in each column
            start = 2 if names[:2] == ["method", "scheme"] else 1
            first = table.columns[0] if start == 1 and re.match(r"(mx|nv)fp", names[0]) else ""
            label = " ".join(part for part in (first, *cells[:start]) if part not in ("", "-"))
            for name, text in zip(table.columns[start:], cells[start:], strict=True):
                yield line, name, label, "average accuracy", text
            continue
        for name, text in zip(table.columns[start:], cells[start:], strict=True):
            yield line, model, variant, "average accuracy" if name.lower() in _AVERAGES else name, text


def _model(heading: str) -> str:
    """Return the model of a heading such as "1. Qwen3-8B ...": its first word, without the number."""
    return re.sub(r"^\d+\.\s*", "", heading).split(" ")[0]


def _points(cells: list[_Cell], file: Path, section: str, findings: Findings) -> list[dict[str, Any]]:
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    lines: dict[tuple[str, str], int] = {}
    counts: dict[str, int] = {}
    twice, down, lone = [], [], []
    for line, model, variant, metric, text in cells:
        value = number(_SHARE.sub("", text), file=file, row=line, column=metric)
        if value is None:
            continue
        # A method may stand twice in a table, in rows of their own.
        name = variant
        while lines.setdefault((model, name), line) != line:
            counts[name] = counts.get(name, 1) + 1
            name = f"{variant} ({counts[name]})"
            twice.append(line)
        up = sense_of(metric) is not False
        if not up:
            down.append(line)
        key = (model, name, metric)
        if key in rows:
            lone.append(line)
            continue
        rows[key] = {
            "model": model,
            "variant": name,
            "serving": section,
            "quality_metric": metric,
            "quality": value,
            "higher_is_better": up,
            "line": line,
        }
    for finding, said, at in (
        ("same_name", "a model and method as above; numbered", twice),
        ("same_name", "a task as in a column before; the first is kept", lone),
        ("perplexity", "perplexities among accuracies: lower is better", down),
    ):
        if at:
            findings.add(finding, said, rows=sorted(set(at)), file=file.name)
    return list(rows.values())


def _pairs(rows: list[dict[str, Any]], file: Path, findings: Findings) -> Iterator[dict[str, Any]]:
    bases: dict[tuple[str, str], dict[str, Any]] = {}
    others = []
    for row in rows:
        if row["variant"].upper().startswith(_BASELINES):
            base = bases.setdefault((row["model"], row["quality_metric"]), row)
            if base is not row:
                others.append(row["line"])
    if others:
        said = "another baseline of the same model; pairs are made with the first"
        findings.add("baselines", said, rows=sorted(set(others)), file=file.name)
    for row in rows:
        found = bases.get((row["model"], row["quality_metric"]))
        if found is None or row["variant"].upper().startswith(_BASELINES):
            continue
        was, now, up = found["quality"], row["quality"], row["higher_is_better"]
        yield {
            "section": row["serving"],
            "model": row["model"],
            "metric": row["quality_metric"],
            "higher_is_better": up,
            "baseline": found["variant"],
            "variant": row["variant"],
            "baseline_quality": was,
            "variant_quality": now,
            "relative_loss": (was - now if up else now - was) / was if was else None,
        }


def _check(table: Table, file: Path, findings: Findings) -> None:
    """Note averages that are not those of the tasks beside them, and titles that columns contradict."""
    stated = re.search(r"average of (\d+(?:\.\d+)?) bits", table.heading)
    column = re.search(r"Avg\. bits = (\d+(?:\.\d+)?)", table.columns[0])
    if stated and column and float(stated[1]) != float(column[1]):
        said = f"{table.heading!r}, but the column says {column[0]!r}"
        findings.add("heading", said, rows=[table.lines[0]], file=file.name)
    names = [name.lower() for name in table.columns]
    at = next((i for i, name in enumerate(names) if name in _AVERAGES), None)
    if at is None:
        return
    tasks = [i for i, name in enumerate(names) if i != at and sense_of(name) is not False]
    wrong = []
    for line, cells in table.body:
        scores = [
            number(cells[i], file=file, row=line, column=names[i])
            for i in tasks
            if re.fullmatch(r"[\d.]+", cells[i])
        ]
        values = [score for score in scores if score is not None]
        mean = number(cells[at], file=file, row=line, column=names[at])
        unit = 100 if mean is not None and mean > 1 else 1
        if values and mean is not None and abs(sum(values) / len(values) - mean) > _ROUNDING * unit:
            wrong.append(line)
    if wrong:
        said = f"the average is not the mean of the tasks beside it ({table.heading!r}); both are kept"
        findings.add("average", said, rows=wrong, file=file.name)
