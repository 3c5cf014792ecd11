"""Rows that cannot be accepted: kept with their reason, their place and the money at stake."""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import polars as pl

from finops_lab.ingestion.registry import RAW, REASONS
from finops_lab.money import MONEY

__all__ = ["SCHEMA", "file_for", "read", "rejected"]

SCHEMA: dict[str, pl.DataType] = {
    "table": pl.String(),
    "source_file": pl.String(),
    "source_row": pl.Int64(),
    "reason": pl.String(),
    "BilledCost": MONEY,
    "EffectiveCost": MONEY,
    "BillingCurrency": pl.String(),
    "row": pl.String(),
}


def rejected(table: str) -> list[pl.Expr]:
    """Turn rows of a reader that broke a rule into quarantine rows.

    Parameters
    ----------
    table : str
        The contract the rows were meant for. They carry its columns, `RAW` and `REASONS`.

    Returns
    -------
    list of polars.Expr
        `SCHEMA`, ``row`` being `delivered_row`. Amounts are null where the row has none or none
        that can be read.
    """
    bill = table == "costs"
    amounts = [
        (pl.col(name) if bill else pl.lit(None)).cast(SCHEMA[name]).alias(name)
        for name in ("BilledCost", "EffectiveCost", "BillingCurrency")
    ]
    return [
        pl.lit(table).alias("table"),
        pl.col("x_SourceFile" if bill else "source_file").alias("source_file"),
        pl.col("x_SourceRow" if bill else "source_row").alias("source_row"),
        pl.col(REASONS).list.join("; ").alias("reason"),
        *amounts,
        pl.col("row"),
    ]


def delivered_row() -> pl.Expr:
    """Return ``row``: the row as delivered, as JSON, where it has a reason; null for the others."""

    def encode(columns: Sequence[pl.Series]) -> pl.Series:
        reasons, raw = columns
        places = reasons.is_not_null().arg_true()
        nothing = pl.repeat(None, reasons.len(), dtype=pl.String, eager=True)
        # Text of every row would cost more than all the rest of ingestion.
        return nothing.scatter(places, raw.gather(places).struct.json_encode()) if places.len() else nothing

    columns = [pl.col(REASONS), pl.col(RAW)]
    return pl.map_batches(columns, encode, return_dtype=pl.String, is_elementwise=True).alias("row")


def file_for(folder: Path, table: str, source_file: str) -> Path:
    """Return the one quarantine file that belongs to a source file."""
    digest = sha256(source_file.encode()).hexdigest()[:12]
    return folder / table / f"{Path(source_file).name.split('.')[0]}-{digest}.parquet"


def settle(staged: Path, target: Path) -> None:
    """Put a finished quarantine file in place in one step, or remove the outdated one."""
    if pl.scan_parquet(staged).select(pl.len()).collect().item():
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(staged, target)
    else:
        target.unlink(missing_ok=True)
        staged.unlink()


def read(folder: Path) -> pl.LazyFrame:
    """Read every quarantined row of a lab, ordered by file and row."""
    found = sorted(folder.rglob("*.parquet")) if folder.is_dir() else []
    if not found:
        return pl.LazyFrame(schema=SCHEMA)
    return pl.scan_parquet(found, schema=SCHEMA).sort("source_file", "source_row")
