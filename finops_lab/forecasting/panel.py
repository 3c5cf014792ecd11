"""From a long frame to checked monthly series with no holes, and back to a long frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from finops_lab.calendar import add_months, days_in_month, months_from
from finops_lab.errors import InputError

Floats = NDArray[np.float64]
VALUES = ("yhat", "lo_80", "hi_80", "lo_95", "hi_95", "lo_50", "hi_50")
FORECAST_SCHEMA: dict[str, pl.DataType] = {
    "unique_id": pl.String(),
    "ds": pl.Date(),
    **{name: pl.Float64() for name in VALUES},
    "model": pl.String(),
}


@dataclass(frozen=True)
class Series:
    """One series from its first to its last known month; `known` is False where `amounts` was filled in."""

    unique_id: str
    first: date
    amounts: Floats
    known: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.amounts)

    def head(self, n: int) -> Series:
        """Return what was known after the first `n` months, filled from that alone."""
        return _series(self.unique_id, self.first, np.where(self.known, self.amounts, np.nan)[:n])


def month_lengths(first: date, n: int) -> Floats:
    """Return the days of `n` months from `first` on."""
    return np.array([days_in_month(add_months(first, i)) for i in range(n)], dtype=np.float64)


def read_panel(panel: pl.DataFrame | pl.LazyFrame) -> list[Series]:
    """Check a long frame and return its series, ordered by `unique_id`.

    Parameters
    ----------
    panel : polars.DataFrame or polars.LazyFrame
        ``unique_id: String``, ``ds: Date`` (first of month), ``y``: any number, cast once to Float64.

    Returns
    -------
    list of Series
        Unknown months (absent row, null or NaN) before the first and after the last known one are
        cut off; inside, their daily rate is interpolated linearly. A series with nothing known is
        kept, empty, and starts after its last row.

    Raises
    ------
    InputError
        A column is missing or of the wrong type, an id or month is null, a month is not given by its
        first day or comes twice for a series, or `y` is infinite.
    """
    frame = _checked(panel)
    out = []
    for (uid,), rows in frame.partition_by("unique_id", as_dict=True, maintain_order=True).items():
        months: list[date] = rows["ds"].to_list()
        where = {month: i for i, month in enumerate(months_from(months[0], months[-1]))}
        amounts = np.full(len(where), np.nan)
        amounts[[where[month] for month in months]] = rows["y"].fill_null(float("nan")).to_numpy()
        out.append(_series(str(uid), months[0], amounts))
    return out


def _series(uid: str, first: date, amounts: Floats) -> Series:
    known = np.flatnonzero(~np.isnan(amounts))
    if not known.size:
        return Series(uid, add_months(first, len(amounts)), amounts[:0], np.zeros(0, dtype=np.bool_))
    start, end = int(known[0]), int(known[-1]) + 1
    first, amounts = add_months(first, start), amounts[start:end]
    days = month_lengths(first, len(amounts))
    filled = np.interp(np.arange(len(amounts)), known - start, (amounts / days)[known - start]) * days
    here = ~np.isnan(amounts)
    return Series(uid, first, np.where(here, amounts, filled), here)


def _checked(panel: pl.DataFrame | pl.LazyFrame) -> pl.DataFrame:
    if not hasattr(panel, "lazy"):
        raise InputError(
            f"a forecast needs a panel of unique_id, ds and y, not a {type(panel).__name__}",
            hint='a ledger gives one: ledger.monthly("team")',
        )
    schema = panel.lazy().collect_schema()
    for column, wanted in (("unique_id", "String"), ("ds", "Date"), ("y", "a number")):
        if column not in schema:
            raise InputError(
                "the panel has no such column", column=column, hint="it needs unique_id, ds and y"
            )
        dtype = schema[column]
        if not (dtype.is_numeric() if column == "y" else dtype == getattr(pl, wanted)):
            raise InputError(f"{dtype} where {wanted} is needed", column=column)
    frame = (
        panel.lazy()
        .select("unique_id", "ds", pl.col("y").cast(pl.Float64))
        .sort("unique_id", "ds")
        .collect(engine="streaming")
    )
    for column in ("unique_id", "ds"):
        if frame[column].null_count():
            raise InputError("empty in some row of the panel", column=column)
    for bad, message, hint in (
        (pl.col("ds").dt.day() != 1, "is not the first of its month", "use .dt.month_start()"),
        (pl.struct("unique_id", "ds").is_duplicated(), "comes twice", "sum the rows of a month first"),
        (pl.col("y").is_infinite(), "has an infinite y", None),
    ):
        rows = frame.filter(bad)
        if rows.height:
            uid, ds = rows.row(0)[:2]
            raise InputError(f"series {uid!r}: month {ds} {message}", column="ds", hint=hint)
    return frame


def forecast_frame(rows: Iterable[tuple[Series, str, Floats]]) -> pl.DataFrame:
    """Put projections (series, model, one row of values per name in `VALUES`) into one long frame."""
    parts = [pl.DataFrame(schema=FORECAST_SCHEMA)]
    for series, model, values in rows:
        start = add_months(series.first, len(series))
        months = [add_months(start, i) for i in range(values.shape[1])]
        columns = {"unique_id": [series.unique_id] * len(months), "ds": months}
        columns |= {name: line.tolist() for name, line in zip(VALUES, values, strict=True)}
        columns["model"] = [model] * len(months)
        parts.append(pl.DataFrame(columns, schema=FORECAST_SCHEMA))
    return pl.concat(parts).with_columns(pl.col(VALUES).fill_nan(None))
