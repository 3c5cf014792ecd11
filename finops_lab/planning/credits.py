"""Credits and their end: what the bill is when promotional credits run out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import polars as pl

from finops_lab.calendar import add_months
from finops_lab.config import Credit, check_columns, holds
from finops_lab.errors import InputError
from finops_lab.money import MONEY, divided, exact_sum, one_currency

__all__ = ["AHEAD", "CREDITS", "Cliff", "cliff", "credits_of", "monthly_bill"]

_Schema = dict[str, pl.DataType | type[pl.DataType]]
CREDITS: _Schema = {
    "credit": pl.String,
    "ProviderName": pl.String,
    "currency": pl.String,
    "first": pl.Date,
    "last": pl.Date,
    "months": pl.Int64,
    "credited": MONEY,
    "a_month": MONEY,
    "grant": MONEY,
    "left": MONEY,
    "ends": pl.Date,
    "basis": pl.String,
    "ended": pl.Boolean,
}
AHEAD: _Schema = {
    "month": pl.Date,
    "kind": pl.String,
    "gross": pl.Float64,
    "lo_80": pl.Float64,
    "hi_80": pl.Float64,
    "one_time": MONEY,
    "credits": MONEY,
    "net": pl.Float64,
}
_RECENT = 3  # months that a credit's pace is of
_LONGEST = 1200  # months; at a pace that a grant outlasts, nobody knows its end


@dataclass(frozen=True)
class Cliff:
    """The bill with credits and without them.

    Attributes
    ----------
    credits : polars.DataFrame
        `CREDITS`, one row per credit.
    months : polars.DataFrame
        `AHEAD`: ``kind`` is ``billed`` or ``forecast``; ``gross`` is the bill without credits, with
        its 80 % bounds where it is forecast, ``one_time`` the part of it that is no use of the month
        (never forecast), ``net`` = gross + credits (credits are below 0).
    ends : polars.DataFrame
        Per month in which credits end: ``month`` (the first without), ``credit`` (names),
        ``a_month`` (Decimal: what the bill of a month grows by), ``passed`` (Boolean: it has come).
    """

    credits: pl.DataFrame
    months: pl.DataFrame
    ends: pl.DataFrame

    def __repr__(self) -> str:
        return f"Cliff({self.credits.height} credits, {self.ends.height} ends; .credits .months .ends)"


def credits_of(
    costs: pl.LazyFrame | pl.DataFrame, rules: Sequence[Credit] = (), *, month: date
) -> pl.DataFrame:
    """List the credits on the bill, and when each of them ends.

    Parameters
    ----------
    costs : polars.LazyFrame or polars.DataFrame
        Rows of the `costs` contract.
    rules : sequence of Credit
        ``[[credits]]`` of `finops.toml`: the first that fits names a credit and tells its grant and
        end. Others are named by ChargeDescription.
    month : datetime.date
        The last month to look at (its first day); later rows are not seen.

    Returns
    -------
    polars.DataFrame
        `CREDITS`, one row for each rule that fits something (``ProviderName`` names all of its
        providers) and for each other credit: ``first`` and ``last`` month credited, ``months`` of
        them, ``credited`` in all and ``a_month`` (mean of the last three months in which it was
        credited; both below 0), ``left`` of the grant, ``ends`` (the last month with credit, null
        where nobody knows) and its ``basis``: ``stopped`` (no credit in `month`), ``configured``,
        ``grant used up`` (what is left at that pace), ``unknown``. ``ended`` is true for what
        stopped. Only charges of category Credit count.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> row = {"ChargePeriodStart": datetime(2026, 10, 1, tzinfo=UTC), "ChargeCategory": "Credit", "ProviderName": "A",
    ...     "ChargeDescription": "Promo", "BillingCurrency": "USD", "BilledCost": Decimal(-5)}
    >>> rule = Credit(name="promo", where={"ChargeDescription": ("Promo",)}, grant=Decimal(20))
    >>> credits_of(pl.DataFrame([row]), [rule], month=date(2026, 10, 1)).select("ends", "basis").row(0)
    (datetime.date(2027, 1, 1), 'grant used up')
    """
    for one in rules:
        check_columns(one.where, costs.lazy().collect_schema().names(), f"[[credits]] {one.name!r}")
    fits = [pl.when(holds(rule.where)).then(pl.lit(i, pl.Int64)) for i, rule in enumerate(rules)]
    rule, provider = pl.col("_rule"), pl.col("ProviderName")
    name = pl.coalesce(
        rule.replace_strict(dict(enumerate(one.name for one in rules)), default=None, return_dtype=pl.String),
        pl.col("ChargeDescription"),
        pl.lit("credit without a description"),
    )
    # A grant is one, whoever it is credited by.
    whose = (
        pl.when(rule.is_null())
        .then(provider)
        .otherwise(provider.unique().sort().str.join(", ").over("_rule"))
    )
    when = pl.col("ChargePeriodStart").dt.date().dt.month_start()
    keys = ["credit", "ProviderName", "currency"]
    by_month = (
        costs.lazy()
        .filter(pl.col("ChargeCategory") == "Credit", when <= month)
        .with_columns(pl.coalesce(*fits, pl.lit(None, pl.Int64)).alias("_rule"))
        .with_columns(whose.alias("ProviderName"))
        .group_by(
            "_rule",
            name.alias("credit"),
            "ProviderName",
            pl.col("BillingCurrency").alias("currency"),
            when.alias("month"),
        )
        .agg(pl.col("BilledCost").sum().cast(MONEY).alias("amount"))
        .sort(*keys, "_rule", "month")
        .collect()
    )
    rows = []
    for (*key, place), part in by_month.group_by(*keys, "_rule", maintain_order=True):
        months, amounts = part["month"].to_list(), part["amount"].to_list()
        mine = None if place is None else rules[place]
        rows.append((*key, months[0], months[-1], len(months), *_life(months, amounts, mine, month)))
    return pl.DataFrame(rows, schema=CREDITS, orient="row")


def _life(months: list[date], amounts: list[Decimal], rule: Credit | None, now: date) -> tuple[object, ...]:
    credited = exact_sum(amounts)
    recent = amounts[-_RECENT:]
    pace = divided(exact_sum(recent), len(recent))
    grant = rule.grant if rule else None
    left = None if grant is None else exact_sum([grant, credited])
    if months[-1] < now:
        return credited, pace, grant, left, months[-1], "stopped", True
    ends: list[tuple[date, str]] = []
    if rule is not None and rule.last is not None:
        ends.append((rule.last, "configured"))
    if left is not None and pace is not None and pace < 0:
        more = max(left, Decimal(0)) / -pace
        if more <= _LONGEST:
            ends.append((add_months(now, int(more.to_integral_value("ROUND_CEILING"))), "grant used up"))
    end, basis = min(ends, default=(None, "unknown"))
    return credited, pace, grant, left, end, basis, False


def monthly_bill(costs: pl.LazyFrame | pl.DataFrame, *, month: date) -> pl.DataFrame:
    """Return the bill month by month: without credits, and credits apart.

    Parameters
    ----------
    costs : polars.LazyFrame or polars.DataFrame
        Rows of the `costs` contract, in one currency.
    month : datetime.date
        The last month.

    Returns
    -------
    polars.DataFrame
        ``month`` (Date, of use), ``gross`` (all but credits), ``one_time`` (the part of it that is a
        one-time purchase or a correction: no use of the month), ``credits``, ``net`` (gross + credits;
        Decimal; BilledCost), sorted.

    Raises
    ------
    CurrencyError
        When the rows are in several currencies.
    """
    when = pl.col("ChargePeriodStart").dt.date().dt.month_start()
    credit = pl.col("ChargeCategory") == "Credit"
    bought = (pl.col("ChargeCategory") == "Purchase") & (pl.col("ChargeFrequency") == "One-Time")
    once = bought.fill_null(False) | pl.col("ChargeClass").is_not_null()
    amount = pl.col("BilledCost")
    found = (
        costs.lazy()
        .filter(when <= month)
        .group_by(when.alias("month"))
        .agg(
            pl.col("BillingCurrency").unique().alias("currencies"),
            amount.filter(~credit).sum().cast(MONEY).alias("gross"),
            amount.filter(~credit & once).sum().cast(MONEY).alias("one_time"),
            amount.filter(credit).sum().cast(MONEY).alias("credits"),
        )
        .sort("month")
        .collect()
    )
    one_currency(found["currencies"].explode().drop_nulls().unique())
    return found.select(
        "month",
        "gross",
        "one_time",
        "credits",
        (pl.col("gross") + pl.col("credits")).cast(MONEY).alias("net"),
    )


def cliff(bill: pl.DataFrame, credits: pl.DataFrame, forecast: pl.DataFrame) -> Cliff:
    """Put credits until they end on top of a forecast of the bill without them.

    Parameters
    ----------
    bill : polars.DataFrame
        From `monthly_bill`.
    credits : polars.DataFrame
        From `credits_of`, of the same last month.
    forecast : polars.DataFrame
        Of the gross bill without what is one-time, as `finops_lab.forecasting.forecast` gives, for the months ahead.

    Returns
    -------
    Cliff
        A credit goes on at its pace until the month it ends, in its last month with what is left of
        the grant at most; one of which nobody knows the end goes on, and is among no ``ends``.

    Raises
    ------
    InputError
        The forecast begins elsewhere than after the bill.
    CurrencyError
        Credits are in several currencies.
    """
    one_currency(credits["currency"])
    last: date = max(bill["month"])
    ahead = forecast.sort("ds")
    if ahead.is_empty() or ahead["ds"][0] != add_months(last, 1):
        raise InputError(f"the forecast does not begin after {last:%Y-%m}", hint="forecast the gross bill")
    rows: list[tuple[object, ...]] = [
        (month, "billed", float(gross), None, None, once, credit, float(net))
        for month, gross, once, credit, net in bill.select(
            "month", "gross", "one_time", "credits", "net"
        ).iter_rows()
    ]
    left: dict[int, Decimal | None] = dict(enumerate(credits["left"]))
    for ds, gross, low, high in ahead.select("ds", "yhat", "lo_80", "hi_80").iter_rows():
        given = []
        for place, one in enumerate(credits.iter_rows(named=True)):
            if one["ended"] or one["a_month"] is None or (one["ends"] is not None and ds > one["ends"]):
                continue
            room = left[place]
            amount = one["a_month"] if room is None else max(one["a_month"], -max(room, Decimal(0)))
            left[place] = None if room is None else exact_sum([room, amount])
            given.append(amount)
        credit = exact_sum(given)
        net = None if gross is None else gross + float(credit)
        rows.append((ds, "forecast", gross, low, high, None, credit, net))
    found = credits.drop_nulls("ends").with_columns(pl.col("ends").dt.offset_by("1mo").alias("month"))
    ends = (
        found.group_by("month")
        .agg(
            pl.col("credit").sort().str.join(", "),
            (-pl.col("a_month").sum()).cast(MONEY).alias("a_month"),
            (pl.col("month") <= last).first().alias("passed"),
        )
        .sort("month")
    )
    return Cliff(credits, pl.DataFrame(rows, schema=AHEAD, orient="row"), ends)
