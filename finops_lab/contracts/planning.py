"""What was planned and promised: budgets, service level objectives, the value of features."""

from __future__ import annotations

import dataframely as dy

from finops_lab.contracts.costs import moment, money


def _text(nullable: bool = True) -> dy.String:
    return dy.String(nullable=nullable)


class Budgets(dy.Schema):
    """Planned spend per month: for one team, or for everything where ``team`` is null."""

    month = _text(nullable=False)
    team = _text()
    amount = money(nullable=False)
    currency = dy.String(nullable=False, regex=r"^[A-Z]{3}$")


class Slos(dy.Schema):
    """Service level objectives: ``target`` is the good share of events, 0 to 1."""

    service = _text(nullable=False)
    objective = dy.String(nullable=False, check=lambda c: c.is_in(("availability", "latency")))
    target = dy.Float64(nullable=False, min_exclusive=0, max_exclusive=1)
    threshold_ms = dy.Float64(nullable=True, min_exclusive=0)
    window_days = dy.Int64(nullable=False, min=1)


class FeatureValue(dy.Schema):
    """Revenue and units that a feature brought in a period; the end is exclusive."""

    period_start = moment(nullable=False)
    period_end = moment(nullable=False)
    feature = _text(nullable=False)
    customer = _text()
    revenue_usd = money()
    units = money()
    unit_name = _text()
    source_file = _text(nullable=False)
    source_row = dy.Int64(nullable=False)
