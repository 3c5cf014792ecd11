"""What FOCUS 1.2 asks of its columns, as a table.

Source of the rule numbers: the requirements model 1.2.0.1 that focus-validator 2.2.1 carries
(FinOps Foundation), its static rules on presence, nulls, types, formats and allowed values. Three
of its rules contradict the specification, and follow the text of FOCUS 1.2 here: the status of a
commitment (``Used`` and ``Unused``, filled where a usage row has a commitment), the consumed
quantity (filled in usage, not in corrections) and the commitment's quantity.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CATEGORIES", "RULES", "SUBCATEGORIES", "VALUES", "Rule"]


@dataclass(frozen=True)
class Rule:
    """One requirement: `check` holds for `column` in the rows that `where` names.

    `needs` is the applicability criterion of FOCUS: the rule binds providers that support it.
    """

    id: str
    column: str
    check: str
    where: str
    must: bool
    needs: str


SUBCATEGORIES: dict[str, tuple[str, ...]] = {
    "AI and Machine Learning": (
        "AI Platforms",
        "Bots",
        "Generative AI",
        "Machine Learning",
        "Natural Language Processing",
    ),
    "Analytics": (
        "Analytics Platforms",
        "Business Intelligence",
        "Data Processing",
        "Search",
        "Streaming Analytics",
    ),
    "Business Applications": ("Productivity and Collaboration",),
    "Compute": (
        "Containers",
        "End User Computing",
        "Quantum Compute",
        "Serverless Compute",
        "Virtual Machines",
    ),
    "Databases": (
        "Caching",
        "Data Warehouses",
        "Ledger Databases",
        "NoSQL Databases",
        "Relational Databases",
        "Time Series Databases",
    ),
    "Developer Tools": (
        "Developer Platforms",
        "Continuous Integration and Deployment",
        "Development Environments",
        "Source Code Management",
        "Quality Assurance",
    ),
    "Identity": ("Identity and Access Management",),
    "Integration": ("API Management", "Messaging", "Workflow Orchestration"),
    "Internet of Things": ("IoT Analytics", "IoT Platforms"),
    "Management and Governance": (
        "Architecture",
        "Compliance",
        "Cost Management",
        "Data Governance",
        "Disaster Recovery",
        "Endpoint Management",
        "Observability",
        "Support",
    ),
    "Media": ("Content Creation", "Gaming", "Media Streaming", "Mixed Reality"),
    "Migration": ("Data Migration", "Resource Migration"),
    "Mobile": (),
    "Multicloud": ("Multicloud Integration",),
    "Networking": (
        "Application Networking",
        "Content Delivery",
        "Network Connectivity",
        "Network Infrastructure",
        "Network Routing",
        "Network Security",
    ),
    "Security": ("Secret Management", "Security Posture Management", "Threat Detection and Response"),
    "Storage": ("Backup Storage", "Block Storage", "File Storage", "Object Storage", "Storage Platforms"),
    "Web": ("Application Platforms",),
    "Other": (),
}
# Every category has a rest: `Other (Compute)`.
SUBCATEGORIES = {name: (*own, f"Other ({name})") for name, own in SUBCATEGORIES.items()}
CATEGORIES = tuple(SUBCATEGORIES)

VALUES: dict[str, tuple[str, ...]] = {
    "CapacityReservationStatus": ("Used", "Unused"),
    "ChargeCategory": ("Usage", "Purchase", "Tax", "Credit", "Adjustment"),
    "ChargeClass": ("Correction",),
    "ChargeFrequency": ("One-Time", "Recurring", "Usage-Based"),
    "CommitmentDiscountCategory": ("Spend", "Usage"),
    "CommitmentDiscountStatus": ("Used", "Unused"),
    "PricingCategory": ("Standard", "Committed", "Dynamic", "Other"),
    "ServiceCategory": CATEGORIES,
    "ServiceSubcategory": tuple(sub for subs in SUBCATEGORIES.values() for sub in subs),
}

# What several columns need, shortened.
_NEEDS = {
    "zone": "AVAILABILITY_ZONE_SUPPORTED",
    "accounts": "MULTIPLE_BILLING_ACCOUNT_TYPES_SUPPORTED",
    "named": "ACCOUNT_NAMING_SUPPORTED",
    "reserve": "CAPACITY_RESERVATION_SUPPORTED",
    "commit": "COMMITMENT_DISCOUNT_SUPPORTED",
    "usage": "USAGE_MEASUREMENT_SUPPORTED",
    "agreed": "NEGOTIATED_PRICING_SUPPORTED",
    "list": "PUBLIC_PRICE_LIST_SUPPORTED",
    "pricing": "MULTIPLE_PRICING_CATEGORIES_SUPPORTED",
    "money": "PRICING_BILLING_CURRENCY_DIFFERENCES_SUPPORTED",
    "virtual": "PUBLIC_PRICE_LIST_SUPPORTED, VIRTUAL_CURRENCY_SUPPORTED",
    "region": "REGION_SUPPORTED",
    "resource": "BILLING_BASED_ON_PROVISIONED_RESOURCES_SUPPORTED",
    "typed": "BILLING_BASED_ON_PROVISIONED_RESOURCES_SUPPORTED, RESOURCE_TYPE_ASSIGNMENT_SUPPORTED",
    "sku": "PUBLIC_PRICE_LIST_SUPPORTED, UNIT_PRICING_SUPPORTED",
    "sub": "SUB_ACCOUNT_SUPPORTED",
    "subs": "MULTIPLE_SUB_ACCOUNT_TYPES_SUPPORTED",
    "tags": "TAGGING_SUPPORTED",
}

# Column, its rule of presence, then `number:check/where`; `~` is a SHOULD, `?` says what it needs.
_TABLE = """
AvailabilityZone ~D-003-C?zone 001-M:text 002-M:ascii
BilledCost D-006-M 001-M:decimal 002-M:numeric 003-M:filled
BillingAccountId D-024-M 001-M:filled 002-M:text 003-M:ascii
BillingAccountName D-005-M 001-M:text 002-M:ascii 003-C:filled?named
BillingAccountType D-007-C?accounts 001-M:text 002-M:ascii 004-C:empty/no-BillingAccountId
    005-C:filled/has-BillingAccountId
BillingCurrency D-035-M 001-M:text 002-M:ascii 003-M:currency 004-M:filled 006-M:national
BillingPeriodEnd D-010-M 001-M:moment 002-M:datetime 003-M:filled
BillingPeriodStart D-009-M 001-M:moment 002-M:datetime 003-M:filled
CapacityReservationId D-065-C?reserve 001-M:text 002-M:ascii 005-C:filled/idle
CapacityReservationStatus D-020-C?reserve 001-M:text 003-C:empty/no-CapacityReservationId
    004-C:filled/reserved 006-M:among
ChargeCategory D-008-M 001-M:text 002-M:filled 003-M:among
ChargeClass D-026-M 001-M:text 005-C:among
ChargeDescription D-025-M 001-M:text 002-M:ascii ~003-O:filled
ChargeFrequency ~D-027-O 001-M:text 002-M:filled 003-M:among 004-C:bought/purchase
ChargePeriodEnd D-028-M 001-M:moment 002-M:datetime 003-M:filled
ChargePeriodStart D-037-M 001-M:moment 002-M:datetime 003-M:filled
CommitmentDiscountCategory D-016-C?commit 001-M:text 003-C:empty/no-CommitmentDiscountId
    004-C:filled/has-CommitmentDiscountId 005-M:among
CommitmentDiscountId D-013-C?commit 001-M:text 002-M:ascii
CommitmentDiscountName D-012-C?commit 001-M:text 002-M:ascii 004-C:empty/no-CommitmentDiscountId
CommitmentDiscountQuantity D-018-C?commit 001-M:decimal 002-M:numeric 005-C:filled/committed
    007-C:empty/uncommitted
CommitmentDiscountStatus D-017-C?commit 001-M:text 003-C:empty/no-CommitmentDiscountId
    004-C:filled/covered 005-M:among
CommitmentDiscountType D-014-C?commit 001-M:text 002-M:ascii 004-C:empty/no-CommitmentDiscountId
    005-C:filled/has-CommitmentDiscountId
CommitmentDiscountUnit D-015-C?commit 001-M:text 002-M:ascii ~003-M:unit
    005-C:empty/no-CommitmentDiscountQuantity 006-C:filled/has-CommitmentDiscountQuantity
ConsumedQuantity D-011-C?usage 001-M:decimal 002-M:numeric 004-C:empty/unconsumed 006-C:filled/consumed
ConsumedUnit D-066-C?usage 001-M:text 002-M:ascii ~003-O:unit 005-C:empty/no-ConsumedQuantity
    006-C:filled/has-ConsumedQuantity
ContractedCost D-030-M 001-M:decimal 002-M:numeric 003-M:filled
ContractedUnitPrice D-034-C?agreed 002-M:decimal 003-M:numeric 005-C:empty/tax 006-C:filled/priced
    009-C:least0
EffectiveCost D-031-M 001-M:decimal 002-M:numeric 003-M:filled
InvoiceId ~D-033-O 001-M:text 002-M:ascii
InvoiceIssuerName D-023-M 001-M:text 002-M:ascii 003-M:filled
ListCost D-032-M 001-M:decimal 002-M:numeric 003-M:filled
ListUnitPrice D-004-C?list 001-M:decimal 002-M:numeric 004-C:empty/tax 005-C:filled/priced 008-M:least0
PricingCategory D-022-C?pricing 001-M:text 003-C:empty/tax 004-C:filled/priced 007-M:among
PricingCurrency D-045-C?money 001-M:text 002-M:ascii 003-M:currency 004-M:filled
PricingCurrencyContractedUnitPrice D-047-C?virtual 001-M:decimal 002-M:numeric
PricingCurrencyEffectiveCost D-051-C?virtual 001-M:decimal 002-M:numeric 003-M:filled
PricingCurrencyListUnitPrice D-055-C?virtual 001-M:decimal 002-M:numeric 004-C:empty/tax
    005-C:filled/priced 008-M:least0
PricingQuantity D-036-M 001-M:decimal 002-M:numeric 004-C:empty/tax 005-C:filled/priced
PricingUnit D-068-M 001-M:text 002-M:ascii ~003-O:unit 005-C:empty/no-PricingQuantity
    006-C:filled/has-PricingQuantity
ProviderName D-038-M 001-M:text 002-M:ascii 003-M:filled
PublisherName D-021-M 001-M:text 002-M:ascii 003-M:filled
RegionId D-063-C?region 001-M:text 002-M:ascii
RegionName D-062-C?region 001-M:text 002-M:ascii 004-C:empty/no-RegionId 005-C:filled/has-RegionId
ResourceId D-043-C?resource 001-M:text 002-M:ascii
ResourceName D-044-C?resource 001-M:text 002-M:ascii
ResourceType D-039-C?typed 001-M:text 002-M:ascii 004-C:empty/no-ResourceId 005-C:filled/has-ResourceId
ServiceCategory D-040-M 001-M:text 002-M:filled 003-M:among
ServiceName D-041-M 001-M:text 002-M:ascii 003-M:filled 005-C:one-ServiceCategory
    ~008-C:one-ServiceSubcategory
ServiceSubcategory ~D-042-O 001-M:text 002-M:filled 003-M:among 004-M:within
SkuId D-060-C?sku 001-M:text 002-M:ascii 004-C:empty/tax 005-C:filled/priced
SkuMeter D-059-C?sku 001-M:text 002-M:ascii 004-C:empty/no-SkuId ~005-C:filled/has-SkuId
SkuPriceDetails D-061-C?sku 001-M:pairs 004-C:empty/no-SkuPriceId
SkuPriceId D-058-C?sku 001-M:text 002-M:ascii 004-C:empty/tax 005-C:filled/priced 008-M:one-SkuId
SubAccountId D-019-C?sub 001-M:text 002-M:ascii
SubAccountName D-029-C?sub 001-M:text 002-M:ascii 004-C:empty/no-SubAccountId
    005-C:filled/has-SubAccountId
SubAccountType D-067-C?subs 001-M:text 002-M:ascii 004-C:empty/no-SubAccountId
    005-C:filled/has-SubAccountId
Tags D-064-C?tags 001-M:pairs
"""


def _rules() -> tuple[Rule, ...]:
    found = []
    for line in _TABLE.strip().replace("\n    ", " ").splitlines():
        column, presence, *rest = line.split()
        number, _, key = presence.partition("?")
        binding = _NEEDS.get(key, "")
        must = not number.startswith("~")
        found.append(Rule(f"CostAndUsage-{number.removeprefix('~')}", column, "here", "", must, binding))
        for token in rest:
            spelled, _, key = token.partition("?")
            number, _, what = spelled.partition(":")
            check, _, where = what.partition("/")
            found.append(
                Rule(
                    f"{column}-C-{number.removeprefix('~')}",
                    column,
                    check,
                    where,
                    not number.startswith("~"),
                    _NEEDS[key] if key else binding,
                )
            )
    return tuple(found)


RULES = _rules()
