"""Pair what two variants did: the same round, the same item. What does not pair is said, not dropped silently."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from finops_lab.errors import InputError

__all__ = ["Key", "Matched", "matched_items", "matched_rounds", "of", "scored"]

Key = tuple[str | None, str | None]


@dataclass(frozen=True)
class Matched:
    """Values of two variants, paired by position.

    Parameters
    ----------
    candidate, baseline : numpy.ndarray
        One value a pair, in the order of the rounds or items.
    unmatched : int
        Rounds or items that only one of the two has.
    """

    candidate: npt.NDArray[np.float64]
    baseline: npt.NDArray[np.float64]
    unmatched: int


def of(frame: pl.DataFrame, key: Key) -> pl.DataFrame:
    """Return the rows of one variant.

    Parameters
    ----------
    frame : polars.DataFrame
        With ``model`` and ``variant``.
    key : tuple of (str or None, str or None)
        Model and variant; None is a name too.
    """
    model, variant = (pl.lit(name, dtype=pl.String) for name in key)
    return frame.filter(pl.col("model").eq_missing(model), pl.col("variant").eq_missing(variant))


def matched_rounds(timings: pl.DataFrame, candidate: Key, baseline: Key, *, value: str) -> Matched:
    """Pair the rounds of one workload.

    Parameters
    ----------
    timings : polars.DataFrame
        `TIMINGS` of one workload.
    candidate, baseline : tuple
        Model and variant.
    value : str
        The column to pair. Rounds without it do not count.

    Returns
    -------
    Matched
        Values of the whole round.

    Raises
    ------
    InputError
        A round told twice, or one in which the two did not make the same number of inferences.
    """
    pairs, unmatched = _join(timings, candidate, baseline, "round", value, "items")
    uneven = pairs.filter(pl.col("items") != pl.col("items_base"))
    if uneven.height:
        at, mine, base = uneven.select("round", "items", "items_base").row(0)
        raise InputError(
            f"round {at}: {candidate[1]} made {mine} inferences and {baseline[1]} {base}, so they do not pair",
            column="items",
        )
    return _matched(pairs, value, unmatched)


def matched_items(outcomes: pl.DataFrame, candidate: Key, baseline: Key) -> Matched:
    """Pair the items of one data set.

    Parameters
    ----------
    outcomes : polars.DataFrame
        `OUTCOMES` of one data set and metric. Items without a value do not count.
    candidate, baseline : tuple
        Model and variant.

    Returns
    -------
    Matched
        Scores; empty when the two share no item.

    Raises
    ------
    InputError
        An item told twice.
    """
    pairs, unmatched = _join(outcomes, candidate, baseline, "item", "value")
    return _matched(pairs, "value", unmatched)


def scored(outcomes: pl.DataFrame, key: Key) -> tuple[int, int] | None:
    """Count a variant's right answers and all its items; None where scores are not 0 or 1.

    Parameters
    ----------
    outcomes : polars.DataFrame
        `OUTCOMES` of one data set and metric.
    key : tuple
        Model and variant.
    """
    values = of(outcomes, key)["value"].drop_nulls()
    return (int(values.sum()), values.len()) if values.len() and values.is_in([0.0, 1.0]).all() else None


def _join(
    frame: pl.DataFrame, candidate: Key, baseline: Key, key: Literal["round", "item"], *columns: str
) -> tuple[pl.DataFrame, int]:
    mine, base = (
        of(frame, name).select(key, *columns).filter(pl.col(columns[0]).is_not_null())
        for name in (candidate, baseline)
    )
    for name, rows in ((candidate, mine), (baseline, base)):
        twice = rows.filter(pl.col(key).is_duplicated())
        if twice.height:
            raise InputError(f"{name[0]} {name[1]} tells {key} {twice.item(0, key)} more than once")
    pairs = mine.join(base, on=key, how="inner", suffix="_base").sort(key)
    return pairs, mine.height + base.height - 2 * pairs.height


def _matched(pairs: pl.DataFrame, value: str, unmatched: int) -> Matched:
    return Matched(
        pairs[value].to_numpy().astype(np.float64),
        pairs[f"{value}_base"].to_numpy().astype(np.float64),
        unmatched,
    )
