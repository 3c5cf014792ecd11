"""Budget alerts, and whether budgets of parts fit into the budget of the whole."""

from __future__ import annotations

import polars as pl

from finops_lab.errors import InputError
from finops_lab.forecasting import chances
from finops_lab.money import MONEY
from finops_lab.planning.budget_status import AT_RISK, UNALLOCATED

__all__ = ["CERTAIN", "CHECKS", "alerts", "checks"]

# How likely an overrun must be to be told at once.
CERTAIN = 0.8
_BOUNDS = ("lo_80", "hi_80", "lo_95", "hi_95")
CHECKS: dict[str, pl.DataType] = {
    "dimension": pl.String(),
    "period": pl.String(),
    "parts": MONEY,
    "whole": MONEY,
    "left": MONEY,
    "unbudgeted": MONEY,
    "unallocated": MONEY,
    "expected": pl.Float64(),
    "probability": pl.Float64(),
    "fits": pl.Boolean(),
}


def alerts(status: pl.DataFrame) -> pl.DataFrame:
    """Return what somebody should know of budgets now: the worst of each budget and period.

    ``page``: more is spent than planned, or that is likelier than `CERTAIN`, or all of the budget was
    spent ahead of pace. ``ticket``: it is more likely than not, or 80 % were. ``note``: 50 % were.

    Parameters
    ----------
    status : polars.DataFrame
        As from `finops_lab.planning.budget_status.status`.

    Returns
    -------
    polars.DataFrame
        ``severity, name, dimension, key, period, what`` (in words), ``since`` (Date: the day the
        threshold was passed or, of what is expected, since when spending has been ahead of its plan
        without a break; null where it is not), ``probability`` (0 to 1), ``above`` (Float64: money
        expected above the budget, negative below), ``used_up`` (Date), worst first.

    Raises
    ------
    InputError
        A column is missing.

    Examples
    --------
    >>> from finops_lab.planning.budget_status import STATUS
    >>> row = {"name": "all spend", "period": "month", "state": "at risk", "probability": 0.9,
    ...     "expected_above": 20.0}
    >>> alerts(pl.DataFrame([row], schema=STATUS)).select("severity", "what").row(0)
    ('page', '90% likely to go over')
    """
    needed = ("name", "state", "probability", "threshold", "threshold_on", "used_up", "ahead_since")
    if missing := [name for name in needed if name not in status.columns]:
        raise InputError("the status has no such column", column=missing[0])
    over, likely, share = pl.col("state") == "over", pl.col("probability"), pl.col("threshold")
    running = pl.col("state").is_in(["at risk", "watch", "on track"])
    expected = running & (likely > AT_RISK)
    ahead = running & share.is_not_null()
    severity = (
        pl.when(over | (expected & (likely > CERTAIN)) | (ahead & (share >= 1)))
        .then(pl.lit("page"))
        .when(expected | (ahead & (share >= 0.8)))
        .then(pl.lit("ticket"))
        .when(ahead)
        .then(pl.lit("note"))
    )
    # Nothing to come is certain.
    percent = pl.format("{}%", (likely * 100).round(0).cast(pl.Int64))
    percent = pl.when(likely > 0.99).then(pl.lit("over 99%")).otherwise(percent)
    part = (share * 100).round(0).cast(pl.Int64).cast(pl.String)
    what = (
        pl.when(over)
        .then(pl.lit("over budget"))
        .when(expected)
        .then(pl.format("{} likely to go over", percent))
        .when(ahead)
        .then(pl.format("{}% spent ahead of pace", part))
    )
    since = pl.when(over).then("used_up").when(expected).then("ahead_since").when(ahead).then("threshold_on")
    order = pl.col("severity").replace_strict({"page": 0, "ticket": 1, "note": 2}, return_dtype=pl.Int8)
    return (
        status.with_columns(severity.alias("severity"), what.alias("what"), since.alias("since"))
        .filter(pl.col("severity").is_not_null())
        .sort(order, "expected_above", "name", "period", descending=[False, True, False, False], nulls_last=True)
        .select("severity", "name", "dimension", "key", "period", "what", "since", "probability",
                pl.col("expected_above").alias("above"), "used_up")
    )  # fmt: skip


def checks(status: pl.DataFrame) -> pl.DataFrame:
    """Hold the budgets of a dimension's values, together, against the budget of all spend.

    Budgets of different dimensions overlap: a team's spend is a model's spend, too. They are never
    added; each dimension is held against the whole by itself. Errors of several series are their
    own, so the half widths of their bounds add as roots of sums of squares.

    Parameters
    ----------
    status : polars.DataFrame
        As from `finops_lab.planning.budget_status.status`.

    Returns
    -------
    polars.DataFrame
        `CHECKS`, one row for each dimension and period with budgets: ``parts`` (Decimal, sum of the
        values' budgets), ``whole`` (that of all spend; null where there is none), ``left`` (whole less
        parts), ``unbudgeted`` (spent by values without a budget), ``unallocated`` (spent by nobody),
        ``expected`` (Float64, of the values with a budget), ``probability`` that they go over `parts`
        together, ``fits`` (whether parts are at most the whole).
    """
    whole = status.filter(pl.col("dimension").is_null()).select("period", whole="budget")
    named = status.filter(pl.col("dimension").is_not_null())
    keys = ["dimension", "period"]
    planned = named.filter(pl.col("budget").is_not_null())
    parts = planned.group_by(keys).agg(pl.col("budget").sum().alias("parts"))
    sums = chances.over_series(planned.rename({"expected": "yhat"}), by=keys)
    found = parts.join(sums, on=keys, how="left")
    without = named.filter(pl.col("budget").is_null())
    nobody = (pl.col("key") == UNALLOCATED).fill_null(False)
    rest = without.group_by(keys).agg(
        # In a month without any charges yet it is unknown, like all else.
        pl.when(pl.col("actual").null_count() == 0)
        .then(pl.col("actual").filter(~nobody).sum())
        .alias("unbudgeted"),
        pl.col("actual").filter(nobody).first().alias("unallocated"),
    )
    found = found.join(rest, on=keys, how="left").join(whole, on="period", how="left")
    order = pl.col("period").replace_strict({"month": 0, "quarter": 1, "year": 2}, return_dtype=pl.Int8)
    return (
        chances.exceedance(found, "parts")
        .with_columns(
            (pl.col("whole") - pl.col("parts")).alias("left"),
            (pl.col("parts") <= pl.col("whole")).alias("fits"),
            pl.col("yhat").alias("expected"),
        )
        .sort(order, "dimension")
        .select(list(CHECKS))
        .cast(pl.Schema(CHECKS))
    )
