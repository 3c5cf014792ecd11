"""The canonical cost table: the columns of FOCUS 1.0 to 1.4, spelled as FOCUS spells them."""

from __future__ import annotations

import dataframely as dy
import polars as pl

from finops_lab.contracts.columns import CURRENCY, FILE, ROW, moment, money, number, text, whole

CHARGE_CATEGORIES = ("Usage", "Purchase", "Tax", "Credit", "Adjustment")
TOKEN_DIRECTIONS = ("Input", "Output")
TOKEN_CACHE_ACTIONS = ("Read", "Write")


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

    BilledCost = money("what the invoice says, nothing amortised", nullable=False)
    EffectiveCost = money(
        "amortised: 0 on a purchase that covers later use, its share on the use it covers", nullable=False
    )
    ListCost = money("at list prices; null where the export cannot tell")
    ContractedCost = money("at agreed prices, without commitments; null where the export cannot tell")
    BillingCurrency = text("ISO 4217 code of the amounts", nullable=False, regex=CURRENCY)
    BillingAccountId = text("account that the invoice is addressed to", nullable=False)
    BillingAccountName = text()
    BillingAccountType = text()
    SubAccountId = text("account, subscription or project in it")
    SubAccountName = text()
    SubAccountType = text()
    BillingPeriodStart = moment("begin of the invoice's month", nullable=False)
    BillingPeriodEnd = moment("its end, exclusive")
    ChargePeriodStart = moment("begin of the use; the month of a review", nullable=False)
    ChargePeriodEnd = moment("its end, exclusive")
    ChargeCategory = text("what kind of charge", nullable=False, allowed=CHARGE_CATEGORIES)
    ChargeClass = text("set where it corrects a month that was invoiced", allowed=("Correction",))
    ChargeDescription = text()
    ChargeFrequency = text()
    InvoiceId = text()
    InvoiceDetailId = text()
    InvoiceIssuerName = text()
    ProviderName = text(
        "who provides the service, as FOCUS names them: AWS, Microsoft, Google Cloud, ...", nullable=False
    )
    ServiceProviderName = text()
    HostProviderName = text()
    PublisherName = text()
    ServiceCategory = text()
    ServiceSubcategory = text()
    ServiceName = text()
    RegionId = text()
    RegionName = text()
    AvailabilityZone = text()
    ResourceId = text()
    ResourceName = text()
    ResourceType = text()
    SkuId = text()
    SkuMeter = text()
    SkuPriceId = text()
    SkuPriceDetails = text()
    PricingCategory = text()
    PricingQuantity = money("how many of `PricingUnit`, as priced")
    PricingUnit = text()
    ListUnitPrice = money()
    ContractedUnitPrice = money()
    PricingCurrency = text()
    PricingCurrencyContractedUnitPrice = money()
    PricingCurrencyEffectiveCost = money()
    PricingCurrencyListUnitPrice = money()
    ConsumedQuantity = money("how many of `ConsumedUnit`, in natural units: tokens, hours")
    ConsumedUnit = text()
    CapacityReservationId = text()
    CapacityReservationStatus = text()
    CommitmentDiscountCategory = text()
    CommitmentDiscountId = text()
    CommitmentDiscountName = text()
    CommitmentDiscountQuantity = money()
    CommitmentDiscountStatus = text()
    CommitmentDiscountType = text()
    CommitmentDiscountUnit = text()
    CommitmentProgramEligibilityDetails = text()
    ContractApplied = text()
    AllocatedMethodId = text()
    AllocatedMethodDetails = text()
    AllocatedResourceId = text()
    AllocatedResourceName = text()
    AllocatedTags = text()
    Tags = text("tags as JSON; the keys that rules name become columns `x_tag_<key>`")
    x_ModelId = text("model that the tokens were for")
    x_TokenDirection = text("tokens sent to the model, or written by it", allowed=TOKEN_DIRECTIONS)
    x_TokenCacheAction = text("read from a prompt cache, or written to it", allowed=TOKEN_CACHE_ACTIONS)
    x_InstanceType = text("machine type, as its provider names it")
    x_GpuModel = text("GPU of that machine type, such as NVIDIA H100")
    x_GpuCount = number("GPUs of one such machine", min=0)
    x_BillingMonth = text("month of `BillingPeriodStart`, such as 2026-10", nullable=False)
    x_SourceFile = text(FILE, nullable=False)
    x_SourceRow = whole(ROW, nullable=False)

    @dy.rule()
    def ChargePeriodEnd_before_ChargePeriodStart(cls) -> pl.Expr:
        return pl.col("ChargePeriodEnd") >= pl.col("ChargePeriodStart")

    @dy.rule()
    def BillingPeriodEnd_before_BillingPeriodStart(cls) -> pl.Expr:
        return pl.col("BillingPeriodEnd") >= pl.col("BillingPeriodStart")
