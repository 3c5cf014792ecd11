"""A budget over a month, quarter or year: what was spent day by day, and when it was ahead of its plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal, localcontext

from finops_lab.calendar import add_months, days_in_month
from finops_lab.forecasting.chances import added
from finops_lab.money import SCALE, divided, exact_sum

__all__ = ["AHEAD", "PERIODS", "THRESHOLDS", "Span", "months_of", "summed"]

# Calendar months that belong together.
PERIODS = {"month": 1, "quarter": 3, "year": 12}
# Shares of a budget that are told when they are spent ahead of pace.
THRESHOLDS = (0.5, 0.8, 1.0)
# Spending is ahead of pace from a tenth more than what was planned up to then.
AHEAD = 1.1
_LAST_DIGIT = Decimal(1).scaleb(-SCALE)


def months_of(period: str, month: date) -> list[date]:
    """Return the months of the calendar period that a month lies in.

    Examples
    --------
    >>> [f"{m:%Y-%m}" for m in months_of("quarter", date(2026, 11, 1))]
    ['2026-10', '2026-11', '2026-12']
    """
    size = PERIODS[period]
    first = date(month.year, (month.month - 1) // size * size + 1, 1)
    return [add_months(first, i) for i in range(size)]


@dataclass(frozen=True)
class Span:
    """Months of a budget, and what was spent in them up to a day.

    Attributes
    ----------
    planned : mapping of datetime.date to Decimal
        Budget of each month.
    spent : mapping of datetime.date to Decimal
        What was spent on each day before `at`; a day without charges may be absent.
    at : datetime.date
        The first day that is not over.
    """

    planned: Mapping[date, Decimal]
    spent: Mapping[date, Decimal]
    at: date

    @property
    def months(self) -> list[date]:
        """The months in order."""
        return sorted(self.planned)

    @property
    def budget(self) -> Decimal:
        """All that was planned."""
        return exact_sum(self.planned.values())

    @property
    def actual(self) -> Decimal:
        """All that was spent."""
        return exact_sum(self.spent.values())

    def planned_to(self, day: date) -> Decimal:
        """Return what was planned up to a day, exclusive: that day's month by its days.

        Examples
        --------
        >>> span = Span({date(2026, 11, 1): Decimal(300)}, {}, date(2026, 11, 11))
        >>> int(span.planned_to(span.at))
        100
        """
        parts = []
        for month, amount in self.planned.items():
            gone = min(max((day - month).days, 0), days_in_month(month))
            parts.append(divided(amount, days_in_month(month), times=gone) or Decimal(0))
        return exact_sum(parts)

    def cumulated(self) -> list[tuple[date, Decimal, Decimal]]:
        """Return each day that is over with all that was spent and planned up to its end."""
        found = []
        spent = planned = Decimal(0)
        with localcontext(prec=80):  # a day at a time is too often for a context of its own
            for month in self.months:
                days, amount = days_in_month(month), self.planned[month]
                for number in range(1, days + 1):
                    day = month + timedelta(days=number - 1)
                    if day >= self.at:
                        break
                    spent += self.spent.get(day, 0)
                    found.append((day, spent, planned + (amount * number / days).quantize(_LAST_DIGIT)))
                planned += amount
        return found

    def ahead_since(self, days: Sequence[tuple[date, Decimal, Decimal]]) -> date | None:
        """Return since when, without a break, more than planned was spent; None where it is not now."""
        since = None
        for day, spent, planned in days:
            if spent <= planned:
                since = None
            elif since is None:
                since = day
        return since

    def threshold(self, days: Sequence[tuple[date, Decimal, Decimal]]) -> tuple[float | None, date | None]:
        """Return the highest of `THRESHOLDS` that was reached ahead of pace, and when.

        It no longer counts where spending is not ahead of pace any more.
        """
        whole = float(self.budget)
        if not days or whole <= 0 or float(days[-1][1]) <= AHEAD * float(days[-1][2]):
            return None, None
        found: tuple[float | None, date | None] = (None, None)
        for share in THRESHOLDS:
            for day, spent, planned in days:
                if float(spent) >= share * whole:
                    if AHEAD * float(planned) < share * whole:
                        found = (share, day)
                    break
        return found

    def used_up(
        self, days: Sequence[tuple[date, Decimal, Decimal]], ahead: Mapping[date, float]
    ) -> date | None:
        """Return the day on which more than the budget is spent, known or expected; None where it lasts.

        Parameters
        ----------
        days : sequence
            As from `cumulated`.
        ahead : mapping of datetime.date to float
            What a month that is not over is expected to cost in all; spread evenly over its days.
        """
        budget = self.budget
        for day, spent, _ in days:
            if spent > budget:
                return day
        spent_before = float(self.actual)
        for month in self.months:
            if month not in ahead:
                continue
            number, begin = days_in_month(month), max(month, self.at)
            left = (add_months(month, 1) - begin).days
            here = float(exact_sum(v for d, v in self.spent.items() if d >= month))
            rest = ahead[month] - (here if begin > month else 0.0)
            if rest > 0 and spent_before + rest > float(budget):
                after = int((float(budget) - spent_before) / rest * left)
                return min(begin + timedelta(days=after), month + timedelta(days=number - 1))
            spent_before += rest
        return None


def summed(over: float, told: Sequence[tuple[float | None, float | None]]) -> float | None:
    """Add what is over to centres of months to come, moved by the width of their sum."""
    known = [(centre, bound) for centre, bound in told if centre is not None and bound is not None]
    if len(known) < len(told):
        return None
    widths = [bound - centre for centre, bound in known]
    side = -1 if any(width < 0 for width in widths) else 1
    return over + sum(centre for centre, _ in known) + side * added(widths)
