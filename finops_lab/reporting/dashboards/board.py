"""What dashboards share: a month of a lab, and the frames behind it, each worked out once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property

import polars as pl

from finops_lab import valuing
from finops_lab.calendar import add_months
from finops_lab.reporting.monthly import Review
from finops_lab.reporting.section import Section, prose
from finops_lab.service_levels.judging import ServiceLevels
from finops_lab.valuing.frames import Frames

__all__ = ["Board", "utc"]

_MONTHS = 12


@dataclass(frozen=True)
class Board:
    """A dashboard of a lab; each method of its kind builds one section.

    Attributes
    ----------
    name, title : str
        What it is called.
    review : Review
        The month it shows, with the lab and its ledger.
    """

    name: str
    title: str
    review: Review

    def __repr__(self) -> str:
        return f"{self.title} dashboard: {self.review!r}"

    def _repr_html_(self) -> str:
        review = self.review
        note = f"  \n{review.lab.config.lab.note}" if review.lab.config.lab.note else ""
        month = f"{review.month_name}{review.days.after}"
        return prose(f"**{review.lab.name}** · {month} · {review.metric_name} in {review.currency}{note}")

    @property
    def month(self) -> date:
        """First day of the month."""
        return self.review.month

    @property
    def begin(self) -> datetime:
        """The first moment of the month."""
        return datetime.combine(self.month, datetime.min.time(), UTC)

    @property
    def end(self) -> datetime:
        """The first moment after the month."""
        return datetime.combine(add_months(self.month, 1), datetime.min.time(), UTC)

    @cached_property
    def frames(self) -> Frames:
        """Ledger entries and roll-ups of the month and the eleven before it."""
        return Frames(self.review.lab, add_months(self.month, 1 - _MONTHS), self.month, self.review.at)

    @cached_property
    def here(self) -> Frames:
        """Ledger entries and roll-ups of the month."""
        return Frames(self.review.lab, self.month, self.month, self.review.at)

    @cached_property
    def levels(self) -> ServiceLevels:
        """How the month's objectives were kept."""
        return valuing.levels(self.review.lab, self.month, at=self.review.at)

    def nothing(self, key: str, finding: str) -> Section:
        """Return a section that says why it has nothing to show."""
        return Section(key, finding, values={"missing": finding})

    def provenance(self) -> Section:
        """Name inputs, versions and parameters that reproduce this page."""
        return self.review.provenance()


def utc(*names: str) -> list[pl.Expr]:
    """Write moments without their zone, for columns whose heading says UTC.

    Examples
    --------
    >>> moments = pl.DataFrame({"ts": [datetime(2026, 10, 21, 9, tzinfo=UTC)]})
    >>> moments.select(utc("ts")).item()
    datetime.datetime(2026, 10, 21, 9, 0)
    """
    return [pl.col(name).dt.replace_time_zone(None) for name in names]
