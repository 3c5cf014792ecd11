"""Daily ratios to watch for drift: cost per inference, cache hits, tokens per request, idle share, coverage."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from finops_lab.allocation.coverage import valued
from finops_lab.anomalies.event import SCOPES
from finops_lab.anomalies.panel import DIMENSIONS
from finops_lab.errors import InputError, each_name
from finops_lab.unit_economics.load import TOKENS

__all__ = ["RATIOS", "coverage_ratios", "idle_ratios", "ratios_of", "request_ratios", "scopes"]

RATIOS: dict[str, pl.DataType] = {
    "metric": pl.String(),
    "unit": pl.String(),
    "dimension": pl.String(),
    "value": pl.String(),
    "day": pl.Date(),
    "numerator": pl.Float64(),
    "denominator": pl.Float64(),
    "evidence": pl.Float64(),  # independent observations behind the day; null: only its noise tells
    "share": pl.Boolean(),  # a share of a whole, between 0 and 1
}


def ratios_of(
    days: pl.DataFrame | pl.LazyFrame,
    metric: str,
    *,
    numerator: str | pl.Expr,
    denominator: str | pl.Expr,
    unit: str = "ratio",
    share: bool = False,
    evidence: str | None = None,
    by: str | Sequence[str] = (),
    day: str = "day",
) -> pl.DataFrame:
    """Add up two columns per day, for the whole and by dimension.

    Parameters
    ----------
    days : polars.DataFrame or polars.LazyFrame
        `day` (Date), the columns of both parts, and those of `by`.
    metric, unit : str
        Name of the ratio and its unit.
    numerator, denominator : str or polars.Expr
        What is divided; rows in which either is null do not count.
    share : bool
        Whether it lies between 0 and 1.
    evidence : str, optional
        Column with the number of independent observations of a row.
    by : str or sequence of str
        Columns to tell it by, beside the whole.
    day : str
        Column of the day.

    Returns
    -------
    polars.DataFrame
        `RATIOS`; the dimension is the column's name without ``x_`` and ``_id``, null values are left out.

    Raises
    ------
    InputError
        A column is missing.

    Examples
    --------
    >>> from datetime import date
    >>> days = pl.DataFrame({"day": [date(2026, 10, 1)] * 2, "model": ["a", "b"], "usd": [1.0, 3.0], "calls": [10, 10]})
    >>> found = ratios_of(days, "cost_per_inference", numerator="usd", denominator="calls", by=["model"])
    >>> found.select("dimension", "value", "numerator", "denominator").rows()
    [('total', None, 4.0, 20.0), ('model', 'a', 1.0, 10.0), ('model', 'b', 3.0, 10.0)]
    """
    by = each_name(by)
    frame = days.lazy()
    known = frame.collect_schema()
    asked = [one for one in (day, *by, numerator, denominator, evidence) if isinstance(one, str)]
    for column in asked:
        if column not in known:
            raise InputError("it is needed for a ratio", column=column)
    above, below = (pl.col(one) if isinstance(one, str) else one for one in (numerator, denominator))
    count = pl.lit(None, pl.Float64) if evidence is None else pl.col(evidence).cast(pl.Float64)
    rows = frame.select(
        pl.col(day).alias("day"),
        *by,
        above.cast(pl.Float64).alias("numerator"),
        below.cast(pl.Float64).alias("denominator"),
        count.alias("evidence"),
    ).filter(pl.col("numerator").is_not_null(), pl.col("denominator").is_not_null())
    rows = rows.collect().lazy()
    parts = []
    names: list[str | None] = [None, *by]
    for name in names:
        key = pl.lit(None, pl.String) if name is None else pl.col(name).cast(pl.String)
        told = rows if name is None else rows.filter(key.is_not_null())
        # Floats add up to the same in one order only.
        sums = [pl.col(one).sort().sum() for one in ("numerator", "denominator")]
        sums.append(pl.when(pl.col("evidence").count() > 0).then(pl.col("evidence").sum()).alias("evidence"))
        dimension = "total" if name is None else name.removeprefix("x_").removesuffix("_id").lower()
        dimension = {"providername": "provider", "servicename": "service"}.get(dimension, dimension)
        parts.append(
            told.group_by("day", key.alias("value"))
            .agg(sums)
            .with_columns(
                pl.lit(dimension).alias("dimension"),
                pl.lit(metric).alias("metric"),
                pl.lit(unit).alias("unit"),
                pl.lit(share).alias("share"),
            )
            .select(pl.col(column).cast(dtype) for column, dtype in RATIOS.items())
            .sort("value", "day")
        )
    return pl.concat(pl.collect_all(parts))


def request_ratios(
    days: pl.DataFrame | pl.LazyFrame, *, by: str | Sequence[str] = ("model", "feature", "team")
) -> pl.DataFrame:
    """Tell the ratios of calls: reported cost of a successful call, tokens of a call, cache hits.

    Parameters
    ----------
    days : polars.DataFrame or polars.LazyFrame
        `finops_lab.unit_economics.schemas.REQUEST_DAYS`.
    by : str or sequence of str
        Columns to tell them by, beside the whole.

    Returns
    -------
    polars.DataFrame
        `RATIOS` of ``cost_per_inference`` (USD), ``tokens_per_request``, ``cache_hit_share`` (of input
        tokens, where calls use a cache at all).
    """
    by = each_name(by)
    tokens = pl.sum_horizontal(pl.col(name) for name in TOKENS)
    told = pl.any_horizontal(pl.col(name).is_not_null() for name in TOKENS)
    cached = pl.col("cache_read_tokens")
    read = pl.sum_horizontal("input_uncached_tokens", "cache_read_tokens", "cache_write_tokens")
    usd = pl.col("cost_reported_usd")
    return pl.concat(
        [
            ratios_of(
                days,
                "cost_per_inference",
                unit="USD",
                numerator=usd,
                denominator="calls_ok",
                evidence="rows",
                by=by,
            ),
            ratios_of(
                days,
                "tokens_per_request",
                unit="tokens",
                numerator=pl.when(told).then(tokens),
                denominator="calls",
                evidence="rows",
                by=by,
            ),
            ratios_of(
                days,
                "cache_hit_share",
                numerator=cached,
                denominator=pl.when(cached.is_not_null()).then(read),
                share=True,
                evidence="rows",
                by=by,
            ),
        ]
    )


def idle_ratios(
    days: pl.DataFrame | pl.LazyFrame,
    *,
    kind: str = "gpu_util",
    by: str | Sequence[str] = ("pool_id", "team"),
) -> pl.DataFrame:
    """Tell the share of sampled GPU time in which GPUs did nothing.

    Parameters
    ----------
    days : polars.DataFrame or polars.LazyFrame
        `finops_lab.unit_economics.schemas.GPU_DAYS`.
    kind : str
        The kind of utilization; kinds are never mixed.
    by : str or sequence of str
        Columns to tell it by, beside the whole.

    Returns
    -------
    polars.DataFrame
        `RATIOS` of ``idle_share``.
    """
    by = each_name(by)
    idle = pl.col("sampled_s") - pl.col("busy_s")
    rows = days.lazy().filter(pl.col("util_kind") == kind)
    return ratios_of(rows, "idle_share", numerator=idle, denominator="sampled_s", share=True, by=by)


def coverage_ratios(
    entries: pl.DataFrame | pl.LazyFrame,
    *,
    metric: str = "EffectiveCost",
    by: str | Sequence[str] = ("provider",),
) -> pl.DataFrame:
    """Tell the share of a day's charges above zero that has an owner.

    Parameters
    ----------
    entries : polars.DataFrame or polars.LazyFrame
        The `ledger` contract, in one currency.
    metric : str
        The amount.
    by : str or sequence of str
        Names of `finops_lab.anomalies.panel.DIMENSIONS`.

    Returns
    -------
    polars.DataFrame
        `RATIOS` of ``coverage``; corrections, which are of other days, left out.
    """
    by = each_name(by)
    amount = pl.col(metric)
    owned = pl.when(valued("team")).then(amount).otherwise(0)
    rows = entries.lazy().filter(amount > 0, pl.col("ChargeClass").is_null())
    columns = [DIMENSIONS[name] for name in by]
    return ratios_of(
        rows, "coverage", numerator=owned, denominator=amount, share=True, by=columns, day="x_ChargeDate"
    )


def scopes(dimension: str, value: str | None) -> dict[str, str | None]:
    """Return the columns of an event that a slice pins down."""
    return {column: value if name == dimension else None for name, column in SCOPES.items()}
