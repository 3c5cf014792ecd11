"""From one total to another, step by step."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import polars as pl

from finops_lab.charts.frames import Row, checked
from finops_lab.charts.labels import amount_axis, compact, measure, percent
from finops_lab.charts.theme import BLUE, GREY, INK, ORANGE, PALETTE, VERMILLION, finish
from finops_lab.errors import InputError

if TYPE_CHECKING:
    import altair as alt

__all__ = ["waterfall"]

_BARS = 40
_ENDS = 1e-9
# What a bar is, in the legend's order.
_KINDS = {"total": BLUE, "more": ORANGE, "less": PALETTE[2], "unexplained": VERMILLION}


def waterfall(
    frame: pl.DataFrame | pl.LazyFrame,
    *,
    title: str,
    unit: str = "USD",
    subtitle: str | None = None,
    value_title: str = "Amount",
    description: str | None = None,
) -> alt.LayerChart:
    """Draw how one total becomes another: a bar per step, from where the one before ended.

    Parameters
    ----------
    frame : polars.DataFrame or polars.LazyFrame
        ``label`` (String, one row each), ``kind`` (String: ``total``, ``cause`` or
        ``unexplained``), ``amount``, ``start`` and ``end`` (Decimal or float), in the order to be
        drawn, such as `Reconciliation.waterfall` of one currency. Causes of nothing are not drawn
        and named in the alt text; the unexplained rest always is drawn. At most 40 bars.
    title, unit, subtitle, value_title, description
        As in `spend_trend`.

    Returns
    -------
    altair.LayerChart

    Raises
    ------
    InputError
        No rows, more than 40, a label twice, a kind or amount that is not known, a step that does
        not begin where the one before ended, or a column missing or of another kind.

    Examples
    --------
    >>> steps = pl.DataFrame(
    ...     {
    ...         "label": ["Calculated", "Cached tokens", "Unexplained", "Billed"],
    ...         "kind": ["total", "cause", "unexplained", "total"],
    ...         "amount": [100.0, -40.0, 2.0, 62.0],
    ...         "start": [0.0, 100.0, 60.0, 0.0],
    ...         "end": [100.0, 60.0, 62.0, 62.0],
    ...     }
    ... )
    >>> waterfall(steps, title="October").to_dict()["description"]
    'Calculated $100, Billed $62.00. Steps: Cached tokens -$40.00; Unexplained $2.00 (3.2% of Billed).'
    """
    import altair as alt

    numbers = ("amount", "start", "end")
    rows = checked(frame, {"label": "text", "kind": "text", **dict.fromkeys(numbers, "number")})
    _check(rows)
    drawn = [row for row in rows if row["kind"] != "cause" or row["amount"] != 0]
    if len(drawn) > _BARS:
        raise InputError(f"{len(drawn)} bars do not fit: draw at most {_BARS}", hint="add up small steps")
    bars = [row | _bar(row, unit) for row in drawn]
    links = [
        {"label": before["label"], "next": after["label"], "end": before["end"]}
        for before, after in pairwise(drawn)
    ]
    order = [bar["label"] for bar in bars]
    low = min(0.0, *(row[name] for row in drawn for name in ("start", "end")))
    high = max(0.0, *(row[name] for row in drawn for name in ("start", "end")))
    base = alt.Chart(alt.Data(values=bars)).encode(
        y=alt.Y("label:N", sort=order, title=None, axis=alt.Axis(labelColor=INK, ticks=False, domain=False)),
        tooltip=[alt.Tooltip("label:N", title="Step"), alt.Tooltip("text:N", title=value_title)],
    )
    shown = [kind for kind in _KINDS if any(bar["look"] == kind for bar in bars)]
    body = base.mark_bar(height={"band": 0.62}).encode(
        x=alt.X(
            "start:Q",
            title=f"{value_title} ({unit})",
            scale=alt.Scale(domain=[low, (high - low) * 1.15 + low or 1.0], nice=False, zero=False),
            axis=alt.Axis(labelExpr=amount_axis(unit), tickCount=6),
        ),
        x2="end:Q",
        color=alt.Color(
            "look:N", sort=shown, scale=alt.Scale(domain=shown, range=[_KINDS[kind] for kind in shown])
        ),
    )
    text = base.mark_text(align="left", dx=6, color=INK).encode(x="right:Q", text="text:N")
    # A thin line carries each running total to the bar that starts from it.
    link = (
        alt.Chart(alt.Data(values=links))
        .mark_rule(color=GREY)
        .encode(
            x=alt.X("end:Q"),
            y=alt.Y("label:N", sort=order),
            y2="next:N",
        )
    )
    return finish(
        [link, body, text],
        title=title,
        subtitle=subtitle if subtitle is not None else f"{unit}; each bar begins where the one before ended",
        description=description or _describe(rows, unit),
        height=110 + 28 * len(bars),
    )


def _check(rows: list[Row]) -> None:
    if len({row["label"] for row in rows}) < len(rows):
        raise InputError("a label occurs twice", column="label")
    running = 0.0
    for number, row in enumerate(rows, 1):
        if row["kind"] not in ("total", "cause", "unexplained"):
            raise InputError(f"there is no kind {row['kind']!r}", row=number, column="kind")
        if any(row[name] is None for name in ("amount", "start", "end")):
            raise InputError("the amount of a step is unknown", row=number)
        start = 0.0 if row["kind"] == "total" else running
        if not math.isclose(row["start"], start, rel_tol=_ENDS, abs_tol=_ENDS):
            raise InputError("begins elsewhere than the step before ended", row=number, column="start")
        running = row["end"]


def _bar(row: Row, unit: str) -> Row:
    look = row["kind"] if row["kind"] != "cause" else "more" if row["amount"] > 0 else "less"
    sign = "+" if row["kind"] != "total" and row["amount"] > 0 else ""
    return {
        "look": look,
        "text": f"{sign}{compact(row['amount'], unit)}",
        "right": max(row["start"], row["end"]),
    }


def _describe(rows: list[Row], unit: str) -> str:
    totals = [row for row in rows if row["kind"] == "total"]
    last = totals[-1] if totals else None
    steps = []
    for row in rows:
        if row["kind"] == "total" or (row["kind"] == "cause" and not row["amount"]):
            continue
        share = (
            f" ({percent(abs(row['amount']) / abs(last['amount']))} of {last['label']})"
            if row["kind"] == "unexplained" and last is not None and last["amount"]
            else ""
        )
        steps.append(f"{row['label']} {measure(row['amount'], unit)}{share}")
    nothing = [row["label"] for row in rows if row["kind"] == "cause" and not row["amount"]]
    lines = [", ".join(f"{row['label']} {measure(row['amount'], unit)}" for row in totals) + "."]
    lines += [f"Steps: {'; '.join(steps)}."] if steps else []
    lines += [f"Nothing from: {', '.join(nothing)}."] if nothing else []
    return " ".join(lines)
