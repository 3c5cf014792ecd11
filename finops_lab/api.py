"""The front door's functions that take a lab: thin wrappers over the rooms."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import polars as pl

from finops_lab import allocation, bookkeeping, pricing, tradeoffs
from finops_lab import doctor as _doctor
from finops_lab.calendar import parse_month
from finops_lab.lab import Lab

__all__ = ["allocate", "diagnose", "price_requests", "trace", "variants"]


def allocate(lab: Lab) -> allocation.Ledger:
    """Put every cent of the lab's bills on an owner, in the lab's currency.

    Parameters
    ----------
    lab : Lab
        An opened lab.

    Returns
    -------
    finops_lab.allocation.Ledger
        Entries, receipt, rule report and steps. Months of which nothing changed since the last
        call are read from ``lake/ledger``. With ``[[rates]]`` in `finops.toml` the entries are
        converted; without them they keep their currencies. The receipt is always in the currencies
        of the bills.

    Raises
    ------
    NoDataError
        When the lab holds no bills.
    """
    done = bookkeeping.ledger(lab)
    if lab.config.rates:
        return replace(done, entries=allocation.convert(done.entries, lab.config.rates, lab.currency))
    return done


def trace(lab: Lab, team: str, month: str) -> pl.LazyFrame:
    """Return the bill rows that a team's month is made of: see `finops_lab.allocation.trace`.

    Parameters
    ----------
    lab : Lab
        An opened lab.
    team : str
        The owner; ``unallocated`` for what has none.
    month : str
        Month of use, such as ``2026-10``.
    """
    entries = bookkeeping.ledger(lab).entries
    return allocation.trace(lab.costs(), entries, bookkeeping.policy(lab), team=team, month=month)


def diagnose(lab: Lab, today: date | None = None) -> pl.DataFrame:
    """Look for what bills and telemetry say that cannot be right: see `finops_lab.doctor.doctor`.

    Parameters
    ----------
    lab : Lab
        An opened lab.
    today : datetime.date, optional
        The date that "future" and "over" refer to. Without it nothing is compared with a clock.

    Returns
    -------
    polars.DataFrame
        One row per finding, errors first: what, where, rows, money at stake, and the likely fix.
    """
    return _doctor.doctor(lab, today)


def price_requests(lab: Lab) -> pl.LazyFrame:
    """Price the lab's requests with the dated price book: see `finops_lab.pricing.price`.

    The book is the built-in one with the lab's own prices before it: ``[[prices]]`` of
    `finops.toml` and price files among the exports.

    Parameters
    ----------
    lab : Lab
        An opened lab.

    Returns
    -------
    polars.LazyFrame
        The `inference_requests` contract with ``cost_computed_usd`` (Decimal, USD, null where
        unpriced), ``price_origin``, ``price_context``, ``price_valid_from`` and ``unpriced_reason``.
    """
    return pricing.price(lab.table("inference_requests"), pricing.price_book(lab.table("prices")))


def variants(lab: Lab, first: str | date, last: str | date, *, metric: str = "EffectiveCost") -> pl.DataFrame:
    """Compare model variants over some months: see `finops_lab.tradeoffs.variants`.

    Parameters
    ----------
    lab : Lab
        An opened lab.
    first, last : str or datetime.date
        First and last month, such as ``2026-08``; both included.
    metric : str
        The cost column to compare.
    """
    months = [m if isinstance(m, date) else parse_month(m) for m in (first, last)]
    return tradeoffs.variants(
        allocate(lab).entries.lazy(),
        lab.table("inference_requests"),
        lab.table("accuracy_samples"),
        first=months[0],
        last=months[1],
        metric=metric,
    )
