"""Lines over days: one per group, with an optional range to stay in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from finops_lab.charts.frames import Row, checked, iso, known, totals
from finops_lab.charts.labels import amount_axis, measure, percent
from finops_lab.charts.theme import GREY, MUTED, colours, finish
from finops_lab.wording import plural

if TYPE_CHECKING:
    import altair as alt

__all__ = ["day_lines"]

_GROUPS = 7  # as many as there are colours
_HEIGHT = 320


def day_lines(
    frame: pl.DataFrame | pl.LazyFrame,
    *,
    title: str,
    unit: str = "USD",
    value_title: str = "Value",
    threshold: tuple[float | None, float | None] = (None, None),
    subtitle: str | None = None,
    description: str | None = None,
) -> alt.LayerChart:
    """Draw a line per group over days.

    Parameters
    ----------
    frame : polars.DataFrame or polars.LazyFrame
        ``day`` (Date), ``group`` (String), ``value`` (number); at most one row a day and group. Of
        more than seven groups those with the largest values are drawn, the others counted in the
        alt text.
    title, subtitle, description
        As in `finops_lab.charts.spend.spend_trend`.
    unit : str
        ISO 4217 code, ``ratio`` (drawn in percent), or any other unit.
    value_title : str
        Name of the value axis.
    threshold : tuple
        Lower and upper end of the range to stay in; drawn as dashed lines.

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
    >>> days = pl.DataFrame({"day": [date(2026, 10, 1)], "group": ["gcp"], "value": [0.7]})
    >>> day_lines(days, title="GPUs", unit="ratio").to_dict()["description"]
    'Lines of value by day from 2026-10-01 to 2026-10-01, 1 group. On the last day: gcp 70%.'
    """
    import altair as alt

    rows, unknown = known(checked(frame, {"day": "date", "group": "text", "value": "number"}), ["value"])
    names = list(totals(rows, "group", "value"))
    left_out = len(names) - _GROUPS if len(names) > _GROUPS else 0
    kept = names[:_GROUPS]
    ratio = unit == "ratio"
    points = [
        {
            "day": iso(row["day"]),
            "group": row["group"],
            "value": row["value"],
            "label": percent(row["value"]) if ratio else measure(row["value"], unit),
        }
        for row in sorted(
            rows, key=lambda row: (kept.index(row["group"]) if row["group"] in kept else 99, row["day"])
        )
        if row["group"] in kept
    ]
    axis = alt.Axis(format="%") if ratio else alt.Axis(labelExpr=amount_axis(unit), tickCount=6)
    x = alt.X(
        "day:T",
        title=None,
        scale=alt.Scale(type="utc"),
        axis=alt.Axis(format="%-d %b", grid=False, labelOverlap=True),
    )
    y = alt.Y("value:Q", title=value_title if ratio else f"{value_title} ({unit})", axis=axis)
    base = alt.Chart(alt.Data(values=points)).encode(
        x=x, y=y,
        color=alt.Color("group:N", sort=kept, scale=alt.Scale(domain=kept, range=colours(kept))),
        tooltip=[
            alt.Tooltip("day:T", title="Day", format="%d %b %Y"),
            alt.Tooltip("group:N", title="Group"),
            alt.Tooltip("label:N", title=value_title),
        ],
    )  # fmt: skip
    layers = [base.mark_line(strokeWidth=2), base.mark_point(filled=True, size=18, opacity=1)]
    ends = [
        {"value": end, "text": percent(end) if ratio else measure(end, unit)}
        for end in threshold
        if end is not None
    ]
    if ends:
        rule = alt.Chart(alt.Data(values=ends)).encode(y="value:Q")
        layers.append(rule.mark_rule(color=GREY, strokeDash=[6, 4]))
        layers.append(
            rule.mark_text(align="left", dx=4, dy=-6, color=MUTED, fontSize=10).encode(
                x=alt.value(0), text="text:N"
            )
        )
    below = subtitle if subtitle is not None else f"{'Percent' if ratio else unit} by day (UTC)"
    return finish(
        layers,
        title=title,
        subtitle=below + (f"; {plural(left_out, 'smaller group')} not drawn" if left_out else ""),
        description=description or _describe(points, kept, value_title, unknown, left_out),
        height=_HEIGHT,
    )


def _describe(points: list[Row], kept: list[str], value_title: str, unknown: int, left_out: int) -> str:
    days = sorted({point["day"] for point in points})
    latest = {p["group"]: p["label"] for p in points if p["day"] == days[-1]}
    said = ", ".join(f"{name} {latest[name]}" for name in kept if name in latest)
    text = (
        f"Lines of {value_title.lower()} by day from {days[0]} to {days[-1]}, {plural(len(kept), 'group')}. "
    )
    text += f"On the last day: {said}."
    text += f" {plural(left_out, 'smaller group')} not drawn." if left_out else ""
    return text + (f" {plural(unknown, 'unknown value')} not drawn." if unknown else "")
