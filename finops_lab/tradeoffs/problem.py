"""The question behind a choice: points that may compete, as candidates with limits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import polars as pl

from finops_lab.errors import InputError
from finops_lab.money import divided, one_currency, product
from finops_lab.tradeoffs.break_even import exact, storable
from finops_lab.tradeoffs.choice import Candidate, Limit
from finops_lab.tradeoffs.senses import one_sense

__all__ = ["Objective", "Problem", "checked", "limits_of", "of_models", "problem_of"]

Objective = Literal["cost", "cost_per_success"]
_NAMES = ("model", "variant", "precision", "hardware", "serving", "region", "workload")
_UNITS = {"measured": "seconds", "relative": "times the baseline's cost"}
# 0.9 - 0.895 is 0.005000000000000004 in binary: losses are kept to so many decimals.
_LOSS_DECIMALS = 12


@dataclass(frozen=True)
class Problem:
    """Points of one choice and what they come to.

    Attributes
    ----------
    points : polars.DataFrame
        `POINTS`.
    candidates : list of Candidate
        One per row, in order.
    monthly : list of Decimal or None
        Money of a month at the forecast traffic.
    reference : int or None
        The row that losses and savings are measured against.
    metric : str or None
        The quality metric; None when no quality is known.
    currency : str or None
        Of the points.
    unit : str
        Of the objective.
    """

    points: pl.DataFrame
    candidates: list[Candidate]
    monthly: list[Decimal | None]
    reference: int | None
    metric: str | None
    currency: str | None
    unit: str


def checked(numbers: Mapping[str, Any]) -> None:
    """Refuse limits that are negative or no numbers."""
    for name, value in numbers.items():
        endless = name == "monthly_inferences" and value is not None and math.isinf(value)
        if value is not None and (math.isnan(value) or value < 0 or endless):
            raise InputError(f"{name} must be a number from 0 up, not {value}")


def of_models(points: pl.DataFrame, model: str | Sequence[str] | None) -> pl.DataFrame:
    """Keep the rows of some models; unknown names are refused."""
    if model is None:
        return points
    wanted = [model] if isinstance(model, str) else list(model)
    known = points["model"].drop_nulls().unique().sort().to_list()
    for name in wanted:
        if name not in known:
            raise InputError(f"no model {name!r}", hint=f"known: {', '.join(known) or 'none'}")
    return points.filter(pl.col("model").is_in(wanted))


def problem_of(
    points: pl.DataFrame, baseline: str | None, objective: Objective, monthly_inferences: float | None
) -> Problem:
    """Turn checked points into candidates: one currency, one basis, one workload, one metric.

    Parameters
    ----------
    points : polars.DataFrame
        `POINTS`.
    baseline, objective, monthly_inferences
        As for `decide`.

    Raises
    ------
    InputError, CurrencyError
        As `decide`.
    """
    if objective not in ("cost", "cost_per_success"):
        raise InputError(f"no objective {objective!r}", hint="known: cost, cost_per_success")
    priced = points.filter(pl.col("per_1000_inferences").is_not_null())
    currency = one_currency(priced["BillingCurrency"].unique()) if priced["BillingCurrency"].count() else None
    basis = _only(priced, "cost_basis", "amounts of {} cannot be compared")
    _only(priced, "workload", "costs of the workloads {} cannot be compared")
    metric, up = one_sense(points) if points["quality"].count() else (None, True)
    quality = points["quality"].to_list()
    scores = [None if q is None else (-q if up else q) for q in quality]
    costs = points["per_1000_inferences"].to_list()
    unit = " per ".join([currency or _UNITS.get(basis or "", "cost"), "1,000 inferences"])
    goals = costs
    if objective == "cost_per_success":
        _shares(points, metric, up)
        goals = [c / q if c is not None and q else None for c, q in zip(costs, quality, strict=True)]
        unit = unit.replace("inferences", "right answers")
    names = [
        tuple("" if part is None else str(part) for part in row) for row in points.select(_NAMES).iter_rows()
    ]
    reference = _reference(points, baseline, scores, costs, names)
    base = None if reference is None else scores[reference]
    monthly = [_monthly(cost, monthly_inferences) if currency else None for cost in costs]
    slo = points.select(pl.coalesce("worst_p95_ms", "p95_ms")).to_series().to_list()
    candidates = [
        Candidate(
            row,
            names[row],
            goals[row],
            score,
            {
                # Adding 0.0 turns -0.0 into 0.0.
                "loss": None if score is None or base is None else round(score - base, _LOSS_DECIMALS) + 0.0,
                "latency": slo[row],
                "memory": points["memory_mib"][row],
                "monthly": monthly[row],
                "region": points["region"][row],
            },
        )
        for row, score in enumerate(scores)
    ]
    return Problem(points, candidates, monthly, reference, metric, currency, unit)


def limits_of(numbers: Mapping[str, Any], regions: Sequence[str] | None, problem: Problem) -> list[Limit]:
    """Return the limits that are given; a budget becomes an exact amount."""
    kinds = (
        ("max_p95_ms", "latency", "ms", "P95"),
        ("max_quality_loss", "loss", "", f"{problem.metric or 'quality'} loss"),
        ("max_memory_mib", "memory", "MiB", "memory"),
        ("max_monthly_amount", "monthly", problem.currency or "", "monthly amount"),
    )
    found = [
        Limit(name, figure, _most(figure, numbers[name]), unit, label)
        for name, figure, unit, label in kinds
        if numbers.get(name) is not None
    ]
    if regions is not None:
        if isinstance(regions, str) or not regions:
            raise InputError("regions must be a list of at least one name", hint="such as regions=['eu']")
        found.append(Limit("regions", "region", frozenset(regions), "", "region"))
    return found


def _most(figure: str, value: Any) -> float | Decimal:
    if figure != "monthly":
        return float(value)
    return value if isinstance(value, Decimal) else Decimal(repr(float(value)))


def _only(priced: pl.DataFrame, column: str, message: str) -> str | None:
    found = priced[column].unique().sort().to_list()
    if len(found) > 1:
        names = " and ".join("(none)" if name is None else str(name) for name in found)
        raise InputError(
            message.format(names),
            column=column,
            hint="name one workload (workload=, --workload)"
            if column == "workload"
            else "keep the rows of one",
        )
    return found[0] if found else None


def _shares(points: pl.DataFrame, metric: str | None, up: bool) -> None:
    values = points["quality"].drop_nulls()
    if metric is None or not up or not values.is_between(0, 1).all():
        raise InputError(
            f"cost per right answer needs a quality that is a share from 0 to 1, not {metric or 'none'}",
            column="quality",
            hint="percentages have to be divided by 100",
        )


def _reference(
    points: pl.DataFrame,
    baseline: str | None,
    scores: list[float | None],
    costs: list[float | None],
    names: list[tuple[str, ...]],
) -> int | None:
    if baseline is None:
        graded = [row for row, score in enumerate(scores) if score is not None]
        return min(graded, key=lambda row: (scores[row], _last(costs[row]), names[row]), default=None)
    spelled = points.select(
        pl.col("variant").fill_null(""),
        pl.concat_str("model", "variant", separator="/", ignore_nulls=True).alias("both"),
    )
    rows = [row for row, pair in enumerate(spelled.iter_rows()) if baseline in pair]
    if len(rows) != 1:
        known = ", ".join(spelled["both"].head(20).to_list())
        raise InputError(
            f"{len(rows) or 'no'} variants are called {baseline!r}, and one must be the baseline",
            hint=f"known: {known}",
        )
    return rows[0]


def _last(value: float | None) -> tuple[bool, float]:
    return (value is None, value or 0.0)


def _monthly(cost: float | None, monthly_inferences: float | None) -> Decimal | None:
    # What money cannot hold is unknown.
    return storable(divided(product(exact(cost), exact(monthly_inferences)), 1000))
