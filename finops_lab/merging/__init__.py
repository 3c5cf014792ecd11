"""Several labs, one per team or account, as one portal lab in which every charge counts once."""

from finops_lab.merging.conflicts import MergeConflict
from finops_lab.merging.portal import Merged, merge

__all__ = ["MergeConflict", "Merged", "merge"]
