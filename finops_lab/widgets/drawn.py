"""What the explorer shows, as HTML: pictures with alt text, tables that scroll, files to save."""

from __future__ import annotations

import base64
import html
import re
from typing import TYPE_CHECKING

import polars as pl

from finops_lab.charts.renderer import picture_of
from finops_lab.tables import readable

if TYPE_CHECKING:
    import altair as alt

__all__ = ["SCRIPT", "STYLE", "code", "download", "grid", "note", "picture"]

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
.finops-shown > .widget-html { flex: 1 1 380px; }
.finops-shown > .finops-wide { flex-basis: 620px; }
.finops-shown > .finops-figures { flex-basis: 465px; }
.finops-explorer #explored :is(th, td) { padding-left: 6px; padding-right: 6px; font-size: 13px; }
.finops-explorer #explored .gt_heading { padding-left: 0; }
.finops-picture svg { max-width: 100%; height: auto; display: block; }
.finops-picture .mark-rect path, .finops-figures tbody tr { cursor: pointer; }
.finops-figures tbody tr:hover > * { text-decoration: underline; }
.finops-deeper { display: grid; grid-template-columns: minmax(0, 2fr) minmax(0, 3fr); gap: 14px; margin: 8px 0; }
.finops-explorer pre, .finops-rows { overflow: auto; max-height: 340px; font-size: 12px; }
.finops-explorer pre { user-select: all; background: #f5f7fa; color: #1f2933; padding: 10px; margin: 4px 0; }
.finops-rows table { border-collapse: collapse; }
.finops-rows :is(th, td) { padding: 3px 10px; text-align: left; white-space: nowrap; border: 0; }
.finops-rows .finops-number { text-align: right; font-variant-numeric: tabular-nums; }
.finops-rows thead th { position: sticky; top: 0; border-bottom: 1px solid #7b8794;
  background: var(--jp-layout-color1, #fff); }
</style>"""

# To JupyterLab a letter or an arrow pressed in a control is a command of the notebook (M makes the cell
# a text and its output disappears; jupyter-widgets/ipywidgets#3912), unless the control says not to.
# Commands with Ctrl, Alt or Meta stay. A click on a bar or a line chooses it to look behind.
SCRIPT = """if (!window.finopsExplorer) {
  window.finopsExplorer = true;
  const around = event => event.target instanceof Element ? event.target.closest('.finops-explorer') : null;
  window.addEventListener('keydown', event => {
    const plain = !(event.ctrlKey || event.altKey || event.metaKey);
    if (around(event)) event.target.toggleAttribute('data-lm-suppress-shortcuts', plain);
  }, true);
  document.addEventListener('click', event => {
    const choices = around(event)?.querySelector('.finops-deeper select');
    const bar = event.target.closest('.finops-picture .mark-rect path');
    const line = event.target.closest('.finops-figures tbody tr');
    if (!choices || !(bar || line)) return;
    const name = bar?.getAttribute('aria-label').match(/; (?:Name|Group): (.*); [^;:]+ cost: [^;]*$/)?.[1];
    const spaced = text => text?.replace(/\\s/g, ' ');  // the choices' spaces do not break
    const place = line ? [...line.parentElement.children].indexOf(line)
      : [...choices.options].map(one => spaced(one.text)).findIndex(text =>
        text.slice(0, text.lastIndexOf(': ')) === spaced(name));
    if (place < 0 || place >= choices.options.length) return;
    choices.selectedIndex = place;
    choices.dispatchEvent(new Event('change', { bubbles: true }));
  });
}"""


def picture(chart: alt.LayerChart | alt.HConcatChart, width: int | None = None) -> str:
    """Draw a chart as a picture with its alt text: nothing is asked of any server."""
    spec = chart.to_dict(validate=False)
    if width is not None:
        spec["width"] = width
        spec["padding"]["right"] += 16  # the longest bar's amount takes more of a narrow picture
    name = html.escape(str(spec.get("description", "")), quote=True)
    drawing = re.sub(r"^<svg ", '<svg aria-hidden="true" ', picture_of(spec))
    return f'<div class="finops-picture mathjax_ignore" role="img" aria-label="{name}">{drawing}</div>'


def grid(frame: pl.DataFrame, name: str) -> str:
    """Write a frame as a plain table that scrolls; amounts to the last digit."""
    right = [column for column, dtype in frame.schema.items() if dtype.is_numeric()]
    mark = {column: ' class="finops-number"' for column in right}
    heads = [
        f'<th scope="col"{mark.get(column, "")}>{html.escape(readable(column))}</th>'
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
    said = note("One click selects all of it; paste it into a cell.")
    return f'{said}<pre tabindex="0" role="group" aria-label="code of this view">{html.escape(text)}</pre>'


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
