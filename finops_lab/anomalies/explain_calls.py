"""Requests, mix, retries, tokens, cache or price: the bridge of a slice by the calls that it served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from fractions import Fraction
from typing import Any

import polars as pl

from finops_lab.anomalies.attribution import MARK, SPAN, in_spans
from finops_lab.anomalies.explain_bridge import Side, bridge_frame, scale_of
from finops_lab.errors import InputError
from finops_lab.money import MONEY
from finops_lab.unit_economics.bridge import bridge
from finops_lab.unit_economics.bridge_cells import CALLS
from finops_lab.unit_economics.bridge_terms import TERMS, rounded

__all__ = ["bridge_by_calls"]

# The bridge leads from month to month; these two, equally long, stand for before and event.
_BEFORE, _EVENT = date(2001, 7, 1), date(2001, 8, 1)
_TOO_FEW = 0.03  # standard error of sampled calls, as a share of them, above which they tell no volume
_ENTRY = {
    "ChargeCategory": "Usage",
    "ChargeClass": None,
    "CommitmentDiscountStatus": None,
    "x_AllocationMethod": None,
    "x_model": None,
    "x_variant": None,
}


def bridge_by_calls(
    event: Mapping[str, Any],
    rows: pl.DataFrame | pl.LazyFrame,
    requests: pl.DataFrame | pl.LazyFrame,
    side: Side,
    where: Mapping[str, Sequence[str]],
    *,
    amount: str,
    strict: bool = True,
) -> pl.DataFrame | None:
    """Split a slice's change into requests, mix, retries, tokens, cache and price.

    Parameters
    ----------
    event : mapping
        A row of the events frame.
    rows : polars.DataFrame or polars.LazyFrame
        Entries of the slice with ``_span``.
    requests : polars.DataFrame or polars.LazyFrame
        Calls by day: `finops_lab.unit_economics.schemas.REQUEST_DAYS`.
    side : Side
        Of the slice.
    where : mapping
        What calls of the slice are, by `finops_lab.anomalies.attribution.DIMENSIONS`; what calls do
        not tell is not looked at.
    amount : str
        Money column of the entries.
    strict : bool
        Leave calls alone that were sampled so thinly that their number is uncertain by 3 % or more.

    Returns
    -------
    polars.DataFrame or None
        `BRIDGE`, terms that are zero left out; amounts add up to the slice's excess exactly. None
        where there are no calls in the event or before, or too few.

    Notes
    -----
    Terms are those of `finops_lab.unit_economics.bridge.bridge`.
    """
    counted = in_spans({**event, "dimension": "total", "value": None, **_NO_SCOPE}, requests, categories=None)
    known = counted.collect_schema().names()
    if missing := [name for name in ("model", "variant", *CALLS) if name not in known]:
        raise InputError(f"a bridge needs calls by day; missing: {', '.join(missing)}")
    picked = [
        pl.col(f"{MARK}{n}").is_in(list(values)) for n, values in where.items() if f"{MARK}{n}" in known
    ]
    errors = [name for name in ("variance_ok", "variance_failed", "variance_cancelled") if name in known]
    calls = (
        counted.filter(pl.col(SPAN).is_in([0, *side.spans]), *picked)
        .group_by((pl.col(SPAN) == 0).alias("now"), "model", "variant")
        .agg(pl.col(*CALLS, *errors).sum())
        .collect()
    )
    totals = {now: frame for (now,), frame in calls.partition_by("now", as_dict=True).items()}
    if not side.spans or len(totals) < 2 or any(not frame["calls"].sum() for frame in totals.values()):
        return None
    if strict and any(_uncertain(frame, errors) for frame in totals.values()):
        return None
    entries = _entries(rows, side, amount)
    if entries is None:
        return None
    parts = Fraction(1, len(side.spans))
    months = calls.with_columns(
        pl.when("now").then(pl.lit(_EVENT)).otherwise(pl.lit(_BEFORE)).alias("month"),
        *(
            pl.when("now")
            .then(pl.col(name).cast(pl.Float64))
            .otherwise(pl.col(name).cast(pl.Float64) * float(parts))
            .round(3)
            .cast(pl.Decimal(38, 3))
            .alias(name)
            for name in CALLS
        ),
    )
    found = bridge(entries, months, _BEFORE, _EVENT, metric=amount)
    terms = {str(term): one for term, one in found.terms.select("term", "amount").iter_rows() if one}
    return bridge_frame(terms, TERMS, side.excess, "calls")


_NO_SCOPE = dict.fromkeys(
    ("x_provider", "x_service", "x_team", "x_model", "x_feature", "BillingCurrency"), None
)


def _uncertain(frame: pl.DataFrame, errors: Sequence[str]) -> bool:
    variance = sum(float(frame[name].sum()) for name in errors)
    return bool(variance**0.5 > _TOO_FEW * float(frame["calls"].sum()))


def _entries(rows: pl.DataFrame | pl.LazyFrame, side: Side, amount: str) -> pl.DataFrame | None:
    """Add the slice's entries up to two months whose sums are what the slice says, exactly."""
    frame = rows.lazy()
    names = frame.collect_schema().names()
    told = [pl.col(n) if n in names else pl.lit(value, pl.String).alias(n) for n, value in _ENTRY.items()]
    sums = (
        frame.filter(pl.col(SPAN).is_in([0, *side.spans]))
        .group_by((pl.col(SPAN) == 0).alias("now"), *told)
        .agg(pl.col(amount).cast(MONEY).sum())
        .sort("now", *_ENTRY, nulls_last=True)
        .collect()
    )
    before, now = (sums.filter(pl.col("now") == at) for at in (False, True))
    scale = scale_of(side, [Fraction(one) for one in before[amount]])
    if scale is None or before.is_empty() or now.is_empty():
        return None
    scaled = rounded([Fraction(one) * scale for one in before[amount]], side.expected)
    before = before.with_columns(pl.Series(amount, scaled, MONEY))
    return pl.concat([before, now]).select(
        pl.when("now")
        .then(pl.lit(f"{_EVENT:%Y-%m}"))
        .otherwise(pl.lit(f"{_BEFORE:%Y-%m}"))
        .alias("x_ChargeMonth"),
        pl.lit("one").alias("BillingCurrency"),  # entries of several were refused before
        *_ENTRY,
        amount,
    )
