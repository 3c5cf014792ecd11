"""Dimensions: ordered rules that say who a charge belongs to and what it was for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

import polars as pl

from finops_lab.allocation.rule_report import Step, report, rule_column
from finops_lab.config import Dimensions, Rule, holds, normalise_tag_key
from finops_lab.config.dimensions import folded
from finops_lab.contracts import DIMENSIONS
from finops_lab.errors import ConfigError, InputError

__all__ = ["assign", "derive", "inputs", "outcomes", "rule_column", "rule_report"]

# Ways exports spell "nobody" (billing facts, trap 29), compared lower-cased.
_NOBODY = (
    "",
    "null",
    "(null)",
    "none",
    "-",
    "-2",
    "n/a",
    "na",
    "unassigned",
    "unknown",
    "untagged",
    "unallocated",
)
_ACCOUNT = ("SubAccountId", "BillingAccountId")
_DAY = "x_ChargeDate"
_BITS = 62
# While dimensions are being assigned their values stand apart: a bill may bring an x_team of its own.
_OWN = "_new_x_"


def inputs(dimensions: Dimensions, virtual: bool = False) -> list[str]:
    """Return the columns of bills that the rules look at, in order of first use.

    Parameters
    ----------
    dimensions : Dimensions
        The rules.
    virtual : bool
        Only those of virtual tags: what `derive` needs beside the dimensions.

    Examples
    --------
    >>> rules = Dimensions.model_validate({"team": [{"name": "tag", "tag": "Team"},
    ...     {"name": "ours", "dimension": "feature", "where": {"RegionId": "eu", "x_feature": "chat"}}]})
    >>> inputs(rules), inputs(rules, virtual=True)
    (['x_tag_team', 'RegionId'], ['RegionId'])
    """
    names: list[str] = []
    for _, rule in _rules(dimensions):
        if rule.dimension is not None or not virtual:
            names += _looks_at(rule)
    return list(dict.fromkeys(names))


def _looks_at(rule: Rule) -> list[str]:
    names = [f"x_tag_{normalise_tag_key(key)}" for key in rule.tag]
    names += [_spelled(rule.column)] if rule.column else []
    names += [_spelled(rule.extract.column)] if rule.extract else []
    names += [_spelled(name) for name in rule.where if not _is_dimension(name, rule)]
    names += _ACCOUNT if rule.account else []
    names += [_DAY] if rule.first or rule.last else []
    return names


def _spelled(column: str) -> str:
    key = column.removeprefix("x_tag_")
    return column if key == column else f"x_tag_{normalise_tag_key(key)}"


def _is_dimension(column: str, rule: Rule) -> bool:
    # Bills may have columns of such names too; only a virtual tag looks at dimensions.
    return rule.dimension is not None and column.startswith("x_") and column[2:] in DIMENSIONS


def _rules(dimensions: Dimensions) -> Iterable[tuple[str, Rule]]:
    for dimension in DIMENSIONS:
        for rule in getattr(dimensions, dimension):
            yield dimension, rule


def _complete(frame: pl.LazyFrame, dimensions: Dimensions, rows: str) -> pl.LazyFrame:
    """Check that rules find their columns; tags that no row has are null."""
    schema = frame.collect_schema()
    untagged: dict[str, pl.Expr] = {}
    for dimension, rule in _rules(dimensions):
        said = f"rule {rule.name!r} of dimension {dimension}"
        for name in _looks_at(rule):
            if name == _DAY and schema.get(name) != pl.Date:
                raise InputError(
                    f"{said} holds for some days only, but {rows} have no day of use",
                    column=_DAY,
                    hint=f"add {_DAY} (Date)",
                )
            if name in schema:
                continue
            if name.startswith("x_tag_"):
                untagged[name] = pl.lit(None, dtype=pl.String).alias(name)
                continue
            close = difflib.get_close_matches(name, schema, n=1)
            hint = f"did you mean {close[0]!r}?" if close else "use a FOCUS column name"
            if name.startswith("x_") and name[2:] in DIMENSIONS:
                hint = f'only a rule that takes its value from a dimension (dimension = "{name[2:]}") sees dimensions'
            raise ConfigError(f"{said} looks at column {name!r}, which {rows} do not have", hint=hint)
    return frame.with_columns(*untagged.values())


def assign(costs: pl.LazyFrame, dimensions: Dimensions) -> pl.LazyFrame:
    """Give each row its dimensions: per dimension, the first rule that yields a value wins.

    Dimensions whose virtual tags look at others are assigned after those.

    Parameters
    ----------
    costs : polars.LazyFrame
        Rows with the columns the rules name (any grain): ``x_ChargeDate`` (Date) too where a rule
        holds for some days only, ``SubAccountId`` and ``BillingAccountId`` for some accounts only.
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
    InputError
        When a rule holds for some days only and the rows have no ``x_ChargeDate``.

    Examples
    --------
    >>> rules = Dimensions.model_validate({"team": [
    ...     {"name": "team tag", "tag": "team", "map": {"srch": "search"}},
    ...     {"name": "gateway", "where": {"SubAccountName": "~^gw"}, "value": "platform"}]})
    >>> rows = pl.LazyFrame({"x_tag_team": ["srch", None, "n/a"], "SubAccountName": ["a", "gw1", "b"]})
    >>> assign(rows, rules).collect()["x_team"].to_list()
    ['search', 'platform', None]
    """
    names = [*costs.collect_schema().names(), *[n for d in DIMENSIONS for n in (f"x_{d}", rule_column(d))]]
    assigned = {f"x_{d}": pl.col(f"{_OWN}{d}").alias(f"x_{d}") for d in DIMENSIONS}
    frame = _with_values(_complete(costs, dimensions, "bills"), dimensions)
    return frame.select(assigned.get(name, pl.col(name)) for name in dict.fromkeys(names))


def _with_values(frame: pl.LazyFrame, dimensions: Dimensions) -> pl.LazyFrame:
    """Add the dimensions under private names, and the rules that gave them."""
    nothing = pl.lit(None, dtype=pl.String)
    for group in dimensions.stages():
        columns = []
        for dimension in group:
            chain = _chain(getattr(dimensions, dimension), _OWN)
            columns.append(pl.coalesce(*[s.value for s in chain], nothing).alias(f"{_OWN}{dimension}"))
            columns.append(pl.coalesce(*[s.rule for s in chain], nothing).alias(rule_column(dimension)))
        frame = frame.with_columns(columns)
    return frame


def outcomes(costs: pl.LazyFrame, dimensions: Dimensions, keys: Sequence[str]) -> pl.LazyFrame:
    """Say all that rules make of each row: rows of the same outcome differ in nothing to any rule.

    Parameters
    ----------
    costs, dimensions
        As `assign`.
    keys : sequence of str
        Columns that tell the rows apart.

    Returns
    -------
    polars.LazyFrame
        `keys`, ``x_<dimension>`` and ``_rule_<dimension>`` as `assign`, and ``_held_<n>``: which
        rules would have given a value had no other gone before them.
    """
    assigned = _with_values(_complete(costs, dimensions, "bills"), dimensions)
    steps = [step for dimension in DIMENSIONS for step in _chain(getattr(dimensions, dimension), _OWN)]
    held = [step.rule for step in steps if len(step.rules) > 1]
    alone = [step.rule.is_not_null().cast(pl.Int64) for step in steps if len(step.rules) == 1]
    # Rules may be hundreds: they are told by the bits of a few numbers.
    for begin in range(0, len(alone), _BITS):
        bits = enumerate(alone[begin : begin + _BITS])
        held.append(pl.sum_horizontal(bit * 2**place for place, bit in bits))
    return assigned.select(
        *keys,
        *[pl.col(f"{_OWN}{d}").alias(f"x_{d}") for d in DIMENSIONS],
        *[rule_column(d) for d in DIMENSIONS],
        *[expr.alias(f"_held_{place}") for place, expr in enumerate(held)],
    )


def derive(entries: pl.LazyFrame, dimensions: Dimensions) -> pl.LazyFrame:
    """Fill dimensions that are null from other dimensions: by virtual tags, and no other rules.

    For rows that got dimensions from elsewhere, such as a feature from telemetry.

    Parameters
    ----------
    entries : polars.LazyFrame
        Rows with ``x_<dimension>`` (String) of every dimension that virtual tags look at or fill,
        and the columns ``inputs(dimensions, virtual=True)``.
    dimensions : Dimensions
        The rules.

    Returns
    -------
    polars.LazyFrame
        The rows, with the same columns. A value that is there stays. ``_rule_<dimension>``, where
        the rows have it, names the rule of a value that was filled.

    Raises
    ------
    ConfigError
        When a virtual tag names a column that the rows do not have.
    InputError
        When the rows lack a dimension or, for a rule that holds for some days only, ``x_ChargeDate``.

    Notes
    -----
    An ``x_team`` of ``unallocated`` is no source of values. It is not filled either: derive first.

    Examples
    --------
    >>> rules = Dimensions.model_validate({"team": [
    ...     {"name": "team of the feature", "dimension": "feature", "map": {"answers": "search"}}]})
    >>> rows = pl.LazyFrame({"x_team": [None, "ads", None], "x_feature": ["answers", "answers", None]})
    >>> derive(rows, rules).collect()["x_team"].to_list()
    ['search', 'ads', None]
    """
    tags = {d: tuple(r for r in getattr(dimensions, d) if r.dimension) for d in DIMENSIONS}
    virtual = Dimensions.model_validate(tags)
    names = entries.collect_schema().names()
    for dimension, rule in _rules(virtual):
        for name in (dimension, *rule.looks_at()):
            if f"x_{name}" not in names:
                raise InputError(
                    f"rule {rule.name!r} of dimension {dimension} needs x_{name}, which the rows do not have"
                )
    frame = _complete(entries, virtual, "these rows")
    for group in virtual.stages():
        columns = []
        for dimension in group:
            if chain := _chain(tags[dimension], "x_"):
                there, rule_name = pl.col(f"x_{dimension}"), rule_column(dimension)
                columns.append(pl.coalesce(there, *[step.value for step in chain]))
                if rule_name in names:
                    given = pl.coalesce(step.rule for step in chain)
                    columns.append(
                        pl.when(there.is_null() & given.is_not_null())
                        .then(given)
                        .otherwise(rule_name)
                        .alias(rule_name)
                    )
        frame = frame.with_columns(columns)
    return frame.select(names)


def _chain(rules: Sequence[Rule], dimension_prefix: str) -> list[Step]:
    """Compile a dimension's rules; neighbours that each stand for an account become one look-up."""
    chain: list[Step] = []
    accounts: dict[str, Rule] = {}

    def look_up() -> None:
        if accounts:
            chain.append(_of_accounts(accounts))
            accounts.clear()

    for rule in rules:
        plain = rule.value is not None and not (rule.where or rule.first or rule.last or rule.map)
        if rule.account and plain and len(rule.account) == 1:
            key = rule.account[0].strip()
            if key in accounts:
                look_up()
            accounts[key] = rule
            continue
        look_up()
        value = _value(rule, dimension_prefix)
        chain.append(Step(value, pl.when(value.is_not_null()).then(pl.lit(rule.name)), (rule.name,)))
    look_up()
    return chain


def _of_accounts(rules: dict[str, Rule]) -> Step:
    # Hundreds of accounts are common: one look-up each, not one comparison per account.
    value, name = (
        _account().replace_strict(list(rules), texts, default=None, return_dtype=pl.String)
        for texts in ([rule.value for rule in rules.values()], [rule.name for rule in rules.values()])
    )
    return Step(value, name, tuple(rule.name for rule in rules.values()))


def _account() -> pl.Expr:
    return pl.coalesce(_named(pl.col(name).cast(pl.String)) for name in _ACCOUNT)


def _value(rule: Rule, dimension_prefix: str) -> pl.Expr:
    if rule.tag:
        value = pl.coalesce(_named(pl.col(f"x_tag_{normalise_tag_key(key)}")) for key in rule.tag)
    elif rule.column is not None:
        value = _named(pl.col(_spelled(rule.column)).cast(pl.String))
    elif rule.extract is not None:
        column = pl.col(_spelled(rule.extract.column)).cast(pl.String)
        value = _named(column.str.extract(rule.extract.pattern, 1))
    elif rule.dimension is not None:
        value = _named(pl.col(f"{dimension_prefix}{rule.dimension}").cast(pl.String))
        value = pl.when(value != "unallocated").then(value)
    else:
        value = pl.lit(rule.value)
    if rule.fold:
        value = value.str.to_lowercase()
    if rule.map:
        renamed = {folded(key) if rule.fold else key: name for key, name in rule.map.items()}
        value = _named(value.replace(renamed))
    conditions = [
        holds({f"{dimension_prefix}{name[2:]}" if _is_dimension(name, rule) else _spelled(name): values})
        for name, values in rule.where.items()
    ]
    if rule.account:
        conditions.append(_account().is_in([key.strip() for key in rule.account]))
    if rule.first:
        conditions.append(pl.col(_DAY) >= rule.first)
    if rule.last:
        conditions.append(pl.col(_DAY) <= rule.last)
    return pl.when(*conditions).then(value) if conditions else value


def _named(text: pl.Expr) -> pl.Expr:
    text = text.str.strip_chars()
    return pl.when(~text.str.to_lowercase().is_in(_NOBODY)).then(text)


def rule_report(assigned: pl.LazyFrame, dimensions: Dimensions) -> pl.DataFrame:
    """Report what each rule caught, and what earlier rules of its dimension took from it.

    Parameters
    ----------
    assigned : polars.LazyFrame
        What rules look at (`inputs`), ``BillingCurrency``, ``BilledCost``, ``EffectiveCost`` and,
        where a row stands for several, ``x_Rows``; with or without the result of `assign`. It must
        be without where a rule looks at a bill's own column that is called like a dimension's.
        Every rule is tried on every row: add rows up by these columns first.
    dimensions : Dimensions
        The rules.

    Returns
    -------
    polars.DataFrame
        One row per rule and currency, in the order of the rules, and one or more ``(no rule)`` for
        what no rule caught:

        - ``dimension``, ``rule``, ``BillingCurrency``: String; the currency is null where the rule
          met no row at all.
        - ``rows`` (Int64), ``BilledCost``, ``EffectiveCost`` (Decimal): what the rule caught. The
          amounts are null where the currency is.
        - ``status``: ``used``; ``shadowed`` (it caught nothing, but would have caught rows that
          earlier rules took); ``caught nothing``; ``no rule``. It speaks of all currencies together.
        - ``shadowed_rows`` (Int64), ``shadowed_EffectiveCost`` (Decimal): what the rule would have
          caught beside that, had no earlier rule won. Null for ``(no rule)``.
        - ``shadowed_by``: the rules that won instead, in their order, joined by ``", "``; null
          where none did.

    Raises
    ------
    ConfigError, InputError
        As `assign`.

    Examples
    --------
    >>> rules = Dimensions.model_validate({"team": [
    ...     {"name": "tag", "tag": "team"}, {"name": "rest", "value": "platform"}]})
    >>> one = pl.Series([1, 1]).cast(pl.Decimal(38, 18))
    >>> rows = pl.LazyFrame({"x_tag_team": ["a", "b"], "BillingCurrency": "USD", "BilledCost": one,
    ...                      "EffectiveCost": one})
    >>> found = rule_report(assign(rows, rules), rules)
    >>> found.select("rule", "rows", "status", "shadowed_rows", "shadowed_by").rows()[1]
    ('rest', 0, 'shadowed', 2, 'tag')
    """
    frame = _complete(assigned, dimensions, "bills")
    prefix = "x_"
    if rule_column("team") not in frame.collect_schema():
        frame, prefix = _with_values(frame, dimensions), _OWN
    chains = {d: _chain(rules, prefix) for d in DIMENSIONS if (rules := getattr(dimensions, d))}
    return report(frame.collect(), chains)
