"""The points frame: what is known of each variant, one row each, in one set of columns."""

from __future__ import annotations

from difflib import get_close_matches

import polars as pl

from finops_lab.errors import InputError

__all__ = ["KEYS", "POINTS", "as_points", "extras"]

_Schema = dict[str, pl.DataType | type[pl.DataType]]
KEYS = ("model", "variant")
POINTS: _Schema = {
    "model": pl.String,
    "variant": pl.String,
    "precision": pl.String,
    "hardware": pl.String,
    "serving": pl.String,
    "region": pl.String,
    "workload": pl.String,
    "BillingCurrency": pl.String,
    "cost_basis": pl.String,
    "per_1000_inferences": pl.Float64,
    "per_1m_tokens": pl.Float64,
    "quality_metric": pl.String,
    "quality": pl.Float64,
    "higher_is_better": pl.Boolean,
    "quality_n": pl.Int64,
    "p50_ms": pl.Float64,
    "p95_ms": pl.Float64,
    "p99_ms": pl.Float64,
    "worst_p95_ms": pl.Float64,
    "throughput_per_s": pl.Float64,
    "energy_j": pl.Float64,
    "memory_mib": pl.Float64,
    "size_mib": pl.Float64,
    "error_rate": pl.Float64,
    "note": pl.String,
}
_NOT_NEGATIVE = [name for name, kind in POINTS.items() if kind != pl.String and name != "quality"]


def as_points(frame: pl.DataFrame | pl.LazyFrame, *, file: str | None = None) -> pl.DataFrame:
    """Check a table of variants and fill what it does not know with null.

    Parameters
    ----------
    frame : polars.DataFrame or polars.LazyFrame
        Columns of `POINTS`, at least ``model`` or ``variant``. Other columns are kept behind them,
        but one that looks like a misspelt column of `POINTS` is refused.
    file : str, optional
        Where the table was read, for errors.

    Returns
    -------
    polars.DataFrame
        Every column of `POINTS` in its order and dtype, then the others. Rows in the frame's order.
        NaN is null: both say that a figure is not known. Money is per 1,000 successful inferences
        (``per_1000_inferences``) or per million tokens (``per_1m_tokens``) in ``BillingCurrency``, or in
        the unit that ``cost_basis`` names: ``measured`` is seconds of the machine, ``relative`` the
        seconds that a published throughput implies; both tell ratios, not money.

    Raises
    ------
    InputError
        Neither key column, a misspelt column, a value of another kind, below zero or infinite, or
        two rows of one variant and workload.

    Examples
    --------
    >>> points = as_points(pl.DataFrame({"variant": ["fp16", "int8"], "per_1000_inferences": [4, 1]}))
    >>> points.select("variant", "per_1000_inferences", "quality").rows()
    [('fp16', 4.0, None), ('int8', 1.0, None)]
    """
    frame = frame.lazy().collect()
    if not set(KEYS) & set(frame.columns):
        raise InputError(
            "a table of variants needs the column 'variant'",
            file=file,
            hint=f"it has {', '.join(frame.columns) or 'none'}",
        )
    for name in frame.columns:
        close = [] if name in POINTS else get_close_matches(name, POINTS, n=1, cutoff=0.85)
        if close and close[0] not in frame.columns:
            raise InputError("no such column", file=file, column=name, hint=f"did you mean {close[0]!r}?")
    others = [name for name in frame.columns if name not in POINTS]
    points = frame.select(
        *[_cast(frame, name, kind, file).alias(name) for name, kind in POINTS.items()], *others
    )
    for name in _NOT_NEGATIVE:
        if points.schema[name].is_numeric():
            _refuse(points, name, pl.col(name) < 0, "is below zero", file)
    for name, kind in points.schema.items():
        if name in POINTS and kind == pl.Float64:
            _refuse(points, name, pl.col(name).is_infinite(), "is not finite", file)
    # One variant may be measured on several machines, settings and workloads: each is a point.
    told_apart = [*KEYS, "precision", "hardware", "serving", "region", "workload"]
    twice = points.select(pl.struct(*told_apart, "quality_metric").is_duplicated().arg_true())
    if twice.height:
        row = points.row(twice.item(0, 0), named=True)
        name = " ".join(str(row[key]) for key in told_apart if row[key] is not None)
        raise InputError(
            f"two rows describe {name or 'the same variant'}",
            file=file,
            row=twice.item(1, 0) + 1,
            hint="keep one, or tell them apart by hardware, serving, region or workload",
        )
    return points


def extras(points: pl.DataFrame) -> list[str]:
    """Return the columns that tell rows of one model and variant apart, for readers.

    Parameters
    ----------
    points : polars.DataFrame
        `POINTS`.

    Returns
    -------
    list of str
        None where model and variant do, else the first few of ``hardware``, ``serving``, ``region`` and
        ``precision`` that do together.

    Examples
    --------
    >>> points = pl.DataFrame({"variant": ["int8", "int8"], "hardware": ["a100", "h100"]})
    >>> extras(as_points(points)), extras(as_points(points.head(1)))
    (['hardware'], [])
    """
    found: list[str] = []
    for name in ("hardware", "serving", "region", "precision"):
        if not points.select(pl.struct(*KEYS, *found).is_duplicated().any()).item():
            break
        if points[name].n_unique() > 1:
            found.append(name)
    return found


def _cast(
    frame: pl.DataFrame, name: str, kind: pl.DataType | type[pl.DataType], file: str | None
) -> pl.Series:
    if name not in frame.columns:
        return pl.Series(name, [None], dtype=kind).new_from_index(0, frame.height)
    column = frame[name]
    column = column.fill_nan(None) if column.dtype.is_float() else column
    cast = column.cast(kind, strict=False)
    lost = (cast.is_null() & column.is_not_null()).arg_true()
    if lost.len():
        at = lost.item(0)
        raise InputError(f"{column[at]!r} is no {kind}", file=file, row=at + 1, column=name)
    return cast


def _refuse(points: pl.DataFrame, name: str, wrong: pl.Expr, why: str, file: str | None) -> None:
    found = points.select(wrong.fill_null(False).arg_true())
    if found.height:
        at = found.item(0, 0)
        raise InputError(f"{points.item(at, name)} {why}", file=file, row=at + 1, column=name)
