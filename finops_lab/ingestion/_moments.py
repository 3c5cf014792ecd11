"""Points in time as exports spell them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Literal

import polars as pl

__all__ = ["MOMENT", "Epoch", "microseconds", "moments"]

MOMENT = pl.Datetime("us", "UTC")
Epoch = Literal["s", "ms", "us", "ns"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# The years 1 to 9999 are those that Python and Delta can write.
_FIRST, _LAST = -62_135_596_800_000_000, 253_402_300_799_999_999
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
# The FOCUS working group's own examples write 4/2/25; only the American order has been seen.
_AMERICAN = (
    "%m/%d/%Y",
    "%m/%d/%y",
    "%m/%d/%Y %H:%M",
    "%m/%d/%y %H:%M",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %I:%M:%S %p",
)


def microseconds(value: object, *, epoch: Epoch | None = None, american: bool = False) -> int | None:
    """Read one point in time as microseconds since 1970, UTC; null when it is none.

    Parameters
    ----------
    value : object
        ISO 8601 text with or without T, Z, seconds or offset (without an offset it is UTC); a
        number, or text of one, where `epoch` says what it counts.
    epoch : {"s", "ms", "us", "ns"}, optional
        Unit of numbers since 1970.
    american : bool
        Also read m/d/y dates.

    Examples
    --------
    >>> microseconds("1970-01-01T00:00:01Z"), microseconds(1.5, epoch="ms"), microseconds("1/2/70")
    (1000000, 1500, None)
    >>> microseconds("1/2/70", american=True)
    86400000000
    """
    found: int | None = None
    if isinstance(value, str):
        text = value.strip()
        when = _datetime(text, american)
        if when is not None:
            try:
                found = ((when if when.tzinfo else when.replace(tzinfo=UTC)) - _EPOCH) // _MICROSECOND
            except OverflowError:  # within a day of the first or last year
                return None
        elif epoch and "_" not in text:
            try:
                value = Decimal(text)
            except InvalidOperation:
                return None
    if epoch and isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        size = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
        if size.is_finite() and size.adjusted() < 25:
            found = int(size * 1_000_000 / _PER_SECOND[epoch])
    return found if found is not None and _FIRST <= found <= _LAST else None


def _datetime(text: str, american: bool) -> datetime | None:
    # Python reads "20241101" as a date, which here is more likely a number.
    if not text.isdecimal():
        try:
            return datetime.fromisoformat(text.removesuffix(" UTC"))
        except ValueError:
            pass
    for form in _AMERICAN if american and "/" in text else ():
        try:
            return datetime.strptime(text, form)
        except ValueError:
            continue
    return None


def moments(text: pl.Expr, *, epoch: Epoch | None = None, american: bool = True) -> pl.Expr:
    """Read points in time from text, as `microseconds` does; what is no moment becomes null.

    Examples
    --------
    >>> s = pl.Series(["2024-09-01 00:00:00", "2023-11-13T10:00Z", "4/2/25", "13/13/25"])
    >>> [None if m is None else m.isoformat() for m in pl.select(moments(pl.lit(s))).to_series()]
    ['2024-09-01T00:00:00+00:00', '2023-11-13T10:00:00+00:00', '2025-04-02T00:00:00+00:00', None]
    """

    def read(texts: pl.Series) -> pl.Series:
        # A bill has few distinct moments: read each spelling once.
        distinct = texts.unique()
        read = [microseconds(t, epoch=epoch, american=american) for t in distinct.to_list()]
        table = pl.DataFrame({"text": distinct, "moment": pl.Series(read, dtype=pl.Int64).cast(MOMENT)})
        joined = texts.alias("text").to_frame().join(table, on="text", how="left", maintain_order="left")
        return joined["moment"].alias(texts.name)

    return text.map_batches(read, return_dtype=MOMENT, is_elementwise=True)
