"""Budgets as they stand: which amount is in force, in which currency, and what changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import polars as pl

from finops_lab.calendar import add_months, parse_month
from finops_lab.config import Rate
from finops_lab.errors import CurrencyError, InputError
from finops_lab.money import MONEY, exact_sum, product

__all__ = ["CHANGES", "changes", "in_currency", "in_force", "name_of"]

_SELECTOR = ("dimension", "key")
CHANGES: dict[str, pl.DataType] = {
    "name": pl.String(),
    "dimension": pl.String(),
    "key": pl.String(),
    "first": pl.Date(),
    "last": pl.Date(),
    "before": MONEY,
    "after": MONEY,
    "change": MONEY,
    "change_in_all": MONEY,
    "approved": pl.Date(),
    "approved_by": pl.String(),
    "reason": pl.String(),
}


def name_of(dimension: str | None, key: str | None) -> str:
    """Return what a budget is called.

    Examples
    --------
    >>> name_of("team", "search"), name_of(None, None)
    ('team search', 'all spend')
    """
    return "all spend" if dimension is None else f"{dimension} {key}"


def in_currency(budgets: pl.DataFrame, rates: Sequence[Rate], currency: str) -> pl.DataFrame:
    """Convert budgets to one currency, each with the rate of its month.

    Parameters
    ----------
    budgets : polars.DataFrame
        Rows of the `budgets` contract.
    rates : sequence of Rate
        Dated rates of `finops.toml`. Months to come need one too: the rate that was planned with.
    currency : str
        ISO 4217 code to convert to.

    Returns
    -------
    polars.DataFrame
        The rows in `currency`, in their order; a converted amount is rounded once, to 18 decimals.

    Raises
    ------
    CurrencyError
        Naming the first month and pair without a rate.

    Examples
    --------
    >>> from finops_lab import contracts
    >>> row = {"month": "2026-10", "amount": Decimal("100"), "currency": "EUR"}
    >>> budget = pl.DataFrame([row], schema=contracts.dtypes("budgets"))
    >>> rate = Rate.model_validate({"month": "2026-10", "from": "EUR", "to": "USD", "rate": "1.1"})
    >>> str(in_currency(budget, [rate], "USD")["amount"][0].normalize())
    '1.1E+2'
    """
    table = {(rate.month, rate.source): rate.rate for rate in rates if rate.target == currency}
    amounts: list[Decimal | None] = []
    for month, dimension, key, amount, source in budgets.select(
        "month", "dimension", "key", "amount", "currency"
    ).iter_rows():
        rate = Decimal(1) if source == currency else table.get((parse_month(month), source))
        if rate is None:
            raise CurrencyError(
                f"the budget of {name_of(dimension, key)} is in {source}, the lab in {currency}, and there is no "
                f"rate for {month}",
                hint=f'write it in {currency}, or add [[rates]] month = "{month}" from = "{source}" '
                f'to = "{currency}" rate = "..." to finops.toml',
            )
        amounts.append(amount if source == currency else product(amount, rate))
    return budgets.with_columns(
        pl.Series("amount", amounts, dtype=MONEY), pl.lit(currency, pl.String).alias("currency")
    )


def in_force(budgets: pl.DataFrame, by: date | None = None) -> pl.DataFrame:
    """Return the budgets that count: per thing and month those that were approved last, added up.

    Parameters
    ----------
    budgets : polars.DataFrame
        Rows of the `budgets` contract, in one currency.
    by : datetime.date, optional
        Leave out what was approved after this day. What says no day was always there.

    Returns
    -------
    polars.DataFrame
        ``dimension, key`` (String; null is everything), ``month`` (Date), ``amount`` (Decimal),
        ``currency``, ``approved`` (Date), sorted; one row for each thing and month.

    Raises
    ------
    CurrencyError
        When amounts to add up are in several currencies.
    InputError
        When a month is none.

    Examples
    --------
    >>> from finops_lab import contracts
    >>> rows = [{"month": "2026-10", "amount": Decimal(100), "currency": "USD", "approved": None},
    ...     {"month": "2026-10", "amount": Decimal(120), "currency": "USD", "approved": date(2026, 9, 9)}]
    >>> both = pl.DataFrame(rows, schema=contracts.dtypes("budgets"))
    >>> [int(in_force(both, by)["amount"][0]) for by in (None, date(2026, 9, 8))]
    [120, 100]
    """
    known = _known(budgets, by)
    # A day before all others stands for none: null sorts so, but compares with nothing.
    day = pl.col("approved").fill_null(date.min)
    latest = known.filter(day == day.max().over(*_SELECTOR, "month"))
    return _added(latest, [])


def changes(budgets: pl.DataFrame, by: date | None = None) -> pl.DataFrame:
    """Say what approvals changed: amounts of a month before and after, when and by whom.

    The first approval of a budget is no change. Months in a row that changed alike are one row.

    Parameters
    ----------
    budgets, by
        As for `in_force`.

    Returns
    -------
    polars.DataFrame
        ``name, dimension, key, first, last`` (Date, first day of the first and of the last month),
        ``before`` and ``after`` (Decimal a month; `before` is null where the month had no budget),
        ``change`` (null with `before`), ``change_in_all`` (of all its months), ``approved, approved_by, reason``;
        latest approval first.

    Raises
    ------
    CurrencyError, InputError
        As for `in_force`.
    """
    merged = _added(_known(budgets, by), ["approved"])
    rows: list[dict[str, Any]] = []
    for (dimension, key), lines in merged.group_by(_SELECTOR, maintain_order=True):
        held: dict[date, Decimal] = {}
        oldest = lines["approved"].null_count() == 0 and lines["approved"].min()
        for line in lines.sort("approved", "month", nulls_last=False).iter_rows(named=True):
            before, after = held.get(line["month"]), line["amount"]
            held[line["month"]] = after
            if line["approved"] is None or line["approved"] == oldest or before == after:
                continue
            row = {n: line[n] for n in ("approved", "approved_by", "reason")}
            row |= {"name": name_of(dimension, key), "dimension": dimension, "key": key}
            row |= {"before": before, "after": after, "first": line["month"], "last": line["month"]}
            rows.append(
                row | {"change": None if before is None else exact_sum([after, -before]), "months": 1}
            )
    joined: list[dict[str, Any]] = []
    for row in rows:
        if joined and _continues(joined[-1], row):
            joined[-1] |= {"last": row["last"], "months": joined[-1]["months"] + 1}
        else:
            joined.append(row)
    for row in joined:
        row["change_in_all"] = product(row["change"], Decimal(row["months"]))
    return pl.DataFrame(joined, schema=CHANGES).sort(
        "approved", "dimension", "key", "first", descending=[True, False, False, False]
    )


def _continues(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Tell whether a change is that of the month before, too."""
    alike = ("dimension", "key", "approved", "before", "after", "approved_by", "reason")
    return add_months(one["last"], 1) == other["first"] and all(one[n] == other[n] for n in alike)


def _known(budgets: pl.DataFrame, by: date | None) -> pl.DataFrame:
    return budgets if by is None else budgets.filter((pl.col("approved") <= by).fill_null(True))


def _added(rows: pl.DataFrame, also: list[str]) -> pl.DataFrame:
    """Add the lines of a budget up, per month."""
    for month in rows["month"].unique():
        parse_month(month)
    keys = [*_SELECTOR, "month", *also]
    mixed = rows.group_by(keys).agg(pl.col("currency").n_unique().alias("n")).filter(pl.col("n") > 1)
    if mixed.height:
        row = mixed.sort(keys).row(0, named=True)
        raise CurrencyError(
            f"the budget of {name_of(row['dimension'], row['key'])} for {row['month']} is in several currencies",
            hint="convert it first: in_currency",
        )
    if rows.filter(pl.col("dimension").is_null() != pl.col("key").is_null()).height:
        raise InputError("a budget has a dimension without a key", column="key", hint="give both or neither")
    told = [pl.col(n).drop_nulls().unique(maintain_order=True).sort().str.join(", ").replace("", None)
            for n in ("approved_by", "reason")]  # fmt: skip
    first = [] if "approved" in also else [pl.col("approved").first()]
    added = rows.group_by(keys, maintain_order=True).agg(
        pl.col("amount").sum(), pl.col("currency").first(), *first, *told
    )
    return added.with_columns(pl.col("month").str.to_date("%Y-%m", strict=True)).sort(keys)
