"""Cost, quality and latency of variants in two planes that share one axis and one selection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from finops_lab.charts.frames import Row, checked, fold, known, totals
from finops_lab.charts.labels import amount_axis, measure
from finops_lab.charts.theme import GREY, INK, MUTED, PALETTE, SHAPES, WIDTH, colours, finish_beside
from finops_lab.wording import plural

if TYPE_CHECKING:
    import altair as alt

__all__ = ["variant_planes"]

_HEIGHT = 330
_PLOT = (WIDTH - 150) // 2
_LOG_FROM = 20
# What is dominated stays readable, but behind.
_FADED = 0.25
_BOUNDS = ("quality_low", "quality_high", "x_low", "x_high")


def variant_planes(
    frame: pl.DataFrame | pl.LazyFrame,
    *,
    title: str,
    unit: str = "USD",
    x_title: str = "Cost per 1,000 inferences (USD)",
    quality_title: str = "Accuracy",
    quality_format: str = ".1%",
    higher_is_better: bool = True,
    max_p95_ms: float | None = None,
    least_quality: float | None = None,
    subtitle: str | None = None,
    description: str | None = None,
) -> alt.HConcatChart:
    """Draw variants by cost and quality, and beside it by latency and quality.

    Dragging a box in a plane selects the same variants in both, a box in each what lies in both, so that
    the three axes are seen together. The dashed step joins the best quality that the money, or the latency, buys.

    Parameters
    ----------
    frame : polars.DataFrame or polars.LazyFrame
        ``label`` and ``group`` (String), ``x`` (Decimal or float, in `unit`), ``quality`` (float),
        ``p95_ms`` (float, milliseconds), ``on_front`` (Boolean). Where given, ``p_on_front`` (float, the
        chance that the variant is on the front) is how solid it is drawn, and ``quality_low``,
        ``quality_high``, ``x_low``, ``x_high`` (floats) are error bars. A variant with an unknown
        value is left out, and the alt text says so.
    title, subtitle, description
        As in `finops_lab.charts.spend_trend`.
    unit : str
        ISO 4217 code of the costs, or the name of another unit.
    x_title, quality_title : str
        Axis titles, units included.
    quality_format : str
        D3 format of the quality.
    higher_is_better : bool
        Which way quality is good; the axis is turned so that up is good.
    max_p95_ms, least_quality : float, optional
        The service level and the quality wanted: what lies within is shaded.

    Returns
    -------
    altair.HConcatChart

    Raises
    ------
    InputError
        No rows, more than 5,000, or a column missing or of another kind.

    Examples
    --------
    >>> variants = pl.DataFrame({"label": ["a int8", "a fp16"], "group": ["a", "a"], "x": [0.5, 1.0],
    ...     "quality": [0.89, 0.9], "p95_ms": [80.0, 120.0], "on_front": [True, True]})
    >>> chart = variant_planes(variants, title="Variants", max_p95_ms=100)
    >>> chart.to_dict()["description"].partition(". ")[0]
    '2 variants by cost, quality and P95 latency; 2 on the Pareto front, 1 within 100 ms'
    """
    import altair as alt

    rows, unknown = _rows(frame)
    group, order = fold(list(totals([row | {"n": 1.0} for row in rows], "group", "n")), len(SHAPES))
    drawn = [
        row
        | {
            "group": group[row["group"]],
            "cost": measure(row["x"], unit),
            "solid": max(row["p_on_front"], _FADED)
            if row["p_on_front"] is not None
            else (0.95 if row["on_front"] else _FADED),
            "standing": "on the front" if row["on_front"] else "dominated",
        }
        for row in rows
    ]
    boxes = {key: alt.selection_interval(name=f"chosen_by_{key}") for key in ("x", "p95_ms")}
    chosen = boxes["x"] & boxes["p95_ms"]
    y = alt.Y(
        "quality:Q",
        title=quality_title,
        scale=alt.Scale(zero=False, nice=True, padding=12, reverse=not higher_is_better),
        axis=alt.Axis(format=quality_format, tickCount=6),
    )
    style: dict[str, Any] = {
        "color": alt.Color(
            "group:N",
            sort=order,
            scale=alt.Scale(domain=order, range=colours(order)),
            legend=alt.Legend(symbolOpacity=1),
        ),
        "shape": alt.Shape(
            "group:N",
            sort=order,
            scale=alt.Scale(domain=order, range=list(SHAPES[: len(order)])),
            legend=alt.Legend(symbolOpacity=1),
        ),
        "opacity": alt.when(chosen).then(alt.Opacity("solid:Q", scale=None)).otherwise(alt.value(0.06)),
        "tooltip": [
            alt.Tooltip("label:N", title="Variant"),
            alt.Tooltip("cost:N", title=x_title),
            alt.Tooltip("quality:Q", format=quality_format, title=quality_title),
            alt.Tooltip("p95_ms:Q", format=",.1f", title="P95 latency (ms)"),
            alt.Tooltip("standing:N", title="Pareto front"),
            alt.Tooltip("p_on_front:Q", format=".0%", title="Chance to be on it"),
        ],
    }
    planes = []
    for key, axis_title, limit in (("x", x_title, None), ("p95_ms", "P95 latency (ms)", max_p95_ms)):
        log = _log(rows, key)
        labels: dict[str, Any] = {"labelExpr": amount_axis(unit)} if key == "x" else {"format": "~s"}
        across = alt.X(
            f"{key}:Q",
            title=axis_title,
            scale=alt.Scale(type="log" if log else "linear", zero=False, padding=14),
            axis=alt.Axis(tickCount=5, labelOverlap=True, **labels),
        )
        base = alt.Chart(alt.Data(values=drawn)).encode(y=y)
        layers = [*_wanted(limit, least_quality, higher_is_better)]
        stairs = _stairs(drawn, key, higher_is_better)
        if len(stairs) > 1:
            layers.append(
                alt.Chart(alt.Data(values=stairs))
                .mark_line(interpolate="step-after", color=INK, strokeWidth=1.25, strokeDash=[4, 3])
                .encode(x=across, y=y, order=alt.Order(f"{key}:Q"))
            )
        layers += _bars(
            drawn, base, across, key, alt.when(chosen).then(alt.value(0.6)).otherwise(alt.value(0.05))
        )
        layers.append(base.mark_point(filled=True, size=110).encode(x=across, **style).add_params(boxes[key]))
        layers += _names(drawn, across, y, key, alt.when(chosen).then(alt.value(1)).otherwise(alt.value(0)))
        planes.append(alt.layer(*layers).properties(width=_PLOT, height=_HEIGHT))
    return finish_beside(
        planes,
        title=title,
        subtitle=subtitle
        if subtitle is not None
        else "Faint: dominated. Dashed: the best quality for the money, for the time. Drag a box to select in both",
        description=description or _describe(rows, unit, unknown, max_p95_ms),
    )


def _rows(frame: pl.DataFrame | pl.LazyFrame) -> tuple[list[Row], int]:
    table = frame.lazy().collect()
    for name in ("p_on_front", *_BOUNDS):
        if name not in table.columns:
            table = table.with_columns(pl.lit(None, dtype=pl.Float64).alias(name))
    kinds = {"label": "text", "group": "text", "on_front": "flag"}
    numbers = dict.fromkeys(("x", "quality", "p95_ms", "p_on_front", *_BOUNDS), "number")
    rows, unknown = known(checked(table, kinds | numbers), ["x", "quality", "p95_ms", "on_front"])
    rows.sort(key=lambda row: (row["x"], row["quality"], row["label"]))
    return rows, unknown


def _log(rows: list[Row], key: str) -> bool:
    values = [row[key] for row in rows]
    return bool(min(values) > 0 and max(values) / min(values) >= _LOG_FROM)


def _stairs(rows: list[Row], key: str, higher_is_better: bool) -> list[Row]:
    """Return the variants that no cheaper, or faster, one matches in quality."""
    sign = 1 if higher_is_better else -1
    found: list[Row] = []
    for row in sorted(rows, key=lambda row: (row[key], -sign * row["quality"], row["label"])):
        if not found or sign * row["quality"] > sign * found[-1]["quality"]:
            found.append({name: row[name] for name in (key, "quality")})
    return found


def _names(drawn: list[Row], across: alt.X, y: alt.Y, key: str, opacity: Any) -> list[alt.Chart]:
    """Name the front, in turn above to the right and below to the left: neighbours stand apart."""
    import altair as alt

    front = sorted((row for row in drawn if row["on_front"]), key=lambda row: (row[key], row["label"]))
    sides: tuple[tuple[int, Literal["left", "right"], int, int], ...] = (
        (0, "right", -8, 10),
        (1, "left", 8, -7),
    )
    return [
        alt.Chart(alt.Data(values=front[place::2]))
        .mark_text(align=align, dx=dx, dy=dy, fontSize=10, color=MUTED)
        .encode(x=across, y=y, text="label:N", opacity=opacity)
        for place, align, dx, dy in sides
        if front[place::2]
    ]


def _wanted(limit: float | None, least: float | None, higher_is_better: bool) -> list[alt.Chart]:
    """Shade the latency and the quality that are wanted."""
    import altair as alt

    layers = []
    if limit is not None:
        rule = alt.Chart(alt.Data(values=[{"p95_ms": limit, "text": f"{limit:,g} ms"}])).encode(x="p95_ms:Q")
        area = alt.Chart(alt.Data(values=[{"p95_ms": limit}])).encode(x="p95_ms:Q", x2=alt.value(0))
        layers += [
            area.mark_rect(color=PALETTE[2], opacity=0.08),
            rule.mark_rule(color=PALETTE[2], strokeDash=[6, 4]),
            rule.mark_text(align="left", dx=4, dy=10, color=MUTED, fontSize=10).encode(
                y=alt.value(0), text="text:N"
            ),
        ]
    if least is not None:
        edge = alt.Chart(alt.Data(values=[{"quality": least}])).encode(y="quality:Q")
        layers.append(edge.mark_rule(color=GREY, strokeDash=[6, 4]))
    return layers


def _bars(drawn: list[Row], base: alt.Chart, across: alt.X, key: str, opacity: Any) -> list[alt.Chart]:
    import altair as alt

    layers = []
    if any(row["quality_low"] is not None and row["quality_high"] is not None for row in drawn):
        known_ends = base.transform_filter("datum.quality_low !== null && datum.quality_high !== null")
        layers.append(
            known_ends.mark_rule(color=MUTED).encode(
                x=across, y=alt.Y("quality_low:Q"), y2="quality_high:Q", opacity=opacity
            )
        )
    if key == "x" and any(row["x_low"] is not None and row["x_high"] is not None for row in drawn):
        known_ends = base.transform_filter("datum.x_low !== null && datum.x_high !== null")
        layers.append(
            known_ends.mark_rule(color=MUTED).encode(x=alt.X("x_low:Q"), x2="x_high:Q", opacity=opacity)
        )
    return layers


def _describe(rows: list[Row], unit: str, unknown: int, max_p95_ms: float | None) -> str:
    front = sum(row["on_front"] for row in rows)
    fast = sum(row["p95_ms"] <= max_p95_ms for row in rows) if max_p95_ms is not None else 0
    text = f"{plural(len(rows), 'variant')} by cost, quality and P95 latency; {front} on the Pareto front"
    text += f", {fast} within {max_p95_ms:,g} ms. " if max_p95_ms is not None else ". "
    first, last = rows[0], rows[-1]
    text += f"Cheapest: {first['label']} at {measure(first['x'], unit)}; "
    text += f"dearest: {last['label']} at {measure(last['x'], unit)}."
    return text + (f" {plural(unknown, 'variant')} with unknown values not drawn." if unknown else "")
