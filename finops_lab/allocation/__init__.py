"""Allocation: from bill rows to a ledger in which every cent has an owner or visibly none."""

from finops_lab.allocation.currency import convert
from finops_lab.allocation.dimensions import assign, rule_report
from finops_lab.allocation.ledger import Ledger, allocate, explain, monthly, put_together
from finops_lab.allocation.partial import Partial, Policy, partial
from finops_lab.allocation.pooling import UNALLOCATED

__all__ = [
    "UNALLOCATED",
    "Ledger",
    "Partial",
    "Policy",
    "allocate",
    "assign",
    "convert",
    "explain",
    "monthly",
    "partial",
    "put_together",
    "rule_report",
]
