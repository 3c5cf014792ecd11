"""What readers of bills share: delivered columns in, rows of the `costs` contract out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from finops_lab import contracts
from finops_lab.contracts import listed
from finops_lab.ingestion._findings import joined, rounded, unread
from finops_lab.ingestion._moments import MOMENT, Epoch, moments
from finops_lab.ingestion._scan import ROW, as_text
from finops_lab.ingestion._tags import tag_columns, tags_readable
from finops_lab.ingestion.registry import NOTES, RAW, REASONS
from finops_lab.money import MONEY, SCALE, parse

__all__ = ["bill", "free_names", "own_name"]

Finding = tuple[pl.Expr, pl.Expr]

_GIVEN = "_given_"


def bill(
    raw: pl.LazyFrame,
    columns: Mapping[str, pl.Expr],
    *,
    amounts: Sequence[str],
    times: Sequence[str],
    currency: pl.Expr | None = None,
    epoch: Epoch | None = None,
    keep: Mapping[str, str] | None = None,
    tag_keys: Sequence[str] = (),
    strip: bool = True,
    reasons: Sequence[Finding] = (),
    notes: Sequence[Finding] = (),
) -> pl.LazyFrame:
    """Make bill rows of a scanned export.

    First every column of `amounts` is read as exact Decimal and every column of `times` as a moment,
    in place; then `columns` are computed. So an expression of `columns` may add and choose amounts,
    and a value that could not be read becomes a reason that names the export's own column.

    Parameters
    ----------
    raw : polars.LazyFrame
        The export's columns and ``_row`` (`finops_lab.ingestion._scan.scan_table`).
    columns : mapping
        Expression of each column of the `costs` contract over the export's columns. Contract columns
        that are absent here are null; ``x_BillingMonth`` and ``x_SourceRow`` are derived. ``Tags``
        is JSON text.
    amounts, times : sequence of str
        Columns of the export that hold money, prices and quantities; and points in time.
    currency : polars.Expr, optional
        The row's ISO 4217 code as delivered, which a currency symbol in an amount must fit.
    epoch : {"s", "ms", "us", "ns"}, optional
        What numbers in `times` count since 1970.
    keep : mapping, optional
        Further columns of the export, and the ``x_`` names (`own_name`) they keep as text.
    tag_keys : sequence of str
        Normalised tag keys that become ``x_tag_<key>``.
    strip : bool
        Take blanks off texts; without it they are kept as delivered.
    reasons, notes : sequence of (polars.Expr, polars.Expr)
        Further findings over contract columns and the export's (those not named like a contract
        column): condition and text. A reason sends the row to quarantine, a note is only told.

    Returns
    -------
    polars.LazyFrame
        The contract without ``x_SourceFile``, kept columns, tag columns, `RAW`, `REASONS`, `NOTES`.
    """
    schema = {name: dtype for name, dtype in raw.collect_schema().items() if name != ROW}
    wanted = contracts.dtypes("costs")
    missing = [name for name in (*amounts, *times) if name not in schema]
    assert not missing, f"the reader names columns that are not there: {missing}"
    read = raw.with_columns(
        # polars cannot write bytes as JSON, which quarantine does with this column.
        pl.struct(
            as_text(pl.col(name), dtype).alias(name) if "Binary" in str(dtype) else pl.col(name)
            for name, dtype in schema.items()
        ).alias(RAW),
        *[as_text(pl.col(name), schema[name]).alias(f"{_GIVEN}{name}") for name in (*amounts, *times)],
    ).with_columns(
        *[_amount(name, schema[name], currency) for name in amounts],
        *[_moment(name, schema[name], epoch) for name in times],
    )
    told = unread(
        [(name, f"{_GIVEN}{name}", "a number") for name in amounts]
        + [(name, f"{_GIVEN}{name}", "a date") for name in times]
    )
    changed = rounded([(name, f"{_GIVEN}{name}") for name in amounts if _may_round(schema[name])])
    ours = [name for name in wanted if name != "x_SourceFile"]
    kept = dict(keep or {})
    made = {
        **{name: pl.lit(None, dtype=wanted[name]) for name in ours},
        **{name: _cast(expr, wanted[name], strip) for name, expr in columns.items()},
        "x_SourceRow": pl.col(ROW).cast(pl.Int64),
        **{new: as_text(pl.col(old), schema[old]) for old, new in kept.items()},
    }
    done = read.with_columns(told.alias(REASONS), changed.alias(NOTES)).with_columns(
        expr.alias(name) for name, expr in made.items()
    )
    done = done.with_columns(pl.col("BillingPeriodStart").dt.strftime("%Y-%m").alias("x_BillingMonth"))
    if "Tags" in columns:
        notes = [*notes, (~tags_readable(), pl.lit("Tags: not JSON, left unread"))]
    if reasons:
        done = done.with_columns(joined(pl.col(REASONS), listed(reasons)).alias(REASONS))
    if notes:
        done = done.with_columns(joined(pl.col(NOTES), listed(notes)).alias(NOTES))
    if tag_keys and "Tags" in columns:
        done = done.with_columns(tag_columns(tag_keys).alias("_tags")).with_columns(
            pl.col("_tags").struct.field(f"x_tag_{key}") for key in tag_keys
        )
    elif tag_keys:
        done = done.with_columns(pl.lit(None, dtype=pl.String).alias(f"x_tag_{key}") for key in tag_keys)
    return done.select(*ours, *kept.values(), *(f"x_tag_{k}" for k in tag_keys), RAW, REASONS, NOTES)


def own_name(name: str) -> str:
    """Spell a column of an export as one of our own: ``x_`` in front, words joined by ``_``.

    Examples
    --------
    >>> own_name("lineItem/UsageType"), own_name("x_Foo")
    ('x_lineItem_UsageType', 'x_Foo')
    """
    spelled = re.sub(r"[^\w.-]+", "_", name.strip())
    return spelled if spelled.startswith("x_") else f"x_{spelled}"


def free_names(names: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """Give every export column a kept name of its own; Delta tells no names apart by case.

    Examples
    --------
    >>> free_names(["Meter", "meter", "x_Zone"])
    {'Meter': 'x_Meter', 'meter': 'x_meter_2', 'x_Zone': 'x_Zone'}
    """
    used = {name.lower() for name in (*contracts.dtypes("costs"), *taken)}
    found = {}
    for name in names:
        free, number = own_name(name), 2
        while free.lower() in used:
            free, number = f"{own_name(name)}_{number}", number + 1
        used.add(free.lower())
        found[name] = free
    return found


def _cast(expr: pl.Expr, dtype: pl.DataType, strip: bool) -> pl.Expr:
    if dtype != pl.String or not strip:
        return expr.cast(dtype)
    text = expr.cast(pl.String).str.strip_chars()
    return pl.when(text != "").then(text)


def _is_text(dtype: pl.DataType) -> bool:
    return dtype == pl.String or dtype.is_float()


def _may_round(dtype: pl.DataType) -> bool:
    return _is_text(dtype) or (isinstance(dtype, pl.Decimal) and dtype.scale > SCALE)


def _amount(name: str, dtype: pl.DataType, currency: pl.Expr | None) -> pl.Expr:
    if _is_text(dtype):
        # A float column is read by its shortest decimal spelling, which is what was meant.
        return parse(pl.col(name).cast(pl.String), currency).alias(name)
    if not dtype.is_numeric():
        return pl.lit(None, dtype=MONEY).alias(name)
    return pl.col(name).cast(MONEY, strict=False)


def _moment(name: str, dtype: pl.DataType, epoch: Epoch | None) -> pl.Expr:
    column = pl.col(name)
    if isinstance(dtype, pl.Datetime):
        zoned = column if dtype.time_zone else column.dt.replace_time_zone("UTC")
        return zoned.dt.convert_time_zone("UTC").dt.cast_time_unit("us")
    if dtype == pl.Date:
        return column.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return moments(as_text(column, dtype), epoch=epoch).cast(MOMENT).alias(name)
