"""The budget of a new feature, with a lab's prices and the history of its other features."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from finops_lab.config import FeaturePlan
from finops_lab.config import feature_plan as read_plan
from finops_lab.errors import InputError
from finops_lab.lab import Lab, packaged
from finops_lab.planning.analogues import usage_curve
from finops_lab.planning.feature_budget import FeatureBudget, budget_of
from finops_lab.pricing import price_book

__all__ = ["EXAMPLE", "feature_budget", "usage_history"]

# The plan that ships with the package, in the folder of its samples.
EXAMPLE = "plans/feature-budget.toml"


def feature_budget(
    plan: Path | str | Mapping[str, Any] | FeaturePlan | None = None,
    lab: Lab | None = None,
    *,
    seed: int | None = None,
    draws: int | None = None,
) -> FeatureBudget:
    """Budget a feature that has no history, from its drivers and their ranges.

    Parameters
    ----------
    plan : pathlib.Path, str, mapping or FeaturePlan, optional
        A plan's file, such as `feature-budget.toml`, or what would stand in it; by default the
        synthetic example that ships with the package.
    lab : Lab, optional
        Its prices go before the built-in list, and its features can be analogues.
    seed, draws : int, optional
        In place of the plan's.

    Returns
    -------
    finops_lab.planning.feature_budget.FeatureBudget
        Months, horizon, break-even, sensitivity, and the same drivers on other models. Amounts are USD.

    Raises
    ------
    ConfigError
        Naming file, key and line of what is wrong in the plan.
    InputError
        When the plan's model has no price, its analogues tell nothing, or seed or draws are out of bounds.

    Examples
    --------
    >>> usage = {"calls_per_second": "0.5", "input_tokens": 1000, "output_tokens": 100}
    >>> model = {"provider": "openai", "model": "gpt-4o-mini"}
    >>> feature_budget({"name": "Drafts", "from": "2026-11", "months": 3, "usage": usage, "models": [model]})
    FeatureBudget('Drafts', 3 months from 2026-11: 834.62 USD, P10 835, P90 835)
    """
    read = read_plan(packaged("samples") / EXAMPLE if plan is None else plan)
    if seed is not None and seed < 0:
        raise InputError(f"the seed must not be negative, it is {seed}")
    if draws is not None and not 1_000 <= draws <= 100_000:
        raise InputError(f"draws lie between 1,000 and 100,000, not at {draws:,}")
    changed = {name: value for name, value in (("seed", seed), ("draws", draws)) if value is not None}
    read = read.model_copy(update=changed)
    choice = None
    if read.usage.analogues and lab is not None:
        curve, choice = usage_curve(usage_history(lab), read.usage.analogues)
        usage = read.usage.model_copy(update={"adoption": curve})
        read = read.model_copy(update={"usage": usage})
    book = price_book(lab.table("prices")) if lab is not None else price_book()
    return budget_of(read, book, analogues=choice)


def usage_history(lab: Lab) -> pl.DataFrame:
    """Return how much each feature of a lab was used, by month: the units of ``feature_value``.

    Returns
    -------
    polars.DataFrame
        ``feature`` (String), ``month`` (Date), ``value`` (Float64): periods of one month only, all
        customers together. Null where a customer's units are unknown.
    """
    begin, end = (pl.col(name).cast(pl.Date) for name in ("period_start", "period_end"))
    whole = (begin.dt.day() == 1) & (begin.dt.offset_by("1mo") == end)
    units = pl.col("units").cast(pl.Float64)
    return (
        lab.table("feature_value")
        .filter(whole)
        .group_by("feature", month=begin)
        .agg(value=pl.when(units.null_count() == 0).then(units.sum()))
        .sort("feature", "month")
        .collect()
    )
