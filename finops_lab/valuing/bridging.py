"""Why a lab's AI spend changed from one month to another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import polars as pl

from finops_lab import measuring, pricing
from finops_lab.calendar import parse_month
from finops_lab.lab import Lab
from finops_lab.unit_economics import bridge as _bridge
from finops_lab.unit_economics.activity import activity
from finops_lab.unit_economics.bridge_errors import sampling_errors
from finops_lab.unit_economics.bridge_weights import price_weights
from finops_lab.valuing.frames import Frames

__all__ = ["bridge"]


def bridge(
    lab: Lab,
    first: str | date,
    last: str | date,
    *,
    where: Mapping[str, str | Sequence[str]] | None = None,
    metric: str = "EffectiveCost",
) -> _bridge.Bridge:
    """Split the change of spend between two months into its causes: see `unit_economics.bridge`.

    Parameters
    ----------
    lab : Lab
        An opened lab.
    first, last : str or datetime.date
        The month that the change is counted from, and the other.
    where : mapping, optional
        Only these values of dimensions, such as ``{"team": "search"}``.
    metric : str
        The cost column.

    Returns
    -------
    finops_lab.unit_economics.bridge.Bridge
        Its terms add up to the change exactly. Tokens weigh what they cost by the lab's price book,
        and the price says how far it may be off because calls are a sample.

    Raises
    ------
    InputError
        When a month, a dimension or the metric is none.
    CurrencyError
        When the bills are in several currencies and `finops.toml` has no rates.
    """
    ends = [
        date(month.year, month.month, 1) if isinstance(month, date) else parse_month(month)
        for month in (first, last)
    ]
    frames = Frames(lab, min(ends), max(ends))
    weights = price_weights(pricing.price_book(lab.table("prices")), ends[0])
    entries = activity(frames.entries, frames.rules)
    month = pl.col("day").dt.month_start()
    requests = measuring.requests_of(lab).filter(month.is_in(ends))
    errors = sampling_errors(requests, weights)
    return _bridge.bridge(
        entries, frames.requests, *ends, where=where, metric=metric, weights=weights, errors=errors
    )
