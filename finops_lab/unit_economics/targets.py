"""Targets of KPIs: the range a figure should be in, and whether it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

import polars as pl

from finops_lab.config import KpiTarget
from finops_lab.money import MONEY
from finops_lab.unit_economics.schemas import FIGURES

__all__ = ["DEFAULTS", "STATUSES", "TARGETED", "with_targets"]

# `unclear`: the value is known within bounds, and the target lies between them.

STATUSES = ("met", "missed", "unclear", "no target", "undefined")
TARGETED: dict[str, pl.DataType | type[pl.DataType]] = {
    **FIGURES,
    "at_least": MONEY,
    "at_most": MONEY,
    "status": pl.String,
}


# What the field calls good where a lab says nothing. A KPI that depends on its use (training, retrains,
# evictions, scaling, features) has no default: its target is a baseline or a budget of one's own.
DEFAULTS = (
    KpiTarget(kpi="M1", at_most=Decimal("0.10")),
    KpiTarget(kpi="M2", at_least=Decimal("0.60"), at_most=Decimal("0.85")),
    KpiTarget(kpi="M4", at_most=Decimal(500)),
    KpiTarget(kpi="M6", at_most=Decimal(1)),
    KpiTarget(kpi="M7", at_least=Decimal("0.95")),
    KpiTarget(kpi="M10", at_most=Decimal("0.40")),
)


def with_targets(
    figures: pl.DataFrame | pl.LazyFrame,
    targets: Iterable[KpiTarget],
    headlines: Sequence[tuple[str, str]],
) -> pl.DataFrame:
    """Add the target of each figure, and whether it is met.

    The most special target counts: one for a value of a dimension before one for everything, one
    that names the measure before one for the KPI, and of equals the last. A target for a value of
    a dimension counts for that value alone. A target without a measure is that of the KPI's
    headline.

    Parameters
    ----------
    figures : polars.DataFrame or polars.LazyFrame
        `finops_lab.unit_economics.schemas.FIGURES`.
    targets : iterable of KpiTarget
        Such as ``[[kpis]]`` of `finops.toml`, behind `DEFAULTS`.
    headlines : sequence of (str, str)
        KPI and measure of each headline.

    Returns
    -------
    polars.DataFrame
        `figures` in their order, with ``at_least``, ``at_most`` and ``status``: ``met``, ``missed``,
        ``unclear`` (the figure's bounds are on both sides of the target), ``no target`` or
        ``undefined`` (there is no value).

    Examples
    --------
    >>> from datetime import date
    >>> rows = pl.DataFrame({"kpi": ["M7"], "measure": ["share"], "value": [Decimal("0.97")]})
    >>> rows = rows.with_columns(pl.lit(None, kind).alias(n) for n, kind in FIGURES.items() if n not in rows)
    >>> with_targets(rows, DEFAULTS, [("M7", "share")]).select("at_least", "status").row(0)
    (Decimal('0.950000000000000000'), 'met')
    """
    frame = figures.lazy().collect()
    named = dict(headlines)
    ranges: dict[tuple[str, str, str | None, str | None], tuple[Decimal | None, Decimal | None]] = {}
    for target in targets:
        measure = target.measure or named.get(target.kpi)
        if measure is not None:
            place = (target.kpi, measure, target.dimension, target.key)
            ranges[place] = (target.at_least, target.at_most)
    rows: list[tuple[Decimal | None, Decimal | None, str]] = []
    wanted = ("kpi", "measure", "dimension", "key", "value", "lower", "upper")
    for kpi, measure, dimension, key, value, lower, upper in frame.select(wanted).iter_rows():
        found = ranges.get((kpi, measure, dimension, key)) if key is not None or dimension is None else None
        least, most = found or ranges.get((kpi, measure, None, None), (None, None))
        rows.append((least, most, _status(value, lower, upper, least, most)))
    schema = {name: TARGETED[name] for name in ("at_least", "at_most", "status")}
    return frame.hstack(pl.DataFrame(rows, schema=schema, orient="row"))


def _status(
    value: Decimal | None,
    lower: Decimal | None,
    upper: Decimal | None,
    least: Decimal | None,
    most: Decimal | None,
) -> str:
    if value is None:
        return "undefined"
    if least is None and most is None:
        return "no target"
    low, high = (value if lower is None else lower), (value if upper is None else upper)
    verdicts = {_within(end, least, most) for end in (low, high, value)}
    if len(verdicts) > 1:
        return "unclear"
    # Both ends outside on different sides say nothing either.
    if least is not None and most is not None and low < least and high > most:
        return "unclear"
    return "met" if verdicts.pop() else "missed"


def _within(value: Decimal, least: Decimal | None, most: Decimal | None) -> bool:
    return (least is None or value >= least) and (most is None or value <= most)
