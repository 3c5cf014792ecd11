"""How surely a variant is on the front, given how surely its figures are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from finops_lab.errors import InputError, each_name
from finops_lab.tradeoffs import resampling
from finops_lab.tradeoffs._dominance import front
from finops_lab.tradeoffs.front import pareto
from finops_lab.tradeoffs.senses import FIXED, is_share, one_sense
from finops_lab.wording import plural

__all__ = ["OBJECTIVES", "SEED", "Draws", "draw_points", "membership"]

Floats = npt.NDArray[np.float64]
OBJECTIVES = ("per_1000_inferences", "quality", "p95_ms")
SEED = 20_261_001
# Points that are compared all with all, in blocks of draws; more are left to the front's own method.
_TOGETHER, _CELLS = 128, 1 << 22
# A quality within this of its outcomes' mean is that mean.
_CLOSE = 1e-9


@dataclass(frozen=True)
class Draws:
    """Points as they might have come out.

    Attributes
    ----------
    values : numpy.ndarray
        Float64, draws x points x objectives; NaN where a point has no value.
    objectives : tuple of str
        The objectives' names.
    maximise : tuple of bool
        Whether higher is better, by objective.
    evidence : tuple of str
        What each point's noise was taken from.
    """

    values: Floats
    objectives: tuple[str, ...]
    maximise: tuple[bool, ...]
    evidence: tuple[str, ...]


def membership(
    points: pl.DataFrame | pl.LazyFrame,
    outcomes: pl.DataFrame | pl.LazyFrame | None = None,
    timings: pl.DataFrame | pl.LazyFrame | None = None,
    *,
    objectives: Sequence[str] = OBJECTIVES,
    by: str | Sequence[str] = ("workload",),
    noise: Mapping[str, float] | None = None,
    clock: str | None = None,
    draws: int = 2000,
    seed: int = SEED,
) -> pl.DataFrame:
    """Return the probability that each variant is on the Pareto front.

    Parameters
    ----------
    points, outcomes, timings, objectives, noise, clock, draws, seed
        See `draw_points`.
    by : str or sequence of str
        Columns of `points` that group them; each group has a front of its own. Those that `points`
        lacks do not count.

    Returns
    -------
    polars.DataFrame
        One row per point, in order: ``model``, ``variant``, ``workload`` (String, where there);
        ``on_front`` (Boolean, of the values as they are); ``p_on_front`` (Float64, the share of draws
        in which the point is on the front); ``evidence`` (String, what the noise of each objective
        was taken from). Null where an objective is unknown.

    Raises
    ------
    InputError
        See `draw_points`.

    Notes
    -----
    A paired bootstrap: one draw takes the same items and the same rounds for all variants, so what
    they have in common cancels. `draws` of 2,000 know a probability of .95 to +-.01 (95 %).
    Hoefler and Belli, "Scientific Benchmarking of Parallel Computing Systems", SC 2015, on why.

    Examples
    --------
    >>> points = pl.DataFrame({"variant": ["fp16", "int8", "int4"], "quality": [0.9, 0.89, 0.6],
    ...     "quality_metric": ["accuracy"] * 3, "quality_n": [200] * 3, "p95_ms": [90.0, 60.0, 61.0]})
    >>> found = membership(points, objectives=["quality", "p95_ms"], noise={"p95_ms": 0.03})
    >>> found["on_front"].to_list(), found["p_on_front"].round(1).to_list()
    ([True, True, False], [0.6, 1.0, 0.4])
    """
    by = each_name(by)
    points = points.lazy().collect()
    drawn = draw_points(
        points,
        outcomes,
        timings,
        objectives=objectives,
        noise=noise,
        clock=clock,
        draws=draws,
        seed=seed,
    )
    groups = [name for name in by if name in points.columns]
    names = list(zip(drawn.objectives, drawn.maximise, strict=True))
    on_front = pareto(
        points,
        minimise=[name for name, up in names if not up],
        maximise=[name for name, up in names if up],
        by=groups,
    )
    signed = drawn.values * np.where(drawn.maximise, -1.0, 1.0)
    share = np.full(points.height, np.nan)
    known = points.select(*groups, pl.int_range(pl.len()).alias("row")).filter(on_front.is_not_null())
    parts = known.group_by(groups).agg("row")["row"] if groups else [known["row"]]
    for part in parts:
        rows = part.to_numpy()
        if rows.size:
            share[rows] = _shares(signed[:, rows])
    labels = [name for name in ("model", "variant", "workload") if name in points.columns]
    return points.select(labels).with_columns(
        on_front,
        pl.Series("p_on_front", share).fill_nan(None),
        pl.Series("evidence", drawn.evidence, dtype=pl.String),
    )


def draw_points(
    points: pl.DataFrame | pl.LazyFrame,
    outcomes: pl.DataFrame | pl.LazyFrame | None = None,
    timings: pl.DataFrame | pl.LazyFrame | None = None,
    *,
    objectives: Sequence[str] = OBJECTIVES,
    noise: Mapping[str, float] | None = None,
    clock: str | None = None,
    draws: int = 2000,
    seed: int = SEED,
) -> Draws:
    """Draw points as they might have come out, were they measured again.

    Parameters
    ----------
    points : polars.DataFrame or polars.LazyFrame
        A points frame (see `points.POINTS`): the objectives, ``model`` or ``variant``; ``workload``,
        ``cost_basis``, ``quality_metric``, ``quality_n`` and ``higher_is_better`` where there are any.
    outcomes, timings : polars.DataFrame or polars.LazyFrame, optional
        A measurement's outcomes and timings: what is resampled, by item and by round.
    objectives : sequence of str
        ``quality`` (its own direction is obeyed) and columns of `senses.FIXED`.
    noise : mapping of str to float, optional
        Relative standard deviations (0.03 is 3 %) by objective, ASSUMED where there is no paired
        evidence: independent and log-normal.
    clock : str, optional
        The column of `timings` that costs money: ``gpu_ms``, ``cpu_ms`` or ``wall_ms``. Without it
        the first of these that all rounds have.
    draws, seed : int
        How many draws, and what they start from: the same numbers give the same draws.

    Returns
    -------
    Draws
        Qualities by resampled items that all variants of a data set answered; else binomial by
        ``quality_n``, independent between variants, where the metric is a share of right answers. Costs
        that were measured, throughput, energy and percentiles move by the ratio of the resampled rounds
        to all rounds. Billed costs and everything else are taken as exact.

    Raises
    ------
    InputError
        An unknown objective, several metrics or a wrong direction, noise below zero or for no
        objective, variants without one common item or round, or outcomes on another scale than the points.

    Examples
    --------
    >>> points = pl.DataFrame({"variant": ["a"], "p95_ms": [50.0]})
    >>> draw_points(points, objectives=["p95_ms"], draws=2).evidence
    ('p95_ms: taken as exact',)
    """
    points, noise = points.lazy().collect(), noise or {}
    outcomes, timings = (None if part is None else part.lazy().collect() for part in (outcomes, timings))
    _check(points, objectives, noise, draws)
    values = np.empty((draws, points.height, len(objectives)))
    evidence: list[list[str]] = [[] for _ in range(points.height)]
    maximise = []
    for number, name in enumerate(objectives):
        known = points[name].cast(pl.Float64).fill_nan(None)
        if name == "quality":
            metric, up = one_sense(points)
            found, why = _quality(points, known, metric, outcomes, draws, seed)
        else:
            up = FIXED[name]
            found, why = resampling.by_round(points, name, timings, clock, draws, seed)
        maximise.append(up)
        rng = np.random.default_rng([seed, 3, number])
        for row, value in enumerate(known.to_list()):
            assumed = np.exp(noise.get(name, 0.0) * rng.standard_normal(draws))
            text = why.get(row)
            if value is None:
                values[:, row, number] = np.nan
                text = "unknown"
            elif text is not None:
                values[:, row, number] = found[row]
            elif name in noise:
                values[:, row, number] = value * assumed
                text = f"{noise[name]:.3g} relative noise assumed"
            else:
                values[:, row, number] = value
            evidence[row].append(f"{name}: {text or 'taken as exact'}")
    return Draws(values, tuple(objectives), tuple(maximise), tuple("; ".join(texts) for texts in evidence))


def _check(points: pl.DataFrame, objectives: Sequence[str], noise: Mapping[str, float], draws: int) -> None:
    if draws < 1:
        raise InputError(f"draws must be at least 1, not {draws}")
    if not objectives:
        raise InputError("a front needs at least one objective")
    for name in objectives:
        if name != "quality" and name not in FIXED:
            known = ", ".join(["quality", *FIXED])
            raise InputError(f"the direction of {name!r} is not known", hint=f"objectives are {known}")
        if name not in points.columns:
            raise InputError(f"no column {name!r}", hint=f"known: {', '.join(points.columns)}")
    for name, width in noise.items():
        if name not in objectives:
            raise InputError(f"noise for {name!r}, which is no objective")
        if not 0 <= width < np.inf:
            raise InputError(f"the noise of {name!r} must be a number from 0 up, not {width}")


def _quality(
    points: pl.DataFrame,
    known: pl.Series,
    metric: str,
    outcomes: pl.DataFrame | None,
    draws: int,
    seed: int,
) -> tuple[dict[int, Floats], dict[int, str]]:
    """Draw qualities: by item where there are outcomes, else binomial where n is known."""
    found, why = {}, {}
    paired = resampling.by_item(points, metric, outcomes, draws, seed)
    counts = points["quality_n"].to_list() if "quality_n" in points.columns else [None] * points.height
    whole = 100.0 if (known.max() or 0.0) > 1 else 1.0  # type: ignore[operator]
    for row, (value, n) in enumerate(zip(known.to_list(), counts, strict=True)):
        if value is None:
            continue
        if row in paired:
            drawn, mean, items = paired[row]
            if not 0.5 <= abs(value or 1.0) / (abs(mean) or abs(value) or 1.0) <= 2:
                raise InputError(
                    f"the quality {value:g} is not on the scale of its outcomes, whose mean is {mean:g}",
                    row=row + 1,
                    column="quality",
                )
            found[row] = drawn if abs(value - mean) <= _CLOSE * abs(mean) else value + (drawn - mean)
            why[row] = plural(items, "paired item")
        elif n and is_share(metric) and 0 <= value <= whole:
            rng = np.random.default_rng([seed, 2, row])
            found[row] = rng.binomial(n, value / whole, draws) / n * whole
            why[row] = f"binomial, n = {n:,}, variants independent"
    return found, why


def _shares(values: Floats) -> Floats:
    """Return in what share of the draws each point is on the front; smaller is better."""
    draws, n, d = values.shape
    if n > _TOGETHER:
        columns = [np.ascontiguousarray(values[:, :, i]) for i in range(d)]
        counts = sum(front([column[draw] for column in columns]).astype(np.int64) for draw in range(draws))
        return np.asarray(counts / draws, dtype=np.float64)
    beaten = np.zeros(n, dtype=np.int64)
    step = max(1, _CELLS // n**2)
    for start in range(0, draws, step):
        part = values[start : start + step]
        below = part[:, :, None, 0] <= part[:, None, :, 0]
        for i in range(1, d):
            below &= part[:, :, None, i] <= part[:, None, :, i]
        beaten += (below & ~below.transpose(0, 2, 1)).any(axis=1).sum(axis=0)
    return np.asarray(1 - beaten / draws, dtype=np.float64)
