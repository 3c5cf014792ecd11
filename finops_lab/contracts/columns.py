"""How contracts declare columns: what they mean, their dtype, and what they may hold.

The meaning of a column is its `description` in dataframely, and the values it may have are its
``metadata["allowed"]``: the pages of the documentation are written from them.
"""

from __future__ import annotations

from typing import Any

import dataframely as dy

from finops_lab.money import SCALE

__all__ = ["CURRENCY", "DAY", "FILE", "ROW", "count", "flag", "moment", "money", "number", "text", "whole"]

CURRENCY = r"^[A-Z]{3}$"
DAY = "day of the row's moment, in UTC"
FILE = "file the row came from, below `exports/`"
ROW = "its row in that file, from 1, without the header"


def money(meaning: str | None = None, *, nullable: bool = True, **kwargs: Any) -> dy.Decimal:
    """Declare an exact amount, price or quantity: ``Decimal(38, 18)``."""
    return dy.Decimal(38, SCALE, nullable=nullable, description=meaning, **kwargs)


def moment(meaning: str | None = None, *, nullable: bool = True) -> dy.Datetime:
    """Declare a point in time: microseconds, UTC."""
    return dy.Datetime(time_unit="us", time_zone="UTC", nullable=nullable, description=meaning)


def text(
    meaning: str | None = None,
    *,
    nullable: bool = True,
    allowed: tuple[str, ...] | None = None,
    regex: str | None = None,
) -> dy.String:
    """Declare a text, of some allowed values or of a pattern where those are given."""
    if allowed is None:
        return dy.String(nullable=nullable, regex=regex, description=meaning)
    return dy.String(
        nullable=nullable,
        regex=regex,
        check=lambda c: c.is_in(allowed) if len(allowed) > 1 else c == allowed[0],
        metadata={"allowed": allowed},
        description=meaning,
    )


def number(meaning: str | None = None, *, nullable: bool = True, **kwargs: Any) -> dy.Float64:
    """Declare a finite number."""
    return dy.Float64(nullable=nullable, allow_inf=False, allow_nan=False, description=meaning, **kwargs)


def whole(meaning: str | None = None, *, nullable: bool = True, **kwargs: Any) -> dy.Int64:
    """Declare a whole number."""
    return dy.Int64(nullable=nullable, description=meaning, **kwargs)


def count(meaning: str | None = None, *, nullable: bool = True) -> dy.Int64:
    """Declare a whole number of 0 or more."""
    return whole(meaning, nullable=nullable, min=0)


def flag(meaning: str | None = None) -> dy.Bool:
    """Declare true or false, or null where nobody knows."""
    return dy.Bool(nullable=True, description=meaning)
