"""Variants on many axes at once: one line each, every axis turned so that up is good."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from finops_lab.charts.frames import Row, checked, fold, totals
from finops_lab.charts.labels import compact
from finops_lab.charts.theme import INK, MUTED, PALETTE, colours, finish
from finops_lab.errors import InputError
from finops_lab.wording import plural

if TYPE_CHECKING:
    import altair as alt

__all__ = ["variant_lines"]

_HEIGHT = 380
_FADED = 0.2


def variant_lines(
    frame: pl.DataFrame | pl.LazyFrame,
    *,
    axes: Mapping[str, tuple[str, bool]],
    title: str,
    subtitle: str | None = None,
    description: str | None = None,
) -> alt.LayerChart:
    """Draw parallel coordinates: an axis per figure, a line per variant.

    Parameters
    ----------
    frame : polars.DataFrame or polars.LazyFrame
        ``label`` and ``group`` (String), ``on_front`` (Boolean; unknown is drawn as dominated), and a
        column of numbers per axis. A line breaks where a figure is unknown. ``p_on_front`` (float), where
        given, is how solid a line is drawn.
    axes : mapping of str to tuple
        Per column its title with the unit, and whether more is better.
    title, subtitle, description
        As in `finops_lab.charts.spend_trend`.

    Returns
    -------
    altair.LayerChart

    Raises
    ------
    InputError
        Fewer than two axes of which anything is known, no rows, a label twice, or a column missing or of
        another kind.

    Examples
    --------
    >>> variants = pl.DataFrame({"label": ["int8", "fp16"], "group": ["m", "m"], "on_front": [True, True],
    ...     "per_1000": [0.5, 1.0], "quality": [0.89, 0.9]})
    >>> axes = {"per_1000": ("Cost (USD)", False), "quality": ("Accuracy", True)}
    >>> variant_lines(variants, axes=axes, title="Variants").to_dict()["description"]
    '2 variants on 2 axes; up is better. Cost (USD): int8 is best; Accuracy: fp16 is best.'
    """
    import altair as alt

    table = frame.lazy().collect()
    if "p_on_front" not in table.columns:
        table = table.with_columns(pl.lit(None, dtype=pl.Float64).alias("p_on_front"))
    kinds = {"label": "text", "group": "text", "on_front": "flag", "p_on_front": "number"}
    rows = checked(table, kinds | dict.fromkeys(axes, "number"))
    if len({row["label"] for row in rows}) < len(rows):
        raise InputError("a label occurs twice", column="label")
    ends = {
        name: (min(values), max(values))
        for name in axes
        if (values := [row[name] for row in rows if row[name] is not None])
    }
    if len(ends) < 2:
        raise InputError("parallel coordinates need two axes of which something is known")
    place, order = fold(list(totals([row | {"n": 1.0} for row in rows], "group", "n")), len(PALETTE))
    rows.sort(key=lambda row: (bool(row["on_front"]), row["label"]))  # what is on the front is drawn last
    titles = [axes[name][0] for name in ends]
    points = [
        {
            "label": row["label"],
            "group": place[row["group"]],
            "axis": axes[name][0],
            "at": _place(row[name], *ends[name], axes[name][1]),
            "value": None if row[name] is None else compact(row[name], ""),
            "solid": max(row["p_on_front"], _FADED)
            if row["p_on_front"] is not None
            else (0.9 if row["on_front"] else _FADED),
        }
        for row in rows
        for name in ends
    ]
    picked = alt.selection_point(name="picked", fields=["label"], on="pointerover", clear="pointerout")
    x = alt.X(
        "axis:N",
        sort=titles,
        title=None,
        axis=alt.Axis(labelAngle=0, orient="top", grid=True, domain=False, ticks=False, labelLimit=150),
        scale=alt.Scale(domain=titles),
    )
    y = alt.Y("at:Q", axis=None, scale=alt.Scale(domain=[-0.08, 1.08]))
    base = alt.Chart(alt.Data(values=points)).encode(
        x=x,
        y=y,
        detail="label:N",
        color=alt.Color("group:N", sort=order, scale=alt.Scale(domain=order, range=colours(order))),
        opacity=alt.when(picked, empty=False)
        .then(alt.value(1))
        .otherwise(alt.Opacity("solid:Q", scale=None)),
        tooltip=[
            alt.Tooltip("label:N", title="Variant"),
            alt.Tooltip("axis:N", title="Axis"),
            alt.Tooltip("value:N", title="Value"),
        ],
    )
    marks = [
        {"axis": axes[name][0], "at": at, "text": compact(end, "")}
        for name, (low, high) in ends.items()
        for at, end in ((1.06, high if axes[name][1] else low), (-0.06, low if axes[name][1] else high))
    ]
    labels = (
        alt.Chart(alt.Data(values=marks)).mark_text(fontSize=10, color=MUTED).encode(x=x, y=y, text="text:N")
    )
    names = (
        alt.Chart(alt.Data(values=_ends(points, titles[-1])))
        .mark_text(align="left", dx=8, fontSize=10, color=INK)
        .encode(x=x, y=y, text="label:N", opacity=alt.Opacity("solid:Q", scale=None))
    )
    return finish(
        [
            base.mark_line(strokeWidth=2),
            base.mark_point(filled=True, size=40).add_params(picked),
            labels,
            names,
        ],
        title=title,
        subtitle=subtitle if subtitle is not None else "Up is better on every axis; faint: dominated",
        description=description or _describe(rows, axes, ends),
        height=_HEIGHT,
        right=40,
    )


def _place(value: float | None, low: float, high: float, more_is_better: bool) -> float | None:
    """Return where a value lies between the worst (0) and the best (1); half way if all are equal."""
    if value is None:
        return None
    share = (value - low) / (high - low) if high > low else 0.5
    return share if more_is_better else 1 - share


def _ends(points: list[Row], last: str) -> list[Row]:
    """Return the points to name: those of the last axis that stand apart from one another."""
    apart: list[Row] = []
    on_last = [point for point in points if point["axis"] == last and point["at"] is not None]
    for point in sorted(on_last, key=lambda point: (-point["solid"], -point["at"], point["label"])):
        if all(abs(point["at"] - other["at"]) >= 0.045 for other in apart):
            apart.append(point)
    return apart


def _describe(
    rows: list[Row], axes: Mapping[str, tuple[str, bool]], ends: Mapping[str, tuple[float, float]]
) -> str:
    best = []
    for name, (low, high) in ends.items():
        title, more = axes[name]
        wanted = high if more else low
        winners = sorted(row["label"] for row in rows if row[name] == wanted)
        best.append(
            f"{title}: {winners[0]} is best" if len(winners) == 1 else f"{title}: {len(winners)} are best"
        )
    return f"{plural(len(rows), 'variant')} on {len(ends)} axes; up is better. {'; '.join(best)}."
