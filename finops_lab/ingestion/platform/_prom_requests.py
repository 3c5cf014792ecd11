"""Requests and tokens that serving engines count: one row per window, model and status."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import polars as pl

from finops_lab.contracts import listed
from finops_lab.ingestion.platform import _prom_rows
from finops_lab.ingestion.platform._prom_series import Decoded, Series, label
from finops_lab.ingestion.registry import NOTES, REASONS, ReadSettings
from finops_lab.ingestion.requests import _calls

__all__ = ["request_rows"]

_TOKENS = ("input", "cached", "output")
_STATES = ("ok", "cancelled", "timeout", "error")  # the first of a window carries its tokens
_FINISHED = {
    "stop": "ok",
    "length": "ok",
    "repetition": "ok",
    "abort": "cancelled",
    "error": "error",
}
_CONTEXT = ("team", "feature", "customer", "environment", "region", "variant")
_KEY = ("provider", "model", "pool_id", *_CONTEXT)
_REASON_LABELS = ("finished_reason", "reason", "err", "cache_source")
_BOTH = "SGLang can count an aborted request among the finished ones too"


def request_rows(decoded: Decoded, settings: ReadSettings) -> pl.DataFrame | None:
    """Return rows of `inference_requests`, each standing for ``n_requests`` finished requests.

    Engines count tokens of all requests together: they stand on the window's first row in the
    order ok, cancelled, timeout, error, and are unknown on the others. Tokens of a window in which
    no request finished go to the next window of the same model in which one did (at the end of
    the file, to the last), whose row then spans both.
    """
    if not decoded.series:
        return None
    known = pl.DataFrame([_describe(s, settings) for s in decoded.series], infer_schema_length=None).cast(
        {**dict.fromkeys(_KEY, pl.String), "error_type": pl.String, "status": pl.String}
    )
    samples = decoded.samples.join(known, on="series", how="inner", maintain_order="left")
    wrong = (pl.col("value") < 0) | ~pl.col("value").is_finite()
    refused = samples.filter(wrong).with_columns(
        pl.concat_list(pl.format("value: '{}' is no count", "text")).alias(REASONS),
        pl.col("series").alias("source_row"),
    )
    counted = _prom_rows.increases(samples.filter(~wrong), "process")
    windows = _windows(counted)
    rows = _with_states(windows, counted)
    return pl.concat([_final(rows), refused], how="diagonal_relaxed")


def _describe(series: Series, settings: ReadSettings) -> Mapping[str, Any]:
    labels, role = series.labels, series.known.role
    status, error, note = role, None, None
    if role == "finished":
        said = label(labels, "finished_reason")
        status = _FINISHED.get(said, "") if said else "ok"
        note = None if said else "finished_reason is not given: errors and aborts count as ok"
    elif role == "failed":
        error = label(labels, "err", "reason")
        status = "cancelled" if error == "dropped" else _calls.failure(error)
    elif role == "cancelled":
        note = _BOTH
    process = {k: v for k, v in labels.items() if k not in _REASON_LABELS}
    return {
        "series": series.number,
        "labels": series.text,
        "role": role if role in _TOKENS else "requests",
        "status": None if role in _TOKENS else status,
        "error_type": error,
        "said": note,
        "process": json.dumps([series.known.engine, sorted(process.items())]),
        "provider": series.known.engine,
        "model": _prom_rows.context(labels, settings, "model", *_prom_rows.MODEL),
        "pool_id": _prom_rows.place(labels)["pool_id"],
        **{column: _prom_rows.context(labels, settings, column) for column in _CONTEXT},
    }


def _windows(counted: pl.DataFrame) -> pl.DataFrame:
    """Sum what was counted in each window, and join windows without a finished request to one with."""

    def total(role: str) -> pl.Expr:
        part = pl.col("increase").filter(pl.col("role") == role)
        return pl.when(part.len() > 0).then(part.sum()).alias(role)

    scraped = counted.group_by(*_KEY, "start", "ts").agg(
        *[total(role) for role in (*_TOKENS, "requests")],
        pl.col("series").min(),
        pl.col("labels").sort_by("series").first(),
        *[pl.col(name).any() for name in ("reset", "gap")],
    )
    scraped = scraped.filter(pl.sum_horizontal(*_TOKENS, "requests") > 0).sort(*_KEY, "ts", "start")
    ends = pl.col("requests").fill_null(0) > 0
    before = ends.cast(pl.Int64).cum_sum().over(_KEY) - ends.cast(pl.Int64)
    last = ends.sum().cast(pl.Int64).over(_KEY) - 1
    turn = pl.min_horizontal(before, pl.max_horizontal(last, pl.lit(0))).alias("turn")

    def carried(role: str) -> pl.Expr:
        return pl.when(pl.col(role).count() > 0).then(pl.col(role).sum()).alias(role)

    return (
        scraped.with_columns(turn, ends.alias("ends"))
        .group_by(*_KEY, "turn")
        .agg(
            pl.col("start").min(),
            pl.col("ts").max(),
            # The window in which requests finished, to find their states again.
            pl.col("start").filter("ends").first().alias("own_start"),
            pl.col("ts").filter("ends").first().alias("own_ts"),
            *[carried(role) for role in (*_TOKENS, "requests")],
            pl.col("series").min(),
            pl.col("labels").sort_by("series").first(),
            *[pl.col(name).any() for name in ("reset", "gap")],
            (pl.len() > 1).alias("joined"),
        )
    )


def _with_states(windows: pl.DataFrame, counted: pl.DataFrame) -> pl.DataFrame:
    """Give each window a row per status; its tokens stand on the first."""
    states = (
        counted.filter((pl.col("role") == "requests") & (pl.col("increase") > 0))
        .group_by(
            *_KEY, pl.col("start").alias("own_start"), pl.col("ts").alias("own_ts"), "status", "error_type"
        )
        .agg(pl.col("increase").sum().alias("n_requests"), pl.col("said").drop_nulls().first())
    )
    rows = windows.join(states, on=[*_KEY, "own_start", "own_ts"], how="left", nulls_equal=True)
    order = pl.col("status").replace_strict(
        {s: i for i, s in enumerate(_STATES)}, default=9, return_dtype=pl.Int64
    )
    rows = rows.with_columns(order.alias("order")).sort(
        "start", *_KEY, "turn", "order", "error_type", nulls_last=True
    )
    one = [*_KEY, "turn"]
    first = pl.int_range(pl.len()).over(one) == 0
    return rows.with_columns(
        first.alias("first"),
        (pl.len().over(one) > 1).alias("shared"),
        *[pl.when(first).then(role).alias(role) for role in _TOKENS],
    )


def _final(rows: pl.DataFrame) -> pl.DataFrame:
    tokens = pl.any_horizontal(*[pl.col(role) > 0 for role in _TOKENS]).fill_null(False)
    cached, whole = pl.col("cached"), pl.col("input")
    reasons = [
        (
            pl.col("n_requests").is_null(),
            pl.format(
                "n_requests: {} tokens and no finished request in the file",
                pl.sum_horizontal("input", "output").round().cast(pl.Int64, strict=False),
            ),
        ),
        (pl.col("status") == "", pl.lit("status: its finished_reason is not known")),
        (
            ~_prom_rows.whole(pl.col("n_requests")),
            pl.format("n_requests: '{}' is not a whole number", "n_requests"),
        ),
        (pl.col("model").is_null(), pl.lit("model: no label of the series names it")),
        (
            cached > whole,
            pl.format(
                "input_uncached_tokens: {} tokens read from the cache are more than the {} input tokens",
                cached,
                whole,
            ),
        ),
    ]
    notes = [
        (pl.col("reset"), pl.lit("counter was reset: counted from zero")),
        (pl.col("gap"), pl.lit("samples are missing: the row spans the gap")),
        (pl.col("joined") & tokens, pl.lit("tokens of windows without a finished request are with this one")),
        (
            pl.col("shared") & pl.col("first") & tokens,
            pl.lit("tokens are those of all requests of the window, whatever their status"),
        ),
        (pl.col("said").is_not_null(), pl.col("said")),
    ]
    rows = rows.with_columns(
        listed(reasons).alias(REASONS),
        listed(notes).alias(NOTES),
        pl.format(
            "requests {}, input {}, cached {}, output {}",
            *[pl.col(name).cast(pl.String).fill_null("-") for name in ("n_requests", *_TOKENS)],
        ).alias("text"),
    )
    return rows.select(
        *_KEY,
        pl.col("start").alias("ts_start"),
        pl.col("ts").alias("ts_end"),
        # Which endpoint was called is not counted: text in, text out is a completion.
        pl.when(pl.col("provider") == "triton")
        .then(pl.lit("other"))
        .otherwise(pl.lit("completion"))
        .alias("operation"),
        pl.lit("self_hosted").alias("hosting"),
        pl.col("n_requests").round(),
        pl.lit(1.0).alias("sample_weight"),
        pl.when(~(cached > whole).fill_null(False))
        .then(whole - cached.fill_null(0))
        .round()
        .alias("input_uncached_tokens"),
        cached.round().alias("cache_read_tokens"),
        pl.col("output").round().alias("output_tokens"),
        pl.when(pl.col("status") != "").then("status").alias("status"),
        "error_type",
        pl.col("series").alias("source_row"),
        "labels",
        "text",
        REASONS,
        NOTES,
    )
