"""The lake's data files: Parquet that holds rows of one source file only, and is named after it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import polars as pl

from finops_lab.errors import InputError

__all__ = ["PARTITIONS", "DataFile", "Staged", "delta_schema", "held", "removed", "settled", "split", "stem"]

PARTITIONS: dict[str, tuple[str, ...]] = {
    "costs": ("ProviderName", "x_BillingMonth"),
    "inference_requests": ("day",),
    "latency_histograms": ("day",),
    "gpu_samples": ("day",),
    "capacity_series": ("day",),
}
_STEM = 16


@dataclass(frozen=True)
class Staged:
    """Accepted rows of one file for one table, waiting in Parquet files in the table's partitions."""

    folder: Path
    table: str
    schema: Mapping[str, pl.DataType]

    def write(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Return the sink that writes the rows here when it is collected."""
        keys = PARTITIONS.get(self.table)
        self.folder.mkdir(parents=True, exist_ok=True)
        target = (
            pl.PartitionBy(self.folder, key=list(keys), include_key=False)
            if keys
            else self.folder / "0.parquet"
        )
        return rows.sink_parquet(target, mkdir=True, lazy=True)

    def files(self) -> list[Path]:
        """Return the Parquet files, in order."""
        return sorted(self.folder.rglob("*.parquet"))

    def rows(self) -> pl.LazyFrame:
        """Return the rows."""
        found = self.files()
        if not found:
            return pl.LazyFrame(schema=self.schema)
        keys = {name: self.schema[name] for name in PARTITIONS.get(self.table, ())}
        rows = pl.scan_parquet(self.folder, hive_partitioning=bool(keys), hive_schema=keys or None)
        return rows.select(*self.schema)


def stem(source: str) -> str:
    """Return the name that the data files of a source file begin with."""
    return sha256(source.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class DataFile:
    """A Parquet file in its place, and what the table's log says of it."""

    name: str
    partition: Mapping[str, str]
    rows: int

    def action(self, folder: Path) -> Any:
        """Return the log's action that adds the file to the table in `folder`."""
        from deltalake.transaction import AddAction

        size = (folder / self.name).stat().st_size
        stats = json.dumps({"numRecords": self.rows, "minValues": {}, "maxValues": {}, "nullCount": {}})
        return AddAction(self.name, size, self.partition, 0, True, stats)


def settled(folder: Path, staged: Staged, name: str) -> list[DataFile]:
    """Move staged files to their place in the table."""
    found = []
    for number, path in enumerate(staged.files()):
        place = path.parent.relative_to(staged.folder) / f"{name}-{number}.parquet"
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        rows = pl.scan_parquet(path, hive_partitioning=False).select(pl.len()).collect().item()
        os.replace(path, folder / place)
        found.append(DataFile(place.as_posix(), _partition(place), rows))
    return found


def _partition(place: Path) -> dict[str, str]:
    return {key: unquote(value) for key, _, value in (part.partition("=") for part in place.parent.parts)}


def split(
    folder: Path, held: Sequence[str], units: set[tuple[str, str, str]], name: str
) -> tuple[list[str], list[DataFile]]:
    """Take units (provider, account, month) out: the files that go, and those that keep the rest."""
    gone: list[str] = []
    kept: list[DataFile] = []
    for number, file in enumerate(held):
        partition = _partition(Path(file))
        here = (partition["ProviderName"], partition["x_BillingMonth"])
        accounts = [account for provider, account, month in units if (provider, month) == here]
        if not accounts:
            continue
        gone.append(file)
        rows = pl.scan_parquet(folder / file, hive_partitioning=False)
        rest = rows.filter(~pl.col("BillingAccountId").is_in(accounts))
        place = (Path(file).parent / f"{name}-kept{number}.parquet").as_posix()
        rest.sink_parquet(folder / place)
        count = pl.scan_parquet(folder / place, hive_partitioning=False).select(pl.len()).collect().item()
        if count:
            kept.append(DataFile(place, partition, count))
        else:
            (folder / place).unlink()
    return gone, kept


def held(opened: Any, folder: Path) -> dict[str, list[str]]:
    """Return the table's data files by the stem of their source file."""
    found: dict[str, list[str]] = {}
    for uri in opened.file_uris():
        name = Path(uri).relative_to(folder.resolve()).as_posix()
        begins = Path(name).name.partition("-")[0]
        if len(begins) != _STEM:
            raise InputError(
                "the lake was written by an older version",
                file=folder.parent,
                hint="delete it; it is built again",
            )
        found.setdefault(begins, []).append(name)
    return {begins: sorted(names) for begins, names in found.items()}


def removed(name: str) -> Any:
    """Return the log's action that takes a file out of the table; older versions keep it."""
    from deltalake.transaction import RemoveAction

    return RemoveAction(path=name, data_change=True, deletion_timestamp=0)


def delta_schema(columns: Mapping[str, pl.DataType]) -> str:
    """Return columns as Delta's JSON schema.

    Raises
    ------
    InputError
        When a column has a type that the lake does not hold.
    """
    fields = [
        {"name": name, "type": _delta_type(name, dtype), "nullable": True, "metadata": {}}
        for name, dtype in columns.items()
    ]
    return json.dumps({"type": "struct", "fields": fields})


def _delta_type(name: str, dtype: pl.DataType) -> str:
    if isinstance(dtype, pl.Decimal):
        return f"decimal({dtype.precision},{dtype.scale})"
    known = {
        pl.String(): "string",
        pl.Int64(): "long",
        pl.Float64(): "double",
        pl.Boolean(): "boolean",
        pl.Date(): "date",
        pl.Datetime("us", "UTC"): "timestamp",
    }
    if dtype not in known:
        raise InputError(f"{name} has the type {dtype}, which the lake does not hold")
    return known[dtype]
