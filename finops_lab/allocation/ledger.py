"""The ledger and its receipt: money in equals money out, to the last decimal, or an error."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from finops_lab import contracts
from finops_lab.allocation.dimensions import assign, inputs, rule_column, rule_report
from finops_lab.config import Dimensions
from finops_lab.contracts import AMOUNTS, DIMENSIONS
from finops_lab.errors import InputError, ReconciliationError
from finops_lab.money import MONEY, one_currency

__all__ = ["UNALLOCATED", "Ledger", "allocate", "monthly"]

UNALLOCATED = "unallocated"

_BILL_KEYS = (
    "x_BillingMonth",
    "x_ChargeDate",
    "BillingCurrency",
    "ProviderName",
    "ServiceCategory",
    "ServiceName",
    "ChargeCategory",
    "ChargeClass",
    "CommitmentDiscountStatus",
)
_OWNER = [*(f"x_{name}" for name in DIMENSIONS), "x_AllocationMethod", "x_AllocationRule"]
_RECEIPT_KEYS = ("BillingCurrency", "x_ChargeMonth", "ChargeCategory")


@dataclass(frozen=True)
class Ledger:
    """Allocated charges and the proof that none was lost.

    Attributes
    ----------
    entries : polars.DataFrame
        The `ledger` contract.
    receipt : polars.DataFrame
        Per ``metric``, ``BillingCurrency``, ``x_ChargeMonth`` and ``ChargeCategory``: ``rows_in``,
        ``amount_in``, ``allocated``, ``unallocated``, ``excluded`` and ``residual`` (always 0).
        ``excluded`` is money that a policy takes out; so far no policy does.
    rules : polars.DataFrame
        `rule_report` over all entries.
    """

    entries: pl.DataFrame
    receipt: pl.DataFrame
    rules: pl.DataFrame

    def __repr__(self) -> str:
        rows = self.entries["x_Rows"].sum()
        return f"Ledger({self.entries.height:,} entries of {rows:,} bill rows, residual 0; .entries .receipt .rules)"

    def monthly(self, by: str | None = "team", metric: str = "EffectiveCost") -> pl.DataFrame:
        """Add up a cost per month and value of a dimension: see `monthly`."""
        return monthly(self.entries, by, metric)


def allocate(costs: pl.LazyFrame, dimensions: Dimensions) -> Ledger:
    """Put every charge on an owner by rules; charges that no rule owns stay visible.

    Parameters
    ----------
    costs : polars.LazyFrame
        Rows of the `costs` contract, with the ``x_tag_`` columns of the rules' tags.
    dimensions : Dimensions
        Ordered rules per dimension. The owner is the dimension ``team``.

    Returns
    -------
    Ledger
        Entries sorted by all their keys.

    Raises
    ------
    ReconciliationError
        When a cent is missing after allocation: a defect, never a fault of the data.

    Notes
    -----
    Charges are added up per day, bill attributes and rule inputs first, and rules run once per
    distinct combination of their inputs. Amounts stay ``Decimal(38, 18)``; nothing is divided, so nothing is rounded.
    """
    dated = costs.with_columns(pl.col("ChargePeriodStart").dt.date().alias("x_ChargeDate"))
    assign(dated, dimensions)  # refuses rules that name unknown columns, before the work
    known = dated.collect_schema().names()
    seen = [name for name in inputs(dimensions) if name in known] or ["BillingCurrency"]
    keys = list(dict.fromkeys([*_BILL_KEYS, *seen]))
    cases = _totals(dated, keys, rows=pl.len()).collect(engine="streaming").lazy()
    ruled = assign(cases.select(seen).unique(), dimensions).with_columns(
        pl.col("x_team").fill_null(UNALLOCATED),
        _method(dimensions).alias("x_AllocationMethod"),
        pl.col(rule_column("team")).alias("x_AllocationRule"),
    )
    owners = ruled.select(_OWNER).unique().with_row_index("_owner").collect().lazy()
    ruled = ruled.join(owners, on=_OWNER, nulls_equal=True).collect().lazy()
    owned = cases.join(ruled.select(*seen, "_owner"), on=seen, how="left", nulls_equal=True)
    ledger_keys = [n for n in contracts.dtypes("ledger") if n not in (*AMOUNTS, "x_Rows")]
    entries = (
        _totals(owned, [*_BILL_KEYS, "_owner"], rows=pl.col("x_Rows").sum())
        .join(owners, on="_owner", how="left")
        .with_columns(
            pl.col("x_ChargeDate").dt.strftime("%Y-%m").alias("x_ChargeMonth"),
            pl.lit(None, dtype=pl.String).alias("x_PoolId"),
        )
        .select(*contracts.dtypes("ledger"))
        .sort(ledger_keys, nulls_last=True)
        .collect()
    )
    receipt = _receipt(costs, entries)
    caught = _totals(cases, list({*seen, "BillingCurrency"}), rows=pl.col("x_Rows").sum())
    rules = rule_report(caught.join(ruled, on=seen, how="left", nulls_equal=True), dimensions)
    return Ledger(entries, receipt, rules)


def _totals(frame: pl.LazyFrame, keys: list[str], rows: pl.Expr) -> pl.LazyFrame:
    # The sum of nothing but nulls is unknown, not zero.
    sums = [
        pl.when(pl.col(name).count() > 0).then(pl.col(name).sum()).cast(MONEY).alias(name) for name in AMOUNTS
    ]
    return frame.group_by(keys).agg(*sums, rows.cast(pl.Int64).alias("x_Rows"))


def _method(dimensions: Dimensions) -> pl.Expr:
    tagged = [rule.name for rule in dimensions.team if rule.tag]
    rule = pl.col(rule_column("team"))
    return (
        pl.when(rule.is_null())
        .then(pl.lit("unallocated"))
        .when(rule.is_in(tagged))
        .then(pl.lit("tag"))
        .otherwise(pl.lit("rule"))
    )


def _receipt(costs: pl.LazyFrame, entries: pl.DataFrame) -> pl.DataFrame:
    """Compare the bill's own sums with the ledger's, each added up by itself."""
    dated = costs.with_columns(pl.col("ChargePeriodStart").dt.strftime("%Y-%m").alias("x_ChargeMonth"))
    paid = dated.group_by(_RECEIPT_KEYS).agg(
        pl.len().cast(pl.Int64).alias("rows_in"), *[pl.col(name).sum() for name in AMOUNTS]
    )
    nobody = pl.col("x_team") == UNALLOCATED
    booked = entries.lazy().group_by(_RECEIPT_KEYS).agg(
        pl.col("x_Rows").sum().alias("rows_out"),
        *[pl.col(name).filter(~nobody).sum().alias(f"{name}_allocated") for name in AMOUNTS],
        *[pl.col(name).filter(nobody).sum().alias(f"{name}_unallocated") for name in AMOUNTS],
    )  # fmt: skip
    both = paid.join(booked, on=_RECEIPT_KEYS, how="full", coalesce=True).collect()
    zero = pl.lit(0).cast(MONEY)
    receipt = pl.concat(
        both.select(
            pl.lit(name).alias("metric"),
            *_RECEIPT_KEYS,
            "rows_in",
            pl.col(name).fill_null(zero).alias("amount_in"),
            pl.col(f"{name}_allocated").fill_null(zero).alias("allocated"),
            pl.col(f"{name}_unallocated").fill_null(zero).alias("unallocated"),
            zero.alias("excluded"),
        )
        for name in AMOUNTS
    ).with_columns(
        (pl.col("amount_in") - pl.col("allocated") - pl.col("unallocated") - pl.col("excluded"))
        .cast(MONEY)
        .alias("residual")
    )
    lost = receipt.filter(pl.col("residual") != 0)
    miscounted = both.filter(pl.col("rows_in").ne_missing(pl.col("rows_out")))
    if lost.height or miscounted.height:
        raise ReconciliationError(
            f"the ledger does not add up to the bill: {lost.height} sums and {miscounted.height} row counts differ"
        )
    return receipt.sort("metric", *_RECEIPT_KEYS)


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
