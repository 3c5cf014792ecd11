"""One trace: its calls in order, and where the time of each went."""

from __future__ import annotations

import polars as pl

from finops_lab.errors import InputError

__all__ = ["PHASES", "slowest_traces", "trace_spans"]

# Phases of a call in the order they happen; what is left of its latency is `other`.
PHASES = ("queue", "prefill", "decode", "first token", "rest", "whole", "other")
_MS = 1000.0


def slowest_traces(requests: pl.LazyFrame | pl.DataFrame, most: int = 10) -> pl.DataFrame:
    """Return the traces that took longest from their first call to their last answer.

    Parameters
    ----------
    requests : polars.LazyFrame or polars.DataFrame
        The `inference_requests` contract; calls in batches are left out by the caller.
    most : int
        How many.

    Returns
    -------
    polars.DataFrame
        Slowest first: ``trace_id``, ``begin`` (Datetime), ``duration_ms`` (Float64), ``calls``
        (Int64), ``failed`` (Int64, calls that ended in error or timeout), ``models`` (String).

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> at = datetime(2026, 10, 1, tzinfo=UTC)
    >>> rows = pl.DataFrame({"trace_id": ["a", "b"], "ts_start": [at, at], "latency_ms": [5.0, 9.0],
    ...     "status": ["ok", "error"], "model": ["m", "m"]})
    >>> slowest_traces(rows, 1).select("trace_id", "duration_ms", "failed").row(0)
    ('b', 9.0, 1)
    """
    begin, latency = pl.col("ts_start"), pl.col("latency_ms")
    end = begin + pl.duration(microseconds=(latency * _MS).round().cast(pl.Int64))
    return (
        requests.lazy()
        .filter(pl.col("trace_id").is_not_null(), latency.is_not_null())
        .with_columns(end.alias("_end"))
        .group_by("trace_id")
        .agg(
            begin.min().alias("begin"),
            pl.col("_end").max(),
            pl.len().cast(pl.Int64).alias("calls"),
            pl.col("status").is_in(["error", "timeout"]).sum().cast(pl.Int64).alias("failed"),
            pl.col("model").unique().sort().str.join(", ").alias("models"),
        )
        .with_columns(((pl.col("_end") - pl.col("begin")).dt.total_microseconds() / _MS).alias("duration_ms"))
        .sort("duration_ms", "trace_id", descending=[True, False])
        .head(most)
        .select("trace_id", "begin", "duration_ms", "calls", "failed", "models")
        .collect()
    )


def trace_spans(requests: pl.LazyFrame | pl.DataFrame, trace_id: str) -> pl.DataFrame:
    """Return the calls of a trace and the phases of each, in milliseconds from its begin.

    A call that knows its queue, prefill and decode times is told by them; one that knows only its
    time to first token by that and the rest; any other as a whole. What the phases leave of the
    latency is ``other``.

    Parameters
    ----------
    requests : polars.LazyFrame or polars.DataFrame
        The `inference_requests` contract.
    trace_id : str
        The trace.

    Returns
    -------
    polars.DataFrame
        In order: ``call`` (Int64, from 1), ``label``, ``phase`` (String), ``start_ms``, ``end_ms``
        (Float64), ``status`` and ``tokens`` (Int64; null where unknown).

    Raises
    ------
    InputError
        When there is no such trace, or none of its calls has a latency.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> row = {"trace_id": "t", "ts_start": datetime(2026, 10, 1, tzinfo=UTC), "latency_ms": 10.0,
    ...     "ttft_ms": 4.0, "operation": "chat", "model": "m", "status": "ok"}
    >>> trace_spans(pl.DataFrame([row]), "t").select("phase", "start_ms", "end_ms").rows()
    [('first token', 0.0, 4.0), ('rest', 4.0, 10.0)]
    """
    names = requests.lazy().collect_schema().names()
    mine = (
        requests.lazy()
        .filter(pl.col("trace_id") == trace_id)
        .with_columns(
            pl.lit(None, pl.Float64).alias(name)
            for name in ("queue_ms", "prefill_ms", "decode_ms", "ttft_ms", "output_tokens")
            if name not in names
        )
        .sort("ts_start", "latency_ms", "model", nulls_last=True)
        .collect()
    )
    if mine.is_empty():
        raise InputError(f"there is no trace {trace_id!r}", hint="slowest_traces lists some")
    first = mine["ts_start"][0]
    rows: list[tuple[object, ...]] = []
    for number, call in enumerate(mine.iter_rows(named=True), 1):
        latency = call["latency_ms"]
        if latency is None:
            continue
        at = (call["ts_start"] - first).total_seconds() * _MS
        label = f"{number} {call['operation']} {call['model']}"
        tokens = None if call["output_tokens"] is None else int(call["output_tokens"])
        for phase, length in _phases(call, latency):
            rows.append((number, label, phase, at, at + length, call["status"], tokens))
            at += length
    if not rows:
        raise InputError(f"no call of the trace {trace_id!r} has a latency")
    schema = {
        "call": pl.Int64, "label": pl.String, "phase": pl.String, "start_ms": pl.Float64,
        "end_ms": pl.Float64, "status": pl.String, "tokens": pl.Int64,
    }  # fmt: skip
    return pl.DataFrame(rows, schema=schema, orient="row")


def _phases(call: dict[str, object], latency: float) -> list[tuple[str, float]]:
    known = [(name, call[f"{name}_ms"]) for name in ("queue", "prefill", "decode")]
    parts = [(name, float(str(length))) for name, length in known if length is not None]
    if not parts and call["ttft_ms"] is not None:
        first = min(float(str(call["ttft_ms"])), latency)
        return [("first token", first), ("rest", latency - first)]
    if not parts:
        return [("whole", latency)]
    left = latency - sum(length for _, length in parts)
    return [*parts, *([("other", left)] if left > 0 else [])]
