"""The drivers of a feature's spend: each a value or a range, with a stream of chance of its own.

A range is a triangular distribution over low, likely and high: three figures are all that is asked of
an expert, and its quantiles are one square root (Kotz and van Dorp, *Beyond Beta*, 2004, chapter 1).
Low and high are the ends of what can be, not the 10th and 90th percentile.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from finops_lab.config.feature_plan import AmountRange, Capacity, FeaturePlan, PlannedModel, Training

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["ADOPTION", "Driver", "adoption", "drivers", "expand", "for_model", "stream", "triangular"]

ADOPTION = "adoption"
_USAGE = {
    "sessions_per_day": ("Sessions per day", "sessions"),
    "calls_per_second": ("Calls per second", "calls/s"),
    "calls_per_session": ("Calls per session", "calls"),
    "sessions_per_customer": ("Sessions per customer and month", "sessions"),
    "input_tokens": ("Input tokens per call", "tokens"),
    "output_tokens": ("Output tokens per call", "tokens"),
    "cache_hit_share": ("Input read from cache", "share"),
    "cache_write_share": ("Other input written to cache", "share"),
    "growth_per_month": ("Growth per month", "change"),
}


@dataclass(frozen=True)
class Driver:
    """A driver of spend.

    Attributes
    ----------
    key : str
        Its name in a plan, such as ``input_tokens`` or ``training.weekly.usd_per_run``.
    label, unit : str
        How a reader calls it, and what it is counted in.
    low, likely, high : Decimal
        The range; all three alike without doubt.
    """

    key: str
    label: str
    unit: str
    low: Decimal
    likely: Decimal
    high: Decimal

    @property
    def ranged(self) -> bool:
        """Whether it can be more than one value."""
        return self.low < self.high


def for_model(plan: FeaturePlan, model: PlannedModel) -> tuple[list[Training], list[Capacity]]:
    """Return the training runs and the capacity that serving the feature with a model needs."""
    title = model.title
    return (
        [one for one in plan.training if not one.models or title in one.models],
        [one for one in plan.capacity if not one.models or title in one.models],
    )


def drivers(plan: FeaturePlan, model: PlannedModel) -> list[Driver]:
    """List the drivers of a plan served by a model, without the curve of adoption.

    Examples
    --------
    >>> from finops_lab.config import feature_plan
    >>> usage = {"calls_per_second": 2, "input_tokens": 500, "output_tokens": {"likely": 50, "high": 90}}
    >>> plan = feature_plan({"name": "x", "from": "2026-11", "usage": usage, "models": [{"model": "m"}]})
    >>> [driver.key for driver in drivers(plan, plan.models[0]) if driver.ranged]
    ['output_tokens']
    """
    given: list[tuple[str, str, str, AmountRange | None]] = [
        (key, label, unit, getattr(plan.usage, key)) for key, (label, unit) in _USAGE.items()
    ]
    if plan.usage.sessions_per_day is None:
        given = [one for one in given if one[0] != "calls_per_session"]
    given.append(("price_change_per_year", "Price change per year", "change", model.price_change_per_year))
    trainings, capacities = for_model(plan, model)
    for run in trainings:
        key = f"training.{run.name}"
        given.append((f"{key}.runs_per_month", f"{run.name}: runs per month", "runs", run.runs_per_month))
        given.append((f"{key}.usd_per_run", f"{run.name}: USD per run", "USD", run.usd_per_run))
    for pool in capacities:
        key = f"capacity.{pool.name}"
        given.append((f"{key}.gpu_count", f"{pool.name}: GPUs", "GPUs", pool.gpu_count))
        rate = ("rate_usd_per_gpu_hour", f"{pool.name}: USD per GPU hour", "USD")
        given.append((f"{key}.{rate[0]}", *rate[1:], pool.rate_usd_per_gpu_hour))
    return [
        Driver(key, label, unit, one.low, one.likely, one.high)
        for key, label, unit, one in given
        if one is not None
    ]


def adoption(plan: FeaturePlan) -> list[AmountRange]:
    """Return the share of the full use in each month of the plan; the last one given goes on."""
    return expand(plan.usage.adoption, plan.months)


def expand(curve: tuple[AmountRange, ...], months: int) -> list[AmountRange]:
    """Lengthen or cut a curve to so many months; without one it is 1 from the start."""
    one = Decimal(1)
    known = list(curve) or [AmountRange(low=one, likely=one, high=one)]
    return [known[min(n, len(known) - 1)] for n in range(months)]


def stream(seed: int, key: str) -> np.random.PCG64:
    """Return the generator of a driver: adding a driver, or taking one away, changes no other's draws.

    PCG64 and its seeding are the same on every platform and version of numpy (NEP 19).
    """
    import numpy as np

    return np.random.PCG64(np.random.SeedSequence([seed, *key.encode()]))


def triangular(u: NDArray[Any], low: float, likely: float, high: float) -> NDArray[Any]:
    """Return quantiles of a triangular distribution; the same operations as on the HTML page.

    Examples
    --------
    >>> import numpy as np
    >>> triangular(np.array([0.0, 0.5, 1.0]), 0.0, 1.0, 2.0).tolist()
    [0.0, 1.0, 2.0]
    """
    import numpy as np

    width = high - low
    if width == 0:
        return np.full(u.shape, likely)
    left, right = width * (likely - low), width * (high - likely)
    below = low + np.sqrt(u * left)
    above = high - np.sqrt((1.0 - u) * right)
    return np.where(u * width < likely - low, below, above)
