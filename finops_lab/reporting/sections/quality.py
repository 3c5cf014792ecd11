"""Data quality: what was read, mended and rejected, and which days are missing."""

from __future__ import annotations

from decimal import Decimal
from difflib import get_close_matches
from typing import TYPE_CHECKING

import polars as pl

from finops_lab.allocation.overrides import unmatched
from finops_lab.calendar import days_in_month
from finops_lab.ingestion.doubles import repeated
from finops_lab.ingestion.lake import FileEntry
from finops_lab.money import exact_sum
from finops_lab.reporting.section import Section, money
from finops_lab.tables import money_table
from finops_lab.wording import plural

if TYPE_CHECKING:
    from finops_lab.reporting.monthly import Review


def build(review: Review) -> Section:
    """Build the section."""
    log = review.lab.files()
    tables = _by_table(log)
    rejected = sum(entry.rows_quarantined for _, entry in log)
    read = sum(entry.rows_read for _, entry in log)
    at_stake = _money(log, "quarantined")
    gaps = _missing_days(review)
    files = plural(len({entry.path for _, entry in log}), "file")
    finding = f"**{read:,} rows were read from {files}, {rejected:,} of them are in quarantine**"
    if rejected:
        sums = ", ".join(money(v, c if len(c) == 3 else "USD", exact=True) for c, v in at_stake.items())
        finding += f" ({sums or 'amount unknown'} billed)" if at_stake else ""
    replaced = sum(entry.rows_superseded for _, entry in log)
    if replaced:
        finding += f"; {replaced:,} rows were replaced by a newer delivery"
    finding += (
        f"; {plural(len(gaps), 'provider')} without a charge on some days of {review.month_name}."
        if gaps
        else "."
    )
    parts: list[object] = [
        money_table(
            tables,
            title="Rows by table",
            id="ingested",
            currency=review.currency,
            money_columns=(),
            number_columns=["files", "rows_read", "rows_accepted", "rows_quarantined", "rows_superseded"],
        )
    ]
    twice = repeated(review.lab.costs())
    warnings = _warnings(review, log, rejected, twice)
    if warnings:
        finding += " **Look at this first:** " + "; ".join(warnings) + "."
    findings = _findings(log, gaps, review)
    if findings.height:
        parts.append(
            money_table(
                findings.head(60),
                title="Findings",
                id="findings",
                currency=review.currency,
                money_columns=(),
                number_columns=["rows"],
                unknown="not a matter of rows",
            )
        )
    return Section(
        "data_quality",
        finding,
        tuple(parts),
        {
            "tables": tables.to_dicts(),
            "findings": findings.to_dicts(),
            "warnings": warnings,
            "billed_in_quarantine": at_stake,
            "missing_days": gaps,
        },
    )


def _warnings(
    review: Review, log: list[tuple[str, FileEntry]], rejected: int, twice: pl.DataFrame
) -> list[str]:
    """Say what can make the month's figures wrong."""
    said = []
    for row in twice.iter_rows(named=True):
        amount = money(row["BilledCost"], row["BillingCurrency"], exact=True)
        said.append(
            f"{plural(row['rows'], 'charge')} ({amount} billed) stand alike in {row['files']}: counted twice? "
            "A newer export of a month belongs in a folder delivered=YYYY-MM-DD"
        )
    if rejected:
        said.append(f"{plural(rejected, 'row')} in quarantine, see the findings")
    gone = review.lab.withdrawn()
    if gone:
        said.append(
            f"{plural(len(gone), 'file')} still counted, but no longer in exports/: {', '.join(gone[:3])}"
            f"{', …' if len(gone) > 3 else ''} (delete lake/ to leave out what was withdrawn)"
        )
    said += unmatched(review.ledger.steps, review.lab.config.overrides)
    month = review.lab.budgets().filter(pl.col("month") == f"{review.month:%Y-%m}")
    planned = month.select("dimension", "key").drop_nulls().unique().sort("dimension", "key")
    for (dimension,), named in planned.group_by("dimension", maintain_order=True):
        charged = set(review.panel(str(dimension))["unique_id"])
        for key in sorted(set(named["key"]) - charged):
            close = get_close_matches(key, sorted(charged), n=1)
            said.append(
                f"the budget of {dimension} {key!r} has no charges"
                + (f" (is it {close[0]!r}?)" if close else "")
            )
    return said


def _by_table(log: list[tuple[str, FileEntry]]) -> pl.DataFrame:
    names = ("rows_read", "rows_accepted", "rows_quarantined", "rows_superseded")
    rows = [(table, *(getattr(entry, name) for name in names)) for table, entry in log]
    frame = pl.DataFrame(rows, schema={"table": pl.String, **dict.fromkeys(names, pl.Int64)}, orient="row")
    return (
        frame.group_by("table")
        .agg(pl.len().cast(pl.Int64).alias("files"), pl.col(*names).sum())
        .sort("table")
    )


def _money(log: list[tuple[str, FileEntry]], fate: str) -> dict[str, Decimal]:
    found: dict[str, list[Decimal]] = {}
    for _, entry in log:
        for currency, fates in entry.money.items():
            if fate in fates:
                found.setdefault(currency, []).append(Decimal(fates[fate]))
    return {currency: exact_sum(amounts) for currency, amounts in sorted(found.items())}


def _missing_days(review: Review) -> dict[str, int]:
    """Count the days of the month without a charge, per provider that had charges before."""
    days = review.entries.group_by("ProviderName").agg(pl.col("x_ChargeDate").n_unique().cast(pl.Int64))
    before = review.of(review.previous)["ProviderName"].unique().to_list()
    found = dict(days.iter_rows()) | {p: 0 for p in before if p not in set(days["ProviderName"])}
    whole = days_in_month(review.month)
    return {p: whole - n for p, n in sorted(found.items()) if n < whole}


def _findings(log: list[tuple[str, FileEntry]], gaps: dict[str, int], review: Review) -> pl.DataFrame:
    rows: list[tuple[str, str, str, int | None]] = []
    for _, entry in log:
        rows += [("rejected", entry.path, text, n) for text, n in entry.reasons.items()]
        rows += [("mended", entry.path, text, n) for text, n in entry.notes.items()]
        if entry.rows_superseded:
            rows.append(("superseded", entry.path, "replaced by a newer delivery", entry.rows_superseded))
    for row in review.lab.overlap().iter_rows(named=True):
        amount = row["BilledCost"] if row["BilledCost"] is not None else row["EffectiveCost"]
        worth = "" if amount is None else f" ({money(amount, row['BillingCurrency'], exact=True)})"
        text = f"left out by the coverage plan {row['plan']!r}{worth}"
        rows.append(("overlap", row["source_file"], text, row["rows"]))
    rows += [
        ("missing", p, f"{plural(n, 'day')} of {review.month_name} without a charge", None)
        for p, n in gaps.items()
    ]
    schema = {"what": pl.String, "where": pl.String, "finding": pl.String, "rows": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")
