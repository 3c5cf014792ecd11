"""One schema per canonical table: the single truth of names, dtypes, units, keys and rules.

>>> sorted(TABLES)[:2]
['accuracy_samples', 'budgets']
>>> dtypes("costs")["BilledCost"]
Decimal(precision=38, scale=18)
"""

from __future__ import annotations

from functools import cache
from hashlib import sha256

import dataframely as dy
import polars as pl

from finops_lab.contracts.costs import Costs
from finops_lab.contracts.findings import listed, told
from finops_lab.contracts.ledger import AMOUNTS, BILL_KEYS, DIMENSIONS, Ledger
from finops_lab.contracts.planning import Budgets, FeatureValue, Slos
from finops_lab.contracts.pricing import Pools, Prices
from finops_lab.contracts.telemetry import (
    AccuracySamples,
    CapacitySeries,
    Deploys,
    GpuSamples,
    InferenceRequests,
    LatencyHistograms,
    ScaleEvents,
    SpotEvictions,
    TrainingJobs,
)

__all__ = [
    "AMOUNTS",
    "BILL_KEYS",
    "DIMENSIONS",
    "TABLES",
    "AccuracySamples",
    "Budgets",
    "CapacitySeries",
    "Costs",
    "Deploys",
    "FeatureValue",
    "GpuSamples",
    "InferenceRequests",
    "LatencyHistograms",
    "Ledger",
    "Pools",
    "Prices",
    "ScaleEvents",
    "Slos",
    "SpotEvictions",
    "TrainingJobs",
    "dtypes",
    "listed",
    "reasons",
    "required",
    "told",
    "version",
]

TABLES: dict[str, type[dy.Schema]] = {
    "costs": Costs,
    "ledger": Ledger,
    "inference_requests": InferenceRequests,
    "latency_histograms": LatencyHistograms,
    "gpu_samples": GpuSamples,
    "training_jobs": TrainingJobs,
    "spot_evictions": SpotEvictions,
    "scale_events": ScaleEvents,
    "capacity_series": CapacitySeries,
    "deploys": Deploys,
    "accuracy_samples": AccuracySamples,
    "feature_value": FeatureValue,
    "prices": Prices,
    "pools": Pools,
    "budgets": Budgets,
    "slos": Slos,
}


def dtypes(table: str) -> dict[str, pl.DataType]:
    """Return the columns of a table with their dtypes, in order."""
    # A dict of the caller's own, who may add to it.
    return {name: dtype for name, dtype, _ in _columns(table)}


def required(table: str) -> list[str]:
    """Return the columns of a table that may not be null, in order."""
    return [name for name, _, nullable in _columns(table) if not nullable]


@cache
def _columns(table: str) -> tuple[tuple[str, pl.DataType, bool], ...]:
    """Return name, dtype and nullability of a table's columns: dataframely looks them up anew each time."""
    return tuple((name, column.dtype, column.nullable) for name, column in TABLES[table].columns().items())


@cache
def version(table: str) -> str:
    """Return a short hash of a contract's columns, dtypes and rules: it changes when they do.

    Examples
    --------
    >>> version("costs") == version("costs") != version("ledger")
    True
    """
    columns = [(name, str(column.dtype), column.nullable) for name, column in TABLES[table].columns().items()]
    rules = {name: str(rule.expr) for name, rule in TABLES[table]._validation_rules(with_cast=False).items()}
    return sha256(repr((columns, sorted(rules.items()))).encode()).hexdigest()[:12]


def reasons(table: str) -> pl.Expr:
    """Return an expression that lists, per row, the contract rules the row breaks.

    Same rules as `dataframely.Schema.filter`, kept row by row and lazy, so that a reader can send
    a row with its reasons to quarantine in the pass that accepts the others, and so that columns
    the contract does not know (``x_`` columns) stay on the row.

    Returns
    -------
    polars.Expr
        ``List(String)``, such as ``["BilledCost: missing or not readable"]``; null for a good row.
    """
    # dataframely keeps the assembled rules private; its public `filter` drops unknown columns.
    rules = TABLES[table]._validation_rules(with_cast=False)
    # A rule on a null is null: the nullability rule speaks for it, the others stay silent.
    return listed([(~rule.expr, pl.lit(_wording(name))) for name, rule in rules.items()])


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
