"""The steps of an allocation: what each gave an owner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from finops_lab.money import MONEY

__all__ = ["Step", "stepped"]

_SCHEMA: dict[str, pl.DataType] = {
    "step": pl.Int64(),
    "kind": pl.String(),
    "name": pl.String(),
    "policy": pl.String(),
    "BillingCurrency": pl.String(),
    "entries": pl.Int64(),
    "BilledCost": MONEY,
    "EffectiveCost": MONEY,
}


@dataclass(frozen=True)
class Step:
    """A step, its policy in words, and the entries that it gave an owner."""

    kind: str
    name: str
    policy: str
    entries: pl.DataFrame


def stepped(steps: Sequence[Step]) -> pl.DataFrame:
    """Add the steps up: one row per step and currency, and one without currency for a step of nothing."""
    rows: list[pl.DataFrame] = []
    for number, step in enumerate(steps, 1):
        sums = step.entries.group_by("BillingCurrency").agg(
            pl.len().cast(pl.Int64).alias("entries"), pl.col("BilledCost", "EffectiveCost").sum()
        )
        if sums.is_empty():
            sums = pl.DataFrame(
                {"BillingCurrency": [None], "entries": [0], "BilledCost": [0], "EffectiveCost": [0]}
            )
        told = {"step": number, "kind": step.kind, "name": step.name, "policy": step.policy}
        rows.append(
            sums.with_columns(pl.lit(value).alias(name) for name, value in told.items())
            .select(pl.col(name).cast(dtype) for name, dtype in _SCHEMA.items())
            .sort("BillingCurrency")
        )
    return pl.concat(rows)
