"""Profiling: variants of a model measured on this machine, side by side."""

from finops_lab.profiling.blocks import Workload, orders, time_blocks
from finops_lab.profiling.digits import profile_digits
from finops_lab.profiling.load import arrivals, sweep
from finops_lab.profiling.measure import Loads, Variant, measure, right_and_wrong

__all__ = [
    "Loads",
    "Variant",
    "Workload",
    "arrivals",
    "measure",
    "orders",
    "profile_digits",
    "right_and_wrong",
    "sweep",
    "time_blocks",
]
