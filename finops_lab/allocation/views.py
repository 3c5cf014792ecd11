"""Views of a ledger: the two cost bases, and how each kind of charge was treated."""

from __future__ import annotations

from typing import Literal

import polars as pl

from finops_lab.errors import InputError

__all__ = ["Basis", "on_basis", "treatment"]

Basis = Literal["allocated", "usage"]
_KINDS = (
    ("correction", pl.col("ChargeClass") == "Correction"),
    ("commitment, unused", pl.col("CommitmentDiscountStatus") == "Unused"),
    ("commitment, used", pl.col("CommitmentDiscountStatus") == "Used"),
    ("refund", (pl.col("ChargeCategory") == "Usage") & (pl.col("BilledCost") < 0)),
)


def on_basis(entries: pl.LazyFrame, basis: Basis) -> pl.LazyFrame:
    """Return ledger entries on one of the two cost bases of inference.

    ``allocated`` is what reserved capacity cost, idle included: it reconciles to the bill, and only
    it compares with the price of an API. ``usage`` is without what is known to be unused: idle entries
    and unused commitments are left out, and it does not reconcile. Usage divided by allocated is the
    utilization in money. Shared and dark entries are in both: nobody measured that they were idle.

    Source: the allocation- and usage-based costs of OpenCost's and llm-d's inference costs.

    Parameters
    ----------
    entries : polars.LazyFrame
        Rows of the `ledger` contract.
    basis : {"allocated", "usage"}
        The basis.

    Raises
    ------
    InputError
        When there is no such basis.

    Examples
    --------
    >>> rows = pl.LazyFrame({"x_AllocationMethod": ["telemetry", "idle"],
    ...     "CommitmentDiscountStatus": [None, None], "EffectiveCost": [3, 1]})
    >>> [on_basis(rows, b).collect()["EffectiveCost"].sum() for b in ("allocated", "usage")]
    [4, 3]
    """
    if basis not in ("allocated", "usage"):
        raise InputError(f"basis must be allocated or usage, not {basis!r}")
    if basis == "allocated":
        return entries
    unused = pl.col("CommitmentDiscountStatus").eq_missing(pl.lit("Unused"))
    return entries.filter((pl.col("x_AllocationMethod") != "idle") & ~unused)


def treatment(entries: pl.LazyFrame | pl.DataFrame) -> pl.DataFrame:
    """Say how taxes, credits, refunds, commitments and corrections were allocated.

    Parameters
    ----------
    entries : polars.LazyFrame or polars.DataFrame
        Rows of the `ledger` contract.

    Returns
    -------
    polars.DataFrame
        Sorted: ``charge`` (``correction``, ``commitment, unused``, ``commitment, used``, ``refund``,
        else the charge category in small letters), ``x_AllocationMethod``, ``x_AllocationRule``,
        ``BillingCurrency``, ``x_Rows``, ``BilledCost`` and ``EffectiveCost``. Every entry is in one
        line, so the lines add up to the ledger. An entry is a day's sum: a refund and charges that
        are alike in everything but the amount, or parts of one pool and owner, are netted in it.
    """
    charge = pl.coalesce(
        *[pl.when(where).then(pl.lit(name)) for name, where in _KINDS],
        pl.col("ChargeCategory").str.to_lowercase(),
    )
    keys = ["charge", "x_AllocationMethod", "x_AllocationRule", "BillingCurrency"]
    return (
        entries.lazy()
        .with_columns(charge.alias("charge"))
        .group_by(keys)
        .agg(pl.col("x_Rows", "BilledCost", "EffectiveCost").sum())
        .sort(keys, nulls_last=True)
        .collect()
    )
