"""An executed notebook as one HTML page that needs nothing else: no server, no library, no font."""

from __future__ import annotations

import base64
import copy
import functools
import hashlib
import html
import json
import re
from importlib import resources
from typing import TYPE_CHECKING, Any

from finops_lab.charts.renderer import CHART_MIME
from finops_lab.errors import InputError

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["to_html"]

_SHOWN = ("text/html", "text/markdown", "image/svg+xml", "image/png", "text/plain")
_RUN_ON_OPEN = """
const drawn = [];
for (const figure of document.querySelectorAll("figure.chart")) {
  const live = document.createElement("div");
  const spec = JSON.parse(figure.querySelector("script").textContent);
  // The static picture stays until the live chart is ready, and for good when it cannot be drawn.
  drawn.push(vegaEmbed(live, spec, { actions: false, renderer: "svg" })
    .then(() => figure.querySelector(".picture").replaceChildren(live)));
}
Promise.all(drawn).then(() => { document.documentElement.dataset.charts = "live"; });
"""
_PAGE = """<!DOCTYPE html>
<html lang="{lang}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
{body}
</main>
{script}</body>
</html>
"""


def to_html(nb: NotebookNode, *, title: str, lang: str = "en") -> str:
    """Turn an executed notebook into one offline page, ready to read and to print.

    Code is left out. Charts shown with `finops_lab.charts.use_report_renderer` are live and carry
    their alt text; without scripts their static picture stays. The page forbids itself every request
    (Content-Security-Policy), and runs no script but its own. Cells tagged ``remove-cell``, outputs
    of cells tagged ``remove-output``, widgets and scripts among the outputs are left out.

    Parameters
    ----------
    nb : nbformat.NotebookNode
        An executed notebook; it is not changed.
    title : str
        Title of the page, and its first heading when the notebook has none.
    lang : str
        BCP 47 code of the text's language.

    Returns
    -------
    str
        The page; the same for the same notebook.

    Raises
    ------
    InputError
        When `lang` is no language code.

    Examples
    --------
    >>> import nbformat.v4 as v4
    >>> page = to_html(v4.new_notebook(cells=[v4.new_markdown_cell("Hello *you*")]), title="A review")
    >>> "<h1>A review</h1>" in page, "<em>you</em>" in page
    (True, True)
    """
    if not re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*", lang):
        raise InputError(f"language code {lang!r} is not one, such as en or de")
    prepared, charts = _prepared(nb)
    script = _script() if charts else ""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # Vega compiles its expressions, hence 'unsafe-eval'; text of the data never becomes a script.
    scripts = f"'sha256-{digest}' 'unsafe-eval'" if charts else "'none'"
    return _PAGE.format(
        lang=lang,
        policy=f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {scripts}",
        title=html.escape(title),
        style=_file("style.css"),
        body=_one_h1(_body(prepared), title),
        script=f'<script type="module">{script}</script>\n' if charts else "",
    )


def _file(name: str) -> str:
    return resources.files("finops_lab.reporting").joinpath(name).read_text(encoding="utf-8")


@functools.cache
def _script() -> str:
    import vl_convert

    # A closing tag inside the library's strings would end the script element early.
    return str(vl_convert.javascript_bundle(_RUN_ON_OPEN)).replace("</script", "<\\/script")


def _prepared(nb: NotebookNode) -> tuple[NotebookNode, int]:
    """Keep what the page shows, and turn charts into figures; return how many there are."""
    from nbformat import from_dict

    prepared = copy.deepcopy(nb)
    prepared.metadata.pop("widgets", None)
    prepared.cells = [cell for cell in prepared.cells if "remove-cell" not in cell.metadata.get("tags", [])]
    charts = 0
    for cell in prepared.cells:
        if cell.cell_type != "code":
            continue
        kept = []
        for output in [] if "remove-output" in cell.metadata.get("tags", []) else cell.outputs:
            data = output.get("data")
            if data is None:
                kept.append(output)
                continue
            if CHART_MIME in data:
                charts += 1
                shown = {"text/html": _figure(charts, data)}
            elif set(data) <= {"text/plain"} or any(mime in data for mime in _SHOWN[:-1]):
                shown = {mime: data[mime] for mime in _SHOWN if mime in data}
            else:
                # Widgets, scripts and recorded results: their plain text says nothing to a reader.
                continue
            output["data"] = from_dict(shown)
            kept.append(output)
        cell["outputs"] = kept
    return prepared, charts


def _figure(number: int, data: dict[str, Any]) -> str:
    spec = data[CHART_MIME]
    name = html.escape(str(spec.get("description", "chart without description")))
    # "<" is written so that no text of the data can close the script element.
    source = json.dumps(spec, sort_keys=True, ensure_ascii=False).replace("<", "\\u003c")
    picture = base64.b64encode(data.get("image/svg+xml", "").encode()).decode()
    still = f'<img alt="" src="data:image/svg+xml;base64,{picture}">' if picture else ""
    return (
        f'<figure class="chart" id="chart-{number}">'
        f'<div class="picture" role="img" aria-label="{name}">{still}</div>'
        f'<script type="application/json">{source}</script></figure>'
    )


def _body(nb: NotebookNode) -> str:
    from nbconvert import HTMLExporter

    # Jupyter's own templates ask for MathJax, require.js and mermaid on other servers: this page has
    # a template of its own.
    exporter = HTMLExporter(
        raw_template=_file("page.html.j2"),
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        filters={"authored_markdown": _markdown(escape=False), "computed_markdown": _markdown(escape=True)},
    )
    body, _ = exporter.from_notebook_node(nb)
    return str(body).strip()


def _markdown(*, escape: bool) -> Any:
    """Return a Markdown filter without mathematics: in a bill, dollar signs are money."""
    from mistune import create_markdown

    return create_markdown(escape=escape, plugins=["strikethrough", "table"])


def _one_h1(body: str, title: str) -> str:
    """Give the page exactly one first-level heading: later ones step down."""
    first = re.search(r"<h1\b", body)
    if first is None:
        return f"<h1>{html.escape(title)}</h1>\n{body}"
    head, rest = body[: first.end()], body[first.end() :]
    end = rest.index("</h1>") + len("</h1>")
    later = re.sub(r"<(/?)h1\b", r"<\1h2", rest[end:])
    return head + rest[:end] + later
