"""How soon a month's amount is known: the share of its final amount, by days after its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import polars as pl

from finops_lab.calendar import add_months, format_month, parse_month
from finops_lab.errors import InputError, each_name
from finops_lab.money import MONEY

__all__ = ["AGES", "maturity", "maturity_curve"]

# The ages that a review shows; `maturity` gives every day up to the last of them.
AGES = (1, 3, 7, 30)
_KEYS = ("x_ChargeMonth", "BillingCurrency", "ProviderName")
_METRICS = ("EffectiveCost", "BilledCost")


def maturity(
    versions: Mapping[date, pl.LazyFrame],
    month: date | str | Sequence[date | str],
    *,
    metric: str = "EffectiveCost",
    ages: Sequence[int] | None = None,
    today: date | None = None,
) -> pl.DataFrame:
    """Tell how much of a month's final amount was known so many days after the month's end.

    Parameters
    ----------
    versions : mapping of datetime.date to polars.LazyFrame
        By date of delivery, the rows of the `costs` contract as they were known at the end of that
        day, such as ``{day: lab.table("costs", as_of=day) for day in days}``. Leave out rows of
        files without a date of delivery: nobody knows when those were known, and they would seem to
        have been known from the start.
    month : datetime.date or str, or a sequence of them
        Months of use, such as ``2026-09``.
    metric : str
        ``EffectiveCost`` or ``BilledCost``.
    ages : sequence of int, optional
        Days after the last day of the month; 0 is that day itself. Default: 0 to 30.
    today : datetime.date, optional
        The day up to which deliveries were looked for. Default: the day of the newest version.

    Returns
    -------
    polars.DataFrame
        One row per ``x_ChargeMonth``, ``BillingCurrency``, ``ProviderName`` and ``age_days`` (Int64),
        sorted: ``day`` (Date), ``metric``, ``known`` (Decimal; the amount in the newest version of
        that day or before), ``final`` (Decimal; in the newest version of all), ``share`` (Float64;
        known divided by final, above 1 where the amount shrank later) and ``observed_days`` (Int64;
        the month's age on `today`, so whether ``final`` can be called final). A provider that had
        delivered nothing of the month while others had is known with 0. ``known`` is null before
        the first version and after `today`; ``share`` is null there and where ``final`` is 0.

    Raises
    ------
    InputError
        When there is no version, `today` is before the newest, or a month, an age or `metric` is wrong.

    Examples
    --------
    >>> from datetime import datetime
    >>> def costs(amount: int) -> pl.LazyFrame:
    ...     row = {"ChargePeriodStart": datetime(2026, 9, 5), "BillingCurrency": "USD"}
    ...     row |= {"ProviderName": "CloudOne", "EffectiveCost": amount}
    ...     return pl.LazyFrame([row], schema_overrides={"EffectiveCost": MONEY})
    >>> versions = {date(2026, 10, 1): costs(30), date(2026, 10, 4): costs(40)}
    >>> maturity(versions, "2026-09", ages=(0, 1, 3, 4))["share"].to_list()
    [None, 0.75, 0.75, 1.0]
    """
    months = [_month(m) for m in ([month] if isinstance(month, date | str) else month)]
    days = sorted(versions)
    if not days:
        raise InputError("maturity needs at least one version of the costs")
    if metric not in _METRICS:
        raise InputError(f"metric must be one of {', '.join(_METRICS)}, not {metric!r}")
    today = days[-1] if today is None else today
    if today < days[-1]:
        raise InputError(f"the newest version is of {days[-1]}, after today, {today}")
    ages = range(AGES[-1] + 1) if ages is None else ages
    if any(age < 0 for age in ages):
        raise InputError("ages are days after the month's end: 0 or more")
    names = [format_month(m) for m in months]
    sums = pl.collect_all([_amounts(versions[day], names, metric) for day in days])
    known = pl.concat(
        [amounts.with_columns(pl.lit(day).alias("_version")) for day, amounts in zip(days, sums, strict=True)]
    )
    zero = pl.lit(0).cast(MONEY)
    asked = [
        {"x_ChargeMonth": name, "age_days": age, "day": _end(m) + timedelta(days=age), "_end": _end(m)}
        for m, name in dict(zip(months, names, strict=True)).items()
        for age in sorted(set(ages))
    ]
    schema = {"x_ChargeMonth": pl.String, "age_days": pl.Int64, "day": pl.Date, "_end": pl.Date}
    version = pl.DataFrame({"_version": days}, schema={"_version": pl.Date}).with_columns(
        pl.col("_version").alias("_from")
    )
    grid = (
        pl.DataFrame(asked, schema=schema)
        .sort("day")
        .join_asof(version, left_on="day", right_on="_from", strategy="backward")
    )
    last = known.filter(pl.col("_version") == days[-1]).select(*_KEYS, pl.col("_amount").alias("final"))
    found = known.select(_KEYS).unique().join(grid, on="x_ChargeMonth")
    found = found.join(known, on=[*_KEYS, "_version"], how="left").join(last, on=_KEYS, how="left")
    seen = pl.col("_version").is_not_null() & (pl.col("day") <= today)
    final = pl.col("final").fill_null(zero)
    share = pl.col("known").cast(pl.Float64) / pl.when(pl.col("final") != 0).then("final").cast(pl.Float64)
    return (
        found.with_columns(
            pl.when(seen).then(pl.col("_amount").fill_null(zero)).cast(MONEY).alias("known"),
            final.cast(MONEY).alias("final"),
            pl.lit(metric).alias("metric"),
            (pl.lit(today) - pl.col("_end")).dt.total_days().alias("observed_days"),
        )
        .select(*_KEYS, "age_days", "day", "metric", "known", "final", share.alias("share"), "observed_days")
        .sort(*_KEYS, "age_days")
    )


def maturity_curve(
    maturities: pl.DataFrame, *, settled_days: int = AGES[-1], by: str | Sequence[str] = _KEYS[1:]
) -> pl.DataFrame:
    """Pool the maturity of several closed months into one curve.

    Parameters
    ----------
    maturities : polars.DataFrame
        What `maturity` returns for several months, of one metric.
    settled_days : int
        Only months that were observed for so many days after their end are used: before that
        their final amount is none.
    by : str or sequence of str
        Columns to draw one curve for.

    Returns
    -------
    polars.DataFrame
        One row per `by` and ``age_days``, sorted: ``share_median``, ``share_min``, ``share_max``
        (Float64, the median as the mean of the middle two) and ``months`` (Int64; months used).
        Ages at which no settled month has a share are absent.

    Raises
    ------
    InputError
        When the rows are of several metrics.

    Examples
    --------
    >>> row = {"BillingCurrency": "USD", "ProviderName": "CloudOne", "age_days": 1, "metric": "BilledCost"}
    >>> found = {"2026-06": 0.9, "2026-07": 0.8, "2026-08": 1.0}
    >>> rows = [row | {"x_ChargeMonth": m, "share": s, "observed_days": 45} for m, s in found.items()]
    >>> maturity_curve(pl.DataFrame(rows)).drop("BillingCurrency", "ProviderName").rows()
    [(1, 0.9, 0.8, 1.0, 3)]
    """
    by = each_name(by)
    metrics = maturities["metric"].unique().sort().to_list()
    if len(metrics) > 1:
        raise InputError(f"a curve is of one metric, not of {', '.join(metrics)}")
    share = pl.col("share")
    used = maturities.filter(share.is_not_null(), pl.col("observed_days") >= settled_days)
    return (
        used.group_by(*by, "age_days")
        .agg(
            share.median().alias("share_median"),
            share.min().alias("share_min"),
            share.max().alias("share_max"),
            pl.col("x_ChargeMonth").n_unique().cast(pl.Int64).alias("months"),
        )
        .sort(*by, "age_days")
    )


def _month(month: date | str) -> date:
    return parse_month(format_month(month) if isinstance(month, date) else month)


def _end(month: date) -> date:
    return add_months(month, 1) - timedelta(days=1)


def _amounts(costs: pl.LazyFrame, months: Sequence[str], metric: str) -> pl.LazyFrame:
    month = pl.col("ChargePeriodStart").dt.strftime("%Y-%m")
    return (
        costs.select(month.alias("x_ChargeMonth"), "BillingCurrency", "ProviderName", metric)
        .filter(pl.col("x_ChargeMonth").is_in(list(months)))
        .group_by(_KEYS)
        .agg(pl.col(metric).sum().cast(MONEY).alias("_amount"))
    )
