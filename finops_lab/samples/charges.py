"""Charges before they are spelled as FOCUS: exact integers, one frame for all providers.

Prices are integers of 0.0001, quantities of 0.000001, so that price x quantity is an integer of
0.0000000001 of the currency: every product below is exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal

import numpy as np
import polars as pl

from finops_lab.calendar import add_months
from finops_lab.samples.seeds import Days, Ints

__all__ = ["CHARGE", "concat", "decimal", "decimal_text", "lump", "priced", "usage"]

_TEXTS = (
    "provider", "category", "charge_class", "description", "frequency", "service_category",
    "service_subcategory", "service", "account", "region", "resource_id", "resource_name",
    "resource_type", "sku", "sku_price", "meter", "pricing_category", "unit", "consumed_unit",
    "price_details", "commitment", "commitment_status", "team", "feature", "model", "variant",
    "environment", "product", "customer", "plant",
)  # fmt: skip
_INTS = ("quantity6", "consumed6", "list4", "contracted4")
_COSTS = ("list10", "contracted10", "billed10", "effective10")
CHARGE: dict[str, pl.DataType] = {
    "start": pl.Date(),
    "end": pl.Date(),
    "billing_month": pl.Date(),
    **dict.fromkeys(_INTS, pl.Int64()),
    **dict.fromkeys(_COSTS, pl.Int64()),
    "plant10": pl.Int64(),
    **dict.fromkeys(_TEXTS, pl.String()),
}


def usage(
    axis: Days,
    quantity6: Ints,
    prices: tuple[int, int],
    texts: Mapping[str, str | None],
    *,
    extra6: Ints | None = None,
    plant: str | None = None,
    per: int = 1,
) -> pl.DataFrame:
    """Return one usage charge a day for one SKU; days without quantity have none.

    Parameters
    ----------
    axis, quantity6 : array
        Days and the priced quantity in millionths, `extra6` included.
    prices : (int, int)
        List and contracted unit price in units of 0.0001.
    texts : mapping
        Constant columns.
    extra6 : array, optional
        The planted part of the quantity; its contracted cost is kept in ``plant10``.
    per : int
        Consumed units in one priced unit (1,000,000 for "1000000 Tokens").
    """
    on = quantity6 > 0
    quantity = quantity6[on]
    planted = extra6[on] * prices[1] if extra6 is not None else np.zeros(len(quantity), dtype=np.int64)
    constants: dict[str, str | None] = {"pricing_category": "Standard", **texts}
    return priced(
        pl.DataFrame({"start": axis[on], "quantity6": quantity}).with_columns(
            pl.col("start").cast(pl.Date),
            pl.lit(prices[0], pl.Int64).alias("list4"),
            pl.lit(prices[1], pl.Int64).alias("contracted4"),
            pl.Series("plant10", planted),
            pl.Series("plant", np.where(planted > 0, plant or "", ""), dtype=pl.String).replace("", None),
            *[pl.lit(value, pl.String).alias(name) for name, value in constants.items()],
        ),
        per=per,
    )


def priced(frame: pl.DataFrame, *, per: int = 1) -> pl.DataFrame:
    """Complete usage charges of one day each, from quantities and unit prices.

    Parameters
    ----------
    frame : polars.DataFrame
        ``start`` (Date), ``quantity6``, ``list4``, ``contracted4`` (Int64) and any text columns.
    per : int
        Consumed units in one priced unit.
    """
    return _complete(
        frame.with_columns(
            pl.lit("Usage").alias("category"),
            pl.lit("Usage-Based").alias("frequency"),
            (pl.col("start") + pl.duration(days=1)).alias("end"),
            pl.col("start").dt.truncate("1mo").alias("billing_month"),
            (pl.col("quantity6") * per).alias("consumed6"),
            (pl.col("quantity6") * pl.col("list4")).alias("list10"),
            *[(pl.col("quantity6") * pl.col("contracted4")).alias(name) for name in _COSTS[1:]],
        )
    )


def lump(month: date, amount10: int, *, effective10: int | None = None, **texts: str | None) -> pl.DataFrame:
    """Return one charge for a whole month that has no unit price: tax, credit, fee, purchase."""
    constants: dict[str, str | None] = {"frequency": "Recurring", **texts}
    frame = pl.DataFrame({"start": [month], "end": [add_months(month, 1)], "billing_month": [month]})
    return _complete(
        frame.with_columns(
            *[pl.lit(amount10, pl.Int64).alias(name) for name in _COSTS[:3]],
            pl.lit(amount10 if effective10 is None else effective10, pl.Int64).alias("effective10"),
            *[pl.lit(value, pl.String).alias(name) for name, value in constants.items()],
        )
    )


def _complete(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(
        pl.col(name).cast(dtype) if name in frame.columns else pl.lit(None, dtype).alias(name)
        for name, dtype in CHARGE.items()
    )


def concat(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """Stack charges; no frames give no rows."""
    return pl.concat([pl.DataFrame(schema=CHARGE), *frames])


def decimal_text(units: pl.Expr, digits: int) -> pl.Expr:
    """Write integers of 10^-digits as plain decimals without trailing zeros.

    Examples
    --------
    >>> pl.select(decimal_text(pl.lit(pl.Series([-1_050, 20_000, None])), 4)).to_series().to_list()
    ['-0.105', '2', None]
    """
    whole = units.abs() // 10**digits
    fraction = (units.abs() % 10**digits).cast(pl.String).str.zfill(digits)
    text = pl.format("{}.{}", whole, fraction).str.strip_chars_end("0").str.strip_chars_end(".")
    return pl.when(units < 0).then(pl.format("-{}", text)).otherwise(text)


def decimal(units: int, digits: int = 10) -> str:
    """Write one integer of 10^-digits as a plain decimal.

    Examples
    --------
    >>> decimal(-15_000_000_000)
    '-1.5'
    """
    value = Decimal(units).scaleb(-digits)
    text = format(value, "f")
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"
