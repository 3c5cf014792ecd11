"""Trade-offs: what a variant of a model costs, how well it answers and how fast."""

from finops_lab.tradeoffs.canary import CanaryVerdict, canary_check
from finops_lab.tradeoffs.canary_plan import CanaryPlan, canary_plan
from finops_lab.tradeoffs.claims import Claim, claim_points
from finops_lab.tradeoffs.curve import Curve, curve
from finops_lab.tradeoffs.decide import Decision, decide
from finops_lab.tradeoffs.decisions import decisions
from finops_lab.tradeoffs.front import explain_front, pareto
from finops_lab.tradeoffs.hypervolume import Hypervolume, hypervolume
from finops_lab.tradeoffs.knees import knees
from finops_lab.tradeoffs.measured import qualities, variants
from finops_lab.tradeoffs.measurement import Measurement, read_measurement, write_measurement
from finops_lab.tradeoffs.membership import Draws, draw_points, membership
from finops_lab.tradeoffs.planner import paired_items, unpaired_items
from finops_lab.tradeoffs.published import Published, read_published
from finops_lab.tradeoffs.representative import mix, reweighted
from finops_lab.tradeoffs.retirement import Retirement, retire
from finops_lab.tradeoffs.senses import one_sense, sense_of
from finops_lab.tradeoffs.sequential import Sequential, sequential
from finops_lab.tradeoffs.verdicts import verdicts

__all__ = [
    "CanaryPlan",
    "CanaryVerdict",
    "Claim",
    "Curve",
    "Decision",
    "Draws",
    "Hypervolume",
    "Measurement",
    "Published",
    "Retirement",
    "Sequential",
    "canary_check",
    "canary_plan",
    "claim_points",
    "curve",
    "decide",
    "decisions",
    "draw_points",
    "explain_front",
    "hypervolume",
    "knees",
    "membership",
    "mix",
    "one_sense",
    "paired_items",
    "pareto",
    "qualities",
    "read_measurement",
    "read_published",
    "retire",
    "reweighted",
    "sense_of",
    "sequential",
    "unpaired_items",
    "variants",
    "verdicts",
    "write_measurement",
]
