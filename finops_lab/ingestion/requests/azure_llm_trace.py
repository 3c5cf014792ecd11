"""Requests out of the public Azure LLM inference traces: moment, context tokens, generated tokens.

Source: the traces of 2023 and 2024 in ``Azure/AzurePublicDataset``. They name no model, no status
and no duration; a row is one call that was answered.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from finops_lab import contracts
from finops_lab.contracts import listed
from finops_lab.errors import InputError
from finops_lab.ingestion._moments import moments
from finops_lab.ingestion._scan import ROW, as_text, scan_table
from finops_lab.ingestion.registry import NOTES, RAW, REASONS, ReadSettings, Sample, unreadable
from finops_lab.ingestion.requests import _calls

__all__ = ["FORMAT", "MODEL", "TABLE", "matches", "read"]

FORMAT = "Azure LLM trace"
SOURCE = "AzureLLMInferenceTrace_code.csv and _conv.csv of 2023"
TABLE = _calls.TABLE

MODEL = "unknown (Azure LLM trace)"
_COLUMNS = {
    "TIMESTAMP": "ts_start",
    "ContextTokens": "input_uncached_tokens",
    "GeneratedTokens": "output_tokens",
}
_WHOLE = "^[0-9]{1,18}$"


def matches(sample: Sample) -> bool:
    """Tell whether a file is an Azure LLM trace."""
    return sample.kind != "jsonl" and set(sample.columns) == set(_COLUMNS)


def read(path: Path, settings: ReadSettings) -> pl.LazyFrame:
    """Read a trace as rows of the `inference_requests` contract.

    ``model`` is the constant `MODEL`, ``operation`` is completion and ``status`` ok: the trace
    tells nothing else. Context tokens are all taken as uncached. Moments carry seven digits of a
    second and are cut to microseconds.

    Parameters
    ----------
    path : pathlib.Path
        CSV, plain or gzip; or Parquet.
    settings : ReadSettings
        The share of requests that was exported.

    Returns
    -------
    polars.LazyFrame
        The contract without ``source_file``, and `RAW`, `REASONS`, `NOTES`. ``source_row`` counts
        from 1, the header not counted. The first row notes that there is no model.

    Raises
    ------
    InputError
        When the file cannot be read, or lacks a column.
    """
    try:
        raw = scan_table(path)
        schema = raw.collect_schema()
    except (pl.exceptions.PolarsError, OSError, EOFError) as error:
        raise unreadable(path, error) from None
    for name in _COLUMNS:
        if name not in schema:
            raise InputError(f"has no column {name}", file=path, column=name, hint="export all columns")
    text = {name: as_text(pl.col(name), schema[name]).str.strip_chars() for name in _COLUMNS}
    counts = {
        name: pl.when(text[name].str.contains(_WHOLE)).then(text[name]).cast(pl.Int64)
        for name in ("ContextTokens", "GeneratedTokens")
    }
    weight = 1 / settings.sample_rate if settings.sample_rate else 1.0
    constants = {
        "provider": "azure",
        "model": MODEL,
        "operation": "completion",
        "status": "ok",
        "n_requests": 1,
        "sample_weight": weight,
    }
    wanted = {n: t for n, t in contracts.dtypes(TABLE).items() if n != "source_file"}
    frame = raw.select(
        pl.struct(as_text(pl.col(name), schema[name]).alias(name) for name in _COLUMNS).alias(RAW),
        *[text[name].alias(f"{RAW}{name}") for name in _COLUMNS],
        moments(text["TIMESTAMP"], american=False).alias("ts_start"),
        *[value.alias(_COLUMNS[name]) for name, value in counts.items()],
        pl.col(ROW).cast(pl.Int64).alias("source_row"),
    ).with_columns(
        pl.col("ts_start").dt.date().alias("day"),
        *[pl.lit(value, dtype=wanted[name]).alias(name) for name, value in constants.items()],
    )
    present = frame.collect_schema().names()
    unread = [
        (
            pl.col(column).is_null() & pl.col(f"{RAW}{name}").is_not_null(),
            pl.format(f"{column}: '{{}}' is not {kind}", pl.col(f"{RAW}{name}").str.slice(0, 60)),
        )
        for (name, column), kind in zip(
            _COLUMNS.items(), ("a date and time", "a whole number", "a whole number"), strict=True
        )
    ]
    note = f"model: the trace names none, every row says '{MODEL}'"
    return frame.with_columns(
        *[pl.lit(None, dtype=dtype).alias(name) for name, dtype in wanted.items() if name not in present],
        listed(unread).alias(REASONS),
        listed([(pl.col("source_row") == 1, pl.lit(note))]).alias(NOTES),
    ).select(*wanted, RAW, REASONS, NOTES)
