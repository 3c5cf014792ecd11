"""M7, allocation coverage: how much of a month's bill has an owner, by three definitions."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from finops_lab.allocation.coverage import coverage
from finops_lab.contracts import DIMENSIONS
from finops_lab.errors import InputError
from finops_lab.money import MONEY
from finops_lab.unit_economics._telling import first_reason, told
from finops_lab.unit_economics.activity import currency_of
from finops_lab.unit_economics.figures import Definition, whole_and_by

__all__ = ["DEFINITIONS", "owned"]

_ASKED = ("model", "variant", "feature", "customer", "environment")
_SEPARATOR = "\x1f"  # between a month and a value, which may hold anything that is typed
_MONTH = "x_ChargeMonth"


def _defined(measure: str, title: str, unit: str, formula: str) -> Definition:
    return Definition(
        "M7",
        measure,
        title,
        "ratio",
        unit,
        unit,
        formula,
        ("ledger",),
        better="higher",
        nothing="nothing was charged",
    )


_OWNER = (
    _defined(
        "gross_positive",
        "Allocation coverage",
        "{currency}",
        "charges above zero that a team owns / all charges above zero; credits and refunds are left out",
    ),
    _defined(
        "absolute",
        "Allocation coverage of absolute amounts",
        "{currency}",
        "charges without their sign that a team owns / all charges without their sign",
    ),
    _defined(
        "rows", "Allocation coverage of rows", "bill rows", "bill rows that a team owns / all bill rows"
    ),
)
_OTHERS = tuple(
    _defined(
        f"{name}_gross_positive",
        f"Coverage: {name} known",
        "{currency}",
        f"charges above zero whose {name} is known / all charges above zero",
    )
    for name in _ASKED
)
DEFINITIONS: tuple[Definition, ...] = (*_OWNER, *_OTHERS)


def owned(
    entries: pl.LazyFrame | pl.DataFrame,
    *,
    metric: str = "EffectiveCost",
    by: Sequence[str] = ("provider",),
) -> pl.DataFrame:
    """Tell how much of each month's charges has an owner: for everything and by dimension.

    Source: `finops_lab.allocation.coverage`, at the grain of ledger entries. Coverage is never a
    share of the net cost, which credits can push above 1.

    Parameters
    ----------
    entries : polars.LazyFrame or polars.DataFrame
        Rows of the `ledger` contract, in one currency.
    metric : str
        The cost column.
    by : sequence of str
        ``provider`` (``ProviderName``) and dimensions: whose money the coverage is of.

    Returns
    -------
    polars.DataFrame
        `FIGURES` of the measures in `DEFINITIONS`: the share that a team owns by three definitions,
        and the share whose model, feature and so on is known. ``rows`` counts bill rows.

    Raises
    ------
    CurrencyError
        When the ledger is in several currencies.
    InputError
        When a column is missing, or there is no such dimension.
    """
    currency = currency_of(entries)
    if unknown := [name for name in by if name != "provider" and name not in DIMENSIONS]:
        raise InputError(f"there is no dimension {unknown[0]!r}", hint="provider, " + ", ".join(DIMENSIONS))
    parts: list[pl.DataFrame] = []
    for dimension in whole_and_by(by):
        if dimension is None:
            keyed = entries.lazy().with_columns(pl.col(_MONTH).alias("_place"))
        else:
            column = "ProviderName" if dimension == "provider" else f"x_{dimension}"
            value = pl.col(column).cast(pl.String)
            # A value that is null adds nothing, so that it stays apart from an empty one.
            place = pl.concat_str([pl.col(_MONTH), (_SEPARATOR + value).fill_null("")])
            keyed = entries.lazy().with_columns(place.alias("_place"))
        team = coverage(keyed, "team", metric, "_place")
        for one in _OWNER:
            parts.append(_told(team, one, one.measure, dimension, currency))
        for one, name in zip(_OTHERS, _ASKED, strict=True):
            found = coverage(keyed, name, metric, "_place")
            parts.append(_told(found, one, "gross_positive", dimension, currency))
    return pl.concat(parts)


def _told(
    shares: pl.DataFrame, one: Definition, definition: str, dimension: str | None, currency: str
) -> pl.DataFrame:
    rows = definition == "rows"
    place = pl.col("_place").str.splitn(_SEPARATOR, 2)
    names = ("covered_rows", "total_rows") if rows else ("covered", "total")
    table = shares.filter(pl.col("definition") == definition).select(
        (place.struct[0] + "-01").str.to_date("%Y-%m-%d").alias("month"),
        (place.struct[1] if dimension else pl.lit(None, pl.String)).alias("key"),
        pl.col(names[0]).cast(MONEY).alias("numerator"),
        pl.col(names[1]).cast(MONEY).alias("denominator"),
        pl.col("total_rows").alias("rows"),
        first_reason((pl.col(names[1]).is_null(), f"{shares['metric'][0]} is not known")),
    )
    return told(table, one, dimension=dimension, currency=currency)
