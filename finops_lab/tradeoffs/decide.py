"""Which variant to run: the cheapest within the limits, what each limit costs, and when it flips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypedDict

import polars as pl

from finops_lab.errors import InputError
from finops_lab.tradeoffs.break_even import BreakEven, break_even, paired_ratio
from finops_lab.tradeoffs.choice import ranked
from finops_lab.tradeoffs.curve import Curve
from finops_lab.tradeoffs.explaining import explanation
from finops_lab.tradeoffs.points import as_points
from finops_lab.tradeoffs.problem import Objective, Problem, checked, limits_of, of_models, problem_of
from finops_lab.tradeoffs.shadow import CONSTRAINTS, constraint_rows
from finops_lab.tradeoffs.slo_ranges import ranges
from finops_lab.tradeoffs.tabling import notes_of, ranges_frame, table_of

__all__ = ["Decision", "Limits", "decide"]


class Limits(TypedDict, total=False):
    """What `decide` may be asked to keep to; see there."""

    baseline: str | None
    max_p95_ms: float | None
    max_quality_loss: float | None
    max_memory_mib: float | None
    max_monthly_amount: Decimal | float | None
    regions: Sequence[str] | None
    objective: Objective
    monthly_inferences: float | None
    migration_amount: Decimal | int | None
    evaluation_amount: Decimal | int | None


@dataclass(frozen=True)
class Decision:
    """A choice and its reasons.

    Attributes
    ----------
    table : polars.DataFrame
        The points, in their order, with ``quality_loss`` (against the reference; below zero is a
        gain), ``saving_share`` (1 - objective over the reference's), ``slo_ms`` (the P95 that is
        held against the SLO) and ``slo_basis`` (``worst window`` or ``whole period``),
        ``objective_value``, ``monthly_amount`` (Decimal), ``qualifies``, ``misses`` (String: why
        not), ``rank`` (Int64, 1 is chosen; null where it does not qualify).
    chosen, runner_up, reference : dict or None
        Rows of the table. The reference is the baseline that losses and savings are measured against.
    constraints : polars.DataFrame
        One row per limit: see `shadow.constraint_rows`.
    slo_ranges : polars.DataFrame
        ``from_ms``, ``to_ms`` (Float64; from is within, to is not, null is without end), ``model``,
        ``variant``, ``objective_value``: who wins when the SLO lies there. Null: nobody.
    loss_ranges : polars.DataFrame
        The same over ``from_loss``, ``to_loss`` of the largest quality loss.
    break_even : BreakEven or None
        None without migration and evaluation amounts, or when the reference is chosen or unknown.
    unit : str
        Of the objective, such as ``USD per 1,000 inferences``.
    metric : str or None
        The quality metric.
    notes : tuple of str
        What a reader must know: figures that are unknown, and what was not tested.
    """

    table: pl.DataFrame
    chosen: dict[str, Any] | None
    runner_up: dict[str, Any] | None
    reference: dict[str, Any] | None
    constraints: pl.DataFrame
    slo_ranges: pl.DataFrame
    loss_ranges: pl.DataFrame
    break_even: BreakEven | None
    unit: str
    metric: str | None
    notes: tuple[str, ...]

    def explain(self) -> str:
        """Say the decision in a few sentences."""
        return explanation(self)

    def __repr__(self) -> str:
        return f"Decision: {self.explain()}"


def decide(
    curve: Curve | pl.DataFrame | pl.LazyFrame,
    *,
    model: str | Sequence[str] | None = None,
    baseline: str | None = None,
    max_p95_ms: float | None = None,
    max_quality_loss: float | None = None,
    max_memory_mib: float | None = None,
    max_monthly_amount: Decimal | float | None = None,
    regions: Sequence[str] | None = None,
    objective: Objective = "cost",
    monthly_inferences: float | None = None,
    migration_amount: Decimal | int | None = None,
    evaluation_amount: Decimal | int | None = None,
) -> Decision:
    """Choose the cheapest variant within the limits.

    All rows compete with each other: name the `model` where the rows do not all do the same work.
    Point values are compared and nothing is proven: a loss within the limit may be noise of a small
    evaluation, and so may one beyond it. `verdicts` tests that.

    Parameters
    ----------
    curve : Curve, polars.DataFrame or polars.LazyFrame
        What `curve` made, or a frame of `POINTS` such as `variants` returns; one workload.
    model : str or sequence of str, optional
        Only these models compete.
    baseline : str, optional
        The variant that losses and savings are measured against, as ``variant`` or ``model/variant``.
        Without it the best quality, the cheapest of equals.
    max_p95_ms : float, optional
        Largest P95 latency in milliseconds. The worst window's where it is known (``worst_p95_ms``),
        else that of the whole (``p95_ms``); ``slo_basis`` says which.
    max_quality_loss : float, optional
        Largest loss against the baseline, absolute, in the metric's unit and its own direction
        (0.005 of an accuracy from 0 to 1 is half a percentage point).
    max_memory_mib : float, optional
        Most memory in MiB.
    max_monthly_amount : Decimal or float, optional
        Budget of a month, in the points' currency; needs `monthly_inferences`.
    regions : sequence of str, optional
        Regions that are allowed.
    objective : {"cost", "cost_per_success"}
        What is to be small: cost per 1,000 inferences, or per 1,000 right ones: cost over quality,
        which must be a share from 0 to 1.
    monthly_inferences : float, optional
        Forecast traffic of a month.
    migration_amount, evaluation_amount : Decimal or int, optional
        What moving to another variant costs once, in the points' currency.

    Returns
    -------
    Decision
        Limits are within: exactly the limit qualifies. What is unknown never qualifies. Equal
        objectives: the better quality, then the smaller P95, then the name.

    Raises
    ------
    InputError
        Points of several workloads or cost bases, mixed metrics, an unknown model or baseline, a
        limit that is negative or no number, a budget without traffic or currency, or a quality
        that is no share where the objective divides by it.
    CurrencyError
        Points in several currencies.

    Examples
    --------
    >>> points = pl.DataFrame({"variant": ["fp16", "int8"], "per_1000_inferences": [4.0, 1.0],
    ...     "quality_metric": "accuracy", "quality": [0.9, 0.895], "p95_ms": [90.0, 60.0]})
    >>> found = decide(points, max_p95_ms=100, max_quality_loss=0.005)
    >>> found.chosen["variant"], found.chosen["saving_share"], found.runner_up["variant"]
    ('int8', 0.75, 'fp16')
    >>> decide(points, max_p95_ms=50).table["misses"].to_list()
    ['P95 90 ms over 50 ms', 'P95 60 ms over 50 ms']
    """
    numbers = {
        "max_p95_ms": max_p95_ms,
        "max_quality_loss": max_quality_loss,
        "max_memory_mib": max_memory_mib,
        "max_monthly_amount": max_monthly_amount,
        "monthly_inferences": monthly_inferences,
    }
    checked(numbers)
    points = of_models(curve.points if isinstance(curve, Curve) else as_points(curve), model)
    problem = problem_of(points, baseline, objective, monthly_inferences)
    _payable(problem, max_monthly_amount, migration_amount, evaluation_amount)
    if max_monthly_amount is not None and monthly_inferences is None:
        raise InputError("a monthly budget needs monthly_inferences, the traffic it has to pay for")
    limits = limits_of(numbers, regions, problem)
    order = ranked(problem.candidates, limits)
    table = table_of(problem, limits, order)
    chosen, runner_up = [
        table.row(order[place].row, named=True) if len(order) > place else None for place in (0, 1)
    ]
    reference = None if problem.reference is None else table.row(problem.reference, named=True)
    paid = None
    if (
        (migration_amount is not None or evaluation_amount is not None)
        and chosen is not None
        and reference is not None
        and order[0].row != problem.reference
    ):
        paid = break_even(
            reference["per_1000_inferences"],
            chosen["per_1000_inferences"],
            migration_amount=migration_amount,
            evaluation_amount=evaluation_amount,
            monthly_inferences=monthly_inferences,
            ratio=_ratio(curve, reference, chosen) if isinstance(curve, Curve) else None,
        )
    calls = monthly_inferences if objective == "cost" and problem.currency else None
    return Decision(
        table=table,
        chosen=chosen,
        runner_up=runner_up,
        reference=reference,
        constraints=pl.DataFrame(constraint_rows(problem.candidates, limits, calls), schema=CONSTRAINTS),
        slo_ranges=ranges_frame(ranges(problem.candidates, limits, "latency"), "ms"),
        loss_ranges=ranges_frame(ranges(problem.candidates, limits, "loss"), "loss"),
        break_even=paid,
        unit=problem.unit,
        metric=problem.metric,
        notes=notes_of(table, problem, limits),
    )


def _payable(problem: Problem, *amounts: Decimal | float | None) -> None:
    if problem.currency is None and any(amount is not None for amount in amounts):
        raise InputError(
            "amounts of money cannot be held against points without a currency",
            column="BillingCurrency",
            hint="give curve(..., rate_usd_per_hour=...), or add the column",
        )


def _ratio(curve: Curve, reference: dict[str, Any], chosen: dict[str, Any]) -> tuple[float, float] | None:
    """Return the interval of the cost ratio where rounds ran both variants."""
    keys = ("model", "variant", "workload")
    old, new = (
        curve.timings.filter(*[pl.col(key).eq_missing(pl.lit(row[key], dtype=pl.String)) for key in keys])
        for row in (reference, chosen)
    )
    return paired_ratio(old, new, clock=curve.clock)
