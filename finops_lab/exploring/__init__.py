"""Views of a ledger: any cost by any dimension, down to the bill rows and rules behind it."""

from finops_lab.exploring.code import as_code
from finops_lab.exploring.rows import bill_rows, explained
from finops_lab.exploring.views import (
    GROUPS,
    METRICS,
    Look,
    View,
    behind,
    known,
    look,
    over_time,
    spend,
    values,
)

__all__ = [
    "GROUPS",
    "METRICS",
    "Look",
    "View",
    "as_code",
    "behind",
    "bill_rows",
    "explained",
    "known",
    "look",
    "over_time",
    "spend",
    "values",
]
