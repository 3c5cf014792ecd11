"""What one run of `ingest` did, file by file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import polars as pl

from finops_lab.ingestion.lake import FileEntry
from finops_lab.money import MONEY, exact_sum

__all__ = ["Done", "IngestSummary", "Progress", "Replaced", "Work", "summarise"]

_FATES = ("accepted", "quarantined", "superseded")


@dataclass(frozen=True)
class Work:
    """How far a run is: files and bytes done and to do, rows read, and what is read next."""

    files: int
    files_total: int
    bytes: int
    bytes_total: int
    rows: int
    name: str


Progress = Callable[[Work], None]


@dataclass(frozen=True)
class Done:
    """What became of one file in one table."""

    table: str
    entry: FileEntry
    status: str


@dataclass(frozen=True)
class Replaced:
    """What a file's log entry said before and after newer deliveries replaced some of its rows."""

    before: FileEntry
    after: FileEntry
    by: tuple[str, ...]


@dataclass(frozen=True)
class IngestSummary:
    """What one run of `ingest` did, or would do.

    Attributes
    ----------
    files : polars.DataFrame
        One row per file and table looked at: ``file``, ``table``, ``format``, ``status``
        (``ingested``, ``changed``, ``unchanged``, ``duplicate``, ``outdated``: its delivery does
        not hold it any more, ``waiting``: its delivery is incomplete), rows and ``BilledCost`` read,
        accepted, quarantined and superseded, per currency (a file in two currencies has two rows).
    replaced : polars.DataFrame
        One row per older file, currency and run that newer deliveries took rows from: ``file``,
        ``by``, ``units`` (provider / account / month), ``rows``, ``currency``, ``BilledCost``.
    reasons, notes : polars.DataFrame
        Why rows were rejected and what was mended: ``file``, ``text``, ``rows``.
    """

    files: pl.DataFrame
    replaced: pl.DataFrame
    reasons: pl.DataFrame
    notes: pl.DataFrame


def summarise(done: Sequence[Done], replaced: Sequence[Replaced] = ()) -> IngestSummary:
    """Turn what became of the files looked at into the summary of the run."""
    rows: list[dict[str, object]] = []
    for item in done:
        entry = item.entry
        currencies: list[tuple[str | None, Mapping[str, str]]] = [*entry.money.items()] or [(None, {})]
        for place, (currency, fates) in enumerate(currencies):
            first = place == 0
            exact = {fate: Decimal(amount) for fate, amount in fates.items()}
            rows.append(
                {
                    "file": entry.path,
                    "table": item.table,
                    "format": entry.format,
                    "status": item.status,
                    "rows_read": entry.rows_read if first else 0,
                    "rows_accepted": entry.rows_accepted if first else 0,
                    "rows_quarantined": entry.rows_quarantined if first else 0,
                    "rows_superseded": entry.rows_superseded if first else 0,
                    "currency": currency,
                    "BilledCost_read": exact_sum(exact.values()) if exact else None,
                    **{f"BilledCost_{fate}": exact.get(fate) for fate in _FATES},
                }
            )
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        **dict.fromkeys(("file", "table", "format", "status"), pl.String),
        **dict.fromkeys(("rows_read", "rows_accepted", "rows_quarantined", "rows_superseded"), pl.Int64),
        "currency": pl.String,
        **dict.fromkeys(("BilledCost_read", *(f"BilledCost_{fate}" for fate in _FATES)), pl.Decimal(38, 18)),
    }
    told = {"file": pl.String, "text": pl.String, "rows": pl.Int64}
    reasons = [(d.entry.path, *pair) for d in done for pair in d.entry.reasons.items()]
    notes = [(d.entry.path, *pair) for d in done for pair in d.entry.notes.items()]
    return IngestSummary(
        files=pl.DataFrame(rows, schema=schema),
        replaced=_replaced(replaced),
        reasons=pl.DataFrame(reasons, told, orient="row"),
        notes=pl.DataFrame(notes, told, orient="row"),
    )


def _replaced(replaced: Sequence[Replaced]) -> pl.DataFrame:
    rows = []
    for item in replaced:
        before, after = item.before, item.after
        gone = sorted(set(before.units) - set(after.units))
        units = "; ".join(f"{unit.provider} / {unit.account} / {unit.month}" for unit in gone)
        count = after.rows_superseded - before.rows_superseded
        amounts = []
        for currency, fates in after.money.items():
            was = Decimal(before.money.get(currency, {}).get("superseded", "0"))
            amounts.append((currency, exact_sum((Decimal(fates.get("superseded", "0")), was.copy_negate()))))
        moved = [pair for pair in amounts if pair[1]] or amounts[:1]
        for place, (currency, amount) in enumerate(moved):
            rows.append((before.path, ", ".join(item.by), units, 0 if place else count, currency, amount))
    schema = {"file": pl.String, "by": pl.String, "units": pl.String, "rows": pl.Int64, "currency": pl.String}
    return pl.DataFrame(rows, {**schema, "BilledCost": MONEY}, orient="row")
