"""One file read once: good rows, bad rows and notes into staging files, and its log entry."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import polars as pl

from finops_lab import contracts
from finops_lab.errors import FinopsError
from finops_lab.ingestion import quarantine, registry
from finops_lab.ingestion.delivered import Delivered
from finops_lab.ingestion.lake import FileEntry, Unit
from finops_lab.ingestion.registry import NOTES, RAW, REASONS
from finops_lab.money import exact_sum

__all__ = ["Staged", "stage", "without"]


class Staged:
    """Where the rows of one file for one table wait to be committed."""

    def __init__(self, folder: Path, stem: str, table: str) -> None:
        self._base = folder / f"{stem}.{table}"

    @property
    def good(self) -> pl.LazyFrame:
        """Return the accepted rows."""
        return pl.scan_parquet(f"{self._base}.good")

    def part(self, kind: str) -> Path:
        """Return the file of one kind of rows: good, bad or notes."""
        return Path(f"{self._base}.{kind}")


def stage(item: Delivered, reader: registry.Reader, folder: Path) -> tuple[FileEntry, Staged]:
    """Read one file once with one reader.

    Parameters
    ----------
    item : Delivered
        The file.
    reader : Reader
        One of its readers.
    folder : pathlib.Path
        Where the staging files go.

    Returns
    -------
    (FileEntry, Staged)
        What the log says of the file, and its rows.

    Raises
    ------
    InputError
        When the file cannot be read.
    """
    table = reader.TABLE
    source = "x_SourceFile" if table == "costs" else "source_file"
    staged = Staged(folder, item.stem, table)
    try:
        frame = reader.read(item.path, item.settings).with_columns(pl.lit(item.name).alias(source))
        columns = frame.collect_schema().names()
        frame = frame.with_columns(_both(pl.col(REASONS), contracts.reasons(table)).alias(REASONS))
        bad = pl.col(REASONS).list.len().fill_null(0) > 0
        ours = list(contracts.dtypes(table))
        extra = [n for n in columns if n not in (*ours, RAW, REASONS, NOTES)]
        note = pl.col(NOTES) if NOTES in columns else pl.lit(None, dtype=pl.List(pl.String)).alias(NOTES)
        pl.collect_all(
            [
                frame.filter(~bad)
                .select(*ours, *extra)
                .sink_parquet(staged.part("good"), compression="lz4", statistics=False, lazy=True),
                quarantine.rejected(frame.filter(bad), table).sink_parquet(staged.part("bad"), lazy=True),
                frame.select(note)
                .filter(pl.col(NOTES).is_not_null())
                .sink_parquet(staged.part("notes"), lazy=True),
            ]
        )
    except FinopsError:
        raise
    except (pl.exceptions.PolarsError, OSError, EOFError, zlib.error) as error:
        raise registry.unreadable(item.path, error) from None
    return _entry(item, reader, staged), staged


def _both(left: pl.Expr, right: pl.Expr) -> pl.Expr:
    """Join two lists of reasons; a value that could not be read is not also reported missing."""

    def join(columns: Sequence[pl.Series]) -> pl.Series:
        first, second = columns
        if first.null_count() == first.len() and second.null_count() == second.len():
            return first
        merged: list[list[str] | None] = []
        for a, b in zip(first.to_list(), second.to_list(), strict=True):
            told = {text.partition(":")[0] for text in a or ()}
            if "line" in told:  # nothing of the row could be read: that it lacks columns goes without saying
                b = None
            merged.append([*(a or ()), *(t for t in b or () if t.partition(":")[0] not in told)] or None)
        return pl.Series(merged, dtype=pl.List(pl.String))

    return pl.map_batches([left, right], join, return_dtype=pl.List(pl.String), is_elementwise=True)


def _entry(item: Delivered, reader: registry.Reader, staged: Staged) -> FileEntry:
    good, bad = staged.good, pl.scan_parquet(staged.part("bad"))
    accepted = good.select(pl.len()).collect().item()
    refused = bad.select(pl.len()).collect().item()
    money: dict[str, dict[str, str]] = {}
    units: list[Unit] = []
    if reader.TABLE == "costs":
        for fate, frame in (("accepted", good), ("quarantined", bad)):
            sums = frame.group_by("BillingCurrency").agg(pl.col("BilledCost").sum()).collect()
            for currency, amount in sums.iter_rows():
                money.setdefault(currency or "unknown", {})[fate] = str(amount)
        found = good.select("ProviderName", "BillingAccountId", "x_BillingMonth").unique().collect()
        units = sorted(Unit(*row) for row in found.iter_rows())
    return FileEntry(
        path=item.name,
        sha256=item.sha256,
        settings=item.fingerprint,
        format=reader.FORMAT,
        stream=item.stream,
        delivered_on=item.delivered_on,
        rows_read=accepted + refused,
        rows_accepted=accepted,
        rows_quarantined=refused,
        money=money,
        reasons=_counts(bad.select(pl.col("reason").str.split("; ")), "reason"),
        notes=_counts(pl.scan_parquet(staged.part("notes")), NOTES),
        units=tuple(units),
    )


def _counts(frame: pl.LazyFrame, column: str) -> dict[str, int]:
    found = frame.explode(column, empty_as_null=False).group_by(column).agg(pl.len()).collect().sort(column)
    return {str(text): int(n) for text, n in found.iter_rows()}


def without(rows: pl.LazyFrame, entry: FileEntry, late: set[Unit]) -> tuple[pl.LazyFrame, FileEntry]:
    """Leave out units of which there is a newer delivery, and say so in the log entry."""
    keys = pl.DataFrame(
        [(u.provider, u.account, u.month) for u in sorted(late)],
        schema=["ProviderName", "BillingAccountId", "x_BillingMonth"],
        orient="row",
    ).lazy()
    old = rows.join(keys, on=keys.collect_schema().names(), how="semi")
    rows = rows.join(keys, on=keys.collect_schema().names(), how="anti")
    count = old.select(pl.len()).collect().item()
    money = {currency: dict(fates) for currency, fates in entry.money.items()}
    sums = old.group_by("BillingCurrency").agg(pl.col("BilledCost").sum()).collect()
    for currency, amount in sums.iter_rows():
        fates = money[currency]
        fates["superseded"] = str(exact_sum((Decimal(fates.get("superseded", "0")), amount)))
        fates["accepted"] = str(exact_sum((Decimal(fates["accepted"]), amount.copy_negate())))
    return rows, replace(
        entry,
        rows_accepted=entry.rows_accepted - count,
        rows_superseded=entry.rows_superseded + count,
        money=money,
        units=tuple(u for u in entry.units if u not in late),
    )
