"""What tokens of a direction weigh beside each other: from prices, or by default."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction

import polars as pl

from finops_lab.calendar import add_months
from finops_lab.errors import InputError
from finops_lab.money import MONEY

__all__ = ["DEFAULT_WEIGHTS", "WEIGHTS", "price_weights", "read_weights"]

# Uncached input, cache read, cache write, output. Output costs about four times the input, cached
# input a tenth of it: the weights that splits of shared costs take by default as well.
DEFAULT_WEIGHTS = (Decimal(1), Decimal("0.1"), Decimal(1), Decimal(4))
_BUCKETS = ("input", "cache_read", "cache_write", "output")
WEIGHTS: dict[str, pl.DataType | type[pl.DataType]] = {
    "model": pl.String,
    "variant": pl.String,
    **dict.fromkeys(_BUCKETS, MONEY),
}


def price_weights(prices: pl.LazyFrame | pl.DataFrame, month: date) -> pl.DataFrame:
    """Take the weights of models' tokens from the prices in force at the end of a month.

    Parameters
    ----------
    prices : polars.LazyFrame or polars.DataFrame
        Rows of the `prices` contract, such as a price book.
    month : datetime.date
        First day of the month before: with its prices as weights the price term of the bridge is
        tokens of the later month x change of their prices.

    Returns
    -------
    polars.DataFrame
        `WEIGHTS`, sorted by model; `variant` is null, which holds for all variants. Standard
        prices without tier and time of day; of several sellers the first by name. Models without a
        price of input or output are left out, which leaves them the default. Cached input without
        a price of its own costs what input does.

    Examples
    --------
    >>> from datetime import date
    >>> rows = [("m", "input_mtok", Decimal(3)), ("m", "output_mtok", Decimal(15))]
    >>> prices = pl.DataFrame(rows, schema=["model", "unit", "rate_usd_per_unit"], orient="row").with_columns(
    ...     pl.lit("standard").alias("context"), pl.lit(0).alias("tier_above_tokens"),
    ...     *[pl.lit(None, pl.String).alias(n) for n in ("provider", "tod_start")],
    ...     *[pl.lit(None, pl.Datetime("us", "UTC")).alias(n) for n in ("valid_from", "valid_to")])
    >>> price_weights(prices, date(2026, 8, 1)).select("input", "cache_read", "output").cast(pl.Int64).rows()
    [(3, 3, 15)]
    """
    moment = datetime.combine(add_months(month, 1), time(), UTC) - timedelta(microseconds=1)
    units = {f"{bucket}_mtok": bucket for bucket in _BUCKETS}
    found = (
        prices.lazy()
        .filter(
            pl.col("unit").is_in(list(units)),
            pl.col("context") == "standard",
            pl.col("tier_above_tokens") == 0,
            pl.col("tod_start").is_null(),
            pl.col("valid_from").is_null() | (pl.col("valid_from") <= moment),
            pl.col("valid_to").is_null() | (pl.col("valid_to") > moment),
        )
        .sort("model", "provider", "valid_from", "rate_usd_per_unit", descending=[False, False, True, False])
        .select("model", "provider", "unit", pl.col("rate_usd_per_unit").cast(MONEY))
        .collect()
    )
    sellers: dict[str, dict[str | None, dict[str, Decimal]]] = {}
    for model, provider, unit, rate in found.iter_rows():
        sellers.setdefault(model, {}).setdefault(provider, {}).setdefault(units[unit], rate)
    rows = []
    for model, offers in sellers.items():
        whole = next((o for o in offers.values() if o.get("input") and "output" in o), None)
        if whole is not None:
            plain = whole["input"]
            rows.append(
                (
                    model,
                    None,
                    plain,
                    *(whole.get(name, plain) for name in ("cache_read", "cache_write")),
                    whole["output"],
                )
            )
    return pl.DataFrame(rows, schema=WEIGHTS, orient="row").sort("model")


def read_weights(
    weights: pl.LazyFrame | pl.DataFrame | None,
) -> Mapping[tuple[str | None, str | None], tuple[Fraction, ...]]:
    """Return the weights per model and variant; variant None holds where the variant has none.

    Raises
    ------
    InputError
        A column is missing, a weight is unknown or negative, all are zero, or a model stands twice.
    """
    if weights is None:
        return {}
    frame = weights.lazy().collect()
    if "variant" not in frame.columns:
        frame = frame.with_columns(pl.lit(None, pl.String).alias("variant"))
    if missing := [name for name in WEIGHTS if name not in frame.columns]:
        raise InputError(f"weights need the columns {', '.join(WEIGHTS)}; missing: {', '.join(missing)}")
    found: dict[tuple[str | None, str | None], tuple[Fraction, ...]] = {}
    for number, (model, variant, *values) in enumerate(frame.select(list(WEIGHTS)).iter_rows(), 1):
        if any(value is None or value < 0 for value in values) or not any(values):
            raise InputError("weights must be known, not negative, and not all zero", row=number)
        if (model, variant) in found:
            raise InputError(f"model {model!r} has weights twice", row=number, column="model")
        found[model, variant] = tuple(Fraction(value) for value in values)
    return found
