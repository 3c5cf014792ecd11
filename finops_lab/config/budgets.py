"""Planned spend: `[[budgets]]` of `finops.toml`."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from pydantic import Field, model_validator

from finops_lab.config._base import Currency, Exact, Model, Month

__all__ = ["Budget"]

Value = Annotated[str, Field(min_length=1)]


class Budget(Model):
    """`[[budgets]]`: planned spend of each month from `first` to `last`.

    It is for the one dimension that it names a value of; where it names none, for everything.
    Entries for the same thing and month that were `approved` on the same day, or say no day, add up;
    those of a later day take the place of all earlier ones.
    """

    team: Value | None = None
    product: Value | None = None
    model: Value | None = None
    variant: Value | None = None
    feature: Value | None = None
    customer: Value | None = None
    environment: Value | None = None
    region: Value | None = None
    business_unit: Value | None = None
    first: Month = Field(alias="from")
    last: Month = Field(alias="to")
    amount: Exact
    currency: Currency | None = None
    approved: date | None = None
    approved_by: Value | None = None
    reason: Value | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Budget:
        if self.last < self.first:
            raise ValueError("the month in `to` is before the month in `from`")
        if len(named := [name for name in _SELECTORS if getattr(self, name) is not None]) > 1:
            raise ValueError(
                f"a budget is for one thing, not for {' and '.join(named)}: write one entry for each"
            )
        return self

    @property
    def selector(self) -> tuple[str | None, str | None]:
        """What it is for: a dimension and its value; twice None for everything."""
        return next(
            ((name, getattr(self, name)) for name in _SELECTORS if getattr(self, name) is not None),
            (None, None),
        )


_SELECTORS = (
    "team",
    "product",
    "model",
    "variant",
    "feature",
    "customer",
    "environment",
    "region",
    "business_unit",
)
