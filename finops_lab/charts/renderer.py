"""The Altair renderer of reports: a chart as its specification, a static picture and its alt text."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

__all__ = ["CHART_MIME", "bundled", "picture_of", "use_report_renderer"]

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

    alt.renderers.register("finops-lab", bundled)
    alt.renderers.enable("finops-lab")


def bundled(spec: dict[str, Any], **_: object) -> dict[str, Any]:
    """Return a chart as what a notebook shows of it: specification, static picture, alt text.

    Examples
    --------
    >>> spec = {"mark": "bar", "data": {"values": [{"a": 1}]}, "encoding": {"x": {"field": "a"}}}
    >>> sorted(bundled(spec))
    ['application/vnd.finops-lab.chart+json', 'image/svg+xml', 'text/plain']
    """
    return {
        CHART_MIME: spec,
        "image/svg+xml": picture_of(spec),
        "text/plain": spec.get("description", "chart without description"),
    }


def picture_of(spec: dict[str, Any]) -> str:
    """Draw a specification as SVG: the same for the same specification, whatever was drawn before.

    Examples
    --------
    >>> spec = {"mark": "bar", "data": {"values": [{"a": 1}]}, "encoding": {"x": {"field": "a"}}}
    >>> picture_of(spec) == picture_of(spec)
    True
    """
    import vl_convert

    picture = vl_convert.vegalite_to_svg(spec)
    # Vega numbers its clip paths through the life of the process. Two pictures in one page need names of their own.
    found = list(dict.fromkeys(re.findall(r"\bclip\d+\b", picture)))
    if not found:
        return str(picture)
    mark = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:8]
    names = {name: f"clip-{mark}-{number}" for number, name in enumerate(found)}
    return re.sub(r"\bclip\d+\b", lambda hit: names[hit[0]], picture)
