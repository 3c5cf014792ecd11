"""Allocation: from bill rows to a ledger in which every cent has an owner or visibly none."""

from finops_lab.allocation.amortization import Amortization, amortize, cost_per_inference
from finops_lab.allocation.backlog import backlog
from finops_lab.allocation.changes import changes
from finops_lab.allocation.coverage import coverage
from finops_lab.allocation.currency import convert
from finops_lab.allocation.dimensions import assign, derive, rule_report
from finops_lab.allocation.disagreement import Disagreement, disagreement
from finops_lab.allocation.ledger import Ledger, allocate, explain, monthly, put_together
from finops_lab.allocation.partial import Partial, Policy, partial
from finops_lab.allocation.pooling import UNALLOCATED
from finops_lab.allocation.spelling import spelled
from finops_lab.allocation.splitting import split_amounts
from finops_lab.allocation.trace import trace
from finops_lab.allocation.views import on_basis, treatment

__all__ = [
    "UNALLOCATED",
    "Amortization",
    "Disagreement",
    "Ledger",
    "Partial",
    "Policy",
    "allocate",
    "amortize",
    "assign",
    "backlog",
    "changes",
    "convert",
    "cost_per_inference",
    "coverage",
    "derive",
    "disagreement",
    "explain",
    "monthly",
    "on_basis",
    "partial",
    "put_together",
    "rule_report",
    "spelled",
    "split_amounts",
    "trace",
    "treatment",
]
