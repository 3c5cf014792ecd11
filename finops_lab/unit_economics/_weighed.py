"""Rows of calls with what they stand for, and the sums over them in whole numbers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import polars as pl

from finops_lab.money import MONEY
from finops_lab.unit_economics.schemas import COUNTED, SUMS, VARIANCES

__all__ = ["OK", "TOKENS", "Weighed", "finished", "sums", "weighed"]

OK = pl.col("status") == "ok"
TOKENS = (
    "input_uncached_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
)
_MAYBE = (*TOKENS, "latency_ms", "cost_reported_usd")
_STATES = {
    "calls_failed": ("error", "timeout"),
    "calls_cancelled": ("cancelled",),
    "calls_pending": ("pending",),
}
_MILLIONTHS = 1_000_000
_MOST = 1e30  # of what a row adds to a variance: so many are as good as unknown, and sums of them fit


@dataclass(frozen=True)
class Weighed:
    """Rows with what they stand for: ``_calls`` and sums in whole numbers, `unit` thousandths each."""

    frame: pl.DataFrame
    unit: int
    sampled: bool  # some row stands for calls that have no row
    ones: bool  # every row is one call
    alike: bool  # every row stands for as many calls
    whole: pl.DataType  # Int64; Int128 where sums might not fit

    @cached_property
    def full(self) -> set[str]:
        """What every row knows."""
        return {name for name in _MAYBE if not self.frame[name].null_count()}

    @cached_property
    def blank(self) -> set[str]:
        """What no row knows."""
        return {name for name in _MAYBE if self.frame[name].null_count() == self.frame.height}


def weighed(rows: pl.DataFrame) -> Weighed:
    """Multiply rows by what they stand for. Nearly every log has a row per call: nothing is done then."""
    n, weight = pl.col("n_requests"), pl.col("sample_weight")
    most = [pl.col(name).max().alias(name) for name in (*TOKENS, "latency_ms")]
    seen = rows.select(
        ((n == 1) & (weight == 1)).all().alias("ones"),
        (weight == 1).all().alias("unsampled"),
        n.max().alias("n"),
        weight.max().alias("weight"),
        pl.max_horizontal(most).alias("most"),
    ).row(0, named=True)
    largest = max(seen["most"] or 0, 1) * max(seen["n"] or 0, 1) * max(seen["weight"] or 0, 1)
    whole: pl.DataType = pl.Int128() if largest * rows.height * 1000 > 2**62 else pl.Int64()
    latency = (pl.col("latency_ms") * 1000).round(0).cast(whole)
    if seen["unsampled"]:
        frame = rows.with_columns(n.alias("_calls"), (latency * n).alias("_latency"))
        unit, alike = 1000, seen["ones"] or rows["n_requests"].n_unique() == 1
    else:
        sampled = [(pl.col(name) * weight * 1000).round(0).cast(whole).alias(name) for name in TOKENS]
        calls = (n * weight * 1000).round(0).cast(whole)
        # Eighteen decimals times millionths: exact up to 1e11 dollars a row.
        units = pl.col("cost_reported_usd").to_physical() * (weight * _MILLIONTHS).round(0).cast(pl.Int128)
        frame = rows.with_columns(
            *sampled,
            calls.alias("_calls"),
            (pl.col("latency_ms") * n * weight * 1000).round(0).cast(whole).alias("_latency"),
            (units // _MILLIONTHS).reinterpret(dtype=MONEY).alias("cost_reported_usd"),
            *_off(n, weight),
        )
        unit, alike = 1, frame["_calls"].n_unique() == 1
    return Weighed(frame, unit, not seen["unsampled"], bool(seen["ones"]), alike, whole)


def _off(n: pl.Expr, weight: pl.Expr) -> list[pl.Expr]:
    """Return what a row adds to the variances of calls and tokens, in thousandths: see `VARIANCES`."""
    spread = weight * (weight - 1).clip(0) * 1000
    read = pl.sum_horizontal(pl.col(TOKENS[:3]).cast(pl.Float64).fill_null(0))
    written = pl.col("output_tokens").cast(pl.Float64).fill_null(0)
    sizes = {"_spread": n.cast(pl.Float64), "_spread_input": read, "_spread_output": written}
    return [
        (size**2 * spread).clip(0, _MOST).round(0).cast(pl.Int128).alias(name) for name, size in sizes.items()
    ]


def sums(rows: Weighed) -> list[pl.Expr]:
    """Return what is added up; what is known beforehand of all rows is left to `finished`."""
    calls = pl.col("_calls")

    def counted(such: pl.Expr, name: str) -> pl.Expr:
        some = such.sum().cast(pl.Int64) if rows.ones else (such.cast(rows.whole) * calls).sum()
        return some.alias(name)

    timed, tokens = pl.col("latency_ms").is_not_null(), pl.col(TOKENS[:4]).is_not_null()
    known = [pl.col(name).cast(rows.whole).sum() for name in TOKENS if name not in rows.blank]
    known += [pl.col("_latency").sum().alias("latency_ms"), pl.col("cost_reported_usd").sum()]
    known += [] if rows.ones else [calls.cast(rows.whole).sum().alias("calls")]
    known += [] if "latency_ms" in rows.full else [counted(timed, "calls_timed")]
    if not rows.full.intersection(TOKENS[:4]):
        known.append((~pl.any_horizontal(tokens)).sum().cast(pl.Int64).alias("rows_without_tokens"))
    told = [name for name in _MAYBE if name not in rows.full | rows.blank]
    known += _variances() if rows.sampled else []
    return [
        pl.len().cast(pl.Int64).alias("rows"),
        counted(OK, "calls_ok"),
        *(counted(_in(states), name) for name, states in _STATES.items()),
        counted(pl.col("is_retry"), "calls_retried"),
        counted(pl.col("is_retry").is_not_null(), "calls_retry_told"),
        counted(OK & pl.col("served_from_cache"), "calls_cached"),
        *known,
        *(pl.col(name).count().alias(f"_known_{name}") for name in told),
    ]


def _in(states: tuple[str, ...]) -> pl.Expr:
    # Comparing with each takes half of what looking them up does.
    return pl.any_horizontal(pl.col("status") == state for state in states)


def _variances() -> list[pl.Expr]:
    of = {
        "variance_ok": OK,
        "variance_failed": _in(_STATES["calls_failed"]),
        "variance_cancelled": _in(_STATES["calls_cancelled"]),
        "variance_retried": pl.col("is_retry"),
        "variance_retry_told": pl.col("is_retry").is_not_null(),
    }
    calls = [
        (such.fill_null(False).cast(pl.Int128) * pl.col("_spread")).sum().alias(name)
        for name, such in of.items()
    ]
    return [
        *calls,
        pl.col("_spread_input").sum().alias("variance_input_tokens"),
        pl.col("_spread_output").sum().alias("variance_output_tokens"),
    ]


def finished(rows: Weighed) -> dict[str, pl.Expr]:
    """Return sums as decimals; the sum of nothing but nulls is unknown, not zero."""
    same = {"calls": "rows"} if rows.ones else {}
    if "latency_ms" in rows.full:
        same["calls_timed"] = same.get("calls", "calls")
    done = {}
    for name, dtype in SUMS.items():
        value = pl.col(same.get(name, name))
        if name == "rows_without_tokens" and rows.full.intersection(TOKENS[:4]):
            value = pl.lit(0)
        if name in VARIANCES and not rows.sampled:
            value = pl.lit(0)
        if dtype == COUNTED and name not in rows.blank:
            unit = 1 if name == "latency_ms" else rows.unit
            value = (value.cast(pl.Int128) * unit).reinterpret(dtype=COUNTED)
        if name in rows.blank:
            value = pl.lit(None)
        elif name in _MAYBE and name not in rows.full:
            value = pl.when(pl.col(f"_known_{name}") > 0).then(value)
        done[name] = value
    return done
