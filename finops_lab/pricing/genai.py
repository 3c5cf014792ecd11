"""The built-in price list: genai-prices' bundled snapshot as rows of the ``prices`` contract.

genai-prices picks, at a moment and for a context, the last price whose condition holds. Here each
model is asked at every moment where that pick can change, so the rows say outright when a price
holds and no order among them is left to know.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from importlib.metadata import version
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import polars as pl

from finops_lab.contracts import dtypes

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, PriceVariant

__all__ = ["builtin", "units"]

_DAY = 86_400
_NONE: dict[str, str] = {}
# Conditions that a service tier stands for. Others keep their name, such as ``route=...``.
_TIERS = {("processing", "batch"): "batch", ("speed", "fast"): "fast"}


@cache
def units() -> frozenset[str]:
    """Return the units that the price list knows."""
    from genai_prices.data_units import unit_data

    return frozenset(unit["price_key"] for unit in unit_data.values())


@cache
def builtin() -> pl.DataFrame:
    """Return the bundled price list (``prices`` contract, origin ``genai_prices``).

    A price without a start holds since ever; variants carry the start that the list gives them, and
    before it the standard price is all there is. A model whose name ends in ``:free`` costs 0 where
    the list gives it no price; other models without any price are left out.
    """
    from genai_prices import data

    schema = dtypes("prices")
    source = f"genai-prices {version('genai-prices')}"
    rows = [
        (provider.id, model.id, *row, "genai_prices", source, None)
        for provider in data.providers
        for model in provider.models
        for row in _rows(model)
    ]
    columns = list(schema)
    return pl.DataFrame(rows, schema={name: schema[name] for name in columns}, orient="row")


def _rows(model: ModelInfo) -> Iterator[tuple[Any, ...]]:
    from genai_prices.types import ConditionalPrice, ModelPrice

    prices = model.prices
    if isinstance(prices, ModelPrice):
        prices = [ConditionalPrice(prices=prices)]
    if model.id.endswith(":free") and not any(p.prices.__dict__ for p in prices):
        free = ModelPrice(input_mtok=Decimal(0), output_mtok=Decimal(0))
        prices = [ConditionalPrice(prices=free)]
    standard = replace(model, prices=prices, price_variants=None)
    yield from _context(standard, "standard", _NONE, [p.constraint for p in prices])
    variants: dict[str, list[PriceVariant]] = {}
    for variant in model.price_variants or ():
        variants.setdefault(_name(variant.when), []).append(variant)
    for context, those in variants.items():
        # Only what the variants themselves say: for other units the standard price is looked up.
        asked = replace(model, prices=ModelPrice(), price_variants=those)
        wanted = {key: value for variant in those for key, value in variant.when.items()}
        yield from _context(asked, context, wanted, [v.constraint for v in those])


def _name(when: dict[str, str]) -> str:
    if len(when) == 1:
        ((key, value),) = when.items()
        return value if key == "service_tier" else _TIERS.get((key, value), f"{key}={value}")
    return ",".join(f"{key}={value}" for key, value in sorted(when.items()))


def _context(
    model: ModelInfo, context: str, wanted: dict[str, str], limits: Sequence[object]
) -> Iterator[tuple[Any, ...]]:
    from genai_prices.types import StartDateConstraint, TimeOfDateConstraint

    days = sorted({limit.start_date for limit in limits if isinstance(limit, StartDateConstraint)})
    clocks = {0} | {
        _second(clock)
        for limit in limits
        if isinstance(limit, TimeOfDateConstraint)
        for clock in (limit.start_time, limit.end_time)
    }
    starts: list[date | None] = [None, *days]
    open_prices: dict[tuple[Any, ...], date | None] = {}
    for start, _ in pairwise([*starts, None]):
        day = start or (days[0] - timedelta(days=1) if days else date(2020, 1, 1))
        windows = _windows(model, day, sorted(clocks), wanted)
        found = {(*window, *priced): None for window, price in windows for priced in _priced(price)}
        # A price that goes on past a date stays one price, all its tiers together.
        for ended in [known for known in open_prices if known not in found]:
            yield from _flat(ended, context, open_prices.pop(ended), start)
        for known in found:
            open_prices.setdefault(known, start)
    for known, since in open_prices.items():
        yield from _flat(known, context, since, None)


def _windows(
    model: ModelInfo, day: date, clocks: list[int], wanted: dict[str, str]
) -> list[tuple[tuple[str | None, str | None], ModelPrice]]:
    found: list[tuple[int, ModelPrice]] = []
    for clock in clocks:
        moment = datetime.combine(day, time(), UTC) + timedelta(seconds=clock)
        price = model.get_prices(moment, wanted)
        if not found or found[-1][1] != price:
            found.append((clock, price))
    if len(found) > 1 and found[0][1] == found[-1][1]:
        # The last window of the day goes on past midnight.
        found.pop(0)
    if len(found) == 1:
        return [((None, None), found[0][1])]
    ends = [*(clock for clock, _ in found[1:]), found[0][0]]
    return [((_clock(start), _clock(end)), price) for (start, price), end in zip(found, ends, strict=True)]


def _priced(price: ModelPrice) -> Iterator[tuple[str, tuple[tuple[int, Decimal], ...]]]:
    for unit, value in price.__dict__.items():
        if value is None or unit.startswith("_"):
            continue
        if isinstance(value, Decimal):
            yield unit, ((0, value),)
        else:
            yield unit, ((0, value.base), *((tier.start, tier.price) for tier in value.tiers))


def _flat(
    known: tuple[Any, ...], context: str, start: date | None, end: date | None
) -> Iterator[tuple[Any, ...]]:
    tod_start, tod_end, unit, tiers = known
    for above, rate in tiers:
        yield unit, above, context, tod_start, tod_end, _midnight(start), _midnight(end), rate


def _midnight(day: date | None) -> datetime | None:
    return datetime.combine(day, time(), UTC) if day else None


def _second(clock: time) -> int:
    moment = datetime.combine(date(1970, 1, 1), clock)
    moment = moment.astimezone(UTC) if clock.tzinfo else moment.replace(tzinfo=UTC)
    return moment.hour * 3600 + moment.minute * 60 + moment.second


def _clock(second: int) -> str:
    return str(time(second // 3600 % 24, second // 60 % 60, second % 60))
