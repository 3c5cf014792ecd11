"""What an Azure row charges for: its costs in both senses, its category, account, period, commitment."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from finops_lab.ingestion._lookup import looked_up
from finops_lab.ingestion._moments import MOMENT
from finops_lab.ingestion.bills._azure_columns import Columns
from finops_lab.ingestion.registry import unreadable
from finops_lab.money import MONEY

__all__ = ["category_of", "charges", "dataset_of", "kind_of"]

_CATEGORIES = {
    "usage": "Usage",
    "unusedreservation": "Usage",
    "unusedsavingsplan": "Usage",
    "purchase": "Purchase",
    "refund": "Purchase",
    "tax": "Tax",
    "credit": "Credit",
    "adjustment": "Adjustment",
    "roundingadjustment": "Adjustment",
}
_COMMITMENTS = ("reservation", "savingsplan")
_FREQUENCIES = {"onetime": "One-Time", "recurring": "Recurring", "usagebased": "Usage-Based"}
_PRICING = {
    "ondemand": "Standard",
    "spot": "Dynamic",
    "reservation": "Committed",
    "savingsplan": "Committed",
}
_LAST_DAY = datetime(9999, 12, 31, tzinfo=UTC)


def kind_of(export: Columns) -> dict[str, pl.Expr]:
    """Tell what each row charges for: conditions that are never null."""
    charge = export.text("charge_type").str.to_lowercase().str.replace_all(" ", "")
    charge = charge if export.has("charge_type") else pl.lit("usage")
    model = export.text("pricing_model").str.to_lowercase().str.replace_all(" ", "")
    # Before there was a pricing model, only the id said that a commitment applies.
    bound = pl.coalesce(export.text("benefit"), export.text("reservation")).is_not_null()
    committed = pl.when(model.is_null()).then(bound).otherwise(model.is_in(_COMMITMENTS))
    usage = charge == "usage"
    conditions = {
        "bought": charge.is_in(["purchase", "refund"]) & committed,
        "covered": usage & committed,
        "unused": charge.is_in(["unusedreservation", "unusedsavingsplan"]),
        "usage": usage,
    }
    return {
        "charge": charge,
        "model": model,
        **{name: condition.fill_null(False) for name, condition in conditions.items()},
    }


def dataset_of(raw: pl.LazyFrame, export: Columns, path: Path) -> str | None:
    """Tell whether a file is the actual or the amortized dataset, from the rows of commitments."""
    if not export.has("charge_type"):
        return None
    kind = kind_of(export)
    amount = export.text("cost").str.contains(r"^[^eE]*[1-9]").fill_null(False)
    used = export.text("quantity").str.contains(r"^[^eE]*[1-9]").fill_null(False)
    try:
        found = (
            raw.select(
                (kind["bought"] & amount).any().alias("bought"),
                (kind["unused"] | (kind["covered"] & amount)).any().alias("shared"),
                (kind["covered"] & ~amount & used).any().alias("free"),
            )
            .collect()
            .row(0, named=True)
        )
    except pl.exceptions.PolarsError as error:
        raise unreadable(path, error) from None
    if found["shared"]:
        return "actual and amortized" if found["bought"] else "amortized"
    return "actual" if found["bought"] or found["free"] else None


def category_of(kind: dict[str, pl.Expr]) -> pl.Expr:
    """Return the charge category of a known charge type."""
    return looked_up(kind["charge"], _CATEGORIES, pl.String())


def charges(export: Columns, kind: dict[str, pl.Expr], agreement: str) -> dict[str, pl.Expr]:
    """Return the contract's columns that say what is charged, to whom and when."""
    cost = export.value("cost", MONEY)
    known = cost.is_not_null()
    shares, bought = kind["covered"] | kind["unused"], kind["bought"]
    zero = pl.lit(0).cast(MONEY)
    effective = pl.when(known & bought).then(zero).otherwise(cost)
    pricing_cost = export.value("pricing_cost", MONEY)
    return {
        "BilledCost": pl.when(known & shares).then(zero).otherwise(cost),
        "EffectiveCost": effective,
        "ListCost": export.value("list_cost", MONEY),
        "BillingCurrency": export.text("currency").str.to_uppercase(),
        "PricingCurrency": export.text("pricing_currency").str.to_uppercase(),
        "PricingCurrencyEffectiveCost": pl.when(pricing_cost.is_not_null() & bought)
        .then(zero)
        .otherwise(pricing_cost),
        "ChargeCategory": pl.coalesce(
            category_of(kind), pl.when(kind["charge"].is_not_null()).then(pl.lit("Adjustment"))
        ),
        "ChargeClass": pl.when(kind["charge"] == "refund").then(pl.lit("Correction")),
        "ChargeFrequency": _spelled(export.text("frequency"), _FREQUENCIES),
        "ChargeDescription": export.text("product"),
        "PricingCategory": looked_up(kind["model"], _PRICING, pl.String()),
        "InvoiceId": export.text("invoice"),
        "InvoiceIssuerName": pl.coalesce(export.text("partner"), pl.lit("Microsoft")),
        "ProviderName": pl.lit("Microsoft"),
        "PublisherName": pl.coalesce(
            export.text("publisher"),
            pl.when(export.text("publisher_type").is_in(["Azure", "Microsoft"])).then(pl.lit("Microsoft")),
        ),
        **_accounts(export, agreement),
        **_periods(export),
        **_commitments(export, kind),
    }


def _accounts(export: Columns, agreement: str) -> dict[str, pl.Expr]:
    # An MCA invoice is of a billing profile; an EA's of the enrolment, which is the billing account.
    keys = ["profile", "account"] if agreement == "MCA" else ["account", "profile"]
    names = [f"{key}_name" for key in keys]
    kinds = {"MCA": "Billing Profile", "EA": "Enrollment"}
    return {
        "BillingAccountId": pl.coalesce(*[export.text(key) for key in keys], export.text("subscription")),
        "BillingAccountName": pl.coalesce(export.text(name) for name in names),
        "BillingAccountType": pl.lit(kinds.get(agreement), dtype=pl.String),
        "SubAccountId": export.text("subscription"),
        "SubAccountName": export.text("subscription_name"),
        "SubAccountType": pl.when(export.text("subscription").is_not_null()).then(pl.lit("Subscription")),
    }


def _periods(export: Columns) -> dict[str, pl.Expr]:
    date = export.value("date", MOMENT)
    start = export.value("period_start", MOMENT)
    end = _after(export.value("period_end", MOMENT), "1d")
    if not export.has("period_start"):
        start = date.dt.truncate("1mo")
        end = _after(start, "1mo")
    return {
        "ChargePeriodStart": date,
        "ChargePeriodEnd": _after(date, "1d"),
        "BillingPeriodStart": start,
        "BillingPeriodEnd": end,
    }


def _after(moment: pl.Expr, step: str) -> pl.Expr:
    """Return the exclusive end of a period that starts on, or includes, a moment."""
    return pl.when(moment < pl.lit(_LAST_DAY).cast(MOMENT).dt.offset_by("-31d")).then(
        moment.dt.offset_by(step)
    )


def _commitments(export: Columns, kind: dict[str, pl.Expr]) -> dict[str, pl.Expr]:
    part = kind["bought"] | kind["covered"] | kind["unused"]
    benefit = pl.coalesce(export.text("benefit"), export.text("reservation"))
    path = benefit.str.to_lowercase()
    found = (
        pl.when((kind["charge"] == "unusedsavingsplan") | (kind["model"] == "savingsplan"))
        .then(pl.lit("Savings Plan"))
        .when(path.str.contains("/microsoft.billingbenefits/", literal=True))
        .then(pl.lit("Savings Plan"))
        .otherwise(pl.lit("Reservation"))
    )
    return {
        "CommitmentDiscountId": pl.when(part).then(benefit),
        "CommitmentDiscountName": pl.when(part).then(
            pl.coalesce(export.text("benefit_name"), export.text("reservation_name"))
        ),
        "CommitmentDiscountType": pl.when(part).then(found),
        "CommitmentDiscountCategory": pl.when(part).then(
            pl.when(found == "Reservation").then(pl.lit("Usage")).otherwise(pl.lit("Spend"))
        ),
        "CommitmentDiscountStatus": pl.when(kind["unused"])
        .then(pl.lit("Unused"))
        .when(kind["covered"])
        .then(pl.lit("Used")),
    }


def _spelled(text: pl.Expr, words: dict[str, str]) -> pl.Expr:
    word = text.str.to_lowercase().str.replace_all("[ -]", "")
    return pl.coalesce(looked_up(word, words, pl.String()), text)
