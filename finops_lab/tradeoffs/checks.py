"""What every check of a canary says, in one form."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl

from finops_lab.tradeoffs.sequential import Sequential

__all__ = ["CHECKS", "as_check", "check", "checks_of"]

CHECKS: dict[str, pl.DataType | type[pl.DataType]] = {
    "check": pl.String,  # such as `error rate`
    "kind": pl.String,  # `quality`, `latency`, `errors`, `burn`, `mix` or `estimate`
    "status": pl.String,  # `ok` (proven), `breached` (the opposite is proven) or `unknown`
    "required": pl.Boolean,  # nothing is promoted while it is not ok; what is not required can only breach
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "limit": pl.Float64,
    "unit": pl.String,  # of the four before
    "n": pl.Int64,  # items, blocks or calls seen
    "n_needed": pl.Int64,  # in all, were it to go on like this; null where decided or unknown
    "reason": pl.String,
}


def check(name: str, kind: str, status: str, *, reason: str, **more: Any) -> pl.DataFrame:
    """Return one check as a frame of one row.

    Parameters
    ----------
    name, kind, status, reason : str
        As in `CHECKS`.
    **more : optional
        Other columns; those not given are null, ``required`` is true.

    Returns
    -------
    polars.DataFrame
        `CHECKS`.
    """
    row = {"check": name, "kind": kind, "status": status, "reason": reason, "required": True} | more
    return pl.DataFrame([row], schema=CHECKS)


def as_check(
    found: Sequential, *, good: str, name: str, kind: str, scale: float = 1.0, **more: Any
) -> pl.DataFrame:
    """Return what a sequential test says as a check.

    Parameters
    ----------
    found : Sequential
        From `finops_lab.tradeoffs.sequential.sequential`.
    good : str
        The direction that is good: ``above`` or ``below``.
    name, kind : str
        As in `CHECKS`.
    scale : float
        What value, range and limit are multiplied with.
    **more : optional
        ``unit``, ``reason`` and the like.

    Returns
    -------
    polars.DataFrame
        `CHECKS`, one row.
    """
    bad = found.below if good == "above" else found.above
    # Whatever was proven before, or after: what got worse than the limit has got worse.
    status = "breached" if bad is not None else "ok" if found.decided == good else "unknown"
    numbers: dict[str, Any] = {"limit": found.reference * scale, "n": found.n, "n_needed": found.expected_n}
    if found.n:
        numbers |= {"value": found.mean * scale, "low": found.low * scale, "high": found.high * scale}
    return check(name, kind, status, **numbers, **more)


def checks_of(parts: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Put checks together, in their order; none give an empty frame."""
    return pl.concat([pl.DataFrame(schema=CHECKS), *parts])
