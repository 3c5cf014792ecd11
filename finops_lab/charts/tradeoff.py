"""Cost against accuracy and latency: which variants are worth their money."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import polars as pl

from finops_lab.charts.frames import Row, checked, fold, known, totals
from finops_lab.charts.labels import amount_axis, log_ticks, measure
from finops_lab.charts.placing import Spot, place_names
from finops_lab.charts.theme import INK, MUTED, SHAPES, colours, finish
from finops_lab.wording import plural

if TYPE_CHECKING:
    import altair as alt

__all__ = ["pareto"]

_SUBTITLE = "Dashed: the Pareto front; its variants are filled, beaten ones are hollow; larger is slower"
_LOG_FROM = 20
_HEIGHT = 430
# About the plot inside axes, legends and titles: enough to tell which names would collide.
_PLOT = (590.0, 310.0)
_AREAS = (50.0, 420.0)


@dataclass(frozen=True)
class _Axis:
    """A scale whose ends are known here too, so that names can be placed."""

    low: float
    high: float
    log: bool = False

    def at(self, value: float) -> float:
        """Return the place of a value, 0 to 1."""
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return (value - low) / (high - low)


def pareto(
    frame: pl.DataFrame | pl.LazyFrame,
    *,
    title: str,
    x_title: str = "Cost per 1,000 inferences (USD)",
    y_title: str = "Accuracy (share correct)",
    size_title: str = "P95 latency (ms)",
    unit: str = "USD",
    subtitle: str | None = None,
    description: str | None = None,
) -> alt.LayerChart:
    """Draw variants as points, joined along the front that no other variant beats.

    Cheaper is left, more accurate is up, slower is larger; colour and shape are the group. Points on
    the front are filled, the others hollow; the line joins the best accuracy for the money, so a point
    can be on the front below the line, by its latency. Names are written where they fit, the front's first.

    Parameters
    ----------
    frame : polars.DataFrame or polars.LazyFrame
        ``label`` and ``group`` (String), ``x`` (Decimal or float, cost per 1,000 inferences in
        `unit`), ``y`` (float, accuracy 0 to 1), ``size`` (float, P95 latency in milliseconds),
        ``on_front`` (Boolean). A variant with an unknown value is left out, and the text says so.
    title, subtitle, description
        As in `spend_trend`.
    x_title, y_title, size_title : str
        Axis and legend titles, units included.
    unit : str
        ISO 4217 code of the costs.

    Returns
    -------
    altair.LayerChart

    Raises
    ------
    InputError
        No rows, more than 5,000, or a column missing or of another kind.

    Examples
    --------
    >>> variants = pl.DataFrame({"label": ["a int8", "a fp16"], "group": ["a", "a"], "x": [0.5, 1.0],
    ...     "y": [0.9, 0.89], "size": [80.0, 120.0], "on_front": [True, False]})
    >>> pareto(variants, title="Variants").to_dict()["description"].partition(". ")[0]
    '2 variants by cost, accuracy and latency; 1 on the Pareto front'
    """
    import altair as alt

    columns = {"label": "text", "group": "text", "x": "number", "y": "number", "size": "number"}
    rows, unknown = known(checked(frame, columns | {"on_front": "flag"}), ["x", "y", "size", "on_front"])
    rows.sort(key=lambda row: (row["x"], -row["y"], row["label"]))
    place, order = fold(list(totals([row | {"n": 1.0} for row in rows], "group", "n")), len(SHAPES))
    drawn = _drawn(rows, place, unit)
    stairs = _stairs(drawn)
    slowness: Literal["log", "linear"] = (
        "log" if _spread(row["size"] for row in rows) >= _LOG_FROM else "linear"
    )
    across, up = _cost_axis(rows), _accuracy_axis(rows)
    ticks = {"values": log_ticks(across.low, across.high)} if across.log else {"tickCount": 7}
    x = alt.X(
        "x:Q",
        title=x_title,
        scale=alt.Scale(domain=[across.low, across.high], nice=False, type="log" if across.log else "linear"),
        axis=alt.Axis(labelExpr=amount_axis(unit), labelOverlap=True, **ticks),
    )
    y = alt.Y(
        "y:Q",
        title=y_title,
        scale=alt.Scale(domain=[up.low, up.high], nice=False),
        axis=alt.Axis(format=".0%" if up.high - up.low > 0.06 else ".1%", tickCount=6),
    )
    base = alt.Chart(alt.Data(values=drawn)).encode(x=x, y=y)
    shapes = list(SHAPES[: len(order)])
    group = {
        "color": alt.Color("group:N", sort=order, scale=alt.Scale(domain=order, range=colours(order))),
        "shape": alt.Shape("group:N", sort=order, scale=alt.Scale(domain=order, range=shapes)),
        "size": alt.Size(
            "size:Q",
            scale=alt.Scale(
                range=list(_AREAS), type=slowness, zero=alt.Undefined if slowness == "log" else False
            ),
            legend=alt.Legend(
                title=size_title,
                orient="right",
                direction="vertical",
                columns=1,
                format=",.0f",
                tickCount=4,
                symbolStrokeColor=MUTED,
                symbolFillColor="transparent",
            ),
        ),
        "tooltip": [
            alt.Tooltip("label:N", title="Variant"),
            alt.Tooltip("cost:N", title=x_title),
            alt.Tooltip("y:Q", format=".1%", title=y_title),
            alt.Tooltip("size:Q", format=",.0f", title=size_title),
            alt.Tooltip("standing:N", title="Pareto front"),
        ],
    }
    line = (
        alt.Chart(alt.Data(values=stairs))
        # A step, not a slope: between two variants nothing can be bought.
        .mark_line(interpolate="step-after", color=INK, strokeWidth=1.25, strokeDash=[4, 3])
        .encode(x=x, y=y, order=alt.Order("x:Q"))
    )
    beaten = base.transform_filter("!datum.on_front")
    hollow = beaten.mark_point(strokeWidth=1.5, opacity=0.75).encode(**group)
    solid = base.transform_filter("datum.on_front").mark_point(filled=True, opacity=0.95).encode(**group)
    return finish(
        [*([line] if len(stairs) > 1 else []), hollow, solid, *_names(drawn, stairs, across, up, x, y)],
        title=title,
        subtitle=subtitle if subtitle is not None else _SUBTITLE,
        description=description or _describe(rows, unit, unknown),
        height=_HEIGHT,
    )


def _drawn(rows: list[Row], place: dict[str, str], unit: str) -> list[Row]:
    return [
        row
        | {
            "group": place[row["group"]],
            "cost": measure(row["x"], unit),
            "standing": "on the front" if row["on_front"] else "beaten",
        }
        for row in rows
    ]


def _stairs(rows: list[Row]) -> list[Row]:
    """Return the variants that no cheaper one matches in accuracy, cheapest first."""
    found: list[Row] = []
    for row in rows:
        if row["on_front"] and (not found or row["y"] > found[-1]["y"]):
            found.append(row)
    return found


def _spread(values: Iterable[float]) -> float:
    """Return how many times the smallest value the largest is; 0 where that says nothing."""
    kept = sorted(values)
    low, high = kept[0], kept[-1]
    return high / low if low > 0 else 0.0


def _cost_axis(rows: list[Row]) -> _Axis:
    low, high = rows[0]["x"], rows[-1]["x"]
    if _spread((low, high)) >= _LOG_FROM:
        # More room at the right: most names stand there.
        return _Axis(low / 1.6, high * 2, log=True)
    room = 0.12 * (high - low) or 0.5 * abs(high) or 1.0
    return _Axis(0.0 if 0 <= low < 0.5 * high else low - room, high + room)


def _accuracy_axis(rows: list[Row]) -> _Axis:
    low, high = min(row["y"] for row in rows), max(row["y"] for row in rows)
    room = 0.12 * (high - low) or 0.02
    return _Axis(low - room, high + room)


def _names(
    rows: list[Row], stairs: list[Row], across: _Axis, up: _Axis, x: alt.X, y: alt.Y
) -> list[alt.Chart]:
    import altair as alt

    ends = [(_PLOT[0] * across.at(row["x"]), _PLOT[1] * (1 - up.at(row["y"]))) for row in stairs]
    steps = [
        side
        for (left, low), (right, high) in pairwise(ends)
        for side in ((left, low, right, low), (right, high, right, low))
    ]
    first = sorted(rows, key=lambda row: not row["on_front"])
    slow, fast = max(row["size"] for row in rows), min(row["size"] for row in rows)
    spots = [
        Spot(
            x=_PLOT[0] * across.at(row["x"]),
            y=_PLOT[1] * (1 - up.at(row["y"])),
            area=_AREAS[0] + (_AREAS[1] - _AREAS[0]) * (row["size"] - fast) / ((slow - fast) or 1.0),
            name=row["label"],
        )
        for row in first
    ]
    layers = []
    for row, place in zip(first, place_names(spots, *_PLOT, steps), strict=True):
        if place is not None:
            name = alt.Chart(alt.Data(values=[{key: row[key] for key in ("label", "x", "y")}]))
            text = name.mark_text(
                align=place.align,
                dx=place.dx,
                dy=place.dy,
                fontSize=11,
                fontWeight="bold" if row["on_front"] else "normal",
                color=INK if row["on_front"] else MUTED,
            )
            layers.append(text.encode(x=x, y=y, text="label:N"))
    return layers


def _describe(rows: list[Row], unit: str, unknown: int) -> str:
    def words(row: Row) -> str:
        return f"{row['label']} at {measure(row['x'], unit)}, accuracy {row['y']:.1%}"

    best = min(rows, key=lambda row: (-row["y"], row["x"], row["label"]))
    front = sum(row["on_front"] for row in rows)
    text = (
        f"{plural(len(rows), 'variant')} by cost, accuracy and latency; {front} on the Pareto front. "
        f"Cheapest: {words(rows[0])}; most accurate: {words(best)}."
    )
    return text + (f" {plural(unknown, 'variant')} with unknown values not drawn." if unknown else "")
