"""Trade-offs: what a variant of a model costs, how well it answers and how fast."""

from finops_lab.tradeoffs.answered_queries import answered_queries
from finops_lab.tradeoffs.batching import batch_curve, fit_batching, largest_batch
from finops_lab.tradeoffs.by_feature import RoutingTable, routing_table
from finops_lab.tradeoffs.canary import CanaryVerdict, canary_check
from finops_lab.tradeoffs.canary_plan import CanaryPlan, canary_plan
from finops_lab.tradeoffs.cascade import cascade, cascade_thresholds
from finops_lab.tradeoffs.claims import Claim, claim_points
from finops_lab.tradeoffs.curve import Curve, curve
from finops_lab.tradeoffs.decide import Decision, decide
from finops_lab.tradeoffs.decisions import decisions
from finops_lab.tradeoffs.front import explain_front, pareto
from finops_lab.tradeoffs.hosting_break_even import HostingBreakEven, hosting_break_even
from finops_lab.tradeoffs.hypervolume import Hypervolume, hypervolume
from finops_lab.tradeoffs.knees import knees
from finops_lab.tradeoffs.load import against_load, load_total, measured_capacity
from finops_lab.tradeoffs.measured import qualities, variants
from finops_lab.tradeoffs.measurement import Measurement, read_measurement, write_measurement
from finops_lab.tradeoffs.membership import Draws, draw_points, membership
from finops_lab.tradeoffs.planner import paired_items, unpaired_items
from finops_lab.tradeoffs.published import Published, read_published
from finops_lab.tradeoffs.representative import mix, reweighted
from finops_lab.tradeoffs.retirement import Retirement, retire
from finops_lab.tradeoffs.routed_curve import best_split_curve, quality_cost_curve, routed_figures
from finops_lab.tradeoffs.routing import Route, route
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
    "HostingBreakEven",
    "Hypervolume",
    "Measurement",
    "Published",
    "Retirement",
    "Route",
    "RoutingTable",
    "Sequential",
    "against_load",
    "answered_queries",
    "batch_curve",
    "best_split_curve",
    "canary_check",
    "canary_plan",
    "cascade",
    "cascade_thresholds",
    "claim_points",
    "curve",
    "decide",
    "decisions",
    "draw_points",
    "explain_front",
    "fit_batching",
    "hosting_break_even",
    "hypervolume",
    "knees",
    "largest_batch",
    "load_total",
    "measured_capacity",
    "membership",
    "mix",
    "one_sense",
    "paired_items",
    "pareto",
    "qualities",
    "quality_cost_curve",
    "read_measurement",
    "read_published",
    "retire",
    "reweighted",
    "route",
    "routed_figures",
    "routing_table",
    "sense_of",
    "sequential",
    "unpaired_items",
    "variants",
    "verdicts",
    "write_measurement",
]
