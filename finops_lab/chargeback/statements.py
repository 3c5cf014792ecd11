"""Statements: what each team pays for a month, line by line, adding up to the ledger exactly."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

import polars as pl

from finops_lab.allocation import UNALLOCATED
from finops_lab.calendar import parse_month
from finops_lab.chargeback.wording import KINDS, WORDING
from finops_lab.contracts import AMOUNTS
from finops_lab.errors import InputError, NoDataError, ReconciliationError
from finops_lab.money import MONEY, exact_sum, one_currency

__all__ = ["BASES", "DETAIL", "Basis", "Statements", "in_month", "statements"]

Basis = Literal["accrual", "cash"]
# The month of a statement: of the use, or of the invoice.
BASES: dict[str, str] = {"accrual": "x_ChargeMonth", "cash": "x_BillingMonth"}
# What tells the lines of one team apart.
DETAIL = (
    "ProviderName",
    "ServiceName",
    "ChargeCategory",
    "x_product",
    "x_feature",
    "x_model",
    "x_environment",
    "x_AllocationMethod",
    "x_AllocationRule",
)


@dataclass(frozen=True)
class Statements:
    """What each team pays for one month, in one currency.

    Attributes
    ----------
    month : str
        Such as ``2026-10``.
    basis : str
        ``accrual``: the month of the use; ``cash``: the month of the invoice.
    metric : str
        The cost that is stated, such as ``EffectiveCost``.
    currency : str
        ISO 4217 code of all amounts.
    total : Decimal or None
        The ledger's month, added up by itself; None where no row has the metric.
    summary : polars.DataFrame
        One row per team, ``unallocated`` last: ``x_team``, then ``direct``, ``usage``, ``shared``,
        ``idle``, ``dark``, ``amortized``, ``override``, ``unallocated`` and ``total``
        (``Decimal(38, 18)``), ``x_Rows`` (Int64, bill rows) and ``unknown_entries`` (Int64, ledger
        entries without the metric, which are in no sum). An amount is zero where nothing is of its
        kind, and null where all of it is unknown.
    lines : polars.DataFrame
        One row per team and detail: ``x_team``, ``ProviderName``, ``ServiceName``,
        ``ChargeCategory``, ``x_product``, ``x_feature``, ``x_model``, ``x_environment``,
        ``x_AllocationMethod``, ``x_AllocationRule``, ``kind`` (String), the metric under its own
        name (``Decimal(38, 18)``, null where unknown), ``x_Rows`` and ``unknown_entries`` (Int64).
    """

    month: str
    basis: str
    metric: str
    currency: str
    total: Decimal | None
    summary: pl.DataFrame = field(repr=False)
    lines: pl.DataFrame = field(repr=False)

    @property
    def teams(self) -> list[str]:
        """The owners, in the order of the summary."""
        return self.summary["x_team"].to_list()


def in_month(entries: pl.DataFrame | pl.LazyFrame, month: str, basis: str = "accrual") -> pl.LazyFrame:
    """Keep the ledger entries of one month.

    Parameters
    ----------
    entries : polars.DataFrame or LazyFrame
        Rows of the `ledger` contract.
    month : str
        Such as ``2026-10``.
    basis : {"accrual", "cash"}
        By ``x_ChargeMonth`` or by ``x_BillingMonth``.

    Raises
    ------
    InputError
        When the month or the basis is none.
    """
    parse_month(month)
    if basis not in BASES:
        raise InputError(f"basis must be accrual or cash, not {basis!r}")
    return entries.lazy().filter(pl.col(BASES[basis]) == month)


def statements(
    entries: pl.DataFrame | pl.LazyFrame,
    month: str,
    *,
    metric: str = "EffectiveCost",
    basis: Basis = "accrual",
) -> Statements:
    """State what each team pays for a month; what nobody owns has a statement of its own.

    Parameters
    ----------
    entries : polars.DataFrame or LazyFrame
        Rows of the `ledger` contract.
    month : str
        Such as ``2026-10``.
    metric : str
        ``BilledCost``, ``EffectiveCost``, ``ListCost`` or ``ContractedCost``.
    basis : {"accrual", "cash"}
        Whether `month` is that of the use or that of the invoice. A correction of an earlier month
        is in the old month by ``accrual`` and in the new one by ``cash``.

    Returns
    -------
    Statements
        The sums of lines, kinds and teams are checked against the ledger's month, to the last decimal.

    Raises
    ------
    InputError
        When month, metric or basis is none.
    NoDataError
        When the ledger holds nothing of the month.
    CurrencyError
        When the month holds more than one currency.
    ReconciliationError
        When the statements do not add up to the ledger: a defect, never a fault of the data.

    Examples
    --------
    >>> from finops_lab.contracts import dtypes
    >>> row = {"x_ChargeMonth": "2026-10", "BillingCurrency": "USD", "ProviderName": "CloudOne",
    ...     "ChargeCategory": "Usage", "x_team": "search", "x_Rows": 1}
    >>> entries = pl.DataFrame([
    ...     {**row, "x_AllocationMethod": "tag", "EffectiveCost": "10.01"},
    ...     {**row, "x_AllocationMethod": "idle", "EffectiveCost": "-0.5"},
    ... ], schema_overrides={"EffectiveCost": pl.String}).cast({"EffectiveCost": MONEY})
    >>> blank = [pl.lit(None, t).alias(n) for n, t in dtypes("ledger").items() if n not in entries.columns]
    >>> found = statements(entries.with_columns(blank), "2026-10")
    >>> [str(v.normalize()) for v in found.summary.select("direct", "idle", "total").row(0)]
    ['10.01', '-0.5', '9.51']
    """
    if metric not in AMOUNTS:
        raise InputError(f"metric must be one of {', '.join(AMOUNTS)}, not {metric!r}")
    rows = in_month(entries, month, basis)
    kind = pl.col("x_AllocationMethod").replace_strict({m: w.kind for m, w in WORDING.items()})
    counts = [
        pl.col("x_Rows").cast(pl.Int64).sum(),
        pl.col(metric).null_count().cast(pl.Int64).alias("unknown_entries"),
    ]
    last = pl.col("x_team") == UNALLOCATED
    currencies, whole, summary, lines = pl.collect_all(
        [
            rows.select(pl.col("BillingCurrency").unique()),
            rows.select(_known(pl.col(metric)).alias("total")),
            rows.with_columns(kind.alias("kind"))
            .group_by("x_team")
            .agg(
                *[_of_kind(metric, name).alias(name) for name in KINDS],
                _known(pl.col(metric)).alias("total"),
                *counts,
            )
            .sort(last, "x_team"),
            rows.group_by("x_team", *DETAIL)
            .agg(_known(pl.col(metric)).alias(metric), *counts)
            .with_columns(kind.alias("kind"))
            .sort(last, "x_team", *DETAIL, nulls_last=True)
            .select("x_team", *DETAIL, "kind", metric, "x_Rows", "unknown_entries"),
        ]
    )
    currency = one_currency(currencies["BillingCurrency"])
    if currency is None:
        months = entries.lazy().select(pl.col(BASES[basis]).unique().sort()).collect().to_series()
        told = f"months: {months[0]} to {months[-1]}" if months.len() else None
        raise NoDataError(f"the ledger holds nothing of {month} ({basis})", hint=told)
    found = Statements(month, basis, metric, currency, whole["total"][0], summary, lines)
    _prove(found)
    return found


def _known(amount: pl.Expr) -> pl.Expr:
    # The sum of nothing but nulls is unknown, not zero.
    return pl.when(amount.count() > 0).then(amount.sum()).cast(MONEY)


def _of_kind(metric: str, kind: str) -> pl.Expr:
    amount = pl.col(metric).filter(pl.col("kind") == kind)
    return pl.when(amount.len() == 0).then(pl.lit(0).cast(MONEY)).otherwise(_known(amount))


def _prove(found: Statements) -> None:
    """Compare the three ways the same money was added up."""
    wrong = []
    if exact_sum(found.summary["total"].drop_nulls()) != (found.total or 0):
        wrong.append("the teams and the ledger's month")
    for team, total, *parts in found.summary.select("x_team", "total", *KINDS).iter_rows():
        mine = found.lines.filter(pl.col("x_team") == team)[found.metric].drop_nulls()
        if not exact_sum(mine) == exact_sum(p for p in parts if p is not None) == (total or 0):
            wrong.append(f"the lines and kinds of {team!r}")
    if wrong:
        raise ReconciliationError(f"statements do not add up: {'; '.join(wrong)} differ")
