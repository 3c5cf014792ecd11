"""Figures of KPIs in words: each in its own unit, with as many digits as a reader needs."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal

from finops_lab.money import format_money

__all__ = ["between", "figure", "spark", "target"]

_BLOCKS = "▁▂▃▄▅▆▇█"
_DIGITS = 3


def figure(value: Decimal | None, unit: str | None, currency: str = "USD") -> str | None:
    """Write a figure in its unit: a ratio in percent, money with its sign, small amounts in full.

    Parameters
    ----------
    value : Decimal or None
        The figure.
    unit : str or None
        Such as ``ratio``, ``USD per call`` or ``ms``.
    currency : str
        The currency that a unit may begin with.

    Returns
    -------
    str or None
        None where there is no value.

    Examples
    --------
    >>> figure(Decimal("0.8825"), "ratio"), figure(Decimal("0.001929"), "USD per call")
    ('88.2%', '$0.00193 per call')
    >>> figure(Decimal(4770), "ms"), figure(Decimal("61593.57"), "USD per month")
    ('4,770 ms', '$61,594 per month')
    """
    if value is None:
        return None
    if unit in ("ratio", "share"):
        return f"{_rounded(value * 100, 1)}%"
    head, _, rest = (unit or "").partition(" ")
    if head == currency:
        size = abs(value)
        digits = 0 if size >= 1000 else 2 if size >= 1 or size == 0 else _DIGITS - 1 - size.adjusted()
        return f"{format_money(value, currency, decimals=digits)} {rest}".strip()
    whole = abs(value) >= 100 or value == value.to_integral_value()
    return f"{_rounded(value, 0 if whole else 2)} {unit or ''}".strip()


def _rounded(value: Decimal, places: int) -> str:
    exact = value.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_EVEN)
    return f"{abs(exact) if exact == 0 else exact:,f}"


def target(
    least: Decimal | None, most: Decimal | None, unit: str | None, currency: str = "USD"
) -> str | None:
    """Write the range of a target.

    Examples
    --------
    >>> target(Decimal("0.6"), Decimal("0.85"), "ratio"), target(None, Decimal(500), "ms")
    ('60.0% to 85.0%', 'at most 500 ms')
    """
    low, high = (_short(end, unit, currency) for end in (least, most))
    if low and high:
        return f"{low} to {high}"
    return f"at least {low}" if low else f"at most {high}" if high else None


def between(
    lower: Decimal | None, upper: Decimal | None, unit: str | None, currency: str = "USD"
) -> str | None:
    """Write the bounds of a figure that is not exact. None where there are none.

    Examples
    --------
    >>> between(Decimal("0.0198"), Decimal("0.0301"), "ratio"), between(Decimal("0.00101"), None, "USD per call")
    ('2.0% to 3.0%', '$0.00101 or more')
    """
    # What it is per stands with the value already.
    per = currency if (unit or "").partition(" ")[0] == currency else unit
    low, high = (
        figure(end, per if per in ("ratio", "share", currency) else None, currency) for end in (lower, upper)
    )
    if low and high:
        return f"{low} to {high}"
    return f"{low} or more" if low else f"{high} or less" if high else None


def _short(value: Decimal | None, unit: str | None, currency: str) -> str | None:
    """Write an end of a range: what it is per stands with the value already."""
    if value is None or unit in ("ratio", "share"):
        return figure(value, unit, currency)
    if (unit or "").partition(" ")[0] == currency:
        cents = abs(value) < 1000 and value == value.quantize(Decimal("0.01"))
        return format_money(value, currency, decimals=2) if cents else figure(value, currency, currency)
    return figure(value, "ms" if unit == "ms" else None)


def spark(values: Sequence[Decimal | None]) -> str | None:
    """Draw a row of values as blocks; a month without a value is a dot. None without any value.

    Examples
    --------
    >>> spark([None, Decimal(1), Decimal(3), Decimal(2)])
    '·▁█▄'
    """
    known = [value for value in values if value is not None]
    if not known:
        return None
    low, high = min(known), max(known)
    top = len(_BLOCKS) - 1

    def block(value: Decimal | None) -> str:
        if value is None:
            return "·"
        return _BLOCKS[int((value - low) * top / (high - low))] if high > low else _BLOCKS[top // 2]

    return "".join(map(block, values))
