"""What batching brings: time and energy of a batch as a fixed part and a part for each item."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import numpy.typing as npt
import polars as pl

from finops_lab.errors import InputError, each_name

__all__ = ["batch_curve", "fit_batching", "largest_batch"]

Floats = npt.NDArray[np.float64]
_SLACK = 1e-9
_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "rows": pl.Int64,
    "batches": pl.Int64,
    "smallest_batch": pl.Int64,
    "largest_batch": pl.Int64,
    **{
        name: pl.Float64
        for name in (
            "fixed_ms",
            "per_item_ms",
            "median_ape",
            "p90_ape",
            "left_out_median_ape",
            "left_out_p90_ape",
            "most_per_s",
            "half_batch",
            "fixed_j",
            "per_item_j",
            "energy_median_ape",
            "energy_p90_ape",
            "energy_left_out_median_ape",
            "energy_left_out_p90_ape",
        )
    },
    "note": pl.String,
}


def fit_batching(
    timings: pl.DataFrame,
    *,
    by: str | Sequence[str] = ("model", "variant"),
    batch: str = "items",
    time_ms: str = "wall_ms",
    energy_j: str = "energy_j",
) -> pl.DataFrame:
    """Fit the time of a batch as fixed + batch x per item, and its energy alike.

    Parameters
    ----------
    timings : polars.DataFrame
        One row per run of a batch, such as `finops_lab.tradeoffs.measurement.Measurement.timings` of one
        workload: `batch` (items in it), `time_ms` (milliseconds for the whole batch) and, where it is
        known, `energy_j` (joules for the whole batch).
    by : str or sequence of str
        Columns that tell curves apart.
    batch, time_ms, energy_j : str
        Names of columns; the last may be absent or null.

    Returns
    -------
    polars.DataFrame
        One row per curve, sorted by `by`: ``rows``, ``batches`` (distinct sizes), ``smallest_batch``,
        ``largest_batch`` (Int64); ``fixed_ms`` (a) and ``per_item_ms`` (beta) of t(b) = a + b beta;
        ``median_ape`` and ``p90_ape`` (absolute error as a share of the measured time),
        ``left_out_median_ape`` and ``left_out_p90_ape`` (the same for batches of a size that was left
        out of the fit, each size in turn; null below three sizes); ``most_per_s`` (items per second of
        an endless batch, 1,000 / beta) and ``half_batch`` (the batch that reaches half of it, a / beta), null
        where no part grows with the batch; ``fixed_j``, ``per_item_j`` and errors of the energy: an item
        takes per_item_j + fixed_j / b joules. Float64. ``note`` says what is not known and why.

    Raises
    ------
    InputError
        A missing column, or a batch, time or energy that is not above 0.

    Notes
    -----
    Non-negative least squares of the relative error (Lawson and Hanson, "Solving Least Squares Problems",
    1974; `scipy.optimize.nnls`): min sum ((a + b beta) / t - 1)^2, so that small batches count as much as
    large ones and neither part is negative.

    Examples
    --------
    >>> timings = pl.DataFrame({"model": ["m"] * 3, "variant": ["int8"] * 3, "items": [1, 8, 32],
    ...     "wall_ms": [12.0, 26.0, 74.0]})
    >>> found = fit_batching(timings).select(pl.col("fixed_ms", "per_item_ms", "most_per_s").round(6)).row(0)
    >>> found
    (10.0, 2.0, 500.0)
    """
    by = each_name(by)
    for name in (*by, batch, time_ms):
        if name not in timings.columns:
            raise InputError("the timings have no such column", column=name)
    known = timings.select(
        *by,
        pl.col(batch).cast(pl.Float64).alias("batch"),
        pl.col(time_ms).cast(pl.Float64).alias("time"),
        (
            pl.col(energy_j).cast(pl.Float64) if energy_j in timings.columns else pl.lit(None, pl.Float64)
        ).alias("energy"),
    )
    for name, column in (("batch", batch), ("time", time_ms), ("energy", energy_j)):
        value = known[name]
        odd = ~(value.is_finite() & (value > 0))
        odd = (odd.fill_null(False) if name == "energy" else odd.fill_null(True)).arg_true()
        if odd.len():
            raise InputError("is not a number above 0", row=int(odd[0]) + 1, column=column)
    rows = []
    grouped = known.sort(*by, "batch", "time", nulls_last=True).partition_by(*by, as_dict=True, maintain_order=True) \
        if by else {(): known.sort("batch", "time")}  # fmt: skip
    for key, part in grouped.items():
        rows.append((*key, *_fitted(part)))
    schema = {**{name: timings.schema[name] for name in by}, **_SCHEMA}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _fitted(part: pl.DataFrame) -> tuple[object, ...]:
    sizes = part["batch"].unique().sort()
    ends = (int(part["batch"].min()), int(part["batch"].max()))  # type: ignore[arg-type]
    time, notes = _line(part["batch"].to_numpy(), part["time"].to_numpy()), []
    if time is None:
        return (part.height, sizes.len(), *ends, *[None] * 14, "one size of batch tells no curve")
    fixed, each = time[:2]
    if sizes.len() < 3:
        notes.append("two sizes of batch: the fit cannot be wrong, nor checked")
    if each == 0:
        notes.append("no part of the time grows with the batch, so no throughput is the most")
    most = (1000 / each, fixed / each) if each > 0 else (None, None)
    metered = part.filter(pl.col("energy").is_not_null())
    energy = _line(metered["batch"].to_numpy(), metered["energy"].to_numpy()) or (None,) * 6
    return (part.height, sizes.len(), *ends, *time, *most, *energy, "; ".join(notes) or None)


def _line(
    batch: Floats, value: Floats
) -> tuple[float, float, float, float, float | None, float | None] | None:
    """Return the fixed part, the part of each item, and how wrong they are; None with one size."""
    sizes = np.unique(batch)
    if len(sizes) < 2:
        return None
    fixed, each = _solve(batch, value)
    wrong = np.abs((fixed + each * batch) / value - 1)
    left_out = np.full(len(batch), np.nan)
    for size in sizes if len(sizes) > 2 else ():
        gone = batch == size
        a, b = _solve(batch[~gone], value[~gone])
        left_out[gone] = np.abs((a + b * size) / value[gone] - 1)
    return fixed, each, *_errors(wrong), *(_errors(left_out) if len(sizes) > 2 else (None, None))


def _solve(batch: Floats, value: Floats) -> tuple[float, float]:
    from scipy.optimize import nnls

    columns = np.column_stack([1 / value, batch / value])
    scale = columns.max(axis=0)  # columns of like size lose least to rounding
    found, _ = nnls(columns / scale, np.ones(len(batch)))
    fixed, each = found / scale
    return float(fixed), float(each)


def _errors(wrong: Floats) -> tuple[float, float]:
    return float(np.median(wrong)), float(np.quantile(wrong, 0.9))


def batch_curve(
    fits: pl.DataFrame, batches: Sequence[int], *, rate_per_hour: Decimal | None = None
) -> pl.DataFrame:
    """Draw time, throughput, energy and spend against the size of the batch.

    Parameters
    ----------
    fits : polars.DataFrame
        From `fit_batching`.
    batches : sequence of int
        Sizes.
    rate_per_hour : Decimal, optional
        What the machine takes in an hour.

    Returns
    -------
    polars.DataFrame
        The columns that tell curves apart, ``batch`` (Int64), ``time_ms`` of the batch,
        ``throughput_per_s`` (items), ``energy_j`` (per item), ``per_1m_items`` (amount; null without a
        rate) (Float64), ``measured`` (Boolean: within the sizes that were measured; beyond them the line
        is a guess, since memory ends it).

    Raises
    ------
    InputError
        A batch that is no whole number from 1 up.

    Examples
    --------
    >>> fits = fit_batching(pl.DataFrame({"items": [1, 8, 32], "wall_ms": [12.0, 26.0, 74.0]}), by=())
    >>> batch_curve(fits, [20], rate_per_hour=Decimal("1.8")).select(
    ...     pl.col("time_ms", "throughput_per_s", "per_1m_items").round(6), "measured").row(0)
    (50.0, 400.0, 1.25, True)
    """
    if not batches or any(size < 1 for size in batches):
        raise InputError("batches are whole numbers from 1 up", hint="such as [1, 8, 32]")
    b = pl.col("batch")
    time = pl.col("fixed_ms") + pl.col("per_item_ms") * b
    rate = pl.lit(None if rate_per_hour is None else float(rate_per_hour), pl.Float64)
    return fits.join(pl.DataFrame({"batch": batches}, schema={"batch": pl.Int64}), how="cross").select(
        *_keys(fits),
        "batch",
        time.alias("time_ms"),
        (1000 * b / time).alias("throughput_per_s"),
        (pl.col("per_item_j") + pl.col("fixed_j") / b).alias("energy_j"),
        (rate / 3600 * 1e6 * time / (1000 * b)).alias("per_1m_items"),
        b.is_between("smallest_batch", "largest_batch").alias("measured"),
    )


def largest_batch(fits: pl.DataFrame, *, max_ms: float) -> pl.DataFrame:
    """Tell the largest measured size of batch that is done in time, and what it serves.

    Parameters
    ----------
    fits : polars.DataFrame
        From `fit_batching`.
    max_ms : float
        Time that a batch may take (milliseconds). An item waits for its batch to fill beside that.

    Returns
    -------
    polars.DataFrame
        The columns that tell curves apart, ``batch`` (Int64; never above the largest that was measured),
        ``time_ms``, ``capacity_per_s`` (items); null where not even one item is done in time or nothing
        was fitted, and ``note`` says so, or that the largest measured one is still in time.

    Raises
    ------
    InputError
        A time that is none.

    Examples
    --------
    >>> fits = fit_batching(pl.DataFrame({"items": [1, 8, 32], "wall_ms": [12.0, 26.0, 74.0]}), by=())
    >>> largest_batch(fits, max_ms=50).select("batch", pl.col("capacity_per_s").round(6)).row(0)
    (20, 400.0)
    """
    if not (math.isfinite(max_ms) and max_ms > 0):
        raise InputError(f"max_ms is a number above 0, not {max_ms}")
    room = (max_ms - pl.col("fixed_ms")) / pl.col("per_item_ms") + _SLACK
    most = pl.col("largest_batch").cast(pl.Float64)
    # Nothing that grows with the batch: every size is in time, or none.
    flat = pl.when(pl.col("fixed_ms") <= max_ms).then(most).otherwise(0.0)
    size = pl.when(pl.col("per_item_ms") > 0).then(room.floor()).otherwise(flat)
    time = pl.col("fixed_ms") + pl.col("per_item_ms") * pl.col("batch")
    return (
        fits.with_columns(pl.min_horizontal(size, most).alias("size"))
        .with_columns(
            pl.when(pl.col("size") >= 1, pl.col("fixed_ms").is_not_null())
            .then("size")
            .cast(pl.Int64)
            .alias("batch")
        )
        .select(
            *_keys(fits),
            "batch",
            time.alias("time_ms"),
            (1000 * pl.col("batch") / time).alias("capacity_per_s"),
            pl.when(pl.col("fixed_ms").is_null())
            .then(pl.col("note"))
            .when(pl.col("batch").is_null())
            .then(pl.lit(f"not even one item is done within {max_ms:g} ms"))
            .when(pl.col("batch") == pl.col("largest_batch"))
            .then(pl.lit("the largest batch that was measured is in time"))
            .alias("note"),
        )
    )


def _keys(fits: pl.DataFrame) -> list[str]:
    return [name for name in fits.columns if name not in _SCHEMA]
