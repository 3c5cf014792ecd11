"""What reading a published set gives: points, pairs, what was found on the way, and where it is from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from finops_lab.tradeoffs.points import POINTS, as_points

__all__ = ["FINDINGS", "NAMES", "PAIRS", "Findings", "Published", "published"]

_Schema = Mapping[str, pl.DataType | type[pl.DataType]]
PAIRS: _Schema = {
    "section": pl.String,
    "model": pl.String,
    "example": pl.String,
    "metric": pl.String,
    "higher_is_better": pl.Boolean,
    "baseline": pl.String,
    "variant": pl.String,
    "baseline_quality": pl.Float64,
    "variant_quality": pl.Float64,
    "baseline_throughput_per_s": pl.Float64,
    "variant_throughput_per_s": pl.Float64,
    "cost_cut": pl.Float64,
    "relative_loss": pl.Float64,
    "note": pl.String,
}
FINDINGS: _Schema = {
    "finding": pl.String,
    "file": pl.String,
    "row": pl.Int64,
    "rows": pl.Int64,
    "text": pl.String,
}
# Every name of a finding: docs/published-benchmarks.md says of each what is done about it.
NAMES = frozenset((
    "above_budget", "absolute", "assumed", "average", "baselines", "blank", "commas", "copied", "direction",
    "disagrees", "duplicate", "error_metric", "errors", "failed_run", "free_text", "heading", "inferred",
    "inter_token", "merged", "no_accuracy", "no_baseline", "no_cost", "no_quality", "no_speed",
    "no_statement", "not_full", "not_read", "other_machine", "per_gpu", "perplexity", "placeholder",
    "power", "ratio_missing", "same_name", "shared_speed", "total", "unit", "unset",
))  # fmt: skip


@dataclass(frozen=True)
class Published:
    """A published set of measurements, read.

    Attributes
    ----------
    points : polars.DataFrame
        Columns of `finops_lab.tradeoffs.points.POINTS`: one row for each variant, setting and metric, in
        the order of the file. Some sets add columns behind them. ``quality`` is in the unit of the source.
    pairs : polars.DataFrame
        Columns of `PAIRS`, one row for each variant and the baseline it was published with; empty where
        a set compares none. ``cost_cut`` is the share by which an inference is cheaper, 1 - baseline
        throughput / variant throughput. ``relative_loss`` is a share of the baseline's quality, in the
        metric's own direction: above 0 is worse.
    findings : polars.DataFrame
        Columns of `FINDINGS`: what was dropped, merged or is doubtful. ``finding`` is its kind, ``rows``
        counts the rows concerned, ``row`` is the first of them (in a table with a header: from 1, the
        header not counted; in a text: its line).
    source : dict of str to str
        ``kind``, ``files``, ``origin`` and ``licence``.
    """

    points: pl.DataFrame
    pairs: pl.DataFrame
    findings: pl.DataFrame
    source: dict[str, str]


@dataclass
class Findings:
    """What a reader finds on its way; `frame` gives the columns of `FINDINGS`.

    Examples
    --------
    >>> found = Findings("a.csv")
    >>> found.add("duplicate", "kept once", rows=[3, 4])
    >>> found.frame().row(0)
    ('duplicate', 'a.csv', 3, 2, 'kept once')
    """

    file: str
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, finding: str, text: str, *, rows: Sequence[int] = (), file: str | None = None) -> None:
        """Note a finding, one of `NAMES`, and the rows it concerns; none: it concerns the whole file."""
        assert finding in NAMES, finding
        row = {"finding": finding, "file": file or self.file, "text": text}
        self.rows.append(row | {"row": min(rows) if rows else None, "rows": len(rows)})

    def frame(self) -> pl.DataFrame:
        """Return the findings in the order in which they were made."""
        return pl.DataFrame(self.rows, schema=FINDINGS)


def published(
    points: Iterable[Mapping[str, Any]] | pl.DataFrame,
    *,
    kind: str,
    files: Sequence[Path],
    origin: str,
    licence: str,
    findings: Findings,
    pairs: Iterable[Mapping[str, Any]] = (),
    extra: _Schema | None = None,
) -> Published:
    """Put together what a reader has read; rows lack what is not known.

    Parameters
    ----------
    points, pairs : iterables of mappings
        Columns of ``POINTS`` (and of `extra`), and of `PAIRS`. `points` may be a table.
    kind, origin, licence : str
        The kind of set, who publishes it, and under which licence.
    files : sequence of pathlib.Path
        The files read.
    findings : Findings
        What the reader found.
    extra : mapping, optional
        Columns of points beyond ``POINTS``, and their dtypes.

    Returns
    -------
    Published
        The set; see there.

    Raises
    ------
    InputError
        Two points that nothing tells apart, or an impossible figure.
    """
    schema = {**POINTS, **(extra or {})}
    table = points if isinstance(points, pl.DataFrame) else _table(points, schema)
    names = ", ".join(path.name for path in files)
    return Published(
        points=as_points(table, file=names),
        pairs=_table(pairs, PAIRS),
        findings=findings.frame(),
        source={"kind": kind, "files": names, "origin": origin, "licence": licence},
    )


def _table(rows: Iterable[Mapping[str, Any]], schema: _Schema) -> pl.DataFrame:
    return pl.DataFrame([{name: row.get(name) for name in schema} for row in rows], schema=schema)
