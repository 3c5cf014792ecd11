"""From outcomes of two arms to differences in the order in which a sequential test may see them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from finops_lab.errors import InputError

__all__ = ["alike", "as_outcomes", "blocked", "paired"]


def as_outcomes(
    outcomes: pl.DataFrame, *, baseline: str = "baseline", canary: str = "canary"
) -> pl.DataFrame:
    """Bring outcomes of items to one form: a row per item and arm.

    Parameters
    ----------
    outcomes : polars.DataFrame
        Columns ``item``, ``arm`` and ``value``; or ``item`` and a column for each arm. Other columns
        (``ts``, dimensions) are kept. Values from 0 to 1, such as 1 for a right answer; items whose
        value is null are left out.
    baseline, canary : str
        The arms' names.

    Returns
    -------
    polars.DataFrame
        ``item``, ``arm`` (``baseline`` or ``canary``, String), ``value`` (Float64), others.

    Raises
    ------
    InputError
        When columns are missing, an arm has no items, an item stands twice in an arm, or a value is not
        between 0 and 1.

    Examples
    --------
    >>> wide = pl.DataFrame({"item": [1, 2], "bf16": [1, 0], "int8": [1, 1]})
    >>> as_outcomes(wide, baseline="bf16", canary="int8").sort("item", "arm")["value"].to_list()
    [1.0, 1.0, 0.0, 1.0]
    """
    names = set(outcomes.columns)
    arms = {baseline: "baseline", canary: "canary"}
    if baseline == canary:
        raise InputError(f"baseline and canary are both {baseline!r}: name two arms")
    if {"item", "arm", "value"} <= names:
        long = outcomes.filter(pl.col("arm").cast(pl.String).is_in(list(arms)))
        long = long.with_columns(pl.col("arm").cast(pl.String).replace_strict(arms, return_dtype=pl.String))
    elif {"item", *arms} <= names:
        others = [name for name in outcomes.columns if name not in arms]
        wide = outcomes.rename(arms)
        long = wide.unpivot(["baseline", "canary"], index=others, variable_name="arm", value_name="value")
    else:
        raise InputError(
            f"outcomes have the columns {', '.join(outcomes.columns)}",
            hint=f"item, arm and value are needed, or item, {baseline} and {canary}",
        )
    kind = long.schema["value"]
    if not (kind.is_numeric() or kind == pl.Boolean):
        raise InputError(
            f"values are {kind}, not numbers", column="value", hint="give 1 for right and 0 for wrong"
        )
    long = long.with_columns(pl.col("value").cast(pl.Float64)).filter(pl.col("value").is_not_null())
    for own, name in arms.items():
        if name not in set(long["arm"]):
            raise InputError(
                f"there is no outcome of {own!r}", column="arm", hint="name the arms of the file"
            )
    wrong = long.filter(~pl.col("value").is_between(0, 1) | pl.col("value").is_nan())
    if wrong.height:
        raise InputError(
            f"item {wrong['item'][0]}: {wrong['value'][0]} is not between 0 and 1",
            column="value",
            hint="scale scores to 0..1, or give 1 for a right answer and 0 for a wrong one",
        )
    twice = long.filter(pl.struct("item", "arm").is_duplicated())
    if twice.height:
        raise InputError(f"item {twice['item'].sort()[0]} stands twice in one arm", column="item")
    return long


def paired(outcomes: pl.DataFrame, *, seed: int = 0) -> pl.DataFrame:
    """Return the differences, canary minus baseline, of items that both arms answered.

    Parameters
    ----------
    outcomes : polars.DataFrame
        From `as_outcomes`.
    seed : int
        Without ``ts`` items have no order of their own, and files are often sorted by topic or
        difficulty: they are drawn in an order of this seed, the same for the same items.

    Returns
    -------
    polars.DataFrame
        ``item``, ``difference`` (Float64, -1 to 1), in order: by ``ts`` of the canary and item, or drawn.

    Examples
    --------
    >>> long = pl.DataFrame({"item": [1, 1, 2], "arm": ["baseline", "canary", "canary"],
    ...     "value": [1.0, 0.0, 1.0]})
    >>> paired(long).rows()
    [(1, -1.0)]
    """
    timed = "ts" in outcomes.columns
    kept = ["item", "value", *(["ts"] if timed else [])]
    old = outcomes.filter(arm="baseline").select("item", pl.col("value").alias("was"))
    both = outcomes.filter(arm="canary").select(kept).join(old, on="item")
    both = both.sort("ts", "item") if timed else both.sort("item")
    if not timed:
        both = both[np.random.default_rng(seed).permutation(both.height)]
    return both.select("item", (pl.col("value") - pl.col("was")).alias("difference"))


def blocked(calls: pl.DataFrame | pl.LazyFrame, *, order: Sequence[str] = ("ts",)) -> pl.DataFrame:
    """Return differences of two arms whose items are not the same, block by block in time.

    Calls in order fall into runs of one arm and the other; two runs that follow one another are a
    block: the mean of its canary calls minus the mean of its baseline calls. So what changes with time
    changes both sides of a difference. How blocks are cut does not depend on outcomes. The last block may
    still grow and is left out.

    Parameters
    ----------
    calls : polars.DataFrame or polars.LazyFrame
        ``arm`` (``baseline`` or ``canary``), ``value`` (0 to 1; rows without one are left out).
    order : sequence of str
        Columns that tell the order.

    Returns
    -------
    polars.DataFrame
        ``difference`` (Float64, -1 to 1), ``canary`` and ``baseline`` (Int64, calls), in order of time.

    Examples
    --------
    >>> calls = pl.DataFrame({"ts": range(6), "arm": ["baseline"] * 2 + ["canary", "baseline"] * 2,
    ...     "value": [0, 1, 1, 0, 0, 1]})
    >>> blocked(calls).rows()
    [(0.5, 1, 2), (0.0, 1, 1)]
    """
    value, of_canary = pl.col("value").cast(pl.Float64), pl.col("arm") == "canary"
    rows = calls.lazy().filter(pl.col("value").is_not_null()).sort(*order, "arm", "value")
    blocks = (
        rows.with_columns((pl.col("arm").rle_id() // 2).alias("block"))
        .group_by("block")
        .agg(
            (value.filter(of_canary).mean() - value.filter(~of_canary).mean()).alias("difference"),
            of_canary.sum().cast(pl.Int64).alias("canary"),
            (~of_canary).sum().cast(pl.Int64).alias("baseline"),
        )
        .sort("block")
        .collect()
    )
    return blocks.head(max(blocks.height - 1, 0)).drop("block")


def alike(calls: pl.DataFrame, *, seed: int = 0) -> pl.DataFrame:
    """Return calls that each stand for equally many: of those that stand for fewer, fewer are kept.

    Parameters
    ----------
    calls : polars.DataFrame
        In a fixed order, with ``sample_weight`` (Float64); `inference_requests` of one call a row.
    seed : int
        A row is kept with a chance of its weight over the largest; the same rows for the same seed.

    Returns
    -------
    polars.DataFrame
        The kept rows in their order.

    Raises
    ------
    InputError
        When a row counts several calls.

    Examples
    --------
    >>> alike(pl.DataFrame({"sample_weight": [10.0] * 3})).height
    3
    """
    if "n_requests" in calls.columns and (calls["n_requests"] > 1).any():
        raise InputError(
            "the log counts several calls in one row",
            column="n_requests",
            hint="a canary is judged call by call: read a log with a row for each",
        )
    if "sample_weight" not in calls.columns or calls["sample_weight"].n_unique() <= 1:
        return calls
    chance = calls["sample_weight"].to_numpy() / calls["sample_weight"].max()
    return calls.filter(np.random.default_rng(seed).random(calls.height) < chance)
