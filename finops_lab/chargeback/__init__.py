"""Chargeback and showback: statements per team and month, FOCUS rows, cost to serve."""

from finops_lab.chargeback.csv_files import write_csv
from finops_lab.chargeback.focus import focus_allocated, write_focus_allocated
from finops_lab.chargeback.serve import cost_to_serve
from finops_lab.chargeback.statements import Statements, statements
from finops_lab.chargeback.wording import KINDS, WORDING
from finops_lab.chargeback.workbook import write_xlsx

__all__ = [
    "KINDS",
    "WORDING",
    "Statements",
    "cost_to_serve",
    "focus_allocated",
    "statements",
    "write_csv",
    "write_focus_allocated",
    "write_xlsx",
]
