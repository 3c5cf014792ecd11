"""What the models of `finops.toml` share."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from finops_lab.calendar import parse_month
from finops_lab.errors import ConfigError, InputError

__all__ = ["Currency", "Exact", "Model", "Month", "Names", "check_columns"]


def _month(value: object) -> date:
    try:
        return parse_month(value)
    except InputError as error:
        raise ValueError(str(error)) from None


def _exact(value: object) -> object:
    if isinstance(value, float):
        raise ValueError(f'write the amount as a string to keep it exact, such as "{value}"')
    return value


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


Month = Annotated[date, BeforeValidator(_month)]
Exact = Annotated[Decimal, BeforeValidator(_exact)]
Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]


class Model(BaseModel):
    """Frozen, and without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def check_columns(where: Mapping[str, Names], known: Sequence[str], whose: str) -> None:
    """Refuse a `where` that looks at a column which the rows do not have.

    Raises
    ------
    ConfigError
        With the name that was most likely meant.

    Examples
    --------
    >>> check_columns({"SkuId": ("p5",)}, ["SkuId", "ServiceName"], "credit 'a'")
    """
    for column in where:
        if column not in known:
            close = difflib.get_close_matches(column, known, n=1)
            raise ConfigError(
                f"{whose} looks at column {column!r}, which the bill does not have",
                hint=f"did you mean {close[0]!r}?" if close else None,
            )
