"""Short texts of charts: compact amounts, percentages and the axis formats that match them."""

from __future__ import annotations

import functools
import json
import math
import re

__all__ = ["amount_axis", "compact", "currency_symbol", "log_ticks", "measure", "percent"]

_STEPS = ((9, "B"), (6, "M"), (3, "k"))


@functools.cache
def _symbol(unit: str) -> str | None:
    """Return what stands before an amount of the currency; None when `unit` is no currency."""
    if not re.fullmatch(r"[A-Z]{3}", unit):
        return None
    from babel.numbers import get_currency_symbol, is_currency

    if not is_currency(unit, "en_US"):
        return None
    symbol = str(get_currency_symbol(unit, "en_US"))
    return f"{symbol}\u00a0" if symbol[-1].isalpha() else symbol


def currency_symbol(unit: str) -> str:
    """Return what stands before an amount of the currency; nothing when `unit` is no currency.

    Examples
    --------
    >>> currency_symbol("EUR"), currency_symbol("GPU hours")
    ('€', '')
    """
    return _symbol(unit) or ""


def compact(value: float, unit: str = "USD") -> str:
    """Write an amount in few characters, for a bar's label or a sentence.

    Parameters
    ----------
    value : float
        The amount. Only for display: exact amounts are written by `finops_lab.money.format_money`.
    unit : str
        ISO 4217 code (its symbol is written), or the name of any other unit (not written).

    Returns
    -------
    str
        One decimal from a thousand on, three significant digits below (of money at least cents); a
        billion is ``B``.

    Examples
    --------
    >>> compact(412345.6), compact(-1_260_000), compact(999_960), compact(20.522), compact(0)
    ('$412.3k', '-$1.3M', '$1.0M', '$20.52', '$0')
    >>> compact(0.04517), compact(0.5), compact(2.5, "GPUs")
    ('$0.0452', '$0.50', '2.5')
    >>> compact(12_000, "GPU hours")
    '12.0k'
    """
    sign, size = ("-" if value < 0 else ""), abs(value)
    text = _digits(size, 2 if _symbol(unit) is not None else 0)
    return f"{sign if text.strip('0.') else ''}{_symbol(unit) or ''}{text}"


def _digits(size: float, cents: int) -> str:
    for exponent, suffix in _STEPS:
        scaled = round(size / 10**exponent, 1)
        if scaled >= 1:
            return f"{scaled:,.1f}{suffix}"
    if size == 0:
        return "0"
    if size >= 100:
        return f"{size:.0f}"
    if size >= 1 and cents:
        return f"{size:.{cents}f}"
    whole, _, decimals = f"{float(f'{size:.3g}'):.10f}".partition(".")
    decimals = decimals.rstrip("0").ljust(cents, "0")
    return f"{whole}.{decimals}" if decimals else whole


def measure(value: float, unit: str) -> str:
    """Write an amount with its unit, as a sentence needs it.

    Examples
    --------
    >>> measure(1500, "USD"), measure(1500, "GPU hours")
    ('$1.5k', '1.5k GPU hours')
    """
    return compact(value, unit) if _symbol(unit) is not None else f"{compact(value, unit)} {unit}"


def percent(share: float) -> str:
    """Write a share of one as a percentage.

    Examples
    --------
    >>> percent(0.5149), percent(0.034)
    ('51%', '3.4%')
    """
    return f"{share:.0%}" if abs(share) >= 0.0995 else f"{share:.1%}"


def amount_axis(unit: str) -> str:
    """Return the Vega expression that writes an axis value as `compact` does, without idle zeros.

    Below a thousand plain digits are used: d3's SI format would write half a dollar as ``500m``.

    Examples
    --------
    >>> "'~s'" in amount_axis("USD")
    True
    """
    size = "abs(datum.value)"
    large = f"replace(format({size}, '~s'), 'G', 'B')"
    small = f"format({size}, '.3~r')"
    symbol = json.dumps(_symbol(unit) or "", ensure_ascii=False)
    return f"(datum.value < 0 ? '-' : '') + {symbol} + ({size} >= 1000 ? {large} : {small})"


def log_ticks(low: float, high: float) -> list[float]:
    """Return 1, 2, 5, 10, ... inside a logarithmic axis: Vega's own choice leaves some without a label.

    Examples
    --------
    >>> log_ticks(0.15, 12)
    [0.2, 0.5, 1.0, 2.0, 5.0, 10.0]
    """
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    marks = [float(f"{lead}e{exponent}") for exponent in exponents for lead in (1, 2, 5)]
    return [mark for mark in marks if low <= mark <= high]
