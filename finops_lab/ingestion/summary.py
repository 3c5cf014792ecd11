"""What one run of `ingest` did, file by file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import polars as pl

from finops_lab.ingestion.lake import FileEntry
from finops_lab.money import exact_sum

__all__ = ["IngestSummary", "summarise"]

_FATES = ("accepted", "quarantined", "superseded")


@dataclass(frozen=True)
class IngestSummary:
    """What one run of `ingest` did.

    `files` has one row per file looked at: ``file``, ``table``, ``format``, ``status``
    (``ingested``, ``unchanged``, ``duplicate``), rows and ``BilledCost`` read, accepted,
    quarantined and superseded, per currency (a file in two currencies has two rows).
    """

    files: pl.DataFrame
    reasons: pl.DataFrame
    notes: pl.DataFrame


def summarise(done: Sequence[tuple[str, FileEntry, str]]) -> IngestSummary:
    """Turn (table, log entry, status) of the files looked at into the summary of the run."""
    rows: list[dict[str, object]] = []
    for table, entry, status in done:
        currencies: list[tuple[str | None, Mapping[str, str]]] = [*entry.money.items()] or [(None, {})]
        for place, (currency, fates) in enumerate(currencies):
            first = place == 0
            exact = {fate: Decimal(amount) for fate, amount in fates.items()}
            rows.append(
                {
                    "file": entry.path,
                    "table": table,
                    "format": entry.format,
                    "status": status,
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
    return IngestSummary(
        files=pl.DataFrame(rows, schema=schema),
        reasons=pl.DataFrame(
            [(e.path, *p) for _, e, _ in done for p in e.reasons.items()], told, orient="row"
        ),
        notes=pl.DataFrame([(e.path, *p) for _, e, _ in done for p in e.notes.items()], told, orient="row"),
    )
