"""What was planned and promised: budgets, service level objectives, the value of features."""

from __future__ import annotations

import dataframely as dy

from finops_lab.contracts.columns import CURRENCY, FILE, ROW, moment, money, number, text, whole
from finops_lab.contracts.ledger import DIMENSIONS

OBJECTIVES = ("availability", "error_rate", "latency", "accuracy", "cost_per_inference", "freshness")


class Budgets(dy.Schema):
    """Planned spend per month: for one value of a dimension, or for everything where that is null.

    Rows for the same thing and month that were approved on the same day add up; those of a later
    day take the place of all earlier ones. A row without a day is older than any with one.
    """

    month = text("such as 2026-10", nullable=False)
    dimension = text("what is planned by, such as team; null is everything", allowed=DIMENSIONS)
    key = text("value of the dimension whose budget it is; null is everything")
    amount = money("planned spend of the month", nullable=False)
    currency = text("ISO 4217 code of the amount", nullable=False, regex=CURRENCY)
    approved = dy.Date(nullable=True, description="day the amount was approved")
    approved_by = text("who approved it")
    reason = text("why it was planned so, or changed")


class Slos(dy.Schema):
    """Service level objectives: ``target`` is the good share of events, 0 to 1.

    Events are finished calls for availability and error rate, successful calls for latency,
    evaluations for accuracy, days for cost per inference and freshness.
    """

    service = text("service that was promised: a value of `dimension`", nullable=False)
    objective = text("what is promised", nullable=False, allowed=OBJECTIVES)
    target = dy.Float64(
        nullable=False,
        min_exclusive=0,
        max_exclusive=1,
        description="good share of events, 0 to 1, both exclusive",
    )
    threshold_ms = dy.Float64(
        nullable=True, min_exclusive=0, description="a call up to this long is good, for latency"
    )
    window_days = whole("days that the promise is judged over", nullable=False, min=1)
    name = text("what alerts and charts call it; service and objective where there is none")
    dimension = text("what services are", nullable=False, allowed=("feature", "pool", "model"))
    threshold = number("an evaluation at least this good is good, for accuracy")
    metric = text("metric of the evaluations, for accuracy")
    threshold_usd = money("a day up to this cost of a successful call is good, for cost per inference")
    threshold_hours = number("a day at whose end the newest row is up to so many hours old is good")
    table = text("table whose newest row it is, for freshness")
    budget_usd = money("what bad events may cost in the window")


class FeatureValue(dy.Schema):
    """Revenue and units that a feature brought in a period; the end is exclusive."""

    period_start = moment("begin of the period", nullable=False)
    period_end = moment("end of the period, exclusive", nullable=False)
    feature = text("feature that brought it", nullable=False)
    customer = text("customer it came from")
    revenue_usd = money("revenue of the period")
    units = money("how many of `unit_name` it brought")
    unit_name = text("such as orders or answers")
    source_file = text(FILE, nullable=False)
    source_row = whole(ROW, nullable=False)
