"""`feature-budget.toml`: what is assumed of a feature that has no history yet."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from finops_lab.config._base import Exact, Model, Month, Names
from finops_lab.config._reading import read, validated

__all__ = [
    "AmountRange",
    "Capacity",
    "FeaturePlan",
    "PlannedModel",
    "Revenue",
    "Training",
    "Usage",
    "feature_plan",
]

_PRICES = ("input_usd_per_mtok", "output_usd_per_mtok")
# Growth and shares are raised to powers of months: more digits than these are not known anyway.
_MOST_DIGITS = 30


class AmountRange(Model):
    """A driver: a value, or the lowest, the most likely and the highest that it can be.

    A bare number is a value without doubt. Of a range, `low` and `high` may be left out where they
    are `likely`.
    """

    low: Exact
    likely: Exact
    high: Exact

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, given: Any) -> Any:
        if isinstance(given, AmountRange):
            return given
        if not isinstance(given, Mapping):
            given = {"likely": given}
        if "likely" not in given:
            return given
        return {"low": given["likely"], "high": given["likely"], **given}

    @model_validator(mode="after")
    def _in_order(self) -> AmountRange:
        if not self.low <= self.likely <= self.high:
            raise ValueError(f"{self.low} (low), {self.likely} (likely), {self.high} (high) are not in order")
        for value in (self.low, self.likely, self.high):
            if len(value.as_tuple().digits) > _MOST_DIGITS or abs(value.adjusted()) > _MOST_DIGITS:
                raise ValueError(f"{value} has more than {_MOST_DIGITS} digits")
        return self


def _not_negative(given: AmountRange) -> AmountRange:
    if given.low < 0:
        raise ValueError(f"{given.low} is below 0")
    return given


def _share(given: AmountRange) -> AmountRange:
    if given.low < 0 or given.high > 1:
        raise ValueError("a share lies between 0 and 1")
    return given


def _change(given: AmountRange) -> AmountRange:
    if given.low < -1 or given.high > 10:
        raise ValueError("a change lies between -1 (all of it is gone) and 10 (eleven times as much)")
    return given


Amount = Annotated[AmountRange, AfterValidator(_not_negative)]
Share = Annotated[AmountRange, AfterValidator(_share)]
Change = Annotated[AmountRange, AfterValidator(_change)]
_ZERO = AmountRange(low=Decimal(0), likely=Decimal(0), high=Decimal(0))
_ONE = AmountRange(low=Decimal(1), likely=Decimal(1), high=Decimal(1))


class Usage(Model):
    """`[usage]`: how much the feature is used, and what a call holds.

    `adoption` is the share of the full use that is reached in each month since the launch; its last
    value goes on. `analogues` names features to take that curve from; ``"*"`` takes all that can be
    used.
    """

    sessions_per_day: Amount | None = None
    calls_per_session: Amount = _ONE
    calls_per_second: Amount | None = None
    sessions_per_customer: Amount | None = None
    input_tokens: Amount
    output_tokens: Amount
    cache_hit_share: Share = _ZERO
    cache_write_share: Share = _ZERO
    growth_per_month: Change = _ZERO
    adoption: tuple[Amount, ...] = ()
    analogues: Names = ()

    @model_validator(mode="after")
    def _one_of_each(self) -> Usage:
        if (self.sessions_per_day is None) == (self.calls_per_second is None):
            raise ValueError("write sessions_per_day or calls_per_second, one of them")
        if self.sessions_per_day is None and {"calls_per_session", "sessions_per_customer"} & set(
            self.model_fields_set
        ):
            raise ValueError("without sessions_per_day there are no sessions: calls_per_second counts calls")
        if self.sessions_per_customer is not None and self.sessions_per_customer.low == 0:
            raise ValueError("sessions_per_customer must be above 0")
        if self.sessions_per_day is not None and self.calls_per_session.low == 0:
            raise ValueError("calls_per_session must be above 0")
        if self.adoption and self.analogues:
            raise ValueError("write adoption or analogues, not both")
        return self


class PlannedModel(Model):
    """`[[models]]`: a model that may serve the feature; the first is the plan's, others are compared.

    Without prices of its own the price book is asked. The factors say how many tokens the model
    makes of the same text, for each of the plan's.
    """

    name: str = Field(default="", max_length=60)
    provider: str | None = None
    model: str = Field(min_length=1)
    context: str = "standard"
    input_usd_per_mtok: Exact | None = Field(default=None, ge=0)
    cached_input_usd_per_mtok: Exact | None = Field(default=None, ge=0)
    cache_write_usd_per_mtok: Exact | None = Field(default=None, ge=0)
    output_usd_per_mtok: Exact | None = Field(default=None, ge=0)
    usd_per_call: Exact | None = Field(default=None, ge=0)
    price_change_per_year: Change = _ZERO
    input_tokens_factor: Exact = Field(default=Decimal(1), gt=0, le=100)
    output_tokens_factor: Exact = Field(default=Decimal(1), gt=0, le=100)

    @model_validator(mode="after")
    def _priced_whole_or_not_at_all(self) -> PlannedModel:
        own = (*_PRICES, "cached_input_usd_per_mtok", "cache_write_usd_per_mtok", "usd_per_call")
        given = [name for name in own if getattr(self, name) is not None]
        if given and any(getattr(self, name) is None for name in _PRICES):
            raise ValueError(f"{' and '.join(_PRICES)} belong together")
        return self

    @property
    def title(self) -> str:
        """The name in tables: `name`, else the model's."""
        return self.name or self.model


class Training(Model):
    """`[[training]]`: runs that make the model and keep it fresh; `models` says for which, else for all."""

    name: str = "training"
    runs_at_launch: Exact = Field(default=Decimal(0), ge=0, le=1000)
    runs_per_month: Amount = _ZERO
    usd_per_run: Amount
    models: Names = ()


class Capacity(Model):
    """`[[capacity]]`: GPUs that are paid for whether they are used or not."""

    name: str = "capacity"
    gpu_count: Amount
    rate_usd_per_gpu_hour: Amount
    hours_per_day: Exact = Field(default=Decimal(24), ge=0, le=24)
    models: Names = ()


class Revenue(Model):
    """`[revenue]`: what a call, a session or a customer's month brings; one of them."""

    usd_per_call: Exact | None = Field(default=None, ge=0)
    usd_per_session: Exact | None = Field(default=None, ge=0)
    usd_per_customer: Exact | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _one(self) -> Revenue:
        if len(self.per) != 1:
            raise ValueError("write usd_per_call, usd_per_session or usd_per_customer, one of them")
        return self

    @property
    def per(self) -> dict[str, Decimal]:
        """The unit and what it brings."""
        values = {
            "call": self.usd_per_call,
            "session": self.usd_per_session,
            "customer": self.usd_per_customer,
        }
        return {unit: value for unit, value in values.items() if value is not None}


class FeaturePlan(Model):
    """The whole of a `feature-budget.toml`. Amounts are USD, the currency of price lists."""

    name: str = Field(min_length=1, max_length=100)
    note: str = ""
    first: Month = Field(alias="from")
    months: int = Field(default=12, ge=1, le=60)
    seed: int = Field(default=1, ge=0)
    draws: int = Field(default=10_000, ge=1_000, le=100_000)
    usage: Usage
    models: tuple[PlannedModel, ...] = Field(min_length=1, max_length=20)
    training: tuple[Training, ...] = ()
    capacity: tuple[Capacity, ...] = ()
    revenue: Revenue | None = None

    @model_validator(mode="after")
    def _names(self) -> FeaturePlan:
        titles = [model.title for model in self.models]
        for what, names in (
            ("models", titles),
            ("training", [one.name for one in self.training]),
            ("capacity", [one.name for one in self.capacity]),
        ):
            if twice := next((name for name in names if names.count(name) > 1), None):
                raise ValueError(f"{what}: the name {twice!r} stands there twice")
        own: list[Training | Capacity] = [*self.training, *self.capacity]
        for one in own:
            if unknown := next((name for name in one.models if name not in titles), None):
                raise ValueError(f"{one.name} is for {unknown!r}, which is none of the models")
        per = self.revenue.per if self.revenue else {}
        if "session" in per and self.usage.sessions_per_day is None:
            raise ValueError("revenue per session needs usage.sessions_per_day")
        if "customer" in per and self.usage.sessions_per_customer is None:
            raise ValueError("revenue per customer needs usage.sessions_per_customer")
        return self


def feature_plan(given: Path | str | Mapping[str, Any] | FeaturePlan) -> FeaturePlan:
    """Read a plan from a TOML file, or check one that is given as a mapping.

    Numbers of the file are read as decimals, so that ``0.1`` is a tenth. In a mapping floats are
    refused: write ``"0.1"`` or a Decimal.

    Parameters
    ----------
    given : pathlib.Path, str, mapping or FeaturePlan
        The file, or what would stand in it.

    Returns
    -------
    FeaturePlan

    Raises
    ------
    ConfigError
        Naming file, key and line.

    Examples
    --------
    >>> usage = {"sessions_per_day": 100, "input_tokens": {"likely": 500, "high": 900}, "output_tokens": 50}
    >>> plan = feature_plan({"name": "x", "from": "2026-11", "usage": usage, "models": [{"model": "m"}]})
    >>> plan.usage.input_tokens
    AmountRange(low=Decimal('500'), likely=Decimal('500'), high=Decimal('900'))
    """
    if isinstance(given, FeaturePlan):
        return given
    if isinstance(given, Mapping):
        return validated(dict(given), FeaturePlan)
    return read(Path(given), FeaturePlan, parse_float=Decimal)
