"""From an owner's amount back to the rows of the bills."""

from __future__ import annotations

import polars as pl

from finops_lab.allocation.dimensions import assign, rule_column
from finops_lab.allocation.partial import Policy
from finops_lab.allocation.pooling import UNALLOCATED, pick
from finops_lab.calendar import parse_month
from finops_lab.config import Shared, holds
from finops_lab.errors import ConfigError

__all__ = ["trace"]

_SHOWN = (
    "x_SourceFile",
    "x_SourceRow",
    "ChargePeriodStart",
    "ProviderName",
    "SubAccountName",
    "ServiceName",
    "ResourceId",
    "ResourceName",
    "ChargeCategory",
    "BillingCurrency",
    "BilledCost",
    "EffectiveCost",
)


def trace(
    costs: pl.LazyFrame, entries: pl.DataFrame | pl.LazyFrame, policy: Policy, *, team: str, month: str
) -> pl.LazyFrame:
    """Return the bill rows that an owner's month is made of.

    Parameters
    ----------
    costs : polars.LazyFrame
        Rows of the `costs` contract that the ledger was made of.
    entries : polars.DataFrame or LazyFrame
        The ledger's entries.
    policy : Policy
        What the ledger was made by.
    team : str
        The owner; ``unallocated`` for what has none.
    month : str
        Month of use, such as ``2026-10``.

    Returns
    -------
    polars.LazyFrame
        Sorted by source: ``via`` (``own``, ``pool NAME`` or ``shared NAME``), ``x_AllocationRule``
        (of the rule that the row itself fulfils), the row's place, what it is for, and its amounts.
        Rows of ``own`` are the owner's whole; of a pool's or tier's rows the ledger gives the
        owner a part. Rows that an override gave away or brought are listed as they were before it.

    Raises
    ------
    InputError
        When `month` is no month.
    """
    first = parse_month(month)
    mine = entries.lazy().filter(x_team=team, x_ChargeMonth=month)
    told = mine.select("x_PoolId", "x_AllocationRule", "x_AllocationMethod").unique().collect()
    pools = set(told["x_PoolId"].drop_nulls())
    steps = {name for path in told["x_AllocationRule"].drop_nulls() for name in path.split(" > ")}
    dated = costs.filter(pl.col("ChargePeriodStart").dt.date().dt.month_start() == first).with_columns(
        pl.col("ChargePeriodStart").dt.date().alias("x_ChargeDate"),
        pl.col("ChargePeriodStart").dt.strftime("%Y-%m").alias("x_ChargeMonth"),
        pick(policy.splits).alias("_split"),
    )
    assigned = assign(dated, policy.dimensions).with_columns(pl.col("x_team").fill_null(UNALLOCATED))
    own = pl.col("_split").is_null() & (pl.col("x_team") == team)
    via = [
        pl.when(pl.col("_split") == place).then(pl.lit(f"pool {split.name}"))
        for place, split in enumerate(policy.splits)
        if split.name in pools
    ]
    known = assigned.collect_schema().names()
    for tier in policy.shared:
        if tier.name in steps:
            via.append(pl.when(_of(tier, known)).then(pl.lit(f"shared {tier.name}")))
    shown = [name for name in _SHOWN if name in known]
    return (
        assigned.with_columns(pl.coalesce(pl.when(own).then(pl.lit("own")), *via).alias("via"))
        .filter(pl.col("via").is_not_null())
        .select("via", pl.col(rule_column("team")).alias("x_AllocationRule"), *shown)
        .sort("x_SourceFile", "x_SourceRow")
    )


def _of(tier: Shared, known: list[str]) -> pl.Expr:
    """Tell which bill rows a tier shares; what a tier asks of entries that no row has, holds for all."""
    here = {name: values for name, values in tier.where.items() if name in known}
    if not here:
        raise ConfigError(f"shared {tier.name!r} asks nothing that a bill row could tell")
    return holds(here)
