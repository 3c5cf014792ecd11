"""Allocation: how much of the month has an owner, how it got it, and what to label first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from finops_lab.allocation.backlog import backlog
from finops_lab.allocation.coverage import coverage
from finops_lab.allocation.pooling import pick
from finops_lab.bookkeeping import policy
from finops_lab.calendar import format_month
from finops_lab.chargeback import statements
from finops_lab.reporting.section import Section, foremost, money, of_all
from finops_lab.tables import Table, money_table

if TYPE_CHECKING:
    from finops_lab.reporting.monthly import Review

_KINDS = ("direct", "usage", "shared", "idle", "dark", "amortized", "override", "unallocated")
_HEADINGS = {"x_team": "Team", "direct": "By tag or rule", "usage": "By metered use", "total": "Total"}
_DEFINITIONS = {
    "gross_positive": "Charges above zero",
    "absolute": "All money, credits without their sign",
    "rows": "Bill rows",
}
_SHOWN = 10


def build(review: Review) -> Section:
    """Build the section."""
    covered = coverage(review.entries, "team", review.metric)
    month = format_month(review.month)
    billed = review.lab.costs().filter(pl.col("ChargePeriodStart").dt.strftime("%Y-%m") == month)
    rules = policy(review.lab)
    # What metered use divides needs no label.
    dated = billed.with_columns(pl.col("ChargePeriodStart").dt.date().alias("x_ChargeDate"))
    billed = dated.filter(pick(rules.splits).is_null()).drop("x_ChargeDate")
    waiting = backlog(billed, rules.dimensions, metric=review.metric, top=_SHOWN)
    waiting = waiting.filter(pl.col("BillingCurrency") == review.currency)
    tables = [_coverage(review, covered), _charged(review, month)]
    if waiting.height:
        tables.append(_waiting(review, waiting))
    steps = review.ledger.steps
    if steps.height > 1:
        tables.append(_steps(review, steps))
    return Section(
        "allocation",
        _finding(review, covered, waiting),
        tuple(tables),
        {
            "coverage": covered.to_dicts(),
            "backlog": waiting.drop("rule").to_dicts(),
            "steps": steps.to_dicts(),
            "inputs_sha256": review.ledger.inputs_sha256,
        },
    )


def _finding(review: Review, covered: pl.DataFrame, waiting: pl.DataFrame) -> str:
    share = {row["definition"]: row["share"] for row in covered.iter_rows(named=True)}
    said = f"**{_percent(share['gross_positive'])} of the month's charges above zero have an owner**, "
    said += f"{_percent(share['rows'])} of the bill rows"
    tagged = waiting.filter(pl.col("action") == "tag")
    if tagged.height:
        first = tagged.row(0, named=True)
        name = first["ResourceName"] or first["ResourceId"] or first["SubAccountName"] or first["ServiceName"]
        said += f"; of what a tag can give an owner **{name}** is the most, "
        said += money(first["absolute_amount"], review.currency)
    return said + "."


def _percent(share: float | None) -> str:
    return "an unknown part" if share is None else f"{share:.1%}"


def _coverage(review: Review, covered: pl.DataFrame) -> Table:
    shown = covered.with_columns(pl.col("definition").replace(_DEFINITIONS)).select(
        "definition", "covered", "total", "covered_rows", "total_rows", "share"
    )
    return money_table(
        shown,
        title="Coverage: what has an owner",
        subtitle="Never a share of the net cost: a credit without an owner would give more than 100 %",
        id="coverage",
        currency=review.currency,
        money_columns=dict.fromkeys(("covered", "total"), review.decimals),
        percent_columns=["share"],
        number_columns=["covered_rows", "total_rows"],
        labels={
            "definition": "Counted by",
            "covered": "With an owner",
            "total": "In all",
            "covered_rows": "Rows with an owner",
            "total_rows": "Rows",
        },
        unknown="rows are not money",
    )


def _charged(review: Review, month: str) -> Table:
    made = statements(review.entries, month, metric=review.metric)
    present = [k for k in _KINDS if made.summary.select((pl.col(k).fill_null(0) != 0).any()).item()]
    columns = [*present, "total"]
    totals: dict[str, Any] = {name: made.summary[name].sum() for name in columns}
    return money_table(
        foremost(made.summary, pl.col("total").abs(), "x_team").select("x_team", *columns),
        title=f"Chargeback: {review.metric_name} by team, and how it came to the team",
        subtitle=of_all("teams with most money; the total is of all", made.summary.height),
        id="chargeback",
        currency=review.currency,
        money_columns=dict.fromkeys(columns, review.decimals),
        labels={name: words for name, words in _HEADINGS.items() if name in ("x_team", *columns)},
        total_row=totals,
        note="finops-lab chargeback writes these statements as a workbook, CSV and FOCUS 1.3 rows.",
    )


def _waiting(review: Review, waiting: pl.DataFrame) -> Table:
    what = pl.coalesce("ResourceName", "ResourceId", "SkuId", "ChargeDescription", "ServiceName")
    where = pl.concat_str("ProviderName", "SubAccountName", "ServiceName", separator=", ", ignore_nulls=True)
    by = pl.when(pl.col("action") == "tag").then(pl.lit("a tag")).otherwise(pl.lit("a rule, or share it"))
    shown = waiting.select(
        what.alias("what"),
        where.alias("where"),
        "absolute_amount",
        "share",
        "coverage_after",
        by.alias("by"),
    )
    return money_table(
        shown,
        title="What to label first",
        subtitle="Charges of the month that no rule gives a team, the most money first; credits without their sign",
        id="backlog",
        currency=review.currency,
        money_columns={"absolute_amount": review.decimals},
        percent_columns=["share", "coverage_after"],
        labels={
            "what": "Resource or charge",
            "where": "Provider, account, service",
            "absolute_amount": "Money",
            "share": "Of all unlabelled",
            "coverage_after": "Coverage once labelled",
            "by": "By",
        },
    )


def _steps(review: Review, steps: pl.DataFrame) -> Table:
    return money_table(
        steps.select("name", "kind", "policy", "entries", "BillingCurrency", "EffectiveCost").head(100),
        title="Steps of the allocation, all months",
        subtitle="Rules first, then splits by use, shared costs tier by tier, and overrides",
        id="steps",
        currency=review.currency,
        money_columns=(),
        number_columns={"entries": 0, "EffectiveCost": 2},
        labels={"name": "Step"},
        unknown="the step moved nothing",
    )
