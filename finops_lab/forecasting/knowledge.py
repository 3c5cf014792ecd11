"""What is known of series beside their amounts: labelled events and prices, month by month."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from finops_lab.calendar import add_months
from finops_lab.errors import InputError
from finops_lab.forecasting.events import Event, read_events
from finops_lab.forecasting.panel import Floats, Series
from finops_lab.forecasting.prices import price_path, read_prices

__all__ = ["NOTHING", "Given", "Knowledge", "read_knowledge"]


@dataclass(frozen=True)
class Given:
    """What is known of one series, for each month of its history and each month ahead.

    `price` is an index, `added` money on top of the usual, `masked` months of the history whose amount
    says nothing, `levels` the changes of level, `names` the events of a month of the history.
    """

    price: Floats
    added: Floats
    masked: NDArray[np.bool_]
    levels: tuple[Event, ...]
    names: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Knowledge:
    """Events, and price indices by series; `foresees` says whether what begins later is known already."""

    events: tuple[Event, ...] = ()
    prices: Mapping[str | None, Mapping[date, float]] = field(default_factory=dict)
    foresees: bool = True

    def of(self, series: Series, months: int) -> Given:
        """Return what is known of a series and the `months` after it."""
        n, end = len(series), add_months(series.first, len(series))
        mine = [event for event in self.events if event.unique_id in (None, series.unique_id)]
        if not self.foresees:
            mine = [event for event in mine if event.first < end]
        price = price_path(self.prices, series.unique_id, series.first, n, months)
        if not self.foresees and n:
            price[n:] = price[n - 1]
        added, masked = np.zeros(n + months), np.zeros(n, dtype=np.bool_)
        names: list[tuple[str, ...]] = [()] * n
        for event in mine:
            inside = np.array([event.covers(add_months(series.first, i)) for i in range(n + months)])
            if event.is_price:
                price[inside] *= event.factor
            elif event.is_known_amount:
                added[inside] += event.added
            elif not event.is_level:
                masked |= inside[:n]
            elif event.first >= end:  # a level ahead; one that is there already shows in the amounts
                added[inside] += event.added if event.factor is None else 0.0
                price[inside] *= event.factor or 1.0
            if not (event.is_price or event.is_level):
                names = [
                    (*old, event.name) if there else old for old, there in zip(names, inside, strict=False)
                ]
        levels = tuple(event for event in mine if event.is_level and series.first < event.first < end)
        return Given(price, added, masked, levels, tuple(names))


NOTHING = Knowledge()


def read_knowledge(
    events: pl.DataFrame | pl.LazyFrame | None,
    price_index: pl.DataFrame | pl.LazyFrame | None,
    series: int,
    *,
    foresees: bool = True,
) -> Knowledge:
    """Check events and price index of a panel of `series` series.

    Raises
    ------
    InputError
        As `read_events` and `read_prices`, and where an amount is not said of one series.
    """
    found = () if events is None else tuple(read_events(events))
    for event in found:
        if event.amount is not None and event.unique_id is None and series > 1:
            raise InputError(
                f"event {event.name!r}: an amount of every series, which would count {series} times",
                column="amount",
                hint="name the series it belongs to in unique_id, or leave the amount out",
            )
    return Knowledge(found, {} if price_index is None else read_prices(price_index), foresees)
