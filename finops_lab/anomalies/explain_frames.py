"""What an explanation says of its slices: how they narrow the event down, and what they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from finops_lab.allocation import UNALLOCATED
from finops_lab.anomalies.attribution import DIMENSIONS, GROUP, MARK, Leaves
from finops_lab.anomalies.explain_search import Found
from finops_lab.anomalies.panel import Bools
from finops_lab.anomalies.sentence import slice_words
from finops_lab.money import MONEY, exact_sum

__all__ = [
    "FOUND",
    "PATH",
    "conditions",
    "found_frame",
    "path_frame",
    "pinned",
    "shares_of",
    "sums_of",
    "where_of",
]

_Schema = dict[str, pl.DataType | type[pl.DataType]]
_SUMS: _Schema = {"actual": MONEY, "expected": MONEY, "excess": MONEY, "share": pl.Float64}
FOUND: _Schema = {"rank": pl.Int64, "element": pl.Int64, "slice": pl.String, **_SUMS, "score": pl.Float64}
PATH: _Schema = {
    "element": pl.Int64,
    "step": pl.Int64,
    "dimension": pl.String,
    "value": pl.String,
    "narrows": pl.Boolean,
    **_SUMS,
}
_MOST_OF_SLICE = 0.9  # of its change in one value: worth a word
_OF_CALLS = ("team", "feature", "customer", "environment", "region", "model", "variant", "pool")


def pinned(of: Leaves, one: Found, member: Bools) -> dict[str, str | None]:
    """Return what an element of an explanation pins down, and to what."""
    at = int(np.argmax(member))
    return {name: of.frame[name][at] for name in one.dimensions}


def sums_of(of: Leaves, member: Bools) -> tuple[Decimal, Decimal, Decimal, float | None]:
    """Return actual, expected and excess of some leaves, and their share of the whole excess."""
    part = of.frame.filter(pl.Series(member)).select("actual", "expected")
    actual, expected = (exact_sum(part[name].to_list()) for name in ("actual", "expected"))
    excess, whole = exact_sum([actual, expected.copy_negate()]), of.excess
    return actual, expected, excess, float(excess / whole) if whole else None


def found_frame(of: Leaves | None, ranked: Sequence[Found]) -> pl.DataFrame:
    """Return the explanations, one row per element: `FOUND`."""
    rows = [
        (rank, n, slice_words(pinned(of, one, member)), *sums_of(of, member), one.score)
        for rank, one in enumerate(ranked, 1)
        for n, member in enumerate(one.members, 1)
        if of is not None
    ]
    return pl.DataFrame(rows, schema=FOUND, orient="row")


def path_frame(of: Leaves, one: Found) -> pl.DataFrame:
    """Return how an explanation narrows the event down, and what its change shares beside: `PATH`."""
    rows = []
    for n, member in enumerate(one.members, 1):
        inside: Bools = np.ones(of.frame.height, dtype=np.bool_)
        told = pinned(of, one, member)
        step = 0
        for step, name in enumerate(sorted(told, key=list(DIMENSIONS).index), 1):
            inside = inside & of.frame[name].eq_missing(pl.Series([told[name]], dtype=pl.String)).to_numpy()
            rows.append((n, step, name, told[name], True, *sums_of(of, inside)))
        for name in of.dimensions:
            if name not in told and (held := _common(of, member, name)) is not None:
                step += 1
                rows.append((n, step, name, held[0], False, *sums_of(of, held[1])))
    return pl.DataFrame(rows, schema=PATH, orient="row")


def _common(of: Leaves, member: Bools, name: str) -> tuple[str, Bools] | None:
    """Return the value that nearly all of a slice's change has, where not all entries have it."""
    parts = (
        of.frame.filter(pl.Series(member)).group_by(name).agg((pl.col("actual") - pl.col("expected")).sum())
    )
    sums = {value: float(excess) for value, excess in parts.iter_rows()}
    whole = sum(sums.values())
    value = min(sums, key=lambda one: (-sums[one] / whole if whole else 0.0, one is None, one or ""))
    if value is None or not whole or sums[value] / whole < _MOST_OF_SLICE or of.frame[name].n_unique() == 1:
        return None
    return value, member & of.frame[name].eq_missing(pl.Series([value], dtype=pl.String)).to_numpy()


def conditions(of: Leaves, one: Found) -> pl.Expr:
    """Return what holds of the entries of an explanation."""
    elements = []
    for member in one.members:
        holds = [pl.lit(True)]
        for name, value in pinned(of, one, member).items():
            equal = pl.col(f"{MARK}{name}").eq_missing(pl.lit(value, pl.String))
            # Resources may be called by their group.
            holds.append(equal | pl.col(GROUP).eq_missing(pl.lit(value)) if name == "resource" else equal)
        elements.append(pl.all_horizontal(holds))
    return pl.any_horizontal(elements)


def where_of(of: Leaves, member: Bools) -> dict[str, list[str]]:
    """Return what telemetry of a slice says of itself: dimensions of which all of it has few values."""
    part = of.frame.filter(pl.Series(member))
    found = {}
    for name in _OF_CALLS:
        if name not in of.dimensions:
            continue
        values = part[name].unique().sort()
        narrow = values.len() == 1 or values.len() < of.frame[name].n_unique() or name == "model"
        if narrow and not values.null_count() and UNALLOCATED not in values:
            found[name] = values.to_list()
    return found


def shares_of(event: Mapping[str, Any], of: Leaves | None, member: Bools) -> dict[str, dict[str, float]]:
    """Return which values the change of a slice is of, by dimension."""
    if of is None:
        pinned = {name.removeprefix("x_"): event[name] for name in event if name.startswith("x_")}
        if event.get("value") is not None:
            pinned[str(event.get("dimension"))] = event["value"]
        return {name: {str(value): 1.0} for name, value in pinned.items() if value is not None}
    part = of.frame.filter(pl.Series(member))
    shares = {}
    for name in of.dimensions:
        by = pl.col("_resource" if name == "resource" else name)
        sums = part.group_by(by).agg((pl.col("actual") - pl.col("expected")).sum().alias("excess")).sort(by)
        told = {value: float(one) for value, one in sums.iter_rows() if value not in (None, UNALLOCATED)}
        whole = float(exact_sum(sums["excess"].to_list()))
        if whole and told:
            shares[name] = {value: one / whole for value, one in told.items()}
    return shares
