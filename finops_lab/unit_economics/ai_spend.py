"""AI spend that a bill does not call AI: what it is, how much of the bill, and whether it matters."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from finops_lab.allocation import UNALLOCATED
from finops_lab.config import AiSpendRule, holds
from finops_lab.errors import ConfigError, InputError
from finops_lab.money import MONEY, divided
from finops_lab.unit_economics.ai_spend_rules import (
    AI_CATEGORY,
    DEFAULTS,
    NAMED,
    NAMED_IN,
    NOT_AI,
    TEXTS,
)

__all__ = ["LINES", "AiSpend", "added_up", "ai_lines", "ai_spend", "classify"]

# What `ai_lines` returns: small, and of bills in parts the parts can be put together.
LINES: dict[str, pl.DataType | type[pl.DataType]] = {
    "month": pl.Date,
    **dict.fromkeys(("BillingCurrency", "kind"), pl.String),
    "certain": pl.Boolean,
    **dict.fromkeys(("rule", "matched", "ProviderName", "ServiceName"), pl.String),
    "in_ai_category": pl.Boolean,
    "team": pl.String,
    "rows": pl.Int64,
    **dict.fromkeys(("BilledCost", "EffectiveCost", "BilledCost_gross", "EffectiveCost_gross"), MONEY),
}
_LINE = ("month", "BillingCurrency", "kind", "certain", "rule", "matched", "ProviderName", "ServiceName")
_METRICS = ("BilledCost", "EffectiveCost")
_BILL = ("BillingCurrency", "ProviderName", "ServiceName", "ServiceCategory")


@dataclass(frozen=True)
class AiSpend:
    """What of a bill is AI spend.

    Attributes
    ----------
    metric : str
        Money column of the gross amounts.
    lines : polars.DataFrame
        Per ``month`` (of use, Date), ``BillingCurrency``, ``kind`` (``not AI`` where no rule fits),
        ``certain`` (Boolean, null for ``not AI``), ``rule``, ``matched``, ``ProviderName``,
        ``ServiceName`` and ``in_ai_category`` (Boolean): ``rows`` (Int64), ``BilledCost``,
        ``EffectiveCost`` and ``gross``, the positive amounts of the metric (Decimal).
    months : polars.DataFrame
        Per ``month`` and ``BillingCurrency``, gross: ``whole`` bill, ``ai_category``, ``certain``,
        ``possible`` and their shares of the whole (Decimal): ``category_share``, ``certain_share``,
        ``at_most_share`` (certain and possible); ``reason`` where they are null.
    teams : polars.DataFrame
        Per ``month``, ``BillingCurrency`` and ``team``: ``certain`` and ``possible``, gross. Without
        rows where the bill names no teams.
    """

    metric: str
    lines: pl.DataFrame
    months: pl.DataFrame
    teams: pl.DataFrame

    def __repr__(self) -> str:
        return (
            f"AiSpend({self.months.height} months, {self.lines['kind'].n_unique()} kinds; "
            ".lines .months .teams)"
        )


def classify(
    costs: pl.LazyFrame | pl.DataFrame, rules: Sequence[AiSpendRule] = (), *, defaults: bool = True
) -> pl.LazyFrame:
    """Tell which charges are AI spend, of which kind, by which rule, and what matched.

    Parameters
    ----------
    costs : polars.LazyFrame or polars.DataFrame
        Rows of the `costs` contract, of any grain; with ``x_model`` and ``x_feature`` (see
        `finops_lab.allocation.assign`) what names a model is found without tags.
    rules : sequence of AiSpendRule
        ``[[ai_spend]]`` of `finops.toml`; they go before the built-in rules.
    defaults : bool
        Whether the built-in rules are tried after them.

    Returns
    -------
    polars.LazyFrame
        The rows with ``x_AiKind`` (String, ``not AI`` where no rule fits), ``x_AiCertain``
        (Boolean), ``x_AiRule`` and ``x_AiMatched`` (String), null where no rule fits. Charges that
        a rule calls ``not AI`` keep its name and what matched.

    Raises
    ------
    ConfigError
        When a rule looks at a column that the bill does not have.

    Notes
    -----
    The built-in rules stand in `finops_lab.unit_economics.ai_spend_rules`. They are conservative:
    GPU machines made for AI are certain and those that serve graphics as well are possible, unless
    they name a model; storage, egress, databases, monitoring and plain machines are certain where
    they name a model, possible where they name a feature or are called after model data (in a text
    or, of storage and egress, in their ``ResourceId``), and otherwise not AI. Kinds are no
    judgement on single charges: a rule of one's own goes before.

    Examples
    --------
    >>> rows = pl.DataFrame({"ServiceCategory": ["Compute", "Networking"], "ChargeDescription":
    ...     ["$1.62 per On Demand Linux g5.4xlarge Instance Hour", "data transfer out"]})
    >>> classify(rows).select("x_AiKind", "x_AiCertain", "x_AiMatched").collect().rows()
    [('GPU', False, 'ServiceCategory = Compute; g5.4xlarge'), ('not AI', None, None)]
    """
    frame = costs.lazy()
    known = frame.collect_schema().names()
    for rule in rules:
        _check(rule, known)
    tried = (*rules, *(DEFAULTS if defaults else ()))
    parts = [(rule, *test) for rule in tried if (test := _holds(rule, known)) is not None]
    # One pass tells which rule fits, so that what matched is looked for with that rule alone.
    which = [pl.when(fits).then(pl.lit(n, pl.Int32)) for n, (_, fits, _) in enumerate(parts)]
    place = pl.coalesce(*which, pl.lit(None, pl.Int32))
    frame = frame.with_columns(place.alias("_AiRule"))
    found = pl.col("_AiRule")

    def said(values: Sequence[object], kind: pl.DataType) -> pl.Expr:
        return found.replace_strict(range(len(parts)), values, default=None, return_dtype=kind)

    if not parts:
        nothing = {"x_AiCertain": pl.Boolean, "x_AiRule": pl.String, "x_AiMatched": pl.String}
        return frame.drop("_AiRule").with_columns(
            pl.lit(NOT_AI).alias("x_AiKind"), *(pl.lit(None, kind).alias(n) for n, kind in nothing.items())
        )
    kept = found.is_not_null() & (said([rule.kind for rule, _, _ in parts], pl.String()) != NOT_AI)
    return frame.with_columns(
        said([rule.kind for rule, _, _ in parts], pl.String()).fill_null(NOT_AI).alias("x_AiKind"),
        pl.when(kept).then(said([rule.certain for rule, _, _ in parts], pl.Boolean())).alias("x_AiCertain"),
        said([rule.name for rule, _, _ in parts], pl.String()).alias("x_AiRule"),
        pl.coalesce(pl.when(found == n).then(matched) for n, (_, _, matched) in enumerate(parts)).alias(
            "x_AiMatched"
        ),
    ).drop("_AiRule")


def _check(rule: AiSpendRule, known: Sequence[str]) -> None:
    for column in (*rule.where, *rule.look_in):
        # A tag that no charge carries is no mistake: its column is not there.
        if column not in known and not column.startswith("x_tag_"):
            close = difflib.get_close_matches(column, known, n=1)
            raise ConfigError(
                f"ai_spend rule {rule.name!r} looks at column {column!r}, which the bill does not have",
                hint=f"did you mean {close[0]!r}?" if close else None,
            )


def _holds(rule: AiSpendRule, known: Sequence[str]) -> tuple[pl.Expr, pl.Expr] | None:
    """Return whether a row fits and what matched; None where no row can for want of columns."""
    if any(column not in known for column in rule.where):
        return None
    fits = holds(rule.where)
    said = [pl.format(f"{column} = {{}}", pl.col(column).cast(pl.String)) for column in rule.where]
    if rule.text:
        columns = [name for name in (rule.look_in or TEXTS) if name in known]
        if not columns:
            return None
        whole = pl.concat_str([pl.col(n).cast(pl.String) for n in columns], separator="\n", ignore_nulls=True)
        pattern = f"(?im)({'|'.join(f'(?:{p})' for p in rule.text)})"
        fits = fits & whole.str.contains(pattern)
        # Where any value will do, the whole of it is what matched.
        shown = r"(?m)(\S.*)$" if rule.text == (r"\S",) else pattern
        said.append(whole.str.extract(shown, 1).str.strip_chars())
    return fits, pl.concat_str(said, separator="; ", ignore_nulls=True)


def ai_spend(
    costs: pl.LazyFrame | pl.DataFrame,
    rules: Sequence[AiSpendRule] = (),
    *,
    metric: str = "EffectiveCost",
    team: str | None = None,
) -> AiSpend:
    """Add up AI spend by kind, rule and service, and its share of the whole bill per month.

    Parameters
    ----------
    costs : polars.LazyFrame or polars.DataFrame
        Rows of the `costs` contract, with more columns as `classify` takes them. Currencies stay
        apart.
    rules : sequence of AiSpendRule
        ``[[ai_spend]]`` of `finops.toml`.
    metric : str
        ``EffectiveCost`` or ``BilledCost``: money of the gross amounts and shares.
    team : str, optional
        Column with the team of a charge; ``x_team``, else ``x_tag_team``, where there is one.

    Returns
    -------
    AiSpend
        Gross amounts are those of positive charges alone: credits and refunds would make shares
        of the bill that mean nothing. Tax is in the whole bill, and in AI spend where a rule fits.

    Raises
    ------
    InputError
        An unknown metric, or a column that is missing.
    ConfigError
        As `classify`.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> rows = pl.DataFrame({"ServiceCategory": ["Compute", "Storage"], "ChargeDescription":
    ...     ["p5.48xlarge hour", "bytes"], "ChargePeriodStart": [datetime(2026, 10, 3, tzinfo=UTC)] * 2,
    ...     "BillingCurrency": ["USD"] * 2, "ProviderName": ["AWS"] * 2, "ServiceName": ["EC2", "S3"],
    ...     "BilledCost": [30, 10], "EffectiveCost": [30, 10]})
    >>> ai_spend(rows).months.select(pl.col("whole", "certain").cast(pl.Int64), "certain_share").rows()
    [(40, 30, Decimal('0.750000000000000000'))]
    """
    _known_metric(metric)
    return added_up(ai_lines(costs, rules, team=team), metric=metric)


def ai_lines(
    costs: pl.LazyFrame | pl.DataFrame, rules: Sequence[AiSpendRule] = (), *, team: str | None = None
) -> pl.DataFrame:
    """Add up what `ai_spend` tells of, before a metric is chosen: one part of the bills at a time will do.

    Parameters
    ----------
    costs, rules, team
        As for `ai_spend`.

    Returns
    -------
    polars.DataFrame
        `LINES`: per month, currency, kind, rule, what matched, provider, service and team, the sums
        of both metrics with and (``_gross``) without what is below zero. Sorted.

    Raises
    ------
    InputError, ConfigError
        As `ai_spend`.
    """
    frame = costs.lazy()
    known = frame.collect_schema().names()
    team = team or next((name for name in ("x_team", "x_tag_team") if name in known), None)
    needed = (*_BILL, "ChargePeriodStart", *_METRICS, *([team] if team else []))
    if missing := [name for name in needed if name not in known]:
        raise InputError(f"AI spend needs bill rows; missing: {', '.join(missing)}")
    own, looked = (
        {n for rule in some for n in (*rule.where, *(rule.look_in or TEXTS)) if n in known}
        for some in (rules, (*rules, *DEFAULTS))
    )
    keys = [*dict.fromkeys((*_BILL, *sorted(looked)))]
    # Machines have an identifier each: where no rule asks for it, it would make each a combination.
    asked = pl.col("ServiceCategory").is_in(NAMED_IN)
    short = [pl.when(asked).then(name).alias(name) for name in NAMED if name in looked - own]
    amounts = {name: pl.col(name).cast(MONEY) for name in _METRICS}
    # Rules are looked at once per combination of what they look at, not once per row.
    summed = (
        frame.with_columns(short)
        .group_by(
            pl.col("ChargePeriodStart").dt.date().dt.month_start().alias("month"),
            *keys,
            (pl.col(team).cast(pl.String) if team else pl.lit(None, pl.String)).alias("_team"),
        )
        .agg(
            pl.len().cast(pl.Int64).alias("rows"),
            *(amount.sum() for amount in amounts.values()),
            *(amount.filter(amount > 0).sum().alias(f"{name}_gross") for name, amount in amounts.items()),
        )
    )
    in_category = (pl.col("ServiceCategory") == AI_CATEGORY).fill_null(False)
    sums = list(LINES)[list(LINES).index("rows") :]
    keys = list(LINES)[: -len(sums)]
    return (
        classify(summed, rules)
        .rename({"x_AiKind": "kind", "x_AiCertain": "certain", "x_AiRule": "rule", "x_AiMatched": "matched"})
        .group_by(*_LINE, in_category.alias("in_ai_category"), pl.col("_team").alias("team"))
        .agg(pl.col(sums).sum())
        .select(pl.col(name).cast(kind) for name, kind in LINES.items())
        .sort(keys, nulls_last=True)
        .collect()
    )


def added_up(lines: pl.DataFrame, *, metric: str = "EffectiveCost") -> AiSpend:
    """Tell AI spend of the lines of one or more parts of the bills.

    Parameters
    ----------
    lines : polars.DataFrame
        `LINES`: what `ai_lines` returned, parts one below the other.
    metric : str
        ``EffectiveCost`` or ``BilledCost``.

    Returns
    -------
    AiSpend
        As `ai_spend` of all parts at once.

    Raises
    ------
    InputError
        An unknown metric.
    """
    _known_metric(metric)
    told = lines.with_columns(pl.col(f"{metric}_gross").alias("gross"))
    sums = pl.col("rows", "BilledCost", "EffectiveCost", "gross").sum()
    of_all = told.group_by(*_LINE, "in_ai_category").agg(sums).sort(*_LINE, "in_ai_category", nulls_last=True)
    return AiSpend(metric, of_all, _months(of_all), _teams(told))


def _known_metric(metric: str) -> None:
    if metric not in _METRICS:
        raise InputError(
            f"metric must be EffectiveCost or BilledCost, not {metric!r}",
            hint="AI spend is a share of what is paid: list and contracted cost are not on every bill",
        )


def _of(certain: bool) -> pl.Expr:
    return pl.col("gross").filter(pl.col("certain") == certain).sum()


def _months(lines: pl.DataFrame) -> pl.DataFrame:
    sums = (
        lines.group_by("month", "BillingCurrency")
        .agg(
            pl.col("gross").sum().alias("whole"),
            pl.col("gross").filter(pl.col("in_ai_category")).sum().alias("ai_category"),
            _of(True).alias("certain"),
            _of(False).alias("possible"),
        )
        .sort("month", "BillingCurrency")
    )
    shares = {
        "category_share": pl.col("ai_category"),
        "certain_share": pl.col("certain"),
        "at_most_share": pl.col("certain") + pl.col("possible"),
    }
    for name, part in shares.items():
        pairs = sums.select(part.alias("part"), "whole").iter_rows()
        sums = sums.with_columns(pl.Series(name, [divided(*pair) for pair in pairs], MONEY))
    nothing = pl.col("whole") == 0
    return sums.with_columns(pl.when(nothing).then(pl.lit("no charge above zero")).alias("reason"))


def _teams(told: pl.DataFrame) -> pl.DataFrame:
    return (
        told.filter(
            pl.col("team").is_not_null(), pl.col("team") != UNALLOCATED, pl.col("certain").is_not_null()
        )
        .group_by("month", "BillingCurrency", "team")
        .agg(_of(True).alias("certain"), _of(False).alias("possible"))
        .sort("month", "BillingCurrency", "team")
    )
