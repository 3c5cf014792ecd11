"""Two price books side by side: what only one of them knows, and where they differ."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import polars as pl

from finops_lab.contracts import dtypes
from finops_lab.errors import InputError
from finops_lab.money import MONEY
from finops_lab.pricing.cards import Book, Candidate, Row, in_force, index, microseconds
from finops_lab.pricing.names import provider_id

__all__ = ["conflicts"]

_FOUND = {
    "provider": pl.String,
    "model": pl.String,
    "context": pl.String,
    "unit": pl.String,
    "tier_above_tokens": pl.Int64,
    "rate_a": pl.Int128,
    "rate_b": pl.Int128,
    "status": pl.String,
}


def conflicts(a: pl.LazyFrame, b: pl.LazyFrame, *, at: datetime) -> pl.DataFrame:
    """Compare two price books at a moment.

    Every name of a model in either book is looked up in both as `price` would look it up, so
    ``mistral-large-latest`` of one meets ``mistral-large`` of the other. A context is compared where
    a book names it, without falling back on its standard price.

    Parameters
    ----------
    a, b : polars.LazyFrame
        ``prices``, such as from `price_book` and `from_litellm`.
    at : datetime.datetime
        The moment, with its time zone: prices change by date and by hour.

    Returns
    -------
    polars.DataFrame
        ``provider``, ``model``, ``context``, ``unit``, ``tier_above_tokens``, ``rate_a``,
        ``rate_b`` (USD per unit) and ``status``: ``same``, ``differs``, ``only in a``,
        ``only in b``. Sorted by the first five.
    """
    if at.tzinfo is None:
        raise InputError("the moment has no time zone", hint="add tzinfo=timezone.utc")
    names = list(dtypes("prices"))
    books = [index(book.select(names).collect()) for book in (a, b)]
    moment = microseconds(at)
    asked = sorted({(provider_id(p) if p else "", model) for book in books for p, model in book.rows})
    rows = [
        (provider or None, model, *row)
        for provider, model in asked
        for row in _compared(books, provider or None, model, moment)
    ]
    rates = pl.col("rate_a", "rate_b").reinterpret(dtype=MONEY)
    return pl.DataFrame(rows, schema=_FOUND, orient="row").with_columns(rates).sort(list(_FOUND)[:5])


def _compared(
    books: list[Book], provider: str | None, model: str, moment: int
) -> Iterator[tuple[str, str, int, int | None, int | None, str]]:
    found = [book.candidates(provider, [model]) for book in books]
    for context in sorted({row.context for several in found for _, row in several}):
        held = [_held(several, context, moment) for several in found]
        for unit in sorted({*held[0], *held[1]}):
            tiers = [side.get(unit, []) for side in held]
            for above in sorted({row.above for side in tiers for row in side}):
                one, other = (_rate(side, above) for side in tiers)
                status = "same" if one == other else "differs"
                status = "only in b" if one is None else "only in a" if other is None else status
                yield context, unit, above, one, other, status


def _held(candidates: list[Candidate], context: str, moment: int) -> dict[str, list[Row]]:
    own = [candidate for candidate in candidates if candidate.row.context == context]
    return in_force(own, context, moment, moment // 1_000_000 % 86_400)


def _rate(tiers: list[Row], above: int) -> int | None:
    return next((row.rate for row in reversed(tiers) if row.above <= above), None)
