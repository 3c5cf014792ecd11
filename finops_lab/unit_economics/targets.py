"""Targets of KPIs: the range a figure should be in, and whether it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

import polars as pl

from finops_lab.config import KpiTarget
from finops_lab.money import MONEY
from finops_lab.unit_economics.schemas import FIGURES

__all__ = ["DEFAULTS", "IN_USD", "LEAST_COVERAGE", "STATUSES", "TARGETED", "of_everything", "with_targets"]

# `unclear`: the value is known within bounds and the target lies between them, or of too little data.
STATUSES = ("met", "missed", "unclear", "no target", "undefined")
# A value of less of the data than this says more of the part that happens to be known than of the whole.
LEAST_COVERAGE = 0.5
# Its bounds hold all that is not judged yet: they say more than the share that is.
_BOUNDED = ("M6",)
TARGETED: dict[str, pl.DataType | type[pl.DataType]] = {
    **FIGURES,
    "at_least": MONEY,
    "at_most": MONEY,
    "status": pl.String,
    "status_reason": pl.String,  # why it is unclear or there is no target, where that is not plain
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
# Those of them that are an amount of money, in USD.
IN_USD = ("M1",)


def with_targets(
    figures: pl.DataFrame | pl.LazyFrame,
    targets: Iterable[KpiTarget],
    headlines: Sequence[tuple[str, str]],
    *,
    untargeted: Mapping[str, str] | None = None,
) -> pl.DataFrame:
    """Add the target of each figure, and whether it is met.

    The most special target counts: one for a value of a dimension before one for everything, one
    that names the measure before one for the KPI, and of equals the last. A target for a value of
    a dimension counts for that value alone. A target without a measure is that of the KPI's
    headline. What names no value of a dimension has no target: nobody could meet it.

    Parameters
    ----------
    figures : polars.DataFrame or polars.LazyFrame
        `finops_lab.unit_economics.schemas.FIGURES`.
    targets : iterable of KpiTarget
        Such as ``[[kpis]]`` of `finops.toml`, behind `DEFAULTS`.
    headlines : sequence of (str, str)
        KPI and measure of each headline.
    untargeted : mapping of str to str, optional
        Why a KPI's headline has no usual target here, by KPI.

    Returns
    -------
    polars.DataFrame
        `figures` in their order, with ``at_least``, ``at_most``, ``status``: ``met``, ``missed``,
        ``unclear`` (the figure's bounds are on both sides of the target, or less than
        `LEAST_COVERAGE` of the data is behind it), ``no target`` or ``undefined`` (there is no
        value), and ``status_reason``. A sum per month that is above its target of too little data
        already is ``missed``: more data can only add to it.

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
    ranges = _ranges(targets, named)
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
    nobody = pl.col("dimension").is_not_null() & pl.col("key").is_null()
    ends = [
        pl.when(mine).then(name).when(~nobody).then(f"{name}_of_all").alias(name)
        for name in ("at_least", "at_most")
    ]
    done = done.with_columns(ends).with_columns(_status().alias("status"))
    reasons = _status_reason({kpi: why for kpi, why in (untargeted or {}).items() if kpi in named}, named)
    return done.with_columns(reasons.alias("status_reason")).select(
        *frame.columns, "at_least", "at_most", "status", "status_reason"
    )


def of_everything(
    targets: Iterable[KpiTarget], headlines: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], tuple[Decimal | None, Decimal | None]]:
    """Return ``at_least`` and ``at_most`` of everything together, by KPI and measure.

    Examples
    --------
    >>> of_everything(DEFAULTS, [("M7", "share")])["M7", "share"]
    (Decimal('0.95'), None)
    """
    ranges = _ranges(targets, dict(headlines))
    return {
        (kpi, measure): ends for (kpi, measure, dimension, _), ends in ranges.items() if dimension is None
    }


def _ranges(
    targets: Iterable[KpiTarget], named: Mapping[str, str]
) -> dict[tuple[str, str, str | None, str | None], tuple[Decimal | None, Decimal | None]]:
    ranges: dict[tuple[str, str, str | None, str | None], tuple[Decimal | None, Decimal | None]] = {}
    for target in targets:
        measure = target.measure or named.get(target.kpi)
        if measure is not None:
            place = (target.kpi, measure, target.dimension, target.key)
            ranges[place] = (target.at_least, target.at_most)
    return ranges


def _thin() -> pl.Expr:
    return ((pl.col("coverage") < LEAST_COVERAGE) & ~pl.col("kpi").is_in(_BOUNDED)).fill_null(False)


def _status() -> pl.Expr:
    value, least, most = (pl.col(name) for name in ("value", "at_least", "at_most"))
    low, high = (pl.coalesce(end, "value") for end in ("lower", "upper"))

    def within(end: pl.Expr) -> pl.Expr:
        return (end >= least).fill_null(True) & (end <= most).fill_null(True)

    verdicts = [within(end) for end in (low, high, value)]
    # Both ends outside on different sides say nothing either.
    around = ((low < least) & (high > most)).fill_null(False)
    # What is not known can only add to a sum of a month.
    beyond = ((pl.col("denominator_unit") == "months") & (low > most)).fill_null(False)
    return (
        pl.when(value.is_null())
        .then(pl.lit("undefined"))
        .when(least.is_null() & most.is_null())
        .then(pl.lit("no target"))
        .when(_thin() & ~beyond)
        .then(pl.lit("unclear"))
        .when(around | (pl.any_horizontal(verdicts) != pl.all_horizontal(verdicts)))
        .then(pl.lit("unclear"))
        .when(verdicts[2])
        .then(pl.lit("met"))
        .otherwise(pl.lit("missed"))
    )


def _status_reason(untargeted: Mapping[str, str], named: Mapping[str, str]) -> pl.Expr:
    status, whom = pl.col("status"), pl.col("key").is_not_null() | pl.col("dimension").is_null()
    share = (pl.col("coverage") * 100).round(1)
    told = (
        pl.when((status == "unclear") & _thin())
        .then(pl.format("only {}% of the data is behind it", share))
        .when(status == "unclear")
        .then(pl.lit("the bounds lie on both sides of the target"))
    )
    for kpi, why in untargeted.items():
        mine = (pl.col("kpi") == kpi) & (pl.col("measure") == named[kpi])
        told = told.when((status == "no target") & mine & whom).then(pl.lit(why))
    return told.otherwise(pl.lit(None, pl.String))
