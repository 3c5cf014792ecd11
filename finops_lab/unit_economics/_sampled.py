"""How far counts of a sampled log may be off by chance: bounds that hold for 95 of 100 samples."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from finops_lab.unit_economics._grouping import as_written

__all__ = ["LEVEL", "WORDS", "count_bounds", "share_bounds"]

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
    sampled = ((pl.col("variance") > 0) & (pl.col("total") > 0)).fill_null(False)
    some = frame.with_row_index("_row").filter(sampled)
    if some.is_empty():
        return _nothing(counts.height)
    from scipy.special import gammaincinv

    worth = (some["total"] ** 2 / some["variance"]).to_numpy()
    each = (some["variance"] / some["total"]).to_numpy()
    ends = gammaincinv(worth, _TAIL) * each, gammaincinv(worth + 1, 1 - _TAIL) * each
    return _placed(some["_row"], ends[0], counts.height), _placed(some["_row"], ends[1], counts.height)


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
    sampled = ((pl.col("seen") + pl.col("other") > 0) & (pl.col("whole") > 0)).fill_null(False)
    some = frame.with_row_index("_row").filter(sampled)
    if some.is_empty():
        return _nothing(counts.height)
    from scipy.special import betaincinv

    rest = pl.col("whole") - pl.col("part")
    share = pl.col("part") / pl.col("whole")
    of_part, of_rest = (1 - share) ** 2, share**2
    alike = (of_part * pl.col("seen") + of_rest * pl.col("other")) / (
        of_part * pl.col("part") + of_rest * rest
    )
    mean = (pl.col("seen") + pl.col("other")) / pl.col("whole")
    # Where all or nothing is counted, the first is 0 / 0: the mean weight is all there is.
    some = some.with_columns(pl.max_horizontal(alike.fill_nan(None), mean).alias("each"))
    bad = (some["part"] / some["each"]).to_numpy()
    good = (some.select(rest.clip(0)).to_series() / some["each"]).to_numpy()
    # There is no such quantile of nothing counted, or of nothing else: those ends are 0 and 1.
    low = pl.Series(betaincinv(bad, good + 1, _TAIL)).fill_nan(0)
    high = pl.Series(betaincinv(bad + 1, good, 1 - _TAIL)).fill_nan(1)
    return _placed(some["_row"], low, counts.height), _placed(some["_row"], high, counts.height)


def _float(what: pl.Expr) -> pl.Expr:
    return what.cast(pl.Float64)


def _nothing(height: int) -> tuple[pl.Series, pl.Series]:
    nothing = as_written(pl.Series([None] * height, dtype=pl.Float64))
    return nothing, nothing


def _placed(rows: pl.Series, values: Iterable[float], height: int) -> pl.Series:
    ends = pl.Series([None] * height, dtype=pl.Float64).scatter(rows, pl.Series(values, dtype=pl.Float64))
    return as_written(ends)
