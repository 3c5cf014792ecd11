"""Commitments: a purchase, the usage it covers, and what it did not find to cover.

For each commitment the effective cost of its usage (used and unused) equals the billed cost of its
purchases to the last decimal, as FOCUS demands.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

import polars as pl

from finops_lab.calendar import add_months, months_from
from finops_lab.money import split
from finops_lab.samples.charges import CHARGE, concat, lump
from finops_lab.samples.company import LAST_DAY

__all__ = ["COMMITMENTS", "Commitment", "commit"]


@dataclass(frozen=True)
class Commitment:
    """Instance hours of p5.48xlarge bought for a year, upfront or month by month."""

    id: str
    name: str
    first: date
    upfront: bool
    hourly: int  # committed spend in units of 10^-10 USD an hour
    rate: int  # committed price of an instance hour, units of 0.0001 USD

    @property
    def end(self) -> date:
        """The first day after the term."""
        return add_months(self.first, 12)


COMMITMENTS = (
    Commitment(
        "cd-synthetic-2025-07", "p5 one year, all upfront", date(2025, 7, 1), True, 290_000_000_000, 378_000
    ),
    Commitment(
        "cd-synthetic-2026-07", "p5 one year, no upfront", date(2026, 7, 1), False, 340_000_000_000, 385_000
    ),
)
_COVERED = ("search-answers", "larch-70b")
_HOURS_PER_DAY = 24


def commit(charges: pl.DataFrame) -> pl.DataFrame:
    """Cover usage with the commitments and add purchases and unused commitment.

    The first charges of a day are covered until the day's commitment is used up; a charge that
    is covered in part becomes two. Nothing else changes.
    """
    eligible = (
        pl.col("feature").eq(_COVERED[0]) & pl.col("model").eq(_COVERED[1]) & pl.col("provider").eq("aws")
    )
    frames = [charges.filter(~eligible.fill_null(False))]
    candidates = charges.filter(eligible).sort("start", "variant")
    by_day: dict[date, list[dict[str, object]]] = {}
    for row in candidates.rows(named=True):
        by_day.setdefault(row["start"], []).append(row)
    rows: list[dict[str, object]] = []
    for commitment in COMMITMENTS:
        rows += _apply(commitment, by_day)
        frames += _purchases(commitment)
    rows += [row for left in by_day.values() for row in left]
    return concat([*frames, pl.DataFrame(rows, schema=CHARGE)])


def _term(commitment: Commitment) -> tuple[date, date]:
    return commitment.first, min(commitment.end, add_months(LAST_DAY.replace(day=1), 1))


def _apply(commitment: Commitment, by_day: dict[date, list[dict[str, object]]]) -> list[dict[str, object]]:
    day, end = _term(commitment)
    rows: list[dict[str, object]] = []
    while day < end:
        budget = commitment.hourly * _HOURS_PER_DAY
        room = budget // commitment.rate // 10_000 * 10_000
        covered: list[dict[str, object]] = []
        for row in by_day.pop(day, []):
            quantity = row["quantity6"]
            assert isinstance(quantity, int)
            part = min(room, quantity)
            room -= part
            if part:
                covered.append(_resized(row, part))
            if quantity > part:
                rows.append(_resized(row, quantity - part))
        # A day whose hours are all taken is used to the last decimal; the rest is unused.
        used = budget if room == 0 else sum(_int(row["quantity6"]) for row in covered) * commitment.rate
        shares = split(Decimal(used), [_int(row["quantity6"]) for row in covered], 0) if covered else []
        for row, share in zip(covered, shares, strict=True):
            rows.append(
                {
                    **row,
                    **_tag(commitment, "Used"),
                    "billed10": 0,
                    "effective10": int(share),
                    "pricing_category": "Committed",
                }
            )
        if budget > used:
            rows.append(_unused(commitment, day, budget - used))
        day += timedelta(days=1)
    return rows


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value


def _resized(row: dict[str, object], quantity: int) -> dict[str, object]:
    listed, contracted = _int(row["list4"]) * quantity, _int(row["contracted4"]) * quantity
    return {
        **row,
        "quantity6": quantity,
        "consumed6": quantity,
        "list10": listed,
        "contracted10": contracted,
        "billed10": contracted,
        "effective10": contracted,
    }


def _tag(commitment: Commitment, status: str) -> dict[str, object]:
    return {"commitment": commitment.id, "commitment_status": status}


def _unused(commitment: Commitment, day: date, amount: int) -> dict[str, object]:
    frame = lump(
        day,
        0,
        effective10=amount,
        provider="aws",
        category="Usage",
        frequency="Usage-Based",
        description="Unused commitment",
        service_category="Compute",
        service_subcategory="Virtual Machines",
        service="Amazon Elastic Compute Cloud",
        account="network",
        region="us-east-1",
        resource_id=commitment.id,
        resource_name=commitment.name,
        resource_type="Commitment",
        sku="EC2-p5.48xlarge",
        pricing_category="Committed",
        commitment=commitment.id,
        commitment_status="Unused",
    )
    month = day.replace(day=1)
    return {**frame.row(0, named=True), "end": day + timedelta(days=1), "billing_month": month}


def _purchases(commitment: Commitment) -> list[pl.DataFrame]:
    first, end = _term(commitment)
    texts: dict[str, str | None] = {
        "provider": "aws",
        "category": "Purchase",
        "service_category": "Compute",
        "service_subcategory": "Virtual Machines",
        "service": "Amazon Elastic Compute Cloud",
        "account": "network",
        "region": "us-east-1",
        "resource_id": commitment.id,
        "resource_name": commitment.name,
        "resource_type": "Commitment",
        "sku": "EC2-p5.48xlarge",
        "pricing_category": "Committed",
        "commitment": commitment.id,
    }
    if commitment.upfront:
        amount = commitment.hourly * _HOURS_PER_DAY * (end - first).days
        return [
            lump(
                first,
                amount,
                effective10=0,
                **texts,
                frequency="One-Time",
                description=f"Commitment {commitment.name}",
            ).with_columns(end=pl.lit(end))
        ]
    return [
        lump(
            month,
            commitment.hourly * _HOURS_PER_DAY * (add_months(month, 1) - month).days,
            effective10=0,
            **texts,
            frequency="Recurring",
            description=f"Commitment {commitment.name}, monthly fee",
        )
        for month in months_from(first, add_months(end, -1))
    ]
