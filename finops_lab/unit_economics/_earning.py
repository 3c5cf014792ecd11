"""Revenue by month: periods that are no whole month are split by the time in each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import polars as pl

from finops_lab.calendar import days_in_month
from finops_lab.money import MONEY, exact_sum, split
from finops_lab.unit_economics._job_months import overlaps

__all__ = ["earned_months"]

_WHOLE_DAY = 86_400_000_000

_EARNED: dict[str, pl.DataType | type[pl.DataType]] = {
    "month": pl.Date,
    "key": pl.String,
    "revenue": MONEY,
    "periods": pl.Int64,
    "unknown_periods": pl.Int64,
    "share": pl.Float64,
}


def earned_months(value: pl.DataFrame, name: str, up_to: date | None) -> pl.DataFrame:
    """Give revenue to months: all periods of a value together, null where one is unknown."""
    parts: dict[tuple[date, str | None], list[Decimal | None]] = defaultdict(list)
    spans: dict[tuple[date, str | None], list[tuple[datetime, datetime]]] = defaultdict(list)
    known_months: dict[tuple[datetime, datetime], list[tuple[date | None, int]]] = {}
    columns = ("period_start", "period_end", name, "revenue_usd")
    for start, end, key, revenue in value.select(columns).sort(columns, nulls_last=True).iter_rows():
        # Many periods are the same, and nearly all lie in one month.
        if (months := known_months.get((start, end))) is None:
            months = known_months[start, end] = _until(overlaps(start, end), start, up_to)
        amounts: Sequence[Decimal | None] = (
            [revenue] * len(months)
            if revenue is None or len(months) == 1
            else split(revenue, [lasts for _, lasts in months])
        )
        for (month, _), amount in zip(months, amounts, strict=True):
            if month is None:
                continue
            parts[month, key].append(amount)
            spans[month, key].append((start, end))
    rows = []
    shares: dict[tuple[date, tuple[tuple[datetime, datetime], ...]], float] = {}
    for (month, key), every in parts.items():
        known = [amount for amount in every if amount is not None]
        unknown = len(every) - len(known)
        revenue = None if unknown else exact_sum(known)
        told = month, tuple(spans[month, key])
        if told not in shares:
            shares[told] = _share(month, spans[month, key], up_to)
        rows.append((month, key, revenue, len(every), unknown, shares[told]))
    return pl.DataFrame(rows, schema=_EARNED, orient="row")


def _until(
    months: list[tuple[date, int]], start: datetime, up_to: date | None
) -> list[tuple[date | None, int]]:
    """Take the time after the last day known apart: it is of no month."""
    if up_to is None or months[-1][0] < up_to.replace(day=1):
        return list(months)
    end = start + timedelta(microseconds=sum(lasts for _, lasts in months))
    late = (end - max(_days_after(up_to), start)) // timedelta(microseconds=1)
    if late <= 0:
        return list(months)
    known: list[tuple[date | None, int]] = []
    left = sum(lasts for _, lasts in months) - late
    for month, lasts in months:
        if left > 0:
            known.append((month, min(lasts, left)))
        left -= lasts
    return [*known, (None, late)]


def _days_after(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)


def _share(month: date, spans: list[tuple[datetime, datetime]], up_to: date | None) -> float:
    """Return the part of a month that periods tell of; time that several tell of counts once."""
    begin = datetime(month.year, month.month, 1, tzinfo=UTC)
    runs_on = up_to is not None and up_to.replace(day=1) == month
    days = up_to.day if up_to is not None and runs_on else days_in_month(month)
    after = begin + timedelta(days=days)
    reached, told_time = begin, timedelta(0)
    for start, end in sorted((max(start, begin), min(end, after)) for start, end in spans):
        told_time += max(end - max(start, reached), timedelta(0))
        reached = max(reached, end)
    whole = days * _WHOLE_DAY
    return float(Fraction(told_time // timedelta(microseconds=1), whole))
