"""From an owner's amount back to the rows of the bills."""

from __future__ import annotations

import polars as pl

from finops_lab.allocation.dimensions import assign, rule_column
from finops_lab.allocation.partial import Policy
from finops_lab.allocation.pooling import UNALLOCATED, pick
from finops_lab.calendar import parse_month
from finops_lab.config import holds
from finops_lab.contracts import BILL_KEYS, DIMENSIONS

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
# What no tier changes of an entry: it tells from which bill rows the entry was made.
_KEPT = [f"x_{name}" for name in DIMENSIONS if name not in ("team", "business_unit")]
_FROM = [*BILL_KEYS, "_split", "_rule"]
_OVERRIDE = "override of "


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
        owner a part. Rows whose cost a tier gave to others are not among them. Of several tiers
        the first is named. Rows that an override gave away or brought are listed as they were
        before it.

    Raises
    ------
    InputError
        When `month` is no month.
    """
    first = parse_month(month)
    ways = _ways(entries.lazy().filter(x_ChargeMonth=month), policy, team).lazy()
    dated = costs.filter(pl.col("ChargePeriodStart").dt.date().dt.month_start() == first).with_columns(
        pl.col("ChargePeriodStart").dt.date().alias("x_ChargeDate"), pick(policy.splits).alias("_split")
    )
    rule = pl.col(rule_column("team"))
    rows = (
        assign(dated, policy.dimensions)
        .with_columns(
            pl.col("x_team").fill_null(UNALLOCATED),
            pl.when(pl.col("_split").is_null()).then(rule).alias("_rule"),
        )
        .with_row_index("_row")
    )
    alike, any_of = ways.filter("_alike"), ways.filter(~pl.col("_alike")).drop(_KEPT)
    found = pl.concat(
        [
            rows.join(alike, on=[*_FROM, *_KEPT], how="inner", nulls_equal=True),
            rows.join(any_of, on=_FROM, how="inner", nulls_equal=True),
        ],
        how="diagonal",
    )
    pool, tier = pl.col("_split"), pl.col("_tier")
    # Several teams' rows may be alike but for the team: it is the first tier that picked some.
    direct = pool.is_null() & tier.is_null() & (pl.col("x_team") == team)
    via = [pl.when(pool == n).then(pl.lit(f"pool {split.name}")) for n, split in enumerate(policy.splits)]
    for place, shared in enumerate(policy.shared):
        asked = {n: values for n, values in shared.where.items() if n.removeprefix("x_") in DIMENSIONS}
        via.append(pl.when((tier == place) & holds(asked)).then(pl.lit(f"shared {shared.name}")))
    shown = [name for name in _SHOWN if name in rows.collect_schema()]
    return (
        found.with_columns(pl.coalesce(pl.when(direct).then(pl.lit("own")), *via).alias("via"))
        .filter(pl.col("via").is_not_null())
        .sort("_row", "_tier")
        .unique("_row", keep="first", maintain_order=True)
        .select("via", rule.alias("x_AllocationRule"), *shown)
        .sort("x_SourceFile", "x_SourceRow")
    )


def _ways(entries: pl.LazyFrame, policy: Policy, team: str) -> pl.DataFrame:
    """Tell from what bill rows an owner's entries were made, and which tier moved them first.

    One row per kind of bill row: `_FROM`, ``_tier`` (its place), and whether the rows must be alike
    in `_KEPT` too (``_alike``): in a pool the use tells these, and an override may set them.
    """
    told = ["x_PoolId", "x_AllocationMethod", "x_AllocationRule"]
    mine = entries.filter(
        (pl.col("x_team") == team) | pl.col("x_AllocationRule").str.contains(_OVERRIDE, literal=True)
    )
    marked = mine.with_columns((pl.col("x_team") == team).alias("_mine"))
    found = marked.select(*BILL_KEYS, *_KEPT, *told, "_mine").unique().collect()
    paths = [
        {**row, **dict(zip(("_split", "_rule", "_tier", "_alike"), _origin(row, policy), strict=True))}
        for row in found.select(told).unique().iter_rows(named=True)
    ]
    types = {"_split": pl.Int32, "_rule": pl.String, "_tier": pl.Int32, "_alike": pl.Boolean}
    origins = pl.DataFrame(paths, schema={**dict.fromkeys(told, pl.String), **types})
    ways = found.join(origins, on=told, nulls_equal=True)
    # What a person gave away was the owner's before: whose it was is only known of plain rows.
    plain = pl.col("_split").is_null() & pl.col("_tier").is_null()
    return ways.filter(pl.col("_mine") | plain).select(*_FROM, *_KEPT, "_tier", "_alike").unique()


def _origin(entry: dict[str, str | None], policy: Policy) -> tuple[int | None, str | None, int | None, bool]:
    """Return the pool, or the rule and the first tier, that an entry's path begins with."""
    path, method = entry["x_AllocationRule"] or "", entry["x_AllocationMethod"]
    alike = _OVERRIDE not in path
    if entry["x_PoolId"] is not None:
        names = [split.name for split in policy.splits]
        place = names.index(entry["x_PoolId"]) if entry["x_PoolId"] in names else None
        return place, None, None, False
    rules = [None, *(rule.name for rule in policy.dimensions.team if path.startswith(rule.name))]
    tiers = [None] if method in ("tag", "rule", "unallocated") else [None, *range(len(policy.shared))]
    best: tuple[int, str | None, int | None] = (-1, None, None)
    for rule in rules:
        for tier in tiers:
            names = [name for name in (rule, None if tier is None else policy.shared[tier].name) if name]
            start = " > ".join(names)
            if path == start or not start or path.startswith(f"{start} > "):
                best = max(best, (len(start), rule, tier), key=lambda found: found[0])
    return None, best[1], best[2], alike
