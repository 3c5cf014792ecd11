"""Good and bad events of calls, counted in slots of five minutes."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from finops_lab.errors import InputError
from finops_lab.money import MONEY
from finops_lab.service_levels.promises import COLUMN, promised
from finops_lab.service_levels.schemas import COUNTED, EVENTS, PROMISE, SLOT_S

__all__ = ["BY_CALL", "added", "events"]

BY_CALL = ("availability", "error_rate", "latency")
_FINISHED = ("ok", "error", "timeout")
_KEYS = [*PROMISE, "slot", "slot_s"]
_SUMS = [name for name in EVENTS if name not in _KEYS]


def events(
    requests: pl.LazyFrame | pl.DataFrame,
    slos: pl.DataFrame | pl.LazyFrame,
    *,
    without_tiers: Sequence[str] = ("batch",),
    cost: str = "cost_reported_usd",
) -> pl.LazyFrame:
    """Count good and bad calls of every service, objective and slot of five minutes.

    Availability and error rate: finished calls, good when ``ok``, bad when ``error`` or
    ``timeout``. Latency: successful calls, good up to ``threshold_ms``; a call without a latency is
    `unknown`. Cancelled and pending calls are no events.

    Parameters
    ----------
    requests : polars.LazyFrame or polars.DataFrame
        The `inference_requests` contract.
    slos : polars.DataFrame or polars.LazyFrame
        The `slos` contract. Objectives that are not about calls are left to
        `finops_lab.service_levels.daily`.
    without_tiers : sequence of str
        Service tiers that no promise holds for, such as batches that nobody waits for.
    cost : str
        Column with the cost of a row in USD: ``cost_reported_usd``, or ``cost_computed_usd`` of
        requests that were priced. It is multiplied by the weight of the row.

    Returns
    -------
    polars.LazyFrame
        `finops_lab.service_levels.schemas.EVENTS`, sorted. `added` adds up several of them.

    Raises
    ------
    InputError
        When there is no column `cost`, or the objectives are wrong.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> requests = pl.LazyFrame({"ts_start": [datetime(2026, 10, 1, 9, 2, tzinfo=UTC)] * 3,
    ...     "feature": ["chat"] * 3, "n_requests": [1, 1, 1], "sample_weight": [20.0] * 3,
    ...     "status": ["ok", "timeout", "cancelled"], "latency_ms": [100.0, None, None],
    ...     "service_tier": [None] * 3, "cost_reported_usd": [None] * 3})
    >>> slos = pl.DataFrame({"service": ["chat"], "objective": ["availability"], "target": [0.99]})
    >>> events(requests, slos).select("slot", "good", "bad", "rows").collect().row(0)[1:]
    (Decimal('20.000'), Decimal('20.000'), 2)
    """
    calls, names = requests.lazy(), requests.lazy().collect_schema().names()
    promises = promised(slos).filter(pl.col("objective").is_in(BY_CALL))
    if cost not in names:
        raise InputError(f"requests have no column {cost!r}", hint="price them, or name another column")
    if without_tiers and "service_tier" in names:
        calls = calls.filter(~pl.col("service_tier").is_in(list(without_tiers)).fill_null(False))
    calls = calls.filter(pl.col("status").is_in(_FINISHED))
    stands_for = pl.col("n_requests") * pl.col("sample_weight")
    parts = []
    for (dimension,), group in promises.group_by("dimension", maintain_order=True):
        column = COLUMN[str(dimension)]
        if column not in names:
            raise InputError(f"requests have no column {column!r}, and objectives speak of it")
        keys = group.lazy().select(*PROMISE, "threshold_ms")
        rows = calls.select(
            pl.col(column).alias("service"),
            pl.col("ts_start").dt.truncate(f"{SLOT_S}s").alias("slot"),
            pl.col("status") == "ok",
            "latency_ms",
            stands_for.round(3).cast(COUNTED).alias("total"),
            (stands_for * pl.col("sample_weight")).round(3).cast(COUNTED).alias("squares"),
            # A row that adds up calls has seen each of them; what was sampled away nobody has seen.
            pl.col("n_requests").cast(pl.Int64).alias("seen"),
            pl.col("sample_weight").round(3).cast(COUNTED).alias("weight"),
            pl.col(cost).cast(MONEY).alias("bad_usd"),
        )
        parts.append(_judged(rows.join(keys, on="service", how="inner")))
    if not parts:
        return pl.LazyFrame(schema=EVENTS)
    return added(*parts)


def _judged(rows: pl.LazyFrame) -> pl.LazyFrame:
    about_time = pl.col("objective") == "latency"
    good = pl.when(about_time).then(pl.col("latency_ms") <= pl.col("threshold_ms")).otherwise("status")
    rows = rows.filter(pl.col("status") | ~about_time).with_columns(good.alias("good"))
    zero = pl.lit(0, COUNTED)
    bad = ~pl.col("good")  # null where the call cannot be judged

    def counted(when: pl.Expr, what: str = "total") -> pl.Expr:
        return pl.when(when).then(what).otherwise(0 if what == "seen" else zero)

    return rows.select(
        *PROMISE,
        "slot",
        pl.lit(SLOT_S, pl.Int64).alias("slot_s"),
        counted(pl.col("good")).alias("good"),
        counted(bad).alias("bad"),
        counted(pl.col("good").is_not_null()).alias("total"),
        counted(pl.col("good").is_null()).alias("unknown"),
        counted(pl.col("good").is_not_null(), "seen").alias("rows"),
        counted(bad, "seen").alias("bad_rows"),
        counted(pl.col("good").is_not_null(), "squares").alias("squares"),
        counted(bad, "squares").alias("bad_squares"),
        # Exact while cost has at most 15 decimals or the weight is whole; else rounded by the row.
        pl.when(bad).then(pl.col("bad_usd") * pl.col("weight")).cast(MONEY).alias("bad_usd"),
        counted(bad & pl.col("bad_usd").is_null()).alias("bad_unpriced"),
    )


def added(*parts: pl.LazyFrame | pl.DataFrame) -> pl.LazyFrame:
    """Add up counted events, of several days or machines, in any order.

    Parameters
    ----------
    *parts : polars.LazyFrame or polars.DataFrame
        `EVENTS`, such as of one day each, or of calls and of days.

    Returns
    -------
    polars.LazyFrame
        `EVENTS`, sorted by name and slot.
    """
    together = pl.concat([part.lazy().select(list(EVENTS)) for part in parts])
    sums = [pl.col(name).sum().cast(EVENTS[name]) for name in _SUMS]
    return together.group_by(_KEYS).agg(sums).sort("slo", "slot").select(list(EVENTS))
