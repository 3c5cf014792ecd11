"""What tokens of a model will cost month by month, as far as the price book knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal

import polars as pl

from finops_lab.contracts import dtypes
from finops_lab.money import SCALE
from finops_lab.pricing.cards import Book, Row, in_force, index, microseconds

__all__ = ["TokenRates", "indexed", "rates_ahead"]

_NOON = time(12, tzinfo=UTC)
# Tokens without a price of their own cost what the wider unit costs, as in `price`.
_UNITS = {
    "input": ("input_mtok",),
    "cached_input": ("cache_read_mtok", "input_mtok"),
    "cache_write": ("cache_write_mtok", "input_mtok"),
    "output": ("output_mtok",),
}


@dataclass(frozen=True)
class TokenRates:
    """Prices of a model in USD: of a million tokens, and of a call.

    Attributes
    ----------
    input, cached_input, cache_write, output : Decimal
        USD per million tokens.
    call : Decimal
        USD per call, on top of its tokens.
    context : str
        The service tier whose prices these are; ``standard`` where the book has none of the tier asked for.
    origin : str
        Where they are from.
    """

    input: Decimal
    cached_input: Decimal
    cache_write: Decimal
    output: Decimal
    call: Decimal
    context: str
    origin: str


def indexed(book: pl.LazyFrame) -> Book:
    """Index a price book once, for many calls of `rates_ahead`."""
    return index(book.select(list(dtypes("prices"))).collect())


def rates_ahead(
    book: Book,
    provider: str | None,
    model: str,
    months: Sequence[date],
    *,
    context: str = "standard",
    input_tokens: int = 0,
) -> list[TokenRates] | str:
    """Look up the prices that hold on the first of each month, at noon UTC.

    Of several prices the one that `finops_lab.pricing.price` would take is taken; a price that is known
    to begin or end later does so.

    Parameters
    ----------
    book : Book
        From `indexed`.
    provider, model : str
        As requests would name them.
    months : sequence of datetime.date
        First days of months.
    context : str
        Service tier, such as ``batch``.
    input_tokens : int
        Input of a call: tiers go by it.

    Returns
    -------
    list of TokenRates, or str
        One per month; or why there is no price.

    Examples
    --------
    >>> from finops_lab.pricing import price_book
    >>> found = rates_ahead(indexed(price_book()), "openai", "gpt-4o-mini", [date(2026, 11, 1)])
    >>> found[0].output.normalize(), found[0].cached_input.normalize()
    (Decimal('0.6'), Decimal('0.075'))
    >>> rates_ahead(indexed(price_book()), None, "no-such-model", [date(2026, 11, 1)])
    'no price for the model'
    """
    candidates = book.candidates(provider, [model])
    if not candidates:
        return "no price for the model"
    asked, second = context.strip().lower(), 12 * 3600
    found = []
    for month in months:
        moment = microseconds(datetime.combine(month, _NOON))
        held = {
            unit: _tier(tiers, input_tokens)
            for unit, tiers in in_force(candidates, asked, moment, second).items()
        }
        rates: dict[str, Row] = {}
        for name, units in _UNITS.items():
            row = next((row for unit in units if (row := held.get(unit)) is not None), None)
            if row is None:
                return f"no price for {units[-1]} in {month:%Y-%m}"
            rates[name] = row
        call = held.get("requests_kcount")
        used = [*rates.values(), *([call] if call else [])]
        found.append(
            TokenRates(
                **{name: _usd(row.rate) for name, row in rates.items()},
                call=_usd(call.rate, 3) if call else Decimal(0),
                context=asked if any(row.context == asked for row in used) else "standard",
                origin=", ".join(sorted({row.origin for row in used})),
            )
        )
    return found


def _tier(tiers: Sequence[Row], size: int) -> Row | None:
    """Return the tier of a call with so much input: it must be above the tier's start."""
    return next((row for row in reversed(tiers) if row.above < max(size, 1)), None)


def _usd(rate: int, less: int = 0) -> Decimal:
    return Decimal(rate).scaleb(-SCALE - less)
