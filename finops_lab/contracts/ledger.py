"""The ledger: every cent of the bill on an owner, or visibly on none."""

from __future__ import annotations

import dataframely as dy

from finops_lab.contracts.columns import money, text, whole

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
# What an entry says of the bill, beside its months.
BILL_KEYS = (
    "x_BillingMonth",
    "x_ChargeDate",
    "BillingCurrency",
    "ProviderName",
    "ServiceCategory",
    "ServiceName",
    "ChargeCategory",
    "ChargeClass",
    "CommitmentDiscountStatus",
)
AMOUNTS = ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost")
METHODS = (
    "tag",
    "rule",
    "telemetry",
    "dark",
    "idle",
    "shared",
    "amortized",
    "override",
    "unallocated",
)


class Ledger(dy.Schema):
    """Allocated charges: one entry per day, bill attributes and owner.

    ``x_team`` is the owner and is never null: charges without one say ``unallocated``. The other
    dimensions are null where unknown. ``x_Rows`` bill rows add up to the entry's amounts, which
    are in ``BillingCurrency``; of an amount that was split, one part counts the rows and the others
    count none. ``idle`` is what it cost to keep capacity that nobody used, ``dark`` the part of a
    pool that no telemetry explains (negative where more time was sampled than paid for).
    """

    x_BillingMonth = text("month of the invoice, such as 2026-10", nullable=False)
    x_ChargeMonth = text("month of the use", nullable=False)
    x_ChargeDate = dy.Date(nullable=False, description="day of the use, in UTC")
    BillingCurrency = text("ISO 4217 code of the amounts", nullable=False)
    ProviderName = text("as in costs", nullable=False)
    ServiceCategory = text("as in costs")
    ServiceName = text("as in costs")
    ChargeCategory = text("as in costs", nullable=False)
    ChargeClass = text("as in costs")
    CommitmentDiscountStatus = text("Used or Unused, where a commitment pays")
    x_team = text("the owner, or `unallocated`", nullable=False)
    x_product = text("product it was for")
    x_model = text("model it was for")
    x_variant = text("variant of the model")
    x_feature = text("feature it was for")
    x_customer = text("customer it was for")
    x_environment = text("such as production")
    x_region = text("region")
    x_business_unit = text("business unit")
    x_AllocationMethod = text("how it got its owner", nullable=False, allowed=METHODS)
    x_AllocationRule = text("names of the rules that gave the owner, the first first, joined by ` > `")
    x_PoolId = text("pool whose cost was split; null where the bill row itself has an owner")
    BilledCost = money("as in costs", nullable=False)
    EffectiveCost = money("as in costs", nullable=False)
    ListCost = money("null where no bill row of the entry had one")
    ContractedCost = money("null where no bill row of the entry had one")
    x_Rows = whole("bill rows in the entry", nullable=False)
