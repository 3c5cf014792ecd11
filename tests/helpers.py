"""Builders shared by tests: small FOCUS bills, lab folders, real bills as FOCUS rows."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal, localcontext
from pathlib import Path

import polars as pl

from finops_lab.calendar import add_months
from finops_lab.config import Config, load
from finops_lab.ingestion.run import IngestSummary, ingest

DATA = Path(__file__).parents[2] / "shared" / "data"
FOCUS_SAMPLE = DATA / "billing" / "focus_sample" / "focus_1_0_sample_1000.csv"
BINDER = DATA / "telemetry" / "binder_billing" / "gcp_daily_cost.csv"

PLAIN_TOML = '[lab]\nname = "Test lab (synthetic)"\ncurrency = "USD"\n'

# What a bill cannot do without, plus what allocation looks at. All values synthetic.
_ROW: dict[str, str | None] = {
    "BilledCost": "1.00",
    "EffectiveCost": "1.00",
    "ListCost": "1.00",
    "ContractedCost": "1.00",
    "BillingCurrency": "USD",
    "BillingAccountId": "acct-1",
    "BillingPeriodStart": "2026-09-01T00:00:00Z",
    "BillingPeriodEnd": "2026-10-01T00:00:00Z",
    "ChargePeriodStart": "2026-09-03T00:00:00Z",
    "ChargePeriodEnd": "2026-09-04T00:00:00Z",
    "ChargeCategory": "Usage",
    "ProviderName": "CloudOne",
    "ServiceCategory": "AI and Machine Learning",
    "ServiceName": "Model API",
    "Tags": "{}",
}


def focus_row(**overrides: str | None) -> dict[str, str | None]:
    """Return one minimal FOCUS row; `month="2026-08"` sets all four periods; None is a blank."""
    row = dict(_ROW)
    month = overrides.pop("month", None)
    if month is not None:
        first = date.fromisoformat(f"{month}-01")
        row["BillingPeriodStart"] = f"{first}T00:00:00Z"
        row["BillingPeriodEnd"] = f"{add_months(first, 1)}T00:00:00Z"
        row["ChargePeriodStart"] = f"{month}-03T00:00:00Z"
        row["ChargePeriodEnd"] = f"{month}-04T00:00:00Z"
    return {**row, **overrides}


def cost_row(amount: str, **overrides: str | None) -> dict[str, str | None]:
    """Return a minimal FOCUS row whose four costs are all `amount`."""
    names = ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost")
    return focus_row(**{**dict.fromkeys(names, amount), **overrides})


def csv_text(rows: Sequence[Mapping[str, object]], separator: str = ",", quote_all: bool = False) -> str:
    """Write rows as CSV; the columns are those of all rows, in order of first use."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    stream = io.StringIO()
    writer = csv.DictWriter(
        stream,
        names,
        delimiter=separator,
        lineterminator="\n",
        quoting=csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL,
    )
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def put(path: Path, content: Sequence[Mapping[str, object]] | str | bytes | pl.DataFrame) -> Path:
    """Write one export: rows as CSV (gzip where the name ends in .gz), a frame as Parquet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, pl.DataFrame):
        content.write_parquet(path)
        return path
    if not isinstance(content, (str, bytes)):
        content = csv_text(content)
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(
        gzip.compress(data, mtime=0) if path.suffix == ".gz" and isinstance(content, str) else data
    )
    return path


def write_lab(
    folder: Path,
    exports: Mapping[str, Sequence[Mapping[str, object]] | str | bytes | pl.DataFrame],
    toml: str = PLAIN_TOML,
) -> Path:
    """Write a lab folder: `finops.toml` and the exports by their path below ``exports/``."""
    (folder / "exports").mkdir(parents=True, exist_ok=True)
    (folder / "finops.toml").write_text(toml, encoding="utf-8")
    for name, content in exports.items():
        put(folder / "exports" / name, content)
    return folder


def lab_config(folder: Path) -> Config:
    """Read the lab's configuration."""
    return load(folder)


def ingest_lab(folder: Path) -> IngestSummary:
    """Ingest a lab folder as `open_lab` does, without a progress bar."""
    return ingest(folder, load(folder))


def decimal_sum(values: Iterable[str | Decimal | None]) -> Decimal:
    """Add up amounts exactly with Python's decimals; None adds nothing."""
    total = Decimal(0)
    with localcontext(prec=100):
        for value in values:
            if value is not None:
                total += value if isinstance(value, Decimal) else Decimal(value.strip() or "0")
    return total


def csv_rows(path: Path) -> list[dict[str, str]]:
    """Read a CSV with Python's own module: the independent look at a file."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def binder_focus(path: Path = BINDER) -> list[dict[str, str | None]]:
    """Turn the real daily bill of mybinder.org into minimal FOCUS rows.

    The file holds the bill twice, by project and by category; only ``project`` is taken.
    """
    rows = []
    for line in csv_rows(path):
        if line["dimension"] != "project":
            continue
        day = date.fromisoformat(line["date"])
        first = day.replace(day=1)
        rows.append(
            cost_row(
                line["cost_usd"],
                BillingAccountId="mybinder",
                SubAccountId=line["value"],
                SubAccountName=line["value"],
                BillingPeriodStart=f"{first}T00:00:00Z",
                BillingPeriodEnd=f"{add_months(first, 1)}T00:00:00Z",
                ChargePeriodStart=f"{day}T00:00:00Z",
                ChargePeriodEnd=f"{date.fromordinal(day.toordinal() + 1)}T00:00:00Z",
                ProviderName="Google Cloud",
                ServiceCategory="Compute",
                ServiceName="mybinder.org",
            )
        )
    return rows
