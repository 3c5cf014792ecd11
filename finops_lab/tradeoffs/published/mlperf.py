"""MLPerf Inference: the summary of a round, one row for each system, model and scenario."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from finops_lab.errors import InputError
from finops_lab.tradeoffs.published.results import Findings, Published, published
from finops_lab.tradeoffs.published.texts import number, read_json
from finops_lab.tradeoffs.senses import sense_of

__all__ = ["KIND", "LAYOUT", "read", "recognises"]

KIND = "mlperf"
LAYOUT = "summary_results.json of mlcommons/inference_results_v4.1 or later"
_NEEDS = (
    "Submitter", "Platform", "UsedModel", "Model", "Scenario", "Accuracy", "Performance_Result",
    "Performance_Units",
)  # fmt: skip
# Two rows that agree in all of these are one run, whatever the platform is called.
_SAME_RUN = (
    "Submitter", "System", "Suite", "Category", "UsedModel", "Model", "Scenario", "Accuracy",
    "weight_data_types", "Accelerator", "a#", "Processor", "Performance_Result", "Performance_Units",
)  # fmt: skip
_FIGURE = re.compile(r"([A-Za-z][\w@./-]*)\s*:\s*([+-]?\d[\d,]*(?:\.\d+)?(?:[eE][+-]?\d+)?)")
# Figures of the free text that are no quality.
_NO_QUALITY = {"tokens_per_sample", "gen_len", "gen_num", "gen_tok_len"}
_UPWARD = {"clip_score", "score"}
_UNSET = {"", "unset", "unknown", "none", "null", "n/a"}
_STREAMS = 8  # samples of a query of MultiStream
_BAR = re.compile(r"-99(?:\.9)?$")  # llama2-70b-99 and -99.9 ask for other accuracies of one model
_EXTRA = {"p90_ms": pl.Float64, "division": pl.String, "submitter": pl.String}
_Row = dict[str, Any]


def recognises(path: Path) -> bool:
    """Tell whether a file or folder is of this set."""
    if path.is_dir():
        return (path / "summary_results.json").is_file()
    if path.suffix != ".json":
        return False
    rows = read_json(path)
    return isinstance(rows, list) and any(isinstance(r, dict) and "Performance_Units" in r for r in rows[:5])


def read(path: Path) -> Published:
    """Read the summary of a round of MLPerf Inference.

    Parameters
    ----------
    path : pathlib.Path
        ``summary_results.json``, which every repository of results has at its top; or that folder.

    Returns
    -------
    Published
        A point for each row and metric of its free text ``Accuracy``. ``model`` is MLPerf's, ``variant``
        the model used (or its precision, where it is the same), ``serving`` submitter, platform and
        division, ``workload`` suite and scenario. Cost is in seconds of the *whole system*; tokens per
        second become inferences where the text tells tokens per sample. Behind: ``p90_ms`` (what
        SingleStream reports), ``division``, ``submitter``. ``p99_ms`` is MultiStream's, of a query of 8
        samples. Findings: ``duplicate`` (a run submitted under two platforms, kept once), ``copied`` (one
        run for two accuracy bars, noted), ``unset`` (no precision), ``free_text`` (an accuracy that is
        no figure), ``direction`` (a metric of unknown direction), ``unit`` (queries where the same model
        counts tokens, throughput left out), ``inferred``, ``errors``, ``power``, ``same_name``.

    Raises
    ------
    InputError
        A row lacks a field, or a figure is no number.

    Notes
    -----
    Read from the files of rounds v4.1 and v5.1 and from MLCommons' own scripts that show them. A
    latency is the 90th percentile in SingleStream and the 99th in MultiStream (MLPerf Inference
    rules, "Scenarios").
    """
    path = path / "summary_results.json" if path.is_dir() else path
    findings = Findings(path.name)
    rows = read_json(path)
    if not isinstance(rows, list):
        raise InputError("is no list of results", file=path, hint=f"expected {LAYOUT}")
    kept = _once(path, rows, findings)
    points: list[_Row] = []
    marks: dict[str, list[int]] = {}
    units: dict[tuple[str, str], set[str]] = {}
    bars: dict[tuple[Any, ...], str] = {}
    names: dict[tuple[Any, ...], int] = {}
    for _, row in kept:
        units.setdefault((row["Platform"], row["UsedModel"]), set()).add(row["Performance_Units"])
    for at, row in kept:
        notes: list[str] = []

        def mark(finding: str, note: str, at: int = at, notes: list[str] = notes) -> None:
            marks.setdefault(finding, []).append(at)
            if note:
                notes.append(note)

        qualities, tokens = _accuracy(row, path, at, mark)
        point = _setting(row, mark)
        mixed = "Tokens/s" in units[row["Platform"], row["UsedModel"]]
        point |= _speed(row, path, at, tokens, mixed, mark)
        point |= _energy(row, path, at, point, mark)
        run = tuple(row.get(name) for name in _SAME_RUN if name not in ("UsedModel", "Model"))
        bar = bars.setdefault((row["Platform"], _BAR.sub("", row["UsedModel"]), *run), row["UsedModel"])
        if bar != row["UsedModel"]:
            mark("copied", f"the run of {bar}")
        key = tuple(
            point[name] for name in ("model", "variant", "precision", "hardware", "serving", "workload")
        )
        names[key] = names.get(key, 0) + 1
        if names[key] > 1:
            mark("same_name", "")
            point["serving"] += f" ({names[key]})"
        point["note"] = "; ".join(notes) or None
        points += [point | quality for quality in qualities]
    for finding, text in _TEXTS.items():
        if finding in marks:
            findings.add(finding, text, rows=marks[finding])
    return published(
        points,
        kind=KIND,
        files=[path],
        origin="mlcommons, inference results",
        licence="see the repository of the round",
        findings=findings,
        extra=_EXTRA,
    )


_TEXTS = {
    "copied": "the run of the same model at another accuracy bar; noted",
    "unset": "weight_data_types names no precision; null",
    "free_text": "Accuracy holds no figure; null",
    "direction": "nothing tells which way a metric is better; higher_is_better is null",
    "unit": "queries or samples per second where the same model counts tokens; throughput left out",
    "inferred": "worked out from another scenario, not measured; noted",
    "errors": "the submission checker counts errors; noted",
    "power": "a power figure in a unit that is not known; energy left out",
    "same_name": "all names as above, other figures; numbered",
}


def _once(path: Path, rows: list[Any], findings: Findings) -> list[tuple[int, _Row]]:
    """Check the fields of every row, and keep one of each run."""
    first: dict[tuple[Any, ...], int] = {}
    kept, again = [], []
    for at, row in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            raise InputError("is no object", file=path, row=at, hint=f"expected {LAYOUT}")
        for name in _NEEDS:
            if name not in row:
                raise InputError(
                    "the row lacks it", file=path, row=at, column=name, hint=f"expected {LAYOUT}"
                )
        if first.setdefault(tuple(str(row.get(name)) for name in _SAME_RUN), at) == at:
            kept.append((at, dict(row)))
        else:
            again.append(at)
    if again:
        findings.add("duplicate", "system, model, scenario and every figure as above; kept once", rows=again)
    return kept


def _figure(value: Any, path: Path, at: int, column: str) -> float | None:
    return None if value is None else number(str(value), file=path, row=at, column=column)


def _accuracy(row: _Row, path: Path, at: int, mark: Any) -> tuple[list[_Row], float | None]:
    """Return the qualities that the free text tells, and the tokens of a sample."""
    found = {
        name: _figure(text, path, at, "Accuracy")
        for name, text in _FIGURE.findall(str(row["Accuracy"] or ""))
    }
    tokens = next((value for name, value in found.items() if name.lower() == "tokens_per_sample"), None)
    qualities = []
    for name, value in found.items():
        if name.lower() in _NO_QUALITY:
            continue
        up = True if name.lower() in _UPWARD else sense_of(name)
        if up is None:
            mark("direction", "")
        qualities.append({"quality_metric": name, "quality": value, "higher_is_better": up})
    if not qualities:
        said = str(row["Accuracy"] or "").strip()
        mark("free_text", f"accuracy is said to be {said!r}" if said else "no accuracy")
    return qualities or [{}], tokens


def _setting(row: _Row, mark: Any) -> _Row:
    precision: str | None = str(row.get("weight_data_types") or "").strip()
    if str(precision).lower() in _UNSET:
        mark("unset", "precision unset")
        precision = None
    if row.get("inferred"):
        mark("inferred", "inferred from another scenario")
    if row.get("errors"):
        mark("errors", f"{row['errors']} errors of the submission checker")
    accelerator, count = str(row.get("Accelerator") or "").strip(), row.get("a#") or 1
    processors = row.get("p#") or row.get("host_processors_per_node") or 1
    chip, chips = (
        (accelerator, count) if accelerator else (str(row.get("Processor") or "").strip(), processors)
    )
    nodes = _count(row.get("Nodes") or 1)
    # Mixed clusters count their chips in the text: "MI300X (x32), MI325X (x16)".
    machine = chip if "(x" in chip else f"{_count(chips)} x {chip}" if chip else None
    where = f"{row['Submitter']}, {row['Platform']}, {row.get('Category') or 'division unknown'}"
    return {
        "model": row["Model"],
        "variant": precision if row["UsedModel"] == row["Model"] else row["UsedModel"],
        "precision": precision,
        "hardware": machine if nodes == "1" or machine is None else f"{nodes} nodes of {machine}",
        "serving": where,
        "workload": f"{row.get('Suite') or ''} {row['Scenario']}".strip(),
        "division": row.get("Category"),
        "submitter": row["Submitter"],
    }


def _count(value: Any) -> str:
    """Return a count as text: rounds differ in writing 8, 8.0 and "8"."""
    return str(value).strip().removesuffix(".0")


def _speed(row: _Row, path: Path, at: int, tokens: float | None, mixed: bool, mark: Any) -> _Row:
    value = _figure(row["Performance_Result"], path, at, "Performance_Result")
    unit, scenario = str(row["Performance_Units"]), str(row["Scenario"])
    if not value:
        return {}
    if unit == "Latency (ms)":
        return {"MultiStream": {"p99_ms": value}, "SingleStream": {"p90_ms": value}}.get(scenario, {})
    if unit == "Tokens/s":
        speed = {"cost_basis": "relative", "per_1m_tokens": 1e6 / value}
        if tokens:
            speed |= {"throughput_per_s": value / tokens, "per_1000_inferences": 1000 * tokens / value}
        return speed
    if unit in ("Samples/s", "Queries/s") and not mixed:
        return {"cost_basis": "relative", "throughput_per_s": value, "per_1000_inferences": 1000 / value}
    mark("unit", f"{value:g} {unit} is doubtful")
    return {}


def _energy(row: _Row, path: Path, at: int, point: _Row, mark: Any) -> _Row:
    """Return joules of an inference: average power over throughput, or the energy of a stream."""
    value = _figure(row.get("Power_Result"), path, at, "Power_Result") if row.get("has_power") else None
    if not value:
        return {}
    unit = str(row.get("Power_Units") or "").lower()
    if unit.startswith("watt") and point.get("throughput_per_s"):
        return {"energy_j": value / point["throughput_per_s"]}
    if "millijoule" in unit:
        return {"energy_j": value / 1000 / (_STREAMS if row["Scenario"] == "MultiStream" else 1)}
    mark("power", f"power {value:g} {row.get('Power_Units')}")
    return {}
