"""Put each part of a claim to the test on each variant: by items, by rounds, or by what points allow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import polars as pl

from finops_lab.errors import InputError
from finops_lab.tradeoffs.claims import Claim, claim_points
from finops_lab.tradeoffs.findings import (
    Finding,
    cost_finding,
    latency_finding,
    quality_finding,
    unpaired_quality_finding,
)
from finops_lab.tradeoffs.matching import Key, matched_items, matched_rounds, scored
from finops_lab.tradeoffs.measurement import clock_of
from finops_lab.tradeoffs.points import as_points
from finops_lab.tradeoffs.ratios import quantile_floor
from finops_lab.tradeoffs.senses import is_share, one_metric, one_sense

__all__ = ["Trial", "candidates", "items_tried", "points_tried", "rounds_tried"]

Pairs = Mapping[Key, Key]
# What two points of a model must share beside it, to be compared.
_SAME = ["hardware", "serving", "region", "workload", "quality_metric"]


@dataclass(frozen=True)
class Trial:
    """One part of a claim, one variant, one workload or data set, and what came of it.

    Parameters
    ----------
    key : tuple
        Model and variant.
    part : str
        ``cost``, ``quality`` or ``latency``.
    on : str, optional
        The workload or data set.
    finding : Finding, optional
        What the data say; None where nothing could be tested.
    estimate, n, needed : optional
        Without a finding: a point value, how many pairs there are, and how many a test needs at least.
    why : str
        Without a finding why there is none, with one what else to say.
    """

    key: Key
    part: str
    on: str | None = None
    finding: Finding | None = None
    estimate: float | None = None
    n: int | None = None
    needed: int | None = None
    why: str = ""


def candidates(frames: Sequence[pl.DataFrame], baseline: str) -> dict[Key, Key]:
    """Return every variant but the baseline, and the baseline that it is compared with.

    Parameters
    ----------
    frames : sequence of polars.DataFrame
        With ``model`` and ``variant``, or empty.
    baseline : str
        A variant of each model.

    Returns
    -------
    dict
        Model and variant of both, in order.

    Raises
    ------
    InputError
        No variants, a model without the baseline, or nothing but baselines.
    """
    named = [
        frame.select(pl.col("model", "variant").cast(pl.String)) for frame in frames if not frame.is_empty()
    ]
    if not named:
        raise InputError("nothing was measured: no outcomes, no timings, no points")
    keys = pl.concat(named).unique().sort("model", "variant", nulls_last=True).rows()
    for name in dict.fromkeys(model for model, _ in keys):
        known = [str(variant) for model, variant in keys if model == name]
        if baseline not in known:
            raise InputError(f"{name} has no variant {baseline!r}", hint=f"known: {', '.join(known)}")
    pairs: dict[Key, Key] = {(m, v): (m, baseline) for m, v in keys if v != baseline}
    if not pairs:
        raise InputError(f"there is no variant but the baseline {baseline!r}")
    return pairs


def items_tried(
    outcomes: pl.DataFrame,
    claim: Claim,
    pairs: Pairs,
    *,
    dataset: str | None = None,
    quality: str | None = None,
    coverage: float,
) -> list[Trial]:
    """Test the loss of quality on each data set; unpaired where two variants share no item.

    Parameters
    ----------
    outcomes : polars.DataFrame
        `OUTCOMES`.
    claim, dataset, quality
        As in `verdicts.verdicts`.
    pairs : mapping
        As `candidates` returns it.
    coverage : float
        Of the intervals.

    Returns
    -------
    list of Trial
        One for each data set and variant.

    Raises
    ------
    InputError
        An unknown data set or metric, several metrics, or a direction that is said both ways.
    """
    chosen = outcomes.filter(pl.col("metric") == one_metric(outcomes["metric"], quality))
    chosen = _only(chosen, "dataset", dataset)
    _, up = one_sense(chosen, metric="metric", value="value")
    trials = []
    for on in _names(chosen, "dataset"):
        rows = chosen.filter(pl.col("dataset").eq_missing(pl.lit(on, pl.String)))
        for key, base in pairs.items():
            matched = matched_items(rows, key, base)
            trial = Trial(key, "quality", on, n=matched.candidate.size or None)
            if matched.candidate.size > 1:
                trial = replace(trial, why=_left_out(matched.unmatched, "items"))
                arrays = (matched.candidate, matched.baseline)
                test = partial(quality_finding, *arrays, claim, higher_is_better=up, coverage=coverage)
                trials.append(_tried(trial, test))
                continue
            mine, theirs = scored(rows, key), scored(rows, base)
            if mine is None or theirs is None:
                trials.append(replace(trial, why="no items that both answered"))
            else:
                trials.append(_unpaired(trial, mine, theirs, claim, up=up, coverage=coverage))
    return trials


def rounds_tried(
    timings: pl.DataFrame,
    claim: Claim,
    part: str,
    pairs: Pairs,
    *,
    workload: str | None = None,
    clock: str | None = None,
    coverage: float,
) -> list[Trial]:
    """Test the saving, or the latency, on each workload.

    Parameters
    ----------
    timings : polars.DataFrame
        `TIMINGS`.
    claim, workload, clock
        As in `verdicts.verdicts`.
    part : str
        ``cost`` or ``latency``.
    pairs : mapping
        As `candidates` returns it.
    coverage : float
        Of the intervals.

    Returns
    -------
    list of Trial
        One for each workload and variant.

    Raises
    ------
    InputError
        An unknown workload, or rounds that do not pair.
    """
    chosen = _only(timings, "workload", workload)
    value = "wall_ms" if part == "latency" else clock or clock_of(chosen)
    find = cost_finding if part == "cost" else latency_finding
    trials = []
    for on in _names(chosen, "workload"):
        rows = chosen.filter(pl.col("workload").eq_missing(pl.lit(on, pl.String)))
        for key, base in pairs.items():
            matched = matched_rounds(rows, key, base, value=value)
            n = matched.candidate.size
            floor = 2 if part == "cost" else quantile_floor(claim.latency_quantile)
            trial = Trial(key, part, on, n=n or None, needed=floor if n < floor else None)
            if n == 0:
                trials.append(replace(trial, why=f"no rounds with {value} of both"))
                continue
            arrays = (matched.candidate, matched.baseline)
            tried = _tried(trial, partial(find, *arrays, claim, coverage=coverage))
            said = f"; by {value}" if tried.finding else ""
            trials.append(replace(tried, why=said + tried.why + _left_out(matched.unmatched, "rounds")))
    return trials


def points_tried(
    points: pl.DataFrame,
    claim: Claim,
    part: str,
    pairs: Pairs,
    *,
    baseline: str,
    workload: str | None = None,
    quality: str | None = None,
    coverage: float,
) -> list[Trial]:
    """Test what a table of points allows: shares of right answers, unpaired.

    Parameters
    ----------
    points : polars.DataFrame
        `POINTS`.
    claim, baseline, workload, quality
        As in `verdicts.verdicts`.
    part : str
        ``cost``, ``quality`` or ``latency``. Cost and latency are point values and stay untested.
    pairs : mapping
        As `candidates` returns it.
    coverage : float
        Of the intervals.

    Returns
    -------
    list of Trial
        One for each point that is not the baseline's.

    Raises
    ------
    InputError
        As `claims.claim_points`; an unknown workload or metric.
    """
    table = _only(as_points(points), "workload", workload)
    if part == "quality" and table["quality_metric"].null_count() < table.height:
        table = table.filter(
            pl.col("quality_metric").eq_missing(one_metric(table["quality_metric"], quality))
        )
    values = claim_points(table, claim, baseline=baseline)
    column = {"cost": "saving_share", "quality": "quality_loss", "latency": "latency_ratio"}[part]
    trials = []
    for key, base in pairs.items():
        rows = values.filter(*_named(key))
        # Several points of one variant are told apart by what they differ in.
        apart = [name for name in _SAME[:-1] if name == "workload" or rows[name].n_unique() > 1]
        for row in rows.rows(named=True):
            on = ", ".join(row[name] for name in apart if row[name] is not None) or None
            trial = Trial(key, part, on, estimate=row[column])
            if part == "quality":
                same = [pl.col(name).eq_missing(pl.lit(row[name], table.schema[name])) for name in _SAME]
                sides = [table.filter(*_named(name), *same) for name in (key, base)]
                trials.append(_by_share(trial, sides, claim, coverage))
            else:
                why = "one figure of each variant, no paired rounds: a point value proves nothing"
                trials.append(replace(trial, why=why if row[column] is not None else "not known of both"))
    return trials


def _by_share(trial: Trial, sides: Sequence[pl.DataFrame], claim: Claim, coverage: float) -> Trial:
    if any(side.height != 1 or None in side.select("quality", "quality_n").row(0) for side in sides):
        return replace(trial, why="quality, or the number of items behind it, is not known of both")
    (mine, n), (theirs, m) = (side.select("quality", "quality_n").row(0) for side in sides)
    metric = sides[0].item(0, "quality_metric")
    if not is_share(metric or "") or not (0 <= mine <= 1 and 0 <= theirs <= 1):
        return replace(trial, why=f"{metric or 'quality'} is no share of items: its items must be compared")
    _, up = one_sense(pl.concat(sides))
    counts = (round(mine * n), n), (round(theirs * m), m)
    return _unpaired(trial, *counts, claim, up=up, coverage=coverage)


def _unpaired(
    trial: Trial, mine: tuple[int, int], theirs: tuple[int, int], claim: Claim, *, up: bool, coverage: float
) -> Trial:
    if not up and claim.relative_loss:
        return replace(trial, why="a relative loss of errors cannot be tested without pairs")
    # What counts errors loses what its complement loses.
    (right, n), (base, m) = (side if up else (side[1] - side[0], side[1]) for side in (mine, theirs))
    return _tried(trial, partial(unpaired_quality_finding, right, n, base, m, claim, coverage=coverage))


def _tried(trial: Trial, test: Callable[[], Finding]) -> Trial:
    """Run a test; what cannot be tested on this variant is a reason, not the end of the table."""
    try:
        return replace(trial, finding=test())
    except InputError as error:
        return replace(trial, why=error.message + trial.why)


def _only(frame: pl.DataFrame, column: str, name: str | None) -> pl.DataFrame:
    if name is None:
        return frame
    chosen = frame.filter(pl.col(column) == name)
    if chosen.is_empty():
        raise InputError(f"no {column} {name!r}", hint=f"known: {', '.join(map(str, _names(frame, column)))}")
    return chosen


def _names(frame: pl.DataFrame, column: str) -> list[str | None]:
    return frame[column].unique().sort().to_list()


def _named(key: Key) -> list[pl.Expr]:
    return [
        pl.col(c).eq_missing(pl.lit(v, pl.String)) for c, v in zip(("model", "variant"), key, strict=True)
    ]


def _left_out(count: int, what: str) -> str:
    return f"; {count:,} {what} of only one of the two are left out" if count else ""
