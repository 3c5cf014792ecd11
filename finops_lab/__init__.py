"""finops_lab: analysis and forecasting of AI spend, from bills to a reproducible monthly review.

>>> import finops_lab as fl
>>> {"open_lab", "allocate", "forecast", "review"} <= set(dir(fl))
True
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from finops_lab import allocation, chargeback, forecasting, pricing, tradeoffs, watching
    from finops_lab.api import (
        allocate,
        diagnose,
        entries,
        explore,
        price_requests,
        spend,
        trace,
        variants,
    )
    from finops_lab.budgeting.budgets import budgets
    from finops_lab.budgeting.commitments import commitments
    from finops_lab.budgeting.credits import credits_cliff
    from finops_lab.budgeting.features import feature_budget
    from finops_lab.budgeting.lifecycle import model_lifecycle
    from finops_lab.budgeting.what_if import what_if
    from finops_lab.choosing import decide, retire
    from finops_lab.forecasting import forecast
    from finops_lab.foreseeing import foresee
    from finops_lab.lab import Lab, explain_lab, open_lab
    from finops_lab.reconciling import matured, reconcile, restated
    from finops_lab.reporting import check_parameters, dashboard, postmortem, review, weekly
    from finops_lab.routes import hosting_break_even
    from finops_lab.telling import alerts
    from finops_lab.trying import canary_of, plan_of
    from finops_lab.valuing import ai_spend, bridge, burn_rates, exact_latency, gpu_hours, kpis, levels

# Names are imported when first used, so that `import finops_lab` costs hardly more than nothing.
_HOMES = {
    "Lab": "lab",
    "ai_spend": "valuing",
    "alerts": "telling",
    "allocate": "api",
    "allocation": "",
    "bridge": "valuing",
    "canary_of": "trying",
    "budgets": "budgeting.budgets",
    "burn_rates": "valuing",
    "commitments": "budgeting.commitments",
    "credits_cliff": "budgeting.credits",
    "decide": "choosing",
    "model_lifecycle": "budgeting.lifecycle",
    "what_if": "budgeting.what_if",
    "check_parameters": "reporting",
    "dashboard": "reporting",
    "diagnose": "api",
    "entries": "api",
    "explore": "api",
    "exact_latency": "valuing",
    "explain_lab": "lab",
    "feature_budget": "budgeting.features",
    "forecast": "forecasting",
    "forecasting": "",
    "foresee": "foreseeing",
    "gpu_hours": "valuing",
    "hosting_break_even": "routes",
    "kpis": "valuing",
    "levels": "valuing",
    "open_lab": "lab",
    "plan_of": "trying",
    "postmortem": "reporting",
    "price_requests": "api",
    "chargeback": "",
    "pricing": "",
    "matured": "reconciling",
    "reconcile": "reconciling",
    "restated": "reconciling",
    "retire": "choosing",
    "review": "reporting",
    "spend": "api",
    "tradeoffs": "",
    "trace": "api",
    "variants": "api",
    "watching": "",
    "weekly": "reporting",
}

__all__ = [
    "Lab",
    "ai_spend",
    "alerts",
    "allocate",
    "allocation",
    "bridge",
    "budgets",
    "burn_rates",
    "canary_of",
    "chargeback",
    "check_parameters",
    "commitments",
    "credits_cliff",
    "dashboard",
    "decide",
    "diagnose",
    "entries",
    "exact_latency",
    "explain_lab",
    "explore",
    "feature_budget",
    "forecast",
    "forecasting",
    "foresee",
    "gpu_hours",
    "hosting_break_even",
    "kpis",
    "levels",
    "matured",
    "model_lifecycle",
    "open_lab",
    "plan_of",
    "postmortem",
    "price_requests",
    "pricing",
    "reconcile",
    "restated",
    "retire",
    "review",
    "spend",
    "trace",
    "tradeoffs",
    "variants",
    "watching",
    "weekly",
    "what_if",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'finops_lab' has no attribute {name!r}")
    module = import_module(f"finops_lab.{home or name}")
    return getattr(module, name) if home else module


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
