"""The front door's functions that take a lab: thin wrappers over the rooms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import polars as pl

from finops_lab import allocation, bookkeeping, exploring, pricing
from finops_lab import doctor as _doctor
from finops_lab.choosing import variants
from finops_lab.errors import CurrencyError
from finops_lab.lab import Lab

if TYPE_CHECKING:
    from finops_lab.widgets import Explorer

__all__ = ["allocate", "diagnose", "entries", "explore", "price_requests", "spend", "trace", "variants"]


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


def entries(lab: Lab) -> pl.LazyFrame:
    """Return the lab's ledger entries to query, in the lab's currency.

    Parameters
    ----------
    lab : Lab
        An opened lab.

    Returns
    -------
    polars.LazyFrame
        The `ledger` contract. Where no ``[[rates]]`` convert them, entries are read from the lake when
        the frame is collected: do so before the lab is opened on other data.

    Raises
    ------
    NoDataError
        When the lab holds no bills.
    """
    if lab.config.rates:
        return allocate(lab).entries.lazy()
    return bookkeeping.scan(lab)


def spend(
    lab: Lab,
    first: str,
    last: str | None = None,
    *,
    metric: str = "effective",
    by: str = "team",
    against: tuple[str, str] | None = None,
    where: Mapping[str, Sequence[str | None]] | None = None,
) -> pl.DataFrame:
    """Add up a cost of some months by any dimension: see `finops_lab.exploring.spend`.

    Parameters
    ----------
    lab : Lab
        An opened lab.
    first, last : str
        First and last month of use, such as ``2026-10``; one month without `last`.
    metric : str
        ``effective``, ``billed``, ``list``, ``contracted`` or ``allocated``.
    by : str
        A dimension such as ``team`` or ``model``, or ``provider``, ``service``, ``day`` and the
        like: `finops_lab.exploring.GROUPS`.
    against : tuple of str, optional
        First and last month to compare with.
    where : mapping, optional
        Values that count, such as ``{"team": ["search"]}``; None among them is what is unknown.

    Returns
    -------
    polars.DataFrame
        Largest first: the value, ``amount``, ``share``, ``rows``, and with `against` ``before``,
        ``change`` and ``change_share``; these are null where the ledger has none of the months to
        compare with.

    Raises
    ------
    InputError
        When a month, the metric or a dimension is none.
    CurrencyError
        When the charges are in several currencies.
    """
    wanted = {name: tuple(values) for name, values in (where or {}).items()}
    view = exploring.View(first, last or first, metric=metric, by=by, against=against, where=wanted)
    kept = entries(lab)
    found = exploring.spend(kept, view)
    if against is not None and not exploring.known(kept, *against):
        # Nobody knows what was spent before a ledger begins: that is not nothing.
        unknown = ("before", "change", "change_share")
        found = found.with_columns(pl.lit(None, found.schema[name]).alias(name) for name in unknown)
    return found


def explore(lab: Lab, by: str = "team") -> Explorer:
    """Open the explorer: charts and tables of any cost by any dimension, down to bill rows.

    Parameters
    ----------
    lab : Lab
        An opened lab.
    by : str
        The dimension to begin with.

    Returns
    -------
    finops_lab.widgets.Explorer
        Shown where it is the last line of a cell of JupyterLab.

    Raises
    ------
    NoDataError
        When the lab holds no bills.
    CurrencyError
        When the charges are in several currencies.
    InputError
        When `by` is none of `finops_lab.exploring.GROUPS`.
    """
    from finops_lab.lab import sample_lab
    from finops_lab.widgets import Explorer

    kept = entries(lab)
    names = ("x_ChargeMonth", "BillingCurrency")
    months, codes = kept.select(pl.col(names).unique().sort().implode()).collect().row(0)
    if len(codes) > 1:
        raise CurrencyError(
            f"charges are in {', '.join(codes)} and are never added",
            hint="give dated [[rates]] in finops.toml",
        )
    folder = None if lab.folder.resolve() == sample_lab().resolve() else str(lab.folder)
    policy = bookkeeping.policy(lab)

    def rows(entry: dict[str, Any]) -> pl.DataFrame:
        found = exploring.bill_rows(lab.costs(), entry, policy).collect()
        if found.is_empty() and lab.config.rates:
            return exploring.bill_rows(lab.costs(), entry, policy, converted=True).collect()
        return found

    return Explorer(kept, codes[0], months, rows, folder=folder, by=by)


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
