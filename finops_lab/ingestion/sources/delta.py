"""A Delta table, copied as one Parquet snapshot of its newest version.

Source: the Delta protocol through deltalake and polars, which read tables below a folder, on S3,
GCS and Azure alike.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from finops_lab.config import Source
from finops_lab.ingestion.sources._copies import Copies
from finops_lab.ingestion.sources._words import shown, told

__all__ = ["fetch"]

_SNAPSHOT = "snapshot.parquet"


def fetch(source: Source, target: Path, now: datetime) -> None:
    """Copy a Delta table, as ``[[sources]]`` of `finops.toml` names it.

    Columns stay as they are, so they are those of a format that a reader knows. A version that
    was copied is not copied again. Rows go from file to file, never all through memory.

    Parameters
    ----------
    source : Source
        ``url`` of the table's folder; ``options``, settings of the store.
    target : pathlib.Path
        Folder to write ``snapshot.parquet`` to.
    now : datetime.datetime
        Not used: the newest version is copied.

    Raises
    ------
    InputError
        When there is no such table, the store refuses or cannot be reached, or the folder to
        write to holds copies of something else.
    """
    import polars as pl
    from deltalake import DeltaTable

    copies = Copies(target, "a Delta table")
    with told(source):
        table = DeltaTable(source.url, storage_options=dict(source.options))
        mark = f"{shown(source.url)} {table.metadata().id} version {table.version()}"
    if not copies.has(_SNAPSHOT, mark):
        with copies.writing(_SNAPSHOT, mark) as path, told(source):
            pl.scan_delta(table).sink_parquet(path)
    copies.arrive({_SNAPSHOT: mark})
