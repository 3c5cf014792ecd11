"""The labelling backlog: which charges without an owner to label first, by money."""

from __future__ import annotations

import json
from decimal import Decimal

import polars as pl

from finops_lab.allocation.coverage import dated, only, ratio, require, row_count, valued
from finops_lab.allocation.dimensions import _value, assign, inputs
from finops_lab.config import Dimensions, Rule, normalise_tag_key
from finops_lab.contracts import DIMENSIONS
from finops_lab.errors import InputError
from finops_lab.money import MONEY, exact_sum, is_blank

__all__ = ["backlog"]

# What a line of the backlog is about: the resource, or the best name for what has none.
_PLACE = ("ProviderName", "SubAccountId", "SubAccountName", "ServiceName")
_THING = ("ResourceId", "SkuId", "ChargeDescription")
_NEEDED = (*_PLACE, *_THING, "ResourceName", "ChargeCategory", "ChargePeriodStart", "BillingCurrency")
_LINE = ("BillingCurrency", *(f"_{name}" for name in (*_PLACE, *_THING)), "_category", "tag_keys")
_RESULT: dict[str, pl.DataType] = {
    "BillingCurrency": pl.String(),
    "rank": pl.Int64(),
    **dict.fromkeys((*_PLACE, "ResourceId", "ResourceName", "SkuId", "ChargeDescription"), pl.String()),
    "charge_categories": pl.String(),
    "first_day": pl.Date(),
    "last_day": pl.Date(),
    "rows": pl.Int64(),
    "metric": pl.String(),
    "absolute_amount": MONEY,
    "net_amount": MONEY,
    "share": pl.Float64(),
    "cumulative_share": pl.Float64(),
    "coverage_after": pl.Float64(),
    "tag_keys": pl.String(),
    "action": pl.String(),
    "hint": pl.String(),
    "rule": pl.String(),
}


def backlog(
    costs: pl.DataFrame | pl.LazyFrame,
    dimensions: Dimensions,
    dimension: str = "team",
    top: int = 50,
    *,
    metric: str = "EffectiveCost",
) -> pl.DataFrame:
    """List the charges that no rule gives a value of a dimension, the most money first.

    One line per resource of a service and account. Charges without a resource (tax, credits,
    support, tokens of a vendor) cannot be tagged: they are told apart by SKU or, without one, by
    description, and by charge category, and need a rule or a policy of shared costs.

    Parameters
    ----------
    costs : polars.DataFrame or LazyFrame
        Rows of the `costs` contract, with the ``x_tag_`` columns of the rules' tags. ``x_Rows`` are
        the bill rows in each; 1 where absent. Leave out what pools or shared costs will split, if
        it is not to be labelled: rules alone are asked here.
    dimensions : Dimensions
        Ordered rules of `finops.toml`; only those of `dimension`, and of dimensions it takes values
        from, are used.
    dimension : str
        What is to be labelled. An owner named ``unallocated`` is none.
    top : int
        Lines per currency.
    metric : str
        The cost column.

    Returns
    -------
    polars.DataFrame
        Sorted by currency, money (falling), then names:

        - ``BillingCurrency``, ``rank`` (Int64, from 1 in each currency: amounts in two currencies
          cannot be compared without a rate);
        - ``ProviderName``, ``SubAccountId``, ``SubAccountName``, ``ServiceName``, ``ResourceId``,
          ``ResourceName`` (the first in the alphabet, where it had several), ``SkuId`` (only
          without resource), ``ChargeDescription`` (only without SKU too), ``charge_categories``
          (joined by a comma);
        - ``first_day``, ``last_day`` (Date, UTC) of use; ``rows`` (Int64);
        - ``metric``; ``absolute_amount`` (Decimal, signs dropped row by row: what the list is
          sorted by) and ``net_amount`` (Decimal); null where every amount is unknown;
        - ``share`` and ``cumulative_share`` of all unlabelled absolute money in the currency, and
          ``coverage_after``: the coverage (definition ``absolute``) reached once this line and all
          above it are labelled (Float64, 0 to 1; null where there is no money);
        - ``tag_keys``: tags that rules of `dimension` itself would read on these charges, in the order
          of the rules, null where none would; ``action`` (``tag`` or ``rule``); ``hint``, a sentence;
          ``rule``, lines for `finops.toml` that label the charges, past days included, once its
          value is filled in. A tag works from the day it is set, a rule on all days.

    Raises
    ------
    InputError
        For an unknown dimension or column, or a `top` below 1.
    ConfigError
        When a rule names a column that the bill does not have.

    Notes
    -----
    Charges are added up per resource and rule inputs in one streaming pass; only the sums of
    unlabelled resources are held. A `rule` cannot ask for a blank, so without account, or without
    resource, it may label other lines too: `coverage_after` is then the least that is reached.
    Rules run in their order: where an earlier one says ``unallocated``, mend that one.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> row = {name: None for name in _NEEDED} | {
    ...     "ProviderName": "CloudOne", "BillingCurrency": "USD", "ChargeCategory": "Usage",
    ...     "ChargePeriodStart": datetime(2026, 9, 3, tzinfo=UTC)}
    >>> bill = pl.DataFrame([
    ...     row | {"ResourceId": "node-1", "EffectiveCost": Decimal(3)},
    ...     row | {"ResourceId": "node-2", "EffectiveCost": Decimal(1)}])
    >>> rules = Dimensions.model_validate({"team": [{"name": "tag", "tag": ["team"]}]})
    >>> backlog(bill, rules).select("ResourceId", "share", "coverage_after", "tag_keys").rows()
    [('node-1', 0.75, 0.75, 'team'), ('node-2', 0.25, 1.0, 'team')]
    """
    if dimension not in DIMENSIONS:
        raise InputError(f"{dimension!r} is no dimension", hint=f"dimensions: {', '.join(DIMENSIONS)}")
    if top < 1:
        raise InputError(f"a backlog of {top} lines is none", hint="top must be 1 or more")
    frame = costs.lazy()
    require(frame, [*_NEEDED, metric], metric)
    frame = dated(frame)
    rules = only(dimensions, [dimension])
    assign(frame, rules)  # refuses rules that name unknown columns, before the work
    lines = _lines(_cases(frame, rules, metric), rules, dimension).collect(engine="streaming")
    return _ranked(lines, dimension, top, metric)


def _cases(frame: pl.LazyFrame, rules: Dimensions, metric: str) -> pl.LazyFrame:
    """Add up rows that rules cannot tell apart and that are about the same thing."""
    known = frame.collect_schema().names()
    amount = pl.col(metric).cast(MONEY)
    texts = {name: pl.col(name).cast(pl.String) for name in (*_PLACE, *_THING)}
    names = {name: pl.when(~is_blank(text)).then(text) for name, text in texts.items()}
    resource, sku = names["ResourceId"].is_not_null(), names["SkuId"].is_not_null()
    names["SkuId"] = pl.when(~resource).then(names["SkuId"])
    names["ChargeDescription"] = pl.when(~resource & ~sku).then(names["ChargeDescription"])
    seen = [name for name in inputs(rules) if name in known]
    # Counted as a column: the sum of a bare literal is one, whatever the size of the group.
    return (
        frame.with_columns(row_count(frame).alias("_rows"))
        .group_by(
            "BillingCurrency",
            pl.col("ChargeCategory").alias("_kind"),
            *[name.alias(f"_{column}") for column, name in names.items()],
            *[pl.col(name) for name in seen if name != "BillingCurrency"],
        )
        .agg(
            pl.col("ResourceName").min().alias("_name"),
            pl.col("ChargePeriodStart").min().dt.date().alias("first_day"),
            pl.col("ChargePeriodStart").max().dt.date().alias("last_day"),
            pl.col("_rows").sum().alias("rows"),
            amount.count().cast(pl.Int64).alias("_amounts"),
            amount.abs().sum().alias("absolute_amount"),
            amount.sum().alias("net_amount"),
        )
    )


def _lines(cases: pl.LazyFrame, rules: Dimensions, dimension: str) -> pl.LazyFrame:
    """Run the rules; one line per unlabelled thing, and one per currency for all that is labelled."""
    known = cases.collect_schema().names()
    absent = [pl.lit(None, dtype=pl.String).alias(name) for name in inputs(rules) if name not in known]
    open_ = ~pl.col("_labelled")
    return (
        assign(cases.with_columns(absent), rules)
        .with_columns(
            valued(dimension).alias("_labelled"),
            _tag_keys(getattr(rules, dimension)).alias("tag_keys"),
            pl.when(pl.col("_ResourceId").is_null()).then("_kind").alias("_category"),
        )
        .with_columns(pl.when(open_).then(name).alias(name) for name in _LINE if name != "BillingCurrency")
        .group_by("_labelled", *_LINE)
        .agg(
            pl.col("_name", "first_day").min(),
            pl.col("last_day").max(),
            pl.col("rows", "_amounts", "absolute_amount", "net_amount").sum(),
            pl.col("_kind").unique().sort().str.join(", ").alias("charge_categories"),
        )
    )


def _tag_keys(rules: tuple[Rule, ...]) -> pl.Expr:
    """Name the tags that the rules would read on a row, each once, as the first rule spells it."""
    spelled: dict[str, str] = {}
    readers: dict[str, list[pl.Expr]] = {}
    for rule in rules:
        columns = (rule.column or "", rule.extract.column if rule.extract else "")
        own = [name.removeprefix("x_tag_") for name in columns if name.startswith("x_tag_")]
        for key in (*rule.tag, *own):
            spelled.setdefault(normalise_tag_key(key), key)
            readers.setdefault(normalise_tag_key(key), []).append(_acts(rule))
    if not spelled:
        return pl.lit(None, dtype=pl.String)
    read = [pl.when(pl.any_horizontal(readers[key])).then(pl.lit(name)) for key, name in spelled.items()]
    joined = pl.concat_str(read, separator=", ", ignore_nulls=True)
    return pl.when(joined != "").then(joined)


def _acts(rule: Rule) -> pl.Expr:
    """Tell which rows a rule looks at, whatever their tags say."""
    kept = {"where": rule.where, "account": rule.account, "from": rule.first, "to": rule.last}
    probe = {name: limit for name, limit in kept.items() if limit}
    return _value(Rule.model_validate({"name": rule.name, "value": "yes", **probe}), "x_").is_not_null()


def _ranked(lines: pl.DataFrame, dimension: str, top: int, metric: str) -> pl.DataFrame:
    unknown = pl.col("_amounts") == 0
    kept = (
        lines.filter(~pl.col("_labelled"))
        .with_columns(pl.when(~unknown).then(name).alias(name) for name in ("absolute_amount", "net_amount"))
        .sort(
            "BillingCurrency",
            "absolute_amount",
            *_LINE[1:],
            descending=[False, True, *[False] * len(_LINE[1:])],
            nulls_last=True,
        )
        .with_columns(
            pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over("BillingCurrency").alias("rank"),
            pl.lit(metric).alias("metric"),
            pl.when(pl.col("_ResourceId").is_not_null() & pl.col("tag_keys").is_not_null())
            .then(pl.lit("tag"))
            .otherwise(pl.lit("rule"))
            .alias("action"),
        )
        .filter(pl.col("rank") <= top)
        .rename({"_name": "ResourceName", **{f"_{name}": name for name in (*_PLACE, *_THING)}})
    )
    written = [_written(row, dimension) for row in kept.iter_rows(named=True)]
    return kept.with_columns(
        *_shares(kept, lines),
        pl.Series("hint", [hint for hint, _ in written], dtype=pl.String),
        pl.Series("rule", [rule for _, rule in written], dtype=pl.String),
    ).select(pl.col(name).cast(dtype) for name, dtype in _RESULT.items())


def _shares(kept: pl.DataFrame, lines: pl.DataFrame) -> list[pl.Series]:
    totals = {
        (currency, labelled): amount
        for currency, labelled, amount in lines.group_by("BillingCurrency", "_labelled")
        .agg(pl.col("absolute_amount").sum())
        .iter_rows()
    }
    found: list[tuple[float | None, float | None, float | None]] = []
    reached: dict[str, Decimal] = {}
    for currency, amount in kept.select("BillingCurrency", "absolute_amount").iter_rows():
        open_, done = totals[currency, False], totals.get((currency, True), Decimal(0))
        reached[currency] = exact_sum([reached.get(currency, Decimal(0)), amount or Decimal(0)])
        after, whole = exact_sum([done, reached[currency]]), exact_sum([done, open_])
        found.append((ratio(amount, open_), ratio(reached[currency], open_), ratio(after, whole)))
    names = ("share", "cumulative_share", "coverage_after")
    return [pl.Series(name, [row[n] for row in found], dtype=pl.Float64) for n, name in enumerate(names)]


def _written(line: dict[str, str | None], dimension: str) -> tuple[str, str]:
    """Write the hint for a line, and the rule that would label it."""
    thing = next((name for name in _THING if line[name] is not None), "ServiceName")
    where = {"ResourceId": line["ResourceId"]}
    if thing != "ResourceId":
        account = "SubAccountId" if line["SubAccountId"] is not None else "SubAccountName"
        where = {name: line[name] for name in ("ProviderName", account, "ServiceName", thing)}
        where["ChargeCategory"] = line["_category"]
    asked = ", ".join(
        f"{name} = {_quoted(_literal(value))}" for name, value in where.items() if value is not None
    )
    place = [line[name] for name in (*_PLACE, thing) if line[name] is not None]
    name = " / ".join(dict.fromkeys(str(part) for part in [*place, line["_category"]] if part))
    rule = (
        f'[[dimensions.{dimension}]]\nname = {_quoted(name)}\nwhere = {{ {asked} }}\nvalue = "<{dimension}>"'
    )
    if line["action"] == "tag":
        title = line["ResourceName"] or line["ResourceId"]
        keys = (line["tag_keys"] or "").replace(", ", " or ")
        return f"Tag {title!r} with {keys}; for the days already billed, add the rule.", rule
    if line["ResourceId"] is not None:
        return f"No rule of {dimension} reads a tag here: add the rule.", rule
    return "No resource to tag: add the rule, or share the cost by a policy.", rule


def _literal(value: str) -> str:
    # `where` reads a leading ~ as a regular expression.
    return f"~^{pl.escape_regex(value)}$" if value.startswith("~") else value


def _quoted(text: str) -> str:
    # JSON's strings are TOML's basic strings, but for DEL.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
