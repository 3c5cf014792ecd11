"""From a ledger to daily spend per slice: dense arrays for statistics, exact money beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from finops_lab.anomalies.event import SCOPES
from finops_lab.errors import InputError, NoDataError
from finops_lab.money import MONEY

__all__ = ["BY", "DIMENSIONS", "Bools", "Floats", "Panel", "daily_panel", "panel_of"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# What spend can be cut by, and the column of the ledger that says it.
DIMENSIONS = {
    "provider": "ProviderName",
    "service": "ServiceName",
    "team": "x_team",
    "model": "x_model",
    "feature": "x_feature",
    "product": "x_product",
    "customer": "x_customer",
    "environment": "x_environment",
    "region": "x_region",
    "account": "SubAccountName",  # of frames that carry it
    "category": "ServiceCategory",
}
BY = ("total", "provider", "service", "team", "model", "feature")
USAGE = ("Usage",)
_SEPARATOR = " / "


@dataclass(frozen=True)
class Panel:
    """Daily spend of many slices over the same days.

    Attributes
    ----------
    days : list of datetime.date
        Consecutive days, all of them closed.
    names : polars.DataFrame
        One row per slice: ``slice`` (Int64, its row in the arrays), ``dimension``, ``value`` (null for
        the total), ``BillingCurrency``, and ``x_provider``, ``x_service``, ``x_team``, ``x_model``,
        ``x_feature``: what the slice pins down, null otherwise.
    values : numpy.ndarray
        Slices x days, Float64, in the currency; 0 where `missing`.
    missing : numpy.ndarray
        Slices x days: True where nobody knows. Before a slice's first charge, and on days without any
        charge from any of the providers that the slice is paid to. A day without a charge of the
        slice is 0 otherwise.
    amounts : polars.DataFrame
        ``slice``, ``day``, ``amount`` (Decimal(38, 18)): the same, exact, days with charges only.
    metric : str
        Which column it is.
    leaves : polars.DataFrame
        ``leaf`` (Int64), ``x_provider``, ``BillingCurrency``: the finest slices (provider, service, team).
    leaf_values : numpy.ndarray
        Leaves x days. Tells an incomplete export from a fall of one service.
    """

    days: list[date]
    names: pl.DataFrame
    values: Floats
    missing: Bools
    amounts: pl.DataFrame
    metric: str
    leaves: pl.DataFrame
    leaf_values: Floats

    def __len__(self) -> int:
        return len(self.values)


def daily_panel(
    entries: pl.LazyFrame | pl.DataFrame,
    by: Sequence[str | tuple[str, ...]] = BY,
    metric: str = "EffectiveCost",
    first: date | None = None,
    last: date | None = None,
    *,
    today: date | None = None,
    categories: Sequence[str] | None = USAGE,
) -> Panel:
    """Add up a ledger per slice and closed day.

    Parameters
    ----------
    entries : polars.LazyFrame or polars.DataFrame
        The ledger: ``x_ChargeDate``, ``BillingCurrency``, ``ProviderName``, the columns of `by` and
        `metric` (Decimal). Corrections (``ChargeClass``) are left out: they speak of other days.
    by : sequence of str or tuple of str
        Cuts: ``total`` and names of `DIMENSIONS`; a tuple is a cut by all of its names together.
        Rows without a value are in no slice of that cut.
    metric : str
        The amount.
    first, last : datetime.date, optional
        Both included; by default the first and last day with charges.
    today : datetime.date, optional
        This day and later ones are not closed and are left out.
    categories : sequence of str, optional
        ``ChargeCategory`` of the charges to watch; None takes all. Taxes, credits and purchases do
        not come every day.

    Returns
    -------
    Panel
        Slices ordered by cut, value and currency.

    Raises
    ------
    InputError
        An unknown dimension or column.
    NoDataError
        No charge in these days.

    Examples
    --------
    >>> ledger = pl.DataFrame({
    ...     "x_ChargeDate": [date(2026, 10, 1), date(2026, 10, 3)], "BillingCurrency": ["USD", "USD"],
    ...     "ProviderName": ["CloudOne", "CloudOne"], "x_team": ["search", "search"],
    ...     "EffectiveCost": pl.Series(["1.10", "2.20"]).str.to_decimal(scale=2),
    ... })
    >>> panel = daily_panel(ledger, by=["total", "team"])
    >>> panel.names.select("dimension", "value").rows()
    [('total', None), ('team', 'search')]
    >>> panel.values[1].tolist(), panel.missing[1].tolist()
    ([1.1, 0.0, 2.2], [False, True, False])
    """
    cuts = [(cut,) if isinstance(cut, str) else tuple(cut) for cut in by]
    frame = _read(entries.lazy(), cuts, metric, categories)
    bounds = [pl.col("day") >= first] if first else []
    bounds += [pl.col("day") <= last] if last else []
    bounds += [pl.col("day") < today] if today else []
    keys = [name for name in frame.collect_schema().names() if name != "amount"]
    cube = (
        (frame.filter(*bounds) if bounds else frame)
        .group_by(keys)
        .agg(pl.col("amount").sum())
        .collect(engine="streaming")
    )
    if cube.is_empty():
        raise NoDataError("no charges on closed days", hint="look at first, last and categories")
    start, end = cube["day"].min(), cube["day"].max()
    assert isinstance(start, date) and isinstance(end, date)
    if last is not None and last > end and (today is None or last < today):
        end = last  # a day asked for without any charge is one that is missing
    days = [start + timedelta(days=i) for i in range((end - start).days + 1)]
    cube = cube.with_columns((pl.col("day") - start).dt.total_days().alias("at"))
    parts = [_cut(cube, cut) for cut in cuts]
    names = pl.concat([names for names, _ in parts]).with_row_index("slice")
    names = names.with_columns(pl.col("slice").cast(pl.Int64))
    offsets = np.cumsum([0, *(len(names) for names, _ in parts)])
    sums = pl.concat(
        [
            sums.with_columns(pl.col("slice") + int(at))
            for (_, sums), at in zip(parts, offsets[:-1], strict=True)
        ]
    ).sort("slice", "at")
    values, seen = _dense(sums, "slice", names.height, len(days))
    by_leaf = ["provider", "service", "team"]
    leaves = cube.group_by(*by_leaf, "BillingCurrency", "at").agg(pl.col("amount").sum())
    named = leaves.select(*by_leaf, "BillingCurrency").unique().sort(*by_leaf, "BillingCurrency")
    named = named.with_row_index("leaf").with_columns(pl.col("leaf").cast(pl.Int64))
    leaves = leaves.join(named, on=[*by_leaf, "BillingCurrency"], nulls_equal=True).sort("leaf", "at")
    leaf_values, _ = _dense(leaves, "leaf", named.height, len(days))
    return Panel(
        days,
        names,
        values,
        _missing(cube, names, sums, seen),
        sums.select(
            "slice",
            (pl.lit(start) + pl.duration(days="at")).alias("day"),
            pl.col("amount").cast(MONEY),
        ),
        metric,
        named.select("leaf", pl.col("provider").alias("x_provider"), "BillingCurrency"),
        leaf_values,
    )


def panel_of(
    values: Floats, first: date, *, names: Sequence[str] | None = None, currency: str = "USD"
) -> Panel:
    """Make a panel of an array: a row per slice, NaN where nobody knows.

    Parameters
    ----------
    values : numpy.ndarray
        Slices x days, Float64.
    first : datetime.date
        Day of the first column.
    names : sequence of str, optional
        Names of the slices, by default their numbers.
    currency : str
        ISO 4217 code.

    Returns
    -------
    Panel
        Slices of the dimension ``series``. Its exact amounts are the floats, rounded to micro-units
        of the currency; it holds no leaves, so no export is judged.

    Examples
    --------
    >>> panel_of(np.array([[1.0, np.nan]]), date(2026, 10, 1)).missing.tolist()
    [[False, True]]
    """
    rows, columns = values.shape
    missing = ~np.isfinite(values)
    filled = np.where(missing, 0.0, values)
    days = [first + timedelta(days=i) for i in range(columns)]
    value = [f"{i:05}" for i in range(rows)] if names is None else list(names)
    frame = pl.DataFrame(
        {
            "slice": np.arange(rows, dtype=np.int64),
            "dimension": ["series"] * rows,
            "value": value,
            "BillingCurrency": [currency] * rows,
        }
    ).with_columns(pl.lit(None, pl.String).alias(column) for column in SCOPES.values())
    amounts = pl.DataFrame(
        {
            "slice": np.repeat(np.arange(rows, dtype=np.int64), columns),
            "day": days * rows,
            "amount": filled.ravel(),
        }
    ).filter(pl.Series(~missing.ravel()))
    amounts = amounts.with_columns(pl.col("amount").round(6).cast(MONEY))
    leaves = pl.DataFrame(schema={"leaf": pl.Int64, "x_provider": pl.String, "BillingCurrency": pl.String})
    return Panel(days, frame, filled, missing, amounts, "amount", leaves, np.zeros((0, columns)))


def _read(
    frame: pl.LazyFrame, cuts: Sequence[tuple[str, ...]], metric: str, categories: Sequence[str] | None
) -> pl.LazyFrame:
    """Narrow a ledger to day, currency, dimensions and amount, one name each."""
    schema = frame.collect_schema()
    wanted = {name for cut in cuts for name in cut if name != "total"}
    for name in sorted(wanted - set(DIMENSIONS)):
        raise InputError(f"unknown dimension {name!r}", hint=f"total or one of {', '.join(DIMENSIONS)}")
    needed = {"x_ChargeDate", "BillingCurrency", "ProviderName", metric, *(DIMENSIONS[n] for n in wanted)}
    for column in sorted(needed - set(schema)):
        raise InputError("the ledger has no such column", column=column)
    if not (schema[metric].is_decimal() or schema[metric].is_numeric()):
        raise InputError(f"{schema[metric]} where an amount is needed", column=metric)
    conditions = [pl.col(metric).is_not_null()]
    if categories is not None and "ChargeCategory" in schema:
        conditions.append(pl.col("ChargeCategory").is_in(list(categories)))
    if "ChargeClass" in schema:
        conditions.append(pl.col("ChargeClass").is_null())
    names = sorted(wanted | {"provider", "service", "team"})
    return frame.filter(*conditions).select(
        pl.col("x_ChargeDate").alias("day"),
        "BillingCurrency",
        *(
            pl.col(DIMENSIONS[name]).alias(name)
            if DIMENSIONS[name] in schema
            else pl.lit(None, pl.String).alias(name)
            for name in names
        ),
        pl.col(metric).alias("amount"),
    )


def _cut(cube: pl.DataFrame, cut: tuple[str, ...]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the slices of a cut, and their amounts by slice and day."""
    keys = [name for name in cut if name != "total"]
    rows = cube.filter(pl.col(name).is_not_null() for name in keys) if keys else cube
    # The provider of a service is pinned down too, where there is one.
    pinned = pl.when(pl.col("provider").n_unique() == 1).then(pl.col("provider").first())
    slices = rows.group_by(*keys, "BillingCurrency").agg(pinned.alias("_provider"))
    slices = slices.sort(*keys, "BillingCurrency").with_row_index("slice")
    slices = slices.with_columns(pl.col("slice").cast(pl.Int64))
    sums = rows.group_by(*keys, "BillingCurrency", "at").agg(pl.col("amount").sum())
    sums = sums.join(slices, on=[*keys, "BillingCurrency"]).select("slice", "at", "amount")
    value = pl.concat_str(keys, separator=_SEPARATOR) if keys else pl.lit(None, pl.String)
    names = slices.select(
        pl.lit("total" if not keys else _SEPARATOR.join(keys)).alias("dimension"),
        value.alias("value"),
        "BillingCurrency",
        *(
            (
                pl.col(name)
                if name in keys
                else pl.col("_provider")
                if name == "provider" and "service" in keys
                else pl.lit(None, pl.String)
            ).alias(column)
            for name, column in SCOPES.items()
        ),
    )
    return names, sums


def _dense(sums: pl.DataFrame, key: str, rows: int, columns: int) -> tuple[Floats, Bools]:
    values, seen = np.zeros((rows, columns)), np.zeros((rows, columns), dtype=np.bool_)
    at = (sums[key].to_numpy(), sums["at"].to_numpy())
    values[at] = sums["amount"].cast(pl.Float64).to_numpy()
    seen[at] = True
    return values, seen


def _missing(cube: pl.DataFrame, names: pl.DataFrame, sums: pl.DataFrame, seen: Bools) -> Bools:
    """Say where a slice without a charge is unknown, not zero: nobody it pays to charged anything."""
    columns = seen.shape[1]
    before = np.cumsum(seen, axis=1) == 0
    anything = np.zeros(columns, dtype=np.bool_)
    anything[cube["at"].unique().to_numpy()] = True
    missing: Bools = before | ~anything
    for provider in cube["provider"].drop_nulls().unique().sort():
        there = np.zeros(columns, dtype=np.bool_)
        there[cube.filter(pl.col("provider") == provider)["at"].unique().to_numpy()] = True
        own = names.filter(pl.col("x_provider") == provider)["slice"].to_numpy()
        missing[own] |= ~there & ~seen[own]
    return missing
