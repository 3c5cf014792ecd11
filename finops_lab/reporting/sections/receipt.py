"""Receipt: the ledger adds up to the bill, and what each rule caught."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from finops_lab.calendar import format_month
from finops_lab.reporting.section import Section, money
from finops_lab.tables import Table, money_table

if TYPE_CHECKING:
    from finops_lab.reporting.monthly import Review

_SUMS = ("amount_in", "allocated", "unallocated", "excluded", "residual")


def build(review: Review) -> Section:
    """Build the section."""
    everything = review.ledger.receipt.filter(pl.col("metric") == review.metric)
    month = (
        everything.filter(pl.col("x_ChargeMonth") == format_month(review.month))
        .group_by("metric", "BillingCurrency", "ChargeCategory")
        .agg(pl.col("rows_in", *_SUMS).sum())
        .sort("BillingCurrency", "ChargeCategory")
    )
    whole = everything.select("rows_in", *_SUMS).sum().row(0, named=True)
    tables = []
    for (currency,), part in month.group_by("BillingCurrency", maintain_order=True):
        tables.append(
            money_table(
                part.select("ChargeCategory", "rows_in", *_SUMS),
                title=f"Receipt for {review.month_name}: {review.metric_name}, {currency}",
                subtitle="Money in = allocated + unallocated + excluded, so the residual is 0",
                id=f"receipt-{str(currency).lower()}",
                currency=str(currency),
                money_columns=_SUMS,
                number_columns=["rows_in"],
                labels={"rows_in": "Bill rows", "amount_in": "On the bill"},
                total_row=part.select("rows_in", *_SUMS).sum().row(0, named=True),
                note="Each amount is rounded for display by itself; the exact decimals are in the report's JSON.",
            )
        )
    rules = review.ledger.rules
    configured = rules.filter(pl.col("rule") != "(no rule)").unique(
        ["dimension", "rule"], maintain_order=True
    )
    idle = configured.filter(pl.col("status").is_in(["caught nothing", "shadowed"]))
    if rules.height:
        tables.append(_rules(review, rules))
    currencies = everything["BillingCurrency"].unique().to_list()
    amount = money(whole["amount_in"], currencies[0], exact=True) if len(currencies) == 1 else "all amounts"
    finding = (
        f"**The ledger adds up: residual {whole['residual'].normalize():f}** over {whole['rows_in']:,} bill rows "
        f"({amount} in all months, {len(currencies)} {'currency' if len(currencies) == 1 else 'currencies'})."
    )
    if idle.height:
        finding += f" {idle.height} of {configured.height} rules caught nothing: " + ", ".join(
            f"“{r['rule']}” ({r['dimension']}{', shadowed' if r['status'] == 'shadowed' else ''})"
            for r in idle.head(3).iter_rows(named=True)
        ) + ("…" if idle.height > 3 else "") + "."  # fmt: skip
    return Section(
        "receipt",
        finding,
        tuple(tables),
        {
            "month": month.drop("metric").to_dicts(),
            "all_months": [
                row
                for row in everything.group_by("BillingCurrency")
                .agg(pl.col("rows_in", *_SUMS).sum())
                .sort("BillingCurrency")
                .to_dicts()
            ],
        },
    )


def _rules(review: Review, rules: pl.DataFrame) -> Table:
    shown = rules.select("dimension", "rule", "rows", "BillingCurrency", review.metric)
    several = rules["BillingCurrency"].drop_nulls().n_unique() > 1
    return money_table(
        (shown if several else shown.drop("BillingCurrency")).head(200),
        title="What each rule caught, all months",
        subtitle="Rules of a dimension are tried from the top, the first that gives a value wins",
        id="rules",
        currency=review.currency,
        money_columns={review.metric: review.decimals} if not several else (),
        number_columns=["rows"] if not several else {"rows": 0, review.metric: 2},
        unknown="the rule caught nothing",
    )
