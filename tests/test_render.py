"""From an executed notebook to frozen bytes, recorded results and one offline page."""

from __future__ import annotations

import copy
import json
import re
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import nbformat.v4 as v4
import polars as pl
import pytest
from browser import open_page

from finops_lab.charts import CHART_MIME
from finops_lab.errors import InputError
from finops_lab.reporting.freeze import freeze
from finops_lab.reporting.record import RESULT_MIME, record, results
from finops_lab.reporting.render import _script, to_html

SETUP = """
from datetime import date
from decimal import Decimal
import polars as pl
from finops_lab import charts
from finops_lab.calendar import months_from
from finops_lab.reporting.record import record
from finops_lab.tables import money_table
charts.use_report_renderer()
months = months_from(date(2026, 1, 1), date(2026, 10, 1))
teams = ["search", "assistant", "<b>ops</b>"]
spend = pl.DataFrame([{"month": m, "group": g, "amount": Decimal(90_000 - 20_000 * j + 1_500 * i)}
                      for i, m in enumerate(months) for j, g in enumerate(teams)])
october = spend.filter(pl.col("month") == months[-1]).select("group", "amount")
"""
TREND = 'charts.spend_trend(spend, title="Spend by team")'
FAN = """charts.forecast_fan(
    spend.filter(pl.col("group") == "search").select(ds="month", y="amount"),
    pl.DataFrame({"ds": [date(2026, 11, 1), date(2026, 12, 1)], "yhat": [105e3, 107e3],
                  "lo_80": [100e3, 101e3], "hi_80": [110e3, 113e3],
                  "lo_95": [97e3, 96e3], "hi_95": [113e3, 118e3]}),
    title="Forecast")"""
RANKS = 'charts.ranked_bars(october.rename({"group": "label"}), title="Spend by team, October 2026")'
TABLE = """money_table(
    october.with_columns(budget=pl.lit(None, pl.Decimal(38, 18))), title="Spend by team", id="by-team",
    currency="USD", money_columns=["amount", "budget"], labels={"group": "Owning team"},
    total_row={"amount": october["amount"].sum()})"""
COUNTS = """money_table(pl.DataFrame({"check": ["rows read", "rows refused"], "rows": [1_234_567, 0]}),
    title="Data quality", id="quality", currency="USD", money_columns=[], number_columns=["rows"])"""
RECORD = 'record(month=months[-1], spend=october["amount"].sum(), teams=october)'
RECORD_MORE = "record(warnings=None)"


def code(source: str, id: str, *tags: str) -> Any:
    return v4.new_code_cell(source, id=id, metadata={"tags": list(tags)} if tags else {})


def text(source: str, id: str) -> Any:
    return v4.new_markdown_cell(source, id=id)


def notebook(*cells: Any) -> Any:
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return v4.new_notebook(cells=list(cells), metadata={"kernelspec": kernel})


def shown(**data: Any) -> Any:
    """Return a code cell that displayed the given MIME bundle."""
    bundle = {name.replace("_", "/", 1): value for name, value in data.items()}
    return v4.new_code_cell(outputs=[v4.new_output("display_data", data=bundle)])


@pytest.fixture(scope="module")
def executed() -> Any:
    """Run a small review in a real kernel, over a local pipe."""
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    nb = notebook(
        text("# Review of October 2026\n\nSample lab, synthetic data.", "head"),
        code("lab = '/home/someone/lab'", "parameters", "injected-parameters"),
        code(SETUP, "setup"),
        text("## Headline\n\nSpend was **$216,000**, up from $211,500 in September.", "headline"),
        code(TREND, "trend"),
        code(TABLE, "table"),
        text("## Forecast", "forecast"),
        code(FAN, "fan"),
        code(RANKS, "ranks"),
        code(COUNTS, "counts"),
        code(RECORD, "record"),
        code(RECORD_MORE, "record-more"),
    )

    class LocalPipe(AsyncKernelManager):
        transport = "ipc"

    NotebookClient(nb, kernel_name="python3", kernel_manager_class=LocalPipe, timeout=120).execute()
    return nb


@pytest.fixture(scope="module")
def page(executed: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("page") / "review.html"
    path.write_text(to_html(freeze(executed, parameters={"lab": "Sample"}), title="Review"), encoding="utf-8")
    return path


def test_page_is_offline_accessible_and_alive(page: Path) -> None:
    with open_page(page) as visit:
        visit.page.wait_for_selector("html[data-charts=live]", timeout=20_000)
        assert visit.outside == []
        assert visit.errors == []
        assert visit.violations() == []
        names = visit.page.eval_on_selector_all("figure [role=img]", "all => all.map(e => e.ariaLabel)")
        assert [name.split(" ", 3)[:3] for name in names] == [
            ["Stacked", "bars", "of"],
            ["Spend", "until", "October"],
            ["Bars", "of", "spend,"],
        ]
        bars = visit.page.eval_on_selector_all("#chart-1 svg .mark-rect path", "all => all.length")
        assert bars == 30  # ten months of three teams, drawn by Vega in the page
        assert visit.page.locator("h1").count() == 1
        assert visit.page.inner_text("#by-team tbody tr:first-child") == "search\t$103,500.00\t—"


def test_page_shows_still_charts_without_scripts(page: Path) -> None:
    with open_page(page, javascript=False) as visit:
        width = visit.page.locator("#chart-1 img").bounding_box()["width"]
        assert width == pytest.approx(760, abs=12)
        assert visit.errors == [] and visit.outside == []


def test_narrow_page_stays_accessible(page: Path) -> None:
    with open_page(page, viewport=(360, 740)) as visit:
        visit.page.wait_for_selector("html[data-charts=live]", timeout=20_000)
        assert visit.violations() == []
        assert visit.page.locator("#chart-1 svg").bounding_box()["width"] < 360


def test_page_refuses_requests_that_an_output_asks_for(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    picture = '<img alt="x" src="https://example.invalid/x.png"><script>document.title = "owned"</script>'
    path.write_text(to_html(notebook(shown(text_html=picture)), title="Review"), encoding="utf-8")
    with open_page(path) as visit:
        assert visit.outside == []
        assert visit.page.title() == "Review"
        assert len(visit.errors) == 2  # the browser says that it refused the picture and the script


def test_same_notebook_same_page_and_the_notebook_is_untouched(executed: Any) -> None:
    before = copy.deepcopy(executed)
    first = to_html(executed, title="Review")
    _script.cache_clear()
    assert first == to_html(executed, title="Review")
    assert executed == before


def test_page_asks_no_host_and_holds_one_vega(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    for host in ("cdn.jsdelivr", "cdnjs.", "unpkg.", "mathjax.js", "require.min.js"):
        assert host not in html
    assert html.count('<script type="module">') == 1
    assert len(html) < 1_400_000
    assert "/home/someone" not in html


def test_results_come_back_exactly(executed: Any) -> None:
    assert results(executed) == {
        "month": "2026-10-01",
        "spend": "250500",
        "teams": [
            {"group": "search", "amount": "103500"},
            {"group": "assistant", "amount": "83500"},
            {"group": "<b>ops</b>", "amount": "63500"},
        ],
        "warnings": None,
    }


@pytest.mark.parametrize("value", [float("nan"), object(), {"deep": [float("inf")]}])
def test_what_json_cannot_hold_is_not_recorded(value: object) -> None:
    with pytest.raises(InputError, match="cannot be recorded"):
        record(value=value)


def test_later_records_win() -> None:
    one, two = ({RESULT_MIME: {"a": 1, "b": 1}}, {RESULT_MIME: {"b": 2}})
    cells = [v4.new_code_cell(outputs=[v4.new_output("display_data", data=data)]) for data in (one, two)]
    assert results(notebook(*cells)) == {"a": 1, "b": 2}


def test_freeze_drops_the_moment_and_the_path(executed: Any) -> None:
    ran = copy.deepcopy(executed)
    ran.metadata["papermill"] = {
        "start_time": "2026-11-01T00:00:00",
        "output_path": "/home/someone/out.ipynb",
    }
    ran.metadata["widgets"] = {"state": {"0f3a": {}}}
    for cell in ran.cells:
        cell.metadata["papermill"] = {"duration": 1.5, "status": "completed"}
    ran.cells[1]["id"] = "a1b2c3d4"
    ran.cells[2]["outputs"] = [
        v4.new_output("stream", name="stderr", text="/tmp/ipykernel_71/123.py:1: Warn"),
        v4.new_output("stream", name="stderr", text="ing: old\n"),
        v4.new_output("display_data", data={"text/plain": "<GT at 0x7f00aa>", "text/html": "<p>GT</p>"}),
        v4.new_output(
            "display_data", data={"application/vnd.jupyter.widget-view+json": {"model_id": "0f3a"}}
        ),
    ]
    before = copy.deepcopy(ran)
    frozen = freeze(ran, parameters={"lab": "Sample", "month": "2026-10", "metric": None})
    assert ran == before
    assert frozen.metadata["papermill"] == {
        "parameters": {"lab": "Sample", "month": "2026-10", "metric": None}
    }
    written = json.dumps(frozen)
    for trace in ("/home/someone", "start_time", "duration", "iopub.", "0f3a", "0x7f", "/tmp/"):
        assert trace not in written
    injected, noisy = frozen.cells[1], frozen.cells[2]
    assert injected.id == "injected-parameters"
    assert injected.source == '# Parameters\nlab = "Sample"\nmonth = "2026-10"\nmetric = None\n'
    assert [output.output_type for output in noisy.outputs] == ["stream", "display_data"]
    assert noisy.outputs[0].text == "<cell>:1: Warning: old\n"
    assert re.fullmatch(r"3\.\d+", frozen.metadata["language_info"]["version"])
    assert freeze(frozen, parameters={"lab": "Sample", "month": "2026-10", "metric": None}) == frozen


def test_frozen_notebook_is_valid(executed: Any) -> None:
    import nbformat

    nbformat.validate(freeze(executed, parameters={}))


def test_data_cannot_leave_its_script_or_label() -> None:
    evil = '</script><script>alert("x")</script>'
    spec = {"description": f'"> {evil}', "data": {"values": [{"team": evil}]}}
    cell = v4.new_code_cell(outputs=[v4.new_output("display_data", data={CHART_MIME: spec})])
    html = to_html(notebook(cell), title=evil)
    body = html[html.index("<body") :].split('<script type="module">')[0]
    assert "<script>" not in body and "<script>" not in html[: html.index("</title>")]
    kept = re.search(r'<script type="application/json">(.*?)</script>', body)
    assert kept is not None and json.loads(kept[1]) == spec


def test_text_of_data_is_escaped_in_computed_markdown_but_not_in_authored() -> None:
    html = to_html(
        notebook(
            text("Authored <em>x</em>, $1 to $2 and **$3**.", "a"),
            shown(text_markdown="Team <img src=x> cost **$4**."),
        ),
        title="t",
    )
    assert "<p>Authored <em>x</em>, $1 to $2 and <strong>$3</strong>.</p>" in html
    assert "Team &lt;img src=x&gt; cost <strong>$4</strong>." in html


def test_failures_and_warnings_are_shown_soberly() -> None:
    failed = v4.new_code_cell(
        "secret_source()",
        outputs=[
            v4.new_output("stream", name="stdout", text="read <3> files\n"),
            v4.new_output("stream", name="stderr", text="\x1b[31mcareful\x1b[0m\n"),
            v4.new_output(
                "error",
                ename="NoDataError",
                evalue="no rows for <2020-01>",
                traceback=["\x1b[31mline 1\x1b[0m", "line 2"],
            ),
        ],
    )
    html = to_html(notebook(failed), title="t")
    assert "<pre>read &lt;3&gt; files\n</pre>" in html
    assert "<summary>Messages of the run</summary>\n<pre>careful\n</pre>" in html
    assert "NoDataError: no rows for &lt;2020-01&gt;" in html
    assert "<pre>line 1\nline 2</pre>" in html
    assert "secret_source" not in html


def test_widgets_scripts_records_and_tagged_cells_are_left_out() -> None:
    outputs = [
        v4.new_output("display_data", data={mime: content, "text/plain": "NOISE"})
        for mime, content in (
            ("application/vnd.jupyter.widget-view+json", {"model_id": "0f3a"}),
            (RESULT_MIME, {"spend": "1"}),
            ("application/javascript", "alert(1)"),
        )
    ]
    visible = v4.new_output("execute_result", data={"text/plain": "42"}, execution_count=1)
    html = to_html(
        notebook(
            v4.new_code_cell(outputs=[*outputs, visible]),
            v4.new_code_cell(outputs=[visible], metadata={"tags": ["remove-output"]}),
            v4.new_markdown_cell("GONE", metadata={"tags": ["remove-cell"]}),
        ),
        title="t",
    )
    assert html.count("<pre>42</pre>") == 1
    assert "NOISE" not in html and "GONE" not in html and "<script" not in html


def test_there_is_exactly_one_first_heading() -> None:
    none = to_html(notebook(text("## Part", "a")), title="A & B")
    assert "<h1>A &amp; B</h1>" in none and "<title>A &amp; B</title>" in none
    two = to_html(notebook(text("# One", "a"), text("# Two", "b")), title="t")
    assert re.findall(r"<(h[12])>(\w+)</h[12]>", two) == [("h1", "One"), ("h2", "Two")]


def test_frames_and_pictures_are_shown() -> None:
    frame = pl.DataFrame({"a": [1]})._repr_html_()
    html = to_html(
        notebook(shown(text_html=frame), shown(image_png="aGk=\n", text_plain="a <dot>")), title="t"
    )
    assert 'class="dataframe"' in html
    assert '<img alt="a &lt;dot&gt;" src="data:image/png;base64,aGk="/>' in html


def test_language_is_checked() -> None:
    assert '<html lang="de-AT">' in to_html(notebook(), title="t", lang="de-AT")
    with pytest.raises(InputError, match="language code"):
        to_html(notebook(), title="t", lang='en"><script>')


def test_recorded_dates_and_decimals_are_text() -> None:
    from finops_lab.reporting.record import _plain

    amounts = (Decimal("1E-18"), Decimal("-0.00"), Decimal("1200.500"), Decimal("12345678901234567890.5"))
    assert _plain({"d": date(2026, 10, 1), "m": amounts}, "v") == {
        "d": "2026-10-01",
        "m": ["0.000000000000000001", "0", "1200.5", "12345678901234567890.5"],
    }
