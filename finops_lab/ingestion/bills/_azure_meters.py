"""Azure meters: how many units a price covers, which tokens a meter counts, what a quantity counts.

Sources: Cost Management's UnitOfMeasure and Quantity fields; Azure OpenAI and Foundry meter names of
the retail price list.

A quantity is documented as a number of units: "1M" would only say for how many of them the price
is. Real files do otherwise: a row of 72.100917 "1M" at 180.25 in all, where a million tokens costs
2.50, counts millions. So each row is read by its own evidence (`in_blocks`).
"""

from __future__ import annotations

import re

import polars as pl

from finops_lab.ingestion.bills._distinct import each_distinct

__all__ = [
    "BLOCK",
    "CACHE",
    "DIRECTION",
    "MODEL",
    "TOKENS",
    "UNIT",
    "in_blocks",
    "meters",
    "token_meter",
    "unit_of",
    "units",
]

_BLOCK = re.compile(r"(\d{1,3}(?:,\d{3})+|\d+)\s*([KMB])?(?![\dA-Za-z])\s*")
_MULTIPLES = {None: 1, "K": 10**3, "M": 10**6, "B": 10**9}
_PLURALS = {
    "hour": "Hours",
    "hours": "Hours",
    "hrs": "Hours",
    "hora": "Hours",
    "小时": "Hours",
    "day": "Days",
    "days": "Days",
    "month": "Months",
    "months": "Months",
    "minute": "Minutes",
    "minutes": "Minutes",
    "second": "Seconds",
    "seconds": "Seconds",
    "unit": "Units",
    "user": "Users",
    "token": "Tokens",
}
# Units of time and of size may be fractions; anything else is counted.
_MEASURED = r"(?i)hour|day|month|minute|second|\b[KMGTP]i?B\b|bps|/"

_INPUT = {"inp", "inpt", "input", "in"}
_OUTPUT = {"outp", "outpt", "output", "out", "opt"}
_CACHED = {"cached", "cchd", "ccchd", "cd"}
_WRITE = {"wr", "write"}
_PLACES = {"glbl", "gl", "global", "regnl", "rgnl", "regional", "dz", "dzone", "data"}
_TERMS = {"batch", "pp", "shortco", "longco", "dev", "preview", "prvw"}
_ENDS = {"tokens", "token", "tkn", "1k", "1m"}

# Columns made on the way. They end in a blank, which `scan_table` leaves no column of a file.
BLOCK, UNIT, TOKENS = "_block ", "_unit ", "_tokens "
MODEL, DIRECTION, CACHE = "_model ", "_direction ", "_cache "
_UNIT: dict[str, pl.DataType] = {BLOCK: pl.Int64(), UNIT: pl.String()}
_METER: dict[str, pl.DataType] = {
    TOKENS: pl.Boolean(),
    MODEL: pl.String(),
    DIRECTION: pl.String(),
    CACHE: pl.String(),
}


def unit_of(text: str) -> tuple[int, str]:
    """Read a UnitOfMeasure: how many units the price is for, and the unit.

    Examples
    --------
    >>> unit_of("10K"), unit_of("100 Hours"), unit_of("1 GB/Month"), unit_of("1/Day")
    ((10000, 'Units'), (100, 'Hours'), (1, 'GB/Month'), (1, 'Units/Day'))
    """
    text = text.strip()
    found = _BLOCK.match(text)
    block, rest = 1, text
    if found:
        block, rest = int(found[1].replace(",", "")) * _MULTIPLES[found[2]], text[found.end() :]
    if not 1 <= block <= 10**15:
        return 1, text
    rest = rest.removeprefix("1 ").strip()
    if not rest or rest.startswith("/"):
        return block, "Units" + re.sub(r"/\s+", "/", rest)
    if "/" in rest:
        return block, re.sub(r"\s*/\s*", "/", rest)
    *words, last = rest.split()
    return block, " ".join([*words, _PLURALS.get(last.lower(), last)])


def token_meter(name: str) -> tuple[bool, str | None, str | None, str | None]:
    """Read the name of a meter: whether it counts tokens, their model, direction and cache action.

    Examples
    --------
    >>> token_meter("GPT 5 outpt Glbl 1M Tokens")
    (True, 'gpt-5', 'Output', None)
    >>> token_meter("gpt-4o-0806-cached-Inp-glbl Tokens")
    (True, 'gpt-4o-0806', 'Input', 'Read')
    """
    words = re.split(r"[\s_-]+", name.strip().lower())
    if not {"tokens", "token"} & set(words):
        return False, None, None, None
    label: list[str] = []
    for word in words:
        if word in _INPUT | _OUTPUT | _PLACES | _ENDS:
            break
        if word not in _CACHED | _WRITE | _TERMS:
            label.append(word)
    way = next((word for word in words if word in _INPUT | _OUTPUT), None)
    cached, written = bool(_CACHED & set(words)), bool(_WRITE & set(words))
    embeds = any(word.startswith("embed") for word in words)
    direction = "Output" if way in _OUTPUT else "Input" if way or cached or embeds else None
    cache = None
    if direction == "Input" and (cached or written):
        cache = "Write" if written else "Read"
    return True, "-".join(label) or None, direction, cache


def units(text: pl.Expr) -> pl.Expr:
    """Read UnitOfMeasure into a struct of `BLOCK` and `UNIT`; null gives nulls."""
    return each_distinct(text, unit_of, _UNIT)


def meters(text: pl.Expr) -> pl.Expr:
    """Read meter names into a struct of `TOKENS`, `MODEL`, `DIRECTION` and `CACHE`."""
    return each_distinct(text, token_meter, _METER)


def in_blocks(quantity: pl.Expr, cost: pl.Expr, paid: pl.Expr, listed: pl.Expr) -> pl.Expr:
    """Tell whether a row's quantity counts blocks (millions, say) or single units.

    Needs the columns `BLOCK`, `UNIT` and `TOKENS`. In this order:

    1. The price paid for one of the quantity against the list price of a block: nearer to it (by
       ratio), the quantity counts blocks; nearer to a block's share of it, units.
    2. A fraction of something that is counted, such as a token, means blocks.
    3. More than 1 in money for one token means blocks.

    Parameters
    ----------
    quantity, cost, paid, listed : polars.Expr
        Quantity, its cost, the effective price and the list price of a block; any may be null or 0.

    Returns
    -------
    polars.Expr
        Boolean; null where nothing tells, and for units that are priced one by one.
    """
    number, block = quantity.cast(pl.Float64), pl.col(BLOCK).cast(pl.Float64)
    each = _positive(cost.cast(pl.Float64) / number)
    ratio = pl.coalesce(_positive(paid.cast(pl.Float64)), each) / _positive(listed.cast(pl.Float64))
    tokens = pl.col(TOKENS).fill_null(False)
    counted = tokens | ~pl.col(UNIT).str.contains(_MEASURED)
    fraction = (number - number.round(0)).abs() > 5e-7
    return (
        pl.when(block <= 1)
        .then(None)
        .when(ratio.is_not_null())
        .then(ratio >= 1 / block.sqrt())
        .when(counted & fraction)
        .then(True)
        .when(tokens & (each > 1))
        .then(True)
    )


def _positive(number: pl.Expr) -> pl.Expr:
    size = number.abs()
    return pl.when(size.is_finite() & (size > 0)).then(size)
