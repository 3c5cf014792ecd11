"""One schema per canonical table: the single truth of names, dtypes, units, keys and rules.

>>> sorted(TABLES)[:3]
['accuracy_samples', 'budgets', 'costs']
>>> dtypes("costs")["BilledCost"]
Decimal(precision=38, scale=18)
"""

from __future__ import annotations

from typing import cast

import dataframely as dy
import polars as pl

from finops_lab.contracts.costs import Costs
from finops_lab.contracts.ledger import AMOUNTS, DIMENSIONS, Ledger
from finops_lab.contracts.planning import Budgets, FeatureValue, Slos
from finops_lab.contracts.telemetry import (
    AccuracySamples,
    GpuSamples,
    InferenceRequests,
    SpotEvictions,
    TrainingJobs,
)

__all__ = [
    "AMOUNTS",
    "DIMENSIONS",
    "TABLES",
    "AccuracySamples",
    "Budgets",
    "Costs",
    "FeatureValue",
    "GpuSamples",
    "InferenceRequests",
    "Ledger",
    "Slos",
    "SpotEvictions",
    "TrainingJobs",
    "dtypes",
    "reasons",
    "required",
]

TABLES: dict[str, type[dy.Schema]] = {
    "costs": Costs,
    "ledger": Ledger,
    "inference_requests": InferenceRequests,
    "gpu_samples": GpuSamples,
    "training_jobs": TrainingJobs,
    "spot_evictions": SpotEvictions,
    "accuracy_samples": AccuracySamples,
    "feature_value": FeatureValue,
    "budgets": Budgets,
    "slos": Slos,
}


def dtypes(table: str) -> dict[str, pl.DataType]:
    """Return the columns of a table with their dtypes, in order."""
    return {name: column.dtype for name, column in TABLES[table].columns().items()}


def required(table: str) -> list[str]:
    """Return the columns of a table that may not be null, in order."""
    return [name for name, column in TABLES[table].columns().items() if not column.nullable]


def reasons(table: str) -> pl.Expr:
    """Return an expression that lists, per row, the contract rules the row breaks.

    Same rules as `dataframely.Schema.filter`, kept row by row and lazy, so that a reader can send
    a row with its reasons to quarantine in the pass that accepts the others, and so that columns
    the contract does not know (``x_`` columns) stay on the row.

    Returns
    -------
    polars.Expr
        ``List(String)``, such as ``["BilledCost: missing"]``; empty for a good row.
    """
    # dataframely keeps the assembled rules private; its public `filter` drops unknown columns.
    rules = TABLES[table]._validation_rules(with_cast=False)
    found = [
        # A rule on a null is null: the nullability rule speaks for it, the others stay silent.
        pl.when(~rule.expr).then(pl.lit(_wording(name)))
        for name, rule in rules.items()
    ]
    return cast("pl.Expr", pl.concat_list(found).list.drop_nulls())


def _wording(rule: str) -> str:
    column, _, kind = rule.partition("|")
    words = {
        "": column.replace("_", " "),
        "nullability": f"{column}: missing or not readable",
        "regex": f"{column}: not in the expected form",
        "check": f"{column}: value not allowed",
        "min": f"{column}: below the allowed minimum",
        "max": f"{column}: above the allowed maximum",
    }
    return words.get(kind, f"{column}: breaks the rule {kind}")
