"""Charges apart by how they go on: use and subscriptions are forecast, tax follows, the rest ends."""

from __future__ import annotations

import polars as pl

from finops_lab.errors import CurrencyError, InputError
from finops_lab.forecasting.chances import over_months
from finops_lab.forecasting.panel import VALUES

__all__ = ["components", "whole"]

_RECENT = 3  # months in a row with a purchase that make it a subscription
_TAXED = 12  # months that the share of tax is taken over
_TREATMENTS = {
    "usage": "forecast",
    "subscription": "forecast",
    "tax": "share",
    "purchase": "ends",
    "credit": "ends",
    "adjustment": "ends",
    "correction": "ends",
}


def components(
    entries: pl.DataFrame | pl.LazyFrame,
    by: str | None = "x_team",
    metric: str = "EffectiveCost",
    month: str = "x_ChargeMonth",
) -> pl.DataFrame:
    """Add up ledger entries per month, value and component, and say how each component goes on.

    Parameters
    ----------
    entries : polars.DataFrame or polars.LazyFrame
        Rows of the `ledger` contract, in one currency: ``BillingCurrency, ChargeCategory, ChargeClass,
        ProviderName, ServiceName``, `month`, `metric` and `by`.
    by : str or None
        The column whose values are the series; None for one series ``total``.
    metric : str
        A cost column: Decimal.
    month : str
        ``x_ChargeMonth``: a correction belongs to the month that it corrects. ``x_BillingMonth``: it is
        a component of its own.

    Returns
    -------
    polars.DataFrame
        A panel for `forecast`, with columns of its own beside it: ``unique_id`` (series and component),
        ``ds: Date``, ``y`` (Decimal; null where no cost is known), ``series``, ``component``,
        ``treatment``; sorted. From a component's first month on, a month in which others have charges
        is 0; one without any entry is missing. The components and their treatments:

        - ``usage``, and ``subscription`` (purchases of a service in each of the last three months):
          ``forecast``;
        - ``tax``: ``share``, of the former;
        - ``purchase`` (any other, such as a commitment paid upfront), ``credit``, ``adjustment`` and
          ``correction``: ``ends``; nothing in their past says that they go on.

    Raises
    ------
    CurrencyError
        The entries are in more than one currency.
    InputError
        A column is missing.

    Examples
    --------
    >>> from decimal import Decimal
    >>> bill = pl.DataFrame({"x_ChargeMonth": "2026-10", "ChargeCategory": ["Usage", "Tax"],
    ...     "BillingCurrency": "USD", "EffectiveCost": [Decimal(50), Decimal(5)], "x_team": "ads",
    ...     "ChargeClass": None, "ProviderName": "AWS", "ServiceName": "EC2"})
    >>> components(bill).select("unique_id", "treatment").rows()
    [('ads: tax', 'share'), ('ads: usage', 'forecast')]
    """
    frame = entries.lazy()
    there = frame.collect_schema().names()
    needed = [
        "BillingCurrency",
        "ChargeCategory",
        "ChargeClass",
        "ProviderName",
        "ServiceName",
        metric,
        month,
    ]
    for name in [*needed, *([by] if by else [])]:
        if name not in there:
            raise InputError("the ledger has no such column", column=name)
    corrects = (pl.col("ChargeClass") == "Correction") & (month != "x_ChargeMonth")
    service = ["series", "ProviderName", "ServiceName", "component"]
    amounts = (
        frame.select(
            *needed[:5],
            (pl.col(by).fill_null("unknown") if by else pl.lit("total")).alias("series"),
            pl.col(month).str.to_date("%Y-%m").alias("ds"),
            pl.col(metric).alias("y"),
            pl.when(corrects)
            .then(pl.lit("correction"))
            .otherwise(pl.col("ChargeCategory").str.to_lowercase())
            .alias("component"),
        )
        .group_by("BillingCurrency", *service, "ds")
        .agg(pl.when(pl.col("y").count() > 0).then(pl.col("y").sum()).alias("y"))
        .collect()
    )
    currencies = amounts["BillingCurrency"].unique().sort().to_list()
    if len(currencies) > 1:
        raise CurrencyError(
            f"charges in {' and '.join(currencies)} cannot be added", hint="convert them first"
        )
    recent = amounts["ds"].unique().sort()[-_RECENT:]
    paid = pl.col("ds").filter(pl.col("y") != 0)
    goes_on = (pl.col("component") == "purchase") & (
        paid.is_in(recent.implode()).sum().over(service) == _RECENT
    )
    summed = (
        amounts.with_columns(
            component=pl.when(goes_on).then(pl.lit("subscription")).otherwise("component"),
        )
        .group_by("series", "component", "ds")
        .agg(pl.when(pl.col("y").count() > 0).then(pl.col("y").sum()).alias("y"))
    )
    first = summed.group_by("series", "component").agg(pl.col("ds").min().alias("first"))
    return (
        first.join(summed.select("ds").unique(), how="cross")
        .filter(pl.col("ds") >= pl.col("first"))
        .join(summed.with_columns(here=True), on=["series", "component", "ds"], how="left")
        .select(
            pl.concat_str("series", "component", separator=": ").alias("unique_id"),
            "ds",
            pl.when("here").then("y").otherwise(pl.lit(0, summed.schema["y"])).alias("y"),
            "series",
            "component",
            pl.col("component").replace_strict(_TREATMENTS, default="ends").alias("treatment"),
        )
        .sort("unique_id", "ds")
    )


def whole(ahead: pl.DataFrame, panel: pl.DataFrame) -> pl.DataFrame:
    """Put the forecasts of components together to forecasts of their series.

    The components whose treatment is ``forecast`` are added, bounds too (they belong to one owner);
    tax goes on top at its share of them in the last twelve months. Credits, adjustments, corrections
    and purchases that ended add nothing: a planned one is a labelled event of the usage.

    Parameters
    ----------
    ahead : polars.DataFrame
        What `forecast` gave for the rows of `panel` whose treatment is ``forecast``.
    panel : polars.DataFrame
        What `components` gave.

    Returns
    -------
    polars.DataFrame
        ``unique_id`` (the series), ``ds``, ``yhat`` and bounds (Float64), sorted. A series without a
        component to forecast has no rows.

    Raises
    ------
    InputError
        A column is missing.
    """
    for name in ("unique_id", "series", "component", "treatment", "ds", "y"):
        if name not in panel.columns:
            raise InputError("the panel of components has no such column", column=name)
    last = panel["ds"].unique().sort()[-_TAXED:]
    recent = panel.filter(pl.col("ds").is_in(last.implode())).with_columns(pl.col("y").cast(pl.Float64))
    taxed = pl.col("y").filter(pl.col("treatment") == "forecast").sum()
    shares = recent.group_by("series").agg(
        pl.when(taxed > 0)
        .then(pl.col("y").filter(pl.col("component") == "tax").sum() / taxed)
        .otherwise(0.0)
        .alias("share")
    )
    owners = panel.select("unique_id", "series").unique()
    return (
        over_months(ahead.join(owners, on="unique_id"), by=("series", "ds"))
        .join(shares, on="series")
        .select(
            pl.col("series").alias("unique_id"), "ds", *[pl.col(n) * (1 + pl.col("share")) for n in VALUES]
        )
        .sort("unique_id", "ds")
    )
