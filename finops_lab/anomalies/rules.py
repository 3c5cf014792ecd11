"""What no statistic should judge: days that the export does not hold whole, and the first days of a slice."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl

from finops_lab.anomalies.expected import START
from finops_lab.anomalies.panel import Bools, Floats, Panel

__all__ = ["incomplete_days", "new_slices", "without_incomplete"]

_WEEKS = 4  # whose same weekdays say what a day usually is
_STEADY = 0.85  # of the last four weeks' days with charges: a leaf that comes every day
_LEAVES = 3  # steady leaves of a provider; with fewer a fall may be one service's
_FALLEN = 0.6  # of its usual amount
_MANY = 0.8  # of the leaves, by their usual amounts, fell at once
_FIRST = 7  # days of a new slice that are told together


def incomplete_days(panel: Panel) -> pl.DataFrame:
    """Find days on which a provider's export is missing or holds a part of the day.

    One service that falls is spend; nearly all of a provider's services and teams that fall on the same
    day are an export that is not whole. A day counts where at least three leaves have charges every day
    and leaves with four fifths of the usual amount fall below six tenths of it.

    Parameters
    ----------
    panel : Panel
        With its leaves.

    Returns
    -------
    polars.DataFrame
        ``x_provider``, ``BillingCurrency``, ``at`` (Int64, column of the panel), ``day``, ``actual`` and
        ``usual`` (Float64, in the currency), ordered.
    """
    found: list[tuple[str, str, int, float, float]] = []
    keys = panel.leaves.select("x_provider", "BillingCurrency").unique().drop_nulls().sort(pl.all())
    for provider, currency in keys.rows():
        own = (pl.col("x_provider") == provider) & (pl.col("BillingCurrency") == currency)
        values = panel.leaf_values[panel.leaves.filter(own)["leaf"].to_numpy()]
        part, usual, actual = _fallen(values)
        found += [(provider, currency, int(t), actual[t], usual[t]) for t in np.flatnonzero(part)]
    schema = {
        "x_provider": pl.String,
        "BillingCurrency": pl.String,
        "at": pl.Int64,
        "actual": pl.Float64,
        "usual": pl.Float64,
    }
    frame = pl.DataFrame(found, schema=schema, orient="row")
    day = pl.lit(panel.days[0]) + pl.duration(days="at")
    return frame.select(
        "x_provider", "BillingCurrency", "at", day.cast(pl.Date).alias("day"), "actual", "usual"
    )


def without_incomplete(panel: Panel, days: pl.DataFrame) -> Bools:
    """Return where slices cannot be judged: missing days, and incomplete ones of a provider of theirs.

    Parameters
    ----------
    panel : Panel
        The slices.
    days : polars.DataFrame
        From `incomplete_days`.

    Returns
    -------
    numpy.ndarray
        Slices x days. A slice that pins no provider down loses the day too.
    """
    unknown = panel.missing.copy()
    for provider, currency, at in days.select("x_provider", "BillingCurrency", "at").rows():
        same = pl.col("x_provider").is_null() | (pl.col("x_provider") == provider)
        rows = panel.names.filter(same & (pl.col("BillingCurrency") == currency))["slice"].to_numpy()
        unknown[rows, at] = True
    return unknown


def new_slices(panel: Panel) -> pl.DataFrame:
    """Find slices whose first charges lie in the panel: new services, models, features.

    Parameters
    ----------
    panel : Panel
        A slice that charges within its first four weeks may be older than the panel and is not new.

    Returns
    -------
    polars.DataFrame
        ``slice``, ``first``, ``last`` (Date: the first charge, and six days later or the panel's end),
        ``amount`` (Decimal(38, 18)): exact, of those days.
    """
    first = (
        panel.amounts.filter(pl.col("amount") != 0).group_by("slice").agg(pl.col("day").min().alias("first"))
    )
    first = first.filter(pl.col("first") >= panel.days[0] + timedelta(days=START))
    end = pl.min_horizontal(pl.col("first") + timedelta(days=_FIRST - 1), pl.lit(panel.days[-1]))
    first = first.with_columns(end.alias("last"))
    rows = panel.amounts.join(first, on="slice").filter(pl.col("day").is_between("first", "last"))
    return rows.group_by("slice", "first", "last").agg(pl.col("amount").sum()).sort("slice")


def _fallen(values: Floats) -> tuple[Bools, Floats, Floats]:
    """Return per day whether the leaves fell at once, their usual amount and their actual one."""
    columns = values.shape[1]
    part, usual = np.zeros(columns, dtype=np.bool_), np.zeros(columns)
    clean = values.copy()
    for t in range(START, columns):
        before = clean[:, t - START : t]
        typical = np.median(before[:, -7 * _WEEKS :: 7], 1)
        steady = ((before > 0).mean(1) >= _STEADY) & (typical > 0)
        whole = typical[steady].sum()
        usual[t] = np.maximum(typical, 0).sum()
        if steady.sum() < _LEAVES:
            continue
        fell = steady & (values[:, t] < _FALLEN * typical)
        part[t] = typical[fell].sum() >= _MANY * whole and fell.sum() >= _MANY * steady.sum()
        if part[t]:
            clean[:, t] = typical  # what is not whole says nothing of what is usual
    return part, usual, values.sum(0)
