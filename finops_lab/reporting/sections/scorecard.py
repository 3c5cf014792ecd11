"""Scorecard: the twelve KPIs with targets, status, trend and what they were worked out from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from finops_lab.reporting.figures import between, figure, spark, target
from finops_lab.reporting.section import Section, foremost, of_all
from finops_lab.tables import Table, money_table
from finops_lab.unit_economics.kpis import NAMES, TREND_MONTHS, Kpis
from finops_lab.wording import plural

if TYPE_CHECKING:
    from finops_lab.reporting.monthly import Review

_BY = (("team", "By team"), ("model", "By model"), ("feature", "By feature"))
_SHOWN = ("M1", "M2", "M4", "M5", "M8", "M12")
_MARKS = {"met": "✓ met", "missed": "✗ missed", "unclear": "? unclear"}


def build(review: Review) -> Section:
    """Build the section."""
    found = review.kpis
    tables = [_scorecard(review, found)]
    tables += [table for by, title in _BY if (table := _by(review, found, by, title)) is not None]
    last = (_how(review, found), _missing(review, found))
    return Section(
        "kpis",
        _finding(found),
        (*tables, *(table for table in last if table is not None)),
        {
            "scorecard": found.table.to_dicts(),
            "by": {by: _figures(found, by).to_dicts() for by, _ in _BY},
        },
    )


def _finding(found: Kpis) -> str:
    groups = {
        status: found.table.filter(pl.col("status") == status) for status in ("missed", "met", "unclear")
    }
    said = []
    if groups["missed"].height:
        names = ", ".join(name.lower() if name[1:2].islower() else name for name in groups["missed"]["name"])
        said.append(f"**{plural(groups['missed'].height, 'KPI')} missed the target**: {names}")
    else:
        said.append("**No KPI missed its target**")
    said.append(f"{groups['met'].height} met it")
    if groups["unclear"].height:
        many = groups["unclear"].height
        said.append(f"{many} {'is' if many == 1 else 'are'} unclear, why stands below")
    if aimless := found.table.filter(pl.col("status") == "no target").height:
        said.append(f"{aimless} {'has' if aimless == 1 else 'have'} no target")
    undefined = found.table.filter(pl.col("status") == "undefined").height
    if undefined:
        said.append(f"{undefined} could not be worked out, why stands below")
    return "; ".join(said) + "."


def _scorecard(review: Review, found: Kpis) -> Table:
    money = review.currency
    rows = [
        {
            "kpi": f"{row['kpi']} {row['name']}",
            "value": figure(row["value"], row["unit"], money),
            "between": between(row["lower"], row["upper"], row["unit"], money),
            "target": target(row["at_least"], row["at_most"], row["unit"], money),
            # What is short is not broken over lines.
            "status": _MARKS.get(row["status"], row["status"]).replace(" ", "\N{NO-BREAK SPACE}"),
            "previous": figure(row["previous"], row["unit"], money),
            "trend": spark(row["trend"]),
            "coverage": row["coverage"],
        }
        for row in found.table.iter_rows(named=True)
    ]
    schema = {name: pl.String for name in rows[0]} | {"coverage": pl.Float64}
    return money_table(
        pl.DataFrame(rows, schema=schema),
        title=f"Scorecard of {review.month_name}{f', up to {found.up_to}' if found.up_to else ''}",
        subtitle=f"Trend of {TREND_MONTHS} months, oldest first; a dot is a month without a value",
        id="scorecard",
        currency=money,
        money_columns=(),
        percent_columns=["coverage"],
        labels={
            "kpi": "KPI",
            "between": "Known between",
            "previous": "Month before",
            "coverage": "Data behind it",
        },
        unknown="unknown, exact or not set; the reason is below where a KPI has no value or verdict",
    )


def _how(review: Review, found: Kpis) -> Table | None:
    money = review.currency
    rows = [
        {
            "kpi": f"{row['kpi']} {row['name']}",
            "how": row["how"],
            "numerator": figure(row["numerator"], row["numerator_unit"], money),
            # One month is what "per month" says already.
            "denominator": None
            if row["denominator_unit"] == "months"
            else figure(row["denominator"], row["denominator_unit"], money),
            "rows": row["rows"],
        }
        for row in found.table.filter(pl.col("value").is_not_null()).iter_rows(named=True)
    ]
    if not rows:
        return None
    schema = {name: pl.String for name in rows[0]} | {"rows": pl.Int64}
    return money_table(
        pl.DataFrame(rows, schema=schema),
        title="How each was worked out",
        subtitle="Of the month and everything together; rows are those of the tables behind it",
        id="scorecard-how",
        currency=money,
        money_columns=(),
        number_columns={"rows": 0},
        labels={"kpi": "KPI", "how": "Formula"},
        unknown="not divided, or rows are not counted",
    )


def _missing(review: Review, found: Kpis) -> Table | None:
    why = pl.coalesce("reason", "status_reason").alias("reason")
    empty = found.table.filter(pl.col("value").is_null() | pl.col("status_reason").is_not_null())
    empty = empty.with_columns(why)
    if empty.is_empty():
        return None
    names = [f"{kpi} {name}" for kpi, name in empty.select("kpi", "name").iter_rows()]
    return money_table(
        pl.DataFrame({"kpi": names, "reason": empty["reason"]}),
        title="KPIs without a value or a verdict, and why",
        id="scorecard-missing",
        currency=review.currency,
        money_columns=(),
        labels={"kpi": "KPI"},
    )


def _figures(found: Kpis, dimension: str) -> pl.DataFrame:
    now = found.figures.filter(pl.col("month") == found.month)
    if dimension not in set(now["dimension"].drop_nulls()):
        return found.figures.clear()
    return found.by(dimension).filter(pl.col("kpi").is_in(_SHOWN))


def _by(review: Review, found: Kpis, dimension: str, title: str) -> Table | None:
    figures = _figures(found, dimension)
    if figures.is_empty():
        return None
    values = figures["key"].n_unique()
    figures = foremost(figures, pl.col("numerator").filter(pl.col("kpi") == "M1").abs())
    cells: dict[str, dict[str, str | None]] = {}
    for row in figures.sort("key", nulls_last=True).iter_rows(named=True):
        said = figure(row["value"], row["unit"], review.currency)
        mark = " ✗" if row["status"] == "missed" else ""
        cells.setdefault(row["key"] or "unknown", {})[row["kpi"]] = None if said is None else said + mark
    shown = [kpi for kpi in _SHOWN if any(row.get(kpi) for row in cells.values())]
    if not shown:
        return None
    rows: list[dict[str, Any]] = [
        {"key": key, **{k: row.get(k) for k in shown}} for key, row in cells.items()
    ]
    return money_table(
        pl.DataFrame(rows, schema=dict.fromkeys(["key", *shown], pl.String)),
        title=f"{title}, {review.month_name}",
        subtitle=of_all("whose calls cost most; all are in the figures", values),
        id=f"scorecard-{dimension}",
        currency=review.currency,
        money_columns=(),
        labels={"key": dimension.capitalize()} | {kpi: NAMES[kpi] for kpi in shown},
        unknown="not known for this value; Kpis.explain says why",
        note="✗ missed its target"
        if any("✗" in (v or "") for r in cells.values() for v in r.values())
        else None,
    )
