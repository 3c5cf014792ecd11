"""`[[commitments]]` and `[[credits]]`: discounts for use promised ahead, and money given for a time."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import Field, model_validator

from finops_lab.config._base import Exact, Model, Month, Names
from finops_lab.config.dimensions import check_patterns

__all__ = ["Commitment", "Credit"]


class Commitment(Model):
    """`[[commitments]]`: a commitment that is offered, or one that is held.

    `where` picks the bill rows that it can pay for, as in a dimension's rule. A ``savings_plan`` is
    so much money an hour; ``reserved`` are units that run (machines, GPUs); ``provisioned`` are units
    of throughput, each of `tokens_per_hour`; ``prepaid`` are units bought at once and used up until
    the term ends. The price is a `discount` on what use costs on demand, or a `rate` a unit and hour
    (a unit, where prepaid). Levels are multiples of `step`. One that is held says its `level` and
    the day it ends (`to`), and may say how the bill calls it (`id`, CommitmentDiscountId).
    """

    name: str = Field(min_length=1)
    kind: Literal["savings_plan", "reserved", "provisioned", "prepaid"]
    status: Literal["offered", "held"] = "offered"
    where: dict[str, Names] = Field(min_length=1)
    term_months: int = Field(default=12, ge=1, le=60)
    discount: Exact | None = Field(default=None, gt=0, lt=1)
    rate: Exact | None = Field(default=None, gt=0)
    tokens_per_hour: Exact | None = Field(default=None, gt=0)
    step: Exact | None = Field(default=None, gt=0)
    level: Exact | None = Field(default=None, ge=0)
    first: date | None = Field(default=None, alias="from")
    last: date | None = Field(default=None, alias="to")
    id: str | None = None

    @model_validator(mode="after")
    def _whole(self) -> Commitment:
        check_patterns(self.where)
        if (self.discount is None) == (self.rate is None):
            raise ValueError("write a discount or a rate, one of them")
        if (self.kind == "provisioned") != (self.tokens_per_hour is not None):
            raise ValueError(
                "tokens_per_hour is what a unit of provisioned throughput takes, and of no other"
            )
        if self.kind == "savings_plan" and self.discount is None:
            raise ValueError("a savings plan is money an hour: write its discount, not a rate")
        if self.kind == "provisioned" and self.rate is None:
            raise ValueError("provisioned throughput has a rate a unit and hour, no discount")
        if self.status == "held" and (self.level is None or self.last is None):
            raise ValueError("a commitment that is held says its level, and the day it ends as `to`")
        if self.first and self.last and self.last < self.first:
            raise ValueError("the day in `to` is before the day in `from`")
        return self


class Credit(Model):
    """`[[credits]]`: a credit on the bill, and what is known of its life.

    `where` picks its rows on the bill. `grant` is what was given in all, `to` the last month in
    which it is credited.
    """

    name: str = Field(min_length=1)
    where: dict[str, Names] = Field(min_length=1)
    grant: Exact | None = Field(default=None, gt=0)
    last: Month | None = Field(default=None, alias="to")

    @model_validator(mode="after")
    def _says_an_end(self) -> Credit:
        check_patterns(self.where)
        if self.grant is None and self.last is None:
            raise ValueError("write the grant, the last month as `to`, or both")
        return self
