"""`[[dimensions.*]]`: the rules that give charges their owners."""

from __future__ import annotations

import re
from collections.abc import Mapping

import polars as pl
from pydantic import Field, model_validator

from finops_lab.config._base import Model, Names

__all__ = ["Dimensions", "Extract", "Rule", "holds", "normalise_tag_key"]


class Extract(Model):
    """Take the value from a column: the first capture group of `pattern`."""

    column: str
    pattern: str

    @model_validator(mode="after")
    def _one_group(self) -> Extract:
        if _compiled(self.pattern).groups < 1:
            raise ValueError(f"pattern {self.pattern!r} needs one (group) to take the value from")
        return self


class Rule(Model):
    """`[[dimensions.NAME]]`: one rule; the first rule that gives a value wins.

    The value comes from one of `tag` (keys tried in order, compared without case and blanks),
    `column`, `extract` or the literal `value`. `where` limits the rule to rows whose columns equal
    the given value, one of the given values, or match a regular expression written ``~pattern``.
    `map` renames values.
    """

    name: str
    tag: Names = ()
    column: str | None = None
    extract: Extract | None = None
    value: str | None = None
    where: dict[str, Names] = Field(default_factory=dict)
    map: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_source(self) -> Rule:
        given = [bool(self.tag), self.column is not None, self.extract is not None, self.value is not None]
        if sum(given) != 1:
            raise ValueError("a rule takes its value from exactly one of: tag, column, extract, value")
        check_patterns(self.where)
        return self


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        pl.Series([""]).str.contains(pattern)  # polars knows no look-around and no back-references
        return re.compile(pattern)
    except (re.error, pl.exceptions.ComputeError) as error:
        said = next((n for n in str(error).splitlines() if n.startswith("error:")), str(error))
        raise ValueError(f"regular expression {pattern!r}: {said.removeprefix('error: ')}") from None


class Dimensions(Model):
    """`[[dimensions.*]]`: the ordered rules of each dimension of the ledger."""

    team: tuple[Rule, ...] = ()
    product: tuple[Rule, ...] = ()
    model: tuple[Rule, ...] = ()
    variant: tuple[Rule, ...] = ()
    feature: tuple[Rule, ...] = ()
    customer: tuple[Rule, ...] = ()
    environment: tuple[Rule, ...] = ()
    region: tuple[Rule, ...] = ()
    business_unit: tuple[Rule, ...] = ()

    @model_validator(mode="after")
    def _names_once(self) -> Dimensions:
        for dimension in type(self).model_fields:
            names = [rule.name for rule in getattr(self, dimension)]
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise ValueError(
                    f"two rules of {dimension} are named {twice!r}: the ledger could not tell them apart"
                )
        return self


def check_patterns(where: Mapping[str, Names]) -> None:
    """Refuse a ``~pattern`` that is no regular expression.

    Raises
    ------
    ValueError
        Naming the pattern.
    """
    for value in (value for values in where.values() for value in values):
        if value.startswith("~"):
            _compiled(value[1:])


def holds(where: Mapping[str, Names]) -> pl.Expr:
    """Tell which rows fulfil a `where`: every column equals or matches one of its values.

    Examples
    --------
    >>> rows = pl.DataFrame({"ServiceName": ["Bedrock", "EC2"]})
    >>> rows.select(holds({"ServiceName": ("~^Bed",)})).to_series().to_list()
    [True, False]
    """
    return pl.all_horizontal(pl.lit(True), *[_one_holds(pl.col(n), v) for n, v in where.items()])


def _one_holds(column: pl.Expr, values: Names) -> pl.Expr:
    plain = [value for value in values if not value.startswith("~")]
    patterns = [value[1:] for value in values if value.startswith("~")]
    text = column.cast(pl.String)
    found = pl.any_horizontal(text.is_in(plain), *[text.str.contains(pattern) for pattern in patterns])
    return found.fill_null(False)


def normalise_tag_key(key: str) -> str:
    """Spell a tag key so that case, blanks and separators do not matter.

    Examples
    --------
    >>> normalise_tag_key(" Cost-Center ")
    'cost_center'
    """
    return re.sub(r"[\W_]+", "_", key.strip().lower()).strip("_")
