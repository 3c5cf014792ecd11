"""What was to be expected of an event's leaves: the mean of the weeks before, at the level of now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from finops_lab.money import MONEY, exact_sum

__all__ = ["GROUP", "called", "levelled", "usual"]

GROUP = "_group"  # what the name of a resource has in common with those of its kind
_NEAR = (2 / 3, 3 / 2)  # a detector's expectation this near to the weeks' mean is taken for the level
_PARTS = 10**9  # of a level: parts of ten million add up to the cent
_LEVELS = (0.8, 1.25)  # a trend of the weeks before is followed no further
_ODD = 2.0  # times the median of the spans, or a half: such a span was out of the ordinary itself
_FEWEST = 3  # spans that are left
_WEEKS_OF_TREND = 4
_AGREED = 0.8  # of the pairs of weeks, for it to be a trend
_PASSING = 0.5  # of a group's past money in names of one span: names are made anew


def usual(found: pl.DataFrame, span: str, spans: Sequence[int]) -> tuple[int, ...]:
    """Leave out spans of the baseline that were out of the ordinary themselves.

    Parameters
    ----------
    found : polars.DataFrame
        Sums of the event's slice: the number of the span and ``amount``.
    span : str
        Column of the number.
    spans : sequence of int
        Those that there are entries of.

    Returns
    -------
    tuple of int
        Spans whose sum is half to double the median of all; all of them where fewer than three are.

    Examples
    --------
    >>> sums = pl.DataFrame({"n": [1, 2, 3, 4], "amount": [10.0, 11.0, 90.0, 12.0]})
    >>> usual(sums, "n", [1, 2, 3, 4])
    (1, 2, 4)
    """
    sums = {n: float(found.filter(pl.col(span) == n)["amount"].sum() or 0) for n in spans}
    middle = float(np.median(list(sums.values())))
    kept = tuple(n for n in spans if middle / _ODD <= sums[n] <= middle * _ODD)
    return kept if len(kept) >= _FEWEST else tuple(spans)


def levelled(both: pl.DataFrame, spans: Sequence[int], event: Mapping[str, Any]) -> pl.DataFrame:
    """Divide the sums of the baseline by its spans, at the level that was to be expected."""
    mean = float(exact_sum(both["sum"].to_list())) / len(spans)
    wanted = event.get("expected")
    if wanted and mean > 0 and _NEAR[0] <= wanted / mean <= _NEAR[1]:
        level = round(wanted / mean * _PARTS)
    else:
        level = round(_trend(both["before"], spans) * _PARTS)
    # Whole numbers of the last decimal: the same on every machine, and no leaf is off by more than one.
    units = both.select(pl.col("sum").to_physical().cast(pl.Int128) * level // (len(spans) * _PARTS))["sum"]
    return both.with_columns(
        units.cast(pl.Int128).reinterpret(dtype=MONEY).alias("expected"),
        pl.col("before").list.eval(pl.element() * (level / _PARTS)),
    )


def _trend(before: pl.Series, spans: Sequence[int]) -> float:
    """Return where the weeks lead to, as a share of their mean; 1 where they do not agree."""
    weeks = np.array(before.to_list(), dtype=np.float64).sum(axis=0)
    if weeks.size < _WEEKS_OF_TREND or (weeks <= 0).any():
        return 1.0
    logs, ago = np.log(weeks), np.array(spans)
    one, other = np.triu_indices(weeks.size, 1)
    slopes = (logs[one] - logs[other]) / (ago[other] - ago[one])
    slope = float(np.median(slopes))
    if slope == 0 or (np.sign(slopes) == np.sign(slope)).mean() < _AGREED:
        return 1.0
    level = float(np.exp(np.median(logs + slope * ago)) / weeks.mean())
    return min(max(level, _LEVELS[0]), _LEVELS[1])


def called(both: pl.DataFrame, spans: int) -> pl.DataFrame:
    """Call resources by their group where their names pass: none of last week's is there again.

    ``_resource`` keeps the name. Of a group whose past money is half, or more, in names of one span, and
    that has several names, ``resource`` becomes the group's.
    """
    if GROUP not in both.columns:
        return both
    weeks = [pl.col("before").list.get(n).sum().alias(f"_{n}") for n in range(spans)]
    names = [f"_{n}" for n in range(spans)]
    each = both.group_by(GROUP, "resource").agg(weeks)
    seen = pl.sum_horizontal(pl.lit(0), *[(pl.col(name) != 0).cast(pl.Int64) for name in names])
    money = pl.sum_horizontal(pl.lit(0.0), *[pl.col(name).abs() for name in names])
    groups = (
        each.select(GROUP, seen.alias("seen"), money.alias("money"))
        .group_by(GROUP)
        .agg(
            pl.col("money").filter(pl.col("seen") == 1).sum().alias("once"),
            pl.col("money").sum(),
            pl.len().alias("names"),
        )
    )
    several, passing = pl.col("names") > 1, pl.col("once") >= _PASSING * pl.col("money")
    found = groups.filter(several, passing)[GROUP] if spans > 1 else groups[GROUP].clear()
    name = pl.when(pl.col(GROUP).is_in(found.to_list())).then(pl.col(GROUP)).otherwise(pl.col("resource"))
    return both.with_columns(pl.col("resource").alias("_resource"), name.alias("resource"))
