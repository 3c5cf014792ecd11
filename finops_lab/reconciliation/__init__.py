"""Reconciliation: what was calculated, billed, invoiced and restated, and why they differ."""

from finops_lab.reconciliation.calculated import (
    CAUSES,
    KEYS,
    LABELS,
    Reconciliation,
    calculated_against_billed,
)
from finops_lab.reconciliation.invoices import match_invoices, read_invoices
from finops_lab.reconciliation.maturity import AGES, maturity_curve
from finops_lab.reconciliation.restatement import CHANGES, Bridge

# `restatement` and `maturity` are modules here: the functions of these names are in them.
__all__ = [
    "AGES",
    "CAUSES",
    "CHANGES",
    "KEYS",
    "LABELS",
    "Bridge",
    "Reconciliation",
    "calculated_against_billed",
    "match_invoices",
    "maturity_curve",
    "read_invoices",
]
