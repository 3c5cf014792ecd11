"""Money, revenue and calls of features side by side, and of all features of one owner together."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import polars as pl

from finops_lab.unit_economics._by_dimension import PLACE, added_up
from finops_lab.unit_economics._grouping import grouped

__all__ = ["shared_out", "side_by_side", "whole"]


def side_by_side(money: pl.DataFrame, earned: pl.DataFrame, calls: pl.DataFrame, name: str) -> pl.DataFrame:
    """Put money, revenue and calls of each value of a dimension beside each other."""
    costs = grouped(money, name, pl.col("amount", "charged", "entries", "unknown").sum())
    served = grouped(calls, name, pl.col("calls", "rows", "variance").sum())
    both = {"on": ["month", "key"], "how": "full", "coalesce": True, "nulls_equal": True}
    table: pl.DataFrame = costs.join(earned, **both).join(served, **both)  # type: ignore[arg-type]
    return table.with_columns(
        pl.col("entries", "unknown", "periods", "unknown_periods", "rows").fill_null(0),
        pl.col("charged").fill_null(0),
    )


def shared_out(
    money: pl.DataFrame, earned: pl.DataFrame, calls: pl.DataFrame, dimensions: Sequence[str]
) -> pl.DataFrame:
    """Give the revenue of each feature to the one value of a dimension that it is of, if there is one."""
    keys = [*PLACE, "feature"]

    sums = pl.col("amount", "charged", "entries", "unknown").sum()
    costs = added_up(money, dimensions, sums, also=("feature",))
    served = added_up(calls, dimensions, pl.col("calls", "rows", "variance").sum(), also=("feature",))
    table = (
        costs.lazy()
        .join(served.lazy(), on=keys, how="full", coalesce=True, nulls_equal=True)
        .with_columns(pl.col("entries", "unknown", "rows").fill_null(0), pl.col("charged").fill_null(0))
    )
    # Money of no value may be anybody's; a call that says none says nothing.
    counts = (pl.col("entries") > 0) | (pl.col("key").is_not_null() & (pl.col("rows") > 0))
    several = pl.col("key").filter(counts).n_unique().over("dimension", "month", "feature") > 1
    mine = earned.lazy().select(
        "month", pl.col("key").alias("feature"), "revenue", "periods", "unknown_periods"
    )
    told = pl.when(counts & ~several).then(pl.col("revenue", "periods", "unknown_periods"))
    return (
        table.join(mine, on=["month", "feature"], how="left")
        .with_columns(told)
        .with_columns(pl.col("periods", "unknown_periods").fill_null(0))
        .collect()
    )


def whole(table: pl.DataFrame) -> pl.DataFrame:
    """Put features together: all named money and calls, and money of those with known revenue."""
    named, paid = pl.col("feature").is_not_null(), pl.col("entries") > 0
    both = named & pl.col("revenue").is_not_null() & paid
    told = named & paid & (pl.col("rows") > 0)  # what its calls cost
    earned = pl.col("revenue").clip(0)
    sums = table.group_by(PLACE).agg(
        pl.when((named & paid).any()).then(pl.col("amount").filter(named).sum()).alias("amount"),
        pl.col("amount").filter(both).sum().alias("compared"),
        pl.when(told.any()).then(pl.col("amount").filter(told).sum()).alias("called"),
        pl.when(both.any()).then(pl.col("revenue").filter(both).sum()).alias("revenue_compared"),
        pl.when((named & pl.col("revenue").is_not_null()).any())
        .then(pl.col("revenue").filter(named).sum())
        .alias("revenue"),
        pl.col("calls", "variance", "rows").filter(told).sum(),
        pl.col("entries", "unknown", "periods", "unknown_periods").filter(named).sum(),
        pl.col("charged").filter(told).sum(),
        pl.col("charged").sum().alias("charged_in_all"),
        pl.col("charged").filter(both).sum().alias("charged_compared"),
        pl.col("calls").sum().alias("calls_in_all"),
        earned.filter(both).sum().alias("earned_compared"),
        earned.sum().alias("earned_in_all"),
    )
    shares = {
        part: _shares(sums[part], sums[every])
        for part, every in (
            ("charged_compared", "charged_in_all"),
            ("earned_compared", "earned_in_all"),
            ("charged", "charged_in_all"),
            ("calls", "calls_in_all"),
        )
    }
    of_money = shares["charged_compared"]
    return sums.with_columns(
        of_money.alias("share"),
        pl.min_horizontal(of_money, shares["earned_compared"]).alias("share_of_margin"),
        pl.min_horizontal(shares["charged"], shares["calls"]).alias("share_of_calls"),
    )


def _shares(parts: pl.Series, wholes: pl.Series) -> pl.Series:
    each = zip(parts.to_list(), wholes.to_list(), strict=True)
    shares = [float(Fraction(part or 0) / Fraction(whole)) if whole else None for part, whole in each]
    return pl.Series(parts.name, shares, pl.Float64)
