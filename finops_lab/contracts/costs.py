"""The canonical cost table: the columns of FOCUS 1.0 to 1.4, spelled as FOCUS spells them."""

from __future__ import annotations

from typing import Any

import dataframely as dy
import polars as pl

from finops_lab.money import SCALE

CHARGE_CATEGORIES = ("Usage", "Purchase", "Tax", "Credit", "Adjustment")
TOKEN_DIRECTIONS = ("Input", "Output")
TOKEN_CACHE_ACTIONS = ("Read", "Write")


def money(*, nullable: bool = True, **kwargs: Any) -> dy.Decimal:
    """Declare an exact amount, price or quantity: ``Decimal(38, 18)``."""
    return dy.Decimal(38, SCALE, nullable=nullable, **kwargs)


def moment(*, nullable: bool = True) -> dy.Datetime:
    """Declare a point in time: microseconds, UTC."""
    return dy.Datetime(time_unit="us", time_zone="UTC", nullable=nullable)


def _text(*, nullable: bool = True, **kwargs: Any) -> dy.String:
    return dy.String(nullable=nullable, **kwargs)


class Costs(dy.Schema):
    """Bill rows, one per charge.

    Names, meanings and allowed values follow the FOCUS specification 1.0 to 1.4 (FinOps Open Cost
    and Usage Specification, Cost and Usage dataset). ``ProviderName``, which 1.4 drops, is always
    filled: from ``ServiceProviderName`` or ``HostProviderName`` where a bill has no other. Amounts
    are in ``BillingCurrency``. Columns that start with ``x_`` are ours or the export's own; unknown
    ``x_`` columns of an export are kept. ``x_ModelId``, ``x_TokenDirection`` (``Input``,
    ``Output``) and ``x_TokenCacheAction`` (``Read``, ``Write``) say what a token charge bought,
    named after the keys of FOCUS 1.5's draft; ``x_GpuCount`` is the GPUs of one instance of
    ``x_InstanceType``. Stored partitioned by ``ProviderName`` and ``x_BillingMonth``.
    """

    BilledCost = money(nullable=False)
    EffectiveCost = money(nullable=False)
    ListCost = money()
    ContractedCost = money()
    BillingCurrency = _text(nullable=False, regex=r"^[A-Z]{3}$")
    BillingAccountId = _text(nullable=False)
    BillingAccountName = _text()
    BillingAccountType = _text()
    SubAccountId = _text()
    SubAccountName = _text()
    SubAccountType = _text()
    BillingPeriodStart = moment(nullable=False)
    BillingPeriodEnd = moment()
    ChargePeriodStart = moment(nullable=False)
    ChargePeriodEnd = moment()
    ChargeCategory = _text(nullable=False, check=lambda c: c.is_in(CHARGE_CATEGORIES))
    ChargeClass = _text(check=lambda c: c == "Correction")
    ChargeDescription = _text()
    ChargeFrequency = _text()
    InvoiceId = _text()
    InvoiceDetailId = _text()
    InvoiceIssuerName = _text()
    ProviderName = _text(nullable=False)
    ServiceProviderName = _text()
    HostProviderName = _text()
    PublisherName = _text()
    ServiceCategory = _text()
    ServiceSubcategory = _text()
    ServiceName = _text()
    RegionId = _text()
    RegionName = _text()
    AvailabilityZone = _text()
    ResourceId = _text()
    ResourceName = _text()
    ResourceType = _text()
    SkuId = _text()
    SkuMeter = _text()
    SkuPriceId = _text()
    SkuPriceDetails = _text()
    PricingCategory = _text()
    PricingQuantity = money()
    PricingUnit = _text()
    ListUnitPrice = money()
    ContractedUnitPrice = money()
    PricingCurrency = _text()
    PricingCurrencyContractedUnitPrice = money()
    PricingCurrencyEffectiveCost = money()
    PricingCurrencyListUnitPrice = money()
    ConsumedQuantity = money()
    ConsumedUnit = _text()
    CapacityReservationId = _text()
    CapacityReservationStatus = _text()
    CommitmentDiscountCategory = _text()
    CommitmentDiscountId = _text()
    CommitmentDiscountName = _text()
    CommitmentDiscountQuantity = money()
    CommitmentDiscountStatus = _text()
    CommitmentDiscountType = _text()
    CommitmentDiscountUnit = _text()
    CommitmentProgramEligibilityDetails = _text()
    ContractApplied = _text()
    AllocatedMethodId = _text()
    AllocatedMethodDetails = _text()
    AllocatedResourceId = _text()
    AllocatedResourceName = _text()
    AllocatedTags = _text()
    Tags = _text()
    x_ModelId = _text()
    x_TokenDirection = _text(check=lambda c: c.is_in(TOKEN_DIRECTIONS))
    x_TokenCacheAction = _text(check=lambda c: c.is_in(TOKEN_CACHE_ACTIONS))
    x_InstanceType = _text()
    x_GpuModel = _text()
    x_GpuCount = dy.Float64(nullable=True, min=0, allow_inf=False, allow_nan=False)
    x_BillingMonth = _text(nullable=False)
    x_SourceFile = _text(nullable=False)
    x_SourceRow = dy.Int64(nullable=False)

    @dy.rule()
    def ChargePeriodEnd_before_ChargePeriodStart(cls) -> pl.Expr:
        return pl.col("ChargePeriodEnd") >= pl.col("ChargePeriodStart")

    @dy.rule()
    def BillingPeriodEnd_before_BillingPeriodStart(cls) -> pl.Expr:
        return pl.col("BillingPeriodEnd") >= pl.col("BillingPeriodStart")
