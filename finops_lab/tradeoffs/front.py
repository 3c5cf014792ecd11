"""The Pareto front: the rows that no other row beats, and what beats the others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from finops_lab.errors import InputError, each_name
from finops_lab.tradeoffs._dominance import Columns, first_below, front
from finops_lab.tradeoffs.senses import check_sense

__all__ = ["explain_front", "pareto"]

# Every whole number up to this one is a float.
_EXACT = 2**53
# 0.9 - 0.895 is 0.005000000000000004 in binary: a distance at the limit is within it.
_SLACK = 1e-12


def pareto(
    frame: pl.DataFrame | pl.LazyFrame,
    *,
    minimise: Sequence[str] = (),
    maximise: Sequence[str] = (),
    by: str | Sequence[str] = (),
) -> pl.Series:
    """Tell which rows are on the Pareto front.

    A row is beaten when another row is at least as good in every objective and better in one (weak
    dominance). Equal rows do not beat each other: all of them stay.

    Parameters
    ----------
    frame : polars.DataFrame or polars.LazyFrame
        One row per candidate (a lazy one is collected); objectives are numeric columns, Decimals included.
    minimise, maximise : sequence of str
        The objectives, by the sense in which they are good. At least one.
    by : str or sequence of str
        Columns that group the rows; each group has a front of its own. Null is a group too.

    Returns
    -------
    polars.Series
        ``on_front``, Boolean, in the frame's order. Null where an objective is null or NaN: such a
        row is on no front and beats nobody.

    Raises
    ------
    InputError
        No objective, an unknown or non-numeric column, a column in both senses, or a sense that
        contradicts what is known of the column (see `check_sense`): ``maximise=["perplexity"]``.

    Notes
    -----
    Kung, Luccio and Preparata, "On Finding the Maxima of a Set of Vectors", JACM 22(4), 1975, defines
    the set. A few strong rows drop most of what is beaten; what is left is sorted and halved, in
    O(n log^(d-2) n) for d objectives up to five. Values are only compared, and Decimals are compared as
    ranks, so no two different values ever become equal floats.

    Examples
    --------
    >>> runs = pl.DataFrame({"cost": [1.0, 2.0, 2.0, None], "accuracy": [0.8, 0.9, 0.7, 0.99]})
    >>> pareto(runs, minimise=["cost"], maximise=["accuracy"]).to_list()
    [True, True, False, None]
    """
    by = each_name(by)
    frame = frame.lazy().collect()
    _check(frame, minimise, maximise, by)
    columns, known = _columns(frame, minimise, maximise)
    flags = np.zeros(frame.height, dtype=np.bool_)
    for rows in _groups(frame, known, by):
        flags[rows] = front(columns if len(rows) == frame.height else [c[rows] for c in columns])
    return pl.Series("on_front", flags).set(pl.Series(~known), None)


def explain_front(
    frame: pl.DataFrame | pl.LazyFrame,
    *,
    minimise: Sequence[str] = (),
    maximise: Sequence[str] = (),
    by: str | Sequence[str] = (),
    epsilon: Mapping[str, float] | None = None,
    relative: Mapping[str, float] | None = None,
) -> pl.DataFrame:
    """Tell which rows are on the Pareto front, which are near it, and what beats the others.

    Parameters
    ----------
    frame, minimise, maximise, by
        As in `pareto`. Columns ``model`` and ``variant``, where there are any, name the rows in reasons.
    epsilon, relative : mapping of str to float, optional
        How much worse than a front row a row may be and still be near the front, per objective: in the
        objective's unit, or as a share of the front row's value (0.02 is 2 %). None given is none
        allowed. Limits are included.

    Returns
    -------
    polars.DataFrame
        One row per row of `frame`, in its order: ``on_front`` (Boolean, as `pareto`), ``near_front``
        (Boolean: at least one front row is better by no more than the limits in every objective; front
        rows are near too; null where unknown), ``dominated_by`` (Int64, number of a front row that
        beats this one, from 0; null on the front or where unknown), ``reason`` (String: what beats the
        row and in what, or which objective is unknown; null on the front). Of several front rows that
        beat a row, the one that is best in the first objective is named; among equals the best in
        the next one, at last the first row. Objectives count in the order of `minimise`, then `maximise`.

    Raises
    ------
    InputError
        As `pareto`, and a limit that is negative, no number, or for no objective, or two limits for one.

    Notes
    -----
    The band is that of epsilon-dominance: Laumanns, Thiele, Deb and Zitzler, Evolutionary Computation
    10(3), 2002.

    Examples
    --------
    >>> runs = pl.DataFrame({"cost": [1.0, 2.0, 2.0, None], "accuracy": [0.8, 0.9, 0.895, 0.99]})
    >>> found = explain_front(runs, minimise=["cost"], maximise=["accuracy"], epsilon={"accuracy": 0.005})
    >>> found["near_front"].to_list(), found["dominated_by"].to_list()
    ([True, True, True, None], [None, None, 1, None])
    >>> found["reason"].to_list()[2:]
    ['beaten by row 2 in accuracy (0.895 against 0.9)', 'cost unknown (null)']
    """
    by = each_name(by)
    frame = frame.lazy().collect()
    _check(frame, minimise, maximise, by)
    objectives = [*minimise, *maximise]
    limits = _limits(objectives, epsilon or {}, relative or {})
    columns, known = _columns(frame, minimise, maximise)
    floats = [frame[name].cast(pl.Float64).to_numpy() for name in objectives]
    floats = [-v if i >= len(minimise) else v for i, v in enumerate(floats)]
    on_front = np.zeros(frame.height, dtype=np.bool_)
    near = np.zeros(frame.height, dtype=np.bool_)
    winner = np.full(frame.height, -1)
    for rows in _groups(frame, known, by):
        keys = [column[rows] for column in columns]
        stays = front(keys)
        on_front[rows], near[rows] = stays, stays
        members, beaten = rows[stays], rows[~stays]
        # Best in the first objective first; lexsort is stable, so equals keep the order of the rows.
        members = members[np.lexsort([column[members] for column in reversed(columns)])]
        place = first_below([c[beaten] for c in columns], [c[members] for c in columns])
        winner[beaten] = members[place]
        near[beaten] = _within(floats, beaten, members, limits)
    table = pl.DataFrame({"on_front": on_front, "near_front": near, "dominated_by": winner})
    unknown = pl.Series(~known)
    return table.select(
        pl.when(~unknown).then("on_front").alias("on_front"),
        pl.when(~unknown).then("near_front").alias("near_front"),
        pl.when(pl.col("dominated_by") >= 0).then("dominated_by").cast(pl.Int64).alias("dominated_by"),
    ).with_columns(_reason(frame, objectives, pl.Series(winner)))


def _check(frame: pl.DataFrame, minimise: Sequence[str], maximise: Sequence[str], by: Sequence[str]) -> None:
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
    for i, name in enumerate(objectives):
        check_sense(frame, name, higher_is_better=i >= len(minimise))


def _columns(
    frame: pl.DataFrame, minimise: Sequence[str], maximise: Sequence[str]
) -> tuple[Columns, npt.NDArray[np.bool_]]:
    """Return the objectives, smaller is better, and which rows have all of them."""
    columns = [_floats(frame[name]) for name in (*minimise, *maximise)]
    known = ~np.any([np.isnan(column) for column in columns], axis=0)
    return [-c if i >= len(minimise) else c for i, c in enumerate(columns)], known


def _floats(column: pl.Series) -> npt.NDArray[np.float64]:
    """Return values as floats that compare as they do; null becomes NaN."""
    if not column.dtype.is_float():
        bounds = (column.min(), column.max())
        exact = column.dtype.is_integer() and all(b is None or abs(int(b)) <= _EXACT for b in bounds)  # type: ignore[arg-type]
        if not exact:
            column = column.rank("dense")
    values: npt.NDArray[np.float64] = column.cast(pl.Float64).to_numpy()
    return values


def _groups(
    frame: pl.DataFrame, known: npt.NDArray[np.bool_], by: Sequence[str]
) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the known rows of each group."""
    if not by:
        if known.any():
            yield np.flatnonzero(known)
        return
    rows = frame.select(
        pl.int_range(pl.len()).alias("row"), *[pl.col(name).alias(f"by_{i}") for i, name in enumerate(by)]
    )
    for group in rows.filter(pl.Series(known)).group_by(pl.exclude("row")).agg("row")["row"]:
        yield group.to_numpy()


def _limits(
    objectives: Sequence[str], epsilon: Mapping[str, float], relative: Mapping[str, float]
) -> list[tuple[float, float]]:
    for name, limit in (*epsilon.items(), *relative.items()):
        if name not in objectives:
            raise InputError(
                f"a limit for {name!r}, which is no objective", hint=f"known: {', '.join(objectives)}"
            )
        if name in epsilon and name in relative:
            raise InputError(f"two limits for {name!r}: give epsilon or relative")
        if not limit >= 0 or math.isinf(limit):
            raise InputError(f"the limit for {name!r} must be a number from 0 up, not {limit}")
    return [(epsilon.get(name, 0.0), relative.get(name, 0.0)) for name in objectives]


def _within(
    floats: Columns,
    rows: npt.NDArray[np.int64],
    members: npt.NDArray[np.int64],
    limits: Sequence[tuple[float, float]],
) -> npt.NDArray[np.bool_]:
    """Tell which rows are worse than some member by no more than the limits everywhere."""
    reach = []
    for values, (absolute, share) in zip(floats, limits, strict=True):
        reached = values[members]
        if absolute or share:
            allowed = absolute + share * np.abs(reached)
            reached = reached + allowed + _SLACK * np.maximum(np.abs(reached), allowed)
        reach.append(reached)
    # Turned around, "nowhere above what a member reaches" is what `first_below` looks for.
    found = first_below([-values[rows] for values in floats], [-values for values in reach])
    return found >= 0


def _reason(frame: pl.DataFrame, objectives: Sequence[str], winner: pl.Series) -> pl.Expr:
    rows = winner.replace(-1, None)
    labels = [name for name in ("model", "variant") if name in frame.columns and name not in objectives]
    label = (
        frame.select(
            pl.concat_str([pl.col(n).cast(pl.String) for n in labels], separator="/", ignore_nulls=True)
        )
        .to_series()
        .gather(rows)
        if labels
        else pl.select(pl.format("row {}", rows + 1)).to_series()
    )
    worse, unknown = [], []
    for name in objectives:
        own, best = frame[name], frame[name].gather(rows)
        shown = pl.format("{} ({} against {})", pl.lit(name), own, best)
        worse.append(pl.when(own != best).then(shown))
        why = [(own.is_null(), "null"), *([(own.is_nan(), "NaN")] if own.dtype.is_float() else [])]
        unknown += [pl.when(is_so).then(pl.lit(f"{name} unknown ({what})")) for is_so, what in why]
    beaten = pl.format("beaten by {} in {}", label, pl.concat_str(worse, separator=", ", ignore_nulls=True))
    missing = pl.concat_str(unknown, separator=", ", ignore_nulls=True)
    return pl.when(missing != "").then(missing).when(rows.is_not_null()).then(beaten).alias("reason")
