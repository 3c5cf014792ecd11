"""A decision between variants as one offline page with sliders, for whoever decides on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from finops_lab.charts.decided import decision_lines, decision_planes, decision_sliders, payback_lines
from finops_lab.charts.renderer import bundled
from finops_lab.errors import InputError
from finops_lab.reporting.render import to_html
from finops_lab.tables import money_table
from finops_lab.tradeoffs.decide import Decision

__all__ = ["tradeoff_page"]

_PLACES = {
    "per_1000_inferences": 6, "quality": 4, "quality_n": 0, "quality_loss": 4, "slo_ms": 1, "rank": 0
}  # fmt: skip
_LABELS = {
    "per_1000_inferences": "per 1,000 inferences",
    "quality_n": "items",
    "quality_loss": "lost",
    "slo_ms": "P95, ms",
    "saving_share": "saved",
    "misses": "why not",
}
_SHOWN = (
    *("model", "variant", "precision", "hardware", "per_1000_inferences", "quality", "quality_n"),
    *("quality_loss", "slo_ms", "saving_share", "rank", "misses"),
)


def tradeoff_page(
    decision: Decision,
    unlimited: Sequence[Decision],
    *,
    title: str = "Which variant to run",
    monthly_inferences: float | None = None,
    source: str | None = None,
) -> str:
    """Write a decision as one page that needs no network and no other file.

    Its sliders for latency, quality loss, traffic and the cost of moving are bound in the chart: they
    decide again as `finops_lab.tradeoffs.decide` would. Without scripts the decision stays as it is.

    Parameters
    ----------
    decision : Decision
        What was decided; its limits are where the sliders begin.
    unlimited : sequence of Decision
        One per model, decided without limits on latency, loss and money: what the sliders choose from.
    title : str
        Title of the page.
    monthly_inferences : float, optional
        Traffic of a month.
    source : str, optional
        Where the figures are from.

    Returns
    -------
    str
        HTML; the same for the same decision.

    Raises
    ------
    InputError
        No variant of which cost, quality and latency are all known.
    """
    limits = dict(decision.constraints.select("constraint", "limit").iter_rows())
    charts: list[Any] = [
        decision_sliders(
            list(unlimited),
            title=title,
            max_p95_ms=limits.get("max_p95_ms"),
            max_quality_loss=limits.get("max_quality_loss"),
            monthly_inferences=monthly_inferences,
            max_monthly=limits.get("max_monthly_amount"),
            once=float(decision.break_even.fixed_amount) if decision.break_even else 0.0,
        ),
        decision_planes(decision, title="Cost, quality and latency"),
    ]
    more: tuple[Callable[[], Any], ...] = (
        lambda: decision_lines(decision),
        lambda: payback_lines(decision, monthly_inferences=monthly_inferences),
    )
    for draw in more:
        try:
            charts.append(draw())
        except InputError:
            continue  # one axis less, or nothing to pay back: the page says the rest
    first, stop, rest = decision.explain().partition(". ")
    cells = [_text(f"# {title}\n\n**{_escaped(first + stop.strip())}** {_escaped(rest)}"), _shown(charts[0])]
    cells += [_text("## What was decided between"), *map(_shown, charts[1:])]
    cells += [_html(_table(decision)), _html(_winners(decision))]
    notes = [*decision.notes, *([f"Source: {source}."] if source else [])]
    cells.append(_text("\n\n".join(_escaped(note) for note in notes)))
    return to_html(_notebook(cells), title=title)


def _table(decision: Decision) -> str:
    table = decision.table.sort("rank", "model", "variant", nulls_last=True)
    known = [name for name in _SHOWN if table[name].count()]
    labels = _LABELS | {"quality": decision.metric or "quality"}
    return money_table(
        table.select(known).head(200),
        title="Variants, best first",
        id="variants",
        currency=_currency(decision),
        money_columns={},
        number_columns={name: places for name, places in _PLACES.items() if name in known},
        percent_columns={"saving_share": 1} if "saving_share" in known else {},
        labels={name: label for name, label in labels.items() if name in known},
    ).html


def _winners(decision: Decision) -> str:
    rows = decision.slo_ranges.select(
        pl.when(pl.col("to_ms").is_null())
        .then(pl.format("{} ms and more", pl.col("from_ms").round(2)))
        .otherwise(pl.format("{} to {} ms", pl.col("from_ms").round(2), pl.col("to_ms").round(2)))
        .alias("slo"),
        pl.concat_str("model", "variant", separator=" ", ignore_nulls=True)
        .replace("", "none")
        .alias("winner"),
        "objective_value",
    )
    return money_table(
        rows,
        title="How the decision flips when the latency wanted moves",
        subtitle="P95 at most; other limits as decided",
        id="winners",
        currency=_currency(decision),
        money_columns={},
        number_columns={"objective_value": 6},
        labels={"slo": "P95 at most", "winner": "run", "objective_value": decision.unit},
    ).html


def _currency(decision: Decision) -> str:
    codes = decision.table["BillingCurrency"].drop_nulls()
    return str(codes[0]) if codes.len() else "USD"


def _escaped(text: str) -> str:
    return "".join(f"\\{mark}" if mark in "\\`*_{}[]<>#$|" else mark for mark in text)


def _text(source: str) -> Any:
    import nbformat.v4 as v4

    return v4.new_markdown_cell(source)


def _shown(chart: Any) -> Any:
    return _output(bundled(chart.to_dict()))


def _html(text: str) -> Any:
    return _output({"text/html": text, "text/plain": ""})


def _output(data: dict[str, Any]) -> Any:
    import nbformat.v4 as v4

    cell = v4.new_code_cell("")
    cell["outputs"] = [v4.new_output("display_data", data=data)]
    return cell


def _notebook(cells: list[Any]) -> Any:
    import nbformat.v4 as v4

    return v4.new_notebook(cells=cells)
