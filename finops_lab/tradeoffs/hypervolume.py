"""How much a front covers: the exact hypervolume, kept with the point it is measured from."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from finops_lab.errors import InputError
from finops_lab.tradeoffs._dominance import front
from finops_lab.tradeoffs.senses import check_sense

__all__ = ["Hypervolume", "hypervolume"]

Floats = npt.NDArray[np.float64]
# From five objectives on each one more multiplies the work by the size of the front.
_MOST = {4: 3000, 5: 150}


@dataclass(frozen=True)
class Hypervolume:
    """A hypervolume; two are comparable only from the same reference point.

    Attributes
    ----------
    value : float
        The volume between the front and the reference point, in the product of the objectives' units.
    reference : dict of str to float
        The reference point.
    maximise : dict of str to bool
        The sense of each objective.
    members : int
        How many distinct front points are better than the reference point in every objective.
    """

    value: float
    reference: dict[str, float]
    maximise: dict[str, bool]
    members: int


def hypervolume(
    frame: pl.DataFrame,
    *,
    minimise: Sequence[str] = (),
    maximise: Sequence[str] = (),
    reference: Mapping[str, float] | None = None,
) -> Hypervolume:
    """Return the exact volume that a set of points beats, up to a reference point.

    Parameters
    ----------
    frame : polars.DataFrame
        One row per point; objectives are numeric columns. Rows with an unknown objective do not count.
    minimise, maximise : sequence of str
        The objectives, by the sense in which they are good. At most three for large fronts, some
        thousand points with four.
    reference : mapping of str to float, optional
        The point to measure from, a value for each objective. Without it the worst known value of each
        objective in `frame`: pass the first result's `reference` on to compare another set with it.

    Returns
    -------
    Hypervolume
        The value with its reference point. Points no better than the reference in some objective add
        nothing.

    Raises
    ------
    InputError
        No objective, one in both senses or in a wrong one, a column that is unknown or not numeric, a
        reference point without a value for each objective, no known row, or too large a front.

    Notes
    -----
    Guerreiro, Fonseca and Paquete, "The Hypervolume Indicator", ACM Computing Surveys 54(6), 2021: a
    staircase in two dimensions, a sweep with a staircase in three (n log n), slices of those beyond.

    Examples
    --------
    >>> runs = pl.DataFrame({"cost": [1.0, 2.0, 3.0], "accuracy": [0.5, 0.75, 0.25]})
    >>> found = hypervolume(
    ...     runs, minimise=["cost"], maximise=["accuracy"], reference={"cost": 4, "accuracy": 0}
    ... )
    >>> found.value, found.reference, found.members
    (2.0, {'cost': 4.0, 'accuracy': 0.0}, 2)
    """
    names = [*minimise, *maximise]
    up = {name: i >= len(minimise) for i, name in enumerate(names)}
    if not names or len(up) < len(names):
        raise InputError("a hypervolume needs at least one objective, each in one sense")
    for name in names:
        if name not in frame.columns or not frame.schema[name].is_numeric():
            raise InputError(f"no numeric column {name!r}", hint=f"known: {', '.join(frame.columns)}")
        check_sense(frame, name, higher_is_better=up[name])
    values = frame.select(pl.col(names).cast(pl.Float64).fill_nan(None)).drop_nulls()
    sign = np.array([-1.0 if up[name] else 1.0 for name in names])
    points = values.to_numpy().reshape(values.height, len(names)) * sign
    if reference is None:
        if not len(points):
            raise InputError("no row is known in all objectives, so there is no reference point")
        corner = points.max(axis=0)
    else:
        _check_reference(reference, names)
        corner = sign * [float(reference[name]) for name in names]
    inside = points[(points < corner).all(axis=1)]
    if len(inside):
        inside = np.unique(inside[front([np.ascontiguousarray(column) for column in inside.T])], axis=0)
    most = _MOST.get(len(names), math.inf if len(names) < 4 else 30)
    if len(inside) > most:
        raise InputError(
            f"a front of {len(inside):,} points in {len(names)} objectives is too large for an exact volume",
            hint=f"at most {most} points; take fewer objectives",
        )
    told = {name: float(value) for name, value in zip(names, sign * corner, strict=True)}
    return Hypervolume(_volume(inside - corner), told, up, len(inside))


def _check_reference(reference: Mapping[str, float], names: Sequence[str]) -> None:
    if set(reference) != set(names) or not all(math.isfinite(value) for value in reference.values()):
        raise InputError(
            "the reference point must have a finite value for each objective and no other",
            hint=f"objectives are {', '.join(names)}",
        )


def _volume(points: Floats) -> float:
    """Return the volume between points and the origin, all coordinates below zero."""
    n, d = points.shape
    if not n:
        return 0.0
    if d == 1:
        return -float(points.min())
    order = np.lexsort(points.T)  # by the last coordinate
    points = points[order]
    if d == 2:
        lowest = np.minimum.accumulate(points[:, 0])
        heights = np.diff(np.append(points[:, 1], 0.0))
        return float((-lowest * heights).sum())
    if d == 3:
        return _sweep(points)
    depths = np.diff(np.append(points[:, -1], 0.0))
    # The slice between one point and the next holds all the points before, without the last coordinate.
    return math.fsum(
        _volume(points[: i + 1, :-1]) * depth for i, depth in enumerate(depths.tolist()) if depth > 0
    )


def _sweep(points: Floats) -> float:
    """Add points in order of the third coordinate to a staircase of the first two."""
    xs, ys = [-math.inf, 0.0], [0.0, -math.inf]  # x up, y down
    area, volume, before = 0.0, 0.0, float(points[0, 2])
    for x, y, z in points.tolist():
        volume += area * (z - before)
        before = z
        at = bisect_left(xs, x)
        # Nothing new where the step to the left, or one at the same x, reaches as low.
        if ys[at - 1] <= y or (xs[at] == x and ys[at] <= y):
            continue
        end, top = at, ys[at - 1]
        left = x
        while ys[end] >= y:
            area += (xs[end] - left) * (top - y)
            left, top = xs[end], ys[end]
            end += 1
        area += (xs[end] - left) * (top - y)
        xs[at:end], ys[at:end] = [x], [y]
    return volume + area * -before
