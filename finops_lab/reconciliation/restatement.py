"""The bridge between two versions of a bill: what was added, removed, re-priced and re-tagged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from finops_lab import contracts
from finops_lab.calendar import add_months, format_month, parse_month
from finops_lab.errors import InputError, ReconciliationError
from finops_lab.money import MONEY

__all__ = ["CHANGES", "Bridge", "restatement"]

CHANGES = ("unchanged", "re-tagged", "re-priced", "removed", "added")
_COSTS = ("BilledCost", "EffectiveCost")
_MEASURES = tuple(name for name, dtype in contracts.dtypes("costs").items() if dtype == MONEY)
_TAGS = ("Tags", "AllocatedTags")
# What says nothing of which charge a row is: invoices are numbered after the month has closed, and
# the price's own id and text change with the price.
_NO_IDENTITY = {*_MEASURES, *_TAGS, "InvoiceId", "InvoiceDetailId", "SkuPriceId", "ChargeDescription"}
_IDENTITY = tuple(n for n in contracts.dtypes("costs") if n not in _NO_IDENTITY and not n.startswith("x_"))
# An amount of money within a charge's text, such as "$0.10 per GB" or "USD 1.5 an hour".
_PRICE = r"(?:[$€£¥₹]|\b(?:USD|EUR|GBP|JPY|INR|CNY)\s)\s?[0-9][0-9.,]*"
_WHERE = ("BillingCurrency", "x_ChargeMonth", "ProviderName")
_SHOWN = (
    "ChargePeriodStart",
    "x_BillingMonth",
    "SubAccountId",
    "SubAccountName",
    "ServiceName",
    "ChargeCategory",
    "ChargeClass",
    "ResourceId",
    "ResourceName",
    "SkuId",
    "SkuMeter",
    "ChargeDescription",
)
_SOURCE = ("x_SourceFile", "x_SourceRow")
# A row's identity, tags and measures as hashes: two of 64 bits each for what decides amounts.
_KEY = ("_id", "_id2")
_CASE = (*_KEY, "_measures", "_measures2", "_tags")
_ORDER = ("BilledCost", "EffectiveCost", "_measures", "_measures2", "_tags")


@dataclass(frozen=True)
class Bridge:
    """What became of a bill between two of its versions.

    Attributes
    ----------
    summary : polars.DataFrame
        One row per ``BillingCurrency``, ``x_ChargeMonth``, ``ProviderName`` and ``change`` (one of
        `CHANGES`) that occurred, sorted in that order: ``rows_before``, ``rows_after`` (Int64) and,
        for BilledCost and EffectiveCost, ``..._before``, ``..._after`` and ``..._change`` (Decimal).
        The columns add up to the versions before and after exactly.
    lines : polars.DataFrame
        The changed rows; rows alike in everything are one line. The keys and figures of
        ``summary`` and ``rows``, what the charge is (``ChargePeriodStart``, ``ServiceName``,
        ``ResourceName``, ...), ``Tags_before``, ``Tags_after``, ``tags_changed`` (the tag columns that
        differ, joined by commas), and one row of each version to look at: ``x_SourceFile_before``,
        ``x_SourceRow_before``, ``x_SourceFile_after``, ``x_SourceRow_after``. What one version does
        not have is null.
    """

    summary: pl.DataFrame
    lines: pl.DataFrame

    def __repr__(self) -> str:
        found = self.summary.group_by("change").agg(pl.max_horizontal("rows_before", "rows_after").sum())
        rows = dict(found.iter_rows())
        told = ", ".join(f"{rows[change]:,} {change}" for change in CHANGES if change in rows)
        return f"Bridge({told or 'no rows'}; .summary .lines)"


def restatement(before: pl.LazyFrame, after: pl.LazyFrame, *, month: date | str | None = None) -> Bridge:
    """Tell what a later version of a bill changed.

    Parameters
    ----------
    before, after : polars.LazyFrame
        Rows of the `costs` contract as of then and as of now, such as
        ``lab.table("costs", as_of="2026-10-05")`` and ``lab.costs()``.
    month : datetime.date or str, optional
        Only charges of this month of use (``2026-09``, or its first day).

    Returns
    -------
    Bridge

    Raises
    ------
    InputError
        When `month` is no month.
    ReconciliationError
        When the bridge does not lead from one version to the other: a defect, never a fault of the data.

    Notes
    -----
    *Identity.* No column of a bill is a key: line item ids change from delivery to delivery, and
    identical rows are legal. The identity of a row is all its FOCUS columns but amounts, prices and
    quantities, tags, the invoice's ids, the price's id, and amounts within its description; ``x_``
    columns, which readers derive or vendors add, are no part of it, nor is its source file. Rows
    are compared as multisets by 128-bit hashes of identity and measures.

    *Pairing.* Within one identity rows are paired in this order, each row once: equal in measures
    and tags (``unchanged``); equal in measures (``re-tagged``); equal in tags and quantity; equal in
    tags; any (``re-priced``). Left over are ``removed`` and ``added`` rows. Where a step has more
    rows on one side than on the other, those of the smallest BilledCost, then EffectiveCost, are
    paired first; only rows alike in both are told apart by hash, which moves no amount.

    *Tags* are ``Tags``, ``AllocatedTags`` and the ``x_tag_`` columns that both versions have.

    The work is linear in the rows: hashes and one group-by; only changed rows are looked at again.

    Examples
    --------
    >>> nothing = pl.LazyFrame(schema=contracts.dtypes("costs"))
    >>> restatement(nothing, nothing, month="2026-09")
    Bridge(no rows; .summary .lines)
    """
    first = _month(month)
    sides = [_of_month(frame, first) for frame in (before, after)]
    columns = [set(side.collect_schema().names()) for side in sides]
    tags = [*_TAGS, *sorted(n for n in columns[0] & columns[1] if n.startswith("x_tag_"))]
    hashed = [_hashed(side, tags) for side in sides]
    cases = _cases(*hashed)
    totals = [side.group_by(_WHERE).agg(pl.len(), *[pl.col(n).sum() for n in _COSTS]) for side in sides]
    kept, changed, *paid = pl.collect_all(
        [_unchanged(cases), cases.filter(pl.col("_b") != pl.col("_a")), *totals]
    )
    changed = changed.sort(*_WHERE, *_CASE).with_row_index("_case")
    moves = _moves(changed)
    bridge = Bridge(_summary(kept, moves), _lines(moves, changed, hashed, tags))
    _prove(bridge, paid)
    return bridge


def _month(month: date | str | None) -> date | None:
    if isinstance(month, date):
        if month.day != 1:
            raise InputError(f"a month is given by its first day, not {month}")
        return parse_month(format_month(month))
    return None if month is None else parse_month(month)


def _of_month(costs: pl.LazyFrame, first: date | None) -> pl.LazyFrame:
    day = pl.col("ChargePeriodStart").dt.date()
    if first is not None:
        costs = costs.filter(day >= first, day < add_months(first, 1))
    return costs.with_columns(pl.col("ChargePeriodStart").dt.strftime("%Y-%m").alias("x_ChargeMonth"))


def _hashed(costs: pl.LazyFrame, tags: Sequence[str]) -> pl.LazyFrame:
    """Give each row the hashes of its identity, its measures and its tags."""
    text = pl.col("ChargeDescription").str.replace_all(_PRICE, "").alias("_text")
    identity = pl.struct(*_IDENTITY, text)
    measures = pl.struct(_MEASURES)
    return costs.with_columns(
        identity.hash(1).alias("_id"),
        identity.hash(2).alias("_id2"),
        measures.hash(1).alias("_measures"),
        measures.hash(2).alias("_measures2"),
        pl.struct(tags).hash(1).alias("_tags"),
        pl.col("PricingQuantity").alias("_quantity"),
    )


def _cases(before: pl.LazyFrame, after: pl.LazyFrame) -> pl.LazyFrame:
    """Count the rows that are alike on each side, and add up their costs."""
    sides = {"_b": before, "_a": after}
    both = pl.concat(
        side.select(*_WHERE, *_CASE, "_quantity", *_COSTS, pl.lit(name).alias("_side"))
        for name, side in sides.items()
    )
    here = {name: pl.col("_side") == name for name in sides}
    return both.group_by(*_WHERE, *_CASE).agg(
        pl.col("_quantity", *_COSTS).first(),
        *[mine.cast(pl.Int64).sum().alias(name) for name, mine in here.items()],
        *[
            pl.col(cost).filter(mine).sum().cast(MONEY).alias(cost + name)
            for name, mine in here.items()
            for cost in _COSTS
        ],
    )


def _unchanged(cases: pl.LazyFrame) -> pl.LazyFrame:
    """Add up the rows that both versions have: all copies of the side that has fewer."""
    fewer = pl.col("_b") <= pl.col("_a")
    sums = [
        pl.when(fewer).then(f"{cost}_b").otherwise(f"{cost}_a").sum().cast(MONEY).alias(f"{cost}_{side}")
        for side in ("before", "after")
        for cost in _COSTS
    ]
    rows = pl.min_horizontal("_b", "_a").sum()
    both = [rows.alias("rows_before"), rows.alias("rows_after")]
    return cases.group_by(_WHERE).agg(*both, *sums).filter(pl.col("rows_before") > 0)


def _moves(changed: pl.DataFrame) -> pl.DataFrame:
    """Pair the rows that only one version has, one row at a time."""
    before = _rows(changed, pl.col("_b") - pl.col("_a"))
    after = _rows(changed, pl.col("_a") - pl.col("_b"))
    found = []
    steps: tuple[tuple[str, list[str]], ...] = (
        ("re-tagged", ["_measures", "_measures2"]),
        ("re-priced", ["_tags", "_quantity"]),
        ("re-priced", ["_tags"]),
        ("re-priced", []),
    )
    for change, alike in steps:
        on = [*_KEY, *alike]
        place = pl.int_range(pl.len()).over(on, order_by=_ORDER).alias("_place")
        before, after = before.with_columns(place), after.with_columns(place)
        pairs = before.join(after, on=[*on, "_place"], suffix="_after", nulls_equal=True)
        found.append(pairs.select(*_WHERE, pl.lit(change).alias("change"), *_both("", "_after")))
        before = before.join(pairs, on="_row", how="anti")
        after = after.join(pairs.select(pl.col("_row_after").alias("_row")), on="_row", how="anti")
    for change, rest, names in (("removed", before, ("", None)), ("added", after, (None, ""))):
        found.append(rest.select(*_WHERE, pl.lit(change).alias("change"), *_both(*names)))
    return pl.concat(found)


def _rows(changed: pl.DataFrame, count: pl.Expr) -> pl.DataFrame:
    copies = changed.filter(count > 0).with_columns(pl.int_ranges(0, count).alias("_copy"))
    return copies.explode("_copy").drop("_copy").with_row_index("_row")


def _both(before: str | None, after: str | None) -> list[pl.Expr]:
    """Name the case and costs of a pair; a side that is absent is null."""
    kinds = {"_case": pl.get_index_type(), **dict.fromkeys(_COSTS, MONEY)}
    return [
        (pl.lit(None, dtype=kind) if end is None else pl.col(name + end)).alias(f"{name}_{side}")
        for side, end in (("before", before), ("after", after))
        for name, kind in kinds.items()
    ]


def _figures() -> list[pl.Expr]:
    """Add up both sides of each cost and what changed, an absent side being nothing."""
    zero = pl.lit(0).cast(MONEY)
    found = []
    for cost in _COSTS:
        then, now = (
            pl.col(f"{cost}_{side}").sum().fill_null(zero).cast(MONEY) for side in ("before", "after")
        )
        change = (now - then).cast(MONEY).alias(f"{cost}_change")
        found += [then.alias(f"{cost}_before"), now.alias(f"{cost}_after"), change]
    return found


def _summary(kept: pl.DataFrame, moves: pl.DataFrame) -> pl.DataFrame:
    counts = [
        pl.col(f"_case_{side}").is_not_null().cast(pl.Int64).alias(f"rows_{side}")
        for side in ("before", "after")
    ]
    unchanged = kept.with_columns(pl.lit("unchanged").alias("change"))
    rows = pl.concat([moves.with_columns(*counts).select(unchanged.columns), unchanged])
    summed = rows.group_by(*_WHERE, "change").agg(pl.col("rows_before", "rows_after").sum(), *_figures())
    return summed.sort(*_WHERE, pl.col("change").replace_strict(CHANGES, range(len(CHANGES))))


def _lines(
    moves: pl.DataFrame, changed: pl.DataFrame, hashed: Sequence[pl.LazyFrame], tags: Sequence[str]
) -> pl.DataFrame:
    """Describe the changed rows by one row of each version that is alike."""
    cases = ["_case_before", "_case_after"]
    lines = moves.group_by(*_WHERE, "change", *cases).agg(pl.len().cast(pl.Int64).alias("rows"), *_figures())
    keys = changed.lazy().select(*_CASE, "_case")
    wanted = [(side.join(keys, on=_CASE), case) for side, case in zip(hashed, cases, strict=True)]
    for rows, case in wanted:
        only = moves.lazy().select(pl.col(case).alias("_case")).unique()
        side = case.removeprefix("_case")
        shown = (
            rows.join(only, on="_case", how="semi")
            .select("_case", *_SHOWN, *tags, *_SOURCE)
            .collect()
            .sort(_SOURCE)
            .unique("_case", keep="first", maintain_order=True)
        )
        named = shown.rename({n: n + side for n in shown.columns if n != "_case"}).rename({"_case": case})
        lines = lines.join(named, on=case, how="left")
    ends = ("before", "after")
    absent = [
        pl.when(pl.col(f"_case_{end}").is_not_null()).then(f"{cost}_{end}").alias(f"{cost}_{end}")
        for cost in _COSTS
        for end in ends
    ]
    differ = [pl.when(pl.col(f"{n}_before").ne_missing(pl.col(f"{n}_after"))).then(pl.lit(n)) for n in tags]
    order = pl.col("change").replace_strict(CHANGES, range(len(CHANGES)))
    return (
        lines.with_columns(absent)
        .select(
            *_WHERE,
            "change",
            "rows",
            *[pl.coalesce(f"{name}_after", f"{name}_before").alias(name) for name in _SHOWN],
            *[f"Tags_{end}" for end in ends],
            pl.when(pl.col("change").is_in(["re-tagged", "re-priced"]))
            .then(pl.concat_list(differ).list.drop_nulls().list.join(", ").replace("", None))
            .alias("tags_changed"),
            *[f"{cost}_{end}" for cost in _COSTS for end in (*ends, "change")],
            *[f"{name}_{end}" for end in ends for name in _SOURCE],
        )
        .sort(*_WHERE, order, "ChargePeriodStart", *[f"{n}_{end}" for end in ends for n in _SOURCE])
    )


def _prove(bridge: Bridge, paid: Sequence[pl.DataFrame]) -> None:
    """Refuse a bridge that does not lead from one version to the other."""
    costs = [f"{cost}_change" for cost in _COSTS]
    for side, total in zip(("before", "after"), paid, strict=True):
        mine = bridge.summary.group_by(_WHERE).agg(
            pl.col(f"rows_{side}").sum(), *[pl.col(f"{cost}_{side}").sum() for cost in _COSTS]
        )
        both = mine.filter(pl.col(f"rows_{side}") > 0).join(total, on=_WHERE, how="full", suffix="_paid")
        wrong = pl.col(f"rows_{side}").cast(pl.Int64).ne_missing(pl.col("len").cast(pl.Int64))
        for cost in _COSTS:
            wrong |= pl.col(f"{cost}_{side}").ne_missing(pl.col(cost))
        if both.filter(wrong).height:
            raise ReconciliationError(f"the bridge does not add up to the version {side}")
    for cost in costs:
        if bridge.lines[cost].sum() != bridge.summary[cost].sum():
            raise ReconciliationError("the bridge's lines do not add up to its summary")
