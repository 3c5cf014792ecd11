"""What each lab's own exports say, read by itself: files, deliveries, and the money that counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import polars as pl

from finops_lab import contracts
from finops_lab.config import Config
from finops_lab.ingestion import lake
from finops_lab.ingestion.coverage import acting, covered
from finops_lab.ingestion.delivered import Delivered, delivered
from finops_lab.ingestion.lake import FileEntry
from finops_lab.ingestion.run import ingest
from finops_lab.ingestion.summary import Progress
from finops_lab.money import MONEY

__all__ = ["UNIT", "Reading", "counted", "per_file", "read_lab"]

# What one delivery replaces of another: the grain at which two labs can overlap.
UNIT = ("ProviderName", "BillingAccountId", "x_BillingMonth")


@dataclass(frozen=True)
class Reading:
    """One lab, read afresh from a copy of its exports."""

    name: str
    folder: Path
    config: Config
    items: Sequence[Delivered]
    entries: dict[str, dict[str, FileEntry]] = field(repr=False)

    @cached_property
    def bills(self) -> dict[str, FileEntry]:
        """The log of the bill files that were read."""
        return {path: entry for path, entry in self.entries["costs"].items() if entry.format}

    @cached_property
    def read(self) -> set[str]:
        """Paths of the files that were read for any table."""
        return {path for log in self.entries.values() for path, entry in log.items() if entry.format}

    @cached_property
    def has_manifests(self) -> bool:
        """Whether vendors' manifests decide which files of the lab count."""
        files = (self.folder / "exports").rglob("*")
        return any("manifest" in path.name.lower() and path.suffix.lower() == ".json" for path in files)

    def costs(self) -> pl.LazyFrame:
        """Return the bill rows that exports brought, overlaps included."""
        return lake.scan(self.folder / "lake", "costs")

    def counts(self) -> pl.LazyFrame:
        """Return the bill rows that count in the lab."""
        return counted(self.costs(), self.config, self.bills)

    def of_stream(self, stream: str) -> Iterator[Delivered]:
        """Yield the files of one stream of deliveries."""
        return (item for item in self.items if item.stream == stream)


def read_lab(name: str, folder: Path, config: Config, progress: Progress | None) -> Reading:
    """Ingest a copy of a lab's exports and look at what became of each file.

    Parameters
    ----------
    name : str
        What the portal calls the lab.
    folder : pathlib.Path
        A folder of its own with the copy in ``exports/``; the lake is made in it.
    config : Config
        The lab's.
    progress : callable, optional
        As for `ingest`.
    """
    ingest(folder, config, progress)
    items = list(delivered([(folder / "exports", "")], config))
    entries = {table: lake.files(folder / "lake", table) for table in contracts.TABLES}
    return Reading(name, folder, config, items, entries)


def counted(costs: pl.LazyFrame, config: Config, log: dict[str, FileEntry]) -> pl.LazyFrame:
    """Return the bill rows that count by the coverage plans of a lab."""
    files = [path for path, entry in log.items() if entry.rows_accepted]
    return covered(costs, "costs", acting(config.coverage, "costs", files))


def per_file(costs: pl.LazyFrame, *more: str) -> pl.DataFrame:
    """Add up bill rows per file, currency and further columns: ``rows`` (Int64), ``BilledCost``."""
    keys = ("x_SourceFile", *more, "BillingCurrency")
    sums = (pl.len().cast(pl.Int64).alias("rows"), pl.col("BilledCost").sum().cast(MONEY))
    return costs.group_by(keys).agg(sums).sort(keys, nulls_last=True).collect()
