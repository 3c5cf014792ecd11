"""What the spend of a planned feature depends on: one driver at a time, and all at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from finops_lab.config.feature_plan import AmountRange
from finops_lab.money import MONEY
from finops_lab.planning.drivers import ADOPTION, Driver, triangular
from finops_lab.planning.formula import Basis
from finops_lab.planning.point import total
from finops_lab.planning.simulation import totals

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["sobol", "tornado"]

_LABEL = "Adoption curve"
_TORNADO: dict[str, pl.DataType | type[pl.DataType]] = {
    "driver": pl.String,
    "label": pl.String,
    "unit": pl.String,
    "low": MONEY,
    "high": MONEY,
    "at_low": MONEY,
    "at_high": MONEY,
    "swing": MONEY,
}
_INDICES: dict[str, pl.DataType | type[pl.DataType]] = {
    "driver": pl.String,
    "label": pl.String,
    "first_order": pl.Float64,
    "total_order": pl.Float64,
}
# Sobol' points: a power of two, as their sequence needs.
_POINTS = 2048


def tornado(fixed: Basis, drivers: Sequence[Driver], adoption: Sequence[AmountRange]) -> pl.DataFrame:
    """Set each driver to its low and to its high, the others at likely: exact totals of the horizon.

    Returns
    -------
    polars.DataFrame
        Largest effect first: ``driver``, ``label``, ``unit`` (String), ``low``, ``high`` (null for
        the adoption curve, which has one for each month), ``at_low``, ``at_high``, ``swing``
        (Decimal, USD; the difference of the two). Drivers without a range are left out.
    """
    likely = {one.key: one.likely for one in drivers}
    curve = [one.likely for one in adoption]
    rows: list[tuple[Any, ...]] = []
    for one in drivers:
        if one.ranged:
            low, high = (total(fixed, likely | {one.key: end}, curve) for end in (one.low, one.high))
            rows.append((one.key, one.label, one.unit, one.low, one.high, low, high, high - low))
    if any(one.low < one.high for one in adoption):
        low = total(fixed, likely, [one.low for one in adoption])
        high = total(fixed, likely, [one.high for one in adoption])
        rows.append((ADOPTION, _LABEL, "share", None, None, low, high, high - low))
    rows.sort(key=lambda row: -abs(row[-1]))
    return pl.DataFrame(rows, schema=_TORNADO, orient="row")


class _Triangle:
    """A range as `scipy.stats.sobol_indices` wants it: something with quantiles."""

    def __init__(self, low: float, likely: float, high: float) -> None:
        self._ends = low, likely, high

    def ppf(self, u: NDArray[Any]) -> NDArray[Any]:
        return triangular(u, *self._ends)


def sobol(
    fixed: Basis, drivers: Sequence[Driver], adoption: Sequence[AmountRange], *, seed: int
) -> pl.DataFrame:
    """Share the variance of the horizon's total out to the drivers (Sobol' indices).

    ``first_order`` is the share that a driver explains alone, ``total_order`` with all that it does
    together with others; estimated by `scipy.stats.sobol_indices` (Saltelli et al. 2010) on a
    scrambled Sobol' sequence of 2,048 points, so good to about two decimals.

    Returns
    -------
    polars.DataFrame
        Largest ``total_order`` first: ``driver``, ``label`` (String), ``first_order``,
        ``total_order`` (Float64). Drivers without a range are left out.
    """
    import numpy as np

    ranged = [one for one in drivers if one.ranged]
    names = [(one.key, one.label) for one in ranged]
    places: list[tuple[float, float, float]] = [
        (float(one.low), float(one.likely), float(one.high)) for one in ranged
    ]
    moves = any(one.low < one.high for one in adoption)
    if moves:
        # The quantile itself is the variable: one for all months of the curve.
        names.append((ADOPTION, _LABEL))
    values: dict[str, Any] = {one.key: float(one.likely) for one in drivers}

    def worth(points: NDArray[Any]) -> Any:
        drawn = values | {key: points[n] for n, (key, _) in enumerate(names)}
        u = drawn.pop(ADOPTION, np.full(points.shape[1], 0.5))
        ends = [(float(one.low), float(one.likely), float(one.high)) for one in adoption]
        curve = [triangular(u, *end) if end[0] < end[2] else end[1] for end in ends]
        return totals(fixed, drawn, curve) + np.zeros(points.shape[1])

    dists: list[Any] = [_Triangle(*place) for place in places] + ([_Evenly()] if moves else [])
    if len(dists) < 2:  # scipy's estimate of a single one fails, and there is nothing to share out
        ends = [worth(np.array([one.ppf(np.array([0.0, 0.5, 1.0]))])) for one in dists]
        found = [(1.0, 1.0) if np.ptp(told) > 0 else (0.0, 0.0) for told in ends]
    else:
        from scipy.stats import sobol_indices

        with np.errstate(all="ignore"):
            done = sobol_indices(func=worth, n=_POINTS, dists=dists, rng=np.random.default_rng(seed))
        found = list(zip(done.first_order.tolist(), done.total_order.tolist(), strict=True))
    rows = [(*name, *pair) for name, pair in zip(names, found, strict=True)]
    rows.sort(key=lambda row: -row[3])
    return pl.DataFrame(rows, schema=_INDICES, orient="row")


class _Evenly:
    """Evenly between 0 and 1."""

    def ppf(self, u: NDArray[Any]) -> NDArray[Any]:
        return u
