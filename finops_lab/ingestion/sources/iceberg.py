"""An Iceberg table, copied as one Parquet snapshot.

Source: the Iceberg specification through pyiceberg (catalogs, metadata) and polars (data files,
deletions).
"""

from __future__ import annotations

import warnings
from datetime import datetime
from pathlib import Path

from finops_lab.config import Source
from finops_lab.ingestion.sources._copies import Copies
from finops_lab.ingestion.sources._words import optional, shown, told

__all__ = ["fetch"]

_SNAPSHOT = "snapshot.parquet"


def fetch(source: Source, target: Path, now: datetime) -> None:
    """Copy an Iceberg table, as ``[[sources]]`` of `finops.toml` names it.

    Columns stay as they are, so they are those of a format that a reader knows. A snapshot that
    was copied is not copied again.

    Parameters
    ----------
    source : Source
        ``url``, a metadata file (``s3://.../metadata/00002-....metadata.json``), or the name of a
        table in a catalog (``finops.costs``); ``options``, the catalog's ``name`` (the source's
        own by default) and its properties (``type``, ``uri``, ``warehouse``, ``s3.endpoint``,
        ...), as pyiceberg names them.
    target : pathlib.Path
        Folder to write ``snapshot.parquet`` to.
    now : datetime.datetime
        Not used: the current snapshot is copied.

    Raises
    ------
    InputError
        When there is no such table, the catalog or store refuses or cannot be reached, the
        package pyiceberg is missing, or the folder to write to holds copies of something else.
    """
    import polars as pl

    copies = Copies(target, "an Iceberg table")
    tables = optional(source, "pyiceberg.table", "iceberg")
    with told(source):
        if "://" in source.url:
            table = tables.StaticTable.from_metadata(source.url, dict(source.options))
        else:
            catalogs = optional(source, "pyiceberg.catalog", "iceberg")
            settings = {"name": source.name, **source.options}
            table = catalogs.load_catalog(**settings).load_table(source.url)
        snapshot = table.current_snapshot()
        mark = f"{shown(source.url)} {table.metadata.table_uuid} snapshot {snapshot and snapshot.snapshot_id}"
        mark += f" schema {table.metadata.current_schema_id}"
    if not copies.has(_SNAPSHOT, mark):
        with copies.writing(_SNAPSHOT, mark) as path, told(source), warnings.catch_warnings():
            # polars says that a plugin would plan the scan faster.
            warnings.simplefilter("ignore", pl.exceptions.PerformanceWarning)
            # polars asks for them anew; a catalog may have lent credentials for this table. Names
            # with a dot are a store's.
            store = {key: value for key, value in table.io.properties.items() if "." in key}
            pl.scan_iceberg(table, storage_options=store).sink_parquet(path)
    copies.arrive({_SNAPSHOT: mark})
