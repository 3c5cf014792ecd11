"""`[[dimensions.*]]`: the rules that give charges their owners."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Annotated, Literal, get_args

import polars as pl
from pydantic import BeforeValidator, Field, StringConstraints, field_validator, model_validator

from finops_lab.config._base import Model, Names
from finops_lab.errors import ConfigError

__all__ = [
    "Account",
    "Dimension",
    "Dimensions",
    "Extract",
    "Rule",
    "check_accounts",
    "check_patterns",
    "folded",
    "holds",
    "normalise_tag_key",
    "owner",
    "with_accounts",
]

Dimension = Literal[
    "team",
    "product",
    "model",
    "variant",
    "feature",
    "customer",
    "environment",
    "region",
    "business_unit",
]
_NAMES: tuple[Dimension, ...] = get_args(Dimension)


def _day(value: object) -> object:
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        try:
            return date.fromisoformat(value)
        except ValueError as error:
            raise ValueError(f"{value!r} is no day of the calendar: {error}") from None
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    raise ValueError(f"a day must be written like 2026-10-31, not {value!r}")


def owner(name: str) -> str:
    """Spell the name that says nobody owns it as the ledger does; others stay as they are.

    Examples
    --------
    >>> owner(" Unallocated"), owner("Search")
    ('unallocated', 'Search')
    """
    return "unallocated" if folded(name) == "unallocated" else name


Day = Annotated[date, BeforeValidator(_day)]
Value = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


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

    The value comes from exactly one of `tag` (keys tried in order, compared without case and
    blanks), `column`, `extract`, the literal `value`, or `dimension`: the value of another
    dimension (a virtual tag). `where` limits the rule to rows whose columns equal the given value,
    one of the given values, or match a regular expression written ``~pattern``; that of a virtual
    tag may name dimensions too, as ``x_feature``. `account` limits it to charges of these
    accounts (``SubAccountId`` or, without one, ``BillingAccountId``), `first` and `last` (written
    `from` and `to`) to days of use, both included. `fold` makes values lower-case; `map` then
    renames them.
    """

    name: str
    tag: Names = ()
    column: str | None = None
    extract: Extract | None = None
    value: str | None = Field(default=None, min_length=1)
    dimension: Dimension | None = None
    where: dict[str, Names] = Field(default_factory=dict)
    account: Names = ()
    first: Day | None = Field(default=None, alias="from")
    last: Day | None = Field(default=None, alias="to")
    fold: bool = False
    map: dict[str, str] = Field(default_factory=dict)

    @field_validator("value")
    @classmethod
    def _nobody_spelled(cls, value: str | None) -> str | None:
        return None if value is None else owner(value)

    @model_validator(mode="after")
    def _one_source(self) -> Rule:
        given = [self.tag or None, self.column, self.extract, self.value, self.dimension]
        if sum(source is not None for source in given) != 1:
            raise ValueError(
                "a rule takes its value from exactly one of: tag, column, extract, value, dimension"
            )
        check_patterns(self.where)
        if self.first and self.last and self.last < self.first:
            raise ValueError("the day in `to` is before the day in `from`")
        return self

    @model_validator(mode="after")
    def _fold_leaves_one_name(self) -> Rule:
        if self.fold and self.value is not None:
            raise ValueError("fold is for values that rows bring; write the literal value as it shall be")
        seen: dict[str, str] = {}
        for key, name in self.map.items() if self.fold else ():
            if seen.setdefault(folded(key), name) != name:
                raise ValueError(
                    f"map gives {key!r} two names, {seen[folded(key)]!r} and {name!r}: fold is set"
                )
        return self

    def looks_at(self) -> tuple[Dimension, ...]:
        """Return the dimensions whose values the rule needs; only a virtual tag needs any."""
        if self.dimension is None:
            return ()
        return tuple(name for name in _NAMES if name == self.dimension or f"x_{name}" in self.where)


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
        for dimension in _NAMES:
            names = [rule.name for rule in getattr(self, dimension)]
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise ValueError(
                    f"two rules of {dimension} are named {twice!r}: the ledger could not tell them apart"
                )
        return self

    @model_validator(mode="after")
    def _no_circle(self) -> Dimensions:
        self.stages()
        return self

    def stages(self) -> tuple[tuple[Dimension, ...], ...]:
        """Return the dimensions in groups, each after all groups that its virtual tags look at.

        Raises
        ------
        ValueError
            When dimensions take their values from each other, naming the circle.

        Examples
        --------
        >>> rules = {"team": [{"name": "by feature", "dimension": "feature"}]}
        >>> [group for group in Dimensions.model_validate(rules).stages() if "team" in group]
        [('team',)]
        """
        needs = {
            name: [d for d in _NAMES if any(d in rule.looks_at() for rule in getattr(self, name))]
            for name in _NAMES
        }
        graph = TopologicalSorter(needs)
        try:
            graph.prepare()
        except CycleError as error:
            raise ValueError(self._circle(list(reversed(error.args[1])))) from None
        groups: list[tuple[Dimension, ...]] = []
        while graph.is_active():
            ready = graph.get_ready()
            groups.append(tuple(name for name in _NAMES if name in ready))
            graph.done(*ready)
        return tuple(groups)

    def _circle(self, names: list[Dimension]) -> str:
        # Where the circle was entered is chance: show it from its first dimension in our order.
        turn = min(range(len(names) - 1), key=lambda n: _NAMES.index(names[n]))
        names = [*names[turn:-1], *names[:turn], names[turn]]
        rules = [
            next(rule.name for rule in getattr(self, name) if source in rule.looks_at())
            for name, source in pairwise(names)
        ]
        return (
            f"dimensions go round in a circle: {' from '.join(names)} (rules {', '.join(map(repr, rules))})"
        )


class Account(Model):
    """`[[accounts]]`: what charges of an account are for, where no rule says otherwise.

    `id` equals ``SubAccountId`` or, without one, ``BillingAccountId``; `name` is for readers.
    """

    id: Value
    name: Value | None = None
    team: Value | None = None
    product: Value | None = None
    model: Value | None = None
    variant: Value | None = None
    feature: Value | None = None
    customer: Value | None = None
    environment: Value | None = None
    region: Value | None = None
    business_unit: Value | None = None

    @model_validator(mode="after")
    def _gives_something(self) -> Account:
        if all(getattr(self, dimension) is None for dimension in _NAMES):
            raise ValueError(f"account {self.id!r} gives nothing: add one of {', '.join(_NAMES)}")
        return self

    @property
    def rule(self) -> str:
        """Name of the rules that give the account's values."""
        return f"account {self.name or self.id}"


def check_accounts(dimensions: Dimensions, accounts: Sequence[Account]) -> None:
    """Refuse accounts that stand there twice, or whose rules would be named like others.

    Raises
    ------
    ValueError
        Naming the account.
    """
    ids = [account.id for account in accounts]
    if twice := next((name for name in ids if ids.count(name) > 1), None):
        raise ValueError(f"accounts: the id {twice!r} stands there twice")
    names = [account.rule for account in accounts]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"accounts: two are named {twice.removeprefix('account ')!r}")
    for dimension in _NAMES:
        for rule in getattr(dimensions, dimension):
            if rule.name in names:
                raise ValueError(f"accounts: {dimension} has a rule named {rule.name!r} already")


def with_accounts(dimensions: Dimensions, accounts: Sequence[Account]) -> Dimensions:
    """Let charges inherit what their account says, where no rule of the dimension gives a value.

    Parameters
    ----------
    dimensions : Dimensions
        The rules.
    accounts : sequence of Account
        What accounts are for.

    Returns
    -------
    Dimensions
        The rules; after those of each dimension one rule ``account <name or id>`` per account that
        gives the dimension, in the order of `accounts`.

    Raises
    ------
    ConfigError
        As `check_accounts`.

    Examples
    --------
    >>> found = with_accounts(Dimensions(), [Account(id="1234", name="prod", team="search")])
    >>> [(rule.name, rule.account, rule.value) for rule in found.team]
    [('account prod', ('1234',), 'search')]
    """
    try:
        check_accounts(dimensions, accounts)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    inherited = {
        dimension: tuple(
            Rule(name=account.rule, account=(account.id,), value=getattr(account, dimension))
            for account in accounts
            if getattr(account, dimension) is not None
        )
        for dimension in _NAMES
    }
    return dimensions.model_copy(
        update={name: (*getattr(dimensions, name), *rules) for name, rules in inherited.items() if rules}
    )


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


def folded(value: str) -> str:
    """Spell a value without case and outer blanks.

    Examples
    --------
    >>> folded(" Search")
    'search'
    """
    return value.strip().lower()
