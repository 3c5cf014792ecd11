"""Dimensions: ordered rules that say who a charge belongs to and what it was for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import polars as pl

from finops_lab.config import Dimensions, Rule, holds, normalise_tag_key
from finops_lab.contracts import DIMENSIONS
from finops_lab.errors import ConfigError
from finops_lab.money import MONEY

__all__ = ["assign", "inputs", "rule_column", "rule_report"]

# Ways exports spell "nobody" (billing facts, trap 29), compared lower-cased.
_NOBODY = ("", "null", "(null)", "none", "-", "-2", "n/a", "na", "unassigned", "unknown", "untagged")


_REPORT: dict[str, pl.DataType | type[pl.DataType]] = {
    "dimension": pl.String,
    "rule": pl.String,
    "BillingCurrency": pl.String,
    "rows": pl.Int64,
    "BilledCost": MONEY,
    "EffectiveCost": MONEY,
}


def rule_column(dimension: str) -> str:
    """Return the column that names the rule behind a dimension's value."""
    return f"_rule_{dimension}"


def inputs(dimensions: Dimensions) -> list[str]:
    """Return the bill columns that the rules look at, in order of first use."""
    names: list[str] = []
    for _, rule in _rules(dimensions):
        names += [f"x_tag_{normalise_tag_key(key)}" for key in rule.tag]
        names += [rule.column] if rule.column else []
        names += [rule.extract.column] if rule.extract else []
        names += list(rule.where)
    return list(dict.fromkeys(names))


def _rules(dimensions: Dimensions) -> Iterable[tuple[str, Rule]]:
    for dimension in DIMENSIONS:
        for rule in getattr(dimensions, dimension):
            yield dimension, rule


def assign(costs: pl.LazyFrame, dimensions: Dimensions) -> pl.LazyFrame:
    """Give each row its dimensions: per dimension, the first rule that yields a value wins.

    Parameters
    ----------
    costs : polars.LazyFrame
        Rows with the columns the rules name (any grain).
    dimensions : Dimensions
        The rules.

    Returns
    -------
    polars.LazyFrame
        The rows with ``x_<dimension>`` and ``_rule_<dimension>`` (String, null where no rule gave
        a value) for every dimension. Spellings of "nobody" (``n/a``, ``Unassigned``, ...) count as
        no value.

    Raises
    ------
    ConfigError
        When a rule names a column that the rows do not have.

    Examples
    --------
    >>> rules = Dimensions.model_validate({"team": [
    ...     {"name": "team tag", "tag": "team", "map": {"srch": "search"}},
    ...     {"name": "gateway", "where": {"SubAccountName": "~^gw"}, "value": "platform"}]})
    >>> rows = pl.LazyFrame({"x_tag_team": ["srch", None, "n/a"], "SubAccountName": ["a", "gw1", "b"]})
    >>> assign(rows, rules).collect()["x_team"].to_list()
    ['search', 'platform', None]
    """
    known = costs.collect_schema().names()
    for dimension, rule in _rules(dimensions):
        for name in inputs(Dimensions.model_validate({dimension: [rule]})):
            if name not in known and not name.startswith("x_tag_"):
                close = difflib.get_close_matches(name, known, n=1)
                raise ConfigError(
                    f"rule {rule.name!r} of dimension {dimension} looks at column {name!r}, which bills do not have",
                    hint=f"did you mean {close[0]!r}?" if close else "use a FOCUS column name",
                )
    untagged = [n for n in inputs(dimensions) if n not in known]
    frame = costs.with_columns(pl.lit(None, dtype=pl.String).alias(name) for name in untagged)
    columns = []
    for dimension in DIMENSIONS:
        values = [_value(rule) for rule in getattr(dimensions, dimension)]
        names = [
            pl.when(value.is_not_null()).then(pl.lit(rule.name))
            for value, rule in zip(values, getattr(dimensions, dimension), strict=True)
        ]
        nothing = pl.lit(None, dtype=pl.String)
        columns.append(pl.coalesce(*values, nothing).alias(f"x_{dimension}"))
        columns.append(pl.coalesce(*names, nothing).alias(rule_column(dimension)))
    return frame.with_columns(columns).drop(untagged)


def _value(rule: Rule) -> pl.Expr:
    if rule.tag:
        value = pl.coalesce(_named(pl.col(f"x_tag_{normalise_tag_key(key)}")) for key in rule.tag)
    elif rule.column is not None:
        value = _named(pl.col(rule.column).cast(pl.String))
    elif rule.extract is not None:
        value = _named(pl.col(rule.extract.column).cast(pl.String).str.extract(rule.extract.pattern, 1))
    else:
        value = pl.lit(rule.value)
    if rule.map:
        value = value.replace(rule.map)
    return pl.when(holds(rule.where)).then(value) if rule.where else value


def _named(text: pl.Expr) -> pl.Expr:
    text = text.str.strip_chars()
    return pl.when(~text.str.to_lowercase().is_in(_NOBODY)).then(text)


def rule_report(assigned: pl.LazyFrame, dimensions: Dimensions) -> pl.DataFrame:
    """Report what each rule caught, rules that caught nothing included.

    Parameters
    ----------
    assigned : polars.LazyFrame
        Result of `assign` with ``BillingCurrency``, ``BilledCost``, ``EffectiveCost`` and
        optionally ``x_Rows``.
    dimensions : Dimensions
        The rules.

    Returns
    -------
    polars.DataFrame
        One row per rule and currency, in the order of the rules: ``dimension``, ``rule``,
        ``BillingCurrency``, ``rows`` (Int64), ``BilledCost``, ``EffectiveCost`` (Decimal). A rule
        that caught nothing has a null currency and no rows; ``(no rule)`` is what no rule caught.
    """
    weight = pl.col("x_Rows") if "x_Rows" in assigned.collect_schema().names() else pl.lit(1, pl.Int64)
    used = [d for d in DIMENSIONS if getattr(dimensions, d)]
    parts = [
        assigned.group_by(pl.col(rule_column(d)).alias("rule"), "BillingCurrency")
        .agg(weight.cast(pl.Int64).sum().alias("rows"), pl.col("BilledCost", "EffectiveCost").sum())
        .with_columns(pl.lit(d).alias("dimension"))
        for d in used
    ]
    names: list[tuple[str, str | None, int]] = [
        (d, rule.name, n) for n, (d, rule) in enumerate(_rules(dimensions))
    ]
    names += [(d, None, len(names) + n) for n, d in enumerate(used)]
    order = pl.LazyFrame(
        names, schema={"dimension": pl.String, "rule": pl.String, "_order": pl.Int64}, orient="row"
    )
    if not parts:
        return pl.DataFrame(schema=_REPORT)
    found = order.join(pl.concat(parts), on=["dimension", "rule"], how="left", nulls_equal=True)
    return (
        found.with_columns(
            pl.col("dimension").replace_strict({d: n for n, d in enumerate(DIMENSIONS)}).alias("_dimension"),
            pl.col("rows").fill_null(0),
            pl.col("rule").fill_null("(no rule)"),
        )
        .sort("_dimension", "_order", "BillingCurrency")
        .select(*_REPORT)
        .collect()
    )
