"""From ledger entries and roll-ups of calls to the cells of a bridge: a model's variant in two months."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

import polars as pl

from finops_lab.allocation import UNALLOCATED
from finops_lab.calendar import format_month
from finops_lab.config import holds
from finops_lab.contracts import AMOUNTS
from finops_lab.errors import InputError, NoDataError
from finops_lab.money import MONEY, one_currency

__all__ = ["CALLS", "Cell", "Side", "cells"]

# What both frames know of an owner, so that a filter means the same in both.
_WHERE = ("team", "model", "variant", "feature", "customer", "environment", "region")
_ENTRY = (
    "x_ChargeMonth",
    "BillingCurrency",
    "ChargeCategory",
    "ChargeClass",
    "CommitmentDiscountStatus",
    "x_AllocationMethod",
    "x_model",
    "x_variant",
)
_TOKENS = ("input_uncached_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")
CALLS = ("rows", "calls", "calls_retried", *_TOKENS)
_ERROR = ("weighed", "variance")
# Entries that calls explain; every other kind is the term of its name.
USE = "use"
_Key = tuple[str | None, str | None]


@dataclass
class Side:
    """A cell in one month: money by kind of entry, and what telemetry counted.

    `entries` counts the ledger entries of use, `discount` is what commitments took off them
    (negative), a part of ``money["use"]``; `error` is the standard error of the weighted tokens as
    a share of them, for sampling, null where it is not known.
    """

    money: dict[str, Decimal] = field(default_factory=dict)
    discount: Decimal = Decimal(0)
    entries: int = 0
    counts: dict[str, Decimal] = field(default_factory=lambda: dict.fromkeys(CALLS, Decimal(0)))
    error: float | None = None


@dataclass
class Cell:
    """A model's variant in the month before and in the later one."""

    model: str | None
    variant: str | None
    start: Side = field(default_factory=Side)
    end: Side = field(default_factory=Side)


def cells(
    entries: pl.LazyFrame | pl.DataFrame,
    calls: pl.LazyFrame | pl.DataFrame,
    first: date,
    last: date,
    *,
    where: Mapping[str, str | Sequence[str]],
    metric: str,
    errors: pl.LazyFrame | pl.DataFrame | None = None,
) -> tuple[list[Cell], str]:
    """Bring spend and calls of two months together, per model and variant.

    Parameters
    ----------
    entries, calls : polars.LazyFrame or polars.DataFrame
        The `ledger` contract (``x_Activity`` too, where there is one) and ``REQUEST_MONTHS``.
    first, last : datetime.date
        The month before and the later one.
    where : mapping
        Dimension to a value, several, or ``~pattern``.
    metric : str
        Money column of the entries.
    errors : polars.LazyFrame or polars.DataFrame, optional
        What `finops_lab.unit_economics.bridge_errors.sampling_errors` returned.

    Returns
    -------
    tuple of list of Cell and str
        Sorted, nulls last; and the currency.

    Raises
    ------
    NoDataError
        No entry in either month.
    CurrencyError
        Entries in several currencies.
    InputError
        A missing column, entries without an amount, or a dimension that the frames do not both know.
    """
    picked = {name: (value,) if isinstance(value, str) else tuple(value) for name, value in where.items()}
    if unknown := sorted(set(picked) - set(_WHERE)):
        raise InputError(
            f"entries and calls do not both know {', '.join(unknown)}",
            hint=f"filter by {', '.join(_WHERE)}",
        )
    if metric not in AMOUNTS:
        raise InputError(f"there is no metric {metric!r}", hint=f"one of {', '.join(AMOUNTS)}")
    money = _money(entries, (format_month(first), format_month(last)), picked, metric)
    if money.is_empty():
        raise NoDataError(f"no ledger entries in {format_month(first)} or {format_month(last)}")
    if untold := money["untold"].sum():
        raise InputError(
            f"{untold} of {money['entries'].sum()} ledger entries of {format_month(first)} and "
            f"{format_month(last)} have no {metric}: what is not known cannot be split into causes",
            hint="ask for EffectiveCost or BilledCost, which every entry has",
        )
    currency = one_currency(money["BillingCurrency"])
    assert currency is not None
    counted = _counts(calls, (first, last), picked, CALLS)
    variant = _same_grain(money, counted)
    sums = pl.col("amount", "discount", "entries").sum()
    money = money.with_columns(variant).group_by("model", "variant", "month", "kind").agg(sums)
    counted = _folded(counted, variant, CALLS)
    found: dict[_Key, Cell] = {}
    for model, name, month, kind, amount, discount, number in money.iter_rows():
        cell = found.setdefault((model, name), Cell(model, name))
        side = cell.start if month == format_month(first) else cell.end
        side.money[kind] = amount
        if kind == USE:
            side.discount, side.entries = discount, number
    for model, name, month, *values in counted.iter_rows():
        cell = found.setdefault((model, name), Cell(model, name))
        side = cell.start if month == first else cell.end
        side.counts = {what: Decimal(value or 0) for what, value in zip(CALLS, values, strict=True)}
    if errors is not None:
        off = _counts(errors, (first, last), picked, _ERROR)
        for model, name, month, weighed, variance in _folded(off, variant, _ERROR).iter_rows():
            if weighed > 0 and (known := found.get((model, name))) is not None:
                (known.start if month == first else known.end).error = float(variance) ** 0.5 / float(weighed)
    order = sorted(found, key=lambda key: [(name is None, name or "") for name in key])
    return [found[key] for key in order], currency


def _money(
    entries: pl.LazyFrame | pl.DataFrame,
    months: tuple[str, str],
    where: Mapping[str, tuple[str, ...]],
    metric: str,
) -> pl.DataFrame:
    frame = entries.lazy()
    names = frame.collect_schema().names()
    needed = [*_ENTRY, metric, *(f"x_{name}" for name in where)]
    if missing := [name for name in needed if name not in names]:
        raise InputError(f"a bridge needs ledger entries; missing: {', '.join(missing)}")
    amount = pl.col(metric).cast(MONEY)
    # What a commitment took off what it covered: of a list or contracted price it takes off nothing.
    covered = pl.col("CommitmentDiscountStatus").eq_missing("Used")
    off = pl.lit(0).cast(MONEY)
    if metric in ("EffectiveCost", "BilledCost") and "ContractedCost" in names:
        off = pl.when(covered).then(amount - pl.col("ContractedCost").cast(MONEY)).fill_null(off)
    return (
        frame.filter(
            pl.col("x_ChargeMonth").is_in(months),
            holds({f"x_{name}": values for name, values in where.items()}),
        )
        .select(
            pl.col("x_model").alias("model"),
            pl.col("x_variant").alias("variant"),
            pl.col("x_ChargeMonth").alias("month"),
            "BillingCurrency",
            _kind("x_Activity" in names).alias("kind"),
            amount.alias("amount"),
            off.alias("discount"),
        )
        .group_by("model", "variant", "month", "BillingCurrency", "kind")
        .agg(
            pl.col("amount", "discount").sum(),
            pl.len().cast(pl.Int64).alias("entries"),
            pl.col("amount").null_count().cast(pl.Int64).alias("untold"),
        )
        .collect()
    )


def _kind(active: bool) -> pl.Expr:
    """Return the term that an entry belongs to, or ``use``: the first that holds."""
    category = pl.col("ChargeCategory")
    method = pl.col("x_AllocationMethod")
    kind = (
        pl.when(category == "Credit").then(pl.lit("credits"))
        .when(pl.col("ChargeClass").eq_missing("Correction") | (category == "Adjustment"))
        .then(pl.lit("corrections"))
        .when(category == "Tax").then(pl.lit("tax"))
        .when(pl.col("CommitmentDiscountStatus").eq_missing("Unused") | (category == "Purchase"))
        .then(pl.lit("commitments"))
        .when(method == "idle").then(pl.lit("idle"))
        .when(method == "dark").then(pl.lit("not_measured"))
    )  # fmt: skip
    if active:
        kind = (
            kind.when(pl.col("x_Activity").eq_missing("training")).then(pl.lit("training"))
            .when(pl.col("x_Activity").eq_missing("other")).then(pl.lit("other"))
        )  # fmt: skip
    return kind.when(pl.col("x_model").is_null()).then(pl.lit("not_measured")).otherwise(pl.lit(USE))


def _counts(
    calls: pl.LazyFrame | pl.DataFrame,
    months: tuple[date, date],
    where: Mapping[str, tuple[str, ...]],
    sums: Sequence[str],
) -> pl.DataFrame:
    frame = calls.lazy()
    names = frame.collect_schema().names()
    if missing := [n for n in ("month", "model", "variant", *sums, *where) if n not in names]:
        raise InputError(f"a bridge needs the roll-up of requests by month; missing: {', '.join(missing)}")
    if "team" in where:  # the ledger's word for nobody
        frame = frame.with_columns(pl.col("team").fill_null(UNALLOCATED))
    return (
        frame.filter(pl.col("month").is_in(months), holds(where))
        .group_by("model", "variant", "month")
        .agg(pl.col(*sums).sum())
        .collect()
    )


def _folded(frame: pl.DataFrame, variant: pl.Expr, sums: Sequence[str]) -> pl.DataFrame:
    return frame.with_columns(variant).group_by("model", "variant", "month").agg(pl.col(*sums).sum())


def _same_grain(money: pl.DataFrame, counted: pl.DataFrame) -> pl.Expr:
    """Return the variant, none of models whose variants only the bill, or only telemetry, knows."""
    used = money.filter(pl.col("kind") == USE)
    finest = [
        frame.group_by("model").agg(pl.col("variant").is_not_null().any().alias(side))
        for side, frame in (("billed", used), ("counted", counted))
    ]
    both = finest[0].join(finest[1], on="model")
    apart = both.filter(pl.col("billed") != pl.col("counted"))["model"].to_list()
    return pl.when(~pl.col("model").is_in(apart).fill_null(False)).then(pl.col("variant")).alias("variant")
