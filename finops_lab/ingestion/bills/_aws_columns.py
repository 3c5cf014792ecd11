"""The columns of an AWS Cost and Usage Report under one name, however the export spells them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from finops_lab.money import MONEY

__all__ = ["Report", "snake"]

_NEEDED = {
    "bill_payer_account_id": "bill/PayerAccountId",
    "bill_billing_period_start_date": "bill/BillingPeriodStartDate",
    "line_item_line_item_type": "lineItem/LineItemType",
    "line_item_usage_start_date": "lineItem/UsageStartDate",
    "line_item_currency_code": "lineItem/CurrencyCode",
    "line_item_unblended_cost": "lineItem/UnblendedCost",
}


def snake(name: str) -> str:
    """Spell a column as Athena does: an underscore before every capital, and for every other sign.

    Examples
    --------
    >>> snake("lineItem/UsageAccountId"), snake("reservation/ReservationARN"), snake("pricing_unit")
    ('line_item_usage_account_id', 'reservation_reservation_a_r_n', 'pricing_unit')
    """
    spaced = re.sub(r"[A-Z]", lambda letter: f"_{letter[0].lower()}", name.strip())
    return re.sub(r"[^a-z0-9]+", "_", spaced).strip("_")


@dataclass(frozen=True)
class Report:
    """The columns of one report: by Athena's name, as the file spells them.

    A column the report does not have reads as null, so that formulas hold for every version.
    """

    columns: tuple[str, ...]

    @cached_property
    def names(self) -> dict[str, str]:
        """The file's spelling of each column; the first of two that mean the same."""
        found: dict[str, str] = {}
        for name in self.columns:
            if key := snake(name):
                found.setdefault(key, name)
        return found

    def missing(self) -> Iterator[str]:
        """Name the columns no bill can be without, as this report would spell them."""
        slashes = any("/" in name for name in self.columns)
        return (old if slashes else new for new, old in _NEEDED.items() if new not in self.names)

    def has(self, name: str) -> bool:
        """Tell whether the report has a column."""
        return name in self.names

    def present(self, names: Iterable[str]) -> list[str]:
        """Return the file's spelling of those columns it has."""
        return [self.names[name] for name in names if name in self.names]

    def spelled(self, name: str) -> str:
        """Return a column as the file spells it."""
        return self.names.get(name, name)

    def text(self, *names: str) -> pl.Expr:
        """Return the first of the columns that says something; blank is null."""
        found = [pl.col(name).cast(pl.String).str.strip_chars() for name in self.present(names)]
        return pl.coalesce(pl.when(text != "").then(text) for text in found) if found else _NO_TEXT

    def amount(self, name: str) -> pl.Expr:
        """Return an amount that has been read."""
        return pl.col(self.names[name]) if name in self.names else pl.lit(None, dtype=MONEY)

    def moment(self, name: str) -> pl.Expr:
        """Return a point in time that has been read."""
        return pl.col(self.names[name]) if name in self.names else pl.lit(None, dtype=_MOMENT)


_NO_TEXT = pl.lit(None, dtype=pl.String)
_MOMENT = pl.Datetime("us", "UTC")
