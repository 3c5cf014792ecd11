"""ONNX Model Zoo: what its pages say of int8 models against their fp32 originals."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from finops_lab.tradeoffs.published.results import Findings, Published, published
from finops_lab.tradeoffs.published.texts import first_line, read_text

__all__ = ["KIND", "LAYOUT", "read", "recognises"]

KIND = "onnx_zoo"
LAYOUT = "a TSV of statements of the ONNX Model Zoo (path of the page, tab, statement)"
_LOSS = re.compile(
    r"(?P<what>[^,]*?)\s*(?P<change>drop ratio|decline ratio|rising ratio|decline) is (?P<value>-?\d+(?:\.\d+)?)"
    r"(?P<percent>%?)"
)
_SPEED = re.compile(r"performance improvement is (\d+(?:\.\d+)?)x")
# The last words before "drop ratio": "int8 ResNet50's Top-1 accuracy".
_METRICS = {
    "top-1 accuracy": "top1",
    "op-1 accuracy": "top1",
    "top-5 accuracy": "top5",
    "top-1 error": "top1 error",
    "top-5 error": "top5 error",
    "mean iou": "miou",
    "miou": "miou",
    "map": "map",
    "pixelwise accuracy": "pixel accuracy",
    "accuracy": "accuracy",
}


def recognises(path: Path) -> bool:
    """Tell whether a file or folder is of this set."""
    if path.is_dir():
        return any(recognises(file) for file in path.glob("*.tsv"))
    page, tab, said = first_line(path).partition("\t")
    return bool(tab) and page.endswith("README.md") and "int8" in said


def read(path: Path) -> Published:
    """Read statements such as "accuracy drop ratio is 0.29%, performance improvement is 1.81x".

    Parameters
    ----------
    path : pathlib.Path
        A TSV without header: path of the model's page, statement; or a folder with one.

    Returns
    -------
    Published
        Pairs of ``fp32`` and ``int8``, one for each metric that a statement names; ``example`` is the page.
        Neither accuracies nor throughputs are published, so points are empty. Findings: ``absolute``
        (a decline in points of the metric, from which no relative loss follows), ``error_metric``
        (a rising error: worse when higher), ``no_statement`` (a line that says none).
    """
    if path.is_dir():
        path = next(file for file in sorted(path.glob("*.tsv")) if recognises(file))
    findings = Findings(path.name)
    pairs: list[dict[str, Any]] = []
    absolute, errors, silent = [], [], []
    for line, text in enumerate(read_text(path).splitlines(), 1):
        page, _, said = text.partition("\t")
        losses = list(_LOSS.finditer(said))
        if not losses:
            silent.append(line)
        speed = _SPEED.search(said)
        for found in losses:
            relative = found["percent"] == "%" or "ratio" in found["change"]
            rising = found["change"] == "rising ratio"
            value = float(found["value"])
            note = (
                None
                if relative
                else f"{found['what'].split()[-1]} declines by {value:g}, of what is not said"
            )
            if not relative:
                absolute.append(line)
            if rising:
                errors.append(line)
            pairs.append(
                {
                    "section": "/".join(page.split("/")[1:-2]),
                    "model": page.split("/")[-2] if "/" in page else page,
                    "example": page,
                    "metric": _metric(found["what"]),
                    "higher_is_better": not rising,
                    "baseline": "fp32",
                    "variant": "int8",
                    "cost_cut": 1 - 1 / float(speed[1]) if speed and float(speed[1]) else None,
                    # An error that rises is a loss, as an accuracy that drops is.
                    "relative_loss": value / 100 if relative else None,
                    "note": note,
                }
            )
    for finding, said, lines in (
        ("absolute", "a decline in points of the metric, not of a known quality: no relative loss", absolute),
        ("error_metric", "an error rate that rises: lower is better", errors),
        ("no_statement", "no accuracy is said to drop; not read", silent),
    ):
        if lines:
            findings.add(finding, said, rows=lines)
    return published(
        [],
        kind=KIND,
        files=[path],
        origin="onnx/models, README of each model",
        licence="Apache-2.0",
        findings=findings,
        pairs=pairs,
    )


def _metric(words: str) -> str:
    ending = words.strip().lower()
    return next((name for tail, name in _METRICS.items() if ending.endswith(tail)), ending.rpartition(" ")[2])
