"""Trade-offs: what a variant of a model costs, how well it answers and how fast."""

from finops_lab.tradeoffs.claims import Claim, claim_points
from finops_lab.tradeoffs.curve import Curve, curve
from finops_lab.tradeoffs.decide import Decision, decide
from finops_lab.tradeoffs.decisions import decisions
from finops_lab.tradeoffs.front import pareto
from finops_lab.tradeoffs.measured import qualities, variants
from finops_lab.tradeoffs.measurement import Measurement, read_measurement, write_measurement
from finops_lab.tradeoffs.planner import paired_items, unpaired_items
from finops_lab.tradeoffs.published import Published, read_published
from finops_lab.tradeoffs.retirement import Retirement, retire
from finops_lab.tradeoffs.verdicts import verdicts

__all__ = [
    "Claim",
    "Curve",
    "Decision",
    "Measurement",
    "Published",
    "Retirement",
    "claim_points",
    "curve",
    "decide",
    "decisions",
    "paired_items",
    "pareto",
    "qualities",
    "read_measurement",
    "read_published",
    "retire",
    "unpaired_items",
    "variants",
    "verdicts",
    "write_measurement",
]
