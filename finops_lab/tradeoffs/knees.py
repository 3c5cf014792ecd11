"""Where more quality begins to cost more than it did: the knee, on a linear and on a log axis."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from finops_lab.errors import InputError
from finops_lab.tradeoffs._dominance import front
from finops_lab.tradeoffs.membership import Draws
from finops_lab.tradeoffs.senses import FIXED, one_sense

__all__ = ["knees"]

Floats = npt.NDArray[np.float64]
_SCHEMA = {
    "axis": pl.String,
    "model": pl.String,
    "variant": pl.String,
    "x": pl.Float64,
    "y": pl.Float64,
    "distance": pl.Float64,
    "share": pl.Float64,
    "reason": pl.String,
}
_AXES = ("linear", "log")


def knees(
    points: pl.DataFrame, *, x: str = "per_1000_inferences", y: str = "quality", drawn: Draws | None = None
) -> pl.DataFrame:
    """Find the knee of a front on a linear and on a logarithmic axis.

    The two are often different variants, so none is reported without its axis.

    Parameters
    ----------
    points : polars.DataFrame
        A points frame of one workload: `x`, `y`, ``model`` and ``variant`` where there.
    x, y : str
        Two objectives: ``quality`` (its own direction is obeyed) or columns of `senses.FIXED`. The axis
        of `x` is the one that is linear or logarithmic.
    drawn : Draws, optional
        What `draw_points` returned for these points, `x` and `y` among its objectives: how often each
        knee is the knee.

    Returns
    -------
    polars.DataFrame
        Two rows, ``axis`` linear and log: ``model``, ``variant`` of the knee, ``x``, ``y`` its values,
        ``distance`` (Float64: from the chord between the front's ends, both axes scaled to 0 to 1),
        ``share`` (Float64: in what share of the draws it is the knee; null without `drawn`),
        ``reason`` (String: why there is no knee; null where there is one). Of equal distances the
        smaller `x` in its good direction, then the first row.

    Raises
    ------
    InputError
        An objective of unknown direction, several metrics, several workloads, or draws of other points.

    Notes
    -----
    The chord rule of Satopaa et al., "Finding a Kneedle in a Haystack", 2011, on the front as it is.

    Examples
    --------
    >>> points = pl.DataFrame({"model": ["m"] * 4, "variant": ["a", "b", "c", "d"],
    ...     "p95_ms": [1.0, 10.0, 40.0, 1000.0], "quality": [0.5, 0.8, 0.9, 1.0],
    ...     "quality_metric": ["accuracy"] * 4})
    >>> knees(points, x="p95_ms").select("axis", "variant").rows()
    [('linear', 'c'), ('log', 'b')]
    """
    for name in (x, y):
        if name not in points.columns:
            raise InputError(f"no column {name!r}", hint=f"known: {', '.join(points.columns)}")
        if name != "quality" and name not in FIXED:
            raise InputError(f"the direction of {name!r} is not known", hint=f"known: {', '.join(FIXED)}")
    if x == y:
        raise InputError("a knee needs two objectives")
    if "workload" in points.columns and points["workload"].n_unique() > 1:
        raise InputError("several workloads have no common knee", hint="filter to one workload")
    up = [one_sense(points)[1] if name == "quality" else FIXED[name] for name in (x, y)]
    values = points.select(pl.col(x, y).cast(pl.Float64)).fill_null(float("nan")).to_numpy()
    samples = None if drawn is None else _samples(drawn, (x, y), points.height)
    rows = []
    for axis in _AXES:
        row, distance, reason = _knee(values, up, log=axis == "log")
        share = None
        if samples is not None and row is not None:
            share = float(np.mean([_knee(sample, up, log=axis == "log")[0] == row for sample in samples]))
        found: dict[str, Any] = {"axis": axis, "distance": distance, "share": share, "reason": reason}
        if row is not None:
            for name in ("model", "variant"):
                found[name] = points[name][row] if name in points.columns else None
            found["x"], found["y"] = values[row].tolist()
        rows.append(found)
    return pl.DataFrame(rows, schema=_SCHEMA)


def _samples(drawn: Draws, names: tuple[str, str], height: int) -> Floats:
    missing = [name for name in names if name not in drawn.objectives]
    if missing or drawn.values.shape[1] != height:
        raise InputError(
            f"the draws are not of these points: {', '.join(missing) or 'another number of rows'}",
            hint="draw_points(points, objectives=[x, y])",
        )
    return drawn.values[:, :, [drawn.objectives.index(name) for name in names]]


def _knee(values: Floats, up: list[bool], *, log: bool) -> tuple[int | None, float | None, str | None]:
    """Return the row of the knee and its distance from the chord, or why there is none."""
    known = np.flatnonzero(~np.isnan(values).any(axis=1))
    signed = values[known] * np.where(up, -1.0, 1.0)
    if known.size:
        stays = front([np.ascontiguousarray(column) for column in signed.T])
        known, signed = known[stays], signed[stays]
    # Equal points are one corner.
    _, first = np.unique(signed, axis=0, return_index=True)
    known, signed = known[first], signed[first]
    if len(known) < 3:
        return None, None, f"a knee needs 3 front points, there are {len(known)}"
    x, y = signed.T
    if log:
        if (values[known, 0] <= 0).any():
            return None, None, "a log axis has no zero and nothing below"
        x = np.log(values[known, 0]) * (-1.0 if up[0] else 1.0)
    # The front goes from the best x (and worst y) to the worst x: scaled, the chord is x + y = 1.
    x, y = (x - x[0]) / (x[-1] - x[0]), (y - y[-1]) / (y[0] - y[-1])
    distance = (1 - x - y) / np.sqrt(2)
    best = int(distance.argmax())
    if distance[best] <= 1e-12:
        return None, None, "the front bends the other way: no point is beyond the chord"
    return int(known[best]), float(distance[best]), None
