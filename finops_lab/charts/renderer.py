"""The Altair renderer of reports: a chart as its specification, a static picture and its alt text."""

from __future__ import annotations

from typing import Any

__all__ = ["CHART_MIME", "use_report_renderer"]

CHART_MIME = "application/vnd.finops-lab.chart+json"


def use_report_renderer() -> None:
    """Show charts, from now on in this process, as specification, SVG picture and alt text.

    JupyterLab shows the picture, with no request to any server; `reporting.render.to_html` turns the
    specification into a live chart. Unlike Altair's own renderers it puts no random id into the
    notebook and no library into every cell.

    Examples
    --------
    >>> use_report_renderer()
    """
    import altair as alt

    alt.renderers.register("finops-lab", _bundle)
    alt.renderers.enable("finops-lab")


def _bundle(spec: dict[str, Any], **_: object) -> dict[str, Any]:
    import vl_convert

    return {
        CHART_MIME: spec,
        "image/svg+xml": vl_convert.vegalite_to_svg(spec),
        "text/plain": spec.get("description", "chart without description"),
    }
