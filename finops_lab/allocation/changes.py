"""What spend of one month is against another, by whatever tells it apart."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

import polars as pl

from finops_lab.errors import InputError, each_name
from finops_lab.money import MONEY, exact_sum

__all__ = ["changes"]


def changes(
    spend: pl.LazyFrame | pl.DataFrame,
    now: str | date,
    before: str | date,
    *,
    by: str | Sequence[str],
    month: str = "x_ChargeMonth",
    amount: str = "EffectiveCost",
) -> pl.DataFrame:
    """Compare what was spent in two months, exactly.

    Parameters
    ----------
    spend : polars.LazyFrame or polars.DataFrame
        Amounts in one currency: entries of the `ledger` contract, or a panel of
        `finops_lab.allocation.monthly` (`by` ``unique_id``, `month` ``ds``, `amount` ``y``).
    now, before : str or datetime.date
        The two months, as the column `month` writes them.
    by : str or sequence of str
        Columns that tell spend apart; null is a value of theirs.
    month, amount : str
        Columns with the month and the money (Decimal).

    Returns
    -------
    polars.DataFrame
        `by`, ``now``, ``before`` and ``change`` (Decimal), the largest ``now`` first, then by
        name. What has no charges in a month that has others was charged nothing: 0. Where a month
        has none at all, it is not known: null, and so is the change.

    Raises
    ------
    InputError
        When a column is missing.

    Examples
    --------
    >>> spend = pl.DataFrame({"x_ChargeMonth": ["2026-09", "2026-10", "2026-10"], "x_team": ["ads", "ads", "ops"],
    ...     "EffectiveCost": [Decimal(5), Decimal(7), Decimal(1)]})
    >>> changes(spend, "2026-10", "2026-09", by=["x_team"]).select("x_team", pl.exclude("x_team").cast(pl.Int64)).rows()
    [('ads', 7, 5, 2), ('ops', 1, 0, 1)]
    """
    by = each_name(by)
    frame = spend.lazy()
    if missing := {month, amount, *by} - set(frame.collect_schema()):
        raise InputError(f"changes of spend need the columns {', '.join(sorted(missing))}")
    keys = list(by)
    sides = []
    for when, name in ((now, "now"), (before, "before")):
        mine = frame.filter(pl.col(month) == pl.lit(when))
        sides.append(mine.group_by(keys).agg(pl.col(amount).cast(MONEY).sum().alias(name)).collect())
    both = sides[0].join(sides[1], on=keys, how="full", coalesce=True, nulls_equal=True)
    known = [name for side, name in zip(sides, ("now", "before"), strict=True) if side.height]
    both = both.with_columns(pl.col(known).fill_null(pl.lit(Decimal(0), MONEY)))
    moved = [_less(later, earlier) for later, earlier in both.select("now", "before").iter_rows()]
    return both.with_columns(pl.Series("change", moved, MONEY)).sort(
        "now", *keys, descending=[True, *[False] * len(keys)], nulls_last=True
    )


def _less(later: Decimal | None, earlier: Decimal | None) -> Decimal | None:
    if later is None or earlier is None:
        return None
    return exact_sum([later, earlier.copy_negate()])
