"""Files in columns of their own, read by the `[[columns]]` map that `finops.toml` gives them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from finops_lab import contracts
from finops_lab.config import Columns
from finops_lab.errors import InputError
from finops_lab.ingestion._scan import ROW, demand, scan_table
from finops_lab.ingestion.bills._bills import bill, free_names
from finops_lab.ingestion.canonical import CanonicalReader
from finops_lab.ingestion.registry import ReadSettings, Sample
from finops_lab.money import MONEY

__all__ = ["MappedReader", "reader"]


@dataclass(frozen=True)
class MappedReader:
    """Reads files whose columns `finops.toml` maps to those of a contract.

    Parameters
    ----------
    columns : Columns
        The map.
    """

    columns: Columns
    SOURCE: str = "the column map of finops.toml"

    @property
    def TABLE(self) -> str:
        """Name of the contract."""
        return self.columns.table

    @property
    def FORMAT(self) -> str:
        """Name of the format."""
        return f"mapped {self.columns.table}"

    def matches(self, sample: Sample) -> bool:
        """Tell whether a file can have mapped columns at all: CSV and Parquet can."""
        return sample.kind != "jsonl"

    def read(self, path: Path, settings: ReadSettings) -> pl.LazyFrame:
        """Read one file as rows of the contract.

        Parameters
        ----------
        path : pathlib.Path
            CSV (plain or gzip) or Parquet.
        settings : ReadSettings
            As `CanonicalReader.read` takes them.

        Returns
        -------
        polars.LazyFrame
            As `CanonicalReader.read`. Columns that are not mapped are left out, with a note.

        Raises
        ------
        InputError
            When the file lacks a mapped column, or a required column is neither mapped nor given.
        """
        if self.TABLE == "costs":
            return _bill(path, settings, self.columns)
        return CanonicalReader(self.TABLE).read_as(path, settings, self.columns.map, self.columns.values)


def reader(columns: Columns) -> MappedReader:
    """Return the reader of a column map.

    Raises
    ------
    InputError
        When the table's rows come from `finops.toml` alone.
    """
    if columns.table in ("ledger", "budgets", "slos", "pools"):
        raise InputError(
            f"{columns.table} cannot be read from files", hint="it is made, or stands in finops.toml"
        )
    return MappedReader(columns)


def _bill(path: Path, settings: ReadSettings, columns: Columns) -> pl.LazyFrame:
    """Read a bill in columns of its own.

    Without a column for it, ``EffectiveCost`` is ``BilledCost`` (nothing is amortised),
    ``BillingPeriodStart`` the first of the month of ``ChargePeriodStart``, ``ChargeCategory`` Usage.
    """
    raw = scan_table(path)
    schema = [name for name in raw.collect_schema() if name != ROW]
    demand(path, schema, columns.map.values())
    wanted = contracts.dtypes("costs")
    made = {name: pl.col(source) for name, source in columns.map.items()}
    for name, text in columns.values.items():
        if wanted[name] != pl.String:
            hint = "give it a column in map"
            raise InputError(
                f"[[columns]] values: {name} is no text column", file=path, column=name, hint=hint
            )
        made[name] = pl.lit(text)
    if "ChargePeriodStart" in made:
        made.setdefault("BillingPeriodStart", made["ChargePeriodStart"].dt.month_start().dt.truncate("1d"))
    if "BilledCost" in made:
        made.setdefault("EffectiveCost", made["BilledCost"])
    made.setdefault("ChargeCategory", pl.lit("Usage"))
    given = ("x_BillingMonth", "x_SourceFile", "x_SourceRow")
    for name in contracts.required("costs"):
        if name not in made and name not in given:
            hint = f"name its column in [[columns]] map, or give a constant in values for {columns.path!r}"
            raise InputError(f"nothing is given for {name}", file=path, column=name, hint=hint)
    sources = {name: source for name, source in columns.map.items()}
    return bill(
        raw,
        made,
        amounts=_once(sources[n] for n in sources if wanted[n] == MONEY),
        times=_once(sources[n] for n in sources if isinstance(wanted[n], pl.Datetime)),
        currency=made["BillingCurrency"],
        keep=free_names(
            [n for n in schema if n not in sources.values()], [f"x_tag_{k}" for k in settings.tag_keys]
        ),
        tag_keys=settings.tag_keys,
    )


def _once(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
