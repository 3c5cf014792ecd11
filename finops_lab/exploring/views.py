"""A view of a ledger: which cost, of which months, by what, against what, and of what part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import polars as pl

from finops_lab.allocation import UNALLOCATED
from finops_lab.calendar import format_month, parse_month
from finops_lab.contracts import BILL_KEYS, DIMENSIONS
from finops_lab.errors import CurrencyError, InputError
from finops_lab.money import MONEY

__all__ = [
    "GROUPS",
    "METRICS",
    "Look",
    "View",
    "behind",
    "column",
    "known",
    "look",
    "over_time",
    "spend",
    "values",
]

# What a metric is called, its column, and whether only what has an owner counts.
METRICS = {
    "effective": "EffectiveCost",
    "billed": "BilledCost",
    "list": "ListCost",
    "contracted": "ContractedCost",
    "allocated": "EffectiveCost",
}
# What charges can be told apart by: dimensions, then what the bill says.
GROUPS = {
    **{name: f"x_{name}" for name in DIMENSIONS},
    "provider": "ProviderName",
    "service": "ServiceName",
    "service category": "ServiceCategory",
    "charge category": "ChargeCategory",
    "method": "x_AllocationMethod",
    "pool": "x_PoolId",
    "day": "x_ChargeDate",
}
# What tells entries apart, beside their day: the order in which they are listed.
_KEYS = (
    *(f"x_{name}" for name in DIMENSIONS),
    "x_AllocationMethod",
    "x_AllocationRule",
    "x_PoolId",
    *(name for name in BILL_KEYS if name != "x_ChargeDate"),
)
_EMPTY: Mapping[str, tuple[str | None, ...]] = MappingProxyType({})


@dataclass(frozen=True)
class View:
    """What is looked at.

    Attributes
    ----------
    first, last : str
        First and last month of use, such as ``2026-10``; both included.
    metric : str
        ``effective``, ``billed``, ``list``, ``contracted``, or ``allocated``: the effective cost of
        what has an owner.
    by : str
        What it is told apart by: one of `GROUPS`, such as ``team`` or ``service``.
    against : tuple of str, optional
        First and last month to compare with.
    where : mapping of str to tuple of str
        Values of groups that count, such as ``{"team": ("search",)}``; None among them is what is
        unknown. All that is named must hold.
    """

    first: str
    last: str
    metric: str = "effective"
    by: str = "team"
    against: tuple[str, str] | None = None
    where: Mapping[str, tuple[str | None, ...]] = field(default_factory=lambda: _EMPTY)

    def __post_init__(self) -> None:
        """Refuse what cannot be looked at."""
        if self.metric not in METRICS:
            raise InputError(f"there is no metric {self.metric!r}", hint=f"metrics: {', '.join(METRICS)}")
        for name in (self.by, *self.where):
            column(name)
        for first, last in ((self.first, self.last), *([self.against] if self.against else [])):
            if parse_month(last) < parse_month(first):
                raise InputError(f"{last} is before {first}", hint="write the earlier month first")

    @property
    def amount(self) -> str:
        """The column of the ledger that is added up."""
        return METRICS[self.metric]


@dataclass(frozen=True)
class Look:
    """What a view shows.

    Attributes
    ----------
    table : polars.DataFrame
        What `spend` returns.
    months : polars.DataFrame
        What `over_time` returns.
    """

    table: pl.DataFrame
    months: pl.DataFrame


def column(group: str) -> str:
    """Return the ledger's column of a group.

    Raises
    ------
    InputError
        When there is no such group.

    Examples
    --------
    >>> column("team"), column("service")
    ('x_team', 'ServiceName')
    """
    if group not in GROUPS:
        raise InputError(f"charges cannot be told by {group!r}", hint=f"groups: {', '.join(GROUPS)}")
    return GROUPS[group]


def spend(entries: pl.LazyFrame | pl.DataFrame, view: View) -> pl.DataFrame:
    """Add up a cost by a group, and compare it.

    Parameters
    ----------
    entries : polars.LazyFrame or polars.DataFrame
        Rows of the `ledger` contract, in one currency.
    view : View
        What is looked at.

    Returns
    -------
    polars.DataFrame
        Largest first, then by name: the group's column (null is what is unknown), ``amount``
        (Decimal; null where the cost of no charge is known), ``share`` (Float64, of the sum; null
        where the sum is not above zero) and ``rows`` (Int64, bill rows); with `view.against` also
        ``before``, ``change`` and ``change_share``. What had no charges in one of the two periods
        counts there as 0.

    Raises
    ------
    CurrencyError
        When the entries are in more than one currency.

    Examples
    --------
    >>> from decimal import Decimal
    >>> entries = pl.DataFrame({"x_ChargeMonth": ["2026-09", "2026-10", "2026-10"],
    ...     "BillingCurrency": "USD", "x_team": ["search", "search", "unallocated"],
    ...     "EffectiveCost": [Decimal(3), Decimal(5), Decimal(1)], "x_Rows": [1, 2, 1]})
    >>> view = View("2026-10", "2026-10", against=("2026-09", "2026-09"))
    >>> spend(entries, view).select(pl.col("x_team"), pl.col("amount", "change").cast(pl.Int64)).rows()
    [('search', 5, 2), ('unallocated', 1, 1)]
    """
    return _compared(_monthly(entries, view), view)


def over_time(entries: pl.LazyFrame | pl.DataFrame, view: View) -> pl.DataFrame:
    """Add up a cost by month and group, as `finops_lab.charts.spend_trend` takes it.

    Parameters
    ----------
    entries, view
        As for `spend`; comparison months are left out.

    Returns
    -------
    polars.DataFrame
        Sorted: ``month`` (Date), ``group`` (String; ``(unknown)`` where null) and ``amount``.

    Raises
    ------
    CurrencyError
        When the entries are in more than one currency.
    """
    return _over_time(_monthly(entries, replace(view, against=None)), view)


def look(entries: pl.LazyFrame | pl.DataFrame, view: View) -> Look:
    """Ask for `spend` and `over_time` in one pass over the entries.

    Parameters
    ----------
    entries, view
        As for `spend`.

    Returns
    -------
    Look
        What the two return, each.

    Raises
    ------
    CurrencyError
        When the entries, those compared with among them, are in more than one currency.

    Examples
    --------
    >>> entries = pl.DataFrame({"x_ChargeMonth": ["2026-09", "2026-10"], "BillingCurrency": "USD",
    ...     "x_team": "search", "EffectiveCost": [3, 5], "x_Rows": 1})
    >>> seen = look(entries, View("2026-09", "2026-10"))
    >>> seen.table["amount"].to_list(), seen.months["amount"].to_list()
    ([8], [3, 5])
    """
    months = _monthly(entries, view)
    return Look(_compared(months, view), _over_time(months, view))


def behind(
    entries: pl.LazyFrame | pl.DataFrame, view: View, value: str | None, most: int = 500
) -> pl.DataFrame:
    """Return the ledger entries behind one line of a view, the most money first.

    Parameters
    ----------
    entries, view
        As for `spend`.
    value : str or None
        The line's value; None is what is unknown.
    most : int
        How many entries are returned.

    Returns
    -------
    polars.DataFrame
        ``x_ChargeDate``, the view's amount, ``x_Rows``, who it was for, how it got its owner, and
        what the bill says: all that tells entries of the `ledger` contract apart. Entries whose
        amount nobody knows come last.

    Examples
    --------
    >>> from datetime import date
    >>> entries = pl.DataFrame({"x_ChargeMonth": "2026-10", "x_ChargeDate": date(2026, 10, 3),
    ...     "BillingCurrency": "USD", "x_team": ["ads", "search", "search"],
    ...     "EffectiveCost": [9, 5, -7], "x_Rows": [1, 2, 1]})
    >>> found = behind(entries, View("2026-10", "2026-10"), "search")
    >>> found.select("EffectiveCost", "x_Rows", "x_team").rows()
    [(-7, 1, 'search'), (5, 2, 'search')]
    """
    frame = _picked(entries, view).filter(_within(view.first, view.last), _is(column(view.by), (value,)))
    keys = [name for name in _KEYS if name in frame.collect_schema().names()]
    # Dates, amounts and rows are few bytes a row, and what is smaller than the last one wanted is
    # most of it: only the rest is read whole and sorted.
    size = pl.col(view.amount).abs()
    least = frame.select(size.top_k(most).min().alias("least"), size.count().alias("known")).collect()
    if least["known"].item() > most:
        frame = frame.filter(size >= least["least"].item())
    return (
        frame.select("x_ChargeDate", view.amount, "x_Rows", *keys)
        .with_columns(size.alias("_size"))
        .sort("_size", "x_ChargeDate", *keys, descending=[True, *[False] * (len(keys) + 1)], nulls_last=True)
        .drop("_size")
        .head(most)
        .collect()
    )


def values(entries: pl.LazyFrame | pl.DataFrame, group: str, most: int | None = None) -> list[str | None]:
    """Return the values of a group that there are, sorted; None, the unknown, last.

    Parameters
    ----------
    entries : polars.LazyFrame or polars.DataFrame
        Rows of the `ledger` contract.
    group : str
        One of `GROUPS`.
    most : int, optional
        How many are returned; all by default.

    Examples
    --------
    >>> values(pl.DataFrame({"x_team": ["search", None, "ads", "search"]}), "team")
    ['ads', 'search', None]
    """
    key = column(group)
    found = entries.lazy().select(pl.col(key).unique()).collect()[key].cast(pl.String)
    return found.sort(nulls_last=True).to_list()[:most]


def known(entries: pl.LazyFrame | pl.DataFrame, first: str, last: str) -> bool:
    """Tell whether the ledger has any charge of a period.

    Parameters
    ----------
    entries, first, last
        Rows of the `ledger` contract; first and last month, such as ``2026-10``, both included.

    Examples
    --------
    >>> known(pl.DataFrame({"x_ChargeMonth": ["2026-10"]}), "2026-08", "2026-09")
    False
    """
    return entries.lazy().filter(_within(first, last)).head(1).collect().height > 0


def _picked(entries: pl.LazyFrame | pl.DataFrame, view: View) -> pl.LazyFrame:
    frame = entries.lazy()
    if view.metric == "allocated":
        frame = frame.filter(pl.col("x_team") != UNALLOCATED)
    for name, wanted in view.where.items():
        frame = frame.filter(_is(column(name), wanted))
    return frame


def _is(name: str, wanted: Sequence[str | None]) -> pl.Expr:
    known = [value for value in wanted if value is not None]
    text = pl.col(name).cast(pl.String) if name == "x_ChargeDate" else pl.col(name)
    said = text.is_in(pl.lit(pl.Series([known], dtype=pl.List(pl.String)))).fill_null(False)
    return said | pl.col(name).is_null() if None in wanted else said


def _within(first: str, last: str) -> pl.Expr:
    low, high = (pl.lit(format_month(parse_month(month))) for month in (first, last))
    return pl.col("x_ChargeMonth").is_between(low, high)


def _monthly(entries: pl.LazyFrame | pl.DataFrame, view: View) -> pl.DataFrame:
    """Add up by group and month in one pass over the entries, and refuse two currencies."""
    amount, within = pl.col(view.amount), _within(view.first, view.last)
    # Currencies among the keys cost less than a set of them for every group.
    sums = (
        _picked(entries, view)
        .filter(within | _within(*view.against) if view.against else within)
        .group_by("x_ChargeMonth", "BillingCurrency", column(view.by))
        .agg(
            amount.sum().alias("amount"),
            amount.count().cast(pl.Int64).alias("known"),
            pl.col("x_Rows").sum().cast(pl.Int64).alias("rows"),
        )
        .collect()
    )
    codes = sorted(set(sums["BillingCurrency"]))
    if len(codes) > 1:
        raise CurrencyError(
            f"charges are in {', '.join(codes)} and are never added",
            hint="give dated [[rates]] in finops.toml",
        )
    return sums


def _compared(months: pl.DataFrame, view: View) -> pl.DataFrame:
    key, now = column(view.by), _within(view.first, view.last)
    then = _within(*view.against) if view.against else pl.lit(False)
    sums = months.group_by(key).agg(
        _sum(now, "amount"), _sum(then, "before"), pl.col("rows").filter(now).sum()
    )
    total = sums["amount"].sum()
    share = pl.col("amount").cast(pl.Float64) / float(total) if total and total > 0 else pl.lit(None)
    told = sums.with_columns(share.cast(pl.Float64).alias("share"))
    if view.against is None:
        shown = told.select(key, "amount", "share", "rows")
    else:
        change = (pl.col("amount") - pl.col("before")).cast(MONEY)
        by = change.cast(pl.Float64) / pl.col("before").cast(pl.Float64)
        shown = told.select(
            key,
            "amount",
            "share",
            "rows",
            "before",
            change.alias("change"),
            pl.when(pl.col("before") > 0).then(by).alias("change_share"),
        )
    return shown.sort("amount", key, descending=[True, False], nulls_last=True)


def _over_time(months: pl.DataFrame, view: View) -> pl.DataFrame:
    group = pl.col(column(view.by)).cast(pl.String).fill_null("(unknown)").alias("group")
    month = (pl.col("x_ChargeMonth") + "-01").str.to_date("%Y-%m-%d").alias("month")
    return (
        months.filter(_within(view.first, view.last))
        .group_by(month, group)
        .agg(_sum(pl.lit(True), "amount"))
        .sort("month", "group")
    )


def _sum(when: pl.Expr, name: str) -> pl.Expr:
    """Add up some months; null where there are charges and the amount of none is known."""
    known = pl.col("known").filter(when)
    unknown = (known.len() > 0) & (known.sum() == 0)
    return pl.when(~unknown).then(pl.col("amount").filter(when).sum()).alias(name)
