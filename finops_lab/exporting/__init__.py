"""Costs out of the lab, in formats that other tools read."""

from finops_lab.exporting.conformance import conformance
from finops_lab.exporting.focus import Written, focus, scan_focus, totals, write_focus

__all__ = ["Written", "conformance", "focus", "scan_focus", "totals", "write_focus"]
