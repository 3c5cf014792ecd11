"""Trade-offs: what a variant of a model costs, how well it answers and how fast."""

from finops_lab.tradeoffs.curve import Curve, curve
from finops_lab.tradeoffs.decide import Decision, decide, decisions
from finops_lab.tradeoffs.front import pareto
from finops_lab.tradeoffs.measured import variants

__all__ = ["Curve", "Decision", "curve", "decide", "decisions", "pareto", "variants"]
