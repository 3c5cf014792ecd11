"""Token lines of a bill: which they are, of what, how many, at which price."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

import polars as pl

from finops_lab.errors import CurrencyError, InputError
from finops_lab.money import one_currency
from finops_lab.reconciliation._names import model_key, provider_key, tier_key

__all__ = ["Billed", "Line", "billed", "token_line"]

_NEEDED = (
    "BillingCurrency",
    "ProviderName",
    "ChargePeriodStart",
    "ChargePeriodEnd",
    "ChargeCategory",
    "ChargeClass",
    "x_ModelId",
    "x_TokenDirection",
    "x_TokenCacheAction",
    "SkuId",
    "SkuMeter",
    "SkuPriceDetails",
    "PricingQuantity",
    "PricingUnit",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ListUnitPrice",
    "ContractedUnitPrice",
)
_TOKENS = re.compile(r"([\d,]*)\s*(k|m|thousand|million)?\s*tokens?", re.IGNORECASE)
_BLOCKS = {"k": 10**3, "thousand": 10**3, "m": 10**6, "million": 10**6}
_TIERS = r"(?i)(?:^|[^a-z])(batch|flex|priority)(?:[^a-z]|$)"
# Bills made with binary floats carry noise behind this decimal.
_FINEST = 9


class Line(NamedTuple):
    """Charges of the bill that are alike.

    ``tokens`` is None where the bill has no count, ``unit_price`` (USD a token) where it states no
    price. ``as_rounded`` says that each charge is its tokens times its price but for rounding.
    ``usage`` is false for credits, taxes, purchases and corrections.
    """

    provider: str
    model: str
    day: date
    until: date | None
    direction: str | None
    cache: str | None
    tier: str | None
    tokens: Fraction | None
    unit_price: Fraction | None
    amount: Fraction
    rows: int
    as_rounded: bool
    usage: bool


class Billed(NamedTuple):
    """The bill's token lines and the smallest amount that each provider writes."""

    lines: list[Line]
    names: dict[tuple[str, str], list[tuple[str | None, str]]]
    steps: dict[str, Fraction]
    currency: str | None


def billed(costs: pl.LazyFrame, metric: str, first: date | None, last: date | None) -> Billed:
    """Read the token lines off a bill."""
    lines = _lines(costs, metric, first, last)
    about = lines.select(
        pl.col("BillingCurrency").unique().sort().implode().alias("currencies"),
        pl.col("_amount").null_count().alias("unknown"),
        pl.col("PricingUnit").unique().sort().implode().alias("pricing"),
        pl.col("ConsumedUnit").unique().sort().implode().alias("consumed"),
        pl.len().alias("rows"),
    ).collect()
    currency = one_currency(about["currencies"][0].to_list())
    if currency not in (None, "USD"):
        raise CurrencyError(
            f"prices of tokens are in USD, the bill is in {currency}",
            hint="add [[rates]] to USD to finops.toml, and ask fl.reconcile(lab, month)",
        )
    if about["unknown"][0]:
        raise InputError(f"{metric} is unknown on {about['unknown'][0]} token lines", column=metric)
    units = {
        unit: block(unit) for name in ("pricing", "consumed") for unit in about[name][0].to_list() if unit
    }
    blocks = {unit: size for unit, size in units.items() if size}
    lines = lines.with_columns(
        _block("PricingUnit", blocks).alias("_priced_in"), _block("ConsumedUnit", blocks).alias("_counted_in")
    )
    steps = _steps(lines)
    found, names = _read(_grouped(lines, steps).collect(engine="streaming"))
    coarsest: dict[str, Fraction] = {}
    for name, step in steps.items():
        coarsest[provider_key(name)] = max(step, coarsest.get(provider_key(name), step))
    return Billed(found, names, coarsest, currency)


def token_line(known: list[str]) -> tuple[pl.Expr, dict[str, pl.Expr]]:
    """Return what says that a charge is for tokens, and how to read of which."""
    details = {
        name: pl.col("SkuPriceDetails").str.json_path_match(f"$.{name}")
        for name in ("ModelId", "TokenDirection", "TokenCacheAction", "ServiceTier")
    }
    way = details["TokenDirection"].str.to_titlecase()
    own = pl.col("x_TokenDirection").is_not_null() | pl.col("x_ModelId").is_not_null()
    told = way.is_in(["Input", "Output"]).fill_null(False)
    said = pl.concat_str(
        [pl.col("SkuMeter"), pl.col("SkuId")], separator=" ", ignore_nulls=True
    ).str.to_lowercase()
    cached = said.str.contains("cache") & ~said.str.contains(r"un-?cached|non-?cached|not cached")
    # A bill that only its price details tell apart may name the cache in the meter alone.
    inferred = (
        pl.when(own | (way != "Input") | ~cached)
        .then(None)
        .when(said.str.contains("writ|creat"))
        .then(pl.lit("Write"))
        .otherwise(pl.lit("Read"))
    )
    tier = [pl.col("x_ServiceTier").cast(pl.String)] if "x_ServiceTier" in known else []
    return own | told, {
        "_model": pl.coalesce("x_ModelId", details["ModelId"]),
        "_direction": pl.coalesce("x_TokenDirection", pl.when(told).then(way)),
        "_cache": pl.coalesce("x_TokenCacheAction", details["TokenCacheAction"].str.to_titlecase(), inferred),
        "_tier": pl.coalesce(*tier, details["ServiceTier"], said.str.extract(_TIERS)),
    }


def _lines(costs: pl.LazyFrame, metric: str, first: date | None, last: date | None) -> pl.LazyFrame:
    known = costs.collect_schema().names()
    missing = sorted({*_NEEDED, metric} - set(known))
    if missing:
        raise InputError(f"costs lack the columns {', '.join(missing)}", hint="see the contract costs")
    wanted, read = token_line(known)
    day = pl.col("ChargePeriodStart").dt.date()
    rows = costs.filter(wanted)
    if first is not None and last is not None:
        rows = rows.filter(day.is_between(first, last))
    length = pl.col("ChargePeriodEnd") - pl.col("ChargePeriodStart")
    until = pl.when(length > pl.duration(days=1)).then(
        (pl.col("ChargePeriodEnd") - pl.duration(microseconds=1)).dt.date()
    )
    price = (
        pl.col("ListUnitPrice")
        if metric == "ListCost"
        else pl.coalesce("ContractedUnitPrice", "ListUnitPrice")
    )
    usage = (pl.col("ChargeCategory") == "Usage") & pl.col("ChargeClass").is_null()
    return rows.with_columns(
        *(expr.alias(name) for name, expr in read.items()),
        day.alias("_day"),
        until.alias("_until"),
        price.alias("_price"),
        usage.alias("_usage"),
        pl.col(metric).alias("_amount"),
    )


def block(unit: str) -> int | None:
    """Return how many tokens a unit holds; None where it is no unit of tokens.

    Examples
    --------
    >>> [block(unit) for unit in ("Tokens", "1000000 Tokens", "1K tokens", "Hours")]
    [1, 1000000, 1000, None]
    """
    found = _TOKENS.fullmatch(unit.strip())
    if found is None:
        return None
    number = int((found[1] or "1").replace(",", "") or 1)
    return number * _BLOCKS.get((found[2] or "").lower(), 1) or None


def _block(column: str, blocks: dict[str, int]) -> pl.Expr:
    if not blocks:
        return pl.lit(None, dtype=pl.Int64)
    return pl.col(column).replace_strict(blocks, default=None, return_dtype=pl.Int64)


def _steps(lines: pl.LazyFrame) -> dict[str, Fraction]:
    """Return the smallest step of each provider's amounts: a unit of the last decimal that any has."""
    places = range(2, _FINEST)
    fits = [(pl.col("_amount").round(n) == pl.col("_amount")).all().alias(str(n)) for n in places]
    found = lines.filter(pl.col("_usage")).group_by("ProviderName").agg(*fits).collect()
    return {
        row["ProviderName"]: Fraction(1, 10 ** next((n for n in places if row[str(n)]), _FINEST))
        for row in found.iter_rows(named=True)
    }


def _grouped(lines: pl.LazyFrame, steps: dict[str, Fraction]) -> pl.LazyFrame:
    counted = pl.col("ConsumedQuantity").is_not_null() & pl.col("_counted_in").is_not_null()
    sold = pl.col("PricingQuantity").is_not_null() & pl.col("_priced_in").is_not_null()
    quantity = pl.when(counted).then("ConsumedQuantity").when(sold).then("PricingQuantity")
    times = pl.when(counted).then("_counted_in").when(sold).then("_priced_in")
    price = pl.when(pl.col("_priced_in").is_not_null()).then("_price")
    tolerance = {name: float(step) for name, step in steps.items()}
    step = (
        pl.col("ProviderName").replace_strict(tolerance, default=None, return_dtype=pl.Float64)
        if tolerance
        else pl.lit(None, dtype=pl.Float64)
    )
    lines = lines.with_columns(quantity.alias("_quantity"), times.alias("_times"), price.alias("_price"))
    # Which charges are rounded is judged in floats, charge by charge; how much it comes to is exact.
    reckoned = (
        pl.col("_quantity").cast(pl.Float64)
        * pl.col("_times")
        * pl.col("_price").cast(pl.Float64)
        / pl.col("_priced_in")
    )
    near = (pl.col("_amount").cast(pl.Float64) - reckoned).abs() < step * (1 - 1e-6)
    keys = ["ProviderName", "_model", "_day", "_until", "_direction", "_cache", "_tier", "_usage"]
    keys += ["_times", "_price", "_priced_in", "_near"]
    return (
        lines.with_columns(near.fill_null(False).alias("_near"))
        .group_by(keys)
        .agg(pl.col("_quantity").sum(), pl.col("_amount").sum(), pl.len().cast(pl.Int64).alias("_rows"))
        .sort(keys, nulls_last=True)
    )


def _read(rows: pl.DataFrame) -> tuple[list[Line], dict[tuple[str, str], list[tuple[str | None, str]]]]:
    lines: list[Line] = []
    names: dict[tuple[str, str], set[tuple[str | None, str]]] = {}
    for row in rows.iter_rows(named=True):
        provider = provider_key(row["ProviderName"])
        model = model_key(provider, row["_model"])
        names.setdefault((provider, model), set()).add((row["ProviderName"], row["_model"] or ""))
        counted, priced = row["_times"] is not None, row["_price"] is not None
        lines.append(
            Line(
                provider,
                model,
                row["_day"],
                row["_until"],
                row["_direction"],
                row["_cache"],
                None if row["_tier"] is None else tier_key(row["_tier"]),
                _fraction(row["_quantity"]) * row["_times"] if counted else None,
                _fraction(row["_price"]) / row["_priced_in"] if priced else None,
                _fraction(row["_amount"]),
                row["_rows"],
                row["_near"],
                row["_usage"],
            )
        )
    return lines, {key: sorted(found, key=str) for key, found in names.items()}


def _fraction(amount: Decimal) -> Fraction:
    return Fraction(amount)
