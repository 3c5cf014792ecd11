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
    keys = ["kpi", "measure", "dimension", "key"]
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        **dict.fromkeys(keys, pl.String),
        "at_least": MONEY,
        "at_most": MONEY,
    }
    rows = [(*place, *ends) for place, ends in ranges.items()]
    every = pl.DataFrame(rows, schema=schema, orient="row")
    # The most special target goes first; one for a value of a dimension counts for that value alone.
    general = every.filter(pl.col("dimension").is_null(), pl.col("key").is_null()).drop("dimension", "key")
    special = every.with_columns(pl.lit(True).alias("_special"))
    done = frame.join(special, on=keys, how="left", nulls_equal=True, maintain_order="left").join(
        general, on=keys[:2], how="left", nulls_equal=True, maintain_order="left", suffix="_of_all"
    )
    mine = pl.col("_special").fill_null(False) & (pl.col("key").is_not_null() | pl.col("dimension").is_null())
    ends = [
        pl.when(mine).then(name).otherwise(f"{name}_of_all").alias(name) for name in ("at_least", "at_most")
    ]
    done = done.with_columns(ends).with_columns(_status().alias("status"))
    return done.select(*frame.columns, "at_least", "at_most", "status")


def _status() -> pl.Expr:
    value, least, most = (pl.col(name) for name in ("value", "at_least", "at_most"))
    low, high = (pl.coalesce(end, "value") for end in ("lower", "upper"))

    def within(end: pl.Expr) -> pl.Expr:
        return (end >= least).fill_null(True) & (end <= most).fill_null(True)

    verdicts = [within(end) for end in (low, high, value)]
    # Both ends outside on different sides say nothing either.
    around = ((low < least) & (high > most)).fill_null(False)
    return (
        pl.when(value.is_null())
        .then(pl.lit("undefined"))
        .when(least.is_null() & most.is_null())
        .then(pl.lit("no target"))
        .when(around | (pl.any_horizontal(verdicts) != pl.all_horizontal(verdicts)))
        .then(pl.lit("unclear"))
        .when(verdicts[2])
        .then(pl.lit("met"))
        .otherwise(pl.lit("missed"))
    )
