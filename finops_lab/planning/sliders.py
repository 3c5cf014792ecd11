"""Where the slider of a driver may stand, and how its value is written."""

from __future__ import annotations

from decimal import Decimal

from finops_lab.planning.drivers import Driver

__all__ = ["SHARES", "positions", "shown", "steps"]

# Units that are written in percent.
SHARES = ("share", "change")
# Drivers whose slider begins at nothing have no scale of their own.
_SCALE = {"share": Decimal(1), "change": Decimal("0.5"), "tokens": Decimal(1000)}


def steps(one: Driver) -> tuple[Decimal, Decimal, int, int]:
    """Return where a driver's slider begins, its step, how many steps it has, and that of the likely value.

    The range is at least that of the driver, and half to twice its likely value; the likely value
    is on a step, to the last digit.

    Examples
    --------
    >>> steps(Driver("input_tokens", "", "tokens", Decimal(1800), Decimal(2600), Decimal(4200)))
    (Decimal('1300'), Decimal('5E+1'), 78, 26)
    """
    if one.unit == "change":
        low, high = min(one.low, one.likely - _SCALE["change"]), max(one.high, one.likely + _SCALE["change"])
        low = max(low, Decimal(-1))
    else:
        low = min(one.low, one.likely / 2)
        high = max(one.high, one.likely * 2) or _SCALE.get(one.unit, Decimal(1))
        high = min(high, Decimal(1)) if one.unit == "share" else high
    size = (high - low) / 100
    step = Decimal(1).scaleb(size.adjusted())
    step *= next(by for by in (1, 2, 5, 10) if step * by >= size)
    below, above = int((one.likely - low) / step), int((high - one.likely) / step)
    return one.likely - below * step, step, below + above, below


def positions(one: Driver) -> list[Decimal]:
    """Return every value that a driver's slider can have."""
    first, step, count, _ = steps(one)
    return [first + n * step for n in range(count + 1)]


def shown(value: Decimal, unit: str, *, bare: bool = False) -> str:
    """Write a driver's value for a reader; `bare` leaves the unit out, where it follows.

    Examples
    --------
    >>> shown(Decimal("0.450"), "share"), shown(Decimal("12000.50"), "tokens")
    ('45%', '12,000.5 tokens')
    """
    number = value * 100 if unit in SHARES else value
    text = f"{number:,f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    if unit in SHARES:
        return f"{text}%"
    return text if bare else f"{text} {unit}"
