"""`[[activities]]`: which charges are inference and which are training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from finops_lab.config._base import Model, Names
from finops_lab.config.dimensions import check_patterns

__all__ = ["Activity", "ActivityName"]

ActivityName = Literal["inference", "training", "other"]


class Activity(Model):
    """`[[activities]]`: entries of the ledger that are inference, training or neither.

    `where` picks entries of the ledger, written as in a rule; dimensions are ``x_team``,
    ``x_feature`` and so on. The first that fits wins, before the built-in rules. `name` is what
    figures call the rule.
    """

    name: str = Field(min_length=1)
    activity: ActivityName
    where: dict[str, Names] = Field(min_length=1)

    @model_validator(mode="after")
    def _patterns(self) -> Activity:
        check_patterns(self.where)
        return self
