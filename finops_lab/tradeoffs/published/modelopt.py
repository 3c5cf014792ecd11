"""NVIDIA Model Optimizer: the tables of its benchmark pages."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from finops_lab.errors import InputError
from finops_lab.tradeoffs.published.results import Findings, Published, published
from finops_lab.tradeoffs.published.texts import Table, number, pipe_tables, read_text

__all__ = ["KIND", "LAYOUT", "read", "recognises"]

KIND = "modelopt"
LAYOUT = "benchmark.md or windows/Benchmark.md of NVIDIA/Model-Optimizer"
_SPEEDUP_SLACK = 0.01  # upstream rounds speed-ups to two decimals
_TOKENS = 128  # "Input tokens 2048, output tokens 128"
_Row = dict[str, Any]


def recognises(path: Path) -> bool:
    """Tell whether a file or folder is of this set."""
    if path.is_dir():
        return any(recognises(file) for file in path.glob("*.md"))
    return path.suffix == ".md" and "Model Optimizer" in read_text(path)[:200]


def read(path: Path) -> Published:
    """Read the tables of a benchmark page that compare variants.

    Parameters
    ----------
    path : pathlib.Path
        A page, or a folder of them.

    Returns
    -------
    Published
        From the page for data centres: tokens per second by batch size (``per_1m_tokens`` in seconds
        of *one GPU*, since variants run on one or two), latency of image generation, validation
        losses of quantisation-aware training. From the page for Windows: MMLU (percent), perplexity
        and KL divergence of language models. Pairs: each variant with its baseline, and the MMLU loss
        beside the speed where both are published. Findings: ``commas``, ``per_gpu``
        (a variant on fewer GPUs than its baseline), ``disagrees`` (a speed-up that does not follow from
        its figures), ``other_machine`` (accuracy and speed of unlike machines), ``blank``, ``not_read``.

    Raises
    ------
    InputError
        No table of the page is known, or a text is no number.
    """
    files = sorted(f for f in path.glob("*.md") if recognises(f)) if path.is_dir() else [path]
    findings = Findings(files[0].name)
    points: list[_Row] = []
    pairs: list[_Row] = []
    for file in files:
        known = 0
        for table in pipe_tables(file):
            reader = next((reader for mark, reader in _READERS if mark in " ".join(table.rows[0])), None)
            if reader is None:
                findings.add("not_read", f"the table {table.heading!r} compares no variants", file=file.name)
                continue
            known += 1
            reader(table, file, findings, points, pairs)
        if not known:
            raise InputError("no table that is known", file=file, hint=f"expected {LAYOUT}")
    _losses(pairs)
    return published(
        points,
        kind=KIND,
        files=files,
        origin="NVIDIA/Model-Optimizer, benchmark pages",
        licence="Apache-2.0",
        findings=findings,
        pairs=pairs,
    )


def _throughput(table: Table, file: Path, findings: Findings, points: list[_Row], pairs: list[_Row]) -> None:
    """Tokens per second: a row of variants above the row of columns; models are named once."""
    groups, columns = table.rows[0], table.rows[1]
    starts = [i for i, name in enumerate(groups) if name]
    model, commas, unlike, per_gpu = "", [], [], []
    for line, cells in list(table.body)[1:]:
        model = cells[0] or model
        batch = number(cells[1], file=file, row=line, column=columns[1])
        if any("," in cell for cell in cells):
            commas.append(line)
        base: tuple[str, float, float] | None = None
        for at in starts:
            speed = number(cells[at], file=file, row=line, column=groups[at])
            name, gpus = groups[at].partition(" (")[0], _gpus(groups[at], model)
            if speed is None:
                continue
            point: _Row = {
                "model": model,
                "variant": name,
                "precision": name,
                "workload": f"batch {batch:.0f}",
            }
            point |= {"hardware": "H200", "serving": f"TensorRT-LLM v0.15, {gpus} GPU{'s'[: gpus > 1]}"}
            point |= {"cost_basis": "relative", "per_1m_tokens": 1e6 * gpus / speed}
            point |= {"note": "cost in seconds of one GPU" if gpus > 1 else None}
            points.append(point)
            per = speed / gpus
            if base is None:
                base = (name, per, gpus)
                continue
            said = number(cells[at + 1], file=file, row=line, column="Speedup")
            if said is not None and abs(per / base[1] - said) > _SPEEDUP_SLACK:
                unlike.append(line)
            if gpus != base[2]:
                per_gpu.append(line)
            pair: _Row = {"section": f"{table.heading}, batch {batch:.0f}", "model": model, "example": "H200"}
            pair |= {"baseline": base[0], "variant": name, "cost_cut": 1 - base[1] / per}
            pair |= {
                "baseline_throughput_per_s": base[1] / _TOKENS,
                "variant_throughput_per_s": per / _TOKENS,
            }
            pairs.append(pair)
    for finding, text, lines in (
        ("commas", "commas that group thousands are no decimal points", commas),
        ("per_gpu", "the baseline runs on more GPUs: compared per GPU, as upstream's speed-ups are", per_gpu),
        ("disagrees", "a speed-up does not follow from the tokens per second beside it", unlike),
    ):
        if lines:
            findings.add(finding, text, rows=lines, file=file.name)


def _gpus(group: str, model: str) -> int:
    """Return the tensor parallelism of a model in a heading such as "BF16 (8B:TP1, 70B:TP2)"."""
    sizes = dict(re.findall(r"(\w+):TP(\d+)", group))
    found = next((tp for size, tp in sizes.items() if model.endswith(size)), None)
    plain = re.search(r"\(TP(\d+)\)", group)
    return int(found or (plain[1] if plain else 1))


def _mmlu_loss(table: Table, file: Path, findings: Findings, points: list[_Row], pairs: list[_Row]) -> None:
    del points
    for line, cells in table.body:
        for column, text in zip(table.columns[1:], cells[1:], strict=True):
            loss = number(text, file=file, row=line, column=column)
            model = cells[0].partition(" (")[0]
            pair: _Row = {"section": table.heading, "model": model, "example": "H100", "metric": "MMLU"}
            pair |= {
                "higher_is_better": True,
                "baseline": "BF16",
                "variant": column.removeprefix("MMLU loss "),
            }
            pairs.append(pair | {"relative_loss": None if loss is None else loss / 100})
    findings.add(
        "other_machine",
        "MMLU losses are of H100 and of instruct models, speeds of H200; whether percent are of the score "
        "or points of it is not said: read as of the score",
        rows=[line for line, _ in table.body],
        file=file.name,
    )


def _speedup(table: Table, file: Path, findings: Findings, points: list[_Row], pairs: list[_Row]) -> None:
    """Speed-up and memory of int4 on Windows; MMLU of the same models stands in the next table."""
    del findings, points
    for line, cells in table.body:
        memory, speed = (number(cells[i], file=file, row=line, column=table.columns[i]) for i in (3, 4))
        pair: _Row = {
            "section": table.heading,
            "model": cells[0],
            "example": "RTX 4090",
            "baseline": "ONNX FP16",
        }
        pair |= {"variant": "ONNX INT4", "cost_cut": 1 - 1 / speed if speed else None}
        pairs.append(pair | {"note": f"generation alone is timed; {memory:g} times less GPU memory"})


def _losses(pairs: list[_Row]) -> None:
    """Put the losses of MMLU beside the speeds of the same model and variant."""
    borrowed = ("metric", "higher_is_better", "baseline_quality", "variant_quality", "relative_loss")
    losses = {(p["model"], p["variant"]): p for p in pairs if p.get("metric") == "MMLU"}
    for pair in pairs:
        found = losses.get((pair["model"], pair["variant"]))
        if found is not None and "cost_cut" in pair:
            pair |= {name: found.get(name) for name in borrowed}
            if found.get("example") == "H100":
                pair["note"] = "MMLU loss of H100, speed of H200"


def _images(table: Table, file: Path, findings: Findings, points: list[_Row], pairs: list[_Row]) -> None:
    """Latency of Stable Diffusion in milliseconds; the fp16 latency follows from the speed-up."""
    del pairs
    commas = []
    for line, cells in table.body:
        if any("," in cell for cell in cells):
            commas.append(line)
        for at, name in ((1, "INT8"), (2, "FP8")):
            latency = number(cells[at], file=file, row=line, column=table.columns[at])
            if latency:
                point: _Row = {"model": "Stable Diffusion XL 1.0", "variant": name, "precision": name}
                point |= {"hardware": cells[0], "serving": "TensorRT v9.3", "workload": "batch 1, 30 steps"}
                point |= {"cost_basis": "relative", "per_1000_inferences": latency}
                points.append(point | {"throughput_per_s": 1000 / latency})
    if commas:
        findings.add(
            "commas", "commas that group thousands are no decimal points", rows=commas, file=file.name
        )


def _grid(
    metric: str, up: bool, hardware: str | None
) -> Callable[[Table, Path, Findings, list[_Row], list[_Row]], None]:
    """Return the reader of a table with a model in each row and a variant in each column."""

    def reader(table: Table, file: Path, findings: Findings, points: list[_Row], pairs: list[_Row]) -> None:
        blank = []
        for line, cells in table.body:
            base: tuple[str, float] | None = None
            for name, text in zip(table.columns[1:], cells[1:], strict=True):
                value = number(text, file=file, row=line, column=name)
                if value is None:
                    blank.append(line)
                    continue
                common: _Row = {"model": cells[0], "variant": name, "higher_is_better": up}
                points.append(common | {"hardware": hardware, "quality_metric": metric, "quality": value})
                if base is None:
                    base = (name, value)
                    continue
                loss = (base[1] - value) / base[1] * (1 if up else -1)
                pair = common | {"section": table.heading, "metric": metric, "baseline": base[0]}
                pairs.append(
                    pair | {"baseline_quality": base[1], "variant_quality": value, "relative_loss": loss}
                )
        if blank:
            findings.add("blank", f"no {metric} is given; left out", rows=blank, file=file.name)

    return reader


def _trained(table: Table, file: Path, findings: Findings, points: list[_Row], pairs: list[_Row]) -> None:
    """Read validation losses before and after training: a method and a data set in each row."""
    del findings
    for line, cells in table.body:
        losses = zip(table.columns[2:], cells[2:], strict=True)
        values = [number(text, file=file, row=line, column=column) for column, text in losses]
        for name, value in zip(("PTQ", "QAT"), values[1:], strict=True):
            common: _Row = {"model": f"Llama 2 7B on {cells[1]}", "variant": f"{cells[0]}, {name}"}
            common |= {"higher_is_better": False}
            points.append(common | {"quality_metric": "validation loss", "quality": value})
            loss = (value - values[0]) / values[0] if value is not None and values[0] else None
            pair = common | {"section": table.heading, "metric": "validation loss", "baseline": "BF16"}
            pairs.append(
                pair | {"baseline_quality": values[0], "variant_quality": value, "relative_loss": loss}
            )
        base: _Row = {
            "model": f"Llama 2 7B on {cells[1]}",
            "variant": "BF16",
            "quality_metric": "validation loss",
        }
        base |= {"quality": values[0], "higher_is_better": False}
        if base not in points:
            points.append(base)


def _divergence(table: Table, file: Path, findings: Findings, points: list[_Row], pairs: list[_Row]) -> None:
    del findings, pairs
    for line, cells in table.body:
        value = number(cells[3], file=file, row=line, column=table.columns[3])
        point: _Row = {"model": cells[0], "variant": cells[1], "serving": cells[4], "hardware": "RTX 5090"}
        point |= {"quality_metric": "KL divergence", "quality": value, "higher_is_better": False}
        points.append(point)


# What the first row of a table says, and who reads it.
_READERS: tuple[tuple[str, Callable[[Table, Path, Findings, list[_Row], list[_Row]], None]], ...] = (
    ("BF16 (8B:TP1", _throughput),
    ("MMLU loss", _mmlu_loss),
    ("Generation Phase Inference Speedup", _speedup),
    ("INT8 Latency (ms)", _images),
    ("Val loss - BF16 Baseline", _trained),
    ("ONNX FP16 ONNX INT4", _grid("MMLU", True, "RTX 4090")),
    ("FP16-MB", _grid("perplexity", False, "RTX 5090")),
    ("KL-divergence", _divergence),
)
