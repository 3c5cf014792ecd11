"""Intel Neural Compressor: int8 and fp32 models on one Xeon, accuracy and throughput of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finops_lab.errors import InputError
from finops_lab.tradeoffs.published.results import Findings, Published, published
from finops_lab.tradeoffs.published.texts import first_line, html_tables, number, numbers, read_csv

__all__ = ["KIND", "LAYOUT", "read", "recognises"]

KIND = "neural_compressor"
LAYOUT = "validated_model_list.md of intel/neural-compressor, or a CSV of its int8 and fp32 columns"
_HARDWARE = "Intel Xeon Platinum 8480+, 1 socket, 14 instances of 4 cores"
_COLUMNS = ("section", "model", "example", "acc_int8", "acc_fp32", "tput_int8", "tput_fp32")
_FIGURES = _COLUMNS[3:]
# The headings of upstream's tables, in the order of the cells.
_HEADINGS = ("Model", "Example", "INT8", "FP32", "Accuracy Ratio", "INT8", "FP32", "Performance Ratio")
# Upstream prints perplexities under "Accuracy" and with a percent sign; the data set gives them away.
_PERPLEXITY = "wikitext"
_Row = dict[str, Any]


def recognises(path: Path) -> bool:
    """Tell whether a file or folder is of this set."""
    if path.is_dir():
        return any(recognises(file) for file in sorted(path.iterdir()) if file.is_file())
    if path.suffix == ".csv":
        return set(_COLUMNS) <= set(first_line(path).split(","))
    return path.suffix == ".md" and "Validated Models" in first_line(path)


def read(path: Path) -> Published:
    """Read the table of validated models.

    Parameters
    ----------
    path : pathlib.Path
        Upstream's ``validated_model_list.md`` (its git history has it), a CSV of it (columns ``section``,
        ``model``, ``example``, ``acc_int8``, ``acc_fp32``, ``tput_int8``, ``tput_fp32``; also
        ``lower_better``, ``acc_ratio_pct``), or a folder with both, which are then compared.

    Returns
    -------
    Published
        Two points for each pair: ``variant`` and ``precision`` ``int8`` and ``fp32``, ``serving`` the
        section and the example, quality in percent or perplexity, cost in seconds of the machine.
        Findings: ``perplexity`` (rows among accuracies that are better when lower), ``copied`` (figures
        of another section), ``same_name`` (one name, other figures: the second is numbered),
        ``ratio_missing``, ``disagrees``, ``not_read``.

    Raises
    ------
    InputError
        A column is missing or a figure is no number.
    """
    files = [f for f in sorted(path.iterdir()) if f.is_file() and recognises(f)] if path.is_dir() else [path]
    findings = Findings(files[0].name)
    sets = [(file, (_csv if file.suffix == ".csv" else _markdown)(file, findings)) for file in files]
    for file, rows in sets[1:]:
        _compare(sets[0], (file, rows), findings)
    rows = sets[0][1]
    _name(rows, findings)
    pairs = [_pair(row) for row in rows]
    return published(
        [point for row, pair in zip(rows, pairs, strict=True) for point in _points(row, pair)],
        kind=KIND,
        files=files,
        origin="intel/neural-compressor, validated_model_list.md, tested 2024-07-22",
        licence="Apache-2.0",
        findings=findings,
        pairs=pairs,
    )


def _csv(path: Path, findings: Findings) -> list[_Row]:
    frame = read_csv(path, _COLUMNS, filled=_COLUMNS[:2])
    figures = {name: numbers(frame, name, file=path, findings=findings) for name in _FIGURES}
    texts = frame.select(_COLUMNS[:3]).fill_null("").rows(named=True)
    rows = [{**text, "row": i, **{k: figures[k][i - 1] for k in _FIGURES}} for i, text in enumerate(texts, 1)]
    if "acc_ratio_pct" in frame.columns:
        lost = (frame["acc_ratio_pct"].is_null().arg_true() + 1).to_list()
        if lost:
            said = (
                "acc_ratio_pct is empty, mostly where upstream wrote a plus sign; losses are worked out anew"
            )
            findings.add("ratio_missing", said, rows=lost, file=path.name)
    _perplexities(rows, path, findings)
    if "lower_better" in frame.columns:
        own = [str(text).lower() == "true" for text in frame["lower_better"]]
        wrong = [row["row"] for row, down in zip(rows, own, strict=True) if row["down"] is not down]
        if wrong:
            said = "lower_better is not what the data set of the model says; the data set is followed"
            findings.add("disagrees", said, rows=wrong, file=path.name)
    return rows


def _markdown(path: Path, findings: Findings) -> list[_Row]:
    rows: list[_Row] = []
    for table in html_tables(path):
        heads = table.columns
        if len(heads) != len(_HEADINGS) or any(h not in c for h, c in zip(_HEADINGS, heads, strict=True)):
            findings.add(
                "not_read", f"the table {table.heading!r} compares no int8 with fp32", file=path.name
            )
            continue
        for line, cells in table.body:
            row: _Row = {"section": table.heading, "model": cells[0], "example": cells[1], "row": line}
            for name, at in zip(_FIGURES, (2, 3, 5, 6), strict=True):
                row[name] = number(cells[at], file=path, row=line, column=heads[at])
            rows.append(row)
    if not rows:
        raise InputError("no table compares INT8 with FP32", file=path, hint=f"expected {LAYOUT}")
    _perplexities(rows, path, findings)
    return rows


def _perplexities(rows: Sequence[_Row], path: Path, findings: Findings) -> None:
    for row in rows:
        row["down"] = _PERPLEXITY in row["model"].lower()
    down = [row["row"] for row in rows if row["down"]]
    if down:
        said = "perplexities among accuracies: lower is better there, and they are no percentages"
        findings.add("perplexity", said, rows=down, file=path.name)


def _compare(first: tuple[Path, list[_Row]], other: tuple[Path, list[_Row]], findings: Findings) -> None:
    """Note rows that one file has otherwise than the other."""
    if len(first[1]) != len(other[1]):
        said = f"{len(first[1])} rows, but {len(other[1])} in {other[0].name}"
        findings.add("disagrees", said, file=first[0].name)
    differ = [
        mine["row"]
        for mine, theirs in zip(first[1], other[1], strict=False)
        if any(mine[name] != theirs[name] for name in _COLUMNS)
    ]
    if differ:
        findings.add("disagrees", f"not as in {other[0].name}", rows=differ, file=first[0].name)


def _name(rows: Sequence[_Row], findings: Findings) -> None:
    """Tell rows of one name apart, and note rows that another section had already."""
    seen: dict[tuple[str, ...], int] = {}
    figures: dict[tuple[Any, ...], _Row] = {}
    twice, copies = [], []
    for row in rows:
        key = (row["section"], row["model"], row["example"])
        seen[key] = seen.get(key, 0) + 1
        row["note"] = None
        original = figures.setdefault((row["model"], *(row[name] for name in _FIGURES)), row)
        if original is not row:
            row["note"] = f"the figures are those of {original['section']}"
            copies.append(row["row"])
        if seen[key] > 1:
            twice.append(row["row"])
            row["model"] = f"{row['model']} ({seen[key]})"
    if copies:
        findings.add("copied", "model and all figures are those of another row; kept and noted", rows=copies)
    if twice:
        findings.add("same_name", "section, model and example as above, other figures; numbered", rows=twice)


def _pair(row: _Row) -> _Row:
    base, new = row["acc_fp32"], row["acc_int8"]
    loss = None if base is None or new is None or not base else (base - new) / base
    slow, fast = row["tput_fp32"], row["tput_int8"]
    return {
        **{name: row[name] for name in ("section", "model", "example", "note")},
        "metric": "perplexity" if row["down"] else "accuracy",
        "higher_is_better": not row["down"],
        "baseline": "fp32",
        "variant": "int8",
        "baseline_quality": base,
        "variant_quality": new,
        "baseline_throughput_per_s": slow,
        "variant_throughput_per_s": fast,
        "cost_cut": 1 - slow / fast if slow and fast else None,
        "relative_loss": -loss if loss is not None and row["down"] else loss,
    }


def _points(row: _Row, pair: _Row) -> list[_Row]:
    return [
        {
            "model": row["model"],
            "variant": kind,
            "precision": kind,
            "hardware": _HARDWARE,
            "serving": f"{row['section']}, {row['example'] or 'no example named'}",
            "workload": "batch 1",
            "cost_basis": "relative",
            "per_1000_inferences": 1000 / row[f"tput_{kind}"] if row[f"tput_{kind}"] else None,
            "quality_metric": pair["metric"],
            "quality": row[f"acc_{kind}"],
            "higher_is_better": pair["higher_is_better"],
            "throughput_per_s": row[f"tput_{kind}"],
            "note": row["note"],
        }
        for kind in ("fp32", "int8")
    ]
