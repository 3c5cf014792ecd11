"""The dated price book: the built-in list and the prices of one's own."""

from __future__ import annotations

from difflib import get_close_matches

import polars as pl

from finops_lab.contracts import dtypes, reasons
from finops_lab.errors import InputError
from finops_lab.pricing.cards import index
from finops_lab.pricing.genai import builtin, units

__all__ = ["price_book"]

_NEEDED = ("model", "unit", "rate_usd_per_unit")
_OWN_UNITS = frozenset({"gpu_hour"})


def price_book(overrides: pl.LazyFrame | None = None) -> pl.LazyFrame:
    """Return the built-in price list, with prices of one's own on top.

    The built-in list is the snapshot that ships with genai-prices (about 50 providers): USD per unit
    from their dates on, with tiers, times of day and variants (``batch``, ``flex``,
    ``priority``, ``fast``, others as ``key=value``). Its history is shallow: a price without
    ``valid_from`` is the oldest known, and variants begin on the day they were recorded, so that
    older batch requests meet the standard price.

    Both stand in the book, and `price` picks, for each unit at a request's moment: rows of the
    request's context before ``standard`` ones; then one's own before ``billing``, the built-in list
    and LiteLLM's; then the provider and model as written before matched names; then the latest
    ``valid_from``; then rows limited to a time of day. So a negotiated price takes the place of the
    listed one for its provider, model, unit and context from its ``valid_from`` until before its
    ``valid_to``, with all tiers of the listed one; before and after, and for other units and
    contexts, the list holds. Rows alike but for ``tier_above_tokens`` are the tiers of one price: a
    price with tiers needs one from 0. Without a ``provider`` a row holds for the model at any.

    Parameters
    ----------
    overrides : polars.LazyFrame, optional
        Columns of the ``prices`` contract; needed are ``model``, ``unit`` and
        ``rate_usd_per_unit`` (Decimal or whole numbers: floats are refused). ``origin`` becomes
        ``user``, a missing ``context`` ``standard``, a missing tier 0. They are read at once.

    Returns
    -------
    polars.LazyFrame
        The ``prices`` contract.

    Raises
    ------
    InputError
        When a row breaks the contract, names an unknown unit, or contradicts another.
    """
    listed = builtin().lazy()
    return listed if overrides is None else pl.concat([listed, _own(overrides).lazy()])


def _own(overrides: pl.LazyFrame) -> pl.DataFrame:
    schema = overrides.collect_schema()
    missing = [name for name in _NEEDED if name not in schema]
    if missing:
        raise InputError(
            f"prices lack the columns {', '.join(missing)}", hint=f"needed are {', '.join(_NEEDED)}"
        )
    kind = schema["rate_usd_per_unit"]
    if not (kind.is_decimal() or kind.is_integer()):
        raise InputError(
            f"rate_usd_per_unit is {kind}, not exact", hint="cast it from text to Decimal(38, 18)"
        )
    wanted = dtypes("prices")
    columns = {
        name: (pl.col(name) if name in schema else pl.lit(None)).cast(dtype) for name, dtype in wanted.items()
    }
    columns["context"] = columns["context"].fill_null("standard")
    columns["tier_above_tokens"] = columns["tier_above_tokens"].fill_null(0)
    columns["origin"] = pl.lit("user")
    own = overrides.select(**columns).collect()
    broken = own.select(reasons("prices").alias("reasons"))["reasons"]
    for number, said in enumerate(broken, 1):
        if said is not None:
            raise InputError(str(said[0]), row=number, hint="see the contract of the table prices")
    known = units() | _OWN_UNITS
    for number, unit in enumerate(own["unit"], 1):
        if unit not in known:
            near = get_close_matches(unit, sorted(known), n=1)
            raise InputError(
                f"unknown unit {unit!r}",
                row=number,
                column="unit",
                hint=f"did you mean {near[0]}?" if near else None,
            )
    index(own)
    return own
