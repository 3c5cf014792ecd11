"""Cost to serve: what a feature or a customer costs, brings in and leaves, month by month."""

from __future__ import annotations

import decimal
from decimal import Decimal
from typing import Literal

import polars as pl

from finops_lab.calendar import parse_month
from finops_lab.contracts import AMOUNTS
from finops_lab.errors import CurrencyError, InputError
from finops_lab.money import MONEY, divided, one_currency

__all__ = ["cost_to_serve"]

_REVENUE_CURRENCY = "USD"


def cost_to_serve(
    entries: pl.DataFrame | pl.LazyFrame,
    feature_value: pl.DataFrame | pl.LazyFrame,
    *,
    by: Literal["feature", "customer"] = "feature",
    metric: str = "EffectiveCost",
    month: str | None = None,
) -> pl.DataFrame:
    """Set what a feature or customer costs against what it brings, per month of use.

    Parameters
    ----------
    entries : polars.DataFrame or LazyFrame
        Rows of the `ledger` contract, in one currency.
    feature_value : polars.DataFrame or LazyFrame
        Rows of the `feature_value` contract. Every period must lie within one calendar month: no
        month's revenue is guessed out of a longer period's.
    by : {"feature", "customer"}
        The dimension.
    metric : str
        The cost column.
    month : str, optional
        Only this month, such as ``2026-10``; all months by default.

    Returns
    -------
    polars.DataFrame
        One row per month and value, sorted: ``month``, ``feature`` or ``customer`` (null: the costs
        and revenue that name none, which are not compared), ``BillingCurrency`` (String), the metric
        under its own name, ``revenue_usd``, ``margin_usd`` (revenue less cost), ``units``, ``per_unit`` (cost per unit,
        divided in decimals and rounded once, half to even, to 18; all ``Decimal(38, 18)``),
        ``margin_share`` (Float64, margin over revenue), ``unit_name`` and ``note`` (String, why
        something is null). A sum of which a part is unknown is unknown, a ratio over nothing is null.

    Raises
    ------
    CurrencyError
        When the costs are in several currencies, or in another than the revenue's USD.
    InputError
        When `by`, `metric` or `month` is none, or a period crosses the end of a month.

    Examples
    --------
    >>> from datetime import datetime, timezone
    >>> entries = pl.DataFrame({"x_ChargeMonth": ["2026-10"], "x_feature": ["chat"], "BillingCurrency": ["USD"],
    ...     "EffectiveCost": pl.Series(["40"]).cast(MONEY)})
    >>> value = pl.DataFrame({"period_start": [datetime(2026, 10, 1, tzinfo=timezone.utc)],
    ...     "period_end": [datetime(2026, 11, 1, tzinfo=timezone.utc)], "feature": ["chat"],
    ...     "revenue_usd": pl.Series(["100"]).cast(MONEY), "units": pl.Series(["3"]).cast(MONEY),
    ...     "unit_name": ["answers"]})
    >>> row = cost_to_serve(entries, value).row(0, named=True)
    >>> str(row["margin_usd"].normalize()), row["margin_share"], str(row["per_unit"])
    ('6E+1', 0.6, '13.333333333333333333')
    """
    if by not in ("feature", "customer"):
        raise InputError(f"cost to serve is by feature or customer, not {by!r}")
    if metric not in AMOUNTS:
        raise InputError(f"metric must be one of {', '.join(AMOUNTS)}, not {metric!r}")
    if month is not None:
        parse_month(month)
    costs = entries.lazy().select(
        pl.col("x_ChargeMonth").alias("month"), pl.col(f"x_{by}").alias(by), "BillingCurrency", metric
    )
    if month is not None:
        costs = costs.filter(pl.col("month") == month)
    currency = one_currency(costs.select(pl.col("BillingCurrency").unique()).collect()["BillingCurrency"])
    spent = costs.group_by("month", by).agg(
        _whole(pl.col(metric)).alias(metric), pl.col(metric).null_count().alias("_unknown")
    )
    earned = _earned(_of_month(feature_value.lazy(), month), by)
    both = spent.join(earned, on=["month", by], how="full", coalesce=True, nulls_equal=True).collect()
    if both["revenue_usd"].count() and currency not in (None, _REVENUE_CURRENCY):
        raise CurrencyError(
            f"revenue in {_REVENUE_CURRENCY} and costs in {currency} cannot be set against each other",
            hint=f"convert the ledger to {_REVENUE_CURRENCY} first",
        )
    # Costs of nobody in particular and revenue of nobody in particular have nothing to do with each other.
    named = pl.col(by).is_not_null()
    both = both.with_columns(
        pl.when(named).then(pl.col("revenue_usd") - pl.col(metric)).cast(MONEY).alias("margin_usd"),
        pl.when(named).then(_note(metric)).otherwise(pl.lit(f"names no {by}: not compared")).alias("note"),
    )
    per_unit = [
        divided(cost, units) if value is not None else None
        for value, cost, units in both.select(by, metric, "units").iter_rows()
    ]
    shares = [_share(*pair) for pair in both.select("margin_usd", "revenue_usd").iter_rows()]
    return both.select(
        "month",
        by,
        pl.lit(currency, dtype=pl.String).alias("BillingCurrency"),
        metric,
        "revenue_usd",
        "margin_usd",
        "units",
        pl.Series("per_unit", per_unit, dtype=MONEY),
        pl.Series("margin_share", shares, dtype=pl.Float64),
        "unit_name",
        "note",
    ).sort("month", by, nulls_last=True)


def _of_month(value: pl.LazyFrame, month: str | None) -> pl.LazyFrame:
    """Give each period its month, and refuse those that have two."""
    start = pl.col("period_start").dt.convert_time_zone("UTC")
    value = value.with_columns(start.dt.strftime("%Y-%m").alias("month"))
    after = start.dt.month_start().dt.truncate("1d").dt.offset_by("1mo")
    end = pl.col("period_end").dt.convert_time_zone("UTC")
    if month is not None:
        first = pl.lit(month + "-01").str.to_datetime(time_zone="UTC")
        value = value.filter(start < first.dt.offset_by("1mo"), end > first)
    long = value.filter(end > after).sort("period_start", "period_end", "feature").head(1).collect()
    if long.height:
        row = long.row(0, named=True)
        raise InputError(
            f"the period from {row['period_start']:%Y-%m-%d} to {row['period_end']:%Y-%m-%d} of feature"
            f" {row['feature']!r} crosses the end of a month",
            file=row.get("source_file"),
            row=row.get("source_row"),
            hint="give revenue and units by month, or by shorter periods",
        )
    return value


def _earned(value: pl.LazyFrame, by: str) -> pl.LazyFrame:
    named = pl.col("unit_name").filter(pl.col("units").is_not_null())
    one_unit = named.n_unique() == 1
    return value.group_by("month", by).agg(
        _whole(pl.col("revenue_usd")).alias("revenue_usd"),
        pl.when(one_unit).then(_whole(pl.col("units"))).cast(MONEY).alias("units"),
        pl.when(one_unit).then(named.first()).alias("unit_name"),
        named.n_unique().alias("_units"),
        pl.col("units").null_count().alias("_no_units"),
        pl.col("revenue_usd").null_count().alias("_no_revenue"),
        pl.len().alias("_periods"),
    )


def _whole(amount: pl.Expr) -> pl.Expr:
    return pl.when((amount.null_count() == 0) & (amount.len() > 0)).then(amount.sum()).cast(MONEY)


def _note(metric: str) -> pl.Expr:
    def some(column: str, what: str) -> pl.Expr:
        return pl.when(pl.col(column) > 0).then(
            pl.format(what + " unknown in {} of {} periods", column, "_periods")
        )

    return pl.concat_str(
        pl.when(pl.col("_unknown").is_null()).then(pl.lit("no cost is allocated to it")),
        pl.when(pl.col("_unknown") > 0).then(pl.lit(f"{metric} unknown in part")),
        pl.when(pl.col("_periods").is_null()).then(pl.lit("no revenue or units are known")),
        some("_no_revenue", "revenue"),
        some("_no_units", "units"),
        pl.when(pl.col("_units") > 1).then(pl.lit("units of several kinds are not added")),
        separator="; ",
        ignore_nulls=True,
    ).replace("", None)


def _share(margin: Decimal | None, revenue: Decimal | None) -> float | None:
    if margin is None or not revenue:
        return None
    with decimal.localcontext(prec=80):
        return float(margin / revenue)
