"""What the Prometheus readers share when they make rows: intervals, increases, the finished frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from finops_lab import contracts
from finops_lab.ingestion._moments import MOMENT
from finops_lab.ingestion.platform._prom_series import Decoded, label
from finops_lab.ingestion.registry import NOTES, RAW, REASONS, ReadSettings

__all__ = ["GAP", "MODEL", "context", "finished", "increases", "intervals", "place", "whole"]

# Samples further apart than this many steps have a gap between them.
GAP = 2.5
MODEL = ("model_name", "model", "model_id")
_TEXTS = pl.List(pl.String)
_RAW = pl.Struct({"series": pl.String, "value": pl.String})
_POOL = ("pool_id", "pool", "deployment", "statefulset")


def place(labels: Mapping[str, str]) -> dict[str, str | None]:
    """Return where a series was measured."""
    return {
        "cluster": label(labels, "cluster"),
        "namespace": label(labels, "namespace"),
        "pod": label(labels, "pod"),
        "pool_id": label(labels, *_POOL),
    }


def context(labels: Mapping[str, str], settings: ReadSettings, column: str, *own: str) -> str | None:
    """Look a context column up: under the names of the settings, then its own."""
    given = settings.attributes.get(column, ())
    # Labels of Prometheus hold no dots: an attribute finops.team arrives as finops_team.
    spelled = [s for name in given for s in (name, "".join(c if c.isalnum() else "_" for c in name))]
    return label(labels, *spelled, *(own or (column, f"finops_{column}")))


def increases(samples: pl.DataFrame, process: str) -> pl.DataFrame:
    """Turn samples of counters into what was counted between each and the one before.

    Prometheus' ``increase`` without its extrapolation: a counter that fell was reset, and counted
    its new value since. What one process exports is reset together, so a fall of one counter is a
    reset of all those of the same `process` and moment, also where one has overtaken its old value.

    Parameters
    ----------
    samples : polars.DataFrame
        ``series``, ``ts``, ``value``, ``step``, and the column `process`, ordered by series and ts.
    process : str
        Column that says which counters are reset together.

    Returns
    -------
    polars.DataFrame
        The samples that have one before, with ``start`` (its moment), ``increase``, ``reset`` and
        ``gap``. The first sample of a series counts nothing: what was before it is not known.
    """
    before = pl.col("value").shift(1).over("series")
    found = samples.with_columns(
        pl.col("ts").shift(1).over("series").alias("start"),
        (pl.col("value") < before).alias("fell"),
        before.alias("before"),
    )
    return (
        found.with_columns(pl.col("fell").fill_null(False).any().over(process, "ts").alias("reset"))
        .filter(pl.col("start").is_not_null())
        .with_columns(
            pl.when("reset")
            .then(pl.col("value"))
            .otherwise(pl.col("value") - pl.col("before"))
            .alias("increase"),
            (pl.col("ts") - pl.col("start") > GAP * pl.col("step")).alias("gap"),
        )
    )


def intervals(keys: Sequence[str]) -> list[pl.Expr]:
    """Return ``interval_s`` and ``gap`` of samples ordered by `keys` and ts.

    A sample stands until the next one; before a gap, and at the end, for one step.
    """
    apart = (pl.col("ts").shift(-1) - pl.col("ts")).over(list(keys))
    gap = (apart > GAP * pl.col("step")).fill_null(False)
    lasts = pl.when(gap | apart.is_null()).then(pl.col("step")).otherwise(apart)
    return [(lasts / 1e6).alias("interval_s"), gap.alias("gap")]


def whole(value: pl.Expr) -> pl.Expr:
    """Tell which counts are whole numbers, as far as sums of floats can be."""
    return (value - value.round()).abs() <= 1e-6 * pl.max_horizontal(value.abs(), pl.lit(1.0))


def finished(table: str, rows: pl.DataFrame | None, decoded: Decoded) -> pl.LazyFrame:
    """Make rows a frame of the contract, with the file's faults and notes.

    Parameters
    ----------
    table : str
        Name of the contract.
    rows : polars.DataFrame, optional
        Columns of the contract (moments in microseconds), ``source_row``, ``labels`` and ``text``
        for `RAW`, and optionally `REASONS` and `NOTES`.
    decoded : Decoded
        Its faults become rows to be refused; its notes go on the first row.
    """
    dtypes = {n: t for n, t in contracts.dtypes(table).items() if n != "source_file"}
    schema = {**dtypes, RAW: _RAW, REASONS: _TEXTS, NOTES: _TEXTS}
    parts: list[pl.DataFrame] = []
    if rows is not None and rows.height:
        moment = next(name for name, dtype in dtypes.items() if isinstance(dtype, pl.Datetime))
        rows = rows.with_columns(
            *[
                pl.col(n).cast(pl.Int64).cast(MOMENT)
                for n, t in dtypes.items()
                if isinstance(t, pl.Datetime) and n in rows.columns
            ],
            pl.struct(pl.col("labels").alias("series"), pl.col("text").alias("value")).alias(RAW),
        )
        if "day" in dtypes:
            rows = rows.with_columns(pl.col(moment).dt.date().alias("day"))
        absent = [pl.lit(None, dtype=t).alias(n) for n, t in schema.items() if n not in rows.columns]
        parts.append(
            rows.with_columns(absent).select(pl.col(n).cast(t, strict=False) for n, t in schema.items())
        )
    if decoded.faults:
        broken: list[dict[str, Any]] = [
            {"source_row": f.number, RAW: {"series": f.line, "value": None}, REASONS: [f.reason]}
            for f in decoded.faults
        ]
        parts.append(pl.DataFrame([{**dict.fromkeys(schema), **row} for row in broken], schema=schema))
    done = pl.concat(parts) if parts else pl.DataFrame(schema=schema)
    if decoded.notes and done.height:
        told = pl.lit(list(decoded.notes), dtype=_TEXTS)
        both = pl.concat_list(told, pl.col(NOTES).fill_null(pl.lit([], dtype=_TEXTS)))
        first = pl.int_range(pl.len()) == 0
        done = done.with_columns(pl.when(first).then(both).otherwise(pl.col(NOTES)).alias(NOTES))
    return done.lazy()
