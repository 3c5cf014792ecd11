"""The days of a month that are known: while it runs, as many of another are what it compares with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from statistics import median

import polars as pl

from finops_lab.calendar import days_in_month, format_month, parse_month
from finops_lab.wording import plural

__all__ = ["Days"]

_LONGEST = 31
_USUAL = 0.8  # of the share of days that other months have: weekends move it less


@dataclass(frozen=True)
class Days:
    """How far a month has run.

    Attributes
    ----------
    month : datetime.date
        Its first day.
    known : int, optional
        Days that are over and billed; None where the whole month is.

    Examples
    --------
    >>> Days(date(2026, 10, 1), 10).words, Days(date(2026, 10, 1)).words
    ('days 1 to 10 of 31', '')
    """

    month: date
    known: int | None = None

    @property
    def words(self) -> str:
        """Say which days are known; nothing where all are."""
        return f"days 1 to {self.known} of {days_in_month(self.month)}" if self.known else ""

    @property
    def after(self) -> str:
        """The same, to stand behind the name of the month."""
        return f", {self.words}" if self.known else ""

    @property
    def beside(self) -> str:
        """The same, to stand behind what it is compared with: ``, days 1 to 10``."""
        return f", days 1 to {self.known}" if self.known else ""

    def of(self, month: date) -> int:
        """Return how many days of a month count beside those known."""
        return min(self.known or days_in_month(month), days_in_month(month))

    def billed(self, entries: pl.DataFrame, month: date) -> str:
        """Say how many of those days a month has charges of, where that is far fewer than in other months.

        Returns
        -------
        str
            Such as ``1 of 31 days billed``; nothing where the month is as full as others are.

        Examples
        --------
        >>> days = pl.date_range(date(2026, 9, 1), date(2026, 10, 1), eager=True)
        >>> bill = pl.DataFrame({"x_ChargeMonth": days.dt.strftime("%Y-%m"), "x_ChargeDate": days})
        >>> of = Days(date(2026, 10, 1))
        >>> of.billed(bill, date(2026, 10, 1)), of.billed(bill, date(2026, 9, 1))
        ('1 of 31 days billed', '')
        """
        some = self.billed_days(entries, month)
        return "" if some is None else f"{some} of {plural(self.of(month), 'day')} billed"

    def billed_days(self, entries: pl.DataFrame, month: date) -> int | None:
        """Return how many of those days a month has charges of, where that is far fewer than in other months.

        A bill that comes once a month, or on working days alone, has as many in the others: the median of
        the months is what is usual. None where the month is as full as others are, or has no charge.
        """
        near = entries.filter(pl.col("x_ChargeDate").dt.day() <= (self.known or _LONGEST))
        counts = near.group_by("x_ChargeMonth").agg(pl.col("x_ChargeDate").n_unique())
        of: dict[str, float] = {
            name: count / self.of(parse_month(name)) for name, count in counts.iter_rows()
        }
        mine = of.get(format_month(month))
        if mine is None or mine >= _USUAL * median(of.values()):
            return None
        return round(mine * self.of(month))

    def within(self, entries: pl.DataFrame) -> pl.DataFrame:
        """Return the entries of those days, of every month.

        A month whose charges are all of its first day is billed as a whole: it has no such days.
        """
        if self.known is None:
            return entries
        whole = (pl.col("x_ChargeDate").n_unique() == 1) & (pl.col("x_ChargeDate").dt.day() == 1).all()
        daily = entries.filter(~whole.over("x_ChargeMonth")) if self.known > 1 else entries
        return daily.filter(pl.col("x_ChargeDate").dt.day() <= self.known)

    def total(self, entries: pl.DataFrame, month: date, metric: str) -> Decimal | None:
        """Return what those days of a month cost; None where nothing is known of them."""
        mine = self.within(entries.filter(pl.col("x_ChargeMonth") == format_month(month)))
        return None if mine.is_empty() else Decimal(mine[metric].sum())
