"""What `finops.toml` says of costs that several share: splits by use, shared costs, overrides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Annotated, Literal

import polars as pl
from pydantic import AfterValidator, Field, field_validator, model_validator

from finops_lab.config._base import Exact, Model, Month, Names
from finops_lab.config.dimensions import Dimension, check_patterns, holds, normalise_tag_key, owner

__all__ = ["Measure", "Override", "Shared", "Split", "TokenWeights"]

Measure = Literal["requests", "tokens", "weighted_tokens", "engine_seconds", "gpu_seconds", "even"]
_NOBODY = "unallocated"


def _nobody_spelled(where: dict[str, Names]) -> dict[str, Names]:
    return {n: tuple(map(owner, v)) if n == "x_team" else v for n, v in where.items()}


Owner = Annotated[str, AfterValidator(owner)]
# Conditions of ledger entries; a split's are those of bill rows, whose `x_team` is a column of their own.
Entries = Annotated[dict[str, Names], AfterValidator(_nobody_spelled)]


class TokenWeights(Model):
    """What a token of each kind weighs beside the others, when a pool is split by weighted tokens."""

    input: Exact = Field(default=Decimal(1), ge=0)
    cached_input: Exact = Field(default=Decimal("0.1"), ge=0)
    output: Exact = Field(default=Decimal(4), ge=0)


def _some(weights: TokenWeights) -> TokenWeights:
    if not any(weights.model_dump().values()):
        raise ValueError("a weight above 0 is needed: by weights of 0 no use would count")
    return weights


Weights = Annotated[TokenWeights, AfterValidator(_some)]


class Split(Model):
    """`[[splits]]`: bill rows that telemetry divides among those who used them.

    `where` picks the bill rows (the pool), `usage` the telemetry rows; both are written as in a
    rule. The bill's amount is authoritative, telemetry gives the shares, hour by hour: each bill
    row is divided by the use within its charge period. `by` is what is counted: ``requests``,
    ``tokens`` (all alike), ``weighted_tokens`` (`weights`), ``engine_seconds`` (prefill and decode
    time, else latency), ``gpu_seconds`` (busy GPU time of `gpu_samples`), or ``even``. A bill row
    that names a token direction is divided by the tokens of that direction alone. `match` names
    pairs of a bill column and a usage column that must be equal. What no telemetry explains is
    ``dark`` spend.

    `idle_pool` names the pool whose `gpu_samples` tell how much of the paid time was busy; the rest
    is the pool's idle cost, which `idle` keeps apart (``keep``), shares among the pool's users
    (``pool``), among all users of the pools of the same `cluster` (``cluster``), or charges to a
    team (``owner`` and `idle_owner`).
    """

    name: str
    where: dict[str, Names] = Field(min_length=1)
    usage: dict[str, Names] = Field(default_factory=dict)
    by: Measure = "weighted_tokens"
    weights: Weights = TokenWeights()
    match: dict[str, str] = Field(default_factory=dict)
    to: tuple[Dimension, ...] = ("team", "feature", "customer", "model", "variant", "environment")
    idle: Literal["keep", "pool", "cluster", "owner"] = "keep"
    idle_pool: str | None = None
    idle_owner: Owner | None = None
    cluster: str | None = None

    @field_validator("where", "match", mode="before")
    @classmethod
    def _tags(cls, columns: object) -> object:
        return {_spelled(n): v for n, v in columns.items()} if isinstance(columns, dict) else columns

    @model_validator(mode="after")
    def _whole(self) -> Split:
        check_patterns(self.where)
        check_patterns(self.usage)
        if (self.idle == "owner") != (self.idle_owner is not None):
            raise ValueError('idle = "owner" and idle_owner go together')
        if self.idle != "keep" and self.idle_pool is None:
            raise ValueError("idle needs idle_pool: the pool whose GPU samples tell what was idle")
        if self.idle == "cluster" and self.cluster is None:
            raise ValueError('idle = "cluster" needs cluster')
        if "team" not in self.to:
            raise ValueError("`to` needs team: the owner")
        return self


class Shared(Model):
    """`[[shared]]`: costs that others carry together. One tier after the other, in this order.

    `where` picks ledger entries (``x_team = "platform"``, ``ChargeCategory = "Tax"``, ...). Each
    billing month of them is divided among the teams of `among` (without it: all that have costs of
    their own): ``even``, ``direct`` (by their EffectiveCost without tax and credits, not below 0),
    ``fixed`` (by `shares`), or by a measure of `inference_requests` such as ``requests``.
    `within` names columns in which the team's own costs must equal the shared ones, such as
    ``ProviderName``. Where nobody is there to carry it, it stays where it was.
    """

    name: str
    where: Entries = Field(min_length=1)
    by: Literal[
        "direct",
        "even",
        "fixed",
        "requests",
        "tokens",
        "weighted_tokens",
        "engine_seconds",
        "response_bytes",
    ] = "direct"
    among: Names = ()
    without: Names = ()
    shares: dict[str, Exact] = Field(default_factory=dict)
    weights: Weights = TokenWeights()
    within: Names = ()
    first: Month | None = Field(default=None, alias="from")
    last: Month | None = Field(default=None, alias="to")

    @model_validator(mode="after")
    def _whole(self) -> Shared:
        check_patterns(self.where)
        if (self.by == "fixed") != bool(self.shares):
            raise ValueError('by = "fixed" and shares go together')
        if self.shares and (self.among or self.without):
            raise ValueError("shares already names the teams: leave among and without out")
        if any(share < 0 for share in self.shares.values()) or (
            self.shares and sum(self.shares.values()) != 1
        ):
            raise ValueError("shares must not be negative and must add up to 1")
        if self.first and self.last and self.last < self.first:
            raise ValueError("the month in `to` is before the month in `from`")
        if any(not team.strip() or team.startswith("~") for team in self.carriers()):
            raise ValueError("name the teams that carry costs by name, not by a pattern")
        if _NOBODY in map(owner, self.carriers()):
            raise ValueError(f"{_NOBODY!r} cannot carry a share")
        return self

    def sources(self, known: Sequence[str] = ()) -> tuple[str, ...]:
        """Return the teams whose costs the tier shares: those it names, and those of `known` it picks."""
        if "x_team" not in self.where:
            return ()
        named = [team for team in self.where["x_team"] if not team.startswith("~")]
        teams = pl.DataFrame({"x_team": [*named, *known]}, schema={"x_team": pl.String}).unique(
            maintain_order=True
        )
        picked = teams.filter(holds({"x_team": self.where["x_team"]}), pl.col("x_team") != _NOBODY)
        return tuple(picked["x_team"])

    def carriers(self) -> tuple[str, ...]:
        """Return the teams that carry the costs, where the tier names them."""
        return tuple(self.shares) or self.among


class Override(Model):
    """`[[overrides]]`: a decision in a dispute: from now on these entries belong to someone else.

    Applied last, in the order of the file; every one stands in the receipt with its author, reason
    and date. `where` picks ledger entries of the charge months `first` to `last`; `set` gives the
    new owner, and other dimensions where they change too.
    """

    author: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    date: date
    where: Entries = Field(min_length=1)
    first: Month | None = Field(default=None, alias="from")
    last: Month | None = Field(default=None, alias="to")
    set: dict[Dimension, Owner] = Field(min_length=1)

    @model_validator(mode="after")
    def _whole(self) -> Override:
        check_patterns(self.where)
        if self.first and self.last and self.last < self.first:
            raise ValueError("the month in `to` is before the month in `from`")
        return self


def loop(tiers: Sequence[Shared]) -> list[str] | None:
    """Return teams that pass their costs round in a circle, the first again at the end; else None.

    A tier passes the costs of the teams it names in `where`, by name or by a ``~pattern``, to the
    teams it names as carriers.

    Examples
    --------
    >>> tiers = [Shared(name="a", where={"x_team": "platform"}, among="data"),
    ...          Shared(name="b", where={"x_team": "data"}, among=["platform", "search"])]
    >>> loop(tiers)
    ['platform', 'data', 'platform']
    """
    passes: dict[str, list[str]] = {}
    # Only who carries costs can pass them on: of the teams that a pattern picks, no others matter.
    carriers = [team for tier in tiers for team in tier.carriers()]
    for tier in tiers:
        for source in tier.sources(carriers):
            passes.setdefault(source, []).extend(tier.carriers())
    for start in passes:
        if found := _way(passes, start, [start]):
            return found
    return None


def _way(passes: Mapping[str, Sequence[str]], end: str, way: list[str]) -> list[str] | None:
    for following in passes.get(way[-1], ()):
        if following == end:
            return [*way, end]
        if following not in way and (found := _way(passes, end, [*way, following])):
            return found
    return None


def _spelled(column: object) -> object:
    # Tags are columns under their normalised keys.
    if not isinstance(column, str) or not column.startswith("x_tag_"):
        return column
    return f"x_tag_{normalise_tag_key(column.removeprefix('x_tag_'))}"
