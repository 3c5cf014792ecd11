"""`[[events]]`: what people know about months of spend that a forecast cannot."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import Field, model_validator

from finops_lab.config._base import Exact, Model, Month

__all__ = ["Event"]

DimensionName = Literal[
    "team",
    "product",
    "model",
    "variant",
    "feature",
    "customer",
    "environment",
    "region",
    "business_unit",
]
_ONE_MONTH = ("one_off", "incomplete")
# What may say how large an event of a kind was.
_SIZES: dict[str, tuple[str, ...]] = {
    "one_off": ("amount",),
    "credit": ("amount",),
    "incomplete": (),
    "price_cut": ("factor",),
    "price_rise": ("factor",),
    "launch": ("factor", "amount"),
    "migration": ("factor", "amount"),
}


class Event(Model):
    """`[[events]]`: an event of everything, of a team, or of a value of a dimension.

    `first` and `last` are months, both included; without `last` a one-off or incomplete month is one
    month, and anything else goes on. `amount` is what the event puts on each of its months (a credit:
    takes off), in the lab's currency; `factor` is the price or level after it over that before.
    """

    name: str = Field(min_length=1)
    kind: Literal["one_off", "credit", "incomplete", "price_cut", "price_rise", "launch", "migration"]
    first: Month = Field(alias="from")
    last: Month | None = Field(default=None, alias="to")
    team: str | None = None
    dimension: DimensionName | None = None
    key: str | None = None
    factor: Exact | None = Field(default=None, gt=0)
    amount: Exact | None = Field(default=None, gt=0)

    @property
    def by(self) -> str | None:
        """The dimension of the value that it is an event of; None for everything."""
        return "team" if self.team is not None else self.dimension

    @property
    def value(self) -> str | None:
        """The value that it is an event of; None for everything."""
        return self.key if self.team is None else self.team

    @property
    def end(self) -> date | None:
        """Its last month; None where it goes on."""
        return self.first if self.last is None and self.kind in _ONE_MONTH else self.last

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Event:
        if self.last is not None and self.last < self.first:
            raise ValueError("the month in `to` is before the month in `from`")
        if (self.dimension is None) != (self.key is None):
            raise ValueError("dimension and key belong together")
        if self.team is not None and self.dimension is not None:
            raise ValueError("write team, or dimension and key")
        price_goes_back = self.kind in ("price_cut", "price_rise") and self.factor is not None
        if self.last is not None and self.kind not in (*_ONE_MONTH, "credit") and not price_goes_back:
            raise ValueError("a new level goes on: leave `to` out; a price that goes back needs its factor")
        for name in ("factor", "amount"):
            if getattr(self, name) is not None and name not in _SIZES[self.kind]:
                raise ValueError(f"{self.kind} has no {name}")
        if self.factor is not None and self.amount is not None:
            raise ValueError("write factor or amount, not both")
        if self.factor is not None and (
            (self.kind == "price_cut" and self.factor >= 1)
            or (self.kind == "price_rise" and self.factor <= 1)
        ):
            raise ValueError('factor is the new price over the old: "0.65" for 35 % less')
        return self
