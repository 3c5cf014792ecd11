"""From an entry of the ledger to the bill rows behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from finops_lab.allocation import UNALLOCATED, Policy, assign
from finops_lab.allocation.dimensions import rule_column
from finops_lab.allocation.pooling import pick
from finops_lab.config import holds
from finops_lab.contracts import AMOUNTS, BILL_KEYS, DIMENSIONS
from finops_lab.money import format_money

__all__ = ["bill_rows", "explained"]

_SHOWN = (
    "x_SourceFile",
    "x_SourceRow",
    *AMOUNTS,
    "BillingCurrency",
    "ChargePeriodStart",
    "ProviderName",
    "SubAccountName",
    "ServiceName",
    "ResourceId",
    "ResourceName",
    "ChargeDescription",
    "ChargeCategory",
)
_OF_OWNER = ("team", "business_unit")


def bill_rows(
    costs: pl.LazyFrame, entry: Mapping[str, Any], policy: Policy, *, converted: bool = False
) -> pl.LazyFrame:
    """Return the bill rows that one entry of the ledger was made of.

    Parameters
    ----------
    costs : polars.LazyFrame
        Rows of the `costs` contract that the ledger was made of.
    entry : mapping
        A row of the `ledger` contract; its amounts are not looked at.
    policy : Policy
        What the ledger was made by.
    converted : bool
        The entry's currency is not that of the bill: rows of any currency are returned.

    Returns
    -------
    polars.LazyFrame
        Sorted by source: ``via`` (``own``, ``pool NAME`` or ``shared NAME``), ``x_AllocationRule``
        (of the rule that gave the row its team), the row's place, what it is for, and its amounts.
        Rows of ``own`` add up to the entry, of a pool's or tier's rows it is a part. Of an entry
        that an override gave away, the rows as they were before.

    Examples
    --------
    >>> from datetime import UTC, date, datetime
    >>> from finops_lab.config import Dimensions
    >>> costs = pl.LazyFrame({"x_SourceFile": "b.csv", "x_SourceRow": [1, 2, 3],
    ...     "ChargePeriodStart": datetime(2026, 10, 3, tzinfo=UTC), "ProviderName": "CloudOne",
    ...     "SubAccountName": ["search", "ads", "search"], "EffectiveCost": [5, 7, -1]})
    >>> rules = {"team": [{"name": "account", "column": "SubAccountName"}]}
    >>> entry = {"x_ChargeDate": date(2026, 10, 3), "ProviderName": "CloudOne", "x_team": "search",
    ...     "x_AllocationMethod": "rule", "x_AllocationRule": "account"}
    >>> found = bill_rows(costs, entry, Policy(Dimensions.model_validate(rules))).collect()
    >>> found.select("via", "x_SourceRow", "EffectiveCost").rows()
    [('own', 1, 5), ('own', 3, -1)]
    """
    known = costs.collect_schema().names()
    said = [name for name in BILL_KEYS if name in known and not (converted and name == "BillingCurrency")]
    day = pl.col("ChargePeriodStart").dt.date()
    dated = costs.filter(
        day == entry["x_ChargeDate"], *(pl.col(name).eq_missing(pl.lit(entry.get(name))) for name in said)
    ).with_columns(day.alias("x_ChargeDate"), pick(policy.splits).alias("_split"))
    ruled = assign(dated, policy.dimensions).with_columns(pl.col("x_team").fill_null(UNALLOCATED))
    via, meant = _meant(entry, policy, ruled.collect_schema().names())
    shown = [name for name in _SHOWN if name in known]
    return (
        ruled.filter(meant)
        .select(pl.lit(via).alias("via"), pl.col(rule_column("team")).alias("x_AllocationRule"), *shown)
        .sort("x_SourceFile", "x_SourceRow")
    )


def explained(rows: pl.DataFrame, entry: Mapping[str, Any], name: str) -> str:
    """Say whether bill rows add up to the entry behind which they were found.

    Parameters
    ----------
    rows : polars.DataFrame
        What `bill_rows` found.
    entry : mapping
        The row of the `ledger` contract.
    name : str
        The amount to compare, such as ``EffectiveCost``.

    Examples
    --------
    >>> from decimal import Decimal
    >>> rows = pl.DataFrame({"via": "own", "BillingCurrency": "USD", "EffectiveCost": [Decimal(5), Decimal(-1)]})
    >>> explained(rows, {"BillingCurrency": "USD", "EffectiveCost": Decimal(4)}, "EffectiveCost")
    'These 2 bill rows add up to the entry, $4.00, exactly.'
    """
    if rows.is_empty():
        return "No bill row fits: bills or rules changed after the ledger was made. Run the cell again."
    count = f"{'These' if rows.height > 1 else 'This'} {rows.height:,} bill row{'s' * (rows.height > 1)}"
    codes, via = sorted(set(rows["BillingCurrency"])), ", ".join(sorted(set(rows["via"])))
    own, code, amount = via == "own", entry["BillingCurrency"], entry[name]
    said = "an amount nobody knows" if amount is None else format_money(amount, code)
    if len(codes) > 1:
        return f"{count} are in {', '.join(codes)}; the entry, {said}, is what they convert to."
    total = rows.select(pl.col(name).sum()).item() if rows[name].count() else None
    told = "an amount nobody knows" if total is None else format_money(total, codes[0])
    adds = f"{count} add up to" if rows.height > 1 else f"{count} adds up to"
    if codes != [code]:
        return f"{adds} {told}; converted by the rate of the month, the entry is {said}."
    if own and total == amount:
        return f"{adds} the entry, {said}, exactly."
    way = f" of {via}" if not own else ""
    return f"The entry, {said}, is a part of {told}: {count.lower()}{way}."


def _meant(entry: Mapping[str, Any], policy: Policy, known: list[str]) -> tuple[str, pl.Expr]:
    """Tell which rows with the entry's bill keys it was made of, and what way it came."""
    place = {split.name: n for n, split in enumerate(policy.splits)}.get(entry.get("x_PoolId") or "")
    if place is not None:
        return f"pool {policy.splits[place].name}", pl.col("_split") == place
    rule = entry.get("x_AllocationRule")
    free: set[str] = set()
    # Steps after the rules stand at the end of the path, the last one last.
    for decision in reversed(policy.overrides):
        rule, found = _without(rule, f"override of {decision.date:%Y-%m-%d} by {decision.author}")
        free |= {*decision.set, *(_OF_OWNER if "team" in decision.set else ())} if found else set()
    first = None
    if entry["x_AllocationMethod"] in ("shared", "override"):
        for tier in reversed(policy.shared):
            rule, found = _without(rule, tier.name)
            first = tier if found else first
    conditions = [pl.col("_split").is_null(), pl.col(rule_column("team")).eq_missing(pl.lit(rule))]
    if first is not None:
        free |= set(_OF_OWNER)
        where = {name: values for name, values in first.where.items() if name in known}
        conditions += [holds(where)] if where else []
    for name in DIMENSIONS:
        if name not in free:
            here = pl.col(f"x_{name}")
            same = here.eq_missing(pl.lit(entry.get(f"x_{name}"), dtype=pl.String))
            # After splits, tiers and overrides a unit that no rule gave is the owner's only one.
            late = name == "business_unit" and (policy.splits or policy.shared or policy.overrides)
            conditions.append(same | here.is_null() if late else same)
    return "own" if first is None else f"shared {first.name}", pl.all_horizontal(conditions)


def _without(path: str | None, step: str) -> tuple[str | None, bool]:
    """Take the last step off a path of rules, if it is the one named."""
    if path == step:
        return None, True
    before, found, last = (path or "").rpartition(" > ")
    return (before, True) if found and last == step else (path, False)
