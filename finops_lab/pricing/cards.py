"""Which price holds: rows of a price book looked up by name, context and moment.

Of the rows that could price a unit of a request, those that hold are, in this order: of the model
served, else of the model asked for; of the request's own context, else ``standard``; of the origin
named first in the contract (``user``, ``billing``, ``genai_prices``, ``litellm``); of the
provider and name as written, else matched; with the latest ``valid_from``; with a time of day. Rows
alike in all of this are the tiers of one price.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import NamedTuple

import polars as pl

from finops_lab.contracts.pricing import ORIGINS
from finops_lab.errors import InputError
from finops_lab.pricing.names import match, provider_id

SINCE_EVER = -(2**62)
FOR_EVER = 2**62
OWN = frozenset({"user", "billing"})
# 10 million USD a unit: with what `price` allows a row to count, sums stay within 128 bits.
MAX_RATE = 10**7
_NEEDED = ("provider", "model", "unit", "tier_above_tokens", "context", "valid_from", "origin")


class Row(NamedTuple):
    """A row of the book: rates in 1e-18 USD, moments in microseconds, times of day in seconds."""

    provider: str
    unit: str
    above: int
    context: str
    tod: tuple[int, int] | None
    start: int
    end: int
    rate: int
    origin: str


class Candidate(NamedTuple):
    """A row that could price a request, and how near its name is to the request's."""

    nearness: int
    row: Row


@dataclass(frozen=True)
class Book:
    """A price book as an index of names."""

    rows: Mapping[tuple[str | None, str], Sequence[Row]]

    @cached_property
    def canonical(self) -> Mapping[tuple[str, str], Sequence[Row]]:
        """The same rows under the built-in list's names of providers."""
        found: dict[tuple[str, str], list[Row]] = {}
        for (provider, model), rows in self.rows.items():
            if provider is not None:
                found.setdefault((provider_id(provider), model), []).extend(rows)
        return found

    def candidates(
        self, provider: str | None, names: Iterable[str | None], *, self_hosted: bool = False
    ) -> list[Candidate]:
        """Return the rows for the first of some names that the book knows."""
        for name in names:
            found = list(self._named(provider, name)) if name else []
            if self_hosted:
                # List prices of vendors say nothing about a model that runs on one's own machines.
                found = [candidate for candidate in found if candidate.row.origin in OWN]
            if found:
                return found
        return []

    def _named(self, provider: str | None, name: str) -> Iterator[Candidate]:
        model, said = name.lower(), provider.strip().lower() if provider else None
        found = match(said, model)
        if said is not None:
            for row in self.rows.get((said, model), ()):
                if found is None or row.origin != "genai_prices":
                    yield Candidate(0, row)
            for row in self.canonical.get((provider_id(said), model), ()):
                if found is None or row.origin != "genai_prices":
                    yield Candidate(1, row)
        yield from (Candidate(2, row) for row in self.rows.get((None, model), ()))
        if found is None:
            return
        # The built-in list is entered by its own matching alone, so that it picks as genai-prices does.
        for row in self.canonical.get((found.provider, found.model.lower()), ()):
            # Of another vendor's prices, fallen back on, genai-prices takes the standard ones; and what
            # was agreed with that vendor binds this provider to nothing.
            if found.own or (row.origin == "genai_prices" and row.context == "standard"):
                yield Candidate(3, row)
        if said is not None and not found.own:
            for row in self.canonical.get((provider_id(said), found.model.lower()), ()):
                if row.origin != "genai_prices":
                    yield Candidate(3, row)


def index(book: pl.DataFrame) -> Book:
    """Index a price book by name.

    Raises
    ------
    InputError
        A rate below 0 or above ten million USD, or two rates for the same thing.
    """
    wrong = book.filter((pl.col("rate_usd_per_unit") < 0) | (pl.col("rate_usd_per_unit") > MAX_RATE))
    if wrong.height:
        raise InputError(f"a price of {wrong['rate_usd_per_unit'][0]} USD for {_said(wrong)} cannot be right")
    key = [*_NEEDED, "tod_start", "tod_end"]
    twice = book.group_by(key).agg(pl.col("rate_usd_per_unit").n_unique()).sort(key)
    twice = twice.filter(pl.col("rate_usd_per_unit") > 1)
    if twice.height:
        raise InputError(
            f"two prices for {_said(twice)} from the same moment on",
            hint="keep one, or give the newer one its valid_from",
        )
    rows: dict[tuple[str | None, str], list[Row]] = {}
    for provider, model, *values, start, end, rate, origin in book.select(
        pl.col("provider", "model").str.to_lowercase(),
        "unit",
        "tier_above_tokens",
        "context",
        _seconds("tod_start"),
        _seconds("tod_end"),
        pl.col("valid_from").dt.epoch("us").fill_null(SINCE_EVER),
        pl.col("valid_to").dt.epoch("us").fill_null(FOR_EVER),
        pl.col("rate_usd_per_unit").to_physical(),
        "origin",
    ).iter_rows():
        unit, above, context, tod_start, tod_end = values
        tod = None if tod_start is None and tod_end is None else (tod_start or 0, tod_end or 0)
        row = Row(provider or "", unit, above, context.lower(), tod, start, end, rate, origin)
        rows.setdefault((provider, model), []).append(row)
    return Book(rows)


def _seconds(column: str) -> pl.Expr:
    parts = [pl.col(column).str.slice(at, 2).cast(pl.Int64) * by for at, by in ((0, 3600), (3, 60), (6, 1))]
    return (parts[0] + parts[1] + parts[2]).alias(column)


def _said(rows: pl.DataFrame) -> str:
    first = rows.row(0, named=True)
    return f"{first['unit']} of {first['provider']}/{first['model']} ({first['context']}, {first['origin']})"


def in_force(candidates: Iterable[Candidate], context: str, moment: int, second: int) -> dict[str, list[Row]]:
    """Return, per unit, the tiers of the price that holds at a moment, lowest first."""
    best: dict[str, tuple[tuple[object, ...], dict[int, Row]]] = {}
    for nearness, row in candidates:
        if row.context not in (context, "standard") or not row.start <= moment < row.end:
            continue
        if row.tod is not None and not within(row.tod, second):
            continue
        rank = (
            row.context != context,
            ORIGINS.index(row.origin),
            nearness,
            -row.start,
            row.tod is None,
            row.provider,
            row.end,
            row.tod or (0, 0),
        )
        known = best.get(row.unit)
        if known is None or rank < known[0]:
            best[row.unit] = (rank, {row.above: row})
        elif rank == known[0]:
            known[1][row.above] = row
    return {unit: [tiers[above] for above in sorted(tiers)] for unit, (_, tiers) in best.items()}


def within(tod: tuple[int, int], second: int) -> bool:
    """Tell whether a second of the day lies in a window, which may reach past midnight."""
    start, end = tod
    return start <= second < end if start < end else second >= start or second < end


def microseconds(moment: datetime) -> int:
    """Return a moment as microseconds since 1970."""
    return int(pl.Series([moment], dtype=pl.Datetime("us", "UTC")).dt.epoch("us")[0])
