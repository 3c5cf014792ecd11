"""Why a lab's AI spend changed from one month to another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import polars as pl

from finops_lab import measuring, pricing
from finops_lab.calendar import first_of, format_month, moment_of
from finops_lab.errors import NoDataError
from finops_lab.lab import Lab
from finops_lab.unit_economics import bridge as _bridge
from finops_lab.unit_economics.activity import activity
from finops_lab.unit_economics.bridge_errors import sampling_errors
from finops_lab.unit_economics.bridge_weights import price_weights
from finops_lab.unit_economics.requests import months
from finops_lab.valuing.frames import Frames

__all__ = ["bridge"]


def bridge(
    lab: Lab,
    first: str | date,
    last: str | date,
    *,
    where: Mapping[str, str | Sequence[str]] | None = None,
    metric: str = "EffectiveCost",
    at: str | date | None = None,
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
    at : str, datetime.date or datetime.datetime, optional
        How far the later month has run (UTC), where it is not over. Without it, it has run to the end
        of the lab's `as_of`, or of the latest day that bills, requests or GPU samples tell of. Of both
        months the same days are then compared: those that are over and billed (``up_to``).

    Returns
    -------
    finops_lab.unit_economics.bridge.Bridge
        Its terms add up to the change exactly. Tokens weigh what they cost by the lab's price book,
        and the price says how far it may be off because calls are a sample.

    Raises
    ------
    NoDataError
        When the ledger has no entries of one of the months: what was spent then is not known.
    InputError
        When a month, a dimension or the metric is none, entries do not tell the metric (``ListCost``
        and ``ContractedCost`` may be missing on a bill), or no day of a month is over.
    CurrencyError
        When the bills are in several currencies and `finops.toml` has no rates.
    """
    ends = [first_of(month) for month in (first, last)]
    frames = Frames(lab, min(ends), max(ends), moment_of(at))
    told = set(frames.entries["x_ChargeMonth"].unique())
    for month in map(format_month, ends):
        if month not in told:
            raise NoDataError(
                f"the ledger has no entries of {month}, so what was spent then is not known",
                hint="put the bills of that month into `exports/`, or name months that have bills",
            )
    up_to = frames.days_known
    weights = price_weights(pricing.price_book(lab.table("prices")), ends[0])
    entries = activity(frames.entries, frames.rules)
    in_month = pl.col("day").dt.month_start().is_in(ends)
    requests = measuring.requests_of(lab).filter(in_month)
    calls = frames.requests
    if up_to is not None:
        entries = entries.filter(pl.col("x_ChargeDate").dt.day() <= up_to)
        requests = requests.filter(pl.col("day").dt.day() <= up_to)
        calls = months(frames.request_days.lazy().filter(pl.col("day").dt.day() <= up_to)).collect()
    errors = sampling_errors(requests, weights)
    return _bridge.bridge(
        entries, calls, *ends, where=where, metric=metric, weights=weights, errors=errors, up_to=up_to
    )
