"""The Pareto front: the rows that no other row beats."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from finops_lab.errors import InputError

__all__ = ["pareto"]


def pareto(
    frame: pl.DataFrame,
    *,
    minimise: Sequence[str] = (),
    maximise: Sequence[str] = (),
    by: Sequence[str] = (),
) -> pl.Series:
    """Tell which rows are on the Pareto front.

    A row is beaten when another row is at least as good in every objective and better in one (weak
    dominance). Equal rows do not beat each other: all of them stay.

    Parameters
    ----------
    frame : polars.DataFrame
        One row per candidate; objectives are numeric columns, Decimals included.
    minimise, maximise : sequence of str
        The objectives, by the sense in which they are good. At least one.
    by : sequence of str
        Columns that group the rows; each group has a front of its own. Null is a group too.

    Returns
    -------
    polars.Series
        ``on_front``, Boolean, in the frame's order. Null where an objective is null or NaN: such a
        row is on no front and beats nobody.

    Raises
    ------
    InputError
        No objective, an unknown or non-numeric column, or a column in both senses.

    Notes
    -----
    Kung, Luccio and Preparata, "On Finding the Maxima of a Set of Vectors", JACM 22(4), 1975, defines
    the set; the method is sort-filter: rows in order of their sum of ranks, each dropping what it
    beats. O(n log n + n x front). Values are compared as ranks, so Decimals never become floats.

    Examples
    --------
    >>> runs = pl.DataFrame({"cost": [1.0, 2.0, 2.0, None], "accuracy": [0.8, 0.9, 0.7, 0.99]})
    >>> pareto(runs, minimise=["cost"], maximise=["accuracy"]).to_list()
    [True, True, False, None]
    """
    objectives = [*minimise, *maximise]
    if not objectives:
        raise InputError("a Pareto front needs at least one objective")
    for name in (*objectives, *by):
        if name not in frame.columns:
            raise InputError(f"no column {name!r}", hint=f"known: {', '.join(frame.columns)}")
    for name in objectives:
        if not frame.schema[name].is_numeric():
            raise InputError(f"objective {name!r} is not numeric but {frame.schema[name]}")
        if objectives.count(name) > 1:
            raise InputError(f"objective {name!r} is named twice")
    ranks = pl.DataFrame(
        [
            _value(frame[name]).rank("dense", descending=i >= len(minimise)).cast(pl.Int64).alias(str(i))
            for i, name in enumerate(objectives)
        ]
    )
    known = ranks.select(pl.all_horizontal(pl.all().is_not_null()).alias("known"))["known"]
    rows = frame.select(
        pl.int_range(pl.len()).alias("row"),
        pl.lit(0).alias("all"),
        *[pl.col(name).alias(f"by_{i}") for i, name in enumerate(by)],
    )
    groups = rows.filter(known).group_by(pl.exclude("row")).agg("row")["row"]
    points = ranks.fill_null(0).to_numpy()
    flags = np.zeros(frame.height, dtype=np.bool_)
    for group in groups:
        members = group.to_numpy()
        flags[members] = _front(points[members])
    return pl.select(pl.when(known).then(pl.Series(flags)).alias("on_front"))["on_front"]


def _value(column: pl.Series) -> pl.Series:
    return column.fill_nan(None) if column.dtype.is_float() else column


def _front(points: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Tell which points no other point is below; smaller is better everywhere."""
    distinct, place = np.unique(points, axis=0, return_inverse=True)
    left = np.argsort(distinct.sum(axis=1), kind="stable")
    values = np.ascontiguousarray(distinct[left].T)
    on_front = np.zeros(len(distinct), dtype=np.bool_)
    while left.size:
        # Whatever beats a point has a smaller sum, so the first one left is beaten by nobody.
        on_front[left[0]] = True
        first, left, values = values[:, :1], left[1:], values[:, 1:]
        stays = (values < first).any(axis=0)
        if not stays.all():
            left, values = left[stays], values[:, stays]
    return on_front[place.reshape(-1)]
