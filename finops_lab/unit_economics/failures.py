"""M5, inference error rate: failed calls of finished ones; wrong answers are counted apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from finops_lab.errors import columns_of
from finops_lab.unit_economics._by_dimension import added_up, engine_for
from finops_lab.unit_economics._grouping import monthly, share_of
from finops_lab.unit_economics._sampled import WORDS, share_bounds
from finops_lab.unit_economics.figures import Asked, Definition, together, whole_and_by
from finops_lab.unit_economics.schemas import BY

__all__ = ["ACCURACIES", "DEFINITIONS", "error_rates", "labelled_error_rate"]

# Metrics whose value is the share of items that were right. Scores such as BLEU, F1 or a loss are not.
ACCURACIES = ("accuracy", "acc", "exact_match", "pass@1", "pass_rate")
_TRAINING = ("train", "training")
_REQUESTS = ("inference_requests",)


@dataclass(frozen=True)
class _Measure:
    definition: Definition
    numerator: tuple[str, ...]
    denominator: tuple[str, ...]
    variance: pl.Expr
    variance_of_rest: pl.Expr


_FINISHED = ("calls_ok", "calls_failed")
_VARIANCES = tuple(f"variance_{name}" for name in ("ok", "failed", "cancelled", "retried", "retry_told"))
_OK, _FAILED, _CANCELLED, _RETRIED, _TOLD = (pl.col(name) for name in _VARIANCES)
_MEASURES = (
    _Measure(
        Definition(
            "M5", "error_rate", "Inference error rate", "ratio", "calls", "calls",
            "calls that failed or timed out / finished calls (ok and failed); cancelled and pending calls"
            " count on neither side; sampled calls stand for the real ones; coverage is the share of"
            " calls whose end is known",
            _REQUESTS, "lower", "no call finished", bounds=WORDS,
        ),
        ("calls_failed",), _FINISHED, _FAILED, _OK,
    ),
    _Measure(
        Definition(
            "M5", "cancelled_share", "Cancelled calls", "ratio", "calls", "calls",
            "calls that their caller gave up / cancelled and finished calls",
            _REQUESTS, "lower", "no call ended", bounds=WORDS,
        ),
        ("calls_cancelled",), (*_FINISHED, "calls_cancelled"), _CANCELLED, _OK + _FAILED,
    ),
    _Measure(
        Definition(
            "M5", "retry_share", "Retries", "ratio", "calls", "calls",
            "calls that repeat a failed one / calls whose source says whether they do",
            _REQUESTS, "lower", "no source says which calls repeat a failed one", bounds=WORDS,
        ),
        ("calls_retried",), ("calls_retry_told",), _RETRIED, _TOLD - _RETRIED,
    ),
)  # fmt: skip
_LABELLED = Definition(
    "M5", "labelled_error_rate", "Wrong answers on labelled data", "ratio", "items", "items",
    "1 - accuracy, weighted by the items evaluated; metrics that are the share of right answers,"
    " training data left out; coverage is the share of evaluations that can be used so",
    ("accuracy_samples",), "lower", "no evaluation tells a share of right answers and its number of items",
)  # fmt: skip
DEFINITIONS: tuple[Definition, ...] = (*(one.definition for one in _MEASURES), _LABELLED)


def error_rates(
    requests: pl.DataFrame | pl.LazyFrame,
    *,
    by: str | Sequence[str] = BY,
) -> pl.DataFrame:
    """Tell which share of the calls failed, was cancelled, or repeated another.

    Parameters
    ----------
    requests : polars.DataFrame or polars.LazyFrame
        `finops_lab.unit_economics.schemas.REQUEST_MONTHS` or ``REQUEST_DAYS``. Without the columns
        of `VARIANCES` every call counts as logged.
    by : str or sequence of str
        Dimensions beside the whole.

    Returns
    -------
    polars.DataFrame
        FIGURES of M5: ``error_rate``, ``cancelled_share``, ``retry_share``; of a sampled log
        between bounds that hold for 95 of 100 samples.

    Examples
    --------
    >>> from datetime import date
    >>> calls = pl.DataFrame({"month": [date(2026, 10, 1)], "rows": [10], "calls": [100], "calls_ok": [90],
    ...     "calls_failed": [5], "calls_cancelled": [3], "calls_pending": [2], "calls_retried": [4],
    ...     "calls_retry_told": [80]})
    >>> error_rates(calls, by=()).select("measure", pl.col("value").round(4).cast(pl.Float64)).rows()
    [('error_rate', 0.0526), ('cancelled_share', 0.0306), ('retry_share', 0.05)]
    """
    by = columns_of(by, requests, "calls")
    names = (
        "rows",
        "calls",
        "calls_ok",
        "calls_failed",
        "calls_cancelled",
        "calls_pending",
        "calls_retried",
        "calls_retry_told",
    )
    frame = monthly(requests)
    spread = [name for name in _VARIANCES if name in frame.collect_schema()]
    rows = frame.select("month", *dict.fromkeys(by), *names, *spread).collect(engine=engine_for(requests))
    # Most logs are of every call: nobody asks how far their counts may be off.
    sampled = not all(rows.select(pl.col(spread).eq(0).all()).rows()[0]) if spread else False
    sums = added_up(rows, whole_and_by(by), pl.col(*names, *(spread if sampled else ())).sum())
    known = share_of(pl.col("calls") - pl.col("calls_pending"), pl.col("calls")).alias("coverage")
    unspread = [pl.lit(0).alias(name) for name in _VARIANCES if name not in sums.columns]
    sums = sums.with_columns(known, *unspread)
    parts = []
    for one in _MEASURES:
        some = sums.with_columns(
            pl.sum_horizontal(one.numerator).alias("numerator"),
            pl.sum_horizontal(one.denominator).alias("denominator"),
        )
        if sampled:
            low, high = share_bounds(some, "numerator", "denominator", one.variance, one.variance_of_rest)
            some = some.with_columns(low.alias("lower"), high.alias("upper"))
        parts.append(Asked(some, one.definition))
    return together(parts, whole_and_by(by))


def labelled_error_rate(
    samples: pl.DataFrame | pl.LazyFrame,
    *,
    by: str | Sequence[str] = ("model", "variant", "dataset"),
    metrics: Sequence[str] = ACCURACIES,
) -> pl.DataFrame:
    """Tell which share of labelled items the models got wrong.

    Parameters
    ----------
    samples : polars.DataFrame or polars.LazyFrame
        `accuracy_samples`.
    by : str or sequence of str
        Dimensions beside the whole.
    metrics : sequence of str
        Metrics, in lower case, whose value is the share of right answers.

    Returns
    -------
    polars.DataFrame
        FIGURES of M5, ``labelled_error_rate``. An evaluation of another metric, of training data,
        without its number of items, or outside 0 to 1 does not count, and lowers `coverage`.

    Examples
    --------
    >>> from datetime import datetime
    >>> found = pl.DataFrame({"ts": [datetime(2026, 10, 2)] * 2, "metric": ["accuracy"] * 2,
    ...     "value": [0.9, 0.5], "n": [300, 100], "split": ["test"] * 2, "higher_is_better": [True] * 2})
    >>> labelled_error_rate(found, by=()).select(pl.col("value").cast(pl.Float64), "numerator").row(0)
    (0.2, Decimal('80.000000000000000000'))
    """
    by = columns_of(by, samples, "evaluations")
    usable = (
        pl.col("metric").str.to_lowercase().is_in(list(metrics))
        & pl.col("higher_is_better")
        & pl.col("value").is_between(0, 1)
        & pl.col("n").is_not_null()
        & ~pl.col("split").str.to_lowercase().is_in(_TRAINING).fill_null(False)
    ).fill_null(False)
    # A share of n items is a whole number of them: what floating point adds is rounded away.
    wrong = ((1 - pl.col("value")) * pl.col("n")).round(3).cast(pl.Decimal(38, 3))
    # Added up by all dimensions at once first: evaluations may be many, what comes of them is not.
    rows = (
        samples.lazy()
        .group_by(pl.col("ts").dt.date().dt.month_start().alias("month"), *dict.fromkeys(by))
        .agg(
            wrong.filter(usable).sum().alias("numerator"),
            pl.col("n").filter(usable).sum().alias("denominator"),
            usable.sum().cast(pl.Int64).alias("rows"),
            pl.len().alias("evaluations"),
        )
        .collect(engine=engine_for(samples))
    )
    sums = added_up(
        rows, whole_and_by(by), pl.col("numerator", "denominator", "rows", "evaluations").sum()
    ).with_columns(share_of(pl.col("rows"), pl.col("evaluations")).alias("coverage"))
    return together([Asked(sums, _LABELLED)], whole_and_by(by))
