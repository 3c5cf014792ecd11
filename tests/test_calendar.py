"""Months and days."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finops_lab.calendar import (
    add_months,
    days_in_month,
    format_month,
    is_closed,
    last_closed_month,
    month_name,
    months_from,
    parse_month,
)
from finops_lab.errors import InputError

DAYS = st.dates(date(1950, 1, 1), date(2900, 12, 31))
MONTHS = DAYS.map(lambda day: day.replace(day=1))


@given(MONTHS)
def test_a_month_survives_writing_and_reading(month: date) -> None:
    assert parse_month(format_month(month)) == month


@pytest.mark.parametrize(
    "text",
    [
        "", "2026", "2026-1", "2026-00", "2026-13", "26-10", "2026-10-01", "2026/10", " 2026-10", "2026-10\n",
        "Oct 2026", "0000-01", "9999-12", "\uff12\uff10\uff12\uff16-10", "2026-\u0661\u0662", "previous",
        202610, 2026.1, None, True, date(2026, 10, 1),
    ],
)  # fmt: skip
def test_what_is_no_month_is_refused(text: object) -> None:
    with pytest.raises(InputError, match="month must be written like 2026-10"):
        parse_month(text)


@given(MONTHS, st.integers(-600, 600))
def test_adding_months_counts_them(month: date, n: int) -> None:
    later = add_months(month, n)
    assert later.day == 1
    assert (later.year - month.year) * 12 + later.month - month.month == n
    assert add_months(later, -n) == month


@given(MONTHS)
def test_a_month_ends_where_the_next_begins(month: date) -> None:
    assert month + timedelta(days=days_in_month(month)) == add_months(month, 1)


def test_lengths() -> None:
    assert [days_in_month(date(2023, 2, 1)), days_in_month(date(2024, 2, 1))] == [28, 29]
    assert [days_in_month(date(1900, 2, 1)), days_in_month(date(2000, 2, 1))] == [28, 29]


@given(DAYS)
def test_the_last_closed_month_is_closed_and_the_next_is_not(today: date) -> None:
    last = last_closed_month(today)
    assert is_closed(last, today)
    assert not is_closed(add_months(last, 1), today)


def test_a_month_closes_on_the_first_of_the_next() -> None:
    assert not is_closed(date(2026, 12, 1), date(2026, 12, 31))
    assert is_closed(date(2026, 12, 1), date(2027, 1, 1))
    assert last_closed_month(date(2027, 1, 1)) == date(2026, 12, 1)


@given(MONTHS, st.integers(-3, 40))
def test_months_from_lists_each_once(first: date, n: int) -> None:
    months = months_from(first, add_months(first, n))
    assert len(months) == max(n + 1, 0)
    assert months == sorted(set(months))
    if months:
        assert (months[0], months[-1]) == (first, add_months(first, n))


def test_names() -> None:
    assert month_name(date(2026, 2, 1)) == "February 2026"
    assert format_month(date(2026, 2, 1)) == "2026-02"
