"""FOCUS bills 1.0 to 1.4: CSV, CSV.gz and Parquet.

Source: FinOps Open Cost and Usage Specification, Cost and Usage dataset, versions 1.0 to 1.4. The
version is told by the columns. Faults of real exports that are mended here: several null spellings
in one column, dates without T and Z or in m/d/y order, amounts in scientific notation or with
thousands separators, categories in other cases, duplicate tag keys, tags as a map. Columns that
FOCUS does not know are kept, with ``x_`` in front.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from finops_lab import contracts
from finops_lab.contracts.costs import CHARGE_CATEGORIES
from finops_lab.errors import InputError
from finops_lab.ingestion._lookup import looked_up
from finops_lab.ingestion._scan import ROW, as_text, scan_table
from finops_lab.ingestion._tags import tags_as_json
from finops_lab.ingestion.bills._bills import bill, free_names
from finops_lab.ingestion.registry import ReadSettings, Sample
from finops_lab.money import MONEY

__all__ = ["READERS", "FocusReader"]

_MARKERS = frozenset(
    {
        "BilledCost",
        "EffectiveCost",
        "BillingCurrency",
        "BillingPeriodStart",
        "ChargeCategory",
        "ChargePeriodStart",
        "BillingAccountId",
        "ServiceName",
    }
)
# FOCUS 1.3 renames the provider, 1.4 drops the old name.
_PROVIDER = ("ProviderName", "ServiceProviderName", "HostProviderName")
_DERIVED = ("x_BillingMonth", "x_SourceFile", "x_SourceRow")
_FREQUENCIES = ("One-Time", "Recurring", "Usage-Based")
_SPELLED: Mapping[str, tuple[str, ...]] = {
    "ChargeCategory": CHARGE_CATEGORIES,
    "ChargeClass": ("Correction",),
    "ChargeFrequency": _FREQUENCIES,
}
# What a version added to the one before it; any of these columns tells a bill of that version.
_ADDED: Mapping[str, frozenset[str]] = {
    "1.4": frozenset({"CommitmentProgramEligibilityDetails", "InvoiceDetailId"}),
    "1.3": frozenset(
        {
            "AllocatedMethodDetails",
            "AllocatedMethodId",
            "AllocatedResourceId",
            "AllocatedResourceName",
            "AllocatedTags",
            "ContractApplied",
            "HostProviderName",
            "ServiceProviderName",
        }
    ),
    "1.2": frozenset(
        {
            "BillingAccountType",
            "InvoiceId",
            "PricingCurrency",
            "PricingCurrencyContractedUnitPrice",
            "PricingCurrencyEffectiveCost",
            "PricingCurrencyListUnitPrice",
            "SubAccountType",
        }
    ),
    "1.1": frozenset(
        {
            "CapacityReservationId",
            "CapacityReservationStatus",
            "CommitmentDiscountQuantity",
            "CommitmentDiscountUnit",
            "ServiceSubcategory",
            "SkuMeter",
            "SkuPriceDetails",
        }
    ),
    "1.0": frozenset(),
}


@dataclass(frozen=True)
class FocusReader:
    """Reads bills of one FOCUS version; all versions are read alike.

    Parameters
    ----------
    version : str
        Such as ``1.2``.

    Examples
    --------
    >>> FocusReader("1.2").FORMAT
    'FOCUS 1.2'
    """

    version: str
    TABLE: str = "costs"

    @property
    def FORMAT(self) -> str:
        """Name of the format."""
        return f"FOCUS {self.version}"

    @property
    def SOURCE(self) -> str:
        """What the format is read from."""
        seen = {
            "1.0": "; a real file of 1,000 rows",
            "1.2": "; the working group's examples and a real bill",
        }
        return f"FOCUS specification {self.version}{seen.get(self.version, '; from documentation')}"

    def matches(self, sample: Sample) -> bool:
        """Tell whether a file is a bill of this version: half of the telling columns are there."""
        columns = set(sample.columns)
        return (
            sample.kind != "jsonl"
            and len(_MARKERS & columns) >= len(_MARKERS) // 2
            and _version(columns) == self.version
        )

    def read(self, path: Path, settings: ReadSettings) -> pl.LazyFrame:
        """Read one FOCUS file as rows of the `costs` contract.

        Parameters
        ----------
        path : pathlib.Path
            CSV (plain or gzip) or Parquet.
        settings : ReadSettings
            `tag_keys` become ``x_tag_<key>`` columns.

        Returns
        -------
        polars.LazyFrame
            The `costs` contract without ``x_SourceFile``, the export's further columns with ``x_``
            in front, and the reader's `RAW`, `REASONS` and `NOTES`.

        Raises
        ------
        InputError
            When a column that every bill needs is missing.
        """
        raw = _named(scan_table(path))
        schema = {name: dtype for name, dtype in raw.collect_schema().items() if name != ROW}
        _demand(path, schema)
        wanted = {n: t for n, t in contracts.dtypes("costs").items() if n not in _DERIVED}
        here = [name for name in wanted if name in schema]
        extra = [name for name in schema if name not in wanted]
        # Columns that are `x_` already keep their names.
        own = free_names(
            sorted(extra, key=lambda n: not n.startswith("x_")), [f"x_tag_{k}" for k in settings.tag_keys]
        )
        columns = {name: as_text(pl.col(name), schema[name]) for name in here if wanted[name] == pl.String}
        columns |= {name: pl.col(name) for name in here if wanted[name] != pl.String}
        columns |= {
            name: _spelled(columns[name], known) for name, known in _SPELLED.items() if name in schema
        }
        providers = [as_text(pl.col(name), schema[name]) for name in _PROVIDER if name in schema]
        columns["ProviderName"] = pl.coalesce(providers)
        if "Tags" in schema:
            columns["Tags"] = tags_as_json(schema["Tags"])
        return bill(
            raw,
            columns,
            amounts=[name for name in here if wanted[name] in (MONEY, pl.Float64())],
            times=[name for name in here if isinstance(wanted[name], pl.Datetime)],
            currency=columns["BillingCurrency"],
            keep=own,
            tag_keys=settings.tag_keys,
            strip=False,
        )


READERS: tuple[FocusReader, ...] = tuple(FocusReader(version) for version in sorted(_ADDED))


def _version(columns: set[str]) -> str:
    found = next((version for version, added in _ADDED.items() if added & columns), "1.0")
    # 1.4 dropped the provider's old name, which 1.3 still has beside the new ones.
    return "1.4" if found == "1.3" and "ProviderName" not in columns else found


def _named(raw: pl.LazyFrame) -> pl.LazyFrame:
    """Spell the names so that every lake can hold them, none twice."""
    wanted = contracts.dtypes("costs")
    names = [name for name in raw.collect_schema() if name != ROW]
    used: set[str] = set()
    found: dict[str, str] = {}
    for name in sorted(names, key=lambda n: re.sub(r"[^\w.-]+", "_", n) not in wanted):
        spelled = free = re.sub(r"[^\w.-]+", "_", name)
        number = 2
        while free.lower() in used:
            free, number = f"{spelled}_{number}", number + 1
        used.add(free.lower())
        found[name] = free
    return raw.rename({old: new for old, new in found.items() if old != new})


def _demand(path: Path, schema: Mapping[str, pl.DataType]) -> None:
    needed = [n for n in contracts.required("costs") if n not in (*_DERIVED, "ProviderName")]
    missing = [name for name in needed if name not in schema]
    missing += [] if any(name in schema for name in _PROVIDER) else ["ProviderName"]
    if missing:
        raise InputError(
            f"the bill has no column {missing[0]}"
            + (f" (nor {', '.join(missing[1:])})" if missing[1:] else ""),
            file=path,
            column=missing[0],
            hint="export the FOCUS dataset with its mandatory columns",
        )


def _spelled(text: pl.Expr, values: tuple[str, ...]) -> pl.Expr:
    """Bring a value to the specification's spelling; `usage-based` was seen in a real export."""
    known: Mapping[str, str] = {value.lower(): value for value in values}
    return pl.coalesce(looked_up(text.str.strip_chars().str.to_lowercase(), known, pl.String()), text)
