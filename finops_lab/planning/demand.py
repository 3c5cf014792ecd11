"""Demand for what a commitment pays for: slots of time from the bill, and the months ahead."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl

from finops_lab.calendar import add_months, days_in_month
from finops_lab.config import check_columns, holds
from finops_lab.errors import InputError, NoDataError
from finops_lab.forecasting.chances import over_months, quantile_at
from finops_lab.money import MONEY, divided, exact_sum, one_currency, split

__all__ = ["SLOTS", "ahead", "ahead_totals", "monthly_panel", "price_of", "rates_of", "slots", "without_held"]

# A slot is an hour where the bill tells hours, else a day. `quantity` is of the whole slot.
SLOTS: dict[str, pl.DataType | type[pl.DataType]] = {
    "start": pl.Datetime("us", "UTC"),
    "hours": pl.Int64,
    "quantity": MONEY,
    "contracted": MONEY,
}
_HOUR, _DAY = 1, 24
_NODES = 10  # equally likely forecasts that stand for all
_POINTS = 200  # of the shape of a month; more are put together by neighbours
_PLACES = 6  # a forecast is a statistic: as demand it keeps so many decimals
_MONTH = "_month"


def slots(
    costs: pl.LazyFrame | pl.DataFrame, where: Mapping[str, tuple[str, ...]], *, of: str = "quantity"
) -> pl.DataFrame:
    """Return how much was used of what a commitment can pay for, hour by hour or day by day.

    Parameters
    ----------
    costs : polars.LazyFrame or polars.DataFrame
        Rows of the `costs` contract.
    where : mapping
        Columns and the values that rows must have, as in a dimension's rule.
    of : {"quantity", "money"}
        Count ``ConsumedQuantity`` (of one ``ConsumedUnit``; hours of machines, tokens) or
        ``ContractedCost``: what the use costs without the commitment.

    Returns
    -------
    polars.DataFrame
        `SLOTS`, in order, every slot of every month from the first to the last: one without use
        has 0. ``contracted`` is the use at agreed prices (Decimal; null where a row does not say).
        Only charges of category Usage count, and no unused commitment or correction.

    Raises
    ------
    NoDataError
        No row fits.
    InputError
        Rows count in several units, or do not tell what is counted.
    CurrencyError
        Rows are in several currencies.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> day = {"ChargePeriodStart": datetime(2026, 10, 1, tzinfo=UTC), "ChargeCategory": "Usage", "SkuId": "gpu",
    ...     "ChargePeriodEnd": datetime(2026, 10, 2, tzinfo=UTC), "ChargeClass": None, "BillingCurrency": "USD",
    ...     "CommitmentDiscountStatus": None, "ConsumedUnit": "Hours", "ConsumedQuantity": Decimal(48),
    ...     "ContractedCost": Decimal(96)}
    >>> found = slots(pl.DataFrame([day]), {"SkuId": ("gpu",)})
    >>> found.height, found["hours"][0], int(found["quantity"][0]), int(found["quantity"][1])
    (31, 24, 48, 0)
    """
    if of not in ("quantity", "money"):
        raise InputError(f"demand is counted by quantity or money, not by {of!r}")
    check_columns(where, costs.lazy().collect_schema().names(), "`where` of [[commitments]]")
    counted = pl.col("ConsumedQuantity" if of == "quantity" else "ContractedCost")
    used = (
        (pl.col("ChargeCategory") == "Usage")
        & pl.col("ChargeClass").is_null()
        & (pl.col("CommitmentDiscountStatus").fill_null("") != "Unused")
    )
    rows = (
        costs.lazy()
        .filter(used, holds(where))
        .group_by("ChargePeriodStart", "ChargePeriodEnd")
        .agg(
            pl.col("ConsumedUnit").drop_nulls().unique().sort().alias("units"),
            pl.col("BillingCurrency").unique().alias("currencies"),
            counted.sum().cast(MONEY).alias("quantity"),
            counted.null_count().alias("unknown"),
            pl.when(pl.col("ContractedCost").null_count() == 0)
            .then(pl.col("ContractedCost").sum())
            .cast(MONEY)
            .alias("contracted"),
        )
        .sort("ChargePeriodStart", "ChargePeriodEnd")
        .collect()
    )
    said = ", ".join(f"{name} = {' or '.join(values)}" for name, values in where.items())
    if rows.is_empty():
        raise NoDataError(f"no use on the bill fits {said}", hint="look at `where` of [[commitments]]")
    one_currency(rows["currencies"].explode().unique())
    units = rows["units"].explode().drop_nulls().unique().sort().to_list()
    if of == "quantity" and len(units) != 1:
        raise InputError(
            f"use that fits {said} is counted in {', '.join(units) or 'no unit'}",
            hint="narrow `where` to one ConsumedUnit",
        )
    if rows["unknown"].sum():
        name = counted.meta.output_name()
        raise InputError(f"a charge that fits {said} does not say it", column=name)
    return _filled(_spread(rows))


def _spread(rows: pl.DataFrame) -> pl.DataFrame:
    """Give charges of more than a day to their days in equal parts, and name the slots."""
    hours = (pl.col("ChargePeriodEnd") - pl.col("ChargePeriodStart")).dt.total_seconds() / 3600
    rows = rows.with_columns(hours.alias("_hours"), pl.col("ChargePeriodStart").alias("start"))
    fine = rows["_hours"].max() <= _HOUR  # type: ignore[operator]
    short = rows.filter(pl.col("_hours") <= _DAY).select("start", "quantity", "contracted")
    parts = [short]
    for start, end, quantity, contracted in (
        rows.filter(pl.col("_hours") > _DAY)
        .select("ChargePeriodStart", "ChargePeriodEnd", "quantity", "contracted")
        .iter_rows()
    ):
        days = pl.datetime_range(start, end, "1d", closed="left", eager=True, time_zone="UTC")
        even = [1] * len(days)
        own = None if contracted is None else split(contracted, even)
        columns = {"start": days, "quantity": split(quantity, even), "contracted": own}
        parts.append(pl.DataFrame(columns, schema={n: short.schema[n] for n in columns}))
    width = "1h" if fine else "1d"
    return (
        pl.concat(parts)
        .group_by(pl.col("start").dt.truncate(width))
        .agg(
            pl.lit(_HOUR if fine else _DAY, pl.Int64).alias("hours"),
            pl.col("quantity").sum(),
            pl.when(pl.col("contracted").null_count() == 0).then(pl.col("contracted").sum()),
        )
        .select(pl.col(name).cast(kind) for name, kind in SLOTS.items())
        .sort("start")
    )


def _filled(found: pl.DataFrame) -> pl.DataFrame:
    months = _months(found)
    hours = int(found["hours"][0])
    begin, end = (datetime(m.year, m.month, 1, tzinfo=UTC) for m in (months[0], add_months(months[-1], 1)))
    every = pl.datetime_range(begin, end, f"{hours}h", closed="left", eager=True)
    whole = pl.DataFrame({"start": every.cast(SLOTS["start"])})
    zero = pl.lit(Decimal(0), MONEY)
    there = pl.col("_there").fill_null(False)
    return (
        whole.join(found.with_columns(pl.lit(True).alias("_there")), on="start", how="left")
        .with_columns(
            pl.lit(hours, pl.Int64).alias("hours"),
            pl.col("quantity").fill_null(zero),
            pl.when(there).then("contracted").otherwise(zero).alias("contracted"),
        )
        .select(list(SLOTS))
        .sort("start")
    )


def rates_of(found: pl.DataFrame) -> pl.DataFrame:
    """Return slots as demand: ``start``, ``quantity`` (Decimal, of the slot) and ``weight`` (its hours)."""
    return found.select("start", "quantity", pl.col("hours").alias("weight"))


def monthly_panel(found: pl.DataFrame, name: str = "demand") -> pl.DataFrame:
    """Return what slots add up to by month, as a panel to forecast: ``unique_id, ds, y``."""
    month = pl.col("start").dt.date().dt.month_start().alias("ds")
    sums = found.group_by(month).agg(pl.col("quantity").sum().cast(pl.Float64).alias("y")).sort("ds")
    return sums.select(pl.lit(name).alias("unique_id"), "ds", "y")


def ahead(
    found: pl.DataFrame, forecast: pl.DataFrame, *, p: float | None = None, shape_months: int = 3
) -> pl.DataFrame:
    """Return the demand of the months ahead: the shape of the last months times the forecast.

    Parameters
    ----------
    found : polars.DataFrame
        `SLOTS`; the last `shape_months` of them give the shape of a month.
    forecast : polars.DataFrame
        Of `monthly_panel`, as `finops_lab.forecasting.forecast` gives, for the months ahead.
    p : float, optional
        Take every month's amount that is not exceeded with this probability. Without it ten
        equally likely forecasts stand for all, each of them too low or too high in all months
        alike: errors of one series stay together.
    shape_months : int
        Months that the shape is of.

    Returns
    -------
    polars.DataFrame
        ``ds`` (Date), ``demand`` (Decimal, an hour; rounded to 6 decimals), ``weight`` (Int64).

    Raises
    ------
    InputError
        The forecast has no bounds.
    """
    shape = _shape(found, shape_months)
    known = forecast.drop_nulls("yhat")
    if known.height < forecast.height or known.is_empty():
        raise InputError("no demand can be forecast from this history", hint="it needs months on the bill")
    bounds = known.with_columns(pl.col("lo_80", "hi_80", "lo_95", "hi_95").fill_null(pl.col("yhat")))
    levels = [p] if p is not None else [(i + 0.5) / _NODES for i in range(_NODES)]
    length = [days_in_month(ds) * _DAY for ds in known["ds"]]
    months = pl.concat(
        quantile_at(bounds, level, "amount").select(
            "ds", pl.col("amount").clip(0), pl.Series("_hours", length)
        )
        for level in levels
    )
    demand = (pl.col("amount") / pl.col("_hours") * pl.col("share")).round(_PLACES)
    # The shape weighs as much in every month, so that a month counts by its hours.
    return (
        months.join(shape, how="cross")
        .select(
            "ds",
            demand.cast(pl.Decimal(38, _PLACES)).cast(MONEY).alias("demand"),
            (pl.col("weight") * pl.col("_hours")).alias("weight"),
        )
        .group_by("ds", "demand")
        .agg(pl.col("weight").sum().cast(pl.Int64))
        .sort("ds", "demand")
    )


def _shape(found: pl.DataFrame, months: int) -> pl.DataFrame:
    """Return demand as shares of the mean hour of its month, with the hours of each."""
    month = pl.col("start").dt.date().dt.month_start().alias(_MONTH)
    some = found.with_columns(month).sort("start")
    last = add_months(_months(found)[-1], 1 - months)
    some = some.filter(pl.col(_MONTH) >= last)
    rate = pl.col("quantity").cast(pl.Float64) / pl.col("hours")
    mean = pl.col("quantity").cast(pl.Float64).sum().over(_MONTH) / pl.col("hours").sum().over(_MONTH)
    shares = (
        some.with_columns(pl.when(mean > 0).then(rate / mean).otherwise(1.0).alias("share"))
        .select("share", pl.col("hours").alias("weight"))
        .sort("share")
    )
    if shares.height > _POINTS:
        place = pl.int_range(pl.len()) * _POINTS // pl.len()
        shares = (
            shares.group_by(place.alias("_place"), maintain_order=True)
            .agg(pl.col("share").mean(), pl.col("weight").sum())
            .drop("_place")
        )
    return shares


def ahead_totals(forecast: pl.DataFrame, *, p: float | None = None, nodes: int = 100) -> pl.DataFrame:
    """Return the demand of all months ahead together, for what is used up until a term ends.

    Parameters
    ----------
    forecast, p
        As for `ahead`.
    nodes : int
        Equally likely totals that stand for all.

    Returns
    -------
    polars.DataFrame
        ``demand`` (Decimal) and ``weight`` (Int64, 1).
    """
    whole = over_months(forecast.with_columns(pl.lit("all").alias("unique_id")))
    if whole["yhat"].null_count() or whole.is_empty():
        raise InputError("no demand can be forecast from this history", hint="it needs months on the bill")
    whole = whole.with_columns(pl.col("lo_80", "hi_80", "lo_95", "hi_95").fill_null(pl.col("yhat")))
    levels = [p] if p is not None else [(i + 0.5) / nodes for i in range(nodes)]
    totals = [max(0.0, quantile_at(whole, level, "amount")["amount"][0]) for level in levels]
    amounts = pl.Series("demand", totals, pl.Float64).round(_PLACES).cast(pl.Decimal(38, _PLACES)).cast(MONEY)
    return pl.DataFrame({"demand": amounts, "weight": pl.Series([1] * len(totals), dtype=pl.Int64)})


def without_held(demand: pl.DataFrame, held: pl.DataFrame, *, month: str = "ds") -> pl.DataFrame:
    """Take what is covered already off the demand of the months in which it is held.

    Parameters
    ----------
    demand : polars.DataFrame
        With `month` (Date) and ``demand``, such as `ahead`.
    held : polars.DataFrame
        ``covers`` (Decimal, units of demand an hour) and ``last`` (Date, the last day; null is open).

    Returns
    -------
    polars.DataFrame
        The demand above it, never below 0. A commitment that ends within a month counts for none
        of it.

    Examples
    --------
    >>> months = [date(2026, 10, 1), date(2026, 11, 1)]
    >>> demand = pl.DataFrame({"ds": months, "demand": [Decimal(9)] * 2, "weight": [1, 1]})
    >>> held = pl.DataFrame({"covers": [Decimal(4)], "last": [date(2026, 10, 31)]})
    >>> [int(left) for left in without_held(demand, held)["demand"]]
    [5, 9]
    """
    total = pl.lit(Decimal(0), MONEY)
    for covers, last in held.select("covers", "last").iter_rows():
        there = pl.lit(True) if last is None else pl.col(month).dt.month_end() <= last
        total = total + pl.when(there).then(pl.lit(covers, MONEY)).otherwise(pl.lit(Decimal(0), MONEY))
    rest = (pl.col("demand").cast(MONEY) - total).cast(MONEY)
    return demand.with_columns(
        pl.when(rest > 0).then(rest).otherwise(pl.lit(Decimal(0), MONEY)).alias("demand")
    )


def price_of(found: pl.DataFrame, months: int = 3) -> Decimal | None:
    """Return what a unit cost at agreed prices in the last months; None where the bill does not say."""
    last = add_months(_months(found)[-1], 1 - months)
    some = found.filter(pl.col("start").dt.date() >= last, pl.col("quantity") > 0)
    if some["contracted"].null_count():
        return None
    pairs = some.select("contracted", "quantity")
    paid, used = (exact_sum(pairs[name]) for name in pairs.columns)
    return divided(paid, used)


def _months(found: pl.DataFrame) -> list[date]:
    """Return the months of slots, in order."""
    return sorted(set(found["start"].dt.date().dt.month_start()))
