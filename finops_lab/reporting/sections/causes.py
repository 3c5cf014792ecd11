"""Causes: why spend changed since the month before, term by term, adding up exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from finops_lab.calendar import month_name
from finops_lab.charts.bridge import bridge_waterfall
from finops_lab.reporting.section import Section, change_words, money
from finops_lab.tables import Table, money_table
from finops_lab.unit_economics.bridge import Bridge

if TYPE_CHECKING:
    from finops_lab.reporting.monthly import Review

_LARGEST = 3
_CELLS = 12


def build(review: Review) -> Section:
    """Build the section."""
    if review.total(review.previous) is None:
        return Section(
            "causes",
            f"**Nothing to compare with**: the lab has no charges of {month_name(review.previous)}.",
            values={"missing": "previous month"},
        )
    found = review.bridge
    return Section(
        "causes",
        _finding(review, found),
        (bridge_waterfall(found), _terms(review, found), *_cells(review, found)),
        {
            "start": found.start,
            "end": found.end,
            "terms": found.terms.to_dicts(),
            "cells": found.cells.to_dicts(),
        },
    )


def _finding(review: Review, found: Bridge) -> str:
    largest = found.terms.filter(pl.col("amount") != 0).sort(pl.col("amount").abs(), descending=True)
    causes = [
        f"{label.lower()} {money(abs(amount), found.currency)} {'more' if amount > 0 else 'less'}"
        for label, amount in largest.head(_LARGEST).select("label", "amount").iter_rows()
    ]
    said = f"**{review.month_name} cost {change_words(found.end, found.start, found.currency)}** than "
    said += f"{month_name(found.first)}"
    said += f", days 1 to {found.up_to} of both" if found.up_to else ""
    short = [(month, review.billed(month, "has ")) for month in (found.last, found.first)]
    said += "".join(f"; {month_name(month)} {words}" for month, words in short if words)
    return f"{said}; most of it: {', '.join(causes)}." if causes else f"{said}."


def _terms(review: Review, found: Bridge) -> Table:
    # As wide as in the chart above.
    shown = found.terms.filter(pl.col("amount") != 0).with_columns(2 * pl.col("standard_error"))
    if shown.is_empty():
        shown = found.terms.head(1)
    sampled = ["standard_error"] if shown["standard_error"].is_not_null().any() else []
    return money_table(
        shown.select("label", "words", "amount", *sampled, "share_of_change"),
        title=f"Why spend changed from {month_name(found.first)} to {month_name(found.last)}"
        + (f", days 1 to {found.up_to}" if found.up_to else ""),
        subtitle="Terms that are nothing are left out; they add up to the change, to the last decimal",
        id="bridge",
        currency=found.currency,
        money_columns={"amount": review.decimals},
        percent_columns=["share_of_change"],
        number_columns=dict.fromkeys(sampled, 0),
        labels={"label": "Cause", "words": "What it is", "share_of_change": "Of the change"}
        | ({"standard_error": f"± by sampling, {found.currency}"} if sampled else {}),
        total_row={"amount": found.change},
        unknown="does not apply",
        note="± is two standard errors, since logged calls are a sample: as much may belong to volume."
        if sampled
        else None,
    )


def _cells(review: Review, found: Bridge) -> list[Table]:
    change = pl.col("end").fill_null(0) - pl.col("start").fill_null(0)
    named = found.cells.filter(pl.col("model").is_not_null()).with_columns(change.alias("change"))
    if named.is_empty():
        return []
    wanted = ["requests", "tokens", "cache", "retries", "price"]
    shown = named.sort(pl.col("change").abs(), "model", "variant", descending=[True, False, False])
    # Spend that no call is tied to, such as training, has no such terms: nothing is not zero.
    terms = [n for n in wanted if n in named.columns]
    apart = pl.all_horizontal(pl.col(n).fill_null(0) == 0 for n in terms) & (pl.col("change") != 0)
    shown = shown.with_columns(pl.when(~apart).then(pl.col(n)).alias(n) for n in terms)
    name = pl.concat_str("model", "variant", separator=" ", ignore_nulls=True).alias("model")
    rest = pl.col("change") - pl.sum_horizontal(terms)
    shown = shown.with_columns(pl.when(~apart).then(rest).alias("rest")) if terms else shown
    columns = ["start", "end", "change", *terms, *(["rest"] if terms else [])]
    return [
        money_table(
            shown.head(_CELLS).select(name, *columns),
            title="Model variants whose spend changed most",
            subtitle="What of the change came of calls, tokens per call, cached input, retries and price; "
            "the rest of days in the month, mix and what no call is tied to",
            id="bridge-cells",
            currency=found.currency,
            money_columns=dict.fromkeys(columns, review.decimals),
            labels={"start": month_name(found.first), "end": month_name(found.last), "requests": "Calls"},
            unknown="does not apply: new, vanished or not measured",
        )
    ]
