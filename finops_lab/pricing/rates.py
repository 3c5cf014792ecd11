"""Rates per moment, time of day and size of input, laid out so that a batch of requests is looked up at once.

A *group* is what requests share: provider, names, tier, unit of other counts. Its prices change at
dates, at times of day and at input sizes, and each such change is ranked among all changes known:
a request finds its row of rates by three binary searches in sorted integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import NamedTuple

import polars as pl

from finops_lab.contracts.pricing import ORIGINS
from finops_lab.pricing.cards import FOR_EVER, SINCE_EVER, Book, Row, in_force

DAY_US = 86_400_000_000
# What is counted beside tokens: names of `other_unit`, the unit of the book, how many it holds.
OTHER = {
    **dict.fromkeys(("search", "searches", "web_search", "web_searches"), ("web_searches_kcount", 1_000)),
    **dict.fromkeys(("storage_searches", "file_searches"), ("storage_searches_kcount", 1_000)),
    **dict.fromkeys(("page", "pages"), ("input_document_kpages", 1_000)),
    **dict.fromkeys(("character", "characters"), ("input_mchars", 1_000_000)),
}
# Buckets of tokens, each with the units that price it, nearest first: genai-prices charges what has
# no price of its own at the price of the wider unit it belongs to.
BUCKETS = (
    ("input_mtok",),
    ("cache_read_mtok", "input_mtok"),
    ("cache_write_mtok", "input_mtok"),
    ("cache_write_1h_mtok", "cache_write_mtok", "input_mtok"),
    ("output_mtok",),
    ("output_reasoning_mtok", "output_mtok"),
)
_RATES = ("input", "read", "write", "write_1h", "output", "reasoning", "calls", "other")
_CARD: dict[str, type[pl.DataType] | pl.DataType] = {
    **dict.fromkeys(_RATES, pl.Int128),
    "missing": pl.UInt8,
    "unknown": pl.String,
    "price_origin": pl.String,
    "price_valid_from": pl.Datetime("us", "UTC"),
    "price_context": pl.String,
}
NO_MODEL = "no price for the model"
NOT_THEN = "no price for the model at the time"
NOT_PRICED = "no price for tokens of the model"
OTHER_MISSING = 1 << len(BUCKETS)


class Group(NamedTuple):
    """What requests have in common that decides their prices."""

    provider: str | None
    model: str
    response_model: str | None
    self_hosted: bool
    context: str
    other_unit: str | None


# A card: the rates of `_RATES` in 1e-24 USD for one token, call or other unit, and what they are.
Card = tuple[object, ...]
# Where a card begins: moment, second of the day, tokens above.
Cell = tuple[int, int, int, Card]


@dataclass(frozen=True)
class Layout:
    """The sorted integers of all groups met so far, and the cards that they lead to."""

    moments: pl.Series
    seconds: pl.Series
    sizes: pl.Series
    periods: pl.Series
    windows: pl.Series
    steps: pl.Series
    cards: pl.DataFrame

    def find(self, group: pl.Series, moment: pl.Series, size: pl.Series) -> pl.Series:
        """Return the rows of `cards` for requests, given their group, moment and size of input."""
        at = _last(self.moments, moment)
        at = _last(self.periods, group * self.moments.len() + at)
        if self.seconds.len() > 1:
            second = _last(self.seconds, moment % DAY_US // 1_000_000)
            at = _last(self.windows, at * self.seconds.len() + second)
        else:
            at = _last(self.windows, at)
        if self.sizes.len() > 1:
            # A tier holds above its size: the first token above it is size + 1.
            at = at * self.sizes.len() + _last(self.sizes, (size - 1).clip(0))
        return _last(self.steps, at)


def _last(starts: pl.Series, values: pl.Series) -> pl.Series:
    return starts.search_sorted(values, side="right").cast(pl.Int64) - 1


class Rates:
    """The layout of a book for the groups met so far; new groups are added as batches bring them."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._lock = Lock()
        self._known: dict[Group, int] = {}
        self._cells: list[list[Cell]] = []
        self._layout: Layout | None = None

    def layout(self, groups: Sequence[Group]) -> tuple[list[int], Layout]:
        """Return the numbers of some groups and a layout that holds them."""
        with self._lock:
            for group in groups:
                if group not in self._known:
                    self._known[group] = len(self._cells)
                    self._cells.append(_cells(self._book, group))
                    self._layout = None
            if self._layout is None:
                self._layout = _lay_out(self._cells)
            return [self._known[group] for group in groups], self._layout


def _lay_out(groups: Sequence[Sequence[Cell]]) -> Layout:
    cells = [(number, *cell) for number, several in enumerate(groups) for cell in several]
    moments = sorted({cell[1] for cell in cells} | {SINCE_EVER})
    seconds = sorted({cell[2] for cell in cells} | {0})
    sizes = sorted({cell[3] for cell in cells} | {0})
    ranks = [{value: rank for rank, value in enumerate(values)} for values in (moments, seconds, sizes)]
    periods: list[int] = []
    windows: list[int] = []
    steps: list[int] = []
    for number, moment, second, size, _ in cells:
        period = number * len(moments) + ranks[0][moment]
        if not periods or periods[-1] != period:
            periods.append(period)
        window = (len(periods) - 1) * len(seconds) + ranks[1][second]
        if not windows or windows[-1] != window:
            windows.append(window)
        steps.append((len(windows) - 1) * len(sizes) + ranks[2][size])
    numbers = (moments, seconds, sizes, periods, windows, steps)
    series = [pl.Series(values, dtype=pl.Int64) for values in numbers]
    cards = pl.DataFrame([cell[-1] for cell in cells], schema=_CARD, orient="row")
    return Layout(series[0], series[1], series[2], series[3], series[4], series[5], cards)


def _cells(book: Book, group: Group) -> list[Cell]:
    """Return where the prices of a group change, in order, each with the card from there on."""
    found = book.candidates(
        group.provider, (group.response_model, group.model), self_hosted=group.self_hosted
    )
    found = [candidate for candidate in found if candidate.row.context in (group.context, "standard")]
    moments = sorted({SINCE_EVER} | {at for _, row in found for at in (row.start, row.end) if at < FOR_EVER})
    cells: list[Cell] = []
    for moment in moments:
        now = [candidate for candidate in found if candidate.row.start <= moment < candidate.row.end]
        for second in sorted({0} | {at % 86_400 for _, row in now for at in row.tod or ()}):
            prices = in_force(now, group.context, moment, second)
            for above in sorted({0} | {row.above for tiers in prices.values() for row in tiers}):
                held = {unit: row for unit, tiers in prices.items() if (row := _tier(tiers, above))}
                cells.append((moment, second, above, _card(held, group, bool(found))))
    return cells


def _tier(tiers: Sequence[Row], above: int) -> Row | None:
    return next((row for row in reversed(tiers) if row.above <= above), None)


def _card(prices: dict[str, Row], group: Group, known: bool) -> Card:
    used: list[Row] = []
    missing = 0
    rates: list[int] = []
    for bit, units in enumerate(BUCKETS):
        row = next((prices[unit] for unit in units if unit in prices), None)
        missing |= 0 if row else 1 << bit
        rates.append(row.rate if row else 0)
        used += [row] if row else []
    plain, read, write, hour, output, reasoning = rates
    calls = prices.get("requests_kcount")
    unit, size = OTHER.get((group.other_unit or "").lower(), ("", 1))
    other = prices.get(unit)
    missing |= 0 if other else OTHER_MISSING
    used += [row for row in (calls, other) if row]
    # Parts of a bucket are charged the difference to its price.
    values = (plain, read, write, hour - write, output, reasoning - output)
    return (
        *values,
        calls.rate * 1_000 if calls else 0,
        other.rate * (1_000_000 // size) if other else 0,
        missing,
        None if used else NOT_PRICED if prices else NOT_THEN if known else NO_MODEL,
        ", ".join(origin for origin in ORIGINS if any(row.origin == origin for row in used)) or None,
        max((row.start for row in used if row.start > SINCE_EVER), default=None),
        _context(used, group.context),
    )


def _context(used: Sequence[Row], asked: str) -> str | None:
    if not used:
        return None
    return asked if any(row.context == asked for row in used) else "standard"
