"""Trade-offs: what a variant of a model costs, how well it answers and how fast."""

from finops_lab.tradeoffs.choice import best
from finops_lab.tradeoffs.front import pareto
from finops_lab.tradeoffs.measured import variants

__all__ = ["best", "pareto", "variants"]
