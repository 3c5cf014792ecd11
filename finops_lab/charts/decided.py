"""From a decision to its charts: which columns of it are which axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from finops_lab.charts.break_even import break_even_lines
from finops_lab.charts.decider import variant_decider
from finops_lab.charts.parallel import variant_lines
from finops_lab.charts.variants_plane import variant_planes
from finops_lab.errors import InputError
from finops_lab.tradeoffs import pareto
from finops_lab.tradeoffs.decide import Decision
from finops_lab.tradeoffs.points import extras
from finops_lab.tradeoffs.senses import one_sense

if TYPE_CHECKING:
    import altair as alt

__all__ = ["decision_lines", "decision_planes", "decision_sliders", "payback_lines"]

_UNITS = {"measured": "s of the machine", "relative": "of the baseline"}
_AXES = {
    "throughput_per_s": ("Throughput (1/s)", True),
    "energy_j": ("Energy (J each)", False),
    "memory_mib": ("Memory (MiB)", False),
    "size_mib": ("Size (MiB)", False),
    "error_rate": ("Error rate", False),
}
_TOLD_APART = ("variant", "precision", "hardware", "serving", "region")


def decision_planes(
    decision: Decision, *, chances: pl.DataFrame | None = None, title: str = "Which variant to run"
) -> alt.HConcatChart:
    """Draw what was decided between: cost and quality, latency and quality, with the limits.

    Parameters
    ----------
    decision : Decision
        From `finops_lab.tradeoffs.decide`.
    chances : polars.DataFrame, optional
        ``model``, ``variant``, ``p_on_front`` and, where known, ``quality_low``, ``quality_high``, ``x_low``,
        ``x_high``, such as `finops_lab.tradeoffs.membership` returns.
    title : str
        Title of the chart.

    Returns
    -------
    altair.HConcatChart

    Raises
    ------
    InputError
        No variant of which cost, quality and latency are all known.
    """
    rows = _drawn(decision.table)
    if chances is not None:
        wanted = ["p_on_front", "quality_low", "quality_high", "x_low", "x_high"]
        kept = [name for name in wanted if name in chances.columns]
        rows = rows.join(
            chances.select("model", "variant", *kept),
            on=["model", "variant"],
            how="left",
            nulls_equal=True,
            maintain_order="left",
        )
    limits = dict(decision.constraints.select("constraint", "limit").iter_rows())
    base, sense = decision.reference, _up(decision.table)
    least = None
    if base is not None and base["quality"] is not None and limits.get("max_quality_loss") is not None:
        least = base["quality"] + (-1 if sense else 1) * limits["max_quality_loss"]
    unit = _unit(decision.table)
    metric = decision.metric or "quality"
    share = bool((decision.table["quality"].drop_nulls().is_between(0, 1)).all())
    chosen = decision.chosen
    said = (
        f"Chosen: {_name(chosen)}; faint: dominated; drag a box to select in both"
        if chosen
        else "Nothing qualifies"
    )
    return variant_planes(
        rows,
        title=title,
        subtitle=said,
        unit=unit,
        x_title=f"Cost per 1,000 inferences ({unit})",
        quality_title=metric.capitalize(),
        quality_format=".1%" if share and sense else "~g",
        higher_is_better=sense,
        max_p95_ms=limits.get("max_p95_ms"),
        least_quality=least,
    )


def decision_lines(decision: Decision, *, title: str = "Variants on every axis") -> alt.LayerChart:
    """Draw the variants on every axis of which something is known: parallel coordinates.

    Parameters
    ----------
    decision : Decision
        From `finops_lab.tradeoffs.decide`.
    title : str
        Title of the chart.

    Returns
    -------
    altair.LayerChart

    Raises
    ------
    InputError
        Fewer than two axes of which anything is known.
    """
    rows = _drawn(decision.table)
    unit, metric = _unit(decision.table), (decision.metric or "quality").capitalize()
    axes = {
        "x": (f"Cost ({unit})", False),
        "quality": (metric, _up(decision.table)),
        "p95_ms": ("P95 (ms)", False),
    } | {name: axis for name, axis in _AXES.items() if rows[name].count()}
    return variant_lines(rows, axes=axes, title=title)


def payback_lines(decision: Decision, *, monthly_inferences: float | None = None) -> alt.LayerChart:
    """Draw the break-even of a decision: staying on its reference against moving to what was chosen.

    Parameters
    ----------
    decision : Decision
        One with amounts of migration or evaluation.
    monthly_inferences : float, optional
        Traffic of a month; a year of it is drawn as what is expected.

    Returns
    -------
    altair.LayerChart

    Raises
    ------
    InputError
        The decision has no break-even.
    """
    paid, old, new = decision.break_even, decision.reference, decision.chosen
    if paid is None or old is None or new is None:
        raise InputError(
            "the decision has no break-even",
            hint="give migration_amount or evaluation_amount, and limits under which another variant is chosen",
        )
    ends = (paid.inferences_low, paid.inferences_high)
    return break_even_lines(
        stay=(_name(old), float(old["per_1000_inferences"])),
        move=(_name(new), float(new["per_1000_inferences"])),
        once=float(paid.fixed_amount),
        interval=(float(ends[0]), float(ends[1])) if ends[0] is not None and ends[1] is not None else None,
        expected=12 * monthly_inferences if monthly_inferences else None,
        title=f"When the move to {_name(new)} pays",
        unit=_unit(decision.table),
    )


def decision_sliders(
    decisions: list[Decision],
    *,
    title: str = "Which variant to run",
    max_p95_ms: float | None = None,
    max_quality_loss: float | None = None,
    monthly_inferences: float | None = None,
    max_monthly: float | None = None,
    once: float = 0.0,
) -> alt.VConcatChart:
    """Draw decisions of one model each with sliders that decide again in the page itself.

    Parameters
    ----------
    decisions : list of Decision
        One per model, decided without the limits that have sliders, and without a budget. What other
        limits keep out is drawn, but never run.
    title : str
        Title of the chart.
    max_p95_ms, max_quality_loss, monthly_inferences, max_monthly, once : float
        Where the sliders begin, and the budget: see `finops_lab.charts.variant_decider`.

    Returns
    -------
    altair.VConcatChart

    Raises
    ------
    InputError
        No model of which a reference is known.
    """
    parts = []
    for decision in decisions:
        base = decision.reference
        if base is None or base["objective_value"] is None or base["slo_ms"] is None:
            continue
        known = decision.table.filter(pl.col("objective_value").is_not_null())
        rows = _labelled(known).with_columns(
            pl.col("rank").fill_null(-1).alias("order"),
            pl.col("per_1000_inferences").alias("x"),
            pl.col("slo_ms").alias("p95_ms"),
            pl.all_horizontal(
                pl.col(name).eq_missing(pl.lit(base[name], dtype=pl.String)) for name in _TOLD_APART
            ).alias("reference"),
        )
        parts.append(
            rows.select(
                *(pl.col("model").fill_null("all"), pl.col("label").alias("variant")),
                *("order", "x", "quality_loss", "p95_ms", "reference"),
            )
        )
    if not parts:
        raise InputError("no model has a reference of which cost, quality and latency are known")
    first = decisions[0]
    return variant_decider(
        pl.concat(parts),
        title=title,
        unit=_unit(first.table),
        quality_title=(first.metric or "quality").capitalize(),
        max_p95_ms=max_p95_ms,
        max_quality_loss=max_quality_loss,
        monthly_inferences=monthly_inferences or 1e6,
        max_monthly=max_monthly,
        once=once,
    )


def _labelled(table: pl.DataFrame) -> pl.DataFrame:
    """Name every row by what tells it apart from the others."""
    told = ["variant", *extras(table)]
    if table["model"].n_unique() > 1:
        told = ["model", *told]
    return table.with_columns(
        pl.concat_str(told, separator=" ", ignore_nulls=True).replace("", "not told apart").alias("label")
    )


def _drawn(table: pl.DataFrame) -> pl.DataFrame:
    up = _up(table)
    rows = _labelled(table).with_columns(
        pl.col("per_1000_inferences").alias("x"),
        pl.col("slo_ms").alias("p95_ms"),
        group=pl.col("model").fill_null("all"),
    )
    low, high = ["x", "p95_ms"], ["quality"]
    front = pareto(rows, minimise=low if up else [*low, *high], maximise=high if up else [])
    return rows.with_columns(front.fill_null(False).alias("on_front"))


def _up(table: pl.DataFrame) -> bool:
    return one_sense(table)[1] if table["quality"].count() else True


def _unit(table: pl.DataFrame) -> str:
    codes = table["BillingCurrency"].drop_nulls().unique().sort()
    bases = table["cost_basis"].drop_nulls().unique().sort()
    return codes[0] if codes.len() else _UNITS.get(bases[0], bases[0]) if bases.len() else "unit not told"


def _name(row: dict[str, Any]) -> str:
    return row["variant"] or row["model"] or "not told apart"
