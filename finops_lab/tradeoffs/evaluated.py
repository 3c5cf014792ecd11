"""Quality of a canary from evaluations: against the baseline, and against itself before the deployment."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import polars as pl

from finops_lab.errors import InputError
from finops_lab.tradeoffs.checks import check, checks_of
from finops_lab.tradeoffs.planner import unpaired_items
from finops_lab.tradeoffs.unpaired import unpaired_difference
from finops_lab.wording import plural

__all__ = ["evaluated"]


def evaluated(
    samples: pl.LazyFrame | pl.DataFrame,
    *,
    model: str,
    baseline: str,
    canary: str,
    since: datetime,
    until: datetime | None = None,
    metric: str = "accuracy",
    margin: float = 0.01,
    alpha: float | tuple[float, float] = 0.05,
    required: bool = True,
) -> pl.DataFrame:
    """Check the quality of a canary on every data set that it was evaluated on.

    Two comparisons: the newest evaluation of the canary with the newest of the baseline; and the
    canary's newest evaluation since the deployment with its newest before it, which finds what an
    optimization broke although the baseline got worse, too. Evaluations tell how many of n items were
    right and not which, so that items do not pair: Newcombe's interval of the difference of two shares,
    of one look. Where both answered the same items that is on the safe side.

    Parameters
    ----------
    samples : polars.LazyFrame or polars.DataFrame
        The `accuracy_samples` contract.
    model, baseline, canary : str
        Model, and the variants to compare.
    since : datetime.datetime
        When the canary was deployed.
    until : datetime.datetime, optional
        Evaluations before this moment count.
    metric : str
        The metric; a share of items from 0 to 1, such as accuracy. Of another, whose spread no
        evaluation tells, nothing can be proven.
    margin : float
        Loss that is too much, in the metric's unit.
    alpha : float or tuple of float
        Chance of wrongly saying ``ok`` and ``breached``, on each data set.
    required : bool
        Whether a canary may be promoted only where the first comparison is ok. The second can only breach.

    Returns
    -------
    polars.DataFrame
        `finops_lab.tradeoffs.checks.CHECKS`: differences in the good direction, a loss is negative.
        Data sets that lack one of the two sides have no row.

    Raises
    ------
    InputError
        When the margin is not between 0 and 1, or evaluations disagree on the metric's direction.

    Examples
    --------
    >>> from datetime import UTC
    >>> at = datetime(2026, 10, 1, tzinfo=UTC)
    >>> rows = [{"ts": at, "model": "m", "variant": v, "dataset": "exam", "metric": "accuracy", "value": q,
    ...     "n": 5000, "higher_is_better": True} for v, q in (("bf16", 0.80), ("int4", 0.74))]
    >>> found = evaluated(pl.DataFrame(rows), model="m", baseline="bf16", canary="int4", since=at)
    >>> found.select("check", "status", pl.col("value").round(3)).rows()
    [('accuracy on exam', 'breached', -0.06)]
    """
    if not 0 < margin < 1:
        raise InputError(f"the margin must be between 0 and 1, not {margin}")
    of_model = [
        pl.col("model") == model,
        pl.col("metric") == metric,
        pl.col("variant").is_in([baseline, canary]),
    ]
    rows = samples.lazy().filter(*of_model).select(*_COLUMNS).collect()
    if until is not None:
        rows = rows.filter(pl.col("ts") < until)
    if rows["higher_is_better"].n_unique() > 1:
        raise InputError(
            f"evaluations disagree on whether a higher {metric!r} is better", column="higher_is_better"
        )
    rows = rows.sort("ts", "value", "n")
    alphas = alpha if isinstance(alpha, tuple) else (alpha, alpha)
    parts = []
    for dataset in sorted(rows["dataset"].unique()):
        of_set = rows.filter(dataset=dataset)
        new, old = _newest(of_set.filter(variant=canary)), _newest(of_set.filter(variant=baseline))
        name = f"{metric} on {dataset}"
        if new and old:
            parts.append(_compared(name, new, old, baseline, margin, alphas, required))
        mine = of_set.filter(variant=canary)
        after, before = (
            _newest(mine.filter(pl.col("ts") >= since)),
            _newest(mine.filter(pl.col("ts") < since)),
        )
        if after and before:
            parts.append(
                _compared(f"{name}, before and after", after, before, "before", margin, alphas, False)
            )
    return checks_of(parts)


_COLUMNS = ("ts", "variant", "dataset", "value", "n", "higher_is_better")


def _newest(rows: pl.DataFrame) -> dict[str, Any] | None:
    return rows.row(-1, named=True) if rows.height else None


def _compared(
    name: str,
    new: Mapping[str, Any],
    old: Mapping[str, Any],
    against: str,
    margin: float,
    alphas: tuple[float, float],
    required: bool,
) -> pl.DataFrame:
    up = new["higher_is_better"]
    said = (
        f"{new['value']:.4g} of {_items(new)} ({new['ts']:%Y-%m-%d}), "
        f"{against} {old['value']:.4g} of {_items(old)} ({old['ts']:%Y-%m-%d})"
    )
    gain = (new["value"] - old["value"]) * (1 if up else -1)
    if not all(side["n"] and 0 <= side["value"] <= 1 for side in (new, old)):
        reason = f"{said}; its spread is not known: give outcomes by item"
        return check(name, "quality", "unknown", reason=reason, required=required, value=gain, limit=-margin)
    counts = [k for side in (new, old) for k in (round(side["value"] * side["n"]), side["n"])]
    if not up:
        counts[0], counts[2] = counts[1] - counts[0], counts[3] - counts[2]
    sure, alarm = (unpaired_difference(*counts, coverage=1 - 2 * each) for each in alphas)
    status = "ok" if sure.low > -margin else "breached" if alarm.high < -margin else "unknown"
    needed = None
    if status == "unknown" and gain > -margin:
        share = counts[2] / counts[3]
        needed = unpaired_items(margin=margin, share=share, difference=gain, level=1 - alphas[0])
    return check(
        name,
        "quality",
        status,
        reason=said,
        required=required,
        value=gain,
        low=sure.low,
        high=alarm.high,
        limit=-margin,
        unit="difference",
        n=new["n"],
        n_needed=needed,
    )


def _items(side: Mapping[str, Any]) -> str:
    return plural(side["n"], "item") if side["n"] else "an unknown number of items"
