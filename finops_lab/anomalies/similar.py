"""Earlier events like this one, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from math import exp, log
from typing import Any

import polars as pl

from finops_lab.anomalies.attribution import span_of
from finops_lab.anomalies.event import SCOPES
from finops_lab.money import MONEY

__all__ = ["SIMILAR", "similar_events"]

SIMILAR: dict[str, pl.DataType | type[pl.DataType]] = {
    "id": pl.String,
    "first": pl.Datetime("us", "UTC"),
    "last": pl.Datetime("us", "UTC"),
    "kind": pl.String,
    "dimension": pl.String,
    "value": pl.String,
    "direction": pl.String,
    "excess_amount": MONEY,
    "BillingCurrency": pl.String,
    "status": pl.String,
    "note": pl.String,
    "similarity": pl.Float64,
}
_KIND, _SCOPE, _SHAPE = 0.25, 0.45, 0.3
_LEAST = 0.6


def similar_events(
    event: Mapping[str, Any], past: pl.LazyFrame | pl.DataFrame, *, most: int = 5, least: float = _LEAST
) -> pl.DataFrame:
    """Find earlier events of the same kind, in the same slice, of the same shape.

    Parameters
    ----------
    event : mapping
        A row of the events frame.
    past : polars.LazyFrame or polars.DataFrame
        Events of the events frame; those that did not begin before this one are left out.
    most : int
        Events that are told.
    least : float
        Similarity, 0 to 1, below which an event is not told.

    Returns
    -------
    polars.DataFrame
        `SIMILAR`, the most similar first, the later first on a tie. ``status`` says what became of
        it, ``note`` what was written down.

    Notes
    -----
    A quarter of the similarity is the kind (kind, failure mode and metric alike; an event in the
    other direction is never similar), 45 % the slice (the share of what either event pins down that
    both pin down alike), 30 % the shape (how many times longer, and how many times stronger: a factor
    of e costs two thirds).

    Examples
    --------
    >>> from datetime import datetime
    >>> from finops_lab.anomalies.event import as_events
    >>> rows = pl.DataFrame({"first": [datetime(2026, 9, 1), datetime(2026, 10, 1), datetime(2026, 10, 9)],
    ...     "kind": "spend", "metric": "EffectiveCost", "dimension": "team", "value": ["a", "b", "a"],
    ...     "direction": "up", "actual": [30.0, 90.0, 33.0], "expected": 10.0,
    ...     "status": ["confirmed", "false alarm", "open"]})
    >>> events = as_events(rows)
    >>> similar_events(events.row(2, named=True), events).select("value", "status").rows()
    [('a', 'confirmed')]
    """
    begin, end = span_of(event)
    frame = past.lazy().collect()
    rows = []
    for one in frame.iter_rows(named=True):
        first, last = span_of(one)
        if first >= begin or one.get("id") == event.get("id"):
            continue
        if one.get("direction") != event.get("direction"):
            continue
        length = _nearness((last - first) / (end - begin))
        strength = _nearness(_strength(one) / _strength(event))
        same = [one.get(name) == event.get(name) for name in ("kind", "failure_mode", "metric")]
        score = (
            _KIND * sum(same) / len(same) + _SCOPE * _overlap(one, event) + _SHAPE * (length + strength) / 2
        )
        if score >= least:
            rows.append({**{name: one.get(name) for name in SIMILAR}, "similarity": round(score, 9)})
    found = pl.DataFrame(rows, schema=SIMILAR, orient="row")
    return found.sort("similarity", "first", "id", descending=[True, True, False]).head(most)


def _strength(event: Mapping[str, Any]) -> float:
    """Return how many times more, or less, than expected it was."""
    actual, expected = event.get("actual"), event.get("expected")
    if not actual or not expected or actual < 0 or expected < 0:
        return 1.0
    return float(max(actual / expected, expected / actual))


def _nearness(factor: float) -> float:
    return exp(-abs(log(factor)) * 1.1)


def _overlap(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    pins = []
    for event in (one, other):
        pinned = {(name, event[column]) for name, column in SCOPES.items() if event.get(column)}
        pins.append(pinned | {(event.get("dimension"), event.get("value"))})
    return len(pins[0] & pins[1]) / len(pins[0] | pins[1])
