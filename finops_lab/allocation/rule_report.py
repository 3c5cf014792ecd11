"""What each rule of a dimension caught, and what it would have caught had none gone before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from finops_lab.contracts import DIMENSIONS
from finops_lab.money import MONEY

__all__ = ["Step", "report", "rule_column"]

_REPORT: dict[str, pl.DataType | type[pl.DataType]] = {
    "dimension": pl.String,
    "rule": pl.String,
    "BillingCurrency": pl.String,
    "rows": pl.Int64,
    "BilledCost": MONEY,
    "EffectiveCost": MONEY,
    "status": pl.String,
    "shadowed_rows": pl.Int64,
    "shadowed_EffectiveCost": MONEY,
    "shadowed_by": pl.String,
}
_CAUGHT = ("rows", "BilledCost", "EffectiveCost")
_SHADOWED = ("shadowed_rows", "shadowed_EffectiveCost")


@dataclass(frozen=True)
class Step:
    """One step of a dimension's chain of rules: the value it gives a row, and by which rule.

    Attributes
    ----------
    value, rule : polars.Expr
        String; both null where the step gives no value.
    rules : tuple of str
        Names of the step's rules, in their order. Of several, each row can fulfil one only.
    """

    value: pl.Expr
    rule: pl.Expr
    rules: tuple[str, ...]


def rule_column(dimension: str) -> str:
    """Return the column that names the rule behind a dimension's value."""
    return f"_rule_{dimension}"


def report(assigned: pl.DataFrame, chains: Mapping[str, Sequence[Step]]) -> pl.DataFrame:
    """Add up what rules caught and what earlier rules took from them.

    Parameters
    ----------
    assigned : polars.DataFrame
        ``_rule_<dimension>`` (who won), what the steps look at, ``BillingCurrency``,
        ``BilledCost``, ``EffectiveCost`` and, where a row stands for several, ``x_Rows``.
    chains : mapping
        The steps of each dimension that has rules.

    Returns
    -------
    polars.DataFrame
        As `finops_lab.allocation.rule_report`.
    """
    if not chains:
        return pl.DataFrame(schema=_REPORT)
    weight = pl.col("x_Rows") if "x_Rows" in assigned.columns else pl.lit(1, pl.Int64)
    frame = assigned.lazy().with_columns(weight.cast(pl.Int64).alias("rows"))
    caught = [_caught(frame, dimension) for dimension in chains]
    shadowed = [
        _shadowed(frame, dimension, step) for dimension, steps in chains.items() for step in steps[1:]
    ]
    names: list[tuple[str, str | None]] = [
        (d, name) for d, steps in chains.items() for step in steps for name in step.rules
    ]
    names += [(d, None) for d in chains]
    lines = pl.LazyFrame(
        [(d, name, DIMENSIONS.index(d), n) for n, (d, name) in enumerate(names)],
        schema={"dimension": pl.String, "rule": pl.String, "_dimension": pl.Int64, "_order": pl.Int64},
        orient="row",
    )
    keys = ["dimension", "rule", "BillingCurrency"]
    found = pl.concat(caught)
    if shadowed:
        both = [found, _by_rule(pl.concat(shadowed), lines)]
        found = both[0].join(both[1], on=keys, how="full", coalesce=True, nulls_equal=True)
    else:
        found = found.with_columns(
            pl.lit(None, dtype=_REPORT[n]).alias(n) for n in (*_SHADOWED, "shadowed_by")
        )
    nothing = pl.lit(0).cast(MONEY)
    # Of a currency in which a rule met no row, it caught nothing, which is known; of no currency at all
    # there is no amount to state.
    met = pl.col("BillingCurrency").is_not_null()
    is_rule = pl.col("rule").is_not_null()
    return (
        lines.join(found, on=["dimension", "rule"], how="left", nulls_equal=True)
        .with_columns(
            pl.when(~is_rule).then(pl.lit("no rule"))
            .when(pl.col("rows").is_not_null().any().over("_order")).then(pl.lit("used"))
            .when(pl.col("shadowed_rows").is_not_null().any().over("_order")).then(pl.lit("shadowed"))
            .otherwise(pl.lit("caught nothing")).alias("status")
        )
        .with_columns(
            pl.col("rows").fill_null(0),
            pl.when(is_rule).then(pl.col("shadowed_rows").fill_null(0)),
            pl.when(met).then(pl.col("BilledCost", "EffectiveCost").fill_null(nothing)),
            pl.when(met & is_rule).then(pl.col("shadowed_EffectiveCost").fill_null(nothing)),
            pl.col("rule").fill_null("(no rule)"),
        )
        .sort("_dimension", "_order", "BillingCurrency")
        .select(*_REPORT)
        .collect()
    )  # fmt: skip


def _caught(frame: pl.LazyFrame, dimension: str) -> pl.LazyFrame:
    return (
        frame.group_by(pl.col(rule_column(dimension)).alias("rule"), "BillingCurrency")
        .agg(pl.col(*_CAUGHT).sum())
        .with_columns(pl.lit(dimension).alias("dimension"))
    )


def _shadowed(frame: pl.LazyFrame, dimension: str, step: Step) -> pl.LazyFrame:
    """Add up the rows that the step would have caught, by the rule that caught them."""
    winner = pl.col(rule_column(dimension))
    return (
        frame.select(
            step.rule.alias("rule"), winner.alias("_winner"), "BillingCurrency", "rows", "EffectiveCost"
        )
        .filter(pl.col("rule").is_not_null(), pl.col("rule").ne_missing(pl.col("_winner")))
        .group_by("rule", "_winner", "BillingCurrency")
        .agg(pl.col("rows").sum().alias(_SHADOWED[0]), pl.col("EffectiveCost").sum().alias(_SHADOWED[1]))
        .with_columns(pl.lit(dimension).alias("dimension"))
    )


def _by_rule(shadowed: pl.LazyFrame, lines: pl.LazyFrame) -> pl.LazyFrame:
    winners = lines.select("dimension", pl.col("rule").alias("_winner"), "_order")
    return (
        shadowed.join(winners, on=["dimension", "_winner"], how="left")
        .group_by("dimension", "rule", "BillingCurrency")
        .agg(
            pl.col(*_SHADOWED).sum(), pl.col("_winner").sort_by("_order").str.join(", ").alias("shadowed_by")
        )
    )
