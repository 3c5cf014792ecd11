"""Builders of the doctor's tests: a clean synthetic bill and one charge of it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl

from finops_lab import contracts

Row = dict[str, Any]


def at(day: str, hour: int = 0) -> datetime:
    """Return a moment of a day, UTC."""
    return datetime.fromisoformat(day).replace(hour=hour, tzinfo=UTC)


def charge(day: str = "2026-09-03", quantity: str = "2.5", **over: Any) -> Row:
    """Return one charge of a day whose amounts agree: 1.25 a unit by list, 1.2 agreed."""
    start = at(day)
    month = start.replace(day=1)
    listed, agreed, units = Decimal("1.25"), Decimal("1.2"), Decimal(quantity)
    row: Row = {
        "BilledCost": agreed * units,
        "EffectiveCost": agreed * units,
        "ContractedCost": agreed * units,
        "ListCost": listed * units,
        "ListUnitPrice": listed,
        "ContractedUnitPrice": agreed,
        "PricingQuantity": units,
        "PricingUnit": "Hours",
        "BillingCurrency": "USD",
        "BillingAccountId": "acct-1",
        "SubAccountId": "sub-1",
        "SubAccountName": "search-prod",
        "BillingPeriodStart": month,
        "BillingPeriodEnd": (month + timedelta(days=32)).replace(day=1),
        "ChargePeriodStart": start,
        "ChargePeriodEnd": start + timedelta(days=1),
        "ChargeCategory": "Usage",
        "ChargeFrequency": "Usage-Based",
        "ChargeDescription": "m5.large instance hours",
        "ProviderName": "CloudOne",
        "ServiceCategory": "Compute",
        "ServiceName": "Machines",
        "RegionId": "us-east-1",
        "ResourceId": "machine-1",
        "ResourceName": "machine-1",
        "SkuId": "m5.large",
        "Tags": '{"team":"search","env":"prod"}',
        "x_SourceFile": "bill.csv",
    }
    row |= over
    row.setdefault("x_BillingMonth", f"{row['BillingPeriodStart']:%Y-%m}")
    return row


def clean() -> list[Row]:
    """Return September 2026, day by day: three services, two teams, nothing wrong."""
    rows = []
    for n in range(1, 31):
        day = f"2026-09-{n:02}"
        rows += [
            charge(day, f"{n}.25"),
            charge(
                day,
                f"{2 * n}.125",
                ServiceCategory="AI and Machine Learning",
                ServiceName="Model API",
                SkuId="model-output",
                ResourceId=None,
                ResourceName=None,
                SubAccountName="growth-prod",
                SubAccountId="sub-2",
                Tags='{"team":"growth","env":"prod"}',
            ),
            charge(
                day, f"{n}.5", ServiceCategory="Storage", ServiceName="Buckets", SkuId="gb", ResourceId="b"
            ),
        ]
    return rows


def bill(rows: Iterable[Row]) -> pl.LazyFrame:
    """Return rows as the `costs` contract, numbered."""
    numbered = [{"x_SourceRow": number, **row} for number, row in enumerate(rows, 1)]
    extra = {name: pl.String for row in numbered for name in row if name.startswith("x_tag_")}
    return pl.LazyFrame(numbered, schema={**contracts.dtypes("costs"), **extra})


def table(name: str, rows: Iterable[Row]) -> pl.LazyFrame:
    """Return rows as a contract of telemetry, numbered, with their day."""
    numbered = [{"source_file": "log.csv", "source_row": number, **row} for number, row in enumerate(rows, 1)]
    moments = [n for n in ("ts_start", "ts") if n in contracts.dtypes(name)]
    if "day" in contracts.dtypes(name):
        numbered = [{"day": row[moments[0]].date(), **row} for row in numbered]
    return pl.LazyFrame(numbered, schema=contracts.dtypes(name))


def named(findings: pl.DataFrame, check: str) -> list[Row]:
    """Return the findings of one check."""
    return findings.filter(pl.col("check") == check).to_dicts()


def loud(findings: pl.DataFrame) -> list[tuple[str, str]]:
    """Return check and text of every error and warning."""
    return findings.filter(pl.col("severity") != "info").select("check", "finding").rows()
