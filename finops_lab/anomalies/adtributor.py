"""How much of a change each element of each dimension explains, and how surprising that is."""

from __future__ import annotations

import numpy as np
import polars as pl

from finops_lab.anomalies.attribution import Leaves
from finops_lab.money import MONEY

__all__ = ["SLICES", "slices"]

SLICES: dict[str, pl.DataType | type[pl.DataType]] = {
    "dimension": pl.String,
    "value": pl.String,
    "elements": pl.Int64,
    "actual": MONEY,
    "expected": MONEY,
    "excess": MONEY,
    "share": pl.Float64,
    "surprise": pl.Float64,
    "picked": pl.Boolean,
}
_LEAST_OF_ELEMENT, _LEAST_OF_SET = 0.1, 0.67  # Bhagwan et al.: T_EEP and T_EP


def slices(found: Leaves, *, most: int | None = 20) -> pl.DataFrame:
    """Tell what each element of each dimension has of the whole, and how surprising it is.

    Parameters
    ----------
    found : Leaves
        What `leaves` returned.
    most : int, optional
        Elements of a dimension that are told one by one, the largest changes; the rest are one row.

    Returns
    -------
    polars.DataFrame
        `SLICES`: ``elements`` is 1, of the rest their number; ``excess`` is actual less expected and
        adds up to the whole's in every dimension, exactly; ``share`` of it (the explanatory power);
        ``surprise``; ``picked`` for the elements that explain the dimension best. Dimensions in their
        order, the largest change first. ``share`` is null where there is no change, ``surprise`` where
        an amount is negative.

    Notes
    -----
    Bhagwan et al., "Adtributor: Revenue Debugging in Advertising Systems", NSDI 2014: with p and q the
    shares of an element in the expected and the actual whole, its surprise is half of
    p ln(2p / (p + q)) + q ln(2q / (p + q)) (Jensen-Shannon divergence). Elements of at least 10 % of the
    change are picked, the most surprising first, until they explain 67 % of it.

    Examples
    --------
    >>> frame = pl.DataFrame({"service": ["A", "B"], "actual": [11, 35], "expected": [11, 5]})
    >>> of = Leaves(frame.with_columns(pl.col("actual", "expected").cast(MONEY)), ("service",), "USD", (1,))
    >>> slices(of).select("value", "share", pl.col("surprise").round(3), "picked").rows()
    [('B', 1.0, 0.048, True), ('A', 0.0, 0.057, False)]
    """
    if not found.dimensions:
        return pl.DataFrame(schema=SLICES)
    actual, expected = float(found.actual), float(found.expected)
    parts = [_of_dimension(found.frame, name, actual, expected, most) for name in found.dimensions]
    return pl.concat(parts).select(list(SLICES))


def _of_dimension(
    frame: pl.DataFrame, name: str, actual: float, expected: float, most: int | None
) -> pl.DataFrame:
    table = frame.group_by(pl.col(name).alias("value")).agg(pl.col("actual", "expected").sum())
    table = table.with_columns((pl.col("actual") - pl.col("expected")).alias("excess"))
    table = table.sort(pl.col("excess").abs(), "value", descending=[True, False], nulls_last=True)
    if most is not None and table.height > most + 1:
        rest = table[most:].select(
            pl.lit(None, pl.String).alias("value"),
            pl.lit(table.height - most, pl.Int64).alias("elements"),
            pl.col("actual", "expected", "excess").sum(),
        )
        table = pl.concat(
            [table[:most].with_columns(pl.lit(1, pl.Int64).alias("elements")), rest], how="diagonal"
        )
    else:
        table = table.with_columns(pl.lit(1, pl.Int64).alias("elements"))
    floats = table.select(pl.col("actual", "expected", "excess").cast(pl.Float64))
    change = actual - expected
    share = floats["excess"].to_numpy() / change if change else np.full(table.height, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = floats["expected"].to_numpy() / expected if expected > 0 else np.zeros(table.height)
        q = floats["actual"].to_numpy() / actual if actual > 0 else np.zeros(table.height)
        halves = [np.where(x == 0, 0.0, x * np.log(2 * x / (p + q))) for x in (p, q)]
    surprise = (halves[0] + halves[1]) / 2
    single = table["elements"].to_numpy() == 1
    picked = np.zeros(table.height, dtype=bool)
    reached = 0.0
    for at in np.argsort(-np.nan_to_num(surprise), kind="stable"):
        if single[at] and share[at] > _LEAST_OF_ELEMENT and reached <= _LEAST_OF_SET:
            picked[at] = True
            reached += float(share[at])
    return table.with_columns(
        pl.lit(name).alias("dimension"),
        pl.Series("share", share).fill_nan(None),
        pl.Series("surprise", surprise).fill_nan(None),
        # A set that stays below the mark explains nothing.
        pl.Series("picked", picked & (reached > _LEAST_OF_SET)),
    )
