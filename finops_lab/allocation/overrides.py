"""Decisions in disputes: the last step, each with its author, reason and date."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from finops_lab import contracts
from finops_lab.allocation.sharing import Moved
from finops_lab.calendar import format_month
from finops_lab.config import Override, holds
from finops_lab.errors import ConfigError

__all__ = ["override", "unmatched"]


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


def unmatched(steps: pl.DataFrame, decisions: Sequence[Override]) -> list[str]:
    """Name the decisions that no ledger entry fits: nothing changed, and nobody meant that.

    Parameters
    ----------
    steps : polars.DataFrame
        Those of a `Ledger`.
    decisions : sequence of Override
        The same that the ledger was made with, in their order.

    Returns
    -------
    list of str
        A sentence without its full stop for each.

    Examples
    --------
    >>> told = {"author": "cfo", "reason": "r", "date": "2026-10-09", "where": {"x_team": "ad"},
    ...     "set": {"team": "web"}}
    >>> steps = pl.DataFrame({"step": [1, 2], "kind": ["rules", "override"], "entries": [9, 0]})
    >>> unmatched(steps, [Override.model_validate(told)])[0].partition(":")[0]
    'the override of 2026-10-09 by cfo fits no entry of the ledger'
    """
    if not decisions:
        return []
    done = steps.filter(pl.col("kind") == "override").group_by("step").agg(pl.col("entries").sum())
    counts = done.sort("step")["entries"]
    return [_told(one) for one, count in zip(decisions, counts, strict=True) if not count]


def _told(decision: Override) -> str:
    looked = [f"{name} = {' or '.join(values)}" for name, values in decision.where.items()]
    looked += [f"from {format_month(decision.first)}"] if decision.first else []
    looked += [f"to {format_month(decision.last)}"] if decision.last else []
    owner = ", ".join(f"{name} {value}" for name, value in decision.set.items())
    return (
        f"the override of {decision.date:%Y-%m-%d} by {decision.author} fits no entry of the ledger: "
        f"nothing went to {owner} (it looks for {', '.join(looked)})"
    )
