"""`[[practice]]`: what the FinOps practice saved in a month, and what it cost."""

from __future__ import annotations

from decimal import Decimal

from pydantic import Field, model_validator

from finops_lab.config._base import Currency, Exact, Model, Month

__all__ = ["Practice"]


class Practice(Model):
    """`[[practice]]`: savings that one piece of work brought in a month, and its hours and tools.

    `realised_savings` is money that the bill shows less of; `avoided_spend` would have been spent
    and never was: the two are never added. `hours` cost `rate_per_hour` each. All amounts are in
    `currency`, the lab's without it.
    """

    month: Month
    what: str = Field(min_length=1)
    realised_savings: Exact = Decimal(0)
    avoided_spend: Exact = Decimal(0)
    hours: Exact = Field(default=Decimal(0), ge=0)
    rate_per_hour: Exact | None = Field(default=None, ge=0)
    tools: Exact = Field(default=Decimal(0), ge=0)
    currency: Currency | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Practice:
        if not any((self.realised_savings, self.avoided_spend, self.hours, self.tools)):
            raise ValueError("write realised_savings, avoided_spend, hours or tools")
        return self
