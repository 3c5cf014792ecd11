"""What an event is made of: actual and expected of its finest slices, exactly.

What is expected of a slice is the mean of the same weekdays (or hours of the week) of the weeks before,
or a forecast that comes with the entries. It is worked out for the finest slices, the leaves, and added
up from there: so the parts of any dimension add up to the whole to the last decimal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl

from finops_lab.anomalies.event import SCOPES
from finops_lab.anomalies.explain_baseline import GROUP, called, levelled, usual
from finops_lab.anomalies.panel import DIMENSIONS as OF_PANEL
from finops_lab.errors import InputError, NoDataError
from finops_lab.money import MONEY, exact_sum, one_currency

__all__ = ["DIMENSIONS", "GROUP", "MARK", "SPAN", "Leaves", "in_spans", "leaves", "span_of"]

# What an explanation may name, the broad before the narrow, with the columns that say it: the first
# that the entries have. Telemetry says some of it in snake_case.
DIMENSIONS: dict[str, tuple[str, ...]] = {
    "provider": (OF_PANEL["provider"], "provider"),
    "service": (OF_PANEL["service"],),
    "account": (OF_PANEL["account"], "SubAccountId"),
    "team": (OF_PANEL["team"], "team"),
    "product": (OF_PANEL["product"],),
    "feature": (OF_PANEL["feature"], "feature"),
    "customer": (OF_PANEL["customer"], "customer"),
    "environment": (OF_PANEL["environment"], "environment"),
    "region": (OF_PANEL["region"], "RegionId", "region"),
    "model": (OF_PANEL["model"], "model"),
    "variant": ("x_variant", "variant"),
    "pool": ("x_PoolId", "pool_id"),
    "resource": ("ResourceName", "ResourceId"),
    "machine type": ("x_InstanceType", "instance_type"),
    "SKU": ("SkuId", "SkuMeter"),
    "category": (OF_PANEL["category"],),
    "allocation": ("x_AllocationMethod",),
}
# Columns that `in_spans` adds: the number of the span, dimensions behind a mark of their own, and what
# the resource's name has in common with those of its kind.
SPAN, MARK = "_span", "_at_"
_MOMENTS = ("x_ChargeDate", "ChargePeriodStart", "day", "ts", "ts_start")
_GRAINS = {"day": timedelta(days=1), "hour": timedelta(hours=1), "5m": timedelta(minutes=5)}
_WEEK, _UNIT = timedelta(days=7), timedelta(microseconds=1)
# Dates and long numbers, hashes of pods and the like, and a count at the end.
_NUMBERS = r"\d{4,}|\b[a-f]*\d[0-9a-f]{5,}\b|\d+$"
_Frame = pl.LazyFrame | pl.DataFrame


@dataclass(frozen=True)
class Leaves:
    """The finest slices of an event, with what they cost and what was expected of them.

    Attributes
    ----------
    frame : polars.DataFrame
        One row per leaf, sorted: a column (String) per dimension, ``actual`` and ``expected``
        (Decimal(38, 18)), ``before`` (list of Float64: each span of the baseline, the newest first).
        Resources whose names are made anew each time are called by what their names have in common,
        such as ``retrain-*``; ``_resource`` keeps the full name.
    dimensions : tuple of str
        Names of `DIMENSIONS` that the entries tell, the broad before the narrow.
    currency : str, optional
        Of the amounts; None where they are no money.
    spans : tuple of int
        Spans that the baseline is the mean of, 1 is the one before the event; none where a forecast
        came with the entries.
    """

    frame: pl.DataFrame
    dimensions: tuple[str, ...]
    currency: str | None
    spans: tuple[int, ...]

    @property
    def actual(self) -> Decimal:
        """All leaves together."""
        return exact_sum(self.frame["actual"].to_list())

    @property
    def expected(self) -> Decimal:
        """What was expected of all leaves together."""
        return exact_sum(self.frame["expected"].to_list())

    @property
    def excess(self) -> Decimal:
        """Actual less expected."""
        return exact_sum([self.actual, self.expected.copy_negate()])


def span_of(event: Mapping[str, Any]) -> tuple[datetime, datetime]:
    """Return begin and end, exclusive and without zone, of an event of the events frame.

    Examples
    --------
    >>> begin, end = span_of({"first": datetime(2026, 9, 19), "last": datetime(2026, 9, 23), "grain": "day"})
    >>> (end - begin).days
    5
    """
    first, last = (_plain(event[name]) for name in ("first", "last"))
    return first, last + _GRAINS[event.get("grain") or "day"]


def _plain(moment: date | datetime) -> datetime:
    if not isinstance(moment, datetime):
        return datetime(moment.year, moment.month, moment.day)
    return moment.replace(tzinfo=None)  # events are in UTC


def in_spans(
    event: Mapping[str, Any],
    entries: _Frame,
    *,
    categories: Sequence[str] | None = ("Usage",),
    everything: bool = False,
) -> pl.LazyFrame:
    """Keep the entries of an event's slice and say which span of time each is of.

    Parameters
    ----------
    event, entries, categories
        As `leaves`.
    everything : bool
        Keep those of other slices too.

    Returns
    -------
    polars.LazyFrame
        The rows with ``_span`` (Int32: 0 the event, 1 the same weekdays before it and so on, null in
        between), ``_at_<dimension>`` (String) for every dimension that the entries tell, and ``_group``
        (String), the resource's name with ``*`` for its numbers.

    Raises
    ------
    InputError
        No moment, or the event's dimension is not told.
    """
    frame = entries.lazy()
    schema = frame.collect_schema()
    moment = next((column for column in _MOMENTS if column in schema), None)
    if moment is None:
        raise InputError(f"entries have no moment: none of {', '.join(_MOMENTS)}")
    columns = {name: expr for name in DIMENSIONS if (expr := _named(name, schema)) is not None}
    conditions = [] if everything else _scope(event, columns, schema)
    if categories and "ChargeCategory" in schema:
        conditions.append(pl.col("ChargeCategory").is_in(list(categories)))
    if "ChargeClass" in schema:
        conditions.append(pl.col("ChargeClass").is_null())
    begin, end = span_of(event)
    length, step = (one // _UNIT for one in (end - begin, _WEEK * -(-(end - begin) // _WEEK)))
    at = pl.col(moment).cast(pl.Datetime("us", "UTC") if _zoned(schema[moment]) else pl.Datetime("us"))
    offset = (at.dt.replace_time_zone(None) - begin).dt.total_microseconds()
    number = pl.when(offset % step < length).then(-(offset // step)).cast(pl.Int32)
    told = [expr.alias(f"{MARK}{name}") for name, expr in columns.items()]
    told += [columns["resource"].str.replace_all(_NUMBERS, "*").alias(GROUP)] if "resource" in columns else []
    return (frame.filter(*conditions) if conditions else frame).with_columns(number.alias(SPAN), *told)


def _zoned(kind: pl.DataType) -> bool:
    return isinstance(kind, pl.Datetime) and kind.time_zone is not None


def _named(dimension: str, schema: pl.Schema) -> pl.Expr | None:
    column = next((name for name in DIMENSIONS[dimension] if name in schema), None)
    return None if column is None else pl.col(column).cast(pl.String)


def _scope(event: Mapping[str, Any], columns: Mapping[str, pl.Expr], schema: pl.Schema) -> list[pl.Expr]:
    """Return what must hold of the entries that the event is of."""
    pinned = {name: event[column] for name, column in SCOPES.items() if event.get(column) is not None}
    names = [one for one in str(event.get("dimension") or "total").split(" / ") if one != "total"]
    value = event.get("value")
    values = [value] if len(names) == 1 else str(value).split(" / ")
    if len(names) == len(values):
        pinned |= dict(zip(names, values, strict=True))
    if unknown := [name for name in pinned if name not in columns]:
        raise InputError(
            f"the event is of a {unknown[0]}, which the entries do not tell",
            hint=f"they tell {', '.join(columns) or 'no dimension'}",
        )
    conditions = [columns[name].eq_missing(pl.lit(one, pl.String)) for name, one in pinned.items()]
    if event.get("BillingCurrency") and "BillingCurrency" in schema:
        conditions.append(pl.col("BillingCurrency") == event["BillingCurrency"])
    return conditions


def leaves(
    event: Mapping[str, Any],
    entries: _Frame,
    *,
    metric: str | None = None,
    expected: str | None = None,
    weeks: int = 6,
    categories: Sequence[str] | None = ("Usage",),
) -> Leaves:
    """Add up what an event is made of, and what was expected of it, per finest slice.

    Parameters
    ----------
    event : mapping
        A row of the events frame.
    entries : polars.LazyFrame or polars.DataFrame
        The `ledger` contract, bill rows with dimensions, or telemetry: a moment (``x_ChargeDate``,
        ``ChargePeriodStart``, ``day`` or ``ts``), the metric, any columns of `DIMENSIONS`.
    metric : str, optional
        Column to add up; the event's by default.
    expected : str, optional
        Column with a forecast of the metric. By default the weeks before are the baseline.
    weeks : int
        Spans of the weeks before that the baseline is the mean of, as far as there are entries.
    categories : sequence of str, optional
        Values of ``ChargeCategory`` that count, where the entries tell it; None takes all.
        Corrections never count: they speak of other days.

    Returns
    -------
    Leaves

    Raises
    ------
    InputError
        A missing column, an unknown dimension, or no entries before the event to hold it against.
    NoDataError
        No entries in the event's slice, neither in its time nor before.
    CurrencyError
        The event names no currency and the entries are in several.

    Notes
    -----
    An event of less than a week is held against the same weekdays of the weeks before, a longer one
    against spans of whole weeks. Spans of less than half or more than double the usual are left out:
    they were events themselves. Where the detector's expectation of the whole is near to that mean
    (a third off at most), all leaves are brought to its level: growth has no slice. Without one, a
    trend that the weeks agree on is followed (median of pairwise slopes, Theil-Sen).

    Examples
    --------
    >>> days = [date(2026, 10, d) for d in (5, 12, 19, 26)]
    >>> ledger = pl.DataFrame({"x_ChargeDate": days * 2, "ServiceName": ["A"] * 4 + ["B"] * 4,
    ...     "EffectiveCost": [10, 12, 11, 11, 5, 5, 5, 35], "BillingCurrency": "USD"})
    >>> event = {"metric": "EffectiveCost", "first": days[3], "last": days[3], "dimension": "total"}
    >>> found = leaves(event, ledger)
    >>> found.frame.select("service", pl.col("actual", "expected").cast(pl.Int64)).rows()
    [('A', 11, 11), ('B', 35, 5)]
    """
    name = metric or str(event["metric"])
    schema = entries.lazy().collect_schema()
    for column in (name, *([expected] if expected else [])):
        if column not in schema:
            raise InputError(
                "the entries have no such column", column=column, hint="say which column by `metric`"
            )
    rows = in_spans(event, entries, categories=categories)
    marked = [column for column in rows.collect_schema() if column.startswith(MARK) or column == GROUP]
    currency = ["BillingCurrency"] if "BillingCurrency" in schema else []
    sums = [pl.col(name).cast(MONEY).sum().alias("amount")]
    sums += [pl.col(expected).cast(MONEY).sum().alias("forecast")] if expected else []
    asked = pl.col(SPAN).is_between(0, 0 if expected else weeks)
    everybody = in_spans(event, entries, categories=categories, everything=True)
    found, seen = pl.collect_all(
        [
            rows.filter(asked).group_by(SPAN, *currency, *marked).agg(sums),
            everybody.select(SPAN).filter(pl.col(SPAN).is_between(1, weeks)).unique().sort(SPAN),
        ]
    )
    if found.is_empty():
        raise NoDataError("no entries of the event's slice, neither in its time nor before")
    code = one_currency(found["BillingCurrency"]) if currency else None
    found = found.rename({column: column.removeprefix(MARK) for column in marked})
    names = [column.removeprefix(MARK) for column in marked if column != GROUP]
    by: list[str | pl.Expr] = [column.removeprefix(MARK) for column in marked]
    by = by or [pl.lit(0).alias("_all")]
    if expected:
        both = found.group_by(by).agg(
            pl.col("amount").sum().alias("actual"), pl.col("forecast").sum().alias("expected")
        )
        return _leaves(both.with_columns(before=pl.lit([], pl.List(pl.Float64))), names, code, ())
    if seen.is_empty():
        raise InputError(
            f"no entries in the weeks before {event['first']:%Y-%m-%d} to hold the event against",
            hint="give entries of earlier weeks, or a forecast column",
        )
    used = usual(found, SPAN, seen[SPAN].to_list())
    each = [pl.col("amount").filter(pl.col(SPAN) == n).sum() for n in used]
    both = found.group_by(by).agg(
        pl.col("amount").filter(pl.col(SPAN) == 0).sum().alias("actual"),
        pl.col("amount").filter(pl.col(SPAN).is_in(used)).sum().alias("sum"),
        pl.concat_list([one.cast(pl.Float64) for one in each]).alias("before"),
    )
    return _leaves(levelled(both, used, event), names, code, used)


def _leaves(both: pl.DataFrame, names: Sequence[str], currency: str | None, spans: tuple[int, ...]) -> Leaves:
    kept = both.filter((pl.col("actual") != 0) | (pl.col("expected") != 0))
    kept = called(kept, len(spans))
    told = tuple(name for name in names if kept[name].null_count() < kept.height)
    full = ["_resource"] if "_resource" in kept.columns else []
    frame = kept.select(*told, *full, "actual", "expected", "before")
    return Leaves(frame.sort(*told, *full, nulls_last=True) if told else frame, told, currency, spans)
