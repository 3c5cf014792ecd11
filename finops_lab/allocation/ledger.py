"""The ledger and its receipt: money in equals money out, to the last decimal, or an error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from finops_lab.allocation.partial import Partial, Policy, finish, partial
from finops_lab.allocation.pooling import UNALLOCATED
from finops_lab.calendar import parse_month
from finops_lab.config import Dimensions, Override, Shared, Split
from finops_lab.contracts import DIMENSIONS
from finops_lab.errors import InputError
from finops_lab.money import one_currency

__all__ = ["UNALLOCATED", "Ledger", "allocate", "explain", "monthly", "put_together"]


@dataclass(frozen=True)
class Ledger:
    """Allocated charges and the proof that none was lost.

    Attributes
    ----------
    entries : polars.DataFrame
        The `ledger` contract.
    receipt : polars.DataFrame
        Per ``metric``, ``BillingCurrency``, ``x_BillingMonth``, ``x_ChargeMonth`` and
        ``ChargeCategory``: ``rows_in``, ``amount_in``, ``allocated``, ``unallocated``, ``excluded``
        (what ``[[coverage]]`` leaves out) and ``residual`` (always 0).
    rules : polars.DataFrame
        `rule_report` over all entries.
    steps : polars.DataFrame
        What each step gave an owner: ``step`` (its place, from 1), ``kind`` (rules, split, idle,
        shared, override), ``name``, ``policy`` in words, ``BillingCurrency`` (null for a step that
        gave nothing), ``entries``, ``BilledCost``, ``EffectiveCost``.
    inputs_sha256 : str, optional
        Digest of everything the ledger was made of, where a lab made it.
    """

    entries: pl.DataFrame
    receipt: pl.DataFrame
    rules: pl.DataFrame
    steps: pl.DataFrame
    inputs_sha256: str | None = None

    def __repr__(self) -> str:
        rows = self.entries["x_Rows"].sum()
        return (
            f"Ledger({self.entries.height:,} entries of {rows:,} bill rows, residual 0; "
            ".entries .receipt .rules .steps)"
        )

    def monthly(self, by: str | None = "team", metric: str = "EffectiveCost") -> pl.DataFrame:
        """Add up a cost per month and value of a dimension: see `monthly`."""
        return monthly(self.entries, by, metric)

    def explain(self, *, metric: str = "EffectiveCost", **owner: str) -> pl.DataFrame:
        """Say what an amount is made of: see `explain`."""
        return explain(self.entries, metric=metric, **owner)


def allocate(
    costs: pl.LazyFrame,
    dimensions: Dimensions,
    *,
    splits: Sequence[Split] = (),
    shared: Sequence[Shared] = (),
    overrides: Sequence[Override] = (),
    requests: pl.LazyFrame | None = None,
    gpu_samples: pl.LazyFrame | None = None,
    delivered: pl.LazyFrame | None = None,
) -> Ledger:
    """Put every charge on an owner; charges that nothing gives an owner stay visible.

    Rules give bill rows their owners; rows of a pool are divided by metered use; shared costs move
    to those who carry them, tier by tier; overrides come last.

    Parameters
    ----------
    costs : polars.LazyFrame
        Rows of the `costs` contract, with the ``x_tag_`` columns of the rules' tags.
    dimensions : Dimensions
        Ordered rules per dimension. The owner is the dimension ``team``.
    splits, shared, overrides : sequences
        ``[[splits]]``, ``[[shared]]`` and ``[[overrides]]`` of `finops.toml`.
    requests, gpu_samples : polars.LazyFrame, optional
        The use that splits and shared costs go by.
    delivered : polars.LazyFrame, optional
        All bill rows that were delivered, where ``[[coverage]]`` leaves some out of `costs`.

    Returns
    -------
    Ledger
        Entries sorted by all their keys.

    Raises
    ------
    ConfigError
        When a rule looks at a column that is not there.
    ReconciliationError
        When a cent is missing after allocation: a defect, never a fault of the data.

    Notes
    -----
    Charges are added up per day, bill attributes and rule inputs first (rows of a pool per charge
    period), and rules run once per distinct combination of their inputs. Amounts stay
    ``Decimal(38, 18)``; what is divided is divided by largest remainder.
    """
    policy = Policy(dimensions, tuple(splits), tuple(shared), tuple(overrides))
    return put_together([partial(costs, policy, requests, gpu_samples, delivered)], policy)


def put_together(parts: Sequence[Partial], policy: Policy, inputs_sha256: str | None = None) -> Ledger:
    """Make the ledger of parts of different billing months."""
    done = finish(parts, policy)
    return Ledger(done.entries, done.receipt, done.caught, done.steps, inputs_sha256)


def monthly(
    entries: pl.DataFrame | pl.LazyFrame, by: str | None = "team", metric: str = "EffectiveCost"
) -> pl.DataFrame:
    """Add up a cost per month of use (accrual) and value of a dimension.

    Parameters
    ----------
    entries : polars.DataFrame or LazyFrame
        Rows of the `ledger` contract, in one currency.
    by : str or None
        A dimension such as ``team``, a ledger column such as ``ProviderName``, or None for all.
    metric : str
        The cost column.

    Returns
    -------
    polars.DataFrame
        ``unique_id`` (the value; ``unknown`` where null, ``total`` without `by`), ``ds`` (first of
        month), ``y`` (Decimal; null where the cost of every charge is unknown), sorted: the panel
        that `forecast` takes.

    Raises
    ------
    CurrencyError
        When the entries are in more than one currency.
    InputError
        When `by` or `metric` is no column of the ledger.
    """
    frame = entries.lazy()
    known = frame.collect_schema().names()
    column = f"x_{by}" if by in DIMENSIONS else by
    for name in (metric, *([column] if column else [])):
        if name not in known:
            raise InputError(
                f"the ledger has no column {name!r}", hint=f"dimensions: {', '.join(DIMENSIONS)}"
            )
    one_currency(frame.select(pl.col("BillingCurrency").unique()).collect()["BillingCurrency"])
    label = pl.col(column).fill_null("unknown") if column else pl.lit("total")
    return (
        frame.group_by(
            label.alias("unique_id"),
            pl.col("x_ChargeDate").dt.month_start().alias("ds"),
        )
        .agg(pl.when(pl.col(metric).count() > 0).then(pl.col(metric).sum()).alias("y"))
        .sort("unique_id", "ds")
        .collect()
    )


def explain(
    entries: pl.DataFrame | pl.LazyFrame,
    *,
    metric: str = "EffectiveCost",
    month: str | None = None,
    **owner: str,
) -> pl.DataFrame:
    """Say what an amount is made of: which rules and pools put which charges on an owner.

    Parameters
    ----------
    entries : polars.DataFrame or LazyFrame
        Rows of the `ledger` contract.
    metric : str
        The cost column.
    month : str, optional
        Month of use, such as ``2026-10``.
    **owner : str
        Dimensions, such as ``team="search"``.

    Returns
    -------
    polars.DataFrame
        Largest amounts first: ``x_AllocationMethod``, ``x_AllocationRule``, ``x_PoolId``,
        ``ProviderName``, ``ServiceName``, ``ChargeCategory``, ``BillingCurrency``, ``x_Rows`` and
        the amount. It adds up to the owner's amount.

    Raises
    ------
    InputError
        When `metric` or a dimension is no column of the ledger, or `month` is no month.
    """
    if month is not None:
        parse_month(month)
    frame = entries.lazy()
    known = frame.collect_schema().names()
    for name in (metric, *(f"x_{d}" for d in owner)):
        if name not in known:
            raise InputError(
                f"the ledger has no column {name!r}", hint=f"dimensions: {', '.join(DIMENSIONS)}"
            )
    wanted = [pl.col(f"x_{name}") == value for name, value in owner.items()]
    wanted += [pl.col("x_ChargeMonth") == month] if month else []
    keys = [
        "x_AllocationMethod",
        "x_AllocationRule",
        "x_PoolId",
        "ProviderName",
        "ServiceName",
        "ChargeCategory",
        "BillingCurrency",
    ]
    found = frame.filter(pl.all_horizontal(pl.lit(True), *wanted)).group_by(keys)
    return (
        found.agg(
            pl.col("x_Rows").sum(),
            pl.when(pl.col(metric).count() > 0).then(pl.col(metric).sum()).alias(metric),
        )
        .sort(pl.col(metric).abs(), *keys, descending=[True, *[False] * len(keys)], nulls_last=True)
        .collect()
    )
