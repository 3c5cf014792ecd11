"""Names that telemetry gives, spelled as the rules of `finops.toml` spell those of the bill."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from finops_lab.allocation.dimensions import _named as named
from finops_lab.config import Dimensions, Rule
from finops_lab.config.dimensions import folded

__all__ = ["spelled"]


def spelled(
    use: pl.LazyFrame, names: Iterable[str], dimensions: Dimensions, day: pl.Expr | None = None
) -> pl.LazyFrame:
    """Spell what telemetry says of its users as a bill's tags would be: by `fold` and `map`.

    Rules that read a tag or a column count, unless `where` or `account` limits them: telemetry has no
    bill columns. The first whose `map` knows the name renames it; a name that none knows is folded
    where the first of them folds. Rules that hold for some days only count on those.

    Parameters
    ----------
    use : polars.LazyFrame
        Telemetry, added up or not.
    names : iterable of str
        Its columns that are dimensions, such as ``team``.
    dimensions : Dimensions
        The rules.
    day : polars.Expr, optional
        The day of use (Date); by default the column ``day``.

    Returns
    -------
    polars.LazyFrame
        The rows, their names without outer blanks, null where one is a spelling of nobody.

    Examples
    --------
    >>> rules = Dimensions.model_validate({"team": [
    ...     {"name": "team tag", "tag": "team", "fold": True, "map": {"srch": "search"}}]})
    >>> use = pl.LazyFrame({"team": ["Search", " SRCH", "Ads", "n/a"]})
    >>> spelled(use, ["team"], rules).collect()["team"].to_list()
    ['search', 'search', 'ads', None]
    """
    day = pl.col("day") if day is None else day
    return use.with_columns(
        _spelled(pl.col(name), getattr(dimensions, name), day).alias(name) for name in names
    )


def _spelled(name: pl.Expr, rules: Iterable[Rule], day: pl.Expr) -> pl.Expr:
    name = named(name)
    rules = [rule for rule in rules if (rule.tag or rule.column) and not (rule.where or rule.account)]
    if not any(rule.fold or rule.map for rule in rules):
        return name
    spelling = name
    for rule in reversed(rules):
        spelling = pl.when(_acts(rule, day)).then(_folded(name, rule)).otherwise(spelling)
    for rule in reversed(rules):
        known = {folded(key) if rule.fold else key: to for key, to in rule.map.items()}
        if known:
            text = _folded(name, rule)
            renamed = named(text.replace_strict(known, default=None, return_dtype=pl.String))
            mine = _acts(rule, day) & text.is_in(list(known))
            spelling = pl.when(mine).then(renamed).otherwise(spelling)
    return spelling


def _folded(name: pl.Expr, rule: Rule) -> pl.Expr:
    return name.str.to_lowercase() if rule.fold else name


def _acts(rule: Rule, day: pl.Expr) -> pl.Expr:
    acts = pl.lit(True)
    acts &= day >= rule.first if rule.first else True
    acts &= day <= rule.last if rule.last else True
    return acts
