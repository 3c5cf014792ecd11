"""`[[ai_spend]]` and `[adoption]`: which charges are AI spend, and when a practice is worth it."""

from __future__ import annotations

from decimal import Decimal

from pydantic import Field, model_validator

from finops_lab.config._base import Exact, Model, Names
from finops_lab.config.dimensions import check_patterns

__all__ = ["AdoptionRule", "AiSpendRule"]


class AiSpendRule(Model):
    """`[[ai_spend]]`: charges that are AI spend of some kind, or none.

    The first rule that fits wins, before the built-in ones. `where` picks bill rows as in a
    dimension's rule; `text` holds regular expressions, one of which must be found, in whatever
    case, in one of the columns `look_in` (those that say what was bought, where it is not given).
    `kind` ``not AI`` keeps charges out. `certain` is false for what only may be AI.
    """

    name: str = Field(min_length=1)
    kind: str = Field(min_length=1)
    certain: bool = True
    where: dict[str, Names] = Field(default_factory=dict)
    text: Names = ()
    look_in: Names = ()

    @model_validator(mode="after")
    def _picks_something(self) -> AiSpendRule:
        if not self.where and not self.text:
            raise ValueError("write where, text or both")
        if self.look_in and not self.text:
            raise ValueError("look_in needs a text to look for")
        check_patterns(self.where)
        check_patterns({"text": tuple(f"~{pattern}" for pattern in self.text)})
        return self


class AdoptionRule(Model):
    """`[adoption]`: an AI FinOps practice is worth it above this share of the bill and teams.

    `share_above` is AI spend of the whole bill, 0 to 1; `teams_at_least` counts teams with AI spend.
    """

    share_above: Exact = Field(default=Decimal("0.10"), ge=0, lt=1)
    teams_at_least: int = Field(default=2, ge=1)
