"""Data doctor: what bills and telemetry say that cannot be right, and what is at stake."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from finops_lab.doctor import doctor, readable
from finops_lab.reporting.section import Section
from finops_lab.tables import money_table
from finops_lab.wording import plural

if TYPE_CHECKING:
    from finops_lab.reporting.monthly import Review

_MOST = 40


def build(review: Review) -> Section:
    """Build the section. It looks at the whole lab, not at the month alone."""
    findings = doctor(review.lab)
    counts = {s: findings.filter(severity=s).height for s in ("error", "warning", "info")}
    said = f"**The data doctor found {plural(counts['error'], 'error')}, {plural(counts['warning'], 'warning')}**"
    said += f" and {plural(counts['info'], 'thing')} to know, in the whole lab. `finops-lab doctor` lists them all."
    grave = readable(findings.filter(pl.col("severity") != "info"))
    parts: list[object] = []
    if grave.height:
        table = grave.head(_MOST).select(
            pl.format("{}: {}", "severity", "check").alias("finding"),
            "where",
            "rows",
            "at_stake",
            pl.format("{}. Fix: {}", "finding", "fix").alias("what and how to mend it"),
        )
        parts.append(
            money_table(
                table,
                title="What the data doctor found",
                subtitle="error: figures are wrong; warning: they may mislead",
                id="doctor",
                currency=review.currency,
                money_columns=(),
                number_columns=["rows"],
                labels={"at_stake": "Money at stake"},
                unknown="not a matter of rows or money",
                note=f"and {grave.height - _MOST} more" if grave.height > _MOST else None,
            )
        )
    values = findings.with_columns(pl.col("examples").list.join(", "))
    return Section("doctor", said, tuple(parts), {"counts": counts, "findings": values.to_dicts()})
