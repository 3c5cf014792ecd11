"""How far sampled telemetry may be off: what chance alone moves between volume and price."""

from __future__ import annotations

import polars as pl

from finops_lab.errors import InputError
from finops_lab.unit_economics.bridge_weights import DEFAULT_WEIGHTS, WEIGHTS
from finops_lab.unit_economics.schemas import COUNTED

__all__ = ["ERRORS", "sampling_errors"]

_KEYS = ("model", "variant", "team", "feature", "customer", "environment", "region")
# Columns of requests, and the weight of a token of each.
_TOKENS = {
    "input_uncached_tokens": "input",
    "cache_read_tokens": "cache_read",
    "cache_write_tokens": "cache_write",
    "output_tokens": "output",
}
_MOST = 1e28  # of what a row adds: so large an error is as good as unknown, and sums of it fit
ERRORS: dict[str, pl.DataType | type[pl.DataType]] = {
    "month": pl.Date,
    **dict.fromkeys(_KEYS, pl.String),
    "weighed": COUNTED,
    "variance": COUNTED,
}


def sampling_errors(
    requests: pl.LazyFrame | pl.DataFrame, weights: pl.LazyFrame | pl.DataFrame | None = None
) -> pl.DataFrame:
    """Estimate how far the weighted tokens of a month are off because calls were sampled.

    Parameters
    ----------
    requests : polars.LazyFrame or polars.DataFrame
        Rows of the `inference_requests` contract.
    weights : polars.LazyFrame or polars.DataFrame, optional
        The bridge's weights. Weights of single variants are not looked at.

    Returns
    -------
    polars.DataFrame
        `ERRORS`, sorted: per month and owner ``weighed`` tokens and ``variance`` of their sum
        (Decimal), which is 0 where every call has its row.

    Raises
    ------
    InputError
        A missing column.

    Notes
    -----
    Each row of weight w is taken as kept by itself with probability 1 / w: the variance of a total
    is then estimated by the sum of w (w - 1) x squared, x the row's weighted tokens (Horvitz and
    Thompson, "A generalization of sampling without replacement from a finite universe", JASA 47
    (1952), for Poisson sampling). Weights below 1 count as 1.

    Examples
    --------
    >>> from datetime import date
    >>> rows = pl.DataFrame({"day": [date(2026, 8, 3)] * 2, "sample_weight": [10.0, 10.0],
    ...     "input_uncached_tokens": [100, 300], **dict.fromkeys(("cache_read_tokens", "cache_write_tokens",
    ...     "output_tokens"), [0, 0]), **dict.fromkeys(_KEYS, [None, None])})
    >>> sampling_errors(rows).select(pl.col("weighed", "variance").cast(pl.Int64)).rows()
    [(4000, 9000000)]
    """
    frame = requests.lazy()
    names = frame.collect_schema().names()
    if missing := [name for name in ("day", "sample_weight", *_KEYS, *_TOKENS) if name not in names]:
        raise InputError(f"sampling errors need requests; missing: {', '.join(missing)}")
    told = pl.LazyFrame(schema=WEIGHTS) if weights is None else weights.lazy()
    told = told.filter(pl.lit(True) if weights is None else pl.col("variant").is_null())
    told = told.select("model", *(pl.col(name).cast(pl.Float64) for name in _TOKENS.values()))
    weight = pl.max_horizontal(pl.col("sample_weight"), pl.lit(1.0))
    tokens = [
        pl.col(column).cast(pl.Float64).fill_null(0) * pl.col(name).fill_null(float(plain))
        for (column, name), plain in zip(_TOKENS.items(), DEFAULT_WEIGHTS, strict=True)
    ]
    return (
        frame.select("day", "sample_weight", *(pl.col(name).cast(pl.String) for name in _KEYS), *_TOKENS)
        .join(told, on="model", how="left")
        .with_columns(pl.sum_horizontal(tokens).alias("_tokens"), weight.alias("_weight"))
        .group_by(pl.col("day").dt.month_start().alias("month"), *_KEYS)
        .agg(
            # Rounded row by row: sums of decimals do not depend on the order of rows.
            parts.clip(0, _MOST).cast(COUNTED).sum().alias(name)
            for name, parts in (
                ("weighed", pl.col("_weight") * pl.col("_tokens")),
                ("variance", pl.col("_weight") * (pl.col("_weight") - 1) * pl.col("_tokens") ** 2),
            )
        )
        .select(list(ERRORS))
        .sort("month", *_KEYS, nulls_last=True)
        .collect()
    )
