"""What an AWS line item is in FOCUS's words, and what it costs billed and amortised.

Amortisation follows AWS's own query for the amortised cost of the Cost and Usage Report (Well-
Architected labs and Cloud Intelligence Dashboards, CUR query library), with one difference: the
fee of a commitment becomes two rows, the purchase that was billed and the commitment nobody used,
because FOCUS wants an ``EffectiveCost`` of 0 on the purchase and a row of its own for what is unused.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import polars as pl

from finops_lab.ingestion._lookup import looked_up
from finops_lab.ingestion.bills._aws_columns import Report
from finops_lab.money import MONEY

__all__ = ["CATEGORIES", "KIND", "PART", "SPLIT", "charge", "is_usage", "kind", "parts", "split"]

# The category of each line item type, by its name in lower case.
CATEGORIES: Mapping[str, str] = {
    "usage": "Usage",
    "discountedusage": "Usage",
    "savingsplancoveredusage": "Usage",
    "savingsplannegation": "Usage",
    "bundleddiscount": "Usage",
    "discount": "Usage",
    "edpdiscount": "Usage",
    "privateratediscount": "Usage",
    "rivolumediscount": "Usage",
    "sppdiscount": "Usage",
    "distributordiscount": "Usage",
    "fee": "Purchase",
    "rifee": "Purchase",
    "savingsplanrecurringfee": "Purchase",
    "savingsplanupfrontfee": "Purchase",
    "tax": "Tax",
    "credit": "Credit",
    "refund": "Adjustment",
}
# "1" is the line item; "2" the unused rest of the commitment whose fee the line item is.
PART = "_aws_part"
KIND = "_aws_kind"
SPLIT = "_aws_split"
_FEES = ("rifee", "savingsplanrecurringfee")
_USAGE = ("usage", "discountedusage", "savingsplancoveredusage")
_CONTAINERS = ("ekspod-ec2", "ecstask-ec2")
_ZERO = pl.lit(Decimal(0), dtype=MONEY)


def kind(report: Report) -> pl.Expr:
    """Return `KIND`, the line item type in lower case (``RIFee`` is also written ``RiFee``)."""
    return report.text("line_item_line_item_type").str.to_lowercase().alias(KIND)


def split(report: Report) -> pl.Expr:
    """Return `SPLIT`, true on rows that divide another: containers on an EC2 instance with a row itself.

    Containers on Fargate carry split columns too, but are billed themselves and have no parent.
    """
    container = report.text("line_item_operation").str.to_lowercase().is_in(_CONTAINERS)
    parent = report.text("split_line_item_parent_resource_id").is_not_null()
    share = report.text("split_line_item_split_cost").is_not_null()
    return (container.fill_null(False) | (parent & share)).alias(SPLIT)


def parts() -> pl.Expr:
    """List the rows a line item becomes as `PART`: two for the fee of a commitment."""
    fee = pl.col(KIND).is_in(_FEES)
    return pl.when(fee).then(pl.lit(["1", "2"])).otherwise(pl.lit(["1"])).alias(PART)


def is_usage() -> pl.Expr:
    """Tell which rows count as consumption: not negations, discounts, splits and fees."""
    return pl.col(KIND).is_in(_USAGE) & ~pl.col(SPLIT)


def charge(report: Report) -> dict[str, pl.Expr]:
    """Return categories, costs and commitment columns of FOCUS; amounts have been read."""
    type_, share, unused = pl.col(KIND), pl.col(SPLIT), pl.col(PART) == "2"
    billed = report.amount("line_item_unblended_cost")
    plan = report.text("savings_plan_savings_plan_a_r_n")
    reserved = report.text("reservation_reservation_a_r_n")
    covered = type_.is_in(["discountedusage", "savingsplancoveredusage"])
    unknown = pl.when(type_.is_not_null()).then(pl.lit("Adjustment"))
    discount = pl.when(type_.str.ends_with("discount")).then(pl.lit("Usage")).otherwise(unknown)
    category = pl.coalesce(looked_up(type_, CATEGORIES, pl.String()), discount)
    upfront = type_.is_in([*_FEES, "savingsplanupfrontfee"]) | ((type_ == "fee") & reserved.is_not_null())
    effective = (
        pl.when(unused)
        .then(_unused(report))
        .when(share | upfront | (type_ == "savingsplannegation"))
        .then(_ZERO)
        .when(type_ == "savingsplancoveredusage")
        .then(report.amount("savings_plan_savings_plan_effective_cost"))
        .when(type_ == "discountedusage")
        .then(report.amount("reservation_effective_cost"))
        .otherwise(billed)
    )
    start, month = (
        report.moment("line_item_usage_start_date"),
        report.moment("bill_billing_period_start_date"),
    )
    of_commitment = covered | type_.is_in([*_FEES, "savingsplanupfrontfee", "savingsplannegation"]) | upfront
    id_ = pl.when(of_commitment).then(pl.coalesce(plan, reserved))
    by_plan = plan.is_not_null() | type_.str.starts_with("savingsplan")
    return {
        "BilledCost": pl.when(unused | share).then(_ZERO).otherwise(billed),
        "EffectiveCost": effective,
        "ListCost": _list_cost(report),
        "ContractedCost": _contracted(report),
        "ChargeCategory": pl.when(unused).then(pl.lit("Usage")).otherwise(category),
        "ChargeClass": pl.when((type_ == "refund") & (start < month)).then(pl.lit("Correction")),
        "ChargeFrequency": pl.when(unused | (category == "Usage"))
        .then(pl.lit("Usage-Based"))
        .when(type_.is_in(_FEES))
        .then(pl.lit("Recurring"))
        .when(upfront)
        .then(pl.lit("One-Time")),
        "PricingCategory": pl.when(unused | covered)
        .then(pl.lit("Committed"))
        .when((type_ == "usage") & _spot(report))
        .then(pl.lit("Dynamic"))
        .when((type_ == "usage") & (report.text("pricing_term") == "OnDemand"))
        .then(pl.lit("Standard")),
        "CommitmentDiscountId": id_,
        "CommitmentDiscountCategory": pl.when(of_commitment)
        .then(pl.when(by_plan).then(pl.lit("Spend")).otherwise(pl.lit("Usage"))),
        "CommitmentDiscountType": pl.when(of_commitment)
        .then(pl.when(by_plan).then(pl.lit("Savings Plan")).otherwise(pl.lit("Reserved"))),
        "CommitmentDiscountStatus": pl.when(unused)
        .then(pl.lit("Unused"))
        .when(covered)
        .then(pl.lit("Used")),
    }  # fmt: skip


def _unused(report: Report) -> pl.Expr:
    """Return what of a commitment nobody used; unknown where the report does not say."""
    upfront = report.amount("reservation_unused_amortized_upfront_fee_for_billing_period")
    recurring = report.amount("reservation_unused_recurring_fee")
    said = upfront.is_not_null() | recurring.is_not_null()
    reserved = pl.when(said).then(upfront.fill_null(_ZERO) + recurring.fill_null(_ZERO))
    committed = report.amount("savings_plan_total_commitment_to_date")
    plan = committed - report.amount("savings_plan_used_commitment")
    return pl.when(pl.col(KIND) == "rifee").then(reserved).otherwise(plan)


def _list_cost(report: Report) -> pl.Expr:
    """Return the public on-demand cost in the currency of the bill.

    A negation takes back what its covered usage was billed, and a split row is a share of its
    parent: neither is usage at list price once more. Nor is what was not used.
    """
    nothing = (pl.col(KIND) == "savingsplannegation") | pl.col(SPLIT) | (pl.col(PART) == "2")
    same = pl.coalesce(report.text("pricing_currency") == report.text("line_item_currency_code"), True)
    public = pl.when(same).then(report.amount("pricing_public_on_demand_cost"))
    return pl.when(nothing).then(_ZERO).otherwise(public)


def _contracted(report: Report) -> pl.Expr:
    """Return the cost at negotiated prices, where the report tells it.

    A report has net columns only when the account has discounts (CUR data dictionary); without
    them plain usage is billed at the contracted price. What commitments cover stays unknown.
    """
    net = pl.coalesce(
        report.amount("line_item_net_unblended_cost"), report.amount("line_item_unblended_cost")
    )
    nothing = pl.col(SPLIT) | (pl.col(PART) == "2") | (pl.col(KIND) == "savingsplannegation")
    return pl.when(nothing).then(_ZERO).when(pl.col(KIND) == "usage").then(net)


def _spot(report: Report) -> pl.Expr:
    option = report.text("pricing_purchase_option", "product_purchase_option", "pricing_term")
    named = option.str.to_lowercase().str.contains("spot")
    usage = report.text("line_item_usage_type").str.contains("SpotUsage")
    return named.fill_null(False) | usage.fill_null(False)
