"""M12, cost per feature: what serving a feature costs, a call of it, and what its revenue leaves."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import polars as pl

from finops_lab.config import Activity
from finops_lab.errors import InputError, each_name
from finops_lab.money import MONEY
from finops_lab.unit_economics._by_dimension import PLACE
from finops_lab.unit_economics._earning import earned_months
from finops_lab.unit_economics._feature_sides import shared_out, side_by_side, whole
from finops_lab.unit_economics._sampled import WORDS, count_bounds, money_bounds
from finops_lab.unit_economics._telling import asked, first_reason
from finops_lab.unit_economics.activity import currency_of, spent
from finops_lab.unit_economics.figures import Asked, Definition, together, whole_and_by
from finops_lab.unit_economics.schemas import BY, COUNTED

__all__ = ["DEFINITIONS", "against_revenue", "feature_cost"]

_LEDGER, _VALUE, _CALLS = "ledger", "feature_value", "inference_requests"
_REVENUE_CURRENCY = "USD"
_EARNERS = ("feature", "customer")  # what revenue is told of
# Of one of them, all of its money and revenue are held against each other.
_ITSELF = {
    "compared": pl.col("amount"),
    "revenue_compared": pl.col("revenue"),
    "called": pl.col("amount"),
    "charged_in_all": pl.lit(0).cast(MONEY),
    "share_of_margin": pl.col("share"),
    "share_of_calls": pl.lit(None, pl.Float64),
}
_COLUMNS = (
    *PLACE,
    *("amount", "compared", "revenue", "revenue_compared", "called", "calls", "variance", "rows"),
    *("entries", "unknown", "periods", "unknown_periods", "charged", "charged_in_all"),
    *("share", "share_of_margin", "share_of_calls"),
)

MARGIN = Definition(
    "M12",
    "margin",
    "Margin of features",
    "ratio",
    "{currency}",
    "{currency}",
    "(revenue - inference money) / revenue; for everything, and by what is neither feature nor customer, of the"
    " features whose revenue is known and its alone",
    (_LEDGER, _VALUE),
    better="higher",
    nothing="there was no revenue",
)
MARGIN_MONEY = Definition(
    "M12",
    "margin_money",
    "Margin of features, in money",
    "{currency} per month",
    "{currency}",
    "months",
    "revenue - inference money",
    (_LEDGER, _VALUE),
    better="higher",
    nothing="it is not known",
)
ALLOCATED = Definition(
    "M12",
    "allocated",
    "Cost of features",
    "{currency} per month",
    "{currency}",
    "months",
    "inference money of the ledger, without tax, that names the feature; for everything, any feature",
    (_LEDGER,),
    nothing="it is not known",
)
REVENUE = Definition(
    "M12",
    "revenue",
    "Revenue of features",
    "{currency} per month",
    "{currency}",
    "months",
    "revenue_usd, of periods longer than a month by the days in each; for everything, of the features whose"
    " revenue is known",
    (_VALUE,),
    better="higher",
    nothing="it is not known",
)
PER_CALL = Definition(
    "M12",
    "allocated_over_all_calls",
    "Cost of a feature over all its calls",
    "{currency} per call",
    "{currency}",
    "calls",
    "all inference money of the feature / all its successful calls that a model answered; for everything, and by what"
    " is neither feature nor customer, of the features that ledger and requests both tell of",
    (_LEDGER, _CALLS),
    nothing="no call of it succeeded",
    bounds=WORDS,
)
DEFINITIONS: tuple[Definition, ...] = (MARGIN, MARGIN_MONEY, ALLOCATED, REVENUE, PER_CALL)


def feature_cost(
    entries: pl.LazyFrame | pl.DataFrame,
    feature_value: pl.LazyFrame | pl.DataFrame,
    requests: pl.LazyFrame | pl.DataFrame,
    *,
    rules: Sequence[Activity] = (),
    metric: str = "EffectiveCost",
    by: str | Sequence[str] = ("feature",),
    up_to: date | None = None,
) -> pl.DataFrame:
    """Set what features cost against their calls and their revenue, month by month.

    Parameters
    ----------
    entries : polars.LazyFrame or polars.DataFrame
        Rows of the `ledger` contract, in one currency.
    feature_value : polars.LazyFrame or polars.DataFrame
        Rows of `feature_value`. A period that is no whole month is split by the time in each month,
        largest remainder, so that the months add up to it.
    requests : polars.LazyFrame or polars.DataFrame
        `finops_lab.unit_economics.schemas.REQUEST_MONTHS`.
    rules : sequence of Activity
        ``[[activities]]`` of `finops.toml`.
    metric : str
        The cost column.
    by : str or sequence of str
        ``feature``, ``customer``, and ``team``, ``model``, ``variant`` or ``environment``: of one of
        these, money and calls that name a feature count, and the revenue of features that are of one
        value alone, by their money and by what their calls say. What a feature brings in that several
        share is nobody's.
    up_to : datetime.date, optional
        The last day known of a month that is not over: revenue of its later days is left out, as
        their cost is, by the time that a period has on either side.

    Returns
    -------
    polars.DataFrame
        `FIGURES` of the measures in `DEFINITIONS`. ``rows`` counts ledger entries, periods and rows
        of requests behind a figure. ``coverage`` of a value is the share of the month that its
        revenue tells of (with less than all of it, the margin has itself as ``lower``). For
        everything, and by ``team`` and the like, that of a margin is the share of inference money
        that is of features with revenue, or the share of revenue that is of features with inference
        money, whichever is less; that of ``revenue`` by ``team`` is the former, and that of the cost
        of a call the lesser of the shares of money and of calls that are of features with both.
        Revenue of which a part is unknown is unknown. Money and revenue that name no feature are not
        compared, and revenue, which is in USD, not with money in another currency. Of a sampled log,
        calls are estimates, and the cost of a call has bounds that hold for 95 of 100 samples.

    Raises
    ------
    CurrencyError
        When the ledger is in several currencies.
    InputError
        When `by` holds something else, or the metric is no cost column.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> from decimal import Decimal
    >>> from finops_lab.unit_economics.schemas import REQUEST_MONTHS
    >>> usual = dict.fromkeys(["CommitmentDiscountStatus", "x_team", "x_model", "x_variant", "x_feature",
    ...     "x_customer", "x_environment", "x_PoolId"])
    >>> usual |= {"x_ChargeMonth": "2026-10", "BillingCurrency": "USD", "ServiceCategory": "Compute",
    ...     "ServiceName": "Machines", "ChargeCategory": "Usage", "x_AllocationMethod": "tag"}
    >>> entries = pl.DataFrame([{**usual, "x_feature": "chat", "EffectiveCost": Decimal(30)}])
    >>> value = pl.DataFrame({"period_start": [datetime(2026, 10, 1, tzinfo=UTC)], "feature": ["chat"],
    ...     "period_end": [datetime(2026, 11, 1, tzinfo=UTC)], "customer": [None], "revenue_usd": [Decimal(40)]})
    >>> found = feature_cost(entries, value, pl.DataFrame(schema=REQUEST_MONTHS))
    >>> found.filter(pl.col("measure") == "margin").select("key", "value").rows()
    [(None, Decimal('0.250000000000000000')), ('chat', Decimal('0.250000000000000000'))]
    """
    by = tuple(dict.fromkeys(each_name(by)))
    if unknown := [name for name in by if name not in BY]:
        raise InputError(f"cost per feature is not told by {unknown[0]!r}", hint=f"one of {', '.join(BY)}")
    currency = currency_of(entries)
    names = list(dict.fromkeys(["feature", "customer", *by]))
    money = spent(entries, "inference", names, rules=rules, metric=metric).collect()
    ok, cached = pl.col("calls_ok"), pl.col("calls_cached")
    inferences = pl.when(ok > cached).then(ok - cached).otherwise(0).cast(COUNTED)
    off = (
        pl.col("variance_ok").fill_null(0) if "variance_ok" in requests.lazy().collect_schema() else pl.lit(0)
    )
    counted = {"calls": inferences, "variance": off.cast(COUNTED)}
    calls = requests.lazy().select("month", *names, "rows", **counted)
    calls = calls.group_by("month", *names).agg(pl.col("calls", "rows", "variance").sum())
    served, value = calls.collect(), feature_value.lazy().collect()
    earned = {name: earned_months(value, name, up_to) for name in _EARNERS}
    nothing = pl.lit(None, pl.String)
    of_features = side_by_side(money, earned["feature"], served, "feature")
    mixed = [of_features.with_columns(dimension=nothing, feature="key").with_columns(key=nothing)]
    if others := [name for name in by if name not in _EARNERS]:
        mixed.append(shared_out(money, earned["feature"], served, others))
    tables = [whole(pl.concat(mixed, how="diagonal"))]
    for name in [name for name in by if name in _EARNERS]:
        own = of_features if name == "feature" else side_by_side(money, earned[name], served, name)
        tables.append(own.with_columns(pl.lit(name).alias("dimension"), **_ITSELF))
    tables = [table.select(_COLUMNS) for table in tables]
    parts = _figures(_judged(pl.concat(tables), metric, currency), currency)
    # Revenue of the days that nothing tells of can only add.
    revenue = pl.col("measure").is_in([one.measure for one in (MARGIN, MARGIN_MONEY, REVENUE)])
    partly = revenue & pl.col("dimension").is_in(_EARNERS) & (pl.col("coverage") < 1)
    return together(parts, whole_and_by(by)).with_columns(
        pl.when(partly).then("value").otherwise("lower").alias("lower")
    )


def against_revenue(figures: pl.DataFrame | pl.LazyFrame) -> pl.DataFrame:
    """Return what features cost and brought in the months whose margin is known.

    Parameters
    ----------
    figures : polars.DataFrame or polars.LazyFrame
        `FIGURES` of `feature_cost` for everything.

    Returns
    -------
    polars.DataFrame
        Sorted by ``month``: ``cost``, ``revenue`` and what is ``left`` of it (Decimal), and ``ratio``,
        cost of revenue (Float64): the two parts of the margin.

    Examples
    --------
    >>> from datetime import date
    >>> from decimal import Decimal
    >>> margin = pl.DataFrame({"measure": ["margin"], "month": [date(2026, 10, 1)], "value": [Decimal("0.75")],
    ...     "numerator": [Decimal(6)], "denominator": [Decimal(8)]})
    >>> against_revenue(margin).select(pl.col("cost", "revenue", "left").cast(pl.Int64), "ratio").row(0)
    (2, 8, 6, 0.25)
    """
    left, revenue = pl.col("numerator"), pl.col("denominator")
    return (
        figures.lazy()
        .filter(pl.col("measure") == MARGIN.measure, pl.col("value").is_not_null(), revenue > 0)
        .select(
            "month",
            cost=(revenue - left).cast(MONEY),
            revenue=revenue,
            left=left,
            ratio=1 - pl.col("value").cast(pl.Float64),
        )
        .sort("month")
        .collect()
    )


def _judged(table: pl.DataFrame, metric: str, currency: str) -> pl.DataFrame:
    dimension, known = pl.col("dimension"), pl.col("revenue").is_not_null()
    of_many = ~dimension.is_in(_EARNERS).fill_null(False)
    alone = dimension.is_not_null() & of_many
    nobody = dimension.is_not_null() & pl.col("key").is_null()
    unnamed = (nobody, pl.format("names no {}: not compared", dimension))
    no_money = (pl.col("entries") == 0, "no inference money is allocated to it")
    unknown_money = (pl.col("unknown") > 0, f"{metric} is not known of all its charges")
    of_several = "its revenue is not known, or is of features that other {}s share"
    some = pl.format("revenue is unknown in {} of {} periods", "unknown_periods", "periods")
    compared, alike = pl.col("revenue_compared"), pl.lit(currency == _REVENUE_CURRENCY)
    priced = pl.col("unknown") == 0
    free = (pl.col("charged") == 0) & (pl.col("charged_in_all") > 0)
    return table.with_columns(
        pl.when(alike & priced).then(compared - pl.col("compared")).cast(MONEY).alias("left"),
        pl.when(alike).then(compared).alias("revenue_compared"),
        pl.when(alike).then(1).alias("one_compared"),
        pl.when(priced).then("amount").alias("amount"),
        pl.when(priced & ~free).then("called").alias("called"),
        pl.when(pl.col("rows") > 0).then("calls").alias("calls"),
        first_reason(no_money, unknown_money).alias("reason_of_cost"),
        first_reason(
            (~known & (pl.col("unknown_periods") > 0), some),
            (~known & alone, "no revenue is known of features that are its alone"),
            (~known, "no revenue is known"),
        ).alias("reason_of_revenue"),
        first_reason(
            unnamed,
            no_money,
            unknown_money,
            ((pl.col("rows") == 0) & of_many, "requests name none of the features that its money is for"),
            (pl.col("rows") == 0, "no calls of it are known"),
            (free, "of its money only what was free or credited names features that requests tell of"),
            (pl.col("called") < 0, "its credits are above its charges"),
        ).alias("reason_of_calls"),
        first_reason(
            unnamed,
            no_money,
            unknown_money,
            (compared.is_null() & alone, pl.format(of_several, dimension)),
            (compared.is_null(), "its revenue is not known"),
            (~alike, f"revenue is in {_REVENUE_CURRENCY} and costs are in {currency}"),
        ).alias("reason_of_margin"),
        pl.lit(1).alias("one"),
    )


def _figures(table: pl.DataFrame, currency: str) -> list[Asked]:
    ledger, periods, calls = pl.col("entries"), pl.col("periods"), pl.col("rows")
    share, of_margin, nothing = pl.col("share"), pl.col("share_of_margin"), pl.lit(None, pl.Float64)
    of_value = pl.when(pl.col("dimension").is_not_null()).then(share)
    kinds: tuple[tuple[Definition, str, str, pl.Expr, pl.Expr, str], ...] = (
        (MARGIN, "left", "revenue_compared", ledger + periods, of_margin, "reason_of_margin"),
        (MARGIN_MONEY, "left", "one_compared", ledger + periods, of_margin, "reason_of_margin"),
        (ALLOCATED, "amount", "one", ledger, nothing, "reason_of_cost"),
        (REVENUE, "revenue", "one", periods, of_value, "reason_of_revenue"),
        (PER_CALL, "called", "calls", ledger + calls, pl.col("share_of_calls"), "reason_of_calls"),
    )
    parts = []
    for one, top, below, rows, coverage, reason in kinds:
        picked = table.select(
            *PLACE,
            pl.col(top).alias("numerator"),
            pl.col(below).alias("denominator"),
            rows.alias("rows"),
            coverage.alias("coverage"),
            pl.col(reason).alias("reason"),
        )
        if one is PER_CALL:
            ends = money_bounds(picked["numerator"], *count_bounds(table, "calls", pl.col("variance")))
            known = pl.col("reason").is_null()
            picked = picked.with_columns(
                pl.when(known).then(end).alias(name)
                for end, name in zip(ends, ("lower", "upper"), strict=True)
            )
        told_in = _REVENUE_CURRENCY if one is REVENUE else currency
        parts.append(asked(picked, one, currency=told_in))
    return parts
