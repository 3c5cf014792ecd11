"""How findings are worded: amounts, counts, months, days and places."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal

from finops_lab.money import format_money

__all__ = ["amount", "days", "listed", "place", "share", "shown", "span"]

_LONG = 80


def shown(value: object) -> str:
    """Quote a value of the data: one line, never long.

    Examples
    --------
    >>> shown(" Team"), shown(None)
    ("' Team'", 'none')
    """
    if value is None:
        return "none"
    text = str(value)
    return repr(text if len(text) <= _LONG else text[: _LONG - 1] + "…")


def amount(value: Decimal | None, currency: str | None) -> str:
    """Write an amount; small ones keep the digits that tell them from nothing.

    Examples
    --------
    >>> amount(Decimal("12.5"), "USD"), amount(Decimal("-0.00123"), "USD"), amount(Decimal(2), "TOKEN")
    ('$12.50', '-$0.0012', '2.00 TOKEN')
    """
    if value is None:
        return "an unknown amount"
    decimals = None if value == 0 or abs(value) >= 1 else min(18, 1 - value.adjusted())
    if currency is None or not re.fullmatch(r"[A-Z]{3}", currency):
        return f"{value:,.{2 if decimals is None else decimals}f} {currency or '(no currency)'}"
    return format_money(value, currency, decimals=None if decimals is None else max(decimals, 2))


def share(part: Decimal | float | int, whole: Decimal | float | int) -> str:
    """Write a share in percent; of nothing there is no share.

    Examples
    --------
    >>> share(1, 3), share(Decimal("1.083"), Decimal(1)), share(1, 0)
    ('33.3 %', '108.3 %', 'no share')
    """
    return f"{float(part) / float(whole):.1%}".replace("%", " %") if whole else "no share"


def span(first: object, last: object) -> str:
    """Name a period by both of its ends.

    Examples
    --------
    >>> span("2026-08", "2026-08"), span("2026-08", "2026-10")
    ('2026-08', '2026-08 to 2026-10')
    """
    return f"{first}" if first == last else f"{first} to {last}"


def days(found: Sequence[date], most: int = 5) -> str:
    """List some days."""
    return listed([str(day) for day in sorted(found)], most)


def listed(names: Iterable[str], most: int = 5) -> str:
    """List some names and say how many more there are.

    Examples
    --------
    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    all_of_them = list(names)
    more = len(all_of_them) - most
    return ", ".join(all_of_them[:most]) + (f" and {more} more" if more > 0 else "")


def place(*parts: object) -> str:
    """Say where: the parts that are known.

    Examples
    --------
    >>> place("AWS", None, "2026-10")
    'AWS / 2026-10'
    """
    return " / ".join(str(part) for part in parts if part is not None)
