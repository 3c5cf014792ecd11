"""Items and rounds drawn again with replacement, the same ones for every variant."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from finops_lab.errors import InputError
from finops_lab.tradeoffs.measurement import CLOCKS, clock_of

__all__ = ["by_item", "by_round"]

Floats = npt.NDArray[np.float64]
_Key = tuple[str | None, str | None]
_QUANTILES = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99}
# Objectives that are a sum over the rounds, divided by another; "clock" is what costs money.
_RATIOS = {
    "per_1000_inferences": ("clock", "items"),
    "per_1m_tokens": ("clock", "tokens"),
    "throughput_per_s": ("items", "wall_ms"),
    "energy_j": ("energy_j", "items"),
}
_COSTS = ("per_1000_inferences", "per_1m_tokens")
_TIMED = ("measured", "relative")


def by_item(
    points: pl.DataFrame, metric: str, outcomes: pl.DataFrame | None, draws: int, seed: int
) -> dict[int, tuple[Floats, float, int]]:
    """Resample items.

    Parameters
    ----------
    points : polars.DataFrame
        ``model`` and ``variant`` of each point, where there.
    metric : str
        The outcomes' metric.
    outcomes : polars.DataFrame or None
        A measurement's outcomes.
    draws, seed : int
        How many draws, and what they start from.

    Returns
    -------
    dict
        By row number of `points`: drawn means (plain mean of the data sets' means), the mean of the
        outcomes as they are, and the items. Only items that all variants answered count.

    Raises
    ------
    InputError
        Variants of a data set without a common item.
    """
    if outcomes is None or outcomes.is_empty():
        return {}
    told = outcomes.filter(pl.col("metric") == metric, pl.col("value").is_not_null())
    told = told.filter(pl.struct("model", "variant").is_in(_keys_frame(points).to_struct().implode()))
    means: dict[_Key, list[tuple[Floats, float, int]]] = {}
    for number, (name, part) in enumerate(_parts(told, "dataset")):
        keys, values = _wide(part, "item", ["value"], f"data set {name}")
        # Equal answers count once: drawing how often each combination comes is the same bootstrap, sooner.
        # Equal columns are multiplied once, so that no rounding tells equal variants apart.
        columns, place = np.unique(values["value"], axis=1, return_inverse=True)
        answers, counts = np.unique(columns, axis=0, return_counts=True)
        n = int(counts.sum())
        rng = np.random.default_rng([seed, 0, number])
        drawn = (rng.multinomial(n, counts / n, size=draws) @ answers / n)[:, place.reshape(-1)]
        mean = (counts @ answers / n)[place.reshape(-1)]
        for i, key in enumerate(keys):
            means.setdefault(key, []).append((drawn[:, i], float(mean[i]), n))
    found = {}
    for row, key in enumerate(_keys(points)):
        several = means.get(key, [])
        if several:
            sets = len(several)
            drawn = sum((d for d, _, _ in several), np.zeros(draws)) / sets
            found[row] = (drawn, sum(m for _, m, _ in several) / sets, sum(n for _, _, n in several))
    return found


def by_round(
    points: pl.DataFrame, name: str, timings: pl.DataFrame | None, clock: str | None, draws: int, seed: int
) -> tuple[dict[int, Floats], dict[int, str]]:
    """Resample rounds.

    Parameters
    ----------
    points : polars.DataFrame
        The objective, ``model``, ``variant``, ``workload`` and ``cost_basis`` where there.
    name : str
        The objective.
    timings : polars.DataFrame or None
        A measurement's timings.
    clock : str or None
        The column that costs money; None for the first of GPU, CPU and wall that all rounds have.
    draws, seed : int
        How many draws, and what they start from.

    Returns
    -------
    tuple of (dict, dict)
        By row number of `points`: drawn values, and the evidence in words. The point's value times
        the ratio of the figure over resampled rounds to that over all rounds.

    Raises
    ------
    InputError
        Variants of a workload without a common round, or an unknown clock.
    """
    found: dict[int, Floats] = {}
    why: dict[int, str] = {}
    if timings is None or timings.is_empty() or not (name in _RATIOS or name in _QUANTILES):
        return found, why
    if clock is not None and clock not in CLOCKS:
        raise InputError(f"no clock {clock!r}", hint=f"known: {', '.join(CLOCKS)}")
    used = clock or clock_of(timings)
    columns = [used if c == "clock" else c for c in _RATIOS.get(name, ("wall_ms",))]
    timings = timings.filter(pl.struct("model", "variant").is_in(_keys_frame(points).to_struct().implode()))
    loads = timings["workload"].unique().to_list()
    own = points["workload"].to_list() if "workload" in points.columns else [None] * points.height
    basis = points["cost_basis"].to_list() if "cost_basis" in points.columns else [None] * points.height
    values = points[name].cast(pl.Float64).to_list()
    for number, (load, part) in enumerate(_parts(timings, "workload")):
        if part.select(pl.any_horizontal(pl.col(columns).is_null()).any()).item():
            continue
        keys, wide = _wide(part, "round", columns, f"workload {load}")
        n = len(wide[columns[0]])
        rng = np.random.default_rng([seed, 1, number])
        weights = rng.multinomial(n, np.full(n, 1 / n), size=draws)
        for row, key in enumerate(_keys(points)):
            fits = own[row] == load or (own[row] is None and len(loads) == 1)
            # A bill is counted, not sampled: rounds say nothing about its noise.
            if (
                key not in keys
                or not fits
                or values[row] is None
                or (name in _COSTS and basis[row] not in _TIMED)
            ):
                continue
            several = [wide[c][:, keys.index(key)] for c in columns]
            if name in _QUANTILES:
                drawn, full = _quantile(several[0], weights, _QUANTILES[name])
            else:
                with np.errstate(divide="ignore", invalid="ignore"):
                    drawn = (weights @ several[0]) / (weights @ several[1])
                    full = several[0].sum() / several[1].sum()
            if full > 0 and np.isfinite(drawn).all():
                found[row], why[row] = values[row] * (drawn / full), f"{n:,} paired rounds"
    return found, why


def _quantile(values: Floats, weights: npt.NDArray[np.int64], share: float) -> tuple[Floats, float]:
    """Return the inverse CDF of resampled values, and of the values as they are."""
    order = np.argsort(values, kind="stable")
    n = len(values)
    need = int(np.ceil(share * n * (1 - 1e-12)))
    reached = np.cumsum(weights[:, order], axis=1) >= need
    ranked = values[order]
    return ranked[reached.argmax(axis=1)], float(ranked[need - 1])


def _parts(frame: pl.DataFrame, name: str) -> list[tuple[str, pl.DataFrame]]:
    parts = frame.sort(name).partition_by(name, maintain_order=True)
    return [(str(part[name][0]) if part[name][0] is not None else "", part) for part in parts]


def _keys_frame(points: pl.DataFrame) -> pl.DataFrame:
    return points.select(
        pl.col(name) if name in points.columns else pl.lit(None, dtype=pl.String).alias(name)
        for name in ("model", "variant")
    )


def _keys(points: pl.DataFrame) -> list[_Key]:
    return _keys_frame(points).rows()


def _wide(
    part: pl.DataFrame, row: str, columns: list[str], where: str
) -> tuple[list[_Key], dict[str, Floats]]:
    """Return the variants, and each column as rows x variants, of the rows that all variants have."""
    keys = part.select("model", "variant").unique().sort("model", "variant")
    common = part.group_by(row).agg(pl.struct("model", "variant").n_unique().alias("n"))
    common = common.filter(pl.col("n") == keys.height)
    if common.is_empty():
        raise InputError(f"the variants of {where} have no {row} in common, so nothing is paired", column=row)
    rows = part.join(common, on=row, how="semi").sort("model", "variant", row)
    shape = (keys.height, common.height)
    if rows.height != shape[0] * shape[1]:
        raise InputError(f"a variant of {where} has one {row} twice", column=row)
    wide = {c: rows[c].cast(pl.Float64).to_numpy().reshape(shape).T for c in columns}
    return keys.rows(), wide
