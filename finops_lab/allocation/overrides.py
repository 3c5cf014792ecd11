"""Decisions in disputes: the last step, each with its author, reason and date."""

from __future__ import annotations

import polars as pl

from finops_lab import contracts
from finops_lab.allocation.sharing import Moved
from finops_lab.calendar import format_month
from finops_lab.config import Override, holds
from finops_lab.errors import ConfigError

__all__ = ["override"]


def override(entries: pl.DataFrame, decision: Override) -> Moved:
    """Give the entries that a decision speaks of their new owner.

    Parameters
    ----------
    entries : polars.DataFrame
        Rows of the `ledger` contract.
    decision : Override
        Which entries, of which charge months, and whose they are.

    Returns
    -------
    Moved
        The entries, amounts untouched, and those that were decided on as they were before.

    Raises
    ------
    ConfigError
        When `where` names a column that the ledger does not have.
    """
    known = contracts.dtypes("ledger")
    for name in decision.where:
        if name not in known:
            raise ConfigError(
                f"the override of {decision.date} by {decision.author} looks at column {name!r}, "
                "which the ledger does not have",
                hint=f"columns: {', '.join(known)}",
            )
    month = pl.col("x_ChargeMonth")
    meant = holds(decision.where)
    meant &= month >= format_month(decision.first) if decision.first else True
    meant &= month <= format_month(decision.last) if decision.last else True
    told = pl.lit(f"override of {decision.date:%Y-%m-%d} by {decision.author}")
    changed = {f"x_{name}": pl.lit(value) for name, value in decision.set.items()}
    if "team" in decision.set and "business_unit" not in decision.set:
        changed["x_business_unit"] = pl.lit(None, dtype=pl.String)
    changed["x_AllocationMethod"] = pl.lit("override")
    changed["x_AllocationRule"] = pl.concat_str("x_AllocationRule", told, separator=" > ", ignore_nulls=True)
    done = entries.with_columns(
        pl.when(meant).then(expr).otherwise(pl.col(name)).alias(name) for name, expr in changed.items()
    )
    return Moved(done, entries.filter(meant))
