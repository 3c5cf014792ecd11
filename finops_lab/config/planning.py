"""What was promised and agreed: targets, objectives, rates, prices, pools."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import Field, model_validator

from finops_lab.config._base import Currency, Exact, Model, Month
from finops_lab.config._kpi_measures import check_figure

__all__ = ["KpiTarget", "Pool", "Price", "Rate", "Slo"]


class KpiTarget(Model):
    """`[[kpis]]`: the range a KPI's measure should be in, for everything or one value of a dimension.

    `measure` may be left out: the KPI's headline is meant. A measure that the KPI has not, and a
    dimension that the measure is not told by, are refused. `at_least` and `at_most` are in the
    unit of the measure.
    """

    kpi: str = Field(pattern=r"^M([1-9]|1[0-2])$")
    measure: str | None = None
    dimension: str | None = None
    key: str | None = None
    at_least: Exact | None = None
    at_most: Exact | None = None

    @model_validator(mode="after")
    def _says_something(self) -> KpiTarget:
        if self.at_least is None and self.at_most is None:
            raise ValueError("write at_least, at_most or both")
        if self.at_least is not None and self.at_most is not None and self.at_most < self.at_least:
            raise ValueError("at_most is below at_least")
        if (self.dimension is None) != (self.key is None):
            raise ValueError("dimension and key belong together")
        check_figure(self.kpi, self.measure, self.dimension)
        return self


# What each objective needs, and the keys that are its own. `budget_usd` is for what costs money.
_NEEDS: dict[str, tuple[str, ...]] = {
    "availability": (),
    "error_rate": (),
    "latency": ("threshold_ms",),
    "accuracy": ("threshold", "metric"),
    "cost_per_inference": ("threshold_usd",),
    "freshness": ("threshold_hours", "table"),
}
_OWN = tuple(key for keys in _NEEDS.values() for key in keys)
_WITHOUT_MONEY = ("accuracy", "freshness")


class Slo(Model):
    """`[[slos]]`: a service level objective.

    `target` is the good share of events, whatever the objective. A service is a value of
    `dimension`.
    """

    service: str
    objective: Literal["availability", "error_rate", "latency", "accuracy", "cost_per_inference", "freshness"]
    target: float = Field(gt=0, lt=1)
    threshold_ms: float | None = Field(default=None, gt=0)
    window_days: int = Field(default=28, ge=1)
    name: str | None = Field(default=None, min_length=1)
    dimension: Literal["feature", "pool", "model"] = "feature"
    threshold: float | None = Field(default=None, allow_inf_nan=False)
    metric: str | None = None
    threshold_usd: Exact | None = Field(default=None, gt=0)
    threshold_hours: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    table: (
        Literal[
            "costs",
            "ledger",
            "inference_requests",
            "latency_histograms",
            "gpu_samples",
            "training_jobs",
            "scale_events",
            "capacity_series",
            "deploys",
            "accuracy_samples",
        ]
        | None
    ) = None
    budget_usd: Exact | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _keys_of_its_objective(self) -> Slo:
        needed = _NEEDS[self.objective]
        if missing := [key for key in needed if getattr(self, key) is None]:
            raise ValueError(f"{self.objective} needs {' and '.join(missing)}")
        if needless := [key for key in _OWN if key not in needed and getattr(self, key) is not None]:
            raise ValueError(f"{self.objective} has no use for {' and '.join(needless)}")
        if self.budget_usd is not None and self.objective in _WITHOUT_MONEY:
            raise ValueError(f"{self.objective} has no use for budget_usd: its bad events have no cost")
        if self.objective == "accuracy" and self.dimension != "model":
            raise ValueError('evaluations speak of models: accuracy needs dimension = "model"')
        return self


class Rate(Model):
    """`[[rates]]`: one unit of `source` is `rate` units of `target` for charges of the month."""

    month: Month
    source: Currency = Field(alias="from")
    target: Currency = Field(alias="to")
    rate: Exact = Field(gt=0)


class Price(Model):
    """`[[prices]]`: a negotiated or own price; it goes before the built-in price book.

    `unit` is one of the price book's, such as ``input_mtok`` or ``gpu_hour``; `rate_usd` is for
    one unit, from the day `first` until the day `last` (included).
    """

    provider: str | None = None
    model: str
    unit: str
    rate_usd: Exact = Field(ge=0)
    context: str = "standard"
    tier_above_tokens: int = Field(default=0, ge=0)
    first: date | None = Field(default=None, alias="from")
    last: date | None = Field(default=None, alias="to")

    @model_validator(mode="after")
    def _in_order(self) -> Price:
        if self.first and self.last and self.last < self.first:
            raise ValueError("the day in `to` is before the day in `from`")
        return self


class Pool(Model):
    """`[[pools]]`: a pool of GPUs that serves a model."""

    id: str
    model: str | None = None
    team: str | None = None
    cluster: str | None = None
    namespace: str | None = None
    gpu_model: str | None = None
    gpu_count: float | None = Field(default=None, ge=0)
    purchase: Literal["on_demand", "spot", "reserved", "capacity_block", "owned"] | None = None
    rate_usd_per_gpu_hour: Exact | None = Field(default=None, ge=0)
