"""How far counts of a sampled log may be off by chance: bounds that hold for 95 of 100 samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from finops_lab.money import MONEY
from finops_lab.unit_economics._dividing import quotients

if TYPE_CHECKING:
    import numpy as np

__all__ = ["LEVEL", "WORDS", "count_bounds", "money_bounds", "share_bounds"]

LEVEL = 0.95
WORDS = "calls were sampled: of 100 such samples 95 have the true figure between their bounds"
_TAIL = (1 - LEVEL) / 2


def count_bounds(counts: pl.DataFrame, total: str, variance: pl.Expr) -> tuple[pl.Series, pl.Series]:
    """Return the ends between which the true count of a sampled log lies.

    Parameters
    ----------
    counts : polars.DataFrame
        Estimated counts.
    total : str
        Column with the count (any number).
    variance : polars.Expr
        Its variance by sampling, 0 where every call has its row: see
        `finops_lab.unit_economics.schemas.VARIANCES`.

    Returns
    -------
    tuple of polars.Series
        Lower and upper end (Decimal), both null where nothing was sampled.

    Notes
    -----
    The count is taken for a number of rows, ``total^2 / variance``, that each stand for as many
    calls: a Poisson number, whose exact bounds are gamma quantiles (Garwood, "Fiducial limits for
    the Poisson distribution", Biometrika 28 (1936); for weighted sums Dobson et al., Statistics in
    Medicine 10 (1991)).

    Examples
    --------
    Of 100 rows that were kept, each stands for 11 calls.

    >>> counts = pl.DataFrame({"calls": [1100], "variance": [100 * 11 * 10]})
    >>> low, high = count_bounds(counts, "calls", pl.col("variance"))
    >>> round(low[0]), round(high[0])
    (904, 1326)
    """
    frame = counts.select(_float(pl.col(total)).alias("total"), _float(variance).alias("variance"))
    totals, variances = (frame[name].fill_null(0).to_numpy() for name in frame.columns)
    sampled = (variances > 0) & (totals > 0)
    if not sampled.any():
        return _nothing(counts.height)
    from scipy.special import gammaincinv

    worth = totals[sampled] ** 2 / variances[sampled]
    each = variances[sampled] / totals[sampled]
    low, high = gammaincinv(worth, _TAIL) * each, gammaincinv(worth + 1, 1 - _TAIL) * each
    return _placed(sampled, low, 3), _placed(sampled, high, 3)


def share_bounds(
    counts: pl.DataFrame, part: str, whole: str, variance: pl.Expr, variance_of_rest: pl.Expr
) -> tuple[pl.Series, pl.Series]:
    """Return the ends between which the true share of calls lies, of a sampled log.

    Parameters
    ----------
    counts : polars.DataFrame
        Estimated counts.
    part, whole : str
        Columns with counts: those that are counted, of all.
    variance, variance_of_rest : polars.Expr
        Variances by sampling of the part, and of what of the whole is not in it.

    Returns
    -------
    tuple of polars.Series
        Lower and upper end (Decimal, 0 to 1), both null where nothing was sampled.

    Notes
    -----
    Rows of different weights count as so many calls of one weight as give the share the same
    variance, or of the mean weight where that is larger: what was not seen among heavy rows may be
    there. The bounds are exact for these (Clopper and Pearson, "The use of confidence or fiducial
    limits", Biometrika 26 (1934)), between whole numbers too.

    Examples
    --------
    Two of 100 rows are bad, each stands for very many calls.

    >>> counts = pl.DataFrame({"bad": [2e9], "all": [1e11], "v": [2e18], "rest": [98e18]})
    >>> low, high = share_bounds(counts, "bad", "all", pl.col("v"), pl.col("rest"))
    >>> round(low[0], 4), round(high[0], 4)
    (Decimal('0.0024'), Decimal('0.0704'))
    """
    frame = counts.select(
        _float(pl.col(part)).alias("part"),
        _float(pl.col(whole)).alias("whole"),
        _float(variance).alias("seen"),
        _float(variance_of_rest).clip(0).alias("other"),
    )
    part_of, whole_of, seen, other = (frame[name].fill_null(0).to_numpy() for name in frame.columns)
    sampled = (seen + other > 0) & (whole_of > 0)
    if not sampled.any():
        return _nothing(counts.height)
    import numpy as np
    from scipy.special import betaincinv

    some, every, seen, other = (values[sampled] for values in (part_of, whole_of, seen, other))
    rest, share = np.maximum(every - some, 0), some / every
    of_part, of_rest = (1 - share) ** 2, share**2
    below = of_part * some + of_rest * rest
    mean = (seen + other) / every
    # Where all or nothing is counted, the first is 0 / 0: the mean weight is all there is.
    alike = np.divide(of_part * seen + of_rest * other, below, out=np.zeros_like(below), where=below > 0)
    each = np.maximum(alike, mean)
    bad, good = some / each, rest / each
    # There is no such quantile of nothing counted, or of nothing else: those ends are 0 and 1.
    low = np.nan_to_num(betaincinv(bad, good + 1, _TAIL), nan=0.0)
    high = np.nan_to_num(betaincinv(bad + 1, good, 1 - _TAIL), nan=1.0)
    return _placed(sampled, low, 12), _placed(sampled, high, 12)


def money_bounds(
    amounts: pl.Series, least: pl.Series, most: pl.Series, times: int = 1
) -> tuple[pl.Series, pl.Series]:
    """Return the ends of money over a count that lies between two others.

    Examples
    --------
    >>> low, high = money_bounds(pl.Series([6]), pl.Series([2]), pl.Series([3]))
    >>> int(low[0]), int(high[0])
    (2, 3)
    """
    if least.null_count() == least.len():
        return least, most
    ends = pl.DataFrame({"dear": quotients(amounts, least, times), "cheap": quotients(amounts, most, times)})
    # With more credits than charges the fewest calls have the most of them.
    turned = (pl.col("dear") < pl.col("cheap")).fill_null(False)
    low = pl.when(turned).then("dear").otherwise("cheap")
    high = pl.when(turned).then("cheap").otherwise("dear")
    return ends.select(low).to_series(), ends.select(high).to_series()


def _float(what: pl.Expr) -> pl.Expr:
    return what.cast(pl.Float64)


def _nothing(height: int) -> tuple[pl.Series, pl.Series]:
    nothing = pl.Series([None] * height, dtype=MONEY)
    return nothing, nothing


def _placed(where: np.ndarray, values: np.ndarray, digits: int) -> pl.Series:
    import numpy as np

    ends = np.full(where.shape, np.nan)
    ends[where] = values
    # Estimates: so many digits of theirs mean something, and what no decimal holds is not known.
    told = pl.Series(ends).fill_nan(None).cast(pl.Decimal(38, digits), strict=False)
    return told.cast(MONEY, strict=False)
