"""The FinOps practice as an investment: savings realised against its hours and tools."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

import polars as pl

from finops_lab.config import Practice
from finops_lab.errors import InputError
from finops_lab.money import MONEY, divided, exact_sum, product

__all__ = ["PRACTICE", "PracticeReturns", "practice_entries", "practice_returns"]

PRACTICE: dict[str, pl.DataType | type[pl.DataType]] = {
    "month": pl.Date,
    "what": pl.String,
    "currency": pl.String,
    "realised_savings": MONEY,
    "avoided_spend": MONEY,
    "hours": MONEY,
    "rate_per_hour": MONEY,
    "tools": MONEY,
}
_RETURNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "realised_savings": MONEY,
    "avoided_spend": MONEY,
    "hours": MONEY,
    "hours_money": MONEY,
    "tools": MONEY,
    "practice_money": MONEY,
    "roi": MONEY,
    "net_savings": MONEY,
    "reason": pl.String,
}
_SUMS = ("realised_savings", "avoided_spend", "hours", "tools")


@dataclass(frozen=True)
class PracticeReturns:
    """What the practice returned.

    Attributes
    ----------
    months : polars.DataFrame
        One row per ``month`` and ``currency``: ``realised_savings``, ``avoided_spend`` (apart, in no
        sum), ``hours``, ``hours_money``, ``tools``, ``practice_money`` (hours and tools), ``roi``
        (realised savings / practice money), ``net_savings`` (realised savings - practice money),
        ``reason`` where they are null.
    work : polars.DataFrame
        The same per ``what`` and ``currency``, all months together.
    whole : polars.DataFrame
        The same per ``currency``: work of one month pays in later ones, so that this is the return
        that counts.
    """

    months: pl.DataFrame
    work: pl.DataFrame
    whole: pl.DataFrame


def practice_entries(entries: Iterable[Practice], currency: str) -> pl.DataFrame:
    """Return ``[[practice]]`` of `finops.toml` as a frame.

    Parameters
    ----------
    entries : iterable of Practice
        The entries.
    currency : str
        The lab's, for entries that name none.

    Returns
    -------
    polars.DataFrame
        `PRACTICE`, in the entries' order.

    Examples
    --------
    >>> from datetime import date
    >>> work = Practice(month="2026-10", what="int8", realised_savings="100", hours="1", rate_per_hour="50")
    >>> practice_entries([work], "EUR").select("month", "what", "currency").row(0)
    (datetime.date(2026, 10, 1), 'int8', 'EUR')
    """
    rows = [entry.model_dump() | {"currency": entry.currency or currency} for entry in entries]
    return pl.DataFrame(rows, schema=PRACTICE)


def practice_returns(entries: pl.DataFrame | pl.LazyFrame) -> PracticeReturns:
    """Set the savings that were realised against what the practice cost.

    Parameters
    ----------
    entries : polars.DataFrame or polars.LazyFrame
        `PRACTICE`. Two currencies are never added: each has rows of its own.

    Returns
    -------
    PracticeReturns
        Sorted. Where hours have no rate, what they cost is unknown, and so is the return.

    Raises
    ------
    InputError
        When a column is missing.

    Examples
    --------
    >>> work = [Practice(month="2026-10", what="int8", realised_savings="300", avoided_spend="900",
    ...     hours="2", rate_per_hour="50", tools="20")]
    >>> practice_returns(practice_entries(work, "USD")).whole.select("practice_money", "roi", "net_savings").row(0)
    (Decimal('120.000000000000000000'), Decimal('2.500000000000000000'), Decimal('180.000000000000000000'))
    """
    frame = entries.lazy().collect()
    if missing := [name for name in PRACTICE if name not in frame.columns]:
        raise InputError(f"the practice's entries have no column {', '.join(missing)}")
    rows = frame.select(pl.col(name).cast(kind) for name, kind in PRACTICE.items())
    # Decimal times Decimal is not exact in polars: hours and rates are few.
    money = [
        product(hours, rate) if hours else Decimal(0)
        for hours, rate in rows.select("hours", "rate_per_hour").iter_rows()
    ]
    known = rows.with_columns(pl.Series("hours_money", money, MONEY))
    return PracticeReturns(*(_returned(known, keys) for keys in (["month"], ["what"], [])))


def _returned(rows: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    by = [*keys, "currency"]
    sums = (
        rows.group_by(by)
        .agg(
            *(pl.col(name).sum() for name in _SUMS),
            pl.when(pl.col("hours_money").null_count() == 0).then(pl.col("hours_money").sum()),
        )
        .sort(by)
    )
    spent: list[Decimal | None] = []
    roi: list[Decimal | None] = []
    net: list[Decimal | None] = []
    reasons: list[str | None] = []
    columns = ("realised_savings", "hours_money", "tools")
    for realised, hours_money, tools in sums.select(columns).iter_rows():
        total = None if hours_money is None else exact_sum([hours_money, tools])
        spent.append(total)
        roi.append(divided(realised, total))
        net.append(None if total is None else exact_sum([realised, -total]))
        unknown = "hours have no rate" if total is None else "nothing was spent on the practice"
        reasons.append(None if roi[-1] is not None else unknown)
    return sums.with_columns(
        pl.Series("practice_money", spent, MONEY),
        pl.Series("roi", roi, MONEY),
        pl.Series("net_savings", net, MONEY),
        pl.Series("reason", reasons, pl.String),
    ).select(*by, *_RETURNS)
