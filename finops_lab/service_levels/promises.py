"""Objectives as the rest of the room reads them: named, complete, with an exact allowance."""

from __future__ import annotations

from fractions import Fraction

import polars as pl

from finops_lab.contracts import dtypes
from finops_lab.errors import InputError

__all__ = ["BY_DAY", "COLUMN", "allowance", "promised"]

# Judged once a day, or rarer; all others by the call.
BY_DAY = ("accuracy", "cost_per_inference", "freshness")
# What a dimension of a promise is called in telemetry.
COLUMN = {"feature": "feature", "model": "model", "pool": "pool_id"}


def promised(slos: pl.DataFrame | pl.LazyFrame) -> pl.DataFrame:
    """Return the objectives with a name each, sorted by it.

    Parameters
    ----------
    slos : polars.DataFrame or polars.LazyFrame
        The `slos` contract. Only ``service``, ``objective`` and ``target`` must be there;
        ``window_days`` is 28 and ``dimension`` is ``feature`` where they are not.

    Returns
    -------
    polars.DataFrame
        ``slo``, its name (``service: objective`` where it has none), and the contract's columns.

    Raises
    ------
    InputError
        When a column is missing, a target is not between 0 and 1, or two objectives have one name.

    Examples
    --------
    >>> slos = pl.DataFrame({"service": ["chat"], "objective": ["availability"], "target": [0.999]})
    >>> promised(slos).select("slo", "dimension", "window_days").row(0)
    ('chat: availability', 'feature', 28)
    """
    frame = slos.lazy().collect()
    if missing := [name for name in ("service", "objective", "target") if name not in frame.columns]:
        raise InputError(f"objectives need the columns {', '.join(missing)}")
    filled = {"window_days": 28, "dimension": "feature"}
    frame = frame.select(
        (pl.col(name) if name in frame.columns else pl.lit(filled.get(name))).cast(kind).alias(name)
        for name, kind in dtypes("slos").items()
    )
    named = pl.coalesce("name", pl.format("{}: {}", "service", "objective")).alias("slo")
    frame = frame.select(named, pl.all()).sort("slo")
    if not frame["target"].is_between(0, 1, closed="none").all():
        raise InputError("a target must be between 0 and 1", column="target")
    if twice := frame.filter(pl.col("slo").is_duplicated())["slo"].to_list():
        raise InputError(f"two objectives are called {twice[0]!r}", hint="give each a name in finops.toml")
    return frame


def allowance(target: float) -> Fraction:
    """Return the share of events that may be bad, exactly as the target was written.

    Examples
    --------
    >>> allowance(0.999)
    Fraction(1, 1000)
    """
    return 1 - Fraction(repr(float(target)))
