"""Cascades: the cheap variant first, a dearer one where a verifier does not accept its answer."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import polars as pl

from finops_lab.errors import InputError
from finops_lab.tradeoffs.queries import Grid, as_grid, as_queries, name_of, option_of

__all__ = ["CASCADE", "cascade", "cascade_thresholds"]

Floats = npt.NDArray[np.float64]
Option = str | tuple[str, str | None]
CASCADE: dict[str, pl.DataType | type[pl.DataType]] = {
    "way": pl.String,
    "queries": pl.Int64,
    "calls_per_query": pl.Float64,
    "per_1000_queries": pl.Float64,
    "quality": pl.Float64,
    "quality_lo": pl.Float64,
    "quality_hi": pl.Float64,
    "per_correct": pl.Float64,
    "per_correct_lo": pl.Float64,
    "per_correct_hi": pl.Float64,
}
_THRESHOLDS: dict[str, pl.DataType | type[pl.DataType]] = {
    "threshold": pl.Float64,
    "accepted_share": pl.Float64,
    "accepted_quality": pl.Float64,
    **{name: kind for name, kind in CASCADE.items() if name != "way"},
}


def cascade(
    queries: pl.DataFrame | pl.LazyFrame,
    stages: Sequence[Option],
    *,
    accepts_right: float = 1.0,
    accepts_wrong: float = 0.0,
    verifying_amount: float = 0.0,
    level: float = 0.9,
) -> pl.DataFrame:
    """Compare a cascade with each of its variants alone, by a verifier of given quality.

    Every stage's answer is judged by a verifier, apart from the last one's, which stands. An answer that
    is not accepted was paid for all the same.

    Parameters
    ----------
    queries : polars.DataFrame or polars.LazyFrame
        See `finops_lab.tradeoffs.queries.as_queries`; ``quality`` is 0 or 1, and every query has every
        stage.
    stages : sequence of str or tuple
        Models, or models and variants, in the order of asking; two at least.
    accepts_right, accepts_wrong : float
        Chance that the verifier accepts an answer that is right, and one that is wrong. 1 and 0 are the
        perfect verifier, such as a test that a program must pass.
    verifying_amount : float
        What judging one answer takes, in the unit of ``amount``.
    level : float
        Of the intervals.

    Returns
    -------
    polars.DataFrame
        `CASCADE`: a row per stage alone and one for the ``cascade``. ``per_1000_queries`` (amount);
        ``quality`` (mean, exact over the verifier's chances); ``per_correct`` (amount for each right
        answer, null where none is). Intervals over queries, as a sample of those to come: normal, for
        the ratio by the delta method.

    Raises
    ------
    InputError
        Fewer than two stages, a query without a stage, quality that is not 0 or 1, or a chance that is
        none.

    Notes
    -----
    Chen, Zaharia and Zou, "FrugalGPT", arXiv 2305.05176, 2023. The verifier's errors are taken as
    independent of all but whether the answer is right; `cascade_thresholds` takes real scores.

    Examples
    --------
    >>> queries = pl.DataFrame({"query": [1, 1, 2, 2], "model": ["small", "large"] * 2,
    ...     "quality": [1, 1, 0, 1], "amount": [1.0, 5.0] * 2})
    >>> cascade(queries, ["small", "large"]).select("way", "quality", "per_correct").rows()
    [('small', 0.5, 2.0), ('large', 1.0, 5.0), ('cascade', 1.0, 3.5)]
    """
    for name, chance in (("accepts_right", accepts_right), ("accepts_wrong", accepts_wrong)):
        if not 0 <= chance <= 1:
            raise InputError(f"{name} is a chance from 0 to 1, not {chance}")
    grid, at = _staged(queries, stages, verifying_amount, level)
    right = grid.quality[:, at]
    accepted = np.where(right == 1, accepts_right, accepts_wrong)
    rows = [_alone(grid, i, level) for i in at]
    rows.append(("cascade", *_figures(*_run(grid, at, accepted, verifying_amount), grid.weight, level)))
    return pl.DataFrame(rows, schema=CASCADE, orient="row")


def cascade_thresholds(
    queries: pl.DataFrame | pl.LazyFrame,
    stages: Sequence[Option],
    *,
    score: str,
    thresholds: Sequence[float] | None = None,
    verifying_amount: float = 0.0,
    level: float = 0.9,
) -> pl.DataFrame:
    """Tell what a cascade of two variants takes and gives for each threshold of a real score.

    Parameters
    ----------
    queries, stages, verifying_amount, level
        As for `cascade`; two stages.
    score : str
        Column with the verifier's score of the first stage's answer (on its rows): answers with a
        score at or above the threshold are accepted.
    thresholds : sequence of float, optional
        Eleven quantiles of the scores without it, and one above all of them.

    Returns
    -------
    polars.DataFrame
        One row per threshold, ascending: ``threshold`` (infinite: nothing is accepted),
        ``accepted_share``, ``accepted_quality`` (share of accepted answers that are right, null where
        none is), and the columns of `CASCADE`. A threshold picked here was picked in-sample: judge it
        on other queries.

    Raises
    ------
    InputError
        As `cascade`, or a first answer without a score.

    Examples
    --------
    >>> queries = pl.DataFrame({"query": [1, 1, 2, 2], "model": ["small", "large"] * 2,
    ...     "quality": [1, 1, 0, 1], "amount": [1.0, 5.0] * 2, "score": [0.9, None, 0.2, None]})
    >>> cascade_thresholds(queries, ["small", "large"], score="score", thresholds=[0.5]).select(
    ...     "threshold", "accepted_share", "per_1000_queries", "quality").row(0)
    (0.5, 0.5, 3500.0, 1.0)
    """
    grid, at = _staged(queries, stages, verifying_amount, level)
    if len(at) != 2:
        raise InputError(f"thresholds are of a cascade of two variants, not of {len(at)}")
    table = as_queries(queries)
    if score not in table.columns:
        raise InputError("the queries have no such column", column=score)
    known = table[score].cast(pl.Float64).fill_null(float("nan")).to_numpy()[grid.rows[:, at[0]]]
    if not np.isfinite(known).all():
        query = grid.queries[int((~np.isfinite(known)).argmax())]
        raise InputError(f"the first answer to query {query!r} has no score", column=score)
    if thresholds is None:
        thresholds = [*np.unique(np.quantile(known, np.linspace(0, 1, 11), method="inverted_cdf")), np.inf]
    rows = []
    for threshold in sorted(thresholds):
        accepted = known >= threshold
        share = float((accepted * grid.weight).sum() / grid.weight.sum())
        right = float((accepted * grid.weight * grid.quality[:, at[0]]).sum())
        both = np.column_stack([accepted, np.ones(len(known))]).astype(float)
        found = _figures(*_run(grid, at, both, verifying_amount), grid.weight, level)
        good = right / share / float(grid.weight.sum()) if share else None
        rows.append((float(threshold), share, good, *found))
    return pl.DataFrame(rows, schema=_THRESHOLDS, orient="row")


def _staged(
    queries: pl.DataFrame | pl.LazyFrame, stages: Sequence[Option], verifying: float, level: float
) -> tuple[Grid, list[int]]:
    if len(stages) < 2:
        raise InputError("a cascade has two stages at least")
    if not 0 < level < 1:
        raise InputError(f"level is between 0 and 1, not {level}")
    if not (np.isfinite(verifying) and verifying >= 0):
        raise InputError(f"verifying_amount is a number from 0 up, not {verifying}")
    table = as_queries(queries)
    odd = (~table["quality"].is_in([0.0, 1.0])).arg_true()
    if odd.len():
        raise InputError(
            "a cascade counts right answers, so quality is 0 or 1", row=int(odd[0]) + 1, column="quality"
        )
    grid = as_grid(table)
    at = [option_of(grid.options, stage) for stage in stages]
    if len(set(at)) < len(at):
        raise InputError("a variant stands in the cascade twice")
    for i in at:
        gone = np.isnan(grid.amount[:, i])
        if gone.any():
            query, name = grid.queries[int(gone.argmax())], name_of(grid.options.row(i, named=True))
            raise InputError(f"query {query!r} was not answered by {name}")
    return grid, at


def _run(grid: Grid, at: Sequence[int], accepted: Floats, verifying: float) -> tuple[Floats, Floats, Floats]:
    """Return by query and stage: the chance to end there, what was paid by then, whether it is right."""
    goes_on = np.cumprod(1 - accepted[:, :-1], axis=1)
    reached = np.column_stack([np.ones(len(grid.weight)), goes_on])
    ends = reached * np.column_stack([accepted[:, :-1], np.ones(len(grid.weight))])
    asked = grid.amount[:, at] + verifying * grid.weight[:, None]
    asked[:, -1] = grid.amount[:, at[-1]]
    return ends, np.cumsum(asked, axis=1), grid.quality[:, at]


def _alone(grid: Grid, option: int, level: float) -> tuple[object, ...]:
    name = name_of(grid.options.row(option, named=True))
    ends = np.ones((len(grid.weight), 1))
    return name, *_figures(ends, grid.amount[:, [option]], grid.quality[:, [option]], grid.weight, level)


def _figures(ends: Floats, paid: Floats, right: Floats, weight: Floats, level: float) -> tuple[object, ...]:
    z = NormalDist().inv_cdf(0.5 + level / 2)
    whole = float(weight.sum())
    good = float(((ends * right).sum(axis=1) * weight).sum())
    spent = float((ends * paid).sum())
    calls = float(((ends * np.arange(1, ends.shape[1] + 1)).sum(axis=1) * weight).sum()) / whole
    quality = good / whole
    # Over queries and over the verifier's chances alike.
    spread = (ends * (right - quality) ** 2).sum(axis=1)
    half = z * float(np.sqrt((weight**2 * spread).sum())) / whole
    ratio: tuple[float | None, ...] = (None, None, None)
    if good > 0:
        each = spent / good
        residual = (ends * (paid - each * right * weight[:, None]) ** 2).sum(axis=1)
        wide = z * float(np.sqrt(residual.sum())) / good
        ratio = (each, max(each - wide, 0.0), each + wide)
    low, high = max(quality - half, 0.0), min(quality + half, 1.0)
    return len(weight), calls, spent / whole * 1000, quality, low, high, *ratio
