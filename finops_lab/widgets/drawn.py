"""What the explorer shows, as HTML: pictures with alt text, tables that scroll, files to save."""

from __future__ import annotations

import base64
import html
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    import altair as alt

__all__ = ["STYLE", "code", "download", "grid", "note", "picture"]

# Labels stand above their controls and controls fill the width there is, in as many columns as fit.
STYLE = """<style>
.finops-controls { display: grid; grid-template-columns: repeat(auto-fill, minmax(190px, 1fr)); gap: 6px 14px; }
.finops-explorer :is(.widget-dropdown, .widget-select, .widget-select-multiple) {
  flex-direction: column; align-items: stretch; width: auto; height: auto; min-width: 0; margin: 0; }
.finops-explorer .widget-inline-hbox .widget-label {
  width: auto; height: 20px; line-height: 20px; text-align: left; font-weight: 600; }
.finops-explorer select { width: 100%; flex: 0 0 auto; }
.finops-explorer .widget-html { margin: 0; min-width: 0; }
.finops-explorer .widget-html-content { line-height: 1.4; }
.finops-explorer .finops-shown { display: flex; flex-flow: row wrap; gap: 12px 20px; align-items: flex-start; }
.finops-shown > .widget-html { flex: 1 1 400px; }
.finops-explorer pre, .finops-rows { overflow: auto; max-height: 340px; font-size: 12px; }
.finops-explorer pre { user-select: all; background: #f5f7fa; color: #1f2933; padding: 10px; margin: 4px 0; }
.finops-rows table { border-collapse: collapse; }
.finops-rows :is(th, td) { padding: 3px 10px; text-align: left; white-space: nowrap; border: 0; }
.finops-rows .finops-number { text-align: right; font-variant-numeric: tabular-nums; }
.finops-rows thead th { position: sticky; top: 0; background: #fff; color: #1f2933; border-bottom: 1px solid #52606d; }
</style>"""


def picture(chart: alt.LayerChart, width: int | None = None) -> str:
    """Draw a chart as an image with its alt text: nothing is asked of any server."""
    import vl_convert

    spec = chart.to_dict(validate=False)
    if width is not None:
        spec["width"] = width
    data = base64.b64encode(vl_convert.vegalite_to_svg(spec).encode()).decode()
    name = html.escape(str(spec.get("description", "")), quote=True)
    return f'<img alt="{name}" src="data:image/svg+xml;base64,{data}" style="max-width:100%;height:auto">'


def grid(frame: pl.DataFrame, name: str) -> str:
    """Write a frame as a plain table that scrolls; amounts to the last digit."""
    right = [column for column, dtype in frame.schema.items() if dtype.is_numeric()]
    mark = {column: ' class="finops-number"' for column in right}
    heads = [
        f'<th scope="col"{mark.get(column, "")}>{html.escape(column.removeprefix("x_"))}</th>'
        for column in frame.columns
    ]
    texts = frame.with_columns(
        pl.selectors.decimal().cast(pl.String).str.strip_chars_end("0").str.strip_chars_end("."),
        pl.selectors.datetime().dt.strftime("%Y-%m-%d %H:%M"),
    )
    rows = [
        "".join(
            f"<td{mark.get(column, '')}>{html.escape('' if value is None else str(value))}</td>"
            for column, value in row.items()
        )
        for row in texts.iter_rows(named=True)
    ]
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return (
        f'<div class="finops-rows mathjax_ignore" tabindex="0" role="group" aria-label="{html.escape(name)}">'
        f"<table><thead><tr>{''.join(heads)}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def code(text: str) -> str:
    """Write code that one click selects whole."""
    return f'<pre tabindex="0" role="group" aria-label="code of this view">{html.escape(text)}</pre>'


def note(text: str, *, alert: bool = False) -> str:
    """Write a line of text; dollar signs in it are money."""
    role = ' role="alert"' if alert else ""
    return f'<p class="mathjax_ignore"{role} style="margin:4px 0">{html.escape(text)}</p>'


def download(table: pl.DataFrame, name: str) -> str:
    """Return a link that saves the table, exact to the last digit, without asking a server."""
    data = base64.b64encode(table.write_csv().encode()).decode()
    lines = f"{table.height:,} line{'' if table.height == 1 else 's'}"
    link = f'download="{html.escape(name, quote=True)}" href="data:text/csv;charset=utf-8;base64,{data}"'
    said = f"<a {link}>Save {lines} as CSV</a>, with exact amounts: {html.escape(name)}"
    return f'<p style="margin:4px 0">{said}</p>'
