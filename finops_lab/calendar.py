"""Months and days: the periods that bills, budgets and reviews speak of.

A month is the `datetime.date` of its first day. Nothing here reads a clock: "today" is a parameter.
"""

from __future__ import annotations

import calendar as _calendar
import re
from datetime import UTC, date, datetime, time

from finops_lab.errors import InputError

__all__ = [
    "add_months",
    "days_in_month",
    "first_of",
    "format_month",
    "is_closed",
    "last_closed_month",
    "moment_of",
    "month_name",
    "months_between",
    "months_from",
    "parse_day",
    "parse_moment",
    "parse_month",
]


def parse_month(text: object) -> date:
    """Read a month written ``YYYY-MM``.

    Parameters
    ----------
    text : object
        The month as typed. Anything but a ``YYYY-MM`` string is refused, an integer such as
        ``202610`` too (a shell or YAML may have eaten the dash).

    Returns
    -------
    datetime.date
        The first day of the month.

    Raises
    ------
    InputError
        When the text is no month.

    Examples
    --------
    >>> parse_month("2026-10")
    datetime.date(2026, 10, 1)
    """
    if not isinstance(text, str) or not re.fullmatch(r"(19|2[0-9])[0-9]{2}-(0[1-9]|1[0-2])", text):
        raise InputError(f"month must be written like 2026-10, not {text!r}")
    return date(int(text[:4]), int(text[5:]), 1)


def parse_day(day: str | date, name: str) -> date:
    """Read a day written ``YYYY-MM-DD``; a moment is on its day.

    Parameters
    ----------
    day : str or datetime.date
        The day as typed, or one that needs no reading.
    name : str
        What the error calls it.

    Raises
    ------
    InputError
        When the text is no day.

    Examples
    --------
    >>> parse_day("2026-10-05", "since"), parse_day(datetime(2026, 10, 5, 9), "since")
    (datetime.date(2026, 10, 5), datetime.date(2026, 10, 5))
    """
    if isinstance(day, date):
        return day.date() if isinstance(day, datetime) else day
    try:
        return date.fromisoformat(day)
    except ValueError:
        raise InputError(f"{name} must be written like 2026-10-05, not {day!r}") from None


def parse_moment(moment: str | date, name: str) -> datetime:
    """Read a moment in UTC; a day is its midnight, and without a zone it is in UTC.

    Parameters
    ----------
    moment : str or datetime.date
        As typed, such as ``2026-10-17`` or ``2026-10-17T08:00``, or one that needs no reading.
    name : str
        What the error calls it.

    Raises
    ------
    InputError
        When the text is no moment.

    Examples
    --------
    >>> parse_moment("2026-10-17T08:00+02:00", "at").isoformat(), parse_moment(date(2026, 10, 17), "at").hour
    ('2026-10-17T06:00:00+00:00', 0)
    """
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            raise InputError(
                f"{name} must be written like 2026-10-17 or 2026-10-17T08:00, not {moment!r}"
            ) from None
    if not isinstance(moment, datetime):
        moment = datetime.combine(moment, time())
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def moment_of(at: str | date | None) -> datetime | None:
    """Return the moment up to which a month is known, in UTC; None where none is given.

    Parameters
    ----------
    at : str or datetime.date or None
        As for `parse_moment`; an empty text, such as a notebook's parameter has, is none.

    Raises
    ------
    InputError
        When it is no moment.

    Examples
    --------
    >>> moment_of("2026-10-17"), moment_of("")
    (datetime.datetime(2026, 10, 17, 0, 0, tzinfo=datetime.timezone.utc), None)
    """
    return None if at is None or at == "" else parse_moment(at, "at")


def format_month(month: date) -> str:
    """Write a month as ``YYYY-MM``.

    Examples
    --------
    >>> format_month(date(2026, 10, 1))
    '2026-10'
    """
    return f"{month:%Y-%m}"


def month_name(month: date) -> str:
    """Write a month for a reader, in English.

    Examples
    --------
    >>> month_name(date(2026, 10, 1))
    'October 2026'
    """
    return f"{_calendar.month_name[month.month]} {month.year}"


def add_months(month: date, n: int) -> date:
    """Return the month `n` months later (earlier when negative).

    Examples
    --------
    >>> add_months(date(2026, 11, 1), 2)
    datetime.date(2027, 1, 1)
    """
    index = month.year * 12 + month.month - 1 + n
    return date(index // 12, index % 12 + 1, 1)


def days_in_month(month: date) -> int:
    """Return the number of days of the month.

    Examples
    --------
    >>> days_in_month(date(2028, 2, 1))
    29
    """
    return _calendar.monthrange(month.year, month.month)[1]


def is_closed(month: date, today: date) -> bool:
    """Tell whether the month has ended by `today`.

    Examples
    --------
    >>> is_closed(date(2026, 10, 1), today=date(2026, 10, 31))
    False
    """
    return add_months(month, 1) <= today


def last_closed_month(today: date) -> date:
    """Return the newest month that has ended by `today`.

    Examples
    --------
    >>> last_closed_month(date(2026, 11, 23))
    datetime.date(2026, 10, 1)
    """
    return add_months(today.replace(day=1), -1)


def months_from(first: date, last: date) -> list[date]:
    """Return every month from `first` to `last`, both included.

    Examples
    --------
    >>> months_from(date(2026, 12, 1), date(2027, 1, 1))
    [datetime.date(2026, 12, 1), datetime.date(2027, 1, 1)]
    """
    return [add_months(first, i) for i in range(max(months_between(first, last) + 1, 0))]


def first_of(month: str | date) -> date:
    """Return the first day of a month that is written, or of the month of a day.

    Raises
    ------
    InputError
        When it is no month.

    Examples
    --------
    >>> first_of("2026-10"), first_of(date(2026, 10, 17))
    (datetime.date(2026, 10, 1), datetime.date(2026, 10, 1))
    """
    return date(month.year, month.month, 1) if isinstance(month, date) else parse_month(month)


def months_between(first: date, last: date) -> int:
    """Count the months from the month of one day to that of another; below 0 where it comes before.

    Examples
    --------
    >>> months_between(date(2025, 11, 1), date(2026, 2, 1))
    3
    """
    return (last.year - first.year) * 12 + last.month - first.month
