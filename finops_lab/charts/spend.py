"""Spend over time and spend by rank."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

import polars as pl

from finops_lab.calendar import month_name, months_from
from finops_lab.charts.frames import Row, checked, fold, iso, known, totals
from finops_lab.charts.labels import amount_axis, compact, measure, percent
from finops_lab.charts.theme import BLUE, INK, MUTED, colours, finish
from finops_lab.wording import plural

if TYPE_CHECKING:
    import altair as alt

__all__ = ["ranked_bars", "spend_trend"]

_GROUPS = 8
_HEIGHT, _PLOT_HEIGHT = 380, 260
_FEW_MONTHS = 6
_BARS = 25


def spend_trend(
    frame: pl.DataFrame | pl.LazyFrame,
    *,
    title: str,
    unit: str = "USD",
    subtitle: str | None = None,
    value_title: str = "Spend",
    description: str | None = None,
    order: Sequence[str] = (),
) -> alt.LayerChart:
    """Draw stacked bars per month, the largest group at the bottom.

    Parameters
    ----------
    frame : polars.DataFrame or polars.LazyFrame
        ``month`` (Date, first of the month), ``group`` (String), ``amount`` (Decimal or float, of
        any sign; credits stack below zero). Past eight groups the smallest are drawn as one.
    title : str
        What the chart shows.
    unit : str
        ISO 4217 code, or any other unit.
    subtitle, value_title, description : str, optional
        Second line of the title, name of the value axis, alt text (computed when not given).
    order : sequence of str
        Groups from the bottom up, where their meaning orders them; others follow by size.

    Returns
    -------
    altair.LayerChart

    Raises
    ------
    InputError
        No rows, more than 5,000, or a column missing or of another kind.

    Examples
    --------
    >>> from datetime import date
    >>> months = pl.DataFrame({"month": [date(2026, 10, 1)], "group": ["search"], "amount": [4e5]})
    >>> spend_trend(months, title="Spend by team").to_dict()["description"].partition(". ")[2]
    'October 2026: $400.0k; the largest is search with $400.0k (100%).'
    """
    import altair as alt

    rows, unknown = known(checked(frame, {"month": "date", "group": "text", "amount": "number"}), ["amount"])
    by_size = list(totals(rows, "group", "amount"))
    names = [name for name in order if name in by_size]
    place, groups = fold([*names, *(name for name in by_size if name not in names)], _GROUPS)
    bars = _stack(rows, place, groups, unit)
    months = [iso(month) for month in _months(rows)]
    month_sums = _month_totals(bars, unit)
    top = max(month["top"] for month in month_sums)
    # A lone month is a bar, not a wall.
    wide = min(1.0, len(months) / _FEW_MONTHS)
    x = alt.X(
        "month:O",
        title=None,
        scale=alt.Scale(domain=months, paddingInner=0.22, paddingOuter=0.1),
        axis=alt.Axis(
            labelExpr="utcFormat(toDate(datum.value), '%b %Y')",
            labelAngle=0,
            labelOverlap=True,
            labelSeparation=6,
            # A month's name is wider than its bar: lower, it stays clear of the 0 beside the axis.
            labelPadding=8,
            ticks=False,
            domain=False,
        ),
    )
    base = alt.Chart(alt.Data(values=bars)).encode(x=x)
    colour = alt.Color("group:N", sort=groups, scale=alt.Scale(domain=groups, range=colours(groups)))
    drawn = base.mark_bar(stroke="white", strokeWidth=0.75, width={"band": wide}).encode(
        y=alt.Y(
            "amount:Q",
            stack="zero",
            title=f"{value_title} ({unit} per month)",
            scale=alt.Scale(domainMax=1.08 * top) if top > 0 else alt.Undefined,
            axis=alt.Axis(labelExpr=amount_axis(unit), tickCount=6),
        ),
        color=colour,
        order=alt.Order("order:Q"),
        tooltip=[
            alt.Tooltip("name:N", title="Month"),
            alt.Tooltip("group:N", title="Group"),
            alt.Tooltip("label:N", title=value_title),
        ],
    )
    layers = [drawn]
    # Totals fit above the bars, and names beside the last one, only while there is room for the text.
    if len(months) <= 14:
        sums = alt.Chart(alt.Data(values=month_sums))
        layers.append(sums.mark_text(dy=-7, fontSize=10, color=INK).encode(x=x, y="top:Q", text="label:N"))
    beside_last = _names(bars, months[-1], top)
    if beside_last:
        beside = alt.Chart(alt.Data(values=beside_last)).mark_text(
            align="left", dx=5, fontSize=10, color=MUTED
        )
        layers.append(beside.encode(x=x.copy().bandPosition(0.5 + wide / 2), y="middle:Q", text="group:N"))
    totalled = "; above each bar the month's total" if len(months) <= 14 else ""
    return finish(
        layers,
        title=title,
        subtitle=subtitle if subtitle is not None else f"{unit} per month{totalled}",
        description=description or _describe_trend(rows, unit, value_title, unknown),
        height=_HEIGHT,
        right=max((6 * len(name["group"]) for name in beside_last), default=0),
    )


def _months(rows: list[Row]) -> list[date]:
    """Return every month from the first to the last: a month without spend keeps its place."""
    days = [row["month"] for row in rows]
    return months_from(min(days).replace(day=1), max(days).replace(day=1))


def _stack(rows: list[Row], place: dict[str, str], order: list[str], unit: str) -> list[Row]:
    cells: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        cells.setdefault((iso(row["month"].replace(day=1)), place[row["group"]]), []).append(row["amount"])
    stacked = []
    for month, group in sorted(cells, key=lambda cell: (cell[0], order.index(cell[1]))):
        amount = math.fsum(cells[month, group])
        stacked.append(
            {
                "month": month,
                "name": month_name(date.fromisoformat(month)),
                "group": group,
                "amount": amount,
                "order": order.index(group),
                "label": compact(amount, unit),
            }
        )
    return stacked


def _month_totals(bars: list[Row], unit: str) -> list[Row]:
    months = sorted({bar["month"] for bar in bars})
    found = []
    for month in months:
        amounts = [bar["amount"] for bar in bars if bar["month"] == month]
        found.append(
            {
                "month": month,
                "top": math.fsum(a for a in amounts if a > 0),
                "label": compact(math.fsum(amounts), unit),
            }
        )
    return found


def _names(bars: list[Row], month: str, top: float) -> list[Row]:
    """Name the parts of the last bar that are tall enough, at the height of their middle."""
    names, edges = [], {True: 0.0, False: 0.0}
    for bar in (bar for bar in bars if bar["month"] == month):
        up, size = bar["amount"] > 0, abs(bar["amount"])
        if size >= 14 * top / _PLOT_HEIGHT:
            names.append({"month": month, "group": bar["group"], "middle": edges[up] + bar["amount"] / 2})
        edges[up] += bar["amount"]
    return names


def _describe_trend(rows: list[Row], unit: str, value_title: str, unknown: int) -> str:
    months = _months(rows)
    first, last = month_name(months[0]), month_name(months[-1])
    span = f"for {last}" if first == last else f"per month from {first} to {last}"
    latest = totals([row for row in rows if row["month"] >= months[-1]], "group", "amount")
    total = math.fsum(latest.values())
    name, largest = next(iter(latest.items()))
    share = f" ({percent(largest / total)})" if total > 0 and 0 <= largest <= total else ""
    groups = plural(len({row["group"] for row in rows}), "group")
    text = (
        f"Stacked bars of {value_title.lower()} {span}, by {groups}. "
        f"{last}: {measure(total, unit)}; the largest is {name} with {measure(largest, unit)}{share}."
    )
    return text + (f" {plural(unknown, 'unknown amount')} not drawn." if unknown else "")


def ranked_bars(
    frame: pl.DataFrame | pl.LazyFrame,
    *,
    title: str,
    unit: str = "USD",
    subtitle: str | None = None,
    value_title: str = "Spend",
    description: str | None = None,
) -> alt.LayerChart:
    """Draw horizontal bars, largest first, each with its value.

    Parameters
    ----------
    frame : polars.DataFrame or polars.LazyFrame
        ``label`` (String), ``amount`` (Decimal or number, of any sign). Rows of one label are
        added; past 25 labels the smallest are drawn as one.
    title, unit, subtitle, value_title, description
        As in `spend_trend`.

    Returns
    -------
    altair.LayerChart

    Raises
    ------
    InputError
        No rows, more than 5,000, or a column missing or of another kind.

    Examples
    --------
    >>> models = pl.DataFrame({"label": ["small", "large"], "amount": [1000, 3000]})
    >>> ranked_bars(models, title="Spend by model").to_dict()["description"]
    'Bars of spend, largest first: large $3.0k, small $1.0k; 2 in all, together $4.0k.'
    """
    import altair as alt

    rows, unknown = known(checked(frame, {"label": "text", "amount": "number"}), ["amount"])
    sums = totals(rows, "label", "amount")
    place, order = fold(list(sums), _BARS)
    folded = totals(
        [{"label": place[name], "amount": value} for name, value in sums.items()], "label", "amount"
    )
    bars = [{"label": name, "amount": folded[name], "text": compact(folded[name], unit)} for name in order]
    low, high = min(0.0, *folded.values()), max(0.0, *folded.values())
    room = 0.12 * (high - low) or 1.0
    domain = [low - room if low < 0 else 0.0, high + room if high > 0 else 0.0]
    base = alt.Chart(alt.Data(values=bars)).encode(
        y=alt.Y("label:N", sort=order, title=None, axis=alt.Axis(labelColor=INK, ticks=False, domain=False)),
        x=alt.X(
            "amount:Q",
            title=f"{value_title} ({unit})",
            scale=alt.Scale(domain=domain, nice=False),
            axis=alt.Axis(labelExpr=amount_axis(unit), tickCount=6),
        ),
        tooltip=[alt.Tooltip("label:N", title="Name"), alt.Tooltip("text:N", title=value_title)],
    )
    text = base.encode(text="text:N")
    right = text.mark_text(align="left", dx=5, color=INK).transform_filter("datum.amount >= 0")
    left = text.mark_text(align="right", dx=-5, color=INK).transform_filter("datum.amount < 0")
    return finish(
        [base.mark_bar(color=BLUE, height={"band": 0.68}), right, *([left] if low < 0 else [])],
        title=title,
        subtitle=subtitle if subtitle is not None else f"{unit}, largest first",
        description=description or _describe_ranks(sums, unit, value_title, unknown),
        height=105 + 25 * len(bars),
    )


def _describe_ranks(sums: dict[str, float], unit: str, value_title: str, unknown: int) -> str:
    top = ", ".join(f"{name} {measure(value, unit)}" for name, value in list(sums.items())[:3])
    total = measure(math.fsum(sums.values()), unit)
    text = f"Bars of {value_title.lower()}, largest first: {top}; {len(sums)} in all, together {total}."
    return text + (f" {plural(unknown, 'unknown amount')} not drawn." if unknown else "")
