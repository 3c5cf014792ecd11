"""The twelve KPIs in one table: value, target, status, trend, and how each was worked out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import polars as pl

from finops_lab.calendar import add_months, format_month
from finops_lab.errors import InputError
from finops_lab.money import MONEY
from finops_lab.unit_economics.figures import Definition
from finops_lab.unit_economics.targets import TARGETED

__all__ = ["HEADLINES", "NAMES", "TREND_MONTHS", "Kpis", "kpis"]

TREND_MONTHS = 12
NAMES = {
    "M1": "Cost per inference",
    "M2": "GPU utilization",
    "M3": "Cost per training hour",
    "M4": "P95 latency",
    "M5": "Inference error rate",
    "M6": "Cost anomaly rate",
    "M7": "Allocation coverage",
    "M8": "Retrain cost per month",
    "M9": "Spot eviction impact",
    "M10": "Error-budget burn",
    "M11": "Autoscaler efficiency",
    "M12": "Cost per feature: margin",
}
# The measure that stands for each KPI where one figure has to.
HEADLINES: tuple[tuple[str, str], ...] = (
    ("M1", "allocated_per_call"),
    ("M2", "gpu_util"),
    ("M3", "billed_per_wall_hour"),
    ("M4", "p95"),
    ("M5", "error_rate"),
    ("M6", "anomalies_per_month"),
    ("M7", "gross_positive"),
    ("M8", "retrain_reported"),
    ("M9", "extra_reported"),
    ("M10", "budget_spent"),
    ("M11", "efficiency"),
    ("M12", "margin"),
)
# What a lab has no rows of where a KPI has no figure at all.
_ABSENT = {
    "M1": "inference_requests has no calls in this month, and the ledger no inference money",
    "M2": "gpu_samples has no rows of the kind gpu_util in this month",
    "M3": "training_jobs has no attempts in this month, and the ledger no training money",
    "M4": "inference_requests has no interactive calls in this month that tell how long they took",
    "M5": "inference_requests has no calls in this month",
    "M6": "nobody has looked for anomalies in this month",
    "M7": "the ledger has no entries in this month",
    "M8": "training_jobs has no retrains in this month",
    "M9": "spot_evictions has no rows up to this month",
    "M10": "no objective of [[slos]] has events in this month",
    "M11": "capacity_series has no rows in this month",
    "M12": "neither the ledger nor feature_value tells of features in this month",
}


@dataclass(frozen=True)
class Kpis:
    """The KPIs of a month.

    Attributes
    ----------
    month : datetime.date
        First day of the month.
    table : polars.DataFrame
        The scorecard, one row per KPI: ``kpi``, ``name``, ``measure``, ``value``, ``unit``,
        ``at_least``, ``at_most``, ``status``, ``status_reason``, ``previous`` (value of the month
        before), ``trend`` (values of twelve months, oldest first, null where undefined),
        ``numerator`` and ``denominator`` with their units, ``coverage``, ``lower``, ``upper``,
        ``rows``, ``how`` and ``reason``.
    figures : polars.DataFrame
        All measures of all months up to this one, for everything and by dimension:
        `finops_lab.unit_economics.schemas.FIGURES` with target and status.
    definitions : tuple of Definition
        How each measure is worked out.
    up_to : datetime.date, optional
        The last day known of the month, where it is not over.
    """

    month: date
    table: pl.DataFrame
    figures: pl.DataFrame
    definitions: tuple[Definition, ...]
    up_to: date | None = None

    def __repr__(self) -> str:
        counts = self.table["status"].value_counts(sort=True)
        said = ", ".join(f"{n} {status}" for status, n in sorted(counts.iter_rows()))
        known = f" up to {self.up_to}" if self.up_to else ""
        return f"Kpis({format_month(self.month)}{known}: {said}; .table .figures .by() .trend() .explain())"

    def _repr_html_(self) -> str:
        return self.table.select(
            "kpi", "name", "value", "unit", "status", "previous", "coverage"
        )._repr_html_()

    def by(self, dimension: str, kpi: str | None = None, measure: str | None = None) -> pl.DataFrame:
        """Return the month's figures by a dimension, headlines unless a measure is named.

        Parameters
        ----------
        dimension : str
            Such as ``team``.
        kpi : str, optional
            ``M1`` to ``M12``; all by default.
        measure : str, optional
            A measure of the KPI instead of its headline.

        Raises
        ------
        InputError
            When nothing is told by that dimension.
        """
        found = self.figures.filter(pl.col("month") == self.month, pl.col("dimension") == dimension)
        if found.is_empty():
            now = self.figures.filter(pl.col("month") == self.month)
            known = now["dimension"].drop_nulls().unique().sort().to_list() or ["none in this month"]
            raise InputError(f"no KPI is told by {dimension!r}", hint=f"dimensions: {', '.join(known)}")
        if kpi is not None:
            found = found.filter(pl.col("kpi") == kpi)
        if measure is not None:
            return found.filter(pl.col("measure") == measure)
        heads = pl.DataFrame(HEADLINES, schema=["kpi", "measure"], orient="row")
        return found.join(heads, on=["kpi", "measure"], how="semi", maintain_order="left")

    def trend(self, kpi: str, measure: str | None = None) -> pl.DataFrame:
        """Return the months of a measure, oldest first, for everything together."""
        one = self.definition(kpi, measure)
        return self.figures.filter(
            pl.col("kpi") == one.kpi, pl.col("measure") == one.measure, pl.col("dimension").is_null()
        ).sort("month")

    def definition(self, kpi: str, measure: str | None = None) -> Definition:
        """Return how a measure is worked out.

        Raises
        ------
        InputError
            When there is no such measure.
        """
        wanted = measure or dict(HEADLINES).get(kpi)
        for one in self.definitions:
            if (one.kpi, one.measure) == (kpi, wanted):
                return one
        known = [one.measure for one in self.definitions if one.kpi == kpi]
        if not known:
            told = list(dict.fromkeys(one.kpi for one in self.definitions))
            told.sort(key=lambda name: (len(name), name))
            raise InputError(f"there is no KPI {kpi!r}", hint=f"KPIs: {', '.join(told)}")
        raise InputError(f"there is no measure {kpi} {wanted}", hint=f"measures: {', '.join(known)}")

    def explain(
        self,
        kpi: str,
        measure: str | None = None,
        *,
        dimension: str | None = None,
        key: str | None = None,
    ) -> pl.DataFrame:
        """Say where a figure of the month comes from: formula, tables, rows, numerator, denominator.

        Parameters
        ----------
        kpi : str
            ``M1`` to ``M12``.
        measure : str, optional
            The headline by default.
        dimension, key : str, optional
            A value of a dimension, such as ``team`` and ``search``; everything by default.

        Returns
        -------
        polars.DataFrame
            ``what`` and ``says``, line by line.

        Raises
        ------
        InputError
            When there is no such measure or figure.
        """
        one = self.definition(kpi, measure)
        same = pl.col("dimension").eq_missing(pl.lit(dimension, pl.String))
        wanted = [
            pl.col("kpi") == kpi,
            pl.col("measure") == one.measure,
            pl.col("month") == self.month,
            same & pl.col("key").eq_missing(pl.lit(key, pl.String)),
        ]
        found = self.figures.filter(wanted)
        if found.is_empty():
            head = self.table.filter(pl.col("kpi") == kpi, pl.col("measure") == one.measure)
            raise InputError(
                f"{kpi} {one.measure} has no figure for {dimension or 'everything'} {key or ''}".strip(),
                hint=head["reason"][0] if head.height and dimension is None else None,
            )
        row = found.row(0, named=True)
        lines = [
            ("measure", f"{one.title} ({kpi} {one.measure})"),
            ("of", "everything" if dimension is None else f"{dimension} {key or 'unknown'}"),
            ("month", format_month(self.month)),
            ("known up to", str(self.up_to) if self.up_to else None),
            ("value", _said(row["value"], row["unit"]) if row["value"] is not None else "undefined"),
            ("why undefined", row["reason"]),
            ("numerator", _said(row["numerator"], row["numerator_unit"])),
            ("denominator", _said(row["denominator"], row["denominator_unit"])),
            ("formula", one.formula),
            ("bounds", _bounds(row["lower"], row["upper"], row["unit"], one.bounds)),
            ("tables", ", ".join(one.tables)),
            ("rows", None if row["rows"] is None else f"{row['rows']:,}"),
            ("coverage", None if row["coverage"] is None else f"{row['coverage']:.1%}"),
            ("target", _range(row["at_least"], row["at_most"])),
            ("status", row["status"]),
            (f"why {row['status']}", row["status_reason"]),
            ("source", one.source or None),
        ]
        return pl.DataFrame([line for line in lines if line[1]], schema=["what", "says"], orient="row")


def kpis(
    figures: pl.DataFrame | pl.LazyFrame,
    month: date,
    definitions: Iterable[Definition],
    *,
    up_to: date | None = None,
    targets: Mapping[tuple[str, str], tuple[Decimal | None, Decimal | None]] | None = None,
    absent: Mapping[str, str] | None = None,
    currency: str = "USD",
) -> Kpis:
    """Put the KPIs of a month together.

    Parameters
    ----------
    figures : polars.DataFrame or polars.LazyFrame
        Figures of all months with their targets: what `with_targets` returns.
    month : datetime.date
        The month; later ones are left out.
    definitions : iterable of Definition
        How the measures are worked out.
    up_to : datetime.date, optional
        The last day known of the month, where it is not over.
    targets : mapping, optional
        What `of_everything` returns: the targets of KPIs that have no figure in the month.
    absent : mapping of str to str, optional
        Why a KPI has no figure in the month, by KPI, where the lab knows better than that tables
        have no rows.
    currency : str
        ISO 4217 code of the ledger, for units of KPIs that never had a figure.

    Returns
    -------
    Kpis
        Twelve rows, always: a KPI without any figure is undefined, and says why, its target and its unit.
    """
    known = tuple(definitions)
    past = figures.lazy().select(list(TARGETED)).filter(pl.col("month") <= month).collect()
    whole = past.filter(pl.col("dimension").is_null())
    months = [add_months(month, back) for back in range(1 - TREND_MONTHS, 1)]
    usual, why = targets or {}, {**_ABSENT, **(absent or {})}
    rows = []
    for kpi, measure in HEADLINES:
        one = next((d for d in known if (d.kpi, d.measure) == (kpi, measure)), None)
        row = _row(
            whole.filter(pl.col("kpi") == kpi, pl.col("measure") == measure), kpi, measure, months, one
        )
        if "status" not in row:
            least, most = usual.get((kpi, measure), (None, None))
            row |= {"status": "undefined", "reason": why[kpi], "at_least": least, "at_most": most}
            row["unit"] = row["unit"] or _unit(one, currency)
        rows.append(row)
    return Kpis(month, pl.DataFrame(rows, schema=_SCORECARD, orient="row"), past, known, up_to)


_SCORECARD: dict[str, pl.DataType | type[pl.DataType]] = {
    "kpi": pl.String,
    "name": pl.String,
    "measure": pl.String,
    "value": MONEY,
    "unit": pl.String,
    "at_least": MONEY,
    "at_most": MONEY,
    "status": pl.String,
    "status_reason": pl.String,
    "previous": MONEY,
    "trend": pl.List(MONEY),
    "numerator": MONEY,
    "numerator_unit": pl.String,
    "denominator": MONEY,
    "denominator_unit": pl.String,
    "coverage": pl.Float64,
    "lower": MONEY,
    "upper": MONEY,
    "rows": pl.Int64,
    "how": pl.String,
    "reason": pl.String,
}


def _row(
    mine: pl.DataFrame, kpi: str, measure: str, months: Sequence[date], one: Definition | None
) -> dict[str, Any]:
    """Return the row of a headline; without a status where the month has no figure of it."""
    values: dict[date, Decimal | None] = dict(mine.select("month", "value").iter_rows())
    here = mine.filter(pl.col("month") == months[-1])
    found = here.row(0, named=True) if here.height else {}
    # The months before are told in a unit, whether this one has a value or not.
    units = mine.sort("month")["unit"].drop_nulls()
    return {name: found[name] for name in _SCORECARD if name in found} | {
        "kpi": kpi,
        "name": NAMES[kpi],
        "measure": measure,
        "unit": found.get("unit") or (units[-1] if units.len() else None),
        "previous": values.get(months[-2]),
        "trend": [values.get(month) for month in months],
        "how": one.formula if one else None,
    }


def _unit(one: Definition | None, currency: str) -> str | None:
    """Return the unit of a measure that has no figure: what jobs and samples tell by themselves is in USD."""
    if one is None:
        return None
    return one.unit.replace("{currency}", currency if "ledger" in one.tables else "USD")


def _said(amount: Decimal | None, unit: str | None) -> str | None:
    if amount is None:
        return None
    text = f"{amount:,f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return f"{text} {unit or ''}".strip()


def _bounds(lower: Decimal | None, upper: Decimal | None, unit: str | None, what: str) -> str | None:
    if lower is None and upper is None:
        return None
    ends = f"{_said(lower, None) or '?'} to {_said(upper, None) or '?'} {unit or ''}".strip()
    return f"{ends} ({what})" if what else ends


def _range(least: Decimal | None, most: Decimal | None) -> str | None:
    words = [f"at least {_said(least, None)}"] if least is not None else []
    words += [f"at most {_said(most, None)}"] if most is not None else []
    return " and ".join(words) or None
