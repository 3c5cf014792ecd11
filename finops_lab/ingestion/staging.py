"""One file read once: good rows, bad rows and notes into staging files, and its log entry."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import polars as pl

from finops_lab import contracts
from finops_lab.errors import FinopsError, InputError
from finops_lab.ingestion import quarantine, registry
from finops_lab.ingestion.data_files import Staged
from finops_lab.ingestion.delivered import Delivered
from finops_lab.ingestion.lake import FileEntry, Unit
from finops_lab.ingestion.registry import NOTES, RAW, REASONS
from finops_lab.money import exact_sum

__all__ = ["rejected_file", "stage", "without"]


def stage(
    item: Delivered, reader: registry.Reader, folder: Path, known: Iterable[str] = ()
) -> tuple[FileEntry, Staged]:
    """Read one file once with one reader.

    Parameters
    ----------
    item : Delivered
        The file.
    reader : Reader
        One of its readers.
    folder : pathlib.Path
        Where the staging files go.
    known : iterable of str
        Columns of the table so far: one that differs in case only is taken for the same.

    Returns
    -------
    (FileEntry, Staged)
        What the log says of the file, and its rows. Rejected rows are beside them: `rejected_file`.

    Raises
    ------
    InputError
        When the file cannot be read.
    """
    table = reader.TABLE
    source = "x_SourceFile" if table == "costs" else "source_file"
    base = folder / f"{item.stem}.{table}"
    try:
        frame = reader.read(item.path, item.settings).with_columns(pl.lit(item.name).alias(source))
        spelled = {name.lower(): name for name in known}
        frame = frame.rename(lambda name: spelled.get(name.lower(), name))
        schema = frame.collect_schema()
        frame = frame.with_columns(_both(pl.col(REASONS), contracts.reasons(table)).alias(REASONS))
        ours = list(contracts.dtypes(table))
        extra = [n for n in schema if n not in (*ours, RAW, REASONS, NOTES)]
        staged = Staged(base, table, {name: schema[name] for name in (*ours, *extra)})
        if NOTES not in schema:
            frame = frame.with_columns(pl.lit(None, dtype=pl.List(pl.String)).alias(NOTES))
        _write(frame.select(*ours, *extra, NOTES, REASONS, quarantine.delivered_row()), staged)
    except FinopsError:
        raise
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, EOFError, zlib.error) as error:
        raise registry.unreadable(item.path, error) from None
    return _entry(item, reader, staged), staged


def _write(frame: pl.LazyFrame, staged: Staged) -> None:
    """Write good rows, and rows with something to tell, in one pass over the frame.

    Two sinks of one plan would read a Python source twice (polars shares no such source), so the
    batches pass through here: what there is to tell is put aside, the good rows go on to the lake's
    writer.
    """
    told = _told(staged)
    told.mkdir()
    number = itertools.count()

    def good(batch: pl.DataFrame) -> pl.DataFrame:
        if batch[REASONS].null_count() < batch.height or batch[NOTES].null_count() < batch.height:
            some = pl.col(REASONS).is_not_null() | pl.col(NOTES).is_not_null()
            rest = batch.filter(some).select(*quarantine.rejected(staged.table), NOTES)
            # Batches come in any order, files are read by name.
            rest.write_parquet(told / f"{rest['source_row'][0]:015}-{next(number):06}.parquet")
            batch = batch.filter(pl.col(REASONS).is_null())
        return batch.select(list(staged.schema))

    rows = frame.map_batches(
        good,
        schema=staged.schema,
        streamable=True,
        predicate_pushdown=False,
        projection_pushdown=False,
        slice_pushdown=False,
    )
    staged.write(rows).collect()
    schema = {**quarantine.SCHEMA, NOTES: pl.List(pl.String)}
    (pl.LazyFrame(schema=schema) if not any(told.iterdir()) else pl.scan_parquet(told)).filter(
        pl.col("reason").is_not_null()
    ).drop(NOTES).sink_parquet(rejected_file(staged))


def _told(staged: Staged) -> Path:
    return staged.folder.with_name(f"{staged.folder.name}.told")


def rejected_file(staged: Staged) -> Path:
    """Return where the rejected rows of a file wait."""
    return staged.folder.with_name(f"{staged.folder.name}.bad")


def _both(left: pl.Expr, right: pl.Expr) -> pl.Expr:
    """Join two lists of reasons; a value that could not be read is not also reported missing."""

    def join(columns: Sequence[pl.Series]) -> pl.Series:
        first, second = columns
        if first.null_count() == first.len() and second.null_count() == second.len():
            return first
        places = (first.is_not_null() | second.is_not_null()).arg_true()
        found: dict[int, list[str]] = {}
        for place, a, b in zip(
            places, first.gather(places).to_list(), second.gather(places).to_list(), strict=True
        ):
            named = {text.partition(":")[0] for text in a or ()}
            # Nothing of the row could be read: that it lacks columns goes without saying.
            more = () if "line" in named else b or ()
            found[place] = [*(a or ()), *(t for t in more if t.partition(":")[0] not in named)]
        return contracts.told({place: texts for place, texts in found.items() if texts}, first.len())

    return pl.map_batches([left, right], join, return_dtype=pl.List(pl.String), is_elementwise=True)


def _entry(item: Delivered, reader: registry.Reader, staged: Staged) -> FileEntry:
    good, bad, told = staged.rows(), pl.scan_parquet(rejected_file(staged)), _told(staged)
    accepted = good.select(pl.len()).collect().item()
    refused = bad.select(pl.len()).collect().item()
    money: dict[str, dict[str, str]] = {}
    units: list[Unit] = []
    if reader.TABLE == "costs":
        for fate, frame, row in (("accepted", good, "x_SourceRow"), ("quarantined", bad, "source_row")):
            for currency, amount in _sums(item, frame, row):
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
        notes=_counts(pl.scan_parquet(told).select(NOTES), NOTES) if any(told.iterdir()) else {},
        units=tuple(units),
        contract=contracts.version(reader.TABLE),
    )


def _sums(item: Delivered, rows: pl.LazyFrame, row: str) -> list[tuple[str | None, Decimal]]:
    """Add up what each currency was billed; refuse a file whose sum no Decimal of 38 digits holds."""
    try:
        return rows.group_by("BillingCurrency").agg(pl.col("BilledCost").sum()).collect().rows()
    except pl.exceptions.ComputeError:
        number, amount = (
            rows.select(row, "BilledCost").sort(pl.col("BilledCost").abs()).last().collect().row(0)
        )
        raise InputError(
            f"its amounts add up beyond 20 digits before the point; the largest is {amount.normalize():f}",
            file=item.path,
            row=number,
            column="BilledCost",
            hint="mend that row and deliver the file again",
        ) from None


def _counts(frame: pl.LazyFrame, column: str) -> dict[str, int]:
    frame = frame.drop_nulls().explode(column, empty_as_null=False)
    found = frame.group_by(column).agg(pl.len()).collect().sort(column)
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
