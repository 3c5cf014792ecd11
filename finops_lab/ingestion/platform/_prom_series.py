"""Series and samples out of what Prometheus' query API answers."""

from __future__ import annotations

import gzip
import json
import mmap
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from finops_lab.ingestion import _json
from finops_lab.ingestion._moments import microseconds
from finops_lab.ingestion.platform import _prom_metrics
from finops_lab.ingestion.platform._prom_metrics import Meaning

__all__ = ["Decoded", "Fault", "Series", "decode", "label", "names_in"]

_NAME = re.compile(rb'"__name__"\s*:\s*"([^"\\]{1,200})"')
_BLOCK = 1 << 22
_NAMED = 8  # metrics left out that a note names
_COUNTED = ("latency_histograms", "inference_requests")
_TIMES = {int, float, Decimal}


@dataclass(frozen=True, slots=True)
class Series:
    """A series of a known metric: its number in the file from 1, its labels, what it measures."""

    number: int
    name: str
    labels: Mapping[str, str]
    known: Meaning

    @property
    def text(self) -> str:
        """The labels as JSON, name first, the others in the order of the alphabet."""
        return json.dumps({"__name__": self.name, **dict(sorted(self.labels.items()))}, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that could not be read: where, what stood there, and what is wrong."""

    number: int
    line: str
    reason: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """The series of one table in a file.

    `samples` has a row per series and moment, in that order: ``series`` (the number), ``ts`` in
    microseconds, ``value``, ``text`` as delivered, ``step`` in microseconds (null where the file
    has one moment only). NaN stays NaN in a gauge. `notes` concern the whole file.
    """

    series: tuple[Series, ...]
    samples: pl.DataFrame
    faults: tuple[Fault, ...]
    notes: tuple[str, ...]


def names_in(path: Path) -> set[str]:
    """Return the names of all metrics in a file, without reading its samples."""
    found: set[bytes] = set()
    try:
        with path.open("rb") as stream:
            zipped = stream.read(2) == b"\x1f\x8b"
            if not zipped:
                with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
                    found.update(_NAME.findall(content))
        if zipped:
            kept = b""
            with gzip.open(path) as content:
                while block := content.read(_BLOCK):
                    found.update(_NAME.findall(kept + block))
                    kept = block[-300:]
    except (OSError, EOFError, ValueError, zlib.error):
        pass  # what can be read of a broken file decides; reading it tells the fault
    return {name.decode("utf-8", errors="replace") for name in found}


def label(labels: Mapping[str, str], *names: str) -> str | None:
    """Return the first label that is there and not blank.

    A label that a scrape renamed to ``exported_...`` is the metric's own; the one without belongs
    to the exporter.
    """
    for name in names:
        for spelled in (f"exported_{name}", name):
            if (found := labels.get(spelled, "").strip()) != "":
                return found
    return None


def decode(path: Path, table: str, *, beside: Sequence[str] = ()) -> Decoded:
    """Read the series of one table out of a file.

    Parameters
    ----------
    path : pathlib.Path
        One JSON text, or one per line: answers of ``query_range`` or ``query``, with or without
        the envelope of ``status`` and ``data``. A series that several answers continue is one.
    table : str
        The contract whose metrics are wanted.
    beside : sequence of str
        Roles of metrics of no table that are wanted too.

    Returns
    -------
    Decoded
        Faults and notes that concern the whole file are told with its first table only.

    Raises
    ------
    InputError
        When the file cannot be read.
    """
    collected = _Collected(table, beside)
    here = {t for name in names_in(path) if (k := _plain(name)) for t in _prom_metrics.tables_of(k)}
    teller = next((t for t in _prom_metrics.TABLES if t in here), table) == table
    for document in _json.documents(path):
        collected.answer(document)
        del document  # a range of millions of samples is not kept twice
    return collected.done(teller)


def _plain(name: str) -> Meaning | None:
    return _prom_metrics.meaning(name, {"resource_type": "nodes"})


class _Collected:
    """What is found while the answers of a file are gone through."""

    def __init__(self, table: str, beside: Sequence[str]) -> None:
        self.table, self.beside = table, beside
        self.count = self.answers = 0
        self.series: dict[str, Series] = {}
        self.numbers: list[int] = []
        self.lengths: list[int] = []
        self.sources: list[int] = []
        self.times: list[float] = []
        self.texts: list[str] = []
        self.own: list[Fault] = []
        self.common: list[Fault] = []
        self.left_out: dict[str, set[str]] = {}
        self.warned: set[str] = set()

    def answer(self, document: _json.Document) -> None:
        self.answers += 1
        if document.fault is not None:
            self.fault(document.text, document.fault)
            return
        for entry in self.entries(document):
            self.count += 1
            if not isinstance(entry, dict) or not isinstance(entry.get("metric"), dict):
                self.fault(_json.compact(entry), "line: is not a series of Prometheus")
                continue
            self.entry(entry)

    def entries(self, document: _json.Document) -> Iterator[Any]:
        value = document.value
        if isinstance(value, dict):
            if value.get("status", "success") != "success":
                said = _json.short(value.get("error") or value.get("status"))
                self.fault(document.text, f"line: the server answered with an error ({said})")
                return
            for warning in value["warnings"] if isinstance(value.get("warnings"), list) else ():
                self.warned.add(f"Prometheus warned: {_json.short(warning)}")
            data = value.get("data", value)
            value = data.get("result") if isinstance(data, dict) else None
            if isinstance(data, dict) and data.get("resultType") == "scalar":
                self.left_out.setdefault("a number without labels", set()).add(document.text)
                return
        if not isinstance(value, list):
            self.fault(document.text, "line: is not an answer of Prometheus")
            return
        yield from value

    def fault(self, line: str, reason: str) -> None:
        self.common.append(Fault(max(self.count, 1), line, reason))

    def entry(self, entry: Mapping[str, Any]) -> None:
        labels = {str(k): v if isinstance(v, str) else _json.compact(v) for k, v in entry["metric"].items()}
        name = labels.pop("__name__", "")
        key = json.dumps([name, sorted(labels.items())])
        known = _prom_metrics.meaning(name, labels)
        wanted = known is not None and (
            self.table in _prom_metrics.tables_of(known) or known.role in self.beside
        )
        if known is None:
            self.left_out.setdefault(name or "a query without metric name", set()).add(key)
        if known is None or not wanted:
            return
        series = self.series.setdefault(key, Series(self.count, name, labels, known))
        values = entry.get("values")
        if values is None and "value" in entry:
            values = [entry["value"]]
        if not isinstance(values, list):
            what = "histograms are not read" if "histograms" in entry else "values is no list"
            self.own.append(Fault(self.count, series.text, f"line: {what}"))
            return
        times, texts = self.pairs(series, values)
        self.numbers.append(series.number)
        self.lengths.append(len(times))
        self.sources.append(self.answers)
        self.times += times
        self.texts += texts

    def pairs(self, series: Series, values: list[Any]) -> tuple[list[float], list[str]]:
        """Split samples into times and texts: at once where all are well, else one by one."""
        if set(map(type, values)) == {list} and set(map(len, values)) == {2}:
            times, texts = zip(*values, strict=True)
            if set(map(type, times)) <= _TIMES and set(map(type, texts)) == {str}:
                try:
                    return list(map(float, times)), list(texts)
                except OverflowError:
                    pass
        good: list[tuple[float, str]] = []
        for pair in values:
            if (
                isinstance(pair, list)
                and len(pair) == 2
                and type(pair[0]) in _TIMES
                and microseconds(pair[0], epoch="s") is not None
                and type(pair[1]) in {str, *_TIMES}
            ):
                good.append((float(pair[0]), str(pair[1])))
                continue
            line = _json.compact({"series": series.text, "value": pair})
            self.own.append(Fault(series.number, line, "value: is not a pair of time and value"))
        return [t for t, _ in good], [v for _, v in good]

    def done(self, teller: bool) -> Decoded:
        samples = pl.DataFrame(
            {
                "series": pl.Series(self.numbers, dtype=pl.Int64),
                "source": pl.Series(self.sources, dtype=pl.Int64),
                "length": pl.Series(self.lengths, dtype=pl.Int64),
            }
        )
        samples = samples.select(pl.col("series", "source").repeat_by("length").explode(empty_as_null=False))
        samples = samples.with_columns(
            pl.Series("seconds", self.times, dtype=pl.Float64),
            pl.Series("text", self.texts, dtype=pl.String),
        )
        by_number = {one.number: one for one in self.series.values()}
        seconds, value = pl.col("seconds"), pl.col("text").cast(pl.Float64, strict=False)
        samples = samples.with_columns(
            # What no calendar has would overflow as microseconds.
            pl.when(seconds.is_between(-62_135_596_800, 253_402_300_799))
            .then((seconds * 1e6).round())
            .cast(pl.Int64)
            .alias("ts"),
            value.alias("value"),
        )
        wrong = pl.col("ts").is_null() | pl.col("value").is_null()
        for number, when, text, moment in (
            samples.filter(wrong).select("series", "seconds", "text", "ts").iter_rows()
        ):
            said = (
                f"ts: '{when}' is not a time"
                if moment is None
                else f"value: '{_json.short(text)}' is not a number"
            )
            line = _json.compact({"series": by_number[number].text, "value": [when, text]})
            self.own.append(Fault(number, line, said))
        samples = samples.filter(~wrong)
        notes = sorted(self.warned) if teller else []
        if self.table in _COUNTED and samples["value"].is_nan().any():
            notes.append("samples of counters that are NaN, left out")
            samples = samples.filter(pl.col("value").is_not_nan())
        given = samples.height
        samples = samples.unique(["series", "ts"], keep="first", maintain_order=True).sort("series", "ts")
        samples = _with_steps(samples).select("series", "ts", "value", "text", "step")
        if given > samples.height:
            notes.append("samples given twice in the file: the first was kept")
        if teller and self.left_out:
            named = [f"{name} ({len(them)} series)" for name, them in sorted(self.left_out.items())]
            more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
            notes.append(f"metrics that no table holds, left out: {', '.join(named[:_NAMED])}{more}")
        faults = (*self.own, *(self.common if teller else ()))
        return Decoded(tuple(self.series.values()), samples, faults, tuple(notes))


def _with_steps(samples: pl.DataFrame) -> pl.DataFrame:
    """Add the step of each answer: the middle of its series' distances, or else the file's."""
    apart = pl.col("ts").diff().over("series", "source")
    found = samples.with_columns(apart.alias("apart"))
    steps = found.group_by("source").agg(pl.col("apart").median().alias("step"))
    whole = found["apart"].median()
    if whole is None:
        whole = samples.select(pl.col("ts").diff().over("series").median()).item()
    fill = pl.lit(whole, dtype=pl.Float64)
    return samples.join(steps, on="source", how="left", maintain_order="left").with_columns(
        pl.col("step").fill_null(fill).round().cast(pl.Int64)
    )
