"""Data doctor: what bills and telemetry say that cannot be right, and what is at stake."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from finops_lab.charts.labels import plural
from finops_lab.doctor import doctor, readable
from finops_lab.reporting.section import Section
from finops_lab.tables import money_table

if TYPE_CHECKING:
    from finops_lab.reporting.monthly import Review

_MOST = 60
_SHOWN = ("check", "severity", "where", "rows", "at_stake", "finding", "fix")


def build(review: Review) -> Section:
    """Build the section. It looks at the whole lab, not at the month alone."""
    findings = doctor(review.lab)
    counts = {s: findings.filter(severity=s).height for s in ("error", "warning", "info")}
    said = f"**The data doctor found {plural(counts['error'], 'error')}, {plural(counts['warning'], 'warning')}**"
    said += f" and {plural(counts['info'], 'thing')} to know, in the whole lab."
    parts: list[object] = []
    if findings.height:
        parts.append(
            money_table(
                readable(findings).head(_MOST).select(_SHOWN),
                title="What the data doctor found",
                subtitle="errors first: error: figures are wrong; warning: they may mislead; info: know it",
                id="doctor",
                currency=review.currency,
                money_columns=(),
                number_columns=["rows"],
                labels={"at_stake": "money at stake"},
                unknown="not a matter of rows or money",
                note=f"{findings.height - _MOST} more: `finops-lab doctor`"
                if findings.height > _MOST
                else None,
            )
        )
    values = findings.with_columns(pl.col("examples").list.join(", ") if findings.height else "examples")
    return Section("doctor", said, tuple(parts), {"counts": counts, "findings": values.to_dicts()})
