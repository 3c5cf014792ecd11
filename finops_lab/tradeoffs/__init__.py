"""Trade-offs: what a variant of a model costs, how well it answers and how fast."""

from finops_lab.tradeoffs.curve import Curve, curve
from finops_lab.tradeoffs.decide import Decision, decide, decisions
from finops_lab.tradeoffs.front import pareto
from finops_lab.tradeoffs.measured import qualities, variants
from finops_lab.tradeoffs.retirement import Retirement, retire

__all__ = [
    "Curve",
    "Decision",
    "Retirement",
    "curve",
    "decide",
    "decisions",
    "pareto",
    "qualities",
    "retire",
    "variants",
]
