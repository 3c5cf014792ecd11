"""Commitments, credits and the rows beside usage: taxes, refunds, corrections."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import polars as pl

from finops_lab.calendar import add_months, parse_month
from finops_lab.doctor._model import Look, Tables, Told, check, total
from finops_lab.doctor._rows import ACCOUNT, examples, flagged
from finops_lab.doctor._words import amount, place, share, span
from finops_lab.wording import plural

__all__ = ["CHECKS"]

_COMMITTED = pl.col("CommitmentDiscountId").is_not_null()
_USAGE = pl.col("ChargeCategory") == "Usage"
_PURCHASE = pl.col("ChargeCategory") == "Purchase"
_ONE_CHARGE = timedelta(days=1)
_CENT = Decimal("0.01")


@check(
    "commitment identity",
    table="costs",
    severity="error",
    meaning="Over a commitment's term the EffectiveCost of its usage is not the BilledCost of its purchase, "
    "as FOCUS 1.2 demands.",
    fix="check the amortization of this commitment; EffectiveCost of its months cannot be trusted",
)
def _commitment_identity(tables: Tables) -> Look:
    by = ["ProviderName", "CommitmentDiscountId", "BillingCurrency"]
    last = tables.costs.filter(_USAGE).select(pl.col("ChargePeriodEnd").max().alias("end_of_data"))
    found = yield flagged(
        tables.costs,
        _COMMITTED,
        by=by,
        purchased=pl.when(_PURCHASE).then(pl.col("BilledCost")).sum(),
        amortized=pl.when(_USAGE).then(pl.col("EffectiveCost")).sum(),
        purchases=_PURCHASE.sum().cast(pl.Int64),
        usages=_USAGE.sum().cast(pl.Int64),
        term_start=pl.when(_PURCHASE).then(pl.col("ChargePeriodStart")).min(),
        term_end=pl.when(_PURCHASE).then(pl.col("ChargePeriodEnd")).max(),
        used_from=pl.when(_USAGE).then(pl.col("ChargePeriodStart")).min(),
    ).join(last, how="cross")
    told = []
    for row in found.iter_rows(named=True):
        currency, off = row["BillingCurrency"], row["amortized"] - row["purchased"]
        where = place(row["ProviderName"], row["CommitmentDiscountId"])
        sums = (
            f"usage carries {amount(row['amortized'], currency)} effective, purchases were billed "
            f"{amount(row['purchased'], currency)}"
        )
        if abs(off) <= _CENT:
            continue
        late = row["term_start"] is None or (row["used_from"] and row["used_from"] < row["term_start"])
        running = row["term_end"] is not None and (
            row["end_of_data"] is None or row["term_end"] > row["end_of_data"]
        )
        # A purchase charged on one day does not tell how long it covers usage.
        unknown = row["term_end"] is not None and row["term_end"] - row["term_start"] <= _ONE_CHARGE
        if late or not row["usages"] or ((running or unknown) and off < 0):
            why = (
                "no usage is covered by it yet"
                if not row["usages"]
                else "its purchase was before these bills begin"
                if late
                else "its purchase does not tell the term"
                if unknown
                else f"its term runs to {row['term_end']:%Y-%m-%d}"
            )
            told.append(
                Told(
                    where,
                    f"cannot be proved: {why} ({sums})",
                    row["rows"],
                    currency,
                    abs(off),
                    examples(row),
                    severity="info",
                    fix="ingest the bills of the whole term",
                )
            )
        else:
            told.append(
                Told(
                    where,
                    f"{sums}: {amount(abs(off), currency)} {'too much' if off > 0 else 'too little'}",
                    row["rows"],
                    currency,
                    abs(off),
                    examples(row),
                )
            )
    return told


@check(
    "unused commitment",
    table="costs",
    severity="warning",
    meaning="A commitment was paid for and not used; nobody's usage carries this cost.",
    fix="decide who pays for idle commitments (shared, or the buyer) and lower the next commitment; in an "
    "open month the unused part is still falling",
)
def _unused_commitment(tables: Tables) -> Look:
    unused = pl.col("CommitmentDiscountStatus") == "Unused"
    whole = tables.costs.filter(_COMMITTED & _USAGE).group_by("CommitmentDiscountId", "BillingCurrency")
    found = yield flagged(
        tables.costs,
        _COMMITTED & unused,
        by=["ProviderName", "CommitmentDiscountId", "BillingCurrency"],
        money=pl.col("EffectiveCost").sum(),
    ).join(
        whole.agg(pl.col("EffectiveCost").sum().alias("whole")),
        on=["CommitmentDiscountId", "BillingCurrency"],
        how="left",
    )
    return [
        Told(
            place(row["ProviderName"], row["CommitmentDiscountId"], span(row["first"], row["last"])),
            f"{amount(row['money'], row['BillingCurrency'])} of "
            f"{amount(row['whole'], row['BillingCurrency'])} ({share(row['money'], row['whole'])}) of this "
            f"commitment was not used",
            row["rows"],
            row["BillingCurrency"],
            row["money"],
            examples(row),
        )
        for row in found.iter_rows(named=True)
        if row["money"] > 0
    ]


@check(
    "purchase and covered usage",
    table="costs",
    severity="info",
    meaning="ListCost and ContractedCost of a purchase stand beside those of the usage it covers, so that a "
    "plain sum counts both.",
    fix="for savings leave out either the purchases (accrual) or the covered usage (cash), never neither",
)
def _purchase_and_covered_usage(tables: Tables) -> Look:
    found = yield flagged(
        tables.costs,
        _COMMITTED & (_PURCHASE | (_USAGE & (pl.col("CommitmentDiscountStatus") == "Used"))),
        money=pl.when(_PURCHASE).then(pl.col("ListCost")).sum(),
        covered=pl.when(_USAGE).then(pl.col("ListCost")).sum(),
    )
    return [
        Told(
            place(row["ProviderName"], row["BillingAccountId"], "ListCost"),
            f"purchases of commitments list {amount(row['money'], row['BillingCurrency'])} beside "
            f"{amount(row['covered'], row['BillingCurrency'])} of covered usage",
            row["rows"],
            row["BillingCurrency"],
            row["money"],
            examples(row),
        )
        for row in found.iter_rows(named=True)
        if row["money"] and row["covered"]
    ]


@check(
    "credits",
    table="costs",
    severity="info",
    meaning="Credits lower the bill: what they are worth, and what the bill is when they end.",
    fix="forecast and look for anomalies without credits; show them as a line of their own with their end",
)
def _credits(tables: Tables) -> Look:
    month = pl.col("ChargePeriodStart").dt.strftime("%Y-%m")
    credit = pl.col("ChargeCategory") == "Credit"
    monthly = (
        tables.costs.with_columns(month.alias("month"))
        .group_by(*ACCOUNT, "month")
        .agg(
            pl.when(credit).then(pl.col("BilledCost")).sum().alias("credit"),
            pl.when(~credit).then(pl.col("BilledCost")).sum().alias("gross"),
            credit.sum().cast(pl.Int64).alias("rows"),
        )
        .sort(*ACCOUNT, "month")
    )
    found = yield monthly
    told = []
    for (provider, account, currency), rows in found.group_by(ACCOUNT, maintain_order=True):
        with_credit = rows.filter(pl.col("rows") > 0)
        if with_credit.is_empty():
            continue
        code, first, last = str(currency), with_credit["month"][0], with_credit["month"][-1]
        money, latest = total(with_credit["credit"]), with_credit["credit"][-1]
        gross = total(with_credit["gross"])
        ended = last < rows["month"][-1]
        said = (
            f"credits of {amount(money, code)} from {span(first, last)}, {share(-money, gross)} of the bill "
            "without them; "
        )
        if ended:
            after = f"{add_months(parse_month(last), 1):%Y-%m}"
            said += f"they ended: from {after} the bill is higher by {amount(-latest, code)} a month"
        else:
            said += f"when they end, a month costs {amount(-latest, code)} more"
        told.append(
            Told(
                place(provider, account, span(first, last)),
                said,
                int(with_credit["rows"].sum()),
                code,
                abs(money),
                severity="warning" if ended else None,
                fix="expect the higher bill: raise the budget, and do not read the step as growth of usage"
                if ended
                else None,
            )
        )
    return told


@check(
    "rows beside usage",
    table="costs",
    severity="info",
    meaning="Taxes, adjustments and rounding rows: no team, no quantity, and part of the total.",
    fix="keep taxes and adjustments out of unit costs; spread taxes over their base by EffectiveCost",
)
def _rows_beside_usage(tables: Tables) -> Look:
    found = yield flagged(
        tables.costs,
        pl.col("ChargeCategory").is_in(["Tax", "Adjustment"]) & pl.col("ChargeClass").is_null(),
        by=[*ACCOUNT, "ChargeCategory"],
        said=pl.col("BilledCost").sum(),
    )
    return [
        Told(
            place(row["ProviderName"], row["BillingAccountId"], span(row["first"], row["last"])),
            f"{plural(row['rows'], row['ChargeCategory'] + ' row')}, together "
            f"{amount(row['said'], row['BillingCurrency'])} billed",
            row["rows"],
            row["BillingCurrency"],
            row["money"],
            examples(row),
        )
        for row in found.iter_rows(named=True)
    ]


@check(
    "corrections",
    table="costs",
    severity="info",
    meaning="Refunds and corrections of invoiced months: billed now, for usage of then.",
    fix="add up cash by BillingPeriodStart and accrual by ChargePeriodStart; both give the same over all time",
)
def _corrections(tables: Tables) -> Look:
    month = pl.col("ChargePeriodStart").dt.strftime("%Y-%m")
    found = yield flagged(
        tables.costs,
        pl.col("ChargeClass") == "Correction",
        said=pl.col("BilledCost").sum(),
        used_first=month.min(),
        used_last=month.max(),
    )
    return [
        Told(
            place(row["ProviderName"], row["BillingAccountId"], span(row["first"], row["last"])),
            f"{plural(row['rows'], 'correction')} of {amount(row['said'], row['BillingCurrency'])}, billed in "
            f"{span(row['first'], row['last'])} for usage of {span(row['used_first'], row['used_last'])}",
            row["rows"],
            row["BillingCurrency"],
            row["money"],
            examples(row),
        )
        for row in found.iter_rows(named=True)
    ]


CHECKS = (
    _commitment_identity,
    _unused_commitment,
    _purchase_and_covered_usage,
    _credits,
    _rows_beside_usage,
    _corrections,
)
