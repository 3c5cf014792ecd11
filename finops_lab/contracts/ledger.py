"""The ledger: every cent of the bill on an owner, or visibly on none."""

from __future__ import annotations

import dataframely as dy

from finops_lab.contracts.costs import money

# The essential metadata, in the order tables show them. The owner of an entry is its team.
DIMENSIONS = (
    "team",
    "product",
    "model",
    "variant",
    "feature",
    "customer",
    "environment",
    "region",
    "business_unit",
)
AMOUNTS = ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost")
METHODS = ("tag", "rule", "telemetry", "shared", "idle", "amortized", "unallocated")


def _text(nullable: bool = True) -> dy.String:
    return dy.String(nullable=nullable)


class Ledger(dy.Schema):
    """Allocated charges: one entry per day, bill attributes and owner.

    ``x_team`` is the owner and is never null: charges without one say ``unallocated``. The other
    dimensions are null where unknown. ``x_Rows`` bill rows add up to the entry's amounts, which
    are in ``BillingCurrency``.
    """

    x_BillingMonth = _text(nullable=False)
    x_ChargeMonth = _text(nullable=False)
    x_ChargeDate = dy.Date(nullable=False)
    BillingCurrency = _text(nullable=False)
    ProviderName = _text(nullable=False)
    ServiceCategory = _text()
    ServiceName = _text()
    ChargeCategory = _text(nullable=False)
    ChargeClass = _text()
    CommitmentDiscountStatus = _text()
    x_team = _text(nullable=False)
    x_product = _text()
    x_model = _text()
    x_variant = _text()
    x_feature = _text()
    x_customer = _text()
    x_environment = _text()
    x_region = _text()
    x_business_unit = _text()
    x_AllocationMethod = dy.String(nullable=False, check=lambda c: c.is_in(METHODS))
    x_AllocationRule = _text()
    BilledCost = money(nullable=False)
    EffectiveCost = money(nullable=False)
    ListCost = money()
    ContractedCost = money()
    x_Rows = dy.Int64(nullable=False)
