"""M7, allocation coverage: how much of a month's bill has an owner, by three definitions."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from finops_lab.allocation.coverage import require, row_count, valued
from finops_lab.contracts import DIMENSIONS
from finops_lab.errors import InputError, each_name
from finops_lab.money import MONEY
from finops_lab.unit_economics._by_dimension import PLACE, added_up
from finops_lab.unit_economics._grouping import share_of
from finops_lab.unit_economics._telling import first_reason
from finops_lab.unit_economics.activity import currency_of, month_of
from finops_lab.unit_economics.figures import Asked, Definition, together, whole_and_by

__all__ = ["DEFINITIONS", "owned"]

_BEHIND = "; coverage is the share of the bill's rows, rejected ones included, that the ledger holds"
_ASKED = ("model", "variant", "feature", "customer", "environment")


def _defined(measure: str, title: str, unit: str, formula: str) -> Definition:
    return Definition(
        "M7",
        measure,
        title,
        "ratio",
        unit,
        unit,
        f"{formula}{_BEHIND}",
        ("ledger", "costs"),
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
    by: str | Sequence[str] = ("provider",),
    bill: pl.DataFrame | None = None,
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
    by : str or sequence of str
        ``provider`` (``ProviderName``) and dimensions: whose money the coverage is of.
    bill : polars.DataFrame, optional
        Rows that were delivered: ``month``, ``provider`` and ``rows``. Gives ``coverage``, the data
        behind the figures: the share of these rows that the ledger holds, of everything and by
        provider. Rows without a ledger entry have no other dimension.

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

    Examples
    --------
    >>> usual = {"x_ChargeMonth": "2026-10", "BillingCurrency": "USD", "x_Rows": 1, "x_model": "m",
    ...     "x_variant": None, "x_feature": None, "x_customer": None, "x_environment": None}
    >>> entries = pl.DataFrame([{**usual, "x_team": "a", "EffectiveCost": "3"},
    ...     {**usual, "x_team": "unallocated", "EffectiveCost": "1"}])
    >>> found = owned(entries.with_columns(pl.col("EffectiveCost").cast(MONEY)), by=())
    >>> [(measure, str(value)[:4]) for measure, value in found.select("measure", "value").rows()[:4]]
    [('gross_positive', '0.75'), ('absolute', '0.75'), ('rows', '0.50'), ('model_gross_positive', '1.00')]
    """
    by = tuple(dict.fromkeys(each_name(by)))
    currency = currency_of(entries)
    if unknown := [name for name in by if name != "provider" and name not in DIMENSIONS]:
        raise InputError(f"there is no dimension {unknown[0]!r}", hint="provider, " + ", ".join(DIMENSIONS))
    dimensions = whole_and_by(by)
    sums = _by_sign(entries, metric, by).with_columns(pl.col(_column(name)).alias(name) for name in by)
    shares = _with_coverage(added_up(sums, dimensions, *_shares(metric)), dimensions, bill).with_columns(
        # The sum of nothing but unknown amounts is unknown, not zero.
        pl.when("known").then(pl.col("^(gross_positive|absolute).*$").exclude("^.*_rows$")),
        first_reason((~pl.col("known"), f"{metric} is not known")),
    )
    parts = [_told(shares, one, "team", one.measure, currency) for one in _OWNER]
    parts += [
        _told(shares, one, name, "gross_positive", currency)
        for one, name in zip(_OTHERS, _ASKED, strict=True)
    ]
    return together(parts, dimensions)


def _with_coverage(
    shares: pl.DataFrame, dimensions: Sequence[str | None], bill: pl.DataFrame | None
) -> pl.DataFrame:
    if bill is None:
        return shares.with_columns(pl.lit(None, pl.Float64).alias("coverage"))
    of_bill = [name for name in dimensions if name in (None, "provider")]
    delivered = added_up(bill, of_bill, pl.col("rows").sum().alias("delivered"))
    held = share_of(pl.col("rows_rows"), pl.col("delivered")).alias("coverage")
    return shares.join(delivered, on=PLACE, how="left", nulls_equal=True).with_columns(held)


def _shares(metric: str) -> list[pl.Expr]:
    """Return the sums that each definition of `finops_lab.allocation.coverage` divides."""
    rows, sign, amount = pl.col("x_Rows"), pl.col("_sign"), pl.col(metric)
    looked_at = {"rows": pl.lit(True), "gross_positive": sign == 1, "absolute": sign.is_not_null()}
    found = [(sign.is_not_null()).any().alias("known")]
    for definition, such in looked_at.items():
        what = rows if definition == "rows" else amount.abs()
        found.append(what.filter(such).sum().alias(definition))
        found.append(rows.filter(such).sum().alias(f"{definition}_rows"))
        asked = ("team", *_ASKED) if definition == "gross_positive" else ("team",)
        found += [what.filter(such & valued(name)).sum().alias(f"{definition}_{name}") for name in asked]
    return found


def _column(dimension: str) -> str:
    return "ProviderName" if dimension == "provider" else f"x_{dimension}"


def _by_sign(entries: pl.LazyFrame | pl.DataFrame, metric: str, by: Sequence[str]) -> pl.DataFrame:
    """Add entries up as far as no definition notices: amounts above zero, below it and unknown apart."""
    kept = list(dict.fromkeys(map(_column, by)))
    # Of a dimension that nothing is told by, only whether it is known matters.
    others = [name for name in ("team", *_ASKED) if f"x_{name}" not in kept]
    frame = entries.lazy()
    require(frame, [metric, "x_ChargeMonth", "BillingCurrency", "x_team", *kept], metric)
    amount = pl.col(metric).cast(MONEY)
    sign = pl.when(amount > 0).then(1).when(amount < 0).then(-1).when(amount == 0).then(0)
    there = amount.count() > 0
    return (
        frame.group_by(
            "x_ChargeMonth",
            *[pl.col(name).cast(pl.String) for name in kept],
            *[valued(name).alias(f"x_{name}") for name in others],
            sign.alias("_sign"),
        )
        .agg(
            pl.when(there).then(amount.sum()).cast(MONEY).alias(metric),
            row_count(frame).sum().alias("x_Rows"),
        )
        .with_columns(
            month_of().alias("month"),
            *[pl.when(f"x_{name}").then(pl.lit("known")).alias(f"x_{name}") for name in others],
        )
        .collect()
    )


def _told(shares: pl.DataFrame, one: Definition, name: str, definition: str, currency: str) -> Asked:
    table = shares.select(
        *PLACE,
        pl.col(f"{definition}_{name}").alias("numerator"),
        pl.col(definition).alias("denominator"),
        pl.col(f"{definition}_rows").alias("rows"),
        "coverage",
        *([] if definition == "rows" else ["reason"]),
    )
    return Asked(table, one, currency=currency)
