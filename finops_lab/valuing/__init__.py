"""A lab's value: its KPIs, bridges and service levels, worked out from ledger and roll-ups."""

from finops_lab.valuing.bridging import bridge
from finops_lab.valuing.looking import burn_rates, exact_latency, gpu_hours
from finops_lab.valuing.promises import levels
from finops_lab.valuing.scorecard import DEFINITIONS, figures, kpis
from finops_lab.valuing.spent_on_ai import ai_spend

__all__ = [
    "DEFINITIONS",
    "ai_spend",
    "bridge",
    "burn_rates",
    "exact_latency",
    "figures",
    "gpu_hours",
    "kpis",
    "levels",
]
