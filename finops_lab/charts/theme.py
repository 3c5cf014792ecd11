"""One look for all charts: Okabe-Ito colours, document width, plain titles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import altair as alt

__all__ = [
    "GREY",
    "INK",
    "MUTED",
    "PALETTE",
    "SHAPES",
    "WIDTH",
    "colours",
    "finish",
    "finish_beside",
    "month_axis",
]

# Okabe and Ito, "Color Universal Design" (2008): told apart with every common colour blindness. The
# order keeps neighbours in a stack far apart in lightness; black is left to text and lines.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
BLUE, ORANGE, VERMILLION = PALETTE[0], PALETTE[1], PALETTE[5]
INK, MUTED, GREY = "#1f2933", "#52606d", "#9aa5b1"
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-left")
WIDTH = 760
# Liberation Sans has the metrics of Arial, so the static picture and the live chart agree in layout.
FONT = "Liberation Sans, Arial, Helvetica, sans-serif"


def colours(names: list[str]) -> list[str]:
    """Return a colour per name in order; what was folded into ``All other`` is grey.

    Examples
    --------
    >>> colours(["search", "All other (3)"])
    ['#0072B2', '#9aa5b1']
    """
    return [
        GREY if name.startswith("All other (") else PALETTE[i % len(PALETTE)] for i, name in enumerate(names)
    ]


def month_axis(months: int) -> alt.Axis:
    """Return a time axis over so many months, labelled about every ninth of it."""
    import altair as alt

    step = next(step for step in (1, 2, 3, 6, 12, 24, 60, 120, months) if months <= 9 * step)
    ticks = {"interval": "month", "step": step}
    return alt.Axis(format="%b %Y", labelOverlap=True, grid=False, tickCount=ticks)


def finish(
    layers: list[alt.Chart],
    *,
    title: str,
    subtitle: str,
    description: str,
    height: int,
    right: int = 0,
) -> alt.LayerChart:
    """Join the layers to one chart of document width with title, subtitle and alt text.

    `height` is the whole picture's, axes, legends and titles included; `right` keeps pixels free
    beside the plot for labels.
    """
    import altair as alt

    chart = alt.layer(*layers).properties(
        width=WIDTH,
        height=height,
        # "fit" makes 760 px the width of everything, so that charts line up in a document.
        autosize=alt.AutoSizeParams(type="fit", contains="padding"),
        padding={"left": 4, "top": 4, "bottom": 4, "right": 8 + right},
        title=alt.TitleParams(title, subtitle=subtitle),
        description=description,
    )
    chart.config = alt.Config(**_config())
    assert isinstance(chart, alt.LayerChart)
    return chart


def finish_beside(
    planes: Sequence[alt.LayerChart | alt.FacetChart], *, title: str, subtitle: str, description: str
) -> alt.HConcatChart:
    """Put charts side by side under one title, with one legend and one alt text."""
    import altair as alt

    chart = alt.hconcat(*planes, spacing=28).properties(
        padding={"left": 4, "top": 4, "bottom": 4, "right": 8},
        title=alt.TitleParams(title, subtitle=subtitle),
        description=description,
    )
    chart.config = alt.Config(**_config())
    assert isinstance(chart, alt.HConcatChart)
    return chart


def finish_above(
    parts: Sequence[alt.LayerChart | alt.HConcatChart | alt.FacetChart],
    params: Sequence[alt.Parameter],
    *,
    title: str,
    subtitle: str,
    description: str,
) -> alt.VConcatChart:
    """Put charts above one another under one title, with the parameters that all of them follow."""
    import altair as alt

    chart = alt.vconcat(*parts, spacing=12).add_params(*params)
    chart = chart.properties(
        padding={"left": 4, "top": 4, "bottom": 4, "right": 8},
        title=alt.TitleParams(title, subtitle=subtitle),
        description=description,
    )
    chart.config = alt.Config(**_config())
    assert isinstance(chart, alt.VConcatChart)
    return chart


def _config() -> dict[str, Any]:
    return {
        "font": FONT,
        "background": "white",
        "view": {"stroke": None},
        "title": {
            "anchor": "start",
            "frame": "bounds",
            "color": INK,
            "fontSize": 15,
            "fontWeight": "bold",
            "subtitleColor": MUTED,
            "subtitleFontSize": 12,
            "subtitlePadding": 4,
            "offset": 12,
        },
        "axis": {
            "labelColor": MUTED,
            "labelFontSize": 11,
            "titleColor": MUTED,
            "titleFontSize": 11,
            "titleFontWeight": "normal",
            "titlePadding": 8,
            "gridColor": "#e4e7eb",
            "domainColor": GREY,
            "tickColor": GREY,
            "labelLimit": 220,
        },
        "legend": {
            "orient": "top",
            "direction": "horizontal",
            "title": None,
            "labelColor": INK,
            "labelFontSize": 11,
            "labelLimit": 200,
            "columns": 6,
            "columnPadding": 18,
            "symbolSize": 90,
            # Padding, not offset: it also keeps a legend apart from the next one in its row.
            "padding": 5,
            "offset": 1,
        },
        "range": {"category": list(PALETTE)},
    }
