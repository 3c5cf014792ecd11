"""Reconciliation: telemetry at list price against the bill, and what later deliveries changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from finops_lab.calendar import format_month
from finops_lab.charts import waterfall
from finops_lab.errors import CurrencyError, InputError
from finops_lab.money import exact_sum
from finops_lab.reconciliation.calculated import Reconciliation
from finops_lab.reconciling import first_delivered, reconcile, restated, restated_months
from finops_lab.reporting.section import Section, money
from finops_lab.tables import Table, money_table

if TYPE_CHECKING:
    from finops_lab.reporting.monthly import Review


def build(review: Review) -> Section:
    """Build the section."""
    parts: list[Any] = []
    said, values = _calculated(review, parts)
    again, bridges = _restated(review, parts)
    return Section(
        "reconciliation", f"{said} {again}", tuple(parts), {"waterfall": values, "restatements": bridges}
    )


def _calculated(review: Review, parts: list[Any]) -> tuple[str, list[dict[str, Any]]]:
    try:
        done = reconcile(review.lab, review.month, metric=review.metric)
    except (CurrencyError, InputError) as error:
        return f"Telemetry was not set against the bill: {error}.", []
    if done.waterfall.is_empty() or done.lines.is_empty():
        return "The bill has no charges for tokens that telemetry could be set against.", []
    steps = {row["step"]: row["amount"] for row in done.waterfall.iter_rows(named=True)}
    billed, calculated, unexplained = (steps[name] for name in ("billed", "calculated", "unexplained"))
    parts.append(
        waterfall(
            done.waterfall,
            title=f"From calculated to billed, {review.month_name}",
            unit="USD",
            subtitle="Telemetry priced at list, and why the bill differs",
            value_title=review.metric_name.capitalize(),
        )
    )
    parts.append(_steps(review, done))
    said = (
        f"Telemetry at list price makes **{money(calculated, 'USD')}** of token charges, "
        f"the bill says **{money(billed, 'USD')}**; {money(unexplained, 'USD')} of the gap is unexplained."
    )
    without = steps["unpriced"]
    if without:
        said += f" {money(without, 'USD')} is for tokens without a price: add `[[prices]]` to `finops.toml`."
    return said, done.waterfall.to_dicts()


def _steps(review: Review, done: Reconciliation) -> Table:
    shown = done.waterfall.filter((pl.col("amount") != 0) | (pl.col("kind") != "cause"))
    return money_table(
        shown.select("label", "amount", "end"),
        title="From calculated to billed",
        id="waterfall",
        currency="USD",
        money_columns=dict.fromkeys(("amount", "end"), review.decimals),
        labels={"label": "Step", "amount": "Amount", "end": "So far"},
        note="fl.reconcile gives every provider, model, day and direction.",
    )


def _restated(review: Review, parts: list[Any]) -> tuple[str, list[dict[str, Any]]]:
    month = format_month(review.month)
    found = [name for name in restated_months(review.lab) if name <= month]
    if not found:
        return "No month that was over has been delivered again.", []
    bridges = [
        restated(review.lab, name).summary.with_columns(
            pl.lit(name).alias("x_BillingMonth"),
            pl.col("ProviderName").replace_strict(days, default=None, return_dtype=pl.Date).alias("then"),
        )
        for name, days in ((name, first_delivered(review.lab, name)) for name in found)
    ]
    changed = pl.concat(bridges).filter(pl.col("change") != "unchanged")
    if changed.is_empty():
        return f"Months delivered again ({', '.join(found)}) have not changed.", []
    one = changed["BillingCurrency"].n_unique() == 1
    currency = changed["BillingCurrency"][0]
    column = (
        f"{review.metric}_change" if f"{review.metric}_change" in changed.columns else "BilledCost_change"
    )
    rows = changed.with_columns(pl.max_horizontal("rows_before", "rows_after").alias("rows")).select(
        "x_BillingMonth", "ProviderName", "change", "rows", "then", "BillingCurrency", column
    )
    parts.append(
        money_table(
            rows.with_columns(pl.col("then").dt.strftime("%Y-%m-%d")).head(100),
            title="Restatements: what later deliveries changed",
            subtitle="Each billing month as each provider first delivered it after its end, against now",
            id="restatements",
            currency=currency if one else review.currency,
            money_columns={column: 2} if one else (),
            number_columns={"rows": 0} if one else {"rows": 0, column: 2},
            labels={
                "x_BillingMonth": "Billing month",
                "then": "First delivered",
                column: f"Change of {review.metric_name}",
            },
        )
    )
    if not one:
        return f"Later deliveries changed {', '.join(found)}.", rows.to_dicts()
    whole = exact_sum(rows[column].to_list())
    return f"Later deliveries changed {', '.join(found)} by **{money(whole, currency)}**.", rows.to_dicts()
