"""The lab's costs as FOCUS 1.2: CSV, CSV.gz and Parquet.

Source: FinOps Open Cost and Usage Specification 1.2, Cost and Usage dataset and its attributes. The
57 columns come first, sorted by name as the specification orders them, then the bills' own ``x_``
columns. Left out are columns that only later versions know (`Written` counts what they held) and
what the lab itself derives: ``x_BillingMonth``, ``x_SourceFile``, ``x_SourceRow`` and ``x_tag_...``,
which the FOCUS reader derives again. Nothing is made up: a value that the bill lacks stays null.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from finops_lab import contracts
from finops_lab.errors import InputError
from finops_lab.money import MONEY, parse

__all__ = ["COLUMNS", "KINDS", "Kind", "Written", "focus", "scan_focus", "totals", "write_focus"]

Kind = Literal["csv", "csv.gz", "parquet"]
KINDS: tuple[Kind, ...] = ("csv", "csv.gz", "parquet")

# FOCUS 1.3 and 1.4 added these.
_LATER = frozenset(
    {
        "AllocatedMethodDetails",
        "AllocatedMethodId",
        "AllocatedResourceId",
        "AllocatedResourceName",
        "AllocatedTags",
        "CommitmentProgramEligibilityDetails",
        "ContractApplied",
        "HostProviderName",
        "InvoiceDetailId",
        "ServiceProviderName",
    }
)
COLUMNS: tuple[str, ...] = tuple(
    sorted(n for n in contracts.dtypes("costs") if not n.startswith("x_") and n not in _LATER)
)
_LABS = ("x_BillingMonth", "x_SourceFile", "x_SourceRow")
_PAIRS = ("SkuPriceDetails", "Tags")
# Some exports write key-value pairs without the braces around them.
_BARE_PAIRS = r'^\s*"(?:[^"\\]|\\.)*"\s*:'
_MOMENT = "%Y-%m-%dT%H:%M:%S%.fZ"


@dataclass(frozen=True)
class Written:
    """What `write_focus` wrote.

    Attributes
    ----------
    path : pathlib.Path
        The file.
    rows : int
        Charges in it.
    left_out : dict of str to int
        Columns that FOCUS 1.2 does not know and that held values, and how many.
    """

    path: Path
    rows: int
    left_out: dict[str, int]


def focus(costs: pl.LazyFrame, version: str = "1.2") -> pl.LazyFrame:
    """Shape bill rows as a FOCUS Cost and Usage dataset.

    Parameters
    ----------
    costs : polars.LazyFrame
        Rows of the `costs` contract; a column that is absent becomes null.
    version : str
        Of FOCUS; only ``1.2``.

    Returns
    -------
    polars.LazyFrame
        `COLUMNS` in order (money ``Decimal(38, 18)`` in ``BillingCurrency``, moments in UTC, the rest
        text), then the bills' ``x_`` columns by name. Empty text is null, as FOCUS asks, and
        key-value pairs that lack their braces get them; every other value is the bill's.

    Raises
    ------
    InputError
        When the version is another.
    """
    if version != "1.2":
        raise InputError(f"costs cannot be written as FOCUS {version}", hint="the version written is 1.2")
    given = costs.collect_schema()
    wanted = contracts.dtypes("costs")
    own = sorted(name for name in given if name.startswith("x_") and not _is_labs(name))
    shaped = [_shaped(name, given.get(name), wanted[name]) for name in COLUMNS]
    return costs.select(*shaped, *[_shaped(name, given[name], given[name]) for name in own])


def write_focus(costs: pl.LazyFrame, path: str | Path, kind: Kind | None = None) -> Written:
    """Write bill rows as one FOCUS 1.2 file, row by row, all of it or none.

    CSV is UTF-8 without a byte order mark, quoted as in RFC 4180, lines ending in LF; null is an
    empty field, money plain digits with a point (``2.0``, ``0.0000000181``), moments
    ``2026-09-01T00:00:00Z``. Text is data and stays as it is, ``=cmd|...`` too: a spreadsheet that
    runs formulas out of a CSV is no tool for a bill of which others write the tags. The same rows
    give the same bytes.

    Parameters
    ----------
    costs : polars.LazyFrame
        Rows of the `costs` contract.
    path : str or pathlib.Path
        File to write; an existing one is replaced when the new one is complete. Its folder is made.
    kind : {"csv", "csv.gz", "parquet"}, optional
        Told by the file's name when absent.

    Returns
    -------
    Written

    Raises
    ------
    InputError
        When the path is a folder or cannot be written, or a nested ``x_`` column meets CSV.
    """
    target = Path(path)
    kind = kind or _kind(target)
    if target.is_dir():
        raise InputError("is a folder", file=target, hint="name a file, such as costs.csv.gz")
    frame = focus(costs)
    unknown = sorted(
        n for n in costs.collect_schema() if n not in COLUMNS and n not in frame.collect_schema()
    )
    unknown = [name for name in unknown if not (_is_labs(name) or name.startswith("_"))]
    counts = costs.select(pl.len().alias("rows"), *[pl.col(name).count() for name in unknown]).collect()
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if kind == "parquet":
            frame.sink_parquet(partial)
        else:
            _as_text(frame).sink_csv(
                partial,
                compression="gzip" if kind == "csv.gz" else "uncompressed",
                check_extension=False,
                float_scientific=False,
            )
        os.replace(partial, target)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", file=target) from None
    finally:
        with suppress(OSError):
            partial.unlink()
    rows, *values = counts.row(0)
    return Written(target, rows, {n: v for n, v in zip(unknown, values, strict=True) if v})


def scan_focus(path: str | Path) -> pl.LazyFrame:
    """Scan a written file as it stands there: all text in a CSV, as stored in Parquet.

    Parameters
    ----------
    path : str or pathlib.Path
        Written by `write_focus`.
    """
    with Path(path).open("rb") as stream:
        parquet = stream.read(4) == b"PAR1"
    return pl.scan_parquet(path) if parquet else pl.scan_csv(path, infer_schema=False)


def totals(costs: pl.LazyFrame) -> pl.DataFrame:
    """Add up a bill, to compare a written file with what it was written from.

    Parameters
    ----------
    costs : polars.LazyFrame
        Rows with the columns of FOCUS, their money exact or as text.

    Returns
    -------
    polars.DataFrame
        ``BillingCurrency``, ``rows`` and the exact sums of ``BilledCost`` and ``EffectiveCost``, by
        currency.
    """
    schema = costs.collect_schema()
    sums = []
    for name in ("BilledCost", "EffectiveCost"):
        column = pl.col(name)
        sums.append((parse(column) if schema[name] == pl.String else column.cast(MONEY)).sum().alias(name))
    by = costs.group_by(pl.col("BillingCurrency").cast(pl.String))
    return by.agg(pl.len().cast(pl.Int64).alias("rows"), *sums).sort("BillingCurrency").collect()


def _is_labs(name: str) -> bool:
    return name in _LABS or name.startswith("x_tag_")


def _kind(path: Path) -> Kind:
    for kind in KINDS:
        if path.name.lower().endswith(f".{kind}"):
            return kind
    raise InputError(
        "the name does not tell the format",
        file=path,
        hint=f"end it in .{', .'.join(KINDS)}, or name a format",
    )


def _shaped(name: str, given: pl.DataType | None, wanted: pl.DataType) -> pl.Expr:
    if given is None:
        return pl.lit(None, dtype=wanted).alias(name)
    column = pl.col(name).cast(wanted)
    if wanted != pl.String:
        return column
    if name in _PAIRS:
        bare = column.str.contains(_BARE_PAIRS)
        column = pl.when(bare).then(pl.concat_str(pl.lit("{"), column, pl.lit("}"))).otherwise(column)
    return pl.when(column != "").then(column).alias(name)


def _as_text(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Spell money and moments as FOCUS writes them in text."""
    made = []
    for name, dtype in frame.collect_schema().items():
        column = pl.col(name)
        if isinstance(dtype, pl.Decimal) and dtype.scale:
            # One zero stays: tools that guess types, focus-validator too, take `2` for an integer,
            # and a column that begins with 10,000 of them for integers throughout.
            made.append(column.cast(pl.String).str.strip_chars_end("0").str.replace(r"\.$", ".0"))
        elif isinstance(dtype, pl.Datetime):
            utc = column.dt.convert_time_zone("UTC") if dtype.time_zone else column
            made.append(utc.dt.strftime(_MOMENT))
        elif dtype.is_nested() or dtype in (pl.Binary, pl.Object):
            raise InputError(
                f"a value of {dtype} has no place in a CSV", column=name, hint="write Parquet instead"
            )
    return frame.with_columns(made)
