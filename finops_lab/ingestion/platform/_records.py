"""What readers of jobs and events share: records out of JSON exports, words for states and kinds."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from finops_lab.errors import InputError
from finops_lab.ingestion import _json
from finops_lab.ingestion._json import Document
from finops_lab.ingestion.bills._gpus import gpu_of
from finops_lab.ingestion.registry import Sample

__all__ = ["documents", "gpus_of", "heads", "inside", "kind_of", "lookup", "told_at_the_end"]

Row = dict[str, Any]

_TRIES = 12
_WORDS = {
    "retrain": "retrain",
    "retraining": "retrain",
    "finetune": "finetune",
    "finetuning": "finetune",
    "sft": "finetune",
    "lora": "finetune",
    "tune": "tune",
    "tuning": "tune",
    "sweep": "tune",
    "hpo": "tune",
    "eval": "eval",
    "evaluation": "eval",
}


def heads(sample: Sample, *needles: str) -> Iterator[Mapping[str, Any]]:
    """Return the first JSON objects of a file that can be read whole, for detection.

    Of a document that does not fit into the first megabyte these are its parts.

    Parameters
    ----------
    sample : Sample
        Beginning of the file.
    *needles : str
        Texts that every file of the format holds; without one of them nothing is parsed.
    """
    if sample.kind != "jsonl":
        return
    text = _json.beginning(sample.path)
    if not all(needle in text for needle in needles):
        return
    decoder = json.JSONDecoder()
    at = text.find("{")
    for _ in range(_TRIES):
        if at < 0:
            return
        try:
            found, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            at = text.find("{", at + 1)
            continue
        yield found
        at = text.find("{", end)


def documents(path: Path) -> Iterator[Document]:
    """Read the JSON texts of a file: one per line, one over all lines, or several without a mark.

    The last is what appending one command-line answer after the other to a file makes, and how
    Amazon Data Firehose writes.

    Raises
    ------
    InputError
        When the file cannot be read, or is one broken JSON text.
    """
    found = _json.documents(path)
    try:
        for document in found:
            several = list(_split(document.text)) if document.fault and "}" in document.text else []
            yield from several if len(several) > 1 else (document,)
    except InputError as error:
        # Raised before anything else was found: the file is one text, or several.
        several = list(_split(_whole(path)))
        if len(several) < 2:
            raise error from None
        yield from several


def _whole(path: Path) -> str:
    try:
        with path.open("rb") as probe:
            zipped = probe.read(2) == b"\x1f\x8b"
        with gzip.open(path) if zipped else path.open("rb") as stream:
            return stream.read().decode("utf-8-sig", errors="replace")
    except (OSError, EOFError, zlib.error):
        return ""


def _split(text: str) -> Iterator[Document]:
    """Read JSON texts that follow each other; the rest after a broken one is one fault."""
    decoder = json.JSONDecoder(parse_float=Decimal)
    at = 0
    while at < len(text):
        try:
            _, end = decoder.raw_decode(text, at)
            yield Document(text[at:end], _json.decode(text[at:end]))
        except (ValueError, ArithmeticError, RecursionError):
            yield Document(text[at : at + 10_000], None, "line: is not JSON, nor is what follows read")
            return
        at = end + len(text[end : end + 1000]) - len(text[end : end + 1000].lstrip())


def told_at_the_end(rows: Iterable[Row], tell: Callable[[], Iterable[str]]) -> Iterator[Row]:
    """Pass rows on, and put what was found out underway into the notes of the last one.

    Parameters
    ----------
    rows : iterable of dict
        Rows of a reader.
    tell : callable
        Returns the notes; called when the rows are at their end.
    """
    last: Row | None = None
    for row in rows:
        if last is not None:
            yield last
        last = row
    if last is not None:
        yield {**last, "notes": [*(last.get("notes") or ()), *tell()]}


@lru_cache(maxsize=1024)
def gpus_of(instance_type: str | None) -> tuple[str | None, float | None]:
    """Return the model and number of the GPUs of one machine; nulls where its type is not known.

    Examples
    --------
    >>> gpus_of("ml.p4d.24xlarge"), gpus_of("one.of.ours")
    (('NVIDIA A100 40GB', 8.0), (None, None))
    """
    found = pl.select(gpu_of(pl.lit(instance_type, dtype=pl.String)).alias("gpu")).to_series()[0]
    return found["x_GpuModel"], found["x_GpuCount"]


def inside(holder: Any, *keys: str) -> Mapping[str, Any]:
    """Return the object under a path of keys; an empty one where there is none.

    Examples
    --------
    >>> inside({"spec": {"a": {"b": 1}}}, "spec", "a"), inside({"spec": []}, "spec", "a")
    ({'b': 1}, {})
    """
    for key in keys:
        holder = holder.get(key) if isinstance(holder, dict) else None
    return holder if isinstance(holder, dict) else {}


def lookup(holders: Iterable[Mapping[str, Any]], names: Iterable[str]) -> str | None:
    """Return the first text found: names first to last, in each holder.

    Examples
    --------
    >>> lookup([{"a": " "}, {"a": "x", "b": "y"}], ["b", "a"])
    'y'
    """
    places = list(holders)
    for name in names:
        for holder in places:
            if (found := _json.text(holder.get(name))) is not None:
                return found
    return None


def kind_of(name: str | None) -> str:
    """Return the kind of a training job that its name says as a word of its own, or ``train``.

    Examples
    --------
    >>> kind_of("llama-70b_finetune-3"), kind_of("fine-tune"), kind_of("pruned"), kind_of(None)
    ('finetune', 'finetune', 'train', 'train')
    """
    words = re.split(r"[^a-z]+", (name or "").lower().replace("fine-tun", "finetun").replace("re-tr", "retr"))
    return next((_WORDS[word] for word in words if word in _WORDS), "train")
