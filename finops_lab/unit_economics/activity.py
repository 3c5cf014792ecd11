"""Activities: which entries of the ledger are inference and which are training."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import polars as pl

from finops_lab.allocation.pooling import UNALLOCATED
from finops_lab.config import Activity, holds
from finops_lab.contracts import AMOUNTS
from finops_lab.errors import ConfigError, InputError
from finops_lab.money import MONEY, one_currency

__all__ = ["ACTIVITIES", "activity", "currency_of", "month_of", "named", "spent"]

ACTIVITIES = ("inference", "training", "other")
_TRAINING = r"(?i)\btraining\b|fine-?\s?tuning"
_RESEARCH = ("research", "training")
_USED = (
    "ChargeCategory",
    "ServiceCategory",
    "ServiceName",
    "x_environment",
    "x_feature",
    "x_model",
    "x_variant",
    "x_PoolId",
)


def _text(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.String)


def _defaults() -> list[tuple[str, str, pl.Expr]]:
    """Return name, activity and condition of the built-in rules, the first first."""
    plain = pl.all_horizontal(pl.col("x_model", "x_variant", "x_feature").is_null())
    support = _text("ServiceName").str.contains(r"(?i)\bsupport\b")
    no_feature = pl.col("x_feature").is_null()
    # Whoever tries something out calls models too: calls that split a pool name one.
    called = pl.all_horizontal(pl.col("x_PoolId", "x_model").is_not_null())
    return [
        # A tax is no cost of serving, whoever carries it.
        ("tax", "other", _text("ChargeCategory") == "Tax"),
        ("credit without a dimension", "other", (_text("ChargeCategory") == "Credit") & plain),
        ("support", "other", support & plain),
        ("training service", "training", _text("ServiceName").str.contains(_TRAINING)),
        (
            "research environment",
            "training",
            _text("x_environment").str.to_lowercase().is_in(_RESEARCH) & no_feature & ~called,
        ),
        ("feature", "inference", ~no_feature),
        ("model", "inference", pl.col("x_model").is_not_null()),
        # Its idle and dark parts name no model.
        ("pool split by use", "inference", pl.col("x_PoolId").is_not_null()),
        ("AI service", "inference", _text("ServiceCategory") == "AI and Machine Learning"),
    ]


def activity(entries: pl.LazyFrame | pl.DataFrame, rules: Sequence[Activity] = ()) -> pl.LazyFrame:
    """Tell which entries of the ledger are inference, training or neither, and why.

    Parameters
    ----------
    entries : polars.LazyFrame or polars.DataFrame
        Rows of the `ledger` contract.
    rules : sequence of Activity
        ``[[activities]]`` of `finops.toml`; they go before the built-in rules (see Notes).

    Returns
    -------
    polars.LazyFrame
        The entries with ``x_Activity`` (``inference``, ``training`` or ``other``) and
        ``x_ActivityRule``, the name of the rule that said so: that of `rules`, or ``default: ...``.

    Raises
    ------
    ConfigError
        When a rule looks at a column that the ledger does not have.
    InputError
        When the entries lack a column.

    Notes
    -----
    The built-in rules, of which the first that fits counts:

    1. Tax is ``other``, whoever carries it, and so are credits and support that name no model,
       variant or feature.
    2. A service that is called training or fine-tuning is ``training``, and so is what runs in the
       environment ``research`` or ``training`` without a feature, but for parts of a split pool
       that name a model: those are calls.
    3. What names a feature or a model is ``inference``, and so are all parts of a pool that was
       split by use and services of the category "AI and Machine Learning".
    4. All else is ``other``: storage, networks, machines that nothing is known of.

    Examples
    --------
    >>> rows = pl.LazyFrame({"ChargeCategory": ["Usage"] * 3, "ServiceCategory": ["Compute"] * 3,
    ...     "ServiceName": ["EC2"] * 3, "x_environment": ["prod", "research", "prod"],
    ...     "x_feature": ["chat", None, None], "x_model": [None, "m", None], "x_variant": [None] * 3,
    ...     "x_PoolId": [None] * 3})
    >>> activity(rows).select("x_Activity", "x_ActivityRule").collect().rows()
    [('inference', 'default: feature'), ('training', 'default: research environment'), ('other', 'default: rest')]
    """
    frame = entries.lazy()
    known = frame.collect_schema()
    if missing := [name for name in _USED if name not in known]:
        raise InputError(f"the ledger has no column {missing[0]!r}", hint="give rows of the ledger contract")
    told: list[tuple[str, str, pl.Expr]] = []
    for rule in rules:
        for column in rule.where:
            if column not in known:
                close = difflib.get_close_matches(column, [*known], n=1)
                raise ConfigError(
                    f"activity {rule.name!r} looks at column {column!r}, which the ledger does not have",
                    hint=f"did you mean {close[0]!r}?" if close else None,
                )
        told.append((rule.name, rule.activity, holds(rule.where)))
    told += [(f"default: {name}", what, where) for name, what, where in _defaults()]
    return frame.with_columns(
        pl.coalesce(*[pl.when(where).then(pl.lit(what)) for _, what, where in told], pl.lit("other")).alias(
            "x_Activity"
        ),
        pl.coalesce(
            *[pl.when(where).then(pl.lit(name)) for name, _, where in told], pl.lit("default: rest")
        ).alias("x_ActivityRule"),
    )


def currency_of(entries: pl.LazyFrame | pl.DataFrame) -> str:
    """Return the currency of a ledger; USD where it has no entries.

    Raises
    ------
    CurrencyError
        When there are several.
    """
    codes = entries.lazy().select(pl.col("BillingCurrency").unique()).collect()["BillingCurrency"]
    return one_currency(codes) or "USD"


def month_of(text: str = "x_ChargeMonth") -> pl.Expr:
    """Return the first day of a month that is written ``2026-10``.

    Examples
    --------
    >>> pl.select(pl.lit("2026-10").alias("m")).select(month_of("m")).item()
    datetime.date(2026, 10, 1)
    """
    return (pl.col(text) + "-01").str.to_date("%Y-%m-%d")


def named(dimension: str) -> pl.Expr:
    """Return a dimension of the ledger under its plain name; a team `unallocated` is none.

    Examples
    --------
    >>> pl.DataFrame({"x_team": ["a", "unallocated"]}).select(named("team"))["team"].to_list()
    ['a', None]
    """
    value = _text(f"x_{dimension}")
    if dimension == "team":
        value = pl.when(value != UNALLOCATED).then(value)
    return value.alias(dimension)


def spent(
    entries: pl.LazyFrame | pl.DataFrame,
    what: str,
    keys: Sequence[str],
    *,
    rules: Sequence[Activity] = (),
    metric: str = "EffectiveCost",
) -> pl.LazyFrame:
    """Add up the money of an activity per month of use and dimensions.

    Parameters
    ----------
    entries : polars.LazyFrame or polars.DataFrame
        Rows of the `ledger` contract, in one currency.
    what : str
        ``inference``, ``training`` or ``other``.
    keys : sequence of str
        Dimensions, such as ``team``.
    rules : sequence of Activity
        ``[[activities]]`` of `finops.toml`.
    metric : str
        The cost column.

    Returns
    -------
    polars.LazyFrame
        ``month`` (Date), the keys (String), ``pool`` (``x_PoolId``) and per group: ``amount`` and
        ``used`` (Decimal; `used` without idle entries and unused commitments: the usage basis),
        ``charged`` (Decimal, the positive amounts, for shares), ``idle``, ``entries`` and
        ``unknown`` (Int64: idle entries, all entries, and entries without the metric).

    Raises
    ------
    InputError
        When the metric is no cost column.
    """
    if metric not in AMOUNTS:
        raise InputError(f"metric must be one of {', '.join(AMOUNTS)}, not {metric!r}")
    amount = pl.col(metric).cast(MONEY)
    idle = _text("x_AllocationMethod").eq_missing(pl.lit("idle"))
    apart = idle | _text("CommitmentDiscountStatus").eq_missing(pl.lit("Unused"))
    zero = pl.lit(0).cast(MONEY)
    return (
        activity(entries, rules)
        .filter(pl.col("x_Activity") == what)
        .group_by(month_of().alias("month"), *[named(k) for k in keys], _text("x_PoolId").alias("pool"))
        .agg(
            amount.sum().alias("amount"),
            # The same entries as on the usage basis of `allocation.views.on_basis`.
            pl.when(apart).then(zero).otherwise(amount).sum().alias("used"),
            pl.when(amount > 0).then(amount).otherwise(zero).sum().alias("charged"),
            idle.cast(pl.Int64).sum().alias("idle"),
            pl.len().cast(pl.Int64).alias("entries"),
            amount.is_null().cast(pl.Int64).sum().alias("unknown"),
        )
    )
