"""Metered use as whole numbers: who used how much in each hour."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from math import gcd, lcm
from typing import Literal

import polars as pl

from finops_lab.config import Measure, TokenWeights
from finops_lab.errors import InputError

__all__ = ["MEASURES", "MONTHLY", "busy_time", "counting", "hourly", "measures"]

# What the use of an hour is counted in; every measure of a split is made of these.
MEASURES = ("requests", "input", "cached_input", "output", "engine_us", "gpu_us")
# What shared costs of a month can go by besides: data leaves a cloud in responses.
MONTHLY = (*MEASURES, "response_bytes")
_US = 1_000_000
# Requests may be a sample: each stands for a number of real ones, which need not be whole.
_SAMPLED = 1_000
_COUNTS = (
    "sample_weight",
    "n_requests",
    "input_uncached_tokens",
    "cache_write_tokens",
    "cache_read_tokens",
    "output_tokens",
    "prefill_ms",
    "decode_ms",
    "latency_ms",
    "response_bytes",
)


def hourly(
    usage: pl.LazyFrame,
    keys: Sequence[str],
    *,
    gpu: bool = False,
    moment: str | None = None,
    counted: Sequence[str] = MEASURES,
) -> pl.LazyFrame:
    """Add up use per hour and key.

    Parameters
    ----------
    usage : polars.LazyFrame
        Rows of `inference_requests`, or of `gpu_samples` with `gpu`.
    keys : sequence of str
        Columns that tell users apart.
    gpu : bool
        Count busy GPU time instead of requests: per interval, the utilization of one kind (the
        first the GPU has of ``sm_active``, ``gr_engine_active``, ``tensor_active``, ``gpu_util``, ``duty_cycle``).
    moment : str, optional
        The moment's column; ``ts_start`` of requests, ``ts`` of samples.
    counted : sequence of str
        `MEASURES`, or of requests `MONTHLY`.

    Returns
    -------
    polars.LazyFrame
        ``hour`` (Datetime, UTC), the keys, and `counted` (Int64): requests and tokens in
        thousandths, since a sampled request stands for a number of real ones; times in
        microseconds; whole bytes. Each row is rounded by itself, so that the order of rows does not matter.
    """
    hour = pl.col(moment or ("ts" if gpu else "ts_start")).dt.truncate("1h").alias("hour")
    each = (
        _gpu_time(usage) if gpu else usage.with_columns(**_of_requests(bytes_too="response_bytes" in counted))
    )
    # In 128 bits, so that what leaves 64 is an error (see `counting`) and no negative number.
    sums = each.group_by([hour, *keys]).agg(pl.col(name).cast(pl.Int128).sum() for name in counted)
    return sums.with_columns(pl.col(counted).cast(pl.Int64))


@contextmanager
def counting(requests: pl.LazyFrame | None) -> Iterator[None]:
    """Say which row of the requests it is, when counts of `hourly` leave 64 bits on being collected.

    Raises
    ------
    InputError
        Naming the row, its value and the likely fix.
    """
    try:
        yield
    except (pl.exceptions.InvalidOperationError, pl.exceptions.ComputeError) as error:
        absurd = None if requests is None else _absurd(requests)
        if absurd is None:
            raise
        raise absurd from error


def _absurd(requests: pl.LazyFrame) -> InputError | None:
    """Return what is wrong with the requests whose counts leave 64 bits; None where nothing is."""
    sizes = {n: pl.col(n).cast(pl.Float64).fill_null(0.0) for n in requests.collect_schema() if n in _COUNTS}
    weight = sizes.pop("sample_weight", pl.lit(1.0))
    # A count that is no number is as large as can be.
    size = (pl.max_horizontal(pl.lit(1.0), *sizes.values()) * weight).fill_nan(float("inf"))
    largest = requests.select(
        size.alias("size"),
        weight.alias("weight"),
        *[value.alias(name) for name, value in sizes.items()],
        *[n for n in ("source_file", "source_row") if n in requests.collect_schema()],
    ).sort("size", descending=True).head(1).collect()  # fmt: skip
    if largest.is_empty() or largest["size"].item() * _SAMPLED < 2**40:
        return None
    found = largest.row(0, named=True)
    column = max(["weight", *sizes], key=lambda name: (found[name] != found[name], found[name]))
    name = "sample_weight" if column == "weight" else column
    return InputError(
        f"inference_requests: {found[column]:g} cannot be counted: counts of an hour or a month must stay below 2^63",
        file=found.get("source_file"),
        row=found.get("source_row"),
        column=name,
        hint="sample_weight is how many calls a row stands for, 1 / the rate of sampling: mend the export, "
        "or leave these rows out by `usage` of the split",
    )


def _of_requests(*, bytes_too: bool = False) -> dict[str, pl.Expr]:
    stands_for = pl.col("sample_weight")

    def whole(amount: pl.Expr, unit: int) -> pl.Expr:
        return (amount * stands_for * unit).round(0).cast(pl.Int64).fill_null(0)

    engine_ms = pl.coalesce(
        pl.when(pl.col("prefill_ms").is_not_null() | pl.col("decode_ms").is_not_null()).then(
            pl.col("prefill_ms").fill_null(0) + pl.col("decode_ms").fill_null(0)
        ),
        "latency_ms",
    )
    return {
        "requests": whole(pl.col("n_requests"), _SAMPLED),
        # A write to the cache reads the input as any other: what it costs more is the vendor's price.
        "input": whole(
            pl.sum_horizontal(pl.col("input_uncached_tokens", "cache_write_tokens").fill_null(0)), _SAMPLED
        ),
        "cached_input": whole(pl.col("cache_read_tokens"), _SAMPLED),
        "output": whole(pl.col("output_tokens"), _SAMPLED),
        # Durations are those of one call, tokens those of all calls of a row.
        "engine_us": whole(engine_ms * pl.col("n_requests"), 1_000),
        "gpu_us": pl.lit(0, dtype=pl.Int64),
        **({"response_bytes": whole(pl.col("response_bytes"), 1)} if bytes_too else {}),
    }


def busy_time(samples: pl.LazyFrame, keys: Sequence[str]) -> pl.LazyFrame:
    """Add up GPU time per hour and key: ``gpu_us`` in use, ``sampled_us`` in all (Int64, microseconds)."""
    hour = pl.col("ts").dt.truncate("1h").alias("hour")
    counted = _gpu_time(samples)
    return counted.group_by([hour, *keys]).agg(pl.col("gpu_us", "sampled_us").sum())


def _gpu_time(samples: pl.LazyFrame) -> pl.LazyFrame:
    order = ("sm_active", "gr_engine_active", "tensor_active", "gpu_util", "duty_cycle")
    rank = pl.coalesce(
        pl.when(pl.col("util_kind") == kind).then(pl.lit(place, pl.Int8)) for place, kind in enumerate(order)
    )
    # One interval of a GPU has a row per kind of utilization: only one of them may count.
    # A kind that was not measured tells nothing: it is neither busy nor idle.
    measured = pl.col("util").is_not_null()
    rank = pl.when(measured).then(rank)
    first = rank.min().over("gpu_uuid", "mig_id", "ts")
    best = (rank == first) | first.is_null()
    # Slices of a GPU, and workloads that take turns on it, are parts of one GPU: alike, for want of sizes.
    time = pl.col("interval_s") * _US / pl.len().over("gpu_uuid", "ts")
    zero = pl.lit(0, dtype=pl.Int64)
    return samples.filter(best).with_columns(
        **dict.fromkeys(("requests", "input", "cached_input", "output", "engine_us"), zero),
        gpu_us=(pl.col("util") * time).round(0).cast(pl.Int64).fill_null(0),
        sampled_us=pl.when(measured).then(time.round(0).cast(pl.Int64)).otherwise(0),
    )


def measures(
    by: Measure | Literal["response_bytes"], weights: TokenWeights, direction: pl.Expr | None = None
) -> pl.Expr:
    """Return the weight of one user's use, as a whole number (Int64).

    Parameters
    ----------
    by : str
        What is counted.
    weights : TokenWeights
        For ``weighted_tokens``; decimals are scaled to whole numbers.
    direction : polars.Expr, optional
        ``input``, ``cached_input`` or ``output`` where only these tokens count; else null.
    """
    tokens = ("input", "cached_input", "output")
    if by in ("tokens", "weighted_tokens"):
        each: Mapping[str, int] = dict.fromkeys(tokens, 1) if by == "tokens" else _whole(weights)
        every = pl.sum_horizontal(pl.col(name).cast(pl.Int128) * factor for name, factor in each.items())
        if direction is None:
            return every
        alone = pl.coalesce(pl.when(direction == name).then(pl.col(name).cast(pl.Int128)) for name in tokens)
        return pl.coalesce(alone, every)
    if by == "even":
        return pl.lit(1, dtype=pl.Int64)
    return pl.col({"engine_seconds": "engine_us", "gpu_seconds": "gpu_us"}.get(by, by))


def _whole(weights: TokenWeights) -> dict[str, int]:
    exact: dict[str, Decimal] = weights.model_dump()
    scale = lcm(*(value.as_integer_ratio()[1] for value in exact.values()))
    whole = {name: int(value * scale) for name, value in exact.items()}
    common = gcd(*whole.values()) or 1
    return {name: value // common for name, value in whole.items()}
