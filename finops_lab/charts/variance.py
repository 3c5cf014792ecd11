"""Actual against budget."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import polars as pl

from finops_lab.charts.frames import Row, checked, known
from finops_lab.charts.labels import amount_axis, compact, measure, percent
from finops_lab.charts.theme import BLUE, INK, VERMILLION, finish
from finops_lab.errors import InputError
from finops_lab.wording import plural

if TYPE_CHECKING:
    import altair as alt

__all__ = ["variance_bars"]

_BARS = 40


def variance_bars(
    frame: pl.DataFrame | pl.LazyFrame,
    *,
    title: str,
    unit: str = "USD",
    subtitle: str | None = None,
    value_title: str = "Spend",
    noun: str = "team",
    description: str | None = None,
) -> alt.LayerChart:
    """Draw a bar of actual spend per team with its budget as a mark, largest spend first.

    Parameters
    ----------
    frame : polars.DataFrame or polars.LazyFrame
        ``label`` (String, one row each), ``actual`` and ``budget`` (Decimal or float). An unknown
        budget is written ``no budget``; at most 40 rows.
    title, unit, subtitle, value_title, description
        As in `spend_trend`.
    noun : str
        What a label is, in the alt text.

    Returns
    -------
    altair.LayerChart

    Raises
    ------
    InputError
        No rows, more than 40, a label twice, or a column missing or of another kind.

    Examples
    --------
    >>> teams = pl.DataFrame({"label": ["search", "chat"], "actual": [110.0, 50.0], "budget": [100.0, None]})
    >>> variance_bars(teams, title="Budgets").to_dict()["description"]
    'Spend against budget of 2 teams; over budget: search by $10.00 (10%). 1 has no budget.'
    """
    import altair as alt

    rows, _ = known(checked(frame, {"label": "text", "actual": "number", "budget": "number"}), ["actual"])
    if len(rows) > _BARS:
        raise InputError(f"{len(rows)} bars do not fit: draw at most {_BARS}", hint="keep the largest")
    if len({row["label"] for row in rows}) < len(rows):
        raise InputError("a label occurs twice", column="label")
    rows.sort(key=lambda row: (-row["actual"], row["label"]))
    bars = [row | _standing(row, unit) for row in rows]
    order = [bar["label"] for bar in bars]
    low = min(0.0, *(row["actual"] for row in rows))
    high = max(0.0, *(row[name] for row in rows for name in ("actual", "budget") if row[name] is not None))
    standings = ["within budget", "over budget"]
    base = alt.Chart(alt.Data(values=bars)).encode(
        y=alt.Y("label:N", sort=order, title=None, axis=alt.Axis(labelColor=INK, ticks=False, domain=False)),
        x=alt.X(
            "actual:Q",
            title=f"{value_title} ({unit})",
            scale=alt.Scale(domain=[low, (high - low) * 1.3 + low or 1.0], nice=False),
            axis=alt.Axis(labelExpr=amount_axis(unit), tickCount=6),
        ),
        tooltip=[
            alt.Tooltip("label:N", title="Name"),
            alt.Tooltip("spent:N", title=value_title),
            alt.Tooltip("planned:N", title="Budget"),
            alt.Tooltip("text:N", title="Difference"),
        ],
    )
    drawn = base.mark_bar(height={"band": 0.62}).encode(
        color=alt.Color(
            "standing:N", sort=standings, scale=alt.Scale(domain=standings, range=[BLUE, VERMILLION])
        )
    )
    mark = (
        base.transform_filter("datum.budget !== null")
        .mark_tick(color=INK, thickness=3, opacity=1, height={"band": 0.9})
        .encode(x="budget:Q")
    )
    text = base.mark_text(align="left", dx=8, color=INK).encode(x="end:Q", text="text:N")
    return finish(
        [drawn, mark, text],
        title=title,
        subtitle=subtitle if subtitle is not None else f"{unit}; bar: actual, black mark: budget",
        description=description or _describe(rows, unit, value_title, noun),
        height=130 + 28 * len(bars),
    )


def _standing(row: Row, unit: str) -> Row:
    actual, budget = row["actual"], row["budget"]
    if budget is None:
        return {
            "standing": "within budget",
            "text": f"{compact(actual, unit)}, no budget",
            "end": max(actual, 0.0),
            "spent": compact(actual, unit),
            "planned": "unknown",
        }
    over = actual - budget
    share = f" ({percent(abs(over) / budget)})" if budget > 0 else ""
    side = "over" if over > 0 else "under"
    return {
        "standing": "over budget" if over > 0 else "within budget",
        "text": f"{compact(abs(over), unit)} {side}{share}" if over else "on budget",
        "end": max(actual, budget, 0.0),
        "spent": compact(actual, unit),
        "planned": compact(budget, unit),
    }


def _describe(rows: list[Row], unit: str, value_title: str, noun: str) -> str:
    planned = [row for row in rows if row["budget"] is not None]
    over = sorted(
        (row for row in planned if row["actual"] > row["budget"]),
        key=lambda row: (row["budget"] - row["actual"], row["label"]),
    )
    named = ", ".join(
        f"{row['label']} by {measure(row['actual'] - row['budget'], unit)}"
        + (f" ({percent((row['actual'] - row['budget']) / row['budget'])})" if row["budget"] > 0 else "")
        for row in over[:3]
    )
    more = f" and {len(over) - 3} more" if len(over) > 3 else ""
    without = len(rows) - len(planned)
    lines = [
        f"{value_title} against budget of {plural(len(rows), noun)}; over budget: {named or 'none'}{more}."
    ]
    if len(planned) > 1:
        spent, plan = (math.fsum(row[name] for row in planned) for name in ("actual", "budget"))
        lines.append(f"Together {measure(spent, unit)} of {measure(plan, unit)}.")
    if without:
        lines.append(f"{without} {'has' if without == 1 else 'have'} no budget.")
    return " ".join(lines)
