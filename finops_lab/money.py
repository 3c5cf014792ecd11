"""Exact decimals: strict parsing, a currency guard, splitting that loses nothing, display.

Money is `MONEY` = ``Decimal(38, 18)`` from the export's text to the chart's edge. Nothing here
goes through binary floats, and no amount turns into null without being counted.
"""

from __future__ import annotations

import decimal
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from fractions import Fraction

import polars as pl

from finops_lab.errors import CurrencyError, InputError

__all__ = [
    "BLANKS",
    "MONEY",
    "SCALE",
    "divided",
    "exact_sum",
    "excess_digits",
    "format_money",
    "is_blank",
    "one_currency",
    "parse",
    "parse_strict",
    "product",
    "split",
]

SCALE = 18
MONEY = pl.Decimal(38, SCALE)

# Spellings of "no value" seen in real exports (billing facts, trap 29). Compared lower-cased and stripped.
BLANKS = ("", "null", "(null)", "none", "nil", "n/a", "na", "nan", "-")
# A symbol is accepted only beside a currency it can stand for; an ISO code inside an amount is refused.
_SYMBOLS = {
    "$": {"USD", "CAD", "AUD", "NZD", "SGD", "HKD", "MXN", "TWD", "BRL", "CLP", "COP", "ARS"},
    "€": {"EUR"},
    "£": {"GBP"},
    "¥": {"JPY", "CNY"},
    "₹": {"INR"},
}
_AMOUNT = re.compile(
    r"(?P<open>\()?\s*(?P<sign>[+-])?\s*(?P<symbol>[$€£¥₹])?\s*(?P<sign2>[+-])?"
    r"(?P<whole>[1-9]\d{0,2}(?:,\d{3})+|\d*)(?P<fraction>\.\d*)?(?P<exponent>[eE][+-]?\d{1,18})?"
    r"\s*(?P<suffix>[$€£¥₹])?\s*(?P<close>\))?"
)
_LIMIT = Decimal(10) ** (38 - SCALE)


def is_blank(text: pl.Expr) -> pl.Expr:
    """Tell which strings spell "no value" (null, empty, ``NULL``, ``n/a``, ...).

    Examples
    --------
    >>> pl.select(is_blank(pl.lit(pl.Series(["NULL", " ", "0"])))).to_series().to_list()
    [True, True, False]
    """
    return text.is_null() | text.str.strip_chars().str.to_lowercase().is_in(BLANKS)


def parse(text: pl.Expr, currency: pl.Expr | None = None) -> pl.Expr:
    """Parse amounts exactly; what is not an amount becomes null.

    Plain and scientific notation, surrounding blanks, thousands separators (``1,234.50``),
    accounting parentheses (``(5.00)`` is negative) and currency symbols are read. A symbol that
    cannot belong to `currency`, ISO codes, decimal commas, NaN and infinities are refused.

    Parameters
    ----------
    text : polars.Expr
        String column of amounts.
    currency : polars.Expr, optional
        ISO 4217 code of each row, to check symbols against. Without it symbols are refused.

    Returns
    -------
    polars.Expr
        ``Decimal(38, 18)``. Null where `is_blank`, and where the text was refused: callers must
        compare the two (`parse_strict` does, the readers quarantine the row).

    Examples
    --------
    >>> df = pl.DataFrame({"a": ["1.81E-8", "1,234.50", "$(1)", "12,5", "NULL"]})
    >>> [None if v is None else format(v.normalize(), "f") for v in df.select(parse(pl.col("a")))["a"]]
    ['0.0000000181', '1234.5', None, None, None]
    """
    columns = [text, currency.cast(pl.String)] if currency is not None else [text]
    return pl.map_batches(columns, _parse_batch, return_dtype=MONEY, is_elementwise=True)


def _parse_batch(columns: Sequence[pl.Series]) -> pl.Series:
    text = columns[0].cast(pl.String)
    amounts = text.cast(MONEY, strict=False)
    # polars reads nearly every row; only what it refuses takes the slow road.
    odd = (amounts.is_null() & text.is_not_null()).arg_true()
    if odd.len() == 0:
        return amounts
    codes = columns[1].gather(odd).to_list() if len(columns) > 1 else [None] * odd.len()
    values = [_parse_odd(t, c) for t, c in zip(text.gather(odd).to_list(), codes, strict=True)]
    return amounts.scatter(odd, pl.Series(values, dtype=MONEY))


def _parse_odd(text: str, currency: str | None) -> Decimal | None:
    found = _AMOUNT.fullmatch(text.strip())
    if found is None or not (found["whole"] or (found["fraction"] or "").strip(".")):
        return None
    if bool(found["open"]) != bool(found["close"]) or (found["sign"] and found["sign2"]):
        return None
    if found["symbol"] and found["suffix"]:
        return None
    if len(found["exponent"] or "") > len("e-99999"):
        return None
    if found["open"] and (found["sign"] or found["sign2"]):
        return None  # (-5) could mean either sign
    symbol = found["symbol"] or found["suffix"]
    if symbol and currency not in _SYMBOLS[symbol]:
        return None
    sign = found["sign"] or found["sign2"] or ""
    digits = found["whole"].replace(",", "") + (found["fraction"] or "") + (found["exponent"] or "")
    with decimal.localcontext(prec=60):
        value = Decimal(sign + digits)
        if value.adjusted() > 38 - SCALE:
            return None
        # Signs are copied, not computed: arithmetic would round to the context first.
        value = value.copy_negate() if found["open"] else value
        value = value.quantize(Decimal(1).scaleb(-SCALE), rounding=decimal.ROUND_HALF_EVEN)
        return None if abs(value) >= _LIMIT else value


def excess_digits(text: pl.Expr) -> pl.Expr:
    """Tell which amounts carry more than 18 decimals, so that parsing had to round them.

    Examples
    --------
    >>> s = pl.Series(["0.1234567890123456789", "1.5E-18", "0.10000000000000000000"])
    >>> pl.select(excess_digits(pl.lit(s))).to_series().to_list()
    [True, True, False]
    """
    return text.map_batches(_excess_batch, return_dtype=pl.Boolean, is_elementwise=True)


def _excess_batch(text: pl.Series) -> pl.Series:
    text = text.cast(pl.String)
    flags = pl.Series([False]).new_from_index(0, text.len())
    suspects = text.str.len_bytes() > SCALE + 1
    for exponent in "eE":
        suspects |= text.str.contains(exponent, literal=True)
    suspects = suspects.arg_true()
    if suspects.len() == 0:
        return flags
    found = [_decimals(t) > SCALE for t in text.gather(suspects).to_list()]
    return flags.scatter(suspects, pl.Series(found, dtype=pl.Boolean))


def _decimals(text: str) -> int:
    found = _AMOUNT.fullmatch(text.strip())
    if found is None:
        return 0
    digits = found["whole"].replace(",", "") + (found["fraction"] or ".").lstrip(".")
    scale = len(found["fraction"] or ".") - 1 - int((found["exponent"] or "e0")[1:])
    return scale - (len(digits) - len(digits.rstrip("0"))) if digits.strip("0") else 0


def parse_strict(
    amounts: pl.Series, *, file: str | None = None, currency: pl.Series | None = None
) -> pl.Series:
    """Parse a whole column or refuse it: nulls after parsing are exactly the blanks before.

    Parameters
    ----------
    amounts : polars.Series
        Strings; the series' name is the column named in errors.
    file : str, optional
        File named in errors.
    currency : polars.Series, optional
        ISO 4217 code of each row.

    Returns
    -------
    polars.Series
        ``Decimal(38, 18)``.

    Raises
    ------
    InputError
        Naming the first row that is no amount.

    Examples
    --------
    >>> [str(v) for v in parse_strict(pl.Series("BilledCost", ["-0.5", None]))]
    ['-0.500000000000000000', 'None']
    """
    frame = pl.DataFrame({"text": amounts.cast(pl.String)})
    if currency is not None:
        frame = frame.with_columns(currency.alias("currency"))
    code = pl.col("currency") if currency is not None else None
    done = frame.select(parse(pl.col("text"), code).alias("amount"), is_blank(pl.col("text")).alias("blank"))
    refused = (done["amount"].is_null() & ~done["blank"]).arg_true()
    if refused.len():
        row = int(refused[0])
        raise InputError(
            f"amount {frame['text'][row]!r} is not a number ({refused.len()} such rows)",
            file=file,
            row=row + 1,
            column=amounts.name or None,
            hint="write plain decimals with a point, such as 1234.50",
        )
    return done["amount"].alias(amounts.name)


def exact_sum(amounts: Iterable[Decimal]) -> Decimal:
    """Add up amounts without rounding; Python's default context would keep 28 digits.

    Examples
    --------
    >>> exact_sum([Decimal("12345678901234567890.5"), Decimal("1E-18")])
    Decimal('12345678901234567890.500000000000000001')
    """
    with decimal.localcontext(prec=80):
        return sum(amounts, Decimal(0))


def divided(numerator: Decimal | None, denominator: Decimal | int | None, times: int = 1) -> Decimal | None:
    """Divide exactly and round once, half to even, to 18 decimals; null over nothing.

    Examples
    --------
    >>> divided(Decimal(2), Decimal(3)), divided(Decimal(2), Decimal(0))
    (Decimal('0.666666666666666667'), None)
    """
    if numerator is None or not denominator:
        return None
    with decimal.localcontext(prec=120, rounding=decimal.ROUND_HALF_EVEN):
        return (numerator * times / denominator).quantize(Decimal(1).scaleb(-SCALE))


def product(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    """Multiply exactly and round once, half to even, to 18 decimals; null where either is.

    Examples
    --------
    >>> product(Decimal("12345678901234567890.5"), Decimal("2")), product(None, Decimal(1))
    (Decimal('24691357802469135781.000000000000000000'), None)
    """
    if one is None or other is None:
        return None
    with decimal.localcontext(prec=120):
        return divided(one * other, 1)


def one_currency(currencies: Iterable[str | None]) -> str | None:
    """Return the only currency of the rows, or refuse.

    Parameters
    ----------
    currencies : iterable of str or None
        ISO 4217 codes; duplicates are fine.

    Returns
    -------
    str or None
        The code; None when there are no rows.

    Raises
    ------
    CurrencyError
        When there is more than one code, or a row without one.

    Examples
    --------
    >>> one_currency(["USD", "USD"])
    'USD'
    """
    found = set(currencies)
    if len(found) > 1 or None in found:
        names = ", ".join(sorted("(none)" if c is None else c for c in found))
        raise CurrencyError(
            f"amounts in {names} cannot be added",
            hint="add dated [[rates]] to finops.toml, or look at one BillingCurrency at a time",
        )
    return next(iter(found), None)


def split(total: Decimal, weights: Sequence[int | Decimal | Fraction], scale: int = SCALE) -> list[Decimal]:
    """Split an amount by weights so that the parts add up to it exactly.

    Largest remainder (Hamilton's method): every part is rounded towards zero, then the left-over
    units of the last decimal go to the largest remainders, the earlier part first on a tie.
    All-zero weights split evenly.

    Parameters
    ----------
    total : Decimal
        Amount to split, of any sign.
    weights : sequence of int, Decimal or Fraction
        Non-negative shares; never floats.
    scale : int
        Decimals of the parts. The total must not carry more.

    Returns
    -------
    list of Decimal
        One part per weight, ``sum(parts) == total``, each of the total's sign or zero.

    Raises
    ------
    InputError
        No weights, a negative or float weight, or a total with more decimals than `scale`.

    Examples
    --------
    >>> split(Decimal("1.00"), [1, 1, 1], scale=2)
    [Decimal('0.34'), Decimal('0.33'), Decimal('0.33')]
    >>> split(Decimal("-0.01"), [0, 0], scale=2)
    [Decimal('-0.01'), Decimal('0.00')]
    """
    if not weights:
        raise InputError("an amount cannot be split over no weights")
    if any(isinstance(w, float) for w in weights):
        raise InputError("weights must be int, Decimal or Fraction: floats are not exact")
    if any(isinstance(number, Decimal) and not number.is_finite() for number in (total, *weights)):
        raise InputError("an amount cannot be split when it or a weight is not a finite number")
    shares = [Fraction(w) for w in weights]
    if min(shares) < 0:
        raise InputError("weights must not be negative")
    if not any(shares):
        shares = [Fraction(1)] * len(shares)
    scaled = Fraction(total) * 10**scale
    if scaled.denominator != 1:
        raise InputError(f"{total} has more than {scale} decimals")
    units, sign = abs(scaled.numerator), -1 if scaled < 0 else 1
    whole = sum(shares)
    exact = [units * share / whole for share in shares]
    parts = [part.numerator // part.denominator for part in exact]
    order = sorted(range(len(parts)), key=lambda i: (parts[i] - exact[i], i))
    for i in order[: units - sum(parts)]:
        parts[i] += 1
    with decimal.localcontext(prec=max(60, len(str(units)) + 2)):
        return [Decimal(sign * part).scaleb(-scale) for part in parts]


def format_money(amount: Decimal | None, currency: str, *, decimals: int | None = None) -> str:
    """Write an amount for a reader, rounded once, half to even.

    Parameters
    ----------
    amount : Decimal or None
        The exact amount; None reads ``unknown``.
    currency : str
        ISO 4217 code.
    decimals : int, optional
        Decimals shown; the currency's own number by default.

    Examples
    --------
    >>> format_money(Decimal("-1234.565"), "USD")
    '-$1,234.56'
    >>> format_money(Decimal("1234.5"), "JPY")
    '¥1,234'
    """
    from babel.numbers import format_currency

    if amount is None:
        return "unknown"
    if decimals is None:
        return str(format_currency(amount, currency, locale="en_US"))
    pattern = "¤#,##0" + ("." + "0" * decimals if decimals else "")
    return str(format_currency(amount, currency, pattern, locale="en_US", currency_digits=False))
