"""Allocation: from bill rows to a ledger in which every cent has an owner or visibly none."""

from finops_lab.allocation.currency import convert
from finops_lab.allocation.dimensions import assign, rule_report
from finops_lab.allocation.ledger import UNALLOCATED, Ledger, allocate, monthly

__all__ = ["UNALLOCATED", "Ledger", "allocate", "assign", "convert", "monthly", "rule_report"]
